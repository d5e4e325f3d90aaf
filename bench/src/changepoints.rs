//! Change points in series whose steps are known, beside Apache Otava: how many steps each finds when both are set to one false alarm in 10,000 points.
//!
//! Both look at the same series. Each gives every change point a strength (ours: false alarms per point; the peer's: p of its t-test, computed with a loose
//! bound so that weak ones are listed too); the bound for each is the one at which the series without steps give one alarm in 10,000 points. The peer's is
//! chosen with knowledge of the truth, ours too; what our default bound gives is listed beside it.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, bail};
use burrow_changepoint::simulate::{Kind, Random, stepped};
use burrow_changepoint::{Options, Series, detect};
use serde_json::{Value, json};

use crate::report::{Bound, Report};
use crate::settings::{Settings, scratch};

/// False alarms per point at which both are compared.
const RATE: f64 = 1e-4;
/// A found step may be this far from the true place.
const NEAR: usize = 3;
/// Sizes of steps, in spreads of the noise.
const SIZES: [f64; 5] = [1.0, 1.5, 2.0, 3.0, 5.0];
/// Values between steps.
const SPACINGS: [usize; 3] = [12, 30, 80];

/// Reads series, one JSON list a line, and answers with the peer's change points and their p, one list of pairs a line. The bounds of its first pass are
/// loosened by the given factor, so that one run serves every bound.
const PEER: &str = r"
import json, sys
from otava.analysis import compute_change_points
for line in sys.stdin:
    request = json.loads(line)
    points, _ = compute_change_points(request['values'], window_len=request['window'], max_pvalue=request['p'])
    print(json.dumps([[int(c.index), float(c.stats.pvalue)] for c in points]), flush=True)
";

struct Sample {
    kind: Kind,
    values: Vec<f64>,
    steps: Vec<usize>,
    size: f64,
}

