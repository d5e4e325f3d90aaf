#![no_main]
//! A state that is read is written so that it reads the same.

use protocol_buildlet::process_state::ProcessState;

libfuzzer_sys::fuzz_target!(|text: &str| {
    if let Some(state) = ProcessState::parse(text) {
        assert_eq!(ProcessState::parse(&state.to_string()), Some(state));
    }
});
