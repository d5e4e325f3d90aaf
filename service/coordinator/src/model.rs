//! The state that the scheduler steps over: open builds, live attempts, workers, queues. Nothing here does I/O.
//!
//! Builds that have ended are rows only. What is here is made again from the rows at start (`store.rs`).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use burrow_results::model::{AttemptId, AttemptState, BuildId, Class};
use burrow_store::Statement;

use crate::control::Change;

/// Numbers that decide how patient the scheduler is.
#[derive(Debug, Clone)]
pub struct Policy {
    /// A build is given up as `infra_failed` after so many attempts that failed through no fault of the commit.
    pub max_infra_failures: u32,
    /// Pause before the second, third … attempt, in milliseconds; the last one is used for all later ones.
    pub backoff_ms: Vec<i64>,
    /// A batch build that waited so long is served with the tries, oldest first, so that old commits do not starve.
    pub ageing_ms: i64,
    /// After a restart, a worker that ran something is waited for so long before it counts as lost: longer than a worker's longest pause between two tries.
    pub lost_after_ms: i64,
}

impl Default for Policy {
    fn default() -> Policy {
        Policy { max_infra_failures: 3, backoff_ms: vec![0, 2_000, 15_000], ageing_ms: 4 * 3_600_000, lost_after_ms: 25_000 }
    }
}

/// A build as it is asked for; never changed afterwards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewBuild {
    /// Repository name of the configuration.
    pub repo: String,
    /// Branch it was found on.
    pub branch: String,
    /// Full commit hash.
    pub hash: String,
    /// Builder name.
    pub builder: String,
    /// Priority.
    pub class: Class,
    /// Kind of machine it needs.
    pub host_type: String,
    /// Commit time, Unix seconds; the order among batch builds.
    pub commit_s: i64,
    /// `commit`, `retry`, `request`.
    pub origin: String,
    /// Who asked.
    pub actor: String,
    /// Why, for people.
    pub reason: String,
    /// The resolved builder (JSON): a running build keeps what it started with.
    pub spec: Arc<str>,
}

/// Where an open build is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// In the queue of its kind of machine.
    Waiting,
    /// Failed by infrastructure; goes back into the queue at this time.
    Backoff {
        /// Unix milliseconds.
        until_ms: i64,
    },
    /// This attempt is under way.
    Running(AttemptId),
}

/// An open build.
#[derive(Debug, Clone)]
pub struct Build {
    /// Number.
    pub id: BuildId,
    /// As asked for.
    pub new: Arc<NewBuild>,
    /// When, Unix milliseconds.
    pub created_ms: i64,
    /// When its first attempt began.
    pub started_ms: Option<i64>,
    /// Where it is.
    pub phase: Phase,
    /// Attempts so far, counted when a worker is taken.
    pub attempts: u32,
    /// Of those, how many failed by infrastructure.
    pub infra_failures: u32,
    /// Why it was put back, for `why`.
    pub last_failure: String,
    /// Promoted by ageing.
    pub aged: bool,
}

/// A worker that an attempt borrowed for its shards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Helper {
    /// In the queue.
    Waiting,
    /// Lent.
    Held {
        /// Worker name.
        worker: String,
    },
}

/// A live attempt.
#[derive(Debug, Clone)]
pub struct Attempt {
    /// Number over all builds.
    pub id: AttemptId,
    /// Its build.
    pub build: BuildId,
    /// 1 for the first.
    pub number: u32,
    /// Worker that runs it.
    pub worker: String,
    /// Which start of that worker: another instance knows nothing of it.
    pub instance: String,
    /// When the worker was taken.
    pub assigned_ms: i64,
    /// The first step has begun.
    pub began_ms: Option<i64>,
    /// By number.
    pub helpers: BTreeMap<u32, Helper>,
    /// Somebody cancelled it; its end is awaited.
    pub cancelled_by: Option<String>,
    /// Loaded from rows and not yet handed to a runner.
    pub adopt: bool,
}

