//! `cargo xtask bench NAME`: builds everything for release and runs a benchmark of `bench/`, which prints its table and keeps its raw runs in `bench/runs/`.

use std::process::Command;

use anyhow::{Result, bail};

use crate::root;

/// Prints which benchmarks there are.
pub(crate) fn list() -> Result<bool> {
    run("--help", &[])
}

/// Runs one; false if it failed.
pub(crate) fn run(name: &str, args: &[&str]) -> Result<bool> {
    let root = root()?;
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let build =
        Command::new(cargo).args(["build", "--release", "--quiet", "-p", "burrow-bench", "-p", "burrow", "-p", "buildlet"]).current_dir(&root).status()?;
    if !build.success() {
        bail!("does not build");
    }
    // Xtask lies in target/debug; the benchmarks measure the release executables beside it.
    let executables = std::env::current_exe()?.ancestors().nth(2).map_or_else(|| root.join("target"), Into::into).join("release");
    Ok(Command::new(executables.join("burrow-bench")).arg(name).args(args).current_dir(&root).status()?.success())
}
