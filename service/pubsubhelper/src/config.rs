//! What a pubsubhelper is told: a TOML file.

use std::path::{Path, PathBuf};
use std::time::Duration;

use burrow_certificates::config::{Files, Tls};
use burrow_events::{Retention, Topics};
use burrow_site::FileError;
use serde::Deserialize;

use crate::network::Network;

/// The configuration.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Addresses to listen on, HTTP or, with `tls`, HTTPS.
    pub listen: Vec<String>,
    /// Folder of the event log and of what was learned; of a configuration file, relative to it.
    pub data: PathBuf,
    /// Where the certificate comes from, of HTTPS and of mail's `STARTTLS`.
    pub tls: Option<Tls>,
    /// Webhooks are taken over plain HTTP from everybody. For tests, and where the network is trusted.
    pub allow_plain_http: bool,
    /// Networks (`10.0.0.0/8`) of proxies whose `X-Forwarded-Proto` is believed.
    pub trusted_proxies: Vec<Network>,
    /// What is kept.
    pub keep: Keep,
    /// Who may read. None: everybody who can connect.
    pub reader: Vec<Reader>,
    /// Topics that everybody may read although there are readers.
    pub public_topics: Vec<String>,
    /// Who is told when a source falls silent.
    pub alert: Option<Alert>,
    /// Bounds.
    pub limits: Limits,
    /// Where events come from.
    pub source: Vec<Source>,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            listen: vec!["127.0.0.1:8083".into()],
            data: ".burrow/pubsubhelper".into(),
            tls: None,
            allow_plain_http: false,
            trusted_proxies: Vec::new(),
            keep: Keep::default(),
            reader: Vec::new(),
            public_topics: Vec::new(),
            alert: None,
            limits: Limits::default(),
            source: Vec::new(),
        }
    }
}

/// How much of the event log is kept: what is younger than `hours`, at least `count`, at most `megabytes`.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Keep {
    /// Hours.
    pub hours: u64,
    /// Events.
    pub count: usize,
    /// Megabytes of memory, and about as much disk.
    pub megabytes: usize,
}

impl Default for Keep {
    fn default() -> Self {
        let usual = Retention::default();
        Keep { hours: usual.age.as_secs() / 3600, count: usual.count, megabytes: usual.bytes >> 20 }
    }
}

impl Keep {
    /// The same for the log.
    pub fn retention(&self) -> Retention {
        Retention { age: Duration::from_secs(self.hours.saturating_mul(3600)), count: self.count, bytes: self.megabytes.clamp(1, 1 << 20) << 20 }
    }
}

/// Somebody who may read.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reader {
    /// Name, for logs.
    pub name: String,
    /// File with the token; several lines are several tokens.
    pub token_file: PathBuf,
    /// What may be read; `*` stands for anything.
    #[serde(default = "everything")]
    pub topics: Vec<String>,
}

fn everything() -> Vec<String> {
    vec!["*".into()]
}

/// Who is told when a source falls silent, and when it is heard again.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Alert {
    /// Address that a JSON object is posted to.
    pub url: String,
    /// File with a token that is sent as bearer token.
    pub token_file: Option<PathBuf>,
}

/// Bounds.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Connections at a time.
    pub connections: usize,
    /// Largest webhook, MiB. GitHub sends up to 25.
    pub body_mb: usize,
    /// MiB that the bodies of all webhooks may take at a time.
    pub bodies_mb: usize,
    /// Seconds that `/waitevent` waits at most.
    pub wait_s: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { connections: 10_000, body_mb: 25, bodies_mb: 256, wait_s: 30 }
    }
}

/// Where events come from.
#[derive(Debug, Clone, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Source {
    /// Webhooks of GitHub.
    Github(Hook),
    /// Webhooks of GitLab.
    Gitlab(Hook),
    /// Webhooks of Gitea and Forgejo.
    Gitea(Hook),
    /// Posts of Gerrit's `webhooks` plugin.
    GerritWebhooks(Hook),
    /// Posts of anything else that can sign.
    Generic(Hook),
    /// `gerrit stream-events` over SSH.
    GerritStream(Stream),
    /// Mail of a Gerrit.
    GerritMail(Mail),
}

/// A source that posts.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Hook {
    /// Name, for events, pages and logs; that of the kind by default.
    pub name: String,
    /// Path that is posted to; `/github-webhook`, `/gitlab-webhook`, … and for `generic` `/notify/<name>` by default.
    pub path: String,
    /// File with the secret; several lines are several secrets that count at the same time.
    pub secret_file: Option<PathBuf>,
    /// Files with secrets that count for some repositories only: `"owner/*" = "file"`.
    pub repo_secrets: std::collections::BTreeMap<String, PathBuf>,
    /// GitHub: old hooks that sign with SHA-1 alone are believed.
    pub allow_sha1: bool,
    /// Gerrit's plugin, which can neither sign nor show a token: networks that may post.
    pub from: Vec<Network>,
    /// Gerrit: address of the server for people (`https://review.example.org`), for events that do not say. Generic: address that git fetches from.
    pub url: String,
    /// Generic: topics of its events.
    pub topic: Vec<String>,
    /// Silence that is never worth an alarm, minutes; 0: no alarm at all.
    pub quiet_minutes: Option<u64>,
}

