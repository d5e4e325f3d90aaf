//! Wake-ups that are not lost.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use tokio::sync::Notify;

/// Where a source is told that there is something new. What comes during a round stays until the next one takes it.
#[derive(Debug, Default)]
pub(crate) struct Topic {
    woken: Mutex<Option<Hints>>,
    notify: Notify,
}

/// Numbers of issues or changes that are said to be new.
pub(crate) type Hints = BTreeSet<i32>;

/// Numbers that are kept at most: who is told of more than this looks at everything anyway.
const MOST: usize = 1_000;

impl Topic {
    /// Something is new; `number` says what, if that is known.
    pub(crate) fn wake(&self, number: Option<i32>) {
        let mut woken = self.woken.lock().unwrap_or_else(PoisonError::into_inner);
        let hints = woken.get_or_insert_default();
        if hints.len() < MOST {
            hints.extend(number);
        }
        drop(woken);
        self.notify.notify_one();
    }

    /// What was said since the last call; `None`: nothing.
    pub(crate) fn take(&self) -> Option<Hints> {
        self.woken.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Waits until something is said that was not taken.
    pub(crate) async fn woken(&self) {
        loop {
            let notified = self.notify.notified();
            if self.woken.lock().unwrap_or_else(PoisonError::into_inner).is_some() {
                return;
            }
            notified.await;
        }
    }
}
