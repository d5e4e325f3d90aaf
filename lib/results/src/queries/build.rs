//! One build, whole; one commit, whole.

use burrow_store::{Error, Row};

use super::{LINE, LINE_COLUMNS, LINE_FROM, Results, json, line};
use crate::model::{AttemptId, AttemptState, BuildId, StepKind, StepState};
use crate::view::{Attempt, Build, BuildLine, Commit, CommitPage, HistoryLine, Step, TestFailure};
use burrow_task::BoxFuture;

impl Results {
    /// A build with its attempts, steps and history. `waiting` is left empty: only the scheduler knows.
    ///
    /// # Errors
    /// Whatever the database says.
    pub fn build(&self, id: BuildId) -> BoxFuture<'_, Result<Option<Build>, Error>> {
        Box::pin(async move {
            let sql = format!(
                "SELECT {LINE}, c.author, c.email, c.time_s, b.origin, b.reason, b.spec, b.superseded, b.dep_hash, b.commit_s {LINE_FROM} WHERE b.id = $1"
            );
            let rows = self.db.query_values(sql, vec![id.0.into()]).await?;
            let Some(row) = rows.first() else { return Ok(None) };
            let line = line(row)?;
            let at = LINE_COLUMNS;
            let commit = Commit {
                repo: line.repo.clone(),
                hash: line.hash.clone(),
                title: line.title.clone(),
                author: row.opt_text(at)?.unwrap_or_default().to_owned(),
                email: row.opt_text(at + 1)?.unwrap_or_default().to_owned(),
                time_s: row.opt_int(at + 2)?.unwrap_or(row.int(at + 8)?),
            };
            let attempts_list = self.attempts(id).await?;
            let failures = match attempts_list.last() {
                Some(last) => self.failures(last.id).await?,
                None => Vec::new(),
            };
            let history = self.db.query("SELECT at_ms, actor, text FROM history WHERE build = $1 ORDER BY seq LIMIT 2000", (id.0,)).await?;
            let history = history
                .iter()
                .map(|row| Ok(HistoryLine { at_ms: row.int(0)?, actor: row.text(1)?.to_owned(), text: row.text(2)?.to_owned() }))
                .collect::<Result<Vec<_>, Error>>()?;
            let newer = if row.bool(at + 6)? {
                self.one_id(
                    "SELECT MAX(id) FROM builds WHERE repo = $1 AND hash = $2 AND builder = $3 AND dep_hash = $4 AND id > $5",
                    (&line.repo, &line.hash, &line.builder, row.text(at + 7)?, id.0),
                )
                .await?
            } else {
                None
            };
            let previous = self
                .one_id(
                    "SELECT id FROM builds WHERE builder = $1 AND id < $2 AND repo = $3 AND branch = $4 ORDER BY id DESC LIMIT 1",
                    (&line.builder, id.0, &line.repo, &line.branch),
                )
                .await?;
            let next = self
                .one_id(
                    "SELECT id FROM builds WHERE builder = $1 AND id > $2 AND repo = $3 AND branch = $4 ORDER BY id LIMIT 1",
                    (&line.builder, id.0, &line.repo, &line.branch),
                )
                .await?;
            Ok(Some(Build {
                commit,
                waiting: None,
                attempts_list,
                failures,
                history,
                newer,
                previous,
                next,
                origin: row.text(at + 3)?.to_owned(),
                reason: row.text(at + 4)?.to_owned(),
                spec: json(row.text(at + 5)?),
                line,
            }))
        })
    }

    async fn one_id(&self, sql: &'static str, args: impl burrow_store::Args) -> Result<Option<BuildId>, Error> {
        let rows = self.db.query(sql, args).await?;
        match rows.first() {
            Some(row) => Ok(row.opt_int(0)?.map(BuildId)),
            None => Ok(None),
        }
    }

    /// Attempts of a build with their steps, oldest first.
    ///
    /// # Errors
    /// Whatever the database says.
    pub fn attempts(&self, build: BuildId) -> BoxFuture<'_, Result<Vec<Attempt>, Error>> {
        Box::pin(async move {
            let rows = self
            .db
            .query(
                "SELECT id, number, state, flaky, worker, pool, hostname, assigned_ms, started_ms, ended_ms, log_hash, log_bytes, message FROM attempts WHERE build = $1 ORDER BY number",
                (build.0,),
            )
            .await?;
            let mut attempts = rows.iter().map(attempt).collect::<Result<Vec<_>, Error>>()?;
            let rows = self
            .db
            .query(
                "SELECT s.attempt, s.idx, s.name, s.kind, s.state, s.worker, s.started_ms, s.ended_ms, s.exit_code, s.signal, s.log_start, s.log_end, s.detail \
                 FROM attempts a JOIN steps s ON s.attempt = a.id WHERE a.build = $1 ORDER BY s.attempt, s.idx",
                (build.0,),
            )
            .await?;
            for row in &rows {
                let of = AttemptId(row.int(0)?);
                let step = step(row)?;
                if let Some(attempt) = attempts.iter_mut().find(|attempt| attempt.id == of) {
                    attempt.steps.push(step);
                }
            }
            Ok(attempts)
        })
    }

    /// An attempt alone, with the build it belongs to; its steps are left empty.
    ///
    /// # Errors
    /// Whatever the database says.
    pub fn attempt(&self, id: AttemptId) -> BoxFuture<'_, Result<Option<(BuildId, Attempt)>, Error>> {
        Box::pin(async move {
            let rows = self
            .db
            .query(
                "SELECT id, number, state, flaky, worker, pool, hostname, assigned_ms, started_ms, ended_ms, log_hash, log_bytes, message, build FROM attempts WHERE id = $1",
                (id.0,),
            )
            .await?;
            rows.first().map(|row| Ok((BuildId(row.int(13)?), attempt(row)?))).transpose()
        })
    }

    async fn failures(&self, attempt: AttemptId) -> Result<Vec<TestFailure>, Error> {
        let rows = self
            .db
            .query(
                "SELECT test, SUM(CASE WHEN ok = 0 THEN 1 ELSE 0 END), SUM(CASE WHEN ok <> 0 THEN 1 ELSE 0 END) FROM test_results WHERE attempt = $1 \
                 GROUP BY test HAVING SUM(CASE WHEN ok = 0 THEN 1 ELSE 0 END) > 0 ORDER BY 3, test LIMIT 500",
                (attempt.0,),
            )
            .await?;
        rows.iter().map(|row| Ok(TestFailure { test: row.text(0)?.to_owned(), failed_runs: row.int(1)?, passed_runs: row.int(2)? })).collect()
    }

    /// One commit with all of its builds and what changed against its first parent.
    ///
    /// # Errors
    /// Whatever the database says.
    pub fn commit_page(&self, commit: Commit, parents: Vec<String>) -> BoxFuture<'_, Result<CommitPage, Error>> {
        Box::pin(async move {
            let rows =
                self.db.query("SELECT DISTINCT branch FROM branch_commits WHERE repo = $1 AND hash = $2 ORDER BY branch", (&commit.repo, &commit.hash)).await?;
            let branches = rows.iter().map(|row| Ok(row.text(0)?.to_owned())).collect::<Result<Vec<_>, Error>>()?;
            let sql = format!("SELECT {LINE} {LINE_FROM} WHERE b.repo = $1 AND b.hash = $2 ORDER BY b.id DESC LIMIT 5000");
            let rows = self.db.query_values(sql, vec![(&commit.repo).into(), (&commit.hash).into()]).await?;
            let lines = rows.iter().map(line).collect::<Result<Vec<_>, Error>>()?;
            let hashes: Vec<&str> = std::iter::once(commit.hash.as_str()).chain(parents.first().map(String::as_str)).collect();
            let cells = self.cells(&commit.repo, &hashes).await?;
            let (mut newly_broken, mut newly_fixed) = (Vec::new(), Vec::new());
            if let [here, parent] = cells.as_slice() {
                for entry in &here.entries {
                    let Some(before) = parent.get(&entry.builder) else { continue };
                    if entry.cell.state.failed() && before.state == crate::model::BuildState::Passed {
                        newly_broken.push(entry.builder.to_string());
                    } else if entry.cell.state == crate::model::BuildState::Passed && before.state.failed() {
                        newly_fixed.push(entry.builder.to_string());
                    }
                }
            }
            newly_broken.dedup();
            newly_fixed.dedup();
            Ok(CommitPage { branches, parents, builds: ordered(lines), newly_broken, newly_fixed, commit })
        })
    }
}

