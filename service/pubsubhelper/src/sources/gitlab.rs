//! Webhooks of GitLab: of projects and groups, and those system hooks that tell of pushes.

use burrow_events::{Change, Draft, Push, place_of};
use serde::Deserialize;

use super::{Envelope, Malformed, Verdict, addresses, git_topics};

#[derive(Debug, Deserialize)]
struct Payload {
    object_kind: Option<String>,
    event_name: Option<String>,
    project: Option<Project>,
    #[serde(rename = "ref")]
    reference: Option<String>,
    before: Option<String>,
    after: Option<String>,
    object_attributes: Option<Attributes>,
    merge_request: Option<Internal>,
    issue: Option<Internal>,
    /// Several references at once, in a system hook.
    refs: Option<Vec<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Project {
    path_with_namespace: String,
    web_url: Option<String>,
    git_http_url: Option<String>,
    git_ssh_url: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Attributes {
    iid: Option<u64>,
    action: Option<String>,
    url: Option<String>,
    last_commit: Option<Commit>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Internal {
    iid: Option<u64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Commit {
    id: Option<String>,
}

/// References of one system hook that become events; more are one event without a reference.
const REFERENCES: usize = 100;

/// Reads a delivery.
///
/// # Errors
/// [`Malformed`].
pub fn read(envelope: &Envelope<'_>, body: &[u8]) -> Result<Verdict, Malformed> {
    let payload: Payload = envelope.read("GitLab", body)?;
    let kind = payload.object_kind.or(payload.event_name).unwrap_or_default();
    let Some(project) = payload.project else { return Ok(Verdict::Ignored("no project is named".into())) };
    let name = &project.path_with_namespace;
    if !name.contains('/') || name.len() > 1000 || name.contains(|c: char| c.is_control() || c.is_whitespace()) {
        return Err(Malformed::Repository { name: name.chars().take(200).collect(), form: "group/project" });
    }
    envelope.may_speak_for(name)?;
    let urls = addresses([&project.git_http_url, &project.git_ssh_url]);
    let place = project.web_url.as_deref().or(urls.first().map(String::as_str)).map(place_of).unwrap_or_default();
    let mut topics = vec![format!("gitlab:{}/{name}", place.split('/').next().unwrap_or_default())];
    match kind.as_str() {
        "push" | "tag_push" | "repository_update" => {
            topics.extend(git_topics(&urls));
            let push = |reference: String| Push {
                repository: name.clone(),
                urls: urls.clone(),
                reference,
                old: payload.before.clone().unwrap_or_default(),
                new: payload.after.clone().unwrap_or_default(),
            };
            let references = match (payload.reference, payload.refs) {
                (Some(reference), _) => vec![reference],
                (None, Some(many)) if many.len() <= REFERENCES && !many.is_empty() => many,
                _ => vec![String::new()],
            };
            Ok(envelope.drafts(references.into_iter().map(|reference| Draft { topics: topics.clone(), push: Some(push(reference)), ..Draft::default() })))
        }
        "merge_request" | "issue" | "work_item" | "note" => {
            let attributes = payload.object_attributes.unwrap_or_default();
            let internal = |of: Option<Internal>| of.and_then(|of| of.iid);
            let number = if kind == "note" { internal(payload.merge_request).or(internal(payload.issue)) } else { attributes.iid };
            let change = Change {
                forge: "gitlab".into(),
                kind,
                action: attributes.action.unwrap_or_default(),
                repository: name.clone(),
                number: number.unwrap_or(0),
                url: attributes.url.unwrap_or_default(),
                commit: attributes.last_commit.and_then(|commit| commit.id).unwrap_or_default(),
            };
            Ok(Verdict::Events(vec![Draft { topics, change: Some(change), ..envelope.draft() }]))
        }
        other => Ok(Verdict::Ignored(format!("nobody waits for {:?}", other.chars().take(60).collect::<String>()))),
    }
}
