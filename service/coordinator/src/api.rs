//! The JSON interface, version 1 (`dashboard.md` §15.2). Errors are problem JSON; times RFC 3339 or Unix milliseconds as the views say;
//! lists continue with the `next` of the answer as `?cursor=`.

use std::sync::Arc;

use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use burrow_results::BuildFilter;
use burrow_results::model::{BuildId, BuildState, Class};
use burrow_web::Problem;
use serde::Deserialize;
use serde_json::json;

use crate::control::Submit;
use crate::http::{Site, database, json as rendered, nothing, refused};
use crate::pages::{self, Filter};
use crate::{http, sse};

/// Builds given in one answer at most.
const LIMIT: usize = 200;
/// Builds that one call may retry at most.
const RETRIES: usize = 500;

/// What there is, for people with a terminal.
const ADDRESSES: &[&str] = &[
    "GET /api/v1/projects",
    "GET /api/v1/repos",
    "GET /api/v1/branches?repo=",
    "GET /api/v1/builders",
    "GET /api/v1/board?repo=&branch=&builders=&state=&cursor=&limit=",
    "GET /api/v1/commits/{repo}/{hash}",
    "GET /api/v1/builds?builder=&repo=&branch=&commit=&state=&since=&cursor=&limit=",
    "POST /api/v1/builds {repo, revision, builder, class, actor, reason}",
    "GET /api/v1/builds/{id}",
    "GET /api/v1/builds/{id}/steps",
    "POST /api/v1/builds/{id}/retry {actor, reason}",
    "POST /api/v1/builds/{id}/cancel {actor}",
    "POST /api/v1/retry {filter, dry_run, max, actor, reason}",
    "GET /api/v1/logs/{hash}?from=&lines=",
    "GET /api/v1/pending",
    "GET /api/v1/events?since=&repo=&branch=&build=",
];

/// Routes below `/api/v1`.
pub(crate) fn routes() -> Router<Arc<Site>> {
    Router::new()
        .route("/index", get(async || Json(ADDRESSES)))
        .route("/projects", get(projects))
        .route("/repos", get(repos))
        .route("/branches", get(branches))
        .route("/builders", get(builders))
        .route("/board", get(board))
        .route("/commits/{repo}/{hash}", get(commit))
        .route("/builds", get(builds).post(submit))
        .route("/builds/{id}", get(build))
        .route("/builds/{id}/steps", get(steps))
        .route("/builds/{id}/retry", post(retry))
        .route("/builds/{id}/cancel", post(cancel))
        .route("/retry", post(retry_many))
        .route("/logs/{hash}", get(log))
        .route("/machines/enroll", post(enroll))
        .route("/machines/{id}/revoke", post(revoke))
        .route("/pending", get(pending))
        .route("/events", get(sse::events))
        .fallback(|uri: Uri| async move { nothing(format!("The interface has nothing at {}.", uri.path()), "GET /api/v1/index lists its addresses.") })
}

async fn projects(State(site): State<Arc<Site>>, uri: Uri, headers: HeaderMap) -> Result<Response, Problem> {
    site.cached(&uri, &headers, async |_| {
        let mut projects: std::collections::BTreeMap<String, Vec<String>> = std::collections::BTreeMap::new();
        for repo in site.results().repos().await.map_err(database)? {
            projects.entry(repo.project).or_default().push(repo.name);
        }
        rendered(&projects.into_iter().map(|(name, repos)| json!({"name": name, "repos": repos})).collect::<Vec<_>>())
    })
    .await
}

async fn repos(State(site): State<Arc<Site>>, uri: Uri, headers: HeaderMap) -> Result<Response, Problem> {
    site.cached(&uri, &headers, async |_| rendered(&site.results().repos().await.map_err(database)?)).await
}

#[derive(Deserialize)]
struct OfRepo {
    repo: String,
}

async fn branches(State(site): State<Arc<Site>>, Query(of): Query<OfRepo>, uri: Uri, headers: HeaderMap) -> Result<Response, Problem> {
    site.cached(&uri, &headers, async |_| {
        let repo = repo_named(&site, &of.repo).await?;
        rendered(&site.results().branches(&repo.name, &repo.main_branch).await.map_err(database)?)
    })
    .await
}

