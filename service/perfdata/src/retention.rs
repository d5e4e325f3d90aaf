//! How long results are kept.

use std::time::Duration;

use burrow_clock::SharedClock;
use burrow_perfstore::{Error, Page, PerfStore, Query};
use burrow_task::BoxFuture;
use tokio_util::sync::CancellationToken;

use crate::config::Keep;

/// How often the rules are looked at.
const EVERY: Duration = Duration::from_secs(3600);
/// Uploads that one round removes for one rule; the next goes on.
const ROUND: usize = 500;

/// Applies the rules once; how many uploads were removed.
///
/// # Errors
/// The store fails, or a rule's query cannot be read.
pub fn apply<'a>(store: &'a PerfStore, rules: &'a [Keep], now_ms: i64) -> BoxFuture<'a, Result<usize, Error>> {
    Box::pin(async move {
        let mut removed = 0;
        for rule in rules {
            let before = now_ms.saturating_sub(i64::try_from(rule.time().as_millis()).unwrap_or(i64::MAX));
            let old = if rule.query.trim().is_empty() {
                store.uploads_before(before, ROUND as i64).await?
            } else {
                let text = format!("{} upload-time<{}", rule.query, burrow_web::words::rfc3339(before));
                // The rules were checked when they were read; one that cannot be read removes nothing.
                let Ok(query) = Query::parse(text.as_bytes()) else { continue };
                store.uploads(&query, &[], &Page { limit: Some(ROUND), after: None }).await?.into_iter().map(|listed| listed.name).collect()
            };
            for name in old {
                let why = format!("older than {} days{}", rule.days, if rule.query.is_empty() { String::new() } else { format!(": {}", rule.query) });
                removed += usize::from(store.remove(&name, "", &why).await?);
            }
        }
        Ok(removed)
    })
}

/// Applies the rules every hour until the end.
pub fn run(store: PerfStore, rules: Vec<Keep>, clock: SharedClock, end: CancellationToken) -> BoxFuture<'static, ()> {
    Box::pin(async move {
        let mut round = tokio::time::interval(EVERY);
        while !rules.is_empty() {
            tokio::select! {
                () = end.cancelled() => return,
                _ = round.tick() => {}
            }
            match apply(&store, &rules, clock.now_ms()).await {
                Ok(0) => {}
                Ok(removed) => tracing::info!(removed, "Uploads that are older than the rules allow were removed."),
                Err(error) => tracing::error!(error = %error, "The rules about how long results are kept cannot be applied; the next round tries again."),
            }
        }
    })
}
