//! `burrow perfdata`: the store of benchmark results, and its client.

use std::io::{IsTerminal as _, Read, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use burrow_clock::SystemClock;
use burrow_perfdata::config::Config;
use burrow_perfdata::http::{Site, router};
use burrow_perfdata::retention;
use burrow_perfstore::{Options, PerfStore, rebuild};
use clap::{Args, Subcommand};
use indicatif::ProgressBar;
use tokio_util::sync::CancellationToken;

use crate::client::read_secret;
use crate::failure::Failure;
use crate::serve::{Interrupts, bind};
use crate::tls;

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
#[command(after_help = "\
Examples:
  burrow perfdata --data results                          serve the store in ./results; open http://127.0.0.1:8084
  burrow perfdata --config /etc/burrow/perfdata.toml
  go test -bench . -count 10 > new.txt
  burrow perfdata upload new.txt                          send a file
  burrow perfdata query 'name:Sort goos:linux'            and find results again
  burrow perfdata reindex --data results                  make the index again from the files

benchsave, the Go client library and Go's perf application work with it: -server http://127.0.0.1:8084.
Ctrl-C ends; an upload that was answered is kept, then and by kill -9.")]
pub(crate) struct PerfdataArgs {
    #[command(subcommand)]
    command: Option<PerfdataCommand>,
    #[command(flatten)]
    serve: ServeArgs,
}

#[derive(Debug, Args)]
struct ServeArgs {
    /// Configuration file; flags win over it
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Folder of rows and files; begun if it is empty [default: ./.burrow/perfdata]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Address; port 0 takes a free one [default: 127.0.0.1:8084]
    #[arg(long, value_name = "ADDR:PORT")]
    listen: Option<String>,
    /// PostgreSQL address for the rows, a schema of their own [default: an SQLite file in the data folder]
    #[arg(long, value_name = "URL")]
    database: Option<String>,
    /// What addresses of analyses begin with; the upload's name is put behind it
    #[arg(long, value_name = "URL")]
    view_url_base: Option<String>,
}

#[derive(Debug, Subcommand)]
enum PerfdataCommand {
    /// Send files of benchmark text, or reports of Criterion, Google Benchmark, pytest-benchmark, hyperfine, asv
    #[command(after_help = "\
Examples:
  burrow perfdata upload old.txt new.txt
  go test -bench . | burrow perfdata upload -
  burrow perfdata upload --key nightly-2026-11-26 results.txt      sent again, it is stored once

Exit status: 0 stored, 2 refused for what it is, 3 it cannot be sent.")]
    Upload {
        /// Files; - is standard input
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
        /// File whose content goes before each file: lines like `machine: red`
        #[arg(long, value_name = "FILE")]
        header: Option<PathBuf>,
        /// Key of yours: a second upload with it is the first one
        #[arg(long, value_name = "KEY")]
        key: Option<String>,
        #[command(flatten)]
        at: ServerArgs,
    },
    /// Print results that match a query
    #[command(after_help = "\
Examples:
  burrow perfdata query 'upload:20261126.1'
  burrow perfdata query 'name:Sort branch:main upload-time>2026-11-01T00:00:00Z'
  burrow perfdata query --uploads 'branch:main' --label by --label experiment-commit
  burrow perfdata query --csv 'name:Sort' --label branch > sort.csv")]
    Query {
        /// Words: key:value, key<value, key>value, key> for any value
        #[arg(default_value = " ")]
        query: Vec<String>,
        /// List uploads with such results, newest first
        #[arg(long)]
        uploads: bool,
        /// Print numbers, a value a line
        #[arg(long, conflicts_with = "uploads")]
        csv: bool,
        /// Labels to show, with --uploads and --csv
        #[arg(long = "label", value_name = "KEY")]
        labels: Vec<String>,
        /// At most so many uploads; 0: all
        #[arg(long, value_name = "N")]
        limit: Option<u64>,
        #[command(flatten)]
        at: ServerArgs,
    },
    /// Make the index again from the files; the service must be stopped
    #[command(
        after_help = "Example:\n  burrow perfdata reindex --data results\n\nMay be interrupted and begun again. Answers are the same before and after, byte for byte."
    )]
    Reindex {
        /// Configuration file
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
        /// Folder of rows and files [default: ./.burrow/perfdata]
        #[arg(long, value_name = "DIR")]
        data: Option<PathBuf>,
        /// PostgreSQL address for the rows
        #[arg(long, value_name = "URL")]
        database: Option<String>,
    },
}

/// Which store is meant.
#[derive(Debug, Args)]
struct ServerArgs {
    /// Address of the store
    #[arg(long, value_name = "URL", env = "BURROW_PERFDATA", default_value = "http://127.0.0.1:8084")]
    server: String,
    /// File with a token
    #[arg(long, value_name = "FILE", env = "BURROW_PERFDATA_TOKEN_FILE")]
    token_file: Option<PathBuf>,
}

