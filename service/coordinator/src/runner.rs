//! Runs one attempt: source, steps, tests, end. Everything it did is in rows, so that after a restart it goes on where it was:
//! steps that ended are skipped, the one under way is found again by its execution id, and the log is cut to the last ended step and filled again from the
//! worker's spool, byte for byte.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use burrow_builders::{ResolvedBuilder, Step, When};
use burrow_git::{Mirror, Oid};
use burrow_results::model::{AttemptId, AttemptState, StepKind, StepState};
use burrow_store::{Statement, sql};
use protocol_buildlet::ExecRequest;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::control::Change;
use crate::logs::{LogWriter, Logs, Sealed};
use crate::model::{Assignment, End, Event};
use crate::rows;
use crate::session::{CommandEnd, Failure, Session, Tidy, tidy};
use crate::shards;
use crate::shell::Shell;
use crate::sink::Sink;

/// News for a running attempt.
#[derive(Debug)]
pub(crate) enum News {
    /// A helper was lent.
    Helper(u32, Box<burrow_pool::Worker>),
    /// A helper was lost.
    HelperLost(u32),
}

/// What every runner uses.
#[derive(Clone)]
pub(crate) struct Surroundings {
    /// Steps and rows.
    pub shell: Arc<Shell>,
    /// Logs.
    pub logs: Logs,
    /// Memory that a command and all it starts may use, bytes.
    pub memory_bytes: Option<u64>,
    /// Processes that a command may have at once.
    pub max_processes: Option<u64>,
}

/// How a runner is stopped from outside.
#[derive(Clone, Default)]
pub(crate) struct Reins {
    /// Cancelled when it must stop.
    pub(crate) stop: CancellationToken,
    /// Its end is already recorded: it must not report another.
    pub(crate) lost: Arc<std::sync::atomic::AtomicBool>,
}

/// Workers that were prepared ahead of their next build, by name.
#[derive(Default)]
pub(crate) struct Ready(Mutex<HashMap<String, Tidy>>);

impl Ready {
    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Tidy>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes what is known of a worker: from now on somebody else changes its work directory.
    pub(crate) fn take(&self, worker: &str) -> Option<Tidy> {
        self.lock().remove(worker)
    }

    fn put(&self, worker: &burrow_pool::Worker, checkouts: Vec<String>) {
        self.lock().insert(worker.id.clone(), tidy(worker, checkouts));
    }
}

/// One attempt under way.
pub(crate) struct Run {
    pub(crate) around: Surroundings,
    pub(crate) assignment: Assignment,
    pub(crate) builder: ResolvedBuilder,
    pub(crate) mirror: Mirror,
    pub(crate) commit: Oid,
    pub(crate) session: Arc<Session>,
    pub(crate) stop: CancellationToken,
    pub(crate) news: mpsc::UnboundedReceiver<News>,
    pub(crate) log: LogWriter,
    /// Rows of before a restart, by index.
    pub(crate) known: BTreeMap<i64, KnownStep>,
    pub(crate) next_index: i64,
    /// Environment of every command.
    pub(crate) env: Vec<String>,
    pub(crate) flaky: bool,
}

/// A step's row.
#[derive(Debug, Clone)]
pub(crate) struct KnownStep {
    pub(crate) kind: String,
    pub(crate) state: StepState,
    pub(crate) started_ms: i64,
    pub(crate) detail: String,
    pub(crate) log_end: Option<i64>,
}

/// Why an attempt does not go on.
pub(crate) enum Stop {
    /// It has its verdict.
    Verdict(AttemptState, String),
    /// It could not be run to an end.
    Failure(Failure),
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Stop {
        Stop::Failure(failure)
    }
}

/// A step that runs.
pub(crate) struct Open {
    pub(crate) index: i64,
    pub(crate) name: String,
    pub(crate) kind: StepKind,
    pub(crate) started_ms: i64,
    pub(crate) log_start: i64,
    pub(crate) execution: String,
    pub(crate) worker: String,
    pub(crate) detail: String,
}

/// What the ids of an attempt's executions begin with.
fn execution_prefix(attempt: AttemptId) -> String {
    format!("a{attempt}-")
}

