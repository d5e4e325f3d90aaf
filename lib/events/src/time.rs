//! Times as the reference writes and reads them (`spec/pubsubhelper.md` §3.1): RFC 3339 with a fraction of any length.

use jiff::Timestamp;
use jiff::civil::DateTime;

/// Reads `2006-01-02T15:04:05[.fff…](Z|±hh:mm)`. Digits of the fraction beyond the ninth are dropped, as Go does. `None`: it is not of that form, or no such
/// moment exists.
pub fn parse(text: &str) -> Option<Timestamp> {
    let bytes = text.as_bytes();
    let digits = |from: usize, count: usize| -> Option<i32> {
        bytes.get(from..from.checked_add(count)?)?.iter().try_fold(0_i32, |number, byte| byte.is_ascii_digit().then(|| number * 10 + i32::from(byte - b'0')))
    };
    let is = |at: usize, byte: u8| (bytes.get(at) == Some(&byte)).then_some(());
    let (year, month, day) = (digits(0, 4)?, digits(5, 2)?, digits(8, 2)?);
    let (hour, minute, second) = (digits(11, 2)?, digits(14, 2)?, digits(17, 2)?);
    is(4, b'-')?;
    is(7, b'-')?;
    is(10, b'T')?;
    is(13, b':')?;
    is(16, b':')?;
    let mut at = 19;
    let mut nanos = 0;
    if matches!(bytes.get(at), Some(b'.' | b',')) {
        at += 1;
        let begin = at;
        let mut worth = 100_000_000;
        while let Some(digit) = bytes.get(at).filter(|byte| byte.is_ascii_digit()) {
            nanos += i32::from(digit - b'0') * worth;
            worth /= 10;
            at += 1;
        }
        if at == begin {
            return None;
        }
    }
    let offset = match bytes.get(at)? {
        b'Z' => {
            at += 1;
            0
        }
        sign @ (b'+' | b'-') => {
            let (hours, minutes) = (digits(at + 1, 2)?, digits(at + 4, 2)?);
            is(at + 3, b':')?;
            if hours > 23 || minutes > 59 {
                return None;
            }
            at += 6;
            (hours * 3600 + minutes * 60) * if *sign == b'-' { -1 } else { 1 }
        }
        _ => return None,
    };
    if at != bytes.len() {
        return None;
    }
    // The types say what is too large; a leap second is refused, as in Go.
    let small = |number: i32| i8::try_from(number).ok();
    let civil = DateTime::new(i16::try_from(year).ok()?, small(month)?, small(day)?, small(hour)?, small(minute)?, small(second)?, nanos).ok()?;
    civil.to_zoned(jiff::tz::Offset::from_seconds(offset).ok()?.to_time_zone()).ok().map(|zoned| zoned.timestamp())
}

/// Writes it: UTC, trailing zeros of the fraction trimmed.
pub fn format(time: Timestamp) -> String {
    time.to_string()
}

/// The moment that many milliseconds after 1970; the nearest one that can be written.
pub fn from_ms(ms: i64) -> Timestamp {
    Timestamp::from_millisecond(ms).unwrap_or(if ms < 0 { Timestamp::UNIX_EPOCH } else { Timestamp::MAX })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_and_written_as_in_go() {
        for (text, want) in [
            ("2022-12-29T17:59:20.123456789Z", "2022-12-29T17:59:20.123456789Z"),
            ("2022-12-29T17:59:20Z", "2022-12-29T17:59:20Z"),
            ("2022-12-29T17:59:20.100Z", "2022-12-29T17:59:20.1Z"),
            ("2022-12-29T17:59:20.1234567891234567890123Z", "2022-12-29T17:59:20.123456789Z"),
            ("2022-12-29T19:59:20.5+02:00", "2022-12-29T17:59:20.5Z"),
            ("2022-12-29T12:29:20-05:30", "2022-12-29T17:59:20Z"),
            ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00Z"),
        ] {
            assert_eq!(parse(text).map(format).as_deref(), Some(want), "{text}");
        }
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in [
            "",
            "now",
            "2022-12-29",
            "2022-12-29T17:59:20",
            "2022-12-29T17:59:20.Z",
            "2022-12-29t17:59:20Z",
            "2022-12-29T17:59:20z",
            "2022-13-29T17:59:20Z",
            "2022-02-30T17:59:20Z",
            "2022-12-29T24:00:00Z",
            "2022-12-29T17:59:60Z",
            "2022-12-29T17:59:20+0200",
            "2022-12-29T17:59:20 02:00",
            "2022-12-29T17:59:20Z ",
            "2022-12-29T17:59:20+24:00",
            "2022-12-29T17:59:20é",
            "1672336760",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
