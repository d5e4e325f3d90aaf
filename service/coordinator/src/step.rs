//! The pure step: `step(state, now, event) -> effects`. It never blocks, reads no clock, and cannot fail (DESIGN, *The house*).
//!
//! Rules it keeps, each with a property test below or in `simulate.rs`: a worker holds at most one job; an attempt that ended is never ended again;
//! an open build is in exactly one place (a queue, a pause, or one live attempt); attempts are counted when a worker is taken, so that a crash loop runs out.

use std::sync::Arc;

use burrow_results::model::{AttemptId, AttemptState, BuildId, BuildState};

use crate::control::Change;
use crate::model::{Action, Assignment, Attempt, Build, Due, Effects, End, Event, Helper, Item, Job, NewBuild, Phase, Queue, Rank, State, Worker};
use crate::rows;

impl State {
    /// Reacts to one event.
    pub fn step(&mut self, now: i64, event: Event) -> Effects {
        let mut out = Effects::default();
        match event {
            Event::Submit { builds, rows, changes } => {
                out.rows = rows;
                out.changes = changes;
                for new in builds {
                    let id = self.submit(now, new, &mut out);
                    out.builds.push(id);
                }
            }
            Event::Retry { old, new } => {
                let id = self.submit(now, new, &mut out);
                if id > old {
                    out.rows.push(rows::build_superseded(old));
                }
                out.builds.push(id);
            }
            Event::Up(worker) => self.up(now, worker, &mut out),
            Event::Lost { id, instance, reason } => self.lost(now, &id, &instance, &reason, &mut out),
            Event::Drain { id, on } => self.drain(now, &id, on, &mut out),
            Event::Began(attempt) => self.began(now, attempt, &mut out),
            Event::WantHelpers { attempt, count } => self.want_helpers(attempt, count, &mut out),
            Event::HelperFree { attempt, number } => self.helper_free(now, attempt, number, &mut out),
            Event::Ended { attempt, end } => self.ended(now, attempt, end, &mut out),
            Event::Cancel { build, actor } => self.cancel(now, build, &actor, &mut out),
            Event::Pause(on) => self.pause(now, on, &mut out),
            Event::Record { new, end, took_ms, older } => self.record(now, new, end, took_ms, &older, &mut out),
            Event::Tick => {}
        }
        self.overdue(now, &mut out);
        out
    }

    fn note(&mut self, out: &mut Effects, now: i64, build: BuildId, attempt: Option<AttemptId>, actor: &str, text: impl Into<String>) {
        self.next_history += 1;
        out.rows.push(rows::history(self.next_history, now, build.0, attempt.map(|a| a.0), actor, text.into()));
    }

    fn changed(out: &mut Effects, build: &Build, state: BuildState) {
        let new = &build.new;
        out.changes.push(Change::Build {
            build: build.id,
            repo: new.repo.clone(),
            branch: new.branch.clone(),
            hash: new.hash.clone(),
            builder: new.builder.clone(),
            state,
        });
    }

    fn queue(&mut self, host_type: &str) -> &mut Queue {
        if !self.queues.contains_key(host_type) {
            self.queues.insert(host_type.to_owned(), Queue::default());
        }
        self.queues.get_mut(host_type).unwrap_or_else(|| unreachable!("just inserted"))
    }

    fn submit(&mut self, now: i64, new: NewBuild, out: &mut Effects) -> BuildId {
        let cell = (new.repo.clone(), new.hash.clone(), new.builder.clone());
        if let Some(&open) = self.cells.get(&cell) {
            self.hasten(open, &new);
            return open;
        }
        self.next_build += 1;
        let id = BuildId(self.next_build);
        let host_type = new.host_type.clone();
        let build = Build {
            id,
            new: Arc::new(new),
            created_ms: now,
            started_ms: None,
            phase: Phase::Waiting,
            attempts: 0,
            infra_failures: 0,
            last_failure: String::new(),
            aged: false,
        };
        out.rows.push(rows::build_created(&build));
        let text = if build.new.reason.is_empty() { "The build was asked for.".to_owned() } else { format!("The build was asked for: {}.", build.new.reason) };
        let actor = build.new.actor.clone();
        self.note(out, now, id, None, &actor, text);
        Self::changed(out, &build, BuildState::Queued);
        self.cells.insert(cell, id);
        self.enqueue(&build);
        self.builds.insert(id, build);
        self.assign(now, &host_type, out);
        id
    }

