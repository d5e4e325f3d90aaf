//! Values by column, group, benchmark and unit, in order of appearance.

use std::collections::HashMap;

use protocol_benchfmt::{parse_float, parse_int};

use crate::math::outliers::Kept;

/// Measurements of one benchmark in one unit and column.
#[derive(Debug, Clone, PartialEq)]
pub struct Metrics {
    /// As it was written: this engine does not tidy units.
    pub unit: String,
    /// All values.
    pub values: Vec<f64>,
    /// Without outliers.
    pub kept: Kept,
}

/// Numbers of column, group, benchmark and unit.
pub(super) type Key = (usize, usize, usize, usize);

/// Results, column by column.
#[derive(Debug, Default)]
pub struct Collection {
    pub(super) configs: Vec<String>,
    pub(super) groups: Names,
    pub(super) units: Names,
    names: Names,
    /// Benchmarks of each group.
    pub(super) benchmarks: Vec<Vec<usize>>,
    pub(super) values: HashMap<Key, Vec<f64>>,
}

/// Names in order of appearance.
#[derive(Debug, Default)]
pub(super) struct Names {
    pub(super) list: Vec<String>,
    numbers: HashMap<String, usize>,
}

impl Names {
    fn number(&mut self, name: &str) -> usize {
        if let Some(&number) = self.numbers.get(name) {
            return number;
        }
        self.list.push(name.to_owned());
        self.numbers.insert(name.to_owned(), self.list.len() - 1);
        self.list.len() - 1
    }

    pub(super) fn get(&self, number: usize) -> &str {
        self.list.get(number).map_or("", String::as_str)
    }
}

impl Collection {
    /// Nothing yet.
    #[must_use]
    pub fn new() -> Collection {
        Collection::default()
    }

    /// Begins a column; results go to the column begun last.
    pub fn config(&mut self, title: impl Into<String>) {
        self.configs.push(title.into());
    }

    /// Adds a result as it stands in a file: `BenchmarkX 10 5 ns/op`. What is no result is passed over, as are values that are no numbers. `group` is empty, or says what splits
    /// tables (see [`Collection::group`]).
    pub fn add_line(&mut self, group: &str, line: &str) {
        let mut words = line.split_whitespace();
        let Some(name) = words.next().and_then(|word| word.strip_prefix("Benchmark")) else { return };
        let Some(count) = words.next() else { return };
        let pairs: Vec<&str> = words.collect();
        // A count out of range is used as the largest there is, as by the reference: it only has to differ from zero.
        let zero = matches!(parse_int(count.as_bytes()), Ok(0))
            || !count.trim_start_matches(['+', '-']).bytes().all(|b| b.is_ascii_digit())
            || count.trim_start_matches(['+', '-']).is_empty();
        if zero || pairs.len() < 2 {
            return;
        }
        for pair in pairs.chunks_exact(2) {
            if let [value, unit] = pair
                && let Ok(value) = parse_float(value.as_bytes())
            {
                self.add(group, name, unit, value);
            }
        }
    }

    /// Adds a value of the benchmark `name` (without `Benchmark`).
    pub fn add(&mut self, group: &str, name: &str, unit: &str, value: f64) {
        let Some(config) = self.configs.len().checked_sub(1) else { return };
        // Columns of the same title are one.
        let config = self.configs.get(config).and_then(|title| self.configs.iter().position(|other| other == title)).unwrap_or(config);
        let (group, unit, name) = (self.groups.number(group), self.units.number(unit), self.names.number(name));
        let key = (config, group, name, unit);
        self.values.entry(key).or_default().push(value);
        self.benchmarks.resize_with(self.benchmarks.len().max(group + 1), Vec::new);
        if let Some(benchmarks) = self.benchmarks.get_mut(group)
            && !benchmarks.contains(&name)
        {
            benchmarks.push(name);
        }
    }

    /// The group of a result that tables are split by: `label:value` for each label that has a value. `label` looks labels up, those of the name first.
    #[must_use]
    pub fn group<'l>(split_by: &[&str], label: impl Fn(&str) -> Option<&'l str>) -> String {
        let parts = split_by.iter().filter_map(|name| label(name).filter(|value| !value.is_empty()).map(|value| format!("{name}:{value}")));
        parts.collect::<Vec<_>>().join(" ")
    }

    /// Titles of the columns.
    #[must_use]
    pub fn configs(&self) -> &[String] {
        &self.configs
    }

    pub(super) fn name(&self, number: usize) -> &str {
        self.names.get(number)
    }

    pub(super) fn metrics(&self, key: Key) -> Option<Metrics> {
        let values = self.values.get(&key)?;
        Some(Metrics { unit: self.units.get(key.3).to_owned(), values: values.clone(), kept: Kept::of(values) })
    }
}
