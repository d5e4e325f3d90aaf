//! The query language (`spec/perfdata.md` §7): words, one comparison each, those on one key merged.
//!
//! Equality is bytewise. `<` and `>` compare as moments where both sides are RFC 3339 times, as numbers where both are numbers, else bytewise; the key `upload`
//! compares by day and number. A range that is empty as numbers but not as texts (`k>510 k<52`) is read as texts, as the reference reads every range.
//!
//! ```
//! use burrow_perfstore::Query;
//! let query = Query::parse(br#"branch:main name:"Read All" upload-time>2026-01-01T00:00:00Z"#)?;
//! assert_eq!(query.keys().count(), 3);
//! assert!(Query::parse(b"k:a k:b")?.is_empty_answer());
//! assert_eq!(Query::parse(b"bogus").unwrap_err().to_string(), "query part \"bogus\" is missing operator");
//! # Ok::<_, burrow_perfstore::QueryError>(())
//! ```

use std::cmp::Ordering;
use std::collections::BTreeMap;

use protocol_benchfmt::is_upper;

use crate::id::UploadId;

/// A query that cannot be understood. The texts are the reference's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    /// A word without `:`, `<` or `>`.
    #[error("query part {} is missing operator", quoted(.0))]
    MissingOperator(Vec<u8>),
    /// White space or a capital before the operator.
    #[error("query part {} has invalid key", quoted(.0))]
    InvalidKey(Vec<u8>),
    /// `key:` and nothing after it.
    #[error("missing value for key {}", quoted(.0))]
    MissingValue(Vec<u8>),
    /// More words than anybody needs.
    #[error("the query has more than {limit} words")]
    TooLong {
        /// How many are allowed.
        limit: usize,
    },
}

/// Words that a query may have.
pub const WORDS: usize = 1_000;

fn quoted(text: &[u8]) -> String {
    format!("{:?}", String::from_utf8_lossy(text))
}

/// What is asked of one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// Exactly this value.
    Equals(Vec<u8>),
    /// Less than this.
    Less(Vec<u8>),
    /// Greater than this; with an empty text: any value.
    Greater(Vec<u8>),
    /// Less than the first, greater than the second.
    Between(Vec<u8>, Vec<u8>),
}

/// A query that was understood: what every record of the answer fulfils.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Query {
    parts: BTreeMap<Vec<u8>, Part>,
    empty: bool,
}

impl Query {
    /// Reads a query. A blank one asks for everything.
    ///
    /// # Errors
    /// [`QueryError`]. A contradiction is none: [`Query::is_empty_answer`] tells.
    pub fn parse(text: &[u8]) -> Result<Query, QueryError> {
        let words = split_words(text);
        if words.len() > WORDS {
            return Err(QueryError::TooLong { limit: WORDS });
        }
        let mut parts: BTreeMap<Vec<u8>, Part> = BTreeMap::new();
        for word in words {
            let (key, part) = parse_word(word)?;
            match parts.remove(&key) {
                None => {
                    parts.insert(key, part);
                }
                Some(before) => match merge(&key, before, part) {
                    Some(merged) => {
                        parts.insert(key, merged);
                    }
                    // As in the reference, what stands after a contradiction is not looked at.
                    None => return Ok(Query { parts: BTreeMap::new(), empty: true }),
                },
            }
        }
        for (key, part) in &parts {
            if matches!(part, Part::Equals(value) if value.is_empty()) && key.as_slice() != b"upload" {
                return Err(QueryError::MissingValue(key.clone()));
            }
        }
        Ok(Query { parts, empty: false })
    }

    /// Everything.
    pub fn everything() -> Query {
        Query::default()
    }

    /// The same, with one more condition: `key` is exactly `value`. For services that build queries.
    #[must_use]
    pub fn and_equals(mut self, key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) -> Query {
        let (key, part) = (key.into(), Part::Equals(value.into()));
        match self.parts.remove(&key) {
            None => {
                self.parts.insert(key, part);
            }
            Some(before) => match merge(&key, before, part) {
                Some(merged) => {
                    self.parts.insert(key, merged);
                }
                None => self.empty = true,
            },
        }
        self
    }

