//! The messages: no panic, and what was understood means the same when it is written again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use protocol_mutlog::{schema, view};

fuzz_target!(|data: &[u8]| {
    let Ok(mutation) = view::Mutation::decode(data) else { return };
    let owned = schema::Mutation::from(mutation);
    let bytes = owned.encode();
    let again = view::Mutation::decode(&bytes).expect("what is written can be read");
    assert_eq!(schema::Mutation::from(again), owned);
});
