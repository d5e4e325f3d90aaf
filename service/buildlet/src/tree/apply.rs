//! Writing a tar into a tree and recording what was written.

use std::ffi::OsStr;
use std::io::{self, Read, Write as _};

use cap_std::fs::{Dir, OpenOptions};
use protocol_buildlet::TREE_DELETE_ENTRY;
use sha2::{Digest as _, Sha256};
use tar::{Archive, EntryType};

use super::TreeError;
use super::record::{DirNode, MAX_DEPTH, Node, Record};
use super::verify::{DIR_MODE, set_modified};
use crate::platform::{self, Kind};
use crate::workdir::{open_unlocked, remove_entry};

/// Largest list of deletions, bytes.
const MAX_DELETE: u64 = 64 << 20;

/// Applies a tar. On an error the tree is in between and its record must be dropped.
pub(super) fn apply(root: &Dir, record: &mut Record, tar: &mut dyn Read) -> Result<(), TreeError> {
    let mut writer = Writer { root, parent: None, now: super::now_ns(), buffer: vec![0; 64 * 1024] };
    let mut archive = Archive::new(tar);
    let mut first = true;
    for entry in archive.entries().map_err(syntax)? {
        let mut entry = entry.map_err(syntax)?;
        let kind = entry.header().entry_type();
        if kind == EntryType::XGlobalHeader {
            continue;
        }
        let name = entry.path_bytes().into_owned();
        if std::mem::take(&mut first) && name == TREE_DELETE_ENTRY.as_bytes() {
            if entry.size() > MAX_DELETE {
                return Err(TreeError::Refused(format!("the list of deletions is longer than {MAX_DELETE} bytes; send the whole tree instead")));
            }
            let mut list = Vec::new();
            entry.read_to_end(&mut list)?;
            for path in list.split(|&b| b == 0).filter(|p| !p.is_empty()) {
                writer.delete(&mut record.root, &parts(path)?)?;
            }
            continue;
        }
        let path = parts(&name)?;
        match kind {
            // The tree's directory itself.
            EntryType::Directory if path.is_empty() => {}
            EntryType::Directory => writer.dir(&mut record.root, &path)?.explicit = true,
            _ if path.is_empty() => return Err(refused(&name, "it names the tree itself")),
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => writer.file(&mut record.root, &path, &mut entry)?,
            EntryType::Symlink => {
                let target = entry.link_name_bytes().ok_or_else(|| refused(&name, "a link without a target"))?.into_owned();
                writer.link(&mut record.root, &path, &target)?;
            }
            EntryType::Link => {
                let target = entry.link_name_bytes().ok_or_else(|| refused(&name, "a link without a target"))?.into_owned();
                writer.hard_link(&mut record.root, &path, &parts(&target)?)?;
            }
            _ => return Err(refused(&name, "only files, directories and links can be in a tree")),
        }
    }
    restamp(root, &mut record.root)?;
    Ok(())
}

fn syntax(e: io::Error) -> TreeError {
    match e.kind() {
        // The connection broke; not the tar's fault.
        io::ErrorKind::ConnectionAborted => TreeError::Io(e),
        _ => TreeError::Refused(e.to_string()),
    }
}

fn refused(name: &[u8], why: &str) -> TreeError {
    TreeError::Refused(format!("entry {:?}: {why}", String::from_utf8_lossy(name)))
}

/// The components of a name. `..` is refused even where it would stay inside: a tree has one name for everything.
fn parts(name: &[u8]) -> Result<Vec<&[u8]>, TreeError> {
    if name.first() == Some(&b'/') {
        return Err(refused(name, "it is absolute"));
    }
    let parts: Vec<&[u8]> = name.split(|&b| b == b'/').filter(|p| !matches!(*p, b"" | b".")).collect();
    if parts.len() > MAX_DEPTH || parts.iter().any(|p| p.len() > 255) {
        return Err(refused(name, "it is too deep or too long"));
    }
    for part in &parts {
        let text = std::str::from_utf8(part).unwrap_or("x");
        if *part == b".." || (cfg!(windows) && protocol_buildlet::path::check_path_windows(text).is_err()) {
            return Err(refused(name, "it leaves the tree"));
        }
    }
    Ok(parts)
}

