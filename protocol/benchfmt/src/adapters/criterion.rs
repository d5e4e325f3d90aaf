//! Criterion: what `cargo bench` prints (one number a benchmark), what `cargo criterion` says line by line, and the files below `target/criterion` (both with
//! every sample).

use std::collections::BTreeMap;

use serde::Deserialize;

use super::sheet::{Sheet, name};
use super::{AdapterError, Converted};

fn wrong(error: serde_json::Error) -> AdapterError {
    AdapterError::Json { format: "criterion", error }
}

/// A number with a unit of Criterion as a value of this format. `None`: the unit is none of Criterion's.
fn measured(number: f64, unit: &str) -> Option<(f64, String)> {
    let scaled = |factor: f64, unit: &str| Some((number * factor, unit.to_owned()));
    match unit {
        "ps" => scaled(1e-3, "ns/op"),
        "ns" => scaled(1.0, "ns/op"),
        "µs" | "μs" | "us" => scaled(1e3, "ns/op"),
        "ms" => scaled(1e6, "ns/op"),
        "s" => scaled(1e9, "ns/op"),
        "cycles" => scaled(1.0, "cycles/op"),
        _ => {
            let rate = unit.strip_suffix("/s")?;
            let (prefix, base) = ["elem", "bits", "B", "b"].iter().find_map(|base| Some((rate.strip_suffix(base)?, *base)))?;
            let factor = match prefix {
                "" => 1.0,
                "K" | "k" => 1e3,
                "M" => 1e6,
                "G" => 1e9,
                "T" => 1e12,
                "Ki" => 1024.0,
                "Mi" => 1024.0 * 1024.0,
                "Gi" => 1024.0 * 1024.0 * 1024.0,
                "Ti" => 1024.0 * 1024.0 * 1024.0 * 1024.0,
                _ => return None,
            };
            scaled(factor, &format!("{base}/s"))
        }
    }
}

/// The line without colours, and without what a carriage return or an erased line took back.
fn plain(line: &str) -> String {
    let mut text = String::with_capacity(line.len());
    let mut chars = line.trim_end_matches('\r').chars();
    while let Some(c) = chars.next() {
        match c {
            '\r' => text.clear(),
            '\u{1b}' => {
                if chars.next() == Some('[') && chars.by_ref().find(|c| c.is_ascii_alphabetic()) == Some('K') {
                    text.clear();
                }
            }
            c => text.push(c),
        }
    }
    text
}

/// `WORD [LOW UNIT MIDDLE UNIT HIGH UNIT]` behind a name: the name, and the middle with its unit.
fn estimate<'l>(line: &'l str, word: &str) -> Option<(&'l str, f64, &'l str)> {
    let (before, rest) = line.split_once(word)?;
    let inner = rest.trim_start().strip_prefix('[')?.split_once(']')?.0;
    let mut words = inner.split_whitespace();
    let (_, _, middle, unit, _, _) = (words.next()?, words.next()?, words.next()?, words.next()?, words.next()?, words.next()?);
    Some((before.trim(), middle.parse().ok()?, unit))
}

/// Whether a line is an estimate of a time, which is what this output is known by.
pub(super) fn is_estimate(line: &[u8]) -> bool {
    memchr::memmem::find(line, b"time:").is_some() && estimate(&plain(&String::from_utf8_lossy(line)), "time:").is_some()
}

pub(super) fn text(report: &[u8], out: &mut Vec<u8>) -> Converted {
    let mut sheet = Sheet::new(out);
    let report = String::from_utf8_lossy(report);
    // A long name has a line of its own.
    let mut before = String::new();
    let mut open: Option<(String, Vec<(f64, String)>)> = None;
    for line in report.split('\n').map(plain) {
        if let Some((found, middle, unit)) = estimate(&line, "time:") {
            if let Some((full, values)) = open.take() {
                sheet.result(&full, 1, &values);
            }
            let full = name(if found.is_empty() { &before } else { found });
            open = Some((full, measured(middle, unit).into_iter().collect()));
        } else if let (Some((_, values)), Some((_, middle, unit))) = (&mut open, estimate(&line, "thrpt:")) {
            // The comparison with the run before has a rate as well, in percent.
            if values.len() == 1 {
                values.extend(measured(middle, unit));
            }
        } else if !line.trim().is_empty() && !line.starts_with(char::is_whitespace) {
            before = line.trim().to_owned();
        }
    }
    if let Some((full, values)) = open {
        sheet.result(&full, 1, &values);
    }
    sheet.finish()
}

#[derive(Deserialize)]
struct Message {
    reason: String,
    #[serde(default)]
    id: String,
    #[serde(default)]
    iteration_count: Vec<f64>,
    #[serde(default)]
    measured_values: Vec<f64>,
    #[serde(default)]
    unit: String,
    #[serde(default)]
    throughput: Vec<PerIteration>,
}

#[derive(Deserialize)]
struct PerIteration {
    per_iteration: f64,
    unit: String,
}

