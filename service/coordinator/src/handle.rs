//! [`Control`] of a running farm.

use std::sync::Arc;

use burrow_git::Oid;
use burrow_results::model::{AttemptId, AttemptState, BuildId, Class};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio::sync::broadcast;

use crate::control::{Change, Control, ControlError, FinishedLog, Live, LogReader, Posted, Submit};
use crate::farm::Farm;
use crate::model::{End, Event, NewBuild};
use crate::{live, sources};

/// A snapshot is made anew after so long even if nothing changed, because it tells of times.
const STALE_MS: i64 = 5_000;

fn unavailable(error: impl std::fmt::Display) -> ControlError {
    ControlError::Unavailable(error.to_string())
}

impl Farm {
    /// The farm as the pages see it.
    pub fn control(self: &Arc<Self>) -> Arc<dyn Control> {
        Arc::clone(self) as Arc<dyn Control>
    }

    async fn ask(&self, event: Event) -> Result<Vec<BuildId>, ControlError> {
        let answer = self.shell.ask(event).await.ok_or_else(|| unavailable("the database did not take the request; see the coordinator's log"))?;
        match answer.refused {
            Some(why) => Err(ControlError::Conflict(why)),
            None => Ok(answer.builds),
        }
    }

    async fn submit_build(&self, request: Submit) -> Result<BuildId, ControlError> {
        let config = self.config();
        let Submit { repo, revision, builder, class, actor, reason } = request;
        let Some(settings) = config.repos.get(&repo) else {
            let known: Vec<&str> = config.repos.keys().map(String::as_str).collect();
            return Err(ControlError::NotFound(format!("no repository {repo:?}; there are {}", known.join(", "))));
        };
        let Some((spec, host_type)) = sources::resolved(&config, &builder) else {
            let known: Vec<&str> = config.builders.keys().map(String::as_str).collect();
            return Err(ControlError::NotFound(format!("no builder {builder:?}; there are {}", known.join(", "))));
        };
        let mirror = self.sources.mirror(&repo).await.map_err(unavailable)?;
        let mut found = mirror.resolve(&revision).await.map_err(unavailable)?;
        if found.is_none() {
            mirror.fetch(std::time::Duration::from_secs(300)).await.map_err(unavailable)?;
            found = mirror.resolve(&revision).await.map_err(unavailable)?;
        }
        let id = found.ok_or_else(|| ControlError::NotFound(format!("{repo} has no commit {revision:?}")))?;
        let commit = mirror.commit(id).await.map_err(unavailable)?.ok_or_else(|| ControlError::NotFound(format!("{revision:?} is not a commit")))?;
        let branch = self.branch_of(&repo, id, settings.main_branch.as_deref()).await?;
        let new = NewBuild {
            repo: repo.clone(),
            branch,
            hash: id.to_string(),
            builder,
            class,
            host_type,
            commit_s: commit.commit_time,
            origin: "request".into(),
            actor,
            reason,
            spec,
        };
        let builds = self.ask(Event::Submit { builds: vec![new], rows: vec![sources::commit_row(&repo, &commit)], changes: Vec::new() }).await?;
        builds.first().copied().ok_or_else(|| unavailable("the build was not created"))
    }

    /// A branch that holds the commit; the main branch if none is known to.
    async fn branch_of(&self, repo: &str, id: Oid, main: Option<&str>) -> Result<String, ControlError> {
        let query = "SELECT branch FROM branch_commits WHERE repo = $1 AND hash = $2 ORDER BY branch";
        let rows = self.shell.db().query(query, (repo, id.to_string())).await.map_err(unavailable)?;
        let mut branches = rows.iter().filter_map(|r| r.text(0).ok());
        let query = "SELECT main_branch FROM repos WHERE name = $1";
        let stored = self.shell.db().query(query, (repo,)).await.map_err(unavailable)?;
        let main = main.map(str::to_owned).or_else(|| stored.first().and_then(|r| r.text(0).ok()).filter(|b| !b.is_empty()).map(str::to_owned));
        let main = main.unwrap_or_else(|| "main".into());
        if branches.clone().any(|b| b == main) {
            return Ok(main);
        }
        Ok(branches.next().map_or(main, str::to_owned))
    }

