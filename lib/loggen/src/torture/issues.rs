//! Odd issues, pull requests, labels, milestones, users.

use protocol_mutlog::schema::{
    GithubCommit, GithubDismissedReviewEvent, GithubIssueCommentMutation as Comment, GithubIssueEvent as Event, GithubIssueMutation as Issue,
    GithubIssueSyncStatus, GithubMilestone as Milestone, GithubMutation, GithubReview as Review, GithubTeam, GithubUser, Mutation, Timestamp,
};

use super::{Log, about, at, id, label, set, unknown_fields, user, words};

pub(super) fn all(log: &mut Log) {
    lists(log);
    bodies(log);
    milestones(log);
    labels(log);
    people(log);
    tombstones(log);
    states(log);
    comments(log);
    events(log);
    reviews(log);
    unknown(log);
}

fn status(seconds: i64) -> Option<GithubIssueSyncStatus> {
    Some(GithubIssueSyncStatus { server_date: at(seconds), ..Default::default() })
}

/// A later mutation of an issue: it has no moment of birth.
fn again(number: i32) -> Issue {
    Issue { created: None, ..about(number) }
}

fn lists(log: &mut Log) {
    let mut put = |repo: &str, labels, milestones| {
        log.put(Mutation {
            github: Some(GithubMutation { owner: b"golang".into(), repo: repo.into(), labels, milestones, ..Default::default() }),
            ..Default::default()
        });
    };
    let milestone = |id, title: &str, number, closed| Milestone { id, title: title.into(), number, closed, ..Default::default() };
    put("go", vec![label(1, "NeedsFix"), label(2, "OS-Windows"), label(3, "")], vec![milestone(11, "Go1.1", 1, set(false)), milestone(12, "Go1.2", 2, None)]);
    // Renamed, named at last, left alone.
    put("go", vec![label(2, "OS-Plan9"), label(3, "late name"), label(1, "")], vec![milestone(11, "Go1.1-renamed", 0, set(true)), milestone(12, "", 22, None)]);
    put("go", Vec::new(), vec![milestone(11, "", 0, set(false)), milestone(13, "", 0, None)]);
    put("go", vec![label(4, "twice"), label(4, "twice renamed")], Vec::new());
    // The same id elsewhere is another label; capitals are another repository.
    put("tools", vec![label(1, "of tools")], Vec::new());
    put("Go", vec![label(1, "of capitals")], Vec::new());
    put("", vec![label(1, "of nothing")], Vec::new());
}

fn bodies(log: &mut Log) {
    // The old form sets and cannot clear.
    log.issue(Issue { body: b"old form".into(), title: b"bodies".into(), ..about(1) });
    log.issue(Issue { body: Vec::new(), ..again(1) });
    log.issue(Issue { body: b"old form".into(), ..about(2) });
    log.issue(Issue { body_change: words("new form"), ..again(2) });
    log.issue(Issue { body: b"old form".into(), ..about(3) });
    log.issue(Issue { body_change: words(""), ..again(3) });
    // Both at once: the new form wins, also when it clears.
    log.issue(Issue { body: b"old".into(), body_change: words("new"), ..about(4) });
    log.issue(Issue { body: b"old".into(), body_change: words(""), ..about(5) });
    log.issue(Issue { body_change: words("new form"), ..about(6) });
    log.issue(Issue { body: b"old form afterwards".into(), ..again(6) });
    log.issue(Issue { body_change: words("😕 \u{0} \u{1f} \u{2028} \"\\ <b>\r\n\t"), title: "tïtle → 😕".into(), ..about(7) });
    log.issue(Issue { title: b"before".into(), body_change: words(&"long ".repeat(20_000)), ..about(8) });
    log.issue(Issue { title: b"after".into(), ..again(8) });
    log.issue(Issue { title: Vec::new(), ..again(8) });
}

