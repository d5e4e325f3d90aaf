//! `/halt`: answered at once, acted on a second later (spec buildlet.md §3.8).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::platform;
use crate::worker::Worker;

/// Lets the answer reach the coordinator before the connection goes.
const DELAY: Duration = Duration::from_secs(1);

/// How long the operating system may take to stop us before we stop ourselves.
const FALLBACK: Duration = Duration::from_secs(5);

/// What halting means here.
pub(crate) struct Halt {
    /// Power the machine off.
    pub(crate) halt: bool,
    /// Restart the machine; comes before halting.
    pub(crate) reboot: bool,
    /// `GO_BUILDER_ENV`.
    pub(crate) builder_env: String,
    /// Ends the process.
    pub(crate) end: CancellationToken,
    ordered: AtomicBool,
}

impl Halt {
    pub(crate) fn new(halt: bool, reboot: bool, builder_env: String, end: CancellationToken) -> Self {
        Self { halt, reboot, builder_env, end, ordered: AtomicBool::new(false) }
    }

    /// Whether `/halt` was called.
    pub(crate) fn ordered(&self) -> bool {
        self.ordered.load(Ordering::Acquire)
    }

    /// Starts the end; once.
    pub(crate) fn order(&self, worker: Arc<Worker>) {
        if self.ordered.swap(true, Ordering::AcqRel) {
            return;
        }
        burrow_task::spawn(async move {
            tokio::time::sleep(DELAY).await;
            let shared = Arc::clone(&worker);
            let _ = burrow_task::spawn_blocking(move || shared.kill_everything()).await;
            let halt = &worker.halt;
            let command = if halt.reboot {
                Some(platform::reboot_command())
            } else if halt.halt {
                platform::halt_command(&halt.builder_env)
            } else {
                None
            };
            if let Some((program, args)) = command {
                tracing::info!(program, "The coordinator asked this machine to stop.");
                match platform::run_detached(program, args) {
                    Ok(()) => tokio::time::sleep(FALLBACK).await,
                    Err(e) => tracing::error!(program, error = %e, "The machine cannot be stopped; only the worker ends."),
                }
            }
            halt.end.cancel();
        });
    }
}
