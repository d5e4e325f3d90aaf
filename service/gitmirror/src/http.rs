//! The HTTP side: the reference's addresses, pages, hooks, and the repositories themselves.

use std::sync::Arc;

use axum::extract::{DefaultBodyLimit, Form, Path, Query, Request, State};
use axum::http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, LOCATION, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use burrow_gitserve::{Boxed, Repositories, Repository, Rights, Server};
use burrow_web::{assets, guard, words};
use bytes::Bytes;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use crate::config::Visibility;
use crate::control::ControlError;
use crate::mirror::Mirror;
use crate::store::Wanted;
use crate::{metrics, pages};

/// Longest body of a hook: GitHub sends up to 25 MB.
const HOOK_BODY: usize = 25 << 20;

/// Who may confirm, undo and tickle.
#[derive(Debug, Clone, Default)]
pub struct Access {
    /// SHA-256 of the administrator's token.
    token: Option<[u8; 32]>,
    /// Secret of tickles.
    tickle: Option<String>,
    /// The listener can be reached from this machine only.
    loopback: bool,
}

impl Access {
    /// With what the configuration says.
    pub fn new(token: Option<&str>, tickle: Option<&str>, loopback: bool) -> Access {
        Access { token: token.map(|token| Sha256::digest(token.as_bytes()).into()), tickle: tickle.map(str::to_owned), loopback }
    }

    fn is_admin(&self, token: &str) -> bool {
        let hash: [u8; 32] = Sha256::digest(token.as_bytes()).into();
        self.token.is_some_and(|known| bool::from(known.ct_eq(&hash)))
    }

    fn may_write(&self, headers: &HeaderMap) -> bool {
        let bearer = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()).and_then(|value| value.split_once(' '));
        match bearer {
            Some((scheme, token)) => scheme.eq_ignore_ascii_case("bearer") && self.is_admin(token.trim()),
            None => self.loopback && self.token.is_none(),
        }
    }

    fn may_tickle(&self, headers: &HeaderMap, body: &[u8]) -> bool {
        let Some(secret) = &self.tickle else { return self.loopback || self.may_write(headers) };
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        if let Some(token) = text("x-gitlab-token") {
            return bool::from(token.as_bytes().ct_eq(secret.as_bytes()));
        }
        let signature = text("x-hub-signature-256").and_then(|value| value.strip_prefix("sha256=")).or_else(|| text("x-gitea-signature"));
        let Some(signature) = signature.and_then(unhex) else { return false };
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret.as_bytes()) else { return false };
        mac.update(body);
        mac.verify_slice(&signature).is_ok()
    }
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) || !text.is_ascii() {
        return None;
    }
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(text.get(at..at + 2)?, 16).ok()).collect()
}

#[derive(Clone)]
struct Site {
    mirror: Mirror,
    access: Arc<Access>,
}

/// The repositories of a mirror, for a server of archives and clones.
#[derive(Debug, Clone)]
pub struct Served {
    mirror: Mirror,
    access: Arc<Access>,
}

impl Served {
    /// Of this mirror.
    pub fn new(mirror: Mirror, access: Access) -> Served {
        Served { mirror, access: Arc::new(access) }
    }
}

impl Repositories for Served {
    fn find(&self, name: &str) -> Option<Repository> {
        let cell = self.mirror.cell_of(name)?;
        let config = &cell.config;
        let published = config.refs.iter().map(ToString::to_string).chain(config.exclude.iter().map(|pattern| format!("!{pattern}")));
        let visibility = match config.visibility {
            Visibility::Public => burrow_gitserve::Visibility::Public,
            Visibility::Private => burrow_gitserve::Visibility::Private,
        };
        Some(Repository {
            dir: self.mirror.bare_path(name)?,
            visibility,
            published: published.chain(["!refs/burrow/*".to_owned()]).collect(),
            max_archive_bytes: None,
        })
    }

    fn names(&self) -> Vec<String> {
        self.mirror.names()
    }

    fn want<'a>(&'a self, name: &'a str, rev: &'a str) -> Boxed<'a, Result<(), String>> {
        Box::pin(self.mirror.want(name, rev))
    }

    fn rights(&self, _name: &str, token: &str) -> Rights {
        if self.access.is_admin(token) { Rights::Everything } else { Rights::Nothing }
    }
}