/// What a worker does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Job {
    /// Nothing.
    Idle,
    /// Runs an attempt.
    Main(AttemptId),
    /// Helps one.
    Helper(AttemptId, u32),
    /// A classic buildlet that has served its one build and will come back as a new one.
    Spent,
}

/// A worker.
#[derive(Debug, Clone)]
pub struct Worker {
    /// Stable name.
    pub id: String,
    /// Which start of it.
    pub instance: String,
    /// Pool name.
    pub pool: String,
    /// Kind of machine.
    pub host_type: String,
    /// Host name it told.
    pub hostname: String,
    /// Where it is reached; for display.
    pub address: String,
    /// Version it told.
    pub version: u32,
    /// Connected since, Unix milliseconds.
    pub connected_ms: i64,
    /// Speaks Burrow's own protocol and can be used for build after build.
    pub modern: bool,
    /// Takes no new work.
    pub draining: bool,
    /// `None`: connected. Else: known from before a restart, awaited until then.
    pub expected_until_ms: Option<i64>,
    /// What it does.
    pub job: Job,
    /// Repository of its last build: its source tree is still there.
    pub last_repo: String,
    /// In its present state since.
    pub since_ms: i64,
}

/// What waits for a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Item {
    /// A build.
    Build(BuildId),
    /// A helper of an attempt.
    Helper(AttemptId, u32),
}

/// Order of service within the queue of one kind of machine: class, then within batch the newest commit, else the oldest request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rank {
    class: Class,
    sort: i64,
    item: Item,
}

/// The queue of one kind of machine, with its idle workers.
#[derive(Debug, Clone, Default)]
pub struct Queue {
    /// In order of service.
    pub waiting: BTreeSet<Rank>,
    /// (repository of the last build, name).
    pub idle: BTreeSet<(String, String)>,
    /// Connected, not draining.
    pub connected: usize,
}

/// An event that the step reacts to.
#[derive(Debug)]
pub enum Event {
    /// Builds are wanted. `rows` are written in the same transaction (for example the commits they belong to).
    Submit {
        /// New builds; one that equals an open build (repository, commit, builder) gives that one.
        builds: Vec<NewBuild>,
        /// Rows that must appear with them or not at all.
        rows: Vec<Statement>,
        /// Published with them.
        changes: Vec<Change>,
    },
    /// A build that has ended is wanted again.
    Retry {
        /// The old one; marked superseded.
        old: BuildId,
        /// The new one.
        new: NewBuild,
    },
    /// A worker is connected.
    Up(Worker),
    /// A worker is gone.
    Lost {
        /// Its name.
        id: String,
        /// Which start of it.
        instance: String,
        /// For people.
        reason: String,
    },
    /// A worker shall take no new work, or again.
    Drain {
        /// Its name.
        id: String,
        /// Drain or undrain.
        on: bool,
    },
    /// The first step of an attempt has begun.
    Began(AttemptId),
    /// An attempt wants helpers for its shards.
    WantHelpers {
        /// The attempt.
        attempt: AttemptId,
        /// How many.
        count: u32,
    },
    /// A helper is no longer needed.
    HelperFree {
        /// The attempt.
        attempt: AttemptId,
        /// Which one.
        number: u32,
    },
    /// An attempt has ended.
    Ended {
        /// The attempt.
        attempt: AttemptId,
        /// How.
        end: End,
    },
    /// A build shall be stopped.
    Cancel {
        /// The build.
        build: BuildId,
        /// Who asks.
        actor: String,
    },
    /// Start nothing new, or again.
    Pause(bool),
    /// A result that was made elsewhere.
    Record {
        /// What was built.
        new: NewBuild,
        /// How it ended.
        end: End,
        /// Milliseconds it took.
        took_ms: i64,
        /// Older builds of the same cell, superseded by it.
        older: Vec<BuildId>,
    },
    /// Time has passed.
    Tick,
}

