//! A drill: proves that the alarm works. A mirror that nobody watches is found out of date months later; so is an alarm that nobody tries.

use std::path::{Path, PathBuf};
use std::time::Duration;

use axum::Router;
use burrow_clock::{Ids, SharedClock};
use burrow_http_client::{Client, Request};
use burrow_task::BoxFuture;
use tokio_util::sync::CancellationToken;

use crate::child::{Identity, Runner};
use crate::config::{Config, Dest, Repo};
use crate::http::{Access, Served, router};
use crate::mirror::{Deps, Mirror};
use crate::{access, refs};

/// How often the health is asked for.
const LOOK: Duration = Duration::from_millis(100);
/// The repository of the scratch world.
const REPO: &str = "drill";
/// The branch that a drill of a running mirror uses.
const BRANCH: &str = "refs/heads/burrow-drill";

/// What was tried, and what was seen.
#[derive(Debug, Clone)]
pub struct Tried {
    /// What.
    pub what: &'static str,
    /// What was seen, with how long it took; or what was not.
    pub seen: Result<String, String>,
}

/// What a drill found.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// In order.
    pub tried: Vec<Tried>,
}

impl Report {
    /// Whether everything was as it must be.
    pub fn passed(&self) -> bool {
        !self.tried.is_empty() && self.tried.iter().all(|tried| tried.seen.is_ok())
    }

    fn note(&mut self, what: &'static str, seen: Result<String, String>) -> bool {
        let good = seen.is_ok();
        self.tried.push(Tried { what, seen });
        good
    }
}

impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for tried in &self.tried {
            match &tried.seen {
                Ok(seen) => writeln!(f, "ok    {}: {seen}", tried.what)?,
                Err(missing) => writeln!(f, "FAIL  {}: {missing}", tried.what)?,
            }
        }
        f.write_str(if self.passed() { "The alarm works.\n" } else { "The alarm does not work.\n" })
    }
}

/// What a drill works with.
#[derive(Debug, Clone)]
pub struct Tools {
    /// Asks the health.
    pub http: Client,
    /// The time.
    pub clock: SharedClock,
    /// An empty folder of the drill's own.
    pub dir: PathBuf,
    /// How soon a mirror must call itself unhealthy.
    pub limit: Duration,
}

struct Git {
    runner: Runner,
    who: Identity,
    dir: PathBuf,
}

impl Git {
    fn new(dir: &Path) -> Result<Git, String> {
        let who = access::identity(&dir.join("gitconfig"), "", &Default::default()).map_err(|error| error.to_string())?;
        let runner = Runner { mark: dir.to_owned(), limit: Duration::from_secs(60), stop: CancellationToken::new() };
        Ok(Git { runner, who, dir: dir.to_owned() })
    }

    async fn run(&self, dir: &Path, args: &[&str], stdin: &[u8]) -> Result<String, String> {
        let done = self.runner.git(dir, &self.who, args, stdin).await.map_err(|error| error.to_string())?;
        if !done.status.success() {
            return Err(format!("git {}: {}", args.first().unwrap_or(&""), done.stderr));
        }
        Ok(String::from_utf8_lossy(&done.stdout).trim().to_owned())
    }

    async fn bare(&self, name: &str) -> Result<PathBuf, String> {
        let path = self.dir.join(name);
        let text = path.to_string_lossy().into_owned();
        self.run(&self.dir, &["init", "--quiet", "--bare", "--template=", &text], &[]).await?;
        Ok(path)
    }

    /// A commit without files.
    async fn commit(&self, dir: &Path, message: &str) -> Result<String, String> {
        let tree = self.run(dir, &["hash-object", "-w", "-t", "tree", "--stdin"], &[]).await?;
        let who = "Burrow Drill <drill@localhost> 1767225600 +0000";
        let text = format!("tree {tree}\nauthor {who}\ncommitter {who}\n\n{message}\n");
        self.run(dir, &["hash-object", "-w", "-t", "commit", "--stdin"], text.as_bytes()).await
    }

    async fn set(&self, dir: &Path, branch: &str, commit: &str) -> Result<(), String> {
        self.run(dir, &["update-ref", branch, commit], &[]).await.map(drop)
    }
}

struct World {
    git: Git,
    mirror: Mirror,
    tools: Tools,
    address: String,
    upstream: PathBuf,
    dest: PathBuf,
    commits: usize,
}

