//! Throughput: 40 commits × 4 builders of a repository of 1,000 files, each build a checkout and `true`, on 4 places for builds (Burrow: 4 worker
//! processes; Buildbot: 2 workers that take 2 builds each). Both have built the first commit before, so that checkouts are incremental. Wall time is from
//! the push until the last build has ended and is recorded, as the builds' own times say; CPU is that of the master process with its children.

use std::time::Duration;

use anyhow::Context as _;
use serde_json::{Value, json};

use crate::buildbot::Buildbot;
use crate::farm::{Farm, Recipe, now_ms};
use crate::procfs::Cpu;
use crate::report::{Bound, Report, median};
use crate::repository::Repository;
use crate::settings::{Settings, scratch};

/// Commits pushed at once.
const COMMITS: usize = 40;
/// Builders.
const BUILDERS: usize = 4;
/// A side that takes longer has failed.
const LIMIT: Duration = Duration::from_secs(600);

/// Measures.
///
/// # Errors
/// A side cannot be run.
pub(crate) fn run(settings: &Settings) -> anyhow::Result<()> {
    let burrow = settings.burrow()?;
    let venv = settings.buildbot();
    let rounds = settings.runs(3);
    let mut report = Report::new("noop");
    let dir = scratch()?;
    let repository = Repository::create(&dir.path().join("repo.git"), COMMITS * rounds)?;
    let builds = COMMITS * BUILDERS;

    let ours_dir = dir.path().join("burrow");
    std::fs::create_dir(&ours_dir)?;
    let recipe = Recipe { workers: 4, builders: BUILDERS, run: "[\"true\"]", poll: "10m" };
    let farm = Farm::start(&burrow, &ours_dir, &recipe.toml(&repository.dir))?;
    let mut http = farm.connect()?;
    farm.ended(&mut http, BUILDERS, 0, LIMIT)?;
    let mut peer = match venv {
        Some(venv) => {
            let mut peer = Buildbot::start(venv, &dir.path().join("buildbot"), &repository.dir, BUILDERS)?;
            // Often enough that every worker has every builder's clone.
            for _ in 0..6 {
                peer.build("all", &[repository.commits.first().context("no commit")?.clone()], BUILDERS, LIMIT)?;
            }
            Some(peer)
        }
        None => None,
    };

    let (mut ours, mut theirs) = (Runs::default(), Runs::default());
    for round in 0..rounds {
        let (coordinator, workers) = (Cpu::of(farm.pid()), farm.workers());
        let worker_cpu = || workers.iter().map(|pid| Cpu::of(*pid).all()).sum::<f64>();
        let worker_before = worker_cpu();
        let pushed = now_ms();
        repository.push((round + 1) * COMMITS)?;
        farm.announce(&mut http)?;
        let all = farm.ended(&mut http, builds, pushed, LIMIT)?;
        let cpu = Cpu::of(farm.pid()) - coordinator;
        let passed = all.iter().filter(|b| b["state"] == "passed").count();
        let last = all.iter().filter_map(|b| b["ended_ms"].as_i64()).max().context("no build has ended")?;
        let first = all.iter().filter_map(|b| b["created_ms"].as_i64()).min().context("no build was made")?;
        let seconds = (last - pushed) as f64 / 1000.0;
        report.run(json!({"side": "burrow", "builds": all.len(), "passed": passed, "seconds": seconds, "until_queued": (first - pushed) as f64 / 1000.0,
            "cpu": cpu.own, "cpu_children": cpu.children, "cpu_workers": worker_cpu() - worker_before}));
        anyhow::ensure!(passed == builds, "{passed} of {builds} builds passed: {:?}", all.iter().find(|b| b["state"] != "passed"));
        ours.push(builds, seconds, cpu.all());

        if let Some(peer) = &mut peer {
            let before = Cpu::of(peer.pid());
            let commits: Vec<String> = repository.commits.iter().skip(round * COMMITS + 1).take(COMMITS).cloned().collect();
            let done = peer.build("all", &commits, builds, LIMIT)?;
            let cpu = Cpu::of(peer.pid()) - before;
            report.run(json!({"side": "buildbot", "builds": done.times.len(), "passed": done.passed, "seconds": done.seconds, "cpu": cpu.own, "cpu_children": cpu.children}));
            theirs.push(builds, done.seconds, cpu.all());
        }
    }
    drop((farm, peer));
    report.line(
        "no-op builds per second",
        "/s",
        median(&ours.rate),
        theirs.median(|r| &r.rate),
        if theirs.rate.is_empty() { Bound::AtLeast(81.0) } else { Bound::TimesPeer(30.0) },
    );
    report.line(
        "master CPU per build",
        "ms",
        median(&ours.cpu),
        theirs.median(|r| &r.cpu),
        if theirs.cpu.is_empty() { Bound::AtMost(6.4) } else { Bound::PartOfPeer(1.0 / 50.0) },
    );
    report.line("DESIGN's own figure: builds per second", "/s", median(&ours.rate), None, Bound::AtLeast(200.0));
    report.line("DESIGN's own figure: CPU per build", "ms", median(&ours.cpu), None, Bound::AtMost(2.0));
    report.finish(settings)
}

#[derive(Default)]
struct Runs {
    rate: Vec<f64>,
    cpu: Vec<f64>,
}

impl Runs {
    fn push(&mut self, builds: usize, seconds: f64, cpu: f64) {
        self.rate.push(builds as f64 / seconds);
        self.cpu.push(cpu * 1000.0 / builds as f64);
    }

    fn median(&self, which: impl Fn(&Runs) -> &Vec<f64>) -> Option<f64> {
        (!which(self).is_empty()).then(|| median(which(self)))
    }
}

/// For other measures: what a build's JSON says.
pub(crate) fn state(build: &Value) -> &str {
    build["state"].as_str().unwrap_or_default()
}
