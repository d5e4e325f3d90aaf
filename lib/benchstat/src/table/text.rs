//! Tables for the terminal: byte for byte what the reference prints.

use std::collections::HashMap;
use std::io::{self, Write};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use protocol_benchfmt::scale;

use super::grid::{Align, Grid, Margin};
use super::model::{Column, Table, Tables};
use crate::math::number::{signed_percent, superscript};

/// Columns of the grid that a column of the table takes: center, range, warnings; and but for the first: delta, test, warnings.
const CENTER: usize = 3;
const DELTA: usize = 3;
/// Rows from which on threads are worth their start.
const WORTH_A_THREAD: usize = 500;

/// Writes all tables. `unclamped` shows p-values above 1 as they are.
///
/// # Errors
/// Writing fails.
pub fn write(tables: &Tables, out: &mut dyn Write, unclamped: bool) -> io::Result<()> {
    let mut texts = rendered(tables, unclamped).into_iter();
    heads(
        tables,
        out,
        |out, head| {
            out.write_all(head)?;
            out.write_all(b"\n")
        },
        |out, _| out.write_all(&texts.next().unwrap_or_default()),
    )
}

/// The tables, laid out side by side if there are several.
fn rendered(tables: &Tables, unclamped: bool) -> Vec<Vec<u8>> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(tables.tables.len());
    if threads < 2 || tables.tables.iter().map(|table| table.rows.len()).sum::<usize>() < WORTH_A_THREAD {
        return tables.tables.iter().map(|table| render(table, unclamped)).collect();
    }
    let next = AtomicUsize::new(0);
    let texts: Vec<Mutex<Vec<u8>>> = tables.tables.iter().map(|_| Mutex::default()).collect();
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let (Some(table), Some(place)) = (tables.tables.get(number), texts.get(number)) else { return };
                    let text = render(table, unclamped);
                    if let Ok(mut place) = place.lock() {
                        *place = text;
                    }
                }
            });
        }
    });
    texts.into_iter().map(|text| text.into_inner().unwrap_or_default()).collect()
}

/// What stands between tables: an empty line, then the fields whose values changed. `out` is handed through.
pub(super) fn heads<T: ?Sized>(
    tables: &Tables,
    out: &mut T,
    mut head: impl FnMut(&mut T, &[u8]) -> io::Result<()>,
    mut body: impl FnMut(&mut T, &Table) -> io::Result<()>,
) -> io::Result<()> {
    let mut before: Option<&Table> = None;
    for table in &tables.tables {
        if before.is_some() {
            head(out, b"")?;
        }
        for (i, field) in table.fields.iter().enumerate() {
            let changed = before.is_none_or(|before| before.fields.get(i) != Some(field));
            if changed {
                head(out, &[&field.name, &b": "[..], &field.value].concat())?;
            }
        }
        before = Some(table);
        body(out, table)?;
    }
    Ok(())
}

/// First grid column of a column.
fn start(column: usize) -> usize {
    match column {
        0 => 1,
        column => 1 + CENTER + (column - 1) * (CENTER + DELTA),
    }
}

/// Warnings below the table, numbered as they come.
#[derive(Default)]
struct Footnotes<'t> {
    numbers: HashMap<&'t str, usize>,
    texts: Vec<&'t str>,
}

impl<'t> Footnotes<'t> {
    fn marks(&mut self, warnings: impl IntoIterator<Item = &'t String>) -> String {
        let mut marks = Vec::new();
        for warning in warnings {
            let number = *self.numbers.entry(warning).or_insert_with(|| {
                self.texts.push(warning);
                self.texts.len()
            });
            marks.push(superscript(number));
        }
        marks.join(" ")
    }
}

fn render(table: &Table, unclamped: bool) -> Vec<u8> {
    let mut grid = Grid::default();
    let mut notes = Footnotes::default();
    head(&mut grid, table);
    for row in &table.rows {
        grid.row();
        grid.cell(row.label(), Align::Left);
        let scaler = row.scaler(table.class);
        for (number, cell) in row.cells.iter().enumerate() {
            let Some(cell) = cell else { continue };
            grid.at(start(number)).cell(scaler.format(cell.summary.center), Align::Right);
            // The sign is the margin, so that signs stand in line and the mean below stands under the centers.
            grid.span(1, cell.summary.percent_range(), Align::Right, Margin::PLUS_MINUS);
            grid.cell(notes.marks(cell.warnings.iter().chain(&cell.summary.warnings)), Align::Left);
            if let (Some(base), Some(delta)) = (&cell.base, cell.delta()) {
                grid.cell(delta, Align::Right);
                grid.cell(format!("({})", base.comparison.note(unclamped)), Align::Left);
                grid.cell(notes.marks(&base.comparison.warnings), Align::Left);
            }
        }
    }
    if table.rows.len() > 1 {
        grid.row();
        grid.cell("geomean", Align::Left);
        for (number, summary) in table.summary.iter().enumerate() {
            if let Some(center) = summary.center {
                grid.at(start(number)).cell(scale(center, table.class), Align::Right);
            }
            if number > 0 {
                let (text, align) = match summary.ratio {
                    Some(ratio) => (signed_percent((ratio - 1.0) * 100.0), Align::Right),
                    None => ("?".to_owned(), Align::Left),
                };
                grid.at(start(number) + CENTER).cell(text, align);
            }
            grid.at(start(number + 1) - 1).cell(notes.marks(&summary.warnings), Align::Left);
        }
    }
    let mut out = grid.render();
    for (i, text) in notes.texts.iter().enumerate() {
        out.extend_from_slice(format!("{} {text}\n", superscript(i + 1)).as_bytes());
    }
    out
}

/// One line per field of the columns, then the line with the unit.
fn head(grid: &mut Grid, table: &Table) {
    let edge = start(table.columns.len() + 1);
    let levels = table.columns.first().map_or(0, |column| column.fields.len());
    for level in 0..levels {
        grid.row();
        for run in runs(&table.columns, level) {
            let text = table.columns.get(run.start).and_then(|column| column.fields.get(level)).map_or(&[][..], |field| &field.value);
            grid.at(start(run.start)).span(start(run.end) - start(run.start), text, Align::Center, Margin::BAR);
        }
        grid.at(edge).span(1, "", Align::Left, Margin::EDGE);
    }
    grid.row();
    for number in 0..table.columns.len() {
        let first = start(number);
        grid.at(first).span(CENTER, &table.unit, Align::Center, Margin::BAR);
        if number > 0 {
            grid.span(DELTA, "vs base", Align::Left, Margin::SPACES);
        }
        let end = grid.col();
        grid.rigid(first + 1..end);
    }
    grid.at(edge).span(1, "", Align::Left, Margin::EDGE);
}

/// Columns next to each other that agree in their fields up to this one.
pub(super) fn runs(columns: &[Column], level: usize) -> Vec<std::ops::Range<usize>> {
    let mut runs: Vec<std::ops::Range<usize>> = Vec::new();
    let prefix = |column: usize| columns.get(column).and_then(|column| column.fields.get(..=level));
    for number in 0..columns.len() {
        match runs.last_mut() {
            Some(run) if prefix(run.start) == prefix(number) => run.end = number + 1,
            _ => runs.push(number..number + 1),
        }
    }
    runs
}
