//! Fetching an archive for `POST /writetgz`: a plain GET that follows redirects, over HTTP or HTTPS.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Empty;
use hyper::body::{Bytes, Incoming};
use hyper::header::{HOST, LOCATION, USER_AGENT};
use hyper::{Request, Uri};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::net::TcpStream;

use crate::config::Config;

/// Redirects that are followed, as in Go.
const REDIRECTS: usize = 10;

/// How long a connection, and then the head of an answer, may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Why nothing was fetched.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FetchError {
    #[error("the URL {0:?} cannot be used; it needs http:// or https:// and a host")]
    Url(String),
    #[error("unexpected status {0}")]
    Status(hyper::StatusCode),
    #[error("stopped after {REDIRECTS} redirects")]
    Redirects,
    #[error("no answer within {} s", PATIENCE.as_secs())]
    Timeout,
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("{0}")]
    Http(#[from] hyper::Error),
}

/// A client with its trust.
pub(crate) struct Fetcher {
    tls: tokio_rustls::TlsConnector,
}

/// The certificates that are trusted: the web's, and those of `--ca`.
pub(crate) fn roots(ca: Option<&std::path::Path>) -> io::Result<rustls::RootCertStore> {
    let mut roots = rustls::RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    if let Some(file) = ca {
        let failed = |e: &dyn std::fmt::Display| io::Error::other(format!("the certificates in {} cannot be read: {e}", file.display()));
        for certificate in CertificateDer::pem_file_iter(file).map_err(|e| failed(&e))? {
            roots.add(certificate.map_err(|e| failed(&e))?).map_err(|e| failed(&e))?;
        }
    }
    Ok(roots)
}

/// The cryptography every connection of the worker uses.
pub(crate) fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

impl Fetcher {
    pub(crate) fn new(config: &Config) -> io::Result<Self> {
        let tls = rustls::ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .with_root_certificates(roots(config.ca.as_deref())?)
            .with_no_client_auth();
        Ok(Self { tls: Arc::new(tls).into() })
    }

    /// The body of a 200 answer.
    pub(crate) async fn get(&self, url: &str) -> Result<Incoming, FetchError> {
        let mut url = url.to_owned();
        for _ in 0..=REDIRECTS {
            let answer = tokio::time::timeout(PATIENCE, self.once(&url)).await.map_err(|_| FetchError::Timeout)??;
            let status = answer.status();
            if status.is_redirection()
                && let Some(to) = answer.headers().get(LOCATION).and_then(|l| l.to_str().ok())
            {
                url = resolve(&url, to).ok_or_else(|| FetchError::Url(to.to_owned()))?;
                continue;
            }
            if status != hyper::StatusCode::OK {
                return Err(FetchError::Status(status));
            }
            return Ok(answer.into_body());
        }
        Err(FetchError::Redirects)
    }

    async fn once(&self, url: &str) -> Result<hyper::Response<Incoming>, FetchError> {
        let bad = || FetchError::Url(url.to_owned());
        let uri: Uri = url.split('#').next().unwrap_or_default().parse().map_err(|_| bad())?;
        let secure = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(bad()),
        };
        let host = uri.host().ok_or_else(bad)?.trim_matches(['[', ']']).to_owned();
        let port = uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
        let stream = TcpStream::connect((host.as_str(), port)).await?;
        let authority = uri.authority().ok_or_else(bad)?.as_str();
        let authority = authority.rsplit_once('@').map_or(authority, |(_, a)| a).to_owned();
        let target = uri.path_and_query().map_or("/", |p| p.as_str()).to_owned();
        let request = Request::get(target)
            .header(HOST, authority)
            .header(USER_AGENT, concat!("burrow-buildlet/", env!("CARGO_PKG_VERSION")))
            .body(Empty::<Bytes>::new())
            .map_err(|_| bad())?;
        if secure {
            let name = ServerName::try_from(host).map_err(|_| bad())?;
            let stream = self.tls.connect(name, stream).await?;
            send(TokioIo::new(stream), request).await
        } else {
            send(TokioIo::new(stream), request).await
        }
    }
}

async fn send<S>(stream: S, request: Request<Empty<Bytes>>) -> Result<hyper::Response<Incoming>, FetchError>
where
    S: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
{
    let (mut sender, connection) = hyper::client::conn::http1::handshake(stream).await?;
    burrow_task::spawn(async move {
        // Its errors come out of the body, too.
        let _ = connection.await;
    });
    Ok(sender.send_request(request).await?)
}

/// The target of a redirect.
fn resolve(base: &str, location: &str) -> Option<String> {
    if location.starts_with("http://") || location.starts_with("https://") {
        return Some(location.to_owned());
    }
    let base: Uri = base.parse().ok()?;
    let origin = format!("{}://{}", base.scheme_str()?, base.authority()?);
    if location.starts_with("//") {
        return Some(format!("{}:{location}", base.scheme_str()?));
    }
    if location.starts_with('/') {
        return Some(format!("{origin}{location}"));
    }
    let directory = base.path().rsplit_once('/').map_or("", |(d, _)| d);
    Some(format!("{origin}{directory}/{location}"))
}
