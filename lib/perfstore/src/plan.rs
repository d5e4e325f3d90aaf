//! How a query is answered: the lists of chunks that are intersected, and what is then compared record by record.

use burrow_store::Value;

use crate::id::UploadId;
use crate::model::Error;
use crate::query::{Part as QueryPart, Query};
use crate::store::PerfStore;
use crate::terms::is_by_row;

/// Lists that are intersected by the database; conditions beyond that are compared record by record.
const LISTS: usize = 6;
/// How far lists are counted to find the shortest.
const COUNTED: i64 = 2_000;
/// Uploads that are asked for at once.
const PAGE: i64 = 64;
/// Numbers of uploads with names of days; others are below.
const DAYS: i64 = 10_000_000 * 1_000_000_000;

/// Which way uploads are walked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    /// As they came.
    Forwards,
    /// Newest first.
    Backwards,
}

/// An upload that may have records of the answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Candidate {
    pub(crate) number: i64,
    pub(crate) name: String,
    /// All of its chunks.
    pub(crate) chunks: u32,
    pub(crate) records: u64,
    /// Chunks that may have records of the answer; `None`: all.
    pub(crate) list: Option<Vec<u32>>,
}

/// The way to the candidates of a query.
#[derive(Debug)]
pub(crate) struct Plan {
    sql: String,
    args: Vec<Value>,
    lists: usize,
    /// Where the next page begins.
    at: i64,
    done: bool,
}

