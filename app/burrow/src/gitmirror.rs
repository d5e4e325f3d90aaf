//! `burrow gitmirror`: mirrors repositories and serves them; and `burrow drill`, which tries whether its alarm works.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use burrow_clock::{Ids, SystemClock};
use burrow_gitmirror::config::{self, Config};
use burrow_gitmirror::http::{Access, Served, router};
use burrow_gitmirror::{Deps, Mirror, StartError, drill};
use burrow_http_client::{Client, Request};
use clap::{Args, Subcommand};
use comfy_table::{Table, presets};
use tokio_util::sync::CancellationToken;

use crate::client::read_secret;
use crate::failure::Failure;
use crate::serve::{Interrupts, bind};
use crate::tls::{self, TlsArgs};

#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "\
Examples:
  burrow gitmirror --config /etc/burrow/gitmirror.toml
  burrow gitmirror status
  burrow gitmirror confirm go                          allow the deletions that wait
  burrow gitmirror journal go --dest github
  burrow gitmirror undo go github --push 17            give references their old values back
  burrow gitmirror release go github                   and follow upstream again

docs/gitmirror.md has an example of the configuration. It is read again when it changes. Ctrl-C ends; nothing is lost, then or by kill -9."
)]
pub(crate) struct GitmirrorArgs {
    #[command(subcommand)]
    command: Option<Order>,
    /// Configuration file
    #[arg(long, value_name = "FILE", required = true)]
    config: Option<PathBuf>,
    /// Folder of repositories and rows [default: ./.burrow/gitmirror, or `data` of the configuration]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Address; port 0 takes a free one [default: 127.0.0.1:8585, or `listen` of the configuration]
    #[arg(long, value_name = "ADDR:PORT")]
    listen: Option<String>,
    /// Check the configuration and end
    #[arg(long)]
    check: bool,
    #[command(flatten)]
    tls: TlsArgs,
}

