//! What the service answers.

use std::sync::Arc;

use axum::body::Body;
use axum::http::{Request, Response, StatusCode};
use burrow_gitmirror::Mirror;
use burrow_gitmirror::http::{Access, Served, router};
use http_body_util::BodyExt as _;
use tower::ServiceExt as _;

use crate::scene::{REPO, Scene, quiet, until};

fn app(scene: &Scene, mirror: &Mirror, access: Access) -> axum::Router {
    router_of(mirror, &scene.path("archives"), access, scene)
}

/// Everything that it answers, with the archives in this folder.
pub(crate) fn router_of(mirror: &Mirror, archives: &std::path::Path, access: Access, scene: &Scene) -> axum::Router {
    let served = Arc::new(Served::new(mirror.clone(), access.clone()));
    let server = burrow_gitserve::Server::new(served, archives, scene.deps().clock, Default::default()).unwrap();
    router(mirror.clone(), access, &server)
}

pub(crate) async fn get(app: &axum::Router, path: &str) -> (StatusCode, String) {
    text(app.clone().oneshot(Request::get(path).header("host", "localhost").body(Body::empty()).unwrap()).await.unwrap()).await
}

async fn post(app: &axum::Router, path: &str, headers: &[(&str, &str)], body: &'static str) -> (StatusCode, String) {
    let mut request = Request::post(path).header("host", "localhost");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    text(app.clone().oneshot(request.body(Body::from(body)).unwrap()).await.unwrap()).await
}

async fn text(answer: Response<Body>) -> (StatusCode, String) {
    let status = answer.status();
    (status, String::from_utf8_lossy(&answer.into_body().collect().await.unwrap().to_bytes()).into_owned())
}

