//! Webhooks of Gitea and Forgejo, which look much like GitHub's.

use burrow_events::{Change, Draft};

use super::{Envelope, Malformed, Payload, Verdict, addresses, owner_and_name};

/// Reads a delivery.
///
/// # Errors
/// [`Malformed`].
pub fn read(envelope: &Envelope<'_>, body: &[u8]) -> Result<Verdict, Malformed> {
    let payload: Payload = envelope.read("Gitea", body)?;
    let kind = envelope.event.unwrap_or_default();
    let Some(repository) = &payload.repository else { return Ok(Verdict::Ignored("no repository is named".into())) };
    owner_and_name(&repository.full_name)?;
    envelope.may_speak_for(&repository.full_name)?;
    let urls = addresses([&repository.clone_url, &repository.ssh_url]);
    let host = repository.html_url.as_deref().or(urls.first().map(String::as_str)).map(burrow_events::place_of).unwrap_or_default();
    let host = host.split('/').next().unwrap_or_default();
    let topics = vec![format!("gitea:{host}/{}", repository.full_name)];
    let about = payload.pull_request.as_ref().or(payload.issue.as_ref());
    if let Some(about) = about {
        let number = if about.number == 0 { payload.number.unwrap_or(0) } else { about.number };
        let change = Change {
            forge: "gitea".into(),
            kind: if kind.is_empty() { if payload.pull_request.is_some() { "pull_request" } else { "issues" }.to_owned() } else { kind.to_owned() },
            action: payload.action.clone().unwrap_or_default(),
            repository: repository.full_name.clone(),
            number,
            url: about.html_url.clone().unwrap_or_default(),
            commit: about.head.as_ref().and_then(|head| head.sha.clone()).unwrap_or_default(),
        };
        return Ok(Verdict::Events(vec![Draft { topics, change: Some(change), ..envelope.draft() }]));
    }
    let moved = matches!(kind, "push" | "create" | "delete") || kind.is_empty() && payload.before.is_some();
    let push = if moved { payload.push(&repository.full_name, urls) } else { None };
    Ok(envelope.pushed(push, topics, || "nothing that anybody waits for".to_owned()))
}