pub(super) fn messages(report: &[u8], out: &mut Vec<u8>) -> Result<Converted, AdapterError> {
    let mut sheet = Sheet::new(out);
    for line in report.split(|byte| *byte == b'\n').filter(|line| line.trim_ascii_start().starts_with(b"{")) {
        let message: Message = serde_json::from_slice(line).map_err(wrong)?;
        if message.reason != "benchmark-complete" {
            continue;
        }
        let rates: Vec<(f64, &str)> = message.throughput.iter().map(|rate| (rate.per_iteration, rate.unit.as_str())).collect();
        samples(&mut sheet, &name(&message.id), &message.iteration_count, &message.measured_values, &message.unit, &rates);
    }
    Ok(sheet.finish())
}

/// A line for each sample: `total` is the time of `iterations`.
fn samples(sheet: &mut Sheet<'_>, full: &str, iterations: &[f64], totals: &[f64], unit: &str, rates: &[(f64, &str)]) {
    if iterations.is_empty() || totals.is_empty() {
        sheet.left_out();
    }
    for (count, total) in iterations.iter().zip(totals) {
        let count = if *count > 0.0 { *count } else { 1.0 };
        let Some((time, unit)) = measured(total / count, unit) else {
            sheet.left_out();
            continue;
        };
        let mut values = Vec::new();
        if unit == "ns/op" && time > 0.0 {
            for (amount, of) in rates {
                let unit = match *of {
                    "bytes" | "Bytes" | "BytesDecimal" => "B/s",
                    "bits" | "Bits" => "bits/s",
                    _ => "elem/s",
                };
                values.push((amount * 1e9 / time, unit.to_owned()));
            }
        }
        values.insert(0, (time, unit));
        sheet.result(full, count as i64, &values);
    }
}

/// A file below `target/criterion`.
#[derive(Clone, Copy, Debug)]
pub struct CriterionFile<'a> {
    /// Its path from there, with `/`: `sort/10/new/sample.json`.
    pub path: &'a str,
    /// What is in it.
    pub content: &'a [u8],
}

#[derive(Deserialize)]
struct Benchmark {
    full_id: String,
    #[serde(default)]
    throughput: Option<serde_json::Value>,
}

#[derive(Deserialize)]
struct Sample {
    iters: Vec<f64>,
    times: Vec<f64>,
}

#[derive(Deserialize)]
struct Estimates {
    #[serde(default)]
    slope: Option<Estimate>,
    mean: Estimate,
}

#[derive(Deserialize)]
struct Estimate {
    point_estimate: f64,
}

/// Writes the files that Criterion leaves below `target/criterion` as benchmark text: of each `…/new` folder `sample.json` (every sample a line) or, without
/// it, `estimates.json` (one number); `benchmark.json` has the name. Other files may be given as well and are left alone.
///
/// # Errors
/// A file is not what it should be by its name, or there is no result.
pub fn criterion_folder(files: &[CriterionFile<'_>], out: &mut Vec<u8>) -> Result<Converted, AdapterError> {
    let mut folders: BTreeMap<&str, [Option<&[u8]>; 3]> = BTreeMap::new();
    for file in files {
        let Some((folder, found)) = file.path.rsplit_once('/') else { continue };
        let Some(folder) = folder.strip_suffix("/new") else { continue };
        let Some(at) = ["benchmark.json", "sample.json", "estimates.json"].iter().position(|known| *known == found) else { continue };
        if let Some(place) = folders.entry(folder).or_default().get_mut(at) {
            *place = Some(file.content);
        }
    }
    let before = out.len();
    let mut sheet = Sheet::new(out);
    let mut done = Ok(());
    for (folder, found) in folders {
        done = one_folder(&mut sheet, folder, found);
        if done.is_err() {
            break;
        }
    }
    let converted = sheet.finish();
    let converted = match done {
        Err(error) => Err(error),
        Ok(()) if converted.lines == 0 => Err(AdapterError::Empty { format: "criterion" }),
        Ok(()) => Ok(converted),
    };
    if converted.is_err() {
        out.truncate(before);
    }
    converted
}

fn one_folder(sheet: &mut Sheet<'_>, folder: &str, [benchmark, sample, estimates]: [Option<&[u8]>; 3]) -> Result<(), AdapterError> {
    let benchmark: Option<Benchmark> = benchmark.map(serde_json::from_slice).transpose().map_err(wrong)?;
    let full = name(benchmark.as_ref().map_or(folder, |benchmark| &benchmark.full_id));
    let mut rates = Vec::new();
    if let Some(serde_json::Value::Object(throughput)) = benchmark.as_ref().and_then(|benchmark| benchmark.throughput.as_ref()) {
        rates.extend(throughput.iter().filter_map(|(of, amount)| Some((amount.as_f64()?, of.as_str()))));
    }
    if let Some(sample) = sample {
        let sample: Sample = serde_json::from_slice(sample).map_err(wrong)?;
        samples(sheet, &full, &sample.iters, &sample.times, "ns", &rates);
    } else if let Some(estimates) = estimates {
        let estimates: Estimates = serde_json::from_slice(estimates).map_err(wrong)?;
        let estimate = estimates.slope.unwrap_or(estimates.mean).point_estimate;
        samples(sheet, &full, &[1.0], &[estimate], "ns", &rates);
    }
    Ok(())
}
