//! All series: computed from uploads as they come, kept in rows of their own, held in memory for the pages.
//!
//! Every upload has a row that says what became of it; points, series and that row are one transaction, so a crash loses nothing and doubles nothing, and an upload that
//! failed is tried again. The rows can be thrown away at any time but for what people said (`finding`).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};

use burrow_changepoint::Options;
use burrow_clock::SharedClock;
use burrow_perfstore::{ChangeKind, Sequence};
use burrow_store::{Db, Migration, Statement, sql};
use tokio::sync::watch;

use crate::config::Config;
use crate::points::{Key, Point, compute};
use crate::series::{Finding, Identity, Series, State};
use crate::source::{Source, SourceError};

const MIGRATIONS: &[Migration] = &[Migration {
    version: 1,
    name: "first",
    sql: "CREATE TABLE taken (upload TEXT PRIMARY KEY, state TEXT NOT NULL, detail TEXT NOT NULL, attempts BIGINT NOT NULL, at_ms BIGINT NOT NULL);\n\
          CREATE TABLE series (id TEXT PRIMARY KEY, body TEXT NOT NULL, higher BIGINT);\n\
          CREATE TABLE point (upload TEXT NOT NULL, series TEXT NOT NULL, body TEXT NOT NULL, PRIMARY KEY (upload, series));\n\
          CREATE TABLE finding (series TEXT NOT NULL, name TEXT NOT NULL, body TEXT NOT NULL, PRIMARY KEY (series, name));\n\
          CREATE TABLE fact (name TEXT PRIMARY KEY, value TEXT NOT NULL);\n",
}];
/// An upload that fails so often is left alone until it is asked for.
const ATTEMPTS: i64 = 5;
/// Uploads after which series are looked at, at the latest.
const BATCH: usize = 200;

/// What can go wrong.
#[derive(Debug, thiserror::Error)]
pub enum BoardError {
    /// The rows.
    #[error(transparent)]
    Rows(#[from] burrow_store::Error),
    /// The results.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// A stored row cannot be read.
    #[error("stored {what} {id} cannot be read ({why}); remove perf.db to compute everything again")]
    Damaged {
        /// What it is.
        what: &'static str,
        /// Which.
        id: String,
        /// What is wrong.
        why: String,
    },
    /// There is no such change.
    #[error("series {series} has no change at {commit}; see /regressions for those that there are")]
    NoFinding {
        /// The series.
        series: String,
        /// The commit.
        commit: String,
    },
}

/// What became of an upload.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Taken {
    /// `done`, `other` (not watched), or `failed`.
    pub state: String,
    /// Why it failed.
    pub detail: String,
    /// How often it was tried.
    pub attempts: i64,
    /// When, Unix milliseconds.
    pub at_ms: i64,
}

#[derive(Default)]
struct Held {
    series: BTreeMap<String, Arc<Series>>,
    /// Points of series that were not looked at yet.
    fresh: BTreeMap<String, Fresh>,
    taken: HashMap<String, Taken>,
}

#[derive(Default)]
struct Fresh {
    key: Option<Key>,
    higher: Option<bool>,
    points: Vec<Point>,
    gone: BTreeSet<String>,
}

/// All series. Cheap to clone.
#[derive(Clone)]
pub struct Board(Arc<Inner>);

struct Inner {
    db: Db,
    source: Source,
    config: Arc<Config>,
    clock: SharedClock,
    held: RwLock<Held>,
    generation: watch::Sender<u64>,
    /// One hand at a time takes uploads.
    taking: tokio::sync::Mutex<()>,
}

impl std::fmt::Debug for Board {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Board").field("source", &self.0.source).finish_non_exhaustive()
    }
}

