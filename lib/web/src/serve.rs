//! Serving a router on a socket, plain or over TLS.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::serve::ListenerExt as _;
use burrow_task::BoxFuture;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// A client that does not finish its handshake by then is sent away.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// Serves the router until `ended`, over TLS if there is an acceptor. Answers under way may end; whoever cannot wait for them aborts the task.
///
/// Services come by here, but for pubsubhelper, which must know its peers: HTTP is compiled once for each kind of connection.
///
/// # Panics
/// Outside a tokio runtime.
pub fn serve(
    listener: TcpListener,
    acceptor: Option<TlsAcceptor>,
    router: Router,
    ended: impl Future<Output = ()> + Send + 'static,
) -> JoinHandle<io::Result<()>> {
    start(listener, acceptor, router, burrow_task::boxed(ended))
}

fn start(listener: TcpListener, acceptor: Option<TlsAcceptor>, router: Router, ended: BoxFuture<'static, ()>) -> JoinHandle<io::Result<()>> {
    burrow_task::spawn(async move {
        match acceptor {
            None => axum::serve(listener.tap_io(prompt), router).with_graceful_shutdown(ended).await,
            Some(acceptor) => axum::serve(Listener::new(listener, acceptor)?, router).with_graceful_shutdown(ended).await,
        }
    })
}

/// Answers are whole: nothing is gained by waiting for more bytes, and a kept connection, or gRPC's, would wait 40 ms.
fn prompt(stream: &mut TcpStream) {
    let _ = stream.set_nodelay(true);
}

/// Accepts connections and hands them out when their handshake is done; a slow client delays nobody.
struct Listener {
    ready: mpsc::Receiver<(TlsStream<TcpStream>, SocketAddr)>,
    address: SocketAddr,
}

impl Listener {
    /// Starts to accept; ends when the listener is dropped.
    fn new(listener: TcpListener, acceptor: TlsAcceptor) -> io::Result<Listener> {
        let address = listener.local_addr()?;
        let (send, ready) = mpsc::channel(64);
        burrow_task::spawn(async move {
            loop {
                let accepted = tokio::select! {
                    accepted = listener.accept() => accepted,
                    () = send.closed() => return,
                };
                let Ok((mut stream, peer)) = accepted else {
                    // Out of file descriptors, most likely: a moment later some are free again.
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                };
                let (acceptor, send) = (acceptor.clone(), send.clone());
                burrow_task::spawn(async move {
                    prompt(&mut stream);
                    if let Ok(Ok(stream)) = tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await {
                        let _ = send.send((stream, peer)).await;
                    }
                });
            }
        });
        Ok(Listener { ready, address })
    }
}

impl axum::serve::Listener for Listener {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        match self.ready.recv().await {
            Some(accepted) => accepted,
            // The accepting task never ends before this does.
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        Ok(self.address)
    }
}
