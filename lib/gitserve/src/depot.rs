//! Open repositories: references, revisions, and what of it is published.

use std::collections::HashMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use burrow_site::Wildcard;
use gix::bstr::ByteSlice as _;
use gix::hashtable::HashSet;
use gix::objs::tree::EntryKind;
use gix::objs::{CommitRefIter, Kind, TagRefIter, TreeRefIter};
use gix::{ObjectId, Repository};

use crate::ask::{Base, Rev, Step};
use crate::reach::{Reach, commit_time};
use crate::repositories::Rights;

/// Which references are published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Published(Vec<(bool, Wildcard)>);

impl Published {
    /// The rules of [`crate::Repository::published`].
    pub(crate) fn new(rules: &[String]) -> Published {
        Published(
            rules
                .iter()
                .map(|rule| match rule.strip_prefix('!') {
                    Some(rule) => (false, Wildcard::new(rule)),
                    None => (true, Wildcard::new(rule.as_str())),
                })
                .collect(),
        )
    }

    /// Whether a full name is published: the last rule that matches decides.
    pub(crate) fn has(&self, name: &[u8]) -> bool {
        // Rules are text. What is none within a name fits stars only.
        let name = String::from_utf8_lossy(name);
        self.0.iter().rev().find(|(_, rule)| rule.matches(&name)).is_some_and(|(yes, _)| *yes)
    }

    /// The rules, in order: published or not, and the pattern.
    pub(crate) fn rules(&self) -> impl Iterator<Item = (bool, &str)> {
        self.0.iter().map(|(yes, rule)| (*yes, rule.as_str()))
    }
}

/// A reference.
#[derive(Debug, Clone)]
pub(crate) struct Ref {
    /// Its full name.
    pub(crate) name: Vec<u8>,
    /// What it points at.
    pub(crate) id: ObjectId,
    /// What that is a tag of.
    pub(crate) peeled: Option<ObjectId>,
}

/// What a revision turned out to be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Found {
    /// The commit; `None` for a bare tree.
    pub(crate) commit: Option<ObjectId>,
    /// Its files.
    pub(crate) tree: ObjectId,
    /// When it was committed, Unix seconds, when it says so in the usual way.
    pub(crate) time: Option<u64>,
}

/// Why a revision is not served.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Miss {
    /// It may be upstream, or come later.
    #[error("there is no such published revision")]
    Unknown,
    /// It is there but has no files, or not this directory.
    #[error("{0}")]
    Never(&'static str),
    /// The repository cannot be read.
    #[error("{0}")]
    Broken(String),
}

/// All open repositories, by folder.
#[derive(Default)]
pub(crate) struct Depot {
    open: Mutex<HashMap<PathBuf, Arc<Open>>>,
}

/// One open repository. The same folder may become another one when it is repaired, so its identity is looked at every time.
pub(crate) struct Open {
    repo: gix::ThreadSafeRepository,
    identity: (u64, u64),
    reach: Mutex<Reach>,
}

impl Depot {
    /// Opens a bare repository, or takes the open one. Blocks.
    pub(crate) fn get(&self, dir: &Path) -> Result<Arc<Open>, Miss> {
        let broken = |error: &dyn std::fmt::Display| Miss::Broken(format!("the repository cannot be opened: {error}"));
        let identity = std::fs::metadata(dir).map(|meta| (meta.dev(), meta.ino())).map_err(|error| broken(&error))?;
        let known = self.open.lock().unwrap_or_else(PoisonError::into_inner).get(dir).cloned();
        if let Some(open) = known.filter(|open| open.identity == identity) {
            return Ok(open);
        }
        // Replacements would give a hash another content than everybody else has under it.
        let options = gix::open::Options::isolated().open_path_as_is(true).with(gix::sec::Trust::Full).config_overrides(["core.useReplaceRefs=false"]);
        let repo = gix::ThreadSafeRepository::open_opts(dir, options).map_err(|error| broken(&error))?;
        let open = Arc::new(Open { repo, identity, reach: Mutex::default() });
        self.open.lock().unwrap_or_else(PoisonError::into_inner).insert(dir.to_owned(), Arc::clone(&open));
        Ok(open)
    }
}

