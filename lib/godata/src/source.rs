//! The network source (`spec/maintner.md` §5.2 to §5.4).

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::stream::{self, StreamExt, TryStreamExt};
use protocol_mutlog::Index;
use tokio::io::AsyncWriteExt as _;

use crate::cache::prefix_sha224;
use crate::error::Class;
use crate::fetch::{Done, Fetch, Job, Known, Progress, Stop, blocking, expected, is_there};
use crate::server::{NoIndex, Server, pause_after};
use crate::{Cache, Cause, Error, Event, LocalSegment, Lock, Options};

/// How often an index may be out of date by the time its segments are asked for.
const STALE_TRIES: u32 = 3;
/// How often another follower's lock is looked at, and how long: nothing breaks without it, only some work is done twice.
const LOCK_PAUSE: Duration = Duration::from_millis(250);
const LOCK_TRIES: u32 = 1200;

/// A follower of one server with one cache directory.
#[derive(Debug)]
pub struct Source {
    follower: Follower,
    /// What was handed out.
    loaded: Vec<LocalSegment>,
    /// Growing files whose bytes need not be read again.
    known: BTreeMap<u32, Known>,
    /// Whether what was handed out came from the cache alone, and the server must confirm it.
    unconfirmed: bool,
}

/// A server's snapshot did not arrive.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotFailure {
    /// The server failed.
    #[error(transparent)]
    Server(#[from] Cause),
    /// It cannot be written down.
    #[error("{path}: {source}")]
    File {
        /// Which file.
        path: PathBuf,
        /// The system's word.
        source: std::io::Error,
    },
}

/// What has become new.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Update {
    /// The whole log, from segment 0.
    pub segments: Vec<LocalSegment>,
    /// Bytes that no update had before, in the order of the log. Every range begins where a record begins and ends where one ends, except that frozen files which
    /// were in the cache are not read for it.
    pub new: Vec<NewBytes>,
    /// Bytes of the whole log.
    pub total: u64,
    /// Why the server cannot be reached, when this is only what the cache has.
    pub offline: Option<String>,
}

/// New bytes of one segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NewBytes {
    /// Index into [`Update::segments`].
    pub segment: usize,
    /// Offset of the first new byte.
    pub from: u64,
    /// Offset behind the last one.
    pub to: u64,
}

impl Update {
    /// The new bytes with their segments.
    pub fn new_ranges(&self) -> impl Iterator<Item = (&LocalSegment, Range<u64>)> {
        self.new.iter().filter_map(|new| Some((self.segments.get(new.segment)?, new.from..new.to)))
    }

    /// How many bytes are new.
    pub fn new_bytes(&self) -> u64 {
        self.new.iter().map(|new| new.to - new.from).fold(0, u64::saturating_add)
    }

    fn of(segments: Vec<LocalSegment>, common: u64, offline: Option<String>) -> Update {
        let mut skip = common;
        let mut new = Vec::new();
        for (index, segment) in segments.iter().enumerate() {
            let from = skip.min(segment.size);
            skip -= from;
            if from < segment.size {
                new.push(NewBytes { segment: index, from, to: segment.size });
            }
        }
        Update { total: total(&segments), segments, new, offline }
    }
}

impl Source {
    /// Follows the log whose index is at `server`, for example `https://maintner.golang.org/logs`, with a cache in `dir`, which is made if need be and may be shared
    /// with other followers. Asks nobody yet.
    ///
    /// # Errors
    /// [`Error::BadServer`], [`Error::Cache`].
    pub fn open(server: &str, dir: impl Into<PathBuf>, options: Options) -> Result<Source, Error> {
        let follower = Follower { server: Server::new(server, options)?, cache: Cache::open(dir)? };
        Ok(Source { follower, loaded: Vec::new(), known: BTreeMap::new(), unconfirmed: false })
    }

    /// The cache.
    pub fn cache(&self) -> &Cache {
        &self.follower.cache
    }

