//! Source trees as tar: the difference of two trees, and whole ones.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashSet};
use std::ffi::OsStr;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use gix::Repository;
use gix::bstr::ByteSlice;
use gix::objs::Kind;
use gix::objs::tree::EntryKind;

use crate::read::{entries, object, tree_bytes, tree_of};
use crate::stream::{Chunks, Stopped};
use crate::{Error, Oid};

/// One entry of a tree, owned.
#[derive(Clone, PartialEq, Eq)]
struct Entry {
    name: Vec<u8>,
    kind: EntryKind,
    id: Oid,
}

/// Trees deeper than this are not source code, and would cost stack.
const DEEPEST: usize = 256;

fn load(repo: &Repository, tree: Oid) -> Result<Vec<Entry>, Error> {
    let data = tree_bytes(repo, tree)?;
    let mut list = Vec::new();
    for entry in entries(repo, &data) {
        let entry = entry.map_err(|error| Error::Corrupt { id: tree, message: error.to_string() })?;
        let name = entry.filename.as_bytes();
        // Nobody has such names by accident; on the worker they would leave the directory.
        if name.is_empty() || name == b"." || name == b".." || name.eq_ignore_ascii_case(b".git") || name.contains(&b'/') || name.contains(&0) {
            return Err(Error::Corrupt { id: tree, message: format!("it has an entry called {:?}", name.as_bstr()) });
        }
        list.push(Entry { name: name.to_vec(), kind: entry.mode.kind(), id: Oid(entry.oid.to_owned()) });
    }
    // git sorts directories as if they ended in a slash; for merging, plain order is wanted.
    list.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(list)
}

fn join(dir: &[u8], name: &[u8]) -> Vec<u8> {
    match dir {
        b"" => name.to_vec(),
        _ => [dir, b"/", name].concat(),
    }
}

/// What a difference consists of, before any byte of a file is read.
#[derive(Default)]
struct Plan {
    /// Files before the directories that held them.
    delete: Vec<Vec<u8>>,
    /// In the order of the tree.
    send: Vec<(Vec<u8>, EntryKind, Oid)>,
}

struct Planner<'a> {
    repo: &'a Repository,
    plan: Plan,
    dirty: Dirty,
}

/// Paths that the worker wants again, whatever the trees say.
struct Dirty {
    exact: HashSet<Vec<u8>>,
    /// Names that were not UTF-8 when the worker told them.
    lossy: HashSet<String>,
    /// Directories that lead to one.
    above: HashSet<Vec<u8>>,
    left: BTreeSet<Vec<u8>>,
}

impl Dirty {
    fn new(paths: &[String]) -> Dirty {
        let clean = |path: &String| path.trim_matches('/').to_owned();
        let (lossy, exact): (Vec<_>, Vec<_>) = paths.iter().map(clean).partition(|path| path.contains('\u{fffd}'));
        let exact: HashSet<Vec<u8>> = exact.into_iter().map(String::into_bytes).collect();
        let above = exact
            .iter()
            .flat_map(|path| path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| path.iter().take(at).copied().collect()))
            .collect();
        let left = exact.iter().cloned().collect();
        Dirty { exact, lossy: lossy.into_iter().collect(), above, left }
    }

    fn has(&mut self, path: &[u8]) -> bool {
        self.left.remove(path);
        self.exact.contains(path) || (!self.lossy.is_empty() && self.lossy.contains(path.to_str_lossy().as_ref()))
    }

    fn below(&self, dir: &[u8]) -> bool {
        !self.lossy.is_empty() || self.above.contains(dir)
    }
}

impl Planner<'_> {
    fn difference(&mut self, dir: &[u8], base: Option<Oid>, want: Oid, depth: usize) -> Result<(), Error> {
        if depth > DEEPEST {
            return Err(Error::Corrupt { id: want, message: "directories are nested too deeply".to_owned() });
        }
        let old = base.map_or(Ok(Vec::new()), |base| load(self.repo, base))?;
        let new = load(self.repo, want)?;
        let (mut old, mut new) = (old.into_iter().peekable(), new.into_iter().peekable());
        loop {
            let order = match (old.peek(), new.peek()) {
                (None, None) => return Ok(()),
                (Some(_), None) => std::cmp::Ordering::Less,
                (None, Some(_)) => std::cmp::Ordering::Greater,
                (Some(a), Some(b)) => a.name.cmp(&b.name),
            };
            let was = if order.is_le() { old.next() } else { None };
            let is = if order.is_ge() { new.next() } else { None };
            let Some(is) = is else {
                if let Some(was) = was {
                    self.remove(&join(dir, &was.name), &was, depth)?;
                }
                continue;
            };
            let path = join(dir, &is.name);
            let again = self.dirty.has(&path);
            match was {
                // The other kind is in the way of the new one.
                Some(was) if place(was.kind) != place(is.kind) => {
                    self.remove(&path, &was, depth)?;
                    self.add(path, is, depth)?;
                }
                Some(was) if is.kind == EntryKind::Tree => {
                    if again {
                        self.add(path.clone(), is.clone(), depth)?;
                    }
                    if was.id != is.id || self.dirty.below(&path) {
                        // A directory that is sent whole still may have lost some files.
                        let sent = self.plan.send.len();
                        self.difference(&path, Some(was.id), is.id, depth + 1)?;
                        if again {
                            self.plan.send.truncate(sent);
                        }
                    }
                }
                Some(was) if was == is && !again => {}
                _ => self.add(path, is, depth)?,
            }
        }
    }

    fn add(&mut self, path: Vec<u8>, entry: Entry, depth: usize) -> Result<(), Error> {
        self.plan.send.push((path.clone(), entry.kind, entry.id));
        if entry.kind == EntryKind::Tree {
            if depth > DEEPEST {
                return Err(Error::Corrupt { id: entry.id, message: "directories are nested too deeply".to_owned() });
            }
            for child in load(self.repo, entry.id)? {
                let path = join(&path, &child.name);
                self.dirty.has(&path);
                self.add(path, child, depth + 1)?;
            }
        }
        Ok(())
    }

    fn remove(&mut self, path: &[u8], entry: &Entry, depth: usize) -> Result<(), Error> {
        self.dirty.left.remove(path);
        if entry.kind == EntryKind::Tree && depth <= DEEPEST {
            for child in load(self.repo, entry.id)? {
                self.remove(&join(path, &child.name), &child, depth + 1)?;
            }
        }
        self.plan.delete.push(path.to_vec());
        Ok(())
    }
}

