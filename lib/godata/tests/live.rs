//! `get`: the corpus of a real leader, from its log, from snapshots, and kept up with it.

use std::path::Path;
use std::sync::Arc;

use burrow_clock::SystemClock;
use burrow_godata::{Error, GetError, GetOptions, get};
use burrow_loggen::{Order, Plan, generate};
use burrow_maintner::{Reading, View, dump};
use burrow_maintnerd::{Leader, api::Rules, http::Readers, pages};
use protocol_mutlog::schema::{GithubIssueMutation, Mutation, Timestamp};
use tokio_util::sync::CancellationToken;

/// A leader that is served until the end of the test.
struct Served {
    leader: Leader,
    url: String,
    task: tokio::task::JoinHandle<()>,
}

impl Served {
    async fn start(dir: &Path) -> Served {
        let clock = SystemClock::shared();
        let leader = Leader::open(dir, Arc::clone(&clock), 2, Arc::new(|_| {})).await.unwrap();
        let site = pages::Site { leader: leader.clone(), rules: Rules::go(), gerrit: None, readers: Readers::everybody(), sources: Arc::new(Vec::new), clock };
        let router = pages::router(site, CancellationToken::new());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/logs", listener.local_addr().unwrap());
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Served { leader, url, task }
    }

    async fn fill(&self, scale: f64) {
        let mut mutations = Vec::new();
        generate(&Plan { scale, seed: 5, order: Order::Time }, &mut |payload| {
            mutations.push(Mutation::from(protocol_mutlog::view::Mutation::decode(payload).unwrap()));
            Ok(())
        })
        .unwrap();
        for some in mutations.chunks(500) {
            self.leader.commit(some).await.unwrap();
        }
    }

    async fn end(self) {
        self.task.abort();
        self.leader.close().await;
    }
}

/// Everything but the counter of votes, which depends on how often a history was walked.
fn lines(view: &View) -> Vec<String> {
    let mut out = Vec::new();
    dump::dump(view, Reading::Ours, &mut out).unwrap();
    String::from_utf8(out).unwrap().lines().filter(|line| !line.contains("\"t\":\"gproject\"")).map(str::to_owned).collect()
}

fn issue(number: i32, body: Vec<u8>) -> Mutation {
    let issue = GithubIssueMutation {
        owner: b"o".to_vec(),
        repo: b"r".to_vec(),
        number,
        created: Some(Timestamp::new(1_700_000_000, 0)),
        title: format!("issue {number}").into_bytes(),
        body,
        ..Default::default()
    };
    Mutation { github_issue: Some(issue), ..Default::default() }
}

fn options() -> GetOptions {
    GetOptions { worth_a_snapshot: 0, ..GetOptions::default() }
}

#[tokio::test]
async fn the_corpus_is_the_leaders_and_stays_so() {
    let dir = tempfile::tempdir().unwrap();
    let served = Served::start(&dir.path().join("leader")).await;
    served.fill(0.0005).await;
    let mut live = get(&served.url, &dir.path().join("cache"), options()).await.unwrap();
    assert_eq!(lines(&live.view()), lines(&served.leader.view()));
    assert_eq!(live.offline(), None);

    let before = live.view();
    served.leader.commit(&[issue(1, b"x".to_vec()), issue(2, b"y".to_vec())]).await.unwrap();
    let view = live.update().await.unwrap();
    assert_eq!(view.github().repo("o", "r").unwrap().issues().len(), 2);
    assert!(before.github().repo("o", "r").is_none());

    // Bodies of several mebibytes: segments freeze, and what was in memory becomes files.
    for number in 3..12 {
        served.leader.commit(&[issue(number, vec![b'a' + number as u8; 4 << 20])]).await.unwrap();
        if number % 3 == 0 {
            live.update().await.unwrap();
        }
    }
    while live.view().position() < served.leader.view().position() {
        live.update().await.unwrap();
    }
    assert!(live.segments().len() >= 3 && live.segments()[0].frozen);
    assert_eq!(lines(&live.view()), lines(&served.leader.view()));
    served.end().await;
}

#[tokio::test]
async fn a_snapshot_is_used_and_a_bad_one_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let served = Served::start(&dir.path().join("leader")).await;
    served.fill(0.0005).await;
    let cache = dir.path().join("cache");
    let expected = lines(&served.leader.view());
    // The snapshot is written in the background: whoever comes later finds it, or reads the log.
    get(&served.url, &cache, options()).await.unwrap();
    let snapshot = cache.join("corpus.snap");
    for damage in [None, Some(20_000), Some(40)] {
        wait_for(&snapshot).await;
        if let Some(place) = damage {
            let mut bytes = std::fs::read(&snapshot).unwrap();
            bytes[place] ^= 1;
            // As a new file: the old one may be mapped.
            std::fs::remove_file(&snapshot).unwrap();
            std::fs::write(&snapshot, bytes).unwrap();
        }
        let live = get(&served.url, &cache, options()).await.unwrap();
        assert_eq!(lines(&live.view()), expected, "{damage:?}");
    }
    served.end().await;
}

/// Until a file is there: it is renamed when it is whole.
async fn wait_for(path: &Path) {
    while !path.exists() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_follower_that_begins_takes_the_servers_snapshot() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("leader");
    let served = Served::start(&folder).await;
    served.fill(0.0005).await;
    // Closing writes one.
    served.end().await;
    let served = Served::start(&folder).await;
    served.leader.commit(&[issue(1, Vec::new())]).await.unwrap();
    let cache = dir.path().join("cache");
    let read = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let seen = Arc::clone(&read);
    let reading = Arc::new(move |_| seen.store(true, std::sync::atomic::Ordering::SeqCst));
    let live = get(&served.url, &cache, GetOptions { reading, ..options() }).await.unwrap();
    assert!(!read.load(std::sync::atomic::Ordering::SeqCst), "the log was read although the server has a snapshot");
    assert_eq!(lines(&live.view()), lines(&served.leader.view()));
    served.end().await;
}

#[tokio::test]
async fn another_history_is_told_and_had_anew() {
    let dir = tempfile::tempdir().unwrap();
    let served = Served::start(&dir.path().join("one")).await;
    served.leader.commit(&[issue(1, Vec::new())]).await.unwrap();
    let cache = dir.path().join("cache");
    let mut live = get(&served.url, &cache, options()).await.unwrap();
    let address = served.url.trim_start_matches("http://").trim_end_matches("/logs").to_owned();
    served.end().await;
    // The same address, another log.
    let other = Leader::open(&dir.path().join("two"), SystemClock::shared(), 1, Arc::new(|_| {})).await.unwrap();
    other.commit(&[issue(7, b"other".to_vec()), issue(8, Vec::new())]).await.unwrap();
    let listener = tokio::net::TcpListener::bind(&address).await.unwrap();
    let router = burrow_maintnerd::http::router(other.log().clone(), Readers::everybody(), CancellationToken::new());
    let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    match live.update().await {
        Err(GetError::Source(Error::Split { .. })) => {}
        result => panic!("{:?}", result.map(|view| view.records())),
    }
    drop(live);
    let live = get(&format!("http://{address}/logs"), &cache, options()).await.unwrap();
    assert!(live.view().github().repo("o", "r").unwrap().issue(7).is_some());
    task.abort();
    other.close().await;
}
