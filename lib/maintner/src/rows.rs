//! What the tables hold. Every row is plain numbers: rows lie in snapshots as they lie in memory.

use bytemuck::{Pod, Zeroable};

use crate::table::{NONE, Stamp};
use crate::text::TextRef;

/// A git commit, or the mere name of one that somebody calls their parent.
#[derive(Clone, Copy, Pod, Zeroable, Debug)]
#[repr(C)]
pub(crate) struct CommitRow {
    /// The encoded `GitCommit`; empty for a placeholder.
    pub(crate) source: TextRef,
    /// Commit time, Unix seconds.
    pub(crate) time: i64,
    pub(crate) hash: [u8; 20],
    /// First parent.
    pub(crate) parent: u32,
    /// In `people`.
    pub(crate) author: u32,
    pub(crate) flags: u16,
    /// In `projects`; [`NO_PROJECT`] for none, or one beyond the 16 bits.
    pub(crate) project: u16,
}

pub(crate) const NO_PROJECT: u16 = u16::MAX;

/// Flags of a commit; the lower bits are [`crate::notedb::says`].
pub(crate) mod commit_flag {
    /// Only its name is known.
    pub(crate) const PLACEHOLDER: u16 = 1 << 15;
    /// It has more than one parent.
    pub(crate) const MERGE: u16 = 1 << 14;
    /// It has a committer, and so a time.
    pub(crate) const TIMED: u16 = 1 << 13;
    /// It belongs to more than one project.
    pub(crate) const SHARED: u16 = 1 << 12;
    /// Some project refers to it and does not have it.
    pub(crate) const NEEDED: u16 = 1 << 11;
}

impl CommitRow {
    pub(crate) fn has(&self, flag: u16) -> bool {
        self.flags & flag != 0
    }
}

/// A Gerrit project.
#[derive(Clone, Copy, Pod, Zeroable, Debug)]
#[repr(C)]
pub(crate) struct ProjectRow {
    /// `host/project`.
    pub(crate) name: TextRef,
    pub(crate) label_changes: i64,
    /// Newest of its changes; they are linked by `next`.
    pub(crate) changes: u32,
    pub(crate) refs: u32,
}

/// A reference that is not of a change.
#[derive(Clone, Copy, Pod, Zeroable, Debug)]
#[repr(C)]
pub(crate) struct RefRow {
    pub(crate) name: TextRef,
    pub(crate) project: u32,
    /// [`NONE`]: deleted.
    pub(crate) commit: u32,
    pub(crate) next: u32,
    pub(crate) pad: u32,
}

/// A change.
#[derive(Clone, Copy, Pod, Zeroable, Debug)]
#[repr(C)]
pub(crate) struct ChangeRow {
    /// Newest value of `Branch:`, as it stands.
    pub(crate) branch: TextRef,
    pub(crate) project: u32,
    pub(crate) number: i32,
    /// Commit and number of the patch set that was processed last: what the reference calls the newest.
    pub(crate) last_commit: u32,
    pub(crate) last_version: i32,
    /// Commit and number of the highest patch set.
    pub(crate) top_commit: u32,
    pub(crate) top_version: i32,
    /// What the meta reference points at.
    pub(crate) meta: u32,
    /// The meta commit up to which the history was walked, how many there are, and the first.
    pub(crate) walked: u32,
    pub(crate) metas: u32,
    pub(crate) first_meta: u32,
    /// Metas with votes.
    pub(crate) labels: u32,
    /// Last of its patch sets; they are linked by `next`.
    pub(crate) patch_sets: u32,
    /// Next change of the project.
    pub(crate) next: u32,
    pub(crate) flags: u32,
}

/// Flags of a change; its status is in bits 8 to 10, as in [`crate::notedb::says::STATUS`].
pub(crate) mod change_flag {
    /// Some meta said `Private: true`.
    pub(crate) const EVER_PRIVATE: u32 = 1;
    /// The newest word on it is that it is private.
    pub(crate) const PRIVATE: u32 = 1 << 1;
    pub(crate) const WIP: u32 = 1 << 2;
    /// It waits for its history to be walked.
    pub(crate) const DIRTY: u32 = 1 << 3;
    /// Its walk ended at a placeholder: the next one starts anew.
    pub(crate) const OPEN_END: u32 = 1 << 4;
    /// Its last commit was known by name only when it became that: the reference never looks for mentions of issues in it again.
    pub(crate) const BLIND: u32 = 1 << 5;
}

