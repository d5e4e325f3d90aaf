//! Running the `git` program: clean environment, a time limit, and nothing left behind.
//!
//! [`crate::Mirror`] is built on it; other crates use it for what a mirror does not do.

use std::ffi::OsStr;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::process::{Child, Command};

use crate::Error;

/// How much of stderr is worth keeping for a message.
const STDERR_TAIL: usize = 2_000;

/// Variables that would point git at another repository, or change what it does. (`git rev-parse --local-env-vars`,
/// and the ones that inject configuration or record traces.)
const REMOVED: &[&str] = &[
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_CEILING_DIRECTORIES",
    "GIT_COMMON_DIR",
    "GIT_CONFIG",
    "GIT_CONFIG_COUNT",
    "GIT_CONFIG_PARAMETERS",
    "GIT_DIR",
    "GIT_EXEC_PATH",
    "GIT_EXTERNAL_DIFF",
    "GIT_GRAFT_FILE",
    "GIT_IMPLICIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_INTERNAL_SUPER_PREFIX",
    "GIT_NAMESPACE",
    "GIT_NO_REPLACE_OBJECTS",
    "GIT_OBJECT_DIRECTORY",
    "GIT_PREFIX",
    "GIT_QUARANTINE_PATH",
    "GIT_REPLACE_REF_BASE",
    "GIT_SHALLOW_FILE",
    "GIT_TEMPLATE_DIR",
    "GIT_TRACE",
    "GIT_TRACE2",
    "GIT_TRACE2_EVENT",
    "GIT_TRACE2_PERF",
    "GIT_WORK_TREE",
];

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

/// A running git. Its whole process group is killed when this is dropped: git starts transports of its own, and they would live on.
#[derive(Debug)]
pub struct Group {
    /// The leader.
    pub child: Child,
    pid: Option<rustix::process::Pid>,
}

impl Group {
    /// Starts it, as the leader of a group of its own.
    ///
    /// # Errors
    /// [`Error::NoGit`]
    pub fn start(mut command: Command) -> Result<Group, Error> {
        let child = command.process_group(0).kill_on_drop(true).spawn().map_err(|error| Error::NoGit(error.to_string()))?;
        let pid = child.id().and_then(|id| i32::try_from(id).ok()).and_then(rustix::process::Pid::from_raw);
        Ok(Group { child, pid })
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // There is an id until the leader is reaped, and till then the number is ours: also when it has ended, and what it started has not.
        if let (Some(pid), Some(_)) = (self.pid, self.child.id()) {
            let _ = rustix::process::kill_process_group(pid, rustix::process::Signal::KILL);
        }
    }
}

/// `git ARGS` in `dir`, with nothing of the user's environment and settings; `config` is read instead of them. Its standard streams are not set.
pub fn command<S: AsRef<OsStr>>(dir: &Path, config: &Path, args: &[S]) -> Command {
    let mut command = Command::new("git");
    command
        .args(args)
        .current_dir(dir)
        .env("GIT_TERMINAL_PROMPT", "0")
        .env("GIT_ASKPASS", "")
        .env("SSH_ASKPASS", "")
        .env("GIT_SSH_COMMAND", "ssh -oBatchMode=yes")
        // Our own file instead of the user's: it trusts the folders that a person names (git otherwise refuses the
        // repositories of another user), which only this file can say to the other end of a local transport.
        .env("GIT_CONFIG_GLOBAL", config)
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_OPTIONAL_LOCKS", "0")
        .env("LC_ALL", "C");
    for name in REMOVED {
        command.env_remove(name);
    }
    command
}