/// What the reference's coordinator makes of the list (`gitMirrorInstanceErrors`): each line of ours is judged as its regular expression would.
fn judged(page: &str) -> Vec<(String, &'static str)> {
    let mut found = Vec::new();
    for line in page.split('\n') {
        if line.ends_with(" - ok") {
            continue;
        }
        let parts = line.split_once("/debug/watcher/").and_then(|(_, rest)| {
            let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == '-'))?;
            let (name, rest) = rest.split_at(end);
            let (_, status) = rest.rsplit_once("</a> - ")?;
            (!name.is_empty()).then(|| (name.to_owned(), status.to_owned()))
        });
        match parts {
            Some((name, status)) if status.starts_with("ok; ") => found.push((name, "warning")),
            Some((name, _)) => found.push((name, "error")),
            None if line.contains("</html>") => break,
            None => found.push((line.to_owned(), "not understood")),
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn the_references_addresses_answer_as_its_clients_expect() {
    let scene = Scene::new();
    let dest = scene.bare("dest.git");
    let mirror = scene.start(scene.config(&[&dest])).await;
    quiet(&mirror).await;
    let app = app(&scene, &mirror, Access::new(None, None, true));
    let (status, page) = get(&app, "/").await;
    assert_eq!((status, page.as_str()), (StatusCode::OK, "<html><body><pre><a href='/debug/watcher/app'>app</a> - ok\n</pre></body></html>"));
    assert_eq!(get(&app, "/debug/watcher/").await.1, page);
    assert_eq!(judged(&page), []);
    assert_eq!(get(&app, "/healthz").await, (StatusCode::OK, String::new()));
    let (status, log) = get(&app, "/debug/watcher/app").await;
    assert!(status == StatusCode::OK && log.contains("watcher status for repo: \"app\"") && log.contains("waiting"), "{log}");
    assert_eq!(get(&app, "/debug/watcher/other").await.0, StatusCode::NOT_FOUND);
    assert_eq!(get(&app, "/debug/env").await.0, StatusCode::NOT_FOUND);

    std::fs::remove_dir_all(&dest).unwrap();
    scene.upstream.write("a.txt", "two").commit("second");
    mirror.wake(REPO);
    until(&mirror, "the failure", |s| s.repo(REPO).filter(|r| r.dests[0].failures > 0).map(drop)).await;
    assert_eq!(judged(&get(&app, "/").await.1), [("app".to_owned(), "error")]);
    let (status, error) = get(&app, "/healthz").await;
    assert!(status == StatusCode::INTERNAL_SERVER_ERROR && error.starts_with("app: ") && error.ends_with('\n'), "{error}");
    assert_eq!(get(&app, "/livez").await.0, StatusCode::OK, "the process itself works");
    // The page for people, its JSON and the numbers say the same.
    let (_, page) = get(&app, "/status").await;
    assert!(page.contains("failing") && page.contains("dest"), "{page}");
    let (_, json) = get(&app, "/status.json").await;
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["repos"][0]["dests"][0]["failures"], 1);
    let (_, numbers) = get(&app, "/metrics").await;
    assert!(numbers.contains("burrow_gitmirror_push_failures{repo=\"app\",dest=\"dest\"} 1\n"), "{numbers}");
    mirror.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn archives_and_only_published_revisions_are_served() {
    let scene = Scene::new();
    let mirror = scene.start(scene.config(&[])).await;
    quiet(&mirror).await;
    let app = app(&scene, &mirror, Access::new(None, None, true));
    assert_eq!(get(&app, "/app.tar.gz?rev=main").await.0, StatusCode::OK);
    assert_eq!(get(&app, &format!("/app.tar.gz?rev={}", scene.upstream.head())).await.0, StatusCode::OK);
    // A commit that was made after the last fetch is fetched for the question.
    let late = scene.upstream.write("a.txt", "two").commit("second");
    assert_eq!(get(&app, &format!("/app.tar.gz?rev={late}")).await.0, StatusCode::OK);
    for rev in ["--output=/var/x", "-h", "..", "%00"] {
        assert_eq!(get(&app, &format!("/app.tar.gz?rev={rev}")).await.0, StatusCode::BAD_REQUEST, "{rev}");
    }
    assert_eq!(get(&app, "/nothing.tar.gz?rev=main").await.0, StatusCode::NOT_FOUND);
    mirror.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signed_tickle_wakes_and_an_unsigned_one_does_not() {
    let scene = Scene::new();
    let dest = scene.bare("dest.git");
    let mirror = scene.start(scene.config(&[&dest])).await;
    quiet(&mirror).await;
    let app = app(&scene, &mirror, Access::new(Some("admin"), Some("It's a Secret to Everybody"), false));
    scene.upstream.write("a.txt", "two").commit("second");
    // The example of GitHub's documentation.
    let signature = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
    assert_eq!(post(&app, "/tickle/app", &[("x-hub-signature-256", signature)], "Hello, World").await.0, StatusCode::FORBIDDEN);
    assert_eq!(post(&app, "/tickle/app", &[], "Hello, World!").await.0, StatusCode::FORBIDDEN);
    assert_eq!(post(&app, "/tickle/other", &[("x-hub-signature-256", signature)], "Hello, World!").await.0, StatusCode::NOT_FOUND);
    assert_eq!(post(&app, "/tickle/app", &[("x-hub-signature-256", signature)], "Hello, World!").await.0, StatusCode::ACCEPTED);
    until(&mirror, "the second commit", |s| s.repo(REPO).filter(|r| r.is_quiet() && r.fetches == 2).map(drop)).await;
    assert_eq!(scene.refs(&dest), scene.upstream_refs());
    // Orders need the token.
    let form = ("content-type", "application/x-www-form-urlencoded");
    assert_eq!(post(&app, "/api/undo", &[form], "repo=app&dest=dest&round=2").await.0, StatusCode::UNAUTHORIZED);
    assert_eq!(post(&app, "/api/undo", &[form, ("authorization", "Bearer wrong")], "repo=app&dest=dest&round=2").await.0, StatusCode::UNAUTHORIZED);
    let (status, said) = post(&app, "/api/undo", &[form, ("authorization", "Bearer admin")], "repo=app&dest=dest&round=2").await;
    assert_eq!((status, said.as_str()), (StatusCode::OK, "1 references of app at dest go back to what they were.\n"));
    assert_eq!(post(&app, "/api/confirm", &[form, ("authorization", "Bearer admin")], "repo=app").await.0, StatusCode::CONFLICT);
    let (_, journal) = get(&app, "/journal").await;
    assert!(journal.contains("refs/heads/main"), "{journal}");
    mirror.stop().await;
}
