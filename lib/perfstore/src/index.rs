//! From lines to rows: chunks, postings and labels of one upload. Plain code on the upload's thread; nothing here waits but for rows to be taken.

use std::collections::{HashMap, HashSet};

use burrow_store::{Statement, Value, sql};
use bytes::Bytes;
use protocol_benchfmt::Stream;
use protocol_benchfmt::store::{Labels as ReaderLabels, Record, StoredResult, name_labels};

use crate::chunk::Builder;
use crate::model::{Error, Limits};
use crate::schema::{self, ROWS};
use crate::terms::{Chunks, Hasher, is_by_row, is_reserved};

/// Bytes of lines in a chunk, about: few enough that reading one for a single record costs little, enough that compression works.
const CHUNK: usize = 32 << 10;
/// Bytes of a label's value that its index holds.
const HEAD: usize = 200;
/// Keys that warnings name.
const NAMED: usize = 20;

type Pairs = Vec<(Box<[u8]>, Box<[u8]>)>;

/// Rows of an upload under way.
pub(crate) struct Indexer {
    upload: i64,
    limits: Limits,
    hasher: Hasher,
    /// Labels that are in the store already.
    known: std::sync::Arc<std::sync::Mutex<HashSet<i64>>>,
    terms: HashMap<i64, Chunks>,
    chunk: u32,
    builder: Builder,
    numbers: Stream,
    /// The set of labels that the newest line had.
    set: Pairs,
    /// Name of the newest line; a blank, which no name is, where a new record must begin.
    last_name: Vec<u8>,
    rows: Vec<Statement>,
    row_bytes: usize,
    label_rows: Vec<Value>,
    pub(crate) records: u64,
    pub(crate) lines: u64,
    pub(crate) values: u64,
}

/// A file under way.
pub(crate) struct FileState {
    pub(crate) name: Option<String>,
    pub(crate) number: u32,
    pub(crate) records: u64,
    pub(crate) lines: u64,
    pub(crate) units: Vec<Bytes>,
    unit_bytes: usize,
    /// Of the labels when they were last looked at.
    generation: Option<u64>,
    long_lines: u64,
    first_long: u64,
    refused: Vec<String>,
    large_labels: u64,
    pub(crate) failed: Option<Error>,
}

impl FileState {
    pub(crate) fn new(number: u32, name: Option<String>) -> FileState {
        FileState {
            name,
            number,
            records: 0,
            lines: 0,
            units: Vec::new(),
            unit_bytes: 0,
            generation: None,
            long_lines: 0,
            first_long: 0,
            refused: Vec::new(),
            large_labels: 0,
            failed: None,
        }
    }

    /// As people know it.
    pub(crate) fn shown(&self) -> String {
        self.name.clone().unwrap_or_else(|| format!("file {}", self.number))
    }

    /// What was left out.
    pub(crate) fn warnings(&self, limit: usize) -> Vec<String> {
        let mut out = Vec::new();
        let file = self.shown();
        match self.long_lines {
            0 => {}
            1 => out.push(format!("{file}: line {} is longer than {limit} bytes and was skipped", self.first_long)),
            n => out.push(format!("{file}: {n} lines are longer than {limit} bytes and were skipped, the first is line {}", self.first_long)),
        }
        if !self.refused.is_empty() {
            out.push(format!("{file}: the labels {} are set by the server only and were ignored", self.refused.join(", ")));
        }
        out
    }
}

impl Indexer {
    pub(crate) fn new(upload: i64, limits: Limits, hasher: Hasher, known: std::sync::Arc<std::sync::Mutex<HashSet<i64>>>) -> Indexer {
        Indexer {
            upload,
            limits,
            hasher,
            known,
            terms: HashMap::new(),
            chunk: 0,
            builder: Builder::new(),
            numbers: Stream::new(""),
            set: Vec::new(),
            last_name: b" ".to_vec(),
            rows: Vec::new(),
            row_bytes: 0,
            label_rows: Vec::new(),
            records: 0,
            lines: 0,
            values: 0,
        }
    }

