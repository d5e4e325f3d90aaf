//! The grid: commits × builders of one branch. Its cells are written by hand, because there are thousands of them.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::Arc;

use askama::Template;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, Uri};
use axum::response::{IntoResponse as _, Redirect, Response};
use burrow_results::Repo;
use burrow_results::boards::Board;
use burrow_results::model::BuildState;
use burrow_results::view::{Column, Grid};
use burrow_web::{Problem, words};
use serde::Deserialize;
use wildmatch::WildMatch;

use super::{Page, grid_url, middle, segment, state};
use crate::http::{Site, database, json, json_ending, nothing};

/// Commits on a page.
const LIMIT: usize = 60;
/// From so many columns on, cells show their glyph only; the word stays for readers and searches.
const DENSE: usize = 18;

/// The view's state in its address.
#[derive(Debug, Clone, Default, Deserialize)]
pub(crate) struct Filter {
    /// Globs, separated by commas.
    #[serde(default)]
    pub builders: String,
    /// `red`: only columns and rows with a failure; `open`: with something waiting or running.
    #[serde(default)]
    pub state: String,
    /// Continue below this position.
    pub before: Option<i64>,
    /// Commits on the page.
    pub limit: Option<usize>,
}

impl Filter {
    fn limit(&self) -> usize {
        self.limit.unwrap_or(LIMIT).clamp(1, 500)
    }

    fn shows(&self, state: BuildState) -> bool {
        match self.state.as_str() {
            "red" => state.failed() || state == BuildState::InfraFailed,
            "open" => !state.ended(),
            _ => true,
        }
    }

    /// Narrows a board to what the filter asks for.
    pub(crate) fn narrow(&self, board: &mut Board) {
        // As in a shell, but for brackets: `?` is any one character.
        let globs: Vec<WildMatch> = self.builders.split([',', ' ']).filter(|glob| !glob.is_empty()).map(WildMatch::new).collect();
        if !globs.is_empty() {
            board.columns.retain(|column| globs.iter().any(|glob| glob.matches(&column.name)));
        }
        if matches!(self.state.as_str(), "red" | "open") {
            let rows = &board.rows;
            board.columns.retain(|column| rows.iter().any(|row| row.cells.get(&column.name).is_some_and(|cell| self.shows(cell.state))));
            let columns = &board.columns;
            board.rows.retain(|row| columns.iter().any(|column| row.cells.get(&column.name).is_some_and(|cell| self.shows(cell.state))));
        }
    }

    /// The same view at another place in time.
    fn query(&self, before: Option<i64>) -> String {
        let mut parts = Vec::new();
        for (name, value) in [("builders", &self.builders), ("state", &self.state)] {
            if !value.is_empty() {
                parts.push(format!("{name}={}", segment(value)));
            }
        }
        parts.extend(self.limit.map(|limit| format!("limit={limit}")));
        parts.extend(before.map(|before| format!("before={before}")));
        if parts.is_empty() { String::new() } else { format!("?{}", parts.join("&")) }
    }
}

/// A repository by name, in any project if `project` is `None`.
pub(crate) async fn find_repo(site: &Site, project: Option<&str>, name: &str) -> Result<Repo, Problem> {
    let repos = site.results().repos().await.map_err(database)?;
    let known = repos.iter().map(|repo| repo.name.as_str()).collect::<Vec<_>>().join(", ");
    repos.into_iter().find(|repo| repo.name == name && project.is_none_or(|project| repo.project == project)).ok_or_else(|| {
        nothing(format!("No repository is called {name:?}."), if known.is_empty() { "None is configured yet.".into() } else { format!("There is: {known}.") })
    })
}

/// `GET /p/{project}`.
pub(crate) async fn project(State(site): State<Arc<Site>>, Path(project): Path<String>) -> Result<Response, Problem> {
    let repos = site.results().repos().await.map_err(database)?;
    match repos.iter().find(|repo| repo.project == project) {
        Some(repo) => Ok(Redirect::to(&grid_url(&repo.project, &repo.name, &repo.main_branch)).into_response()),
        None => Err(nothing(format!("No project is called {project:?}."), "The overview lists all of them.")),
    }
}

/// `GET /p/{project}/{repo}`.
pub(crate) async fn repo(State(site): State<Arc<Site>>, Path((project, repo)): Path<(String, String)>) -> Result<Response, Problem> {
    let repo = find_repo(&site, Some(&project), &repo).await?;
    Ok(Redirect::to(&grid_url(&repo.project, &repo.name, &repo.main_branch)).into_response())
}

