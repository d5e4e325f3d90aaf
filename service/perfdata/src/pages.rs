//! Pages for people, and the same as JSON.

use askama::Template;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::Response;
use burrow_perfstore::{Change, ChangeKind, Labels, Listed, Page, Query, Totals, Upload, shared_labels};
use burrow_web::{Kind, Layout, NavItem, Rendered, words};
use bytes::Bytes;
use serde_json::json;

use crate::auth::Scope;
use crate::http::{Service, plain, store_error};
use crate::params::escape;

/// Uploads on the start page.
const NEWEST: usize = 20;
/// Records on the page of an upload.
const SHOWN: usize = 100;
/// Changes in the log.
const CHANGES: i64 = 200;
/// Bytes of a file that are read at once.
const PIECE: u64 = 1 << 20;

fn layout(service: &Service, title: &str, current: &str, json: &str, body: &str) -> Rendered {
    let health = service.site.store.health();
    let trouble = match &*health.borrow() {
        burrow_store::Health::Good => Vec::new(),
        burrow_store::Health::Waiting(why) => vec![format!("Uploads wait, because the database cannot commit: {why}")],
        burrow_store::Health::LockLost => vec!["Another process took the database; this one must be stopped.".to_owned()],
    };
    let nav = [("/", "Results"), ("/upload", "Upload"), ("/log", "Log")].map(|(href, label)| NavItem { href, label, count: String::new() });
    Layout {
        title,
        site: "perfdata",
        version: env!("CARGO_PKG_VERSION"),
        nav: &nav,
        current,
        events: "",
        generation: 0,
        trouble: &trouble,
        json,
        now_ms: service.site.clock.now_ms(),
        class: "",
        body,
    }
    .finish()
    .not_kept()
}

/// A number with thin spaces between thousands.
fn grouped(number: impl std::fmt::Display) -> String {
    let digits = number.to_string();
    let groups: Vec<&str> = digits.as_bytes().rchunks(3).rev().filter_map(|group| std::str::from_utf8(group).ok()).collect();
    groups.join("\u{2009}")
}

fn one<'l>(listed: &'l Listed, key: &str) -> &'l [u8] {
    listed.labels.iter().find(|(known, _)| known == key).map_or(&[], |(_, value)| value)
}

#[derive(Template)]
#[template(path = "start.html")]
struct Start<'a> {
    totals: Totals,
    database: &'a str,
    newest: &'a [Row],
    keys: &'a [String],
    tokens: bool,
    host: &'a str,
}

/// An upload in a list.
struct Row {
    name: String,
    count: String,
    by: String,
    file: String,
    time: String,
}

/// `/`.
pub(crate) async fn start(State(service): State<Service>, headers: HeaderMap) -> Response {
    if let Err(refusal) = service.allow(&headers, Scope::Read) {
        return refusal;
    }
    let store = &service.site.store;
    let labels = ["by", "upload-time", "upload-file"].map(Bytes::from_static_str);
    let (everything, page) = (Query::everything(), Page { limit: Some(NEWEST), after: None });
    let (totals, listed, keys) = match tokio::try_join!(store.totals(), store.uploads(&everything, &labels, &page), store.keys(200)) {
        Ok(all) => all,
        Err(error) => return store_error(&error),
    };
    let now_ms = service.site.clock.now_ms();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let newest: Vec<Row> = listed
        .iter()
        .map(|listed| Row {
            name: listed.name.clone(),
            count: grouped(listed.count),
            by: text(one(listed, "by")),
            file: text(one(listed, "upload-file")),
            time: moment(&text(one(listed, "upload-time"))).map_or_else(String::new, |at| words::time_html(at, now_ms)),
        })
        .collect();
    let keys: Vec<String> = keys.iter().map(|key| text(key)).collect();
    let host = headers.get(axum::http::header::HOST).and_then(|host| host.to_str().ok()).unwrap_or("127.0.0.1:8084");
    let tokens = !service.site.tokens.tokens.is_empty();
    let body = Start { totals, database: store.database_kind(), newest: &newest, keys: &keys, tokens, host }.render().unwrap_or_default();
    layout(&service, "Results", "/", "/status.json", &body).answer(&headers)
}

