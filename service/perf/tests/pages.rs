//! What clients and people get: the text reply, the dashboard's JSON, pages, and what somebody says of a change.

use std::sync::Arc;

use axum::body::Body;
use axum::http::{HeaderMap, Request, StatusCode};
use burrow_clock::TestClock;
use burrow_perf::board::Board;
use burrow_perf::config::Config;
use burrow_perf::history::History;
use burrow_perf::http::{Site, router};
use burrow_perf::source::{Remote, Source};
use burrow_perfstore::{Begin, Options, PerfStore, sample};
use http_body_util::BodyExt as _;
use serde_json::Value;
use tower::ServiceExt as _;

struct World {
    _dir: tempfile::TempDir,
    board: Board,
    router: axum::Router,
}

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    text: String,
}

/// A service over these uploads, at this moment (Unix seconds).
async fn world(config: Config, token: Option<&str>, now_s: i64, uploads: impl IntoIterator<Item = String>) -> World {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(TestClock::at(now_s * 1000));
    let store = PerfStore::open(Options::folder(dir.path(), clock.clone())).await.unwrap();
    for text in uploads {
        let mut upload = store.begin(Begin { by: Some("ada".into()), key: None }).await.unwrap();
        // An empty line begins another file.
        for (number, part) in text.split("\n---\n").enumerate() {
            upload.file(u32::try_from(number).unwrap(), Some(&format!("file{number}.txt"))).await.unwrap();
            upload.write(part.to_owned().into()).await.unwrap();
        }
        upload.commit().await.unwrap();
    }
    config.check().unwrap();
    let board = Board::open(dir.path(), Source::Store(store), Arc::new(config), clock.clone()).await.unwrap();
    board.follow().await.unwrap();
    let router = router(Site { board: board.clone(), history: History::default(), token: token.map(Site::digest), only_host: Some(String::new()), clock });
    World { _dir: dir, board, router }
}

impl World {
    async fn ask(&self, request: Request<Body>) -> Answer {
        let answer = self.router.clone().oneshot(request).await.unwrap();
        let (status, headers) = (answer.status(), answer.headers().clone());
        let bytes = answer.into_body().collect().await.unwrap().to_bytes();
        Answer { status, headers, text: String::from_utf8_lossy(&bytes).into_owned() }
    }

    async fn get(&self, path: &str) -> Answer {
        self.ask(Request::get(path).body(Body::empty()).unwrap()).await
    }

    async fn json(&self, path: &str) -> Value {
        let answer = self.get(path).await;
        assert_eq!(answer.status, StatusCode::OK, "{path}: {}", answer.text);
        serde_json::from_str(&answer.text).unwrap()
    }
}

const OLD: &str = "BenchmarkA-8 1000 100 ns/op\nBenchmarkA-8 1000 102 ns/op\nBenchmarkA-8 1000 98 ns/op\nBenchmarkA-8 1000 101 ns/op\nBenchmarkA-8 1000 99 ns/op\n\
BenchmarkA-8 1000 103 ns/op\nBenchmarkA-8 1000 97 ns/op\nBenchmarkA-8 1000 100 ns/op\nBenchmarkA-8 1000 104 ns/op\nBenchmarkA-8 1000 96 ns/op\n";
const NEW: &str = "BenchmarkA-8 1000 90 ns/op\nBenchmarkA-8 1000 93 ns/op\nBenchmarkA-8 1000 91 ns/op\nBenchmarkA-8 1000 95 ns/op\nBenchmarkA-8 1000 92 ns/op\n\
BenchmarkA-8 1000 94 ns/op\nBenchmarkA-8 1000 89 ns/op\nBenchmarkA-8 1000 96 ns/op\nBenchmarkA-8 1000 90 ns/op\nBenchmarkA-8 1000 97 ns/op\n";

