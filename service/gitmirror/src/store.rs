//! Rows: what survives a `kill -9`. Each function is one statement that may be applied twice.

use std::collections::BTreeMap;

use burrow_git::Oid;
use burrow_store::{Db, Error, Migration, Statement, Value, sql};
use serde::Serialize;

use crate::model::{Dest, Pin, Quarantined, Repo, State};
use crate::refs::{Change, Refs};

/// The schema.
pub const MIGRATIONS: &[Migration] = &[Migration {
    version: 1,
    name: "repositories, destinations, journal",
    sql: "CREATE TABLE repos (name TEXT PRIMARY KEY, good_ms BIGINT, first_failure_ms BIGINT, last_failure_ms BIGINT, failures BIGINT NOT NULL, error TEXT NOT NULL, changed_ms BIGINT, confirmed TEXT NOT NULL);
CREATE TABLE dests (repo TEXT NOT NULL, dest TEXT NOT NULL, good_ms BIGINT, first_failure_ms BIGINT, last_failure_ms BIGINT, failures BIGINT NOT NULL, error TEXT NOT NULL, behind_ms BIGINT, confirmed TEXT NOT NULL, PRIMARY KEY (repo, dest));
CREATE TABLE there (repo TEXT NOT NULL, dest TEXT NOT NULL, ref TEXT NOT NULL, hash TEXT NOT NULL, PRIMARY KEY (repo, dest, ref));
CREATE TABLE quarantine (repo TEXT NOT NULL, dest TEXT NOT NULL, ref TEXT NOT NULL, hash TEXT NOT NULL, reason TEXT NOT NULL, tries BIGINT NOT NULL, next_ms BIGINT NOT NULL, since_ms BIGINT NOT NULL, PRIMARY KEY (repo, dest, ref));
CREATE TABLE pins (repo TEXT NOT NULL, dest TEXT NOT NULL, ref TEXT NOT NULL, rejected TEXT NOT NULL, hash TEXT NOT NULL, PRIMARY KEY (repo, dest, ref));
CREATE TABLE journal (round BIGINT NOT NULL, repo TEXT NOT NULL, dest TEXT NOT NULL, ref TEXT NOT NULL, old TEXT NOT NULL, new TEXT NOT NULL, at_ms BIGINT NOT NULL, state TEXT NOT NULL, PRIMARY KEY (round, repo, dest, ref));
CREATE TABLE targets (repo TEXT NOT NULL, dest TEXT NOT NULL, url TEXT NOT NULL, PRIMARY KEY (repo, dest));
CREATE TABLE notes (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE INDEX journal_by_dest ON journal (repo, dest, ref, new);
CREATE INDEX journal_by_state ON journal (state)",
}];

/// An id as it is in a row; nothing for "not there".
fn text(id: Option<Oid>) -> String {
    id.map(|id| id.to_string()).unwrap_or_default()
}

fn id(text: &str) -> Option<Oid> {
    text.parse().ok()
}

/// State of a repository.
pub(crate) fn repo(name: &str, repo: &Repo) -> Statement {
    let job = &repo.job;
    sql(
        "INSERT INTO repos (name, good_ms, first_failure_ms, last_failure_ms, failures, error, changed_ms, confirmed) VALUES ($1, $2, $3, $4, $5, $6, $7, $8) \
         ON CONFLICT (name) DO UPDATE SET good_ms = excluded.good_ms, first_failure_ms = excluded.first_failure_ms, last_failure_ms = excluded.last_failure_ms, \
         failures = excluded.failures, error = excluded.error, changed_ms = excluded.changed_ms, confirmed = excluded.confirmed",
        (name, job.good_ms, job.first_failure_ms, job.last_failure_ms, job.failures, &job.error, repo.changed_ms, repo.confirmed.join("\n")),
    )
}

/// State of a destination.
pub(crate) fn dest(repo: &str, name: &str, dest: &Dest) -> Statement {
    let job = &dest.job;
    sql(
        "INSERT INTO dests (repo, dest, good_ms, first_failure_ms, last_failure_ms, failures, error, behind_ms, confirmed) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) \
         ON CONFLICT (repo, dest) DO UPDATE SET good_ms = excluded.good_ms, first_failure_ms = excluded.first_failure_ms, last_failure_ms = excluded.last_failure_ms, \
         failures = excluded.failures, error = excluded.error, behind_ms = excluded.behind_ms, confirmed = excluded.confirmed",
        (
            repo,
            name,
            job.good_ms,
            job.first_failure_ms,
            job.last_failure_ms,
            job.failures,
            &job.error,
            dest.behind.values().min().copied(),
            dest.confirmed.join("\n"),
        ),
    )
}

/// A change that is about to be pushed.
pub(crate) fn planned(round: i64, repo: &str, dest: &str, change: &Change, now: i64) -> Statement {
    sql(
        "INSERT INTO journal (round, repo, dest, ref, old, new, at_ms, state) VALUES ($1, $2, $3, $4, $5, $6, $7, 'planned') ON CONFLICT (round, repo, dest, ref) DO NOTHING",
        (round, repo, dest, &change.name, text(change.old), text(change.new), now),
    )
}

/// What became of a planned change.
pub(crate) fn finished(repo: &str, dest: &str, change: &Change, state: &'static str) -> Statement {
    sql(
        "UPDATE journal SET state = $5 WHERE repo = $1 AND dest = $2 AND ref = $3 AND new = $4 AND state = 'planned'",
        (repo, dest, &change.name, text(change.new), state),
    )
}

/// What a destination has under a name.
pub(crate) fn there(repo: &str, dest: &str, name: &str, value: Option<Oid>) -> Statement {
    match value {
        Some(value) => sql(
            "INSERT INTO there (repo, dest, ref, hash) VALUES ($1, $2, $3, $4) ON CONFLICT (repo, dest, ref) DO UPDATE SET hash = excluded.hash",
            (repo, dest, name, value.to_string()),
        ),
        None => sql("DELETE FROM there WHERE repo = $1 AND dest = $2 AND ref = $3", (repo, dest, name)),
    }
}

/// A refused reference.
pub(crate) fn quarantine(repo: &str, dest: &str, name: &str, entry: &Quarantined) -> Statement {
    sql(
        "INSERT INTO quarantine (repo, dest, ref, hash, reason, tries, next_ms, since_ms) VALUES ($1, $2, $3, $4, $5, $6, $7, $8) \
         ON CONFLICT (repo, dest, ref) DO UPDATE SET hash = excluded.hash, reason = excluded.reason, tries = excluded.tries, next_ms = excluded.next_ms, since_ms = excluded.since_ms",
        (repo, dest, name, text(entry.value), &entry.reason, entry.tries, entry.next_ms, entry.since_ms),
    )
}

/// It is refused no more.
pub(crate) fn no_quarantine(repo: &str, dest: &str, name: &str) -> Statement {
    sql("DELETE FROM quarantine WHERE repo = $1 AND dest = $2 AND ref = $3", (repo, dest, name))
}

/// A value that was undone.
pub(crate) fn pin(repo: &str, dest: &str, name: &str, pin: &Pin) -> Statement {
    sql(
        "INSERT INTO pins (repo, dest, ref, rejected, hash) VALUES ($1, $2, $3, $4, $5) ON CONFLICT (repo, dest, ref) DO UPDATE SET rejected = excluded.rejected, hash = excluded.hash",
        (repo, dest, name, text(pin.rejected), text(pin.value)),
    )
}

/// One value is not held back any more.
pub(crate) fn no_pin(repo: &str, dest: &str, name: &str) -> Statement {
    sql("DELETE FROM pins WHERE repo = $1 AND dest = $2 AND ref = $3", (repo, dest, name))
}

/// None is.
pub(crate) fn no_pins(repo: &str, dest: &str) -> Statement {
    sql("DELETE FROM pins WHERE repo = $1 AND dest = $2", (repo, dest))
}

/// Reads what the rows know into a state without repositories.
///
/// # Errors
/// Whatever the database says.
pub(crate) async fn load(db: &Db, state: &mut State, now: i64) -> Result<(), Error> {
    let list = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
    for row in db.query("SELECT name, good_ms, first_failure_ms, last_failure_ms, failures, error, changed_ms, confirmed FROM repos", ()).await? {
        let mut repo = Repo::new(now);
        repo.job.good_ms = row.opt_int(1)?;
        repo.job.first_failure_ms = row.opt_int(2)?;
        repo.job.last_failure_ms = row.opt_int(3)?;
        repo.job.failures = u32::try_from(row.int(4)?).unwrap_or(0);
        repo.job.error = row.text(5)?.to_owned();
        repo.changed_ms = row.opt_int(6)?;
        repo.confirmed = list(row.text(7)?);
        state.remembered.insert(row.text(0)?.to_owned(), repo);
    }
    for row in db.query("SELECT repo, dest, good_ms, first_failure_ms, last_failure_ms, failures, error, behind_ms, confirmed FROM dests", ()).await? {
        let mut dest = Dest::new(now);
        dest.job.good_ms = row.opt_int(2)?;
        dest.job.first_failure_ms = row.opt_int(3)?;
        dest.job.last_failure_ms = row.opt_int(4)?;
        dest.job.failures = u32::try_from(row.int(5)?).unwrap_or(0);
        dest.job.error = row.text(6)?.to_owned();
        // Which references those were is found out by the first comparison; since when is what must not be forgotten.
        dest.behind = row.opt_int(7)?.map(|since| BTreeMap::from([(String::new(), since)])).unwrap_or_default();
        dest.confirmed = list(row.text(8)?);
        state.remembered.entry(row.text(0)?.to_owned()).or_insert_with(|| Repo::new(now)).dests.insert(row.text(1)?.to_owned(), dest);
    }
    for row in db.query("SELECT repo, dest, ref, hash, reason, tries, next_ms, since_ms FROM quarantine", ()).await? {
        let entry = Quarantined {
            value: id(row.text(3)?),
            reason: row.text(4)?.to_owned(),
            tries: u32::try_from(row.int(5)?).unwrap_or(0),
            next_ms: row.int(6)?,
            since_ms: row.int(7)?,
        };
        if let Some(dest) = remembered(state, row.text(0)?, row.text(1)?) {
            dest.quarantine.insert(row.text(2)?.to_owned(), entry);
        }
    }
    for row in db.query("SELECT repo, dest, ref, rejected, hash FROM pins", ()).await? {
        let pin = Pin { rejected: id(row.text(3)?), value: id(row.text(4)?) };
        if let Some(dest) = remembered(state, row.text(0)?, row.text(1)?) {
            dest.pins.insert(row.text(2)?.to_owned(), pin);
        }
    }
    state.round = db.query("SELECT COALESCE(MAX(round), 0) FROM journal", ()).await?.first().map_or(Ok(0), |row| row.int(0))?;
    Ok(())
}

fn remembered<'a>(state: &'a mut State, repo: &str, dest: &str) -> Option<&'a mut Dest> {
    state.remembered.get_mut(repo)?.dests.get_mut(dest)
}

