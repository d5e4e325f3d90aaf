//! How lines are kept: runs of records of one file, with their labels, texts and values apart.
//!
//! A chunk is some tens of kilobytes of lines. Its *head* says which labels and which names its records have, so that a search that finds nothing in it reads nothing else;
//! its *text* is the lines; its *values* are the numbers, parsed when they came in. Each is compressed on its own. Labels are kept as changes from one set to the
//! next: thousands of records share a few sets.

use std::collections::HashMap;

use bytes::Bytes;
use protocol_benchfmt::{Record, Stream};

use crate::labels::Labels;
use crate::varint::{Damaged, Reader, pack, put, put_bytes, unpack};

/// No part of a chunk is larger when unpacked: labels in force and lines are limited when they come in.
const LARGEST: usize = 256 << 20;
/// First byte of a head: the form.
const FORM: u64 = 1;

/// A record: consecutive lines with equal labels and one name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Run {
    /// Which set of labels.
    pub(crate) set: u32,
    /// Which name.
    pub(crate) name: u32,
    /// How many lines.
    pub(crate) lines: u32,
    /// Their bytes.
    pub(crate) bytes: u32,
}

/// A chunk that is being filled.
#[derive(Debug, Default)]
pub(crate) struct Builder {
    sets: Vec<u8>,
    set_count: u32,
    names: Vec<u8>,
    name_index: HashMap<Box<[u8]>, u32>,
    runs: Vec<Run>,
    text: Vec<u8>,
    lines: u32,
    continues: bool,
}

/// A finished chunk.
#[derive(Debug)]
pub(crate) struct Packed {
    pub(crate) head: Vec<u8>,
    pub(crate) text: Vec<u8>,
    pub(crate) values: Vec<u8>,
    /// Values of all lines.
    pub(crate) values_count: u64,
}

impl Builder {
    /// An empty one.
    pub(crate) fn new() -> Builder {
        Builder::default()
    }

    /// Whether its first record began in the chunk before.
    pub(crate) fn set_continues(&mut self, continues: bool) {
        self.continues = continues;
    }

    /// A new set of labels: what went and what came since the set before (since none, for the first).
    pub(crate) fn set<'a>(&mut self, removed: impl ExactSizeIterator<Item = &'a [u8]>, set: impl ExactSizeIterator<Item = (&'a [u8], &'a [u8])>) {
        put(&mut self.sets, removed.len() as u64);
        removed.for_each(|key| put_bytes(&mut self.sets, key));
        put(&mut self.sets, set.len() as u64);
        for (key, value) in set {
            put_bytes(&mut self.sets, key);
            put_bytes(&mut self.sets, value);
        }
        self.set_count += 1;
    }

    /// How many sets there are.
    pub(crate) fn sets(&self) -> u32 {
        self.set_count
    }

    /// Number of a name, and whether it is new in this chunk.
    pub(crate) fn name(&mut self, name: &[u8]) -> (u32, bool) {
        if let Some(known) = self.name_index.get(name) {
            return (*known, false);
        }
        let number = self.name_index.len() as u32;
        self.name_index.insert(name.into(), number);
        put_bytes(&mut self.names, name);
        (number, true)
    }

    /// Appends a line of the newest set; `true` if it begins a record.
    pub(crate) fn line(&mut self, name: u32, line: &[u8]) -> bool {
        let set = self.set_count.saturating_sub(1);
        let bytes = line.len() as u32 + 1;
        self.text.extend_from_slice(line);
        self.text.push(b'\n');
        self.lines += 1;
        match self.runs.last_mut() {
            Some(run) if run.set == set && run.name == name => {
                run.lines += 1;
                run.bytes += bytes;
                false
            }
            _ => {
                self.runs.push(Run { set, name, lines: 1, bytes });
                true
            }
        }
    }

    /// Bytes of text.
    pub(crate) fn text_len(&self) -> usize {
        self.text.len()
    }

    /// Whether there is nothing in it.
    pub(crate) fn is_empty(&self) -> bool {
        self.lines == 0
    }

    /// The finished chunk. `numbers` reads the values; it may know units from chunks before.
    pub(crate) fn finish(self, numbers: &mut Stream) -> Packed {
        let mut head = Vec::with_capacity(self.sets.len() + self.names.len() + self.runs.len() * 5 + 16);
        put(&mut head, FORM);
        put(&mut head, u64::from(self.continues));
        put(&mut head, u64::from(self.set_count));
        head.extend_from_slice(&self.sets);
        put(&mut head, self.name_index.len() as u64);
        head.extend_from_slice(&self.names);
        put(&mut head, self.runs.len() as u64);
        for run in &self.runs {
            [run.set, run.name, run.lines, run.bytes].iter().for_each(|number| put(&mut head, u64::from(*number)));
        }
        let (values, measured) = columns(&self.text, self.lines, numbers);
        Packed { head: pack(&head), text: pack(&self.text), values: pack(&values), values_count: measured }
    }
}

