//! What can go wrong between a client and a worker.

use std::error::Error as StdError;
use std::io;

use thiserror::Error;

/// Why a request gave no result.
#[derive(Debug, Error)]
pub enum Error {
    /// The worker could not be reached, the connection broke, or a limit passed: the same request may succeed later.
    /// Whether the worker acted on it is not known.
    #[error("{doing}: {source}")]
    Transport {
        /// What was being done, for example `GET /status`.
        doing: String,
        /// What went wrong.
        #[source]
        source: Box<dyn StdError + Send + Sync>,
    },
    /// The worker answered that it will not, or cannot.
    #[error("the worker answered {status}: {text}")]
    Refused {
        /// HTTP status.
        status: u16,
        /// Its explanation, at most 4 KiB.
        text: String,
    },
    /// The worker's answer makes no sense: a broken or foreign peer, or a broken build of the worker.
    #[error("the worker's answer cannot be understood: {0}")]
    Protocol(String),
}

impl Error {
    pub(crate) fn transport(doing: impl Into<String>, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Error {
        Error::Transport { doing: doing.into(), source: source.into() }
    }

    pub(crate) fn timed_out(doing: &str, limit: std::time::Duration) -> Error {
        Error::transport(doing, io::Error::new(io::ErrorKind::TimedOut, format!("no answer within {} ms", limit.as_millis())))
    }

    /// The worker's status code, if it answered with a refusal.
    pub fn refused_status(&self) -> Option<u16> {
        match self {
            Error::Refused { status, .. } => Some(*status),
            _ => None,
        }
    }

    /// Whether the same request may succeed later without anything being changed.
    pub fn is_transport(&self) -> bool {
        matches!(self, Error::Transport { .. })
    }
}
