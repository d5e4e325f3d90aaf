//! A real worker on a real socket, and a client that speaks raw bytes.
#![allow(dead_code, unreachable_pub, reason = "each test program uses a part of it")]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use burrow_buildlet::{Config, Listen, Mode, RunError, run};
use tokio_util::sync::CancellationToken;

/// A running worker; dropping it stops it and checks that it ended well.
pub struct Server {
    pub dirs: tempfile::TempDir,
    pub address: String,
    runtime: tokio::runtime::Runtime,
    shutdown: CancellationToken,
    task: Option<tokio::task::JoinHandle<Result<(), RunError>>>,
}

pub fn config(dirs: &std::path::Path, mode: Mode) -> Config {
    for dir in ["w", "s"] {
        std::fs::create_dir_all(dirs.join(dir)).unwrap();
    }
    let environment: BTreeMap<String, String> = [
        ("PATH", "/usr/local/bin:/usr/bin:/bin"),
        ("HOME", "/nonexistent"),
        ("LC_TEST", "kept"),
        ("META_password", "secret-1"),
        ("GO_BUILD_KEY_PATH", "secret-2"),
        ("GO_BUILDLET_TOKEN", "secret-3"),
        ("BURROW_ENROLL_TOKEN", "secret-4"),
        ("ANDROID_HOME", "/android"),
    ]
    .map(|(k, v)| (k.to_owned(), v.to_owned()))
    .into();
    Config {
        mode,
        work_dir: dirs.join("w"),
        state_dir: dirs.join("s"),
        environment,
        halt: false,
        reboot: false,
        ca: None,
        exit_when_idle: None,
        debug: false,
        owns_process: false,
        ssh_port: None,
        ready: None,
    }
}

impl Server {
    pub fn start() -> Self {
        Self::again(tempfile::tempdir().unwrap())
    }

    /// On directories that an earlier worker used.
    pub fn again(dirs: tempfile::TempDir) -> Self {
        let config = config(dirs.path(), Mode::Listen { address: Listen::Unix(dirs.path().join("sock")), tls: None, password: None });
        Self::with(dirs, config)
    }

    pub fn with(dirs: tempfile::TempDir, mut config: Config) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let shutdown = CancellationToken::new();
        let (sender, mut ready) = tokio::sync::watch::channel(None);
        config.ready = Some(sender);
        let task = runtime.spawn(run(config, shutdown.clone()));
        let address = runtime.block_on(async { ready.wait_for(Option::is_some).await.map(|a| a.clone()).ok().flatten() });
        let Some(address) = address else { panic!("the worker did not start: {:?}", runtime.block_on(task)) };
        Self { dirs, address, runtime, shutdown, task: Some(task) }
    }

    /// Stops it; the directories stay.
    pub fn stop(mut self) -> tempfile::TempDir {
        self.shutdown.cancel();
        let task = self.task.take().unwrap();
        self.runtime.block_on(task).unwrap().unwrap();
        std::mem::replace(&mut self.dirs, tempfile::tempdir().unwrap())
    }

    /// Waits until it ends by itself.
    pub fn ended(mut self) -> (tempfile::TempDir, Result<(), RunError>) {
        let task = self.task.take().unwrap();
        let result = self.runtime.block_on(task).unwrap();
        (std::mem::replace(&mut self.dirs, tempfile::tempdir().unwrap()), result)
    }

    pub fn work(&self) -> PathBuf {
        self.dirs.path().join("w").canonicalize().unwrap()
    }

    pub fn connect(&self) -> Client {
        Client(BufReader::new(UnixStream::connect(&self.address).unwrap()))
    }

    /// One request on a connection of its own.
    pub fn ask(&self, method: &str, target: &str, body: &[u8]) -> Answer {
        self.connect().ask(method, target, &[], body)
    }

    pub fn json(&self, method: &str, target: &str, body: &str) -> (u16, serde_json::Value) {
        let answer = self.ask(method, target, body.as_bytes());
        (answer.status, serde_json::from_slice(&answer.body).unwrap_or(serde_json::Value::Null))
    }

    /// Runs a shell command through `/exec`; output and process state.
    pub fn sh(&self, script: &str) -> (String, String) {
        let mut client = self.connect();
        client.exec(&format!("cmd=/bin/sh&mode=sys&cmdArg=-c&cmdArg={}", escape(script)));
        let answer = client.answer();
        assert_eq!(answer.status, 200, "{}", answer.text());
        (answer.text(), answer.trailer("process-state").unwrap_or_default())
    }

    /// Runs a shell script as an execution to its end.
    pub fn execute(&self, id: &str, script: &str) -> serde_json::Value {
        let request = serde_json::json!({"cmd": "/bin/sh", "args": ["-c", script]});
        let (status, state) = self.json("PUT", &format!("/executions/{id}?wait_ms=60000"), &request.to_string());
        assert_eq!(status, 201, "{state}");
        state
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(task) = self.task.take() {
            self.shutdown.cancel();
            let ended = self.runtime.block_on(task);
            if !std::thread::panicking() {
                ended.unwrap().unwrap();
            }
        }
    }
}

