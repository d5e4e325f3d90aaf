//! What is answered.

use std::fmt;
use std::io::Read;

use burrow_task::BoxFuture;
use bytes::{Buf, Bytes};
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH};
use http::{HeaderMap, HeaderName, StatusCode};
use http_body_util::BodyExt;
use hyper::body::{Body as _, Incoming};
use tokio::time::timeout;

use crate::Error;
use crate::client::{Lease, chain};

/// An answer whose body is still to be read. Dropping it before its end closes the connection, which tells the server to stop.
pub struct Response {
    url: String,
    head: http::response::Parts,
    body: Incoming,
    lease: Option<Lease>,
    ended: bool,
}

impl fmt::Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} from {}", self.head.status, self.shown())
    }
}

impl Response {
    pub(crate) fn new(url: String, head: http::response::Parts, body: Incoming, lease: Lease) -> Response {
        let mut response = Response { url, head, body, lease: Some(lease), ended: false };
        if response.body.is_end_stream() {
            response.end();
        }
        response
    }

    /// Its status.
    pub fn status(&self) -> StatusCode {
        self.head.status
    }

    /// All headers.
    pub fn headers(&self) -> &HeaderMap {
        &self.head.headers
    }

    /// One header; `None` when it is not there or not text.
    pub fn header(&self, name: HeaderName) -> Option<&str> {
        self.head.headers.get(name)?.to_str().ok()
    }

    /// Where the answer came from, after redirects.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Bytes of the body as they are sent, if the server says.
    pub fn length(&self) -> Option<u64> {
        self.header(CONTENT_LENGTH)?.parse().ok()
    }

    /// The next bytes as they were sent; `None` at the end. Cancel-safe.
    ///
    /// # Errors
    /// [`Error::Broken`] when the connection ended early, [`Error::Timeout`] when nothing came for too long.
    pub fn chunk(&mut self) -> BoxFuture<'_, Result<Option<Bytes>, Error>> {
        Box::pin(async move {
            while !self.ended {
                let Some(limit) = self.lease.as_ref().map(Lease::stall_limit) else { break };
                match timeout(limit, self.body.frame()).await {
                    Err(_) => {
                        self.fail();
                        return Err(Error::Timeout { doing: "reading", url: self.shown(), limit });
                    }
                    Ok(Some(Ok(frame))) => {
                        // Trailers are not for anybody here.
                        if let Ok(bytes) = frame.into_data() {
                            return Ok(Some(bytes));
                        }
                    }
                    Ok(Some(Err(error))) => {
                        self.fail();
                        return Err(Error::Broken { url: self.shown(), message: chain(&error) });
                    }
                    Ok(None) => self.end(),
                }
            }
            Ok(None)
        })
    }

    /// The whole body, without its compression.
    ///
    /// # Errors
    /// As [`Response::chunk`]; [`Error::TooLarge`] for more than `limit` bytes (after decompression), [`Error::BadEncoding`].
    pub fn bytes(mut self, limit: usize) -> BoxFuture<'static, Result<Bytes, Error>> {
        Box::pin(async move {
            let too_large = |url| Error::TooLarge { url, limit };
            if self.length().is_some_and(|length| length > limit as u64) {
                return Err(too_large(self.shown()));
            }
            let mut parts: Vec<Bytes> = Vec::new();
            let mut length = 0_usize;
            while let Some(bytes) = self.chunk().await? {
                length = length.saturating_add(bytes.len());
                if length > limit {
                    return Err(too_large(self.shown()));
                }
                parts.push(bytes);
            }
            let sent = if parts.len() == 1 { parts.pop().unwrap_or_default() } else { Bytes::from(parts.concat()) };
            match self.header(CONTENT_ENCODING).map(str::to_ascii_lowercase).as_deref() {
                None | Some("identity" | "") => Ok(sent),
                Some("gzip" | "x-gzip") => {
                    let mut plain = Vec::new();
                    let read = flate2::bufread::MultiGzDecoder::new(sent.reader()).take(limit as u64 + 1).read_to_end(&mut plain);
                    read.map_err(|error| Error::BadEncoding { url: self.shown(), message: error.to_string() })?;
                    if plain.len() > limit {
                        return Err(too_large(self.shown()));
                    }
                    Ok(plain.into())
                }
                Some(other) => Err(Error::BadEncoding { url: self.shown(), message: format!("{other} was not asked for") }),
            }
        })
    }

    /// At most `limit` bytes of the body, for an error text; what cannot be read is left out.
    pub fn beginning(mut self, limit: usize) -> BoxFuture<'static, Bytes> {
        Box::pin(async move {
            let mut text = Vec::new();
            while text.len() < limit {
                match self.chunk().await {
                    Ok(Some(bytes)) => text.extend_from_slice(&bytes),
                    _ => break,
                }
            }
            if self.header(CONTENT_ENCODING).is_some_and(|name| name.eq_ignore_ascii_case("gzip")) {
                let mut plain = Vec::new();
                let _ = flate2::read::GzDecoder::new(text.as_slice()).take(limit as u64).read_to_end(&mut plain);
                text = plain;
            }
            text.truncate(limit);
            text.into()
        })
    }

    fn end(&mut self) {
        self.ended = true;
        if let Some(lease) = self.lease.take() {
            lease.give_back();
        }
    }

    fn fail(&mut self) {
        self.ended = true;
        self.lease = None;
    }

    fn shown(&self) -> String {
        self.url.split('?').next().unwrap_or_default().to_owned()
    }
}
