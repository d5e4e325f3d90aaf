//! Lists: uploads, their files, changes, values of labels; and taking an upload away.

use std::sync::Arc;

use burrow_task::BoxFuture;
use bytes::Bytes;
use protocol_benchfmt::store::name_labels;

use crate::chunk::Head;
use crate::ingest::change_row;
use crate::labels::Labels;
use crate::model::{Change, ChangeKind, Error, Listed, Page, Part, Sequence, Upload};
use crate::plan::Direction;
use crate::query::Query;
use crate::rows::{read_labels, read_lines};
use crate::schema;
use crate::search::{Scan, Want};
use crate::store::PerfStore;
use crate::terms::is_by_row;
use crate::varint::Damaged;
use burrow_store::sql;

/// How much the store holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Totals {
    /// Uploads.
    pub uploads: i64,
    /// Records.
    pub records: i64,
    /// Result lines.
    pub lines: i64,
    /// Bytes of files.
    pub bytes: i64,
}

impl PerfStore {
    /// Uploads that have records which the query matches, newest first, with the number of those and one value of each label asked for.
    ///
    /// # Errors
    /// The database fails.
    pub fn uploads<'a>(&'a self, query: &'a Query, labels: &'a [Bytes], page: &'a Page) -> BoxFuture<'a, Result<Vec<Listed>, Error>> {
        Box::pin(async move {
            let limit = page.limit.unwrap_or(usize::MAX);
            let mut scan = Scan::new(self, query.clone(), Want::Nothing, Direction::Backwards, None).await?;
            if let Some(cursor) = page.after {
                scan.begin_below(cursor.0);
            }
            // Where only rows of uploads are asked about, all of an upload matches or nothing.
            let by_row = query.keys().all(|key| key == b"upload" || key == b"upload-time");
            let mut out = Vec::new();
            while out.len() < limit {
                let Some(candidate) = scan.next_upload().await? else { break };
                let (number, name, records) = (candidate.number, candidate.name.clone(), candidate.records);
                let count = if by_row {
                    if scan.by_row_matches().await? { records } else { 0 }
                } else {
                    let mut count = 0;
                    while let Some(found) = scan.next_in_upload().await? {
                        let continued = found.head.continues && found.matching.first() == Some(&0);
                        count += found.matching.len() as u64 - u64::from(continued);
                    }
                    count
                };
                if count == 0 {
                    continue;
                }
                let mut listed = Listed { name, count, labels: Vec::new(), cursor: crate::model::Cursor(number) };
                let parts: &[_] = if labels.is_empty() { &[] } else { scan.parts().await? };
                for label in labels {
                    if let Some(value) = self.any_value(number, &listed.name, parts, label).await? {
                        listed.labels.push((String::from_utf8_lossy(label).into_owned(), value));
                    }
                }
                listed.labels.sort();
                listed.labels.dedup_by(|a, b| a.0 == b.0);
                out.push(listed);
            }
            Ok(out)
        })
    }

    /// One value of a label in an upload: that of the first record that has it.
    async fn any_value(&self, number: i64, name: &str, parts: &[Arc<Part>], label: &[u8]) -> Result<Option<Bytes>, Error> {
        if let Some(value) = parts.iter().find_map(|part| part.labels.get(label)) {
            return Ok(Some(value.clone()));
        }
        if is_by_row(label) {
            return Ok(None);
        }
        let rows = self.0.db.query("SELECT chunks FROM posting WHERE label = $1 AND upload = $2", (self.0.hasher.key(label), number)).await?;
        let Some(row) = rows.first() else { return Ok(None) };
        let damaged = |chunk, source| Error::Damaged { upload: name.to_owned(), chunk, source };
        let chunks = crate::varint::rising(row.blob(0)?).map_err(|source| damaged(-1, source))?;
        let chunk = i64::from(chunks.first().copied().unwrap_or(0));
        let rows = self.0.db.query("SELECT head FROM chunk WHERE upload = $1 AND number = $2", (number, chunk)).await?;
        let Some(row) = rows.first() else { return Ok(None) };
        let head = Head::read(row.blob(0)?).map_err(|source| damaged(chunk, source))?;
        let first = head.runs.iter().find_map(|run| {
            let set = head.sets.get(run.set as usize).and_then(|set| set.get(label).cloned());
            set.or_else(|| {
                let labels = name_labels(head.names.get(run.name as usize)?);
                labels.into_iter().find(|(key, _)| key.as_ref() == label).map(|(_, value)| Bytes::from(value.into_vec()))
            })
        });
        Ok(first)
    }

