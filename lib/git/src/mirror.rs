//! The mirror itself: creating it, following the remote, and what it has.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use burrow_task::BoxFuture;
use bytes::Bytes;
use futures_util::Stream;

use crate::program::{self, git, redact, remote_failure};
use crate::read::{self, Commit};
use crate::{Error, Oid, tree};

/// Local commands are quick; one that is not has met a broken disk.
const LOCAL_LIMIT: Duration = Duration::from_secs(60);

/// References below which git keeps what only we still want.
const KEEP: &str = "refs/burrow/keep/";

/// A bare repository in a folder of ours that follows a remote one. Clones share it.
#[derive(Clone)]
pub struct Mirror {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    dir: PathBuf,
    url: String,
    config: PathBuf,
    /// Fetching is exclusive; reading goes on meanwhile.
    fetching: tokio::sync::Mutex<()>,
    /// Replaced when the first fetch finds a repository with another kind of hash.
    repo: std::sync::RwLock<gix::ThreadSafeRepository>,
}

impl std::fmt::Debug for Mirror {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mirror").field("dir", &self.inner.dir).field("url", &redact(&self.inner.url)).finish()
    }
}

impl Mirror {
    /// Opens the mirror in `dir` (made when missing) of the repository at `url`: anything git can fetch from, or a
    /// folder, bare or not; of a folder with a work tree only what is committed counts.
    ///
    /// Nothing is asked of the remote yet. One process may use a mirror folder at a time.
    ///
    /// # Errors
    /// [`Error::BadUrl`], [`Error::NoGit`], or [`Error::Local`] when the folder cannot be used.
    pub fn open<'a>(dir: &'a Path, url: &'a str) -> BoxFuture<'a, Result<Mirror, Error>> {
        Box::pin(async move { Self::open_with_token(dir, url, None).await })
    }

