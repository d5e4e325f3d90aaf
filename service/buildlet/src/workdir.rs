//! The work directory: where it is, what it contains at the start of a build, and how it is emptied.
//!
//! All access from requests goes through [`WorkDir::open`]: a capability below which every path is resolved, also through links that earlier
//! builds planted (`openat2` with `RESOLVE_BENEATH` on Linux, step by step elsewhere).

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};

use cap_std::ambient_authority;
use cap_std::fs::Dir;
use protocol_buildlet::PathError;

use crate::platform::{self, Kind};

/// The directory of temporary files and those of caches, with their variables; recreated before every command (spec buildlet.md §2.5).
const SCRATCH: [(&str, &str); 3] = [("TMPDIR", "tmp"), ("GOCACHE", "gocache"), ("GOPLSCACHE", "goplscache")];

/// Deeper directories are moved up before they are removed, so that neither stack nor open files grow with the depth a build made.
const MAX_DEPTH: usize = 128;

/// The work directory.
#[derive(Clone, Debug)]
pub(crate) struct WorkDir {
    path: PathBuf,
}

impl WorkDir {
    /// A directory that exists. Its real path is taken, so that a link at the top does not matter later.
    pub(crate) fn new(path: &Path) -> io::Result<Self> {
        let path = path.canonicalize()?;
        if !path.is_dir() {
            return Err(io::Error::new(io::ErrorKind::NotADirectory, format!("{} is not a directory", path.display())));
        }
        Ok(Self { path })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The rule for paths from outside.
    pub(crate) fn check(&self, path: &str) -> Result<(), PathError> {
        if cfg!(windows) { protocol_buildlet::path::check_path_windows(path) } else { protocol_buildlet::check_path(path) }
    }

    /// Opens the directory, recreating it if it vanished (`/removeall` of `.` deletes it).
    pub(crate) fn open(&self) -> io::Result<Dir> {
        match Dir::open_ambient_dir(&self.path, ambient_authority()) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                std::fs::create_dir_all(&self.path)?;
                Dir::open_ambient_dir(&self.path, ambient_authority())
            }
            other => other,
        }
    }

    /// Makes sure that the directory and its scratch directories exist.
    pub(crate) fn ready(&self) -> io::Result<Dir> {
        let dir = self.open()?;
        for (_, name) in SCRATCH {
            match dir.create_dir(name) {
                Ok(()) => {}
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
                Err(e) => return Err(e),
            }
        }
        Ok(dir)
    }

    /// Empties the scratch directories.
    pub(crate) fn reset_scratch(&self) -> io::Result<()> {
        let dir = self.open()?;
        for (_, name) in SCRATCH {
            remove_entry(&dir, OsStr::new(name))?;
        }
        self.ready().map(drop)
    }

    /// The variables that tell a command where it is.
    pub(crate) fn variables(&self) -> impl Iterator<Item = String> {
        let own = format!("WORKDIR={}", self.path.display());
        SCRATCH.into_iter().map(|(variable, name)| format!("{variable}={}", self.path.join(name).display())).chain([own])
    }

    /// Removes what a checked relative path names, whatever it is; nothing there is fine.
    pub(crate) fn remove(&self, path: &str) -> io::Result<()> {
        let path = protocol_buildlet::path::clean(path);
        let root = self.open()?;
        if path == "." {
            empty(&root, &mut |_| true)?;
            // The directory itself goes too; a mount point or a forbidding parent keeps it, empty.
            let _ = std::fs::remove_dir(&self.path);
            return Ok(());
        }
        let (parent, name) = match path.rsplit_once('/') {
            Some((parent, name)) => match root.open_dir(parent) {
                Ok(dir) => (dir, name),
                Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => return Ok(()),
                // Somebody took the right to search it away; it is ours to give back.
                Err(e) if e.kind() == io::ErrorKind::PermissionDenied && e.raw_os_error().is_some() => (unlock_along(&root, parent)?, name),
                Err(e) => return Err(e),
            },
            None => (root, path.as_str()),
        };
        remove_entry(&parent, OsStr::new(name))
    }

    /// Removes everything but the named trees (paths relative to the work directory).
    pub(crate) fn clear_except(&self, keep: &[String]) -> io::Result<()> {
        let keep: Vec<String> = keep.iter().map(|k| protocol_buildlet::path::clean(k)).collect();
        if keep.iter().any(|k| k == ".") {
            return Ok(());
        }
        let root = self.open()?;
        clear_level(&root, &keep.iter().map(String::as_str).collect::<Vec<_>>())
    }
}

