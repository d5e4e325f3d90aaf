//! What the pages may ask of the running coordinator, and what it tells them as things change.

use std::sync::Arc;

use burrow_results::model::{AttemptId, BuildId, BuildState, Class};
use burrow_results::view;
use futures_util::future::BoxFuture;
use serde::Serialize;
use tokio::sync::broadcast;

/// Why a request to the coordinator was refused. The text says what to do.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// There is no such build, repository, commit or builder.
    #[error("{0}")]
    NotFound(String),
    /// It cannot be done in the present state (for example: cancelling a build that has ended).
    #[error("{0}")]
    Conflict(String),
    /// The request itself is wrong.
    #[error("{0}")]
    Invalid(String),
    /// The database or a repository could not be reached.
    #[error("{0}")]
    Unavailable(String),
}

/// A change that pages want to hear of. Published after it is on disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Change {
    /// A build was created or changed its state.
    Build {
        /// The build.
        build: BuildId,
        /// Its repository.
        repo: String,
        /// Its branch.
        branch: String,
        /// Its commit.
        hash: String,
        /// Its builder.
        builder: String,
        /// The state it has now.
        state: BuildState,
    },
    /// A step of an attempt began or ended.
    Step {
        /// The build.
        build: BuildId,
        /// The attempt.
        attempt: AttemptId,
    },
    /// New commits were found on a branch, or it was rewritten, or a source began or ceased to fail.
    Source {
        /// The repository.
        repo: String,
        /// The branch; empty: all.
        branch: String,
    },
    /// A worker came, went, or changed its state.
    Machines,
    /// A new configuration took effect.
    Config,
}

/// A request for a build.
#[derive(Debug, Clone)]
pub struct Submit {
    /// Repository name of the configuration.
    pub repo: String,
    /// Full hash, or anything git can resolve in that repository.
    pub revision: String,
    /// Builder name.
    pub builder: String,
    /// Priority.
    pub class: Class,
    /// Who asks; shown in the history.
    pub actor: String,
    /// Why; shown on the page.
    pub reason: String,
}

/// A result that was made elsewhere and is posted to us (`dashboard.md` §4.5).
#[derive(Debug, Clone)]
pub struct Posted {
    /// Builder name.
    pub builder: String,
    /// Import path of the repository; empty for the main one.
    pub package_path: String,
    /// Commit.
    pub hash: String,
    /// Commit of the base repository; empty for the main one.
    pub go_hash: String,
    /// Passed.
    pub ok: bool,
    /// Content of the log; may be empty.
    pub log: Vec<u8>,
    /// Nanoseconds.
    pub run_time_ns: i64,
}

/// What is only in memory: the queue in its order and the machines.
#[derive(Debug, Clone, Default)]
pub struct Live {
    /// Waiting builds in the order of service, with kind of machine, place, reason and estimate.
    pub waiting: Vec<(BuildId, String, view::Waiting)>,
    /// Running builds with their attempt and worker.
    pub running: Vec<(BuildId, AttemptId, String)>,
    /// Machines and kinds of machine as the machines page shows them.
    pub host_types: Vec<view::HostType>,
    /// See `host_types`.
    pub machines: Vec<view::Machine>,
    /// Empty when all is well, else what operators must know (for example: the disk is full).
    pub trouble: Vec<String>,
}

/// Reads the log of an attempt, finished or still growing, from any offset.
pub trait LogReader: Send {
    /// The next piece, at most 256 KiB; waits for it if the attempt is still under way. `None` at the end of a finished log.
    fn next(&mut self) -> BoxFuture<'_, std::io::Result<Option<bytes::Bytes>>>;
}

/// A finished log: its length in bytes, and a reader of it.
pub type FinishedLog = (u64, Box<dyn LogReader>);

/// The running coordinator as the pages see it.
pub trait Control: Send + Sync {
    /// Snapshot of what is only in memory; cheap, made anew only when something changed.
    fn live(&self) -> Arc<Live>;
    /// Changes from now on.
    fn changes(&self) -> broadcast::Receiver<(u64, Change)>;
    /// Number of the newest change; pages made at the same number are equal.
    fn generation(&self) -> u64;
    /// Asks for a build. Asking for what is already waiting or running gives that build.
    fn submit(&self, request: Submit) -> BoxFuture<'_, Result<BuildId, ControlError>>;
    /// Cancels a build that has not ended.
    fn cancel(&self, build: BuildId, actor: String) -> BoxFuture<'_, Result<(), ControlError>>;
    /// Builds the same again, whatever the state of the old one; the old one is kept and marked superseded.
    fn retry(&self, build: BuildId, actor: String, reason: String) -> BoxFuture<'_, Result<BuildId, ControlError>>;
    /// Records a result that was made elsewhere.
    fn record(&self, posted: Posted) -> BoxFuture<'_, Result<BuildId, ControlError>>;
    /// A push was announced: look at this repository now. Empty name: at all.
    fn poll_now(&self, repo: String) -> BoxFuture<'_, Result<(), ControlError>>;
    /// Drains or undrains a machine.
    fn drain(&self, machine: String, on: bool, actor: String) -> BoxFuture<'_, Result<(), ControlError>>;
    /// Opens the log of an attempt at an offset; `follow` waits for more while the attempt runs.
    fn log(&self, attempt: AttemptId, offset: u64, follow: bool) -> BoxFuture<'_, Result<Box<dyn LogReader>, ControlError>>;
    /// Opens a finished log by the hash of its content.
    fn log_by_hash(&self, hash: String) -> BoxFuture<'_, Result<FinishedLog, ControlError>>;
    /// Makes an enrolment token for one machine of a kind; it is shown once (`docs/worker-protocol.md`, Enrolment).
    fn enroll(&self, _host_type: String, _actor: String) -> BoxFuture<'_, Result<String, ControlError>> {
        Box::pin(async { Err(ControlError::Conflict("this coordinator has no pool of kind \"reverse\"; add one to the configuration".into())) })
    }
    /// Where machines dial in, if they may.
    fn machine_address(&self) -> Option<String> {
        None
    }
    /// Makes a machine's key worthless and throws it out.
    fn revoke(&self, machine: String, _actor: String) -> BoxFuture<'_, Result<(), ControlError>> {
        Box::pin(async move { Err(ControlError::NotFound(format!("there is no machine {machine:?}"))) })
    }
}
