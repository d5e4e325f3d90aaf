//! Finds what failed in the lines of a log: the part that a person would scroll to.
//!
//! Pure and deliberately modest: it knows how the common tools say "failed" and shows the lines around that. What the coordinator decided about a
//! build never depends on it.

/// Something that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Finding {
    /// Test name, or what went wrong in one line.
    pub name: String,
    /// Whether `name` is the name of a test.
    pub test: bool,
    /// Index of the line that says so.
    pub at: usize,
    /// Indices of the lines worth showing, end exclusive.
    pub lines: std::ops::Range<usize>,
}

/// Findings at most.
const MOST: usize = 25;
/// Lines of an excerpt at most.
const EXCERPT: usize = 14;

/// Everything that failed, in the order of the log, each name once.
pub(crate) fn find<S: AsRef<str>>(lines: &[S]) -> Vec<Finding> {
    let mut found: Vec<Finding> = Vec::new();
    for at in 0..lines.len() {
        let text = lines[at].as_ref();
        let Some((name, test, shape)) = judge(text) else { continue };
        let lines = excerpt(lines, at, shape);
        let room = found.len() < MOST;
        match found.iter_mut().find(|known| known.name == name) {
            // A runner names a failure twice: once in passing and once with its output. The longer excerpt says more.
            Some(known) => {
                if lines.len() > known.lines.len() {
                    (known.at, known.lines) = (at, lines);
                }
            }
            None if room => found.push(Finding { name, test, at, lines }),
            None => break,
        }
    }
    // "make: *** Error 1" only repeats what the lines before said.
    if found.iter().any(|finding| !follow_up(&finding.name)) {
        found.retain(|finding| !follow_up(&finding.name));
    }
    found
}

/// Where the lines that belong to a failure are.
#[derive(Clone, Copy)]
enum Shape {
    /// Indented lines before and after it.
    Indented,
    /// Up to an empty line.
    Block,
    /// The line and its direct neighbours.
    Neighbours,
}

fn judge(line: &str) -> Option<(String, bool, Shape)> {
    let trimmed = line.trim_start();
    let word = |text: &str| text.split_whitespace().next().unwrap_or_default().to_owned();
    if let Some(rest) = trimmed.strip_prefix("--- FAIL: ") {
        return Some((word(rest), true, Shape::Indented));
    }
    if let Some(rest) = line.strip_prefix("FAIL\t") {
        // "FAIL pkg 0.1s" only sums up; a package that did not build is news.
        return rest.contains("[build failed]").then(|| (format!("{} does not build", word(rest)), false, Shape::Neighbours));
    }
    if let Some(name) = line.strip_prefix("---- ").and_then(|rest| rest.strip_suffix(" stdout ----")) {
        return Some((name.to_owned(), true, Shape::Block));
    }
    if let Some(name) = line.strip_prefix("test ").and_then(|rest| rest.strip_suffix(" ... FAILED")) {
        return Some((name.to_owned(), true, Shape::Neighbours));
    }
    if let Some(rest) = trimmed.strip_prefix("not ok ") {
        let name = rest.trim_start_matches(|c: char| c.is_ascii_digit()).trim_start_matches([' ', '-']).trim();
        // TAP marks what is allowed to fail.
        return (!name.contains("# TODO") && !name.contains("# SKIP"))
            .then(|| (if name.is_empty() { rest.to_owned() } else { name.to_owned() }, true, Shape::Indented));
    }
    if let Some(rest) = line.strip_prefix("FAILED ") {
        return Some((word(rest), true, Shape::Neighbours));
    }
    for prefix in ["FAIL: ", "[FAIL] ", "FAIL "] {
        if let Some(rest) = line.strip_prefix(prefix).filter(|rest| !rest.trim().is_empty()) {
            return Some((word(rest), true, Shape::Indented));
        }
    }
    if line.starts_with("error[") || line.starts_with("error: ") {
        return Some((line.to_owned(), false, Shape::Block));
    }
    if line.starts_with("panic: ") || line.starts_with("fatal error: ") || (line.starts_with("thread '") && line.contains(" panicked at ")) {
        return Some((line.to_owned(), false, Shape::Block));
    }
    if line.contains(": error: ") || line.contains(": fatal error: ") {
        return Some((line.to_owned(), false, Shape::Neighbours));
    }
    if follow_up(line) {
        return Some((line.to_owned(), false, Shape::Neighbours));
    }
    let lower_starts = ["Error: ", "ERROR: ", "Traceback (most recent call last)", "AssertionError", "Segmentation fault", "fatal: "];
    lower_starts
        .iter()
        .any(|start| line.starts_with(start))
        .then(|| (line.to_owned(), false, if line.starts_with("Traceback") { Shape::Indented } else { Shape::Neighbours }))
}

