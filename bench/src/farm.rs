//! A `burrow up` under measurement.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use serde_json::{Value, json};
use testkit_harness::Process;

use crate::http::Connection;
use crate::procfs;

/// What a farm builds with.
pub(crate) struct Recipe<'a> {
    /// Worker processes.
    pub(crate) workers: usize,
    /// How many builders.
    pub(crate) builders: usize,
    /// TOML list: program and arguments.
    pub(crate) run: &'a str,
    /// How often the repository is looked at.
    pub(crate) poll: &'a str,
}

impl Recipe<'_> {
    /// The configuration.
    pub(crate) fn toml(&self, repository: &Path) -> String {
        let Recipe { workers, builders, run, poll } = self;
        let mut text = format!(
            "[pool.here]\nkind = \"process\"\nworkers = {workers}\n[host.here]\npool = \"here\"\n[project.bench]\nrecipe = \"bench\"\n\
             [repo.bench]\nurl = {:?}\npoll = \"{poll}\"\nfirst_commits = 1\n[recipe.bench]\nstep = [{{ name = \"run\", run = {run} }}]\n",
            repository.display().to_string()
        );
        for number in 1..=*builders {
            text.push_str(&format!("[builder.b{number}]\nhost = \"here\"\n"));
        }
        text
    }
}

/// A running farm; everything it started ends with it.
pub(crate) struct Farm {
    burrow: PathBuf,
    dir: PathBuf,
    pub(crate) process: Process,
    pub(crate) address: String,
}

impl Farm {
    /// Starts `burrow up` with a configuration; state is in `dir`.
    ///
    /// # Errors
    /// The configuration cannot be written.
    pub(crate) fn start(burrow: &Path, dir: &Path, config: &str) -> anyhow::Result<Farm> {
        std::fs::write(dir.join("farm.toml"), config)?;
        let process = spawn(burrow, dir, "127.0.0.1:0");
        let address = address(&process)?;
        Ok(Farm { burrow: burrow.to_owned(), dir: dir.to_owned(), process, address })
    }

    /// Kills the coordinator with SIGKILL and leaves its workers alone.
    pub(crate) fn kill(&mut self) {
        self.process.kill();
    }

    /// Starts it again after [`Farm::kill`], at the same address; returns how long it took to serve.
    ///
    /// # Errors
    /// It does not come up.
    pub(crate) fn restart(&mut self) -> anyhow::Result<Duration> {
        let begin = Instant::now();
        // The old handle is forgotten, not dropped: dropping it would kill the workers.
        std::mem::forget(std::mem::replace(&mut self.process, spawn(&self.burrow, &self.dir, &self.address)));
        address(&self.process)?;
        Ok(begin.elapsed())
    }

    /// Starts it after [`Farm::kill`] and kills it so soon that it may not have begun to serve.
    pub(crate) fn start_and_kill(&mut self, after: Duration) {
        std::mem::forget(std::mem::replace(&mut self.process, spawn(&self.burrow, &self.dir, &self.address)));
        std::thread::sleep(after);
        self.kill();
    }

    /// Process id of the coordinator.
    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Process ids of its workers. A command that a worker has forked and that does not run its own program yet looks like a worker; it is none.
    pub(crate) fn workers(&self) -> Vec<u32> {
        let alike = procfs::below(&self.dir, "buildlet");
        alike.iter().copied().filter(|pid| procfs::parent(*pid).is_none_or(|parent| !alike.contains(&parent))).collect()
    }

    /// A connection to its pages.
    ///
    /// # Errors
    /// It does not listen.
    pub(crate) fn connect(&self) -> anyhow::Result<Connection> {
        Connection::open(&self.address)
    }

    /// Announces a push.
    ///
    /// # Errors
    /// It was refused.
    pub(crate) fn announce(&self, http: &mut Connection) -> anyhow::Result<()> {
        http.post("/hook/bench", &json!({})).map(drop)
    }

    /// Waits until `count` builds of these commits have ended, and returns them.
    ///
    /// # Errors
    /// It takes longer than `limit`.
    pub(crate) fn ended(&self, http: &mut Connection, count: usize, since_ms: i64, limit: Duration) -> anyhow::Result<Vec<Value>> {
        let begin = Instant::now();
        let mut events = testkit_harness::http::Events::open(&self.address)?;
        loop {
            let pending = http.json("/api/v1/pending")?;
            let open = pending["total"].as_u64().unwrap_or(0) as usize + pending["running"].as_array().map_or(0, Vec::len);
            if open == 0 {
                let builds = builds(http, &format!("since={since_ms}"))?;
                let ended = builds.iter().filter(|b| b["ended_ms"].is_i64()).count();
                if ended >= count {
                    return Ok(builds);
                }
            }
            if begin.elapsed() > limit {
                bail!("{open} builds are still open after {} s", limit.as_secs());
            }
            events.wait()?;
        }
    }
}

/// All builds that a query finds.
///
/// # Errors
/// The connection broke.
pub(crate) fn builds(http: &mut Connection, query: &str) -> anyhow::Result<Vec<Value>> {
    let mut all = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = http.json(&format!("/api/v1/builds?limit=200&{query}{cursor}"))?;
        let items = page["items"].as_array().context("no list of builds")?;
        all.extend(items.iter().cloned());
        match page["next"].as_i64() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return Ok(all),
        }
    }
}

fn spawn(burrow: &Path, dir: &Path, listen: &str) -> Process {
    let mut command = Command::new(burrow);
    command.args(["up", "--config", "farm.toml", "--data", "data", "--listen", listen]).current_dir(dir).env_clear().env("HOME", dir).env("LC_ALL", "C.UTF-8");
    command.envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
    // For a look inside: RUST_LOG=debug burrow-bench …
    command.envs(std::env::var_os("RUST_LOG").map(|level| ("RUST_LOG", level)));
    Process::start(command, Some(dir))
}

fn address(process: &Process) -> anyhow::Result<String> {
    let line = process.wait_for("Open http://");
    let after = line.split("http://").nth(1).context("no address")?;
    Ok(after.split(|c: char| c.is_whitespace() || c == '/').next().unwrap_or_default().to_owned())
}

/// Unix milliseconds.
pub(crate) fn now_ms() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}
