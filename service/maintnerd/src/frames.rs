//! Records of a file of any length, with memory for one record.

use std::io::{self, Read, Seek, SeekFrom};

use protocol_mutlog::{FrameError, Records, intact_prefix};

/// A record (or a batch) may have this many bytes. Nothing that is written comes near it; a damaged length must not fill the memory.
pub(crate) const LARGEST: u64 = 256 << 20;
/// Stands where a batch begins until the rest of it is on disk (see [`crate::log`]).
pub(crate) const NOT_YET: u8 = 0;
/// Bytes that are read at once.
const PIECE: usize = 1 << 20;

/// What can be wrong with the records of a file.
#[derive(Debug, thiserror::Error)]
pub enum FrameFault {
    /// The framing.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// A length that no record has.
    #[error("the record at offset {offset} says it has {bytes} bytes")]
    TooLarge {
        /// Where it begins.
        offset: u64,
        /// Its bytes, with the header.
        bytes: u64,
    },
    /// The file cannot be read.
    #[error("cannot be read behind offset {offset}: {source}")]
    Read {
        /// End of the last record that could be read.
        offset: u64,
        /// The system's word.
        source: io::Error,
    },
}

impl FrameFault {
    /// Where the record begins that is at fault.
    pub fn offset(&self) -> u64 {
        match self {
            FrameFault::Frame(error) => error.offset(),
            FrameFault::TooLarge { offset, .. } | FrameFault::Read { offset, .. } => *offset,
        }
    }

    /// Whether the file merely ends too early, as after a crash.
    pub fn is_torn(&self) -> bool {
        matches!(self, FrameFault::Frame(FrameError::Truncated { .. }))
    }
}

/// One record.
#[derive(Debug)]
pub(crate) struct Frame<'a> {
    /// Header and payload.
    pub(crate) raw: &'a [u8],
    pub(crate) payload: &'a [u8],
}

/// Reads record after record.
#[derive(Debug)]
pub(crate) struct FrameReader<R> {
    input: R,
    buffer: Vec<u8>,
    /// What is in the buffer and not given out.
    start: usize,
    end: usize,
    /// Of `start` in the file.
    offset: u64,
    /// Bytes of the file that are not in the buffer yet.
    left: u64,
}

impl<R: Read> FrameReader<R> {
    /// Records of the first `size` bytes of `input`, which begins a file.
    pub(crate) fn new(input: R, size: u64) -> FrameReader<R> {
        FrameReader { input, buffer: Vec::new(), start: 0, end: 0, offset: 0, left: size }
    }

    /// Where the next record begins.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    /// The input; some of its bytes are read already.
    pub(crate) fn into_input(self) -> R {
        self.input
    }

    /// The next record; `None` at the end.
    pub(crate) fn next(&mut self) -> Result<Option<Frame<'_>>, FrameFault> {
        let len = loop {
            let waiting = self.buffer.get(self.start..self.end).unwrap_or_default();
            match Records::new(waiting, self.offset).next() {
                Some(Ok(record)) => break (record.len, record.payload.len()),
                Some(Err(FrameError::Truncated { offset, missing })) => {
                    if missing > self.left {
                        return Err(FrameError::Truncated { offset, missing: missing - self.left }.into());
                    }
                    let bytes = (waiting.len() as u64).saturating_add(missing);
                    if bytes > LARGEST + protocol_mutlog::MAX_HEADER as u64 {
                        return Err(FrameFault::TooLarge { offset, bytes });
                    }
                    self.fill(usize::try_from(missing).unwrap_or(usize::MAX))?;
                }
                Some(Err(error)) => return Err(error.into()),
                None if self.left == 0 => return Ok(None),
                None => self.fill(1)?,
            }
        };
        let (record, payload) = (usize::try_from(len.0).unwrap_or(usize::MAX), len.1);
        let raw = self.buffer.get(self.start..self.start.saturating_add(record)).unwrap_or_default();
        self.start += raw.len();
        self.offset += len.0;
        Ok(Some(Frame { raw, payload: raw.get(raw.len().saturating_sub(payload)..).unwrap_or_default() }))
    }

    /// Reads at least `missing` bytes more.
    fn fill(&mut self, missing: usize) -> Result<(), FrameFault> {
        self.buffer.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        let wanted = self.end + missing;
        let room = wanted.max(PIECE);
        if self.buffer.len() < room {
            self.buffer.resize(room, 0);
        }
        while self.end < wanted {
            let limit = self.end.saturating_add(usize::try_from(self.left).unwrap_or(usize::MAX)).min(self.buffer.len());
            let read = match self.input.read(self.buffer.get_mut(self.end..limit).unwrap_or_default()) {
                Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                other => other,
            };
            let n = read.map_err(|source| FrameFault::Read { offset: self.offset, source })?;
            self.end += n;
            self.left -= n as u64;
        }
        Ok(())
    }
}

/// Takes the digest of everything that is read through it.
#[derive(Debug)]
pub(crate) struct Digesting<R> {
    input: R,
    digest: protocol_mutlog::Digest,
}

impl<R: Read> Digesting<R> {
    pub(crate) fn new(input: R) -> Digesting<R> {
        Digesting { input, digest: protocol_mutlog::Digest::default() }
    }