impl ChangeRow {
    pub(crate) fn new(project: u32, number: i32) -> ChangeRow {
        ChangeRow {
            branch: TextRef::EMPTY,
            project,
            number,
            last_commit: NONE,
            last_version: 0,
            top_commit: NONE,
            top_version: 0,
            meta: NONE,
            walked: NONE,
            metas: 0,
            first_meta: NONE,
            labels: 0,
            patch_sets: NONE,
            next: NONE,
            flags: 0,
        }
    }

    /// It has a meta reference, a walked history and a commit: only then anybody sees it.
    pub(crate) fn complete(&self) -> bool {
        self.meta != NONE && self.metas > 0 && self.last_commit != NONE
    }
}

/// A patch set of a change; number 0 is the meta reference.
#[derive(Clone, Copy, Pod, Zeroable, Debug)]
#[repr(C)]
pub(crate) struct PatchSetRow {
    pub(crate) number: i32,
    pub(crate) commit: u32,
    pub(crate) next: u32,
}

/// A GitHub user or team; or any other name with an id.
#[derive(Clone, Copy, Pod, Zeroable, Debug)]
#[repr(C)]
pub(crate) struct NamedRow {
    pub(crate) id: i64,
    pub(crate) name: TextRef,
}

/// A GitHub repository. Its issues, labels and milestones are linked by `next`.
#[derive(Clone, Copy, Pod, Zeroable, Debug)]
#[repr(C)]
pub(crate) struct RepoRow {
    pub(crate) owner: TextRef,
    pub(crate) name: TextRef,
    pub(crate) issues: u32,
    pub(crate) labels: u32,
    pub(crate) milestones: u32,
    pub(crate) pad: u32,
}

/// A label of a repository.
#[derive(Clone, Copy, Pod, Zeroable, Debug)]
#[repr(C)]
pub(crate) struct LabelRow {
    pub(crate) id: i64,
    pub(crate) name: TextRef,
    pub(crate) repo: u32,
    pub(crate) next: u32,
}

/// A milestone of a repository.
#[derive(Clone, Copy, Pod, Zeroable, Debug)]
#[repr(C)]
pub(crate) struct MilestoneRow {
    pub(crate) id: i64,
    pub(crate) title: TextRef,
    pub(crate) repo: u32,
    pub(crate) next: u32,
    pub(crate) number: i32,
    pub(crate) closed: u32,
}

/// The milestone of an issue is known to be none.
pub(crate) const NO_MILESTONE: u32 = NONE - 1;

/// An issue or pull request.
#[derive(Clone, Copy, Pod, Zeroable, Debug)]
#[repr(C)]
pub(crate) struct IssueRow {
    pub(crate) id: i64,
    pub(crate) title: TextRef,
    pub(crate) body: TextRef,
    pub(crate) created: Stamp,
    pub(crate) updated: Stamp,
    pub(crate) closed_at: Stamp,
    pub(crate) comments_as_of: Stamp,
    pub(crate) events_as_of: Stamp,
    pub(crate) reviews_as_of: Stamp,
    /// Time of its newest event or review.
    pub(crate) event_time: Stamp,
    pub(crate) repo: u32,
    pub(crate) number: i32,
    pub(crate) user: u32,
    pub(crate) closed_by: u32,
    /// [`NONE`]: unknown; [`NO_MILESTONE`]: none.
    pub(crate) milestone: u32,
    pub(crate) labels: u32,
    pub(crate) assignees: u32,
    pub(crate) comments: List,
    pub(crate) events: List,
    pub(crate) reviews: List,
    /// Next issue of the repository.
    pub(crate) next: u32,
    pub(crate) flags: u32,
    pub(crate) pad: u32,
}

