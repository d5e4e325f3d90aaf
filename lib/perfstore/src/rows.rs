//! Small things as they stand in rows.

use bytes::Bytes;

use crate::labels::Labels;
use crate::varint::{Damaged, Reader, put, put_bytes};

/// Labels, one after the other.
pub(crate) fn write_labels(labels: &Labels) -> Vec<u8> {
    let mut out = Vec::new();
    put(&mut out, labels.len() as u64);
    for (key, value) in labels.iter() {
        put_bytes(&mut out, key);
        put_bytes(&mut out, value);
    }
    out
}

/// Back from [`write_labels`].
pub(crate) fn read_labels(bytes: &[u8]) -> Result<Labels, Damaged> {
    let mut reader = Reader::new(Bytes::copy_from_slice(bytes));
    let count = reader.count(2)?;
    let pairs = (0..count).map(|_| Ok((reader.bytes()?, reader.bytes()?))).collect::<Result<Vec<_>, Damaged>>()?;
    Ok(Labels::new(pairs))
}

/// Lines, one after the other.
pub(crate) fn write_lines(lines: &[Bytes]) -> Vec<u8> {
    let mut out = Vec::new();
    lines.iter().for_each(|line| put_bytes(&mut out, line));
    out
}

/// Back from [`write_lines`].
pub(crate) fn read_lines(bytes: &[u8]) -> Result<Vec<Bytes>, Damaged> {
    let mut reader = Reader::new(Bytes::copy_from_slice(bytes));
    let mut out = Vec::new();
    while !reader.is_at_end() {
        out.push(reader.bytes()?);
    }
    Ok(out)
}
