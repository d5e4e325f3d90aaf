//! Linux: control groups where possible, a child subreaper so that daemons cannot leave the tree, process file descriptors, splice, namespaces.

use std::collections::HashSet;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd, RawFd};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::process::{Pid, PidfdFlags, Signal};

use super::cgroup::Groups;
use super::{ExitInfo, SpawnSpec, Usage, unix};

pub(super) const CAN_CUT_NETWORK: bool = true;

/// Main processes whose supervisor will take their exit status; [`reap_orphans`] must not.
static DIRECT: Mutex<Option<HashSet<i32>>> = Mutex::new(None);

fn direct() -> MutexGuard<'static, Option<HashSet<i32>>> {
    DIRECT.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Once per process, by the worker's executable: daemons of builds become our children, old strays die, open files are plenty.
pub(crate) fn prepare_process() {
    // SAFETY: plain system call on this process.
    unsafe {
        libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
    }
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let _ = rustix::process::setrlimit(rustix::process::Resource::Nofile, rustix::process::Rlimit { current: limit.maximum, maximum: limit.maximum });
    super::cgroup::sweep_dead_workers();
}

/// Kills every process marked with an environment entry that begins with `cookie`. At the worker's start: what an earlier worker with the same
/// state directory left; at its end and in `/prepare`: what is left of its own executions.
pub(crate) fn sweep_strays(cookie: &str) {
    for _ in 0..50 {
        let strays: Vec<i32> = processes().filter(|p| !p.zombie && environ_has(p.pid, cookie.as_bytes())).map(|p| p.pid).collect();
        if strays.is_empty() {
            break;
        }
        for pid in strays {
            kill(pid);
        }
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
}

pub(crate) use super::cgroup::remove_own as finish_process;

/// Takes the exit status of daemons that became our children. `kill_living` also ends those that still run.
/// True when a main process stood in the way, so that the caller asks again soon.
pub(crate) fn reap_orphans(kill_living: bool) -> bool {
    let guard = direct();
    let main = |pid: i32| guard.as_ref().is_some_and(|d| d.contains(&pid));
    if kill_living {
        let own = std::process::id();
        for p in processes().filter(|p| p.parent == own && !p.zombie && !main(p.pid)) {
            kill(p.pid);
        }
    }
    loop {
        // SAFETY: the structure is valid for writes; WNOWAIT leaves the child as it is.
        let (result, pid) = unsafe {
            let mut info: libc::siginfo_t = std::mem::zeroed();
            let result = libc::waitid(libc::P_ALL, 0, &raw mut info, libc::WEXITED | libc::WNOHANG | libc::WNOWAIT);
            (result, info.si_pid())
        };
        if result != 0 || pid == 0 {
            return false;
        }
        if main(pid) {
            return true;
        }
        let Some(pid) = Pid::from_raw(pid) else { return false };
        if rustix::process::waitpid(Some(pid), rustix::process::WaitOptions::NOHANG).is_err() {
            return false;
        }
    }
}

/// Whether this process has no children at all. As a subreaper every process that our commands ever started is then gone.
pub(crate) fn childless() -> bool {
    // SAFETY: the structure is valid for writes; WNOWAIT leaves the child as it is.
    let result = unsafe {
        let mut info: libc::siginfo_t = std::mem::zeroed();
        libc::waitid(libc::P_ALL, 0, &raw mut info, libc::WEXITED | libc::WNOHANG | libc::WNOWAIT)
    };
    result != 0 && io::Error::last_os_error().raw_os_error() == Some(libc::ECHILD)
}

/// Spawns and registers in one step, so that the reaper never sees an unregistered main process.
pub(super) fn spawn_registered(command: &mut Command) -> io::Result<i32> {
    let mut guard = direct();
    let child = command.spawn()?;
    let pid = i32::try_from(child.id()).unwrap_or(0);
    guard.get_or_insert_default().insert(pid);
    Ok(pid)
}

pub(super) fn exit_watch(pid: i32) -> io::Result<OwnedFd> {
    let pid = Pid::from_raw(pid).ok_or(io::ErrorKind::InvalidInput)?;
    Ok(rustix::process::pidfd_open(pid, PidfdFlags::empty())?)
}

pub(super) fn wait(pid: i32) -> io::Result<ExitInfo> {
    let info = unix::wait4(pid);
    if let Some(pids) = direct().as_mut() {
        pids.remove(&pid);
    }
    info
}

/// A megabyte lets a build write on while its log is being stored.
pub(super) fn enlarge_pipe(pipe: &io::PipeReader) {
    let _ = rustix::pipe::fcntl_setpipe_size(pipe, 1 << 20);
}

pub(super) fn copy_pipe(pipe: &io::PipeReader, file: &File, offset: u64, limit: usize) -> io::Result<usize> {
    let mut at = offset;
    match rustix::pipe::splice(pipe, None, file, Some(&mut at), limit, rustix::pipe::SpliceFlags::NONBLOCK) {
        Ok(n) => Ok(n),
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => unix::copy_by_hand(pipe, file, offset, limit),
        Err(e) => Err(e.into()),
    }
}

/// What is prepared before the fork to hold, limit and cut off a tree.
#[derive(Debug)]
pub(super) struct Containment {
    groups: Groups,
    joins: Vec<File>,
    rlimit_memory: Option<u64>,
    rlimit_processes: Option<u64>,
    cut_network: bool,
    /// The child writes the error number of a failed network cut here.
    report: Option<(io::PipeReader, io::PipeWriter)>,
    /// `<uid> <uid> 1` and the same for the group, for a user namespace when we are not root.
    maps: [Vec<u8>; 2],
}

/// The part that runs between fork and exec: only system calls.
pub(super) struct ChildSide {
    joins: Vec<RawFd>,
    rlimit_memory: Option<u64>,
    rlimit_processes: Option<u64>,
    cut_network: bool,
    report: Option<RawFd>,
    maps: [Vec<u8>; 2],
}

impl Containment {
    pub(super) fn new(spec: &SpawnSpec) -> Self {
        let groups = Groups::new(spec.limits);
        let joins = groups.joins();
        let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        Self {
            joins,
            rlimit_memory: spec.limits.memory_bytes.filter(|_| !groups.limits_memory),
            rlimit_processes: spec.limits.max_processes.filter(|_| !groups.limits_processes),
            groups,
            cut_network: spec.cut_network,
            report: spec.cut_network.then(|| io::pipe().ok()).flatten(),
            maps: [format!("{uid} {uid} 1").into_bytes(), format!("{gid} {gid} 1").into_bytes()],
        }
    }

    pub(super) fn child_side(&self) -> ChildSide {
        ChildSide {
            joins: self.joins.iter().map(|f| f.as_raw_fd()).collect(),
            rlimit_memory: self.rlimit_memory,
            rlimit_processes: self.rlimit_processes,
            cut_network: self.cut_network,
            report: self.report.as_ref().map(|(_, w)| w.as_raw_fd()),
            maps: self.maps.clone(),
        }
    }

    /// After a failed start: whether cutting the network was what failed.
    pub(super) fn network_failure(&self) -> Option<io::Error> {
        let (reader, _) = self.report.as_ref()?;
        rustix::fs::fcntl_setfl(reader, rustix::fs::OFlags::NONBLOCK).ok()?;
        let mut number = [0; 4];
        let got = rustix::io::read(reader, &mut number).ok()?;
        (got == 4).then(|| io::Error::from_raw_os_error(i32::from_ne_bytes(number)))
    }

    pub(super) fn abandon(&self) {
        self.groups.remove();
    }
}

impl ChildSide {
    /// Between fork and exec.
    pub(super) fn enter(&self) -> io::Result<()> {
        for &fd in &self.joins {
            write_raw(fd, b"0")?;
        }
        for (resource, limit) in [(libc::RLIMIT_AS, self.rlimit_memory), (libc::RLIMIT_NPROC, self.rlimit_processes)] {
            if let Some(limit) = limit {
                let limit = libc::rlimit { rlim_cur: limit, rlim_max: limit };
                // SAFETY: the structure is valid for reads.
                if unsafe { libc::setrlimit(resource, &raw const limit) } != 0 {
                    return Err(io::Error::last_os_error());
                }
            }
        }
        if self.cut_network
            && let Err(e) = self.cut()
        {
            if let Some(fd) = self.report {
                let _ = write_raw(fd, &e.raw_os_error().unwrap_or(libc::EPERM).to_ne_bytes());
            }
            return Err(e);
        }
        Ok(())
    }

    fn cut(&self) -> io::Result<()> {
        // SAFETY: plain system calls on this process; the strings end in NUL.
        unsafe {
            if libc::unshare(libc::CLONE_NEWNET) != 0 {
                // Without the right, a user namespace in which we keep our own ids gives it.
                if libc::unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWNET) != 0 {
                    return Err(io::Error::last_os_error());
                }
                write_file(c"/proc/self/setgroups", b"deny")?;
                write_file(c"/proc/self/uid_map", &self.maps[0])?;
                write_file(c"/proc/self/gid_map", &self.maps[1])?;
            }
            // A new network namespace has a loopback device that is down; tests talk to themselves, so it goes up.
            let socket = libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0);
            if socket < 0 {
                return Err(io::Error::last_os_error());
            }
            let mut request: libc::ifreq = std::mem::zeroed();
            for (to, from) in request.ifr_name.iter_mut().zip(b"lo") {
                *to = libc::c_char::from_ne_bytes([*from]);
            }
            request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
            let result = libc::ioctl(socket, libc::SIOCSIFFLAGS as _, &raw const request);
            let error = io::Error::last_os_error();
            libc::close(socket);
            if result != 0 { Err(error) } else { Ok(()) }
        }
    }
}

