//! `burrow maintnerd`: the leader of a mutation log.

use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use burrow_clock::{SharedClock, SystemClock};
use burrow_maintnerd::config::Config;
use burrow_maintnerd::http::Readers;
use burrow_maintnerd::leader::{Leader, LeaderError};
use burrow_maintnerd::mirror::Mirror;
use burrow_maintnerd::poll::Pollers;
use burrow_maintnerd::{api, pages, poll, restore};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use tokio_util::sync::CancellationToken;

use crate::client::read_secret;
use crate::failure::Failure;
use crate::serve::{Interrupts, bind};
use crate::tls::{self, TlsArgs};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  burrow maintnerd --data maintner                                   serve the log in ./maintner, as it is
  burrow maintnerd --watch-gerrit go.googlesource.com/build          and follow a Gerrit project
  burrow maintnerd --watch-github golang/go --github-token-file token
  burrow maintnerd --config /etc/burrow/maintnerd.toml
  burrow maintnerd --data maintner --sync-and-quit                   bring it up to date once, check it, and end

Programs follow the log at http://ADDRESS/logs (`burrow godata --server http://ADDRESS`, or any program of the Go project); gRPC is on the same port.
A log of the reference is taken over with `burrow mutlog convert`. Ctrl-C ends; nothing is lost, then or by kill -9.")]
pub(crate) struct MaintnerdArgs {
    /// Configuration file; flags win over it
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Folder of the log; begun if it is empty [default: ./.burrow/maintner]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Address; port 0 takes a free one [default: 127.0.0.1:8082]
    #[arg(long, value_name = "ADDR:PORT")]
    listen: Option<String>,
    /// GitHub repositories to watch, separated by commas
    #[arg(long, value_name = "OWNER/REPO", value_delimiter = ',')]
    watch_github: Vec<String>,
    /// Gerrit projects to watch, separated by commas
    #[arg(long, value_name = "HOST/PROJECT", value_delimiter = ',')]
    watch_gerrit: Vec<String>,
    /// File with a GitHub token, plain or as user:token
    #[arg(long, value_name = "FILE")]
    github_token_file: Option<PathBuf>,
    /// Requests a second to GitHub; 0: as many as it allows [default: 10]
    #[arg(long, value_name = "N")]
    github_rate: Option<u32>,
    /// Address of a pubsubhelper whose events wake the sources
    #[arg(long, value_name = "URL")]
    pubsub: Option<String>,
    /// First fill the folder of the log from its copy (`[copy]` of the configuration); the folder must be empty
    #[arg(long, requires = "config")]
    restore: bool,
    /// Read the log, say what is in it, and end
    #[arg(long)]
    init_and_quit: bool,
    /// Bring the log up to date once, check it, and end
    #[arg(long)]
    sync_and_quit: bool,
    #[command(flatten)]
    tls: TlsArgs,
}

impl From<LeaderError> for Failure {
    fn from(error: LeaderError) -> Failure {
        Failure::infrastructure(error)
    }
}

fn configuration(args: &MaintnerdArgs) -> Result<Config, Failure> {
    let mut config = match &args.config {
        Some(path) => Config::load(path).map_err(Failure::usage)?,
        None => Config::default(),
    };
    config.github.repos.extend(args.watch_github.iter().cloned());
    config.gerrit.projects.extend(args.watch_gerrit.iter().cloned());
    config.data = args.data.clone().or(config.data);
    config.listen = args.listen.clone().or(config.listen);
    config.pubsub = args.pubsub.clone().or(config.pubsub);
    config.github.token_file = args.github_token_file.clone().or(config.github.token_file);
    config.github.rate = args.github_rate.unwrap_or(config.github.rate);
    config.check().map_err(Failure::usage)?;
    Ok(config)
}

