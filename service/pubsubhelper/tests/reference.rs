//! What the reference's clients see: answers recorded from the reference (`tests/fixtures/reference.json`), and ours to the same requests.

mod world;

use burrow_events::time;
use http::Method;
use serde_json::Value;
use world::{GITHUB, World};

fn recorded() -> Value {
    serde_json::from_str(include_str!("fixtures/reference.json")).unwrap()
}

/// The reference's object with our time instead of its own, without the bracket at the end: what ours must begin with.
fn beginning(theirs: &str, ours: &Value) -> String {
    let time = serde_json::from_str::<Value>(theirs).unwrap()["Time"].as_str().unwrap().to_owned();
    theirs.replacen(&time, ours["Time"].as_str().unwrap(), 1).strip_suffix("\n}").unwrap().to_owned() + ","
}

#[tokio::test]
async fn the_same_webhooks_give_the_same_bytes() {
    let recorded = recorded();
    let world = World::start(GITHUB).await;
    let mut after = "2023-01-01T00:00:00Z".to_owned();
    for event in recorded["events"].as_array().unwrap() {
        let (name, theirs) = (&event["name"], event["waitevent"].as_str().unwrap());
        let posted = world.github("", "", event["payload"].as_str().unwrap()).await;
        assert_eq!(posted.status, 200, "{name}: {}", posted.text);
        let ours = world.get(&format!("/waitevent?after={after}")).await;
        assert!(ours.text.starts_with(&beginning(theirs, &ours.json())), "{name}: {} is not {theirs}", ours.text);
        assert!(!ours.text.ends_with('\n'));
        after = ours.json()["Time"].as_str().unwrap().to_owned();
    }
    // The newest first, in brackets and with commas as there.
    let list = world.get("/recent").await;
    let theirs = recorded["answers"]["recent"]["body"].as_str().unwrap();
    assert_eq!((list.kind.as_str(), list.status), (recorded["answers"]["recent"]["type"].as_str().unwrap(), 200));
    assert!(
        list.text.starts_with("[\n{\n\t\"Time\"") && list.text.ends_with("\n}\n]\n") && theirs.starts_with("[\n{\n\t\"Time\"") && theirs.ends_with("\n}\n]\n")
    );
    let (ours, theirs): (Vec<&str>, Vec<&str>) = (list.text.split("\n},\n{\n").collect(), theirs.split("\n},\n{\n").collect());
    assert_eq!(ours.len(), theirs.len());
    let without_time = |object: &str| object.split_once("Time\": \"").unwrap().1.split_once('"').unwrap().1.trim_end_matches("\n}\n]\n").to_owned();
    for (ours, theirs) in ours.iter().zip(&theirs) {
        assert!(without_time(ours).starts_with(&without_time(theirs)), "{ours} {theirs}");
    }
    // `Time == after` is in the list, and not an answer to a wait.
    let newest = world.get(&format!("/recent?after={after}")).await.json();
    assert_eq!((newest.as_array().unwrap().len(), newest[0]["Time"].as_str()), (1, Some(after.as_str())));
    assert_eq!(world.get(&format!("/waitevent?max=0&after={after}")).await.json()[0]["LongPollTimeout"], true);
}

#[tokio::test]
async fn the_same_requests_give_the_same_answers() {
    let recorded = recorded();
    let world = World::start(GITHUB).await;
    for (name, method, path) in [
        ("recent empty", Method::GET, "/recent"),
        ("healthz", Method::GET, "/healthz"),
        ("bad after", Method::GET, "/waitevent?after=x"),
        ("bad recent", Method::GET, "/recent?after=2022-12-29T17:59:20+02:00"),
        ("head waitevent", Method::HEAD, "/waitevent"),
    ] {
        let (theirs, ours) = (&recorded["answers"][name], world.ask(method, path, &[], "").await);
        assert_eq!(
            (u64::from(ours.status), ours.kind.as_str(), ours.text.as_str()),
            (theirs["status"].as_u64().unwrap(), theirs["type"].as_str().unwrap(), theirs["body"].as_str().unwrap()),
            "{name}"
        );
    }
    // As in 2023; the reference of 2026 says 405.
    let posted = world.ask(Method::POST, "/waitevent", &[], "").await;
    assert_eq!((posted.status, posted.text.as_str()), (400, "requires GET\n"));
    assert_eq!(world.ask(Method::POST, "/recent", &[], "").await.text, "[\n\n]\n");
    assert_eq!(world.ask(Method::DELETE, "/healthz", &[], "").await.text, "ok");
    assert_eq!(world.get("/nothing").await.status, 404);
    assert!(world.get("/").await.text.contains("/waitevent"));
}

/// The reference says its clock's time; ours that of the last event, so that nothing is skipped. The keys are the same.
#[tokio::test]
async fn a_wait_ends_with_a_timeout_object() {
    let world = World::start(&format!("limits.wait_s = 1\n{GITHUB}")).await;
    world.issue(1).await;
    let (last, id) = (time::format(world.last().time), world.last().id);
    world.clock.advance_ms(60_000);
    let ended = world.get("/waitevent").await;
    assert_eq!(ended.text, format!("{{\n\t\"Time\": \"{last}\",\n\t\"LongPollTimeout\": true,\n\t\"ID\": {id}\n}}"));
    let theirs = recorded()["answers"]["timeout"].clone();
    assert_eq!((ended.kind.as_str(), ended.status), (theirs["type"].as_str().unwrap(), 200));
    assert!(ended.text.starts_with(&beginning(theirs["body"].as_str().unwrap(), &ended.json())));
}

#[tokio::test]
async fn two_waiters_get_the_same_bytes_and_one_that_left_is_forgotten() {
    let world = World::start(GITHUB).await;
    let before = world.service.log().waiters();
    let gone = tokio::time::timeout(std::time::Duration::from_millis(1), world.get("/waitevent")).await;
    assert!(gone.is_err(), "nothing happened yet");
    let (first, second, ()) = tokio::join!(world.get("/waitevent"), world.get("/waitevent"), async {
        // Both wait, and the one that left does not.
        while world.service.log().waiters() != before + 2 {
            tokio::task::yield_now().await;
        }
        assert_eq!(world.issue(7).await.status, 200);
    });
    assert_eq!(first.text, second.text);
    assert_eq!(first.json()["GitHub"]["IssueNumber"], 7);
    assert!(first.json()["GitHub"].get("PullRequestNumber").is_none());
}

#[tokio::test]
async fn events_survive_a_restart_with_a_follower_running() {
    let mut world = World::start(GITHUB).await;
    let mut after = "2023-01-01T00:00:00Z".to_owned();
    for number in 1..=3 {
        world.issue(number).await;
        world = world.restart().await;
        let event = world.get(&format!("/waitevent?after={after}")).await.json();
        assert_eq!(event["GitHub"]["IssueNumber"], number);
        after = event["Time"].as_str().unwrap().to_owned();
    }
    // The delivery is known still.
    assert!(world.issue(2).await.text.starts_with("known already as event "));
    assert_eq!(world.events(), 3);
}
