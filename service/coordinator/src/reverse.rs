//! Machines that dial in: the reverse pool with its records in the database (`pools.md` §7, §11.8; `docs/worker-protocol.md`, Reverse mode).

use std::collections::{BTreeMap, HashSet};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use burrow_builders::{Config, PoolKind};
use burrow_clock::Clock;
use burrow_pool::machines::{Machine, MachineStore, NewToken, Redeemed, SecretHash, Seen, StoreError};
use burrow_pool::reverse::{Certificate, ClassicKeys, HostTypeRule, ReverseConfig, ReversePool};
use burrow_store::{Db, sql};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio_util::sync::CancellationToken;

/// Where machines dial in unless the configuration says otherwise.
pub const LISTEN: &str = "127.0.0.1:8119";
/// An enrolment token is good for so long.
pub const TOKEN_LIFE: Duration = Duration::from_secs(24 * 3600);

/// What is known of an enrolled machine, connected or not.
#[derive(Debug, Clone)]
pub(crate) struct Known {
    pub(crate) host_type: String,
    pub(crate) hostname: String,
    pub(crate) seen_ms: i64,
    pub(crate) revoked: bool,
}

/// Enrolled machines by id.
type Roster = Arc<Mutex<BTreeMap<String, Known>>>;

/// The reverse pool of a farm.
pub(crate) struct Reverse {
    pool: ReversePool,
    roster: Roster,
    draining: Mutex<HashSet<String>>,
    db: Db,
    /// Where it listens, with the port that was given.
    pub(crate) address: SocketAddr,
    stop: CancellationToken,
}

impl Drop for Reverse {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// The master key of classic programs (Go buildlets, dashboard clients), where the operator gave one to the reverse pool (`legacy_key`).
pub(crate) async fn legacy_key(config: &Config) -> Result<Option<String>, String> {
    for (name, pool) in &config.pools {
        let PoolKind::Reverse { legacy_key: Some(secret), .. } = &pool.kind else { continue };
        let secret = config.secrets.get(secret).ok_or_else(|| format!("pool {name}: there is no secret {secret:?}"))?;
        let key = secret.text(Path::new("."), |name| std::env::var(name).ok()).await.map_err(|e| format!("pool {name}: {e}"))?;
        return Ok(Some(key.reveal().trim().to_owned()));
    }
    Ok(None)
}

/// Starts the reverse pool if the configuration has one.
pub(crate) async fn start(config: &Config, data: &Path, db: Db, clock: Arc<dyn Clock>, events: burrow_pool::Events) -> Result<Option<Reverse>, String> {
    let mut pools = config.pools.iter().filter_map(|(name, pool)| match &pool.kind {
        PoolKind::Reverse { dev_key, grace, .. } => Some((name, *dev_key, *grace)),
        _ => None,
    });
    let Some((name, dev_key, grace)) = pools.next() else { return Ok(None) };
    if let Some((other, ..)) = pools.next() {
        return Err(format!("pools {name} and {other} are both of kind \"reverse\"; one is enough, host types divide it"));
    }
    let certificate = match &config.site.tls {
        Some(tls) => {
            let read = |path: &Path| std::fs::read(path).map_err(|e| format!("{}: {e}", path.display()));
            Certificate::from_pem(&read(tls.cert.as_ref())?, &read(tls.key.as_ref())?)
        }
        None => Certificate::kept_in(&data.join("tls")),
    };
    let certificate = certificate.map_err(|e| format!("the certificate for machines: {e}"))?;
    let host_types: BTreeMap<String, HostTypeRule> =
        config.hosts.iter().filter(|(_, h)| h.pool == *name).map(|(host, h)| (host.clone(), HostTypeRule { expected: h.expect })).collect();
    let mut settings = ReverseConfig::new(host_types, certificate.fingerprint, clock);
    settings.timing.grace = grace;
    if let Some(key) = legacy_key(config).await? {
        settings.classic = settings.classic.with_master_key(&key).map_err(|e| format!("pool {name}: {e}"))?;
    }
    if dev_key {
        settings.classic = ClassicKeys::with_public_dev_key(settings.classic);
    }
    let listen = config.site.worker_listen.as_deref().unwrap_or(LISTEN);
    let listener = tokio::net::TcpListener::bind(listen).await.map_err(|e| format!("the port for machines, {listen}: {e}; change worker_listen in [site]"))?;
    let address = listener.local_addr().map_err(|e| e.to_string())?;
    let draining = db.query("SELECT id FROM machines WHERE draining = 1", ()).await.map_err(|e| e.to_string())?;
    let draining: HashSet<String> = draining.iter().filter_map(|r| r.text(0).ok().map(str::to_owned)).collect();
    let roster = roster(&db).await.map_err(|e| e.to_string())?;
    let pool = ReversePool::new(settings, Arc::new(Records { db: db.clone(), roster: Arc::clone(&roster) }), events);
    let stop = CancellationToken::new();
    let (serving, until) = (pool.clone(), stop.clone());
    burrow_task::spawn(async move { serving.serve(listener, certificate.tls, None, until.cancelled_owned()).await });
    tracing::info!(%address, "Machines may dial in.");
    Ok(Some(Reverse { pool, roster, draining: Mutex::new(draining), db, address, stop }))
}

async fn roster(db: &Db) -> Result<Roster, burrow_store::Error> {
    let mut known = BTreeMap::new();
    for row in db.query("SELECT id, host_type, hostname, seen_ms, revoked FROM machines", ()).await? {
        let machine = Known { host_type: row.text(1)?.to_owned(), hostname: row.text(2)?.to_owned(), seen_ms: row.int(3)?, revoked: row.bool(4)? };
        known.insert(row.text(0)?.to_owned(), machine);
    }
    Ok(Arc::new(Mutex::new(known)))
}

fn with<T>(roster: &Roster, change: impl FnOnce(&mut BTreeMap<String, Known>) -> T) -> T {
    change(&mut roster.lock().unwrap_or_else(PoisonError::into_inner))
}

impl Reverse {
    /// Every machine that ever enrolled.
    pub(crate) fn known(&self) -> BTreeMap<String, Known> {
        with(&self.roster, |known| known.clone())
    }

