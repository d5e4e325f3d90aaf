//! A coordinator for tests of the pages and for `examples/demo.rs`: rows are real, what the scheduler and the machines do is made up.
#![allow(dead_code)]

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use burrow_clock::SharedClock;
use burrow_coordinator::control::{Change, Control, ControlError, Live, LogReader, Posted, Submit};
use burrow_results::model::{AttemptId, BuildId, BuildState};
use burrow_results::view::{HostType, Machine, Waiting};
use burrow_store::{Db, sql};
use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use sha1::{Digest as _, Sha1};
use tokio::sync::{broadcast, watch};

/// A log: its bytes so far, and whether it has ended.
type Log = watch::Sender<(Vec<u8>, bool)>;

pub(crate) struct Fake {
    pub(crate) db: Db,
    clock: SharedClock,
    changes: broadcast::Sender<(u64, Change)>,
    generation: AtomicU64,
    next: AtomicU64,
    live: Mutex<Arc<Live>>,
    logs: Mutex<HashMap<AttemptId, Arc<Log>>>,
    texts: Mutex<HashMap<String, Vec<u8>>>,
    pub(crate) polled: Mutex<Vec<String>>,
    /// Repositories whose results may be posted, by import path.
    pub(crate) paths: Vec<(String, String)>,
}

struct Reader {
    log: watch::Receiver<(Vec<u8>, bool)>,
    at: usize,
    follow: bool,
}

impl LogReader for Reader {
    fn next(&mut self) -> BoxFuture<'_, io::Result<Option<Bytes>>> {
        async move {
            loop {
                {
                    let log = self.log.borrow_and_update();
                    if self.at < log.0.len() {
                        let end = (self.at + (256 << 10)).min(log.0.len());
                        let piece = Bytes::copy_from_slice(&log.0[self.at..end]);
                        self.at = end;
                        return Ok(Some(piece));
                    }
                    if log.1 || !self.follow {
                        return Ok(None);
                    }
                }
                if self.log.changed().await.is_err() {
                    return Ok(None);
                }
            }
        }
        .boxed()
    }
}

impl Fake {
    pub(crate) fn new(db: Db, clock: SharedClock) -> Arc<Fake> {
        Arc::new(Fake {
            db,
            clock,
            changes: broadcast::channel(256).0,
            generation: AtomicU64::new(1),
            next: AtomicU64::new(5_000_000),
            live: Mutex::default(),
            logs: Mutex::default(),
            texts: Mutex::default(),
            polled: Mutex::default(),
            paths: vec![(String::new(), "sample".into())],
        })
    }

    pub(crate) fn publish(&self, change: Change) {
        let number = self.generation.fetch_add(1, Ordering::SeqCst) + 1;
        let _ = self.changes.send((number, change));
    }

    pub(crate) fn set_live(&self, live: Live) {
        *self.live.lock().unwrap() = Arc::new(live);
        self.publish(Change::Machines);
    }

    /// Queue, running builds and machines as the rows have them.
    pub(crate) async fn refresh(&self) {
        let now = self.clock.now_ms();
        let rows = self
            .db
            .query("SELECT id, state, builder, current_attempt FROM builds WHERE state IN ('queued', 'waiting_machine', 'running') ORDER BY id", ())
            .await
            .unwrap();
        let mut live = Live::default();
        for row in &rows {
            let (id, state, builder) = (BuildId(row.int(0).unwrap()), row.text(1).unwrap(), row.text(2).unwrap());
            if state == "running" {
                live.running.push((id, AttemptId(row.opt_int(3).unwrap().unwrap_or(0)), format!("local-{}", 1 + id.0 % 4)));
                continue;
            }
            let position = live.waiting.len() + 1;
            let reason = if state == "queued" {
                format!("All 4 machines of kind local are busy; {} builds go first.", position - 1)
            } else {
                format!("No machine of kind {} is connected; 1 is expected.", builder.split('-').next().unwrap())
            };
            live.waiting.push((
                id,
                if state == "queued" { "local".into() } else { builder.to_owned() },
                Waiting { position, reason, estimate_ms: (state == "queued").then_some(now + 20_000 * position as i64) },
            ));
        }
        for n in 1..=4_i64 {
            let build = live.running.iter().find(|(_, _, worker)| *worker == format!("local-{n}")).map(|(id, _, _)| *id);
            live.machines.push(Machine {
                id: format!("local-{n}"),
                pool: "local".into(),
                host_type: "local".into(),
                hostname: "burrow-1".into(),
                address: String::new(),
                version: "29".into(),
                state: if build.is_some() { "busy" } else { "idle" },
                since_ms: now - 40_000 * n,
                connected_ms: Some(now - 7_200_000),
                build,
                note: String::new(),
            });
        }
        live.machines.push(Machine {
            id: "m-7c31".into(),
            pool: "lent".into(),
            host_type: "plan9-arm".into(),
            hostname: "attic-pi".into(),
            address: "192.0.2.17".into(),
            version: "28".into(),
            state: "missing",
            since_ms: now - 5_400_000,
            connected_ms: None,
            build: None,
            note: "Bjørn's Raspberry Pi".into(),
        });
        let busy = live.machines.iter().filter(|machine| machine.build.is_some()).count();
        live.host_types = vec![
            HostType { name: "local".into(), pool: "local".into(), connected: 4, expected: 4, busy, waiting: live.waiting.len() },
            HostType { name: "plan9-arm".into(), pool: "lent".into(), connected: 0, expected: 1, busy: 0, waiting: 1 },
        ];
        self.set_live(live);
    }

