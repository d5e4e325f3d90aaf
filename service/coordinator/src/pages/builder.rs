//! The page of a builder: how it did lately, how long it takes, what it is.

use std::sync::Arc;

use askama::Template;
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, Uri};
use axum::response::Response;
use burrow_results::view::Builder;
use burrow_web::{Problem, words};

use super::{Page, middle, segment, state};
use crate::http::{Site, database, json, json_ending, nothing, wants_json};
use crate::legacy;

#[derive(Template)]
#[template(path = "builder.html")]
struct View<'a> {
    builder: &'a Builder,
    chart: String,
    spec: String,
    now: i64,
}

impl View<'_> {
    fn when(&self, line: &burrow_results::view::BuildLine) -> String {
        words::time_html(line.ended_ms.unwrap_or(line.created_ms), self.now)
    }

    fn percent(&self) -> String {
        self.builder.pass_rate.map_or_else(|| "–".into(), |rate| format!("{:.0} %", (rate * 100.0).floor()))
    }

    fn median(&self) -> String {
        self.builder.median_seconds.map_or_else(|| "–".into(), |seconds| words::duration((seconds * 1000.0) as i64))
    }
}

/// Durations of the newest builds as bars, oldest left. Coordinates instead of styles: the security policy allows no inline style.
fn chart(builder: &Builder) -> String {
    const WIDTH: i64 = 960;
    const HEIGHT: i64 = 150;
    const FLOOR: i64 = 130;
    const TOP: i64 = 14;
    let bars: Vec<_> = builder.builds.iter().rev().filter_map(|line| Some((line, line.ended_ms? - line.started_ms?))).collect();
    let Some(longest) = bars.iter().map(|(_, ms)| *ms).max().filter(|_| bars.len() >= 2) else { return String::new() };
    let longest = longest.max(1);
    let slot = (WIDTH - 70) / bars.len().max(12) as i64;
    let mut out = format!(
        "<svg class=chart viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=img aria-label=\"Durations of the newest {} builds, at most {}\">",
        bars.len(),
        words::duration(longest)
    );
    for part in [longest, longest / 2] {
        let y = FLOOR - (FLOOR - TOP) * part / longest;
        out.push_str(&format!("<line x1=64 x2={WIDTH} y1={y} y2={y} /><text x=58 y={} text-anchor=end>{}</text>", y + 4, words::duration(part)));
    }
    out.push_str(&format!("<line x1=64 x2={WIDTH} y1={FLOOR} y2={FLOOR} />"));
    for (at, (line, ms)) in bars.iter().enumerate() {
        let height = ((FLOOR - TOP) * ms / longest).max(2);
        out.push_str(&format!(
            "<a href=\"/build/{}\"><title>build {}: {}, {}</title><rect class={} x={} y={} width={} height={height} rx=2 /></a>",
            line.id,
            line.id,
            state::long(line.state, line.flaky),
            words::duration(*ms),
            state::class(line.state, line.flaky),
            66 + at as i64 * slot,
            FLOOR - height,
            (slot - 2).clamp(2, 40),
        ));
    }
    out.push_str(&format!(
        "<text x=66 y={}>older</text><text x={} y={} text-anchor=end>newer</text></svg>",
        HEIGHT - 4,
        66 + bars.len() as i64 * slot,
        HEIGHT - 4
    ));
    out
}

/// `GET /builder/{name}`.
pub(crate) async fn builder(State(site): State<Arc<Site>>, Path(name): Path<String>, uri: Uri, headers: HeaderMap) -> Result<Response, Problem> {
    let (name, data) = json_ending(&name, &headers);
    site.cached(&uri, &headers, async |stamp| {
        let Some(builder) = site.results().builder(name).await.map_err(database)? else {
            return Err(nothing(format!("No builder is called {name:?}, and none ever was."), "The list of builders has all names."));
        };
        if data {
            return json(&builder);
        }
        let spec = if builder.spec.is_null() { String::new() } else { serde_json::to_string_pretty(&builder.spec).unwrap_or_default() };
        let body = middle(&View { builder: &builder, chart: chart(&builder), spec, now: site.now_ms() })?;
        let data = format!("/builder/{}.json", segment(name));
        Ok(Page { title: name, current: "/builders", events: "/events", json: &data, ..Page::default() }.finish(&site, Some(stamp), &body))
    })
    .await
}

#[derive(Template)]
#[template(path = "builders.html")]
struct ListView {
    builders: Vec<Line>,
}

/// A builder of the list.
#[derive(serde::Serialize)]
struct Line {
    name: String,
    repos: Vec<String>,
    active: bool,
}

async fn list(site: &Site) -> Result<Vec<Line>, Problem> {
    let mut lines: Vec<Line> = Vec::new();
    for (repo, name, active) in site.results().builders().await.map_err(database)? {
        match lines.iter_mut().find(|line| line.name == name) {
            Some(line) => {
                line.active |= active;
                line.repos.push(repo);
            }
            None => lines.push(Line { name, repos: vec![repo], active }),
        }
    }
    let mut order: Vec<String> = lines.iter().map(|line| line.name.clone()).collect();
    burrow_results::boards::sort_builders(&mut order);
    let place: std::collections::HashMap<String, usize> = order.into_iter().enumerate().map(|(at, name)| (name, at)).collect();
    lines.sort_by_key(|line| (!line.active, place.get(&line.name).copied()));
    Ok(lines)
}

/// `GET /builders`; `?mode=json` as the classic coordinator.
pub(crate) async fn builders(State(site): State<Arc<Site>>, RawQuery(query): RawQuery, uri: Uri, headers: HeaderMap) -> Result<Response, Problem> {
    if query.as_deref().is_some_and(|query| query.split('&').any(|part| part == "mode=json")) {
        return legacy::builders(&site, &uri, &headers).await;
    }
    site.cached(&uri, &headers, async |stamp| {
        let builders = list(&site).await?;
        if uri.path().ends_with(".json") || wants_json(&headers) {
            return json(&builders);
        }
        let body = middle(&ListView { builders })?;
        Ok(Page { title: "Builders", current: "/builders", events: "/events", json: "/builders.json", ..Page::default() }.finish(&site, Some(stamp), &body))
    })
    .await
}
