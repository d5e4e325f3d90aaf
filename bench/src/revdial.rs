//! Reverse connections: one dial (from the wish until the machine's connection is there, TLS included), and bytes per second over one. The coordinator's
//! side is the pool as `burrow` runs it; the machines are another process.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context as _, bail};
use burrow_clock::SystemClock;
use burrow_pool::PoolEvent;
use burrow_pool::machines::MemoryMachines;
use burrow_pool::reverse::{Certificate, ClassicKeys, HostTypeRule, ReverseConfig, ReversePool};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::process::Command;
use tokio::sync::mpsc;

use crate::idle::HOST;
use crate::procfs::Cpu;
use crate::report::{Bound, Report, median, quantile};
use crate::settings::{Settings, scratch};

/// Measures.
///
/// # Errors
/// The machine does not join, or its connection breaks.
pub(crate) fn run(settings: &Settings) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let mut report = Report::new("revdial");
    let (mut dial, mut p99, mut rate) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..settings.runs(5) {
        let run = burrow_task::block_on(&runtime, one())?;
        dial.push(run.p50);
        p99.push(run.p99);
        rate.push(run.rate);
        report.run(
            json!({"side": "burrow", "dial_p50_ms": run.p50, "dial_p99_ms": run.p99, "mb_per_s": run.rate, "coordinator_and_bench_cpu_s_per_gb": run.cpu}),
        );
    }
    report.line("one dial, p50", "ms", median(&dial), None, Bound::AtMost(1.0));
    report.line("one dial, p99", "ms", median(&p99), None, Bound::None);
    report.line("bytes through one connection", "MB/s", median(&rate), None, Bound::AtLeast(600.0));
    report.finish(settings)
}

struct Run {
    p50: f64,
    p99: f64,
    rate: f64,
    cpu: f64,
}

async fn one() -> anyhow::Result<Run> {
    let directory = scratch()?;
    let certificate = Certificate::kept_in(directory.path())?;
    let mut config = ReverseConfig::new(BTreeMap::from([(HOST.to_owned(), HostTypeRule::default())]), certificate.fingerprint, SystemClock::shared());
    config.classic = ClassicKeys::default().with_public_dev_key();
    let (events, mut heard) = mpsc::unbounded_channel();
    let pool = ReversePool::new(config, Arc::new(MemoryMachines::default()), events);
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?.to_string();
    let serving = {
        let pool = pool.clone();
        burrow_task::spawn(async move { pool.serve(listener, certificate.tls, None, std::future::pending()).await })
    };
    let mut machine = Command::new(std::env::current_exe()?).args(["machines", &address, "1"]).stdin(Stdio::piped()).kill_on_drop(true).spawn()?;
    let client = match heard.recv().await {
        Some(PoolEvent::Up(worker)) => worker.client,
        other => bail!("{other:?}"),
    };
    let mut times = Vec::new();
    for _ in 0..600 {
        let begin = Instant::now();
        drop(client.connect().await?);
        times.push(begin.elapsed().as_secs_f64() * 1000.0);
    }
    let times = times.get(100..).context("no dials")?;
    let mut stream = client.connect().await?;
    stream.write_all(b"B").await?;
    stream.flush().await?;
    let mut buffer = vec![0; 256 << 10];
    let (begin, cpu, mut total) = (Instant::now(), Cpu::of(std::process::id()).own, 0usize);
    while total < 2 << 30 {
        match stream.read(&mut buffer).await? {
            0 => bail!("the stream ended"),
            read => total += read,
        }
    }
    let seconds = begin.elapsed().as_secs_f64();
    let cpu = Cpu::of(std::process::id()).own - cpu;
    drop(stream);
    machine.kill().await?;
    serving.abort();
    Ok(Run { p50: quantile(times, 0.5), p99: quantile(times, 0.99), rate: total as f64 / 1e6 / seconds, cpu: cpu / (total as f64 / 1e9) })
}
