//! Executions: commands with an id, whose output and end outlive every connection (docs/worker-protocol.md).
//!
//! A running command writes into a pipe; its supervisor moves the pages from there to the spool file, so output reaches the page cache without being
//! copied through us, and readers follow the file at their own pace. (Handing the file itself to the command would save even that, but then
//! `echo x > /dev/stderr` truncates the log.) What is on disk per execution: `request.json`, `spool`, and at the end `exit.json`.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use protocol_buildlet::process_state::{ProcessState, signal_name};
use protocol_buildlet::{ExecRequest, ExecState, ExecStatus, StoppedBy, valid_execution_id};
use tokio::sync::watch;

use crate::activity::Activity;
use crate::platform::{self, Child, SpawnSpec, Tree};
use crate::supervise::{Outcome, Sink, Stopper, TimeLimits, supervise};

/// Output kept of one execution; the rest is counted only.
const SPOOL_LIMIT: u64 = 64 << 30;

/// Moved by one system call.
const STEP: usize = 1 << 20;

/// All executions this worker knows.
pub(crate) struct Executions {
    dir: PathBuf,
    known: Mutex<HashMap<String, Arc<Execution>>>,
    left: Mutex<Vec<Arc<Tree>>>,
    activity: Activity,
}

/// One execution.
pub(crate) struct Execution {
    pub(crate) request: ExecRequest,
    dir: PathBuf,
    stopper: Stopper,
    status: watch::Sender<ExecStatus>,
    tree: Mutex<Option<Arc<Tree>>>,
}

/// Whether a request started something.
pub(crate) enum Put {
    Started(Arc<Execution>),
    AlreadyThere(Arc<Execution>),
    OtherRequest,
}

impl Executions {
    /// Loads the records of an earlier process. What it did not finish has ended with it.
    pub(crate) fn open(dir: &Path, activity: &Activity) -> io::Result<Self> {
        std::fs::create_dir_all(dir)?;
        let mut known = HashMap::new();
        for entry in std::fs::read_dir(dir)? {
            let path = entry?.path();
            let Some(id) = path.file_name().and_then(|n| n.to_str()).filter(|n| valid_execution_id(n)).map(str::to_owned) else { continue };
            match load(&id, &path) {
                Ok(execution) => {
                    known.insert(id, Arc::new(execution));
                }
                Err(e) => {
                    // A start that never got as far as its request was never acknowledged.
                    tracing::warn!(execution.id = %id, error = %e, "An unreadable execution record is removed.");
                    std::fs::remove_dir_all(&path)?;
                }
            }
        }
        Ok(Self { dir: dir.to_path_buf(), known: Mutex::new(known), left: Mutex::default(), activity: activity.clone() })
    }

