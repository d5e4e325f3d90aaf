//! A source tree of 12,000 files (23 MB compressed) to a worker and back, with the classic endpoints that both sides know (`/writetgz`, `/tgz`), beside
//! the Go project's buildlet; and with Burrow's own `/tree`, whole, and verified again for the next build. The work directories are in memory, because
//! making 12,000 files can cost a file system more than everything else here.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use burrow_buildlet_client::{Body, Client};
use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::json;
use testkit_harness::Process;

use crate::procfs::{Cpu, memory_kb, reset_peak};
use crate::report::{Bound, Report, median};
use crate::settings::{Settings, scratch_in_memory};

const FILES: usize = 12_000;
/// Letters per file that make 23 MB when compressed.
const LETTERS: usize = 6_300;

/// Measures.
///
/// # Errors
/// A worker cannot be run.
pub(crate) fn run(settings: &Settings) -> anyhow::Result<()> {
    let burrow = settings.burrow()?;
    let go = settings.go_buildlet();
    let mut report = Report::new("tree");
    let (tar, tgz) = tree(settings.seed)?;
    eprintln!("{FILES} files, {:.1} MB, {:.1} MB compressed", tar.len() as f64 / 1e6, tgz.len() as f64 / 1e6);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    burrow_task::block_on(&runtime, async {
        let dir = scratch_in_memory()?;
        let ours = Worker::start(&burrow, &["buildlet"], &dir.path().join("burrow")).await?;
        let theirs = match go {
            Some(go) => Some(Worker::start(go, &[], &dir.path().join("go")).await?),
            None => None,
        };
        let (mut mine, mut peer, mut modern) = (Runs::default(), Runs::default(), Runs::default());
        for run in 0..settings.runs(5) {
            // Both warm before the first one counts.
            let counts = run > 0 || settings.runs(5) == 1;
            for (side, worker, runs) in [("burrow", Some(&ours), &mut mine), ("go", theirs.as_ref(), &mut peer)] {
                let Some(worker) = worker else { continue };
                let one = worker.classic(&tgz).await?;
                report.run(json!({"side": side, "endpoints": "classic", "counts": counts, "write_s": one.there, "read_s": one.back, "cpu": one.cpu, "idle_kb": one.idle, "peak_kb": one.peak}));
                if counts {
                    runs.push(&one);
                }
            }
            let one = ours.modern(&tar, run).await?;
            report.run(json!({"side": "burrow", "endpoints": "tree", "counts": counts, "write_s": one.there, "verify_s": one.back, "cpu": one.cpu, "idle_kb": one.idle, "peak_kb": one.peak}));
            if counts {
                modern.push(&one);
            }
        }
        let other = |which: fn(&Runs) -> &Vec<f64>| (!which(&peer).is_empty()).then(|| median(which(&peer)));
        report.line("tree to the worker, compressed", "s", median(&mine.there), other(|r| &r.there), Bound::PartOfPeer(0.5));
        report.line("and back, compressed", "s", median(&mine.back), other(|r| &r.back), Bound::PartOfPeer(0.5));
        report.line("worker CPU for both", "s", median(&mine.cpu), other(|r| &r.cpu), Bound::PartOfPeer(0.5));
        report.line("worker memory above idle, at its peak", "MiB", median(&mine.memory), other(|r| &r.memory), Bound::AtMost(16.0));
        report.line("tree to the worker with /tree", "s", median(&modern.there), other(|r| &r.there), Bound::None);
        report.line("verifying it for the next build", "s", median(&modern.back), None, Bound::None);
        report.line("memory above idle of /tree", "MiB", median(&modern.memory), None, Bound::AtMost(16.0));
        anyhow::Ok(())
    })?;
    report.finish(settings)
}

#[derive(Default)]
struct Runs {
    there: Vec<f64>,
    back: Vec<f64>,
    cpu: Vec<f64>,
    memory: Vec<f64>,
}

impl Runs {
    fn push(&mut self, one: &One) {
        self.there.push(one.there);
        self.back.push(one.back);
        self.cpu.push(one.cpu);
        self.memory.push((one.peak - one.idle) / 1024.0);
    }
}

struct One {
    there: f64,
    back: f64,
    cpu: f64,
    idle: f64,
    peak: f64,
}

