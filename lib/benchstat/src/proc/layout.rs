//! Tables, rows and columns: which parts of a result make the key of each, and in which order the keys come.

use std::cmp::Ordering;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::Subject;
use super::extract::{Extract, Remainder};
use super::filter::Filter;
use super::key::{Interner, NumberMap, Symbol};
use super::lexer::{SyntaxError, quote};
use super::order::FieldOrder;
use super::parse::{self, Order, Part};

/// The projections as a person writes them.
#[derive(Debug, Clone, Copy)]
pub struct Projections<'a> {
    /// What separates tables, besides the unit.
    pub table: &'a str,
    /// What separates rows.
    pub row: &'a str,
    /// What separates columns.
    pub col: &'a str,
    /// What may differ within a cell without a word.
    pub ignore: &'a str,
}

impl Default for Projections<'_> {
    fn default() -> Self {
        Projections { table: ".config", row: ".fullname", col: ".file", ignore: "" }
    }
}

/// What is wrong with a projection.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("parsing -{which}: {error}")]
pub struct LayoutError {
    /// `table`, `row`, `col` or `ignore`.
    pub which: &'static str,
    /// What and where.
    pub error: SyntaxError,
}

/// A key of a projection: a place in its list, in order of appearance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyId(pub(crate) u32);

/// Projections that know of each other: what one names, the groups of the others leave out.
#[derive(Debug)]
pub struct Layout {
    pub(crate) table: Projection,
    pub(crate) row: Projection,
    pub(crate) col: Projection,
    pub(crate) residue: Projection,
    pub(crate) strings: Interner,
    /// What `.config` leaves out.
    named_config: HashSet<Vec<u8>>,
    remainder: Remainder,
}

/// The field that tables have at their end.
const UNIT: &[u8] = b".unit";

impl Layout {
    /// Parses; fixed lists restrict the filter.
    ///
    /// # Errors
    /// A projection is wrong.
    pub fn new(projections: &Projections<'_>, filter: &mut Filter) -> Result<Layout, LayoutError> {
        let mut shared = Shared::default();
        let mut parse = |which, query: &str, unit| {
            let mut projection = Projection::parse(query, &mut shared, filter).map_err(|error| LayoutError { which, error })?;
            if unit {
                projection.unit = Some(projection.add(Field::single(UNIT, first())));
            }
            Ok(projection)
        };
        let table = parse("table", projections.table, true)?;
        let row = parse("row", projections.row, false)?;
        let col = parse("col", projections.col, false)?;
        parse("ignore", projections.ignore, false)?;
        let mut residue = Projection::default();
        if !shared.config {
            residue.add_group(first());
        }
        if !shared.fullname {
            let field = residue.add(Field::single(b".fullname", first()));
            residue.sources.push(Source::Remainder(field));
        }
        Ok(Layout { table, row, col, residue, strings: Interner::default(), named_config: shared.named_config, remainder: shared.remainder })
    }

    /// The keys of a result: its row, column and residue, and the table of each measurement that is kept.
    pub(crate) fn project(&mut self, subject: &Subject<'_>, kept: impl Fn(usize) -> bool, tables: &mut Vec<(usize, KeyId)>) -> (KeyId, KeyId, KeyId) {
        let Layout { table, row, col, residue, strings, named_config, remainder } = self;
        let mut context = Context { subject, strings, named_config, remainder };
        table.fill(&mut context);
        tables.clear();
        for (i, unit) in subject.units.iter().enumerate().filter(|(i, _)| kept(*i)) {
            if let Some(field) = table.unit {
                let symbol = context.strings.intern(unit.tidied);
                table.set(field, symbol);
            }
            tables.push((i, table.key()));
        }
        let mut key = |projection: &mut Projection| {
            projection.fill(&mut context);
            projection.key()
        };
        (key(row), key(col), key(residue))
    }
}

/// What projections parsed together tell each other.
#[derive(Debug, Default)]
struct Shared {
    named_config: HashSet<Vec<u8>>,
    remainder: Remainder,
    config: bool,
    fullname: bool,
}

struct Context<'c, 's> {
    subject: &'c Subject<'s>,
    strings: &'c mut Interner,
    named_config: &'c HashSet<Vec<u8>>,
    remainder: &'c Remainder,
}

fn first() -> FieldOrder {
    FieldOrder::First(Vec::new())
}

