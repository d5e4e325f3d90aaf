//! Serves the log in a folder at `/logs`, and appends a record for every line of hex digits on the standard input.
//!
//! `cargo run -p burrow-maintnerd --example serve_log -- DIR [ADDRESS]`, `ADDRESS` being `127.0.0.1:0` unless given. A line of several words is a batch. The word
//! `fill N` appends a record whose payload is an unknown field with N bytes of content, which followers skip. Prints where it listens, then a line for every record.

use std::path::PathBuf;

use burrow_maintnerd::http::{self, Readers};
use burrow_maintnerd::{Log, Options};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio_util::sync::CancellationToken;

fn payload(hex: &str) -> Option<Vec<u8>> {
    let digits: Vec<u8> = hex.chars().map(|digit| digit.to_digit(16).and_then(|digit| u8::try_from(digit).ok())).collect::<Option<_>>()?;
    let pairs = digits.chunks_exact(2);
    pairs.remainder().is_empty().then(|| pairs.map(|pair| pair[0] << 4 | pair[1]).collect())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let mut args = std::env::args_os().skip(1);
    let dir = PathBuf::from(args.next().ok_or("usage: serve_log DIR [ADDRESS]")?);
    let address = args.next().map_or_else(|| "127.0.0.1:0".to_owned(), |address| address.to_string_lossy().into_owned());
    let log = Log::open(&dir, Options::new(burrow_clock::SystemClock::shared()))?;
    let listener = tokio::net::TcpListener::bind(address).await?;
    println!("listening on http://{}/logs", listener.local_addr()?);
    let shutdown = CancellationToken::new();
    let router = http::router(log.clone(), Readers::everybody(), shutdown.clone());
    let server = tokio::spawn(axum::serve(listener, router).with_graceful_shutdown(shutdown.clone().cancelled_owned()).into_future());
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Some(line) = lines.next_line().await? {
        let payloads = match line.strip_prefix("fill ") {
            Some(bytes) => {
                let bytes = bytes.trim().parse()?;
                let mut mutation = protocol_mutlog::schema::Mutation::default();
                protocol_mutlog::wire::put_bytes(&mut mutation.unknown, 1_000, &vec![7; bytes]);
                Some(vec![mutation.encode()])
            }
            None => line.split_whitespace().map(payload).collect(),
        };
        let Some(payloads) = payloads else {
            eprintln!("not hex digits: {line:?}");
            continue;
        };
        for at in log.append_batch(payloads).await? {
            println!("segment {} offset {} size {} total {}", at.segment, at.offset, at.size, at.total);
        }
    }
    shutdown.cancel();
    server.await??;
    log.close().await;
    Ok(())
}
