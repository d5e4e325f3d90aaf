//! Waiting: how long, and with what.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use burrow_clock::SharedClock;
use futures_util::future::BoxFuture;

/// How the pollers let time pass. A test hands in one that moves its clock instead.
#[derive(Clone)]
pub struct Pause(Arc<dyn Fn(Duration) -> BoxFuture<'static, ()> + Send + Sync>);

impl fmt::Debug for Pause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pause")
    }
}

impl Default for Pause {
    fn default() -> Self {
        Pause::new(|length| Box::pin(tokio::time::sleep(length)))
    }
}

impl Pause {
    /// With something else than the runtime's timer.
    pub fn new(wait: impl Fn(Duration) -> BoxFuture<'static, ()> + Send + Sync + 'static) -> Pause {
        Pause(Arc::new(wait))
    }

    /// Waits.
    pub(crate) async fn wait(&self, length: Duration) {
        (self.0)(length).await;
    }

    /// Waits until a moment, a minute at most at a time: the wall clock may be set meanwhile.
    pub(crate) async fn until(&self, clock: &SharedClock, ms: i64) {
        loop {
            let left = u64::try_from(ms.saturating_sub(clock.now_ms())).unwrap_or(0);
            if left == 0 {
                return;
            }
            self.wait(Duration::from_millis(left.min(60_000))).await;
        }
    }
}

/// When the pollers do what.
#[derive(Debug, Clone)]
pub struct Timing {
    /// Between two rounds of a repository on GitHub when nothing wakes it.
    pub github_idle: Duration,
    /// Between two rounds of a git or Gerrit project when nothing wakes it.
    pub git_idle: Duration,
    /// So long after an issue's last change its events and comments are read once more: GitHub shows some of them late.
    pub settle: Duration,
    /// Between two looks at the labels and milestones of a repository.
    pub labels: Duration,
    /// Between two walks through all issues of a repository, which find what was deleted or moved away.
    pub reconcile: Duration,
    /// Between two questions to a repository whose issues are switched off.
    pub disabled: Duration,
    /// First pause after a failure; it doubles with each one that follows.
    pub first_backoff: Duration,
    /// Longest pause after failures.
    pub longest_backoff: Duration,
    /// Longest time that one `git ls-remote` may take.
    pub list_limit: Duration,
    /// Longest time that one `git fetch` may take.
    pub fetch_limit: Duration,
    /// How the time between is spent.
    pub pause: Pause,
}

impl Default for Timing {
    fn default() -> Self {
        let minutes = |n: u64| Duration::from_secs(60 * n);
        Timing {
            github_idle: minutes(15),
            git_idle: minutes(5),
            settle: minutes(3),
            labels: minutes(10),
            reconcile: minutes(24 * 60),
            disabled: minutes(24 * 60),
            first_backoff: Duration::from_secs(30),
            longest_backoff: minutes(15),
            list_limit: minutes(5),
            fetch_limit: minutes(60),
            pause: Pause::default(),
        }
    }
}

impl Timing {
    /// The pause after so many failures in a row.
    pub(crate) fn backoff(&self, failures: u32) -> Duration {
        let doubled = 1_u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX);
        self.first_backoff.saturating_mul(doubled).min(self.longest_backoff)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_after_failures_double_and_end_growing() {
        let timing = Timing::default();
        let pauses: Vec<u64> = [1, 2, 3, 5, 6, 7, 40, u32::MAX].map(|failures| timing.backoff(failures).as_secs()).to_vec();
        assert_eq!(pauses, [30, 60, 120, 480, 900, 900, 900, 900]);
    }
}
