//! What stands between a connection and hyper.
//!
//! hyper sends trailers only to requests that carry `TE: trailers`, which Go's buildlet client never does (spec buildlet.md T5), and upgrades only
//! those that say so, which `/connect-ssh` requests do not. So request heads are seen here first and get the missing line. That needs the
//! boundaries of requests, hence the small reader of body framing below. Knowing them gives two more things: the next pipelined request waits
//! until the current answer is finished, and meanwhile the end of the stream is noticed, which for `/exec` means that the client is gone (T10).

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use futures_util::task::AtomicWaker;

/// Larger heads are passed on as they are; hyper refuses them.
const MAX_HEAD: usize = 64 * 1024;

/// How much of the next request is read while an answer is under way.
const MAX_HELD: usize = 64 * 1024;

/// Read at once between bodies, so that an idle connection holds little.
const HEAD_STEP: usize = 4 * 1024;

/// Read at once in a body.
const BODY_STEP: usize = 128 * 1024;

/// Counts finished answers of one connection.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    finished: AtomicU64,
    reader: AtomicWaker,
}

/// Held by an answer's body until its end.
#[derive(Debug)]
pub(crate) struct InFlight(Arc<Gate>);

impl InFlight {
    pub(crate) fn new(gate: &Arc<Gate>) -> Self {
        Self(Arc::clone(gate))
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.finished.fetch_add(1, Ordering::AcqRel);
        self.0.reader.wake();
    }
}

/// A connection with completed request heads.
pub(crate) struct HttpIo<S> {
    stream: S,
    heads: Heads,
    gate: Arc<Gate>,
    /// The stream has ended.
    ended: bool,
}

