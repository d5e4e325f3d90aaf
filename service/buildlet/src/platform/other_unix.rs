//! macOS, the BSDs, illumos: a tree is a session whose processes are found through `ps`; the exit of its main process is told by a thread.
//! No control groups and no network namespaces here: memory and process limits are those of single processes.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use super::{ExitInfo, SpawnSpec, Usage, unix};

pub(super) const CAN_CUT_NETWORK: bool = false;

/// Exit states which the watching thread has taken, by process id.
static ENDED: Mutex<Vec<(i32, Result<ExitInfo, i32>)>> = Mutex::new(Vec::new());

/// Once per process: open files are plenty, and the limits the reference raises (spec buildlet.md §2.4).
pub(crate) fn prepare_process() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let open = getrlimit(Resource::Nofile);
    let wanted = if cfg!(target_os = "openbsd") { Some(32_768) } else { open.maximum };
    let _ = setrlimit(Resource::Nofile, Rlimit { current: wanted, maximum: wanted });
    if cfg!(target_os = "netbsd") {
        let _ = setrlimit(Resource::Data, Rlimit { current: None, maximum: None });
    }
}

/// Kills marked processes of an earlier worker.
pub(crate) fn sweep_strays(cookie: &str) {
    for pid in marked(cookie) {
        kill(pid);
    }
}

/// Nothing is left to give back.
pub(crate) fn finish_process() {}

/// Daemons go to init here; there is nothing to reap.
pub(crate) fn reap_orphans(_kill_living: bool) -> bool {
    false
}

/// Cannot be told here: daemons are nobody's children.
pub(crate) fn childless() -> bool {
    false
}

pub(super) fn spawn_registered(command: &mut Command) -> io::Result<i32> {
    command.spawn().map(|child| i32::try_from(child.id()).unwrap_or(0))
}

/// A descriptor that becomes readable when the process has ended.
pub(super) fn exit_watch(pid: i32) -> io::Result<OwnedFd> {
    let (reader, writer) = io::pipe()?;
    std::thread::Builder::new().name("wait".to_owned()).spawn(move || {
        let ended = unix::wait4(pid).map_err(|e| e.raw_os_error().unwrap_or(0));
        ENDED.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push((pid, ended));
        drop(writer);
    })?;
    Ok(reader.into())
}

pub(super) fn wait(pid: i32) -> io::Result<ExitInfo> {
    loop {
        {
            let mut ended = ENDED.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            if let Some(at) = ended.iter().position(|(p, _)| *p == pid) {
                return ended.swap_remove(at).1.map_err(io::Error::from_raw_os_error);
            }
        }
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
}

pub(super) fn enlarge_pipe(_pipe: &io::PipeReader) {}

pub(super) fn copy_pipe(pipe: &io::PipeReader, file: &File, offset: u64, limit: usize) -> io::Result<usize> {
    unix::copy_by_hand(pipe, file, offset, limit)
}

pub(super) fn tmpfs_work_dir(_path: &str) -> Option<std::path::PathBuf> {
    None
}

/// Limits of single processes.
#[derive(Debug)]
pub(super) struct Containment {
    memory: Option<u64>,
    processes: Option<u64>,
    cut_network: bool,
}

pub(super) struct ChildSide {
    memory: Option<u64>,
    processes: Option<u64>,
    cut_network: bool,
}

impl Containment {
    pub(super) fn new(spec: &SpawnSpec) -> Self {
        Self { memory: spec.limits.memory_bytes, processes: spec.limits.max_processes, cut_network: spec.cut_network }
    }

    pub(super) fn child_side(&self) -> ChildSide {
        ChildSide { memory: self.memory, processes: self.processes, cut_network: self.cut_network }
    }

    pub(super) fn network_failure(&self) -> Option<io::Error> {
        self.cut_network.then(|| io::Error::new(io::ErrorKind::Unsupported, "this system has no network namespaces"))
    }

    pub(super) fn abandon(&self) {}
}

impl ChildSide {
    /// Between fork and exec.
    pub(super) fn enter(&self) -> io::Result<()> {
        use rustix::process::{Resource, Rlimit, setrlimit};
        if self.cut_network {
            return Err(io::Error::from_raw_os_error(libc::ENOTSUP));
        }
        // OpenBSD has no limit of the address space; its data limit comes closest.
        #[cfg(target_os = "openbsd")]
        let memory = Resource::Data;
        #[cfg(not(target_os = "openbsd"))]
        let memory = Resource::As;
        for (resource, limit) in [(memory, self.memory), (Resource::Nproc, self.processes)] {
            if limit.is_some() {
                setrlimit(resource, Rlimit { current: limit, maximum: limit })?;
            }
        }
        Ok(())
    }
}

/// A process tree.
#[derive(Debug)]
pub(crate) struct Tree {
    leader: i32,
    reaped: AtomicBool,
    cookie: String,
}

impl Tree {
    pub(super) fn new(leader: i32, _containment: Containment, cookie: &str) -> Self {
        Self { leader, reaped: AtomicBool::new(false), cookie: cookie.to_owned() }
    }

    pub(super) fn leader_reaped(&self) {
        self.reaped.store(true, Ordering::Release);
    }

    pub(super) fn add_usage(&self, _usage: &mut Usage) {}

    /// Kills the session's process group, the main process's descendants, and whoever bears the tree's mark.
    pub(crate) fn kill(&self) {
        if !self.reaped.load(Ordering::Acquire)
            && let Some(pid) = rustix::process::Pid::from_raw(self.leader)
        {
            let _ = rustix::process::kill_process_group(pid, rustix::process::Signal::KILL);
        }
        for _ in 0..20 {
            let members = self.members();
            if members.is_empty() {
                return;
            }
            members.into_iter().for_each(kill);
        }
    }

    fn members(&self) -> Vec<i32> {
        let own = i32::try_from(std::process::id()).unwrap_or(0);
        let mut members = marked(&self.cookie);
        if !self.reaped.load(Ordering::Acquire) {
            members.push(self.leader);
        }
        let listing = ps(&["-axo", "pid=,ppid=,stat="]);
        let all: Vec<(i32, i32, bool)> = listing
            .lines()
            .filter_map(|l| {
                let mut fields = l.split_ascii_whitespace();
                Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?, fields.next()?.starts_with('Z')))
            })
            .collect();
        loop {
            let more: Vec<i32> = all.iter().filter(|(pid, parent, _)| members.contains(parent) && !members.contains(pid)).map(|(pid, ..)| *pid).collect();
            if more.is_empty() {
                break;
            }
            members.extend(more);
        }
        members.retain(|pid| *pid != own && all.iter().any(|(p, _, zombie)| p == pid && !zombie));
        members
    }

    /// Whether the tree has no members any more.
    pub(crate) fn dispose(&self) -> bool {
        self.members().is_empty()
    }
}

fn ps(args: &[&str]) -> String {
    Command::new("ps").args(args).output().map(|o| String::from_utf8_lossy(&o.stdout).into_owned()).unwrap_or_default()
}

/// Processes with an environment entry that begins with `cookie`; `ps e` shows environments of our own processes.
fn marked(cookie: &str) -> Vec<i32> {
    ps(&["-axeww", "-o", "pid=,command="])
        .lines()
        .filter(|l| l.split(' ').any(|word| word.starts_with(cookie)))
        .filter_map(|l| l.split_ascii_whitespace().next()?.parse().ok())
        .collect()
}

fn kill(pid: i32) {
    if let Some(pid) = rustix::process::Pid::from_raw(pid) {
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
    }
}
