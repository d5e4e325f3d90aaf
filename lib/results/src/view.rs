//! Plain data for pages. Every page and its `.json` twin show one of these, so that the two cannot differ.
//!
//! Times are Unix milliseconds in fields ending `_ms` and Unix seconds in fields ending `_s`.

use serde::Serialize;

use crate::model::{AttemptId, AttemptState, BuildId, BuildState, Class, StepKind, StepState};

/// One cell of a grid: the newest build of a builder for a commit (`dashboard.md` §15.3).
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Cell {
    /// State of the newest build.
    pub state: BuildState,
    /// Its number.
    pub build: BuildId,
    /// How many attempts it had so far.
    pub attempts: i64,
    /// Passed only after a retry, or failed and passed on the same commit.
    pub flaky: bool,
    /// Content hash of the last attempt's log; the log is at `/log/{hash}`.
    pub log: Option<String>,
    /// Run time of the last attempt; of the running one so far.
    pub seconds: Option<f64>,
    /// When the last attempt began.
    pub started_ms: Option<i64>,
    /// Worker of the last attempt.
    pub machine: Option<String>,
}

/// A commit as pages show it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Commit {
    /// Repository name of the configuration.
    pub repo: String,
    /// Full hash.
    pub hash: String,
    /// First line of the message.
    pub title: String,
    /// Author's name.
    pub author: String,
    /// Author's address.
    pub email: String,
    /// Commit time.
    pub time_s: i64,
}

/// Commits × builders of one branch.
#[derive(Debug, Clone, Serialize)]
pub struct Grid {
    /// Project of the repository.
    pub project: String,
    /// Repository name.
    pub repo: String,
    /// Branch name.
    pub branch: String,
    /// All branches of the repository that have commits here, main branch first.
    pub branches: Vec<String>,
    /// Column names in order.
    pub builders: Vec<Column>,
    /// Newest first.
    pub rows: Vec<GridRow>,
    /// Position to continue at (`?before=`), if there are older rows.
    pub next: Option<i64>,
    /// State of the source: empty when the last fetch went well, else why not.
    pub source_error: String,
    /// When the source was last fetched.
    pub fetched_ms: i64,
}

/// A column of a grid.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Column {
    /// Builder name.
    pub name: String,
    /// Text before the first dash, used as heading of a group.
    pub group: String,
    /// The rest of the name.
    pub rest: String,
    /// Still in the configuration.
    pub active: bool,
}

/// A row of a grid.
#[derive(Debug, Clone, Serialize)]
pub struct GridRow {
    /// The commit.
    pub commit: Commit,
    /// Its position in the branch (grows with time).
    pub position: i64,
    /// One per column; null: nothing is or was asked for.
    pub cells: Vec<Option<Cell>>,
}

/// A repository × branch on the overview.
#[derive(Debug, Clone, Serialize)]
pub struct Tile {
    /// Project of the repository.
    pub project: String,
    /// Repository name.
    pub repo: String,
    /// Branch name.
    pub branch: String,
    /// Newest commit.
    pub tip: Option<Commit>,
    /// `passing`, `failing`, `flaky`, `building`, `waiting` or `empty`: the newest finished result of each active builder decides.
    pub health: &'static str,
    /// Active builders whose newest finished build passed / failed / failed by infrastructure.
    pub passed: usize,
    /// See `passed`.
    pub failed: usize,
    /// See `passed`.
    pub infra: usize,
    /// Builds under way or queued.
    pub open: usize,
    /// The newest few commits, newest first, each with the worst state of its builds.
    pub strip: Vec<(String, Option<BuildState>)>,
    /// Why the source could not be read, or empty.
    pub source_error: String,
}

/// A builder that is red now.
#[derive(Debug, Clone, Serialize)]
pub struct RedNow {
    /// Repository name.
    pub repo: String,
    /// Branch name.
    pub branch: String,
    /// Builder name.
    pub builder: String,
    /// The newest failing build.
    pub build: BuildId,
    /// Its state.
    pub state: BuildState,
    /// Oldest commit of the unbroken run of failures: the first known bad one.
    pub first_bad: Commit,
    /// Newest commit before it that passed: the suspects are between the two.
    pub last_good: Option<Commit>,
    /// How many commits may have broken it: those after `last_good` up to `first_bad`. Null if no good one is among the newest commits.
    pub suspects: Option<usize>,
    /// Since when it is red.
    pub since_ms: i64,
}

