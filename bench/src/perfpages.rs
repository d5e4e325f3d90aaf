//! First byte of the dashboard with 60 benchmarks × 2,000 commits, after a change (nothing kept) and unchanged.

use std::time::Instant;

use anyhow::Context as _;
use burrow_changepoint::simulate::{Kind, stepped};
use burrow_clock::SystemClock;
use burrow_perf::board::Board;
use burrow_perf::config::Config;
use burrow_perf::history::History;
use burrow_perf::http::{Site, router};
use burrow_perf::source::Source;
use burrow_perfstore::{Begin, Options, PerfStore};
use serde_json::json;
use std::sync::Arc;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::report::{Bound, Report, median, quantile};
use crate::settings::{Settings, scratch};

const BENCHMARKS: usize = 60;
const COMMITS: usize = 2_000;
/// Moment of the first commit.
const FIRST: i64 = 1_770_000_000;

/// Measures.
///
/// # Errors
/// The service fails, or the record cannot be written.
pub(crate) fn run(settings: &Settings) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    burrow_task::block_on(&runtime, measure(settings))
}

async fn measure(settings: &Settings) -> anyhow::Result<()> {
    let mut report = Report::new("perf-dashboard");
    let commits = settings.load.unwrap_or(COMMITS);
    let dir = scratch()?;
    let clock = SystemClock::shared();
    let store = PerfStore::open(Options::folder(dir.path(), Arc::clone(&clock))).await?;
    let values: Vec<Vec<f64>> = (0..BENCHMARKS)
        .map(|number| {
            let kind = Kind::ALL.get(number % Kind::ALL.len()).copied().unwrap_or(Kind::Gaussian);
            stepped(kind, settings.seed + number as u64, commits, 1_000.0 * (number + 1) as f64, 0.01, &[(commits / 2, 0.03)])
        })
        .collect();
    for commit in 0..commits {
        add(&store, &values, commit).await?;
    }
    let begin = Instant::now();
    let board = Board::open(dir.path(), Source::Store(store.clone()), Arc::new(Config::default()), Arc::clone(&clock)).await?;
    board.follow().await?;
    let taken = begin.elapsed().as_secs_f64();
    let site = Site { board: board.clone(), history: History::default(), token: None, only_host: None, clock };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let server = burrow_web::serve(listener, None, router(site), std::future::pending());
    let end = jiff::Timestamp::from_second(FIRST + commits as i64 * 600)?.strftime("%Y-%m-%dT%H:%M").to_string();
    for (name, path) in [
        ("dashboard page", format!("/dashboard/?days=366&end={end}")),
        ("data.json of all benchmarks", format!("/dashboard/data.json?benchmark=all&days=366&end={end}")),
        ("regressions", "/regressions".to_owned()),
    ] {
        let (mut fresh, mut kept) = (Vec::new(), Vec::new());
        for run in 0..settings.runs(20) {
            // Another address each time: nothing is kept of it.
            fresh.push(first_byte(address, &format!("{path}{}run={run}", if path.contains('?') { '&' } else { '?' })).await?);
            first_byte(address, &path).await?;
            kept.push(first_byte(address, &path).await?);
        }
        report.run(json!({"side": "burrow", "page": name, "commits": commits, "fresh_ms": fresh, "kept_ms": kept}));
        let bound = if name == "dashboard page" { Bound::AtMost(50.0) } else { Bound::None };
        report.line(format!("{name}: first byte, nothing kept, median"), "ms", median(&fresh), None, bound);
        report.line(format!("{name}: the same, 95 of 100"), "ms", quantile(&fresh, 0.95), None, Bound::None);
        report.line(format!("{name}: unchanged, median"), "ms", median(&kept), None, bound);
    }
    report.line("taking all uploads into series", "s", taken, None, Bound::None);
    add(&store, &values, commits - 1).await?;
    let begin = Instant::now();
    board.follow().await?;
    report.line("taking one more upload, with looking for changes", "ms", begin.elapsed().as_secs_f64() * 1e3, None, Bound::None);
    server.abort();
    board.close().await;
    store.close().await;
    report.finish(settings)
}

async fn add(store: &PerfStore, values: &[Vec<f64>], commit: usize) -> anyhow::Result<()> {
    let mut text =
        format!("commit: {commit:040x}\ncommit-time: {}\nrepository: bench\nbranch: main\ngoos: linux\ngoarch: amd64\n", FIRST + commit as i64 * 600);
    for (number, series) in values.iter().enumerate() {
        let value = series.get(commit).copied().unwrap_or(1.0);
        for run in 0..3 {
            text.push_str(&format!("BenchmarkB{number:02}-8\t1000\t{:.3} ns/op\n", value * (1.0 + f64::from(run) * 0.001)));
        }
    }
    let mut upload = store.begin(Begin::default()).await?;
    upload.file(0, Some("bench.txt")).await?;
    upload.write(text.into()).await?;
    upload.commit().await?;
    Ok(())
}

/// Milliseconds from sending a request to the first byte of its answer, which is read to its end.
async fn first_byte(address: std::net::SocketAddr, path: &str) -> anyhow::Result<f64> {
    let mut stream = tokio::net::TcpStream::connect(address).await?;
    let begin = Instant::now();
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nAccept-Encoding: gzip\r\nConnection: close\r\n\r\n").as_bytes()).await?;
    let mut buffer = vec![0; 1 << 16];
    let first = stream.read(&mut buffer).await?;
    let elapsed = begin.elapsed().as_secs_f64() * 1e3;
    let head = String::from_utf8_lossy(buffer.get(..first).unwrap_or_default()).into_owned();
    anyhow::ensure!(head.starts_with("HTTP/1.1 200"), "{path}: {}", head.lines().next().unwrap_or_default());
    while stream.read(&mut buffer).await.context("the rest of an answer")? > 0 {}
    Ok(elapsed)
}
