//! Moments as GitHub writes them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A moment: seconds since 1970 and the part of a second.
///
/// ```
/// let time: burrow_github::Time = "2017-03-01T10:00:00.5+01:00".parse().unwrap();
/// assert_eq!((time.seconds, time.nanos), (1_488_358_800, 500_000_000));
/// assert_eq!(time.to_string(), "2017-03-01T09:00:00.5Z");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Time {
    /// Unix seconds.
    pub seconds: i64,
    /// Nanoseconds within the second: 0 to 999,999,999.
    pub nanos: i32,
}

/// The text is not a moment in RFC 3339.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a time like 2006-01-02T15:04:05Z")]
pub struct BadTime(pub String);

impl Time {
    /// From Unix milliseconds.
    pub fn from_ms(ms: i64) -> Time {
        Time { seconds: ms.div_euclid(1000), nanos: i32::try_from(ms.rem_euclid(1000) * 1_000_000).unwrap_or(0) }
    }

    /// Unix milliseconds, rounded down.
    pub fn as_ms(self) -> i64 {
        self.seconds.saturating_mul(1000).saturating_add(i64::from(self.nanos / 1_000_000))
    }

    /// From a `Date` header: `Tue, 19 Jul 2022 04:38:37 GMT`.
    pub(crate) fn from_http(text: &str) -> Option<Time> {
        jiff::fmt::rfc2822::parse(text).ok().map(|zoned| Time::from(zoned.timestamp()))
    }

    /// From whole Unix seconds.
    pub const fn from_seconds(seconds: i64) -> Time {
        Time { seconds, nanos: 0 }
    }
}

impl From<jiff::Timestamp> for Time {
    fn from(timestamp: jiff::Timestamp) -> Time {
        // A jiff nanosecond is negative before 1970.
        let (seconds, nanos) = (timestamp.as_second(), timestamp.subsec_nanosecond());
        if nanos < 0 { Time { seconds: seconds - 1, nanos: nanos + 1_000_000_000 } } else { Time { seconds, nanos } }
    }
}

impl FromStr for Time {
    type Err = BadTime;

    fn from_str(text: &str) -> Result<Self, BadTime> {
        let bad = || BadTime(text.chars().take(60).collect());
        // jiff also takes what is not RFC 3339 but near it (a space for the T, a zone's name); GitHub sends none of these.
        if text.as_bytes().get(10).is_none_or(|byte| !byte.eq_ignore_ascii_case(&b'T')) {
            return Err(bad());
        }
        text.parse::<jiff::Timestamp>().map(Time::from).map_err(|_| bad())
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::new(self.seconds, self.nanos) {
            Ok(timestamp) => write!(f, "{timestamp}"),
            Err(_) => write!(f, "{}.{:09}", self.seconds, self.nanos),
        }
    }
}

impl TryFrom<String> for Time {
    type Error = BadTime;

    fn try_from(text: String) -> Result<Self, BadTime> {
        text.parse()
    }
}

impl From<Time> for String {
    fn from(time: Time) -> String {
        time.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_and_written() {
        for (text, seconds, nanos) in
            [("1970-01-01T00:00:00Z", 0, 0), ("1969-12-31T23:59:59.25Z", -1, 250_000_000), ("2012-02-29T01:02:03+00:00", 1_330_477_323, 0)]
        {
            let time: Time = text.parse().unwrap();
            assert_eq!(time, Time { seconds, nanos }, "{text}");
            assert_eq!(time.to_string().parse::<Time>().unwrap(), time);
        }
        for bad in ["", "2012-02-30T00:00:00Z", "2012-02-03 00:00:00Z", "2012-02-03T00:00:00", "yesterday"] {
            assert!(bad.parse::<Time>().is_err(), "{bad}");
        }
        assert_eq!(Time::from_http("Tue, 19 Jul 2022 04:38:37 GMT"), Some(Time::from_seconds(1_658_205_517)));
        assert_eq!(Time::from_ms(-1), Time { seconds: -1, nanos: 999_000_000 });
        assert_eq!(Time::from_ms(-1).as_ms(), -1);
    }
}
