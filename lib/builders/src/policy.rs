//! The policy language and its decisions (`builders.md` §10.1).

use serde::{Deserialize, Serialize};

use crate::model::{Builder, Config};
use crate::pattern::{Patterns, Sets};
use crate::version::{BranchVersion, VersionRange};

/// A list of clauses: true if any of them is. The empty one never is.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Policy {
    /// The clauses.
    pub clauses: Vec<Clause>,
}

impl Policy {
    /// The policy that is always true.
    pub fn always() -> Self {
        Policy { clauses: vec![Clause::default()] }
    }
}

/// True if all its keys are; the empty one always is.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Clause {
    /// The project is in the list.
    pub project: Option<Patterns>,
    /// The repository is in the list.
    pub repo: Option<Patterns>,
    /// The branch is in the list.
    pub branch: Option<Patterns>,
    /// The base repository's branch is in the list.
    pub base: Option<Patterns>,
    /// The builder is in the list.
    pub builder: Option<Patterns>,
    /// The builder's operating system is in the list.
    pub os: Option<Patterns>,
    /// The builder's architecture is in the list.
    pub arch: Option<Patterns>,
    /// Repository and base repository are (or are not) both on their main branches.
    pub tip: Option<bool>,
    /// The base branch's version is in the range.
    pub base_version: Option<VersionRange>,
    /// The branch's version is in the range.
    pub branch_version: Option<VersionRange>,
    /// One of the two is a release branch with a version in the range.
    pub release_version: Option<VersionRange>,
    /// Some touched file matches.
    pub changed: Option<Patterns>,
    /// The change carries one of these labels.
    pub label: Option<Patterns>,
    /// `file:line`, for explanations; not part of what the clause means.
    #[serde(skip)]
    pub place: String,
}

/// What is asked of the policies.
#[derive(Debug, Clone, Copy, Default)]
pub struct Question<'a> {
    /// The builder.
    pub builder: &'a str,
    /// The repository.
    pub repo: &'a str,
    /// Its branch.
    pub branch: &'a str,
    /// The base repository's branch; for the base repository itself, and in projects without one, the same as `branch`.
    pub base: &'a str,
    /// The files that the change or commit touches; `None`: not known (yet).
    pub changed: Option<&'a [String]>,
    /// The labels of the change; `None`: not known (yet).
    pub labels: Option<&'a [String]>,
}

/// What a builder does with a commit or a change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// Built after submit.
    pub post: bool,
    /// Built in ordinary try runs.
    #[serde(rename = "try")]
    pub try_: bool,
    /// The clause or rule that decided, as a sentence.
    pub because: String,
    /// A yes depends on the touched files, which were not given: ask again with them ([`Config::decide_about`]).
    pub needs_changed: bool,
    /// A yes depends on labels, which were not given.
    pub needs_labels: bool,
}

/// Yes, no, or "yes unless something that was not told speaks against it".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Answer {
    yes: bool,
    needs_changed: bool,
    needs_labels: bool,
}

const NO: Answer = Answer { yes: false, needs_changed: false, needs_labels: false };

struct Facts<'a> {
    question: &'a Question<'a>,
    builder: &'a Builder,
    sets: &'a Sets,
    branch: BranchVersion,
    base: BranchVersion,
    tip: bool,
}

