//! The units that were met, as numbers, and what is said about them (`spec/perf.md` §2.2).

use std::collections::HashMap;
use std::sync::Arc;

use crate::unit::{self, Class};

/// A unit of a [`Units`]. Units of one table are the same if and only if their numbers are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UnitId(pub(crate) u32);

impl UnitId {
    /// The number: small, and counted from 0 in the order in which units were met.
    #[must_use]
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// Which way is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Better {
    /// Less is better: times, memory.
    Lower,
    /// More is better: throughput.
    Higher,
    /// Nobody said so.
    Unknown,
}

/// What may be assumed about a distribution.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Assumption {
    /// Nothing: medians and rank tests.
    #[default]
    Nothing,
    /// It is a number that does not vary, such as the size of a file.
    Exact,
}

/// One `key=value` of a `Unit` line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnitMetadata {
    /// The base unit that it is said about.
    pub unit: Box<[u8]>,
    /// The unit as it was written.
    pub original_unit: Box<[u8]>,
    /// `better`, `assume`, or anything.
    pub key: Box<[u8]>,
    /// The value; may be empty.
    pub value: Box<[u8]>,
    /// The file where it was said first.
    pub file: Arc<str>,
    /// Its line, from 1.
    pub line: u64,
}

#[derive(Debug)]
struct Unit {
    text: Box<[u8]>,
    tidied: UnitId,
    factor: f64,
    class: Class,
}

/// Where in the metadata the keys of a base unit are.
type Places = HashMap<Box<[u8]>, usize>;

/// Units and their metadata. They outlive the file that they were met in, and hold for lines before them as well: look at them when all is read.
#[derive(Debug, Default)]
pub struct Units {
    units: Vec<Unit>,
    ids: HashMap<Box<[u8]>, UnitId>,
    metadata: Vec<UnitMetadata>,
    places: HashMap<Box<[u8]>, Places>,
    bytes: usize,
}

impl Units {
    /// No units.
    #[must_use]
    pub fn new() -> Units {
        Units::default()
    }

    /// How many units there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.units.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.units.is_empty()
    }

    /// Bytes of all texts that are kept.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The unit's text. Empty for a number of another table.
    #[must_use]
    pub fn text(&self, id: UnitId) -> &[u8] {
        self.units.get(id.index()).map_or(&[], |unit| &unit.text)
    }

    /// The unit's class.
    #[must_use]
    pub fn class(&self, id: UnitId) -> Class {
        self.units.get(id.index()).map_or(Class::Decimal, |unit| unit.class)
    }

    /// The base unit of a unit, and what its values are multiplied by.
    #[must_use]
    pub fn tidied(&self, id: UnitId) -> (UnitId, f64) {
        self.units.get(id.index()).map_or((id, 1.0), |unit| (unit.tidied, unit.factor))
    }

    /// The number of a unit, if it was met.
    #[must_use]
    pub fn find(&self, text: &[u8]) -> Option<UnitId> {
        self.ids.get(text).copied()
    }

    /// The number of a unit, which it gets now if it is new.
    pub fn intern(&mut self, text: &[u8]) -> UnitId {
        if let Some(id) = self.find(text) {
            return id;
        }
        let (base, factor) = unit::tidy(text);
        // The base unit of a base unit is itself: nothing of `sec` or `B` is replaced again. So this goes no deeper than once.
        let tidied = if *base == *text { None } else { Some(self.intern(&base)) };
        // Four billion different units would need more memory than there is; the last number is then shared.
        let id = UnitId(u32::try_from(self.units.len()).unwrap_or(u32::MAX));
        self.units.push(Unit { text: text.into(), tidied: tidied.unwrap_or(id), factor, class: unit::class(text) });
        self.ids.insert(text.into(), id);
        self.bytes += text.len();
        id
    }

    /// Everything that was said, in the order in which it was.
    #[must_use]
    pub fn all_metadata(&self) -> &[UnitMetadata] {
        &self.metadata
    }

    /// What was said about a unit (or its base unit) under a key.
    #[must_use]
    pub fn metadata(&self, unit: &[u8], key: &[u8]) -> Option<&UnitMetadata> {
        let (base, _) = unit::tidy(unit);
        let place = self.places.get(&*base)?.get(key)?;
        self.metadata.get(*place)
    }

    /// Which way is better: as it was said, or as everybody knows of the units of Go's `testing`.
    #[must_use]
    pub fn better(&self, unit: &[u8]) -> Better {
        match self.metadata(unit, b"better").map(|said| &*said.value) {
            Some(b"higher") => Better::Higher,
            Some(b"lower") => Better::Lower,
            Some(_) => Better::Unknown,
            None => match unit {
                b"ns/op" | b"sec/op" | b"B/op" | b"allocs/op" => Better::Lower,
                b"MB/s" | b"B/s" => Better::Higher,
                _ => Better::Unknown,
            },
        }
    }

    /// What may be assumed about its values.
    #[must_use]
    pub fn assumption(&self, unit: &[u8]) -> Assumption {
        match self.metadata(unit, b"assume") {
            Some(said) if *said.value == *b"exact" => Assumption::Exact,
            _ => Assumption::Nothing,
        }
    }

    /// Notes what a `Unit` line says. What is said twice is noted once.
    ///
    /// # Errors
    /// Something else was said before: that.
    pub fn say(&mut self, original_unit: &[u8], key: &[u8], value: &[u8], file: &Arc<str>, line: u64) -> Result<Option<usize>, &UnitMetadata> {
        let (base, _) = unit::tidy(original_unit);
        let places = self.places.entry(base.as_ref().into()).or_default();
        if let Some(at) = places.get(key).copied() {
            return match self.metadata.get(at) {
                Some(said) if *said.value != *value => Err(said),
                _ => Ok(None),
            };
        }
        let at = self.metadata.len();
        self.metadata.push(UnitMetadata {
            unit: base.as_ref().into(),
            original_unit: original_unit.into(),
            key: key.into(),
            value: value.into(),
            file: Arc::clone(file),
            line,
        });
        self.bytes += original_unit.len() + key.len() + value.len();
        places.insert(key.into(), at);
        Ok(Some(at))
    }
}
