//! Grids and the overview, from cells kept in memory.
//!
//! The cells of a commit are read once and kept until a build of that commit changes, so that a page costs the database only what is new.
//! [`Boards::changed`] must be called for every change *after* it is on disk and before a page made after it is asked for.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use burrow_store::Error;
use burrow_task::BoxFuture;

use crate::model::BuildState;
use crate::queries::{Repo, Results, RowCells};
use crate::view::{Column, Commit, Grid, GridRow, Overview, RedNow, Tile};

/// Commits looked at per branch for the overview.
const OVERVIEW_COMMITS: usize = 60;
/// Commits in the strip of a tile.
const STRIP: usize = 30;
/// Tiles at most; main branches come first.
const TILES: usize = 48;
/// Rows kept in memory at most: a hundred boards of sixty commits.
const KEPT_ROWS: usize = 6_000;
/// Changes remembered to tell whether a row that was just read is already old.
const REMEMBERED: usize = 4_096;

type Key = (String, String);

/// Grids and overviews over cached cells. Share one per process.
pub struct Boards {
    results: Results,
    cache: Mutex<Cache>,
}

#[derive(Default)]
struct Cache {
    rows: HashMap<Key, Arc<RowCells>>,
    order: VecDeque<Key>,
    columns: Option<Arc<Vec<(String, String, bool)>>>,
    /// Number of the newest change, and the newest changes with their numbers; `None` stands for "everything".
    clock: u64,
    recent: VecDeque<(u64, Option<Key>)>,
}

impl Cache {
    fn note(&mut self, key: Option<Key>) {
        self.clock += 1;
        if self.recent.len() == REMEMBERED {
            self.recent.pop_front();
        }
        self.recent.push_back((self.clock, key));
    }

    /// Whether `key` may have changed after moment `since`.
    fn moved(&self, key: &Key, since: u64) -> bool {
        let forgotten = self.recent.front().is_some_and(|(oldest, _)| *oldest > since + 1);
        forgotten || self.recent.iter().rev().take_while(|(at, _)| *at > since).any(|(_, changed)| changed.as_ref().is_none_or(|changed| changed == key))
    }
}

/// A grid whose cells are still packed by commit: what a page renders.
pub struct Board {
    /// The repository.
    pub repo: Repo,
    /// The branch.
    pub branch: String,
    /// Columns in order.
    pub columns: Vec<Column>,
    /// Newest first.
    pub rows: Vec<BoardRow>,
    /// Position to continue at, if there are older rows.
    pub next: Option<i64>,
}

/// A row of a board.
pub struct BoardRow {
    /// Position in the branch.
    pub position: i64,
    /// The commit.
    pub commit: Commit,
    /// Its cells.
    pub cells: Arc<RowCells>,
}

impl Boards {
    /// Over these results, with nothing cached.
    pub fn new(results: Results) -> Boards {
        Boards { results, cache: Mutex::new(Cache::default()) }
    }

