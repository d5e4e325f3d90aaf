//! Reading objects: commits, histories, files.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BinaryHeap, HashSet};

use bytes::Bytes;
use gix::bstr::{BStr, ByteSlice};
use gix::objs::{Kind, TreeRefIter};
use gix::{ObjectId, Repository};
use serde::{Deserialize, Serialize};

use crate::{Error, Oid};

/// A commit as people see it. Texts that are not UTF-8 have their odd bytes replaced (Latin-1 is converted when the
/// commit says that it is).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Commit {
    /// Its name.
    pub id: Oid,
    /// The state of all files.
    pub tree: Oid,
    /// None for the first commit of a history, more than one for a merge.
    pub parents: Vec<Oid>,
    /// Who wrote the change.
    pub author_name: String,
    /// Their address, as they gave it.
    pub author_email: String,
    /// When it was written: Unix seconds, 0 when the commit does not say.
    pub author_time: i64,
    /// When it became this commit: Unix seconds, 0 when the commit does not say.
    pub commit_time: i64,
    /// The message up to the first empty line, on one line.
    pub subject: String,
    /// The rest of the message.
    pub body: String,
}

/// Bytes of one object of the wanted kind. `None`: not here, or of another kind.
pub(crate) fn object(repo: &Repository, id: Oid, kind: Kind) -> Result<Option<Vec<u8>>, Error> {
    match repo.try_find_object(id.0) {
        Ok(Some(found)) if found.kind == kind => Ok(Some(found.detach().data)),
        Ok(_) => Ok(None),
        Err(error) => Err(Error::Corrupt { id, message: error.to_string() }),
    }
}

pub(crate) fn tree_bytes(repo: &Repository, id: Oid) -> Result<Vec<u8>, Error> {
    object(repo, id, Kind::Tree)?.ok_or(Error::Missing { kind: "tree", id })
}

pub(crate) fn entries<'a>(repo: &Repository, data: &'a [u8]) -> TreeRefIter<'a> {
    TreeRefIter::from_bytes(data, repo.object_hash())
}

pub(crate) fn commit(repo: &Repository, id: Oid) -> Result<Option<Commit>, Error> {
    object(repo, id, Kind::Commit)?.map(|data| decode(id, &data)).transpose()
}

/// Reads a commit leniently: old histories contain every mistake in names, times and encodings, and none of them is a
/// reason not to show the commit. Only its tree must be there.
fn decode(id: Oid, data: &[u8]) -> Result<Commit, Error> {
    let (head, message) = data.split_once_str("\n\n").unwrap_or((data, b""));
    let mut tree = None;
    let mut parents = Vec::new();
    let (mut author, mut committer, mut encoding) = (&b""[..], &b""[..], None);
    for line in head.lines() {
        // Continued lines (signatures, merged tags) begin with a space and are none of these.
        match line.split_once_str(" ") {
            Some((b"tree", hex)) => tree = hex.to_str().ok().and_then(|hex| hex.parse().ok()),
            Some((b"parent", hex)) => parents.extend(hex.to_str().ok().and_then(|hex| hex.parse::<Oid>().ok())),
            Some((b"author", rest)) => author = rest,
            Some((b"committer", rest)) => committer = rest,
            Some((b"encoding", name)) => encoding = Some(BStr::new(name)),
            _ => {}
        }
    }
    let tree = tree.ok_or_else(|| Error::Corrupt { id, message: "the commit names no tree".to_owned() })?;
    let text = |bytes: &[u8]| to_text(bytes, encoding);
    let (name, email, author_time) = person(author);
    let message = text(message);
    let mut lines = message.trim_start_matches('\n').lines();
    let subject: Vec<&str> = lines.by_ref().map(str::trim).take_while(|line| !line.is_empty()).collect();
    let body: Vec<&str> = lines.collect();
    Ok(Commit {
        id,
        tree,
        parents,
        author_name: text(name),
        author_email: text(email),
        author_time,
        commit_time: person(committer).2,
        subject: subject.join(" "),
        body: body.join("\n").trim().to_owned(),
    })
}

