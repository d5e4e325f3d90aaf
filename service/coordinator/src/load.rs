//! Makes the state again from the rows, at start.

use std::sync::Arc;

use burrow_results::model::{AttemptId, BuildId, Class};
use burrow_store::{Db, Error};

use crate::model::{Attempt, Build, Due, Job, NewBuild, Phase, Policy, State, Worker};

/// Reads everything that is open. Workers that ran something are awaited for `policy.lost_after_ms`.
///
/// # Errors
/// The database's.
pub async fn load(db: &Db, policy: Policy, now: i64, host_type_of: impl Fn(&str) -> Option<String>) -> Result<State, Error> {
    let mut state = State { policy, ..State::default() };
    state.next_build = newest(db, "SELECT COALESCE(MAX(id), 0) FROM builds").await?;
    state.next_attempt = newest(db, "SELECT COALESCE(MAX(id), 0) FROM attempts").await?;
    state.next_history = newest(db, "SELECT COALESCE(MAX(seq), 0) FROM history").await?;

    let open = "SELECT id, repo, branch, hash, builder, class, origin, reason, spec, commit_s, created_ms, started_ms, attempts, infra_failures \
                FROM builds WHERE state IN ('queued', 'waiting_machine', 'running') ORDER BY id";
    for row in db.query(open, ()).await? {
        let spec: Arc<str> = row.text(8)?.into();
        let builder = row.text(4)?.to_owned();
        let build = Build {
            id: BuildId(row.int(0)?),
            new: Arc::new(NewBuild {
                repo: row.text(1)?.to_owned(),
                branch: row.text(2)?.to_owned(),
                hash: row.text(3)?.to_owned(),
                class: Class::from_number(row.int(5)?),
                host_type: host_type_of(&spec).unwrap_or_default(),
                commit_s: row.int(9)?,
                origin: row.text(6)?.to_owned(),
                actor: "scheduler".into(),
                reason: row.text(7)?.to_owned(),
                spec,
                builder,
            }),
            created_ms: row.int(10)?,
            started_ms: row.opt_int(11)?,
            phase: Phase::Waiting,
            attempts: u32::try_from(row.int(12)?).unwrap_or(0),
            infra_failures: u32::try_from(row.int(13)?).unwrap_or(0),
            last_failure: String::new(),
            aged: false,
        };
        let cell = (build.new.repo.clone(), build.new.hash.clone(), build.new.builder.clone());
        state.cells.insert(cell, build.id);
        state.builds.insert(build.id, build);
    }

    let live =
        "SELECT id, build, number, worker, instance, pool, hostname, assigned_ms, started_ms FROM attempts WHERE state IN ('assigned', 'running') ORDER BY id";
    for row in db.query(live, ()).await? {
        let attempt = Attempt {
            id: AttemptId(row.int(0)?),
            build: BuildId(row.int(1)?),
            number: u32::try_from(row.int(2)?).unwrap_or(1),
            worker: row.text(3)?.to_owned(),
            instance: row.text(4)?.to_owned(),
            assigned_ms: row.int(7)?,
            began_ms: row.opt_int(8)?,
            helpers: Default::default(),
            cancelled_by: None,
            adopt: true,
        };
        let Some(build) = state.builds.get_mut(&attempt.build) else { continue };
        build.phase = Phase::Running(attempt.id);
        await_worker(
            &mut state.workers,
            &mut state.due,
            now + state.policy.lost_after_ms,
            Worker {
                id: attempt.worker.clone(),
                instance: attempt.instance.clone(),
                pool: row.text(5)?.to_owned(),
                host_type: build.new.host_type.clone(),
                hostname: row.text(6)?.to_owned(),
                address: String::new(),
                version: 0,
                connected_ms: now,
                modern: true,
                draining: false,
                expected_until_ms: None,
                job: Job::Main(attempt.id),
                last_repo: build.new.repo.clone(),
                since_ms: now,
            },
        );
        state.attempts.insert(attempt.id, attempt);
    }

    for row in db.query("SELECT id FROM machines WHERE draining = 1", ()).await? {
        if let Some(worker) = state.workers.get_mut(row.text(0)?) {
            worker.draining = true;
        }
    }

    let waiting: Vec<Build> = state.builds.values().filter(|b| b.phase == Phase::Waiting).cloned().collect();
    for build in waiting {
        state.enqueue(&build);
    }
    let averages = "SELECT builder, CAST(AVG(ended_ms - started_ms) AS BIGINT) FROM \
                    (SELECT builder, ended_ms, started_ms FROM builds WHERE state = 'passed' AND started_ms IS NOT NULL ORDER BY id DESC LIMIT 2000) AS recent GROUP BY builder";
    for row in db.query(averages, ()).await? {
        state.durations.insert(row.text(0)?.to_owned(), row.int(1)? as f64);
    }
    Ok(state)
}

fn await_worker(workers: &mut std::collections::BTreeMap<String, Worker>, due: &mut std::collections::BTreeSet<(i64, Due)>, until: i64, mut worker: Worker) {
    worker.expected_until_ms = Some(until);
    due.insert((until, Due::Expire(worker.id.clone())));
    workers.insert(worker.id.clone(), worker);
}

async fn newest(db: &Db, sql: &'static str) -> Result<i64, Error> {
    db.query(sql, ()).await?.first().map_or(Ok(0), |row| row.int(0))
}
