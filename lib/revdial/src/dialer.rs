//! The coordinator's end: asks over the control connection for new connections and matches pick-ups to dials by nonce.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use burrow_task::BoxFuture;
use protocol_revdial::{DialerId, LineBuffer, Message, PickupTarget, Refusal, pickup_target};
use thiserror::Error;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep_until, timeout};

use crate::stream::BoxStream;

/// A quiet control channel gets a keep-alive line so often, for NAT boxes and for the listener's own deadline.
const KEEP_ALIVE: Duration = Duration::from_secs(30);
/// Limit for lines to leave; a peer that takes nothing for so long is dead.
const WRITE_LIMIT: Duration = Duration::from_secs(10);
/// A dial that was given up is remembered so long, so that its late failure is not taken for another dial's.
const ABANDONED_FOR: Duration = Duration::from_secs(60);

/// Why a dial gave no connection.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum DialError {
    /// The control connection has ended; the machine is gone or has to register again.
    #[error("the machine's control connection is closed: {0}")]
    Closed(Arc<str>),
    /// The machine said that it could not open the connection.
    #[error("the machine could not open a connection: {0}")]
    PickupFailed(String),
    /// No connection arrived in time.
    #[error("the machine opened no connection within {} ms", .0.as_millis())]
    TimedOut(Duration),
}

impl From<DialError> for io::Error {
    fn from(error: DialError) -> io::Error {
        let kind = match error {
            DialError::Closed(_) => io::ErrorKind::NotConnected,
            DialError::PickupFailed(_) => io::ErrorKind::ConnectionRefused,
            DialError::TimedOut(_) => io::ErrorKind::TimedOut,
        };
        io::Error::new(kind, error)
    }
}

/// The control connections of one coordinator, by dialer id: what a pick-up request is looked up in. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Dialers {
    by_id: Arc<Mutex<HashMap<DialerId, Weak<Shared>>>>,
}

/// A pick-up whose dial waits: after the 101 has been written and flushed, [`Pickup::deliver`] hands the connection over.
/// Dropping it instead fails the dial at once.
#[derive(Debug)]
pub struct Pickup {
    dial: oneshot::Sender<Result<BoxStream, DialError>>,
}

impl Pickup {
    /// Gives the connection to the dial that asked for it; if that was given up in the meantime, the connection is closed.
    pub fn deliver(self, connection: BoxStream) {
        // The error case is the dial that was given up; dropping the connection is what is wanted.
        let _ = self.dial.send(Ok(connection));
    }
}

impl Dialers {
    /// Finds the dial a pick-up request is for and takes it: a second request for the same dial is refused.
    ///
    /// # Errors
    /// [`Refusal::UnknownDialer`] if there is no such control connection or nobody waits for this pick-up.
    pub fn claim(&self, target: &str) -> Result<Pickup, Refusal> {
        let target = PickupTarget::parse(target).ok_or(Refusal::UnknownDialer)?;
        let nonce = target.nonce.ok_or(Refusal::UnknownDialer)?;
        let shared = lock(&self.by_id).get(&target.dialer).and_then(Weak::upgrade).ok_or(Refusal::UnknownDialer)?;
        let waiting = lock(&shared.state).outstanding.remove(&nonce);
        match waiting {
            Some(Dial::Waiting(dial)) => Ok(Pickup { dial }),
            // Given up meanwhile. It is accepted and then closed: a refusal would come back as a failure that, from a Go listener, names no dial.
            Some(Dial::Abandoned(_)) => Ok(Pickup { dial: oneshot::channel().0 }),
            None => Err(Refusal::UnknownDialer),
        }
    }

    /// How many control connections there are.
    pub fn len(&self) -> usize {
        lock(&self.by_id).len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing panics while it holds these locks, and the maps are whole between any two statements.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Debug)]
struct Shared {
    id: DialerId,
    path: String,
    state: Mutex<State>,
    /// Nonces to announce to the machine.
    requests: mpsc::UnboundedSender<u64>,
}

#[derive(Debug, Default)]
struct State {
    /// Every dial announced and neither picked up nor failed.
    outstanding: HashMap<u64, Dial>,
    /// Failures that named no dial (Go leaves the path out after a refused pick-up).
    unmatched_failures: usize,
    closed: Option<Arc<str>>,
}

