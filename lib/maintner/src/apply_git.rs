//! The second half: what git and Gerrit mutations change (`spec/maintner.md` §4.3, §4.4).

use crate::notedb::says;
use crate::parse::{CommitOp, GitOp, Parsed};
use crate::rows::*;
use crate::table::NONE;
use crate::tables::GitTables;
use crate::text::Log;

/// Applies what was read, in order. Changes are finished at the end of every mutation of Gerrit when `live`; a load finishes them once, at its end.
pub(crate) fn apply(tables: &mut GitTables, log: &Log, parsed: &Parsed, dirty: &mut Vec<u32>, live: bool) {
    let mut commits = parsed.commits.iter();
    let mut project = NONE;
    for op in &parsed.git {
        match op {
            GitOp::Project(name) => project = tables.intern_project(log, *name),
            GitOp::PlainCommit => {
                if let Some(op) = commits.next() {
                    apply_commit(tables, log, op);
                }
            }
            GitOp::Commit => {
                if let Some(op) = commits.next()
                    && let Some(row) = apply_commit(tables, log, op)
                {
                    tables.add_to_project(row, project);
                    need_parents(tables, log, row, project);
                }
            }
            GitOp::DeletedRef(name) => tables.set_ref(log, project, *name, NONE),
            GitOp::Ref { name, hash } => {
                if let Some(commit) = tables.find_commit(hash) {
                    tables.set_ref(log, project, *name, commit);
                }
            }
            GitOp::ChangeRef { change, patch_set, hash } => {
                if let Some(commit) = tables.find_commit(hash) {
                    let change = tables.intern_change(project, *change);
                    apply_change_ref(tables, change, *patch_set, commit, dirty);
                }
            }
            GitOp::End if live => finish(tables, log, dirty),
            GitOp::End => {}
        }
    }
}

/// The commit's row, unless it is refused.
fn apply_commit(tables: &mut GitTables, log: &Log, op: &CommitOp) -> Option<u32> {
    let parent = op.parent.map_or(NONE, |parent| tables.intern_commit(&parent));
    if op.flags & commit_flag::MERGE != 0 {
        for parent in raw(log, op.source).map(crate::commit::parents).into_iter().flatten().skip(1) {
            tables.intern_commit(&parent);
        }
    }
    if op.bad {
        return None;
    }
    let author = if op.author.is_empty() { NONE } else { tables.people.intern(log, op.author, op.author_hash) };
    let row = tables.intern_commit(&op.hash);
    let kept = commit_flag::SHARED | commit_flag::NEEDED;
    if let Some(commit) = tables.commits.get_mut(row) {
        commit.source = op.source;
        commit.time = op.time;
        commit.parent = parent;
        commit.author = author;
        commit.flags = op.flags | commit.flags & kept;
    }
    if !op.hg.is_empty() {
        tables.add_hg(log, op.hg, row);
    }
    Some(row)
}

fn need_parents(tables: &mut GitTables, log: &Log, row: u32, project: u32) {
    let commit = tables.commits.at(row);
    if commit.parent == NONE {
        return;
    }
    tables.need(commit.parent, project);
    if commit.has(commit_flag::MERGE) {
        let others: Vec<u32> =
            raw(log, commit.source).map(crate::commit::parents).into_iter().flatten().skip(1).filter_map(|parent| tables.find_commit(&parent)).collect();
        for parent in others {
            tables.need(parent, project);
        }
    }
}

/// The raw commit of an encoded `GitCommit`.
pub(crate) fn raw(log: &Log, source: crate::text::TextRef) -> Option<&[u8]> {
    protocol_mutlog::view::GitCommit::decode(log.text(source)).ok().map(|commit| commit.raw)
}

fn apply_change_ref(tables: &mut GitTables, change: u32, patch_set: i32, commit: u32, dirty: &mut Vec<u32>) {
    tables.set_patch_set(change, patch_set, commit);
    let blind = tables.commits.get(commit).is_none_or(|commit| commit.has(commit_flag::PLACEHOLDER));
    let Some(row) = tables.changes.get_mut(change) else { return };
    if patch_set == 0 {
        row.meta = commit;
        if row.flags & change_flag::DIRTY == 0 {
            row.flags |= change_flag::DIRTY;
            dirty.push(change);
        }
        return;
    }
    row.last_commit = commit;
    row.last_version = patch_set;
    row.flags = if blind { row.flags | change_flag::BLIND } else { row.flags & !change_flag::BLIND };
    if patch_set >= row.top_version {
        row.top_version = patch_set;
        row.top_commit = commit;
    }
}