    pub(crate) async fn parts_of(&self, number: i64, name: &str) -> Result<Vec<Arc<Part>>, Error> {
        let rows = self
            .0
            .db
            .query("SELECT number, labels, units, bytes, records, line_count, original FROM part WHERE upload = $1 ORDER BY number", (number,))
            .await?;
        let damaged = |source: Damaged| Error::Damaged { upload: name.to_owned(), chunk: -1, source };
        rows.iter()
            .map(|row| {
                Ok(Arc::new(Part {
                    number: u32::try_from(row.int(0)?).unwrap_or(u32::MAX),
                    labels: read_labels(row.blob(1)?).map_err(damaged)?,
                    units: read_lines(row.blob(2)?).map_err(damaged)?,
                    bytes: row.int(3)?.unsigned_abs(),
                    records: row.int(4)?.unsigned_abs(),
                    lines: row.int(5)?.unsigned_abs(),
                    original: row.opt_text(6)?.map(str::to_owned),
                }))
            })
            .collect()
    }

    /// An upload by its name.
    ///
    /// # Errors
    /// The database fails.
    pub fn upload<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Option<Upload>, Error>> {
        Box::pin(async move {
            let rows = self.0.db.query("SELECT no, at_ms, sequence, by_user, bytes, records, line_count FROM upload WHERE name = $1", (name,)).await?;
            let Some(row) = rows.first() else { return Ok(None) };
            Ok(Some(Upload {
                name: name.to_owned(),
                at_ms: row.int(1)?,
                sequence: row.int(2)?,
                by: row.text(3)?.to_owned(),
                bytes: row.int(4)?.unsigned_abs(),
                records: row.int(5)?.unsigned_abs(),
                lines: row.int(6)?.unsigned_abs(),
                parts: self.parts_of(row.int(0)?, name).await?,
            }))
        })
    }

    /// The upload that a client's key names.
    ///
    /// # Errors
    /// The database fails.
    pub fn upload_of_key<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<String>, Error>> {
        Box::pin(async move {
            let rows = self.0.db.query("SELECT upload FROM client_key WHERE name = $1", (key,)).await?;
            Ok(rows.first().map(|row| row.text(0).map(str::to_owned)).transpose()?)
        })
    }

