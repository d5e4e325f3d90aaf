//! Where results come from: the store in this process, or a perfdata elsewhere.

use std::collections::HashMap;
use std::sync::Arc;

use burrow_http_client::{Client, Request};
use burrow_perfstore::{Page, PerfStore, Query, QueryError};
use bytes::Bytes;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use protocol_benchfmt::store::{Reader, Record, name_labels};
use protocol_benchfmt::{Assumption, Better, Reader as TextReader, Units};

/// Results of one answer at most: more would be a table that nobody reads.
const MOST: usize = 500_000;
/// Bytes of an answer of another perfdata at most.
const MOST_BYTES: usize = 256 << 20;

/// Where results are.
#[derive(Debug, Clone)]
pub enum Source {
    /// In this process.
    Store(PerfStore),
    /// At another perfdata.
    Remote(Remote),
}

/// A perfdata elsewhere.
#[derive(Clone)]
pub struct Remote {
    client: Client,
    base: String,
}

impl std::fmt::Debug for Remote {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Remote").field("base", &self.base).finish_non_exhaustive()
    }
}

impl Remote {
    /// At this address, like `https://perfdata.example.org`.
    pub fn new(client: Client, base: &str) -> Remote {
        Remote { client, base: base.trim_end_matches('/').to_owned() }
    }
}

/// Why there are no results.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The query is wrong.
    #[error(transparent)]
    Query(#[from] QueryError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] burrow_perfstore::Error),
    /// The other perfdata cannot be reached.
    #[error("{url}: {source}")]
    Remote {
        /// What was asked.
        url: String,
        /// Why not.
        source: burrow_http_client::Error,
    },
    /// The other perfdata refused.
    #[error("{url}: status {status}: {text}")]
    Refused {
        /// What was asked.
        url: String,
        /// Its answer.
        status: u16,
        /// Its words.
        text: String,
    },
    /// More than can be shown.
    #[error("the query matches more than {MOST} results; narrow it, for instance to one `name:` or `upload:`")]
    TooMany,
    /// The other perfdata said something else than a list.
    #[error("{url}: the list of uploads cannot be read: {why}")]
    List {
        /// What was asked.
        url: String,
        /// What is wrong.
        why: String,
    },
}

/// A set of labels, shared by the results that have it.
pub type LabelSet = Arc<Vec<(String, String)>>;

/// A benchmark with the values of one place.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    /// Labels in force, sorted, without those of the name.
    pub labels: LabelSet,
    /// Its name, without `Benchmark`.
    pub name: String,
    /// Lines as they were uploaded.
    pub lines: Vec<String>,
}

impl Found {
    /// The value of a label: the name's own first.
    pub fn label(&self, key: &str) -> Option<String> {
        let own = name_labels(self.name.as_bytes()).into_iter().find(|(name, _)| **name == *key.as_bytes());
        own.map(|(_, value)| String::from_utf8_lossy(&value).into_owned()).or_else(|| get(&self.labels, key).map(str::to_owned))
    }

    /// All labels, with those of the name.
    pub fn all_labels(&self) -> Vec<(String, String)> {
        let mut all: Vec<(String, String)> = self.labels.to_vec();
        for (key, value) in name_labels(self.name.as_bytes()) {
            let key = String::from_utf8_lossy(&key).into_owned();
            let value = String::from_utf8_lossy(&value).into_owned();
            match all.iter_mut().find(|(known, _)| *known == key) {
                Some((_, known)) => *known = value,
                None => all.push((key, value)),
            }
        }
        all.sort();
        all
    }
}

/// The value of a label.
pub fn get<'l>(labels: &'l [(String, String)], key: &str) -> Option<&'l str> {
    let at = labels.binary_search_by(|(known, _)| known.as_str().cmp(key)).ok()?;
    labels.get(at).map(|(_, value)| value.as_str())
}

/// An answer of a source.
#[derive(Debug, Default)]
pub struct Answer {
    /// What was found, in the store's order.
    pub found: Vec<Found>,
    /// What `Unit` lines say.
    pub unit_lines: Vec<String>,
}

