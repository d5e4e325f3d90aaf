//! What `GoFindTryWork` asks of a Gerrit server, by its REST interface.

use std::collections::BTreeMap;

use burrow_gerrit::{ChangeStatus, Client, Error, change_key};
use burrow_maintner::Time;
use futures_util::future::BoxFuture;

use crate::api::trywork::{ChangeComment, ChangeDetail, ChangeMessage, GerritApi, GerritFailure};

/// A server's REST interface.
#[derive(Debug)]
pub struct Reviews(pub Client);

/// What is wanted of a change.
const WANTED: [&str; 4] = ["CURRENT_REVISION", "MESSAGES", "DETAILED_ACCOUNTS", "DETAILED_LABELS"];

fn time(time: burrow_gerrit::Time) -> Time {
    Time { seconds: time.seconds, nanos: time.nanos }
}

fn failure(project: &str, number: i32, error: &Error) -> GerritFailure {
    GerritFailure { project: project.to_owned(), number, reason: error.to_string() }
}

impl GerritApi for Reviews {
    fn change<'a>(&'a self, project: &'a str, number: i32) -> BoxFuture<'a, Result<Option<ChangeDetail>, GerritFailure>> {
        Box::pin(async move {
            let change = match self.0.change(&change_key(project, number.into()), &WANTED).await {
                Ok(change) => change,
                Err(Error::NotFound { .. }) => return Ok(None),
                Err(error) => return Err(failure(project, number, &error)),
            };
            let current = change.current_revision.clone().zip(change.current().map(|revision| revision.number));
            let messages = change.messages.into_iter().map(|message| ChangeMessage {
                author: message.author.map(|author| author.id),
                time: time(message.date),
                text: message.message,
                patch_set: message.revision_number.unwrap_or_default(),
            });
            let votes = change.labels.into_iter().map(|(name, label)| (name, label.all.iter().map(|vote| vote.value).collect()));
            Ok(Some(ChangeDetail { open: change.status == ChangeStatus::New, current, messages: messages.collect(), votes: Some(votes.collect()) }))
        })
    }

    fn comments<'a>(&'a self, project: &'a str, number: i32) -> BoxFuture<'a, Result<BTreeMap<String, Vec<ChangeComment>>, GerritFailure>> {
        Box::pin(async move {
            let comments = match self.0.comments(&change_key(project, number.into())).await {
                Ok(comments) => comments,
                Err(Error::NotFound { .. }) => return Ok(BTreeMap::new()),
                Err(error) => return Err(failure(project, number, &error)),
            };
            let of_path = |(path, comments): (String, Vec<burrow_gerrit::Comment>)| {
                let all = comments.into_iter().map(|comment| ChangeComment {
                    author: comment.author.map(|author| author.id),
                    updated: time(comment.updated),
                    text: comment.message,
                    patch_set: comment.patch_set.unwrap_or_default(),
                });
                (path, all.collect())
            };
            Ok(comments.into_iter().map(of_path).collect())
        })
    }
}
