//! The first thing that anybody sees: `burrow up` with nothing.

use std::collections::BTreeSet;

use burrow_tests::{all_ended, build, json};
use testkit_harness::Burrow;

#[test]
fn the_sample_project_shows_every_kind_of_result() {
    let dir = tempfile::tempdir().unwrap();
    let burrow = Burrow::up(dir.path(), &[]);
    burrow.until("builds of the sample", |burrow| (json(burrow, "/queue.json")["total"] != 0 || !burrow_tests::builds(burrow, "").is_empty()).then_some(()));
    let builds = all_ended(&burrow, 40);

    let states: BTreeSet<&str> = builds.iter().filter_map(|build| build["state"].as_str()).collect();
    assert!(states.is_superset(&BTreeSet::from(["passed", "failed_test"])), "{states:?}");
    assert!(!states.contains("infra_failed"), "{states:?}");
    assert!(builds.iter().any(|build| build["flaky"] == true && build["state"] == "passed"), "no flaky build");
    let sharded = builds.iter().filter_map(|line| {
        let build = build(&burrow, line["id"].as_i64()?);
        let steps = build["attempts_list"].as_array()?.last()?["steps"].as_array()?.clone();
        Some(steps.iter().filter(|step| step["kind"] == "shard").count())
    });
    assert!(sharded.max() > Some(2), "no sharded build");
    // Newest commits first: the head of the main branch is built before its oldest commit.
    let grid = json(&burrow, "/p/abacus/abacus/main.json");
    let rows = grid["rows"].as_array().unwrap();
    let began = |row: &serde_json::Value| row["cells"].as_array().unwrap().iter().filter_map(|cell| cell["started_ms"].as_i64()).min();
    assert!(began(&rows[0]) < began(rows.last().unwrap()));
    assert!(rows.iter().all(|row| row["cells"].as_array().unwrap().iter().all(|cell| cell["state"].is_string())), "every cell has a result");

    for page in ["/", "/p/abacus/abacus/main", "/queue", "/machines", "/builders", "/build/1"] {
        let answer = burrow.get(page);
        assert_eq!(answer.status, 200, "{page}: {}", answer.text());
        assert!(answer.head.to_ascii_lowercase().contains("content-type: text/html"), "{page}: {}", answer.head);
    }
    assert_eq!(burrow.get("/no/such/page").status, 404);

    burrow.process.interrupt();
    burrow.process.wait_for("Stopped; nothing runs any more.");
    let ended = burrow.process.wait();
    assert_eq!(ended.code(), 0, "{}", ended.text());
    assert_eq!(testkit_harness::process::find(dir.path()), Vec::<u32>::new(), "no worker stays behind");
}

#[test]
fn a_repository_of_ones_own_is_built_and_followed() {
    let dir = tempfile::tempdir().unwrap();
    let repository = testkit_harness::git::Repository::create(dir.path().join("tool"));
    repository.write("Makefile", "all:\n\techo made\n").commit("first");
    let burrow = Burrow::up(dir.path(), &["--repo", repository.arg(), "--workers", "2"]);
    let builds = all_ended(&burrow, 1);
    assert_eq!((builds[0]["state"].as_str(), builds[0]["title"].as_str()), (Some("passed"), Some("first")));

    repository.write("Makefile", "all:\n\techo broken; exit 3\n");
    let second = repository.commit("second");
    let builds = all_ended(&burrow, 2);
    assert_eq!((builds[0]["hash"].as_str(), builds[0]["state"].as_str()), (Some(second.as_str()), Some("failed_build")));

    // Asked for again: a new build, the old one kept.
    let old = builds[0]["id"].as_i64().unwrap();
    let answer = burrow.post(&format!("/api/v1/builds/{old}/retry"), r#"{"reason": "to see"}"#);
    assert_eq!(answer.status, 201, "{}", answer.text());
    let builds = all_ended(&burrow, 3);
    assert_eq!(builds[0]["hash"].as_str(), Some(second.as_str()));
    assert_eq!(build(&burrow, old)["newer"], builds[0]["id"]);

    // And from the command line, with the reason why it looks flaky; a dry run does nothing.
    let url = format!("http://{}", burrow.address);
    let retry = |args: &[&str]| testkit_harness::burrow::run(dir.path(), &[&["retrybuilds", "-branch", "main", "-builder-prefix", &url], args].concat());
    let dry = retry(&["-builder", "linux-amd64"]);
    assert_eq!(dry.code(), 0, "{}", dry.text());
    assert!(dry.text().contains("1 of 1 failures on branch main would be built again"), "{}", dry.text());
    assert_eq!(all_ended(&burrow, 3).len(), 3, "a dry run builds nothing");
    let done = retry(&["-substr", "broken; exit", "-dry-run=false"]);
    assert_eq!(done.code(), 0, "{}", done.text());
    assert_eq!(all_ended(&burrow, 4).len(), 4);
    assert_eq!(retry(&[]).code(), 2, "nothing selected");

    let why = testkit_harness::burrow::run(dir.path(), &["why", "4", "--coordinator", &url]);
    assert_eq!(why.code(), 0, "{}", why.text());
    assert!(why.text().contains("state: failed_build") && why.text().contains("second"), "{}", why.text());
    assert_eq!(testkit_harness::burrow::run(dir.path(), &["why", "99", "--coordinator", &url]).code(), 2);
}