impl<S> HttpIo<S> {
    pub(crate) fn new(stream: S) -> (Self, Arc<Gate>) {
        let gate = Arc::new(Gate::default());
        (Self { stream, heads: Heads::default(), gate: Arc::clone(&gate), ended: false }, gate)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for HttpIo<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            if !this.heads.ready.is_empty() {
                let n = buf.remaining().min(this.heads.ready.len());
                buf.put_slice(this.heads.ready.get(..n).unwrap_or_default());
                this.heads.ready.advance(n);
                return Poll::Ready(Ok(()));
            }
            // Registered before the look, so that an answer that ends in between is not missed.
            this.gate.reader.register(cx.waker());
            let held = this.heads.begun > this.gate.finished.load(Ordering::Acquire);
            if this.heads.advance(!held) {
                continue;
            }
            if this.ended {
                // A client that sent its whole question and closed its side still wants a short answer; a command nobody waits for is killed.
                if held && this.heads.between() && !this.heads.long_answer {
                    return Poll::Pending;
                }
                // An incomplete head goes on as it is: hyper knows what to answer.
                if !this.heads.raw.is_empty() && !held {
                    this.heads.give_up();
                    continue;
                }
                return Poll::Ready(Ok(()));
            }
            if held && this.heads.between() && this.heads.raw.len() >= MAX_HELD {
                return Poll::Pending;
            }
            // Bodies are read in large steps: each step wakes the thread that writes files.
            this.heads.raw.reserve(if this.heads.between() { HEAD_STEP } else { BODY_STEP });
            let before = this.heads.raw.len();
            match tokio_util::io::poll_read_buf(Pin::new(&mut this.stream), cx, &mut this.heads.raw) {
                Poll::Ready(Ok(_)) => this.ended = this.heads.raw.len() == before,
                Poll::Ready(Err(e)) => return Poll::Ready(Err(e)),
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for HttpIo<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(self: Pin<&mut Self>, cx: &mut Context<'_>, bufs: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

/// Where in the stream of requests we are.
#[derive(Debug, Default, PartialEq, Eq)]
enum At {
    /// Before or in a head.
    #[default]
    Head,
    /// In a body with so many bytes left.
    Body(u64),
    /// In a chunked body: the line of a chunk's size.
    ChunkSize,
    /// In a chunk, with the line break after it.
    Chunk(u64),
    /// In the lines after the last chunk.
    Trailers,
    /// No more requests: an upgraded connection, or something hyper has to refuse.
    Through,
}

/// The rewriting itself, without I/O: bytes go into `raw`, come out of `ready`.
#[derive(Debug, Default)]
struct Heads {
    raw: BytesMut,
    ready: BytesMut,
    at: At,
    /// Heads seen.
    begun: u64,
    /// The current request is one whose client must stay.
    long_answer: bool,
}

impl Heads {
    /// Whether the last request was read to its end.
    fn between(&self) -> bool {
        self.at == At::Head
    }

    /// Passes on what is left, without looking at it.
    fn give_up(&mut self) {
        self.at = At::Through;
    }

    /// Moves what is complete from `raw` to `ready`; true when something was moved or the place changed.
    fn advance(&mut self, may_begin: bool) -> bool {
        if self.raw.is_empty() {
            return false;
        }
        match self.at {
            At::Through => {
                self.ready.unsplit(self.raw.split());
                true
            }
            At::Head => may_begin && self.head(),
            At::Body(left) => {
                let moved = self.pass(left);
                self.at = if moved == left { At::Head } else { At::Body(left - moved) };
                true
            }
            At::Chunk(left) => {
                let moved = self.pass(left);
                self.at = if moved == left { At::ChunkSize } else { At::Chunk(left - moved) };
                true
            }
            At::ChunkSize => {
                let Some(line) = self.line() else { return false };
                let digits = line.iter().position(|b| !b.is_ascii_hexdigit()).unwrap_or(line.len());
                let size = std::str::from_utf8(line.get(..digits).unwrap_or_default()).ok().and_then(|d| u64::from_str_radix(d, 16).ok());
                self.at = match size {
                    Some(0) => At::Trailers,
                    // The chunk ends with a line break of two bytes; hyper takes no other.
                    Some(n) => n.checked_add(2).map_or(At::Through, At::Chunk),
                    None => At::Through,
                };
                true
            }
            At::Trailers => {
                let Some(line) = self.line() else { return false };
                if line.is_empty() || line == b"\r" {
                    self.at = At::Head;
                }
                true
            }
        }
    }

    /// Moves up to `limit` bytes.
    fn pass(&mut self, limit: u64) -> u64 {
        let n = usize::try_from(limit).unwrap_or(usize::MAX).min(self.raw.len());
        let part = self.raw.split_to(n);
        if self.ready.is_empty() {
            self.ready = part
        } else {
            self.ready.extend_from_slice(&part)
        }
        n as u64
    }

    /// Moves one line and returns it without its line feed. A line that never ends is hyper's to refuse.
    fn line(&mut self) -> Option<Vec<u8>> {
        let Some(end) = self.raw.iter().position(|&b| b == b'\n') else {
            if self.raw.len() > MAX_HEAD {
                self.give_up();
            }
            return None;
        };
        let line = self.raw.split_to(end + 1);
        self.ready.extend_from_slice(&line);
        Some(line.get(..end).unwrap_or_default().to_vec())
    }

    fn head(&mut self) -> bool {
        // Empty lines before a request are allowed.
        let blank = self.raw.iter().take_while(|b| matches!(b, b'\r' | b'\n')).count();
        self.raw.advance(blank);
        let Some(end) = head_end(&self.raw) else {
            if self.raw.len() > MAX_HEAD {
                self.give_up();
                return true;
            }
            return false;
        };
        let head = self.raw.split_to(end);
        let first_end = head.iter().position(|&b| b == b'\n').map_or(head.len(), |at| at + 1);
        let (first, fields) = head.split_at(first_end);
        let target = first.split(|&b| b == b' ').nth(1).unwrap_or_default();
        let path = target.split(|&b| b == b'?').next().unwrap_or_default();
        self.begun += 1;
        self.long_answer = path == b"/exec" || path.starts_with(b"/executions");
        self.ready.extend_from_slice(first);
        if path == b"/connect-ssh" {
            self.ready.extend_from_slice(b"Connection: Upgrade\r\nUpgrade: ssh\r\n");
            self.at = At::Through;
        } else {
            if path == b"/exec" {
                self.ready.extend_from_slice(b"TE: trailers\r\n");
            }
            self.at = framing(fields);
        }
        self.ready.extend_from_slice(fields);
        true
    }
}

/// The length of a head including its empty line.
fn head_end(raw: &[u8]) -> Option<usize> {
    let mut from = 0;
    while let Some(at) = raw.get(from..)?.iter().position(|&b| b == b'\n') {
        let next = from + at + 1;
        match raw.get(next..) {
            Some([b'\n', ..]) => return Some(next + 1),
            Some([b'\r', b'\n', ..]) => return Some(next + 2),
            _ => from = next,
        }
    }
    None
}

/// What follows a head with these fields.
fn framing(fields: &[u8]) -> At {
    let mut length = None;
    for line in fields.split(|&b| b == b'\n') {
        let mut halves = line.splitn(2, |&b| b == b':');
        let (Some(name), Some(value)) = (halves.next(), halves.next()) else { continue };
        let value = value.trim_ascii();
        if name.eq_ignore_ascii_case(b"transfer-encoding") {
            let chunked = value.rsplit(|&b| b == b',').next().is_some_and(|last| last.trim_ascii().eq_ignore_ascii_case(b"chunked"));
            return if chunked { At::ChunkSize } else { At::Through };
        }
        if name.eq_ignore_ascii_case(b"content-length") {
            length = Some(std::str::from_utf8(value).ok().and_then(|v| v.parse::<u64>().ok()));
        }
    }
    match length {
        None | Some(Some(0)) => At::Head,
        Some(Some(n)) => At::Body(n),
        Some(None) => At::Through,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds `input` in pieces of `step` bytes; every answer is finished at once.
    fn rewritten(input: &[u8], step: usize) -> Vec<u8> {
        let mut heads = Heads::default();
        let mut out = Vec::new();
        for piece in input.chunks(step) {
            heads.raw.extend_from_slice(piece);
            while heads.advance(true) {}
            out.extend_from_slice(&heads.ready.split());
        }
        out
    }

    #[test]
    fn every_exec_head_gets_its_line_however_the_bytes_arrive() {
        let input = b"\r\nPOST /exec HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nPOST /POST /exec?mode=sys HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n\
            4;x=y\r\n\r\n\r\n\r\n0\r\nPOST: /exec\r\n\r\nGET /ls?dir=/exec HTTP/1.1\r\n\r\nPOST /exec HTTP/1.1\n\n";
        let want = b"POST /exec HTTP/1.1\r\nTE: trailers\r\nHost: x\r\nContent-Length: 5\r\n\r\nPOST /POST /exec?mode=sys HTTP/1.1\r\nTE: trailers\r\nTransfer-Encoding: chunked\r\n\r\n\
            4;x=y\r\n\r\n\r\n\r\n0\r\nPOST: /exec\r\n\r\nGET /ls?dir=/exec HTTP/1.1\r\n\r\nPOST /exec HTTP/1.1\nTE: trailers\r\n\n";
        for step in 1..input.len() {
            assert_eq!(String::from_utf8_lossy(&rewritten(input, step)), String::from_utf8_lossy(want), "in pieces of {step}");
        }
    }

    #[test]
    fn an_upgrade_ends_the_looking() {
        let out = rewritten(b"POST /connect-ssh HTTP/1.1\r\nContent-Length: 0\r\n\r\nSSH-2.0-x\r\nPOST /exec HTTP/1.1\r\n\r\n", 7);
        let text = String::from_utf8_lossy(&out);
        assert!(text.contains("Upgrade: ssh\r\n") && text.ends_with("SSH-2.0-x\r\nPOST /exec HTTP/1.1\r\n\r\n"), "{text}");
    }
}
