//! GitHub's JSON. The same fields as in real answers (`fixtures/`, compared by a test), so that a client meets here what it will meet there.

use serde_json::{Value, json};

use crate::model::{Comment, Event, Issue, Label, Milestone, Ms, Repo, Review};
use crate::world::World;

/// `2006-01-02T15:04:05Z`.
pub(crate) fn time(ms: Ms) -> String {
    let timestamp = jiff::Timestamp::from_second(ms.div_euclid(1000)).expect("a time that can be written");
    timestamp.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// `Tue, 19 Jul 2022 04:38:37 GMT`.
pub(crate) fn http_date(ms: Ms) -> String {
    let timestamp = jiff::Timestamp::from_second(ms.div_euclid(1000)).expect("a time that can be written");
    timestamp.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

fn node(kind: &str, id: i64) -> String {
    base64::Engine::encode(&base64::engine::general_purpose::STANDARD, format!("0{}:{kind}{id}", kind.len()))
}

pub(crate) fn user(world: &World, id: i64) -> Value {
    let login = world.user_by_id(id).map_or("ghost", |user| user.login.as_str());
    let url = format!("{}/users/{login}", world.base);
    json!({
        "login": login, "id": id, "node_id": node("User", id), "avatar_url": format!("https://avatars.example/u/{id}?v=4"), "gravatar_id": "",
        "url": url, "html_url": format!("https://github.example/{login}"),
        "followers_url": format!("{url}/followers"), "following_url": format!("{url}/following{{/other_user}}"), "gists_url": format!("{url}/gists{{/gist_id}}"),
        "starred_url": format!("{url}/starred{{/owner}}{{/repo}}"), "subscriptions_url": format!("{url}/subscriptions"),
        "organizations_url": format!("{url}/orgs"), "repos_url": format!("{url}/repos"), "events_url": format!("{url}/events{{/privacy}}"),
        "received_events_url": format!("{url}/received_events"), "type": if login.ends_with("[bot]") { "Bot" } else { "User" }, "site_admin": false,
    })
}

fn maybe_user(world: &World, id: Option<i64>) -> Value {
    id.map_or(Value::Null, |id| user(world, id))
}

pub(crate) fn team(world: &World, id: i64) -> Value {
    let (name, slug) = world.team_by_id(id).map_or(("", ""), |team| (team.name.as_str(), team.slug.as_str()));
    let url = format!("{}/organizations/1/team/{id}", world.base);
    json!({
        "name": name, "id": id, "node_id": node("Team", id), "slug": slug, "description": "", "privacy": "closed", "url": url,
        "html_url": format!("https://github.example/orgs/o/teams/{slug}"), "members_url": format!("{url}/members{{/member}}"),
        "repositories_url": format!("{url}/repos"), "permission": "pull", "parent": null,
    })
}

pub(crate) fn label(world: &World, repo: &Repo, label: &Label) -> Value {
    let url = format!("{}/repos/{}/labels/{}", world.base, repo.full_name, percent(&label.name));
    json!({
        "id": label.id, "node_id": node("Label", label.id), "url": url, "name": label.name, "color": label.color, "default": false,
        "description": label.description,
    })
}

fn percent(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}

pub(crate) fn milestone(world: &World, repo: &Repo, milestone: &Milestone) -> Value {
    let url = format!("{}/repos/{}/milestones/{}", world.base, repo.full_name, milestone.number);
    let with = |closed: bool| repo.issues.values().filter(|issue| issue.milestone == Some(milestone.number) && issue.closed == closed).count();
    json!({
        "url": url, "html_url": format!("https://github.example/{}/milestone/{}", repo.full_name, milestone.number), "labels_url": format!("{url}/labels"),
        "id": milestone.id, "node_id": node("Milestone", milestone.id), "number": milestone.number, "title": milestone.title, "description": "",
        "creator": user(world, milestone.creator), "open_issues": with(false), "closed_issues": with(true),
        "state": if milestone.closed { "closed" } else { "open" }, "created_at": time(milestone.created), "updated_at": time(milestone.updated),
        "due_on": null, "closed_at": milestone.closed.then(|| time(milestone.updated)),
    })
}

/// As in a list; `closed_by` only comes with a single issue.
pub(crate) fn issue(world: &World, repo: &Repo, issue: &Issue) -> Value {
    let repo_url = format!("{}/repos/{}", world.base, repo.full_name);
    let url = format!("{repo_url}/issues/{}", issue.number);
    let html = format!("https://github.example/{}/{}/{}", repo.full_name, if issue.pull { "pull" } else { "issues" }, issue.number);
    let labels: Vec<Value> = issue.labels.iter().filter_map(|id| repo.labels.get(id)).map(|found| label(world, repo, found)).collect();
    let assignees: Vec<Value> = issue.assignees.iter().map(|id| user(world, *id)).collect();
    let kind = if issue.pull { "PullRequest" } else { "Issue" };
    let mut value = json!({
        "url": url, "repository_url": repo_url, "labels_url": format!("{url}/labels{{/name}}"), "comments_url": format!("{url}/comments"),
        "events_url": format!("{url}/events"), "html_url": html, "id": issue.id, "node_id": node(kind, issue.id), "number": issue.number,
        "title": issue.title, "user": maybe_user(world, issue.user), "labels": labels, "state": if issue.closed { "closed" } else { "open" },
        "locked": issue.locked, "assignee": assignees.first(), "assignees": assignees,
        "milestone": issue.milestone.and_then(|number| repo.milestones.get(&number)).map(|found| milestone(world, repo, found)),
        "comments": issue.comments.len(), "created_at": time(issue.created), "updated_at": time(issue.updated),
        "closed_at": issue.closed_at.map(time), "author_association": "CONTRIBUTOR", "active_lock_reason": issue.locked.then_some("resolved"),
        "body": issue.body, "reactions": reactions(&url), "timeline_url": format!("{url}/timeline"), "performed_via_github_app": null,
        "state_reason": issue.closed.then_some("completed"),
    });
    if issue.pull {
        let pull = format!("{repo_url}/pulls/{}", issue.number);
        value["draft"] = json!(false);
        value["pull_request"] =
            json!({"url": pull, "html_url": html, "diff_url": format!("{html}.diff"), "patch_url": format!("{html}.patch"), "merged_at": null});
    }
    value
}

pub(crate) fn single_issue(world: &World, repo: &Repo, found: &Issue) -> Value {
    let mut value = issue(world, repo, found);
    value["closed_by"] = maybe_user(world, found.closed_by);
    value
}

fn reactions(url: &str) -> Value {
    json!({
        "url": format!("{url}/reactions"), "total_count": 0, "+1": 0, "-1": 0, "laugh": 0, "hooray": 0, "confused": 0, "heart": 0, "rocket": 0, "eyes": 0,
    })
}

pub(crate) fn comment(world: &World, repo: &Repo, number: i32, comment: &Comment) -> Value {
    let url = format!("{}/repos/{}/issues/comments/{}", world.base, repo.full_name, comment.id);
    json!({
        "url": url, "html_url": format!("https://github.example/{}/issues/{number}#issuecomment-{}", repo.full_name, comment.id),
        "issue_url": format!("{}/repos/{}/issues/{number}", world.base, repo.full_name), "id": comment.id, "node_id": node("IssueComment", comment.id),
        "user": maybe_user(world, comment.user), "created_at": time(comment.created), "updated_at": time(comment.updated),
        "author_association": "NONE", "body": comment.body, "reactions": reactions(&url), "performed_via_github_app": null,
    })
}

pub(crate) fn event(world: &World, repo: &Repo, event: &Event) -> Value {
    let mut value = json!({
        "id": event.id, "node_id": node("Event", event.id), "url": format!("{}/repos/{}/issues/events/{}", world.base, repo.full_name, event.id),
        "actor": maybe_user(world, event.actor), "event": event.kind, "commit_id": null, "commit_url": null, "created_at": time(event.created),
        "performed_via_github_app": null,
    });
    for (name, field) in &event.fields {
        value[name] = field.clone();
    }
    value
}

pub(crate) fn review(world: &World, repo: &Repo, number: i32, review: &Review) -> Value {
    let html = format!("https://github.example/{}/pull/{number}#pullrequestreview-{}", repo.full_name, review.id);
    let pull = format!("{}/repos/{}/pulls/{number}", world.base, repo.full_name);
    let mut value = json!({
        "id": review.id, "node_id": node("PullRequestReview", review.id), "user": maybe_user(world, review.user), "body": review.body,
        "state": review.state, "html_url": html, "pull_request_url": pull, "author_association": "MEMBER",
        "_links": {"html": {"href": html}, "pull_request": {"href": pull}}, "commit_id": review.commit,
    });
    if let Some(submitted) = review.submitted {
        value["submitted_at"] = json!(time(submitted));
    }
    value
}

pub(crate) fn repository(world: &World, repo: &Repo) -> Value {
    let (owner, name) = repo.full_name.split_once('/').unwrap_or_default();
    let url = format!("{}/repos/{}", world.base, repo.full_name);
    json!({
        "id": repo.id, "node_id": node("Repository", repo.id), "name": name, "full_name": repo.full_name, "private": false,
        "owner": {"login": owner, "id": 1, "node_id": node("Organization", 1), "type": "Organization", "site_admin": false, "url": format!("{}/users/{owner}", world.base)},
        "html_url": format!("https://github.example/{}", repo.full_name), "description": null, "fork": false, "url": url,
        "issues_url": format!("{url}/issues{{/number}}"), "labels_url": format!("{url}/labels{{/name}}"), "milestones_url": format!("{url}/milestones{{/number}}"),
        "created_at": time(repo.created), "updated_at": time(repo.created), "pushed_at": time(repo.created), "size": 0, "language": null,
        "has_issues": repo.has_issues, "has_projects": true, "has_downloads": true, "has_wiki": true, "has_pages": false, "archived": false, "disabled": false,
        "open_issues_count": repo.issues.values().filter(|issue| !issue.closed).count(), "license": null, "visibility": "public", "forks": 0,
        "default_branch": "main",
    })
}
