//! The pool of processes, with this very test program as the worker.

#![cfg(unix)]

use std::ffi::OsString;
use std::io::{Read, Write};
use std::path::Path;
use std::time::Duration;

use burrow_pool::process::{ProcessConfig, ProcessPool};
use burrow_pool::{PoolEvent, Worker};
use rustix::process::{Pid, Signal, WaitOptions, kill_process, test_kill_process, waitpid};
use tokio::sync::mpsc::{self, UnboundedReceiver};
use tokio::time::Instant;

/// Not a test: the worker program, which the pool starts as `<this executable> --ignored --exact worker_program --nocapture --listen …`. The words the test
/// harness does not know are filters to it.
#[test]
#[ignore = "this is the worker program the other tests start"]
fn worker_program() {
    let args: Vec<String> = std::env::args().collect();
    let after = |name: &str| args.iter().position(|a| a == name).and_then(|i| args.get(i + 1)).cloned();
    let (Some(listen), Some(workdir), Some(state)) = (after("--listen"), after("--workdir"), after("--state-dir")) else {
        panic!("start it through the pool");
    };
    assert!(Path::new(&workdir).is_dir() && Path::new(&state).is_dir());
    assert!(std::env::var_os("SECRET_OF_THE_COORDINATOR").is_none());
    let listener = std::os::unix::net::UnixListener::bind(listen.strip_prefix("unix:").unwrap()).unwrap();
    let instance = format!("{:032x}", rand::random::<u128>());
    for stream in listener.incoming() {
        let (mut stream, instance) = (stream.unwrap(), instance.clone());
        std::thread::spawn(move || {
            let mut request = Vec::new();
            let mut chunk = [0; 1024];
            while let Ok(count @ 1..) = stream.read(&mut chunk) {
                request.extend_from_slice(&chunk[..count]);
                if !request.ends_with(b"\r\n\r\n") {
                    continue;
                }
                let halt = request.starts_with(b"POST /halt ");
                request.clear();
                let body = format!("{{\"Version\":29,\"Burrow\":{{\"protocol\":1,\"instance\":\"{instance}\"}}}}");
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
                let _ = stream.write_all(head.as_bytes());
                if halt {
                    std::process::exit(0);
                }
            }
        });
    }
}

fn config(count: u32, dir: &Path) -> ProcessConfig {
    let program: Vec<OsString> =
        [std::env::current_exe().unwrap().into_os_string(), "--ignored".into(), "--exact".into(), "worker_program".into(), "--nocapture".into(), "--".into()]
            .into();
    ProcessConfig::new(count, "host-local", dir, program)
}

/// A data directory whose workers are ended with it, also when a test fails.
struct Home(tempfile::TempDir);

impl Home {
    fn new() -> Home {
        Home(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        for entry in std::fs::read_dir(self.path()).into_iter().flatten().flatten() {
            if let Ok(mut stream) = std::os::unix::net::UnixStream::connect(entry.path().join("sock")) {
                let _ = stream.write_all(b"POST /halt HTTP/1.1\r\n\r\n");
            }
        }
    }
}

/// Freezes a worker and waits until it is.
fn stop(pid: Pid) {
    kill_process(pid, Signal::STOP).unwrap();
    let (_, status) = waitpid(Some(pid), WaitOptions::UNTRACED).unwrap().unwrap();
    assert!(status.stopped());
}

struct Running {
    pool: ProcessPool,
    events: UnboundedReceiver<PoolEvent>,
}

impl Running {
    fn start(config: ProcessConfig) -> Running {
        let (sender, events) = mpsc::unbounded_channel();
        Running { pool: ProcessPool::start(config, sender).unwrap(), events }
    }

    async fn up(&mut self) -> Worker {
        match self.events.recv().await.unwrap() {
            PoolEvent::Up(worker) => worker,
            other => panic!("{other:?}"),
        }
    }

    async fn lost(&mut self) -> (String, String, String) {
        loop {
            match self.events.recv().await.unwrap() {
                PoolEvent::Lost { id, instance, reason } => return (id, instance, reason),
                PoolEvent::Unreachable { .. } => {}
                other => panic!("{other:?}"),
            }
        }
    }

