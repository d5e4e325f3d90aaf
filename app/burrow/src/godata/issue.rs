//! `burrow godata issue`: everything about one issue.

use std::borrow::Cow;

use burrow_maintner::{Comment, Event, Issue, MilestoneOf, Review, Time, View};
use serde::Serialize;

use super::issues::{IssueObject, kind, labels, state};
use super::output::{Out, Stop, one_line};
use super::people::{User, login};
use super::when::{rfc3339, short};
use super::which::{self, IssueName};

#[derive(Debug, Serialize)]
struct Whole<'a> {
    #[serde(flatten)]
    issue: IssueObject<'a>,
    /// GitHub's id; 0 when it was never said.
    id: i64,
    not_exist: bool,
    closed_by: Option<User<'a>>,
    body: Cow<'a, str>,
    /// As of when comments, events and reviews are complete.
    comments_as_of: Option<String>,
    events_as_of: Option<String>,
    reviews_as_of: Option<String>,
    /// Comments, events and reviews by time.
    timeline: Vec<Entry<'a>>,
}

/// Something in the life of an issue.
#[derive(Debug, Serialize)]
#[serde(tag = "what", rename_all = "snake_case")]
enum Entry<'a> {
    Comment {
        time: Option<String>,
        id: i64,
        author: Option<User<'a>>,
        updated: Option<String>,
        body: Cow<'a, str>,
    },
    Event(Box<EventEntry<'a>>),
    Review {
        time: Option<String>,
        id: i64,
        actor: Option<User<'a>>,
        state: Cow<'a, str>,
        body: Cow<'a, str>,
        commit: Cow<'a, str>,
        association: Cow<'a, str>,
        #[serde(skip_serializing_if = "str::is_empty")]
        other: Cow<'a, str>,
    },
}

/// An event; what it does not have is left out.
#[derive(Debug, Serialize)]
struct EventEntry<'a> {
    time: Option<String>,
    id: i64,
    actor: Option<User<'a>>,
    kind: Cow<'a, str>,
    #[serde(skip_serializing_if = "str::is_empty")]
    label: Cow<'a, str>,
    #[serde(skip_serializing_if = "str::is_empty")]
    milestone: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    assignee: Option<User<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    assigner: Option<User<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    commit: Option<CommitOf<'a>>,
    #[serde(skip_serializing_if = "str::is_empty")]
    from: Cow<'a, str>,
    #[serde(skip_serializing_if = "str::is_empty")]
    to: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reviewer: Option<User<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    review_requester: Option<User<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    team: Option<TeamOf<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dismissed: Option<Dismissed<'a>>,
    #[serde(skip_serializing_if = "str::is_empty")]
    other: Cow<'a, str>,
}

#[derive(Debug, Serialize)]
struct CommitOf<'a> {
    owner: Cow<'a, str>,
    repo: Cow<'a, str>,
    id: Cow<'a, str>,
}

#[derive(Debug, Serialize)]
struct TeamOf<'a> {
    id: i64,
    slug: Cow<'a, str>,
}

#[derive(Debug, Serialize)]
struct Dismissed<'a> {
    id: i64,
    message: Cow<'a, str>,
    state: Cow<'a, str>,
}

