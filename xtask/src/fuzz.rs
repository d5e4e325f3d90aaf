//! A short run of every fuzz target: long enough to notice a parser that panics on rubbish, not a search for rare faults.
//!
//! The targets are the crates `*/*/fuzz`, a workspace of their own (`fuzz/`) with libFuzzer. They are built with a stable compiler: coverage is a matter of LLVM's passes, and
//! a sanitizer for memory would find little in code without `unsafe`.

use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::{Context as _, Result, anyhow, bail};

use crate::steps::run;
use crate::tally::Tally;
use crate::tools;

/// Seconds for each target.
const SECONDS: u32 = 10;
const FLAGS: &str = "--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
                     -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares -Cdebug-assertions -Ccodegen-units=1";

pub(crate) fn all(root: &Path, tally: &mut Tally) -> Result<()> {
    let manifest = root.join("fuzz/Cargo.toml");
    if !tools::CPLUSPLUS.is_there() {
        tally.skipped.insert(format!("fuzzing: {} is not installed", tools::CPLUSPLUS.name));
        return Ok(());
    }
    let host = host()?;
    let folder = root.join("target/fuzz");
    let mut build = cargo();
    // With a --target, the flags do not touch build scripts and macros, which are not linked with libFuzzer.
    build.args(["build", "--workspace", "--release", "--quiet", "--bins", "--target", &host, "--manifest-path"]).arg(&manifest);
    if !run(build.arg("--target-dir").arg(&folder).env("RUSTFLAGS", FLAGS).current_dir(root), tally)? {
        bail!("does not build");
    }
    let programs = folder.join(&host).join("release");
    let targets = Mutex::new(targets(&manifest)?.into_iter());
    let tally = Mutex::new(tally);
    // A target runs in one thread.
    let lanes = std::thread::available_parallelism().map_or(1, NonZero::get);
    std::thread::scope(|scope| {
        let lane = || -> Result<()> {
            loop {
                let Some(target) = locked(&targets).next() else { return Ok(()) };
                let ok = fuzz(root, &programs, &target).with_context(|| target.shown(root))?;
                locked(&tally).check(&format!("fuzz {}", target.shown(root)), ok);
            }
        };
        let running: Vec<_> = (0..lanes).map(|_| scope.spawn(lane)).collect();
        running.into_iter().try_for_each(|lane| lane.join().map_err(|_| anyhow!("the run of the targets panicked"))?)
    })
}

fn locked<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

fn cargo() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

struct Target {
    /// The crate of fuzz targets: `lib/mail/fuzz`.
    folder: PathBuf,
    name: String,
}

impl Target {
    fn shown(&self, root: &Path) -> String {
        format!("{} {}", self.folder.strip_prefix(root).unwrap_or(&self.folder).display(), self.name)
    }
}

/// Runs one target; true if no input was at fault.
fn fuzz(root: &Path, programs: &Path, target: &Target) -> Result<bool> {
    let seeds = target.folder.join("seeds").join(&target.name);
    let scratch = tempfile::tempdir()?;
    let corpus = scratch.path().join("corpus");
    std::fs::create_dir(&corpus)?;
    let mut command = Command::new(programs.join(&target.name));
    command.arg(format!("-max_total_time={SECONDS}")).args(["-rss_limit_mb=1024", "-timeout=10", "-verbosity=0", "-print_final_stats=1"]);
    command.arg(format!("-artifact_prefix={}/", scratch.path().display())).arg(&corpus);
    if seeds.is_dir() {
        command.arg(&seeds);
    }
    let output = command.current_dir(scratch.path()).output().with_context(|| format!("start {}", target.name))?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let runs = said.lines().find_map(|line| line.strip_prefix("stat::number_of_executed_units:")).map_or("?", str::trim);
    let ok = output.status.success();
    println!("{}: {runs} inputs in {SECONDS} s: {}", target.shown(root), if ok { "no fault" } else { "FAULT" });
    if !ok {
        let saved = keep_fault(root, scratch.path(), &target.name)?;
        println!("{said}\nthe input is in {}", saved.display());
    }
    Ok(ok)
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

fn targets(manifest: &Path) -> Result<Vec<Target>> {
    let output = cargo().args(["metadata", "--no-deps", "--format-version=1", "--manifest-path"]).arg(manifest).output()?;
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).context("cargo metadata")?;
    let mut targets = Vec::new();
    for package in metadata["packages"].as_array().into_iter().flatten() {
        let folder = package["manifest_path"].as_str().and_then(|path| Path::new(path).parent()).context("a package lies in a folder")?;
        let programs = package["targets"].as_array().into_iter().flatten().filter(|target| target["kind"][0] == "bin");
        targets.extend(programs.filter_map(|target| target["name"].as_str()).map(|name| Target { folder: folder.to_owned(), name: name.to_owned() }));
    }
    Ok(targets)
}

fn host() -> Result<String> {
    let output = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into())).arg("-vV").output().context("rustc")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.lines().find_map(|line| line.strip_prefix("host: ")).map(str::to_owned).context("rustc -vV names no host")
}
