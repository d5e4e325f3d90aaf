//! From results to tables.

use std::num::NonZero;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use protocol_benchfmt::{Units, unit};

use super::model::{Base, Cell, Column, ColumnSummary, Field, Row, Table, Tables};
use crate::gather::Gathered;
use crate::math::elementary::geomean;
use crate::math::sample::{Assumption, Comparison, Sample, Summary, Thresholds};
use crate::proc::layout::{KeyId, Layout};
use crate::proc::{Filter, Kept, NumberMap, Subject, UnitNames};

/// How tables are computed.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    /// Significance and confidence.
    pub thresholds: Thresholds,
    /// Threads; `None`: as many as there are processors.
    pub threads: Option<NonZero<usize>>,
}

/// Puts results into cells.
///
/// ```
/// use burrow_benchstat::{Builder, Filter, Layout, Projections, Setting, Subject, UnitNames, table};
///
/// let mut filter = Filter::new("*")?;
/// let layout = Layout::new(&Projections { col: "toolchain", ..Projections::default() }, &mut filter)?;
/// let mut builder = Builder::new(layout, filter);
/// for (toolchain, time) in [("old", 2e-6), ("old", 2.1e-6), ("new", 1e-6)] {
///     let config = [Setting { key: b"toolchain"[..].into(), value: toolchain.as_bytes().into(), from_file: true }];
///     let units = [UnitNames { tidied: b"sec/op", written: b"ns/op" }];
///     builder.add(&Subject { name: b"Sort", config: &config, units: &units }, &[time]);
/// }
/// let tables = builder.tables(&protocol_benchfmt::Units::new(), &table::Options::default());
/// assert_eq!(tables.tables[0].columns.len(), 2);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Builder {
    layout: Layout,
    filter: Filter,
    /// By key of the table, in order of appearance.
    tables: Vec<Building>,
    places: NumberMap<KeyId, usize>,
    targets: Vec<(usize, KeyId)>,
}

#[derive(Debug, Default)]
struct Building {
    key: Option<KeyId>,
    cells: NumberMap<(KeyId, KeyId), usize>,
    samples: Vec<Collected>,
}

#[derive(Debug)]
struct Collected {
    row: KeyId,
    col: KeyId,
    values: Vec<f64>,
    residue: KeyId,
    /// Other ones that came; there rarely are any, so that a cell rarely needs room for them.
    more_residues: Vec<KeyId>,
}

impl Builder {
    /// Nothing yet. The filter is the one that the layout was made with: fixed lists are in it.
    #[must_use]
    pub fn new(layout: Layout, filter: Filter) -> Builder {
        Builder { layout, filter, tables: Vec::new(), places: NumberMap::default(), targets: Vec::new() }
    }

    /// Adds one result; `values` are those of `subject.units`.
    pub fn add(&mut self, subject: &Subject<'_>, values: &[f64]) {
        let mut columns: Vec<Vec<f64>> = values.iter().map(|value| vec![*value]).collect();
        self.add_all(subject, &mut columns);
    }

    /// Adds what one reader gathered. `units` are that reader's.
    pub fn add_gathered(&mut self, gathered: Gathered, units: &Units) {
        let mut names = Vec::new();
        for mut shape in gathered.shapes {
            names.clear();
            names.extend(shape.units.iter().map(|&(tidied, written)| UnitNames { tidied: units.text(tidied), written: units.text(written) }));
            let config = gathered.configs.get(shape.config as usize).map_or(&[][..], Vec::as_slice);
            self.add_all(&Subject { name: &shape.name, config, units: &names }, &mut shape.columns);
        }
    }

