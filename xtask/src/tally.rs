//! Counting: what passed, what failed, what could not run.

use std::collections::BTreeSet;

/// The result of a run.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    /// Names of failed steps and tests.
    pub(crate) failures: Vec<String>,
    /// What could not run here, with the reason; each once.
    pub(crate) skipped: BTreeSet<String>,
}

impl Tally {
    /// One check that is not made of tests.
    pub(crate) fn check(&mut self, name: &str, ok: bool) {
        if ok {
            self.passed += 1;
        } else {
            self.failed += 1;
            self.failures.push(name.to_owned());
        }
    }

    /// A line that a test program printed: cargo's and Node's totals are added up. Says whether it was one.
    pub(crate) fn line(&mut self, line: &str) -> bool {
        if let Some(rest) = line.strip_prefix("test result: ") {
            let count = |word: &str| {
                let before = rest.split(word).next()?;
                before.rsplit([' ', '.', ';']).find(|part| !part.is_empty())?.parse::<u64>().ok()
            };
            self.passed += count(" passed").unwrap_or(0);
            self.failed += count(" failed").unwrap_or(0);
            return true;
        }
        if let Some(name) = line.strip_prefix("test ").and_then(|rest| rest.strip_suffix(" ... FAILED")) {
            self.failures.push(name.to_owned());
        }
        // Node's test runner: `# pass 3` or `ℹ pass 3`.
        if let Some(rest) = line.strip_prefix("# ").or_else(|| line.strip_prefix("ℹ ")) {
            let number = |word: &str| rest.strip_prefix(word)?.trim().parse::<u64>().ok();
            if let Some(passed) = number("pass ") {
                self.passed += passed;
                return true;
            }
            if let Some(failed) = number("fail ") {
                self.failed += failed;
                return true;
            }
        }
        false
    }

    /// Tests that were left out by an `ignore` are not silently gone either. What is no test but a program that other tests start says so:
    /// `#[ignore = "this is …"]`.
    pub(crate) fn ignored(&mut self, line: &str) {
        if let Some((name, reason)) = line.strip_prefix("test ").and_then(|rest| rest.split_once(" ... ignored"))
            && !reason.starts_with(", this is ")
        {
            self.skipped.insert(format!("{name}: ignored{reason}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Tally;

    #[test]
    fn totals_are_added_up() {
        let mut tally = Tally::default();
        assert!(tally.line("test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 3 filtered out; finished in 0.01s"));
        assert!(tally.line("test result: FAILED. 4 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.01s"));
        assert!(!tally.line("test a::b ... FAILED"));
        assert!(!tally.line("test a::c ... ok"));
        assert!(tally.line("# pass 3"));
        assert!(tally.line("ℹ fail 1"));
        tally.ignored("test slow ... ignored, needs a network");
        tally.ignored("test worker ... ignored, this is a program that other tests start");
        tally.check("formatting", true);
        assert_eq!((tally.passed, tally.failed), (20, 3));
        assert_eq!(tally.failures, ["a::b"]);
        assert_eq!(tally.skipped.into_iter().collect::<Vec<_>>(), ["slow: ignored, needs a network"]);
    }
}
