//! Gerrit's JSON: of the REST interface, and within NoteDb.

use serde_json::{Map, Value, json};

use crate::model::{Change, Comment, Ms, PatchSet, Status};
use crate::query::Options;
use crate::world::World;

/// `2006-01-02 15:04:05.000000000`, UTC.
pub(crate) fn time(ms: Ms) -> String {
    let timestamp = jiff::Timestamp::from_millisecond(ms).expect("a time that can be written");
    format!("{}.{:03}000000", timestamp.strftime("%Y-%m-%d %H:%M:%S"), ms.rem_euclid(1000))
}

/// `2006-01-02T15:04:05Z`.
fn iso(ms: Ms) -> String {
    jiff::Timestamp::from_second(ms.div_euclid(1000)).expect("a time that can be written").strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// The file of comments on one patch set, as it lies in a change's history.
pub(crate) fn note(comments: &[&Comment], patch_set: &PatchSet, server: &str) -> String {
    let entry = |comment: &&Comment| {
        let mut value = json!({
            "unresolved": comment.unresolved,
            "key": {"uuid": comment.uuid, "filename": comment.path, "patchSetId": comment.patch_set},
            "lineNbr": comment.line,
            "author": {"id": comment.author},
            "writtenOn": iso(comment.date),
            "side": 1,
            "message": comment.text,
            "revId": patch_set.commit,
            "serverId": server,
        });
        if let Some(parent) = &comment.in_reply_to {
            value["parentUuid"] = json!(parent);
        }
        value
    };
    let comments: Vec<Value> = comments.iter().map(entry).collect();
    serde_json::to_string_pretty(&json!({"comments": comments})).expect("plain JSON")
}

/// The footer that says whose turn it is.
pub(crate) fn attention(ident: &str, operation: &str, reason: &str) -> String {
    // Gerrit's writer escapes the angle brackets.
    let text = json!({"person_ident": ident, "operation": operation, "reason": reason}).to_string();
    text.replace('<', "\\u003c").replace('>', "\\u003e")
}

pub(crate) fn account(world: &World, id: i64, detailed: bool) -> Value {
    let mut value = json!({"_account_id": id});
    if let Some(account) = world.account_by_id(id).filter(|_| detailed) {
        value["name"] = json!(account.name);
        value["email"] = json!(account.email);
    }
    value
}

fn status(status: Status) -> &'static str {
    match status {
        Status::New => "NEW",
        Status::Merged => "MERGED",
        Status::Abandoned => "ABANDONED",
    }
}

pub(crate) fn change_id(change: &Change) -> String {
    format!("{}~{}~{}", percent(&change.project), percent(&change.branch), change.change_id)
}

pub(crate) fn percent(text: &str) -> String {
    // What Java's URL encoder leaves as it is.
    const KEPT: percent_encoding::AsciiSet = percent_encoding::NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'*');
    percent_encoding::utf8_percent_encode(text, &KEPT).to_string()
}

pub(crate) fn change(world: &World, change: &Change, options: &Options) -> Value {
    let detailed = options.has("DETAILED_ACCOUNTS");
    let mut value = json!({
        "id": change_id(change), "triplet_id": change_id(change), "project": change.project, "branch": change.branch,
        "hashtags": change.hashtags, "change_id": change.change_id, "subject": change.subject, "status": status(change.status),
        "created": time(change.created), "updated": time(change.updated), "insertions": change.files.values().map(|text| text.lines().count()).sum::<usize>(),
        "deletions": 0, "total_comment_count": change.comments.len(),
        "unresolved_comment_count": change.comments.iter().filter(|comment| comment.unresolved).count(), "has_review_started": true,
        "meta_rev_id": change.metas.last(), "_number": change.number, "owner": account(world, change.owner, detailed), "requirements": [],
        "submit_records": [],
    });
    let mut set = |name: &str, field: Value| {
        value[name] = field;
    };
    if let Some(submitted) = change.submitted {
        set("submitted", json!(time(submitted)));
    }
    if change.wip {
        set("work_in_progress", json!(true));
    }
    if change.private {
        set("is_private", json!(true));
    }
    if options.has("LABELS") || options.has("DETAILED_LABELS") {
        set("labels", labels(world, change, options.has("DETAILED_LABELS"), detailed));
        let people = |ids: &std::collections::BTreeSet<i64>| ids.iter().map(|id| account(world, *id, detailed)).collect::<Vec<_>>();
        let mut reviewers = Map::new();
        for (kind, ids) in [("REVIEWER", &change.reviewers), ("CC", &change.ccs)] {
            if !ids.is_empty() {
                reviewers.insert(kind.to_owned(), json!(people(ids)));
            }
        }
        set("reviewers", Value::Object(reviewers));
    }
    if options.has("MESSAGES") {
        let messages: Vec<Value> = change
            .messages
            .iter()
            .map(|message| {
                let mut value = json!({"id": message.id, "date": time(message.date), "message": message.text, "_revision_number": message.patch_set});
                if let Some(author) = message.author {
                    value["author"] = account(world, author, detailed);
                    value["real_author"] = account(world, author, detailed);
                }
                if let Some(tag) = &message.tag {
                    value["tag"] = json!(tag);
                }
                value
            })
            .collect();
        set("messages", json!(messages));
    }
    let current = change.current();
    if options.has("CURRENT_REVISION") || options.has("ALL_REVISIONS") {
        set("current_revision", json!(current.commit));
        set("current_revision_number", json!(current.number));
        let mut revisions = Map::new();
        for patch_set in change.patch_sets.iter().filter(|patch_set| patch_set.number == current.number || options.has("ALL_REVISIONS")) {
            let is_current = patch_set.number == current.number;
            let with_commit = (is_current && options.has("CURRENT_COMMIT")) || options.has("ALL_COMMITS");
            revisions.insert(patch_set.commit.clone(), revision(world, change, patch_set, with_commit, detailed));
        }
        set("revisions", Value::Object(revisions));
    }
    value
}

