//! All tables of a corpus, in two halves that a load fills side by side.

use crate::commit::Hash;
use crate::rows::*;
use crate::table::{Index, NONE, Table, hash_bytes, hash_numbers};
use crate::text::{Log, TextRef};

/// Git and Gerrit.
#[derive(Clone, Default, Debug)]
pub(crate) struct GitTables {
    pub(crate) commits: Table<CommitRow>,
    pub(crate) commit_index: Index,
    pub(crate) people: Names,
    pub(crate) projects: Table<ProjectRow>,
    pub(crate) project_index: Index,
    /// Commits that a second project has, too: (commit, project).
    pub(crate) shared: Table<[u32; 2]>,
    pub(crate) shared_index: Index,
    /// Commits that a project refers to and has not seen among its own: (commit, project). Entries stay; whether they still hold is looked up.
    pub(crate) needed: Table<[u32; 2]>,
    pub(crate) needed_index: Index,
    pub(crate) refs: Table<RefRow>,
    pub(crate) ref_index: Index,
    pub(crate) changes: Table<ChangeRow>,
    pub(crate) change_index: Index,
    pub(crate) patch_sets: Table<PatchSetRow>,
    /// Hashes of an older system to commits: (text, commit).
    pub(crate) hg: Table<HgRow>,
    pub(crate) hg_index: Index,
}

/// The commit that was once a Mercurial changeset.
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable, Debug)]
#[repr(C)]
pub(crate) struct HgRow {
    pub(crate) hg: TextRef,
    pub(crate) commit: u32,
    pub(crate) pad: u32,
}

/// GitHub.
#[derive(Clone, Default, Debug)]
pub(crate) struct GithubTables {
    pub(crate) users: Table<NamedRow>,
    pub(crate) user_index: Index,
    pub(crate) teams: Table<NamedRow>,
    pub(crate) team_index: Index,
    pub(crate) repos: Table<RepoRow>,
    pub(crate) repo_index: Index,
    pub(crate) labels: Table<LabelRow>,
    pub(crate) label_index: Index,
    pub(crate) milestones: Table<MilestoneRow>,
    pub(crate) milestone_index: Index,
    pub(crate) issues: Table<IssueRow>,
    pub(crate) issue_index: Index,
    pub(crate) comments: Table<CommentRow>,
    pub(crate) comment_index: Index,
    pub(crate) events: Table<EventRow>,
    pub(crate) event_index: Index,
    pub(crate) reviews: Table<ReviewRow>,
    pub(crate) review_index: Index,
    pub(crate) links: Table<LinkRow>,
    pub(crate) kinds: Names,
}

/// Texts that occur again and again, by number; the first occurrence in the log is the text.
#[derive(Clone, Default, Debug)]
pub(crate) struct Names {
    pub(crate) texts: Table<TextRef>,
    pub(crate) index: Index,
}

impl Names {
    pub(crate) fn find(&self, log: &Log, text: &[u8], hash: u64) -> Option<u32> {
        self.index.find(hash, |row| log.text(self.texts.at(row)) == text)
    }

    /// The number of a text that stands at `at` in the log.
    pub(crate) fn intern(&mut self, log: &Log, at: TextRef, hash: u64) -> u32 {
        let text = log.text(at);
        if let Some(found) = self.find(log, text, hash) {
            return found;
        }
        let row = self.texts.push(at);
        let texts = &self.texts;
        self.index.add(hash, row, |row| hash_bytes(log.text(texts.at(row))));
        row
    }

    pub(crate) fn text<'a>(&self, log: &'a Log, row: u32) -> &'a [u8] {
        self.texts.get(row).map_or(&[], |text| log.text(*text))
    }
}

/// Hash of a commit's name: it is one already.
#[inline]
pub(crate) fn hash_of(hash: &Hash) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = *hash;
    u64::from_le_bytes([a, b, c, d, e, f, g, h])
}

impl GitTables {
    #[inline]
    pub(crate) fn find_commit(&self, hash: &Hash) -> Option<u32> {
        self.commit_index.find(hash_of(hash), |row| self.commits.get(row).is_some_and(|commit| commit.hash == *hash))
    }

    /// The commit of this name; a placeholder if there was none.
    #[inline]
    pub(crate) fn intern_commit(&mut self, hash: &Hash) -> u32 {
        if let Some(found) = self.find_commit(hash) {
            return found;
        }
        let row = self.commits.push(CommitRow {
            source: TextRef::EMPTY,
            time: 0,
            hash: *hash,
            parent: NONE,
            author: NONE,
            flags: commit_flag::PLACEHOLDER,
            project: NO_PROJECT,
        });
        let commits = &self.commits;
        self.commit_index.add(hash_of(hash), row, |row| commits.get(row).map_or(0, |commit| hash_of(&commit.hash)));
        row
    }

