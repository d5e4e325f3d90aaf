//! What cannot be is refused with the right exit status and a sentence that helps; what was running goes on.

use std::path::Path;

use burrow_store::Migration;
use burrow_tests::{all_ended, json};
use testkit_harness::Burrow;
use testkit_harness::burrow::run;
use testkit_harness::git::Repository;

fn makefile(dir: &Path) -> Repository {
    let repository = Repository::create(dir.join("app"));
    repository.write("Makefile", "all:\n\techo made\n").commit("first");
    repository
}

/// The command ends with `code` and prints all of `texts`.
fn refused(dir: &Path, args: &[&str], code: i32, texts: &[&str]) {
    let ended = run(dir, args);
    assert_eq!(ended.code(), code, "{args:?}: {}", ended.text());
    for text in texts {
        assert!(ended.text().contains(text), "{args:?} does not say {text:?}: {}", ended.text());
    }
}

#[test]
fn build_ends_with_the_verdict() {
    let dir = tempfile::tempdir().unwrap();
    let repository = makefile(dir.path());
    let app = repository.arg().to_owned();

    let passed = run(dir.path(), &["build", &app]);
    assert_eq!(passed.code(), 0, "{}", passed.text());
    assert!(passed.text().contains("linux-amd64") && passed.text().contains("passed"), "{}", passed.text());
    assert!(!passed.text().contains('\u{1b}'), "plain lines where there is no terminal: {}", passed.text());
    assert_eq!(testkit_harness::process::find(dir.path()), Vec::<u32>::new(), "no process stays behind");

    repository.write("Makefile", "all:\n\techo made\ntest:\n\techo 'this is what went wrong'; exit 9\n").commit("second");
    let failed = run(dir.path(), &["build", &app]);
    assert_eq!(failed.code(), 1, "{}", failed.text());
    assert!(failed.text().contains("this is what went wrong") && failed.text().contains("FAILED: test"), "{}", failed.text());
    assert_eq!(run(dir.path(), &["build", &app, "--rev", "HEAD~1"]).code(), 0, "another commit, another verdict");

    repository.write("Makefile", "all:\n\techo not committed\n");
    let with = run(dir.path(), &["build", &app, "--keep", "kept"]);
    assert_eq!(with.code(), 1, "commits are built, not files");
    assert!(with.text().contains("1 file is changed and not committed"), "{}", with.text());
    assert!(dir.path().join("kept/burrow.db").is_file(), "kept when asked to");

    let output = testkit_harness::burrow::command(dir.path(), &["build", &app, "--json"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let results: serde_json::Value = serde_json::from_slice(&output.stdout).expect("standard output is JSON and nothing else");
    assert_eq!(results[0]["state"], "failed_test");
}

#[test]
fn build_says_what_is_wrong_with_its_arguments() {
    let dir = tempfile::tempdir().unwrap();
    let repository = makefile(dir.path());
    let app = repository.arg();
    refused(dir.path(), &["build", "--no-such-flag"], 2, &["--no-such-flag"]);
    refused(dir.path(), &["build", "nowhere"], 2, &["there is no folder nowhere"]);
    refused(dir.path(), &["build", "."], 2, &["not in a git repository"]);
    refused(dir.path(), &["build", app, "--rev", "no-such"], 2, &["no commit, branch or tag \"no-such\""]);
    refused(dir.path(), &["build", app, "--rev=--upload-pack=touch x"], 2, &["no commit, branch or tag"]);
    refused(dir.path(), &["build", app, "--builder", "plan9"], 2, &["no builder \"plan9\"", "linux-amd64"]);

    let bare = Repository::create(dir.path().join("bare"));
    refused(dir.path(), &["build", bare.arg()], 2, &["no commit yet"]);
    bare.write("notes.txt", "nothing to build").commit("first");
    refused(dir.path(), &["build", bare.arg()], 2, &["go.mod", "Makefile"]);
}

#[test]
fn build_tells_a_broken_machine_from_a_broken_commit() {
    let dir = tempfile::tempdir().unwrap();
    let repository = makefile(dir.path());
    // git cannot be found.
    let mut command = testkit_harness::burrow::command(dir.path(), &["build", repository.arg()]);
    let ended = testkit_harness::Process::start(
        {
            command.env("PATH", dir.path());
            command
        },
        Some(dir.path()),
    )
    .wait();
    assert_eq!(ended.code(), 3, "{}", ended.text());
    assert!(ended.text().contains("git cannot be run"), "{}", ended.text());
    // The folder for results cannot be made: there is a file in its place.
    std::fs::write(dir.path().join("file"), "").unwrap();
    refused(dir.path(), &["build", repository.arg(), "--keep", "file"], 3, &["file"]);
}

#[test]
fn a_second_coordinator_is_refused_and_a_port_in_use_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let repository = makefile(dir.path());
    let burrow = Burrow::up(dir.path(), &["--repo", repository.arg()]);
    refused(dir.path(), &["up", "--repo", repository.arg(), "--data", "data", "--listen", "127.0.0.1:0"], 3, &["in use by another coordinator", "--data"]);
    refused(dir.path(), &["up", "--repo", repository.arg(), "--data", "other", "--listen", &burrow.address], 3, &["is in use", "--listen"]);
    assert!(!dir.path().join("other").exists(), "nothing is left behind by the one that did not start");
    assert_eq!(all_ended(&burrow, 1)[0]["state"], "passed", "the first one is not disturbed");
}

#[test]
fn other_machines_are_not_let_in_without_tls_and_a_token() {
    let dir = tempfile::tempdir().unwrap();
    let repository = makefile(dir.path());
    for open in ["0.0.0.0:0", "[::]:0"] {
        refused(dir.path(), &["up", "--repo", repository.arg(), "--listen", open], 2, &["tls", "admin_token", "127.0.0.1"]);
    }
    refused(dir.path(), &["up", "--repo", repository.arg(), "--listen", "nonsense"], 2, &["127.0.0.1:8080"]);
    refused(dir.path(), &["up", "--repo", "nowhere"], 2, &["there is no folder nowhere"]);
    refused(dir.path(), &["up", "--repo", "."], 2, &["not a git repository"]);
}

#[tokio::test]
async fn data_of_a_newer_burrow_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let repository = makefile(dir.path());
    std::fs::create_dir(dir.path().join("data")).unwrap();
    let mut migrations = burrow_results::MIGRATIONS.to_vec();
    let newer = migrations.len() as i64 + 1;
    migrations.push(Migration { version: newer, name: "of the future", sql: "CREATE TABLE future (id BIGINT PRIMARY KEY)" });
    let url = format!("sqlite:{}", dir.path().join("data/burrow.db").display());
    let db = burrow_store::Db::open(&url, migrations.leak()).await.unwrap();
    db.close().await;
    drop(db);
    refused(dir.path(), &["up", "--repo", repository.arg(), "--data", "data", "--listen", "127.0.0.1:0"], 3, &["schema version", "newer program"]);
}

