//! Schema changes: forward only, numbered, each in a transaction of its own.

use crate::{Error, Pool};

/// One forward step of the schema. `sql` may hold several statements divided by `;` and a line end.
///
/// Only portable SQL: the conformance tests run every migration on both databases; `BLOB` becomes `BYTEA` on PostgreSQL.
#[derive(Debug, Clone, Copy)]
pub struct Migration {
    /// 1, 2, 3 …
    pub version: i64,
    /// For people.
    pub name: &'static str,
    /// What to run.
    pub sql: &'static str,
}

pub(crate) async fn run(pool: &Pool, migrations: &'static [Migration]) -> Result<(), Error> {
    let create = "CREATE TABLE IF NOT EXISTS schema_version (version BIGINT PRIMARY KEY, name TEXT NOT NULL)";
    let newest = "SELECT COALESCE(MAX(version), 0) FROM schema_version";
    let record = "INSERT INTO schema_version (version, name) VALUES ($1, $2)";
    let known = migrations.last().map_or(0, |m| m.version);
    macro_rules! apply {
        ($pool:expr, $rewrite:expr) => {{
            sqlx::query(create).execute($pool).await?;
            let found: i64 = sqlx::query_scalar(newest).fetch_one($pool).await?;
            if found > known {
                return Err(Error::Newer { found, known });
            }
            for migration in migrations.iter().filter(|m| m.version > found) {
                let mut transaction = $pool.begin().await?;
                for statement in migration.sql.split(";\n").map(str::trim).filter(|s| !s.is_empty()) {
                    let statement: String = $rewrite(statement.trim_end_matches(';'));
                    sqlx::query(sqlx::AssertSqlSafe(statement)).execute(&mut *transaction).await?;
                }
                sqlx::query(record).bind(migration.version).bind(migration.name).execute(&mut *transaction).await?;
                transaction.commit().await?;
            }
        }};
    }
    match pool {
        Pool::Sqlite(pool) => apply!(pool, |s: &str| s.to_owned()),
        Pool::Postgres(pool) => apply!(pool, |s: &str| s.replace(" BLOB", " BYTEA")),
    }
    Ok(())
}
