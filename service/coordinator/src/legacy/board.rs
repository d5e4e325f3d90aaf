//! `?mode=json` and `?mode=failures` (`dashboard.md` §4.2, §4.3).

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::Arc;

use burrow_results::model::BuildState;
use burrow_results::view::{Cell, Commit};
use burrow_results::{Repo, RowCells};
use burrow_web::{Problem, words};
use serde::Serialize;

use super::Repos;
use crate::http::{Site, database};

/// Commits on a page.
pub(super) const PAGE: usize = 30;
/// Commits of the page that mixes all branches.
const MIXED: usize = 500;
/// Commits of the main repository that are searched for the one that was newest at some time.
const BASE_SEARCHED: usize = 2_000;
/// An infrastructure failure counts as a failure for a polling coordinator after so many attempts, or it would ask for ever (`dashboard.md` §15.3).
const INFRA_ATTEMPTS: i64 = 3;

/// A row before it is written.
struct Row {
    repo: String,
    branch: String,
    go_branch: Option<String>,
    go_hash: String,
    commit: Commit,
    cells: Arc<RowCells>,
}

/// A page as classic clients know it.
pub(super) struct View {
    builders: Vec<String>,
    rows: Vec<Row>,
    /// How many of the builders are columns of the main table, and how many of the rows are its rows.
    main_builders: BTreeSet<String>,
    main_rows: usize,
    branch: String,
}

#[derive(Serialize)]
pub(super) struct Json<'a> {
    builders: &'a [String],
    revisions: Option<Vec<Revision<'a>>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Revision<'a> {
    repo: &'a str,
    revision: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    go_revision: &'a str,
    date: String,
    branch: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    go_branch: Option<&'a str>,
    author: String,
    desc: &'a str,
    results: Vec<String>,
}

/// Reads the page of `repo` that begins `skip` commits below the tip of `branch`.
pub(super) async fn load(site: &Site, repos: &Repos, repo: &Repo, branch: &str, skip: usize) -> Result<View, Problem> {
    let is_main = repo.name == repos.main.name;
    let real = |branch: &str| if branch.is_empty() || branch == "master" { repo.main_branch.clone() } else { branch.to_owned() };
    let mut listed: Vec<(String, Commit)> = Vec::new();
    if branch == "mixed" {
        let mut seen = BTreeSet::new();
        for name in site.results().branches(&repo.name, &repo.main_branch).await.map_err(database)? {
            for (_, commit) in site.results().commits(&repo.name, &name, None, MIXED).await.map_err(database)? {
                if seen.insert(commit.hash.clone()) {
                    listed.push((name.clone(), commit));
                }
            }
        }
        listed.sort_by_key(|(_, commit)| std::cmp::Reverse(commit.time_s));
        listed.truncate(MIXED);
    } else {
        let name = real(branch);
        let commits = site.results().commits(&repo.name, &name, None, skip + PAGE).await.map_err(database)?;
        listed.extend(commits.into_iter().skip(skip).map(|(_, commit)| (name.clone(), commit)));
    }
    // What the main branch is called is the repository's affair; classic clients call it master.
    let shown = |name: &str, of: &Repo| if name == of.main_branch { "master".to_owned() } else { name.to_owned() };
    let hashes: Vec<&str> = listed.iter().map(|(_, commit)| commit.hash.as_str()).collect();
    let cells = site.boards().cells(&repo.name, &hashes).await.map_err(database)?;
    let mut rows = Vec::new();
    if is_main {
        for ((name, commit), cells) in listed.into_iter().zip(cells) {
            rows.push(Row { repo: "go".into(), branch: shown(&name, repo), go_branch: None, go_hash: String::new(), commit, cells });
        }
    } else {
        let base = site.results().commits(&repos.main.name, &repos.main.main_branch, None, BASE_SEARCHED).await.map_err(database)?;
        let newest_before = |time_s: i64| base.iter().find(|(_, commit)| commit.time_s < time_s).map(|(_, commit)| commit.hash.clone());
        let mut newer_time: Option<i64> = None;
        for ((name, commit), cells) in listed.into_iter().zip(cells) {
            let mut hashes = arrival(&cells);
            let at_time = newest_before(commit.time_s);
            let latest = newer_time.map_or(at_time.clone(), &newest_before);
            newer_time = Some(commit.time_s);
            // A commit that nothing was built for yet still has a row for the base it belongs to.
            for hash in at_time.into_iter().chain(latest) {
                if !hashes.contains(&hash) {
                    hashes.push(hash);
                }
            }
            for hash in hashes.into_iter().rev() {
                rows.push(Row {
                    repo: repo.name.clone(),
                    branch: shown(&name, repo),
                    go_branch: Some("master".into()),
                    go_hash: hash,
                    commit: commit.clone(),
                    cells: cells.clone(),
                });
            }
        }
    }
    let main_rows = rows.len();
    let configured = site.results().builders().await.map_err(database)?;
    let of = |name: &str| configured.iter().filter(move |(repo, _, active)| repo == name && *active).map(|(_, builder, _)| builder.clone()).collect::<Vec<_>>();
    let mut main_builders: BTreeSet<String> = of(&repo.name).into_iter().collect();
    main_builders.extend(rows.iter().flat_map(|row| row.cells.entries.iter().map(|entry| entry.builder.to_string())));
    let mut builders = main_builders.clone();
    if is_main && skip == 0 && matches!(branch, "" | "master" | "mixed") {
        for other in repos.all.iter().filter(|other| other.name != repo.name && other.project == repo.project) {
            builders.extend(of(&other.name));
        }
        rows.extend(section(site, repos).await?);
    }
    let mut builders: Vec<String> = builders.into_iter().collect();
    burrow_results::boards::sort_builders(&mut builders);
    Ok(View { builders, rows, main_builders, main_rows, branch: branch.to_owned() })
}