/// Where the destinations were when what is known of them was learnt.
///
/// # Errors
/// Whatever the database says.
pub(crate) async fn targets(db: &Db) -> Result<BTreeMap<(String, String), String>, Error> {
    let rows = db.query("SELECT repo, dest, url FROM targets", ()).await?;
    rows.iter().map(|row| Ok(((row.text(0)?.to_owned(), row.text(1)?.to_owned()), row.text(2)?.to_owned()))).collect()
}

/// The destination is somewhere else now: what was known of the old one is forgotten. The journal stays.
pub(crate) fn moved(repo: &str, dest: &str, url: &str) -> [Statement; 4] {
    [
        sql("DELETE FROM there WHERE repo = $1 AND dest = $2", (repo, dest)),
        sql("DELETE FROM quarantine WHERE repo = $1 AND dest = $2", (repo, dest)),
        sql("DELETE FROM pins WHERE repo = $1 AND dest = $2", (repo, dest)),
        sql("INSERT INTO targets (repo, dest, url) VALUES ($1, $2, $3) ON CONFLICT (repo, dest) DO UPDATE SET url = excluded.url", (repo, dest, url)),
    ]
}

/// A small thing to remember.
pub(crate) fn note(name: &str, value: &str) -> Statement {
    sql("INSERT INTO notes (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = excluded.value", (name, value))
}

