//! One maintnerd: its index, and questions for bytes (`spec/maintner.md` §5.1, §5.2 step 1).

use std::sync::Arc;
use std::time::Duration;

use burrow_http_client::{Client, Response, Settings, resolve};
use http::StatusCode;
use http::header::CONTENT_RANGE;
use protocol_mutlog::{Index, Segment};
use tokio::time::Instant;
use url::{Origin, Url};

use crate::error::Class;
use crate::{Ask, Cause, Error, Event, Http, Options};

/// A server holds a question for up to 55 s.
const LONG_POLL: Duration = Duration::from_secs(90);
/// Limit for the head of any other answer.
const HEAD: Duration = Duration::from_secs(60);
/// Attempts to read the index.
const INDEX_TRIES: u32 = 5;
/// Pause while there is no network.
const NO_NETWORK: Duration = Duration::from_secs(15);
/// Largest index; one of a hundred thousand segments fits.
const MAX_INDEX: usize = 16 << 20;
/// Longest text of a refusal that is kept.
const MAX_TEXT: usize = 500;
/// A segment cannot be larger: an index that says so is nonsense, and no disk is filled for it.
const MAX_SIZE: u64 = 1 << 40;
/// A server that says "nothing new" sooner than this does not wait as it should.
const HASTY: Duration = Duration::from_secs(1);
/// How often it may, before it is asked less often.
const HASTY_ALLOWED: u32 = 3;

/// What the addresses of frozen segments begin with. For programs of the reference this alone decides.
const FROZEN_PREFIX: &str = "https://storage.googleapis.com/";

/// Pause after the failure of attempt `attempt`: 1, 4, 9 … seconds.
pub(crate) fn pause_after(attempt: u32) -> Duration {
    Duration::from_secs(u64::from(attempt).saturating_mul(u64::from(attempt)))
}

/// Why there is no index.
#[derive(Debug)]
pub(crate) enum NoIndex {
    /// There is no way to the server, and the caller wanted to know at once.
    Unreachable(Cause),
    /// For good.
    Failed(Error),
}

/// A maintnerd.
#[derive(Clone)]
pub(crate) struct Server {
    url: String,
    origin: Origin,
    http: Arc<dyn Http>,
    options: Options,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Server({})", self.url)
    }
}

