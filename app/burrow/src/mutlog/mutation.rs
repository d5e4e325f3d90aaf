//! A mutation as JSON, and in words. Keys are the names of the schema's fields; what is not there is left out. Texts that are not UTF-8 come with U+FFFD in them,
//! moments as RFC 3339, changes of one value as that value.

use std::fmt::Write as _;

use burrow_maintner::Time;
use protocol_mutlog::view::{
    BoolChange, GerritMutation, GitCommit, GithubCommit, GithubDismissedReviewEvent, GithubIssueCommentMutation, GithubIssueEvent, GithubIssueMutation,
    GithubIssueSyncStatus, GithubLabel, GithubMilestone, GithubMutation, GithubReview, GithubTeam, GithubUser, Mutation, StringChange, Timestamp,
};
use serde_json::{Map, Value};

use crate::godata::output::{count, one_line};
use crate::godata::when::rfc3339;

/// An object that grows by what is there.
#[derive(Default)]
struct Object(Map<String, Value>);

impl Object {
    fn value(mut self, key: &str, value: Option<Value>) -> Self {
        if let Some(value) = value {
            self.0.insert(key.to_owned(), value);
        }
        self
    }

    fn text(self, key: &str, bytes: &[u8]) -> Self {
        self.value(key, (!bytes.is_empty()).then(|| lossy(bytes)))
    }

    fn number(self, key: &str, number: i64) -> Self {
        self.value(key, (number != 0).then(|| number.into()))
    }

    fn flag(self, key: &str, flag: bool) -> Self {
        self.value(key, flag.then_some(Value::Bool(true)))
    }

    fn time(self, key: &str, time: Option<Timestamp<'_>>) -> Self {
        self.value(key, time.map(|time| rfc3339(Time { seconds: time.seconds, nanos: time.nanos }).into()))
    }

    fn list(self, key: &str, items: impl Iterator<Item = Value>) -> Self {
        let items: Vec<Value> = items.collect();
        self.value(key, (!items.is_empty()).then_some(Value::Array(items)))
    }

    /// Ends it; fields that this program does not know come in hex.
    fn end<'a>(self, unknown: impl Iterator<Item = &'a [u8]>) -> Value {
        let hex = |bytes: &[u8]| {
            let digits = bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut digits, byte| {
                let _ = write!(digits, "{byte:02x}");
                digits
            });
            Value::String(digits)
        };
        Value::Object(self.list("unknown", unknown.map(hex)).0)
    }
}

fn lossy(bytes: &[u8]) -> Value {
    Value::String(String::from_utf8_lossy(bytes).into_owned())
}

/// The whole mutation.
pub(crate) fn json(mutation: &Mutation<'_>) -> Value {
    Object::default()
        .value("github_issue", mutation.github_issue.map(issue))
        .value(
            "git",
            mutation.git.map(|git| {
                let repo = git.repo.map(|repo| Object::default().text("go_repo", repo.go_repo).end(repo.unknown()));
                Object::default().value("repo", repo).value("commit", git.commit.map(commit)).end(git.unknown())
            }),
        )
        .value("github", mutation.github.map(lists))
        .value("gerrit", mutation.gerrit.map(gerrit))
        .end(mutation.unknown())
}

