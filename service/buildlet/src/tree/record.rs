//! What the worker remembers of a tree, in memory and in a file.
//!
//! File: magic, then id, time, and the nodes depth-first, all numbers little-endian, all strings with their length before them; at the end the
//! SHA-256 of everything before. A record that does not check is no record: the tree is then sent anew.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use sha2::{Digest as _, Sha256};

use crate::platform::{Kind, Stamp};

const MAGIC: &[u8; 8] = b"burrowT1";

/// Deepest directory of a tree. Deeper ones are refused when they arrive, so walking may recurse.
pub(super) const MAX_DEPTH: usize = 200;

/// The hash of a file's content.
pub(super) type Hash = [u8; 32];

/// A tree as last written.
#[derive(Debug, PartialEq)]
pub(super) struct Record {
    pub(super) id: String,
    /// Nanoseconds since 1970 when the stamps began to be taken: a later change may hide in the same tick of the file system's clock.
    pub(super) taken: i64,
    /// Which boot of the machine: after a crash, times of files prove nothing about data that never reached the disk.
    pub(super) boot: String,
    pub(super) root: DirNode,
}

/// A directory.
#[derive(Debug, Default, PartialEq)]
pub(super) struct DirNode {
    pub(super) stamp: Option<Stamp>,
    /// It was sent as an entry of its own, so it stays when its last file goes.
    pub(super) explicit: bool,
    pub(super) children: BTreeMap<Box<[u8]>, Node>,
}

/// Any entry.
#[derive(Debug, PartialEq)]
pub(super) enum Node {
    Dir(DirNode),
    File {
        stamp: Stamp,
        hash: Hash,
    },
    Link {
        stamp: Stamp,
        target: Box<[u8]>,
    },
    /// Missing or changed; to be sent again.
    Dirty,
}

impl DirNode {
    /// Visits the paths of all dirty entries below.
    pub(super) fn dirty(&self, prefix: &mut Vec<u8>, visit: &mut dyn FnMut(&[u8])) {
        for (name, node) in &self.children {
            let length = prefix.len();
            if length > 0 {
                prefix.push(b'/');
            }
            prefix.extend_from_slice(name);
            match node {
                Node::Dirty => visit(prefix),
                Node::Dir(dir) => dir.dirty(prefix, visit),
                _ => {}
            }
            prefix.truncate(length);
        }
    }

    /// Everything below is gone.
    pub(super) fn lose(&mut self) {
        for node in self.children.values_mut() {
            match node {
                Node::Dir(dir) => dir.lose(),
                other => *other = Node::Dirty,
            }
        }
        self.stamp = None;
    }

    /// Finds an entry.
    pub(super) fn find_mut(&mut self, path: &[&[u8]]) -> Option<&mut Node> {
        let (last, dirs) = path.split_last()?;
        let mut dir = self;
        for part in dirs {
            match dir.children.get_mut(*part)? {
                Node::Dir(below) => dir = below,
                _ => return None,
            }
        }
        dir.children.get_mut(*last)
    }

    /// Removes an entry, and directories that only existed for it.
    pub(super) fn remove(&mut self, path: &[&[u8]], removed_dirs: &mut usize) -> bool {
        let Some((first, rest)) = path.split_first() else { return false };
        // Their times change with their content.
        self.stamp = None;
        if rest.is_empty() {
            return self.children.remove(*first).is_some();
        }
        let Some(Node::Dir(below)) = self.children.get_mut(*first) else { return false };
        let found = below.remove(rest, removed_dirs);
        if found && below.children.is_empty() && !below.explicit {
            self.children.remove(*first);
            *removed_dirs += 1;
        }
        found
    }
}

impl Record {
    /// Writes temp + rename; a crash leaves the old file, the new one, or (before the first) none.
    pub(super) fn save(&self, file: &Path) -> io::Result<()> {
        let mut out = MAGIC.to_vec();
        put_bytes(&mut out, self.id.as_bytes());
        put_bytes(&mut out, self.boot.as_bytes());
        out.extend_from_slice(&self.taken.to_le_bytes());
        put_dir(&mut out, &self.root);
        let sum = Sha256::digest(&out);
        out.extend_from_slice(&sum);
        let temporary = file.with_extension("new");
        std::fs::write(&temporary, &out)?;
        std::fs::rename(&temporary, file)
    }

    /// None when there is no record that checks.
    pub(super) fn load(file: &Path) -> Option<Self> {
        let bytes = std::fs::read(file).ok()?;
        let (content, sum) = bytes.split_at_checked(bytes.len().checked_sub(32)?)?;
        if Sha256::digest(content).as_slice() != sum {
            return None;
        }
        let mut input = content.strip_prefix(MAGIC)?;
        let id = String::from_utf8(get_bytes(&mut input)?.to_vec()).ok()?;
        let boot = String::from_utf8(get_bytes(&mut input)?.to_vec()).ok()?;
        let taken = i64::from_le_bytes(*get(&mut input)?);
        let root = get_dir(&mut input, 0)?;
        input.is_empty().then_some(Self { id, taken, boot, root })
    }
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_le_bytes());
    out.extend_from_slice(bytes);
}

