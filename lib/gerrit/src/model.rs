//! What Gerrit answers, as far as it is used. Fields that are not asked for (`o=…`) are empty; fields that are not known here are ignored.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::Time;

/// An account. Everything but the number needs `DETAILED_ACCOUNTS`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Account {
    /// Its number; 0 when the answer does not say.
    #[serde(rename = "_account_id")]
    pub id: i64,
    /// Full name.
    pub name: String,
    /// Preferred address.
    pub email: String,
    /// Name to log in with.
    pub username: String,
    /// Kinds of account: `SERVICE_USER`.
    pub tags: Vec<String>,
}

/// State of a change.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum ChangeStatus {
    /// Open.
    #[default]
    New,
    /// Part of its branch.
    Merged,
    /// Given up.
    Abandoned,
    /// Open and only for some, as Gerrit had it until 2018.
    Draft,
    /// Something of tomorrow.
    #[serde(other)]
    Other,
}

/// A change.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Change {
    /// Its identifier in addresses, encoded already.
    #[serde(default)]
    pub id: String,
    /// Project.
    pub project: String,
    /// Target branch, without `refs/heads/`.
    pub branch: String,
    /// Topic.
    #[serde(default)]
    pub topic: String,
    /// Hashtags.
    #[serde(default)]
    pub hashtags: Vec<String>,
    /// `I` and 40 hex digits.
    #[serde(default)]
    pub change_id: String,
    /// First line of the commit message.
    #[serde(default)]
    pub subject: String,
    /// State.
    #[serde(default)]
    pub status: ChangeStatus,
    /// When it was made.
    pub created: Time,
    /// Last change.
    pub updated: Time,
    /// When it was submitted.
    pub submitted: Option<Time>,
    /// Its number.
    #[serde(rename = "_number")]
    pub number: i64,
    /// Who owns it.
    #[serde(default)]
    pub owner: Account,
    /// Not ready for review.
    #[serde(default)]
    pub work_in_progress: bool,
    /// Not for everybody.
    #[serde(default)]
    pub is_private: bool,
    /// Whether it could be submitted (`SUBMITTABLE`).
    #[serde(default)]
    pub submittable: bool,
    /// Hash of the head of its history.
    pub meta_rev_id: Option<String>,
    /// Comments in all.
    #[serde(default)]
    pub total_comment_count: u32,
    /// Comments that are still to be answered.
    #[serde(default)]
    pub unresolved_comment_count: u32,
    /// Votes by label (`LABELS`, `DETAILED_LABELS`).
    #[serde(default)]
    pub labels: BTreeMap<String, Label>,
    /// Who reviews (`REVIEWER`) and who is informed (`CC`).
    #[serde(default)]
    pub reviewers: BTreeMap<String, Vec<Account>>,
    /// Hash of the newest patch set (`CURRENT_REVISION`).
    pub current_revision: Option<String>,
    /// Patch sets by hash (`CURRENT_REVISION`, `ALL_REVISIONS`).
    #[serde(default)]
    pub revisions: BTreeMap<String, Revision>,
    /// Messages, oldest first (`MESSAGES`).
    #[serde(default)]
    pub messages: Vec<ChangeMessage>,
    /// There are more after this one.
    #[serde(default, rename = "_more_changes")]
    pub more_changes: bool,
}

impl Change {
    /// The newest patch set, if it was asked for.
    pub fn current(&self) -> Option<&Revision> {
        self.revisions.get(self.current_revision.as_deref()?)
    }
}

/// A label with its votes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Label {
    /// Somebody who gave the highest vote.
    pub approved: Option<Account>,
    /// Somebody who gave the lowest vote.
    pub rejected: Option<Account>,
    /// Whether the label keeps the change from being submitted.
    pub blocking: bool,
    /// All votes (`DETAILED_LABELS`).
    pub all: Vec<Approval>,
}

/// A vote.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Approval {
    /// Who.
    #[serde(flatten)]
    pub account: Account,
    /// The vote; 0 when there is none yet.
    pub value: i32,
    /// When.
    pub date: Option<Time>,
    /// Marks what machines do.
    pub tag: Option<String>,
}

/// A patch set.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Revision {
    /// From 1.
    #[serde(rename = "_number")]
    pub number: i32,
    /// Name of its reference.
    #[serde(rename = "ref", default)]
    pub reference: String,
    /// How it came from the one before.
    #[serde(default)]
    pub kind: String,
    /// When.
    pub created: Option<Time>,
    /// Who uploaded it.
    #[serde(default)]
    pub uploader: Account,
    /// Its commit (`CURRENT_COMMIT`, `ALL_COMMITS`).
    pub commit: Option<CommitInfo>,
}

/// A commit.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct CommitInfo {
    /// Its parents.
    pub parents: Vec<CommitParent>,
    /// Who wrote it.
    pub author: Option<Person>,
    /// Who made it this commit.
    pub committer: Option<Person>,
    /// First line of the message.
    pub subject: String,
    /// The whole message.
    pub message: String,
}

/// A commit's parent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct CommitParent {
    /// Its hash.
    pub commit: String,
    /// First line of its message.
    pub subject: String,
}

/// A person as a commit names them.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Person {
    /// Name.
    #[serde(default)]
    pub name: String,
    /// Address.
    #[serde(default)]
    pub email: String,
    /// When.
    pub date: Time,
    /// Minutes east of UTC.
    #[serde(default)]
    pub tz: i32,
}

/// A message on a change.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct ChangeMessage {
    /// Its id: the hash of the meta commit that it is in.
    #[serde(default)]
    pub id: String,
    /// Who; `None`: Gerrit itself.
    pub author: Option<Account>,
    /// When.
    pub date: Time,
    /// Text.
    #[serde(default)]
    pub message: String,
    /// Marks what machines write.
    pub tag: Option<String>,
    /// Patch set that it was written on.
    #[serde(rename = "_revision_number")]
    pub revision_number: Option<i32>,
}

/// An inline comment.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Comment {
    /// Its id.
    #[serde(default)]
    pub id: String,
    /// Patch set that it was written on.
    pub patch_set: Option<i32>,
    /// The line; `None`: the whole file.
    pub line: Option<i32>,
    /// Id of the comment that it answers.
    pub in_reply_to: Option<String>,
    /// Text.
    #[serde(default)]
    pub message: String,
    /// When it was written or last changed.
    pub updated: Time,
    /// Who.
    pub author: Option<Account>,
    /// Marks what machines write.
    pub tag: Option<String>,
    /// Whether something is still to be done.
    #[serde(default)]
    pub unresolved: bool,
    /// Hash of the patch set.
    pub commit_id: Option<String>,
}

/// A project.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Project {
    /// Its identifier in addresses, encoded already.
    pub id: String,
    /// Its name; set from the list's key when the entry has none.
    pub name: String,
    /// `ACTIVE`, `READ_ONLY`, `HIDDEN`.
    pub state: String,
    /// What it is.
    pub description: String,
    #[serde(rename = "_more_projects")]
    pub(crate) more_projects: bool,
}

/// A branch.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Branch {
    /// Full name, or `HEAD`.
    #[serde(rename = "ref")]
    pub reference: String,
    /// Hash of its tip; of `HEAD` the name of the branch that it stands for.
    pub revision: String,
}

/// A tag.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Tag {
    /// Full name.
    #[serde(rename = "ref")]
    pub reference: String,
    /// Hash that the reference has.
    pub revision: String,
    /// Of an annotated tag, the hash of what it points to.
    pub object: Option<String>,
    /// Of an annotated tag, its text.
    #[serde(default)]
    pub message: String,
}
