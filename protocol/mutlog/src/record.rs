//! `REC@<offset>+<length>=<bytes>`, both numbers in hexadecimal, nothing behind (`spec/maintner.md` §2.1).

use std::io::Write as _;

use crate::MAX_SEGMENT;

/// A header, from `REC@` to `=`, has at most this many bytes.
pub const MAX_HEADER: usize = 40;

const START: &[u8] = b"REC@";

/// What is wrong with the framing at some place. Offsets count from the start of the segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// There is no header where one must be.
    #[error("malformed record header at offset {offset}")]
    Malformed {
        /// Where.
        offset: u64,
    },
    /// The header names another place than where it stands: bytes are missing or were put in before it.
    #[error("the record at offset {offset} says it is at {said}")]
    Misplaced {
        /// Where it stands.
        offset: u64,
        /// What its header says.
        said: u64,
    },
    /// The bytes end within the record, as after a crash in the middle of a write.
    #[error("truncated record at offset {offset}: {missing} bytes or more are missing")]
    Truncated {
        /// Where the record begins.
        offset: u64,
        /// How many bytes are missing at least.
        missing: u64,
    },
}

impl FrameError {
    /// Where the record begins that is at fault.
    pub fn offset(&self) -> u64 {
        match *self {
            FrameError::Malformed { offset } | FrameError::Misplaced { offset, .. } | FrameError::Truncated { offset, .. } => offset,
        }
    }
}

/// One record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record<'a> {
    /// Offset of its header in the segment.
    pub offset: u64,
    /// Bytes of header and payload.
    pub len: u64,
    /// An encoded mutation; may be empty.
    pub payload: &'a [u8],
}

/// The records of a segment, or of a part of one that begins at a record. After an error there is nothing more.
#[derive(Debug, Clone)]
pub struct Records<'a> {
    rest: &'a [u8],
    offset: u64,
}

impl<'a> Records<'a> {
    /// Records of `bytes`, which stand at `offset` of their segment.
    pub fn new(bytes: &'a [u8], offset: u64) -> Records<'a> {
        Records { rest: bytes, offset }
    }

    /// Offset behind the last record that came out.
    pub fn offset(&self) -> u64 {
        self.offset
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<Record<'a>, FrameError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        match take(self.rest, self.offset) {
            Ok((record, rest)) => {
                self.rest = rest;
                self.offset += record.len;
                Some(Ok(record))
            }
            Err(error) => {
                self.rest = &[];
                Some(Err(error))
            }
        }
    }
}

impl std::iter::FusedIterator for Records<'_> {}

fn take(bytes: &[u8], offset: u64) -> Result<(Record<'_>, &[u8]), FrameError> {
    let malformed = FrameError::Malformed { offset };
    let window = bytes.get(..MAX_HEADER).unwrap_or(bytes);
    // What ends within a header is torn only if it could have become one.
    let torn = FrameError::Truncated { offset, missing: 1 };
    let unfinished = if window.len() < MAX_HEADER { torn } else { malformed };
    let Some(rest) = window.strip_prefix(START) else {
        return Err(if START.starts_with(window) { torn } else { malformed });
    };
    let (said, rest) = number(rest).ok_or(malformed)?;
    let Some((b'+', rest)) = rest.split_first().map(|(first, rest)| (*first, rest)) else {
        return Err(if rest.is_empty() { unfinished } else { malformed });
    };
    if said.digits == 0 {
        return Err(malformed);
    }
    if said.value != offset {
        return Err(FrameError::Misplaced { offset, said: said.value });
    }
    let (length, rest) = number(rest).ok_or(malformed)?;
    match rest.split_first() {
        Some((b'=', _)) if length.digits > 0 => {}
        Some(_) => return Err(malformed),
        None => return Err(unfinished),
    }
    let header = START.len() + said.digits + 1 + length.digits + 1;
    let body = bytes.get(header..).unwrap_or(&[]);
    let too_short = FrameError::Truncated { offset, missing: length.value.saturating_sub(body.len() as u64) };
    let wanted = usize::try_from(length.value).map_err(|_| too_short)?;
    let (payload, rest) = body.split_at_checked(wanted).ok_or(too_short)?;
    Ok((Record { offset, len: header as u64 + length.value, payload }, rest))
}

struct Number {
    value: u64,
    digits: usize,
}

/// Hex digits at the start, possibly none. `None`: too large for an offset.
#[inline]
fn number(bytes: &[u8]) -> Option<(Number, &[u8])> {
    let mut value: u64 = 0;
    let mut digits = 0;
    for byte in bytes {
        let digit = match byte {
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'f' => byte - b'a' + 10,
            b'A'..=b'F' => byte - b'A' + 10,
            _ => break,
        };
        // Offsets are signed 64-bit numbers in the reference.
        if value >> 59 != 0 {
            return None;
        }
        value = value << 4 | u64::from(digit);
        digits += 1;
    }
    Some((Number { value, digits }, bytes.get(digits..).unwrap_or(&[])))
}

