//! Connections: how many, how slow they may be, and whether they are encrypted.
//!
//! The web framework's own loop has no limit for a request's head, so that a few thousand clients that never finish one would take every socket.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use burrow_task::BoxFuture;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt as _;

use crate::network::Peer;

/// A client that does not finish its handshake by then is sent away.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// The head of a request must be there by then; a kept connection that asks nothing is closed then.
const HEAD: Duration = Duration::from_secs(60);
/// Largest head, bytes.
const HEAD_BYTES: usize = 32 << 10;
/// How long open connections have to end when the service does.
const FAREWELL: Duration = Duration::from_secs(5);

/// Files that are open besides connections, at most: the log, databases of the system, sockets that wait to be closed.
const OTHER_FILES: usize = 200;

/// Lets this process hold as many connections as the system allows, and says how many of the wished ones that is.
pub fn make_room(connections: usize) -> usize {
    #[cfg(unix)]
    {
        use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
        let limit = getrlimit(Resource::Nofile);
        // What is refused leaves the limit as it is.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
        let files = getrlimit(Resource::Nofile).current.and_then(|files| usize::try_from(files).ok()).unwrap_or(usize::MAX);
        let room = connections.min(files.saturating_sub(OTHER_FILES).max(OTHER_FILES));
        if room < connections {
            tracing::warn!(
                wished = connections,
                room,
                files,
                "The system allows fewer connections than are wished (`limits.connections`): raise the limit of open files."
            );
        }
        room
    }
    #[cfg(not(unix))]
    connections
}

/// A bound address and what is answered there.
pub struct Server {
    /// Where.
    pub listener: TcpListener,
    /// With TLS, or without.
    pub tls: Option<TlsAcceptor>,
    /// Connections at a time, of all servers that share it.
    pub room: Arc<Semaphore>,
}

impl Server {
    /// Serves until `shutdown`; then requests that are being answered may end.
    ///
    /// # Errors
    /// The listener fails for good.
    pub fn run(self, router: Router, shutdown: CancellationToken) -> BoxFuture<'static, io::Result<()>> {
        Box::pin(async move {
            let tasks = TaskTracker::new();
            let kill = CancellationToken::new();
            loop {
                // Those who come when there is no room wait in the system's queue.
                let permit = tokio::select! {
                    permit = Arc::clone(&self.room).acquire_owned() => permit,
                    () = shutdown.cancelled() => break,
                };
                let accepted = tokio::select! {
                    accepted = self.listener.accept() => accepted,
                    () = shutdown.cancelled() => break,
                };
                let (stream, address) = match accepted {
                    Ok(accepted) => accepted,
                    Err(error) if is_passing(&error) => {
                        // Out of file descriptors, most likely: a moment later some are free again.
                        tokio::time::sleep(Duration::from_millis(50)).await;
                        continue;
                    }
                    Err(error) => return Err(error),
                };
                let (tls, router) = (self.tls.clone(), router.clone());
                let (shutdown, kill) = (shutdown.clone(), kill.clone());
                tasks.spawn(burrow_task::boxed(async move {
                    tokio::select! {
                        () = converse(stream, address, tls, router, shutdown) => {}
                        () = kill.cancelled() => {}
                    }
                    drop(permit);
                }));
            }
            drop(self.listener);
            tasks.close();
            if tokio::time::timeout(FAREWELL, tasks.wait()).await.is_err() {
                kill.cancel();
                tasks.wait().await;
            }
            Ok(())
        })
    }
}

/// Whether accepting may work again: the listener itself is whole.
fn is_passing(error: &io::Error) -> bool {
    !matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::NotConnected | io::ErrorKind::Unsupported)
}

async fn converse(stream: TcpStream, address: SocketAddr, tls: Option<TlsAcceptor>, router: Router, shutdown: CancellationToken) {
    // Answers are whole: nothing is gained by waiting for more bytes.
    let _ = stream.set_nodelay(true);
    let peer = Peer { address, tls: tls.is_some() };
    match tls {
        None => speak(TokioIo::new(stream), peer, router, shutdown).await,
        Some(acceptor) => {
            if let Ok(Ok(stream)) = tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await {
                speak(TokioIo::new(stream), peer, router, shutdown).await;
            }
        }
    }
}

async fn speak(io: impl hyper::rt::Read + hyper::rt::Write + Unpin, peer: Peer, router: Router, shutdown: CancellationToken) {
    let service = service_fn(move |request: axum::http::Request<Incoming>| {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(peer);
        router.clone().oneshot(request)
    });
    let mut builder = hyper::server::conn::http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEAD).max_buf_size(HEAD_BYTES).half_close(false);
    let connection = builder.serve_connection(io, service);
    let mut connection = std::pin::pin!(connection);
    // What goes wrong on a connection is the peer's business.
    tokio::select! {
        _ = connection.as_mut() => return,
        () = shutdown.cancelled() => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ = connection.await;
}
