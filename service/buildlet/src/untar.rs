//! `/writetgz`: extracting an archive as Go's buildlet does (spec buildlet.md §3.4), but with links.

use std::io::{self, Read};
use std::path::Path;
use std::time::SystemTime;

use cap_std::fs::{Dir, OpenOptions};
use flate2::bufread::MultiGzDecoder;
use tar::{Archive, EntryType};

use crate::platform;
use crate::workdir::{WorkDir, make_dirs};

/// Why an extraction stopped; entries before stay.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UntarError {
    /// The archive's fault: 400.
    #[error("{0}")]
    Archive(String),
    /// Ours, or the connection's: 500.
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// Whether a path left the work directory through a link.
pub(crate) fn is_escape(e: &io::Error) -> bool {
    e.kind() == io::ErrorKind::PermissionDenied && e.raw_os_error().is_none()
}

fn file_error(name: &str, e: io::Error) -> UntarError {
    if is_escape(&e) {
        UntarError::Archive(format!("{name}: the path leads out of the work directory"))
    } else {
        io::Error::new(e.kind(), format!("{name}: {e}")).into()
    }
}

/// Extracts a tar.gz into `dir` (relative to the work directory, `.` for itself).
pub(crate) fn untar(work: &WorkDir, dir: &str, input: impl Read) -> Result<(), UntarError> {
    let mut input = io::BufReader::with_capacity(64 * 1024, input);
    match peek(&mut input)? {
        [0x1f, 0x8b] => {}
        _ => return Err(UntarError::Archive("requires gzip-compressed body: gzip: invalid header".to_owned())),
    }
    let root = work.open()?;
    if dir != "." {
        make_dirs(&root, dir).map_err(|e| file_error(dir, e))?;
    }
    let mut archive = Archive::new(MultiGzDecoder::new(input));
    let mut extraction = Extraction { work, root, dir, parent: None, now: SystemTime::now() };
    for entry in archive.entries().map_err(syntax)? {
        extraction.entry(&mut entry.map_err(syntax)?)?;
    }
    Ok(())
}

fn peek<R: Read>(input: &mut io::BufReader<R>) -> io::Result<[u8; 2]> {
    use io::BufRead as _;
    // One read of a body gives more than two bytes, except when there are not more.
    let got = input.fill_buf()?;
    Ok(match got {
        [a, b, ..] => [*a, *b],
        _ => [0; 2],
    })
}

fn syntax(e: io::Error) -> UntarError {
    if e.kind() == io::ErrorKind::ConnectionAborted { e.into() } else { UntarError::Archive(format!("tar error: {e}")) }
}

struct Extraction<'a> {
    work: &'a WorkDir,
    root: Dir,
    dir: &'a str,
    /// The directory of the last entry.
    parent: Option<(String, Dir)>,
    now: SystemTime,
}