    /// The queries below.
    pub fn results(&self) -> &Results {
        &self.results
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Cache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A build of this commit changed.
    pub fn changed(&self, repo: &str, hash: &str) {
        let key = (repo.to_owned(), hash.to_owned());
        let mut cache = self.lock();
        cache.rows.remove(&key);
        cache.note(Some(key));
    }

    /// The configuration changed, or changes were missed: everything is read again.
    pub fn forget(&self) {
        let mut cache = self.lock();
        cache.rows.clear();
        cache.order.clear();
        cache.columns = None;
        cache.note(None);
    }

    /// The cells of some commits, in the order asked.
    ///
    /// # Errors
    /// Whatever the database says.
    pub fn cells<'a>(&'a self, repo: &'a str, hashes: &'a [&'a str]) -> BoxFuture<'a, Result<Vec<Arc<RowCells>>, Error>> {
        Box::pin(async move {
            let mut found: Vec<Option<Arc<RowCells>>> = Vec::with_capacity(hashes.len());
            let since = {
                let cache = self.lock();
                let mut key = (repo.to_owned(), String::new());
                for hash in hashes {
                    key.1.clear();
                    key.1.push_str(hash);
                    found.push(cache.rows.get(&key).cloned());
                }
                cache.clock
            };
            let missing: Vec<&str> = hashes.iter().zip(&found).filter(|(_, row)| row.is_none()).map(|(hash, _)| *hash).collect();
            if missing.is_empty() {
                return Ok(found.into_iter().flatten().collect());
            }
            let fresh = self.results.cells(repo, &missing).await?;
            let mut fresh: HashMap<&str, Arc<RowCells>> = missing.iter().copied().zip(fresh.into_iter().map(Arc::new)).collect();
            let mut cache = self.lock();
            for (hash, row) in &fresh {
                let key = (repo.to_owned(), (*hash).to_owned());
                if cache.moved(&key, since) {
                    continue;
                }
                if cache.rows.insert(key.clone(), row.clone()).is_none() {
                    cache.order.push_back(key);
                }
            }
            while cache.order.len() > KEPT_ROWS {
                if let Some(oldest) = cache.order.pop_front() {
                    cache.rows.remove(&oldest);
                }
            }
            drop(cache);
            Ok(hashes.iter().zip(found).map(|(hash, row)| row.or_else(|| fresh.get_mut(hash).map(|row| row.clone())).unwrap_or_default()).collect())
        })
    }

    async fn configured(&self) -> Result<Arc<Vec<(String, String, bool)>>, Error> {
        let since = {
            let cache = self.lock();
            if let Some(columns) = &cache.columns {
                return Ok(columns.clone());
            }
            cache.clock
        };
        let columns = Arc::new(self.results.builders().await?);
        let mut cache = self.lock();
        if cache.clock == since {
            cache.columns = Some(columns.clone());
        }
        Ok(columns)
    }

    /// A page of a branch: at most `limit` commits below position `before`.
    ///
    /// # Errors
    /// Whatever the database says.
    pub fn board<'a>(&'a self, repo: &'a Repo, branch: &'a str, before: Option<i64>, limit: usize) -> BoxFuture<'a, Result<Board, Error>> {
        Box::pin(async move {
            let mut commits = self.results.commits(&repo.name, branch, before, limit + 1).await?;
            let more = commits.len() > limit;
            commits.truncate(limit);
            let next = if more { commits.last().map(|(position, _)| *position) } else { None };
            let hashes: Vec<&str> = commits.iter().map(|(_, commit)| commit.hash.as_str()).collect();
            let cells = self.cells(&repo.name, &hashes).await?;
            let configured = self.configured().await?;
            let columns = columns(&repo.name, &configured, &cells);
            let rows = commits.into_iter().zip(cells).map(|((position, commit), cells)| BoardRow { position, commit, cells }).collect();
            Ok(Board { repo: repo.clone(), branch: branch.to_owned(), columns, rows, next })
        })
    }

    /// The overview. `queued`, `running`, `workers` and `busy` are the caller's: only the scheduler knows them.
    ///
    /// # Errors
    /// Whatever the database says.
    pub fn overview(&self, recent: usize) -> BoxFuture<'_, Result<Overview, Error>> {
        Box::pin(async move {
            let mut wanted: Vec<(Repo, String)> = Vec::new();
            let mut others: Vec<(Repo, String)> = Vec::new();
            for repo in self.results.repos().await? {
                let branches = self.results.branches(&repo.name, &repo.main_branch).await?;
                let mut branches = branches.into_iter();
                let first = branches.next().unwrap_or_else(|| repo.main_branch.clone());
                others.extend(branches.map(|branch| (repo.clone(), branch)));
                wanted.push((repo, first));
            }
            wanted.extend(others);
            wanted.truncate(TILES);
            let (mut tiles, mut red) = (Vec::new(), Vec::new());
            for (repo, branch) in wanted {
                let board = self.board(&repo, &branch, None, OVERVIEW_COMMITS).await?;
                red.extend(board.red());
                tiles.push(board.tile());
            }
            red.sort_by_key(|red| red.since_ms);
            let recent = self.results.recent(recent).await?;
            Ok(Overview { tiles, red, queued: 0, running: 0, workers: 0, busy: 0, recent })
        })
    }
}

