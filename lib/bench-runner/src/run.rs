//! A session carried out.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use burrow_clock::Clock;
use protocol_benchfmt::adapters::{self, CriterionFile, Format, MAX_REPORT};
use tokio_util::sync::CancellationToken;

use crate::execute::{ExecuteError, Failed, Printed, execute};
use crate::machine::Machine;
use crate::plan::{PATTERN, Plan, PlanError};
use crate::samples::{Samples, Spread};
use crate::session::{Ending, Session, Step, Turn};
use crate::sheet::Sheet;

/// Something to show.
#[derive(Debug)]
pub enum Event<'e> {
    /// A run begins.
    Begins(&'e Turn),
    /// A run has given so many results.
    Ends {
        /// The run.
        turn: &'e Turn,
        /// How long it took.
        took: Duration,
        /// Result lines.
        lines: usize,
        /// The whole file of results so far; it only grows.
        text: &'e [u8],
    },
    /// A run has given none.
    Failed {
        /// The run.
        turn: &'e Turn,
        /// Why.
        failed: &'e Failed,
    },
    /// How noisy everything is.
    Spreads(&'e [Spread]),
}

/// What came out.
#[derive(Debug)]
pub struct Outcome {
    /// The file of results.
    pub text: Vec<u8>,
    /// Why it ended.
    pub ending: Ending,
    /// Rounds that were begun.
    pub rounds: u32,
    /// Runs that gave results.
    pub runs: u32,
    /// How noisy everything was at the last look.
    pub spreads: Vec<Spread>,
    /// Runs that gave none.
    pub failures: Vec<Failed>,
}

/// Nothing was measured.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The plan cannot be carried out.
    #[error(transparent)]
    Plan(#[from] PlanError),
}

/// Carries a plan out. `stop`: the present run is finished, then it ends; `kill`: the present run is killed. What was measured until then is in the outcome
/// either way.
///
/// # Errors
/// The plan makes no sense. A command that fails is part of the outcome.
pub async fn run(
    plan: &Plan,
    clock: &dyn Clock,
    stop: &CancellationToken,
    kill: &CancellationToken,
    show: &mut dyn FnMut(Event<'_>),
) -> Result<Outcome, RunError> {
    plan.check()?;
    let narrows = plan.sides.iter().all(|side| side.command.contains(PATTERN));
    let mut session = Session::new(plan, narrows);
    let mut samples = Samples::new(plan.sides.len());
    let mut sheet = Sheet::new(header(plan, &Machine::now()));
    let (mut spreads, mut failures, mut runs) = (Vec::new(), Vec::new(), 0);
    let begin = clock.monotonic_ms();
    let elapsed = || Duration::from_millis(clock.monotonic_ms().saturating_sub(begin));
    let ending = loop {
        if stop.is_cancelled() || kill.is_cancelled() {
            session.stop();
        }
        let turn = match session.next(elapsed()) {
            Step::End(ending) => break ending,
            Step::Look => {
                spreads = samples.spreads(&plan.units);
                session.spreads(&spreads);
                show(Event::Spreads(&spreads));
                continue;
            }
            Step::Run(turn) => turn,
        };
        let Some(side) = plan.sides.get(turn.side) else { break Ending::Stopped };
        show(Event::Begins(&turn));
        let began = elapsed();
        let results = one(plan, &turn, kill).await;
        let took = elapsed().saturating_sub(began);
        let failed = match results {
            Ok((text, tail)) => match sheet.run((turn.side, &side.label), &text, &Machine::now(), &mut samples) {
                0 => no_result(&tail),
                lines => {
                    runs += 1;
                    session.succeeded(turn.side);
                    show(Event::Ends { turn: &turn, took, lines, text: sheet.text() });
                    continue;
                }
            },
            Err(ExecuteError::Stopped) => continue,
            Err(why) => why,
        };
        session.failed(turn.side);
        let failed = Failed { side: side.label.clone(), why: failed };
        show(Event::Failed { turn: &turn, failed: &failed });
        failures.push(failed);
    };
    if spreads.is_empty() {
        spreads = samples.spreads(&plan.units);
    }
    Ok(Outcome { text: sheet.text().to_vec(), ending, rounds: session.round(), runs, spreads, failures })
}

/// What holds for every line: how it was made, and the state of the machine before anything ran.
fn header(plan: &Plan, machine: &Machine) -> Vec<(String, String)> {
    let mut header = vec![("runner".to_owned(), "burrow bench".to_owned()), ("seed".to_owned(), plan.seed.to_string())];
    let keys = [("load", "start-load"), ("MHz", "start-mhz"), ("celsius", "start-celsius")];
    for (value, unit) in machine.values() {
        header.extend(keys.iter().find(|(known, _)| *known == unit).map(|(_, key)| ((*key).to_owned(), value.to_string())));
    }
    header
}

fn no_result(tail: &str) -> ExecuteError {
    ExecuteError::NoResult { known: Format::ALL.map(Format::name).join(", "), tail: tail.to_owned() }
}

/// A run as benchmark text, and the end of its standard error.
async fn one(plan: &Plan, turn: &Turn, kill: &CancellationToken) -> Result<(Vec<u8>, String), ExecuteError> {
    let Some(side) = plan.sides.get(turn.side) else { return Err(ExecuteError::Stopped) };
    let command = side.command.replace(PATTERN, &pattern(turn.only.as_deref()));
    let dir = side.dir.clone().unwrap_or_else(|| PathBuf::from("."));
    let report = plan.report.as_ref().map(|report| dir.join(report));
    let before = report.as_deref().and_then(newest);
    let Printed { stdout, tail } = execute(&command, &dir, plan.run_limit, kill).await?;
    let mut text = Vec::new();
    match report {
        None => {
            let Some(format) = plan.format.or_else(|| adapters::detect(&stdout)) else { return Err(no_result(&tail)) };
            adapters::convert(format, &stdout, &mut text)?;
        }
        Some(path) => {
            let after = newest(&path);
            if after.is_none() || after == before {
                return Err(ExecuteError::NoReport(path));
            }
            if path.is_dir() {
                let files = criterion_files(&path)?;
                let files: Vec<CriterionFile<'_>> = files.iter().map(|(path, content)| CriterionFile { path, content }).collect();
                adapters::criterion_folder(&files, &mut text)?;
            } else {
                let content = read(&path)?;
                let Some(format) = plan.format.or_else(|| adapters::detect(&content)) else { return Err(no_result(&tail)) };
                adapters::convert(format, &content, &mut text)?;
            }
        }
    }
    Ok((text, tail))
}

/// The pattern of `go test -bench` for so many benchmarks.
fn pattern(only: Option<&[String]>) -> String {
    let Some(only) = only.filter(|only| !only.is_empty()) else { return ".".to_owned() };
    let quoted = only
        .iter()
        .map(|name| name.chars().flat_map(|c| [if c.is_alphanumeric() || c == '_' { None } else { Some('\\') }, Some(c)]).flatten().collect::<String>());
    // It stands in a shell's command.
    format!("'^Benchmark({})$'", quoted.collect::<Vec<_>>().join("|").replace('\'', "."))
}

/// When something in a file or folder was last written. `None`: there is nothing.
fn newest(path: &Path) -> Option<SystemTime> {
    let meta = fs::metadata(path).ok()?;
    if !meta.is_dir() {
        return meta.modified().ok();
    }
    let mut newest = None;
    walk(path, 0, &mut |file| newest = newest.max(fs::metadata(file).and_then(|meta| meta.modified()).ok()));
    newest
}

/// Folders of Criterion are at most so deep: group, function, value, `new`.
const DEPTH: usize = 6;

fn walk(dir: &Path, depth: usize, found: &mut dyn FnMut(&Path)) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    for entry in entries.flatten() {
        match entry.file_type() {
            Ok(kind) if kind.is_dir() && depth < DEPTH => walk(&entry.path(), depth + 1, found),
            Ok(kind) if kind.is_file() => found(&entry.path()),
            _ => {}
        }
    }
}

/// The JSON files of the folders called `new`, with their paths from the top.
fn criterion_files(top: &Path) -> Result<Vec<(String, Vec<u8>)>, ExecuteError> {
    let mut paths = Vec::new();
    walk(top, 0, &mut |path| {
        if path.extension().is_some_and(|extension| extension == "json") && path.parent().is_some_and(|parent| parent.ends_with("new")) {
            paths.push(path.to_owned());
        }
    });
    paths.sort();
    let mut files = Vec::new();
    for path in paths {
        let name = path.strip_prefix(top).unwrap_or(&path).to_string_lossy().replace('\\', "/");
        files.push((name, read(&path)?));
    }
    Ok(files)
}

fn read(path: &Path) -> Result<Vec<u8>, ExecuteError> {
    let wrong = |error| ExecuteError::Report { path: path.to_owned(), error };
    if fs::metadata(path).map_err(wrong)?.len() > MAX_REPORT as u64 {
        return Err(wrong(std::io::Error::other(format!("it is larger than {MAX_REPORT} bytes"))));
    }
    fs::read(path).map_err(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_choose_exactly_the_noisy_ones() {
        assert_eq!(pattern(None), ".");
        assert_eq!(pattern(Some(&["Sort".into(), "Read_All".into()])), "'^Benchmark(Sort|Read_All)$'");
        assert_eq!(pattern(Some(&["a.b'c".into()])), "'^Benchmark(a\\.b\\.c)$'");
    }
}
