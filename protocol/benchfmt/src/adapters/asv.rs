//! airspeed velocity: a file below `results/MACHINE/`. Units are told by the prefix of a benchmark's name, as asv does unless it is told otherwise.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::sheet::{Sheet, name, part};
use super::{AdapterError, Converted};

#[derive(Deserialize)]
struct Report {
    #[serde(default)]
    params: BTreeMap<String, Value>,
    result_columns: Vec<String>,
    results: BTreeMap<String, Vec<Value>>,
}

pub(super) fn convert(report: &[u8], out: &mut Vec<u8>) -> Result<Converted, AdapterError> {
    let report: Report = serde_json::from_slice(report).map_err(|error| AdapterError::Json { format: "asv", error })?;
    let mut sheet = Sheet::new(out);
    for (key, from) in [("os", "os"), ("arch", "arch"), ("cpu", "cpu"), ("host", "machine"), ("python", "python")] {
        sheet.config(key, report.params.get(from).and_then(Value::as_str).unwrap_or_default());
    }
    for (full, row) in &report.results {
        let column = |name: &str| report.result_columns.iter().position(|known| known == name).and_then(|at| row.get(at));
        let (Some(results), params) = (column("result").and_then(Value::as_array), column("params").and_then(Value::as_array)) else {
            sheet.left_out();
            continue;
        };
        let (base, unit) = base_and_unit(full);
        let params: Vec<&[Value]> = params.into_iter().flatten().filter_map(Value::as_array).map(Vec::as_slice).collect();
        let all = |name: &str| column(name).and_then(Value::as_array);
        for (at, result) in results.iter().enumerate() {
            let name = format!("{base}{}", parts(&params, at));
            let samples: Vec<f64> = match all("samples").and_then(|samples| samples.get(at)).and_then(Value::as_array) {
                Some(samples) if !samples.is_empty() => samples.iter().filter_map(Value::as_f64).collect(),
                _ => result.as_f64().into_iter().collect(),
            };
            if samples.is_empty() {
                sheet.left_out();
            }
            let iters = all("number").and_then(|number| number.get(at)).and_then(Value::as_i64).unwrap_or(1);
            for sample in samples {
                sheet.result(&name, iters, &[(sample, unit.to_owned())]);
            }
        }
    }
    Ok(sheet.finish())
}

/// `module.Class.time_sort` is `Module.Class.sort` in seconds.
fn base_and_unit(full: &str) -> (String, &'static str) {
    let (path, last) = full.rsplit_once('.').map_or(("", full), |(path, last)| (path, last));
    let prefixes = [("timeraw_", "sec/op"), ("time_", "sec/op"), ("peakmem_", "peak-RSS-bytes"), ("mem_", "bytes"), ("track_", "value")];
    let known = prefixes.iter().find_map(|(prefix, unit)| Some((last.strip_prefix(prefix)?, *unit)));
    let (last, unit) = known.unwrap_or((last, "value"));
    (name(&part(&if path.is_empty() { last.to_owned() } else { format!("{path}.{last}") })), unit)
}

/// The values of the `at`-th combination of parameters; the last one varies fastest.
fn parts(params: &[&[Value]], mut at: usize) -> String {
    let mut parts = Vec::new();
    for values in params.iter().rev() {
        let count = values.len().max(1);
        let value = values.get(at % count).map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned)).unwrap_or_default();
        parts.push(format!("/{}", part(value.trim_matches(['\'', '"']))));
        at /= count;
    }
    parts.into_iter().rev().collect()
}
