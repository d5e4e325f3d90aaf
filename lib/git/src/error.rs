//! What can go wrong with a mirror.

use std::path::PathBuf;
use std::time::Duration;

use crate::Oid;

/// What can go wrong with a mirror. The kinds that ask for different actions are different variants.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The remote repository is not there (any more).
    #[error("there is no repository at {url}: {stderr}")]
    Gone {
        /// The address that was asked.
        url: String,
        /// What git said last.
        stderr: String,
    },
    /// The remote wants to know who we are, or does not like the answer.
    #[error("{url} refuses access: {stderr}")]
    Auth {
        /// The address that was asked.
        url: String,
        /// What git said last.
        stderr: String,
    },
    /// The remote did not answer in time; everything that was started for it has been killed.
    #[error("git took longer than {} s and was stopped", limit.as_secs_f64())]
    Timeout {
        /// The limit that was over.
        limit: Duration,
    },
    /// The `git` program failed for another reason.
    #[error("git {command} failed: {stderr}")]
    Other {
        /// The subcommand.
        command: String,
        /// The end of what it wrote to stderr.
        stderr: String,
    },
    /// The `git` program could not be started.
    #[error("cannot start the git program (is it installed and in PATH?): {0}")]
    NoGit(String),
    /// The token for the remote has characters that no token has.
    #[error("the token for the remote is empty or has characters that cannot stand in a header; look at the secret's file")]
    BadToken,
    /// The address would be taken for something else by git.
    #[error("{0:?} cannot be the address of a repository")]
    BadUrl(String),
    /// The mirror's own folder cannot be used.
    #[error("the mirror in {}: {message}", path.display())]
    Local {
        /// The folder.
        path: PathBuf,
        /// What happened.
        message: String,
    },
    /// The mirror does not have this object.
    #[error("the mirror has no {kind} {id}")]
    Missing {
        /// `commit`, `tree` or `object`.
        kind: &'static str,
        /// Its name.
        id: Oid,
    },
    /// An object cannot be read.
    #[error("object {id} cannot be read: {message}")]
    Corrupt {
        /// Its name.
        id: Oid,
        /// Why not.
        message: String,
    },
    /// The thread that reads objects ended without an answer.
    #[error("reading the mirror was interrupted: {0}")]
    Interrupted(String),
}

impl Error {
    /// True when trying again later may help without anybody doing anything.
    pub fn is_transient(&self) -> bool {
        matches!(self, Error::Timeout { .. } | Error::Other { .. })
    }
}
