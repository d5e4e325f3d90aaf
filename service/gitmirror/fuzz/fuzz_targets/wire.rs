//! What an HTTP server says of its references: no panic, and names that git would accept only.
#![no_main]

use burrow_gitmirror::rules::well_formed;
use burrow_gitmirror::wire::{Greeting, greeting, listed};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let told = match greeting(data) {
        Ok(Greeting::References(found)) => Some(found),
        _ => None,
    };
    for found in told.into_iter().chain(listed(data)) {
        assert!(found.refs.keys().chain(&found.head).all(|name| well_formed(name) && name.starts_with("refs/")));
    }
});
