//! The front page: health of every branch, what is red, what happened last.

use std::sync::Arc;

use askama::Template;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, Uri};
use axum::response::Response;
use burrow_results::view::Overview;
use burrow_web::{Problem, words};

use super::{Page, grid_url, middle, segment, state};
use crate::http::{Site, database, json, wants_json};
use crate::legacy;

#[derive(Template)]
#[template(path = "overview.html")]
struct View<'a> {
    overview: &'a Overview,
    now: i64,
}

impl View<'_> {
    /// The builders of a tile's repository are all one needs to find the grid of a red line.
    fn red_grid(&self, red: &burrow_results::view::RedNow) -> String {
        let project = self.overview.tiles.iter().find(|tile| tile.repo == red.repo).map_or("", |tile| tile.project.as_str());
        format!("{}?builders={}#r{}", grid_url(project, &red.repo, &red.branch), segment(&red.builder), red.first_bad.hash)
    }
}

/// What the front page shows.
///
/// # Errors
/// The database failed.
pub(crate) async fn view(site: &Site) -> Result<Overview, Problem> {
    let mut overview = site.boards().overview(12).await.map_err(database)?;
    let live = site.control().live();
    (overview.queued, overview.running) = (live.waiting.len(), live.running.len());
    overview.workers = live.machines.iter().filter(|machine| machine.connected_ms.is_some()).count();
    overview.busy = live.machines.iter().filter(|machine| machine.build.is_some()).count();
    Ok(overview)
}

/// `GET /`: the classic dashboard when one of its parameters is there, else the overview.
pub(crate) async fn front(State(site): State<Arc<Site>>, RawQuery(query): RawQuery, uri: Uri, headers: HeaderMap) -> Result<Response, Problem> {
    if let Some(query) = query.as_deref().filter(|query| legacy::is_classic(query)) {
        return legacy::front(&site, query, &uri, &headers).await;
    }
    if wants_json(&headers) {
        return front_json(State(site), uri, headers).await;
    }
    site.cached(&uri, &headers, async |stamp| {
        let overview = view(&site).await?;
        let body = middle(&View { overview: &overview, now: site.now_ms() })?;
        Ok(Page { title: "Overview", current: "/", events: "/events", json: "/index.json", ..Page::default() }.finish(&site, Some(stamp), &body))
    })
    .await
}

/// `GET /index.json`.
pub(crate) async fn front_json(State(site): State<Arc<Site>>, uri: Uri, headers: HeaderMap) -> Result<Response, Problem> {
    site.cached(&uri, &headers, async |_| json(&view(&site).await?)).await
}
