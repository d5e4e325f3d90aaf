//! The status page, its JSON, the health check and the numbers, and everything on one router.

use std::sync::Arc;

use askama::Template;
use axum::Router;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{any, get};
use burrow_certificates::Certificates;
use burrow_events::{Stored, Topics};
use burrow_mail::Counters as MailCounters;
use burrow_web::{Kind, Layout, NavItem, Rendered, assets, guard, words};

use crate::alert::Trouble;
use crate::http::{self, Out};
use crate::metrics;
use crate::status::{SourceStatus, Status};
use crate::webhook::{self, Bounds, Encryption, Hook};

/// What the service is made of.
#[derive(Debug, Clone)]
pub struct Site {
    /// What readers are given.
    pub out: Out,
    /// What is posted to.
    pub hooks: Arc<[Hook]>,
    /// How large and slow posts may be.
    pub bounds: Bounds,
    /// How they must come.
    pub encryption: Encryption,
    /// Counters of the mail servers, by source.
    pub mail: Arc<[(String, Arc<MailCounters>)]>,
    /// What was found at the start that operators should know.
    pub notes: Arc<[String]>,
    /// Why the last alarm could not be told.
    pub alerts: Option<Trouble>,
    /// When the service began, Unix milliseconds.
    pub started_ms: i64,
    /// Answers go over TLS of this process, with these.
    pub certificates: Option<Certificates>,
}

/// Everything the service answers.
pub fn router(site: Site) -> Router {
    let hooks = webhook::router(&site.out.hub, &site.hooks, &site.bounds, &site.encryption);
    let out = http::router(site.out.clone());
    let https = site.certificates.is_some();
    let private = Router::new()
        .route("/", get(overview))
        .route("/status.json", get(status_json))
        .route("/metrics", get(numbers))
        .route_layer(middleware::from_fn_with_state(site.clone(), readers_only))
        .with_state(site.clone());
    // As in the reference, any method will do.
    let open = Router::new().route("/healthz", any(health)).with_state(site).route("/assets/{file}", get(assets::serve));
    let protected = move |mut answer: Response| async move {
        guard::protect(answer.headers_mut(), https);
        answer
    };
    private.merge(open).layer(middleware::map_response(protected)).merge(out).merge(hooks)
}

async fn readers_only(State(site): State<Site>, mut request: Request, next: Next) -> Response {
    match site.out.readers.rights(request.headers()) {
        Ok(topics) => {
            request.extensions_mut().insert(Rights(topics));
            next.run(request).await
        }
        Err(no) => no.answer(),
    }
}

/// What the request may read.
#[derive(Debug, Clone)]
struct Rights(Topics);

impl Site {
    fn status(&self) -> Status {
        let mut status = Status::of(&self.out.hub, self.started_ms, &self.notes, self.alerts.as_ref());
        let failure = self.certificates.as_ref().and_then(|certificates| certificates.status().failure);
        status.trouble.extend(failure.map(|why| format!("There is no new certificate: {why}")));
        status
    }

    /// What somebody with these rights may see of it: refusals name repositories.
    fn status_for(&self, rights: Option<&Rights>) -> Status {
        let mut status = self.status();
        if rights.is_none_or(|rights| !rights.0.is_all()) {
            status.sources.iter_mut().for_each(|source| source.last_refusal = None);
        }
        status
    }
}

/// `ok`, and below it what is wrong but mends itself or is somebody else's to mend. 503 only when events cannot be kept.
async fn health(State(site): State<Site>) -> Response {
    // What is said to fail may get no events any more whose success would take that back.
    site.out.hub.log.probe().await;
    let status = site.status();
    if status.trouble.is_empty() {
        return (StatusCode::OK, "ok").into_response();
    }
    let code = if status.can_keep { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let word = if status.can_keep { "ok" } else { "failing" };
    // Not to everybody who asks: names of sources and of files.
    if site.out.readers.are_named() {
        return (code, format!("{word}\n{} troubles; see /\n", status.trouble.len())).into_response();
    }
    (code, format!("{word}\n{}\n", status.trouble.join("\n"))).into_response()
}

async fn numbers(State(site): State<Site>) -> Response {
    let mail: Vec<_> = site.mail.iter().map(|(source, counters)| (source.clone(), mail_refusals(counters))).collect();
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], metrics::text(&site.out.hub, &mail)).into_response()
}

fn mail_refusals(counters: &MailCounters) -> Vec<(&'static str, u64)> {
    burrow_mail::Refusal::ALL.iter().map(|refusal| (refusal.label(), counters.refused(*refusal))).filter(|(_, count)| *count > 0).collect()
}

/// Events on the status page.
const SHOWN: usize = 25;

/// An event as the page shows it.
struct Row {
    at_ms: i64,
    id: u64,
    source: String,
    what: String,
    about: String,
    link: String,
    detail: String,
}

