//! An upload on its way in.
//!
//! The bytes go to a thread of their own, which writes them into a folder of staged files and makes rows of them. Rows of a large upload are written ahead in
//! pieces, under a number that nothing shows and with a note in `garbage`; the last batch holds the row of `upload`, which makes all of it visible, and takes the
//! note away. So an upload is there as a whole or not at all, whenever the power fails; a start sweeps what has a note, and files whose upload has no row.
//! Files are moved to their place after that batch; a start moves those that a crash left staged.
//!
//! Who drops an [`UploadWriter`] gives the upload up. Who has called [`UploadWriter::commit`] may go away: the commit goes on.

use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use burrow_store::{Statement, sql};
use burrow_task::BoxFuture;
use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};

use crate::id::UploadId;
use crate::labels::Labels;
use crate::model::{Begin, Error, Receipt};
use crate::schema;
use crate::store::{PerfStore, remove_folder};
use crate::worker::{Command, Outcome, Plan, Prepared, Replay, Worker};

/// An upload under way.
#[derive(Debug)]
pub struct UploadWriter {
    commands: Option<mpsc::Sender<Command>>,
    outcome: Option<oneshot::Receiver<Result<Receipt, Error>>>,
    name: String,
}

/// Where an upload lies that is to be made again under its old name.
#[derive(Debug, Clone)]
pub(crate) struct Again {
    pub(crate) number: i64,
    pub(crate) name: String,
    pub(crate) at_ms: i64,
    /// The labels of its next files, in order.
    pub(crate) labels: Vec<Labels>,
    pub(crate) by: String,
}

