//! Tables. Keys and values of labels are bytes: both databases then compare them bytewise, and no text is refused.
//!
//! - `upload`, `part`: what was uploaded. A row of `upload` is what makes everything else of its number visible.
//! - `chunk`, `chunk_values`: the lines (`chunk.rs`).
//! - `posting`: which chunks of which uploads have a label, by the label's hash; an empty list stands for all chunks of the upload. The hash of a key alone stands
//!   for any value. A hash may lie, so every record of an answer is compared with the query itself.
//! - `label`, `label_key`: the labels themselves, for ranges and for lists.
//! - `change`: what happened, in order; `garbage`: what is to be swept; `client_key`: uploads by the clients' own keys; `fact`: single facts.

use burrow_store::Migration;

macro_rules! migrations {
    ($clustered:literal) => {
        &[Migration {
            version: 1,
            name: "first",
            sql: concat!(
                "CREATE TABLE upload (no BIGINT PRIMARY KEY, name TEXT NOT NULL, sequence BIGINT NOT NULL, at_ms BIGINT NOT NULL, by_user TEXT NOT NULL, ",
                "token TEXT NOT NULL, bytes BIGINT NOT NULL, records BIGINT NOT NULL, line_count BIGINT NOT NULL, chunks BIGINT NOT NULL);\n",
                "CREATE UNIQUE INDEX upload_name ON upload (name);\n",
                "CREATE INDEX upload_at ON upload (at_ms);\n",
                "CREATE TABLE part (upload BIGINT NOT NULL, number BIGINT NOT NULL, labels BLOB NOT NULL, units BLOB NOT NULL, bytes BIGINT NOT NULL, ",
                "records BIGINT NOT NULL, line_count BIGINT NOT NULL, original TEXT, PRIMARY KEY (upload, number));\n",
                "CREATE TABLE chunk (upload BIGINT NOT NULL, number BIGINT NOT NULL, part BIGINT NOT NULL, head BLOB NOT NULL, body BLOB NOT NULL, ",
                "PRIMARY KEY (upload, number));\n",
                "CREATE TABLE chunk_values (upload BIGINT NOT NULL, number BIGINT NOT NULL, body BLOB NOT NULL, PRIMARY KEY (upload, number));\n",
                "CREATE TABLE posting (label BIGINT NOT NULL, upload BIGINT NOT NULL, chunks BLOB NOT NULL, PRIMARY KEY (label, upload))",
                $clustered,
                ";\n",
                "CREATE TABLE label (id BIGINT PRIMARY KEY, key_id BIGINT NOT NULL, head BLOB NOT NULL, whole BLOB);\n",
                "CREATE INDEX label_by_key ON label (key_id, head);\n",
                "CREATE TABLE label_key (id BIGINT PRIMARY KEY, name BLOB NOT NULL);\n",
                "CREATE TABLE change (sequence BIGINT PRIMARY KEY, at_ms BIGINT NOT NULL, kind TEXT NOT NULL, name TEXT NOT NULL, by_user TEXT NOT NULL, ",
                "detail TEXT NOT NULL);\n",
                "CREATE TABLE garbage (no BIGINT PRIMARY KEY, token TEXT NOT NULL, name TEXT NOT NULL);\n",
                "CREATE TABLE client_key (name TEXT PRIMARY KEY, upload TEXT NOT NULL, digest TEXT NOT NULL, receipt TEXT NOT NULL);\n",
                "CREATE TABLE fact (name TEXT PRIMARY KEY, value TEXT NOT NULL);\n",
            ),
        }]
    };
}

/// For SQLite: postings lie in the order of their key, so that one is found with one walk.
pub(crate) const SQLITE: &[Migration] = migrations!(" WITHOUT ROWID");
/// For PostgreSQL.
pub(crate) const POSTGRES: &[Migration] = migrations!("");

/// The migrations for a database address.
pub(crate) fn migrations(url: &str) -> &'static [Migration] {
    if url.starts_with("postgres:") || url.starts_with("postgresql:") { POSTGRES } else { SQLITE }
}

/// Rows of one statement where many are inserted: a statement costs more than a row.
pub(crate) const ROWS: usize = 64;

/// `INSERT INTO … VALUES` with so many rows of so many columns.
macro_rules! insert_many {
    ($name:ident, $into:literal, $columns:literal, $end:literal) => {
        pub(crate) static $name: std::sync::LazyLock<String> = std::sync::LazyLock::new(|| {
            let mut sql = String::from($into);
            for row in 0..ROWS {
                sql.push_str(if row == 0 { " VALUES (" } else { ", (" });
                for column in 0..$columns {
                    let comma = if column == 0 { "" } else { ", " };
                    sql.push_str(&format!("{comma}${}", row * $columns + column + 1));
                }
                sql.push(')');
            }
            sql.push_str($end);
            sql
        });
    };
}

insert_many!(POSTINGS, "INSERT INTO posting (label, upload, chunks)", 3, " ON CONFLICT (label, upload) DO UPDATE SET chunks = excluded.chunks");
insert_many!(LABELS, "INSERT INTO label (id, key_id, head, whole)", 4, " ON CONFLICT (id) DO NOTHING");
/// Lists that a statement takes an upload out of. More would cost more: SQLite looks for each parameter among all before it.
pub(crate) const UNPOSTED: usize = 200;
/// Takes an upload (`$1`) out of so many lists.
pub(crate) static UNPOST: std::sync::LazyLock<String> = std::sync::LazyLock::new(|| {
    let places: Vec<String> = (0..UNPOSTED).map(|at| format!("${}", at + 2)).collect();
    format!("DELETE FROM posting WHERE upload = $1 AND label IN ({})", places.join(", "))
});
pub(crate) const POSTING: &str =
    "INSERT INTO posting (label, upload, chunks) VALUES ($1, $2, $3) ON CONFLICT (label, upload) DO UPDATE SET chunks = excluded.chunks";
pub(crate) const LABEL: &str = "INSERT INTO label (id, key_id, head, whole) VALUES ($1, $2, $3, $4) ON CONFLICT (id) DO NOTHING";
pub(crate) const LABEL_KEY: &str = "INSERT INTO label_key (id, name) VALUES ($1, $2) ON CONFLICT (id) DO NOTHING";
pub(crate) const CHUNK: &str = "INSERT INTO chunk (upload, number, part, head, body) VALUES ($1, $2, $3, $4, $5) \
     ON CONFLICT (upload, number) DO UPDATE SET part = excluded.part, head = excluded.head, body = excluded.body";
pub(crate) const CHUNK_VALUES: &str =
    "INSERT INTO chunk_values (upload, number, body) VALUES ($1, $2, $3) ON CONFLICT (upload, number) DO UPDATE SET body = excluded.body";
pub(crate) const GARBAGE: &str =
    "INSERT INTO garbage (no, token, name) VALUES ($1, $2, $3) ON CONFLICT (no) DO UPDATE SET token = excluded.token, name = excluded.name";
pub(crate) const FACT: &str = "INSERT INTO fact (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = excluded.value";