pub(crate) async fn run(args: PerfdataArgs) -> Result<ExitCode, Failure> {
    match args.command {
        None => serve(args.serve).await,
        Some(PerfdataCommand::Reindex { config, data, database }) => {
            reindex(configuration(&ServeArgs { config, data, listen: None, database, view_url_base: None })?).await
        }
        Some(command) => burrow_task::spawn_blocking(move || client(command)).await.map_err(Failure::infrastructure)?,
    }
}

fn configuration(args: &ServeArgs) -> Result<Config, Failure> {
    let mut config = match &args.config {
        Some(path) => Config::load(path).map_err(Failure::usage)?,
        None => Config::default(),
    };
    config.data = args.data.clone().or(config.data);
    config.listen = args.listen.clone().or(config.listen);
    config.database = args.database.clone().or(config.database);
    config.view_url_base = args.view_url_base.clone().or(config.view_url_base);
    config.check().map_err(Failure::usage)?;
    Ok(config)
}

fn options(config: &Config) -> Options {
    let data = config.data.clone().unwrap_or_else(|| ".burrow/perfdata".into());
    let mut options = Options::folder(&data, SystemClock::shared());
    options.limits = config.upload_limits();
    if let Some(database) = &config.database {
        options.database = database.clone();
    }
    options
}

async fn serve(args: ServeArgs) -> Result<ExitCode, Failure> {
    let config = configuration(&args)?;
    let tokens = config.tokens().map_err(Failure::usage)?;
    let acceptor = match &config.tls {
        None => None,
        Some(files) => Some(tls::acceptor(&files.cert, &files.key, &[b"http/1.1"])?),
    };
    let listen = config.listen.clone().unwrap_or_else(|| "127.0.0.1:8084".into());
    // Bound before the store is opened, so that an address in use is known at once.
    let guarded = acceptor.is_some() && !tokens.tokens.is_empty();
    let (listener, address) = bind(&listen, guarded, "[tls] and [[token]] in a configuration (see docs/perfdata.md)").await?;
    let options = options(&config);
    let clock = Arc::clone(&options.clock);
    let store = PerfStore::open(options).await.map_err(Failure::infrastructure)?;
    let only_host = address.ip().is_loopback().then(|| config.public.clone().unwrap_or_default());
    let site = Site { store: store.clone(), tokens, view_url_base: config.view_url_base.clone(), only_host, clock: Arc::clone(&clock) };
    let router = router(site);
    let end = CancellationToken::new();
    let keeping = burrow_task::spawn(retention::run(store.clone(), config.keep.clone(), clock, end.clone()));
    let scheme = if acceptor.is_some() { "https" } else { "http" };
    eprintln!("Open {scheme}://{address}/ in a browser for the stored results. Ctrl-C stops.");
    let server = burrow_web::serve(listener, acceptor, router, end.clone().cancelled_owned());
    let mut interrupts = Interrupts::new().map_err(|error| Failure::infrastructure(format!("signals cannot be received: {error}")))?;
    interrupts.next().await;
    end.cancel();
    // Uploads under way may end, within reason; a second signal ends at once.
    let stop = server.abort_handle();
    tokio::select! {
        _ = tokio::time::timeout(Duration::from_secs(10), server) => {}
        _ = interrupts.next() => {}
    }
    stop.abort();
    keeping.abort();
    store.close().await;
    Ok(ExitCode::SUCCESS)
}

async fn reindex(config: Config) -> Result<ExitCode, Failure> {
    let bar = if std::io::stderr().is_terminal() { ProgressBar::new(0) } else { ProgressBar::hidden() };
    let shown = bar.clone();
    let mut progress = move |done, all| {
        shown.set_length(all);
        shown.set_position(done);
    };
    let rebuilt = rebuild::rebuild(options(&config), &mut progress).await.map_err(Failure::infrastructure)?;
    bar.finish_and_clear();
    eprintln!("{} uploads with {} result lines were indexed.", rebuilt.uploads, rebuilt.lines);
    for (upload, why) in &rebuilt.failed {
        eprintln!("{upload} was left out: {why}");
    }
    Ok(if rebuilt.failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(crate::failure::BUILD_FAILED) })
}

fn client(command: PerfdataCommand) -> Result<ExitCode, Failure> {
    match command {
        PerfdataCommand::Upload { files, header, key, at } => upload(&at, &files, header.as_deref(), key.as_deref()),
        PerfdataCommand::Query { query, uploads, csv, labels, limit, at } => {
            let query = escape(&query.join(" "));
            let (path, label) = match (uploads, csv) {
                (true, _) => ("/uploads", "extra_label"),
                (_, true) => ("/v1/series", "label"),
                _ => ("/search", "label"),
            };
            let mut path = format!("{path}?q={query}");
            labels.iter().for_each(|value| path.push_str(&format!("&{label}={}", escape(value))));
            if csv {
                path.push_str("&format=csv");
            }
            if let Some(limit) = limit.filter(|_| uploads) {
                path.push_str(&format!("&limit={limit}"));
            }
            let (agent, token) = agent(&at)?;
            let mut request = agent.get(format!("{}{path}", at.server.trim_end_matches('/')));
            if let Some(token) = &token {
                request = request.header("Authorization", format!("Bearer {token}"));
            }
            let mut answer = answered(&at, request.call())?;
            let mut body = answer.body_mut().with_config().limit(u64::MAX).reader();
            let mut out = std::io::stdout().lock();
            match std::io::copy(&mut body, &mut out).and_then(|_| out.flush()) {
                Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(ExitCode::SUCCESS),
                Err(error) => Err(Failure::infrastructure(format!("the answer of {} broke off: {error}", at.server))),
                Ok(()) => Ok(ExitCode::SUCCESS),
            }
        }
        PerfdataCommand::Reindex { .. } => Err(Failure::usage("reindex is not asked of a server")),
    }
}