impl Open {
    /// A handle for this thread.
    pub(crate) fn repo(&self) -> Repository {
        let mut repo = self.repo.to_thread_local();
        repo.object_cache_size_if_unset(4 << 20);
        repo
    }

    /// Finds the files that `rev` means to somebody with these rights.
    pub(crate) fn resolve(&self, repo: &Repository, rev: &Rev, published: &Published, rights: Rights) -> Result<Found, Miss> {
        let all = rights == Rights::Everything;
        let start = match &rev.base {
            Base::Hash(hex) => match ObjectId::from_hex(hex.as_bytes()) {
                Ok(id) if id.kind() == repo.object_hash() => id,
                _ => return Err(Miss::Unknown),
            },
            Base::Name(name) => named(repo, name, |name| all || published.has(name)).ok_or(Miss::Unknown)?,
        };
        let (mut id, kind) = peel(repo, start).ok_or(Miss::Unknown)?;
        if kind == Kind::Commit {
            for step in &rev.steps {
                id = walk(repo, id, *step).ok_or(Miss::Unknown)?;
            }
        } else if !rev.steps.is_empty() {
            return Err(Miss::Never("only commits have parents"));
        }
        // What a published name leads to is published.
        if matches!(rev.base, Base::Hash(_)) && !all && (kind != Kind::Commit || self.unpublished(repo, &[id], published)?.is_some()) {
            return Err(Miss::Unknown);
        }
        match kind {
            Kind::Tree => Ok(Found { commit: None, tree: id, time: None }),
            Kind::Commit => {
                let commit = repo.find_object(id).map_err(|error| Miss::Broken(error.to_string()))?;
                let tree = CommitRefIter::from_bytes(&commit.data, repo.object_hash()).tree_id().map_err(|error| Miss::Broken(error.to_string()))?;
                Ok(Found { commit: Some(id), tree, time: commit_time(&commit.data) })
            }
            _ => Err(Miss::Never("this revision is a single file, not a commit")),
        }
    }

    /// The first of some commits to which no published reference leads.
    pub(crate) fn unpublished(&self, repo: &Repository, commits: &[ObjectId], published: &Published) -> Result<Option<ObjectId>, Miss> {
        let refs = list(repo, |name| published.has(name)).map_err(Miss::Broken)?;
        let tips: HashSet<ObjectId> = refs.iter().map(|reference| reference.peeled.unwrap_or(reference.id)).collect();
        Ok(self.reach.lock().unwrap_or_else(PoisonError::into_inner).outside(repo, tips, commits))
    }
}

/// The tree of a directory below another one.
pub(crate) fn descend(repo: &Repository, mut tree: ObjectId, path: &[String]) -> Result<ObjectId, Miss> {
    for part in path {
        let found = repo.find_object(tree).map_err(|error| Miss::Broken(error.to_string()))?;
        let entry = TreeRefIter::from_bytes(&found.data, repo.object_hash()).filter_map(Result::ok).find(|entry| entry.filename == part.as_bytes());
        match entry {
            Some(entry) if entry.mode.kind() == EntryKind::Tree => tree = entry.oid.to_owned(),
            _ => return Err(Miss::Never("this revision has no such directory")),
        }
    }
    Ok(tree)
}

fn walk(repo: &Repository, commit: ObjectId, step: Step) -> Option<ObjectId> {
    let parent = |id: ObjectId, number: usize| {
        let found = repo.find_object(id).ok()?;
        CommitRefIter::from_bytes(&found.data, repo.object_hash()).parent_ids().nth(number)
    };
    match step {
        Step::Parent(0) => Some(commit),
        Step::Parent(number) => parent(commit, usize::try_from(number).ok()? - 1),
        Step::Back(number) => (0..number).try_fold(commit, |id, _| parent(id, 0)),
    }
}