    /// The same of a remote that wants a bearer token (over HTTP). The token stands in a file that only the owner can read, never in an argument.
    ///
    /// # Errors
    /// As [`Mirror::open`]; [`Error::BadToken`] for one that cannot stand in a header.
    pub fn open_with_token<'a>(dir: &'a Path, url: &'a str, token: Option<&'a str>) -> BoxFuture<'a, Result<Mirror, Error>> {
        Box::pin(async move {
            if token.is_some_and(|token| token.is_empty() || token.bytes().any(|byte| !byte.is_ascii_graphic() || matches!(byte, b'"' | b'\\' | b'#' | b';'))) {
                return Err(Error::BadToken);
            }
            if url.is_empty() || url.starts_with('-') || url.chars().any(char::is_control) {
                return Err(Error::BadUrl(url.to_owned()));
            }
            let local = |error: std::io::Error| Error::Local { path: dir.to_owned(), message: error.to_string() };
            std::fs::create_dir_all(dir).map_err(local)?;
            let dir = std::fs::canonicalize(dir).map_err(local)?;
            // A relative folder means "below the current folder of whoever asks", not below the mirror.
            let url = match Path::new(url) {
                path if path.is_dir() => {
                    std::fs::canonicalize(path).ok().and_then(|path| path.into_os_string().into_string().ok()).unwrap_or_else(|| url.to_owned())
                }
                _ => url.to_owned(),
            };
            let config = dir.join("burrow-gitconfig");
            let mut settings = "# Read by the git programs that follow this mirror, instead of a user's own settings.\n\
             [safe]\n\tdirectory = *\n[gc]\n\tauto = 0\n[maintenance]\n\tauto = false\n[fetch]\n\tshowForcedUpdates = false\n[init]\n\tdefaultBranch = main\n"
                .to_owned();
            if let Some(token) = token {
                // Only for this server: a redirect elsewhere does not get it.
                let server = url.find("://").and_then(|at| url.get(at + 3..)?.find('/').map(|end| at + 3 + end)).and_then(|end| url.get(..end)).unwrap_or(&url);
                if server.contains(['"', '\\']) {
                    return Err(Error::BadUrl(url));
                }
                settings.push_str(&format!("[http \"{server}/\"]\n\textraHeader = \"Authorization: Bearer {token}\"\n"));
            }
            write_private(&config, &settings).map_err(local)?;
            if !dir.join("HEAD").exists() {
                init(&dir, &config, "sha1").await?;
            }
            remove_stale_locks(&dir);
            let repo = open_repo(&dir)?;
            Ok(Mirror { inner: Arc::new(Inner { dir, url, config, fetching: tokio::sync::Mutex::new(()), repo: std::sync::RwLock::new(repo) }) })
        })
    }

    /// The address that is followed.
    pub fn url(&self) -> &str {
        &self.inner.url
    }

    /// The mirror's folder.
    pub fn dir(&self) -> &Path {
        &self.inner.dir
    }

    /// Takes over all branches and tags of the remote: new, moved, force-pushed and deleted ones. When nothing has
    /// changed this costs one question to the remote. Commits that a force push or deletion left behind stay readable.
    ///
    /// `timeout` is for everything together; what was started is killed when it is over.
    ///
    /// # Errors
    /// [`Error::Gone`], [`Error::Auth`], [`Error::Timeout`], [`Error::Other`]; the mirror is then as it was, or has
    /// some of the news.
    pub fn fetch(&self, timeout: Duration) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async move {
            let _one = self.inner.fetching.lock().await;
            match tokio::time::timeout(timeout, self.fetch_locked(timeout)).await {
                Ok(result) => {
                    if matches!(result, Err(Error::Timeout { .. })) {
                        remove_stale_locks(&self.inner.dir);
                    }
                    result
                }
                Err(_) => {
                    remove_stale_locks(&self.inner.dir);
                    Err(Error::Timeout { limit: timeout })
                }
            }
        })
    }

    async fn fetch_locked(&self, timeout: Duration) -> Result<(), Error> {
        let url = self.inner.url.as_str();
        let asked = self.git(&["ls-remote", "--symref", "--end-of-options", url, "HEAD", "refs/heads/*", "refs/tags/*"], &[], timeout).await?;
        if !asked.status.success() {
            return Err(remote_failure(url, "ls-remote", asked));
        }
        let remote = Advertised::parse(&asked.stdout);
        let before = self.own_refs().await?;
        if before.is_empty() && remote.refs.values().any(|id| id.as_bytes().len() == 32) && self.hash_bytes() == 20 {
            self.become_sha256().await?;
        }
        if remote.refs != before {
            let args = [
                "fetch",
                "--quiet",
                "--force",
                "--prune",
                "--no-tags",
                "--update-shallow",
                "--no-write-fetch-head",
                "--no-recurse-submodules",
                "--no-auto-maintenance",
                "--end-of-options",
                url,
                "+refs/heads/*:refs/heads/*",
                "+refs/tags/*:refs/tags/*",
            ];
            // What will lose its name is given ours first: a crash in between then loses nothing.
            self.keep_left_behind(&before, &remote.refs).await?;
            let done = self.git(&args, &[], timeout).await?;
            if !done.status.success() {
                return Err(remote_failure(url, "fetch", done));
            }
            self.forget_what_is_still_named(before).await?;
        }
        if let Some(head) = &remote.head {
            let done = self.git(&["symbolic-ref", "HEAD", head], &[], LOCAL_LIMIT).await?;
            if !done.status.success() {
                return Err(Error::Other { command: "symbolic-ref".to_owned(), stderr: done.stderr });
            }
        }
        Ok(())
    }

    /// Writes `refs/burrow/keep/<id>` for everything that the remote no longer has under its name.
    async fn keep_left_behind(&self, before: &BTreeMap<String, Oid>, after: &BTreeMap<String, Oid>) -> Result<(), Error> {
        // Whether a new tip contains the old one cannot be known before the fetch has brought it. (A set: several
        // branches may leave the same commit.)
        let left: BTreeSet<String> =
            before.iter().filter(|(name, old)| after.get(*name) != Some(old)).map(|(_, old)| format!("update {KEEP}{old} {old}\n")).collect();
        let updates: String = left.into_iter().collect();
        if updates.is_empty() {
            return Ok(());
        }
        let done = self.git(&["update-ref", "--stdin"], updates.as_bytes(), LOCAL_LIMIT).await?;
        if done.status.success() { Ok(()) } else { Err(Error::Other { command: "update-ref".to_owned(), stderr: done.stderr }) }
    }

    /// Most branches only moved forward: their old tips are part of the new ones and need no name of ours.
    async fn forget_what_is_still_named(&self, before: BTreeMap<String, Oid>) -> Result<(), Error> {
        let now = self.own_refs().await?;
        let updates = self
            .blocking(move |repo| {
                let moved = before.iter().filter_map(|(name, old)| Some((old, now.get(name)?))).filter(|(old, new)| old != new);
                let covered = moved.filter(|(old, new)| read::contains(repo, **new, **old));
                Ok(covered.map(|(old, _)| format!("delete {KEEP}{old}\n")).collect::<BTreeSet<String>>().into_iter().collect::<String>())
            })
            .await?;
        if updates.is_empty() {
            return Ok(());
        }
        let done = self.git(&["update-ref", "--stdin"], updates.as_bytes(), LOCAL_LIMIT).await?;
        if done.status.success() { Ok(()) } else { Err(Error::Other { command: "update-ref".to_owned(), stderr: done.stderr }) }
    }

    /// All branches, by name, with the commits they point at.
    ///
    /// # Errors
    /// [`Error::Local`] when the references cannot be read.
    pub fn branches(&self) -> BoxFuture<'_, Result<Vec<(String, Oid)>, Error>> {
        Box::pin(async move {
            let refs = self.own_refs().await?;
            Ok(refs.into_iter().filter_map(|(name, id)| Some((name.strip_prefix("refs/heads/")?.to_owned(), id))).collect())
        })
    }

    /// All tags, by name, with the commits they point at in the end. Tags of other things than commits are left out.
    ///
    /// # Errors
    /// [`Error::Local`] when the references cannot be read.
    pub fn tags(&self) -> BoxFuture<'_, Result<Vec<(String, Oid)>, Error>> {
        Box::pin(async move {
            let refs = self.own_refs().await?;
            self.blocking(move |repo| {
                Ok(refs.into_iter().filter_map(|(name, id)| Some((name.strip_prefix("refs/tags/")?.to_owned(), read::peel(repo, id)?))).collect())
            })
            .await
        })
    }

    /// The branch that the remote calls its default, as of the last fetch; else `main`, else `master`, else the only
    /// branch there is. `None` when none of these exists.
    ///
    /// # Errors
    /// [`Error::Local`] when the references cannot be read.
    pub fn default_branch(&self) -> BoxFuture<'_, Result<Option<String>, Error>> {
        Box::pin(async move {
            let branches = self.branches().await?;
            let has = |name: &str| branches.iter().any(|(branch, _)| branch == name);
            let head = std::fs::read_to_string(self.inner.dir.join("HEAD")).unwrap_or_default();
            let named = head.trim().strip_prefix("ref: refs/heads/").unwrap_or_default();
            Ok(match branches.as_slice() {
                _ if has(named) => Some(named.to_owned()),
                _ if has("main") => Some("main".to_owned()),
                _ if has("master") => Some("master".to_owned()),
                [(only, _)] => Some(only.clone()),
                _ => None,
            })
        })
    }

    /// Commits reachable from `tip`, newest commit time first, at most `limit`. A commit for which
    /// `stop` says true is left out together with everything that is only reachable through it.
    ///
    /// # Errors
    /// [`Error::Missing`] when `tip` is not here. A history that ends early because the remote is a shallow clone ends
    /// quietly.
    pub async fn log(&self, tip: Oid, limit: usize, stop: impl Fn(&Oid) -> bool + Send + 'static) -> Result<Vec<Commit>, Error> {
        self.blocking(move |repo| read::log(repo, tip, limit, &stop, false)).await
    }

    /// The same along first parents only: what was on this branch, in its order.
    ///
    /// # Errors
    /// As [`Mirror::log`].
    pub async fn log_first_parent(&self, tip: Oid, limit: usize, stop: impl Fn(&Oid) -> bool + Send + 'static) -> Result<Vec<Commit>, Error> {
        self.blocking(move |repo| read::log(repo, tip, limit, &stop, true)).await
    }

    /// One commit, or `None` when it is not here or is not a commit.
    ///
    /// # Errors
    /// [`Error::Corrupt`] when it cannot be read.
    pub fn commit(&self, id: Oid) -> BoxFuture<'_, Result<Option<Commit>, Error>> {
        Box::pin(async move { self.blocking(move |repo| read::commit(repo, id)).await })
    }

    /// The commit that a person means: a whole hash, `HEAD`, a branch, a tag, a full reference name, or the beginning
    /// of a hash (4 digits or more) when only one commit begins so. In this order: a branch that looks like somebody
    /// else's hash does not hide the commit.
    ///
    /// # Errors
    /// [`Error::Local`] when the references cannot be read.
    pub fn resolve<'a>(&'a self, rev: &'a str) -> BoxFuture<'a, Result<Option<Oid>, Error>> {
        Box::pin(async move {
            let rev = rev.to_owned();
            let refs = self.own_refs().await?;
            let head = if rev == "HEAD" { self.default_branch().await? } else { None };
            self.blocking(move |repo| {
                if let Some(found) = rev.parse().ok().and_then(|id| read::peel(repo, id)) {
                    return Ok(Some(found));
                }
                let name = head.unwrap_or(rev);
                let named = [format!("refs/heads/{name}"), format!("refs/tags/{name}"), name.clone()];
                if let Some(found) = named.iter().find_map(|name| refs.get(name)).and_then(|id| read::peel(repo, *id)) {
                    return Ok(Some(found));
                }
                Ok(read::by_prefix(repo, &name))
            })
            .await
        })
    }

    /// The content of the file at `path` (with `/`) in a commit. `None` when there is none, or it is not a file;
    /// for a symbolic link its target.
    ///
    /// # Errors
    /// [`Error::Missing`] when the commit is not here.
    pub fn read_file<'a>(&'a self, commit: Oid, path: &'a str) -> BoxFuture<'a, Result<Option<Bytes>, Error>> {
        Box::pin(async move {
            let path = path.to_owned();
            self.blocking(move |repo| read::file(repo, commit, path.as_bytes())).await
        })
    }

    /// The names in the root directory of a commit, as git sorts them; directories end in `/`. Names that are not
    /// UTF-8 have their odd bytes replaced.
    ///
    /// # Errors
    /// [`Error::Missing`] when the commit is not here.
    pub fn list_root(&self, commit: Oid) -> BoxFuture<'_, Result<Vec<String>, Error>> {
        Box::pin(async move { self.blocking(move |repo| read::list_root(repo, commit)).await })
    }

    /// The tree (state of all files) that a commit recorded.
    ///
    /// # Errors
    /// [`Error::Missing`] when the commit is not here.
    pub fn tree_of(&self, commit: Oid) -> BoxFuture<'_, Result<Oid, Error>> {
        Box::pin(async move { self.blocking(move |repo| read::tree_of(repo, commit)).await })
    }

    /// The body of `POST /tree` (`docs/worker-protocol.md`, *Source trees*): a tar stream that turns a directory
    /// holding tree `base` (`None`: an empty one) into tree `want`, sending the `dirty` paths again whether they differ or not.
    ///
    /// Deletions come first, in one entry `.burrow-delete`. Submodules are empty directories. Files get the current time,
    /// because build tools compare times and a changed file must not look older than what was made from its predecessor.
    /// Memory: one file and a few chunks of 64 KiB.
    pub fn tree_tar(&self, base: Option<Oid>, want: Oid, dirty: Vec<String>) -> impl Stream<Item = Result<Bytes, Error>> + Send + Unpin + use<> {
        let mirror = self.clone();
        crate::stream::produce(move |out| mirror.with(|repo| tree::write_difference(repo, base, want, &dirty, out)))
    }

    /// All files of a commit as a tar.gz stream, each path after `prefix` (for example `"src/"`, or `""`), with the
    /// commit's time: for classic workers (`PUT /writetgz`). Compressed for speed, not size.
    pub fn archive_tgz(&self, commit: Oid, prefix: &str) -> impl Stream<Item = Result<Bytes, Error>> + Send + Unpin + use<> {
        let mirror = self.clone();
        let prefix = prefix.to_owned();
        crate::stream::produce(move |out| mirror.with(|repo| tree::write_archive(repo, commit, &prefix, out)))
    }

    /// Branches and tags with what they point at, unpeeled.
    async fn own_refs(&self) -> Result<BTreeMap<String, Oid>, Error> {
        let dir = self.inner.dir.clone();
        self.blocking(move |repo| read::references(repo).map_err(|message| Error::Local { path: dir, message })).await
    }

    async fn git(&self, args: &[&str], stdin: &[u8], limit: Duration) -> Result<program::Output, Error> {
        git(&self.inner.dir, &self.inner.config, args, stdin, limit).await
    }

    fn hash_bytes(&self) -> usize {
        self.with(|repo| repo.object_hash().len_in_bytes())
    }

    /// A mirror is made before anything is known about the remote; one that is still empty can change its mind.
    async fn become_sha256(&self) -> Result<(), Error> {
        let dir = &self.inner.dir;
        let local = |error: std::io::Error| Error::Local { path: dir.clone(), message: error.to_string() };
        for name in ["objects", "refs"] {
            std::fs::remove_dir_all(dir.join(name)).map_err(local)?;
        }
        for name in ["HEAD", "config"] {
            std::fs::remove_file(dir.join(name)).map_err(local)?;
        }
        init(dir, &self.inner.config, "sha256").await?;
        *self.inner.repo.write().unwrap_or_else(|poisoned| poisoned.into_inner()) = open_repo(dir)?;
        Ok(())
    }

    fn with<T>(&self, work: impl FnOnce(&gix::Repository) -> T) -> T {
        let mut repo = self.inner.repo.read().unwrap_or_else(|poisoned| poisoned.into_inner()).to_thread_local();
        // Trees are looked at again and again along a history; four megabytes hold those of a large project.
        repo.object_cache_size_if_unset(4 << 20);
        work(&repo)
    }

    async fn blocking<T: Send + 'static>(&self, work: impl FnOnce(&gix::Repository) -> Result<T, Error> + Send + 'static) -> Result<T, Error> {
        let mirror = self.clone();
        match burrow_task::spawn_blocking(move || mirror.with(work)).await {
            Ok(result) => result,
            Err(error) => Err(Error::Interrupted(error.to_string())),
        }
    }
}

