//! Request bodies for code that blocks.

use std::io::{self, Read};

use bytes::{Buf as _, Bytes};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use tokio::sync::mpsc;

/// Reads a body from a blocking thread; a few pieces are on their way at most. A broken connection is an error, never an early end.
pub(crate) struct BodyReader {
    pieces: mpsc::Receiver<io::Result<Bytes>>,
    current: Bytes,
}

impl BodyReader {
    pub(crate) fn new(body: Incoming) -> Self {
        Self::pump(body)
    }

    /// Any body whose errors have a text.
    pub(crate) fn pump<B>(mut body: B) -> Self
    where
        B: http_body::Body<Data = Bytes> + Unpin + Send + 'static,
        B::Error: std::fmt::Display + Send,
    {
        let (sender, pieces) = mpsc::channel(16);
        burrow_task::spawn(async move {
            while let Some(frame) = body.frame().await {
                let piece = match frame {
                    Ok(frame) => match frame.into_data() {
                        Ok(data) => Ok(data),
                        Err(_) => continue,
                    },
                    Err(e) => Err(io::Error::new(io::ErrorKind::ConnectionAborted, e.to_string())),
                };
                let failed = piece.is_err();
                if sender.send(piece).await.is_err() {
                    // Nobody wants more; the rest is taken so that the answer can be read by a client which sends first.
                    let mut left: usize = 256 << 20;
                    while let Some(Ok(frame)) = body.frame().await {
                        left = left.saturating_sub(frame.data_ref().map_or(0, Bytes::len));
                        if left == 0 {
                            break;
                        }
                    }
                    return;
                }
                if failed {
                    return;
                }
            }
        });
        Self { pieces, current: Bytes::new() }
    }
}

impl Read for BodyReader {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() {
            match self.pieces.blocking_recv() {
                Some(Ok(piece)) => self.current = piece,
                Some(Err(e)) => return Err(e),
                None => return Ok(0),
            }
        }
        let n = out.len().min(self.current.len());
        self.current.copy_to_slice(out.get_mut(..n).unwrap_or_default());
        Ok(n)
    }
}
