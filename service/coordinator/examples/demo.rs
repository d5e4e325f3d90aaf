//! The pages over a made-up history that moves: for looking at them, and for the browser's tests.
//!
//! `cargo run -p burrow-coordinator --example demo [-- PORT [COMMITS BUILDERS [DATABASE]]]`

#[path = "../tests/fake/mod.rs"]
mod fake;

use std::time::Duration;

use burrow_clock::SystemClock;
use burrow_coordinator::control::Control;
use burrow_coordinator::http::{Access, Settings, Site, router};
use burrow_results::MIGRATIONS;
use burrow_results::model::{AttemptId, BuildState};
use burrow_results::seed::{Seed, fill};
use burrow_store::{Db, sql};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let mut number = |otherwise: usize| args.next().map_or(Ok(otherwise), |text| text.parse());
    let (port, commits, builders) = (number(8090)?, number(40)?, number(24)?);
    let clock = SystemClock::shared();
    let now_ms = clock.now_ms();
    let url = args.next().unwrap_or_else(|| "sqlite::memory:".into());
    let db = Db::open(&url, MIGRATIONS).await?;
    if db.query("SELECT name FROM repos", ()).await?.is_empty() {
        let made = fill(&db, &Seed { commits, builders: Seed::builders(builders), now_ms, detailed: 20 }).await?;
        eprintln!("{made} builds");
        // A second repository where nothing has happened yet, and whose source cannot be read.
        db.commit(vec![sql(
            "INSERT INTO repos (name, project, url, main_branch, state, error, fetched_ms) VALUES ('docs', 'burrow', 'https://example.org/docs.git', 'main', 'failing', 'could not connect to example.org', $1)",
            (now_ms - 700_000,),
        )])
        .await?;
    }
    let fake = fake::Fake::new(db.clone(), clock.clone());
    fake.refresh().await;
    // A log too big to be shown whole, on the newest failed build.
    if let Some(row) = db.query("SELECT id, current_attempt FROM builds WHERE state = 'failed_test' ORDER BY id DESC LIMIT 1", ()).await?.first() {
        let attempt = row.int(1)?;
        let mut log = fake::sample_log("failed_test");
        let part = log.clone();
        for n in 0..60_000 {
            log.push_str(&format!("line {n} of a very talkative test that says the same thing again and again\n"));
        }
        log.push_str(&part);
        db.commit(vec![sql("UPDATE attempts SET log_bytes = $1 WHERE id = $2", (i64::try_from(log.len())?, attempt))]).await?;
        fake.set_log(AttemptId(attempt), log.as_bytes(), true);
        eprintln!("big log: build {}", row.int(0)?);
    }
    let moving = fake.clone();
    tokio::spawn(async move {
        let mut n = 0;
        loop {
            tokio::time::sleep(Duration::from_millis(700)).await;
            n += 1;
            let live = Control::live(&*moving);
            for (_, attempt, _) in &live.running {
                let log = moving.set_or_get(*attempt);
                log.send_modify(|(text, _)| text.extend_from_slice(format!("ok   pkg/live/Test{n:04}  (0.70s)\n").as_bytes()));
            }
            if n % 6 == 0
                && let Some((build, _, _)) = live.running.first()
            {
                if n % 24 == 0 {
                    let attempt = live.running.first().map_or(AttemptId(0), |(_, attempt, _)| *attempt);
                    moving.set_or_get(attempt).send_modify(|(text, _)| text.extend_from_slice(b"--- FAIL: TestLive (0.70s)\n    live_test.go:7: it stopped\n"));
                }
                moving.put(*build, if n % 24 == 0 { BuildState::FailedTest } else { BuildState::Passed }).await;
                if let Some((next, _, _)) = live.waiting.first() {
                    moving.put(*next, BuildState::Running).await;
                }
                // It must never run out of things to show.
                if live.waiting.len() < 4 {
                    let _ = Control::retry(&*moving, *build, "scheduler".into(), "the demonstration goes on".into()).await;
                }
                moving.refresh().await;
            }
        }
    });
    let settings = Settings {
        version: env!("CARGO_PKG_VERSION").into(),
        access: Access { token_hash: None, loopback: true },
        enrolment: "buildlet --coordinator burrow.example.org:8443 --reverse-type linux-arm64 --enroll TOKEN".into(),
        ..Settings::default()
    };
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", u16::try_from(port)?)).await?;
    println!("http://{}/", listener.local_addr()?);
    axum::serve(listener, router(Site::new(db, fake, clock, settings))).await?;
    Ok(())
}
