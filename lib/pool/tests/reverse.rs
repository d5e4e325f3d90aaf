//! The reverse pool over real sockets and TLS.

mod machine;

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;

use burrow_clock::TestClock;
use burrow_pool::machines::MemoryMachines;
use burrow_pool::reverse::{Certificate, ClassicKeys, Fallback, HostTypeRule, PassedOn, ReverseConfig, ReversePool};
use burrow_pool::{PoolEvent, Worker};
use burrow_revdial::{BoxStream, Connect, Coordinator, RegisterError, Trust};
use machine::{Machine, classic, join, modern};
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{self, UnboundedReceiver};
use tokio::time::Instant;

const HOST: &str = "host-linux-amd64-localdev";
/// Under the public dev key, `spec/pools.md` §7.1.
const KEY: &str = "4d8129e2963df29b29cab65e108397d1";

struct Farm {
    pool: ReversePool,
    events: UnboundedReceiver<PoolEvent>,
    store: Arc<MemoryMachines>,
    clock: TestClock,
    address: String,
    pin: [u8; 32],
    serving: tokio::task::JoinHandle<()>,
    _directory: tempfile::TempDir,
}

impl Drop for Farm {
    fn drop(&mut self) {
        self.serving.abort();
        self.pool.stop_all();
    }
}

impl Farm {
    async fn start() -> Farm {
        Farm::with(|_| {}, None).await
    }

    async fn with(change: impl FnOnce(&mut ReverseConfig), fallback: Option<Fallback>) -> Farm {
        let directory = tempfile::tempdir().unwrap();
        let certificate = Certificate::kept_in(directory.path()).unwrap();
        let clock = TestClock::at(1_000_000);
        let host_types = BTreeMap::from([(HOST.to_owned(), HostTypeRule { expected: 3 }), ("host-other".to_owned(), HostTypeRule::default())]);
        let mut config = ReverseConfig::new(host_types, certificate.fingerprint, Arc::new(clock.clone()));
        config.classic = ClassicKeys::default().with_public_dev_key();
        change(&mut config);
        let (sender, events) = mpsc::unbounded_channel();
        let store = Arc::new(MemoryMachines::default());
        let pool = ReversePool::new(config, store.clone(), sender);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let serving = {
            let (pool, tls) = (pool.clone(), certificate.tls.clone());
            tokio::spawn(async move { pool.serve(listener, tls, fallback, std::future::pending()).await })
        };
        Farm { pool, events, store, clock, address, pin: certificate.fingerprint, serving, _directory: directory }
    }

    async fn join(&self, registration: &burrow_revdial::Registration) -> Result<Machine, RegisterError> {
        join(&self.address, self.pin, registration, 29).await
    }

    async fn up(&mut self) -> Worker {
        match self.events.recv().await.unwrap() {
            PoolEvent::Up(worker) => worker,
            other => panic!("{other:?}"),
        }
    }

    async fn lost(&mut self) -> (String, String, String) {
        match self.events.recv().await.unwrap() {
            PoolEvent::Lost { id, instance, reason } => (id, instance, reason),
            other => panic!("{other:?}"),
        }
    }

    fn quiet(&mut self) {
        if let Ok(event) = self.events.try_recv() {
            panic!("{event:?}");
        }
    }

    async fn tls(&self) -> BoxStream {
        Coordinator::new(&self.address, &Trust::Pin(self.pin)).unwrap().connect().await.unwrap()
    }

    /// Sends a request over TLS and reads everything that comes back.
    async fn raw(&self, request: &str) -> String {
        ask(self.tls().await, request).await
    }

    async fn enroll(&self, token: &str, host_type: &str) -> (u16, serde_json::Value) {
        let body = serde_json::json!({"token": token, "hostname": "mars", "host_type": host_type}).to_string();
        let answer = self.raw(&format!("POST /enroll HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}", body.len())).await;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head[9..12].parse().unwrap(), serde_json::from_str(body).unwrap())
    }

    /// A machine with a secret of its own.
    async fn enrolled(&self) -> (String, String) {
        let token = self.pool.create_token(None, Duration::from_secs(60)).await.unwrap();
        let (status, reply) = self.enroll(&token, HOST).await;
        assert_eq!(status, 200, "{reply}");
        (reply["machine"].as_str().unwrap().to_owned(), reply["secret"].as_str().unwrap().to_owned())
    }
}

