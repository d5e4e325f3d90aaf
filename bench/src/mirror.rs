//! gitmirror beside plain git in a loop, and beside grokmirror: how long until both ends are equal again, and how far a destination lags.
//!
//! All repositories lie on this machine's memory disk, so that programs are compared and not networks. The peers do what their users make them do: a loop runs
//! `git fetch --prune` and `git push --mirror` for each repository, grokmirror compares a manifest and fetches what it says has changed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use burrow_clock::{Ids, SystemClock};
use burrow_gitmirror::config::{Config, Dest, Repo};
use burrow_gitmirror::{Deps, Mirror};
use serde_json::json;

use crate::report::{Bound, Report, median, quantile};
use crate::repository::git;
use crate::settings::{Settings, scratch_in_memory};

/// Repositories.
const REPOS: usize = 200;
/// Branches of each.
const REFS: usize = 100;
/// Commits that are prepared for the branch that moves.
const COMMITS: usize = 400;
/// Active repositories whose lag is measured.
const ACTIVE: usize = 50;
/// Pushes whose lag is measured, in all.
const PUSHES: usize = 600;
/// Pause between two of them: each repository gets one about every four seconds.
const PAUSE: Duration = Duration::from_millis(80);
/// Nothing here takes so long.
const HANG: Duration = Duration::from_secs(300);

/// Upstreams, and one place to mirror them to.
struct World {
    dir: PathBuf,
    repos: usize,
    commits: Vec<String>,
}

impl World {
    fn create(dir: &Path, repos: usize) -> anyhow::Result<World> {
        let template = dir.join("template.git");
        git(dir, &["init", "--quiet", "--bare", "--initial-branch=main", &template.to_string_lossy()])?;
        let mut input = String::new();
        for commit in 0..=COMMITS {
            let title = format!("change {commit}");
            input.push_str(&format!(
                "commit refs/heads/main\nmark :{}\ncommitter Ada Tester <ada@example.org> {} +0000\ndata {}\n{title}\nM 100644 inline part{}/file.txt\ndata {}\n{title}\n\n",
                commit + 1,
                1_767_225_600 + commit * 60,
                title.len(),
                commit % 20,
                title.len() + 1
            ));
        }
        let mut import =
            Command::new("git").args(["fast-import", "--quiet"]).current_dir(&template).stdin(Stdio::piped()).spawn().context("git fast-import")?;
        std::io::Write::write_all(&mut import.stdin.take().context("no input")?, input.as_bytes())?;
        ensure!(import.wait()?.success(), "git fast-import failed");
        let commits: Vec<String> = git(&template, &["rev-list", "--reverse", "main"])?.lines().map(str::to_owned).collect();
        let first = commits.first().context("no commit")?;
        let mut packed = "# pack-refs with: peeled fully-peeled sorted \n".to_owned();
        packed.extend((0..REFS - 1).map(|n| format!("{first} refs/heads/branch-{n:03}\n")));
        packed.push_str(&format!("{first} refs/heads/main\n"));
        std::fs::write(template.join("packed-refs"), packed)?;
        let _ = std::fs::remove_file(template.join("refs/heads/main"));
        for n in 0..repos {
            copy(&template, &dir.join(format!("up/{n}.git")))?;
        }
        Ok(World { dir: dir.to_owned(), repos, commits })
    }

    fn upstream(&self, n: usize) -> PathBuf {
        self.dir.join(format!("up/{n}.git"))
    }

    /// Bare repositories to push to, all equal to the upstreams' beginning so that only the change is measured.
    fn dests(&self, name: &str) -> anyhow::Result<()> {
        (0..self.repos).try_for_each(|n| copy(&self.upstream(n), &self.dir.join(format!("{name}/{n}.git"))))
    }

    fn dest(&self, name: &str, n: usize) -> PathBuf {
        self.dir.join(format!("{name}/{n}.git"))
    }

    /// Moves `main` of a repository to a prepared commit, as a push does.
    fn push(&self, n: usize, commit: usize) -> anyhow::Result<()> {
        let hash = self.commits.get(commit).context("no such commit")?;
        let path = self.upstream(n).join("refs/heads/main");
        let fresh = path.with_extension("lock");
        std::fs::write(&fresh, format!("{hash}\n"))?;
        Ok(std::fs::rename(fresh, path)?)
    }

