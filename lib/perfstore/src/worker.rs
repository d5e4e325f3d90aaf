//! The thread of an upload: bytes become a staged file and rows.

use std::io::Write as _;
use std::path::PathBuf;
use std::sync::atomic::Ordering;

use burrow_store::{Statement, sql};
use bytes::Bytes;
use protocol_benchfmt::store::{Labels as ReaderLabels, Reader};
use tokio::sync::{mpsc, oneshot};
use xxhash_rust::xxh3::Xxh3;

use crate::id::{UploadId, rfc3339};
use crate::index::{FileState, Indexer};
use crate::ingest::Again;
use crate::labels::Labels;
use crate::model::{Begin, Error, Limits, Receipt};
use crate::rows::{write_labels, write_lines};
use crate::schema;
use crate::store::PerfStore;

/// Bytes of rows that are written ahead at once.
const AHEAD: usize = 4 << 20;

/// What the thread is told.
pub(crate) enum Command {
    File { number: u32, name: Option<String>, original: Option<(String, Bytes)> },
    Bytes(Bytes),
    Commit,
}

/// What is to be made.
pub(crate) struct Plan {
    pub(crate) number: i64,
    pub(crate) id: Option<UploadId>,
    pub(crate) name: String,
    pub(crate) at_ms: i64,
    pub(crate) begin: Begin,
    pub(crate) replay: Option<Replay>,
    pub(crate) again: Option<Again>,
}

/// An earlier upload with the same key.
pub(crate) struct Replay {
    pub(crate) key: String,
    pub(crate) digest: String,
    pub(crate) receipt: Receipt,
}

/// What the thread made.
pub(crate) struct Prepared {
    pub(crate) statements: Vec<Statement>,
    pub(crate) receipt: Receipt,
    /// Hashes of its labels.
    pub(crate) ids: Vec<i64>,
    pub(crate) number: i64,
    pub(crate) at_ms: i64,
    pub(crate) by: String,
    pub(crate) bytes: i64,
    pub(crate) chunks: u32,
    pub(crate) key: Option<(String, String)>,
}

pub(crate) enum Outcome {
    New(Box<Prepared>),
    Old(Receipt),
}

struct Output {
    state: FileState,
    reader: Reader,
    out: std::io::BufWriter<std::fs::File>,
    path: PathBuf,
    labels: Labels,
    bytes: u64,
    original: Option<String>,
}

/// The thread of an upload.
pub(crate) struct Worker {
    store: PerfStore,
    plan: Plan,
    token: String,
    limits: Limits,
    folder: PathBuf,
    indexer: Indexer,
    file: Option<Output>,
    files: Vec<String>,
    part_rows: Vec<Statement>,
    warnings: Vec<String>,
    digest: Xxh3,
    bytes: u64,
    /// Rows were written ahead; the note is there.
    noted: bool,
    ahead: Option<oneshot::Receiver<Result<(), burrow_store::Error>>>,
}

impl Worker {
    pub(crate) fn new(store: PerfStore, plan: Plan, token: String) -> Result<Worker, Error> {
        let folder = store.0.staging.join(&token);
        let limits = store.0.limits;
        let indexer = Indexer::new(plan.number, limits, store.0.hasher, store.0.known.clone());
        if plan.replay.is_none() {
            std::fs::create_dir_all(&folder).map_err(|source| Error::File { path: folder.clone(), source })?;
        }
        Ok(Worker {
            store,
            plan,
            token,
            limits,
            folder,
            indexer,
            file: None,
            files: Vec::new(),
            part_rows: Vec::new(),
            warnings: Vec::new(),
            digest: Xxh3::new(),
            bytes: 0,
            noted: false,
            ahead: None,
        })
    }

    pub(crate) fn run(mut self, commands: mpsc::Receiver<Command>) -> Result<Outcome, Error> {
        let result = self.work(commands);
        if result.is_err() {
            // What is on its way into the database must be there before it is swept.
            let _ = self.await_ahead();
        }
        result
    }

