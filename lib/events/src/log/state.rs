//! What is kept, in memory, and how it is looked through.

use std::collections::VecDeque;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use jiff::Timestamp;
use tokio::sync::watch;

use super::{AppendError, Position, Retention, Stored};
use crate::{After, Topics};

/// Events that are looked at under one lock when topics choose among them: a long search must not hold up the writer.
const SEARCHED: usize = 1024;

/// Some events, oldest first.
#[derive(Debug, Clone)]
pub struct Batch {
    /// The events.
    pub events: Vec<Arc<Stored>>,
    /// Events before the first of these are not kept any more, or belong to a log that is gone.
    pub gap: bool,
    /// Up to where was looked: the last of the events, or the end of the log.
    pub position: Position,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) events: VecDeque<Arc<Stored>>,
    pub(super) bytes: usize,
    /// The newest event that is not kept any more; of a new log, where it began.
    trimmed: Position,
}

impl State {
    pub(super) fn begin(base: Position) -> State {
        State { events: VecDeque::new(), bytes: 0, trimmed: base }
    }

    pub(super) fn last(&self) -> Position {
        self.events.back().map_or(self.trimmed, |last| Position { id: last.event.id, time: last.event.time })
    }

    pub(super) fn push(&mut self, stored: Arc<Stored>) {
        self.bytes += stored.weight();
        self.events.push_back(stored);
    }

    /// Lets go what need not be kept any more.
    pub(super) fn trim(&mut self, retention: &Retention, now: Timestamp) {
        let limit = now.checked_sub(jiff::SignedDuration::try_from(retention.age).unwrap_or(jiff::SignedDuration::MAX)).unwrap_or(Timestamp::MIN);
        while let Some(first) = self.events.front() {
            let old = first.event.time < limit && self.events.len() > retention.count;
            // The last event stays: it says where the log stands.
            let heavy = self.bytes > retention.bytes && self.events.len() > 1;
            if !old && !heavy {
                break;
            }
            self.trimmed = Position { id: first.event.id, time: first.event.time };
            self.bytes = self.bytes.saturating_sub(first.weight());
            self.events.pop_front();
        }
    }

    pub(super) fn first_id(&self) -> Option<u64> {
        self.events.front().map(|first| first.event.id)
    }

    /// Index of the first event after a moment, and whether events between are not kept.
    fn find(&self, after: After) -> (usize, bool) {
        let last = self.last();
        match after {
            After::Now => (self.events.len(), false),
            After::Oldest | After::Id(0) => (0, false),
            // A number that was never given: the log of which it is has been lost.
            After::Id(id) if id > last.id => (0, true),
            After::Id(id) => (self.events.partition_point(|stored| stored.event.id <= id), id < self.trimmed.id),
            After::Time(time) => (self.events.partition_point(|stored| stored.event.time <= time), time < self.trimmed.time),
        }
    }
}

#[derive(Debug)]
pub(super) struct Shared {
    state: RwLock<State>,
    /// Number of the last event; `None`: closed.
    pub(super) tail: watch::Sender<Option<u64>>,
    pub(super) trouble: watch::Sender<Option<AppendError>>,
    retention: Retention,
}

impl Shared {
    pub(super) fn new(state: State, retention: Retention) -> Shared {
        let last = state.last().id;
        Shared { state: RwLock::new(state), tail: watch::channel(Some(last)).0, trouble: watch::channel(None).0, retention }
    }

    pub(super) fn read(&self) -> RwLockReadGuard<'_, State> {
        // A panic while it is held leaves it whole: nothing in between can fail.
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Shows events, then wakes those who wait. Returns the number of the first event that is kept.
    pub(super) fn publish(&self, events: impl IntoIterator<Item = Arc<Stored>>, now: Timestamp) -> Option<u64> {
        let (last, first) = {
            let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
            events.into_iter().for_each(|stored| state.push(stored));
            state.trim(&self.retention, now);
            (state.last().id, state.first_id())
        };
        self.tail.send_if_modified(|tail| tail.is_some() && tail.replace(last) != Some(last));
        first
    }

    pub(super) fn close(&self) {
        self.tail.send_replace(None);
    }

    pub(super) fn look(&self, after: After, topics: &Topics, max: usize) -> Batch {
        let (mut events, mut gap) = (Vec::new(), false);
        let mut from = after;
        loop {
            let state = self.read();
            let (begin, missing) = state.find(from);
            gap |= missing;
            let part: Vec<Arc<Stored>> =
                state.events.iter().skip(begin).take(if topics.is_all() { max.saturating_sub(events.len()) } else { SEARCHED }).cloned().collect();
            let last = state.last();
            drop(state);
            let Some(end) = part.last().map(|stored| Position { id: stored.event.id, time: stored.event.time }) else {
                return Batch { events, gap, position: last };
            };
            for stored in part {
                if topics.matches(&stored.event.topics) {
                    let position = Position { id: stored.event.id, time: stored.event.time };
                    events.push(stored);
                    if events.len() >= max {
                        return Batch { events, gap, position };
                    }
                }
            }
            if end.id >= last.id {
                return Batch { events, gap, position: end };
            }
            from = After::Id(end.id);
        }
    }

    pub(super) fn recent(&self, not_before: Option<Timestamp>, topics: &Topics) -> Vec<Arc<Stored>> {
        let all: Vec<Arc<Stored>> = {
            let state = self.read();
            let begin = not_before.map_or(0, |time| state.events.partition_point(|stored| stored.event.time < time));
            state.events.iter().skip(begin).rev().cloned().collect()
        };
        if topics.is_all() { all } else { all.into_iter().filter(|stored| topics.matches(&stored.event.topics)).collect() }
    }

    pub(super) fn before(&self, id: Option<u64>, topics: &Topics, max: usize) -> Vec<Arc<Stored>> {
        let mut found = Vec::new();
        let mut before = id;
        while found.len() < max {
            let part: Vec<Arc<Stored>> = {
                let state = self.read();
                let end = before.map_or(state.events.len(), |id| state.events.partition_point(|stored| stored.event.id < id));
                state.events.iter().take(end).rev().take(SEARCHED).cloned().collect()
            };
            let Some(last) = part.last() else { break };
            before = Some(last.event.id);
            let room = max - found.len();
            found.extend(part.into_iter().filter(|stored| topics.matches(&stored.event.topics)).take(room));
        }
        found
    }
}
