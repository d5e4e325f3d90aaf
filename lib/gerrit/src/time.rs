//! Moments as Gerrit writes them: `2006-01-02 15:04:05.999999999`, always UTC.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer};

/// A moment: seconds since 1970 and the part of a second.
///
/// ```
/// let time: burrow_gerrit::Time = "2017-03-01 09:00:00.500000000".parse().unwrap();
/// assert_eq!((time.seconds, time.nanos), (1_488_358_800, 500_000_000));
/// assert_eq!(time.to_string(), "2017-03-01 09:00:00.500000000");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time {
    /// Unix seconds.
    pub seconds: i64,
    /// Nanoseconds within the second: 0 to 999,999,999.
    pub nanos: i32,
}

/// The text is not a moment as Gerrit writes it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a time like 2006-01-02 15:04:05.000000000")]
pub struct BadTime(pub String);

impl FromStr for Time {
    type Err = BadTime;

    fn from_str(text: &str) -> Result<Self, BadTime> {
        let bad = || BadTime(text.chars().take(60).collect());
        let time: jiff::civil::DateTime = if text.get(10..11) == Some(" ") { text.parse().map_err(|_| bad())? } else { return Err(bad()) };
        let zoned = time.to_zoned(jiff::tz::TimeZone::UTC).map_err(|_| bad())?;
        let nanos = time.subsec_nanosecond();
        // A moment before 1970 with a part of a second: the timestamp's seconds are rounded towards 1970, ours are not.
        let seconds = zoned.timestamp().as_nanosecond().div_euclid(1_000_000_000);
        Ok(Time { seconds: i64::try_from(seconds).map_err(|_| bad())?, nanos })
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_second(self.seconds) {
            Ok(timestamp) => write!(f, "{}.{:09}", timestamp.strftime("%Y-%m-%d %H:%M:%S"), self.nanos),
            Err(_) => write!(f, "{}.{:09}", self.seconds, self.nanos),
        }
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_and_written() {
        for (text, seconds, nanos) in
            [("1970-01-01 00:00:00.000000000", 0, 0), ("1969-12-31 23:59:59.250000000", -1, 250_000_000), ("2012-02-29 01:02:03", 1_330_477_323, 0)]
        {
            let time: Time = text.parse().unwrap();
            assert_eq!(time, Time { seconds, nanos }, "{text}");
            assert_eq!(time.to_string().parse::<Time>().unwrap(), time);
        }
        for bad in ["", "2012-02-30 00:00:00", "2012-02-03T00:00:00", "2012-02-03", "2012-02-03 00:00:00Z", "yesterday"] {
            assert!(bad.parse::<Time>().is_err(), "{bad}");
        }
    }
}
