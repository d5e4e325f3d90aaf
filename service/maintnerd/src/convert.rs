//! Makes a leader's folder of a log in another form, and the reference's form of a leader's folder.
//!
//! Segments that are there keep their cuts and every byte, because followers compare them with what they have; only what grew without being the last is frozen
//! under its digest, as in the cache of a follower that could not tell. The reference's daily files have no cuts that anybody saw, so their records are put
//! into new segments. On the way back every segment becomes a file: names that begin with `maintner-0` sort before those that begin with a year, so the reference
//! goes on from there with its own.
//!
//! Facts: `spec/maintner.md` §2.2.

use std::fs::File;
use std::io::{self, BufWriter, Write as _};
use std::path::{Path, PathBuf};

use protocol_mutlog::{Digest, MAX_HEADER, SegmentName, Sha224, append_record, starts_new_segment};

use crate::folder::{self, FillError, Listing, NewFolder};
use crate::frames::{FrameFault, FrameReader, is_unfinished};
use crate::log::Torn;
use crate::verify::Form;

/// What is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// Numbered segments, for [`crate::Log::open`].
    Segments,
    /// Files that the reference reads from its data folder.
    DataFiles,
}

/// How far it has come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    /// Files of the source.
    pub files: usize,
    /// Those that are done.
    pub files_done: usize,
    /// Bytes of the source.
    pub bytes: u64,
    /// Those that are done.
    pub bytes_done: u64,
    /// Records so far.
    pub records: u64,
}

/// What was made.
#[derive(Debug)]
pub struct Converted {
    /// The form of the source.
    pub from: Form,
    /// Files that were made.
    pub files: usize,
    /// Records in them.
    pub records: u64,
    /// Bytes in them.
    pub bytes: u64,
    /// The unfinished end of the source, which was left out.
    pub truncated: Option<Torn>,
}