    /// Whether a project has this commit among its own.
    pub(crate) fn in_project(&self, commit: u32, project: u32) -> bool {
        let Some(row) = self.commits.get(commit) else { return false };
        u32::from(row.project) == project && row.project != NO_PROJECT
            || row.has(commit_flag::SHARED) && has_pair(&self.shared, &self.shared_index, [commit, project])
    }

    pub(crate) fn add_to_project(&mut self, commit: u32, project: u32) {
        if self.in_project(commit, project) {
            return;
        }
        let Some(row) = self.commits.get_mut(commit) else { return };
        match u16::try_from(project) {
            Ok(small) if row.project == NO_PROJECT && small != NO_PROJECT && !row.has(commit_flag::SHARED) => row.project = small,
            _ => {
                row.flags |= commit_flag::SHARED;
                add_pair(&mut self.shared, &mut self.shared_index, [commit, project]);
            }
        }
    }

    /// Notes that a project refers to a commit that it does not have.
    pub(crate) fn need(&mut self, commit: u32, project: u32) {
        if self.in_project(commit, project) {
            return;
        }
        let fresh = match self.commits.get_mut(commit) {
            Some(row) => {
                let fresh = !row.has(commit_flag::NEEDED);
                row.flags |= commit_flag::NEEDED;
                fresh
            }
            None => return,
        };
        if fresh || !has_pair(&self.needed, &self.needed_index, [commit, project]) {
            add_pair(&mut self.needed, &mut self.needed_index, [commit, project]);
        }
    }

    pub(crate) fn find_project(&self, log: &Log, name: &[u8]) -> Option<u32> {
        self.project_index.find(hash_bytes(name), |row| log.text(self.projects.at(row).name) == name)
    }

    pub(crate) fn intern_project(&mut self, log: &Log, name: TextRef) -> u32 {
        let text = log.text(name);
        if let Some(found) = self.find_project(log, text) {
            return found;
        }
        let row = self.projects.push(ProjectRow { name, label_changes: 0, changes: NONE, refs: NONE });
        let projects = &self.projects;
        self.project_index.add(hash_bytes(text), row, |row| hash_bytes(log.text(projects.at(row).name)));
        row
    }

    pub(crate) fn find_ref(&self, log: &Log, project: u32, name: &[u8]) -> Option<u32> {
        let hash = hash_numbers(hash_bytes(name), u64::from(project));
        self.ref_index.find(hash, |row| self.refs.get(row).is_some_and(|found| found.project == project && log.text(found.name) == name))
    }

    pub(crate) fn set_ref(&mut self, log: &Log, project: u32, name: TextRef, commit: u32) {
        let text = log.text(name);
        let row = match self.find_ref(log, project, text) {
            Some(row) => row,
            None if commit == NONE => return,
            None => {
                let next = self.projects.at(project).refs;
                let row = self.refs.push(RefRow { name, project, commit, next, pad: 0 });
                if let Some(project) = self.projects.get_mut(project) {
                    project.refs = row;
                }
                let refs = &self.refs;
                let hash_of = |row: u32| refs.get(row).map_or(0, |found| hash_numbers(hash_bytes(log.text(found.name)), u64::from(found.project)));
                self.ref_index.add(hash_numbers(hash_bytes(text), u64::from(project)), row, hash_of);
                row
            }
        };
        if let Some(found) = self.refs.get_mut(row) {
            found.commit = commit;
        }
    }

    pub(crate) fn find_change(&self, project: u32, number: i32) -> Option<u32> {
        let hash = hash_numbers(u64::from(project), number as u64);
        self.change_index.find(hash, |row| self.changes.get(row).is_some_and(|found| found.project == project && found.number == number))
    }

    pub(crate) fn intern_change(&mut self, project: u32, number: i32) -> u32 {
        if let Some(found) = self.find_change(project, number) {
            return found;
        }
        let mut change = ChangeRow::new(project, number);
        change.next = self.projects.at(project).changes;
        let row = self.changes.push(change);
        if let Some(project) = self.projects.get_mut(project) {
            project.changes = row;
        }
        let changes = &self.changes;
        let hash_of = |row: u32| changes.get(row).map_or(0, |found| hash_numbers(u64::from(found.project), found.number as u64));
        self.change_index.add(hash_numbers(u64::from(project), number as u64), row, hash_of);
        row
    }

    /// Sets a patch set (0: the meta reference) of a change.
    pub(crate) fn set_patch_set(&mut self, change: u32, number: i32, commit: u32) {
        let first = self.changes.at(change).patch_sets;
        let mut at = first;
        while at != NONE {
            let Some(row) = self.patch_sets.get(at) else { break };
            if row.number == number {
                if let Some(row) = self.patch_sets.get_mut(at) {
                    row.commit = commit;
                }
                return;
            }
            at = row.next;
        }
        let row = self.patch_sets.push(PatchSetRow { number, commit, next: first });
        if let Some(change) = self.changes.get_mut(change) {
            change.patch_sets = row;
        }
    }

