//! Follows an event stream: a push that is announced there is looked at now, without waiting for a poll.
//!
//! An event is only a hint; the fetch finds out what happened. When events may have been missed, everything is looked at once.

use std::sync::Arc;

use burrow_events::{After, Feed, Item, Topics, place_of};
use futures_util::StreamExt as _;
use tokio_util::sync::CancellationToken;

use crate::farm::Farm;

/// Follows `feed` until the farm stops.
pub(crate) async fn follow(farm: Arc<Farm>, feed: Arc<dyn Feed>, stop: CancellationToken) {
    let mut items = feed.follow(After::Now, Topics::all());
    let mut up = false;
    loop {
        let item = tokio::select! {
            () = stop.cancelled() => return,
            item = items.next() => item,
        };
        match item {
            None => return,
            Some(Item::Event(event)) => {
                let places = event.places();
                let config = farm.config();
                for name in config.repos.iter().filter(|(_, repo)| places.contains(&place_of(&repo.url))).map(|(name, _)| name) {
                    tracing::debug!(repo = %name, event = event.id, "A push was announced.");
                    farm.sources.hint(name);
                }
            }
            // The first connection finds sources that are looked at as they start.
            Some(Item::Up) if !up => up = true,
            Some(Item::Up | Item::Gap) => {
                tracing::info!(place = %feed.place(), "Events may have been missed: all repositories are looked at.");
                farm.sources.hint("");
            }
            Some(Item::Down(error)) => {
                up = true;
                tracing::warn!(place = %feed.place(), %error, "The event stream does not answer; new commits are found by polling meanwhile.");
            }
        }
    }
}
