//! One suite for every database: what the rest of Burrow relies on, run on SQLite and on PostgreSQL.

use std::path::Path;
use std::time::Duration;

use burrow_store::{Db, Error, Health, Migration, Statement, Value, sql};
use testkit_harness::postgres::Schema;

const FIRST: Migration = Migration {
    version: 1,
    name: "first",
    sql: "CREATE TABLE notes (id BIGINT PRIMARY KEY, text TEXT NOT NULL, body BLOB);\nCREATE INDEX notes_text ON notes (text);\n",
};
const SECOND: Migration =
    Migration { version: 2, name: "second", sql: "ALTER TABLE notes ADD COLUMN stars BIGINT NOT NULL DEFAULT 3;\nCREATE TABLE tags (name TEXT PRIMARY KEY)" };
const BROKEN: Migration =
    Migration { version: 3, name: "broken", sql: "CREATE TABLE half (id BIGINT PRIMARY KEY);\nCREATE TABLE tags (name TEXT PRIMARY KEY)" };
const ONE: &[Migration] = &[FIRST];
const TWO: &[Migration] = &[FIRST, SECOND];
const THREE: &[Migration] = &[FIRST, SECOND, BROKEN];

fn insert(id: i64, text: &str) -> Statement {
    sql("INSERT INTO notes (id, text) VALUES ($1, $2) ON CONFLICT (id) DO UPDATE SET text = excluded.text", (id, text))
}

async fn texts(db: &Db) -> Vec<(i64, String)> {
    let rows = db.query("SELECT id, text FROM notes ORDER BY id", ()).await.unwrap();
    rows.iter().map(|row| (row.int(0).unwrap(), row.text(1).unwrap().to_owned())).collect()
}

/// Everything that a database must do. `url` names an empty one.
async fn conformance(url: &str) {
    values_come_back(url).await;
    migrations_go_forward_over_rows(url).await;
    a_refused_statement_fails_only_its_own_batch(url).await;
    order_is_kept(url).await;
    a_second_opener_is_refused(url).await;
}

async fn values_come_back(url: &str) {
    let db = Db::open(url, ONE).await.unwrap();
    let odd = "naïve \u{1F573} 'quoted' \"twice\" \\ $1 ? ; --";
    let bytes: Vec<u8> = (0..=255).collect();
    db.commit(vec![
        sql("INSERT INTO notes (id, text, body) VALUES ($1, $2, $3)", (i64::MIN, odd, bytes.clone())),
        sql("INSERT INTO notes (id, text, body) VALUES ($1, $2, $3)", vec![Value::from(i64::MAX), Value::from(""), Value::Blob(None)]),
    ])
    .await
    .unwrap();
    let rows = db.query("SELECT id, text, body, id > 0 FROM notes ORDER BY id", ()).await.unwrap();
    assert_eq!((rows[0].int(0).unwrap(), rows[0].text(1).unwrap(), rows[0].blob(2).unwrap()), (i64::MIN, odd, bytes.as_slice()));
    assert_eq!((rows[1].int(0).unwrap(), rows[1].text(1).unwrap(), rows[1].bool(3).unwrap()), (i64::MAX, "", true));
    assert!(matches!(rows[1].blob(2), Err(Error::Type { column: 2, .. })), "a null is not bytes");
    assert!(matches!(rows[0].int(1), Err(Error::Type { column: 1, .. })), "a text is not a number");
    db.commit(vec![sql("DELETE FROM notes WHERE id <> $1", (0,))]).await.unwrap();
    db.close().await;
}