/// The values of all lines: shapes (the units of a line), which lines have which, then iterations and values line by line. A line that the present reader does not
/// accept has no values.
fn columns(text: &[u8], lines: u32, numbers: &mut Stream) -> (Vec<u8>, u64) {
    let mut shapes: HashMap<Vec<usize>, u32> = HashMap::from([(Vec::new(), 0)]);
    let mut listed = vec![0];
    let mut runs: Vec<(u32, u32)> = Vec::new();
    let mut values = Vec::with_capacity(lines as usize * 12);
    let mut measured = 0;
    let mut done = 0_u64;
    let without = |values: &mut Vec<u8>, runs: &mut Vec<(u32, u32)>, count: u64| {
        (0..count).for_each(|_| values.push(0));
        extend(runs, 0, count as u32);
    };
    numbers.begin("", &[]);
    let mut units = Vec::new();
    let mut sink = |record: Record<'_>| {
        let Record::Result(result) = record else { return };
        without(&mut values, &mut runs, (result.line - 1).saturating_sub(done));
        done = result.line;
        units.clear();
        units.extend(result.values.iter().map(|value| value.original_unit.index()));
        let shape = match shapes.get(&units) {
            Some(known) => *known,
            None => {
                let number = shapes.len() as u32;
                shapes.insert(units.clone(), number);
                put(&mut listed, units.len() as u64);
                result.values.iter().for_each(|value| put_bytes(&mut listed, result.units.text(value.original_unit)));
                number
            }
        };
        extend(&mut runs, shape, 1);
        // Zigzag, so that small negative numbers are short, too.
        put(&mut values, ((result.iters << 1) ^ (result.iters >> 63)) as u64);
        result.values.iter().for_each(|value| values.extend_from_slice(&value.original.to_le_bytes()));
        measured += result.values.len() as u64;
    };
    numbers.push(text, &mut sink);
    numbers.finish(&mut sink);
    without(&mut values, &mut runs, u64::from(lines).saturating_sub(done));
    let mut out = Vec::with_capacity(values.len() + listed.len() + runs.len() * 2 + 16);
    put(&mut out, shapes.len() as u64);
    out.extend_from_slice(&listed);
    let mut packed = Vec::new();
    runs.iter().for_each(|(shape, lines)| [*shape, *lines].iter().for_each(|number| put(&mut packed, u64::from(*number))));
    put_bytes(&mut out, &packed);
    out.extend_from_slice(&values);
    (out, measured)
}

/// So many more lines of a shape.
fn extend(runs: &mut Vec<(u32, u32)>, shape: u32, lines: u32) {
    match runs.last_mut() {
        Some(run) if run.0 == shape => run.1 += lines,
        _ if lines > 0 => runs.push((shape, lines)),
        _ => {}
    }
}