    fn main_of(path: &Path) -> Option<String> {
        if let Ok(loose) = std::fs::read_to_string(path.join("refs/heads/main")) {
            return Some(loose.trim().to_owned());
        }
        let packed = std::fs::read_to_string(path.join("packed-refs")).ok()?;
        packed.lines().find_map(|line| line.strip_suffix(" refs/heads/main").map(str::to_owned))
    }

    /// Waits until `main` is this commit in all of them. Returns when.
    fn wait(&self, name: &str, commit: usize) -> anyhow::Result<()> {
        let hash = self.commits.get(commit).context("no such commit")?;
        let begun = Instant::now();
        for n in 0..self.repos {
            let path = self.dest(name, n);
            while World::main_of(&path).as_deref() != Some(hash) {
                ensure!(begun.elapsed() < HANG, "{} does not become equal", path.display());
                std::thread::sleep(Duration::from_millis(2));
            }
        }
        Ok(())
    }
}

fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(to.parent().context("no parent")?)?;
    let status = Command::new("cp").arg("-r").arg(from).arg(to).status().context("cp")?;
    ensure!(status.success(), "cp failed");
    Ok(())
}

/// The mirror of a world, in this process.
struct Ours {
    runtime: tokio::runtime::Runtime,
    mirror: Mirror,
    names: Vec<String>,
}

impl Ours {
    fn start(world: &World, dest: Option<&str>, data: &str) -> anyhow::Result<Ours> {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        let names: Vec<String> = (0..world.repos).map(|n| format!("r{n}")).collect();
        let repo = |n: usize| {
            let mut repo = Repo::kept(&format!("r{n}"), &world.upstream(n).to_string_lossy());
            repo.dest = dest.iter().map(|name| Dest::plain("d", &world.dest(name, n).to_string_lossy())).collect();
            repo
        };
        let config =
            Config { repo: (0..world.repos).map(repo).collect(), poll: Duration::from_secs(3600), compare: Duration::from_secs(3600), ..Config::default() };
        let deps = Deps {
            data: world.dir.join(data),
            clock: SystemClock::shared(),
            ids: Ids::seeded(1),
            http: burrow_http_client::Client::new(Default::default())?,
            feed: None,
        };
        let mirror = burrow_task::block_on(&runtime, Mirror::start(config, deps))?;
        let ours = Ours { runtime, mirror, names };
        ours.wait("the first round", |status| status.repos.iter().all(|repo| repo.rounds > 0 && repo.is_quiet() && repo.first_error().is_none()))?;
        Ok(ours)
    }

    fn wait(&self, what: &str, good: impl Fn(&burrow_gitmirror::Status) -> bool) -> anyhow::Result<()> {
        let begun = Instant::now();
        while !good(&self.mirror.status()) {
            ensure!(begun.elapsed() < HANG, "waiting for {what}: {:?}", self.mirror.status().first_error());
            std::thread::sleep(Duration::from_millis(2));
        }
        Ok(())
    }

    /// One look at every upstream, as a poll makes; returns when all are over.
    fn poll(&self) -> anyhow::Result<()> {
        let before: BTreeMap<String, u64> = self.mirror.status().repos.into_iter().map(|repo| (repo.name, repo.rounds)).collect();
        for name in &self.names {
            self.mirror.wake(name);
        }
        self.wait("a poll", |status| status.repos.iter().all(|repo| repo.is_quiet() && before.get(&repo.name).is_some_and(|rounds| repo.rounds > *rounds)))
    }

    fn stop(self) {
        burrow_task::block_on(&self.runtime, self.mirror.stop());
    }
}

/// Processor seconds of the children that have ended.
fn children() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
    let ticks = |at: usize| fields.get(at).and_then(|text| text.parse::<f64>().ok()).unwrap_or(0.0);
    // user and system time, of this process and of its children, in hundredths of a second
    (ticks(11) + ticks(12) + ticks(13) + ticks(14)) / 100.0
}

