//! A leader that follows repositories of a modelled GitHub.

mod poll_worlds;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use burrow_maintnerd::poll::{PollError, Source, SyncError, sync_once};
use poll_worlds::{Bench, client_with, deleted_comments, digest, now};
use protocol_mutlog::schema::{BoolChange, GithubIssueMutation, Mutation, StringChange, Timestamp};
use serde_json::json;
use testkit_github::{Fault, Reviewer};

/// The mutation without the statuses, after a look at them.
fn without_status(bench: &Bench, mut mutation: GithubIssueMutation, pull: bool) -> GithubIssueMutation {
    let date = |status: &Option<protocol_mutlog::schema::GithubIssueSyncStatus>| {
        status.as_ref().and_then(|status| status.server_date.as_ref()).map(|date| date.seconds)
    };
    let today = Some(now(bench.github.clock()));
    assert_eq!((date(&mutation.comment_status), date(&mutation.event_status)), (today, today));
    assert_eq!(date(&mutation.review_status), today.filter(|_| pull));
    (mutation.comment_status, mutation.event_status, mutation.review_status) = (None, None, None);
    mutation
}

#[tokio::test]
async fn everything_is_read_and_nothing_is_written_twice() {
    let bench = Bench::new(&["o/r", "o/empty"]).await;
    bench.github.world().random("o/r", 7, 300);
    let written = bench.written().await;
    bench.assert_same().await;
    let issues = bench.github.world().repo("o/r").issues.len();
    assert_eq!(written.iter().filter(|mutation| mutation.github_issue.is_some()).count(), issues, "one mutation for each issue with all that belongs to it");
    assert_eq!(bench.written().await, [], "nothing has changed");
    bench.github.clock().advance_ms(600_000);
    assert_eq!(bench.written().await, [], "and time alone changes nothing");
    bench.assert_same().await;
}

