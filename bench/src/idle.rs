//! Memory: an idle coordinator; and what each of 1,000 idle machines costs it that dialled in over TLS and revdial and is asked for its health all the
//! time. The machines are one other process that plays them all.

use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use burrow_revdial::{BoxStream, Coordinator, Enrolled, Registration, Trust, register};
use protocol_revdial::{DEV_MASTER_KEY, builder_key};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::JoinSet;

use crate::farm::{Farm, Recipe};
use crate::procfs::{Cpu, many_files, memory_kb};
use crate::report::{Bound, Report, median};
use crate::repository::Repository;
use crate::settings::{Settings, scratch};

/// Host type of the machines.
pub(crate) const HOST: &str = "host-linux-amd64-localdev";
/// Memory is looked at after so long without anything to do.
const SETTLE: Duration = Duration::from_secs(12);

/// Measures.
///
/// # Errors
/// The farm cannot be run, or the machines do not join.
pub(crate) fn run(settings: &Settings) -> anyhow::Result<()> {
    let burrow = settings.burrow()?;
    let count = settings.load.unwrap_or(1_000);
    many_files()?;
    let mut report = Report::new("memory");
    let (mut idle, mut idle_own, mut after, mut each, mut minute) = (Vec::new(), Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..settings.runs(3) {
        let dir = scratch()?;
        let repository = Repository::create(&dir.path().join("repo.git"), 50)?;
        let ours = dir.path().join("burrow");
        std::fs::create_dir(&ours)?;
        let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let recipe = Recipe { workers: 2, builders: 2, run: "[\"true\"]", poll: "10m" };
        let mut config = recipe.toml(&repository.dir);
        config.push_str(&format!(
            "[site]\nworker_listen = \"127.0.0.1:{port}\"\n[pool.there]\nkind = \"reverse\"\ndev_key = true\n[host.{HOST}]\npool = \"there\"\n"
        ));
        let farm = Farm::start(&burrow, &ours, &config)?;
        let mut http = farm.connect()?;
        farm.ended(&mut http, 2, 0, Duration::from_secs(60))?;
        std::thread::sleep(SETTLE);
        let before = memory_kb(farm.pid(), "VmRSS");
        let before_own = memory_kb(farm.pid(), "RssAnon");
        // After some work memory may stay higher; that is what an idle coordinator really needs.
        repository.push(50)?;
        farm.announce(&mut http)?;
        farm.ended(&mut http, 102, 0, Duration::from_secs(120))?;
        std::thread::sleep(SETTLE);
        let worked = memory_kb(farm.pid(), "VmRSS");

        let begin = Instant::now();
        let mut machines = Command::new(std::env::current_exe()?)
            .args(["machines", &format!("127.0.0.1:{port}"), &count.to_string()])
            .stdin(Stdio::piped())
            .spawn()
            .context("the machines")?;
        let joined = joined(&farm, count);
        let seconds = begin.elapsed().as_secs_f64();
        std::thread::sleep(SETTLE);
        let with = memory_kb(farm.pid(), "VmRSS");
        let cpu = Cpu::of(farm.pid());
        std::thread::sleep(Duration::from_secs(9));
        let cpu = (Cpu::of(farm.pid()) - cpu).own;
        let still = connected(&mut farm.connect()?)?;
        // They end with their input.
        drop(machines.stdin.take());
        machines.wait()?;
        joined?;
        ensure!(still == count, "{still} of {count} machines are still connected");
        let per_machine = (with - worked) / count as f64;
        report.run(json!({"side": "burrow", "idle_kb": before, "idle_anonymous_kb": before_own, "idle_after_work_kb": worked, "machines": count, "joined_in_s": seconds,
            "with_machines_kb": with, "kb_per_machine": per_machine, "cpu_ms_per_machine_and_minute": cpu * 1000.0 / 9.0 * 60.0 / count as f64}));
        idle.push(before / 1024.0);
        idle_own.push(before_own / 1024.0);
        after.push(worked / 1024.0);
        each.push(per_machine);
        minute.push(cpu * 1000.0 / 9.0 * 60.0 / count as f64);
    }
    report.line("idle coordinator, resident", "MiB", median(&idle), None, Bound::AtMost(40.0));
    report.line("of that, its own (without the executable's pages)", "MiB", median(&idle_own), None, Bound::None);
    report.line("idle after 100 builds, resident", "MiB", median(&after), None, Bound::AtMost(40.0));
    report.line("each of the idle reverse machines", "kB", median(&each), None, Bound::AtMost(30.0));
    report.line("CPU for each, per minute", "ms", median(&minute), None, Bound::None);
    report.finish(settings)
}

fn connected(http: &mut crate::http::Connection) -> anyhow::Result<usize> {
    let status = http.json("/status/reverse.json")?;
    Ok(status["HostTypes"][HOST]["Connected"].as_u64().unwrap_or(0) as usize)
}

fn joined(farm: &Farm, count: usize) -> anyhow::Result<()> {
    let begin = Instant::now();
    let mut http = farm.connect()?;
    loop {
        let have = connected(&mut http)?;
        if have >= count {
            return Ok(());
        }
        ensure!(begin.elapsed() < Duration::from_secs(180), "only {have} of {count} machines joined");
        std::thread::sleep(Duration::from_millis(250));
    }
}

/// Plays `count` machines until its standard input ends. What they can be asked: their status; and, with a single `B`, bytes without end.
///
/// # Errors
/// They cannot join.
pub(crate) fn machines(address: &str, count: usize) -> anyhow::Result<()> {
    many_files()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    burrow_task::block_on(&runtime, async {
        let coordinator = Arc::new(Coordinator::new(address, &Trust::Anything)?);
        let key = builder_key(DEV_MASTER_KEY, HOST)?;
        let mut tasks = JoinSet::new();
        for number in 0..count {
            let instance = format!("{number:032x}");
            let registration = Registration {
                host_type: HOST.into(),
                hostname: format!("m{number}"),
                version: "29".into(),
                key: Some(key.clone()),
                enrolled: Some(Enrolled { instance: instance.clone(), machine: None, secret: None }),
            };
            let mut listener = register(coordinator.clone(), &registration).await?;
            let status: Arc<str> = format!("{{\"Version\":29,\"Burrow\":{{\"protocol\":1,\"instance\":\"{instance}\",\"features\":[],\"slots\":1}}}}").into();
            tasks.spawn(async move {
                while let Ok(stream) = listener.accept().await {
                    burrow_task::spawn(serve(stream, Arc::clone(&status)));
                }
            });
        }
        burrow_task::spawn_blocking(|| std::io::copy(&mut std::io::stdin(), &mut std::io::sink())).await??;
        anyhow::Ok(())
    })?;
    // Nothing of it is worth waiting for.
    runtime.shutdown_background();
    Ok(())
}

async fn serve(mut stream: BoxStream, status: Arc<str>) {
    let mut request = Vec::new();
    loop {
        while !request.ends_with(b"\r\n\r\n") && request != b"B" {
            if !matches!(stream.read_buf(&mut request).await, Ok(1..)) {
                return;
            }
        }
        if request == b"B" {
            let block = vec![7; 256 << 10];
            while stream.write_all(&block).await.is_ok() {}
            return;
        }
        // An idle machine holds no buffer.
        request = Vec::new();
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{status}", status.len());
        if stream.write_all(answer.as_bytes()).await.is_err() || stream.flush().await.is_err() {
            return;
        }
    }
}