/// What was noted under a name.
///
/// # Errors
/// Whatever the database says.
pub(crate) async fn noted(db: &Db, name: &str) -> Result<Option<String>, Error> {
    let rows = db.query("SELECT value FROM notes WHERE name = $1", (name,)).await?;
    rows.first().map(|row| row.text(0).map(str::to_owned)).transpose()
}

/// What we know that a destination has: what was pushed, and what was about to be pushed when a process died.
///
/// # Errors
/// Whatever the database says.
pub(crate) async fn what_is_there(db: &Db, repo: &str, dest: &str) -> Result<Refs, Error> {
    let mut refs = Refs::new();
    for row in db.query("SELECT ref, hash FROM there WHERE repo = $1 AND dest = $2", (repo, dest)).await? {
        if let Some(id) = id(row.text(1)?) {
            refs.insert(row.text(0)?.to_owned(), id);
        }
    }
    Ok(refs)
}

/// Whether there are pushes of which it is not known how they ended.
///
/// # Errors
/// Whatever the database says.
pub(crate) async fn unfinished(db: &Db, repo: &str, dest: &str) -> Result<bool, Error> {
    let rows = db.query("SELECT COUNT(*) FROM journal WHERE state = 'planned' AND repo = $1 AND dest = $2", (repo, dest)).await?;
    Ok(rows.first().map_or(Ok(0), |row| row.int(0))? > 0)
}

