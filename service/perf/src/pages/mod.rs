//! The pages: frame, start, comparisons, trends, what is not there, status.

mod changes;
mod charts;

pub(crate) use changes::{Late, late, regressions, regressions_json};
pub(crate) use charts::{dashboard, dashboard_csv, series, series_csv, series_json};

use std::fmt::Write as _;
use std::sync::LazyLock;

use askama::Template;
use axum::extract::Path;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Response};
use burrow_web::{Kind, Layout, NavItem, Rendered, words};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use protocol_benchfmt::{Class, scale, unit};

use crate::chart::Chart;
use crate::compare;
use crate::group::{Group, Groups};
use crate::http::Service;
use crate::params::Params;
use crate::series::{Series, State};
use crate::source::Listed;
use crate::trend::Trend;

/// Uploads on the start page.
const LATEST: usize = 16;
/// Charts of a trend.
const TRENDS: usize = 60;

/// Styles and scripts of these pages; the addresses carry a hash of the content, so that they may be kept for ever.
static ASSETS: LazyLock<[(String, Rendered); 4]> = LazyLock::new(|| {
    [
        ("perf", "css", Kind::Css, include_str!("../../assets/perf.css")),
        ("chart", "js", Kind::Script, include_str!("../../assets/chart.js")),
        ("uplot", "js", Kind::Script, include_str!("../../assets/uPlot.iife.min.js")),
        ("uplot", "css", Kind::Css, include_str!("../../assets/uPlot.min.css")),
    ]
    .map(|(name, ending, kind, text)| (format!("{name}.{:016x}.{ending}", xxhash_rust::xxh3::xxh3_64(text.as_bytes())), Rendered::new(kind, text)))
});

/// Serves the pages' own styles and scripts.
pub(crate) async fn asset(Path(file): Path<String>, headers: HeaderMap) -> Response {
    match ASSETS.iter().find(|(name, _)| *name == file) {
        Some((_, rendered)) => {
            let mut answer = rendered.answer(&headers);
            answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("public, max-age=31536000, immutable"));
            answer
        }
        None => (StatusCode::NOT_FOUND, [(CONTENT_TYPE, "text/plain; charset=utf-8")], "No such asset; reload the page.\n").into_response(),
    }
}

/// What a page is, besides its middle.
pub(crate) struct Page<'p> {
    title: &'p str,
    current: &'p str,
    json: &'p str,
    wide: bool,
    live: bool,
}

/// Puts the frame around a page's middle.
pub(crate) fn framed(service: &Service, page: &Page<'_>, middle: &impl Template) -> Rendered {
    let mut body = String::new();
    for (name, _) in ASSETS.iter().filter(|(name, _)| name.ends_with(".css")) {
        let _ = write!(body, "<link rel=\"stylesheet\" href=\"/perf-assets/{name}\">");
    }
    // Writing to a string cannot fail.
    let _ = middle.render_into(&mut body);
    if page.live {
        // uPlot first: scripts that are deferred run in their order.
        for (name, _) in ASSETS.iter().rev().filter(|(name, _)| name.ends_with(".js")) {
            let _ = write!(body, "<script defer src=\"/perf-assets/{name}\"></script>");
        }
    }
    let open = open_regressions(&service.site.board.all());
    let item = |href, label, count: usize| NavItem { href, label, count: if count > 0 { count.to_string() } else { String::new() } };
    let nav = [item("/", "Search", 0), item("/trend", "Trend", 0), item("/dashboard/", "Dashboard", 0), item("/regressions", "Regressions", open)];
    let failed = service.site.board.failed().len();
    let trouble: Vec<String> =
        (failed > 0).then(|| format!("{failed} uploads could not be taken into the series; /regressions lists them with why.")).into_iter().collect();
    Layout {
        title: page.title,
        site: &service.site.board.config().site,
        version: env!("CARGO_PKG_VERSION"),
        nav: &nav,
        current: page.current,
        events: "",
        generation: 0,
        trouble: &trouble,
        json: page.json,
        now_ms: service.now_ms(),
        class: if page.wide { "wide" } else { "" },
        body: &body,
    }
    .finish()
}

