//! The dashboard and the page of one series, with what they are drawn from as JSON and CSV.

use std::collections::{BTreeSet, HashMap};
use std::fmt::Write as _;
use std::sync::Arc;

use askama::Template;
use burrow_benchstat::math::rank::Interval;
use burrow_web::{Kind, Rendered};
use protocol_benchfmt::unit;
use serde_json::json;

use super::changes::{OneFinding, commit_link, late, noise_note};
use super::{Page, calibrated, escaped, framed, percent, rate, shown, signed};
use crate::api::{self, Refusal, View};
use crate::chart::Chart;
use crate::http::Service;
use crate::params::Params;
use crate::points::Point;
use crate::series::{Series, State};
use crate::trend::csv_field;

/// Charts on a page.
const TILES: usize = 60;
/// Rows of a series' table, unless all are asked for.
const ROWS: usize = 100;

#[derive(Template)]
#[template(path = "dashboard.html")]
struct Dashboard {
    view: View,
    repositories: Vec<String>,
    branches: Vec<String>,
    platforms: Vec<String>,
    units: Vec<String>,
    unit: String,
    worst_first: bool,
    tiles: Vec<Tile>,
    found: usize,
    more: Option<String>,
    noise: String,
    data: String,
    range: String,
}

impl Dashboard {
    fn end(&self) -> &str {
        self.view.end.as_deref().unwrap_or_default()
    }

    fn hint(&self) -> String {
        format!("Try more days than {}, another branch, or `all` benchmarks.", self.view.days)
    }
}

struct Tile {
    id: String,
    name: String,
    unit: String,
    machine: String,
    change: String,
    class: &'static str,
    worse: bool,
    note: String,
    svg: String,
}

/// What a dashboard's address asks for.
struct Selected {
    view: View,
    all: Vec<Arc<Series>>,
    /// In the order in which they are shown.
    chosen: Vec<Arc<Series>>,
}

fn selected(service: &Service, params: &Params) -> Result<Selected, Refusal> {
    let board = &service.site.board;
    let all = board.all();
    let mut view = View::of(params, board, &all, service.now_ms())?;
    if params.text("end").is_empty() && params.text("days").is_empty() {
        // A page that is opened shows something: if the last results are old, it ends with them.
        let last = all.iter().filter(|series| view.has(series)).map(|series| series.last_s()).max().unwrap_or(view.end_s);
        if last < view.start_s {
            (view.start_s, view.end_s) = (last - view.days * 86_400, last);
        }
    }
    let unit = params.text("unit");
    let mut chosen: Vec<Arc<Series>> = api::chosen(board, &all, &view).into_iter().filter(|series| unit.is_empty() || series.key.unit == unit).collect();
    if params.text("order") == "worst" {
        // Those with an open regression first, the largest before the others.
        chosen.sort_by(|a, b| {
            let size = |series: &Series| series.worst_open().map_or(-1.0, |finding| finding.size[1].abs());
            let unit = |series: &Series| series.key.unit != "sec/op";
            size(b).total_cmp(&size(a)).then_with(|| unit(a).cmp(&unit(b)))
        });
    } else if unit.is_empty() {
        // Time is what is looked at first.
        chosen.sort_by_key(|series| (series.key.unit != "sec/op", series.key.unit.clone()));
    }
    Ok(Selected { view, all, chosen })
}

