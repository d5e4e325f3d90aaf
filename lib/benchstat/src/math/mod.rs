//! The statistics. Every number here is what the reference prints, to the last digit (spec/perf.md §5, §7, §11, §12); what goes further (bootstrap, corrections
//! for many tests, calibration) is deterministic.

pub mod calibrate;
pub mod correction;
pub mod elementary;
pub mod interval;
pub mod kza;
pub mod number;
pub mod outliers;
pub mod rank;
pub mod ratio;
pub mod sample;
mod ties;
pub mod utest;
