//! What all Unixes share: a child is a session of its own with one output pipe, and one thread waits for it with `poll`.

use std::ffi::OsStr;
use std::io::{self, Read as _};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use cap_std::fs::{Dir, OpenOptions, OpenOptionsExt as _};
use protocol_buildlet::process_state::ProcessState;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{AtFlags, FileType, statat};

use super::{Event, ExitInfo, Kind, SpawnError, SpawnSpec, Stamp, Usage, os};

pub(crate) use os::{Tree, childless, finish_process, prepare_process, reap_orphans, sweep_strays};

/// Whether limits of a whole tree and network cuts exist here.
pub(crate) const CAN_CUT_NETWORK: bool = os::CAN_CUT_NETWORK;

/// Ends the wait of [`Child::next`] from another thread.
#[derive(Clone, Debug)]
pub(crate) struct Waker(Arc<OwnedFd>);

impl Waker {
    pub(crate) fn wake(&self) {
        // The pipe being full means that a wake-up is already waiting.
        let _ = rustix::io::write(&*self.0, &[1]);
    }
}

/// A started main process, its tree and its output.
#[derive(Debug)]
pub(crate) struct Child {
    pid: i32,
    tree: Arc<Tree>,
    output: Option<io::PipeReader>,
    exit: Option<OwnedFd>,
    wake_read: OwnedFd,
    waker: Waker,
}

/// Starts a program in a session of its own, both output streams in one pipe, nothing to read.
pub(crate) fn spawn(spec: &SpawnSpec) -> Result<Child, SpawnError> {
    let (wake_read, wake_write) =
        rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC | rustix::pipe::PipeFlags::NONBLOCK).map_err(|e| SpawnError::Pipe(e.into()))?;
    let (output, writer) = io::pipe().map_err(SpawnError::Pipe)?;
    os::enlarge_pipe(&output);
    let program = spec.program.display().to_string();
    let failed = |cause: &io::Error| SpawnError::Exec { program: program.clone(), cause: error_text(cause) };
    // Looked at here because `execve` and `chdir` report through one number.
    match std::fs::metadata(&spec.dir) {
        Ok(found) if found.is_dir() => {}
        Ok(_) => return Err(SpawnError::Dir { dir: spec.dir.display().to_string(), cause: "not a directory".to_owned() }),
        Err(e) => return Err(SpawnError::Dir { dir: spec.dir.display().to_string(), cause: error_text(&e) }),
    }
    let second = writer.try_clone().map_err(SpawnError::Pipe)?;
    let mut command = Command::new(&spec.program);
    command.args(&spec.args).current_dir(&spec.dir).env_clear().stdin(Stdio::null()).stdout(writer).stderr(second);
    for entry in &spec.env {
        if let Some((key, value)) = entry.split_once('=')
            && !key.is_empty()
        {
            command.env(key, value);
        }
    }
    if let Some((key, value)) = spec.cookie.split_once('=') {
        command.env(key, value);
    }
    let containment = os::Containment::new(spec);
    let in_child = containment.child_side();
    // SAFETY: the closure only makes system calls on values prepared before the fork; it neither allocates nor takes locks.
    unsafe {
        command.pre_exec(move || {
            rustix::process::setsid()?;
            in_child.enter()
        });
    }
    let started = os::spawn_registered(&mut command);
    // Closes our copies of the writer.
    drop(command);
    let pid = match started {
        Ok(pid) => pid,
        Err(e) => {
            let error = match containment.network_failure() {
                Some(cause) => SpawnError::Network(error_text(&cause)),
                None => failed(&e),
            };
            containment.abandon();
            return Err(error);
        }
    };
    let exit = match os::exit_watch(pid) {
        Ok(exit) => exit,
        Err(e) => {
            os::Tree::new(pid, containment, &spec.cookie).kill();
            let _ = os::wait(pid);
            return Err(failed(&e));
        }
    };
    Ok(Child {
        pid,
        tree: Arc::new(Tree::new(pid, containment, &spec.cookie)),
        output: Some(output),
        exit: Some(exit),
        wake_read,
        waker: Waker(Arc::new(wake_write)),
    })
}

impl Child {
    pub(crate) fn tree(&self) -> Arc<Tree> {
        Arc::clone(&self.tree)
    }

