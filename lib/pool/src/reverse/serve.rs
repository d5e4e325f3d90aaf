//! The port machines connect to: TLS, one request head, and a decision.
//!
//! Heads are read by hand and routed before anybody looks at `Host`, which Go's buildlets send empty (`spec/buildlet.md` T3); after a 101 the connection
//! is not HTTP any more.

use std::fmt;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use burrow_revdial::{BoxStream, Prefixed};
use protocol_revdial::{HeadError, Refusal, RequestHead, SWITCHING_CLASSIC, error_answer};
use rustls::ServerConfig;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::register::{enroll, register};
use super::{ReversePool, Shared};

/// Limit for the TLS handshake (`spec/buildlet.md` §6.1).
const TLS_LIMIT: Duration = Duration::from_secs(30);
/// Limit for the request head, and for the body of an enrolment.
const HEAD_LIMIT: Duration = Duration::from_secs(10);
/// Connections whose handshake or head is not done yet; more wait in the kernel's queue.
const MAX_STARTING: usize = 2048;
/// Longest enrolment request.
const MAX_ENROLL: u64 = 16 * 1024;
/// Pause after an accept that failed, usually for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A connection the pool has no use for, as it came: its request has not been answered.
pub struct PassedOn {
    /// The connection, beginning with the request.
    pub stream: BoxStream,
    /// Who sent it.
    pub peer: SocketAddr,
    /// Whether it came over TLS.
    pub tls: bool,
}

impl fmt::Debug for PassedOn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PassedOn({}, tls: {})", self.peer, self.tls)
    }
}

/// Takes connections the pool has no use for; must not block.
pub type Fallback = Arc<dyn Fn(PassedOn) + Send + Sync>;

impl ReversePool {
    /// Serves a port until `shutdown`. Connections that are none of the pool's go to `fallback`, or get 404. Machines that joined stay connected after
    /// its return; [`ReversePool::stop_all`] lets them go.
    pub async fn serve(&self, listener: TcpListener, tls: Arc<ServerConfig>, fallback: Option<Fallback>, shutdown: impl Future<Output = ()>) {
        let starting = Arc::new(Semaphore::new(MAX_STARTING));
        let mut connections = JoinSet::new();
        let mut shutdown = std::pin::pin!(shutdown);
        loop {
            let accepted = tokio::select! {
                () = &mut shutdown => return,
                Some(done) = connections.join_next() => {
                    if let Err(error) = done && error.is_panic() {
                        tracing::error!(%error, "the task of a connection ended badly");
                    }
                    continue;
                }
                accepted = async {
                    let permit = starting.clone().acquire_owned().await;
                    (listener.accept().await, permit)
                } => accepted,
            };
            let (tcp, peer, permit) = match accepted {
                (Ok((tcp, peer)), Ok(permit)) => (tcp, peer, permit),
                (Err(error), _) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    sleep(ACCEPT_PAUSE).await;
                    continue;
                }
                (_, Err(_)) => return,
            };
            let (shared, tls, fallback) = (self.shared.clone(), tls.clone(), fallback.clone());
            connections.spawn(burrow_task::boxed(async move {
                let result = connection(&shared, tcp, peer, tls, fallback, permit).await;
                if let Err(error) = result {
                    tracing::debug!(%peer, %error, "a connection ended before it was of use");
                }
            }));
        }
    }
}

