//! A Gerrit server whose answers lie in a folder: `N.json` is what its REST interface says of change N, `N.comments.json` what it says of the change's comments.

use std::collections::BTreeMap;
use std::path::PathBuf;

use burrow_maintner::Time;
use burrow_maintnerd::api::trywork::{ChangeComment, ChangeDetail, ChangeMessage, GerritApi, GerritFailure};
use futures_util::future::BoxFuture;
use serde::Deserialize;
use serde::de::DeserializeOwned;

/// A Gerrit server whose answers lie in a folder.
#[derive(Debug)]
pub(crate) struct Folder {
    dir: PathBuf,
}

#[derive(Deserialize)]
struct Account {
    _account_id: i64,
}

#[derive(Deserialize)]
struct Vote {
    value: Option<i32>,
}

#[derive(Deserialize)]
struct Label {
    #[serde(default)]
    all: Vec<Vote>,
}

#[derive(Deserialize)]
struct Revision {
    _number: i32,
}

#[derive(Deserialize)]
struct Message {
    author: Option<Account>,
    date: String,
    message: String,
    #[serde(default)]
    _revision_number: i32,
}

#[derive(Deserialize)]
struct Change {
    status: String,
    current_revision: Option<String>,
    #[serde(default)]
    revisions: BTreeMap<String, Revision>,
    #[serde(default)]
    messages: Vec<Message>,
    labels: Option<BTreeMap<String, Label>>,
}

#[derive(Deserialize)]
struct Comment {
    author: Option<Account>,
    updated: String,
    #[serde(default)]
    message: String,
    #[serde(default)]
    patch_set: i32,
}

impl Folder {
    pub(crate) fn new(dir: impl Into<PathBuf>) -> Folder {
        Folder { dir: dir.into() }
    }

    fn read<T: DeserializeOwned>(&self, project: &str, number: i32, name: &str) -> Result<Option<T>, GerritFailure> {
        let failure = |reason: &dyn std::fmt::Display| GerritFailure { project: project.to_owned(), number, reason: reason.to_string() };
        match std::fs::read(self.dir.join(name)) {
            Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(|error| failure(&error)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failure(&error)),
        }
    }
}

/// Gerrit's times are like `2022-03-04 05:06:07.000000000`, in UTC.
fn time(text: &str) -> Time {
    let time: jiff::civil::DateTime = text.parse().unwrap_or(jiff::civil::DateTime::ZERO);
    let time = time.to_zoned(jiff::tz::TimeZone::UTC).map(|time| time.timestamp()).unwrap_or_default();
    Time { seconds: time.as_second(), nanos: time.subsec_nanosecond() }
}

impl GerritApi for Folder {
    fn change<'a>(&'a self, project: &'a str, number: i32) -> BoxFuture<'a, Result<Option<ChangeDetail>, GerritFailure>> {
        Box::pin(async move {
            let Some(change) = self.read::<Change>(project, number, &format!("{number}.json"))? else { return Ok(None) };
            let current = change.current_revision.and_then(|hash| change.revisions.get(&hash).map(|revision| (hash.clone(), revision._number)));
            let messages = change.messages.into_iter().map(|message| ChangeMessage {
                author: message.author.map(|author| author._account_id),
                time: time(&message.date),
                text: message.message,
                patch_set: message._revision_number,
            });
            let votes = change
                .labels
                .map(|labels| labels.into_iter().map(|(name, label)| (name, label.all.into_iter().filter_map(|vote| vote.value).collect())).collect());
            Ok(Some(ChangeDetail { open: change.status == "NEW", current, messages: messages.collect(), votes }))
        })
    }

    fn comments<'a>(&'a self, project: &'a str, number: i32) -> BoxFuture<'a, Result<BTreeMap<String, Vec<ChangeComment>>, GerritFailure>> {
        Box::pin(async move {
            let all: BTreeMap<String, Vec<Comment>> = self.read(project, number, &format!("{number}.comments.json"))?.unwrap_or_default();
            let own = |comment: Comment| ChangeComment {
                author: comment.author.map(|author| author._account_id),
                updated: time(&comment.updated),
                text: comment.message,
                patch_set: comment.patch_set,
            };
            Ok(all.into_iter().map(|(path, comments)| (path, comments.into_iter().map(own).collect())).collect())
        })
    }
}
