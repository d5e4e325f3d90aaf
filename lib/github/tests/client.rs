//! The client against a modelled GitHub.

use std::collections::BTreeMap;
use std::sync::Arc;

use burrow_github::{Answer, Budget, Client, Error, Event, Issue, LimitKind, Pace, Place, RepoName, Settings, Time};
use serde_json::json;
use testkit_github::{Fault, GitHub, Links, Reviewer};

fn name(text: &str) -> RepoName {
    text.parse().unwrap()
}

fn client_with(github: &GitHub, settings: Settings) -> Client {
    let budget = Budget::new(Pace { per_second: 0, burst: 0 }, github.shared_clock());
    Client::new(Settings { base: github.base(), ..settings }, budget, github.shared_clock()).unwrap()
}

fn client(github: &GitHub) -> Client {
    client_with(github, Settings::default())
}

async fn all_issues(client: &Client, repo: &str) -> Vec<Issue> {
    client.issues(&name(repo)).all().await.unwrap().0
}

/// A repository with so many issues, a minute apart.
fn fill(github: &GitHub, repo: &str, issues: usize) {
    let clock = github.clock().clone();
    let mut world = github.world();
    world.create_repo(repo);
    for n in 1..=issues {
        clock.advance_ms(60_000);
        world.open_issue(repo, "ada", &format!("Issue {n}"), "text");
    }
}

#[tokio::test]
async fn every_issue_comes_once_whatever_the_links_look_like() {
    for links in [Links::Numbers, Links::Cursors] {
        let github = GitHub::start().await;
        fill(&github, "o/r", 23);
        github.world().policy.links = links;
        github.world().policy.page_size = 5;
        let client = client(&github);
        let issues = all_issues(&client, "o/r").await;
        let numbers: Vec<i32> = issues.iter().map(|issue| issue.number).collect();
        assert_eq!(numbers, (1..=23).rev().collect::<Vec<_>>(), "{links:?}");
        let asked = github.take_asked();
        assert_eq!(asked.len(), 5);
        let key = if links == Links::Cursors { "after" } else { "page" };
        assert!(asked[1..].iter().all(|asked| asked.query.iter().any(|(name, _)| name == key)), "{asked:?}");
        let first: BTreeMap<&str, &str> = asked[0].query.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(first, [("state", "all"), ("sort", "updated"), ("direction", "desc"), ("per_page", "100")].into());
    }
}

