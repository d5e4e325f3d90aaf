//! Bytes: logs and archives, in a folder or an object store.
//!
//! Everything goes through [`object_store`]; the one addition is [`Blobs::adopt`], which moves a finished local file into a local folder without
//! copying it, because a log of a gigabyte is already on the right disk.
//!
//! ```
//! # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
//! let dir = tempfile::tempdir().unwrap();
//! let blobs = burrow_blobs::Blobs::folder(dir.path())?;
//! blobs.put("logs/hello", "hello\n".into()).await?;
//! assert_eq!(blobs.read("logs/hello", 1, 3).await?, "ell".as_bytes());
//! assert_eq!(blobs.size("logs/none").await?, None);
//! # Ok::<_, burrow_blobs::Error>(()) }).unwrap();
//! ```

use std::path::{Path, PathBuf};
use std::sync::Arc;

use burrow_task::BoxFuture;
use bytes::Bytes;
use object_store::path::Path as Key;
use object_store::{ObjectStore, ObjectStoreExt as _, WriteMultipart};

/// What can go wrong with bytes.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store refused or failed.
    #[error("storage: {0}")]
    Store(#[from] object_store::Error),
    /// A local file could not be used.
    #[error("{path}: {source}")]
    File {
        /// Which file.
        path: PathBuf,
        /// The system's word.
        source: std::io::Error,
    },
    /// The address of the storage cannot be used by this build.
    #[error("storage {0:?} is not supported by this build; use file:///some/folder")]
    Unsupported(String),
}

/// A store of bytes by name. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Blobs {
    store: Arc<dyn ObjectStore>,
    folder: Option<Arc<PathBuf>>,
}

/// Pieces of this size are copied into remote stores.
const PIECE: usize = 8 << 20;

impl Blobs {
    /// A folder of this machine; created if missing.
    ///
    /// # Errors
    /// The folder cannot be created or read.
    pub fn folder(dir: &Path) -> Result<Blobs, Error> {
        std::fs::create_dir_all(dir).map_err(|source| Error::File { path: dir.to_owned(), source })?;
        let store = object_store::local::LocalFileSystem::new_with_prefix(dir)?;
        Ok(Blobs { store: Arc::new(store), folder: Some(Arc::new(dir.to_owned())) })
    }

    /// Memory, for tests.
    pub fn memory() -> Blobs {
        Blobs { store: Arc::new(object_store::memory::InMemory::new()), folder: None }
    }

    /// Any other store.
    pub fn over(store: Arc<dyn ObjectStore>) -> Blobs {
        Blobs { store, folder: None }
    }

    /// From an address: `file:///folder` or a plain path; other schemes need a build with their feature.
    ///
    /// # Errors
    /// [`Error::Unsupported`], or the folder cannot be made.
    pub fn from_url(url: &str) -> Result<Blobs, Error> {
        match url.split_once("://") {
            None => Self::folder(Path::new(url)),
            Some(("file", path)) => Self::folder(Path::new(path)),
            Some(_) => Err(Error::Unsupported(url.to_owned())),
        }
    }