/// `spec/perf.md` "How to check" 3 and 5: the older engine's text for an unmodified benchsave, the present one's numbers on the page.
#[tokio::test(flavor = "multi_thread")]
async fn both_engines_give_their_digits() {
    let world = world(Config::default(), None, 1_770_000_000, [format!("{OLD}\n---\n{NEW}")]).await;
    let upload = world.board.all()[0].points[0].upload.clone();
    let request = Request::get(format!("/search?q=upload:{upload}")).header("x-benchsave", "1").body(Body::empty()).unwrap();
    let answer = world.ask(request).await;
    assert_eq!(answer.headers["content-type"], "text/plain; charset=utf-8");
    assert_eq!(answer.text, "name  old time/op  new time/op  delta\nA-8    100ns ± 4%    93ns ± 5%  -7.30%  (p=0.000 n=10+10)\n");
    let page = world.get(&format!("/compare?q=upload:{upload}")).await;
    assert!(page.text.contains("100.00n") && page.text.contains("92.50n") && page.text.contains("7.50%"), "{}", page.text);
    assert!(page.text.contains(&format!("upload-part:{upload}/0")), "split by part: {}", page.text);
    let older = world.get(&format!("/compare?q=upload:{upload}&engine=v1")).await;
    assert!(older.text.contains("7.30%") && !older.text.contains("92.50n"));
    let csv = world.get(&format!("/compare.csv?q=upload:{upload}")).await;
    assert!(csv.text.contains("1.0000000000000001e-07"), "{}", csv.text);
    world.board.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_queries_are_explained_and_nothing_found_is_said() {
    let world = world(Config::default(), None, 1_770_000_000, ["BenchmarkA 1 5 ns/op\n".to_owned()]).await;
    let text = |path: &'static str| {
        let request = Request::get(path).header("accept", "text/plain").body(Body::empty()).unwrap();
        world.ask(request)
    };
    assert_eq!(text("/search?q=name:B").await.text, "unable to analyze results: no results matched the query string\n");
    let wrong = text("/search?q=nonsense").await;
    assert!(wrong.status == 200 && wrong.text.starts_with("unable to analyze results: ") && wrong.text.contains("nonsense"), "{}", wrong.text);
    let page = world.get("/compare?q=name:A+vs+nonsense%26%22").await;
    assert!(page.text.contains("role=\"alert\"") && page.text.contains("nonsense&#38;") && !page.text.contains("nonsense&\""), "{}", page.text);
    assert_eq!(world.get("/nowhere").await.status, StatusCode::NOT_FOUND);
    let forged = Request::post("/rescan").header("origin", "http://elsewhere.example").header("host", "localhost").body(Body::empty()).unwrap();
    assert_eq!(world.ask(forged).await.status, StatusCode::FORBIDDEN);
    world.board.close().await;
}

fn perf_upload(commit: u32, experiment: f64) -> String {
    let mut text = format!(
        "repository: go\nbranch: master\ngoos: linux\ngoarch: amd64\ncpu: x\nbuilder: gotip-linux-amd64_c2s16-perf_vs_release\nexperiment-commit: c{commit:03}\n\
         experiment-commit-time: {}\nbaseline-commit: base\nbenchmarks-commit: bench\n",
        1_770_000_000 + i64::from(commit) * 3600
    );
    for (toolchain, level) in [("baseline", 100.0), ("experiment", 100.0 * experiment)] {
        text.push_str(&format!("toolchain: {toolchain}\n"));
        for run in 0..6 {
            text.push_str(&format!("BenchmarkA-8 1 {} ns/op 0 zero\n", level + f64::from((run * 7 + commit) % 5) / 10.0));
        }
    }
    text
}