/// The labels, names and records of a chunk.
#[derive(Debug)]
pub(crate) struct Head {
    pub(crate) sets: Vec<Labels>,
    /// Names, without `Benchmark` before them.
    pub(crate) names: Vec<Bytes>,
    pub(crate) runs: Vec<Run>,
    /// The first record began in the chunk before.
    pub(crate) continues: bool,
}

impl Head {
    pub(crate) fn read(packed: &[u8]) -> Result<Head, Damaged> {
        let mut reader = Reader::new(unpack(packed, LARGEST)?);
        if reader.number()? != FORM {
            return Err(reader.damaged("it has a form that this program does not know"));
        }
        let continues = reader.number()? != 0;
        let count = reader.count(2)?;
        let mut sets: Vec<Labels> = Vec::with_capacity(count);
        let mut current: Vec<(Bytes, Bytes)> = Vec::new();
        // Sets are kept as differences and given out whole; a forged head could make them grow without bounds.
        let mut given = 0_usize;
        for _ in 0..count {
            for _ in 0..reader.count(1)? {
                let key = reader.bytes()?;
                let at = current.binary_search_by(|(known, _)| known.cmp(&key)).map_err(|_| reader.damaged("a label is removed that was not set"))?;
                current.remove(at);
            }
            for _ in 0..reader.count(2)? {
                let (key, value) = (reader.bytes()?, reader.bytes()?);
                match current.binary_search_by(|(known, _)| known.cmp(&key)) {
                    Ok(at) => current.get_mut(at).into_iter().for_each(|pair| pair.1 = value.clone()),
                    Err(at) => current.insert(at, (key, value)),
                }
            }
            given += current.len();
            if given > LARGEST / 64 {
                return Err(reader.damaged("there are too many labels"));
            }
            sets.push(Labels::from_sorted(current.clone()));
        }
        let count = reader.count(1)?;
        let names = (0..count).map(|_| reader.bytes()).collect::<Result<Vec<_>, _>>()?;
        let count = reader.count(4)?;
        let mut runs = Vec::with_capacity(count);
        for _ in 0..count {
            let mut next = || u32::try_from(reader.number()?).map_err(|_| reader.damaged("a number is too large"));
            let run = Run { set: next()?, name: next()?, lines: next()?, bytes: next()? };
            if run.set as usize >= sets.len() || run.name as usize >= names.len() {
                return Err(reader.damaged("a record names what is not there"));
            }
            runs.push(run);
        }
        Ok(Head { sets, names, runs, continues })
    }
}

/// The lines of a chunk, all of them, each with its line end.
pub(crate) fn text(packed: &[u8]) -> Result<Bytes, Damaged> {
    unpack(packed, LARGEST)
}

/// The values of one line.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Line {
    pub(crate) shape: u32,
    pub(crate) iterations: i64,
    /// Where its values begin.
    pub(crate) from: usize,
}

/// The values of a chunk.
#[derive(Debug, Default)]
pub(crate) struct Values {
    /// Units of lines; of lines that could not be read as numbers there are none.
    pub(crate) shapes: Vec<Vec<Bytes>>,
    pub(crate) lines: Vec<Line>,
    pub(crate) values: Vec<f64>,
}

impl Values {
    pub(crate) fn read(packed: &[u8]) -> Result<Values, Damaged> {
        let mut reader = Reader::new(unpack(packed, LARGEST)?);
        let count = reader.count(1)?;
        let mut shapes = Vec::with_capacity(count);
        for _ in 0..count {
            let units = reader.count(1)?;
            shapes.push((0..units).map(|_| reader.bytes()).collect::<Result<Vec<_>, _>>()?);
        }
        let mut runs = Reader::new(reader.bytes()?);
        let mut out = Values { shapes, ..Values::default() };
        while !runs.is_at_end() {
            let (shape, lines) = (runs.size()?, runs.size()?);
            let units = out.shapes.get(shape).ok_or(runs.damaged("a line has a shape that is not there"))?.len();
            for _ in 0..lines {
                let zigzag = reader.number()?;
                out.lines.push(Line { shape: shape as u32, iterations: (zigzag >> 1) as i64 ^ -((zigzag & 1) as i64), from: out.values.len() });
                for _ in 0..units {
                    out.values.push(reader.float()?);
                }
            }
        }
        Ok(out)
    }
}

