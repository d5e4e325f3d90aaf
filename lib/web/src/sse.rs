//! Server-sent events as bytes.

use axum::body::Body;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::response::Response;
use bytes::Bytes;
use futures_util::Stream;

/// Appends one event. Line breaks in `data` become several data lines, as the format wants.
pub fn event(out: &mut String, id: Option<&str>, name: &str, data: &str) {
    if let Some(id) = id {
        out.push_str("id: ");
        out.push_str(id);
        out.push('\n');
    }
    out.push_str("event: ");
    out.push_str(name);
    out.push('\n');
    for line in data.split('\n') {
        out.push_str("data: ");
        out.push_str(line);
        out.push('\n');
    }
    out.push('\n');
}

/// A comment: keeps proxies from closing a silent connection.
pub const KEEP_ALIVE: &str = ":\n\n";

/// How long a client waits before it connects again, and the first bytes of a stream.
pub const RETRY: &str = "retry: 2000\n\n";

/// The id of the last event that the client saw, for resuming.
pub fn last_id(headers: &HeaderMap) -> Option<&str> {
    headers.get("last-event-id").and_then(|id| id.to_str().ok())
}

/// The answer whose body is such a stream.
pub fn answer(stream: impl Stream<Item = Result<Bytes, std::io::Error>> + Send + 'static) -> Response {
    let mut answer = Response::new(Body::from_stream(stream));
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    // Tells the common reverse proxy to pass every piece on at once.
    headers.insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    answer
}
