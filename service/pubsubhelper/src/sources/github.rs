//! GitHub's webhooks (`spec/pubsubhelper.md` §4).

use burrow_events::{Change, Draft, Github};

use super::{Envelope, Malformed, Numbered, Payload, Verdict, addresses, owner_and_name};

/// Reads a delivery. What the reference publishes is published in the same words; pushes and the coming and going of branches besides.
///
/// # Errors
/// [`Malformed`].
pub fn read(envelope: &Envelope<'_>, body: &[u8]) -> Result<Verdict, Malformed> {
    let payload: Payload = envelope.read("GitHub", body)?;
    let kind = envelope.event.unwrap_or_default();
    let Some(repository) = &payload.repository else { return Ok(Verdict::Ignored(format!("{} has no repository", named(kind)))) };
    let (owner, name) = owner_and_name(&repository.full_name)?;
    envelope.may_speak_for(&repository.full_name)?;
    let topic = format!("github:{}", repository.full_name);
    if payload.issue.is_some() || payload.pull_request.is_some() {
        let number = |of: &Option<Numbered>| of.as_ref().map_or(0, |of| of.number);
        let github = Github {
            action: payload.action.clone().unwrap_or_default(),
            owner: owner.to_owned(),
            repo: name.to_owned(),
            issue: number(&payload.issue),
            pull_request: number(&payload.pull_request),
        };
        let about = payload.pull_request.as_ref().or(payload.issue.as_ref());
        let change = Change {
            forge: "github".into(),
            kind: kind.to_owned(),
            action: payload.action.clone().unwrap_or_default(),
            repository: repository.full_name.clone(),
            number: about.map_or(0, |about| about.number),
            url: about.and_then(|about| about.html_url.clone()).unwrap_or_default(),
            commit: about.and_then(|about| about.head.as_ref()?.sha.clone()).unwrap_or_default(),
        };
        return Ok(Verdict::Events(vec![Draft { topics: vec![topic], github: Some(github), change: Some(change), ..envelope.draft() }]));
    }
    let moved = match kind {
        "push" | "create" | "delete" => true,
        "" => payload.before.is_some() && payload.after.is_some(),
        _ => false,
    };
    let urls = addresses([&repository.clone_url, &repository.ssh_url, &repository.git_url]);
    let push = if moved { payload.push(&repository.full_name, urls) } else { None };
    Ok(envelope.pushed(push, vec![topic], || format!("nobody waits for {}", named(kind))))
}

fn named(kind: &str) -> String {
    if kind.is_empty() { "this kind of event".to_owned() } else { format!("{:?}", kind.chars().take(60).collect::<String>()) }
}
