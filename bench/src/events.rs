//! pubsubhelper: webhooks and mails accepted durably a second, and the way of an event to a thousand readers. The real executable, real connections, real
//! signatures; the senders share the machine with it.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use burrow_http_client::{Client, Request};
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::json;
use testkit_mail::{Answer, Letter, Names, RCPT, Signer};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use crate::procfs;
use crate::report::{Bound, Report, median, quantile};
use crate::settings::{Settings, scratch};

/// Webhooks of a run, unless the command line says otherwise.
const WEBHOOKS: usize = 50_000;
/// Bytes of a webhook's body: GitHub's are about so large.
const BODY: usize = 10 << 10;
/// Connections that post.
const POSTERS: usize = 64;
/// Mails of a run.
const MAILS: usize = 10_000;
/// SMTP sessions at a time.
const SESSIONS: usize = 32;
/// Readers: so many of each kind.
const READERS: usize = 500;
/// Events whose way is measured.
const EVENTS: usize = 200;
/// Pause between two of them.
const PAUSE: Duration = Duration::from_millis(50);
/// Something that takes longer has failed.
const LIMIT: Duration = Duration::from_secs(120);

/// Measures.
///
/// # Errors
/// Something was lost, or cannot be run.
pub(crate) fn run(settings: &Settings) -> anyhow::Result<()> {
    procfs::many_files()?;
    let mut report = Report::new("events");
    let webhooks = settings.load.map_or(WEBHOOKS, |thousands| thousands * 1000);
    let mails = settings.load.map_or(MAILS, |thousands| (thousands * 200).min(MAILS));
    let burrow = settings.burrow()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let (mut posted, mut cpu, mut memory, mut mailed, mut mail_cpu, mut p50, mut p99, mut worst) =
        (vec![], vec![], vec![], vec![], vec![], vec![], vec![], vec![]);
    for _ in 0..settings.runs(3) {
        let found = burrow_task::block_on(&runtime, post(&burrow, webhooks))?;
        report.run(json!({"side": "burrow", "what": "webhooks", "webhooks": webhooks, "bytes": BODY, "per_second": found.rate, "cpu_us": found.cpu_us, "peak_mb": found.peak_mb}));
        posted.push(found.rate);
        cpu.push(found.cpu_us);
        memory.push(found.peak_mb);
        let found = burrow_task::block_on(&runtime, mail(&burrow, mails))?;
        report.run(json!({"side": "burrow", "what": "mails", "mails": mails, "per_second": found.rate, "cpu_us": found.cpu_us, "peak_mb": found.peak_mb}));
        mailed.push(found.rate);
        mail_cpu.push(found.cpu_us);
        let times = burrow_task::block_on(&runtime, fan_out(&burrow))?;
        report.run(json!({"side": "burrow", "what": "fan-out", "readers": 2 * READERS, "events": EVENTS, "p50_ms": quantile(&times, 0.5), "p99_ms": quantile(&times, 0.99), "worst_ms": quantile(&times, 1.0)}));
        p50.push(quantile(&times, 0.5));
        p99.push(quantile(&times, 0.99));
        worst.push(quantile(&times, 1.0));
    }
    report.line("webhooks of 10 KiB accepted durably", "/s", median(&posted), None, Bound::AtLeast(5_000.0));
    report.line("CPU of the server for one", "µs", median(&cpu), None, Bound::None);
    report.line("memory at most meanwhile", "MB", median(&memory), None, Bound::None);
    report.line("signed mails accepted durably", "/s", median(&mailed), None, Bound::AtLeast(2_000.0));
    report.line("CPU of the server for one mail", "µs", median(&mail_cpu), None, Bound::None);
    report.line("webhook sent → event at each of 1,000 readers, p50", "ms", median(&p50), None, Bound::None);
    report.line("webhook sent → event at each of 1,000 readers, p99", "ms", median(&p99), None, Bound::AtMost(50.0));
    report.line("webhook sent → event at each of 1,000 readers, worst", "ms", median(&worst), None, Bound::None);
    report.finish(settings)
}

