//! Everything that differs between operating systems, and nothing else.
//!
//! The rest of the worker sees: [`spawn`] and [`Child`] (a process tree with its output pipe), [`Tree`] (kill it, ask what it used), [`stamp`]
//! (what tells that a file was changed), [`halt_command`], and some names. Linux is the complete one: control groups, child subreaper, network
//! cuts. Other Unixes kill by session and process group; Windows by job object.

use std::io;
use std::path::PathBuf;

use protocol_buildlet::process_state::ProcessState;

#[cfg(target_os = "linux")]
mod cgroup;
#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "linux")]
use linux as os;

#[cfg(all(unix, not(target_os = "linux")))]
mod other_unix;
#[cfg(all(unix, not(target_os = "linux")))]
use other_unix as os;

#[cfg(unix)]
mod unix;
#[cfg(unix)]
pub(crate) use unix::*;

#[cfg(windows)]
mod windows;
#[cfg(windows)]
pub(crate) use windows::*;

/// What to start.
#[derive(Debug)]
pub(crate) struct SpawnSpec {
    /// Absolute path of the program.
    pub(crate) program: PathBuf,
    pub(crate) args: Vec<String>,
    /// The whole environment, `K=V`, already without duplicates.
    pub(crate) env: Vec<String>,
    /// Absolute.
    pub(crate) dir: PathBuf,
    pub(crate) limits: Limits,
    /// Cut every network but loopback.
    pub(crate) cut_network: bool,
    /// Marks every process of the tree: an environment entry nobody else has.
    pub(crate) cookie: String,
}

/// Limits of a whole tree.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Limits {
    pub(crate) memory_bytes: Option<u64>,
    pub(crate) max_processes: Option<u64>,
}

/// Why nothing was started; the text is what the classic trailer carries.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SpawnError {
    #[error("chdir {dir}: {cause}")]
    Dir { dir: String, cause: String },
    #[error("fork/exec {program}: {cause}")]
    Exec { program: String, cause: String },
    #[error("the network could not be cut: {0}; run without `network: none` or give the worker the right to create network namespaces")]
    Network(String),
    #[error("the worker could not make a pipe: {0}")]
    Pipe(#[source] io::Error),
}

/// How the main process ended and what the tree used.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ExitInfo {
    pub(crate) state: ProcessState,
    pub(crate) usage: Usage,
}

/// Resources of a tree, where known.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Usage {
    pub(crate) user_ms: Option<u64>,
    pub(crate) system_ms: Option<u64>,
    pub(crate) max_rss_bytes: Option<u64>,
    /// The kernel killed something in the tree because the memory limit was reached.
    pub(crate) memory_limit_hit: bool,
}

/// What happened to a child, see [`Child::next`].
#[derive(Debug)]
pub(crate) enum Event {
    /// Output waits to be read.
    Readable,
    /// Every copy of the output pipe is closed.
    Eof,
    /// The main process has ended. Comes once.
    Exited(ExitInfo),
    /// [`Waker::wake`] was called.
    Woken,
    /// The time was over.
    TimedOut,
}

/// What is compared to see whether a file was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub(crate) kind: Kind,
    /// POSIX permission bits with setuid, setgid, sticky.
    pub(crate) mode: u32,
    pub(crate) size: u64,
    pub(crate) inode: u64,
    /// Nanoseconds since 1970.
    pub(crate) modified: i64,
    /// Nanoseconds since 1970; the system sets it and programs cannot.
    pub(crate) changed: i64,
}

/// A cloud whose instance metadata is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cloud {
    Gce,
    Ec2,
}

/// Kind of a directory entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    File,
    Dir,
    Symlink,
    Other,
}

/// Go's name of this operating system.
pub(crate) fn goos() -> &'static str {
    match std::env::consts::OS {
        "macos" => "darwin",
        other => other,
    }
}

/// Go's name of this CPU.
pub(crate) fn goarch() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "x86" => "386",
        "aarch64" => "arm64",
        "powerpc64" if cfg!(target_endian = "little") => "ppc64le",
        "powerpc64" => "ppc64",
        "mips64" if cfg!(target_endian = "little") => "mips64le",
        "loongarch64" => "loong64",
        other => other,
    }
}
