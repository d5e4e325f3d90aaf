//! A process whose lines can be waited for, and which leaves nothing behind.

use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::HANG;

#[derive(Debug, Default)]
struct Seen {
    lines: Vec<String>,
    open: usize,
}

#[derive(Debug, Default)]
struct Shared {
    seen: Mutex<Seen>,
    changed: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A running program; its standard output and error are read line by line.
#[derive(Debug)]
pub struct Process {
    child: Child,
    name: String,
    output: Arc<Shared>,
    below: Option<PathBuf>,
}

/// How a program ended and what it printed.
#[derive(Debug)]
pub struct Ended {
    /// Its exit status.
    pub status: ExitStatus,
    /// Standard output and error, lines in the order they were read.
    pub lines: Vec<String>,
}

impl Ended {
    /// Everything it printed.
    pub fn text(&self) -> String {
        self.lines.join("\n")
    }

    /// Exit code; panics when it was ended by a signal.
    pub fn code(&self) -> i32 {
        self.status.code().unwrap_or_else(|| panic!("ended by a signal: {:?}\n{}", self.status, self.text()))
    }
}

impl Process {
    /// Starts `command`. When the handle is dropped, this process is killed, and so is every process that has `below` in its command line,
    /// its environment or its current folder.
    ///
    /// # Panics
    /// It cannot be started.
    pub fn start(mut command: Command, below: Option<&Path>) -> Process {
        let name = Path::new(command.get_program()).file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
        let output = Arc::new(Shared::default());
        output.lock().open = 2;
        if let Some(stdout) = child.stdout.take() {
            collect(stdout, Arc::clone(&output));
        }
        if let Some(stderr) = child.stderr.take() {
            collect(stderr, Arc::clone(&output));
        }
        Process { child, name, output, below: below.map(Path::to_owned) }
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits for a line that contains `text`, also among those already printed, and returns it.
    ///
    /// # Panics
    /// The process ended, or was silent for so long that it hangs; the message holds what it printed.
    pub fn wait_for(&self, text: &str) -> String {
        self.wait_for_line(text, |line| line.contains(text))
    }

    /// Like [`Process::wait_for`] for any condition; `what` names it.
    pub fn wait_for_line(&self, what: &str, mut wanted: impl FnMut(&str) -> bool) -> String {
        let start = Instant::now();
        let mut looked = 0;
        let mut seen = self.output.lock();
        loop {
            if let Some(line) = seen.lines.get(looked..).unwrap_or_default().iter().find(|line| wanted(line)) {
                return line.clone();
            }
            looked = seen.lines.len();
            let left = HANG.saturating_sub(start.elapsed());
            assert!(seen.open > 0 && !left.is_zero(), "{} never printed {what:?}; it printed:\n{}", self.name, seen.lines.join("\n"));
            seen = self.output.changed.wait_timeout(seen, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// What it has printed so far.
    pub fn text(&self) -> String {
        self.output.lock().lines.join("\n")
    }

    /// Waits until it has ended.
    ///
    /// # Panics
    /// It hangs.
    pub fn wait(mut self) -> Ended {
        let start = Instant::now();
        let mut seen = self.output.lock();
        // Its outputs close when it ends, unless it has left children that hold them.
        while seen.open > 0 {
            let left = HANG.saturating_sub(start.elapsed());
            assert!(!left.is_zero(), "{} does not end; it printed:\n{}", self.name, seen.lines.join("\n"));
            seen = self.output.changed.wait_timeout(seen, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        let lines = seen.lines.clone();
        drop(seen);
        let status = self.child.wait().expect("wait for a child");
        Ended { status, lines }
    }

    /// Waits until the process itself is gone, whoever holds its outputs. Only then are its files and locks free: `/proc` shows an empty command line before that.
    ///
    /// # Panics
    /// It hangs.
    pub fn wait_gone(&mut self) {
        let start = Instant::now();
        while self.child.try_wait().expect("wait for a child").is_none() {
            assert!(start.elapsed() < HANG, "{} does not end; it printed:\n{}", self.name, self.text());
            std::thread::yield_now();
        }
    }

    /// Asks it to end, as Ctrl-C does.
    pub fn interrupt(&self) {
        signal(self.id(), rustix::process::Signal::INT);
    }

    /// Stops it in the middle of whatever it does and waits until it is gone; nothing that it started is touched.
    pub fn kill(&mut self) {
        // SIGKILL; `Child::kill` is nothing else on Unix.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        if let Some(below) = &self.below {
            kill_below(below);
        }
    }
}

fn collect(stream: impl Read + Send + 'static, output: Arc<Shared>) {
    std::thread::spawn(move || {
        let mut reader = BufReader::new(stream);
        let mut bytes = Vec::new();
        while matches!(reader.read_until(b'\n', &mut bytes), Ok(n) if n > 0) {
            let line = String::from_utf8_lossy(&bytes).trim_end_matches(['\n', '\r']).to_owned();
            bytes.clear();
            output.lock().lines.push(line);
            output.changed.notify_all();
        }
        output.lock().open -= 1;
        output.changed.notify_all();
    });
}

/// Sends a signal to a process; one that is gone already is no fault.
pub fn signal(id: u32, signal: rustix::process::Signal) {
    if let Some(id) = i32::try_from(id).ok().and_then(rustix::process::Pid::from_raw) {
        let _ = rustix::process::kill_process(id, signal);
    }
}

/// Processes that have `needle` in their command line, their environment or their current folder; never this one.
pub fn find(needle: &Path) -> Vec<u32> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    let me = std::process::id();
    let named = |path: PathBuf| std::fs::read(path).is_ok_and(|bytes| holds(&bytes, needle.as_os_str()));
    entries
        .flatten()
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path())))
        .filter(|(id, proc)| {
            *id != me
                && (named(proc.join("cmdline")) || named(proc.join("environ")) || std::fs::read_link(proc.join("cwd")).is_ok_and(|cwd| cwd.starts_with(needle)))
        })
        // What is dead and not yet waited for is not running.
        .filter(|(_, proc)| std::fs::read_to_string(proc.join("stat")).is_ok_and(|stat| !stat.rsplit(')').next().unwrap_or("").trim_start().starts_with('Z')))
        .map(|(id, _)| id)
        .collect()
}

/// Kills whatever [`find`] finds until it finds nothing.
pub fn kill_below(needle: &Path) {
    for _ in 0..1_000 {
        let found = find(needle);
        if found.is_empty() {
            return;
        }
        for id in found {
            signal(id, rustix::process::Signal::KILL);
        }
        std::thread::yield_now();
    }
}

fn holds(bytes: &[u8], needle: &OsStr) -> bool {
    let needle = needle.as_encoded_bytes();
    !needle.is_empty() && bytes.windows(needle.len()).any(|window| window == needle)
}
