//! Whether a worker still answers.
//!
//! The probes have a connection of their own, written by hand rather than through the HTTP client: an idle machine then costs little memory, and a
//! connection that is watched while idle tells of a killed process at once, on every operating system.

use std::io;
use std::time::Duration;

use burrow_buildlet_client::{Client, Error, Status};
use burrow_revdial::{BoxStream, read_response_head};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::Timing;

const REQUEST: &[u8] = b"GET /status HTTP/1.1\r\nHost: buildlet\r\nUser-Agent: burrow\r\n\r\n";
/// Longest `GET /status` body.
const MAX_BODY: u64 = 64 * 1024;
/// Pause after a probe that failed at once, so that a broken peer is not asked in a busy loop.
const AFTER_FAILURE: Duration = Duration::from_millis(500);

/// Asks one worker for its status, on a connection kept for that.
pub(crate) struct Probe {
    client: Client,
    kept: Option<BoxStream>,
}

/// What a watch noticed.
pub(crate) enum Noticed {
    /// It answers, but as another process.
    Restarted,
    /// It gave no answer for too long.
    Silent(String),
    /// It missed a probe.
    Late(String),
    /// It answered again after it had been late.
    Back,
}

impl Probe {
    pub(crate) fn new(client: Client) -> Probe {
        Probe { client, kept: None }
    }

    /// Drops the connection: the next probe opens a new one.
    pub(crate) fn forget(&mut self) {
        self.kept = None;
    }

    /// One `GET /status`. Cancelled or failed, it leaves no connection behind.
    pub(crate) async fn status(&mut self) -> Result<Status, Error> {
        if let Some(stream) = self.kept.take() {
            // The worker may have closed it while it was idle, so a failure here means nothing yet.
            if let Ok(status) = self.exchange(stream).await {
                return Ok(status);
            }
        }
        let stream = self.client.connect().await?;
        self.exchange(stream).await
    }

    async fn exchange(&mut self, mut stream: BoxStream) -> Result<Status, Error> {
        let failed = |source: io::Error| Error::Transport { doing: "GET /status".into(), source: source.into() };
        stream.write_all(REQUEST).await.map_err(failed)?;
        stream.flush().await.map_err(failed)?;
        let mut buffer = Vec::new();
        let head = read_response_head(&mut stream, &mut buffer).await.map_err(failed)?;
        if head.status != 200 {
            return Err(Error::Refused { status: head.status, text: head.reason });
        }
        let length = match head.content_length() {
            Some(length) if length <= MAX_BODY => length as usize,
            Some(_) => return Err(Error::Protocol("GET /status answers too much".into())),
            // Chunked: rare enough to leave it to the real client.
            None => return self.client.status().await,
        };
        while buffer.len() < length {
            if stream.read_buf(&mut buffer).await.map_err(failed)? == 0 {
                return Err(failed(io::ErrorKind::UnexpectedEof.into()));
            }
        }
        let status = serde_json::from_slice(buffer.get(..length).unwrap_or_default()).map_err(|e| Error::Protocol(format!("GET /status: {e}")))?;
        let closes = head.header("Connection").is_some_and(|v| v.eq_ignore_ascii_case("close"));
        if !closes && buffer.len() == length {
            self.kept = Some(stream);
        }
        Ok(status)
    }

    /// Waits for the pause between two probes, or until the kept connection ends, which is the time to look.
    async fn pause(&mut self, pause: Duration) {
        let Some(stream) = &mut self.kept else {
            return sleep(pause).await;
        };
        let mut byte = [0];
        if timeout(pause, stream.read(&mut byte)).await.is_ok() {
            // Ended, broken, or bytes nobody asked for: useless in each case.
            self.kept = None;
        }
    }
}

/// The state of a watch over several calls of [`Watch::next`].
pub(crate) struct Watch {
    probe: Probe,
    /// The instance expected, if the worker has one.
    instance: Option<String>,
    timing: Timing,
    last_good: Instant,
    late: bool,
    pause: Duration,
}

impl Watch {
    /// Begins after a good answer.
    pub(crate) fn new(probe: Probe, instance: Option<String>, timing: Timing) -> Watch {
        Watch { probe, instance, timing, last_good: Instant::now(), late: false, pause: timing.interval }
    }

    /// The worker answered over a new connection: begin anew with it.
    pub(crate) fn reconnected(&mut self) {
        self.probe.forget();
        self.last_good = Instant::now();
        self.late = false;
        self.pause = self.timing.interval;
    }

    /// Watches until there is something to tell. Dropped and called again, it goes on.
    pub(crate) async fn next(&mut self) -> Noticed {
        loop {
            let lost_at = self.last_good + self.timing.silence;
            let paused = async {
                self.probe.pause(self.pause).await;
            };
            tokio::select! {
                () = paused => {}
                () = sleep_until(lost_at) => {}
            }
            let limit = self.timing.probe.min(lost_at.saturating_duration_since(Instant::now()));
            let reason = match timeout(limit, self.probe.status()).await {
                Ok(Ok(status)) => {
                    let instance = status.burrow.as_ref().map(|b| b.instance.as_str());
                    if self.instance.is_some() && self.instance.as_deref() != instance {
                        return Noticed::Restarted;
                    }
                    self.last_good = Instant::now();
                    self.pause = self.timing.interval;
                    if std::mem::take(&mut self.late) {
                        return Noticed::Back;
                    }
                    continue;
                }
                Ok(Err(error)) => {
                    self.pause = AFTER_FAILURE;
                    describe(&error)
                }
                Err(_) => {
                    self.pause = Duration::ZERO;
                    format!("it did not answer within {:.1} s", limit.as_secs_f64())
                }
            };
            self.probe.forget();
            if Instant::now() >= lost_at {
                return Noticed::Silent(format!("no answer for {:.0} s; last: {reason}", self.last_good.elapsed().as_secs_f64()));
            }
            if !std::mem::replace(&mut self.late, true) {
                return Noticed::Late(reason);
            }
        }
    }
}

/// An error with its causes in one line.
pub(crate) fn describe(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            text.push_str(": ");
            text.push_str(&inner_text);
        }
        cause = inner.source();
    }
    text
}
