//! The one writer.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use burrow_clock::SharedClock;
use protocol_mutlog::{Digest, MAX_HEADER, SegmentName, append_record, starts_new_segment};
use tokio::sync::{mpsc, oneshot};

use super::{AppendError, Position, SegmentInfo, Shared, State};
use crate::folder::{self, Held};
use crate::frames::NOT_YET;

/// A group takes no more batches when it has this many bytes, so that the first of them does not wait long.
const GROUP: usize = 8 << 20;
/// A buffer that grew larger than this for a large batch is given back.
const KEEP: usize = 2 * GROUP;

/// What every record begins with.
const FIRST: u8 = b'R';

/// What became of a batch.
pub(super) type Appended = Result<Vec<Position>, AppendError>;

/// A batch that waits.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) payloads: Vec<Vec<u8>>,
    pub(super) done: oneshot::Sender<Appended>,
}

impl Job {
    /// Payload bytes. Headers do not count, as in the reference's rule for beginning a new segment.
    fn bytes(&self) -> usize {
        self.payloads.iter().map(Vec::len).sum()
    }
}

/// The segment that grows.
#[derive(Debug)]
pub(super) struct Growing {
    pub(super) number: u32,
    pub(super) path: Arc<Path>,
    pub(super) file: Arc<File>,
    /// Bytes that were acknowledged.
    pub(super) size: u64,
    pub(super) digest: Digest,
    pub(super) created_ms: i64,
    /// There may be more in the file than was acknowledged, left by a write that failed.
    pub(super) damaged: bool,
}

impl Growing {
    fn info(&self) -> SegmentInfo {
        SegmentInfo {
            number: self.number,
            size: self.size,
            sha224: self.digest.clone().finish(),
            frozen: false,
            path: Arc::clone(&self.path),
            created_ms: self.created_ms,
            open: Some(Arc::clone(&self.file)),
        }
    }

    /// Puts `bytes` behind what is there, on disk. `batches` are the places in it where a batch of several records begins: these get their first byte when
    /// all the rest is on disk.
    fn write(&self, bytes: &mut [u8], batches: &[usize]) -> io::Result<()> {
        put(bytes, batches, NOT_YET);
        let written = self.file.write_all_at(bytes, self.size).and_then(|()| self.file.sync_data());
        put(bytes, batches, FIRST);
        written?;
        if !batches.is_empty() {
            for at in batches {
                self.file.write_all_at(&[FIRST], self.size + *at as u64)?;
            }
            self.file.sync_data()?;
        }
        Ok(())
    }

    /// Takes away what a failed write left.
    fn repair(&mut self) -> io::Result<()> {
        if self.damaged {
            self.file.set_len(self.size)?;
            self.file.sync_all()?;
            self.damaged = false;
        }
        Ok(())
    }
}

fn put(bytes: &mut [u8], places: &[usize], what: u8) {
    for at in places {
        if let Some(byte) = bytes.get_mut(*at) {
            *byte = what;
        }
    }
}

/// Batches that share a write.
#[derive(Debug, Default)]
struct Group {
    bytes: Vec<u8>,
    batches: Vec<usize>,
    jobs: Vec<(Vec<Position>, oneshot::Sender<Appended>)>,
}

impl Group {
    fn is_empty(&self) -> bool {
        self.jobs.is_empty()
    }

    /// Takes a batch in; the group will stand at `offset` of `segment`, with `before` bytes of the log before it.
    fn add(&mut self, job: Job, segment: u32, offset: u64, before: u64) {
        if job.payloads.len() > 1 {
            self.batches.push(self.bytes.len());
        }
        let place = |payload: &Vec<u8>| {
            let start = self.bytes.len() as u64;
            append_record(&mut self.bytes, offset + start, payload);
            let end = self.bytes.len() as u64;
            Position { segment, offset: offset + start, size: end - start, total: before + end }
        };
        let positions = job.payloads.iter().map(place).collect();
        self.jobs.push((positions, job.done));
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.bytes.shrink_to(KEEP);
        self.batches.clear();
    }
}

/// Owns the folder.
#[derive(Debug)]
pub(super) struct Writer {
    dir: PathBuf,
    frozen: Vec<SegmentInfo>,
    frozen_bytes: u64,
    growing: Option<Growing>,
    /// Names were changed in the folder and are perhaps not on disk.
    names_pending: bool,
    shared: Arc<Shared>,
    clock: SharedClock,
    /// Given up last.
    _held: Held,
}

impl Writer {
    pub(super) fn new(dir: &Path, held: Held, frozen: Vec<SegmentInfo>, growing: Option<Growing>, shared: Arc<Shared>, clock: SharedClock) -> Writer {
        let frozen_bytes = frozen.iter().map(|segment| segment.size).sum();
        Writer { dir: dir.to_owned(), frozen, frozen_bytes, growing, names_pending: false, shared, clock, _held: held }
    }

    /// Gives an empty log its first record.
    pub(super) fn begin(&mut self) -> Result<(), AppendError> {
        let mut bytes = Vec::with_capacity(MAX_HEADER);
        append_record(&mut bytes, 0, b"");
        self.store(&mut bytes, &[])
    }

    /// Writes until everybody who could append is gone.
    pub(super) fn run(mut self, mut jobs: mpsc::UnboundedReceiver<Job>) {
        let mut waiting = Vec::new();
        while let Some(first) = jobs.blocking_recv() {
            let mut bytes = first.bytes();
            waiting.push(first);
            // Whatever came while the last write was under way.
            while bytes < GROUP
                && let Ok(job) = jobs.try_recv()
            {
                bytes += job.bytes();
                waiting.push(job);
            }
            self.commit(&mut waiting);
        }
    }

