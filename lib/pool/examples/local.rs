//! Worker processes on this machine, and what a tiny command costs on them.
//!
//! `cargo run -p burrow-pool --example local -- DIRECTORY [--keep] [--times N] -- PROGRAM [ARGUMENT...]`, for example with `-- target/debug/buildlet`.
//! With `--keep` the worker stays when the example ends, and the next run adopts it.

use std::path::Path;
use std::time::{Duration, Instant};

use burrow_buildlet_client::ExecRequest;
use burrow_pool::PoolEvent;
use burrow_pool::process::{ProcessConfig, ProcessPool};
use tokio::sync::mpsc;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let directory = args.next().ok_or("usage: local DIRECTORY [--keep] [--times N] -- PROGRAM [ARGUMENT...]")?;
    let options: Vec<String> = args.by_ref().take_while(|a| a != "--").collect();
    let times: u32 = match options.iter().position(|o| o == "--times").and_then(|i| options.get(i + 1)) {
        Some(number) => number.parse()?,
        None => 200,
    };
    let mut program: Vec<std::ffi::OsString> = args.map(Into::into).collect();
    if let Some(first) = program.first_mut() {
        *first = std::path::absolute(&*first)?.into();
    }
    let mut config = ProcessConfig::new(1, "host-local", Path::new(&directory), program);
    config.env = std::env::vars_os().filter(|(name, _)| name == "PATH" || name == "HOME").collect();
    let (sender, mut events) = mpsc::unbounded_channel();
    let begin = Instant::now();
    let pool = ProcessPool::start(config, sender)?;
    let worker = loop {
        match tokio::time::timeout(Duration::from_secs(30), events.recv()).await?.ok_or("the pool has ended")? {
            PoolEvent::Up(worker) => break worker,
            other => println!("{other:?}"),
        }
    };
    println!("up after {:.1} ms: {worker:?}", begin.elapsed().as_secs_f64() * 1000.0);
    let request = ExecRequest { cmd: "/bin/echo".into(), args: vec!["hi".into()], ..ExecRequest::default() };
    let run = format!("{}", std::process::id());
    let (begin, mut bytes) = (Instant::now(), 0);
    for n in 0..times {
        let id = format!("local.{run}.{n}");
        worker.client.start_execution(&id, &request, Some(Duration::from_secs(10))).await?;
        bytes += worker.client.output(&id, 0, true).await?.all(1 << 20).await?.len();
        worker.client.kill(&id, true).await?;
    }
    println!("{times} executions, {bytes} bytes: {:.2} ms each", begin.elapsed().as_secs_f64() * 1000.0 / f64::from(times));
    let begin = Instant::now();
    for _ in 0..times * 10 {
        worker.client.status().await?;
    }
    println!("GET /status: {:.3} ms each", begin.elapsed().as_secs_f64() * 100.0 / f64::from(times));
    if !options.iter().any(|o| o == "--keep") {
        pool.stop_all().await;
    }
    Ok(())
}
