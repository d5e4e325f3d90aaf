//! Tables for programs. Numbers that are none, and infinities, are `null`; every value is there, so that anything can be computed again.

use std::borrow::Cow;
use std::io::{self, Write};

use serde::ser::SerializeMap as _;
use serde::{Serialize, Serializer};

use super::lossy;
use super::model::{Base, Cell, Column, ColumnSummary, Field, Row, Table, Tables};
use crate::gate::Report;
use crate::math::sample::{Assumption, Better};

/// The form's version: goes up when something changes its meaning or goes away.
const VERSION: u32 = 1;

/// Writes all tables, and what the gate said.
///
/// # Errors
/// Writing fails.
pub fn write(tables: &Tables, gate: Option<&Report>, out: &mut dyn Write) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut *out, &Document::of(tables, gate))?;
    out.write_all(b"\n")
}

/// All tables as something to serialize.
#[derive(Debug, Serialize)]
pub struct Document<'t> {
    version: u32,
    alpha: f64,
    confidence: f64,
    tables: Vec<JsonTable<'t>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    gate: Option<&'t Report>,
}

impl<'t> Document<'t> {
    /// Of tables, and what the gate said.
    #[must_use]
    pub fn of(tables: &'t Tables, gate: Option<&'t Report>) -> Document<'t> {
        Document {
            version: VERSION,
            alpha: tables.thresholds.alpha,
            confidence: tables.thresholds.confidence,
            tables: tables.tables.iter().map(JsonTable::of).collect(),
            gate,
        }
    }
}

#[derive(Debug, Serialize)]
struct JsonTable<'t> {
    config: Fields<'t>,
    unit: Cow<'t, str>,
    better: &'static str,
    assume: &'static str,
    columns: Vec<Labelled<'t>>,
    rows: Vec<JsonRow<'t>>,
    geomean: Vec<JsonSummary<'t>>,
}

#[derive(Debug, Serialize)]
struct Labelled<'t> {
    label: String,
    fields: Fields<'t>,
}

#[derive(Debug, Serialize)]
struct JsonRow<'t> {
    #[serde(flatten)]
    head: Labelled<'t>,
    cells: Vec<Option<JsonCell<'t>>>,
}

#[derive(Debug, Serialize)]
struct JsonCell<'t> {
    center: f64,
    low: f64,
    high: f64,
    confidence: f64,
    n: usize,
    values: &'t [f64],
    warnings: Vec<&'t str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    vs_base: Option<JsonBase<'t>>,
}

#[derive(Debug, Serialize)]
struct JsonBase<'t> {
    change: Option<f64>,
    delta: String,
    p: f64,
    n_base: usize,
    significant: bool,
    verdict: &'static str,
    warnings: &'t [String],
}

#[derive(Debug, Serialize)]
struct JsonSummary<'t> {
    center: Option<f64>,
    ratio: Option<f64>,
    warnings: &'t [String],
}

/// Fields in their order.
#[derive(Debug)]
struct Fields<'t>(&'t [Field]);

impl Serialize for Fields<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for field in self.0 {
            map.serialize_entry(&lossy(&field.name), &lossy(&field.value))?;
        }
        map.end()
    }
}

fn labelled<'t>(label: &[u8], fields: &'t [Field]) -> Labelled<'t> {
    Labelled { label: lossy(label).into_owned(), fields: Fields(fields) }
}

impl<'t> JsonTable<'t> {
    fn of(table: &'t Table) -> JsonTable<'t> {
        JsonTable {
            config: Fields(&table.fields),
            unit: lossy(&table.unit),
            better: match table.better {
                Better::Higher => "higher",
                Better::Lower => "lower",
                Better::Unknown => "unknown",
            },
            assume: match table.assumption {
                Assumption::Nothing => "nothing",
                Assumption::Exact => "exact",
            },
            columns: table.columns.iter().map(|column: &Column| labelled(&column.label(), &column.fields)).collect(),
            rows: table.rows.iter().map(|row| row_of(table, row)).collect(),
            geomean: table.summary.iter().map(|ColumnSummary { center, ratio, warnings }| JsonSummary { center: *center, ratio: *ratio, warnings }).collect(),
        }
    }
}

fn row_of<'t>(table: &'t Table, row: &'t Row) -> JsonRow<'t> {
    let cell = |cell: &'t Cell| JsonCell {
        center: cell.summary.center,
        low: cell.summary.low,
        high: cell.summary.high,
        confidence: cell.summary.confidence,
        n: cell.sample.len(),
        values: cell.sample.values(),
        warnings: cell.warnings.iter().chain(&cell.summary.warnings).map(String::as_str).collect(),
        vs_base: cell.base.as_ref().map(|base: &Base| JsonBase {
            change: cell.change(),
            delta: cell.delta().unwrap_or_default(),
            p: base.comparison.p.min(1.0),
            n_base: base.comparison.n1,
            significant: base.comparison.significant(),
            verdict: cell.verdict(table.better).map_or("same", |verdict| verdict.word()),
            warnings: &base.comparison.warnings,
        }),
    };
    JsonRow { head: labelled(&row.label(), &row.fields), cells: row.cells.iter().map(|c| c.as_ref().map(cell)).collect() }
}
