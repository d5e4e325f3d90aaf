//! The project's own chores.
//!
//! `cargo xtask test` runs everything that this machine can run, and installs what it lacks where it may. `cargo xtask bench NAME` runs a benchmark and
//! keeps its raw output. Nothing here is part of Burrow; it may read the environment and the clock.

mod bench;
mod fuzz;
mod postgres;
mod steps;
mod tally;
mod tools;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result};

const USAGE: &str = "\
cargo xtask test [--quick]        everything this machine can run; --quick leaves out fuzzing and the browser
cargo xtask bench [NAME [ARG…]]   run a benchmark (raw runs in bench/runs/); without a name: list them
";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        ["test"] => steps::test(false),
        ["test", "--quick"] => steps::test(true),
        ["bench"] => bench::list(),
        ["bench", name, rest @ ..] => bench::run(name, rest),
        _ => {
            eprint!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Root of the workspace.
fn root() -> Result<PathBuf> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).parent().context("xtask lies in the workspace")?.to_owned();
    Ok(root)
}
