//! The statements that a step writes. Every one is an upsert or a keyed update, because a batch may be applied twice (`burrow_store`).

use burrow_results::model::{AttemptId, AttemptState, BuildState};
use burrow_store::{Statement, sql};

use crate::model::{Attempt, Build, End, Worker};

pub(crate) fn build_created(build: &Build) -> Statement {
    let new = &build.new;
    sql(
        "INSERT INTO builds (id, repo, branch, hash, builder, dep_hash, class, state, flaky, origin, reason, spec, commit_s, created_ms, attempts, infra_failures, superseded) \
         VALUES ($1, $2, $3, $4, $5, '', $6, 'queued', 0, $7, $8, $9, $10, $11, 0, 0, 0) ON CONFLICT (id) DO NOTHING",
        vec![
            build.id.0.into(),
            (&new.repo).into(),
            (&new.branch).into(),
            (&new.hash).into(),
            (&new.builder).into(),
            new.class.number().into(),
            (&new.origin).into(),
            (&new.reason).into(),
            (&*new.spec).into(),
            new.commit_s.into(),
            build.created_ms.into(),
        ],
    )
}

pub(crate) fn build_superseded(id: burrow_results::model::BuildId) -> Statement {
    sql("UPDATE builds SET superseded = 1 WHERE id = $1", (id.0,))
}

pub(crate) fn build_state(build: &Build, state: BuildState) -> Statement {
    let attempt = match build.phase {
        crate::model::Phase::Running(attempt) => Some(attempt.0),
        _ => None,
    };
    sql(
        "UPDATE builds SET state = $2, started_ms = $3, attempts = $4, infra_failures = $5, current_attempt = COALESCE($6, current_attempt) WHERE id = $1",
        (build.id.0, state.word(), build.started_ms, build.attempts, build.infra_failures, attempt),
    )
}

pub(crate) fn build_ended(build: &Build, state: BuildState, now: i64, flaky: bool, log: Option<String>, cancelled_by: Option<&str>) -> Statement {
    sql(
        "UPDATE builds SET state = $2, ended_ms = $3, flaky = $4, log_hash = COALESCE($5, log_hash), attempts = $6, infra_failures = $7, cancel_by = $8, started_ms = $9 WHERE id = $1",
        (build.id.0, state.word(), now, flaky, log, build.attempts, build.infra_failures, cancelled_by, build.started_ms),
    )
}

pub(crate) fn attempt_assigned(attempt: &Attempt, worker: &Worker) -> Statement {
    sql(
        "INSERT INTO attempts (id, build, number, state, worker, instance, pool, hostname, assigned_ms, log_bytes, flaky, message) \
         VALUES ($1, $2, $3, 'assigned', $4, $5, $6, $7, $8, 0, 0, '') ON CONFLICT (id) DO NOTHING",
        (attempt.id.0, attempt.build.0, attempt.number, &worker.id, &worker.instance, &worker.pool, &worker.hostname, attempt.assigned_ms),
    )
}

/// An attempt that ran elsewhere.
pub(crate) fn attempt_recorded(attempt: &Attempt) -> Statement {
    sql(
        "INSERT INTO attempts (id, build, number, state, worker, instance, pool, hostname, assigned_ms, started_ms, log_bytes, flaky, message) \
         VALUES ($1, $2, 1, 'running', '', '', '', '', $3, $3, 0, 0, '') ON CONFLICT (id) DO NOTHING",
        (attempt.id.0, attempt.build.0, attempt.assigned_ms),
    )
}

pub(crate) fn attempt_began(attempt: &Attempt) -> Statement {
    sql("UPDATE attempts SET state = $2, started_ms = $3 WHERE id = $1", (attempt.id.0, AttemptState::Running.word(), attempt.began_ms))
}

pub(crate) fn attempt_ended(attempt: &Attempt, end: &End, now: i64) -> Statement {
    sql(
        "UPDATE attempts SET state = $2, ended_ms = $3, flaky = $4, log_hash = $5, log_bytes = $6, message = $7 WHERE id = $1",
        (attempt.id.0, end.state.word(), now, end.flaky, end.log_hash.clone(), end.log_bytes, &end.message),
    )
}

/// The log of an attempt whose end was recorded without it, because its worker was lost.
pub(crate) fn attempt_log(attempt: AttemptId, hash: &str, bytes: u64) -> [Statement; 2] {
    [
        sql("UPDATE attempts SET log_hash = $2, log_bytes = $3 WHERE id = $1 AND log_hash IS NULL", (attempt.0, hash, bytes as i64)),
        sql("UPDATE builds SET log_hash = $2 WHERE current_attempt = $1 AND log_hash IS NULL", (attempt.0, hash)),
    ]
}

/// Steps that were open when an attempt was cut off.
pub(crate) fn steps_lost(attempt: &Attempt, now: i64) -> Statement {
    sql("UPDATE steps SET state = 'lost', ended_ms = $2 WHERE attempt = $1 AND state IN ('running', 'waiting')", (attempt.id.0, now))
}

pub(crate) fn helper(attempt: &Attempt, number: u32, state: &str, worker: &str, instance: &str) -> Statement {
    sql(
        "INSERT INTO helpers (attempt, number, state, worker, instance) VALUES ($1, $2, $3, $4, $5) \
         ON CONFLICT (attempt, number) DO UPDATE SET state = excluded.state, worker = excluded.worker, instance = excluded.instance",
        (attempt.id.0, number, state, worker, instance),
    )
}

pub(crate) fn history(seq: i64, at: i64, build: i64, attempt: Option<i64>, actor: &str, text: String) -> Statement {
    sql(
        "INSERT INTO history (seq, at_ms, build, attempt, actor, text) VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (seq) DO NOTHING",
        (seq, at, build, attempt, actor, text),
    )
}

pub(crate) fn machine_draining(id: &str, on: bool) -> Statement {
    sql("UPDATE machines SET draining = $2 WHERE id = $1", (id, on))
}
