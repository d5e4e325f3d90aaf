//! hyperfine (`--export-json`): every run of a command is a line.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::sheet::{Sheet, name, part};
use super::{AdapterError, Converted};

#[derive(Deserialize)]
struct Report {
    results: Vec<Command>,
}

#[derive(Deserialize)]
struct Command {
    command: String,
    #[serde(default)]
    times: Option<Vec<f64>>,
    #[serde(default)]
    memory_usage_byte: Option<Vec<f64>>,
    #[serde(default)]
    mean: Option<f64>,
    #[serde(default)]
    median: Option<f64>,
    #[serde(default)]
    user: Option<f64>,
    #[serde(default)]
    system: Option<f64>,
    #[serde(default)]
    parameters: BTreeMap<String, serde_json::Value>,
}

pub(super) fn convert(report: &[u8], out: &mut Vec<u8>) -> Result<Converted, AdapterError> {
    let report: Report = serde_json::from_slice(report).map_err(|error| AdapterError::Json { format: "hyperfine", error })?;
    let mut sheet = Sheet::new(out);
    for command in &report.results {
        let mut full = name(&part(&command.command));
        for (key, value) in &command.parameters {
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            full.push_str(&format!("/{}={}", part(key), part(&value)));
        }
        let times = match &command.times {
            Some(times) if !times.is_empty() => times.as_slice(),
            _ => command.median.as_ref().or(command.mean.as_ref()).map_or(&[][..], std::slice::from_ref),
        };
        if times.is_empty() {
            sheet.left_out();
        }
        for (at, time) in times.iter().enumerate() {
            let mut values = vec![(*time, "sec/op".to_owned())];
            values.extend(command.memory_usage_byte.as_ref().and_then(|all| all.get(at)).map(|bytes| (*bytes, "peak-RSS-bytes".to_owned())));
            // The report has one number for all runs of these.
            if at == 0 {
                values.extend(command.user.map(|time| (time, "user-sec/op".to_owned())));
                values.extend(command.system.map(|time| (time, "sys-sec/op".to_owned())));
            }
            sheet.result(&full, 1, &values);
        }
    }
    Ok(sheet.finish())
}
