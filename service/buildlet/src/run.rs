//! From a configuration to a running worker, and its end.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use burrow_task::BoxFuture;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::{Config, Listen, Mode};
use crate::halt::Halt;
use crate::reverse::{self, Reverse};
use crate::worker::Worker;
use crate::{platform, serve};

/// How long open connections may finish their answers (spec buildlet.md §2.4).
const GRACE: Duration = Duration::from_secs(5);

/// Why a worker ended that should not have.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A directory, a record or a socket.
    #[error("{what}: {cause}")]
    Io {
        /// What was being done.
        what: String,
        /// The system's words.
        #[source]
        cause: io::Error,
    },
    /// The grace was over and connections were cut.
    #[error("connections were still open {} s after the order to stop and were cut", GRACE.as_secs())]
    Cut,
    /// The coordinator refused this machine, or ended a session that cannot be resumed.
    #[error("{0}")]
    Coordinator(String),
}

impl RunError {
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        move |cause| Self::Io { what: what.into(), cause }
    }
}

/// Runs a worker until `shutdown`, `/halt`, idleness, or the end of its session. Kills everything its commands left, then returns.
///
/// # Errors
/// [`RunError`] when it cannot start, or could not end cleanly.
///
/// # Panics
/// Outside a multi-threaded tokio runtime.
pub fn run(config: Config, shutdown: CancellationToken) -> BoxFuture<'static, Result<(), RunError>> {
    Box::pin(async move {
        let end = shutdown.child_token();
        let builder_env = config.environment.get("GO_BUILDER_ENV").cloned().unwrap_or_default();
        let halt = Halt::new(config.halt, config.reboot, builder_env, end.clone());
        let shared = config.clone();
        let worker = burrow_task::spawn_blocking(move || Worker::new(&shared, halt))
            .await
            .map_err(|e| RunError::io("starting")(io::Error::other(e)))?
            .map_err(RunError::io(format!("opening {} and {}", config.work_dir.display(), config.state_dir.display())))?;
        let worker = Arc::new(worker);
        let connections = TaskTracker::new();
        if config.owns_process {
            burrow_task::spawn(reap(end.clone()));
        }
        if let Some(limit) = config.exit_when_idle {
            let (activity, end) = (worker.activity.clone(), end.clone());
            burrow_task::spawn(async move {
                activity.idle_for(limit).await;
                tracing::info!(idle.seconds = limit.as_secs(), "The worker had nothing to do for long enough and ends.");
                end.cancel();
            });
        }
        let result = match config.mode.clone() {
            Mode::Listen { address: Listen::Tcp(address), tls, password } => {
                let tls = tls.map(|(certificate, key)| serve::tls_acceptor(&certificate, &key)).transpose().map_err(RunError::io("setting up TLS"))?;
                let address = if address.starts_with(':') { format!("[::]{address}") } else { address };
                let listener = match tokio::net::TcpListener::bind(&address).await {
                    // A machine without IPv6.
                    Err(e) if address.starts_with("[::]:") && e.kind() != io::ErrorKind::AddrInUse => {
                        tokio::net::TcpListener::bind(address.replacen("[::]", "0.0.0.0", 1)).await
                    }
                    other => other,
                }
                .map_err(RunError::io(format!("listening on {address}")))?;
                if let Ok(local) = listener.local_addr() {
                    tracing::info!(address = %local, tls = tls.is_some(), "The worker listens.");
                    if let Some(ready) = &config.ready {
                        ready.send_replace(Some(local.to_string()));
                    }
                }
                serve::tcp(listener, tls, password.map(Arc::new), Arc::clone(&worker), end.clone(), connections.clone()).await;
                Ok(())
            }
            #[cfg(unix)]
            Mode::Listen { address: Listen::Unix(path), .. } => {
                let listener = serve::bind_unix(&path).map_err(RunError::io(format!("listening on {}", path.display())))?;
                tracing::info!(socket = %path.display(), "The worker listens.");
                if let Some(ready) = &config.ready {
                    ready.send_replace(Some(path.display().to_string()));
                }
                serve::unix(listener, Arc::clone(&worker), end.clone(), connections.clone()).await;
                let _ = std::fs::remove_file(&path);
                Ok(())
            }
            #[cfg(not(unix))]
            Mode::Listen { address: Listen::Unix(_), .. } => {
                Err(RunError::io("listening")(io::Error::new(io::ErrorKind::Unsupported, "Unix sockets are not available here; use --listen HOST:PORT")))
            }
            Mode::Reverse { host_type, coordinator, hostname, health, build_key, enroll, proxy, dev } => {
                if let Some(address) = health {
                    match tokio::net::TcpListener::bind(&address).await {
                        Ok(listener) => {
                            burrow_task::spawn(reverse::health(listener, end.clone()));
                        }
                        // Two workers on one machine; the second is just as healthy.
                        Err(e) => tracing::warn!(address = %address, error = %e, "The health address cannot be listened on; --health-addr chooses another."),
                    }
                }
                let reverse = Reverse { host_type, coordinator, hostname, build_key, enroll, proxy, ca: config.ca.clone(), dev };
                reverse::run(reverse, Arc::clone(&worker), end.clone(), connections.clone()).await
            }
        };
        end.cancel();
        connections.close();
        let cut = tokio::time::timeout(GRACE, connections.wait()).await.is_err();
        let left = Arc::clone(&worker);
        let _ = burrow_task::spawn_blocking(move || left.kill_everything()).await;
        for execution in worker.executions.running() {
            execution.wait(GRACE).await;
        }
        platform::finish_process();
        result?;
        if cut { Err(RunError::Cut) } else { Ok(()) }
    })
}

/// Takes the exit status of daemons that became our children.
async fn reap(end: CancellationToken) {
    let mut signals = match platform::ChildSignals::new() {
        Ok(signals) => signals,
        Err(e) => {
            tracing::warn!(error = %e, "Ended daemons of builds will stay in the process table.");
            return;
        }
    };
    loop {
        tokio::select! {
            () = signals.next() => {}
            () = end.cancelled() => return,
        }
        // Main processes are taken by their supervisors meanwhile.
        tokio::time::sleep(Duration::from_millis(100)).await;
        while platform::reap_orphans(false) {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}
