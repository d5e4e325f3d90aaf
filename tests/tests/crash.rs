//! Promise 1 with the real executables: `kill -9` of the coordinator and of workers, under load.

use std::collections::BTreeMap;
use std::path::Path;

use burrow_tests::{all_ended, build, builds, json, log};
use rustix::process::Signal;
use serde_json::Value;
use testkit_harness::Burrow;
use testkit_harness::git::Repository;
use testkit_harness::process::{self, signal};

const LINES: usize = 120;

/// A repository whose builds take a moment, print numbered lines, and note outside that they began.
fn numbered(dir: &Path, commits: usize) -> Repository {
    let repository = Repository::create(dir.join("numbers"));
    let began = dir.join("began");
    std::fs::create_dir(&began).unwrap();
    let script = format!(
        "#!/bin/sh\ncommit=$(cat number)\necho x >> {}/$commit\ni=0\nwhile [ $i -lt {LINES} ]; do echo \"commit $commit line $i\"; i=$((i+1)); [ $((i % 20)) = 0 ] && sleep 0.05; done\nexit 0\n",
        began.display()
    );
    repository.script("count.sh", &script).write("Makefile", "all:\n\t@./count.sh\n");
    for number in 0..commits {
        repository.write("number", number.to_string());
        repository.commit(&format!("number {number}"));
    }
    repository
}

fn expected(number: &str) -> String {
    (0..LINES).map(|line| format!("commit {number} line {line}\n")).collect()
}

#[test]
fn kill_9_of_the_coordinator_loses_and_doubles_nothing() {
    const COMMITS: usize = 24;
    let dir = tempfile::tempdir().unwrap();
    let repository = numbered(dir.path(), COMMITS);
    let config = dir.path().join("farm.toml");
    // All commits at once, also those before the newest.
    std::fs::write(
        &config,
        format!(
            "schema = 1\n[pool.local]\nkind = \"process\"\nworkers = 3\n[host.local]\npool = \"local\"\n[project.numbers]\nmain_branch = \"main\"\n\
             [repo.numbers]\nproject = \"numbers\"\nurl = {:?}\nfirst_commits = {COMMITS}\npoll = \"2s\"\n[recipe.make]\nstep = [{{ name = \"build\", run = [\"make\"] }}]\n\
             [builder.numbers]\nhost = \"local\"\nrecipe = \"make\"\n",
            repository.arg()
        ),
    )
    .unwrap();
    let args = ["coordinator", "--config", config.to_str().unwrap(), "--data", "data", "--listen", "127.0.0.1:0"];

    let mut acknowledged: BTreeMap<i64, Value> = BTreeMap::new();
    for round in 1..=6 {
        let mut burrow = Burrow::serving(dir.path(), &args);
        // Killed in the middle of the work: some builds have ended in this round, others run.
        let before = acknowledged.len();
        let seen = burrow.until("progress", |burrow| {
            let all = builds(burrow, "");
            let ended = all.iter().filter(|build| burrow_tests::ended(build)).count();
            (all.len() == COMMITS && (ended >= before + 2 || ended == COMMITS)).then_some(all)
        });
        for build in seen.into_iter().filter(burrow_tests::ended) {
            acknowledged.insert(build["id"].as_i64().unwrap(), build);
        }
        assert!(round < 6 || !acknowledged.is_empty());
        burrow.process.kill();
        // Not a drop: its workers shall live on.
        std::mem::forget(burrow);
    }

    let burrow = Burrow::serving(dir.path(), &args);
    let ended = all_ended(&burrow, COMMITS);
    assert_eq!(ended.len(), COMMITS, "nothing doubled, nothing lost");
    for line in &ended {
        let id = line["id"].as_i64().unwrap();
        let whole = build(&burrow, id);
        let number = line["title"].as_str().unwrap().trim_start_matches("number ");
        assert_eq!(line["state"], "passed", "{}", serde_json::to_string_pretty(&whole).unwrap());
        if let Some(then) = acknowledged.get(&id) {
            assert_eq!(then, line, "what was told once stays as it was told");
        }
        assert_eq!(whole["attempts_list"].as_array().unwrap().len(), 1, "a running build survives its coordinator: {whole}");
        assert_eq!(std::fs::read_to_string(dir.path().join("began").join(number)).unwrap(), "x\n", "{number} ran once");
        let log = String::from_utf8(log(&burrow, &whole)).unwrap();
        assert!(log.contains(&expected(number)), "the log of {number} is not whole, in order and once:\n{log}");
        assert_eq!(log.matches(" line ").count(), LINES, "lines of {number} are doubled:\n{log}");
    }
}