    pub(crate) fn waker(&self) -> Waker {
        self.waker.clone()
    }

    /// Waits for the next event, at most `limit`. Output comes first, so that what was written before the exit is read before it.
    pub(crate) fn next(&mut self, limit: Option<Duration>) -> io::Result<Event> {
        let timeout = limit.map(|d| Timespec { tv_sec: i64::try_from(d.as_secs()).unwrap_or(i64::MAX), tv_nsec: d.subsec_nanos().into() });
        let mut fds = Vec::with_capacity(3);
        fds.push(PollFd::new(&self.wake_read, PollFlags::IN));
        let output_at = self.output.as_ref().map(|fd| {
            fds.push(PollFd::new(fd, PollFlags::IN));
            fds.len() - 1
        });
        let exit_at = self.exit.as_ref().map(|fd| {
            fds.push(PollFd::new(fd, PollFlags::IN));
            fds.len() - 1
        });
        match poll(&mut fds, timeout.as_ref()) {
            Ok(0) => return Ok(Event::TimedOut),
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => return Ok(Event::Woken),
            Err(e) => return Err(e.into()),
        }
        let ready = |at: Option<usize>| at.and_then(|at| fds.get(at)).map_or(PollFlags::empty(), PollFd::revents);
        let (woken, output, exited) = (ready(Some(0)), ready(output_at), ready(exit_at));
        drop(fds);
        if !woken.is_empty() {
            let mut sink = [0; 64];
            let _ = rustix::io::read(&self.wake_read, &mut sink);
            return Ok(Event::Woken);
        }
        if output.contains(PollFlags::IN) {
            return Ok(Event::Readable);
        }
        if !output.is_empty() {
            self.output = None;
            return Ok(Event::Eof);
        }
        if !exited.is_empty() {
            self.exit = None;
            let mut info = os::wait(self.pid)?;
            self.tree.leader_reaped();
            self.tree.add_usage(&mut info.usage);
            return Ok(Event::Exited(info));
        }
        Ok(Event::Woken)
    }

    /// Reads what waits; only after [`Event::Readable`].
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.output {
            Some(output) => output.read(buffer),
            None => Ok(0),
        }
    }

    /// Moves what waits, at most `limit` bytes, to `offset` of a file; only after [`Event::Readable`].
    pub(crate) fn copy_to(&mut self, file: &std::fs::File, offset: u64, limit: usize) -> io::Result<usize> {
        match &self.output {
            Some(output) => os::copy_pipe(output, file, offset, limit),
            None => Ok(0),
        }
    }

    /// Stops listening to the pipe: a later write of a process left behind fails.
    pub(crate) fn close_output(&mut self) {
        self.output = None;
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // Only when its supervisor gave up: nobody else would take the exit status, so a thread does when it comes.
        if self.exit.is_some() {
            self.tree.kill();
            let pid = self.pid;
            std::thread::spawn(move || {
                let _ = os::wait(pid);
            });
        }
    }
}

/// Reads then writes: where the kernel cannot move pages between a pipe and a file.
pub(crate) fn copy_by_hand(output: &io::PipeReader, file: &std::fs::File, offset: u64, limit: usize) -> io::Result<usize> {
    use std::os::unix::fs::FileExt as _;
    let mut buffer = vec![0; limit.min(64 * 1024)];
    let n = (&mut &*output).read(&mut buffer)?;
    let Some(got) = buffer.get(..n) else { return Ok(0) };
    file.write_all_at(got, offset)?;
    Ok(n)
}

/// Turns a wait status into Go's words.
pub(super) fn process_state(status: i32) -> ProcessState {
    if libc::WIFSIGNALED(status) {
        ProcessState::Signaled { signal: libc::WTERMSIG(status), core: libc::WCOREDUMP(status) }
    } else {
        ProcessState::Exited(libc::WEXITSTATUS(status).into())
    }
}

