//! The words of the results: ids, classes, states (`dashboard.md` §15.3, `coordinator.md` §6–7; `docs/glossary.md`).

use serde::{Deserialize, Serialize};

/// Number of a build: one builder × one commit, asked for once. Given out in order of creation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct BuildId(pub i64);

/// Number of an attempt: one try at a build.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct AttemptId(pub i64);

impl std::fmt::Display for BuildId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}
impl std::fmt::Display for AttemptId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// Who asked, which decides who goes first (`coordinator.md` §6.1). The order of the variants is the order of service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Class {
    /// Releases.
    Urgent,
    /// A person waits: `burrow build`, retries by hand, remote sessions.
    Interactive,
    /// Proposed changes.
    Try,
    /// Everything after submit.
    Batch,
}

impl Class {
    /// The number kept in rows.
    pub fn number(self) -> i64 {
        self as i64
    }

    /// From the number kept in rows; unknown numbers are batch.
    pub fn from_number(n: i64) -> Class {
        match n {
            0 => Class::Urgent,
            1 => Class::Interactive,
            2 => Class::Try,
            _ => Class::Batch,
        }
    }

    /// The word for pages.
    pub fn word(self) -> &'static str {
        match self {
            Class::Urgent => "urgent",
            Class::Interactive => "interactive",
            Class::Try => "try",
            Class::Batch => "batch",
        }
    }
}

macro_rules! states {
    ($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $word:literal),* $(,)? }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum $name { $($(#[$doc])* $variant),* }
        impl $name {
            /// All of them, in the order of a life.
            pub const ALL: &'static [$name] = &[$($name::$variant),*];
            /// The word kept in rows and JSON.
            pub fn word(self) -> &'static str {
                match self { $($name::$variant => $word),* }
            }
            /// From the word; `None` for a word of a newer version.
            pub fn from_word(word: &str) -> Option<$name> {
                match word { $($word => Some($name::$variant),)* _ => None }
            }
        }
        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.word())
            }
        }
    };
}

states! {
    /// State of a build, and of a cell of the grid (`dashboard.md` §15.3).
    BuildState {
        /// In the queue; no machine of its kind is free, or others go first.
        Queued = "queued",
        /// In the queue, and no machine that could run it is connected.
        WaitingMachine = "waiting_machine",
        /// An attempt is under way.
        Running = "running",
        /// Every step ended well.
        Passed = "passed",
        /// A test failed.
        FailedTest = "failed_test",
        /// A step that builds failed.
        FailedBuild = "failed_build",
        /// A step, or the whole, took too long.
        TimedOut = "timed_out",
        /// Could not be run to an end: machines vanished, sources could not be had. Not the commit's fault.
        InfraFailed = "infra_failed",
        /// Somebody cancelled it.
        Cancelled = "cancelled",
        /// A commit that the builder requires is not among the ancestors, or the recipe's files are missing.
        SkippedMissingDep = "skipped_missing_dep",
    }
}

impl BuildState {
    /// Whether nothing will happen to it any more by itself.
    pub fn ended(self) -> bool {
        !matches!(self, BuildState::Queued | BuildState::WaitingMachine | BuildState::Running)
    }

    /// Whether the commit (not the farm) is to blame.
    pub fn failed(self) -> bool {
        matches!(self, BuildState::FailedTest | BuildState::FailedBuild | BuildState::TimedOut)
    }
}

states! {
    /// State of an attempt.
    AttemptState {
        /// A worker is reserved; sources are being sent.
        Assigned = "assigned",
        /// Steps are running.
        Running = "running",
        /// As the build's state of the same word.
        Passed = "passed",
        /// As the build's state of the same word.
        FailedTest = "failed_test",
        /// As the build's state of the same word.
        FailedBuild = "failed_build",
        /// As the build's state of the same word.
        TimedOut = "timed_out",
        /// As the build's state of the same word; the build may get another attempt.
        InfraFailed = "infra_failed",
        /// As the build's state of the same word.
        Cancelled = "cancelled",
        /// As the build's state of the same word.
        SkippedMissingDep = "skipped_missing_dep",
    }
}

impl AttemptState {
    /// Whether the attempt is over.
    pub fn ended(self) -> bool {
        !matches!(self, AttemptState::Assigned | AttemptState::Running)
    }
}

states! {
    /// State of a step.
    StepState {
        /// Not begun.
        Waiting = "waiting",
        /// Its execution runs.
        Running = "running",
        /// Ended well.
        Passed = "passed",
        /// The command ended with a status other than 0.
        Failed = "failed",
        /// Took too long, in all or without output.
        TimedOut = "timed_out",
        /// Its worker was lost.
        Lost = "lost",
        /// Stopped because the build was.
        Cancelled = "cancelled",
    }
}

states! {
    /// What a step is for.
    StepKind {
        /// Getting the source to the worker.
        Source = "source",
        /// A step of the recipe that builds.
        Build = "build",
        /// A step of the recipe that tests.
        Test = "test",
        /// Listing the tests.
        List = "list",
        /// A shard: some of the listed tests; `detail` holds their names, one per line.
        Shard = "shard",
    }
}
