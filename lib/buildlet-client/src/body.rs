//! Request bodies and response streams.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use burrow_task::BoxFuture;
use bytes::Bytes;
use futures_util::Stream;
use futures_util::stream::BoxStream;
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;

use crate::Error;
use crate::connections::Lease;

/// What a request carries.
pub struct Body(Kind);

enum Kind {
    Whole(Option<Bytes>),
    Stream(BoxStream<'static, io::Result<Bytes>>),
}

impl Body {
    /// No body.
    pub fn empty() -> Body {
        Body(Kind::Whole(None))
    }

    /// A body that is made while it is sent. An error ends the request; the worker sees a broken body.
    pub fn stream(chunks: impl Stream<Item = io::Result<Bytes>> + Send + 'static) -> Body {
        Body(Kind::Stream(Box::pin(chunks)))
    }

    pub(crate) fn is_stream(&self) -> bool {
        matches!(self.0, Kind::Stream(_))
    }

    /// The same body once more, if it is not made while it is sent.
    pub(crate) fn repeat(&self) -> Option<Body> {
        match &self.0 {
            Kind::Whole(bytes) => Some(Body(Kind::Whole(bytes.clone()))),
            Kind::Stream(_) => None,
        }
    }
}

impl<B: Into<Bytes>> From<B> for Body {
    fn from(bytes: B) -> Body {
        let bytes = bytes.into();
        Body(Kind::Whole((!bytes.is_empty()).then_some(bytes)))
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Whole(bytes) => write!(f, "Body({} bytes)", bytes.as_ref().map_or(0, Bytes::len)),
            Kind::Stream(_) => f.write_str("Body(stream)"),
        }
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        match &mut self.0 {
            Kind::Whole(bytes) => Poll::Ready(bytes.take().map(|b| Ok(Frame::data(b)))),
            Kind::Stream(stream) => stream.as_mut().poll_next(cx).map(|next| next.map(|chunk| chunk.map(Frame::data))),
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.0, Kind::Whole(None))
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |b| b.len() as u64)),
            Kind::Stream(_) => SizeHint::default(),
        }
    }
}

/// The bytes of an answer as they arrive. Dropping it before its end closes the connection, which tells the worker to stop sending.
pub struct Chunks {
    doing: &'static str,
    body: Incoming,
    lease: Option<Lease>,
    keep: bool,
    trailer: Option<http::HeaderMap>,
    ended: bool,
}

impl fmt::Debug for Chunks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Chunks").field("doing", &self.doing).field("ended", &self.ended).finish_non_exhaustive()
    }
}

impl Chunks {
    pub(crate) fn new(doing: &'static str, body: Incoming, lease: Lease) -> Chunks {
        Chunks { doing, body, lease: Some(lease), keep: true, trailer: None, ended: false }
    }

    /// Closes the connection at the end of the answer instead of using it again.
    pub(crate) fn do_not_keep(&mut self) {
        self.keep = false;
    }

    /// The next bytes; `None` at the end. Cancel-safe.
    ///
    /// # Errors
    /// [`Error::Transport`] when the connection broke before the end.
    pub fn chunk(&mut self) -> BoxFuture<'_, Result<Option<Bytes>, Error>> {
        Box::pin(async move {
            while !self.ended {
                match self.body.frame().await {
                    Some(Ok(frame)) => match frame.into_data() {
                        Ok(bytes) => return Ok(Some(bytes)),
                        Err(frame) => self.trailer = frame.into_trailers().ok(),
                    },
                    Some(Err(error)) => {
                        self.ended = true;
                        self.lease = None;
                        return Err(Error::transport(self.doing, error));
                    }
                    None => {
                        self.ended = true;
                        if let Some(lease) = self.lease.take()
                            && self.keep
                        {
                            lease.give_back();
                        }
                    }
                }
            }
            Ok(None)
        })
    }

    /// Everything up to the end.
    ///
    /// # Errors
    /// As [`Chunks::chunk`]; [`Error::Protocol`] when there is more than `limit` bytes.
    pub fn all(&mut self, limit: usize) -> BoxFuture<'_, Result<Bytes, Error>> {
        Box::pin(async move {
            let mut first: Option<Bytes> = None;
            let mut rest = Vec::new();
            while let Some(bytes) = self.chunk().await? {
                let so_far = first.as_ref().map_or(0, Bytes::len).saturating_add(rest.len());
                if so_far.saturating_add(bytes.len()) > limit {
                    return Err(Error::Protocol(format!("{} answered more than {limit} bytes", self.doing)));
                }
                if first.is_none() {
                    first = Some(bytes);
                } else {
                    rest.extend_from_slice(&bytes);
                }
            }
            Ok(match (first, rest.is_empty()) {
                (None, _) => Bytes::new(),
                (Some(first), true) => first,
                (Some(first), false) => [&first[..], &rest].concat().into(),
            })
        })
    }

    /// At most `limit` bytes, for an error text; what cannot be read is left out.
    pub(crate) async fn beginning(&mut self, limit: usize) -> Vec<u8> {
        let mut text = Vec::new();
        while text.len() < limit {
            match self.chunk().await {
                Ok(Some(bytes)) => text.extend_from_slice(&bytes),
                _ => break,
            }
        }
        text.truncate(limit);
        text
    }

    /// A trailer, once [`Chunks::chunk`] has returned `None`.
    pub(crate) fn trailer(&self, name: &str) -> Option<String> {
        self.trailer.as_ref().and_then(|map| map.get(name)).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
    }

    /// As a stream for code that wants one.
    pub fn into_stream(self) -> impl Stream<Item = Result<Bytes, Error>> + Send {
        futures_util::stream::try_unfold(self, |mut chunks| async move { Ok(chunks.chunk().await?.map(|bytes| (bytes, chunks))) })
    }
}