/// A pubsubhelper in a folder of its own; killed when dropped.
struct Daemon {
    child: Child,
    address: SocketAddr,
    mail: Option<SocketAddr>,
    _dir: tempfile::TempDir,
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Daemon {
    fn start(burrow: &Path, more: &str) -> anyhow::Result<Daemon> {
        let dir = scratch()?;
        std::fs::write(dir.path().join("secret"), "k\n")?;
        let config: PathBuf = dir.path().join("pubsubhelper.toml");
        std::fs::write(
            &config,
            format!("listen = [\"127.0.0.1:0\"]\ndata = \"data\"\nallow_plain_http = true\n{more}[[source]]\nkind = \"github\"\nsecret_file = \"secret\"\n"),
        )?;
        let mut child = Command::new(burrow).args(["pubsubhelper", "--config"]).arg(&config).stdin(Stdio::null()).stderr(Stdio::piped()).spawn()?;
        let mut lines = std::io::BufRead::lines(std::io::BufReader::new(child.stderr.take().context("a piped stderr")?));
        let (mut address, mut mail) = (None, None);
        let wants_mail = more.contains("gerrit-mail");
        while address.is_none() || wants_mail && mail.is_none() {
            let line = lines.next().context("pubsubhelper ended before it was ready")??;
            if let Some((_, rest)) = line.split_once("://") {
                address = rest.split('/').next().map(str::parse).transpose()?;
            } else if let Some((_, rest)) = line.split_once("Mail is taken at ") {
                mail = Some(rest.trim_end_matches('.').parse()?);
            }
        }
        // Read on, or it would stop at a full pipe.
        std::thread::spawn(move || lines.for_each(drop));
        Ok(Daemon { child, address: address.context("an address")?, mail, _dir: dir })
    }

    fn cpu(&self) -> f64 {
        procfs::Cpu::of(self.child.id()).all()
    }

    /// Most memory so far, MB.
    fn peak(&self) -> f64 {
        procfs::memory_kb(self.child.id(), "VmHWM") * 1024.0 / 1e6
    }

    /// Number of events that are kept, by its own word.
    async fn kept(&self) -> anyhow::Result<u64> {
        let client = Client::new(Default::default())?;
        let answer = client.send(Request::get(&format!("http://{}/status.json", self.address))?).await?.bytes(1 << 20).await?;
        let status: serde_json::Value = serde_json::from_slice(&answer)?;
        status["sources"].as_array().map(|sources| sources.iter().filter_map(|source| source["events"].as_u64()).sum()).context("no sources")
    }
}

/// A signed request: everything but the name of the delivery is made beforehand.
struct Delivery {
    before: String,
    after: Vec<u8>,
}

impl Delivery {
    fn new(size: usize) -> Delivery {
        let start = r#"{"action":"opened","repository":{"full_name":"a/b","clone_url":"https://github.com/a/b.git"},"issue":{"number":7,"html_url":"https://github.com/a/b/issues/7","user":{"login":"x","id":1},"body":""#;
        let body = format!("{start}{}\"}}}}", "words and more words. ".repeat(size.saturating_sub(start.len()) / 22));
        let mut mac = Hmac::<sha2::Sha256>::new_from_slice(b"k").unwrap_or_else(|_| unreachable!("any length will do"));
        mac.update(body.as_bytes());
        let signature: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
        let before = format!(
            "POST /github-webhook HTTP/1.1\r\nHost: x\r\nUser-Agent: GitHub-Hookshot/1\r\nContent-Type: application/json\r\nX-GitHub-Event: issues\r\nX-Hub-Signature-256: sha256={signature}\r\nContent-Length: {}\r\nX-GitHub-Delivery: ",
            body.len()
        );
        Delivery { before, after: format!("\r\n\r\n{body}").into_bytes() }
    }

    /// Posts it and reads the answer, which must be that it was accepted.
    async fn post(&self, stream: &mut BufReader<TcpStream>, name: &str) -> anyhow::Result<()> {
        let request = [self.before.as_bytes(), name.as_bytes(), &self.after].concat();
        stream.get_mut().write_all(&request).await?;
        let body = answer(stream).await?;
        ensure!(body.starts_with(b"accepted as event"), "refused: {}", String::from_utf8_lossy(&body));
        Ok(())
    }
}

async fn connect(address: SocketAddr) -> anyhow::Result<BufReader<TcpStream>> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(BufReader::new(stream))
}

