//! Events that wake repositories. Polling stays as it is: an event that never comes costs time, not commits.

use std::collections::BTreeMap;
use std::sync::Arc;

use burrow_events::{After, Feed, Follower, Item, Topics, place_of};
use futures_util::StreamExt as _;

use crate::mirror::Mirror;
use crate::store;

/// Under which name the place in the stream of events is kept.
const POSITION: &str = "events";

/// Starts to follow, if there is something to follow.
pub(crate) fn start(mirror: &Mirror) {
    let feed: Arc<dyn Feed> = match (&mirror.inner.deps.feed, &mirror.config().events) {
        (Some(feed), _) => Arc::clone(feed),
        (None, None) => return,
        (None, Some(events)) => {
            let token = events.token_file.as_deref().map(burrow_site::read_secret).transpose();
            let follower = token
                .map_err(|e| e.to_string())
                .and_then(|token| Follower::new(mirror.inner.deps.http.clone(), &events.url, token.as_deref()).map_err(|e| e.to_string()));
            match follower {
                Ok(follower) => Arc::new(follower),
                Err(why) => return mirror.trouble("events", Some(why)),
            }
        }
    };
    let mirror = mirror.clone();
    let stop = mirror.inner.stop.clone();
    mirror.inner.tasks.clone().spawn(burrow_task::boxed(async move {
        tokio::select! {
            () = stop.cancelled() => {}
            () = follow(&mirror, &*feed) => {}
        }
    }));
}

async fn follow(mirror: &Mirror, feed: &dyn Feed) {
    // Where the last process stopped: whatever changed meanwhile is looked at at the start anyway, and then again.
    let position = store::noted(&mirror.inner.db, POSITION).await.ok().flatten().and_then(|text| text.parse().ok()).map_or(After::Now, After::Id);
    let mut items = feed.follow(position, Topics::all());
    while let Some(item) = items.next().await {
        match item {
            Item::Event(event) => {
                let places = event.places();
                if !places.is_empty() {
                    let by_place = places_of(mirror);
                    for name in places.iter().filter_map(|place| by_place.get(&place.to_lowercase())).flatten() {
                        mirror.wake_because(name, "got update tickle");
                    }
                }
                if event.id != 0 {
                    // Not waited for: a place that is a little old costs a look, no more.
                    drop(mirror.inner.db.submit(vec![store::note(POSITION, &event.id.to_string())]));
                }
            }
            Item::Gap => {
                tracing::info!("Events were missed; every repository is looked at.");
                for name in mirror.names() {
                    mirror.wake_because(&name, "events were missed");
                }
            }
            Item::Up => mirror.trouble("events", None),
            Item::Down(why) => mirror.trouble("events", Some(format!("{} does not answer, polling goes on: {why}", feed.place()))),
        }
    }
}

/// Repositories by the place of their upstream.
fn places_of(mirror: &Mirror) -> BTreeMap<String, Vec<String>> {
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, cell) in &*mirror.inner.cells.read().unwrap_or_else(std::sync::PoisonError::into_inner) {
        found.entry(place_of(&cell.config.upstream).to_lowercase()).or_default().push(name.clone());
    }
    found
}
