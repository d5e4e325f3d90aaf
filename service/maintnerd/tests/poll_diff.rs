//! What is written of an issue: one case for each rule (`spec/maintner.md` §7.2, "Diff of an issue").

use std::collections::BTreeSet;

use burrow_github::{Comment, Event, Issue, Label, Milestone, Review, Time, User};
use burrow_maintner::{Corpus, Part, View};
use burrow_maintnerd::poll::github_diff::{Listed, Name, Parts, issue, repo, tombstone, whole};
use protocol_mutlog::append_record;
use protocol_mutlog::schema::{
    BoolChange, GithubIssueCommentMutation, GithubIssueMutation, GithubLabel, GithubMilestone, GithubMutation, GithubUser, Mutation, StringChange, Timestamp,
};

fn name() -> Name {
    Name::of(&"O/R".parse().unwrap())
}

fn user(id: i64, login: &str) -> User {
    User { id, login: login.to_owned() }
}

fn written(id: i64, login: &str) -> GithubUser {
    GithubUser { id, login: login.as_bytes().to_vec(), ..Default::default() }
}

fn label(id: i64, name: &str) -> Label {
    Label { id, name: name.to_owned(), ..Label::default() }
}

fn at(seconds: i64) -> Option<Time> {
    Some(Time::from_seconds(seconds))
}

fn stamp(seconds: i64) -> Option<Timestamp> {
    Some(Timestamp::new(seconds, 0))
}

/// What GitHub says of the issue that all cases are about.
fn seen() -> Issue {
    Issue {
        id: 900,
        number: 7,
        repo: None,
        title: "Title".into(),
        body: "Body".into(),
        user: Some(user(1, "ada")),
        assignees: vec![user(2, "bob")],
        labels: vec![label(10, "bug")],
        milestone: Some(Milestone { id: 20, number: 3, title: "v1".into(), closed: false }),
        closed: false,
        locked: false,
        created: at(100),
        updated: at(200),
        closed_at: None,
        closed_by: None,
        pull_request: false,
        comments: 1,
    }
}

fn base() -> GithubIssueMutation {
    GithubIssueMutation { owner: b"o".to_vec(), repo: b"r".to_vec(), number: 7, ..Default::default() }
}

/// The corpus after some mutations.
fn corpus(mutations: Vec<Mutation>) -> View {
    let mut log = Vec::new();
    for mutation in mutations {
        let offset = log.len() as u64;
        append_record(&mut log, offset, &mutation.encode());
    }
    Corpus::load(&[Part::memory("log", 0, log)], 1, &|_| {}).unwrap().view()
}

fn after(mutations: Vec<GithubIssueMutation>) -> View {
    corpus(mutations.into_iter().map(|issue| Mutation { github_issue: Some(issue), ..Default::default() }).collect())
}

fn known() -> View {
    after(vec![issue(&name(), None, &seen()).unwrap()])
}

fn in_view(view: &View) -> Option<burrow_maintner::Issue<'_>> {
    view.github().repo("o", "r")?.issue(7)
}

#[test]
fn a_new_issue_has_everything() {
    let expected = GithubIssueMutation {
        user: Some(written(1, "ada")),
        created: stamp(100),
        updated: stamp(200),
        title: b"Title".to_vec(),
        assignees: vec![written(2, "bob")],
        milestone_id: 20,
        milestone_num: 3,
        milestone_title: b"v1".to_vec(),
        closed: Some(BoolChange::default()),
        add_label: vec![GithubLabel { id: 10, name: b"bug".to_vec(), ..Default::default() }],
        body_change: Some(StringChange { val: b"Body".to_vec(), ..Default::default() }),
        ..base()
    };
    assert_eq!(issue(&name(), None, &seen()), Some(expected));
    let bare = Issue { user: None, milestone: None, locked: true, pull_request: true, ..seen() };
    let written = issue(&name(), None, &bare).unwrap();
    assert_eq!(
        (written.user, written.no_milestone, written.locked, written.pull_request),
        (None, true, Some(BoolChange { val: true, ..Default::default() }), true)
    );
}