/// The same before it is put into words.
#[derive(Clone, Copy)]
enum Happened<'a> {
    Comment(Comment<'a>),
    Event(Event<'a>),
    Review(Review<'a>),
}

impl<'a> Happened<'a> {
    fn time(self) -> Option<Time> {
        match self {
            Happened::Comment(comment) => comment.created(),
            Happened::Event(event) => event.created(),
            Happened::Review(review) => review.created(),
        }
    }

    fn entry(self) -> Entry<'a> {
        let time = self.time().map(rfc3339);
        match self {
            Happened::Comment(comment) => Entry::Comment {
                time,
                id: comment.id(),
                author: comment.user().map(User::from),
                updated: comment.updated().map(rfc3339),
                body: comment.body().lossy(),
            },
            Happened::Review(review) => Entry::Review {
                time,
                id: review.id(),
                actor: review.actor().map(User::from),
                state: review.state().lossy(),
                body: review.body().lossy(),
                commit: review.commit_id().lossy(),
                association: review.actor_association().lossy(),
                other: review.other_json().lossy(),
            },
            Happened::Event(event) => {
                let (from, to) = event.rename();
                Entry::Event(Box::new(EventEntry {
                    time,
                    id: event.id(),
                    actor: event.actor().map(User::from),
                    kind: event.kind().lossy(),
                    label: event.label().lossy(),
                    milestone: event.milestone().lossy(),
                    assignee: event.assignee().map(User::from),
                    assigner: event.assigner().map(User::from),
                    commit: event.commit().map(|(owner, repo, id)| CommitOf { owner: owner.lossy(), repo: repo.lossy(), id: id.lossy() }),
                    from: from.lossy(),
                    to: to.lossy(),
                    reviewer: event.reviewer().map(User::from),
                    review_requester: event.review_requester().map(User::from),
                    team: event.team_reviewer().map(|team| TeamOf { id: team.id, slug: team.slug.lossy() }),
                    dismissed: event.dismissed_review().map(|review| Dismissed { id: review.id, message: review.message.lossy(), state: review.state.lossy() }),
                    other: event.other_json().lossy(),
                }))
            }
        }
    }

    /// What is shown: a line, and perhaps a text.
    fn words(self) -> (String, Cow<'a, str>) {
        match self {
            Happened::Comment(comment) => (format!("{} commented", login(comment.user())), comment.body().lossy()),
            Happened::Review(review) => (format!("{} reviewed: {}", login(review.actor()), review.state()), review.body().lossy()),
            Happened::Event(event) => {
                let (from, to) = event.rename();
                let mut line = format!("{}: {}", login(event.actor()), event.kind());
                let quoted = |text: burrow_maintner::Text<'_>| (!text.is_empty()).then(|| text.to_string());
                let commit = event.commit().map(|(owner, repo, id)| if owner.is_empty() { id.to_string() } else { format!("{owner}/{repo}@{id}") });
                let renamed = (!from.is_empty() || !to.is_empty()).then(|| format!("{from:?} to {to:?}"));
                let requested = event.reviewer().map(|user| login(Some(user))).or_else(|| event.team_reviewer().map(|team| format!("team {}", team.slug)));
                let assigned = event.assignee().map(|user| login(Some(user)));
                let dismissed = event.dismissed_review().map(|review| review.message.to_string());
                for more in [quoted(event.label()), quoted(event.milestone()), assigned, commit, renamed, requested, dismissed].into_iter().flatten() {
                    line.push(' ');
                    line.push_str(&more);
                }
                (line, Cow::Borrowed(""))
            }
        }
    }
}

/// Comments, events and reviews in the order of their times.
fn timeline(issue: Issue<'_>) -> Vec<Happened<'_>> {
    let mut all: Vec<Happened<'_>> = issue.comments().map(Happened::Comment).collect();
    all.extend(issue.events().map(Happened::Event));
    all.extend(issue.reviews().map(Happened::Review));
    all.sort_by_key(|happened| happened.time());
    all
}

pub(super) fn run(view: &View, name: &IssueName, out: &mut Out) -> Result<(), Stop> {
    let issue = which::issue(view, name)?;
    if out.json {
        return out.object(&Whole {
            issue: IssueObject::of(issue),
            id: issue.id(),
            not_exist: issue.not_exist(),
            closed_by: issue.closed_by().map(User::from),
            body: issue.body().lossy(),
            comments_as_of: issue.comments_as_of().map(rfc3339),
            events_as_of: issue.events_as_of().map(rfc3339),
            reviews_as_of: issue.reviews_as_of().map(rfc3339),
            timeline: timeline(issue).into_iter().map(Happened::entry).collect(),
        });
    }
    out.line(format_args!("{}#{}  {}", which::repo_name(issue.repo()), issue.number(), one_line(&issue.title().lossy())))?;
    let mut facts = vec![
        ("state", format!("{} {}{}", state(issue), kind(issue), if issue.locked() { ", locked" } else { "" })),
        ("author", login(issue.user())),
        ("created", short(issue.created())),
        ("updated", short(issue.updated())),
        (
            "closed",
            [short(issue.closed_at()), issue.closed_by().map(|user| format!("by {}", login(Some(user)))).unwrap_or_default()].join(" ").trim().to_owned(),
        ),
        ("labels", labels(issue).join(", ")),
        ("assignees", issue.assignees().map(|user| login(Some(user))).collect::<Vec<_>>().join(", ")),
    ];
    facts.push((
        "milestone",
        match issue.milestone() {
            MilestoneOf::Unknown => "not known".into(),
            MilestoneOf::None => String::new(),
            MilestoneOf::Is(milestone) => milestone.title.to_string(),
        },
    ));
    for (what, said) in facts.into_iter().filter(|(_, said)| !said.is_empty()) {
        out.line(format_args!("  {what:<9} {}", one_line(&said)))?;
    }
    out.line("")?;
    out.text("  ", &issue.body().lossy())?;
    for happened in timeline(issue) {
        let (line, text) = happened.words();
        out.line(format_args!("{}  {}", short(happened.time()), one_line(&line)))?;
        out.text("    ", &text)?;
    }
    Ok(())
}
