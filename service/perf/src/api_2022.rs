//! The dashboard's JSON as it was until 2022 (`spec/perf.md` §9): a bare list, regressions told in the names. For front ends of that time: they ask for `data.json` beside
//! their own page, so one that lies below `/dashboard/2022/` works as it is.

use std::collections::HashMap;
use std::sync::Arc;

use axum::http::StatusCode;
use burrow_benchstat::math::rank::{Interval, Unranked, worst};
use serde::Serialize;

use crate::api::{Refusal, View, chosen, date, json, relative};
use crate::board::Board;
use crate::params::Params;
use crate::points::Point;
use crate::series::Series;

/// The one platform that it was for.
const PLATFORM: &str = "linux/amd64";
/// A step must be so isolated to name a benchmark by it.
const ISOLATED: f64 = 1.0;
/// Letters of a commit in a name.
const COMMIT: usize = 7;

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Benchmark {
    name: String,
    unit: String,
    values: Vec<ValueOf>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct ValueOf {
    commit_hash: String,
    commit_date: String,
    low: f64,
    center: f64,
    high: f64,
}

/// The worst that is known of a benchmark in any of its units.
struct Regression {
    unit: String,
    change: f64,
    /// Place, size and isolation of the step, and where it is as a text.
    step: Result<(f64, f64, String), Unranked>,
}

/// `data.json` of 2022. `benchmark` is empty (the panels of the repository), `all`, `regressions`, or a whole name; `platform` is linux/amd64 unless another is named.
/// Results that do not say their platform are of every platform.
///
/// # Errors
/// A refusal with the reference's words.
pub fn data(board: &Board, params: &Params, now_ms: i64) -> Result<Vec<u8>, Refusal> {
    let all = board.all();
    let mut view = View::of(params, board, &all, now_ms)?;
    let platform = if params.text("platform").is_empty() { PLATFORM.to_owned() } else { std::mem::replace(&mut view.platform, "all".to_owned()) };
    let here = |series: &Series| platform == "all" || series.key.platform() == platform || series.key.platform() == "/";
    let regressions = view.benchmark == "regressions";
    let exact = !matches!(view.benchmark.as_str(), "" | "all" | "regressions");
    let mut found: Vec<Arc<Series>> = if view.benchmark.is_empty() {
        chosen(board, &all, &view).into_iter().filter(|series| here(series)).collect()
    } else {
        let wanted = |series: &Series| view.has(series) && here(series) && (!exact || series.key.name == view.benchmark) && !view.points(series).is_empty();
        all.into_iter().filter(|series| wanted(series)).collect()
    };
    if found.is_empty() && exact {
        return Err((StatusCode::NOT_FOUND, "Benchmark not found".into()));
    }
    found.sort_by_cached_key(|series| (series.key.name.clone(), series.key.unit.clone()));
    let known = if regressions { rank(&mut found, &view) } else { HashMap::new() };
    let benchmarks: Vec<Benchmark> = found.iter().map(|series| benchmark(series, view.points(series), known.get(&series.key.name))).collect();
    json(&benchmarks)
}

/// Finds the worst of each name and puts the worst names first. Series of a name stay together.
fn rank(found: &mut [Arc<Series>], view: &View) -> HashMap<String, Regression> {
    let mut known: HashMap<String, Regression> = HashMap::new();
    for series in found.iter() {
        let points = view.points(series);
        let one = regression(series, points, &relative(series, points));
        let of = |one: &Regression| one.step.as_ref().map_or(0.0, |(delta, ..)| *delta);
        let isolated = one.step.as_ref().is_ok_and(|(_, score, _)| *score > ISOLATED);
        match known.get(&series.key.name) {
            Some(old) if !(isolated && of(&one) > of(old)) => {}
            _ => {
                known.insert(series.key.name.clone(), one);
            }
        }
    }
    // Sorting is stable: names that are equally bad stay in their order, and so do the units of a name.
    let place = |series: &Arc<Series>| known.get(&series.key.name).map_or((true, f64::NEG_INFINITY), |one| (one.step.is_err(), one.change));
    found.sort_by(|a, b| {
        let ((a_none, a_change), (b_none, b_change)) = (place(a), place(b));
        a_none.cmp(&b_none).then_with(|| b_change.total_cmp(&a_change)).then_with(|| a.key.name.cmp(&b.key.name))
    });
    known
}

fn regression(series: &Series, points: &[Point], intervals: &[Interval]) -> Regression {
    let found = worst(intervals, series.higher);
    let step = found.step.map(|step| {
        let at = points.get(step.index);
        let commit = at.map_or("", |point| point.commit.get(..COMMIT).unwrap_or(&point.commit));
        (step.delta, step.score, format!("at {commit} on {}", at.map(|point| date(point.at_s)).unwrap_or_default()))
    });
    Regression { unit: series.key.unit.clone(), change: found.change, step }
}

fn benchmark(series: &Series, points: &[Point], regression: Option<&Regression>) -> Benchmark {
    let values = points
        .iter()
        .zip(relative(series, points))
        .map(|(point, interval)| ValueOf {
            commit_hash: point.commit.clone(),
            commit_date: date(point.at_s),
            low: interval.low,
            center: interval.center,
            high: interval.high,
        })
        .collect();
    let name = &series.key.name;
    let name = match regression {
        None => name.clone(),
        Some(Regression { unit, change, step: Ok((delta, score, place)) }) => {
            format!("{name} {unit} {:.1}% regression, {:.1}%point change {place} (score {score:.1})", 100.0 * change, 100.0 * delta)
        }
        Some(Regression { unit, step: Err(why), .. }) => format!("{name} {unit} not ranked because {why}"),
    };
    Benchmark { name, unit: series.key.unit.clone(), values }
}
