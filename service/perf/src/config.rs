//! What a perf service is told: a TOML file, or nothing. Nothing of any project is in the code: comparisons, names, machines and repositories are said here
//! (`docs/perf.md` has the Go project's as an example).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

/// The configuration.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Address to listen on.
    pub listen: Option<String>,
    /// Folder of a perfdata on this machine; of a configuration file, relative to it.
    pub data: Option<PathBuf>,
    /// Address of a perfdata elsewhere, instead of `data`.
    pub perfdata: Option<String>,
    /// Folder for what is computed, when results are elsewhere [default: beside them].
    pub computed: Option<PathBuf>,
    /// Name of the installation.
    pub site: String,
    /// File with the token that those must show who change something; without one everybody who can connect may.
    pub token_file: Option<PathBuf>,
    /// Which uploads are watched, in the store's language; empty: all.
    pub uploads: String,
    /// Names of labels.
    pub labels: Labels,
    /// What is computed of each upload.
    #[serde(rename = "comparison")]
    pub comparisons: Vec<Comparison>,
    /// Names of geometric means.
    pub geomean: Option<Geomean>,
    /// Repositories, in the order in which they are offered.
    #[serde(rename = "repository")]
    pub repositories: Vec<Repository>,
    /// Which way is better, by unit: `lower` or `higher`. `Unit` lines of results win.
    pub better: BTreeMap<String, Better>,
    /// Units whose values are the same each time.
    pub exact: Vec<String>,
    /// What is a change, and who is told.
    pub watch: Watch,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            listen: None,
            data: None,
            perfdata: None,
            computed: None,
            site: "perf".into(),
            token_file: None,
            uploads: String::new(),
            labels: Labels::default(),
            comparisons: vec![
                Comparison { column: "toolchain".into(), base: "baseline".into(), experiment: "experiment".into(), ..Comparison::default() },
                Comparison { filter: "-toolchain:(baseline OR experiment)".into(), ..Comparison::default() },
            ],
            geomean: None,
            repositories: Vec::new(),
            better: BTreeMap::new(),
            exact: Vec::new(),
            watch: Watch::default(),
        }
    }
}

/// Which labels mean what. Of several, the first that a result has counts.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Labels {
    /// The commit.
    pub commit: Vec<String>,
    /// Its time: RFC 3339, `YYYYMMDDTHHMMSS`, or Unix seconds.
    pub time: Vec<String>,
    /// The commit that it is compared with.
    pub baseline: Vec<String>,
    /// The commit of the benchmarks themselves.
    pub benchmarks: Vec<String>,
    /// What makes a series: results that differ in one of these are never joined.
    pub identity: Vec<String>,
    /// Labels that do not matter.
    pub ignore: Vec<String>,
    /// Labels that tell where results come from, for the alarm that they stopped.
    pub origin: String,
}

impl Default for Labels {
    fn default() -> Labels {
        let list = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Labels {
            commit: list(&["experiment-commit", "commit"]),
            time: list(&["experiment-commit-time", "commit-time"]),
            baseline: list(&["baseline-commit"]),
            benchmarks: list(&["benchmarks-commit"]),
            identity: list(&["repository", "branch", "goos", "goarch", "cpu", "builder", "pkg"]),
            ignore: Vec::new(),
            origin: "builder".into(),
        }
    }
}

/// A pass over an upload's results (`spec/perf.md` §10).
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Comparison {
    /// Key by which old and new are told apart; empty: there is no old, and values stand by themselves.
    pub column: String,
    /// Its value for the old.
    pub base: String,
    /// Its value for the new.
    pub experiment: String,
    /// Which results, in the language of `benchstat -filter`; empty: all.
    pub filter: String,
    /// What is put behind the names of benchmarks.
    pub suffix: String,
}

/// Names of the geometric means of an upload.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Geomean {
    /// A label.
    pub label: String,
    /// A regular expression that it must match, with named groups.
    pub pattern: String,
    /// The name, with `{group}` for each group, and `{repository}`.
    pub name: String,
}

/// A repository.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Repository {
    /// Its name in results.
    pub name: String,
    /// Where git fetches its history from; without one the commits of the results are shown.
    pub git: Option<String>,
    /// Branches that are offered, the usual one first.
    pub branches: Vec<String>,
    /// The branch that `latest-release` means.
    pub latest_release: Option<String>,
    /// Benchmarks that are shown if none is asked for; empty: all.
    pub panels: Vec<String>,
    /// Address of a commit, with `{commit}`.
    pub commit_url: Option<String>,
}

