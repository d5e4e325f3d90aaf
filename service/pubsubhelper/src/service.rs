//! All parts, put together and run.

use std::collections::BTreeSet;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use burrow_certificates::{CertificateError, Certificates};
use burrow_clock::SharedClock;
use burrow_events::{Log, OpenError, Options, Topics};
use burrow_mail::{Counters as MailCounters, DnsKeys, Keys};
use burrow_task::BoxFuture;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::alert::Alerts;
use crate::config::{Config, Source as SourceConfig};
use crate::http::Out;
use crate::hub::{Hub, Source, Turn};
use crate::pages::{self, Site};
use crate::readers::Readers;
use crate::secrets::{SecretError, Secrets};
use crate::serve::{self, Server};
use crate::silence::Memory;
use crate::sources::generic::About;
use crate::webhook::{Adapter, Bounds, Encryption, Hook};
use crate::{mail, stream};

/// How often silence is measured and files are looked at for changes.
const TICK: Duration = Duration::from_secs(15);

/// What the service is given besides its configuration.
#[derive(Clone)]
pub struct Deps {
    /// The time.
    pub clock: SharedClock,
    /// Where keys of mail signatures come from; `None`: DNS, as configured.
    pub keys: Option<Arc<dyn Keys>>,
    /// What [`Config::tls`] asks for, opened, and kept valid by whoever did; `None`: plain HTTP.
    pub certificates: Option<Certificates>,
}

impl std::fmt::Debug for Deps {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Deps").field("clock", &self.clock).finish_non_exhaustive()
    }
}

/// Why the service cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The event log cannot be opened.
    #[error("the event log: {0}")]
    Log(#[from] OpenError),
    /// A secret or token cannot be read.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// A certificate cannot be used.
    #[error(transparent)]
    Tls(#[from] CertificateError),
    /// An address cannot be listened on. That is fatal for mail too (`spec/pubsubhelper.md` §7 row 15).
    #[error("cannot listen on {address} for {what}: {source}{}", hint(source))]
    Listen {
        /// The address.
        address: String,
        /// What for.
        what: String,
        /// The system's word.
        source: io::Error,
    },
    /// A part cannot be made as the configuration says.
    #[error("{what}: {why}")]
    Part {
        /// Which part.
        what: String,
        /// Why not.
        why: String,
    },
}

fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied => "; ports below 1024 need the right to bind them (CAP_NET_BIND_SERVICE), or a redirection from another port",
        io::ErrorKind::AddrInUse => "; another program listens there",
        _ => "",
    }
}

/// A running service.
#[derive(Debug)]
pub struct Service {
    hub: Hub,
    addresses: Vec<SocketAddr>,
    mail_addresses: Vec<SocketAddr>,
    memory: Memory,
    reload: Reload,
    shutdown: CancellationToken,
    tasks: JoinSet<Result<(), String>>,
}

/// Files that are read again when they change.
#[derive(Debug, Clone)]
struct Reload {
    hooks: Arc<[Hook]>,
    readers: Readers,
    /// What was wrong the last time: it is told once.
    told: Arc<Mutex<BTreeSet<String>>>,
}

impl Reload {
    /// Reads what has changed. What cannot be used any more stays as it was, and is told of.
    fn now(&self) {
        let mut wrong = BTreeSet::new();
        for hook in self.hooks.iter() {
            match hook.secrets.reload() {
                Ok(true) => tracing::info!(source = hook.source.name, secrets = hook.secrets.count(), "Secrets were read again."),
                Ok(false) => {}
                Err(error) => drop(wrong.insert(error.to_string())),
            }
        }
        wrong.extend(self.readers.reload().err().map(|error| error.to_string()));
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        for error in wrong.difference(&told) {
            tracing::warn!(error, "A file of secrets or tokens cannot be read again; what it held before counts.");
        }
        *told = wrong;
    }
}

