//! What can be wrong.

use std::path::PathBuf;

/// A certificate that cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// A file cannot be read or written.
    #[error("{path}: {source}")]
    File {
        /// Which file.
        path: PathBuf,
        /// The system's word.
        source: std::io::Error,
    },
    /// A file holds something else.
    #[error("{path}: {why}")]
    Content {
        /// Which file.
        path: PathBuf,
        /// What is wrong, and what is needed.
        why: String,
    },
    /// A name that no certificate can be had for.
    #[error("{name:?}: {why}")]
    Name {
        /// Which name.
        name: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A key or certificate cannot be made.
    #[error("a certificate cannot be made: {0}")]
    Make(String),
    /// TLS cannot be set up.
    #[error("TLS cannot be set up: {0}")]
    Tls(String),
    /// The authority refused, or was not reached.
    #[error("{directory}: {doing}: {why}")]
    Acme {
        /// Address of its directory.
        directory: String,
        /// What was being done.
        doing: &'static str,
        /// What it says.
        why: String,
    },
}
