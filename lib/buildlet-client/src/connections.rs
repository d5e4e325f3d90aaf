//! The client itself: a few idle connections, limits, and the way a request is sent.

use burrow_task::BoxFuture;
use protocol_buildlet::INSTANCE_HEADER;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine;
use burrow_revdial::{BoxStream, Trust};
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use http::{HeaderName, HeaderValue, Method, Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout, timeout_at};

use crate::body::{Body, Chunks};
use crate::dial::{Dial, Tcp, Tls, Unix};
use crate::error::Error;

/// Idle connections kept: one for quick requests, one that was used for a log, and a spare for each.
const MAX_IDLE: usize = 4;
/// Idle connections are closed after a minute (`spec/buildlet.md` §9).
const IDLE_LIMIT: Duration = Duration::from_secs(60);
/// Limit for a new connection.
const DIAL_LIMIT: Duration = Duration::from_secs(20);
/// Limit for the head of an answer, where the request has no limit of its own (`spec/buildlet.md` §9).
pub(crate) const HEAD_LIMIT: Duration = Duration::from_secs(20);
/// Limit for a connection to be ready for a request.
const READY_LIMIT: Duration = Duration::from_secs(1);
/// Longest error text that is kept.
const MAX_ERROR_TEXT: usize = 4096;
/// Longest JSON answer; a tree state with 10,000 dirty paths fits.
const MAX_JSON: usize = 64 << 20;

/// A client of one worker. Clones share their connections.
#[derive(Clone)]
pub struct Client {
    shared: Arc<Shared>,
    /// The start of the worker that requests are meant for.
    instance: Option<HeaderValue>,
}

struct Shared {
    dial: Arc<dyn Dial>,
    authorization: Option<HeaderValue>,
    idle: Mutex<Vec<Wire>>,
}

/// One connection. Dropping it closes it at once, even in the middle of a body.
struct Wire {
    sender: SendRequest<Body>,
    /// Since when it is idle.
    since: Instant,
    task: AbortHandle,
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Client")
    }
}

/// A connection in use; given back when its answer was read to the end, closed when dropped.
pub(crate) struct Lease {
    shared: Arc<Shared>,
    wire: Wire,
}

