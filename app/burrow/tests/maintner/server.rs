//! `burrow godata` with a server: a real maintnerd's log over a real socket.

use std::path::{Path, PathBuf};

use crate::logs::{Said, command, made, text, well};
use burrow_maintnerd::http::{Readers, router};
use burrow_maintnerd::{Log, Options};
use protocol_mutlog::schema::{GithubIssueMutation, Mutation};
use testkit_harness::Process;
use tokio_util::sync::CancellationToken;

/// A leader's log, served for as long as this lives.
pub(crate) struct Server {
    runtime: tokio::runtime::Runtime,
    log: Log,
    pub(crate) address: String,
    shutdown: CancellationToken,
}

impl Server {
    /// Serves the log in a folder that nobody else leads.
    pub(crate) fn start(folder: &Path, readers: Readers) -> Server {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let shutdown = CancellationToken::new();
        let log = Log::open(folder, Options::new(burrow_clock::SystemClock::shared())).unwrap();
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let serving = axum::serve(listener, router(log.clone(), readers, shutdown.clone())).with_graceful_shutdown(shutdown.clone().cancelled_owned());
        runtime.spawn(serving.into_future());
        Server { runtime, log, address, shutdown }
    }

    pub(crate) fn append(&self, number: i32, title: &str) {
        let issue = GithubIssueMutation { owner: b"golang".to_vec(), repo: b"go".to_vec(), number, title: title.into(), ..Default::default() };
        self.runtime.block_on(self.log.append(Mutation { github_issue: Some(issue), ..Default::default() }.encode())).unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shutdown.cancel();
        self.runtime.block_on(self.log.close());
    }
}

/// A folder with a leader's log in `log`, the torture log.
fn folder() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    well(dir.path(), &["mutlog", "convert", made().join("odd/disk").to_str().unwrap(), "log"]);
    dir
}

fn asked(dir: &Path, server: &str, args: &[&str]) -> Said {
    command(dir, &[&["godata"], args].concat()).env("BURROW_MAINTNER", server).output().unwrap().into()
}

#[test]
fn a_server_is_followed_and_its_cache_serves_without_it() {
    let dir = folder();
    let server = Server::start(&dir.path().join("log"), Readers::everybody());
    let address = server.address.clone();
    let stats = |more: &[&str]| {
        let said = asked(dir.path(), &address, &[&["stats", "--json", "--limit", "0"], more].concat());
        assert_eq!(said.code, 0, "{}", said.err);
        let line: serde_json::Value = serde_json::from_str(said.out.lines().next().unwrap()).unwrap();
        (line, said.err)
    };
    let (first, _) = stats(&[]);
    assert_eq!((first["records"].as_u64(), first["snapshot"].as_bool(), first["offline"].is_null()), (Some(949), Some(false), true));
    let cache = PathBuf::from(text(&first, "folder"));
    assert!(cache.starts_with(dir.path().join(".cache/burrow-godata")) && cache.join("corpus.snap").is_file(), "{cache:?}");
    server.append(9_999, "new at the server");
    let (second, _) = stats(&[]);
    assert_eq!((second["records"].as_u64(), second["snapshot"].as_bool()), (Some(950), Some(true)), "what is new is read behind the snapshot");
    let issue = asked(dir.path(), &address, &["issue", "golang/go#9999", "--json"]);
    assert!(issue.code == 0 && issue.out.contains("new at the server"), "{}", issue.err);
    drop(server);
    // The cache alone: when nobody answers, and when nobody is to be asked.
    let (alone, said) = stats(&[]);
    assert!(alone["records"] == 950 && alone["offline"].is_string() && said.contains("cannot be reached"), "{said}");
    let (offline, said) = stats(&["--offline"]);
    assert!(offline["records"] == 950 && offline["offline"].is_string() && said.is_empty(), "{said}");
    let nothing = asked(dir.path(), &address, &["stats", "--offline", "--dir", "other"]);
    assert!(nothing.code == 3 && nothing.err.contains("other holds no log") && nothing.err.contains("leave out --offline"), "{}", nothing.err);
    let bad = asked(dir.path(), "no address", &["stats"]);
    assert!(bad.code == 2 && bad.err.contains("no address"), "{}", bad.err);
    let nobody = asked(dir.path(), &address, &["watch"]);
    assert!(nobody.code == 3 && nobody.err.contains("cannot connect"), "{}", nobody.err);
}

