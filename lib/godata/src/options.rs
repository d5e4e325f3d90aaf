//! What a follower is given: credentials, and the outside world where a test wants another one.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use burrow_http_client::{Client, Error as HttpError, Request, Response, Trust};
use futures_util::future::BoxFuture;
use http::header::{ACCEPT_ENCODING, AUTHORIZATION, RANGE};
use tokio_util::sync::CancellationToken;

/// Segments that are downloaded at a time if nobody says otherwise.
const PARALLEL: usize = 4;

/// Settings of a follower.
#[derive(Clone)]
pub struct Options {
    /// Sent to the server of the index, and to no other one.
    pub bearer: Option<Bearer>,
    /// Which certificates are accepted. Of no use beside [`Options::http`].
    pub trust: Trust,
    /// Segments that are downloaded at a time, at least 1.
    pub parallel: usize,
    /// Is told what happens.
    pub watch: Watch,
    /// Ends everything with [`crate::Error::Cancelled`]. Dropping the future of a call does the same without an error.
    pub cancel: CancellationToken,
    /// How pauses are made.
    pub pause: Arc<dyn Pause>,
    /// How questions are sent; `None`: by a client of its own.
    pub http: Option<Arc<dyn Http>>,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            bearer: None,
            trust: Trust::PublicRoots,
            parallel: PARALLEL,
            watch: Arc::new(|_| {}),
            cancel: CancellationToken::new(),
            pause: Arc::new(TokioPause),
            http: None,
        }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options").field("bearer", &self.bearer).field("trust", &self.trust).field("parallel", &self.parallel).finish_non_exhaustive()
    }
}

/// A token that proves to a server who asks. It does not show itself in logs and dumps.
#[derive(Clone, PartialEq, Eq)]
pub struct Bearer(String);

impl Bearer {
    /// With this text.
    pub fn new(token: impl Into<String>) -> Bearer {
        Bearer(token.into())
    }
}

impl fmt::Debug for Bearer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Bearer(…)")
    }
}

/// Is told what happens, at once and on the thread that does it: it must not block.
pub type Watch = Arc<dyn Fn(&Event) + Send + Sync>;

/// Something a person who waits wants to know.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// Bytes of this update that have been downloaded, of those that will be. The total grows when something must be downloaded again.
    Progress {
        /// Bytes that have come.
        done: u64,
        /// Bytes that are needed.
        total: u64,
    },
    /// Something failed and will be tried again.
    Retry {
        /// What was being done.
        doing: String,
        /// How often it was tried.
        attempt: u32,
        /// After how many attempts it will be given up; `None`: never.
        of: Option<u32>,
        /// How long until the next one.
        pause: Duration,
        /// Why it failed.
        cause: String,
    },
    /// What came has not the digest that it should have, and is downloaded again from its first byte.
    Again {
        /// The address.
        url: String,
    },
    /// There is no way to the server; the cache is used instead.
    Offline {
        /// Why it cannot be reached.
        cause: String,
        /// Segments in the cache.
        segments: usize,
        /// Their bytes.
        bytes: u64,
    },
    /// Another follower on this machine is writing to the cache directory.
    Waiting {
        /// The lock file.
        lock: PathBuf,
    },
}

/// Makes pauses.
pub trait Pause: Send + Sync + 'static {
    /// Ready after `time`.
    fn pause(&self, time: Duration) -> BoxFuture<'_, ()>;
}

/// Pauses by tokio's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct TokioPause;

impl Pause for TokioPause {
    fn pause(&self, time: Duration) -> BoxFuture<'_, ()> {
        Box::pin(tokio::time::sleep(time))
    }
}

/// A question: `GET`.
#[derive(Debug, Clone)]
pub struct Ask {
    /// Absolute address.
    pub url: String,
    /// First and last byte that are wanted; `None`: all.
    pub range: Option<(u64, u64)>,
    /// Credentials, if the address belongs to the server of the index.
    pub bearer: Option<Bearer>,
    /// Limit for the head of the answer, where the server holds it back on purpose.
    pub head_limit: Option<Duration>,
}

/// Where answers come from: the network, or a test's idea of it.
pub trait Http: Send + Sync + 'static {
    /// Asks, follows redirects, and waits for the head of the answer, whatever its status.
    fn get<'a>(&'a self, ask: &'a Ask) -> BoxFuture<'a, Result<Response, HttpError>>;
}

impl Http for Client {
    fn get<'a>(&'a self, ask: &'a Ask) -> BoxFuture<'a, Result<Response, HttpError>> {
        Box::pin(async move {
            // Digests and ranges are those of the bytes as they are.
            let mut request = Request::get(&ask.url)?.header(ACCEPT_ENCODING, "identity")?;
            if let Some((first, last)) = ask.range {
                request = request.header(RANGE, &format!("bytes={first}-{last}"))?;
            }
            if let Some(Bearer(token)) = &ask.bearer {
                request = request.secret_header(AUTHORIZATION, &format!("Bearer {token}"))?;
            }
            if let Some(limit) = ask.head_limit {
                request = request.head_limit(limit);
            }
            self.send(request).await
        })
    }
}