    /// Whether it contradicts itself: its answer is empty.
    pub fn is_empty_answer(&self) -> bool {
        self.empty
    }

    /// Whether it asks for everything.
    pub fn is_everything(&self) -> bool {
        !self.empty && self.parts.is_empty()
    }

    /// The keys asked about, in bytewise order.
    pub fn keys(&self) -> impl Iterator<Item = &[u8]> {
        self.parts.keys().map(Vec::as_slice)
    }

    /// What is asked of each key, in bytewise order of the keys.
    pub fn parts(&self) -> impl Iterator<Item = (&[u8], &Part)> {
        self.parts.iter().map(|(key, part)| (key.as_slice(), part))
    }

    /// What is asked of one key.
    pub fn part(&self, key: &[u8]) -> Option<&Part> {
        self.parts.get(key)
    }
}

impl Part {
    /// Whether a value of `key` is one.
    pub fn matches(&self, key: &[u8], value: &[u8]) -> bool {
        match self {
            Part::Equals(wanted) => value == wanted,
            Part::Less(upper) => compare(key, value, upper) == Ordering::Less,
            Part::Greater(lower) => lower.is_empty() || compare(key, value, lower) == Ordering::Greater,
            Part::Between(upper, lower) if compare(key, lower, upper) == Ordering::Less => {
                compare(key, value, upper) == Ordering::Less && compare(key, value, lower) == Ordering::Greater
            }
            Part::Between(upper, lower) => value < upper.as_slice() && value > lower.as_slice(),
        }
    }
}

/// Splits at unquoted blanks and tabs; a backslash takes the next byte as it is, `"` begins and ends quoting and may do so within a word; an unclosed quote runs to
/// the end; empty words are dropped.
pub fn split_words(text: &[u8]) -> Vec<Vec<u8>> {
    let mut words = Vec::new();
    let mut word = Vec::new();
    let mut quoting = false;
    let mut bytes = text.iter().copied();
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => quoting = !quoting,
            b'\\' => word.extend(bytes.next()),
            b' ' | b'\t' if !quoting => {
                if !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
            }
            other => word.push(other),
        }
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}

/// A text as one word of a query: quoted if it must be.
///
/// ```
/// use burrow_perfstore::query::{quote, split_words};
/// assert_eq!(quote(b"plain"), b"plain");
/// assert_eq!(split_words(&quote(b"two \"words\"\\")), [b"two \"words\"\\".to_vec()]);
/// ```
pub fn quote(text: &[u8]) -> Vec<u8> {
    if !text.iter().any(|byte| matches!(byte, b' ' | b'\t' | b'"' | b'\\')) {
        return text.to_vec();
    }
    let mut out = Vec::with_capacity(text.len() + 8);
    out.push(b'"');
    for byte in text {
        if matches!(byte, b'"' | b'\\') {
            out.push(b'\\');
        }
        out.push(*byte);
    }
    out.push(b'"');
    out
}

fn parse_word(word: Vec<u8>) -> Result<(Vec<u8>, Part), QueryError> {
    // Bytes that are no UTF-8 are neither space nor capital, and the operators are ASCII: only valid pieces need looking at.
    let mut at = 0;
    for piece in word.utf8_chunks() {
        for (offset, c) in piece.valid().char_indices() {
            let place = at + offset;
            let key = || word.get(..place).unwrap_or_default().to_vec();
            let value = || word.get(place + 1..).unwrap_or_default().to_vec();
            match c {
                ':' => return Ok((key(), Part::Equals(value()))),
                '<' => return Ok((key(), Part::Less(value()))),
                '>' => return Ok((key(), Part::Greater(value()))),
                c if c.is_whitespace() || is_upper(c) => return Err(QueryError::InvalidKey(word)),
                _ => {}
            }
        }
        at += piece.valid().len() + piece.invalid().len();
    }
    Err(QueryError::MissingOperator(word))
}