/// The body of an answer with a length.
async fn answer(stream: &mut BufReader<TcpStream>) -> anyhow::Result<Vec<u8>> {
    let (mut line, mut length, mut first) = (String::new(), 0, true);
    loop {
        line.clear();
        ensure!(stream.read_line(&mut line).await? > 0, "the connection was closed");
        if std::mem::take(&mut first) {
            ensure!(line.starts_with("HTTP/1.1 200"), "{line}");
        }
        if line == "\r\n" {
            break;
        }
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse()?;
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await?;
    Ok(body)
}

struct Rate {
    rate: f64,
    cpu_us: f64,
    peak_mb: f64,
}

async fn post(burrow: &Path, webhooks: usize) -> anyhow::Result<Rate> {
    let daemon = Daemon::start(burrow, "")?;
    let delivery = Arc::new(Delivery::new(BODY));
    let next = Arc::new(AtomicUsize::new(0));
    let (begin, cpu) = (Instant::now(), daemon.cpu());
    let mut posters = tokio::task::JoinSet::new();
    for _ in 0..POSTERS {
        let (delivery, next, address) = (Arc::clone(&delivery), Arc::clone(&next), daemon.address);
        posters.spawn(async move {
            let mut stream = connect(address).await?;
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= webhooks {
                    return Ok::<_, anyhow::Error>(());
                }
                delivery.post(&mut stream, &format!("delivery-{number}")).await?;
            }
        });
    }
    while let Some(done) = posters.join_next().await {
        done??;
    }
    let seconds = begin.elapsed().as_secs_f64();
    let found = Rate { rate: webhooks as f64 / seconds, cpu_us: (daemon.cpu() - cpu) / webhooks as f64 * 1e6, peak_mb: daemon.peak() };
    ensure!(daemon.kept().await? == webhooks as u64, "{} of {webhooks} events are there", daemon.kept().await?);
    Ok(found)
}

async fn mail(burrow: &Path, mails: usize) -> anyhow::Result<Rate> {
    let names = Names::start().await;
    names.set("20221208._domainkey.google.com", Answer::Text(Signer::record()));
    let source = format!(
        "[[source]]\nkind = \"gerrit-mail\"\nlisten = \"127.0.0.1:0\"\nrcpt = [\"{RCPT}\"]\nhostname = \"mx.example.org\"\ndns = [\"{}\"]\n",
        names.address()
    );
    let daemon = Daemon::start(burrow, &source)?;
    let address = daemon.mail.context("no mail server")?;
    // Signed beforehand: it takes the sender longer than the receiver.
    let signer = Arc::new(Signer::new());
    let signed: Vec<Vec<u8>> = burrow_task::spawn_blocking(move || (0..mails).map(|number| signer.sign(&Letter::new(number as u32 + 1))).collect()).await?;
    let signed = Arc::new(signed);
    let next = Arc::new(AtomicUsize::new(0));
    let (begin, cpu) = (Instant::now(), daemon.cpu());
    let mut sessions = tokio::task::JoinSet::new();
    for _ in 0..SESSIONS {
        let (signed, next) = (Arc::clone(&signed), Arc::clone(&next));
        sessions.spawn(async move {
            let mut client = testkit_mail::Client::connect(address).await?;
            client.reply().await;
            client.say("EHLO sender.example.org").await;
            while let Some(mail) = signed.get(next.fetch_add(1, Ordering::Relaxed)) {
                let reply = client.mail(mail).await;
                ensure!(reply.starts_with("250 "), "refused: {reply}");
            }
            client.say("QUIT").await;
            Ok::<_, anyhow::Error>(())
        });
    }
    while let Some(done) = sessions.join_next().await {
        done??;
    }
    let seconds = begin.elapsed().as_secs_f64();
    let found = Rate { rate: mails as f64 / seconds, cpu_us: (daemon.cpu() - cpu) / mails as f64 * 1e6, peak_mb: daemon.peak() };
    ensure!(daemon.kept().await? == mails as u64, "{} of {mails} events are there", daemon.kept().await?);
    Ok(found)
}

