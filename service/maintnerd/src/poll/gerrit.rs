//! Follows a project of a Gerrit by git alone (`spec/maintner.md` §7.4, §10): branches and tags, and of every change its patch sets and the history of what
//! happened to it.
//!
//! A round lists the server's references and looks which of them the corpus does not have so. For these, some at a time: their objects are fetched, the
//! commits that the corpus lacks are written, parents before children, and then the references. So wherever a round is cut off, the log has no reference
//! without its commits and no commit without its parents, and the next round goes on where this one ended.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::Path;

use burrow_gerrit::{GitError, Oid, Repository};
use burrow_maintner as corpus;
use corpus::View;
use protocol_mutlog::schema::{GerritMutation, GitRef, Mutation};

use super::commits::{self, Owner, hash, oid};
use super::objects::Objects;
use super::status::Outcome;
use super::{Desk, GerritSource, PollError};

/// References that are worked through together.
const BATCH: usize = 250;

/// Follows one project.
#[derive(Debug)]
pub(crate) struct GerritPoller {
    desk: Desk,
    /// `host/project`.
    name: String,
    objects: Objects,
    /// References that the corpus does not take as they are now: of files, for example, which are no commits.
    refused: HashSet<(String, Oid)>,
}

/// What a reference is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// Branches, tags, `HEAD` and anything else that is followed.
    Plain,
    /// A patch set of a change, or its history (`None`).
    Change(i32, Option<i32>),
}

/// Whether a reference is followed, and what it is of. People's private references and Gerrit's own are not.
pub(crate) fn kind(name: &str) -> Option<Kind> {
    if let Some(rest) = name.strip_prefix("refs/changes/") {
        let mut parts = rest.splitn(3, '/');
        if let (Some(shard), Some(number), Some(suffix)) = (parts.next(), parts.next(), parts.next())
            && shard.len() == 2
            && shard.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
            && digits(number)
        {
            let number = number.parse().ok()?;
            return match suffix {
                "meta" => Some(Kind::Change(number, None)),
                // Comments of robots, and whatever else Gerrit may come to keep beside patch sets.
                _ if !digits(suffix) => None,
                _ => suffix.parse().ok().map(|patch_set| Kind::Change(number, Some(patch_set))),
            };
        }
    }
    let hidden = ["refs/users/", "refs/meta/", "refs/cache-automerge/"].iter().any(|prefix| name.starts_with(prefix));
    (!hidden).then_some(Kind::Plain)
}

fn digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// A reference that has changed.
#[derive(Debug, Clone)]
struct Moved {
    name: String,
    to: Oid,
    /// What the corpus has.
    from: Option<Oid>,
}

impl GerritPoller {
    pub(crate) fn new(desk: Desk, source: &GerritSource, dir: &Path) -> GerritPoller {
        let objects = Objects::new(dir, &source.name, &source.url, &source.auth);
        GerritPoller { desk, name: source.name.clone(), objects, refused: HashSet::new() }
    }

    /// Reads everything that is new, the named changes first.
    pub(crate) async fn round(&mut self, hints: &BTreeSet<i32>) -> Result<Outcome, PollError> {
        let result = self.everything(hints).await;
        if let Err(PollError::Git(error)) = &result {
            self.objects.suspect(error).await;
        }
        result.map(|()| Outcome::Good)
    }

    async fn everything(&mut self, hints: &BTreeSet<i32>) -> Result<(), PollError> {
        let repository = self.objects.open().await?;
        let mut failed = match self.missing(&repository).await {
            Ok(()) => None,
            // What the server does not give must not keep everything else from being read.
            Err(PollError::Git(error)) => Some(error),
            Err(other) => return Err(other),
        };
        self.desk.board.doing("lists references");
        let listed = repository.ls_remote(self.desk.timing.list_limit).await?;
        if listed.is_empty() {
            // Taken at its word, every reference would be gone.
            return Err(PollError::Odd("the server lists no references at all; that is not believed".to_owned()));
        }
        let (view, name, hints, refused) = (self.desk.leader.view(), self.name.clone(), hints.clone(), self.refused.clone());
        // Half a million references take their time.
        let compared = burrow_task::spawn_blocking(move || (deleted(&view, &name, &listed), moved(&view, &name, &listed, &hints, &refused)));
        let (deleted, moved) = compared.await.map_err(|error| GitError::Interrupted(error.to_string()))?;
        if !deleted.is_empty() {
            self.commit(GerritMutation { deleted_refs: deleted, ..Default::default() }).await?;
        }
        if moved.iter().any(|moved| moved.name.starts_with("refs/heads/") || moved.name.starts_with("refs/tags/")) {
            // Their history is what patch sets are based on: with it here, only what is new of each of them comes.
            self.desk.board.doing("fetches branches and tags");
            repository.fetch_branches(self.desk.timing.fetch_limit).await?;
        }
        for (nth, batch) in moved.chunks(BATCH).enumerate() {
            self.desk.board.doing(format!("reads references: {} of {}", nth * BATCH, moved.len()));
            if let Err(error) = self.batch(&repository, batch).await? {
                failed.get_or_insert(error);
            }
        }
        failed.map_or(Ok(()), |error| Err(error.into()))
    }