    /// Labels that the server gave a file: they hold in every chunk of it.
    pub(crate) fn server_labels<'a>(&mut self, pairs: impl Iterator<Item = (&'a [u8], &'a [u8])>, file: &mut FileState) {
        for (key, value) in pairs {
            if is_by_row(key) {
                continue;
            }
            self.touch(key, value, file);
        }
    }

    /// A finding of the reader.
    pub(crate) fn record(&mut self, record: Record<'_>, file: &mut FileState) {
        if file.failed.is_some() {
            return;
        }
        match record {
            Record::Result(result) => self.result(&result, file),
            Record::Unit { line, .. } => {
                // What a file says of its units is small; a file of nothing else is not taken at its word.
                if file.unit_bytes + line.len() <= self.limits.label_bytes && !file.units.iter().any(|known| known == line) {
                    file.unit_bytes += line.len();
                    file.units.push(Bytes::copy_from_slice(line));
                }
            }
            Record::Refused { key, .. } => refuse(file, key),
            Record::LongLine { number } => {
                if file.long_lines == 0 {
                    file.first_long = number;
                }
                file.long_lines += 1;
            }
            Record::LargeLabels { number } => {
                file.large_labels += 1;
                file.failed =
                    Some(Error::TooManyLabels { file: file.shown(), line: number, limit: self.limits.label_bytes as u64, what: "bytes of labels in force" });
            }
        }
    }

    fn result(&mut self, result: &StoredResult<'_>, file: &mut FileState) {
        let mut changed = false;
        if file.generation != Some(result.generation) {
            file.generation = Some(result.generation);
            if result.labels.len() > self.limits.labels {
                let limit = self.limits.labels as u64;
                file.failed = Some(Error::TooManyLabels { file: file.shown(), line: result.number, limit, what: "labels in force" });
                return;
            }
            for (key, _) in result.labels.iter().filter(|(key, _)| is_reserved(key)) {
                refuse(file, key);
            }
            changed = !same(&self.set, result.labels);
        }
        // A new set begins a new chunk where the old one is worth it: what is searched for is then apart from what is not.
        let label_bytes: usize = result.labels.bytes();
        let most = CHUNK.max(4 * label_bytes);
        if self.builder.text_len() >= most || (changed && self.builder.text_len() >= most / 2) {
            self.end_chunk(file.number);
        }
        if changed || self.builder.sets() == 0 {
            self.new_set(result.labels, file);
        }
        let first = self.builder.is_empty();
        let continues = !changed && self.last_name == result.name;
        if first {
            self.builder.set_continues(continues);
        }
        let (name, new) = self.builder.name(result.name);
        if new {
            for (key, value) in name_labels(result.name) {
                self.touch(&key, &value, file);
            }
        }
        let begins = self.builder.line(name, result.line) && !(first && continues);
        if self.last_name != result.name {
            self.last_name.clear();
            self.last_name.extend_from_slice(result.name);
        }
        self.records += u64::from(begins);
        file.records += u64::from(begins);
        self.lines += 1;
        file.lines += 1;
    }

    fn new_set(&mut self, labels: &ReaderLabels, file: &mut FileState) {
        let wanted = || labels.iter().filter(|(key, _)| !is_reserved(key));
        let old = if self.builder.sets() == 0 { Vec::new() } else { std::mem::take(&mut self.set) };
        let find = |key: &[u8]| old.binary_search_by(|(known, _)| known.as_ref().cmp(key)).ok().and_then(|at| old.get(at));
        let came: Vec<(&[u8], &[u8])> = wanted().filter(|(key, value)| find(key).is_none_or(|(_, known)| known.as_ref() != *value)).collect();
        let went: Vec<&[u8]> = old.iter().map(|(key, _)| key.as_ref()).filter(|key| labels.get(key).is_none()).collect();
        self.builder.set(went.into_iter(), came.iter().copied());
        for (key, value) in came {
            self.touch(key, value, file);
        }
        self.set = wanted().map(|(key, value)| (key.into(), value.into())).collect();
    }

    /// Notes that the chunk under way has a label.
    fn touch(&mut self, key: &[u8], value: &[u8], file: &mut FileState) {
        let key_id = self.hasher.key(key);
        let term = self.hasher.value(key_id, value);
        for (id, whole) in [(key_id, false), (term, true)] {
            match self.terms.entry(id) {
                std::collections::hash_map::Entry::Occupied(mut entry) => entry.get_mut().add(self.chunk),
                std::collections::hash_map::Entry::Vacant(entry) => {
                    entry.insert(Chunks::One(self.chunk));
                    if self.known.lock().unwrap_or_else(std::sync::PoisonError::into_inner).contains(&id) {
                        continue;
                    }
                    if whole {
                        let head = value.get(..HEAD).unwrap_or(value).to_vec();
                        let long = (value.len() > HEAD).then(|| value.to_vec());
                        self.row_bytes += head.len() + 100;
                        self.label_rows.extend([id.into(), key_id.into(), Value::Blob(Some(head)), Value::Blob(long)]);
                        if self.label_rows.len() >= 4 * ROWS {
                            let rows = std::mem::take(&mut self.label_rows);
                            self.rows.push(sql(schema::LABELS.as_str(), rows));
                        }
                    } else {
                        self.rows.push(sql(schema::LABEL_KEY, (id, key.to_vec())));
                    }
                }
            }
        }
        if self.terms.len() > self.limits.distinct_labels {
            let limit = self.limits.distinct_labels as u64;
            file.failed = Some(Error::TooManyLabels { file: file.shown(), line: 0, limit, what: "different labels" });
        }
    }

    /// Ends the chunk under way.
    pub(crate) fn end_chunk(&mut self, part: u32) {
        if self.builder.is_empty() {
            return;
        }
        let packed = std::mem::replace(&mut self.builder, Builder::new()).finish(&mut self.numbers);
        let number = i64::from(self.chunk);
        self.values += packed.values_count;
        self.row_bytes += packed.head.len() + packed.text.len() + packed.values.len();
        self.rows.push(sql(schema::CHUNK, (self.upload, number, part, packed.head, packed.text)));
        self.rows.push(sql(schema::CHUNK_VALUES, (self.upload, number, packed.values)));
        self.chunk += 1;
    }

    /// Ends a file: the next one begins a new chunk and a new record.
    pub(crate) fn end_file(&mut self, part: u32) {
        self.end_chunk(part);
        self.set = Vec::new();
        self.last_name = b" ".to_vec();
    }

    /// Chunks so far.
    pub(crate) fn chunks(&self) -> u32 {
        self.chunk
    }

    /// Bytes of rows that wait.
    pub(crate) fn waiting(&self) -> usize {
        self.row_bytes
    }

    /// The rows that wait.
    pub(crate) fn take_rows(&mut self) -> Vec<Statement> {
        self.row_bytes = 0;
        self.flush_labels();
        std::mem::take(&mut self.rows)
    }

    fn flush_labels(&mut self) {
        let rows = std::mem::take(&mut self.label_rows);
        self.rows.extend(rows.chunks(4).map(|row| sql(schema::LABEL, row.to_vec())));
    }

    /// Whether the lists of chunks are too many to be written in one go with the rest.
    pub(crate) fn has_many_terms(&self) -> bool {
        self.terms.len() > 50_000
    }

    /// The lists of chunks, as statements. Also the hashes, for the cache of known ones.
    pub(crate) fn postings(&mut self) -> (impl Iterator<Item = Statement> + use<>, Vec<i64>) {
        let (all, upload) = (self.chunk, self.upload);
        // In the order of their keys, so that the database walks forwards.
        let mut terms: Vec<(i64, Chunks)> = std::mem::take(&mut self.terms).into_iter().collect();
        terms.sort_unstable_by_key(|(id, _)| *id);
        let ids = terms.iter().map(|(id, _)| *id).collect();
        let mut terms = terms.into_iter();
        let statements = std::iter::from_fn(move || {
            let row = |(id, chunks): (i64, Chunks)| [Value::from(id), Value::from(upload), Value::Blob(Some(chunks.stored(all)))];
            if terms.len() >= ROWS {
                return Some(sql(schema::POSTINGS.as_str(), terms.by_ref().take(ROWS).flat_map(row).collect::<Vec<_>>()));
            }
            terms.next().map(|term| sql(schema::POSTING, row(term).to_vec()))
        });
        (statements, ids)
    }
}

fn refuse(file: &mut FileState, key: &[u8]) {
    let key = String::from_utf8_lossy(key).into_owned();
    if file.refused.len() < NAMED && !file.refused.contains(&key) {
        file.refused.push(key);
    }
}

/// Whether the reader's labels, without those that files may not set, are this set.
fn same(set: &Pairs, labels: &ReaderLabels) -> bool {
    let mut known = set.iter();
    let mut wanted = labels.iter().filter(|(key, _)| !is_reserved(key));
    loop {
        match (known.next(), wanted.next()) {
            (None, None) => return true,
            (Some((a, b)), Some((c, d))) if a.as_ref() == c && b.as_ref() == d => {}
            _ => return false,
        }
    }
}