trait FromStaticStr {
    fn from_static_str(text: &'static str) -> Bytes;
}

impl FromStaticStr for Bytes {
    fn from_static_str(text: &'static str) -> Bytes {
        Bytes::from_static(text.as_bytes())
    }
}

fn moment(text: &str) -> Option<i64> {
    text.parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_millisecond)
}

#[derive(Template)]
#[template(path = "upload_form.html")]
struct UploadForm<'a> {
    limit: String,
    tokens: bool,
    host: &'a str,
}

/// `GET /upload`.
pub(crate) fn upload_form(service: &Service, headers: &HeaderMap) -> Response {
    let host = headers.get(axum::http::header::HOST).and_then(|host| host.to_str().ok()).unwrap_or("127.0.0.1:8084");
    let limit = words::bytes(i64::try_from(service.site.store.limits().bytes).unwrap_or(i64::MAX));
    let body = UploadForm { limit, tokens: !service.site.tokens.tokens.is_empty(), host }.render().unwrap_or_default();
    layout(service, "Upload", "/upload", "", &body).answer(headers)
}

#[derive(Template)]
#[template(path = "upload.html")]
struct UploadPage<'a> {
    upload: &'a Upload,
    time: String,
    shared: Vec<(String, String, String)>,
    files: Vec<File>,
    labels: Vec<(String, String, String)>,
    samples: Vec<Measured>,
    more: bool,
    view: String,
    query: String,
}

struct File {
    number: u32,
    name: String,
    original: Option<String>,
    bytes: String,
    records: String,
    lines: String,
    units: Vec<String>,
}

/// A record on the page.
struct Measured {
    name: String,
    /// What its labels are other than those of all records shown.
    labels: String,
    columns: Vec<(String, String, usize)>,
}

/// Label, value, and the query that finds it.
fn shown(labels: &Labels) -> Vec<(String, String, String)> {
    let word = |key: &[u8], value: &[u8]| burrow_perfstore::query::quote(&[key, b":", value].concat());
    labels
        .iter()
        .map(|(key, value)| (String::from_utf8_lossy(key).into_owned(), String::from_utf8_lossy(value).into_owned(), escape(&word(key, value))))
        .collect()
}

