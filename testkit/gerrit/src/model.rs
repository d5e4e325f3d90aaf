//! What Gerrit holds. Everything is public: a test compares what a client found with what there is.

use std::collections::{BTreeMap, BTreeSet};

/// Unix milliseconds.
pub type Ms = i64;

/// Which Gerrit's messages are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// As around 2018: votes are `Label: X=+1`.
    Old,
    /// As of version 3.9: votes carry a unique id, copied votes and outdated ones are named, attention is kept.
    New,
}

/// What happens to a change's commit when it is submitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strategy {
    /// The branch moves to it, or to a merge of it.
    MergeIfNecessary,
    /// A new commit, which is a new patch set, is put on top of the branch.
    CherryPick,
}

/// How this Gerrit is set up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// Which messages are written.
    pub style: Style,
    /// How changes are submitted.
    pub strategy: Strategy,
    /// User name and password that are accepted under `/a/`, or a bearer token as `("", token)`; `None`: nobody can log in.
    pub login: Option<(String, String)>,
    /// Most changes in one answer.
    pub page_size: usize,
    /// The labels that can be voted on.
    pub labels: Vec<Label>,
}

/// A label that can be voted on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    /// Its name.
    pub name: String,
    /// Lowest vote.
    pub min: i8,
    /// Highest vote.
    pub max: i8,
    /// Whether votes stay when a new patch set comes.
    pub sticky: bool,
}

/// An account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Its number.
    pub id: i64,
    /// Full name.
    pub name: String,
    /// Address.
    pub email: String,
}

/// A project.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Project {
    /// Its name; may hold slashes.
    pub name: String,
    /// The branch that `HEAD` stands for: a full name.
    pub head: String,
}

/// State of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// Open.
    New,
    /// Part of its branch.
    Merged,
    /// Given up.
    Abandoned,
}

/// A patch set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PatchSet {
    /// From 1.
    pub number: u32,
    /// Hash of its commit.
    pub commit: String,
    /// Account that uploaded it.
    pub uploader: i64,
    /// When.
    pub created: Ms,
}

/// A vote that counts on the current patch set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vote {
    /// Label.
    pub label: String,
    /// Account.
    pub account: i64,
    /// Not 0.
    pub value: i8,
    /// When.
    pub date: Ms,
}

/// A message on a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Hash of the meta commit that it is in.
    pub id: String,
    /// Account; `None`: Gerrit itself.
    pub author: Option<i64>,
    /// When.
    pub date: Ms,
    /// Text.
    pub text: String,
    /// Patch set it was written on.
    pub patch_set: u32,
    /// Marks what machines wrote.
    pub tag: Option<String>,
}

/// An inline comment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Comment {
    /// Its id.
    pub uuid: String,
    /// The file, or `/PATCHSET_LEVEL`, `/COMMIT_MSG`.
    pub path: String,
    /// The line; 0: the whole file.
    pub line: u32,
    /// Patch set it was written on.
    pub patch_set: u32,
    /// Account.
    pub author: i64,
    /// When.
    pub date: Ms,
    /// Text.
    pub text: String,
    /// Whether something is still to be done.
    pub unresolved: bool,
    /// Id of the comment it answers.
    pub in_reply_to: Option<String>,
}

/// A comment to be made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NewComment {
    /// The file, or `/PATCHSET_LEVEL`, `/COMMIT_MSG`.
    pub path: String,
    /// The line; 0: the whole file.
    pub line: u32,
    /// Text.
    pub text: String,
    /// Whether something is still to be done.
    pub unresolved: bool,
}

/// What a reviewer says at once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Review {
    /// Text; may be empty.
    pub message: String,
    /// Label and value; 0 withdraws.
    pub votes: Vec<(String, i8)>,
    /// Inline comments.
    pub comments: Vec<NewComment>,
    /// Marks what machines write.
    pub tag: Option<String>,
}

/// A change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Its number.
    pub number: i64,
    /// Project.
    pub project: String,
    /// Target branch, without `refs/heads/`.
    pub branch: String,
    /// `I` and 40 hex digits.
    pub change_id: String,
    /// First line of the commit message.
    pub subject: String,
    /// State.
    pub status: Status,
    /// Account that owns it.
    pub owner: i64,
    /// When it was made.
    pub created: Ms,
    /// Last change.
    pub updated: Ms,
    /// When it was submitted.
    pub submitted: Option<Ms>,
    /// Hashtags.
    pub hashtags: BTreeSet<String>,
    /// Not ready for review.
    pub wip: bool,
    /// Not for everybody.
    pub private: bool,
    /// Patch sets, oldest first; never empty.
    pub patch_sets: Vec<PatchSet>,
    /// Files that it changes, by path: the new content.
    pub files: BTreeMap<String, String>,
    /// Votes on the current patch set.
    pub votes: Vec<Vote>,
    /// Accounts that are asked for a review.
    pub reviewers: BTreeSet<i64>,
    /// Accounts that are kept informed.
    pub ccs: BTreeSet<i64>,
    /// Messages, oldest first.
    pub messages: Vec<Message>,
    /// Inline comments, oldest first.
    pub comments: Vec<Comment>,
    /// Hashes of the meta commits, oldest first.
    pub metas: Vec<String>,
}

impl Change {
    /// The newest patch set.
    ///
    /// # Panics
    /// Never: a change has at least one.
    pub fn current(&self) -> &PatchSet {
        self.patch_sets.last().expect("a change has a patch set")
    }

    /// Name of one of its references: `refs/changes/34/1234/SUFFIX`.
    pub fn ref_name(&self, suffix: impl std::fmt::Display) -> String {
        ref_name(self.number, suffix)
    }

    /// Whether people can still work on it.
    pub fn is_open(&self) -> bool {
        self.status == Status::New
    }
}

pub(crate) fn ref_name(number: i64, suffix: impl std::fmt::Display) -> String {
    format!("refs/changes/{:02}/{number}/{suffix}", number % 100)
}