    fn known(&self) -> std::sync::MutexGuard<'_, HashMap<String, Arc<Execution>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn get(&self, id: &str) -> Option<Arc<Execution>> {
        self.known().get(id).cloned()
    }

    /// Every status, in the order of their start.
    pub(crate) fn list(&self) -> Vec<ExecStatus> {
        let mut all: Vec<ExecStatus> = self.known().values().map(|e| e.status()).collect();
        all.sort_by(|a, b| (a.started_ms, &a.id).cmp(&(b.started_ms, &b.id)));
        all
    }

    /// Starts an execution, or finds the one that is there. `prepare` makes the request ready; its refusal is a start that failed.
    pub(crate) fn put(self: &Arc<Self>, id: &str, request: ExecRequest, prepare: impl FnOnce(&ExecRequest) -> Result<SpawnSpec, String>) -> io::Result<Put> {
        let mut known = self.known();
        if let Some(there) = known.get(id) {
            return Ok(if there.request == request { Put::AlreadyThere(Arc::clone(there)) } else { Put::OtherRequest });
        }
        let dir = self.dir.join(id);
        std::fs::create_dir_all(&dir)?;
        let spool = File::options().create(true).write(true).truncate(true).open(dir.join("spool"))?;
        let now = now_ms();
        write_record(&dir, "request.json", &serde_json::to_vec(&(now, &request)).map_err(io::Error::other)?)?;
        let status = ExecStatus {
            id: id.to_owned(),
            state: ExecState::Running,
            exit_code: None,
            signal: None,
            process_state: None,
            error: None,
            stopped_by: None,
            output_bytes: 0,
            started_ms: now,
            ended_ms: None,
            user_ms: None,
            system_ms: None,
            max_rss_bytes: None,
        };
        let prepared = prepare(&request);
        let limits = TimeLimits { total: request.timeout_ms.map(Duration::from_millis), silence: request.idle_timeout_ms.map(Duration::from_millis) };
        let execution = Arc::new(Execution { request, dir, stopper: Stopper::default(), status: watch::Sender::new(status), tree: Mutex::default() });
        known.insert(id.to_owned(), Arc::clone(&execution));
        drop(known);
        let spawned = prepared.and_then(|spec| platform::spawn(&spec).map_err(|e| e.to_string()));
        match spawned {
            Ok(child) => {
                *execution.tree.lock().unwrap_or_else(PoisonError::into_inner) = Some(child.tree());
                let (mine, all, busy) = (Arc::clone(&execution), Arc::clone(self), self.activity.begin());
                let follower = std::thread::Builder::new().name("execution".to_owned()).spawn(move || {
                    mine.follow(child, spool, limits, &all);
                    drop(busy);
                });
                // The child went down with the closure.
                if let Err(e) = follower {
                    execution.end(|status| status.error = Some(format!("the worker cannot start a thread: {e}")));
                }
            }
            Err(text) => execution.end(|status| {
                status.process_state = Some(text.clone());
                status.error = Some(text);
            }),
        }
        Ok(Put::Started(execution))
    }

    /// Forgets an execution, its record and its spool. It must have ended.
    pub(crate) fn purge(&self, id: &str) -> io::Result<()> {
        let Some(execution) = self.known().remove(id) else { return Ok(()) };
        match std::fs::remove_dir_all(&execution.dir) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }

    /// Kills what runs and what ended ones left behind.
    pub(crate) fn stop_all(&self) {
        let all: Vec<_> = self.known().values().cloned().collect();
        for execution in all {
            execution.kill();
        }
        for tree in std::mem::take(&mut *self.left.lock().unwrap_or_else(PoisonError::into_inner)) {
            tree.kill();
        }
    }

    /// The ids that still run.
    pub(crate) fn running(&self) -> Vec<Arc<Execution>> {
        self.known().values().filter(|e| e.status.borrow().state == ExecState::Running).cloned().collect()
    }
}

impl Execution {
    pub(crate) fn status(&self) -> ExecStatus {
        self.status.borrow().clone()
    }

    /// Kills the whole tree, if it runs; returns at once.
    pub(crate) fn kill(&self) {
        self.stopper.stop(StoppedBy::Killed);
        // What an ended one left behind goes too.
        if self.status.borrow().state == ExecState::Exited
            && let Some(tree) = &*self.tree.lock().unwrap_or_else(PoisonError::into_inner)
        {
            tree.kill();
        }
    }

    /// Waits for the end, at most `limit`.
    pub(crate) async fn wait(&self, limit: Duration) -> ExecStatus {
        let mut status = self.status.subscribe();
        let _ = tokio::time::timeout(limit, status.wait_for(|s| s.state == ExecState::Exited)).await;
        self.status()
    }

    /// Opens the spool for reading.
    pub(crate) fn open_spool(&self) -> io::Result<File> {
        File::open(self.dir.join("spool"))
    }

    /// News about the output's length and the end.
    pub(crate) fn subscribe(&self) -> watch::Receiver<ExecStatus> {
        self.status.subscribe()
    }

    fn follow(&self, child: Child, spool: File, limits: TimeLimits, all: &Executions) {
        let mut sink = Spool { file: spool, status: &self.status, kept: 0, dropped: 0, full: None };
        let (Outcome { exit, stopped_by }, tree) = supervise(child, &mut sink, &self.stopper, limits);
        let (dropped, full) = (sink.dropped, sink.full.take());
        drop(sink);
        if !tree.dispose() {
            all.left.lock().unwrap_or_else(PoisonError::into_inner).push(tree);
        } else {
            *self.tree.lock().unwrap_or_else(PoisonError::into_inner) = None;
        }
        self.end(|status| {
            status.stopped_by = stopped_by;
            match exit {
                Some(info) => {
                    status.process_state = Some(info.state.to_string());
                    match info.state {
                        ProcessState::Exited(code) => status.exit_code = Some(code),
                        ProcessState::Signaled { signal, .. } => status.signal = Some(signal_name(signal)),
                    }
                    status.user_ms = info.usage.user_ms;
                    status.system_ms = info.usage.system_ms;
                    status.max_rss_bytes = info.usage.max_rss_bytes;
                }
                None => status.error = Some("the command did not end though it was killed; its machine needs a restart".to_owned()),
            }
            if let Some(why) = full {
                status.error = Some(format!("{dropped} bytes of output were dropped: {why}"));
            }
        });
    }

