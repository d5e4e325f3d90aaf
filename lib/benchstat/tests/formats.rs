//! The forms beyond the reference's, the gate, and the worked example of both engines.

use burrow_benchstat::gate::{self, Rule};
use burrow_benchstat::math::correction::Correction;
use burrow_benchstat::read::{self, Content, ReadError, Source};
use burrow_benchstat::v1::{self, Collection, Geomean};
use burrow_benchstat::{Builder, Filter, Layout, Projections, Tables, table};

fn source(label: &str, text: impl Into<Vec<u8>>) -> Source {
    Source { label: label.to_owned(), path: label.to_owned(), content: Content::Bytes(text.into()) }
}

fn tables_of(sources: &[Source]) -> (Tables, Vec<String>) {
    let mut filter = Filter::new("*").unwrap();
    let layout = Layout::new(&Projections::default(), &mut filter).unwrap();
    let mut builder = Builder::new(layout, filter);
    let mut wrong = Vec::new();
    let units = read::read(sources, &mut builder, &read::Options::default(), &mut |error| wrong.push(error.to_string())).unwrap();
    (builder.tables(&units, &table::Options::default()), wrong)
}

fn lines(name: &str, unit: &str, values: &[f64]) -> String {
    values.iter().map(|value| format!("Benchmark{name} 1000 {value} {unit}\n")).collect()
}

/// The worked example of the specification.
const A: [f64; 10] = [100.0, 102.0, 98.0, 101.0, 99.0, 103.0, 97.0, 100.0, 104.0, 96.0];
const B: [f64; 10] = [90.0, 93.0, 91.0, 95.0, 92.0, 94.0, 89.0, 96.0, 90.0, 97.0];
const OLD_SPEED: [f64; 6] = [5.0, 5.0, 6.0, 5.0, 5.0, 7.0];
const NEW_SPEED: [f64; 6] = [6.0, 6.0, 6.0, 7.0, 6.0, 8.0];

fn example() -> [Source; 2] {
    [source("old", lines("A-8", "ns/op", &A) + &lines("C-8", "MB/s", &OLD_SPEED)), source("new", lines("A-8", "ns/op", &B) + &lines("C-8", "MB/s", &NEW_SPEED))]
}

