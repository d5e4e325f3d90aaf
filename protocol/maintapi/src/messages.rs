//! The messages of package `apipb`, proto3.

/// Whether a commit is in the history of another.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub struct HasAncestorRequest {
    /// The one whose history is searched: 40 hex digits.
    #[prost(string, tag = "1")]
    pub commit: String,
    /// The one that is looked for: 40 hex digits.
    #[prost(string, tag = "2")]
    pub ancestor: String,
}

/// Answer to [`HasAncestorRequest`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, prost::Message)]
pub struct HasAncestorResponse {
    /// It is.
    #[prost(bool, tag = "1")]
    pub has_ancestor: bool,
    /// `commit` is not known (yet).
    #[prost(bool, tag = "2")]
    pub unknown_commit: bool,
}

/// What a reference points at.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub struct GetRefRequest {
    /// `HEAD`, `refs/heads/master` and so on.
    #[prost(string, tag = "1")]
    pub r#ref: String,
    /// Host of the Gerrit server, or its URL.
    #[prost(string, tag = "2")]
    pub gerrit_server: String,
    /// Project on that server.
    #[prost(string, tag = "3")]
    pub gerrit_project: String,
}

/// Answer to [`GetRefRequest`].
#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub struct GetRefResponse {
    /// A commit's name; empty if there is no such reference.
    #[prost(string, tag = "1")]
    pub value: String,
}

/// Which changes want a try run.
#[derive(Clone, Copy, PartialEq, Eq, Hash, prost::Message)]
pub struct GoFindTryWorkRequest {
    /// Once meant another set of changes; ignored.
    #[prost(bool, tag = "1")]
    pub for_staging: bool,
}

/// Answer to [`GoFindTryWorkRequest`].
#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub struct GoFindTryWorkResponse {
    /// The changes, sorted by commit.
    #[prost(message, repeated, tag = "1")]
    pub waiting: Vec<GerritTryWorkItem>,
}

/// A change that wants a try run.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub struct GerritTryWorkItem {
    /// Project on the Gerrit server.
    #[prost(string, tag = "1")]
    pub project: String,
    /// Branch, without `refs/heads/`.
    #[prost(string, tag = "2")]
    pub branch: String,
    /// `I` and 40 hex digits.
    #[prost(string, tag = "3")]
    pub change_id: String,
    /// The newest patch set's commit.
    #[prost(string, tag = "4")]
    pub commit: String,
    /// For other than the main project: commits of the main project to test it with.
    #[prost(string, repeated, tag = "5")]
    pub go_commit: Vec<String>,
    /// The branch of each of them.
    #[prost(string, repeated, tag = "6")]
    pub go_branch: Vec<String>,
    /// The version of each of them. For the main project itself: its one version.
    #[prost(message, repeated, tag = "7")]
    pub go_version: Vec<MajorMinor>,
    /// What voters asked for, oldest first.
    #[prost(message, repeated, tag = "8")]
    pub try_message: Vec<TryVoteMessage>,
    /// Number of the newest patch set.
    #[prost(int32, tag = "9")]
    pub version: i32,
    /// Mail of the change's owner.
    #[prost(string, tag = "10")]
    pub author_email: String,
}

/// `TRY=…` in a comment that came with a vote.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub struct TryVoteMessage {
    /// The rest of the line.
    #[prost(string, tag = "1")]
    pub message: String,
    /// Gerrit's number of the voter.
    #[prost(int64, tag = "2")]
    pub author_id: i64,
    /// Patch set that it was said about.
    #[prost(int32, tag = "3")]
    pub version: i32,
}

/// A version without its patch number.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Message)]
pub struct MajorMinor {
    /// First number.
    #[prost(int32, tag = "1")]
    pub major: i32,
    /// Second number.
    #[prost(int32, tag = "2")]
    pub minor: i32,
}

/// Which releases are supported.
#[derive(Clone, Copy, PartialEq, Eq, Hash, prost::Message)]
pub struct ListGoReleasesRequest {}

/// Answer to [`ListGoReleasesRequest`].
#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub struct ListGoReleasesResponse {
    /// The newest patch of each, newest version first.
    #[prost(message, repeated, tag = "1")]
    pub releases: Vec<GoRelease>,
}

/// A release.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub struct GoRelease {
    /// First number of its version.
    #[prost(int32, tag = "1")]
    pub major: i32,
    /// Second number.
    #[prost(int32, tag = "2")]
    pub minor: i32,
    /// Third number.
    #[prost(int32, tag = "3")]
    pub patch: i32,
    /// `go1.11.1`.
    #[prost(string, tag = "4")]
    pub tag_name: String,
    /// What the tag points at.
    #[prost(string, tag = "5")]
    pub tag_commit: String,
    /// `release-branch.go1.11`.
    #[prost(string, tag = "6")]
    pub branch_name: String,
    /// Head of that branch.
    #[prost(string, tag = "7")]
    pub branch_commit: String,
}

/// A page of a project's history.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub struct DashboardRequest {
    /// Number of the page, from zero.
    #[prost(int32, tag = "1")]
    pub page: i32,
    /// Import path of the project; empty for the main one.
    #[prost(string, tag = "2")]
    pub repo: String,
    /// Branch; empty for the main one, `mixed` for all together.
    #[prost(string, tag = "3")]
    pub branch: String,
    /// Size of a page; zero for the usual one.
    #[prost(int32, tag = "4")]
    pub max_commits: i32,
}

/// Answer to [`DashboardRequest`].
#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub struct DashboardResponse {
    /// The commits, newest first.
    #[prost(message, repeated, tag = "1")]
    pub commits: Vec<DashCommit>,
    /// Head of the main branch of every project.
    #[prost(message, repeated, tag = "2")]
    pub repo_heads: Vec<DashRepoHead>,
    /// Branches of the main project.
    #[prost(string, repeated, tag = "3")]
    pub branches: Vec<String>,
    /// The main branch (name and commit only), then the supported releases.
    #[prost(message, repeated, tag = "4")]
    pub releases: Vec<GoRelease>,
    /// There are more commits than these.
    #[prost(bool, tag = "5")]
    pub commits_truncated: bool,
}

/// A commit in a history.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub struct DashCommit {
    /// Its name.
    #[prost(string, tag = "1")]
    pub commit: String,
    /// Who wrote it.
    #[prost(string, tag = "2")]
    pub author_name: String,
    /// Mail of who wrote it.
    #[prost(string, tag = "3")]
    pub author_email: String,
    /// When it was committed: Unix seconds.
    #[prost(int64, tag = "4")]
    pub commit_time_sec: i64,
    /// First line of its message.
    #[prost(string, tag = "5")]
    pub title: String,
    /// For other than the main project: head of the main project's main branch at that time.
    #[prost(string, tag = "6")]
    pub go_commit_at_time: String,
    /// Branch it was found on.
    #[prost(string, tag = "7")]
    pub branch: String,
    /// For other than the main project: head of the main project's main branch just before the next newer commit.
    #[prost(string, tag = "8")]
    pub go_commit_latest: String,
}

/// Head of a project's main branch.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub struct DashRepoHead {
    /// The project on its server.
    #[prost(string, tag = "1")]
    pub gerrit_project: String,
    /// The commit.
    #[prost(message, optional, tag = "2")]
    pub commit: Option<DashCommit>,
}