    /// Commits that the corpus refers to and does not have: a reference's log may lack some.
    async fn missing(&self, repository: &Repository) -> Result<(), PollError> {
        let view = self.desk.leader.view();
        let Some(project) = view.gerrit().project_named(&self.name) else { return Ok(()) };
        let wanted: Vec<Oid> = project.missing_commits().filter_map(oid).collect();
        if wanted.is_empty() {
            return Ok(());
        }
        self.desk.board.doing(format!("fetches {} commits that are missing", wanted.len()));
        repository.fetch_objects(&wanted, &[], self.desk.timing.fetch_limit).await?;
        self.write(repository, wanted).await
    }

    /// Writes all commits behind the tips that the corpus lacks.
    async fn write(&self, repository: &Repository, tips: Vec<Oid>) -> Result<(), PollError> {
        let (view, name) = (self.desk.leader.view(), self.name.clone());
        let known = move |id: &Oid| hash(id).is_some_and(|hash| view.gerrit().project_named(&name).is_some_and(|project| project.commit(&hash).is_some()));
        let commits = repository.unknown_commits(tips, known).await?;
        commits::write(&self.desk, repository, commits, &Owner::Gerrit(self.name.clone().into_bytes())).await
    }

    /// Fetches and writes what is behind some references, and then the references. `Ok(Err)`: some of them could not be had, the others are written.
    async fn batch(&mut self, repository: &Repository, batch: &[Moved]) -> Result<Result<(), GitError>, PollError> {
        let wants: Vec<Oid> = batch.iter().map(|moved| moved.to).collect();
        let have: Vec<Oid> = batch.iter().filter_map(|moved| moved.from).collect();
        let limit = self.desk.timing.fetch_limit;
        let mut failed = None;
        let mut good: Vec<&Moved> = batch.iter().collect();
        match repository.fetch_objects(&wants, &have, limit).await {
            Ok(()) => {}
            // The server refuses them all because of one: a reference that was deleted meanwhile, or that it lists and does not give.
            Err(error @ GitError::Other { .. }) if batch.len() > 1 => {
                // If it does not even list them now, the fault is not with one of them.
                repository.ls_remote(self.desk.timing.list_limit).await?;
                good = self.obtainable(repository, batch).await?;
                failed = Some(error);
            }
            Err(error) => return Err(error.into()),
        }
        if let Err(error) = self.write(repository, good.iter().map(|moved| moved.to).collect()).await {
            let PollError::Git(first) = error else { return Err(error) };
            // One of them cannot be followed to its end. The others can.
            let mut followed = Vec::new();
            for moved in good {
                match self.write(repository, vec![moved.to]).await {
                    Ok(()) => followed.push(moved),
                    Err(PollError::Git(_)) if self.is_no_commit(repository, moved.to).await => self.refuse(moved),
                    Err(PollError::Git(error)) => failed = failed.or(Some(error)),
                    Err(other) => return Err(other),
                }
            }
            if followed.is_empty() && failed.is_none() && batch.iter().any(|moved| !self.is_refused(moved)) {
                failed = Some(first);
            }
            good = followed;
        }
        if good.is_empty() {
            return Ok(failed.map_or(Ok(()), Err));
        }
        let refs = good.iter().map(|moved| GitRef { ref_name: moved.name.clone().into_bytes(), sha1: moved.to.to_string().into_bytes(), ..Default::default() });
        let view = self.commit(GerritMutation { refs: refs.collect(), ..Default::default() }).await?;
        for moved in good {
            // A commit that the corpus cannot read is skipped there, and its references with it.
            if known(&view, &self.name, &moved.name) != Some(moved.to) {
                self.refuse(moved);
            }
        }
        Ok(failed.map_or(Ok(()), Err))
    }

