//! Repositories to build.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail};

/// A repository whose branch `main` is moved along prepared commits, as pushes would.
pub(crate) struct Repository {
    /// The bare repository.
    pub(crate) dir: PathBuf,
    /// Prepared commits, oldest first.
    pub(crate) commits: Vec<String>,
}

/// Files of the first commit, in folders of 25; about 2 kB each, as source files are.
const FILES: usize = 1_000;

impl Repository {
    /// A first commit of 1,000 files, then `count` commits that change three files each. `main` stands at the first.
    ///
    /// # Errors
    /// git is missing or refuses.
    pub(crate) fn create(dir: &Path, count: usize) -> anyhow::Result<Repository> {
        git(dir, &["init", "--quiet", "--bare", "--initial-branch=main", &dir.to_string_lossy()])?;
        let mut input = String::new();
        let path = |file: usize| format!("part{:02}/file{:02}.txt", file / 25, file % 25);
        let content = |file: usize, version: usize| {
            let mut text = String::new();
            for line in 0..40 {
                let _ =
                    writeln!(text, "{file} {version} {line} {:016x}", (file as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(line + version as u32));
            }
            text
        };
        for commit in 0..=count {
            let title = format!("change {commit}");
            let when = 1_767_225_600 + commit * 60;
            let _ = writeln!(
                input,
                "commit refs/heads/all\nmark :{}\ncommitter Ada Tester <ada@example.org> {when} +0000\ndata {}\n{title}",
                commit + 1,
                title.len()
            );
            let files: Vec<usize> = if commit == 0 { (0..FILES).collect() } else { (0..3).map(|n| (commit * 37 + n * 311) % FILES).collect() };
            for file in files {
                let text = content(file, commit);
                let _ = writeln!(input, "M 100644 inline {}\ndata {}\n{text}", path(file), text.len());
            }
        }
        let mut import = Command::new("git").args(["fast-import", "--quiet"]).current_dir(dir).stdin(Stdio::piped()).spawn().context("git fast-import")?;
        import.stdin.take().context("no input")?.write_all(input.as_bytes())?;
        if !import.wait()?.success() {
            bail!("git fast-import failed");
        }
        let listed = git(dir, &["rev-list", "--reverse", "all"])?;
        let commits: Vec<String> = listed.lines().map(str::to_owned).collect();
        let repository = Repository { dir: dir.to_owned(), commits };
        repository.push(0)?;
        git(dir, &["update-ref", "-d", "refs/heads/all"])?;
        // `main` reaches only the first: the others are kept by a ref that nobody watches.
        git(dir, &["update-ref", "refs/prepared/all", repository.commits.last().context("no commit")?])?;
        Ok(repository)
    }

    /// Moves `main` to a prepared commit.
    ///
    /// # Errors
    /// git refuses.
    pub(crate) fn push(&self, commit: usize) -> anyhow::Result<()> {
        let hash = self.commits.get(commit).context("no such commit")?;
        git(&self.dir, &["update-ref", "refs/heads/main", hash]).map(drop)
    }
}

/// Runs git, undisturbed by the configuration of whoever runs this.
///
/// # Errors
/// It failed.
pub(crate) fn git(dir: &Path, args: &[&str]) -> anyhow::Result<String> {
    let dir = if dir.exists() { dir } else { Path::new(".") };
    let output =
        Command::new("git").args(args).current_dir(dir).env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1").output().context("git")?;
    if !output.status.success() {
        bail!("git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