#[tokio::test]
async fn a_change_is_one_mutation_with_what_changed() {
    let bench = Bench::new(&["o/r"]).await;
    let number = {
        let mut world = bench.github.world();
        world.label("o/r", "bug");
        world.milestone("o/r", "v1");
        world.open_issue("o/r", "ada", "It does not build", "On Mondays.")
    };
    let pull = bench.github.world().open_pull("o/r", "bob", "Make it build", "");
    bench.written().await;
    bench.github.clock().advance_ms(600_000);
    let base = |bench: &Bench, pull: bool| {
        let number = if pull { 2 } else { 1 };
        let updated = bench.github.world().issue("o/r", number).updated.div_euclid(1000);
        GithubIssueMutation {
            owner: b"o".to_vec(),
            repo: b"r".to_vec(),
            number,
            updated: Some(Timestamp::new(updated, 0)),
            pull_request: pull,
            ..Default::default()
        }
    };

    bench.github.world().edit_body("o/r", number, "");
    let written = without_status(&bench, bench.written_issue().await, false);
    assert_eq!(written, GithubIssueMutation { body_change: Some(StringChange::default()), ..base(&bench, false) }, "a cleared body");

    let id = bench.github.world().comment("o/r", number, "carol", "Here it does.");
    let written = without_status(&bench, bench.written_issue().await, false);
    let comment = &written.comment[0];
    assert_eq!((comment.id, comment.body.as_slice(), comment.user.as_ref().unwrap().login.as_slice()), (id, &b"Here it does."[..], &b"carol"[..]));
    assert_eq!(comment.created, written.updated);
    assert_eq!(GithubIssueMutation { comment: vec![], ..written }, base(&bench, false));

    bench.github.world().edit_comment("o/r", number, id, "Here it does not.");
    let written = without_status(&bench, bench.written_issue().await, false);
    let comment = &written.comment[0];
    assert_eq!((comment.id, comment.body.as_slice(), &comment.user, &comment.created), (id, &b"Here it does not."[..], &None, &None), "an edit has no author");

    bench.github.world().close("o/r", number, "ada");
    let written = without_status(&bench, bench.written_issue().await, false);
    assert_eq!((written.closed.clone(), written.closed_at.clone()), (Some(BoolChange { val: true, ..Default::default() }), written.updated.clone()));
    assert_eq!(written.closed_by.as_ref().unwrap().login, b"ada");
    assert_eq!(written.event.iter().map(|event| event.event_type.as_slice()).collect::<Vec<_>>(), [b"closed"]);

    bench.github.world().reopen("o/r", number, "ada");
    let written = without_status(&bench, bench.written_issue().await, false);
    assert_eq!((written.closed.clone(), &written.closed_at), (Some(BoolChange::default()), &None), "the moment of closing stays");

    bench.github.world().add_label("o/r", number, "ada", "bug");
    let written = without_status(&bench, bench.written_issue().await, false);
    assert_eq!((written.add_label[0].name.as_slice(), written.event[0].label.as_ref().unwrap().name.as_slice()), (&b"bug"[..], &b"bug"[..]));
    bench.github.world().remove_label("o/r", number, "ada", "bug");
    let written = without_status(&bench, bench.written_issue().await, false);
    assert_eq!(written.remove_label, [bench.github.world().label("o/r", "bug")]);

    bench.github.world().set_milestone("o/r", number, "ada", Some("v1"));
    let written = without_status(&bench, bench.written_issue().await, false);
    assert_eq!((written.milestone_num, written.milestone_title.as_slice(), written.no_milestone), (1, &b"v1"[..], false));
    bench.github.world().set_milestone("o/r", number, "ada", None);
    assert!(without_status(&bench, bench.written_issue().await, false).no_milestone);

    bench.github.world().assign("o/r", number, "ada", "bob");
    assert_eq!(without_status(&bench, bench.written_issue().await, false).assignees[0].login, b"bob");
    bench.github.world().unassign("o/r", number, "ada", "bob");
    let bob = bench.github.world().user("bob");
    assert_eq!(without_status(&bench, bench.written_issue().await, false).deleted_assignees, [bob]);

    bench.github.world().set_locked("o/r", number, "ada", true);
    assert!(without_status(&bench, bench.written_issue().await, false).locked.unwrap().val);
    bench.github.world().retitle("o/r", number, "ada", "It builds");
    assert_eq!(without_status(&bench, bench.written_issue().await, false).title, b"It builds");

    let review = bench.github.world().review("o/r", pull, "carol", "APPROVED", "Good.");
    let written = without_status(&bench, bench.written_issue().await, true);
    assert_eq!((written.review[0].id, written.review[0].state.as_slice(), written.pull_request), (review, &b"APPROVED"[..], true));
    bench.github.world().dismiss_review("o/r", pull, "ada", review, "Outdated");
    let written = without_status(&bench, bench.written_issue().await, true);
    assert_eq!((written.review[0].id, written.review[0].state.as_slice()), (review, &b"DISMISSED"[..]), "a review is replaced as a whole");
    let team = bench.github.world().team("core");
    bench.github.world().request_review("o/r", pull, "ada", &Reviewer::Team(team));
    assert_eq!(without_status(&bench, bench.written_issue().await, true).event[0].team_reviewer.as_ref().unwrap().id, team);

    bench.github.world().rename_label("o/r", "bug", "fault");
    bench.github.world().change_milestone("o/r", "v1", "v1.0", true);
    let written = bench.written().await;
    let [Mutation { github: Some(repo), .. }] = &written[..] else { panic!("{written:#?}") };
    assert_eq!((repo.labels[0].name.as_slice(), repo.milestones[0].title.as_slice(), repo.milestones[0].number), (&b"fault"[..], &b"v1.0"[..], 0));
    bench.assert_same().await;
    assert_eq!(bench.written().await, []);
}

#[tokio::test]
async fn a_review_that_is_not_submitted_stays_its_authors_secret() {
    let bench = Bench::new(&["o/r"]).await;
    let pull = bench.github.world().open_pull("o/r", "ada", "Title", "Text");
    bench.github.world().review("o/r", pull, "ada", "PENDING", "not yet for others");
    let written = bench.written_issue().await;
    assert_eq!((written.review.len(), written.review_status.is_some()), (0, true));
}

