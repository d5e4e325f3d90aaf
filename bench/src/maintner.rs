//! The corpus: loading a log cold and from a snapshot, memory, walks, and one record on its way to a hundred followers. Beside the reference's library on the
//! same bytes, where a program is given that loads a log with it.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use burrow_clock::SystemClock;
use burrow_godata::{GetOptions, Live};
use burrow_loggen::{Layout, Order, Plan, write_log};
use burrow_maintner::{Corpus, Covered, Part, Snapshot};
use burrow_maintnerd::{Leader, http};
use protocol_mutlog::{Records, Sha224, schema};
use serde_json::{Value, json};

use crate::procfs::{Cpu, memory_kb};
use crate::report::{Bound, Report, median, quantile};
use crate::settings::{Settings, scratch, scratch_in_memory};

/// The scales at which growth is looked at; the figures are those of scale 1.
const SCALES: [f64; 4] = [0.1, 0.3, 1.0, 2.0];
/// Followers of the append measure.
const FOLLOWERS: usize = 100;

/// Measures.
///
/// # Errors
/// A log cannot be written or read.
pub(crate) fn run(settings: &Settings) -> anyhow::Result<()> {
    let mut report = Report::new("maintner");
    let scales: Vec<f64> = if settings.load == Some(0) { vec![0.1] } else { SCALES.to_vec() };
    for scale in scales {
        let dir = scratch()?;
        write_log(&Plan { scale, seed: settings.seed, order: Order::Time }, dir.path(), Layout::Both, &mut |_| {})?;
        let (disk, segments) = (dir.path().join("disk"), dir.path().join("segments"));
        // Once through the page cache, so that programs are compared and not the disk.
        let scan = scan(&segments)?;
        let snapshot = dir.path().join("corpus.snap");
        let (mut ours, mut theirs, mut opened) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..settings.runs(if scale > 1.0 { 2 } else { 5 }) {
            let loaded = child(&["maintner-load", &segments.display().to_string(), &snapshot.display().to_string()])?;
            report.run(json!({"side": "burrow", "scale": scale, "loaded": loaded}));
            let open = child(&["maintner-open", &segments.display().to_string(), &snapshot.display().to_string()])?;
            report.run(json!({"side": "burrow", "scale": scale, "opened": open}));
            ours.push(loaded);
            opened.push(open);
            // The peer takes minutes and gigabytes: once for every scale, thrice for the figure.
            let wanted = if scale == 1.0 { 3 } else { usize::from(scale < 1.0) };
            if let Some(program) = settings.go_maintner().filter(|_| theirs.len() < wanted) {
                let peer = peer(program, &disk)?;
                report.run(json!({"side": "go", "scale": scale, "loaded": peer}));
                theirs.push(peer);
            }
        }
        let of = |runs: &[Value], key: &str| -> f64 { median(&runs.iter().filter_map(|run| run[key].as_f64()).collect::<Vec<_>>()) };
        let peer = |key: &str| (!theirs.is_empty()).then(|| of(&theirs, key));
        let full = scale == 1.0;
        let bound = |most: f64| if full { Bound::AtMost(most) } else { Bound::None };
        let at = |what: &str| format!("{what}, S = {scale}");
        report.line(at("cold load"), "s", of(&ours, "seconds"), peer("seconds"), bound(6.0));
        report.line(at("cold load, CPU"), "s", of(&ours, "cpu"), peer("cpu"), Bound::None);
        report.line(at("anonymous memory after load"), "MiB", of(&ours, "anonymous_mib"), peer("resident_mib"), bound(350.0));
        report.line(at("open from snapshot to first query"), "ms", of(&opened, "seconds") * 1e3, None, bound(300.0));
        report.line(at("walk issues, comments, events"), "ms", of(&ours, "walk_issues") * 1e3, peer("walk_issues").map(|s| s * 1e3), bound(100.0));
        report.line(at("walk changes"), "ms", of(&ours, "walk_changes") * 1e3, peer("walk_changes").map(|s| s * 1e3), bound(20.0));
        report.line(at("log scan"), "GB/s", scan, None, if full { Bound::AtLeast(2.0) } else { Bound::None });
    }
    let times = followers(settings.seed)?;
    report.run(json!({"side": "burrow", "followers": FOLLOWERS, "appends": times.len() / FOLLOWERS, "p50_ms": quantile(&times, 0.5), "p99_ms": quantile(&times, 0.99)}));
    report.line("append to 100 followers' view, p50", "ms", quantile(&times, 0.5), None, Bound::None);
    report.line("append to 100 followers' view, p99", "ms", quantile(&times, 0.99), None, Bound::AtMost(50.0));
    report.finish(settings)
}

