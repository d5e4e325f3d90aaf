//! A blocking writer on one side, an asynchronous stream of chunks on the other.

use std::io::{self, Write};

use bytes::{Bytes, BytesMut};
use futures_util::{Stream, stream};
use tokio::sync::mpsc;

use crate::Error;

const CHUNK: usize = 64 << 10;
/// Chunks that may wait between the two sides.
const AHEAD: usize = 4;

/// Where a producer writes to.
pub(crate) struct Chunks {
    to: mpsc::Sender<Result<Bytes, Error>>,
    buffer: BytesMut,
}

impl Chunks {
    fn send(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let full = std::mem::replace(&mut self.buffer, BytesMut::with_capacity(CHUNK)).freeze();
        // The reader has lost interest; the producer ends at its next write.
        self.to.blocking_send(Ok(full)).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

impl Write for Chunks {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let take = bytes.len().min(CHUNK - self.buffer.len().min(CHUNK));
        self.buffer.extend_from_slice(bytes.get(..take).unwrap_or_default());
        if self.buffer.len() >= CHUNK {
            self.send()?;
        }
        Ok(take)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.send()
    }
}

/// Why a producer ended early.
pub(crate) enum Stopped {
    /// Nobody reads any more; there is nobody to tell.
    Unread,
    /// A real failure, which becomes the stream's last item.
    Failed(Error),
}

impl From<io::Error> for Stopped {
    // `Chunks` has only one error, that the reader is gone; any other is the archive format's (a name it cannot hold).
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Stopped::Unread,
            _ => Stopped::Failed(Error::Interrupted(error.to_string())),
        }
    }
}

impl From<Error> for Stopped {
    fn from(error: Error) -> Self {
        Stopped::Failed(error)
    }
}

/// Runs `work` on a blocking thread from the moment the stream is first asked, and streams what it writes. An error
/// is the last item; a stream without one is complete.
pub(crate) fn produce(work: impl FnOnce(&mut Chunks) -> Result<(), Stopped> + Send + 'static) -> impl Stream<Item = Result<Bytes, Error>> + Send + Unpin {
    enum State<W> {
        Waiting(W),
        Running(mpsc::Receiver<Result<Bytes, Error>>, tokio::task::JoinHandle<()>),
        Ended,
    }
    // Boxed, so that callers may simply ask for the next chunk.
    Box::pin(stream::unfold(State::Waiting(work), |state| async move {
        let (mut from, thread) = match state {
            State::Ended => return None,
            State::Running(from, thread) => (from, thread),
            State::Waiting(work) => {
                let (to, from) = mpsc::channel(AHEAD);
                let thread = burrow_task::spawn_blocking(move || {
                    let mut out = Chunks { to: to.clone(), buffer: BytesMut::with_capacity(CHUNK) };
                    let result = work(&mut out).and_then(|()| out.flush().map_err(Stopped::from));
                    if let Err(Stopped::Failed(error)) = result {
                        let _ = to.blocking_send(Err(error));
                    }
                });
                (from, thread)
            }
        };
        match from.recv().await {
            Some(item) => Some((item, State::Running(from, thread))),
            // A thread that panicked or was never run must not pass for a complete stream.
            None => match thread.await {
                Ok(()) => None,
                Err(error) => Some((Err(Error::Interrupted(error.to_string())), State::Ended)),
            },
        }
    }))
}
