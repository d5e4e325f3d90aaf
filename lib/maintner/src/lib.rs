//! The corpus: everything a project's issues, changes and commits ever were, in memory, made from the mutation log and kept up with it.
//!
//! * **Small.** Text stays in the log, whose files are mapped; tables hold numbers and references. The history of the Go project (2.2 GB of log in 2022) takes less
//!   than 300 MB.
//! * **Fast.** Segments are read side by side, and a [snapshot](Snapshot) skips even that.
//! * **Consistent.** A [`View`] is everything at one moment and never changes. Readers keep it as long as they like; the writer goes on.
//!
//! What a mutation does is the reference's rule to the letter (`spec/maintner.md` §4), traps included; where Burrow knows better, both readings can be had (see
//! [`Reading`]).

mod apply_git;
mod apply_github;
mod commit;
mod compact;
mod corpus;
pub mod dump;
mod load;
mod notedb;
mod parse;
mod references;
mod rows;
mod snapshot;
mod table;
mod tables;
mod text;
mod view;

pub use corpus::{Corpus, LoadError, Part, View};
pub use load::Progress;
pub use notedb::Status;
pub use parse::RecordError;
pub use references::IssueRef;
pub use snapshot::{Covered, Snapshot, SnapshotError};
pub use text::{FileError, Log};
pub use view::*;