fn open_regressions(all: &[std::sync::Arc<Series>]) -> usize {
    all.iter().map(|series| series.findings.iter().filter(|finding| finding.worse && finding.state == State::Open).count()).sum()
}

/// For an address.
pub(crate) fn escaped(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

/// A number of a unit for people: `1.234µs/op` is written `1.234µ`, with the unit beside it.
pub(crate) fn shown(value: f64, of: &str) -> String {
    if value.is_finite() { scale(value, unit::class(of.as_bytes())) } else { "–".to_owned() }
}

/// A part as percents.
pub(crate) fn percent(part: f64) -> String {
    match part.abs() {
        p if !p.is_finite() => "–".to_owned(),
        p if p >= 0.1 => format!("{:.0} %", part * 100.0),
        p if p >= 0.01 => format!("{:.1} %", part * 100.0),
        _ => format!("{:.2} %", part * 100.0),
    }
}

/// A part as percents with its sign.
pub(crate) fn signed(part: f64) -> String {
    if !part.is_finite() {
        return "–".to_owned();
    }
    let tenths = (part * 1000.0).round();
    // No minus before nothing.
    let tenths = if tenths == 0.0 { 0.0 } else { tenths };
    format!("{:+.1} %", tenths / 10.0).replace('-', "\u{2212}")
}

/// A rate like `1 of 12,000`, to be followed by what.
pub(crate) fn rate(rate: f64) -> String {
    match rate {
        r if r.is_nan() => "unknown".to_owned(),
        r if r < 1e-9 => "fewer than 1 of a thousand million".to_owned(),
        r => {
            let one_in = (1.0 / r).round() as u64;
            let digits = one_in.to_string();
            let groups: Vec<&str> = digits.as_bytes().rchunks(3).rev().filter_map(|group| std::str::from_utf8(group).ok()).collect();
            format!("1 of {}", groups.join(","))
        }
    }
}

/// What A/A runs of these series reported, as a sentence.
pub(crate) fn calibrated(all: &[std::sync::Arc<Series>]) -> String {
    let (alarms, points) = all.iter().fold((0, 0), |(a, p), series| (a + series.calibration.false_alarms, p + series.calibration.points));
    let mut floors: Vec<f64> = all.iter().map(|series| series.analysis.noise.floor_20).filter(|floor| floor.is_finite() && *floor > 0.0).collect();
    floors.sort_by(f64::total_cmp);
    let floor = burrow_benchstat::math::ratio::median(&floors);
    format!(
        "measured on shuffled noise of these series: {alarms} false alarms in {points} points; median noise floor {} (steps of that size are found with 20 commits)",
        percent(floor)
    )
}

#[derive(Template)]
#[template(path = "start.html")]
struct Start {
    site: String,
    series: usize,
    open: usize,
    uploads: usize,
    late: usize,
    latest: Vec<Listed>,
    error: Option<String>,
}

impl Start {
    fn label<'l>(&self, one: &'l Listed, key: &str) -> &'l str {
        one.labels.get(key).map_or("", String::as_str)
    }
}

/// The start page.
pub(crate) async fn start(service: &Service) -> Rendered {
    let board = &service.site.board;
    let (latest, error) = match board.source().uploads("", &["upload-time", "by"], LATEST).await {
        Ok(latest) => (latest, None),
        Err(error) => (Vec::new(), Some(error.to_string())),
    };
    let all = board.all();
    let middle = Start {
        site: board.config().site.clone(),
        series: all.len(),
        open: open_regressions(&all),
        uploads: board.uploads().get("done").copied().unwrap_or_default(),
        late: changes::late(service, &all).len(),
        latest,
        error,
    };
    framed(service, &Page { title: "Search", current: "/", json: "/status.json", wide: false, live: false }, &middle).not_kept()
}

#[derive(Template)]
#[template(path = "compare.html")]
struct Compare {
    q: String,
    link: String,
    error: Option<String>,
    older: bool,
    results: usize,
    groups: Groups,
    tables: String,
    calibration: String,
}

