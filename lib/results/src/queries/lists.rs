//! Lists of builds: filters, one builder, the queue.

use burrow_store::{Error, Value};

use super::{LINE, LINE_FROM, Results, count, json, line, padded, placeholders};
use crate::model::{BuildId, BuildState};
use crate::view::{BuildLine, Builder};
use burrow_task::BoxFuture;

/// Which builds to list; empty fields do not restrict.
#[derive(Debug, Clone, Default)]
pub struct BuildFilter {
    /// Exact builder name.
    pub builder: Option<String>,
    /// Exact repository name.
    pub repo: Option<String>,
    /// Exact branch name.
    pub branch: Option<String>,
    /// Full hash.
    pub hash: Option<String>,
    /// Any of these states.
    pub states: Vec<BuildState>,
    /// Created at or after, Unix milliseconds.
    pub since_ms: Option<i64>,
    /// Continue below this number.
    pub before: Option<BuildId>,
    /// Only the newest build of each cell.
    pub newest_only: bool,
}

/// A part of a list.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Page<T> {
    /// Newest first.
    pub items: Vec<T>,
    /// Cursor of the next part, if there is one.
    pub next: Option<i64>,
}

impl Results {
    /// Builds that match, newest first.
    ///
    /// # Errors
    /// Whatever the database says.
    pub fn builds<'a>(&'a self, filter: &'a BuildFilter, limit: usize) -> BoxFuture<'a, Result<Page<BuildLine>, Error>> {
        Box::pin(async move {
            let mut sql = format!("SELECT {LINE} {LINE_FROM} WHERE b.id < $1");
            let mut args: Vec<Value> = vec![filter.before.map_or(i64::MAX, |id| id.0).into()];
            for (column, value) in [("b.builder", &filter.builder), ("b.repo", &filter.repo), ("b.branch", &filter.branch), ("b.hash", &filter.hash)] {
                if let Some(value) = value {
                    args.push(value.into());
                    sql.push_str(&format!(" AND {column} = ${}", args.len()));
                }
            }
            if !filter.states.is_empty() {
                let list = placeholders(args.len() + 1, filter.states.len());
                args.extend(filter.states.iter().map(|state| Value::from(state.word())));
                sql.push_str(&format!(" AND b.state IN ({list})"));
            }
            if let Some(since) = filter.since_ms {
                args.push(since.into());
                sql.push_str(&format!(" AND b.created_ms >= ${}", args.len()));
            }
            if filter.newest_only {
                sql.push_str(" AND b.superseded = 0");
            }
            args.push(count(limit + 1).into());
            sql.push_str(&format!(" ORDER BY b.id DESC LIMIT ${}", args.len()));
            let rows = self.db.query_values(sql, args).await?;
            let mut items = rows.iter().map(line).collect::<Result<Vec<_>, Error>>()?;
            let next = if items.len() > limit {
                items.truncate(limit);
                items.last().map(|last| last.id.0)
            } else {
                None
            };
            Ok(Page { items, next })
        })
    }

    /// Some builds by number, in the order asked; unknown numbers are left out.
    ///
    /// # Errors
    /// Whatever the database says.
    pub fn build_lines<'a>(&'a self, ids: &'a [BuildId]) -> BoxFuture<'a, Result<Vec<BuildLine>, Error>> {
        Box::pin(async move {
            let mut found = std::collections::HashMap::with_capacity(ids.len());
            for chunk in ids.chunks(256) {
                // Numbers are sent as numbers; padding as for texts.
                let size = padded(&vec![""; chunk.len()]).len();
                let last = chunk.last().map_or(-1, |id| id.0);
                let args: Vec<Value> = chunk.iter().map(|id| id.0).chain(std::iter::repeat(last)).take(size).map(Value::from).collect();
                let sql = format!("SELECT {LINE} {LINE_FROM} WHERE b.id IN ({})", placeholders(1, args.len()));
                for row in self.db.query_values(sql, args).await? {
                    let line = line(&row)?;
                    found.insert(line.id, line);
                }
            }
            Ok(ids.iter().filter_map(|id| found.remove(id)).collect())
        })
    }

    /// The last finished builds, newest end first.
    ///
    /// # Errors
    /// Whatever the database says.
    pub fn recent(&self, limit: usize) -> BoxFuture<'_, Result<Vec<BuildLine>, Error>> {
        Box::pin(async move {
            // Numbers grow with time and ends follow closely: the newest numbers hold the newest ends.
            let sql = format!("SELECT {LINE} {LINE_FROM} WHERE b.ended_ms IS NOT NULL ORDER BY b.id DESC LIMIT $1");
            let rows = self.db.query_values(sql, vec![count(limit * 4).into()]).await?;
            let mut lines = rows.iter().map(line).collect::<Result<Vec<_>, Error>>()?;
            lines.sort_by_key(|line| std::cmp::Reverse(line.ended_ms));
            lines.truncate(limit);
            Ok(lines)
        })
    }

    /// How many builds are in each open state: queued or waiting, running.
    ///
    /// # Errors
    /// Whatever the database says.
    pub fn open_counts(&self) -> BoxFuture<'_, Result<(usize, usize), Error>> {
        Box::pin(async move {
            let rows = self.db.query("SELECT state, COUNT(*) FROM builds WHERE state IN ('queued', 'waiting_machine', 'running') GROUP BY state", ()).await?;
            let (mut queued, mut running) = (0, 0);
            for row in &rows {
                let n = usize::try_from(row.int(1)?).unwrap_or(0);
                if row.text(0)? == "running" { running += n } else { queued += n }
            }
            Ok((queued, running))
        })
    }

    /// A builder with its newest builds, or `None` if it was never configured and never ran.
    ///
    /// # Errors
    /// Whatever the database says.
    pub fn builder<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Option<Builder>, Error>> {
        Box::pin(async move {
            let rows = self.db.query("SELECT repo, spec, active FROM builders WHERE name = $1 ORDER BY active DESC, repo", (name,)).await?;
            let builds = self.builds(&BuildFilter { builder: Some(name.to_owned()), ..BuildFilter::default() }, 60).await?.items;
            if rows.is_empty() && builds.is_empty() {
                return Ok(None);
            }
            let finished = builds.iter().filter(|build| build.state == BuildState::Passed || build.state.failed()).count();
            let passed = builds.iter().filter(|build| build.state == BuildState::Passed).count();
            let mut seconds: Vec<f64> = builds
                .iter()
                .filter(|build| build.state == BuildState::Passed)
                .filter_map(|build| Some((build.ended_ms? - build.started_ms?) as f64 / 1000.0))
                .collect();
            seconds.sort_by(f64::total_cmp);
            Ok(Some(Builder {
                name: name.to_owned(),
                repos: rows.iter().map(|row| Ok(row.text(0)?.to_owned())).collect::<Result<Vec<_>, Error>>()?,
                spec: rows.first().map(|row| row.text(1).map(json)).transpose()?.unwrap_or(serde_json::Value::Null),
                pass_rate: (finished > 0).then(|| passed as f64 / finished as f64),
                median_seconds: seconds.get(seconds.len() / 2).copied(),
                flaky: builds.iter().filter(|build| build.flaky).count(),
                builds,
            }))
        })
    }
}
