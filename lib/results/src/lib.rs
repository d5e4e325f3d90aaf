//! What was built and how it ended: schema, states, read model.
//!
//! The rows are written by the coordinator alone; everybody may read them. [`model`] holds the words (states, classes, ids),
//! [`view`] the plain data that pages and their `.json` twins show, [`Results`] the queries that fill it.

pub mod boards;
pub mod model;
mod queries;
pub mod retry;
#[cfg(any(test, feature = "testing"))]
pub mod seed;
pub mod view;

use burrow_store::Migration;

pub use queries::{BuildFilter, Entry, Page, Repo, Results, RowCells};

/// The schema of a coordinator's database, oldest step first.
pub const MIGRATIONS: &[Migration] = &[Migration { version: 1, name: "results", sql: include_str!("schema.sql") }];
