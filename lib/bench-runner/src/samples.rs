//! What was measured, by benchmark and side.

use std::collections::{BTreeMap, BTreeSet};

use burrow_benchstat::math::ratio::{Bootstrap, ratio_of_medians};
use protocol_benchfmt::ResultLine;

/// A benchmark and a unit.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    package: Vec<u8>,
    name: Vec<u8>,
    unit: Vec<u8>,
}

/// How well the ratio of a side to the base is known.
#[derive(Clone, Debug, PartialEq)]
pub struct Spread {
    /// The benchmark's full name.
    pub name: String,
    /// The part of the name that `go test -bench` chooses by: up to the first `/`, without the number of processors.
    pub base_name: String,
    /// The base unit.
    pub unit: String,
    /// The side, by place in the plan.
    pub side: usize,
    /// The ratio of medians.
    pub ratio: f64,
    /// Half the width of its interval, as a part of the ratio. Infinite if there is none.
    pub half_width: f64,
    /// The smaller number of values.
    pub values: usize,
}

/// Values of every benchmark and unit, for each side.
#[derive(Debug)]
pub struct Samples {
    sides: usize,
    values: BTreeMap<Key, Vec<Vec<f64>>>,
}

impl Samples {
    /// Nothing, of so many sides.
    #[must_use]
    pub fn new(sides: usize) -> Samples {
        Samples { sides, values: BTreeMap::new() }
    }

    /// Adds a line of a side.
    pub fn add(&mut self, side: usize, line: &ResultLine<'_>) {
        for found in line.measurements() {
            let key = Key { package: line.config.get(b"pkg").unwrap_or_default().to_vec(), name: line.name.full().to_vec(), unit: found.unit.to_vec() };
            let sides = self.sides;
            let values = self.values.entry(key).or_insert_with(|| vec![Vec::new(); sides]);
            if let Some(values) = values.get_mut(side) {
                values.push(found.value);
            }
        }
    }

    /// How many benchmarks every side has.
    #[must_use]
    pub fn comparable(&self) -> usize {
        let names: BTreeSet<_> = self.whole().map(|(key, _)| (&key.package, &key.name)).collect();
        names.len()
    }

    fn whole(&self) -> impl Iterator<Item = (&Key, &Vec<Vec<f64>>)> {
        self.values.iter().filter(|(_, sides)| sides.iter().all(|values| !values.is_empty()))
    }

    /// How well each ratio to the first side is known, for the given base units (none: all). What not every side has is left out.
    #[must_use]
    pub fn spreads(&self, units: &[String]) -> Vec<Spread> {
        // Only the width counts here, and it is looked at after every round: fewer resamplings than for a result that is shown.
        let bootstrap = Bootstrap { rounds: 400, ..Bootstrap::default() };
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let mut spreads = Vec::new();
        for (key, sides) in self.whole().filter(|(key, _)| units.is_empty() || units.iter().any(|unit| unit.as_bytes() == key.unit)) {
            let Some((base, others)) = sides.split_first() else { continue };
            for (other, side) in others.iter().zip(1..) {
                let (ratio, half_width) = spread(base, other, &bootstrap);
                let name = protocol_benchfmt::Name(&key.name);
                spreads.push(Spread {
                    name: text(name.full()),
                    base_name: text(name.base()),
                    unit: text(&key.unit),
                    side,
                    ratio,
                    half_width,
                    values: base.len().min(other.len()),
                });
            }
        }
        spreads
    }
}

/// The ratio, and half of its interval's width as a part of it.
fn spread(base: &[f64], other: &[f64], bootstrap: &Bootstrap) -> (f64, f64) {
    // Numbers that do not vary need no interval, and zeros (allocations) have no ratio.
    let constant = |values: &[f64]| values.windows(2).all(|pair| matches!(pair, [a, b] if a == b));
    if constant(base) && constant(other) {
        let ratio = match (base.first(), other.first()) {
            (Some(base), Some(other)) if base != other => other / base,
            _ => 1.0,
        };
        return (ratio, 0.0);
    }
    match ratio_of_medians(base, other, bootstrap) {
        Some(interval) if interval.center != 0.0 => (interval.center, ((interval.high - interval.low) / 2.0 / interval.center).abs()),
        _ => (f64::NAN, f64::INFINITY),
    }
}
