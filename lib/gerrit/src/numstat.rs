//! Numbers of added and deleted lines, by git itself: one long-lived `git diff-tree --stdin`.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use burrow_git::program::{Group, command};
use bytes::Bytes;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{ChildStdin, ChildStdout};

use crate::{GitError, Oid};

/// Longest line that is taken: a path can have 4,096 bytes, and quoting makes each four.
const MAX_LINE: u64 = 64 << 10;

/// One line of `git diff-tree --numstat`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileStat {
    /// The path as git prints it: in C quotes when it has bytes that are not plain.
    pub path: Bytes,
    /// Added lines; 0 when it is binary.
    pub added: i64,
    /// Deleted lines; 0 when it is binary.
    pub deleted: i64,
    /// Not text.
    pub binary: bool,
}

/// The running program. It answers a commit with the commit's hash on a line of its own and a line for each file; a line that is no hash comes back
/// as it is, which tells where the answer to a commit ends.
pub(crate) struct DiffTree {
    group: Group,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    serial: u64,
    dir: PathBuf,
}

impl DiffTree {
    pub(crate) fn start(dir: &Path, config: &Path) -> Result<DiffTree, GitError> {
        let args = [
            // What would make a file binary or give it another way to be compared: nobody's attributes, not even those of the branch at HEAD.
            "-c",
            "core.attributesFile=/dev/null",
            "-c",
            "attr.tree=4b825dc642cb6eb9a060e54bf8d69288fbee4904",
            "-c",
            "core.quotePath=true",
            "diff-tree",
            "--stdin",
            "--always",
            "--no-renames",
            "--numstat",
        ];
        let mut program = command(dir, config, &args);
        program.env("GIT_ATTR_NOSYSTEM", "1").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut group = Group::start(program)?;
        let gone = || GitError::Interrupted("git diff-tree has no input or output".to_owned());
        let input = group.child.stdin.take().ok_or_else(gone)?;
        let output = BufReader::new(group.child.stdout.take().ok_or_else(gone)?);
        Ok(DiffTree { group, input, output, serial: 0, dir: dir.to_owned() })
    }

    /// The lines for a commit. After an error or when this future was dropped, the program must not be used again.
    pub(crate) async fn numstat(&mut self, id: Oid, limit: Duration) -> Result<Vec<FileStat>, GitError> {
        match tokio::time::timeout(limit, self.talk(id)).await {
            Ok(result) => result,
            Err(_) => Err(GitError::Timeout { limit }),
        }
    }

    async fn talk(&mut self, id: Oid) -> Result<Vec<FileStat>, GitError> {
        self.serial += 1;
        let (hash, mark) = (id.to_string(), format!("end {}", self.serial));
        let broken = |error: std::io::Error| GitError::Other { command: "diff-tree".to_owned(), stderr: error.to_string() };
        self.input.write_all(format!("{hash}\n{mark}\n").as_bytes()).await.map_err(broken)?;
        self.input.flush().await.map_err(broken)?;
        let mut files = Vec::new();
        let mut answered = false;
        let mut line = Vec::new();
        loop {
            line.clear();
            (&mut self.output).take(MAX_LINE).read_until(b'\n', &mut line).await.map_err(broken)?;
            let Some(text) = line.strip_suffix(b"\n") else {
                let message = match self.group.child.try_wait() {
                    // A tree or file that is missing ends the program.
                    Ok(Some(status)) => format!("git diff-tree ended with {status} at {hash} in {}", self.dir.display()),
                    _ => "git diff-tree prints no whole line".to_owned(),
                };
                return Err(GitError::Corrupt { id, message });
            };
            if text == mark.as_bytes() {
                // An object that is not here, or no commit, has no answer at all.
                return if answered { Ok(files) } else { Err(GitError::Missing { kind: "commit", id }) };
            }
            if text == hash.as_bytes() {
                answered = true;
                continue;
            }
            files.push(parse(text).ok_or_else(|| GitError::Corrupt { id, message: format!("git diff-tree prints {:?}", String::from_utf8_lossy(text)) })?);
        }
    }
}

/// `3\t4\tpath`, or `-\t-\tpath`.
fn parse(line: &[u8]) -> Option<FileStat> {
    let mut columns = line.splitn(3, |byte| *byte == b'\t');
    let (added, deleted, path) = (columns.next()?, columns.next()?, columns.next()?);
    let number = |text: &[u8]| std::str::from_utf8(text).ok()?.parse().ok();
    let binary = added == b"-" && deleted == b"-";
    let (added, deleted) = if binary { (0, 0) } else { (number(added)?, number(deleted)?) };
    (!path.is_empty()).then(|| FileStat { path: Bytes::copy_from_slice(path), added, deleted, binary })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read() {
        let stat = |added, deleted, binary, path: &'static str| Some(FileStat { path: Bytes::from_static(path.as_bytes()), added, deleted, binary });
        assert_eq!(parse(b"3\t40\tsrc/a b.go"), stat(3, 40, false, "src/a b.go"));
        assert_eq!(parse(b"-\t-\t\"caf\\303\\251\\t\""), stat(0, 0, true, "\"caf\\303\\251\\t\""));
        for bad in [&b""[..], b"1\t2", b"1\t2\t", b"-\t2\tx", b"x\ty\tz", b"1 2 z"] {
            assert_eq!(parse(bad), None);
        }
    }
}
