//! The pure step: what happens next, given what happened. It reads no clock, does nothing, and cannot fail.

use std::collections::BTreeMap;

use crate::model::{Action, Dest, Diverged, Effects, Event, Hold, Job, Limits, Looked, Phase, PushRound, Quarantined, Repo, Spec, State};
use crate::refs::Change;
use crate::store;

/// First pause after a failure.
const FIRST_PAUSE_MS: i64 = 5_000;
/// Longest pause after failures.
const LONGEST_PAUSE_MS: i64 = 15 * 60_000;
/// First pause before a refused reference is tried again.
const QUARANTINE_MS: i64 = 60_000;
/// Longest such pause.
const LONGEST_QUARANTINE_MS: i64 = 24 * 3_600_000;

impl State {
    /// Without repositories. `seed` spreads the retries.
    pub fn new(limits: Limits, seed: u64) -> State {
        State { repos: BTreeMap::new(), limits, round: 0, random: seed | 1, remembered: BTreeMap::new() }
    }

    /// Takes one event in.
    pub fn step(&mut self, now: i64, event: Event) -> Effects {
        let mut effects = Effects::default();
        match event {
            Event::Tick => {}
            Event::Configured(specs, limits) => self.configure(now, specs, limits, &mut effects),
            Event::Wake { repo, why } => {
                if let Some(repo) = self.repos.get_mut(&repo) {
                    repo.say(now, why);
                    wake(&mut repo.job, now);
                }
            }
            Event::Say { repo, text } => {
                if let Some(repo) = self.repos.get_mut(&repo) {
                    repo.say(now, text);
                }
            }
            Event::Looked { repo, how } => self.looked(now, repo, how, &mut effects),
            Event::Planned { repo, dest, changes } => {
                self.round += 1;
                effects.round = self.round;
                effects.rows.extend(changes.iter().map(|change| store::planned(self.round, &repo, &dest, change, now)));
            }
            Event::Pushed { repo, dest, round } => self.pushed(now, &repo, &dest, round, &mut effects),
            Event::Confirm { repo } => self.confirm(now, &repo, &mut effects),
            Event::Undo { repo, dest, changes } => self.undo(now, &repo, &dest, changes, &mut effects),
            Event::Release { repo, dest } => {
                if let Some(dest_state) = self.repos.get_mut(&repo).and_then(|r| r.dests.get_mut(&dest)) {
                    dest_state.pins.clear();
                    wake(&mut dest_state.job, now);
                    effects.rows.push(store::no_pins(&repo, &dest));
                }
            }
        }
        self.watch(now, &mut effects);
        self.start_due(now, &mut effects);
        effects
    }

    /// When something is due without any event.
    pub fn next_due_ms(&self) -> Option<i64> {
        let stuck = self.limits.stuck_ms;
        let jobs = self.repos.values().flat_map(|repo| std::iter::once(&repo.job).chain(repo.dests.values().map(|dest| &dest.job)));
        jobs.filter_map(|job| match job.phase {
            Phase::Idle { at } => Some(at),
            // It starts when another ends, which is an event.
            Phase::Queued { .. } => None,
            Phase::Running { since, killed: false, .. } => Some(since + stuck),
            Phase::Running { .. } => None,
        })
        .min()
        .filter(|at| *at < i64::MAX)
    }

    fn configure(&mut self, now: i64, specs: Vec<Spec>, limits: Limits, effects: &mut Effects) {
        self.limits = limits;
        let wanted: BTreeMap<String, Spec> = specs.into_iter().map(|spec| (spec.name.clone(), spec)).collect();
        let gone: Vec<String> = self.repos.keys().filter(|name| !wanted.contains_key(*name)).cloned().collect();
        for name in gone {
            if let Some(repo) = self.repos.remove(&name) {
                kill_all(&name, &repo, effects);
                self.remembered.insert(name, repo);
            }
        }
        for (name, spec) in wanted {
            if !self.repos.contains_key(&name) {
                let mut repo = self.remembered.remove(&name).unwrap_or_else(|| Repo::new(now));
                repo.started_ms = now;
                repo.job.phase = Phase::Queued { since: now };
                repo.say(now, "taken up");
                self.repos.insert(name.clone(), repo);
            }
            let Some(repo) = self.repos.get_mut(&name) else { continue };
            repo.poll_ms = spec.poll_ms;
            let gone: Vec<String> = repo.dests.keys().filter(|dest| !spec.dests.contains(dest)).cloned().collect();
            for dest in gone {
                if repo.dests.remove(&dest).is_some_and(|dest| dest.job.is_running()) {
                    effects.actions.push(Action::KillPush { repo: name.clone(), dest });
                }
            }
            for dest in spec.dests {
                // What was going on when the process ended does not go on now; it is due after the first look.
                let fresh = repo.dests.entry(dest).or_insert_with(|| Dest::new(now));
                if !fresh.job.is_running() && repo.job.good_ms.is_some() && repo.job.rounds > 0 && fresh.job.rounds == 0 {
                    fresh.job.phase = Phase::Queued { since: now };
                }
            }
        }
    }

