//! The two orders in which a world becomes a log.

use std::io;

use protocol_mutlog::schema::{GithubIssueMutation, Mutation};

use crate::gerrit::{Act, Gerrit, Step, commit_mutation, git_ref, refs_mutation};
use crate::github::{GitHub, Moment, REPOS, State};
use crate::{Kind, Sink};

/// References in a mutation of a first sync.
const BATCH: usize = 250;
/// Entries on a page of GitHub.
const PAGE: usize = 100;

fn issue(mutation: GithubIssueMutation) -> Mutation {
    Mutation { github_issue: Some(mutation), ..Default::default() }
}

/// Something that happens.
#[derive(Clone, Copy)]
enum Happening {
    /// The next commit of a project.
    Commit,
    /// A step of an issue.
    Issue,
    /// A step of a change.
    Change(Act, u8, u8),
}

#[derive(Clone, Copy)]
struct Entry {
    time: u32,
    /// Project, issue or change.
    entity: u32,
    /// Commit or step.
    place: u32,
    what: Happening,
}

pub(crate) fn time(github: &GitHub, gerrit: &Gerrit, sink: &mut Sink<'_>) -> io::Result<()> {
    let mut entries = Vec::new();
    // Commits first: what happens at the same moment keeps this order, and a patch set builds on the commits of its moment.
    for (entity, project) in gerrit.projects.iter().enumerate() {
        entries.extend(project.history.iter().enumerate().map(|(place, time)| Entry {
            time: *time,
            entity: entity as u32,
            place: place as u32,
            what: Happening::Commit,
        }));
    }
    for entity in 0..github.issues.len() {
        let times = github.times(entity).into_iter().enumerate();
        entries.extend(times.map(|(place, time)| Entry { time, entity: entity as u32, place: place as u32, what: Happening::Issue }));
    }
    for entity in 0..gerrit.changes.len() {
        entries.extend(gerrit.steps(entity).into_iter().map(|step| Entry {
            time: step.time,
            entity: entity as u32,
            place: u32::from(step.place),
            what: Happening::Change(step.act, step.patch_set, step.hashtags),
        }));
    }
    entries.sort_by_key(|entry| entry.time);

    let releases: Vec<_> = (0..gerrit.projects.len()).map(|project| gerrit.releases(project)).collect();
    let mut states: Vec<State> = (0..github.issues.len()).map(|_| State::default()).collect();
    let mut known = [false; REPOS.len()];
    for entry in entries {
        let entity = entry.entity as usize;
        match entry.what {
            Happening::Commit => commit(gerrit, entity, entry.place as usize, &releases[entity], sink)?,
            Happening::Issue => {
                let repo = github.issues[entity].repo;
                if !std::mem::replace(&mut known[usize::from(repo)], true) {
                    sink.put(Kind::Lists, &Mutation { github: Some(github.lists(repo)), ..Default::default() })?;
                }
                let moment = Moment { issue: entity, step: entry.place as u16, time: entry.time };
                update(github, moment, &mut states[entity], sink)?;
            }
            Happening::Change(act, patch_set, hashtags) => {
                let step = Step { time: entry.time, place: entry.place as u16, patch_set, act, hashtags };
                act_on(gerrit, entity, step, sink)?;
            }
        }
    }
    Ok(())
}

/// A commit arrives on master; every fourth time somebody looks at the references.
fn commit(gerrit: &Gerrit, project: usize, place: usize, releases: &[(usize, String)], sink: &mut Sink<'_>) -> io::Result<()> {
    let of = &gerrit.projects[project];
    sink.put(Kind::History, &commit_mutation(of, gerrit.history_commit(project, place)))?;
    let id = gerrit.history_id(project, place);
    let mut refs = Vec::new();
    let released = releases.iter().filter(|(at, _)| *at == place);
    if place % 4 == 3 || place + 1 == of.history.len() || released.clone().next().is_some() {
        refs.extend(["HEAD", "refs/heads/master"].map(|name| git_ref(name, id)));
        refs.extend(released.map(|(_, name)| git_ref(name.as_bytes(), id)));
        sink.put(Kind::Refs, &refs_mutation(of, refs))?;
    }
    Ok(())
}

/// An issue is updated, and its lists are read again.
fn update(github: &GitHub, moment: Moment, state: &mut State, sink: &mut Sink<'_>) -> io::Result<()> {
    let change = github.change(moment, state);
    sink.put(Kind::Issue, &issue(github.issue_mutation(moment, &change)))?;
    let comments = github.comment(moment, &change).into_iter().collect();
    sink.put(Kind::Comments, &issue(github.comments_mutation(moment, comments)))?;
    sink.put(Kind::Events, &issue(github.events_mutation(moment, github.events(moment, &change))))?;
    if github.issues[moment.issue].pull_request {
        sink.put(Kind::Events, &issue(github.reviews_mutation(moment, github.reviews(moment))))?;
    }
    Ok(())
}

/// A change has news.
fn act_on(gerrit: &Gerrit, change: usize, step: Step, sink: &mut Sink<'_>) -> io::Result<()> {
    let project = &gerrit.projects[usize::from(gerrit.changes[change].project)];
    let mut refs = Vec::new();
    if matches!(step.act, Act::Create | Act::NewPatchSet) {
        sink.put(Kind::PatchSet, &commit_mutation(project, gerrit.patch_set_commit(change, step.patch_set, step.time)))?;
        refs.push(git_ref(gerrit.change_ref(change, &step.patch_set.to_string()), gerrit.patch_set_id(change, step.patch_set)));
    }
    sink.put(Kind::Meta, &commit_mutation(project, gerrit.meta_commit(change, step)))?;
    refs.push(git_ref(gerrit.change_ref(change, "meta"), gerrit.meta_id(change, step.place)));
    sink.put(Kind::Refs, &refs_mutation(project, refs))
}

