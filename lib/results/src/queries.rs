//! The queries that fill the views. All of them are portable SQL over the schema of `schema.sql`.
//!
//! Two rules keep them fast at a hundred thousand builds: every list is bounded and walks an index, and the cells of a grid arrive
//! packed, one row per commit, because decoding a row costs more than reading it.

mod board;
mod build;
mod lists;

use burrow_store::{Db, Error, Row, Value};

use crate::model::{BuildId, BuildState, Class};
use crate::view::{BuildLine, Commit};
use burrow_task::BoxFuture;

/// What a question to the database comes to.
type Asked<'a, T> = BoxFuture<'a, Result<T, Error>>;

pub use board::{Entry, RowCells};
pub use lists::{BuildFilter, Page};

/// Reads the results. Cheap to clone.
#[derive(Clone)]
pub struct Results {
    db: Db,
}

/// A repository as the coordinator last saw it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Repo {
    /// Name of the configuration.
    pub name: String,
    /// Project it belongs to.
    pub project: String,
    /// Where it is fetched from.
    pub url: String,
    /// The branch shown first.
    pub main_branch: String,
    /// State of the source as a word.
    pub state: String,
    /// Why the last fetch failed, or empty.
    pub error: String,
    /// When it was last fetched, Unix milliseconds.
    pub fetched_ms: i64,
}

impl Results {
    /// Reads from `db`.
    pub fn new(db: Db) -> Results {
        Results { db }
    }

    /// All repositories, by project and name.
    ///
    /// # Errors
    /// Whatever the database says (so for all functions here).
    pub fn repos(&self) -> Asked<'_, Vec<Repo>> {
        Box::pin(async move {
            let rows = self.db.query("SELECT name, project, url, main_branch, state, error, fetched_ms FROM repos ORDER BY project, name", ()).await?;
            rows.iter()
                .map(|row| {
                    Ok(Repo {
                        name: row.text(0)?.to_owned(),
                        project: row.text(1)?.to_owned(),
                        url: row.text(2)?.to_owned(),
                        main_branch: row.text(3)?.to_owned(),
                        state: row.text(4)?.to_owned(),
                        error: row.text(5)?.to_owned(),
                        fetched_ms: row.int(6)?,
                    })
                })
                .collect()
        })
    }

    /// Branches of a repository that exist, the main branch first, then by name.
    ///
    /// # Errors
    /// Whatever the database says.
    pub fn branches<'a>(&'a self, repo: &'a str, main: &'a str) -> Asked<'a, Vec<String>> {
        Box::pin(async move {
            let rows = self.db.query("SELECT branch FROM branches WHERE repo = $1 AND gone = 0 ORDER BY branch", (repo,)).await?;
            let mut names = rows.iter().map(|row| Ok(row.text(0)?.to_owned())).collect::<Result<Vec<_>, Error>>()?;
            names.sort_by_key(|name| name != main);
            Ok(names)
        })
    }

    /// Builders: repository, name, whether it is still configured; by repository and name.
    ///
    /// # Errors
    /// Whatever the database says.
    pub fn builders(&self) -> Asked<'_, Vec<(String, String, bool)>> {
        Box::pin(async move {
            let rows = self.db.query("SELECT repo, name, active FROM builders ORDER BY repo, name", ()).await?;
            rows.iter().map(|row| Ok((row.text(0)?.to_owned(), row.text(1)?.to_owned(), row.bool(2)?))).collect()
        })
    }

    /// Configuration of every builder that is still configured, once per name (JSON).
    ///
    /// # Errors
    /// Whatever the database says.
    pub fn builder_specs(&self) -> Asked<'_, Vec<(String, serde_json::Value)>> {
        Box::pin(async move {
            let rows = self.db.query("SELECT name, spec FROM builders WHERE active <> 0 ORDER BY name, repo", ()).await?;
            let mut specs: Vec<(String, serde_json::Value)> = Vec::with_capacity(rows.len());
            for row in &rows {
                let name = row.text(0)?;
                if specs.last().is_none_or(|(last, _)| last != name) {
                    specs.push((name.to_owned(), json(row.text(1)?)));
                }
            }
            Ok(specs)
        })
    }

    /// Commits of a branch, newest first, each with its position; `before` is a position to continue below.
    ///
    /// # Errors
    /// Whatever the database says.
    pub fn commits<'a>(&'a self, repo: &'a str, branch: &'a str, before: Option<i64>, limit: usize) -> Asked<'a, Vec<(i64, Commit)>> {
        Box::pin(async move {
            let rows = self
            .db
            .query(
                "SELECT c.repo, c.hash, c.title, c.author, c.email, c.time_s, b.position FROM branch_commits b JOIN commits c ON c.repo = b.repo AND c.hash = b.hash \
                 WHERE b.repo = $1 AND b.branch = $2 AND b.position < $3 ORDER BY b.position DESC LIMIT $4",
                (repo, branch, before.unwrap_or(i64::MAX), count(limit)),
            )
            .await?;
            rows.iter().map(|row| Ok((row.int(6)?, commit(row, 0)?))).collect()
        })
    }

    /// The position of a page that ends just above `position`: where "newer" leads. `None` means the newest page.
    ///
    /// # Errors
    /// Whatever the database says.
    pub fn newer_page<'a>(&'a self, repo: &'a str, branch: &'a str, position: i64, limit: usize) -> Asked<'a, Option<i64>> {
        Box::pin(async move {
            let rows = self
                .db
                .query(
                    "SELECT position FROM branch_commits WHERE repo = $1 AND branch = $2 AND position > $3 ORDER BY position LIMIT $4",
                    (repo, branch, position, count(limit + 1)),
                )
                .await?;
            match rows.get(limit) {
                Some(row) => Ok(Some(row.int(0)?)),
                None => Ok(None),
            }
        })
    }

    /// Finds commits by hash or a prefix of at least four digits; at most two are returned, so that a caller can tell "ambiguous".
    ///
    /// # Errors
    /// Whatever the database says.
    pub fn find_commit<'a>(&'a self, repo: &'a str, prefix: &'a str) -> Asked<'a, Vec<(Commit, Vec<String>)>> {
        Box::pin(async move {
            // A range walks the primary key in both databases; LIKE would not.
            let end = format!("{prefix}g");
            let rows = self
                .db
                .query(
                    "SELECT repo, hash, title, author, email, time_s, parents FROM commits WHERE repo = $1 AND hash >= $2 AND hash < $3 ORDER BY hash LIMIT 2",
                    (repo, prefix, end),
                )
                .await?;
            rows.iter().map(|row| Ok((commit(row, 0)?, row.text(6)?.split_whitespace().map(str::to_owned).collect()))).collect()
        })
    }
}

