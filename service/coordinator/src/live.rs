//! What is only in memory, as the pages show it: the queue in its order with reasons and estimates, and the machines.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use burrow_builders::Config;
use burrow_results::model::BuildId;
use burrow_results::view;

use crate::control::Live;
use crate::model::{Item, Job, Phase, State};
use crate::reverse::Known;
use crate::runner::words;

/// Expected run time of a builder that never passed, milliseconds.
const UNKNOWN_MS: f64 = 60_000.0;

/// A snapshot.
pub(crate) fn snapshot(state: &State, config: &Config, enrolled: &BTreeMap<String, Known>, now: i64, trouble: Vec<String>) -> Live {
    let mut live = Live { trouble, ..Live::default() };
    for (kind, queue) in &state.queues {
        queue_of_kind(state, kind, queue, now, &mut live);
    }
    for build in state.builds.values() {
        match build.phase {
            Phase::Running(attempt) => {
                let worker = state.attempts.get(&attempt).map(|a| a.worker.clone()).unwrap_or_default();
                live.running.push((build.id, attempt, worker));
            }
            Phase::Backoff { until_ms } => {
                let left = std::time::Duration::from_millis((until_ms - now).max(0) as u64);
                let reason = format!("Failed by infrastructure ({}); tried again in {}.", build.last_failure, words(left));
                let waiting = view::Waiting { position: 0, reason, estimate_ms: Some(until_ms) };
                live.waiting.push((build.id, build.new.host_type.clone(), waiting));
            }
            Phase::Waiting => {}
        }
    }
    machines(state, config, enrolled, &mut live);
    live
}

fn queue_of_kind(state: &State, kind: &str, queue: &crate::model::Queue, now: i64, live: &mut Live) {
    let workers: Vec<_> = state.workers.values().filter(|w| w.host_type == kind).collect();
    let awaited = workers.iter().filter(|w| w.expected_until_ms.is_some()).count();
    let draining = workers.iter().filter(|w| w.draining).count();
    let duration = |id: &BuildId| state.builds.get(id).and_then(|b| state.durations.get(&b.new.builder)).copied().unwrap_or(UNKNOWN_MS) as i64;
    // When each worker is expected to be free, soonest first.
    let mut free: BinaryHeap<Reverse<i64>> = BinaryHeap::new();
    for worker in workers.iter().filter(|w| !w.draining && w.expected_until_ms.is_none()) {
        free.push(Reverse(match &worker.job {
            Job::Main(attempt) => match state.attempts.get(attempt) {
                Some(a) => (a.assigned_ms + duration(&a.build)).max(now),
                None => now,
            },
            _ => now,
        }));
    }
    let total = queue.waiting.len();
    for (at, rank) in queue.waiting.iter().enumerate() {
        let Item::Build(id) = rank.item() else { continue };
        let estimate_ms = free.pop().map(|Reverse(start)| {
            free.push(Reverse(start + duration(&id)));
            start
        });
        let reason = if state.paused {
            "The coordinator is draining and starts nothing new.".to_owned()
        } else if queue.connected == 0 && awaited > 0 {
            format!("The coordinator was restarted; {awaited} machines of kind {kind} are awaited.")
        } else if queue.connected == 0 && draining > 0 {
            format!("All {draining} machines of kind {kind} are draining.")
        } else if queue.connected == 0 {
            format!("No machine of kind {kind} is connected.")
        } else {
            let busy = match queue.connected {
                1 => "The only machine".to_owned(),
                n => format!("All {n} machines"),
            };
            match at {
                0 => format!("{busy} of kind {kind} {} busy; this one is next.", if queue.connected == 1 { "is" } else { "are" }),
                n => format!("{n} of {total} go first; {} of kind {kind} {} busy.", busy.to_lowercase(), if queue.connected == 1 { "is" } else { "are" }),
            }
        };
        live.waiting.push((id, kind.to_owned(), view::Waiting { position: at + 1, reason, estimate_ms }));
    }
}

fn machines(state: &State, config: &Config, enrolled: &BTreeMap<String, Known>, live: &mut Live) {
    let mut kinds: BTreeMap<String, view::HostType> = BTreeMap::new();
    for (name, host) in &config.hosts {
        let kind = crate::sources::queue_of(config, &host.pool, name);
        let expected = match config.pools.get(&host.pool).map(|p| &p.kind) {
            Some(burrow_builders::PoolKind::Process { workers, .. }) => *workers as usize,
            _ => host.expect as usize,
        };
        kinds.entry(kind.clone()).or_insert(view::HostType { name: kind, pool: host.pool.clone(), connected: 0, expected, busy: 0, waiting: 0 });
    }
    for worker in state.workers.values() {
        let build = match &worker.job {
            Job::Main(attempt) | Job::Helper(attempt, _) => state.attempts.get(attempt).map(|a| a.build),
            Job::Idle | Job::Spent => None,
        };
        let word = match (&worker.job, worker.expected_until_ms, worker.draining) {
            (_, Some(_), _) => "unreachable",
            (Job::Idle, None, true) => "draining",
            (Job::Idle, None, false) => "idle",
            _ => "busy",
        };
        let note = match (&worker.job, worker.draining) {
            (Job::Helper(..), _) => "helps with tests",
            (Job::Spent, _) => "served its build and comes back anew",
            (Job::Main(_), true) => "draining after this build",
            _ => "",
        };
        let kind = kinds.entry(worker.host_type.clone()).or_insert_with(|| view::HostType {
            name: worker.host_type.clone(),
            pool: worker.pool.clone(),
            connected: 0,
            expected: 0,
            busy: 0,
            waiting: 0,
        });
        kind.connected += usize::from(worker.expected_until_ms.is_none());
        kind.busy += usize::from(worker.job != Job::Idle);
        live.machines.push(view::Machine {
            id: worker.id.clone(),
            pool: worker.pool.clone(),
            host_type: worker.host_type.clone(),
            hostname: worker.hostname.clone(),
            address: worker.address.clone(),
            version: worker.version.to_string(),
            state: word,
            since_ms: worker.since_ms,
            connected_ms: worker.expected_until_ms.is_none().then_some(worker.connected_ms),
            build,
            note: note.to_owned(),
        });
    }
    for (id, machine) in enrolled.iter().filter(|(id, _)| !state.workers.contains_key(*id)) {
        let pool = config.hosts.get(&machine.host_type).map(|h| h.pool.clone()).unwrap_or_default();
        live.machines.push(view::Machine {
            id: id.clone(),
            pool,
            host_type: machine.host_type.clone(),
            hostname: machine.hostname.clone(),
            address: String::new(),
            version: String::new(),
            state: if machine.revoked { "revoked" } else { "missing" },
            since_ms: machine.seen_ms,
            connected_ms: None,
            build: None,
            note: if machine.revoked { "its key was revoked" } else { "enrolled, not connected" }.to_owned(),
        });
    }
    for (_, kind, _) in &live.waiting {
        if let Some(kind) = kinds.get_mut(kind) {
            kind.waiting += 1;
        }
    }
    live.machines.sort_by(|a, b| (&a.host_type, &a.id).cmp(&(&b.host_type, &b.id)));
    live.host_types = kinds.into_values().collect();
}
