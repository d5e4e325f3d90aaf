//! What goes on without being asked: taking new uploads, fetching histories, telling the webhook.

use std::path::PathBuf;
use std::time::Duration;

use burrow_http_client::{Client, Request};
use burrow_task::BoxFuture;
use hmac::{Hmac, KeyInit as _, Mac as _};
use http::HeaderName;
use serde_json::json;
use sha2::Sha256;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::board::Board;
use crate::history::History;
use crate::series::{Finding, Series};
use crate::source::Source;

/// Between two looks at everything, for what no wake-up told.
const ROUND: Duration = Duration::from_secs(300);
/// Until a message that the webhook did not take is sent again, unless new results come first.
const AGAIN: Duration = Duration::from_secs(30);
/// Between two fetches of repositories.
const FETCH: Duration = Duration::from_secs(600);
/// Bytes of a refusal that are noted.
const REFUSAL: usize = 300;

/// How the webhook of the configuration is told of changes.
#[derive(Debug, Clone)]
pub struct Teller {
    /// Sends.
    pub client: Client,
    /// How this service is reached, for links: `https://perf.example.org`.
    pub public: String,
    /// Key of the signature: `X-Burrow-Signature-256: sha256=` and the HMAC-SHA256 of the body in hex. Without one messages are not signed.
    pub secret: Option<String>,
}

/// Keeps the board up to date until `shutdown`. Histories are fetched into `folder`.
pub fn keep(board: Board, history: History, folder: PathBuf, teller: Option<Teller>, shutdown: CancellationToken) -> BoxFuture<'static, ()> {
    Box::pin(async move {
        let fetching = {
            let (board, history, shutdown) = (board.clone(), history.clone(), shutdown.clone());
            burrow_task::spawn(async move {
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
            let told = match &teller {
                Some(teller) => tell(&board, teller).await,
                None => true,
            };
            tokio::select! {
                () = shutdown.cancelled() => break,
                () = tokio::time::sleep(AGAIN), if !told => {}
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
    })
}

/// Tells the webhook of changes that it was not told of; whether it took all. At least once: a crash between the answer and the note tells again, with the same `id`.
async fn tell(board: &Board, teller: &Teller) -> bool {
    let Some(webhook) = &board.config().watch.webhook else { return true };
    for series in board.all() {
        for finding in series.findings.iter().filter(|finding| !finding.told) {
            if let Err(why) = send(webhook, teller, message(&series, finding, &teller.public)).await {
                tracing::warn!(series = series.key.name, error = why, "The webhook did not take a message; it is sent again.");
                return false;
            }
            if let Err(error) = board.say(&series.id, &finding.commit, |finding| finding.told = true).await {
                tracing::error!(error = %error, "A message was sent and could not be noted; it will be sent again.");
                return false;
            }
        }
    }
    true
}

fn message(series: &Series, finding: &Finding, public: &str) -> String {
    json!({
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
        "url": format!("{}/series/{}", public.trim_end_matches('/'), series.id),
    })
    .to_string()
}

async fn send(webhook: &str, teller: &Teller, body: String) -> Result<(), String> {
    let text = |error: burrow_http_client::Error| error.to_string();
    let mut request = Request::post(webhook, "application/json", body.clone()).map_err(text)?;
    if let Some(secret) = &teller.secret {
        let name = HeaderName::from_static("x-burrow-signature-256");
        request = request.header(name, &format!("sha256={}", sign(secret, &body))).map_err(text)?;
    }
    let answer = teller.client.send(request).await.map_err(text)?;
    let status = answer.status();
    if status.is_success() {
        return Ok(());
    }
    Err(format!("it answers {status}: {}", String::from_utf8_lossy(&answer.beginning(REFUSAL).await).trim()))
}

/// HMAC-SHA256 in hex.
fn sign(secret: &str, body: &str) -> String {
    // A key of any length is taken.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret.as_bytes()) else { return String::new() };
    mac.update(body.as_bytes());
    mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
}
