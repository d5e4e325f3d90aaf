//! The running mirror: the state and what acts for it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use burrow_clock::{Ids, SharedClock};
use burrow_events::Feed;
use burrow_http_client::Client;
use burrow_store::Db;
use burrow_task::BoxFuture;
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::cache::Cache;
use crate::child::{self, Identity, Runner};
use crate::config::{Config, Dest, Repo};
use crate::look::Look;
use crate::model::{Action, Event, Limits, Looked, Phase, PushRound, Spec, State};
use crate::push::Push;
use crate::refs::{Change, Refs};
use crate::remote::Remote;
use crate::rules::Rules;
use crate::shell::Shell;
use crate::{access, cache, discover, notify, store, wake};

/// A broken repository is mended at most so often.
const REPAIR_MS: i64 = 3_600_000;

/// What a mirror is given.
#[derive(Clone)]
pub struct Deps {
    /// Folder for repositories and rows. One process uses it at a time.
    pub data: PathBuf,
    /// The time.
    pub clock: SharedClock,
    /// Spreads retries.
    pub ids: Ids,
    /// For upstreams, hooks and events.
    pub http: Client,
    /// Events of this process, instead of those that the configuration names.
    pub feed: Option<Arc<dyn Feed>>,
}

/// Why a mirror does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The folder cannot be used.
    #[error("{path}: {source}", path = path.display())]
    Folder {
        /// Which.
        path: PathBuf,
        /// The system's word.
        source: std::io::Error,
    },
    /// There is no room for the rows, not even for reading them.
    #[error("the disk of {path} is full: free some space and start again; nothing is lost ({source})", path = path.display())]
    Full {
        /// Folder of the mirror.
        path: PathBuf,
        /// The database's word.
        source: burrow_store::Error,
    },
    /// The rows cannot be used.
    #[error("the rows of the mirror: {0}")]
    Store(#[from] burrow_store::Error),
    /// The configuration says something impossible.
    #[error("{0}")]
    Configuration(String),
}

/// References of a repository have changed here.
#[derive(Debug, Clone)]
pub struct RefsChanged {
    /// Which repository.
    pub repo: String,
    /// What changed.
    pub changes: Arc<Vec<Change>>,
}

/// A destination and what acts for it.
pub(crate) struct DestCell {
    pub(crate) config: Dest,
    rules: Rules,
    remote: Remote,
    memory: tokio::sync::Mutex<Option<Refs>>,
    stop: Mutex<CancellationToken>,
}

/// A repository and what acts for it.
pub(crate) struct Cell {
    pub(crate) config: Repo,
    rules: Rules,
    upstream: Remote,
    dir: PathBuf,
    cache: tokio::sync::OnceCell<Arc<Cache>>,
    dests: BTreeMap<String, Arc<DestCell>>,
    stop: Mutex<CancellationToken>,
    repaired_ms: Mutex<Option<i64>>,
    /// A push found our copy broken: the next look mends it before anything else.
    suspect: AtomicBool,
}

pub(crate) struct Inner {
    pub(crate) shell: Arc<Shell>,
    pub(crate) db: Db,
    pub(crate) deps: Deps,
    pub(crate) config: RwLock<Arc<Config>>,
    pub(crate) cells: RwLock<BTreeMap<String, Arc<Cell>>>,
    /// What each `[[discover]]` found last, by its place in the configuration.
    pub(crate) discovered: Mutex<BTreeMap<usize, Vec<Repo>>>,
    /// Ends the discoverers of a configuration that is replaced.
    discoverers: Mutex<CancellationToken>,
    told: broadcast::Sender<RefsChanged>,
    pub(crate) stop: CancellationToken,
    pub(crate) tasks: TaskTracker,
    identity: Identity,
    pub(crate) started_ms: i64,
    /// What is wrong with the configuration that was to replace this one, and other things that operators must know.
    pub(crate) trouble: Mutex<BTreeMap<String, String>>,
    /// Configurations are put in force one after the other.
    applying: tokio::sync::Mutex<()>,
}

/// A running mirror. Clones share it.
#[derive(Clone)]
pub struct Mirror {
    pub(crate) inner: Arc<Inner>,
}

