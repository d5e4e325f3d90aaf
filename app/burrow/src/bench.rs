//! `burrow bench run`: benchmarks of two or more commands or revisions, side by side. The work is `lib/bench-runner`.

mod progress;

use std::fs::File;
use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use burrow_bench_runner::{Compared, Ending, Event, Outcome, Plan, Side, Worktrees, compare, run, upload};
use burrow_benchstat::gate::Rule;
use burrow_benchstat::math::correction::Correction;
use burrow_clock::{Clock as _, SystemClock};
use burrow_http_client::{Client, Settings};
use clap::{Args, Subcommand};
use protocol_benchfmt::adapters::Format;
use protocol_benchfmt::section;
use tokio_util::sync::CancellationToken;

use crate::failure::Failure;
use crate::serve::{Interrupts, Told};

/// A gate rule found something.
const GATE: u8 = 1;

#[derive(Debug, Args)]
pub(crate) struct BenchArgs {
    #[command(subcommand)]
    command: BenchCommand,
}

#[derive(Debug, Subcommand)]
enum BenchCommand {
    /// Run benchmarks of two or more sides alternately, until intervals are tight or the budget ends, and compare them
    Run(Box<RunArgs>),
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  burrow bench run --a './old -test.bench=.' --b './new -test.bench=.'
  burrow bench run --rev main --rev HEAD --setup 'go test -c -o t' 'go test -run=- -bench={bench}'
  burrow bench run --rev v1.0 --rev v1.1 --rev HEAD --report out.json 'pytest --benchmark-json=out.json'
  burrow bench run --a 'hyperfine ...' --b '...' --until 0.5% --budget 30m --fail-on 'regression>2%'

A command prints benchmark lines, or a report of Criterion, Google Benchmark, pytest-benchmark, hyperfine or asv; what else it prints is left out.
`{bench}` in a command becomes a pattern of the benchmarks that are still too noisy: only they are run again.
Ctrl-C finishes the present run and keeps what was measured; Ctrl-C again stops at once.
Exit status: 0 all is well, 1 a gate rule found something, 2 wrong arguments, 3 nothing could be measured.")]
pub(crate) struct RunArgs {
    /// Command that is run in every revision (with --rev)
    #[arg(value_name = "COMMAND", required_unless_present_any = ["a", "side"])]
    command: Option<String>,
    /// Command of the base
    #[arg(long, value_name = "COMMAND", requires = "b", conflicts_with = "revs")]
    a: Option<String>,
    /// Command that is compared with it
    #[arg(long, value_name = "COMMAND", requires = "a")]
    b: Option<String>,
    /// Another side, or sides with names of their own; the first side is the base
    #[arg(long, value_name = "NAME=COMMAND", conflicts_with = "revs")]
    side: Vec<String>,
    /// Revision to compare; the first one is the base. Each is checked out in a folder of its own
    #[arg(long = "rev", value_name = "REV", requires = "command")]
    revs: Vec<String>,
    /// Repository of the revisions
    #[arg(long, value_name = "DIR", default_value = ".")]
    repo: PathBuf,
    /// Command that is run once in every revision before anything is measured
    #[arg(long, value_name = "COMMAND", requires = "revs")]
    setup: Option<String>,
    /// File, or Criterion's folder, that the command writes its results to [default: its standard output]
    #[arg(long, value_name = "PATH")]
    report: Option<PathBuf>,
    /// Format of the results: benchmark, criterion, criterion-json, google, pytest, hyperfine, asv [default: told by their content]
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// It is enough when every ratio is known to this part of itself, at 95 % confidence
    #[arg(long, value_name = "PERCENT", default_value = "1%")]
    until: String,
    /// No round is begun that would end after this
    #[arg(long, value_name = "TIME", default_value = "10m")]
    budget: String,
    /// Rounds before intervals are looked at
    #[arg(long, value_name = "N", default_value_t = 6)]
    min_rounds: u32,
    /// Rounds at most
    #[arg(long, value_name = "N", default_value_t = 100)]
    max_rounds: u32,
    /// A single run may take this long
    #[arg(long, value_name = "TIME")]
    timeout: Option<String>,
    /// Base unit that must be tight, such as sec/op; may be given several times [default: all]
    #[arg(long = "unit", value_name = "UNIT")]
    units: Vec<String>,
    /// Seed of the order within rounds [default: the time]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// File for the results; it must not be there yet, or be empty
    #[arg(long, short, value_name = "FILE", default_value = "burrow-bench.txt")]
    out: PathBuf,
    /// Fail on this, for example 'regression>2% p<0.01'; may be given several times
    #[arg(long, value_name = "RULE")]
    fail_on: Vec<String>,
    /// Correction for many comparisons in the gate: bh, holm, none
    #[arg(long, value_name = "NAME", default_value = "bh")]
    correction: String,
    /// Write the comparison also into this file: Markdown (.md) or JSON (.json)
    #[arg(long, value_name = "FILE")]
    summary: Vec<PathBuf>,
    /// Store of benchmark results to upload to
    #[arg(long, value_name = "URL")]
    upload: Option<String>,
    /// File with the store's token
    #[arg(long, value_name = "FILE", requires = "upload")]
    token_file: Option<PathBuf>,
}

pub(crate) async fn execute(args: BenchArgs) -> Result<ExitCode, Failure> {
    let BenchCommand::Run(args) = args.command;
    work(&args).await
}

async fn work(args: &RunArgs) -> Result<ExitCode, Failure> {
    // Everything that can be wrong with the arguments is said before anything runs for ten minutes.
    let rules: Vec<Rule> = args.fail_on.iter().map(|rule| rule.parse()).collect::<Result<_, _>>().map_err(Failure::usage)?;
    let correction = Correction::named(&args.correction).ok_or_else(|| Failure::usage("--correction must be bh, holm or none"))?;
    for path in &args.summary {
        summary_format(path)?;
    }
    let token = match &args.token_file {
        Some(path) => Some(std::fs::read_to_string(path).map_err(|error| Failure::usage(format!("{}: {error}", path.display())))?),
        None => None,
    };
    let clock = SystemClock::new();
    let mut plan = plan(args, clock.now_ms().unsigned_abs())?;
    let trees = match args.revs.as_slice() {
        [] => None,
        revs => Some(Worktrees::new(&args.repo, revs).map_err(Failure::usage)?),
    };
    if let Some(trees) = &trees {
        plan.sides = revisions(args, trees);
    }
    plan.check().map_err(Failure::usage)?;
    let mut out = Growing::create(&args.out)?;

    let (stop, kill) = (CancellationToken::new(), CancellationToken::new());
    let listening = burrow_task::spawn(listen(Interrupts::new().map_err(Failure::infrastructure)?, stop.clone(), kill.clone()));
    if let (Some(trees), Some(setup)) = (&trees, &args.setup) {
        prepare(setup, &args.revs, trees, &kill).await?;
    }
    eprintln!("{} sides, seed {}; results go to {}.", plan.sides.len(), plan.seed, args.out.display());
    let mut shown = progress::Shown::new(&plan);
    let mut written = Ok(());
    let mut show = |event: Event<'_>| {
        if let (Event::Ends { text, .. }, Ok(())) = (&event, &written) {
            written = out.grow(text);
        }
        shown.event(&event);
    };
    let outcome = run(&plan, &clock, &stop, &kill, &mut show).await.map_err(Failure::usage)?;
    shown.finish();
    listening.abort();
    written?;
    said(&outcome, &plan);
    finish(args, &plan, &outcome, (&rules, correction), token.as_deref()).await
}

