//! From GitHub's JSON to our structures: the only place that knows its field names.

use serde::Deserialize;

use crate::{Comment, Issue, Label, Milestone, RepoName, Repository, Time, User};

/// What can be read from one of GitHub's JSON objects.
pub trait Read: Sized {
    /// Reads it. The error says what is wrong, for people.
    ///
    /// # Errors
    /// A required field is missing, or a field has another kind of value than GitHub documents.
    fn read(text: &str) -> Result<Self, String>;
}

/// A field that may be missing or null.
fn maybe<'de, D: serde::Deserializer<'de>, T: Deserialize<'de> + Default>(deserializer: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

fn parse<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, String> {
    serde_json::from_str(text).map_err(|error| error.to_string())
}

#[derive(Deserialize)]
struct WireLabel {
    // Labels of old events and searches have no id; there is none to give them.
    #[serde(default, deserialize_with = "maybe")]
    id: i64,
    #[serde(default, deserialize_with = "maybe")]
    name: String,
    #[serde(default, deserialize_with = "maybe")]
    color: String,
    #[serde(default, deserialize_with = "maybe")]
    description: String,
}

impl From<WireLabel> for Label {
    fn from(wire: WireLabel) -> Label {
        Label { id: wire.id, name: wire.name, color: wire.color, description: wire.description }
    }
}

impl Read for Label {
    fn read(text: &str) -> Result<Label, String> {
        Ok(parse::<WireLabel>(text)?.into())
    }
}

#[derive(Deserialize)]
struct WireMilestone {
    id: i64,
    number: i64,
    #[serde(default, deserialize_with = "maybe")]
    title: String,
    #[serde(default, deserialize_with = "maybe")]
    state: String,
}

impl From<WireMilestone> for Milestone {
    fn from(wire: WireMilestone) -> Milestone {
        Milestone { id: wire.id, number: wire.number, title: wire.title, closed: wire.state == "closed" }
    }
}

impl Read for Milestone {
    fn read(text: &str) -> Result<Milestone, String> {
        Ok(parse::<WireMilestone>(text)?.into())
    }
}

#[derive(Deserialize)]
struct WireIssue {
    id: i64,
    number: i32,
    repository_url: Option<String>,
    #[serde(default, deserialize_with = "maybe")]
    title: String,
    #[serde(default, deserialize_with = "maybe")]
    body: String,
    user: Option<User>,
    // The single form is all that servers of before 2016 have.
    assignee: Option<User>,
    assignees: Option<Vec<User>>,
    #[serde(default, deserialize_with = "maybe")]
    labels: Vec<WireLabel>,
    milestone: Option<WireMilestone>,
    state: Option<String>,
    #[serde(default, deserialize_with = "maybe")]
    locked: bool,
    created_at: Option<Time>,
    updated_at: Option<Time>,
    closed_at: Option<Time>,
    closed_by: Option<User>,
    pull_request: Option<serde::de::IgnoredAny>,
    #[serde(default, deserialize_with = "maybe")]
    comments: i64,
}

impl Read for Issue {
    fn read(text: &str) -> Result<Issue, String> {
        let wire: WireIssue = parse(text)?;
        Ok(Issue {
            id: wire.id,
            number: wire.number,
            repo: wire.repository_url.as_deref().and_then(repo_at),
            title: wire.title,
            body: wire.body,
            user: wire.user,
            assignees: wire.assignees.unwrap_or_else(|| wire.assignee.into_iter().collect()),
            labels: wire.labels.into_iter().map(Label::from).collect(),
            milestone: wire.milestone.map(Milestone::from),
            closed: wire.state.as_deref() == Some("closed"),
            locked: wire.locked,
            created: wire.created_at,
            updated: wire.updated_at,
            closed_at: wire.closed_at,
            closed_by: wire.closed_by,
            pull_request: wire.pull_request.is_some(),
            comments: wire.comments,
        })
    }
}

/// `https://api.github.com/repos/O/R`, on whatever host.
fn repo_at(url: &str) -> Option<RepoName> {
    url.split_once("/repos/")?.1.parse().ok()
}

#[derive(Deserialize)]
struct WireComment {
    id: i64,
    user: Option<User>,
    #[serde(default, deserialize_with = "maybe")]
    body: String,
    created_at: Option<Time>,
    updated_at: Option<Time>,
}

impl Read for Comment {
    fn read(text: &str) -> Result<Comment, String> {
        let wire: WireComment = parse(text)?;
        Ok(Comment { id: wire.id, user: wire.user, body: wire.body, created: wire.created_at, updated: wire.updated_at })
    }
}

#[derive(Deserialize)]
struct WireRepository {
    id: i64,
    full_name: RepoName,
    // Servers that do not say have issues.
    has_issues: Option<bool>,
    #[serde(default, deserialize_with = "maybe")]
    private: bool,
    #[serde(default, deserialize_with = "maybe")]
    archived: bool,
    #[serde(default, deserialize_with = "maybe")]
    default_branch: String,
}

impl Read for Repository {
    fn read(text: &str) -> Result<Repository, String> {
        let wire: WireRepository = parse(text)?;
        Ok(Repository {
            id: wire.id,
            name: wire.full_name,
            has_issues: wire.has_issues.unwrap_or(true),
            private: wire.private,
            archived: wire.archived,
            default_branch: wire.default_branch,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_issue_with_next_to_nothing_is_one() {
        let issue = Issue::read(r#"{"id":1,"number":2,"body":null,"title":null,"user":null,"milestone":null,"labels":null,"pull_request":null}"#).unwrap();
        assert_eq!((issue.id, issue.number, issue.closed, issue.pull_request, issue.user, issue.repo), (1, 2, false, false, None, None));
        let issue =
            Issue::read(r#"{"id":1,"number":2,"state":"closed","pull_request":{},"assignee":{"id":3},"repository_url":"http://h/x/repos/O/R"}"#).unwrap();
        assert_eq!((issue.closed, issue.pull_request, issue.assignees.len()), (true, true, 1));
        assert_eq!(issue.repo, "o/r".parse().ok());
        for bad in ["{}", "[]", r#"{"id":1,"number":3000000000}"#, r#"{"id":1,"number":2,"created_at":"x"}"#, r#"{"id":1,"number":2,"labels":["x"]}"#] {
            assert!(Issue::read(bad).is_err(), "{bad}");
        }
    }
}
