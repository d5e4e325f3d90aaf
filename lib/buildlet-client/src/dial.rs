//! Where connections to a worker come from.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use burrow_revdial::{BoxStream, Trust};
use futures_util::future::BoxFuture;
use rustls::pki_types::ServerName;
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;

/// Opens connections on which a worker answers HTTP/1.1.
pub trait Dial: Send + Sync + 'static {
    /// A new connection. The caller sets the limit.
    fn dial(&self) -> BoxFuture<'_, io::Result<BoxStream>>;
}

/// Longest path the kernel takes for a Unix socket on every system (macOS: 104 with its NUL).
const MAX_SOCKET_PATH: usize = 100;

pub(crate) struct Unix(pub(crate) PathBuf);

impl Dial for Unix {
    fn dial(&self) -> BoxFuture<'_, io::Result<BoxStream>> {
        Box::pin(async move { Ok(Box::new(connect_unix(&self.0).await?) as BoxStream) })
    }
}

/// Connects to a Unix socket at a path of any length.
///
/// # Errors
/// I/O errors; on systems other than Linux, [`io::ErrorKind::InvalidInput`] for paths over 100 bytes.
pub async fn connect_unix(path: &Path) -> io::Result<UnixStream> {
    if path.as_os_str().len() <= MAX_SOCKET_PATH {
        return UnixStream::connect(path).await;
    }
    #[cfg(target_os = "linux")]
    {
        use std::os::fd::AsRawFd;

        use rustix::fs::{Mode, OFlags, open};

        // The kernel limits the length of the address, not of the path it leads to.
        let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not the path of a socket"));
        };
        let directory = open(directory, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        let short = Path::new("/proc/self/fd").join(directory.as_raw_fd().to_string()).join(name);
        UnixStream::connect(short).await
    }
    #[cfg(not(target_os = "linux"))]
    Err(io::Error::new(
        io::ErrorKind::InvalidInput,
        format!("the socket path {} is longer than {MAX_SOCKET_PATH} bytes; use a shorter data directory", path.display()),
    ))
}

pub(crate) struct Tcp(pub(crate) String);

impl Dial for Tcp {
    fn dial(&self) -> BoxFuture<'_, io::Result<BoxStream>> {
        Box::pin(async move {
            let stream = TcpStream::connect(&self.0).await?;
            stream.set_nodelay(true)?;
            Ok(Box::new(stream) as BoxStream)
        })
    }
}

pub(crate) struct Tls {
    address: String,
    name: ServerName<'static>,
    connector: TlsConnector,
}

impl Tls {
    pub(crate) fn new(address: &str, trust: &Trust) -> io::Result<Tls> {
        let invalid = |what: String| io::Error::new(io::ErrorKind::InvalidInput, what);
        let host = address
            .rsplit_once(':')
            .map(|(host, _)| host.trim_start_matches('[').trim_end_matches(']'))
            .ok_or_else(|| invalid(format!("{address:?} is not host:port")))?;
        let name = ServerName::try_from(host.to_owned()).map_err(|_| invalid(format!("{host:?} is not a host name")))?;
        let config = burrow_revdial::client_config(trust).map_err(|e| invalid(e.to_string()))?;
        Ok(Tls { address: address.to_owned(), name, connector: TlsConnector::from(Arc::new(config)) })
    }
}

impl Dial for Tls {
    fn dial(&self) -> BoxFuture<'_, io::Result<BoxStream>> {
        Box::pin(async move {
            let tcp = TcpStream::connect(&self.address).await?;
            tcp.set_nodelay(true)?;
            Ok(Box::new(self.connector.connect(self.name.clone(), tcp).await?) as BoxStream)
        })
    }
}