/// Runs an attempt to its end and reports it, unless its loss is already recorded (`lost`).
pub(crate) async fn run(
    around: Surroundings,
    assignment: Assignment,
    mirror: Result<Mirror, String>,
    worker: burrow_pool::Worker,
    ready: &Ready,
    reins: Reins,
    news: mpsc::UnboundedReceiver<News>,
) {
    let Reins { stop, lost } = reins;
    let attempt = assignment.attempt;
    let shell = Arc::clone(&around.shell);
    let tidy = ready.take(&worker.id);
    let lost = || lost.load(std::sync::atomic::Ordering::Acquire);
    let (end, log, session) = match begin(around, assignment, mirror, worker.clone(), tidy, stop, news).await {
        Ok(run) => {
            let (checkouts, session) = (run.builder.recipe.checkouts(), Arc::clone(&run.session));
            let (end, log) = run.drive().await;
            // Before the end is told: whoever gets the worker next finds it here.
            if worker.modern && !lost() {
                ready.put(&worker, checkouts);
            }
            (end, log, Some(session))
        }
        Err(message) => (End { state: AttemptState::InfraFailed, flaky: false, log_hash: None, log_bytes: 0, message }, None, None),
    };
    let recorded = if !lost() {
        shell.ask(Event::Ended { attempt, end }).await.is_some()
    } else if let Some(hash) = &end.log_hash {
        shell.db().commit(rows::attempt_log(attempt, hash, end.log_bytes as u64).into()).await.is_ok()
    } else {
        true
    };
    // Only now: a coordinator that is killed before the end is on disk leaves an attempt that goes on, and it finds its log and its commands again.
    if recorded {
        if let Some(session) = session {
            session.forget();
        }
        if let Some(log) = log {
            log.publish().await;
        }
    }
}

async fn begin(
    around: Surroundings,
    assignment: Assignment,
    mirror: Result<Mirror, String>,
    worker: burrow_pool::Worker,
    tidy: Option<Tidy>,
    stop: CancellationToken,
    news: mpsc::UnboundedReceiver<News>,
) -> Result<Run, String> {
    let builder: ResolvedBuilder = serde_json::from_str(&assignment.new.spec).map_err(|e| format!("the stored builder cannot be read: {e}"))?;
    let mirror = mirror?;
    let commit: Oid = assignment.new.hash.parse().map_err(|_| format!("{:?} is not a commit", assignment.new.hash))?;
    let known = if assignment.resume { known_steps(&around.shell, &assignment).await.map_err(|e| e.to_string())? } else { BTreeMap::new() };
    // Steps end in the order of their logs, so the greatest end is where everything certain ends.
    let keep = known.values().filter_map(|s| s.log_end).max().unwrap_or(0);
    let log = around.logs.writer(assignment.attempt, keep as u64).map_err(|e| format!("the log cannot be written: {e}"))?;
    let new = &assignment.new;
    let mut env = vec![
        "CI=true".to_owned(),
        format!("BURROW_BUILDER={}", new.builder),
        format!("BURROW_REPO={}", new.repo),
        format!("BURROW_BRANCH={}", new.branch),
        format!("BURROW_COMMIT={}", new.hash),
        format!("BURROW_BUILD={}", assignment.build),
        format!("BURROW_ATTEMPT={}", assignment.number),
    ];
    env.extend(builder.env.iter().map(|(k, v)| format!("{k}={v}")));
    let session = Arc::new(Session::new(worker, stop.clone(), tidy));
    Ok(Run { around, assignment, builder, mirror, commit, session, stop, news, log, known, next_index: 0, env, flaky: false })
}

async fn known_steps(shell: &Shell, assignment: &Assignment) -> Result<BTreeMap<i64, KnownStep>, burrow_store::Error> {
    let query = "SELECT idx, kind, state, started_ms, detail, log_end FROM steps WHERE attempt = $1";
    let mut known = BTreeMap::new();
    for row in shell.db().query(query, (assignment.attempt.0,)).await? {
        let step = KnownStep {
            kind: row.text(1)?.to_owned(),
            state: StepState::from_word(row.text(2)?).unwrap_or(StepState::Lost),
            started_ms: row.opt_int(3)?.unwrap_or(0),
            detail: row.text(4)?.to_owned(),
            log_end: row.opt_int(5)?,
        };
        known.insert(row.int(0)?, step);
    }
    Ok(known)
}

