//! Any bytes as stored rows.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| burrow_perfstore::chunk::read_anything(data));
