//! The classic dashboard's clients, as black-box cases of `dashboard.md` §16.2–16.4 and §16.11.

mod fake;

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use burrow_clock::TestClock;
use burrow_coordinator::http::{Access, Settings, Site, router};
use burrow_coordinator::legacy::Keys;
use burrow_results::MIGRATIONS;
use burrow_store::{Db, sql};
use fake::Fake;
use http_body_util::BodyExt as _;
use tower::ServiceExt as _;

const KEY: &str = "8b3dbf220b21848be6884e982b34702e";
const NOW: i64 = 1_790_000_000_000;

fn hash(letter: char) -> String {
    letter.to_string().repeat(40)
}

struct World {
    router: Router,
}

impl World {
    /// A main repository with two commits, and one beside it.
    async fn new() -> World {
        let db = Db::open("sqlite::memory:", MIGRATIONS).await.unwrap();
        let mut batch = Vec::new();
        for (name, main) in [("sample", "main"), ("net", "main")] {
            batch.push(sql(
                "INSERT INTO repos (name, project, url, main_branch, state, error, fetched_ms) VALUES ($1, 'p', '', $2, 'good', '', 0)",
                (name, main),
            ));
            batch.push(sql("INSERT INTO branches (repo, branch, tip, gone, seen_ms) VALUES ($1, 'main', '', 0, 0)", (name,)));
            batch.push(sql("INSERT INTO builders (repo, name, spec, active, seen_ms) VALUES ($1, 'linux-amd64', '{\"host\":\"local\"}', 1, 0)", (name,)));
        }
        for (repo, letter, position, title) in [("sample", 'b', 1_i64, "first"), ("sample", 'a', 2, "[x] second <b> & more"), ("net", 'c', 1, "net: one")] {
            batch.push(sql(
                "INSERT INTO commits (repo, hash, parents, author, email, time_s, title) VALUES ($1, $2, '', 'Ada Mole', 'ada@example.org', $3, $4)",
                (repo, hash(letter), NOW / 1000 - 100 + position * 10 + i64::from(repo == "net") * 5, title),
            ));
            batch.push(sql("INSERT INTO branch_commits (repo, branch, position, hash) VALUES ($1, 'main', $2, $3)", (repo, position, hash(letter))));
        }
        db.commit(batch).await.unwrap();
        let clock = Arc::new(TestClock::at(NOW));
        let mut fake = Fake::new(db.clone(), clock.clone());
        Arc::get_mut(&mut fake).unwrap().paths.push(("golang.org/x/net".into(), "net".into()));
        let settings = Settings {
            access: Access { token_hash: None, loopback: true },
            legacy: Some(Keys { master: "gophers rule".into(), revoked: vec!["linux-arm-onlinenet".into()] }),
            main_repo: "sample".into(),
            import_paths: [("net".to_owned(), "golang.org/x/net".to_owned())].into(),
            public_url: "http://builds.example.org".into(),
            ..Settings::default()
        };
        World { router: router(Site::new(db, fake, clock, settings)) }
    }

