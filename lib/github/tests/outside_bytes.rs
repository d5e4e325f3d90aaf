//! Whatever comes from outside is read or refused; nothing panics, and what is kept of the unknown is kept in one form.

use burrow_github::{Comment, Event, Issue, Label, Milestone, Read, Repository, Review, Time};
use proptest::collection::{hash_map, vec};
use proptest::prelude::*;
use serde_json::Value;

/// Names that mean something, and others.
fn name() -> impl Strategy<Value = String> {
    let known = [
        "id",
        "number",
        "event",
        "url",
        "actor",
        "assignee",
        "assigner",
        "requested_reviewer",
        "review_requester",
        "requested_team",
        "label",
        "labels",
        "milestone",
        "rename",
        "from",
        "to",
        "created_at",
        "submitted_at",
        "updated_at",
        "dismissed_review",
        "review_id",
        "state",
        "commit_id",
        "commit_url",
        "login",
        "slug",
        "user",
        "body",
        "title",
        "full_name",
        "pull_request",
        "node_id",
        "_links",
        "repository_url",
        "new<&>\u{2028}",
    ];
    prop_oneof![4 => proptest::sample::select(known.to_vec()).prop_map(str::to_owned), 1 => ".{0,6}"]
}

fn json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
        Just(Value::from("2017-03-14T22:26:21Z")),
        Just(Value::from("https://api.github.com/repos/o/r/commits/c")),
        Just(Value::from("o/r")),
    ];
    leaf.prop_recursive(4, 40, 6, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            hash_map(name(), inner, 0..8).prop_map(|fields| Value::from(fields.into_iter().collect::<serde_json::Map<_, _>>())),
        ]
    })
}

fn read_everything(text: &str) {
    let _ = (Issue::read(text), Comment::read(text), Event::read(text), Review::read(text));
    let _ = (Label::read(text), Milestone::read(text), Repository::read(text), text.parse::<Time>());
}

proptest! {
    #[test]
    fn nothing_panics(text in ".{0,80}") {
        read_everything(&text);
    }

    #[test]
    fn json_of_any_shape_is_read_or_refused(value in json()) {
        let text = value.to_string();
        read_everything(&text);
        if let Ok(event) = Event::read(&text) && !event.other_json.is_empty() {
            // What is left is JSON, has nothing in it that is known, and does not change any more.
            let left: Value = serde_json::from_str(&event.other_json).unwrap();
            prop_assert!(left.get("event").is_none() && left.get("node_id").is_none() && left.get("id").is_none());
            let again = Event::read(&event.other_json).unwrap();
            prop_assert_eq!(again.other_json, event.other_json);
        }
    }
}
