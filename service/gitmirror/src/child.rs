//! Running git so that nothing it does can hang us or stay behind.
//!
//! [`burrow_git::program::command`] gives the clean environment. This adds what a mirror needs: a limit after which the whole process group is asked to
//! end and then killed, whoever of it still holds a pipe; a word by which the processes of a mirror that was killed are found again; and credentials that
//! never appear on a command line.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use burrow_git::program;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio_util::sync::CancellationToken;

/// Variable that marks every process that works for a mirror; its value is the mirror's folder.
pub const MARK: &str = "BURROW_GITMIRROR";

/// A git that was asked to end has this long to remove its lock files.
const GRACE: Duration = Duration::from_secs(1);

/// Once git itself has ended, whoever else holds its pipes has this long.
const LINGER: Duration = Duration::from_secs(2);

/// More than this of standard output is not kept: five million references need less.
const MAX_OUTPUT: usize = 1 << 30;

/// How much of standard error is kept.
const STDERR: usize = 4_000;

/// Where and how git runs.
#[derive(Debug, Clone)]
pub struct Runner {
    /// Value of [`MARK`].
    pub mark: PathBuf,
    /// Limit of one program.
    pub limit: Duration,
    /// Ends everything.
    pub stop: CancellationToken,
}

/// Who git is for the other side.
#[derive(Debug, Clone)]
pub struct Identity {
    /// Configuration that is read instead of a user's own.
    pub config: PathBuf,
    /// The command for SSH.
    pub ssh: String,
}

/// What a finished git said.
#[derive(Debug)]
pub struct Output {
    /// How it ended.
    pub status: ExitStatus,
    /// What it printed.
    pub stdout: Vec<u8>,
    /// The end of its messages, on one line.
    pub stderr: String,
}

