//! A whole coordinator in one process: storage, scheduler, sources, pools, runners. `burrow up`, `burrow build` and `burrow coordinator` start one each.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use burrow_blobs::Blobs;
use burrow_builders::{Config, PoolKind};
use burrow_clock::Clock;
use burrow_events::Feed;
use burrow_pool::process::{ProcessConfig, ProcessPool};
use burrow_pool::{PoolEvent, Worker};
use burrow_results::model::AttemptId;
use burrow_store::{Db, Health, sql};
use burrow_task::BoxFuture;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::control::Change;
use crate::logs::Logs;
use crate::model::{Action, Assignment, Event, Job, Policy};
use crate::reverse::{self, Reverse};
use crate::runner::{self, News, Ready, Reins, Surroundings};
use crate::shell::Shell;
use crate::sources::{self, Sources};
use crate::{load, model};

/// A mirror of repositories in this process, from which sources are taken.
pub trait Mirrored: Send + Sync {
    /// Where it has a repository, for git; waits for its first copy. `None`: it does not mirror it, so the repository's own address is asked. The error
    /// is why there is no copy.
    fn at<'a>(&'a self, repo: &'a str) -> BoxFuture<'a, Option<Result<String, String>>>;
    /// Why the copy may be old: the upstream could not be asked when it was last tried.
    fn trouble(&self, repo: &str) -> Option<String>;
    /// Somebody says that the repository changed (an empty name: any may have). When the mirror has the news, it calls [`Farm::look`].
    fn changed(&self, repo: &str);
}

/// What a coordinator is started with.
pub struct Options {
    /// The configuration.
    pub config: Config,
    /// Where it came from: watched, and taken over anew when it changes and is right.
    pub reload: Option<PathBuf>,
    /// Folder of all state.
    pub data: PathBuf,
    /// Database address; without one, SQLite in `data`.
    pub database: Option<String>,
    /// Program and first arguments of worker processes, for example this executable and `buildlet`.
    pub worker_program: Vec<OsString>,
    /// Environment of worker processes, see [`Options::inherited`].
    pub worker_env: Vec<(OsString, OsString)>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Watch the sources. Off: only what is asked for is built.
    pub poll: bool,
    /// The mirror in this process, if one runs: sources are then taken from its folders.
    pub mirrored: Option<Arc<dyn Mirrored>>,
    /// Events that say that somebody pushed, besides those of the configuration's pubsubhelper.
    pub events: Option<Arc<dyn Feed>>,
}

impl Options {
    /// What worker processes inherit of an environment: what their builds need, and none of its secrets.
    pub fn inherited(environment: impl Iterator<Item = (OsString, OsString)>) -> Vec<(OsString, OsString)> {
        environment.filter(|(name, _)| name.to_str().is_some_and(|name| protocol_buildlet::environment::is_inherited(name, cfg!(windows)))).collect()
    }
}

/// Why a coordinator did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration asks for what cannot be.
    #[error("{0}")]
    Configuration(String),
    /// Something it needs is not there, or is in use.
    #[error("{0}")]
    Infrastructure(String),
}

impl From<burrow_store::Error> for StartError {
    fn from(error: burrow_store::Error) -> StartError {
        StartError::Infrastructure(error.to_string())
    }
}

struct Running {
    reins: Reins,
    news: mpsc::UnboundedSender<News>,
    task: tokio::task::AbortHandle,
}

