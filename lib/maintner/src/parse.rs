//! The first half of taking in records: everything that can be done without the tables, so that many segments can be read side by side. What comes out is
//! checked to the last byte; applying it cannot fail.

use protocol_mutlog::wire::WireError;
use protocol_mutlog::{FrameError, Records, view};

use crate::commit::{self, Commit, Hash};
use crate::notedb;
use crate::rows::commit_flag;
use crate::table::hash_bytes;
use crate::text::TextRef;

/// What is wrong with a part of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// The framing.
    #[error("{0}")]
    Frame(#[from] FrameError),
    /// The message in a record.
    #[error("the record at offset {offset} is no mutation: {error}")]
    Message {
        /// Where the record begins, from the start of its segment.
        offset: u64,
        /// What is wrong.
        error: WireError,
    },
}

impl RecordError {
    /// Where the record at fault begins, from the start of its segment.
    pub fn offset(&self) -> u64 {
        match self {
            RecordError::Frame(error) => error.offset(),
            RecordError::Message { offset, .. } => *offset,
        }
    }
}

/// Records, read.
#[derive(Default)]
pub(crate) struct Parsed {
    pub(crate) records: u64,
    pub(crate) commits: Vec<CommitOp>,
    /// In the order of the log; `Commit` and `PlainCommit` take the next of `commits`.
    pub(crate) git: Vec<GitOp>,
    pub(crate) github: Vec<GithubOp>,
}

pub(crate) enum GitOp {
    /// What follows is of this project.
    Project(TextRef),
    Commit,
    /// A commit without a project.
    PlainCommit,
    DeletedRef(TextRef),
    Ref {
        name: TextRef,
        hash: Hash,
    },
    ChangeRef {
        change: i32,
        patch_set: i32,
        hash: Hash,
    },
    /// The end of a mutation: live, changes are finished here.
    End,
}

pub(crate) enum GithubOp {
    Issue(TextRef),
    Repo(TextRef),
}

pub(crate) struct CommitOp {
    pub(crate) hash: Hash,
    pub(crate) parent: Option<Hash>,
    pub(crate) source: TextRef,
    pub(crate) time: i64,
    pub(crate) author: TextRef,
    pub(crate) author_hash: u64,
    pub(crate) hg: TextRef,
    pub(crate) flags: u16,
    pub(crate) bad: bool,
}

/// Reads the records in `bytes`, which stand at `offset` of their segment and at place `start` of the log.
pub(crate) fn parse(bytes: &[u8], offset: u64, start: u64) -> Result<Parsed, RecordError> {
    let mut parsed = Parsed::default();
    parsed.commits.reserve(bytes.len() / 1000);
    parsed.git.reserve(bytes.len() / 500);
    let at = |part: &[u8]| TextRef::of(bytes, start, part);
    for record in Records::new(bytes, offset) {
        let record = record?;
        let mutation = view::Mutation::decode(record.payload).map_err(|error| RecordError::Message { offset: record.offset, error })?;
        parsed.records += 1;
        if let Some(issue) = &mutation.github_issue
            && !issue.owner.is_empty()
            && !issue.repo.is_empty()
            && issue.number != 0
        {
            parsed.github.push(GithubOp::Issue(at(issue.encoded)));
        }
        if let Some(github) = &mutation.github
            && !github.owner.is_empty()
            && !github.repo.is_empty()
        {
            parsed.github.push(GithubOp::Repo(at(github.encoded)));
        }
        if let Some(commit) = mutation.git.and_then(|git| git.commit)
            && let Some(op) = commit_op(&commit, &at)
        {
            parsed.commits.push(op);
            parsed.git.push(GitOp::PlainCommit);
        }
        if let Some(gerrit) = &mutation.gerrit {
            parsed.git.push(GitOp::Project(at(gerrit.project)));
            for commit in gerrit.commits.iter() {
                if let Some(op) = commit_op(&commit, &at) {
                    parsed.commits.push(op);
                    parsed.git.push(GitOp::Commit);
                }
            }
            parsed.git.extend(gerrit.deleted_refs.iter().map(|name| GitOp::DeletedRef(at(name))));
            parsed.git.extend(gerrit.refs.iter().filter_map(|reference| ref_op(&reference, &at)));
            parsed.git.push(GitOp::End);
        }
    }
    Ok(parsed)
}