impl Extraction<'_> {
    fn entry<R: Read>(&mut self, entry: &mut tar::Entry<'_, R>) -> Result<(), UntarError> {
        let kind = entry.header().entry_type();
        if kind == EntryType::XGlobalHeader {
            return Ok(());
        }
        let name = String::from_utf8(entry.path_bytes().into_owned())
            .map_err(|e| UntarError::Archive(format!("tar entry {:?}: the name is not UTF-8", String::from_utf8_lossy(e.as_bytes()))))?;
        self.work.check(&name).map_err(|e| UntarError::Archive(format!("tar entry contained invalid name {name:?}: {e}")))?;
        let path = protocol_buildlet::path::clean(&format!("{}/{name}", self.dir));
        match kind {
            EntryType::Directory => {
                if path != "." {
                    make_dirs(&self.root, &path).map_err(|e| file_error(&name, e))?;
                }
                Ok(())
            }
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => self.file(entry, &name, &path),
            EntryType::Symlink => {
                let target = link_target(entry, &name)?;
                self.symlink(&name, &path, &target)
            }
            EntryType::Link => {
                let target = link_target(entry, &name)?;
                self.work.check(&target).map_err(|e| UntarError::Archive(format!("tar entry {name:?}: hard link to {target:?}: {e}")))?;
                self.hard_link(&name, &path, &protocol_buildlet::path::clean(&format!("{}/{target}", self.dir)))
            }
            other => Err(UntarError::Archive(format!("tar entry {name:?} has unsupported file type {:?}", char::from(other.as_byte())))),
        }
    }

    /// Opens the directory of an entry; its name in it.
    fn parent<'p>(&mut self, name: &str, path: &'p str) -> Result<(&Dir, &'p str), UntarError> {
        let (parent, last) = path.rsplit_once('/').unwrap_or((".", path));
        if matches!(last, "." | "..") {
            return Err(UntarError::Archive(format!("tar entry {name:?} names the directory itself")));
        }
        if self.parent.as_ref().is_none_or(|(p, _)| p != parent) {
            self.parent = Some((parent.to_owned(), make_dirs(&self.root, parent).map_err(|e| file_error(name, e))?));
        }
        Ok((self.parent.as_ref().map_or(&self.root, |(_, dir)| dir), last))
    }

    fn file<R: Read>(&mut self, entry: &mut tar::Entry<'_, R>, name: &str, path: &str) -> Result<(), UntarError> {
        let mode = entry.header().mode().map_err(syntax)? & 0o777;
        let modified = entry.header().mtime().map_err(syntax)?;
        let size = entry.size();
        let now = self.now;
        let (dir, last) = self.parent(name, path)?;
        if cfg!(target_os = "macos") && mode & 0o111 != 0 {
            // The kernel caches code signatures by file.
            let _ = dir.remove_file(last);
        }
        let file = open_for_writing(dir, last, mode).map_err(|e| file_error(name, e))?;
        let written = io::copy(entry, &mut &file).map_err(|e| file_error(name, e))?;
        if written != size {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, format!("{name}: only wrote {written} bytes; expected {size}")).into());
        }
        let modified = SystemTime::UNIX_EPOCH.checked_add(std::time::Duration::from_secs(modified)).map_or(now, |m| m.min(now));
        // Some file systems cannot; the content matters more.
        let _ = file.set_times(std::fs::FileTimes::new().set_modified(modified).set_accessed(modified));
        Ok(())
    }

    fn symlink(&mut self, name: &str, path: &str, target: &str) -> Result<(), UntarError> {
        let leaves = || UntarError::Archive(format!("tar entry {name:?}: the symbolic link to {target:?} leads out of the work directory"));
        if Path::new(target).is_absolute() {
            if !Path::new(&protocol_buildlet::path::clean(target)).starts_with(self.work.path()) {
                return Err(leaves());
            }
        } else {
            let parent = path.rsplit_once('/').map_or(".", |(p, _)| p);
            self.work.check(&format!("{parent}/{target}")).map_err(|_| leaves())?;
        }
        let (dir, last) = self.parent(name, path)?;
        let made = dir.symlink_contents(target, last).or_else(|e| match e.kind() {
            // As for files, the archive wins over what is there, except over directories.
            io::ErrorKind::AlreadyExists => dir.remove_file(last).and_then(|()| dir.symlink_contents(target, last)),
            _ => Err(e),
        });
        // What was opened through the old link may be elsewhere now.
        self.parent = None;
        made.map_err(|e| file_error(name, e))
    }

    fn hard_link(&mut self, name: &str, path: &str, target: &str) -> Result<(), UntarError> {
        if path == target {
            return Ok(());
        }
        self.parent(name, path)?;
        let link = || self.root.hard_link(target, &self.root, path);
        let made = link().or_else(|e| match e.kind() {
            io::ErrorKind::AlreadyExists => self.root.remove_file(path).and_then(|()| link()),
            _ => Err(e),
        });
        made.map_err(|e| match e.kind() {
            io::ErrorKind::NotFound => UntarError::Archive(format!("tar entry {name:?}: the hard link's target {target:?} does not exist")),
            _ => file_error(name, e),
        })
    }
}

fn link_target<R: Read>(entry: &tar::Entry<'_, R>, name: &str) -> Result<String, UntarError> {
    entry
        .link_name_bytes()
        .and_then(|t| String::from_utf8(t.into_owned()).ok())
        .filter(|t| !t.is_empty() && !t.contains('\0'))
        .ok_or_else(|| UntarError::Archive(format!("tar entry {name:?}: the link has no usable target")))
}

/// Creates or truncates; an existing file keeps its mode. Never waits for the other end of a named pipe.
pub(crate) fn open_for_writing(dir: &Dir, path: &str, mode: u32) -> io::Result<std::fs::File> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    platform::create_mode(&mut options, mode);
    platform::never_block(&mut options);
    let file = dir.open_with(path, &options)?.into_std();
    if platform::stamp_open(&file)?.kind != platform::Kind::File {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    Ok(file)
}