impl Board {
    /// Opens what was computed before (`folder/perf.db`, made if it is missing), and looks at it.
    ///
    /// # Errors
    /// [`BoardError`].
    pub async fn open(folder: &Path, source: Source, config: Arc<Config>, clock: SharedClock) -> Result<Board, BoardError> {
        let _ = std::fs::create_dir_all(folder);
        let db = Db::open(&format!("sqlite:{}", folder.join("perf.db").display()), MIGRATIONS).await?;
        let mut held = Held::default();
        let damaged = |what, id: &str, error: serde_json::Error| BoardError::Damaged { what, id: id.to_owned(), why: error.to_string() };
        for row in db.query("SELECT upload, state, detail, attempts, at_ms FROM taken", ()).await? {
            let taken = Taken { state: row.text(1)?.into(), detail: row.text(2)?.into(), attempts: row.int(3)?, at_ms: row.int(4)? };
            held.taken.insert(row.text(0)?.to_owned(), taken);
        }
        for row in db.query("SELECT id, body, higher FROM series", ()).await? {
            let key = serde_json::from_str(row.text(1)?).map_err(|error| damaged("series", row.text(0).unwrap_or_default(), error))?;
            held.fresh.insert(row.text(0)?.to_owned(), Fresh { key: Some(key), higher: row.opt_int(2)?.map(|higher| higher != 0), ..Fresh::default() });
        }
        for row in db.query("SELECT series, body FROM point", ()).await? {
            let point = serde_json::from_str(row.text(1)?).map_err(|error| damaged("point of series", row.text(0).unwrap_or_default(), error))?;
            if let Some(fresh) = held.fresh.get_mut(row.text(0)?) {
                fresh.points.push(point);
            }
        }
        let board = Board(Arc::new(Inner {
            db,
            source,
            config,
            clock,
            held: RwLock::new(held),
            generation: watch::channel(1).0,
            taking: tokio::sync::Mutex::default(),
        }));
        board.settle().await?;
        Ok(board)
    }

    fn held<T>(&self, look: impl FnOnce(&mut Held) -> T) -> T {
        look(&mut self.0.held.write().unwrap_or_else(PoisonError::into_inner))
    }

    /// All series, by name and unit.
    pub fn all(&self) -> Vec<Arc<Series>> {
        let mut all: Vec<Arc<Series>> = self.0.held.read().unwrap_or_else(PoisonError::into_inner).series.values().cloned().collect();
        all.sort_by(|a, b| a.key.cmp(&b.key));
        all
    }

    /// A series by its name in addresses.
    pub fn series(&self, id: &str) -> Option<Arc<Series>> {
        self.0.held.read().unwrap_or_else(PoisonError::into_inner).series.get(id).cloned()
    }

    /// Number of the newest state, and a wake-up when there is a newer one.
    pub fn generation(&self) -> watch::Receiver<u64> {
        self.0.generation.subscribe()
    }

    /// How many uploads are in which state.
    pub fn uploads(&self) -> BTreeMap<String, usize> {
        self.held(|held| {
            let mut counts = BTreeMap::new();
            for taken in held.taken.values() {
                *counts.entry(taken.state.clone()).or_default() += 1;
            }
            counts
        })
    }

    /// Uploads that could not be taken, with why.
    pub fn failed(&self) -> Vec<(String, Taken)> {
        self.held(|held| {
            let mut failed: Vec<_> =
                held.taken.iter().filter(|(_, taken)| taken.state == "failed").map(|(name, taken)| (name.clone(), taken.clone())).collect();
            failed.sort_by(|a, b| b.0.cmp(&a.0));
            failed
        })
    }

    /// The configuration.
    pub fn config(&self) -> &Arc<Config> {
        &self.0.config
    }

    /// Where results are.
    pub fn source(&self) -> &Source {
        &self.0.source
    }

