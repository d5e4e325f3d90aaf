//! What counts: which project is the main one, how its tags and branches are called, which votes ask for a try run.

use std::collections::BTreeMap;
use std::num::{NonZeroU8, NonZeroU32};

use serde::{Deserialize, Serialize};

use crate::api::VersionPattern;

/// A project's rules. [`Rules::go`] has those of the Go project; in a configuration file unknown keys are refused.
///
/// ```
/// let rules: burrow_maintnerd::api::Rules = toml::from_str(
///     r#"
///     name = "Ferris"
///     main_project = "review.example.org/ferris"
///     [releases]
///     tags = "v*"
///     branches = "stable-*"
/// "#,
/// )?;
/// assert_eq!((&*rules.main_project.server, &*rules.main_project.project), ("review.example.org", "ferris"));
/// assert_eq!(rules.main_branch, "master");
/// # Ok::<_, toml::de::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rules {
    /// How people call the project; for messages.
    pub name: String,
    /// The main project and the Gerrit server it is on: `go.googlesource.com/go`. The other projects of that server are tested with it.
    pub main_project: ProjectName,
    /// Its main branch, and that of the other projects.
    #[serde(default = "master")]
    pub main_branch: String,
    /// Releases of the main project.
    pub releases: ReleaseRules,
    /// Pages of history.
    #[serde(default)]
    pub dashboard: DashboardRules,
    /// Changes that want a try run.
    #[serde(default)]
    pub try_work: TryWorkRules,
}

/// Which releases there are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReleaseRules {
    /// Tags of releases: `go*`.
    pub tags: VersionPattern,
    /// Branches of releases: `release-branch.go*`. A tag without its branch is no release.
    pub branches: VersionPattern,
    /// How many are supported: the newest ones.
    #[serde(default = "two")]
    pub supported: NonZeroU8,
    /// Whether `go1.21.0` is a tag of a release (Go's since 2023), as `go1.21` is.
    #[serde(default)]
    pub zero_end: bool,
}

/// Which projects have pages.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DashboardRules {
    /// Import path → project on the main project's server.
    #[serde(default)]
    pub repos: BTreeMap<String, String>,
    /// What import paths look like; for the message that refuses others.
    #[serde(default)]
    pub repo_hint: String,
}

/// Which changes want a try run, and of what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TryWorkRules {
    /// Label whose vote of +1 asks for a try run.
    pub ask: String,
    /// Label whose votes give the result: a change that has one is done.
    pub result: String,
    /// What a line of a voter's comment begins with that says what to run.
    pub line: String,
    /// Whether such a comment must be about the same patch set as the vote. Go's rule until 2023; since then the two may differ, and the vote's counts.
    pub comment_of_same_patch_set: bool,
    /// Branches of other projects that are tested with one release of the main project only, the one in their name.
    pub internal_branches: Vec<VersionPattern>,
    /// Branches of other projects that are tested with all supported releases, as their main branches are.
    pub all_releases: Vec<BranchRule>,
    /// How long Gerrit may take for all questions of one answer.
    pub gerrit_timeout_seconds: NonZeroU32,
    /// How long a failed question to Gerrit is not asked again.
    pub gerrit_retry_seconds: u32,
    /// How old an earlier answer may be that is given when Gerrit cannot be reached.
    pub stale_seconds: u32,
}

/// Some branches of a project.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BranchRule {
    /// The project on its server.
    pub project: String,
    /// What the branches' names begin with.
    pub branch_prefix: String,
}

impl Default for TryWorkRules {
    fn default() -> Self {
        TryWorkRules {
            ask: "Run-TryBot".to_owned(),
            result: "TryBot-Result".to_owned(),
            line: "TRY=".to_owned(),
            comment_of_same_patch_set: false,
            internal_branches: Vec::new(),
            all_releases: Vec::new(),
            gerrit_timeout_seconds: NonZeroU32::MIN.saturating_add(9),
            gerrit_retry_seconds: 15,
            stale_seconds: 600,
        }
    }
}