    /// Somebody in more of a hurry asked for an open build: it takes over the hurry.
    fn hasten(&mut self, open: BuildId, new: &NewBuild) {
        let Some(mut build) = self.builds.remove(&open) else { return };
        if new.class < build.new.class && build.phase == Phase::Waiting {
            self.dequeue(&build);
            let mut fresh = (*build.new).clone();
            fresh.class = new.class;
            build.new = Arc::new(fresh);
            self.enqueue(&build);
        }
        self.builds.insert(open, build);
    }

    /// Puts a waiting build into its queue; batch builds are marked to grow older.
    pub(crate) fn enqueue(&mut self, build: &Build) {
        let rank = Rank::of(build, Item::Build(build.id));
        self.queue(&build.new.host_type).waiting.insert(rank);
        if !build.aged && build.new.class == burrow_results::model::Class::Batch {
            self.due.insert((build.created_ms.saturating_add(self.policy.ageing_ms), Due::Age(build.id)));
        }
    }

    fn dequeue(&mut self, build: &Build) {
        let rank = Rank::of(build, Item::Build(build.id));
        self.queue(&build.new.host_type).waiting.remove(&rank);
        self.due.remove(&(build.created_ms.saturating_add(self.policy.ageing_ms), Due::Age(build.id)));
    }

    /// Gives idle workers of a kind to what waits for them, best first.
    fn assign(&mut self, now: i64, host_type: &str, out: &mut Effects) {
        if self.paused {
            return;
        }
        while let Some(queue) = self.queues.get_mut(host_type) {
            let (Some(rank), false) = (queue.waiting.first().copied(), queue.idle.is_empty()) else { return };
            queue.waiting.remove(&rank);
            match rank.item() {
                Item::Build(id) => {
                    let Some(mut build) = self.builds.remove(&id) else { continue };
                    self.due.remove(&(build.created_ms.saturating_add(self.policy.ageing_ms), Due::Age(id)));
                    if let Some(worker) = self.take_idle(host_type, &build.new.repo) {
                        self.start(now, &mut build, &worker, out);
                    }
                    self.builds.insert(id, build);
                }
                Item::Helper(id, number) => {
                    let Some(repo) = self.attempts.get(&id).and_then(|a| self.builds.get(&a.build)).map(|b| b.new.repo.clone()) else { continue };
                    let Some(name) = self.take_idle(host_type, &repo) else { return };
                    let (Some(attempt), Some(worker)) = (self.attempts.get_mut(&id), self.workers.get_mut(&name)) else { return };
                    attempt.helpers.insert(number, Helper::Held { worker: name.clone() });
                    worker.job = Job::Helper(id, number);
                    worker.since_ms = now;
                    worker.last_repo = repo;
                    out.rows.push(rows::helper(attempt, number, "held", &name, &worker.instance));
                    out.actions.push(Action::Helper { attempt: id, number, worker: name });
                    out.changes.push(Change::Machines);
                }
            }
        }
    }

    /// An idle worker, preferably one that still has the repository's source tree.
    fn take_idle(&mut self, host_type: &str, repo: &str) -> Option<String> {
        let idle = &mut self.queues.get_mut(host_type)?.idle;
        let from = (repo.to_owned(), String::new());
        let chosen = idle.range(from..).next().filter(|(last, _)| last == repo).or_else(|| idle.first()).cloned()?;
        idle.remove(&chosen);
        Some(chosen.1)
    }