/// Why a log is not converted. The source is never changed; what was made so far is not taken for a log, and a further attempt begins anew.
#[derive(Debug, thiserror::Error)]
pub enum ConvertError {
    /// The folder to be filled.
    #[error(transparent)]
    Target(#[from] FillError),
    /// The source holds no log.
    #[error("{} holds no log", dir.display())]
    Empty {
        /// The folder.
        dir: PathBuf,
    },
    /// The source holds two.
    #[error("{} holds numbered segments and daily files; separate them first", dir.display())]
    Mixed {
        /// The folder.
        dir: PathBuf,
    },
    /// The source was not filled to its end.
    #[error("{} was not filled to its end by a restore or a conversion; run that again", dir.display())]
    Unfinished {
        /// The folder.
        dir: PathBuf,
    },
    /// The source has the wanted form.
    #[error("{} holds daily files already", dir.display())]
    Same {
        /// The folder.
        dir: PathBuf,
    },
    /// A leader writes in the source.
    #[error("{} is in use by a leader; stop it first", dir.display())]
    InUse {
        /// The folder.
        dir: PathBuf,
    },
    /// A file that ends as segments do and is none.
    #[error("{} is not the name of a segment", path.display())]
    Name {
        /// Which.
        path: PathBuf,
    },
    /// Two frozen segments of one number.
    #[error("{} and {} have the same number", first.display(), second.display())]
    Twice {
        /// One.
        first: PathBuf,
        /// The other.
        second: PathBuf,
    },
    /// A number is missing.
    #[error("segment {missing} is missing: the next one there is {}", next.display())]
    Gap {
        /// The missing number.
        missing: u32,
        /// The file behind the gap.
        next: PathBuf,
    },
    /// The name of a data file has four digits.
    #[error("{} has a number of more than four digits, which would not be read in its order", path.display())]
    Number {
        /// Which.
        path: PathBuf,
    },
    /// The records are not as they must be.
    #[error("{}: {fault}", path.display())]
    Records {
        /// Which file.
        path: PathBuf,
        /// What and where.
        fault: FrameFault,
    },
    /// A frozen segment is not what it was.
    #[error("{}: the digest of its content is {found}, not that of its name", path.display())]
    Digest {
        /// Which.
        path: PathBuf,
        /// The digest of what is there.
        found: Sha224,
    },
    /// A file cannot be used.
    #[error("{}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// The system's word.
        source: io::Error,
    },
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> ConvertError {
    let path = path.to_owned();
    move |source| ConvertError::File { path, source }
}

/// Converts the log in `source` into an empty folder `dest`. Blocks; `progress` is called after every file and every few megabytes.
///
/// # Errors
/// [`ConvertError`].
pub fn convert(source: &Path, dest: &Path, target: Target, progress: &mut dyn FnMut(Progress)) -> Result<Converted, ConvertError> {
    let _still = folder::hold_if_led(source).map_err(|error| match error {
        folder::HoldError::InUse => ConvertError::InUse { dir: source.to_owned() },
        folder::HoldError::File(path, source) => ConvertError::File { path, source },
    })?;
    let listing = folder::list(source).map_err(at(source))?;
    let from = Form::of(&listing);
    let dir = source.to_owned();
    match (from, target) {
        _ if listing.unfinished => return Err(ConvertError::Unfinished { dir }),
        (Form::Empty, _) => return Err(ConvertError::Empty { dir }),
        (Form::Mixed, _) => return Err(ConvertError::Mixed { dir }),
        (Form::DataFiles, Target::DataFiles) => return Err(ConvertError::Same { dir }),
        (Form::Segments | Form::DataFiles, _) => {}
    }
    if let Some(path) = listing.odd.first() {
        return Err(ConvertError::Name { path: path.clone() });
    }
    let sources = sources(&listing, target)?;
    let made = Converted { from, files: 0, records: 0, bytes: 0, truncated: None };
    let done = Progress { files: sources.len(), bytes: sources.iter().map(|source| source.size).sum(), ..Progress::default() };
    let mut work = Work { folder: NewFolder::begin(dest)?, target, made, done, progress };
    match from {
        Form::DataFiles => work.cut(&sources)?,
        _ => work.copy(&sources)?,
    }
    let Work { folder, made, .. } = work;
    folder.finish()?;
    if target == Target::DataFiles {
        let _ = std::fs::remove_file(dest.join(folder::LOCK));
    }
    Ok(made)
}

/// A file to be read.
#[derive(Debug)]
struct Source {
    path: PathBuf,
    size: u64,
    /// Of a segment; `None` for a daily file.
    number: u32,
    sha224: Option<Sha224>,
}

/// The files in their order. A frozen segment counts before a growing one of its number, which a follower may have left behind.
fn sources(listing: &Listing, target: Target) -> Result<Vec<Source>, ConvertError> {
    let mut sources: Vec<Source> = Vec::new();
    for file in &listing.segments {
        let expected = u32::try_from(sources.len()).unwrap_or(u32::MAX);
        if let Some(before) = sources.last().filter(|before| before.number == file.name.number) {
            if file.name.sha224.is_some() {
                return Err(ConvertError::Twice { first: before.path.clone(), second: file.path.clone() });
            }
            continue;
        }
        if file.name.number != expected {
            return Err(ConvertError::Gap { missing: expected, next: file.path.clone() });
        }
        if target == Target::DataFiles && file.name.number > 9_999 {
            return Err(ConvertError::Number { path: file.path.clone() });
        }
        sources.push(Source { path: file.path.clone(), size: file.size, number: file.name.number, sha224: file.name.sha224 });
    }
    sources.extend(listing.data.iter().map(|file| Source { path: file.path.clone(), size: file.size, number: 0, sha224: None }));
    Ok(sources)
}

struct Work<'a> {
    folder: NewFolder,
    target: Target,
    made: Converted,
    done: Progress,
    progress: &'a mut dyn FnMut(Progress),
}

/// A segment that is being made.
struct Part {
    number: u32,
    path: PathBuf,
    file: BufWriter<File>,
    size: u64,
    digest: Digest,
}

impl Part {
    fn write(&mut self, record: &[u8]) -> Result<(), ConvertError> {
        self.file.write_all(record).map_err(at(&self.path))?;
        self.size += record.len() as u64;
        self.digest.update(record);
        Ok(())
    }
}

