//! One budget for everything that asks GitHub: our own pace, and GitHub's limits as its answers state them.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use burrow_clock::SharedClock;
use http::HeaderMap;
use tokio::time::Instant;

use crate::{Error, LimitKind, Time};

/// GitHub's windows are an hour long. A limit that seems to last longer than this is a broken header, not a reason to be silent for years.
const LONGEST_WINDOW_MS: u64 = 2 * 3_600_000;
/// What GitHub asks for when it names no time ("at least one minute").
const SECONDARY_MS: u64 = 60_000;
/// Longest pause after secondary limits in a row that name no time.
const LONGEST_SECONDARY_MS: u64 = 15 * 60_000;

/// The most questions that are asked in a second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// On average; 0: as many as one likes.
    pub per_second: u32,
    /// At once, after a pause.
    pub burst: u32,
}

impl Default for Pace {
    fn default() -> Self {
        Pace { per_second: 10, burst: 10 }
    }
}

/// GitHub's limit for one kind of question, as of its last answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// Questions in a window.
    pub limit: u64,
    /// Questions left.
    pub remaining: u64,
    /// When there are new ones, by our clock.
    pub reset: Time,
}

/// A limit with the time it is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    /// `core`, `search`, … as GitHub names it.
    pub resource: String,
    /// The limit.
    pub limit: Limit,
}

/// What the budget looks like, for people.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BudgetState {
    /// GitHub's limits that are known.
    pub windows: Vec<Window>,
    /// Until when nothing may be asked, by our clock, and because of which limit.
    pub blocked: Option<(Time, LimitKind)>,
    /// Questions asked so far.
    pub asked: u64,
    /// Questions that GitHub did not count, because nothing had changed.
    pub free: u64,
}

/// A budget. Clones share it.
#[derive(Clone)]
pub struct Budget {
    inner: Arc<Inner>,
}

impl fmt::Debug for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Budget").field(&self.state()).finish()
    }
}

struct Inner {
    pace: Pace,
    clock: SharedClock,
    state: Mutex<State>,
}

/// Until when something is shut, by the monotonic clock.
#[derive(Clone, Copy)]
struct Block {
    until_ms: u64,
    kind: LimitKind,
}

#[derive(Default)]
struct State {
    /// When the next question may be asked if the burst is used up: one interval later for each question.
    next: Option<Instant>,
    windows: BTreeMap<String, Known>,
    block: Option<Block>,
    /// Secondary limits in a row.
    secondary: u32,
    asked: u64,
    free: u64,
}

struct Known {
    limit: u64,
    remaining: u64,
    /// GitHub's number for the window: tells an old answer from a new one.
    reset: u64,
    until_ms: u64,
}

impl Budget {
    /// A new budget that knows nothing of GitHub's limits yet.
    pub fn new(pace: Pace, clock: SharedClock) -> Budget {
        Budget { inner: Arc::new(Inner { pace, clock, state: Mutex::default() }) }
    }

    /// What it looks like now.
    pub fn state(&self) -> BudgetState {
        let now = self.inner.clock.monotonic_ms();
        let state = self.lock();
        let windows = state.windows.iter().map(|(resource, known)| Window {
            resource: resource.clone(),
            limit: Limit { limit: known.limit, remaining: known.remaining, reset: self.at(known.until_ms) },
        });
        BudgetState {
            windows: windows.collect(),
            blocked: state.blocked(now, "core").map(|block| (self.at(block.until_ms), block.kind)),
            asked: state.asked,
            free: state.free,
        }
    }

    /// Takes leave to ask one question: waits for our own pace (moments), but not for GitHub's limits (up to an hour).
    pub(crate) async fn take(&self, resource: &str) -> Result<(), Error> {
        let wait = {
            let now = self.inner.clock.monotonic_ms();
            let mut state = self.lock();
            if let Some(block) = state.blocked(now, resource) {
                return Err(Error::RateLimited { until: self.at(block.until_ms), kind: block.kind });
            }
            if let Some(known) = state.windows.get_mut(resource) {
                known.remaining = known.remaining.saturating_sub(1);
            }
            state.asked += 1;
            self.reserve(&mut state)
        };
        if let Some(until) = wait {
            tokio::time::sleep_until(until).await;
        }
        Ok(())
    }

    /// The moment for the next question by our own pace.
    fn reserve(&self, state: &mut State) -> Option<Instant> {
        let pace = self.inner.pace;
        if pace.per_second == 0 {
            return None;
        }
        let interval = Duration::from_secs(1) / pace.per_second;
        let now = Instant::now();
        // Whoever has not asked for a while may ask `burst` questions at once.
        let saved = interval * pace.burst.saturating_sub(1);
        let earliest = now.checked_sub(saved).unwrap_or(now);
        let mine = state.next.map_or(earliest, |next| next.max(earliest));
        state.next = Some(mine + interval);
        (mine > now).then_some(mine)
    }

