//! The real `burrow`, as a person starts it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::http::{self, Answer, Events};
use crate::process::{Ended, Process};

/// Folder with the executables to test; without it they are built once, in the profile of the tests.
pub const EXECUTABLES: &str = "BURROW_TEST_EXECUTABLES";

/// Path of `burrow` or `buildlet`, built if need be.
///
/// # Panics
/// It cannot be built.
pub fn executable(name: &str) -> PathBuf {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    let folder = FOLDER.get_or_init(|| {
        if let Some(folder) = std::env::var_os(EXECUTABLES) {
            return folder.into();
        }
        // A test program lies in target/<profile>/deps.
        let folder = std::env::current_exe().expect("path of this test program").ancestors().nth(2).expect("a test program lies in target").to_owned();
        let mut build = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        build.args(["build", "--quiet", "--package=burrow", "--package=buildlet"]);
        if folder.file_name().is_some_and(|name| name == "release") {
            build.arg("--release");
        }
        let status = build.current_dir(root()).status().expect("cargo is installed");
        assert!(status.success(), "the executables do not build");
        folder
    });
    folder.join(format!("{name}{}", std::env::consts::EXE_SUFFIX))
}

/// Root of the workspace.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap_or(Path::new("."))
}

/// `burrow` with arguments, in `dir`, in an environment of nothing but what every program needs.
pub fn command(dir: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(executable("burrow"));
    command.args(args).current_dir(dir).env_clear().env("HOME", dir).env("LC_ALL", "C.UTF-8").env("TZ", "UTC");
    for name in ["PATH", "CARGO_HOME", "RUSTUP_HOME"] {
        command.envs(std::env::var_os(name).map(|value| (name, value)));
    }
    command
}

/// Runs `burrow` to its end in `dir`. Whatever else runs there is left alone: it may be what the command talks to.
pub fn run(dir: &Path, args: &[&str]) -> Ended {
    Process::start(command(dir, args), None).wait()
}

/// A `burrow` that serves, with its workers.
#[derive(Debug)]
pub struct Burrow {
    /// The process.
    pub process: Process,
    /// Where it listens, as `127.0.0.1:PORT`.
    pub address: String,
}

impl Burrow {
    /// `burrow up` with state in `dir/data`, on a free port, and with further arguments; returns when it serves. What runs below `dir` ends with the handle.
    ///
    /// # Panics
    /// It ends before it serves.
    pub fn up(dir: &Path, args: &[&str]) -> Burrow {
        Self::serving(dir, &[&["up", "--data", "data", "--listen", "127.0.0.1:0"], args].concat())
    }

    /// Any serving command, as given.
    ///
    /// # Panics
    /// It ends before it serves.
    pub fn serving(dir: &Path, args: &[&str]) -> Burrow {
        let process = Process::start(command(dir, args), Some(dir));
        let line = process.wait_for("Open http");
        let address = line.split("://").nth(1).unwrap_or("").split(|c: char| c.is_whitespace() || c == '/').next().unwrap_or("").to_owned();
        Burrow { process, address }
    }

    /// `GET` of a page.
    ///
    /// # Panics
    /// It does not answer.
    pub fn get(&self, path: &str) -> Answer {
        http::get(&self.address, path).unwrap_or_else(|error| panic!("GET {path}: {error}\n{}", self.process.text()))
    }

    /// `POST` of JSON.
    ///
    /// # Panics
    /// It does not answer.
    pub fn post(&self, path: &str, json: &str) -> Answer {
        http::post(&self.address, path, json).unwrap_or_else(|error| panic!("POST {path}: {error}\n{}", self.process.text()))
    }

    /// Looks until `look` gives something: at once, and again whenever the coordinator tells of a change.
    ///
    /// # Panics
    /// Nothing changes any more, or the coordinator ended.
    pub fn until<T>(&self, what: &str, mut look: impl FnMut(&Burrow) -> Option<T>) -> T {
        // Registered before the first look, so that no change can fall between.
        let mut events = Events::open(&self.address).unwrap_or_else(|error| panic!("/events: {error}\n{}", self.process.text()));
        let start = std::time::Instant::now();
        loop {
            if let Some(found) = look(self) {
                return found;
            }
            let waited = events.wait();
            assert!(waited.is_ok() && start.elapsed() < crate::HANG, "waiting for {what}: {waited:?}; it printed:\n{}", self.process.text());
        }
    }

    /// Processes of this farm besides the coordinator: workers and builds.
    pub fn others(&self, dir: &Path) -> Vec<u32> {
        crate::process::find(dir).into_iter().filter(|id| *id != self.process.id()).collect()
    }
}