fn milestones(log: &mut Log) {
    log.issue(Issue { milestone_id: 11, ..about(21) });
    log.issue(Issue { no_milestone: true, ..again(21) });
    log.issue(Issue { no_milestone: true, ..about(22) });
    log.issue(Issue { milestone_id: 12, ..again(22) });
    // Clearing wins over setting, and then the milestone is not made either.
    log.issue(Issue { no_milestone: true, milestone_id: 19, milestone_title: b"never".into(), ..about(23) });
    // A milestone that an issue tells about, with new words.
    log.issue(Issue { milestone_id: 14, milestone_num: 4, milestone_title: b"told by an issue".into(), ..about(24) });
    log.issue(Issue { milestone_id: 14, milestone_title: b"renamed by an issue".into(), ..again(24) });
    // Number and title without an id say nothing.
    log.issue(Issue { milestone_num: 5, milestone_title: b"no id".into(), ..about(25) });
}

fn labels(log: &mut Log) {
    log.issue(Issue { add_label: vec![label(1, "NeedsFix"), label(5, "of an issue"), label(2, "")], ..about(31) });
    // Removal comes first: what is removed and added is there.
    log.issue(Issue { remove_label: vec![1, 5, 77], add_label: vec![label(1, "NeedsFix renamed")], ..again(31) });
    log.issue(Issue { remove_label: vec![2], ..about(32) });
    log.issue(Issue { add_label: vec![label(6, "one"), label(6, "two")], ..about(33) });
    log.issue(Issue { add_label: (100..140).map(|each| label(200 - each, &format!("of many {each}"))).collect(), ..about(34) });
}

fn people(log: &mut Log) {
    log.issue(Issue { user: user(7, "old-name"), assignees: user(8, "eight").into_iter().chain(user(9, "nine")).chain(user(10, "")).collect(), ..about(41) });
    // Names are global: 7 is called otherwise everywhere from now on.
    log.issue(Issue { user: user(7, "new-name"), ..about(42) });
    log.issue(Issue { user: user(7, ""), ..about(43) });
    // Assigned again: renamed or left; then gone, in the order of the list.
    log.issue(Issue { assignees: user(8, "acht").into_iter().chain(user(9, "")).collect(), ..again(41) });
    log.issue(Issue { deleted_assignees: vec![9, 12345], ..again(41) });
    log.issue(Issue { assignees: user(9, "nine-again").into_iter().collect(), deleted_assignees: vec![8], ..again(41) });
    // Added and removed in one go is removed.
    log.issue(Issue { assignees: user(11, "eleven").into_iter().collect(), deleted_assignees: vec![11], ..about(44) });
    log.issue(Issue { user: user(12, "zwölf-😕"), ..about(45) });
    // Known by their numbers alone.
    log.issue(Issue { event: vec![Event { id: 4_600, event_type: b"mentioned".into(), actor_id: 13, ..Default::default() }], ..about(46) });
    log.issue(Issue { user: user(13, "named later"), ..about(47) });
}

fn tombstones(log: &mut Log) {
    log.issue(Issue { title: b"to be buried".into(), comment: vec![Comment { id: 510, body: b"stays underneath".into(), ..Default::default() }], ..about(51) });
    // What else a tombstone carries is not looked at.
    log.issue(Issue { not_exist: true, title: b"not taken".into(), closed: set(true), ..again(51) });
    log.issue(Issue { not_exist: true, title: b"still buried".into(), ..again(51) });
    log.issue(Issue { title: b"buried".into(), ..about(52) });
    log.issue(Issue { not_exist: true, ..again(52) });
    log.issue(Issue { updated: at(1_500_000_000), ..again(52) });
    // First seen as a tombstone; revived, it has no birthday even if one is told.
    log.issue(Issue { not_exist: true, id: 5_300, title: b"unseen".into(), ..again(53) });
    log.issue(Issue { title: b"revived".into(), id: 5_301, user: user(7, ""), ..about(53) });
    log.issue(Issue { not_exist: true, ..about(54) });
    // In another repository, and in a pull request with everything.
    log.issue(Issue { repo: b"tools".into(), not_exist: true, ..again(55) });
    log.issue(Issue { pull_request: true, comment_status: status(9), event_status: status(9), review_status: status(9), ..about(56) });
    log.issue(Issue { not_exist: true, ..again(56) });
}

