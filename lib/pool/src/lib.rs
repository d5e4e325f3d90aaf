//! Pools of workers: who they are, whether they live, and how to talk to them.
//!
//! A pool pushes [`PoolEvent`]s into a channel and knows nothing of builds. [`process::ProcessPool`] keeps worker processes on this machine, which
//! outlive the coordinator and are adopted by the next one; [`reverse::ReversePool`] takes in machines that dial in from anywhere, over TLS and revdial.
//!
//! A worker that is killed, frozen or cut off is reported [`PoolEvent::Lost`] within 15 s ([`Timing`]), exactly once for every
//! [`PoolEvent::Up`]. What comes back later is a new `Up`; with the same instance it is the same process, whose executions still run.
//!
//! Facts: `spec/pools.md` §1, §7, §9, §10; `spec/buildlet.md` §6; `docs/worker-protocol.md`.

mod heartbeat;
pub mod machines;
#[cfg(unix)]
pub mod process;
pub mod reverse;

use std::time::Duration;

pub use burrow_buildlet_client::Client;

/// One worker as a pool hands it out.
#[derive(Clone, Debug)]
pub struct Worker {
    /// A name that stays the same over restarts: `local-1`, a machine id, or `classic-<host name>`.
    pub id: String,
    /// Which pool it belongs to.
    pub pool: String,
    /// What kind of machine it is.
    pub host_type: String,
    /// As it calls itself; only for display.
    pub hostname: String,
    /// Where it is reached; only for display.
    pub address: String,
    /// `Version` of `GET /status`.
    pub version: u32,
    /// `instance` of `GET /status`; of a classic buildlet, an id made for its registration.
    pub instance: String,
    /// Whether it speaks `docs/worker-protocol.md`; otherwise only the classic endpoints.
    pub modern: bool,
    /// How many builds it takes at once; at least 1.
    pub slots: u32,
    /// How to talk to it. Goes on working when the machine comes back over a new connection.
    pub client: Client,
}

/// What a pool tells.
#[derive(Clone, Debug)]
pub enum PoolEvent {
    /// A worker is there and answers.
    Up(Worker),
    /// A worker is gone: once for every `Up`. A worker that comes back is announced by another `Up`.
    Lost {
        /// [`Worker::id`]
        id: String,
        /// [`Worker::instance`]
        instance: String,
        /// A sentence for people.
        reason: String,
    },
    /// A worker's connection broke or it is late to answer; it may still come back. Only for display: requests to it wait or fail meanwhile.
    Unreachable {
        /// [`Worker::id`]
        id: String,
        /// [`Worker::instance`]
        instance: String,
        /// A sentence for people.
        reason: String,
    },
    /// An unreachable worker answers again.
    Reachable {
        /// [`Worker::id`]
        id: String,
        /// [`Worker::instance`]
        instance: String,
    },
    /// Whether a worker is to be given no more builds. Sent when it changes and after the `Up` of a worker that drains.
    Draining {
        /// [`Worker::id`]
        id: String,
        /// True: no more builds.
        draining: bool,
    },
}

/// Where a pool's events go.
pub type Events = tokio::sync::mpsc::UnboundedSender<PoolEvent>;

/// How death is noticed. The default notices within 15 s: three probes that fail in a row end 13.5 s after the last good answer at the latest.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// Pause between two probes of a healthy worker.
    pub interval: Duration,
    /// Limit for one probe; the next one uses a fresh connection.
    pub probe: Duration,
    /// A worker that gave no answer for so long is lost.
    pub silence: Duration,
    /// A modern reverse machine whose control connection broke has so long to come back under the same instance.
    pub grace: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Timing {
            interval: Duration::from_secs(3),
            probe: Duration::from_millis(3500),
            silence: Duration::from_millis(13_500),
            grace: Duration::from_millis(14_500),
        }
    }
}
