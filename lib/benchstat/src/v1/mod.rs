//! The older engine, which the compare page and its text reply still speak (spec §7): means with outliers dropped, U test at p **<** alpha, tables of old and new.
//!
//! Results come in groups (one column each). Use it where old output must stay the same; everything else is better served by [`crate::table`].

mod collection;
pub mod html;
mod scaler;
mod table;
pub mod text;

pub use collection::{Collection, Metrics};
pub use scaler::Scaler;
pub use table::{Change, Geomean, Options, Row, Table, metric_of};
