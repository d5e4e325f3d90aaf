//! Finished archives on disk, up to a number of bytes; the ones that were not asked for longest go first.
//!
//! A file gets its name only when it is whole and on the disk, so a crash leaves nothing but a nameless rest, which the next start removes. At its end
//! stand checksums of its blocks: what the disk has changed since is noticed before it is sent.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, UNIX_EPOCH};

use burrow_clock::SharedClock;
use bytes::Bytes;
use xxhash_rust::xxh3::xxh3_64;

use crate::feed::{BLOCK, Finished, read_at};

const MAGIC: &[u8; 8] = b"burrowA1";
/// Length of the body, checksum of the checksums, magic.
const FOOTER: u64 = 24;
/// The age of the last use is written down when it changed by more, in milliseconds.
const USE_STEP_MS: i64 = 60_000;

pub(crate) struct Cache {
    dir: PathBuf,
    most: u64,
    clock: SharedClock,
    index: Mutex<Index>,
    scratch: AtomicU64,
}

#[derive(Default)]
struct Index {
    entries: HashMap<String, Known>,
    bytes: u64,
}

#[derive(Clone, Copy)]
struct Known {
    bytes: u64,
    used_ms: i64,
}

/// A file that is being written.
pub(crate) struct Scratch {
    /// Empty.
    pub(crate) file: File,
    path: PathBuf,
}

/// A finished archive.
#[derive(Clone)]
pub(crate) struct Stored {
    file: Arc<File>,
    /// Bytes of the archive.
    pub(crate) length: u64,
    sums: Arc<[u64]>,
}

impl Cache {
    /// Takes over what is in `dir` and removes what a crash left there.
    pub(crate) fn open(dir: &Path, most: u64, clock: SharedClock) -> io::Result<Cache> {
        std::fs::create_dir_all(dir)?;
        let mut index = Index::default();
        for entry in std::fs::read_dir(dir)? {
            let entry = entry?;
            let (name, meta) = (entry.file_name(), entry.metadata()?);
            let name = name.to_string_lossy();
            if name.starts_with("scratch-") {
                let _ = if meta.is_dir() { std::fs::remove_dir_all(entry.path()) } else { std::fs::remove_file(entry.path()) };
            } else if let (Some(key), true) = (name.strip_suffix(".archive"), meta.is_file()) {
                let used = meta.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
                let used_ms = used.and_then(|since| i64::try_from(since.as_millis()).ok()).unwrap_or(0);
                index.bytes += meta.len();
                index.entries.insert(key.to_owned(), Known { bytes: meta.len(), used_ms });
            }
        }
        let cache = Cache { dir: dir.to_owned(), most, clock, index: Mutex::new(index), scratch: AtomicU64::new(0) };
        cache.make_room();
        Ok(cache)
    }

    fn lock(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn path(&self, key: &str) -> PathBuf {
        self.dir.join(format!("{key}.archive"))
    }

    /// The greatest number of bytes that it holds.
    pub(crate) fn most(&self) -> u64 {
        self.most
    }

    /// Archives and bytes that it holds.
    pub(crate) fn held(&self) -> (usize, u64) {
        let index = self.lock();
        (index.entries.len(), index.bytes)
    }

    /// A place for a new archive, when archives are kept at all and there is one.
    pub(crate) fn scratch(&self) -> Option<Scratch> {
        if self.most == 0 {
            return None;
        }
        let path = self.dir.join(format!("scratch-{}", self.scratch.fetch_add(1, Ordering::Relaxed)));
        match OpenOptions::new().read(true).write(true).create(true).truncate(true).open(&path) {
            Ok(file) => Some(Scratch { file, path }),
            Err(error) => {
                tracing::warn!(%error, path = %path.display(), "The archive cache cannot be written.");
                None
            }
        }
    }

    /// Keeps a finished archive: it is on the disk when this returns.
    pub(crate) fn keep(&self, key: &str, path: &Path, finished: &Finished) -> io::Result<()> {
        let file = OpenOptions::new().write(true).open(path)?;
        let mut end: Vec<u8> = finished.sums.iter().flat_map(|sum| sum.to_le_bytes()).collect();
        end.extend(finished.length.to_le_bytes());
        end.extend(xxh3_64(&end).to_le_bytes());
        end.extend(MAGIC);
        file.set_len(finished.length)?;
        file.write_all_at(&end, finished.length)?;
        let now = self.clock.now_ms();
        self.mark_used(&file, now);
        file.sync_all()?;
        std::fs::rename(path, self.path(key))?;
        File::open(&self.dir)?.sync_all()?;
        let bytes = finished.length + end.len() as u64;
        {
            let mut index = self.lock();
            if let Some(before) = index.entries.insert(key.to_owned(), Known { bytes, used_ms: now }) {
                index.bytes -= before.bytes;
            }
            index.bytes += bytes;
        }
        self.make_room();
        Ok(())
    }

    /// Removes what was not used longest until the rest is small enough. Who reads one of them reads on.
    fn make_room(&self) {
        let mut index = self.lock();
        while index.bytes > self.most {
            let oldest = index.entries.iter().min_by_key(|(_, known)| known.used_ms).map(|(key, _)| key.clone());
            let Some(oldest) = oldest else { break };
            self.forget(&mut index, &oldest);
        }
    }

    fn forget(&self, index: &mut Index, key: &str) {
        if let Some(known) = index.entries.remove(key) {
            index.bytes -= known.bytes;
        }
        let _ = std::fs::remove_file(self.path(key));
    }

    fn mark_used(&self, file: &File, now_ms: i64) {
        let time = UNIX_EPOCH + Duration::from_millis(u64::try_from(now_ms).unwrap_or(0));
        // Only the order of eviction after a restart depends on it.
        let _ = file.set_modified(time);
    }

    /// Whether an archive is kept, as far as is known without looking at the disk.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.lock().entries.contains_key(key)
    }

