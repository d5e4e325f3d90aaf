//! What can come of a question, sorted by what the asker does next.

use std::time::Duration;

use crate::{RepoName, Time};

/// Where a thing is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The repository.
    pub repo: RepoName,
    /// The number there.
    pub number: i32,
}

/// Which limit was met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LimitKind {
    /// So many questions an hour.
    Primary,
    /// Too many at once, or too expensive ones.
    Secondary,
}

/// Why there is no answer. Each kind asks for another action; the texts are for people only.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is no such thing, or it may not be seen.
    #[error("{url}: there is nothing, or it may not be seen")]
    NotFound {
        /// What was asked.
        url: String,
    },
    /// There was such a thing; it was deleted for good.
    #[error("{url}: it was deleted")]
    Gone {
        /// What was asked.
        url: String,
    },
    /// The issue was transferred to another repository.
    #[error("{url}: it is now {}", to.as_ref().map_or("somewhere that may not be seen".to_owned(), |place| format!("{}#{}", place.repo, place.number)))]
    Moved {
        /// What was asked.
        url: String,
        /// Where it is; `None` when that may not be seen.
        to: Option<Place>,
    },
    /// The repository has no issues (any more): ask again when somebody has switched them on.
    #[error("{repo} has its issues switched off")]
    Disabled {
        /// Which.
        repo: RepoName,
    },
    /// GitHub wants no more questions until then.
    #[error("GitHub's {} rate limit is used up until {until}", if *kind == LimitKind::Primary { "hourly" } else { "secondary" })]
    RateLimited {
        /// When to ask again, by our clock.
        until: Time,
        /// Which limit.
        kind: LimitKind,
    },
    /// It did not work this time.
    #[error("{url}: {message}")]
    Retry {
        /// What was asked.
        url: String,
        /// What happened.
        message: String,
        /// How long to wait at least, when GitHub says.
        after: Option<Duration>,
    },
    /// The token is not (or no longer) accepted, or there is none.
    #[error("{url}: GitHub does not accept the token: {message}")]
    Unauthorized {
        /// What was asked.
        url: String,
        /// What GitHub says.
        message: String,
    },
    /// The token is fine but may not do this, or the question itself is wrong.
    #[error("{url}: GitHub refuses with status {status}: {message}")]
    Refused {
        /// What was asked.
        url: String,
        /// HTTP status.
        status: u16,
        /// What GitHub says.
        message: String,
    },
    /// The answer is not what GitHub documents. Trying again will not help.
    #[error("{url}: the answer makes no sense: {what}")]
    Malformed {
        /// What was asked.
        url: String,
        /// What is wrong.
        what: String,
    },
    /// The client itself cannot work like this: its base address, its token's characters, its certificates.
    #[error("the client cannot be used: {0}")]
    Settings(String),
}
