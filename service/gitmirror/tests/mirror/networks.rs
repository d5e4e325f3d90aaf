//! Upstreams and destinations over HTTP and SSH, with the servers that git and Debian bring.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::Response;
use burrow_gitmirror::config::{Access, Dest, Repo};
use testkit_harness::Process;

use crate::scene::{REPO, Scene, git, quiet, round, until};

/// `git http-backend` behind a small CGI: what a git server over HTTP is made of. Repositories of `root` are served at `/name`; with a user and password if
/// `secret` is given.
struct HttpGit {
    address: String,
    requests: Arc<AtomicUsize>,
}

impl HttpGit {
    async fn start(root: &Path, secret: Option<&str>) -> HttpGit {
        use base64::Engine as _;
        let requests = Arc::new(AtomicUsize::new(0));
        let (root, counter) = (root.to_owned(), Arc::clone(&requests));
        let wanted = secret.map(|pair| format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(pair)));
        let handler = move |method: Method, uri: Uri, headers: HeaderMap, body: Bytes| {
            counter.fetch_add(1, Ordering::SeqCst);
            let (root, wanted) = (root.clone(), wanted.clone());
            async move {
                if wanted.is_some() && headers.get("authorization").and_then(|value| value.to_str().ok()) != wanted.as_deref() {
                    return Response::builder().status(StatusCode::UNAUTHORIZED).header("www-authenticate", "Basic realm=\"git\"").body(Body::empty()).unwrap();
                }
                tokio::task::spawn_blocking(move || backend(&root, &method, &uri, &headers, &body)).await.unwrap()
            }
        };
        let app = axum::Router::new().fallback(handler).layer(axum::extract::DefaultBodyLimit::disable());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        tokio::spawn(async move { axum::serve(listener, app).await });
        HttpGit { address, requests }
    }

    fn url(&self, name: &str) -> String {
        format!("http://{}/{name}", self.address)
    }
}