#[derive(Debug)]
enum Dial {
    Waiting(oneshot::Sender<Result<BoxStream, DialError>>),
    Abandoned(Instant),
}

impl State {
    fn fail(&mut self, nonce: u64, error: DialError) {
        if let Some(Dial::Waiting(dial)) = self.outstanding.remove(&nonce) {
            let _ = dial.send(Err(error));
        }
    }

    fn fail_all(&mut self, error: &DialError) {
        self.unmatched_failures = 0;
        for (_, dial) in self.outstanding.drain() {
            if let Dial::Waiting(dial) = dial {
                let _ = dial.send(Err(error.clone()));
            }
        }
    }

    /// A failure without a name is some outstanding dial's. Only when as many failures as dials are outstanding it is certain whose they are.
    fn fail_unnamed(&mut self, error: DialError) {
        self.unmatched_failures += 1;
        if self.unmatched_failures >= self.outstanding.len() {
            self.fail_all(&error);
        }
    }

    fn forget_abandoned(&mut self, now: Instant) {
        self.outstanding.retain(|_, dial| match dial {
            Dial::Abandoned(since) => now.duration_since(*since) < ABANDONED_FOR,
            Dial::Waiting(_) => true,
        });
        if self.outstanding.is_empty() {
            self.unmatched_failures = 0;
        }
    }
}

/// A registered machine's control connection. Cheap to clone; the connection is closed with [`Dialer::close`] or when the last clone is dropped.
#[derive(Clone, Debug)]
pub struct Dialer {
    shared: Arc<Shared>,
    closed: watch::Receiver<Option<Arc<str>>>,
    _owner: Arc<Owner>,
}

/// Ends the control task with the last [`Dialer`].
#[derive(Debug)]
struct Owner {
    stop: watch::Sender<bool>,
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.stop.send_replace(true);
    }
}

impl Dialer {
    /// Takes over a control connection after the 101 was written and flushed. `surplus` is what the machine sent behind its request,
    /// `path` where pick-ups arrive (usually `/revdial`). Must be called inside a tokio runtime.
    pub fn new(control: BoxStream, surplus: &[u8], path: &str, dialers: &Dialers) -> Dialer {
        let id = DialerId::from_random(rand::random());
        let (requests, wanted) = mpsc::unbounded_channel();
        let shared = Arc::new(Shared { id, path: path.to_owned(), state: Mutex::default(), requests });
        let (stop, stopped) = watch::channel(false);
        let (closing, closed) = watch::channel(None);
        lock(&dialers.by_id).insert(id, Arc::downgrade(&shared));
        let mut lines = LineBuffer::default();
        let early = lines.push(surplus).is_err();
        let (task, registry) = (shared.clone(), dialers.clone());
        burrow_task::spawn(async move {
            let reason = if early { "too much was sent with the registration".into() } else { serve(control, lines, &task, wanted, stopped).await };
            let reason: Arc<str> = reason.into();
            lock(&registry.by_id).remove(&id);
            {
                let mut state = lock(&task.state);
                state.closed = Some(reason.clone());
                state.fail_all(&DialError::Closed(reason.clone()));
            }
            closing.send_replace(Some(reason));
        });
        Dialer { shared, closed, _owner: Arc::new(Owner { stop }) }
    }

