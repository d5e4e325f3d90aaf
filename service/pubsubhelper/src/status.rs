//! What the service is doing: for the status page and `/status.json`.

use serde::Serialize;

use crate::alert::Trouble;
use crate::hub::{Hub, Source};
use crate::silence::Hearing;

/// A source.
#[derive(Debug, Clone, Serialize)]
pub struct SourceStatus {
    /// Its name.
    pub name: String,
    /// Its kind.
    pub kind: &'static str,
    /// Where it comes in.
    pub place: String,
    /// Events since the start.
    pub events: u64,
    /// What became of its deliveries since the start.
    pub outcomes: Vec<(&'static str, u64)>,
    /// Deliveries that were refused since the start.
    pub refused: u64,
    /// When the last one came whose sender proved itself, Unix milliseconds.
    pub last_ms: Option<i64>,
    /// `never`, `usual` or `silent`.
    pub hearing: &'static str,
    /// Milliseconds of silence while this process ran.
    pub quiet_ms: u64,
    /// Longest silence before.
    pub longest_ms: u64,
    /// The last refusal: when, why.
    pub last_refusal: Option<(i64, String)>,
    /// A connection that we hold: whether it stands, since when, how many there were, why the last one ended.
    pub connection: Option<(bool, i64, u64, String)>,
}

/// Everything.
#[derive(Debug, Clone, Serialize)]
pub struct Status {
    /// Number of the last event.
    pub last_id: u64,
    /// Its time, RFC 3339.
    pub last_time: String,
    /// Events that are kept.
    pub kept: usize,
    /// Memory that they take, bytes.
    pub kept_bytes: usize,
    /// When the oldest one came, Unix milliseconds.
    pub oldest_ms: Option<i64>,
    /// Readers that wait for the next event.
    pub waiters: usize,
    /// The sources.
    pub sources: Vec<SourceStatus>,
    /// What operators must know.
    pub trouble: Vec<String>,
    /// Whether events can be kept.
    pub can_keep: bool,
    /// When the service began, Unix milliseconds.
    pub started_ms: i64,
}

impl SourceStatus {
    fn of(source: &Source) -> SourceStatus {
        let silence = source.silence();
        let counts = source.counters.all();
        SourceStatus {
            name: source.name.clone(),
            kind: source.kind,
            place: source.place.clone(),
            events: source.counters.events(),
            refused: counts.iter().filter(|(outcome, _)| outcome.is_refusal()).map(|(_, count)| count).sum(),
            outcomes: counts.into_iter().map(|(outcome, count)| (outcome.label(), count)).collect(),
            last_ms: silence.last_ms,
            hearing: match source.hearing() {
                Hearing::Never => "never",
                Hearing::Usual => "usual",
                Hearing::Silent { .. } => "silent",
            },
            quiet_ms: silence.quiet_ms,
            longest_ms: silence.longest_ms,
            last_refusal: source.refused().map(|refused| (refused.at_ms, refused.why)),
            connection: source.connection().map(|held| (held.up, held.since_ms, held.count, held.error)),
        }
    }
}

impl Status {
    /// As it is now.
    pub fn of(hub: &Hub, started_ms: i64, notes: &[String], alerts: Option<&Trouble>) -> Status {
        let position = hub.log.position();
        let (kept, kept_bytes, oldest) = hub.log.kept();
        let sources: Vec<SourceStatus> = hub.sources.iter().map(|source| SourceStatus::of(source)).collect();
        let failed = hub.log.trouble().borrow().as_ref().map(ToString::to_string);
        let mut trouble: Vec<String> = failed.clone().into_iter().collect();
        for source in &sources {
            let shown = |ms: u64| burrow_web::words::duration(i64::try_from(ms).unwrap_or(i64::MAX));
            if source.hearing == "silent" {
                trouble.push(format!(
                    "{} is silent: nothing has come for {}, and never before was it quiet for more than {}. Is its hook, mailbox or key still there?",
                    source.name,
                    shown(source.quiet_ms),
                    shown(source.longest_ms)
                ));
            }
            if let Some((false, since, _, error)) = &source.connection {
                trouble.push(format!("{} is not connected since {}: {error}", source.name, burrow_web::words::rfc3339(*since)));
            }
        }
        trouble.extend(alerts.and_then(|alerts| alerts.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()));
        trouble.extend(notes.iter().cloned());
        Status {
            last_id: position.id,
            last_time: burrow_events::time::format(position.time),
            kept,
            kept_bytes,
            oldest_ms: oldest.map(|stored| stored.event.time.as_millisecond()),
            waiters: hub.log.waiters(),
            sources,
            trouble,
            can_keep: failed.is_none(),
            started_ms,
        }
    }
}
