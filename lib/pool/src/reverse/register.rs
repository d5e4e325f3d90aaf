//! Registration and enrolment (`spec/pools.md` §7.1, §11.8; `docs/worker-protocol.md`, Reverse mode).

use std::sync::Arc;
use std::time::Duration;

use burrow_buildlet_client::{Client, Status};
use burrow_revdial::{BoxStream, Dialer};
use protocol_revdial::{Enrolled, MIN_BUILDLET_VERSION, Refusal, Registration, RequestHead, SWITCHING_CLASSIC, switching_with_session};
use serde::{Deserialize, Serialize};
use tokio::io::AsyncWriteExt;
use tokio::time::timeout;

use super::link::Link;
use super::machine::live;
use super::{Entry, Shared, hex};
use crate::heartbeat::{Probe, describe};
use crate::machines::{Machine, Redeemed, SecretHash, Seen, StoreError};
use crate::{PoolEvent, Worker};

/// A machine has so long to answer its first `GET /status`.
const FIRST_STATUS: Duration = Duration::from_secs(20);
/// A connected machine whose identity is claimed by another has so long to show that it lives.
const STILL_THERE: Duration = Duration::from_secs(5);
/// Where machines pick connections up.
const PICKUP_PATH: &str = "/revdial";

/// Why a registration was not admitted.
pub(super) enum Turned {
    /// With an answer.
    Away(Refusal),
    /// The machine records could not be read: 503.
    Store(StoreError),
}

/// Whom a registration was recognised as.
struct Identity {
    id: String,
    /// As enrolled; a classic machine has no record.
    record: bool,
}

/// An id in the middle of a registration; given free when dropped.
struct Joining<'a> {
    shared: &'a Shared,
    id: String,
}

impl Drop for Joining<'_> {
    fn drop(&mut self) {
        self.shared.lock().joining.remove(&self.id);
    }
}

impl Shared {
    /// Steps 1–5 of the table, then the host type.
    async fn admit(&self, head: &RequestHead, over_tls: bool) -> Result<(Registration, Identity), Turned> {
        let registration = Registration::read(head, over_tls).map_err(Turned::Away)?;
        let identity = match &registration.enrolled {
            Some(Enrolled { machine: Some(machine), secret, .. }) => {
                let record = self.store.find(machine).await.map_err(Turned::Store)?;
                let given = SecretHash::of(secret.as_deref().unwrap_or_default());
                let record = record.filter(|r| !r.revoked && secret.is_some() && r.secret.matches(&given)).ok_or(Turned::Away(Refusal::UnknownMachine))?;
                if record.host_type != registration.host_type {
                    return Err(Turned::Away(Refusal::OtherHostType { enrolled: record.host_type }));
                }
                Identity { id: record.id, record: true }
            }
            _ => {
                let key = registration.key.as_deref().unwrap_or_default();
                if !self.config.classic.accept(&registration.host_type, key) {
                    return Err(Turned::Away(Refusal::InvalidKey));
                }
                Identity { id: String::new(), record: false }
            }
        };
        if !self.config.host_types.contains_key(&registration.host_type) {
            return Err(Turned::Away(Refusal::UnknownHostType { host_type: registration.host_type }));
        }
        Ok((registration, identity))
    }

    /// Reserves the id. A machine that comes back may have its own; a classic one gets a free one made from its host name.
    async fn reserve(&self, registration: &Registration, mut identity: Identity) -> Result<Joining<'_>, Refusal> {
        let instance = registration.enrolled.as_ref().map(|e| e.instance.as_str());
        if !identity.record {
            identity.id = self.classic_id(registration, instance);
        }
        let id = identity.id;
        let rival = {
            let mut state = self.lock();
            if state.stopped || (state.machines.len() + state.joining.len() >= self.config.max_machines) {
                return Err(Refusal::Full);
            }
            if !state.joining.insert(id.clone()) {
                return Err(Refusal::MachineIsConnected);
            }
            state
                .machines
                .get(&id)
                .filter(|entry| instance != Some(entry.instance.as_str()))
                .map(|entry| (entry.serial, entry.link.dialer().map(|_| entry.client.clone())))
        };
        let joining = Joining { shared: self, id };
        if let Some((serial, reachable)) = rival {
            // A new process of this machine, or somebody with a copy of its secret: whoever is there and answers, stays.
            if let Some(client) = reachable
                && matches!(timeout(STILL_THERE, Probe::new(client).status()).await, Ok(Ok(_)))
            {
                return Err(Refusal::MachineIsConnected);
            }
            let mut state = self.lock();
            self.lose(&mut state, &joining.id, serial, "the machine started its worker anew");
        }
        Ok(joining)
    }

    fn classic_id(&self, registration: &Registration, instance: Option<&str>) -> String {
        let state = self.lock();
        let back = state
            .machines
            .iter()
            .find(|(id, entry)| id.starts_with("classic-") && entry.host_type == registration.host_type && instance == Some(entry.instance.as_str()));
        if let Some((id, _)) = back {
            return id.clone();
        }
        let name: String =
            registration.hostname.chars().take(100).map(|c| if c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-') { c } else { '_' }).collect();
        let base = format!("classic-{name}");
        let mut id = base.clone();
        let mut number = 1;
        // Two machines of one name both get in, told apart.
        while state.machines.contains_key(&id) || state.joining.contains(&id) {
            number += 1;
            id = format!("{base}~{number}");
        }
        id
    }
}

