//! What the executable says of itself. (A test in this package also makes `cargo test` build the executable that the black-box tests use.)

use std::process::{Command, Output};

fn burrow(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_burrow")).args(args).env_remove("BURROW_URL").output().expect("the executable starts")
}

#[test]
fn every_command_shows_examples() {
    for command in ["up", "build", "coordinator", "why", "retrybuilds"] {
        let output = burrow(&[command, "--help"]);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success() && text.contains("Example") && text.contains(&format!("burrow {command}")), "{command}: {text}");
    }
    for command in ["check", "explain", "table", "diff"] {
        let output = burrow(&["config", command, "--help"]);
        assert!(output.status.success() && String::from_utf8_lossy(&output.stdout).contains("Example"), "config {command}");
    }
}

#[test]
fn wrong_arguments_end_with_2_and_absent_coordinators_with_3() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().to_str().unwrap();
    for wrong in [&["nonsense"] as &[&str], &["why", "x"], &["build", "--workers", "0"], &["retrybuilds"], &["why", "1", "--coordinator", "not an address"]] {
        assert_eq!(burrow(wrong).status.code(), Some(2), "{wrong:?}");
    }
    // A port that nobody listens on: it was free a moment ago and is not given out again so soon.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let nobody = format!("http://127.0.0.1:{port}");
    for absent in [&["why", "1", "--coordinator", &nobody, "--data", folder] as &[&str], &["machine", "--coordinator", &nobody, "--data", folder, "list"]] {
        let output = burrow(absent);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(3), "{absent:?}: {said}");
        assert!(said.contains("does not answer") && said.contains("--data"), "{said}");
    }
}

#[test]
fn the_worker_is_a_hidden_command() {
    let output = burrow(&["buildlet", "--version"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(!String::from_utf8_lossy(&burrow(&["--help"]).stdout).contains("buildlet  "));
}
