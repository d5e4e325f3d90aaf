//! `burrow godata commits`.

use std::borrow::Cow;

use burrow_maintner::{Commit, FileChange, Hash, Project, View};
use serde::Serialize;

use super::args::CommitsArgs;
use super::output::{self, Grid, Out, Stop};
use super::people::Person;
use super::when::{rfc3339_zoned, short};
use super::which;
use crate::failure::Failure;
use crate::progress::note;

/// A commit as a line of JSON.
#[derive(Debug, Serialize)]
struct CommitObject<'a> {
    commit: String,
    parents: Vec<String>,
    tree: Option<String>,
    author: Person<'a>,
    authored: Option<String>,
    committer: Person<'a>,
    committed: Option<String>,
    subject: Cow<'a, str>,
    message: Cow<'a, str>,
    files: Vec<File<'a>>,
}

/// What a commit does to a file.
#[derive(Debug, Serialize)]
pub(super) struct File<'a> {
    path: Cow<'a, str>,
    added: i64,
    deleted: i64,
    binary: bool,
}

impl<'a> From<FileChange<'a>> for File<'a> {
    fn from(file: FileChange<'a>) -> File<'a> {
        File { path: file.name.lossy(), added: file.added, deleted: file.deleted, binary: file.binary }
    }
}

fn object(commit: Commit<'_>) -> CommitObject<'_> {
    CommitObject {
        commit: commit.hash().to_string(),
        parents: commit.parents().into_iter().map(|parent| parent.hash().to_string()).collect(),
        tree: commit.tree().map(|tree| tree.to_string()),
        author: commit.author().into(),
        authored: commit.author_time().map(rfc3339_zoned),
        committer: commit.committer().into(),
        committed: commit.commit_time_zoned().map(rfc3339_zoned),
        subject: commit.summary().lossy(),
        message: commit.message().lossy(),
        files: commit.files().into_iter().map(File::from).collect(),
    }
}

/// Where a branch's history begins.
fn head(project: Project<'_>, branch: Option<&str>) -> Result<(String, Hash), Failure> {
    let candidates = match branch {
        Some(branch) => vec![format!("refs/heads/{branch}"), branch.to_owned()],
        None => ["HEAD", "refs/heads/master", "refs/heads/main"].map(str::to_owned).to_vec(),
    };
    let found = candidates.into_iter().find_map(|name| project.reference(&name).map(|hash| (name, hash)));
    found.ok_or_else(|| {
        let known: Vec<String> = project
            .references()
            .into_iter()
            .map(|(name, _)| name.to_string())
            .map(|name| name.strip_prefix("refs/heads/").map_or(name.clone(), str::to_owned))
            .collect();
        Failure::usage(format!("{} of {}", which::unknown("branch", branch.unwrap_or("HEAD"), &known), project.name()))
    })
}

struct Filter<'a> {
    args: &'a CommitsArgs,
    author: Option<String>,
    now: i64,
}

impl Filter<'_> {
    fn takes(&self, commit: Commit<'_>) -> bool {
        let args = self.args;
        let time = commit.commit_time();
        args.since.is_none_or(|since| time >= Some(since.first(self.now)))
            && args.until.is_none_or(|until| time.is_some_and(|time| time < until.end(self.now)))
            && self.author.as_ref().is_none_or(|text| commit.author().0.lossy().to_lowercase().contains(text))
            && args.path.as_ref().is_none_or(|prefix| commit.files().iter().any(|file| file.name.bytes().starts_with(prefix.as_bytes())))
    }
}

pub(super) fn run(view: &View, args: &CommitsArgs, now: i64, out: &mut Out) -> Result<(), Stop> {
    let filter = Filter { args, author: args.author.as_ref().map(|text| text.to_lowercase()), now };
    let limit = args.limit.unwrap_or(usize::MAX);
    let mut found: Vec<Commit<'_>> = Vec::new();
    // A history is walked no further than it is wanted; then it is not known how much there would be.
    let mut all = None;
    match &args.project {
        Some(name) => {
            let project = which::project(view, name)?;
            let (reference, hash) = head(project, args.branch.as_deref())?;
            let mut at = view.git().mentioned(&hash);
            while let Some(commit) = at {
                if found.len() == limit {
                    break;
                }
                if commit.is_placeholder() {
                    note(format_args!("the history of {reference} goes on behind {}, which is not in this log", commit.hash()));
                    break;
                }
                if filter.takes(commit) {
                    found.push(commit);
                }
                at = commit.first_parent();
            }
        }
        None => {
            found.extend(view.git().commits().filter(|commit| !commit.is_placeholder() && filter.takes(*commit)));
            found.sort_by_key(|commit| std::cmp::Reverse((commit.commit_time(), commit.hash())));
            all = Some(found.len());
            found.truncate(limit);
        }
    }
    if out.json {
        return found.into_iter().try_for_each(|commit| out.object(&object(commit)));
    }
    if found.is_empty() {
        note("no commit matches");
        return Ok(());
    }
    let mut grid = Grid::new(["commit", "committed", "author", "files", "subject"], &[0, 1], &[3, 2]);
    for commit in &found {
        let hash: String = commit.hash().to_string().chars().take(12).collect();
        let author = commit.author().name().to_string();
        grid.row([hash, short(commit.commit_time()), author, commit.files().len().to_string(), commit.summary().to_string()]);
    }
    out.table(grid)?;
    output::say_cut(found.len(), all.unwrap_or(0));
    Ok(())
}