fn backend(root: &Path, method: &Method, uri: &Uri, headers: &HeaderMap, body: &[u8]) -> Response {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
    let mut child = Command::new("git")
        .arg("http-backend")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_PROJECT_ROOT", root)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("REMOTE_USER", "ada")
        .env("REQUEST_METHOD", method.as_str())
        .env("PATH_INFO", uri.path())
        .env("QUERY_STRING", uri.query().unwrap_or_default())
        .env("CONTENT_TYPE", header("content-type"))
        .env("CONTENT_LENGTH", body.len().to_string())
        .env("HTTP_CONTENT_ENCODING", header("content-encoding"))
        .env("GIT_PROTOCOL", header("git-protocol"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    let body = body.to_vec();
    let writer = std::thread::spawn(move || drop(std::io::Write::write_all(&mut input, &body)));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    let end = output.stdout.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
    let mut answer = Response::builder();
    for line in String::from_utf8_lossy(&output.stdout[..end]).lines() {
        let (name, value) = line.split_once(": ").unwrap();
        answer = match name {
            "Status" => answer.status(value.split(' ').next().unwrap().parse::<u16>().unwrap()),
            _ => answer.header(name, value),
        };
    }
    answer.body(Body::from(output.stdout[end + 4..].to_vec())).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn both_ends_over_http_with_a_token_and_one_request_a_poll() {
    let scene = Scene::new();
    let dest = scene.bare("dest.git");
    let public = HttpGit::start(scene.upstream.path(), None).await;
    let guarded = HttpGit::start(scene.dir.path(), Some("ada:s3cret")).await;
    let token = scene.path("token");
    std::fs::write(&token, "ada:s3cret\n").unwrap();
    let mut repo = Repo::kept(REPO, &public.url(".git"));
    repo.dest = vec![Dest { access: Access { token_file: Some(token.clone()), ..Access::default() }, ..Dest::plain("dest", &guarded.url("dest.git")) }];
    let mirror = scene.start(scene.config_of(repo)).await;
    quiet(&mirror).await;
    assert_eq!(scene.refs(&dest), scene.upstream_refs(), "{:#?}", mirror.status());
    scene.upstream.write("a.txt", "two").commit("second");
    scene.upstream.git(&["branch", "other"]);
    round(&mirror).await;
    assert_eq!(scene.refs(&dest), scene.upstream_refs());
    // Nothing has changed: one question to the upstream, none to the destination.
    let before = (public.requests.load(Ordering::SeqCst), guarded.requests.load(Ordering::SeqCst));
    for _ in 0..3 {
        round(&mirror).await;
    }
    assert_eq!((public.requests.load(Ordering::SeqCst) - before.0, guarded.requests.load(Ordering::SeqCst) - before.1), (3, 0));
    // A wrong token is told as such.
    std::fs::write(&token, "ada:wrong\n").unwrap();
    scene.upstream.write("a.txt", "three").commit("third");
    mirror.wake(REPO);
    let error = until(&mirror, "the refusal", |s| s.repo(REPO).and_then(|r| r.dest("dest")).filter(|d| d.failures > 0).map(|d| d.error.clone())).await;
    assert!(error.contains("refuses access") && !error.contains("wrong"), "{error}");
    mirror.stop().await;
}

/// sshd of this user on a port of its own, which takes one key; `None` where there is no sshd.
struct Ssh {
    _server: Process,
    port: u16,
    key: PathBuf,
    known_hosts: PathBuf,
}

impl Ssh {
    fn start(dir: &Path) -> Option<Ssh> {
        let server = ["/usr/sbin/sshd", "/usr/bin/sshd"].into_iter().find(|path| Path::new(path).exists());
        let Some(server) = server else {
            testkit_harness::skip("no sshd (Debian: openssh-server)");
            return None;
        };
        let dir = dir.join("ssh");
        std::fs::create_dir_all(&dir).unwrap();
        for name in ["host", "key"] {
            let made = Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(dir.join(name)).status().unwrap();
            assert!(made.success());
        }
        let user_key = std::fs::read_to_string(dir.join("key.pub")).unwrap();
        std::fs::write(dir.join("authorized_keys"), &user_key).unwrap();
        // The port is free now and hopefully still in a moment; sshd cannot choose one itself.
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let config = format!(
            "Port {port}\nListenAddress 127.0.0.1\nHostKey {dir}/host\nAuthorizedKeysFile {dir}/authorized_keys\nPidFile none\nStrictModes no\nUsePAM no\n\
             PasswordAuthentication no\nPermitRootLogin yes\nAcceptEnv GIT_PROTOCOL\n",
            dir = dir.display()
        );
        std::fs::write(dir.join("config"), config).unwrap();
        if is_root() {
            // sshd separates its privileges into a folder that Debian makes at boot.
            let _ = std::fs::create_dir_all("/run/sshd");
        }
        let mut command = Command::new(server);
        command.args(["-D", "-e", "-f"]).arg(dir.join("config"));
        let process = Process::start(command, None);
        process.wait_for("Server listening");
        let host_key = std::fs::read_to_string(dir.join("host.pub")).unwrap();
        std::fs::write(dir.join("known_hosts"), format!("[127.0.0.1]:{port} {host_key}")).unwrap();
        Some(Ssh { _server: process, port, key: dir.join("key"), known_hosts: dir.join("known_hosts") })
    }

    fn url(&self, path: &Path) -> String {
        format!("ssh://127.0.0.1:{}{}", self.port, path.display())
    }

    fn access(&self) -> Access {
        Access { key_file: Some(self.key.clone()), known_hosts: Some(self.known_hosts.clone()), ..Access::default() }
    }
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

#[tokio::test(flavor = "multi_thread")]
async fn both_ends_over_ssh_with_a_key() {
    let scene = Scene::new();
    let Some(ssh) = Ssh::start(scene.dir.path()) else { return };
    let dest = scene.bare("dest.git");
    let mut repo = Repo::kept(REPO, &ssh.url(scene.upstream.path()));
    repo.access = ssh.access();
    repo.dest = vec![Dest { access: ssh.access(), ..Dest::plain("dest", &ssh.url(&dest)) }];
    let mirror = scene.start(scene.config_of(repo)).await;
    quiet(&mirror).await;
    assert_eq!(scene.refs(&dest), scene.upstream_refs(), "{:#?}", mirror.status());
    scene.upstream.git(&["branch", "other"]);
    scene.upstream.write("a.txt", "two").commit("second");
    round(&mirror).await;
    assert_eq!(scene.refs(&dest), scene.upstream_refs());
    // A host that is not the one that we know is not talked to.
    std::fs::write(&ssh.known_hosts, format!("[127.0.0.1]:{} ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIN5Vx2pwMbgyRGcF9Gc0yqSm6K6YdfKc4hFUNRDBdl7s", ssh.port))
        .unwrap();
    mirror.wake(REPO);
    let error = until(&mirror, "the refusal", |s| s.repo(REPO).filter(|r| r.failures > 0).map(|r| r.error.clone())).await;
    assert!(error.contains("refuses access") && error.contains("verification failed"), "{error}");
    assert_eq!(git(&dest, &["rev-parse", "main"]), scene.upstream.head());
    mirror.stop().await;
}
