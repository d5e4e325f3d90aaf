//! A cold release build of everything, with two jobs, in a target folder of its own. Crates are fetched before.

use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, ensure};
use serde_json::json;

use crate::procfs::Cpu;
use crate::report::{Bound, Report, median};
use crate::settings::{Settings, scratch};

/// Measures.
///
/// # Errors
/// It does not build.
pub(crate) fn run(settings: &Settings) -> anyhow::Result<()> {
    let mut report = Report::new("build-time");
    let root = testkit_harness::burrow::root();
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    ensure!(Command::new(&cargo).args(["fetch", "--locked", "--quiet"]).current_dir(root).status().context("cargo")?.success(), "cargo fetch failed");
    let mut minutes = Vec::new();
    for _ in 0..settings.runs(1) {
        let target = scratch()?;
        let before = Cpu::of(std::process::id());
        let begin = Instant::now();
        let mut build = Command::new(&cargo);
        build.args(["build", "--release", "--workspace", "--locked", "--quiet", "--jobs", "2", "--target-dir"]).arg(target.path()).current_dir(root);
        // The variables that `cargo run` gave this program would change how crates are built.
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("CARGO_")) {
            if name != "CARGO_HOME" {
                build.env_remove(name);
            }
        }
        ensure!(build.stdin(Stdio::null()).status()?.success(), "the workspace does not build");
        let seconds = begin.elapsed().as_secs_f64();
        let cpu = Cpu::of(std::process::id()) - before;
        let sizes: Vec<_> = ["burrow", "buildlet"]
            .iter()
            .filter_map(|name| Some(json!({"name": name, "bytes": std::fs::metadata(target.path().join("release").join(name)).ok()?.len()})))
            .collect();
        report.run(json!({"side": "burrow", "seconds": seconds, "cpu": cpu.children, "jobs": 2, "executables": sizes}));
        minutes.push(seconds / 60.0);
    }
    report.line("cold release build, 2 jobs", "min", median(&minutes), None, Bound::AtMost(8.0));
    report.finish(settings)
}