#[test]
fn a_cache_is_filled_for_go_programs() {
    let dir = tempfile::tempdir().unwrap();
    well(dir.path(), &["mutlog", "torture", "--big", "--layout", "segments", "--out", "big"]);
    well(dir.path(), &["mutlog", "convert", "big", "log"]);
    let server = Server::start(&dir.path().join("log"), Readers::everybody());
    server.append(1, "grows");
    let said = asked(dir.path(), &server.address, &["sync", "--dir", "cache", "--json"]);
    let line: serde_json::Value = serde_json::from_str(&said.out).unwrap_or_else(|_| panic!("{said:?}"));
    let mut names: Vec<String> =
        std::fs::read_dir(dir.path().join("cache")).unwrap().flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.retain(|name| name.ends_with(".mutlog"));
    names.sort();
    let frozen = names.iter().filter(|name| name.len() == 68).count();
    assert_eq!((line["segments"].as_u64(), line["frozen"].as_u64()), (Some(names.len() as u64), Some(frozen as u64)));
    assert!(names.len() >= 3 && frozen >= names.len() - 1, "all but what grows have the names that Go programs trust: {names:?}");
    let (there, here) =
        (well(dir.path(), &["mutlog", "dump", "log", "--out", "/dev/null"]), well(dir.path(), &["mutlog", "dump", "cache", "--out", "/dev/null"]));
    assert_eq!(there, here);
}

#[test]
fn a_token_opens_a_closed_server() {
    let dir = folder();
    let server = Server::start(&dir.path().join("log"), Readers::with_token("open sesame"));
    std::fs::write(dir.path().join("right"), "open sesame\n").unwrap();
    std::fs::write(dir.path().join("wrong"), "open barley\n").unwrap();
    assert_eq!(asked(dir.path(), &server.address, &["stats", "--token-file", "right"]).code, 0);
    let wrong = asked(dir.path(), &server.address, &["stats", "--token-file", "wrong", "--dir", "other"]);
    assert!(wrong.code == 3 && wrong.err.contains("401") && !wrong.err.contains("barley"), "{}", wrong.err);
    assert_eq!(asked(dir.path(), &server.address, &["stats", "--token-file", "absent"]).code, 2);
}

/// A `watch`, up to where it has found the end of the log.
pub(crate) fn watching(dir: &Path, server: &Server, args: &[&str]) -> Process {
    let mut command = command(dir, &[&["godata", "watch"], args].concat());
    command.env("BURROW_MAINTNER", &server.address);
    let process = Process::start(command, None);
    process.wait_for("Ctrl-C ends");
    process
}

#[test]
fn news_are_told_as_they_arrive() {
    let dir = folder();
    let server = Server::start(&dir.path().join("log"), Readers::everybody());
    let (words, object) = (watching(dir.path(), &server, &[]), watching(dir.path(), &server, &["--json", "--limit", "2"]));
    server.append(7, "first \u{1b}[31m");
    words.wait_for(r#"issue golang/go#7: title "first"#);
    server.append(8, "second");
    words.wait_for(r#"issue golang/go#8: title "second""#);
    let ended = object.wait();
    let lines: Vec<serde_json::Value> = ended.lines.iter().filter_map(|line| serde_json::from_str(line).ok()).collect();
    assert_eq!((ended.code(), lines.len()), (0, 2), "it ends after as many as were wanted: {:?}", ended.lines);
    assert_eq!((&lines[1]["mutation"]["github_issue"]["title"], &lines[0]["repeated"]), (&"second".into(), &false.into()));
    assert!(lines[1]["offset"].as_u64() > lines[0]["offset"].as_u64());
    words.interrupt();
    let ended = words.wait();
    assert_eq!(ended.code(), 0, "Ctrl-C is how it ends: {}", ended.text());
    assert!(!ended.text().contains('\u{1b}'), "nothing in a log moves the cursor");
}