fn revision(world: &World, change: &Change, patch_set: &PatchSet, with_commit: bool, detailed: bool) -> Value {
    let reference = change.ref_name(patch_set.number);
    let mut value = json!({
        "kind": if patch_set.number == 1 { "REWORK" } else { "TRIVIAL_REBASE" }, "_number": patch_set.number, "created": time(patch_set.created),
        "uploader": account(world, patch_set.uploader, detailed), "ref": reference,
        "fetch": {"http": {"url": format!("{}/{}", world.base, change.project), "ref": reference}},
    });
    if with_commit {
        let store = world.store(&change.project);
        let message = store.message(&patch_set.commit);
        let person = |id: i64| {
            let account = world.account_by_id(id);
            json!({
                "name": account.map(|account| account.name.as_str()), "email": account.map(|account| account.email.as_str()),
                "date": time(patch_set.created), "tz": 0,
            })
        };
        let parents: Vec<Value> =
            store.parents(&patch_set.commit).into_iter().map(|parent| json!({"subject": store.message(&parent).lines().next(), "commit": parent})).collect();
        value["commit"] = json!({
            "parents": parents, "author": person(change.owner), "committer": person(change.owner), "subject": message.lines().next(), "message": message,
        });
    }
    value
}

fn labels(world: &World, change: &Change, with_votes: bool, detailed: bool) -> Value {
    let mut all = Map::new();
    for label in &world.policy.labels {
        let votes: Vec<_> = change.votes.iter().filter(|vote| vote.label == label.name).collect();
        let mut value = Map::new();
        for (word, limit) in [("approved", label.max), ("rejected", label.min)] {
            if let Some(vote) = votes.iter().find(|vote| vote.value == limit && limit != 0) {
                value.insert(word.to_owned(), account(world, vote.account, detailed));
            }
        }
        if with_votes {
            let entry = |id: i64, given: i8, date: Option<Ms>| {
                let mut entry = account(world, id, detailed);
                entry["value"] = json!(given);
                if let Some(date) = date {
                    entry["date"] = json!(time(date));
                }
                entry
            };
            let mut entries: Vec<Value> = votes.iter().map(|vote| entry(vote.account, vote.value, Some(vote.date))).collect();
            // Whoever was asked and has not voted is there with nothing.
            let silent = change.reviewers.iter().filter(|id| votes.iter().all(|vote| vote.account != **id));
            entries.extend(silent.map(|id| entry(*id, 0, None)));
            if !entries.is_empty() {
                value.insert("all".to_owned(), json!(entries));
            }
            let values: Map<String, Value> =
                (label.min..=label.max).map(|n| (if n == 0 { " 0".to_owned() } else { format!("{n:+}") }, json!(format!("Vote {n}")))).collect();
            value.insert("values".to_owned(), Value::Object(values));
            value.insert("default_value".to_owned(), json!(0));
        }
        all.insert(label.name.clone(), Value::Object(value));
    }
    Value::Object(all)
}

pub(crate) fn comments(world: &World, change: &Change) -> Value {
    let mut by_file = Map::new();
    for comment in &change.comments {
        let commit = change.patch_sets.iter().find(|patch_set| patch_set.number == comment.patch_set).map(|patch_set| patch_set.commit.clone());
        let mut value = json!({
            "author": account(world, comment.author, true), "unresolved": comment.unresolved, "patch_set": comment.patch_set, "id": comment.uuid,
            "updated": time(comment.date), "message": comment.text, "commit_id": commit,
        });
        // What is said about the whole has no line.
        if comment.line > 0 {
            value["line"] = json!(comment.line);
        }
        if let Some(parent) = &comment.in_reply_to {
            value["in_reply_to"] = json!(parent);
        }
        if let Some(list) = by_file.entry(comment.path.clone()).or_insert_with(|| json!([])).as_array_mut() {
            list.push(value);
        }
    }
    Value::Object(by_file)
}