/// A field of a projection. Keys hold values by field number; `.config` adds fields as configuration keys appear.
#[derive(Debug)]
pub(crate) struct Field {
    pub(crate) name: Arc<[u8]>,
    order: FieldOrder,
    /// It is one of `.config`.
    grouped: bool,
    /// How many values appeared.
    appeared: u32,
}

impl Field {
    fn single(name: &[u8], order: FieldOrder) -> Field {
        Field { name: name.into(), order, grouped: false, appeared: 0 }
    }
}

#[derive(Debug)]
enum Source {
    Part(usize, Extract),
    Remainder(usize),
    /// `.config`: fields by key, and the place of the group among the others.
    Config {
        group: usize,
        fields: HashMap<Box<[u8]>, usize>,
        order: FieldOrder,
    },
}

/// Parts of a result put together as a key.
#[derive(Debug, Default)]
pub(crate) struct Projection {
    fields: Vec<Field>,
    /// Numbers of fields in the order of comparison: one, or those of a group.
    sequence: Vec<Vec<usize>>,
    sources: Vec<Source>,
    unit: Option<usize>,
    values: Vec<Symbol>,
    keys: Vec<Box<[Symbol]>>,
    known: NumberMap<Box<[Symbol]>, KeyId>,
}

impl Projection {
    fn parse(query: &str, shared: &mut Shared, filter: &mut Filter) -> Result<Projection, SyntaxError> {
        let mut projection = Projection::default();
        let mut restrictions = Vec::new();
        for part in parse::projection(query)? {
            projection.part(part, query, shared, &mut restrictions)?;
        }
        for (part, values) in restrictions {
            filter.restrict(part, values);
        }
        Ok(projection)
    }

    fn part(&mut self, part: Part, query: &str, shared: &mut Shared, restrictions: &mut Vec<(Extract, Vec<Vec<u8>>)>) -> Result<(), SyntaxError> {
        let wrong = |offset, message: String| SyntaxError { query: query.to_owned(), offset, message };
        let mut fixed = None;
        let order = match part.order {
            Order::Default => first(),
            Order::Named(name) => match name.as_slice() {
                b"first" => first(),
                b"alpha" => FieldOrder::Alpha,
                b"num" => FieldOrder::Num,
                _ => return Err(wrong(part.order_offset, format!("unknown order {}", quote(&name)))),
            },
            Order::Fixed(values) => {
                let order = FieldOrder::Fixed(values.iter().cloned().enumerate().map(|(place, value)| (value, place)).collect());
                fixed = Some(values);
                order
            }
        };
        match part.key.as_slice() {
            b".config" if fixed.is_some() => return Err(wrong(part.order_offset, "fixed order not allowed for .config".to_owned())),
            b".config" => {
                shared.config = true;
                self.add_group(order);
                return Ok(());
            }
            UNIT => return Err(wrong(part.key_offset, ".unit is only allowed in filters".to_owned())),
            _ => {}
        }
        let extract = Extract::of(&part.key).ok_or_else(|| wrong(part.key_offset, "key must not be empty".to_owned()))?;
        let field = self.add(Field::single(&part.key, order));
        restrictions.extend(fixed.map(|values| (extract.clone(), values)));
        if extract == Extract::Full {
            shared.fullname = true;
            self.sources.push(Source::Remainder(field));
        } else {
            match &extract {
                Extract::Config(key) => {
                    shared.named_config.insert(key.clone());
                }
                _ => shared.remainder.exclude(&part.key),
            }
            self.sources.push(Source::Part(field, extract));
        }
        Ok(())
    }

    fn add(&mut self, field: Field) -> usize {
        self.sequence.push(vec![self.fields.len()]);
        self.fields.push(field);
        self.values.push(Symbol::EMPTY);
        self.fields.len() - 1
    }

    fn add_group(&mut self, order: FieldOrder) {
        self.sources.push(Source::Config { group: self.sequence.len(), fields: HashMap::new(), order });
        self.sequence.push(Vec::new());
    }

    fn set(&mut self, field: usize, value: Symbol) {
        if let Some(slot) = self.values.get_mut(field) {
            *slot = value;
        }
    }