/// Two questions about one key as one; `None`: nothing can fulfil both.
fn merge(key: &[u8], have: Part, add: Part) -> Option<Part> {
    let less = |a: &[u8], b: &[u8]| compare(key, a, b) == Ordering::Less;
    let smaller = |a: Vec<u8>, b: Vec<u8>| if less(&b, &a) { b } else { a };
    let greater = |a: Vec<u8>, b: Vec<u8>| if b.is_empty() || (!a.is_empty() && !less(&a, &b)) { a } else { b };
    match (have, add) {
        (Part::Equals(v), other) | (other, Part::Equals(v)) => {
            // `k>` asks for any value, but an empty one is none.
            let any = matches!(&other, Part::Greater(lower) if lower.is_empty() && v.is_empty());
            (other.matches(key, &v) && !any).then_some(Part::Equals(v))
        }
        (Part::Less(u), Part::Less(w)) => Some(Part::Less(smaller(u, w))),
        (Part::Greater(l), Part::Greater(w)) => Some(Part::Greater(greater(l, w))),
        (Part::Less(u), Part::Greater(l)) | (Part::Greater(l), Part::Less(u)) => between(key, u, l),
        (Part::Between(u, l), Part::Less(w)) | (Part::Less(w), Part::Between(u, l)) => between(key, smaller(u, w), l),
        (Part::Between(u, l), Part::Greater(w)) | (Part::Greater(w), Part::Between(u, l)) => between(key, u, greater(l, w)),
        (Part::Between(u, l), Part::Between(v, m)) => between(key, smaller(u, v), greater(l, m)),
    }
}

fn between(key: &[u8], upper: Vec<u8>, lower: Vec<u8>) -> Option<Part> {
    if upper.is_empty() {
        return None;
    }
    if lower.is_empty() {
        return Some(Part::Less(upper));
    }
    (compare(key, &lower, &upper) == Ordering::Less || lower < upper).then_some(Part::Between(upper, lower))
}

/// How two values of a key lie to each other.
pub fn compare(key: &[u8], a: &[u8], b: &[u8]) -> Ordering {
    if key == b"upload"
        && let (Some(a), Some(b)) = (UploadId::parse(a), UploadId::parse(b))
    {
        return a.cmp(&b);
    }
    let bytewise = a.cmp(b);
    let (Ok(a), Ok(b)) = (std::str::from_utf8(a), std::str::from_utf8(b)) else { return bytewise };
    if let (Some(a), Some(b)) = (moment(a), moment(b)) {
        return a.cmp(&b);
    }
    if let (Some(a), Some(b)) = (number(a), number(b)) {
        return a.total_cmp(&b);
    }
    bytewise
}

/// An RFC 3339 time.
fn moment(text: &str) -> Option<jiff::Timestamp> {
    // Cheaper than asking the calendar about every value: `2026-11-22T…`.
    let bytes = text.as_bytes();
    let looks = bytes.len() >= 20 && bytes.get(4) == Some(&b'-') && matches!(bytes.get(10), Some(b'T' | b't' | b' '));
    if looks { text.parse().ok() } else { None }
}

