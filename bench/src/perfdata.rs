//! The store of benchmark results: an upload of a million result lines, beside the Go project's store; and searches by three labels over a million and over ten
//! million result lines.

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context as _, ensure};
use burrow_clock::SystemClock;
use burrow_perfstore::{Begin, Options, PerfStore};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::json;

use crate::http::Connection;
use crate::procfs::{Cpu, memory_kb};
use crate::report::{Bound, Report, median, quantile};
use crate::settings::{Settings, scratch};

/// Result lines of the upload.
const LINES: usize = 1_000_000;
/// Benchmarks, and runs of each, in an upload of the searches.
const BENCHMARKS: usize = 100;
const RUNS: usize = 10;
/// Machines that build each commit.
const BUILDERS: usize = 10;
/// Questions of the searches.
const QUESTIONS: usize = 1_000;

/// Measures. `--load N`: N thousand lines instead of a million, and no ten million.
///
/// # Errors
/// A server does not start, or refuses.
pub(crate) fn run(settings: &Settings) -> anyhow::Result<()> {
    let mut report = Report::new("perfdata");
    let lines = settings.load.map_or(LINES, |thousands| thousands * 1_000);
    for (what, together) in [("runs together", true), ("runs apart", false)] {
        upload(settings, lines, what, together, &mut report)?;
    }
    let scales = if settings.load.is_some() { vec![lines] } else { vec![LINES, 10 * LINES] };
    for scale in scales {
        search(settings, scale, &mut report)?;
    }
    report.finish(settings)
}

/// The same bytes to both. `together`: the runs of a benchmark follow one another and are one record; else each line is a record.
fn upload(settings: &Settings, lines: usize, what: &str, together: bool, report: &mut Report) -> anyhow::Result<()> {
    let body = body(lines, settings.seed, together);
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for run in 0..settings.runs(3) {
        let dir = scratch()?;
        let mut server = Server::ours(settings, dir.path())?;
        let (seconds, cpu, memory) = server.upload(&body)?;
        report.run(json!({"side": "burrow", "upload": lines, "together": together, "seconds": seconds, "cpu": cpu, "peak_mib": memory}));
        ours.push((seconds, cpu, memory));
        // The peer takes minutes where each line is a record.
        if let Some(program) = settings.go_perfdata().filter(|_| together || run == 0) {
            let dir = scratch()?;
            let mut server = Server::go(program, dir.path())?;
            let (seconds, cpu, memory) = server.upload(&body)?;
            report.run(json!({"side": "go", "upload": lines, "together": together, "seconds": seconds, "cpu": cpu, "peak_mib": memory}));
            theirs.push((seconds, cpu, memory));
        }
    }
    let of = |runs: &[(f64, f64, f64)], take: fn(&(f64, f64, f64)) -> f64| median(&runs.iter().map(take).collect::<Vec<_>>());
    let peer = |take| (!theirs.is_empty()).then(|| of(&theirs, take));
    let per_second = |seconds: f64| lines as f64 / seconds;
    let bound = if theirs.is_empty() { Bound::None } else { Bound::TimesPeer(10.0) };
    report.line(
        format!("upload of {lines} lines, {what}"),
        "lines/s",
        per_second(of(&ours, |run| run.0)),
        peer(|run: &(f64, f64, f64)| run.0).map(per_second),
        bound,
    );
    report.line("the same, CPU", "s", of(&ours, |run| run.1), peer(|run: &(f64, f64, f64)| run.1), Bound::None);
    report.line("the same, peak memory", "MiB", of(&ours, |run| run.2), peer(|run: &(f64, f64, f64)| run.2), Bound::None);
    Ok(())
}

/// A program that serves.
struct Server {
    child: Child,
    address: String,
}

