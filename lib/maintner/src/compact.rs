//! Rows in the order in which they are read: after a load, what belongs together lies together, so that walking everything is reading memory from front to
//! back.

use crate::rows::*;
use crate::table::{Index, NONE, Table};
use crate::tables::{GitTables, GithubTables, index_linked};

/// Changes by project and number, their patch sets behind one another.
pub(crate) fn git(tables: &mut GitTables) {
    let mut changes: Vec<ChangeRow> = tables.changes.iter().copied().collect();
    changes.sort_by_key(|change| (change.project, change.number));
    let mut patch_sets = Table::default();
    let mut table = Table::default();
    let mut index = Index::with_room(tables.changes.len());
    for project in 0..tables.projects.len() {
        if let Some(project) = tables.projects.get_mut(project) {
            project.changes = NONE;
        }
    }
    let mut last = NONE;
    for mut change in changes {
        let mut sets = Vec::new();
        let mut at = change.patch_sets;
        while let Some(set) = tables.patch_sets.get(at) {
            sets.push(*set);
            at = set.next;
        }
        sets.sort_by_key(|set| set.number);
        change.patch_sets = lay(&mut patch_sets, &sets, |set, next| set.next = next);
        change.next = NONE;
        let row = table.push(change);
        chain(&mut table, last, row, |a, b| a.project == b.project, |change, next| change.next = next);
        if let Some(project) = tables.projects.get_mut(change.project)
            && project.changes == NONE
        {
            project.changes = row;
        }
        last = row;
        let rows = &table;
        let hash_of = |row: u32| rows.get(row).map_or(0, |found| crate::table::hash_numbers(u64::from(found.project), found.number as u64));
        index.add(hash_of(row), row, hash_of);
    }
    tables.changes = table;
    tables.change_index = index;
    tables.patch_sets = patch_sets;
}

/// Pushes rows behind one another, linked in their order; the first one's number.
fn lay<T: bytemuck::Pod>(table: &mut Table<T>, rows: &[T], link: impl Fn(&mut T, u32)) -> u32 {
    let first = table.len();
    for (number, row) in rows.iter().enumerate() {
        let mut row = *row;
        let next = if number + 1 == rows.len() { NONE } else { table.len() + 1 };
        link(&mut row, next);
        table.push(row);
    }
    if rows.is_empty() { NONE } else { first }
}

/// Links a row behind the last one, if they are of the same owner.
fn chain<T: bytemuck::Pod>(table: &mut Table<T>, last: u32, row: u32, same: impl Fn(&T, &T) -> bool, link: impl Fn(&mut T, u32)) {
    let Some(current) = table.get(row).copied() else { return };
    if let Some(previous) = table.get_mut(last)
        && same(previous, &current)
    {
        link(previous, row);
    }
}

/// Issues by repository and number; their comments, events and so on behind one another.
pub(crate) fn github(old: &GithubTables) -> GithubTables {
    let mut new = old.clone();
    new.issues = Table::default();
    new.issue_index = Index::with_room(old.issues.len());
    new.comments = Table::default();
    new.comment_index = Index::with_room(old.comments.len());
    new.events = Table::default();
    new.event_index = Index::with_room(old.events.len());
    new.reviews = Table::default();
    new.review_index = Index::with_room(old.reviews.len());
    new.links = Table::default();
    for repo in 0..new.repos.len() {
        if let Some(repo) = new.repos.get_mut(repo) {
            repo.issues = NONE;
        }
    }
    let mut order: Vec<(u32, i32, u32)> = (0..old.issues.len()).filter_map(|row| old.issues.get(row).map(|issue| (issue.repo, issue.number, row))).collect();
    order.sort_unstable();
    let mut last = NONE;
    for (repo, _, from) in order {
        let mut issue = old.issues.at(from);
        let row = new.issues.len();
        issue.next = NONE;
        relay(&old.comments, &mut new.comments, &mut new.comment_index, &mut issue, row);
        relay(&old.events, &mut new.events, &mut new.event_index, &mut issue, row);
        relay(&old.reviews, &mut new.reviews, &mut new.review_index, &mut issue, row);
        for set in [&mut issue.labels, &mut issue.assignees] {
            let mut links = Vec::new();
            while let Some(link) = old.links.get(*set) {
                links.push(*link);
                *set = link.next;
            }
            *set = lay(&mut new.links, &links, |link, next| link.next = next);
        }
        new.issues.push(issue);
        chain(&mut new.issues, last, row, |a, b| a.repo == b.repo, |issue, next| issue.next = next);
        if let Some(repo) = new.repos.get_mut(repo)
            && repo.issues == NONE
        {
            repo.issues = row;
        }
        new.index_issue(row);
        last = row;
    }
    new
}

fn relay<T: Linked>(old: &Table<T>, new: &mut Table<T>, index: &mut Index, issue: &mut IssueRow, owner: u32) {
    let list = T::list(issue);
    let mut at = list.first;
    let mut previous = NONE;
    *list = List::EMPTY;
    while let Some(row) = old.get(at) {
        at = row.next();
        let mut copy = *row;
        copy.set_next(NONE);
        copy.set_issue(owner);
        let row = new.push(copy);
        if let Some(previous) = new.get_mut(previous) {
            previous.set_next(row);
        }
        index_linked(new, index, row);
        if previous == NONE {
            list.first = row;
        }
        list.last = row;
        previous = row;
    }
}
