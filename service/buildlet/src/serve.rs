//! Listening: sockets, TLS, and the end of it all.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::Secret;
use crate::fetch::provider;
use crate::http::serve_connection;
use crate::worker::Worker;

/// A handshake that takes longer is given up.
const HANDSHAKE: Duration = Duration::from_secs(30);

/// After an accept that failed (no file descriptors left), the next is tried so much later.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Reads certificate and key.
pub(crate) fn tls_acceptor(certificate: &str, key: &Secret) -> io::Result<TlsAcceptor> {
    let failed = |what: &str, e: &dyn std::fmt::Display| io::Error::new(io::ErrorKind::InvalidInput, format!("the TLS {what} cannot be read: {e}"));
    let chain: Vec<_> = CertificateDer::pem_slice_iter(certificate.as_bytes()).collect::<Result<_, _>>().map_err(|e| failed("certificate", &e))?;
    let key = PrivateKeyDer::from_pem_slice(key.expose().as_bytes()).map_err(|e| failed("key", &e))?;
    let config = rustls::ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(|e| failed("certificate or key", &e))?;
    Ok(Arc::new(config).into())
}

/// Accepts TCP connections until the shutdown.
pub(crate) async fn tcp(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    password: Option<Arc<Secret>>,
    worker: Arc<Worker>,
    shutdown: CancellationToken,
    connections: TaskTracker,
) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = shutdown.cancelled() => return,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(e) => {
                tracing::warn!(error = %e, "A connection could not be accepted.");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        tune(&stream);
        let (worker, password, shutdown, tls) = (Arc::clone(&worker), password.clone(), shutdown.clone(), tls.clone());
        connections.spawn(burrow_task::boxed(async move {
            match tls {
                None => serve_connection(worker, password, Box::new(stream), shutdown).await,
                Some(tls) => match tokio::time::timeout(HANDSHAKE, tls.accept(stream)).await {
                    Ok(Ok(stream)) => serve_connection(worker, password, Box::new(stream), shutdown).await,
                    Ok(Err(e)) => tracing::debug!(error = %e, "A TLS handshake failed."),
                    Err(_) => tracing::debug!("A TLS handshake took too long."),
                },
            }
        }));
    }
}

/// No delay for small answers; a peer that vanished without a word is noticed (spec buildlet.md §2.4: 3 minutes).
pub(crate) fn tune(stream: &TcpStream) {
    let _ = stream.set_nodelay(true);
    #[cfg(unix)]
    {
        let _ = rustix::net::sockopt::set_socket_keepalive(stream, true);
        #[cfg(any(target_os = "linux", target_os = "freebsd", target_os = "netbsd"))]
        let _ = rustix::net::sockopt::set_tcp_keepidle(stream, Duration::from_secs(180));
    }
}

/// Accepts on a Unix socket until the shutdown, then removes it.
#[cfg(unix)]
pub(crate) async fn unix(listener: tokio::net::UnixListener, worker: Arc<Worker>, shutdown: CancellationToken, connections: TaskTracker) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = shutdown.cancelled() => return,
        };
        match accepted {
            Ok((stream, _)) => {
                connections.spawn(burrow_task::boxed(serve_connection(Arc::clone(&worker), None, Box::new(stream), shutdown.clone())));
            }
            Err(e) => {
                tracing::warn!(error = %e, "A connection could not be accepted.");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Binds a Unix socket that only we may open. A socket left by a dead process is replaced, a living one's is not.
#[cfg(unix)]
pub(crate) fn bind_unix(path: &Path) -> io::Result<tokio::net::UnixListener> {
    use std::os::unix::fs::PermissionsExt as _;
    let short = ShortPath::of(path)?;
    if path.exists() {
        if std::os::unix::net::UnixStream::connect(short.path()).is_ok() {
            return Err(io::Error::new(io::ErrorKind::AddrInUse, format!("another process listens on {}", path.display())));
        }
        std::fs::remove_file(path)?;
    }
    let listener = std::os::unix::net::UnixListener::bind(short.path())?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    listener.set_nonblocking(true)?;
    tokio::net::UnixListener::from_std(listener)
}

/// Socket addresses hold about a hundred bytes; a longer path goes by way of its open directory.
#[cfg(unix)]
struct ShortPath {
    path: std::path::PathBuf,
    _dir: Option<std::fs::File>,
}

#[cfg(unix)]
impl ShortPath {
    fn of(path: &Path) -> io::Result<Self> {
        use std::os::fd::AsRawFd as _;
        if path.as_os_str().len() <= 100 || !cfg!(target_os = "linux") {
            return Ok(Self { path: path.to_path_buf(), _dir: None });
        }
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the socket's path has no name"));
        };
        let dir = std::fs::File::open(parent)?;
        Ok(Self { path: std::path::PathBuf::from(format!("/proc/self/fd/{}", dir.as_raw_fd())).join(name), _dir: Some(dir) })
    }

    fn path(&self) -> &Path {
        &self.path
    }
}