fn write_raw(fd: RawFd, bytes: &[u8]) -> io::Result<()> {
    // SAFETY: the pointer is valid for the length.
    let written = unsafe { libc::write(fd, bytes.as_ptr().cast(), bytes.len()) };
    if written < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// # Safety
/// Only between fork and exec or in a single thread; the path is NUL-terminated by its type.
unsafe fn write_file(path: &std::ffi::CStr, bytes: &[u8]) -> io::Result<()> {
    // SAFETY: the path is a C string.
    let fd = unsafe { libc::open(path.as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    let result = write_raw(fd, bytes);
    // SAFETY: we opened it.
    unsafe { libc::close(fd) };
    result
}

/// A process tree.
#[derive(Debug)]
pub(crate) struct Tree {
    leader: i32,
    reaped: AtomicBool,
    groups: Groups,
    cookie: String,
}

impl Tree {
    pub(super) fn new(leader: i32, containment: Containment, cookie: &str) -> Self {
        Self { leader, reaped: AtomicBool::new(false), groups: containment.groups, cookie: cookie.to_owned() }
    }

    pub(super) fn leader_reaped(&self) {
        self.reaped.store(true, Ordering::Release);
    }

    pub(super) fn add_usage(&self, usage: &mut Usage) {
        usage.memory_limit_hit = self.groups.memory_limit_hit();
        if let Some(peak) = self.groups.peak_memory() {
            usage.max_rss_bytes = Some(peak);
        }
    }

    /// Kills every process of the tree: its control group, and whoever bears its mark, belongs to its session or descends from it.
    pub(crate) fn kill(&self) {
        self.groups.kill();
        // Root can leave its group, so the search runs even then; in the usual case it finds nothing and ends after one look.
        for round in 0..100 {
            let found = self.members();
            if found.is_empty() {
                break;
            }
            // Stopped ones cannot fork, so that the second half of a bomb cannot outrun the first.
            for &pid in &found {
                signal(pid, Signal::STOP);
            }
            for &pid in &found {
                kill(pid);
            }
            if round > 0 {
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
        }
        self.groups.remove();
    }

    /// Living members.
    fn members(&self) -> Vec<i32> {
        let all: Vec<Process> = processes().collect();
        let own = i32::try_from(std::process::id()).unwrap_or(0);
        // After its exit status was taken the leader's number may belong to somebody else.
        let leader = (!self.reaped.load(Ordering::Acquire)).then_some(self.leader);
        let mut members: HashSet<i32> = leader.into_iter().collect();
        for p in &all {
            if p.pid != own && (leader.is_some_and(|l| p.session == l) || environ_has(p.pid, self.cookie.as_bytes())) {
                members.insert(p.pid);
            }
        }
        loop {
            let before = members.len();
            for p in &all {
                if p.pid != own && i32::try_from(p.parent).is_ok_and(|parent| members.contains(&parent)) {
                    members.insert(p.pid);
                }
            }
            if members.len() == before {
                break;
            }
        }
        all.iter().filter(|p| !p.zombie && members.contains(&p.pid)).map(|p| p.pid).collect()
    }

    /// Gives back the kernel's objects; false while the tree has members.
    pub(crate) fn dispose(&self) -> bool {
        if self.groups.tracks() { self.groups.remove() } else { self.members().is_empty() }
    }
}

fn kill(pid: i32) {
    signal(pid, Signal::KILL);
}

fn signal(pid: i32, signal: Signal) {
    if let Some(pid) = Pid::from_raw(pid) {
        let _ = rustix::process::kill_process(pid, signal);
    }
}

struct Process {
    pid: i32,
    parent: u32,
    session: i32,
    zombie: bool,
}

fn processes() -> impl Iterator<Item = Process> {
    std::fs::read_dir("/proc").into_iter().flatten().flatten().filter_map(|entry| process(entry.file_name().to_str()?.parse().ok()?))
}

fn process(pid: i32) -> Option<Process> {
    let stat = std::fs::read(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may contain anything, so the fields are counted after the last one.
    let after = stat.iter().rposition(|&b| b == b')')?;
    let rest = std::str::from_utf8(stat.get(after + 1..)?).ok()?;
    let mut fields = rest.split_ascii_whitespace();
    let state = fields.next()?;
    let parent = fields.next()?.parse().ok()?;
    let session = fields.nth(1)?.parse().ok()?;
    Some(Process { pid, parent, session, zombie: matches!(state, "Z" | "X") })
}

pub(super) fn is_zombie(pid: i32) -> bool {
    process(pid).is_none_or(|p| p.zombie)
}

fn environ_has(pid: i32, cookie: &[u8]) -> bool {
    std::fs::read(format!("/proc/{pid}/environ")).is_ok_and(|env| env.split(|&b| b == 0).any(|entry| entry.starts_with(cookie)))
}

/// The directory, if it is a tmpfs in which programs may run; one mounted `noexec` is remounted if we may.
pub(super) fn tmpfs_work_dir(path: &str) -> Option<std::path::PathBuf> {
    const TMPFS_MAGIC: u64 = 0x0102_1994;
    let noexec = || rustix::fs::statvfs(path).map(|s| s.f_flag.contains(rustix::fs::StatVfsMountFlags::NOEXEC));
    #[allow(clippy::useless_conversion, clippy::cast_sign_loss, clippy::cast_lossless, reason = "the field's type differs between CPUs")]
    let magic = rustix::fs::statfs(path).ok()?.f_type as u64;
    if magic != TMPFS_MAGIC {
        return None;
    }
    if noexec().ok()? {
        let status = Command::new("mount").args(["-o", "remount,exec", path]).status().ok()?;
        if !status.success() || noexec().ok()? {
            return None;
        }
    }
    Some(path.into())
}