/// A Gerrit whose events are read over SSH.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stream {
    /// Name.
    #[serde(default = "gerrit_stream")]
    pub name: String,
    /// `user@host:port`.
    pub ssh: String,
    /// File with the private key.
    pub key_file: PathBuf,
    /// File with the server's public key, in the form of `known_hosts`.
    pub known_hosts_file: PathBuf,
    /// Address of the server for people.
    pub url: String,
    /// Program that is run instead of `ssh`.
    #[serde(default)]
    pub program: Option<PathBuf>,
    /// Silence that is never worth an alarm, minutes; 0: no alarm at all.
    #[serde(default)]
    pub quiet_minutes: Option<u64>,
}

fn gerrit_stream() -> String {
    "gerrit-stream".into()
}

/// A Gerrit whose mail is read.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mail {
    /// Name.
    #[serde(default = "gerrit_mail")]
    pub name: String,
    /// Address that mail servers connect to.
    #[serde(default = "port_25")]
    pub listen: String,
    /// Addresses that mail is taken for.
    pub rcpt: Vec<String>,
    /// Name of this machine in the MX record.
    pub hostname: String,
    /// Domains whose signatures count, with everything below them.
    #[serde(default = "google")]
    pub dkim_domains: Vec<String>,
    /// Hosts of envelope senders, exactly; empty: any.
    #[serde(default = "bounces")]
    pub envelope_hosts: Vec<String>,
    /// Fields that the signature does not cover are used if they are there once, instead of refusing the mail.
    #[serde(default)]
    pub take_unsigned_fields: bool,
    /// Certificate and key for `STARTTLS`; those of HTTPS by default.
    #[serde(default)]
    pub tls: Option<Files>,
    /// Name servers (`127.0.0.1:53`) to ask for keys; those of the machine by default.
    #[serde(default)]
    pub dns: Vec<std::net::SocketAddr>,
    /// Silence that is never worth an alarm, minutes; 0: no alarm at all.
    #[serde(default)]
    pub quiet_minutes: Option<u64>,
}

fn gerrit_mail() -> String {
    "gerrit-mail".into()
}

fn port_25() -> String {
    "0.0.0.0:25".into()
}

fn google() -> Vec<String> {
    vec!["google.com".into()]
}

fn bounces() -> Vec<String> {
    vec!["gerritcodereview.bounces.google.com".into()]
}

/// Silence that is never worth an alarm, unless the source says otherwise: nights are quiet.
const QUIET: Duration = Duration::from_secs(12 * 3600);

impl Source {
    /// Its kind as in the file.
    pub fn kind(&self) -> &'static str {
        match self {
            Source::Github(_) => "github",
            Source::Gitlab(_) => "gitlab",
            Source::Gitea(_) => "gitea",
            Source::GerritWebhooks(_) => "gerrit-webhooks",
            Source::Generic(_) => "generic",
            Source::GerritStream(_) => "gerrit-stream",
            Source::GerritMail(_) => "gerrit-mail",
        }
    }

    /// The part of those that post.
    pub fn hook(&self) -> Option<&Hook> {
        match self {
            Source::Github(hook) | Source::Gitlab(hook) | Source::Gitea(hook) | Source::GerritWebhooks(hook) | Source::Generic(hook) => Some(hook),
            Source::GerritStream(_) | Source::GerritMail(_) => None,
        }
    }

    fn hook_mut(&mut self) -> Option<&mut Hook> {
        match self {
            Source::Github(hook) | Source::Gitlab(hook) | Source::Gitea(hook) | Source::GerritWebhooks(hook) | Source::Generic(hook) => Some(hook),
            Source::GerritStream(_) | Source::GerritMail(_) => None,
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        match self {
            Source::GerritStream(stream) => &stream.name,
            Source::GerritMail(mail) => &mail.name,
            other => other.hook().map_or("", |hook| &hook.name),
        }
    }

    /// Silence that is never worth an alarm; `None`: no silence is.
    pub fn quiet(&self) -> Option<Duration> {
        let minutes = match self {
            Source::GerritStream(stream) => stream.quiet_minutes,
            Source::GerritMail(mail) => mail.quiet_minutes,
            other => other.hook().and_then(|hook| hook.quiet_minutes),
        };
        match minutes {
            Some(0) => None,
            Some(minutes) => Some(Duration::from_secs(minutes.saturating_mul(60))),
            None => Some(QUIET),
        }
    }
}

