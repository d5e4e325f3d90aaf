//! Control groups of Linux, version 2 or 1, where the worker may make them: they hold a process tree together whatever its processes do,
//! and limit it. Without the right to make them everything falls back to sessions and per-process limits.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::Limits;

/// Where this process may make groups.
#[derive(Debug, Default)]
struct Roots {
    /// Version 2: also the group that is killed as one.
    unified: Option<PathBuf>,
    /// Version 2 hands out these controllers below `unified`.
    unified_memory: bool,
    unified_pids: bool,
    /// Version 1 hierarchies.
    freezer: Option<PathBuf>,
    memory: Option<PathBuf>,
    pids: Option<PathBuf>,
}

fn roots() -> &'static Roots {
    static ROOTS: OnceLock<Roots> = OnceLock::new();
    ROOTS.get_or_init(probe)
}

/// The directory that holds all groups of this process; its number tells a later worker whether they are orphaned.
fn own_name() -> String {
    format!("burrow-{}", std::process::id())
}

fn probe() -> Roots {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let memberships = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let mut roots = Roots::default();
    for line in mounts.lines() {
        let Some((left, right)) = line.split_once(" - ") else { continue };
        let mut left = left.split(' ').skip(3);
        let (Some(root), Some(mount)) = (left.next(), left.next()) else { continue };
        let mut right = right.split(' ');
        let (kind, options) = (right.next().unwrap_or_default(), right.nth(1).unwrap_or_default());
        match kind {
            "cgroup2" => {
                let path = memberships.lines().find_map(|l| l.strip_prefix("0::"));
                roots.unified = group_root(mount, root, path);
            }
            "cgroup" => {
                for (name, slot) in [("freezer", &mut roots.freezer), ("memory", &mut roots.memory), ("pids", &mut roots.pids)] {
                    if options.split(',').any(|o| o == name) {
                        let path = memberships.lines().find_map(|l| {
                            let mut parts = l.splitn(3, ':').skip(1);
                            parts.next()?.split(',').any(|c| c == name).then(|| parts.next()).flatten()
                        });
                        *slot = group_root(mount, root, path);
                    }
                }
            }
            _ => {}
        }
    }
    if let Some(unified) = &roots.unified {
        let (memory, pids) = enable_controllers(unified);
        roots.unified_memory = memory;
        roots.unified_pids = pids;
    }
    roots
}

/// Makes this process's directory in a hierarchy; none when it may not.
fn group_root(mount: &str, root: &str, path: Option<&str>) -> Option<PathBuf> {
    let path = path?;
    // Inside a container the membership names a path of the host that the mount's root may hide.
    let below = if root == "/" { path } else { path.strip_prefix(root).unwrap_or("") };
    let mut base = PathBuf::from(mount);
    let below = below.trim_start_matches('/');
    if !below.is_empty() && base.join(below).is_dir() {
        base.push(below);
    }
    let own = base.join(own_name());
    match fs::create_dir(&own) {
        Ok(()) => {}
        Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {}
        Err(_) => return None,
    }
    if fs::OpenOptions::new().write(true).open(own.join("cgroup.procs")).is_err() {
        let _ = fs::remove_dir(&own);
        return None;
    }
    Some(own)
}

/// Asks version 2 to hand controllers down to our groups. It refuses while processes sit in a group that does so, hence a worker that was
/// given a group of its own (a delegated systemd unit, a container) moves itself into a leaf first.
fn enable_controllers(own: &Path) -> (bool, bool) {
    let Some(base) = own.parent() else { return (false, false) };
    let available = fs::read_to_string(base.join("cgroup.controllers")).unwrap_or_default();
    let wanted: Vec<&str> = ["memory", "pids"].into_iter().filter(|c| available.split_whitespace().any(|a| a == *c)).collect();
    if wanted.is_empty() {
        return (false, false);
    }
    let text = wanted.iter().map(|c| format!("+{c}")).collect::<Vec<_>>().join(" ");
    if fs::write(base.join("cgroup.subtree_control"), &text).is_err() {
        let alone = fs::read_to_string(base.join("cgroup.procs")).is_ok_and(|p| p.split_whitespace().all(|pid| pid == std::process::id().to_string()));
        let leaf = base.join(format!("{}-main", own_name()));
        if !alone || fs::create_dir(&leaf).is_err() || fs::write(leaf.join("cgroup.procs"), "0").is_err() {
            return (false, false);
        }
        if fs::write(base.join("cgroup.subtree_control"), &text).is_err() {
            return (false, false);
        }
    }
    let _ = fs::write(own.join("cgroup.subtree_control"), &text);
    let handed = fs::read_to_string(own.join("cgroup.subtree_control")).unwrap_or_default();
    let has = |name: &str| handed.split_whitespace().any(|c| c == name);
    (has("memory"), has("pids"))
}

/// The groups of one tree.
#[derive(Debug, Default)]
pub(super) struct Groups {
    /// The one that is killed: version 2, else the freezer of version 1.
    tracking: Option<PathBuf>,
    others: Vec<PathBuf>,
    memory: Option<PathBuf>,
    /// Which limits the groups enforce.
    pub(super) limits_memory: bool,
    pub(super) limits_processes: bool,
}