/// Writes a file that only its owner can read.
fn write_private(path: &Path, text: &str) -> std::io::Result<()> {
    use std::io::Write as _;
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    // One of an earlier start may have been open to all.
    #[cfg(unix)]
    file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
    file.write_all(text.as_bytes())
}

async fn init(dir: &Path, config: &Path, hash: &str) -> Result<(), Error> {
    let format = format!("--object-format={hash}");
    let done = git(dir, config, &["init", "--quiet", "--bare", "--template=", format.as_str(), "."], &[], LOCAL_LIMIT).await?;
    if done.status.success() { Ok(()) } else { Err(Error::Local { path: dir.to_owned(), message: done.stderr }) }
}

fn open_repo(dir: &Path) -> Result<gix::ThreadSafeRepository, Error> {
    let options = gix::open::Options::isolated().open_path_as_is(true).with(gix::sec::Trust::Full);
    gix::ThreadSafeRepository::open_opts(dir, options).map_err(|error| Error::Local { path: dir.to_owned(), message: error.to_string() })
}

/// A git that was killed leaves its lock files, and every later one would stop at them. We are the only user of this
/// folder and none of our gits is running, so whatever is locked is stale.
fn remove_stale_locks(dir: &Path) {
    let mut left = vec![(dir.to_owned(), 0)];
    while let Some((folder, depth)) = left.pop() {
        let Ok(entries) = std::fs::read_dir(&folder) else { continue };
        for entry in entries.flatten() {
            let name = entry.file_name();
            let path = entry.path();
            let Ok(kind) = entry.file_type() else { continue };
            if kind.is_dir() {
                // Objects are many and never locked; only half-received packs lie there.
                let objects = depth == 0 && name == "objects";
                left.push((if objects { path.join("pack") } else { path }, depth + 1));
            } else if Path::new(&name).extension().is_some_and(|ext| ext == "lock") || name.to_string_lossy().starts_with("tmp_") {
                let _ = std::fs::remove_file(path);
            }
        }
    }
}