fn put_stamp(out: &mut Vec<u8>, stamp: &Stamp) {
    out.extend_from_slice(&stamp.mode.to_le_bytes());
    for number in [stamp.size, stamp.inode, stamp.modified.cast_unsigned(), stamp.changed.cast_unsigned()] {
        out.extend_from_slice(&number.to_le_bytes());
    }
}

fn put_dir(out: &mut Vec<u8>, dir: &DirNode) {
    out.push(u8::from(dir.explicit) | (u8::from(dir.stamp.is_some()) << 1));
    if let Some(stamp) = &dir.stamp {
        put_stamp(out, stamp);
    }
    out.extend_from_slice(&u32::try_from(dir.children.len()).unwrap_or(u32::MAX).to_le_bytes());
    for (name, node) in &dir.children {
        put_bytes(out, name);
        match node {
            Node::Dir(below) => {
                out.push(b'd');
                put_dir(out, below);
            }
            Node::File { stamp, hash } => {
                out.push(b'f');
                put_stamp(out, stamp);
                out.extend_from_slice(hash);
            }
            Node::Link { stamp, target } => {
                out.push(b'l');
                put_stamp(out, stamp);
                put_bytes(out, target);
            }
            Node::Dirty => out.push(b'?'),
        }
    }
}

fn get<'a, const N: usize>(input: &mut &'a [u8]) -> Option<&'a [u8; N]> {
    let (first, rest) = input.split_first_chunk::<N>()?;
    *input = rest;
    Some(first)
}

fn get_bytes<'a>(input: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = usize::try_from(u32::from_le_bytes(*get(input)?)).ok()?;
    let (bytes, rest) = input.split_at_checked(length)?;
    *input = rest;
    Some(bytes)
}

fn get_stamp(input: &mut &[u8], kind: Kind) -> Option<Stamp> {
    let mode = u32::from_le_bytes(*get(input)?);
    let mut number = || Some(u64::from_le_bytes(*get(input)?));
    Some(Stamp { kind, mode, size: number()?, inode: number()?, modified: number()?.cast_signed(), changed: number()?.cast_signed() })
}

fn get_dir(input: &mut &[u8], depth: usize) -> Option<DirNode> {
    if depth > MAX_DEPTH {
        return None;
    }
    let [flags] = *get::<1>(input)?;
    let stamp = if flags & 2 != 0 { Some(get_stamp(input, Kind::Dir)?) } else { None };
    let count = u32::from_le_bytes(*get(input)?);
    let mut children = BTreeMap::new();
    for _ in 0..count {
        let name = get_bytes(input)?.into();
        let node = match get::<1>(input)? {
            b"d" => Node::Dir(get_dir(input, depth + 1)?),
            b"f" => Node::File { stamp: get_stamp(input, Kind::File)?, hash: *get(input)? },
            b"l" => Node::Link { stamp: get_stamp(input, Kind::Symlink)?, target: get_bytes(input)?.into() },
            b"?" => Node::Dirty,
            _ => return None,
        };
        children.insert(name, node);
    }
    Some(DirNode { stamp, explicit: flags & 1 != 0, children })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_comes_back_and_a_damaged_one_does_not() {
        let stamp = Stamp { kind: Kind::File, mode: 0o644, size: 3, inode: 7, modified: -1, changed: i64::MAX };
        let mut root = DirNode { stamp: Some(Stamp { kind: Kind::Dir, ..stamp }), ..DirNode::default() };
        let mut below = DirNode { explicit: true, ..DirNode::default() };
        below.children.insert(b"f\xff".as_slice().into(), Node::File { stamp, hash: [9; 32] });
        below.children.insert(b"l".as_slice().into(), Node::Link { stamp: Stamp { kind: Kind::Symlink, ..stamp }, target: b"../x".as_slice().into() });
        root.children.insert(b"d".as_slice().into(), Node::Dir(below));
        root.children.insert(b"gone".as_slice().into(), Node::Dirty);
        let record = Record { id: "c0ffee".into(), taken: 42, boot: "b".into(), root };
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("x.tree");
        record.save(&file).unwrap();
        assert_eq!(Record::load(&file).as_ref(), Some(&record));
        let good = std::fs::read(&file).unwrap();
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1;
            std::fs::write(&file, &bad).unwrap();
            assert_eq!(Record::load(&file), None, "with byte {at} changed");
            std::fs::write(&file, &good[..at]).unwrap();
            assert_eq!(Record::load(&file), None, "cut at byte {at}");
        }
    }
}
