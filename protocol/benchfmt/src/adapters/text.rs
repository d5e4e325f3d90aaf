//! The benchmark format itself, and telling formats apart.

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::{Converted, Format, criterion};
use crate::reader::Reader;
use crate::record::Record;
use crate::text::{config_line, split};

/// Copies what means something in the benchmark format: configuration, unit metadata, results. The rest of a log stays behind.
pub(super) fn benchmark(report: &[u8], out: &mut Vec<u8>) -> Converted {
    let mut converted = Converted::default();
    let begin = out.len();
    for line in report.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line)) {
        let result = line.starts_with(b"Benchmark") && is_result(line);
        if result || line.is_empty() || config_line(line).is_some() || split(line).0 == b"Unit" {
            // Empty lines only part blocks.
            if line.is_empty() && (out.len() == begin || out.ends_with(b"\n\n")) {
                continue;
            }
            out.extend_from_slice(line);
            out.push(b'\n');
        }
        converted.lines += usize::from(result);
    }
    if out.len() > begin && out.ends_with(b"\n\n") {
        out.pop();
    }
    converted
}

fn is_result(line: &[u8]) -> bool {
    matches!(Reader::new(line, "").next(), Some(Record::Result(_)))
}

/// The keys that reports are told apart by.
#[derive(Deserialize)]
struct Keys {
    benchmarks: Option<IgnoredAny>,
    machine_info: Option<IgnoredAny>,
    context: Option<IgnoredAny>,
    results: Option<IgnoredAny>,
    result_columns: Option<IgnoredAny>,
    reason: Option<IgnoredAny>,
}

pub(super) fn detect(report: &[u8]) -> Option<Format> {
    let start = report.trim_ascii_start();
    if start.starts_with(b"{") {
        let line = start.split(|byte| *byte == b'\n').next().unwrap_or_default();
        // One message a line is no JSON as a whole.
        let keys = serde_json::from_slice::<Keys>(start).or_else(|_| serde_json::from_slice::<Keys>(line)).ok()?;
        return match keys {
            Keys { reason: Some(_), .. } => Some(Format::CriterionMessages),
            Keys { benchmarks: Some(_), machine_info: Some(_), .. } => Some(Format::PytestBenchmark),
            Keys { benchmarks: Some(_), context: Some(_), .. } => Some(Format::GoogleBenchmark),
            Keys { results: Some(_), result_columns: Some(_), .. } => Some(Format::Asv),
            Keys { results: Some(_), .. } => Some(Format::Hyperfine),
            _ => None,
        };
    }
    let mut lines = report.split(|byte| *byte == b'\n');
    // Criterion says "Benchmarking …" as well: its estimates are looked for first.
    lines.find_map(|line| {
        if criterion::is_estimate(line) {
            Some(Format::CriterionText)
        } else if line.starts_with(b"Benchmark") && is_result(line.strip_suffix(b"\r").unwrap_or(line)) {
            Some(Format::Benchmark)
        } else {
            None
        }
    })
}
