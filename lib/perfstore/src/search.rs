//! Answers: the chunks of candidates are read and their records compared with the query.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use burrow_task::BoxFuture;
use bytes::Bytes;
use protocol_benchfmt::store::name_labels;

use crate::chunk::{self, Head, Values};
use crate::labels::Labels;
use crate::model::{Column, Error, Part, Record, Sample};
use crate::plan::{Candidate, Direction, Plan};
use crate::query::{Part as QueryPart, Query};
use crate::store::PerfStore;
use crate::varint::Damaged;

/// What a question to the store comes to.
type Asked<'a, T> = BoxFuture<'a, Result<T, Error>>;

/// Chunks that are read from the database at once.
const CHUNKS: usize = 16;

/// What of a chunk is read besides its head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Want {
    Nothing,
    Text,
    Values,
}

/// A place in an answer, behind a record. Opaque to clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    upload: i64,
    chunk: u32,
    run: u32,
}

impl Place {
    /// As text.
    pub fn token(self) -> String {
        format!("{:x}.{:x}.{:x}", self.upload, self.chunk, self.run)
    }

    /// From that text.
    pub fn parse(token: &str) -> Option<Place> {
        let mut parts = token.splitn(3, '.');
        let upload = i64::from_str_radix(parts.next()?, 16).ok()?;
        let mut next = || u32::from_str_radix(parts.next()?, 16).ok();
        Some(Place { upload, chunk: next()?, run: next()? })
    }
}

/// A chunk with records of the answer.
pub(crate) struct Found {
    pub(crate) upload: i64,
    pub(crate) part: Arc<Part>,
    pub(crate) chunk: u32,
    pub(crate) head: Head,
    /// Text or values, as they are stored.
    pub(crate) body: Vec<u8>,
    /// Which records, rising.
    pub(crate) matching: Vec<u32>,
    /// The labels of each set that a matching record has.
    pub(crate) labels: Vec<Option<Labels>>,
}

/// A walk over the records of an answer.
pub(crate) struct Scan {
    store: PerfStore,
    query: Query,
    want: Want,
    plan: Plan,
    candidates: VecDeque<Candidate>,
    current: Option<Current>,
    /// Records up to here are left out.
    after: Option<Place>,
}

struct Current {
    candidate: Candidate,
    parts: Vec<Arc<Part>>,
    left: VecDeque<u32>,
    read: VecDeque<(u32, u32, Vec<u8>, Vec<u8>)>,
}

impl Scan {
    pub(crate) async fn new(store: &PerfStore, query: Query, want: Want, direction: Direction, after: Option<Place>) -> Result<Scan, Error> {
        store.0.counters.searches.fetch_add(1, Ordering::Relaxed);
        // The upload of the place itself is looked at again, for what follows in it.
        let from = after.map(|place| place.upload.saturating_sub(1));
        let plan = Plan::new(store, &query, direction, from).await?;
        Ok(Scan { store: store.clone(), query, want, plan, candidates: VecDeque::new(), current: None, after })
    }

    /// Begins with uploads below this number; before anything was asked.
    pub(crate) fn begin_below(&mut self, number: i64) {
        self.plan.begin_at(number);
    }

    /// The files of the current upload, read when they are first asked for.
    pub(crate) async fn parts(&mut self) -> Result<&[Arc<Part>], Error> {
        let Some(current) = &mut self.current else { return Ok(&[]) };
        if current.parts.is_empty() {
            current.parts = self.store.parts_of(current.candidate.number, &current.candidate.name).await?;
        }
        Ok(&current.parts)
    }

    /// Whether the current upload fulfils what the query asks of its row.
    pub(crate) async fn by_row_matches(&mut self) -> Result<bool, Error> {
        if self.query.is_everything() {
            return Ok(true);
        }
        let Some(part) = self.parts().await?.first().cloned() else { return Ok(false) };
        Ok(self.query.parts().all(|(key, wanted)| part.labels.get(key).is_some_and(|value| wanted.matches(key, value))))
    }