impl Run {
    async fn drive(mut self) -> (End, Option<Sealed>) {
        let result = match self.builder.recipe.timeout {
            Some(limit) => match tokio::time::timeout(self.builder.scaled(limit), self.all()).await {
                Ok(result) => result,
                Err(_) => Err(Stop::Verdict(AttemptState::TimedOut, format!("the build took longer than {}", words(self.builder.scaled(limit))))),
            },
            None => self.all().await,
        };
        let (state, message) = match result {
            Ok(()) => (AttemptState::Passed, String::new()),
            Err(Stop::Verdict(state, message)) => (state, message),
            Err(Stop::Failure(Failure::Stopped)) => (AttemptState::Cancelled, "stopped".to_owned()),
            Err(Stop::Failure(Failure::Infrastructure(message))) => (AttemptState::InfraFailed, message),
        };
        // Every log says how it ended.
        let last = match state {
            AttemptState::Passed if self.flaky => "\nPassed, with tests that passed only when run again.\n".to_owned(),
            AttemptState::Passed => "\nAll steps passed.\n".to_owned(),
            _ => format!("\n{}: {message}.\n", state.word().replace('_', " ")),
        };
        let _ = Sink::Log(&mut self.log).append(last.as_bytes(), &CancellationToken::new()).await;
        match self.log.seal().await {
            Ok(log) => {
                let (log_hash, log_bytes) = (log.hash().map(str::to_owned), log.length() as i64);
                (End { state, flaky: self.flaky, log_hash, log_bytes, message }, Some(log))
            }
            Err(error) => {
                let message = format!("the log could not be stored: {error}");
                (End { state: AttemptState::InfraFailed, flaky: false, log_hash: None, log_bytes: 0, message }, None)
            }
        }
    }

    async fn all(&mut self) -> Result<(), Stop> {
        if self.log.length() == 0 {
            let head = format!("{} at {}\n\n", self.assignment.new.builder, self.assignment.new.hash);
            self.append(head.as_bytes()).await?;
        }
        self.find_recipe().await?;
        self.required_commits().await?;
        self.source().await?;
        self.around.shell.tell(Event::Began(self.assignment.attempt));
        let recipe = self.builder.recipe.clone();
        let stop_after_build = self.builder.stop_after_build;
        for step in recipe.steps.iter().filter(|s| s.when != When::Test || !stop_after_build) {
            self.step(step).await?;
        }
        if let (Some(tests), false) = (&recipe.tests, stop_after_build) {
            shards::run(self, tests).await?;
        }
        Ok(())
    }

    pub(crate) async fn append(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        Sink::Log(&mut self.log).append(bytes, &self.stop).await
    }

    /// A recipe that is found by looking is looked for in each commit. A commit from before its files existed is skipped, not failed.
    async fn find_recipe(&mut self) -> Result<(), Stop> {
        if self.builder.recipe.detect.is_none() {
            return Ok(());
        }
        let (mirror, commit, builder) = (self.mirror.clone(), self.commit, self.builder.clone());
        let root = mirror.list_root(commit).await.map_err(unreadable)?;
        let runtime = tokio::runtime::Handle::current();
        let found = burrow_task::spawn_blocking(move || {
            let read = |path: &str| runtime.block_on(mirror.read_file(commit, path)).ok().flatten();
            builder.detect(&read, &root)
        });
        match found.await.map_err(|e| Failure::Infrastructure(e.to_string()))? {
            Ok(found) => {
                self.builder.recipe = found.recipe;
                Ok(())
            }
            Err(none) => Err(Stop::Verdict(AttemptState::SkippedMissingDep, none.to_string())),
        }
    }

    /// Commits that the builder needs among the ancestors.
    async fn required_commits(&mut self) -> Result<(), Stop> {
        for wanted in self.builder.requires_commits.clone() {
            let Ok(id) = wanted.parse::<Oid>() else { continue };
            let ancestors = self.mirror.log(self.commit, usize::MAX, move |other| *other == id);
            let ancestors = ancestors.await.map_err(unreadable)?;
            let there = id == self.commit || ancestors.iter().any(|c| c.parents.contains(&id));
            if !there {
                let message = format!("commit {} is not among the ancestors, and the builder requires it", id.short(12));
                return Err(Stop::Verdict(AttemptState::SkippedMissingDep, message));
            }
        }
        Ok(())
    }