impl Clause {
    fn answer(&self, facts: &Facts<'_>) -> Answer {
        let q = facts.question;
        let within = |list: &Option<Patterns>, text: &str| list.as_ref().is_none_or(|list| list.has(text, facts.sets));
        let range = |range: &Option<VersionRange>, version| range.as_ref().is_none_or(|range| range.has(version));
        let release =
            |range: &VersionRange| [facts.branch, facts.base].into_iter().any(|version| matches!(version, BranchVersion::Release(_)) && range.has(version));
        let certain = within(&self.project, &facts.builder.project)
            && within(&self.repo, q.repo)
            && within(&self.branch, q.branch)
            && within(&self.base, q.base)
            && within(&self.builder, q.builder)
            && within(&self.os, &facts.builder.os)
            && within(&self.arch, &facts.builder.arch)
            && self.tip.is_none_or(|tip| tip == facts.tip)
            && range(&self.base_version, facts.base)
            && range(&self.branch_version, facts.branch)
            && self.release_version.as_ref().is_none_or(release);
        let any = |list: &Option<Patterns>, told: Option<&[String]>| match (list, told) {
            (None, _) => Some(true),
            (Some(_), None) => None,
            (Some(list), Some(told)) => Some(told.iter().any(|text| list.has(text, facts.sets))),
        };
        match (certain, any(&self.changed, q.changed), any(&self.label, q.labels)) {
            (true, changed, label) if changed != Some(false) && label != Some(false) => {
                Answer { yes: true, needs_changed: changed.is_none(), needs_labels: label.is_none() }
            }
            _ => NO,
        }
    }
}

impl Policy {
    /// The answer, and the clause that gave it. A clause that needs nothing more is preferred.
    fn answer(&self, facts: &Facts<'_>) -> (Answer, Option<&Clause>) {
        let mut found = (NO, None);
        for clause in &self.clauses {
            let answer = clause.answer(facts);
            if answer == (Answer { yes: true, ..NO }) {
                return (answer, Some(clause));
            }
            if answer.yes && !found.0.yes {
                found = (answer, Some(clause));
            }
        }
        found
    }
}

impl Config {
    /// Whether a builder builds this branch of a repository, after submit and in ordinary try runs, and which rule says
    /// so. `base` is the base repository's branch; for the base repository itself, and in projects without one, it is
    /// taken to be `branch`.
    ///
    /// A policy may depend on touched files and labels, which are not known here: the answer is then yes, and says what
    /// it still needs.
    pub fn decide(&self, builder: &str, repo: &str, branch: &str, base: &str) -> Decision {
        self.decide_about(&Question { builder, repo, branch, base, changed: None, labels: None })
    }