    pub(crate) fn release(&self, id: &str) {
        let (pool, id) = (self.pool.clone(), id.to_owned());
        burrow_task::spawn(async move { pool.release(&id).await });
    }

    pub(crate) fn draining(&self, id: &str) -> bool {
        self.draining.lock().unwrap_or_else(PoisonError::into_inner).contains(id)
    }

    pub(crate) fn set_draining(&self, id: &str, on: bool) {
        let mut draining = self.draining.lock().unwrap_or_else(PoisonError::into_inner);
        if on {
            draining.insert(id.to_owned());
        } else {
            draining.remove(id);
        }
    }

    pub(crate) async fn token(&self, host_type: &str) -> Result<String, StoreError> {
        self.pool.create_token(Some(host_type.to_owned()), TOKEN_LIFE).await
    }

    /// A machine's key is worth nothing any more, and it is thrown out.
    pub(crate) async fn revoke(&self, id: &str) -> Result<bool, burrow_store::Error> {
        let known = !self.db.query("SELECT id FROM machines WHERE id = $1", (id,)).await?.is_empty();
        self.db.commit(vec![sql("UPDATE machines SET revoked = 1 WHERE id = $1", (id,))]).await?;
        with(&self.roster, |all| {
            if let Some(machine) = all.get_mut(id) {
                machine.revoked = true;
            }
        });
        self.pool.disconnect(id, "its key was revoked");
        Ok(known)
    }

    pub(crate) fn stop(&self) {
        self.stop.cancel();
        self.pool.stop_all();
    }
}

/// Machines and tokens as rows.
struct Records {
    db: Db,
    roster: Roster,
}

fn failed(error: impl std::error::Error + Send + Sync + 'static) -> StoreError {
    StoreError(Box::new(error))
}

fn hex(hash: &SecretHash) -> String {
    hash.0.iter().map(|b| format!("{b:02x}")).collect()
}

fn from_hex(text: &str) -> Option<SecretHash> {
    let mut out = [0u8; 32];
    for (at, byte) in out.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(at * 2..at * 2 + 2)?, 16).ok()?;
    }
    Some(SecretHash(out))
}