impl Compare {
    fn escaped(&self, text: impl AsRef<str>) -> String {
        escaped(text.as_ref())
    }
}

/// The page of a comparison.
pub(crate) fn compare(service: &Service, params: &Params, found: Result<Groups, String>) -> Rendered {
    let q = params.text("q").to_owned();
    let older = params.text("engine") == "v1";
    let (groups, mut error) = match found {
        Ok(groups) => (groups, None),
        Err(error) => (Groups::default(), Some(error)),
    };
    let mut tables = String::new();
    if error.is_none() {
        if older {
            tables = format!("<div class=\"benchstat-scroll\">{}</div>", burrow_benchstat::v1::html::render(&compare::older(&groups, true)));
        } else {
            match compare::medians(&groups) {
                Ok(made) => tables.extend(made.tables.iter().map(burrow_benchstat::table::html::fragment)),
                Err(wrong) => error = Some(wrong.to_string()),
            }
        }
    }
    let results = groups.groups.iter().flat_map(|group: &Group| &group.results).map(|shown| shown.found.lines.len()).sum();
    let json = if error.is_none() { format!("/compare.json?q={}", escaped(&q)) } else { String::new() };
    // The series of the same benchmarks say what noise is.
    let names: std::collections::BTreeSet<&str> = groups.groups.iter().flat_map(|group| group.results.iter().map(|shown| shown.found.name.as_str())).collect();
    let same: Vec<_> = service.site.board.all().into_iter().filter(|series| names.contains(series.key.name.as_str())).collect();
    let calibration = if same.is_empty() { String::new() } else { format!("History of these benchmarks, {}.", calibrated(&same)) };
    let middle = Compare { link: escaped(&q), q, error, older, results, groups, tables, calibration };
    framed(service, &Page { title: "Compare", current: "/", json: &json, wide: false, live: false }, &middle).not_kept()
}

#[derive(Template)]
#[template(path = "trend.html")]
struct TrendPage {
    q: String,
    x: String,
    unit: String,
    raw: bool,
    smooth: bool,
    link: String,
    error: Option<String>,
    found: usize,
    units: String,
    charts: Vec<TrendChart>,
}

struct TrendChart {
    name: String,
    changes: usize,
    noise: String,
    svg: String,
}

/// The page of a trend.
pub(crate) fn trend(service: &Service, params: &Params, found: Result<Trend, crate::source::SourceError>) -> Rendered {
    let (raw, smooth) = (params.text("raw") == "1", params.text("smooth") == "1");
    let (found, error) = match found {
        Ok(found) => (found, None),
        Err(error) => (Trend::default(), Some(error.to_string())),
    };
    let class = unit::class(found.unit.as_bytes());
    let link = format!("q={}&x={}&unit={}", escaped(params.text("q")), escaped(params.text("x")), escaped(params.text("unit")));
    let charts = found.lines.iter().take(TRENDS).map(|line| trend_chart(line, class, raw, smooth)).collect();
    let middle = TrendPage {
        q: params.text("q").to_owned(),
        x: params.text("x").to_owned(),
        unit: found.unit.clone(),
        raw,
        smooth,
        link: link.clone(),
        error,
        found: found.lines.len(),
        units: if found.units.is_empty() { "none".to_owned() } else { found.units.join(", ") },
        charts,
    };
    let json = if middle.q.is_empty() { String::new() } else { format!("/trend.json?{link}") };
    framed(service, &Page { title: "Trend", current: "/trend", json: &json, wide: true, live: false }, &middle).not_kept()
}

fn trend_chart(line: &crate::trend::Line, class: Class, raw: bool, smooth: bool) -> TrendChart {
    let points: Vec<_> = line
        .places
        .iter()
        .map(|place| {
            let mut level = place.level;
            if smooth {
                level.center = place.smooth;
            }
            (if place.at_s == i64::MAX { 0 } else { place.at_s }, level)
        })
        .collect();
    let marks: Vec<(usize, bool)> = line.analysis.change_points.iter().map(|point| (point.index, point.after > point.before)).collect();
    let dots: Vec<(usize, f64)> =
        if raw { line.places.iter().enumerate().flat_map(|(at, place)| place.all.iter().map(move |value| (at, *value))).collect() } else { Vec::new() };
    let chart = Chart {
        title: &format!("trend of {}", line.name),
        class: Some(class),
        points: &points,
        marks: &marks,
        levels: &[],
        rebased: &[],
        dots: &dots,
        size: (640, 220),
    };
    TrendChart { name: line.name.clone(), changes: marks.len(), noise: percent(line.analysis.noise.spread), svg: chart.svg() }
}

