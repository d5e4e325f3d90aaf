//! Numbers and ranges as the reference understands them.

use std::num::IntErrorKind;
use std::ops::Range;

/// What a `Range` header asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// The whole.
    All,
    /// These bytes.
    Part(Range<u64>),
    /// Bytes that are not there.
    Outside,
    /// Nothing that can be understood.
    Malformed,
}

/// Why a text is no number of 64 bits with sign.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NotANumber {
    Text,
    TooLarge,
    TooSmall,
}

/// Reads a decimal number, perhaps with a sign.
pub(super) fn number(text: &str) -> Result<i64, NotANumber> {
    text.parse::<i64>().map_err(|error| match error.kind() {
        IntErrorKind::PosOverflow => NotANumber::TooLarge,
        IntErrorKind::NegOverflow => NotANumber::TooSmall,
        _ => NotANumber::Text,
    })
}

/// What `header` asks for of `size` bytes.
pub(super) fn wanted(header: &[u8], size: u64) -> Wanted {
    let Ok(header) = std::str::from_utf8(header) else { return Wanted::Malformed };
    if header.is_empty() {
        return Wanted::All;
    }
    let Some(ranges) = header.strip_prefix("bytes=") else { return Wanted::Malformed };
    let mut found = None;
    let mut outside = false;
    let mut several = false;
    for range in ranges.split(',').map(str::trim).filter(|range| !range.is_empty()) {
        match one(range, size) {
            One::Part(part) => several |= found.replace(part).is_some(),
            One::Outside => outside = true,
            One::Malformed => return Wanted::Malformed,
        }
    }
    match found {
        Some(_) if several => Wanted::All,
        Some(part) => Wanted::Part(part),
        // Some clients ask for a range of everything; nothing has no range.
        None if outside && size > 0 => Wanted::Outside,
        None => Wanted::All,
    }
}

enum One {
    Part(Range<u64>),
    Outside,
    Malformed,
}

fn one(range: &str, size: u64) -> One {
    let Some((from, to)) = range.split_once('-') else { return One::Malformed };
    let (from, to) = (from.trim(), to.trim());
    let offset = |text: &str| number(text).ok().and_then(|number| u64::try_from(number).ok());
    if from.is_empty() {
        let count = if to.starts_with('-') { None } else { offset(to) };
        return match count {
            None => One::Malformed,
            Some(0) => One::Outside,
            Some(count) => One::Part(size.saturating_sub(count)..size),
        };
    }
    let Some(from) = offset(from) else { return One::Malformed };
    if from >= size {
        return One::Outside;
    }
    if to.is_empty() {
        return One::Part(from..size);
    }
    match offset(to) {
        Some(to) if to >= from => One::Part(from..to.saturating_add(1).min(size)),
        _ => One::Malformed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_understood_as_the_reference_does() {
        for (header, expected) in [
            ("", Wanted::All),
            ("bytes=0-9", Wanted::Part(0..10)),
            ("bytes=90-", Wanted::Part(90..100)),
            ("bytes=-10", Wanted::Part(90..100)),
            ("bytes=-500", Wanted::Part(0..100)),
            ("bytes=50-500", Wanted::Part(50..100)),
            ("bytes= 5 - 6 ", Wanted::Part(5..7)),
            ("bytes=5-6,", Wanted::Part(5..7)),
            ("bytes=5-6,200-", Wanted::Part(5..7)),
            ("bytes=0-1,5-6", Wanted::All),
            ("bytes=", Wanted::All),
            ("bytes=100-", Wanted::Outside),
            ("bytes=100-3", Wanted::Outside),
            ("bytes=-0", Wanted::Outside),
            ("bytes=9-3", Wanted::Malformed),
            ("bytes=--3", Wanted::Malformed),
            ("bytes=5", Wanted::Malformed),
            ("bytes=x-", Wanted::Malformed),
            ("bytes=0-1,x", Wanted::Malformed),
            ("lines=1-2", Wanted::Malformed),
            ("bytes=0-99999999999999999999", Wanted::Malformed),
            ("bytes=5-9223372036854775807", Wanted::Part(5..100)),
        ] {
            assert_eq!(wanted(header.as_bytes(), 100), expected, "{header}");
        }
        assert_eq!(wanted(b"bytes=0-5", 0), Wanted::All);
    }
}
