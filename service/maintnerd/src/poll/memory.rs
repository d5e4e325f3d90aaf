//! What a poller remembers of its own work beside the log. Losing it costs questions, never data.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;

use burrow_github::Time;
use serde::{Deserialize, Serialize};

const VERSION: u32 = 1;

/// What is remembered of a repository on GitHub.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Memory {
    version: u32,
    /// Length of the log when this was written: of a shorter log it says nothing.
    position: u64,
    /// All issues that changed before this moment are in the log. `None`: the list was never walked to its end.
    pub(crate) through: Option<Time>,
    /// When all issues were last walked through (our clock, Unix milliseconds).
    pub(crate) reconciled: Option<i64>,
    /// When it was last heard that issues are switched off (our clock).
    pub(crate) disabled: Option<i64>,
    /// Issues whose events may not be complete yet: when to read them once more (our clock).
    pub(crate) settling: BTreeMap<i32, i64>,
    /// Issues that could not be read.
    pub(crate) owed: BTreeSet<i32>,
    /// Comments of which the log says that they are gone.
    pub(crate) deleted: BTreeMap<i32, BTreeSet<i64>>,
}

impl Memory {
    /// Reads it. There is none when the file is missing, of another form, or about a log that has since lost its end.
    pub(crate) fn load(path: &Path, position: u64) -> Memory {
        let found = match std::fs::read(path) {
            Ok(bytes) => serde_json::from_slice::<Memory>(&bytes).map_err(|error| error.to_string()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Memory::default(),
            Err(error) => Err(error.to_string()),
        };
        match found {
            Ok(memory) if memory.version == VERSION && memory.position <= position => memory,
            Ok(_) => {
                tracing::warn!(path = %path.display(), "what was remembered is about another log; everything is looked at once more");
                Memory::default()
            }
            Err(error) => {
                tracing::warn!(path = %path.display(), error, "what was remembered cannot be read; everything is looked at once more");
                Memory::default()
            }
        }
    }

    /// Writes it, replacing the file as a whole. A crash may lose it.
    pub(crate) fn save(&mut self, path: &Path, position: u64) -> io::Result<()> {
        (self.version, self.position) = (VERSION, position);
        let bytes = serde_json::to_vec(self).map_err(io::Error::other)?;
        if let Some(dir) = path.parent() {
            std::fs::create_dir_all(dir)?;
        }
        let new = path.with_extension("new");
        std::fs::write(&new, bytes)?;
        std::fs::rename(&new, path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_memory_of_a_longer_log_is_not_believed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("poll/o%2Fr.json");
        assert_eq!(Memory::load(&path, 0), Memory::default());
        let mut memory = Memory { through: Some(Time::from_seconds(5)), owed: [7].into(), deleted: [(3, [8].into())].into(), ..Memory::default() };
        memory.save(&path, 100).unwrap();
        assert_eq!(Memory::load(&path, 100), memory);
        assert_eq!(Memory::load(&path, 99), Memory::default());
        std::fs::write(&path, "{").unwrap();
        assert_eq!(Memory::load(&path, 100), Memory::default());
    }
}