    /// Gives an attempt a log.
    pub(crate) fn set_log(&self, attempt: AttemptId, content: &[u8], ended: bool) -> Arc<Log> {
        let log = Arc::new(watch::channel((content.to_vec(), ended)).0);
        self.logs.lock().unwrap().insert(attempt, log.clone());
        log
    }

    /// The log of a running attempt, made if it has none yet.
    pub(crate) fn set_or_get(&self, attempt: AttemptId) -> Arc<Log> {
        self.log_of(attempt, "running")
    }

    fn log_of(&self, attempt: AttemptId, state: &str) -> Arc<Log> {
        if let Some(log) = self.logs.lock().unwrap().get(&attempt) {
            return log.clone();
        }
        self.set_log(attempt, sample_log(state).as_bytes(), !matches!(state, "running" | "assigned"))
    }

    async fn change(&self, build: BuildId) -> Change {
        let rows = self.db.query("SELECT repo, branch, hash, builder, state FROM builds WHERE id = $1", (build.0,)).await.unwrap();
        let text = |at| rows[0].text(at).unwrap().to_owned();
        Change::Build { build, repo: text(0), branch: text(1), hash: text(2), builder: text(3), state: BuildState::from_word(&text(4)).unwrap() }
    }

    async fn state_of(&self, build: BuildId) -> Result<BuildState, ControlError> {
        let rows = self.db.query("SELECT state FROM builds WHERE id = $1", (build.0,)).await.unwrap();
        let row = rows.first().ok_or_else(|| ControlError::NotFound(format!("There is no build {build}.")))?;
        Ok(BuildState::from_word(row.text(0).unwrap()).unwrap())
    }

    /// Moves a build into a state, as the scheduler would.
    pub(crate) async fn put(&self, build: BuildId, state: BuildState) {
        let now = self.clock.now_ms();
        let mut batch = vec![sql("UPDATE builds SET state = $1 WHERE id = $2", (state.word(), build.0))];
        if state == BuildState::Running {
            let attempt = build.0 * 4 + 3;
            batch.push(sql("UPDATE builds SET started_ms = $1, attempts = 1, current_attempt = $2 WHERE id = $3", (now, attempt, build.0)));
            batch.push(sql(
                "INSERT INTO attempts (id, build, number, state, worker, instance, pool, hostname, assigned_ms, started_ms, ended_ms, log_hash, log_bytes, flaky, message) VALUES ($1, $2, 1, 'running', $3, '', 'local', 'burrow-1', $4, $4, NULL, NULL, 0, 0, '')",
                (attempt, build.0, format!("local-{}", 1 + build.0 % 4), now),
            ));
        }
        if state.ended() {
            batch.push(sql("UPDATE builds SET ended_ms = $1 WHERE id = $2", (now, build.0)));
            batch.push(sql("UPDATE attempts SET ended_ms = $1, state = $2 WHERE build = $3 AND ended_ms IS NULL", (now, state.word(), build.0)));
            if let Some(log) = self.logs.lock().unwrap().get(&AttemptId(build.0 * 4 + 3)) {
                log.send_modify(|(_, ended)| *ended = true);
            }
        }
        self.db.commit(batch).await.unwrap();
        self.publish(self.change(build).await);
    }

