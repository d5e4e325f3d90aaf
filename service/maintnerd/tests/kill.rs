//! What was acknowledged is there after `kill -9`, byte for byte, and a batch is whole or not there.

mod logs;

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use logs::{open, payloads};

/// Set for the child: the folder that it writes to.
const FOLDER: &str = "BURROW_TEST_KILL_LOG";

/// Content of record `n`: large, so that segments are frozen in the course of the test, and like no other.
fn content(n: usize) -> Vec<u8> {
    let mut state = n as u64 + 1;
    let mut next = move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as u8
    };
    (0..40_000 + (n * 7_919) % 200_000).map(|_| next()).collect()
}

/// Records of the batch that begins with record `n`.
fn batch(n: usize) -> usize {
    1 + n % 4
}

/// Not a test of its own: the process that is killed. Two batches are always under way; it prints how many records were acknowledged.
#[test]
fn writer() {
    let Ok(dir) = std::env::var(FOLDER) else { return };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let log = open(dir.as_ref());
        // Without the empty record.
        let mut written = payloads(dir.as_ref()).len() - 1;
        let mut waiting = std::collections::VecDeque::new();
        loop {
            let records = batch(written);
            let (log, from) = (log.clone(), written);
            written += records;
            let submitted = tokio::spawn(async move { log.append_batch((from..from + records).map(content).collect()).await });
            // Submitted in this order: the next task runs after this one has.
            tokio::task::yield_now().await;
            waiting.push_back((written, submitted));
            if waiting.len() > 2 {
                let (until, oldest) = waiting.pop_front().unwrap();
                oldest.await.unwrap().unwrap();
                println!("acknowledged {until}");
            }
        }
    });
}

#[test]
fn acknowledged_records_survive_kill_9() {
    let dir = tempfile::tempdir().unwrap();
    let mut acknowledged = 0;
    let mut torn = 0;
    for round in 1..=16 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["writer", "--exact", "--nocapture"])
            .env(FOLDER, dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        for line in lines.map_while(Result::ok).filter_map(|line| line.split("acknowledged ").nth(1)?.parse::<usize>().ok()) {
            acknowledged = line;
            if acknowledged >= round * 17 {
                break;
            }
        }
        child.kill().unwrap();
        child.wait().unwrap();

        let log = open(dir.path());
        torn += usize::from(log.opened().truncated.is_some());
        let total = log.snapshot().total;
        drop(log);
        let found = payloads(dir.path());
        assert!(found.len() > acknowledged, "{acknowledged} were acknowledged, {} are there", found.len() - 1);
        assert!(found.iter().skip(1).enumerate().all(|(n, payload)| *payload == content(n)), "round {round}: a record is not what was written");
        let mut whole = 0;
        while whole < found.len() - 1 {
            whole += batch(whole);
        }
        assert_eq!(whole, found.len() - 1, "round {round}: a batch is there in part");
        let report = burrow_maintnerd::verify::verify(dir.path()).unwrap();
        // The contents are no mutations; everything else must be right.
        let wrong = |fault: &&burrow_maintnerd::verify::Fault| !matches!(fault.kind, burrow_maintnerd::verify::Kind::Mutation(_));
        assert!(!report.faults.iter().any(|fault| wrong(&fault)), "{:?}", report.faults);
        assert_eq!((report.records, report.bytes), (found.len() as u64, total));
    }
    assert!(acknowledged >= 16 * 17, "the writer was killed while it wrote");
    let frozen = std::fs::read_dir(dir.path()).unwrap().filter(|entry| entry.as_ref().unwrap().file_name().len() == 68).count();
    assert!(frozen >= 2, "segments were frozen meanwhile");
    eprintln!("{torn} of 16 kills left an unfinished end, {frozen} segments were frozen");
}