fn states(log: &mut Log) {
    log.issue(Issue { closed: set(false), locked: set(false), ..about(61) });
    log.issue(Issue { closed: set(true), closed_at: at(1_500_000_001), closed_by: user(14, "closer"), locked: set(true), ..again(61) });
    // Open again: the moment of closing stays.
    log.issue(Issue { closed: set(false), locked: set(false), ..again(61) });
    log.issue(Issue { pull_request: true, ..about(62) });
    log.issue(Issue { pull_request: false, id: 6_200, ..again(62) });
    log.issue(Issue { id: 6_300, updated: at(1_500_000_009), ..about(63) });
    // Nobody asks whether news is older than what is known.
    log.issue(Issue { id: 6_301, updated: at(1_400_000_009), created: at(1), ..again(63) });
    log.issue(Issue {
        created: Some(Timestamp::new(-1, 999_999_999)),
        updated: Some(Timestamp::new(253_402_300_799, 1)),
        closed_at: Some(Timestamp::new(0, 0)),
        ..about(64)
    });
    log.issue(Issue { created: Some(Timestamp::default()), updated: Some(Timestamp::default()), ..about(65) });
    log.issue(Issue { created: at(1), ..about(2_147_483_647) });
}

fn comments(log: &mut Log) {
    let said =
        |id, body: &str| Comment { id, user: user(7, ""), body: body.into(), created: at(1_500_000_000), updated: at(1_500_000_000), ..Default::default() };
    log.issue(Issue {
        comment: vec![said(711, "first"), said(712, "second"), said(0, "no id"), said(710, "earlier id")],
        comment_status: status(1_500_000_005),
        ..about(71)
    });
    // An edit; one without a body, which cannot clear; one that only changes the author's name.
    log.issue(Issue { comment: vec![Comment { id: 711, body: b"edited".into(), updated: at(1_500_000_010), ..Default::default() }], ..again(71) });
    log.issue(Issue { comment: vec![Comment { id: 712, updated: at(1_500_000_020), ..Default::default() }], ..again(71) });
    log.issue(Issue { comment: vec![Comment { id: 710, user: user(7, "renamed-by-comment"), ..Default::default() }], ..again(71) });
    // Twice in one mutation; an edit of what is not known.
    log.issue(Issue { comment: vec![said(721, "once"), said(721, "twice")], ..about(72) });
    log.issue(Issue { comment: vec![Comment { id: 722, updated: at(-1), ..Default::default() }], ..again(72) });
    // The same id in two issues.
    log.issue(Issue { comment: vec![said(711, "elsewhere")], ..about(73) });
    // An empty status changes nothing; an older one does.
    log.issue(Issue { comment_status: Some(GithubIssueSyncStatus::default()), ..again(71) });
    log.issue(Issue { comment_status: status(1_400_000_000), ..again(71) });
    log.issue(Issue { comment: (0..150).map(|each| said(7_400 + each, "of many")).collect(), ..about(74) });
}

