//! Ten thousand clients that say nothing. A program of its own: it looks at its memory.

mod world;

use std::sync::Arc;

use testkit_mail::Names;
use tokio::io::AsyncReadExt as _;
use world::{Setting, server};

/// Kibibytes that this process has in memory.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB")?.parse().ok()).expect("VmRSS")
}

#[tokio::test]
async fn ten_thousand_idle_connections_take_little_memory() {
    let names = Names::start().await;
    let (server, counters, _) = server(Setting::default(), &names).await;
    let server = Arc::new(server);
    let before = resident();
    let mut clients = Vec::new();
    for _ in 0..10_000 {
        let (mut client, stream) = tokio::io::duplex(128);
        let server = Arc::clone(&server);
        tokio::spawn(async move { server.converse(stream).await });
        let mut greeting = [0; 4];
        client.read_exact(&mut greeting).await.expect("a greeting");
        assert_eq!(&greeting, b"220 ");
        clients.push(client);
    }
    assert_eq!(counters.open(), 10_000);
    let each = (resident() - before) as f64 / 10_000.0;
    assert!(each < 12.0, "{each} KiB for each");
    drop(clients);
    while counters.open() > 0 {
        tokio::task::yield_now().await;
    }
}
