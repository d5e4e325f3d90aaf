//! Pages of history, for the grid of commits and builders.

use std::cmp::Reverse;

use burrow_maintner::{Commit, Hash, Project, Text, Time, View};
use protocol_maintapi::{DashCommit, DashRepoHead, DashboardRequest, DashboardResponse, GoRelease};

use crate::api::quote::quoted;
use crate::api::releases::{ReleasesError, main_project, supported};
use crate::api::{HEADS, Rules, shown};

/// The branch that means all of them.
const MIXED: &str = "mixed";

/// Commits of a page, unless asked for otherwise.
const PAGE: usize = 30;
/// The same if all branches are mixed.
const MIXED_PAGE: usize = 500;
/// More commits are never given at once.
const MAX_PAGE: usize = 1_000;
/// So far back nobody may look.
const MAX_SKIP: usize = 10_000;

/// Time of a commit that does not say when it was made: the year 1, as the reference has it.
const NO_TIME: i64 = -62_135_596_800;

/// Why there is no page.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DashboardError {
    /// No such import path is known.
    #[error("unknown repo {repo}; must be empty, {main}, or {hint}", repo = quoted(repo), main = quoted(main), hint = quoted(hint))]
    UnknownRepo {
        /// What was asked for.
        repo: String,
        /// The main project's name.
        main: String,
        /// What import paths look like.
        hint: String,
    },
    /// The import path is known, and the log has nothing of its project.
    #[error("repo project {} not found", quoted(project))]
    NoProject {
        /// The project.
        project: String,
    },
    /// The main project has no such branch.
    #[error("unknown branch {}", quoted(branch))]
    UnknownBranch {
        /// What was asked for.
        branch: String,
    },
    /// Fewer than no commits.
    #[error("negative max commits")]
    NegativeMax,
    /// Mixed, every branch must have its place on the page.
    #[error("page size too small for `mixed`: {size} < {branches}")]
    SmallPage {
        /// Commits of a page.
        size: usize,
        /// How many branches there are.
        branches: usize,
    },
    /// There is no page before the first.
    #[error("invalid page")]
    NegativePage,
    /// Mixed, there is one page only.
    #[error("branch=mixed does not support pagination")]
    MixedPage,
    /// More than `MAX_SKIP` commits would be passed over.
    #[error("too far back")]
    TooFarBack,
    /// The main project or its releases are not there.
    #[error(transparent)]
    Releases(#[from] ReleasesError),
}

