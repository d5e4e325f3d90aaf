//! The one writer. Batches that wait together are committed together.

use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::sqlite::SqliteConnection;
use sqlx::{ConnectOptions as _, Connection as _};
use tokio::sync::{mpsc, oneshot, watch};

use crate::value::{self, Statement};
use crate::{Error, Pool};

/// At most this many batches share a commit, so that the first of them does not wait long.
const GROUP: usize = 512;
/// Pauses between tries while the disk is full or the database away.
const PAUSES: [Duration; 4] = [Duration::from_millis(100), Duration::from_millis(300), Duration::from_secs(1), Duration::from_secs(3)];
/// Key of the PostgreSQL advisory lock that makes a coordinator the only one: the bytes of "burrow".
const LOCK_KEY: i64 = 0x6275_7272_6f77;

/// Whether commits go through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// The last commit went through.
    Good,
    /// Commits wait; the text says for what.
    Waiting(String),
    /// Another coordinator took the lock: this one must stop.
    LockLost,
}

pub(crate) enum Source {
    Sqlite(Box<SqliteConnection>),
    Shared(Pool),
    Postgres(Box<PgConnection>, Box<PgConnectOptions>),
}

struct Job {
    statements: Vec<Statement>,
    done: oneshot::Sender<Result<(), Error>>,
    /// The last one: the connection is closed after it, and with it the lock is given up.
    last: bool,
}

#[derive(Clone)]
pub(crate) struct Writer(mpsc::UnboundedSender<Job>);

impl Writer {
    pub(crate) fn submit(&self, statements: Vec<Statement>) -> oneshot::Receiver<Result<(), Error>> {
        self.send(statements, false)
    }

    /// Commits what was submitted before, then ends; the receiver hears when the connection is closed.
    pub(crate) fn close(&self) -> oneshot::Receiver<Result<(), Error>> {
        self.send(Vec::new(), true)
    }

    fn send(&self, statements: Vec<Statement>, last: bool) -> oneshot::Receiver<Result<(), Error>> {
        let (done, wait) = oneshot::channel();
        // If the writer is gone the sender in the job is dropped, and the receiver hears that.
        let _ = self.0.send(Job { statements, done, last });
        wait
    }
}

pub(crate) fn start(source: Source) -> (Writer, watch::Receiver<Health>) {
    let (send, jobs) = mpsc::unbounded_channel();
    let (health, watch) = watch::channel(Health::Good);
    burrow_task::spawn(run(source, jobs, health));
    (Writer(send), watch)
}

pub(crate) async fn lock_postgres(options: &PgConnectOptions) -> Result<PgConnection, Error> {
    let mut connection = options.connect().await?;
    // The name of the schema keeps tests and several farms in one database apart.
    let got: bool = sqlx::query_scalar("SELECT pg_try_advisory_lock($1 # hashtext(current_database() || current_schema())::bigint)")
        .bind(LOCK_KEY)
        .fetch_one(&mut connection)
        .await?;
    if !got {
        return Err(Error::InUse("the PostgreSQL database".into()));
    }
    Ok(connection)
}

async fn run(mut source: Source, mut jobs: mpsc::UnboundedReceiver<Job>, health: watch::Sender<Health>) {
    let mut group = Vec::new();
    while jobs.recv_many(&mut group, GROUP).await > 0 {
        let closing = group.iter().position(|job| job.last).map(|at| group.split_off(at));
        let all: Vec<&Statement> = group.iter().flat_map(|job| &job.statements).collect();
        match patiently(&mut source, &all, &health).await {
            Ok(()) => {
                for job in group.drain(..) {
                    let _ = job.done.send(Ok(()));
                }
            }
            // One statement was refused. Each batch alone then: only its owner hears of it.
            Err(error) if group.len() == 1 => {
                tracing::error!(error = %error, "The database refused a batch.");
                if let Some(job) = group.pop() {
                    let _ = job.done.send(Err(error));
                }
            }
            Err(_) => {
                for job in group.drain(..) {
                    let result = patiently(&mut source, &job.statements.iter().collect::<Vec<_>>(), &health).await;
                    if let Err(error) = &result {
                        tracing::error!(error = %error, "The database refused a batch.");
                    }
                    let _ = job.done.send(result);
                }
            }
        }
        group.clear();
        if let Some(mut closing) = closing {
            let _ = match source {
                Source::Sqlite(connection) => connection.close().await,
                Source::Postgres(mut connection, _) => {
                    // The server notices a closed connection when it gets round to it; whoever opens next need not wait for that.
                    let _ = sqlx::query("SELECT pg_advisory_unlock_all()").execute(&mut *connection).await;
                    connection.close().await
                }
                Source::Shared(_) => Ok(()),
            };
            if !closing.is_empty() {
                let _ = closing.swap_remove(0).done.send(Ok(()));
            }
            // Whoever submitted after the close hears that the writer has stopped.
            return;
        }
    }
}