    fn looked(&mut self, now: i64, name: String, how: Looked, effects: &mut Effects) {
        let pause = self.pause_after_failure(&name);
        let spread = self.random_below(1_000) as i64;
        let Some(repo) = self.repos.get_mut(&name) else { return };
        let Looked { changes, refs, hold, failed: failure } = how;
        let mut write = !changes.is_empty();
        match failure {
            Some(error) => {
                repo.say(now, format!("git fetch failed: {error}"));
                failed(&mut repo.job, now, error, pause);
                write = true;
            }
            None => {
                let poll = repo.poll_ms;
                write |= repo.job.failures > 0 || repo.job.good_ms.is_none();
                // Polls of many repositories drift apart by up to a tenth.
                succeeded(&mut repo.job, now, now + poll + poll / 10 * spread / 1_000);
                repo.refs = refs;
                let held_before = repo.hold.take();
                repo.hold = hold.map(|names| {
                    let since_ms = held_before.as_ref().filter(|h| h.names == names).map_or(now, |h| h.since_ms);
                    Hold { names, of: refs, since_ms }
                });
                write |= repo.hold != held_before;
                if let Some(hold) = repo.hold.as_ref().filter(|hold| held_before.as_ref().is_none_or(|h| h.names != hold.names)) {
                    let text = format!("{} of {} references are gone upstream; they are kept until that is confirmed", hold.names.len(), hold.of);
                    repo.say(now, text);
                } else if repo.hold.is_none() {
                    repo.confirmed.clear();
                }
            }
        }
        if !changes.is_empty() {
            repo.fetches += 1;
            repo.changed_ms = Some(now);
            repo.say(now, format!("ran git fetch: {} references changed", changes.len()));
        }
        let have_something = repo.job.good_ms.is_some() || !changes.is_empty();
        for dest in repo.dests.values_mut() {
            for change in &changes {
                dest.behind.entry(change.name.clone()).or_insert(now);
            }
            let never = dest.job.rounds == 0 && have_something;
            if (!changes.is_empty() && dest.job.failures == 0) || never {
                wake(&mut dest.job, now);
            }
        }
        if changes.is_empty() && repo.job.failures == 0 {
            repo.say_once(now, "waiting");
        }
        if write {
            effects.rows.push(store::repo(&name, repo));
        }
        if !changes.is_empty() {
            effects.actions.push(Action::Tell { repo: name, changes });
        }
    }

