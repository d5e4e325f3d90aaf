//! Rows: SQLite or PostgreSQL behind one portable interface with grouped commits.
//!
//! Three rules keep this small. All SQL is portable: `$1` placeholders, `BIGINT`, `TEXT` and `BLOB` (rewritten to `BYTEA`) columns, upserts by
//! primary key. There is one writer: batches that arrive while a commit is under way share the next one, so that a moment's work costs one fsync.
//! And a batch may be applied twice (a connection can break between COMMIT and its answer), so every statement is an upsert, a keyed update or a delete.
//!
//! ```
//! # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
//! use burrow_store::{Db, Migration, sql};
//! const MIGRATIONS: &[Migration] = &[Migration { version: 1, name: "first", sql: "CREATE TABLE pets (name TEXT PRIMARY KEY, legs BIGINT NOT NULL)" }];
//! let db = Db::open("sqlite::memory:", MIGRATIONS).await?;
//! db.commit(vec![sql("INSERT INTO pets (name, legs) VALUES ($1, $2)", ("rex", 4))]).await?;
//! let rows = db.query("SELECT legs FROM pets WHERE name = $1", ("rex",)).await?;
//! assert_eq!(rows[0].int(0)?, 4);
//! # Ok::<_, burrow_store::Error>(()) }).unwrap();
//! ```

mod migrate;
mod value;
mod writer;

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use burrow_task::BoxFuture;
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous};
use tokio::sync::{oneshot, watch};

pub use migrate::Migration;
pub use value::{Args, Row, Statement, Value, sql};
pub use writer::Health;

/// What can go wrong with rows.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database refused or failed; the text is its own.
    #[error("database: {0}")]
    Database(#[from] sqlx::Error),
    /// The data was written by a newer Burrow.
    #[error("the data has schema version {found}, this program knows versions up to {known}; start the newer program that wrote it, or restore a backup")]
    Newer {
        /// Version found in the data.
        found: i64,
        /// Newest version that this program knows.
        known: i64,
    },
    /// Somebody else holds the data.
    #[error("{0} is in use by another coordinator; stop it first, or choose another --data folder")]
    InUse(String),
    /// A column had another type than the program expects.
    #[error("column {column}: expected {expected}, found {found}")]
    Type {
        /// Index in the row.
        column: usize,
        /// What was asked for.
        expected: &'static str,
        /// What is there.
        found: &'static str,
    },
    /// The lock file or folder could not be used.
    #[error("{path}: {source}")]
    File {
        /// Which file.
        path: PathBuf,
        /// The system's word.
        source: std::io::Error,
    },
    /// The writer has stopped.
    #[error("the database writer has stopped")]
    Stopped,
}

#[derive(Clone)]
pub(crate) enum Pool {
    Sqlite(SqlitePool),
    Postgres(PgPool),
}

/// The connections that read. Behind a trait, because every crate that drops a [`Db`] would else compile the pools' ends anew.
trait Readers: Send + Sync {
    fn rows(&self, sql: String, args: Vec<Value>) -> BoxFuture<'_, Result<Vec<Row>, Error>>;
    fn kind(&self) -> &'static str;
    fn close(&self) -> BoxFuture<'_, ()>;
}

/// An open database: any number of readers, one writer. Cheap to clone.
#[derive(Clone)]
pub struct Db {
    readers: Arc<dyn Readers>,
    writer: writer::Writer,
    health: watch::Receiver<Health>,
    _lock: Option<Arc<std::fs::File>>,
}

impl Db {
    /// Opens `url` (`sqlite:PATH`, `sqlite::memory:` or `postgres://…`), takes the writer's lock, and brings the schema up to date.
    ///
    /// # Errors
    /// [`Error::InUse`] if another process holds the data, [`Error::Newer`] if a newer program wrote it.
    pub fn open<'a>(url: &'a str, migrations: &'static [Migration]) -> BoxFuture<'a, Result<Db, Error>> {
        Box::pin(async move {
            if url.starts_with("postgres:") || url.starts_with("postgresql:") {
                Self::open_postgres(url, migrations).await
            } else {
                Self::open_sqlite(url, migrations).await
            }
        })
    }

    async fn open_sqlite(url: &str, migrations: &'static [Migration]) -> Result<Db, Error> {
        let memory = url.contains(":memory:");
        let path = url.trim_start_matches("sqlite:").trim_start_matches("//");
        let lock = if memory { None } else { Some(Arc::new(lock_file(Path::new(path))?)) };
        let options = SqliteConnectOptions::from_str(url)?
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            // FULL: the answer to a commit is given after its fsync, which is what "acknowledged" means here.
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(false)
            .busy_timeout(Duration::from_secs(20))
            .statement_cache_capacity(256)
            .pragma("cache_size", "-4000")
            .pragma("wal_autocheckpoint", "4000")
            .pragma("temp_store", "memory");
        // An in-memory database exists once per connection, so there it is one connection for everything.
        let readers = if memory { 1 } else { 4 };
        // The writer's connection first and alone: of two that switch a new file to WAL at once, one is refused without waiting.
        let connection = if memory { None } else { Some(Box::new(sqlx::ConnectOptions::connect(&options).await?)) };
        let pool =
            SqlitePoolOptions::new().max_connections(readers).min_connections(1).idle_timeout(None).max_lifetime(None).connect_with(options.clone()).await?;
        let pool = Pool::Sqlite(pool);
        migrate::run(&pool, migrations).await?;
        let source = match connection {
            Some(connection) => writer::Source::Sqlite(connection),
            None => writer::Source::Shared(pool.clone()),
        };
        Ok(Self::start(pool, source, lock))
    }

