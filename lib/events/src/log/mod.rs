//! The durable log of events.
//!
//! A thread of its own gives numbers and times, writes, and shows: what waits while it writes shares the next write and the next fsync. An event is
//! acknowledged and shown only when it is on disk, so no follower ever sees one that a crash takes back, and no sender is told of one that is lost. Everything
//! that is kept is in memory too, rendered once and shared by all who read it.
//!
//! Waiting: register, then look, then wait. A timeout looks once more, and says the time of the last event, never that of the clock; so whatever the
//! interleaving of an event and a timeout, the event is seen (`spec/pubsubhelper.md` §7 row 3).

mod folder;
pub mod record;
mod state;
mod writer;

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use burrow_clock::SharedClock;
use bytes::Bytes;
use jiff::Timestamp;
use tokio::sync::{mpsc, oneshot, watch};

use crate::{After, Draft, Event, Topics};

pub use folder::OpenError;
pub use state::Batch;
use state::Shared;
use writer::{Job, Sequencer, Writer};

/// Largest event, bytes of its JSON.
pub const MAX_EVENT: usize = 128 << 10;

/// How much is kept. An event goes when it is older than `age` and more than `count` are kept, or when `bytes` are exceeded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// Kept for at least so long.
    pub age: Duration,
    /// So many are kept however old they are.
    pub count: usize,
    /// Never more memory (and about as much disk) than this; wins over both others.
    pub bytes: usize,
}

impl Default for Retention {
    fn default() -> Self {
        // Over a long weekend; the reference keeps an hour.
        Retention { age: Duration::from_secs(72 * 3600), count: 1_000, bytes: 128 << 20 }
    }
}

/// How a log is opened.
#[derive(Debug, Clone)]
pub struct Options {
    /// For the times of events.
    pub clock: SharedClock,
    /// How much is kept.
    pub retention: Retention,
    /// Names of deliveries that are remembered, to know a repeated one.
    pub deliveries: usize,
}

impl Options {
    /// The usual ones.
    pub fn new(clock: SharedClock) -> Options {
        Options { clock, retention: Retention::default(), deliveries: 100_000 }
    }
}

/// An event that is kept, with its bytes.
#[derive(Debug)]
pub struct Stored {
    /// The event.
    pub event: Arc<Event>,
    json: Bytes,
    frame: std::sync::OnceLock<Bytes>,
}

impl Stored {
    fn new(event: Event) -> Stored {
        let json = crate::json::pretty(&event).into();
        Stored { event: Arc::new(event), json, frame: std::sync::OnceLock::new() }
    }

    /// Its JSON as the reference writes it, shared.
    pub fn json(&self) -> Bytes {
        self.json.clone()
    }

    /// It as one server-sent event with its number as id, shared.
    pub fn sse(&self) -> Bytes {
        let render = || format!("id: {}\ndata: {}\n\n", self.event.id, crate::json::compact(&self.event)).into();
        self.frame.get_or_init(render).clone()
    }

    /// Memory, roughly: the fields, the JSON, and the frame that a waiter may want.
    fn weight(&self) -> usize {
        self.json.len() * 3 + 300
    }
}

/// What became of a draft.
#[derive(Debug, Clone)]
pub enum Appended {
    /// It is an event now, on disk and visible.
    New(Arc<Stored>),
    /// Its delivery was appended before, as the event with this number.
    Duplicate(u64),
}

impl Appended {
    /// Number of the event.
    pub fn id(&self) -> u64 {
        match self {
            Appended::New(stored) => stored.event.id,
            Appended::Duplicate(id) => *id,
        }
    }
}

/// Why an event was not appended. The sender must be told to send it again.
#[derive(Debug, Clone, thiserror::Error)]
pub enum AppendError {
    /// The disk is full or failed. The next append tries anew.
    #[error("cannot append to the event log: {}: {source}; free some space, or look at the disk", path.display())]
    Write {
        /// Which file.
        path: PathBuf,
        /// The system's word.
        source: Arc<std::io::Error>,
    },
    /// More than [`MAX_EVENT`].
    #[error("an event of {bytes} bytes is larger than any hint needs to be ({MAX_EVENT})")]
    TooLarge {
        /// Its bytes.
        bytes: usize,
    },
    /// The log was closed.
    #[error("the event log is closed")]
    Closed,
}

/// Where the log stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// Number of the last event; of a new log, the number before its first.
    pub id: u64,
    /// Its time; of a new log, when it was begun. Every later event has a later one.
    pub time: Timestamp,
}

