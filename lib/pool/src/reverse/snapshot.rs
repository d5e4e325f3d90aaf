//! What the pages show of the reverse pool (`spec/pools.md` §7.4, §9).

use std::collections::BTreeMap;

use serde::Serialize;
use serde::ser::SerializeMap;

use super::ReversePool;

/// One machine.
#[derive(Clone, Debug, Serialize)]
pub struct MachineSnapshot {
    /// [`crate::Worker::id`]
    pub id: String,
    /// As it calls itself; untrusted text.
    pub hostname: String,
    /// What kind of machine it is.
    pub host_type: String,
    /// Where it connected from.
    pub address: String,
    /// `Version` of its status.
    pub version: u32,
    /// Whether it speaks the modern endpoints.
    pub modern: bool,
    /// Its instance.
    pub instance: String,
    /// Unix milliseconds since it is connected.
    pub connected_ms: i64,
    /// Whether it has a build.
    pub busy: bool,
    /// Unix milliseconds since it is busy, or idle.
    pub since_ms: i64,
    /// Why it cannot be reached at the moment.
    pub unreachable: Option<String>,
    /// Whether it gets no more builds.
    pub draining: bool,
}

/// A machine that was here and is not.
#[derive(Clone, Debug, Serialize)]
pub struct Absent {
    /// Its host type then.
    pub host_type: String,
    /// Its host name then.
    pub hostname: String,
    /// Unix milliseconds.
    pub last_seen_ms: i64,
}

/// The machines of one host type. Types that are configured are always there.
#[derive(Clone, Debug, Default, Serialize)]
pub struct HostTypeSnapshot {
    /// How many there should be; 0 promises none.
    pub expected: u32,
    /// How many there are.
    pub connected: u32,
    /// Of these, with a build.
    pub busy: u32,
    /// Of these, without.
    pub idle: u32,
    /// How many fewer than expected.
    pub missing: u32,
    /// By host name.
    pub machines: Vec<MachineSnapshot>,
}

/// The reverse pool at one moment.
#[derive(Clone, Debug, Serialize)]
pub struct ReverseSnapshot {
    /// Unix milliseconds of that moment.
    pub now_ms: i64,
    /// By name.
    pub host_types: BTreeMap<String, HostTypeSnapshot>,
    /// Machines seen since the coordinator's start which are gone, by host name.
    pub absent: Vec<Absent>,
}

impl ReversePool {
    /// What the pages show.
    pub fn snapshot(&self) -> ReverseSnapshot {
        let now_ms = self.shared.now_ms();
        let mut host_types: BTreeMap<String, HostTypeSnapshot> = self
            .shared
            .config
            .host_types
            .iter()
            .map(|(name, rule)| (name.clone(), HostTypeSnapshot { expected: rule.expected, ..HostTypeSnapshot::default() }))
            .collect();
        let state = self.shared.lock();
        for (id, entry) in &state.machines {
            let of_type = host_types.entry(entry.host_type.clone()).or_default();
            of_type.connected += 1;
            if entry.busy {
                of_type.busy += 1;
            } else {
                of_type.idle += 1;
            }
            of_type.machines.push(MachineSnapshot {
                id: id.clone(),
                hostname: entry.hostname.clone(),
                host_type: entry.host_type.clone(),
                address: entry.address.clone(),
                version: entry.version,
                modern: entry.modern,
                instance: entry.instance.clone(),
                connected_ms: entry.connected_ms,
                busy: entry.busy,
                since_ms: entry.since_ms,
                unreachable: entry.unreachable.clone(),
                draining: state.draining.contains(id),
            });
        }
        for of_type in host_types.values_mut() {
            of_type.missing = of_type.expected.saturating_sub(of_type.connected);
            of_type.machines.sort_by(|a, b| (&a.hostname, &a.id).cmp(&(&b.hostname, &b.id)));
        }
        let mut absent: Vec<Absent> = state
            .last_seen
            .iter()
            .filter(|((host_type, hostname), _)| !state.machines.values().any(|e| e.host_type == *host_type && e.hostname == *hostname))
            .map(|((host_type, hostname), last)| Absent { host_type: host_type.clone(), hostname: hostname.clone(), last_seen_ms: *last })
            .collect();
        absent.sort_by(|a, b| (&a.hostname, &a.host_type).cmp(&(&b.hostname, &b.host_type)));
        ReverseSnapshot { now_ms, host_types, absent }
    }
}

impl ReverseSnapshot {
    /// `GET /status/reverse.json` byte for byte as Go programs read it (`spec/pools.md` §9): tab-indented, no line end, `waiters` by host type.
    pub fn to_go_json(&self, waiters: &BTreeMap<String, u64>) -> String {
        let mut out = Vec::new();
        let format = serde_json::ser::PrettyFormatter::with_indent(b"\t");
        let mut serializer = serde_json::Serializer::with_formatter(&mut out, format);
        // Writing numbers, strings and maps into memory does not fail.
        let written = GoStatus { snapshot: self, waiters }.serialize(&mut serializer);
        debug_assert!(written.is_ok());
        String::from_utf8(out).unwrap_or_default()
    }
}

struct GoStatus<'a> {
    snapshot: &'a ReverseSnapshot,
    waiters: &'a BTreeMap<String, u64>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct GoHostType<'a> {
    host_type: &'a str,
    connected: u32,
    expect: u32,
    idle: u32,
    busy: u32,
    waiters: u64,
    machines: Option<BTreeMap<String, GoMachine<'a>>>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct GoMachine<'a> {
    name: &'a str,
    host_type: &'a str,
    connected_sec: f64,
    #[serde(skip_serializing_if = "is_zero")]
    idle_sec: f64,
    #[serde(skip_serializing_if = "is_zero")]
    busy_sec: f64,
    version: String,
    busy: bool,
}

fn is_zero(number: &f64) -> bool {
    *number == 0.0
}

impl Serialize for GoStatus<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let seconds = |since_ms: i64| (self.snapshot.now_ms - since_ms).max(0) as f64 / 1000.0;
        let host_types: BTreeMap<&str, GoHostType<'_>> = self
            .snapshot
            .host_types
            .iter()
            .filter(|(_, of_type)| of_type.expected > 0 || of_type.connected > 0)
            .map(|(name, of_type)| {
                let mut machines = BTreeMap::new();
                for machine in &of_type.machines {
                    // Two machines of one name must not hide each other.
                    let key = if machines.contains_key(&machine.hostname) { &machine.id } else { &machine.hostname };
                    let state_seconds = seconds(machine.since_ms);
                    let go = GoMachine {
                        name: &machine.hostname,
                        host_type: name,
                        connected_sec: seconds(machine.connected_ms),
                        idle_sec: if machine.busy { 0.0 } else { state_seconds },
                        busy_sec: if machine.busy { state_seconds } else { 0.0 },
                        version: machine.version.to_string(),
                        busy: machine.busy,
                    };
                    machines.insert(key.clone(), go);
                }
                let go = GoHostType {
                    host_type: name,
                    connected: of_type.connected,
                    expect: of_type.expected,
                    idle: of_type.idle,
                    busy: of_type.busy,
                    waiters: self.waiters.get(name).copied().unwrap_or(0),
                    machines: (!machines.is_empty()).then_some(machines),
                };
                (name.as_str(), go)
            })
            .collect();
        let mut map = serializer.serialize_map(Some(1))?;
        map.serialize_entry("HostTypes", &host_types)?;
        map.end()
    }
}