    /// Asks the machine for a connection and waits for it. Cancel-safe: a dial that is dropped leaves nothing behind.
    ///
    /// # Errors
    /// [`DialError`]
    pub fn dial(&self, limit: Duration) -> BoxFuture<'_, Result<BoxStream, DialError>> {
        Box::pin(async move {
            let nonce: u64 = rand::random();
            let (sender, receiver) = oneshot::channel();
            {
                let mut state = lock(&self.shared.state);
                if let Some(reason) = &state.closed {
                    return Err(DialError::Closed(reason.clone()));
                }
                state.forget_abandoned(Instant::now());
                state.outstanding.insert(nonce, Dial::Waiting(sender));
            }
            let _abandon = Abandon { shared: &self.shared, nonce };
            if self.shared.requests.send(nonce).is_err() {
                return Err(DialError::Closed("the control task has ended".into()));
            }
            match timeout(limit, receiver).await {
                Ok(Ok(result)) => result,
                Ok(Err(_)) => Err(DialError::PickupFailed("the connection broke before it could be handed over".into())),
                Err(_) => Err(DialError::TimedOut(limit)),
            }
        })
    }

    /// Waits until the control connection has ended and says why.
    pub async fn closed(&self) -> Arc<str> {
        let mut closed = self.closed.clone();
        match closed.wait_for(Option::is_some).await {
            Ok(reason) => reason.clone().unwrap_or_else(|| "closed".into()),
            Err(_) => "the control task has ended".into(),
        }
    }

    /// Why the control connection has ended, if it has.
    pub fn closed_reason(&self) -> Option<Arc<str>> {
        lock(&self.shared.state).closed.clone()
    }

    /// Whether both speak of the same control connection.
    pub fn is(&self, other: &Dialer) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }

    /// Closes the control connection. Connections already picked up live on.
    pub fn close(&self) {
        self._owner.stop.send_replace(true);
    }
}

/// Marks a dial as given up when its future is dropped; does nothing if it was answered.
struct Abandon<'a> {
    shared: &'a Shared,
    nonce: u64,
}

impl Drop for Abandon<'_> {
    fn drop(&mut self) {
        if let Some(dial) = lock(&self.shared.state).outstanding.get_mut(&self.nonce) {
            *dial = Dial::Abandoned(Instant::now());
        }
    }
}

/// Serves the control channel until it ends; returns why.
async fn serve(
    mut control: BoxStream,
    mut lines: LineBuffer,
    shared: &Shared,
    mut wanted: mpsc::UnboundedReceiver<u64>,
    mut stopped: watch::Receiver<bool>,
) -> String {
    // Small, since it lives in the task of every idle machine.
    let mut chunk = [0; 256];
    let mut next_keep_alive = Instant::now();
    loop {
        while let Some(message) = lines.next_message() {
            match message {
                Ok(Message::PickupFailed { path, err }) => {
                    let error = DialError::PickupFailed(err);
                    let mut state = lock(&shared.state);
                    match path.as_deref().and_then(PickupTarget::parse) {
                        Some(PickupTarget { dialer, nonce: Some(nonce) }) if dialer == shared.id => state.fail(nonce, error),
                        _ => state.fail_unnamed(error),
                    }
                }
                Ok(_) => {}
                Err(error) => return error.to_string(),
            }
        }
        let out = tokio::select! {
            // Errors when the last `Dialer` is gone, which is a stop as well.
            _ = stopped.wait_for(|stop| *stop) => return "closed by the coordinator".into(),
            read = control.read(&mut chunk) => match read {
                Ok(0) => return "the machine closed it".into(),
                Ok(count) => {
                    if let Err(error) = lines.push(chunk.get(..count).unwrap_or_default()) {
                        return error.to_string();
                    }
                    continue;
                }
                // TLS peers that are killed send no goodbye; rustls explains that at length.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return "the machine is gone".into(),
                Err(error) => return error.to_string(),
            },
            Some(first) = wanted.recv() => {
                let mut out = Vec::new();
                let mut next = Some(first);
                while let Some(nonce) = next {
                    let path = pickup_target(&shared.path, shared.id, nonce);
                    match (Message::ConnReady { path }).encode() {
                        Ok(line) => out.extend_from_slice(&line),
                        Err(error) => return error.to_string(),
                    }
                    next = wanted.try_recv().ok();
                }
                out
            },
            () = sleep_until(next_keep_alive) => match Message::KeepAlive.encode() {
                Ok(line) => line,
                Err(error) => return error.to_string(),
            },
        };
        let write = async {
            control.write_all(&out).await?;
            control.flush().await
        };
        match timeout(WRITE_LIMIT, write).await {
            Ok(Ok(())) => next_keep_alive = Instant::now() + KEEP_ALIVE,
            Ok(Err(error)) => return error.to_string(),
            Err(_) => return format!("the machine took nothing for {} s", WRITE_LIMIT.as_secs()),
        }
    }
}
