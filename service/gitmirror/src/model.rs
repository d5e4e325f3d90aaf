//! What the mirror knows about its repositories, what can happen, and what is then to be done.

use std::collections::{BTreeMap, VecDeque};

use burrow_git::Oid;
use burrow_store::Statement;

use crate::refs::Change;

/// Lines of a repository's log that are kept; the reference keeps as many.
pub const LOG_LINES: usize = 49;

/// What the step needs to know of a repository's configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spec {
    /// Name.
    pub name: String,
    /// Milliseconds between two looks at the upstream when nothing wakes it.
    pub poll_ms: i64,
    /// Names of the destinations.
    pub dests: Vec<String>,
}

/// Numbers that hold for all repositories.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Looks at a time.
    pub looks: usize,
    /// Pushes at a time.
    pub pushes: usize,
    /// Milliseconds after which a running job counts as stuck and is killed. Longer than the limit of its git programs, which end it first.
    pub stuck_ms: i64,
    /// Milliseconds between two full comparisons with a destination.
    pub compare_ms: i64,
    /// A destination longer behind than this is unhealthy.
    pub lag_ms: i64,
}

/// Where a job is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Nothing to do until then (Unix milliseconds).
    Idle {
        /// When it is due.
        at: i64,
    },
    /// Waits for a free place.
    Queued {
        /// Since when.
        since: i64,
    },
    /// Works.
    Running {
        /// Since when.
        since: i64,
        /// It was woken meanwhile: one more round follows.
        again: bool,
        /// It took too long and was killed; its end has not been heard yet.
        killed: bool,
    },
}

/// How a thing that is done again and again has gone so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// Where it is.
    pub phase: Phase,
    /// Failures since the last success.
    pub failures: u32,
    /// When the first of them was.
    pub first_failure_ms: Option<i64>,
    /// When the last failure was, also one before the last success.
    pub last_failure_ms: Option<i64>,
    /// The last success.
    pub good_ms: Option<i64>,
    /// What went wrong last; empty after a success.
    pub error: String,
    /// Rounds since the start of the process.
    pub rounds: u64,
    /// Rounds that the watchdog ended.
    pub stuck: u64,
    /// How long the last round took.
    pub took_ms: i64,
}

impl Job {
    /// Due at once.
    pub fn new(now: i64) -> Job {
        Job {
            phase: Phase::Queued { since: now },
            failures: 0,
            first_failure_ms: None,
            last_failure_ms: None,
            good_ms: None,
            error: String::new(),
            rounds: 0,
            stuck: 0,
            took_ms: 0,
        }
    }

    /// Whether it works at present.
    pub fn is_running(&self) -> bool {
        matches!(self.phase, Phase::Running { .. })
    }
}

/// Deletions that wait for somebody's word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hold {
    /// Full names that would be deleted.
    pub names: Vec<String>,
    /// Of so many.
    pub of: usize,
    /// Since when.
    pub since_ms: i64,
}

/// A reference that a destination does not take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quarantined {
    /// The value that was refused; `None`: its deletion.
    pub value: Option<Oid>,
    /// Why.
    pub reason: String,
    /// How often it was tried.
    pub tries: u32,
    /// When it is tried again.
    pub next_ms: i64,
    /// Since when it is refused.
    pub since_ms: i64,
}

/// A reference that somebody else moved at a destination.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diverged {
    /// What is there.
    pub there: Option<Oid>,
    /// What should be there.
    pub wanted: Option<Oid>,
    /// Since when that is known.
    pub since_ms: i64,
}

/// A value that was undone: while upstream has it, the destination has another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pin {
    /// What upstream has and the destination must not get; `None`: the reference is gone upstream.
    pub rejected: Option<Oid>,
    /// What the destination has instead.
    pub value: Option<Oid>,
}

/// A destination.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dest {
    /// Its pushes.
    pub job: Job,
    /// References whose value upstream has and the destination lacks, with since when.
    pub behind: BTreeMap<String, i64>,
    /// References that somebody else moved.
    pub diverged: BTreeMap<String, Diverged>,
    /// References that it refuses.
    pub quarantine: BTreeMap<String, Quarantined>,
    /// Values that were undone.
    pub pins: BTreeMap<String, Pin>,
    /// Deletions that wait.
    pub hold: Option<Hold>,
    /// Deletions that may be done.
    pub confirmed: Vec<String>,
    /// When both ends were last compared in full.
    pub compared_ms: Option<i64>,
    /// References that are there and ours.
    pub refs: usize,
    /// References pushed since the start of the process.
    pub pushed: u64,
    /// Longest time, in milliseconds, from a change being seen to its being at the destination, of the last round that pushed something.
    pub last_lag_ms: Option<i64>,
}

impl Dest {
    /// Nothing is known of it yet.
    pub fn new(now: i64) -> Dest {
        Dest {
            job: Job { phase: Phase::Idle { at: i64::MAX }, ..Job::new(now) },
            behind: BTreeMap::new(),
            diverged: BTreeMap::new(),
            quarantine: BTreeMap::new(),
            pins: BTreeMap::new(),
            hold: None,
            confirmed: Vec::new(),
            compared_ms: None,
            refs: 0,
            pushed: 0,
            last_lag_ms: None,
        }
    }