    async fn retry_build(&self, old: BuildId, actor: String, reason: String) -> Result<BuildId, ControlError> {
        let query = "SELECT repo, branch, hash, builder, spec, commit_s FROM builds WHERE id = $1";
        let rows = self.shell.db().query(query, (old.0,)).await.map_err(unavailable)?;
        let row = rows.first().ok_or_else(|| ControlError::NotFound(format!("there is no build {old}")))?;
        let text = |column| row.text(column).map(str::to_owned).map_err(unavailable);
        let (builder, config) = (text(3)?, self.config());
        // What the configuration says now; if it does not know the builder any more, what it said then.
        let (spec, host_type) = match sources::resolved(&config, &builder) {
            Some(now) => now,
            None => {
                let spec = text(4)?;
                let then: burrow_builders::ResolvedBuilder = serde_json::from_str(&spec)
                    .map_err(|_| ControlError::Conflict(format!("build {old} was made elsewhere, and there is no builder {builder:?} here to run it again")))?;
                (spec.into(), sources::queue_of(&config, &then.pool, &then.host_type))
            }
        };
        let new = NewBuild {
            repo: text(0)?,
            branch: text(1)?,
            hash: text(2)?,
            builder,
            class: Class::Interactive,
            host_type,
            commit_s: row.int(5).map_err(unavailable)?,
            origin: "retry".into(),
            actor,
            reason: if reason.is_empty() { format!("build {old} again") } else { reason },
            spec,
        };
        let builds = self.ask(Event::Retry { old, new }).await?;
        builds.first().copied().ok_or_else(|| unavailable("the build was not created"))
    }

    async fn record_posted(&self, posted: Posted) -> Result<BuildId, ControlError> {
        let config = self.config();
        let repo = config
            .repos
            .iter()
            .find(|(name, r)| if posted.package_path.is_empty() { is_main(&config, name) } else { r.import_path.as_deref() == Some(&posted.package_path) })
            .map(|(name, _)| name.clone())
            .ok_or_else(|| ControlError::NotFound(format!("no repository has the import path {:?}", posted.package_path)))?;
        let (log_hash, log_bytes) = self.logs.keep(&posted.log).await.map_err(unavailable)?;
        let query = "SELECT id FROM builds WHERE repo = $1 AND hash = $2 AND builder = $3 AND superseded = 0";
        let rows = self.shell.db().query(query, (&repo, &posted.hash, &posted.builder)).await.map_err(unavailable)?;
        let older = rows.iter().filter_map(|r| r.int(0).ok()).map(BuildId).collect();
        let branch = match posted.hash.parse() {
            Ok(id) => self.branch_of(&repo, id, None).await?,
            Err(_) => String::new(),
        };
        let new = NewBuild {
            repo,
            branch,
            hash: posted.hash,
            builder: posted.builder.clone(),
            class: Class::Batch,
            host_type: String::new(),
            commit_s: 0,
            origin: "posted".into(),
            actor: format!("builder {}", posted.builder),
            reason: String::new(),
            spec: "{}".into(),
        };
        let end =
            End { state: if posted.ok { AttemptState::Passed } else { AttemptState::FailedBuild }, flaky: false, log_hash, log_bytes, message: String::new() };
        let builds = self.ask(Event::Record { new, end, took_ms: posted.run_time_ns / 1_000_000, older }).await?;
        builds.first().copied().ok_or_else(|| unavailable("the result was not stored"))
    }

    async fn open_log(&self, attempt: AttemptId, offset: u64, follow: bool) -> Result<Box<dyn LogReader>, ControlError> {
        for _ in 0..2 {
            if let Some(reader) = self.logs.live(attempt, offset, follow) {
                return Ok(reader);
            }
            let rows = self.shell.db().query("SELECT log_hash, state FROM attempts WHERE id = $1", (attempt.0,)).await.map_err(unavailable)?;
            let row = rows.first().ok_or_else(|| ControlError::NotFound(format!("there is no attempt {attempt}")))?;
            let hash = row.opt_text(0).map_err(unavailable)?.map(str::to_owned).or_else(|| self.logs.just_ended(attempt));
            if let Some(hash) = hash {
                let found = self.logs.finished(&hash, offset).await.map_err(unavailable)?;
                return found.map(|(_, reader)| reader).ok_or_else(|| ControlError::NotFound(format!("log {hash} is not in the storage any more")));
            }
            if let Some(reader) = self.logs.leftover(attempt, offset) {
                return Ok(reader);
            }
        }
        Ok(Box::new(Nothing))
    }
}

/// The main repository: the base repository of its project, or the first one.
pub(crate) fn is_main(config: &burrow_builders::Config, name: &str) -> bool {
    let base = config.projects.values().find_map(|p| p.base_repo.as_deref());
    base.or_else(|| config.repos.keys().next().map(String::as_str)) == Some(name)
}

/// The log of an attempt that wrote none.
struct Nothing;

impl LogReader for Nothing {
    fn next(&mut self) -> BoxFuture<'_, std::io::Result<Option<bytes::Bytes>>> {
        Box::pin(async { Ok(None) })
    }
}