/// How waiting for one event ended.
#[derive(Debug, Clone)]
pub enum Waited {
    /// With events, oldest first; at least one.
    Events(Batch),
    /// With none: ask again after the batch's position. At once when there is a gap, else when the limit was over.
    Nothing(Batch),
    /// The log was closed.
    Closed,
}

/// An open log. Cheap to clone; closed by [`Log::close`], or when the last clone is dropped.
#[derive(Debug, Clone)]
pub struct Log(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    shared: Arc<Shared>,
    backend: Mutex<Backend>,
    opened: Vec<String>,
}

#[derive(Debug)]
enum Backend {
    Disk { jobs: mpsc::UnboundedSender<Job>, thread: JoinHandle<()> },
    Memory(Box<Sequencer>),
    Closed,
}

impl Log {
    /// Opens the log in `dir`, or begins one. Takes the folder's lock, reads what is kept, and cuts off what a crash left unfinished. Blocks meanwhile.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(dir: &Path, options: Options) -> Result<Log, OpenError> {
        let found = folder::open(dir, &options)?;
        let shared = Arc::new(Shared::new(found.state, options.retention));
        let sequencer = Sequencer::new(found.seen, options, Arc::clone(&shared));
        let mut writer = Writer::new(dir, found.held, found.segments, sequencer);
        let (jobs, queue) = mpsc::unbounded_channel();
        let running = std::thread::Builder::new().name("event-log".into()).spawn(move || writer.run(queue));
        let thread = running.map_err(|source| OpenError::File { path: dir.to_owned(), source })?;
        Ok(Log(Arc::new(Inner { shared, backend: Mutex::new(Backend::Disk { jobs, thread }), opened: found.notes })))
    }

    /// A log without a folder: what it holds is gone with the process.
    pub fn in_memory(options: Options) -> Log {
        let state = state::State::begin(writer::first_position(&options.clock));
        let shared = Arc::new(Shared::new(state, options.retention));
        let sequencer = Sequencer::new(writer::Seen::new(options.deliveries), options, Arc::clone(&shared));
        Log(Arc::new(Inner { shared, backend: Mutex::new(Backend::Memory(Box::new(sequencer))), opened: Vec::new() }))
    }

    /// What was found at the start that an operator should know: bytes cut off, records that cannot be read.
    pub fn opened(&self) -> &[String] {
        &self.0.opened
    }

    /// Appends an event. When this returns it is on disk and every follower can see it. Dropping the future does not take it back.
    ///
    /// # Errors
    /// [`AppendError`].
    pub async fn append(&self, draft: Draft) -> Result<Appended, AppendError> {
        let (done, wait) = oneshot::channel();
        match &mut *self.0.backend() {
            Backend::Disk { jobs, .. } => jobs.send(Job::Append { draft: Box::new(draft), done }).map_err(|_| AppendError::Closed)?,
            Backend::Memory(sequencer) => return sequencer.append_to_memory(draft),
            Backend::Closed => return Err(AppendError::Closed),
        }
        wait.await.unwrap_or(Err(AppendError::Closed))
    }

    /// Where it stands now.
    pub fn position(&self) -> Position {
        self.0.shared.read().last()
    }

    /// Up to `max` events after a moment, oldest first.
    pub fn after(&self, after: After, topics: &Topics, max: usize) -> Batch {
        self.0.shared.look(after, topics, max)
    }

    /// Everything that is kept, newest first; with a time, what is not older (`spec/pubsubhelper.md` §3.3: an equal one is included).
    pub fn recent(&self, not_before: Option<Timestamp>, topics: &Topics) -> Vec<Arc<Stored>> {
        self.0.shared.recent(not_before, topics)
    }

    /// Up to `max` events older than the one with this number, newest first, for paging back; `None`: the newest ones.
    pub fn before(&self, id: Option<u64>, topics: &Topics, max: usize) -> Vec<Arc<Stored>> {
        self.0.shared.before(id, topics, max)
    }

    /// Events, their memory in bytes, and the oldest one that is kept.
    pub fn kept(&self) -> (usize, usize, Option<Arc<Stored>>) {
        let state = self.0.shared.read();
        (state.events.len(), state.bytes, state.events.front().cloned())
    }

    /// Events as they come, from a moment on.
    pub fn subscribe(&self, after: After, topics: Topics) -> Subscription {
        Subscription::new(&self.0.shared, after, topics)
    }

    /// Waits for events after a moment: those that are kept at once (up to `max`, at least one), else the next one, whatever its time, else until `limit` is over.
    pub async fn wait(&self, after: After, topics: &Topics, max: usize, limit: impl Future<Output = ()>) -> Waited {
        let mut subscription = self.subscribe(after, topics.clone());
        let mut limit = std::pin::pin!(limit);
        let answer = |batch: Batch| if batch.events.is_empty() { Waited::Nothing(batch) } else { Waited::Events(batch) };
        loop {
            // Registered before this look: what comes after it wakes.
            let batch = subscription.look(max);
            if !batch.events.is_empty() || batch.gap {
                return answer(batch);
            }
            if subscription.closed {
                return Waited::Closed;
            }
            tokio::select! {
                () = subscription.changed() => {}
                // Both may be ready at once. The position is of the same moment as this look: what is not in the one is after the other.
                () = &mut limit => return answer(subscription.look(max)),
            }
        }
    }

    /// How many wait for the next event.
    pub fn waiters(&self) -> usize {
        self.0.shared.tail.receiver_count()
    }

    /// Why the last append failed, watched; `None` after one that did not.
    pub fn trouble(&self) -> watch::Receiver<Option<AppendError>> {
        self.0.shared.trouble.subscribe()
    }

    /// After a failed append, tries whether another would fail too, and lets [`Log::trouble`] say so. Does nothing when there is no trouble. Whoever sends
    /// events may have turned away from a log that is said to fail: without this it would be said to fail for ever.
    pub async fn probe(&self) {
        let (done, wait) = oneshot::channel();
        match &*self.0.backend() {
            Backend::Disk { jobs, .. } => drop(jobs.send(Job::Probe { done })),
            Backend::Memory(_) | Backend::Closed => return,
        }
        // A log that was closed meanwhile has dropped the sender.
        let _ = wait.await;
    }

    /// Writes what was submitted before, then gives up the folder. What is kept can be read afterwards; those who wait are told.
    pub async fn close(&self) {
        let thread = self.0.stop();
        if let Some(thread) = thread {
            let _ = burrow_task::spawn_blocking(move || thread.join()).await;
        }
        self.0.shared.close();
    }
}

