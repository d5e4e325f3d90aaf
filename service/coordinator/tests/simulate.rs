//! Thousands of random schedules through the pure step, with restarts from the rows at random moments.
//!
//! The simulated world plays workers and runners: it holds what the actions started, and ends or loses it at random. After every event the rules of `step.rs`
//! are checked; at the end everything is given workers and time, and every build must have come to an end that was recorded once.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use burrow_coordinator::load::load;
use burrow_coordinator::model::{Action, End, Event, Job, NewBuild, Phase, Policy, State, Worker};
use burrow_results::model::{AttemptId, AttemptState, BuildId, Class};
use burrow_store::Db;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng};

const KINDS: [&str; 3] = ["linux", "mac", "odd"];

struct World {
    db: Db,
    state: State,
    random: StdRng,
    now: i64,
    /// Attempts whose runner is alive, with their worker.
    runners: BTreeMap<AttemptId, String>,
    /// Connected workers: name → instance.
    connected: BTreeMap<String, String>,
    asked: BTreeSet<BuildId>,
    cancelled: BTreeSet<BuildId>,
    serial: u64,
}

fn kind_of(worker: &str) -> &'static str {
    KINDS[worker.trim_start_matches('w').parse::<usize>().unwrap() % KINDS.len()]
}

impl World {
    async fn new(seed: u64) -> World {
        let db = Db::open("sqlite::memory:", burrow_results::MIGRATIONS).await.unwrap();
        let state = load(&db, Policy::default(), 0, |spec| Some(spec.to_owned())).await.unwrap();
        World {
            db,
            state,
            random: StdRng::seed_from_u64(seed),
            now: 1_000_000,
            runners: BTreeMap::new(),
            connected: BTreeMap::new(),
            asked: BTreeSet::new(),
            cancelled: BTreeSet::new(),
            serial: 0,
        }
    }

    async fn step(&mut self, event: Event) -> Option<String> {
        self.now += self.random.random_range(0..500);
        let effects = self.state.step(self.now, event);
        self.db.commit(effects.rows).await.unwrap();
        self.asked.extend(&effects.builds);
        for action in effects.actions {
            match action {
                Action::Start(assignment) => {
                    let old = self.runners.insert(assignment.attempt, assignment.worker.clone());
                    assert!(old.is_none(), "attempt {} was started twice", assignment.attempt);
                    assert!(self.connected.contains_key(&assignment.worker), "an attempt was given to {}, which is not connected", assignment.worker);
                }
                Action::Stop { attempt, lost } => {
                    if lost {
                        self.runners.remove(&attempt);
                    }
                }
                Action::Helper { worker, .. } => assert!(self.connected.contains_key(&worker)),
                Action::HelperLost { .. } | Action::Release(_) => {}
            }
        }
        self.check();
        effects.refused
    }

    fn check(&self) {
        let state = &self.state;
        let mut jobs: HashMap<AttemptId, &str> = HashMap::new();
        for worker in state.workers.values() {
            if let Job::Main(attempt) = &worker.job {
                assert!(jobs.insert(*attempt, &worker.id).is_none(), "attempt {attempt} is on two workers");
                assert!(state.attempts.contains_key(attempt), "{} runs attempt {attempt}, which is over", worker.id);
            }
            let idle = state.queues.values().flat_map(|q| &q.idle).filter(|(_, name)| *name == worker.id).count();
            let should = worker.job == Job::Idle && !worker.draining && worker.expected_until_ms.is_none();
            assert_eq!(idle, usize::from(should), "{}: {:?} draining {} expected {:?}", worker.id, worker.job, worker.draining, worker.expected_until_ms);
        }
        let mut waiting: BTreeSet<BuildId> = BTreeSet::new();
        for queue in state.queues.values() {
            for rank in &queue.waiting {
                if let burrow_coordinator::model::Item::Build(id) = rank.item() {
                    assert!(waiting.insert(id), "build {id} waits twice");
                }
            }
            let startable = queue.waiting.iter().any(|r| matches!(r.item(), burrow_coordinator::model::Item::Build(_)));
            assert!(state.paused || !startable || queue.idle.is_empty(), "a worker is idle while a build of its kind waits");
        }
        for build in state.builds.values() {
            let places = usize::from(waiting.contains(&build.id))
                + usize::from(matches!(build.phase, Phase::Backoff { .. }))
                + usize::from(state.attempts.values().any(|a| a.build == build.id));
            assert_eq!(places, 1, "build {} is in {places} places ({:?})", build.id, build.phase);
        }
        for attempt in state.attempts.values() {
            assert_eq!(state.workers.get(&attempt.worker).map(|w| &w.job), Some(&Job::Main(attempt.id)), "attempt {} has no worker", attempt.id);
        }
        assert_eq!(state.cells.len(), state.builds.len());
    }

