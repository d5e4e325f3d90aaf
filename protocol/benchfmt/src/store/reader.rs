//! The loose reader.

use super::labels::Labels;
use crate::lines::{Line, Lines};
use crate::record::Limits;
use crate::text::{config_line, field, split};

/// A finding of the loose reader.
#[derive(Clone, Copy, Debug)]
pub enum Record<'a> {
    /// A result line.
    Result(StoredResult<'a>),
    /// A line that begins with `Unit`, as it stands there. The reference drops them.
    Unit {
        /// The whole line.
        line: &'a [u8],
        /// Its number, from 1.
        number: u64,
    },
    /// A configuration line that would have changed a permanent label. It was ignored.
    Refused {
        /// The key.
        key: &'a [u8],
        /// The number of the line, from 1.
        number: u64,
    },
    /// A line longer than the limit. It was skipped.
    LongLine {
        /// Its number, from 1.
        number: u64,
    },
    /// A configuration line that would have made the labels larger than the limit. It was ignored.
    LargeLabels {
        /// Its number, from 1.
        number: u64,
    },
}

/// A result line and the labels in force at it.
#[derive(Clone, Copy, Debug)]
pub struct StoredResult<'a> {
    /// The labels in force, without those of the name ([`super::name_labels`]).
    pub labels: &'a Labels,
    /// A number that is another whenever `labels` are other than at the line before.
    pub generation: u64,
    /// The name, without `Benchmark`.
    pub name: &'a [u8],
    /// The whole line, as it stands there.
    pub line: &'a [u8],
    /// Its number, from 1.
    pub number: u64,
}

/// Which labels a file cannot change.
#[derive(Debug)]
enum Permanent {
    /// These.
    Given(Labels),
    /// Those of its header, if it has one: the labels before the first empty line, where nothing else stands before that.
    Header,
}

/// Reads files as the store does, in pieces as they come; of a line that is not yet whole it keeps at most [`Limits::line`].
#[derive(Debug)]
pub struct Reader {
    limits: Limits,
    labels: Labels,
    generation: u64,
    permanent: Permanent,
    lines: Lines,
    number: u64,
}

impl Reader {
    /// A reader of an uploaded file; the given labels hold for each of its results, whatever it says.
    #[must_use]
    pub fn new(permanent: Labels) -> Reader {
        Reader::with_limits(permanent, Limits::default())
    }

    /// The same with other limits.
    #[must_use]
    pub fn with_limits(permanent: Labels, limits: Limits) -> Reader {
        let labels = permanent.clone();
        Reader { limits, labels, generation: 0, permanent: Permanent::Given(permanent), lines: Lines::default(), number: 0 }
    }

    /// A reader of a stored object, which begins with its permanent labels and an empty line. They stay permanent for the whole file; in the reference, only
    /// to the first result.
    #[must_use]
    pub fn stored() -> Reader {
        Reader { permanent: Permanent::Header, ..Reader::new(Labels::new()) }
    }

    /// How many lines were read.
    #[must_use]
    pub fn lines(&self) -> u64 {
        self.number
    }

    /// Reads the next piece.
    pub fn push(&mut self, piece: &[u8], sink: &mut dyn FnMut(Record<'_>)) {
        let mut lines = std::mem::take(&mut self.lines);
        lines.push(piece, self.limits.line, |line| self.feed(line, sink));
        self.lines = lines;
    }

    /// Reads what is left, a line without its end.
    pub fn finish(&mut self, sink: &mut dyn FnMut(Record<'_>)) {
        std::mem::take(&mut self.lines).finish(|line| self.feed(line, sink));
    }

    fn feed(&mut self, line: Line<'_>, sink: &mut dyn FnMut(Record<'_>)) {
        match line {
            Line::Whole(line) => self.line(line, sink),
            Line::TooLong => self.skip(sink),
        }
    }

    #[cold]
    fn skip(&mut self, sink: &mut dyn FnMut(Record<'_>)) {
        self.number += 1;
        self.header_ends(b"x");
        sink(Record::LongLine { number: self.number });
    }

    fn line(&mut self, line: &[u8], sink: &mut dyn FnMut(Record<'_>)) {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        self.number += 1;
        let number = self.number;
        if let Some((key, value)) = config_line(line) {
            let refused = matches!(&self.permanent, Permanent::Given(labels) if labels.get(key).is_some());
            if refused {
                sink(Record::Refused { key, number });
            } else if !value.is_empty() && self.labels.bytes() + key.len() + value.len() > self.limits.config {
                sink(Record::LargeLabels { number });
            } else if self.labels.set(key, value) {
                self.generation += 1;
            }
            return;
        }
        self.header_ends(line);
        if let Some(rest) = line.strip_prefix(b"Benchmark") {
            let (name, behind) = field(rest);
            if !behind.is_empty() {
                sink(Record::Result(StoredResult { labels: &self.labels, generation: self.generation, name, line, number }));
            }
        } else if line.starts_with(b"Unit") && split(line).0 == b"Unit" {
            sink(Record::Unit { line, number });
        }
    }

    /// The first line that is no configuration ends the header: if it is empty, what was before it is permanent.
    fn header_ends(&mut self, line: &[u8]) {
        if matches!(self.permanent, Permanent::Header) {
            self.permanent = Permanent::Given(if line.is_empty() { self.labels.clone() } else { Labels::new() });
        }
    }
}
