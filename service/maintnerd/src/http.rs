//! `GET /logs` and `GET /logs/<n>`: the log as followers fetch it, the reference's among them.
//!
//! Statuses, headers and error texts are the reference's (`spec/maintner.md` §5.1), with these additions: every segment is served here, a frozen one
//! with an entity tag and to be kept for ever; the index says which ones are frozen; what may change is marked as not to be stored; and a token may be asked
//! for. A request for several ranges at once is answered with the whole, which RFC 9110 allows.
//!
//! A follower that waits costs a place in a list and a timer. A body is read from the file in small pieces as the follower takes them.

use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::header::{
    ACCEPT_RANGES, AUTHORIZATION, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, IF_NONE_MATCH, IF_RANGE, RANGE, WWW_AUTHENTICATE,
    X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri};
use axum::response::Response;
use axum::routing::any;
use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use tokio_util::sync::CancellationToken;

use crate::log::{Log, ReadError, SegmentInfo};

mod range;

use range::Wanted;

/// How long a follower's question is held. Proxies are told to have more patience than this (`spec/maintner.md` §5.1).
pub const HOLD: Duration = Duration::from_secs(55);

/// Sum of the sizes in an index.
const SUM: HeaderName = HeaderName::from_static("x-sum-segment-size");

/// Who may read the log.
#[derive(Debug, Clone, Default)]
pub struct Readers {
    /// SHA-256 of the token; `None`: everybody.
    token: Option<[u8; 32]>,
}

impl Readers {
    /// Everybody who reaches the listener.
    pub fn everybody() -> Readers {
        Readers::default()
    }

    /// Who sends `Authorization: Bearer TOKEN`.
    pub fn with_token(token: &str) -> Readers {
        Readers { token: Some(Sha256::digest(token).into()) }
    }

    /// Whether the sender of these headers may read. Takes the same time for all wrong tokens.
    pub fn may_read(&self, headers: &HeaderMap) -> bool {
        let Some(known) = &self.token else { return true };
        let bearer = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()).and_then(|value| value.split_once(' '));
        bearer.is_some_and(|(scheme, token)| {
            scheme.eq_ignore_ascii_case("bearer") && bool::from(<[u8; 32]>::from(Sha256::digest(token.trim())).as_slice().ct_eq(known))
        })
    }
}

#[derive(Debug, Clone)]
struct Site {
    log: Log,
    readers: Readers,
    shutdown: CancellationToken,
}

/// Serves `log`. To be mounted at the root: the index names segments as `/logs/<n>`. Followers that wait are sent away when `shutdown` is cancelled.
pub fn router(log: Log, readers: Readers, shutdown: CancellationToken) -> Router {
    let site = Site { log, readers, shutdown };
    Router::new().route("/logs", any(index)).route("/logs/", any(segment)).route("/logs/{*number}", any(segment)).with_state(site)
}

/// An error as the reference gives it: one line of text.
fn refuse(status: StatusCode, text: &'static str) -> Response {
    let mut answer = Response::new(Body::from(format!("{text}\n")));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    answer.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    answer
}

fn bad(text: &'static str) -> Response {
    refuse(StatusCode::BAD_REQUEST, text)
}

fn unauthorized() -> Response {
    let mut answer = refuse(StatusCode::UNAUTHORIZED, "this log needs a token");
    answer.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    answer
}

/// `/logs`.
async fn index(State(site): State<Site>, method: Method, uri: Uri, headers: HeaderMap) -> Response {
    if !site.readers.may_read(&headers) {
        return unauthorized();
    }
    if !matches!(method, Method::GET | Method::HEAD) {
        return bad("bad method");
    }
    let query = uri.query().unwrap_or_default();
    // What is not a number counts as 0, what is too large as above the current one.
    let start = match range::number(&form_value(query, "startseg")) {
        Ok(number) => number,
        Err(range::NotANumber::TooLarge) => i64::MAX,
        Err(range::NotANumber::TooSmall) => i64::MIN,
        Err(range::NotANumber::Text) => 0,
    };
    if start < 0 {
        return bad("bad startseg");
    }
    let known = form_value(query, "waitsizenot");
    if !known.is_empty() {
        let Some(known) = range::number(&known).ok().and_then(|known| u64::try_from(known).ok()) else { return bad("bad waitsizenot") };
        if !grown(&site, known).await {
            let mut answer = Response::new(Body::empty());
            *answer.status_mut() = StatusCode::NOT_MODIFIED;
            return answer;
        }
    }
    let state = site.log.snapshot();
    let above = state.current().is_none_or(|current| start > i64::from(current.number));
    let (sum, body) = state.index(if above { 0 } else { u32::try_from(start).unwrap_or(0) });
    let length = body.len();
    let mut answer = Response::new(Body::from(body));
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(SUM, HeaderValue::from(sum));
    headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}

/// Waits while the log has `known` bytes; `false` if it has them still.
async fn grown(site: &Site, known: u64) -> bool {
    // Registered before the first look, so that no record falls between.
    let mut total = site.log.changed();
    tokio::select! {
        changed = tokio::time::timeout(HOLD, total.wait_for(|total| *total != known)) => matches!(changed, Ok(Ok(_))),
        () = site.shutdown.cancelled() => false,
    }
}