fn agent(at: &ServerArgs) -> Result<(ureq::Agent, Option<String>), Failure> {
    if !at.server.starts_with("http://") && !at.server.starts_with("https://") {
        return Err(Failure::usage(format!("{:?} is no address: it must begin with http:// or https://", at.server)));
    }
    let token = at.token_file.as_deref().map(read_secret).transpose()?;
    let config = ureq::Agent::config_builder().http_status_as_error(false).timeout_connect(Some(Duration::from_secs(10)));
    Ok((config.build().new_agent(), token))
}

fn answered(at: &ServerArgs, answer: Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> Result<ureq::http::Response<ureq::Body>, Failure> {
    let mut answer = answer.map_err(|error| Failure::infrastructure(format!("{} does not answer: {error}", at.server)))?;
    if answer.status().is_success() {
        return Ok(answer);
    }
    let text = answer.body_mut().read_to_string().unwrap_or_default();
    let text = format!("{} answered {}: {}", at.server, answer.status().as_u16(), text.trim());
    Err(if answer.status().is_client_error() { Failure::usage(text) } else { Failure::infrastructure(text) })
}

/// All files as one body, read while it is sent: a file that cannot be read to its end breaks the body off, and nothing is stored.
fn upload(at: &ServerArgs, files: &[PathBuf], header: Option<&Path>, key: Option<&str>) -> Result<ExitCode, Failure> {
    let read = |path: &Path| std::fs::read(path).map_err(|error| Failure::usage(format!("{}: {error}", path.display())));
    let mut before = match header {
        None => Vec::new(),
        Some(path) => read(path)?,
    };
    if !before.is_empty() {
        // Exactly one empty line between the header and each file, as benchsave does.
        while before.last() == Some(&b'\n') {
            before.pop();
        }
        before.extend_from_slice(b"\n\n");
    }
    let boundary = burrow_clock::Ids::system().hex(40);
    let mut body: Box<dyn Read> = Box::new(std::io::empty());
    for path in files {
        let (name, content): (String, Box<dyn Read>) = if path.as_os_str() == "-" {
            (String::new(), Box::new(std::io::stdin()))
        } else {
            let file = std::fs::File::open(path).map_err(|error| Failure::usage(format!("{}: {error}", path.display())))?;
            (path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned(), Box::new(file))
        };
        let name: String = name.chars().flat_map(|c| if matches!(c, '"' | '\\') { vec!['\\', c] } else { vec![c] }).filter(|c| !c.is_control()).collect();
        let head =
            format!("--{boundary}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"{name}\"\r\nContent-Type: application/octet-stream\r\n\r\n");
        body = Box::new(body.chain(std::io::Cursor::new(head)).chain(std::io::Cursor::new(before.clone())).chain(content).chain(&b"\r\n"[..]));
    }
    let end = format!("--{boundary}\r\nContent-Disposition: form-data; name=\"commit\"\r\n\r\n1\r\n--{boundary}--\r\n");
    let mut body = body.chain(std::io::Cursor::new(end));
    let (agent, token) = agent(at)?;
    let base = at.server.trim_end_matches('/');
    let mut request = match key {
        None => agent.post(format!("{base}/upload")),
        Some(key) => agent.put(format!("{base}/uploads/{}", escape(key))),
    };
    request = request.header("Content-Type", format!("multipart/form-data; boundary={boundary}"));
    if let Some(token) = &token {
        request = request.header("Authorization", format!("Bearer {token}"));
    }
    let mut answer = answered(at, request.send(ureq::SendBody::from_reader(&mut body)))?;
    let text = answer.body_mut().read_to_string().map_err(|error| Failure::infrastructure(format!("the answer of {base} broke off: {error}")))?;
    let receipt: serde_json::Value = serde_json::from_str(&text).map_err(|_| Failure::infrastructure(format!("{base} is no store of benchmark results")))?;
    for warning in receipt["warnings"].as_array().into_iter().flatten() {
        eprintln!("warning: {}", warning.as_str().unwrap_or_default());
    }
    println!("{}", receipt["uploadid"].as_str().unwrap_or_default());
    if let Some(view) = receipt["viewurl"].as_str() {
        println!("{view}");
    }
    Ok(ExitCode::SUCCESS)
}

/// A text as a parameter of an address.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 8);
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) { out.push(char::from(byte)) } else { out.push_str(&format!("%{byte:02X}")) }
    }
    out
}
