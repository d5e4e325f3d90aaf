//! Source trees: directories whose whole content the worker knows, so that the next commit costs only its difference (docs/worker-protocol.md).
//!
//! * [`Trees::apply`] writes what a tar brings and records every entry: hash, mode, size, inode, times.
//! * [`Trees::verify`] finds what a build did since, by one `lstat` per entry. A changed entry always has a new change time, which only the kernel
//!   sets; one whose change time is so close to the moment of recording that a later change could bear the same is read and hashed.
//!
//! While a tree is being written its record is gone from the disk, so a crash leaves an unknown tree, never a wrong one.

mod apply;
mod record;
mod verify;

use std::collections::HashMap;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use cap_std::fs::Dir;
use protocol_buildlet::{MAX_DIRTY, TreeState};

use crate::workdir::{WorkDir, empty};
use record::Record;

/// Why a tree was not written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TreeError {
    #[error("the directory does not hold the tree {base:?} but {}; send the whole tree with an empty base", holds.as_ref().map_or("nothing known".to_owned(), |h| format!("{h:?}")))]
    OtherBase { base: String, holds: Option<String> },
    #[error("the tar is refused: {0}")]
    Refused(String),
    #[error("the tree could not be written: {0}")]
    Io(#[from] io::Error),
}

/// All trees of the worker.
pub(crate) struct Trees {
    state: PathBuf,
    work: WorkDir,
    loaded: Mutex<HashMap<String, Record>>,
    exclusive: tokio::sync::Mutex<()>,
    boot: String,
}

/// Proof that nobody else changes trees now.
pub(crate) type Exclusive<'a> = tokio::sync::MutexGuard<'a, ()>;

impl Trees {
    pub(crate) fn open(state: &Path, work: WorkDir) -> io::Result<Self> {
        std::fs::create_dir_all(state)?;
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned();
        Ok(Self { state: state.to_path_buf(), work, loaded: Mutex::default(), exclusive: tokio::sync::Mutex::default(), boot })
    }