impl std::fmt::Debug for Mirror {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mirror").field("data", &self.inner.deps.data).finish_non_exhaustive()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Mirror {
    /// Starts mirroring as `config` says. What a mirror that was killed left running or locked in the folder is cleared away first; its repositories are used as
    /// they are.
    ///
    /// # Errors
    /// [`StartError`]
    pub fn start(config: Config, deps: Deps) -> BoxFuture<'static, Result<Mirror, StartError>> {
        Box::pin(async move {
            config.check().map_err(StartError::Configuration)?;
            let folder = |source: std::io::Error| StartError::Folder { path: deps.data.clone(), source };
            std::fs::create_dir_all(deps.data.join("repos")).map_err(folder)?;
            let data = std::fs::canonicalize(&deps.data).map_err(folder)?;
            let deps = Deps { data, ..deps };
            // The lock of the rows comes first: from here on nobody else uses the folder.
            let opened = Db::open(&format!("sqlite:{}", deps.data.join("mirror.db").display()), store::MIGRATIONS).await;
            let db = opened.map_err(|error| if is_full(&deps.data) { StartError::Full { path: deps.data.clone(), source: error } } else { error.into() })?;
            let mark = deps.data.clone();
            let killed = burrow_task::spawn_blocking(move || child::kill_left_over(&mark)).await.unwrap_or(0);
            if killed > 0 {
                tracing::info!(killed, "Programs of a mirror that was killed were still running; they are ended.");
            }
            let now = deps.clock.now_ms();
            let mut state = State::new(limits(&config), deps.ids.number());
            store::load(&db, &mut state, now).await?;
            let identity =
                access::identity(&deps.data.join("access/local"), "", &Default::default()).map_err(|error| StartError::Configuration(error.to_string()))?;
            let stop = CancellationToken::new();
            let (actions, mut queue) = tokio::sync::mpsc::unbounded_channel();
            let shell = Shell::start(state, db.clone(), Arc::clone(&deps.clock), stop.clone(), move |action| drop(actions.send(action)));
            let inner = Arc::new(Inner {
                shell,
                db,
                deps,
                config: RwLock::new(Arc::new(config.clone())),
                cells: RwLock::default(),
                discovered: Mutex::default(),
                discoverers: Mutex::new(stop.child_token()),
                told: broadcast::Sender::new(1024),
                stop: stop.clone(),
                tasks: TaskTracker::new(),
                identity,
                started_ms: now,
                trouble: Mutex::default(),
                applying: tokio::sync::Mutex::new(()),
            });
            let mirror = Mirror { inner };
            let performer = mirror.clone();
            mirror.inner.tasks.spawn(burrow_task::boxed(async move {
                loop {
                    tokio::select! {
                        () = stop.cancelled() => return,
                        action = queue.recv() => match action {
                            Some(action) => performer.perform(action),
                            None => return,
                        },
                    }
                }
            }));
            mirror.apply(config).await?;
            wake::start(&mirror);
            Ok(mirror)
        })
    }

    /// Puts another configuration in force. What it does not change goes on undisturbed.
    ///
    /// # Errors
    /// [`StartError`]: nothing has changed then.
    pub fn apply(&self, config: Config) -> BoxFuture<'_, Result<(), StartError>> {
        Box::pin(async move {
            config.check().map_err(StartError::Configuration)?;
            let again = {
                let old = self.config();
                old.discover != config.discover || lock(&self.inner.discovered).is_empty()
            };
            *self.inner.config.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(config);
            if again {
                let fresh = self.inner.stop.child_token();
                std::mem::replace(&mut *lock(&self.inner.discoverers), fresh.clone()).cancel();
                lock(&self.inner.discovered).clear();
                discover::recall(self).await?;
                discover::start(self, fresh);
            }
            self.refresh().await
        })
    }

    /// Brings what acts in line with the configuration and what was discovered.
    pub(crate) async fn refresh(&self) -> Result<(), StartError> {
        let _one = self.inner.applying.lock().await;
        let config = self.config();
        let mut repos: BTreeMap<String, Repo> = BTreeMap::new();
        let found: Vec<Repo> = lock(&self.inner.discovered).values().flatten().cloned().collect();
        // What is written down wins over what is found.
        for repo in config.repo.iter().cloned().chain(found) {
            repos.entry(repo.name.clone()).or_insert(repo);
        }
        let targets = store::targets(&self.inner.db).await?;
        let mut rows = Vec::new();
        let mut cells = BTreeMap::new();
        let old = self.inner.cells.read().unwrap_or_else(PoisonError::into_inner).clone();
        for (name, repo) in repos {
            for dest in &repo.dest {
                let known = targets.get(&(name.clone(), dest.name.clone()));
                if known != Some(&dest.url) {
                    rows.extend(store::moved(&name, &dest.name, &dest.url));
                }
            }
            let cell = match old.get(&name) {
                Some(cell) if cell.config == repo => Arc::clone(cell),
                before => match self.cell(repo, before) {
                    Ok(cell) => Arc::new(cell),
                    Err(error) => {
                        lock(&self.inner.trouble).insert(format!("repository {name}"), error.to_string());
                        continue;
                    }
                },
            };
            lock(&self.inner.trouble).remove(&format!("repository {name}"));
            cells.insert(name, cell);
        }
        if !rows.is_empty() {
            self.inner.db.commit(rows).await?;
        }
        let poll = config.poll;
        let spec = |cell: &Cell| Spec {
            name: cell.config.name.clone(),
            poll_ms: cell.config.poll.unwrap_or(poll).as_millis() as i64,
            dests: cell.dests.keys().cloned().collect(),
        };
        let specs = cells.values().map(|cell| spec(cell)).collect();
        *self.inner.cells.write().unwrap_or_else(PoisonError::into_inner) = cells;
        self.inner.shell.tell(Event::Configured(specs, limits(&config)));
        Ok(())
    }

    fn cell(&self, repo: Repo, before: Option<&Arc<Cell>>) -> Result<Cell, access::AccessError> {
        let folder = self.inner.deps.data.join("access").join(&repo.name);
        let http = &self.inner.deps.http;
        let upstream = Remote::new(&repo.upstream, &repo.access, &folder.join("upstream"), http)?;
        let mut dests = BTreeMap::new();
        for dest in &repo.dest {
            let kept = before.and_then(|cell| cell.dests.get(&dest.name)).filter(|kept| kept.config == *dest);
            let cell = match kept {
                Some(kept) => Arc::clone(kept),
                None => Arc::new(DestCell {
                    rules: dest.rules(),
                    remote: Remote::new(&dest.url, &dest.access, &folder.join(format!("to-{}", dest.name)), http)?,
                    config: dest.clone(),
                    memory: tokio::sync::Mutex::new(None),
                    stop: Mutex::new(CancellationToken::new()),
                }),
            };
            dests.insert(dest.name.clone(), cell);
        }
        let cache = before.and_then(|cell| cell.cache.get()).cloned();
        Ok(Cell {
            rules: repo.rules(),
            dir: self.path_of(&repo.name),
            config: repo,
            upstream,
            cache: tokio::sync::OnceCell::new_with(cache),
            dests,
            stop: Mutex::new(CancellationToken::new()),
            repaired_ms: Mutex::new(None),
            suspect: AtomicBool::new(false),
        })
    }

    fn path_of(&self, name: &str) -> PathBuf {
        self.inner.deps.data.join("repos").join(format!("{name}.git"))
    }

    /// The configuration in force.
    pub fn config(&self) -> Arc<Config> {
        Arc::clone(&self.inner.config.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The bare repository of this name. It may not be there yet, or still be empty. `None`: no repository is called so.
    pub fn bare_path(&self, name: &str) -> Option<PathBuf> {
        self.cell_of(name).map(|cell| cell.dir.clone())
    }

    /// Names of all repositories.
    pub fn names(&self) -> Vec<String> {
        self.inner.cells.read().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect()
    }

    /// Says that a repository may have changed upstream: it is looked at now, or once more if that is happening. False when there is none of that name.
    pub fn wake(&self, name: &str) -> bool {
        self.wake_because(name, "got update tickle")
    }

    pub(crate) fn wake_because(&self, name: &str, why: &'static str) -> bool {
        let known = self.cell_of(name).is_some();
        if known {
            self.inner.shell.tell(Event::Wake { repo: name.to_owned(), why });
        }
        known
    }

    /// Hears of every repository whose references changed here, from now on.
    pub fn changes(&self) -> broadcast::Receiver<RefsChanged> {
        self.inner.told.subscribe()
    }

    /// Hears of every step of the state; for whoever waits for something to become so.
    pub fn steps(&self) -> tokio::sync::watch::Receiver<u64> {
        self.inner.shell.changes()
    }

    pub(crate) fn cell_of(&self, name: &str) -> Option<Arc<Cell>> {
        self.inner.cells.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    /// Brings an object or reference here that is not, from the upstream, if there is one.
    ///
    /// # Errors
    /// Why it is not known whether there is one.
    pub fn want<'a>(&'a self, name: &'a str, what: &'a str) -> BoxFuture<'a, Result<(), String>> {
        Box::pin(async move {
            let cell = self.cell_of(name).ok_or_else(|| format!("no repository is called {name:?}"))?;
            let plain = !what.starts_with('-')
                && (what.parse::<burrow_git::Oid>().is_ok() || crate::rules::well_formed(what) || crate::rules::well_formed(&format!("refs/heads/{what}")));
            if !plain {
                // Nothing can be called so.
                return Ok(());
            }
            // A look first: what it finds has a name, and what has a name may be given away.
            self.look_now(name).await?;
            let Ok(id) = what.parse::<burrow_git::Oid>() else { return Ok(()) };
            let runner = self.runner(&self.inner.stop);
            let cache = self.cache(&cell, &runner).await?;
            if cache.has(id).await.map_err(|error| error.to_string())? {
                return Ok(());
            }
            match cache.fetch_one(&runner, &cell.upstream, what).await {
                Err(error) if !error.is_no_such_object() => Err(error.to_string()),
                Ok(()) | Err(_) => Ok(()),
            }
        })
    }

    /// Looks at an upstream now and waits for the end of that look.
    async fn look_now(&self, name: &str) -> Result<(), String> {
        let mut steps = self.steps();
        let rounds = |state: &State| state.repos.get(name).map(|repo| (repo.job.rounds, matches!(repo.job.phase, Phase::Idle { .. })));
        let before = rounds(&self.inner.shell.lock()).map_or(0, |(rounds, _)| rounds);
        self.wake_because(name, "somebody asks for what is not here");
        loop {
            // Registered before the look, so that no step falls between.
            steps.mark_unchanged();
            match rounds(&self.inner.shell.lock()) {
                None => return Err(format!("{name} is not in the configuration any more")),
                Some((now, true)) if now > before => break,
                Some(_) => {}
            }
            if steps.changed().await.is_err() {
                return Err("the mirror is stopping".into());
            }
        }
        let state = self.inner.shell.lock();
        match state.repos.get(name).filter(|repo| repo.job.failures > 0) {
            Some(repo) => Err(repo.job.error.clone()),
            None => Ok(()),
        }
    }

    /// Ends everything: what git programs do is stopped, and the rows are closed. Nothing is lost; the next start goes on.
    pub fn stop(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            self.inner.stop.cancel();
            self.inner.tasks.close();
            let _ = tokio::time::timeout(Duration::from_secs(10), self.inner.tasks.wait()).await;
            self.inner.db.close().await;
        })
    }

    fn runner(&self, stop: &CancellationToken) -> Runner {
        Runner { mark: self.inner.deps.data.clone(), limit: self.config().git_limit, stop: stop.clone() }
    }

    async fn cache(&self, cell: &Cell, runner: &Runner) -> Result<Arc<Cache>, String> {
        let open = || async { Cache::open(&cell.dir, &self.inner.identity, runner).await.map(Arc::new) };
        cell.cache.get_or_try_init(open).await.cloned().map_err(|error| error.to_string())
    }

    fn perform(&self, action: Action) {
        match action {
            Action::Look { repo } => {
                let Some(cell) = self.cell_of(&repo) else {
                    self.inner.shell.tell(Event::Looked { repo, how: failed_look("it is not in the configuration any more") });
                    return;
                };
                let stop = self.inner.stop.child_token();
                *lock(&cell.stop) = stop.clone();
                let mirror = self.clone();
                self.inner.tasks.spawn(burrow_task::boxed(async move {
                    let worker = mirror.clone();
                    let name = repo.clone();
                    let token = stop.clone();
                    let task = burrow_task::spawn(async move { worker.look(&name, &cell, &token).await });
                    let how = finished(task, &stop).await.unwrap_or_else(|why| failed_look(&why));
                    mirror.inner.shell.tell(Event::Looked { repo, how });
                }));
            }
            Action::Push { repo, dest, compare } => {
                let Some((cell, target)) = self.cell_of(&repo).and_then(|cell| cell.dests.get(&dest).cloned().map(|target| (cell, target))) else {
                    let round = PushRound { failed: Some("it is not in the configuration any more".into()), ..PushRound::default() };
                    self.inner.shell.tell(Event::Pushed { repo, dest, round });
                    return;
                };
                let stop = self.inner.stop.child_token();
                *lock(&target.stop) = stop.clone();
                let mirror = self.clone();
                self.inner.tasks.spawn(burrow_task::boxed(async move {
                    let worker = mirror.clone();
                    let token = stop.clone();
                    let task = burrow_task::spawn(async move { worker.push(&cell, &target, compare, &token).await });
                    let round = finished(task, &stop).await.unwrap_or_else(|why| PushRound { failed: Some(why), ..PushRound::default() });
                    mirror.inner.shell.tell(Event::Pushed { repo, dest, round });
                }));
            }
            Action::KillLook { repo } => {
                if let Some(cell) = self.cell_of(&repo) {
                    lock(&cell.stop).cancel();
                }
            }
            Action::KillPush { repo, dest } => {
                if let Some(cell) = self.cell_of(&repo).and_then(|cell| cell.dests.get(&dest).cloned()) {
                    lock(&cell.stop).cancel();
                }
            }
            Action::Tell { repo, changes } => {
                let changes = Arc::new(changes);
                let _ = self.inner.told.send(RefsChanged { repo: repo.clone(), changes: Arc::clone(&changes) });
                notify::send(self, &repo, &changes);
            }
        }
    }

    async fn look(&self, name: &str, cell: &Cell, stop: &CancellationToken) -> Looked {
        let runner = self.runner(stop);
        let cache = match self.cache(cell, &runner).await {
            Ok(cache) => cache,
            Err(error) => return failed_look(&error),
        };
        let confirmed = self.inner.shell.lock().repos.get(name).map(|repo| repo.confirmed.clone()).unwrap_or_default();
        let now = self.inner.shell.now_ms();
        let may_repair = lock(&cell.repaired_ms).is_none_or(|at| at + REPAIR_MS <= now);
        let look = Look { cache: &cache, upstream: &cell.upstream, repo: &cell.config, rules: &cell.rules, runner: &runner, confirmed: &confirmed };
        let seen = look.run(may_repair, cell.suspect.swap(false, Ordering::SeqCst)).await;
        if let Some(what) = seen.repaired {
            *lock(&cell.repaired_ms) = Some(now);
            self.inner.shell.tell(Event::Say { repo: name.to_owned(), text: format!("the repository was broken and was repaired in place: {what}") });
        }
        seen.looked
    }

    async fn push(&self, cell: &Cell, target: &DestCell, compare: bool, stop: &CancellationToken) -> PushRound {
        let failed = |why: String| PushRound { failed: Some(why), ..PushRound::default() };
        let runner = self.runner(stop);
        let cache = match self.cache(cell, &runner).await {
            Ok(cache) => cache,
            Err(error) => return failed(error),
        };
        let name = &cell.config.name;
        let now = self.inner.shell.now_ms();
        let (quarantine, pins, confirmed) = {
            let state = self.inner.shell.lock();
            let Some(dest) = state.repos.get(name).and_then(|repo| repo.dests.get(&target.config.name)) else { return failed("it is gone".into()) };
            (dest.quarantine.clone(), dest.pins.clone(), dest.confirmed.clone())
        };
        let mut memory = target.memory.lock().await;
        let push = Push {
            repo: name,
            cache: &cache,
            dest: &target.config,
            rules: &target.rules,
            remote: &target.remote,
            runner: &runner,
            shell: &self.inner.shell,
            db: &self.inner.db,
            compare: compare || memory.is_none(),
            memory: &mut memory,
            quarantine,
            pins,
            confirmed,
            now,
        };
        let round = push.run().await;
        if round.failed.as_deref().is_some_and(cache::corrupt) && !cell.suspect.swap(true, Ordering::SeqCst) {
            self.wake_because(name, "a push found the copy broken");
        }
        round
    }

    /// Notes something that operators must know, or that it is over.
    pub(crate) fn trouble(&self, what: &str, why: Option<String>) {
        let mut trouble = lock(&self.inner.trouble);
        match why {
            Some(why) => trouble.insert(what.to_owned(), why),
            None => trouble.remove(what),
        };
    }
}