async fn ask(mut stream: impl AsyncReadExt + AsyncWriteExt + Unpin, request: &str) -> String {
    stream.write_all(request.as_bytes()).await.unwrap();
    stream.flush().await.unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8(answer).unwrap()
}

fn refused(result: Result<Machine, RegisterError>) -> (u16, String) {
    match result {
        Err(RegisterError::Refused { status, text }) => (status, text),
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("it was let in"),
    }
}

const A: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
const B: &str = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";

/// `spec/pools.md` §7.1, in the order of its table.
#[tokio::test]
async fn registrations_are_refused_as_the_reference_refuses_them() {
    let farm = Farm::start().await;
    let rows = [
        ("", "400 Bad Request", "buildlet binary is too old\n"),
        ("X-Revdial-Version: 1\r\n", "400 Bad Request", "unknown revdial version\n"),
        ("X-Revdial-Version: 2\r\n", "400 Bad Request", "missing X-Go-Builder-Hostname header\n"),
        ("X-Revdial-Version: 2\r\nX-Go-Builder-Hostname: h\r\n", "400 Bad Request", "missing X-Go-Host-Type; old buildlet binary?\n"),
        ("X-Revdial-Version: 2\r\nX-Go-Builder-Hostname: h\r\nX-Go-Host-Type: host-linux-amd64-localdev\r\n", "412 Precondition Failed", "invalid build key\n"),
        (
            "X-Revdial-Version: 2\r\nX-Go-Builder-Hostname: h\r\nX-Go-Host-Type: host-linux-amd64-localdev\r\nX-Go-Builder-Key: \r\n",
            "412 Precondition Failed",
            "invalid build key\n",
        ),
        (
            "X-Revdial-Version: 2\r\nX-Go-Builder-Hostname: h\r\nX-Go-Host-Type: host-other\r\nX-Go-Builder-Key: 4d8129e2963df29b29cab65e108397d1\r\n",
            "412 Precondition Failed",
            "invalid build key\n",
        ),
    ];
    for (headers, status, body) in rows {
        let answer = farm.raw(&format!("GET /reverse HTTP/1.1\r\nHost: \r\n{headers}\r\n")).await;
        assert_eq!(
            answer,
            format!(
                "HTTP/1.1 {status}\r\nContent-Type: text/plain; charset=utf-8\r\nX-Content-Type-Options: nosniff\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
                body.len()
            )
        );
    }
    let plain = |request: &'static str| async { ask(TcpStream::connect(&farm.address).await.unwrap(), request).await };
    let answer = plain("GET /reverse HTTP/1.1\r\nHost: \r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 500 ") && answer.ends_with("\r\n\r\nbuildlet registration requires SSL\n"), "{answer}");
    let answer = plain("GET /revdial?revdial.dialer=00 HTTP/1.1\r\nHost: \r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 500 ") && answer.ends_with("\r\n\r\nhandler requires TLS\n"), "{answer}");
    let answer = farm.raw("POST /revdial HTTP/1.1\r\nHost: \r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 405 ") && answer.contains("\r\nAllow: GET\r\n"), "{answer}");
    let answer = farm.raw("GET /revdial?revdial.dialer=0cd4863abbb6f5f6575c8997b1735c65 HTTP/1.1\r\nHost: \r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 400 ") && answer.ends_with("\r\n\r\nunknown dialer\n"), "{answer}");
    assert!(farm.raw("GET /other HTTP/1.1\r\nHost: \r\n\r\n").await.starts_with("HTTP/1.1 404 "));
    assert!(farm.raw("\x01\x02 nonsense\r\n\r\n").await.starts_with("HTTP/1.1 400 "));
}

/// Keeps a copy of every byte read.
struct Recording(TcpStream, Arc<std::sync::Mutex<Vec<u8>>>);

impl tokio::io::AsyncRead for Recording {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        let before = buf.filled().len();
        let result = Pin::new(&mut self.0).poll_read(cx, buf);
        self.1.lock().unwrap().extend_from_slice(&buf.filled()[before..]);
        result
    }
}

