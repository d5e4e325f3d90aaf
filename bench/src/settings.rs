//! What can be chosen on the command line for every measure.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context as _, bail};
use clap::Args;

/// Choices.
#[derive(Args)]
pub(crate) struct Settings {
    /// The `burrow` to measure [default: the one beside this program]
    #[arg(long, global = true, value_name = "FILE")]
    burrow: Option<PathBuf>,
    /// Runs of each side; the median counts
    #[arg(long, global = true, value_name = "N")]
    runs: Option<usize>,
    /// Something smaller or larger than the usual load (builds of `latency`, kills of `kill` and `maintnerd-kill`, MiB of `log`, machines of `memory`, thousand webhooks of `events`, thousand lines of `perfdata`, 0: only the smallest log of `maintner`)
    #[arg(long, global = true, value_name = "N")]
    pub(crate) load: Option<usize>,
    /// Seed of what is random
    #[arg(long, global = true, value_name = "N", default_value_t = 1)]
    pub(crate) seed: u64,
    /// Python environment with Buildbot (pip install buildbot buildbot-worker); without it the peer is left out
    #[arg(long, global = true, value_name = "DIR")]
    buildbot: Option<PathBuf>,
    /// The Go project's buildlet (go build golang.org/x/build/cmd/buildlet); without it the peer is left out
    #[arg(long, global = true, value_name = "FILE")]
    go_buildlet: Option<PathBuf>,
    /// A program that loads a log with the Go project's maintner and prints what it took as JSON (see docs/benchmarks.md); without it the peer is left out
    #[arg(long, global = true, value_name = "FILE")]
    go_maintner: Option<PathBuf>,
    /// Python environment with Apache Otava (pip install apache-otava); without it the peer is left out
    #[arg(long, global = true, value_name = "DIR")]
    otava: Option<PathBuf>,
    /// Python environment with grokmirror (pip install grokmirror); without it the peer is left out
    #[arg(long, global = true, value_name = "DIR")]
    grokmirror: Option<PathBuf>,
    /// Folder with programs made of golang.org/x/perf: benchread FILE RUNS (see docs/benchmarks.md); without it a recorded number is shown
    #[arg(long, global = true, value_name = "DIR")]
    go_perf: Option<PathBuf>,
    /// The Go project's store of benchmark results (go build golang.org/x/build/perfdata/localperfdata); without it the peer is left out
    #[arg(long, global = true, value_name = "FILE")]
    go_perfdata: Option<PathBuf>,
    /// Where raw runs are written [default: bench/runs of the workspace]
    #[arg(long, global = true, value_name = "DIR")]
    out: Option<PathBuf>,
    /// A remark for the record
    #[arg(long, global = true, value_name = "TEXT", default_value = "")]
    pub(crate) note: String,
}

impl Settings {
    /// How many runs, unless the command line says otherwise.
    pub(crate) fn runs(&self, usual: usize) -> usize {
        self.runs.unwrap_or(usual).max(1)
    }

    /// A program of the Go project's performance tools, if it is there. Says so if it is not.
    pub(crate) fn go_perf(&self, program: &str) -> Option<PathBuf> {
        let found = self.go_perf.as_ref().map(|folder| folder.join(program)).filter(|path| path.is_file());
        if found.is_none() {
            eprintln!("{program} of golang.org/x/perf is left out: give --go-perf DIR, a folder with it.");
        }
        found
    }

    /// The executable to measure.
    pub(crate) fn burrow(&self) -> anyhow::Result<PathBuf> {
        let path = match &self.burrow {
            Some(path) => path.clone(),
            None => std::env::current_exe()?.with_file_name("burrow"),
        };
        if !path.is_file() {
            bail!("{} is missing: cargo build --release --package burrow, or name another with --burrow", path.display());
        }
        Ok(path.canonicalize()?)
    }

    /// The peer's environment, if it is there. Says so if it is not.
    pub(crate) fn buildbot(&self) -> Option<&Path> {
        let Some(venv) = &self.buildbot else {
            eprintln!("Buildbot is left out: give --buildbot DIR, a Python environment with buildbot and buildbot-worker.");
            return None;
        };
        if !venv.join("bin/buildbot").exists() || !venv.join("bin/buildbot-worker").exists() {
            eprintln!("Buildbot is left out: {} has no bin/buildbot and bin/buildbot-worker.", venv.display());
            return None;
        }
        Some(venv)
    }