    /// Once any later step has begun, the work directory is the build's own and must not be touched again.
    async fn source(&mut self) -> Result<(), Stop> {
        let index = self.take_index();
        let resumed = self.known.get(&index).cloned();
        if resumed.as_ref().is_some_and(|s| s.state == StepState::Passed) {
            return Ok(());
        }
        let open = self.open(index, "source".into(), StepKind::Source, self.session.worker().to_owned(), String::new(), resumed.map(|s| s.started_ms));
        let result = async {
            // Rows may be a moment behind the worker: with a command of this attempt there, its source is there too.
            if self.assignment.resume && self.session.knows(&execution_prefix(self.assignment.attempt)).await? {
                return Ok("kept");
            }
            self.session.sources(&self.mirror, self.commit, &self.builder.recipe).await
        };
        match result.await {
            Ok(how) => {
                self.close(&open, StepState::Passed, None, None, how);
                Ok(())
            }
            Err(failure) => {
                self.close(&open, StepState::Lost, None, None, "");
                Err(failure.into())
            }
        }
    }

    async fn step(&mut self, step: &Step) -> Result<(), Stop> {
        let index = self.take_index();
        let known = self.known.get(&index).cloned();
        let kind = if step.when == When::Test { StepKind::Test } else { StepKind::Build };
        if known.as_ref().is_some_and(|s| s.state == StepState::Passed) {
            return Ok(());
        }
        let request = self.request(&step.command(&self.builder.os), &step.dir, &step.env, step.timeout, step.idle_timeout).await?;
        let worker = self.session.worker().to_owned();
        let open = self.open(index, step.name.clone(), kind, worker, String::new(), known.as_ref().map(|s| s.started_ms));
        let head = format!("##### {}: {}\n", step.name, shown(&request));
        self.append(head.as_bytes()).await?;
        let end = self.session.run(&open.execution, &request, &mut Sink::Log(&mut self.log)).await;
        self.conclude(open, end).await
    }

    /// Writes how a step ended and turns a failure into the attempt's verdict.
    pub(crate) async fn conclude(&mut self, open: Open, end: Result<CommandEnd, Failure>) -> Result<(), Stop> {
        match end {
            Ok(end) if end.passed() => {
                self.append(b"\n").await?;
                self.close(&open, StepState::Passed, end.exit_code, None, "");
                Ok(())
            }
            Ok(end) => {
                let took = words(Duration::from_millis((self.around.shell.now_ms() - open.started_ms).max(0) as u64));
                self.append(format!("\n##### {} failed after {took}: {}\n", open.name, end.words).as_bytes()).await?;
                let state = if end.timed_out { StepState::TimedOut } else { StepState::Failed };
                self.close(&open, state, end.exit_code, end.signal.clone(), &end.words);
                let verdict = match open.kind {
                    _ if end.timed_out => AttemptState::TimedOut,
                    StepKind::Build => AttemptState::FailedBuild,
                    _ => AttemptState::FailedTest,
                };
                Err(Stop::Verdict(verdict, format!("step {}: {}", open.name, end.words)))
            }
            Err(failure) => {
                let state = if matches!(failure, Failure::Stopped) { StepState::Cancelled } else { StepState::Lost };
                self.close(&open, state, None, None, "");
                Err(failure.into())
            }
        }
    }

    pub(crate) fn take_index(&mut self) -> i64 {
        self.next_index += 1;
        self.next_index - 1
    }

    /// The request for a command of the recipe.
    pub(crate) async fn request(
        &self,
        run: &[String],
        dir: &str,
        env: &BTreeMap<String, String>,
        timeout: Option<Duration>,
        idle: Option<Duration>,
    ) -> Result<ExecRequest, Stop> {
        let [cmd, args @ ..] = run else {
            return Err(Stop::Verdict(AttemptState::FailedBuild, "the recipe has a step without a command".into()));
        };
        // A program is looked for from the work directory's root (`coordinator.md` §8.2), but whoever writes `./x` means the step's own directory.
        let beside = !dir.is_empty() && (cmd.starts_with("./") || cmd.starts_with("../"));
        let cmd = if beside { format!("{dir}/{}", cmd.trim_start_matches("./")) } else { cmd.clone() };
        let args = args.to_vec();
        let mut all = self.env.clone();
        all.extend(env.iter().map(|(k, v)| format!("{k}={v}")));
        if all.iter().any(|pair| pair.contains("{workdir}")) {
            let workdir = self.session.workdir().await?;
            all.iter_mut().for_each(|pair| *pair = pair.replace("{workdir}", &workdir));
        }
        let ms = |d: Duration| u64::try_from(self.builder.scaled(d).as_millis()).unwrap_or(u64::MAX);
        Ok(ExecRequest {
            cmd,
            args,
            env: all,
            dir: dir.to_owned(),
            timeout_ms: timeout.map(ms),
            idle_timeout_ms: idle.map(ms),
            memory_bytes: self.around.memory_bytes,
            max_processes: self.around.max_processes,
            network: if self.builder.offline { protocol_buildlet::Network::None } else { protocol_buildlet::Network::Open },
            ..ExecRequest::default()
        })
    }