impl Lease {
    pub(crate) fn give_back(mut self) {
        if self.wire.sender.is_closed() {
            return;
        }
        let now = Instant::now();
        self.wire.since = now;
        let mut idle = self.shared.lock();
        idle.retain(|wire| !wire.sender.is_closed() && now.duration_since(wire.since) < IDLE_LIMIT);
        if idle.len() < MAX_IDLE {
            idle.push(self.wire);
        }
    }
}

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Wire>> {
        // Nothing panics while it is held, and a list of connections is whole at any time.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How a request is sent.
pub(crate) struct Ask {
    pub(crate) doing: &'static str,
    pub(crate) method: Method,
    pub(crate) target: String,
    pub(crate) content_type: Option<&'static str>,
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
    /// Whether doing it twice is the same as doing it once, so that it may be sent again after a kept connection broke.
    pub(crate) repeatable: bool,
    /// Limit until the head of the answer.
    pub(crate) limit: Option<Duration>,
}

impl Ask {
    pub(crate) fn new(doing: &'static str, method: Method, target: impl Into<String>) -> Ask {
        Ask { doing, method, target: target.into(), content_type: None, headers: Vec::new(), repeatable: true, limit: Some(HEAD_LIMIT) }
    }

    pub(crate) fn within(mut self, limit: Duration) -> Ask {
        self.limit = Some(limit);
        self
    }

    pub(crate) fn once(mut self) -> Ask {
        self.repeatable = false;
        self
    }

    pub(crate) fn unlimited(mut self) -> Ask {
        self.limit = None;
        self
    }

    pub(crate) fn content_type(mut self, content_type: &'static str) -> Ask {
        self.content_type = Some(content_type);
        self
    }

    fn request(&self, body: Body, authorization: Option<&HeaderValue>, instance: Option<&HeaderValue>) -> Result<Request<Body>, Error> {
        let mut request = Request::builder()
            .method(self.method.clone())
            .uri(self.target.as_str())
            // Any host is accepted; it must be there in HTTP/1.1.
            .header(HOST, HeaderValue::from_static("buildlet"));
        if let Some(value) = authorization {
            request = request.header(AUTHORIZATION, value.clone());
        }
        if let Some(value) = instance {
            request = request.header(INSTANCE_HEADER, value.clone());
        }
        if let Some(value) = self.content_type {
            request = request.header(CONTENT_TYPE, HeaderValue::from_static(value));
        }
        for (name, value) in &self.headers {
            request = request.header(name.clone(), value.clone());
        }
        request.body(body).map_err(|e| Error::Protocol(format!("the request cannot be sent: {e}")))
    }
}

impl Client {
    /// Over connections which `dial` opens.
    pub fn over(dial: Arc<dyn Dial>) -> Client {
        Client::with(dial, None)
    }

    /// Over a Unix socket, at a path of any length.
    pub fn unix(path: impl Into<PathBuf>) -> Client {
        Client::with(Arc::new(Unix(path.into())), None)
    }

    /// Over plain TCP to `host:port`, with the worker's Basic password if it has one.
    pub fn tcp(address: &str, password: Option<&str>) -> Client {
        Client::with(Arc::new(Tcp(address.to_owned())), password)
    }

    /// Over TLS to `host:port`, with the worker's Basic password if it has one.
    ///
    /// # Errors
    /// [`std::io::ErrorKind::InvalidInput`] for an address that is none or a CA without certificates.
    pub fn tls(address: &str, trust: &Trust, password: Option<&str>) -> std::io::Result<Client> {
        Ok(Client::with(Arc::new(Tls::new(address, trust)?), password))
    }

    fn with(dial: Arc<dyn Dial>, password: Option<&str>) -> Client {
        let authorization = password.and_then(|password| {
            // Workers compare only the password; Go clients send this user name.
            let text = base64::engine::general_purpose::STANDARD.encode(format!("gomote:{password}"));
            let mut value = HeaderValue::from_str(&format!("Basic {text}")).ok()?;
            value.set_sensitive(true);
            Some(value)
        });
        Client { shared: Arc::new(Shared { dial, authorization, idle: Mutex::default() }), instance: None }
    }

    /// The same client, whose requests are meant for one start of the worker only: a worker that was started anew under the same address refuses them with 412,
    /// so that nothing is done twice by asking again.
    #[must_use]
    pub fn pinned(&self, instance: &str) -> Client {
        Client { shared: Arc::clone(&self.shared), instance: HeaderValue::from_str(instance).ok() }
    }

    /// Closes all idle connections: the next request opens a new one. For a worker that came back, or one whose connections hang.
    pub fn forget_idle(&self) {
        self.shared.lock().clear();
    }

    /// A new connection to the worker, for another protocol than this client's.
    ///
    /// # Errors
    /// [`Error::Transport`]
    pub fn connect(&self) -> BoxFuture<'_, Result<BoxStream, Error>> {
        Box::pin(async move {
            match timeout(DIAL_LIMIT, self.shared.dial.dial()).await {
                Ok(Ok(stream)) => Ok(stream),
                Ok(Err(error)) => Err(Error::transport("connecting to the worker", error)),
                Err(_) => Err(Error::timed_out("connecting to the worker", DIAL_LIMIT)),
            }
        })
    }

    async fn fresh(&self) -> Result<Lease, Error> {
        let stream = self.connect().await?;
        let (sender, connection) = http1::Builder::new().handshake(TokioIo::new(stream)).await.map_err(|e| Error::transport("connecting to the worker", e))?;
        let task = burrow_task::spawn(async move {
            if let Err(error) = connection.with_upgrades().await {
                tracing::trace!(%error, "a connection to a worker ended");
            }
        });
        let wire = Wire { sender, since: Instant::now(), task: task.abort_handle() };
        Ok(Lease { shared: self.shared.clone(), wire })
    }

    fn kept(&self) -> Option<Lease> {
        let now = Instant::now();
        let mut idle = self.shared.lock();
        while let Some(wire) = idle.pop() {
            if !wire.sender.is_closed() && now.duration_since(wire.since) < IDLE_LIMIT {
                return Some(Lease { shared: self.shared.clone(), wire });
            }
        }
        None
    }

    /// Sends a request and waits for the head of the answer, whatever its status.
    pub(crate) async fn send(&self, ask: &Ask, body: Body) -> Result<(Response<Incoming>, Lease), Error> {
        match ask.limit {
            None => self.send_unlimited(ask, body).await,
            Some(limit) => match timeout_at(Instant::now() + limit, self.send_unlimited(ask, body)).await {
                Ok(result) => result,
                Err(_) => Err(Error::timed_out(ask.doing, limit)),
            },
        }
    }

    async fn send_unlimited(&self, ask: &Ask, body: Body) -> Result<(Response<Incoming>, Lease), Error> {
        let mut again = ask.repeatable.then(|| body.repeat()).flatten();
        let mut request = ask.request(body, self.shared.authorization.as_ref(), self.instance.as_ref())?;
        loop {
            let (mut lease, kept) = match self.kept() {
                Some(lease) => (lease, true),
                None => (self.fresh().await?, false),
            };
            // A connection is given back when its answer was read, so it is ready at once, unless the worker answered before it had read the request.
            match timeout(READY_LIMIT, lease.wire.sender.ready()).await {
                Ok(Ok(())) => {}
                _ if kept => continue,
                Ok(Err(error)) => return Err(Error::transport(ask.doing, error)),
                Err(_) => return Err(Error::timed_out(ask.doing, READY_LIMIT)),
            }
            match lease.wire.sender.try_send_request(request).await {
                Ok(response) => return Ok((response, lease)),
                Err(mut error) => {
                    if !kept {
                        return Err(Error::transport(ask.doing, error.into_error()));
                    }
                    // The worker may have closed the kept connection just now. If the request was not sent at all, or may be sent twice, use another.
                    request = match (error.take_message(), again.take()) {
                        (Some(unsent), _) => unsent,
                        (None, Some(body)) => {
                            self.forget_idle();
                            ask.request(body, self.shared.authorization.as_ref(), self.instance.as_ref())?
                        }
                        (None, None) => {
                            return Err(Error::transport(ask.doing, error.into_error()));
                        }
                    };
                }
            }
        }
    }

    /// Sends a request and turns any status other than 2xx into [`Error::Refused`].
    pub(crate) async fn ask(&self, ask: Ask, body: Body) -> Result<(Response<()>, Chunks), Error> {
        let streamed = body.is_stream();
        let (response, lease) = self.send(&ask, body).await?;
        let (head, incoming) = response.into_parts();
        let mut chunks = Chunks::new(ask.doing, incoming, lease);
        if !head.status.is_success() && streamed {
            // Most of the request is probably still to be sent, and nobody reads it.
            chunks.do_not_keep();
        }
        if head.status.is_success() {
            return Ok((Response::from_parts(head, ()), chunks));
        }
        let text = match timeout(HEAD_LIMIT, chunks.beginning(MAX_ERROR_TEXT)).await {
            Ok(text) => error_text(&text),
            Err(_) => String::new(),
        };
        Err(Error::Refused { status: head.status.as_u16(), text })
    }

    /// Sends a request whose answer is read whole.
    pub(crate) async fn whole(&self, ask: Ask, body: Body, limit: usize) -> Result<Bytes, Error> {
        let doing = ask.doing;
        let (_, mut chunks) = self.ask(ask, body).await?;
        match timeout(HEAD_LIMIT, chunks.all(limit)).await {
            Ok(result) => result,
            Err(_) => Err(Error::timed_out(doing, HEAD_LIMIT)),
        }
    }

    /// Sends a request whose answer is JSON.
    pub(crate) async fn json<T: DeserializeOwned>(&self, ask: Ask, body: Body) -> Result<T, Error> {
        let doing = ask.doing;
        let bytes = self.whole(ask, body, MAX_JSON).await?;
        serde_json::from_slice(&bytes).map_err(|e| Error::Protocol(format!("{doing}: {e}")))
    }
}

/// The sentence in an error answer: the modern endpoints' JSON, or the classic ones' text.
fn error_text(bytes: &[u8]) -> String {
    match serde_json::from_slice::<protocol_buildlet::ErrorBody>(bytes) {
        Ok(body) => body.error,
        Err(_) => String::from_utf8_lossy(bytes).trim().to_owned(),
    }
}
