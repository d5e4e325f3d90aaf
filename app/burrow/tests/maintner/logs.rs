//! The real executable with logs that it made itself.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use serde_json::Value;

/// `burrow` with arguments in `dir`, which is its home, too; nothing of this machine's settings reaches it.
pub(crate) fn command(dir: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_burrow"));
    command.args(args).current_dir(dir).env_clear().env("HOME", dir).env("LC_ALL", "C.UTF-8").env("TZ", "America/New_York");
    command.envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
    command
}

/// What it said and how it ended.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl From<Output> for Said {
    fn from(output: Output) -> Said {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("what it prints is UTF-8");
        Said { code: output.status.code().expect("it was not ended by a signal"), out: text(output.stdout), err: text(output.stderr) }
    }
}

pub(crate) fn run(dir: &Path, args: &[&str]) -> Said {
    command(dir, args).output().expect("the executable starts").into()
}

/// Runs what must end well; its standard output.
pub(crate) fn well(dir: &Path, args: &[&str]) -> String {
    let said = run(dir, args);
    assert_eq!(said.code, 0, "burrow {args:?}: {}", said.err);
    said.out
}

/// The objects that it prints.
pub(crate) fn objects(dir: &Path, args: &[&str]) -> Vec<Value> {
    let out = well(dir, &[args, &["--json"]].concat());
    out.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{args:?}: {line}: {error}"))).collect()
}

/// A folder with `demo`, a log of the model at scale 0.001, and `odd`, the torture log: made once for all tests of a program. Nobody writes into it.
pub(crate) fn made() -> &'static Path {
    static MADE: OnceLock<PathBuf> = OnceLock::new();
    MADE.get_or_init(|| {
        let dir = tempfile::Builder::new().prefix("burrow-logs").tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder").keep();
        // What an earlier run left is of no use to anybody.
        for entry in std::fs::read_dir(env!("CARGO_TARGET_TMPDIR")).into_iter().flatten().flatten() {
            let old = entry.metadata().and_then(|metadata| metadata.modified()).is_ok_and(|time| time.elapsed().is_ok_and(|age| age.as_secs() > 3_600));
            if old && entry.file_name().to_string_lossy().starts_with("burrow-logs") {
                let _ = std::fs::remove_dir_all(entry.path());
            }
        }
        well(&dir, &["mutlog", "gen", "--scale", "0.001", "--seed", "1", "--out", "demo"]);
        well(&dir, &["mutlog", "torture", "--out", "odd"]);
        dir
    })
}

/// Everything in a log by kind of line, as its dump says: the dump is compared with the reference's elsewhere, so this is what is true.
pub(crate) fn facts(log: &str) -> BTreeMap<String, Vec<Value>> {
    let out = well(made(), &["mutlog", "dump", log, "--reading", "ours"]);
    let mut facts: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for line in out.lines() {
        let line: Value = serde_json::from_str(line).expect("a dump is JSON");
        facts.entry(line["t"].as_str().expect("every line has a kind").to_owned()).or_default().push(line);
    }
    facts
}

pub(crate) fn text<'v>(value: &'v Value, key: &str) -> &'v str {
    value[key].as_str().unwrap_or_else(|| panic!("{key} of {value}"))
}
