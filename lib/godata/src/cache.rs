//! A follower's directory, as the reference keeps it (`spec/maintner.md` §2.2, §5.3): `NNNN.<sha224>.mutlog` for what never changes, `NNNN.growing.mutlog` for
//! what still does. Files are never changed in place: readers may have them mapped. A new version is written beside (`tempseg…`) and takes the name.

use std::collections::BTreeMap;
use std::fs::{DirBuilder, File, Metadata, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use protocol_mutlog::{SegmentName, Sha224};
use tempfile::NamedTempFile;

use crate::Error;
use crate::running::Running;

/// How the names of unfinished files begin.
const UNFINISHED: &str = "tempseg";

/// An unfinished file that nobody wrote to for this long has lost its program. A Go program takes no lock, and needs seconds for one.
const ABANDONED: Duration = Duration::from_secs(60 * 60);

/// The lock's file. Programs of the reference do not look at it.
const LOCK: &str = "burrow.lock";

/// Bytes that are read at a time.
const PIECE: usize = 256 << 10;

/// One segment on this disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalSegment {
    /// Number, from 0.
    pub number: u32,
    /// Bytes that belong to the log; the file may have more by now.
    pub size: u64,
    /// Digest of these bytes.
    pub sha224: Sha224,
    /// The file. A growing one changes its name when it is frozen: use the path of the newest update.
    pub path: PathBuf,
    /// Whether it has its final name. Its content is as the server had it when it came; [`LocalSegment::verify`] looks again.
    pub frozen: bool,
}

impl LocalSegment {
    /// Opens the file. What is open stays as it is, whoever replaces the file later.
    ///
    /// # Errors
    /// [`Error::Cache`] when it cannot be opened or is shorter than the segment.
    pub fn open(&self) -> Result<File, Error> {
        let opened = File::open(&self.path).and_then(|file| Ok((file.metadata()?.len(), file)));
        let (len, file) = opened.map_err(|error| Error::cache("opening", &self.path, error))?;
        if len < self.size {
            let short = io::Error::new(io::ErrorKind::UnexpectedEof, format!("it has {len} bytes, not {}; another program replaced it", self.size));
            return Err(Error::cache("opening", &self.path, short));
        }
        Ok(file)
    }

    /// Reads all of it and compares. Blocks.
    ///
    /// # Errors
    /// [`Error::Damaged`], [`Error::Truncated`], [`Error::Malformed`]; [`Error::Cache`] when it cannot be read.
    pub fn verify(&self) -> Result<(), Error> {
        let running = read_through(&mut self.open()?, self.size, None).map_err(|error| Error::cache("reading", &self.path, error))?;
        let found = running.sha224();
        if found != self.sha224 || running.len() != self.size {
            return Err(Error::Damaged { path: self.path.clone(), size: running.len(), expected: self.sha224, found });
        }
        running.end().map_err(|fault| Error::framing(self.number, self.path.display().to_string(), fault))
    }
}

/// The directory.
#[derive(Debug, Clone)]
pub struct Cache {
    dir: PathBuf,
}

