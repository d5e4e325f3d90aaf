//! The disk of the event log is full: senders are told to send again, nothing acknowledged is lost, and everybody who asks is told what to do.
#![cfg(target_os = "linux")]

mod world;

use testkit_harness::SmallDisk;
use world::{GITHUB, World};

/// Numbers of the events and of their issues, oldest first.
async fn kept(world: &World) -> Vec<(u64, u64)> {
    let recent = world.get("/recent").await.json();
    let number = |event: &serde_json::Value| (event["ID"].as_u64().unwrap(), event["GitHub"]["IssueNumber"].as_u64().unwrap());
    recent.as_array().unwrap().iter().rev().map(number).collect()
}

#[tokio::test]
async fn senders_are_told_to_send_again_and_nothing_acknowledged_is_lost() {
    let Some(disk) = SmallDisk::mount(3) else { return };
    let world = World::start_on(GITHUB, disk.path()).await;
    for number in 1..=3 {
        assert_eq!(world.issue(number).await.status, 200);
    }
    assert_eq!(world.get("/healthz").await.text, "ok");
    disk.fill();
    // The last page of the file may have room for some more.
    let mut refused = 4;
    let answer = loop {
        let answer = world.issue(refused).await;
        if answer.status != 200 {
            break answer;
        }
        assert!(refused < 100, "the disk is not full");
        refused += 1;
    };
    assert_eq!((answer.status, answer.headers["retry-after"].to_str().unwrap()), (503, "10"));
    assert!(answer.text.starts_with("not stored, send it again: ") && answer.text.contains("free some space"), "{}", answer.text);
    let acknowledged = kept(&world).await;
    assert_eq!(acknowledged.iter().map(|(_, issue)| *issue).collect::<Vec<_>>(), (1..refused).collect::<Vec<_>>());
    // A repetition of what is kept is no failure.
    assert!(world.issue(2).await.text.starts_with("known already as event "));

    let health = world.get("/healthz").await;
    assert!(health.status == 503 && health.text.starts_with("failing\n") && health.text.contains("free some space"), "{}", health.text);
    let page = world.get("/").await;
    assert!(page.status == 200 && page.text.contains("cannot append to the event log") && page.text.contains("free some space"), "{}", page.text);
    let status = world.get("/status.json").await.json();
    assert_eq!((status["can_keep"].as_bool(), status["trouble"].as_array().unwrap().len()), (Some(false), 1));
    let metrics = world.get("/metrics").await.text;
    assert!(metrics.contains("burrow_pubsub_log_failed 1\n"), "{metrics}");
    assert!(metrics.contains("burrow_pubsub_deliveries_total{source=\"github\",outcome=\"not_stored\"} 1\n"), "{metrics}");

    // A restart on the full disk serves the same.
    let world = world.restart().await;
    assert_eq!(kept(&world).await, acknowledged);
    assert_eq!(world.issue(refused).await.status, 503);
    assert_eq!(world.get("/healthz").await.status, 503);

    // Somebody waits while there is trouble, and room is made without a word to the service.
    let last = acknowledged.last().unwrap().0;
    let waiting = format!("/waitevent?after_id={last}");
    let (event, sent) = tokio::join!(world.get(&waiting), async {
        disk.empty_out();
        // Nobody sends anything to what is said to fail: it finds out by itself.
        let health = world.get("/healthz").await;
        assert_eq!((health.status, health.text.as_str()), (200, "ok"));
        world.issue(refused).await
    });
    assert!(sent.status == 200 && sent.text.starts_with("accepted as event "), "{}", sent.text);
    assert_eq!(event.json()["GitHub"]["IssueNumber"], refused);
    assert_eq!(world.issue(refused + 1).await.status, 200);
    let all = kept(&world).await;
    assert_eq!(all.iter().map(|(_, issue)| *issue).collect::<Vec<_>>(), (1..=refused + 1).collect::<Vec<_>>(), "each once");
    assert!(all.windows(2).all(|pair| pair[0].0 < pair[1].0), "{all:?}");
    assert_eq!(all[..acknowledged.len()], acknowledged);
    assert_eq!(world.get("/status.json").await.json()["trouble"], serde_json::json!([]));
    let world = world.restart().await;
    assert_eq!(kept(&world).await, all);
    assert_eq!(world.service.log().opened(), [] as [String; 0], "no torn record was left");
}
