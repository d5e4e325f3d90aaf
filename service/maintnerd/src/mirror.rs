//! Keeps a copy of the log in an object store, in the background.
//!
//! The folder is the truth and the copy is for the day it is lost. A frozen segment is copied at once, the growing one every few minutes and at the end; an
//! older copy of a segment is removed when the newer one is there. Before anything is removed the copies must be beginnings of what the folder has: a folder that was
//! begun anew by mistake must not eat the copy of the old one.

use std::sync::Arc;
use std::time::Duration;

use burrow_clock::SharedClock;
use burrow_task::BoxFuture;
use protocol_mutlog::{Digest, Sha224};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::bucket::{Bucket, BucketError, Copied};
use crate::log::{Log, ReadError, SegmentInfo, State};

/// How often the growing segment is copied, if it has grown.
pub const EVERY: Duration = Duration::from_secs(600);

/// Pauses between tries: doubled from the first to the last.
const AGAIN: Duration = Duration::from_secs(1);
const AGAIN_AT_MOST: Duration = Duration::from_secs(60);

/// Why the copy is not up to date.
#[derive(Debug, thiserror::Error)]
pub enum MirrorError {
    /// The store.
    #[error(transparent)]
    Store(#[from] BucketError),
    /// The folder.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The bytes of a segment are not what they were.
    #[error("segment {number} is damaged: its digest is {found}, not {expected}; it is not copied")]
    Damaged {
        /// Its number.
        number: u32,
        /// What it was.
        expected: Sha224,
        /// What it is.
        found: Sha224,
    },
    /// The copy is of another log, or has more than this one.
    #[error("the object {name} is not the beginning of segment {number} of this log; restore the folder from the copies, or copy under another prefix")]
    Foreign {
        /// Number of the segment.
        number: u32,
        /// Name of the object.
        name: String,
    },
}

/// How the copy stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MirrorStatus {
    /// Bytes of the log that are in the store.
    pub copied: u64,
    /// When something was last copied, Unix milliseconds.
    pub last_ms: Option<i64>,
    /// Why copying does not go on.
    pub trouble: Option<Trouble>,
}

/// A failure that is tried again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// What failed, as a sentence.
    pub text: String,
    /// How often in a row.
    pub attempts: u32,
    /// Since when, Unix milliseconds.
    pub since_ms: i64,
}

/// Copies a log. Make one, keep its [`Mirror::status`], and run it as a task.
#[derive(Debug)]
pub struct Mirror {
    log: Log,
    bucket: Bucket,
    every: Duration,
    clock: SharedClock,
    status: watch::Sender<MirrorStatus>,
}

/// What is known to be in the store. `None` in its place: it must be looked at.
struct Known {
    copies: Vec<Copied>,
    /// Segments below this number are copied, and their older copies are gone.
    settled: u32,
}

impl Mirror {
    /// Copies `log` to `bucket`, the growing segment at intervals of `every`.
    pub fn new(log: Log, bucket: Bucket, every: Duration, clock: SharedClock) -> Mirror {
        Mirror { log, bucket, every, clock, status: watch::channel(MirrorStatus::default()).0 }
    }

    /// How the copy stands, watched.
    pub fn status(&self) -> watch::Receiver<MirrorStatus> {
        self.status.subscribe()
    }