    fn commit(&mut self, waiting: &mut Vec<Job>) {
        let mut group = Group::default();
        for job in waiting.drain(..) {
            if starts_new_segment(self.size() + group.bytes.len() as u64, job.bytes()) {
                self.write(&mut group);
                // Asked again: what was to be written may not have been.
                if starts_new_segment(self.size(), job.bytes())
                    && let Err(error) = self.freeze()
                {
                    self.tell(Some(error.clone()));
                    let _ = job.done.send(Err(error));
                    continue;
                }
            }
            match self.number() {
                Some(number) => group.add(job, number, self.size(), self.frozen_bytes + self.size()),
                None => drop(job.done.send(Err(AppendError::NoNumber))),
            }
        }
        self.write(&mut group);
    }

    /// Bytes of the growing segment.
    fn size(&self) -> u64 {
        self.growing.as_ref().map_or(0, |growing| growing.size)
    }

    /// Number of the segment that the next record stands in.
    fn number(&self) -> Option<u32> {
        match &self.growing {
            Some(growing) => Some(growing.number),
            // A larger number would have no name.
            None => u32::try_from(self.frozen.len()).ok().filter(|number| *number < 1_000_000_000),
        }
    }

    /// Writes a group, shows it, and tells those who wait for it.
    fn write(&mut self, group: &mut Group) {
        if group.is_empty() {
            return;
        }
        let stored = self.store(&mut group.bytes, &group.batches);
        if stored.is_ok() {
            self.publish();
        }
        self.tell(stored.clone().err());
        for (positions, done) in group.jobs.drain(..) {
            let _ = done.send(stored.clone().map(|()| positions));
        }
        group.clear();
    }

    /// Logs and shows a failure once, and its end.
    fn tell(&self, error: Option<AppendError>) {
        let known = self.shared.trouble.borrow().is_some();
        match &error {
            Some(error) if !known => tracing::error!(log.dir = %self.dir.display(), %error, "Records cannot be appended to the log."),
            None if known => tracing::info!(log.dir = %self.dir.display(), "Records can be appended to the log again."),
            _ => {}
        }
        if known || error.is_some() {
            self.shared.trouble.send_replace(error);
        }
    }

    fn store(&mut self, bytes: &mut [u8], batches: &[usize]) -> Result<(), AppendError> {
        let number = self.number().ok_or(AppendError::NoNumber)?;
        if self.growing.is_none() {
            // The frozen name must be on disk before there is a file of the next number.
            self.sync_names()?;
            let path = self.dir.join(SegmentName { number, sha224: None }.to_string());
            let file = folder::private(&path).map_err(|source| failed(&path, source))?;
            self.names_pending = true;
            self.growing = Some(Growing {
                number,
                path: path.into(),
                file: Arc::new(file),
                size: 0,
                digest: Digest::default(),
                created_ms: self.clock.now_ms(),
                damaged: false,
            });
        }
        let Some(growing) = &mut self.growing else { return Err(AppendError::NoNumber) };
        growing.repair().map_err(|source| failed(&growing.path, source))?;
        // If anything fails from here on, the file has bytes that nobody was told of.
        growing.damaged = true;
        let path = Arc::clone(&growing.path);
        let written = growing.write(bytes, batches).map_err(|source| failed(&path, source)).and_then(|()| self.sync_names());
        let Some(growing) = &mut self.growing else { return Err(AppendError::NoNumber) };
        if let Err(error) = written {
            // Now or, if that fails too, before the next write.
            if let Err(error) = growing.repair() {
                tracing::warn!(log.file = %growing.path.display(), %error, "What a failed write left in the log cannot be taken away yet.");
            }
            return Err(error);
        }
        growing.damaged = false;
        growing.size += bytes.len() as u64;
        growing.digest.update(bytes);
        Ok(())
    }

    /// Freezes the growing segment under the name of its digest.
    fn freeze(&mut self) -> Result<(), AppendError> {
        let Some(growing) = &mut self.growing else { return Ok(()) };
        growing.repair().and_then(|()| growing.file.sync_all()).map_err(|source| failed(&growing.path, source))?;
        let mut info = growing.info();
        let path = self.dir.join(SegmentName { number: info.number, sha224: Some(info.sha224) }.to_string());
        std::fs::rename(&info.path, &path).map_err(|source| failed(&path, source))?;
        tracing::info!(log.segment = info.number, log.bytes = info.size, "A segment of the log is full and frozen.");
        (info.path, info.frozen, info.open) = (path.into(), true, None);
        self.frozen_bytes += info.size;
        self.frozen.push(info);
        self.growing = None;
        self.names_pending = true;
        self.publish();
        self.sync_names()
    }

    fn sync_names(&mut self) -> Result<(), AppendError> {
        if self.names_pending {
            folder::sync(&self.dir).map_err(|source| failed(&self.dir, source))?;
            self.names_pending = false;
        }
        Ok(())
    }

    /// Shows what is on disk.
    pub(super) fn publish(&self) {
        let growing = self.growing.iter().filter(|growing| growing.size > 0).map(Growing::info);
        self.shared.publish(State::new(self.frozen.iter().cloned().chain(growing).collect()));
    }
}

fn failed(path: &Path, source: io::Error) -> AppendError {
    AppendError::Write { path: path.to_owned(), source: Arc::new(source) }
}