/// The dashboard.
pub(crate) fn dashboard(service: &Service, params: &Params) -> Result<Rendered, Refusal> {
    let Selected { view, all, chosen } = selected(service, params)?;
    let page = params.text("page").parse::<usize>().unwrap_or(1).max(1);
    let query = |page: usize| {
        let fields = ["repository", "branch", "platform", "benchmark", "unit", "days", "end", "order"];
        let mut out: Vec<String> =
            fields.iter().filter(|name| !params.text(name).is_empty()).map(|name| format!("{name}={}", escaped(params.text(name)))).collect();
        if page > 1 {
            out.push(format!("page={page}"));
        }
        out.join("&")
    };
    let of_repository = || all.iter().filter(|series| series.key.repository() == view.repository);
    let several = chosen.iter().map(|series| machine(series)).collect::<BTreeSet<_>>().len() > 1;
    let tiles: Vec<Tile> = chosen.iter().skip((page - 1) * TILES).take(TILES).map(|series| tile(series, &view, several)).collect();
    let data = match (view.benchmark.as_str(), query(1)) {
        ("", query) if query.is_empty() => "benchmark=all".to_owned(),
        ("", query) => format!("{query}&benchmark=all"),
        (_, query) => query,
    };
    let middle = Dashboard {
        repositories: api::repositories(&service.site.board, &all),
        branches: api::branches(&service.site.board, &all, &view.repository),
        platforms: of_repository().map(|series| series.key.platform()).filter(|name| name != "/").collect::<BTreeSet<_>>().into_iter().collect(),
        units: of_repository().map(|series| series.key.unit.clone()).collect::<BTreeSet<_>>().into_iter().collect(),
        unit: params.text("unit").to_owned(),
        worst_first: params.text("order") == "worst",
        found: chosen.len(),
        more: (chosen.len() > page * TILES).then(|| format!("/dashboard/?{}", query(page + 1))),
        noise: calibrated(&chosen),
        range: format!("start={}&end={}", view.start_s, view.end_s),
        tiles,
        data: data.clone(),
        view,
    };
    let json = format!("/dashboard/data.json?{data}");
    Ok(framed(service, &Page { title: "Dashboard", current: "/dashboard/", json: &json, wide: true, live: true }, &middle))
}

fn machine(series: &Series) -> String {
    let platform = series.key.platform();
    let platform = if platform == "/" { "" } else { &platform };
    [platform, series.key.label("builder"), series.key.label("pkg")].into_iter().filter(|text| !text.is_empty()).collect::<Vec<_>>().join(" · ")
}

fn tile(series: &Series, view: &View, several: bool) -> Tile {
    let points = view.points(series);
    let relative = api::relative(series, points);
    let newest = relative.iter().rev().find(|value| value.center.is_finite()).map_or(f64::NAN, |value| value.center);
    let open = series.worst_open();
    let svg = picture(series, points, (560, 190));
    let class = match open {
        Some(_) => "worse",
        None => "dim",
    };
    let change = open.map_or_else(|| signed(newest), |finding| format!("▲ worse {}", signed(finding.size[1])));
    Tile {
        id: series.id.clone(),
        name: series.key.name.clone(),
        unit: series.key.unit.clone(),
        machine: if several { machine(series) } else { String::new() },
        change,
        class,
        worse: open.is_some(),
        note: noise_note(series),
        svg,
    }
}

/// The picture of some points of a series, in their order.
fn picture(series: &Series, points: &[Point], size: (u32, u32)) -> String {
    let drawn: Vec<(i64, Interval)> = points.iter().filter_map(|point| Some((point.at_s, level(series, point)?))).collect();
    let kept: Vec<&Point> = points.iter().filter(|point| series.level(point).is_some()).collect();
    let marks: Vec<(usize, bool)> = series
        .findings
        .iter()
        .filter(|finding| finding.index.is_some())
        .filter_map(|finding| Some((kept.iter().position(|point| point.commit == finding.commit)?, finding.worse)))
        .collect();
    let known = levels_of(series);
    let levels: Vec<f64> = kept.iter().map(|point| known.get(point.commit.as_str()).copied().unwrap_or(f64::NAN)).collect();
    let rebased: Vec<usize> =
        kept.windows(2).enumerate().filter(|(_, pair)| matches!(pair, [a, b] if a.baseline != b.baseline)).map(|(at, _)| at + 1).collect();
    let class = (!series.is_ratio()).then(|| unit::class(series.key.unit.as_bytes()));
    let title = format!("{} in {}: {} commits, {} changes", series.key.name, series.key.unit, drawn.len(), marks.len());
    Chart { title: &title, class, points: &drawn, marks: &marks, levels: &levels, rebased: &rebased, dots: &[], size }.svg()
}

/// Ratios are drawn as their distance from one.
fn level(series: &Series, point: &Point) -> Option<Interval> {
    let value = series.level(point)?.interval();
    let shift = if series.is_ratio() { 1.0 } else { 0.0 };
    Some(Interval { low: value.low - shift, center: value.center - shift, high: value.high - shift })
}

