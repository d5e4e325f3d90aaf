//! What is shown.

use std::sync::Arc;

use protocol_benchfmt::{Class, Scaler};

use crate::math::sample::{Assumption, Better, Comparison, Sample, Summary, Thresholds, Verdict};

/// All tables, in order.
#[derive(Debug, Clone, PartialEq)]
pub struct Tables {
    /// The tables.
    pub tables: Vec<Table>,
    /// What was asked for.
    pub thresholds: Thresholds,
}

/// A configuration key and its value in a table, or one field of a column or row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    /// The key.
    pub name: Arc<[u8]>,
    /// Its value; empty if it is not set.
    pub value: Box<[u8]>,
}

/// One unit of one configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct Table {
    /// What makes this table differ from others; the same fields in every table.
    pub fields: Vec<Field>,
    /// The tidied unit.
    pub unit: Box<[u8]>,
    /// Its prefixes.
    pub class: Class,
    /// Which way it is better.
    pub better: Better,
    /// What is assumed of its values.
    pub assumption: Assumption,
    /// The columns; the first is the base of the others.
    pub columns: Vec<Column>,
    /// The rows.
    pub rows: Vec<Row>,
    /// One per column.
    pub summary: Vec<ColumnSummary>,
}

/// The head of a column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// One per field of the projection.
    pub fields: Vec<Field>,
}

impl Column {
    /// Values that are not empty, joined.
    #[must_use]
    pub fn label(&self) -> Vec<u8> {
        joined(&self.fields)
    }
}

/// A benchmark in all columns.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// One per field of the projection.
    pub fields: Vec<Field>,
    /// One per column.
    pub cells: Vec<Option<Cell>>,
}

impl Row {
    /// Values that are not empty, joined.
    #[must_use]
    pub fn label(&self) -> Vec<u8> {
        joined(&self.fields)
    }

    /// One scale for all of the row.
    #[must_use]
    pub fn scaler(&self, class: Class) -> Scaler {
        Scaler::common(self.cells.iter().flatten().map(|cell| cell.summary.center), class)
    }
}

fn joined(fields: &[Field]) -> Vec<u8> {
    let values: Vec<&[u8]> = fields.iter().map(|field| &*field.value).filter(|value| !value.is_empty()).collect();
    values.join(&b' ')
}

/// One benchmark in one column.
#[derive(Debug, Clone, PartialEq)]
pub struct Cell {
    /// The measurements.
    pub sample: Sample,
    /// What is wrong with the sample as such: results that differ in more than the table shows.
    pub warnings: Vec<String>,
    /// Center and interval.
    pub summary: Summary,
    /// Compared with the first column, if that has this benchmark.
    pub base: Option<Base>,
}

/// A cell compared with its base.
#[derive(Debug, Clone, PartialEq)]
pub struct Base {
    /// The base's center.
    pub center: f64,
    /// The test.
    pub comparison: Comparison,
}

impl Cell {
    /// What the difference to the base means.
    #[must_use]
    pub fn verdict(&self, better: Better) -> Option<Verdict> {
        self.base.as_ref().map(|base| base.comparison.verdict(base.center, self.summary.center, better))
    }

    /// The difference as text: `-7.50%`, `~`.
    #[must_use]
    pub fn delta(&self) -> Option<String> {
        self.base.as_ref().map(|base| base.comparison.delta(base.center, self.summary.center))
    }

    /// The relative difference of the centers, significant or not; `None` without base or if the base is zero.
    #[must_use]
    pub fn change(&self) -> Option<f64> {
        let base = self.base.as_ref().map(|base| base.center)?;
        if base == self.summary.center { Some(0.0) } else { Some(self.summary.center / base - 1.0).filter(|_| base != 0.0) }
    }
}

/// The row `geomean`.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ColumnSummary {
    /// Geometric mean of the centers.
    pub center: Option<f64>,
    /// Geometric mean of the ratios to the base.
    pub ratio: Option<f64>,
    /// What to know about it.
    pub warnings: Vec<String>,
}
