//! `gerrit stream-events` over SSH: tells of what mail never does, reference updates and hashtags (`spec/pubsubhelper.md` §7 row 14, golang/go#24955).
//!
//! The `ssh` program is a child that is started again when it ends. An event is taken off its output only when the one before is on disk, so a full disk holds
//! up the server's stream instead of losing it.

use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use burrow_git::program::Group;
use tokio::io::AsyncReadExt as _;
use tokio::process::Command;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::config::Stream;
use crate::counters::Outcome;
use crate::hub::{Hub, Source};
use crate::sources::{Envelope, Verdict, gerrit};

/// Longest event, bytes; longer ones are passed over.
const LONGEST: usize = 4 << 20;
/// Pause after the connection ended; doubled with every further time up to the longest.
const PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// A connection that stood for so long was a good one.
const GOOD: Duration = Duration::from_secs(60);
/// A server that lets nobody in says so by then.
const REFUSED_BY: Duration = Duration::from_secs(30);
/// Bytes of what `ssh` says that are worth telling.
const SAID: usize = 2_000;

/// `ssh … gerrit stream-events`, with nothing of the user's settings.
fn command(stream: &Stream) -> Command {
    let mut command = Command::new(stream.program.as_deref().unwrap_or("ssh".as_ref()));
    let (host, port) = stream.ssh.rsplit_once(':').unwrap_or((&stream.ssh, "29418"));
    command
        .args(["-F", "none", "-T", "-oBatchMode=yes", "-oConnectTimeout=20", "-oServerAliveInterval=15", "-oServerAliveCountMax=3"])
        .args(["-oStrictHostKeyChecking=yes", "-oIdentitiesOnly=yes", "-oUpdateHostKeys=no", "-oGlobalKnownHostsFile=none"])
        .arg(format!("-oUserKnownHostsFile={}", stream.known_hosts_file.display()))
        .arg("-i")
        .arg(&stream.key_file)
        .args(["-p", port, "--", host, "gerrit", "stream-events"])
        .env("LC_ALL", "C")
        .env("SSH_ASKPASS", "")
        .env_remove("SSH_AUTH_SOCK")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// Reads events until it is told to stop.
pub async fn run(stream: Stream, hub: Hub, source: Arc<Source>, shutdown: CancellationToken) {
    let mut failures = 0_u32;
    loop {
        let begun = Instant::now();
        let ended = tokio::select! {
            ended = connection(&stream, &hub, &source) => ended,
            () = shutdown.cancelled() => return,
        };
        source.set_connection(false, hub.clock.now_ms(), Some(ended.clone()));
        tracing::warn!(source = source.name, why = ended, "The stream of Gerrit's events ended; it is opened again.");
        if begun.elapsed() >= GOOD {
            failures = 0;
        }
        let pause = PAUSE.saturating_mul(1_u32.checked_shl(failures).unwrap_or(u32::MAX)).min(LONGEST_PAUSE);
        failures = failures.saturating_add(1);
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = shutdown.cancelled() => return,
        }
    }
}

/// One connection, up to its end. Says why it ended.
async fn connection(stream: &Stream, hub: &Hub, source: &Source) -> String {
    let mut group = match Group::start(command(stream)) {
        Ok(group) => group,
        Err(burrow_git::Error::NoGit(why)) => return format!("ssh cannot be started: {why}"),
        Err(error) => return error.to_string(),
    };
    let (Some(mut out), Some(mut err)) = (group.child.stdout.take(), group.child.stderr.take()) else { return "ssh has no output".into() };
    let said = burrow_task::spawn(async move {
        let mut tail: Vec<u8> = Vec::new();
        let mut chunk = vec![0; 4096];
        while let Ok(n @ 1..) = err.read(&mut chunk).await {
            tail.extend_from_slice(chunk.get(..n).unwrap_or_default());
            let surplus = tail.len().saturating_sub(SAID);
            tail.drain(..surplus);
        }
        tail
    });
    let mut lines = Lines::default();
    let mut chunk = vec![0; 64 << 10];
    let mut up = false;
    loop {
        // A server where nothing happens says nothing: a connection that was not refused by then stands.
        let read = if up { Ok(out.read(&mut chunk).await) } else { tokio::time::timeout(REFUSED_BY, out.read(&mut chunk)).await };
        let Ok(read) = read else {
            up = true;
            source.set_connection(true, hub.clock.now_ms(), None);
            continue;
        };
        match read {
            Ok(0) => break,
            Ok(n) => {
                if !std::mem::replace(&mut up, true) {
                    source.set_connection(true, hub.clock.now_ms(), None);
                }
                for line in lines.take(chunk.get(..n).unwrap_or_default()) {
                    take(stream, hub, source, line).await;
                }
            }
            Err(error) => return format!("ssh's output cannot be read: {error}"),
        }
    }
    let status = group.child.wait().await.map_or_else(|error| error.to_string(), |status| status.to_string());
    let said = said.await.unwrap_or_default();
    let said: String = String::from_utf8_lossy(&said).trim().chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    if said.is_empty() { format!("ssh ended ({status})") } else { format!("ssh ended ({status}): {said}") }
}

