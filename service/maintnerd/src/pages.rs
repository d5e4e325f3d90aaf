//! The status page, its JSON, the health check, and everything on one router.

use std::sync::Arc;

use askama::Template;
use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use burrow_clock::SharedClock;
use burrow_web::{Kind, Layout, NavItem, Rendered, assets, guard, words};
use tokio_util::sync::CancellationToken;

use crate::api::Rules;
use crate::api::trywork::GerritApi;
use crate::http::Readers;
use crate::status::{SourceStatus, Status};
use crate::{Leader, grpc, http};

/// Says what the sources are doing.
pub type Sources = Arc<dyn Fn() -> Vec<SourceStatus> + Send + Sync>;

/// What the service is made of.
#[derive(Clone)]
pub struct Site {
    /// Log and corpus.
    pub leader: Leader,
    /// What counts.
    pub rules: Rules,
    /// The reviews' server, for `GoFindTryWork`.
    pub gerrit: Option<Arc<dyn GerritApi>>,
    /// Who may read.
    pub readers: Readers,
    /// What the sources are doing.
    pub sources: Sources,
    /// The time.
    pub clock: SharedClock,
}

impl std::fmt::Debug for Site {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Site").field("leader", &self.leader).finish_non_exhaustive()
    }
}

#[derive(Clone)]
struct Pages {
    site: Site,
    started_ms: i64,
}

/// Everything the service answers: `/logs`, gRPC, and the pages. To be served with HTTP/1.1 and HTTP/2. Followers that wait are sent away when `shutdown` is
/// cancelled.
pub fn router(site: Site, shutdown: CancellationToken) -> Router {
    let started_ms = site.clock.now_ms();
    let logs = http::router(site.leader.log().clone(), site.readers.clone(), shutdown);
    let service =
        grpc::Service::new(site.leader.subscribe(), site.rules.clone(), site.gerrit.clone(), Arc::clone(&site.clock)).for_readers(site.readers.clone());
    let pages = Pages { site, started_ms };
    let private = Router::new()
        .route("/", get(overview))
        .route("/status.json", get(status_json))
        .route("/snapshot", get(snapshot))
        .route_layer(middleware::from_fn_with_state(pages.clone(), readers_only))
        .with_state(pages);
    let open = Router::new().route("/healthz", get(|| async { "ok" })).route("/assets/{file}", get(assets::serve));
    grpc::beside(private.merge(open).layer(middleware::map_response(protected)).merge(logs), service)
}

async fn protected(mut answer: Response) -> Response {
    guard::protect(answer.headers_mut(), false);
    answer
}

async fn readers_only(State(pages): State<Pages>, request: Request, next: Next) -> Response {
    if pages.site.readers.may_read(request.headers()) {
        next.run(request).await
    } else {
        (StatusCode::UNAUTHORIZED, "this log needs a token\n").into_response()
    }
}

#[derive(Template)]
#[template(path = "overview.html")]
struct Overview<'a> {
    status: &'a Status,
    now_ms: i64,
}

impl Overview<'_> {
    fn bytes(&self) -> i64 {
        i64::try_from(self.status.bytes).unwrap_or(i64::MAX)
    }

    /// The beginning of a digest: enough to compare by eye.
    fn short<'s>(&self, current: &'s crate::status::Current) -> &'s str {
        current.sha224.get(..12).unwrap_or(&current.sha224)
    }

    /// A number with thin spaces between thousands.
    fn grouped(&self, number: impl ToString) -> String {
        let digits = number.to_string();
        let groups: Vec<&str> = digits.as_bytes().rchunks(3).rev().filter_map(|group| std::str::from_utf8(group).ok()).collect();
        groups.join("\u{2009}")
    }

    /// The beginning of an error: the whole one is in the JSON, and would push the table out of the window.
    fn brief(&self, error: impl AsRef<str>) -> String {
        let error = error.as_ref();
        match error.char_indices().nth(70) {
            Some((end, _)) => format!("{}…", error.get(..end).unwrap_or(error)),
            None => error.to_owned(),
        }
    }

    fn current_bytes(&self) -> i64 {
        self.status.current.as_ref().and_then(|current| i64::try_from(current.size).ok()).unwrap_or_default()
    }
}

impl Pages {
    async fn status(self) -> Status {
        // Counting walks the tables: some milliseconds, on a thread that may take them.
        let counted = burrow_task::spawn_blocking(move || Status::of(&self.site.leader, (self.site.sources)(), self.started_ms));
        counted.await.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
    }
}

async fn overview(State(pages): State<Pages>, headers: HeaderMap) -> Response {
    let now_ms = pages.site.clock.now_ms();
    let status = pages.status().await;
    let mut body = String::new();
    // Writing to a string cannot fail.
    let _ = Overview { status: &status, now_ms }.render_into(&mut body);
    let layout = Layout {
        title: "Status",
        site: "maintner",
        version: env!("CARGO_PKG_VERSION"),
        nav: &[NavItem { href: "/", label: "Status", count: String::new() }, NavItem { href: "/logs", label: "Log", count: String::new() }],
        current: "/",
        events: "",
        generation: 0,
        trouble: &status.trouble,
        json: "/status.json",
        now_ms,
        class: "",
        body: &body,
    };
    layout.finish().not_kept().answer(&headers)
}

async fn status_json(State(pages): State<Pages>, headers: HeaderMap) -> Response {
    let status = pages.status().await;
    match serde_json::to_vec_pretty(&status) {
        Ok(json) => Rendered::new(Kind::Json, json).not_kept().answer(&headers),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

/// The corpus as a file, for followers that begin: reading it takes a fraction of the time of reading the log. It is named by how much of the log it covers.
async fn snapshot(State(pages): State<Pages>, headers: HeaderMap) -> Response {
    let path = pages.site.leader.snapshot_file();
    let looked = path.clone();
    let covers = burrow_task::spawn_blocking(move || burrow_maintner::Snapshot::covers(&looked)).await.ok().flatten();
    let none = || (StatusCode::NOT_FOUND, "no snapshot has been written yet\n").into_response();
    let (Some(covers), Ok(file)) = (covers, tokio::fs::File::open(&path).await) else { return none() };
    let Ok(length) = file.metadata().await.map(|metadata| metadata.len()) else { return none() };
    let tag = format!("\"{covers}\"");
    if headers.get(IF_NONE_MATCH).is_some_and(|known| known.as_bytes() == tag.as_bytes()) {
        return (StatusCode::NOT_MODIFIED, [(ETAG, tag)]).into_response();
    }
    let body = Body::from_stream(tokio_util::io::ReaderStream::with_capacity(file, 256 << 10));
    let kind = "application/octet-stream".to_owned();
    ([(CONTENT_TYPE, kind), (CONTENT_LENGTH, length.to_string()), (ETAG, tag)], body).into_response()
}
