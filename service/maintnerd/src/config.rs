//! What a maintnerd is told: a TOML file, or flags that stand for one.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use burrow_certificates::config::Tls;
use burrow_clock::SharedClock;
use burrow_site::FileError;
use serde::Deserialize;

use crate::Bucket;
use crate::api::Rules;
use crate::api::trywork::GerritApi;
use crate::poll::{GerritSource, GitSource, Sources, Timing};
use crate::reviews::Reviews;

/// The configuration.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Address to listen on.
    pub listen: Option<String>,
    /// Folder of the log; of a configuration file, relative to it.
    pub data: Option<PathBuf>,
    /// File with the token that readers must show; without one everybody who can connect may read.
    pub token_file: Option<PathBuf>,
    /// Where the certificate comes from; without it plain HTTP.
    pub tls: Option<Tls>,
    /// Issues, pull requests and reviews.
    pub github: Github,
    /// Changes and their commits.
    pub gerrit: Gerrit,
    /// Plain git repositories.
    pub git: Vec<Git>,
    /// Address of a pubsubhelper whose events wake the sources.
    pub pubsub: Option<String>,
    /// What counts as a release, a branch and a wish for a try run; those of the Go project by default.
    pub rules: Option<Rules>,
    /// A copy of the log in an object store.
    pub copy: Option<Copy>,
}

/// GitHub.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Github {
    /// `owner/name` of every repository to watch.
    pub repos: Vec<String>,
    /// File with a token, plain or as `user:token`.
    pub token_file: Option<PathBuf>,
    /// Requests a second, for all repositories together; 0: as many as GitHub allows.
    pub rate: u32,
    /// Address of the interface, for a GitHub of one's own.
    pub url: String,
}

impl Default for Github {
    fn default() -> Self {
        Github { repos: Vec::new(), token_file: None, rate: 10, url: "https://api.github.com".into() }
    }
}

/// Gerrit.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Gerrit {
    /// `host/project` of every project to watch.
    pub projects: Vec<String>,
    /// Where git fetches from; `{host}` and `{project}` are filled in.
    pub git_url: String,
    /// Address of the main project's REST interface, for `GoFindTryWork`; without one that call fails.
    pub rest_url: Option<String>,
}

impl Default for Gerrit {
    fn default() -> Self {
        Gerrit { projects: Vec::new(), git_url: "https://{host}/{project}".into(), rest_url: None }
    }
}

/// A plain git repository.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Git {
    /// Its name in the log.
    pub name: String,
    /// Where git fetches from.
    pub url: String,
    /// Branches to follow; `*` stands for anything.
    #[serde(default = "every_branch")]
    pub branches: Vec<String>,
}

fn every_branch() -> Vec<String> {
    vec!["*".into()]
}

/// A copy of the log in an object store.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Copy {
    /// Where: `file:///folder`, or an object store that this build knows.
    pub to: String,
    /// What names of objects begin with.
    #[serde(default)]
    pub prefix: String,
    /// Minutes between two copies of the segment that grows.
    #[serde(default = "ten")]
    pub minutes: u64,
}

fn ten() -> u64 {
    10
}

impl Config {
    /// Reads a file. Paths in it are relative to its folder.
    ///
    /// # Errors
    /// [`FileError`], with the line.
    pub fn load(path: &Path) -> Result<Config, FileError> {
        let mut config: Config = burrow_site::read_toml(path)?;
        let folder = &burrow_site::folder_of(path);
        let paths = [&mut config.data, &mut config.token_file, &mut config.github.token_file];
        for place in paths.into_iter().flatten() {
            *place = folder.join(&*place);
        }
        if let Some(tls) = &mut config.tls {
            tls.anchor(folder);
        }
        config.check()?;
        Ok(config)
    }

    /// Looks at names that no type checks.
    ///
    /// # Errors
    /// [`FileError::Value`].
    pub fn check(&self) -> Result<(), FileError> {
        let parts = |name: &str| name.split_once('/').is_some_and(|(a, b)| !a.is_empty() && !b.is_empty());
        for name in &self.github.repos {
            if !parts(name) || name.matches('/').count() != 1 {
                return Err(FileError::value(format_args!("the GitHub repository {name:?}"), "it must be owner/name"));
            }
        }
        for name in &self.gerrit.projects {
            if !parts(name) || name.contains("://") {
                return Err(FileError::value(format_args!("the Gerrit project {name:?}"), "it must be host/project, without https://"));
            }
        }
        Ok(())
    }
}