#[derive(Template)]
#[template(
    source = "<div class=\"center\"><div class=\"code\">404</div><h1>There is nothing at {{ path }}</h1><p>Search for results, or look at the <a href=\"/dashboard/\">dashboard</a>.</p><form class=\"ask\" action=\"/search\"><input name=\"q\" aria-label=\"Query\"><button class=\"first\">Search</button></form></div>",
    ext = "html"
)]
struct Missing<'p> {
    path: &'p str,
}

/// For addresses that are not there.
pub(crate) fn missing(service: &Service, path: &str) -> Rendered {
    framed(service, &Page { title: "Not found", current: "", json: "", wide: false, live: false }, &Missing { path })
        .with_status(StatusCode::NOT_FOUND)
        .not_kept()
}

/// `status.json`.
pub(crate) fn status(service: &Service) -> Rendered {
    let board = &service.site.board;
    let all = board.all();
    let failed: Vec<_> =
        board.failed().into_iter().map(|(upload, taken)| serde_json::json!({"upload": upload, "why": taken.detail, "attempts": taken.attempts})).collect();
    let late: Vec<_> =
        changes::late(service, &all).into_iter().map(|late| serde_json::json!({"what": late.what, "last": words::rfc3339(late.last_ms)})).collect();
    let (alarms, points) = all.iter().fold((0, 0), |(a, p), series| (a + series.calibration.false_alarms, p + series.calibration.points));
    let body = serde_json::json!({
        "generation": *board.generation().borrow(), "series": all.len(), "points": all.iter().map(|series| series.points.len()).sum::<usize>(),
        "uploads": board.uploads(), "open_regressions": open_regressions(&all), "failed": failed, "late": late,
        "calibration": {"false_alarms": alarms, "points": points}, "started": words::rfc3339(service.started_ms), "now": words::rfc3339(service.now_ms()),
    });
    Rendered::new(Kind::Json, serde_json::to_vec_pretty(&body).unwrap_or_default()).not_kept()
}

/// Prometheus text. `requests`: good, refused, failed.
pub(crate) fn metrics(service: &Service, requests: [u64; 3]) -> String {
    let board = &service.site.board;
    let all = board.all();
    let mut out = String::new();
    let mut gauge = |name: &str, help: &str, kind: &str, lines: &[(String, f64)]| {
        let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
        for (labels, value) in lines {
            let _ = writeln!(out, "{name}{labels} {value}");
        }
    };
    let one = |value: usize| vec![(String::new(), value as f64)];
    gauge("burrow_perf_series", "Series that are watched.", "gauge", &one(all.len()));
    gauge("burrow_perf_points", "Points of all series.", "gauge", &one(all.iter().map(|series| series.points.len()).sum()));
    gauge("burrow_perf_open_regressions", "Changes for the worse that nobody acknowledged.", "gauge", &one(open_regressions(&all)));
    gauge("burrow_perf_late", "Series and origins without new results.", "gauge", &one(changes::late(service, &all).len()));
    let uploads: Vec<(String, f64)> = board.uploads().into_iter().map(|(state, count)| (format!("{{state=\"{state}\"}}"), count as f64)).collect();
    gauge("burrow_perf_uploads", "Uploads by what became of them.", "gauge", &uploads);
    let requests: Vec<(String, f64)> =
        ["good", "refused", "failed"].iter().zip(requests).map(|(word, count)| (format!("{{result=\"{word}\"}}"), count as f64)).collect();
    gauge("burrow_perf_requests_total", "Requests by result.", "counter", &requests);
    out
}
