//! The check of frozen segments against the digests in their names, in the background.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use protocol_mutlog::{Digest, Sha224};
use tokio::sync::watch;

use super::SegmentInfo;
use crate::frames::{FrameFault, FrameReader};

/// Bytes between two pauses.
const PIECE: usize = 1 << 20;

/// How far the check has come.
#[derive(Debug, Clone, Default)]
pub struct Scrub {
    /// Segments that were frozen when the log was opened.
    pub segments: usize,
    /// How many of them were read.
    pub checked: usize,
    /// Bytes read so far.
    pub bytes: u64,
    /// What was found.
    pub faults: Vec<ScrubFault>,
    /// Whether it has come to its end.
    pub finished: bool,
}

/// A frozen segment that is not what it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScrubFault {
    /// The file.
    pub path: PathBuf,
    /// Where its records stop making sense; `None`: its framing is right, so the damage is within a record.
    pub offset: Option<u64>,
    /// What is wrong, as a sentence.
    pub text: String,
}

/// A check under way; dropping it stops it.
#[derive(Debug)]
pub(super) struct Running {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.take();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Begins to check `segments` at `rate` bytes a second; 0: without pauses.
pub(super) fn start(segments: Vec<SegmentInfo>, rate: u64) -> io::Result<(Running, watch::Receiver<Scrub>)> {
    let (stop, stopped) = channel();
    let (sender, receiver) = watch::channel(Scrub { segments: segments.len(), ..Scrub::default() });
    let thread = std::thread::Builder::new().name("maintnerd-scrub".into()).spawn(move || run(&segments, rate, &stopped, &sender))?;
    Ok((Running { stop: Some(stop), thread: Some(thread) }, receiver))
}

fn run(segments: &[SegmentInfo], rate: u64, stopped: &Receiver<()>, status: &watch::Sender<Scrub>) {
    for segment in segments {
        let fault = match digest(&segment.path, rate, stopped, status) {
            Ok(None) => return,
            Ok(Some(found)) if found == segment.sha224 => None,
            Ok(Some(found)) => Some(locate(segment, found)),
            Err(error) => Some(ScrubFault { path: segment.path.to_path_buf(), offset: None, text: format!("It cannot be read: {error}.") }),
        };
        if let Some(fault) = &fault {
            tracing::error!(log.file = %fault.path.display(), log.offset = fault.offset, fault = fault.text, "A frozen segment of the log is damaged.");
        }
        status.send_modify(|status| {
            status.checked += 1;
            status.faults.extend(fault);
        });
    }
    status.send_modify(|status| status.finished = true);
}

/// `None`: stopped.
fn digest(path: &Path, rate: u64, stopped: &Receiver<()>, status: &watch::Sender<Scrub>) -> io::Result<Option<Sha224>> {
    let mut file = File::open(path)?;
    let mut digest = Digest::default();
    let mut piece = vec![0; PIECE];
    loop {
        let n = file.read(&mut piece)?;
        let pause = if rate == 0 { Duration::ZERO } else { Duration::from_secs_f64(n as f64 / rate as f64) };
        // Waiting for the word to stop is what the pause is made of.
        if !matches!(stopped.recv_timeout(pause), Err(RecvTimeoutError::Timeout)) {
            return Ok(None);
        }
        if n == 0 {
            return Ok(Some(digest.finish()));
        }
        digest.update(piece.get(..n).unwrap_or_default());
        status.send_modify(|status| status.bytes += n as u64);
    }
}

/// Where the damage is, as far as the framing tells.
fn locate(segment: &SegmentInfo, found: Sha224) -> ScrubFault {
    let fault = File::open(&segment.path).map_err(|source| FrameFault::Read { offset: 0, source }).and_then(|file| {
        let size = file.metadata().map_or(segment.size, |metadata| metadata.len());
        let mut reader = FrameReader::new(file, size);
        while reader.next()?.is_some() {}
        Ok(())
    });
    let offset = fault.as_ref().err().map(FrameFault::offset);
    let detail = fault.err().map(|fault| format!(" ({fault})")).unwrap_or_default();
    ScrubFault { path: segment.path.to_path_buf(), offset, text: format!("Its digest is {found}, not that of its name{detail}.") }
}