/// The front page.
#[derive(Debug, Clone, Serialize)]
pub struct Overview {
    /// One per repository and branch.
    pub tiles: Vec<Tile>,
    /// Longest red first.
    pub red: Vec<RedNow>,
    /// Builds waiting.
    pub queued: usize,
    /// Builds running.
    pub running: usize,
    /// Workers connected / busy.
    pub workers: usize,
    /// See `workers`.
    pub busy: usize,
    /// Last finished builds, newest first.
    pub recent: Vec<BuildLine>,
}

/// A build in a list.
#[derive(Debug, Clone, Serialize)]
pub struct BuildLine {
    /// Number.
    pub id: BuildId,
    /// Repository, branch and commit.
    pub repo: String,
    /// Branch it was found on.
    pub branch: String,
    /// Full hash.
    pub hash: String,
    /// First line of the commit's message.
    pub title: String,
    /// Builder name.
    pub builder: String,
    /// State.
    pub state: BuildState,
    /// Passed only after a retry.
    pub flaky: bool,
    /// Who asked.
    pub class: Class,
    /// Attempts so far.
    pub attempts: i64,
    /// Created, first started, ended.
    pub created_ms: i64,
    /// See `created_ms`.
    pub started_ms: Option<i64>,
    /// See `created_ms`.
    pub ended_ms: Option<i64>,
    /// Worker of the last attempt.
    pub machine: Option<String>,
}

/// A step of an attempt.
#[derive(Debug, Clone, Serialize)]
pub struct Step {
    /// Position in the attempt.
    pub index: i64,
    /// Name of the recipe's step, or of the shard.
    pub name: String,
    /// What it is for.
    pub kind: StepKind,
    /// State.
    pub state: StepState,
    /// Worker that ran it.
    pub worker: String,
    /// Began, ended.
    pub started_ms: Option<i64>,
    /// See `started_ms`.
    pub ended_ms: Option<i64>,
    /// Exit status of the command.
    pub exit_code: Option<i64>,
    /// Signal that ended it.
    pub signal: Option<String>,
    /// Byte range of its output in the attempt's log.
    pub log_start: i64,
    /// See `log_start`; null while it runs.
    pub log_end: Option<i64>,
    /// For people: why it failed; for shards the test names, one per line.
    pub detail: String,
}

/// One try at a build.
#[derive(Debug, Clone, Serialize)]
pub struct Attempt {
    /// Number over all builds.
    pub id: AttemptId,
    /// 1 for the first try.
    pub number: i64,
    /// State.
    pub state: AttemptState,
    /// Tests passed only on a retry within it.
    pub flaky: bool,
    /// Worker, its pool and host name.
    pub worker: String,
    /// See `worker`.
    pub pool: String,
    /// See `worker`.
    pub hostname: String,
    /// Worker reserved, first step begun, ended.
    pub assigned_ms: i64,
    /// See `assigned_ms`.
    pub started_ms: Option<i64>,
    /// See `assigned_ms`.
    pub ended_ms: Option<i64>,
    /// Content hash of the finished log.
    pub log: Option<String>,
    /// Bytes of the log (so far).
    pub log_bytes: i64,
    /// How it ended, for people.
    pub message: String,
    /// In order.
    pub steps: Vec<Step>,
}

/// A test that failed in an attempt (or passed only on a retry).
#[derive(Debug, Clone, Serialize)]
pub struct TestFailure {
    /// Name as listed.
    pub test: String,
    /// Failed runs and passed runs in the last attempt.
    pub failed_runs: i64,
    /// See `failed_runs`.
    pub passed_runs: i64,
}

/// A line of a build's history.
#[derive(Debug, Clone, Serialize)]
pub struct HistoryLine {
    /// When.
    pub at_ms: i64,
    /// Who: `scheduler`, `user …`, `worker …`.
    pub actor: String,
    /// What, as a sentence.
    pub text: String,
}