    /// The Go buildlet, if it is there. Says so if it is not.
    pub(crate) fn go_buildlet(&self) -> Option<&Path> {
        match &self.go_buildlet {
            Some(path) if path.is_file() => Some(path),
            Some(path) => {
                eprintln!("The Go buildlet is left out: there is no file {}.", path.display());
                None
            }
            None => {
                eprintln!("The Go buildlet is left out: give --go-buildlet FILE.");
                None
            }
        }
    }

    /// The program that loads a log with the Go project's library, if it is there.
    pub(crate) fn go_maintner(&self) -> Option<&Path> {
        self.go_maintner.as_deref().filter(|path| path.is_file())
    }

    /// The Go project's store of benchmark results, if it is there. Says so if it is not.
    pub(crate) fn go_perfdata(&self) -> Option<&Path> {
        let found = self.go_perfdata.as_deref().filter(|path| path.is_file());
        if found.is_none() {
            eprintln!("The Go project's store is left out: give --go-perfdata FILE.");
        }
        found
    }

    /// grokmirror's `grok-pull`, if it is there. Says so if it is not.
    pub(crate) fn grok_pull(&self) -> Option<PathBuf> {
        let found = self.grokmirror.as_ref().map(|venv| venv.join("bin/grok-pull")).filter(|path| path.is_file());
        if found.is_none() {
            eprintln!("grokmirror is left out: give --grokmirror DIR, a Python environment with grokmirror.");
        }
        found
    }

    /// Apache Otava's environment, if it is there. Says so if it is not.
    pub(crate) fn otava(&self) -> Option<&Path> {
        let found = self.otava.as_deref().filter(|venv| venv.join("bin/python").exists());
        if found.is_none() {
            eprintln!("Apache Otava is left out: give --otava DIR, a Python environment with apache-otava.");
        }
        found
    }

    /// Folder for raw runs.
    pub(crate) fn out(&self) -> anyhow::Result<PathBuf> {
        let dir = self.out.clone().unwrap_or_else(|| testkit_harness::burrow::root().join("bench/runs"));
        std::fs::create_dir_all(&dir).with_context(|| dir.display().to_string())?;
        Ok(dir)
    }
}

/// Folders in use, for the case that this program is stopped.
static SCRATCH: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// A temporary folder with a short name, because sockets live in it.
///
/// # Errors
/// It cannot be made.
pub(crate) fn scratch() -> anyhow::Result<tempfile::TempDir> {
    let dir = tempfile::Builder::new().prefix("burrow-bench-").tempdir()?;
    SCRATCH.lock().unwrap_or_else(PoisonError::into_inner).push(dir.path().to_owned());
    Ok(dir)
}

/// The same in memory, if the system has such a place: where programs are compared and not the disk.
///
/// # Errors
/// It cannot be made.
pub(crate) fn scratch_in_memory() -> anyhow::Result<tempfile::TempDir> {
    match tempfile::Builder::new().prefix("burrow-bench-").tempdir_in("/dev/shm") {
        Ok(dir) => {
            SCRATCH.lock().unwrap_or_else(PoisonError::into_inner).push(dir.path().to_owned());
            Ok(dir)
        }
        Err(_) => scratch(),
    }
}

/// From now on Ctrl-C or SIGTERM ends this program together with everything it started, and removes its folders.
///
/// # Errors
/// Signals cannot be received.
pub(crate) fn leave_nothing_behind() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::spawn(move || {
        burrow_task::block_on(&runtime, async {
            use tokio::signal::unix::{SignalKind, signal};
            let (Ok(mut interrupt), Ok(mut terminate)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate())) else { return };
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            for dir in &*SCRATCH.lock().unwrap_or_else(PoisonError::into_inner) {
                testkit_harness::process::kill_below(dir);
                // What cannot be removed is in the temporary folder, where it may be.
                let _ = std::fs::remove_dir_all(dir);
            }
            std::process::exit(130);
        });
    });
    Ok(())
}