    /// The next upload that may have records; its chunks are then given by [`Scan::next_in_upload`].
    pub(crate) async fn next_upload(&mut self) -> Result<Option<&Candidate>, Error> {
        self.current = None;
        if self.candidates.is_empty() {
            self.candidates = self.plan.next(&self.store).await?.into();
        }
        let Some(candidate) = self.candidates.pop_front() else { return Ok(None) };
        let left = match &candidate.list {
            Some(list) => list.iter().copied().filter(|chunk| *chunk < candidate.chunks).collect(),
            None => (0..candidate.chunks).collect(),
        };
        let current = self.current.insert(Current { candidate, parts: Vec::new(), left, read: VecDeque::new() });
        if let Some(place) = self.after.filter(|place| place.upload == current.candidate.number) {
            current.left.retain(|chunk| *chunk >= place.chunk);
        }
        Ok(Some(&current.candidate))
    }

    /// The next chunk of the current upload with records of the answer.
    pub(crate) async fn next_in_upload(&mut self) -> Result<Option<Found>, Error> {
        self.parts().await?;
        loop {
            let Some(current) = &mut self.current else { return Ok(None) };
            if current.read.is_empty() {
                if current.left.is_empty() {
                    return Ok(None);
                }
                current.read = read_chunks(&self.store, self.want, current.candidate.number, &mut current.left).await?;
                continue;
            }
            let Some((number, part, head, body)) = current.read.pop_front() else { continue };
            let damaged = |source: Damaged| Error::Damaged { upload: current.candidate.name.clone(), chunk: number.into(), source };
            let Some(part) = current.parts.iter().find(|known| known.number == part) else {
                return Err(damaged(Damaged { at: 0, what: "its file is not known" }));
            };
            let head = Head::read(&head).map_err(damaged)?;
            let (mut matching, labels) = compare(&self.query, part, &head);
            if let Some(place) = self.after.filter(|place| (place.upload, place.chunk) == (current.candidate.number, number)) {
                matching.retain(|run| *run > place.run);
            }
            if !matching.is_empty() {
                return Ok(Some(Found { upload: current.candidate.number, part: Arc::clone(part), chunk: number, head, body, matching, labels }));
            }
        }
    }

    /// The next chunk with records, of whatever upload.
    pub(crate) fn next(&mut self) -> Asked<'_, Option<Found>> {
        Box::pin(async move {
            loop {
                if let Some(found) = self.next_in_upload().await? {
                    return Ok(Some(found));
                }
                if self.next_upload().await?.is_none() {
                    return Ok(None);
                }
            }
        })
    }
}

async fn read_chunks(store: &PerfStore, want: Want, upload: i64, left: &mut VecDeque<u32>) -> Result<VecDeque<(u32, u32, Vec<u8>, Vec<u8>)>, Error> {
    let wanted: Vec<u32> = left.drain(..left.len().min(CHUNKS)).collect();
    let (Some(first), Some(last)) = (wanted.first().copied(), wanted.last().copied()) else { return Ok(VecDeque::new()) };
    let together = (last - first) as usize + 1 == wanted.len();
    let (columns, tables) = match want {
        Want::Nothing => ("c.number, c.part, c.head, c.head", "chunk c"),
        Want::Text => ("c.number, c.part, c.head, c.body", "chunk c"),
        Want::Values => ("c.number, c.part, c.head, v.body", "chunk c CROSS JOIN chunk_values v"),
    };
    let join = if want == Want::Values { " AND v.upload = c.upload AND v.number = c.number" } else { "" };
    let mut args = vec![upload.into(), i64::from(first).into(), i64::from(last).into()];
    let which = if together {
        String::new()
    } else {
        // Always the same text, so that it is prepared once.
        args.extend((0..CHUNKS).map(|at| i64::from(wanted.get(at).copied().unwrap_or(last)).into()));
        let places: Vec<String> = (0..CHUNKS).map(|at| format!("${}", at + 4)).collect();
        format!(" AND c.number IN ({})", places.join(", "))
    };
    let sql = format!("SELECT {columns} FROM {tables} WHERE c.upload = $1 AND c.number BETWEEN $2 AND $3{which}{join} ORDER BY c.number");
    let rows = store.0.db.query_values(sql, args).await?;
    rows.iter()
        .map(|row| {
            let small = |at| -> Result<u32, Error> { Ok(u32::try_from(row.int(at)?).unwrap_or(u32::MAX)) };
            let body = if want == Want::Nothing { Vec::new() } else { row.blob(3)?.to_vec() };
            Ok((small(0)?, small(1)?, row.blob(2)?.to_vec(), body))
        })
        .collect()
}