/// Shapes, parameters and refusals of the dashboard's JSON (`spec/perf.md` §9).
#[tokio::test(flavor = "multi_thread")]
async fn the_dashboards_json_has_the_references_shapes() {
    let history = (0..40).map(|commit| perf_upload(commit, if commit < 30 { 1.0 } else { 1.05 }));
    let world = world(Config::default(), None, 1_770_000_000 + 41 * 3600, history).await;
    let data = world.json("/dashboard/data.json?benchmark=A-8&unit=sec/op").await;
    let one = &data["Benchmarks"][0];
    assert_eq!(
        (one["Name"].as_str(), one["Unit"].as_str(), one["Platform"].as_str(), one["HigherIsBetter"].as_bool()),
        (Some("A-8"), Some("sec/op"), Some("linux/amd64"), Some(false))
    );
    assert_eq!(one["Regression"], Value::Null);
    assert_eq!(one["Values"].as_array().unwrap().len(), 40);
    let last = &one["Values"][39];
    let keys: Vec<&str> = last.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(keys, ["BaselineCommitHash", "BenchmarksCommitHash", "Center", "CommitDate", "CommitHash", "High", "Low"]);
    assert!((last["Center"].as_f64().unwrap() - 0.05).abs() < 0.005);
    assert_eq!((last["CommitHash"].as_str(), last["BaselineCommitHash"].as_str()), (Some("c039"), Some("base")));

    // A ratio of zeros is no number, and null.
    let zero = world.json("/dashboard/data.json?benchmark=A-8&unit=zero").await;
    assert!(zero["Benchmarks"][0]["Values"][0]["Center"].is_number() || zero["Benchmarks"][0]["Values"][0]["Center"].is_null());

    let ranked = world.json("/dashboard/data.json?regressions=true&unit=sec/op").await;
    let regression = &ranked["Benchmarks"][0]["Regression"];
    assert_eq!(regression["DeltaIndex"], 30);
    assert!((regression["Delta"].as_f64().unwrap() - 0.05).abs() < 0.01 && regression["IgnoredBecause"] == "");

    let benchmarks = world.json("/dashboard/benchmarks.json?benchmark=all").await;
    assert_eq!(benchmarks["Benchmarks"][0], serde_json::json!({"Name": "A-8", "Repository": "go"}));
    assert_eq!(benchmarks["Commits"].as_array().unwrap().len(), 40);
    assert_eq!(benchmarks["Commits"][0]["Hash"], "c000");
    assert_eq!(world.json("/dashboard/formfields.json").await, serde_json::json!({"Branches": ["master"], "LatestReleaseBranch": ""}));

    for (path, status, text) in [
        ("/dashboard/data.json", 400, "No benchmark name specified\n"),
        ("/dashboard/data.json?benchmark=x&days=0", 400, "day parameter must be a positive integer less than or equal to 366\n"),
        ("/dashboard/data.json?benchmark=x&days=367", 400, "day parameter must be a positive integer less than or equal to 366\n"),
        ("/dashboard/data.json?benchmark=x&end=now", 400, "end parameter must be a timestamp similar to RFC3339 without a time zone, like 2000-12-31T15:00\n"),
        ("/dashboard/data.json?benchmark=x&platform=linux", 400, "error parsing platform\n"),
        ("/dashboard/data.json?benchmark=%25+none", 404, "Benchmark not found\n"),
        ("/dashboard/data.json?benchmark=A-8&platform=darwin/arm64", 404, "Benchmark not found\n"),
        ("/dashboard/data.json?benchmark=A-8&end=2020-01-01T00:00", 404, "Benchmark not found\n"),
        ("/dashboard/benchmarks.json?benchmark=none", 404, "No matching benchmarks found\n"),
    ] {
        let answer = world.get(path).await;
        assert_eq!((answer.status.as_u16(), answer.text.as_str()), (status, text), "{path}");
    }

    // Compressed, and not sent again to somebody who has it.
    let request = Request::get("/dashboard/data.json?benchmark=all").header("accept-encoding", "gzip").body(Body::empty()).unwrap();
    let packed = world.ask(request).await;
    assert_eq!(packed.headers["content-encoding"], "gzip");
    let tag = packed.headers["etag"].clone();
    let request = Request::get("/dashboard/data.json?benchmark=all").header("if-none-match", tag).body(Body::empty()).unwrap();
    assert_eq!(world.ask(request).await.status, StatusCode::NOT_MODIFIED);
    world.board.close().await;
}

