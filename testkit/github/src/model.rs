//! What GitHub holds. Everything is public: a test compares what a client found with what there is.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// Unix milliseconds. GitHub shows whole seconds.
pub type Ms = i64;

/// A person, organisation or bot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// GitHub's id.
    pub id: i64,
    /// Name to log in with.
    pub login: String,
}

/// A team.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Team {
    /// GitHub's id.
    pub id: i64,
    /// Name in addresses.
    pub slug: String,
    /// Name for people.
    pub name: String,
}

/// A label of a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    /// GitHub's id.
    pub id: i64,
    /// Name.
    pub name: String,
    /// Six hex digits.
    pub color: String,
    /// What it means.
    pub description: Option<String>,
}

/// A milestone of a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Milestone {
    /// GitHub's id.
    pub id: i64,
    /// Number within the repository.
    pub number: i64,
    /// Title.
    pub title: String,
    /// Closed or open.
    pub closed: bool,
    /// Id of who made it.
    pub creator: i64,
    /// When.
    pub created: Ms,
    /// Last change.
    pub updated: Ms,
}

/// Whose review is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reviewer {
    /// A person, by id.
    User(i64),
    /// A team, by id.
    Team(i64),
}

/// A comment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Comment {
    /// GitHub's id.
    pub id: i64,
    /// Id of the author; `None` when GitHub names nobody.
    pub user: Option<i64>,
    /// Text.
    pub body: String,
    /// When it was made.
    pub created: Ms,
    /// Last change.
    pub updated: Ms,
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// GitHub's id.
    pub id: i64,
    /// `labeled`, …
    pub kind: String,
    /// Id of who did it; `None` when GitHub names nobody.
    pub actor: Option<i64>,
    /// When.
    pub created: Ms,
    /// The fields of this kind, as they are sent.
    pub fields: BTreeMap<String, Value>,
}

/// A review of a pull request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Review {
    /// GitHub's id.
    pub id: i64,
    /// Id of the reviewer; `None` when GitHub names nobody.
    pub user: Option<i64>,
    /// `COMMENTED`, `APPROVED`, `CHANGES_REQUESTED`, `DISMISSED`, `PENDING`.
    pub state: String,
    /// Text.
    pub body: String,
    /// What was reviewed.
    pub commit: String,
    /// When; none while it is pending.
    pub submitted: Option<Ms>,
}

/// An issue or pull request.
#[derive(Debug, Clone, PartialEq)]
pub struct Issue {
    /// GitHub's id.
    pub id: i64,
    /// Number within the repository.
    pub number: i32,
    /// Title.
    pub title: String,
    /// Text; `None` is sent as null.
    pub body: Option<String>,
    /// Id of the author; `None` when GitHub names nobody.
    pub user: Option<i64>,
    /// Ids of who works on it.
    pub assignees: Vec<i64>,
    /// Ids of labels.
    pub labels: BTreeSet<i64>,
    /// Number of the milestone.
    pub milestone: Option<i64>,
    /// Closed or open.
    pub closed: bool,
    /// Whether only members may comment.
    pub locked: bool,
    /// When it was made.
    pub created: Ms,
    /// Last change.
    pub updated: Ms,
    /// When it was closed, while it is.
    pub closed_at: Option<Ms>,
    /// Id of who closed it, while it is.
    pub closed_by: Option<i64>,
    /// It is a pull request.
    pub pull: bool,
    /// Comments by id.
    pub comments: BTreeMap<i64, Comment>,
    /// Events by id.
    pub events: BTreeMap<i64, Event>,
    /// Reviews by id.
    pub reviews: BTreeMap<i64, Review>,
}

/// What became of a number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// Deleted: 410.
    Deleted,
    /// Transferred to another repository (by id) and number: 301.
    Transferred(i64, i32),
    /// Never was, as far as anybody may see: 404.
    Hidden,
}

/// A repository.
#[derive(Debug, Clone, PartialEq)]
pub struct Repo {
    /// GitHub's id.
    pub id: i64,
    /// `owner/name` now.
    pub full_name: String,
    /// Names that it had: they redirect.
    pub old_names: Vec<String>,
    /// Whether issues are switched on.
    pub has_issues: bool,
    /// Issues and pull requests by number.
    pub issues: BTreeMap<i32, Issue>,
    /// Numbers that are not issues any more.
    pub fates: BTreeMap<i32, Fate>,
    /// Labels by id.
    pub labels: BTreeMap<i64, Label>,
    /// Milestones by number.
    pub milestones: BTreeMap<i64, Milestone>,
    /// The next issue's number.
    pub next: i32,
    /// When it was made.
    pub created: Ms,
}
