//! What followers get at `/logs`: statuses, headers and texts as the reference gives them, waiting, and ranges.

mod logs;

use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Request, StatusCode};
use burrow_maintnerd::Log;
use burrow_maintnerd::http::{self, Readers};
use http_body_util::BodyExt as _;
use logs::{fill, growing, mutation, open};
use protocol_mutlog::{Index, Sha224};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Answer {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    fn index(&self) -> Vec<(u32, u64)> {
        assert_eq!(self.status, StatusCode::OK);
        Index::decode(&self.body).unwrap().segments.iter().map(|segment| (segment.number, segment.size)).collect()
    }
}

async fn ask(router: &Router, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let answer = router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
    let (parts, body) = answer.into_parts();
    Answer { status: parts.status, headers: parts.headers, body: body.collect().await.unwrap().to_bytes().to_vec() }
}

async fn get(router: &Router, path: &str) -> Answer {
    ask(router, "GET", path, &[]).await
}

fn serve(log: &Log) -> Router {
    http::router(log.clone(), Readers::everybody(), CancellationToken::new())
}

/// Two frozen segments and one that grows.
async fn three(dir: &std::path::Path) -> (Log, Router, [Vec<u8>; 3]) {
    let log = open(dir);
    fill(&log).await;
    log.append(mutation(1)).await.unwrap();
    fill(&log).await;
    log.append(mutation(2)).await.unwrap();
    let paths: Vec<_> = log.snapshot().segments.iter().map(|segment| std::fs::read(&segment.path).unwrap()).collect();
    let router = serve(&log);
    (log, router, paths.try_into().unwrap())
}

#[tokio::test]
async fn the_index_is_what_followers_expect() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    let router = serve(&log);
    let answer = get(&router, "/logs").await;
    assert_eq!((answer.status, answer.header("content-type"), answer.header("x-sum-segment-size")), (StatusCode::OK, "application/json", "8"));
    assert_eq!(answer.header("cache-control"), "no-store");
    let expected = format!(
        "[\n\t{{\n\t\t\"number\": 0,\n\t\t\"size\": 8,\n\t\t\"sha224\": \"{}\",\n\t\t\"url\": \"/logs/0\",\n\t\t\"frozen\": false\n\t}}\n]",
        Sha224::of(b"REC@0+0=")
    );
    assert_eq!(String::from_utf8(answer.body).unwrap(), expected);
    let head = ask(&router, "HEAD", "/logs", &[]).await;
    assert_eq!((head.status, head.body.len(), head.header("x-sum-segment-size")), (StatusCode::OK, 0, "8"));
    assert_eq!(head.header("content-length"), expected.len().to_string());
}

#[tokio::test]
async fn the_index_begins_where_it_is_asked_to() {
    let dir = tempfile::tempdir().unwrap();
    let (log, router, bytes) = three(dir.path()).await;
    let all: Vec<(u32, u64)> = (0..).zip(bytes.iter().map(|bytes| bytes.len() as u64)).collect();
    for (query, from) in [
        ("", 0),
        ("?startseg=", 0),
        ("?startseg=0", 0),
        ("?startseg=1", 1),
        ("?startseg=2", 2),
        ("?startseg=3", 0),
        ("?startseg=%32", 2),
        ("?startseg=abc", 0),
        ("?startseg=1x", 0),
        ("?startseg=99999999999999999999", 0),
        ("?startseg=2&startseg=1", 2),
    ] {
        let answer = get(&router, &format!("/logs{query}")).await;
        assert_eq!(answer.index(), all[from..], "{query}");
        let sum: u64 = all[from..].iter().map(|(_, size)| size).sum();
        assert_eq!(answer.header("x-sum-segment-size"), sum.to_string(), "{query}: the sum of what is listed");
    }
    let index = Index::decode(&get(&router, "/logs").await.body).unwrap();
    assert_eq!(index.segments.iter().map(|segment| segment.frozen).collect::<Vec<_>>(), [Some(true), Some(true), Some(false)]);
    for (segment, bytes) in index.segments.iter().zip(&bytes) {
        assert_eq!((segment.sha224, segment.url.as_str()), (Sha224::of(bytes), format!("/logs/{}", segment.number).as_str()));
        assert_eq!(get(&router, &segment.url).await.body, *bytes);
    }
    // The total counts for waiting, whatever is listed.
    let total = log.snapshot().total;
    assert_eq!(get(&router, &format!("/logs?startseg=2&waitsizenot={}", total - 1)).await.index(), all[2..]);
}

