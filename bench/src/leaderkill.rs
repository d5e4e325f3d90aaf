//! SIGKILL of maintnerd at random moments while it reads a Gerrit whose world goes on changing, with followers at its log. Nothing that a follower or the index
//! has shown may change or be gone afterwards, no follower may be told that the history was split, and in the end the corpus is the world.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use burrow_godata::{Error, GetError, GetOptions, Live};
use protocol_mutlog::{Index, Sha224};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::json;
use testkit_gerrit::Gerrit;
use tokio::sync::watch;

use crate::report::{Bound, Report, quantile};
use crate::settings::{Settings, scratch};

/// Kills, unless the command line says otherwise.
const KILLS: usize = 1_000;
/// Steps of the world between two kills.
const STEPS: usize = 5;
/// Followers at the log.
const FOLLOWERS: usize = 3;
/// A start or a round that takes longer has failed.
const LIMIT: Duration = Duration::from_secs(60);
/// How long a kill waits for more to be written.
const PATIENCE: Duration = Duration::from_millis(1_500);
/// The host of the projects in the log.
const HOST: &str = "review.example.org";

/// Measures.
///
/// # Errors
/// Something was lost, or cannot be run.
pub(crate) fn run(settings: &Settings) -> anyhow::Result<()> {
    let mut report = Report::new("maintnerd-kill");
    let kills = settings.load.unwrap_or(KILLS);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let found = burrow_task::block_on(&runtime, kill(settings, kills))?;
    report.run(json!({"side": "burrow", "kills": kills, "records": found.records, "bytes": found.bytes, "changes": found.changes, "lost": found.lost, "splits": found.splits,
        "ready_p50_ms": quantile(&found.ready, 0.5), "ready_worst_ms": quantile(&found.ready, 1.0), "torn": found.torn}));
    report.line("kills", "", kills as f64, None, Bound::AtLeast(kills as f64));
    report.line("records written meanwhile", "", found.records as f64, None, Bound::None);
    report.line("acknowledged bytes lost or changed", "", found.lost as f64, None, Bound::AtMost(0.0));
    report.line("followers told of another history", "", found.splits as f64, None, Bound::AtMost(0.0));
    report.line("differences between corpus and world at the end", "", found.differences as f64, None, Bound::AtMost(0.0));
    report.line("ready after a kill, p50", "ms", quantile(&found.ready, 0.5), None, Bound::None);
    report.line("ready after a kill, worst", "ms", quantile(&found.ready, 1.0), None, Bound::None);
    report.finish(settings)
}

#[derive(Default)]
struct Found {
    records: u64,
    bytes: u64,
    changes: usize,
    /// Times that bytes which had been shown were gone or others.
    lost: usize,
    splits: usize,
    differences: usize,
    ready: Vec<f64>,
    /// Starts that found an unfinished record.
    torn: usize,
}

struct Daemon {
    child: Child,
    torn: bool,
}

impl Daemon {
    /// Starts it and waits until it says where its log is; as a supervisor does, again when it ends at once. A child that the killed one was just starting may hold
    /// its port or its lock for a moment.
    fn start(burrow: &Path, config: &Path) -> anyhow::Result<Daemon> {
        let begin = Instant::now();
        loop {
            match Daemon::start_once(burrow, config) {
                Err(error) if begin.elapsed() < LIMIT && error.to_string().contains("in use") => std::thread::sleep(Duration::from_millis(20)),
                result => return result,
            }
        }
    }

    fn start_once(burrow: &Path, config: &Path) -> anyhow::Result<Daemon> {
        let mut child =
            Command::new(burrow).args(["maintnerd", "--config"]).arg(config).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
        let mut lines = BufReader::new(child.stderr.take().context("a piped stderr")?).lines();
        let mut torn = false;
        let begin = Instant::now();
        loop {
            let line = lines.next().with_context(|| "maintnerd ended before it was ready")??;
            torn |= line.contains("unfinished record");
            if line.starts_with("The log is at") {
                break;
            }
            if line.starts_with("error") || begin.elapsed() > LIMIT {
                bail!("maintnerd does not start: {line}");
            }
        }
        // Read on, or it would stop at a full pipe.
        std::thread::spawn(move || lines.for_each(drop));
        Ok(Daemon { child, torn })
    }

    fn kill(mut self) -> anyhow::Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }
}

/// What the index shows now.
async fn shown(client: &burrow_http_client::Client, url: &str) -> anyhow::Result<Index> {
    let request = burrow_http_client::Request::get(url)?;
    Ok(Index::decode(&client.send(request).await?.bytes(16 << 20).await?)?)
}