/// The bare list of 2022: its parameters, and regressions told in the names, worst first.
#[tokio::test(flavor = "multi_thread")]
async fn the_dashboards_json_of_2022_is_still_there() {
    let slower = (0..40).map(|commit| perf_upload(commit, if commit < 30 { 1.0 } else { 1.05 }));
    let steady = (0..40).map(|commit| perf_upload(commit, 1.0).replace("BenchmarkA-8", "BenchmarkB-8"));
    let elsewhere = (0..4).map(|commit| perf_upload(commit, 1.0).replace("goarch: amd64", "goarch: arm64").replace("BenchmarkA-8", "BenchmarkC-8"));
    let world = world(Config::default(), None, 1_770_000_000 + 41 * 3600, slower.chain(steady).chain(elsewhere)).await;
    let names = |list: &Value| {
        list.as_array().unwrap().iter().map(|one| format!("{} {}", one["Name"].as_str().unwrap(), one["Unit"].as_str().unwrap())).collect::<Vec<_>>()
    };
    let all = world.json("/dashboard/2022/data.json?benchmark=all").await;
    assert_eq!(names(&all), ["A-8 sec/op", "A-8 zero", "B-8 sec/op", "B-8 zero"], "of linux/amd64 only, by name and unit");
    assert_eq!(names(&world.json("/dashboard/2022/data.json?benchmark=all&platform=linux/arm64").await), ["C-8 sec/op", "C-8 zero"]);
    let one = world.json("/dashboard/2022/data.json?benchmark=A-8").await;
    assert_eq!(names(&one), ["A-8 sec/op", "A-8 zero"]);
    assert_eq!(one[0].as_object().unwrap().keys().collect::<Vec<_>>(), ["Name", "Unit", "Values"]);
    let value = &one[0]["Values"][39];
    assert_eq!(value.as_object().unwrap().keys().collect::<Vec<_>>(), ["Center", "CommitDate", "CommitHash", "High", "Low"]);
    assert!(value["CommitHash"] == "c039" && (value["Center"].as_f64().unwrap() - 0.05).abs() < 0.005, "{value}");

    let ranked = names(&world.json("/dashboard/2022/data.json?benchmark=regressions").await);
    assert!(
        ranked[0].starts_with("A-8 sec/op 5.") && ranked[0].contains("%point change at c030 on 2026-02-03T") && ranked[0].ends_with(") sec/op"),
        "{ranked:?}"
    );
    assert!(ranked[2].starts_with("B-8 ") && ranked[2].contains("not ranked because "), "{ranked:?}");
    for (path, status, text) in [
        ("benchmark=none", 404, "Benchmark not found\n"),
        ("benchmark=C-8", 404, "Benchmark not found\n"),
        ("days=0", 400, "day parameter must be a positive integer less than or equal to 366\n"),
    ] {
        let answer = world.get(&format!("/dashboard/2022/data.json?{path}")).await;
        assert_eq!((answer.status.as_u16(), answer.text.as_str()), (status, text), "{path}");
    }
    assert_eq!(world.get("/dashboard/2022/data.json?benchmark=all&end=2020-01-01T00:00").await.text, "[]");
    world.board.close().await;
}

