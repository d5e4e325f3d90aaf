//! What reverse machines cost: dials per second, bytes per second, memory per connected idle machine.
//!
//! `cargo run --release -p burrow-pool --example measure -- [MACHINES]` (default 1000). The machines run in a second process, so that each side's memory
//! can be told apart; every machine holds its control connection and the connection its heartbeats use.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use burrow_clock::SystemClock;
use burrow_pool::machines::MemoryMachines;
use burrow_pool::reverse::{Certificate, ClassicKeys, HostTypeRule, ReverseConfig, ReversePool};
use burrow_pool::{Client, PoolEvent};
use burrow_revdial::{BoxStream, Coordinator, Registration, Trust, register};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::process::Command;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

const HOST: &str = "host-linux-amd64-localdev";
const KEY: &str = "4d8129e2963df29b29cab65e108397d1";
type Failure = Box<dyn std::error::Error + Send + Sync>;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["machines", address, count] => machines(address, count.parse()?).await,
        [] => coordinator(1000).await,
        [count] => coordinator(count.parse()?).await,
        _ => Err("usage: measure [MACHINES]".into()),
    }
}

async fn coordinator(count: usize) -> Result<(), Failure> {
    let directory = std::env::temp_dir().join(format!("burrow-measure-{}", std::process::id()));
    let certificate = Certificate::kept_in(&directory)?;
    std::fs::remove_dir_all(&directory)?;
    let host_types = BTreeMap::from([(HOST.to_owned(), HostTypeRule::default())]);
    let mut config = ReverseConfig::new(host_types, certificate.fingerprint, SystemClock::shared());
    config.classic = ClassicKeys::default().with_public_dev_key();
    let (events, mut heard) = mpsc::unbounded_channel();
    let pool = ReversePool::new(config, Arc::new(MemoryMachines::default()), events);
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?.to_string();
    let serving = {
        let pool = pool.clone();
        tokio::spawn(async move { pool.serve(listener, certificate.tls, None, std::future::pending()).await })
    };
    let before = resident_kib();
    let begin = Instant::now();
    let mut child = Command::new(std::env::current_exe()?).args(["machines", &address, &count.to_string()]).stdin(Stdio::piped()).kill_on_drop(true).spawn()?;
    let mut clients: Vec<Client> = Vec::with_capacity(count);
    while clients.len() < count {
        match heard.recv().await {
            Some(PoolEvent::Up(worker)) => clients.push(worker.client),
            other => return Err(format!("{other:?}").into()),
        }
    }
    println!("{count} machines joined in {:.2} s", begin.elapsed().as_secs_f64());
    tokio::time::sleep(Duration::from_secs(8)).await;
    let used = resident_kib() - before;
    println!("coordinator: {:.1} KiB per machine, control and heartbeat connection together", used as f64 / count as f64);
    let cpu = cpu_ms();
    tokio::time::sleep(Duration::from_secs(6)).await;
    println!("coordinator: {:.3} ms of CPU per machine and minute, idle", (cpu_ms() - cpu) as f64 * 10.0 / count as f64);

    let client = clients.first().ok_or("no machine")?;
    let mut times = Vec::new();
    for _ in 0..500 {
        let begin = Instant::now();
        drop(client.connect().await?);
        times.push(begin.elapsed().as_secs_f64() * 1000.0);
    }
    times.sort_by(f64::total_cmp);
    println!("dial, one after the other: p50 {:.2} ms, p99 {:.2} ms", times[times.len() / 2], times[times.len() * 99 / 100]);
    let begin = Instant::now();
    let (mut dials, cpu) = (JoinSet::new(), cpu_ms());
    for n in 0..5000 {
        let client = clients[n % clients.len()].clone();
        dials.spawn(async move { client.connect().await.map(drop) });
        if n >= 64 {
            dials.join_next().await.ok_or("no dial")???;
        }
    }
    while let Some(done) = dials.join_next().await {
        done??;
    }
    let seconds = begin.elapsed().as_secs_f64();
    println!("dials, 64 at a time: {:.0} per second, {:.2} ms of coordinator CPU each", 5000.0 / seconds, (cpu_ms() - cpu) as f64 / 5000.0);

    let mut stream = client.connect().await?;
    stream.write_all(b"B").await?;
    stream.flush().await?;
    let mut buffer = vec![0; 256 * 1024];
    let (begin, mut total, cpu) = (Instant::now(), 0usize, cpu_ms());
    while total < 2 << 30 {
        match stream.read(&mut buffer).await? {
            0 => return Err("the stream ended".into()),
            read => total += read,
        }
    }
    let seconds = begin.elapsed().as_secs_f64();
    println!("stream: {:.0} MB/s, {:.2} coordinator CPU-s per GB", total as f64 / 1e6 / seconds, (cpu_ms() - cpu) as f64 / 1000.0 / (total as f64 / 1e9));
    drop(stream);
    child.kill().await?;
    serving.abort();
    Ok(())
}

async fn machines(address: &str, count: usize) -> Result<(), Failure> {
    let coordinator = Arc::new(Coordinator::new(address, &Trust::Anything)?);
    let before = resident_kib();
    let mut tasks = JoinSet::new();
    for n in 0..count {
        let registration = Registration { host_type: HOST.into(), hostname: format!("m{n}"), version: "29".into(), key: Some(KEY.into()), enrolled: None };
        let mut listener = register(coordinator.clone(), &registration).await?;
        tasks.spawn(async move {
            while let Ok(stream) = listener.accept().await {
                tokio::spawn(serve(stream));
            }
        });
    }
    tokio::time::sleep(Duration::from_secs(5)).await;
    println!("machine: {:.1} KiB each", (resident_kib() - before) as f64 / count as f64);
    // Until the coordinator ends.
    tokio::task::spawn_blocking(|| std::io::Read::read(&mut std::io::stdin(), &mut [0])).await??;
    Ok(())
}

async fn serve(mut stream: BoxStream) {
    let mut request = Vec::new();
    loop {
        while !request.ends_with(b"\r\n\r\n") && request != b"B" {
            if !matches!(stream.read_buf(&mut request).await, Ok(1..)) {
                return;
            }
        }
        if request == b"B" {
            let block = vec![7; 256 * 1024];
            while stream.write_all(&block).await.is_ok() {}
            return;
        }
        request = Vec::new();
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 14\r\n\r\n{\"Version\":29}";
        if stream.write_all(answer).await.is_err() || stream.flush().await.is_err() {
            return;
        }
    }
}

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:")).unwrap_or_default();
    line.trim().trim_end_matches(" kB").parse().unwrap_or(0)
}

/// User and system time of this process, milliseconds (the kernel counts in hundredths).
fn cpu_ms() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after = stat.rsplit_once(')').map(|(_, rest)| rest).unwrap_or_default();
    let fields: Vec<u64> = after.split_whitespace().skip(11).take(2).filter_map(|f| f.parse().ok()).collect();
    fields.iter().sum::<u64>() * 10
}
