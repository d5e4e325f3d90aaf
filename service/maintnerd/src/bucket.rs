//! The place in an object store where copies of segments lie.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use object_store::path::Path as Key;
use object_store::{ObjectStore, ObjectStoreExt as _, WriteMultipart};
use protocol_mutlog::{SegmentName, Sha224};

/// Larger objects are sent in parts of this size.
const PART: usize = 8 << 20;
/// Up to this size an object is sent in one piece.
const WHOLE: u64 = 32 << 20;

/// What an object store refused or failed at.
#[derive(Debug, thiserror::Error)]
#[error("object store, {what}: {source}")]
pub struct BucketError {
    /// What was tried.
    what: String,
    /// The store's word.
    source: object_store::Error,
}

fn failed(what: impl Into<String>) -> impl FnOnce(object_store::Error) -> BucketError {
    let what = what.into();
    move |source| BucketError { what, source }
}

/// A copy of a segment, or of what it was at some time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Copied {
    pub(crate) number: u32,
    pub(crate) sha224: Sha224,
    pub(crate) size: u64,
}

impl Copied {
    pub(crate) fn name(&self) -> String {
        SegmentName { number: self.number, sha224: Some(self.sha224) }.to_string()
    }
}

/// A store and a prefix in it. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Bucket {
    store: Arc<dyn ObjectStore>,
    prefix: Key,
}

impl Bucket {
    /// Objects `<prefix>/NNNN.<sha224>.mutlog` of a store; the prefix may be empty.
    pub fn new(store: Arc<dyn ObjectStore>, prefix: &str) -> Bucket {
        Bucket { store, prefix: Key::from(prefix) }
    }

    fn key(&self, segment: &Copied) -> Key {
        self.prefix.clone().join(segment.name())
    }

    /// All copies by number. Objects with other names, and those in folders below, belong to others.
    pub(crate) async fn list(&self) -> Result<Vec<Copied>, BucketError> {
        let prefix = (!self.prefix.is_root()).then_some(&self.prefix);
        let found = self.store.list_with_delimiter(prefix).await.map_err(failed("listing the copies of segments"))?;
        let copied = found.objects.iter().filter_map(|object| {
            let SegmentName { number, sha224 } = object.location.filename()?.parse().ok()?;
            let copied = Copied { number, sha224: sha224?, size: object.size };
            // A store may list more than was asked for.
            (object.location == self.key(&copied)).then_some(copied)
        });
        let mut copied: Vec<Copied> = copied.collect();
        copied.sort_by_key(|copied| (copied.number, copied.size, copied.sha224));
        Ok(copied)
    }

    /// Whether an object of this size is sent in one piece.
    pub(crate) fn is_small(size: u64) -> bool {
        size <= WHOLE
    }

    /// Sends an object in one piece.
    pub(crate) async fn put(&self, segment: &Copied, bytes: Bytes) -> Result<(), BucketError> {
        self.store.put(&self.key(segment), bytes.into()).await.map(|_| ()).map_err(failed(format!("copying {}", segment.name())))
    }

    /// Begins to send a large object.
    pub(crate) async fn begin(&self, segment: &Copied) -> Result<Upload, BucketError> {
        let what = format!("copying {}", segment.name());
        let parts = self.store.put_multipart(&self.key(segment)).await.map_err(failed(what.as_str()))?;
        Ok(Upload { parts: WriteMultipart::new_with_chunk_size(parts, PART), what })
    }

    /// Bytes of an object.
    pub(crate) async fn get(&self, segment: &Copied) -> Result<BoxStream<'static, Result<Bytes, BucketError>>, BucketError> {
        let what = format!("fetching {}", segment.name());
        let found = self.store.get(&self.key(segment)).await.map_err(failed(what.as_str()))?;
        Ok(found.into_stream().map(move |piece| piece.map_err(failed(what.as_str()))).boxed())
    }

    /// Removes an object; one that is gone already is no fault.
    pub(crate) async fn delete(&self, segment: &Copied) -> Result<(), BucketError> {
        match self.store.delete(&self.key(segment)).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(failed(format!("removing the older {}", segment.name()))(error)),
        }
    }
}

/// An object that is being sent. It is there when [`Upload::finish`] returned; dropped before, it is not.
#[derive(Debug)]
pub(crate) struct Upload {
    parts: WriteMultipart,
    what: String,
}

impl Upload {
    pub(crate) async fn write(&mut self, piece: Bytes) -> Result<(), BucketError> {
        self.parts.wait_for_capacity(2).await.map_err(failed(self.what.as_str()))?;
        self.parts.put(piece);
        Ok(())
    }

    pub(crate) async fn finish(self) -> Result<(), BucketError> {
        self.parts.finish().await.map(|_| ()).map_err(failed(self.what))
    }

    pub(crate) async fn abort(self) {
        // What remains of it is the store's to clean up.
        let _ = self.parts.abort().await;
    }
}
