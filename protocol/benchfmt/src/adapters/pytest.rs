//! pytest-benchmark (`--benchmark-json`): every round is a line if the rounds are in it (`--benchmark-save-data`), otherwise the median is.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::sheet::{Sheet, name, part};
use super::{AdapterError, Converted};

#[derive(Deserialize)]
struct Report {
    #[serde(default)]
    machine_info: Value,
    benchmarks: Vec<Benchmark>,
}

#[derive(Deserialize)]
struct Benchmark {
    name: String,
    #[serde(default)]
    fullname: Option<String>,
    #[serde(default)]
    params: Option<BTreeMap<String, Value>>,
    stats: Option<Stats>,
}

#[derive(Deserialize)]
struct Stats {
    #[serde(default)]
    data: Option<Vec<f64>>,
    #[serde(default)]
    median: Option<f64>,
    #[serde(default)]
    mean: Option<f64>,
    #[serde(default)]
    iterations: Option<i64>,
}

pub(super) fn convert(report: &[u8], out: &mut Vec<u8>) -> Result<Converted, AdapterError> {
    let report: Report = serde_json::from_slice(report).map_err(|error| AdapterError::Json { format: "pytest", error })?;
    let mut sheet = Sheet::new(out);
    let machine = |pointer: &str| report.machine_info.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    for (key, pointer) in [("os", "/system"), ("arch", "/machine"), ("cpu", "/cpu/brand_raw"), ("python", "/python_version"), ("host", "/node")] {
        sheet.config(key, machine(pointer));
    }
    for benchmark in &report.benchmarks {
        let module = benchmark.fullname.as_deref().and_then(|full| full.split_once("::")).map_or("", |(module, _)| module);
        sheet.config("pkg", module);
        let full = full_name(benchmark);
        let Some(stats) = &benchmark.stats else {
            sheet.left_out();
            continue;
        };
        let rounds = match &stats.data {
            Some(data) if !data.is_empty() => data.as_slice(),
            _ => stats.median.as_ref().or(stats.mean.as_ref()).map_or(&[][..], std::slice::from_ref),
        };
        if rounds.is_empty() {
            sheet.left_out();
        }
        for seconds in rounds {
            sheet.result(&full, stats.iterations.unwrap_or(1), &[(*seconds, "sec/op".to_owned())]);
        }
    }
    Ok(sheet.finish())
}

/// `test_sort[10-quick]` with params `n: 10, how: quick` as `Sort/how=quick/n=10`; without params as `Sort/10-quick`.
fn full_name(benchmark: &Benchmark) -> String {
    let plain = benchmark.name.strip_prefix("test_").unwrap_or(&benchmark.name);
    let (base, brackets) = plain.strip_suffix(']').and_then(|plain| plain.split_once('[')).map_or((plain, None), |(base, inner)| (base, Some(inner)));
    let mut full = name(&part(base));
    match (&benchmark.params, brackets) {
        (Some(params), _) if !params.is_empty() => {
            for (key, value) in params {
                let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                full.push_str(&format!("/{}={}", part(key), part(&value)));
            }
        }
        (_, Some(inner)) => full.push_str(&format!("/{}", part(inner))),
        _ => {}
    }
    full
}
