//! Where the public keys of signers come from: DNS, through a cache.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use burrow_clock::SharedClock;
use mail_auth::MessageAuthenticator;
use mail_auth::common::parse::TxtRecordParser as _;
use mail_auth::common::verify::DomainKey;
use mail_auth::hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig, ResolverOpts};
use mail_auth::hickory_resolver::net::{DnsError, NetError};
use mail_auth::hickory_resolver::proto::op::ResponseCode;
use mail_auth::hickory_resolver::proto::rr::{Name, RData};
use tokio::sync::Semaphore;

use crate::{BoxFuture, Refusal};

/// The TXT records of a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Texts {
    /// Each record with its parts put together; empty: the name has none, or does not exist.
    pub records: Vec<Vec<u8>>,
    /// How long this holds.
    pub ttl: Duration,
}

/// A name could not be looked up; it may exist or not.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("TXT records of {name} could not be looked up: {why}")]
pub struct KeyError {
    /// Which name.
    pub name: String,
    /// What the resolver says.
    pub why: String,
}

/// Looks up TXT records.
pub trait Keys: Send + Sync + 'static {
    /// The TXT records of `name`, which ends in a dot.
    fn texts<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Texts, KeyError>>;
}

/// DNS.
pub struct DnsKeys(MessageAuthenticator);

impl std::fmt::Debug for DnsKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("DnsKeys")
    }
}

impl DnsKeys {
    /// The name servers that the machine uses (`/etc/resolv.conf`).
    ///
    /// # Errors
    /// They cannot be read.
    pub fn system() -> Result<DnsKeys, KeyError> {
        MessageAuthenticator::new_system_conf().map(DnsKeys).map_err(|error| KeyError { name: "/etc/resolv.conf".into(), why: error.to_string() })
    }

    /// These name servers, over UDP and, for long answers, TCP.
    ///
    /// # Errors
    /// The resolver cannot be made of them.
    pub fn at(servers: &[SocketAddr]) -> Result<DnsKeys, KeyError> {
        let servers = servers.iter().map(|server| {
            let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].into_iter().map(|mut connection| {
                connection.port = server.port();
                connection
            });
            NameServerConfig::new(server.ip(), true, connections.collect())
        });
        let mut options = ResolverOpts::default();
        // The cache is ours: it knows which names are worth keeping.
        options.cache_size = 0;
        options.use_hosts_file = mail_auth::hickory_resolver::config::ResolveHosts::Never;
        let config = ResolverConfig::from_parts(None, Vec::new(), servers.collect());
        MessageAuthenticator::new(config, options).map(DnsKeys).map_err(|error| KeyError { name: "name servers".into(), why: error.to_string() })
    }
}

impl Keys for DnsKeys {
    fn texts<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Texts, KeyError>> {
        let failed = move |why: String| KeyError { name: name.to_owned(), why };
        Box::pin(async move {
            let parsed = Name::from_str_relaxed(name).map_err(|error| failed(error.to_string()))?;
            match self.0.resolver().txt_lookup(parsed).await {
                Ok(found) => {
                    let texts = found.answers().iter().filter_map(|record| match &record.data {
                        RData::TXT(text) => Some(text.txt_data.concat()),
                        _ => None,
                    });
                    Ok(Texts { records: texts.collect(), ttl: found.valid_until().saturating_duration_since(Instant::now()) })
                }
                // "No such name" is an answer; so is "no TXT".
                Err(NetError::Dns(DnsError::NoRecordsFound(none))) if matches!(none.response_code, ResponseCode::NXDomain | ResponseCode::NoError) => {
                    Ok(Texts { records: Vec::new(), ttl: MISSING })
                }
                Err(error) => Err(failed(error.to_string())),
            }
        })
    }
}

/// How long it is believed that a key does not exist: a signer may publish it at any time.
const MISSING: Duration = Duration::from_secs(60);
/// How long a key is believed at least and at most, whatever its record says.
const SHORTEST: Duration = Duration::from_secs(60);
const LONGEST: Duration = Duration::from_secs(60 * 60);
/// Names in the cache. Signers have a few; the rest are made up.
const NAMES: usize = 1_000;
/// Look-ups at a time.
const AT_ONCE: usize = 16;

#[derive(Clone)]
struct Entry {
    /// `None`: there is none, or none that can be used.
    key: Option<Arc<DomainKey>>,
    /// Monotonic milliseconds.
    until: u64,
}

/// Keys that were looked up of late.
pub(crate) struct Cache {
    keys: Arc<dyn Keys>,
    clock: SharedClock,
    limit: Duration,
    known: Mutex<HashMap<String, Entry>>,
    asking: Semaphore,
}

impl Cache {
    pub(crate) fn new(keys: Arc<dyn Keys>, clock: SharedClock, limit: Duration) -> Cache {
        Cache { keys, clock, limit, known: Mutex::default(), asking: Semaphore::new(AT_ONCE) }
    }

    /// The key of this name.
    pub(crate) async fn get(&self, name: &str) -> Result<Arc<DomainKey>, Refusal> {
        if let Some(entry) = self.look(name) {
            return entry.key.ok_or(Refusal::NoKey);
        }
        let asked = tokio::time::timeout(self.limit, async {
            let _turn = self.asking.acquire().await;
            // Somebody else may have asked meanwhile.
            match self.look(name) {
                Some(entry) => Ok(entry),
                None => self.keys.texts(name).await.map(|texts| self.keep(name, &texts)),
            }
        });
        match asked.await {
            Ok(Ok(entry)) => entry.key.ok_or(Refusal::NoKey),
            Ok(Err(error)) => {
                tracing::warn!("{error}");
                Err(Refusal::KeyLookUp)
            }
            Err(_) => {
                tracing::warn!("TXT records of {name} could not be looked up within {:?}", self.limit);
                Err(Refusal::KeyLookUp)
            }
        }
    }

    fn look(&self, name: &str) -> Option<Entry> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(name).filter(|entry| entry.until > self.clock.monotonic_ms()).cloned()
    }

    fn keep(&self, name: &str, texts: &Texts) -> Entry {
        let now = self.clock.monotonic_ms();
        let key = texts.records.iter().find_map(|record| DomainKey::parse(record).ok()).map(Arc::new);
        let holds = if key.is_some() { texts.ttl.clamp(SHORTEST, LONGEST) } else { MISSING };
        let entry = Entry { key, until: now.saturating_add(u64::try_from(holds.as_millis()).unwrap_or(u64::MAX)) };
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= NAMES {
            known.retain(|_, entry| entry.until > now);
        }
        if known.len() >= NAMES {
            // Names that are made up do not push out those that exist.
            known.retain(|_, entry| entry.key.is_some());
        }
        if known.len() < NAMES {
            known.insert(name.to_owned(), entry.clone());
        }
        entry
    }
}
