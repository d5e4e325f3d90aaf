//! Windows: a tree is a job object, which ends with its last handle and takes every process with it.
//!
//! There is no waiting for a pipe and a process at once, so two threads tell one queue: one reads output, one waits for the exit.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::io::{self, Read as _};
use std::os::windows::io::{AsRawHandle as _, FromRawHandle as _, OwnedHandle};
use std::os::windows::process::CommandExt as _;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use cap_std::fs::{Dir, OpenOptions};
use protocol_buildlet::process_state::ProcessState;
use windows_sys::Win32::System::JobObjects::{
    AssignProcessToJobObject, CreateJobObjectW, JOB_OBJECT_LIMIT_ACTIVE_PROCESS, JOB_OBJECT_LIMIT_JOB_MEMORY, JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE,
    JOBOBJECT_EXTENDED_LIMIT_INFORMATION, JobObjectExtendedLimitInformation, QueryInformationJobObject, SetInformationJobObject, TerminateJobObject,
};

use super::{Event, ExitInfo, Kind, SpawnError, SpawnSpec, Stamp, Usage};

/// Firewalls here are the machine's, not a command's.
pub(crate) const CAN_CUT_NETWORK: bool = false;

/// New process group: a console's Ctrl-C for us is not one for builds.
const CREATE_NEW_PROCESS_GROUP: u32 = 0x200;

enum Told {
    Output(Vec<u8>),
    Eof,
    Exited(io::Result<i32>),
    Woken,
}

/// Ends the wait of [`Child::next`] from another thread.
#[derive(Clone, Debug)]
pub(crate) struct Waker(mpsc::Sender<Told>);

impl Waker {
    pub(crate) fn wake(&self) {
        let _ = self.0.send(Told::Woken);
    }
}

/// A started main process.
pub(crate) struct Child {
    tree: Arc<Tree>,
    told: mpsc::Receiver<Told>,
    sender: mpsc::Sender<Told>,
    waiting: VecDeque<u8>,
    closed: bool,
}

pub(crate) fn spawn(spec: &SpawnSpec) -> Result<Child, SpawnError> {
    if spec.cut_network {
        return Err(SpawnError::Network("Windows has no network namespaces".to_owned()));
    }
    let program = spec.program.display().to_string();
    let failed = |e: io::Error| SpawnError::Exec { program: program.clone(), cause: error_text(&e) };
    if !spec.dir.is_dir() {
        return Err(SpawnError::Dir { dir: spec.dir.display().to_string(), cause: "The system cannot find the path specified.".to_owned() });
    }
    let (mut reader, writer) = io::pipe().map_err(SpawnError::Pipe)?;
    let second = writer.try_clone().map_err(SpawnError::Pipe)?;
    let mut command = Command::new(&spec.program);
    command.args(&spec.args).current_dir(&spec.dir).env_clear().stdin(Stdio::null()).stdout(writer).stderr(second);
    command.creation_flags(CREATE_NEW_PROCESS_GROUP);
    command.env("GOBUILDEXIT", "1");
    for entry in spec.env.iter().chain([&spec.cookie]) {
        if let Some((key, value)) = entry.split_once('=')
            && !key.is_empty()
        {
            command.env(key, value);
        }
    }
    let tree = Arc::new(Tree::new(spec).map_err(failed)?);
    let mut child = command.spawn().map_err(failed)?;
    drop(command);
    // SAFETY: both handles are open for the duration of the call.
    if unsafe { AssignProcessToJobObject(tree.job.as_raw_handle(), child.as_raw_handle()) } == 0 {
        let error = io::Error::last_os_error();
        let _ = child.kill();
        return Err(failed(error));
    }
    let (sender, told) = mpsc::channel();
    let output = sender.clone();
    std::thread::spawn(move || {
        let mut buffer = vec![0; 32 * 1024];
        while let Ok(n @ 1..) = reader.read(&mut buffer) {
            if output.send(Told::Output(buffer.get(..n).unwrap_or_default().to_vec())).is_err() {
                return;
            }
        }
        let _ = output.send(Told::Eof);
    });
    let exit = sender.clone();
    std::thread::spawn(move || {
        let status = child.wait().map(|s| s.code().unwrap_or(-1));
        let _ = exit.send(Told::Exited(status));
    });
    Ok(Child { tree, told, sender, waiting: VecDeque::new(), closed: false })
}

