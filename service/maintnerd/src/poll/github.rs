//! Follows a repository on GitHub (`spec/maintner.md` §7.2, §10).
//!
//! A round walks through the list of issues, those that changed last first, as far as there is anything new. Whatever has changed is read *whole* (the issue,
//! its comments, events and reviews) and written as one mutation, so no reader ever sees a half of it. What a list cannot show is looked for
//! otherwise: numbers that are missing are asked for one by one; a walk through everything, once a day, finds what was deleted or moved away; events that
//! GitHub shows late are found by a second look some minutes after a change.
//!
//! Unlike the reference's rounds these may end anywhere. How far a list was walked is known from [`Memory::through`], not from
//! finding nothing new on a page: a round that was cut off after the first page would hide the second one from the next.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use burrow_github::{Client, Comment, Error, Issue, LimitKind, Page, Pages, Read, RepoName, Time};
use burrow_maintner as corpus;
use corpus::View;
use protocol_mutlog::schema::{GithubIssueMutation, Mutation};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::github_diff::{self as diff, Listed, Name, Parts};
use super::memory::Memory;
use super::status::Outcome;
use super::{Desk, PollError};

/// A list of issues is a picture of its moment; after so long an issue of it is asked for anew.
const FRESH: Duration = Duration::from_secs(60);
/// Between two looks at an issue that claims to have changed in the future.
const FUTURE_AGAIN: Duration = Duration::from_secs(3600);
/// Answers of GitHub's servers need not be of one moment.
const OVERLAP: i64 = 60;
/// Issues with more comments than this are asked for what has changed only.
const LONG: i64 = 100;
/// With so many numbers missing a walk through everything is cheaper than one question for each.
const MANY_MISSING: usize = 100;
/// Nobody has so many numbers without issues. A number that is wrong must not make us ask for all below it.
const TOO_MANY_MISSING: usize = 1_000_000;
/// How often an issue is read again because it changed while it was read.
const ATTEMPTS: u32 = 3;

/// Follows one repository.
#[derive(Debug)]
pub(crate) struct GithubPoller {
    desk: Desk,
    client: Client,
    repo: RepoName,
    name: Name,
    path: PathBuf,
    memory: Memory,
    /// When labels and milestones were last read (monotonic milliseconds).
    labels_read: Option<u64>,
    /// Issues that claim to have changed in the future: what they claim, and when they were last looked at (monotonic milliseconds).
    future: BTreeMap<i32, (Time, u64)>,
    /// Issues that this round is done with.
    done: BTreeSet<i32>,
    /// What went wrong with a single issue in this round.
    trouble: Option<(i32, Error)>,
}

/// An issue as it was at a moment.
#[derive(Debug, Clone)]
struct Seen {
    issue: Issue,
    date: Time,
    /// When it was asked for (monotonic milliseconds).
    asked: u64,
}

/// What there is under a number.
enum Found {
    Issue(Box<Issue>, Box<Parts>),
    Gone,
}

/// How often a question was refused.
#[derive(Debug, Default)]
struct Patience {
    refusals: u32,
}

impl GithubPoller {
    /// `dir`: where it remembers what it has done.
    pub(crate) fn new(desk: Desk, client: Client, repo: RepoName, dir: &std::path::Path) -> GithubPoller {
        let name = Name::of(&repo);
        let path = dir.join(format!("github-{}%2F{}.json", repo.owner().to_ascii_lowercase(), repo.name().to_ascii_lowercase()));
        let memory = Memory::load(&path, desk.leader.view().position());
        GithubPoller { desk, client, repo, name, path, memory, labels_read: None, future: BTreeMap::new(), done: BTreeSet::new(), trouble: None }
    }

    /// Reads everything that is new, the named issues first.
    pub(crate) async fn round(&mut self, hints: &BTreeSet<i32>) -> Result<Outcome, PollError> {
        if self.memory.disabled.is_some_and(|since| self.now() < since.saturating_add(millis(self.desk.timing.disabled)) && hints.is_empty()) {
            return Ok(Outcome::Idle("issues are switched off".to_owned()));
        }
        (self.done, self.trouble) = (BTreeSet::new(), None);
        let result = self.everything(hints).await;
        let outcome = match result {
            Err(PollError::Github(Error::Disabled { .. })) => {
                self.memory.disabled = Some(self.now());
                Ok(Outcome::Idle("issues are switched off".to_owned()))
            }
            Err(error) => Err(error),
            Ok(()) => {
                self.memory.disabled = None;
                match self.trouble.take() {
                    Some((number, error)) => Err(PollError::Issue { number, error }),
                    None => Ok(Outcome::Good),
                }
            }
        };
        self.save().await;
        outcome
    }

