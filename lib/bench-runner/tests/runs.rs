//! Real commands, run side by side.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use burrow_bench_runner::{Ending, Event, Outcome, Plan, PlanError, RunError, Side, Worktrees, compare, run};
use burrow_benchstat::math::correction::Correction;
use burrow_clock::SystemClock;
use protocol_benchfmt::{Reader, Record};
use tokio_util::sync::CancellationToken;

fn side(label: &str, command: &str) -> Side {
    Side { label: label.into(), command: command.into(), dir: None }
}

fn plan(sides: &[Side]) -> Plan {
    Plan {
        sides: sides.to_vec(),
        report: None,
        format: None,
        min_rounds: 4,
        max_rounds: 9,
        budget: Duration::from_secs(3600),
        run_limit: None,
        until: 0.02,
        units: Vec::new(),
        seed: 3,
    }
}

async fn carry_out(plan: &Plan) -> Outcome {
    let never = CancellationToken::new();
    run(plan, &SystemClock::new(), &never, &never, &mut |_| {}).await.unwrap()
}

/// Sides and first values of the lines of a file, without those about the machine.
fn lines(text: &[u8]) -> Vec<(String, f64)> {
    let (mut reader, mut lines) = (Reader::new(text, "out"), Vec::new());
    while let Some(record) = reader.next() {
        match record {
            Record::Result(result) if result.name.full() != b"Machine" => {
                let side = result.config.get(b"side").unwrap();
                lines.push((String::from_utf8_lossy(side).into_owned(), result.values[0].original));
            }
            Record::Error(error) => panic!("{error}"),
            _ => {}
        }
    }
    lines
}

/// A command that prints another number at every run: the next one of a cycle.
fn cycling(dir: &Path, name: &str, values: &[u32]) -> String {
    let file = dir.join(name);
    let cases: String = values.iter().enumerate().map(|(at, value)| format!("{at}) v={value};; ")).collect();
    format!(
        "n=$(cat {0} 2>/dev/null || echo 0); echo $((n + 1)) > {0}; case $((n % {1})) in {cases}esac; echo 'goos: linux'; echo \"BenchmarkSort/n=1-2 100 $v ns/op 3 allocs/op\"; echo PASS",
        file.display(),
        values.len()
    )
}

#[tokio::test]
async fn quiet_commands_end_early_and_the_file_has_both_sides() {
    let dir = tempfile::tempdir().unwrap();
    let outcome = carry_out(&plan(&[side("old one", &cycling(dir.path(), "a", &[1000, 1001])), side("new", &cycling(dir.path(), "b", &[500, 501]))])).await;
    assert_eq!((outcome.ending, outcome.rounds, outcome.runs), (Ending::Tight, 4, 8));
    let found = lines(&outcome.text);
    for (label, values) in [("old one", [1000.0, 1001.0, 1000.0, 1001.0]), ("new", [500.0, 501.0, 500.0, 501.0])] {
        assert_eq!(found.iter().filter(|(side, _)| side == label).map(|(_, value)| *value).collect::<Vec<_>>(), values);
    }
    let order: Vec<&str> = found.iter().map(|(side, _)| side.as_str()).collect();
    assert!(order.chunks(2).all(|round| round[0] != round[1]), "each round has each side: {order:?}");
    let text = String::from_utf8(outcome.text.clone()).unwrap();
    assert!(text.starts_with("runner: burrow bench\nseed: 3\n") && !text.contains("PASS"), "{text}");

    let labels = ["old one".to_owned(), "new".to_owned()];
    let compared = compare(&outcome.text, &labels, &["regression>2%".parse().unwrap()], Correction::BenjaminiHochberg).unwrap();
    let table = compared.text();
    let head = table.lines().find(|line| line.contains("old one")).unwrap();
    assert!(head.find("old one") < head.find("new"), "the base is the first side, whichever ran first: {table}");
    assert!(table.contains("-49.98%") && !table.contains("Machine"), "{table}");
    assert!(!compared.gate.unwrap().failed());
    assert!(compared_fails(&outcome.text, &["new".to_owned(), "old one".to_owned()]), "the other way round it is a regression");
}

fn compared_fails(text: &[u8], labels: &[String]) -> bool {
    compare(text, labels, &["regression>2%".parse().unwrap()], Correction::None).unwrap().gate.unwrap().failed()
}

