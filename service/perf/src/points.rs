//! What is computed of an upload: a point per benchmark, unit, machine and commit (`spec/perf.md` §10).

use std::collections::BTreeMap;

use burrow_benchstat::math::rank::Interval as Ratio;
use burrow_benchstat::math::ratio::{Bootstrap, ratio_of_medians};
use burrow_benchstat::math::sample::Summary;
use burrow_benchstat::table::{Options, Table};
use burrow_benchstat::{Builder, Filter, Layout, LayoutError, Projections, Setting, Subject, UnitNames};
use protocol_benchfmt::{Assumption, Units};
use serde::{Deserialize, Serialize};

use crate::config::{Comparison, Config, Labels};
use crate::source::{Answer, get, higher_is_better, values};

/// What a series is of.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Key {
    /// The benchmark, with the comparison's suffix.
    pub name: String,
    /// Its base unit.
    pub unit: String,
    /// The labels that make a series, sorted.
    pub labels: Vec<(String, String)>,
}

impl Key {
    /// The value of a label; empty if it has none.
    pub fn label(&self, key: &str) -> &str {
        get(&self.labels, key).unwrap_or_default()
    }

    /// Its repository.
    pub fn repository(&self) -> &str {
        match self.label("repository") {
            "" => "go",
            name => name,
        }
    }

    /// `os/arch`.
    pub fn platform(&self) -> String {
        format!("{}/{}", self.label("goos"), self.label("goarch"))
    }

    /// A name for addresses: the same in every process.
    pub fn id(&self) -> String {
        let mut text = format!("{}\0{}", self.name, self.unit);
        for (key, value) in &self.labels {
            text.push('\0');
            text.push_str(key);
            text.push('=');
            text.push_str(value);
        }
        format!("{:016x}", xxhash_rust::xxh3::xxh3_64(text.as_bytes()))
    }
}

/// A median with its interval. An end that is not known is `None`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Level {
    /// Lower end of the interval.
    #[serde(rename = "l")]
    pub low: Option<f64>,
    /// The median.
    #[serde(rename = "c")]
    pub center: f64,
    /// Upper end.
    #[serde(rename = "h")]
    pub high: Option<f64>,
}

impl Level {
    /// Of a summary; `None` if its center is no number.
    fn of(summary: &Summary) -> Option<Level> {
        let known = |end: f64| end.is_finite().then_some(end);
        Some(Level { low: known(summary.low), center: known(summary.center)?, high: known(summary.high) })
    }

    /// The same of a bootstrap.
    fn of_ratio(ratio: Ratio) -> Option<Level> {
        let known = |end: f64| end.is_finite().then_some(end);
        Some(Level { low: known(ratio.low), center: known(ratio.center)?, high: known(ratio.high) })
    }

    /// As the ranking takes it.
    pub fn interval(&self) -> Ratio {
        Ratio { low: self.low.unwrap_or(self.center), center: self.center, high: self.high.unwrap_or(self.center) }
    }
}

/// A point of a series.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// The commit.
    pub commit: String,
    /// When it was made, Unix seconds.
    pub at_s: i64,
    /// The upload.
    pub upload: String,
    /// The commit of the baseline; empty without one.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub baseline: String,
    /// The commit of the benchmarks; empty if it is not said.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub benchmarks: String,
    /// What was measured; not of geometric means.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<Level>,
    /// What the baseline measured at the same time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<Level>,
    /// New by old.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ratio: Option<Level>,
    /// Values it comes from.
    #[serde(default)]
    pub runs: usize,
}

/// A point and its series.
#[derive(Debug, Clone, PartialEq)]
pub struct Placed {
    /// The series.
    pub key: Key,
    /// What `Unit` lines say of its unit.
    pub higher: Option<bool>,
    /// The point.
    pub point: Point,
}

/// Labels that never make tables of their own: they say where a result came from, not what it is.
const ORIGIN: [&str; 2] = ["upload-part", "upload-file"];

/// Layout and filter of a comparison.
///
/// # Errors
/// The filter or the column cannot be read.
pub fn layout(comparison: &Comparison, labels: &Labels) -> Result<(Layout, Filter), LayoutError> {
    let query = if comparison.filter.is_empty() { "*" } else { &comparison.filter };
    let mut filter = Filter::new(query).map_err(|error| LayoutError { which: "filter", error })?;
    let quoted = |word: &str| format!("{word:?}");
    let col = if comparison.column.is_empty() {
        String::new()
    } else {
        format!("{}@({} {})", comparison.column, quoted(&comparison.base), quoted(&comparison.experiment))
    };
    let ignore = labels.ignore.iter().map(String::as_str).chain(ORIGIN).collect::<Vec<_>>().join(",");
    let layout = Layout::new(&Projections { table: ".config", row: ".fullname", col: &col, ignore: &ignore }, &mut filter)?;
    Ok((layout, filter))
}

