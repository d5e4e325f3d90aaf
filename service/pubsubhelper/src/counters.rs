//! What became of deliveries, counted.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! outcomes {
    ($($(#[doc = $doc:literal])* $name:ident = $label:literal;)*) => {
        /// What became of a delivery.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[repr(usize)]
        pub enum Outcome {
            $($(#[doc = $doc])* $name,)*
        }

        impl Outcome {
            /// Every one, in the order of its number.
            pub const ALL: &[Outcome] = &[$(Outcome::$name,)*];

            /// Name for metrics and pages.
            pub fn label(self) -> &'static str {
                match self { $(Outcome::$name => $label,)* }
            }
        }
    };
}

outcomes! {
    /// It became at least one event.
    Accepted = "accepted";
    /// It came before.
    Duplicate = "duplicate";
    /// Proved, and nothing that anybody waits for.
    Ignored = "ignored";
    /// Not encrypted.
    NotEncrypted = "not_encrypted";
    /// Another method than POST.
    Method = "method";
    /// No signature or token.
    Unsigned = "unsigned";
    /// A signature or token that does not fit.
    BadSignature = "bad_signature";
    /// Too large.
    TooLarge = "too_large";
    /// Too slow, or cut off.
    TooSlow = "too_slow";
    /// No memory for it.
    Busy = "busy";
    /// Proved, but it makes no sense.
    Malformed = "malformed";
    /// It could not be stored; the sender was told.
    NotStored = "not_stored";
}

impl Outcome {
    /// Whether the sender had proved who it is.
    pub fn is_proved(self) -> bool {
        matches!(self, Outcome::Accepted | Outcome::Duplicate | Outcome::Ignored | Outcome::Malformed | Outcome::NotStored)
    }

    /// Whether an operator may want to know.
    pub fn is_refusal(self) -> bool {
        !matches!(self, Outcome::Accepted | Outcome::Duplicate | Outcome::Ignored)
    }
}

/// Counts since the start.
#[derive(Debug)]
pub struct Counters {
    outcomes: Vec<AtomicU64>,
    events: AtomicU64,
}

impl Default for Counters {
    fn default() -> Self {
        Counters { outcomes: Outcome::ALL.iter().map(|_| AtomicU64::new(0)).collect(), events: AtomicU64::new(0) }
    }
}

impl Counters {
    /// One more.
    pub fn count(&self, outcome: Outcome) {
        if let Some(counter) = self.outcomes.get(outcome as usize) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// So many more events.
    pub fn count_events(&self, events: u64) {
        self.events.fetch_add(events, Ordering::Relaxed);
    }

    /// How many.
    pub fn of(&self, outcome: Outcome) -> u64 {
        self.outcomes.get(outcome as usize).map_or(0, |counter| counter.load(Ordering::Relaxed))
    }

    /// Events.
    pub fn events(&self) -> u64 {
        self.events.load(Ordering::Relaxed)
    }

    /// All that are not zero.
    pub fn all(&self) -> Vec<(Outcome, u64)> {
        Outcome::ALL.iter().map(|outcome| (*outcome, self.of(*outcome))).filter(|(_, count)| *count > 0).collect()
    }
}