/// Whether there is no room for what a database needs to be opened.
fn is_full(folder: &std::path::Path) -> bool {
    const NEEDED: u64 = 1 << 20;
    rustix::fs::statvfs(folder).is_ok_and(|disk| disk.f_bavail.saturating_mul(disk.f_frsize) < NEEDED)
}

/// Waits for a job. One that was told to stop has a few seconds to do so; then it is given up.
async fn finished<T: Send + 'static>(task: tokio::task::JoinHandle<T>, stop: &CancellationToken) -> Result<T, String> {
    let abort = task.abort_handle();
    tokio::select! {
        done = task => done.map_err(|error| format!("a program error, please report it: {error}")),
        () = async {
            stop.cancelled().await;
            tokio::time::sleep(Duration::from_secs(5)).await;
        } => {
            abort.abort();
            Err("it was stuck and was given up".into())
        }
    }
}

fn failed_look(why: &str) -> Looked {
    Looked { failed: Some(why.to_owned()), ..Looked::default() }
}

fn limits(config: &Config) -> Limits {
    let ms = |duration: Duration| i64::try_from(duration.as_millis()).unwrap_or(i64::MAX / 4);
    Limits {
        looks: config.fetches,
        pushes: config.pushes,
        // A round may run several programs, each within its limit.
        stuck_ms: ms(config.git_limit).saturating_mul(3).saturating_add(60_000),
        compare_ms: ms(config.compare),
        lag_ms: ms(config.lag_limit),
    }
}
