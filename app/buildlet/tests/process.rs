//! The executable itself: flags, signals, adopted daemons, and what a killed worker leaves to the next.
#![cfg(target_os = "linux")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// A running worker; killed if a test forgets it.
struct Worker {
    child: Child,
    dir: tempfile::TempDir,
}

fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_buildlet"));
    command.env_remove("RUST_LOG").stdin(Stdio::null());
    command
}

fn start(dir: tempfile::TempDir, more: &[&str]) -> Worker {
    let path = |name: &str| dir.path().join(name).display().to_string();
    std::fs::create_dir_all(dir.path().join("w")).unwrap();
    let mut child = program()
        .args(["-halt=false", "-workdir", &path("w"), &format!("--state-dir={}", path("s")), "--listen", &format!("unix:{}", path("sock"))])
        .args(more)
        .env("META_password", "secret-1")
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // Its log says when it listens.
    let mut log = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    while log.read_line(&mut line).unwrap() > 0 && !line.contains("listens") {
        line.clear();
    }
    assert!(line.contains("listens"), "the worker did not start");
    std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
    Worker { child, dir }
}

impl Worker {
    fn ask(&self, method: &str, target: &str, body: &str) -> String {
        let mut stream = UnixStream::connect(self.dir.path().join("sock")).unwrap();
        write!(stream, "{method} {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}", body.len()).unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text.split_once("\r\n\r\n").unwrap().1.to_owned()
    }

