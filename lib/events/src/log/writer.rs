//! Numbers, times and the disk.

use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use burrow_clock::SharedClock;
use jiff::{SignedDuration, Timestamp};
use tokio::sync::{mpsc, oneshot};
use xxhash_rust::xxh3::Xxh3;

use super::folder::{self, Held, Segment};
use super::state::Shared;
use super::{AppendError, Appended, MAX_EVENT, Options, Position, Stored, record};
use crate::time::from_ms;
use crate::{Draft, Event};

/// Written to find out whether the disk takes bytes again.
pub(super) const PROBE: &str = "events.probe";

/// Drafts that share a write, at most.
const BATCH: usize = 4096;

pub(super) enum Job {
    Append {
        draft: Box<Draft>,
        done: oneshot::Sender<Result<Appended, AppendError>>,
    },
    /// After a failure: find out whether it would still fail.
    Probe {
        done: oneshot::Sender<()>,
    },
}

impl std::fmt::Debug for Job {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Job::Append { draft, .. } => f.debug_struct("Append").field("draft", draft).finish_non_exhaustive(),
            Job::Probe { .. } => f.write_str("Probe"),
        }
    }
}

/// Where a new log begins. The numbers follow from the clock, so that those of a log that was lost are smaller: whoever asks for one of them is told of a gap.
pub(super) fn first_position(clock: &SharedClock) -> Position {
    let ms = clock.now_ms();
    Position { id: u64::try_from(ms).unwrap_or(0).saturating_mul(1000), time: from_ms(ms) }
}

/// Deliveries that were appended, the newest so many.
#[derive(Debug)]
pub(super) struct Seen {
    by_name: HashMap<u128, u64>,
    order: VecDeque<u128>,
    max: usize,
}

impl Seen {
    pub(super) fn new(max: usize) -> Seen {
        Seen { by_name: HashMap::new(), order: VecDeque::new(), max }
    }

    fn key(source: &str, delivery: &str) -> u128 {
        // Names come from senders that proved themselves; what they could gain by two that look alike is to lose one of their own.
        let mut hash = Xxh3::new();
        hash.update(source.as_bytes());
        hash.update(&[0]);
        hash.update(delivery.as_bytes());
        hash.digest128()
    }

    fn find(&self, source: &str, delivery: Option<&str>) -> Option<u64> {
        self.by_name.get(&Seen::key(source, delivery.filter(|name| !name.is_empty())?)).copied()
    }

    pub(super) fn remember(&mut self, source: &str, delivery: &str, id: u64) {
        if delivery.is_empty() || self.max == 0 {
            return;
        }
        let key = Seen::key(source, delivery);
        if self.by_name.insert(key, id).is_none() {
            self.order.push_back(key);
        }
        while self.order.len() > self.max {
            if let Some(oldest) = self.order.pop_front() {
                self.by_name.remove(&oldest);
            }
        }
    }

    fn forget(&mut self, source: &str, delivery: &str) {
        let key = Seen::key(source, delivery);
        self.by_name.remove(&key);
        // It was among the last ones.
        if let Some(at) = self.order.iter().rposition(|known| *known == key) {
            self.order.remove(at);
        }
    }
}

/// Gives numbers and times.
#[derive(Debug)]
pub(super) struct Sequencer {
    shared: Arc<Shared>,
    options: Options,
    last: Position,
    seen: Seen,
}

/// A draft that has become an event, but is not on disk.
struct Fresh {
    stored: Arc<Stored>,
    delivery: Option<String>,
    done: oneshot::Sender<Result<Appended, AppendError>>,
}

impl Sequencer {
    pub(super) fn new(seen: Seen, options: Options, shared: Arc<Shared>) -> Sequencer {
        let last = shared.read().last();
        Sequencer { shared, options, last, seen }
    }

    fn now(&self) -> Timestamp {
        from_ms(self.options.clock.now_ms())
    }

    /// The next number and time. A clock that was set back does not matter.
    fn next(&mut self) -> Position {
        let later = self.last.time.checked_add(SignedDuration::from_nanos(1)).unwrap_or(Timestamp::MAX);
        self.last = Position { id: self.last.id.saturating_add(1), time: self.now().max(later) };
        self.last
    }