impl MachineStore for Records {
    fn create_token(&self, token: NewToken) -> BoxFuture<'_, Result<(), StoreError>> {
        let insert = sql(
            "INSERT INTO tokens (hash, host_type, expires_ms) VALUES ($1, $2, $3) ON CONFLICT (hash) DO NOTHING",
            (hex(&token.hash), token.host_type.unwrap_or_default(), token.expires_ms),
        );
        async move { self.db.commit(vec![insert]).await.map_err(failed) }.boxed()
    }

    fn redeem(&self, token: SecretHash, now_ms: i64, machine: Machine) -> BoxFuture<'_, Result<Redeemed, StoreError>> {
        async move {
            let hash = hex(&token);
            // The token is spent by writing who spent it: of two machines that come at once, one finds its own id there.
            let spend = "UPDATE tokens SET used_ms = $2, spent_by = $3 WHERE hash = $1 AND used_ms IS NULL AND expires_ms > $2 AND (host_type = '' OR host_type = $4)";
            self.db.commit(vec![sql(spend, (&hash, now_ms, &machine.id, &machine.host_type))]).await.map_err(failed)?;
            let rows = self.db.query("SELECT host_type, used_ms, spent_by, expires_ms FROM tokens WHERE hash = $1", (&hash,)).await.map_err(failed)?;
            let Some(row) = rows.first() else { return Ok(Redeemed::Refused) };
            if row.opt_text(2).map_err(failed)? != Some(&machine.id) {
                let unused = row.opt_int(1).map_err(failed)?.is_none() && row.int(3).map_err(failed)? > now_ms;
                return Ok(if unused { Redeemed::OtherHostType(row.text(0).map_err(failed)?.to_owned()) } else { Redeemed::Refused });
            }
            let insert = sql(
                "INSERT INTO machines (id, host_type, hostname, secret_hash, enrolled_ms, seen_ms, revoked, draining, note) VALUES ($1, $2, $3, $4, $5, $5, 0, 0, '') \
                 ON CONFLICT (id) DO NOTHING",
                (&machine.id, &machine.host_type, &machine.hostname, hex(&machine.secret), machine.enrolled_ms),
            );
            self.db.commit(vec![insert]).await.map_err(failed)?;
            let known = Known { host_type: machine.host_type, hostname: machine.hostname, seen_ms: machine.enrolled_ms, revoked: false };
            with(&self.roster, |all| all.insert(machine.id, known));
            Ok(Redeemed::Enrolled)
        }
        .boxed()
    }

    fn find<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<Option<Machine>, StoreError>> {
        async move {
            let query = "SELECT host_type, hostname, secret_hash, enrolled_ms, revoked FROM machines WHERE id = $1";
            let rows = self.db.query(query, (id,)).await.map_err(failed)?;
            let Some(row) = rows.first() else { return Ok(None) };
            let Some(secret) = from_hex(row.text(2).map_err(failed)?) else { return Ok(None) };
            Ok(Some(Machine {
                id: id.to_owned(),
                secret,
                host_type: row.text(0).map_err(failed)?.to_owned(),
                hostname: row.text(1).map_err(failed)?.to_owned(),
                enrolled_ms: row.int(3).map_err(failed)?,
                revoked: row.bool(4).map_err(failed)?,
            }))
        }
        .boxed()
    }

    fn touch<'a>(&'a self, id: &'a str, seen: Seen) -> BoxFuture<'a, Result<(), StoreError>> {
        with(&self.roster, |all| {
            if let Some(machine) = all.get_mut(id) {
                machine.seen_ms = seen.at_ms;
                machine.hostname.clone_from(&seen.hostname);
            }
        });
        let update = sql("UPDATE machines SET seen_ms = $2, hostname = $3 WHERE id = $1", (id, seen.at_ms, seen.hostname));
        async move { self.db.commit(vec![update]).await.map_err(failed) }.boxed()
    }
}
