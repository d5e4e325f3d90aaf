//! Real reports of other tools as benchmark text.

use protocol_benchfmt::adapters::{AdapterError, CriterionFile, Format, convert, criterion_folder, detect};
use protocol_benchfmt::{Reader, Record};

const CRITERION: &[u8] = include_bytes!("data/reports/criterion.txt");
const GOOGLE: &[u8] = include_bytes!("data/reports/google.json");
const HYPERFINE: &[u8] = include_bytes!("data/reports/hyperfine.json");
const PYTEST: &[u8] = include_bytes!("data/reports/pytest.json");

/// Converts, checks that the result is benchmark text without a mistake, and gives it back.
fn converted(expected: Format, report: &[u8]) -> String {
    assert_eq!(detect(report), Some(expected));
    let mut out = Vec::new();
    let converted = convert(expected, report, &mut out).unwrap();
    let (mut reader, mut lines) = (Reader::new(&out, "out"), 0);
    while let Some(record) = reader.next() {
        match record {
            Record::Result(_) => lines += 1,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(lines, converted.lines);
    String::from_utf8(out).unwrap()
}

fn lines(text: &str) -> Vec<&str> {
    text.lines().collect()
}

#[test]
fn google_benchmark() {
    let text = converted(Format::GoogleBenchmark, GOOGLE);
    let found = lines(&text);
    assert_eq!(found[..5], ["host: host1", "cpus: 2", "build-type: debug", "pkg: g", ""]);
    // Two arguments, twice each; aggregates and the benchmark that failed are left out.
    assert_eq!(found.len(), 9);
    assert_eq!(found[5], "BenchmarkSort<int>/n=8 528364 55.38118986184711 ns/op 27.017607179898707 cpu-ns/op 1.1844128085409515e+09 B/s 3 depth");
    let failed = br#"{"context": {}, "benchmarks": [{"name": "BM_X", "run_type": "iteration", "error_occurred": true, "error_message": "no file"}]}"#;
    let mut out = Vec::new();
    assert!(matches!(convert(Format::GoogleBenchmark, failed, &mut out), Err(AdapterError::Empty { .. })));
    assert!(out.is_empty());
}

#[test]
fn hyperfine() {
    let text = converted(Format::Hyperfine, HYPERFINE);
    let found = lines(&text);
    assert_eq!(found.len(), 16, "four commands, four runs each");
    assert_eq!(found[0], "BenchmarkSleep_0.001/n=1 1 0.00450071366 sec/op 0.0011101699999999997 user-sec/op 0 sys-sec/op");
    assert_eq!(found[1], "BenchmarkSleep_0.001/n=1 1 0.00172386666 sec/op");
    assert!(found[4].starts_with("BenchmarkLs_-l__usr/n=1 1 "), "{}", found[4]);
}

#[test]
fn pytest_benchmark() {
    let text = converted(Format::PytestBenchmark, PYTEST);
    let found = lines(&text);
    assert_eq!(found[..7], ["os: Linux", "arch: x86_64", "cpu: AMD EPYC", "python: 3.11.7", "host: host1", "pkg: test_s.py", ""]);
    assert_eq!(found[7], "BenchmarkSum 10 1.269e-05 sec/op");
    assert_eq!(found[16], "BenchmarkSort/how=a_b/n=20 100 3.967e-07 sec/op");
    assert_eq!(found.len(), 20);
    let without = br#"{"machine_info": {}, "benchmarks": [{"name": "test_a[1-x y]", "fullname": "t.py::test_a[1-x y]", "params": null, "stats": {"median": 0.5, "iterations": 3}}]}"#;
    assert_eq!(converted(Format::PytestBenchmark, without), "pkg: t.py\n\nBenchmarkA/1-x_y 3 0.5 sec/op\n");
}

#[test]
fn asv() {
    let report = br#"{"commit_hash": "abc", "params": {"os": "Linux 6", "machine": "host1"},
        "result_columns": ["result", "params", "number", "samples"],
        "results": {"mod.Suite.time_sort": [[1.5, null, 2.5, 3.5], [["1", "2"], ["'a'", "'b c'"]], [10, 10, 10, 10], [[1.25, 1.75], null, null, null]],
                    "mod.track_size": [[42], []]}}"#;
    assert_eq!(
        lines(&converted(Format::Asv, report)),
        [
            "os: Linux 6",
            "host: host1",
            "",
            "BenchmarkMod.Suite.sort/1/a 10 1.25 sec/op",
            "BenchmarkMod.Suite.sort/1/a 10 1.75 sec/op",
            "BenchmarkMod.Suite.sort/2/a 10 2.5 sec/op",
            "BenchmarkMod.Suite.sort/2/b_c 10 3.5 sec/op",
            "BenchmarkMod.size 1 42 value",
        ]
    );
}

#[test]
fn criterion_as_printed() {
    let text = converted(Format::CriterionText, CRITERION);
    let found = lines(&text);
    let names: Vec<_> = found.iter().map(|line| line.split(' ').next().unwrap()).collect();
    assert_eq!(names, ["BenchmarkSort/quick_and_stable/10", "BenchmarkSort/quick_and_stable/1000", "BenchmarkF/sum"]);
    for (line, values) in found.iter().zip([2, 2, 1]) {
        assert_eq!(line.split(' ').count(), 2 + 2 * values, "{line}");
    }
    assert!(found[0].contains(" ns/op ") && found[0].ends_with(" B/s"), "{}", found[0]);
    let coloured = "\x1b[2K\rBenchmarking a b: Warming up\ra b                     time:   [\x1b[2m1.0000 ms\x1b[0m 1.5000 ms 2.0000 ms]\n";
    assert_eq!(converted(Format::CriterionText, coloured.as_bytes()), "BenchmarkA_b 1 1.5e+06 ns/op\n");
}

#[test]
fn criterion_as_kept() {
    let files = [
        ("sort/10/new/benchmark.json", r#"{"full_id": "sort/quick and stable/10", "throughput": {"Bytes": 80}}"#),
        ("sort/10/new/sample.json", r#"{"sampling_mode": "Linear", "iters": [10.0, 20.0], "times": [1000.0, 4000.0]}"#),
        ("sort/10/base/sample.json", r#"{"iters": [1.0], "times": [1.0]}"#),
        ("sort/10/change/estimates.json", "{}"),
        ("f/new/estimates.json", r#"{"mean": {"point_estimate": 7.5}, "slope": null}"#),
        ("report/index.html", "<html>"),
    ];
    let files = files.map(|(path, content)| CriterionFile { path, content: content.as_bytes() });
    let mut out = Vec::new();
    assert_eq!(criterion_folder(&files, &mut out).unwrap().lines, 3);
    let text = String::from_utf8(out).unwrap();
    assert_eq!(
        lines(&text),
        ["BenchmarkF 1 7.5 ns/op", "BenchmarkSort/quick_and_stable/10 10 100 ns/op 8e+08 B/s", "BenchmarkSort/quick_and_stable/10 20 200 ns/op 4e+08 B/s"]
    );
    let broken = [CriterionFile { path: "f/new/sample.json", content: b"{" }];
    assert!(matches!(criterion_folder(&broken, &mut Vec::new()), Err(AdapterError::Json { .. })));
}

#[test]
fn criterion_messages() {
    let report = br#"{"reason":"benchmark-complete","id":"f sum","iteration_count":[2,4],"measured_values":[10.0,24.0],"unit":"us","throughput":[{"per_iteration":3,"unit":"elements"}]}
{"reason":"group-complete","group_name":"f","benchmarks":["f sum"]}
"#;
    let text = converted(Format::CriterionMessages, report);
    assert_eq!(lines(&text), ["BenchmarkF_sum 2 5000 ns/op 600000 elem/s", "BenchmarkF_sum 4 6000 ns/op 500000 elem/s"]);
}

#[test]
fn a_log_is_left_with_what_means_something() {
    let log = b"building\r\ngoos: linux\nUnit x better=higher\n=== RUN\n\n\nBenchmarkA-8 10 5 ns/op\nBenchmarkB\nBenchmark broken\nPASS\n";
    assert_eq!(converted(Format::Benchmark, b"goos: linux\nBenchmarkA 1 1 x\nok\n"), "goos: linux\nBenchmarkA 1 1 x\n");
    let mut out = Vec::new();
    assert_eq!(convert(Format::Benchmark, log, &mut out).unwrap().lines, 1);
    assert_eq!(String::from_utf8(out).unwrap(), "goos: linux\nUnit x better=higher\n\nBenchmarkA-8 10 5 ns/op\n");
}

#[test]
fn what_is_no_report_is_told() {
    for nothing in ["", "{", "[]", "{}", "hello", "{\"results\": 3, \"reason\"}", "Benchmarking x: 3", "time: [1 2 3]"] {
        assert_eq!(detect(nothing.as_bytes()), None, "{nothing}");
    }
    let mut out = b"kept".to_vec();
    for format in Format::ALL {
        assert!(convert(format, b"{\"results\": 3}", &mut out).is_err(), "{}", format.name());
        assert_eq!(Format::by_name(format.name()), Some(format));
    }
    assert_eq!(out, b"kept");
}
