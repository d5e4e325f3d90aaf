//! The dashboard's JSON, in the shapes of the reference (`spec/perf.md` §9).

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::http::StatusCode;
use burrow_benchstat::math::rank::{Interval, worst};
use serde::Serialize;

use crate::board::Board;
use crate::history::{History, HistoryCommit};
use crate::params::Params;
use crate::points::Point;
use crate::series::Series;

/// Days of a view at most.
const DAYS: i64 = 366;

/// A refusal: status and text.
pub type Refusal = (StatusCode, String);

/// What a view is of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View {
    /// First moment, Unix seconds.
    pub start_s: i64,
    /// Last moment.
    pub end_s: i64,
    /// Days between them.
    pub days: i64,
    /// Whether the end was asked for.
    pub end: Option<String>,
    /// The repository.
    pub repository: String,
    /// The branch.
    pub branch: String,
    /// `os/arch`, or `all`.
    pub platform: String,
    /// Name, part of it, `all`, or nothing.
    pub benchmark: String,
}

impl View {
    /// From an address. What is missing is the configuration's first, or what the results have.
    ///
    /// # Errors
    /// 400 with the reference's words.
    pub fn of(params: &Params, board: &Board, all: &[Arc<Series>], now_ms: i64) -> Result<View, Refusal> {
        let bad = |text: &str| (StatusCode::BAD_REQUEST, text.to_owned());
        let days = match params.text("days") {
            "" => 30,
            text => text
                .parse::<i64>()
                .ok()
                .filter(|days| (1..=DAYS).contains(days))
                .ok_or_else(|| bad("day parameter must be a positive integer less than or equal to 366"))?,
        };
        let end = params.text("end");
        let end_s = match end {
            "" => now_ms.div_euclid(1000),
            text => jiff::civil::DateTime::strptime("%Y-%m-%dT%H:%M", text)
                .ok()
                .and_then(|at| at.to_zoned(jiff::tz::TimeZone::UTC).ok())
                .map(|at| at.timestamp().as_second())
                .ok_or_else(|| bad("end parameter must be a timestamp similar to RFC3339 without a time zone, like 2000-12-31T15:00"))?,
        };
        let repository = match params.text("repository") {
            "" => repositories(board, all).into_iter().next().unwrap_or_else(|| "go".into()),
            text => text.to_owned(),
        };
        let branch = match params.text("branch") {
            "" => branches(board, all, &repository).into_iter().next().unwrap_or_else(|| "master".into()),
            "latest-release" => board.config().repository(&repository).and_then(|one| one.latest_release.clone()).unwrap_or_else(|| "latest-release".into()),
            text => text.to_owned(),
        };
        let platform = match params.text("platform") {
            "" | "all" => "all",
            text if text.split('/').count() == 2 && text.split('/').all(|part| !part.is_empty()) => text,
            _ => return Err(bad("error parsing platform")),
        };
        Ok(View {
            start_s: end_s.saturating_sub(days * 86_400),
            end_s,
            days,
            end: (!end.is_empty()).then(|| end.to_owned()),
            repository,
            branch,
            platform: platform.to_owned(),
            benchmark: params.text("benchmark").to_owned(),
        })
    }

    /// Whether a series is of the view's repository, branch and platform.
    pub fn has(&self, series: &Series) -> bool {
        let branch = series.key.label("branch");
        series.key.repository() == self.repository
            && (branch.is_empty() || branch == self.branch)
            && (self.platform == "all" || series.key.platform() == self.platform)
    }

    /// Points of a series in the view's time.
    pub fn points<'s>(&self, series: &'s Series) -> &'s [Point] {
        let from = series.points.partition_point(|point| point.at_s < self.start_s);
        let to = series.points.partition_point(|point| point.at_s <= self.end_s);
        series.points.get(from..to).unwrap_or_default()
    }
}

/// Repositories that are offered: those of the configuration, then those of the results.
pub fn repositories(board: &Board, all: &[Arc<Series>]) -> Vec<String> {
    let mut names: Vec<String> = board.config().repositories.iter().map(|one| one.name.clone()).collect();
    let found: BTreeSet<&str> = all.iter().map(|series| series.key.repository()).collect();
    names.extend(found.into_iter().filter(|name| !board.config().repositories.iter().any(|one| one.name == *name)).map(str::to_owned));
    names
}

