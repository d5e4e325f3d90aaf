//! What people may tell a running mirror: confirm deletions, undo pushes, and what the journal says.

use crate::mirror::Mirror;
use crate::model::Event;
use crate::store::{self, Entry, Wanted};

/// Lines of the journal that one undo may cover.
const MOST: usize = 100_000;

/// Why something was not done.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// There is no such repository.
    #[error("no repository is called {0:?}")]
    NoRepo(String),
    /// There is no such destination.
    #[error("{repo} has no destination {dest:?}")]
    NoDest {
        /// The repository.
        repo: String,
        /// The destination.
        dest: String,
    },
    /// There is nothing to do.
    #[error("{0}")]
    Nothing(String),
    /// The rows cannot be read or written.
    #[error("the rows: {0}")]
    Store(#[from] burrow_store::Error),
}

impl Mirror {
    /// Allows the deletions of a repository that wait, upstream's and those at its destinations. Returns how many. Only these: others wait again.
    ///
    /// # Errors
    /// [`ControlError`]
    pub async fn confirm(&self, repo: &str) -> Result<usize, ControlError> {
        let held = {
            let state = self.inner.shell.lock();
            let known = state.repos.get(repo).ok_or_else(|| ControlError::NoRepo(repo.to_owned()))?;
            known.hold.iter().chain(known.dests.values().filter_map(|dest| dest.hold.as_ref())).map(|hold| hold.names.len()).sum()
        };
        if held == 0 {
            return Err(ControlError::Nothing(format!("no deletions of {repo} wait for a confirmation")));
        }
        self.inner.shell.ask(Event::Confirm { repo: repo.to_owned() }).await.ok_or(ControlError::Store(burrow_store::Error::Stopped))?;
        Ok(held)
    }

    /// The journal, newest first.
    ///
    /// # Errors
    /// Whatever the database says.
    pub async fn journal(&self, wanted: &Wanted, limit: usize) -> Result<Vec<Entry>, burrow_store::Error> {
        // Rows that were handed in before are on disk when this is.
        self.inner.db.commit(Vec::new()).await?;
        store::journal(&self.inner.db, wanted, i64::try_from(limit).unwrap_or(i64::MAX)).await
    }

    /// Gives references of a destination the values that they had before a push, and keeps them so until upstream has other values than those that were
    /// undone. `round` is the number of the push in the journal; `name` takes one reference of it. Returns how many references are concerned.
    ///
    /// # Errors
    /// [`ControlError`]
    pub async fn undo(&self, repo: &str, dest: &str, round: i64, name: Option<&str>) -> Result<usize, ControlError> {
        self.dest_of(repo, dest)?;
        let wanted = Wanted { repo: Some(repo.to_owned()), dest: Some(dest.to_owned()), round: Some(round), name: name.map(str::to_owned), before: None };
        let entries = self.journal(&wanted, MOST).await?;
        let changes: Vec<_> = entries.iter().filter(|entry| entry.state == "done").map(Entry::change).collect();
        if changes.is_empty() {
            return Err(ControlError::Nothing(format!("push {round} to {dest} changed nothing of {repo} that could be undone")));
        }
        let count = changes.len();
        let event = Event::Undo { repo: repo.to_owned(), dest: dest.to_owned(), changes };
        self.inner.shell.ask(event).await.ok_or(ControlError::Store(burrow_store::Error::Stopped))?;
        Ok(count)
    }

    /// Ends every undo at a destination: it follows upstream again.
    ///
    /// # Errors
    /// [`ControlError`]
    pub async fn release(&self, repo: &str, dest: &str) -> Result<(), ControlError> {
        self.dest_of(repo, dest)?;
        let event = Event::Release { repo: repo.to_owned(), dest: dest.to_owned() };
        self.inner.shell.ask(event).await.map(drop).ok_or(ControlError::Store(burrow_store::Error::Stopped))
    }

    fn dest_of(&self, repo: &str, dest: &str) -> Result<(), ControlError> {
        let state = self.inner.shell.lock();
        let known = state.repos.get(repo).ok_or_else(|| ControlError::NoRepo(repo.to_owned()))?;
        if known.dests.contains_key(dest) { Ok(()) } else { Err(ControlError::NoDest { repo: repo.to_owned(), dest: dest.to_owned() }) }
    }
}
