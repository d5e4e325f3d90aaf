//! States as people see them: a class for the colour, a short word for cells, a sentence's word elsewhere. The glyphs are in the stylesheet.
//!
//! Arguments are `impl Borrow` because templates hand out references and Rust code has values.

use std::borrow::Borrow;

use burrow_results::model::{AttemptState, BuildState, StepState};
use burrow_web::words;

/// Class of a cell or badge.
pub fn class(state: impl Borrow<BuildState>, flaky: impl Borrow<bool>) -> &'static str {
    let flaky = *flaky.borrow();
    match *state.borrow() {
        BuildState::Passed if flaky => "fl",
        BuildState::Passed => "p",
        BuildState::FailedTest => "ft",
        BuildState::FailedBuild => "fb",
        BuildState::TimedOut => "to",
        BuildState::InfraFailed => "inf",
        BuildState::Running => "run",
        BuildState::Queued => "q",
        BuildState::WaitingMachine => "w",
        BuildState::Cancelled => "c",
        BuildState::SkippedMissingDep => "s",
    }
}

/// Word of a cell.
pub fn short(state: impl Borrow<BuildState>, flaky: impl Borrow<bool>) -> &'static str {
    let flaky = *flaky.borrow();
    match *state.borrow() {
        BuildState::Passed if flaky => "flaky",
        BuildState::Passed => "ok",
        BuildState::FailedTest => "fail",
        BuildState::FailedBuild => "build",
        BuildState::TimedOut => "time",
        BuildState::InfraFailed => "infra",
        BuildState::Running => "run",
        BuildState::Queued => "wait",
        BuildState::WaitingMachine => "none",
        BuildState::Cancelled => "stop",
        BuildState::SkippedMissingDep => "skip",
    }
}

/// Words of a badge.
pub fn long(state: impl Borrow<BuildState>, flaky: impl Borrow<bool>) -> &'static str {
    let flaky = *flaky.borrow();
    match *state.borrow() {
        BuildState::Passed if flaky => "passed, flaky",
        BuildState::Passed => "passed",
        BuildState::FailedTest => "test failed",
        BuildState::FailedBuild => "build failed",
        BuildState::TimedOut => "timed out",
        BuildState::InfraFailed => "infrastructure failed",
        BuildState::Running => "running",
        BuildState::Queued => "queued",
        BuildState::WaitingMachine => "no machine",
        BuildState::Cancelled => "cancelled",
        BuildState::SkippedMissingDep => "skipped",
    }
}

/// A badge.
pub fn badge(state: impl Borrow<BuildState>, flaky: impl Borrow<bool>) -> String {
    let (state, flaky) = (*state.borrow(), *flaky.borrow());
    format!("<span class=\"st {}\">{}</span>", class(state, flaky), long(state, flaky))
}

/// The same state of an attempt.
pub fn of_attempt(state: impl Borrow<AttemptState>) -> BuildState {
    match *state.borrow() {
        AttemptState::Assigned | AttemptState::Running => BuildState::Running,
        AttemptState::Passed => BuildState::Passed,
        AttemptState::FailedTest => BuildState::FailedTest,
        AttemptState::FailedBuild => BuildState::FailedBuild,
        AttemptState::TimedOut => BuildState::TimedOut,
        AttemptState::InfraFailed => BuildState::InfraFailed,
        AttemptState::Cancelled => BuildState::Cancelled,
        AttemptState::SkippedMissingDep => BuildState::SkippedMissingDep,
    }
}

/// Class and word of a step.
pub fn of_step(state: StepState) -> (&'static str, &'static str) {
    match state {
        StepState::Waiting => ("q", "waiting"),
        StepState::Running => ("run", "running"),
        StepState::Passed => ("p", "passed"),
        StepState::Failed => ("ft", "failed"),
        StepState::TimedOut => ("to", "timed out"),
        StepState::Lost => ("inf", "worker lost"),
        StepState::Cancelled => ("c", "cancelled"),
    }
}

/// The legend of grids.
pub fn legend() -> String {
    let mut out = String::from("<div class=\"legend\" aria-label=\"Legend\">");
    for state in [
        BuildState::Passed,
        BuildState::FailedTest,
        BuildState::FailedBuild,
        BuildState::TimedOut,
        BuildState::InfraFailed,
        BuildState::Running,
        BuildState::Queued,
        BuildState::WaitingMachine,
        BuildState::Cancelled,
        BuildState::SkippedMissingDep,
    ] {
        out.push_str(&badge(state, false));
        if state == BuildState::Passed {
            out.push_str(&badge(state, true));
        }
    }
    out.push_str("</div>");
    out
}

/// How long a build ran, or runs by now; empty if it never began. A running one counts on in the browser.
pub fn took(started: impl Borrow<Option<i64>>, ended: impl Borrow<Option<i64>>, now: impl Borrow<i64>) -> String {
    let now = *now.borrow();
    match (*started.borrow(), *ended.borrow()) {
        (Some(from), Some(to)) => words::duration(to - from),
        (Some(from), None) => format!("<span data-since=\"{from}\">{}</span>", words::duration(now - from)),
        _ => String::new(),
    }
}

/// The first seven digits of a hash.
pub fn abbreviated(hash: &str) -> &str {
    hash.get(..7).unwrap_or(hash)
}

/// The same for what has certainly begun.
pub fn took_since(started: impl Borrow<i64>, ended: impl Borrow<Option<i64>>, now: impl Borrow<i64>) -> String {
    took(Some(*started.borrow()), ended, now)
}
