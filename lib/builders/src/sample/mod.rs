//! A small project with a real history, for the first look at everything: `burrow up` builds it when there is nothing
//! else to build.
//!
//! It is a calculator in shell that needs only `sh`. Its history has commits that pass, one that breaks the build, one
//! that breaks a test for everybody and one that breaks it for one builder only, and their repairs; its tests are a
//! dozen that can be divided, a slow one, and one that is unreliable on purpose but passes when it is tried again.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::model::{Builder, Config, Helpers, Project, RecipeKind, Repo};
use crate::policy::{Clause, Policy};
use crate::recipe::{Recipe, Step, TestList, TestOutput, Tests, When};
use crate::up;

mod history;

/// The sample project, once it exists.
#[derive(Debug, Clone, PartialEq)]
pub struct SampleInfo {
    /// Its repository: a bare one, in a folder.
    pub repo: PathBuf,
    /// Everything that `burrow up` needs to build it.
    pub config: Config,
    /// The project's (and repository's) name.
    pub project: String,
    /// The branches, the main one first.
    pub branches: Vec<String>,
    /// How many commits there are.
    pub commits: usize,
}

/// The sample project could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SampleError {
    /// The folder cannot be used.
    #[error("the sample project in {}: {error}", dir.display())]
    Folder {
        /// The folder.
        dir: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// The `git` program failed, or could not be started.
    #[error("git could not make the sample project: {0}")]
    Git(String),
}

/// Makes the sample project's repository in `dir` (or finds it there) and its configuration for `workers` processes.
/// The newest commit is a few minutes older than `now_s` (Unix seconds), so that it looks alive.
///
/// Blocks for some tens of milliseconds: two runs of `git`.
///
/// # Errors
/// When the folder cannot be used or `git` fails. What was begun is then taken away.
pub fn create(dir: &Path, now_s: i64, workers: usize) -> Result<SampleInfo, SampleError> {
    let repo = dir.join("abacus.git");
    let folder = |error| SampleError::Folder { dir: dir.to_owned(), error };
    if !repo.join("HEAD").exists() {
        // Made beside its place and moved there when it is whole: a kill in between leaves no half project.
        let unfinished = dir.join(".abacus.git.unfinished");
        std::fs::create_dir_all(dir).map_err(folder)?;
        let _ = std::fs::remove_dir_all(&unfinished);
        let made = git(dir, &["init", "--quiet", "--bare", "--template=", "--initial-branch=main", ".abacus.git.unfinished"], b"")
            .and_then(|()| git(&unfinished, &["fast-import", "--quiet", "--done"], &history::stream(now_s)));
        if let Err(error) = made {
            let _ = std::fs::remove_dir_all(&unfinished);
            return Err(error);
        }
        std::fs::rename(&unfinished, &repo).map_err(folder)?;
    }
    let repo = std::fs::canonicalize(&repo).map_err(folder)?;
    let config = config(&repo, workers);
    let branches = history::BRANCHES.iter().map(|name| (*name).to_owned()).collect();
    Ok(SampleInfo { repo, config, project: PROJECT.to_owned(), branches, commits: history::commits().len() })
}

const PROJECT: &str = "abacus";

fn git(dir: &Path, args: &[&str], stdin: &[u8]) -> Result<(), SampleError> {
    let mut command = Command::new("git");
    command.args(args).current_dir(dir).env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1").env("GIT_TERMINAL_PROMPT", "0");
    for name in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_NAMESPACE", "GIT_CONFIG_PARAMETERS", "GIT_CONFIG_COUNT"] {
        command.env_remove(name);
    }
    let failed = |error: std::io::Error| SampleError::Git(error.to_string());
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().map_err(failed)?;
    if let Some(mut pipe) = child.stdin.take() {
        // A git that ended early says why on stderr, which is the better message.
        let _ = pipe.write_all(stdin);
    }
    let done = child.wait_with_output().map_err(failed)?;
    if done.status.success() { Ok(()) } else { Err(SampleError::Git(String::from_utf8_lossy(&done.stderr).trim().to_owned())) }
}