    /// Learns from the head of an answer. `throttled`: it is a refusal because of a limit.
    pub(crate) fn learn(&self, headers: &HeaderMap, status: u16, throttled: bool) {
        let now = self.inner.clock.monotonic_ms();
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
        let number = |name: &str| text(name).and_then(|value| value.parse::<u64>().ok());
        let date = text("date").and_then(Time::from_http).map_or_else(|| self.inner.clock.now_ms(), Time::as_ms);
        let mut state = self.lock();
        state.free += u64::from(status == 304);
        let resource = text("x-ratelimit-resource").unwrap_or("core");
        if let (Some(limit), Some(remaining), Some(reset)) = (number("x-ratelimit-limit"), number("x-ratelimit-remaining"), number("x-ratelimit-reset")) {
            // Measured from GitHub's own time of day: the clocks of two machines differ. One second more, because both are whole seconds.
            let left = i64::try_from(reset).unwrap_or(i64::MAX).saturating_mul(1000).saturating_sub(date).saturating_add(1000);
            let left = u64::try_from(left).unwrap_or(0).min(LONGEST_WINDOW_MS);
            let known = Known { limit, remaining, reset, until_ms: now.saturating_add(left) };
            match state.windows.get_mut(resource) {
                // Answers overtake each other; within a window the smaller number is the later one. (Not less than what was taken meanwhile: an
                // answer without a count, 304, leaves it as it was.)
                Some(old) if old.reset == reset => *old = Known { remaining: if status == 304 { remaining } else { remaining.min(old.remaining) }, ..known },
                Some(old) if old.reset > reset => {}
                _ => {
                    state.windows.insert(resource.to_owned(), known);
                }
            }
        }
        if !throttled {
            if status < 400 {
                state.secondary = 0;
            }
            return;
        }
        let exhausted = number("x-ratelimit-remaining") == Some(0);
        let retry_after = text("retry-after").and_then(|value| match value.parse::<u64>() {
            Ok(seconds) => Some(seconds.saturating_mul(1000)),
            Err(_) => Time::from_http(value).map(|at| u64::try_from(at.as_ms().saturating_sub(date)).unwrap_or(0)),
        });
        let (wait, kind) = match (retry_after, exhausted) {
            (Some(wait), _) => (wait, LimitKind::Secondary),
            // The window says until when.
            (None, true) => (0, LimitKind::Primary),
            (None, false) => {
                let wait = (SECONDARY_MS << state.secondary.min(10)).min(LONGEST_SECONDARY_MS);
                state.secondary = state.secondary.saturating_add(1);
                (wait, LimitKind::Secondary)
            }
        };
        let until_ms = now.saturating_add(wait.min(LONGEST_WINDOW_MS));
        if wait > 0 && state.block.is_none_or(|block| block.until_ms < until_ms) {
            state.block = Some(Block { until_ms, kind });
        }
    }

    /// The refusal that the budget now stands for; one that GitHub gave without a reason to wait lasts a moment.
    pub(crate) fn refusal(&self, resource: &str) -> Error {
        let now = self.inner.clock.monotonic_ms();
        let block = self.lock().blocked(now, resource).unwrap_or(Block { until_ms: now.saturating_add(1000), kind: LimitKind::Primary });
        Error::RateLimited { until: self.at(block.until_ms), kind: block.kind }
    }

