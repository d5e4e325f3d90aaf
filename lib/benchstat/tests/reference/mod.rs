//! What the reference printed, and what this crate prints for the same arguments and files.

// Each test uses its part.
#![allow(dead_code, reason = "shared by tests that need different parts of it")]

pub(crate) mod cases;

use std::path::Path;

use burrow_benchstat::math::sample::Thresholds;
use burrow_benchstat::read::{self, Source};
use burrow_benchstat::table::{self, csv};
use burrow_benchstat::{Builder, Filter, Layout, Projections};

/// Output of a run.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Output {
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
}

/// Runs with the reference's arguments, in a folder. `compat`: with all of its quirks.
pub(crate) fn run(dir: &Path, args: &[String], compat: bool) -> Output {
    let mut output = Output::default();
    if let Err(text) = work(dir, args, compat, &mut output) {
        output.stderr.extend_from_slice(format!("benchstat: {text}\n").as_bytes());
    }
    // Paths in messages are as they were given.
    let prefix = format!("{}/", dir.display());
    let strip = |bytes: &[u8]| String::from_utf8_lossy(bytes).replace(&prefix, "").into_bytes();
    if output.stderr.windows(prefix.len()).any(|w| w == prefix.as_bytes()) {
        output.stderr = strip(&output.stderr);
    }
    output
}

fn work(dir: &Path, args: &[String], compat: bool, output: &mut Output) -> Result<(), String> {
    let mut projections = Projections::default();
    let (mut filter, mut format, mut thresholds) = ("*", "text", Thresholds::default());
    let mut inputs = Vec::new();
    let mut rest = args.iter();
    while let Some(arg) = rest.next() {
        let mut value = || rest.next().map_or("", String::as_str);
        match arg.as_str() {
            "-table" => projections.table = value(),
            "-row" => projections.row = value(),
            "-col" => projections.col = value(),
            "-ignore" => projections.ignore = value(),
            "-filter" => filter = value(),
            "-format" => format = value(),
            "-alpha" => thresholds.alpha = value().parse().unwrap(),
            "-confidence" => thresholds.confidence = value().parse().unwrap(),
            input => inputs.push(input.to_owned()),
        }
    }
    let mut filter = Filter::new(filter).map_err(|error| format!("parsing -filter: {error}"))?;
    let layout = Layout::new(&projections, &mut filter).map_err(|error| error.to_string())?;
    let mut builder = Builder::new(layout, filter);
    let mut sources = Source::of_arguments(&inputs);
    for source in &mut sources {
        source.path = dir.join(&source.path).display().to_string();
    }
    let options = read::Options { untidied_zeros: compat, fatal_long_lines: compat, threads: None };
    let wrong = &mut |error: &protocol_benchfmt::SyntaxError| output.stderr.extend_from_slice(format!("{error}\n").as_bytes());
    let units = read::read(&sources, &mut builder, &options, wrong).map_err(|error| error.to_string())?;
    let tables = builder.tables(&units, &table::Options { thresholds, threads: None });
    if format == "csv" {
        let style = csv::Style { unclamped: compat, wrong_letters: compat };
        csv::write(&tables, &mut output.stdout, &mut output.stderr, style).unwrap();
    } else {
        table::text::write(&tables, &mut output.stdout, compat).unwrap();
    }
    Ok(())
}
