//! Numbers and texts in stored blobs: LEB128 and length-prefixed bytes. Reading checks every length; nothing is believed.

use bytes::Bytes;

/// What is stored is not what was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("stored data is damaged at byte {at}: {what}")]
pub struct Damaged {
    /// Where.
    pub at: usize,
    /// What.
    pub what: &'static str,
}

pub(crate) fn put(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

pub(crate) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Reads from the front.
#[derive(Debug)]
pub(crate) struct Reader {
    bytes: Bytes,
    at: usize,
}

impl Reader {
    pub(crate) fn new(bytes: Bytes) -> Reader {
        Reader { bytes, at: 0 }
    }

    pub(crate) fn damaged(&self, what: &'static str) -> Damaged {
        Damaged { at: self.at, what }
    }

    pub(crate) fn is_at_end(&self) -> bool {
        self.at >= self.bytes.len()
    }

    pub(crate) fn number(&mut self) -> Result<u64, Damaged> {
        let mut number = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = *self.bytes.get(self.at).ok_or(self.damaged("a number is cut off"))?;
            self.at += 1;
            if shift == 63 && byte > 1 {
                break;
            }
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(self.damaged("a number is too large"))
    }

    pub(crate) fn size(&mut self) -> Result<usize, Damaged> {
        usize::try_from(self.number()?).map_err(|_| self.damaged("a size is too large"))
    }

    /// A count of things of which each takes at least `least` bytes: more than fit are refused before anything is allocated for them.
    pub(crate) fn count(&mut self, least: usize) -> Result<usize, Damaged> {
        let count = self.size()?;
        if count > (self.bytes.len() - self.at) / least.max(1) {
            return Err(self.damaged("a count is too large"));
        }
        Ok(count)
    }

    pub(crate) fn take(&mut self, length: usize) -> Result<Bytes, Damaged> {
        let end = self.at.checked_add(length).filter(|end| *end <= self.bytes.len()).ok_or(self.damaged("a text is cut off"))?;
        let taken = self.bytes.slice(self.at..end);
        self.at = end;
        Ok(taken)
    }

    pub(crate) fn bytes(&mut self) -> Result<Bytes, Damaged> {
        let length = self.size()?;
        self.take(length)
    }

    pub(crate) fn float(&mut self) -> Result<f64, Damaged> {
        let bytes = self.take(8)?;
        Ok(f64::from_le_bytes(bytes.as_ref().try_into().map_err(|_| self.damaged("a value is cut off"))?))
    }
}

/// Numbers that rise, as differences.
pub(crate) fn put_rising(numbers: &[u32]) -> Vec<u8> {
    let mut out = Vec::with_capacity(numbers.len());
    let mut last = 0;
    for number in numbers {
        put(&mut out, u64::from(number.wrapping_sub(last)));
        last = *number;
    }
    out
}

/// Back from [`put_rising`].
pub(crate) fn rising(bytes: &[u8]) -> Result<Vec<u32>, Damaged> {
    let mut reader = Reader::new(Bytes::copy_from_slice(bytes));
    let mut out = Vec::new();
    let mut last = 0_u32;
    while !reader.is_at_end() {
        let step = u32::try_from(reader.number()?).map_err(|_| reader.damaged("a step is too large"))?;
        last = last.checked_add(step).ok_or(reader.damaged("numbers do not rise"))?;
        out.push(last);
    }
    Ok(out)
}

/// Compressed, its size first.
pub(crate) fn pack(bytes: &[u8]) -> Vec<u8> {
    lz4_flex::compress_prepend_size(bytes)
}

/// Back from [`pack`]; at most `limit` bytes.
pub(crate) fn unpack(packed: &[u8], limit: usize) -> Result<Bytes, Damaged> {
    let (size, rest) = lz4_flex::block::uncompressed_size(packed).map_err(|_| Damaged { at: 0, what: "the size is missing" })?;
    // A byte of compressed data stands for 255 bytes at most.
    if size > limit || size / 256 > rest.len() {
        return Err(Damaged { at: 0, what: "the size is impossible" });
    }
    lz4_flex::decompress(rest, size).map(Bytes::from).map_err(|_| Damaged { at: 4, what: "it cannot be decompressed" })
}