#[derive(Template)]
#[template(path = "grid.html")]
struct View<'a> {
    repo: &'a Repo,
    branch: &'a str,
    branches: &'a [String],
    filter: &'a Filter,
    newer: Option<String>,
    older: Option<String>,
    table: String,
    rows: usize,
    hidden: bool,
    now: i64,
}

impl View<'_> {
    fn url(&self, branch: &str) -> String {
        format!("{}{}", grid_url(&self.repo.project, &self.repo.name, branch), self.filter.query(None))
    }

    fn fetched(&self) -> String {
        words::time_html(self.repo.fetched_ms, self.now)
    }
}

/// `GET /p/{project}/{repo}/{branch}`, with `.json` for the same as data.
pub(crate) async fn grid(
    State(site): State<Arc<Site>>,
    Path((project, name, branch)): Path<(String, String, String)>,
    Query(filter): Query<Filter>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let branch = branch.trim_end_matches('/');
    site.cached(&uri, &headers, async |stamp| {
        let repo = find_repo(&site, Some(&project), &name).await?;
        let branches = site.results().branches(&repo.name, &repo.main_branch).await.map_err(database)?;
        // A branch may itself be called something.json.
        let (branch, data) =
            if branches.iter().any(|known| known == branch) { (branch, crate::http::wants_json(&headers)) } else { json_ending(branch, &headers) };
        let mut board = site.boards().board(&repo, branch, filter.before, filter.limit()).await.map_err(database)?;
        if board.rows.is_empty() && filter.before.is_none() && branch != repo.main_branch && !branches.iter().any(|known| known == branch) {
            return Err(nothing(
                format!("{} has no branch {branch:?} here.", repo.name),
                "It may not be one of the branches that are configured to be built, or it was not fetched yet.",
            ));
        }
        let first = board.rows.first().map(|row| row.position);
        let full = (board.rows.len(), board.columns.len());
        filter.narrow(&mut board);
        if data {
            return json(&with_machines(&site, board.grid(branches)).await?);
        }
        let newer = match (filter.before, first) {
            (Some(_), Some(first)) => Some(filter.query(site.results().newer_page(&repo.name, branch, first, filter.limit()).await.map_err(database)?)),
            (Some(_), None) => Some(filter.query(None)),
            _ => None,
        };
        let now = site.now_ms();
        let here = grid_url(&repo.project, &repo.name, branch);
        let body = middle(&View {
            repo: &repo,
            branch,
            branches: &branches,
            filter: &filter,
            newer: newer.map(|query| format!("{here}{query}")),
            older: board.next.map(|next| format!("{here}{}", filter.query(Some(next)))),
            rows: board.rows.len(),
            hidden: full != (board.rows.len(), board.columns.len()),
            table: table(&board, now),
            now,
        })?;
        let events = format!("/events?repo={}", segment(&repo.name));
        let title = format!("{} {branch}", repo.name);
        let data = format!("{here}.json{}", filter.query(filter.before));
        Ok(Page { title: &title, current: "/", events: &events, json: &data, class: "wide" }.finish(&site, Some(stamp), &body))
    })
    .await
}

/// Puts the workers into a grid's cells: JSON names them, the page does not.
pub(crate) async fn with_machines(site: &Site, mut grid: Grid) -> Result<Grid, Problem> {
    let builds: Vec<_> = grid.rows.iter().flat_map(|row| row.cells.iter().flatten().map(|cell| cell.build)).collect();
    let machines = site.results().machines_of(&builds).await.map_err(database)?;
    for cell in grid.rows.iter_mut().flat_map(|row| row.cells.iter_mut().flatten()) {
        cell.machine = machines.get(&cell.build).cloned();
    }
    Ok(grid)
}