    /// Milliseconds for which upstream has had a value that is not there.
    pub fn lag_ms(&self, now: i64) -> i64 {
        self.behind.values().min().map_or(0, |since| (now - since).max(0))
    }
}

/// A repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repo {
    /// Milliseconds between two looks.
    pub poll_ms: i64,
    /// Its looks: asking the upstream, and fetching.
    pub job: Job,
    /// When it was taken up by this process.
    pub started_ms: i64,
    /// References that it has.
    pub refs: usize,
    /// When it last changed.
    pub changed_ms: Option<i64>,
    /// Deletions that wait.
    pub hold: Option<Hold>,
    /// Deletions that may be done.
    pub confirmed: Vec<String>,
    /// Fetches since the start of the process.
    pub fetches: u64,
    /// Its destinations.
    pub dests: BTreeMap<String, Dest>,
    /// What happened last, oldest first.
    pub log: VecDeque<(i64, String)>,
}

impl Repo {
    /// Notes a line for people.
    pub fn say(&mut self, now: i64, text: impl Into<String>) {
        if self.log.len() >= LOG_LINES {
            self.log.pop_front();
        }
        self.log.push_back((now, text.into()));
    }
}

/// How a look ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Looked {
    /// What is different here now, also when not everything worked.
    pub changes: Vec<Change>,
    /// References that there are now.
    pub refs: usize,
    /// Deletions that were not done.
    pub hold: Option<Vec<String>>,
    /// What did not work.
    pub failed: Option<String>,
}

/// How a push ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PushRound {
    /// What was changed there.
    pub done: Vec<Change>,
    /// What was refused, with the reason.
    pub refused: Vec<(Change, String)>,
    /// What could not be decided this time; it is behind.
    pub undecided: Vec<String>,
    /// What somebody else moved: what is there, what should be.
    pub diverged: Vec<Change>,
    /// What is still in quarantine and was not tried.
    pub waiting: Vec<String>,
    /// Deletions that were not done, and of how many references.
    pub hold: Option<(Vec<String>, usize)>,
    /// Values undone that upstream no longer has.
    pub released: Vec<String>,
    /// The destination was read in full.
    pub compared: bool,
    /// References that are there and ours.
    pub refs: usize,
    /// The round as a whole failed.
    pub failed: Option<String>,
}

/// Something happened.
#[derive(Debug, Clone)]
pub enum Event {
    /// These are the repositories from now on.
    Configured(Vec<Spec>, Limits),
    /// Time has passed.
    Tick,
    /// A repository may have changed.
    Wake {
        /// Which.
        repo: String,
        /// Who says so, for the log.
        why: &'static str,
    },
    /// Something for a repository's log.
    Say {
        /// Which.
        repo: String,
        /// What.
        text: String,
    },
    /// A look ended.
    Looked {
        /// Of which repository.
        repo: String,
        /// How.
        how: Looked,
    },
    /// A push is about to change these references. Nothing is pushed before this is on disk.
    Planned {
        /// Repository.
        repo: String,
        /// Destination.
        dest: String,
        /// What changes.
        changes: Vec<Change>,
    },
    /// A push ended.
    Pushed {
        /// Repository.
        repo: String,
        /// Destination.
        dest: String,
        /// How.
        round: PushRound,
    },
    /// Somebody allows the deletions that wait.
    Confirm {
        /// Repository.
        repo: String,
    },
    /// Somebody wants values that were pushed to be what they were before.
    Undo {
        /// Repository.
        repo: String,
        /// Destination.
        dest: String,
        /// What the pushes changed, as it is in the journal.
        changes: Vec<Change>,
    },
    /// Somebody ends what [`Event::Undo`] began.
    Release {
        /// Repository.
        repo: String,
        /// Destination.
        dest: String,
    },
}

/// Something to be done once the rows are on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Look at a repository's upstream.
    Look {
        /// Which.
        repo: String,
    },
    /// Push to a destination.
    Push {
        /// Repository.
        repo: String,
        /// Destination.
        dest: String,
        /// It is time to read the destination in full, whatever is remembered.
        compare: bool,
    },
    /// End a look that is stuck.
    KillLook {
        /// Of which repository.
        repo: String,
    },
    /// End a push that is stuck.
    KillPush {
        /// Repository.
        repo: String,
        /// Destination.
        dest: String,
    },
    /// Tell whoever wants to know that references changed.
    Tell {
        /// Repository.
        repo: String,
        /// What changed.
        changes: Vec<Change>,
    },
}

/// What a step wants.
#[derive(Debug, Default)]
pub struct Effects {
    /// Rows to write first, together.
    pub rows: Vec<Statement>,
    /// What to do afterwards, in order.
    pub actions: Vec<Action>,
    /// Number of the round in the journal, of [`Event::Planned`].
    pub round: i64,
}

/// All repositories.
#[derive(Debug)]
pub struct State {
    /// By name.
    pub repos: BTreeMap<String, Repo>,
    /// Numbers that hold for all.
    pub limits: Limits,
    /// Number of the newest round in the journal.
    pub round: i64,
    /// State of the generator that spreads retries; never zero.
    pub random: u64,
    /// What the rows said of repositories that the configuration did not name yet.
    pub remembered: BTreeMap<String, Repo>,
}
