//! The server name of a ClientHello: hiding and restoring it gives back what was sent.
#![no_main]

use libfuzzer_sys::fuzz_target;
use protocol_revdial::{first_record_len, has_hidden_server_name, hide_bad_server_name, restore_server_name};

fuzz_target!(|data: &[u8]| {
    let _ = first_record_len(data);
    let mut bytes = data.to_vec();
    let hidden_before = data.len() > 5 && has_hidden_server_name(&data[5..]);
    if hide_bad_server_name(&mut bytes) && !hidden_before {
        assert!(has_hidden_server_name(&bytes[5..]));
        assert!(restore_server_name(&mut bytes[5..]));
        assert_eq!(bytes, data);
    }
});
