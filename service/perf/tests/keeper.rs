//! What goes on by itself, with real peers: a webhook that refuses at first, and a git repository that grows, is rewritten, and goes away.

use std::path::Path;
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Request, StatusCode};
use burrow_clock::TestClock;
use burrow_http_client::Client;
use burrow_perf::board::Board;
use burrow_perf::config::{Config, Repository as Configured, Watch};
use burrow_perf::history::History;
use burrow_perf::http::{Site, router};
use burrow_perf::keeper::{Teller, keep};
use burrow_perf::source::Source;
use burrow_perfstore::{Begin, Options, PerfStore};
use hmac::{Hmac, KeyInit as _, Mac as _};
use http_body_util::BodyExt as _;
use serde_json::Value;
use sha2::Sha256;
use testkit_harness::HANG;
use testkit_harness::git::Repository;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

const SECRET: &str = "open sesame";
const NOW_MS: i64 = 1_770_000_000_000;

async fn store(dir: &Path, clock: &Arc<TestClock>) -> PerfStore {
    PerfStore::open(Options::folder(dir, Arc::clone(clock) as _)).await.unwrap()
}

/// Results of a commit, made so many minutes after the first.
async fn upload(store: &PerfStore, name: &str, commit: &str, minute: i64, level: f64) {
    let mut upload = store.begin(Begin::default()).await.unwrap();
    upload.file(0, Some("bench.txt")).await.unwrap();
    let mut text = format!("repository: app\nbranch: main\ncommit: {commit}\ncommit-time: {}\n", NOW_MS / 1000 - 86_400 + minute * 60);
    for run in 0..5 {
        text.push_str(&format!("Benchmark{name} 1 {:.3} ns/op\n", level + f64::from(run) / 10.0 + (minute * 7 % 5) as f64 / 10.0));
    }
    upload.write(text.into()).await.unwrap();
    upload.commit().await.unwrap();
}

/// What a webhook was sent.
struct Told {
    signature: String,
    kind: String,
    body: Bytes,
}

type Hook = (mpsc::UnboundedSender<Told>, Arc<std::sync::Mutex<Vec<StatusCode>>>);

async fn hook(State((told, answers)): State<Hook>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
    told.send(Told { signature: text("x-burrow-signature-256"), kind: text("content-type"), body }).unwrap();
    answers.lock().unwrap().pop().unwrap_or(StatusCode::NO_CONTENT)
}

async fn next(told: &mut mpsc::UnboundedReceiver<Told>) -> Told {
    tokio::time::timeout(HANG, told.recv()).await.expect("the webhook is told").unwrap()
}

fn signature(body: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).unwrap();
    mac.update(body);
    mac.finalize().into_bytes().iter().fold("sha256=".to_owned(), |text, byte| format!("{text}{byte:02x}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_regression_is_told_signed_until_it_is_taken_and_then_no_more() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(TestClock::at(NOW_MS));
    let store = store(dir.path(), &clock).await;
    for minute in 0..60 {
        upload(&store, "Slow", &format!("c{minute:03}"), minute, if minute < 45 { 100.0 } else { 110.0 }).await;
        upload(&store, "Fast", &format!("c{minute:03}"), minute, if minute < 45 { 100.0 } else { 90.0 }).await;
    }
    let (send, mut told) = mpsc::unbounded_channel();
    // Refused once, then taken.
    let answers = Arc::new(std::sync::Mutex::new(vec![StatusCode::SERVICE_UNAVAILABLE]));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}/hook", listener.local_addr().unwrap());
    let server = axum::Router::new().route("/hook", axum::routing::post(hook)).with_state((send, Arc::clone(&answers)));
    let server = tokio::spawn(async move { axum::serve(listener, server).await });
    let config = Arc::new(Config { watch: Watch { webhook: Some(address), ..Watch::default() }, ..Config::default() });
    let teller = Teller { client: Client::new(Default::default()).unwrap(), public: "https://perf.example.org/".into(), secret: Some(SECRET.into()) };

    let board = Board::open(dir.path(), Source::Store(store.clone()), Arc::clone(&config), Arc::clone(&clock) as _).await.unwrap();
    let end = CancellationToken::new();
    let keeping = tokio::spawn(keep(board.clone(), History::default(), dir.path().to_owned(), Some(teller.clone()), end.clone()));
    let refused = next(&mut told).await;
    assert_eq!((refused.kind.as_str(), refused.signature), ("application/json", signature(&refused.body)));
    // New results wake it, and it tries again.
    upload(&store, "Slow", "c060", 60, 110.0).await;
    let taken = next(&mut told).await;
    assert_eq!(taken.signature, signature(&taken.body));
    let (first, second): (Value, Value) = (serde_json::from_slice(&refused.body).unwrap(), serde_json::from_slice(&taken.body).unwrap());
    assert_eq!(first["id"], second["id"], "the same change under the same name");
    assert_eq!(
        (second["benchmark"].as_str(), second["unit"].as_str(), second["labels"]["repository"].as_str()),
        (Some("Slow"), Some("sec/op"), Some("app")),
        "not what became faster"
    );
    assert!((second["change"].as_f64().unwrap() - 0.1).abs() < 0.01, "{second}");
    let series = board.all().into_iter().find(|series| series.key.name == "Slow").unwrap();
    assert_eq!(second["url"], format!("https://perf.example.org/series/{}", series.id));
    let commit = second["commit"].as_str().unwrap().to_owned();
    assert!(["c044", "c045", "c046"].contains(&commit.as_str()), "{second}");

    // Noted when it was taken; also the next process does not tell it again. Another change is told, so that one is seen to be at work.
    let mut generation = board.generation();
    let noted = || board.series(&series.id).unwrap().findings.iter().any(|finding| finding.commit == commit && finding.told);
    while !noted() {
        tokio::time::timeout(HANG, generation.changed()).await.expect("it is noted").unwrap();
    }
    end.cancel();
    keeping.await.unwrap();
    board.close().await;
    drop(board);
    for minute in 61..80 {
        upload(&store, "Slow", &format!("c{minute:03}"), minute, 110.0).await;
        upload(&store, "Fast", &format!("c{minute:03}"), minute, 99.0).await;
    }
    let board = Board::open(dir.path(), Source::Store(store.clone()), config, Arc::clone(&clock) as _).await.unwrap();
    let end = CancellationToken::new();
    let keeping = tokio::spawn(keep(board.clone(), History::default(), dir.path().to_owned(), Some(teller), end.clone()));
    let other: Value = serde_json::from_slice(&next(&mut told).await.body).unwrap();
    assert_eq!(other["benchmark"], "Fast", "{other}");
    end.cancel();
    keeping.await.unwrap();
    assert!(told.try_recv().is_err(), "nothing else was told");
    server.abort();
    board.close().await;
    store.close().await;
}

