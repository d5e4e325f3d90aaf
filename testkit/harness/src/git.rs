//! Real git repositories with the same hashes everywhere.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A repository with a work tree, made by the git program with nothing of the machine's own configuration.
#[derive(Debug)]
pub struct Repository {
    dir: PathBuf,
    time: std::cell::Cell<i64>,
}

impl Repository {
    /// An empty one in `dir` (created) with the branch `main`. The first commit is of 2026-01-01, each later one a minute younger.
    ///
    /// # Panics
    /// git is missing or refuses.
    pub fn create(dir: impl Into<PathBuf>) -> Repository {
        let dir = dir.into();
        std::fs::create_dir_all(&dir).expect("make the repository's folder");
        let repository = Repository { dir, time: std::cell::Cell::new(1_767_225_600) };
        repository.git(&["init", "--quiet", "--initial-branch=main"]);
        repository
    }

    /// Its folder.
    pub fn path(&self) -> &Path {
        &self.dir
    }

    /// Folder as text, for command lines.
    pub fn arg(&self) -> &str {
        self.dir.to_str().expect("a temporary folder has a UTF-8 name")
    }

    /// Writes a file of the work tree.
    pub fn write(&self, path: &str, content: impl AsRef<[u8]>) -> &Repository {
        let path = self.dir.join(path);
        std::fs::create_dir_all(path.parent().expect("a file has a folder")).expect("make a folder");
        std::fs::write(path, content).expect("write a file");
        self
    }

    /// Writes an executable file of the work tree.
    pub fn script(&self, path: &str, content: &str) -> &Repository {
        self.write(path, content);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            std::fs::set_permissions(self.dir.join(path), std::fs::Permissions::from_mode(0o755)).expect("make a file executable");
        }
        self
    }

    /// Commits everything there is; returns the hash.
    pub fn commit(&self, message: &str) -> String {
        self.time.set(self.time.get() + 60);
        self.git(&["add", "--all"]);
        self.git(&["commit", "--quiet", "--allow-empty", "--message", message]);
        self.head()
    }

    /// Hash of the commit that is checked out.
    pub fn head(&self) -> String {
        self.git(&["rev-parse", "HEAD"]).trim().to_owned()
    }

    /// Runs git in it and returns what it printed.
    ///
    /// # Panics
    /// git ended with a status other than 0.
    pub fn git(&self, args: &[&str]) -> String {
        let date = format!("{} +0000", self.time.get());
        let output = Command::new("git")
            .args(args)
            .current_dir(&self.dir)
            .env_clear()
            .envs(std::env::var_os("PATH").map(|path| ("PATH", path)))
            .env("HOME", &self.dir)
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_AUTHOR_NAME", "Ada Tester")
            .env("GIT_AUTHOR_EMAIL", "ada@example.org")
            .env("GIT_AUTHOR_DATE", &date)
            .env("GIT_COMMITTER_NAME", "Ada Tester")
            .env("GIT_COMMITTER_EMAIL", "ada@example.org")
            .env("GIT_COMMITTER_DATE", &date)
            .output()
            .expect("git is installed");
        assert!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}
