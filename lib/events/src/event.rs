//! What an event says.

use jiff::Timestamp;
use serde::Deserialize;

/// What a source has to say, before the log gave it a number and a time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Draft {
    /// Name of the source, as configured.
    pub source: String,
    /// What it is about: `github:owner/repo`, `gerrit:host/project`, `git:host/path`.
    pub topics: Vec<String>,
    /// Something on a Gerrit server.
    pub gerrit: Option<Gerrit>,
    /// Something on GitHub that has an issue or a pull request.
    pub github: Option<Github>,
    /// A reference of a git repository moved.
    pub push: Option<Push>,
    /// An issue, merge request or change of any forge.
    pub change: Option<Change>,
    /// What the sender calls this delivery. A second one of the same name is not appended again.
    pub delivery: Option<String>,
}

/// An event. What the reference knows is `time`, `gerrit` and `github` (`spec/pubsubhelper.md` §3.4); the rest rides in further keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Its number in the log: larger than that of every event before it, not always by one. 0: it came from a reference pubsubhelper, which has none.
    pub id: u64,
    /// When it was received; later than every event before it.
    pub time: Timestamp,
    /// Name of the source; empty from a reference pubsubhelper.
    pub source: String,
    /// What it is about. From a reference pubsubhelper, made from `gerrit` and `github`.
    pub topics: Vec<String>,
    /// Something on a Gerrit server.
    pub gerrit: Option<Gerrit>,
    /// Something on GitHub that has an issue or a pull request.
    pub github: Option<Github>,
    /// A reference of a git repository moved.
    pub push: Option<Push>,
    /// An issue, merge request or change of any forge.
    pub change: Option<Change>,
}

impl Event {
    /// The event that a draft becomes.
    pub fn new(id: u64, time: Timestamp, draft: Draft) -> Event {
        let Draft { source, topics, gerrit, github, push, change, delivery: _ } = draft;
        Event { id, time, source, topics, gerrit, github, push, change }
    }
}

/// A hint about a Gerrit change. Keys of the reference.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Gerrit {
    /// Address of the change, without `?usp=email`.
    #[serde(rename = "URL")]
    pub url: String,
    /// The project.
    pub project: String,
    /// The commit of the patch set, never that of the notes.
    pub commit_hash: String,
    /// Number of the change; 0: not known.
    pub change_number: u64,
}

impl Gerrit {
    /// `gerrit:host/project`, with the review host's name made the git host's as the reference's consumer does (`spec/pubsubhelper.md` §6).
    pub fn topic(&self) -> String {
        let rest = self.url.split_once("//").map_or(self.url.as_str(), |(_, rest)| rest);
        let host = rest.split('/').next().unwrap_or(rest);
        format!("gerrit:{}/{}", host.replacen("-review.googlesource.com", ".googlesource.com", 1), self.project)
    }
}

/// A hint about an issue or a pull request on GitHub. Keys of the reference.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Github {
    /// What happened, in GitHub's word.
    pub action: String,
    /// Owner of the repository.
    #[serde(rename = "RepoOwner")]
    pub owner: String,
    /// Its name.
    pub repo: String,
    /// Number of the issue; 0: none. Comments on pull requests come with this one.
    #[serde(rename = "IssueNumber")]
    pub issue: u64,
    /// Number of the pull request; 0: none.
    #[serde(rename = "PullRequestNumber")]
    pub pull_request: u64,
}

impl Github {
    /// `github:owner/repo`.
    pub fn topic(&self) -> String {
        format!("github:{}/{}", self.owner, self.repo)
    }
}

/// A reference of a git repository moved, came or went.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Push {
    /// Name of the repository on its server: `owner/repo`, `group/sub/project`, `project`.
    pub repository: String,
    /// Addresses from which it can be fetched, as the forge gives them.
    #[serde(rename = "URLs")]
    pub urls: Vec<String>,
    /// The reference in full: `refs/heads/main`.
    #[serde(rename = "Ref")]
    pub reference: String,
    /// What it pointed to; empty: not known. All zeros: it did not exist.
    pub old: String,
    /// What it points to now; empty: not known. All zeros: it is gone.
    pub new: String,
}

/// An issue, merge request or change: what `gerrit` and `github` cannot say.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Change {
    /// Whose words these are: `gitlab`, `gitea`, `gerrit`, `github`, `generic`.
    pub forge: String,
    /// What it is, in the forge's word: `merge_request`, `issue`, `comment-added`.
    pub kind: String,
    /// What happened, in the forge's word; may be empty.
    pub action: String,
    /// Name of the repository on its server.
    pub repository: String,
    /// Number of the issue or change; 0: none.
    pub number: u64,
    /// Address for people; may be empty.
    #[serde(rename = "URL")]
    pub url: String,
    /// The commit proposed; may be empty.
    pub commit: String,
}
