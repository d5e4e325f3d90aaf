//! The coordinator's HTTP side: routes, who may do what, and how refusals look.
//!
//! Pages and API share the handlers' data (`burrow_results::view`), so that a page and its JSON cannot differ. Handlers answer a [`Problem`]
//! when something is wrong; one layer turns it into a page or into problem JSON, whichever the reader asked for.

mod access;
mod hook;
mod logs;

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::header::ACCEPT;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use burrow_clock::SharedClock;
use burrow_results::Results;
use burrow_results::boards::Boards;
use burrow_store::Db;
use burrow_web::{Kind, PageCache, Problem, Rendered, Stamp, assets, guard};

use crate::control::{Control, ControlError};
use crate::sse::Feed;
use crate::{api, legacy, pages, sse};

pub use access::Access;
pub use logs::body_of;
pub(crate) use logs::by_hash as log_by_hash;

/// What the pages need to know about the installation.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// Name shown in the corner; empty: "Burrow".
    pub name: String,
    /// Address that others reach it at, without a slash at the end; empty: made from each request's `Host`.
    pub public_url: String,
    /// Version of the program.
    pub version: String,
    /// Who may write.
    pub access: Access,
    /// Keys of the classic dashboard's clients; off unless the operator turned them on.
    pub legacy: Option<legacy::Keys>,
    /// Repository that counts as the main one for classic clients; empty: the first.
    pub main_repo: String,
    /// Import path of each repository for classic clients (`net` → `golang.org/x/net`); a missing one is its name.
    pub import_paths: BTreeMap<String, String>,
    /// Secrets of push hooks by repository.
    pub hook_secrets: BTreeMap<String, String>,
    /// How a machine joins, as shown on the machines page; empty: not possible.
    pub enrolment: String,
}

/// Everything the handlers share.
pub struct Site {
    control: Arc<dyn Control>,
    clock: SharedClock,
    settings: Settings,
    boards: Boards,
    feed: Feed,
    cache: PageCache,
    line_counts: pages::LineCounts,
}

impl Site {
    /// Over the rows of `db` and the running coordinator.
    pub fn new(db: Db, control: Arc<dyn Control>, clock: SharedClock, settings: Settings) -> Arc<Site> {
        let feed = Feed::new(&*control);
        Arc::new(Site {
            control,
            clock,
            settings,
            boards: Boards::new(Results::new(db)),
            feed,
            cache: PageCache::default(),
            line_counts: pages::LineCounts::default(),
        })
    }

    /// The running coordinator.
    pub fn control(&self) -> &Arc<dyn Control> {
        &self.control
    }

    /// The settings.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Grids and overviews.
    pub fn boards(&self) -> &Boards {
        &self.boards
    }

    /// Queries.
    pub fn results(&self) -> &Results {
        self.boards.results()
    }

    /// The newest changes.
    pub fn feed(&self) -> &Feed {
        &self.feed
    }

    /// Line counts of logs that have ended.
    pub fn line_counts(&self) -> &pages::LineCounts {
        &self.line_counts
    }

    /// Unix milliseconds.
    pub fn now_ms(&self) -> i64 {
        self.clock.now_ms()
    }

    /// What a page made now is made from.
    pub fn stamp(&self) -> Stamp {
        Stamp { generation: self.feed.sync(&self.boards), minute: self.now_ms().div_euclid(60_000) }
    }

    /// Name of the installation.
    pub fn name(&self) -> &str {
        if self.settings.name.is_empty() { "Burrow" } else { &self.settings.name }
    }

    /// The public address for links that leave the browser: as configured, else as this request reached us.
    pub fn base_url(&self, headers: &HeaderMap) -> String {
        if !self.settings.public_url.is_empty() {
            return self.settings.public_url.trim_end_matches('/').to_owned();
        }
        let host = headers.get("host").and_then(|host| host.to_str().ok()).unwrap_or("localhost");
        let scheme = if self.settings.access.loopback { "http" } else { "https" };
        format!("{scheme}://{host}")
    }

    /// Answers from the cache, or makes the page and keeps it. `make` runs only when needed.
    pub async fn cached<F>(&self, uri: &Uri, headers: &HeaderMap, make: impl FnOnce(Stamp) -> F) -> Result<Response, Problem>
    where
        F: Future<Output = Result<Rendered, Problem>>,
    {
        let stamp = self.stamp();
        // The reader's wish decides between page and JSON at addresses that have both.
        let address = format!("{}{uri}", if wants_json(headers) { "json " } else { "" });
        if let Some(page) = self.cache.get(&address, stamp) {
            return Ok(page.answer(headers));
        }
        let page = Arc::new(make(stamp).await?);
        // A change that has a number but has not reached us yet must not be hidden by a page kept under that number.
        if page.may_be_kept() && self.control.generation() <= stamp.generation {
            self.cache.put(address, stamp, page.clone());
        }
        Ok(page.answer(headers))
    }
}

/// Whether the reader prefers JSON.
pub fn wants_json(headers: &HeaderMap) -> bool {
    headers.get(ACCEPT).and_then(|accept| accept.to_str().ok()).is_some_and(|accept| accept.contains("application/json") && !accept.contains("text/html"))
}

/// Splits `name.json` into the name and whether JSON is wanted, by ending or by header.
pub fn json_ending<'a>(name: &'a str, headers: &HeaderMap) -> (&'a str, bool) {
    match name.strip_suffix(".json") {
        Some(name) => (name, true),
        None => (name, wants_json(headers)),
    }
}

