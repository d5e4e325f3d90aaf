//! What is found in a folder when it is opened.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use protocol_mutlog::{Digest, FrameError, MAX_HEADER, Records, Sha224};

use super::writer::Growing;
use super::{AppendError, SegmentInfo};
use crate::folder::{self, Held, HoldError, Named};
use crate::frames::{FrameFault, FrameReader, is_unfinished};

/// Why a folder is not opened as a log. Nothing in it was changed.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// There is a leader already.
    #[error("{} is in use by another leader; stop it first, or choose another folder", dir.display())]
    InUse {
        /// The folder.
        dir: PathBuf,
    },
    /// A restore or a conversion into it was cut off.
    #[error("{} was not filled to its end by a restore or a conversion; run that again", dir.display())]
    Unfinished {
        /// The folder.
        dir: PathBuf,
    },
    /// It holds the reference's form of a log on disk.
    #[error("{} belongs to a log of daily files; convert it into numbered segments in another folder first", file.display())]
    DataFiles {
        /// One of its files.
        file: PathBuf,
    },
    /// A file that ends as segments do and is none.
    #[error("{} is not the name of a segment (NNNN.<sha224>.mutlog or NNNN.growing.mutlog)", path.display())]
    Name {
        /// Which.
        path: PathBuf,
    },
    /// Two files of one number.
    #[error("{} and {} have the same number", first.display(), second.display())]
    Twice {
        /// One.
        first: PathBuf,
        /// The other.
        second: PathBuf,
    },
    /// A number is missing.
    #[error("segment {missing} is missing from {}: the next one there is {}", dir.display(), next.display())]
    Gap {
        /// The folder.
        dir: PathBuf,
        /// The missing number.
        missing: u32,
        /// The file behind the gap.
        next: PathBuf,
    },
    /// A growing segment with others behind it.
    #[error("{} still grows but is not the last segment; convert the folder into another one, which freezes it", path.display())]
    NotLast {
        /// Which.
        path: PathBuf,
    },
    /// A frozen segment too short for its first record, or empty.
    #[error("{} has {size} bytes, fewer than its first record at offset 0 ({wanted})", path.display())]
    Size {
        /// Which.
        path: PathBuf,
        /// Its bytes.
        size: u64,
        /// How many it needs at least.
        wanted: u64,
    },
    /// The records are not as they must be.
    #[error("{}: {fault}", path.display())]
    Records {
        /// Which file.
        path: PathBuf,
        /// What and where.
        fault: FrameFault,
    },
    /// The first record cannot be written.
    #[error("the log cannot be begun: {source}")]
    Begin {
        /// Why.
        source: Box<AppendError>,
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

/// What was found when a log was opened.
#[derive(Debug, Clone, Default)]
pub struct Opened {
    /// What a crash had left unfinished and was taken away. It was never acknowledged.
    pub truncated: Option<Torn>,
}

/// The unfinished end of a segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Torn {
    /// The file.
    pub path: PathBuf,
    /// Where the unfinished record or batch began: the size now.
    pub offset: u64,
    /// Bytes that were taken away.
    pub bytes: u64,
}

/// A folder in order.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) held: Held,
    pub(super) frozen: Vec<SegmentInfo>,
    pub(super) growing: Option<Growing>,
    pub(super) opened: Opened,
}

