//! The durable log in a folder: one writer, any number of readers.
//!
//! Segments that are full are frozen under the name of their digest; the last one grows. A thread of its own writes: what waits while it writes shares the
//! next write and the next fsync. Only then are the records acknowledged, and only then does [`Log::snapshot`] show them, so nobody ever sees a record that a
//! crash can take back.
//!
//! A batch is whole or not there, also after a crash. The format has no mark for that, so the first byte of a batch's first record is written last, after
//! everything else of the batch is on disk: a zero where a record must begin says that the writer did not get that far (see [`Torn`]).
//!
//! Facts: `spec/maintner.md` §2 and §5.5.

mod open;
mod scrub;
mod state;
mod writer;

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use burrow_clock::SharedClock;
use bytes::Bytes;
use tokio::sync::{mpsc, oneshot, watch};

pub use open::{OpenError, Opened, Torn};
pub use scrub::{Scrub, ScrubFault};
pub use state::{ReadError, SegmentInfo, SegmentReader, State};

use writer::{Appended, Job, Writer};

/// The largest batch, bytes. Readers hold a segment in memory, and a batch lies in one segment.
pub const MAX_BATCH: u64 = crate::frames::LARGEST;

/// How a log is opened.
#[derive(Debug, Clone)]
pub struct Options {
    /// For the times at which segments begin.
    pub clock: SharedClock,
    /// Bytes a second at which frozen segments are read again after the start to check their digests; 0: as fast as they can be read.
    pub scrub_rate: u64,
}

impl Options {
    /// The usual ones: a gigabyte is checked in twenty seconds.
    pub fn new(clock: SharedClock) -> Options {
        Options { clock, scrub_rate: 50 << 20 }
    }
}

/// Where a record stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// Number of its segment.
    pub segment: u32,
    /// Offset of its header in the segment.
    pub offset: u64,
    /// Bytes of header and payload.
    pub size: u64,
    /// Bytes of the whole log up to its end: what `waitsizenot` is compared with once it is the last.
    pub total: u64,
}

/// Why records were not appended. Nothing of the batch is in the log then.
#[derive(Debug, Clone, thiserror::Error)]
pub enum AppendError {
    /// The disk is full or failed. The half-written bytes are taken away again; the next append tries anew.
    #[error("cannot append to the log: {}: {source}", path.display())]
    Write {
        /// Which file.
        path: PathBuf,
        /// The system's word.
        source: Arc<std::io::Error>,
    },
    /// More than [`MAX_BATCH`] at once.
    #[error("a batch of {bytes} bytes is more than the log takes at once ({MAX_BATCH})")]
    TooLarge {
        /// Its bytes.
        bytes: u64,
    },
    /// There are as many segments as numbers.
    #[error("the log has no numbers left for further segments")]
    NoNumber,
    /// The log was closed.
    #[error("the log is closed")]
    Closed,
}

/// An open log. Cheap to clone; the folder is given up by [`Log::close`], or when the last clone is dropped (which waits for the write under way).
#[derive(Debug, Clone)]
pub struct Log(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    dir: PathBuf,
    opened: Opened,
    shared: Arc<Shared>,
    /// `None`: closed.
    jobs: Mutex<Option<mpsc::UnboundedSender<Job>>>,
    writer: Mutex<Option<JoinHandle<()>>>,
    /// Closes when the writer has ended and the folder is given up.
    ended: watch::Receiver<()>,
    scrub: watch::Receiver<Scrub>,
    scrubber: Mutex<Option<scrub::Running>>,
}

/// What the writer shows to readers.
#[derive(Debug)]
struct Shared {
    state: watch::Sender<Arc<State>>,
    total: watch::Sender<u64>,
    trouble: watch::Sender<Option<AppendError>>,
}

impl Shared {
    /// The state first: who hears of a new total finds it in the state.
    fn publish(&self, state: State) {
        let total = state.total;
        self.state.send_replace(Arc::new(state));
        self.total.send_if_modified(|known| std::mem::replace(known, total) != total);
    }
}

impl Log {
    /// Opens the log in `dir`, or begins one, with the one empty record that followers need (`spec/maintner.md` §5.5). Takes the leader's lock, looks at
    /// every segment's name and beginning and at every record of the growing one, takes away what a crash left unfinished there
    /// ([`Log::opened`]), and begins to check the digests of the frozen ones ([`Log::scrub`]). Blocks for as long as that takes (not for the digests).
    ///
    /// # Errors
    /// [`OpenError`]; nothing was changed then.
    pub fn open(dir: &Path, options: Options) -> Result<Log, OpenError> {
        let found = open::open(dir)?;
        let (ended_sender, ended) = watch::channel(());
        let total = found.frozen.iter().map(|segment| segment.size).sum::<u64>() + found.growing.as_ref().map_or(0, |growing| growing.size);
        let shared = Arc::new(Shared { state: watch::channel(Arc::new(State::default())).0, total: watch::channel(0).0, trouble: watch::channel(None).0 });
        let to_check = found.frozen.clone();
        let mut writer = Writer::new(dir, found.held, found.frozen, found.growing, Arc::clone(&shared), options.clock);
        if total == 0 {
            writer.begin().map_err(|error| OpenError::Begin { source: Box::new(error) })?;
        }
        writer.publish();
        let (jobs, queue) = mpsc::unbounded_channel();
        let thread = |source| OpenError::File { path: dir.to_owned(), source };
        let running = std::thread::Builder::new().name("maintnerd-log".into()).spawn(move || {
            writer.run(queue);
            // Dropped last, after the writer and its lock.
            drop(ended_sender);
        });
        let running = running.map_err(thread)?;
        let (scrubber, scrub) = scrub::start(to_check, options.scrub_rate).map_err(thread)?;
        let inner = Inner {
            dir: dir.to_owned(),
            opened: found.opened,
            shared,
            jobs: Mutex::new(Some(jobs)),
            writer: Mutex::new(Some(running)),
            ended,
            scrub,
            scrubber: Mutex::new(Some(scrubber)),
        };
        Ok(Log(Arc::new(inner)))
    }