async fn migrations_go_forward_over_rows(url: &str) {
    let db = Db::open(url, ONE).await.unwrap();
    db.commit(vec![insert(1, "old row")]).await.unwrap();
    db.close().await;
    drop(db);

    let db = reopen(url, TWO).await.unwrap();
    let rows = db.query("SELECT stars FROM notes WHERE id = $1", (1,)).await.unwrap();
    assert_eq!(rows[0].int(0).unwrap(), 3, "the default is there for old rows");
    db.close().await;
    drop(db);

    // A step that fails half-way leaves nothing behind, and the old program still works on the data.
    assert!(reopen(url, THREE).await.is_err());
    let db = reopen(url, TWO).await.unwrap();
    assert!(db.query("SELECT id FROM half", ()).await.is_err(), "half a migration stayed");
    db.close().await;
    drop(db);

    // An older program does not touch what it does not understand.
    match reopen(url, ONE).await {
        Err(Error::Newer { found: 2, known: 1 }) => {}
        other => panic!("expected a refusal of newer data, got {:?}", other.map(|_| ())),
    }
}

async fn a_refused_statement_fails_only_its_own_batch(url: &str) {
    let db = reopen(url, TWO).await.unwrap();
    // Submitted at one moment, so that they share a commit.
    let before = db.submit(vec![insert(10, "before")]);
    let refused = db.submit(vec![insert(11, "half"), sql("INSERT INTO notes (id, text) VALUES ($1, $2)", vec![Value::from(12i64), Value::Text(None)])]);
    let after = db.submit(vec![insert(13, "after")]);
    before.await.unwrap().unwrap();
    assert!(matches!(refused.await.unwrap(), Err(Error::Database(_))));
    after.await.unwrap().unwrap();
    assert_eq!(texts(&db).await, [(1, "old row".into()), (10, "before".into()), (13, "after".into())]);
    assert_eq!(*db.health().borrow(), Health::Good, "a program error is no trouble of the database");
    db.close().await;
}

async fn order_is_kept(url: &str) {
    let db = reopen(url, TWO).await.unwrap();
    // More than one group's worth, all on the same row: the last one must win, and nothing may be lost.
    let waits: Vec<_> = (0..2_000).map(|n| db.submit(vec![insert(20, &n.to_string()), insert(1_000 + n, "each")])).collect();
    for wait in waits {
        wait.await.unwrap().unwrap();
    }
    let rows = db.query("SELECT text FROM notes WHERE id = $1", (20,)).await.unwrap();
    assert_eq!(rows[0].text(0).unwrap(), "1999");
    let rows = db.query("SELECT COUNT(*) FROM notes WHERE text = $1", ("each",)).await.unwrap();
    assert_eq!(rows[0].int(0).unwrap(), 2_000);
    db.commit(vec![sql("DELETE FROM notes WHERE id >= $1", (20,))]).await.unwrap();
    db.close().await;
    drop(db);
    let db = reopen(url, TWO).await.unwrap();
    assert_eq!(texts(&db).await.len(), 3, "what was committed is there after closing and opening");
    db.close().await;
}

async fn a_second_opener_is_refused(url: &str) {
    let db = reopen(url, TWO).await.unwrap();
    match Db::open(url, TWO).await {
        Err(error @ Error::InUse(_)) => assert!(error.to_string().contains("stop it first"), "{error}"),
        other => panic!("expected a refusal, got {:?}", other.map(|_| ())),
    }
    db.commit(vec![insert(1, "still mine")]).await.unwrap();
    db.close().await;
    drop(db);
    let db = reopen(url, TWO).await.unwrap();
    assert_eq!(texts(&db).await[0].1, "still mine");
    db.close().await;
}

/// Opens what was just closed. The server gives up the lock of a closed connection a moment later; that moment is waited for, nothing else.
async fn reopen(url: &str, migrations: &'static [Migration]) -> Result<Db, Error> {
    for _ in 0..2_000 {
        match Db::open(url, migrations).await {
            Err(Error::InUse(_)) => tokio::task::yield_now().await,
            other => return other,
        }
    }
    Db::open(url, migrations).await
}

#[tokio::test]
async fn sqlite_conforms() {
    let dir = tempfile::tempdir().unwrap();
    conformance(&file(dir.path())).await;
}

#[tokio::test]
async fn postgresql_conforms() {
    let Some(schema) = Schema::new().await else { return };
    conformance(&schema.url()).await;
}