    async fn send(&self, method: &str, path: &str, body: &str) -> (u16, String) {
        let request = Request::builder().method(method).uri(path).header("host", "localhost").body(Body::from(body.to_owned())).unwrap();
        let answer = self.router.clone().oneshot(request).await.unwrap();
        let status = answer.status().as_u16();
        (status, String::from_utf8(answer.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap())
    }

    async fn get(&self, path: &str) -> (u16, String) {
        self.send("GET", path, "").await
    }

    /// Posts a result; the envelope's error.
    async fn result(&self, query: &str, body: &str) -> String {
        let (status, text) = self.send("POST", &format!("/result?{query}"), body).await;
        assert_eq!(status, 200);
        let envelope: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert!(text.ends_with("}\n") && envelope["Response"].is_null());
        envelope["Error"].as_str().unwrap().to_owned()
    }

    async fn board(&self, query: &str) -> serde_json::Value {
        serde_json::from_str(&self.get(&format!("/?mode=json{query}")).await.1).unwrap()
    }
}

#[tokio::test]
async fn a_result_is_posted_shown_and_cleared() {
    let world = World::new().await;
    let good = format!("version=1&builder=linux-amd64&key={KEY}");
    let body = format!(r#"{{"Builder":"linux-amd64","Hash":"{}","OK":false,"Log":"hello\n"}}"#, hash('a'));
    assert_eq!(world.send("POST", &format!("/result?{good}"), &body).await, (200, "{\"Response\":null,\"Error\":\"\"}\n".into()));
    let log = "f572d396fae9206628714fb2ce00f72e94f2258f";
    assert_eq!(world.get(&format!("/log/{log}")).await, (200, "hello\n".into()));
    assert_eq!(world.get("/?mode=failures").await.1, format!("{} linux-amd64 http://builds.example.org/log/{log}\n", hash('a')));
    // Overwriting changes the cell and adds no row; names of fields match in any case.
    let rows = world.board("").await["revisions"].as_array().unwrap().len();
    assert_eq!(world.result(&good, &body.to_lowercase().replace("false", "true")).await, "");
    let board = world.board("").await;
    assert_eq!(board["revisions"].as_array().unwrap().len(), rows);
    assert_eq!(board["revisions"][0]["results"], serde_json::json!(["ok"]));
    assert_eq!(world.get("/?mode=failures").await.1, "");
    let clear = format!("/clear-results?builder=linux-amd64&hash={}&key={KEY}", hash('a'));
    assert_eq!(world.send("POST", &clear, "").await.1, "{\"Response\":null,\"Error\":\"\"}\n");
    assert_eq!(world.board("").await["revisions"][0]["results"], serde_json::json!([""]));
    assert_eq!(world.send("POST", &clear.replace(&hash('a'), &hash('f')), "").await.1, "{\"Response\":null,\"Error\":\"\"}\n", "unknown commits are a success");
}

#[tokio::test]
async fn refusals_have_the_texts_that_clients_match() {
    let world = World::new().await;
    let good = format!("version=1&builder=linux-amd64&key={KEY}");
    let body = format!(r#"{{"Builder":"linux-amd64","Hash":"{}"}}"#, hash('a'));
    assert_eq!(world.result(&good.replace("version=1", "version=2"), &body).await, "rejecting POST from builder; need version 1 instead of 2");
    assert_eq!(world.result("version=1&builder=linux-amd64&key=zz", &body).await, "invalid key \"zz\" for builder \"linux-amd64\"");
    assert_eq!(world.result(&good, "{}").await, "validating Result: invalid Hash");
    assert_eq!(world.result(&good, r#"{"Builder":"linux-amd64","Hash":"x","PackagePath":"golang.org/x/net"}"#).await, "validating Result: invalid GoHash");
    assert_eq!(world.get("/result").await.1, "{\"Response\":null,\"Error\":\"bad method: GET\"}\n");
    assert!(
        world.result(&good, &body.replace("linux-amd64", "windows-amd64")).await.contains("cannot post for builder"),
        "a builder's key speaks for that builder only"
    );
    assert_eq!(
        world.result("version=1&builder=linux-amd64&key=gophers+rule", &body.replace("linux-amd64", "windows-amd64")).await,
        "",
        "the master key speaks for all"
    );
    assert_eq!(world.send("POST", &format!("/clear-results?builder=linux-amd64&key={KEY}"), "").await.1, "{\"Response\":null,\"Error\":\"missing 'hash'\"}\n");
    assert_eq!(world.send("POST", "/clear-results?key=gophers+rule", "").await.1, "{\"Response\":null,\"Error\":\"missing 'builder'\"}\n");
    assert_eq!(world.get("/?mode=xml").await, (400, "unsupported mode argument\n".into()));
    assert_eq!(world.get("/?mode=json&page=zz").await, (400, "invalid page value \"zz\"\n".into()));
    assert_eq!(world.get("/?mode=json&page=-1").await, (400, "negative page\n".into()));
    assert_eq!(world.send("POST", "/", "").await, (400, "unsupported method\n".into()));
    assert_eq!(world.get("/?mode=json&branch=none").await, (404, "maintner.GetDashboard: rpc error: code = NotFound desc = unknown branch \"none\"\n".into()));
    assert_eq!(
        world.get("/?mode=json&branch=mixed&page=1").await,
        (400, "maintner.GetDashboard: rpc error: code = InvalidArgument desc = branch=mixed does not support pagination\n".into())
    );
    assert_eq!(world.get("/todo").await.0, 404);
}

#[tokio::test]
async fn the_board_has_the_rows_that_clients_expect() {
    let world = World::new().await;
    let post = |repo: &'static str, commit: char, base: char, ok: bool| {
        let world = &world;
        async move {
            let body =
                format!(r#"{{"Builder":"linux-amd64","PackagePath":"{repo}","Hash":"{}","GoHash":"{}","OK":{ok},"Log":"no\n"}}"#, hash(commit), hash(base));
            assert_eq!(world.result("version=1&key=gophers+rule&builder=linux-amd64", &body).await, "");
        }
    };
    post("golang.org/x/net", 'c', 'b', true).await;
    post("golang.org/x/net", 'c', 'a', false).await;
    let text = world.get("/?mode=json").await.1;
    assert!(
        text.starts_with("{\n\t\"builders\": [\n\t\t\"linux-amd64\"\n\t],\n\t\"revisions\": [\n\t\t{\n\t\t\t\"repo\": \"go\",\n\t\t\t\"revision\": \"aaaa")
            && !text.ends_with('\n'),
        "{text}"
    );
    assert!(text.contains("[x] second \\u003cb\\u003e \\u0026 more") && text.contains("Ada Mole \\u003cada@example.org\\u003e"));
    insta::assert_json_snapshot!("legacy_front", serde_json::from_str::<serde_json::Value>(&text).unwrap());
    assert_eq!(world.board("&repo=go").await, world.board("").await, "go is the main repository");
    assert_eq!(world.board("&page=1").await["revisions"], serde_json::Value::Null);
    let net = world.board("&repo=golang.org/x/net").await;
    insta::assert_json_snapshot!("legacy_net", net);
    assert_eq!(world.get("/?mode=failures&repo=golang.org/x/net").await, (200, String::new()));
    assert_eq!(world.get("/?repo=golang.org/x/net").await.0, 307);
    // What nothing was built for still has a row, for the base commit of its time.
    let fresh = World::new().await.board("&repo=golang.org/x/net").await;
    assert_eq!(fresh["revisions"].as_array().unwrap().len(), 1);
    assert_eq!((&fresh["revisions"][0]["goRevision"], &fresh["revisions"][0]["results"]), (&serde_json::json!(hash('b')), &serde_json::json!([""])));
}

#[tokio::test]
async fn keys_are_refused_until_the_operator_turns_them_on() {
    let db = Db::open("sqlite::memory:", MIGRATIONS).await.unwrap();
    let clock = Arc::new(TestClock::at(NOW));
    let settings = Settings { access: Access { token_hash: None, loopback: true }, ..Settings::default() };
    let world = World { router: router(Site::new(db.clone(), Fake::new(db, clock.clone()), clock, settings)) };
    assert!(world.result(&format!("version=1&builder=linux-amd64&key={KEY}"), "{}").await.contains("not accepted"));
    assert_eq!(world.get("/?mode=json").await.0, 404, "nothing is configured");
}

#[tokio::test]
async fn status_of_machines_and_builds_in_the_classic_form() {
    let world = World::new().await;
    assert_eq!(world.get("/status/post-submit-active.json").await, (200, "null\n".into()));
    assert_eq!(world.get("/status/reverse.json").await.1, "{\n\t\"HostTypes\": {}\n}");
    let builders: serde_json::Value = serde_json::from_str(&world.get("/builders?mode=json").await.1).unwrap();
    assert_eq!(builders["Builders"]["linux-amd64"]["HostType"], "local");
    assert_eq!(builders["Hosts"]["local"]["HostType"], "local");
    let body = format!(r#"{{"Builder":"linux-amd64","Hash":"{}","OK":true}}"#, hash('a'));
    assert_eq!(world.result("version=1&key=gophers+rule&builder=linux-amd64", &body).await, "");
    let (status, text) = world.get(&format!("/temporarylogs?name=linux-amd64&rev={}&st=1", hash('a'))).await;
    assert_eq!(status, 200);
    assert!(
        text.starts_with(&format!("  builder: linux-amd64\n      rev: {}\n", hash('a')))
            && text.contains("  success: true\n")
            && text.contains("\nBuild log:\n"),
        "{text}"
    );
    assert_eq!(world.get("/temporarylogs?name=none&rev=x").await.0, 404);
}