    async fn copy(&self, old: BuildId, actor: &str, reason: &str) -> BuildId {
        let id = BuildId(self.next.fetch_add(1, Ordering::SeqCst) as i64);
        let now = self.clock.now_ms();
        self.db
            .commit(vec![
                sql(
                    "INSERT INTO builds SELECT $1, repo, branch, hash, builder, dep_hash, 1, 'queued', 0, 'retry', $2, spec, commit_s, $3, NULL, NULL, 0, 0, NULL, 0, NULL, NULL FROM builds WHERE id = $4",
                    (id.0, reason, now, old.0),
                ),
                sql("UPDATE builds SET superseded = 1 WHERE id = $1", (old.0,)),
                sql("INSERT INTO history (seq, at_ms, build, attempt, actor, text) VALUES ($1, $2, $3, NULL, $4, $5)", (id.0 * 8, now, id.0, actor, format!("Asked for: {reason}."))),
            ])
            .await
            .unwrap();
        self.publish(self.change(id).await);
        id
    }
}

impl Control for Fake {
    fn live(&self) -> Arc<Live> {
        self.live.lock().unwrap().clone()
    }

    fn changes(&self) -> broadcast::Receiver<(u64, Change)> {
        self.changes.subscribe()
    }

    fn generation(&self) -> u64 {
        self.generation.load(Ordering::SeqCst)
    }

    fn submit(&self, request: Submit) -> BoxFuture<'_, Result<BuildId, ControlError>> {
        async move {
            let rows = self
                .db
                .query("SELECT id FROM builds WHERE repo = $1 AND hash = $2 AND builder = $3", (&request.repo, &request.revision, &request.builder))
                .await
                .unwrap();
            match rows.first() {
                Some(row) => Ok(self.copy(BuildId(row.int(0).unwrap()), &request.actor, &request.reason).await),
                None => Err(ControlError::NotFound(format!("{} has no revision {}.", request.repo, request.revision))),
            }
        }
        .boxed()
    }

    fn cancel(&self, build: BuildId, _actor: String) -> BoxFuture<'_, Result<(), ControlError>> {
        async move {
            if self.state_of(build).await?.ended() {
                return Err(ControlError::Conflict(format!("Build {build} has already ended.")));
            }
            self.put(build, BuildState::Cancelled).await;
            Ok(())
        }
        .boxed()
    }

    fn retry(&self, build: BuildId, actor: String, reason: String) -> BoxFuture<'_, Result<BuildId, ControlError>> {
        async move {
            self.state_of(build).await?;
            Ok(self.copy(build, &actor, &reason).await)
        }
        .boxed()
    }

    fn record(&self, posted: Posted) -> BoxFuture<'_, Result<BuildId, ControlError>> {
        async move {
            let Some((_, repo)) = self.paths.iter().find(|(path, _)| *path == posted.package_path) else {
                return Err(ControlError::NotFound(format!("No repository has the import path {:?}.", posted.package_path)));
            };
            let id = BuildId(self.next.fetch_add(1, Ordering::SeqCst) as i64);
            let now = self.clock.now_ms();
            let hash: String = Sha1::digest(&posted.log).iter().map(|byte| format!("{byte:02x}")).collect();
            let state = if posted.ok { "passed" } else { "failed_test" };
            let log = (!posted.log.is_empty()).then(|| hash.clone());
            self.texts.lock().unwrap().insert(hash, posted.log);
            self.db
                .commit(vec![
                    sql("UPDATE builds SET superseded = 1 WHERE repo = $1 AND hash = $2 AND builder = $3 AND dep_hash = $4", (repo, &posted.hash, &posted.builder, &posted.go_hash)),
                    sql(
                        "INSERT INTO builds (id, repo, branch, hash, builder, dep_hash, class, state, flaky, origin, reason, spec, commit_s, created_ms, started_ms, ended_ms, attempts, infra_failures, current_attempt, superseded, log_hash, cancel_by) \
                         VALUES ($1, $2, 'main', $3, $4, $5, 3, $6, 0, 'posted', '', '{}', 0, $7, $7, $7, 1, 0, NULL, 0, $8, NULL)",
                        (id.0, repo, &posted.hash, &posted.builder, &posted.go_hash, state, now, log),
                    ),
                ])
                .await
                .unwrap();
            self.publish(self.change(id).await);
            Ok(id)
        }
        .boxed()
    }

    fn poll_now(&self, repo: String) -> BoxFuture<'_, Result<(), ControlError>> {
        self.polled.lock().unwrap().push(repo);
        async { Ok(()) }.boxed()
    }

    fn drain(&self, machine: String, on: bool, _actor: String) -> BoxFuture<'_, Result<(), ControlError>> {
        async move {
            let mut live = Live::clone(&self.live());
            let found =
                live.machines.iter_mut().find(|known| known.id == machine).ok_or_else(|| ControlError::NotFound(format!("No machine is called {machine}.")))?;
            found.state = if on { "draining" } else { "idle" };
            self.set_live(live);
            Ok(())
        }
        .boxed()
    }

    fn log(&self, attempt: AttemptId, offset: u64, follow: bool) -> BoxFuture<'_, Result<Box<dyn LogReader>, ControlError>> {
        async move {
            let rows = self.db.query("SELECT state FROM attempts WHERE id = $1", (attempt.0,)).await.unwrap();
            let row = rows.first().ok_or_else(|| ControlError::NotFound(format!("There is no attempt {attempt}.")))?;
            let log = self.log_of(attempt, row.text(0).unwrap());
            Ok(Box::new(Reader { log: log.subscribe(), at: offset as usize, follow }) as Box<dyn LogReader>)
        }
        .boxed()
    }

    fn log_by_hash(&self, hash: String) -> BoxFuture<'_, Result<(u64, Box<dyn LogReader>), ControlError>> {
        async move {
            let text = self.texts.lock().unwrap().get(&hash).cloned();
            let text = match text {
                Some(text) => text,
                None => {
                    let rows = self.db.query("SELECT id, state FROM attempts WHERE log_hash = $1", (&hash,)).await.unwrap();
                    let row = rows.first().ok_or_else(|| ControlError::NotFound("No log has this hash.".into()))?;
                    let log = self.log_of(AttemptId(row.int(0).unwrap()), row.text(1).unwrap());
                    log.borrow().0.clone()
                }
            };
            let size = text.len() as u64;
            let log = watch::channel((text, true)).0;
            Ok((size, Box::new(Reader { log: log.subscribe(), at: 0, follow: false }) as Box<dyn LogReader>))
        }
        .boxed()
    }
}