/// Follows tags to the commit, tree or file that they are of.
pub(crate) fn peel(repo: &Repository, mut id: ObjectId) -> Option<(ObjectId, Kind)> {
    // A chain of tags has an end; the limit keeps a crafted one from costing much.
    for _ in 0..16 {
        let header = repo.try_find_header(id).ok()??;
        if header.kind() != Kind::Tag {
            return Some((id, header.kind()));
        }
        let found = repo.try_find_object(id).ok()??;
        id = TagRefIter::from_bytes(&found.data, repo.object_hash()).target_id().ok()?;
    }
    None
}

/// What a name means, by git's own order, among the references that may be seen.
fn named(repo: &Repository, name: &str, visible: impl Fn(&[u8]) -> bool) -> Option<ObjectId> {
    if name == "HEAD" {
        let head = head_name(repo)?;
        return exact(repo, &head, &visible, 0);
    }
    ["", "refs/", "refs/tags/", "refs/heads/", "refs/remotes/"]
        .iter()
        .map(|place| format!("{place}{name}"))
        .filter(|full| full.starts_with("refs/"))
        .find_map(|full| exact(repo, &full, &visible, 0))
}

fn exact(repo: &Repository, name: &str, visible: &dyn Fn(&[u8]) -> bool, depth: usize) -> Option<ObjectId> {
    if !visible(name.as_bytes()) || depth > 5 {
        return None;
    }
    let reference = repo.try_find_reference(name).ok()??;
    if reference.name().as_bstr() != name {
        return None;
    }
    match reference.target() {
        gix::refs::TargetRef::Object(id) => Some(id.to_owned()),
        // What it stands for must be published too.
        gix::refs::TargetRef::Symbolic(other) => exact(repo, other.as_bstr().to_str().ok()?, visible, depth + 1),
    }
}

/// The full name of the default branch.
pub(crate) fn head_name(repo: &Repository) -> Option<String> {
    let name = repo.head_name().ok()??;
    Some(name.as_bstr().to_str().ok()?.to_owned())
}

/// The references that may be seen, in the order of their names.
pub(crate) fn list(repo: &Repository, visible: impl Fn(&[u8]) -> bool) -> Result<Vec<Ref>, String> {
    let platform = repo.references().map_err(|error| error.to_string())?;
    let mut found = Vec::new();
    for reference in platform.all().map_err(|error| error.to_string())? {
        // One broken reference must not hide the others.
        let Ok(reference) = reference else { continue };
        let name = reference.name().as_bstr();
        if !visible(name) {
            continue;
        }
        let (id, packed) = match reference.target() {
            gix::refs::TargetRef::Object(id) => (id.to_owned(), reference.inner.peeled),
            gix::refs::TargetRef::Symbolic(_) => match name.to_str().ok().and_then(|name| exact(repo, name, &visible, 0)) {
                Some(id) => (id, None),
                None => continue,
            },
        };
        let peeled = match packed {
            Some(peeled) => Some(peeled),
            None if name.starts_with(b"refs/tags/") => peel(repo, id).map(|(peeled, _)| peeled),
            None => None,
        };
        found.push(Ref { name: name.to_vec(), id, peeled: peeled.filter(|peeled| *peeled != id) });
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_rule_that_matches_decides() {
        let rules = ["refs/heads/*", "!refs/heads/security/*", "refs/heads/security/public", "refs/tags/v*.0"].map(str::to_owned);
        let published = Published::new(&rules);
        for name in ["refs/heads/main", "refs/heads/a/b", "refs/heads/security/public", "refs/tags/v1.0", "refs/tags/v1.0.0"] {
            assert!(published.has(name.as_bytes()), "{name}");
        }
        assert!(published.has(b"refs/heads/\xff\xe4") && !published.has(b"refs/heads/security/\xff"));
        for name in ["refs/heads/security/x", "refs/tags/v1.1", "refs/changes/1/1/1", "HEAD", "refs/heads"] {
            assert!(!published.has(name.as_bytes()), "{name}");
        }
    }
}
