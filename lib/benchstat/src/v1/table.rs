//! Tables: one per unit, rows by group and benchmark.

use std::collections::HashMap;

use super::collection::{Collection, Metrics};
use super::scaler::Scaler;
use crate::math::elementary::geomean;
use crate::math::number::{fixed, signed_percent};
use crate::math::outliers::Kept;
use crate::math::sample::Sample;
use crate::math::utest::{self, Untestable};

/// Whether a row is better or worse than it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Change {
    /// Significantly better.
    Better,
    /// Significantly worse.
    Worse,
    /// Neither.
    #[default]
    Unchanged,
}

/// The row of geometric means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Geomean {
    /// There is none.
    #[default]
    None,
    /// Labelled `[Geo mean]`, as in 2022.
    Spaced,
    /// Labelled `[Geomean]`.
    Joined,
}

/// How tables are made.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Options {
    /// A change is significant if p is below this.
    pub alpha: f64,
    /// The row of geometric means.
    pub geomean: Geomean,
}

impl Default for Options {
    fn default() -> Options {
        Options { alpha: 0.05, geomean: Geomean::None }
    }
}

/// One unit.
#[derive(Debug, Clone, PartialEq)]
pub struct Table {
    /// `time/op` for `ns/op`.
    pub metric: String,
    /// Titles of the columns.
    pub configs: Vec<String>,
    /// Groups there are, in all tables.
    pub groups: usize,
    /// The rows.
    pub rows: Vec<Row>,
}

impl Table {
    /// Whether it compares old and new.
    #[must_use]
    pub fn old_new(&self) -> bool {
        self.configs.len() == 2
    }
}

/// One benchmark.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Row {
    /// Its name.
    pub benchmark: String,
    /// Its group; empty if there is only one.
    pub group: String,
    /// One text per column, empty where there is nothing.
    pub cells: Vec<String>,
    /// The difference: `-7.30%`, `~`; empty without two columns.
    pub delta: String,
    /// The difference in percent; 0 if it is not significant.
    pub percent: f64,
    /// p and sizes, or why there is no p.
    pub note: String,
    /// What it means.
    pub change: Change,
}

/// Title of a unit's table.
#[must_use]
pub fn metric_of(unit: &str) -> String {
    for (base, metric) in [("ns/op", "time/op"), ("ns/GC", "time/GC"), ("B/op", "alloc/op"), ("MB/s", "speed")] {
        if let Some(prefix) = unit.strip_suffix(base).filter(|prefix| prefix.is_empty() || prefix.ends_with('-')) {
            return format!("{prefix}{metric}");
        }
    }
    unit.to_owned()
}

impl Collection {
    /// All tables, in the order in which units appeared. Rows that one of two columns lacks are left out.
    #[must_use]
    pub fn tables(&self, options: &Options) -> Vec<Table> {
        let columns: Vec<usize> = {
            let mut first = HashMap::new();
            self.configs.iter().enumerate().map(|(i, title)| *first.entry(title).or_insert(i)).collect()
        };
        let tables = (0..self.units.list.len()).filter_map(|unit| {
            let mut table = Table { metric: metric_of(self.units.get(unit)), configs: self.configs.clone(), groups: self.groups.list.len(), rows: Vec::new() };
            for (group, benchmarks) in self.benchmarks.iter().enumerate() {
                let rows = benchmarks.iter().filter_map(|&benchmark| {
                    let metrics: Vec<Option<Metrics>> = columns.iter().map(|&config| self.metrics((config, group, benchmark, unit))).collect();
                    let mut row = row(&metrics, &table.metric, options.alpha)?;
                    row.benchmark = self.name(benchmark).to_owned();
                    if self.groups.list.len() > 1 {
                        row.group = self.groups.get(group).to_owned();
                    }
                    Some(row)
                });
                let rows: Vec<Row> = rows.collect();
                table.rows.extend(rows);
            }
            if table.rows.is_empty() {
                return None;
            }
            table.rows.extend(self.geomean(&columns, unit, options.geomean));
            Some(table)
        });
        tables.collect()
    }

