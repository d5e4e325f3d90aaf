//! Against the Go project's own reader, writer, scaler and store reader: `data/reference.bin.gz` holds files made at random from fragments that are likely to be
//! read differently, and what the packages of `golang.org/x/perf` (September 2026) made of each.
//!
//! A case is six byte strings: the file; its records; what the writer makes of them; its numbers on scales; the store's records; and what the store prints.
//! `cargo run -p protocol-benchfmt --example oracle -- FILE` compares fresh ones.

mod oracle;

use std::io::Read as _;

use oracle::Case;

const CASES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/reference.bin.gz");

fn cases() -> Vec<Case> {
    let mut bytes = Vec::new();
    flate2::read::GzDecoder::new(std::fs::File::open(CASES).unwrap()).read_to_end(&mut bytes).unwrap();
    let cases = oracle::cases(&bytes);
    assert!(cases.len() >= 400, "{} cases", cases.len());
    cases
}

#[test]
fn records_writing_and_scales_are_the_references() {
    oracle::whole(&cases());
}

/// The same in pieces, cut anywhere.
#[test]
fn pieces_are_read_as_the_whole() {
    oracle::pieces(&cases());
}

#[test]
fn the_store_reads_and_prints_as_the_reference() {
    oracle::store(&cases());
}
