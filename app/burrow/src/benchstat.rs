//! `burrow benchstat`: reads benchmark results, shows tables, and fails a check where a rule says so. The statistics are `lib/benchstat`.

mod args;
mod older;

use std::io::{self, BufWriter, Write};
use std::process::ExitCode;

use burrow_benchstat::gate::{self, Report, Rule};
use burrow_benchstat::math::correction::Correction;
use burrow_benchstat::math::sample::Thresholds;
use burrow_benchstat::read::{self, Content, Source};
use burrow_benchstat::{Builder, Filter, Layout, Projections, Tables, table};

pub(crate) use args::{BenchstatArgs, single_dashes};

/// A gate rule found something.
const GATE: u8 = 1;
/// Arguments.
const USAGE: u8 = 2;
/// An input, or the output.
const INPUT: u8 = 3;
/// An answer of a server may be this long.
const LARGEST_ANSWER: u64 = 1 << 30;

/// What stops it; the sentence comes behind `benchstat: `.
pub(super) struct Stop {
    status: u8,
    text: String,
}

impl Stop {
    pub(super) fn usage(text: impl ToString) -> Stop {
        Stop { status: USAGE, text: text.to_string() }
    }

    pub(super) fn input(text: impl ToString) -> Stop {
        Stop { status: INPUT, text: text.to_string() }
    }
}

/// Runs it. Its messages are the reference's, so that they begin with its name.
pub(crate) fn run(args: &BenchstatArgs) -> ExitCode {
    let done = if args.engine == args::Engine::V1 { older::run(args) } else { work(args) };
    match done {
        Ok(status) => ExitCode::from(status),
        // A reader that closed the pipe has seen enough.
        Err(Stop { text, .. }) if text.is_empty() => ExitCode::SUCCESS,
        Err(Stop { status, text }) => {
            eprintln!("benchstat: {text}");
            ExitCode::from(if args.compat { 0 } else { status })
        }
    }
}

fn work(args: &BenchstatArgs) -> Result<u8, Stop> {
    let mut filter = Filter::new(&args.filter).map_err(|error| Stop::usage(format!("parsing -filter: {error}")))?;
    let projections = Projections { table: &args.table, row: &args.row, col: &args.col, ignore: &args.ignore };
    let layout = Layout::new(&projections, &mut filter).map_err(Stop::usage)?;
    for (name, value) in [("alpha", args.alpha), ("confidence", args.confidence)] {
        if !(0.0..=1.0).contains(&value) {
            return Err(Stop::usage(format!("-{name} must be in range [0, 1]")));
        }
    }
    let format = args.format()?;
    let rules: Vec<Rule> = args.fail_on.iter().map(|rule| rule.parse()).collect::<Result<_, _>>().map_err(Stop::usage)?;
    let correction = Correction::named(&args.correction).ok_or_else(|| Stop::usage("--correction must be bh, holm or none"))?;

    let mut builder = Builder::new(layout, filter);
    let mut wrong_lines = 0_u64;
    let options = read::Options { untidied_zeros: args.compat, fatal_long_lines: args.compat, threads: None };
    let mut stderr = io::stderr().lock();
    let units = read::read(&sources(&args.inputs)?, &mut builder, &options, &mut |error| {
        wrong_lines += 1;
        let _ = writeln!(stderr, "{error}");
    });
    drop(stderr);
    let units = units.map_err(Stop::input)?;
    let thresholds = Thresholds { alpha: args.alpha, confidence: args.confidence };
    let tables = builder.tables(&units, &table::Options { thresholds, threads: None });
    let report = (!rules.is_empty()).then(|| gate::judge(&tables, &rules, correction));
    show(&tables, format, report.as_ref(), args.compat)?;
    // Giving a million small pieces back to an allocator that ends with the process takes a tenth of the run.
    std::mem::forget(tables);
    verdict(report.as_ref(), args, wrong_lines)
}

fn show(tables: &Tables, format: args::Format, report: Option<&Report>, compat: bool) -> Result<(), Stop> {
    let mut out = BufWriter::with_capacity(1 << 16, io::stdout().lock());
    let written = match format {
        args::Format::Text => table::text::write(tables, &mut out, compat),
        args::Format::Csv => {
            let style = table::csv::Style { unclamped: compat, wrong_letters: compat };
            table::csv::write(tables, &mut out, &mut io::stderr().lock(), style)
        }
        args::Format::Json => table::json::write(tables, report, &mut out),
        args::Format::Markdown => table::markdown::write(tables, &mut out),
        args::Format::Html => table::html::write(tables, "Benchmarks", &mut out),
    };
    written.and_then(|()| out.flush()).map_err(output)
}

/// A failure to write. The reader of a pipe may stop when it likes.
pub(super) fn output(error: io::Error) -> Stop {
    if error.kind() == io::ErrorKind::BrokenPipe { Stop { status: 0, text: String::new() } } else { Stop::input(format!("writing the output: {error}")) }
}

fn verdict(report: Option<&Report>, args: &BenchstatArgs, wrong_lines: u64) -> Result<u8, Stop> {
    if let Some(report) = report {
        eprint!("{}", report.text());
        if let Some(rule) = report.idle() {
            return Err(Stop::input(format!(
                "gate rule \"{rule}\" had nothing to judge: no benchmark is in the first column and another one (see -col and -row), or nobody says which way its unit is better"
            )));
        }
        if report.failed() {
            return Ok(GATE);
        }
    }
    if args.strict && wrong_lines > 0 {
        return Err(Stop::input(format!("{wrong_lines} lines could not be read")));
    }
    Ok(0)
}

/// The inputs; addresses are fetched now.
pub(super) fn sources(arguments: &[String]) -> Result<Vec<Source>, Stop> {
    // An address may hold `=` signs of its own: only a label without a colon or slash before one is a label.
    let address = |argument: &str| {
        let behind = argument.split_once('=').filter(|(label, _)| !label.contains([':', '/']));
        let (label, url) = behind.map_or((None, argument), |(label, url)| (Some(label.to_owned()), url));
        (url.starts_with("http://") || url.starts_with("https://")).then(|| (label, url.to_owned()))
    };
    let mut sources = Source::of_arguments(arguments);
    for (source, argument) in sources.iter_mut().zip(arguments) {
        if let Some((label, url)) = address(argument) {
            source.content = Content::Bytes(fetch(&url).map_err(|why| Stop::input(format!("{url}: {why}")))?);
            source.label = label.unwrap_or_else(|| url.clone());
            source.path = url;
        }
    }
    Ok(sources)
}

fn fetch(url: &str) -> Result<Vec<u8>, String> {
    let agent = ureq::Agent::config_builder().timeout_connect(Some(std::time::Duration::from_secs(10))).build().new_agent();
    let mut answer = agent.get(url).call().map_err(|error| error.to_string())?;
    answer.body_mut().with_config().limit(LARGEST_ANSWER).read_to_vec().map_err(|error| error.to_string())
}
