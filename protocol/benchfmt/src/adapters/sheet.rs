//! What every adapter writes into: configuration and lines, with names that are names and values that are values.

use super::Converted;
use crate::config::Config;
use crate::text::config_line;
use crate::writer::Writer;

/// Benchmark text under way.
pub(super) struct Sheet<'o> {
    out: &'o mut Vec<u8>,
    writer: Writer,
    config: Config,
    converted: Converted,
}

impl<'o> Sheet<'o> {
    pub(super) fn new(out: &'o mut Vec<u8>) -> Sheet<'o> {
        Sheet { out, writer: Writer::new(), config: Config::new(), converted: Converted::default() }
    }

    /// Sets a configuration key from here on; line ends in the value become blanks, and what cannot be a key is left out.
    pub(super) fn config(&mut self, key: &str, value: &str) {
        let value = value.split(['\r', '\n']).map(str::trim).filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ");
        if config_line(format!("{key}: x").as_bytes()).is_some_and(|(found, _)| found == key.as_bytes()) {
            self.config.set_file(key.as_bytes(), value.as_bytes());
        }
    }

    /// Writes a line.
    pub(super) fn result(&mut self, name: &str, iters: i64, values: &[(f64, String)]) {
        if values.is_empty() {
            self.left_out();
            return;
        }
        let values = values.iter().map(|(value, unit)| (*value, unit.as_bytes()));
        self.writer.result(&self.config, name.as_bytes(), iters, values, self.out);
        self.converted.lines += 1;
    }

    /// Counts a benchmark without result.
    pub(super) fn left_out(&mut self) {
        self.converted.left_out += 1;
    }

    pub(super) fn finish(self) -> Converted {
        self.converted
    }
}

/// The text as a name: one word that begins with a capital letter, as names of benchmarks do.
pub(super) fn name(text: &str) -> String {
    let mut name = String::with_capacity(text.len());
    for c in text.trim().chars() {
        let c = if c.is_whitespace() { '_' } else { c };
        if name.is_empty() { name.extend(c.to_uppercase()) } else { name.push(c) }
    }
    name
}

/// The text as one part of a name: as [`name`], without `/`.
pub(super) fn part(text: &str) -> String {
    text.trim().chars().map(|c| if c.is_whitespace() || c == '/' { '_' } else { c }).collect()
}

/// The text as a unit: one word.
pub(super) fn unit(text: &str) -> String {
    text.trim().chars().map(|c| if c.is_whitespace() { '-' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_stand_in_a_line_does_not() {
        let mut out = Vec::new();
        let mut sheet = Sheet::new(&mut out);
        sheet.config("cpu", "Some CPU\r\nBenchmarkEvil 1 1 ns/op");
        sheet.config("Bad Key", "x");
        sheet.config("os", " ");
        sheet.result(&name("sort a\u{2003}b\n"), 3, &[(1.5, unit("per second"))]);
        sheet.result("Nothing", 1, &[]);
        assert_eq!(sheet.finish(), Converted { lines: 1, left_out: 1 });
        assert_eq!(String::from_utf8(out).unwrap(), "cpu: Some CPU BenchmarkEvil 1 1 ns/op\n\nBenchmarkSort_a_b 3 1.5 per-second\n");
    }
}
