//! Packing a tar stream on several cores, in one pass, with the same bytes every time.
//!
//! Gzip: one member, cut into blocks that are compressed at the same time. Each block knows the 32 KiB before it, so cutting costs next to nothing, and
//! the result is one ordinary deflate stream (a reader that stops after the first member of several would lose the rest). Zstandard is so quick that
//! one thread packs while another reads.

use std::io;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use zlib_rs::{Deflate, DeflateFlush, Status};

use crate::ask::Format;
use crate::tar::Sink;

/// Bytes that are compressed at once.
const BLOCK: usize = 128 << 10;
/// How far deflate looks back.
const WINDOW: usize = 32 << 10;
/// The level whose result is not larger than `gzip -6` makes it.
const GZIP_LEVEL: i32 = 7;
const ZSTD_LEVEL: i32 = 6;
/// No name, no time, from Unix: what `git archive` writes too.
const GZIP_HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3];

/// Runs `tar`, packs what it writes, and hands that to `out` in order. Ends early, with its error, when `out` or `tar` fails.
pub(crate) fn pack<E: From<io::Error> + Send>(
    format: Format,
    threads: usize,
    tar: impl FnOnce(&mut dyn Sink) -> Result<(), E> + Send,
    out: &mut dyn FnMut(Bytes) -> io::Result<()>,
) -> Result<(), E> {
    match format {
        Format::Tar => {
            let mut plain = Plain { buffer: Vec::with_capacity(BLOCK), out };
            tar(&mut plain)?;
            plain.send()?;
            Ok(())
        }
        Format::Gzip => gzip(threads, tar, out),
        Format::Zstd => zstandard(tar, out),
    }
}

struct Plain<'o> {
    buffer: Vec<u8>,
    out: &'o mut dyn FnMut(Bytes) -> io::Result<()>,
}

impl Plain<'_> {
    fn send(&mut self) -> io::Result<()> {
        let full = std::mem::replace(&mut self.buffer, Vec::with_capacity(BLOCK));
        if full.is_empty() { Ok(()) } else { (self.out)(full.into()) }
    }
}

impl Sink for Plain<'_> {
    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= BLOCK { self.send() } else { Ok(()) }
    }
}

/// The other side has ended, and says why itself.
fn gone<T>(_: T) -> io::Error {
    io::ErrorKind::BrokenPipe.into()
}

/// Cuts a stream into blocks for someone else.
struct Cut<F: FnMut(Vec<u8>) -> io::Result<()>> {
    buffer: Vec<u8>,
    full: F,
}

impl<F: FnMut(Vec<u8>) -> io::Result<()>> Sink for Cut<F> {
    fn put(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(BLOCK - self.buffer.len().min(BLOCK)));
            self.buffer.extend_from_slice(now);
            bytes = later;
            if self.buffer.len() >= BLOCK {
                (self.full)(std::mem::replace(&mut self.buffer, Vec::with_capacity(BLOCK)))?;
            }
        }
        Ok(())
    }
}

struct Job {
    block: Arc<Vec<u8>>,
    before: Option<Arc<Vec<u8>>>,
    last: bool,
    reply: SyncSender<io::Result<Vec<u8>>>,
}

/// What the reader knows at the end.
struct Sum {
    crc: u32,
    length: u32,
}

fn gzip<E: From<io::Error> + Send>(
    threads: usize,
    tar: impl FnOnce(&mut dyn Sink) -> Result<(), E> + Send,
    out: &mut dyn FnMut(Bytes) -> io::Result<()>,
) -> Result<(), E> {
    let threads = threads.clamp(1, 64);
    let (jobs, todo) = sync_channel::<Job>(threads);
    let todo = Arc::new(Mutex::new(todo));
    let (order, done) = sync_channel::<Receiver<io::Result<Vec<u8>>>>(2 * threads);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            let todo = Arc::clone(&todo);
            scope.spawn(move || compress_blocks(&todo));
        }
        // The threads' own are the only ones left, so that they end when the last job is done, and the reader when they are gone.
        drop(todo);
        let reader = scope.spawn(move || {
            let mut sum = Sum { crc: 0, length: 0 };
            let mut before = None;
            let mut dispatch = |block: Vec<u8>, last: bool| {
                sum.crc = zlib_rs::crc32::crc32(sum.crc, &block);
                // Its field counts modulo 2³².
                sum.length = sum.length.wrapping_add(block.len() as u32);
                let block = Arc::new(block);
                let (reply, answer) = sync_channel(1);
                let job = Job { block: Arc::clone(&block), before: before.replace(block), last, reply };
                jobs.send(job).map_err(gone)?;
                order.send(answer).map_err(gone)
            };
            let mut cut = Cut { buffer: Vec::with_capacity(BLOCK), full: |block| dispatch(block, false) };
            tar(&mut cut)?;
            let rest = cut.buffer;
            dispatch(rest, true)?;
            Ok::<Sum, E>(sum)
        });
        let mut emit = || {
            out(Bytes::from_static(&GZIP_HEADER))?;
            for answer in &done {
                out(answer.recv().map_err(gone)??.into())?;
            }
            Ok::<(), io::Error>(())
        };
        let emitted = emit();
        // Ends the reader when this side has failed.
        drop(done);
        let read = reader.join().unwrap_or_else(|_| Err(io::Error::other("the reader of the archive failed").into()));
        // Whoever failed first has the better story: the other one only saw a broken pipe.
        let sum = match (emitted, read) {
            (Ok(()), Ok(sum)) => sum,
            (Err(error), _) if error.kind() != io::ErrorKind::BrokenPipe => return Err(error.into()),
            (_, Err(error)) => return Err(error),
            (Err(error), Ok(_)) => return Err(error.into()),
        };
        let mut end = [0; 8];
        end[..4].copy_from_slice(&sum.crc.to_le_bytes());
        end[4..].copy_from_slice(&sum.length.to_le_bytes());
        out(Bytes::copy_from_slice(&end))?;
        Ok(())
    })
}

