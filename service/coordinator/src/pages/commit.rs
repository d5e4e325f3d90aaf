//! The page of a commit: all builders, what it broke and what it repaired.

use std::sync::Arc;

use askama::Template;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse as _, Redirect, Response};
use burrow_results::view::CommitPage;
use burrow_web::{Problem, words};

use super::grid::find_repo;
use super::{Page, commit_url, middle, segment, state};
use crate::http::{Site, database, json, json_ending, nothing};

#[derive(Template)]
#[template(path = "commit.html")]
struct View<'a> {
    page: &'a CommitPage,
    project: &'a str,
    now: i64,
}

impl View<'_> {
    fn passed(&self) -> usize {
        self.page.builds.iter().filter(|line| line.state == burrow_results::model::BuildState::Passed).count()
    }

    fn failed(&self) -> usize {
        self.page.builds.iter().filter(|line| line.state.failed()).count()
    }

    fn open(&self) -> usize {
        self.page.builds.iter().filter(|line| !line.state.ended()).count()
    }

    /// An older build of the cell above it.
    fn again(&self, index: &usize) -> bool {
        let builder = |at: usize| self.page.builds.get(at).map(|line| &line.builder);
        index.checked_sub(1).is_some_and(|above| builder(above) == builder(*index))
    }
}

/// A commit by full hash or unambiguous prefix.
pub(crate) async fn commit_view(site: &Site, repo: &str, hash: &str) -> Result<CommitPage, Problem> {
    let prefix = hash.to_ascii_lowercase();
    if prefix.len() < 4 || !prefix.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(nothing(format!("{hash:?} is not a commit hash."), "Give at least the first four digits."));
    }
    let mut found = site.results().find_commit(repo, &prefix).await.map_err(database)?;
    if found.len() > 1 {
        return Err(Problem::new(StatusCode::CONFLICT, format!("Several commits of {repo} begin with {prefix}."), "Give more digits."));
    }
    match found.pop() {
        Some((commit, parents)) => site.results().commit_page(commit, parents).await.map_err(database),
        None => Err(nothing(
            format!("{repo} has no commit {prefix} here."),
            "It may not have been fetched yet, or it lies before the part of the history that is watched.",
        )),
    }
}

/// `GET /c/{repo}/{hash}`.
pub(crate) async fn commit(
    State(site): State<Arc<Site>>,
    Path((name, hash)): Path<(String, String)>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let repo = find_repo(&site, None, &name).await?;
    let (hash, data) = json_ending(&hash, &headers);
    let (hash, data_hash) = (hash.to_owned(), data);
    if hash.len() < 40 {
        let page = commit_view(&site, &repo.name, &hash).await?;
        let ending = if data_hash { ".json" } else { "" };
        return Ok(Redirect::to(&format!("{}{ending}", commit_url(&repo.name, &page.commit.hash))).into_response());
    }
    site.cached(&uri, &headers, async |stamp| {
        let page = commit_view(&site, &repo.name, &hash).await?;
        if data_hash {
            return json(&page);
        }
        let body = middle(&View { page: &page, project: &repo.project, now: site.now_ms() })?;
        let title = format!("{} {}", state::abbreviated(&page.commit.hash), page.commit.title);
        let events = format!("/events?repo={}", segment(&repo.name));
        let data = format!("{}.json", commit_url(&repo.name, &page.commit.hash));
        Ok(Page { title: &title, current: "/", events: &events, json: &data, ..Page::default() }.finish(&site, Some(stamp), &body))
    })
    .await
}