/// The page of an upload, or with `.json` behind its name the same as JSON.
pub(crate) async fn upload(service: &Service, name: &str, headers: &HeaderMap) -> Response {
    if let Err(refusal) = service.allow(headers, Scope::Read) {
        return refusal;
    }
    let store = &service.site.store;
    let (name, as_json) = name.strip_suffix(".json").map_or((name, false), |name| (name, true));
    let upload = match store.upload(name).await {
        Ok(Some(upload)) => upload,
        Ok(None) if as_json => return plain(StatusCode::NOT_FOUND, "there is no upload of that name"),
        Ok(None) => return missing(service, headers, "There is no upload of that name. It may have been removed; the log says so."),
        Err(error) => return store_error(&error),
    };
    if as_json {
        return Rendered::new(Kind::Json, upload_json(&upload).to_string()).answer(headers);
    }
    let now_ms = service.site.clock.now_ms();
    let query = Query::everything().and_equals("upload", name);
    let mut samples = Vec::new();
    let mut more = false;
    let mut series = match store.series(&query).await {
        Ok(series) => series,
        Err(error) => return store_error(&error),
    };
    while !more {
        match series.next().await {
            Ok(Some(next)) => {
                samples.extend(next);
                more = samples.len() > SHOWN;
            }
            Ok(None) => break,
            Err(error) => return store_error(&error),
        }
    }
    samples.truncate(SHOWN);
    let shared = shared_labels(&upload);
    // Labels that all records shown have are said once above them.
    let first = samples.first().map(|sample| sample.labels.clone()).unwrap_or_default();
    let all = Labels::new(
        first.iter().filter(|(key, value)| samples.iter().all(|sample| sample.labels.get(key) == Some(value))).map(|(key, value)| (key.clone(), value.clone())),
    );
    let measured = samples
        .iter()
        .map(|sample| Measured {
            name: String::from_utf8_lossy(&sample.name).into_owned(),
            labels: sample
                .labels
                .iter()
                .filter(|(key, _)| all.get(key).is_none())
                .map(|(key, value)| format!("{}: {}", String::from_utf8_lossy(key), String::from_utf8_lossy(value)))
                .collect::<Vec<_>>()
                .join(", "),
            columns: sample
                .columns
                .iter()
                .map(|column| (middle(&column.values), String::from_utf8_lossy(&column.unit).into_owned(), column.values.len()))
                .collect(),
        })
        .collect();
    let common =
        Labels::new(all.iter().filter(|(key, _)| shared.get(key).is_none() && key.as_ref() != b"upload-part").map(|(key, value)| (key.clone(), value.clone())));
    let files = upload
        .parts
        .iter()
        .map(|part| File {
            number: part.number,
            name: part.labels.text("upload-file").unwrap_or_default().into_owned(),
            original: part.original.clone(),
            bytes: words::bytes(i64::try_from(part.bytes).unwrap_or(i64::MAX)),
            records: grouped(part.records),
            lines: grouped(part.lines),
            units: part.units.iter().map(|unit| String::from_utf8_lossy(unit).into_owned()).collect(),
        })
        .collect();
    let view = service.site.view_url_base.as_ref().map(|base| format!("{base}{}", escape(name.as_bytes()))).unwrap_or_default();
    let page = UploadPage {
        upload: &upload,
        time: words::time_html(upload.at_ms, now_ms),
        shared: shown(&shared).into_iter().filter(|(key, ..)| key != "upload" && key != "upload-time").collect(),
        files,
        labels: shown(&common),
        samples: measured,
        more,
        view,
        query: escape(format!("upload:{name}").as_bytes()),
    };
    let body = page.render().unwrap_or_default();
    layout(service, &format!("Upload {name}"), "/", &format!("/uploads/{name}.json"), &body).answer(headers)
}

/// The middle value, as far as it tells something.
fn middle(values: &[f64]) -> String {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let median = match (sorted.get(sorted.len() / 2), sorted.get((sorted.len().max(1) - 1) / 2)) {
        (Some(a), Some(b)) => (a + b) / 2.0,
        _ => return String::new(),
    };
    match median.abs() {
        a if a >= 1000.0 || a == median.abs().trunc() => grouped(format!("{median:.0}")),
        a if a >= 10.0 => format!("{median:.2}"),
        _ => format!("{median:.4}"),
    }
}

fn upload_json(upload: &Upload) -> serde_json::Value {
    let labels = |labels: &Labels| -> serde_json::Map<String, serde_json::Value> {
        labels.iter().map(|(key, value)| (String::from_utf8_lossy(key).into_owned(), String::from_utf8_lossy(value).into_owned().into())).collect()
    };
    let files: Vec<_> = upload
        .parts
        .iter()
        .map(|part| {
            json!({
                "file": format!("{}/{}", upload.name, part.number), "labels": labels(&part.labels), "bytes": part.bytes, "records": part.records, "lines": part.lines,
                "units": part.units.iter().map(|unit| String::from_utf8_lossy(unit).into_owned()).collect::<Vec<_>>(), "original": part.original,
            })
        })
        .collect();
    json!({
        "upload": upload.name, "time": words::rfc3339(upload.at_ms), "sequence": upload.sequence, "by": upload.by, "bytes": upload.bytes, "records": upload.records,
        "lines": upload.lines, "files": files,
    })
}

