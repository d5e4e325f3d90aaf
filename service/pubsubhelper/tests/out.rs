//! Reading: by number, by topic, as a stream, page by page; with and without a token.

mod world;

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, StatusCode};
use burrow_clock::TestClock;
use burrow_events::{After, Draft, Feed as _, Follower, Item, Log, Options, Topics};
use burrow_pubsubhelper::http::{Out, router};
use burrow_pubsubhelper::hub::Hub;
use burrow_pubsubhelper::readers::Readers;
use futures_util::StreamExt as _;
use http_body_util::BodyExt as _;
use tower::ServiceExt as _;
use world::{GITHUB, NOW, World};

#[tokio::test]
async fn numbers_arrays_and_topics() {
    let world = World::start(GITHUB).await;
    let begin = world.service.log().position().id;
    for number in 1..=5 {
        world.issue(number).await;
    }
    let push = r#"{"ref":"refs/heads/main","before":"a","after":"b","repository":{"full_name":"golang/go","clone_url":"https://github.com/golang/go.git"}}"#;
    world.github("push", "p", push).await;
    let numbers =
        |answer: &serde_json::Value| answer.as_array().unwrap().iter().map(|event| event["GitHub"]["IssueNumber"].as_u64().unwrap_or(0)).collect::<Vec<_>>();
    let all = world.get(&format!("/waitevent?after_id={begin}&max=100")).await;
    assert_eq!(numbers(&all.json()), [1, 2, 3, 4, 5, 0]);
    assert!(!all.headers.contains_key("burrow-gap"));
    let some = world.get(&format!("/waitevent?after_id={}&max=2&after=2000-01-01T00:00:00Z", begin + 2)).await.json();
    assert_eq!(numbers(&some), [3, 4], "the number wins over the time");
    let one = world.get(&format!("/waitevent?after_id={begin}&topic=git:github.com/golang/*")).await.json();
    assert_eq!((one["Push"]["Ref"].as_str(), one["Push"]["New"].as_str()), (Some("refs/heads/main"), Some("b")));
    // A number that was never given: the log it is of has been lost.
    let lost = world.get("/waitevent?after_id=9999999999999999&max=1").await;
    assert_eq!((lost.headers["burrow-gap"].to_str().unwrap(), numbers(&lost.json())), ("1", vec![1]));
    for (query, says) in [("after_id=x", "'after_id' parameter is not a number"), ("max=-1", "'max'"), ("topic=a%20b", "no topic pattern")] {
        let answer = world.get(&format!("/waitevent?{query}")).await;
        assert!(answer.status == 400 && answer.text.contains(says), "{query}: {}", answer.text);
    }
    assert_eq!(numbers(&world.get("/recent?max=2&topic=github:a/*").await.json()), [5, 4]);
}

#[tokio::test]
async fn pages_of_events_lead_back_to_the_first() {
    let world = World::start(GITHUB).await;
    for number in 1..=7 {
        world.issue(number).await;
    }
    let (mut next, mut seen) = (Some("/events.json?max=3&topic=github:*".to_owned()), Vec::new());
    while let Some(path) = next {
        let page = world.get(&path).await.json();
        seen.extend(page["events"].as_array().unwrap().iter().map(|event| event["GitHub"]["IssueNumber"].as_u64().unwrap()));
        next = page["next"].as_str().map(str::to_owned);
    }
    assert_eq!(seen, [7, 6, 5, 4, 3, 2, 1]);
}

#[tokio::test]
async fn a_stream_goes_on_where_it_was_left() {
    let world = World::start(GITHUB).await;
    let read = async |path: &str, headers: &[(&str, &str)], until: usize| {
        let mut request = burrow_http_client::Request::get(&world.url(path)).unwrap();
        for (name, value) in headers {
            request = request.header(http::HeaderName::from_bytes(name.as_bytes()).unwrap(), value).unwrap();
        }
        let mut response = world.client.send(request).await.unwrap();
        assert_eq!(response.header(http::header::CONTENT_TYPE), Some("text/event-stream"));
        let mut text = String::new();
        while text.matches("data: ").count() < until {
            text.push_str(std::str::from_utf8(&response.chunk().await.unwrap().expect("it goes on")).unwrap());
        }
        text
    };
    let first = tokio::join!(read("/events", &[], 2), async {
        // Both are streamed though one comes before and one after the stream is read.
        while world.service.log().waiters() == 0 {
            tokio::task::yield_now().await;
        }
        world.issue(1).await;
        world.issue(2).await;
    })
    .0;
    assert!(first.starts_with("retry: 2000\n\nid: ") && first.contains("\"IssueNumber\":1") && first.contains("\"IssueNumber\":2"), "{first}");
    let id = first.lines().find_map(|line| line.strip_prefix("id: ")).unwrap();
    let again = read("/events?topic=github:a/b", &[("last-event-id", id)], 1).await;
    assert!(!again.contains("\"IssueNumber\":1}") && again.contains("\"IssueNumber\":2"), "{again}");
    let lost = read("/events", &[("last-event-id", "9999999999999999")], 3).await;
    assert!(lost.contains("event: gap\ndata: {}\n\n"), "{lost}");
    assert_eq!(world.ask(http::Method::GET, "/events", &[("last-event-id", "x")], "").await.status, 400);
}

