//! Google Benchmark (`--benchmark_format=json`): every repetition is a line; the aggregates that it also prints are left out.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::sheet::{Sheet, name, unit};
use super::{AdapterError, Converted};

#[derive(Deserialize)]
struct Report {
    #[serde(default)]
    context: BTreeMap<String, Value>,
    benchmarks: Vec<BTreeMap<String, Value>>,
}

/// Keys of a benchmark that are no counters.
const OWN: [&str; 12] = [
    "family_index",
    "per_family_instance_index",
    "repetitions",
    "repetition_index",
    "threads",
    "iterations",
    "real_time",
    "cpu_time",
    "bytes_per_second",
    "items_per_second",
    "allocs_per_iter",
    "max_bytes_used",
];

pub(super) fn convert(report: &[u8], out: &mut Vec<u8>) -> Result<Converted, AdapterError> {
    let report: Report = serde_json::from_slice(report).map_err(|error| AdapterError::Json { format: "google", error })?;
    let mut sheet = Sheet::new(out);
    // What is another at the next run (date, load, clock rate, the folder of the executable) would make that run incomparable.
    let context = |key: &str| report.context.get(key).map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned));
    for (key, from) in [("host", "host_name"), ("cpus", "num_cpus"), ("build-type", "library_build_type")] {
        sheet.config(key, &context(from).unwrap_or_default());
    }
    if let Some(executable) = context("executable") {
        sheet.config("pkg", executable.rsplit(['/', '\\']).next().unwrap_or_default());
    }
    for benchmark in &report.benchmarks {
        let text = |key: &str| benchmark.get(key).and_then(Value::as_str);
        let number = |key: &str| benchmark.get(key).and_then(Value::as_f64);
        if text("run_type") == Some("aggregate") {
            continue;
        }
        let failed = benchmark.get("error_occurred").and_then(Value::as_bool) == Some(true) || benchmark.get("skipped").and_then(Value::as_bool) == Some(true);
        let Some(run_name) = text("run_name").or(text("name")).filter(|_| !failed) else {
            sheet.left_out();
            continue;
        };
        let scale = match text("time_unit") {
            Some("us") => 1e3,
            Some("ms") => 1e6,
            Some("s") => 1e9,
            _ => 1.0,
        };
        let mut values = Vec::new();
        values.extend(number("real_time").map(|time| (time * scale, "ns/op".to_owned())));
        values.extend(number("cpu_time").map(|time| (time * scale, "cpu-ns/op".to_owned())));
        values.extend(number("bytes_per_second").map(|rate| (rate, "B/s".to_owned())));
        values.extend(number("items_per_second").map(|rate| (rate, "items/s".to_owned())));
        values.extend(number("allocs_per_iter").map(|count| (count, "allocs/op".to_owned())));
        values.extend(number("max_bytes_used").map(|bytes| (bytes, "peak-heap-bytes".to_owned())));
        let counters = benchmark.iter().filter(|(key, _)| !OWN.contains(&key.as_str()));
        values.extend(counters.filter_map(|(key, value)| Some((value.as_f64()?, unit(key)))).filter(|(_, unit)| !unit.is_empty()));
        let iterations = benchmark.get("iterations").and_then(Value::as_i64).unwrap_or(1);
        sheet.result(&parts(run_name), iterations, &values);
    }
    Ok(sheet.finish())
}

/// `BM_Sort<int>/n:8/repeats:3/threads:2` as `Sort<int>/n=8/threads=2`.
fn parts(run_name: &str) -> String {
    let plain = run_name.strip_prefix("BM_").unwrap_or(run_name);
    let mut parts = plain.split('/');
    let mut full = name(parts.next().unwrap_or_default());
    // How often it was repeated is no property of what was measured.
    for part in parts.filter(|part| !part.starts_with("repeats:")) {
        full.push('/');
        match part.split_once(':') {
            // `::` is C++.
            Some((key, value)) if !key.is_empty() && !value.starts_with(':') => full.push_str(&format!("{}={}", unit(key), unit(value))),
            _ => full.push_str(&unit(part)),
        }
    }
    full
}
