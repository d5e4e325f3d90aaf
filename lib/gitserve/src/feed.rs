//! One production, any number of readers.
//!
//! What is produced goes to a file, and readers follow it there, each at its own speed, also those who come late. When the disk is full (or nothing may
//! be kept) the rest passes through a window in memory: the producer then waits for the slowest reader, and a reader who comes too late for the
//! beginning needs a production of its own.

use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;
use xxhash_rust::xxh3::Xxh3Default;

/// Bytes in memory that readers may lag behind when there is no file.
const WINDOW: usize = 8 << 20;
/// Bytes that have one checksum, and that are read at once.
pub(crate) const BLOCK: u64 = 512 << 10;
/// A reader that takes nothing for so long is dropped when others wait for it.
const PATIENCE: Duration = Duration::from_secs(30);

/// Why a production ended without a whole result.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum Broken {
    /// The archive would be larger than allowed.
    #[error("{0}")]
    TooBig(Arc<str>),
    /// Anything else.
    #[error("{0}")]
    Failed(Arc<str>),
}

/// A finished production that can be kept.
pub(crate) struct Finished {
    /// Its length.
    pub(crate) length: u64,
    /// One for each [`BLOCK`].
    pub(crate) sums: Vec<u64>,
}

pub(crate) struct Feed {
    state: Mutex<State>,
    /// Wakes readers.
    news: watch::Sender<()>,
    /// Wakes the producer.
    room: Condvar,
    /// At most so many bytes go into the file.
    most: u64,
}

struct State {
    /// `None` when there never was one.
    file: Option<Arc<File>>,
    in_file: u64,
    /// The file takes no more.
    full: bool,
    window: VecDeque<Bytes>,
    /// Where the window begins.
    from: u64,
    produced: u64,
    end: Option<Result<(), Broken>>,
    /// New readers go elsewhere.
    retired: bool,
    readers: HashMap<u64, u64>,
    next_reader: u64,
    hasher: Xxh3Default,
    sums: Vec<u64>,
}

