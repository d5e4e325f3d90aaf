//! Source archives: a revision of 1,000 files (those of this checkout, again and again until there are so many), made and sent over a socket for the first
//! time, beside `git archive | gzip -6`; the same from the cache; and the memory that a large one takes. Run it in a git checkout.

use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use anyhow::{Context as _, bail};
use burrow_gitserve::{Boxed, Options, Repositories, Repository, Server};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use serde_json::json;

use crate::procfs::memory_kb;
use crate::report::{Bound, Report, median};
use crate::settings::Settings;

const FILES: usize = 1_000;
/// Files of 4 MiB that do not compress.
const LARGE: usize = 64;

/// Measures.
///
/// # Errors
/// git fails, or an archive is not what git makes.
pub(crate) fn run(settings: &Settings) -> anyhow::Result<()> {
    let mut report = Report::new("archive");
    let dir = tempfile::tempdir()?;
    let (bare, large) = (dir.path().join("files.git"), dir.path().join("large.git"));
    thousand_files(dir.path(), &bare)?;
    large_files(dir.path(), &large, settings.seed)?;
    let (mut cold, mut first_byte, mut peer, mut sizes) = (Vec::new(), Vec::new(), Vec::new(), (0.0, 0.0));
    for run in 0..settings.runs(9) {
        let server = Serving::start(&bare, &dir.path().join(format!("cache{run}")))?;
        let begin = Instant::now();
        let (bytes, first) = server.get("/r.tar.gz?rev=HEAD", begin)?;
        let ours = begin.elapsed().as_secs_f64();
        drop(server);
        let begin = Instant::now();
        let theirs_bytes = piped("git archive --format=tar HEAD | gzip -6", &bare)?;
        let theirs = begin.elapsed().as_secs_f64();
        report.run(json!({"cold_s": ours, "first_byte_s": first, "bytes": bytes, "peer_s": theirs, "peer_bytes": theirs_bytes}));
        cold.push(ours * 1e3);
        first_byte.push(first * 1e3);
        peer.push(theirs * 1e3);
        sizes = (bytes as f64, theirs_bytes as f64);
    }
    report.line("first archive, tar.gz over a socket", "ms", median(&cold), Some(median(&peer)), Bound::PartOfPeer(1.0 / 1.5));
    report.line("its first byte", "ms", median(&first_byte), None, Bound::None);
    report.line("its size", "kB", sizes.0 / 1e3, Some(sizes.1 / 1e3), Bound::PartOfPeer(1.0));
    let mut zstd = Vec::new();
    for run in 0..settings.runs(9) {
        let server = Serving::start(&bare, &dir.path().join(format!("zcache{run}")))?;
        let begin = Instant::now();
        let (bytes, _) = server.get("/r.tar.zst?rev=HEAD", begin)?;
        zstd.push(begin.elapsed().as_secs_f64() * 1e3);
        report.run(json!({"zstd_cold_s": begin.elapsed().as_secs_f64(), "bytes": bytes}));
    }
    report.line("first archive, tar.zst", "ms", median(&zstd), None, Bound::None);
    let server = Serving::start(&large, &dir.path().join("cache-large"))?;
    // Not what is mapped of the repository's files: that is the page cache, which gives way.
    let before = server.own_memory_kb();
    let (bytes, _) = server.get("/r.tar.gz?rev=HEAD", Instant::now())?;
    let peak = server.peak_kb.load(Ordering::Relaxed) as f64;
    report.run(json!({"memory_before_kb": before, "memory_peak_kb": peak, "bytes": bytes}));
    let memory = format!("memory above idle for one of {} MB", bytes / 1_000_000);
    report.line(&memory, "MiB", (peak - before).max(0.0) / 1024.0, None, Bound::AtMost(64.0));
    let (mut cached, mut waits) = (Vec::new(), 0);
    // It is kept a moment after it has been sent.
    while server.server.figures().archives == 0 && waits < 1_000_000 {
        std::thread::yield_now();
        waits += 1;
    }
    for _ in 0..settings.runs(9) {
        let begin = Instant::now();
        let (bytes, _) = server.get("/r.tar.gz?rev=HEAD", begin)?;
        let speed = bytes as f64 / 1e6 / begin.elapsed().as_secs_f64();
        report.run(json!({"cached_mb_s": speed, "bytes": bytes}));
        cached.push(speed);
    }
    report.line("from the cache", "MB/s", median(&cached), None, Bound::AtLeast(1000.0));
    report.finish(settings)
}

/// A server of one repository, in this process.
struct Serving {
    server: Server,
    address: std::net::SocketAddr,
    /// The most memory of this process that was seen while an answer came.
    peak_kb: AtomicU64,
    _runtime: tokio::runtime::Runtime,
}

struct One(Repository);

impl Repositories for One {
    fn find(&self, name: &str) -> Option<Repository> {
        (name == "r").then(|| self.0.clone())
    }

    fn names(&self) -> Vec<String> {
        vec!["r".to_owned()]
    }

    fn want<'a>(&'a self, _: &'a str, _: &'a str) -> Boxed<'a, Result<(), String>> {
        Box::pin(std::future::ready(Ok(())))
    }
}

