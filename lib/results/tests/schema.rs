//! The schema on both databases, and the rules that every schema change must keep.

use burrow_results::MIGRATIONS;
use burrow_store::{Db, Migration};
use testkit_harness::postgres::Schema;

/// A row for every table as each version of the schema knew it, so that the next step runs over tables with content. Every new table needs one here.
const ROWS: &[(i64, &str)] = &[
    (1, "INSERT INTO repos VALUES ('r', 'p', 'https://example.org/r', 'main', 'ok', '', 1)"),
    (1, "INSERT INTO branches VALUES ('r', 'main', 'aa', 0, 1)"),
    (1, "INSERT INTO commits VALUES ('r', 'aa', '', 'Ada', 'ada@example.org', 1, 'first')"),
    (1, "INSERT INTO branch_commits VALUES ('r', 'main', 1, 'aa')"),
    (1, "INSERT INTO builders VALUES ('r', 'linux', '{}', 1, 1)"),
    (1, "INSERT INTO builds VALUES (1, 'r', 'main', 'aa', 'linux', '', 3, 'passed', 0, 'commit', '', '{}', 1, 1, 2, 3, 1, 0, 1, 0, NULL, NULL)"),
    (1, "INSERT INTO attempts VALUES (1, 1, 1, 'passed', 'w', 'i', 'local', 'h', 1, 2, 3, NULL, 0, 0, '')"),
    (1, "INSERT INTO steps VALUES (1, 0, 'make', 'build', 'w', 'a1-0', 'passed', 1, 2, 0, NULL, 0, 10, '')"),
    (1, "INSERT INTO helpers VALUES (1, 1, 'held', 'w2', 'i2')"),
    (1, "INSERT INTO test_results VALUES (1, 't', 1, 1, 5)"),
    (1, "INSERT INTO test_times VALUES ('linux', 't', 5, 1)"),
    (1, "INSERT INTO machines VALUES ('m', 'local', 'h', 'x', 1, 1, 0, 0, '')"),
    (1, "INSERT INTO tokens VALUES ('x', 'local', 9, NULL, NULL)"),
    (1, "INSERT INTO history VALUES (1, 1, 1, NULL, 'scheduler', 'asked for')"),
    (1, "INSERT INTO settings VALUES ('a', 'b')"),
];

/// Applies the schema step by step, each over the rows of all earlier ones.
async fn over_rows(url: &str) {
    for upto in 1..=MIGRATIONS.len() {
        // Migrations are static in the program; a prefix of them is what an older program was.
        let known: &'static [Migration] = &MIGRATIONS[..upto];
        let version = known[upto - 1].version;
        let db = Db::open(url, known).await.unwrap_or_else(|error| panic!("version {version}: {error}"));
        for (_, row) in ROWS.iter().filter(|(of, _)| *of == version) {
            db.commit(vec![burrow_store::sql(row, ())]).await.unwrap_or_else(|error| panic!("version {version}: {row}: {error}"));
        }
        db.close().await;
    }
    let db = Db::open(url, MIGRATIONS).await.unwrap();
    for table in tables() {
        let rows = db.query_values(format!("SELECT COUNT(*) FROM {table}"), Vec::new()).await.unwrap();
        assert_eq!(rows[0].int(0).unwrap(), 1, "{table} has no row in this test, or lost it in a later step");
    }
    db.close().await;
}

#[tokio::test]
async fn every_step_runs_over_rows_on_sqlite() {
    let dir = tempfile::tempdir().unwrap();
    over_rows(&format!("sqlite:{}", dir.path().join("rows.db").display())).await;
}

#[tokio::test]
async fn every_step_runs_over_rows_on_postgresql() {
    let Some(schema) = Schema::new().await else { return };
    over_rows(&schema.url()).await;
}

fn statements(migration: &Migration) -> Vec<String> {
    migration
        .sql
        .split(";\n")
        .map(|sql| sql.split_whitespace().collect::<Vec<_>>().join(" ").trim_end_matches(';').to_owned())
        .filter(|sql| !sql.is_empty())
        .collect()
}

fn tables() -> Vec<String> {
    let words = MIGRATIONS.iter().flat_map(statements);
    words.filter_map(|sql| Some(sql.strip_prefix("CREATE TABLE ")?.split([' ', '(']).next()?.to_owned())).collect()
}

/// What is wrong with a statement of a schema change, if anything.
fn fault(sql: &str, first: bool) -> Option<&'static str> {
    let upper = format!(" {} ", sql.to_uppercase().replace(['(', ')', ','], " "));
    let has = |words: &str| upper.contains(&format!(" {words} "));
    if ["DROP", "TRUNCATE", "RENAME", "DELETE"].into_iter().any(has) {
        return Some("takes away what the program before it, or a second coordinator during a deploy, still uses");
    }
    if has("ADD COLUMN") && has("NOT NULL") && !has("DEFAULT") {
        return Some("adds a column that rows which are there cannot fill");
    }
    let foreign = [
        "AUTOINCREMENT",
        "SERIAL",
        "BIGSERIAL",
        "JSONB",
        "JSON",
        "TIMESTAMP",
        "TIMESTAMPTZ",
        "DATETIME",
        "BOOLEAN",
        "BOOL",
        "BYTEA",
        "INTEGER",
        "INT",
        "REAL",
        "UUID",
        "VARCHAR",
        "WITHOUT ROWID",
        "STRICT",
        "CONCURRENTLY",
    ];
    if foreign.into_iter().any(has) {
        return Some("is not the portable SQL of both databases: BIGINT, TEXT and BLOB only");
    }
    let starts = ["CREATE TABLE ", "CREATE INDEX ", "CREATE UNIQUE INDEX ", "ALTER TABLE ", "UPDATE ", "INSERT INTO "];
    if !starts.iter().any(|start| sql.starts_with(start)) {
        return Some("begins with no statement that schema changes are made of");
    }
    (!first && sql.starts_with("CREATE UNIQUE INDEX ")).then_some("can fail over rows that are there")
}

#[test]
fn schema_changes_go_forward_only() {
    for (at, migration) in MIGRATIONS.iter().enumerate() {
        assert_eq!(migration.version, at as i64 + 1, "versions are 1, 2, 3 … without holes");
        for sql in statements(migration) {
            assert_eq!(fault(&sql, at == 0), None, "version {}: {sql}", migration.version);
        }
    }
}

#[test]
fn the_linter_sees_what_it_is_there_for() {
    for bad in [
        "DROP TABLE builds",
        "ALTER TABLE builds DROP COLUMN state",
        "ALTER TABLE builds RENAME TO old",
        "ALTER TABLE builds ADD COLUMN owner TEXT NOT NULL",
        "CREATE TABLE x (id SERIAL PRIMARY KEY)",
        "CREATE TABLE x (at TIMESTAMP)",
        "CREATE UNIQUE INDEX one ON builds (repo)",
        "VACUUM",
    ] {
        assert!(fault(bad, false).is_some(), "{bad}");
    }
    for good in
        ["ALTER TABLE builds ADD COLUMN owner TEXT NOT NULL DEFAULT ''", "ALTER TABLE builds ADD COLUMN owner TEXT", "CREATE TABLE x (id BIGINT PRIMARY KEY)"]
    {
        assert_eq!(fault(good, false), None, "{good}");
    }
}