    pub(crate) fn add_hg(&mut self, log: &Log, hg: TextRef, commit: u32) {
        let text = log.text(hg);
        if let Some(row) = self.hg_index.find(hash_bytes(text), |row| log.text(self.hg.at(row).hg) == text) {
            if let Some(row) = self.hg.get_mut(row) {
                row.commit = commit;
            }
            return;
        }
        let row = self.hg.push(HgRow { hg, commit, pad: 0 });
        let hgs = &self.hg;
        self.hg_index.add(hash_bytes(text), row, |row| hash_bytes(log.text(hgs.at(row).hg)));
    }
}

fn has_pair(table: &Table<[u32; 2]>, index: &Index, pair: [u32; 2]) -> bool {
    index.find(hash_numbers(pair[0].into(), pair[1].into()), |row| table.at(row) == pair).is_some()
}

fn add_pair(table: &mut Table<[u32; 2]>, index: &mut Index, pair: [u32; 2]) {
    if has_pair(table, index, pair) {
        return;
    }
    let row = table.push(pair);
    let rows = &*table;
    index.add(hash_numbers(pair[0].into(), pair[1].into()), row, |row| {
        let [a, b] = rows.at(row);
        hash_numbers(a.into(), b.into())
    });
}

/// Finds or makes a row with an id in a table: users and teams.
pub(crate) fn intern_named(table: &mut Table<NamedRow>, index: &mut Index, id: i64, name: TextRef) -> u32 {
    let hash = hash_numbers(id as u64, 0);
    let row = match index.find(hash, |row| table.get(row).is_some_and(|found| found.id == id)) {
        Some(row) => row,
        None => {
            let row = table.push(NamedRow { id, name });
            let rows = &*table;
            index.add(hash, row, |row| hash_numbers(rows.at(row).id as u64, 0));
            return row;
        }
    };
    if !name.is_empty()
        && let Some(found) = table.get_mut(row)
    {
        found.name = name;
    }
    row
}

impl GithubTables {
    pub(crate) fn find_repo(&self, log: &Log, owner: &[u8], name: &[u8]) -> Option<u32> {
        self.repo_index.find(hash_numbers(hash_bytes(owner), hash_bytes(name)), |row| {
            self.repos.get(row).is_some_and(|repo| log.text(repo.owner) == owner && log.text(repo.name) == name)
        })
    }

    pub(crate) fn intern_repo(&mut self, log: &Log, owner: TextRef, name: TextRef) -> u32 {
        let (owner_text, name_text) = (log.text(owner), log.text(name));
        if let Some(found) = self.find_repo(log, owner_text, name_text) {
            return found;
        }
        let row = self.repos.push(RepoRow { owner, name, issues: NONE, labels: NONE, milestones: NONE, pad: 0 });
        let repos = &self.repos;
        let hash_of = |row: u32| {
            let repo = repos.at(row);
            hash_numbers(hash_bytes(log.text(repo.owner)), hash_bytes(log.text(repo.name)))
        };
        self.repo_index.add(hash_numbers(hash_bytes(owner_text), hash_bytes(name_text)), row, hash_of);
        row
    }

    /// The label of this id; a name that is not empty becomes its name. `None`: the id is no id.
    pub(crate) fn intern_label(&mut self, repo: u32, id: i64, name: TextRef) -> Option<u32> {
        if id == 0 {
            return None;
        }
        let hash = hash_numbers(id as u64, repo.into());
        if let Some(row) = self.label_index.find(hash, |row| self.labels.get(row).is_some_and(|label| label.id == id && label.repo == repo)) {
            if !name.is_empty() {
                self.labels.get_mut(row)?.name = name;
            }
            return Some(row);
        }
        let next = self.repos.at(repo).labels;
        let row = self.labels.push(LabelRow { id, name, repo, next });
        self.repos.get_mut(repo)?.labels = row;
        let labels = &self.labels;
        self.label_index.add(hash, row, |row| labels.get(row).map_or(0, |label| hash_numbers(label.id as u64, label.repo.into())));
        Some(row)
    }

    pub(crate) fn find_label(&self, repo: u32, id: i64) -> Option<u32> {
        self.label_index.find(hash_numbers(id as u64, repo.into()), |row| self.labels.get(row).is_some_and(|label| label.id == id && label.repo == repo))
    }