    fn add_all(&mut self, subject: &Subject<'_>, columns: &mut [Vec<f64>]) {
        let kept = self.filter.apply(subject);
        let keep = |i: usize| match &kept {
            Kept::All => true,
            Kept::Nothing => false,
            Kept::Some(mask) => mask.get(i).copied().unwrap_or(false),
        };
        if kept == Kept::Nothing {
            return;
        }
        let mut targets = std::mem::take(&mut self.targets);
        let (row, col, residue) = self.layout.project(subject, keep, &mut targets);
        for &(i, key) in &targets {
            let place = *self.places.entry(key).or_insert_with(|| {
                self.tables.push(Building { key: Some(key), ..Building::default() });
                self.tables.len() - 1
            });
            let (Some(table), Some(values)) = (self.tables.get_mut(place), columns.get_mut(i)) else { continue };
            let at = *table.cells.entry((row, col)).or_insert_with(|| {
                table.samples.push(Collected { row, col, values: Vec::new(), residue, more_residues: Vec::new() });
                table.samples.len() - 1
            });
            if let Some(cell) = table.samples.get_mut(at) {
                if cell.values.is_empty() {
                    cell.values = std::mem::take(values);
                } else {
                    cell.values.append(values);
                }
                if cell.residue != residue && !cell.more_residues.contains(&residue) {
                    cell.more_residues.push(residue);
                }
            }
        }
        self.targets = targets;
    }

    /// Whether nothing was added.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tables.is_empty()
    }

    /// Summarises and compares. `units` say what is assumed and what is better; they are looked at now, because their lines may come after the results.
    #[must_use]
    pub fn tables(mut self, units: &Units, options: &Options) -> Tables {
        let mut keys: Vec<KeyId> = self.tables.iter().filter_map(|table| table.key).collect();
        self.layout.table.sort(&mut keys, &self.layout.strings);
        let mut tables = Vec::with_capacity(keys.len());
        for key in keys {
            let Some(building) = self.places.get(&key).and_then(|&place| self.tables.get_mut(place)) else { continue };
            let building = std::mem::take(building);
            tables.push(self.table(key, building, units));
        }
        let threads = options.threads.or_else(|| std::thread::available_parallelism().ok()).map_or(1, NonZero::get);
        compute(&mut tables, &options.thresholds, threads);
        tables.iter_mut().for_each(summarise);
        Tables { tables, thresholds: options.thresholds }
    }

    /// The table, its cells filled with samples and nothing computed.
    fn table(&self, key: KeyId, building: Building, units: &Units) -> Table {
        let Layout { table, row, col, residue, strings, .. } = &self.layout;
        let fields = |names: &[Arc<[u8]>], values: Vec<&[u8]>| {
            names.iter().zip(values).map(|(name, value)| Field { name: Arc::clone(name), value: value.into() }).collect::<Vec<_>>()
        };
        let distinct = |key: fn(&Collected) -> KeyId| {
            let mut seen = NumberMap::default();
            building.samples.iter().map(key).filter(|key| seen.insert(*key, ()).is_none()).collect::<Vec<_>>()
        };
        let (mut rows, mut cols) = (distinct(|cell| cell.row), distinct(|cell| cell.col));
        row.sort(&mut rows, strings);
        col.sort(&mut cols, strings);
        let place = |keys: &[KeyId]| keys.iter().enumerate().map(|(i, &key)| (key, i)).collect::<NumberMap<_, _>>();
        let (row_places, col_places) = (place(&rows), place(&cols));
        let (row_names, col_names) = (row.names(), col.names());
        let columns: Vec<Column> = cols.iter().map(|&key| Column { fields: fields(&col_names, col.values(key, strings)) }).collect();
        let mut body: Vec<Row> =
            rows.iter().map(|&key| Row { fields: fields(&row_names, row.values(key, strings)), cells: vec![None; columns.len()] }).collect();
        for cell in building.samples {
            let place =
                row_places.get(&cell.row).and_then(|&row| body.get_mut(row)).zip(col_places.get(&cell.col)).and_then(|(row, &col)| row.cells.get_mut(col));
            if let Some(place) = place {
                let varying: Vec<_> = residue.varying(cell.residue, &cell.more_residues).iter().map(|name| super::lossy(name).into_owned()).collect();
                let warnings = if varying.is_empty() { Vec::new() } else { vec![format!("benchmarks vary in {}", varying.join(", "))] };
                let empty = Summary { center: f64::NAN, low: f64::NAN, high: f64::NAN, confidence: f64::NAN, warnings: Vec::new() };
                *place = Some(Cell { sample: Sample::unsorted(cell.values), warnings, summary: empty, base: None });
            }
        }
        let unit_text = table.unit(key, strings);
        Table {
            fields: fields(&table.names(), table.values(key, strings)),
            unit: unit_text.into(),
            class: unit::class(unit_text),
            better: units.better(unit_text),
            assumption: units.assumption(unit_text),
            columns,
            rows: body,
            summary: Vec::new(),
        }
    }
}