fn events(log: &mut Log) {
    let event = |id: i64, event_type: &str| Event { id, event_type: event_type.into(), actor_id: 8, created: at(1_500_000_000 + id), ..Default::default() };
    let team = |id, slug: &str| Some(GithubTeam { id, slug: slug.into(), ..Default::default() });
    let commit = |owner: &str, commit_id: &str| {
        Some(GithubCommit {
            owner: owner.into(),
            repo: if owner.is_empty() { Vec::new() } else { b"go".into() },
            commit_id: commit_id.into(),
            ..Default::default()
        })
    };
    let all = vec![
        Event { label: Some(label(0, "NeedsFix")), ..event(8_101, "labeled") },
        Event { label: Some(label(1, "OS-😕")), ..event(8_102, "unlabeled") },
        Event { milestone: Some(Milestone { title: b"Go1.1".into(), ..Default::default() }), ..event(8_103, "milestoned") },
        Event { milestone: Some(Milestone::default()), ..event(8_104, "demilestoned") },
        Event { assignee_id: 9, assigner_id: 15, ..event(8_105, "assigned") },
        Event { assignee_id: 9, ..event(8_106, "unassigned") },
        event(8_107, "locked"),
        event(8_108, "unlocked"),
        Event { commit: commit("golang", id("root").text()), ..event(8_109, "closed") },
        Event { actor_id: 0, ..event(8_110, "reopened") },
        Event { commit: commit("", "not a hash"), ..event(8_111, "referenced") },
        Event { commit: commit("golang", ""), ..event(8_112, "referenced") },
        Event { rename_from: b"from".into(), rename_to: "tö".into(), ..event(8_113, "renamed") },
        event(8_114, "comment_deleted"),
        event(8_115, "head_ref_restored"),
        event(8_116, "base_ref_changed"),
        event(8_117, "subscribed"),
        event(8_118, "mentioned"),
        Event { reviewer_id: 9, review_requester_id: 16, ..event(8_119, "review_requested") },
        Event { team_reviewer: team(1, "first-slug"), review_requester_id: 8, ..event(8_120, "review_requested") },
        Event { reviewer_id: 9, ..event(8_121, "review_request_removed") },
        Event {
            dismissed_review: Some(GithubDismissedReviewEvent {
                review_id: 9_101,
                dismissal_message: b"no more".into(),
                state: b"approved".into(),
                ..Default::default()
            }),
            ..event(8_122, "review_dismissed")
        },
        Event { other_json: br#"{"new":{"from":"GitHub"}}"#.into(), ..event(8_123, "of a new kind") },
        // JSON is bytes, and need be neither JSON nor text.
        Event { other_json: b"\xff\xfe no json".into(), ..event(8_124, "") },
        Event { created: None, ..event(8_125, "timeless") },
        event(0, "no id"),
    ];
    log.issue(Issue { event: all.clone(), event_status: status(1_600_000_000), pull_request: true, ..about(81) });
    // The same again, then one of them with other words: it is replaced whole.
    log.issue(Issue { event: all, ..again(81) });
    log.issue(Issue {
        event: vec![Event { created: at(1_600_000_000), ..Event { id: 8_105, event_type: b"replaced".into(), ..Default::default() } }],
        ..again(81)
    });
    // Out of order, and at one moment.
    let mixed = [8_205, 8_201, 8_203, 8_202].map(|id| Event { created: at(1_500_000_000 + id % 2), ..event(id, "mentioned") });
    log.issue(Issue { event: mixed.into(), ..about(82) });
    // A team that is renamed, and one without a name.
    log.issue(Issue {
        event: vec![
            Event { team_reviewer: team(1, "second-slug"), ..event(8_301, "review_requested") },
            Event { team_reviewer: team(2, ""), ..event(8_302, "x") },
        ],
        ..about(83)
    });
    log.issue(Issue {
        event: vec![Event { team_reviewer: team(1, ""), ..event(8_303, "review_requested") }],
        event_status: status(1_400_000_000),
        ..again(83)
    });
    // Twice in one mutation: the last one counts.
    log.issue(Issue { event: vec![event(8_401, "one"), event(8_401, "two")], ..about(84) });
}

fn reviews(log: &mut Log) {
    let review = |id: i64, state: &str| Review {
        id,
        actor_id: 8,
        created: at(1_500_000_000 + id),
        body: b"reviewed".into(),
        state: state.into(),
        commit_id: id_text(),
        actor_association: b"MEMBER".into(),
        ..Default::default()
    };
    let all = vec![review(9_103, "COMMENTED"), review(9_101, "APPROVED"), review(9_102, "CHANGES_REQUESTED"), review(9_104, "DISMISSED"), review(0, "NO ID")];
    log.issue(Issue { pull_request: true, review: all.clone(), review_status: status(1_600_000_000), ..about(91) });
    log.issue(Issue { review: all, ..again(91) });
    let bare = Review { id: 9_101, other_json: b"{\"more\":[1]}".into(), ..Default::default() };
    log.issue(Issue { review: vec![bare], ..again(91) });
    // Of what is no pull request.
    log.issue(Issue { review: vec![review(9_201, "COMMENTED")], review_status: status(1), ..about(92) });
}

fn id_text() -> Vec<u8> {
    id("child").0.into()
}

/// Fields that nobody knows, at every depth.
fn unknown(log: &mut Log) {
    let unknown = unknown_fields;
    let stamp = || Some(Timestamp { seconds: 1_500_000_000, nanos: 5, unknown: unknown() });
    let user = || GithubUser { id: 17, login: b"seventeen".into(), unknown: unknown() };
    let mut issue = Issue { user: Some(user()), created: stamp(), updated: stamp(), unknown: unknown(), ..about(95) };
    issue.body_change = words("body").map(|change| protocol_mutlog::schema::StringChange { unknown: unknown(), ..change });
    issue.closed = set(true).map(|change| protocol_mutlog::schema::BoolChange { unknown: unknown(), ..change });
    issue.add_label = vec![protocol_mutlog::schema::GithubLabel { unknown: unknown(), ..label(1, "NeedsFix") }];
    issue.assignees = vec![user()];
    issue.comment = vec![Comment { id: 950, user: Some(user()), body: b"x".into(), created: stamp(), updated: stamp(), unknown: unknown() }];
    issue.comment_status = Some(GithubIssueSyncStatus { server_date: stamp(), unknown: unknown() });
    issue.event = vec![Event {
        id: 951,
        event_type: b"labeled".into(),
        created: stamp(),
        label: Some(protocol_mutlog::schema::GithubLabel { unknown: unknown(), ..label(0, "x") }),
        milestone: Some(Milestone { title: b"x".into(), closed: set(true), unknown: unknown(), ..Default::default() }),
        commit: Some(GithubCommit { commit_id: b"x".into(), unknown: unknown(), ..Default::default() }),
        dismissed_review: Some(GithubDismissedReviewEvent { unknown: unknown(), ..Default::default() }),
        team_reviewer: Some(GithubTeam { id: 3, slug: b"x".into(), unknown: unknown() }),
        unknown: unknown(),
        ..Default::default()
    }];
    issue.review = vec![Review { id: 952, created: stamp(), unknown: unknown(), ..Default::default() }];
    log.put(Mutation { github_issue: Some(issue), unknown: unknown(), ..Default::default() });
    let mut commit = super::Commit::new("unknown", "all: fields of the future\n").build();
    commit.unknown = unknown();
    commit.diff_tree = Some(protocol_mutlog::schema::GitDiffTree {
        file: vec![protocol_mutlog::schema::GitDiffTreeFile { unknown: unknown(), ..super::file("x", 1, 1) }],
        unknown: unknown(),
    });
    let mut reference = super::git_ref("refs/heads/unknown", id("unknown"));
    reference.unknown = unknown();
    let gerrit = protocol_mutlog::schema::GerritMutation {
        project: super::GO.into(),
        commits: vec![commit],
        refs: vec![reference],
        unknown: unknown(),
        ..Default::default()
    };
    let lists = GithubMutation {
        owner: b"golang".into(),
        repo: b"go".into(),
        milestones: vec![Milestone { id: 15, title: b"unknown".into(), unknown: unknown(), ..Default::default() }],
        unknown: unknown(),
        ..Default::default()
    };
    log.put(Mutation { github: Some(lists), gerrit: Some(gerrit), ..Default::default() });
}
