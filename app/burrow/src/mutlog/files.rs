//! Which files a log on this disk consists of.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use protocol_mutlog::{SegmentName, is_data_file};

use crate::failure::Failure;

/// A file of a log; each begins with offset 0.
#[derive(Debug, Clone)]
pub(crate) struct LogFile {
    pub(crate) path: PathBuf,
    pub(crate) size: u64,
}

/// Lies in a folder that a conversion or a restore has not filled to its end.
const UNFINISHED: &str = "UNFINISHED";

/// Files of the log at `path`, a folder or a file, in their order.
pub(crate) fn of(path: &Path) -> Result<Vec<LogFile>, Failure> {
    let metadata = std::fs::metadata(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => Failure::usage(format!("{} does not exist", path.display())),
        _ => Failure::infrastructure(format!("{}: {error}", path.display())),
    })?;
    if !metadata.is_dir() {
        return Ok(vec![LogFile { path: path.to_owned(), size: metadata.len() }]);
    }
    let folder = folder(path)?;
    let found = list(&folder).map_err(|error| Failure::infrastructure(format!("{}: {error}", folder.display())))?;
    found.in_order(&folder)
}

/// The folder with the log: `path` itself or, for what `burrow mutlog gen` made, a folder in it.
pub(crate) fn folder(path: &Path) -> Result<PathBuf, Failure> {
    let unreadable = |error| match std::io::Error::kind(&error) {
        std::io::ErrorKind::NotFound => Failure::usage(format!("{} does not exist", path.display())),
        std::io::ErrorKind::NotADirectory => Failure::usage(format!("{} is no folder", path.display())),
        _ => Failure::infrastructure(format!("{}: {error}", path.display())),
    };
    let here = list(path).map_err(unreadable)?;
    if here.is_empty() {
        for name in ["segments", "disk"] {
            let below = path.join(name);
            if list(&below).is_ok_and(|found| !found.is_empty()) {
                return Ok(below);
            }
        }
    }
    Ok(path.to_owned())
}

#[derive(Debug, Default)]
struct Listing {
    data: Vec<(String, LogFile)>,
    segments: Vec<(SegmentName, LogFile)>,
    unfinished: bool,
}

fn list(dir: &Path) -> std::io::Result<Listing> {
    let mut found = Listing::default();
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        found.unfinished |= name == UNFINISHED;
        // Followed, so that a link to a file counts as the file.
        let Some(metadata) = std::fs::metadata(entry.path()).ok().filter(std::fs::Metadata::is_file) else { continue };
        let file = LogFile { path: entry.path(), size: metadata.len() };
        if is_data_file(&name) {
            found.data.push((name, file));
        } else if let Ok(segment) = name.parse() {
            found.segments.push((segment, file));
        }
    }
    Ok(found)
}

impl Listing {
    fn is_empty(&self) -> bool {
        self.data.is_empty() && self.segments.is_empty()
    }

    fn in_order(mut self, dir: &Path) -> Result<Vec<LogFile>, Failure> {
        let dir = dir.display();
        if self.unfinished {
            return Err(Failure::usage(format!("{dir} was not filled to its end by a conversion or a restore; run that again")));
        }
        match (self.data.is_empty(), self.segments.is_empty()) {
            (true, true) => Err(Failure::usage(format!("{dir} holds no log: neither maintner-*.mutlog nor NNNN.*.mutlog is there"))),
            (false, false) => Err(Failure::usage(format!("{dir} holds two logs, daily files and numbered segments; name the files of one"))),
            (false, true) => {
                self.data.sort_by(|a, b| a.0.cmp(&b.0));
                Ok(self.data.into_iter().map(|(_, file)| file).collect())
            }
            (true, false) => {
                // Of one number, what never changes counts before what grows, and of two such the longer one is the later.
                self.segments.sort_by_key(|(name, file)| (name.sha224.is_some(), file.size));
                let by_number: BTreeMap<u32, LogFile> = self.segments.into_iter().map(|(name, file)| (name.number, file)).collect();
                for (expected, (number, file)) in (0..).zip(&by_number) {
                    if *number != expected {
                        let there = file.path.display();
                        return Err(Failure::usage(format!("segment {expected} of the log in {dir} is missing; the next one there is {there}")));
                    }
                }
                Ok(by_number.into_values().collect())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(names: &[&str]) -> (tempfile::TempDir, Result<Vec<String>, String>) {
        let dir = tempfile::tempdir().unwrap();
        for name in names {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, name.as_bytes()).unwrap();
        }
        let found = of(dir.path()).map_err(|failure| failure.to_string());
        let found = found.map(|files| files.iter().map(|file| file.path.strip_prefix(dir.path()).unwrap().display().to_string()).collect());
        (dir, found)
    }

    #[test]
    fn files_come_in_the_order_of_the_log() {
        let frozen = format!("0000.{}.mutlog", "a".repeat(56));
        for (names, expected) in [
            (&["maintner-2022-01-02.mutlog", "maintner-2022-01-01.mutlog", "notes.txt"][..], vec!["maintner-2022-01-01.mutlog", "maintner-2022-01-02.mutlog"]),
            (&["0001.growing.mutlog", &frozen, "0000.growing.mutlog", "tempseg1"], vec![&frozen, "0001.growing.mutlog"]),
            (&["manifest.json", "disk/maintner-2022-01-01.mutlog"], vec!["disk/maintner-2022-01-01.mutlog"]),
        ] {
            assert_eq!(log(names).1.as_deref(), Ok(&expected.iter().map(ToString::to_string).collect::<Vec<_>>()[..]));
        }
    }

    #[test]
    fn what_is_no_log_is_told() {
        for (names, word) in [
            (&["notes.txt"][..], "holds no log"),
            (&["maintner-2022-01-01.mutlog", "0000.growing.mutlog"], "two logs"),
            (&["0000.growing.mutlog", "0002.growing.mutlog"], "segment 1"),
            (&["0000.growing.mutlog", "UNFINISHED"], "not filled to its end"),
        ] {
            let said = log(names).1.unwrap_err();
            assert!(said.contains(word), "{said}");
        }
    }
}
