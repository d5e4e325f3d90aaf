//! The comparison itself, for the recorded cases and for fresh ones.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use protocol_benchfmt::store::{self, Labels, Printer};
use protocol_benchfmt::{Assumption, Better, Class, Reader, Record, Scaler, Stream, Writer, format_float, scale};

/// What the packages of the reference made of a file.
pub(crate) struct Case {
    pub(crate) file: Vec<u8>,
    pub(crate) records: String,
    pub(crate) written: Vec<u8>,
    pub(crate) scaled: String,
    pub(crate) stored: String,
    pub(crate) printed: Vec<u8>,
}

/// Reads cases, each six byte strings behind their lengths (32 bits, little-endian).
pub(crate) fn cases(mut rest: &[u8]) -> Vec<Case> {
    let mut next = move || {
        if rest.is_empty() {
            return None;
        }
        let (length, behind) = rest.split_first_chunk::<4>().unwrap();
        let (found, behind) = behind.split_at(u32::from_le_bytes(*length) as usize);
        rest = behind;
        Some(found.to_vec())
    };
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    let mut cases = Vec::new();
    while let Some(file) = next() {
        let mut part = || next().unwrap();
        cases.push(Case { file, records: text(part()), written: part(), scaled: text(part()), stored: text(part()), printed: part() });
    }
    cases
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

fn bits(number: f64) -> String {
    if number.is_nan() { "nan".into() } else { format!("{:016x}", number.to_bits()) }
}

/// What the reference's test program says of a record.
fn said(record: &Record<'_>, out: &mut String, scaled: &mut String) {
    match record {
        Record::Result(result) => {
            let (base, parts) = result.name.parts();
            write!(out, "R {} {} {} {} {}", result.line, result.iters, hex(result.name.full()), hex(base), hex(result.name.base())).unwrap();
            for part in parts {
                write!(out, " {}", hex(part)).unwrap();
            }
            out.push('\n');
            let mut numbers = Vec::new();
            for value in result.values {
                let (number, unit) = value.as_the_reference();
                numbers.push(number);
                let (text, original) = (result.units.text(unit), result.units.text(value.original_unit));
                writeln!(out, "V {} {} {} {}", bits(number), hex(text), bits(value.original), hex(original)).unwrap();
                let class = if protocol_benchfmt::unit::class(text) == Class::Binary { "Binary" } else { "Decimal" };
                let scales = (scale(number, Class::Decimal), scale(number, Class::Binary));
                writeln!(scaled, "{class} {} 0 {} {}", format_float(number), scales.0, scales.1).unwrap();
            }
            for class in [Class::Decimal, Class::Binary] {
                let scaler = Scaler::common(numbers.iter().copied(), class);
                for number in &numbers {
                    writeln!(scaled, "{} {}", scaler.format(*number), Scaler::EXACT.format(*number)).unwrap();
                }
            }
            for entry in result.config.entries() {
                writeln!(out, "C {} {} {}", hex(entry.key()), hex(entry.value()), entry.from_file()).unwrap();
            }
        }
        Record::Unit(unit) => {
            writeln!(out, "U {} {} {} {} {}", unit.line, hex(&unit.unit), hex(&unit.original_unit), hex(&unit.key), hex(&unit.value)).unwrap();
        }
        // Of bad bytes in a message only that there are some is compared.
        Record::Error(error) => writeln!(out, "E {}", error.to_string().replace('\u{fffd}', "?")).unwrap(),
    }
}

fn units(units: &protocol_benchfmt::Units) -> String {
    let mut all: Vec<&[u8]> = units.all_metadata().iter().map(|metadata| &*metadata.unit).collect();
    all.extend([&b"ns/op"[..], b"sec/op", b"MB/s", b"B/op"]);
    all.sort_unstable();
    all.into_iter().fold(String::new(), |mut out, unit| {
        let better = match units.better(unit) {
            Better::Lower => -1,
            Better::Unknown => 0,
            Better::Higher => 1,
        };
        let assumed = if units.assumption(unit) == Assumption::Exact { "exact" } else { "nothing" };
        writeln!(out, "B {} {better} {assumed}", hex(unit)).unwrap();
        out
    })
}

#[track_caller]
fn same(found: &str, expected: &str, case: usize, file: &[u8]) {
    if let Some((at, (ours, theirs))) = found.lines().zip(expected.lines()).enumerate().find(|(_, (ours, theirs))| squeezed(ours) != squeezed(theirs)) {
        panic!("case {case}, line {at}:\n  ours   {ours}\n  theirs {theirs}\n{}", String::from_utf8_lossy(file));
    }
    assert_eq!(found.lines().count(), expected.lines().count(), "case {case}:\n{}", String::from_utf8_lossy(file));
}

/// Runs of `?` count as one: how many bytes one bad sequence is differs.
fn squeezed(line: &str) -> String {
    let mut line = line.to_owned();
    while line.contains("??") {
        line = line.replace("??", "?");
    }
    line
}

const INTERNAL: [(&str, &str); 2] = [(".file", "L"), ("toolkey", "t")];

/// Records, writing and scales of the reader.
pub(crate) fn whole(cases: &[Case]) {
    for (number, case) in cases.iter().enumerate() {
        let mut reader = Reader::new(&[], "f");
        reader.begin(&case.file, "f", &INTERNAL);
        let (mut records, mut scaled, mut written, mut writer) = (String::new(), String::new(), Vec::new(), Writer::new());
        while let Some(record) = reader.next() {
            said(&record, &mut records, &mut scaled);
            match &record {
                // The reference writes zeros in the unit that it reads them in, which is the written one.
                Record::Result(result) => writer.line(result, &mut written),
                other => writer.record(other, &mut written),
            }
        }
        records.push_str(&units(reader.units()));
        same(&records, &case.records, number, &case.file);
        same(&scaled, &case.scaled, number, &case.file);
        assert_eq!(String::from_utf8_lossy(&written), String::from_utf8_lossy(&case.written), "case {number}");
    }
}

/// The same in pieces, cut anywhere.
pub(crate) fn pieces(cases: &[Case]) {
    for (number, case) in cases.iter().enumerate() {
        for size in [1, 2 + number % 7, 100] {
            let mut stream = Stream::new("f");
            stream.begin("f", &INTERNAL);
            let (mut records, mut scaled) = (String::new(), String::new());
            let mut sink = |record: Record<'_>| said(&record, &mut records, &mut scaled);
            for piece in case.file.chunks(size) {
                stream.push(piece, &mut sink);
            }
            stream.finish(&mut sink);
            records.push_str(&units(stream.units()));
            same(&records, &case.records, number, &case.file);
        }
    }
}

/// What the store reads and prints.
pub(crate) fn store(cases: &[Case]) {
    let permanent: Labels = [("upload", "U"), ("by", "me")].into_iter().collect();
    for (number, case) in cases.iter().enumerate() {
        let mut reader = store::Reader::new(permanent.clone());
        let (mut stored, mut printed, mut printer) = (String::new(), Vec::new(), Printer::new());
        let mut sink = |record: store::Record<'_>| {
            let store::Record::Result(result) = record else { return };
            writeln!(stored, "{} {}", result.number, hex(result.line)).unwrap();
            for (key, value) in result.labels.iter() {
                writeln!(stored, "L {} {}", hex(key), hex(value)).unwrap();
            }
            let names: BTreeSet<_> = store::name_labels(result.name).into_iter().collect();
            for (key, value) in names {
                writeln!(stored, "N {} {}", hex(&key), hex(&value)).unwrap();
            }
            printer.print(result.labels, &[result.line], &mut printed);
        };
        for piece in case.file.chunks(64) {
            reader.push(piece, &mut sink);
        }
        reader.finish(&mut sink);
        // An empty name has the label "name" in the reference only if it is not the first one of a file.
        let without = |text: &str| text.replace("N 6e616d65 \n", "");
        same(&without(&stored), &without(&case.stored), number, &case.file);
        assert_eq!(String::from_utf8_lossy(&printed), String::from_utf8_lossy(&case.printed), "case {number}");
    }
}