/// After a full comparison: what was planned and is there was done, the rest was not.
pub(crate) fn reconcile(repo: &str, dest: &str) -> [Statement; 2] {
    [
        sql(
            "UPDATE journal SET state = 'done' WHERE repo = $1 AND dest = $2 AND state = 'planned' AND new = COALESCE((SELECT hash FROM there t WHERE t.repo = $1 AND t.dest = $2 AND t.ref = journal.ref), '')",
            (repo, dest),
        ),
        sql("UPDATE journal SET state = 'not done' WHERE repo = $1 AND dest = $2 AND state = 'planned'", (repo, dest)),
    ]
}

/// A line of the journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// Number of the push.
    pub round: i64,
    /// Repository.
    pub repo: String,
    /// Destination.
    pub dest: String,
    /// Full name there.
    #[serde(rename = "ref")]
    pub name: String,
    /// What it was; empty: not there.
    pub old: String,
    /// What it became; empty: deleted.
    pub new: String,
    /// When, Unix milliseconds.
    pub at_ms: i64,
    /// `planned`, `done`, `refused`, `not done`.
    pub state: String,
}

impl Entry {
    /// As a change.
    pub fn change(&self) -> Change {
        Change { name: self.name.clone(), old: id(&self.old), new: id(&self.new) }
    }
}

/// Which lines of the journal are wanted.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// Of this repository.
    pub repo: Option<String>,
    /// Of this destination.
    pub dest: Option<String>,
    /// Of this push.
    pub round: Option<i64>,
    /// Of this reference.
    pub name: Option<String>,
    /// Of pushes before this one, for the next page.
    pub before: Option<i64>,
}

/// The journal, newest first, at most `limit` lines.
///
/// # Errors
/// Whatever the database says.
pub(crate) async fn journal(db: &Db, wanted: &Wanted, limit: i64) -> Result<Vec<Entry>, Error> {
    let mut query = "SELECT round, repo, dest, ref, old, new, at_ms, state FROM journal WHERE round < $1".to_owned();
    let mut args = vec![Value::Int(Some(wanted.before.unwrap_or(i64::MAX)))];
    let wishes = [
        (" AND repo = $", wanted.repo.as_ref().map(Value::from)),
        (" AND dest = $", wanted.dest.as_ref().map(Value::from)),
        (" AND round = $", wanted.round.map(Value::from)),
        (" AND ref = $", wanted.name.as_ref().map(Value::from)),
    ];
    for (words, value) in wishes {
        if let Some(value) = value {
            args.push(value);
            query.push_str(words);
            query.push_str(&args.len().to_string());
        }
    }
    args.push(Value::Int(Some(limit)));
    query.push_str(&format!(" ORDER BY round DESC, ref LIMIT ${}", args.len()));
    let rows = db.query_values(query, args).await?;
    rows.iter()
        .map(|row| {
            Ok(Entry {
                round: row.int(0)?,
                repo: row.text(1)?.to_owned(),
                dest: row.text(2)?.to_owned(),
                name: row.text(3)?.to_owned(),
                old: row.text(4)?.to_owned(),
                new: row.text(5)?.to_owned(),
                at_ms: row.int(6)?,
                state: row.text(7)?.to_owned(),
            })
        })
        .collect()
}