impl Drop for Server {
    fn drop(&mut self) {
        // It has nothing to lose: its folder goes, too.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Server {
    fn ours(settings: &Settings, dir: &Path) -> anyhow::Result<Server> {
        let mut child = Command::new(settings.burrow()?)
            .args(["perfdata", "--listen", "127.0.0.1:0", "--data"])
            .arg(dir)
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()?;
        let mut said = BufReader::new(child.stderr.take().context("stderr")?);
        let mut line = String::new();
        while said.read_line(&mut line)? > 0 {
            if let Some(address) = line.split("http://").nth(1).and_then(|rest| rest.split('/').next()) {
                let address = address.to_owned();
                std::thread::spawn(move || std::io::copy(&mut said, &mut std::io::sink()));
                return Ok(Server { child, address });
            }
            line.clear();
        }
        anyhow::bail!("burrow perfdata said no address")
    }

    fn go(program: &Path, dir: &Path) -> anyhow::Result<Server> {
        let address = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string();
        let child = Command::new(program)
            .args(["-addr", &address, "-base_dir", "/"])
            .arg("-dsn")
            .arg(dir.join("perfdata.db"))
            .arg("-data")
            .arg(dir)
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let server = Server { child, address };
        let begin = Instant::now();
        while TcpStream::connect(&server.address).is_err() {
            ensure!(begin.elapsed().as_secs() < 20, "{} does not listen", program.display());
            std::thread::yield_now();
        }
        Ok(server)
    }

    /// Sends a body; seconds until it is answered, CPU seconds of the server, its peak memory in MiB.
    fn upload(&mut self, body: &[u8]) -> anyhow::Result<(f64, f64, f64)> {
        let before = Cpu::of(self.child.id()).own;
        let mut stream = TcpStream::connect(&self.address)?;
        let begin = Instant::now();
        let head = format!(
            "POST /upload HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Type: multipart/form-data; boundary=B\r\nContent-Length: {}\r\n\r\n",
            self.address,
            body.len()
        );
        stream.write_all(head.as_bytes())?;
        stream.write_all(body)?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let seconds = begin.elapsed().as_secs_f64();
        ensure!(answer.starts_with("HTTP/1.1 200"), "{}", answer.get(..600).unwrap_or(&answer));
        Ok((seconds, Cpu::of(self.child.id()).own - before, memory_kb(self.child.id(), "VmHWM") / 1024.0))
    }
}

/// One file as a suite prints it: packages, benchmarks with sub-benchmarks, ten runs of each, together or one after the other.
fn body(lines: usize, seed: u64, together: bool) -> Vec<u8> {
    let mut random = StdRng::seed_from_u64(seed);
    let mut text = String::with_capacity(lines * 90);
    text.push_str("--B\r\nContent-Disposition: form-data; name=\"file\"; filename=\"results\"\r\n\r\n");
    text.push_str("experiment-commit: 9fceb02d0ae598e95dc970b74767f19372d61af8\nrepository: go\nbranch: main\nbuilder: linux-amd64-perf\ngoos: linux\ngoarch: amd64\ncpu: Example CPU @ 3.00GHz\n");
    let (outer, inner) = if together { (1, RUNS) } else { (RUNS, 1) };
    let mut written = 0;
    'all: for package in 0.. {
        let _ = writeln!(text, "pkg: example.org/suite/package{package}");
        for (_, benchmark, size) in (0..outer).flat_map(|run| (0..20).flat_map(move |benchmark| [16, 256, 4096, 65536].map(|size| (run, benchmark, size)))) {
            let level: f64 = random.random_range(10.0..1e6);
            for _ in 0..inner {
                if written == lines {
                    break 'all;
                }
                let value = level * random.random_range(0.98..1.02);
                let iterations = (1e9 / value) as u64;
                let bytes = size * 2;
                let _ = writeln!(
                    text,
                    "BenchmarkOperation{benchmark}/size={size}/mode=fast-8 \t {iterations} \t {value:.1} ns/op \t {bytes} B/op \t {benchmark} allocs/op"
                );
                written += 1;
            }
        }
    }
    text.push_str("\r\n--B\r\nContent-Disposition: form-data; name=\"commit\"\r\n\r\n1\r\n--B--\r\n");
    text.into_bytes()
}

fn commit(number: usize) -> String {
    format!("{:040x}", (number as u128 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c834))
}

/// One upload of the searches: one commit on one machine.
fn results(number: usize, random: &mut StdRng) -> String {
    let (change, builder) = (number / BUILDERS, number % BUILDERS);
    let branch = if change.is_multiple_of(10) { "release" } else { "main" };
    let mut text = format!(
        "experiment-commit: {}\nrepository: go\nbranch: {branch}\nbuilder: builder-{builder}\ngoos: linux\ngoarch: {}\npost-submit: true\n",
        commit(change),
        if builder < 7 { "amd64" } else { "arm64" }
    );
    for _ in 0..RUNS {
        for benchmark in 0..BENCHMARKS {
            let value = (benchmark + 1) as f64 * 100.0 * random.random_range(0.98..1.02);
            let _ = writeln!(
                text,
                "BenchmarkOperation{}/size={}-8 \t {} \t {value:.1} ns/op \t {} B/op",
                benchmark / 4,
                16 << (benchmark % 4),
                (1e9 / value) as u64,
                benchmark * 8
            );
        }
    }
    text
}