#[tokio::test]
async fn memory_keeps_rows_and_refuses_bad_batches() {
    let db = Db::open("sqlite::memory:", TWO).await.unwrap();
    db.commit(vec![insert(1, "one")]).await.unwrap();
    assert!(db.commit(vec![insert(2, "two"), sql("INSERT INTO nowhere (id) VALUES ($1)", (1,))]).await.is_err());
    assert_eq!(texts(&db).await, [(1, "one".into())]);
}

#[tokio::test]
async fn postgresql_that_goes_away_delays_commits_and_loses_none() {
    let Some(schema) = Schema::new().await else { return };
    let db = Db::open(&schema.named_url(), TWO).await.unwrap();
    db.commit(vec![insert(1, "before")]).await.unwrap();
    for round in 0..5 {
        let early = db.submit(vec![insert(10 + round, "early")]);
        schema.cut_connections().await;
        let late = db.submit(vec![insert(20 + round, "late")]);
        early.await.unwrap().unwrap();
        late.await.unwrap().unwrap();
    }
    // Read on a fresh connection: the readers' pool lost its connections too, and may say so once for each.
    let rows = loop {
        if let Ok(rows) = db.query("SELECT COUNT(*) FROM notes", ()).await {
            break rows;
        }
    };
    assert_eq!(rows[0].int(0).unwrap(), 11);
    assert_eq!(*db.health().borrow(), Health::Good);
    assert!(matches!(Db::open(&schema.url(), TWO).await, Err(Error::InUse(_))), "the writer must have taken its lock again");
}

#[cfg(target_os = "linux")]
mod full_disk {
    use super::*;

    /// A small file system of its own.
    struct Small(tempfile::TempDir);

    impl Small {
        fn mount() -> Option<Small> {
            use rustix::mount::{MountFlags, mount};
            let dir = tempfile::tempdir().unwrap();
            match mount("tmpfs", dir.path(), "tmpfs", MountFlags::empty(), Some(c"size=3m")) {
                Ok(()) => Some(Small(dir)),
                Err(error) => {
                    testkit_harness::skip(&format!("cannot mount a small file system ({error}); needs root"));
                    None
                }
            }
        }
    }

    impl Drop for Small {
        fn drop(&mut self) {
            let _ = rustix::mount::unmount(self.0.path(), rustix::mount::UnmountFlags::DETACH);
        }
    }

    #[tokio::test]
    async fn commits_wait_on_a_full_disk_and_go_through_in_order_when_there_is_space() {
        let Some(small) = Small::mount() else { return };
        let db = Db::open(&file(small.0.path()), TWO).await.unwrap();
        db.commit(vec![insert(1, "before")]).await.unwrap();

        let ballast = small.0.path().join("ballast");
        fill(&ballast);
        let mut health = db.health();
        // Larger than what is left in already allocated pages.
        let big = "x".repeat(600_000);
        let first = db.submit(vec![insert(2, &big), insert(3, "first")]);
        let second = db.submit(vec![insert(3, "second")]);
        health.wait_for(|health| matches!(health, Health::Waiting(text) if !text.is_empty())).await.unwrap();
        assert_eq!(texts(&db).await, [(1, "before".into())], "what waits is not visible, and reading goes on");

        std::fs::remove_file(&ballast).unwrap();
        first.await.unwrap().unwrap();
        second.await.unwrap().unwrap();
        tokio::time::timeout(Duration::from_secs(60), health.wait_for(|health| *health == Health::Good)).await.expect("health is told again").unwrap();
        let rows = db.query("SELECT text FROM notes WHERE id = $1", (3,)).await.unwrap();
        assert_eq!(rows[0].text(0).unwrap(), "second", "order is kept");
        db.close().await;
    }

    fn fill(path: &Path) {
        use std::io::Write as _;
        let mut file = std::fs::File::create(path).unwrap();
        for size in [65_536, 4_096, 1] {
            while file.write_all(&vec![0; size]).is_ok() {}
        }
    }
}

fn file(dir: &Path) -> String {
    format!("sqlite:{}", dir.join("rows.db").display())
}