impl Server {
    pub(crate) fn new(server: &str, options: Options) -> Result<Server, Error> {
        let bad = |why: &str| Error::BadServer { server: server.to_owned(), why: why.to_owned() };
        let url = Url::parse(server).map_err(|error| bad(&error.to_string()))?;
        if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none_or(str::is_empty) {
            return Err(bad("it is not an http or https address"));
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(bad("it must have no query and no fragment"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(bad("a user name or password would end in logs; use a token"));
        }
        let http = match &options.http {
            Some(http) => Arc::clone(http),
            None => {
                let settings = Settings { trust: options.trust.clone(), ..Settings::default() };
                Arc::new(Client::new(settings).map_err(|error| bad(&error.to_string()))?)
            }
        };
        Ok(Server { origin: url.origin(), url: url.into(), http, options })
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    pub(crate) fn options(&self) -> &Options {
        &self.options
    }

    pub(crate) fn tell(&self, event: &Event) {
        (self.options.watch)(event);
    }

    pub(crate) async fn pause(&self, time: Duration) {
        self.options.pause.pause(time).await;
    }

    /// Pauses before another attempt, and says so.
    pub(crate) async fn retry(&self, doing: &str, attempt: u32, of: Option<u32>, pause: Duration, cause: &Cause) {
        tracing::info!(doing, attempt, of, pause_s = pause.as_secs(), %cause, "a question to the server of the log failed and will be asked again");
        self.tell(&Event::Retry { doing: doing.to_owned(), attempt, of, pause, cause: cause.to_string() });
        self.pause(pause).await;
    }

    /// Runs `work` until it ends or the caller's token is cancelled.
    pub(crate) async fn cancellable<T>(&self, work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        tokio::select! {
            biased;
            () = self.options.cancel.cancelled() => Err(Error::Cancelled),
            result = work => result,
        }
    }

    /// The index, when its total is not `other_than`; at once if there is no such number. Asks as often as the reference does, and forever while there is no
    /// network; `at_once`: a server that there is no way to is reported at once.
    pub(crate) async fn index(&self, other_than: Option<u64>, at_once: bool) -> Result<Index, NoIndex> {
        let doing = format!("reading the index {}", self.url);
        let mut attempt = 1;
        loop {
            let cause = match self.index_once(other_than).await {
                Ok(index) => return Ok(index),
                Err(cause) => cause,
            };
            match cause.class() {
                Class::NoHost | Class::Unreachable if at_once && attempt == 1 => return Err(NoIndex::Unreachable(cause)),
                Class::NoHost => {
                    self.retry(&doing, attempt, None, NO_NETWORK, &cause).await;
                    attempt = 1;
                }
                Class::Unreachable | Class::Transient if attempt < INDEX_TRIES => {
                    self.retry(&doing, attempt, Some(INDEX_TRIES), pause_after(attempt), &cause).await;
                    attempt += 1;
                }
                Class::Unreachable | Class::Transient => return Err(NoIndex::Failed(Error::Retryable { doing, attempts: attempt, source: cause.into() })),
                Class::Stale | Class::Fatal => return Err(NoIndex::Failed(Error::Fatal { doing, source: cause.into() })),
            }
        }
    }

    /// The index, asked for once; "nothing new" is no answer.
    pub(crate) async fn index_once(&self, other_than: Option<u64>) -> Result<Index, Cause> {
        let (url, limit) = match other_than {
            Some(total) => (format!("{}?waitsizenot={total}", self.url), LONG_POLL),
            None => (self.url.clone(), HEAD),
        };
        let ask = Ask { url, range: None, bearer: self.options.bearer.clone(), head_limit: Some(limit) };
        let mut hasty = 0;
        let response = loop {
            let asked = Instant::now();
            let response = self.http.get(&ask).await?;
            if response.status() != StatusCode::NOT_MODIFIED {
                break response;
            }
            // The server beats its heart within the limits of its proxies.
            let waited = asked.elapsed();
            hasty = if waited < HASTY { hasty + 1 } else { 0 };
            if hasty > HASTY_ALLOWED {
                self.pause(HASTY.saturating_sub(waited)).await;
            }
        };
        if response.status() != StatusCode::OK {
            return Err(refusal(response).await);
        }
        let body = response.bytes(MAX_INDEX).await?;
        let index = Index::decode(&body).map_err(|source| Cause::Index { url: self.url.clone(), source })?;
        self.check(&index)?;
        Ok(index)
    }

    /// The snapshot beside the log, if this server has one: only Burrow's do.
    pub(crate) async fn snapshot(&self) -> Result<Option<Response>, Cause> {
        let url = resolve(&self.url, "snapshot")?;
        let ask = Ask { url, range: None, bearer: self.options.bearer.clone(), head_limit: Some(HEAD) };
        let response = self.http.get(&ask).await?;
        Ok((response.status() == StatusCode::OK).then_some(response))
    }

    fn check(&self, index: &Index) -> Result<(), Cause> {
        let bad = |what: String| Cause::Protocol { url: self.url.clone(), what };
        match index.segments.first() {
            Some(first) if first.number != 0 => return Err(bad(format!("the index begins with segment {}, where 0 should be", first.number))),
            _ => {}
        }
        match index.segments.iter().find(|segment| segment.size > MAX_SIZE) {
            Some(segment) => Err(bad(format!("segment {} is said to have {} bytes", segment.number, segment.size))),
            None => Ok(()),
        }
    }

    /// Whether the server says that a segment never changes.
    pub(crate) fn says_frozen(segment: &Segment) -> bool {
        segment.frozen == Some(true) || segment.url.starts_with(FROZEN_PREFIX)
    }

    /// Where a segment is.
    pub(crate) fn address(&self, segment: &Segment) -> Result<String, Cause> {
        resolve(&self.url, &segment.url).map_err(Cause::Http)
    }

    /// Bytes `from` to the end of a segment of `size` bytes. Returns where the body begins: at `from`, or at 0 when the server sends everything.
    pub(crate) async fn bytes(&self, url: &str, from: u64, size: u64) -> Result<(u64, Response), Cause> {
        let ours = Url::parse(url).is_ok_and(|url| url.origin() == self.origin);
        let bearer = self.options.bearer.clone().filter(|_| ours);
        let ask = Ask { url: url.to_owned(), range: Some((from, size.saturating_sub(1))), bearer, head_limit: Some(HEAD) };
        let response = self.http.get(&ask).await?;
        match response.status() {
            StatusCode::OK | StatusCode::PARTIAL_CONTENT => {}
            _ => return Err(refusal(response).await),
        }
        match begin(&response, from, size) {
            Some(begin) => Ok((begin, response)),
            None => {
                let what = format!("asked for the bytes from {from}, it sends those of {:?}", response.header(CONTENT_RANGE).unwrap_or_default());
                Err(Cause::Protocol { url: shown(url), what })
            }
        }
    }
}

/// Where the body begins. The reference tells the whole from the part by the length of the body, whatever the status; that is also what remains here when the
/// server does not say in `Content-Range`.
fn begin(response: &Response, from: u64, size: u64) -> Option<u64> {
    let partial = response.status() == StatusCode::PARTIAL_CONTENT;
    let said = response.header(CONTENT_RANGE).and_then(|text| text.strip_prefix("bytes "));
    let said = said.and_then(|text| text.split('-').next()).and_then(|first| first.trim().parse().ok());
    let begin = match (said.filter(|_| partial), response.length()) {
        (Some(first), _) => first,
        (None, Some(length)) if length == size.saturating_sub(from) => from,
        (None, Some(length)) if length == size => 0,
        (None, _) if partial => from,
        (None, _) => 0,
    };
    (begin == from || begin == 0).then_some(begin)
}

async fn refusal(response: Response) -> Cause {
    let (url, status) = (shown(response.url()), response.status().as_u16());
    let text = response.beginning(MAX_TEXT).await;
    Cause::Status { url, status, text: String::from_utf8_lossy(&text).trim().to_owned() }
}

/// An address for messages: queries may hold tokens.
pub(crate) fn shown(url: &str) -> String {
    url.split('?').next().unwrap_or_default().to_owned()
}
