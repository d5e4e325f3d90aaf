//! What all parts share: the log, and what is known of every source.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use burrow_clock::SharedClock;
use burrow_events::{AppendError, Appended, Draft, Log};

use crate::counters::{Counters, Outcome};
use crate::silence::{Hearing, Silence};

/// A source, as everybody sees it.
#[derive(Debug)]
pub struct Source {
    /// Its name.
    pub name: String,
    /// Its kind.
    pub kind: &'static str,
    /// Where it comes in: a path, an address.
    pub place: String,
    /// Silence that is never worth an alarm; `None`: no silence is.
    pub quiet: Option<Duration>,
    /// What became of its deliveries.
    pub counters: Counters,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    silence: Silence,
    refused: Option<Refused>,
    connection: Option<Connection>,
}

/// The last delivery that was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// When, Unix milliseconds.
    pub at_ms: i64,
    /// How it is counted.
    pub outcome: Outcome,
    /// What the sender was told.
    pub why: String,
}

/// A connection that we hold, not the other end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connection {
    /// It stands.
    pub up: bool,
    /// Since when, Unix milliseconds.
    pub since_ms: i64,
    /// Connections since the start.
    pub count: u64,
    /// Why the last one ended; empty if none did.
    pub error: String,
}

impl Source {
    /// A source of which nothing is known.
    pub fn new(name: impl Into<String>, kind: &'static str, place: impl Into<String>, quiet: Option<Duration>) -> Source {
        Source { name: name.into(), kind, place: place.into(), quiet, counters: Counters::default(), state: Mutex::default() }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        // Plain fields, whole at any time.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is known of its silences.
    pub fn silence(&self) -> Silence {
        self.state().silence.clone()
    }

    /// How it sounds.
    pub fn hearing(&self) -> Hearing {
        self.state().silence.hearing(self.quiet)
    }

    /// The last delivery that was refused.
    pub fn refused(&self) -> Option<Refused> {
        self.state().refused.clone()
    }

    /// Its connection, if we hold it.
    pub fn connection(&self) -> Option<Connection> {
        self.state().connection.clone()
    }

    pub(crate) fn set_connection(&self, up: bool, now_ms: i64, error: Option<String>) {
        let mut state = self.state();
        let before = state.connection.take();
        let count = before.as_ref().map_or(0, |before| before.count) + u64::from(up);
        let error = error.or(before.map(|before| before.error)).unwrap_or_default();
        state.connection = Some(Connection { up, since_ms: now_ms, count, error });
    }

    /// Counts a delivery; `why` is what a refused sender was told.
    pub(crate) fn record(&self, outcome: Outcome, why: &str, now_ms: i64) {
        self.counters.count(outcome);
        let mut state = self.state();
        if outcome.is_proved() {
            state.silence.hear(now_ms);
        }
        if outcome.is_refusal() {
            state.refused = Some(Refused { at_ms: now_ms, outcome, why: why.chars().take(300).collect() });
        }
    }
}

/// A source that fell silent, or is heard again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Turn {
    /// Which.
    pub source: Arc<Source>,
    /// It is silent now.
    pub silent: bool,
}

impl PartialEq for Source {
    fn eq(&self, other: &Source) -> bool {
        self.name == other.name
    }
}

impl Eq for Source {}

/// Log and sources. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Hub {
    /// The log.
    pub log: Log,
    /// The time.
    pub clock: SharedClock,
    /// The sources, in the order of the configuration.
    pub sources: Arc<[Arc<Source>]>,
}

impl Hub {
    /// Of a log and sources, with what was learned of their silences before.
    pub fn new(log: Log, clock: SharedClock, sources: Vec<Arc<Source>>, learned: &BTreeMap<String, Silence>) -> Hub {
        for source in &sources {
            if let Some(silence) = learned.get(&source.name) {
                source.state().silence = silence.clone();
            }
        }
        Hub { log, clock, sources: sources.into() }
    }

    /// Keeps events of a source, and says what to tell its sender. When this returns they are on disk.
    ///
    /// # Errors
    /// [`AppendError`]: at least one is not; the sender must send all of them again.
    pub async fn keep(&self, source: &Source, drafts: Vec<Draft>) -> Result<Vec<Appended>, AppendError> {
        // All at once: they share a write.
        let appended = futures_util::future::try_join_all(drafts.into_iter().map(|draft| self.log.append(draft))).await;
        let appended = appended.inspect_err(|error| source.record(Outcome::NotStored, &error.to_string(), self.clock.now_ms()))?;
        let new = appended.iter().filter(|appended| matches!(appended, Appended::New(_))).count();
        source.counters.count_events(new as u64);
        source.record(if new > 0 { Outcome::Accepted } else { Outcome::Duplicate }, "", self.clock.now_ms());
        Ok(appended)
    }

    /// Time passed in which sources could have been heard. Returns those that changed, to be told of.
    pub fn pass(&self, ms: u64) -> Vec<Turn> {
        let mut turns = Vec::new();
        for source in self.sources.iter() {
            let mut state = source.state();
            state.silence.pass(ms);
            if let Some(silent) = state.silence.turn(source.quiet) {
                turns.push(Turn { source: Arc::clone(source), silent });
            }
        }
        turns
    }

    /// What was learned, to be kept.
    pub fn learned(&self) -> BTreeMap<String, Silence> {
        self.sources.iter().map(|source| (source.name.clone(), source.silence())).collect()
    }
}
