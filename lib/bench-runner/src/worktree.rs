//! Revisions of one repository side by side: a git worktree for each, in a temporary folder, gone with it.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

/// A worktree could not be made.
#[derive(Debug, thiserror::Error)]
pub enum WorktreeError {
    /// There is no room for it.
    #[error("cannot make a folder for the revisions: {0}")]
    Folder(#[from] std::io::Error),
    /// git refused.
    #[error("git cannot check out {rev} of {}: {said}", repository.display())]
    Git {
        /// The revision.
        rev: String,
        /// The repository.
        repository: PathBuf,
        /// What git said.
        said: String,
    },
}

/// Worktrees of revisions.
#[derive(Debug)]
pub struct Worktrees {
    repository: PathBuf,
    folder: TempDir,
    paths: Vec<PathBuf>,
}

impl Worktrees {
    /// Checks each revision out, as it is committed; what is not committed is not part of it.
    ///
    /// # Errors
    /// git is not there, the folder is no repository, or a revision does not exist. Those that were made are gone again.
    pub fn new(repository: &Path, revs: &[String]) -> Result<Worktrees, WorktreeError> {
        let mut trees = Worktrees { repository: repository.to_owned(), folder: TempDir::with_prefix("burrow-bench-")?, paths: Vec::new() };
        for (number, rev) in revs.iter().enumerate() {
            let path = trees.folder.path().join(number.to_string());
            let refused = |said: String| WorktreeError::Git { rev: rev.clone(), repository: repository.to_owned(), said };
            let output = trees.git().args(["worktree", "add", "--quiet", "--detach"]).arg(&path).arg("--end-of-options").arg(rev).output();
            let output = output.map_err(|error| refused(error.to_string()))?;
            if !output.status.success() {
                return Err(refused(String::from_utf8_lossy(&output.stderr).trim().to_owned()));
            }
            trees.paths.push(path);
        }
        Ok(trees)
    }

    /// Where each is, in the order of the revisions.
    #[must_use]
    pub fn paths(&self) -> &[PathBuf] {
        &self.paths
    }

    fn git(&self) -> Command {
        let mut git = Command::new("git");
        git.arg("-C").arg(&self.repository);
        git
    }
}

impl Drop for Worktrees {
    fn drop(&mut self) {
        for path in &self.paths {
            // If git cannot, the folder goes all the same, and `git worktree prune` forgets it some day.
            let _ = self.git().args(["worktree", "remove", "--force"]).arg(path).output();
        }
    }
}