/// Builds a small world below [`Tools::dir`] and takes it apart in every way that the alarm must notice.
///
/// # Errors
/// The world cannot be built; that says nothing about the alarm.
pub fn scratch(tools: Tools) -> BoxFuture<'static, Result<Report, String>> {
    Box::pin(async move {
        let git = Git::new(&tools.dir)?;
        let (upstream, dest) = (git.bare("upstream.git").await?, git.bare("destination.git").await?);
        let mut repo = Repo::kept(REPO, &upstream.to_string_lossy());
        repo.dest = vec![Dest::plain("destination", &dest.to_string_lossy())];
        let config = Config {
            repo: vec![repo],
            poll: Duration::from_millis(200),
            compare: Duration::from_millis(500),
            git_limit: (tools.limit / 2).max(Duration::from_secs(1)),
            lag_limit: tools.limit,
            ..Config::default()
        };
        let first = git.commit(&upstream, "first").await?;
        git.set(&upstream, "refs/heads/main", &first).await?;
        let data = tools.dir.join("data");
        let deps = Deps { data: data.clone(), clock: tools.clock.clone(), ids: Ids::seeded(1), http: tools.http.clone(), feed: None };
        let mirror = Mirror::start(config, deps).await.map_err(|error| error.to_string())?;
        let access = Access::new(None, None, true);
        let served = std::sync::Arc::new(Served::new(mirror.clone(), access.clone()));
        let server =
            burrow_gitserve::Server::new(served, &data.join("archives"), tools.clock.clone(), Default::default()).map_err(|error| error.to_string())?;
        let app: Router = router(mirror.clone(), access, &server);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.map_err(|error| error.to_string())?;
        let address = listener.local_addr().map_err(|error| error.to_string())?.to_string();
        let serving = burrow_web::serve(listener, None, app, std::future::pending());
        let mut world = World { git, mirror, tools, address, upstream, dest, commits: 0 };
        let mut report = Report::default();
        let result = world.all(&mut report).await;
        world.mirror.stop().await;
        serving.abort();
        result.map(|()| report)
    })
}

impl World {
    async fn all(&mut self, report: &mut Report) -> Result<(), String> {
        let seen = self.equal().await;
        if !report.note("a new mirror becomes equal and healthy", seen) {
            return Ok(());
        }
        self.news().await?;
        let seen = self.equal().await;
        report.note("a commit arrives", seen);

        let away = self.git.dir.join("away.git");
        std::fs::rename(&self.dest, &away).map_err(|error| error.to_string())?;
        self.news().await?;
        let seen = self.red().await;
        report.note("the destination is away: the health is red", seen);
        std::fs::rename(&away, &self.dest).map_err(|error| error.to_string())?;
        let seen = self.equal().await;
        report.note("the destination is back: equal and healthy again", seen);

        let hook = self.dest.join("hooks/pre-receive");
        freeze(&hook).map_err(|error| error.to_string())?;
        self.news().await?;
        let seen = self.red().await;
        report.note("a push freezes: the health is red", seen);
        std::fs::remove_file(&hook).map_err(|error| error.to_string())?;
        let seen = self.equal().await;
        report.note("pushes go through: equal and healthy again", seen);

        let before = self.git.run(&self.dest, &["rev-parse", "refs/heads/main"], &[]).await?;
        let theirs = self.git.commit(&self.dest, "by somebody else").await?;
        self.git.set(&self.dest, "refs/heads/main", &theirs).await?;
        self.news().await?;
        let seen = self.red().await;
        report.note("somebody else moves a branch: the health is red", seen);
        let left_alone = self.git.run(&self.dest, &["rev-parse", "refs/heads/main"], &[]).await? == theirs;
        report.note("and it is left alone", if left_alone { Ok("yes".into()) } else { Err("it was overwritten".into()) });
        self.git.set(&self.dest, "refs/heads/main", &before).await?;
        let seen = self.equal().await;
        report.note("it is as it was: equal and healthy again", seen);
        Ok(())
    }

    /// A new commit upstream.
    async fn news(&mut self) -> Result<(), String> {
        self.commits += 1;
        let commit = self.git.commit(&self.upstream, &format!("news {}", self.commits)).await?;
        self.git.set(&self.upstream, "refs/heads/main", &commit).await?;
        self.mirror.wake(REPO);
        Ok(())
    }

    async fn health(&self) -> Result<(u16, String), String> {
        let text = |error: burrow_http_client::Error| error.to_string();
        let request = Request::get(&format!("http://{}/healthz", self.address)).map_err(text)?;
        let answer = self.tools.http.send(request).await.map_err(text)?;
        let status = answer.status().as_u16();
        Ok((status, String::from_utf8_lossy(&answer.beginning(2_000).await).trim().to_owned()))
    }

