//! What all requests share.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use protocol_buildlet::StoppedBy;
use sha2::{Digest as _, Sha256};

use crate::activity::Activity;
use crate::command::BaseEnv;
use crate::config::Config;
use crate::executions::Executions;
use crate::fetch::Fetcher;
use crate::halt::Halt;
use crate::platform::{self, Tree};
use crate::ssh::Ssh;
use crate::supervise::Stopper;
use crate::tree::Trees;
use crate::workdir::WorkDir;

/// The worker's state, shared by every connection.
pub(crate) struct Worker {
    pub(crate) work: WorkDir,
    pub(crate) state_dir: PathBuf,
    pub(crate) instance: String,
    pub(crate) base: BaseEnv,
    pub(crate) activity: Activity,
    pub(crate) executions: Arc<Executions>,
    pub(crate) trees: Trees,
    pub(crate) classic: Classic,
    pub(crate) halt: Halt,
    pub(crate) fetcher: Fetcher,
    pub(crate) ssh: Ssh,
    /// Serve `/debug/` endpoints.
    pub(crate) debug: bool,
    cookie_prefix: String,
    /// The executable runs for this worker alone: strays without a mark are its own.
    owns_process: bool,
    bootstrap: OnceLock<String>,
    inherited_bootstrap: Option<String>,
    exec_number: AtomicU64,
    _lock: std::fs::File,
}

impl Worker {
    /// Opens the directories and settles what an earlier process left.
    pub(crate) fn new(config: &Config, halt: Halt) -> io::Result<Self> {
        let work = WorkDir::new(&config.work_dir)?;
        work.reset_scratch()?;
        std::fs::create_dir_all(&config.state_dir)?;
        let state_dir = config.state_dir.canonicalize()?;
        let lock = lock(&state_dir)?;
        let cookie_prefix = format!("BURROW_EXECUTION={}/", short_hash(state_dir.as_os_str().as_encoded_bytes()));
        platform::sweep_strays(&cookie_prefix);
        let activity = Activity::new();
        Ok(Self {
            executions: Arc::new(Executions::open(&state_dir.join("executions"), &activity)?),
            trees: Trees::open(&state_dir.join("trees"), work.clone())?,
            work,
            state_dir,
            instance: random_hex()?,
            base: BaseEnv::new(&config.environment),
            activity,
            classic: Classic::default(),
            halt,
            fetcher: Fetcher::new(config)?,
            ssh: Ssh::with_port(config.ssh_port),
            debug: config.debug,
            cookie_prefix,
            owns_process: config.owns_process,
            bootstrap: OnceLock::new(),
            inherited_bootstrap: config.environment.get("GOROOT_BOOTSTRAP").filter(|b| !b.is_empty()).cloned(),
            exec_number: AtomicU64::new(1),
            _lock: lock,
        })
    }

    /// `GOROOT_BOOTSTRAP` of classic commands, decided at the first one (spec buildlet.md §4.3).
    pub(crate) fn bootstrap(&self) -> &str {
        self.bootstrap.get_or_init(|| {
            let own = self.work.path().join("go1.4");
            match &self.inherited_bootstrap {
                Some(inherited) if !own.exists() => inherited.clone(),
                _ => own.display().to_string(),
            }
        })
    }

    /// The mark of one tree's processes.
    pub(crate) fn cookie(&self, name: &str) -> String {
        format!("{}{name}/", self.cookie_prefix)
    }

    pub(crate) fn next_exec_name(&self) -> String {
        format!(".exec-{}", self.exec_number.fetch_add(1, Ordering::Relaxed))
    }

    /// Kills every process that any command of this worker left or still runs. Blocks until they are gone.
    pub(crate) fn kill_everything(&self) {
        self.executions.stop_all();
        self.classic.stop_all();
        // The usual case, told by one system call instead of a walk through all processes of the machine.
        if self.owns_process && platform::childless() {
            return;
        }
        platform::sweep_strays(&self.cookie_prefix);
        if self.owns_process {
            platform::reap_orphans(true);
        }
    }
}

/// Running `/exec` commands, and the trees that outlived theirs.
#[derive(Default)]
pub(crate) struct Classic(Mutex<ClassicState>);

#[derive(Default)]
struct ClassicState {
    next: u64,
    running: HashMap<u64, Stopper>,
    left: Vec<Arc<Tree>>,
}

impl Classic {
    pub(crate) fn add(&self, stopper: Stopper) -> u64 {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.next += 1;
        let ticket = state.next;
        state.running.insert(ticket, stopper);
        ticket
    }

    pub(crate) fn finish(&self, ticket: u64, tree: Arc<Tree>) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.running.remove(&ticket);
        state.left.retain(|t| !t.dispose());
        if !tree.dispose() {
            state.left.push(tree);
        }
    }

    fn stop_all(&self) {
        let (running, left) = {
            let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            (state.running.values().cloned().collect::<Vec<_>>(), std::mem::take(&mut state.left))
        };
        for stopper in running {
            stopper.stop(StoppedBy::Killed);
        }
        for tree in left {
            tree.kill();
        }
    }
}

/// One worker per state directory; the lock goes with the process.
fn lock(state_dir: &Path) -> io::Result<std::fs::File> {
    let mut options = std::fs::OpenOptions::new();
    options.create(true).truncate(false).write(true);
    platform::private(&mut options);
    let file = options.open(state_dir.join("lock"))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => Err(io::Error::new(
            io::ErrorKind::ResourceBusy,
            format!("another worker uses the state directory {}; give each worker its own with --state-dir", state_dir.display()),
        )),
        Err(std::fs::TryLockError::Error(e)) => Err(e),
    }
}

fn random_hex() -> io::Result<String> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(io::Error::other)?;
    Ok(hex(&bytes))
}

/// Lower-case hex.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut out, b| {
        let _ = write!(out, "{b:02x}");
        out
    })
}

/// Enough of a hash to tell directories apart.
pub(crate) fn short_hash(bytes: &[u8]) -> String {
    hex(Sha256::digest(bytes).get(..8).unwrap_or_default())
}
