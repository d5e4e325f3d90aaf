//! The buildlet's HTTP protocol: names, rules and codecs, without I/O.
//!
//! Two generations share one server. The *classic* endpoints (`/exec`, `/ls`, `/writetgz` …) are what every Go peer speaks; their rules are in
//! [`path`], [`mode`], [`ls`], [`form`], [`expand`] and [`process_state`]. The *modern* ones (`/executions`, `/tree`, `/prepare`) are Burrow's own;
//! their JSON is in [`types`].
//!
//! Everything here is a pure function of its arguments: no clock, no file system, no panic on any input. Client and server use the same code, so
//! that a rule is written once.
//!
//! ```
//! use protocol_buildlet::{check_path, ls::Line, mode::GoMode};
//!
//! assert!(check_path("src/all.bash").is_ok());
//! assert!(check_path("../etc/passwd").is_err());
//! let line = Line::parse("-rw-r--r--\tgo.mod\t21\t2024-05-01T10:00:00Z").unwrap();
//! assert_eq!(line.mode, GoMode::regular(0o644));
//! ```

pub mod environment;
pub mod expand;
pub mod form;
pub mod ls;
pub mod mode;
pub mod path;
pub mod process_state;
pub mod types;

pub use path::{PathError, check_path};
pub use types::{
    BurrowStatus, ErrorBody, ExecRequest, ExecState, ExecStatus, Network, PrepareReply, PrepareRequest, Status, StoppedBy, TreeState, valid_execution_id,
};

/// The version number which `GET /status` reports; Go coordinators ask for at least 23 (spec buildlet.md §1).
pub const VERSION: u32 = 29;

/// The generation of the modern endpoints (`Burrow.protocol` in `GET /status`).
pub const BURROW_PROTOCOL: u32 = 1;

/// The name of the classic trailer that carries a command's fate (spec §4.2).
pub const PROCESS_STATE_TRAILER: &str = "Process-State";

/// The header that tells from which byte an output answer starts.
pub const OUTPUT_OFFSET_HEADER: &str = "X-Output-Offset";

/// The header that says for which start of the worker a request is meant; another start refuses it with 412 (docs/worker-protocol.md).
pub const INSTANCE_HEADER: &str = "X-Burrow-Instance";

/// The tar entry that lists the paths which `POST /tree` removes first, separated by NUL bytes.
pub const TREE_DELETE_ENTRY: &str = ".burrow-delete";

/// How many dirty paths a [`TreeState`] may name before the tree is given up (docs/worker-protocol.md).
pub const MAX_DIRTY: usize = 10_000;

/// Parses a boolean as Go's `strconv.ParseBool` does; `None` is Go's error (which the classic endpoints treat as false, spec §2.3).
#[must_use]
pub fn parse_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Some(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Some(false),
        _ => None,
    }
}
