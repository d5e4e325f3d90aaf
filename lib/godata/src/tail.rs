//! Only what is appended from now on (`spec/maintner.md` §5.5): for programs that react to changes and do not care for history. Needs no disk.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use protocol_mutlog::{Records, Segment};
use tokio::time::Instant;

use crate::error::Class;
use crate::running::Running;
use crate::server::{Server, shown};
use crate::{Cause, Error, Options};

/// The index is asked for at most this often.
const ROUND: Duration = Duration::from_secs(1);
/// Pause after an error, before the server is asked again.
const AFTER_ERROR: Duration = Duration::from_secs(5);
/// New bytes of one segment are held in memory until their digest is known to be right. Segments have 16 MiB, or one bigger record.
const MAX_NEW: u64 = 1 << 30;

/// A stream of what is appended to a log.
#[derive(Debug)]
pub struct Tail {
    server: Server,
    /// The end of the log as it was last seen; `None` at first.
    end: Option<End>,
    /// Bytes of the whole log as of the newest index that was worked off.
    total: u64,
    /// Segments of the newest index that are still to be looked at.
    pending: VecDeque<Segment>,
    /// Bytes of the whole log as of the newest index.
    pending_total: u64,
    /// When the index was last read.
    asked: Option<Instant>,
    /// What must pass before the next question.
    owed: Option<Duration>,
}

#[derive(Debug, Clone)]
struct End {
    segment: u32,
    running: Running,
}

/// Whole records that were appended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TailBytes {
    /// Number of the segment.
    pub segment: u32,
    /// Offset of the first byte.
    pub offset: u64,
    /// The records.
    pub bytes: Bytes,
    /// The server's history changed: these are all records of the segment, and some of them may have come before.
    pub repeated: bool,
}

impl TailBytes {
    /// The records one by one.
    pub fn records(&self) -> Records<'_> {
        Records::new(&self.bytes, self.offset)
    }
}

impl Tail {
    /// Follows the log whose index is at `server`. Asks nobody yet: what is appended before the first [`Tail::next`] is history.
    ///
    /// # Errors
    /// [`Error::BadServer`]
    pub fn new(server: &str, options: Options) -> Result<Tail, Error> {
        let server = Server::new(server, options)?;
        Ok(Tail { server, end: None, total: 0, pending: VecDeque::new(), pending_total: 0, asked: None, owed: None })
    }

    /// Number of the last segment and offset of its end, as far as they were handed out; `None` before the end of the log was found.
    pub fn position(&self) -> Option<(u32, u64)> {
        self.end.as_ref().map(|end| (end.segment, end.running.len()))
    }

    /// Reads the last segment, if that was not done yet. What is appended afterwards comes out of [`Tail::next`].
    ///
    /// # Errors
    /// As [`Tail::next`].
    pub async fn ready(&mut self) -> Result<(), Error> {
        let server = self.server.clone();
        server.cancellable(self.find_end()).await
    }

    /// Waits for the next bytes. When the server's history changed, the last segment comes out from its beginning, as far as it was not handed out with the same
    /// history: records may come a second time, but none of that segment is left out. Cancel-safe.
    ///
    /// # Errors
    /// Any [`Error`] but [`Error::Split`], [`Error::Offline`], [`Error::Cache`] and [`Error::Damaged`], each after one attempt. The next call pauses 5 s and goes on
    /// where this one was, whatever the error.
    pub async fn next(&mut self) -> Result<TailBytes, Error> {
        let server = self.server.clone();
        server.cancellable(self.step()).await
    }

    async fn step(&mut self) -> Result<TailBytes, Error> {
        self.find_end().await?;
        loop {
            while let Some(segment) = self.pending.front().cloned() {
                let looked = self.look(&segment).await;
                match looked {
                    Ok(new) => {
                        self.pending.pop_front();
                        if self.pending.is_empty() {
                            self.total = self.pending_total;
                        }
                        if let Some(new) = new {
                            return Ok(new);
                        }
                    }
                    Err(error) => {
                        self.pending.clear();
                        return Err(self.failed(error));
                    }
                }
            }
            self.read_index().await?;
        }
    }

    async fn find_end(&mut self) -> Result<(), Error> {
        while self.end.is_none() {
            self.read_index().await?;
            // History is not looked at.
            let last = self.pending.pop_back();
            self.pending.clear();
            let Some(last) = last else { continue };
            match self.download(&last, Running::new(None), false).await {
                Ok((running, _)) => {
                    self.end = Some(End { segment: last.number, running });
                    self.total = self.pending_total;
                }
                Err(error) => return Err(self.failed(error)),
            }
        }
        Ok(())
    }