async fn repo_named(site: &Site, name: &str) -> Result<burrow_results::Repo, Problem> {
    let repos = site.results().repos().await.map_err(database)?;
    repos.into_iter().find(|repo| repo.name == name).ok_or_else(|| nothing(format!("No repository is called {name:?}."), "GET /api/v1/repos lists them."))
}

async fn builders(State(site): State<Arc<Site>>, uri: Uri, headers: HeaderMap) -> Result<Response, Problem> {
    site.cached(&uri, &headers, async |_| {
        let specs = site.results().builder_specs().await.map_err(database)?;
        let mut names: Vec<String> = specs.iter().map(|(name, _)| name.clone()).collect();
        burrow_results::boards::sort_builders(&mut names);
        let specs: std::collections::HashMap<_, _> = specs.into_iter().collect();
        rendered(&names.iter().map(|name| json!({"name": name, "spec": specs.get(name)})).collect::<Vec<_>>())
    })
    .await
}

#[derive(Deserialize)]
struct Board {
    repo: String,
    #[serde(default)]
    branch: String,
    #[serde(default)]
    builders: String,
    #[serde(default)]
    state: String,
    cursor: Option<i64>,
    limit: Option<usize>,
}

async fn board(State(site): State<Arc<Site>>, Query(wanted): Query<Board>, uri: Uri, headers: HeaderMap) -> Result<Response, Problem> {
    site.cached(&uri, &headers, async |_| {
        let repo = repo_named(&site, &wanted.repo).await?;
        let branch = if wanted.branch.is_empty() { repo.main_branch.as_str() } else { wanted.branch.as_str() };
        let limit = wanted.limit.unwrap_or(60).clamp(1, 500);
        let mut board = site.boards().board(&repo, branch, wanted.cursor, limit).await.map_err(database)?;
        Filter { builders: wanted.builders.clone(), state: wanted.state.clone(), before: None, limit: None }.narrow(&mut board);
        let branches = site.results().branches(&repo.name, &repo.main_branch).await.map_err(database)?;
        rendered(&pages::with_machines(&site, board.grid(branches)).await?)
    })
    .await
}

async fn commit(State(site): State<Arc<Site>>, Path((repo, hash)): Path<(String, String)>, uri: Uri, headers: HeaderMap) -> Result<Response, Problem> {
    site.cached(&uri, &headers, async |_| rendered(&pages::commit_view(&site, &repo, &hash).await?)).await
}

/// Which builds, in queries and in the body of a retry of many.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Which {
    builder: Option<String>,
    repo: Option<String>,
    branch: Option<String>,
    commit: Option<String>,
    /// States separated by commas; `failed` stands for the three that blame the commit.
    #[serde(default)]
    state: String,
    /// Unix milliseconds or RFC 3339.
    since: Option<String>,
    cursor: Option<i64>,
    limit: Option<usize>,
}

impl Which {
    fn filter(&self) -> Result<BuildFilter, Problem> {
        let mut states = Vec::new();
        for word in self.state.split(',').filter(|word| !word.is_empty()) {
            if word == "failed" {
                states.extend(BuildState::ALL.iter().copied().filter(|state| state.failed()));
            } else {
                let known = || BuildState::ALL.iter().map(|state| state.word()).collect::<Vec<_>>().join(", ");
                states.push(BuildState::from_word(word).ok_or_else(|| bad(format!("{word:?} is not a state."), format!("States are failed, {}.", known())))?);
            }
        }
        let since_ms = match &self.since {
            None => None,
            Some(text) => Some(
                text.parse::<i64>()
                    .ok()
                    .or_else(|| text.parse::<jiff::Timestamp>().ok().map(|at| at.as_millisecond()))
                    .ok_or_else(|| bad(format!("{text:?} is not a moment."), "Write 2026-11-22T21:00:00Z, or milliseconds since 1970."))?,
            ),
        };
        Ok(BuildFilter {
            builder: self.builder.clone(),
            repo: self.repo.clone(),
            branch: self.branch.clone(),
            hash: self.commit.clone(),
            states,
            since_ms,
            before: self.cursor.map(BuildId),
            newest_only: false,
        })
    }
}

