//! Every message of package `maintpb` (`spec/maintner.md` §3). Strings are bytes: old logs need not be UTF-8. An absent number, text or list means "no change".

messages! {
    /// A moment.
    Timestamp {
        /// Unix seconds.
        1 seconds: int64,
        /// Nanoseconds within the second.
        2 nanos: int32,
    }

    /// One record of the log: a change.
    Mutation {
        /// A change to one issue or pull request.
        1 github_issue: message GithubIssueMutation,
        /// A commit of a plain git repository.
        2 git: message GitMutation,
        /// Labels and milestones of a repository.
        3 github: message GithubMutation,
        /// Commits and references of a Gerrit project.
        4 gerrit: message GerritMutation,
    }

    /// Labels and milestones of a repository.
    GithubMutation {
        /// Owner.
        1 owner: bytes,
        /// Name.
        2 repo: bytes,
        /// Labels; each needs an id.
        3 labels: messages GithubLabel,
        /// Milestones; each needs an id.
        4 milestones: messages GithubMilestone,
    }

    /// A change to one issue or pull request.
    GithubIssueMutation {
        /// Owner of the repository.
        1 owner: bytes,
        /// Name of the repository.
        2 repo: bytes,
        /// Number within the repository; 0 is ignored.
        3 number: int32,
        /// Author.
        4 user: message GithubUser,
        /// When it was made; required in the first mutation of an issue.
        5 created: message Timestamp,
        /// When it was last changed.
        6 updated: message Timestamp,
        /// Older form of the body: cannot clear it.
        7 body: bytes,
        /// Comments, new or changed.
        8 comment: messages GithubIssueCommentMutation,
        /// Title.
        9 title: bytes,
        /// Assignees to add or rename.
        10 assignees: messages GithubUser,
        /// Ids of assignees to remove.
        11 deleted_assignees: int64s,
        /// GitHub's id; honoured on creation only.
        12 id: int64,
        /// There is no such issue (any more).
        13 not_exist: bool,
        /// Comments are complete as of then.
        14 comment_status: message GithubIssueSyncStatus,
        /// It has no milestone now.
        15 no_milestone: bool,
        /// Its milestone now.
        16 milestone_id: int64,
        /// Number of that milestone.
        17 milestone_num: int64,
        /// Title of that milestone.
        18 milestone_title: bytes,
        /// Closed or open.
        19 closed: message BoolChange,
        /// When it was closed.
        21 closed_at: message Timestamp,
        /// Who closed it.
        22 closed_by: message GithubUser,
        /// Ids of labels to remove.
        23 remove_label: int64s,
        /// Labels to add.
        24 add_label: messages GithubLabel,
        /// Locked or not.
        25 locked: message BoolChange,
        /// Events.
        26 event: messages GithubIssueEvent,
        /// Events are complete as of then.
        27 event_status: message GithubIssueSyncStatus,
        /// It is a pull request.
        28 pull_request: bool,
        /// Reviews.
        29 review: messages GithubReview,
        /// Reviews are complete as of then.
        30 review_status: message GithubIssueSyncStatus,
        /// The body; may clear it.
        31 body_change: message StringChange,
    }

    /// A change of a boolean; being there is the change.
    BoolChange {
        /// The new value.
        1 val: bool,
    }

    /// A change of a text; being there is the change.
    StringChange {
        /// The new value.
        1 val: bytes,
    }

    /// A label.
    GithubLabel {
        /// GitHub's id.
        1 id: int64,
        /// Name.
        2 name: bytes,
    }

    /// A milestone.
    GithubMilestone {
        /// GitHub's id.
        1 id: int64,
        /// Title.
        2 title: bytes,
        /// Closed or open.
        3 closed: message BoolChange,
        /// Number within the repository.
        4 number: int64,
    }

    /// Something that happened to an issue.
    GithubIssueEvent {
        /// GitHub's id; 0 is ignored.
        1 id: int64,
        /// What happened: `labeled`, `closed` and so on, or anything new.
        2 event_type: bytes,
        /// Who did it.
        3 actor_id: int64,
        /// When.
        4 created: message Timestamp,
        /// The label (name only).
        5 label: message GithubLabel,
        /// The milestone (title only).
        6 milestone: message GithubMilestone,
        /// Who was assigned.
        7 assignee_id: int64,
        /// Who assigned.
        8 assigner_id: int64,
        /// The commit that referenced or closed.
        9 commit: message GithubCommit,
        /// JSON object of what is in no other field.
        10 other_json: bytes,
        /// Title before.
        11 rename_from: bytes,
        /// Title after.
        12 rename_to: bytes,
        /// Whose review was asked for.
        13 reviewer_id: int64,
        /// Who asked for it.
        14 review_requester_id: int64,
        /// The review that was dismissed.
        15 dismissed_review: message GithubDismissedReviewEvent,
        /// The team whose review was asked for.
        16 team_reviewer: message GithubTeam,
    }

    /// A review was dismissed.
    GithubDismissedReviewEvent {
        /// Which.
        1 review_id: int64,
        /// Why.
        3 dismissal_message: bytes,
        /// Its state before.
        4 state: bytes,
    }

    /// A commit on GitHub.
    GithubCommit {
        /// Owner of the repository.
        1 owner: bytes,
        /// Name of the repository.
        2 repo: bytes,
        /// Its hash in hex.
        3 commit_id: bytes,
    }

    /// A review of a pull request.
    GithubReview {
        /// GitHub's id; 0 is ignored.
        1 id: int64,
        /// Who.
        2 actor_id: int64,
        /// When.
        3 created: message Timestamp,
        /// Text.
        4 body: bytes,
        /// `COMMENTED`, `APPROVED`, `CHANGES_REQUESTED`.
        5 state: bytes,
        /// What was reviewed.
        6 commit_id: bytes,
        /// What the actor is to the repository.
        7 actor_association: bytes,
        /// JSON object of what is in no other field.
        8 other_json: bytes,
    }

    /// How far a list has been read.
    GithubIssueSyncStatus {
        /// The server's time of the last answer.
        1 server_date: message Timestamp,
    }

    /// A comment, new or changed.
    GithubIssueCommentMutation {
        /// GitHub's id; 0 is ignored.
        1 id: int64,
        /// Author; absent in edits.
        2 user: message GithubUser,
        /// Text.
        3 body: bytes,
        /// When it was made; absent in edits.
        4 created: message Timestamp,
        /// When it was changed.
        5 updated: message Timestamp,
    }

    /// A user.
    GithubUser {
        /// GitHub's id.
        1 id: int64,
        /// Login; empty: unchanged.
        2 login: bytes,
    }

    /// A team.
    GithubTeam {
        /// GitHub's id.
        1 id: int64,
        /// Short name; empty: unchanged.
        2 slug: bytes,
    }

    /// A commit of a plain git repository.
    GitMutation {
        /// The repository; ignored when applied.
        1 repo: message GitRepo,
        /// The commit.
        2 commit: message GitCommit,
    }

    /// A plain git repository.
    GitRepo {
        /// Its name among Go's.
        1 go_repo: bytes,
    }

    /// A commit.
    GitCommit {
        /// Hash, 40 hex digits.
        1 sha1: bytes,
        /// What `git cat-file commit` prints.
        2 raw: bytes,
        /// What it changes against its parent.
        3 diff_tree: message GitDiffTree,
    }

    /// What a commit changes.
    GitDiffTree {
        /// Files.
        1 file: messages GitDiffTreeFile,
    }

    /// A line of `git diff-tree --numstat`.
    GitDiffTreeFile {
        /// Path.
        1 file: bytes,
        /// Lines added.
        2 added: int64,
        /// Lines deleted.
        3 deleted: int64,
        /// It is no text.
        4 binary: bool,
    }

    /// Commits and references of a Gerrit project.
    GerritMutation {
        /// `host/project`, without a scheme.
        1 project: bytes,
        /// New commits.
        2 commits: messages GitCommit,
        /// References, new or moved.
        3 refs: messages GitRef,
        /// References that are gone.
        4 deleted_refs: strings,
    }

    /// A reference.
    GitRef {
        /// Its name, such as `refs/changes/00/14700/meta`.
        1 ref_name: bytes,
        /// Hash, 40 hex digits.
        2 sha1: bytes,
    }
}

