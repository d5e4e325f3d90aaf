//! Finding what a build changed in a tree.

use std::ffi::OsStr;
use std::io::{self, Read as _};

use cap_std::fs::{Dir, OpenOptions};
use sha2::{Digest as _, Sha256};

use super::record::{DirNode, Hash, Node, Record};
use crate::platform::{self, Kind, Stamp};
use crate::workdir::{names, open_unlocked, remove_entry};

/// Times within this distance of the recording may hide a later change: some clock ticks of the kernel.
const TICK: i64 = 20_000_000;

/// The same on file systems that keep whole (or even) seconds only.
const COARSE_TICK: i64 = 2_000_000_000;

/// Mode of every directory of a tree.
pub(super) const DIR_MODE: u32 = 0o755;

/// Brings the record in line with the directory: removes extra entries, marks missing and changed ones dirty. True when the record changed.
pub(super) fn verify(dir: &Dir, record: &mut Record) -> io::Result<bool> {
    let mut look = Look { taken: record.taken, changed: false };
    look.dir(dir, &mut record.root)?;
    Ok(look.changed)
}

struct Look {
    taken: i64,
    changed: bool,
}

impl Look {
    fn young(&self, stamp: &Stamp) -> bool {
        let tick = if stamp.changed % 1_000_000_000 == 0 { COARSE_TICK } else { TICK };
        stamp.changed >= self.taken.saturating_sub(tick)
    }

    fn dir(&mut self, dir: &Dir, node: &mut DirNode) -> io::Result<()> {
        let mut now = platform::stamp_open(dir)?;
        if now.mode != DIR_MODE {
            platform::set_mode(dir, DIR_MODE)?;
            now.mode = DIR_MODE;
        }
        // Its times change when a name is added or removed; otherwise the names need not be read.
        let touched = node.stamp.is_none_or(|was| was != now || self.young(&was));
        for (name, child) in &mut node.children {
            self.entry(dir, name, child)?;
        }
        if touched {
            for name in names(dir)? {
                if !node.children.contains_key(platform::name_bytes(&name).as_slice()) {
                    remove_entry(dir, &name)?;
                }
            }
            node.stamp = Some(platform::stamp_open(dir)?);
            self.changed = true;
        }
        Ok(())
    }

    fn entry(&mut self, dir: &Dir, name: &[u8], node: &mut Node) -> io::Result<()> {
        let Some(name) = platform::name_from_bytes(name) else { return Ok(()) };
        let found = match platform::stamp(dir, name) {
            Ok(stamp) => Some(stamp),
            Err(e) if e.kind() == io::ErrorKind::NotFound => None,
            Err(e) => return Err(e),
        };
        let expected = match node {
            Node::Dir(_) => Some(Kind::Dir),
            Node::File { .. } => Some(Kind::File),
            Node::Link { .. } => Some(Kind::Symlink),
            Node::Dirty => None,
        };
        // Something of another kind in its place is as good as nothing.
        let found = match (found, expected) {
            (Some(stamp), Some(kind)) if stamp.kind != kind => {
                remove_entry(dir, name)?;
                None
            }
            (found, _) => found,
        };
        match (node, found) {
            (Node::Dirty, _) => {}
            (Node::Dir(below), found) => {
                if found.is_none() {
                    dir.create_dir(name)?;
                    below.lose();
                }
                let handle = open_unlocked(dir, name)?;
                self.dir(&handle, below)?;
            }
            (node, None) => self.lose(node),
            (node @ Node::File { .. }, Some(now)) => {
                if let Node::File { stamp, hash } = node
                    && (*stamp == now && !self.young(stamp) || self.same_file(dir, name, stamp, hash, now)?)
                {
                    return Ok(());
                }
                self.lose(node);
            }
            (node @ Node::Link { .. }, Some(now)) => {
                if let Node::Link { stamp, target } = node {
                    if *stamp == now && !self.young(stamp) {
                        return Ok(());
                    }
                    if dir.read_link_contents(name).is_ok_and(|t| platform::name_bytes(t.as_os_str()) == target.as_ref()) {
                        *stamp = now;
                        self.changed = true;
                        return Ok(());
                    }
                }
                self.lose(node);
            }
        }
        Ok(())
    }

    fn lose(&mut self, node: &mut Node) {
        *node = Node::Dirty;
        self.changed = true;
    }

    /// Reads a suspicious file. The same content makes it the same file: mode and time are put right and the stamp renewed.
    fn same_file(&mut self, dir: &Dir, name: &OsStr, stamp: &mut Stamp, hash: &Hash, now: Stamp) -> io::Result<bool> {
        if stamp.size != now.size {
            return Ok(false);
        }
        let mut options = OpenOptions::new();
        options.read(true);
        platform::never_block(&mut options);
        let file = match dir.open_with(name, &options) {
            Ok(file) => file.into_std(),
            // Unreadable: easier sent again than argued with.
            Err(_) => return Ok(false),
        };
        let opened = platform::stamp_open(&file)?;
        if opened.kind != Kind::File || content_hash(&file)? != *hash {
            return Ok(false);
        }
        if opened.mode != stamp.mode {
            platform::set_mode(&file, stamp.mode)?;
        }
        if opened.modified != stamp.modified {
            set_modified(&file, stamp.modified)?;
        }
        *stamp = platform::stamp_open(&file)?;
        self.changed = true;
        Ok(true)
    }
}

fn content_hash(mut file: &std::fs::File) -> io::Result<Hash> {
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hasher.finalize().into()),
            n => hasher.update(buffer.get(..n).unwrap_or_default()),
        }
    }
}

/// Sets a file's modification time, nanoseconds since 1970.
pub(super) fn set_modified(file: &std::fs::File, ns: i64) -> io::Result<()> {
    let distance = std::time::Duration::from_nanos(ns.unsigned_abs());
    let epoch = std::time::SystemTime::UNIX_EPOCH;
    let time = if ns < 0 { epoch.checked_sub(distance) } else { epoch.checked_add(distance) };
    match time {
        Some(time) => file.set_times(std::fs::FileTimes::new().set_modified(time).set_accessed(time)),
        None => Ok(()),
    }
}