    fn pushed(&mut self, now: i64, name: &str, dest_name: &str, round: PushRound, effects: &mut Effects) {
        let compare = self.limits.compare_ms;
        let spread = self.random_below(1_000) as i64;
        let pause = self.repos.get(name).and_then(|r| r.dests.get(dest_name)).map_or(0, |dest| dest.job.failures);
        let pause = self.pause(pause);
        let Some(repo) = self.repos.get_mut(name) else { return };
        let Some(dest) = repo.dests.get_mut(dest_name) else { return };
        let rows = &mut effects.rows;
        let lag = round.done.iter().filter_map(|change| dest.behind.get(&change.name)).map(|since| now - since).max();
        dest.last_lag_ms = lag.or(dest.last_lag_ms);
        dest.pushed += round.done.len() as u64;
        for change in &round.done {
            rows.push(store::finished(name, dest_name, change, "done"));
            rows.push(store::there(name, dest_name, &change.name, change.new));
            dest.quarantine.remove(&change.name).into_iter().for_each(|_| rows.push(store::no_quarantine(name, dest_name, &change.name)));
        }
        for (change, reason) in &round.refused {
            rows.push(store::finished(name, dest_name, change, "refused"));
            let known = dest.quarantine.get(&change.name).filter(|known| known.value == change.new);
            let tries = known.map_or(0, |known| known.tries).saturating_add(1);
            let next_ms = now + QUARANTINE_MS.saturating_mul(1 << tries.saturating_sub(1).min(11)).min(LONGEST_QUARANTINE_MS);
            let since_ms = known.map_or(now, |known| known.since_ms);
            let entry = Quarantined { value: change.new, reason: reason.clone(), tries, next_ms, since_ms };
            rows.push(store::quarantine(name, dest_name, &change.name, &entry));
            dest.quarantine.insert(change.name.clone(), entry);
        }
        for released in &round.released {
            dest.pins.remove(released);
            rows.push(store::no_pin(name, dest_name, released));
        }
        let mut text = format!("did sync to {dest_name}: {} references", round.done.len());
        if round.failed.is_none() {
            let still: Vec<&String> = round
                .refused
                .iter()
                .map(|(change, _)| &change.name)
                .chain(&round.undecided)
                .chain(&round.waiting)
                .chain(round.diverged.iter().map(|c| &c.name))
                .collect();
            // What was seen while this round ran may not have been part of it; the next one knows.
            let began = if let Phase::Running { since, .. } = dest.job.phase { since } else { now };
            let mut behind: BTreeMap<String, i64> =
                dest.behind.iter().filter(|(_, since)| **since > began).map(|(name, since)| (name.clone(), *since)).collect();
            behind.extend(still.into_iter().map(|name| (name.clone(), dest.behind.get(name).copied().unwrap_or(now))));
            dest.behind = behind;
            let tried: Vec<String> = dest.quarantine.keys().filter(|name| !dest.behind.contains_key(*name)).cloned().collect();
            for gone in tried {
                // Neither refused again nor waiting: it is right there by now, or not wanted any more.
                dest.quarantine.remove(&gone);
                rows.push(store::no_quarantine(name, dest_name, &gone));
            }
            let before = std::mem::take(&mut dest.diverged);
            for change in round.diverged {
                let since_ms = before.get(&change.name).map_or(now, |known| known.since_ms);
                dest.diverged.insert(change.name, Diverged { there: change.old, wanted: change.new, since_ms });
            }
            let held_before = dest.hold.take();
            dest.hold = round.hold.map(|(names, of)| {
                let since_ms = held_before.as_ref().filter(|h| h.names == names).map_or(now, |h| h.since_ms);
                Hold { names, of, since_ms }
            });
            if dest.hold.is_none() {
                dest.confirmed.clear();
            }
            dest.refs = round.refs;
            if round.compared {
                dest.compared_ms = Some(now);
            }
            let mut next = dest.compared_ms.unwrap_or(now) + compare + compare / 10 * spread / 1_000;
            next = dest.quarantine.values().map(|q| q.next_ms).fold(next, i64::min).max(now + 1_000);
            if !round.refused.is_empty() || !dest.diverged.is_empty() || dest.hold.is_some() {
                text = format!(
                    "{text}; {} refused, {} diverged, {} deletions held",
                    dest.quarantine.len(),
                    dest.diverged.len(),
                    dest.hold.as_ref().map_or(0, |h| h.names.len())
                );
            }
            let undecided = round.undecided.len();
            if undecided > 0 {
                failed(&mut dest.job, now, format!("{undecided} references are still to be pushed"), pause);
            } else {
                succeeded(&mut dest.job, now, next);
            }
        } else if let Some(error) = round.failed {
            text = format!("sync to {dest_name} failed: {error}");
            failed(&mut dest.job, now, error, pause);
        }
        rows.push(store::dest(name, dest_name, dest));
        repo.say(now, text);
        repo.say_once(now, "waiting");
    }

    fn confirm(&mut self, now: i64, name: &str, effects: &mut Effects) {
        let Some(repo) = self.repos.get_mut(name) else { return };
        if let Some(hold) = &repo.hold {
            repo.confirmed = hold.names.clone();
            wake(&mut repo.job, now);
        }
        for dest in repo.dests.values_mut() {
            if let Some(hold) = &dest.hold {
                dest.confirmed = hold.names.clone();
                wake(&mut dest.job, now);
            }
        }
        repo.say(now, "deletions confirmed");
        effects.rows.push(store::repo(name, repo));
        effects.rows.extend(repo.dests.iter().map(|(dest_name, dest)| store::dest(name, dest_name, dest)));
    }

