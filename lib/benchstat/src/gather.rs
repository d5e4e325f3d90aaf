//! Collecting measurements while reading, as fast as lines can be read: results that differ in nothing but their numbers share a [`Shape`], whose key is found by guessing
//! that lines come in the same order as before. Filters and projections look at shapes, not at lines; files are gathered side by side and put together in order.

use std::collections::HashMap;

use protocol_benchfmt::{Config, ResultLine, UnitId};
use xxhash_rust::xxh3::xxh3_64;

use crate::proc::{NumberMap, Setting};

/// Results of one reader that have name, configuration and units in common.
#[derive(Debug)]
pub(crate) struct Shape {
    pub(crate) name: Box<[u8]>,
    /// Number of the configuration.
    pub(crate) config: u32,
    /// Tidied and written unit of each measurement.
    pub(crate) units: Box<[(UnitId, UnitId)]>,
    /// Which shape came after this one the last time.
    successor: u32,
    /// Another shape of the same hash.
    next: u32,
    /// Values of each unit, as far as they came in runs.
    pub(crate) columns: Vec<Vec<f64>>,
    /// Results that came for themselves, after those of `columns`.
    scattered: usize,
}

/// No shape.
const NONE: u32 = u32::MAX;
/// So many results of one shape, one after the other, are worth being put into its columns at once.
const RUN: usize = 4;
/// Values that wait for the end of their run, at most: they are to stay in the processor's cache.
const WAITING: usize = 4096;

/// The results of one reader. Repetitions that come one after the other go straight to the columns of their shape; others are kept in the order of the lines, beside
/// the number of the shape, until the end: growing a list per benchmark by one value at a time would cost more than reading the lines.
#[derive(Debug)]
pub struct Gather {
    /// Zeros and infinities keep the unit they were written in, as in the reference (spec §3).
    untidied_zeros: bool,
    configs: Vec<Vec<Setting>>,
    config_numbers: HashMap<Vec<Setting>, u32>,
    generation: Option<u64>,
    config: u32,
    shapes: Vec<Shape>,
    results: usize,
    /// Values of the last results, all of the shape `last`, and how many results they are.
    run: Vec<f64>,
    run_results: usize,
    order: Vec<u32>,
    values: Vec<f64>,
    heads: NumberMap<u64, u32>,
    last: u32,
    units: Vec<(UnitId, UnitId)>,
}

impl Gather {
    /// Nothing yet. `untidied_zeros` reproduces a quirk of the reference.
    #[must_use]
    pub fn new(untidied_zeros: bool) -> Gather {
        Gather {
            untidied_zeros,
            configs: Vec::new(),
            config_numbers: HashMap::new(),
            generation: None,
            config: 0,
            shapes: Vec::new(),
            results: 0,
            run: Vec::new(),
            run_results: 0,
            order: Vec::new(),
            values: Vec::new(),
            heads: NumberMap::default(),
            last: NONE,
            units: Vec::new(),
        }
    }

    /// Adds a result. All results of one `Gather` come from one reader: configuration and units are compared by number.
    pub fn add(&mut self, result: &ResultLine<'_>) {
        if self.generation != Some(result.config.generation()) {
            self.config = self.config_number(result.config);
            self.generation = Some(result.config.generation());
        }
        let name = result.name.full();
        let untidied = self.untidied_zeros;
        let names = |value: &protocol_benchfmt::Value| {
            let tidied = if untidied { value.as_the_reference().1 } else { value.unit };
            (tidied, value.original_unit)
        };
        let config = self.config;
        let same = |shape: &Shape| {
            shape.config == config
                && *shape.name == *name
                && shape.units.len() == result.values.len()
                && shape.units.iter().zip(result.values).all(|(units, value)| *units == names(value))
        };
        // Repetitions come one after the other, or a whole suite comes again.
        let guess = |at: u32| self.shapes.get(at as usize).filter(|shape| same(shape)).map(|_| at);
        let successor = self.shapes.get(self.last as usize).map_or(NONE, |shape| shape.successor);
        let found = guess(self.last).or_else(|| guess(successor)).unwrap_or_else(|| {
            self.units.clear();
            self.units.extend(result.values.iter().map(names));
            self.find(name)
        });
        if self.last != found || self.run.len() >= WAITING {
            self.end_run();
            if let Some(shape) = self.shapes.get_mut(self.last as usize).filter(|_| self.last != found) {
                shape.successor = found;
            }
            self.last = found;
        }
        self.results += 1;
        self.run_results += 1;
        self.run.extend(result.values.iter().map(|value| value.value));
    }

