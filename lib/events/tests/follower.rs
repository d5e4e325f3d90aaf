//! Following over the network: servers that know numbers, servers that know only times, servers that fail.

use std::sync::{Arc, Mutex};

use burrow_events::{After, Feed as _, Follower, Item, Topics};
use futures_util::StreamExt as _;
use testkit_server::{Reply, Server};

type Script = Arc<Mutex<Vec<(&'static str, Reply)>>>;

/// A server that expects these queries in this order.
async fn server(script: Vec<(&'static str, Reply)>) -> (Server, Script) {
    let script: Script = Arc::new(Mutex::new(script));
    let expected = Arc::clone(&script);
    let server = Server::start(move |request| {
        let expected = Arc::clone(&expected);
        Box::pin(async move {
            let mut expected = expected.lock().unwrap();
            if expected.is_empty() {
                return Reply::Hang;
            }
            let (query, reply) = expected.remove(0);
            let asked = request.uri().to_string();
            if asked != format!("/waitevent?{query}") {
                return Reply::text(500, format!("expected {query}, was asked {asked}"));
            }
            let token = request.headers().get("authorization").map(|value| value.to_str().unwrap().to_owned());
            if token.as_deref() != Some("Bearer secret") {
                return Reply::text(401, "no token");
            }
            reply
        })
    })
    .await;
    (server, script)
}

fn follower(server: &Server) -> Follower {
    Follower::new(burrow_http_client::Client::new(Default::default()).unwrap(), &server.url("/"), Some("secret")).unwrap()
}

fn event(id: u64, second: u32) -> String {
    format!(
        r#"{{"Time":"2024-01-01T00:00:{second:02}.5Z","GitHub":{{"Action":"x","RepoOwner":"a","Repo":"b","IssueNumber":{second}}},"ID":{id},"Topics":["github:a/b"]}}"#
    )
}

fn issue(item: Option<Item>) -> u64 {
    match item {
        Some(Item::Event(event)) => event.github.as_ref().unwrap().issue,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn it_goes_on_after_the_last_number_and_says_when_the_server_fails_and_what_was_missed() {
    let gap = |body: String| {
        let mut reply = http::Response::new(body.into());
        reply.headers_mut().insert("burrow-gap", http::HeaderValue::from_static("1"));
        Reply::Answer(reply)
    };
    let (server, script) = server(vec![
        ("max=0&topic=github%3Aa%2F%2A", Reply::text(200, r#"[{"Time":"2024-01-01T00:00:00Z","LongPollTimeout":true,"ID":10}]"#)),
        ("max=100&after_id=10&after=2024-01-01T00:00:00Z&topic=github%3Aa%2F%2A", Reply::text(200, format!("[{},{}]", event(11, 1), event(13, 2)))),
        ("max=100&after_id=13&after=2024-01-01T00:00:02.5Z&topic=github%3Aa%2F%2A", Reply::Cut(http::Response::new(event(14, 3).into()), 9)),
        ("max=100&after_id=13&after=2024-01-01T00:00:02.5Z&topic=github%3Aa%2F%2A", Reply::text(503, "later")),
        // The same event again is no news.
        ("max=100&after_id=13&after=2024-01-01T00:00:02.5Z&topic=github%3Aa%2F%2A", Reply::text(200, format!("[{},{}]", event(13, 2), event(14, 3)))),
        // Another log, with smaller numbers.
        ("max=100&after_id=14&after=2024-01-01T00:00:03.5Z&topic=github%3Aa%2F%2A", gap(format!("[{}]", event(4, 1)))),
        ("max=100&after_id=4&after=2024-01-01T00:00:01.5Z&topic=github%3Aa%2F%2A", Reply::text(200, event(5, 9))),
    ])
    .await;
    let mut feed = follower(&server).follow(After::Now, Topics::parse(["github:a/*"]).unwrap());
    assert_eq!(feed.next().await, Some(Item::Up));
    assert_eq!((issue(feed.next().await), issue(feed.next().await)), (1, 2));
    assert!(matches!(feed.next().await, Some(Item::Down(_))));
    let Some(Item::Down(why)) = feed.next().await else { panic!("503") };
    assert!(why.contains("503") && why.contains("later"), "{why}");
    assert_eq!(feed.next().await, Some(Item::Up));
    assert_eq!(issue(feed.next().await), 3);
    assert_eq!(feed.next().await, Some(Item::Gap));
    assert_eq!((issue(feed.next().await), issue(feed.next().await)), (1, 9));
    assert!(script.lock().unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn the_reference_is_followed_by_time() {
    let reference = |rest: &str| Reply::text(200, format!("{{\n\t\"Time\": {rest}\n}}"));
    let (server, script) = server(vec![
        ("max=100&after_id=7", reference(r#""2024-01-01T00:00:01Z", "LongPollTimeout": true"#)),
        (
            "max=100&after=2024-01-01T00:00:01Z",
            reference(r#""2024-01-01T00:00:02.000000001Z", "GitHub": {"Action": "x", "RepoOwner": "a", "Repo": "b", "IssueNumber": 4}"#),
        ),
        (
            "max=100&after=2024-01-01T00:00:02.000000001Z",
            reference(r#""2024-01-01T00:00:03Z", "Gerrit": {"URL": "https://x-review.googlesource.com/1", "Project": "p", "CommitHash": ""}"#),
        ),
    ])
    .await;
    let mut feed = follower(&server).follow(After::Id(7), Topics::all());
    assert_eq!(feed.next().await, Some(Item::Up));
    assert_eq!(feed.next().await, Some(Item::Gap), "it cannot go on after a number it does not know");
    assert_eq!(issue(feed.next().await), 4);
    let Some(Item::Event(event)) = feed.next().await else { panic!("an event") };
    assert_eq!(event.topics, ["gerrit:x.googlesource.com/p"]);
    assert_eq!(event.position(), After::Time("2024-01-01T00:00:03Z".parse().unwrap()));
    assert!(script.lock().unwrap().is_empty());
}

#[test]
fn an_address_that_is_none_is_refused() {
    let client = burrow_http_client::Client::new(Default::default()).unwrap();
    for bad in ["events.example.org", "ftp://x", "http://user:pw@x"] {
        let error = Follower::new(client.clone(), bad, None).unwrap_err().to_string();
        assert!(error.contains("cannot be followed"), "{error}");
    }
}