/// What kind of thing lies on the disk: only the same kinds can be overwritten.
fn place(kind: EntryKind) -> u8 {
    match kind {
        EntryKind::Blob | EntryKind::BlobExecutable => 0,
        EntryKind::Link => 1,
        EntryKind::Tree => 2,
        EntryKind::Commit => 3,
    }
}

pub(crate) fn write_difference(repo: &Repository, base: Option<Oid>, want: Oid, dirty: &[String], out: &mut Chunks) -> Result<(), Stopped> {
    let mut planner = Planner { repo, plan: Plan::default(), dirty: Dirty::new(dirty) };
    if base != Some(want) || !dirty.is_empty() {
        planner.difference(b"", base, want, 0)?;
    }
    // Dirty paths that the wanted tree does not know have no business on the worker.
    let strange = std::mem::take(&mut planner.dirty.left);
    let Plan { mut delete, send } = planner.plan;
    delete.extend(strange);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let mut tar = tar::Builder::new(out);
    if !delete.is_empty() {
        let mut list = delete.join(&0);
        list.push(0);
        let mut header = header(tar::EntryType::Regular, 0o644, now);
        header.set_size(list.len() as u64);
        tar.append_data(&mut header, ".burrow-delete", list.as_slice())?;
    }
    for (path, kind, id) in send {
        append(repo, &mut tar, &path, kind, id, now)?;
    }
    tar.finish()?;
    Ok(())
}

pub(crate) fn write_archive(repo: &Repository, commit: Oid, prefix: &str, out: &mut Chunks) -> Result<(), Stopped> {
    let found = crate::read::commit(repo, commit)?.ok_or(Error::Missing { kind: "commit", id: commit })?;
    let time = u64::try_from(found.commit_time).unwrap_or(0);
    let zip = flate2::write::GzEncoder::new(out, flate2::Compression::fast());
    let mut tar = tar::Builder::new(zip);
    archive_dir(repo, &mut tar, prefix.as_bytes(), tree_of(repo, commit)?, time, 0)?;
    tar.into_inner()?.finish()?;
    Ok(())
}

fn archive_dir<W: Write>(repo: &Repository, tar: &mut tar::Builder<W>, prefix: &[u8], tree: Oid, time: u64, depth: usize) -> Result<(), Stopped> {
    if depth > DEEPEST {
        return Err(Error::Corrupt { id: tree, message: "directories are nested too deeply".to_owned() }.into());
    }
    for entry in load(repo, tree)? {
        let path = [prefix, entry.name.as_slice()].concat();
        append(repo, tar, &path, entry.kind, entry.id, time)?;
        if entry.kind == EntryKind::Tree {
            archive_dir(repo, tar, &[path.as_slice(), b"/"].concat(), entry.id, time, depth + 1)?;
        }
    }
    Ok(())
}

fn header(kind: tar::EntryType, mode: u32, time: u64) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_mtime(time);
    header.set_uid(0);
    header.set_gid(0);
    header.set_size(0);
    header
}

fn append<W: Write>(repo: &Repository, tar: &mut tar::Builder<W>, path: &[u8], kind: EntryKind, id: Oid, time: u64) -> Result<(), Stopped> {
    let blob = || object(repo, id, Kind::Blob)?.ok_or(Error::Missing { kind: "object", id });
    match kind {
        // A submodule's own files belong to another repository; its place is an empty directory, as in a fresh clone.
        EntryKind::Tree | EntryKind::Commit => {
            let path = [path, b"/"].concat();
            tar.append_data(&mut header(tar::EntryType::Directory, 0o755, time), on_disk(&path), io::empty())?;
        }
        EntryKind::Link => {
            let target = blob()?;
            let mut header = header(tar::EntryType::Symlink, 0o777, time);
            // The target byte for byte, not tidied as a path; only one that is too long for the field goes the other way.
            if header.set_link_name_literal(&target).is_ok() {
                tar.append_data(&mut header, on_disk(path), io::empty())?;
            } else {
                tar.append_link(&mut header, on_disk(path), on_disk(&target))?;
            }
        }
        EntryKind::Blob | EntryKind::BlobExecutable => {
            let data = blob()?;
            let mut header = header(tar::EntryType::Regular, if kind == EntryKind::BlobExecutable { 0o755 } else { 0o644 }, time);
            header.set_size(data.len() as u64);
            tar.append_data(&mut header, on_disk(path), data.as_slice())?;
        }
    }
    Ok(())
}

/// A path with the very bytes that git has.
fn on_disk(path: &[u8]) -> Cow<'_, Path> {
    Cow::Borrowed(Path::new(OsStr::from_bytes(path)))
}