/// Keeps one event, however long the disk takes.
async fn take(stream: &Stream, hub: &Hub, source: &Source, line: Result<Vec<u8>, usize>) {
    let line = match line {
        Ok(line) => line,
        Err(bytes) => return source.record(Outcome::TooLarge, &format!("an event of {bytes} bytes was passed over"), hub.clock.now_ms()),
    };
    if line.trim_ascii().is_empty() {
        return;
    }
    let envelope = Envelope { source: &source.name, ..Envelope::default() };
    let drafts = match gerrit::read(&envelope, &stream.url, &line) {
        Ok(Verdict::Events(drafts)) => drafts,
        Ok(Verdict::Ignored(_)) => return source.record(Outcome::Ignored, "", hub.clock.now_ms()),
        Err(error) => return source.record(Outcome::Malformed, &error.to_string(), hub.clock.now_ms()),
    };
    let mut pause = PAUSE;
    // Too large ones stay too large.
    while let Err(error) = hub.keep(source, drafts.clone()).await {
        if !matches!(error, burrow_events::AppendError::Write { .. }) {
            return;
        }
        tokio::time::sleep(pause).await;
        pause = pause.saturating_mul(2).min(LONGEST_PAUSE);
    }
}

/// Cuts a stream into lines, within bounds.
#[derive(Debug, Default)]
pub struct Lines {
    held: Vec<u8>,
    /// Bytes of a line that is too long and is being passed over.
    passed: usize,
}

impl Lines {
    /// Lines that end in these bytes; of one that was too long, its length.
    pub fn take(&mut self, bytes: &[u8]) -> Vec<Result<Vec<u8>, usize>> {
        let mut lines = Vec::new();
        let mut rest = bytes;
        while let Some(at) = rest.iter().position(|byte| *byte == b'\n') {
            let (line, after) = rest.split_at(at);
            self.hold(line);
            let line = std::mem::take(&mut self.held);
            lines.push(match std::mem::take(&mut self.passed) {
                0 => Ok(line),
                passed => Err(passed),
            });
            rest = after.get(1..).unwrap_or_default();
        }
        self.hold(rest);
        lines
    }

    fn hold(&mut self, bytes: &[u8]) {
        if self.passed > 0 || self.held.len().saturating_add(bytes.len()) > LONGEST {
            self.passed = self.passed.saturating_add(self.held.len()).saturating_add(bytes.len());
            self.held = Vec::new();
        } else {
            self.held.extend_from_slice(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_cut_and_a_giant_is_passed_over() {
        let mut lines = Lines::default();
        assert_eq!(lines.take(b"a\nb"), [Ok(b"a".to_vec())]);
        assert_eq!(lines.take(b"c\n\n"), [Ok(b"bc".to_vec()), Ok(Vec::new())]);
        let part = vec![b'x'; LONGEST / 2 + 1];
        assert!(lines.take(&part).is_empty() && lines.take(&part).is_empty() && lines.held.is_empty());
        assert_eq!(lines.take(b"y\nz\n"), [Err(part.len() * 2 + 1), Ok(b"z".to_vec())]);
    }
}
