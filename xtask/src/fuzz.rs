//! A short run of every fuzz target: long enough to notice a parser that panics on rubbish, not a search for rare faults.
//!
//! The targets are `*/fuzz` workspaces of their own with libFuzzer. They are built with a stable compiler: coverage is a matter of LLVM's passes, and
//! a sanitizer for memory would find little in code without `unsafe`.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::steps::run;
use crate::tally::Tally;
use crate::tools;

/// Seconds for each target.
const SECONDS: u32 = 10;
const FLAGS: &str = "--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
                     -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares -Cdebug-assertions -Ccodegen-units=1";

pub(crate) fn all(root: &Path, tally: &mut Tally) -> Result<()> {
    let mut manifests = Vec::new();
    for room in ["app", "service", "lib", "protocol"] {
        for entry in std::fs::read_dir(root.join(room))? {
            let manifest = entry?.path().join("fuzz/Cargo.toml");
            if manifest.is_file() {
                manifests.push(manifest);
            }
        }
    }
    manifests.sort();
    for manifest in manifests {
        if !tools::CPLUSPLUS.is_there() {
            tally.skipped.insert(format!("{}: {} is not installed", shown(root, &manifest), tools::CPLUSPLUS.name));
            continue;
        }
        targets(root, &manifest, tally).with_context(|| shown(root, &manifest))?;
    }
    Ok(())
}

fn shown(root: &Path, manifest: &Path) -> String {
    manifest.parent().unwrap_or(manifest).strip_prefix(root).unwrap_or(manifest).display().to_string()
}

fn cargo() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

fn targets(root: &Path, manifest: &Path, tally: &mut Tally) -> Result<()> {
    let host = host()?;
    // One folder for all: they share what they depend on.
    let folder = root.join("target/fuzz");
    let mut build = cargo();
    // With a --target, the flags do not touch build scripts and macros, which are not linked with libFuzzer.
    build.args(["build", "--release", "--quiet", "--bins", "--target", &host, "--manifest-path"]).arg(manifest).arg("--target-dir").arg(&folder);
    if !run(build.env("RUSTFLAGS", FLAGS).current_dir(root), tally)? {
        bail!("does not build");
    }
    for target in names(manifest)? {
        let name = format!("{} {target}", shown(root, manifest));
        let seeds = manifest.with_file_name("seeds").join(&target);
        let scratch = tempfile::tempdir()?;
        let corpus = scratch.path().join("corpus");
        std::fs::create_dir(&corpus)?;
        let mut command = Command::new(folder.join(&host).join("release").join(&target));
        command.arg(format!("-max_total_time={SECONDS}")).args(["-rss_limit_mb=1024", "-timeout=10", "-verbosity=0", "-print_final_stats=1"]);
        command.arg(format!("-artifact_prefix={}/", scratch.path().display())).arg(&corpus);
        if seeds.is_dir() {
            command.arg(&seeds);
        }
        let output = command.current_dir(scratch.path()).output().with_context(|| format!("start {target}"))?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let runs = said.lines().find_map(|line| line.strip_prefix("stat::number_of_executed_units:")).map_or("?", str::trim);
        println!("{name}: {runs} inputs in {SECONDS} s: {}", if output.status.success() { "no fault" } else { "FAULT" });
        if !output.status.success() {
            println!("{said}");
            let saved = keep_fault(root, scratch.path(), &target)?;
            println!("the input is in {}", saved.display());
        }
        tally.check(&format!("fuzz {name}"), output.status.success());
    }
    Ok(())
}

/// The inputs at fault are worth keeping; the rest of the scratch folder is not.
fn keep_fault(root: &Path, scratch: &Path, target: &str) -> Result<PathBuf> {
    let kept = root.join("target/fuzz-faults").join(target);
    std::fs::create_dir_all(&kept)?;
    for entry in std::fs::read_dir(scratch)? {
        let path = entry?.path();
        if let (true, Some(name)) = (path.is_file(), path.file_name()) {
            std::fs::copy(&path, kept.join(name))?;
        }
    }
    Ok(kept)
}

fn names(manifest: &Path) -> Result<Vec<String>> {
    let output = cargo().args(["metadata", "--no-deps", "--format-version=1", "--manifest-path"]).arg(manifest).output()?;
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).context("cargo metadata")?;
    let targets = metadata["packages"].as_array().into_iter().flatten().flat_map(|package| package["targets"].as_array().into_iter().flatten());
    let programs = targets.filter(|target| target["kind"][0] == "bin").filter_map(|target| target["name"].as_str());
    Ok(programs.map(str::to_owned).collect())
}

fn host() -> Result<String> {
    let output = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into())).arg("-vV").output().context("rustc")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.lines().find_map(|line| line.strip_prefix("host: ")).map(str::to_owned).context("rustc -vV names no host")
}
