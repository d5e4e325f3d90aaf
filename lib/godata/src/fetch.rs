//! Bringing one segment into the cache (`spec/maintner.md` §5.2 step 2).

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Duration;

use bytes::Bytes;
use protocol_mutlog::Sha224;
use tokio::sync::{Semaphore, mpsc};

use crate::cache::{Base, Draft, Stamp, is_busy, read_through};
use crate::error::Class;
use crate::running::Running;
use crate::server::{Server, pause_after, shown};
use crate::{Cache, Cause, Error, Event, LocalSegment};

/// Attempts to download a segment.
const TRIES: u32 = 10;
/// Whole downloads that may come damaged.
const WHOLE_TRIES: u32 = 2;
/// Pause while there is no network.
const NO_NETWORK: Duration = Duration::from_secs(15);
/// Pieces of a body that wait to be written.
const QUEUE: usize = 8;
/// Pause before a file that is in use is renamed after all, and how often.
const BUSY_PAUSE: Duration = Duration::from_millis(50);
const BUSY_TRIES: u32 = 40;

/// A growing file and what is known of its bytes, so that they need not be read again.
#[derive(Debug, Clone)]
pub(crate) struct Known {
    running: Running,
    stamp: Stamp,
}

/// A segment that should be in the cache.
#[derive(Debug, Clone)]
pub(crate) struct Job {
    pub(crate) number: u32,
    pub(crate) size: u64,
    pub(crate) sha224: Sha224,
    pub(crate) url: String,
    /// Whether it gets its final name.
    pub(crate) frozen: bool,
    /// How long it was when it was loaded, if it was: the digest of these bytes is wanted.
    pub(crate) mark: Option<u64>,
    pub(crate) known: Option<Known>,
}

/// A segment that is in the cache.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) local: LocalSegment,
    /// For a growing file.
    pub(crate) known: Option<Known>,
    /// Digest of the bytes before [`Job::mark`], if they passed by.
    pub(crate) at_mark: Option<Sha224>,
}

/// What is missing of a segment and has at most this many bytes is awaited in memory.
const AT_ONCE: u64 = 64 << 10;

/// Why a segment is not in the cache.
#[derive(Debug)]
pub(crate) enum Stop {
    /// It is not as the index said: read the index again.
    Stale { doing: String, cause: Cause },
    /// For good.
    Failed(Error),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Stop {
        Stop::Failed(error)
    }
}

/// Bytes of all downloads of an update.
#[derive(Debug, Default)]
pub(crate) struct Progress(Mutex<(u64, u64)>);

impl Progress {
    pub(crate) fn expecting(total: u64) -> Progress {
        Progress(Mutex::new((0, total)))
    }

    /// `bytes` came; `planned` of the download are still part of the total.
    fn add(&self, server: &Server, planned: &mut u64, bytes: u64) {
        let extra = bytes.saturating_sub(*planned);
        *planned = planned.saturating_sub(bytes);
        let (done, total) = {
            let mut sums = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            sums.0 = sums.0.saturating_add(bytes);
            sums.1 = sums.1.saturating_add(extra);
            *sums
        };
        server.tell(&Event::Progress { done, total });
    }
}

/// What the cache has of a segment.
enum Local {
    /// All of it, under its final name.
    Frozen,
    /// All of it, as a growing file.
    Whole(Known),
    /// More than the server: the beginning is right.
    Longer(Base),
    /// Its beginning, as far as one can see.
    Beginning(Base),
    /// Nothing that is of use.
    Nothing,
}

/// Bytes that a download will need, as far as names and sizes tell.
pub(crate) fn expected(cache: &Cache, job: &Job) -> u64 {
    let length = |path: PathBuf| std::fs::metadata(path).ok().filter(std::fs::Metadata::is_file).map(|metadata| metadata.len());
    if length(cache.path(job.number, Some(job.sha224))) == Some(job.size) {
        return 0;
    }
    job.size.saturating_sub(length(cache.path(job.number, None)).unwrap_or(0))
}

/// Whether the final file is there already.
pub(crate) fn is_there(cache: &Cache, job: &Job) -> bool {
    std::fs::metadata(cache.path(job.number, Some(job.sha224))).is_ok_and(|metadata| metadata.is_file() && metadata.len() == job.size)
}