    fn pid(&self, id: &str) -> Pid {
        let snapshot = self.pool.snapshot();
        Pid::from_raw(snapshot.iter().find(|s| s.id == id).unwrap().pid.unwrap()).unwrap()
    }
}

#[tokio::test]
async fn a_killed_worker_is_lost_at_once_and_started_again() {
    let dir = Home::new();
    let mut running = Running::start(config(2, dir.path()));
    let (a, b) = (running.up().await, running.up().await);
    let mut ids = [a.id.as_str(), b.id.as_str()];
    ids.sort_unstable();
    assert_eq!(ids, ["local-1", "local-2"]);
    assert!(a.modern && a.instance != b.instance);
    assert_eq!(a.client.status().await.unwrap().burrow.unwrap().instance, a.instance);
    kill_process(running.pid(&a.id), Signal::KILL).unwrap();
    let (id, instance, reason) = running.lost().await;
    assert_eq!((id, instance), (a.id.clone(), a.instance.clone()));
    // Not by a missed heartbeat: the exit itself was seen.
    assert!(reason.contains("signal: 9"), "{reason}");
    let again = running.up().await;
    assert_eq!(again.id, a.id);
    assert_ne!(again.instance, a.instance);
    running.pool.stop_all().await;
    assert!(running.events.try_recv().is_err());
}

#[tokio::test]
async fn workers_outlive_the_pool_and_are_adopted_and_stopped_by_the_next() {
    let dir = Home::new();
    let mut first = Running::start(config(1, dir.path()));
    let worker = first.up().await;
    let pid = first.pid("local-1");
    // It leads a session of its own, so that no signal to the coordinator's terminal reaches it.
    assert_eq!(rustix::process::getsid(Some(pid)).unwrap(), pid);
    // As after kill -9: nothing was told to stop.
    drop(first);
    let mut second = Running::start(config(1, dir.path()));
    let adopted = second.up().await;
    assert_eq!((adopted.id.as_str(), &adopted.instance), ("local-1", &worker.instance));
    assert_eq!(second.pid("local-1"), pid);
    // The clone of the first coordinator's client works as well: it is the same process.
    assert_eq!(worker.client.status().await.unwrap().burrow.unwrap().instance, worker.instance);
    assert!(second.pool.drain("local-1", true));
    assert!(matches!(second.events.recv().await, Some(PoolEvent::Draining { draining: true, .. })));
    second.pool.stop_all().await;
    assert!(worker.client.status().await.is_err());
}

#[tokio::test]
async fn an_adopted_worker_that_is_killed_is_lost_at_once() {
    let dir = Home::new();
    let mut first = Running::start(config(1, dir.path()));
    first.up().await;
    drop(first);
    let mut second = Running::start(config(1, dir.path()));
    let adopted = second.up().await;
    kill_process(second.pid("local-1"), Signal::KILL).unwrap();
    let (_, instance, reason) = second.lost().await;
    // Not by missed heartbeats, which would say how long it was silent.
    assert_eq!((instance, reason.as_str()), (adopted.instance.clone(), "the worker process ended"));
    assert_ne!(second.up().await.instance, adopted.instance);
    second.pool.stop_all().await;
}

#[tokio::test]
async fn a_frozen_worker_is_lost_within_15_seconds_and_replaced() {
    let dir = Home::new();
    let mut running = Running::start(config(1, dir.path()));
    let worker = running.up().await;
    let pid = running.pid("local-1");
    stop(pid);
    // A stopped process moves no byte, so the test's clock may run ahead.
    tokio::time::pause();
    let begin = Instant::now();
    let (_, instance, reason) = running.lost().await;
    assert_eq!(instance, worker.instance);
    assert!(reason.starts_with("no answer for 1"), "{reason}");
    assert!(begin.elapsed() <= Duration::from_secs(15), "{:?}", begin.elapsed());
    tokio::time::resume();
    assert_ne!(running.up().await.instance, worker.instance);
    // It did not stay behind to wake up beside its successor.
    assert!(test_kill_process(pid).is_err());
    running.pool.stop_all().await;
}

#[tokio::test]
async fn a_frozen_worker_of_an_earlier_coordinator_is_replaced() {
    let dir = Home::new();
    let mut first = Running::start(config(1, dir.path()));
    let worker = first.up().await;
    let pid = first.pid("local-1");
    stop(pid);
    drop(first);
    tokio::time::pause();
    let mut second = Running::start(config(1, dir.path()));
    tokio::task::yield_now().await;
    let fresh = second.up().await;
    tokio::time::resume();
    assert_ne!(fresh.instance, worker.instance);
    second.pool.stop_all().await;
}

#[tokio::test]
async fn a_data_directory_may_be_deep() {
    let dir = Home::new();
    let deep = dir.path().join("d".repeat(120)).join("e".repeat(90));
    let mut running = Running::start(config(1, &deep));
    let worker = running.up().await;
    assert_eq!(worker.client.status().await.unwrap().burrow.unwrap().instance, worker.instance);
    running.pool.stop_all().await;
}

#[tokio::test(start_paused = true)]
async fn a_program_that_ends_at_once_is_tried_again_and_the_reason_is_shown() {
    let dir = Home::new();
    let mut config = config(1, dir.path());
    config.program = vec!["/bin/sh".into(), "-c".into(), "echo no such luck; exit 3".into(), "sh".into()];
    let running = Running::start(config);
    let shown = loop {
        let snapshot = running.pool.snapshot().remove(0);
        if snapshot.starts >= 3 && snapshot.state.contains("exit status") {
            break snapshot.state;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    assert!(shown.starts_with("the worker ended while it started: exit status: 3; see "), "{shown}");
    running.pool.stop_all().await;
    let log = std::fs::read_to_string(dir.path().join("local-1/log")).unwrap();
    assert!(log.starts_with("no such luck\nno such luck\n"), "{log}");
}

#[test]
fn a_pool_without_a_program_is_refused() {
    let dir = Home::new();
    let mut config = config(1, dir.path());
    config.program.clear();
    assert!(ProcessPool::start(config, mpsc::unbounded_channel().0).is_err());
}
