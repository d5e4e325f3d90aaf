//! The test phase: list, split, run on the main worker and its helpers, retry, verdict (`coordinator.md` §9).
//!
//! The main worker takes the planned sets in order; helpers take what will run longest. A failed set is run again test by test while the recipe's `retry`
//! allows it: what then passes is flaky, what fails again has failed. Tests of a lost helper go back. A failure does not stop the other tests.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::File;
use std::sync::Arc;
use std::time::Duration;

use burrow_builders::{Partition, Taker, TestList, Tests, When};
use burrow_results::model::{AttemptState, Class, StepKind, StepState};
use burrow_store::sql;
use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use protocol_buildlet::ExecRequest;
use tokio_util::sync::CancellationToken;

use crate::model::Event;
use crate::runner::{News, Open, Run, Stop, shown, words};
use crate::session::{CommandEnd, Failure, Session};
use crate::sink::{Sink, move_into};

/// A list of tests may be this long.
const LIST_LIMIT: usize = 16 << 20;

/// What a worker is given to run.
struct Shard {
    open: Open,
    /// Indexes into the partition's names.
    tests: Vec<usize>,
    /// 1 for the first run of these tests.
    run: u32,
    request: ExecRequest,
}

/// Who runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Who {
    Main,
    Helper(u32),
}

struct Finished {
    who: Who,
    shard: Shard,
    end: Result<CommandEnd, Failure>,
    output: Option<File>,
    session: Arc<Session>,
}

enum Happened {
    Finished(Box<Finished>),
    Ready(u32, Result<Arc<Session>, Failure>),
}

/// What is known of one test.
#[derive(Default, Clone)]
struct Test {
    failed_runs: u32,
    passed: bool,
}

struct Phases<'a> {
    run: &'a mut Run,
    rules: &'a Tests,
    plan: Partition,
    /// Single tests to run again: (test, number of the run).
    again: Vec<(usize, u32)>,
    tests: Vec<Test>,
    /// Failed before a restart, and not to be run again.
    failed: Vec<String>,
    first_failure: Option<String>,
    timed_out: bool,
    /// Lost helpers' tests by how often that happened.
    losses: HashMap<usize, u32>,
    /// Helpers' sessions, whose executions are to be forgotten at the end.
    sessions: Vec<Arc<Session>>,
    /// What stops a helper's session.
    helpers: HashMap<u32, CancellationToken>,
}

/// Runs the tests of the recipe.
pub(crate) async fn run(run: &mut Run, rules: &Tests) -> Result<(), Stop> {
    let mut names = list(run, rules).await?;
    let ordinary_try = run.assignment.new.class == Class::Try;
    names.retain(|name| run.builder.skips_test(name, ordinary_try).is_none());
    if names.is_empty() {
        return Ok(());
    }
    let known = durations(run).await;
    let before = recall(run, rules);
    let names: Vec<String> = names.into_iter().filter(|name| !before.settled.contains_key(name)).collect();
    let tests = names.iter().map(|name| Test { failed_runs: u32::from(before.suspects.contains(name)), passed: false }).collect();
    let failed = before.settled.into_iter().filter(|(_, passed)| !passed).map(|(name, _)| name).collect();
    let mut phases = Phases {
        plan: Partition::new(names, &known, rules),
        run,
        rules,
        again: Vec::new(),
        tests,
        failed,
        first_failure: None,
        timed_out: before.timed_out,
        losses: HashMap::new(),
        sessions: Vec::new(),
        helpers: HashMap::new(),
    };
    let helpers = if rules.shard { phases.run.builder.helpers.post } else { 0 };
    let useful = (phases.plan.sets().len().saturating_sub(1)).min(helpers as usize) as u32;
    if useful > 0 {
        phases.run.around.shell.tell(Event::WantHelpers { attempt: phases.run.assignment.attempt, count: useful });
    }
    let stop = phases.run.stop.child_token();
    let main = Arc::clone(&phases.run.session);
    let result = phases.work(&main, &stop).await;
    phases.sessions.iter().for_each(|session| session.forget());
    for number in 1..=useful {
        phases.run.around.shell.tell(Event::HelperFree { attempt: phases.run.assignment.attempt, number });
    }
    result?;
    phases.verdict()
}

