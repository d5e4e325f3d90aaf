//! The second half: what GitHub mutations change (`spec/maintner.md` §4.1, §4.2).

use protocol_mutlog::view;

use crate::parse::{GithubOp, Parsed};
use crate::rows::*;
use crate::table::{NONE, Stamp, hash_bytes};
use crate::tables::{GithubTables, add_linked, find_linked, intern_named, link, unlink};
use crate::text::{Log, TextRef};

/// Applies what was read, in order.
pub(crate) fn apply(tables: &mut GithubTables, log: &Log, parsed: &Parsed) {
    for op in &parsed.github {
        match op {
            GithubOp::Issue(at) => {
                if let Ok(mutation) = view::GithubIssueMutation::decode(log.text(*at)) {
                    Applying { tables, log, whole: *at }.issue(&mutation);
                }
            }
            GithubOp::Repo(at) => {
                if let Ok(mutation) = view::GithubMutation::decode(log.text(*at)) {
                    Applying { tables, log, whole: *at }.repo(&mutation);
                }
            }
        }
    }
}

struct Applying<'a> {
    tables: &'a mut GithubTables,
    log: &'a Log,
    /// The mutation that parts are of.
    whole: TextRef,
}

pub(crate) fn stamp(time: Option<view::Timestamp<'_>>) -> Option<Stamp> {
    time.map(|time| Stamp::of(time.seconds, time.nanos))
}

/// A sync status counts only if its moment is one that the format allows.
fn status(status: Option<view::GithubIssueSyncStatus<'_>>) -> Option<Stamp> {
    let time = status?.server_date?;
    let valid = (0..1_000_000_000).contains(&time.nanos) && (-62_135_596_800..253_402_300_800).contains(&time.seconds);
    valid.then(|| Stamp::of(time.seconds, time.nanos))
}

