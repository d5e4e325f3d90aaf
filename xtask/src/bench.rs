//! `cargo xtask bench NAME`: a benchmark of `bench/`, its table on the terminal and its raw output kept with the machine and the date.

use std::fmt::Write as _;
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::root;
use crate::steps;
use crate::tally::Tally;

fn names() -> Result<Vec<String>> {
    let mut names: Vec<String> = std::fs::read_dir(root()?.join("bench/src/bin"))
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| Some(entry.path().file_stem()?.to_str()?.to_owned()))
        .collect();
    names.sort();
    Ok(names)
}

pub(crate) fn list() -> Result<bool> {
    for name in names()? {
        println!("cargo xtask bench {name}");
    }
    Ok(true)
}

/// Runs it; false if it failed.
pub(crate) fn run(name: &str, args: &[&str]) -> Result<bool> {
    let known = names()?;
    if !known.iter().any(|known| known == name) {
        bail!("there is no benchmark {name:?}; there are: {}", known.join(", "));
    }
    let root = root()?;
    let mut build = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    build.args(["build", "--release", "--quiet", "-p", "burrow-bench", "-p", "burrow", "-p", "buildlet"]).current_dir(&root);
    if !steps::run(&mut build, &mut Tally::default())? {
        bail!("does not build");
    }
    // Benchmarks of whole programs use the release executables beside them.
    let executables = root.join("target/release");
    let output = Command::new(executables.join(name)).args(args).env("BURROW_TEST_EXECUTABLES", &executables).current_dir(&root).output()?;
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    print!("{out}");
    eprint!("{err}");
    let runs = root.join("bench/runs");
    std::fs::create_dir_all(&runs)?;
    let file = runs.join(format!("{name}-{}.txt", said("date", &["-u", "+%Y-%m-%d-%H%M%S"])));
    std::fs::write(&file, format!("{}\n{out}{err}", machine(name, args)?)).with_context(|| file.display().to_string())?;
    println!("kept in {}", file.strip_prefix(&root).unwrap_or(&file).display());
    Ok(output.status.success())
}

/// What a figure is worth nothing without.
fn machine(name: &str, args: &[&str]) -> Result<String> {
    let mut head = String::new();
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name")).map_or("", |rest| rest.trim_start_matches(['\t', ' ', ':']));
    let memory = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    writeln!(head, "# cargo xtask bench {name} {}", args.join(" "))?;
    writeln!(head, "# commit: {}", said("git", &["describe", "--always", "--dirty", "--abbrev=12"]))?;
    writeln!(head, "# compiler: {}", said("rustc", &["--version"]))?;
    writeln!(head, "# processors: {} × {model}", std::thread::available_parallelism().map_or(0, usize::from))?;
    writeln!(head, "# {}", memory.lines().next().unwrap_or("").split_whitespace().collect::<Vec<_>>().join(" "))?;
    writeln!(head, "# kernel: {}", said("uname", &["-sr"]))?;
    Ok(head)
}

fn said(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output();
    output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default()
}
