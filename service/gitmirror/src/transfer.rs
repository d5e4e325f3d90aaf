//! Taking a few new objects over from a repository on this machine, in this process. `git fetch` between two folders starts eight programs; a push of
//! a few commits brings ten objects.
//!
//! It keeps the rule that the whole copy lives by: an object that is here has everything that it leads to. Objects are written in that order, and git is told
//! to write packs, which appear at once, and never loose objects, which appear in any order.

use std::collections::HashSet;

use gix::ObjectId;
use gix::objs::{CommitRefIter, Kind, TagRefIter, TreeRefIter, Write as _};
use gix::refs::Target;
use gix::refs::transaction::{Change as RefChange, LogChange, PreviousValue, RefEdit};

use crate::refs::Change;

/// More objects than this are git's work: one pack is better than so many files.
const OBJECTS: usize = 1_000;
/// And so are more bytes.
const BYTES: usize = 32 << 20;

enum Visit {
    Enter(ObjectId),
    /// Everything that it leads to is here.
    Leave(ObjectId, Kind, Vec<u8>),
}

/// Copies what these ids lead to and `to` lacks. `None`: that is more than should be copied in this way. What was copied by then is whole.
///
/// # Errors
/// An object cannot be read or written, or is not what its name says.
pub(crate) fn copy(from: &gix::Repository, to: &gix::Repository, wanted: &[ObjectId]) -> Result<Option<usize>, String> {
    // Only git knows how to go on from a history that is cut, or that other objects stand in for.
    if from.object_hash() != to.object_hash() || from.is_shallow().unwrap_or(true) || to.is_shallow().unwrap_or(true) {
        return Ok(None);
    }
    let mut seen: HashSet<ObjectId> = HashSet::new();
    let mut stack: Vec<Visit> = wanted.iter().map(|id| Visit::Enter(*id)).collect();
    let (mut count, mut bytes) = (0, 0);
    while let Some(visit) = stack.pop() {
        match visit {
            Visit::Leave(id, kind, data) => {
                let written = to.objects.write_buf(kind, &data).map_err(|error| error.to_string())?;
                if written != id {
                    return Err(format!("object {id} is not what its name says"));
                }
            }
            Visit::Enter(id) => {
                if !seen.insert(id) || to.has_object(id) {
                    continue;
                }
                let object = from.find_object(id).map_err(|error| error.to_string())?.detach();
                (count, bytes) = (count + 1, bytes + object.data.len());
                if count > OBJECTS || bytes > BYTES {
                    return Ok(None);
                }
                let next = leads_to(&object.data, object.kind, from.object_hash())?;
                stack.push(Visit::Leave(id, object.kind, object.data));
                stack.extend(next.into_iter().map(Visit::Enter));
            }
        }
    }
    Ok(Some(count))
}

fn leads_to(data: &[u8], kind: Kind, hash: gix::hash::Kind) -> Result<Vec<ObjectId>, String> {
    match kind {
        Kind::Blob => Ok(Vec::new()),
        Kind::Tree => {
            let mut found = Vec::new();
            for entry in TreeRefIter::from_bytes(data, hash) {
                let entry = entry.map_err(|error| error.to_string())?;
                // A submodule's commit belongs to another repository.
                if !entry.mode.is_commit() {
                    found.push(entry.oid.to_owned());
                }
            }
            Ok(found)
        }
        Kind::Commit => {
            let mut commit = CommitRefIter::from_bytes(data, hash);
            let tree = commit.tree_id().map_err(|error| error.to_string())?;
            Ok(CommitRefIter::from_bytes(data, hash).parent_ids().chain([tree]).collect())
        }
        Kind::Tag => Ok(vec![TagRefIter::from_bytes(data, hash).target_id().map_err(|error| error.to_string())?]),
    }
}

/// Moves references whose objects are here, each only if it still is what it was.
///
/// # Errors
/// What the reference store says; nothing has changed then.
pub(crate) fn move_refs(repo: &gix::Repository, changes: &[Change]) -> Result<(), String> {
    let id = |id: burrow_git::Oid| ObjectId::try_from(id.as_bytes()).map_err(|error| error.to_string());
    let mut edits = Vec::with_capacity(changes.len());
    for change in changes {
        let Some(new) = change.new else { continue };
        let expected = match change.old {
            Some(old) => PreviousValue::MustExistAndMatch(Target::Object(id(old)?)),
            None => PreviousValue::MustNotExist,
        };
        edits.push(RefEdit {
            change: RefChange::Update { log: LogChange::default(), expected, new: Target::Object(id(new)?) },
            name: gix::refs::FullName::try_from(change.name.as_str()).map_err(|error| error.to_string())?,
            deref: false,
        });
    }
    repo.edit_references_as(edits, None).map(drop).map_err(|error| error.to_string())
}
