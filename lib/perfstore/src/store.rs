//! The open store: rows, files, names of uploads, what must be swept.

use std::collections::{BTreeSet, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use burrow_blobs::Blobs;
use burrow_clock::{Ids, SharedClock};
use burrow_store::{Db, Statement, sql};
use burrow_task::BoxFuture;
use object_store::path::Path as Key;
use object_store::{ObjectStore, ObjectStoreExt as _};
use tokio::sync::{Semaphore, watch};

use crate::chunk::Head;
use crate::id::{UploadId, day_of};
use crate::model::{Error, Limits, Sequence};
use crate::schema;
use crate::terms::{Hasher, is_by_row};

/// Labels of an upload that are taken out of the index together, about: their hashes are held in memory.
const SWEPT: usize = 1_000_000;
/// Lists that one commit changes: others that write wait for it.
const UNPOSTED_AT_ONCE: usize = 20_000;
/// Chunks that one commit removes.
const CHUNKS_AT_ONCE: i64 = 256;

/// Where a store keeps what it keeps.
#[derive(Debug, Clone)]
pub struct Options {
    /// Rows: `sqlite:PATH`, `sqlite::memory:` or `postgres://…`. A PostgreSQL schema of its own: one store is one writer.
    pub database: String,
    /// Folder of this machine: files that are being received, and the finished ones unless `objects` says otherwise.
    pub folder: PathBuf,
    /// An object store for finished files, instead of `folder`.
    pub objects: Option<Arc<dyn ObjectStore>>,
    /// What uploads may be.
    pub limits: Limits,
    /// The time.
    pub clock: SharedClock,
    /// Random names.
    pub ids: Ids,
}

impl Options {
    /// Everything in one folder: `perfdata.db`, `uploads/`, `staging/`.
    pub fn folder(dir: &Path, clock: SharedClock) -> Options {
        Options {
            database: format!("sqlite:{}", dir.join("perfdata.db").display()),
            folder: dir.to_owned(),
            objects: None,
            limits: Limits::default(),
            clock,
            ids: Ids::system(),
        }
    }
}

/// Numbers of uploads: which is next, and which were given back.
#[derive(Debug, Default)]
pub(crate) struct Numbers {
    /// The highest that was ever given out.
    pub(crate) last: i64,
    /// The highest that was ever committed.
    pub(crate) committed: i64,
    free: BTreeSet<i64>,
}

impl Numbers {
    /// The next of a day; of numbers that were given back today the smallest, so that aborted uploads leave no gaps.
    fn take(&mut self, now_ms: i64) -> Option<UploadId> {
        let last = UploadId::from_number(self.last);
        // A clock that went back must not give out a name twice.
        let day = day_of(now_ms).max(last.map_or(0, UploadId::day));
        let first = UploadId::new(day, 1)?.number();
        self.free = self.free.split_off(&first);
        if let Some(number) = self.free.pop_first() {
            return UploadId::from_number(number);
        }
        let id = match last {
            Some(last) if last.day() == day => UploadId::new(day, last.seq() + 1)?,
            _ => UploadId::new(day, 1)?,
        };
        self.last = id.number();
        Some(id)
    }

    fn give_back(&mut self, number: i64) {
        self.free.insert(number);
        while self.free.last() == Some(&self.last) && self.last % 1_000_000_000 > 1 {
            self.free.pop_last();
            self.last -= 1;
        }
    }
}

pub(crate) struct Inner {
    pub(crate) db: Db,
    pub(crate) blobs: Blobs,
    pub(crate) objects: Arc<dyn ObjectStore>,
    pub(crate) staging: PathBuf,
    pub(crate) limits: Limits,
    pub(crate) clock: SharedClock,
    pub(crate) ids: Ids,
    pub(crate) hasher: Hasher,
    pub(crate) known: Arc<Mutex<HashSet<i64>>>,
    pub(crate) numbers: Mutex<Numbers>,
    /// The newest change that was handed to the writer. Held while a batch is handed over, so that the order of numbers is the order of commits.
    pub(crate) sequence: Mutex<Sequence>,
    pub(crate) changes: watch::Sender<Sequence>,
    pub(crate) places: Arc<Semaphore>,
    pub(crate) waiting: Arc<Semaphore>,
    pub(crate) keys: Mutex<HashSet<String>>,
    pub(crate) counters: Counters,
}

/// What happened since the start, for `/metrics`.
#[derive(Debug, Default)]
pub struct Counters {
    /// Uploads that were committed.
    pub committed: std::sync::atomic::AtomicU64,
    /// Uploads that ended otherwise.
    pub aborted: std::sync::atomic::AtomicU64,
    /// Result lines that were committed.
    pub lines: std::sync::atomic::AtomicU64,
    /// Bytes that were received.
    pub bytes: std::sync::atomic::AtomicU64,
    /// Searches that were begun.
    pub searches: std::sync::atomic::AtomicU64,
}

/// The store of benchmark results. Cheap to clone.
#[derive(Clone)]
pub struct PerfStore(pub(crate) Arc<Inner>);

impl std::fmt::Debug for PerfStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PerfStore").field("database", &self.0.db.kind()).finish_non_exhaustive()
    }
}