/// A coordinator that runs.
pub struct Farm {
    pub(crate) shell: Arc<Shell>,
    pub(crate) sources: Arc<Sources>,
    pub(crate) logs: Logs,
    pub(crate) config: watch::Sender<Arc<Config>>,
    pub(crate) live: Mutex<Option<(u64, i64, Arc<crate::control::Live>)>>,
    pub(crate) reverse: Option<Reverse>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) hook_secrets: BTreeMap<String, String>,
    /// Master key of classic dashboard clients, if the operator gave one.
    pub(crate) dashboard_key: Option<String>,
    /// What is wrong with the configuration on disk, while an older one is in force.
    pub(crate) config_trouble: Mutex<Option<String>>,
    workers: Mutex<HashMap<String, Worker>>,
    ready: Ready,
    running: Mutex<HashMap<AttemptId, Running>>,
    pools: Mutex<Vec<ProcessPool>>,
    stop: CancellationToken,
    data: PathBuf,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Farm {
    /// Starts a coordinator: opens its data, makes the state again from it, starts pools and sources. Attempts that were under way go on.
    ///
    /// # Errors
    /// [`StartError`], with a sentence that says what to do.
    pub fn start(options: Options) -> BoxFuture<'static, Result<Arc<Farm>, StartError>> {
        Box::pin(async move {
            let Options { config, reload, data, database, worker_program, worker_env, clock, poll, mirrored, events } = options;
            let broken = |what: &str, path: &std::path::Path, e: std::io::Error| StartError::Infrastructure(format!("{what} {}: {e}", path.display()));
            std::fs::create_dir_all(&data).map_err(|e| broken("the data folder", &data, e))?;
            let data = data.canonicalize().map_err(|e| broken("the data folder", &data, e))?;
            let url = database.unwrap_or_else(|| format!("sqlite:{}", data.join("burrow.db").display()));
            let db = Db::open(&url, burrow_results::MIGRATIONS).await?;
            let blobs = match config.site.storage.logs.as_ref().and_then(|name| config.storage.get(name)) {
                Some(storage) => Blobs::from_url(&storage.url),
                None => Blobs::folder(&data.join("blobs")),
            };
            let blobs = blobs.map_err(|e| StartError::Infrastructure(e.to_string()))?;
            let logs = Logs::new(&data.join("live"), blobs).map_err(|e| broken("the log folder", &data, e))?;

            let queue = |spec: &str| {
                let resolved: burrow_builders::ResolvedBuilder = serde_json::from_str(spec).ok()?;
                Some(sources::queue_of(&config, &resolved.pool, &resolved.host_type))
            };
            let state = load::load(&db, Policy::default(), clock.now_ms(), queue).await?;
            let (open, live) = (state.builds.len(), state.attempts.len());
            if open > 0 {
                tracing::info!(open, live, "Going on with the builds of before.");
            }
            let left: Vec<AttemptId> = logs.leftovers().into_iter().filter(|id| !state.attempts.contains_key(id)).collect();

            let (send_action, actions) = mpsc::unbounded_channel();
            let shell = Shell::start(state, db, Arc::clone(&clock), move |action| {
                let _ = send_action.send(action);
            });
            let stop = CancellationToken::new();
            let config = Arc::new(config);
            let (config_sender, config_receiver) = watch::channel(Arc::clone(&config));
            let sources = Sources::new(Arc::clone(&shell), config_receiver, data.join("mirrors"), mirrored, stop.child_token());
            let (pool_send, pool_events) = mpsc::unbounded_channel();
            let reverse =
                reverse::start(&config, &data, shell.db().clone(), Arc::clone(&clock), pool_send.clone()).await.map_err(StartError::Infrastructure)?;
            let hook_secrets = crate::serve::hook_secrets(&config).await?;
            let dashboard_key = reverse::legacy_key(&config).await.map_err(StartError::Configuration)?;
            let farm = Arc::new(Farm {
                shell,
                sources,
                logs,
                config: config_sender,
                live: Mutex::new(None),
                reverse,
                clock,
                hook_secrets,
                dashboard_key,
                config_trouble: Mutex::new(None),
                workers: Mutex::default(),
                ready: Ready::default(),
                running: Mutex::default(),
                pools: Mutex::default(),
                stop,
                data,
            });
            for attempt in left {
                farm.salvage(attempt);
            }
            farm.write_builders(&config).await;
            burrow_task::spawn(Arc::clone(&farm).perform(actions));
            burrow_task::spawn(Arc::clone(&farm).welcome(pool_events));
            farm.start_processes(&config, worker_program, &worker_env, &pool_send)?;
            if poll {
                farm.sources.apply();
                for feed in events.into_iter().chain(crate::serve::events(&config).await?) {
                    burrow_task::spawn(crate::pushes::follow(Arc::clone(&farm), feed, farm.stop.child_token()));
                }
            }
            if let Some(path) = reload {
                burrow_task::spawn(crate::reload::watch(Arc::clone(&farm), path, poll, farm.stop.clone()));
            }
            Ok(farm)
        })
    }

    fn start_processes(
        &self,
        config: &Config,
        program: Vec<OsString>,
        worker_env: &[(OsString, OsString)],
        events: &burrow_pool::Events,
    ) -> Result<(), StartError> {
        for (name, pool) in &config.pools {
            match &pool.kind {
                PoolKind::Process { workers, .. } => {
                    let mut settings = ProcessConfig::new(*workers, name.clone(), self.data.join("workers").join(name), program.clone());
                    settings.prefix.clone_from(name);
                    settings.env = worker_env.to_vec();
                    let pool = ProcessPool::start(settings, events.clone()).map_err(|e| StartError::Infrastructure(e.to_string()))?;
                    lock(&self.pools).push(pool);
                }
                PoolKind::Reverse { .. } => {}
                PoolKind::Listen { .. } => {
                    return Err(StartError::Configuration(format!(
                        "pool {name}: kind \"listen\" is not in this build; use \"reverse\" and let the machines dial in"
                    )));
                }
                PoolKind::NotBuiltIn { name: kind } => {
                    return Err(StartError::Configuration(format!("pool {name}: kind {kind:?} is not in this build; use \"process\" or \"reverse\"")));
                }
            }
        }
        Ok(())
    }

    /// The columns of the grids.
    pub(crate) async fn write_builders(&self, config: &Config) {
        let now = self.shell.now_ms();
        let mut rows = vec![sql("UPDATE builders SET active = 0", ())];
        for (builder, settings) in &config.builders {
            let Some((spec, _)) = sources::resolved(config, builder) else { continue };
            for (repo, _) in config.repos.iter().filter(|(_, r)| r.project == settings.project && r.build) {
                let main = config.projects.get(&settings.project).map(|p| p.main_branch.clone()).unwrap_or_default();
                if !config.decide(builder, repo, &main, &main).post && !settings.post {
                    continue;
                }
                rows.push(sql(
                    "INSERT INTO builders (repo, name, spec, active, seen_ms) VALUES ($1, $2, $3, 1, $4) \
                     ON CONFLICT (repo, name) DO UPDATE SET spec = excluded.spec, active = 1, seen_ms = excluded.seen_ms",
                    (repo, builder, &*spec, now),
                ));
            }
        }
        for (name, repo) in config.repos.iter().filter(|(_, r)| r.build) {
            rows.push(sql(
                "INSERT INTO repos (name, project, url, main_branch, state, error, fetched_ms) VALUES ($1, $2, $3, $4, 'new', '', 0) \
                 ON CONFLICT (name) DO UPDATE SET project = excluded.project, url = excluded.url",
                (name, &repo.project, &repo.url, repo.main_branch.clone().unwrap_or_default()),
            ));
        }
        self.shell.write(rows, vec![Change::Config]);
    }

    /// Takes over a new configuration: builders, policies, recipes and repositories. Running builds keep what they started with.
    pub(crate) async fn apply(&self, config: Config, poll: bool) {
        let config = Arc::new(config);
        self.config.send_replace(Arc::clone(&config));
        self.write_builders(&config).await;
        if poll {
            self.sources.apply();
        }
    }

    /// Hears the pools.
    async fn welcome(self: Arc<Self>, mut events: mpsc::UnboundedReceiver<PoolEvent>) {
        while let Some(event) = events.recv().await {
            match event {
                PoolEvent::Up(worker) => {
                    tracing::info!(worker = %worker.id, kind = %worker.host_type, "A worker is there.");
                    let now = self.shell.now_ms();
                    let up = model::Worker {
                        id: worker.id.clone(),
                        instance: worker.instance.clone(),
                        pool: worker.pool.clone(),
                        host_type: worker.host_type.clone(),
                        hostname: worker.hostname.clone(),
                        address: worker.address.clone(),
                        version: worker.version,
                        connected_ms: now,
                        modern: worker.modern,
                        draining: self.reverse.as_ref().is_some_and(|r| r.draining(&worker.id)),
                        expected_until_ms: None,
                        job: Job::Idle,
                        last_repo: String::new(),
                        since_ms: now,
                    };
                    self.ready.take(&worker.id);
                    lock(&self.workers).insert(worker.id.clone(), worker);
                    self.shell.tell(Event::Up(up));
                }
                PoolEvent::Lost { id, instance, reason } => {
                    tracing::info!(worker = %id, %reason, "A worker is lost.");
                    self.shell.tell(Event::Lost { id, instance, reason });
                }
                PoolEvent::Unreachable { id, reason, .. } => tracing::debug!(worker = %id, %reason, "A worker does not answer."),
                PoolEvent::Reachable { id, .. } => tracing::debug!(worker = %id, "A worker answers again."),
                PoolEvent::Draining { .. } => {}
            }
        }
    }

    /// Does what the steps decided.
    async fn perform(self: Arc<Self>, mut actions: mpsc::UnboundedReceiver<Action>) {
        while let Some(action) = actions.recv().await {
            match action {
                Action::Start(assignment) => self.start_runner(assignment),
                Action::Stop { attempt, lost } => match lock(&self.running).get(&attempt) {
                    Some(running) => {
                        running.reins.lost.store(lost, Ordering::Release);
                        running.reins.stop.cancel();
                    }
                    None if lost => self.salvage(attempt),
                    None => {}
                },
                Action::Helper { attempt, number, worker } => {
                    self.ready.take(&worker);
                    let worker = lock(&self.workers).get(&worker).cloned();
                    let told = match (lock(&self.running).get(&attempt), worker) {
                        (Some(running), Some(worker)) => running.news.send(News::Helper(number, Box::new(worker))).is_ok(),
                        _ => false,
                    };
                    if !told {
                        self.shell.tell(Event::HelperFree { attempt, number });
                    }
                }
                Action::HelperLost { attempt, number } => {
                    if let Some(running) = lock(&self.running).get(&attempt) {
                        let _ = running.news.send(News::HelperLost(number));
                    }
                }
                Action::Release(worker) => {
                    if let Some(reverse) = &self.reverse {
                        reverse.release(&worker);
                    }
                }
            }
        }
    }

    /// Keeps the log of an attempt that nobody runs any more.
    fn salvage(self: &Arc<Self>, attempt: AttemptId) {
        let farm = Arc::clone(self);
        burrow_task::spawn(async move {
            match farm.logs.salvage(attempt).await {
                Ok(log) => {
                    let rows = log.hash().map(|hash| crate::rows::attempt_log(attempt, hash, log.length()).into());
                    if farm.shell.db().commit(rows.unwrap_or_default()).await.is_ok() {
                        log.publish().await;
                    }
                }
                Err(error) => tracing::warn!(%attempt, %error, "The log of a lost attempt could not be kept."),
            }
        });
    }

    fn start_runner(self: &Arc<Self>, assignment: Assignment) {
        let attempt = assignment.attempt;
        let Some(worker) = lock(&self.workers).get(&assignment.worker).cloned() else { return };
        let reins = Reins::default();
        let (send, news) = mpsc::unbounded_channel();
        // A cancellation that came while the worker was awaited.
        if self.shell.lock().attempts.get(&attempt).is_some_and(|a| a.cancelled_by.is_some()) {
            reins.stop.cancel();
        }
        let (farm, reins_too) = (Arc::clone(self), reins.clone());
        // The entry is made before the task can end and remove it.
        let mut running = lock(&self.running);
        let task = burrow_task::spawn(async move {
            let mirror = farm.sources.mirror(&assignment.new.repo).await.map_err(|e| e.to_string());
            let (memory_bytes, max_processes) = match farm.config().pools.get(&worker.host_type).map(|p| &p.kind) {
                Some(PoolKind::Process { memory, max_processes, .. }) => (*memory, max_processes.map(u64::from)),
                _ => (None, None),
            };
            let around = Surroundings { shell: Arc::clone(&farm.shell), logs: farm.logs.clone(), memory_bytes, max_processes };
            runner::run(around, assignment, mirror, worker, &farm.ready, reins_too, news).await;
            lock(&farm.running).remove(&attempt);
        });
        running.insert(attempt, Running { reins, news: send, task: task.abort_handle() });
    }

    /// What operators must know.
    pub(crate) fn trouble(&self) -> Vec<String> {
        let mut all = match &*self.shell.db().health().borrow() {
            Health::Good => Vec::new(),
            Health::Waiting(why) => vec![format!("Results cannot be stored at the moment ({why}); they wait in memory and nothing new begins until they can.")],
            Health::LockLost => vec!["Another coordinator took over this database; stop this one.".to_owned()],
        };
        all.extend(lock(&self.config_trouble).as_ref().map(|e| format!("The configuration on disk is wrong, an older one is in force: {e}")));
        all
    }

    /// Starts nothing new; returns when nothing runs.
    pub fn drain(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            let mut changes = self.shell.changes();
            self.shell.tell(Event::Pause(true));
            while !self.shell.lock().attempts.is_empty() {
                tokio::select! {
                    _ = changes.recv() => {}
                    () = tokio::time::sleep(Duration::from_secs(1)) => {}
                }
            }
        })
    }

    /// Ends: what is decided is written, then the data is closed. With `workers`, worker processes are stopped too; without, they go on with what they
    /// run and are found again at the next start.
    pub fn stop(&self, workers: bool) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            self.stop.cancel();
            for (_, running) in lock(&self.running).drain() {
                // Not stopped: left alone. Its execution goes on, and its rows say where.
                running.task.abort();
            }
            if let Some(reverse) = &self.reverse {
                reverse.stop();
            }
            if workers {
                let pools = std::mem::take(&mut *lock(&self.pools));
                for pool in &pools {
                    pool.stop_all().await;
                }
            }
            self.shell.flush();
            self.shell.db().close().await;
            self.logs.settle().await;
        })
    }

    /// Looks at a repository now. False when none of that name is watched.
    pub fn look(&self, repo: &str) -> bool {
        self.sources.wake(repo)
    }

    /// Cancelled when the farm stops.
    pub fn stopping(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// The present configuration.
    pub fn config(&self) -> Arc<Config> {
        Arc::clone(&self.config.borrow())
    }

    /// The configuration, and every later one.
    pub fn configs(&self) -> watch::Receiver<Arc<Config>> {
        self.config.subscribe()
    }

    /// The database, for readers.
    pub fn db(&self) -> &Db {
        self.shell.db()
    }
}
