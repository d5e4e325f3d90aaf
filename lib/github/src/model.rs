//! What GitHub has, in our words. Everything is as of the answer it came with.

use serde::{Deserialize, Serialize};

use crate::{RepoName, Time};

/// A person, organisation or bot.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// GitHub's id, which stays when the login changes.
    pub id: i64,
    /// Name to log in with.
    #[serde(default)]
    pub login: String,
}

/// A team of an organisation.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Team {
    /// GitHub's id.
    pub id: i64,
    /// Name in addresses.
    #[serde(default)]
    pub slug: String,
}

/// A label of a repository.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Label {
    /// GitHub's id.
    pub id: i64,
    /// Name.
    pub name: String,
    /// Six hex digits.
    pub color: String,
    /// What it means; may be empty.
    pub description: String,
}

/// A milestone of a repository.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Milestone {
    /// GitHub's id.
    pub id: i64,
    /// Number within the repository.
    pub number: i64,
    /// Title.
    pub title: String,
    /// Closed or open.
    pub closed: bool,
}

/// An issue or pull request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Issue {
    /// GitHub's id.
    pub id: i64,
    /// Number within the repository.
    pub number: i32,
    /// The repository it is in now. `None` when the answer does not say.
    pub repo: Option<RepoName>,
    /// Title.
    pub title: String,
    /// Text; may be empty.
    pub body: String,
    /// Author. `None` when the account is gone and GitHub names nobody.
    pub user: Option<User>,
    /// Who works on it.
    pub assignees: Vec<User>,
    /// Its labels.
    pub labels: Vec<Label>,
    /// Its milestone.
    pub milestone: Option<Milestone>,
    /// Closed or open.
    pub closed: bool,
    /// Whether only members may comment.
    pub locked: bool,
    /// When it was made.
    pub created: Option<Time>,
    /// When it last changed.
    pub updated: Option<Time>,
    /// When it was closed.
    pub closed_at: Option<Time>,
    /// Who closed it; lists do not say.
    pub closed_by: Option<User>,
    /// It is a pull request.
    pub pull_request: bool,
    /// Number of comments.
    pub comments: i64,
}

/// A comment on an issue or pull request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Comment {
    /// GitHub's id.
    pub id: i64,
    /// Author. `None` when the account is gone and GitHub names nobody.
    pub user: Option<User>,
    /// Text.
    pub body: String,
    /// When it was made.
    pub created: Option<Time>,
    /// When it last changed.
    pub updated: Option<Time>,
}

/// A repository.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Repository {
    /// GitHub's id, which stays when the name changes.
    pub id: i64,
    /// Its name now.
    pub name: RepoName,
    /// Whether it has issues at all.
    pub has_issues: bool,
    /// Whether only some may see it.
    pub private: bool,
    /// Whether it is read-only.
    pub archived: bool,
    /// The branch that people start from.
    pub default_branch: String,
}
