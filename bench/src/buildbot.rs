//! The peer: Buildbot with its defaults (SQLite), two local workers that take two builds each, checkouts by git in incremental mode.
//!
//! A service inside its configuration takes changes from a file and notes the moment each build is recorded as finished, so that neither a command-line
//! client nor polling is part of what is measured.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use testkit_harness::Process;

/// A running master with its workers; they end with it.
pub(crate) struct Buildbot {
    dir: PathBuf,
    master: Process,
    _workers: Vec<Process>,
    seen: usize,
    told: usize,
}

/// What a batch of builds took.
pub(crate) struct Done {
    /// From the first change until the last build is recorded.
    pub(crate) seconds: f64,
    /// The same for each build.
    pub(crate) times: Vec<f64>,
    pub(crate) passed: usize,
}

const CONFIG: &str = r#"
import os, time
from twisted.internet import defer, task
from buildbot.plugins import changes, schedulers, steps, util, worker
from buildbot.util.service import BuildbotService

class Bench(BuildbotService):
    name = 'bench'

    @defer.inlineCallbacks
    def startService(self):
        yield super().startService()
        self.lines = 0
        self.busy = False
        yield self.master.mq.startConsuming(self.finished, ('builds', None, 'finished'))
        self.loop = task.LoopingCall(self.look)
        self.loop.start(0.005)
        open(DIR + '/ready', 'w').close()

    def finished(self, key, build):
        with open(DIR + '/finished', 'a') as f:
            f.write('%.6f %d\n' % (time.time(), build['results']))

    @defer.inlineCallbacks
    def look(self):
        if self.busy or not os.path.exists(DIR + '/changes'):
            return
        self.busy = True
        try:
            with open(DIR + '/changes') as f:
                lines = f.read().split('\n')[:-1]
            for line in lines[self.lines:]:
                self.lines += 1
                category, revision = line.split()
                with open(DIR + '/told', 'a') as f:
                    f.write('%.6f\n' % time.time())
                yield self.master.data.updates.addChange(
                    files=[], comments='change', author='ada', revision=revision, branch='main',
                    repository=REPO, project='', category=category, when_timestamp=int(time.time()))
        finally:
            self.busy = False

factory = util.BuildFactory([
    steps.Git(repourl=REPO, branch='main', mode='incremental'),
    steps.ShellCommand(command=['true'], name='run'),
])
names = ['b%d' % n for n in range(1, BUILDERS + 1)]
c = BuildmasterConfig = {
    'title': 'bench', 'buildbotURL': 'http://127.0.0.1/', 'buildbotNetUsageData': None, 'collapseRequests': False,
    'protocols': {'pb': {'port': 'tcp:%d:interface=127.0.0.1' % PORT}},
    'workers': [worker.Worker(name, 'secret', max_builds=2) for name in ('w1', 'w2')],
    'builders': [util.BuilderConfig(name=name, workernames=['w1', 'w2'], factory=factory) for name in names],
    'schedulers': [
        schedulers.AnyBranchScheduler(name='all', treeStableTimer=None, builderNames=names, change_filter=util.ChangeFilter(category='all')),
        schedulers.AnyBranchScheduler(name='one', treeStableTimer=None, builderNames=names[:1], change_filter=util.ChangeFilter(category='one')),
    ],
    'services': [Bench()],
}
"#;

impl Buildbot {
    /// Makes a master and its workers below `dir` and starts them.
    ///
    /// # Errors
    /// They do not come up.
    pub(crate) fn start(venv: &Path, dir: &Path, repository: &Path, builders: usize) -> anyhow::Result<Buildbot> {
        std::fs::create_dir_all(dir)?;
        let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let (buildbot, worker) = (venv.join("bin/buildbot"), venv.join("bin/buildbot-worker"));
        let quietly = |program: &Path, args: &[&str]| -> anyhow::Result<()> {
            let status = Command::new(program).args(args).current_dir(dir).stdout(Stdio::null()).status().with_context(|| program.display().to_string())?;
            if !status.success() {
                bail!("{} {args:?} failed", program.display());
            }
            Ok(())
        };
        quietly(&buildbot, &["create-master", "master"])?;
        let mut config =
            format!("DIR = {:?}\nREPO = {:?}\nPORT = {port}\nBUILDERS = {builders}\n", dir.display().to_string(), repository.display().to_string());
        config.push_str(CONFIG);
        std::fs::write(dir.join("master/master.cfg"), config)?;
        let start = |program: &Path, args: &[&str]| {
            let mut command = Command::new(program);
            let path = format!("{}:{}", venv.join("bin").display(), std::env::var("PATH").unwrap_or_default());
            command.args(args).current_dir(dir).env("PATH", path);
            Process::start(command, Some(dir))
        };
        let master = start(&buildbot, &["start", "--nodaemon", "master"]);
        let begin = Instant::now();
        while !dir.join("ready").exists() {
            if begin.elapsed() > Duration::from_secs(60) {
                bail!("Buildbot's master does not come up:\n{}", master.text());
            }
            pause();
        }
        let mut workers = Vec::new();
        for name in ["w1", "w2"] {
            quietly(&worker, &["create-worker", name, &format!("127.0.0.1:{port}"), name, "secret"])?;
            workers.push(start(&worker, &["start", "--nodaemon", name]));
        }
        Ok(Buildbot { dir: dir.to_owned(), master, _workers: workers, seen: 0, told: 0 })
    }

    /// Process id of the master.
    pub(crate) fn pid(&self) -> u32 {
        self.master.id()
    }

    /// Tells it of changes and waits until `count` more builds are finished.
    ///
    /// # Errors
    /// It takes longer than `limit`.
    pub(crate) fn build(&mut self, category: &str, commits: &[String], count: usize, limit: Duration) -> anyhow::Result<Done> {
        let mut lines = String::new();
        for commit in commits {
            let _ = writeln!(lines, "{category} {commit}");
        }
        let mut file = std::fs::File::options().create(true).append(true).open(self.dir.join("changes"))?;
        std::io::Write::write_all(&mut file, lines.as_bytes())?;
        let begin = Instant::now();
        loop {
            let text = std::fs::read_to_string(self.dir.join("finished")).unwrap_or_default();
            let whole = text.rfind('\n').map_or("", |at| text.get(..at).unwrap_or_default());
            let finished: Vec<&str> = whole.lines().skip(self.seen).collect();
            if finished.len() >= count {
                let told = std::fs::read_to_string(self.dir.join("told"))?;
                let first: f64 = told.lines().nth(self.told).context("no change was told")?.parse()?;
                self.told += commits.len();
                self.seen += finished.len();
                let parse = |line: &&str| line.split_once(' ').and_then(|(at, result)| Some((at.parse::<f64>().ok()? - first, result == "0")));
                let parsed: Vec<(f64, bool)> = finished.iter().filter_map(parse).collect();
                let times: Vec<f64> = parsed.iter().map(|(time, _)| *time).collect();
                return Ok(Done { seconds: times.iter().copied().fold(0.0, f64::max), times, passed: parsed.iter().filter(|(_, ok)| *ok).count() });
            }
            if begin.elapsed() > limit {
                bail!("Buildbot finished {} of {count} builds in {} s", finished.len(), limit.as_secs());
            }
            pause();
        }
    }
}

/// The file of a foreign program says nothing when it changes.
fn pause() {
    std::thread::sleep(Duration::from_millis(20));
}