/// Tries until the batch is on disk or the database refuses it for its content.
async fn patiently(source: &mut Source, statements: &[&Statement], health: &watch::Sender<Health>) -> Result<(), Error> {
    let mut tries = 0;
    loop {
        match once(source, statements).await {
            Ok(()) => {
                if tries > 0 {
                    health.send_replace(Health::Good);
                    tracing::info!("Commits go through again.");
                }
                return Ok(());
            }
            Err(error) if passing(&error) => {
                if tries == 0 {
                    tracing::warn!(error = %error, "A commit waits; it is tried again until it goes through.");
                }
                health.send_replace(Health::Waiting(error.to_string()));
                tokio::time::sleep(PAUSES[tries.min(PAUSES.len() - 1)]).await;
                tries += 1;
                if let Source::Postgres(connection, options) = source {
                    match lock_postgres(options).await {
                        Ok(fresh) => **connection = fresh,
                        Err(Error::InUse(_)) if tries > 10 => {
                            health.send_replace(Health::LockLost);
                            return Err(Error::InUse("the PostgreSQL database".into()));
                        }
                        Err(_) => {}
                    }
                }
            }
            Err(error) => return Err(error.into()),
        }
    }
}

async fn once(source: &mut Source, statements: &[&Statement]) -> Result<(), sqlx::Error> {
    macro_rules! each {
        ($connection:expr, $bind:path) => {
            for statement in statements {
                let mut query = sqlx::query(statement.sql);
                for value in &statement.args {
                    query = $bind(query, value.clone());
                }
                query.execute(&mut *$connection).await?;
            }
        };
    }
    if statements.is_empty() {
        return Ok(());
    }
    match source {
        // Not sqlx's own transaction: when the disk is full SQLite itself rolls back, sqlx's rollback is then refused, and its count of open
        // transactions stays wrong for ever after. So the three statements are ours, and a refused ROLLBACK says that there was nothing to undo.
        Source::Sqlite(connection) => {
            let connection = &mut **connection;
            let done = async {
                sqlx::query("BEGIN IMMEDIATE").execute(&mut *connection).await?;
                each!(connection, value::bind_sqlite);
                sqlx::query("COMMIT").execute(&mut *connection).await.map(|_| ())
            }
            .await;
            if done.is_err() {
                let _ = sqlx::query("ROLLBACK").execute(connection).await;
            }
            done
        }
        Source::Postgres(connection, _) => {
            let mut transaction = connection.begin().await?;
            each!(transaction, value::bind_postgres);
            transaction.commit().await
        }
        Source::Shared(Pool::Sqlite(pool)) => {
            let mut transaction = pool.begin().await?;
            each!(transaction, value::bind_sqlite);
            transaction.commit().await
        }
        Source::Shared(Pool::Postgres(pool)) => {
            let mut transaction = pool.begin().await?;
            each!(transaction, value::bind_postgres);
            transaction.commit().await
        }
    }
}

/// Whether waiting may help: a full disk, a busy file, a database that is away. Everything else is about the statement itself.
fn passing(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_) | sqlx::Error::Tls(_) | sqlx::Error::PoolTimedOut | sqlx::Error::WorkerCrashed | sqlx::Error::Protocol(_) => true,
        sqlx::Error::Database(e) => match e.code().as_deref() {
            // SQLite gives (extended) numbers: BUSY 5, LOCKED 6, NOMEM 7, IOERR 10, FULL 13, CANTOPEN 14.
            Some(code) if code.len() <= 4 && code.bytes().all(|b| b.is_ascii_digit()) => {
                code.parse::<u32>().is_ok_and(|n| matches!(n & 0xff, 5 | 6 | 7 | 10 | 13 | 14))
            }
            // PostgreSQL gives classes: 08 connection, 40 rolled back, 53 resources, 57 operator, 58 system.
            Some(code) => ["08", "40", "53", "57", "58"].iter().any(|class| code.starts_with(class)),
            None => false,
        },
        _ => false,
    }
}