/// `name <email> seconds zone`, with whatever of it is there.
fn person(line: &[u8]) -> (&[u8], &[u8], i64) {
    let (name, rest) = line.split_once_str("<").unwrap_or((line, b""));
    let (email, rest) = rest.rsplit_once_str(">").unwrap_or((rest, b""));
    let seconds = rest.fields().next().and_then(|word| word.to_str().ok()).and_then(|word| word.parse().ok()).unwrap_or(0);
    (name.trim(), email.trim(), seconds)
}

fn to_text(bytes: &[u8], encoding: Option<&BStr>) -> String {
    let latin1 = encoding.is_some_and(|name| [&b"iso-8859-1"[..], b"latin1", b"latin-1", b"iso8859-1"].iter().any(|known| name.eq_ignore_ascii_case(known)));
    match bytes.to_str() {
        Err(_) if latin1 => bytes.iter().map(|byte| char::from(*byte)).collect(),
        Ok(text) => text.to_owned(),
        Err(_) => bytes.to_str_lossy().into_owned(),
    }
}

/// Follows tags until there is a commit.
pub(crate) fn peel(repo: &Repository, id: Oid) -> Option<Oid> {
    let mut id = id.0;
    // A chain of tags has an end; a limit keeps a crafted one from costing much.
    for _ in 0..16 {
        let found = repo.try_find_object(id).ok()??;
        match found.kind {
            Kind::Commit => return Some(Oid(id)),
            Kind::Tag => id = gix::objs::TagRefIter::from_bytes(&found.data, repo.object_hash()).target_id().ok()?,
            _ => return None,
        }
    }
    None
}

/// Branches and tags by full name, unpeeled.
pub(crate) fn references(repo: &Repository) -> Result<BTreeMap<String, Oid>, String> {
    let platform = repo.references().map_err(|error| error.to_string())?;
    let mut found = BTreeMap::new();
    for reference in platform.all().map_err(|error| error.to_string())? {
        let reference = reference.map_err(|error| error.to_string())?;
        let name = reference.name().as_bstr().to_str_lossy().into_owned();
        if let (true, Some(id)) = (name.starts_with("refs/heads/") || name.starts_with("refs/tags/"), reference.try_id()) {
            found.insert(name, Oid(id.detach()));
        }
    }
    Ok(found)
}

/// The only commit whose hash begins so.
pub(crate) fn by_prefix(repo: &Repository, text: &str) -> Option<Oid> {
    if text.len() < 4 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let prefix = gix::hash::Prefix::from_hex(&text.to_ascii_lowercase()).ok()?;
    let mut candidates = HashSet::default();
    repo.objects.lookup_prefix(prefix, Some(&mut candidates)).ok()?;
    let mut commits =
        candidates.into_iter().filter(|id: &ObjectId| repo.try_find_header(*id).is_ok_and(|header| header.is_some_and(|header| header.kind() == Kind::Commit)));
    match (commits.next(), commits.next()) {
        (Some(only), None) => Some(Oid(only)),
        _ => None,
    }
}

pub(crate) fn tree_of(repo: &Repository, id: Oid) -> Result<Oid, Error> {
    commit(repo, id)?.map(|commit| commit.tree).ok_or(Error::Missing { kind: "commit", id })
}

/// What `path` is in a commit: kind and object.
fn look_up(repo: &Repository, commit: Oid, path: &[u8]) -> Result<Option<(gix::objs::tree::EntryKind, Oid)>, Error> {
    let mut tree = tree_of(repo, commit)?;
    let mut parts = path.split(|byte| *byte == b'/').filter(|part| !part.is_empty() && *part != b".").peekable();
    while let Some(part) = parts.next() {
        let data = tree_bytes(repo, tree)?;
        let Some(entry) = entries(repo, &data).filter_map(Result::ok).find(|entry| entry.filename.as_bytes() == part) else { return Ok(None) };
        let id = Oid(entry.oid.to_owned());
        if parts.peek().is_none() {
            return Ok(Some((entry.mode.kind(), id)));
        }
        if !entry.mode.is_tree() {
            return Ok(None);
        }
        tree = id;
    }
    Ok(None)
}

