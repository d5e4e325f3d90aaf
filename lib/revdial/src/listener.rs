//! The machine's end: registers, then answers each `conn-ready` by opening a connection.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use burrow_task::BoxFuture;
use protocol_revdial::{BadRegistration, LineBuffer, Message, RedirectError, Registration, ResponseHead, SESSION_HEADER, pickup_request, redirect_target};
use thiserror::Error;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::Connect;
use crate::stream::{BoxStream, Prefixed, read_response_head};

/// The coordinator sends something at least every 30 s; after three missed keep-alives the channel is dead (`spec/buildlet.md` §11).
const SILENCE_LIMIT: Duration = Duration::from_secs(90);
/// Limit for one control line to leave.
const WRITE_LIMIT: Duration = Duration::from_secs(10);
/// Limit for one pick-up, from the TCP connection to the 101.
const PICKUP_LIMIT: Duration = Duration::from_secs(20);
/// Limit for the answer to a registration. Longer than a pick-up's: the coordinator may first look whether this machine's previous connection still lives.
const REGISTER_LIMIT: Duration = Duration::from_secs(60);
/// So many pick-ups are opened at the same time; more wait.
const PARALLEL_PICKUPS: usize = 128;
/// So many may wait; more are refused, so that a flood of `conn-ready` costs a bounded amount of memory.
const MAX_PICKUPS: usize = 4096;
/// Accepted connections that wait for [`Listener::accept`].
const QUEUE: usize = 32;
/// A request may be sent to so many places (`spec/buildlet.md` §6.2).
const MAX_REQUESTS: usize = 2;
/// Longest body of a redirect or refusal that is read.
const MAX_BODY: u64 = 64 * 1024;