/// Whether everything that an index showed is still on disk, byte for byte.
fn kept(data: &Path, index: &Index) -> anyhow::Result<bool> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(data)?.map(|entry| Ok(entry?.path())).collect::<std::io::Result<_>>()?;
    files.retain(|path| path.extension().is_some_and(|extension| extension == "mutlog"));
    files.sort();
    for segment in &index.segments {
        let Some(path) = files.iter().find(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&format!("{:04}.", segment.number))))
        else {
            return Ok(false);
        };
        let bytes = std::fs::read(path)?;
        let Some(beginning) = bytes.get(..segment.size as usize) else { return Ok(false) };
        if Sha224::of(beginning) != segment.sha224 {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Follows until it is stopped; says how far it is, and in the end how often it was told of another history.
async fn follow(url: String, dir: PathBuf, stop: tokio_util::sync::CancellationToken, seen: watch::Sender<u64>) -> anyhow::Result<usize> {
    let options = GetOptions { snapshot: false, threads: 1, ..GetOptions::default() };
    let mut live: Option<Live> = None;
    let mut splits = 0;
    while !stop.is_cancelled() {
        let step = async {
            match &mut live {
                None => {
                    live = Some(burrow_godata::get(&url, &dir, options.clone()).await?);
                    Ok(())
                }
                Some(live) => live.update().await.map(drop),
            }
        };
        let result = tokio::select! {
            result = step => result,
            () = stop.cancelled() => break,
        };
        match result {
            Ok(()) => drop(seen.send_replace(live.as_ref().map_or(0, |live| live.view().position()))),
            Err(GetError::Source(Error::Split { .. })) => {
                splits += 1;
                live = None;
            }
            Err(GetError::Source(error)) if error.is_transient() => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(splits)
}

async fn kill(settings: &Settings, kills: usize) -> anyhow::Result<Found> {
    let dir = scratch()?;
    let burrow = settings.burrow()?;
    let gerrit = Gerrit::start().await;
    gerrit.world().random(settings.seed, 200);
    let projects: Vec<String> = gerrit.world().projects().map(|project| project.name.clone()).collect();
    let data = dir.path().join("maintner");
    // A port that nobody is given by chance while it is free between a kill and the next start.
    let mut ports = 21_000..31_000_u16;
    let address = ports.find_map(|port| std::net::TcpListener::bind(("127.0.0.1", port)).ok()?.local_addr().ok()).context("no free port")?;
    let names: Vec<String> = projects.iter().map(|project| format!("\"{HOST}/{project}\"")).collect();
    let config = dir.path().join("maintnerd.toml");
    std::fs::write(
        &config,
        format!(
            "listen = \"{address}\"\ndata = \"{}\"\n[gerrit]\nprojects = [{}]\ngit_url = \"{}\"\n",
            data.display(),
            names.join(", "),
            gerrit.git_url("{project}")
        ),
    )?;
    let url = format!("http://{address}/logs");
    let client = burrow_http_client::Client::new(Default::default())?;
    let stop = tokio_util::sync::CancellationToken::new();
    let mut followers = Vec::new();
    let mut random = StdRng::seed_from_u64(settings.seed);
    let mut found = Found::default();
    let mut daemon = Daemon::start(&burrow, &config)?;
    for number in 0..FOLLOWERS {
        let (seen, position) = watch::channel(0);
        followers.push((burrow_task::spawn(follow(url.clone(), dir.path().join(format!("follower-{number}")), stop.clone(), seen)), position));
    }
    for round in 0..kills {
        gerrit.world().random(settings.seed + 1 + round as u64, STEPS);
        // In the middle of writing: after so many more bytes, or after a while if nothing comes.
        let mut before = shown(&client, &url).await?;
        let (goal, waiting) = (before.total() + random.random_range(0..4_000), Instant::now());
        while before.total() < goal && waiting.elapsed() < PATIENCE {
            tokio::time::sleep(Duration::from_millis(random.random_range(0..10))).await;
            before = shown(&client, &url).await?;
        }
        // What was shown right before the kill must be there after it.
        daemon.kill()?;
        if !kept(&data, &before)? {
            found.lost += 1;
        }
        let begin = Instant::now();
        daemon = tokio::task::block_in_place(|| Daemon::start(&burrow, &config))?;
        found.ready.push(begin.elapsed().as_secs_f64() * 1e3);
        found.torn += usize::from(daemon.torn);
        let after = shown(&client, &url).await?;
        if after.total() < before.total() {
            found.lost += 1;
        }
        if (round + 1) % 100 == 0 {
            eprintln!("  {} kills, {} bytes of log", round + 1, after.total());
        }
    }
    daemon.kill()?;
    // In peace, the corpus becomes the world.
    let mut last = Command::new(&burrow);
    last.args(["maintnerd", "--sync-and-quit", "--config"]).arg(&config).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let output = tokio::task::block_in_place(|| last.output())?;
    ensure!(output.status.success(), "--sync-and-quit failed: {}", String::from_utf8_lossy(&output.stderr));
    let daemon = Daemon::start(&burrow, &config)?;
    let live = burrow_godata::get(&url, &dir.path().join("last"), GetOptions { snapshot: false, ..GetOptions::default() }).await?;
    let view = live.view();
    (found.records, found.bytes) = (view.records(), view.position());
    for project in &projects {
        let name = format!("{HOST}/{project}");
        let corpus = view.gerrit().project_named(&name).with_context(|| format!("{name} is not in the corpus"))?;
        found.changes += corpus.changes().len();
        for (reference, hash) in gerrit.world().refs(project) {
            let known = match reference.strip_prefix("refs/changes/").map(|rest| rest.split('/').collect::<Vec<_>>()) {
                Some(parts) => match parts[..] {
                    [_, number, last] => number.parse().ok().and_then(|number| {
                        let patch_set = if last == "meta" { Some(0) } else { last.parse().ok() };
                        patch_set.and_then(|patch_set| corpus.change_reference(number, patch_set))
                    }),
                    _ => None,
                },
                None if reference.starts_with("refs/meta/") => continue,
                None => corpus.reference(&reference),
            };
            if known.map(|hash| hash.to_string()).as_deref() != Some(hash.as_str()) {
                eprintln!("  {name} {reference}: the world has {hash}, the corpus {known:?}");
                found.differences += 1;
            }
        }
    }
    view.gerrit().check()?;
    // Followers come to the same end, and none was ever told of another history.
    let end = view.position();
    let mut ended = Vec::new();
    for (follower, mut position) in followers {
        if tokio::time::timeout(LIMIT, position.wait_for(|position| *position == end)).await.is_err() {
            eprintln!("  a follower is at {} of {end}", *position.borrow());
            found.lost += 1;
        }
        ended.push(follower);
    }
    stop.cancel();
    for follower in ended {
        found.splits += follower.await??;
    }
    daemon.kill()?;
    Ok(found)
}
