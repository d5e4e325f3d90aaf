//! `/ls` and `/tgz`: reading the work directory (spec buildlet.md §3.6, §3.7).

use std::io::{self, Read, Write};
use std::time::UNIX_EPOCH;

use bytes::Bytes;
use cap_std::fs::{Dir, Metadata, OpenOptions};
use http_body::Frame;
use protocol_buildlet::ls::{FileInfo, Line};
use protocol_buildlet::mode::GoMode;
use sha1::{Digest as _, Sha1};
use tokio::sync::mpsc;

use crate::platform::{self, Kind};
use crate::worker::hex;

/// Deepest directory that is entered; builds that make more do so by mistake.
const MAX_DEPTH: usize = 1000;

/// Input of one gzip member, bytes: the reference's `pargzip` (T7).
const MEMBER: usize = 1 << 20;

/// What `/ls` was asked for.
pub(crate) struct Listing {
    pub(crate) recursive: bool,
    pub(crate) digest: bool,
    pub(crate) skip: Vec<String>,
}

/// One entry on the way.
struct Found<'a> {
    dir: &'a Dir,
    name: &'a std::ffi::OsStr,
    /// Relative to the base, with `/`.
    path: &'a str,
    meta: &'a Metadata,
}

/// Calls `visit` for all entries below `base`, depth-first, names in the order of their bytes. It says whether to enter a directory.
fn walk(base: &Dir, visit: &mut dyn FnMut(&Found<'_>) -> io::Result<bool>) -> io::Result<()> {
    fn level(dir: &Dir, prefix: &str, depth: usize, visit: &mut dyn FnMut(&Found<'_>) -> io::Result<bool>) -> io::Result<()> {
        let mut names = crate::workdir::names(dir)?;
        names.sort_by(|a, b| a.as_encoded_bytes().cmp(b.as_encoded_bytes()));
        for name in names {
            let meta = match dir.symlink_metadata(&name) {
                // Gone since the names were read.
                Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
                other => other?,
            };
            let shown = name.to_string_lossy();
            let path = if prefix.is_empty() { shown.into_owned() } else { format!("{prefix}/{shown}") };
            if visit(&Found { dir, name: &name, path: &path, meta: &meta })? && meta.is_dir() {
                if depth >= MAX_DEPTH {
                    return Err(io::Error::other(format!("{path}: deeper than {MAX_DEPTH} directories")));
                }
                level(&platform::open_dir_nofollow(dir, &name)?, &path, depth + 1, visit)?;
            }
        }
        Ok(())
    }
    level(base, "", 0, visit)
}

fn unix_seconds(meta: &Metadata) -> i64 {
    let Ok(time) = meta.modified() else { return 0 };
    match time.into_std().duration_since(UNIX_EPOCH) {
        Ok(after) => i64::try_from(after.as_secs()).unwrap_or(i64::MAX),
        Err(before) => -i64::try_from(before.duration().as_secs()).unwrap_or(i64::MAX),
    }
}

fn open_for_reading(dir: &Dir, name: impl AsRef<std::path::Path>) -> io::Result<std::fs::File> {
    let mut options = OpenOptions::new();
    options.read(true);
    platform::never_block(&mut options);
    let file = dir.open_with(name, &options)?.into_std();
    if platform::stamp_open(&file)?.kind != Kind::File {
        return Err(io::Error::other("it is no longer a regular file"));
    }
    Ok(file)
}

fn line(dir: &Dir, name: &std::ffi::OsStr, shown: &str, meta: &Metadata, digest: bool) -> io::Result<Line> {
    let mode = GoMode::from_posix(platform::posix_mode(meta));
    let file = if meta.is_file() {
        let sha1 = if digest { Some(sha1_of(open_for_reading(dir, name)?)?) } else { None };
        Some(FileInfo { size: meta.len(), modified: unix_seconds(meta), sha1 })
    } else {
        None
    };
    Ok(Line { mode, name: shown.to_owned(), file })
}

fn sha1_of(mut file: std::fs::File) -> io::Result<String> {
    let mut hasher = Sha1::new();
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hex(&hasher.finalize())),
            n => hasher.update(buffer.get(..n).unwrap_or_default()),
        }
    }
}

type Sender = mpsc::Sender<io::Result<Frame<Bytes>>>;

/// Lists `path` below `root` into a channel. Blocks.
pub(crate) fn list(root: &Dir, path: &str, listing: &Listing, sender: &Sender) {
    let mut out = ToChannel { sender, buffer: Vec::with_capacity(32 * 1024), limit: 32 * 1024 };
    let result = list_into(root, path, listing, &mut out).and_then(|()| out.flush());
    if let Err(e) = result {
        let _ = sender.blocking_send(Err(e));
    }
}

fn list_into(root: &Dir, path: &str, listing: &Listing, out: &mut dyn Write) -> io::Result<()> {
    let mut text = String::new();
    let base = root.metadata(path)?;
    if !base.is_dir() {
        let (parent, name) = path.rsplit_once('/').unwrap_or((".", path));
        let parent = root.open_dir(parent)?;
        line(&parent, name.as_ref(), "", &base, listing.digest)?.write(&mut text);
        return out.write_all(text.as_bytes());
    }
    walk(&root.open_dir(path)?, &mut |found| {
        if found.meta.is_dir() && listing.skip.iter().any(|s| s == found.path) {
            return Ok(false);
        }
        text.clear();
        line(found.dir, found.name, found.path, found.meta, listing.digest)?.write(&mut text);
        out.write_all(text.as_bytes())?;
        Ok(listing.recursive)
    })
}