impl Board {
    /// Health of the branch.
    pub fn tile(&self) -> Tile {
        let (mut passed, mut failed, mut infra, mut flaky, mut open) = (0, 0, 0, 0, 0);
        for column in self.columns.iter().filter(|column| column.active || self.columns.iter().all(|column| !column.active)) {
            let cells = || self.rows.iter().filter_map(|row| row.cells.get(&column.name));
            let Some(newest) = cells().find(|cell| decided(cell.state)) else { continue };
            // A lost machine says nothing about the commit: what was red before it is red still, as in the list of what is red.
            match cells().find(|cell| cell.state == BuildState::Passed || cell.state.failed()) {
                Some(cell) if cell.state.failed() => failed += 1,
                _ if newest.state == BuildState::InfraFailed => infra += 1,
                _ => passed += 1,
            }
            flaky += usize::from(newest.flaky && newest.state == BuildState::Passed);
        }
        for row in &self.rows {
            open += row.cells.entries.iter().filter(|entry| !entry.cell.state.ended()).count();
        }
        let health = match () {
            () if self.rows.is_empty() => "empty",
            () if failed > 0 => "failing",
            () if passed == 0 && infra > 0 => "failing",
            () if passed == 0 && self.rows.iter().any(|row| row.cells.entries.iter().any(|entry| entry.cell.state == BuildState::Running)) => "building",
            () if passed == 0 => "waiting",
            () if flaky > 0 => "flaky",
            () => "passing",
        };
        let strip = self
            .rows
            .iter()
            .take(STRIP)
            .map(|row| (row.commit.hash.clone(), row.cells.entries.iter().map(|entry| entry.cell.state).min_by_key(|state| severity(*state))))
            .collect();
        Tile {
            project: self.repo.project.clone(),
            repo: self.repo.name.clone(),
            branch: self.branch.clone(),
            tip: self.rows.first().map(|row| row.commit.clone()),
            health,
            passed,
            failed,
            infra,
            open,
            strip,
            source_error: self.repo.error.clone(),
        }
    }

    /// Builders whose newest decided build failed, each with the commits that may be to blame.
    pub fn red(&self) -> Vec<RedNow> {
        let mut red = Vec::new();
        for column in self.columns.iter().filter(|column| column.active) {
            let mut run = self.rows.iter().enumerate().filter_map(|(at, row)| Some((at, row, row.cells.get(&column.name)?)));
            // Infrastructure failures neither break nor end a run: they say nothing about the commit.
            let mut decided = run.by_ref().filter(|(_, _, cell)| cell.state == BuildState::Passed || cell.state.failed());
            let Some((at, first, newest)) = decided.next().filter(|(_, _, cell)| cell.state.failed()) else { continue };
            let (mut bad_at, mut bad, mut since, mut good) = (at, first, newest.started_ms, None);
            for (at, row, cell) in decided {
                if cell.state == BuildState::Passed {
                    good = Some((at, row));
                    break;
                }
                (bad_at, bad, since) = (at, row, cell.started_ms.or(since));
            }
            red.push(RedNow {
                repo: self.repo.name.clone(),
                branch: self.branch.clone(),
                builder: column.name.clone(),
                build: newest.build,
                state: newest.state,
                first_bad: bad.commit.clone(),
                last_good: good.map(|(_, row)| row.commit.clone()),
                suspects: good.map(|(at, _)| at - bad_at),
                since_ms: since.unwrap_or(bad.commit.time_s * 1000),
            });
        }
        red
    }