/// Computes all cells, rows shared out among threads.
fn compute(tables: &mut [Table], thresholds: &Thresholds, threads: usize) {
    /// Rows that a thread takes at a time: samples may be of very different sizes.
    const PORTION: usize = 64;
    let mut work: Vec<(Assumption, &mut [Row])> = Vec::new();
    for table in tables {
        let assumption = table.assumption;
        work.extend(table.rows.chunks_mut(PORTION).map(|rows| (assumption, rows)));
    }
    let threads = threads.min(work.len());
    if threads <= 1 {
        work.into_iter().for_each(|(assumption, rows)| rows.iter_mut().for_each(|row| compute_row(row, assumption, thresholds)));
        return;
    }
    let next = AtomicUsize::new(0);
    let portions: Vec<_> = work.into_iter().map(|portion| std::sync::Mutex::new(Some(portion))).collect();
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(portion) = portions.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if let Some((assumption, rows)) = portion.lock().ok().and_then(|mut portion| portion.take()) {
                        rows.iter_mut().for_each(|row| compute_row(row, assumption, thresholds));
                    }
                }
            });
        }
    });
}

fn compute_row(row: &mut Row, assumption: Assumption, thresholds: &Thresholds) {
    for cell in row.cells.iter_mut().flatten() {
        cell.sample.sort();
        cell.summary = Summary::of(&cell.sample, assumption, thresholds.confidence);
    }
    let Some((Some(base), others)) = row.cells.split_first_mut() else { return };
    for cell in others.iter_mut().flatten() {
        let comparison = Comparison::of(&base.sample, &cell.sample, assumption, thresholds.alpha);
        cell.base = Some(Base { center: base.summary.center, comparison });
    }
}

/// The row of geometric means: of the ratios, not the ratio of the means, so that it stays meaningful when columns have different benchmarks (spec §5.4).
fn summarise(table: &mut Table) {
    let bases = table.rows.iter().filter(|row| matches!(row.cells.first(), Some(Some(_)))).count();
    let column = |number: usize| {
        let cells = || table.rows.iter().filter_map(move |row| row.cells.get(number)?.as_ref());
        let mut summary = ColumnSummary::default();
        let ratio = |cell: &Cell| {
            let base = cell.base.as_ref()?.center;
            Some(if cell.summary.center == base {
                Some(1.0)
            } else if base == 0.0 {
                None
            } else {
                Some(cell.summary.center / base)
            })
        };
        let ratios: Vec<Option<f64>> = cells().filter_map(ratio).collect();
        if number > 0 && ratios.len() != bases {
            summary.warnings.push("benchmark set differs from baseline; geomeans may not be comparable".to_owned());
        }
        summary.center = geomean(cells().map(|cell| cell.summary.center));
        if summary.center.is_none() {
            summary.warnings.push("summaries must be >0 to compute geomean".to_owned());
        }
        if number > 0
            && let Some(ratios) = ratios.into_iter().collect::<Option<Vec<f64>>>()
        {
            summary.ratio = geomean(ratios);
            if summary.ratio.is_none() {
                summary.warnings.push("ratios must be >0 to compute geomean".to_owned());
            }
        }
        summary
    };
    table.summary = (0..table.columns.len()).map(column).collect();
}