const FARM: &str = "schema = 1
[pool.local]
kind = \"process\"
workers = 1
[host.local]
pool = \"local\"
[project.app]
main_branch = \"main\"
[repo.app]
project = \"app\"
url = \"app\"
poll = \"2s\"
[recipe.make]
step = [{ name = \"build\", run = [\"make\"] }]
[builder.one]
host = \"local\"
recipe = \"make\"
";

#[test]
fn a_faulty_configuration_is_refused_at_start_and_ignored_while_running() {
    let dir = tempfile::tempdir().unwrap();
    let repository = makefile(dir.path());
    let config = dir.path().join("farm.toml");
    let right = FARM.replace("\"app\"\npoll", &format!("{:?}\npoll", repository.arg()));
    let wrong = right.replace("workers = 1", "wrokers = 1");
    std::fs::write(&config, &wrong).unwrap();
    let place = ["farm.toml:4:1", "wrokers", "workers"];
    refused(dir.path(), &["config", "check", "farm.toml"], 2, &place);
    refused(dir.path(), &["coordinator", "--config", "farm.toml", "--listen", "127.0.0.1:0"], 2, &place);
    refused(dir.path(), &["up", "--config", "nowhere.toml", "--listen", "127.0.0.1:0"], 2, &["nowhere.toml"]);

    std::fs::write(&config, &right).unwrap();
    assert_eq!(run(dir.path(), &["config", "check", "farm.toml"]).code(), 0);
    let burrow = Burrow::serving(dir.path(), &["coordinator", "--config", "farm.toml", "--data", "data", "--listen", "127.0.0.1:0"]);
    all_ended(&burrow, 1);
    // Renamed into its place, as careful editors do.
    let put = |text: &str| {
        std::fs::write(dir.path().join("farm.new"), text).unwrap();
        std::fs::rename(dir.path().join("farm.new"), &config).unwrap();
    };
    put(&wrong);
    burrow.process.wait_for("farm.toml:4:1");
    let builders = |burrow: &Burrow| json(burrow, "/builders.json").to_string();
    assert!(builders(&burrow).contains("\"one\""), "the old configuration stays in force");
    assert_eq!(burrow.post("/api/v1/builds/1/retry", "{}").status, 201);
    all_ended(&burrow, 2);

    put(&format!("{right}[builder.two]\nhost = \"local\"\nrecipe = \"make\"\n"));
    burrow.until("the new builder", |burrow| builders(burrow).contains("\"two\"").then_some(()));
    let explained = run(dir.path(), &["config", "explain", "two", "app", "--config", "farm.toml"]);
    assert_eq!(explained.code(), 0, "{}", explained.text());
    assert!(explained.text().contains("after submit: yes") && explained.text().contains("because"), "{}", explained.text());
    let table = run(dir.path(), &["config", "table", "farm.toml"]);
    assert!(table.text().contains("two") && table.text().contains("app"), "{}", table.text());
    std::fs::write(dir.path().join("old.toml"), &right).unwrap();
    let diff = run(dir.path(), &["config", "diff", "old.toml", "farm.toml"]);
    assert_eq!(diff.code(), 1);
    assert!(diff.text().contains("+ builders.two"), "{}", diff.text());
}

#[test]
fn a_repository_that_vanishes_is_told_and_followed_again_when_it_is_back() {
    let dir = tempfile::tempdir().unwrap();
    let repository = makefile(dir.path());
    let burrow = Burrow::up(dir.path(), &["--repo", repository.arg()]);
    all_ended(&burrow, 1);
    let error = |burrow: &Burrow| json(burrow, "/index.json")["tiles"][0]["source_error"].as_str().unwrap_or("").to_owned();
    let (here, away) = (repository.path().to_owned(), dir.path().join("away"));
    std::fs::rename(&here, &away).unwrap();
    burrow.until("the trouble on the front page", |burrow| (!error(burrow).is_empty()).then_some(()));
    assert_eq!(burrow.post("/api/v1/builds/1/retry", "{}").status, 201, "what is known can still be built");
    assert_eq!(all_ended(&burrow, 2)[0]["state"], "passed");

    std::fs::rename(&away, &here).unwrap();
    let hash = repository.commit("after the return");
    let builds = all_ended(&burrow, 3);
    assert_eq!(builds[0]["hash"].as_str(), Some(hash.as_str()));
    burrow.until("all well on the front page", |burrow| error(burrow).is_empty().then_some(()));
}
