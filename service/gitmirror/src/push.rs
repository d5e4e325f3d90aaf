//! One push to one destination: compare, write down, push what changed, and find out which reference it was that is not taken.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use burrow_git::Oid;
use burrow_store::Db;

use crate::cache::Cache;
use crate::child::Runner;
use crate::config::Dest;
use crate::model::{Event, Pin, PushRound, Quarantined};
use crate::plan::{Cap, Plan, Sides, in_the_way, mapped};
use crate::refs::{Change, Pushed, Refs, parse_push};
use crate::remote::Remote;
use crate::rules::Rules;
use crate::shell::Shell;
use crate::store;

/// Bytes of arguments of one git program. Systems allow two million at least, the environment included.
const ARGUMENTS: usize = 400_000;

/// Pushes of one round, when some references are refused and the guilty ones are searched.
const PUSHES: usize = 60;

/// If so many references are refused and nothing is taken, it is not the references.
const MANY: usize = 20;

/// What a push works with.
pub(crate) struct Push<'a> {
    pub(crate) repo: &'a str,
    pub(crate) cache: &'a Cache,
    pub(crate) dest: &'a Dest,
    pub(crate) rules: &'a Rules,
    pub(crate) remote: &'a Remote,
    pub(crate) runner: &'a Runner,
    pub(crate) shell: &'a Arc<Shell>,
    pub(crate) db: &'a Db,
    /// What we know that is there; `None`: not read from the rows yet.
    pub(crate) memory: &'a mut Option<Refs>,
    /// Read the destination, whatever is remembered.
    pub(crate) compare: bool,
    pub(crate) quarantine: BTreeMap<String, Quarantined>,
    pub(crate) pins: BTreeMap<String, Pin>,
    pub(crate) confirmed: Vec<String>,
    pub(crate) now: i64,
}

/// Everything that can make a round fail as a whole, in words.
type Failure = String;