/// Why there is no output.
#[derive(Debug, thiserror::Error)]
pub enum ChildError {
    /// It took too long and was killed.
    #[error("git {command} took longer than {} s and was stopped", limit.as_secs())]
    Timeout {
        /// The subcommand.
        command: String,
        /// The limit.
        limit: Duration,
    },
    /// It was told to stop.
    #[error("git {command} was stopped")]
    Stopped {
        /// The subcommand.
        command: String,
    },
    /// It printed more than anybody can want.
    #[error("git {command} printed more than {MAX_OUTPUT} bytes and was stopped")]
    TooMuch {
        /// The subcommand.
        command: String,
    },
    /// It could not be started or heard.
    #[error("git cannot be run (is it installed and in PATH?): {0}")]
    System(#[from] std::io::Error),
}

/// Ends the group when dropped, whatever happened.
struct Guard(Option<Pid>);

impl Guard {
    fn signal(&self, signal: Signal) {
        // Called only while the leader has not been waited for, so the number is still that of our group.
        if let Some(pid) = self.0 {
            let _ = kill_process_group(pid, signal);
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
    }
}

impl Runner {
    /// Runs `git ARGS` in `dir`. A git that fails is no error here: see [`Output::status`].
    ///
    /// # Errors
    /// [`ChildError`]; nothing of what was started is left then.
    pub async fn git<S: AsRef<OsStr>>(&self, dir: &Path, who: &Identity, args: &[S], stdin: &[u8]) -> Result<Output, ChildError> {
        let name = || args.iter().map(|arg| arg.as_ref().to_string_lossy()).find(|arg| !arg.starts_with('-')).unwrap_or_default().into_owned();
        let mut command = program::command(dir, &who.config, args);
        command.env("GIT_SSH_COMMAND", &who.ssh).env("GIT_SSH_VARIANT", "ssh").env("GIT_ALLOW_PROTOCOL", "file:git:http:https:ssh").env(MARK, &self.mark);
        command.stdin(if stdin.is_empty() { Stdio::null() } else { Stdio::piped() }).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.process_group(0).spawn()?;
        let guard = Guard(child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw));
        let (mut out, mut err, mut input) = (child.stdout.take(), child.stderr.take(), child.stdin.take());
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let talk = async {
            let write = async {
                if let Some(pipe) = input.as_mut() {
                    // A git that fails early closes its end; its own message is the better one.
                    let _ = pipe.write_all(stdin).await;
                }
                drop(input.take());
            };
            let ((), whole, _) = tokio::join!(write, collect(out.as_mut(), &mut stdout, MAX_OUTPUT, false), collect(err.as_mut(), &mut stderr, STDERR, true));
            whole
        };
        let work = async { if talk.await { Ok(child.wait().await?) } else { Err(ChildError::TooMuch { command: name() }) } };
        let outcome = tokio::select! {
            outcome = work => outcome.map(Some),
            () = self.stop.cancelled() => Err(ChildError::Stopped { command: name() }),
            () = tokio::time::sleep(self.limit) => Err(ChildError::Timeout { command: name(), limit: self.limit }),
            // Whoever outlives git and holds its pipes is not waited for.
            () = gone(guard.0) => Ok(None),
        };
        let status = match outcome {
            Ok(Some(status)) => status,
            Ok(None) => {
                guard.signal(Signal::KILL);
                child.wait().await?
            }
            Err(error) => {
                guard.signal(Signal::TERM);
                tokio::select! {
                    () = ended(guard.0) => {}
                    () = tokio::time::sleep(GRACE) => {}
                }
                guard.signal(Signal::KILL);
                child.wait().await?;
                std::mem::forget(guard);
                return Err(error);
            }
        };
        // The leader has been waited for: its number may belong to somebody else soon.
        std::mem::forget(guard);
        Ok(Output { status, stdout, stderr: one_line(&stderr) })
    }
}

/// Reads to the end; keeps the first or the last `limit` bytes. False when it was more and the first were wanted.
async fn collect(pipe: Option<&mut (impl AsyncRead + Unpin)>, into: &mut Vec<u8>, limit: usize, last: bool) -> bool {
    let Some(pipe) = pipe else { return true };
    let mut chunk = vec![0; 32 << 10];
    loop {
        match pipe.read(&mut chunk).await {
            Ok(0) | Err(_) => return true,
            Ok(n) => into.extend_from_slice(chunk.get(..n).unwrap_or_default()),
        }
        if into.len() > limit {
            if !last {
                return false;
            }
            let surplus = into.len() - limit;
            into.drain(..surplus);
        }
    }
}

/// Waits until the leader has ended, without taking note of it: its number stays ours.
async fn ended(pid: Option<Pid>) {
    let Some(pid) = pid else { return std::future::pending().await };
    loop {
        let options = rustix::process::WaitIdOptions::EXITED | rustix::process::WaitIdOptions::NOHANG | rustix::process::WaitIdOptions::NOWAIT;
        match rustix::process::waitid(rustix::process::WaitId::Pid(pid), options) {
            Ok(None) => tokio::time::sleep(Duration::from_millis(100)).await,
            Ok(Some(_)) | Err(_) => return,
        }
    }
}

/// The leader has ended, and those who hold its pipes had their time.
async fn gone(pid: Option<Pid>) {
    ended(pid).await;
    tokio::time::sleep(LINGER).await;
}

/// Messages without progress and control characters.
fn one_line(stderr: &[u8]) -> String {
    let text = String::from_utf8_lossy(stderr);
    let lines: Vec<&str> = text.split(['\n', '\r']).map(str::trim).filter(|line| !line.is_empty()).collect();
    lines.join("; ").chars().filter(|c| !c.is_control()).collect()
}

/// Kills what a mirror that was itself killed left running in its folder, and waits until it is gone: its lock files are then nobody's.
///
/// Processes are found by their environment, which on systems without `/proc` nobody can see; there nothing is done.
pub fn kill_left_over(mark: &Path) -> usize {
    let needle = [MARK.as_bytes(), b"=", mark.as_os_str().as_encoded_bytes(), b"\0"].concat();
    let me = std::process::id();
    let mut killed = 0;
    // A child may start another while we look.
    for _ in 0..200 {
        let Ok(entries) = std::fs::read_dir("/proc") else { return killed };
        let mut found = false;
        for entry in entries.flatten() {
            let Some(id) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()).filter(|id| *id != me) else { continue };
            let Ok(environment) = std::fs::read(entry.path().join("environ")) else { continue };
            let begins = environment.starts_with(&needle);
            if !begins && !environment.windows(needle.len() + 1).any(|window| window.first() == Some(&0) && window.get(1..) == Some(&needle)) {
                continue;
            }
            found = true;
            if let Some(pid) = i32::try_from(id).ok().and_then(Pid::from_raw)
                && rustix::process::kill_process(pid, Signal::KILL).is_ok()
            {
                killed += 1;
            }
        }
        if !found {
            return killed;
        }
        std::thread::yield_now();
    }
    killed
}