impl Serving {
    fn start(bare: &Path, cache: &Path) -> anyhow::Result<Serving> {
        let server = Server::new(Arc::new(One(Repository::public(bare))), cache, burrow_clock::SystemClock::shared(), Options::default())?;
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        let listener = burrow_task::block_on(&runtime, tokio::net::TcpListener::bind("127.0.0.1:0"))?;
        let address = listener.local_addr()?;
        let router = server.router();
        {
            let _inside = runtime.enter();
            burrow_web::serve(listener, None, router, std::future::pending());
        }
        Ok(Serving { server, address, peak_kb: AtomicU64::new(0), _runtime: runtime })
    }

    fn own_memory_kb(&self) -> f64 {
        memory_kb(std::process::id(), "RssAnon")
    }

    /// Bytes of the answer's body (with what separates its pieces), and seconds until the first one.
    fn get(&self, path: &str, begin: Instant) -> anyhow::Result<(u64, f64)> {
        let mut stream = std::net::TcpStream::connect(self.address)?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n")?;
        let mut buffer = vec![0; 1 << 20];
        let mut head = Vec::new();
        let mut bytes = 0;
        let mut first = 0.0;
        loop {
            let count = stream.read(&mut buffer)?;
            if count == 0 {
                break;
            }
            let got = buffer.get(..count).unwrap_or_default();
            if bytes > 0 {
                // Often enough to see a peak, seldom enough not to cost anything.
                if bytes >> 20 != (bytes + count as u64) >> 20 {
                    self.peak_kb.fetch_max(self.own_memory_kb() as u64, Ordering::Relaxed);
                }
                bytes += count as u64;
                continue;
            }
            head.extend_from_slice(got);
            if let Some(end) = head.windows(4).position(|window| window == b"\r\n\r\n") {
                if !head.starts_with(b"HTTP/1.1 200") {
                    bail!("{path}: {}", String::from_utf8_lossy(&head));
                }
                first = begin.elapsed().as_secs_f64();
                bytes = (head.len() - end - 4) as u64;
            }
        }
        if bytes == 0 {
            bail!("{path}: no answer");
        }
        Ok((bytes, first))
    }
}

/// Bytes that a shell's pipe gives.
fn piped(script: &str, dir: &Path) -> anyhow::Result<u64> {
    let mut child = Command::new("sh").args(["-c", script]).current_dir(dir).stdout(Stdio::piped()).spawn()?;
    let mut out = child.stdout.take().context("no output")?;
    let bytes = std::io::copy(&mut out, &mut std::io::sink())?;
    if !child.wait()?.success() {
        bail!("{script} failed");
    }
    Ok(bytes)
}

fn git(dir: &Path, args: &[&str]) -> anyhow::Result<()> {
    let who = ["-c", "user.name=bench", "-c", "user.email=bench@example.org", "-c", "core.compression=1", "-c", "core.bigFileThreshold=1m"];
    let done = Command::new("git").args(who).args(args).current_dir(dir).stdout(Stdio::null()).status()?;
    if done.success() { Ok(()) } else { bail!("git {args:?} failed") }
}

/// A packed bare repository whose one commit has the files of the current checkout, repeated.
fn thousand_files(dir: &Path, bare: &Path) -> anyhow::Result<()> {
    let listed = Command::new("git").args(["ls-files", "-z"]).output()?;
    let names: Vec<PathBuf> = listed.stdout.split(|byte| *byte == 0).filter_map(|name| std::str::from_utf8(name).ok()).map(PathBuf::from).collect();
    // Pictures and recordings are not what sources consist of.
    let small = |path: &PathBuf| std::fs::metadata(path).is_ok_and(|meta| meta.is_file() && meta.len() > 0 && meta.len() < 200_000);
    let names: Vec<_> = names.into_iter().filter(small).collect();
    if names.is_empty() {
        bail!("this measure takes its files from a git checkout: run it in one");
    }
    let work = dir.join("files");
    for number in 0..FILES {
        let (round, name) = (number / names.len(), names.get(number % names.len()).context("no file")?);
        let to = work.join(format!("round{round}")).join(name);
        std::fs::create_dir_all(to.parent().context("no folder")?)?;
        std::fs::copy(name, to)?;
    }
    publish(&work, bare)
}

fn large_files(dir: &Path, bare: &Path, seed: u64) -> anyhow::Result<()> {
    let work = dir.join("large");
    std::fs::create_dir_all(&work)?;
    let mut random = StdRng::seed_from_u64(seed);
    let mut bytes = vec![0; 4 << 20];
    for number in 0..LARGE {
        random.fill_bytes(&mut bytes);
        std::fs::write(work.join(format!("file{number}")), &bytes)?;
    }
    publish(&work, bare)
}

fn publish(work: &Path, bare: &Path) -> anyhow::Result<()> {
    git(work, &["init", "--quiet", "."])?;
    git(work, &["add", "-A", "."])?;
    git(work, &["commit", "--quiet", "-m", "all"])?;
    git(work, &["clone", "--quiet", "--mirror", "--no-local", ".", &bare.display().to_string()])
}
