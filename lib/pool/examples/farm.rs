//! The smallest farm: lets machines join over TLS and runs one command on each.
//!
//! `cargo run -p burrow-pool --example farm -- 127.0.0.1:8119 /tmp/farm host-linux-amd64-localdev [--dev-key] [--once] -- uname -a`
//!
//! Prints an enrolment token for Burrow's buildlet. With `--dev-key` a stock Go buildlet may join as well:
//! `buildlet -coordinator 127.0.0.1:8119 -reverse-type host-linux-amd64-localdev -halt=false`.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use burrow_buildlet_client::{Error, ExecForm, ExecRequest};
use burrow_clock::SystemClock;
use burrow_pool::machines::MemoryMachines;
use burrow_pool::reverse::{Certificate, ClassicKeys, HostTypeRule, ReverseConfig, ReversePool};
use burrow_pool::{PoolEvent, Worker};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let (Some(listen), Some(directory), Some(host_type)) = (args.next(), args.next(), args.next()) else {
        return Err("usage: farm LISTEN DIRECTORY HOST-TYPE [--dev-key] [--once] -- COMMAND...".into());
    };
    let options: Vec<String> = args.by_ref().take_while(|a| a != "--").collect();
    let command: Vec<String> = args.collect();
    let has = |name: &str| options.iter().any(|o| o == name);

    let certificate = Certificate::kept_in(Path::new(&directory))?;
    let host_types = BTreeMap::from([(host_type.clone(), HostTypeRule { expected: 1 })]);
    let mut config = ReverseConfig::new(host_types, certificate.fingerprint, SystemClock::shared());
    if has("--dev-key") {
        config.classic = ClassicKeys::default().with_public_dev_key();
    }
    let (events, mut heard) = mpsc::unbounded_channel();
    let pool = ReversePool::new(config, Arc::new(MemoryMachines::default()), events);
    println!("token {}", pool.create_token(Some(host_type), Duration::from_secs(3600)).await?);
    let listener = TcpListener::bind(&listen).await?;
    println!("listening {}", listener.local_addr()?);
    let serving = {
        let pool = pool.clone();
        tokio::spawn(async move { pool.serve(listener, certificate.tls, None, std::future::pending()).await })
    };
    while let Some(event) = heard.recv().await {
        println!("{event:?}");
        if let PoolEvent::Up(worker) = event {
            pool.set_busy(&worker.id, true);
            match run(&worker, &command).await {
                Ok(end) => println!("== {end}"),
                Err(error) => println!("== failed: {error}"),
            }
            println!("{}", pool.snapshot().to_go_json(&BTreeMap::new()));
            pool.release(&worker.id).await;
            if has("--once") {
                break;
            }
        }
    }
    serving.abort();
    Ok(())
}

async fn run(worker: &Worker, command: &[String]) -> Result<String, Error> {
    let (cmd, args) = command.split_first().map(|(c, a)| (c.clone(), a.to_vec())).unwrap_or(("true".into(), Vec::new()));
    if worker.modern {
        let request = ExecRequest { cmd, args, ..ExecRequest::default() };
        worker.client.start_execution("farm.1", &request, None).await?;
        let mut output = worker.client.output("farm.1", 0, true).await?;
        while let Some(bytes) = output.chunk().await? {
            print!("{}", String::from_utf8_lossy(&bytes));
        }
        let end = worker.client.execution("farm.1", None).await?;
        return Ok(format!("{:?}, exit code {:?}", end.state, end.exit_code));
    }
    println!("work directory {}", worker.client.workdir().await?);
    let mut output = worker.client.exec(&ExecForm { cmd, args, system: true, ..ExecForm::default() }).await?;
    while let Some(bytes) = output.chunk().await? {
        print!("{}", String::from_utf8_lossy(&bytes));
    }
    Ok(format!("{:?}", output.outcome().await?))
}
