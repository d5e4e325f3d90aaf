//! Byte streams of any make, and reading heads from them without losing what follows.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use protocol_revdial::ResponseHead;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

/// A two-way byte stream: TCP, TLS, a Unix socket, or a pipe in a test.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send + 'static> Stream for T {}

impl std::fmt::Debug for dyn Stream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Stream")
    }
}

/// A stream whose make does not matter.
pub type BoxStream = Box<dyn Stream>;

/// A stream some of whose first bytes were already read: they are given out first.
#[derive(Debug)]
pub struct Prefixed<S> {
    prefix: Vec<u8>,
    given: usize,
    inner: S,
}

impl<S: Stream> Prefixed<S> {
    /// `prefix`, then everything `inner` still has to give.
    pub fn new(prefix: Vec<u8>, inner: S) -> Self {
        Prefixed { prefix, given: 0, inner }
    }

    /// As a [`BoxStream`], without a wrapper when nothing is left to give out first.
    pub fn boxed(self) -> BoxStream {
        if self.given >= self.prefix.len() { Box::new(self.inner) } else { Box::new(self) }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Prefixed<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let rest = self.prefix.get(self.given..).unwrap_or_default();
        if rest.is_empty() {
            return Pin::new(&mut self.inner).poll_read(cx, buf);
        }
        let count = rest.len().min(buf.remaining());
        buf.put_slice(rest.get(..count).unwrap_or_default());
        self.given += count;
        if self.given >= self.prefix.len() {
            self.prefix = Vec::new();
            self.given = 0;
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Prefixed<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bufs: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
}

/// Reads a response head, of any HTTP version, without losing what follows: `buffer` may hold bytes already read, and afterwards holds what arrived
/// behind the head.
///
/// # Errors
/// I/O errors; [`io::ErrorKind::InvalidData`] with a [`protocol_revdial::HeadError`] inside for what is no head, or a too long one.
pub async fn read_response_head<S: AsyncRead + Unpin>(stream: &mut S, buffer: &mut Vec<u8>) -> io::Result<ResponseHead> {
    loop {
        match ResponseHead::parse(buffer) {
            Ok(Some(head)) => {
                buffer.drain(..head.len.min(buffer.len()));
                return Ok(head);
            }
            Ok(None) => {}
            Err(error) => return Err(io::Error::new(io::ErrorKind::InvalidData, error)),
        }
        if stream.read_buf(buffer).await? == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the connection was closed before the head was complete"));
        }
    }
}
