//! Tables of groups: the present engine, or the older one that the text reply speaks (`spec/perf.md` §1, §7, §8.4).

use burrow_benchstat::table::{Options, Tables};
use burrow_benchstat::{Builder, Filter, Layout, Projections, Setting, Subject, UnitNames, v1};

use crate::group::Groups;
use crate::source::values;

/// Which statistics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Engine {
    /// Medians with intervals, as the `benchstat` command.
    #[default]
    Medians,
    /// Means with spreads, as the older page.
    Means,
}

/// Tables of the older engine. `split`: with splitting labels and the row of geometric means, as on the page; without both as in the text reply.
pub fn older(groups: &Groups, split: bool) -> Vec<v1::Table> {
    let mut collection = v1::Collection::new();
    for group in &groups.groups {
        collection.config(group.title.clone());
        for shown in &group.results {
            let labels = shown.found.all_labels();
            let under = if split { v1::Collection::group(&groups.split_by, |label| crate::source::get(&labels, label)) } else { String::new() };
            for line in &shown.found.lines {
                // The row's name in place of the line's own.
                let rest = line.strip_prefix("Benchmark").and_then(|rest| rest.strip_prefix(shown.found.name.as_str())).unwrap_or_default();
                collection.add_line(&under, &format!("Benchmark{}{rest}", shown.row));
            }
        }
    }
    let geomean = if split { v1::Geomean::Joined } else { v1::Geomean::None };
    collection.tables(&v1::Options { geomean, ..v1::Options::default() })
}

/// The text reply: tables of the older engine.
pub fn text(groups: &Groups) -> String {
    v1::text::render(&older(groups, false))
}

/// Why tables cannot be made: the projections do not fit together.
pub type LayoutError = burrow_benchstat::LayoutError;

/// Tables of the present engine: a column for each group, split by the labels that vary within one.
///
/// # Errors
/// [`LayoutError`].
pub fn medians(groups: &Groups) -> Result<Tables, LayoutError> {
    let mut filter = Filter::new("*").map_err(|error| LayoutError { which: "filter", error })?;
    let table = groups.split_by.join(" ");
    let layout = Layout::new(&Projections { table: &table, row: ".fullname", col: ".file", ignore: ".config" }, &mut filter)?;
    let mut builder = Builder::new(layout, filter);
    for group in &groups.groups {
        for shown in &group.results {
            let mut config = vec![Setting { key: b".file"[..].into(), value: group.title.as_bytes().into(), from_file: false }];
            let known = groups.split_by.iter().filter_map(|label| Some((label, crate::source::get(&shown.found.labels, label)?)));
            config.extend(known.map(|(label, value)| Setting { key: label.as_bytes().into(), value: value.as_bytes().into(), from_file: true }));
            for line in &shown.found.lines {
                let found = values(line);
                let units: Vec<UnitNames<'_>> =
                    found.iter().map(|(tidied, written, _)| UnitNames { tidied: tidied.as_bytes(), written: written.as_bytes() }).collect();
                let numbers: Vec<f64> = found.iter().map(|(_, _, value)| *value).collect();
                builder.add(&Subject { name: shown.row.as_bytes(), config: &config, units: &units }, &numbers);
            }
        }
    }
    let answer = crate::source::Answer { found: Vec::new(), unit_lines: groups.unit_lines.clone() };
    Ok(builder.tables(&answer.units(), &Options::default()))
}