async fn json(router: &axum::Router, path: &str) -> Value {
    let answer = router.clone().oneshot(Request::get(path).body(axum::body::Body::empty()).unwrap()).await.unwrap();
    let status = answer.status();
    let bytes = answer.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(status, StatusCode::OK, "{path}: {}", String::from_utf8_lossy(&bytes));
    serde_json::from_slice(&bytes).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_history_of_a_repository_is_shown_also_where_nothing_was_measured() {
    let dir = tempfile::tempdir().unwrap();
    let repository = Repository::create(dir.path().join("upstream"));
    let mut commits: Vec<String> = (0..4).map(|number| repository.commit(&format!("change {number} <b>"))).collect();
    repository.git(&["branch", "release-2"]);
    commits.extend((4..6).map(|number| repository.commit(&format!("change {number}"))));
    // What was merged is one commit of the branch's history, at the time of the merge.
    repository.git(&["checkout", "--quiet", "-b", "side"]);
    let side = repository.commit("on the side");
    repository.git(&["checkout", "--quiet", "main"]);
    repository.git(&["merge", "--quiet", "--no-ff", "--message", "merged", "side"]);
    commits.push(repository.head());
    // All of it was made in January 2026.
    let clock = Arc::new(TestClock::at(1_767_225_600_000 + 86_400_000));
    let store = store(&dir.path().join("results"), &clock).await;
    let mut upload = store.begin(Begin::default()).await.unwrap();
    upload.file(0, None).await.unwrap();
    upload.write(format!("repository: app\nbranch: main\ncommit: {}\ncommit-time: 1767225780\nBenchmarkA 1 5 ns/op\n", commits[2]).into()).await.unwrap();
    upload.commit().await.unwrap();
    let configured = |name: &str, git: &str| Configured {
        name: name.into(),
        git: Some(git.into()),
        branches: vec!["main".into(), "release-2".into()],
        ..Configured::default()
    };
    let missing = dir.path().join("missing");
    let config = Config { repositories: vec![configured("gone", missing.to_str().unwrap()), configured("app", repository.arg())], ..Config::default() };
    let board = Board::open(&dir.path().join("perf"), Source::Store(store.clone()), Arc::new(config), Arc::clone(&clock) as _).await.unwrap();
    board.follow().await.unwrap();
    let history = History::default();
    let router = router(Site { board: board.clone(), history: history.clone(), token: None, only_host: None, clock });
    let listed = async |branch: &str| {
        let found = json(&router, &format!("/dashboard/benchmarks.json?repository=app&branch={branch}&benchmark=all")).await;
        found["Commits"].as_array().unwrap().iter().map(|one| one["Hash"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(history.commits("app", "main", &board.all()).len(), 1, "before it is fetched, what has results");

    let folder = dir.path().join("histories");
    history.update(&folder, board.config()).await;
    assert_eq!(listed("main&n=1").await, commits, "oldest first, first parents only, whatever became of the other repository");
    assert_eq!(history.subject("app", &commits[0]).as_deref(), Some("change 0 <b>"));
    assert_eq!(history.subject("app", &side), None);
    assert_eq!(history.commits("app", "release-2", &[]).iter().map(|one| one.hash.clone()).collect::<Vec<_>>(), commits[..4]);
    let series = &board.all()[0];
    let page = router.clone().oneshot(Request::get(format!("/series/{}", series.id)).body(axum::body::Body::empty()).unwrap()).await.unwrap();
    let page = String::from_utf8_lossy(&page.into_body().collect().await.unwrap().to_bytes()).into_owned();
    assert!(page.contains("change 2") && !page.contains("change 2 <b>"), "what was measured has its commit's words: {page}");

    // It grows, and its end is rewritten.
    repository.git(&["reset", "--quiet", "--hard", &commits[4]]);
    commits.truncate(5);
    commits.push(repository.commit("instead"));
    history.update(&folder, board.config()).await;
    assert_eq!(history.commits("app", "main", &[]).iter().map(|one| one.hash.clone()).collect::<Vec<_>>(), commits);

    // While it is away, what is known stays; so it does for the next process, which has the copy.
    std::fs::rename(repository.path(), dir.path().join("unplugged")).unwrap();
    history.update(&folder, board.config()).await;
    assert_eq!(history.commits("app", "main", &[]).len(), commits.len());
    let next = History::default();
    next.update(&folder, board.config()).await;
    assert_eq!(next.commits("app", "main", &[]).iter().map(|one| one.hash.clone()).collect::<Vec<_>>(), commits, "from the copy on this disk");
    board.close().await;
    store.close().await;
}