    /// Waits until `/healthz` and the status say that something is wrong, within the limit and a little.
    async fn red(&self) -> Result<String, String> {
        let begun = self.tools.clock.monotonic_ms();
        let patience = 2 * self.tools.limit.as_millis() as u64 + 5_000;
        loop {
            let (status, text) = self.health().await?;
            let took = self.tools.clock.monotonic_ms() - begun;
            if status == 500 && !self.mirror.status().healthy {
                return Ok(format!("after {:.1} s: {text}", took as f64 / 1000.0));
            }
            if took > patience {
                return Err(format!("still {status} after {:.1} s", took as f64 / 1000.0));
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Waits until both ends are equal and the health is good.
    async fn equal(&self) -> Result<String, String> {
        let begun = self.tools.clock.monotonic_ms();
        loop {
            let format = ["for-each-ref", "--format=%(objectname) %(refname)", "refs/heads"];
            let equal = self.git.run(&self.upstream, &format, &[]).await? == self.git.run(&self.dest, &format, &[]).await?;
            let (status, text) = self.health().await?;
            let took = self.tools.clock.monotonic_ms() - begun;
            if equal && status == 200 && self.mirror.status().healthy {
                return Ok(format!("after {:.1} s", took as f64 / 1000.0));
            }
            // Pauses after failures grow to this and more only after longer troubles than ours.
            if took > 120_000 {
                return Err(format!("equal: {equal}, health: {status} {text}"));
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}

/// Makes every push to a repository hang.
fn freeze(hook: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    if let Some(folder) = hook.parent() {
        std::fs::create_dir_all(folder)?;
    }
    std::fs::write(hook, "#!/bin/sh\ntrap '' TERM INT\nsleep 86400\n")?;
    std::fs::set_permissions(hook, std::fs::Permissions::from_mode(0o755))
}

/// Tries a running mirror with one of its repositories: pushes a branch to its upstream, and waits until `status.json` and each destination have it. Then
/// the branch is deleted again. git finds credentials in `access`.
///
/// # Errors
/// The mirror does not answer, or does not know the repository.
pub fn running<'a>(tools: Tools, base: &'a str, repo: &'a str, access: &'a crate::config::Access) -> BoxFuture<'a, Result<Report, String>> {
    Box::pin(async move {
        let base = base.trim_end_matches('/');
        let mut git = Git::new(&tools.dir)?;
        let status = read_status(&tools.http, base, repo).await?;
        git.who = access::identity(&tools.dir.join("gitconfig"), &status.upstream, access).map_err(|error| error.to_string())?;
        let own = git.bare("own.git").await?;
        let commit = git.commit(&own, &format!("drill at {}", tools.clock.now_ms())).await?;
        let mut report = Report::default();
        let refspec = format!("+{commit}:{BRANCH}");
        let pushed = git.run(&own, &["push", "--quiet", "--end-of-options", &status.upstream, &refspec], &[]).await;
        if !report.note("a branch is pushed to the upstream", pushed.map(|_| commit.clone())) {
            return Ok(report);
        }
        let seen = arrives(&tools, &git, &own, &status, Some(&commit)).await;
        report.note("it arrives at every destination within the limit", seen);
        let gone = git.run(&own, &["push", "--quiet", "--end-of-options", &status.upstream, &format!(":{BRANCH}")], &[]).await;
        report.note("the branch is deleted upstream", gone.map(|_| BRANCH.to_owned()));
        let seen = arrives(&tools, &git, &own, &status, None).await;
        report.note("it is gone from every destination within the limit", seen);
        Ok(report)
    })
}

struct Known {
    upstream: String,
    dests: Vec<String>,
}

async fn read_status(http: &Client, base: &str, repo: &str) -> Result<Known, String> {
    let text = |error: burrow_http_client::Error| error.to_string();
    let answer = http.send(Request::get(&format!("{base}/status.json")).map_err(text)?).await.map_err(text)?;
    let body = answer.bytes(256 << 20).await.map_err(text)?;
    let status: serde_json::Value = serde_json::from_slice(&body).map_err(|error| format!("{base}/status.json: {error}"))?;
    let repos = status.get("repos").and_then(|repos| repos.as_array()).map(Vec::as_slice).unwrap_or_default();
    let named = |value: &serde_json::Value, key: &str| value.get(key).and_then(|text| text.as_str()).unwrap_or_default().to_owned();
    let found = repos.iter().find(|known| named(known, "name") == repo).ok_or_else(|| format!("the mirror at {base} has no repository {repo:?}"))?;
    let dests = found.get("dests").and_then(|dests| dests.as_array()).map(Vec::as_slice).unwrap_or_default();
    Ok(Known { upstream: named(found, "upstream"), dests: dests.iter().map(|dest| named(dest, "url")).collect() })
}

async fn arrives(tools: &Tools, git: &Git, own: &Path, known: &Known, commit: Option<&str>) -> Result<String, String> {
    let begun = tools.clock.monotonic_ms();
    loop {
        let mut missing = Vec::new();
        for dest in &known.dests {
            let listed = git.run(own, &["ls-remote", "--end-of-options", dest, BRANCH], &[]).await?;
            let there = refs::Advertised::parse(listed.as_bytes()).refs.get(BRANCH).map(ToString::to_string);
            if there.as_deref() != commit {
                missing.push(dest.as_str());
            }
        }
        let took = tools.clock.monotonic_ms() - begun;
        if missing.is_empty() {
            return Ok(format!("after {:.1} s", took as f64 / 1000.0));
        }
        if took > tools.limit.as_millis() as u64 {
            return Err(format!("not at {} after {:.1} s", missing.join(", "), took as f64 / 1000.0));
        }
        tokio::time::sleep(LOOK).await;
    }
}
