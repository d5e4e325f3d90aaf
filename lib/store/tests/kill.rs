//! What was acknowledged is there after `kill -9`.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use burrow_store::{Db, Migration, sql};

const MIGRATIONS: &[Migration] = &[Migration { version: 1, name: "first", sql: "CREATE TABLE numbers (n BIGINT PRIMARY KEY)" }];
/// Set for the child: the database that it writes to.
const DATABASE: &str = "BURROW_TEST_KILL_DATABASE";

/// Not a test of its own: the process that is killed. It prints each number after its commit was acknowledged.
#[test]
fn writer() {
    let Ok(url) = std::env::var(DATABASE) else { return };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let db = Db::open(&url, MIGRATIONS).await.unwrap();
        let newest = db.query("SELECT COALESCE(MAX(n), 0) FROM numbers", ()).await.unwrap()[0].int(0).unwrap();
        for n in newest + 1.. {
            db.commit(vec![sql("INSERT INTO numbers (n) VALUES ($1)", (n,))]).await.unwrap();
            println!("acknowledged {n}");
        }
    });
}

#[tokio::test]
async fn acknowledged_rows_survive_kill_9() {
    let dir = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}", dir.path().join("rows.db").display());
    let mut last = 0;
    for round in 1..=12 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["writer", "--exact", "--nocapture"])
            .env(DATABASE, &url)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        for line in lines.map_while(Result::ok).filter_map(|line| line.split("acknowledged ").nth(1)?.parse::<i64>().ok()) {
            last = line;
            if last >= round * 20 {
                break;
            }
        }
        // The kernel gives up the lock on the file before the child is waited for, so the next round may begin at once.
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let db = Db::open(&url, MIGRATIONS).await.unwrap();
    let rows = db.query("SELECT n FROM numbers ORDER BY n", ()).await.unwrap();
    let numbers: Vec<i64> = rows.iter().map(|row| row.int(0).unwrap()).collect();
    assert!(last >= 240, "the writer was killed while it wrote");
    assert!(numbers.len() as i64 >= last, "{last} was acknowledged, {} are there", numbers.len());
    assert_eq!(numbers, (1..=numbers.len() as i64).collect::<Vec<_>>(), "no hole");
}
