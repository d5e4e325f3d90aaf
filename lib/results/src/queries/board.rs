//! The cells of grids, packed per commit.

use std::sync::Arc;

use burrow_store::{Error, Value};
use burrow_task::BoxFuture;

use super::{Results, padded, placeholders, state};
use crate::model::BuildId;
use crate::view::Cell;

/// The cells of one commit, by builder name and then base commit.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RowCells {
    /// Sorted by builder, then by `dep`.
    pub entries: Vec<Entry>,
}

/// One cell with its keys.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// Builder name.
    pub builder: Arc<str>,
    /// Commit of the base repository it was built against; empty for most projects.
    pub dep: Box<str>,
    /// The newest build. `machine` is left empty here.
    pub cell: Cell,
}

impl RowCells {
    /// The cell of a builder: the newest build, whatever it was built against.
    pub fn get(&self, builder: &str) -> Option<&Cell> {
        let at = self.entries.partition_point(|entry| &*entry.builder < builder);
        self.entries.get(at..)?.iter().take_while(|entry| &*entry.builder == builder).map(|entry| &entry.cell).max_by_key(|cell| cell.build)
    }

    /// The cell of a builder against one base commit.
    pub fn get_against(&self, builder: &str, dep: &str) -> Option<&Cell> {
        let at = self.entries.partition_point(|entry| (&*entry.builder, &*entry.dep) < (builder, dep));
        self.entries.get(at).filter(|entry| &*entry.builder == builder && &*entry.dep == dep).map(|entry| &entry.cell)
    }
}

impl Results {
    /// The cells of some commits of a repository, in the order asked.
    ///
    /// # Errors
    /// Whatever the database says.
    pub fn cells<'a>(&'a self, repo: &'a str, hashes: &'a [&'a str]) -> BoxFuture<'a, Result<Vec<RowCells>, Error>> {
        Box::pin(async move {
            let mut found: Vec<RowCells> = vec![RowCells::default(); hashes.len()];
            for chunk in hashes.chunks(256) {
                if chunk.is_empty() {
                    continue;
                }
                let list = padded(chunk);
                let names = placeholders(2, list.len());
                // One row per commit. Unit and record separators cannot occur in names or hashes.
                let sql = format!(
                    "SELECT hash, string_agg(concat_ws('\u{1f}', id, builder, state, flaky, attempts, superseded, COALESCE(started_ms, -1), COALESCE(ended_ms, -1), dep_hash, COALESCE(log_hash, '')), '\u{1e}') \
                 FROM builds WHERE repo = $1 AND hash IN ({names}) GROUP BY hash"
                );
                let mut args = vec![Value::from(repo)];
                args.extend(list);
                let rows = self.db.query_values(sql, args).await?;
                let mut names = Names::default();
                for row in &rows {
                    let hash = row.text(0)?;
                    let cells = unpack(row.opt_text(1)?.unwrap_or_default(), &mut names);
                    for (asked, slot) in hashes.iter().zip(&mut found) {
                        if *asked == hash {
                            slot.clone_from(&cells);
                        }
                    }
                }
            }
            Ok(found)
        })
    }

    /// Workers of builds, for views that show them; pairs of build and worker.
    ///
    /// # Errors
    /// Whatever the database says.
    pub fn machines_of<'a>(&'a self, builds: &'a [BuildId]) -> BoxFuture<'a, Result<std::collections::HashMap<BuildId, String>, Error>> {
        Box::pin(async move {
            let mut found = std::collections::HashMap::with_capacity(builds.len());
            let (Some(low), Some(high)) = (builds.iter().min(), builds.iter().max()) else { return Ok(found) };
            // Builds of one page are close together: a range is one walk.
            let wanted: std::collections::HashSet<BuildId> = builds.iter().copied().collect();
            let rows = self
            .db
            .query(
                "SELECT string_agg(concat_ws('\u{1f}', b.id, a.worker), '\u{1e}') FROM builds b JOIN attempts a ON a.id = b.current_attempt WHERE b.id BETWEEN $1 AND $2",
                (low.0, high.0),
            )
            .await?;
            for row in &rows {
                for part in row.opt_text(0)?.unwrap_or_default().split('\u{1e}') {
                    if let Some((id, worker)) = part.split_once('\u{1f}')
                        && let Ok(id) = id.parse().map(BuildId)
                        && wanted.contains(&id)
                        && !worker.is_empty()
                    {
                        found.insert(id, worker.to_owned());
                    }
                }
            }
            Ok(found)
        })
    }
}

/// Builder names once each: a page has thousands of cells and a hundred names.
#[derive(Default)]
struct Names(std::collections::HashSet<Arc<str>>);

impl Names {
    fn get(&mut self, name: &str) -> Arc<str> {
        match self.0.get(name) {
            Some(known) => known.clone(),
            None => {
                let fresh: Arc<str> = name.into();
                self.0.insert(fresh.clone());
                fresh
            }
        }
    }
}

fn unpack(packed: &str, names: &mut Names) -> RowCells {
    let mut builds: Vec<(Entry, bool)> = Vec::with_capacity(packed.len() / 80 + 1);
    for record in packed.split('\u{1e}') {
        let mut fields = record.split('\u{1f}');
        let mut number = || fields.next().and_then(|text| text.parse::<i64>().ok());
        let Some(id) = number() else { continue };
        let (Some(builder), Some(word)) = (fields.next(), fields.next()) else { continue };
        let mut number = || fields.next().and_then(|text| text.parse::<i64>().ok()).unwrap_or(-1);
        let (flaky, attempts, superseded, started, ended) = (number(), number(), number(), number(), number());
        let dep = fields.next().unwrap_or_default();
        let log = fields.next().filter(|log| !log.is_empty());
        let cell = Cell {
            state: state(word),
            build: BuildId(id),
            attempts,
            flaky: flaky > 0,
            log: log.map(str::to_owned),
            seconds: (started >= 0 && ended >= started).then(|| (ended - started) as f64 / 1000.0),
            started_ms: (started >= 0).then_some(started),
            machine: None,
        };
        builds.push((Entry { builder: names.get(builder), dep: dep.into(), cell }, superseded > 0));
    }
    // Newest last within a cell; what was superseded gives way to what replaced it.
    builds.sort_by(|(a, old_a), (b, old_b)| (&*a.builder, &*a.dep, !*old_a, a.cell.build).cmp(&(&*b.builder, &*b.dep, !*old_b, b.cell.build)));
    let mut entries: Vec<Entry> = Vec::with_capacity(builds.len());
    for (mut entry, _) in builds {
        match entries.last_mut() {
            Some(last) if last.builder == entry.builder && last.dep == entry.dep => {
                // The same code failed and passed: that is what flaky means, whoever asked again.
                if entry.cell.state == crate::model::BuildState::Passed && last.cell.state.failed() {
                    entry.cell.flaky = true;
                }
                *last = entry;
            }
            _ => entries.push(entry),
        }
    }
    RowCells { entries }
}