/// What is left to ask of the names of a set's records.
type Left<'q> = Vec<(&'q [u8], &'q QueryPart)>;
/// The labels of a name.
type NameLabels = Vec<(Box<[u8]>, Box<[u8]>)>;

/// Which records of a chunk fulfil the query, and the labels of their sets.
fn compare(query: &Query, part: &Part, head: &Head) -> (Vec<u32>, Vec<Option<Labels>>) {
    // `None`: none of a set's records can fulfil the query.
    let mut open: Vec<Option<Left<'_>>> = Vec::with_capacity(head.sets.len());
    let mut labels = Vec::with_capacity(head.sets.len());
    for set in &head.sets {
        let mut left = Vec::new();
        let fits = query.parts().all(|(key, wanted)| {
            if key.starts_with(b"/") {
                left.push((key.get(1..).unwrap_or_default(), wanted));
                return true;
            }
            match part.labels.get(key).or_else(|| set.get(key)) {
                Some(value) => wanted.matches(key, value),
                None => {
                    left.push((key, wanted));
                    true
                }
            }
        });
        labels.push(fits.then(|| set.overlaid(&part.labels)));
        open.push(fits.then_some(left));
    }
    let mut names: Vec<Option<NameLabels>> = vec![None; head.names.len()];
    let mut matching = Vec::new();
    for (at, run) in head.runs.iter().enumerate() {
        let Some(Some(left)) = open.get(run.set as usize) else { continue };
        let fits = left.is_empty() || {
            let (Some(name), Some(known)) = (head.names.get(run.name as usize), names.get_mut(run.name as usize)) else { continue };
            let known = known.get_or_insert_with(|| name_labels(name));
            left.iter().all(|(key, wanted)| known.iter().any(|(label, value)| label.as_ref() == *key && wanted.matches(key, value)))
        };
        if fits {
            matching.push(at as u32);
        }
    }
    (matching, labels)
}

/// The records of an answer, by upload (day and number), then in the order they came.
pub struct Search {
    scan: Scan,
    place: Option<Place>,
}

impl std::fmt::Debug for Search {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Search").field("query", &self.scan.query).field("place", &self.place).finish_non_exhaustive()
    }
}

impl Search {
    /// The next records, at least one; `None` at the end.
    ///
    /// # Errors
    /// The database fails, or what it gives is damaged.
    #[expect(clippy::should_implement_trait, reason = "an iterator does not wait")]
    pub fn next(&mut self) -> Asked<'_, Option<Vec<(Record, Place)>>> {
        Box::pin(async move {
            let Some(found) = self.scan.next().await? else { return Ok(None) };
            let text = chunk::text(&found.body).map_err(|source| damaged(&found, source))?;
            let mut out = Vec::with_capacity(found.matching.len());
            let (mut from, mut wanted) = (0, found.matching.iter().copied().peekable());
            for (at, run) in found.head.runs.iter().enumerate() {
                let end = from + run.bytes as usize;
                if wanted.next_if_eq(&(at as u32)).is_some() {
                    let cut = |what| damaged(&found, Damaged { at: from, what });
                    if end > text.len() {
                        return Err(cut("its text is too short"));
                    }
                    let labels = found.labels.get(run.set as usize).cloned().flatten().unwrap_or_default();
                    let name = found.head.names.get(run.name as usize).cloned().unwrap_or_default();
                    let place = Place { upload: found.upload, chunk: found.chunk, run: at as u32 };
                    let continues = at == 0 && found.head.continues;
                    out.push((Record { part: Arc::clone(&found.part), labels, name, lines: text.slice(from..end), continues }, place));
                }
                from = end;
            }
            self.place = out.last().map(|(_, place)| *place);
            Ok(Some(out))
        })
    }
}

