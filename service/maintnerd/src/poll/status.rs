//! What the pollers are doing, for people.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use burrow_clock::SharedClock;
use tokio::sync::watch;

/// A source of mutations.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    /// A repository on GitHub: `owner/name`.
    Github(String),
    /// A project of a Gerrit: `host/project`.
    Gerrit(String),
    /// A plain git repository, by the name it has in the log.
    Git(String),
    /// The stream of wake-ups.
    Wake,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Github(name) => write!(f, "github {name}"),
            Source::Gerrit(name) => write!(f, "gerrit {name}"),
            Source::Git(name) => write!(f, "git {name}"),
            Source::Wake => f.write_str("wake-ups"),
        }
    }
}

/// How a round ended.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Outcome {
    /// None has ended yet.
    #[default]
    None,
    /// Everything there is was read.
    Good,
    /// There is nothing to read at present, which is not a fault: issues are switched off, for example.
    Idle(String),
    /// Not everything could be read.
    Failed(String),
}

/// One source as it is now. Times are Unix milliseconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceStatus {
    /// Which.
    pub source: Source,
    /// What it does or waits for at this moment; `None` between rounds.
    pub doing: Option<String>,
    /// When the last round began.
    pub began: Option<i64>,
    /// When the last round that is over ended.
    pub ended: Option<i64>,
    /// How it ended.
    pub outcome: Outcome,
    /// When the last good round ended.
    pub good: Option<i64>,
    /// When the next round begins unless something wakes it before.
    pub next: Option<i64>,
    /// Rounds that are over.
    pub rounds: u64,
    /// Rounds in a row that failed.
    pub failures: u32,
    /// Mutations written since the start.
    pub mutations: u64,
    /// Mutations written in the last round that is over, or in the one that runs.
    pub last_mutations: u64,
}

/// Where one source writes what it does.
#[derive(Debug, Clone)]
pub(crate) struct Board {
    status: Arc<Mutex<SourceStatus>>,
    changed: watch::Sender<u64>,
    clock: SharedClock,
}

impl Board {
    pub(crate) fn new(source: Source, changed: watch::Sender<u64>, clock: SharedClock) -> Board {
        let status = SourceStatus {
            source,
            doing: None,
            began: None,
            ended: None,
            outcome: Outcome::None,
            good: None,
            next: None,
            rounds: 0,
            failures: 0,
            mutations: 0,
            last_mutations: 0,
        };
        Board { status: Arc::new(Mutex::new(status)), changed, clock }
    }

    /// As it is now.
    pub(crate) fn status(&self) -> SourceStatus {
        self.status.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn change(&self, change: impl FnOnce(&mut SourceStatus)) {
        change(&mut self.status.lock().unwrap_or_else(PoisonError::into_inner));
        self.changed.send_modify(|version| *version += 1);
    }

    pub(crate) fn source(&self) -> Source {
        self.status.lock().unwrap_or_else(PoisonError::into_inner).source.clone()
    }

    pub(crate) fn clock(&self) -> &SharedClock {
        &self.clock
    }

    pub(crate) fn begin(&self) {
        let now = self.clock.now_ms();
        self.change(|status| (status.began, status.last_mutations, status.next, status.doing) = (Some(now), 0, None, Some("begins".to_owned())));
    }

    pub(crate) fn doing(&self, what: impl Into<String>) {
        let what = what.into();
        self.change(|status| status.doing = Some(what));
    }

    pub(crate) fn wrote(&self, mutations: usize) {
        let mutations = mutations as u64;
        self.change(|status| {
            status.mutations += mutations;
            status.last_mutations += mutations;
        });
    }

    pub(crate) fn end(&self, outcome: Outcome) {
        let now = self.clock.now_ms();
        self.change(|status| {
            (status.ended, status.doing) = (Some(now), None);
            status.rounds += 1;
            match &outcome {
                Outcome::Failed(_) => status.failures = status.failures.saturating_add(1),
                Outcome::None => {}
                Outcome::Good | Outcome::Idle(_) => (status.failures, status.good) = (0, Some(now)),
            }
            status.outcome = outcome;
        });
    }

    pub(crate) fn next(&self, at: i64) {
        self.change(|status| status.next = Some(at));
    }
}
