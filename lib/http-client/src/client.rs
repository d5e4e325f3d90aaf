//! The client itself: kept connections, and the way a request is sent.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use burrow_task::BoxFuture;
use bytes::Bytes;
use http::header::{HOST, LOCATION, USER_AGENT};
use http::{HeaderValue, Uri};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsConnector;
use url::Url;

use crate::connect;
use crate::request::shown;
use crate::{Error, Request, Response, Trust};

/// Idle connections kept for one origin.
const MAX_IDLE: usize = 8;

/// Limit for a kept connection to be ready for a request; then another one is used.
const READY_LIMIT: Duration = Duration::from_secs(1);

/// Limits and identity of a client.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `User-Agent` of every request that has none of its own.
    pub user_agent: String,
    /// Which certificates are accepted.
    pub trust: Trust,
    /// Name look-up, TCP and TLS together.
    pub connect_limit: Duration,
    /// From sending to the head of the answer, for each hop.
    pub head_limit: Duration,
    /// Longest silence within a body.
    pub stall_limit: Duration,
    /// How long an idle connection is kept.
    pub idle_limit: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            user_agent: concat!("burrow/", env!("CARGO_PKG_VERSION")).to_owned(),
            trust: Trust::PublicRoots,
            connect_limit: Duration::from_secs(20),
            head_limit: Duration::from_secs(30),
            stall_limit: Duration::from_secs(60),
            idle_limit: Duration::from_secs(60),
        }
    }
}

/// A client. Clones share their connections.
#[derive(Clone)]
pub struct Client {
    shared: Arc<Shared>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Client")
    }
}

struct Shared {
    settings: Settings,
    agent: HeaderValue,
    tls: TlsConnector,
    idle: Mutex<HashMap<String, Vec<Wire>>>,
}

/// One connection. Dropping it closes it at once, even in the middle of a body.
struct Wire {
    sender: SendRequest<Full<Bytes>>,
    /// Since when it is idle.
    since: Instant,
    task: AbortHandle,
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A connection in use; given back when its answer was read to the end, closed when dropped.
pub(crate) struct Lease {
    shared: Arc<Shared>,
    origin: String,
    wire: Wire,
}

impl Lease {
    pub(crate) fn give_back(mut self) {
        if self.wire.sender.is_closed() {
            return;
        }
        self.wire.since = Instant::now();
        let limit = self.shared.settings.idle_limit;
        let mut idle = self.shared.lock();
        for wires in idle.values_mut() {
            wires.retain(|wire| !wire.sender.is_closed() && wire.since.elapsed() < limit);
        }
        idle.retain(|_, wires| !wires.is_empty());
        let wires = idle.entry(self.origin).or_default();
        if wires.len() < MAX_IDLE {
            wires.push(self.wire);
        }
    }