impl AsyncWrite for Recording {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

/// `spec/buildlet.md` T1 and T2: what shares a TLS record with the head is lost to a Go buildlet.
#[tokio::test]
async fn a_stock_go_buildlet_gets_the_references_101_in_a_record_of_its_own() {
    let farm = Farm::start().await;
    let seen = Arc::new(std::sync::Mutex::new(Vec::new()));
    let tcp = Recording(TcpStream::connect(&farm.address).await.unwrap(), seen.clone());
    let tls = tokio_rustls::TlsConnector::from(Arc::new(burrow_revdial::client_config(&Trust::Anything).unwrap()));
    let mut stream = tls.connect("localhost".try_into().unwrap(), tcp).await.unwrap();
    let handshake = seen.lock().unwrap().len();
    let request = format!(
        "GET /reverse HTTP/1.1\r\nHost: \r\nUser-Agent: Go-http-client/1.1\r\nX-Go-Builder-Hostname: h\r\nX-Go-Builder-Key: {KEY}\r\nX-Go-Builder-Version: 26\r\nX-Go-Host-Type: {HOST}\r\nX-Revdial-Version: 2\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"}\n") {
        stream.read_buf(&mut answer).await.unwrap();
    }
    let head = "HTTP/0.0 101 Switching Protocols\r\n\r\n";
    assert!(answer.starts_with(head.as_bytes()), "{}", String::from_utf8_lossy(&answer));
    // A TLS 1.3 record: header of 5 bytes with the length, then content, one byte for its type, and a tag of 16.
    let records = &seen.lock().unwrap()[handshake..];
    assert_eq!(usize::from(u16::from_be_bytes([records[3], records[4]])), head.len() + 1 + 16);
}

#[tokio::test]
async fn classic_keys_open_nothing_unless_they_are_switched_on() {
    let farm = Farm::with(|config| config.classic = ClassicKeys::default(), None).await;
    assert_eq!(refused(farm.join(&classic(HOST, "h", KEY)).await), (412, "invalid build key".into()));
    let mut farm = Farm::with(|config| config.classic = ClassicKeys::default().with_master_key(" gophers rule\n").unwrap(), None).await;
    let _machine = farm.join(&classic(HOST, "h", KEY)).await.unwrap();
    farm.up().await;
    assert!(ClassicKeys::default().with_master_key(" \n").is_err());
}

#[tokio::test]
async fn version_22_is_turned_away_and_23_is_taken() {
    let mut farm = Farm::start().await;
    let _old = join(&farm.address, farm.pin, &classic(HOST, "old", KEY), 22).await.unwrap();
    let machine = join(&farm.address, farm.pin, &classic(HOST, "new", KEY), 23).await.unwrap();
    assert_eq!(machine.session, None);
    let worker = farm.up().await;
    assert_eq!((worker.id.as_str(), worker.version, worker.modern, worker.host_type.as_str()), ("classic-new", 23, false, HOST));
    assert_eq!(worker.client.status().await.unwrap().version, 23);
    farm.quiet();
}

#[tokio::test]
async fn host_types_nobody_uses_are_refused_with_a_reason() {
    let farm = Farm::start().await;
    let key = protocol_revdial::builder_key(protocol_revdial::DEV_MASTER_KEY, "host-<x>").unwrap();
    let (status, text) = refused(farm.join(&classic("host-<x>", "h", &key)).await);
    assert_eq!((status, text.as_str()), (400, "unknown host type \"host-<x>\": no builder of this coordinator uses it"));
}

#[tokio::test]
async fn two_machines_of_one_name_are_told_apart() {
    let mut farm = Farm::start().await;
    let _first = farm.join(&classic(HOST, "twin", KEY)).await.unwrap();
    assert_eq!(farm.up().await.id, "classic-twin");
    let _second = farm.join(&classic(HOST, "twin", KEY)).await.unwrap();
    assert_eq!(farm.up().await.id, "classic-twin~2");
    let json: serde_json::Value = serde_json::from_str(&farm.pool.snapshot().to_go_json(&BTreeMap::new())).unwrap();
    assert_eq!(json["HostTypes"][HOST]["Machines"].as_object().unwrap().len(), 2);
}