    async fn open_postgres(url: &str, migrations: &'static [Migration]) -> Result<Db, Error> {
        let options = PgConnectOptions::from_str(url)?.statement_cache_capacity(256);
        let pool = PgPoolOptions::new().max_connections(6).connect_with(options.clone()).await?;
        let connection = writer::lock_postgres(&options).await?;
        let pool = Pool::Postgres(pool);
        migrate::run(&pool, migrations).await?;
        Ok(Self::start(pool, writer::Source::Postgres(Box::new(connection), Box::new(options)), None))
    }

    fn start(pool: Pool, source: writer::Source, lock: Option<Arc<std::fs::File>>) -> Db {
        let (writer, health) = writer::start(source);
        Db { readers: Arc::new(pool), writer, health, _lock: lock }
    }

    /// Applies one batch atomically and returns when it is on disk. Batches are applied in the order of these calls.
    ///
    /// A full disk or a lost connection does not fail the batch: it waits, is tried again, and [`Db::health`] says so meanwhile.
    ///
    /// # Errors
    /// The statement itself was refused (a program error); nothing of the batch was applied.
    pub async fn commit(&self, batch: Vec<Statement>) -> Result<(), Error> {
        self.submit(batch).await.map_err(|_| Error::Stopped)?
    }

    /// Like [`Db::commit`], without waiting: the receiver hears when the batch is on disk.
    pub fn submit(&self, batch: Vec<Statement>) -> oneshot::Receiver<Result<(), Error>> {
        self.writer.submit(batch)
    }

    /// Runs a query and returns all of its rows.
    ///
    /// # Errors
    /// Whatever the database says.
    pub fn query(&self, sql: &'static str, args: impl Args) -> BoxFuture<'_, Result<Vec<Row>, Error>> {
        self.query_values(sql, args.values())
    }

    /// Like [`Db::query`] for a number of arguments known only at run time; `sql` must be made of constant parts only.
    ///
    /// # Errors
    /// Whatever the database says.
    pub fn query_values(&self, sql: impl Into<std::borrow::Cow<'static, str>>, args: Vec<Value>) -> BoxFuture<'_, Result<Vec<Row>, Error>> {
        self.readers.rows(sql.into().into_owned(), args)
    }

    /// Whether commits go through at present; changes are published to the receiver.
    pub fn health(&self) -> watch::Receiver<Health> {
        self.health.clone()
    }

    /// `SQLite` or `PostgreSQL`, for pages.
    pub fn kind(&self) -> &'static str {
        self.readers.kind()
    }

    /// Waits until every batch submitted so far is on disk, then closes the connections and gives up the lock of the data.
    pub fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            let _ = self.writer.close().await;
            self.readers.close().await;
        })
    }
}

impl Readers for Pool {
    fn rows(&self, sql: String, args: Vec<Value>) -> BoxFuture<'_, Result<Vec<Row>, Error>> {
        let sql = sqlx::AssertSqlSafe(sql);
        Box::pin(async move {
            match self {
                Pool::Sqlite(pool) => {
                    let mut query = sqlx::query(sql);
                    for value in args {
                        query = value::bind_sqlite(query, value);
                    }
                    query.fetch_all(pool).await?.iter().map(value::from_sqlite).collect()
                }
                Pool::Postgres(pool) => {
                    let mut query = sqlx::query(sql);
                    for value in args {
                        query = value::bind_postgres(query, value);
                    }
                    query.fetch_all(pool).await?.iter().map(value::from_postgres).collect()
                }
            }
        })
    }

    fn kind(&self) -> &'static str {
        match self {
            Pool::Sqlite(_) => "SQLite",
            Pool::Postgres(_) => "PostgreSQL",
        }
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            match self {
                Pool::Sqlite(pool) => pool.close().await,
                Pool::Postgres(pool) => pool.close().await,
            }
        })
    }
}

/// One process at a time: an exclusive lock on a file beside the database, released by the kernel however the process ends.
fn lock_file(database: &Path) -> Result<std::fs::File, Error> {
    let mut path = database.as_os_str().to_owned();
    path.push(".lock");
    let path = PathBuf::from(path);
    let at = |source| Error::File { path: path.clone(), source };
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).map_err(at)?;
    }
    let file = std::fs::OpenOptions::new().create(true).truncate(false).write(true).open(&path).map_err(at)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => Err(Error::InUse(database.display().to_string())),
        Err(std::fs::TryLockError::Error(source)) => Err(at(source)),
    }
}