/// Measures.
///
/// # Errors
/// The peer fails, or the record cannot be written.
pub(crate) fn run(settings: &Settings) -> anyhow::Result<()> {
    let mut report = Report::new("changepoints");
    let series = settings.load.unwrap_or(40);
    let (nulls, stepped) = (nulls(settings.seed, series * 5), steps(settings.seed, series));
    let points: usize = nulls.iter().map(|sample| sample.values.len()).sum();

    // Ours, as found with a loose bound, and with the default.
    let loose = Options { false_alarms: 1e-2, ..Options::default() };
    let ours = |samples: &[Sample], options: &Options| -> Vec<Found> {
        samples.iter().map(|sample| detect(&sample.values, options).change_points.iter().map(|point| (point.index, point.false_alarms)).collect()).collect()
    };
    let begin = Instant::now();
    let default = ours(&nulls, &Options::default());
    let per_series = begin.elapsed().as_secs_f64() / nulls.len() as f64;
    let alarms: usize = default.iter().map(Vec::len).sum();
    let bound = threshold(&nulls, &|options| ours(&nulls, &options), points);
    let mut table = vec![("burrow", bound, ours(&stepped, &Options { false_alarms: bound, ..loose }))];
    report.run(json!({"side": "burrow", "null_points": points, "alarms_at_default": alarms, "bound_for_rate": bound, "seconds_per_series": per_series}));

    if let Some(venv) = settings.otava() {
        // The best that the peer can do: every bound from its own default down, the loosest that keeps the rate.
        let mut best = None;
        for p in [1e-3, 3e-4, 1e-4, 3e-5, 1e-5, 3e-6, 1e-6, 1e-7, 1e-8, 1e-10, 1e-12] {
            let found = peer(venv, &nulls, p)?;
            let rate = found.iter().map(Vec::len).sum::<usize>() as f64 / points as f64;
            report.run(json!({"side": "otava", "max_pvalue": p, "false_alarms_per_point": rate}));
            if rate <= RATE {
                best = Some(p);
                break;
            }
        }
        let Some(p) = best else { bail!("no bound of the peer keeps the rate") };
        let begin = Instant::now();
        table.push(("otava", p, peer(venv, &stepped, p)?));
        let seconds = begin.elapsed().as_secs_f64() / stepped.len() as f64;
        report.run(json!({"side": "otava", "bound_for_rate": p, "seconds_per_series": seconds}));
    }
    for (side, bound, found) in &table {
        for kind in Kind::ALL {
            for size in SIZES {
                let part = recall(&stepped, found, |sample| sample.kind == kind && sample.size == size);
                report.run(json!({"side": side, "bound": bound, "kind": kind.name(), "size_in_spreads": size, "recall": part}));
            }
        }
    }
    let peer_found = table.get(1).map(|(_, _, found)| found);
    let ours_found = &table[0].2;
    let both = |report: &mut Report, name: String, keep: &dyn Fn(&Sample) -> bool, bound: bool| {
        let peer = peer_found.map(|found| 100.0 * recall(&stepped, found, keep));
        let bound = if bound && peer.is_some() { Bound::TimesPeer(1.0) } else { Bound::None };
        report.line(name, "%", 100.0 * recall(&stepped, ours_found, keep), peer, bound);
    };
    both(&mut report, "steps found at 1 false alarm in 10,000 points".to_owned(), &|_| true, true);
    for kind in Kind::ALL {
        both(&mut report, format!("  {}", kind.name()), &move |sample| sample.kind == kind, false);
    }
    for size in SIZES {
        both(&mut report, format!("  steps of {size} spreads"), &move |sample| sample.size == size, false);
    }
    let default_found = ours(&stepped, &Options::default());
    report.line("steps found with the default bound", "%", 100.0 * recall(&stepped, &default_found, |_| true), None, Bound::None);
    report.line("false alarms in 10,000 points, default bound", "", alarms as f64 / points as f64 / RATE, None, Bound::AtMost(1.0));
    let (seen, place) = fast(settings.seed, 400);
    report.line("3 % step in 1 % noise: found within 5 new values", "%", 100.0 * seen, None, Bound::None);
    report.line("  and at the right one of them (±1)", "%", 100.0 * place, None, Bound::None);
    let (alarms, watched, seconds) = growing(&nulls);
    report.line("alarms in 10,000 points while they arrive, looked at after each", "", alarms as f64 / watched as f64 / RATE, None, Bound::None);
    report.line("one more value", "µs", seconds * 1e6, None, Bound::None);
    report.finish(settings)
}

type Found = Vec<(usize, f64)>;

fn nulls(seed: u64, each: usize) -> Vec<Sample> {
    let mut random = Random::new(seed);
    let sample = |(kind, len): (Kind, usize), seed: u64| Sample { kind, values: stepped(kind, seed, len, 100.0, 0.01, &[]), steps: Vec::new(), size: 0.0 };
    Kind::ALL
        .iter()
        .flat_map(|kind| (0..each).map(|number| (*kind, [100, 200, 500][number % 3])).collect::<Vec<_>>())
        .map(|what| sample(what, random.bits()))
        .collect()
}

fn steps(seed: u64, each: usize) -> Vec<Sample> {
    let mut random = Random::new(seed ^ 0xbeef);
    let mut samples = Vec::new();
    for kind in Kind::ALL {
        for size in SIZES {
            for spacing in SPACINGS {
                for _ in 0..each.div_ceil(SPACINGS.len()) {
                    let mut at = 40 + random.below(20);
                    let mut steps = Vec::new();
                    for _ in 0..4 {
                        // Up and down by chance, so that levels come back or go on.
                        steps.push((at, if random.unit() < 0.5 { size * 0.01 } else { -size * 0.01 }));
                        at += spacing + random.below(spacing / 4);
                    }
                    let values = stepped(kind, random.bits(), at, 100.0, 0.01, &steps);
                    samples.push(Sample { kind, values, steps: steps.iter().map(|step| step.0).collect(), size });
                }
            }
        }
    }
    samples
}

