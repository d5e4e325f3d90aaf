#![no_main]
//! A mode that is read is written the same.

use protocol_buildlet::mode::GoMode;

libfuzzer_sys::fuzz_target!(|text: &str| {
    if let Some(mode) = GoMode::parse(text) {
        assert_eq!(mode.to_string(), text);
    }
    if let Some(mode) = GoMode::from_parameter(text) {
        assert!(mode.is_regular());
    }
});