    fn undo(&mut self, now: i64, name: &str, dest_name: &str, changes: Vec<Change>, effects: &mut Effects) {
        let Some(repo) = self.repos.get_mut(name) else { return };
        let Some(dest) = repo.dests.get_mut(dest_name) else { return };
        for change in &changes {
            let pin = crate::model::Pin { rejected: change.new, value: change.old };
            effects.rows.push(store::pin(name, dest_name, &change.name, &pin));
            dest.pins.insert(change.name.clone(), pin);
        }
        wake(&mut dest.job, now);
        repo.say(now, format!("undo at {dest_name}: {} references", changes.len()));
    }

    /// Kills what has run for too long.
    fn watch(&mut self, now: i64, effects: &mut Effects) {
        let limit = self.limits.stuck_ms;
        for (name, repo) in &mut self.repos {
            if stuck(&mut repo.job, now, limit) {
                effects.actions.push(Action::KillLook { repo: name.clone() });
                repo.say(now, "the look is stuck and was killed");
            }
            let mut killed = Vec::new();
            for (dest_name, dest) in &mut repo.dests {
                if stuck(&mut dest.job, now, limit) {
                    effects.actions.push(Action::KillPush { repo: name.clone(), dest: dest_name.clone() });
                    killed.push(dest_name.clone());
                }
            }
            for dest in killed {
                repo.say(now, format!("the push to {dest} is stuck and was killed"));
            }
        }
    }

    /// Queues what is due and starts what has a place, the longest waiting first.
    fn start_due(&mut self, now: i64, effects: &mut Effects) {
        let (mut looking, mut pushing) = (0, 0);
        let mut looks: Vec<(i64, String)> = Vec::new();
        let mut pushes: Vec<(i64, String, String)> = Vec::new();
        for (name, repo) in &mut self.repos {
            due(&mut repo.job, now);
            match repo.job.phase {
                Phase::Queued { since } => looks.push((since, name.clone())),
                Phase::Running { .. } => looking += 1,
                Phase::Idle { .. } => {}
            }
            for (dest_name, dest) in &mut repo.dests {
                due(&mut dest.job, now);
                match dest.job.phase {
                    Phase::Queued { since } => pushes.push((since, name.clone(), dest_name.clone())),
                    Phase::Running { .. } => pushing += 1,
                    Phase::Idle { .. } => {}
                }
            }
        }
        looks.sort();
        pushes.sort();
        for (_, name) in looks.into_iter().take(self.limits.looks.saturating_sub(looking)) {
            if let Some(repo) = self.repos.get_mut(&name) {
                begin(&mut repo.job, now);
                effects.actions.push(Action::Look { repo: name });
            }
        }
        for (_, name, dest_name) in pushes.into_iter().take(self.limits.pushes.saturating_sub(pushing)) {
            if let Some(dest) = self.repos.get_mut(&name).and_then(|repo| repo.dests.get_mut(&dest_name)) {
                begin(&mut dest.job, now);
                let compare = dest.compared_ms.is_none_or(|at| at + self.limits.compare_ms <= now) || dest.job.failures > 0 || !dest.diverged.is_empty();
                effects.actions.push(Action::Push { repo: name, dest: dest_name, compare });
            }
        }
    }

    fn pause_after_failure(&mut self, name: &str) -> i64 {
        let failures = self.repos.get(name).map_or(0, |repo| repo.job.failures);
        self.pause(failures)
    }

    /// Doubling pauses, each between half and the whole of its length so that many that failed together do not come back together.
    fn pause(&mut self, failures: u32) -> i64 {
        let whole = FIRST_PAUSE_MS.saturating_mul(1 << failures.min(10)).min(LONGEST_PAUSE_MS);
        whole / 2 + self.random_below(whole as u64 / 2) as i64
    }

    /// xorshift64: good enough to spread retries, and the same in every run of a simulation.
    fn random_below(&mut self, limit: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % limit.max(1)
    }
}

impl Repo {
    /// Nothing is known of it yet.
    pub fn new(now: i64) -> Repo {
        Repo {
            poll_ms: 60_000,
            job: Job::new(now),
            started_ms: now,
            refs: 0,
            changed_ms: None,
            hold: None,
            confirmed: Vec::new(),
            fetches: 0,
            dests: BTreeMap::new(),
            log: Default::default(),
        }
    }

