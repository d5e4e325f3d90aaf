//! `burrow godata stats`: how much of everything there is.

use std::borrow::Cow;

use burrow_maintner::{Project, Repo, Status};
use serde::Serialize;

use super::output::{self, Grid, Out, Stop};
use super::source::Loaded;
use super::which;

/// A line of JSON.
#[derive(Debug, Serialize)]
#[serde(tag = "what", rename_all = "snake_case")]
enum Line<'a> {
    Log {
        origin: &'a str,
        folder: &'a str,
        segments: usize,
        bytes: u64,
        records: u64,
        load_ms: u64,
        /// Whether the tables came from a snapshot.
        snapshot: bool,
        /// Why the server was not asked; null: it was, or there is none.
        offline: Option<&'a str>,
        /// Memory of this program that is no file; null where the system does not say.
        memory_bytes: Option<u64>,
    },
    Github {
        repos: usize,
        users: usize,
        teams: usize,
        #[serde(flatten)]
        sums: OfRepo,
    },
    Gerrit {
        projects: usize,
        #[serde(flatten)]
        sums: OfProject,
    },
    Git {
        commits: u64,
        /// Commits of which only the name is known.
        placeholders: u64,
    },
    Repo {
        name: Cow<'a, str>,
        #[serde(flatten)]
        counts: OfRepo,
    },
    Project {
        name: Cow<'a, str>,
        #[serde(flatten)]
        counts: OfProject,
    },
}

/// What a repository has.
#[derive(Debug, Clone, Copy, Default, Serialize)]
struct OfRepo {
    issues: usize,
    open_issues: usize,
    pull_requests: usize,
    open_pull_requests: usize,
    deleted: usize,
    comments: usize,
    events: usize,
    reviews: usize,
    labels: usize,
    milestones: usize,
}

impl OfRepo {
    fn of(repo: Repo<'_>) -> OfRepo {
        let mut counts = OfRepo { labels: repo.labels().count(), milestones: repo.milestones().count(), ..OfRepo::default() };
        for issue in repo.issues() {
            counts.comments += issue.comments().count();
            counts.events += issue.events().count();
            counts.reviews += issue.reviews().count();
            if issue.not_exist() {
                counts.deleted += 1;
                continue;
            }
            let open = usize::from(!issue.closed());
            if issue.is_pull_request() {
                counts.pull_requests += 1;
                counts.open_pull_requests += open;
            } else {
                counts.issues += 1;
                counts.open_issues += open;
            }
        }
        counts
    }

    fn add(&mut self, other: &OfRepo) {
        self.issues += other.issues;
        self.open_issues += other.open_issues;
        self.pull_requests += other.pull_requests;
        self.open_pull_requests += other.open_pull_requests;
        self.deleted += other.deleted;
        self.comments += other.comments;
        self.events += other.events;
        self.reviews += other.reviews;
        self.labels += other.labels;
        self.milestones += other.milestones;
    }
}

/// What a project has.
#[derive(Debug, Clone, Copy, Default, Serialize)]
struct OfProject {
    /// Those of which enough is known.
    changes: usize,
    open_changes: usize,
    patch_sets: usize,
    metas: usize,
    /// References that are not of changes.
    refs: usize,
    /// Commits that it refers to and that the log lacks.
    missing_commits: usize,
}

impl OfProject {
    fn of(project: Project<'_>) -> OfProject {
        let mut counts = OfProject { refs: project.references().len(), missing_commits: project.missing_commits().count(), ..OfProject::default() };
        for change in project.changes() {
            counts.changes += 1;
            counts.open_changes += usize::from(matches!(change.status(), Status::New | Status::Draft));
            counts.patch_sets += change.patch_sets().iter().filter(|(number, _)| *number > 0).count();
            counts.metas += change.metas().len();
        }
        counts
    }

    fn add(&mut self, other: &OfProject) {
        self.changes += other.changes;
        self.open_changes += other.open_changes;
        self.patch_sets += other.patch_sets;
        self.metas += other.metas;
        self.refs += other.refs;
        self.missing_commits += other.missing_commits;
    }
}

