//! Logs of attempts: one growing file each, which becomes a blob after the attempt has ended.
//!
//! The writer appends and moves a watched length; each reader owns its cursor and reads the file by itself, so a slow reader costs nobody anything and a
//! log needs no memory however long it grows. The order at the end is: bytes on disk ([`LogWriter::seal`]), then the row that names them, then the move among
//! the blobs ([`Sealed::publish`]); a crash in between finds the file where the next coordinator looks for it. The hash of a finished log (SHA-1 of its bytes, as the dashboard's, `dashboard.md` §2.4) is its permanent name.

use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::io::{Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use burrow_blobs::Blobs;
use burrow_results::model::AttemptId;
use burrow_task::BoxFuture;
use bytes::Bytes;
use sha1::{Digest as _, Sha1};
use tokio::sync::watch;

use crate::control::LogReader;

/// Pauses between tries to move a log to its place.
const AGAIN: Duration = Duration::from_millis(500);
const AGAIN_AT_MOST: Duration = Duration::from_secs(60);
/// Pieces that readers get.
const PIECE: u64 = 256 << 10;

/// All logs.
#[derive(Clone)]
pub struct Logs {
    dir: Arc<PathBuf>,
    blobs: Blobs,
    live: Arc<Mutex<HashMap<AttemptId, Arc<Live>>>>,
    /// Hashes of logs that ended a moment ago, whose rows may not be on disk yet.
    ended: Arc<Mutex<VecDeque<(AttemptId, String)>>>,
    /// Logs that have ended and are not among the blobs yet, by hash.
    sealed: Arc<Mutex<HashMap<String, AttemptId>>>,
}

struct Live {
    file: File,
    length: watch::Sender<u64>,
    /// Set once; readers that have read everything then end.
    finished: watch::Sender<bool>,
}

/// Appends to the log of one attempt.
pub struct LogWriter {
    logs: Logs,
    attempt: AttemptId,
    path: PathBuf,
    live: Arc<Live>,
    file: File,
    hash: Sha1,
    length: u64,
}

/// A log that has ended and is on disk, but not among the blobs yet.
pub struct Sealed {
    logs: Logs,
    attempt: AttemptId,
    path: PathBuf,
    hash: Option<String>,
    length: u64,
}

/// Name of a finished log among the blobs.
pub fn key(hash: &str) -> String {
    format!("logs/{}/{hash}", hash.get(..2).unwrap_or("xx"))
}

impl Logs {
    /// Live logs stand in `dir`, finished ones in `blobs`.
    ///
    /// # Errors
    /// The folder cannot be made.
    pub fn new(dir: &Path, blobs: Blobs) -> std::io::Result<Logs> {
        std::fs::create_dir_all(dir)?;
        Ok(Logs { dir: Arc::new(dir.to_owned()), blobs, live: Arc::default(), ended: Arc::default(), sealed: Arc::default() })
    }

    /// Where finished logs are.
    pub fn blobs(&self) -> &Blobs {
        &self.blobs
    }

    fn path(&self, attempt: AttemptId) -> PathBuf {
        self.dir.join(format!("{attempt}.log"))
    }

    /// Opens the log of an attempt for appending after its first `keep` bytes; what follows them is cut off.
    ///
    /// # Errors
    /// The file's.
    pub fn writer(&self, attempt: AttemptId, keep: u64) -> std::io::Result<LogWriter> {
        let path = self.path(attempt);
        let mut file = File::options().create(true).truncate(false).read(true).write(true).open(&path)?;
        let keep = keep.min(file.metadata()?.len());
        file.set_len(keep)?;
        let mut hash = Sha1::new();
        let mut at = 0;
        // Nothing to read again but after a restart.
        let mut piece = vec![0; keep.min(1 << 18) as usize];
        while at < keep {
            let n = file.read_at(&mut piece, at)?;
            hash.update(piece.get(..n).unwrap_or_default());
            at += n as u64;
        }
        file.seek(SeekFrom::Start(keep))?;
        let mut all = self.lock();
        // After a restart of the runner, readers of before stay with the same entry.
        let live = match all.get(&attempt) {
            Some(live) => {
                live.length.send_replace(keep);
                Arc::clone(live)
            }
            None => {
                let live = Arc::new(Live { file: file.try_clone()?, length: watch::channel(keep).0, finished: watch::channel(false).0 });
                all.insert(attempt, Arc::clone(&live));
                live
            }
        };
        drop(all);
        Ok(LogWriter { logs: self.clone(), attempt, path, live, file, hash, length: keep })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<AttemptId, Arc<Live>>> {
        self.live.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// A reader of a live log; `None` when there is no live log (any more).
    pub fn live(&self, attempt: AttemptId, offset: u64, follow: bool) -> Option<Box<dyn LogReader>> {
        let live = self.lock().get(&attempt).cloned();
        if let Some(live) = live {
            let (length, finished) = (live.length.subscribe(), live.finished.subscribe());
            return Some(Box::new(LiveReader { live, length, finished, offset, follow }));
        }
        None
    }

    /// Stores a log that was made elsewhere; `None` for an empty one.
    ///
    /// # Errors
    /// The store's.
    pub async fn keep(&self, bytes: &[u8]) -> Result<(Option<String>, i64), burrow_blobs::Error> {
        if bytes.is_empty() {
            return Ok((None, 0));
        }
        let hash: String = Sha1::digest(bytes).iter().map(|b| format!("{b:02x}")).collect();
        self.blobs.put(&key(&hash), Bytes::copy_from_slice(bytes)).await?;
        Ok((Some(hash), bytes.len() as i64))
    }

    /// Attempts that left an unfinished log here.
    pub fn leftovers(&self) -> Vec<AttemptId> {
        let Ok(entries) = std::fs::read_dir(&*self.dir) else { return Vec::new() };
        entries.flatten().filter_map(|e| e.file_name().to_str()?.strip_suffix(".log")?.parse().ok()).map(AttemptId).collect()
    }

    /// Ends a log that nobody writes any more: what a lost attempt told is kept like any other log.
    ///
    /// # Errors
    /// The file's.
    pub async fn salvage(&self, attempt: AttemptId) -> std::io::Result<Sealed> {
        self.writer(attempt, u64::MAX)?.seal().await
    }

    /// Moves what has ended among the blobs, once each; for the end of the program, after the rows are on disk. What fails is left for the next start.
    pub fn settle(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            let sealed: Vec<(String, AttemptId)> = self.sealed().drain().collect();
            for (hash, attempt) in sealed {
                // It may have been moved a moment ago.
                if let Err(error) = self.blobs.adopt(&key(&hash), &self.path(attempt)).await {
                    tracing::debug!(%attempt, %error, "A log stays where it is until the next start.");
                }
            }
        })
    }

    fn sealed(&self) -> std::sync::MutexGuard<'_, HashMap<String, AttemptId>> {
        self.sealed.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// The hash of a log that ended a moment ago.
    pub fn just_ended(&self, attempt: AttemptId) -> Option<String> {
        let ended = self.ended.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        ended.iter().find(|(id, _)| *id == attempt).map(|(_, hash)| hash.clone())
    }

    /// A reader of what a cut-off attempt left, or of a log whose runner has not started again yet.
    pub fn leftover(&self, attempt: AttemptId, offset: u64) -> Option<Box<dyn LogReader>> {
        self.left_file(attempt, offset).map(|(_, reader)| reader)
    }

    fn left_file(&self, attempt: AttemptId, offset: u64) -> Option<(u64, Box<dyn LogReader>)> {
        let file = File::open(self.path(attempt)).ok()?;
        let length = file.metadata().ok()?.len();
        let live = Arc::new(Live { file, length: watch::channel(length).0, finished: watch::channel(true).0 });
        let (watched, finished) = (live.length.subscribe(), live.finished.subscribe());
        let reader = LiveReader { live, length: watched, finished, offset, follow: false };
        Some((length, Box::new(reader)))
    }

    /// A reader of a finished log, and its length; `None` when there is none of that hash.
    ///
    /// # Errors
    /// The store's.
    pub async fn finished(&self, hash: &str, offset: u64) -> Result<Option<(u64, Box<dyn LogReader>)>, burrow_blobs::Error> {
        let key = key(hash);
        let mut size = self.blobs.size(&key).await?;
        let sealed = if size.is_none() { self.sealed().get(hash).copied() } else { None };
        if let Some(attempt) = sealed {
            if let Some(found) = self.left_file(attempt, offset) {
                return Ok(Some(found));
            }
            // It was published between the two looks.
            size = self.blobs.size(&key).await?;
        }
        Ok(size.map(|length| (length, Box::new(BlobReader { blobs: self.blobs.clone(), key, offset, length }) as Box<dyn LogReader>)))
    }
}

impl LogWriter {
    /// Bytes so far.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Appends.
    ///
    /// # Errors
    /// The file's, for example a full disk; nothing was appended then.
    pub fn append(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        if let Err(error) = self.file.write_all(bytes) {
            // A part may have been written: the next try must not follow it.
            self.file.set_len(self.length)?;
            self.file.seek(SeekFrom::Start(self.length))?;
            return Err(error);
        }
        self.hash.update(bytes);
        self.length += bytes.len() as u64;
        self.live.length.send_replace(self.length);
        Ok(())
    }

    /// Ends the log: its bytes are on disk when this returns, and its readers come to an end.
    ///
    /// # Errors
    /// The file's, which is then still there.
    pub async fn seal(self) -> std::io::Result<Sealed> {
        let LogWriter { logs, attempt, path, live, file, hash, length } = self;
        let hash = match length {
            0 => None,
            _ => Some(hash.finalize().iter().map(|b| format!("{b:02x}")).collect::<String>()),
        };
        burrow_task::spawn_blocking(move || file.sync_all()).await.map_err(std::io::Error::other)??;
        if let Some(hash) = &hash {
            let mut ended = logs.ended.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            ended.truncate(255);
            ended.push_front((attempt, hash.clone()));
            drop(ended);
            logs.sealed().insert(hash.clone(), attempt);
        }
        live.finished.send_replace(true);
        Ok(Sealed { logs, attempt, path, hash, length })
    }
}

impl Sealed {
    /// The log's name; `None` for an empty one.
    pub fn hash(&self) -> Option<&str> {
        self.hash.as_deref()
    }

    /// Its bytes.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Moves it among the blobs. To be called when the row that names it is on disk. A store that cannot take it is asked again until it can.
    pub async fn publish(self) {
        let mut pause = AGAIN;
        while let Err(error) = self.moved().await {
            if pause == AGAIN {
                tracing::warn!(attempt = %self.attempt, %error, "A log cannot be moved to its place yet; it is readable where it is.");
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(AGAIN_AT_MOST);
        }
        if let Some(hash) = &self.hash {
            self.logs.sealed().remove(hash);
        }
        self.logs.lock().remove(&self.attempt);
    }

    async fn moved(&self) -> Result<(), burrow_blobs::Error> {
        match &self.hash {
            Some(hash) => self.logs.blobs.adopt(&key(hash), &self.path).await,
            None => std::fs::remove_file(&self.path).map_err(|source| burrow_blobs::Error::File { path: self.path.clone(), source }),
        }
    }
}

struct LiveReader {
    live: Arc<Live>,
    length: watch::Receiver<u64>,
    finished: watch::Receiver<bool>,
    offset: u64,
    follow: bool,
}

impl LogReader for LiveReader {
    fn next(&mut self) -> BoxFuture<'_, std::io::Result<Option<Bytes>>> {
        Box::pin(async move {
            loop {
                // Register first, then look, then wait: no piece is slept through.
                let finished = *self.finished.borrow_and_update();
                let length = *self.length.borrow_and_update();
                if self.offset < length {
                    let want = (length - self.offset).min(PIECE) as usize;
                    let mut piece = vec![0; want];
                    let n = self.live.file.read_at(&mut piece, self.offset)?;
                    piece.truncate(n);
                    self.offset += n as u64;
                    if n > 0 {
                        return Ok(Some(Bytes::from(piece)));
                    }
                }
                if finished || !self.follow {
                    return Ok(None);
                }
                tokio::select! {
                    changed = self.length.changed() => if changed.is_err() { return Ok(None) },
                    changed = self.finished.changed() => if changed.is_err() { return Ok(None) },
                }
            }
        })
    }
}

struct BlobReader {
    blobs: Blobs,
    key: String,
    offset: u64,
    length: u64,
}

impl LogReader for BlobReader {
    fn next(&mut self) -> BoxFuture<'_, std::io::Result<Option<Bytes>>> {
        Box::pin(async move {
            let want = self.length.saturating_sub(self.offset).min(PIECE);
            if want == 0 {
                return Ok(None);
            }
            let piece = self.blobs.read(&self.key, self.offset, want).await.map_err(std::io::Error::other)?;
            self.offset += piece.len() as u64;
            Ok((!piece.is_empty()).then_some(piece))
        })
    }
}