impl Push<'_> {
    /// Pushes.
    pub(crate) async fn run(mut self) -> PushRound {
        let mut round = PushRound::default();
        let failed = match self.round(&mut round).await {
            Ok(again) if again => {
                // Somebody moved something between our reading and our pushing: look again, once.
                self.compare = true;
                round.undecided.clear();
                self.round(&mut round).await.map(drop).err()
            }
            Ok(_) => None,
            Err(failure) => Some(failure),
        };
        round.failed = failed.map(crate::cache::with_remedy);
        round
    }

    /// True when something was not as it was thought to be.
    async fn round(&mut self, round: &mut PushRound) -> Result<bool, Failure> {
        let text = |error: &dyn std::fmt::Display| error.to_string();
        if self.memory.is_none() {
            *self.memory = Some(store::what_is_there(self.db, self.repo, &self.dest.name).await.map_err(|e| text(&e))?);
            self.compare |= store::unfinished(self.db, self.repo, &self.dest.name).await.map_err(|e| text(&e))?;
        }
        let wanted = mapped(&self.cache.refs(), self.rules);
        if wanted.is_empty() {
            return Err("there is nothing to push yet".into());
        }
        let remembered = self.memory.clone().unwrap_or_default();
        // A folder costs less to read than to trust.
        let read = self.compare || self.remote.folder().is_some();
        let there = if read {
            let told = self.remote.read(self.runner, self.cache.dir(), &self.rules_prefixes()).await.map_err(|e| text(&e))?;
            let ours: Refs = told.refs.into_iter().filter(|(name, _)| self.rules.owns(name)).collect();
            round.compared = true;
            ours
        } else {
            remembered.clone()
        };
        round.refs = there.len();
        let foreign: BTreeSet<Oid> = there.iter().filter(|(name, id)| remembered.get(*name) != Some(id)).map(|(_, id)| *id).collect();
        let known = if foreign.is_empty() { BTreeSet::new() } else { self.cache.known(foreign).await.map_err(|e| text(&e))? };
        let sides = Sides {
            wanted: &wanted,
            there: &there,
            remembered: &remembered,
            rules: self.rules,
            delete: self.dest.delete,
            cap: Cap { count: self.dest.max_delete, percent: self.dest.max_delete_percent },
            force: self.dest.force,
            confirmed: &self.confirmed,
            quarantine: &self.quarantine,
            pins: &self.pins,
            now: self.now,
        };
        let mut plan = Plan::make(&sides, |id| known.contains(&id));
        if read {
            // What somebody else put there does not become ours by being seen.
            let mut ours = there.clone();
            for change in &plan.diverged {
                match remembered.get(&change.name) {
                    Some(id) => ours.insert(change.name.clone(), *id),
                    None => ours.remove(&change.name),
                };
            }
            self.remember(&remembered, ours).await?;
        }
        round.diverged = std::mem::take(&mut plan.diverged);
        round.waiting = std::mem::take(&mut plan.waiting);
        round.hold = plan.hold.take();
        round.released.append(&mut plan.released);
        if !plan.rescue.is_empty() {
            let rescue: BTreeSet<Oid> = plan.rescue.iter().copied().collect();
            let changes: Vec<Change> = plan.changes.iter().chain(&plan.suspects).filter(|c| c.old.is_some_and(|old| rescue.contains(&old))).cloned().collect();
            self.cache
                .rescue(self.runner, self.remote, &changes)
                .await
                .map_err(|error| format!("what is about to be overwritten cannot be saved first: {error}"))?;
        }
        if plan.is_empty() {
            return Ok(false);
        }
        let all: Vec<Change> = plan.changes.iter().chain(&plan.suspects).cloned().collect();
        let planned = Event::Planned { repo: self.repo.to_owned(), dest: self.dest.name.clone(), changes: all };
        // Nothing is pushed before its old value is on disk.
        self.shell.ask(planned).await.ok_or("the journal cannot be written")?;
        let mut groups: VecDeque<Vec<Change>> = self.batches(plan.changes).into();
        groups.extend(plan.suspects.into_iter().map(|change| vec![change]));
        self.push_groups(groups, round).await
    }

    /// Pushes group after group; one that is refused is halved until the guilty ones stand alone.
    async fn push_groups(&mut self, mut groups: VecDeque<Vec<Change>>, round: &mut PushRound) -> Result<bool, Failure> {
        let mut left = PUSHES + groups.len();
        let mut stale = false;
        let mut refused: Vec<(Change, String)> = Vec::new();
        let mut taken = 0;
        while let Some(group) = groups.pop_front() {
            if left == 0 {
                round.undecided.extend(group.into_iter().map(|change| change.name));
                continue;
            }
            left -= 1;
            let results = match self.push_once(&group).await {
                Ok(results) => results,
                Err(failure) => {
                    round.undecided.extend(group.into_iter().chain(groups.into_iter().flatten()).map(|change| change.name));
                    round.refused.append(&mut refused);
                    return Err(failure);
                }
            };
            let mut not_taken = Vec::new();
            let mut some = false;
            for change in group {
                match results.get(&change.name) {
                    Some(Pushed::Done | Pushed::UpToDate) => {
                        some = true;
                        taken += 1;
                        self.note(&change);
                        round.refs = (round.refs + usize::from(change.old.is_none())).saturating_sub(usize::from(change.new.is_none()));
                        round.done.push(change);
                    }
                    Some(Pushed::Stale) => {
                        stale = true;
                        round.undecided.push(change.name);
                    }
                    Some(Pushed::Refused(why)) => not_taken.push((change, why.clone())),
                    None => not_taken.push((change, "git did not say what became of it".into())),
                }
            }
            // When some of a group were taken, the others were judged one by one. When none was, one may have spoilt it for all.
            if some || not_taken.len() <= 1 {
                refused.append(&mut not_taken);
            } else {
                let mut first: Vec<Change> = not_taken.into_iter().map(|(change, _)| change).collect();
                let second = first.split_off(first.len() / 2);
                groups.push_front(second);
                groups.push_front(first);
            }
        }
        if taken == 0 && refused.len() > MANY {
            let why = refused.first().map(|(_, why)| why.clone()).unwrap_or_default();
            round.undecided.extend(refused.into_iter().map(|(change, _)| change.name));
            return Err(format!("the destination refuses everything: {why}"));
        }
        round.refused.append(&mut refused);
        Ok(stale)
    }

    async fn push_once(&self, group: &[Change]) -> Result<BTreeMap<String, Pushed>, Failure> {
        let mut args: Vec<String> = ["push", "--porcelain", "--no-progress", "--no-verify", "--recurse-submodules=no"].map(str::to_owned).into();
        args.extend(self.dest.push_options.iter().map(|option| format!("--push-option={option}")));
        for change in group {
            args.push(format!("--force-with-lease={}:{}", change.name, change.old.map(|id| id.to_string()).unwrap_or_default()));
        }
        args.extend(["--end-of-options".to_owned(), self.remote.url().to_owned()]);
        args.extend(group.iter().map(|change| format!("{}:{}", change.new.map(|id| id.to_string()).unwrap_or_default(), change.name)));
        let done = self.runner.git(self.cache.dir(), self.remote.identity(), &args, &[]).await.map_err(|error| error.to_string())?;
        let results: BTreeMap<String, Pushed> = parse_push(&done.stdout).into_iter().collect();
        let lost =
            |result: &Pushed| matches!(result, Pushed::Refused(why) if why.contains("remote failed to report status") || why.contains("remote unpack failed"));
        if done.status.success() || (!results.is_empty() && !results.values().all(lost)) {
            return Ok(results);
        }
        Err(crate::remote::failure(self.remote.url(), done.stderr).to_string())
    }

    /// Groups whose arguments fit into one program. Deletions come first, alone if another name needs their place.
    fn batches(&self, changes: Vec<Change>) -> Vec<Vec<Change>> {
        let apart = in_the_way(&changes);
        let mut batches: Vec<Vec<Change>> = Vec::new();
        let mut bytes = 0;
        let mut deleting = false;
        for change in changes {
            let size = 2 * change.name.len() + 200;
            let turn = apart && deleting && change.new.is_some();
            deleting = change.new.is_none();
            if batches.is_empty() || bytes + size > ARGUMENTS || turn {
                batches.push(Vec::new());
                bytes = 0;
            }
            bytes += size;
            if let Some(batch) = batches.last_mut() {
                batch.push(change);
            }
        }
        batches
    }

    fn note(&mut self, change: &Change) {
        let Some(memory) = self.memory.as_mut() else { return };
        match change.new {
            Some(new) => memory.insert(change.name.clone(), new),
            None => memory.remove(&change.name),
        };
    }

    /// What was read is what we know from now on: in the rows, too, where pushes of unknown end are settled by it.
    async fn remember(&mut self, before: &Refs, there: Refs) -> Result<(), Failure> {
        let mut rows: Vec<_> =
            crate::refs::difference(before, &there).into_iter().map(|change| store::there(self.repo, &self.dest.name, &change.name, change.new)).collect();
        if self.compare {
            rows.extend(store::reconcile(self.repo, &self.dest.name));
        }
        if !rows.is_empty() {
            self.db.commit(rows).await.map_err(|error| error.to_string())?;
        }
        *self.memory = Some(there);
        Ok(())
    }

    /// What to ask the destination for: renamed references lie elsewhere.
    fn rules_prefixes(&self) -> Vec<&str> {
        if self.dest.rename.is_empty() { self.rules.prefixes() } else { vec!["refs/"] }
    }
}