/// Proof that no other follower of this make writes to the directory, as long as it lives.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl Cache {
    /// Uses this directory, which is made (mode 0700) if it is not there. Unfinished files of programs that are gone are removed.
    ///
    /// # Errors
    /// [`Error::Cache`]
    pub fn open(dir: impl Into<PathBuf>) -> Result<Cache, Error> {
        let cache = Cache { dir: dir.into() };
        let mut builder = DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(&cache.dir).map_err(|error| Error::cache("making the directory", &cache.dir, error))?;
        cache.sweep()?;
        Ok(cache)
    }

    /// The directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Where a segment is kept; without a digest: while it grows.
    pub fn path(&self, number: u32, sha224: Option<Sha224>) -> PathBuf {
        self.dir.join(SegmentName { number, sha224 }.to_string())
    }

    /// Takes the lock; `None`: another one has it. Where the file system has no locks, the lock is of no use, and taken.
    ///
    /// # Errors
    /// [`Error::Cache`] when the lock's file cannot be made.
    pub fn try_lock(&self) -> Result<Option<Lock>, Error> {
        let path = self.lock_path();
        let mut options = OpenOptions::new();
        options.create(true).truncate(false).write(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let file = options.open(&path).map_err(|error| Error::cache("making the lock", &path, error))?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Lock { _file: file })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => {
                tracing::debug!(%error, path = %path.display(), "the file system has no locks; going on without one");
                Ok(Some(Lock { _file: file }))
            }
        }
    }

    pub(crate) fn lock_path(&self) -> PathBuf {
        self.dir.join(LOCK)
    }

    /// What can be used without a server: segments from 0 upwards, a frozen one before a growing one; a growing one is the last. Frozen files are taken by their
    /// name, a growing one is read: what follows its last whole record does not count. Blocks.
    ///
    /// # Errors
    /// [`Error::Malformed`] for a growing file with something else than records in it; [`Error::Cache`].
    pub fn scan(&self) -> Result<Vec<LocalSegment>, Error> {
        let mut frozen: BTreeMap<u32, LocalSegment> = BTreeMap::new();
        for (name, metadata) in self.files()? {
            let Ok(SegmentName { number, sha224: Some(sha224) }) = name.parse() else { continue };
            let found = LocalSegment { number, size: metadata.len(), sha224, path: self.dir.join(name), frozen: true };
            // Of two, the longer one is the later: a published segment only grows.
            if frozen.get(&number).is_none_or(|other| other.size <= found.size) {
                frozen.insert(number, found);
            }
        }
        let mut segments = Vec::new();
        for number in 0.. {
            match frozen.remove(&number) {
                Some(segment) => segments.push(segment),
                None => {
                    segments.extend(self.scan_growing(number)?);
                    break;
                }
            }
        }
        Ok(segments)
    }

    fn scan_growing(&self, number: u32) -> Result<Option<LocalSegment>, Error> {
        let path = self.path(number, None);
        let failed = |error| Error::cache("reading", &path, error);
        let mut file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        let mut running = read_through(&mut file, u64::MAX, None).map_err(failed)?;
        if let Some(fault) = running.fault() {
            return Err(Error::framing(number, path.display().to_string(), fault));
        }
        if running.intact() < running.len() {
            tracing::warn!(path = %path.display(), bytes = running.len() - running.intact(), "the file ends within a record; its end does not count");
            let intact = running.intact();
            file.rewind().map_err(failed)?;
            running = read_through(&mut file, intact, None).map_err(failed)?;
        }
        Ok(Some(LocalSegment { number, size: running.len(), sha224: running.sha224(), path, frozen: false }))
    }

    /// Files with names that are text; a file that vanishes meanwhile is left out.
    fn files(&self) -> Result<Vec<(String, Metadata)>, Error> {
        let failed = |error| Error::cache("listing", &self.dir, error);
        let mut files = Vec::new();
        for entry in self.dir.read_dir().map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            match entry.metadata() {
                Ok(metadata) if metadata.is_file() => files.push((name, metadata)),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(failed(error)),
            }
        }
        files.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(files)
    }

    fn sweep(&self) -> Result<(), Error> {
        let unfinished: Vec<(String, Metadata)> = self.files()?.into_iter().filter(|(name, _)| name.starts_with(UNFINISHED)).collect();
        if unfinished.is_empty() {
            return Ok(());
        }
        // The file system's own idea of now: the one that the other times were taken by.
        let now = self.unfinished().and_then(|file| file.as_file().metadata()?.modified()).map_err(|error| Error::cache("writing to", &self.dir, error))?;
        for (name, metadata) in unfinished {
            let old = metadata.modified().ok().and_then(|then| now.duration_since(then).ok()).is_some_and(|age| age > ABANDONED);
            if old {
                // Another follower may be doing the same.
                let removed = std::fs::remove_file(self.dir.join(&name));
                tracing::debug!(name, ?removed, "an unfinished file was left behind");
            }
        }
        Ok(())
    }

    /// A file that has no name of a segment yet; removed when dropped.
    fn unfinished(&self) -> io::Result<NamedTempFile> {
        // Mode 0600 is what this crate makes.
        tempfile::Builder::new().prefix(UNFINISHED).tempfile_in(&self.dir)
    }

    /// Begins a new version of a segment with the bytes of an old one. Blocks.
    pub(crate) fn draft(&self, base: Option<Base>, mark: Option<u64>) -> io::Result<Draft> {
        let mut file = self.unfinished()?;
        let clean = base.is_none();
        let running = match base {
            None => Running::new(mark),
            Some(mut base) => {
                base.file.rewind()?;
                // Whole files are copied within the kernel.
                let copied = io::copy(&mut (&mut base.file).take(base.running.len()), file.as_file_mut())?;
                if copied != base.running.len() {
                    return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "a segment became shorter while it was copied"));
                }
                base.running
            }
        };
        Ok(Draft { file, running, clean })
    }
}

