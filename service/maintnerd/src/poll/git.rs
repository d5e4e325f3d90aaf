//! Follows branches of a plain git repository at any address: every commit that can be reached from them, parents before children.
//!
//! The log has no place for the references of such a repository (`spec/maintner.md` §3, `GitMutation`), only for its commits.

use std::path::Path;

use burrow_gerrit::{Auth, Oid};
use burrow_site::Wildcard;

use super::commits::{self, Owner, hash};
use super::objects::Objects;
use super::status::Outcome;
use super::{Desk, PollError};

/// A plain git repository.
#[derive(Debug, Clone)]
pub struct GitSource {
    /// Its name in the log.
    pub name: String,
    /// Where it is fetched from.
    pub url: String,
    /// Branches that are followed, without `refs/heads/`; `*` stands for any characters.
    pub branches: Vec<String>,
    /// As whom to fetch.
    pub auth: Auth,
}

/// Follows one repository.
#[derive(Debug)]
pub(crate) struct GitPoller {
    desk: Desk,
    source: GitSource,
    objects: Objects,
}

impl GitPoller {
    pub(crate) fn new(desk: Desk, source: GitSource, dir: &Path) -> GitPoller {
        let objects = Objects::new(dir, &source.name, &source.url, &source.auth);
        GitPoller { desk, source, objects }
    }

    /// Reads everything that is new.
    pub(crate) async fn round(&mut self) -> Result<Outcome, PollError> {
        let result = self.everything().await;
        if let Err(PollError::Git(error)) = &result {
            self.objects.suspect(error).await;
        }
        result.map(|()| Outcome::Good)
    }

    async fn everything(&mut self) -> Result<(), PollError> {
        let repository = self.objects.open().await?;
        self.desk.board.doing("lists references");
        let listed = repository.ls_remote(self.desk.timing.list_limit).await?;
        let patterns: Vec<Wildcard> = self.source.branches.iter().map(Wildcard::new).collect();
        let followed = |name: &str| name.strip_prefix("refs/heads/").is_some_and(|branch| patterns.iter().any(|pattern| pattern.matches(branch)));
        let view = self.desk.leader.view();
        let tips: Vec<Oid> = listed.iter().filter(|(name, _)| followed(name)).map(|(_, id)| *id).collect();
        if tips.is_empty() {
            return Err(PollError::Odd("the repository has none of the branches that are to be followed".to_owned()));
        }
        let known = move |id: &Oid| hash(id).is_some_and(|hash| view.git().commit(&hash).is_some());
        let tips: Vec<Oid> = tips.into_iter().filter(|id| !known(id)).collect();
        if tips.is_empty() {
            return Ok(());
        }
        if let Some(id) = tips.iter().find(|id| hash(id).is_none()) {
            return Err(PollError::Odd(format!("the log has no place for hashes like {id}")));
        }
        self.desk.board.doing("fetches branches");
        repository.fetch_branches(self.desk.timing.fetch_limit).await?;
        // A branch may have moved since it was listed.
        repository.fetch_objects(&tips, &[], self.desk.timing.fetch_limit).await?;
        let commits = repository.unknown_commits(tips, known).await?;
        commits::write(&self.desk, &repository, commits, &Owner::Git(self.source.name.clone().into_bytes())).await
    }
}
