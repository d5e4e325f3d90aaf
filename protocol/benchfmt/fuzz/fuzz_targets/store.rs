//! The store's reader and printer: no panic; what is printed reads back as the same records.
#![no_main]

use libfuzzer_sys::fuzz_target;
use protocol_benchfmt::store::{Labels, Printer, Reader, Record, name_labels};

fn records(mut reader: Reader, text: &[u8], size: usize) -> Vec<(Labels, Vec<u8>)> {
    let mut records = Vec::new();
    let mut sink = |record: Record<'_>| {
        if let Record::Result(result) = record {
            let _ = name_labels(result.name);
            records.push((result.labels.clone(), result.line.to_vec()));
        }
    };
    for piece in text.chunks(size) {
        reader.push(piece, &mut sink);
    }
    reader.finish(&mut sink);
    records
}

fuzz_target!(|data: &[u8]| {
    let (size, text) = data.split_first().map_or((1, data), |(size, text)| (usize::from(*size).max(1), text));
    let permanent: Labels = [("upload", "1")].into_iter().collect();
    let _ = records(Reader::stored(), text, size);
    let whole = records(Reader::new(permanent.clone()), text, usize::MAX);
    assert_eq!(whole, records(Reader::new(permanent), text, size));
    // One carriage return at the end of a line belongs to the line's end: of two, printing loses one more, as the reference does.
    let returns = |text: &[u8]| text.ends_with(b"\r");
    if whole.iter().any(|(labels, line)| returns(line) || labels.iter().any(|(_, value)| returns(value))) {
        return;
    }
    let (mut printer, mut out) = (Printer::new(), Vec::new());
    for (labels, line) in &whole {
        assert_eq!(labels.get(b"upload"), Some(&b"1"[..]));
        printer.print(labels, &[line], &mut out);
    }
    assert_eq!(whole, records(Reader::new(Labels::new()), &out, usize::MAX));
});