fn bad(detail: impl Into<String>, remedy: impl Into<String>) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, detail, remedy)
}

async fn builds(State(site): State<Arc<Site>>, Query(which): Query<Which>, uri: Uri, headers: HeaderMap) -> Result<Response, Problem> {
    let filter = which.filter()?;
    let limit = which.limit.unwrap_or(50).clamp(1, LIMIT);
    site.cached(&uri, &headers, async |_| rendered(&site.results().builds(&filter, limit).await.map_err(database)?)).await
}

async fn build(State(site): State<Arc<Site>>, Path(id): Path<i64>, uri: Uri, headers: HeaderMap) -> Result<Response, Problem> {
    site.cached(&uri, &headers, async |_| rendered(&pages::build_view(&site, BuildId(id)).await?)).await
}

async fn steps(State(site): State<Arc<Site>>, Path(id): Path<i64>, uri: Uri, headers: HeaderMap) -> Result<Response, Problem> {
    site.cached(&uri, &headers, async |_| rendered(&pages::build_view(&site, BuildId(id)).await?.attempts_list)).await
}

async fn pending(State(site): State<Arc<Site>>, uri: Uri, headers: HeaderMap) -> Result<Response, Problem> {
    site.cached(&uri, &headers, async |_| rendered(&pages::queue_view(&site).await?)).await
}

/// Who asks and why, where a body may be left out.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    #[serde(default)]
    actor: String,
    #[serde(default)]
    reason: String,
}

impl Asked {
    fn actor(&self) -> String {
        if self.actor.is_empty() { "user (api)".to_owned() } else { format!("user {}", self.actor.chars().take(100).collect::<String>()) }
    }
}

/// A body that may be empty.
fn asked(body: &[u8]) -> Result<Asked, Problem> {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Ok(Asked::default());
    }
    serde_json::from_slice(body)
        .map_err(|error| bad(format!("The body is not what this takes: {error}."), "It may be empty, or {\"actor\": \"…\", \"reason\": \"…\"}."))
}

async fn retry(State(site): State<Arc<Site>>, Path(id): Path<i64>, body: bytes::Bytes) -> Result<Response, Problem> {
    let asked = asked(&body)?;
    let build = site.control().retry(BuildId(id), asked.actor(), asked.reason).await.map_err(refused)?;
    Ok((StatusCode::CREATED, Json(json!({"build": build}))).into_response())
}

async fn cancel(State(site): State<Arc<Site>>, Path(id): Path<i64>, body: bytes::Bytes) -> Result<Response, Problem> {
    let asked = asked(&body)?;
    site.control().cancel(BuildId(id), asked.actor()).await.map_err(refused)?;
    Ok((StatusCode::ACCEPTED, Json(json!({"build": id}))).into_response())
}

/// Which kind of machine may join.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Enroll {
    host_type: String,
}

async fn enroll(State(site): State<Arc<Site>>, Json(wanted): Json<Enroll>) -> Result<Response, Problem> {
    let token = site.control().enroll(wanted.host_type, "administrator".into()).await.map_err(refused)?;
    let address = site.control().machine_address().unwrap_or_default();
    Ok((StatusCode::CREATED, Json(json!({"token": token, "address": address}))).into_response())
}

async fn revoke(State(site): State<Arc<Site>>, Path(id): Path<String>) -> Result<Response, Problem> {
    site.control().revoke(id.clone(), "administrator".into()).await.map_err(refused)?;
    Ok(Json(json!({"machine": id})).into_response())
}

/// A retry of many builds.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Many {
    filter: Which,
    #[serde(default = "yes")]
    dry_run: bool,
    /// So many at most; the rest is told in `left`.
    max: Option<usize>,
    #[serde(default)]
    actor: String,
    #[serde(default)]
    reason: String,
}

