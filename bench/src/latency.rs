//! Latency: one no-op build after the other, from the request until its end is on disk and published. The coordinator runs inside this program, as it
//! does inside `burrow build`; its workers are real processes. Durable writes: SQLite as always (WAL, synchronous FULL).

use std::ffi::OsString;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use burrow_clock::SystemClock;
use burrow_coordinator::control::{Change, Submit};
use burrow_coordinator::farm::{Farm, Options};
use burrow_results::model::{BuildState, Class};
use serde_json::json;

use crate::buildbot::Buildbot;
use crate::farm::Recipe;
use crate::report::{Bound, Report, median, quantile};
use crate::repository::Repository;
use crate::settings::{Settings, scratch};

/// Commits that the builds take turns with.
const COMMITS: usize = 40;
/// Builds that go from one end of the history to the other.
const FAR: usize = 21;
/// A side that takes longer for a build has failed.
const LIMIT: Duration = Duration::from_secs(60);

/// Measures.
///
/// # Errors
/// A side cannot be run.
pub(crate) fn run(settings: &Settings) -> anyhow::Result<()> {
    let worker: Vec<OsString> = vec![settings.burrow()?.into(), "buildlet".into()];
    let venv = settings.buildbot();
    let builds = settings.load.unwrap_or(400);
    let runs = settings.runs(3);
    let mut report = Report::new("latency");
    let dir = scratch()?;
    let repository = Repository::create(&dir.path().join("repo.git"), COMMITS)?;
    repository.push(COMMITS)?;
    let mut peer = venv.map(|venv| Buildbot::start(venv, &dir.path().join("buildbot"), &repository.dir, 1)).transpose()?;
    let (mut p50, mut p99, mut far, mut theirs) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for run in 0..runs {
        let data = dir.path().join(format!("burrow-{run}"));
        let (times, jumps) = ours(&repository, &data, worker.clone(), builds)?;
        p50.push(quantile(&times, 0.5));
        p99.push(quantile(&times, 0.99));
        far.push(quantile(&jumps, 0.5));
        report.run(json!({"side": "burrow", "builds": builds, "p50_ms": quantile(&times, 0.5), "p90_ms": quantile(&times, 0.9), "p99_ms": quantile(&times, 0.99), "worst_ms": quantile(&times, 1.0), "far_ms": quantile(&jumps, 0.5)}));
        if let Some(peer) = &mut peer {
            let mut times = Vec::new();
            for build in 0..24 {
                let commit = repository.commits.get(build % COMMITS).context("no commit")?.clone();
                let done = peer.build("one", &[commit], 1, LIMIT)?;
                // The first ones make the clones.
                if run > 0 || build >= 4 {
                    times.push(done.seconds * 1000.0);
                }
            }
            report.run(json!({"side": "buildbot", "builds": times.len(), "p50_ms": quantile(&times, 0.5), "p99_ms": quantile(&times, 0.99)}));
            theirs.extend(times);
        }
    }
    let peer = |part| (!theirs.is_empty()).then(|| quantile(&theirs, part));
    report.line("one build, p50", "ms", median(&p50), peer(0.5), Bound::AtMost(15.0));
    report.line("one build, p99", "ms", median(&p99), peer(0.99), Bound::AtMost(60.0));
    report.line("one build of a commit 39 commits away, p50", "ms", median(&far), None, Bound::None);
    report.finish(settings)
}

/// The commits that builds are of: there and back again, so that each is the neighbour of the one before, as in a history that grows.
fn neighbour(build: usize) -> usize {
    let turn = 2 * (COMMITS - 1);
    let at = build % turn;
    at.min(turn - at)
}

/// Milliseconds of builds of neighbouring commits, and of builds of commits as far from each other as there are.
fn ours(repository: &Repository, data: &Path, worker: Vec<OsString>, builds: usize) -> anyhow::Result<(Vec<f64>, Vec<f64>)> {
    let recipe = Recipe { workers: 1, builders: 1, run: "[\"true\"]", poll: "10m" };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    burrow_task::block_on(&runtime, async {
        let farm = start(&recipe, repository, data, worker).await?;
        let control = farm.control();
        let (mut times, mut jumps) = (Vec::new(), Vec::new());
        // The first builds send the whole tree and warm the caches of all programs; the last ones go from one end of the history to the other.
        for build in 0..builds + 10 + FAR {
            let mut changes = control.changes();
            let request = Submit {
                repo: "bench".into(),
                revision: repository.commits.get(if build < builds + 10 { neighbour(build) } else { build % 2 * (COMMITS - 1) }).context("no commit")?.clone(),
                builder: "b1".into(),
                class: Class::Interactive,
                actor: "bench".into(),
                reason: String::new(),
            };
            let begin = Instant::now();
            let id = control.submit(request).await?;
            let state = tokio::time::timeout(LIMIT, async {
                loop {
                    if let Change::Build { build, state, .. } = changes.recv().await?.1
                        && build == id
                        && state.ended()
                    {
                        return anyhow::Ok(state);
                    }
                }
            });
            let state = state.await??;
            anyhow::ensure!(state == BuildState::Passed, "build {id} ended as {}", state.word());
            let took = begin.elapsed().as_secs_f64() * 1000.0;
            // The first of the far ones begins wherever the others ended.
            if build > builds + 10 {
                jumps.push(took);
            } else if (10..builds + 10).contains(&build) {
                times.push(took);
            }
        }
        farm.stop(true).await;
        Ok((times, jumps))
    })
}

/// A farm inside this program that builds only what it is asked for.
///
/// # Errors
/// It does not start.
pub(crate) async fn start(recipe: &Recipe<'_>, repository: &Repository, data: &Path, worker: Vec<OsString>) -> anyhow::Result<Arc<Farm>> {
    let config = burrow_builders::Config::parse("bench.toml", &recipe.toml(&repository.dir)).map_err(|errors| anyhow::anyhow!("{errors}"))?;
    let options = Options {
        config,
        reload: None,
        data: data.to_owned(),
        database: None,
        worker_program: worker,
        worker_env: Options::inherited(std::env::vars_os()),
        clock: SystemClock::shared(),
        poll: false,
        mirrored: None,
        events: None,
    };
    Ok(Farm::start(options).await?)
}