impl Child {
    pub(crate) fn tree(&self) -> Arc<Tree> {
        Arc::clone(&self.tree)
    }

    pub(crate) fn waker(&self) -> Waker {
        Waker(self.sender.clone())
    }

    pub(crate) fn next(&mut self, limit: Option<Duration>) -> io::Result<Event> {
        if !self.waiting.is_empty() {
            return Ok(Event::Readable);
        }
        let told = match limit {
            Some(limit) => match self.told.recv_timeout(limit) {
                Ok(told) => told,
                Err(RecvTimeoutError::Timeout) => return Ok(Event::TimedOut),
                Err(RecvTimeoutError::Disconnected) => return Err(io::ErrorKind::BrokenPipe.into()),
            },
            None => self.told.recv().map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?,
        };
        match told {
            Told::Output(_) if self.closed => Ok(Event::Woken),
            Told::Output(bytes) => {
                self.waiting.extend(bytes);
                Ok(Event::Readable)
            }
            Told::Eof => Ok(Event::Eof),
            Told::Woken => Ok(Event::Woken),
            Told::Exited(code) => {
                // Exit codes are unsigned here: NTSTATUS values are known by their hex form.
                let state = ProcessState::Exited(code?.cast_unsigned().into());
                Ok(Event::Exited(ExitInfo { state, usage: self.tree.usage() }))
            }
        }
    }

    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.waiting.read(buffer)
    }

    pub(crate) fn copy_to(&mut self, file: &std::fs::File, offset: u64, limit: usize) -> io::Result<usize> {
        use std::os::windows::fs::FileExt as _;
        let (first, _) = self.waiting.as_slices();
        let piece = first.get(..first.len().min(limit)).unwrap_or_default();
        let n = file.seek_write(piece, offset)?;
        self.waiting.drain(..n);
        Ok(n)
    }

    pub(crate) fn close_output(&mut self) {
        self.closed = true;
        self.waiting.clear();
    }
}

/// A process tree: the job.
#[derive(Debug)]
pub(crate) struct Tree {
    job: OwnedHandle,
    limited: bool,
}

impl Tree {
    fn new(spec: &SpawnSpec) -> io::Result<Self> {
        // SAFETY: null attributes and name are allowed; the result is checked; the structure is plain data of the right size.
        unsafe {
            let job = CreateJobObjectW(std::ptr::null(), std::ptr::null());
            if job.is_null() {
                return Err(io::Error::last_os_error());
            }
            let job = OwnedHandle::from_raw_handle(job);
            let mut limits: JOBOBJECT_EXTENDED_LIMIT_INFORMATION = std::mem::zeroed();
            limits.BasicLimitInformation.LimitFlags = JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE;
            if let Some(bytes) = spec.limits.memory_bytes {
                limits.BasicLimitInformation.LimitFlags |= JOB_OBJECT_LIMIT_JOB_MEMORY;
                limits.JobMemoryLimit = usize::try_from(bytes).unwrap_or(usize::MAX);
            }
            if let Some(most) = spec.limits.max_processes {
                limits.BasicLimitInformation.LimitFlags |= JOB_OBJECT_LIMIT_ACTIVE_PROCESS;
                limits.BasicLimitInformation.ActiveProcessLimit = u32::try_from(most).unwrap_or(u32::MAX);
            }
            let size = u32::try_from(size_of_val(&limits)).unwrap_or(0);
            if SetInformationJobObject(job.as_raw_handle(), JobObjectExtendedLimitInformation, (&raw const limits).cast(), size) == 0 {
                return Err(io::Error::last_os_error());
            }
            Ok(Self { job, limited: spec.limits.memory_bytes.is_some() })
        }
    }