    /// The milestone of this id; texts and numbers that are there overwrite. `None`: the id is no id.
    pub(crate) fn intern_milestone(&mut self, repo: u32, id: i64, title: TextRef, number: i64, closed: Option<bool>) -> Option<u32> {
        if id == 0 {
            return None;
        }
        let hash = hash_numbers(id as u64, repo.into());
        let found = self.milestone_index.find(hash, |row| self.milestones.get(row).is_some_and(|found| found.id == id && found.repo == repo));
        let row = match found {
            Some(row) => row,
            None => {
                let next = self.repos.at(repo).milestones;
                let row = self.milestones.push(MilestoneRow { id, title, repo, next, number: 0, closed: 0 });
                self.repos.get_mut(repo)?.milestones = row;
                let milestones = &self.milestones;
                self.milestone_index.add(hash, row, |row| milestones.get(row).map_or(0, |found| hash_numbers(found.id as u64, found.repo.into())));
                row
            }
        };
        let milestone = self.milestones.get_mut(row)?;
        if !title.is_empty() {
            milestone.title = title;
        }
        if number != 0 {
            milestone.number = number as i32;
        }
        if let Some(closed) = closed {
            milestone.closed = closed.into();
        }
        Some(row)
    }

    pub(crate) fn find_issue(&self, repo: u32, number: i32) -> Option<u32> {
        let hash = hash_numbers(number as u64, repo.into());
        self.issue_index.find(hash, |row| self.issues.get(row).is_some_and(|issue| issue.number == number && issue.repo == repo))
    }

    pub(crate) fn add_issue(&mut self, repo: u32, number: i32, id: i64) -> u32 {
        let mut issue = IssueRow::new(repo, number, id);
        issue.next = self.repos.at(repo).issues;
        let row = self.issues.push(issue);
        if let Some(repo) = self.repos.get_mut(repo) {
            repo.issues = row;
        }
        self.index_issue(row);
        row
    }

    pub(crate) fn index_issue(&mut self, row: u32) {
        let issues = &self.issues;
        let hash_of = |row: u32| issues.get(row).map_or(0, |issue| hash_numbers(issue.number as u64, issue.repo.into()));
        self.issue_index.add(hash_of(row), row, hash_of);
    }
}

/// The row of an issue with this id, in a table of linked rows.
pub(crate) fn find_linked<T: Linked>(table: &Table<T>, index: &Index, issue: u32, id: i64) -> Option<u32> {
    index.find(hash_numbers(id as u64, issue.into()), |row| table.get(row).is_some_and(|found| found.key().1 == id && found.issue() == issue))
}

/// Adds a row to its issue's list, at its place in time.
pub(crate) fn add_linked<T: Linked>(table: &mut Table<T>, index: &mut Index, issues: &mut Table<IssueRow>, value: T) -> u32 {
    let row = table.push(value);
    index_linked(table, index, row);
    link(table, issues, row);
    row
}

pub(crate) fn index_linked<T: Linked>(table: &Table<T>, index: &mut Index, row: u32) {
    let hash_of = |row: u32| table.get(row).map_or(0, |found| hash_numbers(found.key().1 as u64, found.issue().into()));
    index.add(hash_of(row), row, hash_of);
}

/// Puts a row into the list of its issue. Rows mostly come in the order of time, so the end is looked at first.
pub(crate) fn link<T: Linked>(table: &mut Table<T>, issues: &mut Table<IssueRow>, row: u32) {
    let Some(value) = table.get(row) else { return };
    let key = value.key();
    let Some(issue) = issues.get_mut(value.issue()) else { return };
    let list = T::list(issue);
    let before = |other: u32| table.get(other).is_some_and(|other| other.key() <= key);
    let mut previous = NONE;
    let next;
    if list.last != NONE && before(list.last) {
        previous = list.last;
        next = NONE;
    } else {
        let mut at = list.first;
        while at != NONE && before(at) {
            previous = at;
            at = table.get(at).map_or(NONE, Linked::next);
        }
        next = at;
    }
    if next == NONE {
        list.last = row;
    }
    if previous == NONE {
        list.first = row;
    } else if let Some(previous) = table.get_mut(previous) {
        previous.set_next(row);
    }
    if let Some(value) = table.get_mut(row) {
        value.set_next(next);
    }
}

/// Takes a row out of the list of its issue.
pub(crate) fn unlink<T: Linked>(table: &mut Table<T>, issues: &mut Table<IssueRow>, row: u32) {
    let Some(value) = table.get(row) else { return };
    let next = value.next();
    let Some(issue) = issues.get_mut(value.issue()) else { return };
    let list = T::list(issue);
    let mut previous = NONE;
    let mut at = list.first;
    while at != NONE && at != row {
        previous = at;
        at = table.get(at).map_or(NONE, Linked::next);
    }
    if at != row {
        return;
    }
    if list.last == row {
        list.last = previous;
    }
    if previous == NONE {
        list.first = next;
    } else if let Some(previous) = table.get_mut(previous) {
        previous.set_next(next);
    }
}