#[tokio::test]
async fn a_token_enrols_one_machine_and_its_secret_opens_one_host_type() {
    let mut farm = Farm::start().await;
    let token = farm.pool.create_token(Some(HOST.into()), Duration::from_secs(60)).await.unwrap();
    let fingerprint: String = farm.pin.iter().map(|b| format!("{b:02x}")).collect();
    assert_eq!(token.split_once('.').map(|(secret, pin)| (secret.len(), pin)), Some((32, fingerprint.as_str())));
    assert_eq!(farm.enroll("0".repeat(32).as_str(), HOST).await.0, 403);
    // Neither of these uses it up.
    assert_eq!(farm.enroll(&token, "host-none").await.0, 400);
    assert_eq!(farm.enroll(&token, "host-other").await.0, 403);
    let (status, reply) = farm.enroll(&token, HOST).await;
    assert_eq!(status, 200, "{reply}");
    assert_eq!(farm.enroll(&token, HOST).await.0, 403);
    let (machine, secret) = (reply["machine"].as_str().unwrap(), reply["secret"].as_str().unwrap());
    assert_eq!(secret.len(), 64);

    let late = farm.pool.create_token(None, Duration::from_secs(60)).await.unwrap();
    farm.clock.advance_ms(60_001);
    assert_eq!(farm.enroll(&late, HOST).await.0, 403);

    for wrong in [modern(HOST, machine, &"0".repeat(64), A), modern(HOST, "m-0000000000000000", secret, A), modern("host-other", machine, secret, A)] {
        assert_eq!(refused(farm.join(&wrong).await).0, 412);
    }
    let there = farm.join(&modern(HOST, machine, secret, A)).await.unwrap();
    assert!(there.session.is_some());
    let worker = farm.up().await;
    assert_eq!((worker.id.as_str(), worker.instance.as_str(), worker.modern, worker.slots), (machine, A, true, 2));
    assert_eq!(farm.store.seen(machine).unwrap().hostname, "mars");

    farm.store.revoke(machine, true);
    assert!(farm.pool.disconnect(machine, "revoked"));
    assert_eq!(farm.lost().await, (machine.to_owned(), A.to_owned(), "revoked".to_owned()));
    assert!(worker.client.status().await.is_err());
    assert_eq!(refused(farm.join(&modern(HOST, machine, secret, A)).await).0, 412);
    farm.quiet();
}

#[tokio::test]
async fn bad_enrolments_are_refused_before_anything_is_read() {
    let farm = Farm::start().await;
    for (request, status) in [
        ("GET /enroll HTTP/1.1\r\nHost: \r\n\r\n", "405"),
        ("POST /enroll HTTP/1.1\r\nHost: \r\nContent-Length: 100000\r\n\r\n", "413"),
        ("POST /enroll HTTP/1.1\r\nHost: \r\nTransfer-Encoding: chunked\r\n\r\n", "400"),
        ("POST /enroll HTTP/1.1\r\nHost: \r\nContent-Length: 2\r\n\r\n{}", "400"),
    ] {
        let answer = farm.raw(request).await;
        assert_eq!(&answer[9..12], status, "{request}");
        assert!(answer.ends_with("\"}"), "{answer}");
    }
}

#[tokio::test]
async fn a_machine_that_comes_back_is_not_lost_and_its_client_goes_on() {
    let mut farm = Farm::start().await;
    let (id, secret) = farm.enrolled().await;
    let registration = modern(HOST, &id, &secret, A);
    let first = farm.join(&registration).await.unwrap();
    let worker = farm.up().await;
    // The connection is cut.
    drop(first);
    match farm.events.recv().await.unwrap() {
        PoolEvent::Unreachable { id: whose, instance, .. } => assert_eq!((whose, instance.as_str()), (id.clone(), A)),
        other => panic!("{other:?}"),
    }
    assert!(farm.pool.snapshot().host_types[HOST].machines[0].unreachable.is_some());
    // A request in the meantime waits instead of failing.
    let waiting = tokio::spawn({
        let client = worker.client.clone();
        async move { client.status().await }
    });
    let second = farm.join(&registration).await.unwrap();
    match farm.events.recv().await.unwrap() {
        PoolEvent::Reachable { id: whose, instance } => assert_eq!((whose, instance.as_str()), (id.clone(), A)),
        other => panic!("{other:?}"),
    }
    assert_eq!(waiting.await.unwrap().unwrap().burrow.unwrap().instance, A);
    // Back before the old connection was noticed to be dead: nobody hears of it.
    let third = farm.join(&registration).await.unwrap();
    assert_eq!(worker.client.status().await.unwrap().burrow.unwrap().instance, A);
    drop(second);
    assert_eq!(worker.client.status().await.unwrap().burrow.unwrap().instance, A);
    assert!(!farm.pool.snapshot().host_types[HOST].machines.is_empty());
    drop(third);
}

