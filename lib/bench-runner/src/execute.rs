//! One run of a command.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::Command;
use tokio_util::sync::CancellationToken;

/// What a run may print at most: results of any suite, but not its log.
const LARGEST: usize = 64 << 20;
/// What is kept of the end of standard error, for the person.
const TAIL: usize = 4 << 10;

/// A run gave no results.
#[derive(Debug, thiserror::Error)]
#[error("{side}: {why}")]
pub struct Failed {
    /// The side.
    pub side: String,
    /// Why.
    #[source]
    pub why: ExecuteError,
}

/// Why a run gave no results.
#[derive(Debug, thiserror::Error)]
pub enum ExecuteError {
    /// It could not be started.
    #[error("cannot start the command in {}: {error}", dir.display())]
    Start {
        /// Where it should run.
        dir: PathBuf,
        /// Why not.
        error: std::io::Error,
    },
    /// It failed.
    #[error("the command ended with {status}{}", end(tail))]
    Status {
        /// How it ended.
        status: String,
        /// The end of what it said.
        tail: String,
    },
    /// It took too long.
    #[error("the command did not end within {} s", .0.as_secs_f64())]
    Late(Duration),
    /// It printed too much.
    #[error("the command printed more than {LARGEST} bytes; let it print its results only")]
    Large,
    /// Its output could not be read.
    #[error("reading the command's output: {0}")]
    Read(std::io::Error),
    /// The report that it should write is not there, or is an old one.
    #[error("the command has not written {}", .0.display())]
    NoReport(PathBuf),
    /// The report cannot be read.
    #[error("{}: {error}", path.display())]
    Report {
        /// The file.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// Nothing that it printed is a result.
    #[error("there is no result in what the command printed; it must print benchmark lines, or a report that is known ({known}){}", end(tail))]
    NoResult {
        /// Formats that are known.
        known: String,
        /// The end of what it said.
        tail: String,
    },
    /// Results are of another format.
    #[error(transparent)]
    Format(#[from] protocol_benchfmt::adapters::AdapterError),
    /// It was stopped.
    #[error("stopped")]
    Stopped,
}

fn end(tail: &str) -> String {
    if tail.trim().is_empty() { String::new() } else { format!("; it said:\n{}", tail.trim_end()) }
}

/// What a command printed.
pub(crate) struct Printed {
    pub(crate) stdout: Vec<u8>,
    pub(crate) tail: String,
}

/// Runs a command by `sh -c` to its end. It is in a process group of its own, so that Ctrl-C in the terminal does not end it, and `kill` ends all of it.
pub(crate) async fn execute(command: &str, dir: &Path, limit: Option<Duration>, kill: &CancellationToken) -> Result<Printed, ExecuteError> {
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(command).current_dir(dir).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    #[cfg(unix)]
    shell.process_group(0);
    let mut child = shell.spawn().map_err(|error| ExecuteError::Start { dir: dir.to_owned(), error })?;
    let group = Group(child.id());
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let work = async {
        let (stdout, tail) = tokio::try_join!(whole(stdout), last(stderr))?;
        let status = child.wait().await.map_err(ExecuteError::Read)?;
        Ok::<_, ExecuteError>((stdout, String::from_utf8_lossy(&tail).into_owned(), status))
    };
    let late = async {
        match limit {
            Some(limit) => tokio::time::sleep(limit).await,
            None => std::future::pending().await,
        }
    };
    let (stdout, tail, status) = tokio::select! {
        done = work => done?,
        () = kill.cancelled() => return Err(ExecuteError::Stopped),
        () = late => return Err(ExecuteError::Late(limit.unwrap_or_default())),
    };
    group.ended();
    if status.success() {
        return Ok(Printed { stdout, tail });
    }
    // Many harnesses say on standard output what went wrong.
    let tail =
        if tail.trim().is_empty() { String::from_utf8_lossy(stdout.get(stdout.len().saturating_sub(TAIL)..).unwrap_or_default()).into_owned() } else { tail };
    Err(ExecuteError::Status { status: status.to_string(), tail })
}

/// The processes of a run; ended with it, however it is left.
struct Group(Option<u32>);

impl Group {
    fn ended(mut self) {
        self.0 = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        #[cfg(unix)]
        if let Some(group) = self.0.and_then(|id| rustix::process::Pid::from_raw(i32::try_from(id).ok()?)) {
            let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        }
    }
}

async fn whole(from: Option<impl AsyncRead + Unpin>) -> Result<Vec<u8>, ExecuteError> {
    let mut all = Vec::new();
    if let Some(from) = from {
        from.take(LARGEST as u64 + 1).read_to_end(&mut all).await.map_err(ExecuteError::Read)?;
    }
    if all.len() > LARGEST { Err(ExecuteError::Large) } else { Ok(all) }
}

async fn last(from: Option<impl AsyncRead + Unpin>) -> Result<Vec<u8>, ExecuteError> {
    let mut tail = Vec::new();
    let Some(mut from) = from else { return Ok(tail) };
    let mut piece = [0; 8192];
    loop {
        let read = from.read(&mut piece).await.map_err(ExecuteError::Read)?;
        if read == 0 {
            return Ok(tail);
        }
        tail.extend_from_slice(piece.get(..read).unwrap_or_default());
        if tail.len() > 2 * TAIL {
            tail.drain(..tail.len() - TAIL);
        }
    }
}
