//! Benchmark results: labels, lines and values of every upload, searchable.
//!
//! `spec/perfdata.md` says what an upload, a record and a query are. Uploads come in through an [`UploadWriter`], all or nothing; [`PerfStore::search`] gives records
//! (the lines as they came, with their labels), [`PerfStore::series`] the numbers in them, [`PerfStore::uploads`] the list; [`PerfStore::changes`] wakes those who show
//! what is new. Rows are in SQLite or PostgreSQL, files in a folder or an object store; the rows can be made again from the files ([`rebuild`]).
//!
//! Lines are stored in compressed chunks of some tens of kilobytes; for each label the index knows the uploads and chunks that have it. A search intersects the
//! lists of its labels in the database and reads only the chunks that are left. So what it costs depends on the answer and on its rarest label, not on how much there is.
//!
//! ```
//! # tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(async {
//! use burrow_perfstore::{Begin, Options, PerfStore, Query};
//!
//! let dir = tempfile::tempdir().unwrap();
//! let store = PerfStore::open(Options::folder(dir.path(), burrow_clock::SystemClock::shared())).await?;
//! let mut upload = store.begin(Begin::default()).await?;
//! upload.file(0, Some("results.txt")).await?;
//! upload.write("goos: linux\nBenchmarkSort-8 100 250 ns/op\nBenchmarkSort-8 100 252 ns/op\n".into()).await?;
//! let receipt = upload.commit().await?;
//!
//! let mut series = store.series(&Query::parse(b"name:Sort goos:linux")?).await?;
//! let samples = series.next().await?.unwrap();
//! assert_eq!(samples[0].columns[0].values, [250.0, 252.0]);
//! assert_eq!(samples[0].labels.text("upload").unwrap(), receipt.upload);
//! # store.close().await;
//! # Ok::<_, Box<dyn std::error::Error>>(()) }).unwrap();
//! ```

pub mod chunk;
mod id;
mod index;
mod ingest;
mod labels;
mod list;
mod model;
mod plan;
pub mod query;
pub mod rebuild;
mod rows;
pub mod sample;
mod schema;
mod search;
mod store;
mod terms;
mod varint;
mod worker;

pub use id::UploadId;
pub use ingest::UploadWriter;
pub use labels::{Labels, Printer};
pub use list::{Totals, shared_labels};
pub use model::{Begin, Change, ChangeKind, Column, Cursor, Error, Limits, Listed, Page, Part, Receipt, Record, Sample, Sequence, Upload};
pub use query::{Query, QueryError};
pub use search::{Place, Search, Series};
pub use store::{Counters, Options, PerfStore};
pub use varint::Damaged;
