//! The benchmark text format, without I/O: what `go test -bench` prints and `benchstat`, the store and everything between them read.
//!
//! - [`Reader`] (in memory) and [`Stream`] (in pieces) read it as the present tools do, to the byte: results with values, units, configuration; unit metadata;
//!   and what is wrong, with file and line. Nothing is copied, nothing allocated for a line.
//! - [`Writer`] writes it.
//! - [`Name`], [`unit`], [`Scaler`] take names and units apart and show numbers as the present tools do.
//! - [`store`] is the older, looser reading that the store of results is built on, and its printer.
//! - [`section`] marks a comparison within a build's log.
//! - [`adapters`] turn reports of other tools (Criterion, Google Benchmark, pytest-benchmark, hyperfine, asv) into this format.
//!
//! Facts: `spec/perf.md` §2 and §3, `spec/perfdata.md` §5. Deliberately other than the reference: a line that is too long is an error of that line and not the
//! end of the file, values are always given in their base unit (see [`Value::as_the_reference`]), configuration and units have a limit ([`Limits`]).

pub mod adapters;
mod config;
mod files;
mod letters;
mod lines;
mod name;
mod number;
mod parser;
mod reader;
mod record;
mod scale;
pub mod section;
pub mod store;
mod text;
pub mod unit;
mod units;
mod writer;

pub use config::{Config, Entry};
pub use files::{Input, inputs};
pub use letters::is_upper;
pub use name::{Name, Parts};
pub use number::{NumberError, format_float, parse_float, parse_int, write_fixed, write_float};
pub use reader::{Reader, Stream};
pub use record::{Fault, Limits, Measurement, Record, ResultLine, SyntaxError, Value};
pub use scale::{Scaler, scale};
pub use unit::Class;
pub use units::{Assumption, Better, UnitId, UnitMetadata, Units};
pub use writer::Writer;