    async fn read_index(&mut self) -> Result<(), Error> {
        if let Some(owed) = self.owed {
            self.server.pause(owed).await;
            self.owed = None;
        }
        if let Some(left) = self.asked.and_then(|asked| ROUND.checked_sub(asked.elapsed())) {
            self.server.pause(left).await;
        }
        let asked = self.server.index_once(Some(self.total)).await;
        self.asked = Some(Instant::now());
        match asked {
            Ok(index) => {
                self.pending_total = index.total();
                let last = index.segments.last().map(|segment| segment.number);
                let from = self.end.as_ref().map_or(0, |end| end.segment);
                // A log that went back has no segment of that number any more: its last one is all there is to see.
                let from = last.map_or(from, |last| from.min(last));
                self.pending = index.segments.into_iter().filter(|segment| segment.number >= from).collect();
                Ok(())
            }
            Err(cause) => {
                let error = trouble(format!("reading the index {}", self.server.url()), cause);
                Err(self.failed(error))
            }
        }
    }

    fn failed(&mut self, error: Error) -> Error {
        self.owed = Some(AFTER_ERROR);
        error
    }

    /// Looks at one segment of the index, from the last known one upwards. When it returns bytes, they count as handed out.
    async fn look(&mut self, segment: &Segment) -> Result<Option<TailBytes>, Error> {
        let known = self.end.as_ref().filter(|end| end.segment == segment.number).map(|end| end.running.clone());
        let went_back = self.end.as_ref().is_some_and(|end| end.segment > segment.number);
        let before = known.as_ref().map_or(0, Running::len);
        if known.as_ref().is_some_and(|running| running.len() == segment.size && running.sha224() == segment.sha224) {
            return Ok(None);
        }
        let mut repeated = went_back;
        let grown = known.filter(|running| running.len() < segment.size);
        repeated |= grown.is_none() && before > 0;
        let (offset, (running, bytes)) = match grown {
            Some(running) if before > 0 => match self.download(segment, running, true).await {
                Err(Error::Fatal { source, .. }) if matches!(*source, Cause::Corrupt { .. }) => {
                    repeated = true;
                    (0, self.download(segment, Running::new(None), true).await?)
                }
                downloaded => (before, downloaded?),
            },
            _ => (0, self.download(segment, Running::new(None), true).await?),
        };
        self.end = Some(End { segment: segment.number, running });
        Ok((!bytes.is_empty()).then_some(TailBytes { segment: segment.number, offset, bytes, repeated }))
    }

    /// Bytes of a segment behind those in `running`. They are kept only if asked for, and checked in any case.
    async fn download(&self, segment: &Segment, mut running: Running, keep: bool) -> Result<(Running, Bytes), Error> {
        let doing = || format!("downloading segment {}", segment.number);
        let url = self.server.address(segment).map_err(|cause| trouble(doing(), cause))?;
        let mut kept = Vec::new();
        if running.len() < segment.size {
            let (mut at, mut response) = self.server.bytes(&url, running.len(), segment.size).await.map_err(|cause| trouble(doing(), cause))?;
            while let Some(piece) = response.chunk().await.map_err(|error| trouble(doing(), error.into()))? {
                // The server may send more than was asked for, before and behind.
                let skip = usize::try_from(running.len().saturating_sub(at)).unwrap_or(usize::MAX);
                let left = usize::try_from(segment.size - running.len()).unwrap_or(usize::MAX);
                at = at.saturating_add(piece.len() as u64);
                let piece = piece.get(skip..).unwrap_or_default();
                let surplus = piece.len() > left;
                let piece = piece.get(..left).unwrap_or(piece);
                running.take(piece);
                if keep {
                    if kept.len() as u64 + piece.len() as u64 > MAX_NEW {
                        return Err(trouble(doing(), Cause::Protocol { url: shown(&url), what: format!("more than {MAX_NEW} new bytes in one segment") }));
                    }
                    kept.extend_from_slice(piece);
                }
                if surplus || running.len() == segment.size && response.length().is_none() {
                    break;
                }
            }
        }
        let found = running.sha224();
        if running.len() != segment.size || found != segment.sha224 {
            let source = Cause::Corrupt { url: shown(&url), wanted: segment.size, got: running.len(), expected: segment.sha224, found };
            return Err(trouble(doing(), source));
        }
        running.end().map_err(|fault| Error::framing(segment.number, shown(&url), fault))?;
        Ok((running, kept.into()))
    }
}

fn trouble(doing: String, source: Cause) -> Error {
    match source.class() {
        Class::Fatal => Error::Fatal { doing, source: source.into() },
        Class::NoHost | Class::Unreachable | Class::Transient | Class::Stale => Error::Retryable { doing, attempts: 1, source: source.into() },
    }
}