impl Answer {
    /// What is known about units.
    pub fn units(&self) -> Units {
        let text = self.unit_lines.join("\n");
        let mut reader = TextReader::new(text.as_bytes(), "Unit lines");
        while reader.next().is_some() {}
        reader.into_units()
    }
}

/// An upload of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its name.
    pub upload: String,
    /// How many of its records match.
    pub count: u64,
    /// The labels that were asked for.
    pub labels: HashMap<String, String>,
}

impl Source {
    /// Searches. `query` is in the store's language.
    ///
    /// # Errors
    /// [`SourceError`].
    pub async fn search(&self, query: &str) -> Result<Answer, SourceError> {
        match self {
            Source::Store(store) => search_store(store, query).await,
            Source::Remote(remote) => remote.search(query).await,
        }
    }

    /// Uploads that match, newest first.
    ///
    /// # Errors
    /// [`SourceError`].
    pub async fn uploads(&self, query: &str, labels: &[&str], limit: usize) -> Result<Vec<Listed>, SourceError> {
        match self {
            Source::Store(store) => {
                let keys: Vec<Bytes> = labels.iter().map(|key| Bytes::copy_from_slice(key.as_bytes())).collect();
                let query = if query.is_empty() { Query::everything() } else { Query::parse(query.as_bytes())? };
                let listed = store.uploads(&query, &keys, &Page { limit: Some(limit), after: None }).await?;
                let text = |value: Bytes| String::from_utf8_lossy(&value).into_owned();
                let own = |one: burrow_perfstore::Listed| Listed {
                    upload: one.name,
                    count: one.count,
                    labels: one.labels.into_iter().map(|(k, v)| (k, text(v))).collect(),
                };
                Ok(listed.into_iter().map(own).collect())
            }
            Source::Remote(remote) => remote.uploads(query, labels, limit).await,
        }
    }
}

async fn search_store(store: &PerfStore, query: &str) -> Result<Answer, SourceError> {
    let mut search = store.search(&Query::parse(query.as_bytes())?, None).await?;
    let mut answer = Answer::default();
    let mut last: Option<(burrow_perfstore::Labels, LabelSet)> = None;
    let mut lines = 0;
    while let Some(records) = search.next().await? {
        for (record, _) in records {
            let labels = match &last {
                Some((known, set)) if known.is_same(&record.labels) => Arc::clone(set),
                _ => {
                    let text = |bytes: &Bytes| String::from_utf8_lossy(bytes).into_owned();
                    let set: LabelSet = Arc::new(record.labels.iter().map(|(key, value)| (text(key), text(value))).collect());
                    last = Some((record.labels.clone(), Arc::clone(&set)));
                    set
                }
            };
            for unit in &record.part.units {
                let line = String::from_utf8_lossy(unit).into_owned();
                if !answer.unit_lines.contains(&line) {
                    answer.unit_lines.push(line);
                }
            }
            let text = String::from_utf8_lossy(&record.lines);
            let found = Found { labels, name: String::from_utf8_lossy(&record.name).into_owned(), lines: text.lines().map(str::to_owned).collect() };
            lines += found.lines.len();
            if lines > MOST {
                return Err(SourceError::TooMany);
            }
            answer.found.push(found);
        }
    }
    Ok(answer)
}

impl Remote {
    async fn get(&self, path: &str) -> Result<(String, Bytes), SourceError> {
        let url = format!("{}{path}", self.base);
        let failed = |source| SourceError::Remote { url: url.clone(), source };
        let answer = self.client.send(Request::get(&url).map_err(failed)?.gzip()).await.map_err(failed)?;
        let status = answer.status();
        if !status.is_success() {
            let text = String::from_utf8_lossy(&answer.beginning(2_000).await).trim().to_owned();
            return Err(SourceError::Refused { url, status: status.as_u16(), text });
        }
        let body = answer.bytes(MOST_BYTES).await.map_err(failed)?;
        Ok((url, body))
    }