    /// Takes what happened in the store since the last time.
    ///
    /// # Errors
    /// [`BoardError`]; what was taken before stays taken.
    pub async fn follow(&self) -> Result<(), BoardError> {
        let Source::Store(store) = &self.0.source else { return self.rescan().await };
        let _one = self.0.taking.lock().await;
        let mut since: Sequence = self.fact("sequence").await?.and_then(|text| text.parse().ok()).unwrap_or(0);
        let mut taken = 0;
        loop {
            let changes = store.changes_after(since, BATCH).await.map_err(SourceError::from)?;
            let Some(last) = changes.last().map(|change| change.sequence) else { break };
            for change in changes {
                match change.kind {
                    ChangeKind::Added => self.take(&change.upload).await?,
                    ChangeKind::Removed => self.forget(&change.upload).await?,
                }
                taken += 1;
            }
            since = last;
            self.0.db.commit(vec![set_fact("sequence", &since.to_string())]).await?;
            self.settle().await?;
        }
        if taken == 0 {
            // Something may have been left over from a stop in between.
            self.settle().await?;
        }
        Ok(())
    }

    /// Takes every upload that is not taken yet, oldest first, also those that failed before.
    ///
    /// # Errors
    /// The list cannot be had, or the rows fail. An upload that fails is noted and does not stop the others.
    pub async fn rescan(&self) -> Result<(), BoardError> {
        let _one = self.0.taking.lock().await;
        let mut listed = self.0.source.uploads(&self.0.config.uploads, &[], usize::MAX >> 33).await?;
        listed.reverse();
        let mut count = 0;
        for upload in listed {
            let known = self.held(|held| held.taken.get(&upload.upload).cloned());
            if known.is_some_and(|taken| taken.state == "done") {
                continue;
            }
            self.held(|held| held.taken.remove(&upload.upload));
            self.take(&upload.upload).await?;
            count += 1;
            if count % BATCH == 0 {
                self.settle().await?;
            }
        }
        self.settle().await
    }

    /// Takes an upload, whatever became of it before.
    async fn take(&self, name: &str) -> Result<(), BoardError> {
        let known = self.held(|held| held.taken.get(name).cloned());
        if known.as_ref().is_some_and(|taken| taken.state == "done" || taken.attempts >= ATTEMPTS) {
            return Ok(());
        }
        let now_ms = self.0.clock.now_ms();
        let attempts = known.map_or(0, |taken| taken.attempts) + 1;
        let query = format!("{} {}", crate::split::term("upload", name), self.0.config.uploads);
        let found = match self.0.source.search(query.trim()).await {
            Ok(answer) if answer.found.is_empty() => Ok(None),
            Ok(answer) => {
                let (config, upload) = (Arc::clone(&self.0.config), name.to_owned());
                let uploaded = answer.found.first().and_then(|found| crate::source::get(&found.labels, "upload-time")?.parse::<jiff::Timestamp>().ok());
                let uploaded_ms = uploaded.map_or(now_ms, |at| at.as_millisecond());
                match tokio::task::spawn_blocking(move || compute(&upload, uploaded_ms, &answer, &config)).await {
                    Ok(placed) => placed.map(Some).map_err(|error| error.to_string()),
                    Err(error) => Err(error.to_string()),
                }
            }
            Err(error) => Err(error.to_string()),
        };
        let (state, detail) = match &found {
            Ok(Some(_)) => ("done", String::new()),
            Ok(None) => ("other", String::new()),
            Err(error) => ("failed", error.clone()),
        };
        if state == "failed" {
            tracing::warn!(upload = name, error = detail, "An upload could not be taken into the series; it is tried again.");
        }
        let upsert = "INSERT INTO taken (upload, state, detail, attempts, at_ms) VALUES ($1, $2, $3, $4, $5) ON CONFLICT (upload) DO UPDATE SET \
                      state = excluded.state, detail = excluded.detail, attempts = excluded.attempts, at_ms = excluded.at_ms";
        let mut batch = vec![sql("DELETE FROM point WHERE upload = $1", (name,)), sql(upsert, (name, state, detail.as_str(), attempts, now_ms))];
        let placed = found.ok().flatten().unwrap_or_default();
        let mut bodies = Vec::with_capacity(placed.len());
        for one in &placed {
            let id = one.key.id();
            let body = |value: Result<String, serde_json::Error>| {
                value.map_err(|error| BoardError::Damaged { what: "point of upload", id: name.to_owned(), why: error.to_string() })
            };
            let series = "INSERT INTO series (id, body, higher) VALUES ($1, $2, $3) ON CONFLICT (id) DO UPDATE SET higher = excluded.higher";
            batch.push(sql(series, (id.as_str(), body(serde_json::to_string(&one.key))?, one.higher.map(i64::from))));
            let point = "INSERT INTO point (upload, series, body) VALUES ($1, $2, $3) ON CONFLICT (upload, series) DO UPDATE SET body = excluded.body";
            batch.push(sql(point, (name, id.as_str(), body(serde_json::to_string(&one.point))?)));
            bodies.push(id);
        }
        self.0.db.commit(batch).await?;
        self.held(|held| {
            held.taken.insert(name.to_owned(), Taken { state: state.to_owned(), detail, attempts, at_ms: now_ms });
            for (id, one) in bodies.into_iter().zip(placed) {
                let fresh = held.fresh.entry(id).or_default();
                fresh.points.retain(|point| point.upload != name);
                fresh.gone.insert(name.to_owned());
                fresh.higher = one.higher.or(fresh.higher);
                fresh.key = Some(one.key);
                fresh.points.push(one.point);
            }
        });
        Ok(())
    }