    /// Waits for its turn.
    pub(crate) async fn exclusive(&self) -> Exclusive<'_> {
        self.exclusive.lock().await
    }

    fn file(&self, dir: &str) -> PathBuf {
        // Any path makes a name: bytes other than letters and digits as hex.
        let name: String = dir.bytes().map(|b| if b.is_ascii_alphanumeric() { char::from(b).to_string() } else { format!("_{b:02x}") }).collect();
        let name = if name.len() > 200 { crate::worker::short_hash(dir.as_bytes()) } else { name };
        self.state.join(name).with_extension("tree")
    }

    /// Takes the record out: whoever has it puts it back when it is right again.
    fn take(&self, dir: &str) -> Option<Record> {
        let loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner).remove(dir);
        let mut record = loaded.or_else(|| Record::load(&self.file(dir)))?;
        if record.boot != self.boot {
            // Everything is young: read and compared.
            record.taken = i64::MIN;
            record.boot.clone_from(&self.boot);
        }
        Some(record)
    }

    fn put(&self, dir: &str, record: Record) {
        self.loaded.lock().unwrap_or_else(PoisonError::into_inner).insert(dir.to_owned(), record);
    }

    fn forget(&self, dir: &str) -> io::Result<()> {
        self.loaded.lock().unwrap_or_else(PoisonError::into_inner).remove(dir);
        match std::fs::remove_file(self.file(dir)) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }

    /// Forgets the trees that are about to be removed.
    pub(crate) fn forget_except(&self, keep: &[String]) -> io::Result<()> {
        let keep: Vec<String> = keep.iter().map(|k| protocol_buildlet::path::clean(k)).collect();
        self.loaded.lock().unwrap_or_else(PoisonError::into_inner).retain(|dir, _| keep.contains(dir));
        let files: Vec<PathBuf> = keep.iter().map(|k| self.file(k)).collect();
        for entry in std::fs::read_dir(&self.state)? {
            let path = entry?.path();
            if !files.contains(&path) {
                std::fs::remove_file(path)?;
            }
        }
        Ok(())
    }

    /// Looks at a kept tree: removes what was added, names what must be sent again.
    pub(crate) fn verify(&self, dir: &str) -> io::Result<TreeState> {
        let dir = protocol_buildlet::path::clean(dir);
        let Some(mut record) = self.take(&dir) else {
            self.clear(&dir)?;
            return Ok(TreeState::default());
        };
        let now = now_ns();
        let handle = self.open_dir(&dir)?;
        let changed = verify::verify(&handle, &mut record)?;
        let Some(state) = state(&record) else {
            self.clear(&dir)?;
            return Ok(TreeState::default());
        };
        if changed {
            record.taken = now;
            record.save(&self.file(&dir))?;
        }
        self.put(&dir, record);
        Ok(state)
    }

    /// Applies a tar to the tree `base` and calls the result `want`.
    pub(crate) fn apply(&self, dir: &str, base: &str, want: &str, tar: &mut dyn Read) -> Result<TreeState, TreeError> {
        let dir = protocol_buildlet::path::clean(dir);
        let mut record = match self.take(&dir) {
            Some(record) if !base.is_empty() && record.id == base => record,
            found if !base.is_empty() => {
                let holds = found.as_ref().map(|r| r.id.clone());
                if let Some(record) = found {
                    self.put(&dir, record);
                }
                return Err(TreeError::OtherBase { base: base.to_owned(), holds });
            }
            _ => {
                self.clear(&dir)?;
                Record { id: String::new(), taken: 0, boot: self.boot.clone(), root: record::DirNode::default() }
            }
        };
        self.forget(&dir)?;
        let handle = self.open_dir(&dir)?;
        apply::apply(&handle, &mut record, tar)?;
        if base.is_empty() {
            // With a base the old time stays: what was young then has not been looked at since.
            record.taken = now_ns();
        }
        record.id = want.to_owned();
        let Some(state) = state(&record) else {
            self.clear(&dir)?;
            return Ok(TreeState::default());
        };
        record.save(&self.file(&dir))?;
        self.put(&dir, record);
        Ok(state)
    }

    /// Forgets a tree and leaves an empty directory.
    fn clear(&self, dir: &str) -> io::Result<()> {
        self.forget(dir)?;
        if dir == "." {
            return empty(&self.work.open()?, &mut |_| true).and_then(|()| self.work.ready().map(drop));
        }
        self.work.remove(dir)?;
        self.open_dir(dir).map(drop)
    }

    /// Opens the tree's directory, created if missing; a link or file in its place is replaced.
    fn open_dir(&self, dir: &str) -> io::Result<Dir> {
        let mut handle = self.work.open()?;
        for part in dir.split('/').filter(|p| !matches!(*p, "" | ".")) {
            let name = std::ffi::OsStr::new(part);
            handle = match crate::workdir::open_unlocked(&handle, name) {
                Ok(below) => below,
                Err(e) => {
                    if e.kind() != io::ErrorKind::NotFound {
                        crate::workdir::remove_entry(&handle, name)?;
                    }
                    handle.create_dir(name)?;
                    crate::platform::open_dir_nofollow(&handle, name)?
                }
            };
        }
        Ok(handle)
    }
}

/// None when there are too many dirty entries, or one whose name JSON cannot carry.
fn state(record: &Record) -> Option<TreeState> {
    let mut dirty = Vec::new();
    let mut possible = true;
    record.root.dirty(&mut Vec::new(), &mut |path| match std::str::from_utf8(path) {
        Ok(path) if dirty.len() < MAX_DIRTY => dirty.push(path.to_owned()),
        _ => possible = false,
    });
    possible.then(|| TreeState { tree: Some(record.id.clone()), dirty })
}

fn now_ns() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| i64::try_from(d.as_nanos()).unwrap_or(i64::MAX))
}