fn compress_blocks(todo: &Mutex<Receiver<Job>>) {
    let mut deflate = Deflate::new(GZIP_LEVEL, false, 15);
    loop {
        let job = todo.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(job) = job else { return };
        let result = compress_block(&mut deflate, &job);
        // Nobody waits any more: the whole is being ended.
        let _ = job.reply.send(result);
    }
}

fn compress_block(deflate: &mut Deflate, job: &Job) -> io::Result<Vec<u8>> {
    let failed = |error: zlib_rs::DeflateError| io::Error::other(error.as_str());
    deflate.reset();
    if let Some(before) = &job.before {
        let window = before.get(before.len().saturating_sub(WINDOW)..).unwrap_or_default();
        if !window.is_empty() {
            deflate.set_dictionary(window).map_err(failed)?;
        }
    }
    // What cannot be compressed grows by five bytes for each 16 KiB or so, and the flush adds a few.
    let mut out = vec![0; job.block.len() + job.block.len() / 1000 + 1024];
    let flush = if job.last { DeflateFlush::Finish } else { DeflateFlush::SyncFlush };
    let (mut taken, mut given) = (0, 0);
    loop {
        let status = deflate.compress(job.block.get(taken..).unwrap_or_default(), out.get_mut(given..).unwrap_or_default(), flush).map_err(failed)?;
        taken = deflate.total_in() as usize;
        given = deflate.total_out() as usize;
        let ended = if job.last { status == Status::StreamEnd } else { taken == job.block.len() && given < out.len() };
        if ended {
            out.truncate(given);
            return Ok(out);
        }
        out.resize(out.len() + (16 << 10), 0);
    }
}

fn zstandard<E: From<io::Error> + Send>(
    tar: impl FnOnce(&mut dyn Sink) -> Result<(), E> + Send,
    out: &mut dyn FnMut(Bytes) -> io::Result<()>,
) -> Result<(), E> {
    let (blocks, todo) = sync_channel::<Vec<u8>>(4);
    std::thread::scope(|scope| {
        let reader = scope.spawn(move || {
            let mut cut = Cut { buffer: Vec::with_capacity(BLOCK), full: |block| blocks.send(block).map_err(gone) };
            tar(&mut cut)?;
            let Cut { buffer, mut full } = cut;
            full(buffer)?;
            Ok::<(), E>(())
        });
        let emit = || {
            let to = out;
            let mut encoder = zstd::stream::write::Encoder::new(Pieces { out: to, buffer: Vec::with_capacity(BLOCK) }, ZSTD_LEVEL)?;
            encoder.include_checksum(true)?;
            for block in &todo {
                io::Write::write_all(&mut encoder, &block)?;
            }
            Ok::<_, io::Error>(encoder)
        };
        let emitted = emit();
        drop(todo);
        let read = reader.join().unwrap_or_else(|_| Err(io::Error::other("the reader of the archive failed").into()));
        match (emitted, read) {
            // Only now is it known that the tar stream is whole.
            (Ok(encoder), Ok(())) => {
                io::Write::flush(&mut encoder.finish()?)?;
                Ok(())
            }
            (Err(error), _) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
            (_, Err(error)) => Err(error),
            (Err(error), Ok(())) => Err(error.into()),
        }
    })
}

/// Collects what the encoder gives into pieces worth sending.
struct Pieces<'o> {
    out: &'o mut dyn FnMut(Bytes) -> io::Result<()>,
    buffer: Vec<u8>,
}

impl io::Write for Pieces<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= BLOCK / 2 {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let full = std::mem::take(&mut self.buffer);
        if full.is_empty() { Ok(()) } else { (self.out)(full.into()) }
    }
}