    fn usage(&self) -> Usage {
        // SAFETY: the structure is plain data of the right size.
        let peak = unsafe {
            let mut info: JOBOBJECT_EXTENDED_LIMIT_INFORMATION = std::mem::zeroed();
            let size = u32::try_from(size_of_val(&info)).unwrap_or(0);
            let ok = QueryInformationJobObject(self.job.as_raw_handle(), JobObjectExtendedLimitInformation, (&raw mut info).cast(), size, std::ptr::null_mut());
            (ok != 0).then_some((info.PeakJobMemoryUsed as u64, info.JobMemoryLimit as u64))
        };
        Usage {
            max_rss_bytes: peak.map(|(used, _)| used),
            memory_limit_hit: self.limited && peak.is_some_and(|(used, limit)| used >= limit),
            ..Usage::default()
        }
    }

    pub(crate) fn kill(&self) {
        // SAFETY: the handle is open.
        unsafe {
            TerminateJobObject(self.job.as_raw_handle(), 1);
        }
    }

    /// The job's handle is all there is; dropping it ends what is left, so a tree is never kept.
    pub(crate) fn dispose(&self) -> bool {
        true
    }
}

pub(crate) fn prepare_process() {}

pub(crate) fn finish_process() {}

/// Jobs end with the process that made them, so no earlier worker leaves any.
pub(crate) fn sweep_strays(_cookie: &str) {}

pub(crate) fn reap_orphans(_kill_living: bool) -> bool {
    false
}

/// Jobs know their processes; nobody asks.
pub(crate) fn childless() -> bool {
    false
}

/// There is no such signal.
pub(crate) struct ChildSignals;

impl ChildSignals {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self)
    }

    pub(crate) async fn next(&mut self) {
        std::future::pending().await
    }
}

pub(crate) async fn stop_signals(shutdown: tokio_util::sync::CancellationToken) {
    while tokio::signal::ctrl_c().await.is_ok() {
        if shutdown.is_cancelled() {
            std::process::exit(130);
        }
        shutdown.cancel();
    }
}

pub(crate) fn error_text(error: &io::Error) -> String {
    error.to_string().split(" (os error").next().unwrap_or_default().to_owned()
}

pub(crate) fn stamp(dir: &Dir, name: &OsStr) -> io::Result<Stamp> {
    Ok(stamp_of(&dir.symlink_metadata(name)?))
}

pub(crate) fn stamp_open(file: impl std::os::windows::io::AsHandle) -> io::Result<Stamp> {
    let file = std::fs::File::from(file.as_handle().try_clone_to_owned()?);
    Ok(stamp_of(&cap_std::fs::Metadata::from_file(&file)?))
}

/// No change time is told here, so the modification time stands in for it; a build that sets it back is found by size or not at all.
fn stamp_of(meta: &cap_std::fs::Metadata) -> Stamp {
    let modified = meta.modified().ok().and_then(|t| t.into_std().duration_since(std::time::UNIX_EPOCH).ok());
    let modified = modified.and_then(|d| i64::try_from(d.as_nanos()).ok()).unwrap_or(0);
    let kind = if meta.is_symlink() {
        Kind::Symlink
    } else if meta.is_dir() {
        Kind::Dir
    } else if meta.is_file() {
        Kind::File
    } else {
        Kind::Other
    };
    // Permission bits do not exist: everything has the mode a tree gives it.
    let mode = if kind == Kind::Dir { 0o755 } else { 0o644 };
    Stamp { kind, mode, size: meta.len(), inode: 0, modified, changed: modified }
}