    fn work(&mut self, mut commands: mpsc::Receiver<Command>) -> Result<Outcome, Error> {
        while let Some(command) = commands.blocking_recv() {
            match command {
                Command::File { number, name, original } => {
                    self.end_file()?;
                    self.begin_file(number, name, original)?;
                }
                Command::Bytes(bytes) => self.bytes(&bytes)?,
                Command::Commit => {
                    self.end_file()?;
                    return self.finish();
                }
            }
        }
        Err(Error::GivenUp)
    }

    fn begin_file(&mut self, number: u32, name: Option<String>, original: Option<(String, Bytes)>) -> Result<(), Error> {
        // Names and ends of files are part of what is compared for a key.
        self.digest.update(&number.to_le_bytes());
        self.digest.update(name.as_deref().unwrap_or_default().as_bytes());
        self.digest.update(b"\n");
        if self.files.len() >= self.limits.files as usize {
            return Err(Error::TooLarge { limit: self.limits.files.into(), what: "files" });
        }
        let part = format!("{}/{number}", self.plan.name);
        let labels = match &self.plan.again {
            Some(again) => again.labels.get(self.files.len()).cloned().unwrap_or_default(),
            None => {
                let mut pairs = vec![
                    (Bytes::from("upload"), Bytes::from(self.plan.name.clone())),
                    (Bytes::from("upload-part"), Bytes::from(part.clone())),
                    (Bytes::from("upload-time"), Bytes::from(rfc3339(self.plan.at_ms))),
                ];
                pairs.extend(name.clone().map(|name| (Bytes::from("upload-file"), Bytes::from(name))));
                pairs.extend(self.plan.begin.by.clone().map(|by| (Bytes::from("by"), Bytes::from(by))));
                Labels::new(pairs)
            }
        };
        self.files.push(part);
        if self.plan.replay.is_some() {
            return Ok(());
        }
        let path = self.folder.join(format!("{number}.txt"));
        let at = |source| Error::File { path: path.clone(), source };
        let ending = match original {
            None => None,
            Some((ending, bytes)) => {
                let beside = self.folder.join(format!("{number}.{ending}"));
                std::fs::write(&beside, &bytes).map_err(|source| Error::File { path: beside.clone(), source })?;
                self.charge(bytes.len())?;
                Some(ending)
            }
        };
        let mut out = std::io::BufWriter::with_capacity(256 << 10, std::fs::File::create(&path).map_err(at)?);
        if self.plan.again.is_none() {
            let mut header = Vec::new();
            for (key, value) in labels.iter() {
                [key.as_ref(), b": ", value, b"\n"].iter().for_each(|piece| header.extend_from_slice(piece));
            }
            header.push(b'\n');
            out.write_all(&header).map_err(at)?;
        }
        let reader_limits = protocol_benchfmt::Limits { config: self.limits.label_bytes, ..protocol_benchfmt::Limits::default() };
        let mut state = FileState::new(number, name);
        self.indexer.server_labels(labels.iter().map(|(key, value)| (key.as_ref(), value.as_ref())), &mut state);
        let reader = Reader::with_limits(ReaderLabels::new(), reader_limits);
        self.file = Some(Output { state, reader, out, path, labels, bytes: 0, original: ending });
        Ok(())
    }

    fn charge(&mut self, bytes: usize) -> Result<(), Error> {
        self.bytes += bytes as u64;
        self.store.0.counters.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        if self.bytes > self.limits.bytes { Err(Error::TooLarge { limit: self.limits.bytes, what: "bytes" }) } else { Ok(()) }
    }

    fn bytes(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.charge(bytes.len())?;
        if self.plan.begin.key.is_some() {
            self.digest.update(bytes);
        }
        let Some(file) = &mut self.file else { return Ok(()) };
        file.bytes += bytes.len() as u64;
        if self.plan.again.is_none() {
            file.out.write_all(bytes).map_err(|source| Error::File { path: file.path.clone(), source })?;
        }
        let (indexer, state) = (&mut self.indexer, &mut file.state);
        file.reader.push(bytes, &mut |record| indexer.record(record, state));
        if let Some(error) = state.failed.take() {
            return Err(error);
        }
        if self.indexer.waiting() > AHEAD { self.write_ahead(Vec::new()) } else { Ok(()) }
    }

