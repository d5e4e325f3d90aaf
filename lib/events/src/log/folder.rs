//! The folder of a log: segments named by the number of their first event, and the lock of whoever writes.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use super::state::State;
use super::writer::{Seen, first_position};
use super::{Options, Position, Stored, record};

/// Locked by whoever writes.
const LOCK: &str = "events.lock";
const ENDING: &str = ".events";
/// A segment with fewer bytes cannot hold an event: they are less than its first record.
const BEGUN: usize = 64;

/// Why a log cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process writes there.
    #[error("{}: the event log is in use by another process", path.display())]
    InUse {
        /// The folder.
        path: PathBuf,
    },
    /// The system refuses something.
    #[error("{}: {source}", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// The system's word.
        source: io::Error,
    },
}

/// Proof that nobody else writes in the folder; the system takes it back however the process ends.
#[derive(Debug)]
pub(super) struct Held(#[expect(dead_code, reason = "the lock lasts as long as the file is open")] File);

/// A file of events.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) path: PathBuf,
    /// Number of its last event; of an empty one, that before its first.
    pub(super) last: u64,
    /// Bytes that are whole.
    pub(super) bytes: u64,
}

pub(super) struct Found {
    pub(super) state: State,
    pub(super) seen: Seen,
    pub(super) held: Held,
    pub(super) segments: Vec<Segment>,
    pub(super) notes: Vec<String>,
}

/// Where a segment lies whose first event will have a number after `position`.
pub(super) fn segment_path(dir: &Path, position: Position) -> PathBuf {
    dir.join(format!("{:020}{ENDING}", position.id.saturating_add(1)))
}

/// Makes names in the folder last.
pub(super) fn sync(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

pub(super) fn open(dir: &Path, options: &Options) -> Result<Found, OpenError> {
    let file = |path: &Path| {
        let path = path.to_owned();
        move |source| OpenError::File { path, source }
    };
    std::fs::create_dir_all(dir).map_err(file(dir))?;
    let path = dir.join(LOCK);
    let lock = File::options().create(true).truncate(false).write(true).open(&path).map_err(file(&path))?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(std::fs::TryLockError::WouldBlock) => return Err(OpenError::InUse { path: dir.to_owned() }),
        Err(std::fs::TryLockError::Error(source)) => return Err(OpenError::File { path, source }),
    }
    // What a crash left of a try.
    let _ = std::fs::remove_file(dir.join(super::writer::PROBE));
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(file(dir))? {
        let entry = entry.map_err(file(dir))?;
        if entry.file_name().to_str().and_then(|name| name.strip_suffix(ENDING)).is_some_and(|number| number.parse::<u64>().is_ok()) {
            paths.push(entry.path());
        }
    }
    // Of equal length, so that their order is that of their numbers.
    paths.sort();
    let mut found = Found {
        state: State::begin(first_position(&options.clock)),
        seen: Seen::new(options.deliveries),
        held: Held(lock),
        segments: Vec::new(),
        notes: Vec::new(),
    };
    let count = paths.len();
    for (index, path) in paths.into_iter().enumerate() {
        let bytes = std::fs::read(&path).map_err(file(&path))?;
        let segment = record::read(&bytes);
        let Some(base) = segment.base else {
            found.notes.push(format!("{}: has no beginning and is passed over", path.display()));
            if bytes.len() < BEGUN {
                // A crash while it was begun: nobody was told of anything in it.
                std::fs::remove_file(&path).map_err(file(&path))?;
            } else {
                std::fs::rename(&path, path.with_extension("damaged")).map_err(file(&path))?;
            }
            continue;
        };
        if found.segments.is_empty() {
            found.state = State::begin(base);
        }
        if segment.odd > 0 {
            found.notes.push(format!("{}: {} records are no events of this log and are passed over", path.display(), segment.odd));
        }
        let surplus = bytes.len() - segment.whole;
        if surplus > 0 && index + 1 == count {
            found.notes.push(format!("{}: {surplus} bytes of an unfinished record were cut off, as after a crash", path.display()));
            let opened = File::options().write(true).open(&path).map_err(file(&path))?;
            opened.set_len(segment.whole as u64).and_then(|()| opened.sync_all()).map_err(file(&path))?;
        } else if surplus > 0 {
            found.notes.push(format!("{}: the last {surplus} bytes are damaged; the events in them are lost", path.display()));
        }
        for (event, delivery) in segment.events {
            let last = found.state.last();
            // A segment that was given up after a failed write may hold events that others took the place of.
            if event.id > last.id && event.time > last.time {
                found.seen.remember(&event.source, &delivery, event.id);
                found.state.push(std::sync::Arc::new(Stored::new(event)));
            }
        }
        let last = found.state.last().id.max(base.id);
        found.segments.push(Segment { path, last, bytes: segment.whole as u64 });
    }
    found.state.trim(&options.retention, crate::time::from_ms(options.clock.now_ms()));
    Ok(found)
}