    /// A moment of the monotonic clock as people know it.
    fn at(&self, monotonic_ms: u64) -> Time {
        let ahead = i128::from(monotonic_ms) - i128::from(self.inner.clock.monotonic_ms());
        Time::from_ms(i64::try_from(i128::from(self.inner.clock.now_ms()).saturating_add(ahead)).unwrap_or(i64::MAX))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Plain numbers; every state of them is a budget.
        self.inner.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn blocked(&self, now: u64, resource: &str) -> Option<Block> {
        let window = self.windows.get(resource).filter(|known| known.remaining == 0).map(|known| Block { until_ms: known.until_ms, kind: LimitKind::Primary });
        [window, self.block].into_iter().flatten().filter(|block| block.until_ms > now).max_by_key(|block| block.until_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burrow_clock::{Clock as _, TestClock};

    const NOW: i64 = 1_658_205_517_000;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (http::HeaderName::from_static(name), value.parse().unwrap())).collect()
    }

    fn window(remaining: u64, reset: u64) -> HeaderMap {
        headers(&[
            ("date", "Tue, 19 Jul 2022 04:38:37 GMT"),
            ("x-ratelimit-limit", "5000"),
            ("x-ratelimit-remaining", &remaining.to_string()),
            ("x-ratelimit-reset", &reset.to_string()),
        ])
    }

    fn budget(per_second: u32, burst: u32) -> (Budget, TestClock) {
        let clock = TestClock::at(NOW);
        (Budget::new(Pace { per_second, burst }, Arc::new(clock.clone())), clock)
    }

    fn until(result: Result<(), Error>) -> Option<(i64, LimitKind)> {
        match result {
            Ok(()) => None,
            Err(Error::RateLimited { until, kind }) => Some((until.as_ms() - NOW, kind)),
            Err(other) => panic!("{other}"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_pace_allows_a_burst_and_then_holds_back() {
        let (budget, _clock) = budget(10, 5);
        let start = Instant::now();
        let mut at = Vec::new();
        for _ in 0..8 {
            budget.take("core").await.unwrap();
            at.push(start.elapsed().as_millis());
        }
        // The paused clock counts whole milliseconds and wakes at the next one.
        assert!(at[..5].iter().all(|ms| *ms == 0), "{at:?}");
        assert!((100..=102).contains(&at[5]) && (300..=302).contains(&at[7]), "{at:?}");
        tokio::time::advance(Duration::from_secs(60)).await;
        let start = Instant::now();
        for _ in 0..5 {
            budget.take("core").await.unwrap();
        }
        assert_eq!(start.elapsed().as_millis(), 0, "a pause earns the burst again, and no more");
        budget.take("core").await.unwrap();
        assert!(start.elapsed().as_millis() >= 100);
    }

    #[tokio::test]
    async fn a_used_up_window_shuts_until_its_reset_by_githubs_clock() {
        let (budget, clock) = budget(0, 0);
        // Our clock is a day ahead of GitHub's; only the difference counts.
        clock.set_wall_ms(NOW + 86_400_000);
        budget.learn(&window(1, 1_658_205_577), 200, false);
        assert_eq!(until(budget.take("core").await), None);
        assert_eq!(until(budget.take("core").await), Some((86_400_000 + 61_000, LimitKind::Primary)), "the one that was left is taken");
        assert_eq!(until(budget.take("search").await), None, "another limit");
        clock.advance_ms(60_999);
        assert!(until(budget.take("core").await).is_some());
        clock.advance_ms(1);
        assert_eq!(until(budget.take("core").await), None);
    }

    #[tokio::test]
    async fn answers_that_overtake_each_other_do_not_give_anything_back() {
        let (budget, _clock) = budget(0, 0);
        budget.learn(&window(10, 1_658_205_577), 200, false);
        budget.learn(&window(50, 1_658_205_577), 200, false);
        assert_eq!(budget.state().windows[0].limit.remaining, 10);
        budget.learn(&window(0, 1_658_201_000), 200, false);
        assert_eq!(budget.state().windows[0].limit.remaining, 10, "of a window that is over");
        budget.learn(&window(4_999, 1_658_209_177), 200, false);
        assert_eq!(budget.state().windows[0].limit, Limit { limit: 5000, remaining: 4_999, reset: Time::from_ms(NOW + 3_661_000) });
        budget.take("core").await.unwrap();
        assert_eq!(budget.state().windows[0].limit.remaining, 4_998);
        budget.learn(&window(4_999, 1_658_209_177), 304, false);
        assert_eq!((budget.state().windows[0].limit.remaining, budget.state().free), (4_999, 1), "nothing had changed, so nothing was counted");
    }

    #[tokio::test]
    async fn secondary_limits_shut_everything_and_grow_when_no_time_is_named() {
        let (budget, clock) = budget(0, 0);
        budget.learn(&headers(&[("retry-after", "7")]), 403, true);
        assert_eq!(until(budget.take("search").await), Some((7_000, LimitKind::Secondary)));
        clock.advance_ms(7_000);
        let mut waits = Vec::new();
        for _ in 0..7 {
            let now = clock.now_ms() - NOW;
            budget.learn(&HeaderMap::new(), 403, true);
            let (end, kind) = until(budget.take("core").await).unwrap();
            assert_eq!(kind, LimitKind::Secondary);
            waits.push((end - now) / 1000);
            clock.advance_ms(u64::try_from(end - now).unwrap());
        }
        assert_eq!(waits, [60, 120, 240, 480, 900, 900, 900]);
        budget.learn(&HeaderMap::new(), 200, false);
        budget.learn(&HeaderMap::new(), 429, true);
        assert_eq!(until(budget.take("core").await).unwrap().0, clock.now_ms() - NOW + 60_000, "after a success it begins anew");
    }

    #[tokio::test]
    async fn broken_headers_do_not_silence_for_years() {
        let (budget, _clock) = budget(0, 0);
        budget.learn(&window(0, 4_000_000_000_000_000), 403, true);
        assert_eq!(until(budget.take("core").await), Some((7_200_000, LimitKind::Primary)));
        let (budget, _clock) = self::budget(0, 0);
        budget.learn(&headers(&[("retry-after", "99999999999999999")]), 429, true);
        assert_eq!(until(budget.take("core").await), Some((7_200_000, LimitKind::Secondary)));
        let (budget, _clock) = self::budget(0, 0);
        budget.learn(&headers(&[("x-ratelimit-remaining", "-1"), ("x-ratelimit-reset", "x")]), 200, false);
        assert_eq!(until(budget.take("core").await), None);
    }
}