    pub(crate) fn stall_limit(&self) -> Duration {
        self.shared.settings.stall_limit
    }
}

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Vec<Wire>>> {
        // Nothing panics while it is held, and a list of connections is whole at any time.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Client {
    /// A client without connections.
    ///
    /// # Errors
    /// [`Error::Trust`], or [`Error::BadHeader`] for a user agent that cannot be sent.
    pub fn new(settings: Settings) -> Result<Client, Error> {
        let agent = HeaderValue::from_str(&settings.user_agent).map_err(|_| Error::BadHeader { name: USER_AGENT.to_string() })?;
        let tls = connect::connector(&settings.trust)?;
        Ok(Client { shared: Arc::new(Shared { settings, agent, tls, idle: Mutex::default() }) })
    }

    /// Closes all idle connections.
    pub fn forget_idle(&self) {
        self.shared.lock().clear();
    }

    /// Sends a request, follows redirects as it says, and waits for the head of the answer, whatever its status.
    ///
    /// # Errors
    /// Any [`Error`] but those of bodies.
    pub fn send(&self, request: Request) -> BoxFuture<'_, Result<Response, Error>> {
        Box::pin(async move {
            let limit = request.redirects;
            let begun = shown(&request.url);
            let mut request = request;
            let mut followed = 0;
            loop {
                let (head, body, lease) = self.hop(&request).await?;
                let status = head.status.as_u16();
                let location = match head.headers.get(LOCATION).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned()) {
                    Some(location) if limit > 0 && matches!(status, 301 | 302 | 303 | 307 | 308) => location,
                    _ => return Ok(Response::new(request.url.to_string(), head, body, lease)),
                };
                if followed == limit {
                    return Err(Error::TooManyRedirects { url: begun, limit });
                }
                followed += 1;
                request = request.redirected(status, &location)?;
            }
        })
    }

    async fn hop(&self, request: &Request) -> Result<(http::response::Parts, Incoming, Lease), Error> {
        let origin = request.url.origin().ascii_serialization();
        let limit = request.head_limit.unwrap_or(self.shared.settings.head_limit);
        let mut wired = self.wired(request)?;
        let mut may_repeat = true;
        loop {
            let (mut lease, kept) = match self.kept(&origin).filter(|_| may_repeat) {
                Some(lease) => (lease, true),
                None => (self.fresh(&request.url, &origin).await?, false),
            };
            // A connection is given back when its answer was read, so it is ready at once, unless the server answered before it had read the request.
            if kept && !matches!(timeout(READY_LIMIT, lease.wire.sender.ready()).await, Ok(Ok(()))) {
                continue;
            }
            let asked = timeout(limit, lease.wire.sender.try_send_request(wired)).await;
            let mut error = match asked {
                Err(_) => return Err(Error::Timeout { doing: "waiting for", url: shown(&request.url), limit }),
                Ok(Ok(response)) => {
                    let (head, body) = response.into_parts();
                    return Ok((head, body, lease));
                }
                Ok(Err(error)) => error,
            };
            let unsent = error.take_message();
            let broken = Error::Broken { url: shown(&request.url), message: chain(&error.into_error()) };
            // The server may have closed the kept connection just now. If the request was not sent at all, or may be sent twice, use a new one.
            if !kept {
                return Err(broken);
            }
            may_repeat = unsent.is_some();
            wired = match unsent {
                Some(unsent) => unsent,
                None if request.is_repeatable() => self.wired(request)?,
                None => return Err(broken),
            };
        }
    }

    fn kept(&self, origin: &str) -> Option<Lease> {
        let limit = self.shared.settings.idle_limit;
        let mut idle = self.shared.lock();
        let wires = idle.get_mut(origin)?;
        while let Some(wire) = wires.pop() {
            if !wire.sender.is_closed() && wire.since.elapsed() < limit {
                return Some(Lease { shared: Arc::clone(&self.shared), origin: origin.to_owned(), wire });
            }
        }
        None
    }

    async fn fresh(&self, url: &Url, origin: &str) -> Result<Lease, Error> {
        let limit = self.shared.settings.connect_limit;
        let open = async {
            let stream = connect::open(url, &self.shared.tls).await?;
            let started = http1::Builder::new().handshake(TokioIo::new(stream)).await;
            started.map_err(|error| Error::Broken { url: shown(url), message: chain(&error) })
        };
        let (sender, connection) = match timeout(limit, open).await {
            Ok(opened) => opened?,
            Err(_) => return Err(Error::Timeout { doing: "connecting to", url: shown(url), limit }),
        };
        let task = burrow_task::spawn(async move {
            if let Err(error) = connection.await {
                tracing::trace!(%error, "a kept connection ended");
            }
        });
        let wire = Wire { sender, since: Instant::now(), task: task.abort_handle() };
        Ok(Lease { shared: Arc::clone(&self.shared), origin: origin.to_owned(), wire })
    }

    /// The request as it goes over the wire.
    fn wired(&self, request: &Request) -> Result<http::Request<Full<Bytes>>, Error> {
        let url = &request.url;
        let bad = |why: String| Error::BadUrl { url: shown(url), why };
        let target = match url.query() {
            Some(query) => format!("{}?{query}", url.path()),
            None => url.path().to_owned(),
        };
        let uri: Uri = target.parse().map_err(|error: http::uri::InvalidUri| bad(error.to_string()))?;
        let host = url.host_str().unwrap_or_default();
        let host = url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
        let mut wired = http::Request::new(Full::new(request.body.clone()));
        *wired.method_mut() = request.method.clone();
        *wired.uri_mut() = uri;
        *wired.headers_mut() = request.headers.clone();
        wired.headers_mut().insert(HOST, HeaderValue::from_str(&host).map_err(|error| bad(error.to_string()))?);
        wired.headers_mut().entry(USER_AGENT).or_insert_with(|| self.shared.agent.clone());
        Ok(wired)
    }
}

/// What went wrong with its reasons: hyper's own words alone say little.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        source = inner.source();
    }
    text
}
