//! Framing: no panic; what is whole is read to its end, and can be written again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use protocol_mutlog::{Records, append_record, intact_prefix};

fuzz_target!(|data: &[u8]| {
    let (whole, fault) = intact_prefix(data, 0);
    assert!(whole <= data.len());
    assert_eq!(fault.is_none(), whole == data.len());
    let (mut written, mut read) = (Vec::new(), 0);
    for record in Records::new(&data[..whole], 0) {
        let record = record.expect("it is whole");
        let offset = written.len() as u64;
        append_record(&mut written, offset, record.payload);
        read += 1;
    }
    let again: Vec<_> = Records::new(&written, 0).map(|record| record.expect("what is written can be read").payload.len()).collect();
    assert_eq!(again.len(), read);
});
