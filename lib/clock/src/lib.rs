//! Time and random identifiers, handed in so that tests can hold them still.
//!
//! Nothing below `app` reads the clock or the random generator on its own: a service is given a [`Clock`] and [`Ids`]
//! at start, and its pure step is given plain numbers. A test gives a [`TestClock`] and seeded ids, and then decides
//! what time it is.
//!
//! ```
//! use burrow_clock::{Clock, TestClock};
//! let clock = TestClock::at(1_700_000_000_000);
//! clock.advance_ms(250);
//! assert_eq!(clock.now_ms(), 1_700_000_000_250);
//! assert_eq!(clock.monotonic_ms(), 250);
//! ```

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// Where a program gets its time from.
pub trait Clock: Send + Sync + fmt::Debug + 'static {
    /// Milliseconds since 1970-01-01T00:00:00Z, as people know it. It may jump when the machine's clock is set.
    fn now_ms(&self) -> i64;
    /// Milliseconds since some fixed moment of this process. It never goes back: use it for waiting and measuring.
    fn monotonic_ms(&self) -> u64;
}

/// A clock that many owners share.
pub type SharedClock = Arc<dyn Clock>;

/// The machine's own clock.
#[derive(Debug, Clone)]
pub struct SystemClock {
    start: Instant,
}

impl SystemClock {
    /// Starts its monotonic time at zero.
    pub fn new() -> Self {
        SystemClock { start: Instant::now() }
    }

    /// The same, ready to be handed around.
    pub fn shared() -> SharedClock {
        Arc::new(SystemClock::new())
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        SystemClock::new()
    }
}

impl Clock for SystemClock {
    fn now_ms(&self) -> i64 {
        // A machine whose clock stands before 1970 gets negative numbers, not a crash.
        match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(since) => i64::try_from(since.as_millis()).unwrap_or(i64::MAX),
            Err(before) => i64::try_from(before.duration().as_millis()).map_or(i64::MIN, |ms| -ms),
        }
    }

    fn monotonic_ms(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// A clock that moves only when it is told to. Clones share the time.
#[derive(Debug, Clone, Default)]
pub struct TestClock {
    inner: Arc<TestTime>,
}

#[derive(Debug, Default)]
struct TestTime {
    wall: AtomicI64,
    monotonic: AtomicU64,
}

impl TestClock {
    /// A clock that shows `now_ms` (Unix milliseconds) until it is moved.
    pub fn at(now_ms: i64) -> Self {
        let clock = TestClock::default();
        clock.inner.wall.store(now_ms, Ordering::SeqCst);
        clock
    }

    /// Lets `ms` milliseconds pass, on both scales.
    pub fn advance_ms(&self, ms: u64) {
        self.inner.monotonic.fetch_add(ms, Ordering::SeqCst);
        self.inner.wall.fetch_add(i64::try_from(ms).unwrap_or(i64::MAX), Ordering::SeqCst);
    }

    /// Sets the wall clock alone, forwards or backwards, as an administrator or a time server does.
    pub fn set_wall_ms(&self, now_ms: i64) {
        self.inner.wall.store(now_ms, Ordering::SeqCst);
    }
}

impl Clock for TestClock {
    fn now_ms(&self) -> i64 {
        self.inner.wall.load(Ordering::SeqCst)
    }

    fn monotonic_ms(&self) -> u64 {
        self.inner.monotonic.load(Ordering::SeqCst)
    }
}

/// A source of random identifiers: lower-case hex, from the system's generator or from a seed.
#[derive(Clone)]
pub struct Ids {
    source: Source,
}

#[derive(Clone)]
enum Source {
    System,
    Seeded(Arc<std::sync::Mutex<StdRng>>),
}

impl fmt::Debug for Ids {
    // The generator's state would let a reader of a log foretell secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.source {
            Source::System => "Ids(system)",
            Source::Seeded(_) => "Ids(seeded)",
        })
    }
}

impl Ids {
    /// Unforeseeable identifiers, good enough for secrets.
    pub fn system() -> Self {
        Ids { source: Source::System }
    }

    /// The same sequence for the same seed; for tests and simulations.
    pub fn seeded(seed: u64) -> Self {
        Ids { source: Source::Seeded(Arc::new(std::sync::Mutex::new(StdRng::seed_from_u64(seed)))) }
    }

    /// Fills `bytes` with random ones.
    pub fn fill(&self, bytes: &mut [u8]) {
        match &self.source {
            Source::System => rand::rng().fill_bytes(bytes),
            Source::Seeded(rng) => rng.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).fill_bytes(bytes),
        }
    }

    /// A random number.
    pub fn number(&self) -> u64 {
        let mut bytes = [0; 8];
        self.fill(&mut bytes);
        u64::from_le_bytes(bytes)
    }

    /// `digits` random hex digits.
    ///
    /// ```
    /// let ids = burrow_clock::Ids::seeded(1);
    /// assert_eq!(ids.hex(5).len(), 5);
    /// assert_ne!(ids.hex(32), ids.hex(32));
    /// ```
    pub fn hex(&self, digits: usize) -> String {
        let mut bytes = vec![0; digits.div_ceil(2)];
        self.fill(&mut bytes);
        bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]).filter_map(|digit| char::from_digit(u32::from(digit), 16)).take(digits).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_wall_clock_does_not_move_the_monotonic_one() {
        let clock = TestClock::at(5_000);
        let other = clock.clone();
        clock.advance_ms(10);
        other.set_wall_ms(1_000);
        assert_eq!((clock.now_ms(), clock.monotonic_ms()), (1_000, 10));
    }

    #[test]
    fn the_same_seed_gives_the_same_ids_and_another_gives_others() {
        let (a, b, c) = (Ids::seeded(7), Ids::seeded(7), Ids::seeded(8));
        let first = a.hex(33);
        assert_eq!(first.len(), 33);
        assert!(first.chars().all(|c| c.is_ascii_hexdigit() && !c.is_ascii_uppercase()));
        assert_eq!(first, b.hex(33));
        assert_ne!(first, c.hex(33));
        assert_ne!(first, a.hex(33), "ids of one source must differ");
    }
}
