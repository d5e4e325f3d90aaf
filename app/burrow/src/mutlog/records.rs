//! Records of a file of any length, with memory for a few of them.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use protocol_mutlog::{FrameError, Record, Records};

use super::files::LogFile;

/// Bytes that are read at once.
const PIECE: usize = 1 << 20;
/// No record is so long; a damaged length must not fill the memory.
const LONGEST: u64 = 256 << 20;

/// Why there is no further record.
#[derive(Debug)]
pub(super) enum Fault {
    /// The file cannot be read.
    Read(io::Error),
    /// The framing is wrong.
    Frame(FrameError),
    /// A length that no record has.
    TooLong { offset: u64, missing: u64 },
}

/// Reads a file from a record on.
pub(super) struct Reader {
    path: PathBuf,
    file: File,
    buffer: Vec<u8>,
    /// Where the buffer begins in the file.
    start: u64,
    /// Bytes of the file behind the buffer.
    left: u64,
}

impl Reader {
    /// From the record at `offset` on.
    pub(super) fn open(log: &LogFile, offset: u64) -> io::Result<Reader> {
        let mut file = File::open(&log.path)?;
        file.seek(SeekFrom::Start(offset))?;
        Ok(Reader { path: log.path.clone(), file, buffer: Vec::new(), start: offset, left: log.size.saturating_sub(offset) })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Calls `each` for all whole records up to the end of the file, or until it wants no more.
    pub(super) fn each<E: From<Fault>>(&mut self, mut each: impl FnMut(Record<'_>) -> Result<bool, E>) -> Result<(), E> {
        let mut wanted = PIECE as u64;
        loop {
            self.fill(wanted).map_err(Fault::Read)?;
            let mut records = Records::new(&self.buffer, self.start);
            let mut fault = None;
            for record in records.by_ref() {
                match record {
                    Ok(record) => {
                        if !each(record)? {
                            return Ok(());
                        }
                    }
                    Err(error) => fault = Some(error),
                }
            }
            let whole = records.offset();
            wanted = match fault {
                None if self.left == 0 => return Ok(()),
                None => PIECE as u64,
                Some(FrameError::Truncated { offset, missing }) if self.left > 0 => {
                    if missing > LONGEST {
                        return Err(Fault::TooLong { offset, missing }.into());
                    }
                    missing.max(PIECE as u64)
                }
                Some(error) => return Err(Fault::Frame(error).into()),
            };
            let used = usize::try_from(whole - self.start).unwrap_or(usize::MAX).min(self.buffer.len());
            self.buffer.drain(..used);
            self.start = whole;
        }
    }

    fn fill(&mut self, wanted: u64) -> io::Result<()> {
        let wanted = wanted.min(self.left);
        let read = (&mut self.file).take(wanted).read_to_end(&mut self.buffer)? as u64;
        if read < wanted {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the file became shorter while it was read"));
        }
        self.left -= read;
        Ok(())
    }
}