fn timed(work: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<(f64, f64)> {
    let (cpu, begun) = (children(), Instant::now());
    work()?;
    Ok((begun.elapsed().as_secs_f64(), children() - cpu))
}

/// `git fetch` and `git push --mirror`, one repository after the other.
fn plain(world: &World, cache: &str, dest: &str) -> anyhow::Result<()> {
    for n in 0..world.repos {
        let path = world.dest(cache, n);
        git(&path, &["fetch", "--quiet", "--prune", "origin"])?;
        git(&path, &["push", "--quiet", "--mirror", &world.dest(dest, n).to_string_lossy()])?;
    }
    Ok(())
}

fn grok(pull: &Path, config: &Path) -> anyhow::Result<()> {
    let output = Command::new(pull).arg("-c").arg(config).output().context("grok-pull")?;
    if !output.status.success() {
        bail!("grok-pull: {}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}

fn grok_manifest(pull: &Path, world: &World) -> anyhow::Result<()> {
    let manifest = pull.with_file_name("grok-manifest");
    let up = world.dir.join("up");
    let output = Command::new(manifest).arg("-m").arg(up.join("manifest.js.gz")).arg("-t").arg(&up).output().context("grok-manifest")?;
    ensure!(output.status.success(), "grok-manifest: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// Runs the measure.
///
/// # Errors
/// Something is missing or does not become equal.
pub(crate) fn run(settings: &Settings) -> anyhow::Result<()> {
    let runs = settings.runs(5);
    let repos = settings.load.unwrap_or(REPOS).max(2);
    let mut report = Report::new("mirror");
    let dir = scratch_in_memory()?;
    let world = World::create(dir.path(), repos)?;

    // Two hops: upstream, our copy, destination.
    world.dests("ours-dest")?;
    world.dests("plain-dest")?;
    for n in 0..repos {
        git(dir.path(), &["clone", "--quiet", "--mirror", &world.upstream(n).to_string_lossy(), &world.dest("plain", n).to_string_lossy()])?;
    }
    let ours = Ours::start(&world, Some("ours-dest"), "ours")?;
    let (mut mine, mut theirs, mut my_cpu, mut their_cpu) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mut commit = 0;
    for run in 0..runs {
        commit += 1;
        // One reference in each: 1 % of all, in the way that costs most.
        (0..repos).try_for_each(|n| world.push(n, commit))?;
        let (wall, cpu) = timed(|| {
            for name in &ours.names {
                ours.mirror.wake(name);
            }
            world.wait("ours-dest", commit)
        })?;
        ours.wait("quiet", |status| status.repos.iter().all(burrow_gitmirror::status::RepoStatus::is_quiet))?;
        report.run(json!({"run": run, "who": "ours", "wall_s": wall, "cpu_s": cpu}));
        mine.push(wall);
        my_cpu.push(cpu);
        let (wall, cpu) = timed(|| plain(&world, "plain", "plain-dest"))?;
        world.wait("plain-dest", commit)?;
        report.run(json!({"run": run, "who": "git in a loop", "wall_s": wall, "cpu_s": cpu}));
        theirs.push(wall);
        their_cpu.push(cpu);
    }
    report.line(
        format!("{repos} repositories, {} references, 1 % changed: both ends equal", repos * REFS),
        "s",
        median(&mine),
        Some(median(&theirs)),
        Bound::PartOfPeer(0.5),
    );
    report.line("the same, processor time", "s", median(&my_cpu), Some(median(&their_cpu)), Bound::None);

    // Nothing changed.
    let (mut mine, mut theirs) = (Vec::new(), Vec::new());
    for run in 0..runs {
        let (wall, _) = timed(|| ours.poll())?;
        let (loop_wall, _) = timed(|| plain(&world, "plain", "plain-dest"))?;
        report.run(json!({"run": run, "what": "nothing changed", "ours_s": wall, "git_in_a_loop_s": loop_wall}));
        mine.push(wall);
        theirs.push(loop_wall);
    }
    report.line(format!("{repos} repositories, nothing changed: one round"), "s", median(&mine), Some(median(&theirs)), Bound::PartOfPeer(0.5));
    ours.stop();

    one_hop(settings, &world, runs, &mut commit, &mut report)?;
    lag(&world, &mut commit, &mut report)?;
    report.finish(settings)
}

/// One hop: upstream and a copy, which is all that grokmirror does.
fn one_hop(settings: &Settings, world: &World, runs: usize, commit: &mut usize, report: &mut Report) -> anyhow::Result<()> {
    let ours = Ours::start(world, None, "copies")?;
    let grok_pull = settings.grok_pull();
    let config = world.dir.join("grok.conf");
    if let Some(pull) = &grok_pull {
        let (top, up) = (world.dir.join("grok"), world.dir.join("up"));
        std::fs::create_dir_all(&top)?;
        let text = format!(
            "[core]\ntoplevel = {top}\nmanifest = {top}/manifest.js.gz\nlog = {top}/log\nloglevel = info\n[remote]\nsite = {up}\nmanifest = file://{up}/manifest.js.gz\n[pull]\npull_threads = 2\nrefresh = 60\n",
            top = top.display(),
            up = up.display()
        );
        std::fs::write(&config, text)?;
        grok_manifest(pull, world)?;
        grok(pull, &config)?;
    }
    let (mut mine, mut theirs) = (Vec::new(), Vec::new());
    for run in 0..runs {
        *commit += 1;
        (0..world.repos).try_for_each(|n| world.push(n, *commit))?;
        let (wall, cpu) = timed(|| ours.poll())?;
        (0..world.repos).try_for_each(|n| {
            let here = ours.mirror.bare_path(&format!("r{n}")).and_then(|path| World::main_of(&path));
            ensure!(here.as_ref() == world.commits.get(*commit), "the copy is not equal");
            Ok(())
        })?;
        report.run(json!({"run": run, "who": "ours, one hop", "wall_s": wall, "cpu_s": cpu}));
        mine.push(wall);
        if let Some(pull) = &grok_pull {
            grok_manifest(pull, world)?;
            let (wall, cpu) = timed(|| grok(pull, &config))?;
            world.wait("grok", *commit)?;
            report.run(json!({"run": run, "who": "grok-pull", "wall_s": wall, "cpu_s": cpu}));
            theirs.push(wall);
        }
    }
    let peer = (!theirs.is_empty()).then(|| median(&theirs));
    report.line(format!("{} repositories, one hop, 1 % changed: equal (peer: grokmirror)", world.repos), "s", median(&mine), peer, Bound::PartOfPeer(0.5));
    ours.stop();
    Ok(())
}

/// Push to destination, of fifty repositories that are all in use.
fn lag(world: &World, commit: &mut usize, report: &mut Report) -> anyhow::Result<()> {
    let active = World { dir: world.dir.clone(), repos: world.repos.min(ACTIVE), commits: world.commits.clone() };
    active.dests("lag-dest")?;
    let ours = Ours::start(&active, Some("lag-dest"), "lag")?;
    let (mut polls, mut lags) = (Vec::new(), Vec::new());
    for _ in 0..5 {
        polls.push(timed(|| ours.poll())?.0);
    }
    report.line(format!("{} repositories, nothing changed: one round", active.repos), "s", median(&polls), None, Bound::AtMost(1.0));
    let mut waiting: Vec<(usize, usize, Instant)> = Vec::new();
    let mut newest = vec![*commit; active.repos];
    let (mut sent, mut next) = (0, Instant::now());
    let begun = Instant::now();
    while sent < PUSHES || !waiting.is_empty() {
        ensure!(begun.elapsed() < HANG, "pushes do not arrive");
        if sent < PUSHES && next <= Instant::now() {
            let n = (sent * 37) % active.repos;
            let to = newest.get(n).copied().unwrap_or(0) + 1;
            if to < active.commits.len() {
                active.push(n, to)?;
                ours.mirror.wake(&format!("r{n}"));
                waiting.push((n, to, Instant::now()));
                if let Some(slot) = newest.get_mut(n) {
                    *slot = to;
                }
            }
            sent += 1;
            next += PAUSE;
        }
        waiting.retain(|(n, to, since)| {
            let here = World::main_of(&active.dest("lag-dest", *n)).and_then(|hash| active.commits.iter().position(|commit| *commit == hash));
            // A later commit brings the earlier one along.
            let arrived = here.is_some_and(|here| here >= *to);
            if arrived {
                lags.push(since.elapsed().as_secs_f64());
            }
            !arrived
        });
        std::thread::sleep(Duration::from_millis(1));
    }
    report.run(json!({"what": "lag", "pushes": lags.len(), "p50_s": quantile(&lags, 0.5), "p99_s": quantile(&lags, 0.99), "max_s": quantile(&lags, 1.0)}));
    report.line(format!("push → destination, {} active repositories, p50", active.repos), "s", quantile(&lags, 0.5), None, Bound::None);
    report.line("the same, p99", "s", quantile(&lags, 0.99), None, Bound::AtMost(3.0));
    ours.stop();
    Ok(())
}