impl PerfStore {
    /// Begins an upload. Waits for its turn where many are under way.
    ///
    /// # Errors
    /// [`Error::Busy`] where too many wait, [`Error::KeyBusy`] where one with the same key is under way; the database fails.
    pub fn begin(&self, begin: Begin) -> BoxFuture<'_, Result<UploadWriter, Error>> {
        Box::pin(async move { self.begin_at(begin, self.0.clock.now_ms()).await })
    }

    /// The same for results of another day (Unix milliseconds), oldest first: names never go back to an earlier day.
    ///
    /// # Errors
    /// As [`PerfStore::begin`].
    pub fn begin_at(&self, begin: Begin, now_ms: i64) -> BoxFuture<'_, Result<UploadWriter, Error>> {
        Box::pin(async move {
            let waiting = self.0.waiting.clone().try_acquire_owned().map_err(|_| Error::Busy)?;
            let place = self.0.places.clone().acquire_owned().await.map_err(|_| Error::Busy)?;
            let key = match &begin.key {
                None => None,
                Some(key) => Some(KeyGuard::take(self, key)?),
            };
            let mut replay = None;
            if let Some(key) = &begin.key {
                let rows = self.0.db.query("SELECT digest, receipt, upload FROM client_key WHERE name = $1", (key.as_str(),)).await?;
                if let Some(row) = rows.first() {
                    let receipt = serde_json::from_str(row.text(1)?).map_err(|error| Error::Thread(error.to_string()))?;
                    replay = Some(Replay { digest: row.text(0)?.to_owned(), receipt, key: key.clone() });
                }
            }
            let id = match replay {
                Some(_) => None,
                None => Some(self.take_number(now_ms).ok_or(Error::Busy)?),
            };
            let name = id.map_or_else(|| replay.as_ref().map(|replay| replay.receipt.upload.clone()).unwrap_or_default(), |id| id.to_string());
            let number = id.map_or(0, UploadId::number);
            Ok(self.start(Plan { number, id, name, at_ms: now_ms, begin, replay, again: None }, (waiting, place), key))
        })
    }

    /// Makes an upload again under its old name; the rows of the old one must be gone.
    pub(crate) async fn begin_again(&self, again: Again) -> Result<UploadWriter, Error> {
        let waiting = self.0.waiting.clone().try_acquire_owned().map_err(|_| Error::Busy)?;
        let place = self.0.places.clone().acquire_owned().await.map_err(|_| Error::Busy)?;
        let begin = Begin { by: Some(again.by.clone()).filter(|by| !by.is_empty()), key: None };
        let plan = Plan { number: again.number, id: None, name: again.name.clone(), at_ms: again.at_ms, begin, replay: None, again: Some(again) };
        Ok(self.start(plan, (waiting, place), None))
    }

    fn start(&self, plan: Plan, places: (OwnedSemaphorePermit, OwnedSemaphorePermit), key: Option<KeyGuard>) -> UploadWriter {
        let (send, commands) = mpsc::channel(8);
        let (tell, outcome) = oneshot::channel();
        let name = plan.name.clone();
        let store = self.clone();
        burrow_task::spawn(async move {
            let result = store.supervise(plan, commands).await;
            // Whoever hears the outcome may begin the next one.
            drop((places, key));
            let counter = if result.is_ok() { &store.0.counters.committed } else { &store.0.counters.aborted };
            counter.fetch_add(1, Ordering::Relaxed);
            // Whoever went away does not hear it.
            let _ = tell.send(result);
        });
        UploadWriter { commands: Some(send), outcome: Some(outcome), name }
    }

    /// Runs the thread of an upload, then commits what it made or sweeps it away.
    async fn supervise(&self, plan: Plan, commands: mpsc::Receiver<Command>) -> Result<Receipt, Error> {
        let token = self.0.ids.hex(24);
        let (store, number, id) = (self.clone(), plan.number, plan.id);
        let given = token.clone();
        let again = plan.again.is_some();
        let worked = burrow_task::spawn_blocking(move || Worker::new(store, plan, given)?.run(commands)).await;
        let result = match worked {
            Ok(Ok(Outcome::Old(receipt))) => return Ok(receipt),
            Ok(Ok(Outcome::New(prepared))) => self.commit(*prepared, &token, again).await,
            Ok(Err(error)) => Err(error),
            Err(panic) => Err(Error::Thread(panic.to_string())),
        };
        if result.is_err() {
            remove_folder(&self.0.staging.join(&token));
            match self.sweep(number).await {
                Ok(()) => id.into_iter().for_each(|id| self.give_back(id)),
                // The note stays, and the number stays taken; the next start sweeps.
                Err(error) => tracing::warn!(error = %error, "Rows of an upload that was given up cannot be removed; the next start does it."),
            }
        }
        result
    }

    async fn commit(&self, prepared: Prepared, token: &str, again: bool) -> Result<Receipt, Error> {
        let Prepared { mut statements, receipt, ids, number, at_ms, by, bytes, chunks, key } = prepared;
        let (records, lines) = (receipt.records as i64, receipt.lines as i64);
        let json = serde_json::to_string(&receipt).map_err(|error| Error::Thread(error.to_string()))?;
        let name = receipt.upload.clone();
        let last = {
            let mut numbers = self.0.numbers.lock().unwrap_or_else(PoisonError::into_inner);
            numbers.committed = numbers.committed.max(number);
            numbers.committed
        };
        statements.push(sql(schema::FACT, ("last_upload", last.to_string())));
        if let Some((key, digest)) = key {
            statements.push(sql(
                "INSERT INTO client_key (name, upload, digest, receipt) VALUES ($1, $2, $3, $4) ON CONFLICT (name) DO UPDATE SET upload = excluded.upload, \
                 digest = excluded.digest, receipt = excluded.receipt",
                (key, name.as_str(), digest, json),
            ));
        }
        let written = name.clone();
        let now_ms = self.0.clock.now_ms();
        let token_row = token.to_owned();
        self.commit_change(move |sequence| {
            statements.push(sql(
                "INSERT INTO upload (no, name, sequence, at_ms, by_user, token, bytes, records, line_count, chunks) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) \
                 ON CONFLICT (no) DO UPDATE SET sequence = excluded.sequence, at_ms = excluded.at_ms, by_user = excluded.by_user, token = excluded.token, \
                 bytes = excluded.bytes, records = excluded.records, line_count = excluded.line_count, chunks = excluded.chunks",
                (number, written.as_str(), sequence, at_ms, by.as_str(), token_row, bytes, records, lines, i64::from(chunks)),
            ));
            statements.push(change_row(sequence, now_ms, "added", &written, &by, if again { "made again from its files" } else { "" }));
            statements.push(sql("DELETE FROM garbage WHERE no = $1", (number,)));
            statements
        })
        .await?;
        self.0.counters.lines.fetch_add(receipt.lines, Ordering::Relaxed);
        {
            let mut known = self.0.known.lock().unwrap_or_else(PoisonError::into_inner);
            // Bounded: forgetting costs some statements that change nothing.
            if known.len() + ids.len() > 300_000 {
                known.clear();
            }
            known.extend(ids.into_iter().take(100_000));
        }
        if again {
            remove_folder(&self.0.staging.join(token));
        } else if let Err(error) = self.publish_files(token, &name).await {
            tracing::error!(upload = %name, error = %error, "The upload is committed, but its files cannot be put in their place; the next start tries again.");
        }
        Ok(receipt)
    }
}

