//! `burrow benchstat` on 100 MB in two files, beside the Go project's benchstat: three shapes of the same size, and the outputs must be the same bytes.

use std::io::{BufWriter, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, ensure};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::json;

use crate::procfs::Cpu;
use crate::report::{Bound, Report, median};
use crate::settings::{Settings, scratch};

/// Benchmarks and repetitions: a million result lines with three measurements each.
const SHAPES: [(&str, usize, usize); 3] =
    [("50,000 benchmarks × 10", 50_000, 10), ("25,000 benchmarks × 20", 25_000, 20), ("500 benchmarks × 1,000", 500, 1_000)];

/// Measures.
///
/// # Errors
/// A program fails, or the outputs differ.
pub(crate) fn run(settings: &Settings) -> anyhow::Result<()> {
    let mut report = Report::new("benchstat");
    let peer = settings.go_perf("benchstat");
    let burrow = settings.burrow()?;
    let part = if settings.load == Some(0) { 50 } else { 1 };
    for (name, benchmarks, count) in SHAPES {
        let dir = scratch()?;
        let mut bytes = 0;
        for (number, file) in ["old.txt", "new.txt"].into_iter().enumerate() {
            write(&dir.path().join(file), benchmarks / part, count, settings.seed + number as u64, 1.0 + number as f64 / 100.0)?;
            bytes += dir.path().join(file).metadata()?.len();
        }
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for run in 0..settings.runs(5) {
            let (seconds, cpu, output) = measure(Command::new(&burrow).arg("benchstat"), dir.path())?;
            report.run(json!({"side": "burrow", "shape": name, "bytes": bytes, "seconds": seconds, "cpu": cpu}));
            ours.push((seconds, cpu));
            if let Some(peer) = &peer {
                let (seconds, cpu, expected) = measure(&mut Command::new(peer), dir.path())?;
                report.run(json!({"side": "go", "shape": name, "bytes": bytes, "seconds": seconds, "cpu": cpu}));
                theirs.push((seconds, cpu));
                ensure!(run > 0 || output == expected, "the outputs differ: {name}");
            }
        }
        let wall = |runs: &[(f64, f64)]| median(&runs.iter().map(|run| run.0).collect::<Vec<_>>());
        let cpu = |runs: &[(f64, f64)]| median(&runs.iter().map(|run| run.1).collect::<Vec<_>>());
        let megabytes = bytes as f64 / 1e6;
        report.line(
            format!("{name}: {megabytes:.0} MB"),
            "MB/s",
            megabytes / wall(&ours),
            (!theirs.is_empty()).then(|| megabytes / wall(&theirs)),
            Bound::TimesPeer(10.0),
        );
        report.line(format!("{name}: CPU"), "s", cpu(&ours), (!theirs.is_empty()).then(|| cpu(&theirs)), Bound::None);
    }
    report.finish(settings)
}

/// Wall seconds, CPU seconds, output.
fn measure(command: &mut Command, dir: &Path) -> anyhow::Result<(f64, f64, Vec<u8>)> {
    let own = std::process::id();
    let (before, start) = (Cpu::of(own).children, Instant::now());
    let output = command.args(["old.txt", "new.txt"]).current_dir(dir).stdin(Stdio::null()).output().context("cannot start benchstat")?;
    let seconds = start.elapsed().as_secs_f64();
    ensure!(output.status.success(), "benchstat failed: {}", String::from_utf8_lossy(&output.stderr));
    Ok((seconds, Cpu::of(own).children - before, output.stdout))
}

/// Lines as `go test -bench . -benchmem -count N` prints them.
fn write(path: &Path, benchmarks: usize, count: usize, seed: u64, shift: f64) -> anyhow::Result<()> {
    let mut random = StdRng::seed_from_u64(seed);
    let mut out = BufWriter::new(std::fs::File::create(path)?);
    out.write_all(b"goos: linux\ngoarch: amd64\npkg: example.org/big\ncpu: Some CPU @ 3.00GHz\n")?;
    for i in 0..benchmarks {
        let name = format!("BenchmarkPackage{}Method{}/size={}-8", i / 50, i % 50, 1 << (i % 12));
        let base = 50.0 * (1 + i % 997) as f64 * shift;
        for _ in 0..count {
            let noise = 1.0 + (random.random::<f64>() + random.random::<f64>() - 1.0) * 0.04;
            let (iterations, bytes, allocations) = (random.random_range(1_000..900_000), 16 * (i % 64), i % 7);
            writeln!(out, "{name:<49}\t {iterations:8}\t {:10.1} ns/op\t {bytes:8} B/op\t {allocations:8} allocs/op", base * noise)?;
        }
    }
    out.flush()?;
    // Programs are compared here, and not how the disk takes what was just written.
    Ok(out.get_ref().sync_all()?)
}
