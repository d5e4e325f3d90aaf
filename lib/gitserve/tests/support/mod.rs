//! Repositories made by the real git, and a server of them on a real socket.
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use axum::body::Body;
use axum::http::{HeaderMap, Method, Request, StatusCode};
use burrow_clock::TestClock;
use burrow_gitserve::{Boxed, Options, Repositories, Repository, Rights, Server, Visibility};
use bytes::Bytes;
use http_body_util::BodyExt as _;

/// A git that knows nothing of whoever runs the tests.
pub(crate) fn git_command(dir: &Path, args: &[&str]) -> Command {
    let mut command = Command::new("git");
    command.args(["-c", "protocol.file.allow=always", "-c", "init.defaultBranch=main"]).args(args).current_dir(dir);
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("GIT_")) {
        command.env_remove(name);
    }
    command.env("HOME", dir).env("GIT_CONFIG_NOSYSTEM", "1").env("GIT_TERMINAL_PROMPT", "0").env("LC_ALL", "C");
    for who in ["AUTHOR", "COMMITTER"] {
        command.env(format!("GIT_{who}_NAME"), "A U Thor").env(format!("GIT_{who}_EMAIL"), "author@example.org");
        command.env(format!("GIT_{who}_DATE"), "1700000000 +0100");
    }
    command
}

/// Runs it, and gives what it printed.
pub(crate) fn git(dir: &Path, args: &[&str]) -> Vec<u8> {
    let done = git_output(dir, args);
    assert!(done.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&done.stderr));
    done.stdout
}

pub(crate) fn git_output(dir: &Path, args: &[&str]) -> Output {
    git_command(dir, args).stdin(Stdio::null()).output().unwrap()
}

pub(crate) fn word(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap().trim().to_owned()
}

/// A work tree and its history.
pub(crate) struct Work {
    pub(crate) dir: PathBuf,
}

impl Work {
    pub(crate) fn new(dir: &Path, hash: &str) -> Work {
        std::fs::create_dir_all(dir).unwrap();
        git(dir, &["init", "-q", &format!("--object-format={hash}"), "."]);
        Work { dir: dir.to_owned() }
    }

    pub(crate) fn write(&self, path: &str, content: impl AsRef<[u8]>) -> &Work {
        let path = self.dir.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
        self
    }

    pub(crate) fn commit(&self, message: &str) -> String {
        git(&self.dir, &["add", "-A", "."]);
        git(&self.dir, &["commit", "-q", "--allow-empty", "-m", message]);
        self.rev("HEAD")
    }

    pub(crate) fn rev(&self, rev: &str) -> String {
        word(git(&self.dir, &["rev-parse", rev]))
    }

    /// A bare copy with everything.
    pub(crate) fn bare(&self, dir: &Path) -> PathBuf {
        git(&self.dir, &["clone", "-q", "--mirror", ".", dir.to_str().unwrap()]);
        dir.to_owned()
    }
}

/// What a test does when it is asked to fetch a revision of a repository.
pub(crate) type Fetch = Box<dyn Fn(&str, &str) + Send>;

/// The table of a test.
#[derive(Default)]
pub(crate) struct Table {
    pub(crate) repositories: Mutex<BTreeMap<String, Repository>>,
    /// Runs in place of a fetch.
    pub(crate) fetch: Mutex<Option<Fetch>>,
    pub(crate) wanted: AtomicUsize,
    /// Upstream does not answer.
    pub(crate) cannot_tell: AtomicBool,
}

impl Repositories for Table {
    fn find(&self, name: &str) -> Option<Repository> {
        self.repositories.lock().unwrap().get(name).cloned()
    }

    fn names(&self) -> Vec<String> {
        self.repositories.lock().unwrap().keys().cloned().collect()
    }

    fn want<'a>(&'a self, name: &'a str, rev: &'a str) -> Boxed<'a, Result<(), String>> {
        self.wanted.fetch_add(1, Ordering::SeqCst);
        if let Some(fetch) = &*self.fetch.lock().unwrap() {
            fetch(name, rev);
        }
        let told = if self.cannot_tell.load(Ordering::SeqCst) { Err("the upstream is away".to_owned()) } else { Ok(()) };
        Box::pin(std::future::ready(told))
    }

    fn rights(&self, _: &str, token: &str) -> Rights {
        match token {
            "reader" => Rights::Published,
            "owner" => Rights::Everything,
            _ => Rights::Nothing,
        }
    }
}

/// A server, and the folder that everything of the test is in.
pub(crate) struct World {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) table: Arc<Table>,
    pub(crate) clock: TestClock,
    pub(crate) server: Server,
}

pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

impl World {
    pub(crate) fn new() -> World {
        World::with(Options { threads: 2, ..Options::default() })
    }

    pub(crate) fn with(options: Options) -> World {
        let dir = tempfile::tempdir().unwrap();
        let (table, clock) = (Arc::new(Table::default()), TestClock::at(1_800_000_000_000));
        let server = Server::new(table.clone(), &dir.path().join("cache"), Arc::new(clock.clone()), options).unwrap();
        World { dir, table, clock, server }
    }

    /// The same folder after a restart.
    pub(crate) fn restart(&mut self, options: Options) {
        self.server = Server::new(self.table.clone(), &self.cache(), Arc::new(self.clock.clone()), options).unwrap();
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn cache(&self) -> PathBuf {
        self.path("cache")
    }

    pub(crate) fn add(&self, name: &str, repository: Repository) {
        self.table.repositories.lock().unwrap().insert(name.to_owned(), repository);
    }

    pub(crate) fn make_private(&self, name: &str) {
        self.table.repositories.lock().unwrap().get_mut(name).unwrap().visibility = Visibility::Private;
    }

    /// Sends a request and collects the answer.
    pub(crate) async fn ask(&self, method: Method, address: &str, headers: &[(&str, &str)]) -> Answer {
        let mut request = Request::builder().method(method).uri(address);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = self.server.answer(request.body(Body::empty()).unwrap()).await;
        let (parts, body) = response.into_parts();
        Answer { status: parts.status, headers: parts.headers, body: body.collect().await.expect("the body is whole").to_bytes() }
    }

    pub(crate) async fn get(&self, address: &str) -> Answer {
        self.ask(Method::GET, address, &[]).await
    }

    /// Gets the uncompressed bytes of an archive.
    pub(crate) async fn tar(&self, address: &str) -> Vec<u8> {
        let answer = self.get(address).await;
        assert_eq!(answer.status, StatusCode::OK, "{address}: {}", answer.text());
        answer.body.to_vec()
    }

    /// Serves on a socket until the test ends, and gives its address.
    pub(crate) async fn listen(&self) -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = self.server.router();
        tokio::spawn(async move { axum::serve(listener, router).await });
        format!("http://{address}")
    }
}

/// Runs a program on a thread that may block, as the server needs this one.
pub(crate) async fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.unwrap()
}

/// Where two byte strings differ, because printing them is no help.
pub(crate) fn assert_same(ours: &[u8], theirs: &[u8], what: &str) {
    if ours != theirs {
        let at = ours.iter().zip(theirs).position(|(a, b)| a != b).unwrap_or(ours.len().min(theirs.len()));
        let show = |bytes: &[u8]| String::from_utf8_lossy(&bytes[(at / 512 * 512).min(bytes.len())..(at / 512 * 512 + 512).min(bytes.len())]).replace('\0', "");
        panic!("{what}: {} and {} bytes, different at {at}:\n ours {:?}\n git's {:?}", ours.len(), theirs.len(), show(ours), show(theirs));
    }
}