impl Config {
    /// The sources that it names, with their clients. What they keep lies in the folder of the log.
    ///
    /// # Errors
    /// [`FileError`]: a file cannot be read, or an address is none.
    pub fn sources(&self, data: &Path, clock: &SharedClock) -> Result<Sources, FileError> {
        let part = |what: &'static str| move |error: &dyn std::fmt::Display| FileError::value(what, error);
        let github = if self.github.repos.is_empty() {
            None
        } else {
            let wrong = part("github");
            let token = self.github.token_file.as_deref().map(read_token).transpose()?;
            let pace = burrow_github::Pace { per_second: self.github.rate, burst: self.github.rate.max(1) };
            let settings = burrow_github::Settings { base: self.github.url.clone(), token, ..Default::default() };
            let client = burrow_github::Client::new(settings, burrow_github::Budget::new(pace, Arc::clone(clock)), Arc::clone(clock)).map_err(|e| wrong(&e))?;
            let repos = self.github.repos.iter().filter_map(|name| name.split_once('/')).map(|(owner, name)| burrow_github::RepoName::new(owner, name));
            Some((client, repos.collect::<Result<Vec<_>, _>>().map_err(|e| wrong(&e))?))
        };
        let gerrit = self.gerrit.projects.iter().filter_map(|name| {
            let (host, project) = name.split_once('/')?;
            let url = self.gerrit.git_url.replace("{host}", host).replace("{project}", project);
            Some(GerritSource { name: name.clone(), url, auth: burrow_gerrit::Auth::None })
        });
        let git = self.git.iter().map(|git| GitSource {
            name: git.name.clone(),
            url: git.url.clone(),
            branches: git.branches.clone(),
            auth: burrow_gerrit::Auth::None,
        });
        let wake = match &self.pubsub {
            None => None,
            Some(url) => Some((burrow_http_client::Client::new(Default::default()).map_err(|e| part("pubsub")(&e))?, url.trim_end_matches('/').to_owned())),
        };
        Ok(Sources { dir: data.to_owned(), github, gerrit: gerrit.collect(), git: git.collect(), wake, timing: Timing::default() })
    }

    /// Where the log is copied to, and how often what still grows.
    ///
    /// # Errors
    /// [`FileError::Value`]: this build does not know such a store, or the folder cannot be used.
    pub fn bucket(&self) -> Result<Option<(Bucket, Duration)>, FileError> {
        let Some(copy) = &self.copy else { return Ok(None) };
        let part = |why: String| FileError::value("copy.to", why);
        let folder = match copy.to.split_once("://") {
            None => Path::new(&copy.to),
            Some(("file", folder)) => Path::new(folder),
            Some(_) => return Err(part(format!("{:?} is not supported by this build; use file:///some/folder", copy.to))),
        };
        std::fs::create_dir_all(folder).map_err(|error| part(format!("{}: {error}", folder.display())))?;
        let store = object_store::local::LocalFileSystem::new_with_prefix(folder).map_err(|error| part(error.to_string()))?;
        Ok(Some((Bucket::new(Arc::new(store), &copy.prefix), Duration::from_secs(copy.minutes.max(1) * 60))))
    }

    /// The REST interface of the reviews' server.
    ///
    /// # Errors
    /// [`FileError::Value`]: its address is none.
    pub fn reviews(&self) -> Result<Option<Arc<dyn GerritApi>>, FileError> {
        let Some(base) = &self.gerrit.rest_url else { return Ok(None) };
        let settings = burrow_gerrit::Settings { base: base.clone(), ..Default::default() };
        let client = burrow_gerrit::Client::new(settings).map_err(|error| FileError::value("gerrit.rest_url", error))?;
        Ok(Some(Arc::new(Reviews(client))))
    }
}

/// A token, plain or as `user:token`.
fn read_token(path: &Path) -> Result<String, FileError> {
    let secret = burrow_site::read_secret(path)?;
    Ok(secret.split_once(':').map_or(secret.as_str(), |(_, token)| token).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Config, FileError> {
        burrow_site::parse_toml(Path::new("m.toml"), text)
    }

    #[test]
    fn a_wrong_key_is_named_with_its_line_and_what_is_allowed() {
        let error = parse("listen = \"127.0.0.1:1\"\n[github]\nrepo = [\"a/b\"]\n").unwrap_err().to_string();
        assert!(error.starts_with("m.toml:3: ") && error.contains("repo") && error.contains("repos"), "{error}");
        let error = parse("data = 5\n").unwrap_err().to_string();
        assert!(error.starts_with("m.toml:1: "), "{error}");
    }

    #[test]
    fn the_example_in_the_documentation_is_right() {
        let document = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/maintner.md")).unwrap();
        let example = document.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
        // With the lines, too, that stand there as a possibility.
        let all: Vec<&str> = example.lines().map(|line| line.strip_prefix("# ").unwrap_or(line)).collect();
        let config = parse(&all.join("\n")).unwrap();
        config.check().unwrap();
        assert_eq!((config.github.repos.len(), config.gerrit.projects.len(), config.git.len()), (2, 2, 1));
        assert!(config.copy.is_some() && config.pubsub.is_some() && config.token_file.is_some());
    }

    #[test]
    fn names_have_their_forms() {
        let with = |repo: &str, project: &str| Config {
            github: Github { repos: vec![repo.into()], ..Github::default() },
            gerrit: Gerrit { projects: vec![project.into()], ..Gerrit::default() },
            ..Config::default()
        };
        assert!(with("golang/go", "go.googlesource.com/go").check().is_ok());
        assert!(with("golang/go", "review.example.org/a/nested/project").check().is_ok());
        for (repo, project) in [("golang", "h/p"), ("a/b/c", "h/p"), ("a/b", "https://h/p"), ("a/b", "p")] {
            assert!(with(repo, project).check().is_err(), "{repo} {project}");
        }
    }
}
