//! How fast the log takes records: `cargo run --release -p burrow-maintnerd --example measure_log -- DIR`. Prints what it measured, one line each.

use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::Request;
use burrow_maintnerd::http::{self, Readers};
use burrow_maintnerd::{Log, Options};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

/// Bytes of a usual record.
const PAYLOAD: usize = 350;

fn payload() -> Vec<u8> {
    let mut mutation = protocol_mutlog::schema::Mutation::default();
    protocol_mutlog::wire::put_bytes(&mut mutation.unknown, 1_000, &[7; PAYLOAD]);
    mutation.encode()
}

fn percent(sorted: &[Duration], part: usize) -> Duration {
    sorted.get((sorted.len() * part / 100).min(sorted.len().saturating_sub(1))).copied().unwrap_or_default()
}

fn show(what: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    println!("{what}: p50 {:?} p90 {:?} p99 {:?} max {:?}", percent(&times, 50), percent(&times, 90), percent(&times, 99), percent(&times, 100));
}

async fn appends(log: &Log, tasks: usize, each: usize) {
    let start = Instant::now();
    let running: Vec<_> = (0..tasks)
        .map(|_| {
            let log = log.clone();
            tokio::spawn(async move {
                let mut times = Vec::with_capacity(each);
                for _ in 0..each {
                    let start = Instant::now();
                    log.append(payload()).await?;
                    times.push(start.elapsed());
                }
                Ok::<_, burrow_maintnerd::log::AppendError>(times)
            })
        })
        .collect();
    let mut times = Vec::new();
    for task in running {
        times.extend(task.await.expect("a task ends").expect("the log takes records"));
    }
    let seconds = start.elapsed().as_secs_f64();
    println!("{tasks} tasks: {:.0} appends/s", (tasks * each) as f64 / seconds);
    show(&format!("{tasks} tasks, one append"), times);
}

/// From the call of `append` to the index in the hands of each of `count` followers that wait.
async fn visible(log: &Log, count: usize, rounds: usize) {
    let router = http::router(log.clone(), Readers::everybody(), CancellationToken::new());
    let (mut first, mut last) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        let total = log.snapshot().total;
        let waiting: Vec<_> = (0..count)
            .map(|_| {
                let router = router.clone();
                tokio::spawn(async move {
                    let request = Request::get(format!("/logs?waitsizenot={total}")).body(Body::empty()).expect("a request");
                    let answer = router.oneshot(request).await.expect("an answer");
                    let body = axum::body::to_bytes(answer.into_body(), usize::MAX).await.expect("a body");
                    assert!(!body.is_empty());
                    Instant::now()
                })
            })
            .collect();
        while log.watchers() < count {
            tokio::task::yield_now().await;
        }
        let start = Instant::now();
        log.append(payload()).await.expect("the log takes records");
        let mut ends = Vec::new();
        for task in waiting {
            ends.push(task.await.expect("a task ends") - start);
        }
        ends.sort_unstable();
        first.extend(ends.first());
        last.extend(ends.last());
    }
    show(&format!("{count} waiting followers, first answered"), first);
    show(&format!("{count} waiting followers, all answered"), last);
}

async fn batches(log: &Log, count: usize) {
    let start = Instant::now();
    for _ in 0..count {
        log.append_batch(vec![payload(); 10]).await.expect("the log takes batches");
    }
    println!("1 task, batches of 10: {:.0} batches/s", count as f64 / start.elapsed().as_secs_f64());
}

#[tokio::main]
async fn main() {
    let dir = std::env::args_os().nth(1).expect("usage: measure_log DIR");
    let log = Log::open(dir.as_ref(), Options::new(burrow_clock::SystemClock::shared())).expect("a log");
    // In a task: waking the main thread costs more than waking a worker.
    let measured = tokio::spawn(async move {
        appends(&log, 1, 2_000).await;
        appends(&log, 64, 500).await;
        batches(&log, 1_000).await;
        visible(&log, 1, 300).await;
        visible(&log, 100, 300).await;
        visible(&log, 1_000, 100).await;
        log.close().await;
    });
    measured.await.expect("it was measured");
}