fn os(name: &[u8]) -> Result<&OsStr, TreeError> {
    platform::name_from_bytes(name).ok_or_else(|| refused(name, "this system cannot have such a name"))
}

struct Writer<'a> {
    root: &'a Dir,
    /// The directory of the last entry: archives come directory by directory.
    parent: Option<(Vec<Vec<u8>>, Dir)>,
    now: i64,
    buffer: Vec<u8>,
}

impl Writer<'_> {
    /// Opens a directory of the tree, made if missing; records it.
    fn open<'n>(&mut self, node: &'n mut DirNode, path: &[&[u8]]) -> Result<(&Dir, &'n mut DirNode), TreeError> {
        let cached = self.parent.as_ref().is_some_and(|(p, _)| p.len() == path.len() && p.iter().zip(path).all(|(a, b)| a == b));
        let mut below = node;
        let mut handle: Option<Dir> = None;
        below.stamp = None;
        for part in path {
            let child = below.children.entry((*part).into()).or_insert_with(|| Node::Dir(DirNode::default()));
            if !matches!(child, Node::Dir(_)) {
                // What was a file in the tree before is now a directory.
                *child = Node::Dir(DirNode::default());
            }
            let Node::Dir(dir) = child else { return Err(refused(part, "not a directory")) };
            dir.stamp = None;
            below = dir;
            if !cached {
                let at = handle.as_ref().unwrap_or(self.root);
                let name = os(part)?;
                handle = Some(match open_unlocked(at, name) {
                    Ok(dir) => dir,
                    Err(e) => {
                        if e.kind() != io::ErrorKind::NotFound {
                            remove_entry(at, name)?;
                        }
                        at.create_dir(name)?;
                        let dir = platform::open_dir_nofollow(at, name)?;
                        if platform::stamp_open(&dir)?.mode != DIR_MODE {
                            platform::set_mode(&dir, DIR_MODE)?;
                        }
                        dir
                    }
                });
            }
        }
        if let Some(handle) = handle {
            self.parent = Some((path.iter().map(|p| p.to_vec()).collect(), handle));
        }
        let handle = if path.is_empty() { self.root } else { self.parent.as_ref().map_or(self.root, |(_, dir)| dir) };
        Ok((handle, below))
    }

    fn dir<'n>(&mut self, node: &'n mut DirNode, path: &[&[u8]]) -> Result<&'n mut DirNode, TreeError> {
        self.open(node, path).map(|(_, node)| node)
    }

    fn file(&mut self, root: &mut DirNode, path: &[&[u8]], entry: &mut tar::Entry<'_, &mut dyn Read>) -> Result<(), TreeError> {
        let Some((last, dirs)) = path.split_last() else { return Ok(()) };
        let name = os(last)?;
        let mode = entry.header().mode().map_err(syntax)? & 0o777;
        let modified = i64::try_from(entry.header().mtime().map_err(syntax)?).ok().and_then(|s| s.checked_mul(1_000_000_000)).unwrap_or(self.now).min(self.now);
        let size = entry.size();
        let mut buffer = std::mem::take(&mut self.buffer);
        let (dir, node) = self.open(root, dirs)?;
        // Always a new file: the old one may have other names by now, in a build's cache for example.
        let file = create(dir, name, mode)?;
        let mut hasher = Sha256::new();
        let mut written = 0;
        loop {
            let n = match entry.read(&mut buffer) {
                Ok(0) => break,
                Ok(n) => n,
                Err(e) => return Err(TreeError::Io(e)),
            };
            let piece = buffer.get(..n).unwrap_or_default();
            hasher.update(piece);
            (&file).write_all(piece)?;
            written += n as u64;
        }
        if written != size {
            return Err(TreeError::Io(io::Error::new(io::ErrorKind::UnexpectedEof, "the tar ended inside a file")));
        }
        set_modified(&file, modified)?;
        let mut stamp = platform::stamp_open(&file)?;
        if stamp.mode != mode {
            platform::set_mode(&file, mode)?;
            stamp = platform::stamp_open(&file)?;
        }
        node.children.insert((*last).into(), Node::File { stamp, hash: hasher.finalize().into() });
        self.buffer = buffer;
        Ok(())
    }

    fn link(&mut self, root: &mut DirNode, path: &[&[u8]], target: &[u8]) -> Result<(), TreeError> {
        let Some((last, dirs)) = path.split_last() else { return Ok(()) };
        let (name, to) = (os(last)?, os(target)?);
        let (dir, node) = self.open(root, dirs)?;
        // Any target: it is the commit's content, and nothing of ours ever follows it out of the work directory.
        if let Err(e) = dir.symlink_contents(to, name) {
            if e.kind() != io::ErrorKind::AlreadyExists {
                return Err(e.into());
            }
            remove_entry(dir, name)?;
            dir.symlink_contents(to, name)?;
        }
        let stamp = platform::stamp(dir, name)?;
        node.children.insert((*last).into(), Node::Link { stamp, target: target.into() });
        Ok(())
    }

    fn hard_link(&mut self, root: &mut DirNode, path: &[&[u8]], target: &[&[u8]]) -> Result<(), TreeError> {
        let (Some((last, dirs)), Some((from, from_dirs))) = (path.split_last(), target.split_last()) else {
            return Err(TreeError::Refused("a hard link to the tree itself".to_owned()));
        };
        let Some(Node::File { hash, .. }) = root.find_mut(target) else {
            return Err(refused(&target.join(&b'/'), "a hard link must name a file that is in the tree before it"));
        };
        let hash = *hash;
        if path == target {
            return Ok(());
        }
        let (from_dir, _) = self.open(root, from_dirs)?;
        let from_dir = from_dir.try_clone()?;
        let (from, name) = (os(from)?, os(last)?);
        let (dir, node) = self.open(root, dirs)?;
        if let Err(e) = from_dir.hard_link(from, dir, name) {
            if e.kind() != io::ErrorKind::AlreadyExists {
                return Err(e.into());
            }
            remove_entry(dir, name)?;
            from_dir.hard_link(from, dir, name)?;
        }
        let now = platform::stamp(dir, name)?;
        node.children.insert((*last).into(), Node::File { stamp: now, hash });
        // A new name is a change of the file itself.
        if let Some(Node::File { stamp, .. }) = root.find_mut(target) {
            *stamp = now;
        }
        Ok(())
    }

    fn delete(&mut self, root: &mut DirNode, path: &[&[u8]]) -> Result<(), TreeError> {
        self.parent = None;
        let mut removed_dirs = 0;
        if path.is_empty() || !root.remove(path, &mut removed_dirs) {
            return Ok(());
        }
        // The highest directory that existed only for it, or itself.
        let top = path.get(..path.len().saturating_sub(removed_dirs)).unwrap_or(path);
        let Some((last, dirs)) = top.split_last() else { return Ok(()) };
        let mut dir = self.root.try_clone()?;
        for part in dirs {
            dir = match open_unlocked(&dir, os(part)?) {
                Ok(below) => below,
                Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => return Ok(()),
                Err(e) => return Err(e.into()),
            };
        }
        remove_entry(&dir, os(last)?)?;
        Ok(())
    }
}

/// Creates a file that was not there; something in its place is removed.
fn create(dir: &Dir, name: &OsStr, mode: u32) -> io::Result<std::fs::File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    platform::create_mode(&mut options, mode);
    match dir.open_with(name, &options) {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
            remove_entry(dir, name)?;
            dir.open_with(name, &options)
        }
        other => other,
    }
    .map(cap_std::fs::File::into_std)
}

/// Takes new stamps of the directories that were written into.
fn restamp(dir: &Dir, node: &mut DirNode) -> io::Result<()> {
    for (name, child) in &mut node.children {
        if let Node::Dir(below) = child
            && below.stamp.is_none()
            && let Some(name) = platform::name_from_bytes(name)
            && platform::stamp(dir, name).is_ok_and(|s| s.kind == Kind::Dir)
        {
            restamp(&open_unlocked(dir, name)?, below)?;
        }
    }
    node.stamp = Some(platform::stamp_open(dir)?);
    Ok(())
}