/// Which mirror is meant.
#[derive(Debug, Args)]
struct At {
    /// Address of the running mirror
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8585")]
    url: String,
    /// File with the administrator's token
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Order {
    /// How repositories and destinations are; the exit status is 1 if something is wrong
    Status {
        #[command(flatten)]
        at: At,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Allow the deletions of a repository that wait
    Confirm {
        /// Repository
        repo: String,
        #[command(flatten)]
        at: At,
    },
    /// What was changed where, newest first
    Journal {
        /// Repository [default: all]
        repo: Option<String>,
        /// Only this destination
        #[arg(long)]
        dest: Option<String>,
        /// Only this reference
        #[arg(long = "ref", value_name = "NAME")]
        name: Option<String>,
        /// Lines
        #[arg(long, default_value_t = 50)]
        limit: usize,
        #[command(flatten)]
        at: At,
    },
    /// Give references of a destination the values that they had before a push
    Undo {
        /// Repository
        repo: String,
        /// Destination
        dest: String,
        /// Number of the push in the journal
        #[arg(long, value_name = "N")]
        push: i64,
        /// Only this reference
        #[arg(long = "ref", value_name = "NAME")]
        name: Option<String>,
        #[command(flatten)]
        at: At,
    },
    /// End every undo at a destination
    Release {
        /// Repository
        repo: String,
        /// Destination
        dest: String,
        #[command(flatten)]
        at: At,
    },
}

#[derive(Debug, Args)]
pub(crate) struct DrillArgs {
    #[command(subcommand)]
    command: DrillCommand,
}

#[derive(Debug, Subcommand)]
enum DrillCommand {
    /// Take a mirror's destination away, freeze a push, move a reference behind its back, and see whether its health says so
    #[command(after_help = "\
Examples:
  burrow drill mirror                                           in a world of its own, in a temporary folder
  burrow drill mirror --url http://127.0.0.1:8585 --repo drill  a running mirror, with a repository that is meant for it

Exit status: 0 the alarm works, 1 it does not.")]
    Mirror {
        /// A running mirror
        #[arg(long, value_name = "URL", requires = "repo")]
        url: Option<String>,
        /// Its repository to use; a branch `burrow-drill` comes and goes there
        #[arg(long, value_name = "NAME", requires = "url")]
        repo: Option<String>,
        /// How soon the mirror must notice, in seconds [default: 3 in a world of its own, 60 for a running mirror]
        #[arg(long, value_name = "S")]
        limit: Option<u64>,
        /// Private key that may push to the upstream
        #[arg(long, value_name = "FILE")]
        key_file: Option<PathBuf>,
        /// Token that may push to the upstream
        #[arg(long, value_name = "FILE")]
        token_file: Option<PathBuf>,
    },
}

impl From<StartError> for Failure {
    fn from(error: StartError) -> Failure {
        match error {
            StartError::Configuration(text) => Failure::usage(text),
            other => Failure::infrastructure(other),
        }
    }
}

pub(crate) async fn run(args: GitmirrorArgs) -> Result<ExitCode, Failure> {
    match args.command {
        Some(order) => obey(order).await,
        None => serve(args).await,
    }
}

fn client() -> Result<Client, Failure> {
    Client::new(Default::default()).map_err(Failure::infrastructure)
}

async fn serve(args: GitmirrorArgs) -> Result<ExitCode, Failure> {
    let path = args.config.ok_or_else(|| Failure::usage("--config is missing"))?;
    let config = Config::load(&path).map_err(Failure::usage)?;
    let data = args.data.or_else(|| config.data.clone()).unwrap_or_else(|| ".burrow/gitmirror".into());
    let (clock, shutdown) = (SystemClock::shared(), CancellationToken::new());
    if args.check {
        args.tls.check(config.tls.as_ref(), &data, &clock)?;
        eprintln!("{}: {} repositories, {} discoveries.", path.display(), config.repo.len(), config.discover.len());
        return Ok(ExitCode::SUCCESS);
    }
    let listen = args.listen.or_else(|| config.listen.clone()).unwrap_or_else(|| "127.0.0.1:8585".into());
    let secret = |file: &Option<PathBuf>| file.as_deref().map(read_secret).transpose();
    let (token, tickle) = (secret(&config.token_file)?, secret(&config.tickle_secret_file)?);
    let certificates = args.tls.open(config.tls.as_ref(), &data, &tls::own_names(&listen), &clock, &shutdown).await?;
    let acceptor = certificates.map(|certificates| certificates.acceptor(&[b"http/1.1"])).transpose()?;
    // Bound before anything is started, so that an address in use leaves nothing behind.
    let (listener, address) = bind(&listen, acceptor.is_some() && token.is_some(), GUARD).await?;
    let access = Access::new(token.as_deref(), tickle.as_deref(), address.ip().is_loopback());
    let count = config.repo.len() + config.discover.len();
    let deps = Deps { data: data.clone(), clock: Arc::clone(&clock), ids: Ids::system(), http: client()?, feed: None };
    let mirror = Mirror::start(config, deps).await?;
    let served = Arc::new(Served::new(mirror.clone(), access.clone()));
    let server = burrow_gitserve::Server::new(served, &data.join("archives"), clock, Default::default()).map_err(Failure::infrastructure)?;
    let app = router(mirror.clone(), access, &server);
    let scheme = if acceptor.is_some() { "https" } else { "http" };
    eprintln!("Mirroring {count} repositories and discoveries of {}; state is in {}.", path.display(), data.display());
    eprintln!("Open {scheme}://{address}/status in a browser. Ctrl-C stops.");
    let server = burrow_web::serve(listener, acceptor, app, shutdown.clone().cancelled_owned());
    let watching = burrow_task::spawn(watch(mirror.clone(), path));
    let mut interrupts = Interrupts::new().map_err(|error| Failure::infrastructure(format!("signals cannot be received: {error}")))?;
    interrupts.next().await;
    shutdown.cancel();
    watching.abort();
    server.abort();
    mirror.stop().await;
    eprintln!("Stopped.");
    Ok(ExitCode::SUCCESS)
}

/// What listening beyond this machine needs.
const GUARD: &str = "a certificate (--tls-cert and --tls-key, --acme-host, --tls-self-signed, or `tls` in the configuration) and `token_file` in the \
                     configuration (see docs/gitmirror.md)";

/// Reads the configuration again when the file has changed, and on SIGHUP.
async fn watch(mirror: Mirror, path: PathBuf) {
    let stamp = || std::fs::metadata(&path).ok().and_then(|meta| Some((meta.modified().ok()?, meta.len())));
    let mut seen: Option<(SystemTime, u64)> = stamp();
    #[cfg(unix)]
    let mut hangups = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::hangup()).ok();
    loop {
        let asked = async {
            #[cfg(unix)]
            if let Some(hangups) = hangups.as_mut() {
                hangups.recv().await;
                return;
            }
            std::future::pending::<()>().await;
        };
        let told = tokio::select! {
            () = asked => true,
            () = tokio::time::sleep(Duration::from_secs(1)) => false,
        };
        let now = stamp();
        if told || now != seen {
            seen = now;
            mirror.reload(Config::load(&path)).await;
        }
    }
}

async fn obey(order: Order) -> Result<ExitCode, Failure> {
    match order {
        Order::Status { at, json } => status(&at, json).await,
        Order::Confirm { repo, at } => at.order("confirm", &[("repo", &repo)]).await,
        Order::Undo { repo, dest, push, name, at } => {
            at.order("undo", &[("repo", &repo), ("dest", &dest), ("round", &push.to_string()), ("ref", name.as_deref().unwrap_or_default())]).await
        }
        Order::Release { repo, dest, at } => at.order("release", &[("repo", &repo), ("dest", &dest)]).await,
        Order::Journal { repo, dest, name, limit, at } => {
            let limit = limit.to_string();
            let mut query = vec![("limit", limit.as_str())];
            query.extend(
                [("repo", repo.as_deref()), ("dest", dest.as_deref()), ("ref", name.as_deref())].into_iter().filter_map(|(key, value)| Some((key, value?))),
            );
            let entries = at.json(&format!("/journal.json?{}", form(&query))).await?;
            let mut table = Table::new();
            table.load_style(presets::UTF8_BORDERS_ONLY).set_header(["push", "repository", "destination", "reference", "was", "became", "state"]);
            for entry in entries.as_array().map(Vec::as_slice).unwrap_or_default() {
                let text = |key: &str| entry.get(key).and_then(|v| v.as_str()).unwrap_or_default().to_owned();
                let short = |hash: String| if hash.is_empty() { "–".to_owned() } else { hash.chars().take(10).collect() };
                let round = entry.get("round").map(ToString::to_string).unwrap_or_default();
                table.add_row([round, text("repo"), text("dest"), text("ref"), short(text("old")), short(text("new")), text("state")]);
            }
            println!("{table}");
            Ok(ExitCode::SUCCESS)
        }
    }
}

impl At {
    async fn order(&self, what: &str, fields: &[(&str, &str)]) -> Result<ExitCode, Failure> {
        let url = format!("{}/api/{what}", self.url.trim_end_matches('/'));
        let mut request = Request::post(&url, "application/x-www-form-urlencoded", form(fields)).map_err(Failure::usage)?;
        if let Some(path) = &self.token_file {
            let token = read_secret(path)?;
            request = request.secret_header(axum::http::header::AUTHORIZATION, &format!("Bearer {token}")).map_err(Failure::usage)?;
        }
        let answer = client()?.send(request).await.map_err(|error| Failure::infrastructure(format!("no mirror answers: {error}")))?;
        let good = answer.status().is_success();
        let said = String::from_utf8_lossy(&answer.beginning(4_000).await).trim().to_owned();
        if !good {
            return Err(Failure::usage(said));
        }
        println!("{said}");
        Ok(ExitCode::SUCCESS)
    }

