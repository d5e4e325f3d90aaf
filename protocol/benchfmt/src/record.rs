//! What a reader finds: results, unit metadata, and lines that are wrong.

use std::fmt;
use std::sync::Arc;

use crate::config::Config;
use crate::name::Name;
use crate::number::NumberError;
use crate::unit::Class;
use crate::units::{UnitId, UnitMetadata, Units};

/// One finding, in the order of the lines. It borrows from the text and the reader.
#[derive(Debug)]
pub enum Record<'a> {
    /// A benchmark line.
    Result(ResultLine<'a>),
    /// Something new that a `Unit` line says.
    Unit(&'a UnitMetadata),
    /// A line, or a part of one, that is wrong; reading goes on.
    Error(&'a SyntaxError),
}

/// A benchmark line and the configuration in force at it.
#[derive(Clone, Copy, Debug)]
pub struct ResultLine<'a> {
    /// The name, without `Benchmark`.
    pub name: Name<'a>,
    /// How many times it ran.
    pub iters: i64,
    /// What was measured, in order; at least one, and a unit may occur twice.
    pub values: &'a [Value],
    /// The configuration in force.
    pub config: &'a Config,
    /// The table that the units of `values` are numbers of.
    pub units: &'a Units,
    /// The file.
    pub file: &'a Arc<str>,
    /// The line, from 1.
    pub line: u64,
}

impl<'a> ResultLine<'a> {
    /// What was measured, with units as text.
    pub fn measurements(&self) -> impl Iterator<Item = Measurement<'a>> + use<'a> {
        let units = self.units;
        self.values.iter().map(move |value| Measurement {
            value: value.value,
            unit: units.text(value.unit),
            original: value.original,
            original_unit: units.text(value.original_unit),
            class: units.class(value.unit),
        })
    }

    /// The first value in a base unit.
    #[must_use]
    pub fn value(&self, unit: &[u8]) -> Option<f64> {
        let unit = self.units.find(unit)?;
        self.values.iter().find(|value| value.unit == unit).map(|value| value.value)
    }
}

/// A value in its base unit, and as it was written.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Value {
    /// In the base unit.
    pub value: f64,
    /// The base unit.
    pub unit: UnitId,
    /// As it was written.
    pub original: f64,
    /// The unit as it was written.
    pub original_unit: UnitId,
}

impl Value {
    /// Value and unit as the reference's reader gives them: where the number does not change with the unit (0, infinities), it keeps the written unit, so that
    /// `0 ns/op` lands in another table than `1 ns/op`. For output that must be the same; [`Value::unit`] is always the base unit.
    #[must_use]
    pub fn as_the_reference(&self) -> (f64, UnitId) {
        if self.value == self.original { (self.original, self.original_unit) } else { (self.value, self.unit) }
    }
}

/// A [`Value`] with units as text.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Measurement<'a> {
    /// In the base unit.
    pub value: f64,
    /// The base unit.
    pub unit: &'a [u8],
    /// As it was written.
    pub original: f64,
    /// The unit as it was written.
    pub original_unit: &'a [u8],
    /// The class of the base unit.
    pub class: Class,
}

/// Where a file is wrong. Shown as `FILE:LINE: MESSAGE`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{line}: {fault}")]
pub struct SyntaxError {
    /// The file.
    pub file: Arc<str>,
    /// The line, from 1.
    pub line: u64,
    /// What is wrong there.
    pub fault: Fault,
}

/// What is wrong in a line. The words are the reference's, but for the limits, which it has not or does not survive.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// There is nothing behind the name.
    #[error("missing iteration count")]
    MissingIterations,
    /// The second field is no number of iterations.
    #[error("parsing iteration count: {0}")]
    Iterations(NumberError),
    /// There is nothing behind the iterations.
    #[error("missing measurements")]
    MissingMeasurements,
    /// A value is no number.
    #[error("parsing measurement: {0}")]
    Measurement(NumberError),
    /// The last value has no unit.
    #[error("missing units")]
    MissingUnits,
    /// A `Unit` line says nothing.
    #[error("missing unit")]
    MissingUnit,
    /// A word of a `Unit` line is no pair.
    #[error("expected key=value")]
    ExpectedPair,
    /// A `Unit` line contradicts another one.
    #[error("metadata {} of unit {} already set to {}", Text(key), Text(unit), Text(value))]
    Contradiction {
        /// The key.
        key: Box<[u8]>,
        /// The unit, as it is written here.
        unit: Box<[u8]>,
        /// What was said before.
        value: Box<[u8]>,
    },
    /// A line is longer than the limit. It was skipped, whatever it was.
    #[error("line is longer than {limit} bytes; it was skipped")]
    LongLine {
        /// The limit.
        limit: usize,
    },
    /// Keys and values of the configuration are more than the limit. The line was skipped.
    #[error("configuration is larger than {limit} bytes; the line was skipped")]
    LargeConfig {
        /// The limit.
        limit: usize,
    },
    /// Units and what is said about them are more than the limit. The line was skipped.
    #[error("units are more than {limit} bytes together; the line was skipped")]
    ManyUnits {
        /// The limit.
        limit: usize,
    },
}

struct Text<'a>(&'a [u8]);

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(self.0))
    }
}

/// What a reader keeps at most. The text of a line is kept only by a [`crate::Stream`], and only if it comes in pieces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a line, without its end.
    pub line: usize,
    /// Bytes of all keys and values of the configuration in force.
    pub config: usize,
    /// Bytes of all units and their metadata.
    pub units: usize,
}

impl Default for Limits {
    /// 65,535 bytes a line as in the reference; 4 MiB of configuration; 16 MiB of units.
    fn default() -> Limits {
        Limits { line: 65_535, config: 4 << 20, units: 16 << 20 }
    }
}
