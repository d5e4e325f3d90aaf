//! `burrow benchstat` as a person and a script use it: the examples of `docs/benchstat.md`, exit statuses, pipes.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// The page, also when this test is built elsewhere.
fn page() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/benchstat.md")
}

fn burrow(dir: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_burrow")).args(args).current_dir(dir).env_remove("RUST_LOG").output().unwrap()
}

/// Words of a command line, with quotes.
fn words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quote = None;
    for c in line.chars() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (None, '"' | '\'') => quote = Some(c),
            (None, ' ') => words.push(String::new()),
            _ => words.last_mut().unwrap().push(c),
        }
    }
    words
}

/// Blocks of a page: the words behind the fence, and the text.
fn blocks(page: &str) -> Vec<(String, String)> {
    let mut blocks = Vec::new();
    let mut open: Option<(String, String)> = None;
    for line in page.lines() {
        match (line.strip_prefix("```"), &mut open) {
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (Some(head), None) => open = Some((head.to_owned(), String::new())),
            (None, Some((_, text))) => *text += &format!("{line}\n"),
            (None, None) => {}
        }
    }
    blocks
}

/// Shown are both outputs, standard output first.
fn shown(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn the_examples_of_the_page_are_true() {
    let page = std::fs::read_to_string(page()).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let mut ran = 0;
    for (head, text) in blocks(&page) {
        if let Some(name) = head.strip_prefix("text file=") {
            std::fs::write(dir.path().join(name), &text).unwrap();
        } else if let Some(rest) = head.strip_prefix("console") {
            let status: i32 = rest.trim().strip_prefix("status=").map_or(0, |status| status.parse().unwrap());
            let (command, expected) = text.split_once('\n').unwrap();
            let words = words(command.strip_prefix("$ burrow ").unwrap());
            let output = burrow(dir.path(), &words.iter().map(String::as_str).collect::<Vec<_>>());
            assert_eq!(shown(&output), expected, "{command}");
            assert_eq!(output.status.code(), Some(status), "{command}");
            ran += 1;
        }
    }
    assert!(ran >= 7, "{ran} examples");
}

fn results(name: &str, values: &[u32]) -> String {
    values.iter().map(|value| format!("Benchmark{name} 10 {value} ns/op\n")).collect()
}

#[test]
fn statuses_tell_scripts_what_happened() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
    write("a", &results("X", &[100, 101, 102, 103, 104, 105, 106, 107]));
    write("b", &results("X", &[110, 111, 112, 113, 114, 115, 116, 117]));
    write("bad", "BenchmarkX 10 x ns/op\nBenchmarkX 10 5 ns/op\n");
    let status = |args: &[&str]| burrow(dir.path(), &[&["benchstat"], args].concat()).status.code().unwrap();
    assert_eq!(status(&["a", "b"]), 0);
    assert_eq!(status(&["--fail-on", "regression>2% p<0.01", "a", "b"]), 1);
    assert_eq!(status(&["--fail-on", "regression>20%", "a", "b"]), 0, "significant but small");
    assert_eq!(status(&["--fail-on", "regression", "b", "a"]), 0, "an improvement");
    assert_eq!(status(&["--fail-on", "improvement>2%", "b", "a"]), 1);
    assert_eq!(status(&["--fail-on", "regression>2%", "--fail-on", "improvement", "a", "b"]), 1, "one of two rules");
    assert_eq!(status(&["--fail-on", "regression>2%", "a"]), 3, "there is nothing to judge");
    assert_eq!(status(&["--fail-on", "regresion>2%", "a", "b"]), 2);
    assert_eq!(status(&["nosuch"]), 3);
    assert_eq!(status(&["-compat", "nosuch"]), 0, "as the reference");
    assert_eq!(status(&["bad"]), 0);
    assert_eq!(status(&["--strict", "bad"]), 3);
    assert_eq!(status(&[]), 2);
    assert_eq!(status(&["-alpha", "2", "a"]), 2);
    assert_eq!(status(&["--engine", "v1", "a", "b"]), 0);
}

#[test]
fn identical_code_does_not_trip_the_gate() {
    // Forty benchmarks that differ by noise only: uncorrected, some have p ≤ 0.05.
    let mut state = 7_u64;
    let mut noise = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        1000 + (state >> 54) as u32 % 60
    };
    let mut suite = || (0..40).map(|i| results(&format!("B{i}"), &(0..10).map(|_| noise()).collect::<Vec<_>>())).collect::<String>();
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("a"), suite()).unwrap();
    std::fs::write(dir.path().join("b"), suite()).unwrap();
    let run = |correction: &str| burrow(dir.path(), &["benchstat", "--fail-on", "change", "--correction", correction, "a", "b"]).status.code();
    assert_eq!((run("none"), run("bh"), run("holm")), (Some(1), Some(0), Some(0)));
}

#[test]
fn standard_input_and_labels() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("a"), results("X", &[100])).unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_burrow"))
        .args(["benchstat", "-format", "csv", "old=a", "new=-"])
        .current_dir(dir.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(results("X", &[50]).as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap().lines().next(), Some(",old,,new,,,"));
}