fn text(tables: &Tables) -> String {
    let mut out = Vec::new();
    table::text::write(tables, &mut out, false).unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn the_worked_example() {
    let (tables, _) = tables_of(&example());
    let shown = text(&tables);
    for part in ["100.00n ± 3%", "92.50n ± 4%", "-7.50% (p=0.000 n=10)", "4.768Mi ± 40%", "5.722Mi ± 33%", "+20.00% (p=0.043 n=6)"] {
        assert!(shown.contains(part), "{part}\n{shown}");
    }
    let mut csv = Vec::new();
    table::csv::write(&tables, &mut csv, &mut Vec::new(), table::csv::Style::default()).unwrap();
    let csv = String::from_utf8(csv).unwrap();
    assert!(
        csv.contains("1.0000000000000001e-07,3%,9.250000000000001e-08,4%,-7.50%")
            && csv.contains("geomean,9.999999999999994e-08,,9.249999999999993e-08,,-7.50%"),
        "{csv}"
    );
}

#[test]
fn the_worked_example_by_the_older_engine() {
    let mut collection = Collection::new();
    for (title, times, speeds) in [("old", A.as_slice(), OLD_SPEED.as_slice()), ("new", B.as_slice(), NEW_SPEED.as_slice())] {
        collection.config(title);
        times.iter().for_each(|value| collection.add("", "A-8", "ns/op", *value));
        speeds.iter().for_each(|value| collection.add("", "C-8", "MB/s", *value));
    }
    let shown = v1::text::render(&collection.tables(&v1::Options::default()));
    for part in ["100ns ± 4%", "93ns ± 5%", "-7.30%  (p=0.000 n=10+10)", "5.50MB/s ±27%", "6.50MB/s ±23%", "+18.18%"] {
        assert!(shown.contains(part), "{part}\n{shown}");
    }
    let tables = collection.tables(&v1::Options::default());
    assert!(tables.iter().all(|table| table.rows.iter().all(|row| row.change == v1::Change::Better)), "more speed and less time are both better");
}

/// The files are the Go authors'; see the LICENSE beside them.
#[test]
fn the_older_engine_prints_what_the_reference_s_library_does() {
    let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/golang");
    let read = |name: &str| std::fs::read_to_string(dir.join(name)).unwrap();
    let collection = |files: &[&str]| {
        let mut collection = Collection::new();
        for file in files {
            collection.config(*file);
            let mut labels = Vec::<(String, String)>::new();
            for line in read(file).lines() {
                if let Some((key, value)) = line.split_once(": ").filter(|(key, _)| ["pkg", "goos", "goarch"].contains(key)) {
                    labels.retain(|(known, _)| known != key);
                    labels.push((key.to_owned(), value.to_owned()));
                }
                let group = Collection::group(&["pkg", "goos", "goarch"], |label| labels.iter().find(|(key, _)| key == label).map(|(_, value)| value.as_str()));
                collection.add_line(&group, line);
            }
        }
        collection
    };
    let options = v1::Options { geomean: Geomean::Joined, ..v1::Options::default() };
    assert_eq!(v1::text::render(&collection(&["old.txt", "new.txt"]).tables(&options)), read("v1OldNew.stdout"));
    assert_eq!(v1::text::render(&collection(&["crc-old.txt", "crc-new.txt"]).tables(&options)), read("v1Crc.stdout"));
    assert_eq!(v1::text::render(&collection(&["crc-old.txt", "crc-new.txt", "old.txt"]).tables(&v1::Options::default())), read("v1Three.stdout"));
    // Where its template leaves empty lines is nobody's business.
    let without_empty = |text: &str| text.lines().filter(|line| !line.trim().is_empty()).map(|line| format!("{line}\n")).collect::<String>();
    assert_eq!(v1::html::render(&collection(&["old.txt", "new.txt"]).tables(&options)), without_empty(&read("v1OldNew.html")));
}

#[test]
fn json_has_every_number() {
    let mut sources = example().to_vec();
    sources[1] = source("new", lines("A-8", "ns/op", &B[..3]) + "Benchmark\"<x> 1 +Inf ns/op\n");
    let (tables, _) = tables_of(&sources);
    let report = gate::judge(&tables, &["regression".parse().unwrap()], Correction::Holm);
    let mut out = Vec::new();
    table::json::write(&tables, Some(&report), &mut out).unwrap();
    let json: serde_json::Value = serde_json::from_slice(&out).unwrap();
    let time = &json["tables"][0];
    assert_eq!((time["unit"].as_str(), time["better"].as_str(), time["columns"][1]["fields"][".file"].as_str()), (Some("sec/op"), Some("lower"), Some("new")));
    let cell = &time["rows"][0]["cells"][1];
    assert_eq!((cell["n"].as_u64(), cell["values"].as_array().unwrap().len(), cell["low"].is_null()), (Some(3), 3, true), "an infinite bound is null");
    assert_eq!(cell["vs_base"]["verdict"], "better");
    assert!((cell["vs_base"]["change"].as_f64().unwrap() + 0.09).abs() < 1e-9, "{cell}");
    let odd = time["rows"].as_array().unwrap().iter().find(|row| row["label"] == "\"<x>").unwrap();
    assert!(odd["cells"][0].is_null() && odd["cells"][1]["center"].is_null() && odd["cells"][1].get("vs_base").is_none());
    assert_eq!(json["gate"]["correction"], "holm");
}

#[test]
fn names_cannot_inject_markup() {
    let evil = "<script>alert(1)</script>|`x`";
    let file = format!("note: \"><img src=x>\nBenchmark{evil} 1 5 ns/op\n");
    let (tables, _) = tables_of(&[source(evil, file)]);
    let (mut html, mut markdown) = (Vec::new(), Vec::new());
    table::html::write(&tables, "<title>", &mut html).unwrap();
    table::markdown::write(&tables, &mut markdown).unwrap();
    let (html, markdown) = (String::from_utf8(html).unwrap(), String::from_utf8(markdown).unwrap());
    assert!(!html.contains("<script") && !html.contains("<img") && html.contains("&lt;script&gt;") && html.contains("prefers-color-scheme"), "{html}");
    assert!(markdown.contains("\\<script\\>") && markdown.contains("\\|\\`x\\`"), "{markdown}");
}

#[test]
fn colours_have_words_beside_them() {
    let (tables, _) = tables_of(&example());
    let html = table::html::fragment(&tables.tables[0]);
    assert!(html.contains("<span class=\"better\">\u{2212}7.50% ✓ better</span>"), "{html}");
    let (tables, _) = tables_of(&[example()[1].clone(), example()[0].clone()]);
    assert!(table::html::fragment(&tables.tables[0]).contains("✗ worse"));
}

#[test]
fn a_rule_needs_size_and_significance_in_the_bad_direction() {
    let found = |sources: &[Source], rule: &str| {
        let report = gate::judge(&tables_of(sources).0, &[rule.parse::<Rule>().unwrap()], Correction::default());
        report.rules[0].findings.iter().map(|finding| finding.row.clone()).collect::<Vec<_>>()
    };
    let slow: Vec<f64> = A.iter().map(|x| x * 1.5).collect();
    let old = source("old", lines("T", "ns/op", &A) + &lines("S", "MB/s", &A) + &lines("W", "widgets", &A) + &lines("F", "ns/op", &A[..3]));
    let new = source("new", lines("T", "ns/op", &slow) + &lines("S", "MB/s", &slow) + &lines("W", "widgets", &slow) + &lines("F", "ns/op", &slow[..3]));
    let both = [old, new];
    assert_eq!(found(&both, "regression>2% p<0.01"), ["T"], "three measurements are too few, more speed is no regression");
    assert_eq!(found(&both, "regression>60%"), Vec::<String>::new());
    assert_eq!(found(&both, "improvement"), ["S"]);
    assert_eq!(found(&both, "change>2%"), ["T", "S", "W"]);
    assert_eq!(found(&both, "change unit:MB/s"), ["S"], "units as they were written");
    assert_eq!(found(&[both[0].clone(), source("new", lines("T", "ns/op", &A))], "missing"), ["F", "S", "W"]);
    let exact = |value: &str| source(value, format!("Unit size assume=exact better=lower\nBenchmarkE 1 {value} size\n"));
    assert_eq!(found(&[exact("100"), exact("103")], "regression>2% p<0.01"), ["E"], "an exact difference is one");
    let report = gate::judge(&tables_of(&both).0, &["regression".parse().unwrap()], Correction::default());
    assert_eq!((report.rules[0].judged, report.rules[0].undirected), (3, 1));
    assert!(report.text().contains("better=higher"), "{}", report.text());
}

#[test]
fn one_measurement_against_many_equal_ones_is_no_proof() {
    // The p that tables show is 0 here, because the reference counts the wrong tail.
    let old = source("old", lines("X", "ns/op", &[90.0]));
    let new = source("new", lines("X", "ns/op", &[50.0, 50.0, 50.0, 50.0, 50.0, 50.0, 50.0, 60.0]));
    let (tables, _) = tables_of(&[old, new]);
    assert_eq!(tables.tables[0].rows[0].cells[1].as_ref().unwrap().base.as_ref().unwrap().comparison.p, 0.0);
    let report = gate::judge(&tables, &["improvement p<0.05".parse().unwrap()], Correction::None);
    assert!(!report.failed(), "{}", report.text());
}

#[test]
fn zeros_stay_in_the_table_of_their_unit() {
    let (tables, _) = tables_of(&[source("a", "BenchmarkX 1 0 ns/op\nBenchmarkX 1 5 ns/op\nBenchmarkY 1 0 ns/op\n")]);
    assert_eq!(tables.tables.iter().map(|table| String::from_utf8_lossy(&table.unit).into_owned()).collect::<Vec<_>>(), ["sec/op"]);
}

#[test]
fn files_read_side_by_side_contradict_each_other_in_order() {
    let first = source("a", "Unit x better=higher\nBenchmarkX 1 5 x\n");
    let second = source("b", "Unit x better=lower\nUnit x better=higher\nUnit x better=lower\nBenchmarkX 1 6 x\nBenchmarkX 1 y x\n");
    let (tables, wrong) = tables_of(&[first, second]);
    let said = "metadata better of unit x already set to higher";
    assert_eq!(wrong, [format!("b:1: {said}"), format!("b:3: {said}"), "b:5: parsing measurement: invalid syntax".to_owned()]);
    assert_eq!(tables.tables[0].better, burrow_benchstat::math::sample::Better::Higher);
}

#[test]
fn results_are_the_same_whatever_the_number_of_threads() {
    let sources: Vec<Source> = (0..5)
        .map(|file| {
            source(
                &format!("f{file}"),
                (0..300).map(|i| format!("n: {}\nBenchmarkB{} 1 {} ns/op {} B/op\n", i / 100, (i * 7 + file) % 50, i % 13, i)).collect::<String>(),
            )
        })
        .collect();
    let with = |threads: usize| {
        let mut filter = Filter::new("*").unwrap();
        let layout = Layout::new(&Projections::default(), &mut filter).unwrap();
        let mut builder = Builder::new(layout, filter);
        let threads = std::num::NonZero::new(threads);
        let units = read::read(&sources, &mut builder, &read::Options { threads, ..read::Options::default() }, &mut |_| {}).unwrap();
        text(&builder.tables(&units, &table::Options { threads, ..table::Options::default() }))
    };
    let alone = with(1);
    assert!(alone.lines().count() > 300, "{alone}");
    assert_eq!((with(2), with(5)), (alone.clone(), alone));
}

#[test]
fn a_line_that_is_too_long_is_skipped_or_the_end() {
    let long = [b"BenchmarkA 1 5 ns/op\n".as_slice(), &vec![b'x'; 70_000], b"\nBenchmarkA 1 6 ns/op\n"].concat();
    let (tables, wrong) = tables_of(&[source("a", long.clone())]);
    assert_eq!(tables.tables[0].rows[0].cells[0].as_ref().unwrap().sample.len(), 2);
    assert_eq!(wrong, ["a:2: line is longer than 65535 bytes; it was skipped"]);
    let mut filter = Filter::new("*").unwrap();
    let mut builder = Builder::new(Layout::new(&Projections::default(), &mut filter).unwrap(), filter);
    let options = read::Options { fatal_long_lines: true, ..read::Options::default() };
    let error = read::read(&[source("a", long)], &mut builder, &options, &mut |_| {}).unwrap_err();
    assert!(matches!(error, ReadError::LongLine { line: 1, .. }) && error.to_string() == "a:1: bufio.Scanner: token too long", "{error}");
}