/// Who follows the feed hears of the regression and of silence, each once under a name that stays.
#[tokio::test(flavor = "multi_thread")]
async fn the_feed_has_changes_and_alarms() {
    let history: Vec<_> = sample::uploads(7).collect();
    let last = history.last().unwrap().at_ms / 1000;
    let commit = history[sample::REGRESSION].commit.clone();
    let config = Config { site: "bench & co".into(), ..Config::default() };
    let world = world(config, None, last + 30 * 86_400, history.into_iter().map(|one| one.text)).await;
    let feed = world.get("/regressions.atom").await;
    assert_eq!(feed.headers["content-type"], "application/atom+xml; charset=utf-8");
    assert!(feed.text.starts_with("<?xml") && feed.text.contains("<title>bench &amp; co: changes of benchmarks</title>"), "{}", feed.text);
    let entries: Vec<&str> = feed.text.split("<entry>").skip(1).collect();
    assert_eq!(entries.len(), 2, "the regression, and that nothing came for a month: {}", feed.text);
    let change = entries.iter().find(|entry| entry.contains(sample::REGRESSED)).unwrap();
    assert!(change.contains("worse by +3.") && change.contains(&format!("#change{commit}\"")) && change.contains("State: open."), "{change}");
    assert!(entries.iter().any(|entry| entry.contains("<title>No results: ")), "{}", feed.text);
    let id = |entry: &str| entry.split("<id>").nth(1).unwrap().split("</id>").next().unwrap().to_owned();

    // What somebody says of it changes the text and not the name.
    let series = change.split("/series/").nth(1).unwrap().split('#').next().unwrap();
    let body = Body::from("state=acknowledged&note=%3Cknown%3E&assignee=ada");
    let said = Request::post(format!("/series/{series}/changes/{commit}")).header("content-type", "application/x-www-form-urlencoded").body(body).unwrap();
    assert_eq!(world.ask(said).await.status, StatusCode::SEE_OTHER);
    let narrowed = world.get("/regressions.atom?benchmark=Parse").await;
    let again = narrowed.text.split("<entry>").nth(1).unwrap();
    assert!(again.contains("State: acknowledged.") && again.contains("&lt;known&gt;") && id(again) == id(change), "{again}");
    assert_eq!(narrowed.text.matches("<entry>").count(), 1);
    assert_eq!(world.get("/regressions.atom?benchmark=Render").await.text.matches("<entry>").count(), 0);
    assert!(world.get("/regressions.atom?benchmark=Render&improvements=true").await.text.contains("better by"));
    let tag = narrowed.headers["etag"].clone();
    let request = Request::get("/regressions.atom?benchmark=Parse").header("if-none-match", tag).body(Body::empty()).unwrap();
    assert_eq!(world.ask(request).await.status, StatusCode::NOT_MODIFIED);
    assert!(world.get("/regressions").await.text.contains("href=\"/regressions.atom\""));
    world.board.close().await;
}