/// Runs [`command`] and waits for it; when `limit` is over, it is killed with all that it started.
///
/// # Errors
/// [`Error::Timeout`], [`Error::NoGit`]. A git that fails is no error here: see [`Output::status`].
pub async fn git<S: AsRef<OsStr>>(dir: &Path, config: &Path, args: &[S], stdin: &[u8], limit: Duration) -> Result<Output, Error> {
    let mut command = command(dir, config, args);
    command.stdin(if stdin.is_empty() { Stdio::null() } else { Stdio::piped() }).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut group = Group::start(command)?;
    let mut out = group.child.stdout.take();
    let mut err = group.child.stderr.take();
    let mut input = group.child.stdin.take();
    let talk = async {
        let write = async {
            if let Some(pipe) = input.as_mut() {
                // A git that fails early closes its end; its own message is the better one.
                let _ = tokio::io::AsyncWriteExt::write_all(pipe, stdin).await;
            }
            drop(input.take());
        };
        let read_out = async {
            let mut bytes = Vec::new();
            if let Some(pipe) = out.as_mut() {
                pipe.read_to_end(&mut bytes).await?;
            }
            Ok::<_, std::io::Error>(bytes)
        };
        let read_err = async {
            let mut tail = Vec::new();
            let mut chunk = vec![0; 4096];
            if let Some(pipe) = err.as_mut() {
                loop {
                    let n = pipe.read(&mut chunk).await?;
                    if n == 0 {
                        break;
                    }
                    tail.extend_from_slice(chunk.get(..n).unwrap_or_default());
                    let surplus = tail.len().saturating_sub(2 * STDERR_TAIL);
                    tail.drain(..surplus);
                }
            }
            Ok::<_, std::io::Error>(tail)
        };
        let ((), stdout, stderr) = tokio::join!(write, read_out, read_err);
        let status = group.child.wait().await?;
        Ok::<_, std::io::Error>((status, stdout?, stderr?))
    };
    match tokio::time::timeout(limit, talk).await {
        Err(_) => Err(Error::Timeout { limit }),
        Ok(Err(error)) => Err(Error::NoGit(error.to_string())),
        Ok(Ok((status, stdout, stderr))) => Ok(Output { status, stdout, stderr: tail(&stderr) }),
    }
}

/// The end of a stderr, without progress lines and control characters.
fn tail(stderr: &[u8]) -> String {
    let text = String::from_utf8_lossy(stderr);
    let clean: String =
        text.split(['\n', '\r']).map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("; ").chars().filter(|c| !c.is_control()).collect();
    let skip = clean.chars().count().saturating_sub(STDERR_TAIL);
    clean.chars().skip(skip).collect()
}

/// Sorts a failure of a command that talks to the remote. git has one exit status for all of them, so its words
/// (in the C locale) have to do.
pub fn remote_failure(url: &str, command: &str, output: Output) -> Error {
    const GONE: &[&str] = &[
        "does not appear to be a git repository",
        "Repository not found",
        "does not exist",
        "not found: did you run",
        "The requested URL returned error: 404",
        "No such file or directory",
        "no such repository",
    ];
    const AUTH: &[&str] = &[
        "Authentication failed",
        "could not read Username",
        "could not read Password",
        "terminal prompts disabled",
        "Permission denied",
        "returned error: 401",
        "returned error: 403",
        "Host key verification failed",
        "access denied",
    ];
    // git mostly hides passwords in what it prints; mostly is not enough.
    let stderr = output.stderr.replace(url, &redact(url));
    let says = |list: &[&str]| list.iter().any(|words| stderr.contains(words));
    let url = redact(url);
    // "Permission denied" comes together with git's general advice that the repository may not exist.
    if says(AUTH) {
        Error::Auth { url, stderr }
    } else if says(GONE) || (stderr.contains("repository '") && stderr.contains("' not found")) {
        Error::Gone { url, stderr }
    } else {
        Error::Other { command: command.to_owned(), stderr }
    }
}

/// The address without a password in it.
pub fn redact(url: &str) -> String {
    match (url.find("://"), url.find('@')) {
        (Some(scheme), Some(at)) if at > scheme && !url.get(scheme + 3..at).unwrap_or_default().contains('/') => {
            format!("{}***{}", url.get(..scheme + 3).unwrap_or_default(), url.get(at..).unwrap_or_default())
        }
        _ => url.to_owned(),
    }
}