    /// The folder.
    pub fn dir(&self) -> &Path {
        &self.0.dir
    }

    /// What was found at the start.
    pub fn opened(&self) -> &Opened {
        &self.0.opened
    }

    /// Appends a record: an encoded mutation. When this returns it is on disk and visible. Dropping the future does not take the record back.
    ///
    /// # Errors
    /// [`AppendError`].
    pub async fn append(&self, payload: Vec<u8>) -> Result<Position, AppendError> {
        let positions = self.append_batch(vec![payload]).await?;
        positions.first().copied().ok_or(AppendError::Closed)
    }

    /// Appends records as one: all of them are there or none, also after a crash, and nobody sees a part of them. They lie in one segment; if they are more
    /// than fits in one they get a larger one for themselves.
    ///
    /// # Errors
    /// [`AppendError`].
    pub async fn append_batch(&self, payloads: Vec<Vec<u8>>) -> Result<Vec<Position>, AppendError> {
        match self.submit(payloads)? {
            Some(done) => done.await.unwrap_or(Err(AppendError::Closed)),
            None => Ok(Vec::new()),
        }
    }

    /// As [`Log::append`], for a thread that may wait.
    ///
    /// # Errors
    /// [`AppendError`].
    pub fn append_blocking(&self, payload: Vec<u8>) -> Result<Position, AppendError> {
        let positions = match self.submit(vec![payload])? {
            Some(done) => done.blocking_recv().unwrap_or(Err(AppendError::Closed))?,
            None => Vec::new(),
        };
        positions.first().copied().ok_or(AppendError::Closed)
    }

    fn submit(&self, payloads: Vec<Vec<u8>>) -> Result<Option<oneshot::Receiver<Appended>>, AppendError> {
        if payloads.is_empty() {
            return Ok(None);
        }
        let bytes = payloads.iter().map(|payload| payload.len() as u64 + protocol_mutlog::MAX_HEADER as u64).sum();
        if bytes > MAX_BATCH {
            return Err(AppendError::TooLarge { bytes });
        }
        let (done, wait) = oneshot::channel();
        let jobs = self.0.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        jobs.as_ref().ok_or(AppendError::Closed)?.send(Job { payloads, done }).map_err(|_| AppendError::Closed)?;
        Ok(Some(wait))
    }

    /// What there is now. Cheap.
    pub fn snapshot(&self) -> Arc<State> {
        Arc::clone(&self.0.shared.state.borrow())
    }

    /// Bytes of the whole log, watched. What it tells of is in [`Log::snapshot`] already.
    pub fn changed(&self) -> watch::Receiver<u64> {
        self.0.shared.total.subscribe()
    }

    /// How many watch the total: followers that wait.
    pub fn watchers(&self) -> usize {
        self.0.shared.total.receiver_count()
    }

    /// The whole state, watched; it changes also when a segment is frozen.
    pub fn states(&self) -> watch::Receiver<Arc<State>> {
        self.0.shared.state.subscribe()
    }

    /// Why the last append failed, watched; `None` after one that did not.
    pub fn trouble(&self) -> watch::Receiver<Option<AppendError>> {
        self.0.shared.trouble.subscribe()
    }

    /// How far the check of the frozen segments has come, and what it found, watched.
    pub fn scrub(&self) -> watch::Receiver<Scrub> {
        self.0.scrub.clone()
    }

    /// Bytes of a segment, `range` being within it. They are held in memory: ask [`Log::reader`] for more than a few.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn read(&self, segment: u32, range: Range<u64>) -> Result<Bytes, ReadError> {
        let mut reader = self.reader(segment, range).await?;
        let mut all = Vec::new();
        while let Some(piece) = reader.next().await? {
            all.extend_from_slice(&piece);
        }
        Ok(all.into())
    }

    /// Bytes of a segment, piece by piece.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn reader(&self, segment: u32, range: Range<u64>) -> Result<SegmentReader, ReadError> {
        let state = self.snapshot();
        let info = state.segment(segment).ok_or(ReadError::NoSegment { number: segment })?;
        info.reader(range).await
    }

    /// Writes what was submitted before, then gives up the folder. What exists can be read afterwards.
    pub async fn close(&self) {
        self.0.stop();
        let mut ended = self.0.ended.clone();
        // The writer never sends: it is the end of the channel that is waited for.
        while ended.changed().await.is_ok() {}
        let waiting = self.clone();
        // The thread has ended or is about to.
        let _ = burrow_task::spawn_blocking(move || waiting.0.join()).await;
    }
}

impl Inner {
    fn stop(&self) {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    fn join(&self) {
        if let Some(writer) = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take() {
            let _ = writer.join();
        }
        self.scrubber.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.stop();
        self.join();
    }
}
