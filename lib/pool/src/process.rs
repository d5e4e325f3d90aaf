//! Workers that are processes on this machine (`spec/pools.md` §10, kind `process`).
//!
//! Each worker has a directory `<dir>/<name>` with its socket, work directory, state and log. It is started detached (a session of its own, nothing
//! inherited), so that it and the builds on it outlive the coordinator: the next coordinator finds it behind its socket and adopts it. A worker that
//! nobody asks anything for 10 minutes ends by itself. One that dies is started again, with growing pauses if it keeps dying.
//!
//! No isolation beyond the operating system's user: for trusted work.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use burrow_buildlet_client::{Client, Status};
use burrow_task::BoxFuture;
use rustix::process::{Pid, Signal};
use serde::Serialize;
use thiserror::Error;
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use crate::heartbeat::{Noticed, Probe, Watch};
use crate::{Events, PoolEvent, Timing, Worker};

/// A worker has so long to answer after it was started.
const START_LIMIT: Duration = Duration::from_secs(20);
/// How often a starting worker is tried.
const START_POLL: Duration = Duration::from_millis(10);
/// How often a late worker is looked at whether it has ended.
const GONE_POLL: Duration = Duration::from_millis(100);
/// A worker found behind a socket has so long to answer before it counts as frozen.
const ADOPT_LIMIT: Duration = Duration::from_secs(3);
/// Pauses before a worker is started again grow from the first to the second; after the third of healthy life they begin anew.
const BACK_OFF_FIRST: Duration = Duration::from_millis(100);
const BACK_OFF_MOST: Duration = Duration::from_secs(30);
const BACK_OFF_FORGET: Duration = Duration::from_secs(60);
/// A worker that was told to stop has so long before it is killed.
const STOP_LIMIT: Duration = Duration::from_secs(5);
/// Longest address of a Unix socket on every system; longer paths are bound relative to the worker's directory.
const MAX_SOCKET_PATH: usize = 100;
/// A log longer than this is set aside when the worker starts.
const MAX_LOG: u64 = 16 << 20;

/// What workers to keep, and how.
#[derive(Clone, Debug)]
pub struct ProcessConfig {
    /// How many.
    pub count: u32,
    /// Their names are `<prefix>-1`, `<prefix>-2`, …; usually `local`.
    pub prefix: String,
    /// What kind of machine they are to the scheduler.
    pub host_type: String,
    /// Where their directories are.
    pub dir: PathBuf,
    /// The worker's executable and its first arguments.
    pub program: Vec<OsString>,
    /// The worker's **whole** environment: nothing is inherited, since the coordinator's environment may hold secrets and a build can read its worker's.
    /// It should name at least `PATH` and `HOME`.
    pub env: Vec<(OsString, OsString)>,
    /// How death is noticed.
    pub timing: Timing,
}

impl ProcessConfig {
    /// `count` workers named `local-1`, … with default timing.
    pub fn new(count: u32, host_type: impl Into<String>, dir: impl Into<PathBuf>, program: Vec<OsString>) -> ProcessConfig {
        ProcessConfig { count, prefix: "local".into(), host_type: host_type.into(), dir: dir.into(), program, env: Vec::new(), timing: Timing::default() }
    }
}

