//! maintner's mutation log, without I/O: how records are framed, what segments are called, and every message that a record can hold.
//!
//! A log is a row of segments; a segment is a row of records; a record is a header and one protobuf [`schema::Mutation`]. Everything here is a pure function over
//! bytes: nothing blocks, reads a clock or panics on outside input. Reading copies nothing: what comes out of [`view`] borrows from the log.
//!
//! Facts: `spec/maintner.md` §2 (framing, names), §3 (schema), §5.1 (index).
//!
//! ```
//! use protocol_mutlog::{Records, append_record, schema, view};
//!
//! let mutation = schema::Mutation {
//!     github_issue: Some(schema::GithubIssueMutation { owner: b"golang".to_vec(), repo: b"go".to_vec(), number: 7, title: b"cmd/go: slow".to_vec(), ..Default::default() }),
//!     ..Default::default()
//! };
//! let mut log = Vec::new();
//! append_record(&mut log, 0, &mutation.encode());
//! assert!(log.starts_with(b"REC@0+"));
//!
//! for record in Records::new(&log, 0) {
//!     let record = record.unwrap();
//!     let mutation = view::Mutation::decode(record.payload).unwrap();
//!     assert_eq!(mutation.github_issue.unwrap().title, b"cmd/go: slow");
//! }
//! ```

mod digest;
mod index;
#[macro_use]
mod message;
mod name;
mod record;
pub mod schema;
pub mod wire;

pub use digest::{Digest, Sha224};
pub use index::{Index, IndexError, Segment};
pub use name::{SegmentName, data_file_name, is_data_file};
pub use record::{FrameError, MAX_HEADER, Record, Records, append_record, intact_prefix, starts_new_segment};
pub use schema::view;

/// A segment that has this many bytes is full: the next record begins another (`spec/maintner.md` §2.2).
pub const MAX_SEGMENT: u64 = 16 << 20;
