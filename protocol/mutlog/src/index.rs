//! `GET /logs`: which segments there are (`spec/maintner.md` §5.1).

use serde::{Deserialize, Serialize};

use crate::Sha224;

/// One segment of an index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// Number, from 0.
    pub number: u32,
    /// Bytes.
    pub size: u64,
    /// Digest of all of them.
    pub sha224: Sha224,
    /// Where to get it; may be relative to the index.
    pub url: String,
    /// Whether it will never change. Only Burrow says so; for others `None`.
    pub frozen: Option<bool>,
}

/// All segments of a log, ascending.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Index {
    /// The segments.
    pub segments: Vec<Segment>,
}

/// What can be wrong with an index.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IndexError {
    /// Not the expected JSON.
    #[error("the index of the log is not as expected: {0}")]
    Json(String),
    /// Numbers are not 0, 1, 2 and so on from the first one.
    #[error("the index of the log has segment {found} where {expected} should be")]
    Order {
        /// The number that should be there.
        expected: u32,
        /// The one that is.
        found: u32,
    },
}

#[derive(Serialize, Deserialize)]
struct Wire<'a> {
    number: u32,
    size: u64,
    sha224: std::borrow::Cow<'a, str>,
    url: std::borrow::Cow<'a, str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    frozen: Option<bool>,
}

impl Index {
    /// Bytes of all segments together: what `waitsizenot` compares.
    pub fn total(&self) -> u64 {
        self.segments.iter().map(|segment| segment.size).fold(0, u64::saturating_add)
    }

    /// As the reference writes it: an array, indented with tabs.
    pub fn encode(&self) -> String {
        let wire: Vec<Wire<'_>> = self
            .segments
            .iter()
            .map(|segment| Wire {
                number: segment.number,
                size: segment.size,
                sha224: segment.sha224.to_string().into(),
                url: segment.url.as_str().into(),
                frozen: segment.frozen,
            })
            .collect();
        let mut out = Vec::new();
        let formatter = serde_json::ser::PrettyFormatter::with_indent(b"\t");
        // Numbers and strings: neither the values nor the vector can fail.
        let _ = wire.serialize(&mut serde_json::Serializer::with_formatter(&mut out, formatter));
        String::from_utf8(out).unwrap_or_default()
    }

    /// Reads an index; unknown keys are ignored.
    ///
    /// # Errors
    /// [`IndexError`].
    pub fn decode(json: &[u8]) -> Result<Index, IndexError> {
        let wire: Option<Vec<Wire<'_>>> = serde_json::from_slice(json).map_err(|error| IndexError::Json(error.to_string()))?;
        let mut segments: Vec<Segment> = Vec::new();
        for entry in wire.unwrap_or_default() {
            if let Some(expected) = segments.last().map(|last| last.number.saturating_add(1))
                && entry.number != expected
            {
                return Err(IndexError::Order { expected, found: entry.number });
            }
            let sha224 = entry.sha224.parse().map_err(|error| IndexError::Json(format!("segment {}: {error}", entry.number)))?;
            segments.push(Segment { number: entry.number, size: entry.size, sha224, url: entry.url.into_owned(), frozen: entry.frozen });
        }
        Ok(Index { segments })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_looks_as_followers_expect() {
        let index = Index { segments: vec![Segment { number: 0, size: 3, sha224: Sha224::of(b"abc"), url: "/logs/0".into(), frozen: None }] };
        let text = index.encode();
        let expected = "[\n\t{\n\t\t\"number\": 0,\n\t\t\"size\": 3,\n\t\t\"sha224\": \"23097d223405d8228642a477bda255b32aadbce4bda0b3f7e36c9da7\",\n\t\t\"url\": \"/logs/0\"\n\t}\n]";
        assert_eq!(text, expected);
        assert_eq!(Index::decode(text.as_bytes()), Ok(index));
        assert_eq!(Index::default().encode(), "[]");
        assert_eq!(Index::decode(b"null"), Ok(Index::default()));
    }

    #[test]
    fn gaps_and_nonsense_are_refused() {
        let digest = Sha224::of(b"");
        let entry = |number: u32| format!("{{\"number\":{number},\"size\":1,\"sha224\":\"{digest}\",\"url\":\"u\",\"more\":1}}");
        assert_eq!(Index::decode(format!("[{},{}]", entry(3), entry(5)).as_bytes()), Err(IndexError::Order { expected: 4, found: 5 }));
        assert_eq!(Index::decode(format!("[{},{}]", entry(3), entry(4)).as_bytes()).map(|index| index.total()), Ok(2));
        for bad in ["{}", "[{}]", "[{\"number\":-1}]", "[{\"number\":0,\"size\":1,\"sha224\":\"zz\",\"url\":\"\"}]", ""] {
            assert!(matches!(Index::decode(bad.as_bytes()), Err(IndexError::Json(_))), "{bad}");
        }
    }
}
