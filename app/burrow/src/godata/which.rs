//! Names of things in a log as people type them, and what is near to a name that is not there.

use std::fmt;
use std::str::FromStr;

use burrow_maintner::{Change, Issue, Project, Repo, View};

use crate::failure::Failure;

/// How many near names are told.
const NEAR: usize = 3;

/// An issue or pull request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct IssueName {
    pub(crate) owner: String,
    pub(crate) repo: String,
    pub(crate) number: i32,
}

impl fmt::Display for IssueName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}#{}", self.owner, self.repo, self.number)
    }
}

impl FromStr for IssueName {
    type Err = String;

    fn from_str(text: &str) -> Result<IssueName, String> {
        let named = match text.split_once("://") {
            None => text.split_once('#').and_then(|(repo, number)| Some((repo.split_once('/')?, number))),
            // https://github.com/owner/name/issues/7#issuecomment-1
            Some((_, address)) => {
                let parts: Vec<&str> = address.split(['#', '?']).next().unwrap_or("").split('/').collect();
                match parts.as_slice() {
                    [_, owner, repo, "issues" | "pull", number, ..] => Some(((*owner, *repo), *number)),
                    _ => None,
                }
            }
        };
        let found = named.and_then(|((owner, repo), number)| Some((owner, repo, number.parse().ok()?)));
        match found {
            Some((owner, repo, number)) if !owner.is_empty() && !repo.is_empty() && !repo.contains('/') => {
                Ok(IssueName { owner: owner.into(), repo: repo.into(), number })
            }
            _ => Err(format!("{text:?} names no issue; give owner/name#N, for example golang/go#7 (quoted, since # begins a comment in some shells)")),
        }
    }
}

/// A change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ChangeName {
    pub(crate) project: String,
    pub(crate) number: i32,
}

impl FromStr for ChangeName {
    type Err = String;

    fn from_str(text: &str) -> Result<ChangeName, String> {
        let named = match text.split_once("://") {
            None => text.rsplit_once('~').map(|(project, number)| (project.to_owned(), number)),
            // https://go-review.googlesource.com/c/go/+/33776/2
            Some((_, address)) => address.split_once("/c/").and_then(|(host, rest)| {
                let (project, behind) = rest.split_once("/+/")?;
                Some((format!("{host}/{project}"), behind.split(['/', '#', '?']).next()?))
            }),
        };
        match named.and_then(|(project, number)| Some((project, number.parse().ok()?))) {
            Some((project, number)) if project.contains('/') => Ok(ChangeName { project, number }),
            _ => Err(format!("{text:?} names no change; give host/project~N, for example go.googlesource.com/go~33776")),
        }
    }
}

/// A vote that is looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Vote {
    pub(crate) label: String,
    pub(crate) value: i8,
}

impl FromStr for Vote {
    type Err = String;

    fn from_str(text: &str) -> Result<Vote, String> {
        let vote = text.rsplit_once('=').and_then(|(label, value)| Some(Vote { label: label.to_owned(), value: value.parse().ok()? }));
        vote.filter(|vote| !vote.label.is_empty()).ok_or_else(|| format!("{text:?} is no vote; give LABEL=VALUE, for example Code-Review=+2"))
    }
}

/// The repository, or which there are.
pub(crate) fn repo<'a>(view: &'a View, name: &str) -> Result<Repo<'a>, Failure> {
    let found = name.split_once('/').and_then(|(owner, repo)| {
        let exactly = view.github().repo(owner, repo);
        // Writers use small letters, people what they see on a page.
        exactly.or_else(|| view.github().repo(&owner.to_lowercase(), &repo.to_lowercase()))
    });
    found.ok_or_else(|| {
        let known: Vec<String> = view.github().repos().into_iter().map(repo_name).collect();
        Failure::usage(unknown("repository (owner/name)", name, &known))
    })
}

/// `owner/name`.
pub(crate) fn repo_name(repo: Repo<'_>) -> String {
    format!("{}/{}", repo.owner(), repo.name())
}

/// Those that were named; all if none was.
pub(crate) fn repos<'a>(view: &'a View, names: &[String]) -> Result<Vec<Repo<'a>>, Failure> {
    if names.is_empty() { Ok(view.github().repos()) } else { names.iter().map(|name| repo(view, name)).collect() }
}

/// The issue, deleted or not.
pub(crate) fn issue<'a>(view: &'a View, name: &IssueName) -> Result<Issue<'a>, Failure> {
    let repo = repo(view, &format!("{}/{}", name.owner, name.repo))?;
    repo.issue(name.number).ok_or_else(|| {
        let issues = repo.issues();
        let numbers = match (issues.first(), issues.last()) {
            (Some(first), Some(last)) => format!("it has {} with numbers from {} to {}", issues.len(), first.number(), last.number()),
            _ => "it has none".into(),
        };
        Failure::usage(format!("there is no issue {} in {} in this log; {numbers}", name.number, repo_name(repo)))
    })
}

/// The project, or which there are. `host/project`; a host as people see it in their browsers, `X-review.googlesource.com`, is understood.
pub(crate) fn project<'a>(view: &'a View, name: &str) -> Result<Project<'a>, Failure> {
    let plain = name.split_once("://").map_or(name, |(_, rest)| rest).trim_end_matches('/');
    let found = plain.split_once('/').and_then(|(host, project)| view.gerrit().project(host, project));
    found.ok_or_else(|| {
        let mut known: Vec<String> = view.gerrit().projects().map(|project| project.name().to_string()).collect();
        known.sort();
        Failure::usage(unknown("project (host/project)", name, &known))
    })
}

