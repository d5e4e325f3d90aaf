//! The tables at the end, and the gate.

use std::fmt::Write as _;

use burrow_benchstat::gate::{self, Report, Rule};
use burrow_benchstat::math::correction::Correction;
use burrow_benchstat::read::{self, Content, Source};
use burrow_benchstat::{Builder, Filter, Layout, Projections, Tables, table};

use crate::sheet::{MACHINE, SIDE};

/// A comparison of the sides of a file of results.
#[derive(Debug)]
pub struct Compared {
    tables: Tables,
    /// What the gate says; `None` without rules.
    pub gate: Option<Report>,
}

/// Compares the sides of a file that [`crate::run`] wrote. The first one is the base.
///
/// # Errors
/// The file is none of a run: a sentence.
pub fn compare(text: &[u8], labels: &[String], rules: &[Rule], correction: Correction) -> Result<Compared, String> {
    let mut filter = Filter::new(&format!("-.name:{MACHINE}")).map_err(|error| error.to_string())?;
    // The order of the command line, not the order of the first round, which is random.
    let labels: Vec<String> = labels.iter().map(|label| quoted(label)).collect();
    let col = format!("{SIDE}@({})", labels.join(" "));
    let projections = Projections { col: &col, ..Projections::default() };
    let layout = Layout::new(&projections, &mut filter).map_err(|error| error.to_string())?;
    let mut builder = Builder::new(layout, filter);
    let source = Source { label: "results".into(), path: "results".into(), content: Content::Bytes(text.to_vec()) };
    let units = read::read(&[source], &mut builder, &read::Options::default(), &mut |_| {}).map_err(|error| error.to_string())?;
    let tables = builder.tables(&units, &table::Options::default());
    let gate = (!rules.is_empty()).then(|| gate::judge(&tables, rules, correction));
    Ok(Compared { tables, gate })
}

/// A word of a projection, whatever is in it.
fn quoted(label: &str) -> String {
    let mut word = String::from('"');
    for c in label.chars() {
        match c {
            '"' | '\\' => word.extend(['\\', c]),
            c if c.is_control() => drop(write!(word, "\\u{:04x}", u32::from(c))),
            c => word.push(c),
        }
    }
    word.push('"');
    word
}

impl Compared {
    /// As text, for a terminal or a log.
    #[must_use]
    pub fn text(&self) -> String {
        let mut out = Vec::new();
        // Writing to memory cannot fail.
        let _ = table::text::write(&self.tables, &mut out, false);
        String::from_utf8_lossy(&out).into_owned()
    }

    /// As Markdown, for a comment on a change.
    #[must_use]
    pub fn markdown(&self) -> String {
        let mut out = Vec::new();
        let _ = table::markdown::write(&self.tables, &mut out);
        String::from_utf8_lossy(&out).into_owned()
    }

    /// As JSON, with what the gate says.
    #[must_use]
    pub fn json(&self) -> String {
        let mut out = Vec::new();
        let _ = table::json::write(&self.tables, self.gate.as_ref(), &mut out);
        String::from_utf8_lossy(&out).into_owned()
    }
}