async fn connection(
    shared: &Arc<Shared>,
    tcp: TcpStream,
    peer: SocketAddr,
    config: Arc<ServerConfig>,
    fallback: Option<Fallback>,
    permit: tokio::sync::OwnedSemaphorePermit,
) -> io::Result<()> {
    tcp.set_nodelay(true)?;
    burrow_revdial::set_keepalive(&tcp);
    let mut first = [0];
    let late = || io::Error::from(io::ErrorKind::TimedOut);
    if timeout(HEAD_LIMIT, tcp.peek(&mut first)).await.map_err(|_| late())?? == 0 {
        return Ok(());
    }
    // A TLS connection begins with a handshake record.
    let tls = first == [0x16];
    let mut stream: BoxStream = if tls { Box::new(timeout(TLS_LIMIT, burrow_revdial::accept(config, tcp)).await.map_err(|_| late())??) } else { Box::new(tcp) };
    let mut buffer = Vec::with_capacity(1024);
    let head = match timeout(HEAD_LIMIT, kept_head(&mut stream, &mut buffer)).await.map_err(|_| late())? {
        Ok(head) => head,
        Err(error) => {
            if let Some(bad) = error.get_ref().and_then(|e| e.downcast_ref::<HeadError>()) {
                let status = if *bad == HeadError::TooLong { 431 } else { 400 };
                stream.write_all(&error_answer(status, &bad.to_string(), &[])).await?;
                return stream.shutdown().await;
            }
            return Err(error);
        }
    };
    drop(permit);
    let body = buffer.split_off(head.len.min(buffer.len()));
    match head.path() {
        "/reverse" if tls => return register(shared, stream, &head, &body, peer.to_string()).await,
        "/reverse" => stream.write_all(&Refusal::RegistrationNotTls.answer()).await?,
        "/revdial" => return pick_up(shared, stream, &head, body, tls).await,
        "/enroll" if tls => {
            let (status, answer) = match enrolment(&mut stream, &head, body).await? {
                Ok(body) => enroll(shared, &body).await,
                Err((status, why)) => (status, serde_json::json!({ "error": why }).to_string().into_bytes()),
            };
            stream.write_all(&json_answer(status, &answer)).await?;
        }
        _ => match fallback {
            Some(fallback) => {
                buffer.extend_from_slice(&body);
                fallback(PassedOn { stream: Prefixed::new(buffer, stream).boxed(), peer, tls });
                return Ok(());
            }
            None => stream.write_all(&error_answer(404, "404 page not found", &[])).await?,
        },
    }
    stream.shutdown().await
}

/// Reads a head without taking it out of the buffer, so that the request can be passed on as it came.
async fn kept_head(stream: &mut BoxStream, buffer: &mut Vec<u8>) -> io::Result<RequestHead> {
    loop {
        match RequestHead::parse(buffer) {
            Ok(Some(head)) => return Ok(head),
            Ok(None) => {}
            Err(error) => return Err(io::Error::new(io::ErrorKind::InvalidData, error)),
        }
        if stream.read_buf(buffer).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

async fn pick_up(shared: &Shared, mut stream: BoxStream, head: &RequestHead, surplus: Vec<u8>, tls: bool) -> io::Result<()> {
    let claimed = if !tls {
        Err(Refusal::PickupNotTls)
    } else if head.method != "GET" {
        Err(Refusal::PickupMethod)
    } else {
        shared.dialers.claim(&head.target)
    };
    match claimed {
        Ok(pickup) => {
            stream.write_all(SWITCHING_CLASSIC).await?;
            // In a TLS record of its own, before the first request (T2).
            stream.flush().await?;
            pickup.deliver(Prefixed::new(surplus, stream).boxed());
            Ok(())
        }
        Err(refusal) => {
            stream.write_all(&refusal.answer()).await?;
            stream.shutdown().await
        }
    }
}

/// The body of an enrolment, or why it is refused.
async fn enrolment(stream: &mut BoxStream, head: &RequestHead, mut body: Vec<u8>) -> io::Result<Result<Vec<u8>, (u16, &'static str)>> {
    if head.method != "POST" {
        return Ok(Err((405, "enrol with POST")));
    }
    let length = match head.content_length() {
        Some(length) if length <= MAX_ENROLL => length as usize,
        Some(_) => return Ok(Err((413, "the request is too long"))),
        None => return Ok(Err((400, "send the request with Content-Length"))),
    };
    let rest = async {
        while body.len() < length {
            if stream.read_buf(&mut body).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok::<(), io::Error>(())
    };
    timeout(HEAD_LIMIT, rest).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
    body.truncate(length);
    Ok(Ok(body))
}

fn json_answer(status: u16, body: &[u8]) -> Vec<u8> {
    let reason = if status == 200 { "OK" } else { "Refused" };
    let mut out = format!(
        "HTTP/1.1 {status} {reason}\r\nContent-Type: application/json\r\nCache-Control: no-store\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    )
    .into_bytes();
    out.extend_from_slice(body);
    out
}