/// Why a registration did not succeed.
#[derive(Debug, Error)]
pub enum RegisterError {
    /// The coordinator could not be reached, or the connection broke: try again later.
    #[error("the coordinator could not be reached: {0}")]
    Transport(#[source] io::Error),
    /// The coordinator refused. 412: the credential is wrong, unknown or revoked.
    #[error("the coordinator refused the registration: {status} {text}")]
    Refused {
        /// HTTP status.
        status: u16,
        /// Its explanation, at most 4 KiB.
        text: String,
    },
    /// What was to be sent cannot be sent.
    #[error(transparent)]
    Bad(#[from] BadRegistration),
    /// It redirects in a way that is not followed.
    #[error("the coordinator redirects: {0}")]
    Redirect(#[from] RedirectError),
}

/// Why no more connections will be accepted.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("the control connection ended: {0}")]
pub struct Closed(pub String);

/// A registered machine, waiting for connections. Dropping it closes the control connection; connections already accepted live on.
#[derive(Debug)]
pub struct Listener {
    accepted: mpsc::Receiver<BoxStream>,
    session: Option<String>,
    control: Option<tokio::task::JoinHandle<String>>,
    closed: Option<Closed>,
}

impl Listener {
    /// The session the coordinator named. With one, the machine may come back under the same instance after a lost control connection; without one
    /// (a Go coordinator) it is expected to exit.
    pub fn session(&self) -> Option<&str> {
        self.session.as_deref()
    }

    /// The next connection: the coordinator is the HTTP client on it. Cancel-safe.
    ///
    /// # Errors
    /// [`Closed`] when the control connection has ended; every further call says the same.
    pub async fn accept(&mut self) -> Result<BoxStream, Closed> {
        if let Some(stream) = self.accepted.recv().await {
            return Ok(stream);
        }
        if let Some(control) = &mut self.control {
            let reason = match control.await {
                Ok(reason) => reason,
                Err(error) => error.to_string(),
            };
            self.control = None;
            self.closed = Some(Closed(reason));
        }
        Err(self.closed.clone().unwrap_or_else(|| Closed("closed".into())))
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Some(control) = &self.control {
            control.abort();
        }
    }
}

/// Connects, registers at `/reverse` and keeps the control connection alive from then on.
///
/// # Errors
/// [`RegisterError`]
pub fn register<'a>(connector: Arc<dyn Connect>, registration: &'a Registration) -> BoxFuture<'a, Result<Listener, RegisterError>> {
    Box::pin(async move {
        let mut stream = connector.connect().await.map_err(RegisterError::Transport)?;
        let mut buffer = Vec::new();
        let exchange = async {
            let mut target = "/reverse".to_owned();
            for _ in 0..MAX_REQUESTS {
                let request = registration.encode(&target)?;
                match ask(&mut stream, &mut buffer, &request).await.map_err(RegisterError::Transport)? {
                    Answer::Switched(head) => {
                        return Ok(head.header(SESSION_HEADER).map(str::to_owned));
                    }
                    Answer::Redirect(head) => target = redirect_target(&head)?,
                    Answer::Refused { status, text } => {
                        return Err(RegisterError::Refused { status, text });
                    }
                }
            }
            Err(RegisterError::Refused { status: 307, text: "too many redirects".into() })
        };
        let session = timeout(REGISTER_LIMIT, exchange)
            .await
            .map_err(|_| RegisterError::Transport(io::Error::new(io::ErrorKind::TimedOut, "no answer to the registration")))??;
        let (sender, accepted) = mpsc::channel(QUEUE);
        let control = burrow_task::spawn(control_loop(stream, buffer, connector, sender));
        Ok(Listener { accepted, session, control: Some(control), closed: None })
    })
}

enum Answer {
    Switched(ResponseHead),
    Redirect(ResponseHead),
    Refused { status: u16, text: String },
}

/// Sends one request and reads its answer; of a 101, what follows the head stays in `buffer`.
async fn ask(stream: &mut BoxStream, buffer: &mut Vec<u8>, request: &[u8]) -> io::Result<Answer> {
    stream.write_all(request).await?;
    stream.flush().await?;
    let head = read_response_head(stream, buffer).await?;
    if head.status == 101 {
        return Ok(Answer::Switched(head));
    }
    // The body has to be read: after a redirect the connection is used again, after a refusal it says why.
    let too_long = || io::Error::new(io::ErrorKind::InvalidData, "the answer's body is too long or of unknown length");
    let known = head.content_length();
    let wanted = match known {
        Some(length) if length > MAX_BODY => return Err(too_long()),
        Some(length) => usize::try_from(length).map_err(|_| too_long())?,
        None if head.status == 307 => return Err(too_long()),
        None => 4096,
    };
    while buffer.len() < wanted {
        let read = stream.read_buf(buffer).await;
        match read {
            Ok(0) | Err(_) if head.status != 307 => break,
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(_) => {}
            Err(error) => return Err(error),
        }
    }
    let body: Vec<u8> = buffer.drain(..wanted.min(buffer.len())).collect();
    if head.status == 307 {
        return Ok(Answer::Redirect(head));
    }
    let text = String::from_utf8_lossy(body.get(..4096).unwrap_or(&body)).trim().to_owned();
    Ok(Answer::Refused { status: head.status, text: if text.is_empty() { head.reason } else { text } })
}

/// Serves the control channel until it ends; returns why.
async fn control_loop(mut stream: BoxStream, surplus: Vec<u8>, connector: Arc<dyn Connect>, accepted: mpsc::Sender<BoxStream>) -> String {
    let permits = Arc::new(Semaphore::new(PARALLEL_PICKUPS));
    // Dropped with this loop, which ends the pick-ups under way.
    let mut pickups: JoinSet<Result<(), (String, String)>> = JoinSet::new();
    let mut lines = LineBuffer::default();
    let mut chunk = [0; 1024];
    let mut given = surplus;
    loop {
        if let Err(error) = lines.push(&given) {
            return error.to_string();
        }
        given.clear();
        while let Some(message) = lines.next_message() {
            let path = match message {
                Ok(Message::ConnReady { path }) => path,
                Ok(_) => continue,
                Err(error) => return error.to_string(),
            };
            if pickups.len() >= MAX_PICKUPS {
                if let Err(reason) = report(&mut stream, path, "too many connections were asked for at once".into()).await {
                    return reason;
                }
                continue;
            }
            let (permits, connector, accepted) = (permits.clone(), connector.clone(), accepted.clone());
            pickups.spawn(burrow_task::boxed(async move {
                let Ok(_permit) = permits.acquire_owned().await else {
                    return Ok(());
                };
                match timeout(PICKUP_LIMIT, pick_up(&*connector, &path)).await {
                    Ok(Ok(connection)) => {
                        // Fails only when the listener is gone, and then nobody is there to be told.
                        let _ = accepted.send(connection).await;
                        Ok(())
                    }
                    Ok(Err(error)) => Err((path, error.to_string())),
                    Err(_) => Err((path, format!("no connection within {} s", PICKUP_LIMIT.as_secs()))),
                }
            }));
        }
        tokio::select! {
            read = timeout(SILENCE_LIMIT, stream.read(&mut chunk)) => match read {
                Err(_) => return format!("nothing was heard from the coordinator for {} s", SILENCE_LIMIT.as_secs()),
                Ok(Ok(0)) => return "the coordinator closed it".into(),
                Ok(Ok(count)) => given.extend_from_slice(chunk.get(..count).unwrap_or_default()),
                // TLS peers that are killed send no goodbye; rustls explains that at length.
                Ok(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => return "the coordinator is gone".into(),
                Ok(Err(error)) => return error.to_string(),
            },
            Some(done) = pickups.join_next() => if let Ok(Err((path, error))) = done {
                tracing::debug!(error, "a connection the coordinator asked for could not be opened");
                if let Err(reason) = report(&mut stream, path, error).await {
                    return reason;
                }
            },
        }
    }
}

async fn report(stream: &mut BoxStream, path: String, err: String) -> Result<(), String> {
    let line = Message::PickupFailed { path: Some(path), err }.encode().map_err(|e| e.to_string())?;
    let write = async {
        stream.write_all(&line).await?;
        stream.flush().await
    };
    match timeout(WRITE_LIMIT, write).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("the coordinator took nothing for {} s", WRITE_LIMIT.as_secs())),
    }
}

async fn pick_up(connector: &dyn Connect, path: &str) -> io::Result<BoxStream> {
    let mut stream = connector.connect().await?;
    let mut buffer = Vec::new();
    let mut target = path.to_owned();
    for _ in 0..MAX_REQUESTS {
        let request = pickup_request(&target).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "the connection path is no path"))?;
        match ask(&mut stream, &mut buffer, &request).await? {
            Answer::Switched(_) => return Ok(Prefixed::new(buffer, stream).boxed()),
            Answer::Redirect(head) => {
                target = redirect_target(&head).map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))?;
            }
            Answer::Refused { status, text } => {
                return Err(io::Error::other(format!("refused: {status} {text}")));
            }
        }
    }
    Err(io::Error::other("too many redirects"))
}