pub(crate) fn posix_mode(meta: &cap_std::fs::Metadata) -> u32 {
    let write = if meta.permissions().readonly() { 0 } else { 0o222 };
    if meta.is_symlink() {
        0o120_777
    } else if meta.is_dir() {
        0o040_777
    } else {
        0o100_444 | write
    }
}

pub(crate) fn never_block(_options: &mut OpenOptions) {}

pub(crate) fn create_mode(_options: &mut OpenOptions, _mode: u32) {}

pub(crate) fn set_mode<F>(_file: F, _mode: u32) -> io::Result<()> {
    Ok(())
}

/// Read-only files cannot be removed here, so what is below a directory is made writable.
pub(crate) fn unlock_dir(parent: &Dir, name: &OsStr) -> io::Result<()> {
    let mut permissions = parent.symlink_metadata(name)?.permissions();
    permissions.set_readonly(false);
    parent.set_permissions(name, permissions)
}

pub(crate) fn open_dir_nofollow(parent: &Dir, name: &OsStr) -> io::Result<Dir> {
    if parent.symlink_metadata(name)?.is_symlink() {
        return Err(io::Error::new(io::ErrorKind::NotADirectory, "it is a link"));
    }
    parent.open_dir(name)
}

pub(crate) fn rename_at(from: &Dir, name: &OsStr, to: &Dir, new: &OsStr) -> io::Result<()> {
    from.rename(name, to, new)
}

pub(crate) fn name_bytes(name: &OsStr) -> Vec<u8> {
    name.to_string_lossy().into_owned().into_bytes()
}

pub(crate) fn name_from_bytes(bytes: &[u8]) -> Option<&OsStr> {
    std::str::from_utf8(bytes).ok().map(OsStr::new)
}

pub(crate) fn is_executable(path: &std::path::Path) -> bool {
    path.is_file()
}

pub(crate) fn private(_options: &mut std::fs::OpenOptions) {}

pub(crate) fn make_private_dir(_dir: &std::path::Path) -> io::Result<()> {
    Ok(())
}

pub(crate) fn hostname() -> Option<String> {
    std::env::var("COMPUTERNAME").ok()
}

pub(crate) fn run_detached(program: &str, args: &[&str]) -> io::Result<()> {
    Command::new(program).args(args).stdin(Stdio::null()).spawn().map(drop)
}

pub(crate) fn halt_command(_builder_env: &str) -> Option<(&'static str, &'static [&'static str])> {
    cfg!(target_arch = "aarch64").then_some(("shutdown", &["/s"]))
}

pub(crate) fn reboot_command() -> (&'static str, &'static [&'static str]) {
    ("shutdown", &["/r"])
}

/// Owners have no numbers here.
pub(crate) struct Owners;

impl Owners {
    pub(crate) fn read() -> Self {
        Self
    }

    pub(crate) fn fill(&self, header: &mut tar::Header, _meta: &cap_std::fs::Metadata) -> io::Result<()> {
        header.set_uid(0);
        header.set_gid(0);
        Ok(())
    }
}

pub(crate) fn threads() -> String {
    "not available on Windows\n".to_owned()
}

pub(crate) fn ssh_port() -> u16 {
    22
}

pub(crate) fn start_ssh_server(_port: u16) {}

/// The service reads the keys by this right.
pub(crate) fn give_keys_to(_user: &str, _dir: &std::path::Path, file: &std::path::Path) -> io::Result<()> {
    let status = Command::new("icacls.exe").arg(file).args(["/grant", r"NT SERVICE\sshd:(R)"]).status()?;
    if status.success() { Ok(()) } else { Err(io::Error::other("icacls failed")) }
}

pub(crate) fn system_work_dir() -> Option<std::path::PathBuf> {
    let path = std::path::PathBuf::from(r"C:\workdir");
    std::fs::create_dir_all(&path).ok().map(|()| path)
}

/// Firmware tables cannot be read here without help; `GCE_METADATA_HOST` in the image's environment says it.
pub(crate) fn cloud() -> Option<super::Cloud> {
    None
}
