//! A whole log at once: segments are read side by side, and the two halves of the tables are filled by whoever is free, each in the order of the log.

use std::sync::{Arc, Condvar, Mutex, MutexGuard};

use crate::parse::{Parsed, parse};
use crate::table::Index;
use crate::tables::{GitTables, GithubTables};
use crate::text::Log;
use crate::{LoadError, Part, apply_git, apply_github, compact};

/// How far a load is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Bytes of the log that have been taken in.
    pub done: u64,
    /// Bytes of the log.
    pub total: u64,
}

pub(crate) struct Loaded {
    pub(crate) git: GitTables,
    pub(crate) github: GithubTables,
    pub(crate) records: u64,
}

/// Who does what. One lock for all of it; it is held for moments only.
struct Board {
    parsed: Vec<Option<Arc<Parsed>>>,
    next_parse: usize,
    git: Lane,
    github: Lane,
    failed: Option<(usize, crate::RecordError)>,
}

/// The half of the tables that is filled in order.
#[derive(Default)]
struct Lane {
    next: usize,
    busy: bool,
}

enum Job {
    Parse(usize),
    Git(usize, Arc<Parsed>),
    Github(usize, Arc<Parsed>),
    Wait,
    Done,
}

/// Segments that may be read ahead of the slower half, for each thread: what bounds the memory.
const AHEAD: usize = 4;

impl Board {
    fn job(&mut self, threads: usize) -> Job {
        let count = self.parsed.len();
        if self.failed.is_some() || self.git.next >= count && self.github.next >= count {
            return Job::Done;
        }
        // The git half has the most to do, so it is never kept waiting.
        if let (false, Some(Some(parsed))) = (self.git.busy, self.parsed.get(self.git.next)) {
            self.git.busy = true;
            return Job::Git(self.git.next, Arc::clone(parsed));
        }
        if let (false, Some(Some(parsed))) = (self.github.busy, self.parsed.get(self.github.next)) {
            self.github.busy = true;
            return Job::Github(self.github.next, Arc::clone(parsed));
        }
        if self.next_parse < count && self.next_parse < self.git.next.min(self.github.next) + threads * AHEAD {
            self.next_parse += 1;
            return Job::Parse(self.next_parse - 1);
        }
        Job::Wait
    }

    /// What both halves have taken in is not needed any more.
    fn release(&mut self, index: usize) {
        if index < self.git.next
            && index < self.github.next
            && let Some(parsed) = self.parsed.get_mut(index)
        {
            *parsed = None;
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

pub(crate) fn load(log: &Log, parts: &[Part], threads: usize, progress: &(dyn Fn(Progress) + Sync)) -> Result<Loaded, LoadError> {
    let rows = u32::try_from(log.len() / 1000).unwrap_or(u32::MAX);
    let git = Mutex::new((GitTables { commit_index: Index::with_room(rows), ..GitTables::default() }, Vec::new()));
    let github = Mutex::new(GithubTables::default());
    let chunks: Vec<(u64, &[u8])> = log.chunks().map(|chunk| (chunk.start, chunk.bytes.get())).collect();
    let parts: Vec<&Part> = parts.iter().filter(|part| part.len() > 0).collect();
    let board = Mutex::new(Board { parsed: chunks.iter().map(|_| None).collect(), next_parse: 0, git: Lane::default(), github: Lane::default(), failed: None });
    let news = Condvar::new();
    let records = std::sync::atomic::AtomicU64::new(0);
    let threads = threads.clamp(1, 64);
    let work = || {
        let mut held = lock(&board);
        loop {
            match held.job(threads) {
                Job::Done => break,
                Job::Wait => {
                    held = news.wait(held).unwrap_or_else(|poisoned| poisoned.into_inner());
                    continue;
                }
                Job::Parse(index) => {
                    drop(held);
                    let (start, bytes) = chunks.get(index).copied().unwrap_or((0, &[]));
                    let offset = parts.get(index).map_or(0, |part| part.offset);
                    let result = parse(bytes, offset, start);
                    held = lock(&board);
                    match result {
                        Ok(parsed) => {
                            records.fetch_add(parsed.records, std::sync::atomic::Ordering::Relaxed);
                            if let Some(place) = held.parsed.get_mut(index) {
                                *place = Some(Arc::new(parsed));
                            }
                        }
                        // The first fault in the log is the one to report.
                        Err(error) if held.failed.is_none_or(|(other, _)| index < other) => held.failed = Some((index, error)),
                        Err(_) => {}
                    }
                }
                Job::Git(index, parsed) => {
                    drop(held);
                    {
                        let (tables, dirty) = &mut *lock(&git);
                        apply_git::apply(tables, log, &parsed, dirty, false);
                    }
                    held = lock(&board);
                    held.git = Lane { next: index + 1, busy: false };
                    held.release(index);
                    let (start, bytes) = chunks.get(index).copied().unwrap_or((0, &[]));
                    progress(Progress { done: start + bytes.len() as u64, total: log.len() });
                }
                Job::Github(index, parsed) => {
                    drop(held);
                    apply_github::apply(&mut lock(&github), log, &parsed);
                    held = lock(&board);
                    held.github = Lane { next: index + 1, busy: false };
                    held.release(index);
                }
            }
            news.notify_all();
        }
        drop(held);
        news.notify_all();
    };
    std::thread::scope(|scope| {
        for _ in 1..threads {
            scope.spawn(work);
        }
        work();
    });
    if let Some((index, error)) = lock(&board).failed {
        return Err(LoadError::Record { name: parts.get(index).map_or_else(String::new, |part| part.name.clone()), error });
    }
    let (git, mut dirty) = git.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner());
    let github = github.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner());
    // The two halves again, to the end.
    let finish = move || {
        let mut git = git;
        apply_git::finish(&mut git, log, &mut dirty);
        compact::git(&mut git);
        git
    };
    let (git, github) = if threads > 1 {
        std::thread::scope(|scope| {
            let other = scope.spawn(move || compact::github(&github));
            let git = finish();
            (git, other.join())
        })
    } else {
        (finish(), Ok(compact::github(&github)))
    };
    let github = github.map_err(|_| LoadError::Internal)?;
    Ok(Loaded { git, github, records: records.into_inner() })
}
