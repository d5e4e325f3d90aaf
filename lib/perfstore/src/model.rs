//! What the store is asked and what it answers.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::Labels;
use crate::varint::Damaged;

/// What can go wrong.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The rows.
    #[error(transparent)]
    Rows(#[from] burrow_store::Error),
    /// The files.
    #[error(transparent)]
    Files(#[from] burrow_blobs::Error),
    /// A store of files.
    #[error("storage: {0}")]
    Objects(#[from] object_store::Error),
    /// A file of this machine.
    #[error("{path}: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// The system's word.
        source: std::io::Error,
    },
    /// Stored rows cannot be read.
    #[error("upload {upload}, chunk {chunk}: {source}; `burrow perfdata reindex` makes the rows again from the files")]
    Damaged {
        /// Which upload.
        upload: String,
        /// Which of its chunks.
        chunk: i64,
        /// What is wrong.
        source: Damaged,
    },
    /// A file of an upload has no result.
    #[error("no valid benchmark lines found{}", .file.as_ref().map(|file| format!(" in {file}")).unwrap_or_default())]
    NoLines {
        /// Its name, if it has one.
        file: Option<String>,
    },
    /// An upload without a file.
    #[error("no files processed")]
    NoFiles,
    /// An upload is larger than is allowed here.
    #[error("the upload has more than {limit} {what}; send less at once, or only the benchmark lines")]
    TooLarge {
        /// How much is allowed.
        limit: u64,
        /// Of what.
        what: &'static str,
    },
    /// More labels than are allowed here.
    #[error("line {line} of {file}: more than {limit} {what}; a log with very many `word: text` lines should be filtered to its benchmark lines")]
    TooManyLabels {
        /// Which file.
        file: String,
        /// Which line.
        line: u64,
        /// How many are allowed.
        limit: u64,
        /// Of what.
        what: &'static str,
    },
    /// The client's key is used by an upload that is under way.
    #[error("an upload with the key {0:?} is under way; try again when it has ended")]
    KeyBusy(String),
    /// The client's key was used for other content.
    #[error("the key {key:?} was used for upload {upload}, whose content is different; use a new key")]
    KeyTaken {
        /// The key.
        key: String,
        /// The upload that it names.
        upload: String,
    },
    /// More uploads than can be taken at once.
    #[error("too many uploads at once; try again in some seconds")]
    Busy,
    /// An upload that was given up by its maker.
    #[error("the upload was given up")]
    GivenUp,
    /// An interrupted rebuild.
    #[error("the index is being rebuilt or a rebuild was interrupted; run `burrow perfdata reindex` to its end")]
    Rebuilding,
    /// A program error of the store itself.
    #[error("the upload's thread failed: {0}")]
    Thread(String),
}

/// What an upload may be at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of one upload.
    pub bytes: u64,
    /// Files of one upload.
    pub files: u32,
    /// Labels in force at one line.
    pub labels: usize,
    /// Their bytes.
    pub label_bytes: usize,
    /// Different labels (key and value) of one upload.
    pub distinct_labels: usize,
    /// Uploads under way at once; others wait, and as many as this again may wait eight times over.
    pub uploads: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { bytes: 4 << 30, files: 10_000, labels: 10_000, label_bytes: 256 << 10, distinct_labels: 4_000_000, uploads: 32 }
    }
}

/// Who uploads.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Begin {
    /// The authenticated user; `None` sets no `by` label.
    pub by: Option<String>,
    /// A key that the client chose: a second upload with it is the first one.
    pub key: Option<String>,
}

/// What an upload became.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// Its name.
    pub upload: String,
    /// Names of its files: `UPLOAD/N`.
    pub files: Vec<String>,
    /// What was left out, for people.
    pub warnings: Vec<String>,
    /// Records.
    pub records: u64,
    /// Result lines.
    pub lines: u64,
}

/// Number of a change of the store, in the order they became visible. 0 is before the first.
pub type Sequence = i64;

/// A change of the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    /// Its number.
    pub sequence: Sequence,
    /// When, Unix milliseconds.
    pub at_ms: i64,
    /// What.
    pub kind: ChangeKind,
    /// Which upload.
    pub upload: String,
    /// Who; empty if nobody said.
    pub by: String,
    /// More, for people.
    pub detail: String,
}

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ChangeKind {
    /// An upload was added.
    Added,
    /// An upload was removed.
    Removed,
}

impl ChangeKind {
    pub(crate) fn word(self) -> &'static str {
        match self {
            ChangeKind::Added => "added",
            ChangeKind::Removed => "removed",
        }
    }
}

/// A file of an upload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Its number: `UPLOAD/NUMBER` is its name.
    pub number: u32,
    /// The labels that the server gave it: `upload`, `upload-part`, `upload-time`, `upload-file`, `by`.
    pub labels: Labels,
    /// Its `Unit` lines.
    pub units: Vec<Bytes>,
    /// Bytes of the file.
    pub bytes: u64,
    /// Records.
    pub records: u64,
    /// Result lines.
    pub lines: u64,
    /// It came in another form, which is kept beside it.
    pub original: Option<String>,
}

/// An upload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upload {
    /// Its name.
    pub name: String,
    /// When it began, Unix milliseconds.
    pub at_ms: i64,
    /// The change that made it visible.
    pub sequence: Sequence,
    /// Who; empty if nobody said.
    pub by: String,
    /// Bytes of its files.
    pub bytes: u64,
    /// Records.
    pub records: u64,
    /// Result lines.
    pub lines: u64,
    /// Its files, in order.
    pub parts: Vec<Arc<Part>>,
}

/// A record of an answer: consecutive lines with equal labels.
#[derive(Debug, Clone)]
pub struct Record {
    /// Its file.
    pub part: Arc<Part>,
    /// All of its labels but those of its name. Neighbours with the same labels share them ([`Labels::is_same`]).
    pub labels: Labels,
    /// Its name, without `Benchmark`.
    pub name: Bytes,
    /// Its lines, each with its end.
    pub lines: Bytes,
    /// It began in the records before: a long record comes in pieces, and counts once.
    pub continues: bool,
}

/// The values of a record.
#[derive(Debug, Clone)]
pub struct Sample {
    /// Its file, with the upload's labels.
    pub part: Arc<Part>,
    /// All of its labels but those of its name.
    pub labels: Labels,
    /// Its name, without `Benchmark`.
    pub name: Bytes,
    /// One column for each unit, in the order of the line.
    pub columns: Vec<Column>,
}

/// Values of one unit.
#[derive(Debug, Clone, PartialEq)]
pub struct Column {
    /// The unit as written (`ns/op`); `protocol_benchfmt::unit::tidy` gives the base unit and its factor.
    pub unit: Bytes,
    /// As written, in the order of the lines.
    pub values: Vec<f64>,
}

/// Which part of a long list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Page {
    /// At most so many; `None`: all.
    pub limit: Option<usize>,
    /// Where the page before ended.
    pub after: Option<Cursor>,
}

/// A place in a list of uploads, newest first. Opaque to clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cursor(pub(crate) i64);

impl Cursor {
    /// As text.
    pub fn token(self) -> String {
        format!("{:x}", self.0)
    }

    /// From that text.
    pub fn parse(token: &str) -> Option<Cursor> {
        i64::from_str_radix(token, 16).ok().map(Cursor)
    }
}

/// An upload in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its name.
    pub name: String,
    /// How many of its records the query matches.
    pub count: u64,
    /// The labels that were asked for, with one value each, sorted by key.
    pub labels: Vec<(String, Bytes)>,
    /// Its place.
    pub cursor: Cursor,
}
