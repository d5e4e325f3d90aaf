//! What is answered at which address (`spec/perf.md` §8, §9).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, RawForm, RawQuery, Request, State};
use axum::http::header::{ACCEPT, AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, LOCATION};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::{any, get, post};
use burrow_clock::SharedClock;
use burrow_web::{Kind, PageCache, Rendered, Stamp, assets, guard};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use crate::api::{self, Refusal};
use crate::board::{Board, BoardError};
use crate::history::History;
use crate::params::Params;
use crate::series::State as FindingState;
use crate::{api_2022, compare, feed, group, pages, split, trend};

/// A form is at most this long.
const NOTE: usize = 4_000;

/// What the service is made of.
#[derive(Debug, Clone)]
pub struct Site {
    /// Series, and through it the results.
    pub board: Board,
    /// Histories of repositories.
    pub history: History,
    /// SHA-256 of the token for changes; `None`: everybody who can connect may.
    pub token: Option<[u8; 32]>,
    /// Host name that requests may name besides addresses and `localhost`; `None`: any, for a listener that is not on this machine only.
    pub only_host: Option<String>,
    /// The time.
    pub clock: SharedClock,
}

impl Site {
    /// The digest of a token.
    pub fn digest(token: &str) -> [u8; 32] {
        Sha256::digest(token.trim().as_bytes()).into()
    }
}

#[derive(Clone)]
pub(crate) struct Service {
    pub(crate) site: Site,
    pub(crate) started_ms: i64,
    cache: Arc<PageCache>,
    requests: Arc<[AtomicU64; 3]>,
}

/// Everything the service answers.
pub fn router(site: Site) -> Router {
    let started_ms = site.clock.now_ms();
    let service = Service { site, started_ms, cache: Arc::default(), requests: Arc::default() };
    Router::new()
        .route("/", get(start))
        .route("/search", get(search))
        .route("/search.txt", get(text))
        .route("/compare", get(compare_page))
        .route("/compare.json", get(compare_data))
        .route("/compare.csv", get(compare_data))
        .route("/trend", get(trend_page))
        .route("/trend.json", get(trend_data))
        .route("/trend.csv", get(trend_data))
        .route("/dashboard", get(|| async { redirect("/dashboard/") }))
        .route("/dashboard/", get(dashboard))
        .route("/dashboard.csv", get(dashboard_csv))
        .route("/dashboard/benchmarks.json", get(benchmarks_json))
        .route("/dashboard/data.json", get(data_json))
        .route("/dashboard/2022/data.json", get(data_json_2022))
        .route("/dashboard/formfields.json", get(form_fields_json))
        .route("/series/{id}", get(series))
        .route("/series/{id}/changes/{commit}", post(say))
        .route("/regressions", get(regressions))
        .route("/regressions.json", get(regressions_json))
        .route("/regressions.atom", get(regressions_atom))
        .route("/cron/syncinflux", any(rescan))
        .route("/rescan", post(rescan))
        .route("/status.json", get(status))
        .route("/metrics", get(metrics))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/assets/{file}", get(assets::serve))
        .route("/perf-assets/{file}", get(pages::asset))
        .fallback(start_or_missing)
        .layer(middleware::from_fn_with_state(service.clone(), around))
        .with_state(service)
}

async fn around(State(service): State<Service>, request: Request, next: Next) -> Response {
    let refused = guard::refusal(request.method(), request.headers(), service.site.only_host.as_deref());
    let mut answer = match refused {
        Some((status, why)) => plain(status, why),
        None => next.run(request).await,
    };
    let counter = match answer.status().as_u16() {
        ..400 => 0,
        400..500 => 1,
        _ => 2,
    };
    if let Some(counter) = service.requests.get(counter) {
        counter.fetch_add(1, Ordering::Relaxed);
    }
    guard::protect(answer.headers_mut(), false);
    answer
}

fn redirect(to: &str) -> Response {
    let mut answer = plain(StatusCode::SEE_OTHER, "");
    if let Ok(to) = HeaderValue::try_from(to) {
        answer.headers_mut().insert(LOCATION, to);
    }
    answer
}

pub(crate) fn plain(status: StatusCode, text: &str) -> Response {
    let mut answer = Response::new(Body::from(if text.is_empty() { String::new() } else { format!("{text}\n") }));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    answer
}

