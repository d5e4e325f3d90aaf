//! Listens to an event stream for what is new (`spec/maintner.md` §7.3): `GET <base>/waitevent?after=<time>`, answered when there is something.
//!
//! An event is a hint to look, nothing more: it decides when and where a poller looks first, never what is written. What is missed, the next round finds.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use burrow_github::Time;
use burrow_http_client::{Client, Request};
use serde::Deserialize;

use super::pause::Pause;
use super::status::{Board, Outcome, Source};
use super::topic::Topic;

/// Longest time that an answer may take.
const LIMIT: Duration = Duration::from_secs(300);
/// Largest answer.
const MAX: usize = 64 << 10;
/// Pause after a failure, and the longest one after many.
const PAUSE: Duration = Duration::from_secs(5);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// Pause when the stream answers without getting on.
const STANDING: Duration = Duration::from_secs(1);

#[derive(Debug, Deserialize)]
struct Event {
    #[serde(rename = "Time")]
    time: Time,
    #[serde(rename = "GitHub")]
    github: Option<GithubEvent>,
    #[serde(rename = "Gerrit")]
    gerrit: Option<GerritEvent>,
}

#[derive(Debug, Deserialize)]
struct GithubEvent {
    #[serde(rename = "RepoOwner", default)]
    owner: String,
    #[serde(rename = "Repo", default)]
    repo: String,
    #[serde(rename = "IssueNumber", default)]
    issue: i64,
    #[serde(rename = "PullRequestNumber", default)]
    pull_request: i64,
}

#[derive(Debug, Deserialize)]
struct GerritEvent {
    #[serde(rename = "URL", default)]
    url: String,
    #[serde(rename = "Project", default)]
    project: String,
    #[serde(rename = "ChangeNumber", default)]
    change: i64,
}

fn number(number: i64) -> Option<i32> {
    i32::try_from(number).ok().filter(|number| *number > 0)
}

impl Event {
    /// Who is to look, and at what first.
    fn hints(&self) -> Vec<(Source, Option<i32>)> {
        let mut hints = Vec::new();
        if let Some(github) = &self.github {
            let source = Source::Github(format!("{}/{}", github.owner, github.repo).to_lowercase());
            hints.push((source, number(github.issue).or(number(github.pull_request))));
        }
        if let Some(gerrit) = &self.gerrit {
            let rest = gerrit.url.split_once("://").map_or(gerrit.url.as_str(), |(_, rest)| rest);
            let host = rest.split('/').next().unwrap_or(rest);
            let host = match host.strip_suffix("-review.googlesource.com") {
                Some(short) => format!("{short}.googlesource.com"),
                None => host.to_owned(),
            };
            hints.push((Source::Gerrit(format!("{host}/{}", gerrit.project)), number(gerrit.change)));
        }
        hints
    }
}

/// Listens for ever.
pub(crate) async fn listen(client: Client, base: String, topics: BTreeMap<Source, Arc<Topic>>, board: Board, pause: Pause) {
    let mut after: Option<Time> = None;
    let mut failures: u32 = 0;
    loop {
        board.begin();
        board.doing("waits for an event");
        match ask(&client, &base, after).await {
            Ok(event) => {
                failures = 0;
                board.end(Outcome::Good);
                let standing = after.is_some_and(|after| event.time <= after);
                for (source, number) in event.hints() {
                    if let Some(topic) = topics.get(&source) {
                        topic.wake(number);
                    }
                }
                after = after.max(Some(event.time));
                if standing {
                    pause.wait(STANDING).await;
                }
            }
            Err(error) => {
                failures = failures.saturating_add(1);
                tracing::warn!(stream = base, error, "no wake-ups; sources are looked at by the clock alone");
                board.end(Outcome::Failed(error));
                let doubled = PAUSE.saturating_mul(1_u32.checked_shl(failures - 1).unwrap_or(u32::MAX)).min(LONGEST_PAUSE);
                pause.wait(doubled).await;
            }
        }
    }
}

async fn ask(client: &Client, base: &str, after: Option<Time>) -> Result<Event, String> {
    let after = after.map(|after| after.to_string()).unwrap_or_default();
    let request = Request::get(&format!("{}/waitevent?after={after}", base.trim_end_matches('/'))).map_err(|error| error.to_string())?;
    let response = client.send(request.head_limit(LIMIT)).await.map_err(|error| error.to_string())?;
    if response.status().as_u16() != 200 {
        return Err(format!("status {}", response.status()));
    }
    let body = response.bytes(MAX).await.map_err(|error| error.to_string())?;
    serde_json::from_slice(&body).map_err(|error| format!("the answer makes no sense: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hints(text: &str) -> Vec<(String, Option<i32>)> {
        let event: Event = serde_json::from_str(text).unwrap();
        event.hints().into_iter().map(|(source, number)| (source.to_string(), number)).collect()
    }

    #[test]
    fn events_name_who_is_to_look() {
        let hints_of = |rest: &str| hints(&format!(r#"{{"Time":"2022-03-04T05:06:07.000000008Z"{rest}}}"#));
        assert_eq!(
            hints_of(r#","GitHub":{"Action":"opened","RepoOwner":"Golang","Repo":"Go","IssueNumber":5,"PullRequestNumber":0}"#),
            [("github golang/go".to_owned(), Some(5))]
        );
        assert_eq!(hints_of(r#","GitHub":{"RepoOwner":"o","Repo":"r","PullRequestNumber":7}"#), [("github o/r".to_owned(), Some(7))]);
        assert_eq!(
            hints_of(r#","Gerrit":{"URL":"https://go-review.googlesource.com/39551","Project":"go","CommitHash":"x","ChangeNumber":39551}"#),
            [("gerrit go.googlesource.com/go".to_owned(), Some(39551))]
        );
        assert_eq!(hints_of(r#","Gerrit":{"URL":"http://127.0.0.1:80/c/a/b","Project":"a/b"}"#), [("gerrit 127.0.0.1:80/a/b".to_owned(), None)]);
        assert_eq!(hints_of(r#","LongPollTimeout":true"#), []);
        assert!(serde_json::from_str::<Event>(r#"{"Time":"yesterday"}"#).is_err());
    }
}