pub(crate) fn slurp(github: &GitHub, gerrit: &Gerrit, sink: &mut Sink<'_>) -> io::Result<()> {
    let mut changes = vec![Vec::new(); gerrit.projects.len()];
    for (place, change) in gerrit.changes.iter().enumerate() {
        changes[usize::from(change.project)].push(place);
    }
    for (project, changes) in changes.iter().enumerate() {
        slurp_project(gerrit, project, changes, sink)?;
    }
    let mut issues = vec![Vec::new(); REPOS.len()];
    for (place, issue) in github.issues.iter().enumerate() {
        issues[usize::from(issue.repo)].push(place);
    }
    for (repo, issues) in issues.iter().enumerate().filter(|(_, issues)| !issues.is_empty()) {
        slurp_repo(github, repo as u8, issues, sink)?;
    }
    Ok(())
}

/// What a reference points to.
enum Target {
    History(usize),
    PatchSet(usize, Step),
    Meta(usize),
}

fn slurp_project(gerrit: &Gerrit, project: usize, changes: &[usize], sink: &mut Sink<'_>) -> io::Result<()> {
    let of = &gerrit.projects[project];
    let last = of.history.len() - 1;
    let mut refs: Vec<(String, Target)> = ["HEAD", "refs/heads/master"].map(|name| (name.to_owned(), Target::History(last))).into();
    refs.extend(gerrit.releases(project).into_iter().map(|(place, name)| (name, Target::History(place))));
    for &change in changes {
        let uploads = gerrit.steps(change).into_iter().filter(|step| matches!(step.act, Act::Create | Act::NewPatchSet));
        refs.extend(uploads.map(|step| (gerrit.change_ref(change, &step.patch_set.to_string()), Target::PatchSet(change, step))));
        refs.push((gerrit.change_ref(change, "meta"), Target::Meta(change)));
    }
    refs.sort_by(|(one, _), (other, _)| one.cmp(other));
    // `HEAD` comes before everything else and brings the whole history, since releases are cut from master.
    let mut history = Some(last);
    for batch in refs.chunks(BATCH) {
        for (_, target) in batch {
            match target {
                Target::History(_) => {
                    for place in history.take().into_iter().flat_map(|last| (0..=last).rev()) {
                        sink.put(Kind::History, &commit_mutation(of, gerrit.history_commit(project, place)))?;
                    }
                }
                Target::PatchSet(change, step) => {
                    sink.put(Kind::PatchSet, &commit_mutation(of, gerrit.patch_set_commit(*change, step.patch_set, step.time)))?;
                }
                Target::Meta(change) => {
                    for step in gerrit.steps(*change).into_iter().rev() {
                        sink.put(Kind::Meta, &commit_mutation(of, gerrit.meta_commit(*change, step)))?;
                    }
                }
            }
        }
        let refs = batch.iter().map(|(name, target)| {
            let id = match target {
                Target::History(place) => gerrit.history_id(project, *place),
                Target::PatchSet(change, step) => gerrit.patch_set_id(*change, step.patch_set),
                Target::Meta(change) => gerrit.meta_id(*change, (gerrit.steps(*change).len() - 1) as u16),
            };
            git_ref(name.as_bytes(), id)
        });
        sink.put(Kind::Refs, &refs_mutation(of, refs.collect()))?;
    }
    Ok(())
}

/// Plays an issue's life; `each` is called after every step.
fn play(github: &GitHub, place: usize, mut each: impl FnMut(Moment, &crate::github::Change)) -> (State, Moment) {
    let mut state = State::default();
    let mut now = Moment { issue: place, step: 0, time: github.issues[place].born };
    for (step, time) in github.times(place).into_iter().enumerate() {
        now = Moment { issue: place, step: step as u16, time };
        let change = github.change(now, &mut state);
        each(now, &change);
    }
    (state, now)
}

fn slurp_repo(github: &GitHub, repo: u8, issues: &[usize], sink: &mut Sink<'_>) -> io::Result<()> {
    sink.put(Kind::Lists, &Mutation { github: Some(github.lists(repo)), ..Default::default() })?;
    let mut latest: Vec<(u32, usize)> = issues.iter().map(|place| (github.times(*place).last().copied().unwrap_or(0), *place)).collect();
    latest.sort_by_key(|(updated, place)| (std::cmp::Reverse(*updated), *place));
    for (_, place) in latest {
        let (state, _) = play(github, place, |_, _| {});
        sink.put(Kind::Issue, &issue(github.whole_issue(place, &state)))?;
    }
    for &place in issues {
        let mut comments = Vec::new();
        let (_, now) = play(github, place, |moment, change| comments.extend(github.comment(moment, change)));
        // Only the last page says that the list is complete.
        while comments.len() > PAGE {
            let rest = comments.split_off(PAGE);
            let page = GithubIssueMutation { comment_status: None, ..github.comments_mutation(now, std::mem::replace(&mut comments, rest)) };
            sink.put(Kind::Comments, &issue(page))?;
        }
        sink.put(Kind::Comments, &issue(github.comments_mutation(now, comments)))?;
    }
    for &place in issues {
        let mut events = Vec::new();
        let (_, now) = play(github, place, |moment, change| events.extend(github.events(moment, change)));
        sink.put(Kind::Events, &issue(github.events_mutation(now, events)))?;
    }
    for &place in issues.iter().filter(|place| github.issues[**place].pull_request) {
        let mut reviews = Vec::new();
        let (_, now) = play(github, place, |moment, _| reviews.extend(github.reviews(moment)));
        sink.put(Kind::Events, &issue(github.reviews_mutation(now, reviews)))?;
    }
    Ok(())
}
