//! The classic coordinator's JSON: `/status/*.json`, `/builders?mode=json`, and its live logs (`coordinator.md` §13, §15).

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri};
use axum::response::Response;
use burrow_results::BuildFilter;
use burrow_results::model::Class;
use burrow_web::{Kind, Problem, Rendered, words};
use bytes::Bytes;
use futures_util::StreamExt as _;
use serde::Serialize;

use super::{Params, Repos, go_json, import_path, plain};
use crate::http::{Site, body_of, database, refused};
use crate::pages::segment;

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Reverse {
    host_types: BTreeMap<String, HostType>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct HostType {
    host_type: String,
    connected: usize,
    expect: usize,
    idle: usize,
    busy: usize,
    waiters: usize,
    machines: Option<BTreeMap<String, Machine>>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Machine {
    name: String,
    host_type: String,
    connected_sec: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    idle_sec: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    busy_sec: Option<f64>,
    version: String,
    busy: bool,
}

/// `GET /status/reverse.json`.
pub(super) async fn reverse(State(site): State<Arc<Site>>, headers: HeaderMap) -> Response {
    let live = site.control().live();
    let now = site.now_ms();
    let mut host_types = BTreeMap::new();
    for kind in &live.host_types {
        let machines: BTreeMap<String, Machine> = live
            .machines
            .iter()
            .filter(|machine| machine.host_type == kind.name)
            .filter_map(|machine| {
                let seconds = |from: i64| (now - from).max(0) as f64 / 1000.0;
                let busy = machine.build.is_some();
                let since = seconds(machine.since_ms);
                let name = if machine.hostname.is_empty() { &machine.id } else { &machine.hostname };
                Some((
                    // Two workers of one host would hide each other under its name.
                    if live.machines.iter().filter(|other| other.hostname == machine.hostname && other.host_type == machine.host_type).count() > 1 {
                        machine.id.clone()
                    } else {
                        name.clone()
                    },
                    Machine {
                        name: name.clone(),
                        host_type: machine.host_type.clone(),
                        connected_sec: seconds(machine.connected_ms?),
                        idle_sec: (!busy).then_some(since),
                        busy_sec: busy.then_some(since),
                        version: machine.version.clone(),
                        busy,
                    },
                ))
            })
            .collect();
        host_types.insert(
            kind.name.clone(),
            HostType {
                host_type: kind.name.clone(),
                connected: kind.connected,
                expect: kind.expected,
                idle: kind.connected.saturating_sub(kind.busy),
                busy: kind.busy,
                waiters: kind.waiting,
                machines: (!machines.is_empty()).then_some(machines),
            },
        );
    }
    Rendered::new(Kind::Json, go_json(&Reverse { host_types })).answer(&headers)
}

#[derive(Serialize)]
struct Active {
    builder: String,
    commit: String,
    #[serde(rename = "statusURL")]
    status_url: String,
}

/// `GET /status/post-submit-active.json`: post-submit builds that hold a machine, or `null`.
pub(super) async fn active(State(site): State<Arc<Site>>, headers: HeaderMap) -> Result<Response, Problem> {
    let live = site.control().live();
    let ids: Vec<_> = live.running.iter().map(|(build, _, _)| *build).collect();
    let base = site.base_url(&headers);
    let lines = site.results().build_lines(&ids).await.map_err(database)?;
    let active: Vec<Active> = lines
        .into_iter()
        .filter(|line| line.class == Class::Batch)
        .map(|line| Active {
            status_url: format!("{base}/temporarylogs?name={}&rev={}&st={}", segment(&line.builder), line.hash, line.id),
            builder: line.builder,
            commit: line.hash,
        })
        .collect();
    let mut body = serde_json::to_vec(&(!active.is_empty()).then_some(active)).unwrap_or_default();
    body.push(b'\n');
    Ok(Rendered::new(Kind::Json, super::go_escaped(&body)).answer(&headers))
}

/// `GET /builders?mode=json`: as much of the classic form as the configuration has, with our own keys beside.
pub(crate) async fn builders(site: &Arc<Site>, uri: &Uri, headers: &HeaderMap) -> Result<Response, Problem> {
    site.cached(uri, headers, async |_| {
        let mut builders = serde_json::Map::new();
        let mut hosts = serde_json::Map::new();
        for (name, spec) in site.results().builder_specs().await.map_err(database)? {
            let text = |key: &str| spec.get(key).and_then(|value| value.as_str()).unwrap_or_default().to_owned();
            let host = text("host");
            builders.insert(
                name.clone(),
                serde_json::json!({
                    "Name": name, "HostType": host, "KnownIssues": spec.get("known_issues").cloned().unwrap_or_default(), "Notes": text("notes"),
                    "CompileOnly": spec.get("compile_only").and_then(|value| value.as_bool()).unwrap_or(false), "Spec": spec,
                }),
            );
            hosts.entry(host.clone()).or_insert_with(|| serde_json::json!({"HostType": host}));
        }
        Ok(Rendered::new(Kind::Json, go_json(&serde_json::json!({"Builders": builders, "Hosts": hosts}))))
    })
    .await
}

/// `GET /temporarylogs?name=&rev=[&subName=&subRev=]&st=`: what is known of a build, then its log. Ours outlives the process and the build.
pub(super) async fn temporary_logs(State(site): State<Arc<Site>>, uri: Uri) -> Result<Response, Problem> {
    let params = Params::of(&uri);
    let missing = || Ok(plain(StatusCode::NOT_FOUND, "404 page not found"));
    let Some(repos) = Repos::load(&site).await? else { return missing() };
    let sub = params.get("subName");
    let repo = if sub.is_empty() { Some(&repos.main) } else { repos.all.iter().find(|repo| repo.name == sub || import_path(&site, repo) == sub) };
    let Some(repo) = repo else { return missing() };
    let hash = if sub.is_empty() { params.get("rev") } else { params.get("subRev") };
    let filter = BuildFilter { builder: Some(params.get("name").into()), repo: Some(repo.name.clone()), hash: Some(hash.into()), ..BuildFilter::default() };
    let builds = site.results().builds(&filter, 100).await.map_err(database)?.items;
    // `st` tells retries apart: here it is the number of the build.
    let wanted = params.get("st").parse::<i64>().ok();
    let Some(line) = builds.iter().find(|line| Some(line.id.0) == wanted).or(builds.first()) else { return missing() };
    let Some(build) = site.results().build(line.id).await.map_err(database)? else { return missing() };
    let mut head = String::new();
    let _ = writeln!(head, "  builder: {}\n      rev: {}", build.line.builder, build.line.hash);
    if let Some(attempt) = build.attempts_list.last() {
        let _ = writeln!(head, " buildlet: {} {}", attempt.worker, attempt.hostname);
    }
    if let Some(at) = build.line.started_ms {
        let _ = writeln!(head, "  started: {}", words::rfc3339(at));
    }
    match build.line.ended_ms {
        Some(at) => {
            let _ = writeln!(head, "    ended: {}\n  success: {}", words::rfc3339(at), build.line.state == burrow_results::model::BuildState::Passed);
        }
        None => head.push_str("   status: still running\n"),
    }
    head.push_str("\nEvents:\n");
    for line in &build.history {
        let _ = writeln!(head, "  {} {}", words::rfc3339(line.at_ms), line.text);
    }
    head.push_str("\nBuild log:\n");
    let first = futures_util::stream::once(async move { Ok::<_, axum::Error>(Bytes::from(head)) });
    let body = match build.attempts_list.last() {
        Some(attempt) => {
            let follow = params.get("nostream").is_empty();
            let reader = site.control().log(attempt.id, 0, follow).await.map_err(refused)?;
            Body::from_stream(first.chain(body_of(reader, 0, u64::MAX).into_data_stream()))
        }
        None => Body::from_stream(first.chain(futures_util::stream::once(async { Ok(Bytes::from_static(b"(no attempt has begun)\n")) }))),
    };
    let mut answer = Response::new(body);
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    Ok(answer)
}