impl Row {
    fn of(stored: &Stored) -> Row {
        let event = &stored.event;
        let mut row = Row {
            at_ms: event.time.as_millisecond(),
            id: event.id,
            source: event.source.clone(),
            what: String::new(),
            about: event.topics.first().cloned().unwrap_or_default(),
            link: String::new(),
            detail: String::new(),
        };
        if let Some(change) = &event.change {
            row.what = [change.kind.as_str(), change.action.as_str()].iter().filter(|word| !word.is_empty()).copied().collect::<Vec<_>>().join(" ");
            row.detail = if change.number > 0 { format!("#{}", change.number) } else { String::new() };
            // Only what a browser can safely follow.
            row.link = if change.url.starts_with("https://") || change.url.starts_with("http://") { change.url.clone() } else { String::new() };
        } else if let Some(push) = &event.push {
            let gone = !push.new.is_empty() && push.new.bytes().all(|digit| digit == b'0');
            row.what = if gone { "deleted" } else { "push" }.to_owned();
            let short = push.new.get(..10).filter(|_| !gone).unwrap_or_default();
            row.detail = format!("{} {short}", push.reference.strip_prefix("refs/heads/").unwrap_or(&push.reference)).trim().to_owned();
        } else if let Some(gerrit) = &event.gerrit {
            row.what = "change".into();
            row.detail = format!("{}", gerrit.change_number);
        }
        row
    }
}

#[derive(Template)]
#[template(path = "overview.html")]
struct Overview<'a> {
    status: &'a Status,
    rows: &'a [Row],
    now_ms: i64,
    mail: &'a [(String, Vec<(&'static str, u64)>)],
}

impl Overview<'_> {
    /// A number with thin spaces between thousands.
    fn grouped(&self, number: impl ToString) -> String {
        let digits = number.to_string();
        let groups: Vec<&str> = digits.as_bytes().rchunks(3).rev().filter_map(|group| std::str::from_utf8(group).ok()).collect();
        groups.join("\u{2009}")
    }

    fn kept_bytes(&self) -> i64 {
        i64::try_from(self.status.kept_bytes).unwrap_or(i64::MAX)
    }

    fn quiet(&self, ms: impl std::borrow::Borrow<u64>) -> String {
        words::duration(i64::try_from(*ms.borrow()).unwrap_or(i64::MAX))
    }

    /// The beginning of a long text: the whole one is in the JSON, and would push the table out of the window.
    fn brief(&self, text: impl AsRef<str>, most: usize) -> String {
        let text = text.as_ref();
        match text.char_indices().nth(most) {
            Some((end, _)) => format!("{}…", text.get(..end).unwrap_or(text)),
            None => text.to_owned(),
        }
    }

    /// What was refused, in words: `bad_signature` is `bad signature`.
    fn refusals(&self, source: &SourceStatus) -> Vec<(String, u64)> {
        let good = ["accepted", "duplicate", "ignored"];
        source.outcomes.iter().filter(|(label, _)| !good.contains(label)).map(|(label, count)| (label.replace('_', " "), *count)).collect()
    }

    fn count(&self, source: &SourceStatus, label: &str) -> u64 {
        source.outcomes.iter().find(|(known, _)| *known == label).map_or(0, |(_, count)| *count)
    }

    fn waiting(&self) -> usize {
        self.status.waiters
    }
}

async fn overview(State(site): State<Site>, request: Request) -> Response {
    let now_ms = site.out.hub.clock.now_ms();
    let status = site.status_for(request.extensions().get::<Rights>());
    let topics = request.extensions().get::<Rights>().map(|rights| rights.0.clone()).unwrap_or_default();
    let rows: Vec<Row> = site.out.hub.log.before(None, &topics, SHOWN).iter().map(|stored| Row::of(stored)).collect();
    let mail: Vec<_> = site.mail.iter().map(|(source, counters)| (source.clone(), mail_refusals(counters))).filter(|(_, counts)| !counts.is_empty()).collect();
    let mut body = String::new();
    // Writing to a string cannot fail.
    let _ = Overview { status: &status, rows: &rows, now_ms, mail: &mail }.render_into(&mut body);
    let layout = Layout {
        title: "Status",
        site: "pubsubhelper",
        version: env!("CARGO_PKG_VERSION"),
        nav: &[
            NavItem { href: "/", label: "Status", count: String::new() },
            NavItem { href: "/events.json", label: "Events", count: String::new() },
            NavItem { href: "/metrics", label: "Metrics", count: String::new() },
        ],
        current: "/",
        events: "",
        generation: 0,
        trouble: &status.trouble,
        json: "/status.json",
        now_ms,
        class: "",
        body: &body,
    };
    layout.finish().not_kept().answer(request.headers())
}

async fn status_json(State(site): State<Site>, request: Request) -> Response {
    match serde_json::to_vec_pretty(&site.status_for(request.extensions().get::<Rights>())) {
        Ok(json) => Rendered::new(Kind::Json, json).not_kept().answer(request.headers()),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}