#[tokio::test]
async fn deleted_and_transferred_issues_become_tombstones() {
    let bench = Bench::new(&["o/r", "o/other"]).await;
    {
        let mut world = bench.github.world();
        for n in 1..=5 {
            let number = world.open_issue("o/r", "ada", &format!("Issue {n}"), "text");
            world.comment("o/r", number, "bob", "said");
        }
        // Gone before anybody looked.
        world.delete_issue("o/r", 2);
    }
    bench.written().await;
    bench.assert_same().await;
    bench.github.clock().advance_ms(600_000);
    bench.github.world().delete_issue("o/r", 1);
    bench.github.world().transfer_issue("o/r", 3, "o/other");
    bench.github.world().hide_issue("o/r", 5);
    let written = bench.written().await;
    bench.assert_same().await;
    let tombstones: Vec<i32> = written.iter().filter_map(|m| m.github_issue.as_ref()).filter(|issue| issue.not_exist).map(|issue| issue.number).collect();
    assert_eq!(tombstones, [1, 3, 5]);
    let arrived: Vec<_> = written.iter().filter_map(|m| m.github_issue.as_ref()).filter(|issue| !issue.not_exist).collect();
    assert_eq!((arrived.len(), arrived[0].repo.as_slice(), arrived[0].comment.len()), (1, &b"other"[..], 1));
    assert_eq!(bench.written().await, []);
}

#[tokio::test]
async fn a_tombstone_whose_issue_comes_back_is_lifted() {
    let bench = Bench::new(&["o/r", "o/other"]).await;
    {
        let mut world = bench.github.world();
        world.open_issue("o/r", "ada", "One", "text");
        world.open_issue("o/r", "ada", "Two", "text");
    }
    // The first look finds number one hidden by a fault of GitHub's.
    let grave = GithubIssueMutation { owner: b"o".to_vec(), repo: b"r".to_vec(), number: 1, not_exist: true, ..Default::default() };
    bench.leader.commit(&[Mutation { github_issue: Some(grave), ..Default::default() }]).await.unwrap();
    bench.written().await;
    assert!(!bench.leader.view().github().repo("o", "r").unwrap().issue(1).unwrap().not_exist());
    assert_eq!(bench.written().await, [], "though its creation can never be made known any more");
}

#[tokio::test]
async fn deleted_comments_are_told_once() {
    let bench = Bench::new(&["o/r"]).await;
    let (number, ids) = {
        let mut world = bench.github.world();
        world.policy.page_size = 10;
        let number = world.open_issue("o/r", "ada", "Title", "text");
        let ids: Vec<i64> = (0..35).map(|n| world.comment("o/r", number, "bob", &format!("comment {n}"))).collect();
        (number, ids)
    };
    bench.written().await;
    bench.github.clock().advance_ms(600_000);
    bench.github.world().delete_comment("o/r", number, ids[3], "bob");
    bench.github.world().delete_comment("o/r", number, ids[34], "bob");
    let written = bench.written().await;
    let told = deleted_comments(&written);
    assert_eq!(told.into_values().flatten().collect::<Vec<_>>(), [ids[3], ids[34]]);
    bench.assert_same().await;
    bench.github.clock().advance_ms(600_000);
    bench.github.world().comment("o/r", number, "bob", "one more");
    let written = bench.written_issue().await;
    assert_eq!((written.comment.len(), written.unknown.len()), (1, 0), "what was told is not told again");
    bench.assert_same().await;
}

#[tokio::test]
async fn a_comment_that_moves_over_the_edge_of_a_page_is_not_taken_for_deleted() {
    let bench = Bench::new(&["o/r"]).await;
    let (number, ids) = {
        let mut world = bench.github.world();
        world.policy.page_size = 10;
        let number = world.open_issue("o/r", "ada", "Title", "text");
        let ids: Vec<i64> = (0..35).map(|n| world.comment("o/r", number, "bob", &format!("comment {n}"))).collect();
        (number, ids)
    };
    bench.written().await;
    bench.github.clock().advance_ms(600_000);
    bench.github.world().comment("o/r", number, "bob", "one more");
    let (first, done) = (ids[0], Arc::new(AtomicBool::new(false)));
    let seen = Arc::clone(&done);
    bench.github.before_each(move |asked, world| {
        if asked.path.ends_with("/comments") && asked.query.contains(&("page".to_owned(), "2".to_owned())) && !seen.swap(true, Ordering::SeqCst) {
            world.delete_comment("o/r", number, first, "bob");
        }
    });
    let written = bench.written().await;
    assert!(done.load(Ordering::SeqCst), "the deletion was in the middle of the list");
    assert!(deleted_comments(&written).into_values().flatten().all(|id| id == first), "only what is gone is said to be gone");
    bench.github.clock().advance_ms(600_000);
    bench.written().await;
    bench.assert_same().await;
}