impl Service {
    /// Opens the log, binds every address, and begins to serve.
    ///
    /// # Errors
    /// [`StartError`]; nothing runs then.
    pub fn start(config: Config, deps: Deps) -> BoxFuture<'static, Result<Service, StartError>> {
        Box::pin(async move {
            let part = |what: &str, why: &dyn std::fmt::Display| StartError::Part { what: what.to_owned(), why: why.to_string() };
            // First what can be wrong without anything having happened.
            let readers = Readers::load(&config)?;
            let tls = deps.certificates.as_ref().map(|certificates| certificates.acceptor(&[b"http/1.1"])).transpose()?;
            let sources: Vec<(SourceConfig, Arc<Source>)> = config.source.iter().map(|source| (source.clone(), Arc::new(shown(source)))).collect();
            let mut hooks = Vec::new();
            for (source, shown) in &sources {
                if let Some(hook) = hook(source, shown)? {
                    hooks.push(hook);
                }
            }
            let hooks: Arc<[Hook]> = hooks.into();
            let client = burrow_http_client::Client::new(Default::default()).map_err(|error| part("alert", &error))?;
            let alerts = config.alert.as_ref().map(|alert| Alerts::new(alert, client)).transpose().map_err(|error| part("alert.url", &error))?;
            let mut listeners = Vec::new();
            for address in &config.listen {
                listeners.push(bind(address, "events").await?);
            }
            let mut mail_listeners = Vec::new();
            for (source, shown) in &sources {
                if let SourceConfig::GerritMail(mail) = source {
                    mail_listeners.push((mail.clone(), Arc::clone(shown), bind(&mail.listen, &format!("the mail of {:?}", mail.name)).await?));
                }
            }

            let options = Options { retention: config.keep.retention(), ..Options::new(Arc::clone(&deps.clock)) };
            let data: PathBuf = config.data.clone();
            let log = burrow_task::spawn_blocking(move || Log::open(&data.join("log"), options)).await;
            let log = log.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))?;
            let memory = Memory::in_folder(&config.data);
            let hub = Hub::new(log, Arc::clone(&deps.clock), sources.iter().map(|(_, shown)| Arc::clone(shown)).collect(), &memory.load());