impl Rules {
    /// The Go project's, as of 2022.
    pub fn go() -> Rules {
        let internal = |before, after, open| VersionPattern::between(before, after, open);
        let x = "arch benchmarks blog build crypto debug example exp image lint mobile mod net oauth2 perf pkgsite playground review scratch sync sys talks term \
                 text time tools tour vgo vuln vulndb website xerrors";
        let mut repos: BTreeMap<String, String> = x.split_whitespace().map(|name| (format!("golang.org/x/{name}"), name.to_owned())).collect();
        for (path, project) in [("golang.org/dl", "dl"), ("github.com/golang/gddo", "gddo"), ("google.golang.org/protobuf", "protobuf")] {
            repos.insert(path.to_owned(), project.to_owned());
        }
        Rules {
            name: "Go".to_owned(),
            main_project: ProjectName { server: "go.googlesource.com".to_owned(), project: "go".to_owned() },
            main_branch: master(),
            releases: ReleaseRules {
                tags: VersionPattern::between("go", "", false),
                branches: VersionPattern::between("release-branch.go", "", false),
                supported: two(),
                zero_end: false,
            },
            dashboard: DashboardRules { repos, repo_hint: "golang.org/*".to_owned() },
            try_work: TryWorkRules {
                comment_of_same_patch_set: true,
                // The latter two are how internal branches were called before Go 1.16.
                internal_branches: vec![
                    internal("internal-branch.go", "-", true),
                    internal("release-branch.go", "", false),
                    internal("release-branch.go", "-bundle", false),
                ],
                all_releases: vec![BranchRule { project: "tools".to_owned(), branch_prefix: "gopls-release-branch.".to_owned() }],
                ..TryWorkRules::default()
            },
        }
    }

    /// The Go project's, as of 2026.
    pub fn go_2026() -> Rules {
        let mut rules = Rules::go();
        rules.releases.zero_end = true;
        rules.try_work.comment_of_same_patch_set = false;
        rules.try_work.internal_branches.truncate(1);
        for name in ["oscar", "pkgsite-metrics", "telemetry"] {
            rules.dashboard.repos.insert(format!("golang.org/x/{name}"), name.to_owned());
        }
        rules.dashboard.repos.insert("google.golang.org/open2opaque".to_owned(), "open2opaque".to_owned());
        rules
    }
}

/// A project on a Gerrit server: `go.googlesource.com/go`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ProjectName {
    /// The server's host.
    pub server: String,
    /// The project on it.
    pub project: String,
}

/// A project's name without its server.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name:?} does not name a project and its server: write `host/project`")]
pub struct BadProjectName {
    /// What was given.
    pub name: String,
}

impl TryFrom<String> for ProjectName {
    type Error = BadProjectName;

    fn try_from(name: String) -> Result<Self, BadProjectName> {
        match name.split_once('/') {
            Some((server, project)) if !server.is_empty() && !project.is_empty() => Ok(ProjectName { server: server.to_owned(), project: project.to_owned() }),
            _ => Err(BadProjectName { name }),
        }
    }
}

impl From<ProjectName> for String {
    fn from(name: ProjectName) -> String {
        format!("{}/{}", name.server, name.project)
    }
}

fn master() -> String {
    "master".to_owned()
}

fn two() -> NonZeroU8 {
    NonZeroU8::MIN.saturating_add(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_come_out_of_a_file_as_they_went_in() {
        for rules in [Rules::go(), Rules::go_2026()] {
            assert_eq!(toml::from_str::<Rules>(&toml::to_string(&rules).unwrap()).unwrap(), rules);
        }
    }

    #[test]
    fn what_nobody_knows_is_refused() {
        let text = toml::to_string(&Rules::go()).unwrap();
        for (from, to) in [("[releases]", "[releases]\nsuported = 3"), ("[dashboard]", "[dashbord]"), ("ask = ", "asks = "), ("name = ", "nam = ")] {
            assert!(text.contains(from));
            let error = toml::from_str::<Rules>(&text.replacen(from, to, 1)).unwrap_err();
            assert!(error.to_string().contains("unknown field"), "{error}");
        }
        let error = toml::from_str::<Rules>(&text.replacen("\"go*\"", "\"go\"", 1)).unwrap_err();
        assert!(error.to_string().contains("where the version stands"), "{error}");
    }

    #[test]
    fn a_main_project_needs_its_server() {
        let text = toml::to_string(&Rules::go()).unwrap();
        for name in ["go", "/go", "go.googlesource.com/", ""] {
            let error = toml::from_str::<Rules>(&text.replacen("go.googlesource.com/go", name, 1)).unwrap_err();
            assert!(error.to_string().contains("host/project"), "{name}: {error}");
        }
    }
}
