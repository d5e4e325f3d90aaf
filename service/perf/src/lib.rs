//! The benchmark analysis service: search, compare, trends, dashboard, regressions.
//!
//! It has no results of its own: they are in a `burrow_perfstore` in the same process, or in a perfdata elsewhere ([`source`]). What it computes of them - a point per
//! benchmark, unit, machine and commit - is kept beside them ([`board`]) and can be made again at any time. `spec/perf.md` §7–§12 says what the pages and answers are.

pub mod api;
pub mod api_2022;
pub mod board;
pub mod chart;
pub mod compare;
pub mod config;
mod feed;
pub mod group;
pub mod history;
pub mod http;
pub mod keeper;
mod pages;
pub mod params;
pub mod points;
pub mod series;
pub mod source;
pub mod split;
pub mod trend;
