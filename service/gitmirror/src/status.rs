//! How things stand: for people, for programs, and in the words of the reference for programs that were made for it.

use std::fmt::Write as _;

use burrow_git::program::redact;
use burrow_store::Health;
use burrow_task::BoxFuture;
use serde::Serialize;

use crate::config::{Config, Visibility};
use crate::mirror::Mirror;
use crate::model::{Dest, Hold, Job, Phase, Repo};

/// A look that has not succeeded for so long is called hung, if it should have been made (`spec/gitmirror.md` §6.1).
const SILENCE_MS: i64 = 6 * 60_000;
/// So long a process may take to report.
const START_MS: i64 = 5 * 60_000;
/// Failures are mentioned for so long.
const RECENT_MS: i64 = 3_600_000;
/// References that are named; the others are counted.
const NAMED: usize = 100;

/// Everything.
#[derive(Debug, Clone, Serialize)]
pub struct Status {
    /// When this was so, Unix milliseconds.
    pub now_ms: i64,
    /// When the process took up its work.
    pub started_ms: i64,
    /// The limit for lags and divergences, in milliseconds.
    pub limit_ms: i64,
    /// Whether nothing is beyond its limit.
    pub healthy: bool,
    /// What operators must know besides what the repositories say.
    pub trouble: Vec<String>,
    /// Why nothing can be written to the journal and the rows; until that is mended nothing is pushed.
    pub stalled: Option<String>,
    /// By name.
    pub repos: Vec<RepoStatus>,
}

/// A repository.
#[derive(Debug, Clone, Serialize)]
pub struct RepoStatus {
    /// Name.
    pub name: String,
    /// Where it comes from.
    pub upstream: String,
    /// Whether everybody may read it.
    pub public: bool,
    /// In the words of the reference.
    pub line: String,
    /// What is beyond its limit; empty if it is healthy.
    pub unhealthy: Vec<String>,
    /// What it does: `waiting`, `queued`, `fetching`.
    pub doing: &'static str,
    /// What went wrong in the last look.
    pub error: String,
    /// Looks that failed since the last that did not.
    pub failures: u32,
    /// The last good look, Unix milliseconds.
    pub good_ms: Option<i64>,
    /// When it last changed.
    pub changed_ms: Option<i64>,
    /// When the next look is due.
    pub next_ms: Option<i64>,
    /// How long the last look took, in milliseconds.
    pub took_ms: i64,
    /// Looks since the process began.
    pub rounds: u64,
    /// Looks that fetched something.
    pub fetches: u64,
    /// Looks that were stuck and killed.
    pub stuck: u64,
    /// References.
    pub refs: usize,
    /// Deletions that wait for a confirmation.
    pub hold: Option<HoldStatus>,
    /// Where it goes.
    pub dests: Vec<DestStatus>,
}

/// A destination.
#[derive(Debug, Clone, Serialize)]
pub struct DestStatus {
    /// Name.
    pub name: String,
    /// Where it is.
    pub url: String,
    /// What it does: `waiting`, `queued`, `pushing`.
    pub doing: &'static str,
    /// What went wrong in the last push.
    pub error: String,
    /// Pushes that failed since the last that did not.
    pub failures: u32,
    /// Milliseconds for which upstream has had a value that is not here.
    pub lag_ms: i64,
    /// References that are behind.
    pub behind: usize,
    /// The longest lag of the last push that changed something, in milliseconds.
    pub last_lag_ms: Option<i64>,
    /// References that somebody else moved.
    pub diverged: Vec<RefStatus>,
    /// References that it refuses.
    pub quarantined: Vec<RefStatus>,
    /// Values that were undone and stay away.
    pub undone: Vec<RefStatus>,
    /// Deletions that wait for a confirmation.
    pub hold: Option<HoldStatus>,
    /// The last good push.
    pub good_ms: Option<i64>,
    /// When both ends were last compared.
    pub compared_ms: Option<i64>,
    /// When the next round is due.
    pub next_ms: Option<i64>,
    /// How long the last round took, in milliseconds.
    pub took_ms: i64,
    /// Rounds since the process began.
    pub rounds: u64,
    /// References changed since the process began.
    pub pushed: u64,
    /// Rounds that were stuck and killed.
    pub stuck: u64,
    /// References here that are ours.
    pub refs: usize,
}

