//! Commits of a branch in order: from a mirror of its repository, or from the results themselves.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use burrow_git::Mirror;
use burrow_task::BoxFuture;

use crate::config::Config;
use crate::series::Series;

/// Commits of a branch that are kept.
const MOST: usize = 50_000;
/// A fetch that takes longer is given up, and tried again later.
const FETCH: Duration = Duration::from_secs(600);

/// A commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryCommit {
    /// Its name.
    pub hash: String,
    /// When it became this commit, Unix seconds.
    pub at_s: i64,
    /// The first line of its message; empty where only results are known.
    pub subject: String,
}

/// Oldest first.
type Branch = Arc<Vec<HistoryCommit>>;

/// What is known of repositories. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct History(Arc<RwLock<HashMap<(String, String), Branch>>>);

impl History {
    /// Commits of a branch, oldest first; of the branch's name without a mirror: those that have results.
    pub fn commits(&self, repository: &str, branch: &str, series: &[Arc<Series>]) -> Branch {
        let key = (repository.to_owned(), branch.to_owned());
        if let Some(known) = self.0.read().unwrap_or_else(PoisonError::into_inner).get(&key) {
            return Arc::clone(known);
        }
        let mut all: Vec<HistoryCommit> = series
            .iter()
            .filter(|series| series.key.repository() == repository)
            .flat_map(|series| series.commits.iter().map(|commit| HistoryCommit { hash: commit.hash.clone(), at_s: commit.at_s, subject: String::new() }))
            .collect();
        all.sort_by(|a, b| (a.at_s, &a.hash).cmp(&(b.at_s, &b.hash)));
        all.dedup();
        Arc::new(all)
    }

    /// The first line of a commit's message.
    pub fn subject(&self, repository: &str, hash: &str) -> Option<String> {
        let held = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let commits = held.iter().filter(|((name, _), _)| name == repository).flat_map(|(_, commits)| commits.iter());
        commits.into_iter().find(|commit| commit.hash == hash).map(|commit| commit.subject.clone())
    }

    /// Fetches every repository that has an address, into folders below `folder`.
    pub fn update<'a>(&'a self, folder: &'a Path, config: &'a Config) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            for repository in &config.repositories {
                let Some(url) = &repository.git else { continue };
                if let Err(error) = self.update_one(folder, &repository.name, url, &repository.branches).await {
                    tracing::warn!(repository = repository.name, error = %error, "The history of a repository could not be fetched; charts show the commits that are known.");
                }
            }
        })
    }

    async fn update_one(&self, folder: &Path, name: &str, url: &str, branches: &[String]) -> Result<(), burrow_git::Error> {
        let safe: String = name.chars().map(|c| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' }).collect();
        let mirror = Mirror::open(&folder.join("git").join(safe), url).await?;
        if !self.knows(name) {
            // After a start there is the copy of before; one that was never fetched has nothing to read, and says so after the fetch.
            let _ = self.read_copy(&mirror, name, branches).await;
        }
        mirror.fetch(FETCH).await?;
        self.read_copy(&mirror, name, branches).await
    }

    fn knows(&self, name: &str) -> bool {
        self.0.read().unwrap_or_else(PoisonError::into_inner).keys().any(|(known, _)| known == name)
    }

    async fn read_copy(&self, mirror: &Mirror, name: &str, branches: &[String]) -> Result<(), burrow_git::Error> {
        let usual = mirror.default_branch().await?;
        for (branch, tip) in mirror.branches().await? {
            let wanted = branches.contains(&branch) || (branches.is_empty() && usual.as_ref() == Some(&branch));
            if !wanted {
                continue;
            }
            let mut commits: Vec<HistoryCommit> = mirror
                .log_first_parent(tip, MOST, |_| false)
                .await?
                .into_iter()
                .map(|commit| HistoryCommit { hash: commit.id.to_string(), at_s: commit.commit_time, subject: commit.subject })
                .collect();
            commits.reverse();
            self.0.write().unwrap_or_else(PoisonError::into_inner).insert((name.to_owned(), branch), Arc::new(commits));
        }
        Ok(())
    }
}