#[tokio::test]
async fn everything_of_an_issue_arrives() {
    let github = GitHub::start().await;
    let (issue, pull, comment, review) = {
        let mut world = github.world();
        world.create_repo("o/r");
        let issue = world.open_issue("o/r", "ada", "Title \u{1f40c}", "");
        world.add_label("o/r", issue, "bob", "bug & more");
        world.set_milestone("o/r", issue, "bob", Some("v1"));
        world.assign("o/r", issue, "bob", "carol");
        world.set_locked("o/r", issue, "bob", true);
        let comment = world.comment("o/r", issue, "dave", "<b>text</b>\r\n");
        world.close_by_commit("o/r", issue, "bob", "c0ffee");
        world.change_milestone("o/r", "v1", "v1.0", true);
        let pull = world.open_pull("o/r", "ada", "Pull", "body");
        let review = world.review("o/r", pull, "bob", "APPROVED", "fine");
        let team = world.team("core-team");
        world.request_review("o/r", pull, "ada", &Reviewer::Team(team));
        world.dismiss_review("o/r", pull, "ada", review, "old");
        world.event("o/r", pull, None, "brand_new", json!({"zebra": {"b": 1, "a": null}, "gone": null}));
        (issue, pull, comment, review)
    };
    let client = client(&github);
    let repo = name("o/r");
    let found = client.issue(&repo, issue).await.unwrap().value;
    assert_eq!((found.title.as_str(), found.body.as_str(), found.closed, found.locked), ("Title \u{1f40c}", "", true, true));
    assert_eq!(found.labels.iter().map(|label| label.name.as_str()).collect::<Vec<_>>(), ["bug & more"]);
    assert_eq!(found.milestone.as_ref().map(|milestone| (milestone.title.as_str(), milestone.closed)), Some(("v1.0", true)));
    assert_eq!(found.assignees[0].login, "carol");
    assert_eq!(found.closed_by.as_ref().map(|user| user.login.as_str()), Some("bob"));
    assert_eq!((found.created, found.comments, &found.repo), (Some(Time::from_seconds(1_767_225_600)), 1, &Some(repo.clone())));
    let (comments, date) = client.comments(&repo, issue, None).all().await.unwrap();
    assert_eq!((comments[0].id, comments[0].body.as_str()), (comment, "<b>text</b>\r\n"));
    assert_eq!(date, Time::from_seconds(1_767_225_600), "the server's date");
    let (events, _) = client.events(&repo, issue, 1).all().await.unwrap();
    let kinds: Vec<&str> = events.iter().map(|event| event.kind.as_str()).collect();
    assert_eq!(kinds, ["labeled", "milestoned", "assigned", "locked", "closed"]);
    assert_eq!((events[0].label.as_str(), events[1].milestone.as_str()), ("bug & more", "v1"));
    assert_eq!(events[4].commit.as_ref().map(|commit| (commit.owner.as_str(), commit.id.as_str())), Some(("o", "c0ffee")));
    assert!(events.iter().all(|event| event.other_json.is_empty()), "{events:?}");
    let (events, _) = client.events(&repo, pull, 1).all().await.unwrap();
    assert_eq!(events[0].team_reviewer.as_ref().map(|team| team.slug.as_str()), Some("core-team"));
    assert_eq!(events[1].dismissed_review.as_ref().map(|gone| (gone.review_id, gone.state.as_str())), Some((review, "approved")));
    assert_eq!((events[2].actor.as_ref(), events[2].other_json.as_str()), (None, r#"{"zebra":{"a":null,"b":1}}"#));
    let (reviews, _) = client.reviews(&repo, pull, 1).all().await.unwrap();
    assert_eq!((reviews[0].id, reviews[0].state.as_str(), reviews[0].body.as_str()), (review, "DISMISSED", "fine"));
    assert_eq!(client.labels(&repo).all().await.unwrap().0.len(), 1);
    assert_eq!(client.milestones(&repo).all().await.unwrap().0.len(), 1, "closed ones too");
    assert!(client.repository(&repo).await.unwrap().value.has_issues);
    assert!(matches!(client.reviews(&repo, issue, 1).next().await, Err(Error::NotFound { .. })), "an issue has no reviews");
}

#[tokio::test]
async fn what_has_not_changed_costs_nothing_even_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("validators.json");
    let github = GitHub::start().await;
    fill(&github, "o/r", 3);
    let first = client(&github);
    let mut pages = first.issues(&name("o/r"));
    let fresh = pages.next().await.unwrap().unwrap();
    assert!(!fresh.unmodified && fresh.last);
    first.save(&file).await.unwrap();
    github.clock().advance_ms(5_000);
    let second = client(&github);
    second.load(&file).await.unwrap();
    let kept = second.issues(&name("o/r")).next().await.unwrap().unwrap();
    assert!(kept.unmodified && kept.last);
    assert_eq!(kept.items, fresh.items);
    assert_eq!(kept.date.seconds, fresh.date.seconds + 5, "the date is that of the answer that nothing has changed");
    assert_eq!(second.budget().state().free, 1);
    assert_eq!(github.take_asked().iter().map(|asked| asked.status).collect::<Vec<_>>(), [200, 304]);
    // A change is seen, and so is everything when one asks so.
    github.world().comment("o/r", 2, "bob", "news");
    assert!(!second.issues(&name("o/r")).next().await.unwrap().unwrap().unmodified);
    assert!(!second.issues(&name("o/r")).unconditional().next().await.unwrap().unwrap().unmodified);
    // A file of somebody else is no reason to fail later.
    std::fs::write(&file, "{\"version\":1,").unwrap();
    assert!(second.load(&file).await.is_err());
    second.load(&dir.path().join("none.json")).await.unwrap();
    assert!(second.issues(&name("o/r")).next().await.unwrap().unwrap().unmodified);
}

#[tokio::test]
async fn an_unchanged_first_page_still_leads_to_the_second() {
    let github = GitHub::start().await;
    github.world().policy.page_size = 2;
    {
        let mut world = github.world();
        world.create_repo("o/r");
        for label in ["a", "b", "c", "d", "e"] {
            world.label("o/r", label);
        }
    }
    let client = client(&github);
    for round in 0..2 {
        let (labels, _) = client.labels(&name("o/r")).all().await.unwrap();
        assert_eq!(labels.len(), 5, "round {round}");
    }
    let asked = github.take_asked();
    assert_eq!(asked.iter().map(|asked| asked.status).collect::<Vec<_>>(), [200, 200, 200, 304, 304, 304]);
}

#[tokio::test]
async fn limits_are_decisions_and_are_kept_without_asking() {
    let github = GitHub::start().await;
    fill(&github, "o/r", 1);
    let client = client(&github);
    let repo = name("o/r");
    let limited = async |seconds: i64, wanted: LimitKind| {
        let expected = github.clock();
        let now = Time::from_ms(burrow_clock::Clock::now_ms(expected));
        for _ in 0..2 {
            match client.issue(&repo, 1).await {
                Err(Error::RateLimited { until, kind }) => assert_eq!((until.seconds - now.seconds, kind), (seconds, wanted)),
                other => panic!("{other:?}"),
            }
        }
        // The second time was not asked at all.
        assert_eq!(github.take_asked().len(), 1);
        let state = client.budget().state();
        assert!(state.blocked.is_some_and(|(until, _)| until.seconds - now.seconds == seconds), "people can see why: {state:?}");
        github.clock().advance_ms(u64::try_from(seconds).unwrap() * 1000);
        client.issue(&repo, 1).await.unwrap();
        github.take_asked();
    };
    github.fail("/", Fault::PrimaryLimit { reset_in: 1_800 }, 1);
    limited(1_801, LimitKind::Primary).await;
    github.fail("/", Fault::SecondaryLimit { retry_after: Some(90) }, 1);
    limited(90, LimitKind::Secondary).await;
    github.fail("/", Fault::SecondaryLimit { retry_after: None }, 1);
    limited(60, LimitKind::Secondary).await;
    github.fail("/", Fault::TooMany { retry_after: 5 }, 1);
    limited(5, LimitKind::Secondary).await;
}

#[tokio::test]
async fn one_budget_is_for_all_repositories_and_kinds() {
    let github = GitHub::start().await;
    fill(&github, "o/a", 1);
    fill(&github, "o/b", 1);
    github.world().policy.limit = 4;
    let clock = github.shared_clock();
    let budget = Budget::new(Pace { per_second: 0, burst: 0 }, Arc::clone(&clock));
    let make = || Client::new(Settings { base: github.base(), ..Settings::default() }, budget.clone(), Arc::clone(&clock)).unwrap();
    let (first, second) = (make(), make());
    first.issue(&name("o/a"), 1).await.unwrap();
    second.labels(&name("o/b")).next().await.unwrap();
    first.milestones(&name("o/b")).next().await.unwrap();
    second.events(&name("o/b"), 1, 1).next().await.unwrap();
    // GitHub's count is down to nothing, as its last answer said: nobody needs to be refused to know.
    assert!(matches!(first.comments(&name("o/a"), 1, None).next().await, Err(Error::RateLimited { kind: LimitKind::Primary, .. })));
    assert!(matches!(second.repository(&name("o/a")).await, Err(Error::RateLimited { .. })));
    assert_eq!(github.take_asked().len(), 4);
    assert_eq!(budget.state().windows[0].limit.remaining, 0);
}

#[tokio::test]
async fn a_transferred_issue_is_not_a_renamed_repository() {
    let github = GitHub::start().await;
    fill(&github, "o/old", 3);
    fill(&github, "o/other", 5);
    let there = {
        let mut world = github.world();
        world.comment("o/old", 2, "bob", "text");
        let there = world.transfer_issue("o/old", 2, "o/other");
        world.rename_repo("o/old", "o/new");
        there
    };
    let client = client(&github);
    let old = name("o/old");
    // The repository has another name; its issues are the same.
    assert_eq!(client.issue(&old, 1).await.unwrap().value.repo, Some(name("o/new")));
    let issues = client.issues(&old).all().await.unwrap().0;
    assert_eq!(issues.iter().map(|issue| issue.number).collect::<Vec<_>>(), [3, 1]);
    assert!(matches!(client.issue(&old, 99).await, Err(Error::NotFound { .. })), "there never was one, and the redirect is the repository's");
    // The issue is elsewhere, and so is all that belongs to it.
    let place = Place { repo: name("o/other"), number: there };
    assert!(matches!(client.issue(&old, 2).await, Err(Error::Moved { to, .. }) if to.as_ref() == Some(&place)));
    assert!(matches!(client.comments(&old, 2, None).next().await, Err(Error::Moved { to, .. }) if to.as_ref() == Some(&place)));
    assert!(matches!(client.events(&old, 2, 1).next().await, Err(Error::Moved { .. })));
    // Elsewhere is not to be seen.
    github.world().hide_issue("o/other", there);
    assert!(matches!(client.issue(&old, 2).await, Err(Error::Moved { to: None, .. })));
}

#[tokio::test]
async fn deleted_disabled_hidden_and_never_there_are_different() {
    let github = GitHub::start().await;
    fill(&github, "o/r", 3);
    github.world().delete_issue("o/r", 1);
    github.world().hide_issue("o/r", 2);
    let client = client(&github);
    let repo = name("o/r");
    assert!(matches!(client.issue(&repo, 1).await, Err(Error::Gone { .. })));
    assert!(matches!(client.comments(&repo, 1, None).next().await, Err(Error::Gone { .. })));
    assert!(matches!(client.issue(&repo, 2).await, Err(Error::NotFound { .. })));
    assert!(matches!(client.issues(&name("o/none")).next().await, Err(Error::NotFound { .. })));
    // While issues are switched off nothing is deleted, though each issue's address says 410.
    github.world().set_issues_enabled("o/r", false);
    assert!(matches!(client.issues(&repo).next().await, Err(Error::Disabled { repo: which }) if which == repo));
    assert!(matches!(client.issue(&repo, 3).await, Err(Error::Disabled { .. })));
    assert!(matches!(client.events(&repo, 3, 1).next().await, Err(Error::Disabled { .. })));
    github.world().set_issues_enabled("o/r", true);
    assert_eq!(client.issue(&repo, 3).await.unwrap().value.number, 3);
}

#[tokio::test]
async fn the_token_is_sent_and_its_refusal_is_told() {
    let github = GitHub::start().await;
    fill(&github, "o/r", 1);
    github.world().policy.token = Some("s3cret".into());
    let with = |token: Option<&str>| client_with(&github, Settings { token: token.map(str::to_owned), ..Settings::default() });
    assert_eq!(all_issues(&with(Some("s3cret")), "o/r").await.len(), 1);
    let error = with(Some("wrong")).issue(&name("o/r"), 1).await.unwrap_err();
    assert!(matches!(&error, Error::Unauthorized { message, .. } if message == "Bad credentials"), "{error:?}");
    assert!(matches!(with(None).issue(&name("o/r"), 1).await, Err(Error::Unauthorized { .. })));
    assert!(!format!("{:?}", Settings { token: Some("s3cret".into()), ..Settings::default() }).contains("s3cret"));
    for bad in ["", "a b", "a\nb"] {
        let settings = Settings { token: Some(bad.into()), ..Settings::default() };
        let budget = Budget::new(Pace::default(), github.shared_clock());
        assert!(matches!(Client::new(settings, budget, github.shared_clock()), Err(Error::Settings(_))), "{bad:?}");
    }
}

#[tokio::test]
async fn trouble_on_the_way_is_worth_another_try_and_the_page_is_not_lost() {
    let github = GitHub::start().await;
    fill(&github, "o/r", 4);
    github.world().policy.page_size = 2;
    let client = client(&github);
    for fault in [Fault::Status(500), Fault::Status(502), Fault::Close, Fault::Cut(20)] {
        let mut pages = client.issues(&name("o/r")).unconditional();
        assert_eq!(pages.next().await.unwrap().unwrap().items.len(), 2);
        // A kept connection that closes without a word may just have been kept too long: the client asks once more on a new one.
        github.fail("/", fault.clone(), if fault == Fault::Close { 2 } else { 1 });
        let error = pages.next().await.unwrap_err();
        assert!(matches!(error, Error::Retry { .. }), "{fault:?}: {error:?}");
        let page = pages.next().await.unwrap().unwrap();
        assert_eq!(page.items.iter().map(|issue| issue.number).collect::<Vec<_>>(), [2, 1], "{fault:?}");
        assert!(page.last && pages.next().await.unwrap().is_none());
    }
    github.fail("/", Fault::NotJson, 1);
    assert!(matches!(client.issue(&name("o/r"), 1).await, Err(Error::Malformed { .. })));
    github.fail("/", Fault::Status(422), 1);
    assert!(matches!(client.issue(&name("o/r"), 1).await, Err(Error::Refused { status: 422, .. })));
    // An empty page in the middle is not the end.
    let mut pages = client.issues(&name("o/r")).unconditional();
    github.fail("/repos", Fault::EmptyPage, 1);
    assert!(pages.next().await.unwrap().unwrap().items.is_empty());
    assert_eq!(pages.next().await.unwrap().unwrap().items.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_says_nothing_is_given_up() {
    let github = GitHub::start().await;
    fill(&github, "o/r", 1);
    github.fail("/", Fault::Hang, 1);
    assert!(matches!(client(&github).issue(&name("o/r"), 1).await, Err(Error::Retry { .. })));
}

#[tokio::test]
async fn without_a_date_the_time_before_the_question_counts() {
    let github = GitHub::start().await;
    fill(&github, "o/r", 1);
    let now = burrow_clock::Clock::now_ms(github.clock());
    github.fail("/", Fault::Without(vec!["date", "etag", "last-modified"]), 1);
    let clock = github.clock().clone();
    github.before_each(move |_, _| clock.advance_ms(10_000));
    let Answer { date, unmodified, .. } = client(&github).issue(&name("o/r"), 1).await.unwrap();
    assert!(!unmodified);
    assert_eq!(date, Time::from_ms(now));
}

#[tokio::test]
async fn changes_during_paging_lose_nothing_that_stays() {
    for links in [Links::Numbers, Links::Cursors] {
        let github = GitHub::start().await;
        fill(&github, "o/r", 20);
        github.world().policy.links = links;
        github.world().policy.page_size = 4;
        let clock = github.clock().clone();
        let mut touched = 0;
        github.before_each(move |_, world| {
            // An old issue jumps to the front before each page.
            clock.advance_ms(60_000);
            touched += 1;
            world.comment("o/r", touched, "bob", "bump");
        });
        let issues = all_issues(&client(&github), "o/r").await;
        let untouched: Vec<i32> = (7..=20).rev().collect();
        let mut seen: Vec<i32> = issues.iter().map(|issue| issue.number).filter(|number| *number >= 7).collect();
        seen.dedup();
        assert_eq!(seen, untouched, "{links:?}: entries may come twice, but each comes");
    }
}

#[tokio::test]
async fn a_hundred_comments_within_one_second_are_all_seen() {
    let github = GitHub::start().await;
    fill(&github, "o/r", 1);
    for n in 0..250 {
        github.world().comment("o/r", 1, "ada", &format!("{n}"));
    }
    let client = client(&github);
    let second = Time::from_ms(burrow_clock::Clock::now_ms(github.clock()));
    let (comments, _) = client.comments(&name("o/r"), 1, Some(second)).all().await.unwrap();
    assert_eq!(comments.iter().map(|comment| comment.body.clone()).collect::<Vec<_>>(), (0..250).map(|n| n.to_string()).collect::<Vec<_>>());
    assert!(comments.iter().all(|comment| comment.updated == Some(second)));
    let later = Time::from_seconds(second.seconds + 1);
    assert!(client.comments(&name("o/r"), 1, Some(later)).all().await.unwrap().0.is_empty());
}

#[tokio::test]
async fn a_random_world_is_read_as_it_is() {
    for seed in 0..5 {
        let github = GitHub::start().await;
        github.world().random("o/r", seed, 400);
        github.world().policy.page_size = 7;
        let client = client(&github);
        let repo = name("o/r");
        let found: BTreeMap<i32, Issue> = all_issues(&client, "o/r").await.into_iter().map(|issue| (issue.number, issue)).collect();
        let truth = github.world().repo("o/r").issues.clone();
        assert!(truth.len() > 10, "seed {seed}: {} issues", truth.len());
        assert_eq!(found.keys().collect::<Vec<_>>(), truth.keys().collect::<Vec<_>>(), "seed {seed}");
        for (number, want) in &truth {
            let issue = &found[number];
            let place = format!("seed {seed}, issue {number}");
            assert_eq!((&issue.title, issue.body.as_str()), (&want.title, want.body.as_deref().unwrap_or_default()), "{place}");
            assert_eq!((issue.closed, issue.locked, issue.pull_request), (want.closed, want.locked, want.pull), "{place}");
            assert_eq!(issue.labels.iter().map(|label| label.id).collect::<Vec<_>>(), want.labels.iter().copied().collect::<Vec<_>>(), "{place}");
            assert_eq!(issue.assignees.iter().map(|user| user.id).collect::<Vec<_>>(), want.assignees, "{place}");
            assert_eq!(issue.milestone.as_ref().map(|milestone| milestone.number), want.milestone, "{place}");
            assert_eq!(issue.updated.map(|time| time.seconds), Some(want.updated / 1000), "{place}");
            let (comments, _) = client.comments(&repo, *number, None).all().await.unwrap();
            let texts = |body: &str, updated: i64| (body.to_owned(), updated);
            assert_eq!(
                comments.iter().map(|comment| texts(&comment.body, comment.updated.unwrap().seconds)).collect::<Vec<_>>(),
                want.comments.values().map(|comment| texts(&comment.body, comment.updated / 1000)).collect::<Vec<_>>(),
                "{place}"
            );
            let (events, _): (Vec<Event>, _) = client.events(&repo, *number, 1).all().await.unwrap();
            assert_eq!(
                events.iter().map(|event| (event.id, event.kind.clone(), event.actor.as_ref().map(|user| user.id))).collect::<Vec<_>>(),
                want.events.values().map(|event| (event.id, event.kind.clone(), event.actor)).collect::<Vec<_>>(),
                "{place}"
            );
            if want.pull {
                let (reviews, _) = client.reviews(&repo, *number, 1).all().await.unwrap();
                assert_eq!(reviews.iter().map(|review| review.id).collect::<Vec<_>>(), want.reviews.keys().copied().collect::<Vec<_>>(), "{place}");
            }
        }
    }
}
