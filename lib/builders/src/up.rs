//! The configuration of `burrow up --repo …`: made from nothing but addresses.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use burrow_site::Site;

use crate::model::{Builder, Config, Host, Pool, PoolKind, Project, RecipeKind, Repo};
use crate::recipe::{Detect, Recipe};

/// One repository of `burrow up`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UpRepo {
    /// An address, or a folder.
    pub url: String,
    /// Also build with the race detector: worth it when the repository is Go and the machine has a C compiler.
    pub race: bool,
}

/// A configuration that builds these repositories on this machine: a project for each, in which the recipe is found by
/// looking at every commit ([`crate::detect`]), and `workers` processes to run them. The builder is called after the
/// machine (`linux-amd64`); with several repositories, after repository and machine.
///
/// ```
/// let config = burrow_builders::config_for_up(&["/home/me/widget".to_owned()], 4);
/// assert!(config.projects.contains_key("widget"));
/// assert_eq!(config.builders.len(), 1);
/// ```
pub fn config_for_up(repos: &[String], workers: usize) -> Config {
    let repos: Vec<UpRepo> = repos.iter().map(|url| UpRepo { url: url.clone(), race: false }).collect();
    config_for_up_with(&repos, workers)
}

/// The same, with what is known about the repositories.
pub fn config_for_up_with(repos: &[UpRepo], workers: usize) -> Config {
    let mut config = local_config(workers);
    let (os, arch) = this_machine();
    let recipe = Recipe { detect: Some(Detect { allow_file: true, checkout: "src".to_owned() }), ..Recipe::default() };
    config.recipes.insert("detect".to_owned(), RecipeKind::Detect(recipe));
    let mut names = BTreeSet::new();
    for repo in repos {
        let name = free_name(&name_of(&repo.url), &mut names);
        config.projects.insert(name.clone(), Project { recipe: Some("detect".to_owned()), ..Project::default() });
        // A folder costs nothing to ask, and its owner is watching.
        let local = !repo.url.contains("://") && !is_scp(&repo.url);
        let poll = Duration::from_secs(if local { 2 } else { 60 });
        config.repos.insert(name.clone(), Repo { poll, ..Repo::new(&name, &repo.url) });
        let machine = if repos.len() == 1 { format!("{os}-{arch}") } else { format!("{name}-{os}-{arch}") };
        let builder =
            Builder { host: "local".to_owned(), project: name.clone(), recipe: "detect".to_owned(), os: os.clone(), arch: arch.clone(), ..Builder::default() };
        if repo.race {
            config.builders.insert(format!("{machine}-race"), Builder { race: true, ..builder.clone() });
        }
        config.builders.insert(machine, builder);
    }
    config.seal()
}

/// A configuration with this machine as its only host, called `local`, and nothing to build.
pub(crate) fn local_config(workers: usize) -> Config {
    let (os, arch) = this_machine();
    let workers = u32::try_from(workers.max(1)).unwrap_or(u32::MAX);
    let pool = Pool { kind: PoolKind::Process { workers, memory: None, max_processes: None }, max_instances: None };
    Config {
        site: Site::default(),
        storage: BTreeMap::new(),
        secrets: BTreeMap::new(),
        pools: BTreeMap::from([("local".to_owned(), pool)]),
        projects: BTreeMap::new(),
        repos: BTreeMap::new(),
        recipes: BTreeMap::new(),
        reposets: BTreeMap::new(),
        policies: BTreeMap::new(),
        test_policies: BTreeMap::new(),
        deny: Vec::new(),
        skip_tests: Vec::new(),
        hosts: BTreeMap::from([("local".to_owned(), Host { pool: "local".to_owned(), arch: Some(format!("{os}-{arch}")), ..Host::default() })]),
        builders: BTreeMap::new(),
        hash: String::new(),
    }
}

/// Operating system and architecture this program was built for, as Go names them.
pub fn this_machine() -> (String, String) {
    let os = match std::env::consts::OS {
        "macos" => "darwin",
        os => os,
    };
    let arch = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "x86" => "386",
        "aarch64" => "arm64",
        "powerpc64" if cfg!(target_endian = "little") => "ppc64le",
        "powerpc64" => "ppc64",
        "loongarch64" => "loong64",
        arch => arch,
    };
    (os.to_owned(), arch.to_owned())
}

/// `user@host:path`, which git takes as an address.
fn is_scp(url: &str) -> bool {
    url.split_once(':').is_some_and(|(host, _)| host.len() > 1 && !host.contains('/'))
}

/// The last part of an address, as a name: `https://host/a/widget.git/` is `widget`.
fn name_of(url: &str) -> String {
    let end = url.trim_end_matches('/').trim_end_matches("/.git");
    let last = end.rsplit(['/', ':', '\\']).next().unwrap_or_default().trim_end_matches(".git");
    let name: String = last.chars().map(|c| if c.is_ascii_alphanumeric() || "._-+".contains(c) { c } else { '-' }).collect();
    let name = name.trim_matches(['.', '-']);
    if name.is_empty() { "repo".to_owned() } else { name.chars().take(60).collect() }
}

fn free_name(name: &str, taken: &mut BTreeSet<String>) -> String {
    let numbered = (2..).map(|number| format!("{name}-{number}"));
    let free = std::iter::once(name.to_owned()).chain(numbered).find(|name| !taken.contains(name)).unwrap_or_default();
    taken.insert(free.clone());
    free
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_repository_gets_its_own_names() {
        let urls = ["https://h/a/widget.git/", "git@h:b/widget.git", "/home/me/./", "."].map(str::to_owned);
        let config = config_for_up(&urls, 2);
        assert_eq!(config.projects.keys().map(String::as_str).collect::<Vec<_>>(), ["repo", "repo-2", "widget", "widget-2"]);
        assert_eq!(config.builders.len(), 4);
        assert_eq!(config.repos["widget-2"].poll, Duration::from_secs(60));
        assert_eq!(config.repos["repo"].poll, Duration::from_secs(2));
        for name in config.builders.keys() {
            let resolved = config.resolve(name).unwrap();
            assert!(resolved.recipe.detect.is_some());
            assert!(config.decide(name, &resolved.project, "any-branch", "any-branch").post);
        }
    }
}
