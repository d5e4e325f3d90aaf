//! Tables: made of results by a [`Builder`], shown as text, CSV, JSON, Markdown and HTML from one model.

mod builder;
pub mod csv;
mod grid;
pub mod html;
pub mod json;
pub mod markdown;
mod model;
pub mod text;

pub use builder::{Builder, Options};
pub use model::{Base, Cell, Column, ColumnSummary, Field, Row, Table, Tables};

use std::borrow::Cow;

/// Bytes of a name as text; what is not UTF-8 is replaced.
pub(crate) fn lossy(bytes: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}
