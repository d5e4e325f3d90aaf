//! `burrow perf`: benchmark results searched, compared, drawn and watched.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use burrow_clock::SystemClock;
use burrow_http_client::{Client, Settings};
use burrow_perf::board::Board;
use burrow_perf::config::Config;
use burrow_perf::history::History;
use burrow_perf::http::{Site, router};
use burrow_perf::keeper::{self, Teller};
use burrow_perf::source::{Remote, Source};
use burrow_perfstore::{Options, PerfStore};
use clap::Args;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::client::read_secret;
use crate::failure::Failure;
use crate::serve::{Interrupts, bind};

/// Where a perfdata of this machine is, unless something else is said.
const PERFDATA: &str = "http://127.0.0.1:8084";

/// Chooses the sample history; any number would do.
const SAMPLE_SEED: u64 = 7;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  burrow perf                                            results of the perfdata on this machine (http://127.0.0.1:8084)
  burrow perf --perfdata https://perfdata.example.org    results of another one
  burrow perf --data results --perfdata-listen 127.0.0.1:8084
                                                         perfdata and perf of one folder, in one process
  burrow perf --config /etc/burrow/perf.toml             comparisons, repositories, branches, alerts (docs/perf.md)

Ctrl-C ends; what was computed is kept and goes on from there.")]
pub(crate) struct PerfArgs {
    /// Configuration file; flags win over it
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Address of the perfdata that has the results
    #[arg(long, value_name = "URL", conflicts_with = "data")]
    perfdata: Option<String>,
    /// Folder of results, opened by this process itself: no perfdata may be running on it
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// With --data: serve uploads and searches of programs, too, at this address
    #[arg(long, value_name = "ADDR:PORT", requires = "data")]
    perfdata_listen: Option<String>,
    /// Address; port 0 takes a free one [default: 127.0.0.1:8085]
    #[arg(long, value_name = "ADDR:PORT")]
    listen: Option<String>,
}

fn configuration(args: &PerfArgs) -> Result<Config, Failure> {
    let mut config = match &args.config {
        Some(path) => Config::load(path).map_err(Failure::usage)?,
        None => Config::default(),
    };
    if args.data.is_some() || args.perfdata.is_some() {
        (config.data, config.perfdata) = (args.data.clone(), args.perfdata.clone());
    }
    config.listen = args.listen.clone().or(config.listen);
    config.check().map_err(Failure::usage)?;
    Ok(config)
}

/// A perf service that runs, with the store below it if it opened one.
pub(crate) struct Running {
    /// Where its pages are.
    pub(crate) address: SocketAddr,
    /// Where results are taken, if they are.
    pub(crate) uploads: Option<SocketAddr>,
    end: CancellationToken,
    keeping: JoinHandle<()>,
    servers: Vec<JoinHandle<std::io::Result<()>>>,
    board: Board,
    store: Option<PerfStore>,
}

impl Running {
    /// Starts it on `pages`; with `uploads`, results are taken there. `sample` fills an empty store with a history to look at.
    pub(crate) async fn start(config: Config, pages: TcpListener, uploads: Option<TcpListener>, sample: bool) -> Result<Running, Failure> {
        let token = config.token_file.as_deref().map(read_secret).transpose()?.as_deref().map(Site::digest);
        let secret = config.watch.webhook_secret_file.as_deref().map(read_secret).transpose()?;
        let address = pages.local_addr().map_err(Failure::infrastructure)?;
        let public = config.public.clone().unwrap_or_else(|| format!("http://{address}"));
        let clock = SystemClock::shared();
        let client = Client::new(Settings::default()).map_err(Failure::infrastructure)?;
        let mut store = None;
        let (source, beside) = match &config.data {
            Some(data) => {
                let opened = PerfStore::open(Options::folder(data, Arc::clone(&clock))).await.map_err(Failure::infrastructure)?;
                store = Some(opened.clone());
                (Source::Store(opened), data.clone())
            }
            None => (Source::Remote(Remote::new(client.clone(), config.perfdata.as_deref().unwrap_or(PERFDATA))), PathBuf::from(".burrow/perf")),
        };
        let folder = config.computed.clone().unwrap_or(beside);
        let config = Arc::new(config);
        let board = Board::open(&folder, source, Arc::clone(&config), Arc::clone(&clock)).await.map_err(Failure::infrastructure)?;
        if let Some(store) = store.clone().filter(|_| sample) {
            let now_ms = clock.now_ms();
            burrow_task::spawn(async move {
                if let Err(error) = burrow_perfstore::sample::load(&store, SAMPLE_SEED, now_ms).await {
                    tracing::warn!(%error, "The sample of benchmark results could not be stored.");
                }
            });
        }
        let history = History::default();
        let end = CancellationToken::new();
        let teller = config.watch.webhook.is_some().then(|| Teller { client: client.clone(), public: public.clone(), secret });
        let keeping = burrow_task::spawn(keeper::keep(board.clone(), history.clone(), folder, teller, end.clone()));
        let only_host = address.ip().is_loopback().then(|| public.clone());
        let mut servers = Vec::new();
        let mut taken_at = None;
        if let (Some(store), Some(listener)) = (&store, uploads) {
            taken_at = Some(listener.local_addr().map_err(Failure::infrastructure)?);
            let site = burrow_perfdata::http::Site {
                store: store.clone(),
                tokens: Default::default(),
                view_url_base: Some(format!("{}/search?q=upload:", public.trim_end_matches('/'))),
                only_host: Some(String::new()),
                clock: Arc::clone(&clock),
            };
            servers.push(burrow_web::serve(listener, None, burrow_perfdata::http::router(site), end.clone().cancelled_owned()));
        }
        let app = router(Site { board: board.clone(), history, token, only_host, clock });
        servers.push(burrow_web::serve(pages, None, app, end.clone().cancelled_owned()));
        Ok(Running { address, uploads: taken_at, end, keeping, servers, board, store })
    }

    /// Ends it: what is being computed has ten seconds, or until `sooner`.
    pub(crate) async fn stop(self, sooner: impl Future<Output = ()>) {
        self.end.cancel();
        tokio::select! {
            _ = tokio::time::timeout(std::time::Duration::from_secs(10), self.keeping) => {}
            () = sooner => {}
        }
        self.servers.iter().for_each(JoinHandle::abort);
        self.board.close().await;
        if let Some(store) = self.store {
            store.close().await;
        }
    }
}

pub(crate) async fn run(args: PerfArgs) -> Result<ExitCode, Failure> {
    let config = configuration(&args)?;
    let listen = config.listen.clone().unwrap_or_else(|| "127.0.0.1:8085".into());
    // Bound before anything is opened, so that an address in use is known at once. There is no TLS here: what stands in front has it.
    let (pages, _) = bind(&listen, false, "a proxy with TLS in front of it (see docs/perf.md)").await?;
    let uploads = match &args.perfdata_listen {
        Some(listen) => Some(bind(listen, false, "`burrow perfdata` with a configuration").await?.0),
        None => None,
    };
    let running = Running::start(config, pages, uploads, false).await?;
    if let Some(uploads) = running.uploads {
        eprintln!("Results are taken at http://{uploads}/upload.");
    }
    eprintln!("Open http://{}/ in a browser for benchmarks. Ctrl-C stops.", running.address);
    let mut interrupts = Interrupts::new().map_err(|error| Failure::infrastructure(format!("signals cannot be received: {error}")))?;
    interrupts.next().await;
    let again = async move {
        interrupts.next().await;
    };
    running.stop(again).await;
    Ok(ExitCode::SUCCESS)
}