/// A page of a project's history.
///
/// Branches come from the main project even if another one's history is asked for. Of commits of one moment in a mixed history, those of the branch that is
/// first in the alphabet come first; the reference leaves their order open.
///
/// # Errors
/// See [`DashboardError`].
pub fn page(view: &View, rules: &Rules, request: &DashboardRequest) -> Result<DashboardResponse, DashboardError> {
    let main_name = &rules.main_project.project;
    let main = main_project(view, rules).ok_or_else(|| ReleasesError::NoMainProject { project: main_name.clone() })?;
    let name = project_of(rules, &request.repo)?;
    let project = view.gerrit().project(&rules.main_project.server, name).ok_or_else(|| DashboardError::NoProject { project: name.to_owned() })?;

    let references = main.references();
    let heads: Vec<(Text<'_>, Hash)> = references.iter().filter_map(|(name, hash)| Some((head_of(*name)?, *hash))).collect();
    let head = |branch: &str| heads.binary_search_by(|(name, _)| name.bytes().cmp(branch.as_bytes())).ok().and_then(|at| heads.get(at)).map(|(_, hash)| *hash);
    let branch = if request.branch.is_empty() { rules.main_branch.as_str() } else { request.branch.as_str() };
    let mixed = branch == MIXED;
    if !mixed && head(branch).is_none() {
        return Err(DashboardError::UnknownBranch { branch: branch.to_owned() });
    }

    let size = match usize::try_from(request.max_commits).map_err(|_| DashboardError::NegativeMax)? {
        0 if mixed => MIXED_PAGE,
        0 => PAGE,
        size => size.min(MAX_PAGE),
    };
    if mixed && size < heads.len() {
        return Err(DashboardError::SmallPage { size, branches: heads.len() });
    }
    let number = usize::try_from(request.page).map_err(|_| DashboardError::NegativePage)?;
    if number != 0 && mixed {
        return Err(DashboardError::MixedPage);
    }
    let skip = number.saturating_mul(size);
    if skip >= MAX_SKIP {
        return Err(DashboardError::TooFarBack);
    }

    let branches = if mixed { heads.iter().map(|(name, _)| *name).collect() } else { vec![Text(branch.as_bytes())] };
    let listed = list(view, project, &branches, size, skip);
    let mut commits: Vec<DashCommit> = listed.commits.iter().map(|(commit, branch)| DashCommit { branch: shown(*branch), ..dash_commit(*commit) }).collect();
    if name != main_name {
        add_main_commits(view, rules, main, listed.oldest_skipped, &mut commits);
    }
    let main_head = head(&rules.main_branch).map(|hash| hash.to_string()).unwrap_or_default();
    let mut releases = vec![GoRelease { branch_name: rules.main_branch.clone(), branch_commit: main_head, ..GoRelease::default() }];
    releases.extend(supported(view, rules)?);
    Ok(DashboardResponse {
        commits,
        repo_heads: repo_heads(view, rules, main.server()),
        branches: heads.iter().map(|(name, _)| shown(*name)).collect(),
        releases,
        commits_truncated: listed.truncated,
    })
}

/// The project of an import path.
fn project_of<'r>(rules: &'r Rules, repo: &str) -> Result<&'r str, DashboardError> {
    let main = &rules.main_project.project;
    if repo.is_empty() || repo == main {
        return Ok(main);
    }
    let unknown = || DashboardError::UnknownRepo { repo: repo.to_owned(), main: main.clone(), hint: rules.dashboard.repo_hint.clone() };
    rules.dashboard.repos.get(repo).map(String::as_str).ok_or_else(unknown)
}

/// The branch of a reference.
fn head_of(reference: Text<'_>) -> Option<Text<'_>> {
    reference.bytes().strip_prefix(HEADS.as_bytes()).map(Text)
}

struct Listed<'v> {
    /// Newest first, each with the branch it was found on.
    commits: Vec<(Commit<'v>, Text<'v>)>,
    truncated: bool,
    /// Time of the last commit that was passed over.
    oldest_skipped: i64,
}

/// Histories of some branches, merged by time.
fn list<'v>(view: &'v View, project: Project<'v>, branches: &[Text<'v>], size: usize, skip: usize) -> Listed<'v> {
    let mut listed = Listed { commits: Vec::new(), truncated: false, oldest_skipped: NO_TIME };
    let references = project.references();
    // Older commits have no place on the page any more.
    let mut oldest = NO_TIME;
    for branch in branches {
        let name = [HEADS.as_bytes(), branch.bytes()].concat();
        let found = references.binary_search_by(|(reference, _)| reference.bytes().cmp(&name)).ok().and_then(|at| references.get(at));
        let Some((_, head)) = found else { continue };
        let mut history = History::new(view, *head);
        let mut passed = 0;
        let mut room = size;
        while room > 0
            && let Some(commit) = history.next_known()
        {
            if time(commit) < oldest {
                break;
            }
            if passed < skip {
                passed += 1;
                listed.oldest_skipped = time(commit);
            } else {
                listed.commits.push((commit, *branch));
                room -= 1;
            }
        }
        if branches.len() == 1 {
            listed.truncated = history.next.is_some();
            break;
        }
        listed.commits.sort_by_key(|(commit, _)| Reverse(time(*commit)));
        if listed.commits.len() > size {
            listed.commits.truncate(size);
            listed.truncated = true;
        }
        if let Some((last, _)) = listed.commits.last() {
            oldest = time(*last);
        }
    }
    listed
}