impl Control for Farm {
    fn live(&self) -> Arc<Live> {
        let (generation, now) = (self.shell.generation(), self.shell.now_ms());
        let mut cached = self.live.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some((made, at, live)) = cached.as_ref()
            && *made == generation
            && now - at < STALE_MS
        {
            return Arc::clone(live);
        }
        let trouble = self.trouble();
        let enrolled = self.reverse.as_ref().map(|r| r.known()).unwrap_or_default();
        let live = Arc::new(live::snapshot(&self.shell.lock(), &self.config(), &enrolled, now, trouble));
        *cached = Some((generation, now, Arc::clone(&live)));
        live
    }

    fn changes(&self) -> broadcast::Receiver<(u64, Change)> {
        self.shell.changes()
    }

    fn generation(&self) -> u64 {
        self.shell.generation()
    }

    fn submit(&self, request: Submit) -> BoxFuture<'_, Result<BuildId, ControlError>> {
        self.submit_build(request).boxed()
    }

    fn cancel(&self, build: BuildId, actor: String) -> BoxFuture<'_, Result<(), ControlError>> {
        async move {
            let rows = self.shell.db().query("SELECT id FROM builds WHERE id = $1", (build.0,)).await.map_err(unavailable)?;
            if rows.is_empty() {
                return Err(ControlError::NotFound(format!("there is no build {build}")));
            }
            self.ask(Event::Cancel { build, actor }).await.map(drop)
        }
        .boxed()
    }

    fn retry(&self, build: BuildId, actor: String, reason: String) -> BoxFuture<'_, Result<BuildId, ControlError>> {
        self.retry_build(build, actor, reason).boxed()
    }

    fn record(&self, posted: Posted) -> BoxFuture<'_, Result<BuildId, ControlError>> {
        self.record_posted(posted).boxed()
    }

    fn poll_now(&self, repo: String) -> BoxFuture<'_, Result<(), ControlError>> {
        async move { if self.sources.hint(&repo) { Ok(()) } else { Err(ControlError::NotFound(format!("no repository {repo:?} is watched here"))) } }.boxed()
    }

    fn drain(&self, machine: String, on: bool, actor: String) -> BoxFuture<'_, Result<(), ControlError>> {
        async move {
            let known = self.shell.lock().workers.contains_key(&machine);
            let rows = self.shell.db().query("SELECT id FROM machines WHERE id = $1", (&machine,)).await.map_err(unavailable)?;
            if !known && rows.is_empty() {
                return Err(ControlError::NotFound(format!("there is no machine {machine:?}")));
            }
            tracing::info!(machine, on, actor, "A machine is drained or undrained.");
            if let Some(reverse) = &self.reverse {
                reverse.set_draining(&machine, on);
            }
            self.ask(Event::Drain { id: machine, on }).await.map(drop)
        }
        .boxed()
    }

    fn enroll(&self, host_type: String, actor: String) -> BoxFuture<'_, Result<String, ControlError>> {
        async move {
            let Some(reverse) = &self.reverse else {
                return Err(ControlError::Conflict("this coordinator has no pool of kind \"reverse\"; add one to the configuration".into()));
            };
            let config = self.config();
            if !config.hosts.contains_key(&host_type) {
                let known: Vec<&str> = config.hosts.keys().map(String::as_str).collect();
                return Err(ControlError::NotFound(format!("no host type {host_type:?}; there are {}", known.join(", "))));
            }
            tracing::info!(host_type, actor, "An enrolment token was made.");
            reverse.token(&host_type).await.map_err(unavailable)
        }
        .boxed()
    }

    fn machine_address(&self) -> Option<String> {
        self.reverse.as_ref().map(|r| r.address.to_string())
    }

    fn revoke(&self, machine: String, actor: String) -> BoxFuture<'_, Result<(), ControlError>> {
        async move {
            let known = match &self.reverse {
                Some(reverse) => reverse.revoke(&machine).await.map_err(unavailable)?,
                None => false,
            };
            if !known {
                return Err(ControlError::NotFound(format!("there is no enrolled machine {machine:?}")));
            }
            tracing::info!(machine, actor, "A machine's key was revoked.");
            Ok(())
        }
        .boxed()
    }

    fn log(&self, attempt: AttemptId, offset: u64, follow: bool) -> BoxFuture<'_, Result<Box<dyn LogReader>, ControlError>> {
        self.open_log(attempt, offset, follow).boxed()
    }

    fn log_by_hash(&self, hash: String) -> BoxFuture<'_, Result<FinishedLog, ControlError>> {
        async move {
            let plain = hash.len() == 40 && hash.bytes().all(|b| b.is_ascii_hexdigit());
            let missing = || ControlError::NotFound(format!("there is no log {hash:?}"));
            if !plain {
                return Err(missing());
            }
            self.logs.finished(&hash, 0).await.map_err(unavailable)?.ok_or_else(missing)
        }
        .boxed()
    }
}