    /// When there is something to do again (Unix milliseconds), if that is known.
    pub(crate) fn due(&self) -> Option<i64> {
        self.memory.settling.values().min().copied()
    }

    async fn everything(&mut self, hints: &BTreeSet<i32>) -> Result<(), PollError> {
        if !hints.is_empty() {
            self.desk.board.doing("reads what it was told about");
            self.read(hints.iter().map(|number| (*number, None)).collect()).await?;
        }
        self.labels().await?;
        let mut full = self.memory.through.is_none() || self.since(self.memory.reconciled) >= millis(self.desk.timing.reconcile);
        let mut seen = self.walk(full).await?;
        let mut missing = self.missing(&seen)?;
        if missing.len() >= MANY_MISSING && !full {
            full = true;
            seen = self.walk(true).await?;
            missing = self.missing(&seen)?;
        }
        self.desk.board.doing(format!("asks for {} missing numbers", missing.len()));
        self.read(missing.into_iter().map(|number| (number, None)).collect()).await?;
        if full {
            let vanished = self.vanished(&seen);
            self.desk.board.doing(format!("looks for {} issues that are in no list", vanished.len()));
            self.read(vanished.into_iter().map(|number| (number, None)).collect()).await?;
            self.memory.reconciled = Some(self.now());
        }
        let stale = self.stale();
        self.desk.board.doing(format!("completes {} issues", stale.len()));
        self.read(stale.into_iter().map(|number| (number, None)).collect()).await
    }

    /// Walks through the list of issues and reads what has changed: as far as there can be anything new, or to its end. The numbers that were seen.
    async fn walk(&mut self, full: bool) -> Result<BTreeSet<i32>, PollError> {
        let mut pages = self.client.issues(&self.repo);
        let mut seen = BTreeSet::new();
        let mut newest: Option<Time> = None;
        let mut began: Option<Time> = None;
        let mut count = 0;
        loop {
            count += 1;
            self.desk.board.doing(format!("reads page {count} of the list of issues"));
            let asked = self.monotonic();
            let Some(page) = self.next(&mut pages).await? else { break };
            let began = *began.get_or_insert(page.date);
            seen.extend(page.items.iter().map(|issue| issue.number));
            // What claims to have changed in the future says nothing about what comes behind it in the list.
            let past = |issue: &&Issue| issue.updated.is_some_and(|updated| updated <= page.date);
            newest = newest.max(page.items.iter().filter(past).filter_map(|issue| issue.updated).filter(|updated| *updated <= began).max());
            let older = |issue: &Issue| issue.updated < self.memory.through.map(|through| Time::from_seconds(through.seconds - OVERLAP));
            let behind = !page.items.is_empty() && page.items.iter().filter(past).all(older);
            let view = self.desk.leader.view();
            let known = |number| self.known(&view)?.issue(number);
            let changed: Vec<Issue> = page.items.into_iter().filter(|issue| !self.done.contains(&issue.number)).collect();
            let changed: Vec<Issue> = changed.into_iter().filter(|issue| diff::issue(&self.name, known(issue.number), issue).is_some()).collect();
            let nothing = changed.is_empty();
            // A list does not say who closed an issue. Of one that was closed just now it is worth a question; of all that ever were it is not.
            let closing = |issue: &Issue| issue.closed && known(issue.number).is_some_and(|before| !before.closed());
            let wanted = changed.into_iter().map(|issue| (issue.number, (!closing(&issue)).then_some(Seen { issue, date: page.date, asked })));
            let wanted = wanted.collect();
            self.read(wanted).await?;
            if page.last || !full && nothing && behind {
                break;
            }
        }
        if full && seen.is_empty() && self.known(&self.desk.leader.view()).is_some_and(|repo| repo.issues().iter().any(|issue| !issue.not_exist())) {
            // Taken at its word, everything would have to be looked for one by one.
            return Err(PollError::Odd("GitHub says that there are no issues at all; that is not believed".to_owned()));
        }
        self.memory.through = self.memory.through.max(newest).or(began);
        Ok(seen)
    }

    /// Numbers below the highest one of which nothing is known.
    fn missing(&self, seen: &BTreeSet<i32>) -> Result<Vec<i32>, PollError> {
        let view = self.desk.leader.view();
        let known: BTreeSet<i32> = self.known(&view).map(|repo| repo.issues().iter().map(|issue| issue.number()).collect()).unwrap_or_default();
        let last = known.last().max(seen.last()).copied().unwrap_or(0);
        if usize::try_from(last).unwrap_or(0) > known.len() + TOO_MANY_MISSING {
            return Err(PollError::Odd(format!("GitHub has a number {last} and only {} issues; that is not believed", known.len())));
        }
        Ok((1..=last).filter(|number| !known.contains(number) && !self.done.contains(number)).collect())
    }