fn look(cache: &Cache, job: &Job) -> Result<Local, Error> {
    // A final name is believed, as everybody else does.
    if is_there(cache, job) {
        return Ok(Local::Frozen);
    }
    let path = cache.path(job.number, None);
    let failed = |error| Error::cache("reading", &path, error);
    let mut file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Local::Nothing),
        Err(error) => return Err(failed(error)),
    };
    let metadata = file.metadata().map_err(failed)?;
    let (len, stamp) = (metadata.len(), Stamp::of(&metadata));
    let running = match &job.known {
        Some(known) if known.stamp == stamp && known.running.len() <= job.size => known.running.clone().marked(job.mark),
        _ => read_through(&mut file, job.size, job.mark).map_err(failed)?,
    };
    let right = running.len() == job.size && running.sha224() == job.sha224;
    Ok(match running.len() {
        _ if right && len > job.size => Local::Longer(Base { file, running }),
        _ if right => {
            running.end().map_err(|fault| Error::framing(job.number, path.display().to_string(), fault))?;
            Local::Whole(Known { running, stamp })
        }
        have if have > 0 && have < job.size && running.fault().is_none() => Local::Beginning(Base { file, running }),
        _ => Local::Nothing,
    })
}

/// Runs what blocks on a thread for such things.
pub(crate) async fn blocking<T: Send + 'static>(cache: &Cache, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Error> {
    burrow_task::spawn_blocking(work).await.map_err(|error| Error::cache("working in", cache.dir(), io::Error::other(error)))
}

/// Downloads segments into a cache.
pub(crate) struct Fetch<'a> {
    pub(crate) server: &'a Server,
    pub(crate) cache: &'a Cache,
    pub(crate) progress: &'a Progress,
}

