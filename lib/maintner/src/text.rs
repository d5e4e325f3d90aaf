//! Text stays in the log: a corpus holds references of eight bytes instead.

use std::fmt;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytemuck::{Pod, Zeroable};
use memmap2::Mmap;

/// Bytes of the log: 40 bits of place, 24 bits of length. Places count from the start of the log, over all its segments.
///
/// A longer text has the length [`LONG`] and the place of its length instead of its own: in the log a field's length stands right before its bytes.
#[derive(Clone, Copy, PartialEq, Eq, Pod, Zeroable, Default)]
#[repr(transparent)]
pub(crate) struct TextRef(u64);

const LONG: u64 = 0xff_ffff;

impl TextRef {
    pub(crate) const EMPTY: TextRef = TextRef(0);

    /// A part of the log that begins at place `at`, and is the content of a protobuf field if it has 16 MiB or more.
    ///
    /// `log` are the bytes from place `start` on that `part` lies in.
    #[inline]
    pub(crate) fn of(log: &[u8], start: u64, part: &[u8]) -> TextRef {
        let len = part.len() as u64;
        if len == 0 {
            return TextRef::EMPTY;
        }
        // Only addresses are compared; a part of other memory would give a reference that leads nowhere, never an access out of bounds.
        let offset = (part.as_ptr() as usize).wrapping_sub(log.as_ptr() as usize);
        if len < LONG {
            return TextRef((start + offset as u64) << 24 | len);
        }
        let before = log.get(..offset).unwrap_or(&[]);
        let field = (1..=10).find(|size| {
            let Some(mut bytes) = before.len().checked_sub(*size).and_then(|from| before.get(from..)) else { return false };
            protocol_mutlog::wire::varint(&mut bytes) == Ok(len) && bytes.is_empty()
        });
        field.map_or(TextRef::EMPTY, |size| TextRef((start + (offset - size) as u64) << 24 | LONG))
    }

    /// A part of this text.
    pub(crate) fn part(self, log: &Log, part: &[u8]) -> TextRef {
        let whole = log.text(self);
        // The place of a long text is that of its length, so it is taken from the bytes themselves.
        log.place_of(self, whole).map_or(TextRef::EMPTY, |start| TextRef::of(whole, start, part))
    }

    #[inline]
    pub(crate) fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl fmt::Debug for TextRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}+{}", self.0 >> 24, self.0 & LONG)
    }
}

/// Consecutive bytes of the log.
#[derive(Clone, Debug)]
pub(crate) struct Chunk {
    pub(crate) start: u64,
    pub(crate) bytes: Bytes,
}

#[derive(Clone)]
pub(crate) enum Bytes {
    Mapped(Arc<Mmap>),
    Owned(Arc<[u8]>),
}

impl Bytes {
    #[inline]
    pub(crate) fn get(&self) -> &[u8] {
        match self {
            Bytes::Mapped(map) => map,
            Bytes::Owned(bytes) => bytes,
        }
    }
}

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.get().len())
    }
}

/// The bytes of a log, from its start, in memory or mapped. A clone is cheap and shows the log as it was.
#[derive(Clone, Default)]
pub struct Log {
    /// In groups, so that adding a chunk while a clone is looked at copies one group and not all chunks.
    groups: Arc<Vec<Arc<Vec<Chunk>>>>,
    end: u64,
}

/// Chunks in a group.
const GROUP: usize = 256;

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Log({} bytes)", self.end)
    }
}

/// A file of the log cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read {path}: {source}")]
pub struct FileError {
    /// Which file.
    pub path: PathBuf,
    /// The system's word.
    #[source]
    pub source: std::io::Error,
}

impl Log {
    /// An empty log.
    pub fn new() -> Log {
        Log::default()
    }

    /// Bytes.
    pub fn len(&self) -> u64 {
        self.end
    }

    /// Whether it has no bytes.
    pub fn is_empty(&self) -> bool {
        self.end == 0
    }

    /// Adds bytes of memory at the end.
    pub fn push(&mut self, bytes: impl Into<Arc<[u8]>>) {
        self.push_chunk(Bytes::Owned(bytes.into()));
    }

    /// Adds the bytes from `from` to `to` of a file at the end, mapped. The file must not be cut shorter while it is used: a segment is only ever added to, or
    /// replaced as a whole under its name.
    ///
    /// # Errors
    /// The file cannot be opened or mapped, or is too short.
    pub fn push_file(&mut self, path: &Path, from: u64, to: u64) -> Result<(), FileError> {
        if from >= to {
            return Ok(());
        }
        let map = map_file(path, from, to).map_err(|source| FileError { path: path.to_owned(), source })?;
        self.push_chunk(Bytes::Mapped(Arc::new(map)));
        Ok(())
    }

    fn push_chunk(&mut self, bytes: Bytes) {
        let len = bytes.get().len() as u64;
        if len == 0 {
            return;
        }
        let groups = Arc::make_mut(&mut self.groups);
        if groups.last().is_none_or(|group| group.len() >= GROUP) {
            groups.push(Arc::default());
        }
        if let Some(group) = groups.last_mut() {
            Arc::make_mut(group).push(Chunk { start: self.end, bytes });
        }
        self.end += len;
    }