    fn pick<T: Clone>(&mut self, from: &[T]) -> Option<T> {
        if from.is_empty() { None } else { Some(from[self.random.random_range(0..from.len())].clone()) }
    }

    fn worker(&mut self, id: String) -> Worker {
        self.serial += 1;
        let instance = format!("i{}", self.serial);
        self.connected.insert(id.clone(), instance.clone());
        worker(id, instance)
    }

    async fn random_event(&mut self) {
        match self.random.random_range(0..100) {
            0..30 => {
                let n = self.random.random_range(0..40);
                let new = NewBuild {
                    repo: format!("r{}", n % 3),
                    branch: "main".into(),
                    hash: format!("{n:040x}"),
                    builder: format!("b{}", self.random.random_range(0..3)),
                    class: Class::from_number(self.random.random_range(0..4)),
                    host_type: KINDS[self.random.random_range(0..KINDS.len())].into(),
                    commit_s: n,
                    origin: "commit".into(),
                    actor: "test".into(),
                    reason: String::new(),
                    spec: Arc::from(KINDS[0]),
                };
                let spec = new.host_type.clone();
                self.step(Event::Submit { builds: vec![NewBuild { spec: spec.into(), ..new }], rows: vec![], changes: vec![] }).await;
            }
            30..60 => {
                let live: Vec<AttemptId> = self.runners.keys().copied().collect();
                if let Some(attempt) = self.pick(&live) {
                    let state = self
                        .pick(&[AttemptState::Passed, AttemptState::Passed, AttemptState::FailedTest, AttemptState::TimedOut, AttemptState::InfraFailed])
                        .unwrap();
                    self.runners.remove(&attempt);
                    self.step(Event::Ended { attempt, end: end(state) }).await;
                    // Told twice: the second must change nothing.
                    self.step(Event::Ended { attempt, end: end(AttemptState::FailedBuild) }).await;
                }
            }
            60..72 => {
                let id = format!("w{}", self.random.random_range(0..9));
                let up = self.worker(id);
                self.runners.retain(|_, w| *w != up.id);
                self.step(Event::Up(up)).await;
            }
            72..80 => {
                let all: Vec<String> = self.connected.keys().cloned().collect();
                if let Some(id) = self.pick(&all) {
                    let instance = self.connected.remove(&id).unwrap();
                    self.runners.retain(|_, w| *w != id);
                    self.step(Event::Lost { id, instance, reason: "test".into() }).await;
                }
            }
            80..85 => {
                let open: Vec<BuildId> = self.state.builds.keys().copied().collect();
                if let Some(build) = self.pick(&open) {
                    self.cancelled.insert(build);
                    assert_eq!(self.step(Event::Cancel { build, actor: "test".into() }).await, None);
                }
            }
            85..89 => {
                let live: Vec<AttemptId> = self.runners.keys().copied().collect();
                if let Some(attempt) = self.pick(&live) {
                    self.step(Event::WantHelpers { attempt, count: 3 }).await;
                    if self.random.random_bool(0.5) {
                        self.step(Event::HelperFree { attempt, number: 2 }).await;
                    }
                }
            }
            89..93 => {
                let all: Vec<String> = self.state.workers.keys().cloned().collect();
                if let Some(id) = self.pick(&all) {
                    let on = self.random.random_bool(0.4);
                    self.step(Event::Drain { id, on }).await;
                }
            }
            93..97 => {
                self.now += self.random.random_range(0..20_000);
                self.step(Event::Tick).await;
            }
            _ => self.restart().await,
        }
    }