/// For fuzzing: reads all three parts of a chunk from whatever this is.
#[doc(hidden)]
pub fn read_anything(data: &[u8]) {
    let packed = pack(data);
    let _ = Head::read(&packed);
    let _ = Values::read(&packed);
    let _ = Head::read(data);
    let _ = text(data);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_put_in_comes_out() {
        let mut builder = Builder::new();
        builder.set_continues(true);
        builder.set([].into_iter(), [(&b"branch"[..], &b"main"[..]), (b"os", b"linux \xff ")].into_iter());
        let (one, new) = builder.name(b"One-8");
        assert!(new);
        assert!(builder.line(one, b"BenchmarkOne-8 10 5 ns/op"));
        assert!(!builder.line(one, b"BenchmarkOne-8 -3 6 ns/op"));
        builder.set([&b"os"[..]].into_iter(), [(&b"arch"[..], &b"arm"[..])].into_iter());
        assert!(builder.line(one, b"BenchmarkOne-8 garbage"));
        let (two, _) = builder.name(b"Two");
        assert!(builder.line(two, b"BenchmarkTwo 1 2 B/op NaN x"));
        let packed = builder.finish(&mut Stream::new(""));
        assert_eq!(packed.values_count, 4);

        let head = Head::read(&packed.head).unwrap();
        assert!(head.continues);
        assert_eq!(head.names, ["One-8", "Two"]);
        assert_eq!(head.runs.iter().map(|run| (run.set, run.name, run.lines)).collect::<Vec<_>>(), [(0, 0, 2), (1, 0, 1), (1, 1, 1)]);
        assert_eq!(head.sets[0].get(b"os").unwrap().as_ref(), b"linux \xff ");
        assert_eq!(head.sets[1].iter().map(|(k, v)| (k.as_ref(), v.as_ref())).collect::<Vec<_>>(), [(&b"arch"[..], &b"arm"[..]), (b"branch", b"main")]);
        let text = text(&packed.text).unwrap();
        assert_eq!(text.len(), head.runs.iter().map(|run| run.bytes as usize).sum::<usize>());
        let values = Values::read(&packed.values).unwrap();
        assert_eq!(values.lines.iter().map(|line| line.iterations).collect::<Vec<_>>(), [10, -3, 0, 1]);
        assert_eq!(values.shapes, [vec![], vec![Bytes::from("ns/op")], vec![Bytes::from("B/op"), Bytes::from("x")]]);
        assert_eq!(values.lines.iter().map(|line| line.shape).collect::<Vec<_>>(), [1, 1, 0, 2]);
        assert_eq!(&values.values[..3], [5.0, 6.0, 2.0]);
        assert!(values.values[3].is_nan());
    }

    proptest::proptest! {
        #[test]
        fn damaged_chunks_are_refused_and_never_panic(data in proptest::collection::vec(proptest::num::u8::ANY, 0..300)) {
            read_anything(&data);
        }

        #[test]
        fn a_flipped_byte_is_no_panic(at in 0_usize..200, to in proptest::num::u8::ANY) {
            let mut builder = Builder::new();
            builder.set([].into_iter(), [(&b"branch"[..], &b"main"[..])].into_iter());
            let (name, _) = builder.name(b"One-8");
            for _ in 0..20 {
                builder.line(name, b"BenchmarkOne-8 10 5 ns/op");
            }
            let packed = builder.finish(&mut Stream::new(""));
            for mut part in [packed.head, packed.values, packed.text] {
                let length = part.len();
                part[at % length] = to;
                let _ = Head::read(&part);
                let _ = Values::read(&part);
                let _ = text(&part);
            }
        }
    }
}