/// Failures first, then by builder; older builds of a cell directly after the newest.
fn ordered(lines: Vec<BuildLine>) -> Vec<BuildLine> {
    let mut cells: std::collections::BTreeMap<String, Vec<BuildLine>> = std::collections::BTreeMap::new();
    for line in lines {
        cells.entry(line.builder.clone()).or_default().push(line);
    }
    let mut cells: Vec<Vec<BuildLine>> = cells.into_values().collect();
    let rank = |cell: &Vec<BuildLine>| cell.first().map_or(9, |newest| crate::boards::severity(newest.state));
    cells.sort_by_key(rank);
    cells.into_iter().flatten().collect()
}

fn attempt(row: &Row) -> Result<Attempt, Error> {
    Ok(Attempt {
        id: AttemptId(row.int(0)?),
        number: row.int(1)?,
        state: AttemptState::from_word(row.text(2)?).unwrap_or(AttemptState::Assigned),
        flaky: row.bool(3)?,
        worker: row.text(4)?.to_owned(),
        pool: row.text(5)?.to_owned(),
        hostname: row.text(6)?.to_owned(),
        assigned_ms: row.int(7)?,
        started_ms: row.opt_int(8)?,
        ended_ms: row.opt_int(9)?,
        log: row.opt_text(10)?.map(str::to_owned),
        log_bytes: row.int(11)?,
        message: row.text(12)?.to_owned(),
        steps: Vec::new(),
    })
}

fn step(row: &Row) -> Result<Step, Error> {
    Ok(Step {
        index: row.int(1)?,
        name: row.text(2)?.to_owned(),
        kind: StepKind::from_word(row.text(3)?).unwrap_or(StepKind::Build),
        state: StepState::from_word(row.text(4)?).unwrap_or(StepState::Waiting),
        worker: row.text(5)?.to_owned(),
        started_ms: row.opt_int(6)?,
        ended_ms: row.opt_int(7)?,
        exit_code: row.opt_int(8)?,
        signal: row.opt_text(9)?.map(str::to_owned),
        log_start: row.int(10)?,
        log_end: row.opt_int(11)?,
        detail: row.text(12)?.to_owned(),
    })
}