/// Waits for a child and takes its resource usage, which `waitid` does not tell.
pub(super) fn wait4(pid: i32) -> io::Result<ExitInfo> {
    loop {
        let mut status = 0;
        // SAFETY: both pointers are valid for writes; a zeroed rusage is a valid value.
        let (got, usage) = unsafe {
            let mut usage: libc::rusage = std::mem::zeroed();
            (libc::wait4(pid, &raw mut status, 0, &raw mut usage), usage)
        };
        if got == pid {
            let millis = |t: libc::timeval| u64::try_from(i128::from(t.tv_sec) * 1000 + i128::from(t.tv_usec) / 1000).ok();
            let unit = if cfg!(any(target_os = "macos", target_os = "ios")) { 1 } else { 1024 };
            return Ok(ExitInfo {
                state: process_state(status),
                usage: Usage {
                    user_ms: millis(usage.ru_utime),
                    system_ms: millis(usage.ru_stime),
                    max_rss_bytes: u64::try_from(usage.ru_maxrss).ok().map(|r| r.saturating_mul(unit)),
                    memory_limit_hit: false,
                },
            });
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

/// The system's text of an error in Go's form: lower case, without Rust's `(os error N)`.
pub(crate) fn error_text(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut chars = text.chars();
    match chars.next() {
        Some(first) => first.to_lowercase().chain(chars).collect(),
        None => String::new(),
    }
}

/// Looks at one entry of a directory without following it.
pub(crate) fn stamp(dir: &Dir, name: &OsStr) -> io::Result<Stamp> {
    Ok(stamp_of(&statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)?))
}

/// Looks at an open file or directory.
pub(crate) fn stamp_open(file: impl AsFd) -> io::Result<Stamp> {
    Ok(stamp_of(&rustix::fs::fstat(file)?))
}

#[allow(clippy::useless_conversion, clippy::unnecessary_cast, reason = "the fields' widths differ between systems")]
fn stamp_of(stat: &rustix::fs::Stat) -> Stamp {
    let nanos = |seconds: i64, nanos: i64| seconds.saturating_mul(1_000_000_000).saturating_add(nanos);
    let kind = match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => Kind::File,
        FileType::Directory => Kind::Dir,
        FileType::Symlink => Kind::Symlink,
        _ => Kind::Other,
    };
    Stamp {
        kind,
        mode: u32::from(stat.st_mode) & 0o7777,
        size: u64::try_from(stat.st_size).unwrap_or(0),
        inode: stat.st_ino as u64,
        modified: nanos(stat.st_mtime as i64, stat.st_mtime_nsec as i64),
        changed: nanos(stat.st_ctime as i64, stat.st_ctime_nsec as i64),
    }
}

/// The mode of an entry as the `st_mode` of POSIX.
pub(crate) fn posix_mode(meta: &cap_std::fs::Metadata) -> u32 {
    use cap_std::fs::MetadataExt as _;
    meta.mode()
}

/// Opens so that a named pipe planted at the place cannot make us wait.
pub(crate) fn never_block(options: &mut OpenOptions) {
    options.custom_flags(i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap_or(0));
}

/// Sets the permission bits a new file gets, before the umask.
pub(crate) fn create_mode(options: &mut OpenOptions, mode: u32) {
    options.mode(mode & 0o777);
}

/// Sets the permission bits of an open file.
pub(crate) fn set_mode(file: impl AsFd, mode: u32) -> io::Result<()> {
    #[allow(clippy::useless_conversion, reason = "mode_t is narrower on some systems")]
    let raw = (mode & 0o7777).try_into().unwrap_or(0o644);
    Ok(rustix::fs::fchmod(file, rustix::fs::Mode::from_raw_mode(raw))?)
}

/// Makes a directory readable, writable and searchable for us when its permissions forbid to work in it.
pub(crate) fn unlock_dir(parent: &Dir, name: &OsStr) -> io::Result<()> {
    // Opened without following and only as a path, so that a link cannot redirect the change.
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::CLOEXEC;
    let mode = rustix::fs::Mode::RWXU;
    match rustix::fs::openat(parent, name, flags | rustix::fs::OFlags::RDONLY, rustix::fs::Mode::empty()) {
        Ok(fd) => Ok(rustix::fs::fchmod(fd, mode)?),
        Err(_) => {
            if stamp(parent, name)?.kind == Kind::Dir {
                rustix::fs::chmodat(parent, name, mode, AtFlags::empty())?;
            }
            Ok(())
        }
    }
}

/// Opens a directory that must not be a link.
pub(crate) fn open_dir_nofollow(parent: &Dir, name: &OsStr) -> io::Result<Dir> {
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::CLOEXEC | rustix::fs::OFlags::RDONLY;
    let fd = rustix::fs::openat(parent, name, flags, rustix::fs::Mode::empty())?;
    Ok(Dir::from_std_file(std::fs::File::from(fd)))
}

/// Moves an entry between two open directories.
pub(crate) fn rename_at(from: &Dir, name: &OsStr, to: &Dir, new: &OsStr) -> io::Result<()> {
    Ok(rustix::fs::renameat(from, name, to, new)?)
}

/// Names as bytes on the wire and in records.
pub(crate) fn name_bytes(name: &OsStr) -> Vec<u8> {
    name.as_bytes().to_vec()
}

/// The inverse of [`name_bytes`].
pub(crate) fn name_from_bytes(bytes: &[u8]) -> Option<&OsStr> {
    Some(OsStr::from_bytes(bytes))
}

/// Whether a file may be executed.
pub(crate) fn is_executable(path: &std::path::Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::metadata(path).is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
}

/// Creates a file only its owner may read.
pub(crate) fn private(options: &mut std::fs::OpenOptions) {
    use std::os::unix::fs::OpenOptionsExt as _;
    options.mode(0o600);
}

/// The name of the machine.
pub(crate) fn hostname() -> Option<String> {
    rustix::system::uname().nodename().to_str().ok().map(str::to_owned).filter(|n| !n.is_empty())
}

/// Runs a program to its end, without waiting for it here.
pub(crate) fn run_detached(program: &str, args: &[&str]) -> io::Result<()> {
    Command::new(program).args(args).stdin(Stdio::null()).process_group(0).spawn().map(drop)
}

/// What `/halt` runs to power the machine off (spec buildlet.md §3.8); none where only the process ends.
pub(crate) fn halt_command(builder_env: &str) -> Option<(&'static str, &'static [&'static str])> {
    if cfg!(target_os = "linux") {
        Some(("/bin/halt", &["-n", "-f", "-p"]))
    } else if cfg!(target_os = "openbsd") {
        Some(("halt", &["-q", "-n", "-p"]))
    } else if cfg!(target_os = "freebsd") {
        Some(("shutdown", &["-p", "-o", "now"]))
    } else if cfg!(target_os = "macos") && matches!(builder_env, "macstadium_vm" | "qemu_vm") {
        Some(("sudo", &["/sbin/halt", "-n", "-q", "-l"]))
    } else {
        None
    }
}

/// What `/halt` runs to restart the machine.
pub(crate) fn reboot_command() -> (&'static str, &'static [&'static str]) {
    ("reboot", &[])
}

/// Names of users and groups, for tar headers.
pub(crate) struct Owners {
    users: std::collections::HashMap<u32, String>,
    groups: std::collections::HashMap<u32, String>,
}

impl Owners {
    /// Reads the system's files; numbers suffice where they have no name.
    pub(crate) fn read() -> Self {
        let read = |file: &str| {
            std::fs::read_to_string(file)
                .unwrap_or_default()
                .lines()
                .filter_map(|line| {
                    let mut fields = line.split(':');
                    let name = fields.next()?.to_owned();
                    Some((fields.nth(1)?.parse().ok()?, name))
                })
                .collect()
        };
        Self { users: read("/etc/passwd"), groups: read("/etc/group") }
    }

    /// Fills in owner and group.
    pub(crate) fn fill(&self, header: &mut tar::Header, meta: &cap_std::fs::Metadata) -> io::Result<()> {
        use cap_std::fs::MetadataExt as _;
        let (uid, gid) = (meta.uid(), meta.gid());
        header.set_uid(uid.into());
        header.set_gid(gid.into());
        if let Some(name) = self.users.get(&uid).filter(|n| n.len() < 32) {
            header.set_username(name)?;
        }
        if let Some(name) = self.groups.get(&gid).filter(|n| n.len() < 32) {
            header.set_groupname(name)?;
        }
        Ok(())
    }
}

/// The process's threads, by name, for `/debug/goroutines`.
pub(crate) fn threads() -> String {
    let mut out = String::new();
    for task in std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten() {
        let read = |file: &str| std::fs::read_to_string(task.path().join(file)).unwrap_or_default();
        out.push_str(&format!("{} {} {}\n", task.file_name().to_string_lossy(), read("comm").trim(), read("wchan").trim()));
    }
    out.truncate(2 << 20);
    out
}

/// Where the machine's SSH server listens (spec buildlet.md §5).
pub(crate) fn ssh_port() -> u16 {
    if cfg!(all(target_os = "linux", target_arch = "x86_64")) { 2200 } else { 22 }
}

/// Starts an SSH server where nobody else does: in Linux containers made for builds, and on NetBSD. Elsewhere it must run already.
pub(crate) fn start_ssh_server(port: u16) {
    if cfg!(target_os = "netbsd") {
        let _ = run_detached("/etc/rc.d/sshd", &["start"]);
        return;
    }
    let numbered = |e: std::fs::DirEntry| e.file_name().to_str().is_some_and(|n| n.bytes().all(|b| b.is_ascii_digit()));
    let processes = std::fs::read_dir("/proc").map_or(usize::MAX, |d| d.flatten().filter(|_| true).map(numbered).filter(|n| *n).count());
    let image = std::fs::symlink_metadata("/usr/local/bin/stage0").is_ok_and(|m| m.is_file());
    if !cfg!(target_os = "linux") || processes >= 4 || !image {
        return;
    }
    if cfg!(target_arch = "arm") {
        let _ = Command::new("ssh-keygen").arg("-A").stdin(Stdio::null()).status();
    }
    let port = port.to_string();
    std::thread::spawn(move || {
        loop {
            let begun = std::time::Instant::now();
            // Without `-d` a server takes more than one session (golang/go#53394).
            let _ = Command::new("/usr/sbin/sshd").args(["-D", "-p", &port]).stdin(Stdio::null()).status();
            std::thread::sleep(Duration::from_secs(1).saturating_sub(begun.elapsed()));
        }
    });
}

/// Only its owner may look into it.
pub(crate) fn make_private_dir(dir: &std::path::Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o700))
}

/// Lets a user's SSH server read the keys we wrote as another user.
pub(crate) fn give_keys_to(user: &str, dir: &std::path::Path, file: &std::path::Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o600))?;
    if !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let ids = passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next()? == user).then_some(())?;
        Some((fields.nth(1)?.parse().ok()?, fields.next()?.parse().ok()?))
    });
    if let Some((uid, gid)) = ids {
        for path in [dir, file] {
            std::os::unix::fs::chown(path, Some(uid), Some(gid))?;
        }
    }
    Ok(())
}