#[test]
fn each_difference_is_written_and_nothing_else() {
    let yes = Some(BoolChange { val: true, ..Default::default() });
    let cases: Vec<(&str, Issue, Option<GithubIssueMutation>)> = vec![
        ("nothing", seen(), None),
        ("another id", Issue { id: 901, ..seen() }, None),
        ("another creation, which nobody would take", Issue { created: at(101), ..seen() }, None),
        ("updated", Issue { updated: at(201), ..seen() }, Some(GithubIssueMutation { updated: stamp(201), ..base() })),
        ("updated not said", Issue { updated: None, ..seen() }, None),
        (
            "an author with another login",
            Issue { user: Some(user(1, "ada2")), ..seen() },
            Some(GithubIssueMutation { user: Some(written(1, "ada2")), ..base() }),
        ),
        ("another author", Issue { user: Some(user(5, "ada")), ..seen() }, Some(GithubIssueMutation { user: Some(written(5, "ada")), ..base() })),
        ("an author who is gone", Issue { user: None, ..seen() }, None),
        (
            "body",
            Issue { body: "New".into(), ..seen() },
            Some(GithubIssueMutation { body_change: Some(StringChange { val: b"New".to_vec(), ..Default::default() }), ..base() }),
        ),
        ("cleared body", Issue { body: String::new(), ..seen() }, Some(GithubIssueMutation { body_change: Some(StringChange::default()), ..base() })),
        ("title", Issue { title: "New".into(), ..seen() }, Some(GithubIssueMutation { title: b"New".to_vec(), ..base() })),
        ("cleared title, which cannot be written", Issue { title: String::new(), ..seen() }, None),
        (
            "milestone",
            Issue { milestone: Some(Milestone { id: 21, number: 4, title: "v2".into(), closed: true }), ..seen() },
            Some(GithubIssueMutation { milestone_id: 21, milestone_num: 4, milestone_title: b"v2".to_vec(), ..base() }),
        ),
        ("renamed milestone", Issue { milestone: Some(Milestone { id: 20, number: 3, title: "v1.0".into(), closed: true }), ..seen() }, None),
        ("no milestone", Issue { milestone: None, ..seen() }, Some(GithubIssueMutation { no_milestone: true, ..base() })),
        (
            "assignees",
            Issue { assignees: vec![user(3, "carol")], ..seen() },
            Some(GithubIssueMutation { assignees: vec![written(3, "carol")], deleted_assignees: vec![2], ..base() }),
        ),
        (
            "renamed assignee",
            Issue { assignees: vec![user(2, "bobby")], ..seen() },
            Some(GithubIssueMutation { assignees: vec![written(2, "bobby")], ..base() }),
        ),
        (
            "labels",
            Issue { labels: vec![label(11, "help"), label(0, "without id")], ..seen() },
            Some(GithubIssueMutation {
                add_label: vec![GithubLabel { id: 11, name: b"help".to_vec(), ..Default::default() }],
                remove_label: vec![10],
                ..base()
            }),
        ),
        ("renamed label", Issue { labels: vec![label(10, "defect")], ..seen() }, None),
        (
            "closed",
            Issue { closed: true, closed_at: at(150), closed_by: Some(user(4, "dave")), ..seen() },
            Some(GithubIssueMutation { closed: yes.clone(), closed_at: stamp(150), closed_by: Some(written(4, "dave")), ..base() }),
        ),
        ("locked", Issue { locked: true, ..seen() }, Some(GithubIssueMutation { locked: yes.clone(), ..base() })),
        ("a pull request after all", Issue { pull_request: true, ..seen() }, Some(GithubIssueMutation { pull_request: true, ..base() })),
    ];
    let view = known();
    for (case, now, expected) in cases {
        let found = issue(&name(), in_view(&view), &now);
        assert_eq!(found, expected, "{case}");
        // Whoever reads it sees no difference any more.
        if let Some(mutation) = found {
            let view = after(vec![issue(&name(), None, &seen()).unwrap(), mutation]);
            assert_eq!(issue(&name(), in_view(&view), &now), None, "{case}, once more");
        }
    }
}

#[test]
fn who_closed_an_issue_goes_with_its_closing_only() {
    let closed = Issue { closed: true, closed_at: at(150), ..seen() };
    let view = after(vec![issue(&name(), None, &closed).unwrap()]);
    let single = Issue { closed_by: Some(user(4, "dave")), ..closed.clone() };
    assert_eq!(issue(&name(), in_view(&view), &single), None);
    let reopened = issue(&name(), in_view(&view), &seen()).unwrap();
    assert_eq!(reopened, GithubIssueMutation { closed: Some(BoolChange::default()), ..base() }, "when it was closed stays");
}

#[test]
fn tombstones_are_set_once_and_lifted() {
    let grave = GithubIssueMutation { not_exist: true, ..base() };
    assert_eq!(tombstone(&name(), 7, None), Some(grave.clone()));
    let view = known();
    assert_eq!(tombstone(&name(), 7, in_view(&view)), Some(grave.clone()));
    let view = after(vec![issue(&name(), None, &seen()).unwrap(), grave]);
    assert_eq!(tombstone(&name(), 7, in_view(&view)), None);
    assert_eq!(issue(&name(), in_view(&view), &seen()), Some(GithubIssueMutation { created: stamp(100), ..base() }), "what it was is kept");
}

fn comment(id: i64, body: &str) -> Comment {
    Comment { id, user: Some(user(3, "carol")), body: body.to_owned(), created: at(160), updated: at(160) }
}

fn parts(comments: Vec<Comment>, date: i64) -> Parts {
    let date = Time::from_seconds(date);
    Parts {
        comments: Listed { items: comments, date, whole: true },
        events: Listed { items: vec![Event { id: 50, kind: "closed".into(), created: at(150), ..Event::default() }], date, whole: true },
        reviews: None,
    }
}

