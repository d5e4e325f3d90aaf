//! How long a first round takes for the history of a repository, served by a modelled Gerrit on this machine: `measure_poll CLONE`.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use burrow_clock::SystemClock;
use burrow_gerrit::Auth;
use burrow_maintnerd::Leader;
use burrow_maintnerd::poll::{GerritSource, Sources, sync_once};

#[tokio::main]
async fn main() {
    let clone = PathBuf::from(std::env::args().nth(1).expect("the path of a clone"));
    let gerrit = testkit_gerrit::Gerrit::start().await;
    gerrit.world().from_clone("project", &clone);
    let dir = tempfile::tempdir().expect("a temporary folder");
    let clock = SystemClock::shared();
    let leader = Leader::open(&dir.path().join("log"), Arc::clone(&clock), 2, Arc::new(|_| {})).await.expect("a new log");
    let source = GerritSource { name: "gerrit.example/project".into(), url: gerrit.git_url("project"), auth: Auth::None };
    let sources = Sources { dir: dir.path().to_owned(), gerrit: vec![source], ..Sources::default() };
    for round in ["first", "second"] {
        let start = Instant::now();
        sync_once(&leader, &sources, &clock).await.expect("a round");
        let view = leader.view();
        println!("{round} round: {:.2} s, {} records, {} bytes of log", start.elapsed().as_secs_f64(), view.records(), view.position());
    }
    leader.close().await;
}