/// How an attempt ended.
#[derive(Debug, Clone)]
pub struct End {
    /// An ended state.
    pub state: AttemptState,
    /// Some test passed only on a retry.
    pub flaky: bool,
    /// Content hash of its log.
    pub log_hash: Option<String>,
    /// Bytes of its log.
    pub log_bytes: i64,
    /// For people.
    pub message: String,
}

/// What is to be done once the rows are on disk.
#[derive(Debug, Clone)]
pub enum Action {
    /// Run this attempt on its worker, or go on with it.
    Start(Assignment),
    /// Stop the runner of this attempt; `lost` says that its end is already recorded.
    Stop {
        /// The attempt.
        attempt: AttemptId,
        /// Its end is already recorded; the runner must not report another.
        lost: bool,
    },
    /// A helper is there.
    Helper {
        /// The attempt.
        attempt: AttemptId,
        /// Which one.
        number: u32,
        /// Worker name.
        worker: String,
    },
    /// A helper was lost.
    HelperLost {
        /// The attempt.
        attempt: AttemptId,
        /// Which one.
        number: u32,
    },
    /// A classic buildlet has served: halt it.
    Release(String),
}

/// What a runner needs to know.
#[derive(Debug, Clone)]
pub struct Assignment {
    /// The build.
    pub build: BuildId,
    /// The attempt.
    pub attempt: AttemptId,
    /// 1 for the first.
    pub number: u32,
    /// As asked for.
    pub new: Arc<NewBuild>,
    /// Worker name.
    pub worker: String,
    /// It was under way before a restart: go on where it was.
    pub resume: bool,
}

/// What a step decided.
#[derive(Debug, Default)]
pub struct Effects {
    /// Written in one transaction before anything else happens.
    pub rows: Vec<Statement>,
    /// Then done.
    pub actions: Vec<Action>,
    /// Then published.
    pub changes: Vec<Change>,
    /// Builds of a `Submit` or `Retry`, in the order asked for.
    pub builds: Vec<BuildId>,
    /// Why the event was refused (cancelling what has ended).
    pub refused: Option<String>,
}

/// The state.
#[derive(Debug, Default)]
pub struct State {
    /// See [`Policy`].
    pub policy: Policy,
    /// Next free numbers.
    pub next_build: i64,
    /// See `next_build`.
    pub next_attempt: i64,
    /// See `next_build`.
    pub next_history: i64,
    /// Nothing new is started.
    pub paused: bool,
    /// Open builds.
    pub builds: BTreeMap<BuildId, Build>,
    /// Open builds by (repository, commit, builder).
    pub cells: HashMap<(String, String, String), BuildId>,
    /// Live attempts.
    pub attempts: BTreeMap<AttemptId, Attempt>,
    /// Workers by name.
    pub workers: BTreeMap<String, Worker>,
    /// Queues by kind of machine.
    pub queues: BTreeMap<String, Queue>,
    /// Things that become due: (Unix milliseconds, what).
    pub due: BTreeSet<(i64, Due)>,
    /// Smoothed run time of each builder's passed builds, milliseconds; for estimates.
    pub durations: HashMap<String, f64>,
}

/// What becomes due.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Due {
    /// A build's pause is over.
    Requeue(BuildId),
    /// A batch build has waited long enough to be promoted.
    Age(BuildId),
    /// A worker was awaited long enough.
    Expire(String),
}

impl Rank {
    /// Rank of a build.
    pub fn of(build: &Build, item: Item) -> Rank {
        let class = if build.aged { build.new.class.min(Class::Try) } else { build.new.class };
        let sort = if class == Class::Batch { -build.new.commit_s } else { build.created_ms };
        Rank { class, sort, item }
    }

    /// What waits.
    pub fn item(&self) -> Item {
        self.item
    }
}

impl State {
    /// When the next `Tick` is needed, Unix milliseconds.
    pub fn next_due_ms(&self) -> Option<i64> {
        self.due.first().map(|(at, _)| *at)
    }
}