    /// As plain data.
    pub fn grid(&self, branches: Vec<String>) -> Grid {
        Grid {
            project: self.repo.project.clone(),
            repo: self.repo.name.clone(),
            branch: self.branch.clone(),
            branches,
            builders: self.columns.clone(),
            rows: self
                .rows
                .iter()
                .map(|row| GridRow {
                    commit: row.commit.clone(),
                    position: row.position,
                    cells: self.columns.iter().map(|column| row.cells.get(&column.name).cloned()).collect(),
                })
                .collect(),
            next: self.next,
            source_error: self.repo.error.clone(),
            fetched_ms: self.repo.fetched_ms,
        }
    }
}

/// Whether a state is a verdict, of the commit or of the farm.
fn decided(state: BuildState) -> bool {
    state == BuildState::Passed || state == BuildState::InfraFailed || state.failed()
}

/// Worst first: what a person must look at before the rest.
pub fn severity(state: BuildState) -> u8 {
    match state {
        BuildState::FailedBuild => 0,
        BuildState::FailedTest => 1,
        BuildState::TimedOut => 2,
        BuildState::InfraFailed => 3,
        BuildState::Running => 4,
        BuildState::Queued | BuildState::WaitingMachine => 5,
        BuildState::Passed => 6,
        BuildState::Cancelled => 7,
        BuildState::SkippedMissingDep => 8,
    }
}

/// Columns of a repository's grid: its configured builders and those with a result on one of the rows, in the order of `dashboard.md` §5.2.
fn columns(repo: &str, configured: &[(String, String, bool)], rows: &[Arc<RowCells>]) -> Vec<Column> {
    let mut active: BTreeSet<&str> = BTreeSet::new();
    for (_, name, _) in configured.iter().filter(|(of, _, active)| of == repo && *active) {
        active.insert(name);
    }
    let mut names = active.clone();
    for row in rows {
        names.extend(row.entries.iter().map(|entry| &*entry.builder));
    }
    let mut columns: Vec<Column> = names.into_iter().map(|name| column(name, active.contains(name))).collect();
    columns.sort_by(|a, b| (priority(&a.name), &a.group, &a.name).cmp(&(priority(&b.name), &b.group, &b.name)));
    columns
}

fn column(name: &str, active: bool) -> Column {
    let (group, rest) = if is_race(name) {
        let base = name.strip_suffix("-race").map(str::to_owned).unwrap_or_else(|| name.replacen("-race-", "-", 1));
        ("race".to_owned(), base)
    } else {
        let (group, rest) = name.split_once('-').unwrap_or((name, ""));
        (group.to_owned(), rest.to_owned())
    };
    Column { name: name.to_owned(), group, rest, active }
}

/// Names of builders in the order of columns (`dashboard.md` §5.2).
pub fn sort_builders(names: &mut [String]) {
    names.sort_by(|a, b| (priority(a), a.as_str()).cmp(&(priority(b), b.as_str())));
}

fn is_race(name: &str) -> bool {
    name.contains("-race-") || name.ends_with("-race")
}

fn priority(name: &str) -> u8 {
    if is_race(name) {
        return 2;
    }
    match name.split('-').next().unwrap_or_default() {
        "all" => 0,
        "darwin" | "linux" | "windows" => 1,
        "freebsd" | "netbsd" | "openbsd" => 3,
        "android" | "ios" => 4,
        _ => 10,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_come_in_the_order_people_know() {
        let mut names: Vec<String> =
            ["plan9-386", "linux-amd64-race", "linux-amd64-racecompile", "android-arm64", "openbsd-amd64", "windows-386", "all", "darwin-arm64"]
                .map(String::from)
                .to_vec();
        sort_builders(&mut names);
        let expected = ["all", "darwin-arm64", "linux-amd64-racecompile", "windows-386", "linux-amd64-race", "openbsd-amd64", "android-arm64", "plan9-386"];
        assert_eq!(names, expected);
        assert_eq!(column("linux-amd64-race", true).group, "race");
        assert_eq!(column("linux-amd64-longtest", true).rest, "amd64-longtest");
    }
}