    fn fill(&mut self, context: &mut Context<'_, '_>) {
        self.values.fill(Symbol::EMPTY);
        let Projection { fields, sequence, sources, values, .. } = self;
        let set = |values: &mut Vec<Symbol>, field: usize, value: Symbol| {
            if let Some(slot) = values.get_mut(field) {
                *slot = value;
            }
        };
        for source in sources {
            match source {
                Source::Part(field, extract) => set(values, *field, context.strings.intern(extract.from(context.subject))),
                Source::Remainder(field) => set(values, *field, context.strings.intern(&context.remainder.of(context.subject.name))),
                Source::Config { group, fields: by_key, order } => {
                    for setting in context.subject.config.iter().filter(|setting| setting.from_file) {
                        let field = match by_key.get(&setting.key) {
                            Some(&field) => field,
                            None if context.named_config.contains(&*setting.key) => continue,
                            None => {
                                let field = fields.len();
                                fields.push(Field { name: (*setting.key).into(), order: order.clone(), grouped: true, appeared: 0 });
                                values.push(Symbol::EMPTY);
                                if let Some(group) = sequence.get_mut(*group) {
                                    group.push(field);
                                }
                                by_key.insert(setting.key.clone(), field);
                                field
                            }
                        };
                        set(values, field, context.strings.intern(&setting.value));
                    }
                }
            }
        }
    }

    /// The key of what was filled in. Trailing empty values do not count: fields may be added.
    fn key(&mut self) -> KeyId {
        let length = self.values.iter().rposition(|value| *value != Symbol::EMPTY).map_or(0, |last| last + 1);
        let values = self.values.get(..length).unwrap_or_default();
        if let Some(&key) = self.known.get(values) {
            return key;
        }
        for (i, field) in self.fields.iter_mut().enumerate().filter(|(_, field)| !field.grouped) {
            if let FieldOrder::First(places) = &mut field.order {
                let symbol = values.get(i).copied().unwrap_or(Symbol::EMPTY).index();
                if places.len() <= symbol {
                    places.resize(symbol + 1, 0);
                }
                if let Some(place) = places.get_mut(symbol).filter(|place| **place == 0) {
                    field.appeared += 1;
                    *place = field.appeared;
                }
            }
        }
        let key = KeyId(u32::try_from(self.keys.len()).unwrap_or(u32::MAX));
        self.keys.push(values.into());
        self.known.insert(values.into(), key);
        key
    }

    /// Numbers of the fields, in the order of comparison.
    fn flat(&self) -> impl Iterator<Item = usize> + '_ {
        self.sequence.iter().flatten().copied()
    }

    /// Names of the fields, in the order of comparison, without the unit.
    pub(crate) fn names(&self) -> Vec<Arc<[u8]>> {
        self.flat().filter(|field| Some(*field) != self.unit).filter_map(|field| self.fields.get(field)).map(|field| Arc::clone(&field.name)).collect()
    }

    fn value(&self, key: KeyId, field: usize) -> Symbol {
        self.keys.get(key.0 as usize).and_then(|values| values.get(field)).copied().unwrap_or(Symbol::EMPTY)
    }

    /// Values of a key, as [`Projection::names`].
    pub(crate) fn values<'s>(&self, key: KeyId, strings: &'s Interner) -> Vec<&'s [u8]> {
        self.flat().filter(|field| Some(*field) != self.unit).map(|field| strings.text(self.value(key, field))).collect()
    }

    /// The unit of a table's key.
    pub(crate) fn unit<'s>(&self, key: KeyId, strings: &'s Interner) -> &'s [u8] {
        self.unit.map_or(&[], |field| strings.text(self.value(key, field)))
    }

    /// Sorts keys by their fields.
    pub(crate) fn sort(&self, keys: &mut [KeyId], strings: &Interner) {
        let order: Vec<usize> = self.flat().collect();
        keys.sort_by(|&a, &b| {
            for &field in &order {
                let (left, right) = (self.value(a, field), self.value(b, field));
                if left != right
                    && let Some(field) = self.fields.get(field)
                {
                    return field.order.compare((left, strings.text(left)), (right, strings.text(right)));
                }
            }
            Ordering::Equal
        });
    }

    /// Names of the fields in which other keys differ from the first.
    pub(crate) fn varying(&self, first: KeyId, others: &[KeyId]) -> Vec<Arc<[u8]>> {
        let differs = |field: &usize| others.iter().any(|&key| self.value(key, *field) != self.value(first, *field));
        self.flat().filter(differs).filter_map(|field| self.fields.get(field)).map(|field| Arc::clone(&field.name)).collect()
    }
}
