//! The writer of the benchmark format (`spec/perf.md` §2.5): what it writes, the reader reads as the same.

use std::collections::HashMap;
use std::fmt::Write as _;

use crate::config::Config;
use crate::number::write_float;
use crate::record::{Record, ResultLine};
use crate::units::UnitMetadata;

/// Writes results; remembers which configuration was written, and writes what changes.
///
/// ```
/// use protocol_benchfmt::{Config, Writer};
///
/// let (mut writer, mut out) = (Writer::new(), Vec::new());
/// let mut config = Config::new();
/// config.set_file(b"goos", b"linux");
/// writer.result(&config, b"Sort/n=10-8", 1000, [(250.0, &b"ns/op"[..])], &mut out);
/// config.set_file(b"goos", b"plan9");
/// writer.result(&config, b"Sort/n=10-8", 1000, [(1e7, &b"ns/op"[..])], &mut out);
/// assert_eq!(out, b"goos: linux\n\nBenchmarkSort/n=10-8 1000 250 ns/op\n\ngoos: plan9\n\nBenchmarkSort/n=10-8 1000 1e+07 ns/op\n");
/// ```
#[derive(Debug, Default)]
pub struct Writer {
    /// Keys in the order in which they were first written.
    order: Vec<Box<[u8]>>,
    written: HashMap<Box<[u8]>, (Vec<u8>, bool)>,
    /// A result was written since the last configuration.
    begun: bool,
    number: String,
}

impl Writer {
    /// A writer of an empty file.
    #[must_use]
    pub fn new() -> Writer {
        Writer::default()
    }

    /// Writes whatever a reader found; errors are left out.
    pub fn record(&mut self, record: &Record<'_>, out: &mut Vec<u8>) {
        match record {
            Record::Result(result) => self.line(result, out),
            Record::Unit(metadata) => self.unit(metadata, out),
            Record::Error(_) => {}
        }
    }

    /// Writes a result as it was read: values and units as they stood there.
    pub fn line(&mut self, result: &ResultLine<'_>, out: &mut Vec<u8>) {
        let values = result.measurements().map(|found| (found.original, found.original_unit));
        self.result(result.config, result.name.full(), result.iters, values, out);
    }

    /// Writes a result, and before it what changed in the configuration; keys that are not from a file are left out.
    pub fn result<'v>(&mut self, config: &Config, name: &[u8], iters: i64, values: impl IntoIterator<Item = (f64, &'v [u8])>, out: &mut Vec<u8>) {
        self.config(config, out);
        out.extend_from_slice(b"Benchmark");
        out.extend_from_slice(name);
        self.number.clear();
        // Writing to a string cannot fail.
        let _ = write!(self.number, " {iters}");
        out.extend_from_slice(self.number.as_bytes());
        for (value, unit) in values {
            self.number.clear();
            self.number.push(' ');
            write_float(value, &mut self.number);
            self.number.push(' ');
            out.extend_from_slice(self.number.as_bytes());
            out.extend_from_slice(unit);
        }
        out.push(b'\n');
        self.begun = true;
    }

    /// Writes one pair of unit metadata.
    pub fn unit(&mut self, metadata: &UnitMetadata, out: &mut Vec<u8>) {
        for part in [&b"Unit "[..], &metadata.original_unit, b" ", &metadata.key, b"=", &metadata.value, b"\n"] {
            out.extend_from_slice(part);
        }
    }

    fn config(&mut self, config: &Config, out: &mut Vec<u8>) {
        let same = self.written.len() == config.entries().len()
            && config
                .entries()
                .iter()
                .all(|entry| self.written.get(entry.key()).is_some_and(|(value, file)| value == entry.value() && *file == entry.from_file()));
        if same {
            return;
        }
        if self.begun {
            out.push(b'\n');
            self.begun = false;
        }
        let written = &mut self.written;
        self.order.retain(|key| {
            let Some(entry) = config.entry(key) else {
                for part in [key, &b":\n"[..]] {
                    out.extend_from_slice(part);
                }
                written.remove(key);
                return false;
            };
            let now = (entry.value().to_vec(), entry.from_file());
            if written.get(key) != Some(&now) {
                write_pair(key, entry.value(), entry.from_file(), out);
                written.insert(key.clone(), now);
            }
            true
        });
        for entry in config.entries() {
            if !self.written.contains_key(entry.key()) {
                write_pair(entry.key(), entry.value(), entry.from_file(), out);
                self.written.insert(entry.key().into(), (entry.value().to_vec(), entry.from_file()));
                self.order.push(entry.key().into());
            }
        }
        out.push(b'\n');
    }
}

fn write_pair(key: &[u8], value: &[u8], file: bool, out: &mut Vec<u8>) {
    if file {
        for part in [key, b": ", value, b"\n"] {
            out.extend_from_slice(part);
        }
    }
}