/// Which way is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Better {
    /// Smaller values.
    Lower,
    /// Larger values.
    Higher,
}

/// What is a change, and who is told.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Watch {
    /// False alarms per point that are acceptable.
    pub false_alarms: f64,
    /// Smaller changes are not reported (0.01 is 1 %).
    pub smallest: f64,
    /// Address that gets a JSON document for each new change.
    pub webhook: Option<String>,
    /// A series or an origin without results for so many days is late.
    pub late_days: u32,
}

impl Default for Watch {
    fn default() -> Watch {
        Watch { false_alarms: 1e-4, smallest: 0.0, webhook: None, late_days: 7 }
    }
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
    /// A value does not mean anything.
    #[error("{what}: {why}")]
    Value {
        /// Which.
        what: String,
        /// What is wrong with it.
        why: String,
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
        for place in [&mut config.data, &mut config.computed, &mut config.token_file].into_iter().flatten() {
            *place = folder.join(&*place);
        }
        config.check()?;
        Ok(config)
    }

    /// Reads a text; `path` is named in errors.
    ///
    /// # Errors
    /// [`ConfigError::Wrong`].
    pub fn parse(path: &Path, text: &str) -> Result<Config, ConfigError> {
        toml::from_str(text).map_err(|error| ConfigError::Wrong {
            path: path.to_owned(),
            line: error.span().and_then(|span| text.get(..span.start)).map_or(1, |before| before.matches('\n').count() + 1),
            message: error.message().to_owned(),
        })
    }

    /// Looks at what no type checks: filters, queries, patterns.
    ///
    /// # Errors
    /// [`ConfigError::Value`].
    pub fn check(&self) -> Result<(), ConfigError> {
        let value = |what: String, why: String| Err(ConfigError::Value { what, why });
        if self.data.is_some() && self.perfdata.is_some() {
            return value("data and perfdata".into(), "results are in one place: give one of them".into());
        }
        if !self.uploads.is_empty()
            && let Err(error) = burrow_perfstore::Query::parse(self.uploads.as_bytes())
        {
            return value("uploads".into(), error.to_string());
        }
        for (number, comparison) in self.comparisons.iter().enumerate() {
            let what = format!("comparison {}", number + 1);
            if !comparison.column.is_empty() && (comparison.base.is_empty() || comparison.experiment.is_empty()) {
                return value(what, format!("column {:?} needs both `base` and `experiment`", comparison.column));
            }
            if let Err(error) = crate::points::layout(comparison, &self.labels) {
                return value(what, error.to_string());
            }
        }
        if let Some(geomean) = &self.geomean
            && let Err(error) = regex::Regex::new(&geomean.pattern)
        {
            return value("geomean.pattern".into(), error.to_string());
        }
        if self.watch.false_alarms.is_nan() || !(1e-9..=0.1).contains(&self.watch.false_alarms) {
            return value("watch.false_alarms".into(), "must be from 1e-9 to 0.1 per point".into());
        }
        Ok(())
    }

    /// What is said of a repository, if anything.
    pub fn repository(&self, name: &str) -> Option<&Repository> {
        self.repositories.iter().find(|repository| repository.name == name)
    }

    /// Whether larger values of a unit are better; by its name if nobody said (`spec/perf.md` §9).
    pub fn higher_is_better(&self, unit: &str) -> bool {
        match self.better.get(unit) {
            Some(better) => *better == Better::Higher,
            None => unit == "B/s" || ["ops/s", "ops/sec", "ops"].iter().any(|end| unit.ends_with(end)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mistakes_are_named_with_their_line() {
        let said = |text: &str| Config::parse(Path::new("perf.toml"), text).and_then(|config| config.check()).unwrap_err().to_string();
        assert!(said("site = \"x\"\nlabls = 1\n").starts_with("perf.toml:2: unknown field `labls`"));
        assert!(said("[[comparison]]\ncolumn = \"toolchain\"\n").contains("needs both `base` and `experiment`"));
        assert!(said("[[comparison]]\nfilter = \"a:(b\"\n").starts_with("comparison 1: "));
        assert!(said("uploads = \"nonsense\"\n").starts_with("uploads: "));
        assert!(said("[geomean]\nlabel = \"builder\"\npattern = \"(\"\nname = \"x\"\n").starts_with("geomean.pattern: "));
        assert!(said("[watch]\nfalse_alarms = nan\n").starts_with("watch.false_alarms: "));
        Config::default().check().unwrap();
    }
}