    /// An upload was removed: so are its points.
    async fn forget(&self, name: &str) -> Result<(), BoardError> {
        self.0.db.commit(vec![sql("DELETE FROM point WHERE upload = $1", (name,)), sql("DELETE FROM taken WHERE upload = $1", (name,))]).await?;
        self.held(|held| {
            held.taken.remove(name);
            let with: Vec<String> =
                held.series.values().filter(|series| series.points.iter().any(|point| point.upload == name)).map(|series| series.id.clone()).collect();
            for id in with {
                held.fresh.entry(id).or_default().gone.insert(name.to_owned());
            }
            for fresh in held.fresh.values_mut() {
                fresh.points.retain(|point| point.upload != name);
            }
        });
        Ok(())
    }

    /// Looks at series that have new points.
    async fn settle(&self) -> Result<(), BoardError> {
        let fresh = self.held(|held| std::mem::take(&mut held.fresh));
        if fresh.is_empty() {
            return Ok(());
        }
        let mut known: HashMap<String, Vec<Finding>> = HashMap::new();
        for id in fresh.keys() {
            known.insert(id.clone(), self.findings_of(id).await?);
        }
        let (now_ms, config) = (self.0.clock.now_ms(), Arc::clone(&self.0.config));
        let before: HashMap<String, Arc<Series>> =
            self.held(|held| fresh.keys().filter_map(|id| Some((id.clone(), Arc::clone(held.series.get(id)?)))).collect());
        let look = move || {
            let options = Options { false_alarms: config.watch.false_alarms, smallest: config.watch.smallest };
            let mut done = Vec::new();
            for (id, fresh) in fresh {
                let old = before.get(&id);
                let Some(key) = fresh.key.or_else(|| old.map(|old| old.key.clone())) else { continue };
                let kept = old.into_iter().flat_map(|old| old.points.iter()).filter(|point| !fresh.gone.contains(&point.upload)).cloned();
                let points: Vec<Point> = kept.chain(fresh.points).collect();
                let known = known.remove(&id).unwrap_or_default();
                let higher = fresh.higher.unwrap_or_else(|| old.map_or_else(|| config.higher_is_better(&key.unit), |old| old.higher));
                let series = Series::new(Identity { id, key, higher }, points, &known, old.map(|old| &**old), &options, now_ms);
                let changed = series.findings != known;
                done.push((series, changed));
            }
            done
        };
        let done = tokio::task::spawn_blocking(look).await.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()));
        let mut batch = Vec::new();
        for (series, _) in done.iter().filter(|(_, changed)| *changed) {
            batch.push(sql("DELETE FROM finding WHERE series = $1", (series.id.as_str(),)));
            batch.extend(series.findings.iter().filter_map(|finding| save_finding(&series.id, finding)));
        }
        if !batch.is_empty() {
            self.0.db.commit(batch).await?;
        }
        self.held(|held| {
            for (series, _) in done {
                if series.points.is_empty() {
                    held.series.remove(&series.id);
                } else {
                    held.series.insert(series.id.clone(), Arc::new(series));
                }
            }
        });
        self.0.generation.send_modify(|generation| *generation += 1);
        Ok(())
    }

    async fn findings_of(&self, id: &str) -> Result<Vec<Finding>, BoardError> {
        if let Some(series) = self.series(id) {
            return Ok(series.findings.clone());
        }
        let rows = self.0.db.query("SELECT body FROM finding WHERE series = $1", (id,)).await?;
        rows.iter().map(|row| read_finding(id, row.text(0)?)).collect()
    }

    /// Notes what somebody says of a change.
    ///
    /// # Errors
    /// There is no such change, or the rows fail.
    pub async fn say(&self, series: &str, commit: &str, change: impl FnOnce(&mut Finding)) -> Result<Finding, BoardError> {
        // Together with taking uploads, so that neither undoes the other.
        let _one = self.0.taking.lock().await;
        let none = || BoardError::NoFinding { series: series.to_owned(), commit: commit.to_owned() };
        let mut whole = Series::clone(&*self.series(series).ok_or_else(none)?);
        let finding = whole.findings.iter_mut().find(|finding| finding.commit == commit).ok_or_else(none)?;
        change(finding);
        let said = finding.clone();
        self.0.db.commit(save_finding(series, &said).into_iter().collect()).await?;
        self.held(|held| held.series.insert(series.to_owned(), Arc::new(whole)));
        self.0.generation.send_modify(|generation| *generation += 1);
        Ok(said)
    }

    async fn fact(&self, name: &str) -> Result<Option<String>, BoardError> {
        let rows = self.0.db.query("SELECT value FROM fact WHERE name = $1", (name,)).await?;
        Ok(rows.first().map(|row| row.text(0).map(str::to_owned)).transpose()?)
    }

    /// Waits until everything is on disk.
    pub async fn close(&self) {
        self.0.db.close().await;
    }
}