/// Milliseconds from the moment a webhook is sent to the arrival of its event at each reader.
async fn fan_out(burrow: &Path) -> anyhow::Result<Vec<f64>> {
    let daemon = Daemon::start(burrow, "")?;
    let (arrived, mut arrivals) = mpsc::unbounded_channel::<(u64, Instant)>();
    let mut readers = tokio::task::JoinSet::new();
    let ready = Arc::new(AtomicUsize::new(0));
    for _ in 0..READERS {
        readers.spawn(stream_reader(daemon.address, arrived.clone(), Arc::clone(&ready)));
        readers.spawn(poll_reader(daemon.address, arrived.clone(), Arc::clone(&ready)));
    }
    drop(arrived);
    let begin = Instant::now();
    while ready.load(Ordering::Relaxed) < 2 * READERS {
        ensure!(begin.elapsed() < LIMIT, "{} readers are connected", ready.load(Ordering::Relaxed));
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    let delivery = Delivery::new(BODY);
    let mut poster = connect(daemon.address).await?;
    let mut sent: Vec<Instant> = Vec::new();
    for number in 0..EVENTS {
        sent.push(Instant::now());
        delivery.post(&mut poster, &format!("fan-{number}")).await?;
        tokio::time::sleep(PAUSE).await;
    }
    // Events are told apart by their order: numbers go up.
    let mut by_id: HashMap<u64, Vec<Instant>> = HashMap::new();
    let mut count = 0;
    while count < EVENTS * 2 * READERS {
        let next = tokio::time::timeout(LIMIT, arrivals.recv()).await;
        let (id, at) = next.with_context(|| format!("{count} arrivals of {}", EVENTS * 2 * READERS))?.context("the readers have ended")?;
        by_id.entry(id).or_default().push(at);
        count += 1;
    }
    let mut ids: Vec<u64> = by_id.keys().copied().collect();
    ids.sort_unstable();
    ensure!(ids.len() == EVENTS, "{} different events arrived, {EVENTS} were sent", ids.len());
    let mut times = Vec::new();
    for (id, sent) in ids.iter().zip(&sent) {
        let arrivals = by_id.get(id).context("an id")?;
        ensure!(arrivals.len() == 2 * READERS, "event {id} arrived {} times", arrivals.len());
        times.extend(arrivals.iter().map(|at| at.duration_since(*sent).as_secs_f64() * 1e3));
    }
    Ok(times)
}

async fn stream_reader(address: SocketAddr, arrived: mpsc::UnboundedSender<(u64, Instant)>, ready: Arc<AtomicUsize>) -> anyhow::Result<()> {
    let mut stream = connect(address).await?;
    stream.get_mut().write_all(b"GET /events HTTP/1.1\r\nHost: x\r\n\r\n").await?;
    let mut line = String::new();
    loop {
        line.clear();
        if stream.read_line(&mut line).await? == 0 {
            return Ok(());
        }
        if line.starts_with("retry:") {
            ready.fetch_add(1, Ordering::Relaxed);
        } else if let Some(id) = line.strip_prefix("id: ") {
            let _ = arrived.send((id.trim().parse()?, Instant::now()));
        }
    }
}

async fn poll_reader(address: SocketAddr, arrived: mpsc::UnboundedSender<(u64, Instant)>, ready: Arc<AtomicUsize>) -> anyhow::Result<()> {
    let mut stream = connect(address).await?;
    stream.get_mut().write_all(b"GET /waitevent?max=0 HTTP/1.1\r\nHost: x\r\n\r\n").await?;
    let mut after = newest(&answer(&mut stream).await?)?;
    ready.fetch_add(1, Ordering::Relaxed);
    loop {
        stream.get_mut().write_all(format!("GET /waitevent?after_id={after} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).await?;
        let Ok(body) = answer(&mut stream).await else { return Ok(()) };
        let at = Instant::now();
        let id = newest(&body)?;
        if id != after {
            let _ = arrived.send((id, at));
        }
        after = id;
    }
}

/// The number in an answer.
fn newest(body: &[u8]) -> anyhow::Result<u64> {
    let text = std::str::from_utf8(body)?;
    let (_, rest) = text.split_once("\"ID\": ").context("no ID")?;
    Ok(rest.chars().take_while(char::is_ascii_digit).collect::<String>().parse()?)
}
