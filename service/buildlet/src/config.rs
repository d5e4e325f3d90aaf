//! The worker's configuration, complete and checked, as [`crate::run`] takes it.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::watch;

/// A text that is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a text.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// The text itself.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// Where a listening worker waits for its coordinator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listen {
    /// A host and port; an empty host is every address.
    Tcp(String),
    /// A Unix socket; whoever may open it may do everything, so its mode is 0600.
    Unix(PathBuf),
}

/// How the worker meets its coordinator.
#[derive(Clone, Debug)]
pub enum Mode {
    /// It waits.
    Listen {
        /// Where.
        address: Listen,
        /// Certificate chain and key, PEM; without them the connection is not encrypted.
        tls: Option<(String, Secret)>,
        /// Asked of every TCP client.
        password: Option<Secret>,
    },
    /// It dials.
    Reverse {
        /// Host type.
        host_type: String,
        /// `host:port`.
        coordinator: String,
        /// Name to advertise.
        hostname: String,
        /// Where `/healthz` is served.
        health: Option<String>,
        /// Content of the legacy build key file, if there is one.
        build_key: Option<Secret>,
        /// A token to become a known machine with.
        enroll: Option<Secret>,
        /// `HTTPS_PROXY`, used when the coordinator cannot be dialled directly.
        proxy: Option<String>,
        /// Join a Go coordinator in dev mode: any certificate is taken, and without a key the publicly known one is shown.
        dev: bool,
    },
}

/// Everything [`crate::run`] needs.
#[derive(Clone, Debug)]
pub struct Config {
    /// Listening or dialling.
    pub mode: Mode,
    /// Must exist.
    pub work_dir: PathBuf,
    /// Records of executions and trees, the machine's identity. Created if missing.
    pub state_dir: PathBuf,
    /// The environment the worker was started with.
    pub environment: BTreeMap<String, String>,
    /// `/halt` powers the machine off.
    pub halt: bool,
    /// `/halt` restarts the machine.
    pub reboot: bool,
    /// Certificates to trust besides the web's, PEM.
    pub ca: Option<PathBuf>,
    /// End after so long without a request and without a running execution.
    pub exit_when_idle: Option<Duration>,
    /// Serve `/debug/…`.
    pub debug: bool,
    /// The process serves this worker alone, so all its children belong to builds: it adopts and ends daemons.
    pub owns_process: bool,
    /// Port of the SSH server behind `/connect-ssh`, instead of the system's usual one.
    pub ssh_port: Option<u16>,
    /// Told the address (or the socket's path) once the worker listens; tests and supervisors bind port 0.
    pub ready: Option<watch::Sender<Option<String>>>,
}