            let shutdown = CancellationToken::new();
            let mut tasks = JoinSet::new();
            let addresses = listeners.iter().filter_map(|listener| listener.local_addr().ok()).collect();
            let mail_addresses = mail_listeners.iter().filter_map(|(.., listener)| listener.local_addr().ok()).collect();
            let mut mail_counters = Vec::new();
            for (mail_config, source, listener) in mail_listeners {
                let counters = Arc::new(MailCounters::default());
                mail_counters.push((source.name.clone(), Arc::clone(&counters)));
                let what = format!("source {:?}", source.name);
                let certificates = match &mail_config.tls {
                    None => deps.certificates.clone(),
                    Some(files) => {
                        let certificates = Certificates::open(files.source(), Arc::clone(&deps.clock))?;
                        let (kept, ended) = (certificates.clone(), shutdown.clone());
                        tasks.spawn(burrow_task::boxed(async move {
                            kept.keep(ended).await;
                            Ok(())
                        }));
                        Some(certificates)
                    }
                };
                let tls = certificates.map(|certificates| certificates.acceptor(&[])).transpose()?;
                let keys = match &deps.keys {
                    Some(keys) => Arc::clone(keys),
                    None if mail_config.dns.is_empty() => Arc::new(DnsKeys::system().map_err(|error| part(&what, &error))?),
                    None => Arc::new(DnsKeys::at(&mail_config.dns).map_err(|error| part(&what, &error))?),
                };
                let sink = Arc::new(mail::mail_sink(&hub, &source));
                let server = burrow_mail::Server::new(mail::config(&mail_config), tls, keys, sink, Arc::clone(&deps.clock), counters);
                let server = server.map_err(|error| part(&what, &error))?;
                run(&mut tasks, format!("the mail server of {:?}", source.name), server.run(listener, shutdown.clone()));
            }
            for (source, shown) in &sources {
                if let SourceConfig::GerritStream(config) = source {
                    let reading = stream::run(config.clone(), hub.clone(), Arc::clone(shown), shutdown.clone());
                    tasks.spawn(burrow_task::boxed(async move {
                        reading.await;
                        Ok(())
                    }));
                }
            }
            let (turned, turns) = mpsc::unbounded_channel();
            let trouble = alerts.as_ref().map(Alerts::trouble);
            if let Some(alerts) = alerts {
                let telling = alerts.run(hub.clone(), turns, shutdown.clone());
                tasks.spawn(burrow_task::boxed(async move {
                    telling.await;
                    Ok(())
                }));
            }
            let reload = Reload { hooks: Arc::clone(&hooks), readers: readers.clone(), told: Arc::default() };
            tasks.spawn(burrow_task::boxed(listen_for_silence(hub.clone(), memory.clone(), reload.clone(), turned, shutdown.clone())));
            let site = Site {
                out: Out { hub: hub.clone(), readers, wait: Duration::from_secs(config.limits.wait_s.clamp(1, 3600)), shutdown: shutdown.clone() },
                hooks,
                bounds: Bounds::new(config.limits.body_mb.clamp(1, 1024) << 20, config.limits.bodies_mb.clamp(1, 65_536) << 20),
                encryption: Encryption { allow_plain_http: config.allow_plain_http, trusted_proxies: config.trusted_proxies.clone() },
                mail: mail_counters.into(),
                notes: hub.log.opened().into(),
                alerts: trouble,
                started_ms: deps.clock.now_ms(),
                certificates: deps.certificates,
            };
            let router = pages::router(site);
            let room = Arc::new(Semaphore::new(serve::make_room(config.limits.connections.clamp(1, Semaphore::MAX_PERMITS))));
            for listener in listeners {
                let server = Server { listener, tls: tls.clone(), room: Arc::clone(&room) };
                run(&mut tasks, "the web server".into(), server.run(router.clone(), shutdown.clone()));
            }
            Ok(Service { hub, addresses, mail_addresses, memory, reload, shutdown, tasks })
        })
    }

    /// Where events are handed out.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Where mail is taken.
    pub fn mail_addresses(&self) -> &[SocketAddr] {
        &self.mail_addresses
    }

    /// The log, for those who follow it in this process.
    pub fn log(&self) -> &Log {
        &self.hub.log
    }

    /// Log and sources.
    pub fn hub(&self) -> &Hub {
        &self.hub
    }

    /// Reads secrets and tokens again, as for SIGHUP. They are looked at every few seconds anyway, as certificates are.
    pub fn reload(&self) {
        self.reload.now();
    }

    /// Ends only when a part has failed that must not; says which and why.
    pub fn failed(&mut self) -> BoxFuture<'_, String> {
        Box::pin(async move {
            while let Some(ended) = self.tasks.join_next().await {
                match ended {
                    Ok(Ok(())) => {}
                    Ok(Err(why)) => return why,
                    Err(error) => return format!("a part of the service broke: {error}"),
                }
            }
            std::future::pending().await
        })
    }

    /// Ends: those who wait are sent away, what is being answered is answered, the log is closed.
    pub fn stop(mut self) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            self.shutdown.cancel();
            while self.tasks.join_next().await.is_some() {}
            if let Err(error) = self.memory.save(&self.hub.learned()) {
                tracing::warn!(%error, "What was learned of the sources' silences cannot be kept.");
            }
            self.hub.log.close().await;
        })
    }
}

fn run(tasks: &mut JoinSet<Result<(), String>>, what: String, serving: impl Future<Output = io::Result<()>> + Send + 'static) {
    tasks.spawn(burrow_task::boxed(async move { serving.await.map_err(|error| format!("{what} failed: {error}")) }));
}

async fn bind(address: &str, what: &str) -> Result<TcpListener, StartError> {
    TcpListener::bind(address).await.map_err(|source| StartError::Listen { address: address.to_owned(), what: what.to_owned(), source })
}

