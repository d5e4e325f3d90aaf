//! Reading inputs: files side by side on several threads, everything else one after the other, with the same result. Memory holds the numbers, not the text.

use std::fs::File;
use std::io::Read;
use std::num::NonZero;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use protocol_benchfmt::{Fault, Record, Stream, SyntaxError, Units};

use crate::gather::{Gather, Gathered};
use crate::table::Builder;

/// Bytes read at a time.
const PIECE: usize = 1 << 18;

/// One input.
#[derive(Debug, Clone)]
pub struct Source {
    /// Its `.file`.
    pub label: String,
    /// Its name in messages.
    pub path: String,
    /// Where its bytes are.
    pub content: Content,
}

/// Where bytes are.
#[derive(Debug, Clone)]
pub enum Content {
    /// In the file of this name.
    Path,
    /// On standard input.
    Stdin,
    /// Here.
    Bytes(Vec<u8>),
}

impl Source {
    /// What arguments mean: `path`, `label=path`, `-`; a path given several times is told apart by numbers (spec §2.6).
    #[must_use]
    pub fn of_arguments<S: AsRef<str>>(arguments: &[S]) -> Vec<Source> {
        let source = |input: protocol_benchfmt::Input| {
            let content = if input.stdin { Content::Stdin } else { Content::Path };
            Source { label: input.label, path: input.path, content }
        };
        protocol_benchfmt::inputs(arguments).into_iter().map(source).collect()
    }
}

/// Details that follow the reference or not.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    /// Zeros and infinities keep the unit they were written in.
    pub untidied_zeros: bool,
    /// A line that is too long ends everything, instead of being reported and skipped.
    pub fatal_long_lines: bool,
    /// Threads; `None`: as many as there are processors.
    pub threads: Option<NonZero<usize>>,
}

/// An input that cannot be read. The texts are the reference's.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It cannot be opened.
    #[error("open {path}: {}", reason(source))]
    Open {
        /// Its name.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// It broke off.
    #[error("{path}:{line}: read {path}: {}", reason(source))]
    Read {
        /// Its name.
        path: String,
        /// Lines read before.
        line: u64,
        /// Why.
        source: std::io::Error,
    },
    /// A line is too long, and that was to be the end.
    #[error("{path}:{line}: bufio.Scanner: token too long")]
    LongLine {
        /// Its name.
        path: String,
        /// Lines before it.
        line: u64,
    },
}

/// The system's reason in the words that C and Go use.
fn reason(error: &std::io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or(&text);
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_lowercase().chain(chars).collect())
}

/// What was read of one input.
struct Part {
    gathered: Gathered,
    errors: Vec<SyntaxError>,
    outcome: Result<(), ReadError>,
}

/// Reads all inputs into a builder, in their order. Lines that are wrong go to `wrong`, in order; reading goes on behind them. Returns what was said about units.
///
/// # Errors
/// An input cannot be read. What is wrong before that has been reported.
pub fn read(sources: &[Source], builder: &mut Builder, options: &Options, wrong: &mut dyn FnMut(&SyntaxError)) -> Result<Units, ReadError> {
    let threads = options.threads.or_else(|| std::thread::available_parallelism().ok()).map_or(1, NonZero::get).min(sources.len());
    // What is no file can be read only once, and perhaps only as fast as somebody writes it: in order.
    let files = sources.iter().all(|source| matches!(source.content, Content::Bytes(_)) || matches!(source.content, Content::Path) && is_file(&source.path));
    if threads > 1 && files { side_by_side(sources, builder, options, threads, wrong) } else { in_order(sources, builder, options, wrong) }
}

fn is_file(path: &str) -> bool {
    Path::new(path).metadata().is_ok_and(|metadata| metadata.is_file())
}

fn in_order(sources: &[Source], builder: &mut Builder, options: &Options, wrong: &mut dyn FnMut(&SyntaxError)) -> Result<Units, ReadError> {
    let mut stream = Stream::new("");
    for source in sources {
        let part = read_one(&mut stream, source, options, true);
        part.errors.iter().for_each(&mut *wrong);
        part.outcome?;
        builder.add_gathered(part.gathered, stream.units());
    }
    Ok(stream.into_units())
}