/// Everything the service answers. `server` answers whatever else is asked: archives, clones.
pub fn router(mirror: Mirror, access: Access, server: &Server) -> Router {
    let site = Site { mirror, access: Arc::new(access) };
    let ours = Router::new()
        .route("/", get(list))
        .route("/debug/watcher/", get(list))
        .route("/debug/watcher/{*name}", get(watcher))
        .route("/healthz", get(healthz))
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .route("/status", get(status))
        .route("/status.json", get(status_json))
        .route("/metrics", get(metrics_text))
        .route("/journal", get(journal))
        .route("/journal.json", get(journal_json))
        .route("/tickle/{*name}", post(tickle).layer(DefaultBodyLimit::max(HOOK_BODY)))
        .route("/api/confirm", post(confirm))
        .route("/api/undo", post(undo))
        .route("/api/release", post(release))
        .route("/assets/{file}", get(assets::serve))
        .layer(middleware::from_fn_with_state(site.clone(), protect))
        .with_state(site);
    ours.merge(server.router())
}

async fn protect(State(site): State<Site>, request: Request, next: Next) -> Response {
    // A tickle carries its own proof and comes from other machines' hooks.
    let hook = request.uri().path().starts_with("/tickle/");
    if guard::forged(request.method(), request.headers()) && !hook {
        return (StatusCode::FORBIDDEN, "This request comes from a page of another site.\n").into_response();
    }
    if site.access.loopback && !guard::host_is_ours(request.headers(), "") {
        return (StatusCode::MISDIRECTED_REQUEST, "This address is served under another name.\n").into_response();
    }
    let mut answer = next.run(request).await;
    guard::protect(answer.headers_mut(), false);
    answer
}

const HTML: &str = "text/html; charset=utf-8";
const TEXT: &str = "text/plain; charset=utf-8";

/// The reference's status list, byte for byte. A browser, which asks for HTML by name, is sent to the page for people.
async fn list(State(site): State<Site>, headers: HeaderMap) -> Response {
    if headers.get(ACCEPT).and_then(|accept| accept.to_str().ok()).is_some_and(|accept| accept.contains("text/html")) {
        return (StatusCode::FOUND, [(LOCATION, "/status")]).into_response();
    }
    let mut out = String::from("<html><body><pre>");
    for repo in &site.mirror.status().repos {
        // Names have no characters that HTML knows; what git said may have, and line breaks would end the entry.
        let line = words::escape(&repo.line).replace(['\n', '\r'], " ");
        out.push_str(&format!("<a href='/debug/watcher/{0}'>{0}</a> - {line}\n", repo.name));
    }
    out.push_str("</pre></body></html>");
    ([(CONTENT_TYPE, HTML)], out).into_response()
}

/// The reference's log of one repository.
async fn watcher(State(site): State<Site>, Path(name): Path<String>) -> Response {
    let Some(lines) = site.mirror.log_of(&name) else { return StatusCode::NOT_FOUND.into_response() };
    let now = site.mirror.inner.shell.now_ms();
    let mut out = format!(
        "<html><head><meta name=\"color-scheme\" content=\"light dark\"><title>{name}</title><body><h1>watcher status for repo: \"{name}\"</h1>\n<pre>\n"
    );
    for (at, text) in lines {
        let age = format!("{} ago", crate::status::go_duration((now - at + 500).max(0) / 1000 * 1000));
        out.push_str(&format!("{}   {age:<20} {}\n", words::rfc3339(at), words::escape(&text)));
    }
    out.push_str("</pre></body></html>");
    ([(CONTENT_TYPE, HTML)], out).into_response()
}

/// 200 and nothing, or 500 and the first repository in error, as the reference. Whether the process makes progress is `/livez`.
async fn healthz(State(site): State<Site>) -> Response {
    match site.mirror.status().first_error() {
        None => ([(CONTENT_TYPE, TEXT)], String::new()).into_response(),
        Some(error) => (StatusCode::INTERNAL_SERVER_ERROR, [(CONTENT_TYPE, TEXT)], error + "\n").into_response(),
    }
}

/// Ready when each repository has been looked at once.
async fn readyz(State(site): State<Site>) -> Response {
    let waiting = site.mirror.status().repos.iter().filter(|repo| repo.good_ms.is_none() && repo.failures == 0).count();
    match waiting {
        0 => ([(CONTENT_TYPE, TEXT)], "ok\n".to_owned()).into_response(),
        n => (StatusCode::SERVICE_UNAVAILABLE, [(CONTENT_TYPE, TEXT)], format!("{n} repositories have not been looked at yet\n")).into_response(),
    }
}

async fn status(State(site): State<Site>, headers: HeaderMap) -> Response {
    pages::status(&site.mirror.status()).answer(&headers)
}

async fn status_json(State(site): State<Site>) -> Response {
    Json(site.mirror.status()).into_response()
}

async fn metrics_text(State(site): State<Site>) -> Response {
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], metrics::text(&site.mirror.status())).into_response()
}

/// Which part of the journal.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Part {
    repo: Option<String>,
    dest: Option<String>,
    round: Option<i64>,
    #[serde(rename = "ref")]
    name: Option<String>,
    before: Option<i64>,
    limit: Option<usize>,
}