impl Timestamp {
    /// From Unix seconds and nanoseconds.
    pub fn new(seconds: i64, nanos: i32) -> Timestamp {
        Timestamp { seconds, nanos, unknown: Vec::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::WireError;

    #[test]
    fn what_is_encoded_can_be_read() {
        let issue = GithubIssueMutation {
            owner: b"golang".to_vec(),
            repo: b"go".to_vec(),
            number: -1,
            created: Some(Timestamp::new(-5, 7)),
            comment: vec![
                GithubIssueCommentMutation { id: 3, ..Default::default() },
                GithubIssueCommentMutation { id: 4, body: vec![0xff], ..Default::default() },
            ],
            deleted_assignees: vec![1, -2, i64::MAX],
            closed: Some(BoolChange::default()),
            ..Default::default()
        };
        let bytes = Mutation { github_issue: Some(issue.clone()), ..Default::default() }.encode();
        let read = view::Mutation::decode(&bytes).unwrap().github_issue.unwrap();
        assert_eq!((read.number, read.comment.iter().map(|comment| comment.id).collect::<Vec<_>>()), (-1, vec![3, 4]));
        assert!(read.closed.is_some_and(|change| !change.val), "being there is the change");
        assert_eq!(GithubIssueMutation::from(read), issue);
    }

    #[test]
    fn lists_of_numbers_are_read_packed_and_plain() {
        let bytes = [0x58, 5, 0x5a, 2, 6, 7, 0x58, 8];
        let read = view::GithubIssueMutation::decode(&bytes).unwrap();
        assert_eq!(read.deleted_assignees.iter().collect::<Vec<_>>(), [5, 6, 7, 8]);
    }

    #[test]
    fn unknown_fields_are_kept() {
        // Field 1000, a text; field 2 with the wire type of a number; then field 2 as it should be.
        let bytes = [0xc2, 0x3e, 2, b'h', b'i', 0x10, 1, 0x12, 1, b'x'];
        let read = view::GithubUser::decode(&bytes).unwrap();
        let owned = GithubUser::from(read);
        assert_eq!(owned.login, b"x");
        assert_eq!(owned.unknown, bytes[..5], "a known number of another form is no change and is not kept");
        assert_eq!(GithubUser::from(view::GithubUser::decode(&owned.encode()).unwrap()), owned);
    }

    #[test]
    fn damage_is_noticed_however_deep() {
        let mutation = Mutation {
            gerrit: Some(GerritMutation {
                commits: vec![GitCommit {
                    diff_tree: Some(GitDiffTree { file: vec![GitDiffTreeFile { file: b"abc".to_vec(), ..Default::default() }], ..Default::default() }),
                    ..Default::default()
                }],
                ..Default::default()
            }),
            ..Default::default()
        };
        let bytes = mutation.encode();
        for end in 1..bytes.len() {
            assert_eq!(view::Mutation::decode(&bytes[..end]).err(), Some(WireError::Truncated), "cut at {end}");
        }
        let twice = [bytes.clone(), bytes].concat();
        assert_eq!(view::Mutation::decode(&twice).err(), Some(WireError::Twice(4)));
    }
}
