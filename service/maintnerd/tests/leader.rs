//! Log and corpus together: what is committed is in the view, in one order, and there after a crash; and what the pages say of it.

use std::path::Path;
use std::sync::Arc;

use axum::body::Body;
use axum::http::{Request, StatusCode};
use burrow_clock::SystemClock;
use burrow_maintner::{Corpus, Part};
use burrow_maintnerd::{Leader, api::Rules, http::Readers, pages};
use http_body_util::BodyExt as _;
use protocol_mutlog::schema::{GithubIssueMutation, Mutation, Timestamp};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

async fn open(dir: &Path) -> Leader {
    Leader::open(dir, SystemClock::shared(), 2, Arc::new(|_| {})).await.unwrap()
}

fn issue(number: i32, title: &str) -> Mutation {
    let issue = GithubIssueMutation {
        owner: b"o".to_vec(),
        repo: b"r".to_vec(),
        number,
        created: Some(Timestamp::new(1_700_000_000, 0)),
        title: title.as_bytes().to_vec(),
        ..Default::default()
    };
    Mutation { github_issue: Some(issue), ..Default::default() }
}

fn title(leader: &Leader, number: i32) -> Option<String> {
    leader.view().github().repo("o", "r")?.issue(number).map(|issue| issue.title().to_string())
}

#[tokio::test]
async fn what_is_committed_is_in_the_view_and_survives() {
    let dir = tempfile::tempdir().unwrap();
    let leader = open(dir.path()).await;
    assert_eq!(leader.view().records(), 1, "a fresh log has one empty record, so that followers have something to load");
    let view = leader.commit(&[issue(1, "first"), issue(2, "second")]).await.unwrap();
    assert_eq!((view.records(), title(&leader, 2).as_deref()), (3, Some("second")));
    leader.close().await;
    // Closing wrote a snapshot; opening uses it. Without it the log says the same.
    assert!(leader.snapshot_file().is_file());
    for _ in 0..2 {
        let leader = open(dir.path()).await;
        assert_eq!((leader.view().records(), title(&leader, 1).as_deref()), (3, Some("first")));
        leader.close().await;
        std::fs::remove_file(leader.snapshot_file()).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_writers_have_one_order_and_each_sees_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let leader = open(dir.path()).await;
    let tasks: Vec<_> = (1..=20)
        .map(|writer| {
            let leader = leader.clone();
            tokio::spawn(async move {
                for round in 0..25 {
                    let text = format!("{writer} in round {round}");
                    let view = leader.commit(&[issue(writer, &text)]).await.unwrap();
                    assert_eq!(view.github().repo("o", "r").unwrap().issue(writer).unwrap().title(), text.as_str());
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    // Another program that reads the log comes to the same.
    let state = leader.log().snapshot();
    let parts: Vec<Part> = state.segments.iter().map(|segment| Part::file(&segment.path, 0, segment.size)).collect();
    let other = Corpus::load(&parts, 2, &|_| {}).unwrap().view();
    assert_eq!(other.records(), leader.view().records());
    for number in 1..=20 {
        assert_eq!(title(&leader, number), Some(other.github().repo("o", "r").unwrap().issue(number).unwrap().title().to_string()));
    }
    leader.close().await;
}

#[tokio::test]
async fn large_mutations_turn_segments_over_and_stay_readable() {
    let dir = tempfile::tempdir().unwrap();
    let leader = open(dir.path()).await;
    for number in 1..=12 {
        leader.commit(&[issue(number, &number.to_string().repeat(3 << 20))]).await.unwrap();
    }
    assert!(leader.log().snapshot().segments.len() >= 3);
    for number in 1..=12 {
        assert_eq!(title(&leader, number).unwrap(), number.to_string().repeat(3 << 20));
    }
    leader.close().await;
}

async fn get(router: &axum::Router, path: &str, token: Option<&str>) -> (StatusCode, axum::http::HeaderMap, Vec<u8>) {
    let mut request = Request::get(path);
    if let Some(token) = token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    let answer = router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
    let (head, body) = answer.into_parts();
    (head.status, head.headers, body.collect().await.unwrap().to_bytes().to_vec())
}

fn site(leader: &Leader, readers: Readers) -> axum::Router {
    let clock = SystemClock::shared();
    let site = pages::Site { leader: leader.clone(), rules: Rules::go(), gerrit: None, readers, sources: Arc::new(Vec::new), clock };
    pages::router(site, CancellationToken::new())
}

#[tokio::test]
async fn pages_say_what_there_is() {
    let dir = tempfile::tempdir().unwrap();
    let leader = open(dir.path()).await;
    leader.commit(&[issue(1, "first"), issue(2, "second")]).await.unwrap();
    let router = site(&leader, Readers::everybody());
    let (status, _, body) = get(&router, "/status.json", None).await;
    let json: serde_json::Value = serde_json::from_slice(&body).unwrap();
    assert_eq!((status, &json["counts"]["issues"], &json["records"]), (StatusCode::OK, &2.into(), &3.into()));
    let (status, headers, body) = get(&router, "/", None).await;
    assert!(status == StatusCode::OK && headers["content-type"].to_str().unwrap().starts_with("text/html"));
    assert!(String::from_utf8(body).unwrap().contains("href=\"/logs\""));
    assert_eq!(get(&router, "/healthz", None).await.2, b"ok");
    assert_eq!(get(&router, "/nothing", None).await.0, StatusCode::NOT_FOUND);
    assert_eq!(get(&router, "/snapshot", None).await.0, StatusCode::NOT_FOUND, "none is written yet");
    leader.close().await;

    let leader = open(dir.path()).await;
    let router = site(&leader, Readers::everybody());
    let (status, headers, body) = get(&router, "/snapshot", None).await;
    assert_eq!((status, body), (StatusCode::OK, std::fs::read(leader.snapshot_file()).unwrap()));
    assert_eq!(headers["etag"], format!("\"{}\"", leader.view().position()).as_str());
    leader.close().await;
}

#[tokio::test]
async fn a_token_guards_everything_but_the_health_check() {
    let dir = tempfile::tempdir().unwrap();
    let leader = open(dir.path()).await;
    let router = site(&leader, Readers::with_token("secret"));
    for path in ["/", "/status.json", "/snapshot", "/logs", "/logs/0"] {
        assert_eq!(get(&router, path, None).await.0, StatusCode::UNAUTHORIZED, "{path}");
        assert_ne!(get(&router, path, Some("secret")).await.0, StatusCode::UNAUTHORIZED, "{path}");
    }
    assert_eq!(get(&router, "/healthz", None).await.0, StatusCode::OK);
    let call = Request::post("/apipb.MaintnerService/GetRef")
        .version(axum::http::Version::HTTP_2)
        .header("content-type", "application/grpc")
        .body(Body::from(vec![0; 5]))
        .unwrap();
    let (head, body) = router.oneshot(call).await.unwrap().into_parts();
    let trailers = body.collect().await.unwrap().trailers().cloned().unwrap_or_default();
    let status = head.headers.get("grpc-status").or(trailers.get("grpc-status")).unwrap();
    assert_eq!(status, "16", "unauthenticated");
    leader.close().await;
}