    fn sh(&self, id: &str, script: &str, wait: u32) -> String {
        let script = script.replace('\\', "\\\\").replace('"', "\\\"");
        self.ask("PUT", &format!("/executions/{id}?wait_ms={wait}"), &format!(r#"{{"cmd":"/bin/sh","args":["-c","{script}"]}}"#))
    }

    fn pid_in(&self, name: &str) -> String {
        let file = self.dir.path().join("w").join(name);
        eventually("the start of a process", || std::fs::read_to_string(&file).is_ok_and(|p| p.ends_with('\n')));
        std::fs::read_to_string(&file).unwrap().trim().to_owned()
    }

    fn end(mut self) -> (std::process::ExitStatus, tempfile::TempDir) {
        let status = self.child.wait().unwrap();
        let dir = std::mem::replace(&mut self.dir, tempfile::tempdir().unwrap());
        (status, dir)
    }

    fn signal(&self, signal: &str) {
        assert!(Command::new("kill").args([signal, &self.child.id().to_string()]).status().unwrap().success());
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(30);
    while !holds() {
        assert!(Instant::now() < end, "{what} did not happen within 30 s");
        std::thread::park_timeout(Duration::from_millis(2));
    }
}

/// None when there is no such process; else its state letter and its parent.
fn state(pid: &str) -> Option<(char, String)> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
    Some((fields.next()?.chars().next()?, fields.next()?.to_owned()))
}

fn alive(pid: &str) -> bool {
    state(pid).is_some_and(|(state, _)| !matches!(state, 'Z' | 'X'))
}

/// A daemon in every way: double fork, own session, own environment, no open files.
const DAEMON: &str = "(setsid env -i /bin/sh -c '/bin/sleep 1000 & echo $! > daemon' </dev/null >/dev/null 2>&1 &)";

#[test]
fn daemons_are_adopted_reaped_and_do_not_outlive_the_next_prepare() {
    let worker = start(tempfile::tempdir().unwrap(), &[]);
    assert!(worker.sh("x", DAEMON, 60_000).contains(r#""process_state":"ok""#));
    let pid = worker.pid_in("daemon");
    eventually("the adoption", || state(&pid).is_some_and(|(_, parent)| parent == worker.child.id().to_string()));
    assert!(alive(&pid), "a later step may use what an earlier one started");
    assert_eq!(worker.ask("POST", "/prepare", "{}"), r#"{"trees":{}}"#);
    eventually("the reaping", || state(&pid).is_none());
    // Many short ones leave no zombies.
    assert!(worker.sh("y", "for i in 1 2 3 4 5; do (setsid /bin/true &); done; sleep 0.1", 60_000).contains(r#""ok""#));
    let own = worker.child.id().to_string();
    let children = || {
        let all = std::fs::read_dir("/proc").unwrap().flatten();
        all.filter(|e| e.file_name().to_str().and_then(state).is_some_and(|(_, parent)| parent == own)).count()
    };
    eventually("the reaping of zombies", || children() == 0);
    worker.signal("-TERM");
    let (status, _) = worker.end();
    assert!(status.success());
}

#[test]
fn a_daemon_dies_with_its_killed_execution() {
    let worker = start(tempfile::tempdir().unwrap(), &[]);
    worker.sh("x", &format!("{DAEMON}; sleep 1000"), 0);
    let pid = worker.pid_in("daemon");
    assert!(worker.ask("DELETE", "/executions/x", "").contains(r#""stopped_by":"killed""#));
    if Path::new("/proc/1/cgroup").exists() && !writable_groups() {
        println!("SKIPPED: without control groups a daemon with an environment of its own is found only by the next prepare");
        worker.ask("POST", "/prepare", "{}");
    }
    eventually("the end of the daemon", || !alive(&pid));
}

fn writable_groups() -> bool {
    ["/sys/fs/cgroup", "/sys/fs/cgroup/unified", "/sys/fs/cgroup/freezer"].iter().any(|base| {
        let probe = Path::new(base).join(format!("burrow-probe-{}", std::process::id()));
        std::fs::create_dir(&probe).is_ok() && {
            let usable = probe.join("cgroup.procs").exists();
            std::fs::remove_dir(&probe).is_ok() && usable
        }
    })
}

#[test]
fn after_a_kill_the_next_worker_ends_what_is_left_and_says_what_was_lost() {
    let mut worker = start(tempfile::tempdir().unwrap(), &[]);
    worker.sh("ended", "echo kept", 60_000);
    worker.sh("lost", "echo begun; setsid sleep 1000 & echo $! > pid; sleep 1000", 0);
    let pid = worker.pid_in("pid");
    // What was still in the pipe is lost with the worker.
    eventually("the output in the spool", || worker.ask("GET", "/executions/lost", "").contains(r#""output_bytes":6"#));
    worker.child.kill().unwrap();
    let (_, dir) = worker.end();
    let worker = start(dir, &[]);
    assert!(!alive(&pid));
    assert!(worker.ask("GET", "/executions/ended", "").contains(r#""exit_code":0"#));
    let lost = worker.ask("GET", "/executions/lost", "");
    assert!(lost.contains(r#""state":"exited""#) && lost.contains(r#""error":"the worker was restarted""#), "{lost}");
    assert_eq!(worker.ask("GET", "/executions/lost/output", ""), "6\r\nbegun\n\r\n0\r\n\r\n");
    // The same request again does not run it again.
    assert!(worker.sh("ended", "echo kept", 0).contains(r#""exit_code":0"#));
}

#[test]
fn a_signal_ends_the_worker_cleanly_and_takes_its_builds_with_it() {
    for signal in ["-TERM", "-INT"] {
        let worker = start(tempfile::tempdir().unwrap(), &[]);
        worker.sh("x", "echo $$ > pid; sleep 1000", 0);
        let pid = worker.pid_in("pid");
        worker.signal(signal);
        let (status, dir) = worker.end();
        assert!(status.success() && !alive(&pid));
        assert!(!dir.path().join("sock").exists(), "the socket is removed");
        let record = std::fs::read_to_string(dir.path().join("s/executions/x/exit.json")).unwrap();
        assert!(record.contains(r#""stopped_by":"killed""#), "{record}");
    }
}

#[test]
fn halt_ends_the_process() {
    let worker = start(tempfile::tempdir().unwrap(), &[]);
    worker.ask("POST", "/halt", "");
    assert!(worker.end().0.success());
}

#[test]
fn an_idle_worker_ends() {
    let worker = start(tempfile::tempdir().unwrap(), &["--exit-when-idle", "100ms"]);
    assert!(worker.end().0.success());
}

fn run(args: &[&str]) -> Output {
    program().args(args).output().unwrap()
}

#[test]
fn flags_take_one_dash_or_two_and_mistakes_are_explained() {
    for version in [["-version"], ["--version"]] {
        let output = run(&version);
        assert!(output.status.success() && String::from_utf8_lossy(&output.stdout).starts_with("buildlet "));
    }
    let help = String::from_utf8(run(&["-h"]).stdout).unwrap();
    for flag in [
        "--listen",
        "--coordinator",
        "--reverse-type",
        "--enroll",
        "--workdir",
        "--state-dir",
        "--halt",
        "--reboot",
        "--exit-when-idle",
        "--health-addr",
        "--ca",
        "Examples:",
    ] {
        assert!(help.contains(flag), "{flag}");
    }
    for (args, words) in [
        (vec!["--nonsense"], "unknown flag --nonsense"),
        (vec!["--halt=maybe"], "--halt=maybe: give true or false"),
        (vec!["--workdir", "/nonexistent/x"], "create it first"),
        (vec!["--exit-when-idle", "soon"], "give a duration"),
        (vec!["stray"], "unexpected argument"),
        (vec!["--listen"], "--listen needs a value"),
    ] {
        let output = run(&args);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(2) && text.contains(words), "{args:?}: {text}");
    }
    // A machine without credentials is told how to get some.
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_str().unwrap();
    let output = program().args(["--reverse-type=t", "--health-addr=", "--workdir", path, "--state-dir", path]).env("HOME", path).output().unwrap();
    assert!(!output.status.success() && String::from_utf8_lossy(&output.stderr).contains("--enroll TOKEN"));
}
