//! A schema of one's own in a real PostgreSQL.

use sqlx::postgres::PgConnection;
use sqlx::{Connection as _, Executor as _};

/// Address of a PostgreSQL that tests may use as they like, for example `postgres://burrow@127.0.0.1:5433/burrow`. `cargo xtask test` starts one and sets it.
pub const ADDRESS: &str = "BURROW_TEST_POSTGRES";

/// An empty schema; dropped with everything in it when this is.
#[derive(Debug)]
pub struct Schema {
    base: String,
    name: String,
}

impl Schema {
    /// Makes one. `None`: there is no PostgreSQL here, and the test is recorded as skipped.
    ///
    /// # Panics
    /// The address is set but nothing answers there.
    pub async fn new() -> Option<Schema> {
        let Ok(base) = std::env::var(ADDRESS) else {
            crate::skip(&format!("no PostgreSQL ({ADDRESS} is not set)"));
            return None;
        };
        static COUNT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let name = format!("test_{}_{}", std::process::id(), COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed));
        run(&base, &format!("DROP SCHEMA IF EXISTS {name} CASCADE; CREATE SCHEMA {name}"))
            .await
            .expect("make a schema in the PostgreSQL that the environment names");
        Some(Schema { base, name })
    }

    /// Address whose connections see this schema only.
    pub fn url(&self) -> String {
        let separator = if self.base.contains('?') { '&' } else { '?' };
        format!("{}{separator}options=-c%20search_path%3D{}", self.base, self.name)
    }

    /// Runs SQL beside the program under test.
    ///
    /// # Panics
    /// The database refuses it.
    pub async fn execute(&self, sql: &str) {
        run(&self.url(), sql).await.expect("run SQL in the test's schema");
    }

    /// Cuts every connection that sees this schema, as a failing network or a restarted server does.
    pub async fn cut_connections(&self) {
        let sql =
            format!("SELECT pg_terminate_backend(l.pid) FROM pg_stat_activity l WHERE l.pid <> pg_backend_pid() AND l.application_name = '{}'", self.name);
        run(&self.base, &sql).await.expect("cut connections");
    }

    /// Like [`Schema::url`], with connections that [`Schema::cut_connections`] finds.
    pub fn named_url(&self) -> String {
        format!("{}&application_name={}", self.url(), self.name)
    }
}

impl Drop for Schema {
    fn drop(&mut self) {
        let (base, sql) = (self.base.clone(), format!("DROP SCHEMA IF EXISTS {} CASCADE", self.name));
        // A drop cannot wait inside the test's own runtime, so it takes a thread.
        let dropped = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().ok()?;
            // Connections that the test still holds would make the drop wait for ever.
            let sql = format!("SET lock_timeout = '3s'; {sql}");
            runtime.block_on(run(&base, &sql)).ok()
        });
        let _ = dropped.join();
    }
}

async fn run(url: &str, sql: &str) -> Result<(), sqlx::Error> {
    let mut connection = PgConnection::connect(url).await?;
    connection.execute(sqlx::raw_sql(sqlx::AssertSqlSafe(sql.to_owned()))).await?;
    connection.close().await
}