    /// Of all benchmarks of a unit, in whatever column.
    fn geomean(&self, columns: &[usize], unit: usize, wanted: Geomean) -> Option<Row> {
        let label = match wanted {
            Geomean::None => return None,
            Geomean::Spaced => "[Geo mean]",
            Geomean::Joined => "[Geomean]",
        };
        let means = |config: usize| {
            let benchmarks = self.benchmarks.iter().enumerate().flat_map(|(group, list)| list.iter().map(move |&benchmark| (config, group, benchmark, unit)));
            // Zeros (allocations) would make it zero or undefined.
            benchmarks.filter_map(|key| self.values.get(&key)).map(|values| Kept::of(values).mean).filter(|mean| *mean != 0.0).collect::<Vec<_>>()
        };
        let means: Vec<Vec<f64>> = columns.iter().map(|&config| means(config)).collect();
        if means.iter().all(|means| means.len() <= 1) {
            return None;
        }
        let geomeans: Vec<Option<f64>> =
            means.into_iter().map(|means| if means.is_empty() { None } else { Some(geomean(means).unwrap_or(f64::NAN)) }).collect();
        let scaler = geomeans.iter().flatten().next().map(|&mean| Scaler::new(mean, self.units.get(unit)))?;
        let cells = geomeans.iter().map(|mean| mean.map_or_else(String::new, |mean| format!("{}     ", scaler.format(mean)))).collect();
        let mut row = Row { benchmark: label.to_owned(), cells, ..Row::default() };
        if let [Some(old), Some(new)] = geomeans.as_slice() {
            row.percent = (new / old - 1.0) * 100.0;
            row.delta = signed_percent(row.percent);
        }
        Some(row)
    }
}

/// A row without its name. `None`: one of two columns has nothing.
fn row(metrics: &[Option<Metrics>], metric: &str, alpha: f64) -> Option<Row> {
    let first = metrics.iter().flatten().next();
    let scaler = first.map(|metrics| Scaler::new(metrics.kept.mean, &metrics.unit));
    let cell = |metrics: &Option<Metrics>| match (metrics, &scaler) {
        (Some(metrics), Some(scaler)) => format_cell(&metrics.kept, scaler),
        _ => String::new(),
    };
    let mut row = Row { cells: metrics.iter().map(cell).collect(), ..Row::default() };
    let [old, new] = metrics else { return Some(row) };
    let (old, new) = (&old.as_ref()?.kept, &new.as_ref()?.kept);
    row.delta = "~".to_owned();
    match utest::p_value(Sample::new(old.values.clone()).values(), Sample::new(new.values.clone()).values()) {
        Err(Untestable::Empty) => row.note = "(too few samples)".to_owned(),
        Err(Untestable::Equal) => row.note = "(all equal)".to_owned(),
        Err(Untestable::NotANumber) => row.note = "(not a number)".to_owned(),
        Ok(p) => {
            row.note = format!("(p={} n={}+{})", fixed(p, 3), old.values.len(), new.values.len());
            if p < alpha && new.mean == old.mean {
                row.delta = "0.00%".to_owned();
            } else if p < alpha {
                row.percent = (new.mean / old.mean - 1.0) * 100.0;
                row.delta = signed_percent(row.percent);
                row.change = if (row.percent < 0.0) == (metric != "speed") { Change::Better } else { Change::Worse };
            }
        }
    }
    Some(row)
}

/// Mean and spread; in place of a spread that cannot be said, spaces.
fn format_cell(kept: &Kept, scaler: &Scaler) -> String {
    let mean = scaler.format(kept.mean);
    match kept.spread() {
        Some(spread) => format!("{mean} ±{:>3}", format!("{}%", fixed(spread * 100.0, 0))),
        None => format!("{mean}     "),
    }
}