    fn start(&mut self, now: i64, build: &mut Build, worker: &str, out: &mut Effects) {
        let Some(worker) = self.workers.get_mut(worker) else { return };
        self.next_attempt += 1;
        build.attempts += 1;
        let attempt = Attempt {
            id: AttemptId(self.next_attempt),
            build: build.id,
            number: build.attempts,
            worker: worker.id.clone(),
            instance: worker.instance.clone(),
            assigned_ms: now,
            began_ms: None,
            helpers: Default::default(),
            cancelled_by: None,
            adopt: false,
        };
        worker.job = Job::Main(attempt.id);
        worker.since_ms = now;
        worker.last_repo.clone_from(&build.new.repo);
        build.phase = Phase::Running(attempt.id);
        build.started_ms.get_or_insert(now);
        out.rows.push(rows::attempt_assigned(&attempt, worker));
        out.rows.push(rows::build_state(build, BuildState::Running));
        let text = format!("Attempt {} was given to worker {} ({}).", attempt.number, worker.id, worker.host_type);
        out.actions.push(Action::Start(Assignment {
            build: build.id,
            attempt: attempt.id,
            number: attempt.number,
            new: Arc::clone(&build.new),
            worker: worker.id.clone(),
            resume: false,
        }));
        Self::changed(out, build, BuildState::Running);
        out.changes.push(Change::Machines);
        self.note(out, now, build.id, Some(attempt.id), "scheduler", text);
        self.attempts.insert(attempt.id, attempt);
    }

    fn up(&mut self, now: i64, mut worker: Worker, out: &mut Effects) {
        out.changes.push(Change::Machines);
        if let Some(old) = self.workers.get(&worker.id) {
            if old.instance == worker.instance {
                let known = old.expected_until_ms.is_some();
                return self.recognised(now, &worker, known, out);
            }
            let (id, instance) = (old.id.clone(), old.instance.clone());
            self.lost(now, &id, &instance, "the worker was started anew", out);
        }
        worker.job = Job::Idle;
        worker.since_ms = now;
        worker.connected_ms = now;
        worker.expected_until_ms = None;
        let host_type = worker.host_type.clone();
        let queue = self.queue(&host_type);
        if !worker.draining {
            queue.connected += 1;
            queue.idle.insert((worker.last_repo.clone(), worker.id.clone()));
        }
        self.workers.insert(worker.id.clone(), worker);
        self.assign(now, &host_type, out);
    }

    /// A worker that was awaited since before a restart (or merely announced twice) is there: what it ran goes on.
    fn recognised(&mut self, now: i64, fresh: &Worker, awaited: bool, out: &mut Effects) {
        let Some(worker) = self.workers.get_mut(&fresh.id) else { return };
        worker.hostname.clone_from(&fresh.hostname);
        worker.address.clone_from(&fresh.address);
        worker.version = fresh.version;
        worker.connected_ms = now;
        worker.modern = fresh.modern;
        if !awaited {
            return;
        }
        if let Some(until) = worker.expected_until_ms.take() {
            self.due.remove(&(until, Due::Expire(fresh.id.clone())));
        }
        worker.since_ms = now;
        let host_type = worker.host_type.clone();
        match worker.job.clone() {
            Job::Main(id) => {
                if !worker.draining {
                    self.queue(&host_type).connected += 1;
                }
                let Some(attempt) = self.attempts.get_mut(&id) else { return };
                attempt.adopt = false;
                let (build, number) = (attempt.build, attempt.number);
                let Some(new) = self.builds.get(&build).map(|b| Arc::clone(&b.new)) else { return };
                self.note(out, now, build, Some(id), "scheduler", format!("The coordinator was restarted; worker {} is still at it.", fresh.id));
                out.actions.push(Action::Start(Assignment { build, attempt: id, number, new, worker: fresh.id.clone(), resume: true }));
            }
            // Helpers of before are not resumed: the main worker takes their shards again, and they become free.
            Job::Helper(..) | Job::Idle | Job::Spent => {
                worker.job = Job::Idle;
                if !worker.draining {
                    let idle = (worker.last_repo.clone(), worker.id.clone());
                    let queue = self.queue(&host_type);
                    queue.connected += 1;
                    queue.idle.insert(idle);
                }
                self.assign(now, &host_type, out);
            }
        }
    }

