//! A segment of the log with any bytes: no panic; events go up; what is whole is the same when it is read alone.
#![no_main]

use burrow_events::log::record;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let mut whole = record::MAGIC.to_vec();
    // The bytes as they are, and as payloads whose checksums are right.
    if data.first().is_some_and(|byte| byte % 2 == 0) {
        data.split(|byte| *byte == b'\n').for_each(|payload| record::write(&mut whole, payload));
    } else {
        whole.extend_from_slice(data);
    }
    let segment = record::read(&whole);
    assert!(segment.whole <= whole.len());
    assert!(segment.events.windows(2).all(|pair| pair[0].0.id < pair[1].0.id && pair[0].0.time < pair[1].0.time));
    let again = record::read(&whole[..segment.whole]);
    assert_eq!((again.whole, again.events.len(), again.odd), (segment.whole, segment.events.len(), segment.odd));
});