#[tokio::test]
async fn more_than_a_page_of_comments_of_one_moment() {
    let bench = Bench::new(&["o/r"]).await;
    let number = {
        let mut world = bench.github.world();
        let number = world.open_issue("o/r", "ada", "Title", "text");
        for n in 0..250 {
            world.comment("o/r", number, "bob", &format!("comment {n}"));
        }
        number
    };
    bench.github.clock().advance_ms(600_000);
    bench.written().await;
    bench.assert_same().await;
    bench.github.clock().advance_ms(600_000);
    bench.github.take_asked();
    let id = *bench.github.world().issue("o/r", number).comments.keys().nth(17).unwrap();
    bench.github.world().edit_comment("o/r", number, id, "edited");
    bench.github.world().comment("o/r", number, "bob", "new");
    assert_eq!(bench.written_issue().await.comment.len(), 2);
    let lists = bench.github.take_asked().into_iter().filter(|asked| asked.path.ends_with("/comments")).count();
    assert_eq!(lists, 1, "what is known is not read again");
    bench.assert_same().await;
}

#[tokio::test]
async fn an_issue_that_claims_to_be_of_the_future_is_not_read_for_ever() {
    let bench = Bench::new(&["o/r"]).await;
    let number = {
        let mut world = bench.github.world();
        let number = world.open_issue("o/r", "ada", "Title", "text");
        world.open_issue("o/r", "ada", "Another", "text");
        world.issue_mut("o/r", number).updated += 400 * 86_400_000;
        number
    };
    bench.written().await;
    bench.assert_same().await;
    assert_eq!(bench.written().await, [], "golang/go#31919");
    bench.github.world().issue_mut("o/r", number).title = "New title".into();
    assert_eq!(bench.written_issue().await.title, b"New title");
    // A change that is older than the future is one all the same.
    bench.github.clock().advance_ms(600_000);
    bench.github.world().comment("o/r", number, "bob", "said");
    bench.written_issue().await;
    bench.assert_same().await;
}

#[tokio::test]
async fn events_that_are_shown_late_are_found() {
    let bench = Bench::new(&["o/r"]).await;
    let number = bench.github.world().open_issue("o/r", "ada", "Title", "text");
    bench.written().await;
    // An event that appears only now, with the time of the last change (golang/go#29396).
    let (updated, event) = {
        let mut world = bench.github.world();
        let updated = world.issue("o/r", number).updated;
        let event = world.event("o/r", number, Some("ada"), "mentioned", json!({}));
        let issue = world.issue_mut("o/r", number);
        issue.updated = updated;
        issue.events.get_mut(&event).unwrap().created = updated;
        (updated, event)
    };
    assert_eq!(bench.written().await, [], "nothing in the list says that there is something new");
    bench.github.clock().advance_ms(200_000);
    let written = bench.written_issue().await;
    assert_eq!((written.event[0].id, written.event[0].created.as_ref().unwrap().seconds), (event, updated.div_euclid(1000)));
    bench.assert_same().await;
}

#[tokio::test]
async fn issues_that_change_while_pages_are_turned_are_not_lost() {
    let bench = Bench::new(&["o/r"]).await;
    {
        let mut world = bench.github.world();
        world.policy.page_size = 7;
        for n in 0..60 {
            bench.github.clock().advance_ms(10_000);
            world.open_issue("o/r", "ada", &format!("Issue {n}"), "text");
        }
    }
    let clock = bench.github.clock().clone();
    let mut turn = 0;
    bench.github.before_each(move |asked, world| {
        if asked.path.ends_with("/issues") {
            turn += 1;
            clock.advance_ms(1_000);
            // Out of the later pages, to the front.
            world.comment("o/r", 1 + turn, "bob", "meanwhile");
            if turn == 4 {
                world.open_issue("o/r", "bob", "new", "");
            }
        }
    });
    bench.written().await;
    bench.github.before_each(|_, _| {});
    bench.written().await;
    bench.assert_same().await;
}