fn yes() -> bool {
    true
}

/// `POST /api/v1/retry`: what would be, or is, built again. Only the newest build of each cell, and only ended ones.
async fn retry_many(State(site): State<Arc<Site>>, body: bytes::Bytes) -> Result<Response, Problem> {
    let many: Many = serde_json::from_slice(&body).map_err(|error| {
        bad(
            format!("The body is not what this takes: {error}."),
            "For example {\"filter\": {\"state\": \"infra_failed\", \"since\": \"2026-11-22T00:00:00Z\"}, \"dry_run\": true, \"reason\": \"network outage\"}.",
        )
    })?;
    let mut filter = many.filter.filter()?;
    if filter.states.is_empty() && filter.builder.is_none() && filter.hash.is_none() {
        return Err(bad("The filter names no state, builder or commit.", "Name at least one, so that not everything is built again."));
    }
    filter.newest_only = true;
    let most = many.max.unwrap_or(RETRIES).min(RETRIES);
    let page = site.results().builds(&filter, most).await.map_err(database)?;
    let chosen: Vec<_> = page.items.into_iter().filter(|line| line.state.ended()).collect();
    if many.dry_run {
        return Ok(Json(json!({"dry_run": true, "builds": chosen, "more": page.next.is_some()})).into_response());
    }
    let asked = Asked { actor: many.actor, reason: many.reason };
    let (mut retried, mut refusals) = (Vec::new(), Vec::new());
    for line in &chosen {
        match site.control().retry(line.id, asked.actor(), asked.reason.clone()).await {
            Ok(build) => retried.push(json!({"old": line.id, "build": build})),
            Err(error) => refusals.push(json!({"old": line.id, "error": error.to_string()})),
        }
    }
    Ok(Json(json!({"dry_run": false, "retried": retried, "refused": refusals, "more": page.next.is_some()})).into_response())
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct NewBuild {
    repo: String,
    revision: String,
    builder: String,
    class: Option<Class>,
    #[serde(default)]
    actor: String,
    #[serde(default)]
    reason: String,
}

async fn submit(State(site): State<Arc<Site>>, body: bytes::Bytes) -> Result<Response, Problem> {
    let new: NewBuild = serde_json::from_slice(&body).map_err(|error| {
        bad(
            format!("The body is not what this takes: {error}."),
            "For example {\"repo\": \"…\", \"revision\": \"main\", \"builder\": \"…\", \"class\": \"interactive\"}.",
        )
    })?;
    let actor = Asked { actor: new.actor, reason: String::new() }.actor();
    let request =
        Submit { repo: new.repo, revision: new.revision, builder: new.builder, class: new.class.unwrap_or(Class::Interactive), actor, reason: new.reason };
    let build = site.control().submit(request).await.map_err(refused)?;
    let place = format!("/api/v1/builds/{build}");
    Ok((StatusCode::CREATED, [(axum::http::header::LOCATION, place)], Json(json!({"build": build}))).into_response())
}

#[derive(Deserialize)]
struct Lines {
    from: Option<u64>,
    lines: Option<u64>,
}

/// `GET /api/v1/logs/{hash}?from=&lines=`: some lines of a finished log; without a range, the log itself.
async fn log(State(site): State<Arc<Site>>, Path(hash): Path<String>, Query(range): Query<Lines>, headers: HeaderMap) -> Result<Response, Problem> {
    if range.from.is_none() && range.lines.is_none() {
        return http::log_by_hash(State(site), Path(hash), headers).await;
    }
    let from = range.from.unwrap_or(1).max(1);
    let count = range.lines.unwrap_or(200).clamp(1, 10_000);
    let (size, reader) = site.control().log_by_hash(hash).await.map_err(refused)?;
    let part = pages::lines_of(reader, from, from + count - 1).await;
    let lines: Vec<String> = part.lines.iter().map(|line| String::from_utf8_lossy(line).into_owned()).collect();
    Ok(Json(json!({"from": from, "lines": lines, "offset": part.offset, "end": part.end, "size": size})).into_response())
}