impl Feed {
    /// A production that may put `most` bytes into `file`.
    pub(crate) fn new(file: Option<File>, most: u64) -> Arc<Feed> {
        let full = file.is_none();
        let state = State {
            file: file.map(Arc::new),
            in_file: 0,
            full,
            window: VecDeque::new(),
            from: 0,
            produced: 0,
            end: None,
            retired: false,
            readers: HashMap::new(),
            next_reader: 0,
            hasher: Xxh3Default::new(),
            sums: Vec::new(),
        };
        Arc::new(Feed { state: Mutex::new(state), news: watch::Sender::new(()), room: Condvar::new(), most })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Passes on what was produced. Blocks while readers must catch up.
    ///
    /// # Errors
    /// Nobody reads and nothing is kept: the production may end.
    pub(crate) fn push(&self, bytes: Bytes) -> io::Result<()> {
        let mut state = self.lock();
        if !state.full
            && let Some(file) = state.file.clone()
        {
            let (at, most) = (state.in_file, self.most);
            // Not under the lock: readers go on meanwhile. Only this thread writes.
            drop(state);
            let written = if at + bytes.len() as u64 > most { Err(io::ErrorKind::StorageFull.into()) } else { file.write_all_at(&bytes, at) };
            state = self.lock();
            match written {
                Ok(()) => {
                    state.in_file += bytes.len() as u64;
                    state.produced = state.in_file;
                    state.sum(&bytes);
                    drop(state);
                    self.news.send_replace(());
                    return Ok(());
                }
                Err(error) => {
                    tracing::warn!(%error, bytes = at, "An archive does not fit into the cache and is passed through.");
                    state.full = true;
                    state.from = at;
                    state.produced = at;
                }
            }
        }
        loop {
            let slowest = state.readers.values().copied().min();
            let Some(slowest) = slowest else { return Err(io::Error::other("nobody waits for the archive any more")) };
            while state.window.front().is_some_and(|front| state.from + front.len() as u64 <= slowest) {
                if let Some(front) = state.window.pop_front() {
                    state.from += front.len() as u64;
                }
            }
            if state.produced.saturating_sub(state.from) <= WINDOW as u64 {
                break;
            }
            let (again, waited) = self.room.wait_timeout(state, PATIENCE).unwrap_or_else(PoisonError::into_inner);
            state = again;
            if waited.timed_out() && state.readers.values().copied().min() == Some(slowest) {
                state.readers.retain(|_, offset| *offset > slowest);
                self.news.send_replace(());
            }
        }
        state.produced += bytes.len() as u64;
        state.window.push_back(bytes);
        drop(state);
        self.news.send_replace(());
        Ok(())
    }

    /// Ends the production. Gives what is needed to keep its file, when all of it is there.
    pub(crate) fn finish(&self, result: Result<(), Broken>) -> Option<Finished> {
        let mut state = self.lock();
        let whole = result.is_ok() && !state.full;
        state.end = Some(result);
        let finished = whole.then(|| {
            if !state.in_file.is_multiple_of(BLOCK) {
                let sum = state.hasher.digest();
                state.sums.push(sum);
            }
            Finished { length: state.in_file, sums: std::mem::take(&mut state.sums) }
        });
        drop(state);
        self.news.send_replace(());
        finished
    }

    /// The result is kept: from now on the cache, which sees what the disk does to it, is asked. Who reads here reads on.
    pub(crate) fn retire(&self) {
        self.lock().retired = true;
    }

    /// A reader of everything, or `None` when the beginning is gone.
    pub(crate) fn join(self: &Arc<Feed>) -> Option<Reader> {
        let mut state = self.lock();
        let gone = state.retired || (state.full && state.from > state.in_file) || matches!(state.end, Some(Err(_)));
        (!gone).then(|| self.register(&mut state))
    }

    /// The reader for whose sake a production is begun.
    pub(crate) fn first_reader(self: &Arc<Feed>) -> Reader {
        self.register(&mut self.lock())
    }

    fn register(self: &Arc<Feed>, state: &mut State) -> Reader {
        let number = state.next_reader;
        state.next_reader += 1;
        state.readers.insert(number, 0);
        Reader { feed: Arc::clone(self), number }
    }

    fn look(&self, reader: u64, offset: u64) -> Look {
        let mut state = self.lock();
        match state.readers.get_mut(&reader) {
            Some(at) => *at = offset,
            None => return Look::Failed(Broken::Failed("this client took the archive so slowly that it held up the others".into())),
        }
        if state.full {
            self.room.notify_all();
        }
        if offset < state.in_file
            && let Some(file) = &state.file
        {
            return Look::File(Arc::clone(file), state.in_file);
        }
        let mut at = state.from;
        for piece in &state.window {
            let end = at + piece.len() as u64;
            if offset >= at && offset < end {
                let skip = usize::try_from(offset - at).unwrap_or(usize::MAX).min(piece.len());
                return Look::Bytes(piece.slice(skip..));
            }
            at = end;
        }
        match &state.end {
            Some(Ok(())) => Look::End,
            Some(Err(broken)) => Look::Failed(broken.clone()),
            None => Look::Wait,
        }
    }
}

impl State {
    /// Takes bytes into the checksums of their blocks.
    fn sum(&mut self, bytes: &[u8]) {
        let mut at = self.in_file - bytes.len() as u64;
        let mut rest = bytes;
        while !rest.is_empty() {
            let room = usize::try_from(BLOCK - at % BLOCK).unwrap_or(usize::MAX);
            let (now, later) = rest.split_at(rest.len().min(room));
            self.hasher.update(now);
            at += now.len() as u64;
            if at.is_multiple_of(BLOCK) {
                self.sums.push(self.hasher.digest());
                self.hasher.reset();
            }
            rest = later;
        }
    }
}

enum Look {
    File(Arc<File>, u64),
    Bytes(Bytes),
    End,
    Failed(Broken),
    Wait,
}

/// One reader. The producer no longer waits for it when it is dropped.
pub(crate) struct Reader {
    feed: Arc<Feed>,
    number: u64,
}

impl Reader {
    /// The next bytes from `offset` on (which never goes back), or `None` at the end.
    pub(crate) async fn read(&self, offset: u64) -> Result<Option<Bytes>, Broken> {
        let mut news = self.feed.news.subscribe();
        loop {
            news.borrow_and_update();
            match self.feed.look(self.number, offset) {
                Look::Bytes(bytes) => return Ok(Some(bytes)),
                Look::End => return Ok(None),
                Look::Failed(broken) => return Err(broken),
                Look::File(file, end) => {
                    let count = usize::try_from((end - offset).min(BLOCK)).unwrap_or(0);
                    return read_at(file, offset, count).await.map(Some).map_err(|error| Broken::Failed(error.to_string().into()));
                }
                // The feed owns the sender.
                Look::Wait => drop(news.changed().await),
            }
        }
    }

    /// Waits for the end: the length of the whole when it can be read from any place then, `None` when it was not kept.
    pub(crate) async fn whole(&self) -> Result<Option<u64>, Broken> {
        let mut news = self.feed.news.subscribe();
        loop {
            news.borrow_and_update();
            {
                let state = self.feed.lock();
                match &state.end {
                    _ if state.full => return Ok(None),
                    Some(Ok(())) => return Ok(Some(state.produced)),
                    Some(Err(broken)) => return Err(broken.clone()),
                    None => {}
                }
            }
            drop(news.changed().await);
        }
    }

    /// The length, when the production has ended well.
    pub(crate) fn length(&self) -> Option<u64> {
        let state = self.feed.lock();
        matches!(state.end, Some(Ok(()))).then_some(state.produced)
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.feed.lock().readers.remove(&self.number);
        self.feed.room.notify_all();
    }
}

/// Reads from a file on a thread that may block.
pub(crate) async fn read_at(file: Arc<File>, offset: u64, count: usize) -> io::Result<Bytes> {
    let read = move || {
        let mut bytes = vec![0; count];
        file.read_exact_at(&mut bytes, offset)?;
        Ok(Bytes::from(bytes))
    };
    burrow_task::spawn_blocking(read).await.unwrap_or_else(|error| Err(io::Error::other(error)))
}