/// A build, whole.
#[derive(Debug, Clone, Serialize)]
pub struct Build {
    /// The line of lists.
    #[serde(flatten)]
    pub line: BuildLine,
    /// The commit.
    pub commit: Commit,
    /// Why it waits, if it does.
    pub waiting: Option<Waiting>,
    /// Newest last.
    pub attempts_list: Vec<Attempt>,
    /// Of the last attempt.
    pub failures: Vec<TestFailure>,
    /// Oldest first.
    pub history: Vec<HistoryLine>,
    /// Newer build of the same cell, if this one was superseded by a retry.
    pub newer: Option<BuildId>,
    /// Previous and next build of the same builder on the same branch.
    pub previous: Option<BuildId>,
    /// See `previous`.
    pub next: Option<BuildId>,
    /// What asked for it: a push, a person, a peer.
    pub origin: String,
    /// Why, as a sentence; may be empty.
    pub reason: String,
    /// What is run, as the configuration said when the build was made (JSON).
    pub spec: serde_json::Value,
}

/// Why a build waits (`why`).
#[derive(Debug, Clone, Serialize)]
pub struct Waiting {
    /// Place in the queue of its kind of machine, 1 = next.
    pub position: usize,
    /// As a sentence.
    pub reason: String,
    /// Expected start, if past builds allow an estimate.
    pub estimate_ms: Option<i64>,
}

/// A waiting build.
#[derive(Debug, Clone, Serialize)]
pub struct QueueLine {
    /// The build.
    #[serde(flatten)]
    pub line: BuildLine,
    /// Kind of machine it waits for.
    pub host_type: String,
    /// Why, and how long still.
    pub waiting: Waiting,
}

/// The queue.
#[derive(Debug, Clone, Serialize)]
pub struct Queue {
    /// In order of service per kind of machine.
    pub waiting: Vec<QueueLine>,
    /// Running builds, oldest first.
    pub running: Vec<BuildLine>,
    /// How many wait in all (the list may be cut).
    pub total: usize,
}

/// A worker.
#[derive(Debug, Clone, Serialize)]
pub struct Machine {
    /// Name.
    pub id: String,
    /// Pool.
    pub pool: String,
    /// Kind of machine.
    pub host_type: String,
    /// Host name it told.
    pub hostname: String,
    /// Where it connected from.
    pub address: String,
    /// Version it told.
    pub version: String,
    /// `idle`, `busy`, `draining`, `unreachable`, `missing`, `revoked`.
    pub state: &'static str,
    /// Since when.
    pub since_ms: i64,
    /// Connected since.
    pub connected_ms: Option<i64>,
    /// What it runs.
    pub build: Option<BuildId>,
    /// For people.
    pub note: String,
}

/// A kind of machine.
#[derive(Debug, Clone, Serialize)]
pub struct HostType {
    /// Name.
    pub name: String,
    /// Pool.
    pub pool: String,
    /// Connected, expected by the configuration, busy.
    pub connected: usize,
    /// See `connected`.
    pub expected: usize,
    /// See `connected`.
    pub busy: usize,
    /// Builds that wait for it.
    pub waiting: usize,
}

/// All machines.
#[derive(Debug, Clone, Serialize)]
pub struct Machines {
    /// Per kind.
    pub host_types: Vec<HostType>,
    /// By kind, then name.
    pub machines: Vec<Machine>,
}

/// A builder.
#[derive(Debug, Clone, Serialize)]
pub struct Builder {
    /// Name.
    pub name: String,
    /// Repositories it builds.
    pub repos: Vec<String>,
    /// Its configuration (JSON).
    pub spec: serde_json::Value,
    /// Newest first, at most 60.
    pub builds: Vec<BuildLine>,
    /// Of those: passed of finished, and median seconds of passed ones.
    pub pass_rate: Option<f64>,
    /// See `pass_rate`.
    pub median_seconds: Option<f64>,
    /// Of those: how many were flaky.
    pub flaky: usize,
}

/// One commit, all builders.
#[derive(Debug, Clone, Serialize)]
pub struct CommitPage {
    /// The commit.
    pub commit: Commit,
    /// Whole message is not kept; branches that contain it.
    pub branches: Vec<String>,
    /// Parent hashes.
    pub parents: Vec<String>,
    /// All builds, failures first, then by builder; older builds of a cell after the newest.
    pub builds: Vec<BuildLine>,
    /// Builders that were good on the parent and are not here.
    pub newly_broken: Vec<String>,
    /// The other way round.
    pub newly_fixed: Vec<String>,
}
