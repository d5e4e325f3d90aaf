//! Labels: keys and values, sorted by key.

use crate::number::parse_int;

/// A key and its value.
pub type Label = (Box<[u8]>, Box<[u8]>);

/// Keys and values, sorted by the bytes of the key; no value is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Labels {
    pairs: Vec<Label>,
    bytes: usize,
}

impl Labels {
    /// No labels.
    #[must_use]
    pub fn new() -> Labels {
        Labels::default()
    }

    /// Sets a label; an empty value deletes it. Says whether that changed anything.
    pub fn set(&mut self, key: &[u8], value: &[u8]) -> bool {
        let place = self.place(key);
        match (place, value.is_empty()) {
            (Ok(at), true) => {
                let (key, value) = self.pairs.remove(at);
                self.bytes -= key.len() + value.len();
                true
            }
            (Err(_), true) => false,
            (Ok(at), false) => match self.pairs.get_mut(at) {
                Some((_, known)) if **known != *value => {
                    self.bytes = self.bytes - known.len() + value.len();
                    *known = value.into();
                    true
                }
                _ => false,
            },
            (Err(at), false) => {
                self.bytes += key.len() + value.len();
                self.pairs.insert(at, (key.into(), value.into()));
                true
            }
        }
    }

    /// The value of a label.
    #[must_use]
    pub fn get(&self, key: &[u8]) -> Option<&[u8]> {
        self.pairs.get(self.place(key).ok()?).map(|(_, value)| &**value)
    }

    /// Keys and values in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&[u8], &[u8])> + Clone {
        self.pairs.iter().map(|(key, value)| (&**key, &**value))
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.pairs.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    /// Bytes of all keys and values.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    fn place(&self, key: &[u8]) -> Result<usize, usize> {
        self.pairs.binary_search_by(|(known, _)| (**known).cmp(key))
    }
}

impl<K: AsRef<[u8]>, V: AsRef<[u8]>> FromIterator<(K, V)> for Labels {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(pairs: I) -> Labels {
        let mut labels = Labels::new();
        for (key, value) in pairs {
            labels.set(key.as_ref(), value.as_ref());
        }
        labels
    }
}

/// The labels that a name carries (`spec/perfdata.md` §5): `name`, `gomaxprocs` for the `-N` behind the last dash (with a sign if it likes), `key` for a part
/// `key=value`, and `sub1`, `sub2`, … for other parts, by their place among all. Of several parts with one key the last one counts. Values may be empty here.
#[must_use]
pub fn name_labels(name: &[u8]) -> Vec<Label> {
    let mut labels: Vec<Label> = Vec::new();
    let mut set = |key: &[u8], value: &[u8]| match labels.iter_mut().find(|(known, _)| **known == *key) {
        Some((_, known)) => *known = value.into(),
        None => labels.push((key.into(), value.into())),
    };
    let mut rest = name;
    if let Some(dash) = memchr::memrchr(b'-', name)
        && let (Some(before), Some(number)) = (name.get(..dash), name.get(dash + 1..))
        && is_integer(number)
    {
        set(b"gomaxprocs", number);
        rest = before;
    }
    for (place, part) in rest.split(|byte| *byte == b'/').enumerate() {
        match memchr::memchr(b'=', part).and_then(|at| Some((part.get(..at)?, part.get(at + 1..)?))) {
            _ if place == 0 => set(b"name", part),
            Some((key, value)) => set(key, value),
            None => set(format!("sub{place}").as_bytes(), part),
        }
    }
    labels
}

/// Whether the text is an integer of 64 bits.
fn is_integer(text: &[u8]) -> bool {
    parse_int(text).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(name: &str) -> String {
        let labels = name_labels(name.as_bytes());
        let pairs = labels.iter().map(|(key, value)| format!("{}={}", String::from_utf8_lossy(key), String::from_utf8_lossy(value)));
        pairs.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn labels_of_names() {
        assert_eq!(shown("One/foo/bar=1-2"), "gomaxprocs=2 name=One sub1=foo bar=1");
        assert_eq!(shown("One/bar=1/foo"), "name=One bar=1 sub2=foo");
        assert_eq!(shown("One-+3"), "gomaxprocs=+3 name=One");
        assert_eq!(shown("One--3"), "gomaxprocs=3 name=One-");
        assert_eq!(shown("One-3/x"), "name=One-3 sub1=x");
        assert_eq!(shown("One/k=1/k=2=3/"), "name=One k=2=3 sub3=");
        assert_eq!(shown("One-99999999999999999999"), "name=One-99999999999999999999");
        assert_eq!(shown("a=b/name=c"), "name=c");
        assert_eq!(shown(""), "name=");
    }

    #[test]
    fn labels_are_sorted_and_never_empty() {
        let mut labels: Labels = [("b", "2"), ("a", "1"), ("c", ""), ("b", "3")].into_iter().collect();
        assert_eq!(labels.iter().collect::<Vec<_>>(), [(&b"a"[..], &b"1"[..]), (b"b", b"3")]);
        assert_eq!((labels.bytes(), labels.len()), (4, 2));
        assert!(!labels.set(b"b", b"3") && labels.set(b"b", b"") && !labels.set(b"b", b""));
        assert_eq!((labels.get(b"a"), labels.get(b"b")), (Some(&b"1"[..]), None));
    }
}