/// The loosest bound, to a few percent, that keeps the rate.
fn threshold(nulls: &[Sample], find: &dyn Fn(Options) -> Vec<Found>, points: usize) -> f64 {
    let allowed = (points as f64 * RATE) as usize;
    let (mut low, mut high) = (1e-7_f64, 1e-2_f64);
    for _ in 0..12 {
        let middle = (low * high).sqrt();
        let alarms: usize = find(Options { false_alarms: middle, ..Options::default() }).iter().map(Vec::len).sum();
        if alarms <= allowed { low = middle } else { high = middle }
    }
    debug_assert!(nulls.iter().all(|sample| sample.steps.is_empty()));
    low
}

fn recall(samples: &[Sample], found: &[Found], keep: impl Fn(&Sample) -> bool) -> f64 {
    let (mut all, mut hit) = (0, 0);
    for (sample, found) in samples.iter().zip(found).filter(|(sample, _)| keep(sample)) {
        all += sample.steps.len();
        hit += sample.steps.iter().filter(|step| found.iter().any(|(at, _)| at.abs_diff(**step) <= NEAR)).count();
    }
    hit as f64 / f64::max(1.0, all as f64)
}

fn peer(venv: &Path, samples: &[Sample], p: f64) -> anyhow::Result<Vec<Found>> {
    let dir = scratch()?;
    let script = dir.path().join("peer.py");
    std::fs::write(&script, PEER)?;
    let mut child = Command::new(venv.join("bin/python")).arg(&script).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().context("start the peer")?;
    let mut input = child.stdin.take().context("the peer's input")?;
    let requests: Vec<String> = samples.iter().map(|sample| json!({"values": sample.values, "p": p, "window": 50}).to_string()).collect();
    let writer = std::thread::spawn(move || requests.iter().try_for_each(|request| writeln!(input, "{request}")));
    let output = child.wait_with_output()?;
    writer.join().map_err(|_| anyhow::anyhow!("the writer failed"))??;
    let text = String::from_utf8(output.stdout)?;
    let found: Vec<Found> = text
        .lines()
        .map(|line| Ok(serde_json::from_str::<Value>(line)?))
        .map(|value| value.and_then(|v| Ok(serde_json::from_value(v)?)))
        .collect::<anyhow::Result<_>>()?;
    if found.len() != samples.len() {
        bail!("the peer answered {} of {} series ({})", found.len(), samples.len(), output.status);
    }
    Ok(found)
}

/// A step of 3 % in noise of 1 %: the parts found when five values of the new level are there, and found at the right one or one beside it.
fn fast(seed: u64, series: u64) -> (f64, f64) {
    let (mut seen, mut placed) = (0_u64, 0_u64);
    for number in 0..series {
        let values = stepped(Kind::Gaussian, seed.wrapping_mul(1000) + number, 105, 100.0, 0.01, &[(100, 0.03)]);
        let found = detect(&values, &Options::default());
        let distance = found.change_points.iter().map(|point| point.index.abs_diff(100)).min();
        seen += u64::from(distance.is_some_and(|d| d <= NEAR));
        placed += u64::from(distance.is_some_and(|d| d <= 1));
    }
    (seen as f64 / series as f64, placed as f64 / series as f64)
}

/// Looks after every single value: how often anything new is reported.
fn growing(nulls: &[Sample]) -> (usize, usize, f64) {
    let (mut alarms, mut points) = (0, 0);
    let begin = Instant::now();
    for sample in nulls.iter().step_by(7) {
        let mut series = Series::new(Options::default());
        let mut known: Vec<usize> = Vec::new();
        for value in &sample.values {
            series.push(*value);
            for point in series.analysis().change_points {
                if !known.iter().any(|at| at.abs_diff(point.index) <= 10) {
                    known.push(point.index);
                    alarms += 1;
                }
            }
        }
        points += sample.values.len();
    }
    (alarms, points, begin.elapsed().as_secs_f64() / points as f64)
}
