//! Moments as people type them, and as they are shown.

use std::str::FromStr;

use burrow_maintner::{Time, ZonedTime};
use jiff::civil::Date;
use jiff::tz::{Offset, TimeZone};
use jiff::{Timestamp, ToSpan as _};

/// A moment, or a day, that was typed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum When {
    /// A day, UTC.
    Day(Date),
    /// A moment.
    At(Timestamp),
    /// So many seconds ago.
    Ago(i64),
}

impl FromStr for When {
    type Err = String;

    fn from_str(text: &str) -> Result<When, String> {
        let wrong = || format!("{text:?} is no date; give 2023-01-31, 2023-01-31T08:00:00Z, or 7d or 12h for so long ago");
        // A day is written in ten letters; the parser would also take the day of something longer and forget the rest.
        if text.len() == 10 {
            return text.parse().map(When::Day).map_err(|_| wrong());
        }
        let unit = match text.chars().last() {
            Some('h') => 3_600,
            Some('d') => 86_400,
            Some('w') => 7 * 86_400,
            _ => return text.parse().map(When::At).map_err(|_| wrong()),
        };
        let count: i64 = text.get(..text.len() - 1).and_then(|digits| digits.parse().ok()).filter(|count| (0..=1_000_000).contains(count)).ok_or_else(wrong)?;
        Ok(When::Ago(count * unit))
    }
}

fn time(moment: Timestamp) -> Time {
    let (mut seconds, mut nanos) = (moment.as_second(), moment.subsec_nanosecond());
    if nanos < 0 {
        (seconds, nanos) = (seconds - 1, nanos + 1_000_000_000);
    }
    Time { seconds, nanos }
}

impl When {
    /// The first moment of it; `now` is Unix milliseconds.
    pub(crate) fn first(self, now: i64) -> Time {
        match self {
            When::At(moment) => time(moment),
            When::Ago(seconds) => Time { seconds: now.div_euclid(1_000).saturating_sub(seconds), nanos: 0 },
            When::Day(day) => TimeZone::UTC.to_timestamp(day.at(0, 0, 0, 0)).map_or(Time { seconds: i64::MIN, nanos: 0 }, time),
        }
    }

    /// The first moment behind it.
    pub(crate) fn end(self, now: i64) -> Time {
        match self {
            When::Day(day) => day.checked_add(1.day()).map_or(Time { seconds: i64::MAX, nanos: 0 }, |next| When::Day(next).first(now)),
            // Times in a log have seconds, mostly: one that is typed means all of it.
            other => {
                let first = other.first(now);
                Time { seconds: first.seconds.saturating_add(1), nanos: 0 }
            }
        }
    }
}

/// As RFC 3339; years that this cannot express come as `@` with Unix seconds.
pub(crate) fn rfc3339(time: Time) -> String {
    stamp(time).map_or_else(|| format!("@{}", time.seconds), |moment| moment.to_string())
}

/// The same with the zone in which it was written.
pub(crate) fn rfc3339_zoned(zoned: ZonedTime) -> String {
    let offset = zoned.zone_minutes.checked_mul(60).and_then(|seconds| Offset::from_seconds(seconds).ok());
    match (stamp(zoned.time), offset) {
        (Some(moment), Some(offset)) => moment.display_with_offset(offset).to_string(),
        _ => rfc3339(zoned.time),
    }
}

/// For tables: `2023-01-31 08:00`.
pub(crate) fn short(time: Option<Time>) -> String {
    let Some(time) = time else { return String::new() };
    stamp(time).map_or_else(|| format!("@{}", time.seconds), |moment| moment.strftime("%F %H:%M").to_string())
}

fn stamp(time: Time) -> Option<Timestamp> {
    let nanos = Some(time.nanos).filter(|nanos| (0..1_000_000_000).contains(nanos))?;
    Timestamp::new(time.seconds, nanos).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_675_180_800_000; // 2023-01-31T16:00:00Z

    #[test]
    fn days_moments_and_ages_are_understood() {
        for (text, first, end) in [
            ("2023-01-31", 1_675_123_200, 1_675_209_600),
            ("2023-01-31T08:00:00Z", 1_675_152_000, 1_675_152_001),
            ("2023-01-31T08:00:00+02:00", 1_675_144_800, 1_675_144_801),
            ("12h", 1_675_137_600, 1_675_137_601),
            ("7d", 1_674_576_000, 1_674_576_001),
            ("2w", 1_673_971_200, 1_673_971_201),
        ] {
            let when: When = text.parse().unwrap();
            assert_eq!((when.first(NOW).seconds, when.end(NOW).seconds), (first, end), "{text}");
        }
    }

    #[test]
    fn what_is_no_date_is_refused_with_examples() {
        for text in ["", "d", "-7d", "7m", "yesterday", "2023-02-30", "2023-1-1", "31.01.2023", "2023-01-31T08:00:00", "2023-01-31 08:00", "99999999999d"] {
            let said = text.parse::<When>().unwrap_err();
            assert!(said.contains("2023-01-31T08:00:00Z"), "{text}: {said}");
        }
    }

    #[test]
    fn every_time_of_a_log_can_be_shown() {
        let at = |seconds, nanos| Time { seconds, nanos };
        assert_eq!(rfc3339(at(-1, 999_999_999)), "1969-12-31T23:59:59.999999999Z");
        assert_eq!(rfc3339(at(i64::MAX, 0)), format!("@{}", i64::MAX));
        assert_eq!(rfc3339(at(5, -3)), "@5");
        assert_eq!(rfc3339_zoned(ZonedTime { time: at(0, 0), zone_minutes: 345 }), "1970-01-01T05:45:00+05:45");
        assert_eq!(rfc3339_zoned(ZonedTime { time: at(0, 0), zone_minutes: i32::MAX }), "1970-01-01T00:00:00Z");
        assert_eq!(short(Some(at(1_675_180_800, 0))), "2023-01-31 16:00");
    }
}