#[tokio::test]
async fn errors_are_those_of_the_reference_byte_for_byte() {
    let dir = tempfile::tempdir().unwrap();
    let router = serve(&open(dir.path()));
    for (method, path, status, body) in [
        ("POST", "/logs", 400, "bad method\n"),
        ("PUT", "/logs?startseg=-1", 400, "bad method\n"),
        ("OPTIONS", "/logs/0", 400, "bad method\n"),
        ("DELETE", "/logs/x", 400, "bad method\n"),
        ("GET", "/logs?startseg=-1", 400, "bad startseg\n"),
        ("GET", "/logs?startseg=-99999999999999999999", 400, "bad startseg\n"),
        ("GET", "/logs?startseg=-1&waitsizenot=x", 400, "bad startseg\n"),
        ("GET", "/logs?waitsizenot=x", 400, "bad waitsizenot\n"),
        ("GET", "/logs?waitsizenot=-1", 400, "bad waitsizenot\n"),
        ("GET", "/logs?waitsizenot=+8", 400, "bad waitsizenot\n"),
        ("GET", "/logs?waitsizenot=99999999999999999999", 400, "bad waitsizenot\n"),
        ("GET", "/logs/", 400, "bad path\n"),
        ("GET", "/logs/x", 400, "bad path\n"),
        ("GET", "/logs/0/1", 400, "bad path\n"),
        ("GET", "/logs/99999999999999999999", 400, "bad path\n"),
        ("GET", "/logs/1", 400, "bad segment number\n"),
        ("GET", "/logs/4294967296", 400, "bad segment number\n"),
        ("GET", "/logs/-1", 400, "bad segment number\n"),
    ] {
        let answer = ask(&router, method, path, &[]).await;
        assert_eq!((answer.status.as_u16(), String::from_utf8_lossy(&answer.body).as_ref()), (status, body), "{method} {path}");
        assert_eq!(answer.header("content-type"), "text/plain; charset=utf-8", "{method} {path}");
        assert_eq!(answer.header("x-content-type-options"), "nosniff", "{method} {path}");
    }
    let head = ask(&router, "HEAD", "/logs/1", &[]).await;
    assert_eq!((head.status.as_u16(), head.body.len(), head.header("content-length")), (400, 0, "19"));
    // Written in other ways, the same number.
    for path in ["/logs/+0", "/logs/000", "/logs/%30"] {
        assert_eq!(get(&router, path).await.body, b"REC@0+0=", "{path}");
    }
}