fn damaged(found: &Found, source: Damaged) -> Error {
    Error::Damaged { upload: found.part.labels.text("upload").unwrap_or_default().into_owned(), chunk: found.chunk.into(), source }
}

/// The values of an answer, record by record, in the order of [`Search`].
pub struct Series {
    scan: Scan,
}

impl std::fmt::Debug for Series {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Series").field("query", &self.scan.query).finish_non_exhaustive()
    }
}

impl Series {
    /// The next samples, at least one; `None` at the end. A long record may come in several samples with equal labels and name.
    ///
    /// # Errors
    /// The database fails, or what it gives is damaged.
    #[expect(clippy::should_implement_trait, reason = "an iterator does not wait")]
    pub fn next(&mut self) -> Asked<'_, Option<Vec<Sample>>> {
        Box::pin(async move {
            let Some(found) = self.scan.next().await? else { return Ok(None) };
            let values = Values::read(&found.body).map_err(|source| damaged(&found, source))?;
            let mut out = Vec::with_capacity(found.matching.len());
            let (mut from, mut wanted) = (0, found.matching.iter().copied().peekable());
            for (at, run) in found.head.runs.iter().enumerate() {
                let end = from + run.lines as usize;
                if wanted.next_if_eq(&(at as u32)).is_some() {
                    let columns = columns(&values, from, end).ok_or(damaged(&found, Damaged { at: from, what: "its values are too few" }))?;
                    let labels = found.labels.get(run.set as usize).cloned().flatten().unwrap_or_default();
                    let name = found.head.names.get(run.name as usize).cloned().unwrap_or_default();
                    out.push(Sample { part: Arc::clone(&found.part), labels, name, columns });
                }
                from = end;
            }
            Ok(Some(out))
        })
    }
}

fn columns(values: &Values, from: usize, end: usize) -> Option<Vec<Column>> {
    let mut columns: Vec<Column> = Vec::new();
    for line in values.lines.get(from..end)? {
        let units: &[Bytes] = values.shapes.get(line.shape as usize)?;
        let numbers = values.values.get(line.from..line.from + units.len())?;
        for (at, (unit, number)) in units.iter().zip(numbers).enumerate() {
            // Nearly always the same units in the same order.
            let place = match columns.get(at) {
                Some(column) if column.unit == *unit => at,
                _ => columns.iter().position(|column| column.unit == *unit).unwrap_or_else(|| {
                    columns.push(Column { unit: unit.clone(), values: Vec::with_capacity(end - from) });
                    columns.len() - 1
                }),
            };
            columns.get_mut(place)?.values.push(*number);
        }
    }
    Some(columns)
}

impl PerfStore {
    /// Searches. `after`: only what follows a place of an earlier answer.
    ///
    /// # Errors
    /// The database fails.
    pub fn search<'a>(&'a self, query: &'a Query, after: Option<Place>) -> Asked<'a, Search> {
        Box::pin(async move { Ok(Search { scan: Scan::new(self, query.clone(), Want::Text, Direction::Forwards, after).await?, place: None }) })
    }

    /// The values of records that a query matches.
    ///
    /// # Errors
    /// The database fails.
    pub fn series<'a>(&'a self, query: &'a Query) -> Asked<'a, Series> {
        Box::pin(async move { Ok(Series { scan: Scan::new(self, query.clone(), Want::Values, Direction::Forwards, None).await? }) })
    }
}
