//! Opening connections: name, TCP, TLS.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use url::{Host, Url};

use crate::Error;

/// Which certificates are accepted from https servers.
#[derive(Clone, Default)]
pub enum Trust {
    /// Those of the public certificate authorities (Mozilla's list, compiled in).
    #[default]
    PublicRoots,
    /// Those signed by these authorities only: PEM.
    Ca(Vec<u8>),
    /// Both.
    PublicRootsAnd(Vec<u8>),
}

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Trust::PublicRoots => "PublicRoots",
            Trust::Ca(_) => "Ca",
            Trust::PublicRootsAnd(_) => "PublicRootsAnd",
        })
    }
}

pub(crate) fn connector(trust: &Trust) -> Result<TlsConnector, Error> {
    let bad = |what: String| Error::Trust(what);
    let mut roots = RootCertStore::empty();
    if !matches!(trust, Trust::Ca(_)) {
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    if let Trust::Ca(pem) | Trust::PublicRootsAnd(pem) = trust {
        let before = roots.len();
        for certificate in CertificateDer::pem_slice_iter(pem) {
            roots.add(certificate.map_err(|error| bad(error.to_string()))?).map_err(|error| bad(error.to_string()))?;
        }
        if roots.len() == before {
            return Err(bad("no certificate in the PEM text".to_owned()));
        }
    }
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| bad(error.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

/// A connection, encrypted or not.
pub(crate) enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

pub(crate) async fn open(url: &Url, tls: &TlsConnector) -> Result<Stream, Error> {
    let bad = |why: &str| Error::BadUrl { url: crate::request::shown(url), why: why.to_owned() };
    let port = url.port_or_known_default().ok_or_else(|| bad("no port"))?;
    let (host, name) = match url.host().ok_or_else(|| bad("no host"))? {
        Host::Domain(name) => (name.to_owned(), ServerName::try_from(name.to_owned()).map_err(|_| bad("not a host name"))?),
        Host::Ipv4(address) => (address.to_string(), ServerName::from(std::net::IpAddr::from(address))),
        Host::Ipv6(address) => (address.to_string(), ServerName::from(std::net::IpAddr::from(address))),
    };
    let place = || if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
    let no_host = |message: String| Error::NoSuchHost { host: host.clone(), message };
    let addresses = tokio::net::lookup_host((host.as_str(), port)).await.map_err(|error| no_host(error.to_string()))?;
    let mut failed = None;
    let mut connected = None;
    for address in addresses {
        match TcpStream::connect(address).await {
            Ok(stream) => {
                connected = Some(stream);
                break;
            }
            Err(error) => failed = Some(error),
        }
    }
    let tcp = match (connected, failed) {
        (Some(stream), _) => stream,
        (None, Some(error)) => return Err(Error::Connect { host: place(), message: error.to_string() }),
        (None, None) => return Err(no_host("it has no address".to_owned())),
    };
    // Requests are written in one piece, and nothing is gained by waiting for more.
    let _ = tcp.set_nodelay(true);
    if url.scheme() == "http" {
        return Ok(Stream::Plain(tcp));
    }
    match tls.connect(name, tcp).await {
        Ok(stream) => Ok(Stream::Tls(Box::new(stream))),
        // rustls reports what the other end did wrong as invalid data; everything else is the connection's fault.
        Err(error) if error.kind() == io::ErrorKind::InvalidData => Err(Error::Tls { host: place(), message: error.to_string() }),
        Err(error) => Err(Error::Connect { host: place(), message: error.to_string() }),
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Stream::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Stream::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Stream::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(self: Pin<&mut Self>, cx: &mut Context<'_>, bufs: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Stream::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Stream::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Stream::Plain(stream) => stream.is_write_vectored(),
            Stream::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Stream::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