    async fn search(&self, query: &str) -> Result<Answer, SourceError> {
        let (_, body) = self.get(&format!("/search?q={}", utf8_percent_encode(query, NON_ALPHANUMERIC))).await?;
        read(&body)
    }

    async fn uploads(&self, query: &str, labels: &[&str], limit: usize) -> Result<Vec<Listed>, SourceError> {
        let mut path = format!("/uploads?q={}&limit={limit}", utf8_percent_encode(query, NON_ALPHANUMERIC));
        for label in labels {
            path.push_str("&extra_label=");
            path.extend(utf8_percent_encode(label, NON_ALPHANUMERIC));
        }
        let (url, body) = self.get(&path).await?;
        #[derive(serde::Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Line {
            count: u64,
            #[serde(rename = "UploadID")]
            upload: String,
            #[serde(default)]
            label_values: Option<HashMap<String, String>>,
        }
        let wrong = |error: serde_json::Error| SourceError::List { url: url.clone(), why: error.to_string() };
        let lines = serde_json::Deserializer::from_slice(&body).into_iter::<Line>();
        lines
            .map(|line| line.map(|line| Listed { upload: line.upload, count: line.count, labels: line.label_values.unwrap_or_default() }).map_err(wrong))
            .collect()
    }
}

/// Reads what `/search` of a perfdata answers.
///
/// # Errors
/// [`SourceError::TooMany`].
pub fn read(text: &[u8]) -> Result<Answer, SourceError> {
    let mut answer = Answer::default();
    let mut last: Option<(u64, LabelSet)> = None;
    let mut lines = 0;
    let mut reader = Reader::new(protocol_benchfmt::store::Labels::new());
    let mut sink = |record: Record<'_>| match record {
        Record::Result(result) => {
            lines += 1;
            if lines > MOST {
                return;
            }
            let labels = match &last {
                Some((generation, set)) if *generation == result.generation => Arc::clone(set),
                _ => {
                    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                    let set: LabelSet = Arc::new(result.labels.iter().map(|(key, value)| (text(key), text(value))).collect());
                    last = Some((result.generation, Arc::clone(&set)));
                    set
                }
            };
            let name = String::from_utf8_lossy(result.name);
            let line = String::from_utf8_lossy(result.line).into_owned();
            match answer.found.last_mut() {
                Some(found) if Arc::ptr_eq(&found.labels, &labels) && found.name == name => found.lines.push(line),
                _ => answer.found.push(Found { labels, name: name.into_owned(), lines: vec![line] }),
            }
        }
        Record::Unit { line, .. } => {
            let line = String::from_utf8_lossy(line).into_owned();
            if !answer.unit_lines.contains(&line) {
                answer.unit_lines.push(line);
            }
        }
        _ => {}
    };
    reader.push(text, &mut sink);
    reader.finish(&mut sink);
    if lines > MOST { Err(SourceError::TooMany) } else { Ok(answer) }
}

/// Values of a result line in base units: `(tidied unit, written unit, value)`.
pub fn values(line: &str) -> Vec<(String, String, f64)> {
    let mut reader = TextReader::new(line.as_bytes(), "");
    let mut out = Vec::new();
    while let Some(record) = reader.next() {
        if let protocol_benchfmt::Record::Result(result) = record {
            let text = |unit: &[u8]| String::from_utf8_lossy(unit).into_owned();
            out.extend(result.measurements().map(|one| (text(one.unit), text(one.original_unit), one.value)));
        }
    }
    out
}

/// Whether larger values of a unit are better, by what `Unit` lines say and by its name (`spec/perf.md` §9). `None`: nobody knows.
pub fn higher_is_better(units: &Units, unit: &str) -> Option<bool> {
    match units.better(unit.as_bytes()) {
        Better::Higher => Some(true),
        Better::Lower => Some(false),
        Better::Unknown => None,
    }
}

/// Whether a unit's values are the same each time.
pub fn exact(units: &Units, unit: &str) -> Assumption {
    units.assumption(unit.as_bytes())
}