    /// An archive that is kept. One that is damaged is removed and not given. Blocks.
    pub(crate) fn get(&self, key: &str) -> Option<Stored> {
        let now = self.clock.now_ms();
        let known = {
            let mut index = self.lock();
            let known = index.entries.get_mut(key)?;
            let before = *known;
            if now - known.used_ms > USE_STEP_MS {
                known.used_ms = now;
            }
            before
        };
        match open(&self.path(key)) {
            Ok(stored) => {
                if now - known.used_ms > USE_STEP_MS {
                    self.mark_used(&stored.file, now);
                }
                Some(stored)
            }
            Err(error) => {
                tracing::warn!(%error, key, "An archive in the cache is damaged and is made again.");
                self.remove(key);
                None
            }
        }
    }

    /// Removes one.
    pub(crate) fn remove(&self, key: &str) {
        self.forget(&mut self.lock(), key);
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Renamed when it was kept.
        let _ = std::fs::remove_file(&self.path);
    }
}

impl Scratch {
    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

fn open(path: &Path) -> io::Result<Stored> {
    let damaged = || io::Error::new(io::ErrorKind::InvalidData, "its end is not what was written");
    let file = File::open(path)?;
    let total = file.metadata()?.len();
    let mut footer = [0; FOOTER as usize];
    file.read_exact_at(&mut footer, total.checked_sub(FOOTER).ok_or_else(damaged)?)?;
    let (length, rest) = footer.split_first_chunk::<8>().ok_or_else(damaged)?;
    let (sum, magic) = rest.split_first_chunk::<8>().ok_or_else(damaged)?;
    let length = u64::from_le_bytes(*length);
    let blocks = length.div_ceil(BLOCK);
    // The sizes must fit each other before anything is believed.
    if magic != MAGIC || length > total || blocks.checked_mul(8).and_then(|sums| sums.checked_add(length + FOOTER)) != Some(total) {
        return Err(damaged());
    }
    let mut sums = vec![0; usize::try_from(blocks * 8 + 8).map_err(|_| damaged())?];
    file.read_exact_at(&mut sums, length)?;
    if xxh3_64(&sums) != u64::from_le_bytes(*sum) {
        return Err(damaged());
    }
    let sums = sums.chunks_exact(8).take(usize::try_from(blocks).unwrap_or(0)).filter_map(|sum| sum.try_into().ok()).map(u64::from_le_bytes).collect();
    Ok(Stored { file: Arc::new(file), length, sums })
}

impl Stored {
    /// The bytes from `offset` to the end of its block, or to `end`. An error when they are not those that were written.
    pub(crate) async fn read(&self, offset: u64, end: u64) -> io::Result<Bytes> {
        let start = offset - offset % BLOCK;
        let size = BLOCK.min(self.length.saturating_sub(start));
        let block = read_at(Arc::clone(&self.file), start, usize::try_from(size).unwrap_or(0)).await?;
        let wanted = usize::try_from(start / BLOCK).ok().and_then(|number| self.sums.get(number));
        if wanted != Some(&xxh3_64(&block)) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, format!("the block at byte {start} is not what was written")));
        }
        let from = usize::try_from(offset - start).unwrap_or(usize::MAX).min(block.len());
        let to = usize::try_from(end.saturating_sub(start)).unwrap_or(usize::MAX).min(block.len()).max(from);
        Ok(block.slice(from..to))
    }
}
