//! Tells somebody that a source fell silent, or is heard again: a JSON object, posted.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::http::header::AUTHORIZATION;
use burrow_http_client::{Client, Request};
use serde_json::json;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::config;
use crate::hub::{Hub, Turn};
use crate::silence::Hearing;

/// Pause after a failure; doubled with every further one up to the longest.
const PAUSE: Duration = Duration::from_secs(5);
const LONGEST_PAUSE: Duration = Duration::from_secs(15 * 60);
/// Alarms that wait to be told of, at most: older ones give way.
const WAITING: usize = 1_000;

/// Where alarms go.
#[derive(Debug)]
pub struct Alerts {
    url: String,
    token_file: Option<std::path::PathBuf>,
    client: Client,
    trouble: Arc<Mutex<Option<String>>>,
}

/// Shows why the last alarm could not be told; `None`: it could.
pub type Trouble = Arc<Mutex<Option<String>>>;

impl Alerts {
    /// As configured.
    ///
    /// # Errors
    /// The address is none.
    pub fn new(config: &config::Alert, client: Client) -> Result<Alerts, burrow_http_client::Error> {
        Request::get(&config.url)?;
        Ok(Alerts { url: config.url.clone(), token_file: config.token_file.clone(), client, trouble: Trouble::default() })
    }

    /// Why the last alarm could not be told, watched.
    pub fn trouble(&self) -> Trouble {
        Arc::clone(&self.trouble)
    }

    /// Tells everything that comes, one after the other, until it is told to stop. What cannot be told is tried again; the newest state of a source counts.
    pub async fn run(self, hub: Hub, mut turns: mpsc::UnboundedReceiver<Turn>, shutdown: CancellationToken) {
        let mut waiting: std::collections::VecDeque<Turn> = std::collections::VecDeque::new();
        let mut failures = 0_u32;
        loop {
            while let Ok(turn) = turns.try_recv() {
                push(&mut waiting, turn);
            }
            let Some(turn) = waiting.pop_front() else {
                tokio::select! {
                    turn = turns.recv() => match turn {
                        Some(turn) => push(&mut waiting, turn),
                        None => return,
                    },
                    () = shutdown.cancelled() => return,
                }
                continue;
            };
            let told = tokio::select! {
                told = self.tell(&hub, &turn) => told,
                () = shutdown.cancelled() => return,
            };
            let failed = told.as_ref().err().map(|why| format!("the alert webhook does not take alarms: {why}"));
            *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = failed;
            match told {
                Ok(()) => failures = 0,
                Err(why) => {
                    tracing::warn!(source = turn.source.name, why, "An alarm could not be told; it is tried again.");
                    waiting.push_front(turn);
                    let pause = PAUSE.saturating_mul(1_u32.checked_shl(failures).unwrap_or(u32::MAX)).min(LONGEST_PAUSE);
                    failures = failures.saturating_add(1);
                    tokio::select! {
                        () = tokio::time::sleep(pause) => {}
                        () = shutdown.cancelled() => return,
                    }
                }
            }
        }
    }

    async fn tell(&self, hub: &Hub, turn: &Turn) -> Result<(), String> {
        let text = |error: burrow_http_client::Error| error.to_string();
        let mut request = Request::post(&self.url, "application/json", message(turn, hub.clock.now_ms()).to_string()).map_err(text)?;
        if let Some(path) = &self.token_file {
            // Read each time: it may be replaced while we run.
            let token = tokio::fs::read_to_string(path).await.map_err(|error| format!("{}: {error}", path.display()))?;
            request = request.secret_header(AUTHORIZATION, &format!("Bearer {}", token.trim())).map_err(text)?;
        }
        let response = self.client.send(request).await.map_err(text)?;
        if response.status().is_success() { Ok(()) } else { Err(format!("it answers {}", response.status())) }
    }
}

/// Adds a turn; an older one of the same source that nobody was told of is of no interest any more.
fn push(waiting: &mut std::collections::VecDeque<Turn>, turn: Turn) {
    waiting.retain(|other| other.source != turn.source);
    waiting.push_back(turn);
    if waiting.len() > WAITING {
        waiting.pop_front();
    }
}

/// What is posted. `text` is what common chat programs show.
pub fn message(turn: &Turn, now_ms: i64) -> serde_json::Value {
    let source = &turn.source;
    let silence = source.silence();
    let (quiet, longest) = match source.hearing() {
        Hearing::Silent { quiet, longest } => (quiet.as_secs(), longest.as_secs()),
        _ => (silence.quiet_ms / 1000, silence.longest_ms / 1000),
    };
    let shown = |seconds: u64| burrow_web::words::duration(i64::try_from(seconds).unwrap_or(i64::MAX / 1000).saturating_mul(1000));
    let text = if turn.silent {
        format!(
            "pubsubhelper: nothing has come from {} ({}) for {}; its longest silence so far was {}.",
            source.name,
            source.kind,
            shown(quiet),
            shown(longest)
        )
    } else {
        format!("pubsubhelper: {} ({}) is heard again.", source.name, source.kind)
    };
    json!({
        "text": text,
        "source": source.name,
        "kind": source.kind,
        "state": if turn.silent { "silent" } else { "heard" },
        "quiet_seconds": quiet,
        "longest_seconds": longest,
        "last_heard": silence.last_ms.map(burrow_web::words::rfc3339),
        "time": burrow_web::words::rfc3339(now_ms),
    })
}