async fn list(run: &mut Run, rules: &Tests) -> Result<Vec<String>, Stop> {
    let Some(command) = rules.list_command(&run.builder.os) else {
        let TestList::Fixed(names) = &rules.list else { return Ok(Vec::new()) };
        return Ok(names.clone());
    };
    let request = run.request(&command, &rules.dir, &rules.env, rules.list_timeout, None).await?;
    let index = run.take_index();
    let known = run.known.get(&index).map(|s| s.started_ms);
    let open = run.open(index, "list tests".into(), StepKind::List, run.session.worker().to_owned(), String::new(), known);
    let mut output = Vec::new();
    let end = run.session.run(&open.execution, &request, &mut Sink::Memory(&mut output, LIST_LIMIT)).await;
    if !matches!(&end, Ok(end) if end.passed()) {
        run.append(format!("##### list tests: {}\n", shown(&request)).as_bytes()).await?;
        run.append(&output).await?;
        run.conclude(open, end).await?;
        return Ok(Vec::new());
    }
    let names = rules.names(&output).map_err(|message| Stop::Verdict(AttemptState::FailedBuild, message))?;
    run.close(&open, StepState::Passed, Some(0), None, &format!("{} tests", names.len()));
    Ok(names)
}

/// Expected run times of this builder's tests.
async fn durations(run: &Run) -> BTreeMap<String, Duration> {
    let rows = run.around.shell.db().query("SELECT test, ms FROM test_times WHERE builder = $1", (&run.assignment.new.builder,)).await;
    let rows = rows.unwrap_or_default();
    rows.iter().filter_map(|r| Some((r.text(0).ok()?.to_owned(), Duration::from_millis(u64::try_from(r.int(1).ok()?).ok()?)))).collect()
}

/// What is known from before a restart.
#[derive(Default)]
struct Before {
    /// Tests with a verdict.
    settled: BTreeMap<String, bool>,
    /// Tests that failed and are run again.
    suspects: HashSet<String>,
    timed_out: bool,
}

/// After a restart: shards that ended count, the others are taken again.
fn recall(run: &mut Run, rules: &Tests) -> Before {
    let mut before = Before::default();
    for (index, step) in run.known.iter().filter(|(_, step)| step.kind == StepKind::Shard.word()) {
        run.next_index = run.next_index.max(index + 1);
        let passed = step.state == StepState::Passed;
        if !passed && !matches!(step.state, StepState::Failed | StepState::TimedOut) {
            continue;
        }
        before.timed_out |= step.state == StepState::TimedOut;
        for name in step.detail.lines() {
            if passed || rules.retry == 0 {
                before.settled.insert(name.to_owned(), passed);
            } else {
                before.suspects.insert(name.to_owned());
            }
        }
    }
    // Passed when run again, after it had failed.
    run.flaky |= before.suspects.iter().any(|name| before.settled.get(name) == Some(&true));
    before
}