    /// Issues that are known and were in no page of a whole walk.
    fn vanished(&self, seen: &BTreeSet<i32>) -> Vec<i32> {
        let view = self.desk.leader.view();
        let live = self.known(&view).map(corpus::Repo::issues).unwrap_or_default().into_iter().filter(|issue| !issue.not_exist());
        live.map(|issue| issue.number()).filter(|number| !seen.contains(number) && !self.done.contains(number)).collect()
    }

    /// Issues of which not everything is here, or may not be.
    fn stale(&self) -> BTreeSet<i32> {
        let view = self.desk.leader.view();
        let (now, monotonic) = (self.now(), self.monotonic());
        let longest = now.saturating_add(millis(self.desk.timing.settle));
        let mut stale: BTreeSet<i32> = self.memory.owed.clone();
        // A moment that is too far away comes from a clock that was set back.
        stale.extend(self.memory.settling.iter().filter(|(_, due)| **due <= now || **due > longest).map(|(number, _)| *number));
        for issue in self.known(&view).map(corpus::Repo::issues).unwrap_or_default() {
            let synced = issue.comments_synced() && issue.events_synced() && (!issue.is_pull_request() || issue.reviews_synced());
            let later = self.future.get(&issue.number()).is_some_and(|(updated, asked)| {
                issue.updated().map(diff::time_of) == Some(*updated) && monotonic.saturating_sub(*asked) < FUTURE_AGAIN.as_millis() as u64
            });
            if !synced && !later {
                stale.insert(issue.number());
            }
        }
        stale.retain(|number| !self.done.contains(number));
        stale
    }

    /// Reads issues whole and writes what is new of them.
    async fn read(&mut self, wanted: Vec<(i32, Option<Seen>)>) -> Result<(), PollError> {
        let total = wanted.len();
        // One question after the other, as GitHub asks for: its limits allow less than that, and several at once are what it calls abuse.
        for (nth, (number, seen)) in wanted.into_iter().enumerate() {
            if total > 1 && nth % 10 == 0 {
                self.desk.board.doing(format!("reads issues: {nth} of {total}"));
            }
            let view = self.desk.leader.view();
            match self.find(&view, number, seen).await {
                Ok((found, date)) => self.write(number, found, date).await?,
                // The answer about this one is what is wrong. It must not keep the others from being read.
                Err(error @ (Error::Malformed { .. } | Error::Refused { .. })) => {
                    tracing::warn!(repo = %self.repo, number, %error, "an issue cannot be read");
                    self.memory.owed.insert(number);
                    self.done.insert(number);
                    self.trouble.get_or_insert((number, error));
                }
                Err(error) => {
                    self.memory.owed.insert(number);
                    return Err(error.into());
                }
            }
        }
        Ok(())
    }