pub(crate) async fn run(args: MaintnerdArgs) -> Result<ExitCode, Failure> {
    let config = configuration(&args)?;
    let data = config.data.clone().unwrap_or_else(|| ".burrow/maintner".into());
    let readers = match &config.token_file {
        None => Readers::everybody(),
        Some(path) => Readers::with_token(&read_secret(path)?),
    };
    let listen = config.listen.clone().unwrap_or_else(|| "127.0.0.1:8082".into());
    let serving = !args.init_and_quit && !args.sync_and_quit;
    let (clock, shutdown) = (SystemClock::shared(), CancellationToken::new());
    let certificates = if serving { args.tls.open(config.tls.as_ref(), &data, &tls::own_names(&listen), &clock, &shutdown).await? } else { None };
    let acceptor = certificates.map(|certificates| certificates.acceptor(&[b"h2", b"http/1.1"])).transpose()?;
    // Bound before the log is read, so that an address in use is known at once.
    let bound = if serving { Some(bind(&listen, acceptor.is_some() && config.token_file.is_some(), GUARD).await?) } else { None };

    if args.restore {
        let Some((bucket, _)) = config.bucket().map_err(Failure::usage)? else {
            return Err(Failure::usage("--restore needs a [copy] in the configuration, to take the log from"));
        };
        let restored = restore::restore(&bucket, &data).await.map_err(Failure::infrastructure)?;
        eprintln!("{}: {} segments, {} bytes came back from the copy.", data.display(), restored.segments, restored.bytes);
    }
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    let bar = reading_bar();
    let shown = bar.clone();
    let leader = Leader::open(&data, Arc::clone(&clock), threads, Arc::new(move |progress| show(&shown, progress))).await?;
    bar.finish_and_clear();
    if let Some(torn) = &leader.log().opened().truncated {
        eprintln!("An unfinished record was taken away from the end of the log, as after a crash: {torn:?}");
    }
    let view = leader.view();
    eprintln!("{}: {} records, {} bytes, {} segments.", data.display(), view.records(), view.position(), leader.log().snapshot().segments.len());
    let sources = config.sources(&data, &clock).map_err(Failure::usage)?;
    let Some((listener, address)) = bound else {
        let synced = if args.sync_and_quit { poll::sync_once(&leader, &sources, &clock).await } else { Ok(()) };
        let after = leader.view();
        leader.close().await;
        synced.map_err(Failure::infrastructure)?;
        if args.sync_and_quit {
            eprintln!("Up to date: {} records were written; the corpus is whole.", after.records() - view.records());
        }
        return Ok(ExitCode::SUCCESS);
    };
    let pollers = Arc::new(Pollers::start(&leader, &sources, &clock).await);
    let (stop_copy, copying) = copy(&config, &leader, &clock)?;
    let site = pages::Site {
        leader: leader.clone(),
        rules: config.rules.clone().unwrap_or_else(api::Rules::go),
        gerrit: config.reviews().map_err(Failure::usage)?,
        readers,
        sources: {
            let pollers = Arc::clone(&pollers);
            Arc::new(move || pollers.status().sources.iter().map(Into::into).collect())
        },
        clock,
    };
    let router = pages::router(site, shutdown.clone());
    let scheme = if acceptor.is_some() { "https" } else { "http" };
    eprintln!("The log is at {scheme}://{address}/logs; status at {scheme}://{address}/. Ctrl-C stops.");
    let server = burrow_web::serve(listener, acceptor, router, shutdown.clone().cancelled_owned());
    let mut interrupts = Interrupts::new().map_err(|error| Failure::infrastructure(format!("signals cannot be received: {error}")))?;
    let mut stopped = leader.stopped();
    let failure = tokio::select! {
        _ = interrupts.next() => None,
        why = stopped.wait_for(Option::is_some) => Some(why.ok().and_then(|why| why.as_ref().map(ToString::to_string)).unwrap_or_default()),
    };
    shutdown.cancel();
    server.abort();
    pollers.stop().await;
    stop_copy.cancel();
    if tokio::time::timeout(LAST_COPY, copying).await.is_err() {
        tracing::warn!("the last copy of the log was not finished; the next start goes on with it");
    }
    leader.close().await;
    match failure {
        None => Ok(ExitCode::SUCCESS),
        Some(why) => Err(Failure::infrastructure(format!("the corpus stopped following the log: {why}"))),
    }
}

/// What listening beyond this machine needs.
const GUARD: &str = "a certificate (--tls-cert and --tls-key, --acme-host, --tls-self-signed, or `tls` in the configuration) and `token_file` in the \
                     configuration (see docs/maintner.md)";

/// How long the end of the program waits for the last copy of the log.
const LAST_COPY: std::time::Duration = std::time::Duration::from_secs(60);

/// Begins to copy the log into an object store, if that is wished.
fn copy(config: &Config, leader: &Leader, clock: &SharedClock) -> Result<(CancellationToken, tokio::task::JoinHandle<()>), Failure> {
    let stop = CancellationToken::new();
    let Some((bucket, every)) = config.bucket().map_err(Failure::usage)? else { return Ok((stop, burrow_task::spawn(async {}))) };
    let mirror = Mirror::new(leader.log().clone(), bucket, every, Arc::clone(clock));
    let ended = stop.clone();
    let task = burrow_task::spawn(async move {
        if let Err(error) = mirror.run(ended).await {
            tracing::error!("the log is not copied any more: {error}");
        }
    });
    Ok((stop, task))
}

/// A bar for a person; nothing elsewhere.
pub(crate) fn reading_bar() -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(0);
    if let Ok(style) = ProgressStyle::with_template("reading {bar:40} {bytes} of {total_bytes}, {eta} left") {
        bar.set_style(style);
    }
    bar
}

/// Moves the bar.
pub(crate) fn show(bar: &ProgressBar, progress: burrow_maintner::Progress) {
    bar.set_length(progress.total);
    bar.set_position(progress.done);
}
