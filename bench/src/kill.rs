//! The durability proof: SIGKILL at random moments for coordinator and workers while builds run that write known logs.
//!
//! Half of the builds come from pushes, half are asked for over HTTP; all are small programs that note their start in a journal and then write lines that
//! follow from commit and builder, over some milliseconds or seconds. At the end every build that was acknowledged or pushed must be there once and
//! have passed, with its log byte for byte, and no attempt may have been run twice. A build that lost three workers is given up by rule
//! (`infra_failed`, visible as such); it is asked for again and must then pass.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::{Value, json};

use crate::farm::{Farm, Recipe, builds};
use crate::http::Connection;
use crate::noop::state;
use crate::report::{Bound, Report, quantile};
use crate::repository::Repository;
use crate::settings::{Settings, scratch};

const WORKERS: usize = 4;
const BUILDERS: usize = 4;
/// Commits whose builds are asked for; as many again are pushed.
const COMMITS: usize = 25;
/// Longest time that a build writes.
const LONGEST_MS: u64 = 6_000;
/// All must have ended so long after the last kill.
const PATIENCE: Duration = Duration::from_secs(180);

/// Measures.
///
/// # Errors
/// The farm cannot be run. What was lost or doubled is in the report.
pub(crate) fn run(settings: &Settings) -> anyhow::Result<()> {
    let burrow = settings.burrow()?;
    let kills = settings.load.unwrap_or(300);
    let mut report = Report::new("kill");
    let mut random = StdRng::seed_from_u64(settings.seed);
    let dir = scratch()?;
    let repository = Repository::create(&dir.path().join("repo.git"), 2 * COMMITS)?;
    repository.push(COMMITS)?;
    let ours = dir.path().join("burrow");
    std::fs::create_dir(&ours)?;
    let journal = dir.path().join("journal");
    let run = format!("[{:?}, \"write-log\", {:?}]", std::env::current_exe()?.display().to_string(), journal.display().to_string());
    let recipe = Recipe { workers: WORKERS, builders: BUILDERS, run: &run, poll: "500ms" };
    let mut farm = Farm::start(&burrow, &ours, &recipe.toml(&repository.dir))?;

    let mut wanted: Vec<(String, String)> = Vec::new();
    for commit in repository.commits.iter().take(COMMITS) {
        wanted.extend((1..=BUILDERS).map(|number| (commit.clone(), format!("b{number}"))));
    }
    let mut acknowledged: Vec<i64> = Vec::new();
    let (mut coordinator_kills, mut worker_kills, mut pushed) = (0, 0, COMMITS);
    let mut ready = Vec::new();
    let begin = Instant::now();
    for kill in 0..kills {
        // All is asked for in the first two thirds.
        let due = ((kill + 1) * 3 * COMMITS * BUILDERS / (kills * 2)).min(COMMITS * BUILDERS);
        for (commit, builder) in wanted.drain(..due.saturating_sub(acknowledged.len()).min(wanted.len())) {
            acknowledged.push(ask(&farm, &commit, &builder)?);
        }
        if pushed < 2 * COMMITS && (kill + 1) * 3 * COMMITS / (kills * 2) > pushed - COMMITS {
            pushed += 1;
            repository.push(pushed)?;
        }
        std::thread::sleep(Duration::from_millis(random.random_range(20..500)));
        let which = random.random_range(0..100);
        if which >= 60 {
            let workers = farm.workers();
            if !workers.is_empty() {
                let pid = workers[random.random_range(0..workers.len())];
                testkit_harness::process::signal(pid, rustix::process::Signal::KILL);
                worker_kills += 1;
            }
        }
        if which < 65 {
            farm.kill();
            coordinator_kills += 1;
            // Sometimes it is away for a while, sometimes it dies while it starts.
            match random.random_range(0..10) {
                0 | 1 => std::thread::sleep(Duration::from_millis(random.random_range(0..800))),
                2 => {
                    farm.start_and_kill(Duration::from_millis(random.random_range(1..150)));
                    coordinator_kills += 1;
                }
                _ => {}
            }
            ready.push(farm.restart()?.as_secs_f64());
        }
        if kill % 50 == 49 {
            eprintln!("  {} kills after {:.0} s", kill + 1, begin.elapsed().as_secs_f64());
        }
    }
    for (commit, builder) in wanted.drain(..) {
        acknowledged.push(ask(&farm, &commit, &builder)?);
    }
    while pushed < 2 * COMMITS {
        pushed += 1;
        repository.push(pushed)?;
    }
    let mut http = farm.connect()?;
    let expected = (2 * COMMITS + 1) * BUILDERS;
    let found = settle(&farm, &mut http, expected)?;
    let mut proof = Proof::default();
    proof.check(&mut http, &repository, &found, &acknowledged, &journal, worker_kills)?;
    report.run(json!({"side": "burrow", "seed": settings.seed, "seconds": begin.elapsed().as_secs_f64(), "coordinator_kills": coordinator_kills, "worker_kills": worker_kills,
        "builds": found.len(), "attempts": proof.attempts, "attempts_lost_with_workers": proof.infra, "given_up_by_rule": proof.given_up,
        "faults": proof.faults, "ready_p50_s": quantile(&ready, 0.5), "ready_worst_s": quantile(&ready, 1.0)}));
    for fault in &proof.faults {
        println!("FAULT: {fault}");
    }
    if !proof.faults.is_empty() {
        // What is needed to find out why.
        println!("The data is kept in {}", dir.keep().display());
    }
    report.line("kills", "", (coordinator_kills + worker_kills) as f64, None, Bound::AtLeast(kills as f64));
    report.line("builds lost or damaged", "", proof.lost as f64, None, Bound::AtMost(0.0));
    report.line("builds or attempts doubled", "", proof.doubled as f64, None, Bound::AtMost(0.0));
    report.line("attempts lost without a worker having been killed", "", proof.infra.saturating_sub(worker_kills) as f64, None, Bound::AtMost(0.0));
    report.line("ready after a kill, p50", "s", quantile(&ready, 0.5), None, Bound::AtMost(0.5));
    report.line("ready after a kill, the slowest", "s", quantile(&ready, 1.0), None, Bound::None);
    report.finish(settings)
}

