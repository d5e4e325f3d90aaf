//! CPU and memory of processes, from /proc.

use std::path::Path;

/// The kernel's clock ticks per second in /proc/<pid>/stat; 100 on every Linux there is.
const TICKS: f64 = 100.0;

/// CPU seconds.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cpu {
    /// Of the process itself.
    pub(crate) own: f64,
    /// Of children that have ended and were waited for.
    pub(crate) children: f64,
}

impl Cpu {
    /// Spent so far by a process; zero if it is gone.
    pub(crate) fn of(pid: u32) -> Cpu {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let after = stat.rsplit_once(')').map(|(_, rest)| rest).unwrap_or_default();
        let ticks: Vec<f64> = after.split_whitespace().skip(11).take(4).filter_map(|word| word.parse().ok()).collect();
        match ticks[..] {
            [user, system, child_user, child_system] => Cpu { own: (user + system) / TICKS, children: (child_user + child_system) / TICKS },
            _ => Cpu::default(),
        }
    }

    /// Both.
    pub(crate) fn all(self) -> f64 {
        self.own + self.children
    }
}

impl std::ops::Sub for Cpu {
    type Output = Cpu;

    fn sub(self, before: Cpu) -> Cpu {
        Cpu { own: self.own - before.own, children: self.children - before.children }
    }
}

/// The parent of a process; `None` if it is gone.
pub(crate) fn parent(pid: u32) -> Option<u32> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

/// A value of /proc/<pid>/status in kB: `VmRSS`, `VmHWM`, `RssAnon`.
pub(crate) fn memory_kb(pid: u32, key: &str) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
    line.and_then(|text| text.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(f64::NAN)
}

/// Begins the peak (`VmHWM`) anew.
pub(crate) fn reset_peak(pid: u32) {
    // A kernel that refuses leaves the peak since the start, which is larger: never to our advantage.
    let _ = std::fs::write(format!("/proc/{pid}/clear_refs"), "5");
}

/// Processes below a folder whose command line has this word.
pub(crate) fn below(dir: &Path, word: &str) -> Vec<u32> {
    let named = |pid: &u32| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.split(|byte| *byte == 0).any(|arg| arg == word.as_bytes())
    };
    testkit_harness::process::find(dir).into_iter().filter(named).collect()
}

/// Lets this process and what it starts hold many connections.
pub(crate) fn many_files() -> anyhow::Result<()> {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    Ok(setrlimit(Resource::Nofile, limit)?)
}