impl Phases<'_> {
    async fn work(&mut self, main: &Arc<Session>, stop: &CancellationToken) -> Result<(), Stop> {
        let mut going: FuturesUnordered<BoxFuture<'static, Happened>> = FuturesUnordered::new();
        let mut idle: Vec<(Who, Arc<Session>)> = vec![(Who::Main, Arc::clone(main))];
        loop {
            let mut waiting = Vec::new();
            for (who, session) in idle.drain(..) {
                match self.take(who, session.worker()).await? {
                    Some(shard) => going.push(run_shard(who, shard, session)),
                    None => waiting.push((who, session)),
                }
            }
            idle = waiting;
            if going.is_empty() {
                return Ok(());
            }
            let happened = tokio::select! {
                happened = going.next() => happened,
                news = self.run.news.recv() => {
                    match news {
                        Some(News::Helper(number, worker)) => going.push(self.set_up(number, *worker, main, stop)),
                        Some(News::HelperLost(number)) => {
                            if let Some(stop) = self.helpers.remove(&number) {
                                stop.cancel();
                            }
                        }
                        None => {}
                    }
                    continue;
                }
            };
            match happened {
                None => return Ok(()),
                Some(Happened::Ready(number, Ok(session))) => {
                    self.sessions.push(Arc::clone(&session));
                    idle.push((Who::Helper(number), session));
                }
                Some(Happened::Ready(number, Err(failure))) => {
                    tracing::info!(number, ?failure, "A helper could not be set up.");
                    self.run.around.shell.tell(Event::HelperFree { attempt: self.run.assignment.attempt, number });
                }
                Some(Happened::Finished(finished)) => {
                    let Finished { who, shard, end, output, session } = *finished;
                    if let Some(again) = self.finished(who, shard, end, output, stop).await? {
                        idle.push((again, session));
                    }
                }
            }
        }
    }

    /// Makes a borrowed worker like the main one.
    fn set_up(&mut self, number: u32, worker: burrow_pool::Worker, main: &Arc<Session>, stop: &CancellationToken) -> BoxFuture<'static, Happened> {
        let (mirror, commit, recipe) = (self.run.mirror.clone(), self.run.commit, self.run.builder.recipe.clone());
        let (main, stop, attempt, os) = (Arc::clone(main), stop.child_token(), self.run.assignment.attempt, self.run.builder.os.clone());
        self.helpers.insert(number, stop.clone());
        let env = self.run.env.clone();
        Box::pin(async move {
            let work = async {
                let session = Session::new(worker, stop, None);
                session.sources(&mirror, commit, &recipe).await?;
                match &recipe.snapshot {
                    Some(snapshot) => main.copy_to(&session, &snapshot.paths).await?,
                    None => {
                        for (at, step) in recipe.steps.iter().filter(|s| s.when != When::Test).enumerate() {
                            let [cmd, args @ ..] = &step.command(&os)[..] else { continue };
                            let mut env = env.clone();
                            env.extend(step.env.iter().map(|(k, v)| format!("{k}={v}")));
                            let request = ExecRequest { cmd: cmd.clone(), args: args.to_vec(), env, dir: step.dir.clone(), ..ExecRequest::default() };
                            let mut output = tempfile::tempfile().map_err(|e| Failure::Infrastructure(e.to_string()))?;
                            let end = session.run(&format!("a{attempt}-h{number}-{at}"), &request, &mut Sink::Aside(&mut output)).await?;
                            if !end.passed() {
                                return Err(Failure::Infrastructure(format!("step {} on helper {}: {}", step.name, session.worker(), end.words)));
                            }
                        }
                    }
                }
                Ok(Arc::new(session))
            };
            Happened::Ready(number, work.await)
        })
    }

    /// The next tests for somebody.
    async fn take(&mut self, who: Who, worker: &str) -> Result<Option<Shard>, Stop> {
        let (tests, run) = match self.again.pop() {
            Some((test, run)) => (vec![test], run),
            None => {
                let taker = if who == Who::Main { Taker::Main } else { Taker::Helper };
                match self.plan.take(taker) {
                    Some(set) => (set, 1),
                    None => return Ok(None),
                }
            }
        };
        let names: Vec<String> = tests.iter().filter_map(|at| self.plan.names().get(*at).cloned()).collect();
        let command = self.rules.command(&self.run.builder.os, &names);
        let request = self.run.request(&command, &self.rules.dir, &self.rules.env, self.rules.timeout, self.rules.idle_timeout).await?;
        let index = self.run.take_index();
        let name = match (names.as_slice(), run) {
            ([one], 1) => one.clone(),
            ([one], n) => format!("{one} (run {n})"),
            (all, _) => format!("{} tests from {}", all.len(), all.first().map_or("", String::as_str)),
        };
        let open = self.run.open(index, name, StepKind::Shard, worker.to_owned(), names.join("\n"), None);
        Ok(Some(Shard { open, tests, run, request }))
    }

    /// Books a shard's end. Gives back who may go on.
    async fn finished(
        &mut self,
        who: Who,
        shard: Shard,
        end: Result<CommandEnd, Failure>,
        output: Option<File>,
        stop: &CancellationToken,
    ) -> Result<Option<Who>, Stop> {
        let end = match end {
            Ok(end) => end,
            Err(failure) => {
                self.run.close(&shard.open, StepState::Lost, None, None, "");
                if who == Who::Main || self.run.stop.is_cancelled() {
                    return Err(failure.into());
                }
                // Somebody else runs what a lost helper had; a test that loses three helpers is suspicious itself.
                for test in &shard.tests {
                    let losses = self.losses.entry(*test).or_default();
                    *losses += 1;
                    if *losses >= 3 {
                        return Err(Failure::Infrastructure(format!("{} lost three helpers", shard.open.name)).into());
                    }
                }
                self.plan.give_back(&shard.tests);
                if let Who::Helper(number) = who {
                    self.run.around.shell.tell(Event::HelperFree { attempt: self.run.assignment.attempt, number });
                }
                return Ok(None);
            }
        };
        let passed = end.passed();
        let ms = (self.run.around.shell.now_ms() - shard.open.started_ms).max(0);
        let mut open = shard.open;
        open.log_start = self.run.log.length() as i64;
        self.run.append(format!("##### {} (on {}): {}\n", open.name, open.worker, shown(&shard.request)).as_bytes()).await?;
        if let Some(mut output) = output {
            move_into(&mut output, &mut self.run.log, stop).await?;
        }
        let last =
            if passed { "\n".to_owned() } else { format!("\n##### {} failed after {}: {}\n", open.name, words(Duration::from_millis(ms as u64)), end.words) };
        self.run.append(last.as_bytes()).await?;
        let state = match (passed, end.timed_out) {
            (true, _) => StepState::Passed,
            (false, true) => StepState::TimedOut,
            (false, false) => StepState::Failed,
        };
        self.run.close(&open, state, end.exit_code, end.signal.clone(), "");
        self.timed_out |= end.timed_out;
        if !passed && self.first_failure.is_none() {
            self.first_failure = Some(format!("{}: {}", open.name, end.words));
        }
        self.record(&shard.tests, shard.run, passed, ms);
        self.settle(&shard.tests, passed, shard.run);
        Ok(Some(who))
    }

    /// Rows of what is known of single tests: a set that failed blames nobody yet, unless it may not be run again.
    fn record(&self, tests: &[usize], run: u32, passed: bool, ms: i64) {
        if !passed && tests.len() > 1 && self.rules.retry > 0 {
            return;
        }
        let each = ms / tests.len().max(1) as i64;
        let mut rows = Vec::new();
        for name in tests.iter().filter_map(|at| self.plan.names().get(*at)) {
            rows.push(sql(
                "INSERT INTO test_results (attempt, test, run, ok, ms) VALUES ($1, $2, $3, $4, $5) ON CONFLICT (attempt, test, run) DO UPDATE SET ok = excluded.ok, ms = excluded.ms",
                (self.run.assignment.attempt.0, name, run, passed, each),
            ));
            if passed {
                rows.push(sql(
                    "INSERT INTO test_times (builder, test, ms, runs) VALUES ($1, $2, $3, 1) \
                     ON CONFLICT (builder, test) DO UPDATE SET ms = (test_times.ms * 3 + excluded.ms) / 4, runs = test_times.runs + 1",
                    (&self.run.assignment.new.builder, name, each),
                ));
            }
        }
        self.run.around.shell.write(rows, Vec::new());
    }

    /// Decides what runs again.
    fn settle(&mut self, tests: &[usize], passed: bool, run: u32) {
        let many = tests.len() > 1;
        for at in tests {
            let Some(test) = self.tests.get_mut(*at) else { continue };
            if passed {
                test.passed = true;
                self.again.retain(|(other, _)| other != at);
                continue;
            }
            // A whole set's failure counts as no test's failure, only as a reason to look at each.
            test.failed_runs += u32::from(!many || self.rules.retry == 0);
            if test.failed_runs <= self.rules.retry && self.rules.retry > 0 && !self.timed_out {
                self.again.push((*at, run + 1));
            }
        }
        if !passed && many && self.rules.retry > 0 {
            self.run.flaky = true;
        }
    }

    fn verdict(&mut self) -> Result<(), Stop> {
        let missed = self.tests.iter().zip(self.plan.names()).filter(|(t, _)| !t.passed).map(|(_, n)| n);
        let failed: Vec<&String> = self.failed.iter().chain(missed).collect();
        let flaky = self.tests.iter().any(|t| t.passed && t.failed_runs > 0);
        if failed.is_empty() {
            self.run.flaky |= flaky;
            return Ok(());
        }
        self.run.flaky = false;
        let state = if self.timed_out { AttemptState::TimedOut } else { AttemptState::FailedTest };
        let message = match failed.as_slice() {
            [one] => format!("test {one} failed"),
            [first, ..] => format!("{} tests failed, {first} among them", failed.len()),
            [] => self.first_failure.clone().unwrap_or_default(),
        };
        Err(Stop::Verdict(state, message))
    }
}

fn run_shard(who: Who, shard: Shard, session: Arc<Session>) -> BoxFuture<'static, Happened> {
    Box::pin(async move {
        let (end, output) = match tempfile::tempfile() {
            Ok(mut output) => (session.run(&shard.open.execution, &shard.request, &mut Sink::Aside(&mut output)).await, Some(output)),
            Err(error) => (Err(Failure::Infrastructure(format!("no room for output: {error}"))), None),
        };
        Happened::Finished(Box::new(Finished { who, shard, end, output, session }))
    })
}