/// Why a pool could not be started.
#[derive(Debug, Error)]
pub enum StartError {
    /// A directory could not be made.
    #[error("cannot use {path} for workers: {source}")]
    Directory {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The configuration names no program.
    #[error("no program is configured for the worker processes")]
    NoProgram,
}

/// One worker process for display.
#[derive(Clone, Debug, Serialize)]
pub struct ProcessSnapshot {
    /// [`Worker::id`]
    pub id: String,
    /// Process id while it runs.
    pub pid: Option<i32>,
    /// `starting`, `up`, `late`, `stopped`, or why it is not up.
    pub state: String,
    /// How often it was started by this coordinator.
    pub starts: u32,
    /// Whether it gets no more builds.
    pub draining: bool,
}

/// The handle of a pool of processes. Dropping it ends the supervision and leaves the workers running.
#[derive(Debug)]
pub struct ProcessPool {
    shared: Arc<Shared>,
    stop: watch::Sender<bool>,
    slots: Mutex<Vec<tokio::task::JoinHandle<()>>>,
}

#[derive(Debug)]
struct Shared {
    config: ProcessConfig,
    events: Events,
    state: Mutex<Vec<ProcessSnapshot>>,
}

impl Shared {
    fn update(&self, index: usize, change: impl FnOnce(&mut ProcessSnapshot)) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(snapshot) = state.get_mut(index) {
            change(snapshot);
        }
    }

    fn tell(&self, event: PoolEvent) {
        // Nobody listens any more only while the coordinator stops.
        let _ = self.events.send(event);
    }
}

impl ProcessPool {
    /// Adopts the workers that are there and starts those that are missing. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// [`StartError`]
    pub fn start(config: ProcessConfig, events: Events) -> Result<ProcessPool, StartError> {
        if config.program.is_empty() {
            return Err(StartError::NoProgram);
        }
        let mut slots = Vec::new();
        for number in 1..=config.count {
            let id = format!("{}-{number}", config.prefix);
            let home = config.dir.join(&id);
            let made =
                std::fs::create_dir_all(home.join("work")).and_then(|()| std::fs::create_dir_all(home.join("state"))).and_then(|()| std::path::absolute(&home));
            match made {
                Ok(home) => slots.push((id, home)),
                Err(source) => return Err(StartError::Directory { path: home, source }),
            }
        }
        let state = slots.iter().map(|(id, _)| ProcessSnapshot { id: id.clone(), pid: None, state: "starting".into(), starts: 0, draining: false }).collect();
        let shared = Arc::new(Shared { config, events, state: Mutex::new(state) });
        let (stop, stopped) = watch::channel(false);
        let tasks = slots
            .into_iter()
            .enumerate()
            .map(|(index, (id, home))| {
                let slot = Slot { shared: shared.clone(), index, id, socket: home.join("sock"), home, stopped: stopped.clone() };
                burrow_task::spawn(slot.run())
            })
            .collect();
        Ok(ProcessPool { shared, stop, slots: Mutex::new(tasks) })
    }

    /// A build has left the worker. Worker processes are used again, so there is nothing to do.
    pub fn release(&self, _id: &str) {}

    /// Says whether a worker is to get no more builds; false if there is no such worker.
    pub fn drain(&self, id: &str, draining: bool) -> bool {
        let mut state = self.shared.state.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(snapshot) = state.iter_mut().find(|s| s.id == id) else {
            return false;
        };
        if std::mem::replace(&mut snapshot.draining, draining) != draining {
            self.shared.tell(PoolEvent::Draining { id: id.to_owned(), draining });
        }
        true
    }

    /// All workers, for display.
    pub fn snapshot(&self) -> Vec<ProcessSnapshot> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Ends all workers and what runs on them, and returns when they are gone. No further events.
    pub fn stop_all(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            self.stop.send_replace(true);
            let tasks = std::mem::take(&mut *self.slots.lock().unwrap_or_else(PoisonError::into_inner));
            for task in tasks {
                if let Err(error) = task.await {
                    tracing::error!(%error, "the task of a worker process ended badly");
                }
            }
        })
    }
}

impl Drop for ProcessPool {
    fn drop(&mut self) {
        for task in self.slots.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            task.abort();
        }
    }
}

/// A worker process that answers.
struct Running {
    /// Ours, if this coordinator started it; an adopted one is somebody else's child.
    child: Option<Child>,
    pid: Option<Pid>,
    probe: Probe,
    status: Status,
}

struct Slot {
    shared: Arc<Shared>,
    index: usize,
    id: String,
    home: PathBuf,
    socket: PathBuf,
    stopped: watch::Receiver<bool>,
}