    /// The references of a batch whose objects the server gives, found by asking for halves.
    async fn obtainable<'a>(&self, repository: &Repository, batch: &'a [Moved]) -> Result<Vec<&'a Moved>, PollError> {
        let mut good = Vec::new();
        let mut left = vec![batch];
        while let Some(part) = left.pop() {
            let wants: Vec<Oid> = part.iter().map(|moved| moved.to).collect();
            let have: Vec<Oid> = part.iter().filter_map(|moved| moved.from).collect();
            match repository.fetch_objects(&wants, &have, self.desk.timing.fetch_limit).await {
                Ok(()) => good.extend(part),
                Err(GitError::Other { .. }) => match part.split_at(part.len() / 2) {
                    ([], _) => {}
                    (first, second) => left.extend([second, first]),
                },
                Err(error) => return Err(error.into()),
            }
        }
        Ok(good)
    }

    async fn is_no_commit(&self, repository: &Repository, id: Oid) -> bool {
        matches!(repository.commit_raw(id).await, Ok(None)) && matches!(repository.contains(id).await, Ok(true))
    }

    fn is_refused(&self, moved: &Moved) -> bool {
        self.refused.contains(&(moved.name.clone(), moved.to))
    }

    fn refuse(&mut self, moved: &Moved) {
        tracing::warn!(project = self.name, reference = moved.name, hash = %moved.to, "a reference is left out: what it points at is no commit that can be read");
        self.refused.insert((moved.name.clone(), moved.to));
    }

    async fn commit(&self, mutation: GerritMutation) -> Result<View, PollError> {
        let gerrit = GerritMutation { project: self.name.clone().into_bytes(), ..mutation };
        Ok(self.desk.commit(&[Mutation { gerrit: Some(gerrit), ..Default::default() }]).await?)
    }
}

/// References that the corpus has and the server has no more. Those of changes stay: they are history.
fn deleted(view: &View, project: &str, listed: &[(String, Oid)]) -> Vec<Vec<u8>> {
    let there: HashSet<&[u8]> = listed.iter().map(|(name, _)| name.as_bytes()).collect();
    let known = view.gerrit().project_named(project).map(corpus::Project::references).unwrap_or_default();
    known.into_iter().map(|(name, _)| name.bytes()).filter(|name| !there.contains(name)).map(<[u8]>::to_vec).collect()
}

/// What the corpus has for a reference.
fn known(view: &View, project: &str, name: &str) -> Option<Oid> {
    let project = view.gerrit().project_named(project)?;
    let found = match kind(name)? {
        Kind::Plain => project.reference(name),
        Kind::Change(number, patch_set) => project.change_reference(number, patch_set.unwrap_or(0)),
    };
    found.and_then(oid)
}

/// References that the server has otherwise than the corpus: branches and tags, then changes by number, of each its patch sets in order and its history
/// last, so that whoever reads on the way sees the newest patch set as the newest.
fn moved(view: &View, project: &str, listed: &[(String, Oid)], hints: &BTreeSet<i32>, refused: &HashSet<(String, Oid)>) -> Vec<Moved> {
    let mut found: BTreeMap<_, Moved> = BTreeMap::new();
    for (name, to) in listed {
        let Some(kind) = kind(name) else { continue };
        if hash(to).is_none() {
            tracing::warn!(project, reference = name, "hashes of this kind have no place in the log");
            continue;
        }
        let from = known(view, project, name);
        let moved = Moved { name: name.clone(), to: *to, from };
        if from == Some(*to) || refused.contains(&(moved.name.clone(), moved.to)) {
            continue;
        }
        let key = match kind {
            Kind::Plain => (true, 0, 0, name.as_str()),
            // One name for each: a server that lists two for one patch set would make it move to and fro.
            Kind::Change(number, patch_set) => (!hints.contains(&number), i64::from(number) + 1, patch_set.map_or(i64::MAX, i64::from), ""),
        };
        found.entry(key).or_insert(moved);
    }
    found.into_values().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_followed_or_not() {
        for (name, expected) in [
            ("HEAD", Some(Kind::Plain)),
            ("refs/heads/master", Some(Kind::Plain)),
            ("refs/tags/v1^{}", Some(Kind::Plain)),
            ("refs/for/x", Some(Kind::Plain)),
            ("refs/changes/00/14700/1", Some(Kind::Change(14700, Some(1)))),
            ("refs/changes/00/14700/meta", Some(Kind::Change(14700, None))),
            ("refs/changes/00/14700/robot-comments", None),
            ("refs/changes/00/14700/1/x", None),
            ("refs/changes/00/99999999999/1", None),
            ("refs/changes/zz/1/1", Some(Kind::Plain)),
            ("refs/users/12/12", None),
            ("refs/meta/config", None),
            ("refs/cache-automerge/ab/cd", None),
        ] {
            assert_eq!(kind(name), expected, "{name}");
        }
    }
}
