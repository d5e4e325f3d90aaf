//! Readers of the benchmark format: over a text in memory, and over pieces as they come.

use memchr::memchr;

use crate::lines::{Line, Lines};
use crate::parser::Parser;
use crate::record::{Limits, Record};
use crate::units::Units;

/// Reads the benchmark format from memory, without copying or allocating for a line.
///
/// ```
/// use protocol_benchfmt::{Reader, Record};
///
/// let text = b"goos: linux\nBenchmarkSort/n=10-8 1000 250 ns/op 16 B/op\nBenchmarkSort fast 3 ns/op\n";
/// let mut reader = Reader::new(text, "sort.txt");
/// let mut said = Vec::new();
/// while let Some(record) = reader.next() {
///     match record {
///         Record::Result(result) => said.push(format!("{}: {:?} on {:?}", result.name, result.value(b"B/op"), result.config.get(b"goos").map(<[u8]>::len))),
///         Record::Unit(_) => {}
///         Record::Error(error) => said.push(error.to_string()),
///     }
/// }
/// assert_eq!(said, ["Sort/n=10-8: Some(16.0) on Some(5)", "sort.txt:3: parsing iteration count: invalid syntax"]);
/// ```
#[derive(Debug)]
pub struct Reader<'t> {
    rest: &'t [u8],
    parser: Parser,
}

impl<'t> Reader<'t> {
    /// A reader of one text; `file` is named in errors.
    #[must_use]
    pub fn new(text: &'t [u8], file: &str) -> Reader<'t> {
        Reader::with_limits(text, file, Limits::default())
    }

    /// The same with other limits.
    #[must_use]
    pub fn with_limits(text: &'t [u8], file: &str, limits: Limits) -> Reader<'t> {
        let mut reader = Reader { rest: &[], parser: Parser::new(limits) };
        reader.begin(text, file, &[]);
        reader
    }

    /// Begins another text: the configuration is forgotten, except for the given internal keys (`.file`); units and their metadata stay.
    pub fn begin(&mut self, text: &'t [u8], file: &str, internal: &[(&str, &str)]) {
        self.rest = text;
        self.parser.begin(file, internal);
    }

    /// The next finding; `None` at the end of the text. (It borrows from the reader, so that this is no [`Iterator`].)
    #[expect(clippy::should_implement_trait, reason = "an iterator's items may not borrow from it")]
    #[inline]
    pub fn next(&mut self) -> Option<Record<'_>> {
        if self.parser.waiting() {
            return self.parser.take();
        }
        while !self.rest.is_empty() {
            let (line, rest) = match memchr(b'\n', self.rest) {
                Some(end) => (self.rest.get(..end)?, self.rest.get(end + 1..)?),
                None => (self.rest, &[][..]),
            };
            self.rest = rest;
            if line.len() > self.parser.limits.line {
                self.parser.skip();
            } else if let Some(found) = self.parser.line(line) {
                return Some(self.parser.record(found));
            }
            if self.parser.waiting() {
                return self.parser.take();
            }
        }
        None
    }

    /// The units that were met, and their metadata.
    #[must_use]
    pub fn units(&self) -> &Units {
        &self.parser.units
    }

    /// How many lines were too long.
    #[must_use]
    pub fn long_lines(&self) -> u64 {
        self.parser.long_lines
    }

    /// Ends reading and keeps the units.
    #[must_use]
    pub fn into_units(self) -> Units {
        self.parser.units
    }
}

/// Reads the benchmark format in pieces as they come from a file or a connection. What it keeps of a line that is not yet whole is at most
/// [`Limits::line`]; the rest of a longer line is thrown away as it comes.
///
/// ```
/// use protocol_benchfmt::{Record, Stream};
///
/// let mut stream = Stream::new("results");
/// let mut lines = Vec::new();
/// let mut sink = |record: Record<'_>| if let Record::Result(result) = record { lines.push((result.name.to_string(), result.line)) };
/// stream.push(b"BenchmarkA 1 5 ns/op\nBench", &mut sink);
/// stream.push(b"markB 1 7 ns/op", &mut sink);
/// stream.finish(&mut sink);
/// assert_eq!(lines, [("A".to_owned(), 1), ("B".to_owned(), 2)]);
/// ```
#[derive(Debug)]
pub struct Stream {
    parser: Parser,
    lines: Lines,
}

impl Stream {
    /// A reader of one file; `file` is named in errors.
    #[must_use]
    pub fn new(file: &str) -> Stream {
        Stream::with_limits(file, Limits::default())
    }

    /// The same with other limits.
    #[must_use]
    pub fn with_limits(file: &str, limits: Limits) -> Stream {
        let mut stream = Stream { parser: Parser::new(limits), lines: Lines::default() };
        stream.begin(file, &[]);
        stream
    }

    /// Begins another file: the configuration is forgotten, except for the given internal keys (`.file`); units and their metadata stay.
    pub fn begin(&mut self, file: &str, internal: &[(&str, &str)]) {
        self.lines.clear();
        self.parser.begin(file, internal);
    }

    /// Reads the next piece.
    pub fn push(&mut self, piece: &[u8], sink: &mut dyn FnMut(Record<'_>)) {
        let limit = self.parser.limits.line;
        let parser = &mut self.parser;
        self.lines.push(piece, limit, |line| feed(parser, line, sink));
    }

    /// Reads what is left, a line without its end.
    pub fn finish(&mut self, sink: &mut dyn FnMut(Record<'_>)) {
        let parser = &mut self.parser;
        self.lines.finish(|line| feed(parser, line, sink));
    }

    /// The units that were met, and their metadata.
    #[must_use]
    pub fn units(&self) -> &Units {
        &self.parser.units
    }

    /// How many lines were too long.
    #[must_use]
    pub fn long_lines(&self) -> u64 {
        self.parser.long_lines
    }

    /// Ends reading and keeps the units.
    #[must_use]
    pub fn into_units(self) -> Units {
        self.parser.units
    }
}

fn feed(parser: &mut Parser, line: Line<'_>, sink: &mut dyn FnMut(Record<'_>)) {
    let found = match line {
        Line::Whole(line) => parser.line(line),
        Line::TooLong => {
            parser.skip();
            None
        }
    };
    match found {
        Some(found) => sink(parser.record(found)),
        None => drain(parser, sink),
    }
}

fn drain(parser: &mut Parser, sink: &mut dyn FnMut(Record<'_>)) {
    while parser.waiting() {
        if let Some(record) = parser.take() {
            sink(record);
        }
    }
}
