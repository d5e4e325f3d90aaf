//! Answers: their bodies, the classic error form, the modern JSON.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Response, StatusCode};
use serde::Serialize;
use tokio::sync::mpsc;

use crate::activity::Busy;
use crate::httpio::InFlight;

/// The answer of every handler.
pub(crate) type Reply = Response<ReplyBody>;

/// Pieces of a streamed answer, made by another thread or task. An error breaks the connection.
pub(crate) type Pieces = mpsc::Receiver<io::Result<Frame<Bytes>>>;

/// The body of an answer.
pub(crate) struct ReplyBody {
    content: Content,
    /// Tells the connection that the next request may begin.
    in_flight: Option<InFlight>,
    /// Keeps the worker from being called idle.
    busy: Option<Busy>,
}

enum Content {
    Full(Option<Bytes>),
    /// The first piece may have been taken to see whether there is one.
    Pieces(Option<io::Result<Frame<Bytes>>>, Pieces),
    /// A command that starts once the head is on its way.
    Deferred {
        begun: bool,
        start: Option<Box<dyn FnOnce() + Send>>,
        pieces: Pieces,
        on_drop: Option<Box<dyn FnOnce() + Send>>,
    },
}

impl ReplyBody {
    pub(crate) fn pieces(pieces: Pieces) -> Self {
        Self::of(Content::Pieces(None, pieces))
    }

    /// Waits for the first piece, so that an error before it can still choose the status. `Err` is that error.
    pub(crate) async fn after_first(mut pieces: Pieces) -> io::Result<Self> {
        match pieces.recv().await {
            Some(Err(e)) => Err(e),
            first => Ok(Self::of(Content::Pieces(first, pieces))),
        }
    }

    /// `start` runs after the head was flushed; `gone` when the client goes before the last piece.
    pub(crate) fn deferred(pieces: Pieces, start: impl FnOnce() + Send + 'static, gone: impl FnOnce() + Send + 'static) -> Self {
        Self::of(Content::Deferred { begun: false, start: Some(Box::new(start)), pieces, on_drop: Some(Box::new(gone)) })
    }

    fn of(content: Content) -> Self {
        Self { content, in_flight: None, busy: None }
    }

    /// Ties the body to its connection and to the worker's idea of being busy.
    pub(crate) fn hold(&mut self, in_flight: InFlight, busy: Busy) {
        self.in_flight = Some(in_flight);
        self.busy = Some(busy);
    }
}

impl Body for ReplyBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        match &mut self.content {
            Content::Full(bytes) => Poll::Ready(bytes.take().filter(|b| !b.is_empty()).map(|b| Ok(Frame::data(b)))),
            Content::Pieces(first, pieces) => match first.take() {
                Some(first) => Poll::Ready(Some(first)),
                None => pieces.poll_recv(cx),
            },
            Content::Deferred { begun, start, pieces, on_drop } => {
                if !*begun {
                    // hyper flushes the head when the body has nothing to give, and asks again.
                    *begun = true;
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                if let Some(start) = start.take() {
                    start();
                }
                let got = pieces.poll_recv(cx);
                if let Poll::Ready(None) = got {
                    *on_drop = None;
                }
                if let Poll::Ready(Some(Ok(frame))) = &got
                    && frame.is_trailers()
                {
                    *on_drop = None;
                }
                got
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(&self.content, Content::Full(None)) || matches!(&self.content, Content::Full(Some(b)) if b.is_empty())
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            Content::Full(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |b| b.len() as u64)),
            _ => SizeHint::default(),
        }
    }
}

impl Drop for ReplyBody {
    fn drop(&mut self) {
        if let Content::Deferred { on_drop, .. } = &mut self.content
            && let Some(gone) = on_drop.take()
        {
            gone();
        }
    }
}

/// Puts together an answer from parts that cannot be wrong.
pub(crate) fn reply(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Reply {
    let mut reply = Response::new(ReplyBody::of(Content::Full(Some(body.into()))));
    *reply.status_mut() = status;
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    reply
}

/// 200 with text.
pub(crate) fn text(body: impl Into<Bytes>) -> Reply {
    reply(StatusCode::OK, "text/plain; charset=utf-8", body)
}

/// 200 with a body that comes in pieces.
pub(crate) fn stream(content_type: &'static str, body: ReplyBody) -> Reply {
    let mut reply = Response::new(body);
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    reply
}

/// An error in the form of the classic endpoints: text, one line feed, no guessing of types.
pub(crate) fn error(status: StatusCode, message: impl std::fmt::Display) -> Reply {
    let mut reply = reply(status, "text/plain; charset=utf-8", format!("{message}\n"));
    reply.headers_mut().insert("x-content-type-options", HeaderValue::from_static("nosniff"));
    reply
}

/// JSON of the modern endpoints.
pub(crate) fn json(status: StatusCode, value: &impl Serialize) -> Reply {
    match serde_json::to_vec(value) {
        Ok(body) => reply(status, "application/json", body),
        Err(e) => error(StatusCode::INTERNAL_SERVER_ERROR, e),
    }
}

/// An error of the modern endpoints.
pub(crate) fn json_error(status: StatusCode, message: impl std::fmt::Display) -> Reply {
    json(status, &protocol_buildlet::ErrorBody { error: message.to_string() })
}