pub(super) fn run(loaded: &Loaded, limit: Option<usize>, out: &mut Out) -> Result<(), Stop> {
    let view = &loaded.view;
    // Before the counting, which reads much of the log and may use more.
    let memory = memory();
    let mut repos: Vec<(String, OfRepo)> = view.github().repos().into_iter().map(|repo| (which::repo_name(repo), OfRepo::of(repo))).collect();
    let mut projects: Vec<(String, OfProject)> = view.gerrit().projects().map(|project| (project.name().to_string(), OfProject::of(project))).collect();
    let (mut of_repos, mut of_projects) = (OfRepo::default(), OfProject::default());
    repos.iter().for_each(|(_, counts)| of_repos.add(counts));
    projects.iter().for_each(|(_, counts)| of_projects.add(counts));
    let (mut commits, mut placeholders) = (0, 0);
    for commit in view.git().commits() {
        *if commit.is_placeholder() { &mut placeholders } else { &mut commits } += 1;
    }
    repos.sort_by(|a, b| (b.1.issues + b.1.pull_requests).cmp(&(a.1.issues + a.1.pull_requests)).then_with(|| a.0.cmp(&b.0)));
    projects.sort_by(|a, b| b.1.changes.cmp(&a.1.changes).then_with(|| a.0.cmp(&b.0)));
    let (all_repos, all_projects) = (repos.len(), projects.len());
    repos.truncate(limit.unwrap_or(usize::MAX));
    projects.truncate(limit.unwrap_or(usize::MAX));
    let (users, teams) = (view.github().users().count(), view.github().teams().count());
    if out.json {
        out.object(&Line::Log {
            origin: &loaded.origin,
            folder: &loaded.folder,
            segments: loaded.segments,
            bytes: view.position(),
            records: view.records(),
            load_ms: loaded.load_ms,
            snapshot: loaded.snapshot,
            offline: loaded.offline.as_deref(),
            memory_bytes: memory,
        })?;
        out.object(&Line::Github { repos: all_repos, users, teams, sums: of_repos })?;
        out.object(&Line::Gerrit { projects: all_projects, sums: of_projects })?;
        out.object(&Line::Git { commits, placeholders })?;
        repos.iter().try_for_each(|(name, counts)| out.object(&Line::Repo { name: name.into(), counts: *counts }))?;
        return projects.iter().try_for_each(|(name, counts)| out.object(&Line::Project { name: name.into(), counts: *counts }));
    }
    let loaded_from = if loaded.snapshot { "from a snapshot" } else { "from the log" };
    let lines = [
        ("log", format!("{}, {}, {} bytes, {} records", loaded.origin, output::count(loaded.segments, "segment"), view.position(), view.records())),
        ("load", format!("{}.{:03} s, {loaded_from}", loaded.load_ms / 1_000, loaded.load_ms % 1_000)),
        ("memory", memory.map_or_else(|| "not told by this system".into(), |bytes| format!("{}.{} MB", bytes / 1_000_000, bytes / 100_000 % 10))),
        (
            "github",
            format!(
                "{all_repos} repositories, {} issues ({} open), {} pull requests ({} open), {} deleted, {} comments, {} events, {} reviews, {users} users, {teams} teams, {} labels, {} milestones",
                of_repos.issues,
                of_repos.open_issues,
                of_repos.pull_requests,
                of_repos.open_pull_requests,
                of_repos.deleted,
                of_repos.comments,
                of_repos.events,
                of_repos.reviews,
                of_repos.labels,
                of_repos.milestones
            ),
        ),
        (
            "gerrit",
            format!(
                "{all_projects} projects, {} changes ({} open), {} patch sets, {} metadata commits, {} references, {} missing commits",
                of_projects.changes, of_projects.open_changes, of_projects.patch_sets, of_projects.metas, of_projects.refs, of_projects.missing_commits
            ),
        ),
        ("git", format!("{commits} commits, {placeholders} known by name only")),
    ];
    for (what, said) in lines {
        out.line(format_args!("{what:<7} {said}"))?;
    }
    if !repos.is_empty() {
        let mut grid = Grid::new(["repository", "issues", "open", "pulls", "open pulls", "comments", "events", "reviews"], &[0], &[7, 6, 5, 4, 2]);
        for (name, counts) in &repos {
            let numbers = [counts.issues, counts.open_issues, counts.pull_requests, counts.open_pull_requests, counts.comments, counts.events, counts.reviews];
            let [issues, open, requests, open_requests, comments, events, reviews] = numbers.map(|number| number.to_string());
            grid.row([name.clone(), issues, open, requests, open_requests, comments, events, reviews]);
        }
        out.line("")?;
        out.table(grid)?;
    }
    if !projects.is_empty() {
        let mut grid = Grid::new(["project", "changes", "open", "patch sets", "metadata", "references"], &[0], &[5, 4, 3]);
        for (name, counts) in &projects {
            let numbers = [counts.changes, counts.open_changes, counts.patch_sets, counts.metas, counts.refs];
            let [changes, open, patch_sets, metas, refs] = numbers.map(|number| number.to_string());
            grid.row([name.clone(), changes, open, patch_sets, metas, refs]);
        }
        out.line("")?;
        out.table(grid)?;
    }
    output::say_cut(repos.len() + projects.len(), all_repos + all_projects);
    Ok(())
}

/// Memory of this process that belongs to no file.
fn memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes * 1_024)
}