    /// Reads the rest; the digest of everything.
    pub(crate) fn finish(mut self) -> io::Result<protocol_mutlog::Sha224> {
        io::copy(&mut self, &mut io::sink())?;
        Ok(self.digest.finish())
    }
}

impl<R: Read> Read for Digesting<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.input.read(buffer)?;
        self.digest.update(buffer.get(..n).unwrap_or_default());
        Ok(n)
    }
}

/// Whether what follows the last whole record, which ends at `offset`, is what a writer leaves that was cut off: a torn record, batches that did not get their
/// first byte, or nothing but zeros, which some file systems leave after a power cut. Anything else is damage, and must not be taken away silently.
pub(crate) fn is_unfinished<F: Read + Seek>(fault: &FrameFault, file: &mut F, offset: u64) -> io::Result<bool> {
    match fault {
        FrameFault::Frame(FrameError::Truncated { .. }) => Ok(true),
        FrameFault::Frame(FrameError::Malformed { .. }) => {
            let mut tail = Vec::new();
            file.seek(SeekFrom::Start(offset))?;
            file.take(LARGEST).read_to_end(&mut tail)?;
            Ok(is_left(&mut tail, offset))
        }
        _ => Ok(false),
    }
}

fn is_left(mut tail: &mut [u8], mut offset: u64) -> bool {
    loop {
        if tail.iter().all(|byte| *byte == NOT_YET) {
            return true;
        }
        match tail.first_mut() {
            Some(first) if *first == NOT_YET => *first = b'R',
            _ => return false,
        }
        let (whole, fault) = intact_prefix(tail, offset);
        match fault {
            None | Some(FrameError::Truncated { .. }) => return true,
            Some(FrameError::Misplaced { .. }) => return false,
            Some(FrameError::Malformed { .. }) if whole == 0 => return false,
            Some(FrameError::Malformed { .. }) => {}
        }
        offset += whole as u64;
        tail = tail.get_mut(whole..).unwrap_or_default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives its bytes in pieces of a few.
    struct Drops<'a>(&'a [u8], usize);

    impl Read for Drops<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let n = self.1.min(self.0.len()).min(buffer.len());
            buffer[..n].copy_from_slice(&self.0[..n]);
            self.0 = &self.0[n..];
            Ok(n)
        }
    }

    fn all(bytes: &[u8], piece: usize) -> (Vec<Vec<u8>>, Option<FrameFault>) {
        let mut reader = FrameReader::new(Drops(bytes, piece), bytes.len() as u64);
        let mut found = Vec::new();
        loop {
            match reader.next() {
                Ok(Some(frame)) => found.push(frame.payload.to_vec()),
                Ok(None) => return (found, None),
                Err(fault) => return (found, Some(fault)),
            }
        }
    }

    #[test]
    fn pieces_of_any_length_give_the_same_records() {
        let payloads: Vec<Vec<u8>> = (0..60_usize).map(|n| vec![n as u8; n * n * n]).collect();
        let mut bytes = Vec::new();
        for payload in &payloads {
            let offset = bytes.len() as u64;
            protocol_mutlog::append_record(&mut bytes, offset, payload);
        }
        assert!(bytes.len() > 2 * PIECE, "records cross the buffer's end");
        for piece in [1_000, 4_097, PIECE, bytes.len()] {
            let (found, fault) = all(&bytes, piece);
            assert!(found == payloads && fault.is_none(), "{piece}: {fault:?}");
        }
        for cut in 1..9 {
            let (found, fault) = all(&bytes[..bytes.len() - cut], 1_000);
            assert_eq!(found.len(), payloads.len() - 1);
            assert!(fault.is_some_and(|fault| fault.is_torn()));
        }
    }

    #[test]
    fn a_damaged_length_does_not_fill_the_memory() {
        let (_, fault) = all(b"REC@0+fffffffffff=x", 5);
        assert!(matches!(fault, Some(FrameFault::Frame(FrameError::Truncated { offset: 0, .. }))), "{fault:?}");
        let mut reader = FrameReader::new(io::repeat(b'x').take(0).chain(&b"REC@0+fffffffffff=x"[..]).chain(io::repeat(0)), u64::MAX);
        assert!(matches!(reader.next(), Err(FrameFault::TooLarge { offset: 0, .. })));
    }

    #[test]
    fn only_what_a_writer_leaves_counts_as_unfinished() {
        let cases: [(&[u8], bool); 8] = [
            (b"\0EC@8+0=REC@10+1=x", true),
            (b"\0EC@8+0=REC@10+1=x\0EC@1a+0=REC@23+5=ab", true),
            (b"\0\0\0\0", true),
            (b"\0EC@8+1=x\0\0\0", true),
            (b"\0EC@9+1=x", false),
            (b"garbage", false),
            (b"\0garbage", false),
            (b"\0EC@8+1=xgarbage", false),
        ];
        for (tail, unfinished) in cases {
            assert_eq!(is_left(&mut tail.to_vec(), 8), unfinished, "{}", String::from_utf8_lossy(tail));
        }
    }
}