    fn lost(&mut self, now: i64, id: &str, instance: &str, reason: &str, out: &mut Effects) {
        if self.workers.get(id).is_none_or(|w| w.instance != instance) {
            return;
        }
        let Some(worker) = self.workers.remove(id) else { return };
        out.changes.push(Change::Machines);
        if let Some(until) = worker.expected_until_ms {
            self.due.remove(&(until, Due::Expire(id.to_owned())));
        }
        let queue = self.queue(&worker.host_type);
        queue.idle.remove(&(worker.last_repo.clone(), worker.id.clone()));
        if !worker.draining && worker.expected_until_ms.is_none() {
            queue.connected = queue.connected.saturating_sub(1);
        }
        match worker.job {
            Job::Main(attempt) => {
                let end =
                    End { state: AttemptState::InfraFailed, flaky: false, log_hash: None, log_bytes: 0, message: format!("worker {id} was lost: {reason}") };
                out.actions.push(Action::Stop { attempt, lost: true });
                self.close(now, attempt, end, out);
            }
            Job::Helper(attempt, number) => {
                if let Some(attempt) = self.attempts.get_mut(&attempt) {
                    attempt.helpers.remove(&number);
                    out.rows.push(rows::helper(attempt, number, "lost", id, instance));
                }
                out.actions.push(Action::HelperLost { attempt, number });
            }
            Job::Idle | Job::Spent => {}
        }
    }

    fn drain(&mut self, now: i64, id: &str, on: bool, out: &mut Effects) {
        out.rows.push(rows::machine_draining(id, on));
        out.changes.push(Change::Machines);
        let Some(worker) = self.workers.get_mut(id) else { return };
        if worker.draining == on {
            return;
        }
        worker.draining = on;
        let (host_type, idle, connected) = (worker.host_type.clone(), worker.job == Job::Idle, worker.expected_until_ms.is_none());
        let entry = (worker.last_repo.clone(), worker.id.clone());
        let queue = self.queue(&host_type);
        if connected {
            queue.connected = if on { queue.connected.saturating_sub(1) } else { queue.connected + 1 };
        }
        if on {
            queue.idle.remove(&entry);
        } else if idle && connected {
            queue.idle.insert(entry);
            self.assign(now, &host_type, out);
        }
    }

    fn began(&mut self, now: i64, id: AttemptId, out: &mut Effects) {
        let Some(attempt) = self.attempts.get_mut(&id) else { return };
        if attempt.began_ms.is_none() {
            attempt.began_ms = Some(now);
            out.rows.push(rows::attempt_began(attempt));
        }
    }

    fn want_helpers(&mut self, id: AttemptId, count: u32, out: &mut Effects) {
        let Some(attempt) = self.attempts.get_mut(&id) else { return };
        let Some(build) = self.builds.get(&attempt.build) else { return };
        let host_type = build.new.host_type.clone();
        let mut ranks = Vec::new();
        for number in 1..=count {
            if let std::collections::btree_map::Entry::Vacant(slot) = attempt.helpers.entry(number) {
                slot.insert(Helper::Waiting);
                ranks.push(Rank::of(build, Item::Helper(id, number)));
            }
        }
        let now = attempt.assigned_ms;
        self.queue(&host_type).waiting.extend(ranks);
        self.assign(now, &host_type, out);
    }

    fn helper_free(&mut self, now: i64, id: AttemptId, number: u32, out: &mut Effects) {
        let Some(attempt) = self.attempts.get_mut(&id) else { return };
        match attempt.helpers.remove(&number) {
            Some(Helper::Held { worker }) => {
                out.rows.push(rows::helper(attempt, number, "returned", &worker, ""));
                self.vacate(now, &worker, out);
            }
            Some(Helper::Waiting) => {
                let Some(build) = self.builds.get(&attempt.build) else { return };
                let (rank, host_type) = (Rank::of(build, Item::Helper(id, number)), build.new.host_type.clone());
                self.queue(&host_type).waiting.remove(&rank);
            }
            None => {}
        }
    }

    /// A worker has done its job and may have the next one.
    fn vacate(&mut self, now: i64, name: &str, out: &mut Effects) {
        let Some(worker) = self.workers.get_mut(name) else { return };
        out.changes.push(Change::Machines);
        worker.since_ms = now;
        if !worker.modern {
            worker.job = Job::Spent;
            out.actions.push(Action::Release(name.to_owned()));
            return;
        }
        worker.job = Job::Idle;
        if !worker.draining {
            let (host_type, entry) = (worker.host_type.clone(), (worker.last_repo.clone(), worker.id.clone()));
            self.queue(&host_type).idle.insert(entry);
            self.assign(now, &host_type, out);
        }
    }