pub(super) fn open(dir: &Path) -> Result<Found, OpenError> {
    let at = |path: &Path| {
        let path = path.to_owned();
        move |source| OpenError::File { path, source }
    };
    let held = folder::hold(dir).map_err(|error| match error {
        HoldError::InUse => OpenError::InUse { dir: dir.to_owned() },
        HoldError::File(path, source) => OpenError::File { path, source },
    })?;
    let listing = folder::list(dir).map_err(at(dir))?;
    if listing.unfinished {
        return Err(OpenError::Unfinished { dir: dir.to_owned() });
    }
    if let Some(file) = listing.data.first() {
        return Err(OpenError::DataFiles { file: file.path.clone() });
    }
    if let Some(path) = listing.odd.first() {
        return Err(OpenError::Name { path: path.clone() });
    }
    for (expected, file) in (0..).zip(&listing.segments) {
        if file.name.number < expected {
            let before = listing.segments.iter().rfind(|other| other.name.number == file.name.number && other.path != file.path);
            return Err(OpenError::Twice { first: before.map_or_else(|| dir.to_owned(), |other| other.path.clone()), second: file.path.clone() });
        }
        if file.name.number > expected {
            return Err(OpenError::Gap { dir: dir.to_owned(), missing: expected, next: file.path.clone() });
        }
    }
    let mut frozen = Vec::new();
    let mut growing = None;
    let last = listing.segments.len().checked_sub(1);
    for (place, file) in listing.segments.iter().enumerate() {
        match file.name.sha224 {
            Some(sha224) => frozen.push(look(file, file.name.number, sha224)?),
            None if Some(place) == last => growing = Some(file),
            None => return Err(OpenError::NotLast { path: file.path.clone() }),
        }
    }
    let mut opened = Opened::default();
    let growing = match growing {
        Some(file) => {
            let (growing, torn) = go_on(&file.path, file.name.number)?;
            opened.truncated = torn;
            Some(growing)
        }
        None => None,
    };
    // The same for names.
    folder::sync(dir).map_err(at(dir))?;
    Ok(Found { held, frozen, growing, opened })
}

/// A quick look at a frozen segment: its digest is checked later.
fn look<N>(file: &Named<N>, number: u32, sha224: Sha224) -> Result<SegmentInfo, OpenError> {
    let at = |source| OpenError::File { path: file.path.clone(), source };
    let mut start = Vec::new();
    File::open(&file.path).and_then(|file| file.take(MAX_HEADER as u64).read_to_end(&mut start)).map_err(at)?;
    let wanted = match Records::new(&start, 0).next() {
        None => 1,
        Some(Ok(record)) => record.len,
        Some(Err(FrameError::Truncated { missing, .. })) => (start.len() as u64).saturating_add(missing),
        Some(Err(error)) => return Err(OpenError::Records { path: file.path.clone(), fault: error.into() }),
    };
    if file.size < wanted {
        return Err(OpenError::Size { path: file.path.clone(), size: file.size, wanted });
    }
    let created_ms = created_ms(&file.path).map_err(at)?;
    Ok(SegmentInfo { number, size: file.size, sha224, frozen: true, path: file.path.as_path().into(), created_ms, open: None })
}

/// When a file was made, or where the system does not know that, last changed.
fn created_ms(path: &Path) -> io::Result<i64> {
    let metadata = std::fs::metadata(path)?;
    let time = metadata.created().or_else(|_| metadata.modified())?;
    Ok(time.duration_since(UNIX_EPOCH).map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(i64::MAX)))
}

/// Reads the growing segment and takes away what is unfinished at its end.
fn go_on(path: &Path, number: u32) -> Result<(Growing, Option<Torn>), OpenError> {
    let at = |source| OpenError::File { path: path.to_owned(), source };
    let mut file = folder::private(path).map_err(at)?;
    let all = file.metadata().map_err(at)?.len();
    let mut digest = Digest::default();
    let mut reader = FrameReader::new(&file, all);
    let fault = loop {
        match reader.next() {
            Ok(Some(frame)) => digest.update(frame.raw),
            Ok(None) => break None,
            Err(fault) => break Some(fault),
        }
    };
    let size = reader.offset();
    if let Some(fault) = fault
        && !is_unfinished(&fault, &mut file, size).map_err(at)?
    {
        return Err(OpenError::Records { path: path.to_owned(), fault });
    }
    let torn = (size < all).then(|| Torn { path: path.to_owned(), offset: size, bytes: all - size });
    if let Some(torn) = &torn {
        tracing::warn!(
            log.file = %path.display(),
            log.offset = torn.offset,
            log.bytes = torn.bytes,
            "A crash left an unfinished record at the end of the log; it was never acknowledged and is taken away."
        );
        file.set_len(size).map_err(at)?;
    }
    // What is there may be there for this machine only until its power is cut, if the last writer was killed before its fsync.
    file.sync_all().map_err(at)?;
    let created_ms = created_ms(path).map_err(at)?;
    Ok((Growing { number, path: path.into(), file: Arc::new(file), size, digest, created_ms, damaged: false }, torn))
}
