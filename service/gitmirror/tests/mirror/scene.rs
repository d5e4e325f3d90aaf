//! A mirror with real repositories around it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use burrow_clock::{Ids, SystemClock};
use burrow_gitmirror::config::{Config, Dest, Repo};
use burrow_gitmirror::{Deps, Mirror, Status};
use testkit_harness::git::Repository;

/// A folder, an upstream in it, and a mirror when it is started.
pub(crate) struct Scene {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) upstream: Repository,
}

/// The repository that most tests mirror.
pub(crate) const REPO: &str = "app";

impl Scene {
    /// With one commit upstream.
    pub(crate) fn new() -> Scene {
        let scene = Scene::empty();
        scene.upstream.write("a.txt", "one").commit("first");
        scene
    }

    /// With an upstream that has nothing.
    pub(crate) fn empty() -> Scene {
        let dir = tempfile::tempdir().unwrap();
        let upstream = Repository::create(dir.path().join("upstream"));
        Scene { dir, upstream }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A bare repository to push to.
    pub(crate) fn bare(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        git(self.dir.path(), &["init", "--quiet", "--bare", "--initial-branch=main", path.to_str().unwrap()]);
        path
    }

    /// The upstream mirrored to these bare repositories; polls so seldom that only wakes count.
    pub(crate) fn config(&self, dests: &[&Path]) -> Config {
        let mut repo = Repo::kept(REPO, self.upstream.arg());
        repo.dest = dests.iter().map(|path| Dest::plain(path.file_stem().unwrap().to_str().unwrap(), path.to_str().unwrap())).collect();
        self.config_of(repo)
    }

    pub(crate) fn config_of(&self, repo: Repo) -> Config {
        Config { repo: vec![repo], poll: Duration::from_secs(3600), compare: Duration::from_secs(3600), ..Config::default() }
    }

    pub(crate) async fn start(&self, config: Config) -> Mirror {
        Mirror::start(config, self.deps()).await.unwrap()
    }

    pub(crate) fn deps(&self) -> Deps {
        Deps {
            data: self.path("data"),
            clock: SystemClock::shared(),
            ids: Ids::seeded(7),
            http: burrow_http_client::Client::new(Default::default()).unwrap(),
            feed: None,
        }
    }

    /// Branches and tags of a repository.
    pub(crate) fn refs(&self, path: &Path) -> Vec<String> {
        refs(path, "refs/heads refs/tags")
    }

    /// Branches and tags upstream.
    pub(crate) fn upstream_refs(&self) -> Vec<String> {
        self.refs(self.upstream.path())
    }
}

/// References of a repository as `name hash`.
pub(crate) fn refs(path: &Path, below: &str) -> Vec<String> {
    let mut args = vec!["for-each-ref", "--format=%(refname) %(objectname)"];
    args.extend(below.split(' '));
    git(path, &args).lines().map(str::to_owned).collect()
}

/// Runs git, which must succeed.
pub(crate) fn git(dir: &Path, args: &[&str]) -> String {
    let output = command(dir).args(args).output().unwrap();
    assert!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// A git with nothing of the machine's own configuration.
pub(crate) fn command(dir: &Path) -> Command {
    let mut command = Command::new("git");
    command.current_dir(dir).env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1");
    for who in ["AUTHOR", "COMMITTER"] {
        command.env(format!("GIT_{who}_NAME"), "Ada Tester").env(format!("GIT_{who}_EMAIL"), "ada@example.org");
    }
    command
}

/// Writes an executable file.
pub(crate) fn script(path: &Path, content: &str) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, content).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

/// Waits until the mirror's status is as wanted; every step of it is looked at.
pub(crate) async fn until<T>(mirror: &Mirror, what: &str, mut look: impl FnMut(&Status) -> Option<T>) -> T {
    let mut steps = mirror.steps();
    let wait = async {
        loop {
            // Registered before the look, so that no step falls between.
            steps.mark_unchanged();
            if let Some(found) = look(&mirror.status()) {
                return found;
            }
            steps.changed().await.unwrap();
        }
    };
    match tokio::time::timeout(testkit_harness::HANG, wait).await {
        Ok(found) => found,
        Err(_) => panic!("waiting for {what}; the mirror says {:#?}", mirror.status()),
    }
}

/// Waits for what is told by nobody.
pub(crate) async fn eventually(what: &str, mut look: impl FnMut() -> bool) {
    let start = std::time::Instant::now();
    while !look() {
        assert!(start.elapsed() < testkit_harness::HANG, "waiting for {what}");
        tokio::task::yield_now().await;
    }
}

/// Wakes the repository and waits until a look at it, and the pushes that follow, are over.
pub(crate) async fn round(mirror: &Mirror) {
    let seen = |status: &Status| {
        let repo = status.repo(REPO).unwrap();
        (repo.rounds, repo.is_quiet())
    };
    let before = seen(&mirror.status()).0;
    assert!(mirror.wake(REPO));
    until(mirror, "a round", |status| {
        let (rounds, quiet) = seen(status);
        (rounds > before && quiet).then_some(())
    })
    .await;
}

/// Waits until everything that was started has ended.
pub(crate) async fn quiet(mirror: &Mirror) {
    until(mirror, "quiet", |status| status.repos.iter().all(|repo| repo.rounds > 0 && repo.is_quiet()).then_some(())).await;
}
