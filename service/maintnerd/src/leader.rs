//! Log and corpus together: what is committed is on disk, then in the corpus, then seen by whoever waits.
//!
//! The corpus follows its own log as any follower would. So there is one order, that of the log, and what a reader sees was always acknowledged by the disk.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use burrow_clock::SharedClock;
use burrow_maintner::{Corpus, Covered, LoadError, Part, Progress, Snapshot, SnapshotError, View};
use burrow_task::BoxFuture;
use protocol_mutlog::schema::Mutation;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::log::{AppendError, OpenError, ReadError, State};
use crate::{Log, Options};

/// A leader cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum LeaderError {
    /// The log cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The log cannot be read into memory.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// A task of this program died.
    #[error("the log was not read: {0}")]
    Interrupted(String),
}

/// Mutations were not committed, or the corpus cannot follow.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CommitError {
    /// They are not in the log.
    #[error(transparent)]
    Append(#[from] AppendError),
    /// They are in the log; the corpus stopped following it, which ends the service.
    #[error("the corpus has stopped: {0}")]
    Stopped(Arc<str>),
}

/// The leader of a log. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Leader {
    log: Log,
    views: watch::Receiver<View>,
    stopped: watch::Receiver<Option<Arc<str>>>,
    ended: CancellationToken,
}

/// The snapshot's name in the folder of a log.
const SNAPSHOT: &str = "corpus.snap";
/// A new snapshot is written when the log has grown by this much since the last one.
const STALE: u64 = 64 << 20;

impl Leader {
    /// Opens or begins the log in `dir` and reads it into memory, from a snapshot if there is a good one. The corpus goes on following until
    /// [`Leader::close`].
    ///
    /// # Errors
    /// [`LeaderError`].
    pub fn open<'a>(
        dir: &'a Path,
        clock: SharedClock,
        threads: usize,
        progress: Arc<dyn Fn(Progress) + Send + Sync>,
    ) -> BoxFuture<'a, Result<Leader, LeaderError>> {
        Box::pin(async move {
            let dir = dir.to_owned();
            let opened = burrow_task::spawn_blocking(move || {
                let log = Log::open(&dir, Options::new(clock))?;
                let state = log.snapshot();
                let snapshot = dir.join(SNAPSHOT);
                let (corpus, covered) = load(&state, &snapshot, threads, &*progress)?;
                Ok::<_, LeaderError>((log, state, corpus, Saved { path: snapshot, covered, writing: None }))
            });
            let (log, state, corpus, saved) = opened.await.map_err(|error| LeaderError::Interrupted(error.to_string()))??;
            let (stop, stopped) = watch::channel(None);
            let ended = CancellationToken::new();
            let views = corpus.subscribe();
            let following = Following { log: log.clone(), corpus, seen: state, saved };
            burrow_task::spawn(following.run(stop, ended.clone()));
            Ok(Leader { log, views, stopped, ended })
        })
    }

    /// The log.
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// Everything as it is now.
    pub fn view(&self) -> View {
        self.views.borrow().clone()
    }

    /// Hands out the newest view, and tells when there is a newer one.
    pub fn subscribe(&self) -> watch::Receiver<View> {
        self.views.clone()
    }

    /// Writes mutations to the log, all or none, and waits until the corpus has them. They are on disk when this returns, and followers have been told.
    ///
    /// # Errors
    /// [`CommitError`].
    pub async fn commit(&self, mutations: &[Mutation]) -> Result<View, CommitError> {
        if mutations.is_empty() {
            return Ok(self.view());
        }
        let positions = self.log.append_batch(mutations.iter().map(Mutation::encode).collect()).await?;
        let end = positions.last().map_or(0, |position| position.total);
        let mut views = self.views.clone();
        match views.wait_for(|view| view.position() >= end).await {
            Ok(view) => Ok(view.clone()),
            Err(_) => Err(CommitError::Stopped(self.stopped.borrow().clone().unwrap_or_else(|| "it was closed".into()))),
        }
    }

    /// Where the newest snapshot is, if one was written.
    pub fn snapshot_file(&self) -> PathBuf {
        self.log.dir().join(SNAPSHOT)
    }

    /// Why the corpus stopped following the log; `None` as long as it does.
    pub fn stopped(&self) -> watch::Receiver<Option<Arc<str>>> {
        self.stopped.clone()
    }

    /// Ends: writes a snapshot if the last one is old, and gives up the folder.
    pub fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            self.ended.cancel();
            let mut views = self.views.clone();
            // The corpus goes away with its task.
            while views.changed().await.is_ok() {}
            self.log.close().await;
        })
    }
}