/// Says of each commit of another project which commit was the main project's newest then, and which just before the next newer one of these.
fn add_main_commits(view: &View, rules: &Rules, main: Project<'_>, oldest_skipped: i64, commits: &mut [DashCommit]) {
    let Some(oldest) = commits.last().map(|commit| commit.commit_time_sec) else { return };
    let Some(head) = main.reference(&format!("{HEADS}{}", rules.main_branch)) else { return };
    // Newest first, back to one that is older than all of the page's.
    let mut history = Vec::new();
    let mut walk = History::new(view, head);
    while let Some(commit) = walk.take() {
        history.push(commit);
        if time(commit) < oldest {
            break;
        }
    }
    let hash = |last: Option<&Commit<'_>>| last.map(|commit| commit.hash().to_string()).unwrap_or_default();
    // For each commit the time of the next newer one.
    let limits: Vec<i64> = [oldest_skipped].into_iter().chain(commits.iter().map(|commit| commit.commit_time_sec)).collect();
    for (commit, limit) in commits.iter_mut().rev().zip(limits.into_iter().rev().skip(1)) {
        commit.go_commit_at_time = hash(history.last());
        while let [.., next, _] = history.as_slice()
            && time(*next) < limit
        {
            history.pop();
        }
        commit.go_commit_latest = hash(history.last());
    }
}

/// Heads of the main branches of all projects on the server, by name. A head that its project does not have is left out.
fn repo_heads(view: &View, rules: &Rules, server: Text<'_>) -> Vec<DashRepoHead> {
    let name = format!("{HEADS}{}", rules.main_branch);
    let projects = view.gerrit().projects().filter(|project| project.server() == server);
    let mut heads: Vec<_> = projects.filter_map(|project| Some((project.project(), project.commit(&project.reference(&name)?)?))).collect();
    heads.sort_by_key(|(project, _)| *project);
    heads.into_iter().map(|(project, commit)| DashRepoHead { gerrit_project: shown(project), commit: Some(dash_commit(commit)) }).collect()
}

fn dash_commit(commit: Commit<'_>) -> DashCommit {
    let author = commit.author();
    DashCommit {
        commit: commit.hash().to_string(),
        author_name: shown(author.name()),
        author_email: shown(author.email()),
        commit_time_sec: time(commit),
        title: shown(commit.summary()),
        ..DashCommit::default()
    }
}

fn time(commit: Commit<'_>) -> i64 {
    commit.commit_time().map_or(NO_TIME, |time: Time| time.seconds)
}

/// A commit and its first parents.
struct History<'v> {
    next: Option<Commit<'v>>,
    /// Brent's search for a circle, which a log may describe even though git cannot make it: a commit that was passed, and how far it may be behind.
    mark: Option<Hash>,
    since: u64,
    limit: u64,
}

impl<'v> History<'v> {
    fn new(view: &'v View, head: Hash) -> History<'v> {
        History { next: view.git().mentioned(&head), mark: None, since: 0, limit: 1 }
    }

    /// The next one; the last may be known by its name only.
    fn take(&mut self) -> Option<Commit<'v>> {
        let commit = self.next?;
        if self.mark == Some(commit.hash()) {
            self.next = None;
            return None;
        }
        self.since += 1;
        if self.since >= self.limit {
            (self.mark, self.since, self.limit) = (Some(commit.hash()), 0, self.limit.saturating_mul(2));
        }
        self.next = commit.first_parent();
        Some(commit)
    }

    /// The next one, if more than its name is known. One that is not stays where it is: there is more.
    fn next_known(&mut self) -> Option<Commit<'v>> {
        self.next.filter(|commit| !commit.is_placeholder())?;
        self.take()
    }
}