impl Work<'_> {
    fn part(&self, number: u32) -> Result<Part, ConvertError> {
        let (path, file) = self.folder.create(&format!("{number:04}.part.mutlog"))?;
        Ok(Part { number, path, file: BufWriter::with_capacity(1 << 20, file), size: 0, digest: Digest::default() })
    }

    fn settle(&mut self, part: Part, frozen: bool) -> Result<Sha224, ConvertError> {
        let sha224 = part.digest.finish();
        let file = part.file.into_inner().map_err(|error| at(&part.path)(error.into_error()))?;
        let name = SegmentName { number: part.number, sha224: frozen.then_some(sha224) };
        let prefix = if self.target == Target::DataFiles { "maintner-" } else { "" };
        self.folder.settle(&part.path, &file, &format!("{prefix}{name}"))?;
        self.made.files += 1;
        self.made.bytes += part.size;
        Ok(sha224)
    }

    /// Gives the records of a file to `each`. `last`: an unfinished end is left out.
    fn records(&mut self, source: &Source, last: bool, mut each: impl FnMut(&mut Self, &[u8], &[u8]) -> Result<(), ConvertError>) -> Result<(), ConvertError> {
        const OFTEN: u64 = 4 << 20;
        let file = File::open(&source.path).map_err(at(&source.path))?;
        let mut reader = FrameReader::new(file, source.size);
        let before = self.done.bytes_done;
        loop {
            let offset = reader.offset();
            match reader.next() {
                Ok(Some(frame)) => {
                    self.made.records += 1;
                    each(self, frame.raw, frame.payload)?;
                    self.done.records += 1;
                    if reader.offset() / OFTEN != offset / OFTEN {
                        self.done.bytes_done = before + reader.offset();
                        (self.progress)(self.done);
                    }
                }
                Ok(None) => break,
                Err(fault) => {
                    let mut file = File::open(&source.path).map_err(at(&source.path))?;
                    if !last || source.sha224.is_some() || !is_unfinished(&fault, &mut file, offset).map_err(at(&source.path))? {
                        return Err(ConvertError::Records { path: source.path.clone(), fault });
                    }
                    self.made.truncated = Some(Torn { path: source.path.clone(), offset, bytes: source.size.saturating_sub(offset) });
                    break;
                }
            }
        }
        self.done.bytes_done = before + source.size;
        self.done.files_done += 1;
        (self.progress)(self.done);
        Ok(())
    }

    /// Segments as they are.
    fn copy(&mut self, sources: &[Source]) -> Result<(), ConvertError> {
        for (place, source) in sources.iter().enumerate() {
            let last = place + 1 == sources.len();
            let mut part = self.part(source.number)?;
            self.records(source, last, |_, record, _| part.write(record))?;
            if part.size == 0 && last && source.sha224.is_none() {
                // The number begins with its first record.
                std::fs::remove_file(&part.path).map_err(at(&part.path))?;
                continue;
            }
            let found = self.settle(part, !last || source.sha224.is_some())?;
            if source.sha224.is_some_and(|name| name != found) {
                return Err(ConvertError::Digest { path: source.path.clone(), found });
            }
        }
        Ok(())
    }

    /// Records of daily files, in new segments.
    fn cut(&mut self, sources: &[Source]) -> Result<(), ConvertError> {
        let mut part: Option<Part> = None;
        let mut scratch = Vec::with_capacity(MAX_HEADER);
        for (place, source) in sources.iter().enumerate() {
            self.records(source, place + 1 == sources.len(), |work, _, payload| {
                let mut now = match part.take() {
                    Some(full) if starts_new_segment(full.size, payload.len()) => {
                        let next = full.number.saturating_add(1);
                        work.settle(full, true)?;
                        work.part(next)?
                    }
                    Some(part) => part,
                    None => work.part(0)?,
                };
                scratch.clear();
                append_record(&mut scratch, now.size, payload);
                now.write(&scratch)?;
                part = Some(now);
                Ok(())
            })?;
        }
        match part {
            Some(part) => self.settle(part, false).map(|_| ()),
            None => Ok(()),
        }
    }
}
