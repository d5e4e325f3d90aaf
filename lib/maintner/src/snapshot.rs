//! A corpus in a file, as it lies in memory: opening it is mapping it (`spec/maintner.md` §9.3).
//!
//! The file says which segments of which digests it was made from. One that does not fit the log at hand, that was made by another version or that was damaged
//! is refused, never trusted: the log is read again then.
//!
//! Layout, little-endian: magic, JSON header with its length, then each table from a multiple of 64 bytes on. The header names the tables with rows, place and
//! checksum (XXH3).

use std::fs::File;
use std::io::{BufWriter, Seek as _, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytemuck::Pod;
use memmap2::Mmap;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use crate::corpus::State;
use crate::table::{Index, Table};
use crate::tables::{GitTables, GithubTables};
use crate::{Corpus, FileError, Log, Part, View};

const MAGIC: &[u8; 16] = b"burrow corpus 1\n";
const ALIGN: u64 = 64;
/// A header is a few kilobytes; more is damage.
const MAX_HEADER: u64 = 16 << 20;

/// Why a snapshot is not used.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// It cannot be read or written.
    #[error("{path}: {source}")]
    File {
        /// Which file.
        path: PathBuf,
        /// The system's word.
        source: std::io::Error,
    },
    /// It is not one, or of another version, or damaged.
    #[error("{path} is not a usable snapshot: {what}; the log will be read instead")]
    Unusable {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// It was made from another log.
    #[error("{path} was made from another log: segment {number} differs; the log will be read instead")]
    OtherLog {
        /// Which file.
        path: PathBuf,
        /// First segment that differs.
        number: u32,
    },
    /// A file of the log cannot be mapped.
    #[error(transparent)]
    Log(#[from] FileError),
    /// What the log has more than the snapshot cannot be taken in.
    #[error(transparent)]
    Tail(#[from] crate::LoadError),
}

/// A segment, or the beginning of one, that a snapshot was made from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Covered {
    /// Number of the segment.
    pub number: u32,
    /// Bytes of it.
    pub size: u64,
    /// SHA-224 of these bytes, in hex.
    pub sha224: String,
}

#[derive(Serialize, Deserialize)]
struct Header {
    records: u64,
    position: u64,
    segments: Vec<Covered>,
    tables: Vec<Entry>,
}

#[derive(Serialize, Deserialize)]
struct Entry {
    name: String,
    row: u64,
    rows: u32,
    used: u32,
    at: u64,
    sum: u64,
}

/// Calls `each` with name, table and count of every table.
macro_rules! tables {
    ($git:expr, $github:expr, $each:ident) => {
        tables!(@ $git, $each, commits people.texts projects shared needed refs changes patch_sets hg);
        tables!(@index $git, $each, commit_index people.index project_index shared_index needed_index ref_index change_index hg_index);
        tables!(@ $github, $each, users teams repos labels milestones issues comments events reviews links kinds.texts);
        tables!(@index $github, $each, user_index team_index repo_index label_index milestone_index issue_index comment_index event_index review_index kinds.index);
    };
    (@ $half:expr, $each:ident, $($table:ident $(.$inner:ident)?)*) => {
        $($each!(concat!(stringify!($half), ".", stringify!($table) $(, ".", stringify!($inner))?), $half.$table$(.$inner)?, 0);)*
    };
    (@index $half:expr, $each:ident, $($index:ident $(.$inner:ident)?)*) => {
        $($each!(concat!(stringify!($half), ".", stringify!($index) $(, ".", stringify!($inner))?), $half.$index$(.$inner)?.slots, $half.$index$(.$inner)?.used);)*
    };
}

/// Snapshots of a corpus in a file.
#[derive(Debug)]
pub struct Snapshot;

impl Snapshot {
    /// Writes a view into a file, which appears whole or not at all. `segments` are what the view was made from.
    ///
    /// # Errors
    /// [`SnapshotError::File`].
    pub fn write(view: &View, segments: &[Covered], path: &Path) -> Result<(), SnapshotError> {
        let file_error = |source| SnapshotError::File { path: path.to_owned(), source };
        let git = &view.state.git;
        let github = &view.state.github;
        let mut entries = Vec::new();
        macro_rules! entry {
            ($name:expr, $table:expr, $used:expr) => {
                entries.push(entry($name, &$table, $used))
            };
        }
        tables!(git, github, entry);
        let mut header = Header { records: view.state.records, position: view.position(), segments: segments.to_vec(), tables: entries };
        // Places depend on the header's length, which depends on the places: it is given room for the longest numbers.
        let room = (encode(&header).map_err(file_error)?.len() + header.tables.len() * 20) as u64;
        let mut at = (MAGIC.len() as u64 + 8 + room).next_multiple_of(ALIGN);
        for table in &mut header.tables {
            table.at = at;
            at = (at + table.row * u64::from(table.rows)).next_multiple_of(ALIGN);
        }
        let partial = path.with_extension("partial");
        let write = || -> std::io::Result<()> {
            let mut out = BufWriter::with_capacity(1 << 20, File::create(&partial)?);
            let mut json = encode(&header)?;
            json.resize(usize::try_from(room).map_err(std::io::Error::other)?, b' ');
            out.write_all(MAGIC)?;
            out.write_all(&room.to_le_bytes())?;
            out.write_all(&json)?;
            let mut places = header.tables.iter().map(|table| table.at);
            macro_rules! rows {
                ($name:expr, $table:expr, $used:expr) => {
                    write_rows(&mut out, &$table, places.next().unwrap_or(0))?
                };
            }
            tables!(git, github, rows);
            out.flush()?;
            out.get_ref().sync_all()?;
            std::fs::rename(&partial, path)?;
            match path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
                Some(parent) => File::open(parent)?.sync_all(),
                None => Ok(()),
            }
        };
        write().map_err(|source| {
            let _ = std::fs::remove_file(&partial);
            file_error(source)
        })
    }

    /// How many bytes of its log a snapshot covers; `None`: it is not one, or of another version.
    pub fn covers(path: &Path) -> Option<u64> {
        let file = File::open(path).ok()?;
        // SAFETY: as in `open`.
        let map = unsafe { Mmap::map(&file) }.ok()?;
        header(&map).map(|header| header.position)
    }

    /// Opens a snapshot of the log with these segments, maps the log's files and takes in what the log has more. Says, too, how many bytes of the log the
    /// snapshot covers.
    ///
    /// Only of a segment that has grown since bytes are read, to compare their digest.
    ///
    /// # Errors
    /// [`SnapshotError`]: there is none, or it must not be used.
    pub fn open(path: &Path, segments: &[(Covered, PathBuf)]) -> Result<(Corpus, u64), SnapshotError> {
        let file_error = |source| SnapshotError::File { path: path.to_owned(), source };
        let unusable = |what: &str| SnapshotError::Unusable { path: path.to_owned(), what: what.to_owned() };
        let file = File::open(path).map_err(file_error)?;
        // SAFETY: snapshots are written under another name and renamed; nobody writes into one. Whoever does it all the same ends this process, as with every
        // mapped file.
        let map = Arc::new(unsafe { Mmap::map(&file) }.map_err(file_error)?);
        let header = header(&map).ok_or_else(|| unusable("its header cannot be read"))?;
        let mut log = Log::new();
        let mut tail = Vec::new();
        for (number, (segment, file)) in segments.iter().enumerate() {
            let Some(covered) = header.segments.get(number) else {
                tail.push(Part::file(file, 0, segment.size));
                continue;
            };
            let other = || SnapshotError::OtherLog { path: path.to_owned(), number: covered.number };
            let last = number + 1 == header.segments.len();
            if covered.number != segment.number || covered.size > segment.size || covered.size < segment.size && !last {
                return Err(other());
            }
            let same = covered.size == segment.size && covered.sha224 == segment.sha224
                || covered.size < segment.size && digest(file, covered.size).map_err(file_error)? == covered.sha224;
            if !same {
                return Err(other());
            }
            log.push_file(file, 0, covered.size)?;
            if covered.size < segment.size {
                tail.push(Part::file(file, covered.size, segment.size));
            }
        }
        if header.segments.len() > segments.len() {
            return Err(SnapshotError::OtherLog { path: path.to_owned(), number: u32::try_from(segments.len()).unwrap_or(u32::MAX) });
        }
        if log.len() != header.position {
            return Err(unusable("it does not say which part of the log it covers"));
        }
        verify(&map, &header.tables).ok_or_else(|| unusable("a checksum is wrong"))?;
        let mut git = GitTables::default();
        let mut github = GithubTables::default();
        let mut entries = header.tables.iter();
        macro_rules! open {
            ($name:expr, $table:expr, $used:expr) => {
                $table =
                    entries.next().and_then(|entry| open_table(&map, entry, $name)).ok_or_else(|| unusable(concat!("table ", $name, " is not as expected")))?
            };
        }
        tables!(git, github, open);
        let mut used = header.tables.iter().filter(|entry| entry.name.ends_with("index"));
        let mut set = |index: &mut Index| -> Option<()> {
            index.used = used.next()?.used;
            (index.slots.len() == 0 || index.slots.len().is_power_of_two() && index.used < index.slots.len()).then_some(())
        };
        for index in indexes(&mut git, &mut github) {
            set(index).ok_or_else(|| unusable("an index is not as expected"))?;
        }
        let mut corpus = Corpus::with(State { log, git, github, records: header.records });
        for part in tail {
            corpus.append(&part)?;
        }
        Ok((corpus, header.position))
    }
}

/// Digest of the first `size` bytes of a file, in hex; of all if it has fewer.
fn digest(path: &Path, size: u64) -> std::io::Result<String> {
    use std::io::Read as _;
    let mut file = File::open(path)?.take(size);
    let mut digest = protocol_mutlog::Digest::default();
    let mut piece = vec![0; 1 << 16];
    loop {
        let len = file.read(&mut piece)?;
        if len == 0 {
            return Ok(digest.finish().to_string());
        }
        digest.update(piece.get(..len).unwrap_or(&[]));
    }
}

/// All indexes in the order of the file.
fn indexes<'a>(git: &'a mut GitTables, github: &'a mut GithubTables) -> [&'a mut Index; 18] {
    [
        &mut git.commit_index,
        &mut git.people.index,
        &mut git.project_index,
        &mut git.shared_index,
        &mut git.needed_index,
        &mut git.ref_index,
        &mut git.change_index,
        &mut git.hg_index,
        &mut github.user_index,
        &mut github.team_index,
        &mut github.repo_index,
        &mut github.label_index,
        &mut github.milestone_index,
        &mut github.issue_index,
        &mut github.comment_index,
        &mut github.event_index,
        &mut github.review_index,
        &mut github.kinds.index,
    ]
}

