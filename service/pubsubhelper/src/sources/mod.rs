//! What the forges send, read into drafts of events. Pure: bytes in, drafts out. Who sent it was proved before.

pub mod generic;
pub mod gerrit;
pub mod gitea;
pub mod github;
pub mod gitlab;

use burrow_events::{Draft, Push, place_of};
use serde::Deserialize;

use crate::secrets::Speaks;

/// What a delivery comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Events to keep.
    Events(Vec<Draft>),
    /// Nothing that anybody waits for; the sender is told that all is well.
    Ignored(String),
}

/// Why a delivery makes no sense. The sender is told.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// It is not the JSON that the forge writes.
    #[error("the body is not the JSON that {forge} sends: {why}")]
    Json {
        /// Which forge.
        forge: &'static str,
        /// What the parser says.
        why: String,
    },
    /// A name of a repository that none can have.
    #[error("{name:?} is no name of a repository; one looks like {form}")]
    Repository {
        /// The name.
        name: String,
        /// What it must look like.
        form: &'static str,
    },
    /// The secret with which it is signed counts for other repositories only.
    #[error("the secret with which this is signed does not count for {repository:?}")]
    NotYours {
        /// The repository.
        repository: String,
    },
    /// Something else.
    #[error("{0}")]
    Other(String),
}

/// What came besides the body.
#[derive(Debug, Clone, Default)]
pub struct Envelope<'a> {
    /// Name of the source.
    pub source: &'a str,
    /// Kind of event, if a header says.
    pub event: Option<&'a str>,
    /// Name of the delivery, if a header says.
    pub delivery: Option<&'a str>,
    /// Whether the body is a form with the JSON in its field `payload`.
    pub form: bool,
    /// Whether the body is plain text.
    pub text: bool,
    /// What the sender may speak for.
    pub speaks: Speaks,
}

impl Envelope<'_> {
    fn draft(&self) -> Draft {
        Draft { source: self.source.to_owned(), delivery: self.delivery.map(|name| name.chars().take(200).collect()), ..Draft::default() }
    }

    /// One event, if a reference moved.
    fn pushed(&self, push: Option<Push>, mut topics: Vec<String>, otherwise: impl FnOnce() -> String) -> Verdict {
        let Some(push) = push else { return Verdict::Ignored(otherwise()) };
        topics.extend(git_topics(&push.urls));
        Verdict::Events(vec![Draft { topics, push: Some(push), ..self.draft() }])
    }

    /// Several events of one delivery.
    fn drafts(&self, drafts: impl IntoIterator<Item = Draft>) -> Verdict {
        let numbered = drafts.into_iter().enumerate().map(|(index, draft)| {
            let delivery =
                self.delivery.map(|name| name.chars().take(200).collect()).map(|name: String| if index == 0 { name } else { format!("{name}#{index}") });
            Draft { source: self.source.to_owned(), delivery, ..draft }
        });
        Verdict::Events(numbered.collect())
    }

    /// The JSON in the body, taken out of a form if it is in one.
    fn json<'b>(&self, body: &'b [u8]) -> Result<std::borrow::Cow<'b, [u8]>, Malformed> {
        // `curl -d` says that everything is a form. None begins so.
        if !self.form || body.trim_ascii_start().first() == Some(&b'{') {
            return Ok(body.into());
        }
        let payload = url::form_urlencoded::parse(body).find(|(name, _)| name == "payload");
        payload.map(|(_, value)| value.into_owned().into_bytes().into()).ok_or_else(|| Malformed::Other("the form has no field `payload`".into()))
    }

    fn read<T: for<'de> Deserialize<'de>>(&self, forge: &'static str, body: &[u8]) -> Result<T, Malformed> {
        serde_json::from_slice(&self.json(body)?).map_err(|error| Malformed::Json { forge, why: error.to_string() })
    }

    fn may_speak_for(&self, repository: &str) -> Result<(), Malformed> {
        if self.speaks.may(repository) { Ok(()) } else { Err(Malformed::NotYours { repository: repository.to_owned() }) }
    }
}

/// What GitHub, Gitea and Forgejo write alike.
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
    git_url: Option<String>,
}

impl Payload {
    /// The move of the reference that it names, if it names one.
    fn push(&self, repository: &str, urls: Vec<String>) -> Option<Push> {
        Some(Push {
            repository: repository.to_owned(),
            urls,
            reference: full_reference(self.ref_type.as_deref(), self.reference.as_deref()?),
            old: self.before.clone().unwrap_or_default(),
            new: self.after.clone().unwrap_or_default(),
        })
    }
}

/// `owner/name`, as GitHub and Gitea name repositories.
fn owner_and_name(full: &str) -> Result<(&str, &str), Malformed> {
    let bad = || Malformed::Repository { name: full.chars().take(200).collect(), form: "owner/name" };
    let (owner, name) = full.split_once('/').ok_or_else(bad)?;
    let plain = |part: &str| !part.is_empty() && part.len() <= 200 && !part.contains(|c: char| c == '/' || c.is_control() || c.is_whitespace());
    if plain(owner) && plain(name) { Ok((owner, name)) } else { Err(bad()) }
}

/// Addresses that are not empty, each once.
fn addresses<'a>(urls: impl IntoIterator<Item = &'a Option<String>>) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for url in urls.into_iter().flatten().filter(|url| !url.is_empty() && url.len() <= 1000) {
        if !found.contains(url) {
            found.push(url.clone());
        }
    }
    found
}

/// Topics for those who follow a repository by its address, whatever the forge.
fn git_topics(urls: &[String]) -> Vec<String> {
    let mut topics: Vec<String> = urls.iter().map(|url| format!("git:{}", place_of(url))).collect();
    topics.sort_unstable();
    topics.dedup();
    topics
}

/// A branch or tag by its short name.
fn full_reference(kind: Option<&str>, name: &str) -> String {
    match kind {
        _ if name.starts_with("refs/") => name.to_owned(),
        Some("tag") => format!("refs/tags/{name}"),
        _ => format!("refs/heads/{name}"),
    }
}

/// Something with a number, of which nothing else matters.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Numbered {
    number: u64,
    html_url: Option<String>,
    head: Option<Head>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Head {
    sha: Option<String>,
}