fn issue(issue: GithubIssueMutation<'_>) -> Value {
    Object::default()
        .text("owner", issue.owner)
        .text("repo", issue.repo)
        .number("number", issue.number.into())
        .value("user", issue.user.map(user))
        .time("created", issue.created)
        .time("updated", issue.updated)
        .text("body", issue.body)
        .list("comment", issue.comment.iter().map(comment))
        .text("title", issue.title)
        .list("assignees", issue.assignees.iter().map(user))
        .list("deleted_assignees", issue.deleted_assignees.iter().map(Value::from))
        .number("id", issue.id)
        .flag("not_exist", issue.not_exist)
        .value("comment_status", issue.comment_status.map(status))
        .flag("no_milestone", issue.no_milestone)
        .number("milestone_id", issue.milestone_id)
        .number("milestone_num", issue.milestone_num)
        .text("milestone_title", issue.milestone_title)
        .value("closed", issue.closed.map(change))
        .time("closed_at", issue.closed_at)
        .value("closed_by", issue.closed_by.map(user))
        .list("remove_label", issue.remove_label.iter().map(Value::from))
        .list("add_label", issue.add_label.iter().map(label))
        .value("locked", issue.locked.map(change))
        .list("event", issue.event.iter().map(event))
        .value("event_status", issue.event_status.map(status))
        .flag("pull_request", issue.pull_request)
        .list("review", issue.review.iter().map(review))
        .value("review_status", issue.review_status.map(status))
        .value("body_change", issue.body_change.map(|change: StringChange<'_>| lossy(change.val)))
        .end(issue.unknown())
}

fn change(change: BoolChange<'_>) -> Value {
    Value::Bool(change.val)
}

fn status(status: GithubIssueSyncStatus<'_>) -> Value {
    Object::default().time("server_date", status.server_date).end(status.unknown())
}

fn user(user: GithubUser<'_>) -> Value {
    Object::default().number("id", user.id).text("login", user.login).end(user.unknown())
}

fn team(team: GithubTeam<'_>) -> Value {
    Object::default().number("id", team.id).text("slug", team.slug).end(team.unknown())
}

fn label(label: GithubLabel<'_>) -> Value {
    Object::default().number("id", label.id).text("name", label.name).end(label.unknown())
}

fn milestone(milestone: GithubMilestone<'_>) -> Value {
    Object::default()
        .number("id", milestone.id)
        .text("title", milestone.title)
        .value("closed", milestone.closed.map(change))
        .number("number", milestone.number)
        .end(milestone.unknown())
}

fn comment(comment: GithubIssueCommentMutation<'_>) -> Value {
    Object::default()
        .number("id", comment.id)
        .value("user", comment.user.map(user))
        .text("body", comment.body)
        .time("created", comment.created)
        .time("updated", comment.updated)
        .end(comment.unknown())
}

fn event(event: GithubIssueEvent<'_>) -> Value {
    let of_commit = |commit: GithubCommit<'_>| {
        Object::default().text("owner", commit.owner).text("repo", commit.repo).text("commit_id", commit.commit_id).end(commit.unknown())
    };
    let dismissed = |review: GithubDismissedReviewEvent<'_>| {
        let object = Object::default().number("review_id", review.review_id).text("dismissal_message", review.dismissal_message);
        object.text("state", review.state).end(review.unknown())
    };
    Object::default()
        .number("id", event.id)
        .text("event_type", event.event_type)
        .number("actor_id", event.actor_id)
        .time("created", event.created)
        .value("label", event.label.map(label))
        .value("milestone", event.milestone.map(milestone))
        .number("assignee_id", event.assignee_id)
        .number("assigner_id", event.assigner_id)
        .value("commit", event.commit.map(of_commit))
        .text("other_json", event.other_json)
        .text("rename_from", event.rename_from)
        .text("rename_to", event.rename_to)
        .number("reviewer_id", event.reviewer_id)
        .number("review_requester_id", event.review_requester_id)
        .value("dismissed_review", event.dismissed_review.map(dismissed))
        .value("team_reviewer", event.team_reviewer.map(team))
        .end(event.unknown())
}

fn review(review: GithubReview<'_>) -> Value {
    Object::default()
        .number("id", review.id)
        .number("actor_id", review.actor_id)
        .time("created", review.created)
        .text("body", review.body)
        .text("state", review.state)
        .text("commit_id", review.commit_id)
        .text("actor_association", review.actor_association)
        .text("other_json", review.other_json)
        .end(review.unknown())
}

fn lists(lists: GithubMutation<'_>) -> Value {
    Object::default()
        .text("owner", lists.owner)
        .text("repo", lists.repo)
        .list("labels", lists.labels.iter().map(label))
        .list("milestones", lists.milestones.iter().map(milestone))
        .end(lists.unknown())
}

fn gerrit(gerrit: GerritMutation<'_>) -> Value {
    let reference =
        |reference: protocol_mutlog::view::GitRef<'_>| Object::default().text("ref", reference.ref_name).text("sha1", reference.sha1).end(reference.unknown());
    Object::default()
        .text("project", gerrit.project)
        .list("commits", gerrit.commits.iter().map(commit))
        .list("refs", gerrit.refs.iter().map(reference))
        .list("deleted_refs", gerrit.deleted_refs.iter().map(lossy))
        .end(gerrit.unknown())
}

