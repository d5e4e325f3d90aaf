//! Machines that dial in (`spec/pools.md` §7, §11.8–9; `spec/buildlet.md` §6, §7; `docs/worker-protocol.md`, Reverse mode).
//!
//! [`ReversePool::serve`] answers `GET /reverse` (a machine registers), `GET /revdial` (a machine brings a connection that was asked for) and `POST
//! /enroll` (a token becomes a machine) on a TLS port, and can pass every other connection on, so that a coordinator's pages share the port.
//!
//! A machine is admitted with a secret of its own, or, where that is switched on, with the classic key of its host type. Modern machines whose control
//! connection breaks may come back under the same instance: their client goes on working and nobody hears of it but the display.

mod certificate;
mod link;
mod machine;
mod register;
mod serve;
mod snapshot;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use burrow_buildlet_client::Client;
use burrow_clock::SharedClock;
use burrow_revdial::Dialers;
use protocol_revdial::{DEV_MASTER_KEY, EmptyMasterKey, builder_key, keys_equal};

pub use certificate::{Certificate, CertificateError};
pub use serve::{Fallback, PassedOn};
pub use snapshot::{Absent, HostTypeSnapshot, MachineSnapshot, ReverseSnapshot};

use crate::machines::{MachineStore, NewToken, SecretHash, StoreError};
use crate::{Events, PoolEvent, Timing};
use link::Link;

/// What a host type of the reverse pool promises.
#[derive(Clone, Debug, Default)]
pub struct HostTypeRule {
    /// How many machines should be connected; 0 promises none. Shown as missing when there are fewer.
    pub expected: u32,
}

/// The classic keys accepted, if any: only for stock Go programs. Nothing by default.
#[derive(Clone, Default)]
pub struct ClassicKeys {
    master: Option<String>,
    dev: bool,
}

impl fmt::Debug for ClassicKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClassicKeys").field("master", &self.master.is_some()).field("dev", &self.dev).finish()
    }
}

impl ClassicKeys {
    /// Accepts keys made from this master key (`spec/pools.md` §7.1). White space around it is no part of it.
    ///
    /// # Errors
    /// [`EmptyMasterKey`]: it would let everybody in.
    pub fn with_master_key(mut self, key: &str) -> Result<ClassicKeys, EmptyMasterKey> {
        builder_key(key, "")?;
        self.master = Some(key.trim().to_owned());
        Ok(self)
    }

    /// Accepts the key everybody knows, which stock Go buildlets send to any coordinator whose name does not begin with `farmer.golang.org`:
    /// **whoever reaches the port may join.** Only for networks without enemies.
    pub fn with_public_dev_key(mut self) -> ClassicKeys {
        self.dev = true;
        self
    }

    fn accept(&self, host_type: &str, given: &str) -> bool {
        let masters = self.master.as_deref().into_iter().chain(self.dev.then_some(DEV_MASTER_KEY));
        let mut accepted = false;
        for master in masters {
            // No early return, so that the time does not tell which key was tried.
            accepted |= builder_key(master, host_type).is_ok_and(|wanted| keys_equal(given, &wanted));
        }
        accepted
    }
}

/// Settings of a reverse pool.
#[derive(Clone, Debug)]
pub struct ReverseConfig {
    /// The host types that may join; others are refused with a reason.
    pub host_types: BTreeMap<String, HostTypeRule>,
    /// Keys for stock Go programs.
    pub classic: ClassicKeys,
    /// SHA-256 of the certificate served, which enrolment tokens carry.
    pub certificate: [u8; 32],
    /// No more machines than this.
    pub max_machines: usize,
    /// How death is noticed.
    pub timing: Timing,
    /// What time it is, for tokens and display.
    pub clock: SharedClock,
}

impl ReverseConfig {
    /// No classic keys, at most 10,000 machines, default timing.
    pub fn new(host_types: BTreeMap<String, HostTypeRule>, certificate: [u8; 32], clock: SharedClock) -> ReverseConfig {
        ReverseConfig { host_types, classic: ClassicKeys::default(), certificate, max_machines: 10_000, timing: Timing::default(), clock }
    }
}

/// The handle of a reverse pool. Clones are the same pool.
#[derive(Clone)]
pub struct ReversePool {
    shared: Arc<Shared>,
}

impl fmt::Debug for ReversePool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReversePool").field("machines", &self.shared.lock().machines.len()).finish_non_exhaustive()
    }
}

struct Shared {
    config: ReverseConfig,
    store: Arc<dyn MachineStore>,
    events: Events,
    dialers: Dialers,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    machines: BTreeMap<String, Entry>,
    /// Ids whose registration is under way.
    joining: HashSet<String>,
    /// Ids that are to get no more builds; kept while a machine is away.
    draining: HashSet<String>,
    /// (host type, host name) → Unix milliseconds when a machine was seen last.
    last_seen: HashMap<(String, String), i64>,
    /// Numbers the entries, so that a late loss of an old one does not hit its successor.
    next_serial: u64,
    stopped: bool,
}

