//! `burrow bench run` as a person and a build recipe use it.

#![cfg(unix)]

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::{Command, Output, Stdio};

fn bench(dir: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_burrow"));
    command.args(["bench", "run"]).args(args).current_dir(dir).env_remove("RUST_LOG").stdin(Stdio::null());
    command
}

fn output(dir: &Path, args: &[&str]) -> Output {
    bench(dir, args).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

const OLD: &str = "echo 'BenchmarkX 1 100 ns/op 5 allocs/op'";
const NEW: &str = "echo 'BenchmarkX 1 120 ns/op 5 allocs/op'";

#[test]
fn the_gate_decides_and_the_log_holds_a_marked_comparison() {
    let dir = tempfile::tempdir().unwrap();
    let args = ["--a", OLD, "--b", NEW, "--fail-on", "regression>2%", "--summary", "s.md", "--summary", "s.json", "--seed", "7"];
    let slower = output(dir.path(), &args);
    assert_eq!(slower.status.code(), Some(1), "{}", text(&slower.stderr));
    let shown = text(&slower.stdout);
    let inside = shown.strip_prefix("=== burrow bench: comparison\n").and_then(|rest| rest.strip_suffix("=== burrow bench: end\n")).expect("marks");
    assert!(inside.contains("+20.00% (p=0.002 n=6)"), "{inside}");
    let said = text(&slower.stderr);
    assert!(said.contains("12 runs in 6 rounds; every interval is tight enough.") && said.contains("gate FAILED: regression>2%: 1 of 2 comparisons"), "{said}");
    assert!(std::fs::read_to_string(dir.path().join("s.md")).unwrap().contains("+20.00%"));
    let json: serde_json::Value = serde_json::from_slice(&std::fs::read(dir.path().join("s.json")).unwrap()).unwrap();
    assert!(json.is_object());
    let kept = std::fs::read_to_string(dir.path().join("burrow-bench.txt")).unwrap();
    assert!(kept.starts_with("runner: burrow bench\nseed: 7\n") && kept.matches("BenchmarkX ").count() == 12, "{kept}");

    // The same file, as anybody would look at it later.
    let stat = Command::new(env!("CARGO_BIN_EXE_burrow"))
        .args(["benchstat", "-col", "side@(a b)", "-filter", "-.name:Machine", "burrow-bench.txt"])
        .current_dir(dir.path())
        .output()
        .unwrap();
    assert_eq!(text(&stat.stdout), inside);

    let faster = output(dir.path(), &["--a", NEW, "--b", OLD, "--fail-on", "regression>2%", "--out", "2.txt"]);
    assert_eq!(faster.status.code(), Some(0), "{}", text(&faster.stderr));
}

#[test]
fn wrong_arguments_run_nothing() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("full.txt"), "results of yesterday").unwrap();
    let touch = "touch ran";
    for (args, expected) in [
        (vec!["--a", touch, "--b", touch, "--until", "tight"], "--until \"tight\": it must be a number of percent"),
        (vec!["--a", touch, "--b", touch, "--budget", "10"], "--budget \"10\": it must be a time such as 90s"),
        (vec!["--a", touch, "--b", touch, "--fail-on", "regresion"], "unknown kind \"regresion\""),
        (vec!["--a", touch, "--b", touch, "--out", "full.txt"], "full.txt holds results already"),
        (vec!["--a", touch, "--b", touch, "--summary", "x.html"], "its name must end in .md or .json"),
        (vec!["--side", "a=touch ran"], "at least two sides"),
        (vec!["--side", "touch ran", "--side", "b=touch ran"], "it must be NAME=COMMAND"),
        (vec!["--rev", "no-such", "--rev", "HEAD", touch], "git cannot check out no-such"),
        (vec![], "required"),
    ] {
        let refused = output(dir.path(), &args);
        assert_eq!(refused.status.code(), Some(2), "{args:?}: {}", text(&refused.stderr));
        assert!(text(&refused.stderr).contains(expected), "{args:?}: {}", text(&refused.stderr));
    }
    assert!(!dir.path().join("ran").exists());
    assert_eq!(std::fs::read_to_string(dir.path().join("full.txt")).unwrap(), "results of yesterday");
}

#[test]
fn a_side_without_results_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let broken = output(dir.path(), &["--side", "base=echo 'no such test' >&2; exit 1", "--side", &format!("head={OLD}")]);
    assert_eq!(broken.status.code(), Some(3));
    let said = text(&broken.stderr);
    assert!(said.contains("base: the command ended with exit status: 1; it said:\nno such test") && said.contains("base gives no results"), "{said}");
}

#[test]
fn ctrl_c_finishes_the_present_run_and_keeps_what_was_measured() {
    let dir = tempfile::tempdir().unwrap();
    // Every run waits until it is let go.
    let waits = format!("{OLD}; touch started; while [ ! -e go ]; do sleep 0.01; done");
    let mut child = bench(dir.path(), &["--a", &waits, "--b", &waits]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    while !dir.path().join("started").exists() {
        assert!(child.try_wait().unwrap().is_none(), "it ended");
        std::thread::yield_now();
    }
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    let mut line = String::new();
    while !line.contains("Stopping after the present run") {
        line.clear();
        assert!(stderr.read_line(&mut line).unwrap() > 0, "it ended without a word");
    }
    std::fs::write(dir.path().join("go"), "").unwrap();
    let mut rest = String::new();
    stderr.read_to_string(&mut rest).unwrap();
    child.wait().unwrap();
    assert!(rest.contains("1 run in 1 round; stopped."), "{rest}");
    assert_eq!(std::fs::read_to_string(dir.path().join("burrow-bench.txt")).unwrap().matches("BenchmarkX ").count(), 1);
}