#[tokio::test]
async fn noisy_commands_run_to_the_largest_number_of_rounds() {
    let dir = tempfile::tempdir().unwrap();
    let outcome =
        carry_out(&plan(&[side("a", &cycling(dir.path(), "a", &[100, 150, 90, 170, 120])), side("b", &cycling(dir.path(), "b", &[130, 80, 160, 110]))])).await;
    assert_eq!((outcome.ending, outcome.rounds, outcome.runs), (Ending::Rounds, 9, 18));
    let widest = outcome.spreads.iter().max_by(|a, b| a.half_width.total_cmp(&b.half_width)).unwrap();
    assert_eq!((widest.base_name.as_str(), widest.unit.as_str(), widest.values), ("Sort", "sec/op", 9));
    assert!(widest.half_width > 0.02, "{widest:?}");
    let allocations = outcome.spreads.iter().find(|spread| spread.unit == "allocs/op").unwrap();
    assert_eq!(allocations.half_width, 0.0, "what does not vary is tight");

    let only_allocations = Plan {
        units: vec!["allocs/op".into()],
        ..plan(&[side("a", &cycling(dir.path(), "c", &[100, 150])), side("b", &cycling(dir.path(), "d", &[130, 80]))])
    };
    assert_eq!(carry_out(&only_allocations).await.ending, Ending::Tight);
}

#[tokio::test]
async fn stopping_finishes_the_present_run_and_keeps_what_was_measured() {
    let dir = tempfile::tempdir().unwrap();
    let stop = CancellationToken::new();
    let plan = plan(&[side("a", &cycling(dir.path(), "a", &[1, 2])), side("b", &cycling(dir.path(), "b", &[1, 2]))]);
    let (mut begun, mut grown) = (0, 0);
    let outcome = run(&plan, &SystemClock::new(), &stop, &CancellationToken::new(), &mut |event| match event {
        Event::Begins(_) => {
            begun += 1;
            if begun == 3 {
                stop.cancel();
            }
        }
        Event::Ends { text, lines, .. } => {
            assert_eq!(lines, 1);
            assert!(text.len() > grown);
            grown = text.len();
        }
        _ => {}
    })
    .await
    .unwrap();
    assert_eq!((outcome.ending, outcome.runs), (Ending::Stopped, 3));
    assert_eq!(lines(&outcome.text).len(), 3);
    assert_eq!(outcome.text.len(), grown);
}

#[tokio::test]
async fn killing_ends_the_run_and_its_children() {
    let dir = tempfile::tempdir().unwrap();
    let ready = dir.path().join("ready");
    let kill = CancellationToken::new();
    // The sleeper is a grandchild: killing the shell alone would leave it.
    let forever = format!("sleep 100000 & echo $! > {0}.tmp; mv {0}.tmp {0}; wait", ready.display());
    let watched = {
        let (ready, kill) = (ready.clone(), kill.clone());
        tokio::task::spawn_blocking(move || {
            while !ready.exists() {
                std::thread::yield_now();
            }
            kill.cancel();
        })
    };
    let outcome = run(&plan(&[side("a", &forever), side("b", &forever)]), &SystemClock::new(), &CancellationToken::new(), &kill, &mut |_| {}).await.unwrap();
    watched.await.unwrap();
    assert_eq!((outcome.ending, outcome.runs), (Ending::Stopped, 0));
    let sleeper = std::fs::read_to_string(&ready).unwrap();
    let state = || std::fs::read_to_string(format!("/proc/{}/stat", sleeper.trim())).ok().filter(|stat| !stat.contains(") Z "));
    // It was sent SIGKILL; it goes as soon as the kernel gets to it.
    while state().is_some() {
        std::thread::yield_now();
    }
}