    /// Brings the server's snapshot of the corpus into the file `to`, if the server offers one; `limit` is the most bytes that it may have. False: it does not.
    /// The snapshot proves nothing by itself: opening it compares it with the log.
    ///
    /// # Errors
    /// What came is not whole, or the file cannot be written; nothing is left behind.
    pub async fn snapshot(&self, to: &Path, limit: u64) -> Result<bool, SnapshotFailure> {
        let Some(mut response) = self.follower.server.snapshot().await? else { return Ok(false) };
        if response.length().is_none_or(|length| length > limit) {
            return Ok(false);
        }
        let file_error = |source| SnapshotFailure::File { path: to.to_owned(), source };
        let draft = tempfile::NamedTempFile::with_prefix_in("tempsnap", to.parent().unwrap_or(Path::new("."))).map_err(file_error)?;
        let mut file = tokio::fs::File::from_std(draft.reopen().map_err(file_error)?);
        while let Some(piece) = response.chunk().await.map_err(Cause::from)? {
            file.write_all(&piece).await.map_err(file_error)?;
        }
        file.flush().await.map_err(file_error)?;
        draft.persist(to).map_err(|error| file_error(error.error))?;
        Ok(true)
    }

    /// What was handed out so far: the segments of the last update.
    pub fn loaded(&self) -> &[LocalSegment] {
        &self.loaded
    }

    /// Waits until the server has more than was handed out so far, and brings it here. The first call brings the whole log, as far as it is not here yet, and all of
    /// it is new; where the server cannot be reached at all, the first call hands out what the cache has, and a later one what has been missing since.
    ///
    /// Cancel-safe: a call that is dropped leaves complete segments in the cache and nothing else.
    ///
    /// # Errors
    /// Any [`Error`] but [`Error::Damaged`]. After [`Error::Split`] this source is of no more use; after any other it can go on.
    pub async fn update(&mut self) -> Result<Update, Error> {
        let server = self.follower.server.clone();
        server.cancellable(self.step()).await
    }

    async fn step(&mut self) -> Result<Update, Error> {
        let mut stale = 1;
        loop {
            let index = match self.index().await? {
                Asked::Index(index) => index,
                Asked::Cache(update) => return Ok(update),
            };
            let jobs = self.jobs(&index)?;
            let done = match self.follower.bring(jobs).await {
                Ok(done) => done,
                Err(Stop::Failed(error)) => return Err(error),
                Err(Stop::Stale { doing, cause }) if stale < STALE_TRIES => {
                    self.follower.server.retry(&doing, stale, Some(STALE_TRIES), pause_after(stale), &cause).await;
                    stale += 1;
                    continue;
                }
                Err(Stop::Stale { doing, cause }) => return Err(Error::Fatal { doing, source: cause.into() }),
            };
            if let Some(update) = self.adopt(done).await? {
                return Ok(update);
            }
        }
    }

    async fn index(&mut self) -> Result<Asked, Error> {
        let server = &self.follower.server;
        // What came from the cache is looked at at once; only then is there something to wait for.
        let other_than = (!self.unconfirmed).then(|| total(&self.loaded));
        let cause = match server.index(other_than, self.loaded.is_empty()).await {
            Ok(index) => return Ok(Asked::Index(index)),
            Err(NoIndex::Failed(error)) => return Err(error),
            Err(NoIndex::Unreachable(cause)) => cause,
        };
        let cache = self.follower.cache.clone();
        let segments = blocking(&self.follower.cache, move || cache.scan()).await??;
        if segments.is_empty() {
            let offline = |cause: Cause| Error::Offline { server: server.url().to_owned(), dir: self.follower.cache.dir().to_owned(), source: cause.into() };
            if cause.class() == Class::NoHost {
                return Err(offline(cause));
            }
            // A server that is just being started is worth a few more attempts.
            return match server.index(other_than, false).await {
                Ok(index) => Ok(Asked::Index(index)),
                Err(NoIndex::Failed(error)) => Err(error),
                Err(NoIndex::Unreachable(cause)) => Err(offline(cause)),
            };
        }
        let bytes = total(&segments);
        tracing::warn!(%cause, segments = segments.len(), bytes, "the server of the log cannot be reached; using the cache");
        server.tell(&Event::Offline { cause: cause.to_string(), segments: segments.len(), bytes });
        self.loaded = segments.clone();
        self.known.clear();
        self.unconfirmed = true;
        Ok(Asked::Cache(Update::of(segments, 0, Some(cause.to_string()))))
    }

