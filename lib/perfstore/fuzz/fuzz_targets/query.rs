//! Any text as a query, and its words quoted and split again.
#![no_main]

use burrow_perfstore::Query;
use burrow_perfstore::query::{quote, split_words};

libfuzzer_sys::fuzz_target!(|text: &[u8]| {
    for word in split_words(text) {
        assert_eq!(split_words(&quote(&word)), [word]);
    }
    if let Ok(query) = Query::parse(text) {
        for (key, part) in query.parts() {
            part.matches(key, text);
        }
    }
});