/// A file as it was uploaded: `/uploads/NAME/0.txt`.
pub(crate) async fn file(State(service): State<Service>, Path((name, file)): Path<(String, String)>, headers: HeaderMap) -> Response {
    if let Err(refusal) = service.allow(&headers, Scope::Read) {
        return refusal;
    }
    let none = || plain(StatusCode::NOT_FOUND, "there is no such file");
    // Only what the store itself names: a number and an ending.
    let fits = file
        .split_once('.')
        .is_some_and(|(number, ending)| !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()) && matches!(ending, "txt" | "json" | "orig"));
    let store = service.site.store.clone();
    let known = match store.upload(&name).await {
        Ok(known) => known.is_some() && fits,
        Err(error) => return store_error(&error),
    };
    if !known {
        return none();
    }
    let size = match store.file_size(&name, &file).await {
        Ok(Some(size)) => size,
        Ok(None) => return none(),
        Err(error) => return store_error(&error),
    };
    let kind = if file.ends_with(".json") { "application/json" } else { "text/plain; charset=utf-8" };
    let stream = futures_util::stream::try_unfold(0, move |at: u64| {
        let (store, name, file) = (store.clone(), name.clone(), file.clone());
        async move {
            if at >= size {
                return Ok::<_, std::io::Error>(None);
            }
            match store.read_file(&name, &file, at, PIECE).await {
                Ok(Some(bytes)) if !bytes.is_empty() => Ok(Some((bytes.clone(), at + bytes.len() as u64))),
                Ok(_) => Err(std::io::Error::other("the file was removed")),
                Err(error) => Err(std::io::Error::other(error.to_string())),
            }
        }
    });
    let mut answer = Response::new(Body::from_stream(stream));
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    answer.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(size));
    answer
}

#[derive(Template)]
#[template(path = "log.html")]
struct Log<'a> {
    changes: &'a [Change],
    now_ms: i64,
}

impl Log<'_> {
    fn removed(&self, change: &Change) -> bool {
        change.kind == ChangeKind::Removed
    }
}

/// Who did what: `/log`.
pub(crate) async fn log(State(service): State<Service>, headers: HeaderMap) -> Response {
    if let Err(refusal) = service.allow(&headers, Scope::Read) {
        return refusal;
    }
    match service.site.store.newest_changes(CHANGES).await {
        Ok(changes) => {
            let body = Log { changes: &changes, now_ms: service.site.clock.now_ms() }.render().unwrap_or_default();
            layout(&service, "Log", "/log", "/log.json", &body).answer(&headers)
        }
        Err(error) => store_error(&error),
    }
}

/// The same as JSON.
pub(crate) async fn log_json(State(service): State<Service>, headers: HeaderMap) -> Response {
    if let Err(refusal) = service.allow(&headers, Scope::Read) {
        return refusal;
    }
    match service.site.store.newest_changes(CHANGES).await {
        Ok(changes) => Rendered::new(Kind::Json, json!(changes).to_string()).not_kept().answer(&headers),
        Err(error) => store_error(&error),
    }
}

/// `/status.json`.
pub(crate) async fn status_json(State(service): State<Service>, headers: HeaderMap) -> Response {
    if let Err(refusal) = service.allow(&headers, Scope::Read) {
        return refusal;
    }
    let store = &service.site.store;
    let totals = match store.totals().await {
        Ok(totals) => totals,
        Err(error) => return store_error(&error),
    };
    let health = match &*store.health().borrow() {
        burrow_store::Health::Good => "good".to_owned(),
        burrow_store::Health::Waiting(why) => format!("waiting: {why}"),
        burrow_store::Health::LockLost => "lost".to_owned(),
    };
    let body = json!({
        "totals": totals, "newest_change": *store.changes().borrow(), "database": store.database_kind(), "health": health,
        "started": words::rfc3339(service.started_ms), "version": env!("CARGO_PKG_VERSION"), "tokens": service.site.tokens.tokens.len(),
    });
    Rendered::new(Kind::Json, body.to_string()).not_kept().answer(&headers)
}

fn missing(service: &Service, headers: &HeaderMap, text: &str) -> Response {
    let body = format!("<h1>Not found</h1><p>{}</p><p><a href=\"/\">Newest uploads</a></p>", words::escape(text));
    layout(service, "Not found", "", "", &body).with_status(StatusCode::NOT_FOUND).answer(headers)
}

/// Any other address.
pub(crate) async fn not_found(State(service): State<Service>, headers: HeaderMap) -> Response {
    missing(&service, &headers, "There is nothing at this address.")
}
