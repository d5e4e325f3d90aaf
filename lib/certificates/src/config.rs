//! What configuration files say of certificates.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::{Acme, Challenge, LETS_ENCRYPT, Source};

/// `tls = { cert = "…", key = "…" }`, or a table `[tls.acme]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Written")]
pub enum Tls {
    /// Files that somebody else keeps up to date.
    Files(Files),
    /// An authority that speaks ACME.
    Acme(AcmeTable),
}

/// Certificate and key.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Files {
    /// PEM file with the certificate chain.
    pub cert: PathBuf,
    /// PEM file with the key.
    pub key: PathBuf,
}

/// An authority, and what is wanted of it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AcmeTable {
    /// Public host names; the certificate is for all of them.
    pub hosts: Vec<String>,
    /// Folder for the account and the certificate; `acme` in the data folder by default.
    pub dir: Option<PathBuf>,
    /// Address of the authority's directory; Let's Encrypt's by default.
    pub directory: Option<String>,
    /// PEM file with the root that the authority's own address is trusted by.
    pub root: Option<PathBuf>,
    /// Mail address that the authority may write to.
    pub contact: Option<String>,
    /// Address on which the authority's plain requests (HTTP-01) are answered; without it, it looks at the HTTPS port (TLS-ALPN-01).
    pub http: Option<String>,
}

/// The table as it is in the file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    cert: Option<PathBuf>,
    key: Option<PathBuf>,
    acme: Option<AcmeTable>,
}

impl TryFrom<Written> for Tls {
    type Error = &'static str;

    fn try_from(written: Written) -> Result<Tls, &'static str> {
        match (written.cert, written.key, written.acme) {
            (Some(cert), Some(key), None) => Ok(Tls::Files(Files { cert, key })),
            (None, None, Some(acme)) => Ok(Tls::Acme(acme)),
            _ => Err("`tls` needs either `cert` and `key` (PEM files) or a table `acme` with `hosts`"),
        }
    }
}

impl Files {
    /// Makes relative paths relative to `folder`.
    pub fn anchor(&mut self, folder: &Path) {
        for path in [&mut self.cert, &mut self.key] {
            *path = folder.join(&*path);
        }
    }

    /// The same as a source.
    pub fn source(&self) -> Source {
        Source::Files { cert: self.cert.clone(), key: self.key.clone() }
    }
}

impl Tls {
    /// Makes relative paths relative to `folder`.
    pub fn anchor(&mut self, folder: &Path) {
        match self {
            Tls::Files(files) => files.anchor(folder),
            Tls::Acme(acme) => {
                for path in [&mut acme.dir, &mut acme.root].into_iter().flatten() {
                    *path = folder.join(&*path);
                }
            }
        }
    }

    /// The same as a source, for a service that keeps its state in `data`.
    pub fn source(&self, data: &Path) -> Source {
        match self {
            Tls::Files(files) => files.source(),
            Tls::Acme(acme) => Source::Acme(Acme {
                names: acme.hosts.clone(),
                dir: acme.dir.clone().unwrap_or_else(|| data.join("acme")),
                directory: acme.directory.clone().unwrap_or_else(|| LETS_ENCRYPT.to_owned()),
                contact: acme.contact.clone(),
                root: acme.root.clone(),
                challenge: if acme.http.is_some() { Challenge::Http } else { Challenge::TlsAlpn },
            }),
        }
    }

    /// Where the authority's plain requests are to be answered.
    pub fn challenges(&self) -> Option<&str> {
        match self {
            Tls::Files(_) => None,
            Tls::Acme(acme) => acme.http.as_deref(),
        }
    }
}
