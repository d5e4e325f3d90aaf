//! Everything that the real GitHub was recorded to answer (`fixtures/`) is understood by `burrow_github`, and the model answers in the same shape.

use std::collections::BTreeSet;

use burrow_github::{Comment, Event, Issue, Label, Milestone, Read, Repository, Review};
use serde_json::Value;
use testkit_github::GitHub;

fn fixture(name: &str) -> Value {
    let path = format!("{}/fixtures/{name}", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_slice(&std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"))).unwrap()
}

/// The objects of one kind in all files.
fn recorded(kind: &str) -> Vec<Value> {
    let mut all = Vec::new();
    for file in ["webhooks.json", "openapi.json"] {
        all.extend(fixture(file)[kind].as_array().into_iter().flatten().cloned());
    }
    let answers: Vec<Value> = ["recorded.json", "recorded-github3.json"].iter().flat_map(|file| fixture(file)["answers"].as_array().unwrap().clone()).collect();
    for answer in answers.into_iter().filter(|answer| answer["status"].as_u64() < Some(300)) {
        let path = answer["path"].as_str().unwrap().split('?').next().unwrap();
        let parts: Vec<&str> = path.split('/').skip(1).collect();
        let rest = match parts.as_slice() {
            ["repos", _, _, rest @ ..] | ["repositories", _, rest @ ..] => rest,
            ["search", "issues"] if kind == "issues" => {
                all.extend(answer["response"]["items"].as_array().unwrap().clone());
                continue;
            }
            _ => continue,
        };
        let found = match rest {
            ["issues", "events"] | ["issues", _, "events"] => "events",
            ["issues", _, "comments"] => "comments",
            ["issues", _, "labels"] | ["labels", ..] | ["milestones", _, "labels"] => "labels",
            ["issues"] | ["issues", _] => "issues",
            ["pulls", _, "reviews"] => "reviews",
            ["milestones"] => "milestones",
            [] => "repositories",
            _ => continue,
        };
        if found == kind {
            match &answer["response"] {
                Value::Array(list) => all.extend(list.clone()),
                one => all.push(one.clone()),
            }
        }
    }
    all
}

fn read_all<T: Read>(kind: &str, least: usize) -> Vec<(Value, T)> {
    let all = recorded(kind);
    assert!(all.len() >= least, "only {} {kind} were found", all.len());
    all.into_iter().map(|value| (value.clone(), T::read(&value.to_string()).unwrap_or_else(|error| panic!("{error} in {value}")))).collect()
}

#[test]
fn every_recorded_issue_is_understood() {
    for (value, issue) in read_all::<Issue>("issues", 40) {
        assert_eq!((issue.id, i64::from(issue.number)), (value["id"].as_i64().unwrap(), value["number"].as_i64().unwrap()));
        assert_eq!(issue.title, value["title"].as_str().unwrap());
        assert_eq!(issue.body, value["body"].as_str().unwrap_or_default());
        assert_eq!(issue.closed, value["state"] == "closed");
        assert_eq!(issue.pull_request, value.get("pull_request").is_some_and(|pull| !pull.is_null()));
        assert_eq!(issue.labels.len(), value["labels"].as_array().map_or(0, Vec::len));
        assert_eq!(issue.user.map(|user| user.login), value["user"]["login"].as_str().map(str::to_owned));
        assert_eq!(issue.milestone.map(|milestone| milestone.title), value["milestone"]["title"].as_str().map(str::to_owned));
        assert_eq!(issue.created.map(|time| time.to_string()), value["created_at"].as_str().map(str::to_owned));
        assert!(issue.updated.is_some() && issue.repo.is_some(), "{value}");
    }
}

#[test]
fn every_recorded_comment_label_milestone_and_repository_is_understood() {
    for (value, comment) in read_all::<Comment>("comments", 8) {
        assert_eq!((comment.id, comment.body.as_str()), (value["id"].as_i64().unwrap(), value["body"].as_str().unwrap()));
        assert!(comment.user.is_some() && comment.created.is_some() && comment.updated.is_some(), "{value}");
    }
    for (value, label) in read_all::<Label>("labels", 30) {
        assert_eq!((label.id, label.name.as_str()), (value["id"].as_i64().unwrap(), value["name"].as_str().unwrap()));
    }
    for (value, milestone) in read_all::<Milestone>("milestones", 8) {
        assert_eq!((milestone.number, milestone.title.as_str()), (value["number"].as_i64().unwrap(), value["title"].as_str().unwrap()));
        assert_eq!(milestone.closed, value["state"] == "closed");
    }
    for (value, repository) in read_all::<Repository>("repositories", 6) {
        assert_eq!((repository.id, repository.name.to_string().as_str()), (value["id"].as_i64().unwrap(), value["full_name"].as_str().unwrap()));
    }
}

#[test]
fn every_recorded_event_and_review_is_understood() {
    let mut kinds = BTreeSet::new();
    for (value, event) in read_all::<Event>("events", 30) {
        kinds.insert(event.kind.clone());
        assert_eq!((event.id, event.kind.as_str()), (value["id"].as_i64().unwrap(), value["event"].as_str().unwrap()));
        assert_eq!(event.actor.map(|user| user.id), value["actor"]["id"].as_i64());
        assert_eq!(event.commit.map(|commit| commit.id), value["commit_id"].as_str().map(str::to_owned));
        assert_eq!(event.label, value["label"]["name"].as_str().unwrap_or_default());
        // Of an ordinary event nothing is left over; those of a whole repository carry their issue, and comments their text.
        let extra: BTreeSet<&str> = ["issue", "body", "user", "updated_at", "html_url", "issue_url", "author_association", "reactions"].into();
        let left: Value = if event.other_json.is_empty() { Value::Null } else { serde_json::from_str(&event.other_json).unwrap() };
        for name in left.as_object().into_iter().flat_map(|left| left.keys()) {
            assert!(extra.contains(name.as_str()), "{name} is left of {value}");
        }
    }
    assert!(kinds.len() >= 14, "{kinds:?}");
    for (value, review) in read_all::<Review>("reviews", 8) {
        assert_eq!((review.id, review.state.as_str()), (value["id"].as_i64().unwrap(), value["state"].as_str().unwrap()));
        assert_eq!(review.created.map(|time| time.to_string()), value["submitted_at"].as_str().map(str::to_owned));
        assert!(review.actor.is_some(), "{value}");
    }
}

fn names(value: &Value) -> BTreeSet<String> {
    value.as_object().into_iter().flat_map(|object| object.keys().cloned()).collect()
}

/// Names of the fields that the model sends and no recorded object of the kind has, and of those that all recorded ones have and the model does not send.
fn difference(model: &Value, real: &[Value]) -> (Vec<String>, Vec<String>) {
    let ours = names(model);
    let any: BTreeSet<String> = real.iter().flat_map(names).collect();
    let all: BTreeSet<String> = any.iter().filter(|name| real.iter().all(|value| value.get(name.as_str()).is_some())).cloned().collect();
    (ours.difference(&any).cloned().collect(), all.difference(&ours).cloned().collect())
}

#[tokio::test]
async fn the_model_answers_in_the_shape_of_the_real_one() {
    let github = GitHub::start().await;
    let (issue, pull) = {
        let mut world = github.world();
        world.create_repo("o/r");
        let issue = world.open_issue("o/r", "ada", "t", "b");
        let pull = world.open_pull("o/r", "bob", "t", "b");
        world.comment("o/r", issue, "bob", "c");
        world.add_label("o/r", issue, "ada", "bug");
        world.set_milestone("o/r", issue, "ada", Some("M"));
        world.assign("o/r", issue, "ada", "bob");
        world.review("o/r", pull, "ada", "APPROVED", "");
        (issue, pull)
    };
    let client = burrow_http_client::Client::new(burrow_http_client::Settings::default()).unwrap();
    let get = async |path: &str| -> Value {
        let request = burrow_http_client::Request::get(&format!("{}{path}", github.base())).unwrap();
        let request = request.header(http::header::ACCEPT, "application/vnd.github+json").unwrap();
        serde_json::from_slice(&client.send(request).await.unwrap().bytes(1 << 20).await.unwrap()).unwrap()
    };
    let list = get("/repos/o/r/issues?state=all").await;
    let kinds = [
        ("issues", list[0].clone()),
        ("issues", list[1].clone()),
        ("issues", get(&format!("/repos/o/r/issues/{issue}")).await),
        ("comments", get(&format!("/repos/o/r/issues/{issue}/comments")).await[0].clone()),
        ("reviews", get(&format!("/repos/o/r/pulls/{pull}/reviews")).await[0].clone()),
        ("labels", get("/repos/o/r/labels").await[0].clone()),
        ("milestones", get("/repos/o/r/milestones").await[0].clone()),
        ("events", get(&format!("/repos/o/r/issues/{issue}/events")).await[0].clone()),
        ("repositories", get("/repos/o/r").await),
    ];
    for (kind, model) in kinds {
        let (invented, missing) = difference(&model, &recorded(kind));
        assert!(invented.is_empty(), "{kind}: GitHub has no {invented:?}");
        // A repository has a hundred fields that nobody here looks at.
        assert!(missing.is_empty() || kind == "repositories", "{kind}: GitHub always has {missing:?}");
    }
    let users: Vec<Value> = recorded("issues").iter().map(|issue| issue["user"].clone()).collect();
    assert_eq!(difference(&list[0]["user"], &users), (vec![], vec![]));
}
