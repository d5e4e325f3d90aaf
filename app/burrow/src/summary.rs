//! The end of `burrow build`: a table, the verdict, its exit status. Pure.

use burrow_results::model::BuildState;
use burrow_results::view::Build;
use comfy_table::{Table, presets};

use crate::failure::BUILD_FAILED;

/// How all builds together ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// All passed.
    Passed,
    /// One at least failed by fault of the commit.
    Failed,
    /// None failed, but one could not be built as configured.
    Unconfigured,
    /// None failed, but one could not be run to its end.
    Unfinished,
}

impl Verdict {
    pub(crate) fn of(states: impl IntoIterator<Item = BuildState>) -> Verdict {
        states.into_iter().fold(Verdict::Passed, |verdict, state| {
            let this = match state {
                BuildState::Passed => Verdict::Passed,
                state if state.failed() => Verdict::Failed,
                BuildState::SkippedMissingDep => Verdict::Unconfigured,
                _ => Verdict::Unfinished,
            };
            // A failed build is what the caller asked about; it outweighs the rest.
            match (verdict, this) {
                (Verdict::Failed, _) | (_, Verdict::Failed) => Verdict::Failed,
                (Verdict::Passed, this) => this,
                (verdict, _) => verdict,
            }
        })
    }

    pub(crate) fn exit_code(self) -> u8 {
        match self {
            Verdict::Passed => 0,
            Verdict::Failed => BUILD_FAILED,
            Verdict::Unconfigured => 2,
            Verdict::Unfinished => 3,
        }
    }
}

/// A state as people read it.
pub(crate) fn words(state: BuildState, flaky: bool) -> String {
    let word = match state {
        BuildState::Queued => "waits",
        BuildState::WaitingMachine => "waits for a machine",
        BuildState::Running => "runs",
        BuildState::Passed if flaky => "passed (flaky)",
        BuildState::Passed => "passed",
        BuildState::FailedTest => "FAILED: test",
        BuildState::FailedBuild => "FAILED: build",
        BuildState::TimedOut => "FAILED: too slow",
        BuildState::InfraFailed => "could not be run",
        BuildState::Cancelled => "cancelled",
        BuildState::SkippedMissingDep => "skipped",
    };
    word.to_owned()
}

/// Seconds as people read them: `0.4 s`, `12 s`, `3 min 05 s`.
pub(crate) fn duration(ms: i64) -> String {
    match ms {
        ..=9_949 => format!("{}.{} s", (ms + 50) / 1_000, (ms + 50) % 1_000 / 100),
        9_950..=59_499 => format!("{} s", (ms + 500) / 1_000),
        _ => format!("{} min {:02} s", (ms + 500) / 60_000, (ms + 500) / 1_000 % 60),
    }
}

/// Run time of a build's last attempt.
pub(crate) fn run_ms(build: &Build) -> Option<i64> {
    let attempt = build.attempts_list.last()?;
    Some(attempt.ended_ms? - attempt.started_ms.unwrap_or(attempt.assigned_ms))
}

/// The table of results.
pub(crate) fn table(builds: &[Build]) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["builder", "result", "time", "what"]);
    for build in builds {
        let what = match build.failures.len() {
            0 => build.attempts_list.last().map(|attempt| attempt.message.clone()).unwrap_or_default(),
            1..=3 => build.failures.iter().map(|failure| failure.test.as_str()).collect::<Vec<_>>().join(", "),
            n => format!("{n} tests"),
        };
        let what = if build.line.state == BuildState::Passed { String::new() } else { what };
        table.add_row([build.line.builder.clone(), words(build.line.state, build.line.flaky), run_ms(build).map(duration).unwrap_or_default(), what]);
    }
    table.trim_fmt()
}

/// The last lines of a log.
pub(crate) fn last_lines(log: &[u8], count: usize) -> Vec<String> {
    let text = String::from_utf8_lossy(log);
    let lines: Vec<&str> = text.trim_end().lines().collect();
    lines.get(lines.len().saturating_sub(count)..).unwrap_or_default().iter().map(|line| crate::progress::printable(line)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_counts_and_a_failed_commit_most() {
        use BuildState::*;
        for (states, code) in [
            (vec![Passed, Passed], 0),
            (vec![Passed, FailedTest, InfraFailed], 1),
            (vec![InfraFailed, TimedOut], 1),
            (vec![Passed, InfraFailed], 3),
            (vec![Passed, Cancelled], 3),
            (vec![SkippedMissingDep], 2),
            (vec![], 0),
        ] {
            assert_eq!(Verdict::of(states.clone()).exit_code(), code, "{states:?}");
        }
    }

    #[test]
    fn times_are_short() {
        for (ms, text) in [(0, "0.0 s"), (449, "0.4 s"), (9_949, "9.9 s"), (9_950, "10 s"), (59_499, "59 s"), (59_500, "1 min 00 s"), (185_000, "3 min 05 s")] {
            assert_eq!(duration(ms), text);
        }
    }

    #[test]
    fn the_end_of_a_log_is_its_last_lines() {
        assert_eq!(last_lines(b"one\ntwo\nthree\n\n", 2), ["two", "three"]);
        assert_eq!(last_lines(b"\xff", 5), ["\u{fffd}"]);
        assert!(last_lines(b"", 5).is_empty());
    }
}
