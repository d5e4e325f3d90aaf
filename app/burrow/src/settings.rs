//! Which configuration a command runs with, and what the command line changes in it.

use std::path::{Path, PathBuf};

use burrow_builders::{Config, PoolKind, config_for_up};
use burrow_clock::{Clock as _, SystemClock};

use crate::failure::Failure;

/// Builds of the sample project at a time: they mostly sleep.
const SAMPLE_WORKERS: usize = 4;

/// A configuration and where it came from.
pub(crate) struct Chosen {
    pub(crate) config: Config,
    /// The file or folder to watch for changes.
    pub(crate) path: Option<PathBuf>,
    /// For the start-up line: what is built.
    pub(crate) what: String,
    /// It is the sample project.
    pub(crate) sample: bool,
}

/// The configuration at `path`.
pub(crate) fn load(path: &Path) -> Result<Config, Failure> {
    Config::load(path).map_err(Failure::usage)
}

/// What `burrow up` builds: the configuration named, else the repositories named, else `burrow.toml` of this folder, else the sample project.
pub(crate) fn for_up(config: Option<&Path>, repos: &[String], workers: Option<u16>, data: impl FnOnce(Option<&Config>) -> PathBuf) -> Result<Chosen, Failure> {
    let here = Path::new("burrow.toml");
    let path = config.map(Path::to_owned).or_else(|| (repos.is_empty() && describes_a_farm(here)).then(|| here.to_owned()));
    if let Some(path) = path {
        let mut config = load(&path)?;
        set_workers(&mut config, workers);
        return Ok(Chosen { config, what: format!("the farm of {}", path.display()), path: Some(path), sample: false });
    }
    if !repos.is_empty() {
        let repos = repos.iter().map(|repo| address(repo)).collect::<Result<Vec<_>, _>>()?;
        let config = config_for_up(&repos, count(workers));
        return Ok(Chosen { config, path: None, what: repos.join(", "), sample: false });
    }
    let now_s = SystemClock::new().now_ms() / 1_000;
    let sample =
        burrow_builders::sample::create(&data(None).join("sample"), now_s, workers.map_or(SAMPLE_WORKERS, usize::from)).map_err(Failure::infrastructure)?;
    let config = sample.config;
    Ok(Chosen { config, path: None, what: "a sample project (your own: burrow up --repo DIR)".into(), sample: true })
}

/// The configuration of `burrow build`: reduced to one repository, the folder `dir`, and to builders that run on this machine. Gives its name and theirs.
pub(crate) fn for_build(config: Option<&Path>, dir: &Path, builders: &[String], workers: Option<u16>) -> Result<(Config, String, Vec<String>), Failure> {
    let here = dir.join("burrow.toml");
    let path = config.map(Path::to_owned).or_else(|| describes_a_farm(&here).then_some(here));
    let url = dir.to_str().ok_or_else(|| Failure::usage(format!("{}: the folder's name must be UTF-8", dir.display())))?.to_owned();
    let Some(path) = path else {
        let config = config_for_up(&[url], count(workers));
        let repo = config.repos.keys().next().cloned().unwrap_or_default();
        let chosen = choose(&config.builders.keys().cloned().collect::<Vec<_>>(), builders, "for this repository")?;
        return Ok((config, repo, chosen));
    };
    let mut config = load(&path)?;
    set_workers(&mut config, workers);
    let repo = repo_for(&config, dir)?;
    config.repos.retain(|name, _| *name == repo);
    if let Some(entry) = config.repos.get_mut(&repo) {
        entry.url = url;
    }
    config.pools.retain(|_, pool| matches!(pool.kind, PoolKind::Process { .. }));
    let project = config.repos.get(&repo).map(|entry| entry.project.clone()).unwrap_or_default();
    let here: Vec<String> = config
        .builders
        .iter()
        .filter(|(_, builder)| builder.project == project && config.hosts.get(&builder.host).is_some_and(|host| config.pools.contains_key(&host.pool)))
        .map(|(name, _)| name.clone())
        .collect();
    let chosen = choose(&here, builders, &format!("of {} that builds {repo} in worker processes of this machine", path.display()))?;
    Ok((config, repo, chosen))
}

/// All of `known`, or those asked for.
fn choose(known: &[String], asked: &[String], which: &str) -> Result<Vec<String>, Failure> {
    if known.is_empty() {
        return Err(Failure::usage(format!("there is no builder {which}")));
    }
    match asked.iter().find(|name| !known.contains(name)) {
        Some(name) => Err(Failure::usage(format!("there is no builder {name:?} {which}; there are {}", known.join(", ")))),
        None if asked.is_empty() => Ok(known.to_vec()),
        None => Ok(asked.to_vec()),
    }
}

/// The repository of a configuration that `dir` is a clone of: the only one, or the one whose address ends as the folder is called.
fn repo_for(config: &Config, dir: &Path) -> Result<String, Failure> {
    let built: Vec<&String> = config.repos.iter().filter(|(_, repo)| repo.build).map(|(name, _)| name).collect();
    if let [only] = built.as_slice() {
        return Ok((*only).clone());
    }
    let called = dir.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let same = |name: &&&String| **name == &called || config.repos.get(name.as_str()).is_some_and(|repo| Path::new(&repo.url) == dir);
    match built.iter().find(same) {
        Some(name) => Ok((**name).clone()),
        None => Err(Failure::usage(format!(
            "the configuration has {} repositories and none is called like this folder ({called}); there are {}",
            built.len(),
            built.iter().map(|name| name.as_str()).collect::<Vec<_>>().join(", ")
        ))),
    }
}

/// Whether the file describes builders (and not just the recipe of the repository that it lies in). A file that is not even TOML counts, so that its
/// errors are shown.
fn describes_a_farm(path: &Path) -> bool {
    let Ok(text) = std::fs::read_to_string(path) else { return false };
    text.parse::<toml::Table>().map_or(true, |table| ["builder", "project", "repo", "pool"].iter().any(|key| table.contains_key(*key)))
}

/// A folder becomes absolute, because the coordinator works elsewhere; an address stays as it is.
fn address(repo: &str) -> Result<String, Failure> {
    let path = Path::new(repo);
    if !path.exists() {
        let remote = repo.contains("://") || repo.split_once(':').is_some_and(|(host, _)| host.contains('@'));
        return if remote { Ok(repo.to_owned()) } else { Err(Failure::usage(format!("there is no folder {repo}; give a git repository's folder or address"))) };
    }
    let path = path.canonicalize().map_err(|error| Failure::usage(format!("{repo}: {error}")))?;
    let git = path.join(".git").exists() || (path.join("objects").is_dir() && path.join("refs").is_dir());
    if !git {
        return Err(Failure::usage(format!("{repo} is not a git repository; make it one with `git init`, or name another folder")));
    }
    path.into_os_string().into_string().map_err(|_| Failure::usage(format!("{repo}: the folder's name must be UTF-8")))
}

/// Builds at a time when nothing says how many.
fn count(workers: Option<u16>) -> usize {
    workers.map_or_else(|| std::thread::available_parallelism().map_or(1, |n| n.get().div_ceil(2)), usize::from)
}

fn set_workers(config: &mut Config, count: Option<u16>) {
    let Some(count) = count else { return };
    for pool in config.pools.values_mut() {
        if let PoolKind::Process { workers, .. } = &mut pool.kind {
            *workers = u32::from(count);
        }
    }
}
