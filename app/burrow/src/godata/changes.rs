//! `burrow godata changes`.

use std::borrow::Cow;

use burrow_maintner::{Change, Reading, Status, Time, View};
use serde::Serialize;

use super::args::{ChangeState, ChangesArgs};
use super::output::{self, Grid, Out, Stop};
use super::people::{self, Person};
use super::when::{rfc3339, short};
use super::which;
use crate::progress::note;

const OURS: Reading = Reading::Ours;

/// A change as a line of JSON.
#[derive(Debug, Serialize)]
pub(super) struct ChangeObject<'a> {
    project: Cow<'a, str>,
    number: i32,
    subject: String,
    /// `new`, `draft`, `merged`, `abandoned`.
    status: &'static str,
    branch: Cow<'a, str>,
    wip: bool,
    private: bool,
    owner: Option<Person<'a>>,
    owner_id: Option<i64>,
    created: Option<String>,
    /// When anything last happened to it.
    updated: Option<String>,
    /// Number of the newest patch set, and its commit.
    version: i32,
    commit: String,
    change_id: Cow<'a, str>,
    hashtags: Vec<Cow<'a, str>>,
    /// Label → voter → vote.
    votes: people::Votes,
    /// Issues that the newest patch set mentions.
    references: Vec<String>,
}

impl<'a> ChangeObject<'a> {
    pub(super) fn of(change: Change<'a>) -> ChangeObject<'a> {
        ChangeObject {
            project: change.project().name().lossy(),
            number: change.number(),
            subject: subject(change),
            status: change.status().word(),
            branch: change.branch().lossy(),
            wip: change.work_in_progress(),
            private: change.private(OURS),
            owner: change.owner().map(Person::from),
            owner_id: change.owner_id(),
            created: change.created().map(rfc3339),
            updated: updated(change).map(rfc3339),
            version: change.version(OURS),
            commit: change.commit(OURS).hash().to_string(),
            change_id: change.change_id(OURS).lossy(),
            hashtags: change.hashtags().iter().map(burrow_maintner::Text::lossy).filter(|tag| !tag.is_empty()).collect(),
            votes: people::votes(&change.votes(OURS)),
            references: references(change),
        }
    }
}

/// Issues that its newest patch set mentions.
pub(super) fn references(change: Change<'_>) -> Vec<String> {
    change.issue_refs(OURS).iter().map(ToString::to_string).collect()
}

pub(super) fn subject(change: Change<'_>) -> String {
    String::from_utf8_lossy(&change.subject(OURS)).trim().to_owned()
}

/// When its metadata last grew.
pub(super) fn updated(change: Change<'_>) -> Option<Time> {
    change.metas().last().and_then(|meta| meta.commit.commit_time())
}

/// Status with what is special about it.
pub(super) fn state(change: Change<'_>) -> String {
    let marks = [(change.work_in_progress(), " wip"), (change.private(OURS), " private")];
    marks.iter().filter(|(there, _)| *there).fold(change.status().word().to_owned(), |word, (_, mark)| word + mark)
}

/// Its owner in a word or two.
pub(super) fn owner(change: Change<'_>) -> String {
    match (change.owner(), change.owner_id()) {
        (Some(person), _) if !person.name().is_empty() => person.name().to_string(),
        (_, Some(id)) => format!("account {id}"),
        _ => String::new(),
    }
}

/// What was asked for.
struct Filter<'a> {
    args: &'a ChangesArgs,
    owner_id: Option<i64>,
    now: i64,
}

impl Filter<'_> {
    fn takes(&self, change: Change<'_>) -> bool {
        let args = self.args;
        let status = match (args.status, change.status()) {
            (ChangeState::All, _) => true,
            (ChangeState::Open, status) => matches!(status, Status::New | Status::Draft),
            (ChangeState::New, status) => status == Status::New,
            (ChangeState::Draft, status) => status == Status::Draft,
            (ChangeState::Merged, status) => status == Status::Merged,
            (ChangeState::Abandoned, status) => status == Status::Abandoned,
        };
        // What is cheap to tell comes first; votes and hashtags are read from the whole metadata.
        status
            && (!args.wip || change.work_in_progress())
            && args.since.is_none_or(|since| change.created() >= Some(since.first(self.now)))
            && args.branch.as_ref().is_none_or(|branch| change.branch() == branch.strip_prefix("refs/heads/").unwrap_or(branch))
            && args.owner.as_ref().is_none_or(|owner| self.is_owner(change, owner))
            && args.references.as_ref().is_none_or(|wanted| {
                let same = |found: &burrow_maintner::IssueRef| {
                    found.number == wanted.number && found.owner.eq_ignore_ascii_case(&wanted.owner) && found.repo.eq_ignore_ascii_case(&wanted.repo)
                };
                change.issue_refs(OURS).iter().any(same)
            })
            && self.has_hashtags(change)
            && self.has_votes(change)
    }

    fn is_owner(&self, change: Change<'_>, owner: &str) -> bool {
        match self.owner_id {
            Some(id) => change.owner_id() == Some(id),
            None => change.owner().is_some_and(|person| person.email().lossy().eq_ignore_ascii_case(owner)),
        }
    }

    fn has_hashtags(&self, change: Change<'_>) -> bool {
        self.args.hashtags.is_empty() || {
            let has = change.hashtags();
            self.args.hashtags.iter().all(|tag| has.contains(tag))
        }
    }

    fn has_votes(&self, change: Change<'_>) -> bool {
        self.args.votes.is_empty() || {
            let has = change.votes(OURS);
            self.args.votes.iter().all(|vote| has.of(&vote.label).any(|(_, value)| value == vote.value))
        }
    }
}

pub(super) fn run(view: &View, args: &ChangesArgs, now: i64, out: &mut Out) -> Result<(), Stop> {
    let projects = which::projects(view, &args.projects)?;
    let filter = Filter { args, owner_id: args.owner.as_ref().and_then(|owner| owner.parse().ok()), now };
    let mut found: Vec<Change<'_>> = projects.into_iter().flat_map(|project| project.changes()).filter(|change| filter.takes(*change)).collect();
    found.sort_by_key(|change| std::cmp::Reverse((change.created(), change.number())));
    if args.reverse {
        found.reverse();
    }
    let all = found.len();
    found.truncate(args.limit.unwrap_or(usize::MAX));
    if out.json {
        return found.into_iter().try_for_each(|change| out.object(&ChangeObject::of(change)));
    }
    if found.is_empty() {
        note("no change matches");
        return Ok(());
    }
    let mut grid = Grid::new(["change", "status", "branch", "updated", "owner", "votes", "subject"], &[0, 3], &[2, 5, 4, 1]);
    for change in &found {
        let name = format!("{}~{}", change.project().name(), change.number());
        let votes = people::short_votes(&change.votes(OURS));
        grid.row([name, state(*change), change.branch().to_string(), short(updated(*change)), owner(*change), votes, subject(*change)]);
    }
    out.table(grid)?;
    output::say_cut(found.len(), all);
    Ok(())
}
