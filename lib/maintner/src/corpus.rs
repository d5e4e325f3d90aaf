//! The corpus and its views.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::watch;

use crate::load::{Progress, load};
use crate::parse::{RecordError, parse};
use crate::tables::{GitTables, GithubTables};
use crate::text::{FileError, Log};
use crate::{apply_git, apply_github};

/// Why bytes of a log were not taken in. The corpus is as it was before.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// A file cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// A record is wrong.
    #[error("{name}: {error}")]
    Record {
        /// Name of the file or segment.
        name: String,
        /// What is wrong, and where.
        error: RecordError,
    },
    /// A thread of the load died: a fault of this program.
    #[error("the load ended early by a fault of this program")]
    Internal,
}

/// A piece of the log: a segment, or the new end of one.
#[derive(Debug, Clone)]
pub struct Part {
    pub(crate) name: String,
    /// Where it begins in its segment.
    pub(crate) offset: u64,
    source: Source,
}

#[derive(Debug, Clone)]
enum Source {
    File { path: PathBuf, to: u64 },
    Memory(Arc<[u8]>),
}

/// A file's part that is at least this large is mapped; smaller ones are read, since a mapping costs more than their bytes.
const MAPPED: u64 = 256 << 10;

impl Part {
    /// Bytes `from` to `to` of a segment in a file. The file is mapped (see [`Log::push_file`]).
    pub fn file(path: &Path, from: u64, to: u64) -> Part {
        Part { name: path.display().to_string(), offset: from, source: Source::File { path: path.to_owned(), to: to.max(from) } }
    }

    /// Bytes of memory that stand at `offset` of the segment called `name`.
    pub fn memory(name: &str, offset: u64, bytes: impl Into<Arc<[u8]>>) -> Part {
        Part { name: name.to_owned(), offset, source: Source::Memory(bytes.into()) }
    }

    pub(crate) fn len(&self) -> u64 {
        match &self.source {
            Source::File { to, .. } => to - self.offset,
            Source::Memory(bytes) => bytes.len() as u64,
        }
    }

    fn push_to(&self, log: &mut Log) -> Result<(), FileError> {
        match &self.source {
            Source::Memory(bytes) => log.push(Arc::clone(bytes)),
            Source::File { path, to } if to - self.offset >= MAPPED => log.push_file(path, self.offset, *to)?,
            Source::File { path, to } => log.push(read(path, self.offset, *to).map_err(|source| FileError { path: path.clone(), source })?),
        }
        Ok(())
    }
}