#[tokio::test]
async fn a_round_that_is_cut_off_hides_nothing_from_the_next() {
    let bench = Bench::new(&["o/r"]).await;
    {
        let mut world = bench.github.world();
        world.policy.page_size = 5;
        for n in 0..20 {
            bench.github.clock().advance_ms(100_000);
            world.open_issue("o/r", "ada", &format!("Issue {n}"), "text");
        }
    }
    let mut sources = bench.sources.clone();
    sources.timing.reconcile = Duration::from_secs(1 << 40);
    sync_once(&bench.leader, &sources, &bench.github.shared_clock()).await.unwrap();
    bench.github.clock().advance_ms(600_000);
    for number in 1..=12 {
        bench.github.clock().advance_ms(100_000);
        bench.github.world().comment("o/r", number, "bob", "said");
    }
    bench.github.clock().advance_ms(1_000);
    // The first page is read and written; the second cannot be had, however often it is tried.
    bench.github.fail_if(|asked| asked.path.ends_with("/issues") && asked.query.iter().any(|(name, _)| name == "after"), Fault::Status(502), 5);
    let error = sync_once(&bench.leader, &sources, &bench.github.shared_clock()).await.unwrap_err();
    assert!(matches!(error, SyncError::Poll(Source::Github(_), PollError::Github(burrow_github::Error::Retry { .. }))), "{error}");
    sync_once(&bench.leader, &sources, &bench.github.shared_clock()).await.unwrap();
    bench.assert_same().await;
}

#[tokio::test]
async fn faults_of_githubs_delay_and_hide_nothing() {
    let faults = [
        ("/repos/o/r/issues", Fault::Status(500), 2),
        ("/repos/o/r/issues", Fault::Status(502), 1),
        ("/repos/o/r/issues", Fault::PrimaryLimit { reset_in: 5_400 }, 1),
        ("/repos/o/r/issues/", Fault::SecondaryLimit { retry_after: Some(30) }, 1),
        ("/repos/o/r/issues/", Fault::SecondaryLimit { retry_after: None }, 1),
        ("/repos/o/r/pulls/", Fault::TooMany { retry_after: 20 }, 1),
        ("/repos/o/r/issues", Fault::EmptyPage, 1),
        ("/repos/o/r/issues/", Fault::NotJson, 2),
        ("/repos/o/r/issues", Fault::NotJson, 2),
        ("/repos/o/r/issues", Fault::Cut(200), 2),
        ("/repos/o/r/issues/", Fault::Close, 2),
        ("/repos/o/r/labels", Fault::Status(503), 1),
        ("/repos/o/r/milestones", Fault::NotJson, 1),
        ("/repos/o/r/issues", Fault::Without(vec!["etag", "last-modified"]), 3),
    ];
    for (nth, (path, fault, times)) in faults.into_iter().enumerate() {
        let bench = Bench::new(&["o/r"]).await;
        bench.github.world().policy.page_size = 10;
        bench.github.world().random("o/r", nth as u64, 150);
        bench.written().await;
        bench.github.world().random("o/r", 1_000 + nth as u64, 60);
        bench.github.clock().advance_ms(1_000);
        bench.github.fail(path, fault.clone(), times);
        let before = bench.github.clock().clone();
        if let Err(error) = bench.sync().await {
            panic!("{fault:?}: {error} at {before:?}");
        }
        bench.github.clock().advance_ms(600_000);
        bench.sync().await.unwrap();
        bench.assert_same().await;
    }
}

#[tokio::test]
async fn an_answer_that_never_comes_is_given_up() {
    let mut bench = Bench::new(&["o/r"]).await;
    bench.github.world().random("o/r", 5, 60);
    let http = burrow_http_client::Settings { head_limit: Duration::from_millis(300), ..Default::default() };
    bench.sources.github.as_mut().unwrap().0 = client_with(&bench.github, http);
    bench.github.fail("/repos/o/r/issues", Fault::Hang, 2);
    bench.written().await;
    bench.assert_same().await;
}

#[tokio::test]
async fn an_issue_that_cannot_be_read_keeps_nothing_else_from_being_read() {
    let bench = Bench::new(&["o/r"]).await;
    {
        let mut world = bench.github.world();
        for n in 0..5 {
            world.open_issue("o/r", "ada", &format!("Issue {n}"), "text");
        }
    }
    bench.github.fail("/repos/o/r/issues/3/events", Fault::NotJson, 5);
    bench.github.clock().advance_ms(1_000);
    let error = bench.sync().await.unwrap_err();
    assert!(matches!(error, SyncError::Poll(_, PollError::Issue { number: 3, .. })), "{error}");
    let view = bench.leader.view();
    let known: Vec<i32> = view.github().repo("o", "r").unwrap().issues().iter().map(|issue| issue.number()).collect();
    assert_eq!(known, [1, 2, 4, 5], "and nothing half of it");
    bench.sync().await.unwrap();
    bench.assert_same().await;
}