/// A reference with something to be said about it.
#[derive(Debug, Clone, Serialize)]
pub struct RefStatus {
    /// Full name.
    #[serde(rename = "ref")]
    pub name: String,
    /// What is there; empty: nothing, or it does not matter.
    pub there: String,
    /// What should be there; empty: nothing.
    pub wanted: String,
    /// Why.
    pub reason: String,
    /// Since when.
    pub since_ms: i64,
}

/// Deletions that wait.
#[derive(Debug, Clone, Serialize)]
pub struct HoldStatus {
    /// How many.
    pub count: usize,
    /// Of how many.
    pub of: usize,
    /// The first of them.
    pub names: Vec<String>,
    /// Since when.
    pub since_ms: i64,
}

impl From<&Hold> for HoldStatus {
    fn from(hold: &Hold) -> HoldStatus {
        HoldStatus { count: hold.names.len(), of: hold.of, names: hold.names.iter().take(NAMED).cloned().collect(), since_ms: hold.since_ms }
    }
}

impl Status {
    /// One repository.
    pub fn repo(&self, name: &str) -> Option<&RepoStatus> {
        self.repos.iter().find(|repo| repo.name == name)
    }

    /// Whether nothing is beyond its limit and nothing failed last.
    pub fn is_healthy(&self) -> bool {
        self.healthy && self.first_error().is_none()
    }

    /// What `/healthz` says: that nothing can be written down, or the first repository that is in error.
    pub fn first_error(&self) -> Option<String> {
        let stalled = self.stalled.as_ref().map(|why| format!("journal: {why}"));
        stalled.or_else(|| self.first_of_repos())
    }

    fn first_of_repos(&self) -> Option<String> {
        self.repos.iter().find_map(|repo| repo.first_error().map(|error| format!("{}: {error}", repo.name)))
    }
}

impl RepoStatus {
    /// Whether nothing runs or waits for a place.
    pub fn is_quiet(&self) -> bool {
        self.doing == "waiting" && self.dests.iter().all(|dest| dest.doing == "waiting")
    }

    /// A destination.
    pub fn dest(&self, name: &str) -> Option<&DestStatus> {
        self.dests.iter().find(|dest| dest.name == name)
    }

    /// What went wrong in the last round, or is beyond its limit.
    pub fn first_error(&self) -> Option<String> {
        let looked = (self.failures > 0).then(|| self.error.clone());
        let pushed = || self.dests.iter().find(|dest| dest.failures > 0).map(|dest| format!("{}: {}", dest.name, dest.error));
        looked.or_else(pushed).or_else(|| self.unhealthy.first().cloned())
    }
}

