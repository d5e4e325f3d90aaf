//! `burrow pubsubhelper`: webhooks and mail in, events out.

use std::path::PathBuf;
use std::process::ExitCode;

use burrow_clock::SystemClock;
use burrow_pubsubhelper::config::{Config, Hook, Source};
use burrow_pubsubhelper::{Deps, Service, StartError};
use clap::Args;
use tokio_util::sync::CancellationToken;

use crate::failure::Failure;
use crate::serve::Interrupts;
use crate::tls::{self, TlsArgs};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  burrow pubsubhelper --github-secret-file secret --allow-plain-http    GitHub's webhooks at http://127.0.0.1:8083/github-webhook
  burrow pubsubhelper --config /etc/burrow/pubsubhelper.toml            every source: GitHub, GitLab, Forgejo, Gerrit by hook, SSH or mail, …
  curl http://127.0.0.1:8083/recent                                     what is kept
  curl -N http://127.0.0.1:8083/events?topic=github:golang/*            events as they come
  burrow maintnerd --pubsub http://127.0.0.1:8083 …                     one who follows

A configuration is explained in docs/pubsubhelper.md. SIGHUP reads secrets again (they and certificates are looked at every few seconds anyway).
Ctrl-C ends; nothing that was acknowledged is lost, then or by kill -9.")]
pub(crate) struct PubsubhelperArgs {
    /// Configuration file; flags win over it
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Address of HTTP, or HTTPS with a certificate; port 0 takes a free one; may be given several times [default: 127.0.0.1:8083]
    #[arg(long, value_name = "ADDR:PORT")]
    listen: Vec<String>,
    /// Folder of the event log [default: ./.burrow/pubsubhelper]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// File with the secret of GitHub's webhooks, which are then taken at /github-webhook
    #[arg(long, value_name = "FILE")]
    github_secret_file: Option<PathBuf>,
    /// Take webhooks that do not come over TLS, from everybody
    #[arg(long)]
    allow_plain_http: bool,
    /// Read the configuration and what it names, say what is wrong, and end
    #[arg(long, requires = "config")]
    check: bool,
    #[command(flatten)]
    tls: TlsArgs,
}

fn configuration(args: &PubsubhelperArgs) -> Result<Config, Failure> {
    let mut config = match &args.config {
        Some(path) => Config::load(path).map_err(Failure::usage)?,
        None => Config::default(),
    };
    if !args.listen.is_empty() {
        config.listen.clone_from(&args.listen);
    }
    if let Some(data) = &args.data {
        config.data.clone_from(data);
    }
    config.allow_plain_http |= args.allow_plain_http;
    if let Some(secret) = &args.github_secret_file {
        config.source.push(Source::Github(Hook { secret_file: Some(secret.clone()), ..Hook::default() }));
    }
    config.complete();
    config.check().map_err(Failure::usage)?;
    Ok(config)
}

impl From<StartError> for Failure {
    fn from(error: StartError) -> Failure {
        match error {
            StartError::Log(_) | StartError::Listen { .. } => Failure::infrastructure(error),
            StartError::Secret(_) | StartError::Tls(_) | StartError::Part { .. } => Failure::usage(error),
        }
    }
}

/// Beyond this machine events are handed out only to those who show a token, over TLS, unless all that is read there is meant for everybody.
async fn guard(config: &Config, encrypted: bool) -> Result<(), Failure> {
    let guarded = encrypted && !config.reader.is_empty() || config.public_topics.iter().any(|topic| topic == "*");
    for listen in config.listen.iter().filter(|_| !guarded) {
        let candidates = tokio::net::lookup_host(listen).await;
        let mut candidates = candidates.map_err(|error| Failure::usage(format!("listen {listen}: {error}; an address looks like 127.0.0.1:8083")))?;
        if let Some(open) = candidates.find(|address| !address.ip().is_loopback()) {
            return Err(Failure::usage(format!(
                "{open} can be reached from other machines: that needs a certificate (--tls-cert and --tls-key, --acme-host, --tls-self-signed, or `tls` in the \
                 configuration) and a `[[reader]]` with a token in the configuration, or, if everybody may know what happens in your repositories, \
                 `public_topics = [\"*\"]` (see docs/pubsubhelper.md)"
            )));
        }
    }
    Ok(())
}

pub(crate) async fn run(args: PubsubhelperArgs) -> Result<ExitCode, Failure> {
    let config = configuration(&args)?;
    let encrypted = args.tls.is_wanted(config.tls.as_ref());
    guard(&config, encrypted).await?;
    let (clock, shutdown) = (SystemClock::shared(), CancellationToken::new());
    if args.check {
        burrow_pubsubhelper::service::check(&config, &clock)?;
        args.tls.check(config.tls.as_ref(), &config.data, &clock)?;
        eprintln!("The configuration is right: {} sources.", config.source.len());
        return Ok(ExitCode::SUCCESS);
    }
    let (scheme, sources) = (if encrypted { "https" } else { "http" }, config.source.len());
    let mut names: Vec<String> = config.listen.iter().flat_map(|listen| tls::own_names(listen)).collect();
    names.sort();
    names.dedup();
    let certificates = args.tls.open(config.tls.as_ref(), &config.data, &names, &clock, &shutdown).await?;
    let mut service = Service::start(config, Deps { clock, keys: None, certificates }).await?;
    for note in service.log().opened() {
        eprintln!("{note}");
    }
    for address in service.addresses() {
        let plural = if sources == 1 { "source is" } else { "sources are" };
        eprintln!("What {sources} {plural} telling can be followed at {scheme}://{address}/waitevent and {scheme}://{address}/events.");
        eprintln!("Open {scheme}://{address}/ in a browser. Ctrl-C stops.");
    }
    for address in service.mail_addresses() {
        eprintln!("Mail is taken at {address}.");
    }
    let no_signals = |error: std::io::Error| Failure::infrastructure(format!("signals cannot be received: {error}"));
    let mut interrupts = Interrupts::new().map_err(no_signals)?;
    let mut hangups = Hangups::new().map_err(no_signals)?;
    let failure = loop {
        tokio::select! {
            _ = interrupts.next() => break None,
            () = hangups.next() => service.reload(),
            why = service.failed() => break Some(why),
        }
    };
    shutdown.cancel();
    service.stop().await;
    match failure {
        None => Ok(ExitCode::SUCCESS),
        Some(why) => Err(Failure::infrastructure(why)),
    }
}

/// Signals that ask to read files again.
#[cfg(unix)]
struct Hangups(tokio::signal::unix::Signal);

#[cfg(unix)]
impl Hangups {
    fn new() -> std::io::Result<Hangups> {
        tokio::signal::unix::signal(tokio::signal::unix::SignalKind::hangup()).map(Hangups)
    }

    async fn next(&mut self) {
        self.0.recv().await;
    }
}

/// Signals that ask to read files again; there are none here.
#[cfg(not(unix))]
struct Hangups;

#[cfg(not(unix))]
impl Hangups {
    fn new() -> std::io::Result<Hangups> {
        Ok(Hangups)
    }

    async fn next(&mut self) {
        std::future::pending().await
    }
}