/// Asks for a build until it is acknowledged. An answer that was lost is looked for before it is asked again, as a careful client does.
fn ask(farm: &Farm, commit: &str, builder: &str) -> anyhow::Result<i64> {
    let mut http = farm.connect()?;
    let request = json!({"repo": "bench", "revision": commit, "builder": builder, "class": "batch"});
    let answer = http.post("/api/v1/builds", &request)?;
    answer["build"].as_i64().with_context(|| format!("{answer}"))
}

/// Waits until everything has ended, and returns all builds.
fn settle(farm: &Farm, http: &mut Connection, expected: usize) -> anyhow::Result<Vec<Value>> {
    let begin = Instant::now();
    loop {
        let all = builds(http, "repo=bench")?;
        let open = all.iter().filter(|b| !b["ended_ms"].is_i64()).count();
        if open == 0 && all.len() >= expected {
            return Ok(all);
        }
        if begin.elapsed() > PATIENCE {
            let stuck: Vec<String> = all.iter().filter(|b| !b["ended_ms"].is_i64()).map(|b| format!("{} {}", b["id"], state(b))).collect();
            bail!("after {} s there are {} of {expected} builds, and these have not ended: {stuck:?}\n{}", PATIENCE.as_secs(), all.len(), farm.process.text());
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}

#[derive(Default)]
struct Proof {
    faults: Vec<String>,
    lost: usize,
    doubled: usize,
    attempts: usize,
    infra: usize,
    given_up: usize,
}

impl Proof {
    fn lost(&mut self, fault: String) {
        self.lost += 1;
        self.faults.push(fault);
    }

    fn doubled(&mut self, fault: String) {
        self.doubled += 1;
        self.faults.push(fault);
    }

    fn check(
        &mut self,
        http: &mut Connection,
        repository: &Repository,
        found: &[Value],
        acknowledged: &[i64],
        journal: &Path,
        worker_kills: usize,
    ) -> anyhow::Result<()> {
        let ids: BTreeSet<i64> = found.iter().filter_map(|b| b["id"].as_i64()).collect();
        for id in acknowledged.iter().filter(|id| !ids.contains(id)) {
            self.lost(format!("build {id} was acknowledged and is gone"));
        }
        let mut cells: BTreeMap<(String, String), Vec<&Value>> = BTreeMap::new();
        for build in found {
            let text = |key: &str| build[key].as_str().unwrap_or_default().to_owned();
            cells.entry((text("hash"), text("builder"))).or_default().push(build);
        }
        for commit in &repository.commits {
            for number in 1..=BUILDERS {
                let cell = (commit.clone(), format!("b{number}"));
                match cells.get(&cell).map(Vec::as_slice) {
                    None => self.lost(format!("{cell:?} was never built")),
                    Some([build]) => self.build(http, build)?,
                    Some(several) => {
                        self.doubled(format!("{cell:?} was built {} times: {:?}", several.len(), several.iter().map(|b| &b["id"]).collect::<Vec<_>>()))
                    }
                }
            }
        }
        let mut begun: BTreeMap<&str, usize> = BTreeMap::new();
        let text = std::fs::read_to_string(journal)?;
        for line in text.lines() {
            *begun.entry(line).or_default() += 1;
        }
        for (line, times) in begun.into_iter().filter(|(_, times)| *times > 1) {
            self.doubled(format!("the command of build and attempt {line} was started {times} times"));
        }
        if self.infra > worker_kills {
            self.faults.push(format!("{} attempts were lost, but only {worker_kills} workers were killed", self.infra));
        }
        Ok(())
    }

    fn build(&mut self, http: &mut Connection, build: &Value) -> anyhow::Result<()> {
        let id = build["id"].as_i64().context("a build without a number")?;
        let whole = http.json(&format!("/api/v1/builds/{id}"))?;
        let attempts = whole["attempts_list"].as_array().cloned().unwrap_or_default();
        let numbers: Vec<i64> = attempts.iter().filter_map(|a| a["number"].as_i64()).collect();
        if numbers != (1..=attempts.len() as i64).collect::<Vec<_>>() {
            self.doubled(format!("build {id} has attempts {numbers:?}"));
        }
        let infra = attempts.iter().filter(|a| state(a) == "infra_failed").count();
        self.attempts += attempts.len();
        self.infra += infra;
        match state(build) {
            "passed" => self.log(http, &whole, attempts.last()),
            "infra_failed" if infra == 3 => {
                self.given_up += 1;
                let again = http.post(&format!("/api/v1/builds/{id}/retry"), &json!({}))?["build"].as_i64().context("no build")?;
                let begin = Instant::now();
                loop {
                    let whole = http.json(&format!("/api/v1/builds/{again}"))?;
                    if whole["ended_ms"].is_i64() {
                        let attempts = whole["attempts_list"].as_array().cloned().unwrap_or_default();
                        if state(&whole) != "passed" {
                            self.lost(format!("build {again}, the retry of {id}, ended as {}", state(&whole)));
                        }
                        return self.log(http, &whole, attempts.last());
                    }
                    ensure!(begin.elapsed() < PATIENCE, "the retry of build {id} does not end");
                    std::thread::sleep(Duration::from_millis(50));
                }
            }
            other => {
                let messages: Vec<String> = attempts.iter().map(|a| format!("{} {} {}", a["number"], state(a), a["message"])).collect();
                self.lost(format!("build {id} ended as {other}: {messages:?}"));
                Ok(())
            }
        }
    }

    fn log(&mut self, http: &mut Connection, build: &Value, attempt: Option<&Value>) -> anyhow::Result<()> {
        let id = build["id"].as_i64().unwrap_or_default();
        let Some(hash) = attempt.and_then(|a| a["log"].as_str()) else {
            self.lost(format!("build {id} has no log"));
            return Ok(());
        };
        let log = http.get(&format!("/log/{hash}"))?;
        let expected =
            lines(build["hash"].as_str().unwrap_or_default(), build["builder"].as_str().unwrap_or_default()).map(|(_, line)| line).collect::<String>();
        let at = log.windows(expected.len()).position(|window| window == expected.as_bytes());
        // What stands around the output is the coordinator's own: the head, the step's name and the last word. None of the command's lines are in it.
        let rest = at.map(|at| [log.get(..at).unwrap_or_default(), log.get(at + expected.len()..).unwrap_or_default()].concat());
        match rest.map(|rest| String::from_utf8_lossy(&rest).into_owned()) {
            None => self.lost(format!("the log of build {id} is damaged: {} bytes, the command wrote {}", log.len(), expected.len())),
            Some(rest) if rest.contains("line ") || rest.matches("##### run").count() != 1 || !rest.ends_with("All steps passed.\n") => {
                self.doubled(format!("the log of build {id} has more in it than it should: {rest:?}"));
            }
            Some(_) => {}
        }
        Ok(())
    }
}

/// What a build writes: each line with the pause before it.
fn lines(commit: &str, builder: &str) -> impl Iterator<Item = (Duration, String)> {
    let seed = commit.bytes().chain(builder.bytes()).fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    let mut random = StdRng::seed_from_u64(seed);
    let count = random.random_range(5..400usize);
    // Short ones too: those end while the coordinator is away.
    let total = if random.random_range(0..4) == 0 { 30 } else { random.random_range(30..LONGEST_MS) };
    let pauses = count.min(40);
    (0..count).map(move |number| {
        let mut line = format!("line {number} ");
        for _ in 0..random.random_range(0..60) {
            let _ = write!(line, "{:04x}", random.random::<u16>());
        }
        line.push('\n');
        let pause = if number % count.div_ceil(pauses) == 0 { Duration::from_millis(total / pauses as u64) } else { Duration::ZERO };
        (pause, line)
    })
}

/// The command of the builds.
///
/// # Errors
/// The journal or standard output cannot be written.
pub(crate) fn write_log(journal: &Path) -> anyhow::Result<()> {
    let name = |name: &str| std::env::var(name).with_context(|| format!("{name} is not set"));
    let mut journal = std::fs::File::options().create(true).append(true).open(journal)?;
    // One write, so that lines of different builds do not mix.
    journal.write_all(format!("{} {}\n", name("BURROW_BUILD")?, name("BURROW_ATTEMPT")?).as_bytes())?;
    let mut out = std::io::stdout().lock();
    for (pause, line) in lines(&name("BURROW_COMMIT")?, &name("BURROW_BUILDER")?) {
        if !pause.is_zero() {
            out.flush()?;
            std::thread::sleep(pause);
        }
        out.write_all(line.as_bytes())?;
    }
    Ok(out.flush()?)
}
