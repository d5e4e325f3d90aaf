//! Units: their words, their class, and the base unit that they are shown in (`spec/perf.md` §3).

use std::borrow::Cow;

use crate::text::space_at;

/// Which prefixes numbers of a unit are shown with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Class {
    /// Powers of 1000: k, M, µ, …
    #[default]
    Decimal,
    /// Powers of 1024, because it counts bytes: Ki, Mi, …
    Binary,
}

/// A word of a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token<'a> {
    /// The word.
    pub text: &'a [u8],
    /// Where it begins in the unit.
    pub at: usize,
    /// It stands behind a `/` (and no `*` since).
    pub denominator: bool,
}

/// The words of a unit: what is between `*`, `/`, `-` and white space.
pub fn tokens(unit: &[u8]) -> impl Iterator<Item = Token<'_>> {
    let (mut at, mut denominator) = (0, false);
    std::iter::from_fn(move || {
        loop {
            let rest = unit.get(at..).filter(|rest| !rest.is_empty())?;
            match (rest, space_at(rest)) {
                ([b'*', ..], _) => (at, denominator) = (at + 1, false),
                ([b'/', ..], _) => (at, denominator) = (at + 1, true),
                ([b'-', ..], _) => at += 1,
                (_, 0) => {
                    let length = (1..rest.len()).find(|end| rest.get(*end..).is_some_and(separates)).unwrap_or(rest.len());
                    let token = Token { text: rest.get(..length)?, at, denominator };
                    at += length;
                    return Some(token);
                }
                (_, space) => at += space,
            }
        }
    })
}

fn separates(text: &[u8]) -> bool {
    matches!(text, [b'*' | b'/' | b'-', ..]) || space_at(text) > 0
}

/// The class of a unit: binary if something above the line counts bytes.
#[must_use]
pub fn class(unit: &[u8]) -> Class {
    let bytes = tokens(unit).any(|token| !token.denominator && matches!(token.text, b"B" | b"MB" | b"bytes"));
    if bytes { Class::Binary } else { Class::Decimal }
}

/// The base unit of a unit, and what a value is multiplied by to be in it: `ns` becomes `sec`, `MB` becomes `B`, wherever they stand above the line.
#[must_use]
pub fn tidy(unit: &[u8]) -> (Cow<'_, [u8]>, f64) {
    match unit {
        b"ns/op" => return (Cow::Borrowed(b"sec/op"), 1e-9),
        b"MB/s" => return (Cow::Borrowed(b"B/s"), 1e6),
        _ => {}
    }
    let mut factor = 1.0;
    let (mut tidied, mut copied) = (Vec::new(), 0);
    for token in tokens(unit).filter(|token| !token.denominator) {
        let base: &[u8] = match token.text {
            b"ns" => {
                factor /= 1e9;
                b"sec"
            }
            b"MB" => {
                factor *= 1e6;
                b"B"
            }
            _ => continue,
        };
        tidied.extend_from_slice(unit.get(copied..token.at).unwrap_or_default());
        tidied.extend_from_slice(base);
        copied = token.at + token.text.len();
    }
    if copied == 0 {
        return (Cow::Borrowed(unit), 1.0);
    }
    tidied.extend_from_slice(unit.get(copied..).unwrap_or_default());
    (Cow::Owned(tidied), factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tidied() {
        let cases = [
            ("ns/op", "sec/op", 1e-9),
            ("x-ns/op", "x-sec/op", 1e-9),
            ("MB/s", "B/s", 1e6),
            ("x-MB/s", "x-B/s", 1e6),
            ("B/op", "B/op", 1.0),
            ("x-allocs/op", "x-allocs/op", 1.0),
            ("op/ns", "op/ns", 1.0),
            ("op/ns*ns", "op/ns*sec", 1e-9),
            ("MB*MB/s", "B*B/s", 1e12),
            ("MB/MB", "B/MB", 1e6),
            ("ns", "sec", 1e-9),
            ("ns-MB", "sec-B", 1e-3),
            ("turns/op", "turns/op", 1.0),
            ("--", "--", 1.0),
        ];
        for (unit, tidied, factor) in cases {
            assert_eq!(tidy(unit.as_bytes()), (Cow::Borrowed(tidied.as_bytes()), factor), "{unit}");
        }
    }

    #[test]
    fn classes() {
        for unit in ["B/op", "bytes/op", "B/s", "sec/B*B", "disk-B/sec", "MB"] {
            assert_eq!(class(unit.as_bytes()), Class::Binary, "{unit}");
        }
        for unit in ["ns/op", "sec/B", "sec/B/B", "sec/disk-B", "Bytes", ""] {
            assert_eq!(class(unit.as_bytes()), Class::Decimal, "{unit}");
        }
    }
}
