//! Making the rows again from the files, as the reference's `reindex` does (`spec/perfdata.md` §10).

use std::collections::BTreeMap;

use burrow_store::sql;
use burrow_task::BoxFuture;
use bytes::Bytes;
use futures_util::TryStreamExt as _;
use object_store::ObjectStoreExt as _;
use object_store::path::Path as Key;

use crate::id::UploadId;
use crate::ingest::Again;
use crate::labels::Labels;
use crate::model::Error;
use crate::schema;
use crate::store::{Options, PerfStore};

/// Files of an upload, by their numbers.
type Files = Vec<(u32, Key)>;

/// The labels before the first empty line of a file are at most this long.
const HEADER: usize = 1 << 20;

/// What was done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rebuilt {
    /// Uploads that were made again.
    pub uploads: u64,
    /// Their result lines.
    pub lines: u64,
    /// Uploads that could not be made again, and why. Their files stay.
    pub failed: Vec<(String, String)>,
}

/// Makes all rows of uploads again. What the files do not say (changes, clients' keys) stays. May be interrupted and begun again; until it has ended once, the store
/// does not open.
///
/// # Errors
/// The database or the store of files fails.
pub fn rebuild<'a>(options: Options, progress: &'a mut (dyn FnMut(u64, u64) + Send)) -> BoxFuture<'a, Result<Rebuilt, Error>> {
    Box::pin(async move {
        let store = PerfStore::open_any(options).await?;
        let done = rebuild_open(&store, progress).await;
        store.close().await;
        done
    })
}

async fn rebuild_open(store: &PerfStore, progress: &mut (dyn FnMut(u64, u64) + Send)) -> Result<Rebuilt, Error> {
    store.0.db.commit(vec![sql(schema::FACT, ("rebuilding", "yes"))]).await?;
    let mut clear = vec![sql("DELETE FROM upload", ()), sql("DELETE FROM garbage", ())];
    clear.extend(["DELETE FROM part", "DELETE FROM chunk", "DELETE FROM chunk_values", "DELETE FROM posting"].map(|table| sql(table, ())));
    clear.extend(["DELETE FROM label", "DELETE FROM label_key"].map(|table| sql(table, ())));
    store.0.db.commit(clear).await?;

    let mut uploads: BTreeMap<String, Files> = BTreeMap::new();
    let mut objects = store.0.objects.list(Some(&Key::from("uploads")));
    while let Some(meta) = objects.try_next().await? {
        let path = meta.location.to_string();
        let mut pieces = path.split('/').skip(1);
        let (Some(upload), Some(file), None) = (pieces.next(), pieces.next(), pieces.next()) else { continue };
        // Originals of converted files lie beside them under other endings.
        if let Some(number) = file.strip_suffix(".txt").and_then(|number| number.parse().ok()) {
            uploads.entry(upload.to_owned()).or_default().push((number, meta.location));
        }
    }
    drop(objects);
    let mut foreign = 0;
    let mut order: Vec<(i64, String, Files)> = Vec::new();
    for (name, mut files) in uploads {
        files.sort_by_key(|(number, _)| *number);
        let number = UploadId::parse(name.as_bytes()).map_or_else(
            || {
                foreign += 1;
                foreign
            },
            UploadId::number,
        );
        order.push((number, name, files));
    }
    order.sort();
    let (all, mut rebuilt) = (order.len() as u64, Rebuilt::default());
    for (at, (number, name, files)) in order.into_iter().enumerate() {
        progress(at as u64, all);
        match again(store, number, &name, &files).await {
            Ok(lines) => {
                rebuilt.uploads += 1;
                rebuilt.lines += lines;
            }
            Err(error @ (Error::NoLines { .. } | Error::TooManyLabels { .. } | Error::TooLarge { .. } | Error::File { .. })) => {
                rebuilt.failed.push((name, error.to_string()));
            }
            Err(error) => return Err(error),
        }
    }
    progress(all, all);
    store.0.db.commit(vec![sql(schema::FACT, ("rebuilding", "no"))]).await?;
    Ok(rebuilt)
}

async fn again(store: &PerfStore, number: i64, name: &str, files: &[(u32, Key)]) -> Result<u64, Error> {
    let mut labels = Vec::with_capacity(files.len());
    let mut bodies = Vec::with_capacity(files.len());
    for (_, key) in files {
        let end = store.0.objects.head(key).await?.size;
        let head = store.0.objects.get_range(key, 0..end.min(HEADER as u64)).await?;
        let (found, body) = header(&head);
        labels.push(found);
        bodies.push(body);
    }
    let first = labels.first().cloned().unwrap_or_default();
    let at_ms = first.text("upload-time").and_then(|time| time.parse::<jiff::Timestamp>().ok()).map_or(0, jiff::Timestamp::as_millisecond);
    let by = first.text("by").map(|by| by.into_owned()).unwrap_or_default();
    let mut writer = store.begin_again(Again { number, name: name.to_owned(), at_ms, labels: labels.clone(), by }).await?;
    for (((file, key), labels), body) in files.iter().zip(&labels).zip(bodies) {
        writer.file(*file, labels.text("upload-file").as_deref()).await?;
        let mut at = body as u64;
        let mut stream = store.0.objects.get(key).await?.into_stream();
        let mut skip = std::mem::take(&mut at);
        while let Some(piece) = stream.try_next().await? {
            let dropped = usize::try_from(skip).unwrap_or(usize::MAX).min(piece.len());
            skip -= dropped as u64;
            writer.write(piece.slice(dropped..)).await?;
        }
    }
    Ok(writer.commit().await?.lines)
}

/// The labels before the first empty line, and where the file itself begins. A file without such a header has none.
fn header(head: &[u8]) -> (Labels, usize) {
    let mut pairs = Vec::new();
    let mut at = 0;
    while let Some(end) = head.get(at..).and_then(|rest| memchr::memchr(b'\n', rest)) {
        let line = head.get(at..at + end).unwrap_or_default();
        at += end + 1;
        if line.is_empty() {
            return (Labels::new(pairs), at);
        }
        let Some(colon) = memchr::memmem::find(line, b": ") else { break };
        let (key, value) = (line.get(..colon).unwrap_or_default(), line.get(colon + 2..).unwrap_or_default());
        pairs.push((Bytes::copy_from_slice(key), Bytes::copy_from_slice(value)));
    }
    (Labels::default(), 0)
}