/// Reads everything that a configuration names except [`Config::tls`], without listening anywhere.
///
/// # Errors
/// [`StartError`]: what would keep the service from starting.
pub fn check(config: &Config, clock: &SharedClock) -> Result<(), StartError> {
    Readers::load(config)?;
    let mails = config.source.iter().filter_map(|source| match source {
        SourceConfig::GerritMail(mail) => mail.tls.as_ref(),
        _ => None,
    });
    for files in mails {
        Certificates::open(files.source(), Arc::clone(clock))?;
    }
    for source in &config.source {
        hook(source, &Arc::new(shown(source)))?;
    }
    Ok(())
}

/// The source as pages show it.
fn shown(source: &SourceConfig) -> Source {
    let place = match source {
        SourceConfig::GerritStream(stream) => format!("ssh {}", stream.ssh),
        SourceConfig::GerritMail(mail) => mail.rcpt.join(", "),
        other => other.hook().map(|hook| format!("POST {}", hook.path)).unwrap_or_default(),
    };
    Source::new(source.name(), source.kind(), place, source.quiet())
}

fn hook(source: &SourceConfig, shown: &Arc<Source>) -> Result<Option<Hook>, StartError> {
    let Some(config) = source.hook() else { return Ok(None) };
    let adapter = match source {
        SourceConfig::Github(hook) => Adapter::Github { allow_sha1: hook.allow_sha1 },
        SourceConfig::Gitlab(_) => Adapter::Gitlab,
        SourceConfig::Gitea(_) => Adapter::Gitea,
        SourceConfig::GerritWebhooks(hook) => Adapter::Gerrit { from: hook.from.clone(), url: hook.url.clone() },
        SourceConfig::Generic(hook) => Adapter::Generic(About { topics: hook.topic.clone(), url: hook.url.clone() }),
        SourceConfig::GerritStream(_) | SourceConfig::GerritMail(_) => return Ok(None),
    };
    let mut files: Vec<(PathBuf, Option<Topics>)> = config.secret_file.iter().map(|path| (path.clone(), None)).collect();
    for (pattern, path) in &config.repo_secrets {
        let repos = Topics::parse([pattern]).map_err(|error| StartError::Part { what: format!("source {:?}", shown.name), why: error.to_string() })?;
        files.push((path.clone(), Some(repos)));
    }
    Ok(Some(Hook { path: config.path.clone(), adapter, secrets: Arc::new(Secrets::load(files)?), source: Arc::clone(shown) }))
}

/// Measures silence, keeps what is learned, and looks at files for changes.
async fn listen_for_silence(hub: Hub, memory: Memory, reload: Reload, turned: mpsc::UnboundedSender<Turn>, shutdown: CancellationToken) -> Result<(), String> {
    let mut last = hub.clock.monotonic_ms();
    let mut kept = hub.learned();
    loop {
        tokio::select! {
            () = tokio::time::sleep(TICK) => {}
            () = shutdown.cancelled() => return Ok(()),
        }
        hub.log.probe().await;
        let now = hub.clock.monotonic_ms();
        for turn in hub.pass(now.saturating_sub(last)) {
            let (name, quiet_ms) = (&turn.source.name, turn.source.silence().quiet_ms);
            if turn.silent {
                tracing::warn!(source = name, quiet_ms, "A source is silent for longer than it ever was.");
            } else {
                tracing::info!(source = name, "A source is heard again.");
            }
            // Nobody listens when no alert is configured.
            let _ = turned.send(turn);
        }
        last = now;
        let (memory, learned, reload) = (memory.clone(), hub.learned(), reload.clone());
        let changed = learned != kept;
        kept.clone_from(&learned);
        let work = burrow_task::spawn_blocking(move || {
            reload.now();
            if changed { memory.save(&learned) } else { Ok(()) }
        });
        if let Ok(Err(error)) = work.await {
            tracing::warn!(%error, "What was learned of the sources' silences cannot be kept.");
        }
    }
}
