//! What the service is doing: for the status page and `/status.json`.

use serde::Serialize;

use crate::{Leader, poll};

/// A source of mutations, as the page shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SourceStatus {
    /// Which.
    pub source: String,
    /// What it does or waits for; empty between rounds.
    pub doing: String,
    /// When its last round ended, Unix milliseconds.
    pub ended_ms: Option<i64>,
    /// When its next one begins, Unix milliseconds.
    pub next_ms: Option<i64>,
    /// Rounds that are over.
    pub rounds: u64,
    /// Mutations it committed since the start.
    pub mutations: u64,
    /// Why there is nothing to read at present, though that is no fault.
    pub note: String,
    /// What went wrong in the last round; empty if nothing did.
    pub error: String,
}

impl From<&poll::SourceStatus> for SourceStatus {
    fn from(status: &poll::SourceStatus) -> SourceStatus {
        let (note, error) = match &status.outcome {
            poll::Outcome::None | poll::Outcome::Good => (String::new(), String::new()),
            poll::Outcome::Idle(why) => (why.clone(), String::new()),
            poll::Outcome::Failed(why) => (String::new(), why.clone()),
        };
        SourceStatus {
            source: status.source.to_string(),
            doing: status.doing.clone().unwrap_or_default(),
            ended_ms: status.ended,
            next_ms: status.next,
            rounds: status.rounds,
            mutations: status.mutations,
            note,
            error,
        }
    }
}

/// Everything.
#[derive(Debug, Clone, Serialize)]
pub struct Status {
    /// Bytes of the log.
    pub bytes: u64,
    /// Its segments.
    pub segments: usize,
    /// Number, size and digest of the one that grows.
    pub current: Option<Current>,
    /// Records in the corpus.
    pub records: u64,
    /// Followers that wait for the next record.
    pub waiting: usize,
    /// GitHub repositories with issues, issues, Gerrit projects, changes, commits.
    pub counts: Counts,
    /// Frozen segments whose digests were checked since the start, and how many there are.
    pub checked: (usize, usize),
    /// What operators must know.
    pub trouble: Vec<String>,
    /// Where mutations come from.
    pub sources: Vec<SourceStatus>,
    /// When the service began, Unix milliseconds.
    pub started_ms: i64,
}

/// The segment that grows.
#[derive(Debug, Clone, Serialize)]
pub struct Current {
    /// Number.
    pub number: u32,
    /// Bytes.
    pub size: u64,
    /// SHA-224 in hex.
    pub sha224: String,
}

/// How much of each kind the corpus holds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// GitHub repositories.
    pub repositories: usize,
    /// Issues and pull requests.
    pub issues: usize,
    /// Gerrit projects.
    pub projects: usize,
    /// Complete changes.
    pub changes: usize,
    /// Commits.
    pub commits: usize,
}

impl Counts {
    fn of(view: &burrow_maintner::View) -> Counts {
        let repos = view.github().repos();
        Counts {
            issues: repos.iter().map(|repo| repo.issues().len()).sum(),
            repositories: repos.len(),
            projects: view.gerrit().projects().count(),
            changes: view.gerrit().projects().map(|project| project.changes().len()).sum(),
            commits: view.git().commit_count(),
        }
    }
}

impl Status {
    pub(crate) fn of(leader: &Leader, sources: Vec<SourceStatus>, started_ms: i64) -> Status {
        let state = leader.log().snapshot();
        let view = leader.view();
        let scrub = leader.log().scrub();
        let scrub = scrub.borrow();
        let mut trouble: Vec<String> = scrub.faults.iter().map(|fault| format!("{}: {}", fault.path.display(), fault.text)).collect();
        trouble.extend(leader.log().trouble().borrow().iter().map(ToString::to_string));
        trouble.extend(leader.stopped().borrow().iter().map(|why| format!("the corpus stopped following the log: {why}")));
        Status {
            bytes: state.total,
            segments: state.segments.len(),
            current: state.current().map(|segment| Current { number: segment.number, size: segment.size, sha224: segment.sha224.to_string() }),
            records: view.records(),
            // The corpus of the leader waits, too; it is no follower.
            waiting: leader.log().watchers().saturating_sub(1),
            counts: Counts::of(&view),
            checked: (scrub.checked, scrub.segments),
            trouble,
            sources,
            started_ms,
        }
    }
}
