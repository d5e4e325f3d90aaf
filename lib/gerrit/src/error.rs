//! What can come of a question, sorted by what the asker does next.

use std::time::Duration;

/// Why there is no answer. The texts are for people only.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is no such thing, or it may not be seen.
    #[error("{url}: there is nothing, or it may not be seen")]
    NotFound {
        /// What was asked.
        url: String,
    },
    /// The credentials are not accepted, or there are none and some are needed.
    #[error("{url}: Gerrit does not accept the credentials: {body}")]
    Unauthorized {
        /// What was asked.
        url: String,
        /// What Gerrit says.
        body: String,
    },
    /// It did not work this time.
    #[error("{url}: {message}")]
    Retry {
        /// What was asked.
        url: String,
        /// What happened.
        message: String,
        /// How long to wait at least, when Gerrit says.
        after: Option<Duration>,
    },
    /// Gerrit does not do it: the question is wrong, or may not be asked.
    #[error("{url}: Gerrit refuses with status {status}: {body}")]
    Refused {
        /// What was asked.
        url: String,
        /// HTTP status.
        status: u16,
        /// The beginning of what Gerrit says.
        body: String,
    },
    /// The answer is not what Gerrit documents. Trying again will not help.
    #[error("{url}: the answer makes no sense: {what}")]
    Malformed {
        /// What was asked.
        url: String,
        /// What is wrong.
        what: String,
    },
    /// The client itself cannot work like this: its address, its credentials' characters, its certificates.
    #[error("the client cannot be used: {0}")]
    Settings(String),
}