    async fn json(&self, path: &str) -> Result<serde_json::Value, Failure> {
        let request = Request::get(&format!("{}{path}", self.url.trim_end_matches('/'))).map_err(Failure::usage)?;
        let answer = client()?.send(request).await.map_err(|error| Failure::infrastructure(format!("no mirror answers: {error}")))?;
        let body = answer.bytes(256 << 20).await.map_err(Failure::infrastructure)?;
        serde_json::from_slice(&body).map_err(|error| Failure::infrastructure(format!("{}{path} is no JSON: {error}", self.url)))
    }
}

async fn status(at: &At, json: bool) -> Result<ExitCode, Failure> {
    let status = at.json("/status.json").await?;
    let list = |value: &serde_json::Value, key: &str| value.get(key).and_then(|v| v.as_array()).cloned().unwrap_or_default();
    let text = |value: &serde_json::Value, key: &str| value.get(key).and_then(|v| v.as_str()).unwrap_or_default().to_owned();
    let number = |value: &serde_json::Value, key: &str| value.get(key).and_then(serde_json::Value::as_i64).unwrap_or_default();
    let repos = list(&status, "repos");
    let good = repos.iter().all(|repo| text(repo, "line") == "ok" || text(repo, "line").starts_with("ok; "));
    if json {
        println!("{status:#}");
    } else {
        let mut table = Table::new();
        table.load_style(presets::UTF8_BORDERS_ONLY).set_header(["repository", "state", "destination", "lag", "behind", "diverged", "refused", "error"]);
        for repo in &repos {
            table.add_row([
                text(repo, "name"),
                text(repo, "line"),
                String::new(),
                String::new(),
                String::new(),
                String::new(),
                String::new(),
                text(repo, "error"),
            ]);
            for dest in list(repo, "dests") {
                let lag = format!("{:.1} s", number(&dest, "lag_ms") as f64 / 1000.0);
                let count = |key: &str| list(&dest, key).len().to_string();
                table.add_row([
                    String::new(),
                    text(&dest, "doing"),
                    text(&dest, "name"),
                    lag,
                    number(&dest, "behind").to_string(),
                    count("diverged"),
                    count("quarantined"),
                    text(&dest, "error"),
                ]);
            }
        }
        println!("{table}");
        for trouble in list(&status, "trouble") {
            eprintln!("! {}", trouble.as_str().unwrap_or_default());
        }
    }
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

/// Fields of a form.
fn form(fields: &[(&str, &str)]) -> String {
    let escape = |text: &str| {
        let mut out = String::new();
        for byte in text.bytes() {
            match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => out.push(char::from(byte)),
                _ => out.push_str(&format!("%{byte:02X}")),
            }
        }
        out
    };
    fields.iter().map(|(name, value)| format!("{name}={}", escape(value))).collect::<Vec<_>>().join("&")
}

pub(crate) async fn drill(args: DrillArgs) -> Result<ExitCode, Failure> {
    let DrillCommand::Mirror { url, repo, limit, key_file, token_file } = args.command;
    let folder = tempfile::Builder::new().prefix("burrow-drill-").tempdir().map_err(Failure::infrastructure)?;
    let dir = std::fs::canonicalize(folder.path()).map_err(Failure::infrastructure)?;
    let limit = Duration::from_secs(limit.unwrap_or(if url.is_some() { 60 } else { 3 }).max(1));
    let tools = drill::Tools { http: client()?, clock: SystemClock::shared(), dir, limit };
    let report = match (url, repo) {
        (Some(url), Some(repo)) => {
            let access = config::Access { key_file, token_file, ..Default::default() };
            drill::running(tools, &url, &repo, &access).await
        }
        _ => {
            eprintln!("A small world is built and broken in a temporary folder; that takes about half a minute.");
            drill::scratch(tools).await
        }
    };
    let report = report.map_err(Failure::infrastructure)?;
    print!("{report}");
    Ok(if report.passed() { ExitCode::SUCCESS } else { ExitCode::from(1) })
}