/// Compares, uploads, and says how it went.
async fn finish(args: &RunArgs, plan: &Plan, outcome: &Outcome, (rules, correction): (&[Rule], Correction), token: Option<&str>) -> Result<ExitCode, Failure> {
    let labels: Vec<String> = plan.sides.iter().map(|side| side.label.clone()).collect();
    let failing = || match &outcome.ending {
        Ending::Failing { side } => Some(Failure::infrastructure(format!("{} gives no results", plan.sides.get(*side).map_or("a side", |side| &side.label)))),
        _ => None,
    };
    if outcome.runs == 0 {
        return Err(failing().unwrap_or_else(|| Failure::infrastructure("nothing was measured")));
    }
    let compared = compare(&outcome.text, &labels, rules, correction).map_err(Failure::infrastructure)?;
    // In the log of a build, its page finds the comparison by these lines.
    let marked = !std::io::stdout().is_terminal();
    let mark = |line: &str| if marked { format!("{line}\n") } else { String::new() };
    print!("{}{}{}", mark(section::BEGIN), compared.text(), mark(section::END));
    for path in &args.summary {
        let text = if summary_format(path)? { compared.markdown() } else { compared.json() };
        std::fs::write(path, text).map_err(|error| Failure::infrastructure(format!("{}: {error}", path.display())))?;
    }
    let uploaded = match &args.upload {
        None => Ok(()),
        Some(store) => send(store, token, &args.out, &outcome.text).await,
    };
    let verdict = verdict(&compared);
    // The gate's answer is worth more than the other troubles: it is shown first, whatever else went wrong.
    let gate = verdict?;
    uploaded?;
    match failing() {
        Some(failure) => Err(failure),
        None => Ok(gate),
    }
}

