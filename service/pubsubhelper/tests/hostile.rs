//! Those who mean harm: slow, large, many. Memory stays bounded, others are served meanwhile.

mod world;

use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, StatusCode};
use burrow_pubsubhelper::counters::Outcome;
use burrow_pubsubhelper::webhook::{self, Bounds, Encryption};
use bytes::Bytes;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tower::ServiceExt as _;
use world::{GITHUB, World, signature};

async fn raw(world: &World, bytes: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(world.service.addresses()[0]).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    stream
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused_before_it_comes() {
    let world = World::start(GITHUB).await;
    let head = format!("POST /github-webhook HTTP/1.1\r\nHost: x\r\nX-Hub-Signature-256: {}\r\nContent-Length: 104857600\r\n\r\n", signature("k", b""));
    let mut stream = raw(&world, head.as_bytes()).await;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 413 ") && answer.contains("limits.body_mb"), "{answer}");
    // Without a length, when the limit is passed.
    let head = format!("POST /github-webhook HTTP/1.1\r\nHost: x\r\nX-Hub-Signature-256: {}\r\nTransfer-Encoding: chunked\r\n\r\n", signature("k", b""));
    let mut stream = raw(&world, head.as_bytes()).await;
    let chunk = [b"100000\r\n".as_slice(), &vec![b' '; 1 << 20], b"\r\n"].concat();
    let mut sent = 0;
    while stream.write_all(&chunk).await.is_ok() && sent < 200 {
        sent += 1;
    }
    assert!((25..40).contains(&sent), "{sent} MiB were taken");
    assert_eq!((world.source("github").counters.of(Outcome::TooLarge), world.events()), (2, 0));
    assert_eq!(world.issue(1).await.status, 200);
}

/// GitHub's largest delivery, and one byte more.
#[tokio::test]
async fn the_largest_delivery_is_taken_and_one_byte_more_is_not() {
    let world = World::start(&format!("limits.body_mb = 1\n{GITHUB}")).await;
    let issue = r#"{"action":"opened","repository":{"full_name":"a/b"},"issue":{"number":7,"body":""#;
    let of_length = |length: usize| format!("{issue}{}\"}}}}", "x".repeat(length - issue.len() - 3));
    assert_eq!(world.github("issues", "1", &of_length(1 << 20)).await.status, 200);
    assert_eq!(world.github("issues", "2", &of_length((1 << 20) + 1)).await.status, 413);
    assert_eq!(world.events(), 1);
}

/// A post whose body never comes, in a world whose clock runs as fast as nothing happens.
#[tokio::test(start_paused = true)]
async fn a_body_that_drips_is_cut_off_and_its_memory_is_given_back() {
    let world = World::start(GITHUB).await;
    let hub = world.service.hub().clone();
    let secrets = burrow_pubsubhelper::secrets::Secrets::load([(world.dir.path().join("k"), None)]).unwrap();
    let hook = webhook::Hook {
        path: "/hook".into(),
        adapter: webhook::Adapter::Github { allow_sha1: false },
        secrets: secrets.into(),
        source: world.source("github"),
    };
    let bounds = Bounds::new(1 << 20, 2 << 20);
    let app = webhook::router(&hub, &[hook], &bounds, &Encryption { allow_plain_http: true, trusted_proxies: Vec::new() });
    let post = |body: Body| {
        let request = Request::post("/hook").header("x-hub-signature-256", "sha256=00").body(body).unwrap();
        app.clone().oneshot(request)
    };
    // A byte a second for ever.
    let drip = || {
        Body::from_stream(futures_util::stream::unfold((), |()| async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            Some((Ok::<_, std::io::Error>(Bytes::from_static(b" ")), ()))
        }))
    };
    let begun = tokio::time::Instant::now();
    assert_eq!(post(drip()).await.unwrap().status(), StatusCode::REQUEST_TIMEOUT);
    assert!(begun.elapsed() < Duration::from_secs(12), "{:?}", begun.elapsed());
    // A body that holds most of the memory and goes on: the next waits, is sent away, and is taken when it is gone.
    let hold = || {
        Body::from_stream(futures_util::stream::unfold(0, |sent| async move {
            if sent > 0 {
                tokio::time::sleep(Duration::from_secs(8)).await;
            }
            Some((Ok::<_, std::io::Error>(Bytes::from(vec![b' '; if sent == 0 { (1 << 20) - 5 } else { 1 }])), sent + 1))
        }))
    };
    let holder = tokio::spawn(post(hold()));
    tokio::time::sleep(Duration::from_secs(1)).await;
    let large = || Body::from(vec![b' '; 1 << 20]);
    assert_eq!(post(large()).await.unwrap().status(), StatusCode::SERVICE_UNAVAILABLE);
    // Small ones have memory of their own.
    assert_eq!(post(Body::from("{}")).await.unwrap().status(), StatusCode::FORBIDDEN);
    assert_eq!(holder.await.unwrap().unwrap().status(), StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(post(large()).await.unwrap().status(), StatusCode::FORBIDDEN, "the memory is free again");
    assert_eq!(hub.sources[0].counters.of(Outcome::Busy), 1);
}

#[tokio::test]
async fn connections_without_a_request_keep_nobody_out_and_are_limited() {
    let world = World::start(&format!("limits.connections = 50\n{GITHUB}")).await;
    let mut idle = Vec::new();
    for _ in 0..40 {
        idle.push(raw(&world, b"POST /github-webhook HTTP/1.1\r\nHost: x\r\nX-Slow: ").await);
    }
    assert_eq!(world.issue(1).await.status, 200);
    // The limit is reached: those who come now wait until somebody leaves.
    for _ in 0..20 {
        idle.push(raw(&world, b"GET /healthz HTTP/1.1\r\n").await);
    }
    let late = world.get("/healthz");
    idle.clear();
    assert_eq!(late.await.text, "ok");
}

#[tokio::test]
async fn a_giant_head_is_refused() {
    let world = World::start(GITHUB).await;
    let mut stream = raw(&world, format!("GET /healthz HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n", "x".repeat(100_000)).as_bytes()).await;
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer).await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431 "), "{answer}");
    assert_eq!(world.get("/healthz").await.text, "ok");
}