#[tokio::test]
async fn segments_are_served_whole_and_in_parts() {
    let dir = tempfile::tempdir().unwrap();
    let (_log, router, bytes) = three(dir.path()).await;
    for (number, bytes) in bytes.iter().enumerate() {
        let path = format!("/logs/{number}");
        let size = bytes.len();
        let whole = get(&router, &path).await;
        assert_eq!((whole.status.as_u16(), whole.header("content-type"), whole.header("accept-ranges")), (200, "application/octet-stream", "bytes"));
        assert_eq!(whole.header("content-length"), size.to_string());
        assert!(whole.body == *bytes);
        let head = ask(&router, "HEAD", &path, &[("range", "bytes=0-3")]).await;
        assert_eq!((head.status.as_u16(), head.header("content-length"), head.body.len()), (206, "4", 0));

        let frozen = number < 2;
        let tag = format!("\"{}\"", Sha224::of(bytes));
        assert_eq!(whole.header("etag"), if frozen { tag.as_str() } else { "" });
        assert_eq!(whole.header("last-modified"), "");
        assert_eq!(whole.header("cache-control"), if frozen { "public, max-age=31536000, immutable" } else { "no-store" });

        for (range, from, to) in [
            ("bytes=0-".to_owned(), 0, size),
            ("bytes=0-0".to_owned(), 0, 1),
            (format!("bytes=5-{}", size - 1), 5, size),
            (format!("bytes={}-{}", size - 1, size + 100), size - 1, size),
            ("bytes=-7".to_owned(), size - 7, size),
        ] {
            let part = ask(&router, "GET", &path, &[("range", &range)]).await;
            assert_eq!(part.status.as_u16(), 206, "{range}");
            assert_eq!(part.header("content-range"), format!("bytes {from}-{}/{size}", to - 1), "{range}");
            assert_eq!(part.header("content-length"), (to - from).to_string());
            assert!(part.body == bytes[from..to], "{range}");
        }
        let outside = ask(&router, "GET", &path, &[("range", &format!("bytes={size}-"))]).await;
        assert_eq!((outside.status.as_u16(), outside.body.as_slice()), (416, &b"invalid range: failed to overlap\n"[..]));
        assert_eq!((outside.header("content-range"), outside.header("cache-control")), (format!("bytes */{size}").as_str(), ""));
        let malformed = ask(&router, "GET", &path, &[("range", "bytes=9-3")]).await;
        assert_eq!((malformed.status.as_u16(), malformed.body.as_slice(), malformed.header("content-range")), (416, &b"invalid range\n"[..], ""));
        let two = ask(&router, "GET", &path, &[("range", "bytes=0-1,4-5")]).await;
        assert_eq!((two.status.as_u16(), two.body.len()), (200, size));

        // Who has it need not fetch it again; who has another one gets the whole.
        let known = ask(&router, "GET", &path, &[("if-none-match", &tag)]).await;
        assert_eq!((known.status.as_u16(), known.body.len()), if frozen { (304, 0) } else { (200, size) });
        let resumed = ask(&router, "GET", &path, &[("if-range", &tag), ("range", "bytes=1-2")]).await;
        assert_eq!(resumed.status.as_u16(), if frozen { 206 } else { 200 });
        let other = ask(&router, "GET", &path, &[("if-range", "\"other\""), ("range", "bytes=1-2")]).await;
        assert_eq!((other.status.as_u16(), other.body.len()), (200, size));
    }
}

#[tokio::test]
async fn a_segment_that_cannot_be_read_is_told_with_a_status() {
    let dir = tempfile::tempdir().unwrap();
    let (log, router, _) = three(dir.path()).await;
    std::fs::remove_file(&log.snapshot().segments[1].path).unwrap();
    let answer = get(&router, "/logs/1").await;
    assert_eq!(answer.status.as_u16(), 500, "a status at which followers try again");
    assert_eq!(answer.body, b"the segment cannot be read\n");
    // Bytes that vanish in the course cut the answer, so that it is not taken for whole.
    std::fs::File::options().write(true).open(&log.snapshot().segments[0].path).unwrap().set_len(1 << 20).unwrap();
    let request = Request::get("/logs/0").body(Body::empty()).unwrap();
    assert!(router.oneshot(request).await.unwrap().into_body().collect().await.is_err());
}

/// Appends from outside the runtime, whose time therefore stands still meanwhile.
async fn append(log: &Log, payload: Vec<u8>) -> u64 {
    let log = log.clone();
    tokio::task::spawn_blocking(move || log.append_blocking(payload).unwrap().total).await.unwrap()
}