fn refused((status, text): Refusal) -> Response {
    plain(status, &text)
}

impl Service {
    pub(crate) fn now_ms(&self) -> i64 {
        self.site.clock.now_ms()
    }

    pub(crate) fn stamp(&self) -> Stamp {
        Stamp { generation: *self.site.board.generation().borrow(), minute: self.now_ms().div_euclid(60_000) }
    }

    /// An answer that depends on the board only: made once for a state and a minute.
    async fn kept(&self, address: String, headers: &HeaderMap, make: impl FnOnce(&Service) -> Result<Rendered, Refusal> + Send + 'static) -> Response {
        let stamp = self.stamp();
        if let Some(page) = self.cache.get(&address, stamp) {
            return page.answer(headers);
        }
        let service = self.clone();
        let made = burrow_task::spawn_blocking(move || make(&service)).await;
        match made.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic())) {
            Ok(page) => {
                let page = Arc::new(page);
                self.cache.put(address, stamp, Arc::clone(&page));
                page.answer(headers)
            }
            Err(refusal) => refused(refusal),
        }
    }

    /// Whether a request may change something: the token in its header, or in the form.
    fn may_change(&self, headers: &HeaderMap, form: &Params) -> bool {
        let Some(wanted) = &self.site.token else { return true };
        let bearer = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()).and_then(|value| value.strip_prefix("Bearer "));
        let shown = bearer.unwrap_or_else(|| form.text("token"));
        Site::digest(shown).ct_eq(wanted).into()
    }
}

async fn start(State(service): State<Service>, headers: HeaderMap) -> Response {
    pages::start(&service).await.answer(&headers)
}

/// The reference answers any unknown address with the start page; a name that could be a file is told that it is not there.
async fn start_or_missing(State(service): State<Service>, request: Request) -> Response {
    pages::missing(&service, request.uri().path()).answer(request.headers())
}

async fn search(state: State<Service>, query: RawQuery, headers: HeaderMap) -> Response {
    let wants_text = headers.get("x-benchsave").is_some_and(|value| value == "1") || headers.get(ACCEPT).is_some_and(|value| value == "text/plain");
    if wants_text { text(state, query).await } else { compare_page(state, query, headers).await }
}

/// The text reply (`spec/perf.md` §8.4).
async fn text(State(service): State<Service>, RawQuery(query): RawQuery) -> Response {
    let params = Params::parse(&query.unwrap_or_default());
    let text = match find(&service, params.text("q")).await {
        Ok(groups) => compare::text(&groups),
        Err(error) => format!("unable to analyze results: {error}\n"),
    };
    let mut answer = Response::new(Body::from(text));
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    answer
}

/// Asks for all groups of a query.
pub(crate) async fn find(service: &Service, query: &str) -> Result<group::Groups, String> {
    let answers = group::fetch(service.site.board.source(), &split::split(query)).await.map_err(|error| error.to_string())?;
    if answers.iter().all(|(_, answer)| answer.found.is_empty()) {
        return Err("no results matched the query string".to_owned());
    }
    Ok(group::arrange(query, answers))
}

async fn compare_page(State(service): State<Service>, RawQuery(query): RawQuery, headers: HeaderMap) -> Response {
    let params = Params::parse(&query.unwrap_or_default());
    if params.text("q").trim().is_empty() {
        return pages::start(&service).await.answer(&headers);
    }
    let found = find(&service, params.text("q")).await;
    pages::compare(&service, &params, found).answer(&headers)
}

