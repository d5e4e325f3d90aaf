//! `Range`: one part of a representation.

/// What a `Range` header asks for, of a representation of known length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Range {
    /// Everything: there is no range, it is not understood, or it asks for several parts.
    Whole,
    /// The bytes from `start` up to but not including `end`; at least one.
    Part {
        /// The first byte.
        start: u64,
        /// The byte after the last one.
        end: u64,
    },
    /// Nothing of it exists.
    Unsatisfiable,
}

/// Understands a `Range` header (RFC 9110 §14). What is not understood is ignored, as the RFC demands.
pub fn parse(header: &str, length: u64) -> Range {
    let Some(spec) = header.trim().strip_prefix("bytes=") else { return Range::Whole };
    let Some((first, last)) = spec.trim().split_once('-') else { return Range::Whole };
    // `parse` of a number takes a plus sign, HTTP does not.
    let number = |text: &str| if text.bytes().all(|byte| byte.is_ascii_digit()) { text.parse::<u64>().ok() } else { None };
    match (first, last) {
        ("", last) => match number(last) {
            None => Range::Whole,
            Some(0) => Range::Unsatisfiable,
            Some(_) if length == 0 => Range::Unsatisfiable,
            Some(count) => Range::Part { start: length.saturating_sub(count), end: length },
        },
        (first, last) => {
            let last = if last.is_empty() { Some(u64::MAX) } else { number(last) };
            match (number(first), last) {
                (Some(first), Some(last)) if last < first => Range::Whole,
                (Some(first), Some(_)) if first >= length => Range::Unsatisfiable,
                (Some(first), Some(last)) => Range::Part { start: first, end: last.saturating_add(1).min(length) },
                _ => Range::Whole,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_examples_of_the_rfc() {
        assert_eq!(parse("bytes=0-499", 10_000), Range::Part { start: 0, end: 500 });
        assert_eq!(parse("bytes=9500-", 10_000), Range::Part { start: 9500, end: 10_000 });
        assert_eq!(parse("bytes=-500", 10_000), Range::Part { start: 9500, end: 10_000 });
        assert_eq!(parse("bytes=-500", 100), Range::Part { start: 0, end: 100 });
        assert_eq!(parse("bytes=0-0", 1), Range::Part { start: 0, end: 1 });
        assert_eq!(parse("bytes=5-99999999999", 10), Range::Part { start: 5, end: 10 });
        for ignored in ["", "bytes", "bytes=", "bytes=-", "bytes=0-1,3-4", "bytes=4-2", "items=0-1", "bytes=+1-2", "bytes=99999999999999999999-"] {
            assert_eq!(parse(ignored, 10), Range::Whole, "{ignored:?}");
        }
        for nothing in ["bytes=10-", "bytes=10-11", "bytes=-0"] {
            assert_eq!(parse(nothing, 10), Range::Unsatisfiable, "{nothing:?}");
        }
        assert_eq!(parse("bytes=-5", 0), Range::Unsatisfiable);
    }
}