    /// Copies until `shutdown`, then once more, so that the copy ends up whole.
    ///
    /// # Errors
    /// The last copy failed: the store lacks the end of the log.
    pub fn run(self, shutdown: CancellationToken) -> BoxFuture<'static, Result<(), MirrorError>> {
        Box::pin(async move {
            let mut states = self.log.states();
            let mut known = None;
            // When the growing segment is due; none while the copy has all of it.
            let mut due: Option<Instant> = None;
            let mut attempts = 0;
            loop {
                let state = Arc::clone(&states.borrow_and_update());
                let now = Instant::now();
                let last = shutdown.is_cancelled();
                let growing = last || known.is_none() || due.is_some_and(|due| due <= now);
                let done = self.copy(&state, &mut known, growing).await;
                if last {
                    self.tell(&state, done.as_ref().map(|whole| *whole), &mut attempts);
                    return done.map(|_| ());
                }
                let pause = match &done {
                    Ok(true) => {
                        due = None;
                        None
                    }
                    Ok(false) => Some(*due.get_or_insert(now + self.every)),
                    Err(_) => {
                        // Whatever was known about the store may be wrong.
                        known = None;
                        let doubled = AGAIN.saturating_mul(1_u32.checked_shl(attempts).unwrap_or(u32::MAX)).min(AGAIN_AT_MOST);
                        Some(now + doubled)
                    }
                };
                let failed = done.is_err();
                self.tell(&state, done.as_ref().map(|whole| *whole), &mut attempts);
                tokio::select! {
                    () = shutdown.cancelled() => {}
                    () = tokio::time::sleep_until(pause.unwrap_or(now)), if pause.is_some() => {}
                    // After a failure a pause is a pause.
                    changed = states.changed(), if !failed => if changed.is_err() { shutdown.cancelled().await },
                }
            }
        })
    }

    fn tell(&self, state: &State, done: Result<bool, &MirrorError>, attempts: &mut u32) {
        let now = self.clock.now_ms();
        match done {
            Ok(whole) => {
                if *attempts > 0 {
                    tracing::info!("The log is copied to the object store again.");
                }
                *attempts = 0;
                self.status.send_if_modified(|status| {
                    let copied = if whole { state.total } else { status.copied };
                    let better = status.trouble.take().is_some() || copied != status.copied;
                    if copied != status.copied {
                        status.last_ms = Some(now);
                    }
                    status.copied = copied;
                    better
                });
            }
            Err(error) => {
                if *attempts == 0 {
                    tracing::warn!(%error, "The log cannot be copied to the object store; it is tried again until it can.");
                }
                *attempts = attempts.saturating_add(1);
                self.status.send_modify(|status| {
                    let since_ms = status.trouble.as_ref().map_or(now, |trouble| trouble.since_ms);
                    status.trouble = Some(Trouble { text: error.to_string(), attempts: *attempts, since_ms });
                });
            }
        }
    }

    /// Copies what is missing; the growing segment only if asked to. Whether the store has everything then.
    async fn copy(&self, state: &State, known: &mut Option<Known>, growing: bool) -> Result<bool, MirrorError> {
        let store = match known {
            Some(store) => store,
            None => known.insert(self.look(state).await?),
        };
        let settled = usize::try_from(store.settled).unwrap_or(usize::MAX);
        let mut whole = true;
        for segment in state.segments.iter().skip(settled) {
            let name = Copied { number: segment.number, sha224: segment.sha224, size: segment.size };
            if !store.copies.contains(&name) {
                if !segment.frozen && !growing {
                    whole = false;
                    continue;
                }
                self.send(segment, &name).await?;
                store.copies.push(name);
                tracing::debug!(log.segment = segment.number, log.bytes = segment.size, "A segment was copied to the object store.");
            }
            while let Some(place) = store.copies.iter().position(|copy| copy.number == name.number && *copy != name) {
                if let Some(older) = store.copies.get(place) {
                    self.bucket.delete(older).await?;
                }
                store.copies.swap_remove(place);
            }
            if segment.frozen {
                store.settled = segment.number.saturating_add(1);
                store.copies.retain(|copy| copy.number != segment.number);
                self.count(state, segment.number);
            }
        }
        Ok(whole)
    }

    /// Shows that all segments up to `number` are copied.
    fn count(&self, state: &State, number: u32) {
        let copied = state.segments.iter().take_while(|segment| segment.number <= number).map(|segment| segment.size).sum();
        let now = self.clock.now_ms();
        self.status.send_if_modified(|status| {
            let more = status.copied < copied;
            if more {
                (status.copied, status.last_ms) = (copied, Some(now));
            }
            more
        });
    }

    /// What is in the store, if all of it belongs to this log.
    async fn look(&self, state: &State) -> Result<Known, MirrorError> {
        let copies = self.bucket.list().await?;
        for copy in &copies {
            let foreign = || MirrorError::Foreign { number: copy.number, name: copy.name() };
            let segment = state.segment(copy.number).ok_or_else(foreign)?;
            let same = copy.size == segment.size && copy.sha224 == segment.sha224;
            if !same && (copy.size >= segment.size || digest(segment, copy.size).await? != copy.sha224) {
                return Err(foreign());
            }
        }
        Ok(Known { copies, settled: 0 })
    }

    async fn send(&self, segment: &SegmentInfo, name: &Copied) -> Result<(), MirrorError> {
        let mut reader = segment.reader(0..segment.size).await?;
        let mut digest = Digest::default();
        let damaged = |found| MirrorError::Damaged { number: name.number, expected: name.sha224, found };
        if Bucket::is_small(segment.size) {
            let mut all = Vec::with_capacity(usize::try_from(segment.size).unwrap_or_default());
            while let Some(piece) = reader.next().await? {
                digest.update(&piece);
                all.extend_from_slice(&piece);
            }
            let found = digest.finish();
            return if found == name.sha224 { Ok(self.bucket.put(name, all.into()).await?) } else { Err(damaged(found)) };
        }
        let mut upload = self.bucket.begin(name).await?;
        let sent = async {
            while let Some(piece) = reader.next().await? {
                digest.update(&piece);
                upload.write(piece).await?;
            }
            let found = digest.finish();
            if found == name.sha224 { Ok(()) } else { Err(damaged(found)) }
        };
        match sent.await {
            Ok(()) => Ok(upload.finish().await?),
            Err(error) => {
                upload.abort().await;
                Err(error)
            }
        }
    }
}

/// Digest of the first `size` bytes.
async fn digest(segment: &SegmentInfo, size: u64) -> Result<Sha224, ReadError> {
    let mut digest = Digest::default();
    let mut reader = segment.reader(0..size).await?;
    while let Some(piece) = reader.next().await? {
        digest.update(&piece);
    }
    Ok(digest.finish())
}
