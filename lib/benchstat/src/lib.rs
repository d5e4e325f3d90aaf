//! Benchmark statistics, compared to the digit with what everybody uses (`benchstat` of golang.org/x/perf).
//!
//! - [`math`]: medians with order-statistic intervals, the U test, bootstrap, corrections, calibration, ranking, smoothing. Numbers in, numbers out.
//! - [`proc`]: filters and projections.
//! - [`Gather`] and [`Builder`] make [`Tables`] of results, from files or not; [`table`] shows them as text, CSV, JSON, Markdown and HTML.
//! - [`gate`]: rules on which an automatic check fails.
//! - [`read`]: several files side by side, in the order in which they were named.
//! - [`v1`]: the older engine of the compare page.
//!
//! For a runner that wants to know whether its interval is tight enough: [`math::ratio::ratio_of_medians`]. For a page that compares stored results: [`Builder::add`], or
//! [`v1::Collection`]. For series: [`math::ratio`], [`math::rank`], [`math::kza`], [`math::calibrate`].
//!
//! Facts: `spec/perf.md` §3–§7, §11, §12. Deliberately other than the reference, each with a switch to its ways: p is shown as at most 1; zeros do not get tables of their
//! own; spreadsheet columns beyond Z have their right names. Without a switch: samples that contain NaN are compared (the reference never returns).

pub mod gate;
mod gather;
pub mod math;
pub mod proc;
pub mod read;
pub mod table;
pub mod v1;

pub use gather::{Gather, Gathered};
pub use proc::layout::LayoutError;
pub use proc::{Filter, Layout, Projections, Setting, Subject, SyntaxError, UnitNames};
pub use table::{Builder, Tables};
