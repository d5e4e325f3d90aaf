//! The HTTP/1.1 server below the modelled worlds: it answers on a real socket, and can do what a web framework cannot, namely say nothing, close the
//! connection without a word, or cut an answer in the middle.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! use testkit_server::{Reply, Server};
//! let server = Server::start(|request| {
//!     Box::pin(async move { if request.uri().path() == "/" { Reply::text(200, "hello") } else { Reply::Close } })
//! })
//! .await;
//! assert!(server.url("/").starts_with("http://127.0.0.1:"));
//! # }
//! ```

mod stage;

use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use http::{Request, Response};
use http_body::Frame;
use http_body_util::BodyExt;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

pub use stage::{Question, Scene, Stage, WorldGuard};

/// What happens to a request.
pub enum Reply {
    /// A whole answer.
    Answer(Response<Bytes>),
    /// An answer that is made while it is sent; an error cuts the connection.
    Stream(Response<BoxStream<'static, io::Result<Bytes>>>),
    /// The head and so many bytes of the body; then the connection is cut.
    Cut(Response<Bytes>, usize),
    /// The connection is closed without a word.
    Close,
    /// Nothing, for as long as the peer waits.
    Hang,
}

impl Reply {
    /// A short text.
    pub fn text(status: u16, text: impl Into<Bytes>) -> Reply {
        let mut response = Response::new(text.into());
        *response.status_mut() = http::StatusCode::from_u16(status).expect("a status has three digits");
        response.headers_mut().insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static("text/plain; charset=utf-8"));
        Reply::Answer(response)
    }
}

/// What answers requests.
pub type Handler = dyn Fn(Request<Bytes>) -> BoxFuture<'static, Reply> + Send + Sync;

/// A server on a free port of this machine; gone with all its connections when dropped.
#[derive(Debug)]
pub struct Server {
    address: String,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    /// Starts it.
    ///
    /// # Panics
    /// There is no free port.
    pub async fn start(handler: impl Fn(Request<Bytes>) -> BoxFuture<'static, Reply> + Send + Sync + 'static) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("the socket has an address").to_string();
        let handler: Arc<Handler> = Arc::new(handler);
        let task = tokio::spawn(async move {
            // Dropped with this task, and its connections with it.
            let mut connections = JoinSet::new();
            loop {
                let Ok((stream, _)) = listener.accept().await else { continue };
                while connections.try_join_next().is_some() {}
                let _ = stream.set_nodelay(true);
                let handler = Arc::clone(&handler);
                connections.spawn(async move {
                    let service = service_fn(move |request| answer(Arc::clone(&handler), request));
                    // The peer's going away is its own business.
                    let _ = hyper::server::conn::http1::Builder::new().auto_date_header(false).serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        Server { address, task }
    }

    /// `127.0.0.1:port`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// An address of it.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }
}

async fn answer(handler: Arc<Handler>, request: Request<hyper::body::Incoming>) -> Result<Response<Body>, io::Error> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
    match handler(Request::from_parts(head, body)).await {
        Reply::Answer(response) => Ok(response.map(|bytes| Body::Whole(Some(bytes)))),
        Reply::Stream(response) => Ok(response.map(Body::Stream)),
        Reply::Cut(response, length) => {
            let (mut head, whole) = response.into_parts();
            // The peer is told of the whole length, and so knows that something is missing.
            head.headers.insert(http::header::CONTENT_LENGTH, http::HeaderValue::from(whole.len()));
            let start = whole.slice(..length.min(whole.len()));
            // hyper sends what it has when the body makes it wait, and throws it away when the body fails.
            let then = async {
                tokio::task::yield_now().await;
                Err(io::Error::other("cut on purpose"))
            };
            let chunks = futures_util::stream::iter([Ok(start)]).chain(futures_util::stream::once(then));
            Ok(Response::from_parts(head, Body::Stream(Box::pin(chunks))))
        }
        Reply::Close => Err(io::Error::other("closed on purpose")),
        Reply::Hang => match std::future::pending::<Infallible>().await {},
    }
}

enum Body {
    Whole(Option<Bytes>),
    Stream(BoxStream<'static, io::Result<Bytes>>),
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        match &mut *self {
            Body::Whole(bytes) => Poll::Ready(bytes.take().filter(|bytes| !bytes.is_empty()).map(|bytes| Ok(Frame::data(bytes)))),
            Body::Stream(chunks) => chunks.as_mut().poll_next(cx).map(|next| next.map(|chunk| chunk.map(Frame::data))),
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Body::Whole(None))
    }

    fn size_hint(&self) -> http_body::SizeHint {
        match self {
            Body::Whole(bytes) => http_body::SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Body::Stream(_) => http_body::SizeHint::default(),
        }
    }
}
