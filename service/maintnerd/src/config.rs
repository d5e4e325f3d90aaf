//! What a maintnerd is told: a TOML file, or flags that stand for one.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::api::Rules;

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
    /// Certificate and key; without them plain HTTP.
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

/// Certificate and key.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// PEM file with the certificate chain.
    pub cert: PathBuf,
    /// PEM file with the key.
    pub key: PathBuf,
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
    pub rate: f64,
    /// Address of the interface, for a GitHub of one's own.
    pub url: String,
}

impl Default for Github {
    fn default() -> Self {
        Github { repos: Vec::new(), token_file: None, rate: 10.0, url: "https://api.github.com".into() }
    }
}

/// Gerrit.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Gerrit {
    /// `host/project` of every project to watch.
    pub projects: Vec<String>,
    /// Where git fetches from, with `{host}` and `{project}` filled in [default: `https://{host}/{project}`].
    pub git_url: Option<String>,
    /// Where the REST interface is, with `{host}` filled in.
    pub rest_url: Option<String>,
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

/// A configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// It cannot be read.
    #[error("{path}: {source}")]
    File {
        /// Which file.
        path: PathBuf,
        /// The system's word.
        source: std::io::Error,
    },
    /// It is not right.
    #[error("{path}:{line}: {message}")]
    Wrong {
        /// Which file.
        path: PathBuf,
        /// Line.
        line: usize,
        /// What is wrong and what is allowed.
        message: String,
    },
    /// A name is not of the form it must have.
    #[error("{what} {name:?} must be {form}")]
    Name {
        /// What it is a name of.
        what: &'static str,
        /// The name.
        name: String,
        /// What it must look like.
        form: &'static str,
    },
}

impl Config {
    /// Reads a file. Paths in it are relative to its folder.
    ///
    /// # Errors
    /// [`ConfigError`], with the line.
    pub fn load(path: &Path) -> Result<Config, ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|source| ConfigError::File { path: path.to_owned(), source })?;
        let mut config = Config::parse(path, &text)?;
        let folder = path.parent().unwrap_or(Path::new("."));
        let paths = [&mut config.data, &mut config.token_file, &mut config.github.token_file];
        for place in paths.into_iter().flatten().chain(config.tls.iter_mut().flat_map(|tls| [&mut tls.cert, &mut tls.key])) {
            *place = folder.join(&*place);
        }
        config.check()?;
        Ok(config)
    }

    fn parse(path: &Path, text: &str) -> Result<Config, ConfigError> {
        toml::from_str(text).map_err(|error| ConfigError::Wrong {
            path: path.to_owned(),
            line: error.span().and_then(|span| text.get(..span.start)).map_or(1, |before| before.lines().count().max(1)),
            message: error.message().to_owned(),
        })
    }

    /// Looks at names that no type checks.
    ///
    /// # Errors
    /// [`ConfigError::Name`].
    pub fn check(&self) -> Result<(), ConfigError> {
        let parts = |name: &str| name.split_once('/').is_some_and(|(a, b)| !a.is_empty() && !b.is_empty());
        for name in &self.github.repos {
            if !parts(name) || name.matches('/').count() != 1 {
                return Err(ConfigError::Name { what: "the GitHub repository", name: name.clone(), form: "owner/name" });
            }
        }
        for name in &self.gerrit.projects {
            if !parts(name) || name.contains("://") {
                return Err(ConfigError::Name { what: "the Gerrit project", name: name.clone(), form: "host/project, without https://" });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_key_is_named_with_its_line_and_what_is_allowed() {
        let error = Config::parse(Path::new("m.toml"), "listen = \"127.0.0.1:1\"\n[github]\nrepo = [\"a/b\"]\n").unwrap_err().to_string();
        assert!(error.starts_with("m.toml:3: ") && error.contains("repo") && error.contains("repos"), "{error}");
        let error = Config::parse(Path::new("m.toml"), "data = 5\n").unwrap_err().to_string();
        assert!(error.starts_with("m.toml:1: "), "{error}");
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