    /// Killed and started again: only the rows are left. Some workers come back as they were, some anew, some not.
    async fn restart(&mut self) {
        self.state = load(&self.db, Policy::default(), self.now, |spec| Some(spec.to_owned())).await.unwrap();
        self.check_after_load();
        self.runners.clear();
        for (id, instance) in std::mem::take(&mut self.connected) {
            match self.random.random_range(0..4) {
                0 => {}
                1 => {
                    let up = self.worker(id);
                    self.step(Event::Up(up)).await;
                }
                _ => {
                    self.connected.insert(id.clone(), instance.clone());
                    self.step(Event::Up(worker(id, instance))).await;
                }
            }
        }
    }

    fn check_after_load(&self) {
        for build in self.state.builds.values() {
            assert!(!matches!(build.phase, Phase::Backoff { .. }));
        }
    }

    /// Everybody gets a worker and time; nothing may stay open.
    async fn finish(&mut self) {
        for n in 0..9 {
            let up = self.worker(format!("w{n}"));
            self.runners.retain(|_, w| *w != up.id);
            let id = up.id.clone();
            self.step(Event::Up(up)).await;
            self.step(Event::Drain { id, on: false }).await;
        }
        for _ in 0..10_000 {
            let Some(attempt) = self.runners.keys().next().copied() else {
                if self.state.builds.is_empty() {
                    return;
                }
                self.now += 20_000;
                self.step(Event::Tick).await;
                continue;
            };
            self.runners.remove(&attempt);
            self.step(Event::Ended { attempt, end: end(AttemptState::Passed) }).await;
        }
        panic!("still open: {:?}", self.state.builds);
    }
}

fn worker(id: String, instance: String) -> Worker {
    let host_type = kind_of(&id).to_owned();
    Worker {
        modern: true,
        id,
        instance,
        pool: "p".into(),
        host_type,
        hostname: String::new(),
        address: String::new(),
        version: 29,
        connected_ms: 0,
        draining: false,
        expected_until_ms: None,
        job: Job::Idle,
        last_repo: String::new(),
        since_ms: 0,
    }
}

fn end(state: AttemptState) -> End {
    End { state, flaky: false, log_hash: None, log_bytes: 0, message: String::new() }
}

async fn play(seed: u64) {
    let mut world = World::new(seed).await;
    for _ in 0..400 {
        world.random_event().await;
    }
    world.finish().await;
    let rows = world.db.query("SELECT id, state, infra_failures, attempts FROM builds ORDER BY id", ()).await.unwrap();
    let ids: BTreeSet<BuildId> = rows.iter().map(|r| BuildId(r.int(0).unwrap())).collect();
    assert_eq!(ids, world.asked, "builds that were asked for and builds that were recorded");
    for row in &rows {
        let state = row.text(1).unwrap();
        assert!(!["queued", "waiting_machine", "running"].contains(&state), "seed {seed}: build {} ended as {state}", row.int(0).unwrap());
        assert!(row.int(2).unwrap() <= 3, "the cap of attempts holds");
    }
    let open = world.db.query("SELECT id FROM attempts WHERE state IN ('assigned', 'running')", ()).await.unwrap();
    assert!(open.is_empty(), "seed {seed}: attempts without an end");
    let doubled = world
        .db
        .query("SELECT build FROM attempts WHERE state IN ('passed', 'failed_test', 'timed_out') GROUP BY build HAVING COUNT(*) > 1", ())
        .await
        .unwrap();
    assert!(doubled.is_empty(), "seed {seed}: a build has two verdicts");
}

#[tokio::test]
async fn random_schedules_lose_and_double_nothing() {
    for seed in 0..60 {
        play(seed).await;
    }
}

fn wanted(n: i64, class: Class, repo: &str) -> NewBuild {
    NewBuild {
        repo: repo.into(),
        branch: "main".into(),
        hash: format!("{n:040x}"),
        builder: "b".into(),
        class,
        host_type: "linux".into(),
        commit_s: n,
        origin: "commit".into(),
        actor: "test".into(),
        reason: String::new(),
        spec: "linux".into(),
    }
}

