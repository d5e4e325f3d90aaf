//! What can go wrong before there is an answer, or in the middle of one.

use std::time::Duration;

/// What can go wrong. Addresses in messages have lost their user names, passwords and queries.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The address is not an absolute http or https address.
    #[error("{url:?} is not an http or https address: {why}")]
    BadUrl {
        /// The address as it was given.
        url: String,
        /// What is wrong.
        why: String,
    },
    /// A header's value has characters that may not be in one.
    #[error("the value for header {name} cannot be sent")]
    BadHeader {
        /// The header.
        name: String,
    },
    /// The certificates that should be trusted cannot be used.
    #[error("the trusted certificates cannot be used: {0}")]
    Trust(String),
    /// The host's name could not be looked up.
    #[error("no such host {host}: {message}")]
    NoSuchHost {
        /// The name.
        host: String,
        /// What the system said.
        message: String,
    },
    /// Nobody accepts the connection.
    #[error("cannot connect to {host}: {message}")]
    Connect {
        /// Name and port.
        host: String,
        /// What the system said.
        message: String,
    },
    /// The other end is not who it should be, or does not speak TLS.
    #[error("no TLS connection to {host}: {message}")]
    Tls {
        /// Name and port.
        host: String,
        /// What rustls said.
        message: String,
    },
    /// A limit was over.
    #[error("{doing} {url} took longer than {} s", limit.as_secs_f64())]
    Timeout {
        /// `connecting to`, `waiting for` or `reading`.
        doing: &'static str,
        /// The address.
        url: String,
        /// The limit.
        limit: Duration,
    },
    /// The connection ended in the middle of something.
    #[error("the connection to {url} broke: {message}")]
    Broken {
        /// The address.
        url: String,
        /// What was seen.
        message: String,
    },
    /// The body is longer than the caller wants.
    #[error("{url} answers more than {limit} bytes")]
    TooLarge {
        /// The address.
        url: String,
        /// The limit in bytes.
        limit: usize,
    },
    /// Redirects that lead in a circle, or too far.
    #[error("{url} redirects more than {limit} times")]
    TooManyRedirects {
        /// Where it began.
        url: String,
        /// The limit.
        limit: usize,
    },
    /// A redirect that cannot or must not be followed.
    #[error("{url} redirects to {location:?}: {why}")]
    BadRedirect {
        /// Who redirects.
        url: String,
        /// Where to.
        location: String,
        /// Why it is not followed.
        why: &'static str,
    },
    /// The body is not compressed in the way it says.
    #[error("the body of {url} cannot be decompressed: {message}")]
    BadEncoding {
        /// The address.
        url: String,
        /// Why not.
        message: String,
    },
}

impl Error {
    /// True when trying again later may help without anybody doing anything.
    pub fn is_transient(&self) -> bool {
        matches!(self, Error::NoSuchHost { .. } | Error::Connect { .. } | Error::Timeout { .. } | Error::Broken { .. })
    }
}
