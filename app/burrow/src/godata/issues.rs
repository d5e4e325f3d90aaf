//! `burrow godata issues`.

use std::borrow::Cow;

use burrow_maintner::{Issue, MilestoneOf, Repo, View};
use serde::Serialize;

use super::args::{IssuesArgs, Sort, State};
use super::output::{self, Grid, Out, Stop, one_line};
use super::people::{User, login};
use super::when::{rfc3339, short};
use super::which;
use crate::progress::note;

/// An issue as a line of JSON.
#[derive(Debug, Serialize)]
pub(super) struct IssueObject<'a> {
    pub(super) repo: String,
    pub(super) number: i32,
    title: Cow<'a, str>,
    /// `open`, `closed`, or `deleted`.
    state: &'static str,
    pull_request: bool,
    locked: bool,
    author: Option<User<'a>>,
    assignees: Vec<User<'a>>,
    /// Sorted.
    labels: Vec<Cow<'a, str>>,
    /// Title; null: it has none, or nothing is known.
    milestone: Option<Cow<'a, str>>,
    milestone_known: bool,
    created: Option<String>,
    updated: Option<String>,
    closed_at: Option<String>,
    comment_count: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    comments: Option<Vec<CommentObject<'a>>>,
}

#[derive(Debug, Serialize)]
struct CommentObject<'a> {
    id: i64,
    author: Option<User<'a>>,
    created: Option<String>,
    updated: Option<String>,
    body: Cow<'a, str>,
}

