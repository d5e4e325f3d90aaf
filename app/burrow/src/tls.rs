//! Pages over TLS, for those who listen beyond this machine.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use burrow_certificates::config::{AcmeTable, Files, Tls};
use burrow_certificates::{CertificateError, Certificates, Source};
use burrow_clock::SharedClock;
use clap::Args;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use crate::failure::Failure;

/// Where the certificate of a service comes from, as flags.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "TLS")]
pub(crate) struct TlsArgs {
    /// PEM file with the certificate chain; read again when it changes
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// PEM file with its key
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Makes a certificate and keeps it in the data folder; who connects must be told to trust it
    #[arg(long, conflicts_with_all = ["tls_cert", "acme_host"])]
    tls_self_signed: bool,
    /// Public host names to get a certificate for over ACME, separated by commas
    #[arg(long, value_name = "NAME", value_delimiter = ',', conflicts_with = "tls_cert")]
    acme_host: Vec<String>,
    /// Folder for the ACME account and certificate [default: acme in the data folder]
    #[arg(long, value_name = "DIR", requires = "acme_host")]
    acme_dir: Option<PathBuf>,
    /// Directory of the ACME authority [default: Let's Encrypt]
    #[arg(long, value_name = "URL", requires = "acme_host")]
    acme_directory: Option<String>,
    /// PEM file with the root that the authority's own address is trusted by; for an authority of one's own
    #[arg(long, value_name = "FILE", requires = "acme_host")]
    acme_root: Option<PathBuf>,
    /// Mail address that the authority may write to
    #[arg(long, value_name = "ADDRESS", requires = "acme_host")]
    acme_contact: Option<String>,
    /// Answers the authority's plain requests (HTTP-01) here, where its port 80 leads; without it, it looks at the HTTPS port, which must be 443
    #[arg(long, value_name = "ADDR:PORT", requires = "acme_host")]
    acme_http: Option<String>,
}

impl TlsArgs {
    /// What the flags say, or else the configuration. `--tls-self-signed` is neither.
    fn wanted(&self, config: Option<&Tls>) -> Option<Tls> {
        if !self.acme_host.is_empty() {
            return Some(Tls::Acme(AcmeTable {
                hosts: self.acme_host.clone(),
                dir: self.acme_dir.clone(),
                directory: self.acme_directory.clone(),
                root: self.acme_root.clone(),
                contact: self.acme_contact.clone(),
                http: self.acme_http.clone(),
            }));
        }
        let files = self.tls_cert.clone().zip(self.tls_key.clone()).map(|(cert, key)| Tls::Files(Files { cert, key }));
        files.or_else(|| config.cloned())
    }

    /// Whether [`TlsArgs::open`] would give certificates.
    pub(crate) fn is_wanted(&self, config: Option<&Tls>) -> bool {
        self.tls_self_signed || self.wanted(config).is_some()
    }

    /// Looks whether what is wanted could be opened, without beginning anything.
    pub(crate) fn check(&self, config: Option<&Tls>, data: &Path, clock: &SharedClock) -> Result<(), Failure> {
        if let Some(tls) = self.wanted(config).filter(|_| !self.tls_self_signed) {
            Certificates::open(tls.source(data), Arc::clone(clock)).map_err(Failure::usage)?;
        }
        Ok(())
    }

    /// Opens what the flags say, or else the configuration; `None`: neither does, and the service is plain. The certificate is kept up to date until
    /// `shutdown`; any number of acceptors may be made of it. `names`: what a certificate of one's own making is for.
    pub(crate) async fn open(
        &self,
        config: Option<&Tls>,
        data: &Path,
        names: &[String],
        clock: &SharedClock,
        shutdown: &CancellationToken,
    ) -> Result<Option<Certificates>, Failure> {
        let (source, plain) = if self.tls_self_signed {
            (Source::SelfSigned { dir: data.join("tls"), names: names.to_vec() }, None)
        } else if let Some(tls) = self.wanted(config) {
            (tls.source(data), tls.challenges().map(str::to_owned))
        } else {
            return Ok(None);
        };
        let certificates = Certificates::open(source, Arc::clone(clock)).map_err(Failure::usage)?;
        if let Some(listen) = plain {
            let listener = TcpListener::bind(listen.as_str())
                .await
                .map_err(|error| Failure::infrastructure(format!("cannot listen on {listen} for the authority's requests: {error}")))?;
            let (challenges, ended) = (challenges(certificates.clone()), shutdown.clone().cancelled_owned());
            burrow_web::serve(listener, None, challenges, ended);
        }
        let (kept, ended) = (certificates.clone(), shutdown.clone());
        burrow_task::spawn(async move { kept.keep(ended).await });
        Ok(Some(certificates))
    }
}

/// Answers to an authority's plain requests.
fn challenges(certificates: Certificates) -> axum::Router {
    let answer = move |token: axum::extract::Path<String>| async move { certificates.http_challenge(&token).ok_or(axum::http::StatusCode::NOT_FOUND) };
    axum::Router::new().route("/.well-known/acme-challenge/{token}", axum::routing::get(answer))
}

/// What a certificate of one's own making is for: the host that is listened on, and this machine.
pub(crate) fn own_names(listen: &str) -> Vec<String> {
    let host = listen.rsplit_once(':').map_or(listen, |(host, _)| host).trim_matches(['[', ']']);
    let any = host.is_empty() || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_unspecified());
    let mut names = vec!["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
    if !any && !names.iter().any(|name| name == host) {
        names.push(host.to_owned());
    }
    names
}

impl From<CertificateError> for Failure {
    fn from(error: CertificateError) -> Failure {
        Failure::infrastructure(error)
    }
}

/// Certificate chain and key from PEM files; `protocols` are offered in this order.
pub(crate) fn acceptor(cert: &Path, key: &Path, protocols: &[&[u8]]) -> Result<TlsAcceptor, Failure> {
    let wrong = |file: &Path, error: &dyn std::fmt::Display| Failure::usage(format!("{}: {error}", file.display()));
    let chain: Vec<_> = CertificateDer::pem_file_iter(cert).and_then(Iterator::collect::<Result<Vec<_>, _>>).map_err(|error| wrong(cert, &error))?;
    let key = PrivateKeyDer::from_pem_file(key).map_err(|error| wrong(key, &error))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key))
        .map_err(|error| wrong(cert, &error))?;
    config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
    Ok(TlsAcceptor::from(Arc::new(config)))
}