/// JSON of a view.
///
/// # Errors
/// A value that JSON cannot hold, which is a bug.
pub fn json<T: serde::Serialize>(value: &T) -> Result<Rendered, Problem> {
    let mut bytes = serde_json::to_vec(value).map_err(|error| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string(), ""))?;
    bytes.push(b'\n');
    Ok(Rendered::new(Kind::Json, bytes))
}

/// A database error as the reader sees it. The cause goes to the log of the process.
pub fn database(error: burrow_store::Error) -> Problem {
    tracing::error!(error = %error, "A page could not be made because the database failed.");
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "The database cannot be read at the moment.", "Reload in a few seconds; the coordinator's log says more.")
}

/// A refusal of the coordinator as the reader sees it.
pub fn refused(error: ControlError) -> Problem {
    match error {
        ControlError::NotFound(text) => Problem::new(StatusCode::NOT_FOUND, text, ""),
        ControlError::Conflict(text) => Problem::new(StatusCode::CONFLICT, text, "Reload the page to see what it is doing now."),
        ControlError::Invalid(text) => Problem::new(StatusCode::BAD_REQUEST, text, ""),
        ControlError::Unavailable(text) => Problem::new(StatusCode::SERVICE_UNAVAILABLE, text, "Try again in a few seconds."),
    }
}

/// Nothing at this address.
pub fn nothing(what: impl Into<String>, remedy: impl Into<String>) -> Problem {
    Problem::new(StatusCode::NOT_FOUND, what, remedy)
}

/// All routes.
pub fn router(site: Arc<Site>) -> Router {
    Router::new()
        .route("/", get(pages::front).post(legacy::post_front))
        .route("/index.json", get(pages::front_json))
        .route("/p/{project}", get(pages::project))
        .route("/p/{project}/{repo}", get(pages::repo))
        .route("/p/{project}/{repo}/{*branch}", get(pages::grid))
        .route("/c/{repo}/{hash}", get(pages::commit))
        .route("/build/{id}", get(pages::build))
        .route("/build/{id}/log", get(pages::log_lines))
        .route("/build/{id}/retry", post(pages::retry))
        .route("/build/{id}/cancel", post(pages::cancel))
        .route("/queue", get(pages::queue))
        .route("/queue.json", get(pages::queue))
        .route("/machines", get(pages::machines))
        .route("/machines.json", get(pages::machines))
        .route("/machines/{id}/drain", post(pages::drain))
        .route("/builders", get(pages::builders))
        .route("/builders.json", get(pages::builders))
        .route("/builder/{name}", get(pages::builder))
        .route("/log/{*hash}", get(logs::by_hash))
        .route("/attempt/{id}/log", get(logs::of_attempt))
        .route("/attempt/{id}/tail", get(logs::tail))
        .route("/events", get(sse::events))
        .route("/hook/{repo}", post(hook::push).layer(DefaultBodyLimit::max(5 << 20)))
        .route("/login", get(access::form).post(access::login))
        .route("/assets/{file}", get(assets::serve))
        .route("/favicon.ico", get(|| async { axum::response::Redirect::permanent(assets::icon_url()) }))
        .nest("/api/v1", api::routes())
        .merge(legacy::routes())
        .fallback(|uri: Uri| async move { nothing(format!("There is no page at {}.", uri.path()), "The address may be mistyped, or from another version.") })
        .method_not_allowed_fallback(|| async { Problem::new(StatusCode::METHOD_NOT_ALLOWED, "This address does not take that method.", "") })
        .layer(middleware::from_fn_with_state(site.clone(), frame))
        .with_state(site)
}

/// Runs around every request: refuses what must not reach a handler, shows problems the way the reader wants them, adds the security headers.
async fn frame(State(site): State<Arc<Site>>, request: Request, next: Next) -> Response {
    let headers = request.headers().clone();
    let uri = request.uri().clone();
    let mut answer = match check(&site, &request) {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.into_response(),
    };
    if let Some(problem) = answer.extensions_mut().remove::<Problem>() {
        let path = uri.path();
        let programmatic = path.starts_with("/api/") || path.ends_with(".json") || path.starts_with("/hook/") || wants_json(&headers);
        let shown = if programmatic { problem.json(&headers) } else { pages::problem(&site, &problem, &uri).answer(&headers) };
        // Headers that the problem came with (a demand for credentials, for example) stay.
        let (mut parts, body) = shown.into_parts();
        for (name, value) in answer.headers() {
            parts.headers.entry(name).or_insert(value.clone());
        }
        answer = Response::from_parts(parts, body);
        access::demand(&mut answer);
    }
    guard::protect(answer.headers_mut(), site.settings.public_url.starts_with("https:"));
    answer
}

fn check(site: &Site, request: &Request) -> Result<(), Problem> {
    let access = &site.settings.access;
    if access.loopback && !guard::host_is_ours(request.headers(), &site.settings.public_url) {
        return Err(Problem::new(
            StatusCode::MISDIRECTED_REQUEST,
            "This server answers only to the names of this machine.",
            "Open it as http://localhost, or set site.url to the address you use.",
        ));
    }
    if guard::forged(request.method(), request.headers()) {
        return Err(Problem::new(StatusCode::FORBIDDEN, "The request was sent by a page of another site.", "Use the buttons on this server's own pages."));
    }
    access.may(request)
}