fn encode(header: &Header) -> std::io::Result<Vec<u8>> {
    serde_json::to_vec(header).map_err(std::io::Error::other)
}

fn entry<T: Pod>(name: &str, table: &Table<T>, used: u32) -> Entry {
    let mut sum = Xxh3::new();
    table.bytes().for_each(|bytes| sum.update(bytes));
    Entry { name: name.to_owned(), row: size_of::<T>() as u64, rows: table.len(), used, at: 0, sum: sum.digest() }
}

fn write_rows<T: Pod>(out: &mut BufWriter<File>, table: &Table<T>, at: u64) -> std::io::Result<()> {
    let here = out.stream_position()?;
    for _ in here..at {
        out.write_all(&[0])?;
    }
    table.bytes().try_for_each(|bytes| out.write_all(bytes))
}

fn header(map: &[u8]) -> Option<Header> {
    let rest = map.strip_prefix(MAGIC)?;
    let (len, rest) = rest.split_first_chunk::<8>()?;
    let len = u64::from_le_bytes(*len);
    let json = rest.get(..usize::try_from(len).ok().filter(|_| len <= MAX_HEADER)?)?;
    serde_json::from_slice(json).ok()
}

/// The bytes of a table.
fn bytes_of<'a>(map: &'a [u8], entry: &Entry) -> Option<&'a [u8]> {
    let from = usize::try_from(entry.at).ok()?;
    let len = usize::try_from(entry.row.checked_mul(u64::from(entry.rows))?).ok()?;
    map.get(from..from.checked_add(len)?)
}

/// Checks all checksums, by two threads: it is most of what opening costs.
fn verify(map: &[u8], entries: &[Entry]) -> Option<()> {
    let right = |entry: &Entry| bytes_of(map, entry).is_some_and(|bytes| xxh3_64(bytes) == entry.sum);
    // The first table is as large as all others together.
    let (first, rest) = entries.split_first()?;
    std::thread::scope(|scope| {
        let other = scope.spawn(|| rest.iter().all(right));
        let fine = right(first);
        (fine && other.join().unwrap_or(false)).then_some(())
    })
}

fn open_table<T: Pod>(map: &Arc<Mmap>, entry: &Entry, name: &str) -> Option<Table<T>> {
    if entry.name != name || entry.row != size_of::<T>() as u64 {
        return None;
    }
    Table::mapped(map, usize::try_from(entry.at).ok()?, entry.rows)
}