fn set_fact(name: &str, value: &str) -> Statement {
    sql("INSERT INTO fact (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = excluded.value", (name, value))
}

fn save_finding(series: &str, finding: &Finding) -> Option<Statement> {
    let body = serde_json::to_string(finding).ok()?;
    let insert = "INSERT INTO finding (series, name, body) VALUES ($1, $2, $3) ON CONFLICT (series, name) DO UPDATE SET body = excluded.body";
    Some(sql(insert, (series, finding.commit.as_str(), body)))
}

/// Numbers that are not finite are `null` in JSON; they come back as NaN.
fn read_finding(id: &str, text: &str) -> Result<Finding, BoardError> {
    let damaged = |why: &str| BoardError::Damaged { what: "finding of series", id: id.to_owned(), why: why.to_owned() };
    let value: serde_json::Value = serde_json::from_str(text).map_err(|error| damaged(&error.to_string()))?;
    let text = |key: &str| value.get(key).and_then(serde_json::Value::as_str).unwrap_or_default().to_owned();
    let number = |value: Option<&serde_json::Value>| value.and_then(serde_json::Value::as_f64).unwrap_or(f64::NAN);
    let flag = |key: &str| value.get(key).and_then(serde_json::Value::as_bool).unwrap_or_default();
    let size = |at: usize| number(value.get("size").and_then(|size| size.get(at)));
    Ok(Finding {
        commit: text("commit"),
        found_ms: value.get("found_ms").and_then(serde_json::Value::as_i64).unwrap_or_default(),
        state: State::parse(&text("state")).ok_or_else(|| damaged("its state is unknown"))?,
        assignee: text("assignee"),
        note: text("note"),
        by: text("by"),
        told: flag("told"),
        worse: flag("worse"),
        index: value.get("index").and_then(serde_json::Value::as_u64).and_then(|at| usize::try_from(at).ok()),
        before: number(value.get("before")),
        after: number(value.get("after")),
        size: [size(0), size(1), size(2)],
        false_alarms: number(value.get("false_alarms")),
    })
}
