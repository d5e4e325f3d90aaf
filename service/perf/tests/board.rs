//! Uploads become series, whatever happens in between.

use std::path::Path;
use std::sync::Arc;

use burrow_clock::TestClock;
use burrow_perf::board::Board;
use burrow_perf::config::Config;
use burrow_perf::series::State;
use burrow_perf::source::Source;
use burrow_perfstore::{Begin, Options, PerfStore, sample};

async fn store(dir: &Path, clock: &Arc<TestClock>) -> PerfStore {
    PerfStore::open(Options::folder(dir, Arc::clone(clock) as _)).await.unwrap()
}

async fn upload(store: &PerfStore, text: String) -> String {
    let mut upload = store.begin(Begin::default()).await.unwrap();
    upload.file(0, Some("bench.txt")).await.unwrap();
    upload.write(text.into()).await.unwrap();
    upload.commit().await.unwrap().upload
}

async fn board(dir: &Path, store: &PerfStore, clock: &Arc<TestClock>) -> Board {
    Board::open(dir, Source::Store(store.clone()), Arc::new(Config::default()), Arc::clone(clock) as _).await.unwrap()
}

/// The sample history: its regression is found at its commit and nowhere else, its noisy benchmark is not.
#[tokio::test(flavor = "multi_thread")]
async fn the_real_regression_and_the_noisy_benchmark_are_told_apart() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(TestClock::at(1_770_000_000_000));
    let store = store(dir.path(), &clock).await;
    let board = board(dir.path(), &store, &clock).await;
    let history: Vec<_> = sample::uploads(7).collect();
    for one in &history {
        upload(&store, one.text.clone()).await;
    }
    board.follow().await.unwrap();
    let changes: Vec<(String, String, bool)> = board
        .all()
        .iter()
        .filter(|series| series.key.unit == "sec/op")
        .flat_map(|series| series.findings.iter().map(|one| (series.key.name.clone(), one.commit.clone(), one.worse)).collect::<Vec<_>>())
        .collect();
    let regression = (format!("{}-8", sample::REGRESSED), history[sample::REGRESSION].commit.clone(), true);
    let improvement = ("Render/page=index-8".to_owned(), history[sample::IMPROVEMENT].commit.clone(), false);
    assert_eq!(changes, [regression, improvement]);
    let size = board.all().iter().find(|series| series.key.name.starts_with(sample::REGRESSED) && series.key.unit == "sec/op").unwrap().findings[0].size;
    assert!(size[0] < 0.03 && 0.03 < size[2], "{size:?}");

    // What somebody says stays, also over a restart; the series are the same.
    let series = board.all().iter().find(|series| series.key.name.starts_with(sample::REGRESSED) && series.key.unit == "sec/op").unwrap().clone();
    let said = |one: &mut burrow_perf::series::Finding| (one.state, one.assignee) = (State::Acknowledged, "ada".into());
    board.say(&series.id, &history[sample::REGRESSION].commit, said).await.unwrap();
    let before: Vec<_> = board.all().iter().map(|series| (series.key.clone(), series.points.clone(), series.findings.clone())).collect();
    board.close().await;
    drop(board);
    let again = self::board(dir.path(), &store, &clock).await;
    again.follow().await.unwrap();
    let after: Vec<_> = again.all().iter().map(|series| (series.key.clone(), series.points.clone(), series.findings.clone())).collect();
    assert!(before == after, "series differ after a restart");
    assert_eq!(again.series(&series.id).unwrap().findings[0].state, State::Acknowledged);
    again.say("nonsense", "x", |_| {}).await.unwrap_err();
    again.close().await;
    store.close().await;
}

/// Uploads of one second, a stop in between, everything again: each upload is in once, and the numbers are the same.
#[tokio::test(flavor = "multi_thread")]
async fn no_upload_is_lost_or_doubled() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(TestClock::at(1_770_000_000_000));
    let store = store(dir.path(), &clock).await;
    let text = |commit: usize| format!("commit: c{commit:03}\ncommit-time: {}\nBenchmarkA 1 {} ns/op\n", 1_700_000_000 + commit * 60, 100 + commit % 3);
    let first = board(dir.path(), &store, &clock).await;
    let mut names = Vec::new();
    for commit in 0..18 {
        names.push(upload(&store, text(commit)).await);
    }
    first.follow().await.unwrap();
    first.close().await;
    drop(first);
    for commit in 18..30 {
        names.push(upload(&store, text(commit)).await);
    }
    let second = board(dir.path(), &store, &clock).await;
    second.follow().await.unwrap();
    let uploads = |board: &Board| board.all()[0].points.iter().map(|point| point.upload.clone()).collect::<Vec<_>>();
    assert_eq!(uploads(&second), names);
    let points = second.all()[0].points.clone();
    second.rescan().await.unwrap();
    assert_eq!(second.all()[0].points, points);

    // One is taken away.
    store.remove(&names[5], "ada", "wrong machine").await.unwrap();
    second.follow().await.unwrap();
    assert_eq!(uploads(&second).len(), 29);
    assert!(!uploads(&second).contains(&names[5]));
    second.close().await;
    store.close().await;
}

/// Only what the configuration names is watched.
#[tokio::test(flavor = "multi_thread")]
async fn other_uploads_are_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(TestClock::at(1_770_000_000_000));
    let store = store(dir.path(), &clock).await;
    let config = Arc::new(Config { uploads: "post-submit:true".into(), ..Config::default() });
    let board = Board::open(dir.path(), Source::Store(store.clone()), config, Arc::clone(&clock) as _).await.unwrap();
    upload(&store, "commit: a\nBenchmarkA 1 5 ns/op\n".into()).await;
    upload(&store, "commit: b\npost-submit: true\nBenchmarkA 1 6 ns/op\n".into()).await;
    board.follow().await.unwrap();
    assert_eq!(board.all().iter().map(|series| series.points[0].commit.clone()).collect::<Vec<_>>(), ["b"]);
    assert_eq!(board.uploads(), [("done".to_owned(), 1), ("other".to_owned(), 1)].into());
    board.close().await;
    store.close().await;
}