/// Serves everything with one worker and says in which order.
fn order(builds: Vec<(i64, NewBuild)>, policy: Policy, from: i64) -> Vec<i64> {
    let mut state = State { policy, ..State::default() };
    for (now, new) in builds {
        state.step(now, Event::Submit { builds: vec![new], rows: vec![], changes: vec![] });
    }
    let mut out = Vec::new();
    let mut effects = state.step(from, Event::Tick);
    effects.actions.extend(state.step(from, Event::Up(worker("w0".into(), "i".into()))).actions);
    while let Some(Action::Start(a)) = effects.actions.iter().find(|a| matches!(a, Action::Start(_))).cloned() {
        out.push(a.new.commit_s);
        effects = state.step(from, Event::Ended { attempt: a.attempt, end: end(AttemptState::Passed) });
    }
    out
}

#[test]
fn the_more_urgent_go_first_and_of_batch_the_newest_commit() {
    use Class::{Batch, Interactive, Try, Urgent};
    let builds = vec![
        (1, wanted(10, Batch, "r")),
        (2, wanted(30, Batch, "r")),
        (3, wanted(20, Batch, "r")),
        (4, wanted(41, Try, "r")),
        (5, wanted(40, Try, "r")),
        (6, wanted(50, Interactive, "r")),
        (7, wanted(60, Urgent, "r")),
    ];
    assert_eq!(order(builds, Policy::default(), 8), [60, 50, 41, 40, 30, 20, 10]);
}

#[test]
fn a_batch_build_that_waited_long_overtakes_newer_commits() {
    let builds = vec![(0, wanted(1, Class::Batch, "r")), (9_000, wanted(2, Class::Batch, "r")), (9_000, wanted(3, Class::Batch, "r"))];
    let policy = Policy { ageing_ms: 5_000, ..Policy::default() };
    assert_eq!(order(builds, policy, 10_000), [1, 3, 2]);
}

#[test]
fn a_kind_without_machines_blocks_nobody_else() {
    let mut state = State::default();
    let mac = NewBuild { host_type: "mac".into(), class: Class::Urgent, ..wanted(1, Class::Urgent, "r") };
    state.step(0, Event::Submit { builds: vec![mac, wanted(2, Class::Batch, "r")], rows: vec![], changes: vec![] });
    let effects = state.step(1, Event::Up(worker("w0".into(), "i".into())));
    assert!(matches!(&effects.actions[..], [Action::Start(a)] if a.new.commit_s == 2));
}

#[test]
fn a_build_is_given_up_after_three_infrastructure_failures_and_says_why() {
    let mut state = State::default();
    state.step(0, Event::Submit { builds: vec![wanted(1, Class::Batch, "r")], rows: vec![], changes: vec![] });
    let mut now = 0;
    let mut tries = 0;
    for n in 0..10 {
        let mut effects = state.step(now, Event::Up(worker("w0".into(), format!("i{n}"))));
        now += 60_000;
        effects.actions.extend(state.step(now, Event::Tick).actions);
        if effects.actions.iter().any(|a| matches!(a, Action::Start(_))) {
            tries += 1;
        }
        state.step(now, Event::Lost { id: "w0".into(), instance: format!("i{n}"), reason: "it burnt".into() });
        now += 60_000;
    }
    assert_eq!(tries, 3);
    assert!(state.builds.is_empty());
}

#[test]
fn a_worker_that_holds_the_repository_already_is_preferred() {
    let mut state = State::default();
    for name in ["w0", "w3"] {
        state.step(0, Event::Up(worker(name.into(), "i".into())));
    }
    let started = |effects: &burrow_coordinator::model::Effects| match &effects.actions[..] {
        [Action::Start(a)] => (a.attempt, a.worker.clone()),
        other => panic!("{other:?}"),
    };
    let submit = |n, repo| Event::Submit { builds: vec![wanted(n, Class::Batch, repo)], rows: vec![], changes: vec![] };
    let (a, first) = started(&state.step(1, submit(1, "r1")));
    let (b, second) = started(&state.step(1, submit(2, "r2")));
    state.step(2, Event::Ended { attempt: a, end: end(AttemptState::Passed) });
    state.step(2, Event::Ended { attempt: b, end: end(AttemptState::Passed) });
    assert_eq!(started(&state.step(3, submit(3, "r2"))).1, second);
    assert_eq!(started(&state.step(3, submit(4, "r1"))).1, first);
}