    /// Notes a line unless it is the newest already.
    fn say_once(&mut self, now: i64, text: &str) {
        if self.log.back().is_none_or(|(_, last)| last != text) {
            self.say(now, text);
        }
    }
}

fn kill_all(name: &str, repo: &Repo, effects: &mut Effects) {
    if repo.job.is_running() {
        effects.actions.push(Action::KillLook { repo: name.to_owned() });
    }
    for (dest, _) in repo.dests.iter().filter(|(_, dest)| dest.job.is_running()) {
        effects.actions.push(Action::KillPush { repo: name.to_owned(), dest: dest.clone() });
    }
}

/// A wake during a round causes exactly one more, however many there are.
fn wake(job: &mut Job, now: i64) {
    match &mut job.phase {
        Phase::Idle { .. } => job.phase = Phase::Queued { since: now },
        Phase::Queued { .. } => {}
        Phase::Running { again, .. } => *again = true,
    }
}

fn due(job: &mut Job, now: i64) {
    if let Phase::Idle { at } = job.phase
        && at <= now
    {
        job.phase = Phase::Queued { since: at.max(0) };
    }
}

fn begin(job: &mut Job, now: i64) {
    job.phase = Phase::Running { since: now, again: false, killed: false };
    job.rounds += 1;
}

fn ended(job: &mut Job, now: i64, next: i64) {
    let Phase::Running { since, again, .. } = job.phase else { return };
    job.took_ms = now - since;
    job.phase = if again { Phase::Queued { since: now } } else { Phase::Idle { at: next } };
}

fn succeeded(job: &mut Job, now: i64, next: i64) {
    ended(job, now, next);
    job.failures = 0;
    job.first_failure_ms = None;
    job.good_ms = Some(now);
    job.error.clear();
}

fn failed(job: &mut Job, now: i64, error: String, pause: i64) {
    ended(job, now, now + pause);
    job.failures = job.failures.saturating_add(1);
    job.first_failure_ms.get_or_insert(now);
    job.last_failure_ms = Some(now);
    job.error = error;
}

