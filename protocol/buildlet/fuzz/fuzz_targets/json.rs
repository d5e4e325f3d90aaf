#![no_main]
//! Requests of the modern endpoints.

use protocol_buildlet::{ExecRequest, ExecStatus, PrepareRequest, Status, TreeState, valid_execution_id};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(request) = serde_json::from_slice::<ExecRequest>(bytes) {
        let again: ExecRequest = serde_json::from_slice(&serde_json::to_vec(&request).unwrap_or_default()).expect("our own JSON");
        assert_eq!(again, request);
    }
    let _ = (serde_json::from_slice::<ExecStatus>(bytes), serde_json::from_slice::<Status>(bytes));
    let _ = (serde_json::from_slice::<PrepareRequest>(bytes), serde_json::from_slice::<TreeState>(bytes));
    if let Ok(id) = std::str::from_utf8(bytes) {
        assert!(!valid_execution_id(id) || !id.contains('/'));
    }
});