    /// Puts away what came of the last shape.
    fn end_run(&mut self) {
        let Some(shape) = self.shapes.get_mut(self.last as usize) else { return };
        if self.run_results < RUN || shape.scattered > 0 {
            shape.scattered += self.run_results;
            self.order.extend(std::iter::repeat_n(self.last, self.run_results));
            self.values.append(&mut self.run);
        } else {
            let width = shape.units.len();
            shape.columns.resize_with(width, Vec::new);
            for (unit, column) in shape.columns.iter_mut().enumerate() {
                column.extend(self.run.iter().skip(unit).step_by(width));
            }
            self.run.clear();
        }
        self.run_results = 0;
    }

    /// The shape of this name with the present configuration and units, by hash.
    fn find(&mut self, name: &[u8]) -> u32 {
        let units = self.units.iter().fold(u64::from(self.config), |hash, (tidied, written)| {
            (hash ^ ((tidied.index() as u64) << 32) ^ written.index() as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(23)
        });
        let hash = xxh3_64(name) ^ units;
        let head = self.heads.get(&hash).copied().unwrap_or(NONE);
        let mut at = head;
        while let Some(shape) = self.shapes.get(at as usize) {
            if shape.config == self.config && *shape.name == *name && *shape.units == *self.units {
                return at;
            }
            at = shape.next;
        }
        let number = u32::try_from(self.shapes.len()).unwrap_or(NONE);
        self.shapes.push(Shape {
            name: name.into(),
            config: self.config,
            units: self.units.as_slice().into(),
            successor: NONE,
            next: head,
            columns: Vec::new(),
            scattered: 0,
        });
        self.heads.insert(hash, number);
        number
    }

    fn config_number(&mut self, config: &Config) -> u32 {
        let setting = |entry: &protocol_benchfmt::Entry| Setting { key: entry.key().into(), value: entry.value().into(), from_file: entry.from_file() };
        let settings: Vec<Setting> = config.entries().iter().map(setting).collect();
        if let Some(&number) = self.config_numbers.get(&settings) {
            return number;
        }
        let number = u32::try_from(self.configs.len()).unwrap_or(u32::MAX);
        self.configs.push(settings.clone());
        self.config_numbers.insert(settings, number);
        number
    }

    /// How many results there are.
    #[must_use]
    pub fn results(&self) -> usize {
        self.results
    }

    /// Puts the values of each shape together, unit by unit.
    #[must_use]
    pub fn sorted(mut self) -> Gathered {
        self.end_run();
        for shape in self.shapes.iter_mut().filter(|shape| shape.scattered > 0) {
            shape.columns.resize_with(shape.units.len(), Vec::new);
            shape.columns.iter_mut().for_each(|column| column.reserve_exact(shape.scattered));
        }
        let mut values = self.values.into_iter();
        for number in self.order {
            let Some(shape) = self.shapes.get_mut(number as usize) else { continue };
            shape.columns.iter_mut().zip(&mut values).for_each(|(column, value)| column.push(value));
        }
        Gathered { configs: self.configs, shapes: self.shapes }
    }
}

/// What was gathered, shape by shape in the order of appearance.
#[derive(Debug)]
pub struct Gathered {
    pub(crate) configs: Vec<Vec<Setting>>,
    /// Each shape, with its values.
    pub(crate) shapes: Vec<Shape>,
}