/// Those that were named; all, by name, if none was.
pub(crate) fn projects<'a>(view: &'a View, names: &[String]) -> Result<Vec<Project<'a>>, Failure> {
    if names.is_empty() {
        let mut all: Vec<Project<'a>> = view.gerrit().projects().collect();
        all.sort_by_key(|project| project.name());
        return Ok(all);
    }
    names.iter().map(|name| project(view, name)).collect()
}

/// The change.
pub(crate) fn change<'a>(view: &'a View, name: &ChangeName) -> Result<Change<'a>, Failure> {
    let project = project(view, &name.project)?;
    project.change(name.number).ok_or_else(|| {
        let known = project.name();
        if (0..=1).any(|patch_set| project.change_reference(name.number, patch_set).is_some()) {
            return Failure::usage(format!("too little of change {} of {known} is in this log: a patch set or its metadata is missing", name.number));
        }
        let changes = project.changes();
        let numbers = match (changes.first(), changes.last()) {
            (Some(first), Some(last)) => format!("it has {} with numbers from {} to {}", changes.len(), first.number(), last.number()),
            _ => "it has none".into(),
        };
        Failure::usage(format!("there is no change {} in {known} in this log; {numbers}", name.number))
    })
}

/// A sentence about a name that is not there.
pub(crate) fn unknown(what: &str, name: &str, known: &[String]) -> String {
    let near = nearest(name, known).join(", ");
    match known.len() {
        0 => format!("there is no {what} {name:?} in this log, and no other either"),
        1..=NEAR => format!("there is no {what} {name:?} in this log; there are {near}"),
        all => format!("there is no {what} {name:?} in this log; nearest of {all} are {near}"),
    }
}

/// The names that are most like `name`, the most alike first.
pub(crate) fn nearest<'k>(name: &str, known: &'k [String]) -> Vec<&'k str> {
    let name = name.to_lowercase();
    let likeness = |other: &str| {
        let other = other.to_lowercase();
        // A part of a name is what people remember: `net` of `go.googlesource.com/net`.
        let last = other.rsplit('/').next().unwrap_or(&other);
        let last_typed = name.rsplit('/').next().unwrap_or(&name);
        strsim::jaro_winkler(&name, &other) + 2.0 * strsim::normalized_damerau_levenshtein(last_typed, last)
    };
    let mut scored: Vec<(f64, &str)> = known.iter().map(|other| (likeness(other), other.as_str())).collect();
    scored.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.cmp(b.1)));
    scored.into_iter().take(NEAR).map(|(_, other)| other).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn issues_are_named_as_people_see_them() {
        for text in [
            "golang/go#7",
            "https://github.com/golang/go/issues/7",
            "https://github.com/golang/go/pull/7/files",
            "https://github.com/golang/go/issues/7#issuecomment-1",
        ] {
            assert_eq!(text.parse::<IssueName>().map(|name| name.to_string()), Ok("golang/go#7".into()), "{text}");
        }
        for text in
            ["", "7", "#7", "go#7", "golang/go", "golang/go#", "golang/go#x", "/#7", "golang/go/x#7", "https://github.com/golang/go", "golang/go#99999999999"]
        {
            assert!(text.parse::<IssueName>().is_err(), "{text}");
        }
    }

    #[test]
    fn changes_are_named_as_people_see_them() {
        let change = |project: &str| Ok(ChangeName { project: project.into(), number: 5 });
        for (text, expected) in [
            ("go.googlesource.com/go~5", change("go.googlesource.com/go")),
            ("h/a/b~c~5", change("h/a/b~c")),
            ("https://go-review.googlesource.com/c/go/+/5", change("go-review.googlesource.com/go")),
            ("https://go-review.googlesource.com/c/a/b/+/5/3#message-x", change("go-review.googlesource.com/a/b")),
        ] {
            assert_eq!(text.parse(), expected, "{text}");
        }
        for text in ["", "5", "go~5", "h/go~", "h/go~x", "https://go-review.googlesource.com/5"] {
            assert!(text.parse::<ChangeName>().is_err(), "{text}");
        }
    }

    #[test]
    fn votes_have_a_sign_or_not() {
        for (text, value) in [("Code-Review=+2", 2), ("Code-Review=-2", -2), ("Code-Review=1", 1)] {
            assert_eq!(text.parse(), Ok(Vote { label: "Code-Review".into(), value }), "{text}");
        }
        for text in ["", "Code-Review", "Code-Review=", "=+1", "Code-Review=two", "Code-Review=300", "Code-Review+2"] {
            assert!(text.parse::<Vote>().is_err(), "{text}");
        }
    }

    #[test]
    fn what_was_meant_comes_first() {
        let known: Vec<String> =
            ["go.googlesource.com/arch", "go.googlesource.com/go", "go.googlesource.com/net", "go.googlesource.com/tools"].map(String::from).into();
        for (typed, meant) in [("net", "net"), ("go.googlesource.com/nets", "net"), ("go.googlesource.com/tool", "tools"), ("googlesource.com/go", "go")] {
            assert_eq!(nearest(typed, &known).first(), Some(&format!("go.googlesource.com/{meant}").as_str()), "{typed}");
        }
    }
}
