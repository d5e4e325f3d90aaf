//! How a machine reaches its coordinator: TCP, if need be through a proxy, then TLS (`spec/buildlet.md` §6.1, §2.3).

use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use rustls::pki_types::ServerName;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::stream::read_response_head;
use crate::{BadCertificate, BoxStream, Trust, client_config};

/// Limit for the TCP connection.
const TCP_LIMIT: Duration = Duration::from_secs(10);
/// Limit for the TLS handshake.
const TLS_LIMIT: Duration = Duration::from_secs(30);

/// Opens connections to one peer. The caller sets limits of its own around it.
pub trait Connect: Send + Sync + 'static {
    /// A new connection.
    fn connect(&self) -> BoxFuture<'_, io::Result<BoxStream>>;
}

/// A coordinator's TLS address.
#[derive(Clone)]
pub struct Coordinator {
    host: String,
    port: u16,
    name: ServerName<'static>,
    tls: TlsConnector,
    proxy: Option<(String, u16)>,
}

impl std::fmt::Debug for Coordinator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Coordinator({}:{})", self.host, self.port)
    }
}

impl Coordinator {
    /// `address` is `host`, `host:port` or `[v6]:port`; the default port is 443.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidInput`] for an address that is none, or a CA file without certificates.
    pub fn new(address: &str, trust: &Trust) -> io::Result<Coordinator> {
        let (host, port) = split_address(address, 443).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, format!("{address:?} is not host:port")))?;
        let name = ServerName::try_from(host.clone()).map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, format!("{host:?} is not a host name")))?;
        let config = client_config(trust).map_err(|e: BadCertificate| io::Error::new(io::ErrorKind::InvalidInput, e))?;
        Ok(Coordinator { host, port, name, tls: TlsConnector::from(Arc::new(config)), proxy: None })
    }

    /// Sets the proxy (`host:port` or an `http://` address, default port 80) that is tried with `CONNECT` after a direct connection failed.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidInput`] for an address that is none.
    pub fn with_proxy(mut self, proxy: &str) -> io::Result<Coordinator> {
        let address = proxy.strip_prefix("http://").unwrap_or(proxy);
        let address = address.split('/').next().unwrap_or_default();
        let parts = split_address(address, 80).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "the proxy is not http://host:port"))?;
        self.proxy = Some(parts);
        Ok(self)
    }

    async fn tcp(&self) -> io::Result<TcpStream> {
        let direct = within(TCP_LIMIT, "connecting", TcpStream::connect((self.host.as_str(), self.port))).await;
        let (error, (proxy_host, proxy_port)) = match (direct, &self.proxy) {
            (Ok(stream), _) => return Ok(stream),
            (Err(error), None) => return Err(error),
            (Err(error), Some(proxy)) => (error, proxy),
        };
        tracing::debug!(%error, proxy = %proxy_host, "no direct connection to the coordinator; trying the proxy");
        let through = async {
            let mut stream = TcpStream::connect((proxy_host.as_str(), *proxy_port)).await?;
            let target = if self.host.contains(':') { format!("[{}]:{}", self.host, self.port) } else { format!("{}:{}", self.host, self.port) };
            let request = format!("CONNECT {target} HTTP/1.1\r\nHost: {proxy_host}\r\n\r\n");
            stream.write_all(request.as_bytes()).await?;
            let mut surplus = Vec::new();
            let head = read_response_head(&mut stream, &mut surplus).await?;
            if head.status != 200 || !surplus.is_empty() {
                return Err(io::Error::other(format!("the proxy answered {} {}", head.status, head.reason)));
            }
            Ok(stream)
        };
        within(TCP_LIMIT, "connecting through the proxy", through).await
    }
}

impl Connect for Coordinator {
    fn connect(&self) -> BoxFuture<'_, io::Result<BoxStream>> {
        Box::pin(async move {
            let tcp = self.tcp().await?;
            tcp.set_nodelay(true)?;
            crate::tls::set_keepalive(&tcp);
            let tls = within(TLS_LIMIT, "the TLS handshake", self.tls.connect(self.name.clone(), tcp)).await?;
            Ok(Box::new(tls) as BoxStream)
        })
    }
}

async fn within<T>(limit: Duration, what: &str, work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    match timeout(limit, work).await {
        Ok(result) => result,
        Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, format!("{what} took more than {} s", limit.as_secs()))),
    }
}

/// Splits `host`, `host:port`, `[v6]` and `[v6]:port`.
fn split_address(address: &str, default_port: u16) -> Option<(String, u16)> {
    let (host, port) = if let Some(rest) = address.strip_prefix('[') {
        let (host, rest) = rest.split_once(']')?;
        (host, rest.strip_prefix(':'))
    } else {
        match address.rsplit_once(':') {
            Some((host, _)) if host.contains(':') => (address, None),
            Some((host, port)) => (host, Some(port)),
            None => (address, None),
        }
    };
    let port = match port {
        Some(port) => port.parse().ok()?,
        None => default_port,
    };
    (!host.is_empty()).then(|| (host.to_owned(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_split() {
        for (address, host, port) in [
            ("ci.example", "ci.example", 443),
            ("ci.example:8119", "ci.example", 8119),
            ("[::1]:1", "::1", 1),
            ("[::1]", "::1", 443),
            ("::1", "::1", 443),
            ("10.0.0.1:5", "10.0.0.1", 5),
        ] {
            assert_eq!(split_address(address, 443), Some((host.to_owned(), port)), "{address}");
        }
        for bad in ["", ":1", "h:x", "h:70000", "[::1"] {
            assert_eq!(split_address(bad, 443), None, "{bad}");
        }
    }
}
