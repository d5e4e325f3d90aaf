//! The corpus of a server, loaded and kept up to date: [`get`].

use std::path::{Path, PathBuf};
use std::sync::Arc;

use burrow_maintner::{Corpus, Covered, LoadError, Part, Snapshot, SnapshotError, View};

use crate::{Error, LocalSegment, Options, Source, Update};

/// Settings of [`get`].
#[derive(Clone)]
pub struct GetOptions {
    /// Those of the network source.
    pub source: Options,
    /// Threads that read a log.
    pub threads: usize,
    /// Whether a snapshot beside the cache is used and written.
    pub snapshot: bool,
    /// Bytes of log that are read rather than that a snapshot is written anew, or the server asked for its own.
    pub worth_a_snapshot: u64,
    /// Is told how much of the log has been read into memory; from several threads.
    pub reading: Arc<dyn Fn(burrow_maintner::Progress) + Send + Sync>,
}

impl Default for GetOptions {
    fn default() -> Self {
        GetOptions { source: Options::default(), threads: 2, snapshot: true, worth_a_snapshot: 64 << 20, reading: Arc::new(|_| {}) }
    }
}

impl std::fmt::Debug for GetOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GetOptions").field("source", &self.source).field("threads", &self.threads).field("snapshot", &self.snapshot).finish_non_exhaustive()
    }
}

/// Why a corpus cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum GetError {
    /// The log cannot be had.
    #[error(transparent)]
    Source(#[from] Error),
    /// The log was had and cannot be read.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// A segment cannot be mapped.
    #[error(transparent)]
    File(#[from] burrow_maintner::FileError),
    /// A task of this program died.
    #[error("the corpus was not read: {0}")]
    Interrupted(String),
}

/// A corpus that follows its server.
#[derive(Debug)]
pub struct Live {
    source: Source,
    corpus: Corpus,
    segments: Vec<LocalSegment>,
    /// Bytes that the newest snapshot covers.
    covered: u64,
    offline: Option<String>,
    options: GetOptions,
    /// The snapshot that is being written.
    writing: Option<tokio::task::JoinHandle<()>>,
}

/// The name of the snapshot in a cache directory; programs of the Go project pass over it.
const SNAPSHOT: &str = "corpus.snap";

/// The corpus of the log whose index is at `server`, with the cache in `dir`. Where the server cannot be reached, what the cache has.
///
/// With a snapshot beside the cache this takes a fraction of a second; without one the whole log is read, and a snapshot is written for the next time.
///
/// # Errors
/// [`GetError`].
///
/// ```no_run
/// # async fn example() -> Result<(), burrow_godata::GetError> {
/// let mut live = burrow_godata::get("https://maintner.golang.org/logs", "cache".as_ref(), Default::default()).await?;
/// loop {
///     let view = live.view();
///     let open = view.github().repo("golang", "go").map_or(0, |repo| repo.issues().iter().filter(|issue| !issue.closed()).count());
///     println!("{open} open issues");
///     live.update().await?;
/// }
/// # }
/// ```
pub async fn get(server: &str, dir: &Path, options: GetOptions) -> Result<Live, GetError> {
    let mut source = Source::open(server, dir, options.source.clone())?;
    let update = source.update().await?;
    let snapshot = dir.join(SNAPSHOT);
    if options.snapshot && update.offline.is_none() && update.total > options.worth_a_snapshot && !snapshot.exists() {
        // Whatever goes wrong here, the log is there.
        match source.snapshot(&snapshot, update.total).await {
            Ok(_) => {}
            Err(error) => tracing::info!("the server's snapshot did not arrive: {error}"),
        }
    }
    let (corpus, covered) = {
        let (segments, options, snapshot) = (update.segments.clone(), options.clone(), snapshot.clone());
        blocking(move || open(&segments, &options, &snapshot)).await??
    };
    let mut live = Live { source, corpus, segments: update.segments, covered, offline: update.offline, options, writing: None };
    let missing = live.view().position() - live.covered;
    if live.options.snapshot && (missing > live.options.worth_a_snapshot || live.covered == 0 && missing > 0) {
        live.write_snapshot(snapshot);
    }
    Ok(live)
}

fn open(segments: &[LocalSegment], options: &GetOptions, snapshot: &Path) -> Result<(Corpus, u64), GetError> {
    if options.snapshot {
        let known: Vec<(Covered, PathBuf)> = segments.iter().map(|segment| (cover(segment), segment.path.clone())).collect();
        match Snapshot::open(snapshot, &known) {
            Ok((corpus, covered)) => return Ok((corpus, covered)),
            Err(SnapshotError::File { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {}
            Err(SnapshotError::Tail(error)) => return Err(error.into()),
            Err(error) => tracing::warn!("{error}"),
        }
    }
    let parts: Vec<Part> = segments.iter().map(|segment| Part::file(&segment.path, 0, segment.size)).collect();
    Ok((Corpus::load(&parts, options.threads, &*options.reading)?, 0))
}

fn cover(segment: &LocalSegment) -> Covered {
    Covered { number: segment.number, size: segment.size, sha224: segment.sha224.to_string() }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, GetError> {
    burrow_task::spawn_blocking(work).await.map_err(|error| GetError::Interrupted(error.to_string()))
}

impl Live {
    /// Everything as it is now.
    pub fn view(&self) -> View {
        self.corpus.view()
    }

    /// Hands out the newest view, and tells when there is a newer one.
    pub fn subscribe(&self) -> tokio::sync::watch::Receiver<View> {
        self.corpus.subscribe()
    }

    /// Why this is only what the cache had; `None`: the server was reached.
    pub fn offline(&self) -> Option<&str> {
        self.offline.as_deref()
    }

    /// Segments of the log on this disk.
    pub fn segments(&self) -> &[LocalSegment] {
        &self.segments
    }

    /// Waits until the server has something new and takes it in. Readers of earlier views are not disturbed.
    ///
    /// Cancel-safe, as [`Source::update`].
    ///
    /// # Errors
    /// [`GetError`]; after [`Error::Split`] the server's history is another one, and the corpus must be had anew.
    pub async fn update(&mut self) -> Result<View, GetError> {
        let update = self.source.update().await?;
        self.take(update)?;
        Ok(self.view())
    }

    fn take(&mut self, update: Update) -> Result<(), GetError> {
        for (segment, range) in update.new_ranges() {
            self.corpus.append(&Part::file(&segment.path, range.start, range.end))?;
        }
        let mut start = 0;
        for (number, segment) in update.segments.iter().enumerate() {
            let grew = self.segments.get(number).is_none_or(|before| !before.frozen);
            if segment.frozen && grew {
                self.corpus.settle(start, segment.size, &segment.path)?;
            }
            start += segment.size;
        }
        self.segments = update.segments;
        self.offline = update.offline;
        Ok(())
    }

    /// Writes a snapshot in the background; a failure is logged, since nothing depends on it.
    fn write_snapshot(&mut self, path: PathBuf) {
        let view = self.view();
        let covered: Vec<Covered> = self.segments.iter().map(cover).collect();
        self.covered = view.position();
        self.writing = Some(burrow_task::spawn_blocking(move || {
            if let Err(error) = Snapshot::write(&view, &covered, &path) {
                tracing::warn!("the snapshot was not written: {error}");
            }
        }));
    }

    /// Waits until the snapshot that is being written, if one is, is on disk: before a program ends, or the next start would read the log again.
    pub async fn snapshot_written(&mut self) {
        if let Some(writing) = self.writing.take() {
            // It says itself what goes wrong.
            let _ = writing.await;
        }
    }
}