fn covered(state: &State) -> Vec<(Covered, PathBuf)> {
    let segments = state.segments.iter();
    segments.map(|segment| (Covered { number: segment.number, size: segment.size, sha224: segment.sha224.to_string() }, segment.path.to_path_buf())).collect()
}

fn load(state: &State, snapshot: &Path, threads: usize, progress: &(dyn Fn(Progress) + Sync)) -> Result<(Corpus, u64), LeaderError> {
    let segments = covered(state);
    match Snapshot::open(snapshot, &segments) {
        Ok(opened) => return Ok(opened),
        Err(SnapshotError::File { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {}
        Err(SnapshotError::Tail(error)) => return Err(error.into()),
        Err(error) => tracing::warn!("{error}"),
    }
    let parts: Vec<Part> = segments.iter().map(|(segment, path)| Part::file(path, 0, segment.size)).collect();
    Ok((Corpus::load(&parts, threads, progress)?, 0))
}

/// The newest snapshot.
struct Saved {
    path: PathBuf,
    covered: u64,
    /// The one that is being written. The corpus goes on meanwhile.
    writing: Option<tokio::task::JoinHandle<()>>,
}

/// The corpus, following its log.
struct Following {
    log: Log,
    corpus: Corpus,
    /// What of the log the corpus has.
    seen: Arc<State>,
    saved: Saved,
}

#[derive(Debug, thiserror::Error)]
enum FollowError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error(transparent)]
    File(#[from] burrow_maintner::FileError),
}

impl Following {
    async fn run(mut self, stop: watch::Sender<Option<Arc<str>>>, ended: CancellationToken) {
        let mut changed = self.log.changed();
        loop {
            changed.borrow_and_update();
            if let Err(error) = self.take().await {
                tracing::error!("the corpus cannot follow its log: {error}");
                stop.send_replace(Some(error.to_string().into()));
                return;
            }
            if self.corpus.view().position() - self.saved.covered > STALE {
                self.save();
            }
            tokio::select! {
                more = changed.changed() => if more.is_err() { break },
                () = ended.cancelled() => break,
            }
        }
        self.saved.finish().await;
        if self.corpus.view().position() > self.saved.covered {
            self.save();
            self.saved.finish().await;
        }
    }

    /// Takes in what the log has more.
    async fn take(&mut self) -> Result<(), FollowError> {
        let state = self.log.snapshot();
        let mut start = 0;
        for segment in &state.segments {
            let before = self.seen.segment(segment.number);
            let from = before.map_or(0, |before| before.size);
            if from < segment.size {
                let bytes = self.log.read(segment.number, from..segment.size).await?;
                self.corpus.append(&Part::memory(&segment.path.display().to_string(), from, &bytes[..]))?;
            }
            if segment.frozen && before.is_none_or(|before| !before.frozen) {
                self.corpus.settle(start, segment.size, &segment.path)?;
            }
            start += segment.size;
        }
        self.seen = state;
        Ok(())
    }

    /// Begins to write a snapshot, unless one is being written.
    fn save(&mut self) {
        if self.saved.writing.as_ref().is_some_and(|writing| !writing.is_finished()) {
            return;
        }
        let view = self.corpus.view();
        let segments: Vec<Covered> = covered(&self.seen).into_iter().map(|(covered, _)| covered).collect();
        self.saved.covered = view.position();
        let path = self.saved.path.clone();
        self.saved.writing = Some(burrow_task::spawn_blocking(move || {
            if let Err(error) = Snapshot::write(&view, &segments, &path) {
                tracing::warn!("the snapshot was not written: {error}");
            }
        }));
    }
}

impl Saved {
    async fn finish(&mut self) {
        if let Some(writing) = self.writing.take()
            && let Err(error) = writing.await
        {
            tracing::warn!("the snapshot was not written: {error}");
        }
    }
}