    /// The runner reports an end.
    fn ended(&mut self, now: i64, id: AttemptId, end: End, out: &mut Effects) {
        let Some(worker) = self.attempts.get(&id).map(|a| a.worker.clone()) else { return };
        self.close(now, id, end, out);
        self.vacate(now, &worker, out);
    }

    /// Ends an attempt and decides what becomes of its build. The worker is not touched.
    fn close(&mut self, now: i64, id: AttemptId, mut end: End, out: &mut Effects) {
        let Some(attempt) = self.attempts.remove(&id) else { return };
        if let Some(actor) = &attempt.cancelled_by {
            end.state = AttemptState::Cancelled;
            end.message = format!("cancelled by {actor}");
        }
        out.rows.push(rows::attempt_ended(&attempt, &end, now));
        out.rows.push(rows::steps_lost(&attempt, now));
        let Some(mut build) = self.builds.remove(&attempt.build) else { return };
        for (number, helper) in &attempt.helpers {
            match helper {
                Helper::Waiting => {
                    let rank = Rank::of(&build, Item::Helper(id, *number));
                    self.queue(&build.new.host_type).waiting.remove(&rank);
                }
                Helper::Held { worker } => self.vacate(now, worker, out),
            }
        }
        let state = build_state_of(end.state);
        if end.state == AttemptState::InfraFailed {
            build.infra_failures += 1;
            build.last_failure.clone_from(&end.message);
        }
        if end.state == AttemptState::InfraFailed && build.infra_failures < self.policy.max_infra_failures {
            let pause = self.policy.backoff_ms.get(build.infra_failures as usize - 1).or(self.policy.backoff_ms.last()).copied().unwrap_or(0);
            build.phase = if pause > 0 { Phase::Backoff { until_ms: now + pause } } else { Phase::Waiting };
            out.rows.push(rows::build_state(&build, BuildState::Queued));
            let text = format!("Attempt {} failed by infrastructure: {}. Another one follows.", attempt.number, end.message);
            self.note(out, now, build.id, Some(id), "scheduler", text);
            Self::changed(out, &build, BuildState::Queued);
            match build.phase {
                Phase::Backoff { until_ms } => {
                    self.due.insert((until_ms, Due::Requeue(build.id)));
                }
                _ => self.enqueue(&build),
            }
            let host_type = build.new.host_type.clone();
            self.builds.insert(build.id, build);
            self.assign(now, &host_type, out);
            return;
        }
        if end.state == AttemptState::Passed {
            let ms = (now - attempt.assigned_ms) as f64;
            self.durations.entry(build.new.builder.clone()).and_modify(|d| *d += (ms - *d) * 0.25).or_insert(ms);
        }
        let text = match end.message.as_str() {
            "" => format!("Attempt {} ended: {}.", attempt.number, state.word().replace('_', " ")),
            message => format!("Attempt {} ended: {}: {message}.", attempt.number, state.word().replace('_', " ")),
        };
        self.note(out, now, build.id, Some(id), "worker", text);
        self.finish(now, build, Verdict { state, flaky: end.flaky, log: end.log_hash, cancelled_by: attempt.cancelled_by.as_deref() }, out);
    }

    fn finish(&mut self, now: i64, build: Build, verdict: Verdict<'_>, out: &mut Effects) {
        let Verdict { state, flaky, log, cancelled_by } = verdict;
        out.rows.push(rows::build_ended(&build, state, now, flaky, log, cancelled_by));
        Self::changed(out, &build, state);
        self.cells.remove(&(build.new.repo.clone(), build.new.hash.clone(), build.new.builder.clone()));
    }

    fn cancel(&mut self, now: i64, id: BuildId, actor: &str, out: &mut Effects) {
        let Some(build) = self.builds.get(&id) else {
            out.refused = Some(format!("build {id} is not waiting or running, so there is nothing to cancel"));
            return;
        };
        match build.phase {
            Phase::Running(attempt_id) => {
                let Some(attempt) = self.attempts.get_mut(&attempt_id) else { return };
                attempt.cancelled_by = Some(actor.to_owned());
                self.note(out, now, id, Some(attempt_id), actor, "Cancelling was asked for.");
                out.actions.push(Action::Stop { attempt: attempt_id, lost: false });
            }
            Phase::Waiting | Phase::Backoff { .. } => {
                let Some(build) = self.builds.remove(&id) else { return };
                self.dequeue(&build);
                if let Phase::Backoff { until_ms } = build.phase {
                    self.due.remove(&(until_ms, Due::Requeue(id)));
                }
                self.note(out, now, id, None, actor, "Cancelled while it waited.");
                self.finish(now, build, Verdict { state: BuildState::Cancelled, flaky: false, log: None, cancelled_by: Some(actor) }, out);
            }
        }
    }

