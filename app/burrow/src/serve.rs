//! `burrow up` and `burrow coordinator`: a farm that serves until it is told to stop.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use burrow_builders::Config;
use burrow_clock::SystemClock;
use burrow_coordinator::farm::{Farm, Mirrored, Options, StartError};
use burrow_coordinator::http::Access;
use burrow_store::Health;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::cli::{CoordinatorArgs, StateArgs, UpArgs};
use crate::failure::Failure;
use crate::mirroring::InProcess;
use crate::settings::{self, Chosen};
use crate::{perf, tls};

impl From<StartError> for Failure {
    fn from(error: StartError) -> Failure {
        match error {
            StartError::Configuration(text) => Failure::usage(text),
            StartError::Infrastructure(text) => Failure::infrastructure(text),
        }
    }
}

pub(crate) async fn up(args: UpArgs) -> Result<ExitCode, Failure> {
    let UpArgs { repos, config, state, workers, mirror_listen } = args;
    let chosen = settings::for_up(config.as_deref(), &repos, workers, |config| data_folder(&state, config))?;
    serve(chosen, &state, Some(mirror_listen)).await
}

pub(crate) async fn coordinator(args: CoordinatorArgs) -> Result<ExitCode, Failure> {
    let config = settings::load(&args.config)?;
    let what = format!("the farm of {}", args.config.display());
    serve(Chosen { config, what, path: Some(args.config), sample: false }, &args.state, None).await
}

fn data_folder(state: &StateArgs, config: Option<&Config>) -> PathBuf {
    let configured = || config.and_then(|config| config.site.data.clone()).map(PathBuf::from);
    state.data.clone().or_else(configured).unwrap_or_else(|| ".burrow".into())
}

/// First arguments of a worker process: this executable plays it.
pub(crate) fn worker_program() -> Result<Vec<std::ffi::OsString>, Failure> {
    let me = std::env::current_exe().map_err(|error| Failure::infrastructure(format!("this program cannot find itself: {error}")))?;
    Ok(vec![me.into_os_string(), "buildlet".into()])
}