impl Fetch<'_> {
    /// Makes sure that a segment is in the cache, whole and right.
    pub(crate) async fn segment(&self, job: Job) -> Result<Done, Stop> {
        let (cache, copy) = (self.cache.clone(), job.clone());
        let (mut planned, local) = blocking(self.cache, move || (expected(&cache, &copy), look(&cache, &copy))).await?;
        let mut base = match local? {
            Local::Frozen => return Ok(done(&job, self.cache.path(job.number, Some(job.sha224)), true, None)),
            Local::Whole(known) => return Ok(self.keep(&job, known).await?),
            Local::Longer(base) => {
                let draft = self.draft(Some(base), &job).await?;
                return Ok(self.commit(&job, draft).await?);
            }
            Local::Beginning(base) => Some(base),
            Local::Nothing => None,
        };
        let mut draft = None;
        let (mut attempt, mut damaged) = (1, 0);
        loop {
            match self.attempt(&job, &mut base, &mut draft, &mut planned).await {
                Ok(complete) if complete.running.len() == job.size && complete.running.sha224() == job.sha224 => {
                    return Ok(self.commit(&job, complete).await?);
                }
                Ok(wrong) => {
                    damaged += u32::from(wrong.clean);
                    if damaged >= WHOLE_TRIES {
                        return Err(corrupt(&job, &wrong.running).into());
                    }
                    tracing::warn!(url = shown(&job.url), "a segment has not the digest of the index; downloading it again from its beginning");
                    self.server.tell(&Event::Again { url: shown(&job.url) });
                    base = None;
                }
                Err(Trouble::Disk(error)) => return Err(error.into()),
                Err(Trouble::Net(cause)) => {
                    let doing = format!("downloading segment {} from {}", job.number, shown(&job.url));
                    match cause.class() {
                        Class::NoHost => {
                            self.server.retry(&doing, attempt, None, NO_NETWORK, &cause).await;
                            attempt = 1;
                        }
                        Class::Unreachable | Class::Transient if attempt < TRIES => {
                            self.server.retry(&doing, attempt, Some(TRIES), pause_after(attempt), &cause).await;
                            attempt += 1;
                        }
                        Class::Unreachable | Class::Transient => return Err(Error::Retryable { doing, attempts: attempt, source: cause.into() }.into()),
                        Class::Stale => return Err(Stop::Stale { doing, cause }),
                        Class::Fatal => return Err(Error::Fatal { doing, source: cause.into() }.into()),
                    }
                }
            }
        }
    }

    /// Asks once for what is missing. What came before a failure stays in `draft`, for the next attempt.
    async fn attempt(&self, job: &Job, base: &mut Option<Base>, draft: &mut Option<Draft>, planned: &mut u64) -> Result<Draft, Trouble> {
        let have = draft.as_ref().map(|draft| draft.running.len()).or(base.as_ref().map(|base| base.running.len())).unwrap_or(0);
        if have == job.size {
            // An empty segment, or a connection that broke behind the last byte.
            return match draft.take() {
                Some(draft) => Ok(draft),
                None => self.draft(base.take(), job).await.map_err(Trouble::Disk),
            };
        }
        let (begin, response) = self.server.bytes(&job.url, have, job.size).await.map_err(Trouble::Net)?;
        if begin == 0 {
            // All of it comes: what there is is not needed.
            (*draft, *base) = (None, None);
        }
        let wanted = job.size - begin;
        if draft.is_none() && wanted <= AT_ONCE {
            return self.at_once(job, base, draft, response, wanted, planned).await;
        }
        let begun = match draft.take() {
            Some(mut begun) => {
                begun.clean = false;
                begun
            }
            None => self.draft(base.take(), job).await.map_err(Trouble::Disk)?,
        };
        let path = begun.path().to_owned();
        let (sender, receiver) = mpsc::channel(QUEUE);
        let writer = burrow_task::spawn_blocking(move || write(begun, receiver));
        let came = self.pump(response, wanted, sender, planned).await;
        let (written, result) = writer.await.map_err(|error| Trouble::Disk(Error::cache("writing", &path, io::Error::other(error))))?;
        result.map_err(|error| Trouble::Disk(Error::cache("writing", &path, error)))?;
        match came {
            Ok(()) => Ok(written),
            Err(cause) => {
                *draft = Some(written);
                Err(Trouble::Net(cause))
            }
        }
    }

    /// The same for a few bytes, as most updates have: they are awaited in memory and then written in one go, on one thread.
    async fn at_once(
        &self,
        job: &Job,
        base: &mut Option<Base>,
        draft: &mut Option<Draft>,
        response: burrow_http_client::Response,
        wanted: u64,
        planned: &mut u64,
    ) -> Result<Draft, Trouble> {
        // As many places as there can be pieces: nobody takes any before all are there.
        let (sender, receiver) = mpsc::channel(usize::try_from(wanted).unwrap_or(usize::MAX).clamp(1, Semaphore::MAX_PERMITS));
        let came = self.pump(response, wanted, sender, planned).await;
        let (cache, mark, base) = (self.cache.clone(), job.mark, base.take());
        let written = blocking(self.cache, move || cache.draft(base, mark).map(|begun| write(begun, receiver)));
        let failed = |error| Trouble::Disk(Error::cache("writing a segment in", self.cache.dir(), error));
        let (written, result) = written.await.map_err(Trouble::Disk)?.map_err(failed)?;
        result.map_err(failed)?;
        match came {
            Ok(()) => Ok(written),
            Err(cause) => {
                *draft = Some(written);
                Err(Trouble::Net(cause))
            }
        }
    }

    /// Hands at most `wanted` bytes of the body to the writer.
    async fn pump(&self, mut response: burrow_http_client::Response, wanted: u64, sender: mpsc::Sender<Bytes>, planned: &mut u64) -> Result<(), Cause> {
        let mut left = wanted;
        while let Some(bytes) = response.chunk().await? {
            // A server that does not know ranges sends also what was appended since the index.
            let count = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
            left -= count as u64;
            let surplus = count < bytes.len();
            if sender.send(bytes.slice(..count)).await.is_err() {
                // The writer says why.
                return Ok(());
            }
            self.progress.add(self.server, planned, count as u64);
            // The end of a body of known length is read at once, so that the connection can be used again.
            if surplus || left == 0 && response.length().is_none() {
                return Ok(());
            }
        }
        Ok(())
    }

    async fn draft(&self, base: Option<Base>, job: &Job) -> Result<Draft, Error> {
        let (cache, mark) = (self.cache.clone(), job.mark);
        let made = blocking(self.cache, move || cache.draft(base, mark)).await?;
        made.map_err(|error| Error::cache("beginning a segment in", self.cache.dir(), error))
    }

    /// A growing file that is whole keeps its name, or gets the final one.
    async fn keep(&self, job: &Job, known: Known) -> Result<Done, Error> {
        let growing = self.cache.path(job.number, None);
        let at_mark = known.running.at_mark();
        if !job.frozen {
            return Ok(Done { at_mark, known: Some(known), local: local(job, growing, false) });
        }
        let frozen = self.cache.path(job.number, Some(job.sha224));
        let mut attempt = 1;
        loop {
            let (from, to) = (growing.clone(), frozen.clone());
            let renamed = blocking(self.cache, move || {
                // A final name is believed by its length alone, so that the bytes must be on the disk before.
                File::open(&from)?.sync_data()?;
                std::fs::rename(&from, &to)
            });
            match renamed.await? {
                Ok(()) => return Ok(done(job, frozen, true, at_mark)),
                Err(error) if is_busy(&error) && attempt < BUSY_TRIES => self.server.pause(BUSY_PAUSE).await,
                Err(error) => return Err(Error::cache("renaming", &growing, error)),
            }
            attempt += 1;
        }
    }

    /// A draft that is right gets its name.
    async fn commit(&self, job: &Job, draft: Draft) -> Result<Done, Error> {
        draft.running.end().map_err(|fault| Error::framing(job.number, shown(&job.url), fault))?;
        let path = self.cache.path(job.number, job.frozen.then_some(job.sha224));
        let (mut draft, mut attempt) = (draft, 1);
        loop {
            // A final name is believed by its length alone.
            let (to, flush) = (path.clone(), job.frozen);
            let persisted = blocking(self.cache, move || draft.persist(&to, flush));
            match persisted.await? {
                Ok((stamp, running)) => {
                    tracing::debug!(path = %path.display(), bytes = job.size, "a segment of the log is in the cache");
                    if job.frozen {
                        // What the final file began with; nobody looks for it any more, and somebody may just have done the same.
                        let _ = std::fs::remove_file(self.cache.path(job.number, None));
                        return Ok(done(job, path, true, running.at_mark()));
                    }
                    return Ok(Done { at_mark: running.at_mark(), known: Some(Known { running, stamp }), local: local(job, path, false) });
                }
                Err((error, back)) if is_busy(&error) && attempt < BUSY_TRIES => {
                    draft = *back;
                    self.server.pause(BUSY_PAUSE).await;
                }
                Err((error, _)) => return Err(Error::cache("writing", &path, error)),
            }
            attempt += 1;
        }
    }
}

