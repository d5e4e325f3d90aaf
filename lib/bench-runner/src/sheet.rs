//! The file of results: benchmark lines only, each with the side that it is of.

use protocol_benchfmt::{Config, Record, Stream, Writer};

use crate::machine::Machine;
use crate::samples::Samples;

/// The configuration key that names the side.
pub(crate) const SIDE: &str = "side";
/// The name of the lines that tell the state of the machine.
pub(crate) const MACHINE: &str = "Machine";

/// A file under way.
pub(crate) struct Sheet {
    out: Vec<u8>,
    writer: Writer,
    /// One for all runs: what is said about a unit is said once in the file.
    reader: Stream,
    header: Vec<(String, String)>,
    /// The configuration of the line before with header and side, and what it was made of.
    config: Config,
}

impl Sheet {
    /// An empty file whose every result has the given configuration.
    pub(crate) fn new(header: Vec<(String, String)>) -> Sheet {
        Sheet { out: Vec::new(), writer: Writer::new(), reader: Stream::new(""), header, config: Config::new() }
    }

    /// Adds the results of a run of a side; says how many there were.
    pub(crate) fn run(&mut self, (side, label): (usize, &str), text: &[u8], machine: &Machine, samples: &mut Samples) -> usize {
        let Sheet { out, writer, reader, header, config } = self;
        reader.begin(label, &[]);
        let (mut generation, mut lines) = (None, 0);
        let mut sink = |record: Record<'_>| match &record {
            Record::Result(result) => {
                if generation != Some(result.config.generation()) {
                    generation = Some(result.config.generation());
                    *config = with(result.config, header, label);
                }
                let values = result.measurements().map(|found| (found.original, found.original_unit));
                writer.result(config, result.name.full(), result.iters, values, out);
                samples.add(side, result);
                lines += 1;
            }
            Record::Unit(unit) => writer.unit(unit, out),
            Record::Error(_) => {}
        };
        reader.push(text, &mut sink);
        reader.finish(&mut sink);
        let values = machine.values();
        if lines > 0 && !values.is_empty() {
            let values = values.iter().map(|(value, unit)| (*value, unit.as_bytes()));
            self.writer.result(&self.config, MACHINE.as_bytes(), 1, values, &mut self.out);
        }
        lines
    }

    /// The file so far.
    pub(crate) fn text(&self) -> &[u8] {
        &self.out
    }
}

fn with(found: &Config, header: &[(String, String)], label: &str) -> Config {
    let mut config = Config::new();
    for (key, value) in header {
        config.set_file(key.as_bytes(), value.as_bytes());
    }
    for entry in found.entries() {
        config.set_file(entry.key(), entry.value());
    }
    config.set_file(SIDE.as_bytes(), label.as_bytes());
    config
}