/// `mirror`: where a mirror in this process listens, if one is to run (`Some(None)`: somewhere).
async fn serve(chosen: Chosen, state: &StateArgs, mirror: Option<Option<SocketAddr>>) -> Result<ExitCode, Failure> {
    let Chosen { config, path, what, sample } = chosen;
    let data = data_folder(state, Some(&config));
    let listen = state.listen.clone().or_else(|| config.site.listen.clone()).unwrap_or_else(|| "127.0.0.1:8080".into());
    let acceptor = config.site.tls.as_ref().map(|tls| tls::acceptor(tls.cert.as_ref(), tls.key.as_ref(), &[b"http/1.1"])).transpose()?;
    let token = admin_token(&config).await?;
    // Bound before anything is started, so that a port in use leaves nothing behind.
    let (listener, address) = bind(&listen, acceptor.is_some() && token.is_some(), GUARD).await?;
    let access = Access { token_hash: token.as_deref().map(Access::hash), loopback: address.ip().is_loopback() };

    // `burrow up` is everything on this machine.
    let benchmarks = match mirror {
        Some(_) => Some(benchmarks(&data, sample, address.port() == 8080).await?),
        None => None,
    };
    // A mirror elsewhere is enough.
    let mirroring = match mirror.filter(|_| config.site.mirror.is_none()) {
        Some(at) => Some((InProcess::start(&config, &data.join("gitmirror")).await?, at)),
        None => None,
    };
    let options = Options {
        config,
        reload: path,
        data: data.clone(),
        database: state.database.clone(),
        worker_program: worker_program()?,
        worker_env: Options::inherited(std::env::vars_os()),
        clock: SystemClock::shared(),
        poll: true,
        mirrored: mirroring.as_ref().map(|(mirror, _)| Arc::clone(mirror) as Arc<dyn Mirrored>),
        events: None,
    };
    let farm = Farm::start(options).await?;
    let scheme = if acceptor.is_some() { "https" } else { "http" };
    eprintln!("Burrow builds {what}.");
    if let Some((mirror, at)) = &mirroring {
        // Only for this machine: whoever may read the pages need not read the sources.
        let at = at.unwrap_or(SocketAddr::from(([127, 0, 0, 1], if address.port() == 8080 { 8585 } else { 0 })));
        let at = mirror.serve(at, &data.join("gitmirror")).await?;
        mirror.attach(&farm);
        eprintln!("Archives and clones of what it builds are at http://{at}/status.");
    }
    if let Some(benchmarks) = &benchmarks {
        let taken = benchmarks.uploads.map(|at| format!("; results are taken at http://{at}/upload")).unwrap_or_default();
        eprintln!("Benchmarks are at http://{}/{taken}.", benchmarks.address);
    }
    eprintln!("Open {scheme}://{address}/ in a browser. State is in {}; Ctrl-C stops.", data.display());

    let (end, ended) = watch::channel(false);
    let shutdown = {
        let mut ended = ended.clone();
        async move {
            let _ = ended.wait_for(|end| *end).await;
        }
    };
    let server = burrow_web::serve(listener, acceptor, farm.router(access), shutdown);
    let how = until_told(&farm).await?;
    end.send_replace(true);
    // Pages that are being read may end; streams of events end with the server, at the latest now.
    server.abort();
    if let Some((mirror, _)) = &mirroring {
        mirror.stop().await;
    }
    if let Some(benchmarks) = benchmarks {
        let at_once = matches!(how, Stop::AtOnce);
        benchmarks
            .stop(async move {
                if !at_once {
                    std::future::pending().await
                }
            })
            .await;
    }
    match how {
        Stop::Drained => farm.stop(true).await,
        Stop::AtOnce => farm.stop(false).await,
        Stop::LockLost => {
            return Err(Failure::infrastructure("another coordinator took over the database; this one has stopped"));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The store of benchmark results and its pages, at their usual ports if `usual` and they are free.
async fn benchmarks(data: &std::path::Path, sample: bool, usual: bool) -> Result<perf::Running, Failure> {
    let data = data.join("perf");
    std::fs::create_dir_all(&data).map_err(|error| Failure::infrastructure(format!("{}: {error}", data.display())))?;
    let free = |port: u16| async move {
        match TcpListener::bind(("127.0.0.1", if usual { port } else { 0 })).await {
            Ok(listener) => Ok(listener),
            Err(_) => TcpListener::bind(("127.0.0.1", 0)).await.map_err(|error| Failure::infrastructure(format!("no port is free: {error}"))),
        }
    };
    let config = burrow_perf::config::Config { data: Some(data), ..Default::default() };
    perf::Running::start(config, free(8085).await?, Some(free(8084).await?), sample).await
}

enum Stop {
    /// Nothing runs any more.
    Drained,
    /// What runs is left to its workers; the next start takes it up.
    AtOnce,
    /// Another coordinator holds the database.
    LockLost,
}

/// Waits for Ctrl-C (finish what runs), again Ctrl-C or SIGTERM (stop at once), or the loss of the database.
async fn until_told(farm: &Arc<Farm>) -> Result<Stop, Failure> {
    let no_signals = |error: std::io::Error| Failure::infrastructure(format!("signals cannot be received: {error}"));
    let mut interrupts = Interrupts::new().map_err(no_signals)?;
    let mut health = farm.db().health();
    let mut draining = None;
    loop {
        tokio::select! {
            told = interrupts.next() => match (told, &draining) {
                (Told::Interrupt, None) => {
                    eprintln!("Finishing the running builds; nothing new begins. Ctrl-C again stops at once; nothing is lost.");
                    let farm = Arc::clone(farm);
                    draining = Some(burrow_task::spawn(async move { farm.drain().await }));
                }
                _ => {
                    eprintln!("Stopped. Running builds go on in their workers and are taken up at the next start.");
                    return Ok(Stop::AtOnce);
                }
            },
            () = finished(&mut draining) => {
                eprintln!("Stopped; nothing runs any more.");
                return Ok(Stop::Drained);
            }
            lost = health.wait_for(|health| *health == Health::LockLost) => {
                if lost.is_ok() {
                    return Ok(Stop::LockLost);
                }
                return Err(Failure::infrastructure("the database writer has stopped; see the log above"));
            }
        }
    }
}

async fn finished(draining: &mut Option<tokio::task::JoinHandle<()>>) {
    match draining {
        Some(task) => {
            let _ = task.await;
        }
        None => std::future::pending().await,
    }
}

/// What a signal says.
pub(crate) enum Told {
    Interrupt,
    Terminate,
}

/// Signals that ask the program to end.
#[cfg(unix)]
pub(crate) struct Interrupts {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Interrupts {
    pub(crate) fn new() -> std::io::Result<Interrupts> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Interrupts { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    pub(crate) async fn next(&mut self) -> Told {
        tokio::select! {
            _ = self.interrupt.recv() => Told::Interrupt,
            _ = self.terminate.recv() => Told::Terminate,
        }
    }
}

/// Signals that ask the program to end.
#[cfg(not(unix))]
pub(crate) struct Interrupts;

#[cfg(not(unix))]
impl Interrupts {
    pub(crate) fn new() -> std::io::Result<Interrupts> {
        Ok(Interrupts)
    }

    pub(crate) async fn next(&mut self) -> Told {
        match tokio::signal::ctrl_c().await {
            Ok(()) => Told::Interrupt,
            Err(_) => Told::Terminate,
        }
    }
}

async fn admin_token(config: &Config) -> Result<Option<String>, Failure> {
    let Some(name) = &config.site.admin_token else { return Ok(None) };
    let Some(secret) = config.secrets.get(name) else { return Err(Failure::usage(format!("admin_token: there is no secret {name:?}"))) };
    let text = secret.text(std::path::Path::new("."), |name| std::env::var(name).ok()).await.map_err(Failure::usage)?;
    Ok(Some(text.reveal().to_owned()))
}

/// What guards the coordinator.
const GUARD: &str = "`tls` and `admin_token` in the [site] table of a configuration (see docs/configuration.md)";

/// Listens; beyond this machine only if it is `guarded`: by TLS and a token, which `guard` says how to have.
pub(crate) async fn bind(listen: &str, guarded: bool, guard: &str) -> Result<(TcpListener, SocketAddr), Failure> {
    let candidates: Vec<SocketAddr> = tokio::net::lookup_host(listen)
        .await
        .map_err(|error| Failure::usage(format!("--listen {listen}: {error}; an address looks like 127.0.0.1:8080")))?
        .collect();
    if !guarded && let Some(open) = candidates.iter().find(|address| !address.ip().is_loopback()) {
        return Err(Failure::usage(format!(
            "{open} can be reached from other machines: that needs {guard}. For this machine alone use --listen 127.0.0.1:{}",
            open.port()
        )));
    }
    let listener = TcpListener::bind(&*candidates).await.map_err(|error| match error.kind() {
        std::io::ErrorKind::AddrInUse => Failure::infrastructure(format!(
            "{listen} is in use, perhaps by another Burrow; stop that, or choose another address, for example --listen 127.0.0.1:0"
        )),
        _ => Failure::infrastructure(format!("cannot listen on {listen}: {error}")),
    })?;
    let address = listener.local_addr().map_err(Failure::infrastructure)?;
    Ok((listener, address))
}
