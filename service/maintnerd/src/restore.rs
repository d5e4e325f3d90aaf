//! Gets a log back from its copy in an object store.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use burrow_task::BoxFuture;
use futures_util::StreamExt as _;
use protocol_mutlog::{Digest, MAX_SEGMENT, SegmentName, Sha224};

use crate::bucket::{Bucket, BucketError, Copied};
use crate::folder::{FillError, NewFolder};

/// What was restored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Restored {
    /// Segments.
    pub segments: usize,
    /// Bytes of all.
    pub bytes: u64,
}

/// Why a log is not restored. What was fetched so far is not taken for a log, and a further attempt begins anew.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The folder to be filled.
    #[error(transparent)]
    Target(#[from] FillError),
    /// The store.
    #[error(transparent)]
    Store(#[from] BucketError),
    /// There is no copy.
    #[error("the object store holds no copy of a log under this prefix")]
    Empty,
    /// A number is missing.
    #[error("the copy of segment {missing} is missing: the next one there is {next}")]
    Gap {
        /// The missing number.
        missing: u32,
        /// The object behind the gap.
        next: String,
    },
    /// An object is not what its name says.
    #[error("the object {name} is damaged: its digest is {found}")]
    Damaged {
        /// Its name.
        name: String,
        /// Its digest.
        found: Sha224,
    },
    /// Two copies of one segment, of which neither is the beginning of the other.
    #[error("the objects {first} and {second} are copies of one segment with different contents; remove the wrong one")]
    Twice {
        /// The shorter.
        first: String,
        /// The longer.
        second: String,
    },
    /// A file cannot be written.
    #[error("{}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// The system's word.
        source: io::Error,
    },
}

/// Fetches the copy of a log into an empty folder, for [`crate::Log::open`]. A last segment that is not full grows on.
///
/// # Errors
/// [`RestoreError`].
pub fn restore<'a>(bucket: &'a Bucket, dir: &'a Path) -> BoxFuture<'a, Result<Restored, RestoreError>> {
    Box::pin(async move {
        // By number, then size: of two copies of a segment, one an older state that was not removed yet, the longer comes last.
        let copies = bucket.list().await?;
        let mut chosen: Vec<(Copied, Vec<Copied>)> = Vec::new();
        for copy in copies {
            let expected = u32::try_from(chosen.len()).unwrap_or(u32::MAX);
            match chosen.last_mut() {
                Some((best, older)) if best.number == copy.number => older.push(std::mem::replace(best, copy)),
                _ if copy.number == expected => chosen.push((copy, Vec::new())),
                _ => return Err(RestoreError::Gap { missing: expected, next: copy.name() }),
            }
        }
        let last = chosen.last().map(|(copy, _)| copy.number).ok_or(RestoreError::Empty)?;
        let folder = NewFolder::begin(dir)?;
        let mut restored = Restored { segments: 0, bytes: 0 };
        for (copy, older) in &chosen {
            fetch(bucket, &folder, copy, older, copy.number == last && copy.size < MAX_SEGMENT).await?;
            restored.segments += 1;
            restored.bytes += copy.size;
        }
        folder.finish()?;
        Ok(restored)
    })
}

async fn fetch(bucket: &Bucket, folder: &NewFolder, copy: &Copied, older: &[Copied], grows: bool) -> Result<(), RestoreError> {
    let (path, mut file) = folder.create(&format!("{:04}.part.mutlog", copy.number))?;
    let mut pieces = bucket.get(copy).await?;
    let mut digest = Digest::default();
    let mut size = 0_u64;
    // Older copies that were not reached yet, the shortest last.
    let mut beginnings: Vec<&Copied> = older.iter().rev().collect();
    while let Some(piece) = pieces.next().await {
        let piece = piece?;
        while let Some(beginning) = beginnings.pop_if(|beginning| beginning.size <= size + piece.len() as u64) {
            let mut until = digest.clone();
            until.update(piece.get(..usize::try_from(beginning.size - size).unwrap_or_default()).unwrap_or_default());
            if until.finish() != beginning.sha224 {
                return Err(RestoreError::Twice { first: beginning.name(), second: copy.name() });
            }
        }
        digest.update(&piece);
        size += piece.len() as u64;
        let written = burrow_task::spawn_blocking(move || file.write_all(&piece).map(|()| file)).await;
        file = written.unwrap_or_else(|gone| Err(io::Error::other(gone))).map_err(|source| RestoreError::File { path: path.clone(), source })?;
    }
    let found = digest.finish();
    if found != copy.sha224 {
        return Err(RestoreError::Damaged { name: copy.name(), found });
    }
    if let Some(beginning) = beginnings.last() {
        return Err(RestoreError::Twice { first: beginning.name(), second: copy.name() });
    }
    let name = SegmentName { number: copy.number, sha224: (!grows).then_some(copy.sha224) };
    folder.settle(&path, &file, &name.to_string())?;
    Ok(())
}
