//! Anything that can sign: JSON with a few optional keys, the lines that git gives a `post-receive` hook, or nothing at all.

use burrow_events::{Draft, Push, Topics, place_of};
use serde::Deserialize;

use super::{Envelope, Malformed, Verdict};

/// What a generic source is configured to be about.
#[derive(Debug, Clone, Default)]
pub struct About {
    /// Topics; patterns allow the sender to name one.
    pub topics: Vec<String>,
    /// Address that git fetches from; may be empty.
    pub url: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Payload {
    topic: Option<String>,
    repository: Option<String>,
    url: Option<String>,
    #[serde(rename = "ref")]
    reference: Option<String>,
    old: Option<String>,
    new: Option<String>,
}

/// References of one post that become events; more are one event without a reference.
const REFERENCES: usize = 100;

/// Reads a post.
///
/// # Errors
/// [`Malformed`]: it is neither, or names a topic that it may not.
pub fn read(envelope: &Envelope<'_>, about: &About, body: &[u8]) -> Result<Verdict, Malformed> {
    let body = body.trim_ascii();
    if body.is_empty() {
        return Ok(envelope.drafts([push(about, Payload::default())?]));
    }
    if envelope.text || body.first().is_some_and(u8::is_ascii_hexdigit) {
        let mut moves = Vec::new();
        for line in body.split(|byte| *byte == b'\n').map(|line| line.trim_ascii()).filter(|line| !line.is_empty()) {
            moves.push(moved(line).ok_or_else(|| {
                Malformed::Other("a line of plain text must be \"OLD NEW REF\", as git gives a post-receive hook; send application/json otherwise".into())
            })?);
        }
        if moves.len() > REFERENCES {
            moves = vec![Payload::default()];
        }
        return Ok(envelope.drafts(moves.into_iter().map(|one| push(about, one)).collect::<Result<Vec<_>, _>>()?));
    }
    Ok(envelope.drafts([push(about, envelope.read("a generic source", body)?)?]))
}

fn moved(line: &[u8]) -> Option<Payload> {
    let line = std::str::from_utf8(line).ok()?;
    let mut words = line.splitn(3, ' ');
    let (old, new, reference) = (words.next()?, words.next()?, words.next()?);
    let hash = |text: &str| matches!(text.len(), 40 | 64) && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    (hash(old) && hash(new) && reference.starts_with("refs/") && !reference.contains(char::is_control)).then(|| Payload {
        old: Some(old.to_owned()),
        new: Some(new.to_owned()),
        reference: Some(reference.to_owned()),
        ..Payload::default()
    })
}

fn push(about: &About, payload: Payload) -> Result<Draft, Malformed> {
    let fixed = || about.topics.iter().filter(|topic| !topic.contains('*')).cloned();
    let mut topics: Vec<String> = match payload.topic {
        None => fixed().collect(),
        Some(topic) => {
            let allowed = Topics::parse(&about.topics).is_ok_and(|allowed| allowed.matches(std::slice::from_ref(&topic)));
            if !allowed || topic.contains('*') || topic.len() > 500 {
                return Err(Malformed::Other(format!("this source may not speak of {topic:?}, but of {}", about.topics.join(", "))));
            }
            vec![topic]
        }
    };
    if topics.is_empty() {
        return Err(Malformed::Other(format!("name a `topic`: one of {}", about.topics.join(", "))));
    }
    // Only the configured address becomes a topic: another could be anybody's.
    if !about.url.is_empty() {
        topics.push(format!("git:{}", place_of(&about.url)));
        topics.dedup();
    }
    let url = payload.url.filter(|url| !url.is_empty()).unwrap_or_else(|| about.url.clone());
    let push = Push {
        repository: payload.repository.unwrap_or_default(),
        urls: Some(url).filter(|url| !url.is_empty()).into_iter().collect(),
        reference: payload.reference.unwrap_or_default(),
        old: payload.old.unwrap_or_default(),
        new: payload.new.unwrap_or_default(),
    };
    Ok(Draft { topics, push: Some(push), ..Draft::default() })
}