/// Appends a record that will stand at `offset` of its segment to `out`, in one piece.
pub fn append_record(out: &mut Vec<u8>, offset: u64, payload: &[u8]) {
    out.reserve(MAX_HEADER + payload.len());
    // Writing to a vector cannot fail.
    let _ = write!(out, "REC@{offset:x}+{:x}=", payload.len());
    out.extend_from_slice(payload);
}

/// How many bytes of `bytes`, which stand at `offset` of a segment, are whole records, and what is wrong behind them.
pub fn intact_prefix(bytes: &[u8], offset: u64) -> (usize, Option<FrameError>) {
    let mut records = Records::new(bytes, offset);
    let fault = records.by_ref().find_map(Result::err);
    (usize::try_from(records.offset() - offset).unwrap_or(bytes.len()), fault)
}

/// Whether a record with a payload of `payload` bytes begins a new segment after one of `segment` bytes. Headers do not count; an empty segment takes
/// a record of any size (`spec/maintner.md` §2.2).
pub fn starts_new_segment(segment: u64, payload: usize) -> bool {
    segment > 0 && segment.saturating_add(payload as u64) > MAX_SEGMENT
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(bytes: &[u8], offset: u64) -> Result<Vec<&[u8]>, FrameError> {
        Records::new(bytes, offset).map(|record| record.map(|record| record.payload)).collect()
    }

    #[test]
    fn headers_are_written_as_the_reference_writes_them() {
        let mut out = Vec::new();
        append_record(&mut out, 0, &[7; 30]);
        append_record(&mut out, 41, b"");
        assert!(out.starts_with(b"REC@0+1e=\x07"));
        assert!(out[39..].starts_with(b"REC@29+0="), "{:?}", &out[39..]);
    }

    #[test]
    fn records_are_read_back_and_may_be_empty() {
        assert_eq!(all(b"REC@0+0=REC@8+3=abcREC@13+1=x", 0), Ok(vec![&b""[..], b"abc", b"x"]));
        assert_eq!(all(b"REC@13+1=x", 0x13), Ok(vec![&b"x"[..]]), "a start in the middle, if told where");
        assert_eq!(all(b"REC@00A+1=x", 10), Ok(vec![&b"x"[..]]), "leading zeros and capitals are read");
        assert_eq!(all(b"", 5), Ok(vec![]));
    }

    #[test]
    fn faults_are_told_apart_with_their_place() {
        for (bytes, error) in [
            (&b"REC@0+0=REC@9+0="[..], FrameError::Misplaced { offset: 8, said: 9 }),
            (b"REC@0+0=garbage", FrameError::Malformed { offset: 8 }),
            (b"REC@0+0=REC@8+5=abc", FrameError::Truncated { offset: 8, missing: 2 }),
            (b"REC@0+0=REC", FrameError::Truncated { offset: 8, missing: 1 }),
            (b"REC@0+0=REC@8+1", FrameError::Truncated { offset: 8, missing: 1 }),
            (b"REC@0+0=REC@8", FrameError::Truncated { offset: 8, missing: 1 }),
            (b"REC@0", FrameError::Truncated { offset: 0, missing: 1 }),
            (b"REC@+0=", FrameError::Malformed { offset: 0 }),
            (b"REC@0+=", FrameError::Malformed { offset: 0 }),
            (b"REC@0++0=", FrameError::Malformed { offset: 0 }),
            (b"REC@0+00000000000000000000000000000000000=", FrameError::Malformed { offset: 0 }),
            (b"REC@0+ffffffffffffffffff=", FrameError::Malformed { offset: 0 }),
            (b"REC@0+fffffffffffffff=x", FrameError::Truncated { offset: 0, missing: 0xfff_ffff_ffff_fffe }),
        ] {
            assert_eq!(all(bytes, 0), Err(error), "{}", String::from_utf8_lossy(bytes));
        }
    }

    #[test]
    fn a_header_of_forty_bytes_is_the_longest() {
        // REC@ + 33 zeros + + + 0 + = is 40 bytes.
        let fits = format!("REC@{}+0=", "0".repeat(33));
        assert_eq!((fits.len(), all(fits.as_bytes(), 0)), (40, Ok(vec![&b""[..]])));
        let long = format!("REC@{}+0=", "0".repeat(34));
        assert_eq!(all(long.as_bytes(), 0), Err(FrameError::Malformed { offset: 0 }));
    }

    #[test]
    fn what_is_whole_ends_where_the_fault_begins() {
        assert_eq!(intact_prefix(b"REC@0+0=REC@8+5=abc", 0), (8, Some(FrameError::Truncated { offset: 8, missing: 2 })));
        assert_eq!(intact_prefix(b"REC@8+3=abc", 8), (11, None));
    }

    #[test]
    fn segments_turn_over_as_in_the_reference() {
        assert!(!starts_new_segment(0, 20 << 20), "one bigger record gets its own bigger segment");
        assert!(!starts_new_segment(MAX_SEGMENT - 10, 10), "headers do not count");
        assert!(starts_new_segment(MAX_SEGMENT - 10, 11));
    }
}
