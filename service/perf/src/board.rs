//! All series: computed from uploads as they come, kept in rows of their own, held in memory for the pages.
//!
//! Every upload has a row that says what became of it; points, series and that row are one transaction, so a crash loses nothing and doubles nothing, and an upload that
//! failed is tried again. The rows can be thrown away at any time but for what people said (`finding`).

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use burrow_changepoint::Options;
use burrow_clock::SharedClock;
use burrow_perfstore::{ChangeKind, Sequence};
use burrow_store::{Db, Migration, Statement, sql};
use burrow_task::BoxFuture;
use futures_util::StreamExt as _;
use tokio::sync::watch;

use crate::config::Config;
use crate::points::{Key, Placed, Point, compute};
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
/// Changes of the store that are taken at once.
const BATCH: usize = 200;
/// Uploads that are computed at the same time, and wait to be written.
const AHEAD: usize = 4;
/// Rows of one commit, about: a commit waits for the disk, and a list of rows for memory.
const ROWS: usize = 5_000;

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
    /// Series that have a row, with what is in it.
    written: HashMap<String, Option<bool>>,
}

#[derive(Default)]
struct Fresh {
    key: Option<Key>,
    higher: Option<bool>,
    points: Vec<Point>,
    gone: BTreeSet<String>,
}