/// Computes the points of an upload.
///
/// # Errors
/// A comparison of the configuration cannot be read.
pub fn compute(upload: &str, uploaded_ms: i64, answer: &Answer, config: &Config) -> Result<Vec<Placed>, LayoutError> {
    let mut units = answer.units();
    for unit in &config.exact {
        // What a file says itself stays.
        let _ = units.say(unit.as_bytes(), b"assume", b"exact", &"configuration".into(), 0);
    }
    let mut placed = Vec::new();
    for (number, comparison) in config.comparisons.iter().enumerate() {
        let (layout, filter) = layout(comparison, &config.labels)?;
        let mut builder = Builder::new(layout, filter);
        for found in &answer.found {
            let settings: Vec<Setting> =
                found.labels.iter().map(|(key, value)| Setting { key: key.as_bytes().into(), value: value.as_bytes().into(), from_file: true }).collect();
            for line in &found.lines {
                let found_values = values(line);
                let names: Vec<UnitNames<'_>> =
                    found_values.iter().map(|(tidied, written, _)| UnitNames { tidied: tidied.as_bytes(), written: written.as_bytes() }).collect();
                let numbers: Vec<f64> = found_values.iter().map(|(_, _, value)| *value).collect();
                builder.add(&Subject { name: found.name.as_bytes(), config: &settings, units: &names }, &numbers);
            }
        }
        let tables = builder.tables(&units, &Options { threads: std::num::NonZero::new(1), ..Options::default() });
        for table in &tables.tables {
            of_table(upload, uploaded_ms, table, comparison, number as u64, &units, config, &mut placed);
        }
    }
    Ok(placed)
}

#[expect(clippy::too_many_arguments, reason = "one upload's surroundings, handed through")]
fn of_table(upload: &str, uploaded_ms: i64, table: &Table, comparison: &Comparison, number: u64, units: &Units, config: &Config, placed: &mut Vec<Placed>) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let mut fields: BTreeMap<String, String> = table.fields.iter().map(|field| (text(&field.name), text(&field.value))).collect();
    fields.retain(|_, value| !value.is_empty());
    let first = |keys: &[String]| keys.iter().find_map(|key| fields.get(key)).cloned().unwrap_or_default();
    let labels: Vec<(String, String)> = {
        let mut labels: Vec<_> = config.labels.identity.iter().filter_map(|key| Some((key.clone(), fields.get(key)?.clone()))).collect();
        labels.sort();
        labels
    };
    let commit = match first(&config.labels.commit) {
        commit if commit.is_empty() => upload.to_owned(),
        commit => commit,
    };
    let point = Point {
        at_s: moment(&first(&config.labels.time)).unwrap_or(uploaded_ms.div_euclid(1000)),
        upload: upload.to_owned(),
        baseline: first(&config.labels.baseline),
        benchmarks: first(&config.labels.benchmarks),
        value: None,
        base: None,
        ratio: None,
        runs: 0,
        commit,
    };
    let unit = text(&table.unit);
    let higher = higher_is_better(units, &unit);
    let column = |value: &str| table.columns.iter().position(|column| column.label() == value.as_bytes());
    let (new, old) = if comparison.column.is_empty() { (Some(0), None) } else { (column(&comparison.experiment), column(&comparison.base)) };
    let Some(new) = new else { return };
    for row in &table.rows {
        let name = format!("{}{}", text(&row.label()), comparison.suffix);
        let Some(Some(cell)) = row.cells.get(new) else { continue };
        let base = old.and_then(|old| row.cells.get(old)).and_then(Option::as_ref);
        let key = Key { name, unit: unit.clone(), labels: labels.clone() };
        let bootstrap = Bootstrap { key: number, ..Bootstrap::default() };
        let ratio = base.and_then(|base| ratio_of_medians(base.sample.values(), cell.sample.values(), &bootstrap)).and_then(Level::of_ratio);
        let value = Level::of(&cell.summary);
        if value.is_none() && ratio.is_none() {
            continue;
        }
        let base = base.and_then(|base| Level::of(&base.summary));
        placed.push(Placed { key, higher, point: Point { value, base, ratio, runs: cell.sample.len(), ..point.clone() } });
    }
    // The geometric mean of an upload is a series of its own, if it has a name.
    let ratio = table.summary.iter().skip(1).find_map(|summary| summary.ratio);
    if let (Some(name), Some(ratio), true) = (geomean_name(config, &fields), ratio, table.assumption == Assumption::Nothing || table.rows.len() > 1) {
        let level = Level { low: Some(ratio), center: ratio, high: Some(ratio) };
        let key = Key { name: format!("{name}{}", comparison.suffix), unit, labels: labels.into_iter().filter(|(key, _)| key != "pkg").collect() };
        // Several packages of one upload have one name: the first counts, as in the reference.
        if ratio.is_finite() && !placed.iter().any(|other| other.key == key && other.point.commit == point.commit) {
            placed.push(Placed { key, higher, point: Point { ratio: Some(level), runs: table.rows.len(), ..point } });
        }
    }
}