/// Returns when so many wait.
async fn until_waiting(log: &Log, count: usize) {
    while log.watchers() < count {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_follower_that_knows_everything_is_held_for_fifty_five_seconds() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    let router = serve(&log);
    let start = Instant::now();
    let answer = get(&router, "/logs?waitsizenot=8").await;
    assert_eq!((answer.status.as_u16(), answer.body.len(), answer.header("content-type")), (304, 0, ""));
    assert_eq!(start.elapsed().as_secs(), 55);
    assert_eq!(log.watchers(), 0, "nothing is left of it");
}

#[tokio::test(start_paused = true)]
async fn a_follower_that_knows_less_or_more_is_answered_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let router = serve(&open(dir.path()));
    let start = Instant::now();
    for known in ["0", "7", "9", "9223372036854775807", ""] {
        assert_eq!(get(&router, &format!("/logs?waitsizenot={known}")).await.index(), [(0, 8)], "{known}");
    }
    assert_eq!(start.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_record_wakes_a_follower_and_freezing_does_not() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    let router = serve(&log);
    let start = Instant::now();
    let waiting = tokio::spawn({
        let router = router.clone();
        async move { get(&router, "/logs?waitsizenot=8&startseg=0").await }
    });
    until_waiting(&log, 1).await;
    let total = append(&log, mutation(1)).await;
    let answer = waiting.await.unwrap();
    assert_eq!(answer.index(), [(0, total)]);
    assert_eq!(answer.header("x-sum-segment-size"), total.to_string());
    assert_eq!(start.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_thousand_followers_are_woken_by_one_record() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    let router = serve(&log);
    let start = Instant::now();
    let waiting: Vec<_> = (0..1_000)
        .map(|_| {
            let router = router.clone();
            tokio::spawn(async move { get(&router, "/logs?waitsizenot=8").await })
        })
        .collect();
    until_waiting(&log, 1_000).await;
    let total = append(&log, mutation(1)).await;
    for answer in waiting {
        assert_eq!(answer.await.unwrap().index(), [(0, total)]);
    }
    assert_eq!(start.elapsed(), Duration::ZERO);
    assert_eq!(log.watchers(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_ends_sends_waiting_followers_away() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    let shutdown = CancellationToken::new();
    let router = http::router(log.clone(), Readers::everybody(), shutdown.clone());
    let start = Instant::now();
    let waiting = tokio::spawn(async move { get(&router, "/logs?waitsizenot=8").await });
    until_waiting(&log, 1).await;
    shutdown.cancel();
    assert_eq!(waiting.await.unwrap().status.as_u16(), 304, "the answer at which a follower asks again");
    assert_eq!(start.elapsed(), Duration::ZERO);
}

#[tokio::test]
async fn a_log_with_a_token_is_read_by_who_has_it() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    fill(&log).await;
    log.append(mutation(1)).await.unwrap();
    let router = http::router(log, Readers::with_token("s3cret"), CancellationToken::new());
    for path in ["/logs", "/logs/0", "/logs/", "/logs?startseg=-1"] {
        for headers in [&[][..], &[("authorization", "Bearer wrong")], &[("authorization", "Basic s3cret")], &[("authorization", "s3cret")]] {
            let answer = ask(&router, "GET", path, headers).await;
            assert_eq!((answer.status.as_u16(), answer.header("www-authenticate")), (401, "Bearer"), "{path} {headers:?}");
        }
    }
    let good = [("authorization", "Bearer s3cret")];
    assert_eq!(ask(&router, "GET", "/logs", &good).await.index().len(), 2);
    let segment = ask(&router, "GET", "/logs/0", &good).await;
    assert_eq!((segment.status.as_u16(), segment.header("cache-control")), (200, "private, max-age=31536000, immutable"));
}

/// Over a socket: what a follower's HTTP library sees.
#[tokio::test(flavor = "multi_thread")]
async fn a_real_connection_follows_growth_and_freezing() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let router = serve(&log);
    let server = tokio::spawn(async move { axum::serve(listener, router).await });
    let fetch = move |path: String| {
        let address = address.clone();
        async move { tokio::task::spawn_blocking(move || testkit_harness::http::get(&address, &path).unwrap()).await.unwrap() }
    };
    let mut have = Vec::new();
    for round in 0..4 {
        let waiting = tokio::spawn(fetch(format!("/logs?waitsizenot={}", 8.max(have.len()))));
        until_waiting(&log, 1).await;
        if round == 2 {
            fill(&log).await;
        } else {
            log.append(mutation(round)).await.unwrap();
        }
        let answer = waiting.await.unwrap();
        assert_eq!(answer.status, 200);
        have.clear();
        for segment in Index::decode(&answer.body).unwrap().segments {
            let bytes = fetch(segment.url).await.body;
            assert_eq!(Sha224::of(&bytes), segment.sha224);
            have.extend(bytes);
        }
    }
    assert_eq!(log.snapshot().segments.len(), 2);
    assert!(have.ends_with(&mutation(3)));
    let growing = std::fs::read(dir.path().join(growing(1))).unwrap();
    let raw = fetch("/logs/1".into()).await;
    assert_eq!(raw.body, growing);
    let mut lines: Vec<&str> = raw.head.lines().filter(|line| !line.starts_with("date:")).collect();
    lines.sort_unstable();
    assert_eq!(
        lines,
        [
            "accept-ranges: bytes",
            "cache-control: no-store",
            "connection: close",
            &format!("content-length: {}", growing.len()),
            "content-type: application/octet-stream"
        ]
    );
    server.abort();
}
