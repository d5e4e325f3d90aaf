//! Orders of a field's values.

use std::cmp::Ordering;
use std::collections::HashMap;

use protocol_benchfmt::parse_float;

use super::key::Symbol;

/// How values of a field are sorted. What an order does not tell apart is sorted by bytes.
#[derive(Debug, Clone)]
pub(super) enum FieldOrder {
    /// By first appearance: the place of each symbol, from 1; 0 if it did not appear.
    First(Vec<u32>),
    /// By bytes.
    Alpha,
    /// By number, with prefixes.
    Num,
    /// By place in a list.
    Fixed(HashMap<Vec<u8>, usize>),
}

impl FieldOrder {
    pub(super) fn compare(&self, (a, a_text): (Symbol, &[u8]), (b, b_text): (Symbol, &[u8])) -> Ordering {
        let by = match self {
            // What did not appear sorts as if it came first, as in the reference: that decides the order within `.config`, whose keys are not tracked.
            FieldOrder::First(places) => places.get(a.index()).unwrap_or(&0).cmp(places.get(b.index()).unwrap_or(&0)),
            FieldOrder::Alpha => Ordering::Equal,
            FieldOrder::Num => by_number(a_text, b_text),
            FieldOrder::Fixed(places) => places.get(a_text).unwrap_or(&0).cmp(places.get(b_text).unwrap_or(&0)),
        };
        by.then_with(|| a_text.cmp(b_text))
    }
}

/// Numbers before what is none, NaN last of them.
fn by_number(a: &[u8], b: &[u8]) -> Ordering {
    match (number(a), number(b)) {
        (Some(a), Some(b)) => a.partial_cmp(&b).unwrap_or_else(|| a.is_nan().cmp(&b.is_nan())),
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
        (None, None) => Ordering::Equal,
    }
}

/// A number, perhaps with a prefix (`k`, `Mi`) and a `B`.
fn number(text: &[u8]) -> Option<f64> {
    if let Ok(number) = parse_float(text) {
        return Some(number);
    }
    let rest = text.strip_suffix(b"B").or_else(|| text.strip_suffix(b"b")).unwrap_or(text);
    let (rest, base) = match rest.strip_suffix(b"i") {
        Some(rest) => (rest, 1024.0_f64),
        None => (rest, 1000.0),
    };
    let (digits, power) = match rest.split_last() {
        Some((b'k', digits)) => (digits, 1),
        Some((letter, digits)) => match b"KMGTPEZY".iter().position(|prefix| prefix == letter) {
            Some(place) => (digits, place + 1),
            None if base == 1000.0 => (rest, 0),
            None => return None,
        },
        None => return None,
    };
    let unsigned = digits.strip_prefix(b"+").or_else(|| digits.strip_prefix(b"-")).unwrap_or(digits);
    let plain = !unsigned.is_empty() && unsigned.iter().all(|byte| byte.is_ascii_digit() || *byte == b'.');
    let number = parse_float(digits).ok().filter(|_| plain)?;
    Some(number * base.powi(i32::try_from(power).unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_with_prefixes() {
        let cases = [
            ("1", Some(1.0)),
            ("2k", Some(2000.0)),
            ("2K", Some(2000.0)),
            ("1Mi", Some(1_048_576.0)),
            ("1.5KiB", Some(1536.0)),
            ("3b", Some(3.0)),
            ("-1M", Some(-1e6)),
            ("1e3", Some(1000.0)),
            ("0x1p4", Some(16.0)),
            ("0x10", None),
            ("1e3k", None),
            ("k", None),
            ("1i", None),
            ("", None),
            ("1kk", None),
            ("1.2.3k", None),
            ("1m", None),
            ("inf", Some(f64::INFINITY)),
        ];
        for (text, expected) in cases {
            assert_eq!(number(text.as_bytes()), expected, "{text}");
        }
    }

    #[test]
    fn numeric_order() {
        let mut values = ["x", "10k", "nan", "9", "1Mi", "a", "-5"];
        let compare = |a: &&str, b: &&str| FieldOrder::Num.compare((Symbol::EMPTY, a.as_bytes()), (Symbol::EMPTY, b.as_bytes()));
        values.sort_by(compare);
        assert_eq!(values, ["-5", "9", "10k", "1Mi", "nan", "a", "x"]);
    }
}