impl Plan {
    /// Finds the shortest lists. `after`: uploads behind this number only (in the direction).
    pub(crate) async fn new(store: &PerfStore, query: &Query, direction: Direction, after: Option<i64>) -> Result<Plan, Error> {
        let hasher = store.0.hasher;
        let mut terms = Vec::new();
        let mut exact: Option<Vec<u8>> = None;
        let mut conditions: Vec<(&'static str, Value)> = Vec::new();
        let mut done = query.is_empty_answer();
        for (key, part) in query.parts() {
            match (key, part) {
                (b"upload", QueryPart::Equals(name)) => exact = Some(name.clone()),
                (b"upload-part", QueryPart::Equals(name)) => {
                    let upload = name.iter().rposition(|byte| *byte == b'/').and_then(|at| name.get(..at)).unwrap_or_default();
                    exact.get_or_insert_with(|| upload.to_vec());
                }
                (b"upload", part) => {
                    let (upper, lower) = bounds(part);
                    let number = |text: Option<&[u8]>| text.and_then(UploadId::parse).map(|id| Value::from(id.number()));
                    conditions.extend(number(upper).map(|number| ("u.no < ", number)));
                    // Uploads of other names are compared as texts, later.
                    conditions.extend(number(lower).map(|number| ("u.no > ", number)));
                }
                (b"upload-time", part) => {
                    let (upper, lower) = bounds(part);
                    let moment = |text: Option<&[u8]>, add: i64| {
                        let at: jiff::Timestamp = std::str::from_utf8(text?).ok()?.parse().ok()?;
                        Some(Value::from(at.as_millisecond().saturating_add(add)))
                    };
                    conditions.extend(moment(upper, 1_000).map(|at| ("u.at_ms < ", at)));
                    conditions.extend(moment(lower, -1_000).map(|at| ("u.at_ms > ", at)));
                }
                (key, _) if is_by_row(key) => {}
                (key, part) => {
                    let id = hasher.key(key.strip_prefix(b"/").unwrap_or(key));
                    terms.push(match part {
                        QueryPart::Equals(value) => hasher.value(id, value),
                        _ => id,
                    });
                }
            }
        }
        if let Some(name) = exact {
            let rows = match std::str::from_utf8(&name) {
                Ok(name) => store.0.db.query("SELECT no FROM upload WHERE name = $1", (name,)).await?,
                Err(_) => Vec::new(),
            };
            match rows.first() {
                Some(row) => conditions.push(("u.no = ", row.int(0)?.into())),
                None => done = true,
            }
        }
        if terms.len() > 1 {
            let mut counted = Vec::with_capacity(terms.len());
            for term in terms {
                let rows = store.0.db.query("SELECT COUNT(*) FROM (SELECT 1 FROM posting WHERE label = $1 LIMIT $2) AS counted", (term, COUNTED)).await?;
                counted.push((rows.first().map_or(Ok(0), |row| row.int(0))?, term));
            }
            done |= counted.iter().any(|(count, _)| *count == 0);
            counted.sort_unstable();
            terms = counted.into_iter().map(|(_, term)| term).collect();
        }
        terms.truncate(LISTS);
        let (sql, args) = statement(&terms, &conditions, direction);
        let at = after.unwrap_or(if direction == Direction::Forwards { i64::MIN } else { i64::MAX });
        Ok(Plan { sql, args, lists: terms.len(), at, done })
    }

    /// The next candidates; none at the end.
    pub(crate) async fn next(&mut self, store: &PerfStore) -> Result<Vec<Candidate>, Error> {
        if self.done {
            return Ok(Vec::new());
        }
        let mut args = vec![Value::from(self.at)];
        args.extend(self.args.iter().cloned());
        let rows = store.0.db.query_values(self.sql.clone(), args).await?;
        self.done = rows.len() < PAGE as usize;
        let mut out = Vec::with_capacity(rows.len());
        for row in &rows {
            let number = row.int(0)?;
            let mut list: Option<Vec<u32>> = None;
            for column in 0..self.lists {
                let stored = row.blob(4 + column)?;
                if stored.is_empty() {
                    continue;
                }
                let chunks =
                    crate::varint::rising(stored).map_err(|source| Error::Damaged { upload: row.text(1).unwrap_or_default().to_owned(), chunk: -1, source })?;
                list = Some(match list {
                    None => chunks,
                    Some(known) => intersect(&known, &chunks),
                });
            }
            self.at = number;
            if list.as_ref().is_some_and(Vec::is_empty) {
                continue;
            }
            let chunks = u32::try_from(row.int(2)?).unwrap_or(0);
            out.push(Candidate { number, name: row.text(1)?.to_owned(), chunks, records: row.int(3)?.unsigned_abs(), list });
        }
        // A page of which nothing is left is not the end.
        if out.is_empty() && !self.done { Box::pin(self.next(store)).await } else { Ok(out) }
    }

    /// Begins behind this number (in the direction); before anything was asked.
    pub(crate) fn begin_at(&mut self, number: i64) {
        self.at = number;
    }
}

/// Upper and lower bound of a range.
fn bounds(part: &QueryPart) -> (Option<&[u8]>, Option<&[u8]>) {
    match part {
        QueryPart::Equals(_) => (None, None),
        QueryPart::Less(upper) => (Some(upper), None),
        QueryPart::Greater(lower) => (None, Some(lower)),
        QueryPart::Between(upper, lower) => (Some(upper), Some(lower)),
    }
}

/// Candidates behind `$1`: uploads in all lists and within all bounds. The shortest list is walked, the others are looked up; `CROSS JOIN` keeps SQLite to that.
fn statement(terms: &[i64], conditions: &[(&'static str, Value)], direction: Direction) -> (String, Vec<Value>) {
    let mut args = Vec::new();
    let mut sql = String::from("SELECT u.no, u.name, u.chunks, u.records");
    (0..terms.len()).for_each(|list| sql.push_str(&format!(", p{list}.chunks")));
    sql.push_str(" FROM ");
    (0..terms.len()).for_each(|list| sql.push_str(&format!("posting p{list} CROSS JOIN ")));
    let first = if terms.is_empty() { "u.no" } else { "p0.upload" };
    let (sign, order) = if direction == Direction::Forwards { (">", "ASC") } else { ("<", "DESC") };
    sql.push_str(&format!("upload u WHERE {first} {sign} $1"));
    for (list, term) in terms.iter().enumerate() {
        args.push(Value::from(*term));
        sql.push_str(&format!(" AND p{list}.label = ${}", args.len() + 1));
        if list > 0 {
            sql.push_str(&format!(" AND p{list}.upload = p0.upload"));
        }
    }
    if !terms.is_empty() {
        sql.push_str(" AND u.no = p0.upload");
    }
    for (condition, value) in conditions {
        args.push(value.clone());
        let place = args.len() + 1;
        match *condition {
            // An equal number is one row: the list is entered there and not walked.
            "u.no = " => sql.push_str(&format!(" AND {first} = ${place}")),
            "u.no < " => sql.push_str(&format!(" AND {first} < ${place}")),
            "u.no > " => sql.push_str(&format!(" AND ({first} > ${place} OR {first} < {DAYS})")),
            other => sql.push_str(&format!(" AND {other}${place}")),
        }
    }
    sql.push_str(&format!(" ORDER BY {first} {order} LIMIT {PAGE}"));
    (sql, args)
}

fn intersect(a: &[u32], b: &[u32]) -> Vec<u32> {
    let mut out = Vec::new();
    let mut b = b.iter().copied().peekable();
    for one in a {
        while b.next_if(|other| other < one).is_some() {}
        if b.peek() == Some(one) {
            out.push(*one);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_intersected() {
        assert_eq!(intersect(&[1, 3, 5, 9], &[0, 3, 4, 5, 6]), [3, 5]);
        assert_eq!(intersect(&[1], &[]), Vec::<u32>::new());
    }
}
