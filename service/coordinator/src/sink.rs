//! Where a command's output goes: into the attempt's log, or aside until its turn comes.

use std::fs::File;
use std::io::{Read as _, Seek as _, Write as _};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::logs::LogWriter;
use crate::session::Failure;

/// Pause between tries while the disk is full.
const AGAIN: Duration = Duration::from_millis(500);

/// A place for output.
pub(crate) enum Sink<'a> {
    /// The attempt's log.
    Log(&'a mut LogWriter),
    /// A file without a name, for what runs beside the log; it goes away by itself.
    Aside(&'a mut File),
    /// Memory, up to a number of bytes; more is an error, because somebody will read it whole.
    Memory(&'a mut Vec<u8>, usize),
}

impl Sink<'_> {
    /// Appends. A full disk is waited for: output that a worker holds is not lost by patience.
    ///
    /// # Errors
    /// [`Failure::Stopped`] when `stop` is cancelled meanwhile; too much for memory.
    pub(crate) async fn append(&mut self, bytes: &[u8], stop: &CancellationToken) -> Result<(), Failure> {
        let mut told = false;
        loop {
            let error = match self {
                Sink::Memory(memory, limit) if memory.len() + bytes.len() > *limit => {
                    return Err(Failure::Infrastructure(format!("the output is longer than {limit} bytes")));
                }
                Sink::Memory(memory, _) => {
                    memory.extend_from_slice(bytes);
                    return Ok(());
                }
                Sink::Log(log) => match log.append(bytes) {
                    Ok(()) => return Ok(()),
                    Err(error) => error,
                },
                Sink::Aside(file) => match append_whole(file, bytes) {
                    Ok(()) => return Ok(()),
                    Err(error) => error,
                },
            };
            if !told {
                tracing::warn!(%error, "Output cannot be stored; the build waits until it can.");
                told = true;
            }
            tokio::select! {
                () = stop.cancelled() => return Err(Failure::Stopped),
                () = tokio::time::sleep(AGAIN) => {}
            }
        }
    }
}

fn append_whole(file: &mut File, bytes: &[u8]) -> std::io::Result<()> {
    let before = file.stream_position()?;
    if let Err(error) = file.write_all(bytes) {
        file.set_len(before)?;
        file.seek(std::io::SeekFrom::Start(before))?;
        return Err(error);
    }
    Ok(())
}

/// Moves what was put aside into the log.
///
/// # Errors
/// As [`Sink::append`]; the aside file cannot be read.
pub(crate) async fn move_into(file: &mut File, log: &mut LogWriter, stop: &CancellationToken) -> Result<(), Failure> {
    let broken = |e: std::io::Error| Failure::Infrastructure(format!("output put aside cannot be read: {e}"));
    file.rewind().map_err(broken)?;
    let mut piece = vec![0; 1 << 18];
    loop {
        let n = file.read(&mut piece).map_err(broken)?;
        if n == 0 {
            return Ok(());
        }
        Sink::Log(log).append(piece.get(..n).unwrap_or_default(), stop).await?;
    }
}
