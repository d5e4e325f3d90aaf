//! A finished answer: bytes, their compressed form, and their entity tag.

use std::hash::{DefaultHasher, Hasher as _};
use std::io::Write as _;
use std::sync::OnceLock;

use axum::body::Body;
use axum::http::header::{ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, ETAG, IF_NONE_MATCH, VARY};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::Response;
use bytes::Bytes;

/// What the bytes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A page.
    Html,
    /// Data of the API.
    Json,
    /// JSON as the classic dashboard names it.
    TextJson,
    /// Plain text.
    Text,
    /// A stylesheet.
    Css,
    /// A script.
    Script,
    /// A picture.
    Svg,
    /// An error of the API (RFC 9457).
    ProblemJson,
}

impl Kind {
    /// The `Content-Type`.
    pub fn content_type(self) -> &'static str {
        match self {
            Kind::Html => "text/html; charset=utf-8",
            Kind::Json => "application/json",
            Kind::TextJson => "text/json; charset=utf-8",
            Kind::Text => "text/plain; charset=utf-8",
            Kind::Css => "text/css; charset=utf-8",
            Kind::Script => "text/javascript; charset=utf-8",
            Kind::Svg => "image/svg+xml",
            Kind::ProblemJson => "application/problem+json",
        }
    }
}

/// Smaller answers are not worth compressing.
const WORTH_COMPRESSING: usize = 1_200;

/// A finished answer. It is compressed once, when the first reader asks for that.
pub struct Rendered {
    kind: Kind,
    status: StatusCode,
    plain: Bytes,
    gzip: OnceLock<Option<Bytes>>,
    tag: HeaderValue,
    kept: bool,
}

impl Rendered {
    /// From its content.
    pub fn new(kind: Kind, content: impl Into<Bytes>) -> Rendered {
        let plain = content.into();
        let mut hasher = DefaultHasher::new();
        hasher.write(&plain);
        // Weak, because the compressed form is another sequence of bytes for the same content.
        let tag = HeaderValue::try_from(format!("W/\"{:016x}\"", hasher.finish())).unwrap_or(HeaderValue::from_static("W/\"0\""));
        Rendered { kind, status: StatusCode::OK, plain, gzip: OnceLock::new(), tag, kept: true }
    }

    /// The same with another status.
    pub fn with_status(mut self, status: StatusCode) -> Rendered {
        self.status = status;
        self
    }

    /// The same, but no cache keeps it: it shows something that changes without a change being told, like a growing log.
    pub fn not_kept(mut self) -> Rendered {
        self.kept = false;
        self
    }

    /// Whether a cache may keep it.
    pub fn may_be_kept(&self) -> bool {
        self.kept
    }

    /// Bytes it holds.
    pub fn len(&self) -> usize {
        self.plain.len() + self.gzip.get().and_then(Option::as_ref).map_or(0, Bytes::len)
    }

    /// Whether it has no content.
    pub fn is_empty(&self) -> bool {
        self.plain.is_empty()
    }

    /// The content, not compressed.
    pub fn content(&self) -> &Bytes {
        &self.plain
    }

    fn gzip(&self) -> Option<&Bytes> {
        self.gzip
            .get_or_init(|| {
                if self.plain.len() < WORTH_COMPRESSING {
                    return None;
                }
                let mut encoder = flate2::write::GzEncoder::new(Vec::with_capacity(self.plain.len() / 6), flate2::Compression::new(2));
                encoder.write_all(&self.plain).ok()?;
                encoder.finish().ok().map(Bytes::from)
            })
            .as_ref()
    }

    /// The answer to a request with these headers: 304 if the reader has it already, compressed if it can take that.
    pub fn answer(&self, request: &HeaderMap) -> Response {
        let mut headers = HeaderMap::with_capacity(8);
        headers.insert(ETAG, self.tag.clone());
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        headers.insert(VARY, HeaderValue::from_static("accept, accept-encoding"));
        if self.status == StatusCode::OK && request.get_all(IF_NONE_MATCH).iter().any(|known| matches(known, &self.tag)) {
            return finish(StatusCode::NOT_MODIFIED, headers, Bytes::new());
        }
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(self.kind.content_type()));
        let takes_gzip = request.get_all(ACCEPT_ENCODING).iter().any(accepts_gzip);
        let body = match takes_gzip.then(|| self.gzip()).flatten() {
            Some(packed) => {
                headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
                packed.clone()
            }
            None => self.plain.clone(),
        };
        headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
        finish(self.status, headers, body)
    }
}

fn finish(status: StatusCode, headers: HeaderMap, body: Bytes) -> Response {
    let mut answer = Response::new(Body::from(body));
    *answer.status_mut() = status;
    *answer.headers_mut() = headers;
    answer
}

fn matches(known: &HeaderValue, tag: &HeaderValue) -> bool {
    let (Ok(known), Ok(tag)) = (known.to_str(), tag.to_str()) else { return false };
    let opaque = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
    known.trim() == "*" || known.split(',').any(|one| opaque(one) == opaque(tag))
}

fn accepts_gzip(value: &HeaderValue) -> bool {
    value.to_str().is_ok_and(|value| {
        value.split(',').any(|one| {
            let mut parts = one.split(';').map(str::trim);
            parts.next() == Some("gzip") && !parts.any(|part| part == "q=0" || part == "q=0.0")
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_that_has_the_page_gets_304_and_one_that_has_another_gets_the_page() {
        let page = Rendered::new(Kind::Html, "x".repeat(5_000));
        let mut request = HeaderMap::new();
        request.insert(ACCEPT_ENCODING, HeaderValue::from_static("br, gzip;q=0.8"));
        let first = page.answer(&request);
        assert_eq!(first.headers()[CONTENT_ENCODING], "gzip");
        let tag = first.headers()[ETAG].clone();
        request.insert(IF_NONE_MATCH, HeaderValue::try_from(format!("\"other\", {}", tag.to_str().unwrap())).unwrap());
        assert_eq!(page.answer(&request).status(), StatusCode::NOT_MODIFIED);
        assert_eq!(Rendered::new(Kind::Html, "y".repeat(5_000)).answer(&request).status(), StatusCode::OK);
        request.insert(ACCEPT_ENCODING, HeaderValue::from_static("gzip;q=0"));
        assert!(Rendered::new(Kind::Html, "z".repeat(5_000)).answer(&request).headers().get(CONTENT_ENCODING).is_none());
    }
}