    fn pause(&mut self, now: i64, on: bool, out: &mut Effects) {
        self.paused = on;
        let kinds: Vec<String> = self.queues.keys().cloned().collect();
        for kind in kinds {
            self.assign(now, &kind, out);
        }
    }

    fn record(&mut self, now: i64, new: NewBuild, end: End, took_ms: i64, older: &[BuildId], out: &mut Effects) {
        self.next_build += 1;
        self.next_attempt += 1;
        let build = Build {
            id: BuildId(self.next_build),
            new: Arc::new(new),
            created_ms: now - took_ms,
            started_ms: Some(now - took_ms),
            phase: Phase::Running(AttemptId(self.next_attempt)),
            attempts: 1,
            infra_failures: 0,
            last_failure: String::new(),
            aged: false,
        };
        let attempt = Attempt {
            id: AttemptId(self.next_attempt),
            build: build.id,
            number: 1,
            worker: String::new(),
            instance: String::new(),
            assigned_ms: now - took_ms,
            began_ms: Some(now - took_ms),
            helpers: Default::default(),
            cancelled_by: None,
            adopt: false,
        };
        let state = build_state_of(end.state);
        out.rows.extend(older.iter().map(|id| rows::build_superseded(*id)));
        out.rows.push(rows::build_created(&build));
        out.rows.push(rows::attempt_recorded(&attempt));
        out.rows.push(rows::build_state(&build, state));
        out.rows.push(rows::attempt_ended(&attempt, &end, now));
        out.rows.push(rows::build_ended(&build, state, now, false, end.log_hash, None));
        let actor = build.new.actor.clone();
        self.note(out, now, build.id, Some(attempt.id), &actor, "The result was made elsewhere and posted.");
        Self::changed(out, &build, state);
        out.builds.push(build.id);
    }

    fn overdue(&mut self, now: i64, out: &mut Effects) {
        while let Some((at, _)) = self.due.first() {
            if *at > now {
                return;
            }
            let Some((_, due)) = self.due.pop_first() else { return };
            match due {
                Due::Requeue(id) => {
                    let Some(mut build) = self.builds.remove(&id) else { continue };
                    build.phase = Phase::Waiting;
                    self.enqueue(&build);
                    let host_type = build.new.host_type.clone();
                    self.builds.insert(id, build);
                    self.assign(now, &host_type, out);
                }
                Due::Age(id) => {
                    let Some(mut build) = self.builds.remove(&id) else { continue };
                    if build.phase == Phase::Waiting {
                        self.dequeue(&build);
                        build.aged = true;
                        self.enqueue(&build);
                        self.note(out, now, id, None, "scheduler", "Waited long: moved ahead of newer commits.");
                    }
                    build.aged = true;
                    self.builds.insert(id, build);
                }
                Due::Expire(id) => {
                    let Some(instance) = self.workers.get(&id).map(|w| w.instance.clone()) else { continue };
                    self.lost(now, &id, &instance, "it did not come back after the coordinator was restarted", out);
                }
            }
        }
    }
}

/// How a build ended.
struct Verdict<'a> {
    state: BuildState,
    flaky: bool,
    log: Option<String>,
    cancelled_by: Option<&'a str>,
}

fn build_state_of(state: AttemptState) -> BuildState {
    match state {
        AttemptState::Assigned | AttemptState::Running => BuildState::Running,
        AttemptState::Passed => BuildState::Passed,
        AttemptState::FailedTest => BuildState::FailedTest,
        AttemptState::FailedBuild => BuildState::FailedBuild,
        AttemptState::TimedOut => BuildState::TimedOut,
        AttemptState::InfraFailed => BuildState::InfraFailed,
        AttemptState::Cancelled => BuildState::Cancelled,
        AttemptState::SkippedMissingDep => BuildState::SkippedMissingDep,
    }
}
