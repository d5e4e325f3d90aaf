//! A made-up history: for tests, demonstrations and benchmarks, never for a farm.

use burrow_store::{Db, Error, Statement, sql};

use burrow_task::BoxFuture;

/// How much of a history to make.
#[derive(Debug, Clone)]
pub struct Seed {
    /// Commits on the main branch.
    pub commits: usize,
    /// Builder names.
    pub builders: Vec<String>,
    /// Time of the newest commit, Unix milliseconds.
    pub now_ms: i64,
    /// Steps, history and test results for builds of this many newest commits.
    pub detailed: usize,
}

impl Seed {
    /// `count` builder names like those of a big farm.
    pub fn builders(count: usize) -> Vec<String> {
        let systems = ["linux", "darwin", "windows", "freebsd", "openbsd", "netbsd", "android", "plan9"];
        let machines = ["amd64", "arm64", "386", "arm", "ppc64le", "s390x", "riscv64"];
        let kinds = ["", "-race", "-longtest", "-noopt", "-staticlock"];
        let mut names = Vec::new();
        for kind in kinds {
            for machine in machines {
                names.extend(systems.iter().map(|system| format!("{system}-{machine}{kind}")));
            }
        }
        names.truncate(count);
        names
    }
}

/// The hash of the seeded commit at a position: 40 digits that look like a hash and are always the same.
pub fn hash_at(position: usize) -> String {
    let mut x = (position as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut text = String::with_capacity(48);
    while text.len() < 40 {
        x ^= x >> 29;
        x = x.wrapping_mul(0xbf58_476d_1ce4_e5b9);
        text.push_str(&format!("{x:016x}"));
    }
    text.truncate(40);
    text
}

const TITLES: [&str; 12] = [
    "cache: keep the index when a segment is rewritten",
    "docs: say what a lease promises",
    "net: wake all waiters when the listener closes",
    "scheduler: count an attempt when it is taken",
    "parser: accept a trailing comma in lists",
    "build: use the system's zlib when it is new enough",
    "store: one fsync for a group of commits",
    "tests: wait for the marker, not for a second",
    "cli: tell apart 'not found' and 'not allowed'",
    "regexp: do not read past the end of a truncated class",
    "all: replace <b>hand-written</b> loops & iterators",
    "release: 1.4.0",
];
const AUTHORS: [(&str, &str); 5] = [
    ("Ada Mole", "ada@example.org"),
    ("Björn Dachs", "bjorn@example.org"),
    ("Chidi Okafor", "chidi@example.org"),
    ("Mei Tanaka", "mei@example.org"),
    ("Rosa Luxner", "rosa@example.org"),
];

/// The verdict of a seeded build: mostly good, with runs of failures, flakes and lost machines.
fn verdict(position: usize, builder: usize, commits: usize) -> (&'static str, bool) {
    let age = commits - 1 - position;
    let dice = (position.wrapping_mul(31) ^ builder.wrapping_mul(131)).wrapping_mul(2_654_435_761) >> 7;
    match () {
        // One builder went red some commits ago and stayed so, another was red for a while.
        () if builder % 11 == 3 && age < 6 => ("failed_test", false),
        () if builder % 17 == 5 && (9..14).contains(&age) => ("failed_build", false),
        () if age == 0 && builder.is_multiple_of(3) => ("running", false),
        () if age == 0 && builder % 3 == 1 => ("queued", false),
        () if age == 0 && builder % 13 == 5 => ("waiting_machine", false),
        () if dice.is_multiple_of(97) => ("timed_out", false),
        () if dice % 83 == 1 => ("infra_failed", false),
        () if dice % 89 == 2 => ("failed_test", false),
        () if dice % 101 == 3 => ("cancelled", false),
        () if dice % 103 == 4 => ("skipped_missing_dep", false),
        () => ("passed", dice % 41 == 5),
    }
}

/// Fills an empty database with one project `burrow`, repository `sample`, branches `main` and `release/1.4`. Returns how many builds it made.
///
/// # Errors
/// Whatever the database says.
pub fn fill<'a>(db: &'a Db, seed: &'a Seed) -> BoxFuture<'a, Result<usize, Error>> {
    Box::pin(async move {
        let mut batch: Vec<Statement> = Vec::new();
        batch.push(sql(
        "INSERT INTO repos (name, project, url, main_branch, state, error, fetched_ms) VALUES ('sample', 'burrow', 'https://example.org/sample.git', 'main', 'good', '', $1)",
        (seed.now_ms - 4_000,),
    ));
        let tip = hash_at(seed.commits.saturating_sub(1));
        for branch in ["main", "release/1.4"] {
            batch.push(sql("INSERT INTO branches (repo, branch, tip, gone, seen_ms) VALUES ('sample', $1, $2, 0, $3)", (branch, &tip, seed.now_ms)));
        }
        for name in &seed.builders {
            let spec = format!(r#"{{"name":"{name}","host":"local","env":{{"BUILDER":"{name}"}},"timeout_scale":1,"tests":"all"}}"#);
            batch.push(sql("INSERT INTO builders (repo, name, spec, active, seen_ms) VALUES ('sample', $1, $2, 1, $3)", (name, spec, seed.now_ms)));
        }
        let mut build: i64 = 0;
        for position in 0..seed.commits {
            let age = seed.commits - 1 - position;
            let hash = hash_at(position);
            let parent = if position == 0 { String::new() } else { hash_at(position - 1) };
            let time_s = seed.now_ms / 1000 - 90 - (age as i64) * 5_400;
            let (author, email) = AUTHORS[position % AUTHORS.len()];
            batch.push(sql(
                "INSERT INTO commits (repo, hash, parents, author, email, time_s, title) VALUES ('sample', $1, $2, $3, $4, $5, $6)",
                (&hash, parent, author, email, time_s, TITLES[position % TITLES.len()]),
            ));
            batch.push(sql("INSERT INTO branch_commits (repo, branch, position, hash) VALUES ('sample', 'main', $1, $2)", (position as i64 + 1, &hash)));
            if age % 7 == 6 {
                batch.push(sql(
                    "INSERT INTO branch_commits (repo, branch, position, hash) VALUES ('sample', 'release/1.4', $1, $2)",
                    (position as i64 + 1, &hash),
                ));
            }
            for (at, builder) in seed.builders.iter().enumerate() {
                build += 1;
                one_build(&mut batch, seed, build, position, at, builder, &hash, time_s);
            }
            if batch.len() > 4_000 {
                db.commit(std::mem::take(&mut batch)).await?;
            }
        }
        db.commit(batch).await?;
        Ok(usize::try_from(build).unwrap_or(0))
    })
}

#[allow(clippy::too_many_arguments)]
fn one_build(batch: &mut Vec<Statement>, seed: &Seed, build: i64, position: usize, at: usize, builder: &str, hash: &str, time_s: i64) {
    let (state, flaky) = verdict(position, at, seed.commits);
    let open = matches!(state, "queued" | "waiting_machine");
    let running = state == "running";
    let created = time_s * 1000 + 2_000;
    let took = 20_000 + ((at as i64 * 7_919 + position as i64 * 104_729) % 90_000);
    let started = (!open).then_some(created + 1_500 + at as i64 * 20);
    let ended = if open || running { None } else { started.map(|started| started + took) };
    let attempts: i64 = if open { 0 } else { 1 + i64::from(flaky || state == "infra_failed") };
    let attempt = (!open).then_some(build * 4 + attempts - 1);
    let log = ended.map(|_| format!("{:040x}", 0x1000_0000_u64 + build as u64));
    let spec = format!(
        r#"{{"builder":"{builder}","host":"local","recipe":{{"steps":[{{"name":"build","run":["make","-j2"]}},{{"name":"lint","run":["make","lint"]}}],"tests":{{"list":["make","list-tests"],"run":["make","check","TESTS={{tests}}"]}}}},"env":{{"CI":"true","BUILDER":"{builder}"}}}}"#
    );
    batch.push(sql(
        "INSERT INTO builds (id, repo, branch, hash, builder, dep_hash, class, state, flaky, origin, reason, spec, commit_s, created_ms, started_ms, ended_ms, attempts, infra_failures, current_attempt, superseded, log_hash, cancel_by) \
         VALUES ($1, 'sample', 'main', $2, $3, '', 3, $4, $5, 'post-submit', 'new commit on main', $6, $7, $8, $9, $10, $11, 0, $12, 0, $13, NULL)",
        (build, hash, builder, state, flaky, spec, time_s, created, started, ended, attempts, attempt, log.clone()),
    ));
    for number in 1..=attempts {
        let last = number == attempts;
        let state = if last {
            state
        } else if flaky {
            "failed_test"
        } else {
            "infra_failed"
        };
        let log = if last { log.clone() } else { started.map(|_| format!("{:040x}", 0x2000_0000_u64 + build as u64)) };
        let worker = format!("local-{}", 1 + build % 4);
        let message = match state {
            "infra_failed" => "the worker stopped answering for 15 s",
            "failed_test" => "2 of 48 tests failed",
            "failed_build" => "step build ended with status 2",
            "timed_out" => "no output for 10 minutes",
            _ => "",
        };
        batch.push(sql(
            "INSERT INTO attempts (id, build, number, state, worker, instance, pool, hostname, assigned_ms, started_ms, ended_ms, log_hash, log_bytes, flaky, message) VALUES ($1, $2, $3, $4, $5, '', 'local', 'burrow-1', $6, $7, $8, $9, $10, $11, $12)",
            (build * 4 + number - 1, build, number, state, worker.clone(), created, started, if last { ended } else { started.map(|at| at + 4_000) }, log, 6_000_i64, flaky, message),
        ));
        if position + seed.detailed >= seed.commits {
            details(batch, build * 4 + number - 1, state, &worker, started.unwrap_or(created), took);
        }
    }
    if position + seed.detailed >= seed.commits {
        let mut note = |n: i64, at: i64, actor: &str, text: String| {
            batch.push(sql(
                "INSERT INTO history (seq, at_ms, build, attempt, actor, text) VALUES ($1, $2, $3, NULL, $4, $5)",
                (build * 8 + n, at, build, actor, text),
            ));
        };
        note(0, created, "scheduler", "Queued: new commit on main.".into());
        if let Some(started) = started {
            note(1, started, "scheduler", format!("Attempt 1 took worker local-{}.", 1 + build % 4));
        }
        if let Some(ended) = ended {
            note(2, ended, "scheduler", format!("Ended: {}.", state.replace('_', " ")));
        }
    }
}

fn details(batch: &mut Vec<Statement>, attempt: i64, state: &str, worker: &str, started: i64, took: i64) {
    let bad = match state {
        "failed_build" => 1,
        "failed_test" | "timed_out" => 4,
        _ => usize::MAX,
    };
    let steps = [
        ("source", "source", 0, 3),
        ("build", "build", 3, 38),
        ("list tests", "list", 38, 42),
        ("shard 1/2", "shard", 42, 88),
        ("shard 2/2", "shard", 42, 100),
    ];
    for (index, (name, kind, from, to)) in steps.into_iter().enumerate() {
        let running = state == "running" && index == 3;
        let word = match index {
            _ if running => "running",
            4 if state == "running" => "waiting",
            i if i == bad && state == "timed_out" => "timed_out",
            i if i == bad => "failed",
            i if bad != usize::MAX && i > bad && bad < 3 => "waiting",
            _ => "passed",
        };
        let begun = word != "waiting";
        let done = begun && word != "running";
        let detail = if kind == "shard" { (0..24).map(|i| format!("pkg/part{i:02}")).collect::<Vec<_>>().join("\n") } else { String::new() };
        batch.push(sql(
            "INSERT INTO steps (attempt, idx, name, kind, worker, execution, state, started_ms, ended_ms, exit_code, signal, log_start, log_end, detail) VALUES ($1, $2, $3, $4, $5, '', $6, $7, $8, $9, NULL, $10, $11, $12)",
            (
                attempt,
                index as i64,
                name,
                kind,
                worker,
                word,
                begun.then_some(started + took * from / 100),
                done.then_some(started + took * to / 100),
                done.then_some(i64::from(word == "failed") * 2),
                index as i64 * 1_200,
                done.then_some((index as i64 + 1) * 1_200),
                detail,
            ),
        ));
    }
    if state == "failed_test" {
        for (test, run, ok) in
            [("pkg/part07/TestRestart", 1, 0_i64), ("pkg/part07/TestRestart", 2, 0), ("pkg/part11/TestSlowReader", 1, 0), ("pkg/part11/TestSlowReader", 2, 1)]
        {
            batch.push(sql("INSERT INTO test_results (attempt, test, run, ok, ms) VALUES ($1, $2, $3, $4, 1200)", (attempt, test, run, ok)));
        }
    }
}