pub(crate) fn file(repo: &Repository, commit: Oid, path: &[u8]) -> Result<Option<Bytes>, Error> {
    match look_up(repo, commit, path)? {
        Some((_, id)) => Ok(object(repo, id, Kind::Blob)?.map(Bytes::from)),
        None => Ok(None),
    }
}

pub(crate) fn list_root(repo: &Repository, commit: Oid) -> Result<Vec<String>, Error> {
    let data = tree_bytes(repo, tree_of(repo, commit)?)?;
    let name = |entry: gix::objs::tree::EntryRef<'_>| {
        let name = entry.filename.to_str_lossy();
        if entry.mode.is_tree() || entry.mode.is_commit() { format!("{name}/") } else { name.into_owned() }
    };
    Ok(entries(repo, &data).filter_map(Result::ok).map(name).collect())
}

/// Orders a heap: the newest first, then by name so that the same history always gives the same order.
struct ByTime(Commit);

impl Ord for ByTime {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.0.commit_time, self.0.id).cmp(&(other.0.commit_time, other.0.id))
    }
}
impl PartialOrd for ByTime {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl PartialEq for ByTime {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}
impl Eq for ByTime {}

pub(crate) fn log(repo: &Repository, tip: Oid, limit: usize, stop: &dyn Fn(&Oid) -> bool, first_parent: bool) -> Result<Vec<Commit>, Error> {
    let mut found = Vec::new();
    if limit == 0 || stop(&tip) {
        return Ok(found);
    }
    let mut seen = HashSet::from([tip]);
    let mut next = BinaryHeap::from([ByTime(commit(repo, tip)?.ok_or(Error::Missing { kind: "commit", id: tip })?)]);
    while let Some(ByTime(newest)) = next.pop() {
        for parent in newest.parents.iter().take(if first_parent { 1 } else { usize::MAX }) {
            if !stop(parent) && seen.insert(*parent) {
                // Not here: the remote is a shallow clone, and the history ends.
                next.extend(commit(repo, *parent)?.map(ByTime));
            }
        }
        found.push(newest);
        if found.len() == limit {
            break;
        }
    }
    Ok(found)
}

/// Whether `old` is part of the history of `new`. Looks at a limited number of commits and says no when it could not tell.
pub(crate) fn contains(repo: &Repository, new: Oid, old: Oid) -> bool {
    let (Some(new), Some(old)) = (peel(repo, new), peel(repo, old)) else { return false };
    let found = std::cell::Cell::new(false);
    let stop = |id: &Oid| {
        found.set(found.get() || *id == old);
        found.get()
    };
    let walked = log(repo, new, 10_000, &stop, false);
    walked.is_ok() && found.get()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn broken_author_lines_give_what_they_have() {
        assert_eq!(person(b"A U Thor <a@b> 12 +0000"), (&b"A U Thor"[..], &b"a@b"[..], 12));
        assert_eq!(person(b"nobody"), (&b"nobody"[..], &b""[..], 0));
        assert_eq!(person(b"a <b> <c> x"), (&b"a"[..], &b"b> <c"[..], 0));
        assert_eq!(person(b"<> -5 +0000"), (&b""[..], &b""[..], -5));
    }

    #[test]
    fn latin_1_is_converted_when_it_is_declared() {
        assert_eq!(to_text(b"J\xf6rg", Some(BStr::new(b"ISO-8859-1"))), "J\u{f6}rg");
        assert_eq!(to_text(b"J\xf6rg", None), "J\u{fffd}rg");
    }
}