/// What `git ls-remote --symref` prints.
struct Advertised {
    /// Full name of the branch that HEAD stands for.
    head: Option<String>,
    refs: BTreeMap<String, Oid>,
}

impl Advertised {
    fn parse(stdout: &[u8]) -> Advertised {
        let mut found = Advertised { head: None, refs: BTreeMap::new() };
        for line in String::from_utf8_lossy(stdout).lines() {
            let Some((value, name)) = line.split_once('\t') else { continue };
            if let (Some(target), "HEAD") = (value.strip_prefix("ref: "), name) {
                found.head = Some(target.to_owned()).filter(|target| target.starts_with("refs/heads/"));
            } else if name.starts_with("refs/")
                && !name.ends_with("^{}")
                && let Ok(id) = value.parse()
            {
                found.refs.insert(name.to_owned(), id);
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_advertisement_is_read_without_peeled_tags_and_without_head_itself() {
        let id = "4b825dc642cb6eb9a060e54bf8d69288fbee4904";
        let text = format!("ref: refs/heads/trunk\tHEAD\n{id}\tHEAD\n{id}\trefs/heads/trunk\n{id}\trefs/tags/v1\n{id}\trefs/tags/v1^{{}}\n");
        let found = Advertised::parse(text.as_bytes());
        assert_eq!(found.head.as_deref(), Some("refs/heads/trunk"));
        assert_eq!(found.refs.keys().map(String::as_str).collect::<Vec<_>>(), ["refs/heads/trunk", "refs/tags/v1"]);
    }
}
