//! What a reader keeps has a limit, and what is beyond it is said, with its line.

use protocol_benchfmt::store::{self, Labels};
use protocol_benchfmt::{Fault, Limits, Reader, Record, Stream};

fn faults(text: &[u8], limits: Limits) -> Vec<(u64, String)> {
    let mut reader = Reader::with_limits(text, "f", limits);
    let mut faults = Vec::new();
    while let Some(record) = reader.next() {
        if let Record::Error(error) = record {
            faults.push((error.line, error.fault.to_string()));
        }
    }
    faults
}

#[test]
fn a_line_of_a_gigabyte_costs_an_error() {
    let mut stream = Stream::new("big.txt");
    let mut said = Vec::new();
    let mut sink = |record: Record<'_>| {
        said.push(match record {
            Record::Error(error) => error.to_string(),
            Record::Result(result) => format!("{} at {}", result.name, result.line),
            Record::Unit(_) => unreachable!("there is none"),
        });
    };
    stream.push(b"BenchmarkA 1 1 x\nBenchmark", &mut sink);
    let piece = vec![b'x'; 1 << 20];
    for _ in 0..1024 {
        stream.push(&piece, &mut sink);
    }
    stream.push(b"\nBenchmarkB 1 1 x\n", &mut sink);
    stream.push(&piece, &mut sink);
    stream.finish(&mut sink);
    assert_eq!(
        said,
        ["A at 1", "big.txt:2: line is longer than 65535 bytes; it was skipped", "B at 3", "big.txt:4: line is longer than 65535 bytes; it was skipped"]
    );
    assert_eq!(stream.long_lines(), 2);
}

#[test]
fn the_longest_line_is_the_references() {
    let line = |length: usize| format!("BenchmarkA 1 1 x{}\n", " ".repeat(length - 16)).into_bytes();
    assert_eq!(faults(&line(65_535), Limits::default()), []);
    assert_eq!(faults(&line(65_536), Limits::default()), [(1, Fault::LongLine { limit: 65_535 }.to_string())]);
}

#[test]
fn a_million_keys_are_refused_from_the_limit_on() {
    let text: String = (0..1_000_000).map(|n| format!("key{n}: value\n")).chain(["BenchmarkA 1 1 x\n".to_owned()]).collect();
    let limits = Limits { config: 1000, ..Limits::default() };
    let (mut reader, mut refused, mut keys) = (Reader::with_limits(text.as_bytes(), "f", limits), 0, 0);
    while let Some(record) = reader.next() {
        match record {
            Record::Error(error) => refused += usize::from(error.fault == Fault::LargeConfig { limit: 1000 }),
            Record::Result(result) => keys = result.config.entries().len(),
            Record::Unit(_) => {}
        }
    }
    assert_eq!(keys + refused, 1_000_000);
    assert!((80..120).contains(&keys), "{keys}");
}

#[test]
fn many_units_are_refused_from_the_limit_on() {
    let text: String = (0..100).map(|n| format!("BenchmarkA 1 1 unit{n:04}\nUnit other{n:04} better=lower\n")).collect();
    let said = faults(text.as_bytes(), Limits { units: 200, ..Limits::default() });
    assert!(said.len() > 150, "{}", said.len());
    assert!(said.iter().all(|(_, said)| said == "units are more than 200 bytes together; the line was skipped"), "{said:?}");
}

#[test]
fn the_store_keeps_its_labels_permanent_and_says_what_it_skips() {
    let object = b"by: me\nupload: 1\n\nby: evil\nk: v\nBenchmarkA 1\nupload: 2\nBenchmarkB 2\n";
    let mut said = Vec::new();
    let mut reader = store::Reader::stored();
    reader.push(object, &mut |record| said.push(shown(&record)));
    reader.push(&vec![b'x'; 100_000], &mut |record| said.push(shown(&record)));
    reader.push(b"\nUnit x better=higher", &mut |record| said.push(shown(&record)));
    reader.finish(&mut |record| said.push(shown(&record)));
    assert_eq!(said, ["by refused at 4", "A by=me k=v upload=1", "upload refused at 7", "B by=me k=v upload=1", "long 9", "Unit x better=higher"]);
    assert_eq!(reader.lines(), 10);
    // Without an empty line first, nothing is a header.
    let mut reader = store::Reader::stored();
    let mut said = Vec::new();
    reader.push(b"by: me\nPASS\n\nby: you\nBenchmarkA 1\n", &mut |record| said.push(shown(&record)));
    assert_eq!(said, ["A by=you"]);
    let limits = Limits { config: 10, ..Limits::default() };
    let mut reader = store::Reader::with_limits(Labels::new(), limits);
    let mut said = Vec::new();
    reader.push(b"a: 12345\nb: 12345\nBenchmarkA 1\n", &mut |record| said.push(shown(&record)));
    assert_eq!(said, ["large 2", "A a=12345"]);
}

fn shown(record: &store::Record<'_>) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    match record {
        store::Record::Result(result) => result.labels.iter().fold(text(result.name), |all, (key, value)| format!("{all} {}={}", text(key), text(value))),
        store::Record::Unit { line, .. } => text(line),
        store::Record::Refused { key, number } => format!("{} refused at {number}", text(key)),
        store::Record::LongLine { number } => format!("long {number}"),
        store::Record::LargeLabels { number } => format!("large {number}"),
    }
}