    fn jobs(&self, index: &Index) -> Result<Vec<Job>, Error> {
        let mut jobs = self.follower.jobs(index, false)?;
        for (job, loaded) in jobs.iter_mut().zip(&self.loaded) {
            job.mark = (loaded.size < job.size).then_some(loaded.size);
        }
        for job in &mut jobs {
            job.known = self.known.get(&job.number).cloned();
        }
        Ok(jobs)
    }

    /// Compares with what was handed out. `None`: the cache was right, and there is nothing new.
    async fn adopt(&mut self, done: Vec<Done>) -> Result<Option<Update>, Error> {
        let (done, common) = if known_prefix(&done, &self.loaded) {
            // The way of every update of a growing segment: nothing is read.
            let common = common_prefix(&done, &self.loaded);
            (done, common)
        } else {
            let loaded = self.loaded.clone();
            blocking(&self.follower.cache, move || {
                let common = common_prefix(&done, &loaded);
                (done, common)
            })
            .await?
        };
        let before = total(&self.loaded);
        let server = &self.follower.server;
        if common != before {
            return Err(Error::Split { server: server.url().to_owned(), common, loaded: before });
        }
        let mut segments = Vec::with_capacity(done.len());
        let mut known = BTreeMap::new();
        for done in done {
            known.extend(done.known.map(|known| (done.local.number, known)));
            segments.push(done.local);
        }
        let nothing_new = total(&segments) == common;
        if nothing_new && !self.unconfirmed {
            let source = Cause::Unchanged { url: server.url().to_owned(), total: common };
            return Err(Error::Fatal { doing: "following the log".to_owned(), source: source.into() });
        }
        self.loaded.clone_from(&segments);
        self.known = known;
        self.unconfirmed = false;
        Ok((!nothing_new).then(|| Update::of(segments, common, None)))
    }
}

enum Asked {
    Index(Index),
    Cache(Update),
}

/// A server and a cache directory.
#[derive(Debug)]
pub(crate) struct Follower {
    pub(crate) server: Server,
    pub(crate) cache: Cache,
}

impl Follower {
    /// What an index asks for. `all_but_last`: every segment with another one behind it is taken for frozen, whatever the server says.
    pub(crate) fn jobs(&self, index: &Index, all_but_last: bool) -> Result<Vec<Job>, Error> {
        let last = index.segments.last().map(|segment| segment.number);
        let job = |segment: &protocol_mutlog::Segment| {
            let url = self.server.address(segment)?;
            let frozen = Server::says_frozen(segment) || all_but_last && Some(segment.number) != last;
            Ok(Job { number: segment.number, size: segment.size, sha224: segment.sha224, url, frozen, mark: None, known: None })
        };
        let jobs: Result<Vec<Job>, Cause> = index.segments.iter().map(job).collect();
        jobs.map_err(|source| Error::Fatal { doing: format!("reading the index {}", self.server.url()), source: source.into() })
    }

    /// Brings segments into the cache, a few at a time.
    pub(crate) async fn bring(&self, jobs: Vec<Job>) -> Result<Vec<Done>, Stop> {
        // One look at a name each, which no disk is asked for: not worth a thread of its own.
        let missing = jobs.iter().any(|job| !is_there(&self.cache, job));
        let _lock = if missing { self.lock().await? } else { None };
        let needed = jobs.iter().map(|job| expected(&self.cache, job)).fold(0, u64::saturating_add);
        let progress = Progress::expecting(needed);
        let fetch = Fetch { server: &self.server, cache: &self.cache, progress: &progress };
        let parallel = self.server.options().parallel.max(1);
        stream::iter(jobs).map(|job| fetch.segment(job)).buffered(parallel).try_collect().await
    }

    async fn lock(&self) -> Result<Option<Lock>, Error> {
        for attempt in 0..LOCK_TRIES {
            if let Some(lock) = self.cache.try_lock()? {
                return Ok(Some(lock));
            }
            if attempt == 0 {
                self.server.tell(&Event::Waiting { lock: self.cache.lock_path() });
            }
            self.server.pause(LOCK_PAUSE).await;
        }
        tracing::warn!(path = %self.cache.lock_path().display(), "another follower holds the lock of the cache for very long; going on beside it");
        Ok(None)
    }
}