/// A machine that is connected, or away for less than the grace time.
struct Entry {
    serial: u64,
    instance: String,
    modern: bool,
    /// Whether it joined with a classic key: then its id was made from its host name.
    host_type: String,
    hostname: String,
    address: String,
    version: u32,
    connected_ms: i64,
    busy: bool,
    /// Since when it is busy or idle.
    since_ms: i64,
    /// Why it is unreachable at the moment.
    unreachable: Option<String>,
    link: Arc<Link>,
    client: Client,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it is held; each change below is whole before the lock is given up.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, event: PoolEvent) {
        // Nobody listens any more only while the coordinator stops.
        let _ = self.events.send(event);
    }

    fn now_ms(&self) -> i64 {
        self.config.clock.now_ms()
    }

    /// Takes a machine out of the pool, if it still is that one, and tells of it: the only place where machines are lost, so it happens once.
    fn lose(&self, state: &mut State, id: &str, serial: u64, reason: &str) -> bool {
        if state.machines.get(id).is_none_or(|e| e.serial != serial) {
            return false;
        }
        let Some(entry) = state.machines.remove(id) else {
            return false;
        };
        entry.link.close(reason);
        state.last_seen.insert((entry.host_type, entry.hostname), self.now_ms());
        tracing::info!(machine = %id, %reason, "a reverse machine was lost");
        self.tell(PoolEvent::Lost { id: id.to_owned(), instance: entry.instance, reason: reason.to_owned() });
        true
    }
}

impl ReversePool {
    /// A pool without machines; [`ReversePool::serve`] lets them in.
    pub fn new(config: ReverseConfig, machines: Arc<dyn MachineStore>, events: Events) -> ReversePool {
        ReversePool { shared: Arc::new(Shared { config, store: machines, events, dialers: Dialers::default(), state: Mutex::default() }) }
    }

    /// Makes an enrolment token, good for one machine within `valid_for`, of that host type if one is given. It is shown once and stored only as a hash.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn create_token(&self, host_type: Option<String>, valid_for: Duration) -> Result<String, StoreError> {
        let secret = hex(&rand::random::<[u8; 16]>());
        let valid_ms = i64::try_from(valid_for.as_millis()).unwrap_or(i64::MAX);
        let token = NewToken { hash: SecretHash::of(&secret), host_type, expires_ms: self.shared.now_ms().saturating_add(valid_ms) };
        self.shared.store.create_token(token).await?;
        Ok(format!("{secret}.{}", hex(&self.shared.config.certificate)))
    }

    /// Says whether a worker has a build, for display.
    pub fn set_busy(&self, id: &str, busy: bool) {
        let now = self.shared.now_ms();
        if let Some(entry) = self.shared.lock().machines.get_mut(id)
            && entry.busy != busy
        {
            entry.busy = busy;
            entry.since_ms = now;
        }
    }

    /// A build has left the worker. A modern one is used again. A classic one is told to halt and lost: its supervisor starts it again, and
    /// registering anew is what returns it (`spec/buildlet.md` §1). Returns when that is done.
    pub async fn release(&self, id: &str) {
        let (client, serial) = {
            let state = self.shared.lock();
            match state.machines.get(id) {
                Some(entry) if !entry.modern => (entry.client.clone(), entry.serial),
                _ => {
                    drop(state);
                    return self.set_busy(id, false);
                }
            }
        };
        if let Err(error) = client.halt().await {
            tracing::debug!(machine = %id, %error, "a buildlet could not be told to halt");
        }
        let mut state = self.shared.lock();
        self.shared.lose(&mut state, id, serial, "released after its build; it registers anew");
    }

    /// Says whether a machine is to get no more builds. It is remembered while the machine is away.
    pub fn drain(&self, id: &str, draining: bool) {
        let mut state = self.shared.lock();
        let changed = if draining { state.draining.insert(id.to_owned()) } else { state.draining.remove(id) };
        if changed {
            self.shared.tell(PoolEvent::Draining { id: id.to_owned(), draining });
        }
    }

    /// Throws a machine out, for example after it was revoked; false if it is not connected.
    pub fn disconnect(&self, id: &str, reason: &str) -> bool {
        let mut state = self.shared.lock();
        let Some(serial) = state.machines.get(id).map(|e| e.serial) else {
            return false;
        };
        self.shared.lose(&mut state, id, serial, reason)
    }

    /// Closes all connections, without events, and lets no more machines in. The machines are not ours to stop: modern ones keep their builds
    /// running and come back to the next coordinator.
    pub fn stop_all(&self) {
        let mut state = self.shared.lock();
        state.stopped = true;
        for entry in std::mem::take(&mut state.machines).into_values() {
            entry.link.close("the coordinator stops");
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}