/// A list of linked rows, in order.
#[derive(Clone, Copy, Pod, Zeroable, Debug)]
#[repr(C)]
pub(crate) struct List {
    pub(crate) first: u32,
    pub(crate) last: u32,
}

impl List {
    pub(crate) const EMPTY: List = List { first: NONE, last: NONE };
}

/// Flags of an issue.
pub(crate) mod issue_flag {
    pub(crate) const NOT_EXIST: u32 = 1;
    pub(crate) const CLOSED: u32 = 1 << 1;
    pub(crate) const LOCKED: u32 = 1 << 2;
    pub(crate) const PULL_REQUEST: u32 = 1 << 3;
}

impl IssueRow {
    pub(crate) fn new(repo: u32, number: i32, id: i64) -> IssueRow {
        IssueRow {
            id,
            repo,
            number,
            user: NONE,
            closed_by: NONE,
            milestone: NONE,
            labels: NONE,
            assignees: NONE,
            comments: List::EMPTY,
            events: List::EMPTY,
            reviews: List::EMPTY,
            next: NONE,
            ..IssueRow::zeroed()
        }
    }

    pub(crate) fn has(&self, flag: u32) -> bool {
        self.flags & flag != 0
    }

    pub(crate) fn set(&mut self, flag: u32, on: bool) {
        self.flags = if on { self.flags | flag } else { self.flags & !flag };
    }
}

/// A comment, event or review: a row in a list that is kept in the order of time, then id.
pub(crate) trait Linked: Pod {
    fn key(&self) -> (Option<crate::Time>, i64);
    fn issue(&self) -> u32;
    fn next(&self) -> u32;
    fn set_next(&mut self, next: u32);
    fn set_issue(&mut self, issue: u32);
    fn list(issue: &mut IssueRow) -> &mut List;
}

/// A comment.
#[derive(Clone, Copy, Pod, Zeroable, Debug)]
#[repr(C)]
pub(crate) struct CommentRow {
    pub(crate) id: i64,
    pub(crate) body: TextRef,
    pub(crate) created: Stamp,
    pub(crate) updated: Stamp,
    pub(crate) user: u32,
    pub(crate) issue: u32,
    pub(crate) next: u32,
    pub(crate) pad: u32,
}

/// An event or a review: what is looked at often; the rest is read from the log.
#[derive(Clone, Copy, Pod, Zeroable, Debug)]
#[repr(C)]
pub(crate) struct EventRow {
    pub(crate) id: i64,
    /// The encoded `GithubIssueEvent` or `GithubReview`.
    pub(crate) source: TextRef,
    pub(crate) created: Stamp,
    /// In `kinds`: its type, or the state of a review.
    pub(crate) kind: u32,
    pub(crate) actor: u32,
    pub(crate) issue: u32,
    pub(crate) next: u32,
}

/// A review: as an event, in tables of its own.
#[derive(Clone, Copy, Pod, Zeroable, Debug)]
#[repr(transparent)]
pub(crate) struct ReviewRow(pub(crate) EventRow);

macro_rules! linked {
    ($kind:ty, $list:ident, $($inner:tt)*) => {
        impl Linked for $kind {
            fn key(&self) -> (Option<crate::Time>, i64) {
                (self$($inner)*.created.get(), self$($inner)*.id)
            }
            fn issue(&self) -> u32 {
                self$($inner)*.issue
            }
            fn next(&self) -> u32 {
                self$($inner)*.next
            }
            fn set_next(&mut self, next: u32) {
                self$($inner)*.next = next;
            }
            fn set_issue(&mut self, issue: u32) {
                self$($inner)*.issue = issue;
            }
            fn list(issue: &mut IssueRow) -> &mut List {
                &mut issue.$list
            }
        }
    };
}

linked!(CommentRow, comments,);
linked!(EventRow, events,);
linked!(ReviewRow, reviews, .0);

/// A member of a set of an issue: a label or an assignee.
#[derive(Clone, Copy, Pod, Zeroable, Debug)]
#[repr(C)]
pub(crate) struct LinkRow {
    pub(crate) value: u32,
    pub(crate) next: u32,
}