/// Walks the history of every change whose meta reference moved.
pub(crate) fn finish(tables: &mut GitTables, log: &Log, dirty: &mut Vec<u32>) {
    for change in dirty.drain(..) {
        finish_change(tables, log, change);
    }
}

/// What a walk from a meta commit to the root, or to where the last walk began, finds.
#[derive(Default)]
struct Walk {
    says: u16,
    metas: u32,
    labels: u32,
    ever_private: bool,
    first_meta: u32,
    branch: u32,
    open_end: bool,
    /// It ended where the last one began.
    joined: bool,
    gave_up: bool,
}

fn walk(tables: &GitTables, from: u32, known: u32) -> Walk {
    let mut found = Walk { first_meta: NONE, branch: NONE, ..Walk::default() };
    let mut at = from;
    // A history that returns to itself would never end: a second walker, twice as fast, notices.
    let (mut ahead, mut steps) = (from, 0_u64);
    while let Some(commit) = tables.commits.get(at) {
        if at == known {
            found.joined = true;
            break;
        }
        if commit.has(says::LABEL) {
            found.labels += 1;
        }
        found.ever_private |= commit.has(says::PRIVATE);
        for group in [says::STATUS, says::PRIVATE | says::NOT_PRIVATE, says::WIP | says::NOT_WIP] {
            if found.says & group == 0 {
                found.says |= commit.flags & group;
            }
        }
        if found.branch == NONE && commit.has(says::BRANCH) {
            found.branch = at;
        }
        found.metas += 1;
        found.first_meta = at;
        found.open_end = commit.has(commit_flag::PLACEHOLDER);
        if commit.has(commit_flag::MERGE) {
            found.gave_up = true;
            break;
        }
        if commit.parent == NONE || found.open_end {
            break;
        }
        at = commit.parent;
        steps += 1;
        ahead = tables.commits.get(ahead).map_or(NONE, |commit| commit.parent);
        ahead = tables.commits.get(ahead).map_or(NONE, |commit| commit.parent);
        if steps > 64 && ahead == at && ahead != NONE {
            found.gave_up = true;
            break;
        }
    }
    found
}

fn finish_change(tables: &mut GitTables, log: &Log, change: u32) {
    let row = tables.changes.at(change);
    let known = if row.flags & change_flag::OPEN_END == 0 && row.metas > 0 { row.walked } else { NONE };
    let found = walk(tables, row.meta, known);
    let joined = found.joined;
    // The reference counts every vote of the whole history each time it walks it; programs only look whether the number grew.
    let labels = found.labels + if joined { row.labels } else { 0 };
    if let Some(project) = tables.projects.get_mut(row.project) {
        project.label_changes += i64::from(labels);
    }
    let branch = if found.branch == NONE {
        crate::text::TextRef::EMPTY
    } else {
        let source = tables.commits.at(found.branch).source;
        branch_of(log, source)
    };
    let Some(row) = tables.changes.get_mut(change) else { return };
    row.flags &= !change_flag::DIRTY;
    if found.ever_private {
        row.flags |= change_flag::EVER_PRIVATE;
    }
    if found.gave_up {
        return;
    }
    let old = if joined { row.flags } else { 0 };
    row.walked = row.meta;
    row.labels = labels;
    row.metas = found.metas + if joined { row.metas } else { 0 };
    if !joined {
        row.first_meta = found.first_meta;
    }
    let status = u32::from(found.says & says::STATUS);
    let status = if status != 0 { status } else { row.flags & u32::from(says::STATUS) };
    let status = if status != 0 { status } else { u32::from(crate::notedb::Status::New.bits()) };
    let choose = |yes: u16, no: u16, flag: u32| {
        if found.says & yes != 0 {
            flag
        } else if found.says & no != 0 {
            0
        } else {
            old & flag
        }
    };
    let private = choose(says::PRIVATE, says::NOT_PRIVATE, change_flag::PRIVATE);
    let wip = choose(says::WIP, says::NOT_WIP, change_flag::WIP);
    let open = if joined {
        old & change_flag::OPEN_END
    } else if found.open_end {
        change_flag::OPEN_END
    } else {
        0
    };
    row.flags = row.flags & (change_flag::EVER_PRIVATE | change_flag::BLIND) | status | private | wip | open;
    if !branch.is_empty() {
        row.branch = branch;
    }
}

/// Where the value of `Branch:` stands in the log.
fn branch_of(log: &Log, source: crate::text::TextRef) -> crate::text::TextRef {
    let Some(raw) = raw(log, source) else { return crate::text::TextRef::EMPTY };
    let message = crate::commit::Commit::parse(raw).message;
    let Some((value, _)) = crate::notedb::line_value(message, b"Branch:") else { return crate::text::TextRef::EMPTY };
    source.part(log, value)
}
