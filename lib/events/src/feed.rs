//! One way to follow events, wherever they are.

use std::fmt;
use std::sync::Arc;

use futures_util::StreamExt as _;
use futures_util::stream::{self, BoxStream};
use jiff::Timestamp;

use crate::log::Next;
use crate::{Event, Log, Topics};

/// Where to begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum After {
    /// What comes from now on.
    Now,
    /// Everything that is kept.
    Oldest,
    /// What came after the event with this number.
    Id(u64),
    /// What came later than this.
    Time(Timestamp),
}

impl Event {
    /// Where to go on after this event.
    pub fn position(&self) -> After {
        if self.id == 0 { After::Time(self.time) } else { After::Id(self.id) }
    }
}

/// What a follower is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    /// Something changed.
    Event(Arc<Event>),
    /// Events before the next one are not kept any more, or belong to a log that is gone: look at everything once.
    Gap,
    /// The source answers (again). The first item of every feed that works.
    Up,
    /// The source does not answer; it is tried again. Poll meanwhile.
    Down(String),
}

/// Events, in this process or elsewhere.
pub trait Feed: Send + Sync + fmt::Debug {
    /// Events of these topics after a moment, as they come. The stream ends when the source is closed for good; troubles on the way are items.
    fn follow(&self, after: After, topics: Topics) -> BoxStream<'static, Item>;

    /// Where they come from, for people.
    fn place(&self) -> String;
}

impl Feed for Log {
    fn follow(&self, after: After, topics: Topics) -> BoxStream<'static, Item> {
        let events = stream::unfold(self.subscribe(after, topics), |mut subscription| async move {
            let item = match subscription.next().await? {
                Next::Event(stored) => Item::Event(Arc::clone(&stored.event)),
                Next::Gap => Item::Gap,
            };
            Some((item, subscription))
        });
        Box::pin(stream::once(async { Item::Up }).chain(events))
    }

    fn place(&self) -> String {
        "this process".to_owned()
    }
}