fn commit(commit: GitCommit<'_>) -> Value {
    let tree = commit.diff_tree.map(|tree| {
        let file = |file: protocol_mutlog::view::GitDiffTreeFile<'_>| {
            let object = Object::default().text("file", file.file).number("added", file.added).number("deleted", file.deleted);
            object.flag("binary", file.binary).end(file.unknown())
        };
        Object::default().list("file", tree.file.iter().map(file)).end(tree.unknown())
    });
    Object::default().text("sha1", commit.sha1).text("raw", commit.raw).value("diff_tree", tree).end(commit.unknown())
}

/// A line about it.
pub(crate) fn words(mutation: &Mutation<'_>) -> String {
    let mut said = Vec::new();
    said.extend(mutation.github_issue.map(issue_words));
    said.extend(mutation.github.map(|lists| {
        let counts = [counted(lists.labels.iter().count(), "label"), counted(lists.milestones.iter().count(), "milestone")];
        format!("github {}/{}: {}", text(lists.owner), text(lists.repo), joined(counts.into_iter().flatten()))
    }));
    said.extend(mutation.git.map(|git| match git.commit {
        Some(commit) => format!("git {}: {}", text(commit.sha1), subject(commit)),
        None => "git".to_owned(),
    }));
    said.extend(mutation.gerrit.map(gerrit_words));
    if !said.is_empty() {
        return one_line(&said.join("; "));
    }
    match mutation.encoded.len() {
        0 => "empty".to_owned(),
        bytes => format!("unknown: {bytes} bytes of a kind that this program does not know"),
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn counted(number: usize, what: &str) -> Option<String> {
    (number > 0).then(|| count(number, what))
}

fn joined(parts: impl Iterator<Item = String>) -> String {
    let parts: Vec<String> = parts.collect();
    if parts.is_empty() { "nothing".to_owned() } else { parts.join(", ") }
}

fn issue_words(issue: GithubIssueMutation<'_>) -> String {
    let mut parts = Vec::new();
    let mut flag = |there: bool, word: &str| parts.extend(there.then(|| word.to_owned()));
    flag(issue.not_exist, "does not exist");
    flag(issue.created.is_some(), "new");
    flag(issue.pull_request, "pull request");
    flag(!issue.body.is_empty() || issue.body_change.is_some(), "text");
    flag(issue.no_milestone, "no milestone");
    if let Some(closed) = issue.closed {
        flag(true, if closed.val { "closed" } else { "open" });
    }
    if let Some(locked) = issue.locked {
        flag(true, if locked.val { "locked" } else { "unlocked" });
    }
    if !issue.title.is_empty() {
        parts.push(format!("title {:?}", text(issue.title)));
    }
    if issue.milestone_id != 0 {
        parts.push(format!("milestone {}", text(issue.milestone_title)));
    }
    parts.extend(issue.add_label.iter().map(|label| format!("+{}", text(label.name))));
    parts.extend(issue.assignees.iter().map(|user| format!("assigned to {}", text(user.login))));
    parts.extend(counted(issue.remove_label.iter().count(), "removed label"));
    parts.extend(counted(issue.deleted_assignees.iter().count(), "removed assignee"));
    parts.extend(counted(issue.comment.iter().count(), "comment"));
    let kinds: Vec<String> = issue.event.iter().map(|event| text(event.event_type)).collect();
    parts.extend(counted(kinds.len(), "event").map(|count| format!("{count} ({})", kinds.join(", "))));
    parts.extend(counted(issue.review.iter().count(), "review"));
    let synced = [issue.comment_status, issue.event_status, issue.review_status].iter().any(Option::is_some);
    if parts.is_empty() {
        parts.push(if synced { "read again, nothing new" } else { "updated" }.to_owned());
    }
    format!("issue {}/{}#{}: {}", text(issue.owner), text(issue.repo), issue.number, parts.join(", "))
}

fn subject(commit: GitCommit<'_>) -> String {
    let raw = String::from_utf8_lossy(commit.raw);
    let message = raw.split_once("\n\n").map_or("", |(_, message)| message);
    message.lines().next().unwrap_or("").to_owned()
}

fn gerrit_words(gerrit: GerritMutation<'_>) -> String {
    let commits: Vec<GitCommit<'_>> = gerrit.commits.iter().collect();
    let mut parts = match commits.as_slice() {
        [] => Vec::new(),
        [one] => vec![format!("commit {}: {}", text(one.sha1), subject(*one))],
        more => vec![format!("{} commits", more.len())],
    };
    parts.extend(gerrit.refs.iter().map(|reference| text(reference.ref_name)));
    parts.extend(gerrit.deleted_refs.iter().map(|name| format!("-{}", text(name))));
    format!("gerrit {}: {}", text(gerrit.project), joined(parts.into_iter()))
}

#[cfg(test)]
mod tests {
    use protocol_mutlog::{schema, view};
    use serde_json::json;

    use super::*;

    fn both(mutation: &schema::Mutation) -> (String, Value) {
        let bytes = mutation.encode();
        let decoded = view::Mutation::decode(&bytes).unwrap();
        (words(&decoded), json(&decoded))
    }

    #[test]
    fn what_is_there_is_shown_and_nothing_else() {
        let mut unknown = Vec::new();
        protocol_mutlog::wire::put_bytes(&mut unknown, 1_000, b"x");
        let issue = schema::GithubIssueMutation {
            owner: b"golang".to_vec(),
            repo: b"go".to_vec(),
            number: 7,
            title: b"a\xffb\x1b[1m".to_vec(),
            created: Some(schema::Timestamp::new(0, 5)),
            closed: Some(schema::BoolChange::default()),
            body_change: Some(schema::StringChange::default()),
            remove_label: vec![3, 4],
            event: vec![schema::GithubIssueEvent { id: 9, event_type: b"labeled".to_vec(), ..Default::default() }],
            unknown: unknown.clone(),
            ..Default::default()
        };
        let (words, object) = both(&schema::Mutation { github_issue: Some(issue), unknown, ..Default::default() });
        assert_eq!(words, "issue golang/go#7: new, text, open, title \"a\u{fffd}b\\u{1b}[1m\", 2 removed labels, 1 event (labeled)");
        let expected = json!({"unknown": ["c23e0178"], "github_issue": {
            "owner": "golang", "repo": "go", "number": 7, "title": "a\u{fffd}b\u{1b}[1m", "created": "1970-01-01T00:00:00.000000005Z", "closed": false, "body_change": "",
            "remove_label": [3, 4], "event": [{"id": 9, "event_type": "labeled"}], "unknown": ["c23e0178"],
        }});
        assert_eq!(object, expected);
    }

    #[test]
    fn every_kind_has_its_words() {
        let commit = |raw: &str| schema::GitCommit { sha1: b"abc".to_vec(), raw: raw.into(), ..Default::default() };
        let gerrit = schema::GerritMutation {
            project: b"h/p".to_vec(),
            commits: vec![commit("tree 1\n\nall: fix\n\nmore")],
            refs: vec![schema::GitRef { ref_name: b"refs/heads/master".to_vec(), ..Default::default() }],
            deleted_refs: vec![b"refs/heads/old".to_vec()],
            ..Default::default()
        };
        let lists = schema::GithubMutation { owner: b"o".to_vec(), repo: b"r".to_vec(), labels: vec![schema::GithubLabel::default()], ..Default::default() };
        let git = schema::GitMutation { commit: Some(commit("no message")), ..Default::default() };
        for (mutation, expected) in [
            (schema::Mutation::default(), "empty"),
            (schema::Mutation { unknown: vec![0xc0, 0x3e, 1], ..Default::default() }, "unknown: 3 bytes of a kind that this program does not know"),
            (schema::Mutation { gerrit: Some(gerrit), ..Default::default() }, "gerrit h/p: commit abc: all: fix, refs/heads/master, -refs/heads/old"),
            (schema::Mutation { github: Some(lists), git: Some(git), ..Default::default() }, "github o/r: 1 label; git abc: "),
        ] {
            assert_eq!(both(&mutation).0, expected);
        }
    }
}
