//! One line of the benchmark format at a time (`spec/perf.md` §2.1).

use std::sync::Arc;

use crate::config::Config;
use crate::name::Name;
use crate::number::{leading_natural, leading_plain, parse_float, parse_int};
use crate::record::{Fault, Limits, Record, ResultLine, SyntaxError, Value};
use crate::text::{config_line, skip_space, space_at, split};
use crate::units::{UnitId, Units};

const BENCHMARK: &[u8] = b"Benchmark";

/// What was found and not yet asked for.
#[derive(Debug)]
enum Queued {
    /// Place in the table's metadata.
    Unit(usize),
    Error(SyntaxError),
}

/// A unit of the line before, where the next line will probably have the same.
#[derive(Debug)]
struct Recent {
    text: Box<[u8]>,
    /// The first sixteen bytes as a number, and which of its bits count; not used for longer units.
    head: u128,
    mask: u128,
    original: UnitId,
    base: UnitId,
    factor: f64,
}

impl Recent {
    fn new(text: &[u8], original: UnitId, base: UnitId, factor: f64) -> Recent {
        let mut bytes = [0; 16];
        bytes.iter_mut().zip(text).for_each(|(byte, found)| *byte = *found);
        let mask = u32::try_from(text.len() * 8).ok().and_then(|bits| 1u128.checked_shl(bits)).map_or(u128::MAX, |above| above - 1);
        Recent { text: text.into(), head: u128::from_le_bytes(bytes), mask, original, base, factor }
    }

    /// The text behind the unit and the white space after it, if the text begins with exactly this unit.
    #[inline]
    fn strip<'t>(&self, text: &'t [u8]) -> Option<&'t [u8]> {
        let rest = match text.first_chunk::<16>() {
            Some(start) if self.text.len() <= 16 => {
                if u128::from_le_bytes(*start) & self.mask != self.head {
                    return None;
                }
                text.get(self.text.len()..)?
            }
            _ => text.strip_prefix(&*self.text)?,
        };
        if rest.is_empty() || space_at(rest) > 0 { Some(skip_space(rest)) } else { None }
    }
}

/// The state between lines. [`crate::Reader`] and [`crate::Stream`] find the lines for it.
#[derive(Debug)]
pub(crate) struct Parser {
    pub(crate) limits: Limits,
    pub(crate) file: Arc<str>,
    pub(crate) line: u64,
    pub(crate) config: Config,
    pub(crate) units: Units,
    pub(crate) long_lines: u64,
    /// The name of the line before: repetitions of a benchmark come one after the other.
    name: Vec<u8>,
    values: Vec<Value>,
    recent: Vec<Recent>,
    queue: Vec<Queued>,
    taken: usize,
}

/// A benchmark line without what the parser keeps.
pub(crate) struct Found<'t> {
    name: &'t [u8],
    iters: i64,
}

impl Parser {
    pub(crate) fn new(limits: Limits) -> Parser {
        Parser {
            limits,
            file: "<unknown>".into(),
            line: 0,
            config: Config::new(),
            units: Units::new(),
            long_lines: 0,
            name: Vec::new(),
            values: Vec::new(),
            recent: Vec::new(),
            queue: Vec::new(),
            taken: 0,
        }
    }

    pub(crate) fn begin(&mut self, file: &str, internal: &[(&str, &str)]) {
        self.file = if file.is_empty() { "<unknown>".into() } else { file.into() };
        self.line = 0;
        self.config.clear();
        self.queue.clear();
        self.taken = 0;
        for (key, value) in internal {
            self.config.set_internal(key.as_bytes(), value.as_bytes());
        }
    }

    /// Whether something waits for [`Parser::take`].
    pub(crate) fn waiting(&self) -> bool {
        self.taken < self.queue.len()
    }