/// A log as a build of that state would leave it.
pub(crate) fn sample_log(state: &str) -> String {
    let mut out = String::from("$ make -j2\n\u{1b}[1mcc\u{1b}[0m -O2 -c src/index.c -o build/index.o\n");
    for n in 0..24 {
        out.push_str(&format!("cc -O2 -Wall -c src/part{n:02}.c -o build/part{n:02}.o\n"));
    }
    if state == "failed_build" {
        out.push_str("src/part23.c: In function 'rewrite':\n\u{1b}[31msrc/part23.c:118:9: error: implicit declaration of function 'index_keep'\u{1b}[0m\n  118 |         index_keep(segment);\n      |         ^~~~~~~~~~\nmake: *** [Makefile:31: build/part23.o] Error 1\n");
        return out;
    }
    out.push_str("ld -o build/sample build/*.o\n$ make list-tests\n48 tests\n$ make check\n");
    for n in 0..48 {
        match (state, n) {
            ("failed_test", 15) => out.push_str("--- FAIL: TestRestart (1.21s)\n    restart_test.go:88: the index is empty after the restart\n    restart_test.go:91: want 3 segments, got 0 <nil>\n"),
            ("failed_test", 31) => out.push_str("--- FAIL: TestSlowReader (1.20s)\n    reader_test.go:40: timed out\n"),
            ("running" | "assigned", 20) => return out,
            ("timed_out", 30) => {
                out.push_str("waiting for the listener to close…\n");
                return out;
            }
            _ => out.push_str(&format!("\u{1b}[32mok\u{1b}[0m   pkg/part{:02}/Test{n:02}  (0.{:02}s)\n", n / 2, n * 7 % 100)),
        }
    }
    out.push_str(if state == "failed_test" { "FAIL\n2 of 48 tests failed\n" } else { "PASS\n" });
    out
}
