//! The sample project does what it promises: run here with nothing but `git` and `sh`, the way a worker would.

use std::path::Path;
use std::process::Command;

use burrow_builders::{Config, Phase, ResolvedBuilder, TestList, outcomes, sample};

fn git(dir: &Path, args: &[&str]) -> String {
    let done = Command::new("git").args(args).current_dir(dir).env("GIT_CONFIG_GLOBAL", "/dev/null").output().unwrap();
    assert!(done.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).unwrap()
}

fn run(workdir: &Path, dir: &str, builder: &ResolvedBuilder, command: &[String]) -> (bool, String) {
    let done = Command::new(&command[0])
        .args(&command[1..])
        .current_dir(workdir.join(dir))
        .envs(builder.environment(&workdir.to_string_lossy(), "x"))
        .output()
        .unwrap();
    (done.status.success(), String::from_utf8_lossy(&done.stdout).into_owned() + &String::from_utf8_lossy(&done.stderr))
}

/// Builds one commit on one builder: "ok", "flaky", "build failed", or the failed tests' names.
fn build(repo: &Path, config: &Config, name: &str, rev: &str) -> String {
    let workdir = tempfile::tempdir().unwrap();
    git(workdir.path(), &["clone", "--quiet", &repo.to_string_lossy(), "src"]);
    git(&workdir.path().join("src"), &["checkout", "--quiet", "--detach", rev]);
    let builder = config.resolve(name).unwrap();
    let run = |dir: &str, command: &[String]| run(workdir.path(), dir, &builder, command);
    for step in builder.recipe.steps_for(Phase::Build) {
        if !run(&step.dir, &step.command(&builder.os)).0 {
            return format!("{} failed", step.name);
        }
    }
    let mut failed: Vec<String> =
        builder.recipe.steps_for(Phase::Test).filter(|step| !run(&step.dir, &step.command(&builder.os)).0).map(|step| step.name.clone()).collect();
    let mut flaky = false;
    if let Some(tests) = &builder.recipe.tests {
        let names = match tests.list_command(&builder.os) {
            Some(command) => tests.names(run(&tests.dir, &command).1.as_bytes()).unwrap(),
            None => tests.names(b"").unwrap(),
        };
        assert!(!tests.shard || (names.len() >= 12 && matches!(tests.list, TestList::Command(_))));
        let (passed, output) = run(&tests.dir, &tests.command(&builder.os, &names));
        for outcome in outcomes(&tests.output, &names, passed, output.as_bytes()) {
            assert!(outcome.passed.is_some() && outcome.took.is_some(), "every test says how it ended: {output}");
            if outcome.passed == Some(false) {
                assert!(output[outcome.output].contains("want") || outcome.name == "cold-start", "a failure explains itself: {output}");
                let again = (0..tests.retry).any(|_| run(&tests.dir, &tests.command(&builder.os, std::slice::from_ref(&outcome.name))).0);
                flaky |= again;
                if !again {
                    failed.push(outcome.name);
                }
            }
        }
    }
    match (failed.is_empty(), flaky) {
        (true, false) => "ok".to_owned(),
        (true, true) => "flaky".to_owned(),
        (false, _) => failed.join(" "),
    }
}

#[test]
fn its_history_passes_breaks_and_is_repaired() {
    let dir = tempfile::tempdir().unwrap();
    let now = 1_800_000_000;
    let info = sample::create(dir.path(), now, 4).unwrap();
    let repo = info.repo.clone();
    let head = git(&repo, &["rev-parse", "main"]);
    assert_eq!(sample::create(dir.path(), now + 9_999, 4).unwrap(), info, "a second start finds it and changes nothing");
    assert_eq!(git(&repo, &["rev-parse", "main"]), head);
    assert_eq!(git(&repo, &["rev-list", "--all", "--count"]).trim(), info.commits.to_string());
    git(&repo, &["fsck", "--strict"]);
    let times: Vec<i64> = git(&repo, &["log", "--format=%ct", "main"]).lines().map(|line| line.parse().unwrap()).collect();
    assert!(times.windows(2).all(|pair| pair[0] > pair[1]) && times[0] < now && times[0] > now - 3600);

    let revs = |branch: &str| git(&repo, &["rev-list", "--reverse", branch]).lines().map(str::to_owned).collect::<Vec<_>>();
    let mut commits = revs("main");
    commits.extend(revs("main..roman-numerals"));
    let os = &info.config.builders.keys().find(|name| name.ends_with("-strict")).unwrap().trim_end_matches("-strict").to_owned();
    let table = |name: &str| -> Vec<String> {
        std::thread::scope(|scope| {
            let runs: Vec<_> = commits.iter().map(|rev| scope.spawn(|| build(&repo, &info.config, name, rev))).collect();
            runs.into_iter().map(|run| run.join().unwrap()).collect()
        })
    };
    assert_eq!(table(os), ["ok", "ok", "ok", "ok", "ok", "gcd", "gcd", "ok", "ok", "build failed", "ok", "ok"]);
    assert_eq!(table(&format!("{os}-strict")), ["ok", "ok", "power", "ok", "ok", "gcd", "gcd", "ok", "ok", "build failed", "ok", "ok"]);
    assert_eq!(table("sample-sharded"), ["ok", "ok", "ok", "ok", "ok", "gcd", "gcd", "ok", "ok", "build failed", "roman", "ok"]);
    let flaky = table("sample-flaky");
    assert!(flaky.iter().enumerate().all(|(at, verdict)| if at == 9 { verdict == "build failed" } else { verdict == "ok" || verdict == "flaky" }), "{flaky:?}");
    assert_eq!(build(&repo, &info.config, "sample-longtest", &commits[8]), "ok");
    assert!(info.config.decide("sample-longtest", "abacus", "main", "main").post);
    assert!(!info.config.decide("sample-longtest", "abacus", "roman-numerals", "roman-numerals").post);
}