fn side_by_side(sources: &[Source], builder: &mut Builder, options: &Options, threads: usize, wrong: &mut dyn FnMut(&SyntaxError)) -> Result<Units, ReadError> {
    let next = AtomicUsize::new(0);
    let parts: Vec<Mutex<Option<(Part, Units)>>> = sources.iter().map(|_| Mutex::new(None)).collect();
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let (Some(source), Some(place)) = (sources.get(number), parts.get(number)) else { return };
                    let mut stream = Stream::new("");
                    let part = read_one(&mut stream, source, options, true);
                    if let Ok(mut place) = place.lock() {
                        *place = Some((part, stream.into_units()));
                    }
                }
            });
        }
    });
    let mut units = Units::new();
    for (source, part) in sources.iter().zip(parts) {
        let Some((part, own)) = part.into_inner().ok().flatten() else { continue };
        let contradicts = own.all_metadata().iter().any(|said| units.metadata(&said.original_unit, &said.key).is_some_and(|before| before.value != said.value));
        let errors = if contradicts { reread(source, &units, options) } else { part.errors };
        errors.iter().for_each(&mut *wrong);
        part.outcome?;
        for said in own.all_metadata() {
            // What contradicts was reported, and the first word holds.
            let _ = units.say(&said.original_unit, &said.key, &said.value, &said.file, said.line);
        }
        builder.add_gathered(part.gathered, &own);
    }
    Ok(units)
}

/// The errors of an input that contradicts what earlier ones say about units: which of its lines are wrong depends on that.
fn reread(source: &Source, before: &Units, options: &Options) -> Vec<SyntaxError> {
    let mut stream = Stream::new("");
    for said in before.all_metadata() {
        let line = [b"Unit ", &*said.original_unit, b" ", &said.key, b"=", &said.value, b"\n"].concat();
        stream.push(&line, &mut |_| {});
    }
    read_one(&mut stream, source, options, false).errors
}

fn read_one(stream: &mut Stream, source: &Source, options: &Options, keep: bool) -> Part {
    let mut gather = Gather::new(options.untidied_zeros);
    let mut errors = Vec::new();
    stream.begin(if source.path.is_empty() { "<unknown>" } else { &source.path }, &[(".file", &source.label)]);
    let mut lines = 0;
    let mut too_long = None;
    let mut sink = |record: Record<'_>| match record {
        _ if too_long.is_some() => {}
        Record::Result(result) => {
            if keep {
                gather.add(&result);
            }
            lines = result.line;
        }
        Record::Unit(_) => {}
        Record::Error(error) if options.fatal_long_lines && matches!(error.fault, Fault::LongLine { .. }) => too_long = Some(error.line.saturating_sub(1)),
        Record::Error(error) => errors.push(error.clone()),
    };
    let mut pour = |reader: &mut dyn Read| -> std::io::Result<()> {
        let mut piece = vec![0; PIECE];
        loop {
            let length = match reader.read(&mut piece) {
                Ok(0) => break,
                Ok(length) => length,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            stream.push(piece.get(..length).unwrap_or_default(), &mut sink);
        }
        stream.finish(&mut sink);
        Ok(())
    };
    let read = match &source.content {
        Content::Bytes(bytes) => pour(&mut bytes.as_slice()),
        Content::Stdin => pour(&mut std::io::stdin().lock()),
        Content::Path => match File::open(&source.path) {
            Ok(mut file) => pour(&mut file),
            Err(error) => return Part { gathered: gather.sorted(), errors, outcome: Err(ReadError::Open { path: source.path.clone(), source: error }) },
        },
    };
    let outcome = match (too_long, read) {
        (Some(line), _) => Err(ReadError::LongLine { path: source.path.clone(), line }),
        (None, read) => read.map_err(|error| ReadError::Read { path: source.path.clone(), line: lines, source: error }),
    };
    Part { gathered: gather.sorted(), errors, outcome }
}