impl Part {
    fn wanted(&self) -> Wanted {
        let text = |value: &Option<String>| value.clone().filter(|value| !value.is_empty());
        Wanted { repo: text(&self.repo), dest: text(&self.dest), round: self.round, name: text(&self.name), before: self.before }
    }
}

async fn journal(State(site): State<Site>, Query(part): Query<Part>, headers: HeaderMap) -> Response {
    match site.mirror.journal(&part.wanted(), part.limit.unwrap_or(200).min(1_000)).await {
        Ok(entries) => pages::journal(&entries, &part.wanted(), site.mirror.inner.shell.now_ms()).answer(&headers),
        Err(error) => failed(ControlError::Store(error), false),
    }
}

async fn journal_json(State(site): State<Site>, Query(part): Query<Part>) -> Response {
    match site.mirror.journal(&part.wanted(), part.limit.unwrap_or(1_000).min(100_000)).await {
        Ok(entries) => Json(entries).into_response(),
        Err(error) => failed(ControlError::Store(error), true),
    }
}

async fn tickle(State(site): State<Site>, Path(name): Path<String>, headers: HeaderMap, body: Bytes) -> Response {
    if !site.access.may_tickle(&headers, &body) {
        return (StatusCode::FORBIDDEN, "The signature does not fit; set the same secret at the sender and in tickle_secret_file.\n").into_response();
    }
    if site.mirror.wake(&name) {
        (StatusCode::ACCEPTED, "looking\n").into_response()
    } else {
        (StatusCode::NOT_FOUND, format!("No repository is called {name:?}.\n")).into_response()
    }
}

/// What is to be done, to what.
#[derive(Debug, Deserialize)]
struct Order {
    repo: String,
    #[serde(default)]
    dest: String,
    #[serde(default)]
    round: i64,
    #[serde(default, rename = "ref")]
    name: String,
}

async fn confirm(State(site): State<Site>, headers: HeaderMap, Form(order): Form<Order>) -> Response {
    if let Some(refusal) = refused(&site, &headers) {
        return refusal;
    }
    let done = site.mirror.confirm(&order.repo).await;
    answer(&headers, done.map(|count| format!("{count} deletions of {} are confirmed.", order.repo)), "/status")
}

async fn undo(State(site): State<Site>, headers: HeaderMap, Form(order): Form<Order>) -> Response {
    if let Some(refusal) = refused(&site, &headers) {
        return refusal;
    }
    let name = Some(order.name.as_str()).filter(|name| !name.is_empty());
    let done = site.mirror.undo(&order.repo, &order.dest, order.round, name).await;
    answer(&headers, done.map(|count| format!("{count} references of {} at {} go back to what they were.", order.repo, order.dest)), "/journal")
}

async fn release(State(site): State<Site>, headers: HeaderMap, Form(order): Form<Order>) -> Response {
    if let Some(refusal) = refused(&site, &headers) {
        return refusal;
    }
    let done = site.mirror.release(&order.repo, &order.dest).await;
    answer(&headers, done.map(|()| format!("{} follows {} again.", order.dest, order.repo)), "/status")
}

fn refused(site: &Site, headers: &HeaderMap) -> Option<Response> {
    if site.access.may_write(headers) {
        return None;
    }
    let text = "This needs the administrator's token: send it as 'Authorization: Bearer TOKEN', or use `burrow gitmirror` with --token-file.\n";
    Some((StatusCode::UNAUTHORIZED, [(WWW_AUTHENTICATE, "Bearer")], text).into_response())
}

/// Browsers go back to the page, programs read a sentence.
fn answer(headers: &HeaderMap, done: Result<String, ControlError>, page: &'static str) -> Response {
    let browser = headers.get(ACCEPT).and_then(|accept| accept.to_str().ok()).is_some_and(|accept| accept.contains("text/html"));
    match done {
        Ok(_) if browser => (StatusCode::SEE_OTHER, [(LOCATION, page)]).into_response(),
        Ok(text) => ([(CONTENT_TYPE, TEXT)], text + "\n").into_response(),
        Err(error) => failed(error, false),
    }
}

fn failed(error: ControlError, json: bool) -> Response {
    let status = match error {
        ControlError::NoRepo(_) | ControlError::NoDest { .. } => StatusCode::NOT_FOUND,
        ControlError::Nothing(_) => StatusCode::CONFLICT,
        ControlError::Store(_) => StatusCode::SERVICE_UNAVAILABLE,
    };
    if json {
        return (status, Json(serde_json::json!({"error": error.to_string()}))).into_response();
    }
    (status, [(CONTENT_TYPE, TEXT)], format!("{error}\n")).into_response()
}