fn verdict(compared: &Compared) -> Result<ExitCode, Failure> {
    let Some(report) = &compared.gate else { return Ok(ExitCode::SUCCESS) };
    eprint!("{}", report.text());
    if let Some(rule) = report.idle() {
        return Err(Failure::infrastructure(format!("gate rule \"{rule}\" had nothing to judge: no benchmark is in the base and another side")));
    }
    Ok(if report.failed() { ExitCode::from(GATE) } else { ExitCode::SUCCESS })
}

async fn send(store: &str, token: Option<&str>, out: &Path, text: &[u8]) -> Result<(), Failure> {
    let client = Client::new(Settings::default()).map_err(Failure::infrastructure)?;
    let name = out.file_name().map_or_else(|| "results".into(), |name| name.to_string_lossy());
    let seen = upload(&client, store, token.map(str::trim), &name, text).await;
    let seen = seen.map_err(|error| Failure::infrastructure(format!("{error}\nThe results are in {}; nothing is lost.", out.display())))?;
    eprintln!("Uploaded: {seen}");
    Ok(())
}

fn plan(args: &RunArgs, seed: u64) -> Result<Plan, Failure> {
    let mut sides = Vec::new();
    for (label, command) in [("a", &args.a), ("b", &args.b)] {
        sides.extend(command.as_ref().map(|command| Side { label: label.into(), command: command.clone(), dir: None }));
    }
    for side in &args.side {
        let Some((label, command)) = side.split_once('=').filter(|(label, _)| !label.is_empty()) else {
            return Err(Failure::usage(format!("--side {side:?}: it must be NAME=COMMAND")));
        };
        sides.push(Side { label: label.into(), command: command.into(), dir: None });
    }
    let format = match &args.format {
        None => None,
        Some(name) => {
            Some(Format::by_name(name).ok_or_else(|| Failure::usage(format!("--format {name:?}: known are {}", Format::ALL.map(Format::name).join(", "))))?)
        }
    };
    let until = args.until.strip_suffix('%').unwrap_or(&args.until).trim().parse::<f64>();
    let until = until.map_err(|_| Failure::usage(format!("--until {:?}: it must be a number of percent, such as 1%", args.until)))? / 100.0;
    Ok(Plan {
        sides,
        report: args.report.clone(),
        format,
        min_rounds: args.min_rounds,
        max_rounds: args.max_rounds,
        budget: time("--budget", &args.budget)?,
        run_limit: args.timeout.as_deref().map(|text| time("--timeout", text)).transpose()?,
        until,
        units: args.units.clone(),
        seed: args.seed.unwrap_or(seed),
    })
}

fn time(flag: &str, text: &str) -> Result<Duration, Failure> {
    burrow_site::parse_duration(text).ok_or_else(|| Failure::usage(format!("{flag} {text:?}: it must be a time such as 90s, 10m or 1h30m")))
}