    /// An event, or the number that the delivery has already.
    fn event(&mut self, draft: Draft) -> Result<(Arc<Stored>, Option<String>), Result<Appended, AppendError>> {
        if let Some(id) = self.seen.find(&draft.source, draft.delivery.as_deref()) {
            return Err(Ok(Appended::Duplicate(id)));
        }
        let before = self.last;
        let Position { id, time } = self.next();
        let delivery = draft.delivery.clone();
        let stored = Stored::new(Event::new(id, time, draft));
        if stored.json.len() > MAX_EVENT {
            self.last = before;
            return Err(Err(AppendError::TooLarge { bytes: stored.json.len() }));
        }
        if let Some(delivery) = &delivery {
            self.seen.remember(&stored.event.source, delivery, id);
        }
        Ok((Arc::new(stored), delivery))
    }

    /// Without a disk.
    pub(super) fn append_to_memory(&mut self, draft: Draft) -> Result<Appended, AppendError> {
        match self.event(draft) {
            Ok((stored, _)) => {
                self.shared.publish([Arc::clone(&stored)], self.now());
                Ok(Appended::New(stored))
            }
            Err(answer) => answer,
        }
    }
}

pub(super) struct Writer {
    dir: PathBuf,
    sequencer: Sequencer,
    segments: Vec<Segment>,
    /// The last of `segments`, open for appending; `None`: a new one is begun first.
    file: Option<File>,
    /// A segment that has so many bytes is followed by a new one.
    full: u64,
    /// Last, so that the folder is given up after everything else.
    _held: Held,
}

impl Writer {
    pub(super) fn new(dir: &Path, held: Held, segments: Vec<Segment>, sequencer: Sequencer) -> Writer {
        // Whole segments are removed: sixteen of them waste a sixteenth of what is kept.
        let full = (sequencer.options.retention.bytes as u64 / 48).clamp(64 << 10, 8 << 20);
        let file = segments.last().and_then(|segment| File::options().append(true).open(&segment.path).ok());
        Writer { dir: dir.to_owned(), sequencer, segments, file, full, _held: held }
    }

    pub(super) fn run(&mut self, mut jobs: mpsc::UnboundedReceiver<Job>) {
        let mut batch = Vec::new();
        while let Some(first) = jobs.blocking_recv() {
            batch.push(first);
            while batch.len() < BATCH
                && let Ok(job) = jobs.try_recv()
            {
                batch.push(job);
            }
            self.append(batch.drain(..));
        }
    }

    fn append(&mut self, jobs: impl Iterator<Item = Job>) {
        let before = self.sequencer.last;
        let mut bytes = Vec::new();
        let mut fresh: Vec<Fresh> = Vec::new();
        let mut repeated = Vec::new();
        let mut probes = Vec::new();
        for job in jobs {
            let (draft, done) = match job {
                Job::Append { draft, done } => (draft, done),
                Job::Probe { done } => {
                    probes.push(done);
                    continue;
                }
            };
            match self.sequencer.event(*draft) {
                Ok((stored, delivery)) => {
                    record::write(&mut bytes, crate::json::record(&stored.event, delivery.as_deref()).as_bytes());
                    fresh.push(Fresh { stored, delivery, done });
                }
                // The first of its name may be in this very batch: it is acknowledged when that is.
                Err(answer) => repeated.push((answer, done)),
            }
        }
        let written = if fresh.is_empty() { Ok(()) } else { self.write(&bytes, before) };
        // Receivers that are gone have lost interest, no more.
        match written {
            Ok(()) => {
                let first = self.sequencer.shared.publish(fresh.iter().map(|fresh| Arc::clone(&fresh.stored)), self.sequencer.now());
                if !fresh.is_empty() {
                    self.sequencer.shared.trouble.send_if_modified(|trouble| trouble.take().is_some());
                }
                for Fresh { stored, done, .. } in fresh {
                    let _ = done.send(Ok(Appended::New(stored)));
                }
                for (answer, done) in repeated {
                    let _ = done.send(answer);
                }
                self.retire(first);
            }
            Err(error) => {
                tracing::error!(%error, events = fresh.len(), "Events cannot be written; their senders are told to send them again.");
                self.sequencer.shared.trouble.send_replace(Some(error.clone()));
                for Fresh { stored, delivery, done } in fresh {
                    if let Some(delivery) = delivery {
                        self.sequencer.seen.forget(&stored.event.source, &delivery);
                    }
                    let _ = done.send(Err(error.clone()));
                }
                for (answer, done) in repeated {
                    let failed = answer.as_ref().is_ok_and(|appended| appended.id() > before.id);
                    let _ = done.send(if failed { Err(error.clone()) } else { answer });
                }
            }
        }
        if !probes.is_empty() {
            self.probe();
        }
        for done in probes {
            let _ = done.send(());
        }
    }