impl Applying<'_> {
    fn at(&self, part: &[u8]) -> TextRef {
        self.whole.part(self.log, part)
    }

    fn repo_of(&mut self, owner: &[u8], name: &[u8]) -> u32 {
        let (owner, name) = (self.at(owner), self.at(name));
        self.tables.intern_repo(self.log, owner, name)
    }

    fn repo(&mut self, mutation: &view::GithubMutation<'_>) {
        let repo = self.repo_of(mutation.owner, mutation.repo);
        for label in mutation.labels.iter() {
            let name = self.at(label.name);
            self.tables.intern_label(repo, label.id, name);
        }
        for milestone in mutation.milestones.iter() {
            let title = self.at(milestone.title);
            self.tables.intern_milestone(repo, milestone.id, title, milestone.number, milestone.closed.map(|closed| closed.val));
        }
    }

    fn user(&mut self, user: &view::GithubUser<'_>) -> u32 {
        let login = self.at(user.login);
        intern_named(&mut self.tables.users, &mut self.tables.user_index, user.id, login)
    }

    /// A user of whom only the id is said; 0 is nobody.
    fn user_id(&mut self, id: i64) -> u32 {
        if id == 0 { NONE } else { intern_named(&mut self.tables.users, &mut self.tables.user_index, id, TextRef::EMPTY) }
    }

    fn kind(&mut self, text: &[u8]) -> u32 {
        if text.is_empty() {
            return NONE;
        }
        let at = self.at(text);
        self.tables.kinds.intern(self.log, at, hash_bytes(text))
    }

    fn issue(&mut self, mutation: &view::GithubIssueMutation<'_>) {
        let repo = self.repo_of(mutation.owner, mutation.repo);
        let (row, fresh) = match self.tables.find_issue(repo, mutation.number) {
            Some(row) => (row, false),
            None => (self.tables.add_issue(repo, mutation.number, mutation.id), true),
        };
        let Some(issue) = self.tables.issues.get_mut(row) else { return };
        issue.set(issue_flag::NOT_EXIST, mutation.not_exist);
        if fresh && !mutation.not_exist {
            issue.created = stamp(mutation.created).unwrap_or(Stamp::of(0, 0));
        }
        if mutation.not_exist {
            return;
        }
        self.fields(row, repo, mutation);
        self.labels(row, repo, mutation);
        for comment in mutation.comment.iter().filter(|comment| comment.id != 0) {
            self.comment(row, &comment);
        }
        for event in mutation.event.iter().filter(|event| event.id != 0) {
            self.event(row, &event);
        }
        for review in mutation.review.iter().filter(|review| review.id != 0) {
            self.review(row, &review);
        }
        if let Some(issue) = self.tables.issues.get_mut(row) {
            for (place, status) in [
                (&mut issue.comments_as_of, status(mutation.comment_status)),
                (&mut issue.events_as_of, status(mutation.event_status)),
                (&mut issue.reviews_as_of, status(mutation.review_status)),
            ] {
                *place = status.unwrap_or(*place);
            }
        }
    }

    fn fields(&mut self, row: u32, repo: u32, mutation: &view::GithubIssueMutation<'_>) {
        let user = mutation.user.map(|user| self.user(&user));
        let milestone = if mutation.no_milestone {
            Some(NO_MILESTONE)
        } else {
            let title = self.at(mutation.milestone_title);
            self.tables.intern_milestone(repo, mutation.milestone_id, title, mutation.milestone_num, None)
        };
        let closed_by = mutation.closed_by.map(|user| self.user(&user));
        self.assignees(row, mutation);
        let body = match mutation.body_change {
            Some(change) => Some(self.at(change.val)),
            None if mutation.body.is_empty() => None,
            None => Some(self.at(mutation.body)),
        };
        let title = (!mutation.title.is_empty()).then(|| self.at(mutation.title));
        let Some(issue) = self.tables.issues.get_mut(row) else { return };
        issue.updated = stamp(mutation.updated).unwrap_or(issue.updated);
        issue.closed_at = stamp(mutation.closed_at).unwrap_or(issue.closed_at);
        issue.user = user.unwrap_or(issue.user);
        issue.milestone = milestone.unwrap_or(issue.milestone);
        issue.closed_by = closed_by.unwrap_or(issue.closed_by);
        issue.body = body.unwrap_or(issue.body);
        issue.title = title.unwrap_or(issue.title);
        if let Some(closed) = mutation.closed {
            issue.set(issue_flag::CLOSED, closed.val);
        }
        if let Some(locked) = mutation.locked {
            issue.set(issue_flag::LOCKED, locked.val);
        }
        if mutation.pull_request {
            issue.set(issue_flag::PULL_REQUEST, true);
        }
    }

    fn members(&self, mut at: u32) -> Vec<u32> {
        let mut members = Vec::new();
        while let Some(link) = self.tables.links.get(at) {
            members.push(link.value);
            at = link.next;
        }
        members
    }

    /// Writes a set anew; its old links are left behind.
    fn set_members(&mut self, members: &[u32]) -> u32 {
        members.iter().rev().fold(NONE, |next, value| self.tables.links.push(LinkRow { value: *value, next }))
    }

    fn assignees(&mut self, row: u32, mutation: &view::GithubIssueMutation<'_>) {
        if mutation.assignees.is_empty() && mutation.deleted_assignees.is_empty() {
            return;
        }
        let before = self.members(self.tables.issues.at(row).assignees);
        let mut after = before.clone();
        for user in mutation.assignees.iter() {
            let user = self.user(&user);
            if !before.contains(&user) {
                after.push(user);
            }
        }
        let gone: Vec<i64> = mutation.deleted_assignees.iter().collect();
        after.retain(|user| self.tables.users.get(*user).is_none_or(|user| !gone.contains(&user.id)));
        if after != before {
            let list = self.set_members(&after);
            if let Some(issue) = self.tables.issues.get_mut(row) {
                issue.assignees = list;
            }
        }
    }

    fn labels(&mut self, row: u32, repo: u32, mutation: &view::GithubIssueMutation<'_>) {
        if mutation.add_label.is_empty() && mutation.remove_label.is_empty() {
            return;
        }
        let before = self.members(self.tables.issues.at(row).labels);
        let mut after = before.clone();
        for id in mutation.remove_label.iter() {
            let label = self.tables.find_label(repo, id);
            after.retain(|known| Some(*known) != label);
        }
        for label in mutation.add_label.iter() {
            let name = self.at(label.name);
            if let Some(label) = self.tables.intern_label(repo, label.id, name)
                && !after.contains(&label)
            {
                after.push(label);
            }
        }
        if after == before {
            return;
        }
        // The most frequent change by far: one more in front costs one link.
        let list = match after.split_last() {
            Some((new, old)) if old == before => {
                let next = self.tables.issues.at(row).labels;
                self.tables.links.push(LinkRow { value: *new, next })
            }
            _ => self.set_members(&after),
        };
        if let Some(issue) = self.tables.issues.get_mut(row) {
            issue.labels = list;
        }
    }

    fn comment(&mut self, issue: u32, mutation: &view::GithubIssueCommentMutation<'_>) {
        let user = mutation.user.map(|user| self.user(&user));
        let body = self.at(mutation.body);
        let found = find_linked(&self.tables.comments, &self.tables.comment_index, issue, mutation.id);
        let old = found.map(|row| self.tables.comments.at(row));
        let mut comment = old.unwrap_or(CommentRow {
            id: mutation.id,
            body: TextRef::EMPTY,
            created: Stamp::NONE,
            updated: Stamp::NONE,
            user: NONE,
            issue,
            next: NONE,
            pad: 0,
        });
        comment.user = user.unwrap_or(comment.user);
        comment.created = stamp(mutation.created).unwrap_or(comment.created);
        comment.updated = stamp(mutation.updated).unwrap_or(comment.updated);
        if !body.is_empty() {
            comment.body = body;
        }
        let tables = &mut *self.tables;
        put_linked(&mut tables.comments, &mut tables.comment_index, &mut tables.issues, found, comment);
    }

    fn event(&mut self, issue: u32, event: &view::GithubIssueEvent<'_>) {
        let actor = self.user_id(event.actor_id);
        // They are known from now on, as users without a login.
        for id in [event.assignee_id, event.assigner_id, event.reviewer_id, event.review_requester_id] {
            self.user_id(id);
        }
        if let Some(team) = event.team_reviewer {
            let slug = self.at(team.slug);
            intern_named(&mut self.tables.teams, &mut self.tables.team_index, team.id, slug);
        }
        let created = stamp(event.created).unwrap_or(Stamp::NONE);
        let row = EventRow { id: event.id, source: self.at(event.encoded), created, kind: self.kind(event.event_type), actor, issue, next: NONE };
        self.seen(issue, created);
        let tables = &mut *self.tables;
        let found = find_linked(&tables.events, &tables.event_index, issue, event.id);
        put_linked(&mut tables.events, &mut tables.event_index, &mut tables.issues, found, row);
    }

    fn review(&mut self, issue: u32, review: &view::GithubReview<'_>) {
        let actor = self.user_id(review.actor_id);
        let created = stamp(review.created).unwrap_or(Stamp::NONE);
        let row = ReviewRow(EventRow { id: review.id, source: self.at(review.encoded), created, kind: self.kind(review.state), actor, issue, next: NONE });
        self.seen(issue, created);
        let tables = &mut *self.tables;
        let found = find_linked(&tables.reviews, &tables.review_index, issue, review.id);
        put_linked(&mut tables.reviews, &mut tables.review_index, &mut tables.issues, found, row);
    }

    fn seen(&mut self, issue: u32, time: Stamp) {
        if let Some(issue) = self.tables.issues.get_mut(issue)
            && time.get() > issue.event_time.get()
        {
            issue.event_time = time;
        }
    }
}

/// Adds a row to its list or replaces the one that was found, keeping the order.
fn put_linked<T: Linked>(
    table: &mut crate::table::Table<T>,
    index: &mut crate::table::Index,
    issues: &mut crate::table::Table<IssueRow>,
    found: Option<u32>,
    mut value: T,
) {
    let Some(row) = found else {
        add_linked(table, index, issues, value);
        return;
    };
    let Some(old) = table.get(row) else { return };
    let moved = old.key() != value.key();
    value.set_next(old.next());
    if moved {
        unlink(table, issues, row);
    }
    if let Some(place) = table.get_mut(row) {
        *place = value;
    }
    if moved {
        link(table, issues, row);
    }
}
