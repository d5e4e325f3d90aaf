//! Webhooks of Gitea and Forgejo, which look much like GitHub's.

use burrow_events::{Change, Draft, Push};
use serde::Deserialize;

use super::{Envelope, Malformed, Numbered, Verdict, addresses, full_reference, git_topics, owner_and_name};

#[derive(Debug, Deserialize)]
struct Payload {
    action: Option<String>,
    repository: Option<Repository>,
    number: Option<u64>,
    issue: Option<Numbered>,
    pull_request: Option<Numbered>,
    #[serde(rename = "ref")]
    reference: Option<String>,
    ref_type: Option<String>,
    before: Option<String>,
    after: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Repository {
    full_name: String,
    html_url: Option<String>,
    clone_url: Option<String>,
    ssh_url: Option<String>,
}

/// Reads a delivery.
///
/// # Errors
/// [`Malformed`].
pub fn read(envelope: &Envelope<'_>, body: &[u8]) -> Result<Verdict, Malformed> {
    let payload: Payload = envelope.read("Gitea", body)?;
    let kind = envelope.event.unwrap_or_default();
    let Some(repository) = payload.repository else { return Ok(Verdict::Ignored("no repository is named".into())) };
    owner_and_name(&repository.full_name)?;
    envelope.may_speak_for(&repository.full_name)?;
    let urls = addresses([&repository.clone_url, &repository.ssh_url]);
    let host = repository.html_url.as_deref().or(urls.first().map(String::as_str)).map(burrow_events::place_of).unwrap_or_default();
    let host = host.split('/').next().unwrap_or_default();
    let mut topics = vec![format!("gitea:{host}/{}", repository.full_name)];
    let about = payload.pull_request.as_ref().or(payload.issue.as_ref());
    if let Some(about) = about {
        let number = if about.number == 0 { payload.number.unwrap_or(0) } else { about.number };
        let change = Change {
            forge: "gitea".into(),
            kind: if kind.is_empty() { if payload.pull_request.is_some() { "pull_request" } else { "issues" }.to_owned() } else { kind.to_owned() },
            action: payload.action.unwrap_or_default(),
            repository: repository.full_name.clone(),
            number,
            url: about.html_url.clone().unwrap_or_default(),
            commit: about.head.as_ref().and_then(|head| head.sha.clone()).unwrap_or_default(),
        };
        return Ok(Verdict::Events(vec![Draft { topics, change: Some(change), ..envelope.draft() }]));
    }
    let moved = matches!(kind, "push" | "create" | "delete") || kind.is_empty() && payload.before.is_some();
    let Some(reference) = payload.reference.filter(|_| moved) else { return Ok(Verdict::Ignored("nothing that anybody waits for".into())) };
    topics.extend(git_topics(&urls));
    let push = Push {
        repository: repository.full_name.clone(),
        urls,
        reference: full_reference(payload.ref_type.as_deref(), &reference),
        old: payload.before.unwrap_or_default(),
        new: payload.after.unwrap_or_default(),
    };
    Ok(Verdict::Events(vec![Draft { topics, push: Some(push), ..envelope.draft() }]))
}