#[tokio::test]
async fn a_command_that_fails_is_told_with_what_it_said() {
    let outcome = carry_out(&plan(&[side("a", "echo 'cannot find package' >&2; exit 3"), side("b", "echo 'BenchmarkX 1 5 ns/op'")])).await;
    assert_eq!(outcome.ending, Ending::Failing { side: 0 });
    assert_eq!(outcome.failures.len(), 1);
    assert_eq!(outcome.failures[0].to_string(), "a: the command ended with exit status: 3; it said:\ncannot find package");

    let outcome = carry_out(&plan(&[side("a", "echo hello; echo why >&2"), side("b", "echo 'BenchmarkX 1 5 ns/op'")])).await;
    let said = outcome.failures[0].to_string();
    assert!(said.starts_with("a: there is no result in what the command printed") && said.ends_with("it said:\nwhy"), "{said}");

    let late = Plan { run_limit: Some(Duration::from_millis(30)), ..plan(&[side("a", "sleep 100000"), side("b", "sleep 100000")]) };
    let said = carry_out(&late).await.failures[0].to_string();
    assert!(said.ends_with("the command did not end within 0.03 s"), "{said}");

    let large = "yes 'BenchmarkX 1 5 ns/op'";
    let said = carry_out(&plan(&[side("a", large), side("b", large)])).await.failures[0].to_string();
    assert!(said.contains("printed more than 67108864 bytes"), "{said}");
}

#[tokio::test]
async fn reports_in_files_are_read_and_old_ones_are_not() {
    let dir = tempfile::tempdir().unwrap();
    let with = |command: &str| Side { dir: Some(dir.path().to_owned()), ..side(command, command) };
    let report = |seconds: &str| format!("echo '{{\"results\": [{{\"command\": \"x\", \"times\": [{seconds}]}}]}}' > out.json # {seconds}");
    let plan = Plan { report: Some(PathBuf::from("out.json")), ..plan(&[with(&report("0.5, 0.5")), with(&report("0.25"))]) };
    let outcome = carry_out(&plan).await;
    assert_eq!((&outcome.ending, outcome.runs), (&Ending::Tight, 8));
    assert_eq!(lines(&outcome.text).iter().filter(|(_, seconds)| *seconds == 0.5).count(), 8, "two lines a run");

    let lazy = Plan { sides: vec![with("true"), with("exit 0")], ..plan };
    let said = carry_out(&lazy).await.failures[0].to_string();
    assert!(said.contains("has not written") && said.ends_with("out.json"), "{said}");
}

#[tokio::test]
async fn revisions_are_checked_out_side_by_side() {
    let dir = tempfile::tempdir().unwrap();
    let git = |args: &[&str]| {
        let settings = ["-c", "user.name=a", "-c", "user.email=a@example.com", "-c", "commit.gpgsign=false"];
        let output = Command::new("git").arg("-C").arg(dir.path()).args(settings).args(args).env("GIT_CONFIG_GLOBAL", "/dev/null").output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    git(&["init", "-q"]);
    for time in [100, 200] {
        std::fs::write(dir.path().join("results"), format!("BenchmarkX 1 {time} ns/op\n")).unwrap();
        git(&["add", "."]);
        git(&["commit", "-q", "-m", "x"]);
    }
    let revs = ["HEAD~1".to_owned(), "HEAD".to_owned()];
    let trees = Worktrees::new(dir.path(), &revs).unwrap();
    let sides: Vec<Side> = revs.iter().zip(trees.paths()).map(|(rev, path)| Side { dir: Some(path.clone()), ..side(rev, "cat results") }).collect();
    let outcome = carry_out(&plan(&sides)).await;
    assert!(lines(&outcome.text).iter().all(|(side, time)| *time == if side == "HEAD" { 200.0 } else { 100.0 }));
    assert_eq!(outcome.ending, Ending::Tight);
    let kept = trees.paths()[0].clone();
    drop(trees);
    assert!(!kept.exists());
    assert_eq!(git(&["worktree", "list"]).lines().count(), 1, "git knows nothing of them any more");

    let error = Worktrees::new(dir.path(), &["HEAD".to_owned(), "--no-such".to_owned()]).unwrap_err().to_string();
    assert!(error.starts_with("git cannot check out --no-such of "), "{error}");
    assert_eq!(git(&["worktree", "list"]).lines().count(), 1);
}

#[tokio::test]
async fn plans_that_make_no_sense_are_refused() {
    let never = CancellationToken::new();
    for (plan, expected) in [
        (plan(&[side("a", "true")]), PlanError::Sides(1)),
        (plan(&[side("a", "true"), side("a", "true")]), PlanError::Label("a".into())),
        (plan(&[side("a", "true"), side(" b", "true")]), PlanError::BadLabel(" b".into())),
    ] {
        let RunError::Plan(found) = run(&plan, &SystemClock::new(), &never, &never, &mut |_| panic!("something ran")).await.unwrap_err();
        assert_eq!(found, expected);
    }
}