/// Columns of a [`BuildLine`], in the order [`line`] reads them.
const LINE: &str =
    "b.id, b.repo, b.branch, b.hash, c.title, b.builder, b.state, b.flaky, b.class, b.attempts, b.created_ms, b.started_ms, b.ended_ms, a.worker";
/// The tables they come from.
const LINE_FROM: &str = "FROM builds b LEFT JOIN commits c ON c.repo = b.repo AND c.hash = b.hash LEFT JOIN attempts a ON a.id = b.current_attempt";
/// How many columns a line takes.
const LINE_COLUMNS: usize = 14;

fn line(row: &Row) -> Result<BuildLine, Error> {
    Ok(BuildLine {
        id: BuildId(row.int(0)?),
        repo: row.text(1)?.to_owned(),
        branch: row.text(2)?.to_owned(),
        hash: row.text(3)?.to_owned(),
        title: row.opt_text(4)?.unwrap_or_default().to_owned(),
        builder: row.text(5)?.to_owned(),
        state: state(row.text(6)?),
        flaky: row.bool(7)?,
        class: Class::from_number(row.int(8)?),
        attempts: row.int(9)?,
        created_ms: row.int(10)?,
        started_ms: row.opt_int(11)?,
        ended_ms: row.opt_int(12)?,
        machine: row.opt_text(13)?.filter(|name| !name.is_empty()).map(str::to_owned),
    })
}

/// A state of a newer version counts as not yet known, not as passed.
fn state(word: &str) -> BuildState {
    BuildState::from_word(word).unwrap_or(BuildState::Queued)
}

fn commit(row: &Row, at: usize) -> Result<Commit, Error> {
    Ok(Commit {
        repo: row.text(at)?.to_owned(),
        hash: row.text(at + 1)?.to_owned(),
        title: row.text(at + 2)?.to_owned(),
        author: row.text(at + 3)?.to_owned(),
        email: row.text(at + 4)?.to_owned(),
        time_s: row.int(at + 5)?,
    })
}

fn json(text: &str) -> serde_json::Value {
    serde_json::from_str(text).unwrap_or(serde_json::Value::Null)
}

fn count(n: usize) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

/// `$from, $from+1, …`: placeholders for a list. Lengths are rounded up by the caller, so that few different statements exist.
fn placeholders(from: usize, n: usize) -> String {
    (from..from + n).map(|i| format!("${i}")).collect::<Vec<_>>().join(", ")
}

/// Values of a list padded with its last element to 1, 8, 64 or a multiple of 64.
fn padded(values: &[&str]) -> Vec<Value> {
    let size = match values.len() {
        0 | 1 => 1,
        2..=8 => 8,
        n => n.div_ceil(64) * 64,
    };
    let last = values.last().copied().unwrap_or_default();
    values.iter().copied().chain(std::iter::repeat(last)).take(size).map(Value::from).collect()
}