/// A decimal number: no hexadecimal, no infinities, nothing that is a word in most texts.
fn number(text: &str) -> Option<f64> {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    let looks = digits.starts_with(|c: char| c.is_ascii_digit() || c == '.')
        && digits.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'e' | b'E' | b'-' | b'+'));
    let value: f64 = if looks { text.parse().ok()? } else { return None };
    // Zero has two forms and one value.
    Some(if value == 0.0 { 0.0 } else { value })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        split_words(text.as_bytes()).into_iter().map(|word| String::from_utf8(word).unwrap()).collect()
    }

    #[test]
    fn words_are_those_of_the_specification() {
        assert_eq!(words("hello world"), ["hello", "world"]);
        assert_eq!(words("hello\\ world"), ["hello world"]);
        assert_eq!(words(r#""key:value two" and\ more"#), ["key:value two", "and more"]);
        assert_eq!(words(r#""4'7\"""#), ["4'7\""]);
        assert_eq!(words(r#"one" two"\ three"#), ["one two three"]);
        assert_eq!(words(r#"a "" b\"#), ["a", "b"]);
        assert_eq!(words("\"open to the end"), ["open to the end"]);
        assert_eq!(words("a\nb"), ["a\nb"], "only blanks and tabs divide");
    }

    fn error(text: &str) -> String {
        Query::parse(text.as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn errors_are_the_references() {
        assert_eq!(error("bogus query"), "query part \"bogus\" is missing operator");
        assert_eq!(error("Key:value"), "query part \"Key:value\" has invalid key");
        assert_eq!(error("\"a b:c\""), "query part \"a b:c\" has invalid key");
        assert_eq!(error("k:"), "missing value for key \"k\"");
        assert_eq!(error("k: k<x"), "missing value for key \"k\"");
        assert!(Query::parse(b"upload:").is_ok() && Query::parse(b":x").is_ok() && Query::parse("ª:x".as_bytes()).is_ok());
    }

    /// Whether the words on key `k` match the value.
    fn fits(query: &str, value: &str) -> bool {
        let query = Query::parse(query.as_bytes()).unwrap();
        !query.is_empty_answer() && query.parts().all(|(key, part)| part.matches(key, value.as_bytes()))
    }

    #[test]
    fn words_on_one_key_are_merged_as_the_table_says() {
        for (query, yes, no) in [
            ("k:b k:b", "b", "a"),
            ("k:b k<c k>a", "b", "c"),
            ("k<c k:b", "b", "a"),
            ("k<d k<c", "b", "c"),
            ("k>a k>b", "c", "b"),
            ("k>a k<d", "b", "d"),
            ("k>a k<d k<c", "b", "c"),
            ("k>a k<d k>b", "c", "b"),
            ("k>a k<d k:b", "b", "c"),
            ("k> k<d", "a", "d"),
            ("k>", "anything", ""),
        ] {
            assert!(fits(query, yes), "{query} {yes}");
            assert!(query == "k>" || !fits(query, no), "{query} {no}");
        }
        for contradiction in ["k:a k:b", "k:b k<a", "k:a k>b", "k<a k>b", "k>b k<a", "k>a k<c k:d", "k< k>a", "k:a k:", "k: k>", "k:a k:b bogus", "k>b k<b"] {
            assert!(Query::parse(contradiction.as_bytes()).unwrap().is_empty_answer(), "{contradiction}");
        }
    }

    #[test]
    fn ranges_compare_numbers_and_moments_as_such() {
        assert!(fits("k>9", "10") && !fits("k>9", "9.0") && fits("k<1e3", "999"));
        assert!(fits("k>2026-01-01T00:00:00Z", "2026-01-01T01:30:00.5+01:00"));
        assert!(!fits("k>2026-01-01T00:00:00Z", "2026-01-01T01:00:00+01:00"));
        assert!(fits("upload>20261122.9", "20261122.10") && !fits("k>20261122.9", "20261122.10"));
        assert_eq!(compare(b"upload", b"20261122.10", b"20261122.9"), Ordering::Greater);
        assert_eq!(compare(b"k", b"20261122.10", b"20261122.9"), Ordering::Less, "another key's value is a number");
        assert!(fits("k>510 k<52", "511") && !fits("k>510 k<52", "52"), "as texts, because as numbers it is empty");
        assert!(fits("k>deadbeef", "f00"), "hashes are texts");
    }

    proptest::proptest! {
        #[test]
        fn any_text_can_be_quoted(text in proptest::collection::vec(proptest::num::u8::ANY, 1..40)) {
            proptest::prop_assert_eq!(split_words(&quote(&text)), vec![text]);
        }

        #[test]
        fn no_query_panics_and_order_is_antisymmetric(text in ".{0,60}", a in "[0-9.eE:TZ+-]{0,24}", b in "[0-9.eE:TZ+-]{0,24}") {
            let _ = Query::parse(text.as_bytes());
            proptest::prop_assert_eq!(compare(b"k", a.as_bytes(), b.as_bytes()), compare(b"k", b.as_bytes(), a.as_bytes()).reverse());
        }
    }
}