impl Slot {
    async fn run(self) {
        let mut stopped = self.stopped.clone();
        let mut back_off = BACK_OFF_FIRST;
        let mut adopted = match self.adopt().await {
            Adopted::Answers(running) => Some(*running),
            Adopted::Frozen(pid) => {
                tracing::warn!(worker = %self.id, "a worker process of an earlier coordinator does not answer; it is ended");
                end(None, pid).await;
                None
            }
            Adopted::Nobody => None,
        };
        loop {
            if *stopped.borrow() {
                if let Some(running) = adopted {
                    self.stop(running).await;
                }
                return self.show("stopped", None);
            }
            let mut running = match adopted.take() {
                Some(running) => running,
                None => match self.start().await {
                    Ok(running) => running,
                    Err(reason) => {
                        tracing::warn!(worker = %self.id, %reason, "a worker process could not be started; it is tried again");
                        self.show(&reason, None);
                        pause(&mut stopped, back_off).await;
                        back_off = (back_off * 2).min(BACK_OFF_MOST);
                        continue;
                    }
                },
            };
            let since = Instant::now();
            let instance = running.status.burrow.as_ref().map(|b| b.instance.clone()).unwrap_or_default();
            self.announce(&running, &instance);
            let reason = self.watch(&mut running, &instance).await;
            let Some(reason) = reason else {
                self.stop(running).await;
                return self.show("stopped", None);
            };
            self.show(&reason, None);
            tracing::info!(worker = %self.id, %reason, "a worker process was lost");
            self.shared.tell(PoolEvent::Lost { id: self.id.clone(), instance, reason });
            // Whatever is left of it must not go on beside its successor.
            end(running.child.as_mut(), running.pid).await;
            if since.elapsed() > BACK_OFF_FORGET {
                back_off = BACK_OFF_FIRST;
            }
            pause(&mut stopped, back_off).await;
            back_off = (back_off * 2).min(BACK_OFF_MOST);
        }
    }

    fn show(&self, state: &str, pid: Option<Pid>) {
        self.shared.update(self.index, |s| {
            s.state = state.to_owned();
            s.pid = pid.map(|p| p.as_raw_nonzero().get());
        });
    }

    fn announce(&self, running: &Running, instance: &str) {
        self.show("up", running.pid);
        let burrow = running.status.burrow.as_ref();
        self.shared.tell(PoolEvent::Up(Worker {
            id: self.id.clone(),
            pool: "process".into(),
            host_type: self.shared.config.host_type.clone(),
            hostname: self.id.clone(),
            address: self.socket.display().to_string(),
            version: running.status.version,
            instance: instance.to_owned(),
            modern: burrow.is_some(),
            slots: burrow.map_or(1, |b| b.slots.max(1)),
            client: Client::unix(&self.socket),
        }));
        let mut draining = false;
        self.shared.update(self.index, |s| draining = s.draining);
        if draining {
            self.shared.tell(PoolEvent::Draining { id: self.id.clone(), draining });
        }
    }