fn words(text: &str) -> Vec<String> {
    text.split(' ').map(str::to_owned).collect()
}

fn step(name: &str, run: &str, when: When) -> Step {
    Step {
        name: name.to_owned(),
        run: words(run),
        timeout: Some(Duration::from_secs(60)),
        idle_timeout: Some(Duration::from_secs(30)),
        when,
        ..Step::default()
    }
}

fn tests(list: TestList, retry: u32) -> Tests {
    Tests {
        list,
        run: words("sh tests/run {tests}"),
        list_timeout: Some(Duration::from_secs(30)),
        timeout: Some(Duration::from_secs(60)),
        retry,
        batch_target: Duration::from_secs(2),
        unknown: Duration::from_millis(500),
        output: TestOutput::GoTest,
        ..Tests::default()
    }
}

/// The configuration that builds the repository.
fn config(repo: &Path, workers: usize) -> Config {
    let mut config = up::local_config(workers);
    let (os, arch) = up::this_machine();
    let build = || vec![step("build", "sh build.sh", When::Build)];
    let listed = || TestList::Command(words("sh tests/list"));
    let fixed = |names: &str| TestList::Fixed(words(names));
    let recipes = [
        ("quick", Recipe { steps: build(), tests: Some(tests(fixed("add subtract multiply divide gcd power"), 0)), ..Recipe::default() }),
        ("long", Recipe { steps: [build(), vec![step("long test", "sh tests/long.sh", When::Test)]].concat(), ..Recipe::default() }),
        // Helpers build for themselves: it is quicker than carrying the result over.
        (
            "sharded",
            Recipe { steps: vec![step("build", "sh build.sh", When::Both)], tests: Some(Tests { shard: true, ..tests(listed(), 0) }), ..Recipe::default() },
        ),
        ("flaky", Recipe { steps: build(), tests: Some(tests(fixed("steady cold-start"), 2)), ..Recipe::default() }),
    ];
    config.recipes = recipes.into_iter().map(|(name, recipe)| (name.to_owned(), RecipeKind::Steps(recipe))).collect();
    config.projects.insert(PROJECT.to_owned(), Project { recipe: Some("quick".to_owned()), ..Project::default() });
    let url = repo.to_string_lossy().into_owned();
    config.repos.insert(PROJECT.to_owned(), Repo { poll: Duration::from_secs(2), first_commits: 100, ..Repo::new(PROJECT, url) });
    let base = Builder { host: "local".to_owned(), project: PROJECT.to_owned(), recipe: "quick".to_owned(), os: os.clone(), arch, ..Builder::default() };
    let main_only = Policy { clauses: vec![Clause { branch: Some(crate::Patterns::new(["main"])), ..Clause::default() }] };
    let builders = [
        (format!("sample-{os}"), Builder { try_: Some(Policy::always()), notes: "builds it and runs the important tests".to_owned(), ..base.clone() }),
        (
            format!("sample-{os}-strict"),
            Builder {
                env: BTreeMap::from([("ABACUS_STRICT".to_owned(), "1".to_owned())]),
                notes: "the same with an unforgiving shell: unset variables are errors".to_owned(),
                ..base.clone()
            },
        ),
        (
            "sample-longtest".to_owned(),
            Builder { recipe: "long".to_owned(), long: true, builds: main_only, notes: "one slow test; main branch only".to_owned(), ..base.clone() },
        ),
        (
            "sample-sharded".to_owned(),
            Builder {
                recipe: "sharded".to_owned(),
                helpers: Helpers { post: 1, try_: 2 },
                notes: "all tests, divided among machines".to_owned(),
                ..base.clone()
            },
        ),
        ("sample-flaky".to_owned(), Builder { recipe: "flaky".to_owned(), notes: "a test that fails now and then, and is tried again".to_owned(), ..base }),
    ];
    config.builders = builders.into_iter().collect();
    config.seal()
}
