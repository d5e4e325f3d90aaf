//! The listening end.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use burrow_clock::SharedClock;
use burrow_task::BoxFuture;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::admission::Gate;
use crate::keys::Cache;
use crate::signature::Checker;
use crate::{Config, Counters, Keys, Refusal, Sink};

/// An SMTP server for notification mail.
pub struct Server {
    pub(crate) config: Arc<Config>,
    pub(crate) tls: Option<TlsAcceptor>,
    pub(crate) keys: Cache,
    pub(crate) checker: Checker,
    pub(crate) sink: Arc<dyn Sink>,
    pub(crate) clock: SharedClock,
    pub(crate) counters: Arc<Counters>,
    gate: Arc<Gate>,
    /// Kibibytes for header blocks.
    pub(crate) memory: Arc<Semaphore>,
    /// Ends conversations that are between two mails.
    pub(crate) shutdown: CancellationToken,
    /// Ends all of them.
    pub(crate) kill: CancellationToken,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server").field("config", &self.config).finish_non_exhaustive()
    }
}

/// A server that cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ServerError {
    /// No recipient.
    #[error("mail is taken for no address: give at least one recipient")]
    NoRecipient,
    /// No domain.
    #[error("no domain's signature counts, so that no mail could be taken: give at least one DKIM domain, for example google.com")]
    NoDomain,
    /// The memory for header blocks is less than one of them may take.
    #[error("the memory for open mails ({memory} bytes) is less than a header block may take ({header} bytes)")]
    Memory {
        /// Bytes for all.
        memory: usize,
        /// Bytes for one.
        header: usize,
    },
    /// The library that verifies cannot be set up.
    #[error("DKIM cannot be set up")]
    Dkim,
}

impl Server {
    /// A server that looks keys up with `keys`, hands mail to `sink`, and offers `STARTTLS` if there is a certificate. `clock` tells whether a signature has expired.
    ///
    /// # Errors
    /// The configuration would take no mail.
    pub fn new(
        config: Config,
        tls: Option<TlsAcceptor>,
        keys: Arc<dyn Keys>,
        sink: Arc<dyn Sink>,
        clock: SharedClock,
        counters: Arc<Counters>,
    ) -> Result<Server, ServerError> {
        let limits = &config.limits;
        if config.rcpt.is_empty() {
            return Err(ServerError::NoRecipient);
        }
        if config.dkim_domains.is_empty() {
            return Err(ServerError::NoDomain);
        }
        if limits.memory < limits.header {
            return Err(ServerError::Memory { memory: limits.memory, header: limits.header });
        }
        Ok(Server {
            tls,
            keys: Cache::new(keys, Arc::clone(&clock), limits.look_up),
            checker: Checker::new().ok_or(ServerError::Dkim)?,
            sink,
            gate: Gate::new(Arc::clone(&clock)),
            clock,
            counters,
            memory: Arc::new(Semaphore::new((limits.memory >> 10).min(Semaphore::MAX_PERMITS))),
            config: Arc::new(config),
            shutdown: CancellationToken::new(),
            kill: CancellationToken::new(),
        })
    }

    /// Serves until `shutdown`. Then open conversations may finish the mail they are in, for as long as the limit `farewell` says.
    ///
    /// # Errors
    /// The listener has no address any more, as never happens to one that is bound.
    pub fn run(self, listener: TcpListener, shutdown: CancellationToken) -> BoxFuture<'static, io::Result<()>> {
        Box::pin(async move {
            listener.local_addr()?;
            let server = Arc::new(self);
            let tasks = TaskTracker::new();
            loop {
                let accepted = tokio::select! {
                    accepted = listener.accept() => accepted,
                    () = shutdown.cancelled() => break,
                };
                let Ok((stream, peer)) = accepted else {
                    // Out of file descriptors, most likely: a moment later some are free again.
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                };
                match server.gate.enter(peer.ip(), &server.config.limits) {
                    Ok(ticket) => {
                        let _ = stream.set_nodelay(true);
                        let server = Arc::clone(&server);
                        tasks.spawn(burrow_task::boxed(async move {
                            server.converse(stream).await;
                            drop(ticket);
                        }));
                    }
                    Err(why) => {
                        server.counters.refuse(why);
                        // As much as goes without waiting: the socket's buffer is empty, so that it goes.
                        let _ = stream.try_write(format!("{}\r\n", why.reply()).as_bytes());
                    }
                }
            }
            drop(listener);
            server.shutdown.cancel();
            tasks.close();
            if tokio::time::timeout(server.config.limits.farewell, tasks.wait()).await.is_err() {
                server.kill.cancel();
                tasks.wait().await;
            }
            Ok(())
        })
    }

    pub(crate) fn refuse(&self, why: Refusal) {
        self.counters.refuse(why);
    }
}