fn revisions(args: &RunArgs, trees: &Worktrees) -> Vec<Side> {
    let command = args.command.clone().unwrap_or_default();
    let side = |(number, (rev, path)): (usize, (&String, &PathBuf))| {
        // The same revision twice is a test of the machine: both sides should be equal.
        let again = args.revs.iter().take(number).filter(|known| *known == rev).count();
        let label = if again == 0 { rev.clone() } else { format!("{rev}#{again}") };
        Side { label, command: command.clone(), dir: Some(path.clone()) }
    };
    args.revs.iter().zip(trees.paths()).enumerate().map(side).collect()
}

/// Runs the setup in every revision.
async fn prepare(setup: &str, revs: &[String], trees: &Worktrees, kill: &CancellationToken) -> Result<(), Failure> {
    for (rev, path) in revs.iter().zip(trees.paths()) {
        eprintln!("{rev}: {setup}");
        let mut shell = tokio::process::Command::new("sh");
        shell.arg("-c").arg(setup).current_dir(path).stdin(std::process::Stdio::null()).kill_on_drop(true);
        let status = tokio::select! {
            status = shell.status() => status.map_err(Failure::infrastructure)?,
            () = kill.cancelled() => return Err(Failure::infrastructure("stopped")),
        };
        if !status.success() {
            return Err(Failure::infrastructure(format!("{rev}: the setup ended with {status}")));
        }
    }
    Ok(())
}

/// Whether a summary is Markdown (otherwise it is JSON).
fn summary_format(path: &Path) -> Result<bool, Failure> {
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("md") => Ok(true),
        Some("json") => Ok(false),
        _ => Err(Failure::usage(format!("--summary {}: its name must end in .md or .json", path.display()))),
    }
}

async fn listen(mut interrupts: Interrupts, stop: CancellationToken, kill: CancellationToken) {
    if matches!(interrupts.next().await, Told::Interrupt) {
        eprintln!("Stopping after the present run; Ctrl-C again stops at once.");
        stop.cancel();
        interrupts.next().await;
    }
    kill.cancel();
}

/// How it ended, and what is not known well.
fn said(outcome: &Outcome, plan: &Plan) {
    let why = match outcome.ending {
        Ending::Tight => "every interval is tight enough",
        Ending::Rounds => "that is the largest number of rounds",
        Ending::Budget => "another round would not fit into the budget",
        Ending::Stopped => "stopped",
        Ending::Failing { .. } => "a side fails",
    };
    let count = |n: u32, of: &str| format!("{n} {of}{}", if n == 1 { "" } else { "s" });
    eprintln!("{} in {}; {why}.", count(outcome.runs, "run"), count(outcome.rounds, "round"));
    let mut noisy: Vec<_> = outcome.spreads.iter().filter(|spread| spread.half_width > plan.until).collect();
    noisy.sort_by(|a, b| b.half_width.total_cmp(&a.half_width));
    for spread in noisy.iter().take(5) {
        let label = plan.sides.get(spread.side).map_or("", |side| &side.label);
        eprintln!("Still noisy: {} {} of {label}, known to ±{:.1}%.", spread.name, spread.unit, spread.half_width * 100.0);
    }
    if noisy.len() > 5 {
        eprintln!("… and {} more.", noisy.len() - 5);
    }
}

/// The file of results, which is as whole as the runs at every moment.
struct Growing {
    path: PathBuf,
    file: File,
    written: usize,
}

impl Growing {
    fn create(path: &Path) -> Result<Growing, Failure> {
        let wrong = |error: std::io::Error| Failure::usage(format!("{}: {error}", path.display()));
        if std::fs::metadata(path).is_ok_and(|meta| meta.len() > 0) {
            return Err(Failure::usage(format!("{} holds results already; give another file with --out, or remove it", path.display())));
        }
        Ok(Growing { path: path.to_owned(), file: File::create(path).map_err(wrong)?, written: 0 })
    }

    fn grow(&mut self, text: &[u8]) -> Result<(), Failure> {
        let new = text.get(self.written..).unwrap_or_default();
        self.file.write_all(new).map_err(|error| Failure::infrastructure(format!("{}: {error}", self.path.display())))?;
        self.written = text.len();
        Ok(())
    }
}
