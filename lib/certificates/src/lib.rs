//! Certificates for a server: given as files, made by itself, or fetched from a certificate authority over ACME (RFC 8555).
//!
//! [`Certificates`] makes acceptors for any number of listeners, HTTPS and SMTP's `STARTTLS` alike; all of them show the certificate of the moment.
//! [`Certificates::keep`] runs beside them: it takes up files that were changed, and renews what it fetched when a third of its time is left.
//! A certificate that cannot be read or fetched leaves the old one in use, and [`Status`] says so.
//!
//! ```no_run
//! # async fn serve() -> Result<(), Box<dyn std::error::Error>> {
//! use burrow_certificates::{Certificates, Source};
//! use burrow_clock::SystemClock;
//! let source = Source::Files { cert: "cert.pem".into(), key: "key.pem".into() };
//! let certificates = Certificates::open(source, SystemClock::shared())?;
//! let https = certificates.acceptor(&[b"h2", b"http/1.1"])?;
//! let smtp = certificates.acceptor(&[])?;
//! # let _ = (https, smtp); Ok(()) }
//! ```

mod acme;
pub mod config;
mod error;
mod files;
mod resolver;
mod self_signed;
mod validity;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use burrow_clock::SharedClock;
use burrow_task::BoxFuture;
use rustls::crypto::CryptoProvider;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

pub use acme::{Acme, Challenge, LETS_ENCRYPT};
pub use error::CertificateError;
pub use validity::{Validity, validity};

use crate::resolver::Resolver;

/// Where certificates come from.
#[derive(Debug, Clone)]
pub enum Source {
    /// PEM files: the chain and its key. They may be replaced at any time.
    Files {
        /// The chain, the server's own certificate first.
        cert: PathBuf,
        /// The key.
        key: PathBuf,
    },
    /// A key and a certificate of one's own making, kept in a folder. Who connects must be told to trust it.
    SelfSigned {
        /// The folder; created if need be.
        dir: PathBuf,
        /// Host names and addresses that it is for.
        names: Vec<String>,
    },
    /// An authority that speaks ACME.
    Acme(Acme),
}

/// How often files are looked at.
const LOOK: Duration = Duration::from_secs(10);
/// How often it is looked whether a certificate is to be renewed.
const RENEWAL: Duration = Duration::from_secs(60);

/// What there is, and how it stands with the next.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Status {
    /// The time in which the certificate in use is valid; `None`: there is none yet.
    pub validity: Option<Validity>,
    /// Why the last attempt to get a new one failed; gone when one succeeds.
    pub failure: Option<String>,
    /// Failed attempts since the last success.
    pub failures: u32,
    /// When the next attempt is made, in Unix milliseconds; only after a failure.
    pub next_attempt_ms: Option<i64>,
}

/// Certificates that are kept valid. Clones are the same.
#[derive(Debug, Clone)]
pub struct Certificates {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    source: Source,
    clock: SharedClock,
    resolver: Arc<Resolver>,
    status: Mutex<Status>,
    /// How the files looked just before they were read.
    mark: Option<files::Mark>,
}

impl Shared {
    fn status(&self) -> MutexGuard<'_, Status> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn use_pair(&self, pair: files::Pair) {
        self.resolver.set(pair.key);
        *self.status() = Status { validity: Some(pair.validity), ..Status::default() };
    }
}

pub(crate) fn provider() -> CryptoProvider {
    rustls::crypto::ring::default_provider()
}

impl Certificates {
    /// Reads (or makes) what is there already. With ACME there may be none yet: then connections fail until [`Certificates::keep`] has fetched one.
    ///
    /// # Errors
    /// The files cannot be read or do not belong together; the folder cannot be written; a name is none.
    pub fn open(source: Source, clock: SharedClock) -> Result<Certificates, CertificateError> {
        let mark = match &source {
            Source::Files { cert, key } => Some(files::mark(cert, key)),
            _ => None,
        };
        let pair = match &source {
            Source::Files { cert, key } => Some(files::read(cert, key)?),
            Source::SelfSigned { dir, names } => Some(self_signed::open(dir, names, &clock)?),
            Source::Acme(acme) => acme.open()?,
        };
        let shared = Arc::new(Shared { source, clock, resolver: Arc::default(), status: Mutex::default(), mark });
        if let Some(pair) = pair {
            shared.use_pair(pair);
        }
        Ok(Certificates { shared })
    }