pub(crate) fn change_row(sequence: i64, at_ms: i64, kind: &'static str, name: &str, by: &str, detail: &str) -> Statement {
    sql(
        "INSERT INTO change (sequence, at_ms, kind, name, by_user, detail) VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (sequence) DO NOTHING",
        (sequence, at_ms, kind, name, by, detail),
    )
}

impl UploadWriter {
    /// The name that the upload will have.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Begins the next file. `number` is its place among all parts of the request, `name` its name without folders.
    ///
    /// # Errors
    /// What went wrong so far: the upload is lost.
    pub fn file<'a>(&'a mut self, number: u32, name: Option<&'a str>) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move { self.tell(Command::File { number, name: clean(name), original: None }).await })
    }

    /// The same for a file that was converted: the bytes that follow are benchmark text, and `original` is kept beside them under this ending.
    ///
    /// # Errors
    /// As [`UploadWriter::file`].
    pub fn converted_file<'a>(&'a mut self, number: u32, name: Option<&'a str>, ending: &'a str, original: Bytes) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move { self.tell(Command::File { number, name: clean(name), original: Some((ending.to_owned(), original)) }).await })
    }

    /// The next bytes of the file. Waits while the disk is slower than the sender.
    ///
    /// # Errors
    /// As [`UploadWriter::file`].
    pub fn write(&mut self, bytes: Bytes) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async move { self.tell(Command::Bytes(bytes)).await })
    }

    /// Makes the upload visible and durable.
    ///
    /// # Errors
    /// A file has no result, there is no file, something was too large, or the database refused; nothing of the upload stays.
    pub async fn commit(mut self) -> Result<Receipt, Error> {
        self.tell(Command::Commit).await?;
        self.commands = None;
        self.outcome().await
    }

    /// Gives the upload up and waits until nothing of it is left. Dropping it does the same without waiting.
    pub async fn abort(mut self) {
        self.commands = None;
        let _ = self.outcome().await;
    }

    async fn tell(&mut self, command: Command) -> Result<(), Error> {
        let sent = match &self.commands {
            Some(commands) => commands.send(command).await.is_ok(),
            None => false,
        };
        if sent {
            return Ok(());
        }
        self.commands = None;
        match self.outcome().await {
            Err(error) => Err(error),
            Ok(_) => Err(Error::GivenUp),
        }
    }

    async fn outcome(&mut self) -> Result<Receipt, Error> {
        match self.outcome.take() {
            Some(outcome) => outcome.await.unwrap_or(Err(Error::GivenUp)),
            None => Err(Error::GivenUp),
        }
    }
}

/// A name as a label: after the last slash of either kind, without line ends. `None` if nothing is left.
fn clean(name: Option<&str>) -> Option<String> {
    let name = name?;
    let name = name.rsplit(['/', '\\']).next().unwrap_or(name);
    let name: String = name.chars().map(|c| if c == '\n' || c == '\r' || c == '\0' { ' ' } else { c }).collect();
    Some(name).filter(|name| !name.trim().is_empty())
}

/// The client's key, while an upload with it is under way.
struct KeyGuard {
    store: PerfStore,
    key: String,
}

impl KeyGuard {
    fn take(store: &PerfStore, key: &str) -> Result<KeyGuard, Error> {
        let mut keys = store.0.keys.lock().unwrap_or_else(PoisonError::into_inner);
        if !keys.insert(key.to_owned()) {
            return Err(Error::KeyBusy(key.to_owned()));
        }
        Ok(KeyGuard { store: store.clone(), key: key.to_owned() })
    }
}

impl Drop for KeyGuard {
    fn drop(&mut self) {
        self.store.0.keys.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.key);
    }
}
