//! Objects, read in this process.

use std::collections::HashSet;

use bytes::Bytes;
use gix::objs::Kind;

use crate::{GitError, Oid};

/// A commit as git stores it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawCommit {
    /// Its hash. Of an annotated tag that was asked for: the tag's.
    pub id: Oid,
    /// What `git cat-file commit` prints.
    pub raw: Bytes,
    /// Hashes of its parents, in order.
    pub parents: Vec<Oid>,
    /// Hash of its tree; `None` when the commit is broken.
    pub tree: Option<Oid>,
}

fn to_gix(id: Oid) -> Result<gix::ObjectId, GitError> {
    gix::ObjectId::try_from(id.as_bytes()).map_err(|error| GitError::Corrupt { id, message: error.to_string() })
}

/// An object's kind and bytes; `None` when it is not here.
fn find(repo: &gix::Repository, id: Oid) -> Result<Option<(Kind, Vec<u8>)>, GitError> {
    match repo.try_find_object(to_gix(id)?) {
        Ok(Some(found)) => Ok(Some((found.kind, found.detach().data))),
        Ok(None) => Ok(None),
        Err(error) => Err(GitError::Corrupt { id, message: error.to_string() }),
    }
}

pub(crate) fn contains(repo: &gix::Repository, id: Oid) -> bool {
    to_gix(id).is_ok_and(|id| repo.has_object(id))
}

/// The commit that a hash names, behind any annotated tags; with the hash that the commit has itself.
pub(crate) fn commit(repo: &gix::Repository, asked: Oid) -> Result<Option<(Oid, RawCommit)>, GitError> {
    let mut id = asked;
    // A chain of tags has an end; a limit keeps a crafted one from costing much.
    for _ in 0..16 {
        match find(repo, id)? {
            Some((Kind::Commit, data)) => {
                let (tree, parents) = header(&data);
                return Ok(Some((id, RawCommit { id: asked, raw: data.into(), parents, tree })));
            }
            Some((Kind::Tag, data)) => match field(&data, b"object ") {
                Some(target) => id = target,
                None => return Err(GitError::Corrupt { id, message: "the tag names no object".to_owned() }),
            },
            // A tag of a file or a folder is no commit.
            Some(_) | None => return Ok(None),
        }
    }
    Err(GitError::Corrupt { id: asked, message: "too many tags in a chain".to_owned() })
}

/// Tree and parents.
fn header(data: &[u8]) -> (Option<Oid>, Vec<Oid>) {
    let head = lines(data).take_while(|line| !line.is_empty());
    let (mut tree, mut parents) = (None, Vec::new());
    for line in head {
        if let Some(hex) = line.strip_prefix(b"tree ".as_slice()) {
            tree = tree.or_else(|| hash(hex));
        } else if let Some(hex) = line.strip_prefix(b"parent ".as_slice()) {
            parents.extend(hash(hex));
        }
    }
    (tree, parents)
}

fn lines(data: &[u8]) -> impl Iterator<Item = &[u8]> {
    data.split(|byte| *byte == b'\n')
}

fn field(data: &[u8], name: &[u8]) -> Option<Oid> {
    lines(data).take_while(|line| !line.is_empty()).find_map(|line| hash(line.strip_prefix(name)?))
}

fn hash(hex: &[u8]) -> Option<Oid> {
    std::str::from_utf8(hex).ok()?.parse().ok()
}

/// Whether a commit differs from its only parent in any file. A root and a merge count as not: git prints nothing for them.
pub(crate) fn may_differ(repo: &gix::Repository, commit: &RawCommit) -> Result<bool, GitError> {
    let [parent] = commit.parents.as_slice() else { return Ok(false) };
    match self::commit(repo, *parent)? {
        Some((_, parent)) => Ok(parent.tree != commit.tree),
        None => Err(GitError::Missing { kind: "commit", id: *parent }),
    }
}

/// The commits that can be reached from `tips` and are not `known`, parents before children; what is behind a known one is not looked at.
pub(crate) fn unknown(repo: &gix::Repository, tips: &[Oid], known: &dyn Fn(&Oid) -> bool) -> Result<Vec<RawCommit>, GitError> {
    enum Step {
        Enter(Oid),
        Leave(Box<RawCommit>),
    }
    let mut seen: HashSet<Oid> = HashSet::new();
    let mut found = Vec::new();
    let mut left: Vec<Step> = tips.iter().rev().map(|id| Step::Enter(*id)).collect();
    // No recursion: histories are longer than any stack.
    while let Some(step) = left.pop() {
        match step {
            Step::Enter(id) if known(&id) || !seen.insert(id) => {}
            Step::Enter(id) => {
                let Some((_, commit)) = commit(repo, id)? else { return Err(GitError::Missing { kind: "commit", id }) };
                let parents = commit.parents.clone();
                left.push(Step::Leave(Box::new(commit)));
                left.extend(parents.into_iter().rev().map(Step::Enter));
            }
            Step::Leave(commit) => found.push(*commit),
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_end_at_the_empty_line() {
        let hash = "4b825dc642cb6eb9a060e54bf8d69288fbee4904";
        let text = format!("tree {hash}\nparent {hash}\nparent {hash}\nauthor x\n\nparent {hash}\ntree x\n");
        let (tree, parents) = header(text.as_bytes());
        assert_eq!((tree.map(|id| id.to_string()).as_deref(), parents.len()), (Some(hash), 2));
        assert_eq!(header(b"tree short\nparent\n"), (None, vec![]));
        assert_eq!(header(b""), (None, vec![]));
    }
}