/// The level at each commit.
fn levels_of(series: &Series) -> HashMap<&str, f64> {
    let shift = if series.is_ratio() { 1.0 } else { 0.0 };
    series.commits.iter().zip(&series.analysis.levels).map(|(commit, level)| (commit.hash.as_str(), level - shift)).collect()
}

#[derive(Template)]
#[template(path = "series.html")]
struct SeriesPage<'s> {
    series: &'s Series,
    late: Option<String>,
    svg: String,
    newest: String,
    rate: String,
    changes: Vec<String>,
    rows: Vec<Row>,
    more: usize,
}

struct Row {
    commit: String,
    link: String,
    subject: String,
    date: String,
    median: String,
    interval: String,
    runs: usize,
    ratio: String,
    upload: String,
    mark: String,
    class: &'static str,
}

impl SeriesPage<'_> {
    fn escaped(&self, text: impl AsRef<str>) -> String {
        escaped(text.as_ref())
    }

    fn percent(&self, part: impl std::borrow::Borrow<f64>) -> String {
        percent(*part.borrow())
    }

    fn two(&self, number: impl std::borrow::Borrow<f64>) -> String {
        format!("{:.2}", number.borrow())
    }
}

/// The page of a series.
pub(crate) fn series(service: &Service, series: &Arc<Series>, params: &Params) -> Rendered {
    let config = service.site.board.config();
    let url = config.repository(series.key.repository()).and_then(|one| one.commit_url.as_deref());
    let guarded = service.site.token.is_some();
    let changes = series
        .findings
        .iter()
        .map(|finding| OneFinding { series, finding, named: false, guarded, now_ms: service.now_ms(), url }.render().unwrap_or_default())
        .collect();
    let at = |name: &str| series.points.iter().position(|point| point.commit == params.text(name));
    let (from, to) = (at("from").unwrap_or(0), at("to").map_or(series.points.len(), |at| at + 1));
    let drawn = series.points.get(from..to).unwrap_or(&series.points);
    let rows = if params.text("rows") == "all" { usize::MAX } else { ROWS };
    let unit = &series.key.unit;
    let newest = match series.analysis.levels.last() {
        Some(level) if series.is_ratio() => format!("{} to the baseline", signed(level - 1.0)),
        Some(level) => format!("{} {unit}", shown(*level, unit)),
        None => "–".to_owned(),
    };
    let row = |point: &Point| {
        let value = point.value.or(point.ratio.filter(|_| series.is_ratio()));
        let finding = series.findings.iter().find(|finding| finding.commit == point.commit && finding.state != State::Withdrawn);
        Row {
            link: commit_link(&point.commit, url),
            subject: service.site.history.subject(series.key.repository(), &point.commit).unwrap_or_default(),
            date: api::date(point.at_s).replace('T', " ").trim_end_matches('Z').to_owned(),
            median: value.map_or_else(String::new, |value| if series.is_ratio() { format!("{:.4}", value.center) } else { shown(value.center, unit) }),
            interval: value.map_or_else(String::new, |value| {
                interval(value.low, value.high, |end| if series.is_ratio() { format!("{end:.4}") } else { shown(end, unit) })
            }),
            runs: point.runs,
            ratio: point.ratio.map_or_else(String::new, |ratio| signed(ratio.center - 1.0)),
            upload: point.upload.clone(),
            mark: finding.map_or_else(String::new, |finding| format!("{} {}", if finding.worse { "▲ worse" } else { "▼ better" }, signed(finding.size[1]))),
            class: if finding.is_some_and(|finding| finding.worse) { "worse" } else { "better" },
            commit: point.commit.clone(),
        }
    };
    let link = format!("/series/{}", series.id);
    let origin = format!("{} {}", config.labels.origin, series.key.label(&config.labels.origin));
    let silent = late(service, &service.site.board.all()).into_iter().find(|late| late.link == link || late.what == origin);
    let middle = SeriesPage {
        late: silent.map(|late| burrow_web::words::duration(service.now_ms() - late.last_ms)),
        svg: picture(series, drawn, (1100, 380)),
        newest,
        rate: rate(config.watch.false_alarms),
        changes,
        rows: series.points.iter().rev().take(rows).map(row).collect(),
        more: series.points.len().saturating_sub(rows),
        series,
    };
    let title = format!("{} {}", series.key.name, series.key.unit);
    framed(service, &Page { title: &title, current: "/dashboard/", json: &format!("/series/{}.json", series.id), wide: false, live: true }, &middle)
}