    /// The same with all that is known about the change.
    pub fn decide_about(&self, question: &Question<'_>) -> Decision {
        let no = |because: String| Decision { post: false, try_: false, because, needs_changed: false, needs_labels: false };
        let Some(builder) = self.builders.get(question.builder) else { return no(format!("no builder is called {:?}", question.builder)) };
        let Some(project) = self.projects.get(&builder.project) else { return no(format!("no project is called {:?}", builder.project)) };
        let repo = self.repos.get(question.repo);
        if let Some(repo) = repo.filter(|repo| repo.project != builder.project) {
            return no(format!("{} belongs to project {}, the builder to {}", question.repo, repo.project, builder.project));
        }
        if repo.is_some_and(|repo| !repo.build) {
            return no(format!("{} is not built: it has build = false", question.repo));
        }
        let is_base = project.base_repo.as_deref().is_none_or(|base| base == question.repo);
        let question = &Question { base: if is_base { question.branch } else { question.base }, ..*question };
        let main = repo.and_then(|repo| repo.main_branch.as_deref()).unwrap_or(&project.main_branch);
        let base_main = if is_base { main } else { &project.main_branch };
        let facts = Facts {
            question,
            builder,
            sets: &self.reposets,
            branch: project.version_of(question.branch),
            base: project.version_of(question.base),
            tip: question.branch == main && question.base == base_main,
        };
        // A denial that depends on something unknown does not deny yet; it makes the answer depend on it.
        let mut pending = NO;
        for clause in &self.deny {
            let answer = clause.answer(&facts);
            if answer == (Answer { yes: true, ..NO }) {
                return no(format!("[[deny]] at {}", clause.place));
            }
            pending.needs_changed |= answer.needs_changed;
            pending.needs_labels |= answer.needs_labels;
        }
        if let Some(least) = builder.min_version {
            for version in [facts.branch, facts.base] {
                if let BranchVersion::Release(version) = version
                    && version < least
                {
                    return no(format!("release {version} is below the builder's min_version {least}"));
                }
            }
        }
        let named = |name: &Option<String>, clause: &Clause| match name {
            Some(name) => format!("policy {name:?}, clause at {}", clause.place),
            None if clause.place.is_empty() => "it builds everything".to_owned(),
            None => format!("clause at {}", clause.place),
        };
        let (eligible, clause) = builder.builds.answer(&facts);
        let Some(clause) = clause else {
            return no(match &builder.builds_name {
                Some(name) => format!("`builds` (policy {name:?}) does not include it"),
                None => "`builds` does not include it".to_owned(),
            });
        };
        let tried = builder.try_.as_ref().map(|policy| policy.answer(&facts));
        let mut because = format!("builds: {}", named(&builder.builds_name, clause));
        because.push_str(match builder.post {
            true => "; post: yes",
            false => "; post: no, the builder has post = false",
        });
        let mut answer = eligible;
        let try_ = match &tried {
            None => {
                because.push_str("; try: only when asked for");
                false
            }
            Some((_, None)) => {
                because.push_str("; try: its policy does not include it");
                false
            }
            Some((more, Some(clause))) => {
                because.push_str(&format!("; try: {}", named(&builder.try_name, clause)));
                answer.needs_changed |= more.needs_changed;
                answer.needs_labels |= more.needs_labels;
                true
            }
        };
        answer.needs_changed |= pending.needs_changed;
        answer.needs_labels |= pending.needs_labels;
        if answer.needs_changed {
            because.push_str("; depends on the touched files");
        }
        if answer.needs_labels {
            because.push_str("; depends on the change's labels");
        }
        Decision { post: builder.post, try_, because, needs_changed: answer.needs_changed, needs_labels: answer.needs_labels }
    }

    /// Whether an explicit request for a builder is granted: it skips the policies unless `strict_requests` is set, but
    /// not the minimum version.
    pub fn decide_request(&self, builder: &str, repo: &str, branch: &str, base: &str) -> Decision {
        let decided = self.decide(builder, repo, branch, base);
        let Some(found) = self.builders.get(builder) else { return decided };
        if self.site.strict_requests || decided.because.starts_with("release ") {
            return decided;
        }
        let because = format!("it was asked for (by itself: {})", decided.because);
        let belongs = self.repos.get(repo).is_none_or(|repo| repo.project == found.project);
        if belongs { Decision { post: true, try_: true, because, needs_changed: false, needs_labels: false } } else { decided }
    }

    /// The builders that people mean by a word: the one of that name, and those that have it as an alias.
    pub fn builders_called(&self, term: &str) -> Vec<&str> {
        let meant = |(name, builder): &(&String, &Builder)| *name == term || builder.aliases.iter().any(|alias| alias == term);
        self.builders.iter().filter(meant).map(|(name, _)| name.as_str()).collect()
    }

    /// Why a builder leaves a test out, or `None` when it runs. `ordinary_try`: a try run in which the builder was not
    /// asked for by name.
    pub fn skips_test(&self, builder: &str, test: &str, ordinary_try: bool) -> Option<String> {
        let none = Sets::new();
        for entry in &self.skip_tests {
            if (ordinary_try || !entry.only_try) && entry.tests.has(test, &none) && entry.builder.has(builder, &none) {
                return Some("a [[skip_tests]] entry names it".to_owned());
            }
        }
        let name = self.builders.get(builder)?.tests.as_ref()?;
        let policy = self.test_policies.get(name)?;
        if policy.skip.has(test, &none) {
            Some(format!("test policy {name:?} skips it"))
        } else if ordinary_try && policy.skip_try.has(test, &none) {
            Some(format!("test policy {name:?} skips it in try runs"))
        } else {
            None
        }
    }
}
