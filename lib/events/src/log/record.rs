//! Records on disk: length (4 bytes, little-endian), XXH3 of the payload seeded with the length (8 bytes), payload.
//!
//! A segment is [`MAGIC`] and records. Its first record says where the log stood when the segment was begun; the others are events as JSON on one line.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::Position;
use crate::time;

/// What a segment begins with.
pub const MAGIC: &[u8; 16] = b"burrow-events 1\n";
/// Bytes before a payload.
const HEADER: usize = 12;

/// Appends one record.
pub fn write(out: &mut Vec<u8>, payload: &[u8]) {
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(&xxh3_64_with_seed(payload, u64::from(length)).to_le_bytes());
    out.extend_from_slice(payload);
}

/// Takes the first whole record off `bytes`. `None`: there is none, or it is damaged.
pub fn take<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    let (sum, rest) = rest.split_first_chunk::<8>()?;
    let length = u32::from_le_bytes(*length);
    let payload = rest.get(..usize::try_from(length).ok().filter(|length| *length <= super::MAX_EVENT * 2)?)?;
    if u64::from_le_bytes(*sum) != xxh3_64_with_seed(payload, u64::from(length)) {
        return None;
    }
    *bytes = bytes.get(HEADER + payload.len()..)?;
    Some(payload)
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Base {
    base: u64,
    time: String,
}

/// The first record of a segment.
pub(super) fn base(position: Position) -> Vec<u8> {
    // Two plain fields are always JSON.
    serde_json::to_vec(&Base { base: position.id, time: time::format(position.time) }).unwrap_or_default()
}

/// A segment as it was read.
#[derive(Debug, Default)]
pub struct Segment {
    /// Where the log stood when it was begun; `None`: the segment has no beginning.
    pub base: Option<Position>,
    /// Events with the names of their deliveries.
    pub events: Vec<(crate::Event, String)>,
    /// Bytes up to the end of the last whole record.
    pub whole: usize,
    /// Whole records that are no events.
    pub odd: usize,
}

/// Reads a segment up to its end or the first damaged record.
pub fn read(bytes: &[u8]) -> Segment {
    let mut segment = Segment::default();
    let Some(mut rest) = bytes.strip_prefix(MAGIC.as_slice()) else { return segment };
    let Some(first) = take(&mut rest) else { return segment };
    let Ok(Base { base: id, time }) = serde_json::from_slice::<Base>(first) else { return segment };
    let Some(time) = time::parse(&time) else { return segment };
    segment.base = Some(Position { id, time });
    let mut last: (u64, Timestamp) = (id, time);
    segment.whole = bytes.len() - rest.len();
    while let Some(payload) = take(&mut rest) {
        segment.whole = bytes.len() - rest.len();
        match crate::json::parse(payload) {
            Ok(answer) if answer.event.id > last.0 && answer.event.time > last.1 && !answer.timeout => {
                last = (answer.event.id, answer.event.time);
                segment.events.push((answer.event, answer.delivery));
            }
            _ => segment.odd += 1,
        }
    }
    segment
}