    pub(crate) fn chunks(&self) -> impl Iterator<Item = &Chunk> {
        self.groups.iter().flat_map(|group| group.iter())
    }

    /// Bytes from place `at` to the end of the chunk they lie in.
    #[inline]
    fn from(&self, at: u64) -> &[u8] {
        let group = self.groups.partition_point(|group| group.first().is_some_and(|chunk| chunk.start <= at));
        let Some(group) = group.checked_sub(1).and_then(|group| self.groups.get(group)) else { return &[] };
        let chunk = group.partition_point(|chunk| chunk.start <= at);
        let Some(chunk) = chunk.checked_sub(1).and_then(|chunk| group.get(chunk)) else { return &[] };
        usize::try_from(at - chunk.start).ok().and_then(|offset| chunk.bytes.get().get(offset..)).unwrap_or(&[])
    }

    /// The bytes of a reference; empty if it leads nowhere.
    #[inline]
    pub(crate) fn text(&self, text: TextRef) -> &[u8] {
        let (at, len) = (text.0 >> 24, text.0 & LONG);
        if len == 0 {
            return &[];
        }
        let mut bytes = self.from(at);
        let len = if len < LONG { len } else { protocol_mutlog::wire::varint(&mut bytes).unwrap_or(0) };
        usize::try_from(len).ok().and_then(|len| bytes.get(..len)).unwrap_or(&[])
    }

    /// Where the bytes of a reference stand.
    fn place_of(&self, text: TextRef, bytes: &[u8]) -> Option<u64> {
        let (at, len) = (text.0 >> 24, text.0 & LONG);
        if len < LONG {
            return Some(at);
        }
        let around = self.from(at);
        Some(at + (bytes.as_ptr() as usize).checked_sub(around.as_ptr() as usize)? as u64)
    }

    /// Replaces the `len` bytes from place `from` on by a file of the same bytes, as when a segment that grew in memory has become one. False: chunks do not end
    /// there.
    pub(crate) fn replace(&mut self, from: u64, len: u64, path: &Path) -> Result<bool, FileError> {
        let mut kept = Log::new();
        let mut chunks = self.chunks().peekable();
        while let Some(chunk) = chunks.next_if(|chunk| chunk.start < from) {
            kept.push_chunk(chunk.bytes.clone());
        }
        let behind: Vec<Bytes> = chunks.filter(|chunk| chunk.start >= from + len).map(|chunk| chunk.bytes.clone()).collect();
        let after: u64 = behind.iter().map(|bytes| bytes.get().len() as u64).sum();
        if kept.end != from || from + len + after != self.end {
            return Ok(false);
        }
        kept.push_file(path, 0, len)?;
        behind.into_iter().for_each(|bytes| kept.push_chunk(bytes));
        *self = kept;
        Ok(true)
    }
}

fn map_file(path: &Path, from: u64, to: u64) -> std::io::Result<Mmap> {
    let file = File::open(path)?;
    if file.metadata()?.len() < to {
        return Err(std::io::Error::new(std::io::ErrorKind::UnexpectedEof, format!("the file has less than {to} bytes")));
    }
    let len = usize::try_from(to - from).map_err(std::io::Error::other)?;
    // SAFETY: the mapping is read-only and files of a log are never cut or rewritten in place (see `push_file`); whoever does it all the same ends this process,
    // as with every mapped file.
    unsafe { memmap2::MmapOptions::new().offset(from).len(len).map(&file) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_lead_back_to_their_bytes_over_chunks_and_groups() {
        let mut log = Log::new();
        let mut refs = Vec::new();
        for number in 0..1000_u32 {
            let bytes: Arc<[u8]> = number.to_string().into_bytes().into();
            let start = log.len();
            refs.push(TextRef::of(&bytes, start, &bytes[..]));
            log.push(bytes);
        }
        let before = log.clone();
        log.push(*b"more");
        for (number, text) in refs.iter().enumerate() {
            assert_eq!(log.text(*text), number.to_string().as_bytes());
        }
        assert_eq!(before.len() + 4, log.len());
        assert_eq!(log.text(TextRef::EMPTY), b"");
        assert_eq!(log.text(TextRef(log.len() << 24 | 5)), b"", "past the end");
    }

    #[test]
    fn a_text_of_sixteen_mebibytes_is_found_by_the_length_before_it() {
        let text = vec![b'x'; 20 << 20];
        let mut bytes = b"before".to_vec();
        protocol_mutlog::wire::put_bytes(&mut bytes, 2, &text);
        let bytes: Arc<[u8]> = bytes.into();
        let part = &bytes[bytes.len() - text.len()..];
        let mut log = Log::new();
        log.push(*b"0123456789");
        let reference = TextRef::of(&bytes, 10, part);
        log.push(Arc::clone(&bytes));
        assert!(log.text(reference) == text);
    }
}
