//! What goes on without being asked: taking new uploads, fetching histories, telling the webhook.

use std::path::PathBuf;
use std::time::Duration;

use burrow_http_client::{Client, Request};
use serde_json::json;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::board::Board;
use crate::history::History;
use crate::source::Source;

/// Between two looks at everything, for what no wake-up told.
const ROUND: Duration = Duration::from_secs(300);
/// Between two fetches of repositories.
const FETCH: Duration = Duration::from_secs(600);

/// Keeps the board up to date until `shutdown`. `public` is how this service is reached, for links in messages.
pub async fn keep(board: Board, history: History, folder: PathBuf, client: Option<Client>, public: String, shutdown: CancellationToken) {
    let fetching = {
        let (board, history, shutdown) = (board.clone(), history.clone(), shutdown.clone());
        tokio::spawn(async move {
            let mut rounds = tokio::time::interval(FETCH);
            rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
            while tokio::select! { _ = rounds.tick() => true, () = shutdown.cancelled() => false } {
                tokio::select! {
                    () = history.update(&folder, board.config()) => {}
                    () = shutdown.cancelled() => {}
                }
            }
        })
    };
    let mut changes = match board.source() {
        Source::Store(store) => Some(store.changes()),
        Source::Remote(_) => None,
    };
    let mut rounds = tokio::time::interval(ROUND);
    rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut first = true;
    loop {
        // Marked as seen before looking, so that what comes meanwhile wakes again.
        if let Some(changes) = &mut changes {
            changes.mark_unchanged();
        }
        let taken = if first { board.rescan().await.and(board.follow().await) } else { board.follow().await };
        first = false;
        if let Err(error) = taken {
            tracing::error!(error = %error, "New results could not be taken; the next round tries again.");
        }
        if let Some(client) = &client {
            tell(&board, client, &public).await;
        }
        tokio::select! {
            () = shutdown.cancelled() => break,
            _ = rounds.tick() => {}
            changed = async {
                match &mut changes {
                    Some(changes) => changes.changed().await.is_ok(),
                    None => std::future::pending().await,
                }
            } => if !changed { changes = None },
        }
    }
    // Ends by itself: it watches the same token.
    let _ = fetching.await;
}

/// Tells the webhook of changes that it was not told of. At least once: a crash between the answer and the note tells again, with the same `id`.
async fn tell(board: &Board, client: &Client, public: &str) {
    let Some(webhook) = board.config().watch.webhook.clone() else { return };
    for series in board.all() {
        for finding in series.findings.iter().filter(|finding| !finding.told) {
            let body = json!({
                "id": format!("{}/{}", series.id, finding.commit),
                "benchmark": series.key.name,
                "unit": series.key.unit,
                "labels": series.key.labels.iter().cloned().collect::<std::collections::BTreeMap<String, String>>(),
                "commit": finding.commit,
                "before": finding.before,
                "after": finding.after,
                "change": finding.size[1],
                "change_low": finding.size[0],
                "change_high": finding.size[2],
                "false_alarms_per_point": finding.false_alarms,
                "url": format!("{public}/series/{}", series.id),
            });
            let sent = match Request::post(&webhook, "application/json", body.to_string()) {
                Ok(request) => client.send(request).await.map_err(|error| error.to_string()),
                Err(error) => Err(error.to_string()),
            };
            let why = match sent {
                Ok(answer) if answer.status().is_success() => {
                    if let Err(error) = board.say(&series.id, &finding.commit, |finding| finding.told = true).await {
                        tracing::error!(error = %error, "A message was sent and could not be noted; it will be sent again.");
                    }
                    continue;
                }
                Ok(answer) => format!("status {}", answer.status()),
                Err(error) => error,
            };
            tracing::warn!(series = series.key.name, error = why, "The webhook did not take a message; it is sent again.");
            return;
        }
    }
}