fn total(segments: &[LocalSegment]) -> u64 {
    segments.iter().map(|segment| segment.size).fold(0, u64::saturating_add)
}

/// Whether [`common_prefix`] finds its answer without reading a file.
fn known_prefix(new: &[Done], old: &[LocalSegment]) -> bool {
    let differs = new.iter().zip(old).find(|(new, old)| new.local.sha224 != old.sha224);
    differs.is_none_or(|(new, old)| new.local.size > old.size && new.at_mark.is_some())
}

/// Bytes that both lists begin with, as far as digests tell (`spec/maintner.md` §5.4). Blocks.
fn common_prefix(new: &[Done], old: &[LocalSegment]) -> u64 {
    let mut common: u64 = 0;
    for (new, old) in new.iter().zip(old) {
        if new.local.sha224 == old.sha224 {
            common = common.saturating_add(new.local.size);
            continue;
        }
        if new.local.size > old.size {
            // Bytes that passed by just now need not be read again.
            let prefix = new.at_mark.or_else(|| prefix_sha224(&new.local.path, old.size));
            if prefix == Some(old.sha224) {
                common = common.saturating_add(old.size);
            }
        } else if new.local.size < old.size && prefix_sha224(&old.path, new.local.size) == Some(new.local.sha224) {
            common = common.saturating_add(new.local.size);
        }
        break;
    }
    common
}

#[cfg(test)]
mod tests {
    use protocol_mutlog::Sha224;

    use super::*;

    fn segment(number: u32, bytes: &[u8]) -> LocalSegment {
        LocalSegment { number, size: bytes.len() as u64, sha224: Sha224::of(bytes), path: PathBuf::from("/nowhere"), frozen: false }
    }

    fn list(parts: &[&[u8]]) -> Vec<LocalSegment> {
        parts.iter().zip(0..).map(|(bytes, number)| segment(number, bytes)).collect()
    }

    /// As if the new bytes had just passed by.
    fn passed(parts: &[&[u8]], old: &[LocalSegment]) -> Vec<Done> {
        let done = |(local, bytes): (LocalSegment, &&[u8])| {
            let mark = old.get(local.number as usize).and_then(|old| bytes.get(..old.size as usize));
            Done { local, known: None, at_mark: mark.map(Sha224::of) }
        };
        list(parts).into_iter().zip(parts).map(done).collect()
    }

    #[test]
    fn what_two_lists_have_in_common() {
        for (new, old, want) in [
            (&[&b"a"[..]][..], &[&b"a"[..]][..], 1),
            (&[b"a"], &[b"b"], 0),
            (&[b"aaa", b"bbbb"], &[b"aaa", b"bb"], 5),
            (&[b"aaa", b"bbbb", b"c"], &[b"aaa", b"bb"], 5),
            (&[b"aaa", b"xxbb"], &[b"aaa", b"bb"], 3),
            // A published log that was cut anew has the same bytes and another history.
            (&[b"aaab", b"b"], &[b"aaa", b"bb"], 3),
            (&[b"aaa", b"b"], &[b"aaa", b"bb"], 3),
            (&[b"aaa"], &[], 0),
            (&[], &[b"aaa"], 0),
        ] {
            let old = list(old);
            assert_eq!(common_prefix(&passed(new, &old), &old), want, "{new:?} {old:?}");
        }
    }

    #[test]
    fn new_bytes_are_what_is_behind_the_common_ones() {
        let segments = list(&[&[0; 100], &[], &[1; 50]]);
        let new = |common| Update::of(segments.clone(), common, None).new.iter().map(|new| (new.segment, new.from, new.to)).collect::<Vec<_>>();
        assert_eq!(new(0), [(0, 0, 100), (2, 0, 50)]);
        assert_eq!(new(25), [(0, 25, 100), (2, 0, 50)]);
        assert_eq!(new(100), [(2, 0, 50)]);
        assert_eq!(new(150), []);
        assert_eq!(Update::of(segments.clone(), 25, None).new_bytes(), 125);
    }
}