/// Tells when children end.
pub(crate) struct ChildSignals(tokio::signal::unix::Signal);

impl ChildSignals {
    pub(crate) fn new() -> io::Result<Self> {
        tokio::signal::unix::signal(tokio::signal::unix::SignalKind::child()).map(Self)
    }

    pub(crate) async fn next(&mut self) {
        if self.0.recv().await.is_none() {
            std::future::pending::<()>().await;
        }
    }
}

/// Cancels at the first SIGINT or SIGTERM; a second one ends the process at once. Everything acknowledged is on disk by then.
pub(crate) async fn stop_signals(shutdown: tokio_util::sync::CancellationToken) {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut interrupt), Ok(mut terminate)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate())) else { return };
    for _ in 0..2 {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        if shutdown.is_cancelled() {
            std::process::exit(130);
        }
        shutdown.cancel();
    }
}

/// A work directory the system brings: a tmpfs at `/workdir`, as container images for builds have it.
pub(crate) fn system_work_dir() -> Option<std::path::PathBuf> {
    os::tmpfs_work_dir("/workdir")
}

/// Which cloud this virtual machine is of, told from what its firmware says.
pub(crate) fn cloud() -> Option<super::Cloud> {
    let says = |file: &str, name: &str| std::fs::read_to_string(format!("/sys/class/dmi/id/{file}")).is_ok_and(|text| text.contains(name));
    if says("product_name", "Google Compute Engine") {
        Some(super::Cloud::Gce)
    } else if says("sys_vendor", "Amazon EC2") {
        Some(super::Cloud::Ec2)
    } else {
        None
    }
}