/// An old version of a segment that a new one can begin with: the first `running.len()` bytes of the file.
#[derive(Debug)]
pub(crate) struct Base {
    pub(crate) file: File,
    pub(crate) running: Running,
}

/// A new version of a segment, unfinished.
#[derive(Debug)]
pub(crate) struct Draft {
    file: NamedTempFile,
    pub(crate) running: Running,
    /// Whether all of it came in one answer.
    pub(crate) clean: bool,
}

impl Draft {
    /// Appends. Blocks.
    pub(crate) fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.as_file_mut().write_all(bytes)?;
        self.running.take(bytes);
        Ok(())
    }

    pub(crate) fn path(&self) -> &Path {
        self.file.path()
    }

    /// Takes the name, in place of whatever has it; gives itself back when it cannot. `flush`: only after the bytes are on the disk; without it a power cut may
    /// leave a part of them under the name. Blocks.
    pub(crate) fn persist(self, path: &Path, flush: bool) -> Result<(Stamp, Running), (io::Error, Box<Draft>)> {
        let Draft { file, running, clean } = self;
        let flushed = if flush { file.as_file().sync_data() } else { Ok(()) };
        match flushed.and_then(|()| file.as_file().metadata()) {
            Err(error) => Err((error, Box::new(Draft { file, running, clean }))),
            Ok(metadata) => match file.persist(path) {
                Ok(_) => Ok((Stamp::of(&metadata), running)),
                Err(error) => Err((error.error, Box::new(Draft { file: error.file, running, clean }))),
            },
        }
    }
}

/// Tells whether a file is still the one that was looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    len: u64,
    modified: Option<SystemTime>,
    node: (u64, u64),
}

impl Stamp {
    pub(crate) fn of(metadata: &Metadata) -> Stamp {
        #[cfg(unix)]
        let node = {
            use std::os::unix::fs::MetadataExt;
            (metadata.dev(), metadata.ino())
        };
        #[cfg(not(unix))]
        let node = (0, 0);
        Stamp { len: metadata.len(), modified: metadata.modified().ok(), node }
    }
}

/// At most `limit` bytes from where the file stands. Blocks.
pub(crate) fn read_through(file: &mut File, limit: u64, mark: Option<u64>) -> io::Result<Running> {
    let mut running = Running::new(mark);
    let mut input = file.take(limit);
    let mut piece = vec![0; PIECE];
    loop {
        match input.read(&mut piece) {
            Ok(0) => return Ok(running),
            Ok(count) => running.take(piece.get(..count).unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Digest of the first `len` bytes; `None` when there are not that many. Blocks.
pub(crate) fn prefix_sha224(path: &Path, len: u64) -> Option<Sha224> {
    let running = File::open(path).and_then(|mut file| read_through(&mut file, len, None)).ok()?;
    (running.len() == len).then(|| running.sha224())
}

/// Whether renaming a file may succeed a moment later: systems that refuse it while somebody reads (`spec/maintner.md` §5.2).
pub(crate) fn is_busy(error: &io::Error) -> bool {
    match error.kind() {
        io::ErrorKind::PermissionDenied => cfg!(windows),
        io::ErrorKind::NotFound => cfg!(any(windows, target_os = "macos")),
        _ => cfg!(windows) && matches!(error.raw_os_error(), Some(32 | 33)),
    }
}
