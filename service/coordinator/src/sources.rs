//! Finds work: mirrors each repository, notices new commits and rewritten branches, and asks for the builds that the configuration wants.
//!
//! The commits of a branch and the builds they need are written in one transaction, so that a crash between the two cannot leave a commit without its builds.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use burrow_builders::{Config, Repo, Sets};
use burrow_git::{Commit, Mirror, Oid};
use burrow_results::model::Class;
use burrow_store::{Statement, sql};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use crate::control::Change;
use crate::farm::Mirrored;
use crate::model::{Event, NewBuild};
use crate::shell::Shell;

/// Limit of one fetch.
const FETCH: Duration = Duration::from_secs(900);
/// How far back a branch is compared after it was rewritten.
const KNOWN: i64 = 2000;
/// Of one push at most so many commits are built; the older ones appear in the grid without builds.
const BUILT_AT_ONCE: usize = 500;

/// All repositories that are watched.
pub(crate) struct Sources {
    shell: Arc<Shell>,
    config: watch::Receiver<Arc<Config>>,
    dir: PathBuf,
    mirrored: Option<Arc<dyn Mirrored>>,
    known: Mutex<BTreeMap<String, Arc<Source>>>,
    stop: CancellationToken,
}

/// One repository.
pub(crate) struct Source {
    name: String,
    wake: Notify,
    stop: CancellationToken,
    mirror: tokio::sync::Mutex<Option<Mirror>>,
}

