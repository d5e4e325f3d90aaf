//! Gerrit's own JSON, which its `webhooks` plugin posts and `stream-events` prints, and the fields of its mail.

use burrow_events::{Change, Draft, Gerrit, Push};
use serde::Deserialize;

use super::{Envelope, Malformed, Verdict};

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Payload {
    #[serde(rename = "type")]
    kind: String,
    change: Option<GerritChange>,
    patch_set: Option<PatchSet>,
    ref_update: Option<RefUpdate>,
    ref_updates: Option<Vec<RefUpdate>>,
    project: Option<ProjectName>,
    project_name: Option<String>,
}

/// A name, or an object that holds it: Gerrit writes both.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum ProjectName {
    Plain(String),
    Object { name: String },
}

impl ProjectName {
    fn name(self) -> String {
        match self {
            ProjectName::Plain(name) | ProjectName::Object { name } => name,
        }
    }
}

#[derive(Debug, Deserialize)]
struct GerritChange {
    project: Option<String>,
    number: Option<Number>,
    url: Option<String>,
}

/// Older servers write numbers as strings.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Number {
    Plain(u64),
    Text(String),
}

impl Number {
    fn get(&self) -> u64 {
        match self {
            Number::Plain(number) => *number,
            Number::Text(text) => text.parse().unwrap_or(0),
        }
    }
}

#[derive(Debug, Deserialize)]
struct PatchSet {
    revision: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct RefUpdate {
    old_rev: Option<String>,
    new_rev: Option<String>,
    ref_name: Option<String>,
    project: Option<String>,
}

/// References of one batch that become events; more are one event without a reference.
const REFERENCES: usize = 100;

/// Reads an event; `url` is the server's address for people (`https://review.example.org`), for events that do not say it.
///
/// # Errors
/// [`Malformed`].
pub fn read(envelope: &Envelope<'_>, url: &str, body: &[u8]) -> Result<Verdict, Malformed> {
    let payload: Payload = envelope.read("Gerrit", body)?;
    let project = payload.project.map(ProjectName::name).or(payload.project_name);
    if let Some(change) = payload.change {
        let project = change.project.or(project).unwrap_or_default();
        check(envelope, &project)?;
        let number = change.number.as_ref().map_or(0, Number::get);
        let commit = payload.patch_set.and_then(|set| set.revision).unwrap_or_default();
        let address = change.url.unwrap_or_else(|| format!("{url}/c/{project}/+/{number}"));
        return Ok(envelope.drafts([of_change(address, project, commit, number, payload.kind)]));
    }
    let updates = payload.ref_update.into_iter().chain(payload.ref_updates.into_iter().flatten());
    let mut pushes = Vec::new();
    for update in updates {
        let project = update.project.or_else(|| project.clone()).unwrap_or_default();
        check(envelope, &project)?;
        pushes.push((project, update.ref_name.unwrap_or_default(), update.old_rev.unwrap_or_default(), update.new_rev.unwrap_or_default()));
    }
    if pushes.is_empty() {
        return match project.filter(|_| payload.kind == "project-created") {
            Some(project) => {
                check(envelope, &project)?;
                Ok(envelope.drafts([of_push(url, &project, String::new(), String::new(), String::new())]))
            }
            None => Ok(Verdict::Ignored(format!("nobody waits for {:?}", payload.kind.chars().take(60).collect::<String>()))),
        };
    }
    if pushes.len() > REFERENCES {
        let mut projects: Vec<String> = pushes.into_iter().map(|(project, ..)| project).collect();
        projects.sort_unstable();
        projects.dedup();
        return Ok(envelope.drafts(projects.iter().map(|project| of_push(url, project, String::new(), String::new(), String::new()))));
    }
    Ok(envelope.drafts(pushes.into_iter().map(|(project, reference, old, new)| of_push(url, &project, reference, old, new))))
}

fn check(envelope: &Envelope<'_>, project: &str) -> Result<(), Malformed> {
    if project.is_empty() || project.len() > 1000 || project.contains(char::is_control) {
        return Err(Malformed::Repository { name: project.chars().take(200).collect(), form: "plugins/gitiles" });
    }
    envelope.may_speak_for(project)
}

/// An event about a change. `kind` is Gerrit's word for what happened.
pub fn of_change(url: String, project: String, commit: String, number: u64, kind: String) -> Draft {
    let change = Change { forge: "gerrit".into(), kind, action: String::new(), repository: project.clone(), number, url: url.clone(), commit: commit.clone() };
    let gerrit = Gerrit { url, project, commit_hash: commit, change_number: number };
    Draft { topics: vec![gerrit.topic()], gerrit: Some(gerrit), change: Some(change), ..Draft::default() }
}

/// Something that mail never tells of: a reference moved. The reference's consumer reads host and project out of `Gerrit`, so that object is there too.
fn of_push(url: &str, project: &str, reference: String, old: String, new: String) -> Draft {
    // Not that of notes (`spec/pubsubhelper.md` §3.4).
    let commit = if reference.ends_with("/meta") || new.chars().all(|digit| digit == '0') { String::new() } else { new.clone() };
    let gerrit = Gerrit { url: format!("{url}/"), project: project.to_owned(), commit_hash: commit, change_number: number_of(&reference).unwrap_or(0) };
    let address = format!("{}/{project}", url.replacen("-review.googlesource.com", ".googlesource.com", 1));
    let topics = vec![gerrit.topic(), format!("git:{}", burrow_events::place_of(&address))];
    let push = Push { repository: project.to_owned(), urls: vec![address], reference, old, new };
    Draft { topics, gerrit: Some(gerrit), push: Some(push), ..Draft::default() }
}

/// The change of `refs/changes/51/39551/meta`.
fn number_of(reference: &str) -> Option<u64> {
    reference.strip_prefix("refs/changes/")?.split('/').nth(1)?.parse().ok()
}
