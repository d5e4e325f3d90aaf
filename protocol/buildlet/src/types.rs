//! The JSON of the modern endpoints; `docs/worker-protocol.md` is the contract.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Body of `GET /status`. Go peers read `Version` and ignore the rest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The classic protocol's version.
    #[serde(rename = "Version")]
    pub version: u32,
    /// Present when the worker speaks the modern endpoints.
    #[serde(rename = "Burrow", default, skip_serializing_if = "Option::is_none")]
    pub burrow: Option<BurrowStatus>,
}

/// What a modern worker says about itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BurrowStatus {
    /// Generation of the modern endpoints.
    pub protocol: u32,
    /// Random for every start of the process, 32 hex digits.
    pub instance: String,
    /// `executions`, `trees`, `prepare`, and names to come; a client must ignore those it does not know.
    #[serde(default)]
    pub features: Vec<String>,
    /// How many builds the worker takes at once.
    #[serde(default = "one")]
    pub slots: u32,
}

fn one() -> u32 {
    1
}

/// Body of every refused modern request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorBody {
    /// A sentence that says what to do.
    pub error: String,
}

/// Whether an execution reaches other machines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Network {
    /// As the machine itself.
    #[default]
    Open,
    /// Loopback only.
    None,
}

impl Network {
    fn is_open(&self) -> bool {
        *self == Network::Open
    }
}

/// Body of `PUT /executions/{id}`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExecRequest {
    /// Absolute, relative with a separator (to the work directory), or a bare name.
    pub cmd: String,
    /// The command's arguments.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<String>,
    /// `K=V`, appended to the worker's clean base environment.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<String>,
    /// PATH elements, see [`crate::expand`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub path: Vec<String>,
    /// Relative to the work directory; empty is the work directory itself.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub dir: String,
    /// Limit of the whole execution, milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
    /// Limit of silence, milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle_timeout_ms: Option<u64>,
    /// Memory limit of the whole tree, bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    /// Process limit of the whole tree.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_processes: Option<u64>,
    /// Network access.
    #[serde(default, skip_serializing_if = "Network::is_open")]
    pub network: Network,
}

/// Whether an execution is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ExecState {
    /// Started and not over.
    Running,
    /// Over, whatever its end was.
    Exited,
}

/// Why the worker ended an execution.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StoppedBy {
    /// `timeout_ms` was over.
    Timeout,
    /// `idle_timeout_ms` was over.
    IdleTimeout,
    /// A client asked for it, or the worker was told to clear up or stop.
    Killed,
    /// The memory limit was reached.
    Memory,
}

/// The state of one execution.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecStatus {
    /// Chosen by the coordinator.
    pub id: String,
    /// Running or over.
    pub state: ExecState,
    /// The main process's exit status; none when a signal ended it or it never ran.
    #[serde(default)]
    pub exit_code: Option<i64>,
    /// Go's name of the signal that ended the main process.
    #[serde(default)]
    pub signal: Option<String>,
    /// What the classic trailer would say, see [`crate::process_state`].
    #[serde(default)]
    pub process_state: Option<String>,
    /// It could not be started, or was lost, or its output could not all be kept.
    #[serde(default)]
    pub error: Option<String>,
    /// Why the worker ended it; none when it ended by itself.
    #[serde(default)]
    pub stopped_by: Option<StoppedBy>,
    /// Bytes in the spool so far.
    pub output_bytes: u64,
    /// Unix milliseconds.
    pub started_ms: u64,
    /// Unix milliseconds.
    #[serde(default)]
    pub ended_ms: Option<u64>,
    /// CPU time in user mode, milliseconds.
    #[serde(default)]
    pub user_ms: Option<u64>,
    /// CPU time in the kernel, milliseconds.
    #[serde(default)]
    pub system_ms: Option<u64>,
    /// Peak memory, bytes.
    #[serde(default)]
    pub max_rss_bytes: Option<u64>,
}

/// Body of `POST /prepare`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PrepareRequest {
    /// Names of the source trees to keep; everything else in the work directory goes.
    #[serde(default)]
    pub keep: Vec<String>,
}

/// Answer of `POST /prepare`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PrepareReply {
    /// One entry for every name in [`PrepareRequest::keep`].
    pub trees: BTreeMap<String, TreeState>,
}

/// What the worker knows of one source tree.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TreeState {
    /// Id of the tree as last written; none when the directory is empty or unknown (and has been emptied).
    pub tree: Option<String>,
    /// Entries that are missing or changed and must be sent again, relative to the tree, sorted.
    #[serde(default)]
    pub dirty: Vec<String>,
}

/// Whether `id` may name an execution: 1–100 characters of `A–Z a–z 0–9 . _ -`, not starting with a dot.
#[must_use]
pub fn valid_execution_id(id: &str) -> bool {
    (1..=100).contains(&id.len()) && !id.starts_with('.') && id.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
}