    /// Writes the exit record, then tells everybody.
    fn end(&self, change: impl FnOnce(&mut ExecStatus)) {
        let mut status = self.status();
        status.state = ExecState::Exited;
        status.ended_ms = Some(now_ms());
        change(&mut status);
        let written = serde_json::to_vec(&status).map_err(io::Error::other).and_then(|json| write_record(&self.dir, "exit.json", &json));
        if let Err(e) = written {
            tracing::error!(execution.id = %status.id, error = %e, "An exit record could not be written; it is lost when the worker restarts.");
        }
        self.status.send_replace(status);
    }
}

/// Keeps output in the spool file.
struct Spool<'a> {
    file: File,
    status: &'a watch::Sender<ExecStatus>,
    kept: u64,
    dropped: u64,
    full: Option<String>,
}

impl Sink for Spool<'_> {
    fn take(&mut self, child: &mut Child) -> io::Result<bool> {
        if self.full.is_none() {
            let room = usize::try_from(SPOOL_LIMIT - self.kept).unwrap_or(STEP).min(STEP);
            if room == 0 {
                self.full = Some(format!("more than {} GiB", SPOOL_LIMIT >> 30));
            } else {
                match child.copy_to(&self.file, self.kept, room) {
                    Ok(n) => {
                        self.kept += n as u64;
                        self.status.send_modify(|s| s.output_bytes = self.kept);
                        return Ok(true);
                    }
                    Err(e) if matches!(e.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge) => {
                        tracing::error!(error = %e, "The spool cannot take more output; the command goes on and the rest is dropped.");
                        self.full = Some(e.to_string());
                    }
                    Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => return Ok(true),
                    Err(e) => return Err(e),
                }
            }
        }
        let mut buffer = vec![0; 64 * 1024];
        self.dropped += child.read(&mut buffer)? as u64;
        Ok(true)
    }
}

/// Writes a record so that a reader sees all of it or nothing. Survives the death of this process; after a loss of power the machine's
/// executions are over anyway and the record may be missing, so there is no fsync in the way of a result.
fn write_record(dir: &Path, name: &str, content: &[u8]) -> io::Result<()> {
    let temporary = dir.join(format!("{name}.new"));
    let mut options = File::options();
    options.create(true).write(true).truncate(true);
    // Requests carry whatever the coordinator puts into environments.
    platform::private(&mut options);
    let mut file = options.open(&temporary)?;
    file.write_all(content)?;
    std::fs::rename(&temporary, dir.join(name))
}

fn load(id: &str, dir: &Path) -> io::Result<Execution> {
    let (started_ms, request): (u64, ExecRequest) = serde_json::from_slice(&std::fs::read(dir.join("request.json"))?).map_err(io::Error::other)?;
    let status = match std::fs::read(dir.join("exit.json")) {
        Ok(json) => serde_json::from_slice(&json).map_err(io::Error::other)?,
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            let status = ExecStatus {
                id: id.to_owned(),
                state: ExecState::Exited,
                exit_code: None,
                signal: None,
                process_state: None,
                error: Some("the worker was restarted".to_owned()),
                stopped_by: None,
                output_bytes: std::fs::metadata(dir.join("spool")).map_or(0, |m| m.len()),
                started_ms,
                ended_ms: Some(now_ms()),
                user_ms: None,
                system_ms: None,
                max_rss_bytes: None,
            };
            write_record(dir, "exit.json", &serde_json::to_vec(&status).map_err(io::Error::other)?)?;
            status
        }
        Err(e) => return Err(e),
    };
    Ok(Execution { request, dir: dir.to_path_buf(), stopper: Stopper::default(), status: watch::Sender::new(status), tree: Mutex::default() })
}

fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX))
}