fn geomean_name(config: &Config, fields: &BTreeMap<String, String>) -> Option<String> {
    let geomean = config.geomean.as_ref()?;
    let pattern = regex::Regex::new(&geomean.pattern).ok()?;
    let found = pattern.captures(fields.get(&geomean.label)?)?;
    let mut name = geomean.name.replace("{repository}", fields.get("repository").map_or("go", String::as_str));
    for group in pattern.capture_names().flatten() {
        name = name.replace(&format!("{{{group}}}"), found.name(group).map_or("", |value| value.as_str()));
    }
    Some(name)
}

/// A moment as results write it: RFC 3339, `YYYYMMDDTHHMMSS` in UTC, or Unix seconds.
fn moment(text: &str) -> Option<i64> {
    if let Ok(at) = text.parse::<jiff::Timestamp>() {
        return Some(at.as_second());
    }
    if let Ok(at) = jiff::civil::DateTime::strptime("%Y%m%dT%H%M%S", text) {
        return at.to_zoned(jiff::tz::TimeZone::UTC).ok().map(|at| at.timestamp().as_second());
    }
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const UPLOAD: &str = "repository: go\nbranch: master\ngoos: linux\ngoarch: amd64\nbuilder: gotip-linux-amd64_c2s16-perf_vs_release\n\
        experiment-commit: aaa\nexperiment-commit-time: 2024-05-01T10:00:00Z\nbaseline-commit: bbb\nupload: 1\nupload-part: 1/0\ntoolchain: baseline\n\
        BenchmarkA-8 1 100 ns/op\nBenchmarkA-8 1 102 ns/op\nBenchmarkA-8 1 98 ns/op\nBenchmarkB-8 1 10 ns/op\ntoolchain: experiment\n\
        BenchmarkA-8 1 110 ns/op\nBenchmarkA-8 1 112 ns/op\nBenchmarkA-8 1 108 ns/op\nBenchmarkB-8 1 10 ns/op\n";

    fn go() -> Config {
        let text = "[geomean]\nlabel = \"builder\"\npattern = '^(?:x_(?<repo>[a-z]+)-)?[^-]+-[^-]+-[a-z0-9]+(?:_(?<machine>[^-]+))?-perf_(?<against>.+)$'\nname = \"geomean/{repository}/{against}/{machine}\"\n";
        burrow_site::parse_toml(std::path::Path::new("x"), text).unwrap()
    }

    #[test]
    fn an_upload_of_old_and_new_gives_ratios_values_and_the_geometric_mean() {
        let answer = crate::source::read(UPLOAD.as_bytes()).unwrap();
        let placed = compute("1", 0, &answer, &go()).unwrap();
        let names: Vec<&str> = placed.iter().map(|one| one.key.name.as_str()).collect();
        assert_eq!(names, ["A-8", "B-8", "geomean/go/vs_release/c2s16"]);
        let a = &placed[0].point;
        assert_eq!((a.commit.as_str(), a.baseline.as_str(), a.at_s, a.runs), ("aaa", "bbb", 1_714_557_600, 3));
        assert!((a.ratio.unwrap().center - 1.1).abs() < 0.02 && a.ratio.unwrap().low < a.ratio.unwrap().high);
        assert!((a.value.unwrap().center - 1.1e-7).abs() < 1e-12 && (a.base.unwrap().center - 1e-7).abs() < 1e-12);
        assert!((placed[2].point.ratio.unwrap().center - 1.1_f64.sqrt()).abs() < 1e-9);
        assert_eq!(placed[0].key.unit, "sec/op");
        // Again: the same numbers.
        assert_eq!(compute("1", 0, &answer, &go()).unwrap(), placed);
    }

    #[test]
    fn results_without_old_stand_by_themselves_and_machines_are_kept_apart() {
        let text = "commit: c1\ncommit-time: 20240501T100000\ncpu: x\nBenchmarkA 1 5 ns/op\ncpu: y\nBenchmarkA 1 6 ns/op\nUnit hits better=higher\nBenchmarkA 1 6 hits\n";
        let placed = compute("u", 0, &crate::source::read(text.as_bytes()).unwrap(), &Config::default()).unwrap();
        let shown: Vec<_> = placed.iter().map(|one| (one.key.label("cpu"), one.key.unit.as_str(), one.higher, one.point.at_s, one.point.ratio)).collect();
        assert_eq!(
            shown,
            [
                ("x", "sec/op", Some(false), 1_714_557_600, None),
                ("y", "sec/op", Some(false), 1_714_557_600, None),
                ("y", "hits", Some(true), 1_714_557_600, None)
            ]
        );
        assert_ne!(placed[0].key.id(), placed[1].key.id());
    }

    #[test]
    fn an_upload_without_time_is_placed_by_its_own() {
        let placed = compute("20240501.1", 7_000, &crate::source::read(b"BenchmarkA 1 5 ns/op\n").unwrap(), &Config::default()).unwrap();
        assert_eq!((placed[0].point.commit.as_str(), placed[0].point.at_s), ("20240501.1", 7));
        assert_eq!(moment("2024-05-01T10:00:00+02:00"), Some(1_714_550_400));
    }
}
