//! The scheduler's pure step alone: 10,000 queued builds, 2,000 workers, 200 kinds of machine. Measured per event: an attempt ends (and its worker takes
//! the next build), a build is asked for, a worker is lost and comes back.

use std::sync::Arc;
use std::time::Instant;

use burrow_coordinator::model::{Action, End, Event, Job, NewBuild, State, Worker};
use burrow_results::model::{AttemptState, Class};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::json;

use crate::report::{Bound, Report, median, quantile};
use crate::settings::Settings;

const QUEUED: usize = 10_000;
const WORKERS: usize = 2_000;
const KINDS: usize = 200;

/// Measures.
///
/// # Errors
/// The record cannot be written.
pub(crate) fn run(settings: &Settings) -> anyhow::Result<()> {
    let mut report = Report::new("scheduler");
    let events = settings.load.unwrap_or(100_000);
    let (mut p50, mut p99, mut worst) = (Vec::new(), Vec::new(), Vec::new());
    for run in 0..settings.runs(5) {
        let times = decide(settings.seed + run as u64, events);
        p50.push(quantile(&times, 0.5));
        p99.push(quantile(&times, 0.99));
        worst.push(quantile(&times, 1.0));
        report.run(json!({"side": "burrow", "events": events, "p50_us": quantile(&times, 0.5), "p99_us": quantile(&times, 0.99), "p999_us": quantile(&times, 0.999), "worst_us": quantile(&times, 1.0)}));
    }
    report.line("one decision, p50", "µs", median(&p50), None, Bound::None);
    report.line("one decision, p99", "µs", median(&p99), None, Bound::AtMost(100.0));
    report.line("one decision, the slowest", "µs", median(&worst), None, Bound::None);
    report.finish(settings)
}

fn decide(seed: u64, events: usize) -> Vec<f64> {
    let mut random = StdRng::seed_from_u64(seed);
    let mut state = State::default();
    let mut now = 1_700_000_000_000;
    let spec: Arc<str> = "{}".repeat(500).into();
    let mut commit = 0;
    let mut new = |random: &mut StdRng| {
        commit += 1;
        let kind = random.random_range(0..KINDS);
        let class = match random.random_range(0..10) {
            0 => Class::Interactive,
            1..=3 => Class::Try,
            _ => Class::Batch,
        };
        NewBuild {
            repo: format!("repo{}", kind % 7),
            branch: "main".into(),
            hash: format!("{commit:040x}"),
            builder: format!("builder{kind}"),
            class,
            host_type: format!("host{kind}"),
            commit_s: 1_700_000_000 + random.random_range(0..1_000_000),
            origin: "commit".into(),
            actor: "source".into(),
            reason: String::new(),
            spec: Arc::clone(&spec),
        }
    };
    let mut running = Vec::new();
    let started = |actions: Vec<Action>, running: &mut Vec<burrow_results::model::AttemptId>| {
        running.extend(actions.into_iter().filter_map(|action| match action {
            Action::Start(assignment) => Some(assignment.attempt),
            _ => None,
        }));
    };
    for number in 0..WORKERS {
        let effects = state.step(now, Event::Up(worker(number, 0, now)));
        started(effects.actions, &mut running);
    }
    // Every worker has work, and so many wait.
    while state.builds.len() < QUEUED + WORKERS {
        let builds = vec![new(&mut random)];
        let effects = state.step(now, Event::Submit { builds, rows: Vec::new(), changes: Vec::new() });
        started(effects.actions, &mut running);
    }
    let mut times = Vec::with_capacity(events);
    for number in 0..events {
        now += 1;
        let event = match random.random_range(0..100) {
            0 => {
                let id = format!("w{}", random.random_range(0..WORKERS));
                let instance = state.workers.get(&id).map(|w| w.instance.clone()).unwrap_or_default();
                let lost = state.step(now, Event::Lost { id: id.clone(), instance, reason: "cut off".into() });
                started(lost.actions, &mut running);
                Event::Up(worker(id.trim_start_matches('w').parse().unwrap_or(0), number + 1, now))
            }
            1..=49 => Event::Submit { builds: vec![new(&mut random)], rows: Vec::new(), changes: Vec::new() },
            _ if running.is_empty() => Event::Tick,
            _ => {
                let attempt = running.swap_remove(random.random_range(0..running.len()));
                let state = if random.random_range(0..50) == 0 { AttemptState::InfraFailed } else { AttemptState::Passed };
                Event::Ended { attempt, end: End { state, flaky: false, log_hash: None, log_bytes: 0, message: String::new() } }
            }
        };
        let begin = Instant::now();
        let effects = state.step(now, event);
        times.push(begin.elapsed().as_secs_f64() * 1e6);
        started(effects.actions, &mut running);
    }
    times
}

fn worker(number: usize, instance: usize, now: i64) -> Worker {
    Worker {
        id: format!("w{number}"),
        instance: format!("{instance}"),
        pool: "pool".into(),
        host_type: format!("host{}", number % KINDS),
        hostname: String::new(),
        address: String::new(),
        version: 29,
        connected_ms: now,
        modern: true,
        draining: false,
        expected_until_ms: None,
        job: Job::Idle,
        last_repo: String::new(),
        since_ms: now,
    }
}
