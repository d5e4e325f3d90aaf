//! One build writes 1 GiB of log while eight readers follow it over HTTP. One of the readers takes a little and then stalls until the others have
//! everything; it must cost nobody anything, and still get everything afterwards. Time is from the first byte a reader sees until the last of the
//! seven has the whole log.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Barrier, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use serde_json::json;

use crate::farm::{Farm, Recipe};
use crate::http::Connection;
use crate::noop::state;
use crate::procfs::{Cpu, memory_kb, reset_peak};
use crate::report::{Bound, Report, median};
use crate::repository::Repository;
use crate::settings::{Settings, scratch};

const READERS: usize = 8;
const LINE: &str = "2026-11-22T21:00:00Z compile pkg/part17/file09.rs: unit 0417 of 1024 done in 0.031 s, nothing to say here";

/// Measures.
///
/// # Errors
/// The farm cannot be run, or a reader got something else than the log.
pub(crate) fn run(settings: &Settings) -> anyhow::Result<()> {
    let burrow = settings.burrow()?;
    let mib = settings.load.unwrap_or(1024) as u64;
    let bytes = mib << 20;
    let mut report = Report::new("log");
    let dir = scratch()?;
    let repository = Repository::create(&dir.path().join("repo.git"), 1)?;
    // The tip is built at the start, quietly; the log is that of the commit before it.
    repository.push(1)?;
    let ours = dir.path().join("burrow");
    std::fs::create_dir(&ours)?;
    let run = format!("[\"sh\", \"-c\", \"test $BURROW_COMMIT = {} || yes '{LINE}' | head -c {bytes}\"]", repository.commits.get(1).context("no commit")?);
    let recipe = Recipe { workers: 1, builders: 1, run: &run, poll: "10m" };
    let farm = Farm::start(&burrow, &ours, &recipe.toml(&repository.dir))?;
    let mut http = farm.connect()?;
    farm.ended(&mut http, 1, 0, Duration::from_secs(60))?;
    let worker = *farm.workers().first().context("no worker")?;
    let (mut rate, mut disk, mut memory, mut worker_memory) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for readers in std::iter::repeat_n(READERS, settings.runs(3)).chain([0]) {
        let idle = memory_kb(farm.pid(), "VmRSS");
        let worker_idle = memory_kb(worker, "VmRSS");
        reset_peak(farm.pid());
        reset_peak(worker);
        let before = (Cpu::of(farm.pid()), Cpu::of(worker));
        let request = json!({"repo": "bench", "revision": repository.commits.first(), "builder": "b1"});
        let build = http.post("/api/v1/builds", &request)?["build"].as_i64().context("no build")?;
        let attempt = attempt(&mut http, build)?;
        let seconds = if readers == 0 { f64::NAN } else { follow(&farm, attempt, bytes, readers)? };
        let ended = wait(&mut http, build)?;
        ensure!(state(&ended) == "passed", "the build ended as {}", state(&ended));
        let took = (ended["ended_ms"].as_i64().unwrap_or(0) - ended["started_ms"].as_i64().unwrap_or(0)) as f64 / 1000.0;
        let peak = memory_kb(farm.pid(), "VmHWM");
        let (cpu, worker_cpu) = (Cpu::of(farm.pid()) - before.0, Cpu::of(worker) - before.1);
        report.run(
            json!({"side": "burrow", "readers": readers, "mib": mib, "seconds_readers": if readers == 0 { None } else { Some(seconds) }, "seconds_build": took,
            "cpu_coordinator": cpu.all(), "cpu_worker": worker_cpu.own, "cpu_command": worker_cpu.children,
            "idle_kb": idle, "peak_kb": peak, "worker_idle_kb": worker_idle, "worker_peak_kb": memory_kb(worker, "VmHWM")}),
        );
        if readers == 0 {
            disk.push(bytes as f64 / 1e6 / took);
        } else {
            rate.push(bytes as f64 / 1e6 / seconds);
            memory.push((peak - idle) / 1024.0);
            worker_memory.push((memory_kb(worker, "VmHWM") - worker_idle) / 1024.0);
        }
    }
    report.line("1 GiB log, 8 readers, one stalled", "MB/s", median(&rate), None, Bound::AtLeast(150.0));
    report.line("1 GiB log, nobody reads", "MB/s", median(&disk), None, Bound::AtLeast(200.0));
    report.line("coordinator's memory above idle, at its peak", "MiB", median(&memory), None, Bound::AtMost(32.0));
    report.line("worker's memory above idle, at its peak", "MiB", median(&worker_memory), None, Bound::AtMost(32.0));
    report.finish(settings)
}