fn stuck(job: &mut Job, now: i64, limit: i64) -> bool {
    match &mut job.phase {
        Phase::Running { since, killed, .. } if !*killed && *since + limit <= now => {
            *killed = true;
            job.stuck += 1;
            true
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(repos: usize, dests: &[&str]) -> (State, Effects) {
        let limits = Limits { looks: 2, pushes: 3, stuck_ms: 60_000, compare_ms: 600_000, lag_ms: 600_000 };
        let mut state = State::new(limits, 9);
        let spec = |n: usize| Spec { name: format!("r{n}"), poll_ms: 60_000, dests: dests.iter().map(|d| (*d).to_owned()).collect() };
        let effects = state.step(1_000, Event::Configured((0..repos).map(spec).collect(), limits));
        (state, effects)
    }

    fn changed() -> Looked {
        let id = "4b825dc642cb6eb9a060e54bf8d69288fbee4904".parse().unwrap();
        Looked { changes: vec![Change { name: "refs/heads/main".into(), old: None, new: Some(id) }], refs: 1, ..Looked::default() }
    }

    fn looks(effects: &Effects) -> usize {
        effects.actions.iter().filter(|action| matches!(action, Action::Look { .. })).count()
    }

    #[test]
    fn any_number_of_wakes_during_a_round_cause_exactly_one_more() {
        let (mut state, first) = state(1, &[]);
        assert_eq!(looks(&first), 1);
        let woken: usize = (0..5).map(|n| looks(&state.step(1_001 + n, Event::Wake { repo: "r0".into(), why: "test" }))).sum();
        assert_eq!(woken, 0, "it is running");
        assert_eq!(looks(&state.step(1_010, Event::Looked { repo: "r0".into(), how: changed() })), 1);
        assert_eq!(looks(&state.step(1_020, Event::Looked { repo: "r0".into(), how: Looked { refs: 1, ..Looked::default() } })), 0);
    }

    #[test]
    fn a_failing_destination_waits_longer_and_longer_and_holds_up_nobody() {
        let (mut state, _) = state(1, &["bad", "good"]);
        let effects = state.step(2_000, Event::Looked { repo: "r0".into(), how: changed() });
        assert_eq!(effects.actions.iter().filter(|action| matches!(action, Action::Push { .. })).count(), 2);
        state.step(2_100, Event::Pushed { repo: "r0".into(), dest: "good".into(), round: PushRound::default() });
        let mut now = 2_100;
        let mut pauses = Vec::new();
        for _ in 0..12 {
            let round = PushRound { failed: Some("away".into()), ..PushRound::default() };
            state.step(now, Event::Pushed { repo: "r0".into(), dest: "bad".into(), round });
            let Phase::Idle { at } = state.repos["r0"].dests["bad"].job.phase else { panic!() };
            pauses.push(at - now);
            now = at;
            let effects = state.step(now, Event::Tick);
            assert!(effects.actions.iter().any(|action| matches!(action, Action::Push { dest, compare: true, .. } if dest == "bad")));
        }
        assert!(pauses[0] >= FIRST_PAUSE_MS / 2 && pauses.iter().all(|pause| *pause <= LONGEST_PAUSE_MS) && pauses[11] >= LONGEST_PAUSE_MS / 2, "{pauses:?}");
        assert_eq!(state.repos["r0"].dests["bad"].behind["refs/heads/main"], 2_000, "since when it is behind is not forgotten");
        assert!(state.repos["r0"].dests["good"].behind.is_empty());
    }

    #[test]
    fn what_runs_too_long_is_killed_once_and_counted() {
        let (mut state, _) = state(1, &[]);
        assert!(state.step(60_999, Event::Tick).actions.is_empty());
        assert_eq!(state.step(61_000, Event::Tick).actions, [Action::KillLook { repo: "r0".into() }]);
        assert!(state.step(70_000, Event::Tick).actions.is_empty());
        assert_eq!(state.repos["r0"].job.stuck, 1);
    }

    /// Random events in random order: never more at a time than allowed, nothing runs twice at once, and when all is over everything is equal.
    #[test]
    fn no_order_of_events_breaks_the_limits_or_loses_a_change() {
        for seed in 1..200_u64 {
            let (mut state, first) = state(6, &["a", "b"]);
            let mut random = State::new(state.limits, seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
            let mut running: Vec<Action> = first.actions;
            let mut now = 1_000;
            for step in 0..600 {
                now += random.random_below(3_000) as i64;
                let calm = step > 400;
                let event = match random.random_below(if calm { 2 } else { 4 }) {
                    _ if running.is_empty() => {
                        now = now.max(state.next_due_ms().unwrap_or(now));
                        Event::Tick
                    }
                    0 | 1 => {
                        let at = random.random_below(running.len() as u64) as usize;
                        let fails = !calm && random.random_below(4) == 0;
                        match running.swap_remove(at) {
                            Action::Look { repo } if fails => Event::Looked { repo, how: Looked { failed: Some("away".into()), ..Looked::default() } },
                            Action::Look { repo } => Event::Looked { repo, how: if calm { Looked { refs: 1, ..Looked::default() } } else { changed() } },
                            Action::Push { repo, dest, .. } => {
                                Event::Pushed { repo, dest, round: PushRound { failed: fails.then(|| "away".into()), ..PushRound::default() } }
                            }
                            _ => Event::Tick,
                        }
                    }
                    2 => Event::Wake { repo: format!("r{}", random.random_below(6)), why: "test" },
                    _ => Event::Tick,
                };
                for action in state.step(now, event).actions {
                    match &action {
                        Action::Look { .. } | Action::Push { .. } => {
                            let same = |known: &Action| match (known, &action) {
                                (Action::Push { repo: a, dest: b, .. }, Action::Push { repo: c, dest: d, .. }) => (a, b) == (c, d),
                                (known, action) => known == action,
                            };
                            assert!(!running.iter().any(same), "{action:?} runs twice");
                            running.push(action);
                        }
                        Action::KillLook { .. } | Action::KillPush { .. } | Action::Tell { .. } => {}
                    }
                }
                let looking = running.iter().filter(|action| matches!(action, Action::Look { .. })).count();
                assert!(looking <= 2 && running.len() - looking <= 3, "{running:?}");
            }
            let behind: Vec<&String> =
                state.repos.iter().filter(|(_, repo)| repo.dests.values().any(|dest| !dest.behind.is_empty())).map(|(name, _)| name).collect();
            assert!(behind.is_empty(), "seed {seed}: {behind:?} never became equal");
        }
    }
}