/// Answers a registration and, if it is admitted, takes the machine into the pool.
pub(super) async fn register(shared: &Arc<Shared>, mut stream: BoxStream, head: &RequestHead, surplus: &[u8], address: String) -> std::io::Result<()> {
    let reserved = match shared.admit(head, true).await {
        Ok((registration, identity)) => match shared.reserve(&registration, identity).await {
            Ok(joining) => Ok((registration, joining)),
            Err(refusal) => Err(Turned::Away(refusal)),
        },
        Err(turned) => Err(turned),
    };
    let (registration, joining) = match reserved {
        Ok(admitted) => admitted,
        Err(Turned::Away(refusal)) => {
            tracing::info!(address, %refusal, "a machine's registration was refused");
            stream.write_all(&refusal.answer()).await?;
            return stream.shutdown().await;
        }
        Err(Turned::Store(error)) => {
            tracing::error!(%error, "a machine could not register");
            let answer = protocol_revdial::error_answer(503, "the coordinator cannot read its machine records; try again", &[]);
            stream.write_all(&answer).await?;
            return stream.shutdown().await;
        }
    };
    let answer = match &registration.enrolled {
        Some(_) => switching_with_session(&hex(&rand::random::<[u8; 16]>())),
        None => None,
    };
    stream.write_all(answer.as_deref().unwrap_or(SWITCHING_CLASSIC)).await?;
    // The head must leave in a TLS record of its own: Go's buildlet drops what shares one with it (T2).
    stream.flush().await?;
    let dialer = Dialer::new(stream, surplus, PICKUP_PATH, &shared.dialers);
    let link = Link::new(dialer.clone());
    let client = Client::over(link.clone());
    let mut probe = Probe::new(client.clone());
    let checked = match timeout(FIRST_STATUS, probe.status()).await {
        Ok(Ok(status)) => check(&registration, status),
        Ok(Err(error)) => Err(describe(&error)),
        Err(_) => Err(format!("it did not answer within {} s", FIRST_STATUS.as_secs())),
    };
    let status = match checked {
        Ok(status) => status,
        Err(reason) => {
            tracing::warn!(machine = %joining.id, address, reason, "a machine registered, but cannot be used");
            dialer.close();
            return Ok(());
        }
    };
    let seen = Seen { at_ms: shared.now_ms(), hostname: registration.hostname.clone(), address: address.clone(), version: status.version };
    if registration.enrolled.as_ref().is_some_and(|e| e.machine.is_some())
        && let Err(error) = shared.store.touch(&joining.id, seen).await
    {
        tracing::warn!(machine = %joining.id, %error, "it could not be noted that a machine joined");
    }
    join(shared, joining, registration, status, address, dialer, link, client, probe);
    Ok(())
}

/// Whether a registered machine may be used.
fn check(registration: &Registration, status: Status) -> Result<Status, String> {
    if status.version < MIN_BUILDLET_VERSION {
        return Err(format!("its buildlet has version {}, and {MIN_BUILDLET_VERSION} is needed", status.version));
    }
    if let Some(enrolled) = &registration.enrolled {
        match &status.burrow {
            None => return Err("it named an instance, but its status does not".into()),
            Some(burrow) if burrow.instance != enrolled.instance => {
                return Err("its status names another instance than its registration".into());
            }
            Some(_) => {}
        }
    }
    Ok(status)
}