impl PerfStore {
    /// Opens a store, brings its tables up to date, and sweeps what a crash left: nothing of an upload that was not acknowledged stays, and what is missing of the
    /// files of an acknowledged one is put in its place.
    ///
    /// # Errors
    /// Another process has it, a newer program wrote it, it is being rebuilt, or the disk fails.
    pub fn open(options: Options) -> BoxFuture<'static, Result<PerfStore, Error>> {
        Box::pin(async move {
            let store = PerfStore::open_any(options).await?;
            if store.fact("rebuilding").await?.is_some_and(|value| value == "yes") {
                store.0.db.close().await;
                return Err(Error::Rebuilding);
            }
            Ok(store)
        })
    }

    /// The same, also while a rebuild is unfinished: for the rebuild.
    pub(crate) async fn open_any(options: Options) -> Result<PerfStore, Error> {
        let staging = options.folder.join("staging");
        std::fs::create_dir_all(&staging).map_err(|source| Error::File { path: staging.clone(), source })?;
        let db = Db::open(&options.database, schema::migrations(&options.database)).await?;
        let salt = match fact(&db, "salt").await?.and_then(|text| u64::from_str_radix(&text, 16).ok()) {
            Some(salt) => salt,
            None => {
                let salt = options.ids.number();
                db.commit(vec![sql(schema::FACT, ("salt", format!("{salt:016x}")))]).await?;
                salt
            }
        };
        let last = fact(&db, "last_upload").await?.and_then(|text| text.parse().ok()).unwrap_or(0);
        let sequence = db.query("SELECT COALESCE(MAX(sequence), 0) FROM change", ()).await?.first().map_or(Ok(0), |row| row.int(0))?;
        let (blobs, objects): (Blobs, Arc<dyn ObjectStore>) = match options.objects {
            Some(objects) => (Blobs::over(Arc::clone(&objects)), objects),
            None => (Blobs::folder(&options.folder)?, Arc::new(object_store::local::LocalFileSystem::new_with_prefix(&options.folder)?)),
        };
        let inner = Inner {
            db,
            blobs,
            objects,
            staging,
            limits: options.limits,
            clock: options.clock,
            ids: options.ids,
            hasher: Hasher::new(salt),
            known: Arc::default(),
            numbers: Mutex::new(Numbers { last, committed: last, free: BTreeSet::new() }),
            sequence: Mutex::new(sequence),
            changes: watch::channel(sequence).0,
            places: Arc::new(Semaphore::new(options.limits.uploads)),
            waiting: Arc::new(Semaphore::new(options.limits.uploads * 9)),
            keys: Mutex::default(),
            counters: Counters::default(),
        };
        let store = PerfStore(Arc::new(inner));
        store.recover().await?;
        Ok(store)
    }

    /// The number of the newest change, and a wake-up when there is a newer one.
    pub fn changes(&self) -> watch::Receiver<Sequence> {
        self.0.changes.subscribe()
    }

    /// What happened since the start.
    pub fn counters(&self) -> &Counters {
        &self.0.counters
    }

    /// What uploads may be.
    pub fn limits(&self) -> Limits {
        self.0.limits
    }

    /// Whether commits go through at present.
    pub fn health(&self) -> watch::Receiver<burrow_store::Health> {
        self.0.db.health()
    }

    /// `SQLite` or `PostgreSQL`.
    pub fn database_kind(&self) -> &'static str {
        self.0.db.kind()
    }

    /// Waits until everything submitted is on disk and gives up the database.
    pub fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            self.0.db.close().await;
        })
    }

    pub(crate) async fn fact(&self, name: &str) -> Result<Option<String>, Error> {
        fact(&self.0.db, name).await
    }

    /// Takes a name for a new upload.
    pub(crate) fn take_number(&self, now_ms: i64) -> Option<UploadId> {
        self.0.numbers.lock().unwrap_or_else(PoisonError::into_inner).take(now_ms)
    }

    /// The upload came to nothing; its name may be used again.
    pub(crate) fn give_back(&self, id: UploadId) {
        self.0.numbers.lock().unwrap_or_else(PoisonError::into_inner).give_back(id.number());
    }

    /// Hands a batch to the writer together with the change that it makes, and tells the change when it is on disk.
    pub(crate) async fn commit_change(&self, batch: impl FnOnce(Sequence) -> Vec<Statement>) -> Result<Sequence, Error> {
        let (sequence, done) = {
            let mut newest = self.0.sequence.lock().unwrap_or_else(PoisonError::into_inner);
            *newest += 1;
            (*newest, self.0.db.submit(batch(*newest)))
        };
        done.await.map_err(|_| Error::Rows(burrow_store::Error::Stopped))??;
        self.0.changes.send_if_modified(|known| {
            let newer = sequence > *known;
            *known = (*known).max(sequence);
            newer
        });
        Ok(sequence)
    }

    /// After a start: everything that is half done.
    async fn recover(&self) -> Result<(), Error> {
        for row in self.0.db.query("SELECT no, name FROM garbage", ()).await? {
            let number = row.int(0)?;
            tracing::info!(upload = row.text(1)?, "Sweeping what is left of an upload that was removed or did not end.");
            self.sweep(number).await?;
        }
        let at = |path: &Path| {
            let path = path.to_owned();
            move |source| Error::File { path, source }
        };
        let tokens: Vec<_> = std::fs::read_dir(&self.0.staging).map_err(at(&self.0.staging))?.collect::<Result<_, _>>().map_err(at(&self.0.staging))?;
        for entry in tokens {
            let token = entry.file_name().to_string_lossy().into_owned();
            let rows = self.0.db.query("SELECT name FROM upload WHERE token = $1", (token.as_str(),)).await?;
            match rows.first() {
                Some(row) => self.publish_files(&token, row.text(0)?).await?,
                None => remove_folder(&entry.path()),
            }
        }
        Ok(())
    }

    /// Puts the staged files of a committed upload in their place. What is in its place already stays.
    pub(crate) async fn publish_files(&self, token: &str, upload: &str) -> Result<(), Error> {
        let folder = self.0.staging.join(token);
        let at = |source| Error::File { path: folder.clone(), source };
        let entries: Vec<_> = match std::fs::read_dir(&folder) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            entries => entries.map_err(at)?.collect::<Result<_, _>>().map_err(at)?,
        };
        for entry in entries {
            let name = entry.file_name().to_string_lossy().into_owned();
            self.0.blobs.adopt(&format!("uploads/{upload}/{name}"), &entry.path()).await?;
        }
        remove_folder(&folder);
        Ok(())
    }

    /// Removes all rows and files of an upload that is not (or no longer) visible, a piece at a time; may be repeated.
    pub(crate) async fn sweep(&self, number: i64) -> Result<(), Error> {
        let db = &self.0.db;
        let rows = db.query("SELECT token, name FROM garbage WHERE no = $1", (number,)).await?;
        let Some(row) = rows.first() else { return Ok(()) };
        let (token, name) = (row.text(0)?.to_owned(), row.text(1)?.to_owned());
        remove_folder(&self.0.staging.join(&token));
        let mut terms: HashSet<i64> = HashSet::new();
        for row in db.query("SELECT labels FROM part WHERE upload = $1", (number,)).await? {
            if let Ok(labels) = crate::rows::read_labels(row.blob(0)?) {
                self.terms_of(labels.iter().map(|(key, value)| (key.as_ref(), value.as_ref())), &mut terms);
            }
        }
        let (mut damaged, mut first, mut after) = (false, 0, -1);
        loop {
            let chunks = db.query("SELECT number, head FROM chunk WHERE upload = $1 AND number > $2 ORDER BY number LIMIT 64", (number, after)).await?;
            for row in &chunks {
                after = row.int(0)?;
                match Head::read(row.blob(1)?) {
                    Ok(head) => self.terms_of_head(&head, &mut terms),
                    Err(_) => damaged = true,
                }
            }
            if terms.len() < SWEPT && !chunks.is_empty() {
                continue;
            }
            // The lists of many chunks together, in the order of their table: hashes lie anywhere in it, so the lists of a few chunks would touch each of its pages,
            // and the next few all of them again. Chunks go last: what a crash leaves is found by them.
            for batch in unpost(number, &mut terms) {
                db.commit(batch).await?;
            }
            while first <= after {
                let last = after.min(first + CHUNKS_AT_ONCE - 1);
                db.commit(vec![
                    sql("DELETE FROM chunk_values WHERE upload = $1 AND number BETWEEN $2 AND $3", (number, first, last)),
                    sql("DELETE FROM chunk WHERE upload = $1 AND number BETWEEN $2 AND $3", (number, first, last)),
                ])
                .await?;
                first = last + 1;
            }
            if chunks.is_empty() {
                break;
            }
        }
        let mut batch: Vec<Statement> = Vec::new();
        if damaged {
            // Its labels are not known: every list is looked at.
            batch.push(sql("DELETE FROM posting WHERE upload = $1", (number,)));
        }
        batch.push(sql("DELETE FROM part WHERE upload = $1", (number,)));
        db.commit(batch).await?;
        if !name.is_empty() {
            self.delete_files(&name).await?;
        }
        db.commit(vec![sql("DELETE FROM garbage WHERE no = $1", (number,))]).await?;
        Ok(())
    }

    fn terms_of<'a>(&self, pairs: impl Iterator<Item = (&'a [u8], &'a [u8])>, terms: &mut HashSet<i64>) {
        for (key, value) in pairs.filter(|(key, _)| !is_by_row(key)) {
            let key = self.0.hasher.key(key);
            terms.insert(key);
            terms.insert(self.0.hasher.value(key, value));
        }
    }

    fn terms_of_head(&self, head: &Head, terms: &mut HashSet<i64>) {
        for set in &head.sets {
            self.terms_of(set.iter().map(|(key, value)| (key.as_ref(), value.as_ref())), terms);
        }
        for name in &head.names {
            let labels = protocol_benchfmt::store::name_labels(name);
            self.terms_of(labels.iter().map(|(key, value)| (key.as_ref(), value.as_ref())), terms);
        }
    }

    pub(crate) async fn delete_files(&self, upload: &str) -> Result<(), Error> {
        use futures_util::TryStreamExt as _;
        let names: Vec<Key> = self.0.objects.list(Some(&Key::from(format!("uploads/{upload}")))).map_ok(|meta| meta.location).try_collect().await?;
        for name in names {
            match self.0.objects.delete(&name).await {
                Ok(()) | Err(object_store::Error::NotFound { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        if self.0.objects.to_string().contains("LocalFileSystem") {
            // Folders are the one thing that an object store does not know of.
            let _ = std::fs::remove_dir(self.0.staging.with_file_name("uploads").join(upload));
        }
        Ok(())
    }
}

/// Takes an upload out of lists, in batches. The last statement names one list several times, so that its text is always the same.
fn unpost(number: i64, terms: &mut HashSet<i64>) -> Vec<Vec<Statement>> {
    let mut terms: Vec<i64> = terms.drain().collect();
    // Neighbours of one table lie together.
    terms.sort_unstable();
    let padded = |piece: &[i64]| {
        let last = piece.last().copied().unwrap_or_default();
        let labels = piece.iter().copied().chain(std::iter::repeat(last)).take(schema::UNPOSTED).map(burrow_store::Value::from);
        sql(schema::UNPOST.as_str(), std::iter::once(number.into()).chain(labels).collect::<Vec<_>>())
    };
    terms.chunks(UNPOSTED_AT_ONCE).map(|batch| batch.chunks(schema::UNPOSTED).map(padded).collect()).collect()
}

pub(crate) fn remove_folder(folder: &Path) {
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            tracing::warn!(folder = %folder.display(), error = %error, "Received files cannot be removed; the next start tries again.");
        }
        _ => {}
    }
}

async fn fact(db: &Db, name: &str) -> Result<Option<String>, Error> {
    let rows = db.query("SELECT value FROM fact WHERE name = $1", (name,)).await?;
    Ok(rows.first().map(|row| row.text(0).map(str::to_owned)).transpose()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 86_400_000;

    fn names(numbers: &mut Numbers, now_ms: i64, count: usize) -> Vec<String> {
        (0..count).map(|_| numbers.take(now_ms).unwrap().to_string()).collect()
    }

    #[test]
    fn numbers_begin_anew_each_day_and_leave_no_gaps() {
        let mut numbers = Numbers::default();
        assert_eq!(names(&mut numbers, DAY, 3), ["19700102.1", "19700102.2", "19700102.3"]);
        numbers.give_back(UploadId::parse(b"19700102.2").unwrap().number());
        assert_eq!(names(&mut numbers, DAY, 2), ["19700102.2", "19700102.4"]);
        numbers.give_back(UploadId::parse(b"19700102.4").unwrap().number());
        assert_eq!(names(&mut numbers, DAY, 1), ["19700102.4"]);
        numbers.give_back(UploadId::parse(b"19700102.1").unwrap().number());
        assert_eq!(names(&mut numbers, 2 * DAY, 2), ["19700103.1", "19700103.2"], "yesterday's are gone");
        assert_eq!(names(&mut numbers, DAY, 1), ["19700103.3"], "a clock that goes back changes nothing");
    }

    /// More labels than one commit takes out, in more chunks than one question reads: all of it goes, and nothing of what shares labels with it.
    #[tokio::test(flavor = "multi_thread")]
    async fn a_removed_upload_leaves_no_rows_and_no_others_lose_any() {
        let dir = tempfile::tempdir().unwrap();
        let store = PerfStore::open(Options::folder(dir.path(), burrow_clock::SystemClock::shared())).await.unwrap();
        let text =
            |from: usize, to: usize| (from..to).map(|number| format!("commit: c{number}\nBenchmarkA/n={number} 1 {number:>150} ns/op\n")).collect::<String>();
        let upload = async |text: String| {
            let mut upload = store.begin(crate::Begin::default()).await.unwrap();
            upload.file(0, None).await.unwrap();
            upload.write(text.into()).await.unwrap();
            upload.commit().await.unwrap().upload
        };
        let (large, small) = (upload(text(0, UNPOSTED_AT_ONCE * 2 / 3)).await, upload(text(100, 110)).await);
        let count = async |sql: &'static str, name: &str| {
            let number = UploadId::parse(name.as_bytes()).unwrap().number();
            store.0.db.query(sql, (number,)).await.unwrap()[0].int(0).unwrap()
        };
        const ROWS: [&str; 4] = [
            "SELECT COUNT(*) FROM posting WHERE upload = $1",
            "SELECT COUNT(*) FROM chunk WHERE upload = $1",
            "SELECT COUNT(*) FROM chunk_values WHERE upload = $1",
            "SELECT COUNT(*) FROM part WHERE upload = $1",
        ];
        assert!(count(ROWS[0], &large).await > UNPOSTED_AT_ONCE as i64 && count(ROWS[1], &large).await > 64);
        let kept = count(ROWS[0], &small).await;
        assert!(store.remove(&large, "ada", "a mistake").await.unwrap());
        for sql in ROWS {
            assert_eq!(count(sql, &large).await, 0, "{sql}");
        }
        assert_eq!((count(ROWS[0], &small).await, count(ROWS[1], &small).await), (kept, 1));
        let found = store.uploads(&crate::Query::parse(b"commit:c105").unwrap(), &[], &crate::Page { limit: None, after: None }).await.unwrap();
        assert_eq!(found.iter().map(|one| one.name.as_str()).collect::<Vec<_>>(), [small.as_str()]);
        store.close().await;
    }
}