impl<'a> IssueObject<'a> {
    pub(super) fn of(issue: Issue<'a>) -> IssueObject<'a> {
        let milestone = issue.milestone();
        IssueObject {
            repo: which::repo_name(issue.repo()),
            number: issue.number(),
            title: issue.title().lossy(),
            state: state(issue),
            pull_request: issue.is_pull_request(),
            locked: issue.locked(),
            author: issue.user().map(User::from),
            assignees: issue.assignees().map(User::from).collect(),
            labels: labels(issue),
            milestone: match milestone {
                MilestoneOf::Is(milestone) => Some(milestone.title.lossy()),
                MilestoneOf::None | MilestoneOf::Unknown => None,
            },
            milestone_known: milestone != MilestoneOf::Unknown,
            created: issue.created().map(rfc3339),
            updated: issue.updated().map(rfc3339),
            closed_at: issue.closed_at().map(rfc3339),
            comment_count: issue.comments().count(),
            body: None,
            comments: None,
        }
    }

    fn with_texts(mut self, issue: Issue<'a>) -> IssueObject<'a> {
        let comment = |comment: burrow_maintner::Comment<'a>| CommentObject {
            id: comment.id(),
            author: comment.user().map(User::from),
            created: comment.created().map(rfc3339),
            updated: comment.updated().map(rfc3339),
            body: comment.body().lossy(),
        };
        self.body = Some(issue.body().lossy());
        self.comments = Some(issue.comments().map(comment).collect());
        self
    }
}

/// In one word.
pub(super) fn state(issue: Issue<'_>) -> &'static str {
    match (issue.not_exist(), issue.closed()) {
        (true, _) => "deleted",
        (_, true) => "closed",
        (_, false) => "open",
    }
}

pub(super) fn kind(issue: Issue<'_>) -> &'static str {
    if issue.is_pull_request() { "pull request" } else { "issue" }
}

/// Names of labels, sorted.
pub(super) fn labels(issue: Issue<'_>) -> Vec<Cow<'_, str>> {
    let mut names: Vec<Cow<'_, str>> = issue.labels().map(|label| label.name.lossy()).collect();
    names.sort();
    names
}

/// What was asked for, in small letters where letters do not matter.
struct Filter<'a> {
    args: &'a IssuesArgs,
    labels: Vec<String>,
    not_labels: Vec<String>,
    milestone: Option<String>,
    words: Vec<String>,
    now: i64,
}

impl<'a> Filter<'a> {
    fn new(args: &'a IssuesArgs, now: i64) -> Filter<'a> {
        let small = |names: &[String]| names.iter().map(|name| name.to_lowercase()).collect();
        Filter {
            args,
            labels: small(&args.labels),
            not_labels: small(&args.not_labels),
            milestone: args.milestone.as_ref().map(|title| title.to_lowercase()),
            words: args.text.iter().flat_map(|text| text.split_whitespace()).map(str::to_lowercase).collect(),
            now,
        }
    }

    fn takes(&self, issue: Issue<'_>) -> bool {
        let args = self.args;
        let is = |user: burrow_maintner::User<'_>, login: &str| user.login.lossy().eq_ignore_ascii_case(login);
        let has = |label: &String| issue.labels().any(|found| found.name.lossy().to_lowercase() == *label);
        let state = match args.state {
            State::Open => !issue.closed(),
            State::Closed => issue.closed(),
            State::All => true,
        };
        let kind = if args.pull_requests { issue.is_pull_request() } else { !args.issues_only || !issue.is_pull_request() };
        // What is cheap to tell comes first.
        !issue.not_exist()
            && state
            && kind
            && args.since.is_none_or(|since| issue.created() >= Some(since.first(self.now)))
            && args.updated_since.is_none_or(|since| issue.updated() >= Some(since.first(self.now)))
            && args.author.as_ref().is_none_or(|login| issue.user().is_some_and(|user| is(user, login)))
            && args.assignee.as_ref().is_none_or(|login| issue.assignees().any(|user| is(user, login)))
            && self.milestone.as_ref().is_none_or(|wanted| milestone_is(issue, wanted))
            && self.labels.iter().all(has)
            && !self.not_labels.iter().any(has)
            && self.says(issue)
    }

    fn says(&self, issue: Issue<'_>) -> bool {
        let mut missing: Vec<&String> = self.words.iter().collect();
        if missing.is_empty() {
            return true;
        }
        let texts = [issue.title(), issue.body()].into_iter().chain(issue.comments().map(burrow_maintner::Comment::body));
        for text in texts {
            let text = text.lossy().to_lowercase();
            missing.retain(|word| !text.contains(word.as_str()));
            if missing.is_empty() {
                return true;
            }
        }
        false
    }
}

fn milestone_is(issue: Issue<'_>, wanted: &str) -> bool {
    match issue.milestone() {
        MilestoneOf::Is(milestone) => milestone.title.lossy().to_lowercase() == wanted,
        MilestoneOf::None => wanted == "none",
        MilestoneOf::Unknown => false,
    }
}

pub(super) fn run(view: &View, args: &IssuesArgs, now: i64, out: &mut Out) -> Result<(), Stop> {
    let repos = which::repos(view, &args.repos)?;
    let filter = Filter::new(args, now);
    say_unknown(&repos, args);
    let mut found: Vec<Issue<'_>> = Vec::new();
    for repo in &repos {
        // Newest first, as everything below.
        found.extend(repo.issues().into_iter().rev().filter(|issue| filter.takes(*issue)));
    }
    match args.sort {
        Sort::Number => {}
        Sort::Created => found.sort_by_key(|issue| std::cmp::Reverse(issue.created())),
        Sort::Updated => found.sort_by_key(|issue| std::cmp::Reverse(issue.updated())),
    }
    if args.reverse {
        found.reverse();
    }
    let all = found.len();
    found.truncate(args.limit.unwrap_or(usize::MAX));
    if out.json {
        for issue in found {
            let object = IssueObject::of(issue);
            out.object(&if args.comments { object.with_texts(issue) } else { object })?;
        }
        return Ok(());
    }
    if found.is_empty() {
        note("no issue matches");
    } else if args.comments {
        for issue in &found {
            show(*issue, out)?;
        }
    } else {
        let mut grid = Grid::new(["issue", "kind", "state", "updated", "author", "labels", "title"], &[0, 3], &[1, 4, 5, 2]);
        for issue in &found {
            let name = format!("{}#{}", which::repo_name(issue.repo()), issue.number());
            let title = issue.title().to_string();
            grid.row([name, kind(*issue).into(), state(*issue).into(), short(issue.updated()), login(issue.user()), labels(*issue).join(", "), title]);
        }
        out.table(grid)?;
    }
    output::say_cut(found.len(), all);
    Ok(())
}

/// An issue with its texts.
fn show(issue: Issue<'_>, out: &mut Out) -> Result<(), Stop> {
    out.line(format_args!("{}#{}  {}", which::repo_name(issue.repo()), issue.number(), one_line(&issue.title().lossy())))?;
    let said = std::iter::once((issue.created(), issue.user(), issue.body()));
    for (when, who, text) in said.chain(issue.comments().map(|comment| (comment.created(), comment.user(), comment.body()))) {
        out.line(format_args!("  {}  {}", short(when), one_line(&login(who))))?;
        out.text("      ", &text.lossy())?;
    }
    out.line("")
}

/// A label or milestone that does not exist is a slip more often than a question.
fn say_unknown(repos: &[Repo<'_>], args: &IssuesArgs) {
    let say = |what: &str, wanted: &str, known: Vec<String>| {
        let small = wanted.to_lowercase();
        if !known.iter().any(|name| name.to_lowercase() == small) {
            note(which::unknown(what, wanted, &known));
        }
    };
    for wanted in args.labels.iter().chain(&args.not_labels) {
        say("label", wanted, repos.iter().flat_map(|repo| repo.labels()).map(|label| label.name.to_string()).collect());
    }
    if let Some(wanted) = args.milestone.as_ref().filter(|wanted| !wanted.eq_ignore_ascii_case("none")) {
        say("milestone", wanted, repos.iter().flat_map(|repo| repo.milestones()).map(|milestone| milestone.title.to_string()).collect());
    }
}
