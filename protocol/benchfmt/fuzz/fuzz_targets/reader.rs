//! The reader: no panic; in pieces the same as whole; what is written reads back as the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use protocol_benchfmt::{Limits, Reader, Record, Stream, Writer};

const LIMITS: Limits = Limits { line: 200, config: 300, units: 300 };

fn said(record: &Record<'_>) -> String {
    match record {
        Record::Result(result) => {
            let values: Vec<_> = result.measurements().map(|found| (found.original.to_bits(), found.original_unit.to_vec())).collect();
            format!("{} {:?} {} {values:?} {:?}", result.line, result.name.full(), result.iters, result.config.entries())
        }
        Record::Unit(unit) => format!("{unit:?}"),
        Record::Error(error) => error.to_string(),
    }
}

fuzz_target!(|data: &[u8]| {
    let (size, text) = data.split_first().map_or((1, data), |(size, text)| (usize::from(*size).max(1), text));
    let (mut whole, mut written, mut writer, mut results) = (Vec::new(), Vec::new(), Writer::new(), 0);
    let mut reader = Reader::with_limits(text, "f", LIMITS);
    while let Some(record) = reader.next() {
        whole.push(said(&record));
        writer.record(&record, &mut written);
        if let Record::Result(result) = &record {
            let (base, parts) = result.name.parts();
            assert_eq!([base, &parts.collect::<Vec<_>>().concat()].concat(), result.name.full());
            results += 1;
        }
    }
    let (mut pieces, mut stream) = (Vec::new(), Stream::with_limits("f", LIMITS));
    for piece in text.chunks(size) {
        stream.push(piece, &mut |record| pieces.push(said(&record)));
    }
    stream.finish(&mut |record| pieces.push(said(&record)));
    assert_eq!(whole, pieces);
    let (mut again, mut count) = (Reader::new(&written, "w"), 0);
    while let Some(record) = again.next() {
        count += usize::from(matches!(record, Record::Result(_)));
    }
    assert_eq!(count, results);
});