impl Config {
    /// Reads a file. Paths in it are relative to its folder.
    ///
    /// # Errors
    /// [`FileError`], with the line where there is one.
    pub fn load(path: &Path) -> Result<Config, FileError> {
        let mut config = Config::parse(path, &burrow_site::read_text(path)?)?;
        config.make_relative_to(&burrow_site::folder_of(path));
        Ok(config)
    }

    /// Reads a configuration; `path` is for messages.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn parse(path: &Path, text: &str) -> Result<Config, FileError> {
        let mut config: Config = burrow_site::parse_toml(path, text)?;
        config.complete();
        config.check()?;
        Ok(config)
    }

    fn make_relative_to(&mut self, folder: &Path) {
        self.data = folder.join(&self.data);
        if let Some(tls) = &mut self.tls {
            tls.anchor(folder);
        }
        let readers = self.reader.iter_mut().map(|reader| &mut reader.token_file);
        for path in readers.chain(self.alert.iter_mut().filter_map(|alert| alert.token_file.as_mut())) {
            *path = folder.join(&*path);
        }
        for source in &mut self.source {
            match source {
                Source::GerritStream(stream) => {
                    stream.key_file = folder.join(&stream.key_file);
                    stream.known_hosts_file = folder.join(&stream.known_hosts_file);
                }
                Source::GerritMail(mail) => {
                    if let Some(files) = &mut mail.tls {
                        files.anchor(folder);
                    }
                }
                other => {
                    for path in other.hook_mut().into_iter().flat_map(|hook| hook.secret_file.iter_mut().chain(hook.repo_secrets.values_mut())) {
                        *path = folder.join(&*path);
                    }
                }
            }
        }
    }

    /// Fills in names and paths that follow from others.
    pub fn complete(&mut self) {
        for source in &mut self.source {
            let kind = source.kind();
            if let Some(hook) = source.hook_mut() {
                if hook.name.is_empty() {
                    hook.name = hook.path.strip_prefix("/notify/").unwrap_or(kind).to_owned();
                }
                if hook.path.is_empty() {
                    hook.path = if kind == "generic" { format!("/notify/{}", hook.name) } else { format!("/{}-webhook", kind.trim_end_matches("-webhooks")) };
                }
                hook.url = hook.url.trim_end_matches('/').to_owned();
            } else if let Source::GerritStream(stream) = source {
                stream.url = stream.url.trim_end_matches('/').to_owned();
            }
        }
    }

    /// Looks at what no type checks.
    ///
    /// # Errors
    /// [`FileError::Value`].
    pub fn check(&self) -> Result<(), FileError> {
        let part = |what: String, why: String| Err(FileError::Value { what, why });
        for reader in &self.reader {
            Topics::parse(&reader.topics).map_err(|error| FileError::value(format_args!("reader {:?}", reader.name), error))?;
        }
        Topics::parse(&self.public_topics).map_err(|error| FileError::value("public_topics", error))?;
        let mut names = std::collections::BTreeSet::new();
        let mut paths = std::collections::BTreeSet::new();
        for source in &self.source {
            let name = source.name();
            let what = format!("source {name:?} ({})", source.kind());
            let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
            if name.is_empty() || name.len() > 60 || !name.chars().all(plain) {
                return part(what, "the name must be letters, digits, -, _ and ., at most 60".into());
            }
            if !names.insert(name.to_owned()) {
                return part(what, "another source has the same name; give each a `name`".into());
            }
            let Some(hook) = source.hook() else { continue };
            let proper = hook.path.starts_with('/') && hook.path.len() > 1 && hook.path.chars().all(|c| plain(c) || c == '/');
            if !proper || TAKEN.contains(&hook.path.as_str()) || hook.path.starts_with("/assets/") {
                return part(what, format!("the path {:?} cannot be posted to; something like \"/github-webhook\" can", hook.path));
            }
            if !paths.insert(hook.path.clone()) {
                return part(what, format!("another source has the path {:?}, too", hook.path));
            }
            if hook.secret_file.is_none() && hook.repo_secrets.is_empty() && (hook.from.is_empty() || !matches!(source, Source::GerritWebhooks(_))) {
                let also = if matches!(source, Source::GerritWebhooks(_)) { " or `from` (networks)" } else { "" };
                return part(what, format!("it needs a `secret_file`{also}: everybody could post otherwise"));
            }
            if hook.repo_secrets.len() > 100 {
                return part(what, "more than 100 `repo_secrets`; every one of them is tried for every post: make several sources".into());
            }
            if matches!(source, Source::Generic(_)) && hook.topic.is_empty() {
                return part(what, "it needs a `topic`, for example [\"git:git.example.org/team/app\"]".into());
            }
            Topics::parse(hook.topic.iter().chain(hook.repo_secrets.keys())).map_err(|error| FileError::value(&what, error))?;
        }
        Ok(())
    }
}

/// Paths that answer something else.
const TAKEN: &[&str] = &["/waitevent", "/recent", "/events", "/events.json", "/healthz", "/metrics", "/status.json"];
