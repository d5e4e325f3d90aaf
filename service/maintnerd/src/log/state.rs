//! What readers see: which segments there are, and their bytes.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use protocol_mutlog::{Index, Segment, Sha224};

/// Readers get pieces of this size.
const PIECE: u64 = 128 << 10;

/// Why bytes of a segment cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// There is no such segment (yet).
    #[error("there is no segment {number}")]
    NoSegment {
        /// Its number.
        number: u32,
    },
    /// The range is not within the segment.
    #[error("segment {number} has {size} bytes; bytes {}..{} are not in it", range.start, range.end)]
    Range {
        /// Its number.
        number: u32,
        /// Its size.
        size: u64,
        /// What was asked for.
        range: Range<u64>,
    },
    /// The file cannot be read, or has fewer bytes than it had.
    #[error("{}: {source}", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// The system's word.
        source: io::Error,
    },
}

/// A segment at some moment.
#[derive(Debug, Clone)]
pub struct SegmentInfo {
    /// Number, from 0.
    pub number: u32,
    /// Bytes that are on disk.
    pub size: u64,
    /// Digest of these.
    pub sha224: Sha224,
    /// Whether it never changes any more.
    pub frozen: bool,
    /// Its file. That of a growing segment gets another name when it is frozen; [`SegmentInfo::reader`] reads on.
    pub path: Arc<Path>,
    /// When the file was made, Unix milliseconds.
    pub created_ms: i64,
    /// The growing segment's file, so that reading does not depend on its name.
    pub(super) open: Option<Arc<File>>,
}

impl SegmentInfo {
    /// Its bytes, piece by piece.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn reader(&self, range: Range<u64>) -> Result<SegmentReader, ReadError> {
        if range.start > range.end || range.end > self.size {
            return Err(ReadError::Range { number: self.number, size: self.size, range });
        }
        let file = match &self.open {
            Some(file) => Arc::clone(file),
            None => {
                let path = Arc::clone(&self.path);
                Arc::new(blocking(&self.path, move || File::open(path)).await?)
            }
        };
        Ok(SegmentReader { file, path: Arc::clone(&self.path), range })
    }
}

async fn blocking<T: Send + 'static>(path: &Path, work: impl FnOnce() -> io::Result<T> + Send + 'static) -> Result<T, ReadError> {
    let done = burrow_task::spawn_blocking(work).await;
    done.unwrap_or_else(|gone| Err(io::Error::other(gone))).map_err(|source| ReadError::File { path: path.to_owned(), source })
}

/// Reads a range of a segment. Holds nothing between two pieces but an open file.
#[derive(Debug)]
pub struct SegmentReader {
    file: Arc<File>,
    path: Arc<Path>,
    range: Range<u64>,
}

impl SegmentReader {
    /// The next piece; `None` at the end.
    ///
    /// # Errors
    /// [`ReadError::File`].
    pub async fn next(&mut self) -> Result<Option<Bytes>, ReadError> {
        let (from, len) = (self.range.start, (self.range.end - self.range.start).min(PIECE));
        if len == 0 {
            return Ok(None);
        }
        let file = Arc::clone(&self.file);
        let piece = blocking(&self.path, move || {
            let mut piece = vec![0; usize::try_from(len).unwrap_or_default()];
            file.read_exact_at(&mut piece, from)?;
            Ok(piece)
        });
        let piece = piece.await?;
        self.range.start += len;
        Ok(Some(piece.into()))
    }
}

/// All segments at some moment.
#[derive(Debug, Default)]
pub struct State {
    /// Ascending, from number 0, without a gap. All but the last are frozen.
    pub segments: Vec<SegmentInfo>,
    /// Bytes of all.
    pub total: u64,
    /// The whole index, made when the first follower asks.
    index: OnceLock<(u64, Bytes)>,
}

impl State {
    pub(super) fn new(segments: Vec<SegmentInfo>) -> State {
        let total = segments.iter().map(|segment| segment.size).sum();
        State { segments, total, index: OnceLock::new() }
    }

    /// A segment by number.
    pub fn segment(&self, number: u32) -> Option<&SegmentInfo> {
        usize::try_from(number).ok().and_then(|number| self.segments.get(number))
    }

    /// The last segment: the one that grows, unless the next record begins another.
    pub fn current(&self) -> Option<&SegmentInfo> {
        self.segments.last()
    }

    /// The index of `GET /logs` from segment `start` on as JSON, and the bytes of the segments in it. A thousand followers that one append wakes share one text.
    pub fn index(&self, start: u32) -> (u64, Bytes) {
        if start == 0 { self.index.get_or_init(|| self.render(0)).clone() } else { self.render(start) }
    }

    fn render(&self, start: u32) -> (u64, Bytes) {
        let listed = self.segments.iter().filter(|segment| segment.number >= start);
        let segments = listed.map(|segment| Segment {
            number: segment.number,
            size: segment.size,
            sha224: segment.sha224,
            url: format!("/logs/{}", segment.number),
            frozen: Some(segment.frozen),
        });
        let index = Index { segments: segments.collect() };
        (index.total(), index.encode().into())
    }
}
