//! Reads a whole log and names every fault with its place.
//!
//! It changes nothing and takes no lock, so it may look at a log that is being written: a record that is under way then shows as [`Kind::Torn`].

use std::fmt;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use protocol_mutlog::Sha224;
use protocol_mutlog::view::Mutation;
use protocol_mutlog::wire::WireError;

use crate::folder::{self, Listing};
use crate::frames::{Digesting, FrameFault, FrameReader, is_unfinished};

/// How a log lies in its folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Numbered segments: a leader's folder, or a follower's cache.
    Segments,
    /// The reference's `maintner-*.mutlog`.
    DataFiles,
    /// No file of a log at all.
    Empty,
    /// Files of both forms.
    Mixed,
}

impl Form {
    pub(crate) fn of(listing: &Listing) -> Form {
        match (listing.segments.is_empty(), listing.data.is_empty()) {
            (false, true) => Form::Segments,
            (true, false) => Form::DataFiles,
            (true, true) => Form::Empty,
            (false, false) => Form::Mixed,
        }
    }
}

/// How many records change what. A record may change several things.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Kinds {
    /// An issue or pull request.
    pub issue: u64,
    /// Labels or milestones of a repository.
    pub repository: u64,
    /// A commit of a plain git repository.
    pub git: u64,
    /// Commits or references of a Gerrit project.
    pub gerrit: u64,
    /// Nothing that is known here, but something: a kind of a newer program.
    pub unknown: u64,
    /// Nothing at all.
    pub empty: u64,
}

impl Kinds {
    pub(crate) fn count(&mut self, mutation: &Mutation<'_>) {
        let known = [mutation.github_issue.is_some(), mutation.github.is_some(), mutation.git.is_some(), mutation.gerrit.is_some()];
        let places = [&mut self.issue, &mut self.repository, &mut self.git, &mut self.gerrit];
        for (place, there) in places.into_iter().zip(known) {
            *place += u64::from(there);
        }
        if !known.contains(&true) {
            *if mutation.encoded.is_empty() { &mut self.empty } else { &mut self.unknown } += 1;
        }
    }
}

/// What is in a log.
#[derive(Debug)]
pub struct Report {
    /// How it lies there.
    pub form: Form,
    /// Files.
    pub files: usize,
    /// Whole records.
    pub records: u64,
    /// Bytes of all files.
    pub bytes: u64,
    /// What the records change.
    pub kinds: Kinds,
    /// What is wrong, in the order of the files.
    pub faults: Vec<Fault>,
}

/// Something that is wrong.
#[derive(Debug)]
pub struct Fault {
    /// The file.
    pub path: PathBuf,
    /// Where in it; `None` when it is about the whole file.
    pub offset: Option<u64>,
    /// What.
    pub kind: Kind,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.offset {
            Some(offset) => write!(f, "{}, offset {offset}: {}", self.path.display(), self.kind),
            None => write!(f, "{}: {}", self.path.display(), self.kind),
        }
    }
}

/// What can be wrong.
#[derive(Debug, thiserror::Error)]
pub enum Kind {
    /// A record is cut off by the end of the log: a crash, or a write under way. [`crate::Log::open`] takes it away.
    #[error("the last record is unfinished: {0}")]
    Torn(FrameFault),
    /// The records.
    #[error("{0}")]
    Records(FrameFault),
    /// A record is no mutation.
    #[error("the record is no mutation: {0}")]
    Mutation(WireError),
    /// The content of a frozen segment is not that of its name.
    #[error("the digest of its content is {0}, not that of its name")]
    Digest(Sha224),
    /// Segments are missing before this one.
    #[error("segment {0} should come here")]
    Gap(u32),
    /// There is another file of the same number.
    #[error("another file has the same number")]
    Twice,
    /// It grows, but others follow.
    #[error("it still grows but is not the last segment")]
    NotLast,
    /// It has no record.
    #[error("it is empty")]
    Empty,
    /// Not the name of a segment.
    #[error("this is not the name of a segment")]
    Name,
    /// Numbered segments and daily files together.
    #[error("numbered segments and daily files lie in one folder")]
    Mixed,
    /// A restore or a conversion was cut off.
    #[error("the folder was not filled to its end by a restore or a conversion")]
    Unfinished,
    /// The file cannot be read.
    #[error("cannot be read: {0}")]
    Read(io::Error),
}

/// Reads the log in `dir`, whatever its form.
///
/// # Errors
/// The folder cannot be listed. What is wrong with files is in the report.
pub fn verify(dir: &Path) -> io::Result<Report> {
    let listing = folder::list(dir)?;
    let form = Form::of(&listing);
    let mut report = Report { form, files: 0, records: 0, bytes: 0, kinds: Kinds::default(), faults: Vec::new() };
    let mut fault = |path: &Path, kind| report.faults.push(Fault { path: path.to_owned(), offset: None, kind });
    if listing.unfinished {
        fault(dir, Kind::Unfinished);
    }
    if form == Form::Mixed {
        fault(dir, Kind::Mixed);
    }
    for path in &listing.odd {
        fault(path, Kind::Name);
    }
    let mut expected = 0;
    let count = listing.segments.len();
    for (place, file) in listing.segments.iter().enumerate() {
        let number = file.name.number;
        if number < expected {
            report.faults.push(Fault { path: file.path.clone(), offset: None, kind: Kind::Twice });
        } else if number > expected {
            report.faults.push(Fault { path: file.path.clone(), offset: None, kind: Kind::Gap(expected) });
        }
        expected = expected.max(number.saturating_add(1));
        let last = place + 1 == count;
        if file.name.sha224.is_none() && !last {
            report.faults.push(Fault { path: file.path.clone(), offset: None, kind: Kind::NotLast });
        }
        report.read(&file.path, file.size, file.name.sha224, last && file.name.sha224.is_none());
    }
    let count = listing.data.len();
    for (place, file) in listing.data.iter().enumerate() {
        report.read(&file.path, file.size, None, place + 1 == count);
    }
    Ok(report)
}

impl Report {
    /// Reads a file; `last`: it may end within a record without being damaged.
    fn read(&mut self, path: &Path, size: u64, name: Option<Sha224>, last: bool) {
        self.files += 1;
        self.bytes += size;
        let mut add = |offset, kind| self.faults.push(Fault { path: path.to_owned(), offset, kind });
        if size == 0 && !last {
            add(None, Kind::Empty);
        }
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) => return add(None, Kind::Read(error)),
        };
        let mut reader = FrameReader::new(Digesting::new(file), size);
        loop {
            let offset = reader.offset();
            match reader.next() {
                Ok(Some(frame)) => {
                    self.records += 1;
                    match Mutation::decode(frame.payload) {
                        Ok(mutation) => self.kinds.count(&mutation),
                        Err(error) => add(Some(offset), Kind::Mutation(error)),
                    }
                }
                Ok(None) => break,
                Err(fault) => {
                    let torn = last && File::open(path).and_then(|mut file| is_unfinished(&fault, &mut file, offset)).unwrap_or(false);
                    break add(Some(offset), if torn { Kind::Torn(fault) } else { Kind::Records(fault) });
                }
            }
        }
        let Some(name) = name else { return };
        match reader.into_input().finish() {
            Ok(digest) if digest == name => {}
            Ok(digest) => add(None, Kind::Digest(digest)),
            Err(error) => add(None, Kind::Read(error)),
        }
    }
}