#[tokio::test]
async fn an_identity_in_use_is_refused_until_its_owner_is_gone() {
    let mut farm = Farm::start().await;
    let (id, secret) = farm.enrolled().await;
    let first = farm.join(&modern(HOST, &id, &secret, A)).await.unwrap();
    farm.up().await;
    let (status, text) = refused(farm.join(&modern(HOST, &id, &secret, B)).await);
    assert_eq!((status, text.as_str()), (409, "a machine with this identity is already connected and answers"));
    farm.quiet();
    // The machine restarts its worker.
    drop(first);
    assert!(matches!(farm.events.recv().await, Some(PoolEvent::Unreachable { .. })));
    let _second = farm.join(&modern(HOST, &id, &secret, B)).await.unwrap();
    let (lost, instance, _) = farm.lost().await;
    assert_eq!((lost, instance.as_str()), (id.clone(), A));
    let worker = farm.up().await;
    assert_eq!((worker.id, worker.instance.as_str()), (id, B));
    farm.quiet();
}

#[tokio::test]
async fn a_frozen_machine_is_lost_once_within_15_seconds() {
    let mut farm = Farm::start().await;
    let (id, secret) = farm.enrolled().await;
    let frozen = farm.join(&modern(HOST, &id, &secret, A)).await.unwrap();
    let worker = farm.up().await;
    frozen.behaviour.frozen.store(true, Ordering::SeqCst);
    // From here on no byte moves, so that the test's clock can run ahead of the sockets without cheating anybody.
    tokio::time::pause();
    let begin = Instant::now();
    assert!(matches!(farm.events.recv().await, Some(PoolEvent::Unreachable { .. })));
    let (lost, instance, reason) = farm.lost().await;
    assert_eq!((lost, instance.as_str()), (id.clone(), A));
    assert!(reason.starts_with("no answer for 1"), "{reason}");
    assert!(begin.elapsed() <= Duration::from_secs(15), "{:?}", begin.elapsed());
    assert!(worker.client.status().await.is_err());
    tokio::time::resume();
    farm.quiet();
    assert_eq!(farm.pool.snapshot().absent.len(), 1);
    // It wakes up and registers again: a new `Up`, with the same instance.
    let _back = farm.join(&modern(HOST, &id, &secret, A)).await.unwrap();
    assert_eq!(farm.up().await.instance, A);
}

#[tokio::test]
async fn a_machine_that_stays_away_is_lost_once_within_15_seconds() {
    let mut farm = Farm::start().await;
    let (id, secret) = farm.enrolled().await;
    let machine = farm.join(&modern(HOST, &id, &secret, A)).await.unwrap();
    farm.up().await;
    machine.cut_control();
    assert!(matches!(farm.events.recv().await, Some(PoolEvent::Unreachable { .. })));
    tokio::time::pause();
    let begin = Instant::now();
    let (lost, _, reason) = farm.lost().await;
    assert_eq!(lost, id);
    assert!(reason.contains("did not come back"), "{reason}");
    assert!(begin.elapsed() <= Duration::from_secs(15), "{:?}", begin.elapsed());
    tokio::time::resume();
    farm.quiet();
}

#[tokio::test]
async fn a_classic_machine_is_lost_with_its_connection_and_halted_at_release() {
    let mut farm = Farm::start().await;
    let machine = farm.join(&classic(HOST, "a", KEY)).await.unwrap();
    let worker = farm.up().await;
    farm.pool.release(&worker.id).await;
    assert_eq!(machine.behaviour.halted.load(Ordering::SeqCst), 1);
    assert_eq!(farm.lost().await.1, worker.instance);
    let machine = farm.join(&classic(HOST, "a", KEY)).await.unwrap();
    let again = farm.up().await;
    assert_eq!(again.id, worker.id);
    assert_ne!(again.instance, worker.instance);
    drop(machine);
    assert_eq!(farm.lost().await.1, again.instance);
    farm.quiet();
}