    /// What happened after a change, oldest first, at most `limit`. All changes up to the newest one that [`PerfStore::changes`] shows are in it.
    ///
    /// # Errors
    /// The database fails.
    pub fn changes_after(&self, sequence: Sequence, limit: usize) -> BoxFuture<'_, Result<Vec<Change>, Error>> {
        Box::pin(async move {
            let limit = i64::try_from(limit).unwrap_or(i64::MAX);
            let rows = self
                .0
                .db
                .query("SELECT sequence, at_ms, kind, name, by_user, detail FROM change WHERE sequence > $1 ORDER BY sequence LIMIT $2", (sequence, limit))
                .await?;
            rows.iter().map(change).collect()
        })
    }

    /// The newest changes, newest first: the log of who did what.
    ///
    /// # Errors
    /// The database fails.
    pub fn newest_changes(&self, limit: i64) -> BoxFuture<'_, Result<Vec<Change>, Error>> {
        Box::pin(async move {
            let rows = self.0.db.query("SELECT sequence, at_ms, kind, name, by_user, detail FROM change ORDER BY sequence DESC LIMIT $1", (limit,)).await?;
            rows.iter().map(change).collect()
        })
    }

    /// Values of a key that records have, in bytewise order, at most `limit`. For lists to choose from: branches, benchmarks, machines.
    ///
    /// # Errors
    /// The database fails.
    pub fn values<'a>(&'a self, key: &'a [u8], limit: usize) -> BoxFuture<'a, Result<Vec<Bytes>, Error>> {
        Box::pin(async move {
            let limit = i64::try_from(limit).unwrap_or(i64::MAX);
            let rows = self
            .0
            .db
            .query(
                "SELECT head, COALESCE(whole, head) FROM label WHERE key_id = $1 AND EXISTS (SELECT 1 FROM posting JOIN upload ON upload.no = posting.upload WHERE \
                 posting.label = label.id) ORDER BY head LIMIT $2",
                (self.0.hasher.key(key), limit),
            )
            .await?;
            rows.iter().map(|row| Ok(Bytes::copy_from_slice(row.blob(1)?))).collect()
        })
    }

    /// Keys that labels ever had, in bytewise order, at most `limit`.
    ///
    /// # Errors
    /// The database fails.
    pub fn keys(&self, limit: usize) -> BoxFuture<'_, Result<Vec<Bytes>, Error>> {
        Box::pin(async move {
            let rows = self.0.db.query("SELECT name FROM label_key ORDER BY name LIMIT $1", (i64::try_from(limit).unwrap_or(i64::MAX),)).await?;
            rows.iter().map(|row| Ok(Bytes::copy_from_slice(row.blob(0)?))).collect()
        })
    }

    /// How much there is.
    ///
    /// # Errors
    /// The database fails.
    pub fn totals(&self) -> BoxFuture<'_, Result<Totals, Error>> {
        Box::pin(async move {
            let sql = "SELECT COUNT(*), CAST(COALESCE(SUM(records), 0) AS BIGINT), CAST(COALESCE(SUM(line_count), 0) AS BIGINT), \
                   CAST(COALESCE(SUM(bytes), 0) AS BIGINT) FROM upload";
            let rows = self.0.db.query(sql, ()).await?;
            let Some(row) = rows.first() else { return Ok(Totals::default()) };
            Ok(Totals { uploads: row.int(0)?, records: row.int(1)?, lines: row.int(2)?, bytes: row.int(3)? })
        })
    }

    /// Takes an upload away, with its files; its name is not used again. `false`: there is none of that name.
    ///
    /// # Errors
    /// The database or the store of files fails. The upload is gone for readers as soon as the first batch is on disk; a start finishes what is left.
    pub fn remove<'a>(&'a self, name: &'a str, by: &'a str, why: &'a str) -> BoxFuture<'a, Result<bool, Error>> {
        Box::pin(async move {
            let rows = self.0.db.query("SELECT no, token FROM upload WHERE name = $1", (name,)).await?;
            let Some(row) = rows.first() else { return Ok(false) };
            let (number, token) = (row.int(0)?, row.text(1)?.to_owned());
            let now_ms = self.0.clock.now_ms();
            let (name_row, by_row, why_row) = (name.to_owned(), by.to_owned(), why.to_owned());
            self.commit_change(move |sequence| {
                vec![
                    sql("DELETE FROM upload WHERE no = $1", (number,)),
                    sql("DELETE FROM client_key WHERE upload = $1", (name_row.as_str(),)),
                    sql(schema::GARBAGE, (number, token, name_row.as_str())),
                    change_row(sequence, now_ms, ChangeKind::Removed.word(), &name_row, &by_row, &why_row),
                ]
            })
            .await?;
            self.sweep(number).await?;
            Ok(true)
        })
    }

    /// Names of uploads that began before a moment (Unix milliseconds), oldest first, at most `limit`: for rules about how long results are kept.
    ///
    /// # Errors
    /// The database fails.
    pub fn uploads_before(&self, at_ms: i64, limit: i64) -> BoxFuture<'_, Result<Vec<String>, Error>> {
        Box::pin(async move {
            let rows = self.0.db.query("SELECT name FROM upload WHERE at_ms < $1 ORDER BY at_ms, no LIMIT $2", (at_ms, limit)).await?;
            rows.iter().map(|row| Ok(row.text(0)?.to_owned())).collect()
        })
    }

    /// A piece of a file as it was uploaded, with the server's labels and an empty line before it. `None`: there is no such file.
    ///
    /// # Errors
    /// The store of files fails.
    pub fn read_file<'a>(&'a self, upload: &'a str, file: &'a str, offset: u64, length: u64) -> BoxFuture<'a, Result<Option<Bytes>, Error>> {
        Box::pin(async move {
            let key = format!("uploads/{upload}/{file}");
            if self.0.blobs.size(&key).await?.is_none() {
                return Ok(None);
            }
            Ok(Some(self.0.blobs.read(&key, offset, length).await?))
        })
    }

    /// Size of a file.
    ///
    /// # Errors
    /// The store of files fails.
    pub fn file_size<'a>(&'a self, upload: &'a str, file: &'a str) -> BoxFuture<'a, Result<Option<u64>, Error>> {
        Box::pin(async move { Ok(self.0.blobs.size(&format!("uploads/{upload}/{file}")).await?) })
    }
}

fn change(row: &burrow_store::Row) -> Result<Change, Error> {
    Ok(Change {
        sequence: row.int(0)?,
        at_ms: row.int(1)?,
        kind: if row.text(2)? == ChangeKind::Removed.word() { ChangeKind::Removed } else { ChangeKind::Added },
        upload: row.text(3)?.to_owned(),
        by: row.text(4)?.to_owned(),
        detail: row.text(5)?.to_owned(),
    })
}

/// The labels of the server that all files of an upload share.
pub fn shared_labels(upload: &Upload) -> Labels {
    let first = upload.parts.first().map(|part| part.labels.clone()).unwrap_or_default();
    let shared = first.iter().filter(|(key, value)| upload.parts.iter().all(|part| part.labels.get(key) == Some(value)));
    Labels::new(shared.map(|(key, value)| (key.clone(), value.clone())))
}