#[tokio::test]
async fn a_repository_that_vanishes_buries_nothing() {
    let bench = Bench::new(&["o/r"]).await;
    bench.github.world().random("o/r", 11, 60);
    bench.written().await;
    let before = digest(&bench.leader.view());
    for fault in [Fault::Status(404), Fault::Status(401), Fault::Status(451)] {
        bench.github.fail("/repos/o/r", fault, 100);
        bench.sync().await.unwrap_err();
        // The rest of the fault is used up by others.
        while bench.sync().await.is_err() {}
    }
    bench.github.fail_if(|asked| asked.path.ends_with("/issues"), Fault::EmptyPage, 5);
    let error = bench.sync().await.unwrap_err();
    assert!(matches!(error, SyncError::Poll(_, PollError::Odd(_))), "{error}");
    assert_eq!(digest(&bench.leader.view()), before);
}

#[tokio::test]
async fn switched_off_issues_are_asked_for_once_a_day() {
    let bench = Bench::new(&["o/r"]).await;
    bench.github.world().open_issue("o/r", "ada", "Title", "text");
    bench.github.world().set_issues_enabled("o/r", false);
    assert_eq!(bench.written().await, []);
    bench.github.take_asked();
    assert_eq!(bench.written().await, []);
    assert_eq!(bench.github.take_asked(), [], "golang/go#35299");
    bench.github.clock().advance_ms(86_400_000);
    bench.github.world().set_issues_enabled("o/r", true);
    assert_eq!(bench.written().await.len(), 1);
    bench.assert_same().await;
}

#[tokio::test]
async fn what_has_not_changed_costs_nothing_of_the_limit_even_after_a_restart() {
    let bench = Bench::new(&["o/r"]).await;
    bench.github.world().random("o/r", 3, 80);
    bench.written().await;
    bench.github.clock().advance_ms(600_000);
    bench.written().await;
    bench.github.take_asked();
    let mut sources = bench.sources.clone();
    sources.github.as_mut().unwrap().0 = client_with(&bench.github, burrow_http_client::Settings::default());
    sources.timing.reconcile = Duration::from_secs(1 << 40);
    sync_once(&bench.leader, &sources, &bench.github.shared_clock()).await.unwrap();
    let asked = bench.github.take_asked();
    assert!(!asked.is_empty() && asked.iter().all(|asked| asked.status == 304), "{asked:#?}");
}

#[tokio::test]
async fn random_worlds_are_followed_step_by_step() {
    for seed in 0..6 {
        let bench = Bench::new(&["o/r"]).await;
        bench.github.world().policy.page_size = [3, 10, 100][seed as usize % 3];
        for step in 0..8 {
            bench.github.world().random("o/r", seed * 100 + step, 40);
            {
                let mut world = bench.github.world();
                let numbers: Vec<i32> = world.repo("o/r").issues.keys().copied().collect();
                match numbers.get(step as usize * 3) {
                    Some(number) if step % 3 == 1 => world.delete_issue("o/r", *number),
                    Some(number) if step % 3 == 2 => {
                        world.create_repo("o/elsewhere");
                        world.transfer_issue("o/r", *number, "o/elsewhere");
                    }
                    _ => {}
                }
            }
            bench.sync().await.unwrap();
            bench.assert_same().await;
        }
        let fresh = leader_of_the_same_log(&bench).await;
        assert_eq!(digest(&fresh), digest(&bench.leader.view()), "seed {seed}");
    }
}

/// The corpus that a reader of the same log has.
async fn leader_of_the_same_log(bench: &Bench) -> burrow_maintner::View {
    let parts: Vec<burrow_maintner::Part> =
        bench.leader.log().snapshot().segments.iter().map(|segment| burrow_maintner::Part::file(&segment.path, 0, segment.size)).collect();
    burrow_maintner::Corpus::load(&parts, 2, &|_| {}).unwrap().view()
}