async fn compare_data(State(service): State<Service>, request: Request) -> Response {
    let params = Params::parse(request.uri().query().unwrap_or_default());
    let tables = match find(&service, params.text("q")).await {
        Ok(groups) => compare::medians(&groups).map_err(|error| error.to_string()),
        Err(error) => Err(error),
    };
    let tables = match tables {
        Ok(tables) => tables,
        Err(error) => return plain(StatusCode::BAD_REQUEST, &error),
    };
    let (mut out, mut warnings) = (Vec::new(), Vec::new());
    let csv = request.uri().path().ends_with(".csv");
    let written = if csv {
        burrow_benchstat::table::csv::write(&tables, &mut out, &mut warnings, Default::default())
    } else {
        burrow_benchstat::table::json::write(&tables, None, &mut out)
    };
    match written {
        Ok(()) if csv => csv_answer(out),
        Ok(()) => Rendered::new(Kind::Json, out).not_kept().answer(request.headers()),
        Err(error) => plain(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
    }
}

fn csv_answer(text: impl Into<Body>) -> Response {
    let mut answer = Response::new(text.into());
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/csv; charset=utf-8"));
    answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    answer
}

async fn trend_page(State(service): State<Service>, RawQuery(query): RawQuery, headers: HeaderMap) -> Response {
    let params = Params::parse(&query.unwrap_or_default());
    let found = if params.text("q").is_empty() { Ok(trend::Trend::default()) } else { trend::trend(service.site.board.source(), &params).await };
    pages::trend(&service, &params, found).answer(&headers)
}

async fn trend_data(State(service): State<Service>, request: Request) -> Response {
    let params = Params::parse(request.uri().query().unwrap_or_default());
    match trend::trend(service.site.board.source(), &params).await {
        Ok(found) if request.uri().path().ends_with(".csv") => csv_answer(found.csv()),
        Ok(found) => Rendered::new(Kind::Json, found.json().to_string()).not_kept().answer(request.headers()),
        Err(error) => plain(StatusCode::BAD_REQUEST, &error.to_string()),
    }
}

async fn dashboard(State(service): State<Service>, RawQuery(query): RawQuery, headers: HeaderMap) -> Response {
    let query = query.unwrap_or_default();
    let params = Params::parse(&query);
    service.kept(format!("/dashboard/?{query}"), &headers, move |service| pages::dashboard(service, &params)).await
}

async fn dashboard_csv(State(service): State<Service>, RawQuery(query): RawQuery) -> Response {
    match pages::dashboard_csv(&service, &Params::parse(&query.unwrap_or_default())) {
        Ok(text) => csv_answer(text),
        Err(refusal) => refused(refusal),
    }
}

async fn benchmarks_json(State(service): State<Service>, RawQuery(query): RawQuery, headers: HeaderMap) -> Response {
    let query = query.unwrap_or_default();
    let params = Params::parse(&query);
    let make = move |service: &Service| {
        api::benchmarks(&service.site.board, &service.site.history, &params, service.now_ms()).map(|json| Rendered::new(Kind::Json, json))
    };
    service.kept(format!("/dashboard/benchmarks.json?{query}"), &headers, make).await
}

async fn data_json(State(service): State<Service>, RawQuery(query): RawQuery, headers: HeaderMap) -> Response {
    let query = query.unwrap_or_default();
    let params = Params::parse(&query);
    let make = move |service: &Service| api::data(&service.site.board, &params, service.now_ms()).map(|json| Rendered::new(Kind::Json, json));
    service.kept(format!("/dashboard/data.json?{query}"), &headers, make).await
}

async fn data_json_2022(State(service): State<Service>, RawQuery(query): RawQuery, headers: HeaderMap) -> Response {
    let query = query.unwrap_or_default();
    let params = Params::parse(&query);
    let make = move |service: &Service| api_2022::data(&service.site.board, &params, service.now_ms()).map(|json| Rendered::new(Kind::Json, json));
    service.kept(format!("/dashboard/2022/data.json?{query}"), &headers, make).await
}

async fn form_fields_json(State(service): State<Service>, RawQuery(query): RawQuery, headers: HeaderMap) -> Response {
    match api::form_fields(&service.site.board, &Params::parse(&query.unwrap_or_default())) {
        Ok(json) => Rendered::new(Kind::Json, json).answer(&headers),
        Err(refusal) => refused(refusal),
    }
}

async fn series(State(service): State<Service>, Path(id): Path<String>, RawQuery(query): RawQuery, headers: HeaderMap) -> Response {
    let query = query.unwrap_or_default();
    let params = Params::parse(&query);
    let (name, ending) = id.split_once('.').unwrap_or((&id, ""));
    let Some(found) = service.site.board.series(name) else {
        return pages::missing(&service, &format!("/series/{id}")).answer(&headers);
    };
    match ending {
        "" => service.kept(format!("/series/{id}?{query}"), &headers, move |service| Ok(pages::series(service, &found, &params))).await,
        "json" => service.kept(format!("/series/{id}?{query}"), &headers, move |service| Ok(pages::series_json(service, &found, &params))).await,
        "csv" => csv_answer(pages::series_csv(&found)),
        _ => pages::missing(&service, &format!("/series/{id}")).answer(&headers),
    }
}

/// Somebody says something about a change.
async fn say(State(service): State<Service>, Path((id, commit)): Path<(String, String)>, headers: HeaderMap, RawForm(form): RawForm) -> Response {
    let form = Params::parse(&String::from_utf8_lossy(&form));
    if !service.may_change(&headers, &form) {
        return plain(StatusCode::UNAUTHORIZED, "this needs the token: in the field `token`, or as `Authorization: Bearer TOKEN`; nothing was changed");
    }
    let state = match form.text("state") {
        "" => None,
        word => match FindingState::parse(word).filter(|state| matches!(state, FindingState::Open | FindingState::Acknowledged)) {
            Some(state) => Some(state),
            None => return plain(StatusCode::BAD_REQUEST, "state must be `open` or `acknowledged`; the others come by themselves"),
        },
    };
    if ["note", "assignee", "by"].iter().any(|field| form.text(field).len() > NOTE) {
        return plain(StatusCode::PAYLOAD_TOO_LARGE, "a note has at most 4,000 bytes; put the rest where the note points");
    }
    let said = service
        .site
        .board
        .say(&id, &commit, |finding| {
            if let (Some(state), false) = (state, finding.state == FindingState::Recovered) {
                finding.state = state;
            }
            finding.note = form.text("note").to_owned();
            finding.assignee = form.text("assignee").to_owned();
            finding.by = form.text("by").to_owned();
        })
        .await;
    match said {
        Ok(_) if headers.get(ACCEPT).is_some_and(|value| value == "application/json") => plain(StatusCode::OK, "noted"),
        Ok(_) => redirect(&format!("/series/{id}#change{commit}")),
        Err(error @ BoardError::NoFinding { .. }) => plain(StatusCode::NOT_FOUND, &error.to_string()),
        Err(error) => plain(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
    }
}

async fn regressions(State(service): State<Service>, RawQuery(query): RawQuery, headers: HeaderMap) -> Response {
    let query = query.unwrap_or_default();
    let params = Params::parse(&query);
    service.kept(format!("/regressions?{query}"), &headers, move |service| Ok(pages::regressions(service, &params))).await
}

async fn regressions_json(State(service): State<Service>, headers: HeaderMap) -> Response {
    pages::regressions_json(&service).answer(&headers)
}

async fn regressions_atom(State(service): State<Service>, RawQuery(query): RawQuery, headers: HeaderMap) -> Response {
    let query = query.unwrap_or_default();
    let params = Params::parse(&query);
    let (address, make) = (format!("/regressions.atom?{query}"), move |service: &Service| Ok(Rendered::new(Kind::Text, feed::feed(service, &params, &query))));
    let mut answer = service.kept(address, &headers, make).await;
    if let Some(kind) = answer.headers_mut().get_mut(CONTENT_TYPE) {
        *kind = HeaderValue::from_static("application/atom+xml; charset=utf-8");
    }
    answer
}

/// Takes everything that is not taken yet (`spec/perf.md` §10: the address is the reference's).
async fn rescan(State(service): State<Service>, headers: HeaderMap) -> Response {
    if !service.may_change(&headers, &Params::default()) {
        return plain(StatusCode::FORBIDDEN, "this needs the token as `Authorization: Bearer TOKEN`");
    }
    match service.site.board.rescan().await {
        Err(error) => plain(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
        Ok(()) => {
            let failed = service.site.board.failed();
            if failed.is_empty() {
                return plain(StatusCode::OK, "");
            }
            let text: Vec<String> = failed.iter().map(|(name, taken)| format!("{name}: {}", taken.detail)).collect();
            plain(StatusCode::INTERNAL_SERVER_ERROR, &text.join("\n"))
        }
    }
}

async fn status(State(service): State<Service>, headers: HeaderMap) -> Response {
    pages::status(&service).answer(&headers)
}

async fn metrics(State(service): State<Service>) -> Response {
    let count = |at: usize| service.requests.get(at).map_or(0, |count| count.load(Ordering::Relaxed));
    plain(StatusCode::OK, pages::metrics(&service, [count(0), count(1), count(2)]).trim_end())
}