fn doing(job: &Job, running: &'static str) -> &'static str {
    match job.phase {
        Phase::Idle { .. } => "waiting",
        Phase::Queued { .. } => "queued",
        Phase::Running { .. } => running,
    }
}

fn next(job: &Job) -> Option<i64> {
    if let Phase::Idle { at } = job.phase { Some(at).filter(|at| *at < i64::MAX) } else { None }
}

fn text(id: Option<burrow_git::Oid>) -> String {
    id.map(|id| id.to_string()).unwrap_or_default()
}

fn dest_status(name: &str, url: &str, dest: &Dest, now: i64) -> DestStatus {
    DestStatus {
        name: name.to_owned(),
        url: redact(url),
        doing: doing(&dest.job, "pushing"),
        error: dest.job.error.clone(),
        failures: dest.job.failures,
        lag_ms: dest.lag_ms(now),
        behind: dest.behind.len(),
        last_lag_ms: dest.last_lag_ms,
        diverged: dest
            .diverged
            .iter()
            .take(NAMED)
            .map(|(name, d)| RefStatus {
                name: name.clone(),
                there: text(d.there),
                wanted: text(d.wanted),
                reason: "somebody else moved it; `force = true` would overwrite that".into(),
                since_ms: d.since_ms,
            })
            .collect(),
        quarantined: dest
            .quarantine
            .iter()
            .take(NAMED)
            .map(|(name, q)| RefStatus { name: name.clone(), there: String::new(), wanted: text(q.value), reason: q.reason.clone(), since_ms: q.since_ms })
            .collect(),
        undone: dest
            .pins
            .iter()
            .take(NAMED)
            .map(|(name, pin)| RefStatus {
                name: name.clone(),
                there: text(pin.value),
                wanted: text(pin.rejected),
                reason: "undone; it stays so until upstream has another value".into(),
                since_ms: 0,
            })
            .collect(),
        hold: dest.hold.as_ref().map(HoldStatus::from),
        good_ms: dest.job.good_ms,
        compared_ms: dest.compared_ms,
        next_ms: next(&dest.job),
        took_ms: dest.job.took_ms,
        rounds: dest.job.rounds,
        pushed: dest.pushed,
        stuck: dest.job.stuck,
        refs: dest.refs,
    }
}

/// What is beyond its limit, in sentences.
fn unhealthy(repo: &Repo, now: i64, limit: i64) -> Vec<String> {
    let mut found = Vec::new();
    let over = |since: i64| now - since > limit;
    if repo.job.failures > 0 && over(repo.job.good_ms.or(repo.job.first_failure_ms).unwrap_or(repo.started_ms).max(0)) {
        found.push(format!(
            "the upstream could not be read for {}: {}",
            go_duration(now - repo.job.good_ms.or(repo.job.first_failure_ms).unwrap_or(now)),
            repo.job.error
        ));
    } else if let Phase::Running { since, .. } | Phase::Queued { since } = repo.job.phase
        && over(since)
    {
        found.push(format!("a look has not ended for {}", go_duration(now - since)));
    }
    if let Some(hold) = repo.hold.as_ref().filter(|hold| over(hold.since_ms)) {
        found.push(format!("{} deletions wait for a confirmation", hold.names.len()));
    }
    for (name, dest) in &repo.dests {
        if dest.lag_ms(now) > limit {
            found.push(format!(
                "{name} is behind for {}{}",
                go_duration(dest.lag_ms(now)),
                if dest.job.error.is_empty() { String::new() } else { format!(": {}", dest.job.error) }
            ));
        } else if dest.job.failures > 0 && over(dest.job.first_failure_ms.unwrap_or(now)) {
            found.push(format!("{name} could not be reached for {}: {}", go_duration(now - dest.job.first_failure_ms.unwrap_or(now)), dest.job.error));
        }
        if dest.diverged.values().any(|d| over(d.since_ms)) {
            found.push(format!("{} references at {name} were moved by somebody else", dest.diverged.len()));
        }
        if dest.quarantine.values().any(|q| over(q.since_ms)) {
            found.push(format!("{name} refuses {} references", dest.quarantine.len()));
        }
        if let Some(hold) = dest.hold.as_ref().filter(|hold| over(hold.since_ms)) {
            found.push(format!("{} deletions at {name} wait for a confirmation", hold.names.len()));
        }
    }
    found
}

/// The repository in the words of the reference's status list. What a repository and its destinations do counts together.
pub fn line(repo: &Repo, now: i64, unhealthy: &[String]) -> String {
    let jobs = || std::iter::once(&repo.job).chain(repo.dests.values().map(|dest| &dest.job));
    let failing = jobs().any(|job| job.failures > 0);
    let never = jobs().any(|job| job.good_ms.is_none());
    let ago = |since: i64| go_duration((now - since).max(0));
    if never {
        let first = jobs().filter_map(|job| job.first_failure_ms).min();
        return match first.filter(|_| failing) {
            Some(first) => format!("broken; permanently? always failing, for {}", ago(first)),
            None if now - repo.started_ms < START_MS => "ok; starting up, no report yet".into(),
            None => format!("hung; hang at start-up? no report since start {} ago", ago(repo.started_ms)),
        };
    }
    if failing {
        let good = jobs().filter(|job| job.failures > 0).filter_map(|job| job.good_ms).min().unwrap_or(now);
        return format!("broken for {}", ago(good));
    }
    let looked = repo.job.good_ms.unwrap_or(now);
    if now - looked > SILENCE_MS.max(3 * repo.poll_ms) {
        return format!("hung? no activity since last success {} ago", ago(looked));
    }
    if let Some(first) = unhealthy.first() {
        return format!("broken: {first}");
    }
    let held: usize = repo.hold.iter().chain(repo.dests.values().filter_map(|dest| dest.hold.as_ref())).map(|hold| hold.names.len()).sum();
    if held > 0 {
        return format!("ok; {held} deletions wait for a confirmation");
    }
    for (name, dest) in &repo.dests {
        if !dest.diverged.is_empty() {
            return format!("ok; {} references at {name} were moved by somebody else", dest.diverged.len());
        }
        if !dest.quarantine.is_empty() {
            return format!("ok; {name} refuses {} references", dest.quarantine.len());
        }
    }
    match jobs().filter_map(|job| job.last_failure_ms).max().filter(|at| now - at < RECENT_MS) {
        Some(at) => format!("ok; recent failure {} ago", ago(at)),
        None => "ok".into(),
    }
}

/// A duration as Go writes it: `13m39.131s`.
///
/// ```
/// use burrow_gitmirror::status::go_duration;
/// assert_eq!([0, 350, 1_500, 819_131, 3_600_000].map(go_duration), ["0s", "350ms", "1.5s", "13m39.131s", "1h0m0s"]);
/// ```
pub fn go_duration(ms: i64) -> String {
    let ms = ms.max(0);
    if ms == 0 {
        return "0s".into();
    }
    if ms < 1_000 {
        return format!("{ms}ms");
    }
    let mut out = String::new();
    let (hours, minutes) = (ms / 3_600_000, ms / 60_000 % 60);
    if hours > 0 {
        let _ = write!(out, "{hours}h");
    }
    if ms >= 60_000 {
        let _ = write!(out, "{minutes}m");
    }
    let _ = write!(out, "{}", ms / 1_000 % 60);
    let rest = ms % 1_000;
    if rest > 0 {
        let digits = format!("{rest:03}");
        let _ = write!(out, ".{}", digits.trim_end_matches('0'));
    }
    out.push('s');
    out
}

impl Mirror {
    /// How things stand.
    pub fn status(&self) -> Status {
        let now = self.inner.shell.now_ms();
        let cells = self.inner.cells.read().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
        let stalled = match &*self.inner.db.health().borrow() {
            Health::Good => None,
            Health::Waiting(why) => Some(format!(
                "nothing can be written to {}, and nothing is pushed until it can: {why}; free some space there or look at the disk, and it goes on by itself",
                self.inner.deps.data.display()
            )),
            Health::LockLost => Some("another process has taken the rows over; restart this one".into()),
        };
        let mut trouble: Vec<String> =
            self.inner.trouble.lock().unwrap_or_else(std::sync::PoisonError::into_inner).iter().map(|(what, why)| format!("{what}: {why}")).collect();
        trouble.extend(stalled.iter().map(|why| format!("journal: {why}")));
        let state = self.inner.shell.lock();
        let limit = state.limits.lag_ms;
        let repos: Vec<RepoStatus> = state
            .repos
            .iter()
            .map(|(name, repo)| {
                let config = cells.get(name).map(|cell| &cell.config);
                let unhealthy = unhealthy(repo, now, limit);
                let dests = repo.dests.iter().map(|(dest_name, dest)| {
                    let url = config.and_then(|c| c.dest.iter().find(|d| d.name == *dest_name)).map_or("", |d| d.url.as_str());
                    dest_status(dest_name, url, dest, now)
                });
                RepoStatus {
                    name: name.clone(),
                    upstream: config.map(|c| redact(&c.upstream)).unwrap_or_default(),
                    public: config.is_some_and(|c| c.visibility == Visibility::Public),
                    line: stalled.as_ref().map_or_else(|| line(repo, now, &unhealthy), |why| format!("broken: {why}")),
                    unhealthy,
                    doing: doing(&repo.job, "fetching"),
                    error: repo.job.error.clone(),
                    failures: repo.job.failures,
                    good_ms: repo.job.good_ms,
                    changed_ms: repo.changed_ms,
                    next_ms: next(&repo.job),
                    took_ms: repo.job.took_ms,
                    rounds: repo.job.rounds,
                    fetches: repo.fetches,
                    stuck: repo.job.stuck,
                    refs: repo.refs,
                    hold: repo.hold.as_ref().map(HoldStatus::from),
                    dests: dests.collect(),
                }
            })
            .collect();
        let healthy = stalled.is_none() && repos.iter().all(|repo| repo.unhealthy.is_empty());
        Status { now_ms: now, started_ms: self.inner.started_ms, limit_ms: limit, healthy, trouble, stalled, repos }
    }

    /// The log of one repository, newest first: Unix milliseconds and text.
    pub fn log_of(&self, name: &str) -> Option<Vec<(i64, String)>> {
        self.inner.shell.lock().repos.get(name).map(|repo| repo.log.iter().rev().cloned().collect())
    }

    /// Puts a configuration in force that was read again, or says why not. The old one stays in force then.
    pub fn reload(&self, config: Result<Config, burrow_site::FileError>) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            let result = match config {
                Ok(config) if *self.config() == config => Ok(()),
                Ok(config) => self.apply(config).await.map_err(|error| error.to_string()),
                Err(error) => Err(error.to_string()),
            };
            match &result {
                Ok(()) => tracing::info!("The configuration is in force."),
                Err(why) => tracing::error!(why, "The changed configuration is wrong; the old one stays in force."),
            }
            self.trouble("configuration", result.err());
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn repo() -> Repo {
        let mut repo = Repo::new(0);
        repo.job.phase = Phase::Idle { at: 0 };
        repo.dests.insert("d".into(), Dest::new(0));
        repo
    }

    /// Every row of the table in `spec/gitmirror.md` §6.1.
    #[test]
    fn the_words_are_the_references() {
        let of = |repo: &Repo, now: i64| line(repo, now, &unhealthy(repo, now, 600_000));
        let mut r = repo();
        assert_eq!(of(&r, 1_000), "ok; starting up, no report yet");
        assert_eq!(of(&r, 400_000), "hung; hang at start-up? no report since start 6m40s ago");
        r.job.failures = 1;
        r.job.first_failure_ms = Some(500);
        assert_eq!(of(&r, 2_000), "broken; permanently? always failing, for 1.5s");
        r.job.failures = 0;
        r.job.good_ms = Some(1_000);
        r.dests.get_mut("d").unwrap().job.good_ms = Some(1_000);
        assert_eq!(of(&r, 2_000), "ok");
        r.job.last_failure_ms = Some(500);
        assert_eq!(of(&r, 2_000), "ok; recent failure 1.5s ago");
        assert_eq!(of(&r, 401_000), "hung? no activity since last success 6m40s ago");
        r.dests.get_mut("d").unwrap().job.failures = 2;
        assert_eq!(of(&r, 61_000), "broken for 1m0s");
    }

    #[test]
    fn a_lag_beyond_the_limit_is_an_error_whatever_the_pushes_say() {
        let mut r = repo();
        r.job.good_ms = Some(700_000);
        let dest = r.dests.get_mut("d").unwrap();
        dest.job.good_ms = Some(700_000);
        dest.behind.insert("refs/heads/main".into(), 0);
        let found = unhealthy(&r, 700_000, 600_000);
        assert_eq!(found, ["d is behind for 11m40s"]);
        assert!(line(&r, 700_000, &found).starts_with("broken: d is behind"));
        assert!(unhealthy(&r, 500_000, 600_000).is_empty());
    }
}