fn table(board: &Board, now: i64) -> String {
    let columns = &board.columns;
    let mut out = String::with_capacity(1024 + columns.len() * 160 + board.rows.len() * (420 + columns.len() * 48));
    out.push_str(if columns.len() > DENSE { "<table class=\"grid dense\" id=grid data-live>" } else { "<table class=grid id=grid data-live>" });
    out.push_str("<thead><tr><th class=who rowspan=2 scope=col>Commit");
    for group in columns.chunk_by(|a, b| a.group == b.group) {
        let name = group.first().map_or("", |column| column.group.as_str());
        let _ = write!(out, "<th class=grp colspan={} scope=colgroup><span title=\"", group.len());
        words::escape_into(&mut out, name);
        out.push_str("\">");
        words::escape_into(&mut out, name);
        out.push_str("</span>");
    }
    out.push_str("<tr>");
    let mut edges = Vec::with_capacity(columns.len());
    for (at, column) in columns.iter().enumerate() {
        let edge = at == 0 || columns.get(at - 1).is_some_and(|before| before.group != column.group);
        edges.push(edge);
        heading(&mut out, column, edge);
    }
    out.push_str("</thead><tbody>");
    let index: HashMap<&str, usize> = columns.iter().enumerate().map(|(at, column)| (column.name.as_str(), at)).collect();
    let mut slots: Vec<Option<(&'static str, &'static str, i64)>> = vec![None; columns.len()];
    for row in &board.rows {
        row_head(&mut out, board, row, now);
        slots.fill(None);
        // Entries come by builder and base commit; the newest build of a builder wins.
        for entry in &row.cells.entries {
            if let Some(slot) = index.get(&*entry.builder).and_then(|at| slots.get_mut(*at))
                && slot.is_none_or(|(_, _, build)| build < entry.cell.build.0)
            {
                *slot = Some((state::class(entry.cell.state, entry.cell.flaky), state::short(entry.cell.state, entry.cell.flaky), entry.cell.build.0));
            }
        }
        for (slot, edge) in slots.iter().zip(&edges) {
            match slot {
                Some((class, word, build)) => {
                    if *edge {
                        let _ = write!(out, "<td class=\"{class} edge\"><a href=/build/{build}>{word}</a>");
                    } else {
                        // Without the formatting machinery: this line runs seven thousand times a page.
                        out.push_str("<td class=");
                        out.push_str(class);
                        out.push_str("><a href=/build/");
                        number(&mut out, *build);
                        out.push('>');
                        out.push_str(word);
                        out.push_str("</a>");
                    }
                }
                None if *edge => out.push_str("<td class=edge>"),
                None => out.push_str("<td>"),
            }
        }
    }
    out.push_str("</tbody></table>");
    out
}

fn number(out: &mut String, n: i64) {
    let mut digits = [0_u8; 20];
    let (mut n, mut at) = (n.unsigned_abs(), digits.len());
    loop {
        at -= 1;
        digits[at] = b'0' + (n % 10) as u8;
        n /= 10;
        if n == 0 || at == 0 {
            break;
        }
    }
    out.push_str(std::str::from_utf8(&digits[at..]).unwrap_or("0"));
}

fn heading(out: &mut String, column: &Column, edge: bool) {
    out.push_str("<th scope=col class=\"col");
    out.push_str(if edge { " edge" } else { "" });
    out.push_str(if column.active { "" } else { " old" });
    out.push_str("\" data-b=\"");
    words::escape_into(out, &column.name);
    out.push_str("\" title=\"");
    words::escape_into(out, &column.name);
    out.push_str(if column.active { "" } else { " (no longer configured)" });
    out.push_str("\"><a href=\"/builder/");
    out.push_str(&segment(&column.name));
    out.push_str("\">");
    words::escape_into(out, if column.rest.is_empty() { &column.name } else { &column.rest });
    out.push_str("</a>");
}

fn row_head(out: &mut String, board: &Board, row: &burrow_results::boards::BoardRow, now: i64) {
    let commit = &row.commit;
    out.push_str("<tr id=\"r");
    words::escape_into(out, &commit.hash);
    out.push_str("\"><th class=who scope=row><div class=commit><a class=hash href=\"");
    words::escape_into(out, &super::commit_url(&board.repo.name, &commit.hash));
    out.push_str("\">");
    words::escape_into(out, state::abbreviated(&commit.hash));
    out.push_str("</a><span class=t title=\"");
    words::escape_into(out, &commit.title);
    out.push_str("\">");
    words::escape_into(out, &commit.title);
    out.push_str("</span><span class=by>");
    words::escape_into(out, &commit.author);
    out.push_str("</span>");
    out.push_str(&words::time_html(commit.time_s * 1000, now));
    out.push_str("</div>");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_the_standard_library_would() {
        for n in [0, 7, 10, 123_456_789, i64::MAX] {
            let mut out = String::new();
            number(&mut out, n);
            assert_eq!(out, n.to_string());
        }
    }
}
