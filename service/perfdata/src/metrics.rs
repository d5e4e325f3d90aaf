//! `/metrics` for Prometheus, `/healthz`.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::body::Body;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, StatusCode};
use axum::response::Response;
use burrow_store::Health;

use crate::http::{Service, plain, store_error};

/// `/metrics`.
pub(crate) async fn answer(State(service): State<Service>) -> Response {
    let store = &service.site.store;
    let totals = match store.totals().await {
        Ok(totals) => totals,
        Err(error) => return store_error(&error),
    };
    let (counters, requests) = (store.counters(), &service.requests);
    let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed) as i64;
    let lines: [(&str, &str, &str, i64); 12] = [
        ("burrow_perfdata_uploads", "gauge", "Uploads in the store.", totals.uploads),
        ("burrow_perfdata_records", "gauge", "Records in the store.", totals.records),
        ("burrow_perfdata_lines", "gauge", "Result lines in the store.", totals.lines),
        ("burrow_perfdata_bytes", "gauge", "Bytes of files in the store.", totals.bytes),
        ("burrow_perfdata_committed_total", "counter", "Uploads that were committed.", of(&counters.committed)),
        ("burrow_perfdata_aborted_total", "counter", "Uploads that came to nothing.", of(&counters.aborted)),
        ("burrow_perfdata_committed_lines_total", "counter", "Result lines that were committed.", of(&counters.lines)),
        ("burrow_perfdata_received_bytes_total", "counter", "Bytes of uploads that were received.", of(&counters.bytes)),
        ("burrow_perfdata_searches_total", "counter", "Searches, lists and series that were begun.", of(&counters.searches)),
        ("burrow_perfdata_requests_good_total", "counter", "Requests that were answered.", of(&requests.good)),
        ("burrow_perfdata_requests_refused_total", "counter", "Requests that were refused for what they were.", of(&requests.refused)),
        ("burrow_perfdata_requests_failed_total", "counter", "Requests that failed here.", of(&requests.failed)),
    ];
    let mut out = String::new();
    for (name, kind, help, value) in lines {
        let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}");
    }
    let mut answer = Response::new(Body::from(out));
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; version=0.0.4"));
    answer
}

/// `/healthz`: whether uploads can be taken.
pub(crate) async fn health(State(service): State<Service>) -> Response {
    match &*service.site.store.health().borrow() {
        Health::Good => plain(StatusCode::OK, "ok"),
        Health::Waiting(why) => plain(StatusCode::SERVICE_UNAVAILABLE, &format!("commits wait: {why}")),
        Health::LockLost => plain(StatusCode::SERVICE_UNAVAILABLE, "another process took the database"),
    }
}