#[tokio::test]
async fn readers_see_what_they_may() {
    let config = format!(
        "public_topics = [\"github:open/*\"]\n{GITHUB}[[reader]]\nname = \"all\"\ntoken_file = \"all\"\n[[reader]]\nname = \"mine\"\ntoken_file = \"mine\"\ntopics = [\"github:mine/*\"]\n"
    );
    let world = World::start_with(&config, &[("all", "everything\n"), ("mine", "old\nnew\n")]).await;
    for (index, name) in ["open/a", "mine/b", "secret/c"].iter().enumerate() {
        world.github("issues", &index.to_string(), &format!(r#"{{"repository":{{"full_name":"{name}"}},"issue":{{"number":1}}}}"#)).await;
    }
    let seen = async |token: &str| {
        let answer = world.ask(http::Method::GET, "/recent", &[("authorization", token)], "").await;
        assert_eq!(answer.status, 200, "{token}: {}", answer.text);
        answer.json().as_array().unwrap().iter().map(|event| event["GitHub"]["RepoOwner"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(seen("Bearer everything").await, ["secret", "mine", "open"]);
    assert_eq!(seen("Bearer old").await, ["mine"]);
    // As a browser sends it: `any:new`.
    assert_eq!(seen("Basic YW55Om5ldw==").await, ["mine"]);
    assert_eq!(world.get("/recent").await.json().as_array().unwrap().len(), 1);
    // Asking for more does not give more.
    let wide = world.ask(http::Method::GET, "/waitevent?after_id=0&max=9&topic=*", &[("authorization", "Bearer new")], "").await.json();
    assert_eq!(wide.as_array().unwrap().len(), 1);
    let page = world.ask(http::Method::GET, "/", &[("authorization", "Bearer new")], "").await.text;
    assert!(page.contains("github:mine/b") && !page.contains("github:secret/c") && !page.contains("github:open/a"));
    for path in ["/recent", "/waitevent", "/events", "/events.json", "/", "/status.json", "/metrics"] {
        let answer = world.ask(http::Method::GET, path, &[("authorization", "Bearer wrong")], "").await;
        assert_eq!((answer.status, answer.headers.contains_key("www-authenticate")), (401, true), "{path}");
    }
    assert_eq!(world.get("/healthz").await.text, "ok");
}

#[tokio::test]
async fn a_follower_elsewhere_and_one_in_the_process_see_the_same() {
    let world = World::start(GITHUB).await;
    let topics = Topics::parse(["github:a/b"]).unwrap();
    let follower = Follower::new(world.client.clone(), &world.url("/"), None).unwrap();
    let mut near = world.service.log().follow(After::Now, topics.clone());
    let mut far = follower.follow(After::Now, topics);
    assert_eq!(near.next().await, Some(Item::Up));
    assert_eq!(far.next().await, Some(Item::Up));
    for number in 1..=3 {
        world.github("issues", "", r#"{"repository":{"full_name":"x/y"},"issue":{"number":1}}"#).await;
        world.issue(number).await;
        let (near, far) = (near.next().await.unwrap(), far.next().await.unwrap());
        assert_eq!(near, far);
        assert!(matches!(near, Item::Event(event) if event.github.as_ref().unwrap().issue == number));
    }
}

/// §7 row 3 through the router, with the clock held: an event that comes at the very moment at which the 30 seconds are over, before it, or after it, a thousand
/// times, is seen once by a client that follows `Time` as the reference's does.
#[tokio::test(start_paused = true)]
async fn an_event_at_the_end_of_the_thirty_seconds_is_never_lost() {
    let clock = TestClock::at(NOW);
    let log = Log::in_memory(Options::new(Arc::new(clock.clone())));
    let hub = Hub::new(log.clone(), Arc::new(clock.clone()), Vec::new(), &Default::default());
    let app = router(Out { hub, readers: Readers::everybody(), wait: Duration::from_secs(30), shutdown: Default::default() });
    let ask = async |after: &str| {
        let answer = app.clone().oneshot(Request::get(format!("/waitevent?after={after}")).body(Body::empty()).unwrap()).await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        serde_json::from_slice::<serde_json::Value>(&answer.into_body().collect().await.unwrap().to_bytes()).unwrap()
    };
    let mut after = burrow_events::time::format(log.position().time);
    let (mut seen, mut timeouts) = (Vec::new(), 0);
    for round in 0..1000_u64 {
        // From 1 ms before the end to 1 ms after it, most of them at the end exactly.
        let at = Duration::from_millis([29_999, 30_000, 30_000, 30_000, 30_001][(round % 5) as usize]);
        let publish = async {
            tokio::time::sleep(at).await;
            clock.advance_ms(at.as_millis() as u64);
            log.append(Draft { source: round.to_string(), ..Draft::default() }).await.unwrap();
        };
        // Which of the two is looked at first when both are due.
        let event = if round % 2 == 0 { tokio::join!(ask(&after), publish).0 } else { tokio::join!(publish, ask(&after)).1 };
        after = event["Time"].as_str().unwrap().to_owned();
        if event["LongPollTimeout"] == true {
            timeouts += 1;
        } else {
            seen.push(event["Source"].as_str().unwrap().parse::<u64>().unwrap());
        }
    }
    while seen.len() < 1000 {
        let event = ask(&after).await;
        assert!(event.get("LongPollTimeout").is_none(), "{} events were seen of 1000", seen.len());
        after = event["Time"].as_str().unwrap().to_owned();
        seen.push(event["Source"].as_str().unwrap().parse::<u64>().unwrap());
    }
    assert_eq!(seen, (0..1000).collect::<Vec<_>>());
    assert!(timeouts > 0, "no wait ended without an event");
    assert_eq!(ask(&after).await["LongPollTimeout"], true);
}