    /// The next thing that waits.
    pub(crate) fn take(&mut self) -> Option<Record<'_>> {
        let at = self.taken;
        self.taken += 1;
        match self.queue.get(at)? {
            Queued::Unit(place) => self.units.all_metadata().get(*place).map(Record::Unit),
            Queued::Error(error) => Some(Record::Error(error)),
        }
    }

    pub(crate) fn record<'a>(&'a self, found: Found<'a>) -> Record<'a> {
        Record::Result(ResultLine {
            name: Name(found.name),
            iters: found.iters,
            values: &self.values,
            config: &self.config,
            units: &self.units,
            file: &self.file,
            line: self.line,
        })
    }

    /// Counts a line that was too long to be looked at.
    #[cold]
    pub(crate) fn skip(&mut self) {
        self.line += 1;
        self.long_lines += 1;
        self.clear_queue();
        self.fail(Fault::LongLine { limit: self.limits.line });
    }

    fn clear_queue(&mut self) {
        self.queue.clear();
        self.taken = 0;
    }

    #[cold]
    fn fail(&mut self, fault: Fault) {
        self.queue.push(Queued::Error(SyntaxError { file: Arc::clone(&self.file), line: self.line, fault }));
    }

    /// Reads a line, without its `\n`. What else it has than a result waits for [`Parser::take`]; all that waited before must be taken.
    #[inline]
    pub(crate) fn line<'t>(&mut self, line: &'t [u8]) -> Option<Found<'t>> {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        self.line += 1;
        if let Some(rest) = line.strip_prefix(BENCHMARK) {
            return match self.benchmark(rest) {
                Ok(found) => found,
                Err(fault) => {
                    self.clear_queue();
                    self.fail(fault);
                    None
                }
            };
        }
        self.other(line);
        None
    }

    fn other(&mut self, line: &[u8]) {
        self.clear_queue();
        if line.starts_with(b"Unit")
            && let (b"Unit", rest) = split(line)
        {
            self.unit(rest);
        } else if let Some((key, value)) = config_line(line) {
            if self.config.bytes() + key.len() + value.len() > self.limits.config && !value.is_empty() {
                self.fail(Fault::LargeConfig { limit: self.limits.config });
            } else {
                self.config.set_file(key, value);
            }
        }
    }

    /// The name, and what is behind it and white space.
    #[inline]
    fn name<'t>(&mut self, line: &'t [u8]) -> (&'t [u8], &'t [u8]) {
        // No byte that white space begins with can end a character that began before it, so that the name ends here if it did before.
        match line.split_at_checked(self.name.len()) {
            Some((name, behind)) if *name == *self.name && space_at(behind) > 0 => (name, skip_space(behind)),
            _ => {
                let (name, rest) = split(line);
                self.name.clear();
                self.name.extend_from_slice(name);
                (name, rest)
            }
        }
    }

    #[inline]
    fn benchmark<'t>(&mut self, line: &'t [u8]) -> Result<Option<Found<'t>>, Fault> {
        let (name, mut rest) = self.name(line);
        if name.len() == line.len() {
            // `go test -v` prints the name alone when the benchmark begins.
            return Ok(None);
        }
        if rest.is_empty() {
            return Err(Fault::MissingIterations);
        }
        let iters;
        match leading_natural(rest) {
            Some((number, behind)) => (iters, rest) = (number, skip_space(behind)),
            None => {
                let word;
                (word, rest) = split(rest);
                iters = parse_int(word).map_err(Fault::Iterations)?;
            }
        }
        self.values.clear();
        while !rest.is_empty() {
            let original;
            match leading_plain(rest) {
                Some((number, behind)) => (original, rest) = (number, skip_space(behind)),
                None => {
                    let word;
                    (word, rest) = split(rest);
                    original = parse_float(word).map_err(Fault::Measurement)?;
                }
            }
            if rest.is_empty() {
                return Err(Fault::MissingUnits);
            }
            let at = self.values.len();
            let value = match self.recent.get(at).and_then(|recent| Some((recent, recent.strip(rest)?))) {
                Some((recent, behind)) => {
                    rest = behind;
                    Value { value: original * recent.factor, unit: recent.base, original, original_unit: recent.original }
                }
                None => {
                    let word;
                    (word, rest) = split(rest);
                    self.new_unit(at, word, original)?
                }
            };
            self.values.push(value);
        }
        if self.values.is_empty() { Err(Fault::MissingMeasurements) } else { Ok(Some(Found { name, iters })) }
    }

    #[cold]
    fn new_unit(&mut self, at: usize, text: &[u8], number: f64) -> Result<Value, Fault> {
        if self.units.bytes() + 2 * text.len() > self.limits.units && self.units.find(text).is_none() {
            return Err(Fault::ManyUnits { limit: self.limits.units });
        }
        let original = self.units.intern(text);
        let (base, factor) = self.units.tidied(original);
        let recent = Recent::new(text, original, base, factor);
        // Lines with very many values are rare; their units need not be kept a second time.
        match self.recent.get_mut(at) {
            Some(known) => *known = recent,
            None if at < 64 => self.recent.push(recent),
            None => {}
        }
        Ok(Value { value: number * factor, unit: base, original: number, original_unit: original })
    }

    fn unit(&mut self, line: &[u8]) {
        let (unit, mut rest) = split(line);
        if unit.is_empty() {
            self.fail(Fault::MissingUnit);
            return;
        }
        while !rest.is_empty() {
            let pair;
            (pair, rest) = split(rest);
            let Some((key, value)) = memchr::memchr(b'=', pair).filter(|at| *at > 0).and_then(|at| Some((pair.get(..at)?, pair.get(at + 1..)?))) else {
                self.fail(Fault::ExpectedPair);
                continue;
            };
            if self.units.bytes() + line.len() > self.limits.units {
                self.fail(Fault::ManyUnits { limit: self.limits.units });
                return;
            }
            let fault = match self.units.say(unit, key, value, &self.file, self.line) {
                Ok(Some(place)) => {
                    self.queue.push(Queued::Unit(place));
                    continue;
                }
                Ok(None) => continue,
                Err(said) => Fault::Contradiction { key: key.into(), unit: unit.into(), value: said.value.clone() },
            };
            self.fail(fault);
        }
    }
}