struct Worker {
    process: Process,
    client: Client,
}

impl Worker {
    async fn start(program: &Path, first: &[&str], dir: &Path) -> anyhow::Result<Worker> {
        let work = dir.join("work");
        std::fs::create_dir_all(&work)?;
        let address = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string();
        let mut command = Command::new(program);
        command.args(first).args(["-listen", &address, "-halt=false", "-workdir"]).arg(&work).current_dir(dir).env("HOME", dir);
        let process = Process::start(command, Some(dir));
        let client = Client::tcp(&address, None);
        let begin = Instant::now();
        while let Err(error) = client.status().await {
            if begin.elapsed() > Duration::from_secs(20) {
                return Err(error).with_context(|| process.text());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(Worker { process, client })
    }

    async fn classic(&self, tgz: &Bytes) -> anyhow::Result<One> {
        let pid = self.process.id();
        self.client.remove_all(&["src"]).await?;
        let idle = memory_kb(pid, "VmRSS");
        reset_peak(pid);
        let cpu = Cpu::of(pid);
        let begin = Instant::now();
        self.client.write_tgz("src", tgz.clone().into()).await?;
        let there = begin.elapsed().as_secs_f64();
        let begin = Instant::now();
        let mut back = self.client.get_tgz("src").await?;
        let mut bytes = 0;
        while let Some(chunk) = back.chunk().await? {
            bytes += chunk.len();
        }
        anyhow::ensure!(bytes > tgz.len() / 2, "only {bytes} bytes came back");
        Ok(One { there, back: begin.elapsed().as_secs_f64(), cpu: (Cpu::of(pid) - cpu).all(), idle, peak: memory_kb(pid, "VmHWM") })
    }

    async fn modern(&self, tar: &Bytes, run: usize) -> anyhow::Result<One> {
        let pid = self.process.id();
        self.client.prepare::<&str>(&[]).await?;
        let idle = memory_kb(pid, "VmRSS");
        reset_peak(pid);
        let cpu = Cpu::of(pid);
        let want = format!("tree{run}");
        let pieces: Vec<std::io::Result<Bytes>> = (0..tar.len()).step_by(256 << 10).map(|at| Ok(tar.slice(at..(at + (256 << 10)).min(tar.len())))).collect();
        let begin = Instant::now();
        let state = self.client.put_tree("src", None, &want, false, Body::stream(futures_util::stream::iter(pieces))).await?;
        let there = begin.elapsed().as_secs_f64();
        anyhow::ensure!(state.tree.as_deref() == Some(&want) && state.dirty.is_empty(), "the worker says {state:?}");
        let begin = Instant::now();
        let kept = self.client.prepare(&["src"]).await?;
        let back = begin.elapsed().as_secs_f64();
        anyhow::ensure!(kept.trees.get("src").is_some_and(|s| s.tree.as_deref() == Some(&want)), "the tree was not kept");
        Ok(One { there, back, cpu: (Cpu::of(pid) - cpu).all(), idle, peak: memory_kb(pid, "VmHWM") })
    }
}

/// A tree as a tar, plain and compressed.
fn tree(seed: u64) -> anyhow::Result<(Bytes, Bytes)> {
    let mut random = StdRng::seed_from_u64(seed);
    let words: Vec<String> = (0..1024).map(|_| (0..random.random_range(2..12)).map(|_| char::from(random.random_range(b'a'..=b'z'))).collect()).collect();
    let mut tar = tar::Builder::new(Vec::new());
    for file in 0..FILES {
        let mut text = String::with_capacity(LETTERS + 64);
        while text.len() < LETTERS {
            text.push_str(words.get(random.random_range(0..words.len())).map_or("", String::as_str));
            text.push(if random.random_range(0..8) == 0 { '\n' } else { ' ' });
        }
        let mut head = tar::Header::new_gnu();
        head.set_size(text.len() as u64);
        head.set_mode(0o644);
        head.set_mtime(1_767_225_600);
        tar.append_data(&mut head, format!("dir{:02}/sub{:02}/file{file}.go", file / 400, file / 20 % 20), text.as_bytes())?;
    }
    let tar = tar.into_inner()?;
    let mut tgz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    std::io::Write::write_all(&mut tgz, &tar)?;
    Ok((tar.into(), tgz.finish()?.into()))
}