    /// After a failure, writes as much as the largest event has, and takes it away again. What it shows is the trouble from now on.
    fn probe(&self) {
        let trouble = &self.sequencer.shared.trouble;
        if trouble.borrow().is_none() {
            return;
        }
        let path = self.dir.join(PROBE);
        let written = File::create(&path).and_then(|mut file| file.write_all(&vec![b'.'; MAX_EVENT]).and_then(|()| file.sync_all()));
        let _ = std::fs::remove_file(&path);
        match written {
            Ok(()) => {
                tracing::info!(path = %self.dir.display(), "The event log can be written again.");
                trouble.send_replace(None);
            }
            Err(source) => drop(trouble.send_replace(Some(AppendError::Write { path, source: Arc::new(source) }))),
        }
    }

    /// Appends to the last segment and waits for the disk. After a failure the segment is given up: what of the batch is on disk is unknown, and a new segment
    /// with larger numbers cannot be confused with it.
    fn write(&mut self, bytes: &[u8], before: Position) -> Result<(), AppendError> {
        if self.segments.last().is_none_or(|segment| segment.bytes >= self.full) {
            self.file = None;
        }
        if self.file.is_none() {
            self.begin(before)?;
        }
        let last = self.sequencer.last.id;
        let Some((segment, file)) = self.segments.last_mut().zip(self.file.as_mut()) else { return Err(AppendError::Closed) };
        match file.write_all(bytes).and_then(|()| file.sync_data()) {
            Ok(()) => {
                segment.bytes += bytes.len() as u64;
                segment.last = last;
                Ok(())
            }
            Err(source) => {
                // Gives space back to a full disk; that it may fail as well is why the segment is given up.
                let _ = file.set_len(segment.bytes);
                let path = segment.path.clone();
                self.file = None;
                if path == folder::segment_path(&self.dir, before) && std::fs::remove_file(&path).is_ok() {
                    // It was begun for this batch and holds nothing else. Kept, each try would take a little more of a disk that has little.
                    self.segments.pop();
                }
                Err(AppendError::Write { path, source: Arc::new(source) })
            }
        }
    }

    fn begin(&mut self, before: Position) -> Result<(), AppendError> {
        let path = folder::segment_path(&self.dir, before);
        let mut bytes = record::MAGIC.to_vec();
        record::write(&mut bytes, &record::base(before));
        let make = || {
            // Of the same name there can only be one in which nothing was ever acknowledged.
            let mut file = File::create(&path)?;
            file.write_all(&bytes)?;
            file.sync_all()?;
            folder::sync(&self.dir)?;
            Ok(file)
        };
        match make() {
            Ok(file) => {
                self.segments.retain(|segment| segment.path != path);
                self.segments.push(Segment { path, last: before.id, bytes: bytes.len() as u64 });
                self.file = Some(file);
                Ok(())
            }
            Err(source) => {
                let _ = std::fs::remove_file(&path);
                Err(AppendError::Write { path, source: Arc::new(source) })
            }
        }
    }

    /// Removes segments of which nothing is kept any more; `first` is the number of the first event that is.
    fn retire(&mut self, first: Option<u64>) {
        let Some(first) = first else { return };
        let gone = self.segments.iter().take(self.segments.len().saturating_sub(1)).take_while(|segment| segment.last < first).count();
        for segment in self.segments.drain(..gone) {
            if let Err(error) = std::fs::remove_file(&segment.path) {
                tracing::warn!(path = %segment.path.display(), %error, "An old segment of the event log cannot be removed.");
            }
        }
    }
}