fn commit_op(commit: &view::GitCommit<'_>, at: &impl Fn(&[u8]) -> TextRef) -> Option<CommitOp> {
    let hash = commit::hash(commit.sha1)?;
    // A raw commit that begins with its blank line has no header at all; the reference refuses it, too.
    if commit.raw.starts_with(b"\n\n") {
        return None;
    }
    let read = Commit::parse(commit.raw);
    let mut flags = notedb::read(read.message);
    if read.parents > 1 {
        flags |= commit_flag::MERGE;
    }
    if read.committer.is_some() {
        flags |= commit_flag::TIMED;
    }
    let person = read.author.map_or(&b""[..], |author| author.person);
    Some(CommitOp {
        hash,
        parent: read.parent,
        source: at(commit.encoded),
        time: read.committer.map_or(0, |committer| committer.seconds),
        author: at(person),
        author_hash: if person.is_empty() { 0 } else { hash_bytes(person) },
        hg: at(read.golang_hg.unwrap_or(b"")),
        flags,
        bad: read.bad,
    })
}

fn ref_op(reference: &view::GitRef<'_>, at: &impl Fn(&[u8]) -> TextRef) -> Option<GitOp> {
    let name = reference.ref_name;
    let hash = commit::hash(reference.sha1)?;
    match change_ref(name) {
        ChangeRef::Is { change, patch_set } => Some(GitOp::ChangeRef { change, patch_set, hash }),
        ChangeRef::OutOfRange => None,
        ChangeRef::Not if name.starts_with(b"refs/meta/") => None,
        ChangeRef::Not => Some(GitOp::Ref { name: at(name), hash }),
    }
}

/// Whether a reference is one of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ChangeRef {
    Is {
        change: i32,
        patch_set: i32,
    },
    /// It looks like one, with a number that is too large.
    OutOfRange,
    Not,
}

/// `refs/changes/<2 hex>/<digits>/(meta|digits)`, anchored at the start only (`spec/maintner.md` §4.4). The meta reference has number 0.
pub(crate) fn change_ref(name: &[u8]) -> ChangeRef {
    let Some(rest) = name.strip_prefix(b"refs/changes/") else { return ChangeRef::Not };
    let Some(([first, second, b'/'], rest)) = rest.split_first_chunk::<3>() else { return ChangeRef::Not };
    let hex = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    if !hex(first) || !hex(second) {
        return ChangeRef::Not;
    }
    let digits = |text: &[u8]| text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (number, rest) = rest.split_at(digits(rest));
    let Some(rest) = rest.strip_prefix(b"/") else { return ChangeRef::Not };
    let version = rest.get(..digits(rest)).unwrap_or(&[]);
    if number.is_empty() || version.is_empty() && !rest.starts_with(b"meta") {
        return ChangeRef::Not;
    }
    let small = |text: &[u8]| commit::integer(text).and_then(|number| i32::try_from(number).ok());
    let patch_set = if version.is_empty() { Some(0) } else { small(version) };
    match (small(number), patch_set) {
        (Some(change), Some(patch_set)) => ChangeRef::Is { change, patch_set },
        _ => ChangeRef::OutOfRange,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_of_changes_are_told_from_others() {
        for (name, expected) in [
            ("refs/changes/00/14700/1", ChangeRef::Is { change: 14700, patch_set: 1 }),
            ("refs/changes/00/14700/meta", ChangeRef::Is { change: 14700, patch_set: 0 }),
            ("refs/changes/00/14700/metallic", ChangeRef::Is { change: 14700, patch_set: 0 }),
            ("refs/changes/0f/5/12rest", ChangeRef::Is { change: 5, patch_set: 12 }),
            ("refs/changes/00/14700/robot-comments", ChangeRef::Not),
            ("refs/changes/0F/5/1", ChangeRef::Not),
            ("refs/changes/00//1", ChangeRef::Not),
            ("refs/changes/00/1", ChangeRef::Not),
            ("refs/heads/master", ChangeRef::Not),
            ("refs/changes/00/99999999999/1", ChangeRef::OutOfRange),
        ] {
            assert_eq!(change_ref(name.as_bytes()), expected, "{name}");
        }
    }
}
