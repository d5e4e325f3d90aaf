//! Asking the owner of a repository for what is not here, once for all who wait for it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::server::Server;

/// Asking again sooner is not worth it.
const AGAIN_MS: u64 = 5_000;
/// Questions that are remembered.
const MOST: usize = 10_000;

/// Question → when it was answered last, and whether it was.
type Slot = Arc<tokio::sync::Mutex<Option<(u64, bool)>>>;

#[derive(Default)]
pub(crate) struct Wants(Mutex<HashMap<(String, String), Slot>>);

impl Wants {
    /// Returns when the owner has fetched `rev` or found that there is none; false when it could not tell.
    pub(crate) async fn fetch(&self, server: &Server, name: &str, rev: &str) -> bool {
        let slot = {
            let mut slots = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if slots.len() >= MOST {
                // Only those that somebody waits for.
                slots.retain(|_, slot| Arc::strong_count(slot) > 1);
            }
            Arc::clone(slots.entry((name.to_owned(), rev.to_owned())).or_default())
        };
        // Whoever comes second waits here for the first one's answer.
        let mut answered = slot.lock().await;
        let clock = &server.inner.clock;
        if let Some((then, told)) = *answered
            && clock.monotonic_ms().saturating_sub(then) < AGAIN_MS
        {
            return told;
        }
        let told = match tokio::time::timeout(server.inner.options.want_limit, server.inner.repositories.want(name, rev)).await {
            Ok(Ok(())) => true,
            Ok(Err(error)) => {
                tracing::info!(repository = name, rev, %error, "A revision could not be fetched.");
                false
            }
            Err(_) => {
                tracing::warn!(repository = name, rev, "Fetching a revision took too long.");
                false
            }
        };
        *answered = Some((clock.monotonic_ms(), told));
        told
    }
}