    /// Begins a step: its row is written, nobody waits for it, because doing it twice is harmless.
    pub(crate) fn open(&self, index: i64, name: String, kind: StepKind, worker: String, detail: String, since: Option<i64>) -> Open {
        let attempt = self.assignment.attempt;
        let open = Open {
            index,
            name,
            kind,
            started_ms: since.filter(|s| *s > 0).unwrap_or_else(|| self.around.shell.now_ms()),
            log_start: self.log.length() as i64,
            execution: format!("{}{index}", execution_prefix(attempt)),
            worker,
            detail,
        };
        let row = self.row(&open, StepState::Running, None, None, None, None, &open.detail);
        self.around.shell.write(vec![row], vec![Change::Step { build: self.assignment.build, attempt }]);
        open
    }

    /// Ends a step.
    pub(crate) fn close(&self, open: &Open, state: StepState, exit_code: Option<i64>, signal: Option<String>, detail: &str) {
        let now = self.around.shell.now_ms();
        let end = Some(self.log.length() as i64).filter(|_| state != StepState::Lost);
        let detail = if open.detail.is_empty() { detail } else { &open.detail };
        let row = self.row(open, state, Some(now), exit_code, signal, end, detail);
        self.around.shell.write(vec![row], vec![Change::Step { build: self.assignment.build, attempt: self.assignment.attempt }]);
    }

    #[allow(clippy::too_many_arguments)]
    fn row(
        &self,
        open: &Open,
        state: StepState,
        ended: Option<i64>,
        exit: Option<i64>,
        signal: Option<String>,
        log_end: Option<i64>,
        detail: &str,
    ) -> Statement {
        sql(
            "INSERT INTO steps (attempt, idx, name, kind, worker, execution, state, started_ms, ended_ms, exit_code, signal, log_start, log_end, detail) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14) \
             ON CONFLICT (attempt, idx) DO UPDATE SET worker = excluded.worker, execution = excluded.execution, state = excluded.state, started_ms = excluded.started_ms, \
             ended_ms = excluded.ended_ms, exit_code = excluded.exit_code, signal = excluded.signal, log_start = excluded.log_start, log_end = excluded.log_end, detail = excluded.detail",
            (
                self.assignment.attempt.0,
                open.index,
                &open.name,
                open.kind.word(),
                &open.worker,
                &open.execution,
                state.word(),
                open.started_ms,
                ended,
                exit,
                signal,
                open.log_start,
                log_end,
                detail,
            ),
        )
    }
}

fn unreadable(error: burrow_git::Error) -> Failure {
    Failure::Infrastructure(format!("the source could not be read: {error}"))
}

/// A command as people type it.
pub(crate) fn shown(request: &ExecRequest) -> String {
    let plain = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_./=:,+@%".contains(&b));
    let quoted = |s: &String| if plain(s) { s.clone() } else { format!("'{}'", s.replace('\'', "'\\''")) };
    if let ("sh", [flags, script]) = (request.cmd.as_str(), request.args.as_slice())
        && flags == "-ec"
    {
        return script.clone();
    }
    std::iter::once(&request.cmd).chain(&request.args).map(quoted).collect::<Vec<_>>().join(" ")
}

/// A duration for people: `0.4s`, `12.3s`, `4m10s`, `2h05m`.
pub(crate) fn words(duration: Duration) -> String {
    let s = duration.as_secs();
    match s {
        0..60 => format!("{:.1}s", duration.as_secs_f64()),
        60..3600 => format!("{}m{:02}s", s / 60, s % 60),
        _ => format!("{}h{:02}m", s / 3600, s % 3600 / 60),
    }
}