/// Fills a store, then asks it.
fn search(settings: &Settings, lines: usize, report: &mut Report) -> anyhow::Result<()> {
    let dir = scratch()?;
    let uploads = (lines / (BENCHMARKS * RUNS)).max(BUILDERS);
    let begin = Instant::now();
    burrow_task::block_on(&tokio::runtime::Builder::new_multi_thread().enable_all().build()?, fill(dir.path(), uploads, settings.seed))?;
    let filled = begin.elapsed().as_secs_f64();
    let bytes = std::fs::metadata(dir.path().join("perfdata.db"))?.len();
    let server = Server::ours(settings, dir.path())?;
    let mut connection = Connection::open(&server.address)?;
    let mut random = StdRng::seed_from_u64(settings.seed);
    let mut ask = |query: String, limit: bool| -> anyhow::Result<(f64, usize)> {
        let path = format!("/search?q={}{}", query.replace(' ', "+"), if limit { "&limit=1000" } else { "" });
        let begin = Instant::now();
        let head = connection.ask("GET", &path, "")?;
        ensure!(head.status == 200, "{path}: {}", head.status);
        let (mut found, mut rest) = (0, Vec::new());
        connection.body(&head, |piece| rest.extend_from_slice(piece))?;
        let milliseconds = begin.elapsed().as_secs_f64() * 1e3;
        found += rest.split(|byte| *byte == b'\n').filter(|line| line.starts_with(b"Benchmark")).count();
        Ok((milliseconds, found))
    };
    let changes = uploads.div_ceil(BUILDERS);
    let mut all = Vec::new();
    let kinds: [(&str, bool); 4] = [
        ("one commit, machine, benchmark", false),
        ("branch, machine, benchmark: first 1,000", true),
        ("three that are nearly everywhere: first 1,000", true),
        ("three that never meet", false),
    ];
    for (kind, (what, limit)) in kinds.iter().enumerate() {
        let mut times = Vec::new();
        let mut lines = 0;
        for _ in 0..QUESTIONS {
            let (change, builder, name) = (random.random_range(0..changes), random.random_range(0..BUILDERS), random.random_range(0..BENCHMARKS / 4));
            let query = match kind {
                0 => format!("experiment-commit:{} builder:builder-{builder} name:Operation{name}", commit(change)),
                1 => format!("branch:release builder:builder-{builder} name:Operation{name}"),
                2 => format!("repository:go goos:linux name:Operation{name}"),
                _ => format!("goarch:arm64 builder:builder-{} name:Operation{name}", builder % 7),
            };
            let (milliseconds, found) = ask(query, *limit)?;
            times.push(milliseconds);
            lines += found;
        }
        report.run(json!({"side": "burrow", "search": what, "lines": uploads * BENCHMARKS * RUNS, "found": lines / QUESTIONS, "p50_ms": quantile(&times, 0.5), "p99_ms": quantile(&times, 0.99)}));
        report.line(format!("{what}, of {} lines, p99", uploads * BENCHMARKS * RUNS), "ms", quantile(&times, 0.99), None, Bound::AtMost(50.0));
        all.extend(times);
    }
    report.line(format!("all of these, of {} lines, p99", uploads * BENCHMARKS * RUNS), "ms", quantile(&all, 0.99), None, Bound::AtMost(50.0));
    let (milliseconds, found) = ask("builder:builder-3".into(), false)?;
    report.run(json!({"side": "burrow", "filled_s": filled, "database_mib": bytes >> 20, "whole_machine_lines": found, "whole_machine_ms": milliseconds}));
    report.line("everything of one machine", "lines/s", found as f64 / milliseconds * 1e3, None, Bound::None);
    report.line("database for a million lines", "MiB", bytes as f64 / 1_048_576.0 / (uploads * BENCHMARKS * RUNS) as f64 * 1e6, None, Bound::None);
    report.line("memory after the searches", "MiB", memory_kb(server.child.id(), "VmRSS") / 1024.0, None, Bound::None);
    Ok(())
}

async fn fill(dir: &Path, uploads: usize, seed: u64) -> anyhow::Result<()> {
    let store = PerfStore::open(Options::folder(dir, SystemClock::shared())).await?;
    let next = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let tasks: Vec<_> = (0..4)
        .map(|_| {
            let (store, next) = (store.clone(), Arc::clone(&next));
            burrow_task::spawn(async move {
                loop {
                    let number = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    if number >= uploads {
                        return anyhow::Ok(());
                    }
                    let text = results(number, &mut StdRng::seed_from_u64(seed.wrapping_add(number as u64)));
                    let mut upload = store.begin(Begin::default()).await?;
                    upload.file(0, Some("results")).await?;
                    upload.write(text.into()).await?;
                    upload.commit().await?;
                }
            })
        })
        .collect();
    for task in tasks {
        task.await??;
    }
    store.close().await;
    Ok(())
}
