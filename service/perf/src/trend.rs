//! The trend of whatever a query finds, by a label: medians, intervals, single values, smoothed (`spec/perf.md` §12).

use std::collections::BTreeMap;
use std::fmt::Write as _;

use burrow_benchstat::math::kza::kza;
use burrow_benchstat::math::rank::Interval;
use burrow_benchstat::math::sample::{Assumption, Sample, Summary};
use burrow_changepoint::{Analysis, Options, detect};
use serde_json::{Value, json};

use crate::params::Params;
use crate::source::{Found, Source, SourceError, values};

/// The filter's window and rounds.
const KZA: (usize, usize) = (15, 3);

/// Trends of a query.
#[derive(Debug, Default)]
pub struct Trend {
    /// The unit shown.
    pub unit: String,
    /// Units that there are.
    pub units: Vec<String>,
    /// A line for each benchmark.
    pub lines: Vec<Line>,
}

/// One benchmark.
#[derive(Debug)]
pub struct Line {
    /// Its name.
    pub name: String,
    /// In order.
    pub places: Vec<Place>,
    /// Changes and noise.
    pub analysis: Analysis,
}

/// Values at one value of the label.
#[derive(Debug)]
pub struct Place {
    /// The label's value.
    pub x: String,
    /// The moment, if it is one.
    pub at_s: i64,
    /// The commit, if the results say.
    pub commit: String,
    /// All values.
    pub all: Vec<f64>,
    /// Median and interval.
    pub level: Interval,
    /// The median, smoothed.
    pub smooth: f64,
}

/// Computes the trend that parameters ask for: `q`, `x`, `unit`.
///
/// # Errors
/// [`SourceError`].
pub async fn trend(source: &Source, params: &Params) -> Result<Trend, SourceError> {
    let answer = source.search(params.text("q")).await?;
    let keys: Vec<&str> = match params.text("x") {
        "" => vec!["commit-time", "experiment-commit-time", "upload-time", "upload"],
        key => vec![key],
    };
    let wanted = params.text("unit");
    let mut units: Vec<String> = Vec::new();
    // By unit, benchmark and place.
    let mut lines: BTreeMap<(String, String), Places> = BTreeMap::new();
    for found in &answer.found {
        let Some(x) = keys.iter().find_map(|key| found.label(key)) else { continue };
        let commit = ["experiment-commit", "commit"].iter().find_map(|key| found.label(key)).unwrap_or_default();
        for (unit, written, value) in found.lines.iter().flat_map(|line| values(line)) {
            if !units.contains(&unit) {
                units.push(unit.clone());
            }
            // Either way of writing the unit may be asked for.
            let unit = if !wanted.is_empty() && written == wanted { wanted.to_owned() } else { unit };
            if value.is_finite() {
                let place = lines.entry((unit, name(found))).or_default().entry((order(&x), x.clone())).or_default();
                place.0.push(value);
                place.1.clone_from(&commit);
            }
        }
    }
    let unit = match wanted {
        "" if units.iter().any(|unit| unit == "sec/op") => "sec/op".to_owned(),
        "" => units.first().cloned().unwrap_or_default(),
        unit => unit.to_owned(),
    };
    let lines = lines.into_iter().filter(|((own, _), _)| *own == unit).map(|((_, name), places)| line(name, places)).collect();
    Ok(Trend { unit, units, lines })
}

/// Benchmarks of different packages are different.
fn name(found: &Found) -> String {
    match crate::source::get(&found.labels, "pkg") {
        Some(package) => format!("{package} {}", found.name),
        None => found.name.clone(),
    }
}

/// Moments and numbers by their value, others by their text.
fn order(x: &str) -> i64 {
    if let Ok(at) = x.parse::<jiff::Timestamp>() {
        return at.as_second();
    }
    x.parse::<f64>().ok().filter(|x| x.is_finite()).map_or(i64::MAX, |x| x as i64)
}

/// By moment and value of the label: all values, and the commit.
type Places = BTreeMap<(i64, String), (Vec<f64>, String)>;

fn line(name: String, places: Places) -> Line {
    let mut places: Vec<Place> = places
        .into_iter()
        .map(|((at_s, x), (all, commit))| {
            let summary = Summary::of(&Sample::new(all.clone()), Assumption::Nothing, 0.95);
            let known = |end: f64| if end.is_finite() { end } else { summary.center };
            let level = Interval { low: known(summary.low), center: summary.center, high: known(summary.high) };
            Place { x, at_s, commit, all, level, smooth: summary.center }
        })
        .collect();
    let centers: Vec<f64> = places.iter().map(|place| place.level.center).collect();
    for (place, smooth) in places.iter_mut().zip(kza(&centers, KZA.0, KZA.1)) {
        place.smooth = smooth;
    }
    Line { name, places, analysis: detect(&centers, &Options::default()) }
}

impl Trend {
    /// As JSON.
    pub fn json(&self) -> Value {
        let place = |place: &Place| {
            json!({"x": place.x, "commit": place.commit, "low": place.level.low, "center": place.level.center, "high": place.level.high,
                   "smooth": place.smooth, "values": place.all})
        };
        let line = |line: &Line| {
            let changes: Vec<Value> = line.analysis.change_points.iter().map(|point| json!({"index": point.index, "change": point.size.center})).collect();
            json!({"name": line.name, "points": line.places.iter().map(place).collect::<Vec<_>>(), "changes": changes, "noise": line.analysis.noise.spread})
        };
        json!({"unit": self.unit, "units": self.units, "benchmarks": self.lines.iter().map(line).collect::<Vec<_>>()})
    }

    /// As CSV.
    pub fn csv(&self) -> String {
        let mut out = "benchmark,unit,x,commit,low,center,high,smooth,runs\n".to_owned();
        for line in &self.lines {
            for place in &line.places {
                let texts = [&line.name, &self.unit, &place.x, &place.commit].map(|text| csv_field(text));
                let _ =
                    writeln!(out, "{},{},{},{},{},{}", texts.join(","), place.level.low, place.level.center, place.level.high, place.smooth, place.all.len());
            }
        }
        out
    }
}

/// A field of CSV, in quotes if it needs them. What a spreadsheet would take for a formula is kept from being one.
pub fn csv_field(text: &str) -> String {
    let formula = text.starts_with(['=', '+', '@']) || (text.starts_with('-') && text.parse::<f64>().is_err());
    let text = if formula { format!("'{text}") } else { text.to_owned() };
    if text.contains([',', '"', '\n', '\r']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text }
}