fn segments_of(dir: &Path) -> anyhow::Result<Vec<(PathBuf, u64)>> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(dir)?.map(|entry| Ok(entry?.path())).collect::<std::io::Result<_>>()?;
    files.retain(|path| path.extension().is_some_and(|extension| extension == "mutlog"));
    files.sort();
    files.into_iter().map(|path| Ok((path.clone(), std::fs::metadata(&path)?.len()))).collect()
}

/// Every record's frame, in one thread; gigabytes per second, the best of three. Files are mapped when the clock starts.
fn scan(dir: &Path) -> anyhow::Result<f64> {
    let mut best: f64 = 0.0;
    let files: Vec<Vec<u8>> = segments_of(dir)?.into_iter().map(|(path, _)| std::fs::read(path)).collect::<Result<_, _>>()?;
    for _ in 0..3 {
        let begin = Instant::now();
        let (mut bytes, mut payload) = (0, 0);
        for file in &files {
            for record in Records::new(file, 0) {
                payload += record?.payload.len();
            }
            bytes += file.len();
        }
        std::hint::black_box(payload);
        best = best.max(bytes as f64 / begin.elapsed().as_secs_f64() / 1e9);
    }
    Ok(best)
}

/// This program in a process of its own, so that memory is that of one load.
fn child(args: &[&str]) -> anyhow::Result<Value> {
    let output = Command::new(std::env::current_exe()?).args(args).stdin(Stdio::null()).stderr(Stdio::inherit()).output()?;
    ensure!(output.status.success(), "{args:?} failed");
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// A program that loads the log of a folder with the reference's library and prints a JSON object: `seconds`, `cpu`, `resident_mib`, `walk_issues` and
/// `walk_changes` (seconds).
fn peer(program: &Path, disk: &Path) -> anyhow::Result<Value> {
    let output = Command::new(program).arg(disk).stdin(Stdio::null()).stderr(Stdio::inherit()).output().with_context(|| program.display().to_string())?;
    ensure!(output.status.success(), "{} failed", program.display());
    serde_json::from_slice(&output.stdout).with_context(|| format!("{} printed no JSON object", program.display()))
}

/// (in a process of its own) Loads the log of a folder, walks it, and writes a snapshot if there is none yet.
///
/// # Errors
/// It cannot be read.
pub(crate) fn load(dir: &Path, snapshot: &Path) -> anyhow::Result<()> {
    let files = segments_of(dir)?;
    let parts: Vec<Part> = files.iter().map(|(path, size)| Part::file(path, 0, *size)).collect();
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    let begin = Instant::now();
    let corpus = Corpus::load(&parts, threads, &|_| {})?;
    let seconds = begin.elapsed().as_secs_f64();
    let cpu = Cpu::of(std::process::id()).own;
    let anonymous = memory_kb(std::process::id(), "RssAnon") / 1024.0;
    let view = corpus.view();
    let begin = Instant::now();
    let (mut entities, mut sum) = (0_u64, 0_i64);
    for repo in view.github().repos() {
        for issue in repo.issues() {
            sum = sum.wrapping_add(issue.created().map_or(0, |time| time.seconds));
            entities += 1;
            for comment in issue.comments() {
                sum = sum.wrapping_add(comment.created().map_or(0, |time| time.seconds));
                entities += 1;
            }
            for event in issue.events() {
                sum = sum.wrapping_add(event.created().map_or(0, |time| time.seconds) + event.kind().bytes().len() as i64);
                entities += 1;
            }
        }
    }
    let walk_issues = begin.elapsed().as_secs_f64();
    let begin = Instant::now();
    let mut changes = 0_u64;
    for project in view.gerrit().projects() {
        for change in project.changes() {
            sum = sum.wrapping_add(i64::from(change.number()) + change.status() as i64 + change.created().map_or(0, |time| time.seconds));
            changes += 1;
        }
    }
    let walk_changes = begin.elapsed().as_secs_f64();
    std::hint::black_box(sum);
    if !snapshot.exists() {
        let mut covered = Vec::new();
        for (number, (path, size)) in files.iter().enumerate() {
            covered.push(Covered { number: number as u32, size: *size, sha224: Sha224::of(&std::fs::read(path)?).to_string() });
        }
        std::fs::write(snapshot.with_extension("json"), serde_json::to_vec(&covered)?)?;
        Snapshot::write(&view, &covered, snapshot)?;
    }
    println!(
        "{}",
        json!({"seconds": seconds, "cpu": cpu, "anonymous_mib": anonymous, "records": view.records(), "bytes": view.position(), "walk_issues": walk_issues, "walk_changes": walk_changes, "entities": entities, "changes": changes})
    );
    Ok(())
}

/// (in a process of its own) Opens the snapshot and answers one question.
///
/// # Errors
/// It cannot be opened.
pub(crate) fn open(dir: &Path, snapshot: &Path) -> anyhow::Result<()> {
    let covered: Vec<Covered> = serde_json::from_slice(&std::fs::read(snapshot.with_extension("json"))?)?;
    let begin = Instant::now();
    let files = segments_of(dir)?;
    let segments: Vec<(Covered, PathBuf)> = covered.into_iter().zip(files).map(|(covered, (path, _))| (covered, path)).collect();
    let (corpus, _) = Snapshot::open(snapshot, &segments)?;
    let view = corpus.view();
    let title = view.github().repos().first().and_then(|repo| repo.issues().last().map(|issue| issue.title().to_string()));
    let seconds = begin.elapsed().as_secs_f64();
    ensure!(title.is_some_and(|title| !title.is_empty()), "the snapshot answers nothing");
    println!(
        "{}",
        json!({"seconds": seconds, "anonymous_mib": memory_kb(std::process::id(), "RssAnon") / 1024.0, "bytes": std::fs::metadata(snapshot)?.len()})
    );
    Ok(())
}

/// Milliseconds from the request to commit a record until each follower's view has it.
fn followers(seed: u64) -> anyhow::Result<Vec<f64>> {
    // The leader's disk is a real one. Followers have machines of their own, and not a hundredth of this one's disk: their caches are in memory.
    let (dir, caches) = (scratch()?, scratch_in_memory()?);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    burrow_task::block_on(&runtime, async {
        let leader = Leader::open(&dir.path().join("leader"), SystemClock::shared(), 2, Arc::new(|_| {})).await?;
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let server = format!("http://{}/logs", listener.local_addr()?);
        let shutdown = tokio_util::sync::CancellationToken::new();
        let router = http::router(leader.log().clone(), http::Readers::everybody(), shutdown.clone());
        let serving = burrow_web::serve(listener, None, router, std::future::pending());
        let mut views = Vec::new();
        let mut tasks = Vec::new();
        for number in 0..FOLLOWERS {
            let options = GetOptions { snapshot: false, threads: 1, ..GetOptions::default() };
            let live = burrow_godata::get(&server, &caches.path().join(format!("follower-{number}")), options).await?;
            views.push(live.subscribe());
            tasks.push(burrow_task::spawn(follow(live)));
        }
        let mut times = Vec::new();
        for append in 0..200_u64 {
            let mutation = schema::Mutation {
                github_issue: Some(schema::GithubIssueMutation {
                    owner: b"bench".to_vec(),
                    repo: b"bench".to_vec(),
                    number: 1 + append as i32,
                    created: Some(schema::Timestamp::new(1_700_000_000, 0)),
                    title: format!("record {append} of seed {seed}").into_bytes(),
                    ..Default::default()
                }),
                ..Default::default()
            };
            let begin = Instant::now();
            let position = leader.commit(&[mutation]).await?.position();
            let mut waits: Vec<_> = views
                .iter_mut()
                .map(|view| async move {
                    tokio::time::timeout(Duration::from_secs(30), view.wait_for(|view| view.position() >= position)).await??;
                    anyhow::Ok(begin.elapsed().as_secs_f64() * 1e3)
                })
                .collect();
            for wait in futures_util::future::join_all(waits.drain(..)).await {
                times.push(wait?);
            }
        }
        // The same order for all: every view is the same log, byte for byte.
        let expected = leader.view().position();
        ensure!(views.iter().all(|view| view.borrow().position() == expected), "a follower has another history");
        tasks.iter().for_each(|task| task.abort());
        serving.abort();
        shutdown.cancel();
        leader.close().await;
        Ok(times)
    })
}

async fn follow(mut live: Live) {
    while live.update().await.is_ok() {}
}