#[tokio::test]
async fn a_released_modern_machine_stays() {
    let mut farm = Farm::start().await;
    let (id, secret) = farm.enrolled().await;
    let machine = farm.join(&modern(HOST, &id, &secret, A)).await.unwrap();
    farm.up().await;
    farm.pool.set_busy(&id, true);
    assert!(farm.pool.snapshot().host_types[HOST].machines[0].busy);
    farm.pool.release(&id).await;
    assert!(!farm.pool.snapshot().host_types[HOST].machines[0].busy);
    assert_eq!(machine.behaviour.halted.load(Ordering::SeqCst), 0);
    farm.quiet();
}

#[tokio::test]
async fn draining_is_told_and_remembered() {
    let mut farm = Farm::start().await;
    let (id, secret) = farm.enrolled().await;
    let machine = farm.join(&modern(HOST, &id, &secret, A)).await.unwrap();
    farm.up().await;
    farm.pool.drain(&id, true);
    farm.pool.drain(&id, true);
    assert!(matches!(farm.events.recv().await, Some(PoolEvent::Draining { draining: true, .. })));
    farm.quiet();
    drop(machine);
    assert!(matches!(farm.events.recv().await, Some(PoolEvent::Unreachable { .. })));
    farm.pool.disconnect(&id, "test");
    farm.lost().await;
    let _machine = farm.join(&modern(HOST, &id, &secret, B)).await.unwrap();
    farm.up().await;
    assert!(matches!(farm.events.recv().await, Some(PoolEvent::Draining { draining: true, .. })));
    assert!(farm.pool.snapshot().host_types[HOST].machines[0].draining);
}

#[tokio::test]
async fn the_status_json_is_what_go_programs_read() {
    let mut farm = Farm::start().await;
    let waiters = BTreeMap::from([(HOST.to_owned(), 2)]);
    assert_eq!(
        farm.pool.snapshot().to_go_json(&waiters),
        format!(
            "{{\n\t\"HostTypes\": {{\n\t\t\"{HOST}\": {{\n\t\t\t\"HostType\": \"{HOST}\",\n\t\t\t\"Connected\": 0,\n\t\t\t\"Expect\": 3,\n\t\t\t\"Idle\": 0,\n\t\t\t\"Busy\": 0,\n\t\t\t\"Waiters\": 2,\n\t\t\t\"Machines\": null\n\t\t}}\n\t}}\n}}"
        )
    );
    let _machine = farm.join(&classic(HOST, "h", KEY)).await.unwrap();
    let worker = farm.up().await;
    farm.clock.advance_ms(1500);
    farm.pool.set_busy(&worker.id, true);
    farm.clock.advance_ms(500);
    let json: serde_json::Value = serde_json::from_str(&farm.pool.snapshot().to_go_json(&waiters)).unwrap();
    assert_eq!(
        json["HostTypes"][HOST],
        serde_json::json!({
            "HostType": HOST, "Connected": 1, "Expect": 3, "Idle": 0, "Busy": 1, "Waiters": 2,
            "Machines": {"h": {"Name": "h", "HostType": HOST, "ConnectedSec": 2.0, "BusySec": 0.5, "Version": "29", "Busy": true}}
        })
    );
    assert_eq!(farm.pool.snapshot().host_types[HOST].missing, 2);
}

#[tokio::test]
async fn other_requests_are_passed_on_as_they_came() {
    let fallback: Fallback = Arc::new(|passed: PassedOn| {
        tokio::spawn(async move {
            let PassedOn { mut stream, tls, .. } = passed;
            let mut request = Vec::new();
            while !request.ends_with(b"the body") {
                stream.read_buf(&mut request).await.unwrap();
            }
            stream.write_all(format!("{tls} {}", request.len()).as_bytes()).await.unwrap();
            stream.shutdown().await.unwrap();
        });
    });
    let farm = Farm::with(|_| {}, Some(fallback)).await;
    let request = "POST /page HTTP/1.1\r\nHost: ci.example\r\nContent-Length: 8\r\n\r\nthe body";
    assert_eq!(farm.raw(request).await, format!("true {}", request.len()));
    assert_eq!(ask(TcpStream::connect(&farm.address).await.unwrap(), request).await, format!("false {}", request.len()));
}

#[tokio::test]
async fn the_certificate_is_kept_and_its_key_is_private() {
    let directory = tempfile::tempdir().unwrap();
    let first = Certificate::kept_in(directory.path()).unwrap();
    assert_eq!(Certificate::kept_in(directory.path()).unwrap().fingerprint, first.fingerprint);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata(directory.path().join("machines.key")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}