fn read(path: &Path, from: u64, to: u64) -> std::io::Result<Vec<u8>> {
    use std::io::{Read as _, Seek as _};
    let mut file = std::fs::File::open(path)?;
    file.seek(std::io::SeekFrom::Start(from))?;
    let mut bytes = vec![0; usize::try_from(to - from).map_err(std::io::Error::other)?];
    file.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// Everything, at one moment. Never changes; a clone costs one reference count.
#[derive(Clone, Default, Debug)]
pub struct View {
    pub(crate) state: Arc<State>,
}

#[derive(Clone, Default, Debug)]
pub(crate) struct State {
    pub(crate) log: Log,
    pub(crate) git: GitTables,
    pub(crate) github: GithubTables,
    pub(crate) records: u64,
}

impl View {
    /// How many records of the log it shows.
    pub fn records(&self) -> u64 {
        self.state.records
    }

    /// How many bytes of the log it shows: its place in the history. Of two views of one log, the one with more is the later one.
    pub fn position(&self) -> u64 {
        self.state.log.len()
    }

    /// The log it is made of.
    pub fn log(&self) -> &Log {
        &self.state.log
    }
}

/// A project's history in memory: the state that follows from the records of a log so far.
///
/// There is one writer, which has the `Corpus`. Readers take a [`View`] (from [`Corpus::view`] or [`Corpus::subscribe`]) and keep it as long as they like; nobody
/// waits for anybody.
///
/// ```
/// use burrow_maintner::{Corpus, Part};
/// use protocol_mutlog::{append_record, schema};
///
/// let mut corpus = Corpus::new();
/// let before = corpus.view();
/// let issue = schema::GithubIssueMutation { owner: b"golang".to_vec(), repo: b"go".to_vec(), number: 7, title: b"slow".to_vec(), ..Default::default() };
/// let mut bytes = Vec::new();
/// append_record(&mut bytes, 0, &schema::Mutation { github_issue: Some(issue), ..Default::default() }.encode());
/// corpus.append(&Part::memory("0000", 0, bytes))?;
///
/// let view = corpus.view();
/// let repo = view.github().repo("golang", "go").unwrap();
/// assert_eq!(repo.issue(7).unwrap().title(), "slow");
/// assert!(before.github().repo("golang", "go").is_none(), "a view never changes");
/// # Ok::<_, burrow_maintner::LoadError>(())
/// ```
#[derive(Debug)]
pub struct Corpus {
    state: State,
    published: watch::Sender<View>,
}

impl Default for Corpus {
    fn default() -> Self {
        Corpus::new()
    }
}

impl Corpus {
    /// An empty one.
    pub fn new() -> Corpus {
        Corpus::with(State::default())
    }

    pub(crate) fn with(state: State) -> Corpus {
        let view = View { state: Arc::new(state.clone()) };
        Corpus { state, published: watch::Sender::new(view) }
    }

    /// Reads a whole log: all its segments, in order. `progress` is called from several threads.
    ///
    /// # Errors
    /// [`LoadError`], with the first fault in the log.
    pub fn load(parts: &[Part], threads: usize, progress: &(dyn Fn(Progress) + Sync)) -> Result<Corpus, LoadError> {
        let mut log = Log::new();
        for part in parts {
            part.push_to(&mut log)?;
        }
        let loaded = load(&log, parts, threads, progress)?;
        Ok(Corpus::with(State { log, git: loaded.git, github: loaded.github, records: loaded.records }))
    }

    /// Takes in what was added to the log, and publishes it: all of it or, if anything is wrong with it, nothing.
    ///
    /// # Errors
    /// [`LoadError`].
    pub fn append(&mut self, part: &Part) -> Result<(), LoadError> {
        let start = self.state.log.len();
        let mut log = self.state.log.clone();
        part.push_to(&mut log)?;
        if log.len() == start {
            return Ok(());
        }
        let parsed = {
            let bytes = log.chunks().last().map_or(&b""[..], |chunk| chunk.bytes.get());
            parse(bytes, part.offset, start).map_err(|error| LoadError::Record { name: part.name.clone(), error })?
        };
        // From here on nothing can fail.
        self.state.log = log;
        let mut dirty = Vec::new();
        apply_git::apply(&mut self.state.git, &self.state.log, &parsed, &mut dirty, true);
        apply_github::apply(&mut self.state.github, &self.state.log, &parsed);
        self.state.records += parsed.records;
        self.publish();
        Ok(())
    }

    /// Says that the `len` bytes from place `from` on, which came one by one, are now a file of exactly these bytes: memory that held them is given back. False:
    /// nothing ends or begins there, and nothing was done.
    ///
    /// # Errors
    /// The file cannot be mapped or is shorter.
    pub fn settle(&mut self, from: u64, len: u64, path: &Path) -> Result<bool, FileError> {
        let done = self.state.log.replace(from, len, path)?;
        if done {
            self.publish();
        }
        Ok(done)
    }

    fn publish(&self) {
        self.published.send_replace(View { state: Arc::new(self.state.clone()) });
    }

    /// Everything as it is now.
    pub fn view(&self) -> View {
        self.published.borrow().clone()
    }

    /// Hands out the newest view, and tells when there is a newer one.
    pub fn subscribe(&self) -> watch::Receiver<View> {
        self.published.subscribe()
    }
}
