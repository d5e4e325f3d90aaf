//! `cargo xtask test`: the steps, one after the other; a failed one does not keep the others from running.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, Result};

use crate::postgres::Postgres;
use crate::tally::Tally;
use crate::{fuzz, root, tools};

/// Runs everything; false if anything failed, or under `CI=true` could not run.
pub(crate) fn test(quick: bool) -> Result<bool> {
    let root = root()?;
    let start = Instant::now();
    let mut tally = Tally::default();
    let ci = std::env::var("CI").is_ok_and(|ci| ci == "true" || ci == "1");

    tools::provide(&[tools::GIT, tools::POSTGRES, tools::NODE, tools::CHROMIUM, tools::CPLUSPLUS, tools::NETWORK, tools::MAIL, tools::SSHD]);

    step("formatting", &mut tally, |tally| {
        let ok = run(cargo(&root).args(["fmt", "--all", "--check"]), tally)?;
        tally.check("cargo fmt", ok);
        Ok(())
    });
    step("lints", &mut tally, |tally| {
        let ok = run(cargo(&root).args(["clippy", "--workspace", "--all-targets", "--quiet", "--", "-D", "warnings"]), tally)?;
        tally.check("cargo clippy", ok);
        Ok(())
    });
    step("tests", &mut tally, |tally| cargo_tests(&root, tally));
    if quick {
        tally.skipped.insert("browser tests and fuzzing: left out by --quick".into());
    } else {
        step("browser", &mut tally, |tally| browser(&root, tally));
        step("fuzzing", &mut tally, |tally| fuzz::all(&root, tally));
    }

    println!("\n{} min {:02} s", start.elapsed().as_secs() / 60, start.elapsed().as_secs() % 60);
    if !tally.skipped.is_empty() {
        println!("\nCould not run here{}:", if ci { ", which under CI=true is a failure" } else { "" });
        tally.skipped.iter().for_each(|name| println!("  {name}"));
    }
    if ci {
        tally.failed += tally.skipped.len() as u64;
    }
    if !tally.failures.is_empty() {
        println!("\nFailed:");
        tally.failures.iter().for_each(|name| println!("  {name}"));
    }
    println!("\n{} passed, {} failed", tally.passed, tally.failed);
    std::io::stdout().flush()?;
    Ok(tally.failed == 0)
}

fn step(name: &str, tally: &mut Tally, work: impl FnOnce(&mut Tally) -> Result<()>) {
    println!("\n== {name} ==");
    let start = Instant::now();
    if let Err(error) = work(tally) {
        println!("{name}: {error:#}");
        tally.check(name, false);
    }
    println!("== {name}: {} s ==", start.elapsed().as_secs());
}

fn cargo(root: &Path) -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(root);
    // Set by the cargo that runs xtask, and of no meaning to others.
    for name in ["CARGO_MANIFEST_DIR", "CARGO_MANIFEST_PATH", "CARGO_PKG_NAME", "CARGO_PKG_VERSION"] {
        cargo.env_remove(name);
    }
    cargo
}

/// Runs a command; its standard output is shown and counted.
pub(crate) fn run(command: &mut Command, tally: &mut Tally) -> Result<bool> {
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().with_context(|| format!("{command:?}"))?;
    let out = BufReader::new(child.stdout.take().context("a piped stdout")?);
    for line in out.split(b'\n') {
        let line = line?;
        let line = String::from_utf8_lossy(&line);
        println!("{line}");
        tally.line(&line);
        tally.ignored(&line);
    }
    Ok(child.wait()?.success())
}

fn cargo_tests(root: &Path, tally: &mut Tally) -> Result<()> {
    let skipped = tempfile::NamedTempFile::new()?;
    let mut command = cargo(root);
    command.args(["test", "--workspace", "--no-fail-fast"]).env("BURROW_TEST_SKIPPED", skipped.path());
    // Test programs find the executables beside xtask: all of them are built in one go.
    if let Some(folder) = std::env::current_exe()?.parent() {
        command.env("BURROW_TEST_EXECUTABLES", folder);
    }
    let postgres = if tools::POSTGRES.is_there() { Some(Postgres::start()?) } else { None };
    if let Some(postgres) = &postgres {
        command.env("BURROW_TEST_POSTGRES", postgres.url());
    }
    let before = tally.failed;
    let ok = run(&mut command, tally)?;
    drop(postgres);
    for line in std::fs::read_to_string(skipped.path())?.lines() {
        tally.skipped.insert(line.to_owned());
    }
    // No test failed and yet cargo did: something does not compile, or a test program crashed.
    if !ok && tally.failed == before {
        tally.check("cargo test (does not compile, or a test program crashed)", false);
    }
    Ok(())
}

fn browser(root: &Path, tally: &mut Tally) -> Result<()> {
    let dir = root.join("tests/browser");
    if !dir.join("package.json").is_file() {
        println!("there are none");
        return Ok(());
    }
    for tool in [tools::NODE, tools::CHROMIUM] {
        if !tool.is_there() {
            tally.skipped.insert(format!("tests/browser: {} is not installed", tool.name));
            return Ok(());
        }
    }
    if !run(Command::new("npm").args(["ci", "--no-audit", "--no-fund", "--loglevel=error"]).current_dir(&dir), tally)? {
        tally.skipped.insert("tests/browser: npm ci failed (no network?)".into());
        return Ok(());
    }
    // `cargo test` built it, with the same features.
    let executables = std::env::current_exe()?.parent().context("a program lies in a folder")?.to_owned();
    let (passed, failed) = (tally.passed, tally.failed);
    let ok = run(Command::new("npm").args(["test", "--silent"]).current_dir(&dir).env("BURROW_TEST_EXECUTABLES", executables), tally)?;
    if (passed, failed) == (tally.passed, tally.failed) || (!ok && failed == tally.failed) {
        tally.check("tests/browser", ok);
    }
    Ok(())
}