    /// Watches a worker; returns why it is lost, or `None` when the pool stops.
    async fn watch(&self, running: &mut Running, instance: &str) -> Option<String> {
        let probe = std::mem::replace(&mut running.probe, Probe::new(Client::unix(&self.socket)));
        let mut watch = Watch::new(probe, Some(instance.to_owned()), self.shared.config.timing);
        let mut stopped = self.stopped.clone();
        let mut late = false;
        let (adopted, pid) = (running.child.is_none(), running.pid);
        loop {
            // An adopted worker is nobody's child here, so its end is seen by looking, once it gives cause.
            let gone = async {
                if !late || !adopted {
                    return std::future::pending().await;
                }
                while !is_gone(pid, &self.socket).await {
                    sleep(GONE_POLL).await;
                }
            };
            let exited = async {
                match &mut running.child {
                    Some(child) => child.wait().await,
                    None => std::future::pending().await,
                }
            };
            let noticed = tokio::select! {
                () = gone => return Some("the worker process ended".into()),
                // Errors when the pool's handle is gone; then this task is being aborted anyway.
                _ = stopped.wait_for(|stop| *stop) => return None,
                status = exited => return Some(match status {
                    Ok(status) => format!("the worker process ended: {status}"),
                    Err(error) => format!("the worker process ended: {error}"),
                }),
                noticed = watch.next() => noticed,
            };
            match noticed {
                Noticed::Silent(reason) => return Some(reason),
                Noticed::Restarted => return Some("another worker process answers in its place".into()),
                Noticed::Late(reason) => {
                    late = true;
                    if adopted && is_gone(pid, &self.socket).await {
                        return Some("the worker process ended".into());
                    }
                    self.show("late", running.pid);
                    self.shared.tell(PoolEvent::Unreachable { id: self.id.clone(), instance: instance.to_owned(), reason });
                }
                Noticed::Back => {
                    late = false;
                    self.show("up", running.pid);
                    self.shared.tell(PoolEvent::Reachable { id: self.id.clone(), instance: instance.to_owned() });
                }
            }
        }
    }

    async fn adopt(&self) -> Adopted {
        let Ok(pid) = peer_pid(&self.socket).await else {
            return Adopted::Nobody;
        };
        let mut probe = Probe::new(Client::unix(&self.socket));
        match timeout(ADOPT_LIMIT, probe.status()).await {
            Ok(Ok(status)) if status.burrow.is_some() => {
                tracing::info!(worker = %self.id, "a worker process of an earlier coordinator was adopted");
                Adopted::Answers(Box::new(Running { child: None, pid, probe, status }))
            }
            _ => Adopted::Frozen(pid),
        }
    }

    async fn start(&self) -> Result<Running, String> {
        self.show("starting", None);
        // Only a dead worker's socket can be here: a live one was adopted or ended.
        match std::fs::remove_file(&self.socket) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(format!("the old socket cannot be removed: {error}")),
            _ => {}
        }
        let mut child = self.spawn().map_err(|e| format!("the worker program cannot be started: {e}"))?;
        let pid = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        self.shared.update(self.index, |s| s.starts += 1);
        self.show("starting", pid);
        let mut probe = Probe::new(Client::unix(&self.socket));
        let answers = async {
            loop {
                match probe.status().await {
                    Ok(status) => return status,
                    Err(_) => sleep(START_POLL).await,
                }
            }
        };
        let started = tokio::select! {
            status = timeout(START_LIMIT, answers) => status.map_err(|_| {
                format!("the worker did not answer within {} s of its start; see {}", START_LIMIT.as_secs(), self.log().display())
            }),
            exit = child.wait() => Err(match exit {
                Ok(exit) => format!("the worker ended while it started: {exit}; see {}", self.log().display()),
                Err(error) => format!("the worker ended while it started: {error}"),
            }),
        };
        let refused = match started {
            Ok(status) if status.burrow.is_some() => return Ok(Running { child: Some(child), pid, probe, status }),
            Ok(_) => "the program is not a worker of this system: its status names no instance".to_owned(),
            Err(reason) => reason,
        };
        end(Some(&mut child), pid).await;
        Err(refused)
    }

    fn log(&self) -> PathBuf {
        self.home.join("log")
    }

    fn spawn(&self) -> io::Result<Child> {
        let config = &self.shared.config;
        let log = self.log();
        if std::fs::metadata(&log).is_ok_and(|m| m.len() > MAX_LOG) {
            std::fs::rename(&log, self.home.join("log.old"))?;
        }
        let log = std::fs::OpenOptions::new().create(true).append(true).open(log)?;
        let (program, first) = config.program.split_first().ok_or(io::ErrorKind::InvalidInput)?;
        let mut listen = OsString::from("unix:");
        if self.socket.as_os_str().len() <= MAX_SOCKET_PATH {
            listen.push(&self.socket);
        } else {
            // Its current directory is its home, where the name alone is short enough to bind.
            listen.push("sock");
        }
        let mut command = Command::new(program);
        command
            .args(first)
            .arg("--listen")
            .arg(listen)
            .arg("--workdir")
            .arg(self.home.join("work"))
            .arg("--state-dir")
            .arg(self.home.join("state"))
            .args(["--halt=false", "--exit-when-idle", "10m"])
            .env_clear()
            .envs(config.env.iter().map(|(k, v)| (k, v)))
            .current_dir(&self.home)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        // SAFETY: between fork and exec only setsid(2) is called, which is async-signal-safe and touches no memory of this process.
        unsafe {
            command.pre_exec(|| rustix::process::setsid().map(drop).map_err(io::Error::from));
        }
        command.spawn()
    }

    /// Ends a worker the gentle way, then the other.
    async fn stop(&self, mut running: Running) {
        let _ = Client::unix(&self.socket).halt().await;
        let gone = async {
            match &mut running.child {
                Some(child) => drop(child.wait().await),
                None => {
                    while running.pid.is_some_and(is_alive) {
                        sleep(START_POLL).await;
                    }
                }
            }
        };
        if timeout(STOP_LIMIT, gone).await.is_err() {
            tracing::warn!(worker = %self.id, "a worker process did not end when it was told to; it is killed");
        }
        end(running.child.as_mut(), running.pid).await;
    }
}

