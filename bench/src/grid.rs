//! Pages over a long history: the grid of 60 commits × 120 builders while 100,000 builds are stored. Uncached: after every build whose state changed.
//! Cached: nothing changed since the last reader. And how long the executable takes from its start until it has served the grid once.

use std::collections::BTreeSet;
use std::time::Instant;

use anyhow::{Context as _, ensure};
use burrow_clock::SystemClock;
use burrow_coordinator::control::Posted;
use burrow_coordinator::farm::{Farm, Options};
use burrow_coordinator::http::Access;
use burrow_results::seed::{self, Seed};
use burrow_store::Db;
use serde_json::json;

use crate::farm::now_ms;
use crate::http::Connection;
use crate::procfs::{Cpu, memory_kb};
use crate::report::{Bound, Report, median, quantile};
use crate::settings::{Settings, scratch};

const BUILDERS: usize = 120;
const COMMITS: usize = 834;
const ROWS: usize = 60;

/// Measures.
///
/// # Errors
/// The farm does not start.
pub(crate) fn run(settings: &Settings) -> anyhow::Result<()> {
    let burrow = settings.burrow()?;
    let mut report = Report::new("grid");
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let dir = scratch()?;
    let data = dir.path().join("data");
    std::fs::create_dir(&data)?;
    let seed = Seed { commits: COMMITS, builders: Seed::builders(BUILDERS), now_ms: now_ms(), detailed: 20 };
    let url = format!("sqlite:{}", data.join("burrow.db").display());
    let stored = burrow_task::block_on(&runtime, async {
        let db = Db::open(&url, burrow_results::MIGRATIONS).await?;
        let stored = seed::fill(&db, &seed).await?;
        db.close().await;
        anyhow::Ok(stored)
    })?;
    let mut config = "[pool.local]\nkind = \"process\"\nworkers = 1\n[host.local]\npool = \"local\"\n[project.burrow]\nrecipe = \"bench\"\n[recipe.bench]\nstep = [{ name = \"run\", run = [\"true\"] }]\n".to_owned();
    // A place where no repository is: nothing is to be built while pages are measured.
    config.push_str(&format!("[repo.sample]\nurl = {:?}\n", dir.path().join("none.git").display().to_string()));
    for name in &seed.builders {
        config.push_str(&format!("[builder.\"{name}\"]\nhost = \"local\"\n"));
    }
    let path = format!("/p/burrow/sample/main?limit={ROWS}");

    // The executable, from nothing.
    let farm_dir = dir.path();
    let (mut starts, mut firsts, mut memory) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..settings.runs(5) {
        let begin = Instant::now();
        let farm = crate::farm::Farm::start(&burrow, farm_dir, &config)?;
        let serves = begin.elapsed().as_secs_f64();
        let page = farm.connect()?.get(&path)?;
        let first = begin.elapsed().as_secs_f64();
        starts.push(serves);
        firsts.push(first);
        memory.push(memory_kb(farm.pid(), "VmRSS") / 1024.0);
        report.run(json!({"side": "burrow", "builds": stored, "start_s": serves, "start_and_first_page_s": first, "page_bytes": page.len(), "rss_kb": memory_kb(farm.pid(), "VmRSS")}));
    }

    let (fresh, kept, rate, cpu, bytes) = burrow_task::block_on(&runtime, async {
        let config = burrow_builders::Config::parse("grid.toml", &config).map_err(|errors| anyhow::anyhow!("{errors}"))?;
        let worker = vec![burrow.clone().into(), "buildlet".into()];
        let farm = Farm::start(Options {
            config,
            reload: None,
            data: data.clone(),
            database: None,
            worker_program: worker,
            worker_env: Options::inherited(std::env::vars_os()),
            clock: SystemClock::shared(),
            poll: false,
            mirrored: None,
            events: None,
        })
        .await?;
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?.to_string();
        let server = {
            let farm = farm.clone();
            burrow_web::serve(listener, None, farm.router(Access { token_hash: None, loopback: true }), std::future::pending())
        };
        let control = farm.control();
        let builders: Vec<String> = seed.builders.clone();
        let (tell, mut told) = tokio::sync::mpsc::channel::<()>(1);
        let (posted, done) = std::sync::mpsc::channel();
        let reader = std::thread::spawn(move || -> anyhow::Result<_> {
            let mut http = Connection::open(&address)?;
            let page = http.get(&path)?;
            check(&page)?;
            let (mut fresh, mut kept) = (Vec::new(), Vec::new());
            for _ in 0..400 {
                tell.blocking_send(()).context("the coordinator is gone")?;
                done.recv()?;
                let begin = Instant::now();
                http.get(&path)?;
                fresh.push(begin.elapsed().as_secs_f64() * 1000.0);
                let begin = Instant::now();
                http.get(&path)?;
                kept.push(begin.elapsed().as_secs_f64() * 1000.0);
            }
            let (begin, cpu, count) = (Instant::now(), Cpu::of(std::process::id()).own, 10_000);
            for _ in 0..count {
                http.get(&path)?;
            }
            let plain = f64::from(count) / begin.elapsed().as_secs_f64();
            let cpu = (Cpu::of(std::process::id()).own - cpu) * 1000.0 / f64::from(count);
            // As browsers read it.
            http.accept_gzip();
            let bytes = http.get(&path)?.len();
            let begin = Instant::now();
            for _ in 0..count {
                http.get(&path)?;
            }
            let gzip = f64::from(count) / begin.elapsed().as_secs_f64();
            Ok((fresh, kept, (plain, gzip), cpu, (page.len(), bytes)))
        });
        let mut number = 0usize;
        while told.recv().await.is_some() {
            number += 1;
            let posted_build = Posted {
                builder: builders.get(number * 7 % builders.len()).cloned().unwrap_or_default(),
                package_path: String::new(),
                hash: seed::hash_at(COMMITS - 1 - number * 13 % ROWS),
                go_hash: String::new(),
                ok: !number.is_multiple_of(3),
                log: Vec::new(),
                run_time_ns: 1_000_000_000,
            };
            control.record(posted_build).await?;
            posted.send(())?;
        }
        let result = reader.join().map_err(|_| anyhow::anyhow!("the reader panicked"))??;
        server.abort();
        farm.stop(true).await;
        anyhow::Ok(result)
    })?;
    report.run(json!({"side": "burrow", "pages": fresh.len(), "page_bytes": bytes.0, "gzip_bytes": bytes.1,
        "fresh_ms": {"p50": quantile(&fresh, 0.5), "p99": quantile(&fresh, 0.99), "worst": quantile(&fresh, 1.0)},
        "cached_ms": {"p50": quantile(&kept, 0.5), "p99": quantile(&kept, 0.99), "worst": quantile(&kept, 1.0)},
        "cached_per_s": rate.0, "cached_gzip_per_s": rate.1, "server_and_client_cpu_ms_per_cached_page": cpu}));
    report.line("grid after a change, p50", "ms", quantile(&fresh, 0.5), None, Bound::None);
    report.line("grid after a change, p99", "ms", quantile(&fresh, 0.99), None, Bound::AtMost(10.0));
    report.line("grid unchanged, p50", "ms", quantile(&kept, 0.5), None, Bound::None);
    report.line("grid unchanged, p99", "ms", quantile(&kept, 0.99), None, Bound::AtMost(10.0));
    report.line("unchanged pages through one connection", "/s", rate.0, None, Bound::None);
    report.line("the same compressed, as browsers ask for it", "/s", rate.1, None, Bound::AtLeast(5000.0));
    report.line("start until it serves", "s", median(&starts), None, Bound::AtMost(0.3));
    report.line("start until the grid was read", "s", median(&firsts), None, Bound::None);
    report.line("resident after that", "MiB", median(&memory), None, Bound::None);
    report.finish(settings)
}

/// Whether the page is what it is meant to be: so many rows and columns.
fn check(page: &[u8]) -> anyhow::Result<()> {
    let text = String::from_utf8_lossy(page);
    let builds: BTreeSet<&str> =
        text.match_indices("/build/").map(|(at, _)| text.get(at..).unwrap_or_default().split('"').next().unwrap_or_default()).collect();
    ensure!(builds.len() > ROWS * BUILDERS * 9 / 10, "the grid shows only {} builds", builds.len());
    Ok(())
}
