//! The index of a log and the names of segments, from a server that is not to be trusted.
#![no_main]

use libfuzzer_sys::fuzz_target;
use protocol_mutlog::{Index, SegmentName};

fuzz_target!(|data: &[u8]| {
    if let Ok(index) = Index::decode(data) {
        let _ = index.total();
        assert_eq!(Index::decode(index.encode().as_bytes()).as_ref(), Ok(&index));
    }
    if let Some(name) = std::str::from_utf8(data).ok().and_then(|text| text.parse::<SegmentName>().ok()) {
        assert_eq!(name.to_string().parse(), Ok(name));
    }
});