    /// Writes a small blob whole.
    ///
    /// # Errors
    /// The store's.
    pub fn put<'a>(&'a self, key: &'a str, bytes: Bytes) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            self.store.put(&Key::from(key), bytes.into()).await?;
            Ok(())
        })
    }

    /// Makes a finished file a blob: on a local folder by fsync and rename, else by copying; the file is gone afterwards.
    /// After this returned, a crash of the machine does not lose the blob.
    ///
    /// # Errors
    /// The file's or the store's; the file is then still there.
    pub fn adopt<'a>(&'a self, key: &'a str, file: &'a Path) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            let at = |source| Error::File { path: file.to_owned(), source };
            if let Some(folder) = &self.folder {
                let (from, to) = (file.to_owned(), folder.join(key));
                return burrow_task::spawn_blocking(move || adopt_local(&from, &to)).await.map_err(|e| at(std::io::Error::other(e)))?.map_err(at);
            }
            let mut input = tokio::fs::File::open(file).await.map_err(at)?;
            let mut output = WriteMultipart::new_with_chunk_size(self.store.put_multipart(&Key::from(key)).await?, PIECE);
            let mut piece = vec![0; 1 << 18];
            loop {
                let n = tokio::io::AsyncReadExt::read(&mut input, &mut piece).await.map_err(at)?;
                if n == 0 {
                    break;
                }
                output.wait_for_capacity(4).await?;
                output.write(piece.get(..n).unwrap_or_default());
            }
            output.finish().await?;
            tokio::fs::remove_file(file).await.map_err(at)
        })
    }

    /// Size in bytes; `None` if there is no such blob.
    ///
    /// # Errors
    /// The store's.
    pub fn size<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<u64>, Error>> {
        Box::pin(async move {
            match self.store.head(&Key::from(key)).await {
                Ok(meta) => Ok(Some(meta.size)),
                Err(object_store::Error::NotFound { .. }) => Ok(None),
                Err(error) => Err(error.into()),
            }
        })
    }

    /// Reads up to `length` bytes from `offset`; fewer at the end.
    ///
    /// # Errors
    /// The store's; a missing blob is one.
    pub fn read<'a>(&'a self, key: &'a str, offset: u64, length: u64) -> BoxFuture<'a, Result<Bytes, Error>> {
        Box::pin(async move {
            let key = Key::from(key);
            match self.store.get_range(&key, offset..offset + length).await {
                Ok(bytes) => Ok(bytes),
                Err(error) => {
                    // Stores differ in what they say about ranges past the end; the size decides.
                    let size = self.store.head(&key).await?.size;
                    if offset >= size {
                        return Ok(Bytes::new());
                    }
                    if offset + length <= size {
                        return Err(error.into());
                    }
                    Ok(self.store.get_range(&key, offset..size).await?)
                }
            }
        })
    }
}

fn adopt_local(from: &Path, to: &Path) -> std::io::Result<()> {
    let parent = to.parent().unwrap_or(to);
    std::fs::create_dir_all(parent)?;
    std::fs::File::open(from)?.sync_all()?;
    match std::fs::rename(from, to) {
        Err(error) if error.kind() == std::io::ErrorKind::CrossesDevices => {
            let mut temporary = to.as_os_str().to_owned();
            temporary.push(".part");
            std::fs::copy(from, &temporary)?;
            std::fs::File::open(&temporary)?.sync_all()?;
            std::fs::rename(&temporary, to)?;
            std::fs::remove_file(from)?;
        }
        other => other?,
    }
    std::fs::File::open(parent)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every backend does the same.
    async fn conformance(blobs: &Blobs, scratch: &Path) {
        assert_eq!(blobs.size("a/b").await.unwrap(), None);
        blobs.put("a/b", Bytes::from_static(b"0123456789")).await.unwrap();
        assert_eq!(blobs.size("a/b").await.unwrap(), Some(10));
        assert_eq!(blobs.read("a/b", 3, 4).await.unwrap(), b"3456".as_slice());
        assert_eq!(blobs.read("a/b", 8, 100).await.unwrap(), b"89".as_slice());
        assert_eq!(blobs.read("a/b", 10, 5).await.unwrap(), b"".as_slice());
        assert!(blobs.read("a/none", 0, 5).await.is_err());

        let file = scratch.join("log");
        let content: Vec<u8> = (0..9_000_000u32).map(|i| i as u8).collect();
        std::fs::write(&file, &content).unwrap();
        blobs.adopt("logs/xy", &file).await.unwrap();
        assert!(!file.exists());
        assert_eq!(blobs.read("logs/xy", 0, 10_000_000).await.unwrap(), content);
    }

    #[tokio::test]
    async fn a_folder_and_memory_behave_alike() {
        let dir = tempfile::tempdir().unwrap();
        conformance(&Blobs::folder(&dir.path().join("blobs")).unwrap(), dir.path()).await;
        conformance(&Blobs::memory(), dir.path()).await;
    }

    #[test]
    fn an_unknown_scheme_says_what_to_use() {
        assert!(Blobs::from_url("gs://bucket").unwrap_err().to_string().contains("file:///"));
    }
}