fn interval(low: Option<f64>, high: Option<f64>, text: impl Fn(f64) -> String) -> String {
    match (low, high) {
        (Some(low), Some(high)) => format!("{} … {}", text(low), text(high)),
        _ => "∞".to_owned(),
    }
}

/// A series for charts and programs. `start` and `end` (Unix seconds) choose a part.
pub(crate) fn series_json(_service: &Service, series: &Series, params: &Params) -> Rendered {
    let number = |name: &str, other: i64| params.text(name).parse::<i64>().unwrap_or(other);
    let (start, end) = (number("start", i64::MIN), number("end", i64::MAX));
    let kept: Vec<(&Point, Interval)> =
        series.points.iter().filter(|point| (start..=end).contains(&point.at_s)).filter_map(|point| Some((point, level(series, point)?))).collect();
    let known = levels_of(series);
    let points: Vec<serde_json::Value> = kept
        .iter()
        .map(|(point, value)| {
            let level = known.get(point.commit.as_str()).copied().unwrap_or(f64::NAN);
            json!({"commit": point.commit, "date": api::date(point.at_s), "upload": point.upload, "baseline": point.baseline, "runs": point.runs,
                   "low": value.low, "center": value.center, "high": value.high, "level": level.is_finite().then_some(level), "ratio": point.ratio})
        })
        .collect();
    let marks: Vec<serde_json::Value> = series
        .findings
        .iter()
        .filter(|finding| finding.index.is_some())
        .filter_map(|finding| {
            let index = kept.iter().position(|(point, _)| point.commit == finding.commit)?;
            Some(json!({"index": index, "commit": finding.commit, "worse": finding.worse, "change": finding.size[1], "state": finding.state.word()}))
        })
        .collect();
    let noise = &series.analysis.noise;
    let labels: serde_json::Map<String, serde_json::Value> = series.key.labels.iter().map(|(key, value)| (key.clone(), value.clone().into())).collect();
    let body = json!({
        "id": series.id, "name": series.key.name, "unit": series.key.unit, "labels": labels, "higher_is_better": series.higher, "relative": series.is_ratio(),
        "points": points, "marks": marks,
        "noise": {"spread": noise.spread, "autocorrelation": noise.autocorrelation, "floor_5": noise.floor_5, "floor_20": noise.floor_20},
        "calibration": {"false_alarms": series.calibration.false_alarms, "points": series.calibration.points},
        "method": burrow_benchstat::math::ratio::METHOD,
    });
    Rendered::new(Kind::Json, body.to_string())
}

/// A series as CSV.
pub(crate) fn series_csv(series: &Series) -> String {
    let mut out = "name,unit,commit,date,upload,low,center,high,baseline,base,ratio_low,ratio,ratio_high,runs\n".to_owned();
    rows(series, &series.points, &mut out);
    out
}

fn rows(series: &Series, points: &[Point], out: &mut String) {
    let number = |value: Option<f64>| value.map_or_else(String::new, |value| value.to_string());
    for point in points {
        let texts = [&series.key.name, &series.key.unit, &point.commit, &api::date(point.at_s), &point.upload].map(|text| csv_field(text)).join(",");
        let (value, ratio) = (point.value, point.ratio);
        let numbers = [value.and_then(|v| v.low), value.map(|v| v.center), value.and_then(|v| v.high)].map(number).join(",");
        let ratios = [point.base.map(|v| v.center), ratio.and_then(|v| v.low), ratio.map(|v| v.center), ratio.and_then(|v| v.high)].map(number).join(",");
        let _ = writeln!(out, "{texts},{numbers},{},{ratios},{}", csv_field(&point.baseline), point.runs);
    }
}

/// What a dashboard shows, as CSV.
///
/// # Errors
/// The address is wrong.
pub(crate) fn dashboard_csv(service: &Service, params: &Params) -> Result<String, Refusal> {
    let Selected { view, chosen, .. } = selected(service, params)?;
    let mut out = "name,unit,commit,date,upload,low,center,high,baseline,base,ratio_low,ratio,ratio_high,runs\n".to_owned();
    for series in &chosen {
        rows(series, view.points(series), &mut out);
    }
    Ok(out)
}