#[allow(clippy::too_many_arguments, reason = "one call; a struct of the same fields would say nothing more")]
fn join(
    shared: &Arc<Shared>,
    joining: Joining<'_>,
    registration: Registration,
    status: Status,
    address: String,
    dialer: Dialer,
    link: Arc<Link>,
    client: Client,
    probe: Probe,
) {
    let id = joining.id.clone();
    let now = shared.now_ms();
    let enrolled_instance = registration.enrolled.map(|e| e.instance);
    let mut guard = shared.lock();
    let state = &mut *guard;
    if state.stopped {
        dialer.close();
        drop(guard);
        return;
    }
    state.joining.remove(&id);
    state.last_seen.insert((registration.host_type.clone(), registration.hostname.clone()), now);
    if let Some(entry) = state.machines.get_mut(&id) {
        // The same instance, back on another connection: whoever holds its client goes on.
        tracing::info!(machine = %id, address, "a machine came back");
        entry.address = address;
        entry.link.replace(dialer);
        return;
    }
    let serial = state.next_serial;
    state.next_serial += 1;
    let burrow = status.burrow.as_ref();
    // A machine is modern when it says so itself in both places; a Go coordinator's peer without the headers is treated as classic.
    let modern = burrow.is_some() && enrolled_instance.is_some();
    let instance = enrolled_instance.clone().unwrap_or_else(|| hex(&rand::random::<[u8; 16]>()));
    let worker = Worker {
        id: id.clone(),
        pool: "reverse".into(),
        host_type: registration.host_type.clone(),
        hostname: registration.hostname.clone(),
        address: address.clone(),
        version: status.version,
        instance: instance.clone(),
        modern,
        slots: burrow.map_or(1, |b| b.slots.max(1)),
        client: client.clone(),
    };
    let entry = Entry {
        serial,
        instance,
        modern,
        host_type: registration.host_type,
        hostname: registration.hostname,
        address,
        version: status.version,
        connected_ms: now,
        busy: false,
        since_ms: now,
        unreachable: None,
        link: link.clone(),
        client: client.clone(),
    };
    tracing::info!(machine = %id, host_type = %worker.host_type, address = %worker.address, version = worker.version, "a machine joined");
    state.machines.insert(id.clone(), entry);
    // Told under the lock, so that its loss can never be told first.
    shared.tell(PoolEvent::Up(worker));
    if state.draining.contains(&id) {
        shared.tell(PoolEvent::Draining { id: id.clone(), draining: true });
    }
    burrow_task::spawn(live(shared.clone(), id, serial, enrolled_instance, link, client, dialer, probe));
}

/// Body of `POST /enroll`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EnrollRequest {
    token: String,
    hostname: String,
    host_type: String,
}

/// Its answer.
#[derive(Serialize)]
struct EnrollReply {
    machine: String,
    secret: String,
}

/// Turns a token into a machine: status and JSON body.
pub(super) async fn enroll(shared: &Shared, body: &[u8]) -> (u16, Vec<u8>) {
    let refuse = |status: u16, why: &str| (status, serde_json::json!({ "error": why }).to_string().into_bytes());
    let request: EnrollRequest = match serde_json::from_slice(body) {
        Ok(request) => request,
        Err(error) => return refuse(400, &format!("send token, hostname and host_type as JSON: {error}")),
    };
    let named = |text: &str| !text.is_empty() && text.len() <= 200 && !text.chars().any(char::is_control);
    if !named(&request.hostname) || !named(&request.host_type) {
        return refuse(400, "hostname and host_type must be 1 to 200 characters without control characters");
    }
    // Before the token is used up, so that a typing error does not cost one.
    if !shared.config.host_types.contains_key(&request.host_type) {
        let known: Vec<&str> = shared.config.host_types.keys().map(String::as_str).take(50).collect();
        return refuse(400, &format!("unknown host type {:?}; this coordinator knows {}", request.host_type, known.join(", ")));
    }
    let token = request.token.trim().split('.').next().unwrap_or_default();
    let (id, secret) = (format!("m-{}", hex(&rand::random::<[u8; 8]>())), hex(&rand::random::<[u8; 32]>()));
    let now = shared.now_ms();
    let machine =
        Machine { id: id.clone(), secret: SecretHash::of(&secret), host_type: request.host_type, hostname: request.hostname, enrolled_ms: now, revoked: false };
    match shared.store.redeem(SecretHash::of(token), now, machine).await {
        Ok(Redeemed::Enrolled) => {
            tracing::info!(machine = %id, "a machine was enrolled");
            match serde_json::to_vec(&EnrollReply { machine: id, secret }) {
                Ok(reply) => (200, reply),
                Err(error) => refuse(500, &error.to_string()),
            }
        }
        Ok(Redeemed::Refused) => refuse(403, "the token is unknown, was used, or has expired; ask for a new one"),
        Ok(Redeemed::OtherHostType(only)) => refuse(403, &format!("the token is for machines of host type {only} only")),
        Err(error) => {
            tracing::error!(%error, "a machine could not be enrolled");
            refuse(503, "the coordinator cannot write its machine records; try again")
        }
    }
}