    /// An acceptor that offers these protocols (ALPN), in this order. With ACME, one for HTTPS also answers the authority's challenges; `&[]` is for
    /// protocols without ALPN, such as SMTP.
    ///
    /// # Errors
    /// [`CertificateError::Tls`], as never happens with the ciphers that are compiled in.
    pub fn acceptor(&self, protocols: &[&[u8]]) -> Result<TlsAcceptor, CertificateError> {
        let mut config = rustls::ServerConfig::builder_with_provider(Arc::new(provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| CertificateError::Tls(error.to_string()))?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(&self.shared.resolver) as _);
        config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
        if !protocols.is_empty() && matches!(self.shared.source, Source::Acme(_)) {
            config.alpn_protocols.push(resolver::ACME_TLS.to_vec());
        }
        Ok(TlsAcceptor::from(Arc::new(config)))
    }

    /// What to answer to `GET /.well-known/acme-challenge/{token}` on the plain listener; `None`: 404.
    pub fn http_challenge(&self, token: &str) -> Option<String> {
        self.shared.resolver.http_challenge(token)
    }

    /// How it stands.
    pub fn status(&self) -> Status {
        self.shared.status().clone()
    }

    /// Looks for a new certificate now: reads the files if they changed, or asks the authority. The old one stays in use if that fails.
    ///
    /// # Errors
    /// Why there is no new one.
    pub fn renew(&self) -> BoxFuture<'_, Result<(), CertificateError>> {
        Box::pin(async move {
            let pair = match &self.shared.source {
                Source::Files { cert, key } => files::read(cert, key)?,
                Source::SelfSigned { dir, names } => self_signed::open(dir, names, &self.shared.clock)?,
                Source::Acme(acme) => acme.fetch(&self.shared.resolver).await?,
            };
            self.shared.use_pair(pair);
            Ok(())
        })
    }

    /// Keeps the certificate valid until `shutdown`.
    pub fn keep(&self, shutdown: CancellationToken) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            tokio::select! {
                () = shutdown.cancelled() => {}
                () = self.keep_for_ever() => {}
            }
        })
    }

    async fn keep_for_ever(&self) {
        match &self.shared.source {
            Source::SelfSigned { .. } => std::future::pending().await,
            Source::Files { cert, key } => {
                let mut known = self.shared.mark;
                loop {
                    tokio::time::sleep(LOOK).await;
                    let now = Some(files::mark(cert, key));
                    // A pair that is half replaced is tried again, until it fits.
                    if now != known || self.shared.status().failure.is_some() {
                        known = now;
                        self.attempt(LOOK).await;
                    }
                }
            }
            Source::Acme(acme) => loop {
                let wait = if acme.is_due(self.status().validity, self.shared.clock.now_ms()) {
                    let failures = self.status().failures;
                    self.attempt(acme::pause(failures)).await
                } else {
                    RENEWAL
                };
                tokio::time::sleep(wait).await;
            },
        }
    }

    /// One attempt, with what came of it noted; how long to wait now.
    async fn attempt(&self, pause: Duration) -> Duration {
        match self.renew().await {
            Ok(()) => {
                tracing::info!("a new certificate is in use");
                RENEWAL
            }
            Err(error) => {
                let mut status = self.shared.status();
                let why = error.to_string();
                if status.failure.as_ref() != Some(&why) {
                    tracing::error!("there is no new certificate; the old one stays in use: {why}");
                }
                status.failure = Some(why);
                status.failures = status.failures.saturating_add(1);
                status.next_attempt_ms = Some(self.shared.clock.now_ms().saturating_add(i64::try_from(pause.as_millis()).unwrap_or(i64::MAX)));
                pause
            }
        }
    }
}