/// A repository with one commit whose build waits for a file, once it has said that it runs.
fn waiting(dir: &Path) -> Repository {
    let repository = Repository::create(dir.join("gate"));
    let open = dir.join("open");
    repository
        .script("wait.sh", &format!("#!/bin/sh\necho waiting\nwhile [ ! -e {} ]; do sleep 0.05; done\necho through\n", open.display()))
        .write("Makefile", "all:\n\t@./wait.sh\n");
    repository.commit("wait");
    repository
}

/// The worker that runs the first build, and its process.
fn busy_worker(burrow: &Burrow, dir: &Path) -> (String, u32) {
    let name = burrow.until("a busy worker", |burrow| {
        // Its first step has begun: the script is running.
        let begun = build_if_there(burrow, 1)?["attempts_list"].as_array()?.last()?["steps"].as_array()?.iter().any(|step| step["kind"] == "build");
        let machines = json(burrow, "/machines.json");
        let busy = machines["machines"].as_array()?.iter().find(|machine| machine["state"] == "busy")?.clone();
        begun.then(|| busy["id"].as_str().map(str::to_owned))?
    });
    let home = dir.join("data/workers");
    let own = process::find(&home).into_iter().find(|id| {
        let words = std::fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
        let words: Vec<&[u8]> = words.split(|byte| *byte == 0).collect();
        words.get(1) == Some(&b"buildlet".as_slice()) && words.iter().any(|word| String::from_utf8_lossy(word).contains(&format!("/{name}/")))
    });
    (name.clone(), own.unwrap_or_else(|| panic!("no process of worker {name}")))
}

fn build_if_there(burrow: &Burrow, id: i64) -> Option<Value> {
    let answer = burrow.get(&format!("/build/{id}.json"));
    (answer.status == 200).then(|| serde_json::from_slice(&answer.body).unwrap())
}

/// Loses the worker of a running build by `lose`; the build must pass in a second, visible attempt.
fn a_lost_worker_is_replaced(lose: Signal) {
    let dir = tempfile::tempdir().unwrap();
    let repository = waiting(dir.path());
    let burrow = Burrow::up(dir.path(), &["--repo", repository.arg(), "--workers", "2"]);
    let (name, id) = busy_worker(&burrow, dir.path());
    signal(id, lose);
    let second = burrow.until("a second attempt", |burrow| {
        let build = build(burrow, 1);
        (build["attempts_list"].as_array()?.len() == 2).then_some(build)
    });
    assert_eq!(second["attempts_list"][0]["state"], "infra_failed");
    std::fs::write(dir.path().join("open"), "").unwrap();
    let ended = all_ended(&burrow, 1);
    assert_eq!(ended[0]["state"], "passed", "{}", burrow.process.text());
    let whole = build(&burrow, 1);
    assert_eq!(whole["attempts_list"].as_array().unwrap().len(), 2);
    let history = whole["history"].to_string();
    assert!(history.contains(&name), "the history names the lost worker: {history}");
    assert!(String::from_utf8(log(&burrow, &whole)).unwrap().contains("through\n"));
}

#[test]
fn a_killed_worker_is_replaced() {
    a_lost_worker_is_replaced(Signal::KILL);
}

#[test]
fn a_frozen_worker_is_replaced() {
    a_lost_worker_is_replaced(Signal::STOP);
}

#[test]
fn ctrl_c_waits_for_what_runs_and_twice_leaves_it_to_the_next_start() {
    let dir = tempfile::tempdir().unwrap();
    let repository = waiting(dir.path());
    let args = ["--repo", repository.arg(), "--workers", "1"];
    let mut burrow = Burrow::up(dir.path(), &args);
    busy_worker(&burrow, dir.path());
    burrow.process.interrupt();
    burrow.process.wait_for("Finishing the running builds");
    assert_eq!(burrow.get("/queue.json").status, 200, "pages are there while it drains");
    burrow.process.interrupt();
    burrow.process.wait_for("taken up at the next start");
    burrow.process.wait_gone();
    // Its workers go on: the handle would end them.
    std::mem::forget(burrow);

    let burrow = Burrow::up(dir.path(), &args);
    std::fs::write(dir.path().join("open"), "").unwrap();
    let ended = all_ended(&burrow, 1);
    assert_eq!((ended[0]["state"].as_str(), ended[0]["attempts"].as_i64()), (Some("passed"), Some(1)), "{}", build(&burrow, 1));
}
