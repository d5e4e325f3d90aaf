//! The pages and the JSON interface as a browser and a program see them: a seeded database behind the real router.

mod fake;

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Request, StatusCode, header};
use burrow_clock::TestClock;
use burrow_coordinator::control::Change;
use burrow_coordinator::http::{Access, Settings, Site, router};
use burrow_results::MIGRATIONS;
use burrow_results::model::{AttemptId, BuildId, BuildState};
use burrow_results::seed::{Seed, fill, hash_at};
use burrow_store::{Db, sql};
use fake::Fake;
use http_body_util::BodyExt as _;
use tower::ServiceExt as _;

const NOW: i64 = 1_790_000_000_000;

struct World {
    db: Db,
    fake: Arc<Fake>,
    clock: TestClock,
    router: Router,
}

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Answer {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

impl World {
    async fn with(settings: Settings, commits: usize, builders: usize) -> World {
        let clock = TestClock::at(NOW);
        let db = Db::open("sqlite::memory:", MIGRATIONS).await.unwrap();
        fill(&db, &Seed { commits, builders: Seed::builders(builders), now_ms: NOW, detailed: 10 }).await.unwrap();
        let fake = Fake::new(db.clone(), Arc::new(clock.clone()));
        fake.refresh().await;
        let router = router(Site::new(db.clone(), fake.clone(), Arc::new(clock.clone()), settings));
        World { db, fake, clock, router }
    }

    async fn small() -> World {
        World::with(loopback(), 10, 9).await
    }

    async fn send(&self, request: Request<Body>) -> Answer {
        let answer = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = answer.into_parts();
        Answer { status: parts.status, headers: parts.headers, body: body.collect().await.unwrap().to_bytes().to_vec() }
    }

    async fn get(&self, path: &str) -> Answer {
        self.get_with(path, &[]).await
    }

    async fn get_with(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        let mut request = Request::get(path).header("host", "localhost:8080");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.send(request.body(Body::empty()).unwrap()).await
    }

    async fn post(&self, path: &str, headers: &[(&str, &str)], body: impl Into<Body>) -> Answer {
        let mut request = Request::post(path).header("host", "localhost:8080");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.send(request.body(body.into()).unwrap()).await
    }

    /// Number of the newest build of a state.
    async fn one(&self, state: &str) -> i64 {
        let found = self.get(&format!("/api/v1/builds?state={state}&limit=1")).await.json();
        found["items"][0]["id"].as_i64().unwrap_or_else(|| panic!("no build is {state}"))
    }
}

fn loopback() -> Settings {
    Settings { version: "0.0.0".into(), access: Access { token_hash: None, loopback: true }, ..Settings::default() }
}

#[tokio::test]
async fn every_page_is_there_with_its_json_and_its_guards() {
    let world = World::small().await;
    let failed = world.one("failed_test").await;
    let builder = Seed::builders(1).remove(0);
    let hash = hash_at(4);
    for (page, data) in [
        ("/".to_owned(), "/index.json".to_owned()),
        ("/p/burrow/sample/main".into(), "/p/burrow/sample/main.json".into()),
        ("/p/burrow/sample/release/1.4".into(), "/p/burrow/sample/release%2F1.4.json".into()),
        (format!("/c/sample/{hash}"), format!("/c/sample/{hash}.json")),
        (format!("/build/{failed}"), format!("/build/{failed}.json")),
        (format!("/builder/{builder}"), format!("/builder/{builder}.json")),
        ("/queue".into(), "/queue.json".into()),
        ("/machines".into(), "/machines.json".into()),
        ("/builders".into(), "/builders.json".into()),
    ] {
        let shown = world.get(&page).await;
        assert_eq!((shown.status, shown.header("content-type")), (StatusCode::OK, "text/html; charset=utf-8"), "{page}");
        assert!(shown.header("content-security-policy").contains("script-src 'self'"), "{page}");
        assert_eq!(shown.header("x-content-type-options"), "nosniff", "{page}");
        assert!(shown.text().contains("As of <time"), "{page} does not say how fresh it is");
        for forbidden in [" style=", "<script>", " onclick="] {
            assert!(!shown.text().contains(forbidden), "{page} has {forbidden}, which its own policy refuses");
        }
        let by_ending = world.get(&data).await;
        assert_eq!((by_ending.status, by_ending.header("content-type")), (StatusCode::OK, "application/json"), "{data}");
        let by_header = world.get_with(&page, &[("accept", "application/json")]).await;
        assert_eq!(by_header.body, by_ending.body, "{page}");
        by_ending.json();
    }
}

#[tokio::test]
async fn json_of_the_grid_has_the_shape_that_is_promised() {
    let world = World::with(loopback(), 3, 2).await;
    let grid = world.get("/api/v1/board?repo=sample&limit=2").await.json();
    insta::assert_json_snapshot!("board", grid);
    insta::assert_json_snapshot!("commit", world.get(&format!("/api/v1/commits/sample/{}", &hash_at(1)[..10])).await.json());
    insta::assert_json_snapshot!("build", world.get("/api/v1/builds/3").await.json());
    insta::assert_json_snapshot!("projects", world.get("/api/v1/projects").await.json());
}

#[tokio::test]
async fn what_others_wrote_cannot_become_markup() {
    let world = World::small().await;
    let evil = "<script>alert(1)</script>\"'&";
    let hash = hash_at(9);
    let failed = world.one("failed_test").await;
    world
        .db
        .commit(vec![
            sql("UPDATE commits SET title = $1, author = $1, email = $1", (evil,)),
            sql("UPDATE builds SET reason = $1, origin = $1, builder = builder || $1 WHERE id = $2", (evil, failed)),
            sql("UPDATE attempts SET message = $1, worker = $1, hostname = $1", (evil,)),
            sql("UPDATE steps SET name = $1, detail = $1, signal = $1", (evil,)),
            sql("UPDATE history SET text = $1, actor = $1", (evil,)),
            sql("UPDATE test_results SET test = $1 || test", (evil,)),
            sql("UPDATE repos SET error = $1", (evil,)),
        ])
        .await
        .unwrap();
    world.fake.set_log(AttemptId(failed * 4), format!("{evil}\n--- FAIL: {evil} (0s)\n").as_bytes(), true);
    world.fake.publish(Change::Config);
    for page in [
        "/",
        "/p/burrow/sample/main",
        &format!("/c/sample/{hash}"),
        &format!("/build/{failed}"),
        "/queue",
        "/machines",
        "/no<script>alert(1)</script>",
        "/login?next=%22%3E%3Cscript%3Ealert(1)",
    ] {
        let text = world.get(&page.replace('<', "%3C").replace('>', "%3E")).await.text();
        assert!(!text.contains("<script>alert"), "{page}");
        assert!(!text.contains("\"><script"), "{page}");
    }
}

#[tokio::test]
async fn a_page_is_sent_once_and_again_only_when_something_changed() {
    let world = World::small().await;
    let path = "/p/burrow/sample/main";
    let first = world.get_with(path, &[("accept-encoding", "gzip")]).await;
    assert_eq!(first.header("content-encoding"), "gzip");
    let tag = first.header("etag").to_owned();
    let again = world.get_with(path, &[("if-none-match", &tag)]).await;
    assert_eq!((again.status, again.body.len()), (StatusCode::NOT_MODIFIED, 0));
    let running = world.one("running").await;
    world.fake.put(BuildId(running), BuildState::TimedOut).await;
    let changed = world.get_with(path, &[("if-none-match", &tag)]).await;
    assert_eq!(changed.status, StatusCode::OK);
    assert!(
        changed.text().contains(&format!("to><a href=/build/{running}>time</a>"))
            || changed.text().contains(&format!("to edge\"><a href=/build/{running}>time</a>"))
    );
    // Ages grow without any change.
    let before = world.get(path).await.text();
    world.clock.advance_ms(3_600_000);
    assert_ne!(before, world.get(path).await.text());
}

#[tokio::test]
async fn filters_narrow_the_grid_and_pages_lead_on() {
    let world = World::with(loopback(), 30, 24).await;
    let linux = world.get("/api/v1/board?repo=sample&builders=linux-*,plan9-3%3F6,?9-386,windows").await.json();
    let names: Vec<_> = linux["builders"].as_array().unwrap().iter().map(|column| column["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["linux-386", "linux-amd64", "linux-arm64", "plan9-386"]);
    let red = world.get("/p/burrow/sample/main.json?state=red").await.json();
    assert!(red["rows"].as_array().unwrap().len() < 30 && !red["rows"].as_array().unwrap().is_empty());
    let first = world.get("/p/burrow/sample/main?limit=10").await.text();
    let older =
        first.split("rel=\"next\"").next().unwrap().rsplit("href=\"").next().unwrap().split('"').next().unwrap().replace("&#38;", "&").replace("&amp;", "&");
    let second = world.get(&older).await.text();
    assert!(first.contains(&hash_at(20)) && !first.contains(&format!("id=\"r{}", hash_at(19))));
    assert!(second.contains(&format!("id=\"r{}", hash_at(19))) && second.contains("rel=\"prev\""));
}

#[tokio::test]
async fn wrong_addresses_say_what_to_do() {
    let world = World::small().await;
    for path in [
        "/nope",
        "/build/999999999",
        "/build/x",
        "/p/burrow/none/main",
        "/p/burrow/sample/no/such/branch",
        "/c/sample/ffffffff",
        "/c/sample/xyz",
        "/builder/never-was",
        "/log/abc",
        "/log/da39a3ee5e6b4b0d3255bfef95601890afd80709",
        "/attempt/77/log",
        "/assets/style.css",
    ] {
        let answer = world.get(path).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{path}");
    }
    let problem = world.get("/api/v1/builds/999999999").await;
    assert_eq!((problem.status, problem.header("content-type")), (StatusCode::NOT_FOUND, "application/problem+json"));
    assert_eq!(problem.json()["status"], 404);
    assert_eq!(world.get("/api/v1/builds?state=purple").await.status, StatusCode::BAD_REQUEST);
    assert_eq!(world.get("/build/1/retry").await.status, StatusCode::METHOD_NOT_ALLOWED);
}

#[tokio::test]
async fn buttons_retry_cancel_and_drain_and_refuse_what_has_ended() {
    let world = World::small().await;
    let failed = world.one("failed_test").await;
    let retried = world.post(&format!("/build/{failed}/retry"), &[("content-type", "application/x-www-form-urlencoded")], "reason=try+again").await;
    assert_eq!(retried.status, StatusCode::SEE_OTHER);
    let new = retried.header("location").to_owned();
    assert!(world.get(&new).await.text().contains("try again"));
    assert!(world.get(&format!("/build/{failed}")).await.text().contains(&new), "the old page leads to the new build");
    assert_eq!(world.post(&format!("{new}/cancel"), &[], "").await.status, StatusCode::SEE_OTHER);
    assert!(world.get(&new).await.text().contains("cancelled"));
    let conflict = world.post(&format!("{new}/cancel"), &[], "").await;
    assert_eq!(conflict.status, StatusCode::CONFLICT);
    assert!(conflict.text().contains("already ended"));
    assert_eq!(world.post("/machines/local-1/drain", &[], "").await.status, StatusCode::SEE_OTHER);
    assert!(world.get("/machines").await.text().contains("Take work again"));
}

#[tokio::test]
async fn other_sites_and_strangers_cannot_press_buttons() {
    let world = World::small().await;
    let running = world.one("running").await;
    let path = format!("/build/{running}/cancel");
    assert_eq!(world.post(&path, &[("origin", "http://evil.example")], "").await.status, StatusCode::FORBIDDEN);
    assert_eq!(world.post(&path, &[("sec-fetch-site", "cross-site")], "").await.status, StatusCode::FORBIDDEN);
    let rebound = world.send(Request::get("/").header("host", "evil.example").body(Body::empty()).unwrap()).await;
    assert_eq!(rebound.status, StatusCode::MISDIRECTED_REQUEST);

    let settings = Settings {
        access: Access { token_hash: Some(Access::hash("s3cret")), loopback: false },
        public_url: "https://builds.example.org".into(),
        ..loopback()
    };
    let world = World::with(settings, 10, 9).await;
    let path = format!("/api/v1/builds/{}/cancel", world.one("running").await);
    let refused = world.post(&path, &[], "").await;
    assert_eq!((refused.status, refused.header("www-authenticate")), (StatusCode::UNAUTHORIZED, "Bearer"));
    assert_eq!(world.post(&path, &[("authorization", "Bearer wrong")], "").await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(world.post(&path, &[("authorization", "Bearer s3cret")], "").await.status, StatusCode::ACCEPTED);
    // A browser shows the token once.
    assert_eq!(world.post("/login", &[("content-type", "application/x-www-form-urlencoded")], "token=wrong").await.status, StatusCode::FORBIDDEN);
    let login = world.post("/login", &[("content-type", "application/x-www-form-urlencoded")], "token=s3cret&next=//evil.example").await;
    assert_eq!((login.status, login.header("location")), (StatusCode::SEE_OTHER, "/"));
    let cookie = login.header("set-cookie");
    assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict") && cookie.contains("Secure"));
    let cookie = cookie.split(';').next().unwrap().to_owned();
    let retried = world.post(&format!("/build/{}/retry", world.one("passed").await), &[("cookie", &cookie)], "").await;
    assert_eq!(retried.status, StatusCode::SEE_OTHER);
}

#[tokio::test]
async fn hooks_are_believed_only_with_the_right_signature() {
    let settings = Settings { access: Access::default(), hook_secrets: [("sample".to_owned(), "It's a Secret to Everybody".to_owned())].into(), ..loopback() };
    let world = World::with(Settings { access: Access::default(), ..settings }, 2, 1).await;
    // The example of GitHub's documentation on validating deliveries.
    let good = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
    let sent = async |signature: &str| world.post("/hook/sample", &[("x-hub-signature-256", signature)], "Hello, World!").await;
    assert_eq!(sent("sha256=00").await.status, StatusCode::FORBIDDEN);
    assert_eq!(sent("garbage").await.status, StatusCode::FORBIDDEN);
    assert_eq!(world.post("/hook/sample", &[], "Hello, World!").await.status, StatusCode::FORBIDDEN);
    assert!(world.fake.polled.lock().unwrap().is_empty());
    assert_eq!(sent(good).await.status, StatusCode::ACCEPTED);
    assert_eq!(
        world.post("/hook/sample", &[("x-gitlab-token", "It's a Secret to Everybody")], r#"{"ref":"refs/heads/main"}"#).await.json()["ref"],
        "refs/heads/main"
    );
    assert_eq!(*world.fake.polled.lock().unwrap(), ["sample", "sample"]);
    let world = World::small().await;
    assert_eq!(world.post("/hook/sample", &[], "").await.status, StatusCode::ACCEPTED, "on the loopback address no secret is needed");
    assert_eq!(world.post("/hook/none", &[], "").await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn logs_are_text_whatever_they_hold_and_come_in_parts() {
    let world = World::small().await;
    let passed = world.one("passed").await;
    let bytes: Vec<u8> = (0..=255).chain(*b"\nlast line\n").collect();
    world.fake.set_log(AttemptId(passed * 4), &bytes, true);
    let hash = world.get(&format!("/build/{passed}.json")).await.json()["attempts_list"][0]["log"].as_str().unwrap().to_owned();
    let whole = world.get(&format!("/log/{hash}")).await;
    assert_eq!((whole.header("content-type"), whole.header("x-content-type-options")), ("text/plain; charset=utf-8", "nosniff"));
    assert!(whole.header("cache-control").contains("immutable"));
    assert_eq!(whole.body, bytes);
    assert_eq!(world.get(&format!("/log/any/thing/{hash}")).await.body, bytes);
    assert_eq!(world.get_with(&format!("/log/{hash}"), &[("if-none-match", whole.header("etag"))]).await.status, StatusCode::NOT_MODIFIED);
    let part = world.get_with(&format!("/log/{hash}"), &[("range", "bytes=257-260")]).await;
    assert_eq!((part.status, part.body.as_slice(), part.header("content-range")), (StatusCode::PARTIAL_CONTENT, b"last".as_slice(), "bytes 257-260/267"));
    assert_eq!(world.get_with(&format!("/log/{hash}"), &[("range", "bytes=900-")]).await.status, StatusCode::RANGE_NOT_SATISFIABLE);
    assert_eq!(world.get(&format!("/attempt/{}/log?offset=257", passed * 4)).await.body, b"last line\n");
    let page = world.get(&format!("/build/{passed}")).await;
    assert!(page.text().contains("last line") && !page.body.contains(&0) && std::str::from_utf8(&page.body).is_ok());
    let lines = world.get(&format!("/api/v1/logs/{hash}?from=3&lines=5")).await.json();
    assert_eq!(lines["lines"], serde_json::json!(["last line"]));
}

#[tokio::test]
async fn a_comparison_of_benchmarks_in_the_log_stands_above_it() {
    let world = World::small().await;
    let passed = world.one("passed").await;
    let log = "go: downloading\n=== burrow bench: comparison\n  \u{2502} old \u{2502} <new>\nSort 1.0n \u{b1} 1%\n=== burrow bench: end\ndone\n";
    world.fake.set_log(AttemptId(passed * 4), log.as_bytes(), true);
    let page = world.get(&format!("/build/{passed}")).await;
    let section = page.text().split_once("id=\"benchmarks\">").expect("the section").1.split_once("</pre>").expect("its end").0.to_owned();
    assert!(section.starts_with("  \u{2502} old \u{2502} &#60;new&#62;\nSort 1.0n") && !section.contains("done"), "{section}");
    let failed = world.one("failed").await;
    world.fake.set_log(AttemptId(failed * 4), b"=== burrow bench: comparison\ncut off\n", true);
    let page = world.get(&format!("/build/{failed}")).await;
    assert!(page.text().contains("cut off") && !page.text().contains("id=\"benchmarks\""), "half of one is none");
}

#[tokio::test]
async fn what_failed_is_what_the_log_blames_and_the_rest_is_named_beside_it() {
    let world = World::small().await;
    let failed = world.one("failed_test").await;
    world.db.commit(vec![sql("INSERT INTO test_results (attempt, test, run, ok, ms) VALUES ($1, 'pkg/innocent', 1, 0, 1)", (failed * 4,))]).await.unwrap();
    world.fake.publish(Change::Config);
    let text = world.get(&format!("/build/{failed}")).await.text();
    let list = text.split("class=\"fails\"").nth(1).unwrap().split("</ul>").next().unwrap();
    assert!(
        list.contains("TestRestart") && list.contains("restart_test.go:88") && list.contains("passed when run again") && !list.contains("innocent"),
        "{list}"
    );
    assert!(text.contains("counted as failed with it: pkg/innocent."));
    // Without a log that names anybody, the results are all there is.
    world.fake.set_log(AttemptId(failed * 4), b"it went wrong\n", true);
    world.fake.publish(Change::Config);
    assert!(world.get(&format!("/build/{failed}")).await.text().split("class=\"fails\"").nth(1).unwrap().contains("pkg/innocent"));
}

#[tokio::test]
async fn a_huge_log_shows_its_ends_and_its_lines_on_request() {
    let world = World::small().await;
    let failed = world.one("failed_test").await;
    let mut log = String::from("first line\n");
    for n in 2..=400_000 {
        log.push_str(&format!("line {n} says nothing\n"));
    }
    log.push_str("--- FAIL: TestAtTheEnd (1s)\n    end_test.go:1: no\n");
    world.fake.set_log(AttemptId(failed * 4), log.as_bytes(), true);
    world.db.commit(vec![sql("UPDATE attempts SET log_bytes = $1 WHERE id = $2", (i64::try_from(log.len()).unwrap(), failed * 4))]).await.unwrap();
    world.fake.publish(Change::Config);
    let page = world.get(&format!("/build/{failed}")).await;
    assert!(page.body.len() < 1_000_000, "{} bytes", page.body.len());
    let text = page.text();
    assert!(text.contains("first line") && text.contains("TestAtTheEnd") && !text.contains("line 200000 says"));
    assert!(text.contains("id=L400001 class=bad"), "the lines of the end have their numbers");
    assert!(text.contains("lines (") && text.contains(&format!("/build/{failed}/log?from=")));
    let index = world.get("/api/v1/index").await.json();
    assert!(index.as_array().unwrap().iter().any(|line| line == "GET /api/v1/logs/{hash}?from=&lines="));
    let range = world.get(&format!("/build/{failed}/log?from=200000&to=200002")).await.text();
    assert!(range.contains("id=L200001") && range.contains("line 200001 says") && !range.contains("line 200003 says"));
}

#[tokio::test]
async fn changes_are_told_once_in_order_and_continue_after_a_break() {
    let world = World::small().await;
    let running = world.one("running").await;
    let generation = || burrow_coordinator::control::Control::generation(&*world.fake);
    let start = generation();
    world.fake.put(BuildId(running), BuildState::Passed).await;
    // Read the first piece only: the stream goes on for ever.
    let first_piece = |request: Request<Body>| {
        let router = world.router.clone();
        async move {
            let mut body = router.oneshot(request).await.unwrap().into_body();
            String::from_utf8(body.frame().await.unwrap().unwrap().into_data().unwrap().to_vec()).unwrap()
        }
    };
    let request = |path: String| Request::get(path).header("host", "localhost");
    let told = first_piece(request(format!("/events?since={start}")).body(Body::empty()).unwrap()).await;
    assert!(told.contains(&format!("id: {}\n", start + 1)) && told.contains(&format!("\"build\":{running}")) && told.contains("\"word\":\"ok\""), "{told}");
    let resumed = first_piece(request(format!("/events?since={start}")).header("last-event-id", (start + 1).to_string()).body(Body::empty()).unwrap()).await;
    assert!(!resumed.contains("event: change"), "{resumed}");
    let other = first_piece(request(format!("/events?since={start}&build=1")).body(Body::empty()).unwrap()).await;
    assert!(!other.contains("event: change"), "{other}");
    let lost = first_piece(request("/events?since=0".to_owned()).body(Body::empty()).unwrap()).await;
    assert!(lost.contains("event: reset"), "{lost}");
}

#[tokio::test]
async fn a_growing_log_is_told_line_by_line_until_it_ends() {
    let world = World::small().await;
    let running = world.one("running").await;
    let log = world.fake.set_log(AttemptId(running * 4), b"one\n\x1b[31mtwo\x1b[0m\nthr", false);
    let request = Request::get(format!("/attempt/{}/tail?offset=4", running * 4)).header("host", "localhost").body(Body::empty()).unwrap();
    let mut body = world.router.clone().oneshot(request).await.unwrap().into_body();
    let mut next = async || body.frame().await.map(|frame| String::from_utf8(frame.unwrap().into_data().unwrap().to_vec()).unwrap());
    let page = world.get(&format!("/build/{running}")).await.text();
    log.send_modify(|(text, _)| text.push(b'.'));
    assert_ne!(page, world.get(&format!("/build/{running}")).await.text(), "the page of a running build is made anew");
    log.send_modify(|(text, _)| text.truncate(text.len() - 1));
    assert!(next().await.unwrap().starts_with("retry:"));
    assert_eq!(next().await.unwrap(), "id: 17\nevent: lines\ndata: <div><a></a><span><span class=\"f1\">two</span></span></div>\n\n");
    log.send_modify(|(text, ended)| {
        text.extend_from_slice(b"ee\nend");
        *ended = true;
    });
    assert_eq!(next().await.unwrap(), "id: 23\nevent: lines\ndata: <div><a></a><span>three</span></div>\n\n");
    assert_eq!(next().await.unwrap(), "id: 26\nevent: lines\ndata: <div><a></a><span>end</span></div>\n\nevent: end\ndata: {}\n\n");
    assert!(next().await.is_none());
}

#[tokio::test]
async fn many_builds_are_retried_only_when_really_asked() {
    let world = World::small().await;
    let body = r#"{"filter":{"state":"failed"},"reason":"outage"}"#;
    let dry = world.post("/api/v1/retry", &[], body).await.json();
    let count = dry["builds"].as_array().unwrap().len();
    assert!(dry["dry_run"] == true && count > 1);
    let wet = world.post("/api/v1/retry", &[], body.replace("\"reason\"", "\"dry_run\":false,\"max\":2,\"reason\"")).await.json();
    assert_eq!((wet["retried"].as_array().unwrap().len(), &wet["more"]), (2, &serde_json::json!(true)));
    assert_eq!(world.post("/api/v1/retry", &[], r#"{"filter":{}}"#).await.status, StatusCode::BAD_REQUEST);
    assert_eq!(
        world.post("/api/v1/retry", &[], r#"{"filter":{"state":"failed"},"dryrun":false}"#).await.status,
        StatusCode::BAD_REQUEST,
        "a mistyped key must not retry everything"
    );
    let submitted = world.post("/api/v1/builds", &[], format!(r#"{{"repo":"sample","revision":"{}","builder":"{}"}}"#, hash_at(3), Seed::builders(1)[0])).await;
    assert_eq!(submitted.status, StatusCode::CREATED);
    assert_eq!(world.get(submitted.header(header::LOCATION.as_str())).await.json()["state"], "queued");
}