/// The sample history on the pages: readable without script, what was found is named, and what somebody says is kept.
#[tokio::test(flavor = "multi_thread")]
async fn a_regression_is_shown_and_can_be_acknowledged_by_those_who_may() {
    let history: Vec<_> = sample::uploads(7).collect();
    let last = history.last().unwrap().at_ms / 1000;
    let commit = history[sample::REGRESSION].commit.clone();
    let world = world(Config::default(), Some("s3cret"), last + 60, history.into_iter().map(|one| one.text)).await;
    let page = world.get("/dashboard/?order=worst").await;
    assert!(page.text.contains("<svg class=\"series\"") && page.text.contains("▲ worse"), "a picture without script, and a word");
    let first = page.text.find(sample::REGRESSED).unwrap();
    assert!(page.text.find(sample::NOISY).is_none_or(|noisy| first < noisy), "the worst is first");

    let list = world.get("/regressions").await;
    assert!(list.text.contains(sample::REGRESSED) && !list.text.contains(sample::NOISY) && list.text.contains("false alarms in"), "{}", list.text);
    let changes = world.json("/regressions.json").await;
    let found = changes["changes"].as_array().unwrap().iter().find(|one| one["commit"] == commit.as_str()).unwrap().clone();
    let id = found["series"].as_str().unwrap();
    assert!(found["worse"] == true && (found["size"][1].as_f64().unwrap() - 0.03).abs() < 0.005);

    let say = |token: &str, state: &str, commit: &str| {
        let body = format!("state={state}&assignee=ada&note=known+%3Cb%3E&token={token}");
        world.ask(
            Request::post(format!("/series/{id}/changes/{commit}")).header("content-type", "application/x-www-form-urlencoded").body(Body::from(body)).unwrap(),
        )
    };
    assert_eq!(say("wrong", "acknowledged", &commit).await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(say("s3cret", "recovered", &commit).await.status, StatusCode::BAD_REQUEST);
    assert_eq!(say("s3cret", "acknowledged", "nothing").await.status, StatusCode::NOT_FOUND);
    assert_eq!(say("s3cret", "acknowledged", &commit).await.status, StatusCode::SEE_OTHER);
    let page = world.get(&format!("/series/{id}")).await;
    assert!(page.text.contains("acknowledged") && page.text.contains("known &lt;b&gt;") || page.text.contains("known &#60;b&#62;"), "{}", page.text);
    assert!(!world.get("/regressions").await.text.contains(sample::REGRESSED));

    // What it is drawn from.
    let json = world.json(&format!("/series/{id}.json")).await;
    assert_eq!((json["points"].as_array().unwrap().len(), json["marks"][0]["index"].as_u64()), (sample::COMMITS, Some(sample::REGRESSION as u64)));
    let csv = world.get(&format!("/series/{id}.csv")).await;
    assert_eq!(csv.text.lines().count(), sample::COMMITS + 1);
    let trend = world.get("/trend?q=name:Parse&raw=1").await;
    assert!(trend.text.contains("<svg class=\"series\"") && trend.text.contains("class=\"dots\""));
    world.board.close().await;
}

/// Nothing came for a month: the alarm says so, once for the builder and not for each of its series.
#[tokio::test(flavor = "multi_thread")]
async fn silence_is_an_alarm() {
    let world = world(Config::default(), None, 1_770_000_000 + 40 * 86_400, (0..5).map(|commit| perf_upload(commit, 1.0))).await;
    let status = world.json("/status.json").await;
    assert_eq!(status["late"].as_array().unwrap().len(), 1);
    assert_eq!(status["late"][0]["what"], "builder gotip-linux-amd64_c2s16-perf_vs_release");
    assert!(world.get("/metrics").await.text.contains("\nburrow_perf_late 1\n"));
    world.board.close().await;
}

/// Results of a perfdata elsewhere: the same pages from its addresses, and an error that names it when it does not answer.
#[tokio::test(flavor = "multi_thread")]
async fn a_perfdata_elsewhere_is_asked_by_its_address() {
    use axum::extract::RawQuery;
    use axum::routing::get;
    let search = |RawQuery(query): RawQuery| async move {
        let query = query.unwrap_or_default();
        if query.contains("upload%3A20240501%2E1") { "upload: 20240501.1\nupload-time: 2024-05-01T10:00:00Z\ncommit: abc\nBenchmarkA 1 5 ns/op\n" } else { "" }
    };
    let uploads = || async { "{\"Count\":1,\"UploadID\":\"20240501.1\",\"LabelValues\":{\"by\":\"ada\"}}\n" };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let server = tokio::spawn(async move { axum::serve(listener, axum::Router::new().route("/search", get(search)).route("/uploads", get(uploads))).await });
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(TestClock::at(1_714_600_000_000));
    let client = burrow_http_client::Client::new(Default::default()).unwrap();
    let board = Board::open(dir.path(), Source::Remote(Remote::new(client, &address)), Arc::new(Config::default()), clock.clone()).await.unwrap();
    board.follow().await.unwrap();
    assert_eq!(board.all()[0].points[0].commit, "abc");
    let router = router(Site { board: board.clone(), history: History::default(), token: None, only_host: None, clock });
    let world = World { _dir: dir, board, router };
    assert!(world.get("/").await.text.contains("20240501.1"));
    assert!(world.get("/compare?q=upload:20240501.1").await.text.contains("5.000n"));
    server.abort();
    let _ = server.await;
    let page = world.get("/compare?q=upload:20240501.1").await;
    assert!(page.status == 200 && page.text.contains(&address.replace("http://", "")), "{}", page.text);
    world.board.close().await;
}
