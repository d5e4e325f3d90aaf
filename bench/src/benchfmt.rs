//! Reading benchmark text from memory with one thread: 200 MB of results as `go test -bench` prints them, in files of 54 lines; beside the Go project's reader
//! over the same bytes.

use std::fmt::Write as _;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context as _, bail};
use protocol_benchfmt::store::{self, Labels};
use protocol_benchfmt::{Reader, Record};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::json;

use crate::report::{Bound, Report, median};
use crate::settings::{Settings, scratch};

/// What the reference's reader was once measured to read on the machine that the requirement was made for.
const RECORDED: f64 = 217.0;

/// Measures.
///
/// # Errors
/// The peer fails, or reads other results.
pub(crate) fn run(settings: &Settings) -> anyhow::Result<()> {
    let mut report = Report::new("benchfmt");
    let text = text(settings.seed, settings.load.unwrap_or(200) * 1_000_000);
    let megabytes = text.len() as f64 / 1e6;
    let (mut rates, mut loose) = (Vec::new(), Vec::new());
    let mut results = 0;
    for _ in 0..settings.runs(5) {
        let begin = Instant::now();
        let mut reader = Reader::new(&text, "generated");
        let mut sum = 0.0;
        results = 0;
        while let Some(record) = reader.next() {
            if let Record::Result(result) = record {
                results += 1;
                sum += result.values.iter().map(|value| value.value).sum::<f64>();
            }
        }
        rates.push(megabytes / begin.elapsed().as_secs_f64());
        let begin = Instant::now();
        let (mut stored, mut count) = (store::Reader::new(Labels::new()), 0);
        for piece in text.chunks(1 << 16) {
            stored.push(piece, &mut |record| count += u64::from(matches!(record, store::Record::Result(_))));
        }
        loose.push(megabytes / begin.elapsed().as_secs_f64());
        if count != results {
            bail!("the store's reader found {count} results, the other one {results}");
        }
        report.run(json!({"side": "burrow", "mb": megabytes, "results": results, "sum": sum, "mb_per_s": rates.last(), "store_mb_per_s": loose.last()}));
    }
    let mut peer = RECORDED;
    if let Some(program) = settings.go_perf("benchread") {
        let directory = scratch()?;
        let file = directory.path().join("results.txt");
        std::fs::write(&file, &text)?;
        let output = Command::new(program).arg(&file).arg(settings.runs(5).to_string()).output()?;
        let said: serde_json::Value = serde_json::from_slice(&output.stdout).context("benchread prints JSON")?;
        if said["results"].as_u64() != Some(results) {
            bail!("the reference found other results: {said}, not {results}");
        }
        let found: Vec<f64> = said["mb_per_s"].as_array().into_iter().flatten().filter_map(serde_json::Value::as_f64).collect();
        peer = median(&found);
        report.run(json!({"side": "go", "mb_per_s": found}));
    }
    report.line("read benchmark text, one thread", "MB/s", median(&rates), Some(peer), Bound::AtLeast(800.0));
    report.line("read as the store does, one thread", "MB/s", median(&loose), None, Bound::None);
    report.finish(settings)
}

/// So many bytes of results.
fn text(seed: u64, size: usize) -> Vec<u8> {
    let mut random = StdRng::seed_from_u64(seed);
    let mut text = String::with_capacity(size + 10_000);
    let mut package = 0;
    while text.len() < size {
        // Writing to a string cannot fail.
        let _ = write!(text, "goos: linux\ngoarch: amd64\npkg: example.com/project/package{package}\ncpu: Example CPU @ 2.60GHz\n");
        for benchmark in 0..50 {
            let name = format!("BenchmarkOperation{}/size={}/kind=quick-8", benchmark % 10, 1 << (benchmark % 12));
            let nanoseconds = random.random_range(0..1_000_000u32);
            // `testing` prints small numbers with decimals.
            let decimals = usize::from(nanoseconds < 1000);
            let _ = writeln!(
                text,
                "{name:<45}\t{:8}\t{:>10.decimals$} ns/op\t{:7.2} MB/s\t{:8} B/op\t{:8} allocs/op",
                random.random_range(1..1_000_000u32),
                f64::from(nanoseconds) / if decimals == 1 { 3.0 } else { 1.0 },
                f64::from(random.random_range(0..1_000_000u32)) / 100.0,
                random.random_range(0..65_536u32),
                random.random_range(0..100u32),
            );
        }
        let _ = write!(text, "PASS\nok  \texample.com/project/package{package}\t1.234s\n");
        package += 1;
    }
    text.into_bytes()
}