fn follow_up(name: &str) -> bool {
    (name.starts_with("make") && name.contains("*** ")) || name.starts_with("error: could not compile") || name.starts_with("error: test failed")
}

fn excerpt<S: AsRef<str>>(lines: &[S], at: usize, shape: Shape) -> std::ops::Range<usize> {
    let indented = |index: usize| lines.get(index).is_some_and(|line| line.as_ref().starts_with([' ', '\t']) && !line.as_ref().trim().is_empty());
    let filled = |index: usize| lines.get(index).is_some_and(|line| !line.as_ref().trim().is_empty());
    let mut end = at + 1;
    match shape {
        Shape::Indented => {
            while end - at < EXCERPT && indented(end) && !lines[end].as_ref().trim_start().starts_with("--- ") {
                end += 1;
            }
            // The last line of a Python traceback, which says what it was, is not indented.
            if end - at > 1 && lines[at].as_ref().starts_with("Traceback") && filled(end) {
                end += 1;
            }
        }
        Shape::Block => {
            while end - at < EXCERPT && filled(end) {
                end += 1;
            }
        }
        Shape::Neighbours => {
            while end - at < 3 && indented(end) {
                end += 1;
            }
        }
    }
    at..end
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(log: &str) -> Vec<(String, usize)> {
        find(&log.lines().collect::<Vec<_>>()).into_iter().map(|finding| (finding.name, finding.lines.len())).collect()
    }

    #[test]
    fn go_tests_and_packages_that_do_not_build() {
        let log = "=== RUN   TestA\n--- FAIL: TestA (0.00s)\n    a_test.go:12: got 1\n    a_test.go:13: want 2\n    --- FAIL: TestA/sub (0.00s)\n        a_test.go:20: no\nFAIL\nFAIL\texample.org/a\t0.1s\n# example.org/b\nb.go:3:2: undefined: x\nFAIL\texample.org/b [build failed]\nFAIL\n";
        assert_eq!(names(log), [("TestA".into(), 3), ("TestA/sub".into(), 2), ("example.org/b does not build".into(), 1)]);
    }

    #[test]
    fn cargo_tests_are_named_once_and_compile_errors_show_their_place() {
        let log = "test a::works ... ok\ntest a::breaks ... FAILED\n\nfailures:\n\n---- a::breaks stdout ----\nthread 'a::breaks' panicked at src/a.rs:3:9:\nassertion failed\n\n\nfailures:\n    a::breaks\n\nerror: test failed, to rerun pass `--lib`\n";
        assert_eq!(names(log)[0], ("a::breaks".into(), 3));
        let log = "error[E0308]: mismatched types\n --> src/a.rs:1:2\n  |\n1 | x\n\nerror: could not compile `a` (lib) due to 1 previous error\n";
        assert_eq!(names(log), [("error[E0308]: mismatched types".into(), 4)]);
    }

    #[test]
    fn c_tap_shell_and_python() {
        assert_eq!(
            names("cc -c x.c\nx.c:3:1: error: unknown type name 'foo'\nmake: *** [Makefile:3: x.o] Error 1\n"),
            [("x.c:3:1: error: unknown type name 'foo'".into(), 1)]
        );
        assert_eq!(names("make: *** [Makefile:3: check] Error 1\n").len(), 1, "alone, it is all there is");
        assert_eq!(names("ok 1 - fine\nnot ok 2 - breaks\n  ---\n  message: no\nnot ok 3 # TODO later\n"), [("breaks".into(), 3)]);
        assert_eq!(names("FAIL: cache_keeps_index\nPASS: other\n"), [("cache_keeps_index".into(), 1)]);
        assert_eq!(names("FAILED tests/test_a.py::test_b - assert 1 == 2\n"), [("tests/test_a.py::test_b".into(), 1)]);
        assert_eq!(
            names("Traceback (most recent call last):\n  File \"a.py\", line 1\n    x()\nNameError: x\nbye\n"),
            [("Traceback (most recent call last):".into(), 4)]
        );
    }

    #[test]
    fn a_log_that_went_well_has_no_failures() {
        assert_eq!(names("ok  \texample.org/a\t0.2s\ntest a ... ok\nPASS\n0 failures, 0 errors\nno errors found\n"), []);
    }
}