impl Groups {
    pub(super) fn new(limits: Limits) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let name = NEXT.fetch_add(1, Ordering::Relaxed).to_string();
        let roots = roots();
        let make = |root: &Option<PathBuf>| {
            let path = root.as_ref()?.join(&name);
            // With its parent, which another worker in this process may have removed at its end.
            fs::create_dir_all(&path).ok().map(|()| path)
        };
        let mut groups = Self { tracking: make(&roots.unified).or_else(|| make(&roots.freezer)), ..Self::default() };
        let unified = groups.tracking.clone().filter(|_| roots.unified.is_some());
        if let Some(bytes) = limits.memory_bytes {
            let text = bytes.to_string();
            if let Some(group) = unified.as_ref().filter(|_| roots.unified_memory) {
                groups.limits_memory = fs::write(group.join("memory.max"), &text).is_ok();
                let _ = fs::write(group.join("memory.swap.max"), "0");
                let _ = fs::write(group.join("memory.oom.group"), "1");
                groups.memory = Some(group.clone());
            } else if let Some(group) = make(&roots.memory) {
                groups.limits_memory = fs::write(group.join("memory.limit_in_bytes"), &text).is_ok();
                // Memory and swap together; absent where the kernel does not count swap.
                let _ = fs::write(group.join("memory.memsw.limit_in_bytes"), &text);
                groups.memory = Some(group.clone());
                groups.others.push(group);
            }
        }
        if let Some(most) = limits.max_processes {
            let text = most.to_string();
            if let Some(group) = unified.as_ref().filter(|_| roots.unified_pids) {
                groups.limits_processes = fs::write(group.join("pids.max"), &text).is_ok();
            } else if let Some(group) = make(&roots.pids) {
                groups.limits_processes = fs::write(group.join("pids.max"), &text).is_ok();
                groups.others.push(group);
            }
        }
        groups
    }

    fn all(&self) -> impl Iterator<Item = &PathBuf> {
        self.tracking.iter().chain(&self.others)
    }

    /// Files into which a new process writes `0` to join; opened here because the child may not allocate.
    pub(super) fn joins(&self) -> Vec<fs::File> {
        self.all().filter_map(|group| fs::OpenOptions::new().write(true).open(group.join("cgroup.procs")).ok()).collect()
    }

    /// Whether a group holds the tree together.
    pub(super) fn tracks(&self) -> bool {
        self.tracking.is_some()
    }

    /// Kills everything in the group.
    pub(super) fn kill(&self) {
        if let Some(group) = &self.tracking {
            kill_group(group);
        }
    }

    /// The kernel's count of processes it killed for the memory limit is above zero.
    pub(super) fn memory_limit_hit(&self) -> bool {
        let Some(group) = &self.memory else { return false };
        ["memory.events", "memory.oom_control"].iter().any(|file| {
            fs::read_to_string(group.join(file))
                .unwrap_or_default()
                .lines()
                .any(|l| l.strip_prefix("oom_kill ").and_then(|n| n.trim().parse::<u64>().ok()).is_some_and(|n| n > 0))
        })
    }

    /// Peak memory of the tree, where a limit made the kernel count it.
    pub(super) fn peak_memory(&self) -> Option<u64> {
        let group = self.memory.as_ref()?;
        ["memory.peak", "memory.max_usage_in_bytes"].iter().find_map(|f| fs::read_to_string(group.join(f)).ok()?.trim().parse().ok())
    }

    /// Removes the groups; false while processes are left in one.
    pub(super) fn remove(&self) -> bool {
        let mut gone = true;
        for group in self.all() {
            match fs::remove_dir(group) {
                Ok(()) => {}
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
                Err(_) => gone = false,
            }
        }
        gone
    }
}

/// Kills what is in a group until nothing is left or 2 s are over (a process in an uninterruptible wait cannot be killed by anyone).
fn kill_group(group: &Path) {
    let end = Instant::now() + Duration::from_secs(2);
    // Version 1 kills one process after another, and a fork bomb is faster: freeze first, thaw to let the signal act.
    let freezer = group.join("freezer.state");
    let frozen = freezer.exists();
    loop {
        let killed_as_one = fs::OpenOptions::new().write(true).open(group.join("cgroup.kill")).and_then(|mut f| f.write_all(b"1")).is_ok();
        if frozen {
            let _ = fs::write(&freezer, "FROZEN");
        }
        let members = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
        let mut any = false;
        for pid in members.split_whitespace().filter_map(|p| p.parse().ok()).filter_map(rustix::process::Pid::from_raw) {
            // Zombies stay listed in version 1 until they are reaped.
            any |= !super::linux::is_zombie(pid.as_raw_nonzero().get());
            if !killed_as_one {
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
        }
        if frozen {
            let _ = fs::write(&freezer, "THAWED");
        }
        if !any || Instant::now() > end {
            return;
        }
        std::thread::sleep(Duration::from_micros(500));
    }
}

/// Kills and removes the groups of workers that are gone, and makes our own place.
pub(super) fn sweep_dead_workers() {
    let roots = roots();
    for own in [&roots.unified, &roots.freezer, &roots.memory, &roots.pids].into_iter().flatten() {
        let Some(entries) = own.parent().and_then(|base| fs::read_dir(base).ok()) else { continue };
        for entry in entries.flatten() {
            let name = entry.file_name();
            let Some(pid) = name.to_str().and_then(|n| n.strip_prefix("burrow-")) else { continue };
            let pid = pid.trim_end_matches("-main");
            if pid.parse::<u32>().is_err() || Path::new("/proc").join(pid).exists() {
                continue;
            }
            for group in fs::read_dir(entry.path()).into_iter().flatten().flatten().filter(|e| e.path().is_dir()) {
                kill_group(&group.path());
                let _ = fs::remove_dir(group.path());
            }
            let _ = fs::remove_dir(entry.path());
        }
    }
}

/// Removes this process's own directories at its end; those in use stay for the next worker to sweep.
pub(crate) fn remove_own() {
    let roots = roots();
    for own in [&roots.unified, &roots.freezer, &roots.memory, &roots.pids].into_iter().flatten() {
        let _ = fs::remove_dir(own);
    }
}
