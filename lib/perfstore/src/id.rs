//! Names of uploads and their order.

use std::fmt;

/// Uploads of one day are numbered below this, so that day and number are one number whose order is theirs.
const PER_DAY: i64 = 1_000_000_000;

/// The name of an upload: `YYYYMMDD.N` (`spec/perfdata.md` §4.4). Ordered by day and number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UploadId {
    day: u32,
    seq: u32,
}

impl UploadId {
    /// The `seq`th upload of `day` (as `YYYYMMDD`).
    pub fn new(day: u32, seq: u32) -> Option<UploadId> {
        ((10_000_000..100_000_000).contains(&day) && (1..PER_DAY).contains(&i64::from(seq))).then_some(UploadId { day, seq })
    }

    /// Reads it; `None` if it has another form.
    ///
    /// ```
    /// use burrow_perfstore::UploadId;
    /// assert_eq!(UploadId::parse(b"20261122.7").unwrap().to_string(), "20261122.7");
    /// assert!(UploadId::parse(b"20261122.07").is_none() && UploadId::parse(b"new").is_none());
    /// assert!(UploadId::parse(b"20261122.10") > UploadId::parse(b"20261122.9"));
    /// ```
    pub fn parse(text: &[u8]) -> Option<UploadId> {
        let text = std::str::from_utf8(text).ok()?;
        let (day, seq) = text.split_once('.')?;
        if day.len() != 8 || seq.starts_with('0') || !text.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
            return None;
        }
        UploadId::new(day.parse().ok()?, seq.parse().ok()?)
    }

    /// The day as `YYYYMMDD`.
    pub fn day(self) -> u32 {
        self.day
    }

    /// The number within the day, from 1.
    pub fn seq(self) -> u32 {
        self.seq
    }

    /// One number with the same order; the key of its rows.
    pub(crate) fn number(self) -> i64 {
        i64::from(self.day) * PER_DAY + i64::from(self.seq)
    }

    /// Back from that number.
    pub(crate) fn from_number(number: i64) -> Option<UploadId> {
        UploadId::new(u32::try_from(number / PER_DAY).ok()?, u32::try_from(number % PER_DAY).ok()?)
    }
}

impl fmt::Display for UploadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.day, self.seq)
    }
}

/// The day of a moment (Unix milliseconds) in UTC as `YYYYMMDD`.
pub(crate) fn day_of(ms: i64) -> u32 {
    let date = jiff::Timestamp::from_millisecond(ms).unwrap_or(jiff::Timestamp::UNIX_EPOCH).to_zoned(jiff::tz::TimeZone::UTC).date();
    let [year, month, day] =
        [u32::try_from(date.year()).unwrap_or(1970).max(1000), u32::from(date.month().unsigned_abs()), u32::from(date.day().unsigned_abs())];
    year * 10_000 + month * 100 + day
}

/// A moment (Unix milliseconds) as RFC 3339 in UTC with whole seconds.
pub(crate) fn rfc3339(ms: i64) -> String {
    jiff::Timestamp::from_second(ms.div_euclid(1000)).unwrap_or(jiff::Timestamp::UNIX_EPOCH).to_string()
}