/// The first attempt of a build, as soon as there is one.
fn attempt(http: &mut Connection, build: i64) -> anyhow::Result<i64> {
    loop {
        let json = http.json(&format!("/api/v1/builds/{build}"))?;
        if let Some(id) = json["attempts_list"].get(0).and_then(|a| a["id"].as_i64()) {
            return Ok(id);
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn wait(http: &mut Connection, build: i64) -> anyhow::Result<serde_json::Value> {
    let begin = Instant::now();
    loop {
        let json = http.json(&format!("/api/v1/builds/{build}"))?;
        if json["ended_ms"].is_i64() {
            return Ok(json);
        }
        ensure!(begin.elapsed() < Duration::from_secs(300), "the build does not end");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn follow(farm: &Farm, attempt: i64, bytes: u64, readers: usize) -> anyhow::Result<f64> {
    let path = format!("/attempt/{attempt}/log");
    let first: Arc<Mutex<Option<Instant>>> = Arc::default();
    let others_done = Arc::new(AtomicBool::new(false));
    let all = Arc::new(Barrier::new(readers));
    let lines = Arc::new(AtomicU64::new(0));
    let mut threads = Vec::new();
    for reader in 0..readers {
        let (mut http, path, first, others_done, all, lines) =
            (farm.connect()?, path.clone(), Arc::clone(&first), Arc::clone(&others_done), Arc::clone(&all), Arc::clone(&lines));
        threads.push(std::thread::spawn(move || -> anyhow::Result<(u64, Instant)> {
            all.wait();
            let head = http.ask("GET", &path, "")?;
            ensure!(head.status == 200, "GET {path}: {}", head.status);
            let mut seen = 0u64;
            let total = http.body(&head, |piece| {
                if seen == 0 {
                    first.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_with(Instant::now);
                }
                seen += piece.len() as u64;
                match reader {
                    // The stalled one: takes 64 KiB, then nothing.
                    0 if seen > 64 << 10 => {
                        while !others_done.load(Ordering::Acquire) {
                            std::thread::sleep(Duration::from_millis(5));
                        }
                    }
                    1 => {
                        lines.fetch_add(piece.iter().filter(|byte| **byte == b'\n').count() as u64, Ordering::Relaxed);
                    }
                    _ => {}
                }
            })?;
            Ok((total, Instant::now()))
        }));
    }
    let mut end = None;
    let mut totals = Vec::new();
    let mut stalled = None;
    for (reader, thread) in threads.into_iter().enumerate() {
        if reader == 0 {
            stalled = Some(thread);
            continue;
        }
        let (total, at) = thread.join().map_err(|_| anyhow::anyhow!("a reader panicked"))??;
        end = end.max(Some(at));
        totals.push(total);
    }
    others_done.store(true, Ordering::Release);
    if let Some(thread) = stalled {
        totals.push(thread.join().map_err(|_| anyhow::anyhow!("a reader panicked"))??.0);
    }
    let total = *totals.first().context("no reader")?;
    ensure!(totals.iter().all(|t| *t == total), "readers got different lengths: {totals:?}");
    ensure!((bytes..bytes + 2048).contains(&total), "readers got {total} bytes of a log of {bytes}");
    let expected = bytes / (LINE.len() as u64 + 1);
    ensure!((expected..expected + 20).contains(&lines.load(Ordering::Relaxed)), "a reader got {} lines instead of {expected}", lines.load(Ordering::Relaxed));
    let begin = first.lock().unwrap_or_else(PoisonError::into_inner).context("nothing was read")?;
    Ok(end.context("nothing was read")?.duration_since(begin).as_secs_f64())
}