pub fn escape(text: &str) -> String {
    text.bytes().map(|b| if b.is_ascii_alphanumeric() { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

pub struct Client(pub BufReader<UnixStream>);

#[derive(Debug, Default)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    pub trailers: Vec<(String, String)>,
    /// The body ended as announced.
    pub complete: bool,
}

impl Answer {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn header(&self, name: &str) -> Option<String> {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.clone())
    }

    pub fn trailer(&self, name: &str) -> Option<String> {
        self.trailers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.clone())
    }
}

impl Client {
    pub fn send(&mut self, bytes: &[u8]) {
        self.0.get_mut().write_all(bytes).unwrap();
    }

    pub fn close_write(&mut self) {
        self.0.get_mut().shutdown(Shutdown::Write).unwrap();
    }

    pub fn ask(&mut self, method: &str, target: &str, headers: &[&str], body: &[u8]) -> Answer {
        let mut head = format!("{method} {target} HTTP/1.1\r\nHost: \r\nContent-Length: {}\r\n", body.len());
        for header in headers {
            head.push_str(header);
            head.push_str("\r\n");
        }
        head.push_str("\r\n");
        // At once: a request that is refused for its head may be answered, and its connection closed, before a second write.
        self.send(&[head.as_bytes(), body].concat());
        self.answer()
    }

    /// Sends an `/exec` request as Go's client does: without `TE: trailers`.
    pub fn exec(&mut self, form: &str) {
        self.send(
            format!(
                "POST /exec HTTP/1.1\r\nHost: x\r\nUser-Agent: Go-http-client/1.1\r\nContent-Length: {}\r\nContent-Type: application/x-www-form-urlencoded\r\nAccept-Encoding: gzip\r\n\r\n{form}",
                form.len()
            )
            .as_bytes(),
        );
    }

    fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        let n = self.0.read_line(&mut line).ok()?;
        (n > 0).then(|| line.trim_end().to_owned())
    }

    fn fields(&mut self) -> Vec<(String, String)> {
        let mut out = Vec::new();
        while let Some(line) = self.line().filter(|l| !l.is_empty()) {
            let (name, value) = line.split_once(':').unwrap();
            out.push((name.to_owned(), value.trim().to_owned()));
        }
        out
    }

    pub fn head(&mut self) -> Answer {
        let Some(line) = self.line() else { return Answer::default() };
        let status = line.split(' ').nth(1).unwrap().parse().unwrap();
        Answer { status, headers: self.fields(), ..Answer::default() }
    }

    pub fn chunk(&mut self) -> Option<Vec<u8>> {
        let size = usize::from_str_radix(&self.line()?, 16).unwrap();
        let mut data = vec![0; size];
        self.0.read_exact(&mut data).ok()?;
        if size > 0 {
            self.line()?;
        }
        Some(data)
    }

    pub fn answer(&mut self) -> Answer {
        let mut answer = self.head();
        if let Some(length) = answer.header("content-length") {
            let mut body = vec![0; length.parse().unwrap()];
            answer.complete = self.0.read_exact(&mut body).is_ok();
            answer.body = body;
        } else if answer.header("transfer-encoding").is_some() {
            while let Some(chunk) = self.chunk() {
                if chunk.is_empty() {
                    answer.trailers = self.fields();
                    answer.complete = true;
                    break;
                }
                answer.body.extend(chunk);
            }
        }
        answer
    }
}

/// Polls until something holds; what is waited for happens in another process that tells nobody.
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(30);
    while !holds() {
        assert!(Instant::now() < end, "{what} did not happen within 30 s");
        std::thread::yield_now();
        std::thread::park_timeout(Duration::from_millis(2));
    }
}

/// Whether a process exists and is no zombie.
pub fn alive(pid: &str) -> bool {
    std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())).is_ok_and(|s| !s.rsplit(')').next().unwrap().trim_start().starts_with(['Z', 'X']))
}

/// A tar built entry by entry, also with names that the builder would refuse.
#[derive(Default)]
pub struct Tar(Vec<u8>);

impl Tar {
    pub fn entry(mut self, name: &str, kind: tar::EntryType, mode: u32, mtime: u64, link: &str, data: &[u8]) -> Self {
        let mut header = tar::Header::new_ustar();
        let old = header.as_old_mut();
        old.name[..name.len()].copy_from_slice(name.as_bytes());
        old.linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_mtime(mtime);
        header.set_size(data.len() as u64);
        header.set_cksum();
        self.0.extend_from_slice(header.as_bytes());
        self.0.extend_from_slice(data);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    pub fn file(self, name: &str, data: &str) -> Self {
        self.entry(name, tar::EntryType::Regular, 0o644, 1_000_000_000, "", data.as_bytes())
    }

    pub fn script(self, name: &str, data: &str) -> Self {
        self.entry(name, tar::EntryType::Regular, 0o755, 1_000_000_000, "", data.as_bytes())
    }

    pub fn link(self, kind: tar::EntryType, name: &str, target: &str) -> Self {
        self.entry(name, kind, 0o777, 0, target, b"")
    }

    pub fn finish(mut self) -> Vec<u8> {
        self.0.extend_from_slice(&[0; 1024]);
        self.0
    }

    pub fn gz(self) -> Vec<u8> {
        gzip(&self.finish())
    }
}

pub fn gzip(data: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}