#[test]
fn an_issue_and_what_belongs_to_it_are_one_mutation() {
    let none = BTreeSet::new();
    let first = whole(&name(), None, &seen(), &parts(vec![comment(30, "said")], 300), &none).unwrap();
    assert_eq!(
        (first.comment.len(), first.event.len(), first.comment_status.is_some(), first.event_status.is_some(), first.review_status.is_some()),
        (1, 1, true, true, false)
    );
    let view = after(vec![first.clone()]);
    let again = |now: &Issue, parts: &Parts| whole(&name(), in_view(&view), now, parts, &none);
    assert_eq!(again(&seen(), &parts(vec![comment(30, "said")], 400)), None, "that it is still complete is no news");

    let edited = Comment { updated: at(250), ..comment(30, "changed") };
    let change = again(&seen(), &parts(vec![edited], 400)).unwrap();
    let expected = GithubIssueCommentMutation { id: 30, body: b"changed".to_vec(), updated: stamp(250), ..Default::default() };
    assert_eq!(change.comment, [expected]);
    let emptied = Comment { body: String::new(), ..comment(30, "") };
    assert_eq!(again(&seen(), &parts(vec![emptied], 400)), None, "a comment without text cannot be written");
    let ghost = Comment { user: None, ..comment(30, "said") };
    assert_eq!(again(&seen(), &parts(vec![ghost], 400)), None);

    // Field 1000, of bytes, with one number.
    let gone = again(&seen(), &parts(vec![], 400)).unwrap();
    assert_eq!(gone.unknown, [0xc2, 0x3e, 1, 30]);
    let mut some = parts(vec![], 400);
    some.comments.whole = false;
    assert_eq!(again(&seen(), &some), None, "who is not in a list of changes is not gone");
    assert_eq!(whole(&name(), in_view(&view), &seen(), &parts(vec![], 400), &[30].into()), None, "and is said to be gone once");
    let back = whole(&name(), in_view(&view), &seen(), &parts(vec![comment(30, "said")], 400), &[30].into()).unwrap();
    assert_eq!(
        (back.comment[0].id, back.comment[0].body.as_slice(), &back.comment[0].created),
        (30, &b"said"[..], &stamp(160)),
        "one that is back is written anew"
    );
}

#[test]
fn a_status_is_written_when_it_makes_an_issue_complete() {
    let none = BTreeSet::new();
    let same_second = whole(&name(), None, &seen(), &parts(vec![], 200), &none).unwrap();
    let view = after(vec![same_second]);
    assert!(!in_view(&view).unwrap().comments_synced(), "more may have happened in that second");
    assert_eq!(whole(&name(), in_view(&view), &seen(), &parts(vec![], 200), &none), None);
    let later = whole(&name(), in_view(&view), &seen(), &parts(vec![], 201), &none).unwrap();
    assert_eq!(later.comment_status.unwrap().server_date, stamp(201));
}

#[test]
fn reviews_are_replaced_when_they_change() {
    let pull = Issue { pull_request: true, ..seen() };
    let with = |state: &str| {
        let review = Review { id: 60, actor: Some(user(3, "carol")), created: at(170), state: state.into(), ..Review::default() };
        Parts { reviews: Some(Listed { items: vec![review], date: Time::from_seconds(300), whole: true }), ..parts(vec![], 300) }
    };
    let none = BTreeSet::new();
    let view = after(vec![whole(&name(), None, &pull, &with("APPROVED"), &none).unwrap()]);
    assert_eq!(whole(&name(), in_view(&view), &pull, &with("APPROVED"), &none), None);
    let change = whole(&name(), in_view(&view), &pull, &with("DISMISSED"), &none).unwrap();
    assert_eq!((change.review.len(), change.review[0].state.as_slice(), change.event.len()), (1, &b"DISMISSED"[..], 0));
    let secret = with("PENDING");
    assert_eq!(whole(&name(), in_view(&view), &pull, &secret, &none), None);
}

#[test]
fn labels_and_milestones_of_a_repository() {
    let milestone = |title: &str, closed| Milestone { id: 20, number: 3, title: title.into(), closed };
    let first = repo(&name(), None, &[label(10, "bug"), label(0, "odd")], &[milestone("v1", false)]).unwrap();
    let expected = GithubMutation {
        owner: b"o".to_vec(),
        repo: b"r".to_vec(),
        labels: vec![GithubLabel { id: 10, name: b"bug".to_vec(), ..Default::default() }],
        milestones: vec![GithubMilestone { id: 20, title: b"v1".to_vec(), number: 3, ..Default::default() }],
        ..Default::default()
    };
    assert_eq!(first, expected);
    let view = corpus(vec![Mutation { github: Some(first), ..Default::default() }]);
    let known = view.github().repo("o", "r");
    assert_eq!(repo(&name(), known, &[label(10, "bug")], &[milestone("v1", false)]), None);
    assert_eq!(repo(&name(), known, &[], &[]), None, "what is gone cannot be written");
    let change = repo(&name(), known, &[label(10, "defect")], &[milestone("v1", true)]).unwrap();
    let closed = GithubMilestone { id: 20, closed: Some(BoolChange { val: true, ..Default::default() }), ..Default::default() };
    assert_eq!((change.labels[0].name.as_slice(), change.milestones), (&b"defect"[..], vec![closed]));
}