fn local(job: &Job, path: PathBuf, frozen: bool) -> LocalSegment {
    LocalSegment { number: job.number, size: job.size, sha224: job.sha224, path, frozen }
}

fn done(job: &Job, path: PathBuf, frozen: bool, at_mark: Option<Sha224>) -> Done {
    Done { local: local(job, path, frozen), known: None, at_mark }
}

fn corrupt(job: &Job, came: &Running) -> Error {
    let source = Cause::Corrupt { url: shown(&job.url), wanted: job.size, got: came.len(), expected: job.sha224, found: came.sha224() };
    Error::Fatal { doing: format!("downloading segment {}", job.number), source: source.into() }
}

/// Writes what comes until the sender is gone. Blocks.
fn write(mut draft: Draft, mut pieces: mpsc::Receiver<Bytes>) -> (Draft, io::Result<()>) {
    while let Some(bytes) = pieces.blocking_recv() {
        if let Err(error) = draft.append(&bytes) {
            return (draft, Err(error));
        }
    }
    (draft, Ok(()))
}

enum Trouble {
    Net(Cause),
    Disk(Error),
}

#[cfg(test)]
mod tests {
    use std::io::Seek;

    use super::*;

    #[test]
    fn bytes_that_passed_by_once_are_not_read_again() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::open(dir.path()).unwrap();
        let (old, new) = (b"REC@0+1=a".to_vec(), b"REC@0+1=aREC@9+1=b".to_vec());
        let path = cache.path(0, None);
        std::fs::write(&path, &old).unwrap();
        let mut job = Job { number: 0, size: old.len() as u64, sha224: Sha224::of(&old), url: String::new(), frozen: false, mark: None, known: None };
        let Local::Whole(known) = look(&cache, &job).unwrap() else { panic!("the file is whole") };
        (job.size, job.sha224, job.mark) = (new.len() as u64, Sha224::of(&new), Some(old.len() as u64));
        let read = |job: &Job| {
            let Local::Beginning(mut base) = look(&cache, job).unwrap() else { panic!("the file is a beginning") };
            assert_eq!((base.running.len(), base.running.at_mark()), (9, Some(Sha224::of(&old))));
            base.file.stream_position().unwrap()
        };
        assert_eq!(read(&job), 9);
        job.known = Some(known);
        assert_eq!(read(&job), 0);
        // The same bytes in another file are other bytes.
        let beside = dir.path().join("beside");
        std::fs::write(&beside, &old).unwrap();
        std::fs::rename(&beside, &path).unwrap();
        assert_eq!(read(&job), 9);
    }
}