/// The first value of a field in a query, read as the reference reads it: pairs that are not well formed are passed over.
fn form_value(query: &str, name: &str) -> String {
    let pairs = query.split('&').filter(|pair| !pair.contains(';'));
    let mut values = pairs.filter_map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (unescape(key, true)? == name).then(|| unescape(value, true))?
    });
    values.next().unwrap_or_default()
}

/// `None`: a `%` without two digits. Bytes that are no text are of no use here.
fn unescape(text: &str, plus_is_space: bool) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'%' => {
                let mut digit = || bytes.next().and_then(|byte| char::from(byte).to_digit(16)).and_then(|digit| u8::try_from(digit).ok());
                digit()? << 4 | digit()?
            }
            b'+' if plus_is_space => b' ',
            other => other,
        });
    }
    Some(String::from_utf8_lossy(&out).into_owned())
}

/// `/logs/` and `/logs/<n>`.
async fn segment(State(site): State<Site>, method: Method, uri: Uri, headers: HeaderMap) -> Response {
    if !site.readers.may_read(&headers) {
        return unauthorized();
    }
    if !matches!(method, Method::GET | Method::HEAD) {
        return bad("bad method");
    }
    let name = unescape(uri.path().strip_prefix("/logs/").unwrap_or_default(), false).unwrap_or_default();
    let Ok(number) = range::number(&name) else { return bad("bad path") };
    let state = site.log.snapshot();
    let Some(info) = u32::try_from(number).ok().and_then(|number| state.segment(number)) else { return bad("bad segment number") };

    let tag = format!("\"{}\"", info.sha224);
    let known = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    if info.frozen && known(IF_NONE_MATCH).is_some_and(|known| known.trim() == "*" || known.contains(&tag)) {
        return kept(&site, info, &tag, StatusCode::NOT_MODIFIED, Body::empty());
    }
    // A condition that cannot be met, as on a segment without an entity tag, asks for the whole.
    let whole = known(IF_RANGE).is_some_and(|known| !info.frozen || known.trim() != tag);
    let wanted = match headers.get(RANGE) {
        Some(range) if !whole => range::wanted(range.as_bytes(), info.size),
        _ => Wanted::All,
    };
    let (status, part) = match wanted {
        Wanted::All => (StatusCode::OK, 0..info.size),
        Wanted::Part(part) => (StatusCode::PARTIAL_CONTENT, part),
        Wanted::Outside => {
            let mut answer = refuse(StatusCode::RANGE_NOT_SATISFIABLE, "invalid range: failed to overlap");
            insert(answer.headers_mut(), CONTENT_RANGE, &format!("bytes */{}", info.size));
            return answer;
        }
        Wanted::Malformed => return refuse(StatusCode::RANGE_NOT_SATISFIABLE, "invalid range"),
    };
    let length = part.end - part.start;
    let body = if method == Method::HEAD {
        Body::empty()
    } else {
        match body(info, part.clone()).await {
            Ok(body) => body,
            Err(error) => {
                tracing::error!(log.segment = info.number, %error, "A segment of the log cannot be served.");
                return refuse(StatusCode::INTERNAL_SERVER_ERROR, "the segment cannot be read");
            }
        }
    };
    let mut answer = kept(&site, info, &tag, status, body);
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    if status == StatusCode::PARTIAL_CONTENT {
        insert(headers, CONTENT_RANGE, &format!("bytes {}-{}/{}", part.start, part.end.saturating_sub(1), info.size));
    }
    answer
}

fn insert(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

/// An answer that says how long it may be kept.
fn kept(site: &Site, info: &SegmentInfo, tag: &str, status: StatusCode, body: Body) -> Response {
    let mut answer = Response::new(body);
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    if info.frozen {
        insert(headers, ETAG, tag);
        let who = if site.readers.token.is_some() { "private, max-age=31536000, immutable" } else { "public, max-age=31536000, immutable" };
        headers.insert(CACHE_CONTROL, HeaderValue::from_static(who));
    } else {
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    answer
}

/// A part of a segment, read as it is taken. The first piece is read before the answer begins, so that a file that is gone is told of with a status.
async fn body(info: &SegmentInfo, part: std::ops::Range<u64>) -> Result<Body, ReadError> {
    let mut reader = info.reader(part).await?;
    let first = reader.next().await?;
    let stream = futures_util::stream::unfold((first, Some(reader), info.number), |(first, reader, number)| async move {
        if let Some(first) = first {
            return Some((Ok::<Bytes, ReadError>(first), (None, reader, number)));
        }
        let mut reader = reader?;
        match reader.next().await {
            Ok(piece) => piece.map(|piece| (Ok(piece), (None, Some(reader), number))),
            Err(error) => {
                // The follower sees a cut answer and asks again.
                tracing::error!(log.segment = number, %error, "A segment of the log cannot be served to its end.");
                Some((Err(error), (None, None, number)))
            }
        }
    });
    Ok(Body::from_stream(stream))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_read_as_the_reference_reads_them() {
        for (query, value) in [
            ("waitsizenot=7", "7"),
            ("a=b&waitsizenot=7&waitsizenot=8", "7"),
            ("wait%73izenot=%37", "7"),
            ("waitsizenot=%zz&waitsizenot=8", "8"),
            ("waitsizenot=7;&waitsizenot=8", "8"),
            ("waitsizenot", ""),
            ("waitsizenot=+7", " 7"),
            ("waitsizenot=%2B7", "+7"),
            ("", ""),
        ] {
            assert_eq!(form_value(query, "waitsizenot"), value, "{query}");
        }
    }
}