/// Branches of a repository that are offered.
pub fn branches(board: &Board, all: &[Arc<Series>], repository: &str) -> Vec<String> {
    let mut names = board.config().repository(repository).map(|one| one.branches.clone()).unwrap_or_default();
    let found: BTreeSet<&str> =
        all.iter().filter(|series| series.key.repository() == repository).map(|series| series.key.label("branch")).filter(|name| !name.is_empty()).collect();
    let mut found: Vec<String> = found.into_iter().filter(|name| !names.iter().any(|known| known == name)).map(str::to_owned).collect();
    found.sort_by_key(|name| (name != "master" && name != "main", name.clone()));
    names.extend(found);
    names
}

/// Series of a view: the panels of the repository if no benchmark is named.
pub fn chosen(board: &Board, all: &[Arc<Series>], view: &View) -> Vec<Arc<Series>> {
    let panels = board.config().repository(&view.repository).map(|one| one.panels.clone()).unwrap_or_default();
    let wanted = |name: &str| match view.benchmark.as_str() {
        "" if panels.is_empty() => true,
        "" => panels.iter().any(|panel| panel == name),
        "all" => true,
        part => name.contains(part),
    };
    all.iter().filter(|series| view.has(series) && wanted(&series.key.name) && !view.points(series).is_empty()).cloned().collect()
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Benchmarks {
    benchmarks: Vec<Named>,
    commits: Vec<Listed>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Named {
    name: String,
    repository: String,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Listed {
    hash: String,
    date: String,
}

/// `benchmarks.json`.
///
/// # Errors
/// A refusal with the reference's words.
pub fn benchmarks(board: &Board, history: &History, params: &Params, now_ms: i64) -> Result<Vec<u8>, Refusal> {
    let all = board.all();
    let view = View::of(params, board, &all, now_ms)?;
    let panels = board.config().repository(&view.repository).map(|one| one.panels.clone()).unwrap_or_default();
    let names: BTreeSet<String> = match view.benchmark.as_str() {
        // The fixed list is given whether there is data or not, as by the reference.
        "" if !panels.is_empty() => panels.into_iter().collect(),
        _ => chosen(board, &all, &view).iter().map(|series| series.key.name.clone()).collect(),
    };
    if names.is_empty() {
        return Err((StatusCode::NOT_FOUND, "No matching benchmarks found".into()));
    }
    let own: Vec<Arc<Series>> = all.into_iter().filter(|series| view.has(series)).collect();
    let commits = commits(history, &view, &own).into_iter().map(|commit| Listed { date: date(commit.at_s), hash: commit.hash }).collect();
    let benchmarks = names.into_iter().map(|name| Named { name, repository: view.repository.clone() }).collect();
    json(&Benchmarks { benchmarks, commits })
}

/// Commits of a view, oldest first.
pub fn commits(history: &History, view: &View, series: &[Arc<Series>]) -> Vec<HistoryCommit> {
    let all = history.commits(&view.repository, &view.branch, series);
    let from = all.partition_point(|commit| commit.at_s < view.start_s);
    all.iter().skip(from).filter(|commit| commit.at_s <= view.end_s).cloned().collect()
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Data {
    benchmarks: Vec<Benchmark>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Benchmark {
    name: String,
    unit: String,
    platform: String,
    higher_is_better: bool,
    values: Vec<ValueOf>,
    regression: Option<Regression>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct ValueOf {
    commit_hash: String,
    commit_date: String,
    baseline_commit_hash: String,
    benchmarks_commit_hash: String,
    low: f64,
    center: f64,
    high: f64,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Regression {
    change: f64,
    delta_index: i64,
    delta: f64,
    ignored_because: String,
}

/// New by old minus one, point by point; of series without old, by the first value of the view.
pub fn relative(series: &Series, points: &[Point]) -> Vec<Interval> {
    let first = points.iter().find_map(|point| point.value).map(|level| level.center);
    points
        .iter()
        .map(|point| match (point.ratio, point.value, first) {
            (Some(ratio), ..) => minus_one(ratio.interval()),
            (None, Some(value), Some(first)) if first != 0.0 && !series.is_ratio() => {
                let value = value.interval();
                minus_one(Interval { low: value.low / first, center: value.center / first, high: value.high / first })
            }
            _ => Interval { low: f64::NAN, center: f64::NAN, high: f64::NAN },
        })
        .collect()
}

fn minus_one(ratio: Interval) -> Interval {
    Interval { low: ratio.low - 1.0, center: ratio.center - 1.0, high: ratio.high - 1.0 }
}

/// `data.json`.
///
/// # Errors
/// A refusal with the reference's words.
pub fn data(board: &Board, params: &Params, now_ms: i64) -> Result<Vec<u8>, Refusal> {
    let all = board.all();
    let view = View::of(params, board, &all, now_ms)?;
    let regressions = params.text("regressions") == "true";
    if view.benchmark.is_empty() && !regressions {
        return Err((StatusCode::BAD_REQUEST, "No benchmark name specified".into()));
    }
    let unit = params.text("unit");
    let wanted = |series: &Series| {
        let name = regressions || view.benchmark == "all" || series.key.name == view.benchmark;
        view.has(series) && name && (unit.is_empty() || series.key.unit == unit) && !view.points(series).is_empty()
    };
    let mut found: Vec<Arc<Series>> = all.into_iter().filter(|series| wanted(series)).collect();
    if found.is_empty() {
        return Err((StatusCode::NOT_FOUND, "Benchmark not found".into()));
    }
    if !unit.is_empty() && found.len() > 1 {
        let text = format!("Error fetching benchmarks: {} series have this name and unit; name a platform", found.len());
        return Err((StatusCode::INTERNAL_SERVER_ERROR, text));
    }
    found.sort_by_cached_key(|series| (series.key.name.clone(), series.key.platform(), series.key.unit.clone()));
    let mut benchmarks: Vec<Benchmark> = found.iter().map(|series| benchmark(series, &view, regressions)).collect();
    if regressions {
        // Those with a step first, then by how much worse the newest value is.
        benchmarks.sort_by(|a, b| {
            let rank = |one: &Benchmark| one.regression.as_ref().map_or((false, f64::NEG_INFINITY), |found| (found.delta_index >= 0, found.change));
            let ((a_step, a), (b_step, b)) = (rank(a), rank(b));
            b_step.cmp(&a_step).then_with(|| b.total_cmp(&a))
        });
    }
    json(&Data { benchmarks })
}

fn benchmark(series: &Series, view: &View, regressions: bool) -> Benchmark {
    let points = view.points(series);
    let intervals = relative(series, points);
    let first = points.first().map(|point| point.commit.clone()).unwrap_or_default();
    let values = points
        .iter()
        .zip(&intervals)
        .map(|(point, interval)| ValueOf {
            commit_hash: point.commit.clone(),
            commit_date: date(point.at_s),
            baseline_commit_hash: if point.ratio.is_none() && point.baseline.is_empty() { first.clone() } else { point.baseline.clone() },
            benchmarks_commit_hash: point.benchmarks.clone(),
            low: interval.low,
            center: interval.center,
            high: interval.high,
        })
        .collect();
    let regression = regressions.then(|| {
        let found = worst(&intervals, series.higher);
        match found.step {
            Ok(step) => {
                Regression { change: found.change, delta_index: i64::try_from(step.index).unwrap_or(-1), delta: step.delta, ignored_because: String::new() }
            }
            Err(why) => Regression { change: found.change, delta_index: -1, delta: 0.0, ignored_because: why.to_string() },
        }
    });
    Benchmark {
        name: series.key.name.clone(),
        unit: series.key.unit.clone(),
        platform: series.key.platform(),
        higher_is_better: series.higher,
        values,
        regression,
    }
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct FormFields {
    branches: Vec<String>,
    latest_release_branch: String,
}

/// `formfields.json`.
///
/// # Errors
/// None but of memory.
pub fn form_fields(board: &Board, params: &Params) -> Result<Vec<u8>, Refusal> {
    let all = board.all();
    let repository = match params.text("repository") {
        "" => repositories(board, &all).into_iter().next().unwrap_or_else(|| "go".into()),
        text => text.to_owned(),
    };
    let latest = board.config().repository(&repository).and_then(|one| one.latest_release.clone()).unwrap_or_default();
    let mut branches = branches(board, &all, &repository);
    if branches.is_empty() {
        branches.push("master".into());
    }
    json(&FormFields { branches, latest_release_branch: latest })
}

pub(crate) fn json(value: &impl Serialize) -> Result<Vec<u8>, Refusal> {
    serde_json::to_vec(value).map_err(|error| (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))
}

/// RFC 3339 in UTC.
pub fn date(at_s: i64) -> String {
    burrow_web::words::rfc3339(at_s.saturating_mul(1000))
}