/// Sends `path` below `root` as a tar.gz into a channel. Blocks; members are compressed on `runtime`'s blocking threads.
pub(crate) fn tgz(root: &Dir, path: &str, sender: &Sender, runtime: &tokio::runtime::Handle) {
    let result = (|| {
        let base = root.open_dir(path)?;
        // Looked at once before the first byte goes out, so that the usual mistakes get a status.
        crate::workdir::names(&base)?;
        let mut builder = tar::Builder::new(Members::new(ToChannel { sender, buffer: Vec::new(), limit: 0 }, runtime.clone()));
        builder.mode(tar::HeaderMode::Complete);
        let owners = platform::Owners::read();
        walk(&base, &mut |found| {
            append(&mut builder, found, &owners)?;
            Ok(true)
        })?;
        builder.into_inner()?.finish()
    })();
    if let Err(e) = result {
        let _ = sender.blocking_send(Err(e));
    }
}

fn append(builder: &mut tar::Builder<impl Write>, found: &Found<'_>, owners: &platform::Owners) -> io::Result<()> {
    let meta = found.meta;
    let mut header = tar::Header::new_ustar();
    header.set_mode(platform::posix_mode(meta) & 0o7777);
    header.set_mtime(u64::try_from(unix_seconds(meta)).unwrap_or(0));
    owners.fill(&mut header, meta)?;
    if meta.is_dir() {
        header.set_entry_type(tar::EntryType::Directory);
        header.set_size(0);
        return builder.append_data(&mut header, format!("{}/", found.path), io::empty());
    }
    if meta.is_symlink() {
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_size(0);
        let target = found.dir.read_link_contents(found.name)?;
        return builder.append_link(&mut header, found.path, target);
    }
    if !meta.is_file() {
        // Sockets and devices mean nothing on another machine.
        return Ok(());
    }
    let file = open_for_reading(found.dir, found.name)?;
    let size = file.metadata()?.len();
    header.set_entry_type(tar::EntryType::Regular);
    header.set_size(size);
    let mut exact = Exact { inner: file, left: size };
    builder.append_data(&mut header, found.path, &mut exact)
}

/// Exactly so many bytes: a growing file is cut, a shrinking one is an error.
struct Exact<R> {
    inner: R,
    left: u64,
}

impl<R: Read> Read for Exact<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let most = out.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        if most == 0 {
            return Ok(0);
        }
        let n = self.inner.read(out.get_mut(..most).unwrap_or_default())?;
        if n == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the file became shorter while it was read"));
        }
        self.left -= n as u64;
        Ok(n)
    }
}

/// Compresses pieces of one MiB as members of their own, several at a time, and hands them on in order.
struct Members<W> {
    out: W,
    runtime: tokio::runtime::Handle,
    piece: Vec<u8>,
    under_way: std::collections::VecDeque<tokio::task::JoinHandle<io::Result<Vec<u8>>>>,
    most: usize,
}

impl<W: Write> Members<W> {
    fn new(out: W, runtime: tokio::runtime::Handle) -> Self {
        let most = std::thread::available_parallelism().map_or(2, std::num::NonZero::get).min(8) + 1;
        Self { out, runtime, piece: Vec::with_capacity(MEMBER), under_way: std::collections::VecDeque::new(), most }
    }

    fn send_piece(&mut self) -> io::Result<()> {
        if self.piece.is_empty() {
            return Ok(());
        }
        let piece = std::mem::replace(&mut self.piece, Vec::with_capacity(MEMBER));
        self.under_way.push_back(self.runtime.spawn_blocking(move || {
            let mut encoder = flate2::write::GzEncoder::new(Vec::with_capacity(MEMBER / 3), flate2::Compression::fast());
            encoder.write_all(&piece)?;
            encoder.finish()
        }));
        while self.under_way.len() >= self.most {
            self.collect_one()?;
        }
        Ok(())
    }

    fn collect_one(&mut self) -> io::Result<()> {
        let Some(first) = self.under_way.pop_front() else { return Ok(()) };
        let member = self.runtime.block_on(first).map_err(io::Error::other)??;
        self.out.write_all(&member)
    }

    fn finish(mut self) -> io::Result<()> {
        self.send_piece()?;
        while !self.under_way.is_empty() {
            self.collect_one()?;
        }
        self.out.flush()
    }
}

impl<W: Write> Write for Members<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = bytes.len().min(MEMBER - self.piece.len());
        self.piece.extend_from_slice(bytes.get(..n).unwrap_or_default());
        if self.piece.len() == MEMBER {
            self.send_piece()?;
        }
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Hands bytes to the answer's body, gathered up to a limit.
struct ToChannel<'a> {
    sender: &'a Sender,
    buffer: Vec<u8>,
    limit: usize,
}

impl ToChannel<'_> {
    fn send(&self, bytes: Bytes) -> io::Result<()> {
        self.sender.blocking_send(Ok(Frame::data(bytes))).map_err(|_| io::Error::new(io::ErrorKind::BrokenPipe, "the client is gone"))
    }
}

impl Write for ToChannel<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.limit == 0 {
            self.send(Bytes::copy_from_slice(bytes))?;
        } else {
            self.buffer.extend_from_slice(bytes);
            if self.buffer.len() >= self.limit {
                self.flush()?;
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if !self.buffer.is_empty() {
            let full = std::mem::take(&mut self.buffer);
            self.send(full.into())?;
        }
        Ok(())
    }
}