fn clear_level(dir: &Dir, keep: &[&str]) -> io::Result<()> {
    empty(dir, &mut |name| !keep.iter().any(|k| k.split('/').next().is_some_and(|first| OsStr::new(first) == name)))?;
    let mut seen: Vec<&str> = Vec::new();
    for first in keep.iter().filter_map(|k| k.split('/').next()) {
        let below: Vec<&str> = keep.iter().filter_map(|k| k.strip_prefix(first)?.strip_prefix('/')).collect();
        // Kept as a whole, or done already.
        if below.is_empty() || keep.contains(&first) || seen.contains(&first) {
            continue;
        }
        seen.push(first);
        match platform::stamp(dir, OsStr::new(first)) {
            Ok(stamp) if stamp.kind == Kind::Dir => clear_level(&open_unlocked(dir, OsStr::new(first))?, &below)?,
            Ok(_) => remove_entry(dir, OsStr::new(first))?,
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

/// Opens a directory below `root`, made with its parents if missing. A link on the way may lead anywhere inside.
pub(crate) fn make_dirs(root: &Dir, path: &str) -> io::Result<Dir> {
    match root.open_dir(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            root.create_dir_all(path)?;
            root.open_dir(path)
        }
        other => other,
    }
}

/// Walks down, unlocking directories that forbid the search.
fn unlock_along(root: &Dir, path: &str) -> io::Result<Dir> {
    let mut dir = root.try_clone()?;
    for part in path.split('/') {
        dir = open_unlocked(&dir, OsStr::new(part))?;
    }
    Ok(dir)
}

/// Opens a directory for work in it, giving ourselves the rights a build took away.
pub(crate) fn open_unlocked(parent: &Dir, name: &OsStr) -> io::Result<Dir> {
    match platform::open_dir_nofollow(parent, name) {
        Err(e) if e.kind() == io::ErrorKind::PermissionDenied => {
            platform::unlock_dir(parent, name)?;
            platform::open_dir_nofollow(parent, name)
        }
        other => other,
    }
}

/// Removes one entry and, if it is a directory, everything below. Links are removed, not followed. Nothing there is fine.
pub(crate) fn remove_entry(dir: &Dir, name: &OsStr) -> io::Result<()> {
    match platform::stamp(dir, name) {
        Ok(stamp) if stamp.kind == Kind::Dir => remove_dir(dir, name),
        Ok(_) => with_unlock(dir, || ignore_missing(dir.remove_file(name))),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(e),
    }
}

/// Removes the entries of `dir` for which `doomed` says yes.
pub(crate) fn empty(dir: &Dir, doomed: &mut dyn FnMut(&OsStr) -> bool) -> io::Result<()> {
    for name in names(dir)? {
        if doomed(&name) {
            remove_entry(dir, &name)?;
        }
    }
    Ok(())
}

/// The names in a directory, read before anything is changed in it.
pub(crate) fn names(dir: &Dir) -> io::Result<Vec<OsString>> {
    dir.entries()?.map(|entry| entry.map(|e| e.file_name())).collect()
}

fn remove_dir(parent: &Dir, name: &OsStr) -> io::Result<()> {
    let top = open_unlocked(parent, name)?;
    // Directories being emptied, outermost first: handle, name in its parent, names still to do.
    let mut stack = vec![(top.try_clone()?, name.to_os_string(), names(&top)?)];
    let mut moved: u64 = 0;
    while let Some((dir, _, todo)) = stack.last_mut() {
        if let Some(entry) = todo.pop() {
            match with_unlock(dir, || ignore_missing(dir.remove_file(&entry))) {
                Ok(()) => continue,
                Err(e) => match platform::stamp(dir, &entry) {
                    Ok(stamp) if stamp.kind == Kind::Dir => {}
                    Err(gone) if gone.kind() == io::ErrorKind::NotFound => continue,
                    _ => return Err(e),
                },
            }
            let depth = stack.len();
            let Some((dir, _, _)) = stack.last() else { break };
            if depth >= MAX_DEPTH {
                // To the top, where it is met again as a shallow one.
                let new = OsString::from(format!(".burrow-moved-{moved}"));
                moved += 1;
                open_unlocked(dir, &entry)?;
                platform::rename_at(dir, &entry, &top, &new)?;
                if let Some((_, _, first)) = stack.first_mut() {
                    first.push(new);
                }
                continue;
            }
            let below = open_unlocked(dir, &entry)?;
            let list = names(&below)?;
            stack.push((below, entry, list));
        } else {
            let Some((_, own, _)) = stack.pop() else { break };
            let above = stack.last().map_or(parent, |(dir, _, _)| dir);
            match with_unlock(above, || ignore_missing(above.remove_dir(&own))) {
                Ok(()) => {}
                // Written into meanwhile, or moved ones are left: once more from its current content.
                Err(e) if e.kind() == io::ErrorKind::DirectoryNotEmpty => {
                    let again = open_unlocked(above, &own)?;
                    let list = names(&again)?;
                    stack.push((again, own, list));
                }
                Err(e) => return Err(e),
            }
        }
    }
    Ok(())
}

/// Tries again after giving ourselves the right to write into the directory.
fn with_unlock(dir: &Dir, mut action: impl FnMut() -> io::Result<()>) -> io::Result<()> {
    match action() {
        Err(e) if e.kind() == io::ErrorKind::PermissionDenied && platform::stamp_open(dir).is_ok_and(|s| s.mode & 0o700 != 0o700) => {
            platform::set_mode(dir, 0o700)?;
            action()
        }
        other => other,
    }
}

fn ignore_missing(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}
