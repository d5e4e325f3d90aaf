//! Whether the worker has anything to do, for `--exit-when-idle`.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

/// Counts what is under way.
#[derive(Clone, Debug)]
pub(crate) struct Activity(Arc<watch::Sender<(usize, u64)>>);

/// One thing under way, until dropped.
#[derive(Debug)]
pub(crate) struct Busy(Activity);

impl Activity {
    pub(crate) fn new() -> Self {
        Self(Arc::new(watch::Sender::new((0, 0))))
    }

    pub(crate) fn begin(&self) -> Busy {
        self.0.send_modify(|(now, ever)| {
            *now += 1;
            *ever += 1;
        });
        Busy(self.clone())
    }

    /// Ends when nothing was under way for `limit`.
    pub(crate) async fn idle_for(&self, limit: Duration) {
        let mut seen = self.0.subscribe();
        loop {
            if seen.wait_for(|(now, _)| *now == 0).await.is_err() {
                return;
            }
            // Any begin or end in the meantime starts the count again.
            if tokio::time::timeout(limit, seen.changed()).await.is_err() {
                return;
            }
        }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.0.send_modify(|(now, _)| *now = now.saturating_sub(1));
    }
}
