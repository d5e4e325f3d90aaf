//! The folder of a log: which files belong to it, who holds it, and how a new one is filled so that a half-filled one is never taken for a log.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use protocol_mutlog::{SegmentName, is_data_file};

/// Locked by whoever writes in the folder.
pub(crate) const LOCK: &str = "leader.lock";
/// Lies in a folder that is being filled. A log without its later segments looks whole, and going on from there would split its history.
const UNFINISHED: &str = "UNFINISHED";

/// A file of a log.
#[derive(Debug, Clone)]
pub(crate) struct Named<N> {
    pub(crate) name: N,
    pub(crate) path: PathBuf,
    pub(crate) size: u64,
}

/// What lies in a folder.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    /// Segments by number; a frozen one before a growing one of the same number.
    pub(crate) segments: Vec<Named<SegmentName>>,
    /// Files of the reference's log on disk, in the order in which they are read.
    pub(crate) data: Vec<Named<String>>,
    /// Files that end as the files of a log do and are none.
    pub(crate) odd: Vec<PathBuf>,
    /// A restore or a conversion into this folder did not come to its end.
    pub(crate) unfinished: bool,
}

/// Looks into a folder. Files that cannot belong to a log are passed over.
pub(crate) fn list(dir: &Path) -> io::Result<Listing> {
    let mut found = Listing::default();
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let (path, file_name) = (entry.path(), entry.file_name());
        let name = file_name.to_string_lossy();
        if name == UNFINISHED {
            found.unfinished = true;
        }
        if !name.ends_with(".mutlog") {
            continue;
        }
        // Followed, so that a link to a file counts as the file.
        let metadata = std::fs::metadata(&path)?;
        let size = metadata.len();
        if !metadata.is_file() {
            found.odd.push(path);
        } else if is_data_file(&name) {
            found.data.push(Named { name: name.into_owned(), path, size });
        } else if let Ok(name) = name.parse() {
            found.segments.push(Named { name, path, size });
        } else {
            found.odd.push(path);
        }
    }
    found.segments.sort_by_key(|segment| (segment.name.number, segment.name.sha224.is_none(), segment.name.sha224));
    found.data.sort_by(|a, b| a.name.cmp(&b.name));
    found.odd.sort();
    Ok(found)
}

/// Proof that nobody else writes in the folder; the system takes it back however the process ends.
#[derive(Debug)]
pub(crate) struct Held(#[expect(dead_code, reason = "the lock lasts as long as the file is open")] File);

/// Why a folder cannot be held.
#[derive(Debug)]
pub(crate) enum HoldError {
    InUse,
    File(PathBuf, io::Error),
}

/// Makes the folder if need be, and takes its lock.
pub(crate) fn hold(dir: &Path) -> Result<Held, HoldError> {
    std::fs::create_dir_all(dir).map_err(|source| HoldError::File(dir.to_owned(), source))?;
    let path = dir.join(LOCK);
    match File::options().create(true).truncate(false).write(true).open(&path) {
        Ok(file) => lock(path, file),
        Err(source) => Err(HoldError::File(path, source)),
    }
}

/// Takes the lock of a folder that a leader uses at times; other folders are left as they are.
pub(crate) fn hold_if_led(dir: &Path) -> Result<Option<Held>, HoldError> {
    let path = dir.join(LOCK);
    match File::open(&path) {
        Ok(file) => lock(path, file).map(Some),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(HoldError::File(path, source)),
    }
}

fn lock(path: PathBuf, file: File) -> Result<Held, HoldError> {
    match file.try_lock() {
        Ok(()) => Ok(Held(file)),
        Err(std::fs::TryLockError::WouldBlock) => Err(HoldError::InUse),
        Err(std::fs::TryLockError::Error(source)) => Err(HoldError::File(path, source)),
    }
}

/// Makes names in the folder last: after this returned, a crash of the machine brings back none that was removed and loses none that was made.
pub(crate) fn sync(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Opens or makes a file that only this user may read and write, as the reference's are.
pub(crate) fn private(path: &Path) -> io::Result<File> {
    let mut options = File::options();
    options.create(true).truncate(false).read(true).write(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

/// Why a folder cannot be filled with a log.
#[derive(Debug, thiserror::Error)]
pub enum FillError {
    /// There is a log already.
    #[error("{} holds a log already; choose an empty folder", dir.display())]
    NotEmpty {
        /// The folder.
        dir: PathBuf,
    },
    /// Somebody else writes there.
    #[error("{} is in use by another leader, restore or conversion", dir.display())]
    InUse {
        /// The folder.
        dir: PathBuf,
    },
    /// A file or folder cannot be used.
    #[error("{}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// The system's word.
        source: io::Error,
    },
}

/// A folder that is being filled. Until [`NewFolder::finish`] no [`crate::Log`] opens it, and another attempt may begin it anew.
#[derive(Debug)]
pub(crate) struct NewFolder {
    dir: PathBuf,
    _held: Held,
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> FillError {
    move |source| FillError::File { path: path.to_owned(), source }
}

impl NewFolder {
    /// Begins with nothing: what an unfinished attempt left is removed.
    pub(crate) fn begin(dir: &Path) -> Result<NewFolder, FillError> {
        let held = hold(dir).map_err(|error| match error {
            HoldError::InUse => FillError::InUse { dir: dir.to_owned() },
            HoldError::File(path, source) => FillError::File { path, source },
        })?;
        let found = list(dir).map_err(at(dir))?;
        let empty = found.segments.is_empty() && found.data.is_empty() && found.odd.is_empty();
        if !empty && !found.unfinished {
            return Err(FillError::NotEmpty { dir: dir.to_owned() });
        }
        let marker = dir.join(UNFINISHED);
        std::fs::write(&marker, "A restore or a conversion into this folder has not come to its end. Run it again.\n").map_err(at(&marker))?;
        sync(dir).map_err(at(dir))?;
        for path in found.segments.iter().map(|file| &file.path).chain(found.data.iter().map(|file| &file.path)).chain(&found.odd) {
            std::fs::remove_file(path).map_err(at(path))?;
        }
        Ok(NewFolder { dir: dir.to_owned(), _held: held })
    }

    /// Makes a file in it.
    pub(crate) fn create(&self, name: &str) -> Result<(PathBuf, File), FillError> {
        let path = self.dir.join(name);
        let file = private(&path).map_err(at(&path))?;
        Ok((path, file))
    }

    /// Gives a finished file its name. Its bytes are on disk afterwards.
    pub(crate) fn settle(&self, from: &Path, file: &File, name: &str) -> Result<(), FillError> {
        let to = self.dir.join(name);
        file.sync_all().map_err(at(from))?;
        std::fs::rename(from, &to).map_err(at(&to))
    }

    /// Makes a log of it. After this returned, a crash loses nothing of it.
    pub(crate) fn finish(self) -> Result<(), FillError> {
        let marker = self.dir.join(UNFINISHED);
        sync(&self.dir).map_err(at(&self.dir))?;
        std::fs::remove_file(&marker).map_err(at(&marker))?;
        sync(&self.dir).map_err(at(&self.dir))
    }
}
