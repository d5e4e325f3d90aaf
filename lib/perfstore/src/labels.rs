//! Labels: keys and values as bytes, in bytewise order of the keys.

use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::Arc;

use bytes::Bytes;

/// A set of labels. Cheap to clone; two clones are known as equal without looking.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Labels(Arc<Vec<(Bytes, Bytes)>>);

impl Labels {
    /// From pairs; of two with one key the later wins.
    pub fn new(pairs: impl IntoIterator<Item = (Bytes, Bytes)>) -> Labels {
        let mut pairs: Vec<(Bytes, Bytes)> = pairs.into_iter().collect();
        pairs.reverse();
        pairs.sort_by(|a, b| a.0.cmp(&b.0));
        pairs.dedup_by(|later, kept| later.0 == kept.0);
        Labels(Arc::new(pairs))
    }

    pub(crate) fn from_sorted(pairs: Vec<(Bytes, Bytes)>) -> Labels {
        Labels(Arc::new(pairs))
    }

    /// The value of a key.
    pub fn get(&self, key: &[u8]) -> Option<&Bytes> {
        let at = self.0.binary_search_by(|(known, _)| known.as_ref().cmp(key)).ok()?;
        self.0.get(at).map(|(_, value)| value)
    }

    /// The value of a key as text; bytes that are none are shown as U+FFFD.
    pub fn text(&self, key: &str) -> Option<Cow<'_, str>> {
        self.get(key.as_bytes()).map(|value| String::from_utf8_lossy(value))
    }

    /// All, in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&Bytes, &Bytes)> {
        self.0.iter().map(|(key, value)| (key, value))
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether both are the same object, which says that they are equal; the opposite says nothing.
    pub fn is_same(&self, other: &Labels) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// These with `over` laid on them.
    #[must_use]
    pub fn overlaid(&self, over: &Labels) -> Labels {
        if over.is_empty() {
            return self.clone();
        }
        let mut out = Vec::with_capacity(self.len() + over.len());
        let (mut below, mut above) = (self.0.iter().peekable(), over.0.iter().peekable());
        loop {
            match (below.peek(), above.peek()) {
                (Some(a), Some(b)) if a.0 < b.0 => out.extend(below.next().cloned()),
                (Some(a), Some(b)) if a.0 == b.0 => {
                    below.next();
                    out.extend(above.next().cloned());
                }
                (_, Some(_)) => out.extend(above.next().cloned()),
                (Some(_), None) => out.extend(below.next().cloned()),
                (None, None) => return Labels::from_sorted(out),
            }
        }
    }
}

/// Writes a stream of records: labels that were set and are not any more, then new and changed ones, then the lines (`spec/perfdata.md` §5).
#[derive(Debug, Default)]
pub struct Printer {
    last: Labels,
    units: HashSet<Bytes>,
}

impl Printer {
    /// Nothing was printed yet.
    pub fn new() -> Printer {
        Printer::default()
    }

    /// Appends a record with these labels; `lines` are whole lines. `units` are the `Unit` lines of its file, each printed once before the first record that may
    /// need it.
    pub fn print(&mut self, labels: &Labels, units: &[Bytes], lines: &[u8], out: &mut Vec<u8>) {
        if !self.last.is_same(labels) {
            for (key, _) in self.last.iter().filter(|(key, _)| labels.get(key).is_none()) {
                out.extend_from_slice(key);
                out.extend_from_slice(b":\n");
            }
            for (key, value) in labels.iter().filter(|(key, value)| self.last.get(key) != Some(value)) {
                out.extend_from_slice(key);
                out.extend_from_slice(b": ");
                out.extend_from_slice(value);
                out.push(b'\n');
            }
            self.last = labels.clone();
            // Each file has labels of its own, so that another file is seen here, too.
            for unit in units {
                if !self.units.contains(unit) {
                    out.extend_from_slice(unit);
                    out.push(b'\n');
                    self.units.insert(unit.clone());
                }
            }
        }
        out.extend_from_slice(lines);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&'static str, &'static str)]) -> Labels {
        Labels::new(pairs.iter().map(|(key, value)| (Bytes::from(*key), Bytes::from(*value))))
    }

    #[test]
    fn deletions_come_before_changes_and_both_are_in_order() {
        let mut printer = Printer::new();
        let mut out = Vec::new();
        printer.print(&labels(&[("b", "1"), ("a", "x"), ("z", "")]), &[], b"BenchmarkOne 1\n", &mut out);
        printer.print(&labels(&[("b", "2"), ("c", "3")]), &[Bytes::from("Unit x better=lower")], b"BenchmarkTwo 1\nBenchmarkTwo 2\n", &mut out);
        printer.print(&labels(&[("b", "2"), ("c", "3")]), &[Bytes::from("Unit x better=lower")], b"BenchmarkTwo 3\n", &mut out);
        let expected = "a: x\nb: 1\nz: \nBenchmarkOne 1\na:\nz:\nb: 2\nc: 3\nUnit x better=lower\nBenchmarkTwo 1\nBenchmarkTwo 2\nBenchmarkTwo 3\n";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn what_lies_above_wins() {
        let sum = labels(&[("a", "1"), ("b", "1"), ("d", "1")]).overlaid(&labels(&[("b", "2"), ("c", "2"), ("e", "2")]));
        assert_eq!(sum, labels(&[("a", "1"), ("b", "2"), ("c", "2"), ("d", "1"), ("e", "2")]));
        assert_eq!(labels(&[("k", "first"), ("k", "last")]).text("k").unwrap(), "last");
    }
}
