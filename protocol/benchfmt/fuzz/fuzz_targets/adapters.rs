//! Reports of other tools: no panic; what comes out is benchmark text without a mistake.
#![no_main]

use libfuzzer_sys::fuzz_target;
use protocol_benchfmt::adapters::{CriterionFile, Format, convert, criterion_folder, detect};
use protocol_benchfmt::{Reader, Record};

fn check(out: &[u8], lines: usize) {
    let (mut reader, mut found) = (Reader::new(out, "out"), 0);
    while let Some(record) = reader.next() {
        match record {
            Record::Result(_) => found += 1,
            Record::Unit(_) => {}
            Record::Error(error) => panic!("{error}"),
        }
    }
    assert_eq!(found, lines);
}

fuzz_target!(|data: &[u8]| {
    let _ = detect(data);
    // Text that is copied keeps its mistakes in `Unit` lines.
    for format in Format::ALL.into_iter().filter(|format| *format != Format::Benchmark) {
        let mut out = Vec::new();
        match convert(format, data, &mut out) {
            Ok(converted) => check(&out, converted.lines),
            Err(_) => assert!(out.is_empty()),
        }
    }
    let _ = convert(Format::Benchmark, data, &mut Vec::new());
    let mut out = Vec::new();
    let files = ["a/new/benchmark.json", "b/new/sample.json", "c/new/estimates.json"].map(|path| CriterionFile { path, content: data });
    if let Ok(converted) = criterion_folder(&files, &mut out) {
        check(&out, converted.lines);
    }
});