    /// Everything there is under a number, as of one moment as far as that can be had; and GitHub's time of it.
    async fn find(&self, view: &View, number: i32, mut given: Option<Seen>) -> Result<(Found, Time), Error> {
        let known = self.known(view).and_then(|repo| repo.issue(number));
        let mut attempt = 0;
        loop {
            attempt += 1;
            let fresh = given.take().filter(|seen| self.monotonic().saturating_sub(seen.asked) <= FRESH.as_millis() as u64);
            let seen = match fresh {
                Some(seen) => seen,
                None => match self.single(number).await? {
                    Some(seen) => seen,
                    None => return Ok((Found::Gone, Time::from_seconds(0))),
                },
            };
            match self.parts(known, &seen).await {
                // Something happened to it after we saw it: the picture would not be of one moment.
                Ok(parts) if attempt < ATTEMPTS && parts.newest() > Some(seen.date) => {}
                Ok(parts) => {
                    let date = parts.as_of();
                    return Ok((Found::Issue(Box::new(seen.issue), Box::new(parts)), date));
                }
                // It may have gone while it was read; the issue itself says.
                Err(Error::NotFound { .. } | Error::Gone { .. } | Error::Moved { .. }) if attempt < ATTEMPTS => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// One issue; `None` when there is none (any more).
    async fn single(&self, number: i32) -> Result<Option<Seen>, Error> {
        let asked = self.monotonic();
        let mut patience = Patience::default();
        loop {
            match self.client.issue(&self.repo, number).await {
                Ok(answer) => return Ok(Some(Seen { issue: answer.value, date: answer.date, asked })),
                Err(Error::Gone { .. } | Error::Moved { .. }) => return Ok(None),
                Err(Error::NotFound { .. }) => break,
                Err(error) => self.bear(error, &mut patience).await?,
            }
        }
        // A token that lost its rights gets the same answer for everything. Only if the repository is still there, the issue is not.
        loop {
            match self.client.repository(&self.repo).await {
                Ok(_) => return Ok(None),
                Err(error) => self.bear(error, &mut patience).await?,
            }
        }
    }

    async fn parts(&self, known: Option<corpus::Issue<'_>>, seen: &Seen) -> Result<Parts, Error> {
        let number = seen.issue.number;
        let comments = self.comments(known, seen).await?;
        let mut events = self.all(self.client.events(&self.repo, number, 1)).await?;
        if events.items.is_empty() && known.is_some_and(|issue| issue.event_count() > 0) {
            events = self.all(self.client.events(&self.repo, number, 1).unconditional()).await?;
        }
        let reviews = if seen.issue.pull_request { Some(self.all(self.client.reviews(&self.repo, number, 1)).await?) } else { None };
        Ok(Parts { comments, events, reviews })
    }

    async fn comments(&self, known: Option<corpus::Issue<'_>>, seen: &Seen) -> Result<Listed<Comment>, Error> {
        let number = seen.issue.number;
        let reported = self.memory.deleted.get(&number);
        let mut live: BTreeSet<i64> = known.into_iter().flat_map(corpus::Issue::comments).map(corpus::Comment::id).collect();
        live.retain(|id| reported.is_none_or(|reported| !reported.contains(id)));
        if seen.issue.comments == 0 && live.is_empty() {
            return Ok(Listed { items: Vec::new(), date: seen.date, whole: true });
        }
        let count = usize::try_from(seen.issue.comments).unwrap_or(0);
        let as_of = known.filter(|_| seen.issue.comments > LONG).and_then(corpus::Issue::comments_as_of).map(diff::time_of);
        if let Some(as_of) = as_of {
            let since = Time::from_seconds(as_of.seconds - OVERLAP);
            let list = self.all(self.client.comments(&self.repo, number, Some(since)).unconditional()).await?;
            let all: BTreeSet<i64> = live.iter().copied().chain(list.items.iter().map(|comment| comment.id)).collect();
            // Otherwise one was deleted, or one is missing that did not change.
            if all.len() == count {
                return Ok(Listed { items: list.items, date: list.date, whole: false });
            }
        }
        let list = self.all(self.client.comments(&self.repo, number, None)).await?;
        let mut found: BTreeMap<i64, Comment> = list.items.into_iter().map(|comment| (comment.id, comment)).collect();
        if found.len() < count || live.iter().any(|id| !found.contains_key(id)) {
            // A deletion while pages are turned moves one comment over the edge. What two lists in a row lack is gone.
            let again = self.all(self.client.comments(&self.repo, number, None).unconditional()).await?;
            found.extend(again.items.into_iter().map(|comment| (comment.id, comment)));
        }
        Ok(Listed { items: found.into_values().collect(), date: list.date, whole: true })
    }

    /// Writes what is new of an issue.
    async fn write(&mut self, number: i32, found: Found, date: Time) -> Result<(), PollError> {
        let view = self.desk.leader.view();
        let known = self.known(&view).and_then(|repo| repo.issue(number));
        let none = BTreeSet::new();
        let reported = self.memory.deleted.get(&number).unwrap_or(&none);
        let (mutation, gone) = match &found {
            // Nobody has a use for a number that was never reached, and all numbers below it would be missing.
            Found::Gone if known.is_none() && self.known(&view).is_none_or(|repo| repo.issues().last().is_none_or(|last| last.number() < number)) => {
                (None, Vec::new())
            }
            Found::Gone => (diff::tombstone(&self.name, number, known), Vec::new()),
            Found::Issue(issue, parts) => {
                let gone = diff::deleted_comments(known, &parts.comments, reported);
                (diff::whole(&self.name, known, issue, parts, reported), gone)
            }
        };
        if let Some(mutation) = mutation {
            self.desk.commit(&[issue_mutation(mutation)]).await?;
        }
        if !gone.is_empty() {
            self.memory.deleted.entry(number).or_default().extend(gone);
        }
        if let (Found::Issue(_, parts), Some(deleted)) = (&found, self.memory.deleted.get_mut(&number)) {
            deleted.retain(|id| parts.comments.items.iter().all(|comment| comment.id != *id));
        }
        self.memory.owed.remove(&number);
        self.memory.settling.remove(&number);
        self.future.remove(&number);
        self.done.insert(number);
        if let Found::Issue(issue, _) = &found
            && let Some(updated) = issue.updated
        {
            let settle = i64::try_from(self.desk.timing.settle.as_secs()).unwrap_or(i64::MAX);
            let left = updated.seconds.saturating_add(settle).saturating_sub(date.seconds);
            if updated > date {
                self.future.insert(number, (updated, self.monotonic()));
            } else if left > 0 {
                self.memory.settling.insert(number, self.now().saturating_add(left.saturating_mul(1000)));
            }
        }
        Ok(())
    }

    async fn labels(&mut self) -> Result<(), PollError> {
        let now = self.monotonic();
        if self.labels_read.is_some_and(|read| now.saturating_sub(read) < self.desk.timing.labels.as_millis() as u64) {
            return Ok(());
        }
        self.desk.board.doing("reads labels and milestones");
        let labels = self.all(self.client.labels(&self.repo)).await?;
        let milestones = self.all(self.client.milestones(&self.repo)).await?;
        let view = self.desk.leader.view();
        if let Some(mutation) = diff::repo(&self.name, self.known(&view), &labels.items, &milestones.items) {
            self.desk.commit(&[Mutation { github: Some(mutation), ..Default::default() }]).await?;
        }
        self.labels_read = Some(now);
        Ok(())
    }

    async fn next<T: Read + Serialize + DeserializeOwned>(&self, pages: &mut Pages<T>) -> Result<Option<Page<T>>, Error> {
        let mut patience = Patience::default();
        loop {
            match pages.next().await {
                Ok(page) => return Ok(page),
                Err(error) => self.bear(error, &mut patience).await?,
            }
        }
    }

    async fn all<T: Read + Serialize + DeserializeOwned>(&self, mut pages: Pages<T>) -> Result<Listed<T>, Error> {
        let mut whole = Listed { items: Vec::new(), date: Time::from_seconds(0), whole: true };
        let mut first = true;
        while let Some(page) = self.next(&mut pages).await? {
            if std::mem::take(&mut first) {
                whole.date = page.date;
            }
            whole.items.extend(page.items);
        }
        Ok(whole)
    }

    /// Waits as long as GitHub wants no questions; gives any other error back. The round goes on where it is: beginning anew would ask the same
    /// questions again.
    async fn bear(&self, error: Error, patience: &mut Patience) -> Result<(), Error> {
        let Error::RateLimited { until, kind } = error else { return Err(error) };
        // Who is refused again after what GitHub itself said waits longer.
        let least = if patience.refusals > 0 { millis(self.desk.timing.backoff(patience.refusals)) } else { 0 };
        let until = Time::from_ms(until.as_ms().max(self.now().saturating_add(least)));
        patience.refusals += 1;
        let what = if kind == LimitKind::Primary { "hourly" } else { "secondary" };
        self.desk.board.doing(format!("waits until {until} because of GitHub's {what} limit"));
        self.desk.timing.pause.until(self.desk.board.clock(), until.as_ms()).await;
        self.desk.board.doing("goes on after a limit of GitHub's");
        Ok(())
    }

    fn known<'a>(&self, view: &'a View) -> Option<corpus::Repo<'a>> {
        view.github().repo(&self.repo.owner().to_ascii_lowercase(), &self.repo.name().to_ascii_lowercase())
    }

    fn now(&self) -> i64 {
        self.desk.board.clock().now_ms()
    }

    fn monotonic(&self) -> u64 {
        self.desk.board.clock().monotonic_ms()
    }

    /// Milliseconds since a moment; without one for ever.
    fn since(&self, moment: Option<i64>) -> i64 {
        moment.map_or(i64::MAX, |moment| self.now().saturating_sub(moment))
    }

    async fn save(&mut self) {
        let (mut memory, path, position) = (self.memory.clone(), self.path.clone(), self.desk.leader.view().position());
        let saved = burrow_task::spawn_blocking(move || memory.save(&path, position)).await;
        if let Ok(Err(error)) = saved {
            tracing::warn!(path = %self.path.display(), %error, "what was done cannot be remembered; more is asked after a restart");
        }
    }
}

fn issue_mutation(mutation: GithubIssueMutation) -> Mutation {
    Mutation { github_issue: Some(mutation), ..Default::default() }
}

fn millis(length: Duration) -> i64 {
    i64::try_from(length.as_millis()).unwrap_or(i64::MAX)
}