/// Base commits of a commit's builds in the order in which they arrived (`dashboard.md` §2.3).
fn arrival(cells: &RowCells) -> Vec<String> {
    let mut first: Vec<(i64, &str)> = cells.entries.iter().filter(|entry| !entry.dep.is_empty()).map(|entry| (entry.cell.build.0, &*entry.dep)).collect();
    first.sort_unstable();
    let mut hashes: Vec<String> = Vec::new();
    for (_, hash) in first {
        if !hashes.iter().any(|known| known == hash) {
            hashes.push(hash.to_owned());
        }
    }
    hashes
}

/// The heads of the other repositories against the tips of the main one: its main branch first, then the two newest release branches.
async fn section(site: &Site, repos: &Repos) -> Result<Vec<Row>, Problem> {
    let mut releases: Vec<(u32, String)> = Vec::new();
    for name in site.results().branches(&repos.main.name, &repos.main.main_branch).await.map_err(database)? {
        if let Some(minor) = name.strip_prefix("release-branch.go1.").and_then(|minor| minor.parse().ok()) {
            releases.push((minor, name));
        }
    }
    releases.sort_unstable();
    let mut lines = vec![("master".to_owned(), repos.main.main_branch.clone())];
    lines.extend(releases.into_iter().rev().take(2).map(|(_, name)| (name.clone(), name)));
    let mut others: Vec<&Repo> = repos.all.iter().filter(|other| other.name != repos.main.name && other.project == repos.main.project).collect();
    others.sort_by(|a, b| a.name.cmp(&b.name));
    let mut rows = Vec::new();
    for (shown, branch) in lines {
        let Some((_, tip)) = site.results().commits(&repos.main.name, &branch, None, 1).await.map_err(database)?.pop() else { continue };
        for other in &others {
            let Some((_, commit)) = site.results().commits(&other.name, &other.main_branch, None, 1).await.map_err(database)?.pop() else { continue };
            let cells = site.boards().cells(&other.name, &[commit.hash.as_str()]).await.map_err(database)?.pop().unwrap_or_default();
            rows.push(Row { repo: other.name.clone(), branch: "master".into(), go_branch: Some(shown.clone()), go_hash: tip.hash.clone(), commit, cells });
        }
    }
    Ok(rows)
}

/// A cell as classic clients know it (`dashboard.md` §15.3).
fn word(cell: Option<&Cell>, base: &str) -> String {
    let failed = |cell: &Cell| format!("{base}/log/{}", cell.log.as_deref().unwrap_or_default());
    match cell {
        Some(cell) if cell.state == BuildState::Passed => "ok".into(),
        Some(cell) if cell.state.failed() => failed(cell),
        Some(cell) if cell.state == BuildState::InfraFailed && cell.attempts >= INFRA_ATTEMPTS && cell.log.is_some() => failed(cell),
        _ => String::new(),
    }
}

impl View {
    fn title<'a>(&self, title: &'a str) -> &'a str {
        if matches!(self.branch.as_str(), "" | "master" | "mixed") || !title.starts_with('[') {
            return title;
        }
        title.split_once(']').map_or(title, |(_, rest)| rest.trim_start())
    }

    pub(super) fn json<'a>(&'a self, base: &str) -> Json<'a> {
        let revisions: Vec<Revision<'a>> = self
            .rows
            .iter()
            .map(|row| Revision {
                repo: &row.repo,
                revision: &row.commit.hash,
                go_revision: &row.go_hash,
                date: words::rfc3339(row.commit.time_s * 1000),
                branch: &row.branch,
                go_branch: row.go_branch.as_deref(),
                author: author(row.commit.author.trim(), row.commit.email.trim()),
                desc: self.title(&row.commit.title),
                results: self.builders.iter().map(|builder| word(row.cells.get_against(builder, &row.go_hash), base)).collect(),
            })
            .collect();
        Json { builders: &self.builders, revisions: (!revisions.is_empty()).then_some(revisions) }
    }

    pub(super) fn failures(&self, base: &str) -> String {
        let mut out = String::new();
        for row in self.rows.iter().take(self.main_rows) {
            for builder in self.builders.iter().filter(|builder| self.main_builders.contains(*builder)) {
                // The base commit is always taken as empty here, as the reference does.
                let Some(cell) = row.cells.get_against(builder, "") else { continue };
                if let (true, Some(log)) = (cell.state.failed(), &cell.log) {
                    let _ = writeln!(out, "{} {builder} {base}/log/{log}", row.commit.hash);
                }
            }
        }
        out
    }
}

fn author(name: &str, email: &str) -> String {
    match (name, email) {
        (name, "") => name.to_owned(),
        ("", email) => format!("<{email}>"),
        (name, email) => format!("{name} <{email}>"),
    }
}
