//! Which results, and how they are laid out: filters and projections in the language of the reference's tools (spec/perf.md §4).
//!
//! A [`Filter`] keeps results, or single measurements of them. A [`Layout`] says which parts of a result make its table, row and column; what none of them names is the
//! residue, and results that share a cell though their residues differ are pointed out.

mod extract;
pub mod filter;
mod key;
pub mod layout;
mod lexer;
mod order;
mod parse;
mod re2;

pub use filter::{Filter, Kept};
pub(crate) use key::NumberMap;
pub use key::{Interner, Symbol};
pub use layout::{Layout, Projections};
pub use lexer::SyntaxError;

/// A result as filters and projections see it.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// The name, without `Benchmark`.
    pub name: &'a [u8],
    /// Configuration in its order.
    pub config: &'a [Setting],
    /// Units of its measurements, in order.
    pub units: &'a [UnitNames<'a>],
}

/// A key of the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Setting {
    /// Its name.
    pub key: Box<[u8]>,
    /// Its value, not empty.
    pub value: Box<[u8]>,
    /// It stands in the file; otherwise a tool set it (`.file`), and it is not part of `.config`.
    pub from_file: bool,
}

/// The unit of a measurement, tidied and as it was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnitNames<'a> {
    /// `sec/op`.
    pub tidied: &'a [u8],
    /// `ns/op`.
    pub written: &'a [u8],
}
