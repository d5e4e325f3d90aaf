//! Records as one stream (`spec/perfdata.md` §5).

use super::labels::Labels;

/// Prints records one after the other: before each the labels that are other than those of the one before.
#[derive(Debug, Default)]
pub struct Printer {
    labels: Labels,
}

impl Printer {
    /// A printer of an empty stream.
    #[must_use]
    pub fn new() -> Printer {
        Printer::default()
    }

    /// Prints a record: labels that are gone, then those that are new or other, each group sorted, then its lines.
    pub fn print(&mut self, labels: &Labels, lines: &[&[u8]], out: &mut Vec<u8>) {
        if *labels != self.labels {
            for (key, _) in self.labels.iter().filter(|(key, _)| labels.get(key).is_none()) {
                out.extend_from_slice(key);
                out.extend_from_slice(b":\n");
            }
            for (key, value) in labels.iter().filter(|(key, value)| self.labels.get(key) != Some(value)) {
                for part in [key, b": ", value, b"\n"] {
                    out.extend_from_slice(part);
                }
            }
            self.labels = labels.clone();
        }
        for line in lines {
            out.extend_from_slice(line);
            out.push(b'\n');
        }
    }
}
