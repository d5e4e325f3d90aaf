//! Records from anybody: no panic, nothing half applied, every accessor answers, and reading all at once comes to the same number of records.
#![no_main]

use burrow_maintner::{Corpus, Part, Reading, dump};
use libfuzzer_sys::fuzz_target;
use protocol_mutlog::append_record;

fuzz_target!(|data: &[u8]| {
    // Payloads of two bytes of length each.
    let mut rest = data;
    let mut log = Vec::new();
    let mut corpus = Corpus::new();
    while let Some((len, more)) = rest.split_first_chunk::<2>() {
        let (payload, more) = more.split_at(usize::from(u16::from_le_bytes(*len)).min(more.len()));
        rest = more;
        let offset = log.len() as u64;
        let mut record = Vec::new();
        append_record(&mut record, offset, payload);
        let before = corpus.view().records();
        match corpus.append(&Part::memory("fuzz", offset, &record[..])) {
            Ok(()) => log.extend_from_slice(&record),
            Err(_) => assert_eq!(corpus.view().records(), before),
        }
    }
    let whole = Corpus::load(&[Part::memory("fuzz", 0, &log[..])], 1, &|_| {}).expect("every record was taken before");
    assert_eq!(whole.view().records(), corpus.view().records());
    for reading in [Reading::Ours, Reading::Reference] {
        dump::dump(&corpus.view(), reading, &mut std::io::sink()).expect("a sink takes everything");
        dump::dump(&whole.view(), reading, &mut std::io::sink()).expect("a sink takes everything");
    }
});