/// Why a repository cannot be looked at.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SourceError {
    /// Git's word.
    #[error(transparent)]
    Git(#[from] burrow_git::Error),
    /// The database's.
    #[error(transparent)]
    Store(#[from] burrow_store::Error),
    /// It is not in the configuration (any more).
    #[error("no repository {0:?} in the configuration")]
    Unknown(String),
    /// The mirror in between has no copy of it.
    #[error("the mirror cannot fetch it: {0}")]
    Mirror(String),
    /// The secret for the mirror cannot be read.
    #[error("the token of `mirror` in [site]: {0}")]
    Token(String),
}

impl Sources {
    /// Mirrors go to `dir`.
    pub(crate) fn new(
        shell: Arc<Shell>,
        config: watch::Receiver<Arc<Config>>,
        dir: PathBuf,
        mirrored: Option<Arc<dyn Mirrored>>,
        stop: CancellationToken,
    ) -> Arc<Sources> {
        Arc::new(Sources { shell, config, dir, mirrored, known: Mutex::default(), stop })
    }

    /// Where a repository is fetched from, and the token that is shown there: our own mirror before its upstream.
    async fn origin(&self, config: &Config, name: &str, repo: &Repo) -> Result<(String, Option<String>), SourceError> {
        if let Some(mirrored) = &self.mirrored
            && let Some(near) = mirrored.at(name).await
        {
            return Ok((near.map_err(SourceError::Mirror)?, None));
        }
        let Some(mirror) = &config.site.mirror else { return Ok((repo.url.clone(), None)) };
        let token = crate::serve::neighbour_token(config, mirror).await.map_err(SourceError::Token)?;
        Ok((format!("{}/{name}.git", mirror.url), token))
    }

    /// Starts watching what is new in the configuration and stops what is gone from it.
    pub(crate) fn apply(self: &Arc<Self>) {
        let config = Arc::clone(&self.config.borrow());
        let mut known = self.lock();
        known.retain(|name, source| {
            let stays = config.repos.get(name).is_some_and(|r| r.build);
            if !stays {
                source.stop.cancel();
            }
            stays
        });
        for (name, repo) in config.repos.iter().filter(|(_, r)| r.build) {
            if let Some(source) = known.get(name) {
                source.wake.notify_one();
                continue;
            }
            let source = self.source(name);
            known.insert(name.clone(), Arc::clone(&source));
            tracing::info!(repo = %name, url = %repo.url, "Watching a repository.");
            burrow_task::spawn(Arc::clone(self).watch(source));
        }
    }

    fn source(&self, name: &str) -> Arc<Source> {
        Arc::new(Source { name: name.to_owned(), wake: Notify::new(), stop: self.stop.child_token(), mirror: tokio::sync::Mutex::new(None) })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Arc<Source>>> {
        self.known.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Looks at a repository now; an empty name means all. False when there is none of that name.
    pub(crate) fn wake(&self, name: &str) -> bool {
        let known = self.lock();
        let mut any = false;
        for source in known.values().filter(|s| name.is_empty() || s.name == name) {
            source.wake.notify_one();
            any = true;
        }
        any
    }

    /// Somebody says that a repository changed: the mirror in between, if there is one, is told too. False when none of that name is watched.
    pub(crate) fn hint(&self, name: &str) -> bool {
        let known = self.wake(name);
        if let Some(mirror) = self.mirrored.as_ref().filter(|_| known) {
            mirror.changed(name);
        }
        known
    }

    /// The mirror of a repository, opened once.
    ///
    /// # Errors
    /// [`SourceError`]
    pub(crate) async fn mirror(&self, name: &str) -> Result<Mirror, SourceError> {
        let config = Arc::clone(&self.config.borrow());
        let repo = config.repos.get(name).ok_or_else(|| SourceError::Unknown(name.to_owned()))?;
        let source = {
            let mut known = self.lock();
            match known.get(name) {
                Some(source) => Arc::clone(source),
                None => {
                    let source = self.source(name);
                    known.insert(name.to_owned(), Arc::clone(&source));
                    source
                }
            }
        };
        let mut slot = source.mirror.lock().await;
        let (origin, token) = self.origin(&config, name, repo).await?;
        if let Some(mirror) = slot.as_ref().filter(|m| m.url() == origin) {
            return Ok(mirror.clone());
        }
        let mirror = Mirror::open_with_token(&self.dir.join(format!("{}.git", file_name(name))), &origin, token.as_deref()).await?;
        Ok(slot.insert(mirror).clone())
    }

    async fn watch(self: Arc<Self>, source: Arc<Source>) {
        let mut failures = 0u32;
        loop {
            let config = Arc::clone(&self.config.borrow());
            let Some(repo) = config.repos.get(&source.name) else { return };
            // Registered before the look: a push that is announced during it is looked at next.
            let woken = source.wake.notified();
            let result = tokio::select! {
                () = source.stop.cancelled() => return,
                result = self.look(&source.name, repo, &config) => result,
            };
            // A copy that could be read says nothing of an upstream that is away.
            let trouble = self.mirrored.as_ref().and_then(|mirror| mirror.trouble(&source.name));
            let result = result.and_then(|()| trouble.map_or(Ok(()), |why| Err(SourceError::Mirror(why))));
            self.told(&source.name, repo, result.as_ref().err(), failures);
            failures = if result.is_ok() { 0 } else { failures.saturating_add(1) };
            let pause = repo.poll.saturating_mul(1 << failures.min(4)).min(Duration::from_secs(900)).max(repo.poll);
            tokio::select! {
                () = source.stop.cancelled() => return,
                () = woken => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Records how the look went.
    fn told(&self, name: &str, repo: &Repo, error: Option<&SourceError>, failures: u32) {
        let now = self.shell.now_ms();
        let (state, text) = match error {
            None => ("good", String::new()),
            Some(error) => ("failing", error.to_string()),
        };
        if let Some(error) = error.filter(|_| failures == 0) {
            tracing::warn!(repo = %name, %error, "A repository could not be looked at; it is tried again.");
        }
        // A good look that finds nothing is written only now and then: it is no news.
        let row = sql(
            "INSERT INTO repos (name, project, url, main_branch, state, error, fetched_ms) VALUES ($1, $2, $3, $4, $5, $6, $7) \
             ON CONFLICT (name) DO UPDATE SET project = excluded.project, url = excluded.url, state = excluded.state, error = excluded.error, \
             fetched_ms = CASE WHEN excluded.state = 'good' THEN excluded.fetched_ms ELSE repos.fetched_ms END",
            (name, &repo.project, &repo.url, repo.main_branch.clone().unwrap_or_default(), state, text, if error.is_none() { now } else { 0 }),
        );
        let news = (error.is_some() && failures == 0) || (error.is_none() && failures > 0);
        let changes = if news { vec![Change::Source { repo: name.to_owned(), branch: String::new() }] } else { Vec::new() };
        self.shell.write(vec![row], changes);
    }

    /// One look: fetch, compare, ask for builds.
    async fn look(&self, name: &str, repo: &Repo, config: &Config) -> Result<(), SourceError> {
        let mirror = self.mirror(name).await?;
        mirror.fetch(FETCH).await?;
        let main = match &repo.main_branch {
            Some(branch) => branch.clone(),
            None => mirror.default_branch().await?.unwrap_or_else(|| "main".into()),
        };
        self.shell.write(vec![sql("UPDATE repos SET main_branch = $2 WHERE name = $1 AND main_branch <> $2", (name, &main))], Vec::new());
        let none = Sets::new();
        let mut branches: Vec<(String, Oid)> = mirror.branches().await?;
        branches.retain(|(branch, _)| *branch == main || repo.branches.has(branch, &none));
        // The main branch first: its commits are then called after it.
        branches.sort_by_key(|(branch, _)| (*branch != main, branch.clone()));
        let gone = self.gone(name, &branches).await?;
        for (branch, tip) in &branches {
            self.branch(name, repo, config, &mirror, branch, *tip).await?;
        }
        if !gone.is_empty() {
            let changes = vec![Change::Source { repo: name.to_owned(), branch: String::new() }];
            self.shell.write(gone, changes);
        }
        Ok(())
    }

    /// Branches that were there and are not any more; their results stay.
    async fn gone(&self, name: &str, branches: &[(String, Oid)]) -> Result<Vec<Statement>, SourceError> {
        let rows = self.shell.db().query("SELECT branch FROM branches WHERE repo = $1 AND gone = 0", (name,)).await?;
        let here: HashSet<&str> = branches.iter().map(|(b, _)| b.as_str()).collect();
        let mut out = Vec::new();
        for row in &rows {
            let branch = row.text(0)?;
            if !here.contains(branch) {
                tracing::info!(repo = %name, branch, "A branch is gone.");
                out.push(sql("UPDATE branches SET gone = 1 WHERE repo = $1 AND branch = $2", (name, branch)));
            }
        }
        Ok(out)
    }

    async fn branch(&self, name: &str, repo: &Repo, config: &Config, mirror: &Mirror, branch: &str, tip: Oid) -> Result<(), SourceError> {
        let rows = self
            .shell
            .db()
            .query("SELECT position, hash FROM branch_commits WHERE repo = $1 AND branch = $2 ORDER BY position DESC LIMIT $3", (name, branch, KNOWN))
            .await?;
        let mut known: HashMap<Oid, i64> = HashMap::new();
        for row in &rows {
            if let Ok(id) = row.text(1)?.parse() {
                known.insert(id, row.int(0)?);
            }
        }
        let newest = rows.first().map_or(Ok(0), |r| r.int(0))?;
        let first_sight = known.is_empty();
        let mut statements = Vec::new();
        let mut fresh: Vec<Commit> = Vec::new();
        if known.get(&tip) != Some(&newest) {
            let here: HashSet<Oid> = known.keys().copied().collect();
            let limit = if first_sight { repo.first_commits.max(1) as usize } else { KNOWN as usize };
            fresh = mirror.log_first_parent(tip, limit, move |id| here.contains(id)).await?;
            let joint = match fresh.last() {
                Some(oldest) => oldest.parents.first().and_then(|p| known.get(p)).copied(),
                None => known.get(&tip).copied(),
            };
            if !first_sight && joint.is_none() {
                // Rewritten from before anything known: as at first sight, above the old positions so that those links stay distinct.
                fresh.truncate(repo.first_commits.max(1) as usize);
            }
            let base = joint.unwrap_or(if first_sight { 0 } else { newest });
            if !first_sight && joint != Some(newest) {
                tracing::info!(repo = %name, branch, "A branch was rewritten.");
                let from = joint.unwrap_or(0);
                statements.push(sql("DELETE FROM branch_commits WHERE repo = $1 AND branch = $2 AND position > $3", (name, branch, from)));
            }
            let count = fresh.len() as i64;
            for (at, commit) in fresh.iter().enumerate() {
                statements.push(commit_row(name, commit));
                statements.push(sql(
                    "INSERT INTO branch_commits (repo, branch, position, hash) VALUES ($1, $2, $3, $4) ON CONFLICT (repo, branch, position) DO UPDATE SET hash = excluded.hash",
                    (name, branch, base + count - at as i64, commit.id.to_string()),
                ));
            }
            statements.push(sql(
                "INSERT INTO branches (repo, branch, tip, gone, seen_ms) VALUES ($1, $2, $3, 0, $4) \
                 ON CONFLICT (repo, branch) DO UPDATE SET tip = excluded.tip, gone = 0, seen_ms = excluded.seen_ms",
                (name, branch, tip.to_string(), self.shell.now_ms()),
            ));
        }
        let builds = self.wanted(name, config, mirror, branch, tip, &fresh).await?;
        if statements.is_empty() && builds.is_empty() {
            return Ok(());
        }
        if !fresh.is_empty() {
            tracing::info!(repo = %name, branch, commits = fresh.len(), builds = builds.len(), "New commits.");
        }
        let changes = vec![Change::Source { repo: name.to_owned(), branch: branch.to_owned() }];
        self.shell.ask(Event::Submit { builds, rows: statements, changes }).await;
        Ok(())
    }

    /// Builds that the configuration wants and nobody has asked for yet: of new commits, and of the tip for new builders.
    async fn wanted(&self, name: &str, config: &Config, mirror: &Mirror, branch: &str, tip: Oid, fresh: &[Commit]) -> Result<Vec<NewBuild>, SourceError> {
        let mut builders: Vec<(&str, Arc<str>, String)> = Vec::new();
        for builder in config.builders.keys() {
            let base = base_branch(config, builder, name, branch);
            if !config.decide(builder, name, branch, &base).post {
                continue;
            }
            if let Some((spec, host)) = resolved(config, builder) {
                builders.push((builder, spec, host));
            }
        }
        let mut out = Vec::new();
        let tip_commit = match fresh.first() {
            Some(_) => None,
            None => mirror.commit(tip).await?,
        };
        for commit in fresh.iter().take(BUILT_AT_ONCE).chain(tip_commit.as_ref()) {
            let hash = commit.id.to_string();
            let rows = self.shell.db().query("SELECT DISTINCT builder FROM builds WHERE repo = $1 AND hash = $2", (name, &hash)).await?;
            let have: HashSet<&str> = rows.iter().filter_map(|r| r.text(0).ok()).collect();
            for (builder, spec, host_type) in builders.iter().filter(|(b, ..)| !have.contains(b)) {
                out.push(NewBuild {
                    repo: name.to_owned(),
                    branch: branch.to_owned(),
                    hash: hash.clone(),
                    builder: (*builder).to_owned(),
                    class: Class::Batch,
                    host_type: host_type.clone(),
                    commit_s: commit.commit_time,
                    origin: "commit".into(),
                    actor: "source".into(),
                    reason: if fresh.is_empty() { "a new builder".into() } else { format!("a new commit on {branch}") },
                    spec: Arc::clone(spec),
                });
            }
        }
        Ok(out)
    }
}

/// The row of a commit.
pub(crate) fn commit_row(repo: &str, commit: &Commit) -> Statement {
    let parents: Vec<String> = commit.parents.iter().map(ToString::to_string).collect();
    sql(
        "INSERT INTO commits (repo, hash, parents, author, email, time_s, title) VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (repo, hash) DO NOTHING",
        (repo, commit.id.to_string(), parents.join(" "), &commit.author_name, &commit.author_email, commit.commit_time, &commit.subject),
    )
}

/// The branch of the base repository that a branch is built with.
pub(crate) fn base_branch(config: &Config, builder: &str, repo: &str, branch: &str) -> String {
    let project = config.builders.get(builder).and_then(|b| config.projects.get(&b.project));
    match project {
        Some(project) if project.base_repo.as_deref().is_some_and(|base| base != repo) => project.main_branch.clone(),
        _ => branch.to_owned(),
    }
}

/// A builder with everything its builds need (JSON), and the kind of machine they wait for: of a pool of processes, where every process is alike, the pool itself.
pub(crate) fn resolved(config: &Config, builder: &str) -> Option<(Arc<str>, String)> {
    let resolved = config.resolve(builder)?;
    let spec = serde_json::to_string(&resolved).ok()?;
    Some((spec.into(), queue_of(config, &resolved.pool, &resolved.host_type)))
}

/// See [`resolved`].
pub(crate) fn queue_of(config: &Config, pool: &str, host_type: &str) -> String {
    match config.pools.get(pool).map(|p| &p.kind) {
        Some(burrow_builders::PoolKind::Process { .. }) => pool.to_owned(),
        _ => host_type.to_owned(),
    }
}

/// A name as a file name: what is not plain is written as hex, so that two names never meet.
fn file_name(name: &str) -> String {
    let mut out = String::new();
    for byte in name.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' => out.push(char::from(byte)),
            b'.' if !out.is_empty() => out.push('.'),
            other => out.push_str(&format!("%{other:02x}")),
        }
    }
    out
}
