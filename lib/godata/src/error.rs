//! What can go wrong, with the place and what to do about it (`spec/maintner.md` §5.6).

use std::io;
use std::path::{Path, PathBuf};

use burrow_http_client::Error as HttpError;
use protocol_mutlog::{FrameError, IndexError, Sha224};

/// Why a follower has no new bytes. The kinds that ask for different actions are different variants.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The server's log is another one than what was loaded. The source stays as it is and says the same again.
    #[error(
        "the log of {server} is not the one that was loaded: only {common} of {loaded} loaded bytes are also there; \
         throw away what was made from it and load it anew"
    )]
    Split {
        /// Address of the index.
        server: String,
        /// Bytes at the beginning that both have.
        common: u64,
        /// Bytes that were loaded.
        loaded: u64,
    },
    /// The server could not be asked, or answered that it cannot just now, as often as is reasonable: the same call may succeed later.
    #[error("{doing} failed {attempts} times in a row, try again later: {source}")]
    Retryable {
        /// What was being done.
        doing: String,
        /// How often it was tried.
        attempts: u32,
        /// The last reason.
        source: Box<Cause>,
    },
    /// Trying again will not help: the server, or this program's settings, must change first.
    #[error("{doing} failed, and trying again will not help: {source}")]
    Fatal {
        /// What was being done.
        doing: String,
        /// The reason.
        source: Box<Cause>,
    },
    /// A segment ends within a record: whoever wrote it was interrupted. Its digest is right, so that the server has it in the same way.
    #[error(
        "segment {segment} ends within the record at offset {offset}, {missing} bytes or more are missing: {place}; the log needs repair where it is written"
    )]
    Truncated {
        /// Number of the segment.
        segment: u32,
        /// Where the record begins.
        offset: u64,
        /// How many bytes are missing at least.
        missing: u64,
        /// File or address.
        place: String,
    },
    /// A segment has something else where a record should begin. Its digest is right, so that the server has it in the same way.
    #[error("segment {segment} is malformed at offset {offset}: {place}: {source}; the log needs repair where it is written")]
    Malformed {
        /// Number of the segment.
        segment: u32,
        /// Where.
        offset: u64,
        /// File or address.
        place: String,
        /// What is wrong there.
        source: FrameError,
    },
    /// The caller's token was cancelled. Everything that was complete is kept.
    #[error("cancelled")]
    Cancelled,
    /// There is no way to the server, and nothing in the cache to begin with.
    #[error("{server} cannot be reached, and {} holds no log to go on with: {source}", dir.display())]
    Offline {
        /// Address of the index.
        server: String,
        /// The cache directory.
        dir: PathBuf,
        /// Why it cannot be reached.
        source: Box<Cause>,
    },
    /// The address of the server cannot be used.
    #[error("{server:?} cannot be the address of a log's index: {why}")]
    BadServer {
        /// The address as it was given.
        server: String,
        /// What is wrong.
        why: String,
    },
    /// The cache directory or a file in it cannot be used.
    #[error("{doing} {}: {source}", path.display())]
    Cache {
        /// What was being done.
        doing: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file in the cache has not the content that its name promises.
    #[error("{} has SHA-224 {found} over {size} bytes, not {expected}: the file is damaged; remove it, it will be downloaded again", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Bytes that were read.
        size: u64,
        /// Digest that it should have.
        expected: Sha224,
        /// Digest that it has.
        found: Sha224,
    },
}

impl Error {
    /// True when the same call may succeed later without anybody doing anything.
    pub fn is_transient(&self) -> bool {
        matches!(self, Error::Retryable { .. } | Error::Offline { .. })
    }

    pub(crate) fn cache(doing: &'static str, path: &Path, source: io::Error) -> Error {
        Error::Cache { doing, path: path.to_owned(), source }
    }

    pub(crate) fn framing(segment: u32, place: String, fault: FrameError) -> Error {
        match fault {
            FrameError::Truncated { offset, missing } => Error::Truncated { segment, offset, missing, place },
            _ => Error::Malformed { segment, offset: fault.offset(), place, source: fault },
        }
    }
}

/// What was wrong with one question to a server.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Cause {
    /// There was no answer, or only a part of one.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// An answer that is a refusal.
    #[error("{url} answered {status}: {text}")]
    Status {
        /// What was asked for.
        url: String,
        /// HTTP status.
        status: u16,
        /// The beginning of what it said.
        text: String,
    },
    /// The index cannot be used.
    #[error("{url}: {source}")]
    Index {
        /// Address of the index.
        url: String,
        /// Why not.
        source: IndexError,
    },
    /// The answer is none that this protocol knows.
    #[error("{url}: {what}")]
    Protocol {
        /// What was asked for.
        url: String,
        /// What is wrong with the answer.
        what: String,
    },
    /// A whole download, repeated, has not the digest that the index promises.
    #[error("{url} is corrupt: {got} bytes with SHA-224 {found}, where the index has {wanted} bytes with {expected}")]
    Corrupt {
        /// The address.
        url: String,
        /// Bytes that the index has.
        wanted: u64,
        /// Bytes that came.
        got: u64,
        /// Digest in the index.
        expected: Sha224,
        /// Digest of what came.
        found: Sha224,
    },
    /// The server answered although it has nothing new.
    #[error("{url} returned unchanged log segments ({total} bytes in all), where it should have waited for new ones")]
    Unchanged {
        /// Address of the index.
        url: String,
        /// Bytes of all segments.
        total: u64,
    },
}

/// What to do after a failed question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    /// The name of the host is not known: there is no network.
    NoHost,
    /// Nobody listens there.
    Unreachable,
    /// Ask again after a pause.
    Transient,
    /// What was asked for is not there (any more): the index must be read again.
    Stale,
    /// Give up.
    Fatal,
}

impl Cause {
    pub(crate) fn class(&self) -> Class {
        match self {
            Cause::Http(HttpError::NoSuchHost { .. }) => Class::NoHost,
            Cause::Http(HttpError::Connect { .. }) => Class::Unreachable,
            // A handshake that fails is a transport error like any other to the reference; a captive portal is one.
            Cause::Http(HttpError::Tls { .. }) => Class::Transient,
            Cause::Http(error) if error.is_transient() => Class::Transient,
            Cause::Status { status: 500..=599 | 408 | 425 | 429, .. } => Class::Transient,
            Cause::Status { status: 404 | 410 | 416, .. } => Class::Stale,
            _ => Class::Fatal,
        }
    }
}
