//! How each of several tests ended, told from the output of the command that ran them.
//!
//! Only what the output really says: a test of which it says nothing is "could not tell" when the command failed, and
//! whoever asked runs it alone. (`coordinator.md`, *Better than the reference* 10 and 11: a whole group must not be
//! blamed on its first test, and times are wanted for each.)

use std::collections::HashMap;
use std::ops::Range;
use std::time::Duration;

use crate::recipe::TestOutput;

/// How one test ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TestOutcome {
    /// Its name, as it was listed.
    pub name: String,
    /// `None`: the output does not tell.
    pub passed: Option<bool>,
    /// How long it took, when the output tells.
    pub took: Option<Duration>,
    /// Its part of the output, in bytes. The whole output when it is not divided.
    pub output: Range<usize>,
}

/// Reads the output of a command that ran `names` and ended well (`passed`) or not. One outcome per name, in their
/// order. When the command failed although every test passed, all outcomes say so: the failure is then the command's own.
///
/// ```
/// use burrow_builders::{TestOutput, outcomes};
/// let output = b"ok  \ta\t0.1s\n--- FAIL: TestX\nFAIL\tb\t0.2s\nFAIL\n";
/// let names = ["a", "b"].map(str::to_owned);
/// let found = outcomes(&TestOutput::GoTest, &names, false, output);
/// assert_eq!((found[0].passed, found[1].passed), (Some(true), Some(false)));
/// assert_eq!(&output[found[1].output.clone()], b"--- FAIL: TestX\nFAIL\tb\t0.2s\n");
/// ```
pub fn outcomes(format: &TestOutput, names: &[String], passed: bool, output: &[u8]) -> Vec<TestOutcome> {
    let whole = 0..output.len();
    let undivided = |name: &String| {
        let told = if passed || names.len() == 1 { Some(passed) } else { None };
        TestOutcome { name: name.clone(), passed: told, took: None, output: whole.clone() }
    };
    match format {
        TestOutput::Plain | TestOutput::Dist(_) => names.iter().map(undivided).collect(),
        TestOutput::GoTest => {
            let mut found = go_test(output);
            let divided = |name: &String| match found.remove(name.as_str()) {
                Some((ok, took, output)) => TestOutcome { name: name.clone(), passed: Some(ok), took, output },
                None => undivided(name),
            };
            names.iter().map(divided).collect()
        }
    }
}

type Part = (bool, Option<Duration>, Range<usize>);

/// Lines such as `ok  <tab>pkg<tab>0.1s`, each closing the part of the output that belongs to it.
fn go_test(output: &[u8]) -> HashMap<&str, Part> {
    let mut found: HashMap<&str, Part> = HashMap::new();
    let (mut start, mut at) = (0, 0);
    for line in output.split_inclusive(|byte| *byte == b'\n') {
        at += line.len();
        let Ok(line) = std::str::from_utf8(line) else { continue };
        let mut fields = line.trim_end().split('\t');
        let word = fields.next().unwrap_or_default().trim_end();
        let Some(name) = fields.next().and_then(|name| name.split_whitespace().next()) else { continue };
        let ok = match word {
            "ok" | "?" => true,
            "FAIL" => false,
            // A package without tests, when coverage is measured.
            "" if line.contains("coverage:") => true,
            _ => continue,
        };
        let took = fields.next().and_then(|time| time.trim().strip_suffix('s')).and_then(|time| time.parse().ok());
        let took = took.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        // The same name again (two runs in one output): failed if any failed.
        let part = found.entry(name).or_insert((true, None, start..at));
        part.0 &= ok;
        part.1 = took.or(part.1);
        part.2.end = at;
        start = at;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(list: &[&str]) -> Vec<String> {
        list.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn packages_that_do_not_build_fail_and_unmentioned_ones_are_unknown() {
        let output = b"# m/a [m/a.test]\na/a.go:1: broken\nFAIL\tm/a [build failed]\n?   \tm/b\t[no test files]\nok  \tm/c\t(cached)\npanic: out of memory\n";
        let found = outcomes(&TestOutput::GoTest, &names(&["m/a", "m/b", "m/c", "m/d"]), false, output);
        assert_eq!(found.iter().map(|outcome| outcome.passed).collect::<Vec<_>>(), [Some(false), Some(true), Some(true), None]);
        assert!(output[found[0].output.clone()].starts_with(b"# m/a"));
        assert_eq!(found[2].took, None);
    }

    #[test]
    fn without_a_format_a_failed_group_is_not_blamed_on_anyone() {
        let found = outcomes(&TestOutput::Plain, &names(&["a", "b"]), false, b"boom");
        assert!(found.iter().all(|outcome| outcome.passed.is_none() && outcome.output == (0..4)));
        assert_eq!(outcomes(&TestOutput::Plain, &names(&["a"]), false, b"")[0].passed, Some(false));
    }
}