/// What is computed of an upload.
struct Computed {
    upload: String,
    taken: Taken,
    placed: Vec<Placed>,
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
    pub fn open<'a>(folder: &'a Path, source: Source, config: Arc<Config>, clock: SharedClock) -> BoxFuture<'a, Result<Board, BoardError>> {
        Box::pin(async move {
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
                let higher = row.opt_int(2)?.map(|higher| higher != 0);
                held.fresh.insert(row.text(0)?.to_owned(), Fresh { key: Some(key), higher, ..Fresh::default() });
                held.written.insert(row.text(0)?.to_owned(), higher);
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
        })
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
    pub fn follow(&self) -> BoxFuture<'_, Result<(), BoardError>> {
        Box::pin(async move {
            let Source::Store(store) = &self.0.source else { return self.rescan().await };
            let _one = self.0.taking.lock().await;
            let mut since: Sequence = self.fact("sequence").await?.and_then(|text| text.parse().ok()).unwrap_or(0);
            let mut pace = Pace::default();
            loop {
                let changes = store.changes_after(since, BATCH).await.map_err(SourceError::from)?;
                let Some(last) = changes.last().map(|change| change.sequence) else { break };
                let removed: HashSet<&str> = changes.iter().filter(|change| change.kind == ChangeKind::Removed).map(|change| change.upload.as_str()).collect();
                let added = changes.iter().filter(|change| change.kind == ChangeKind::Added && !removed.contains(change.upload.as_str()));
                // What came and went is not there to be looked at. Names are not used again, so the order of the two does not matter.
                self.take(added.map(|change| change.upload.clone()).collect()).await?;
                self.forget(&removed).await?;
                since = last;
                self.0.db.commit(vec![set_fact("sequence", &since.to_string())]).await?;
                if pace.is_time(changes.len()) {
                    self.settle().await?;
                }
            }
            self.settle().await
        })
    }

    /// Takes every upload that is not taken yet, oldest first, also those that failed before.
    ///
    /// # Errors
    /// The list cannot be had, or the rows fail. An upload that fails is noted and does not stop the others.
    pub fn rescan(&self) -> BoxFuture<'_, Result<(), BoardError>> {
        Box::pin(async move {
            let _one = self.0.taking.lock().await;
            let mut listed = self.0.source.uploads(&self.0.config.uploads, &[], usize::MAX >> 33).await?;
            listed.reverse();
            let wanted: Vec<String> = self.held(|held| {
                let open = |upload: &String| held.taken.get(upload).is_none_or(|taken| taken.state != "done");
                let wanted: Vec<String> = listed.into_iter().map(|listed| listed.upload).filter(open).collect();
                wanted.iter().for_each(|upload| drop(held.taken.remove(upload)));
                wanted
            });
            let mut pace = Pace::default();
            for uploads in wanted.chunks(BATCH) {
                self.take(uploads.to_vec()).await?;
                if pace.is_time(uploads.len()) {
                    self.settle().await?;
                }
            }
            self.settle().await
        })
    }

    /// Takes uploads in this order: several are computed at a time, and those that are ready are written together.
    async fn take(&self, uploads: Vec<String>) -> Result<(), BoardError> {
        let attempts = |upload: &String| {
            let known = self.held(|held| held.taken.get(upload).map(|taken| (taken.state == "done", taken.attempts)));
            known.map_or(Some(0), |(done, attempts)| (!done && attempts < ATTEMPTS).then_some(attempts))
        };
        let wanted: Vec<(String, i64)> = uploads.into_iter().filter_map(|upload| Some((attempts(&upload)? + 1, upload))).map(|(n, name)| (name, n)).collect();
        let mut computed = std::pin::pin!(
            futures_util::stream::iter(wanted)
                .map(|(upload, attempt)| {
                    let board = self.clone();
                    // A task of its own: reading an answer is work, too.
                    burrow_task::spawn(async move { board.compute(upload, attempt).await })
                })
                .buffered(AHEAD)
        );
        let mut ready: Vec<Computed> = Vec::new();
        let mut rows = 0;
        while let Some(one) = computed.next().await {
            let one = one.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()));
            rows += one.placed.len() + 1;
            ready.push(one);
            if rows >= ROWS {
                self.write(std::mem::take(&mut ready)).await?;
                rows = 0;
            }
        }
        self.write(ready).await
    }

    /// Asks for an upload's results and computes its points.
    async fn compute(&self, upload: String, attempts: i64) -> Computed {
        let at_ms = self.0.clock.now_ms();
        let query = format!("{} {}", crate::split::term("upload", &upload), self.0.config.uploads);
        let found = match self.0.source.search(query.trim()).await {
            Ok(answer) if answer.found.is_empty() => Ok(None),
            Ok(answer) => {
                let (config, name) = (Arc::clone(&self.0.config), upload.clone());
                let uploaded = answer.found.first().and_then(|found| crate::source::get(&found.labels, "upload-time")?.parse::<jiff::Timestamp>().ok());
                let uploaded_ms = uploaded.map_or(at_ms, |at| at.as_millisecond());
                match burrow_task::spawn_blocking(move || compute(&name, uploaded_ms, &answer, &config)).await {
                    Ok(placed) => placed.map(Some).map_err(|error| error.to_string()),
                    Err(error) => Err(error.to_string()),
                }
            }
            Err(error) => Err(error.to_string()),
        };
        let (state, detail, placed) = match found {
            Ok(Some(placed)) => ("done", String::new(), placed),
            Ok(None) => ("other", String::new(), Vec::new()),
            Err(error) => ("failed", error, Vec::new()),
        };
        if state == "failed" {
            tracing::warn!(upload, error = detail, "An upload could not be taken into the series; it is tried again.");
        }
        Computed { upload, taken: Taken { state: state.to_owned(), detail, attempts, at_ms }, placed }
    }

    /// Writes what was computed, in one commit.
    async fn write(&self, computed: Vec<Computed>) -> Result<(), BoardError> {
        let mut batch = Vec::new();
        let mut series: HashMap<String, Option<bool>> = HashMap::new();
        let mut ids = Vec::with_capacity(computed.len());
        for Computed { upload, taken, placed } in &computed {
            let name = upload.as_str();
            let upsert = "INSERT INTO taken (upload, state, detail, attempts, at_ms) VALUES ($1, $2, $3, $4, $5) ON CONFLICT (upload) DO UPDATE SET \
                          state = excluded.state, detail = excluded.detail, attempts = excluded.attempts, at_ms = excluded.at_ms";
            batch.push(sql("DELETE FROM point WHERE upload = $1", (name,)));
            batch.push(sql(upsert, (name, taken.state.as_str(), taken.detail.as_str(), taken.attempts, taken.at_ms)));
            let body = |value: Result<String, serde_json::Error>| {
                value.map_err(|error| BoardError::Damaged { what: "point of upload", id: name.to_owned(), why: error.to_string() })
            };
            for one in placed {
                let id = one.key.id();
                let written = match series.get(&id) {
                    Some(higher) => Some(*higher),
                    None => self.held(|held| held.written.get(&id).copied()),
                };
                if written != Some(one.higher) {
                    let upsert = "INSERT INTO series (id, body, higher) VALUES ($1, $2, $3) ON CONFLICT (id) DO UPDATE SET higher = excluded.higher";
                    batch.push(sql(upsert, (id.as_str(), body(serde_json::to_string(&one.key))?, one.higher.map(i64::from))));
                    series.insert(id.clone(), one.higher);
                }
                let point = "INSERT INTO point (upload, series, body) VALUES ($1, $2, $3) ON CONFLICT (upload, series) DO UPDATE SET body = excluded.body";
                batch.push(sql(point, (name, id.as_str(), body(serde_json::to_string(&one.point))?)));
                ids.push(id);
            }
        }
        if batch.is_empty() {
            return Ok(());
        }
        self.0.db.commit(batch).await?;
        self.held(|held| {
            held.written.extend(series);
            let mut ids = ids.into_iter();
            for Computed { upload, taken, placed } in computed {
                for (one, id) in placed.into_iter().zip(&mut ids) {
                    let fresh = held.fresh.entry(id).or_default();
                    if !fresh.gone.insert(upload.clone()) {
                        fresh.points.retain(|point| point.upload != upload);
                    }
                    fresh.higher = one.higher.or(fresh.higher);
                    fresh.key = Some(one.key);
                    fresh.points.push(one.point);
                }
                held.taken.insert(upload, taken);
            }
        });
        Ok(())
    }

    /// Uploads were removed: so are their points.
    async fn forget(&self, names: &HashSet<&str>) -> Result<(), BoardError> {
        if names.is_empty() {
            return Ok(());
        }
        let rows = |name: &&str| [sql("DELETE FROM point WHERE upload = $1", (*name,)), sql("DELETE FROM taken WHERE upload = $1", (*name,))];
        self.0.db.commit(names.iter().flat_map(rows).collect()).await?;
        self.held(|held| {
            for name in names {
                held.taken.remove(*name);
            }
            for series in held.series.values() {
                let gone: Vec<&str> = series.points.iter().map(|point| point.upload.as_str()).filter(|upload| names.contains(upload)).collect();
                if !gone.is_empty() {
                    held.fresh.entry(series.id.clone()).or_default().gone.extend(gone.into_iter().map(str::to_owned));
                }
            }
            for fresh in held.fresh.values_mut() {
                fresh.points.retain(|point| !names.contains(point.upload.as_str()));
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
            let look_at = |(id, fresh): (String, Fresh), known: Vec<Finding>| {
                let old = before.get(&id);
                let key = fresh.key.or_else(|| old.map(|old| old.key.clone()))?;
                let kept = old.into_iter().flat_map(|old| old.points.iter()).filter(|point| !fresh.gone.contains(&point.upload)).cloned();
                let points: Vec<Point> = kept.chain(fresh.points).collect();
                let higher = fresh.higher.unwrap_or_else(|| old.map_or_else(|| config.higher_is_better(&key.unit), |old| old.higher));
                let series = Series::new(Identity { id, key, higher }, points, &known, old.map(|old| &**old), &options, now_ms);
                let changed = series.findings != known;
                Some((series, changed))
            };
            let work: Mutex<Vec<_>> = Mutex::new(
                fresh
                    .into_iter()
                    .map(|(id, fresh)| {
                        let known = known.remove(&id).unwrap_or_default();
                        ((id, fresh), known)
                    })
                    .collect(),
            );
            let done = Mutex::new(Vec::new());
            let hand = || {
                while let Some((fresh, known)) = { work.lock().unwrap_or_else(PoisonError::into_inner).pop() } {
                    let looked = look_at(fresh, known);
                    done.lock().unwrap_or_else(PoisonError::into_inner).extend(looked);
                }
            };
            std::thread::scope(|scope| {
                let hands = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
                (1..hands).for_each(|_| drop(scope.spawn(hand)));
                hand();
            });
            done.into_inner().unwrap_or_else(PoisonError::into_inner)
        };
        let done = burrow_task::spawn_blocking(look).await.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()));
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
    pub fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            self.0.db.close().await;
        })
    }
}

/// When series are looked at while uploads are taken: what came since is three times what was there, so that a long history is not looked at over and over.
#[derive(Default)]
struct Pace {
    looked: usize,
    since: usize,
}

impl Pace {
    fn is_time(&mut self, taken: usize) -> bool {
        self.since += taken;
        let is_time = self.since >= 3 * self.looked;
        if is_time {
            self.looked += std::mem::take(&mut self.since);
        }
        is_time
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