impl Inner {
    fn backend(&self) -> std::sync::MutexGuard<'_, Backend> {
        self.backend.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stop(&self) -> Option<JoinHandle<()>> {
        match std::mem::replace(&mut *self.backend(), Backend::Closed) {
            Backend::Disk { jobs, thread } => {
                drop(jobs);
                Some(thread)
            }
            Backend::Memory(_) | Backend::Closed => None,
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Some(thread) = self.stop() {
            let _ = thread.join();
        }
        self.shared.close();
    }
}

/// A reader that sees every event once, in order.
#[derive(Debug)]
pub struct Subscription {
    shared: Arc<Shared>,
    tail: watch::Receiver<Option<u64>>,
    after: After,
    topics: Topics,
    /// Found and not handed out yet.
    held: VecDeque<Next>,
    closed: bool,
}

/// What a subscription hands out.
#[derive(Debug, Clone)]
pub enum Next {
    /// An event.
    Event(Arc<Stored>),
    /// Events before the next one are not kept any more, or belong to a log that is gone.
    Gap,
}

/// Events that a subscription takes at a time.
const TAKEN: usize = 256;

impl Subscription {
    fn new(shared: &Arc<Shared>, after: After, topics: Topics) -> Subscription {
        let tail = shared.tail.subscribe();
        // Now is now, not when somebody first waits.
        let after = if after == After::Now { After::Id(shared.read().last().id) } else { after };
        let closed = tail.borrow().is_none();
        Subscription { shared: Arc::clone(shared), tail, after, topics, held: VecDeque::new(), closed }
    }

    /// The next event. `None`: the log was closed. Cancel-safe.
    pub async fn next(&mut self) -> Option<Next> {
        loop {
            if let Some(next) = self.held.pop_front() {
                return Some(next);
            }
            self.take();
            if self.held.is_empty() {
                if self.closed {
                    return None;
                }
                self.changed().await;
            }
        }
    }

    /// What is there already, without waiting, up to a few hundred; empty when there is nothing.
    pub fn ready(&mut self) -> Vec<Next> {
        if self.held.is_empty() {
            self.take();
        }
        self.held.drain(..).collect()
    }

    fn take(&mut self) {
        let batch = self.look(TAKEN);
        self.held.extend(batch.gap.then_some(Next::Gap));
        self.held.extend(batch.events.into_iter().map(Next::Event));
    }

    /// What is there after the last look, and up to where that was.
    fn look(&mut self, max: usize) -> Batch {
        // What is seen from here on is looked for now; what comes later wakes.
        if self.tail.borrow_and_update().is_none() {
            self.closed = true;
        }
        let batch = self.shared.look(self.after, &self.topics, max);
        self.after = After::Id(batch.position.id);
        batch
    }

    async fn changed(&mut self) {
        if self.tail.changed().await.is_err() {
            self.closed = true;
        }
    }
}
