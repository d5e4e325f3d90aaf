//! What a perf service is told: a TOML file, or nothing. Nothing of any project is in the code: comparisons, names, machines and repositories are said here
//! (`docs/perf.md` has the Go project's as an example).

use std::collections::BTreeMap;
use std::fmt::Display;
use std::path::{Path, PathBuf};

use burrow_site::FileError;
use serde::Deserialize;

/// The configuration.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Address to listen on.
    pub listen: Option<String>,
    /// How people reach it, for links in messages: `https://perf.example.org`; a proxy in front may then keep that host name.
    pub public: Option<String>,
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
            public: None,
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
    /// File with the key of its signature. Without one messages are not signed.
    pub webhook_secret_file: Option<PathBuf>,
    /// A series or an origin without results for so many days is late.
    pub late_days: u32,
}

impl Default for Watch {
    fn default() -> Watch {
        Watch { false_alarms: 1e-4, smallest: 0.0, webhook: None, webhook_secret_file: None, late_days: 7 }
    }
}

impl Config {
    /// Reads a file. Paths in it are relative to its folder.
    ///
    /// # Errors
    /// [`FileError`], with the line.
    pub fn load(path: &Path) -> Result<Config, FileError> {
        let mut config: Config = burrow_site::read_toml(path)?;
        let folder = &burrow_site::folder_of(path);
        for place in [&mut config.data, &mut config.computed, &mut config.token_file, &mut config.watch.webhook_secret_file].into_iter().flatten() {
            *place = folder.join(&*place);
        }
        config.check()?;
        Ok(config)
    }

    /// Looks at what no type checks: filters, queries, patterns.
    ///
    /// # Errors
    /// [`FileError::Value`].
    pub fn check(&self) -> Result<(), FileError> {
        let value = |what: &str, why: &dyn Display| Err(FileError::value(what, why));
        if self.data.is_some() && self.perfdata.is_some() {
            return value("data and perfdata", &"results are in one place: give one of them");
        }
        if !self.uploads.is_empty()
            && let Err(error) = burrow_perfstore::Query::parse(self.uploads.as_bytes())
        {
            return value("uploads", &error);
        }
        for (number, comparison) in self.comparisons.iter().enumerate() {
            let what = format!("comparison {}", number + 1);
            if !comparison.column.is_empty() && (comparison.base.is_empty() || comparison.experiment.is_empty()) {
                return value(&what, &format_args!("column {:?} needs both `base` and `experiment`", comparison.column));
            }
            if let Err(error) = crate::points::layout(comparison, &self.labels) {
                return value(&what, &error);
            }
        }
        if let Some(geomean) = &self.geomean
            && let Err(error) = regex::Regex::new(&geomean.pattern)
        {
            return value("geomean.pattern", &error);
        }
        if self.watch.false_alarms.is_nan() || !(1e-9..=0.1).contains(&self.watch.false_alarms) {
            return value("watch.false_alarms", &"must be from 1e-9 to 0.1 per point");
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
        let said = |text: &str| burrow_site::parse_toml(Path::new("perf.toml"), text).and_then(|config: Config| config.check()).unwrap_err().to_string();
        assert!(said("site = \"x\"\nlabls = 1\n").starts_with("perf.toml:2: unknown field `labls`"));
        assert!(said("[[comparison]]\ncolumn = \"toolchain\"\n").contains("needs both `base` and `experiment`"));
        assert!(said("[[comparison]]\nfilter = \"a:(b\"\n").starts_with("comparison 1: "));
        assert!(said("uploads = \"nonsense\"\n").starts_with("uploads: "));
        assert!(said("[geomean]\nlabel = \"builder\"\npattern = \"(\"\nname = \"x\"\n").starts_with("geomean.pattern: "));
        assert!(said("[watch]\nfalse_alarms = nan\n").starts_with("watch.false_alarms: "));
        Config::default().check().unwrap();
    }
}