    fn end_file(&mut self) -> Result<(), Error> {
        let Some(mut file) = self.file.take() else { return Ok(()) };
        let (indexer, state) = (&mut self.indexer, &mut file.state);
        file.reader.finish(&mut |record| indexer.record(record, state));
        if let Some(error) = state.failed.take() {
            return Err(error);
        }
        indexer.end_file(state.number);
        if state.lines == 0 {
            return Err(Error::NoLines { file: state.name.clone() });
        }
        self.warnings.extend(state.warnings(protocol_benchfmt::Limits::default().line));
        let at = |source| Error::File { path: file.path.clone(), source };
        let out = file.out.into_inner().map_err(|error| at(error.into_error()))?;
        if self.plan.again.is_none() {
            out.sync_all().map_err(at)?;
        }
        self.part_rows.push(sql(
            "INSERT INTO part (upload, number, labels, units, bytes, records, line_count, original) VALUES ($1, $2, $3, $4, $5, $6, $7, $8) \
             ON CONFLICT (upload, number) DO UPDATE SET labels = excluded.labels, units = excluded.units, bytes = excluded.bytes, records = excluded.records, \
             line_count = excluded.line_count, original = excluded.original",
            (
                self.plan.number,
                file.state.number,
                write_labels(&file.labels),
                write_lines(&file.state.units),
                file.bytes as i64,
                file.state.records as i64,
                file.state.lines as i64,
                file.original,
            ),
        ));
        Ok(())
    }

    /// Writes rows that nothing shows. One batch is under way while the next is made.
    fn write_ahead(&mut self, more: Vec<Statement>) -> Result<(), Error> {
        let mut batch = Vec::new();
        if !self.noted {
            self.noted = true;
            batch.push(sql(schema::GARBAGE, (self.plan.number, self.token.as_str(), "")));
        }
        batch.extend(self.indexer.take_rows());
        batch.extend(more);
        self.await_ahead()?;
        self.ahead = Some(self.store.0.db.submit(batch));
        Ok(())
    }

    fn await_ahead(&mut self) -> Result<(), Error> {
        match self.ahead.take() {
            None => Ok(()),
            Some(done) => Ok(done.blocking_recv().map_err(|_| burrow_store::Error::Stopped)??),
        }
    }

    fn finish(&mut self) -> Result<Outcome, Error> {
        let digest = format!("{:032x}", self.digest.digest128());
        if let Some(replay) = self.plan.replay.take() {
            if replay.digest != digest {
                return Err(Error::KeyTaken { key: replay.key, upload: replay.receipt.upload });
            }
            return Ok(Outcome::Old(replay.receipt));
        }
        if self.files.is_empty() {
            return Err(Error::NoFiles);
        }
        // The names of the staged files are durable, too.
        std::fs::File::open(&self.folder).and_then(|folder| folder.sync_all()).map_err(|source| Error::File { path: self.folder.clone(), source })?;
        let many = self.indexer.has_many_terms();
        if many || self.noted {
            // Chunks before lists: a sweep finds the lists by the chunks.
            self.write_ahead(Vec::new())?;
        }
        let (mut postings, ids) = self.indexer.postings();
        let mut statements: Vec<Statement> = Vec::new();
        if many {
            loop {
                let batch: Vec<Statement> = postings.by_ref().take(200).collect();
                if batch.is_empty() {
                    break;
                }
                self.write_ahead(batch)?;
            }
        } else {
            statements.extend(self.indexer.take_rows());
            statements.extend(postings);
        }
        statements.append(&mut self.part_rows);
        self.await_ahead()?;
        let receipt = Receipt {
            upload: self.plan.name.clone(),
            files: std::mem::take(&mut self.files),
            warnings: std::mem::take(&mut self.warnings),
            records: self.indexer.records,
            lines: self.indexer.lines,
        };
        Ok(Outcome::New(Box::new(Prepared {
            statements,
            receipt,
            ids,
            number: self.plan.number,
            at_ms: self.plan.at_ms,
            by: self.plan.begin.by.take().unwrap_or_default(),
            bytes: self.bytes as i64,
            chunks: self.indexer.chunks(),
            key: self.plan.begin.key.take().map(|key| (key, digest)),
        })))
    }
}