enum Adopted {
    Answers(Box<Running>),
    Frozen(Option<Pid>),
    Nobody,
}

/// Waits, or returns early when the pool stops.
async fn pause(stopped: &mut watch::Receiver<bool>, pause: Duration) {
    let _ = timeout(pause, stopped.wait_for(|stop| *stop)).await;
}

/// Who listens behind a socket; fails when nobody does.
async fn peer_pid(socket: &Path) -> io::Result<Option<Pid>> {
    let stream = burrow_buildlet_client::connect_unix(socket).await?;
    Ok(stream.peer_cred()?.pid().and_then(Pid::from_raw))
}

/// Whether a process runs. One that has ended and whose status nobody takes (in a container without an init, for example) does not.
fn is_alive(pid: Pid) -> bool {
    if rustix::process::test_kill_process(pid).is_err() {
        return false;
    }
    // The state stands behind the name, which is in brackets and may hold anything. Systems without this file have an init that takes the status.
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).unwrap_or_default();
    let state = stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
    !matches!(state, Some('Z' | 'X'))
}

/// Whether a worker that is late has ended: its process is gone, or nobody listens any more behind its socket. A stopped process still does.
async fn is_gone(pid: Option<Pid>, socket: &Path) -> bool {
    if pid.is_some_and(|pid| !is_alive(pid)) {
        return true;
    }
    match burrow_buildlet_client::connect_unix(socket).await {
        Err(error) => matches!(error.kind(), io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound),
        Ok(_) => false,
    }
}

/// Kills a worker with its process group (it leads a session) and, if it is our child, takes its exit status.
async fn end(child: Option<&mut Child>, pid: Option<Pid>) {
    match child {
        Some(child) => {
            // `id` is none once the exit status was taken; the number may belong to a stranger then.
            if child.id().is_some()
                && let Some(pid) = pid
            {
                let _ = rustix::process::kill_process_group(pid, Signal::KILL);
            }
            let _ = child.kill().await;
        }
        None => {
            let Some(pid) = pid else { return };
            let _ = rustix::process::kill_process_group(pid, Signal::KILL);
            let _ = rustix::process::kill_process(pid, Signal::KILL);
            let dead = async {
                while is_alive(pid) {
                    sleep(START_POLL).await;
                }
            };
            let _ = timeout(STOP_LIMIT, dead).await;
        }
    }
}
