//! The bare repository that keeps what an upstream has: opened or made, read in this process, fetched into by git, repaired in place.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, RwLock};

use burrow_git::Oid;

use crate::child::{ChildError, Identity, Output, Runner};
use crate::refs::{Change, Refs};
use crate::remote::{self, Remote, RemoteError};

/// References below which old values are kept, so that they can be restored.
const KEEP: &str = "refs/burrow/keep/";

/// More references than this are fetched by pattern and not by name: git looks each name up in the whole list.
const BY_NAME: usize = 500;

/// So many commits are looked at to find out whether a branch only went forward.
const WALK: usize = 2_000;

/// So many packs may lie side by side before they are put together.
const MAX_PACKS: usize = 50;

/// Why the cache cannot do what it should.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// The folder cannot be used.
    #[error("{path}: {why}", path = path.display())]
    Local {
        /// Which.
        path: PathBuf,
        /// Why not.
        why: String,
    },
    /// git did not end well.
    #[error(transparent)]
    Child(#[from] ChildError),
    /// git failed.
    #[error("git {command} failed: {why}")]
    Git {
        /// Subcommand.
        command: &'static str,
        /// What it said.
        why: String,
    },
    /// The upstream is the cause.
    #[error(transparent)]
    Remote(#[from] RemoteError),
    /// It is larger than it may be.
    #[error("the repository has {bytes} bytes on disk, more than its max_size of {limit}; raise that, or exclude references")]
    TooLarge {
        /// Bytes.
        bytes: u64,
        /// Limit.
        limit: u64,
    },
}

impl CacheError {
    /// Whether it points at broken files of ours.
    pub fn smells_of_corruption(&self) -> bool {
        matches!(self, CacheError::Git { why, .. } if corrupt(why))
    }

    /// Whether the upstream was asked and has no such object, or gives none away that has no name.
    pub(crate) fn is_no_such_object(&self) -> bool {
        const SIGNS: [&str; 3] = ["not our ref", "unadvertised object", "couldn't find remote ref"];
        matches!(self, CacheError::Remote(error) if { let text = error.to_string(); SIGNS.iter().any(|sign| text.contains(sign)) })
    }
}

/// Whether what git said points at broken files.
pub fn corrupt(why: &str) -> bool {
    const SIGNS: &[&str] = &[
        "corrupt",
        "bad object",
        "unable to read",
        "is empty",
        "bad tree",
        "missing blob",
        "missing tree",
        "missing commit",
        "could not parse",
        "inflate",
        "does not match index",
        "cannot be accessed",
        "index file",
        "bad ref",
        "remote did not send all necessary objects",
        "unresolved delta",
        "failed to read object",
        "invalid index-pack",
    ];
    SIGNS.iter().any(|sign| why.contains(sign)) && !full(why)
}

/// Whether a disk is full.
fn full(why: &str) -> bool {
    ["No space left on device", "Disk quota exceeded"].iter().any(|sign| why.contains(sign))
}

/// A message with what to do, if that is known.
pub(crate) fn with_remedy(why: String) -> String {
    if full(&why) { format!("{why}; a disk is full, the mirror's or the other side's: free some space, and it goes on by itself") } else { why }
}

/// The repository. One process uses it, and one fetch at a time; readers are not held up.
pub struct Cache {
    dir: PathBuf,
    identity: Identity,
    repo: RwLock<gix::ThreadSafeRepository>,
    refs: RwLock<Arc<Refs>>,
    /// Held by whoever lets git write here: who cleans up after a git that was killed must know that no other runs.
    writing: tokio::sync::Mutex<()>,
    /// What lost its name while ours could not be written.
    unkept: std::sync::Mutex<Vec<Change>>,
}

impl std::fmt::Debug for Cache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cache").field("dir", &self.dir).finish_non_exhaustive()
    }
}

impl Cache {
    /// Opens the repository in `dir`, or makes an empty one. What programs that were killed left locked is freed: nothing of ours may be running there.
    ///
    /// # Errors
    /// [`CacheError::Local`], [`CacheError::Child`]
    pub async fn open(dir: &Path, identity: &Identity, runner: &Runner) -> Result<Cache, CacheError> {
        let local = |error: std::io::Error| CacheError::Local { path: dir.to_owned(), why: error.to_string() };
        std::fs::create_dir_all(dir).map_err(local)?;
        free_locks(dir);
        if !whole(dir) {
            init(dir, identity, runner, "sha1").await?;
        }
        let repo = match remote::open(dir) {
            Ok(repo) => repo,
            Err(why) => {
                tracing::warn!(dir = %dir.display(), why, "A repository cannot be opened; its configuration is written anew.");
                let _ = std::fs::remove_file(dir.join("config"));
                init(dir, identity, runner, "sha1").await?;
                remote::open(dir).map_err(|why| CacheError::Local { path: dir.to_owned(), why })?
            }
        };
        let cache = Cache {
            dir: dir.to_owned(),
            identity: identity.clone(),
            repo: RwLock::new(repo),
            refs: RwLock::default(),
            writing: tokio::sync::Mutex::default(),
            unkept: std::sync::Mutex::default(),
        };
        cache.reload().await?;
        Ok(cache)
    }

    /// Its folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// What it has, without our own references.
    pub fn refs(&self) -> Arc<Refs> {
        Arc::clone(&self.refs.read().unwrap_or_else(std::sync::PoisonError::into_inner))
    }

    fn repo(&self) -> gix::ThreadSafeRepository {
        self.repo.read().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }

    async fn blocking<T: Send + 'static>(&self, work: impl FnOnce(&gix::Repository) -> T + Send + 'static) -> Result<T, CacheError> {
        let repo = self.repo();
        burrow_task::spawn_blocking(move || work(&repo.to_thread_local())).await.map_err(|error| self.local(error))
    }

    fn local(&self, why: impl std::fmt::Display) -> CacheError {
        CacheError::Local { path: self.dir.clone(), why: why.to_string() }
    }

    /// Reads the references again.
    ///
    /// # Errors
    /// [`CacheError::Local`]
    pub async fn reload(&self) -> Result<Arc<Refs>, CacheError> {
        let mut refs = self.blocking(remote::read_refs).await?.map_err(|why| self.local(why))?;
        refs.retain(|name, _| !name.starts_with("refs/burrow/"));
        let refs = Arc::new(refs);
        *self.refs.write().unwrap_or_else(std::sync::PoisonError::into_inner) = Arc::clone(&refs);
        Ok(refs)
    }

    /// Which of these objects are here.
    ///
    /// # Errors
    /// [`CacheError::Local`]
    pub async fn known(&self, ids: BTreeSet<Oid>) -> Result<BTreeSet<Oid>, CacheError> {
        self.blocking(move |repo| ids.into_iter().filter(|id| gix::ObjectId::try_from(id.as_bytes()).is_ok_and(|id| repo.has_object(id))).collect()).await
    }

    /// Whether a commit is here.
    ///
    /// # Errors
    /// [`CacheError::Local`]
    pub async fn has(&self, id: Oid) -> Result<bool, CacheError> {
        Ok(!self.known(BTreeSet::from([id])).await?.is_empty())
    }

    /// Makes sure that nobody else lets git write here.
    pub(crate) async fn write(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.writing.lock().await
    }

    async fn git(&self, runner: &Runner, command: &'static str, who: &Identity, args: &[String], stdin: &[u8]) -> Result<Output, CacheError> {
        let done = runner.git(&self.dir, who, args, stdin).await?;
        if done.status.success() { Ok(done) } else { Err(CacheError::Git { command, why: done.stderr }) }
    }

    /// Ids of 64 digits are about to come into an empty repository: it becomes one for them.
    ///
    /// # Errors
    /// [`CacheError`]
    pub async fn fit_hash(&self, runner: &Runner, upstream: &Refs) -> Result<(), CacheError> {
        let wide = upstream.values().next().is_some_and(|id| id.as_bytes().len() == 32);
        if !wide || !self.refs().is_empty() || self.repo().to_thread_local().object_hash() == gix::hash::Kind::Sha256 {
            return Ok(());
        }
        for name in ["objects", "refs"] {
            std::fs::remove_dir_all(self.dir.join(name)).map_err(|error| self.local(error))?;
        }
        for name in ["HEAD", "config"] {
            std::fs::remove_file(self.dir.join(name)).map_err(|error| self.local(error))?;
        }
        init(&self.dir, &self.identity, runner, "sha256").await?;
        *self.repo.write().unwrap_or_else(std::sync::PoisonError::into_inner) = remote::open(&self.dir).map_err(|why| self.local(why))?;
        Ok(())
    }

    /// Makes HEAD stand for this branch.
    ///
    /// # Errors
    /// [`CacheError::Local`]
    pub fn set_head(&self, name: &str) -> Result<(), CacheError> {
        let path = self.dir.join("HEAD");
        let text = format!("ref: {name}\n");
        if std::fs::read(&path).is_ok_and(|old| old == text.as_bytes()) {
            return Ok(());
        }
        self.replace(&path, &text)
    }

    /// Writes a small file in one moment.
    fn replace(&self, path: &Path, text: &str) -> Result<(), CacheError> {
        let fresh = path.with_extension("lock");
        std::fs::write(&fresh, text).and_then(|()| std::fs::rename(&fresh, path)).map_err(|error| {
            // A lock that stays behind would hold up git.
            let _ = std::fs::remove_file(&fresh);
            self.local(error)
        })
    }

    /// Deletes references.
    ///
    /// # Errors
    /// [`CacheError`]
    pub async fn delete(&self, runner: &Runner, names: &[String]) -> Result<(), CacheError> {
        if names.is_empty() {
            return Ok(());
        }
        let input: String = names.iter().map(|name| format!("delete {name}\n")).collect();
        self.git(runner, "update-ref", &self.identity, &["update-ref".into(), "--stdin".into()], input.as_bytes()).await.map(drop)
    }

    /// Fetches these references under their own names, and nothing else. `patterns` are asked for when they are very many.
    ///
    /// # Errors
    /// [`CacheError`]; some of them may be here nevertheless.
    pub async fn fetch(&self, runner: &Runner, from: &Remote, names: &[String], patterns: &[String], again: bool) -> Result<(), CacheError> {
        let mut args: Vec<String> =
            ["fetch", "--quiet", "--force", "--no-tags", "--update-shallow", "--no-write-fetch-head", "--no-recurse-submodules"].map(str::to_owned).into();
        args.push("--no-auto-maintenance".into());
        if again {
            args.push("--refetch".into());
        }
        args.extend(["--stdin".to_owned(), "--end-of-options".to_owned(), from.url().to_owned()]);
        let input: String = if names.len() > BY_NAME && !patterns.is_empty() {
            patterns.iter().map(|pattern| format!("{pattern}\n")).collect()
        } else {
            names.iter().map(|name| format!("+{name}:{name}\n")).collect()
        };
        let done = self.fetching(runner, from, &args, input.as_bytes()).await?;
        if done.status.success() { Ok(()) } else { Err(CacheError::Git { command: "fetch", why: done.stderr }) }
    }

    /// Lets git fetch. What it leaves behind when it fails is taken away: half a pack may be what fills the disk.
    async fn fetching(&self, runner: &Runner, from: &Remote, args: &[String], stdin: &[u8]) -> Result<Output, ChildError> {
        let done = runner.git(&self.dir, from.identity(), args, stdin).await;
        if !matches!(&done, Ok(done) if done.status.success()) {
            // None of our programs runs here now: only readers and pushes, which lock nothing.
            free_locks(&self.dir);
        }
        done
    }

    /// Takes over what changed in a repository on this machine, without starting git. False when that is git's work after all.
    ///
    /// # Errors
    /// [`CacheError::Local`]
    pub async fn take(&self, from: &Remote, changes: &[Change]) -> Result<bool, CacheError> {
        let Some(upstream) = from.opened().filter(|_| changes.len() <= BY_NAME) else { return Ok(false) };
        let changes = changes.to_vec();
        let taken = self.blocking(move |repo| {
            let wanted: Vec<gix::ObjectId> = changes.iter().filter_map(|change| gix::ObjectId::try_from(change.new?.as_bytes()).ok()).collect();
            match crate::transfer::copy(&upstream.to_thread_local(), repo, &wanted) {
                Ok(Some(_)) => crate::transfer::move_refs(repo, &changes).map(|()| true),
                Ok(None) => Ok(false),
                Err(why) => Err(why),
            }
        });
        match taken.await? {
            Ok(taken) => Ok(taken),
            Err(why) => {
                tracing::debug!(dir = %self.dir.display(), why, "References are fetched by git instead.");
                Ok(false)
            }
        }
    }

    /// Fetches one object by its name, or a reference, that nothing here leads to.
    ///
    /// # Errors
    /// [`CacheError`]
    pub async fn fetch_one(&self, runner: &Runner, from: &Remote, what: &str) -> Result<(), CacheError> {
        let _one = self.write().await;
        let args: Vec<String> = [
            "fetch",
            "--quiet",
            "--no-tags",
            "--no-write-fetch-head",
            "--no-recurse-submodules",
            "--no-auto-maintenance",
            "--end-of-options",
            from.url(),
            what,
        ]
        .map(str::to_owned)
        .into();
        let done = self.fetching(runner, from, &args, &[]).await?;
        if done.status.success() { Ok(()) } else { Err(remote::failure(from.url(), done.stderr).into()) }
    }

    /// Fetches the old values that are about to be overwritten at a destination, and keeps them.
    ///
    /// # Errors
    /// [`CacheError`]
    pub async fn rescue(&self, runner: &Runner, from: &Remote, changes: &[Change]) -> Result<(), CacheError> {
        let _one = self.write().await;
        let args: Vec<String> =
            ["fetch", "--quiet", "--force", "--no-tags", "--no-write-fetch-head", "--no-auto-maintenance", "--stdin", "--end-of-options", from.url()]
                .map(str::to_owned)
                .into();
        let input: String = changes.iter().filter_map(|change| Some(format!("+{}:{KEEP}{}\n", change.name, change.old?))).collect();
        let done = self.fetching(runner, from, &args, input.as_bytes()).await?;
        if done.status.success() { Ok(()) } else { Err(CacheError::Git { command: "fetch", why: done.stderr }) }
    }

    /// Gives what lost its name one of ours, unless its old name only went forward. What could not be given one is tried again the next time.
    ///
    /// # Errors
    /// [`CacheError::Local`]
    pub async fn keep_left_behind(&self, changes: &[Change]) -> Result<(), CacheError> {
        let unkept = || self.unkept.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut all = std::mem::take(&mut *unkept());
        all.extend(changes.iter().filter(|change| change.old.is_some()).cloned());
        if all.is_empty() {
            return Ok(());
        }
        let kept = self.keep(&all).await;
        if kept.is_err() {
            *unkept() = all;
        }
        kept
    }

    async fn keep(&self, changes: &[Change]) -> Result<(), CacheError> {
        let pairs: Vec<(Oid, Option<Oid>)> = changes.iter().filter_map(|change| Some((change.old?, change.new))).collect();
        let left = self.blocking(move |repo| {
            pairs.into_iter().filter(|(old, new)| !new.is_some_and(|new| forward(repo, *old, new))).map(|(old, _)| old).collect::<BTreeSet<_>>()
        });
        for old in left.await? {
            let path = self.dir.join(KEEP).join(old.to_string());
            if path.exists() {
                continue;
            }
            std::fs::create_dir_all(self.dir.join(KEEP)).map_err(|error| self.local(error))?;
            self.replace(&path, &format!("{old}\n"))?;
        }
        Ok(())
    }

    /// Bytes of packs.
    pub fn bytes(&self) -> u64 {
        let Ok(entries) = std::fs::read_dir(self.dir.join("objects/pack")) else { return 0 };
        entries.flatten().filter_map(|entry| entry.metadata().ok()).map(|meta| meta.len()).sum()
    }

    /// Puts packs and loose objects together when they have become many. Nothing is thrown away, whether anything leads to it or not.
    ///
    /// # Errors
    /// [`CacheError`]
    pub async fn tidy(&self, runner: &Runner) -> Result<bool, CacheError> {
        let count = |folder: &str| std::fs::read_dir(self.dir.join(folder)).map_or(0, |entries| entries.flatten().count());
        // Loose objects are spread evenly over 256 folders.
        if count("objects/pack") < 2 * MAX_PACKS && count("objects/17") * 256 < 8_000 {
            return Ok(false);
        }
        self.git(runner, "repack", &self.identity, &["repack", "--geometric=2", "-d", "-q"].map(str::to_owned), &[]).await?;
        self.git(runner, "pack-refs", &self.identity, &["pack-refs", "--all"].map(str::to_owned), &[]).await?;
        Ok(true)
    }

    /// Takes away what is broken and fetches everything again into the same folder. Returns what was found.
    ///
    /// # Errors
    /// [`CacheError`]
    pub async fn repair(&self, runner: &Runner, from: &Remote, names: &[String], patterns: &[String]) -> Result<String, CacheError> {
        free_locks(&self.dir);
        let checked = runner.git(&self.dir, &self.identity, &["fsck", "--full", "--no-dangling", "--no-progress"], &[]).await?;
        let said = format!("{}\n{}", String::from_utf8_lossy(&checked.stdout), checked.stderr.replace("; ", "\n"));
        let aside = self.dir.join("corrupt");
        let mut moved = 0;
        let mut set_aside = |path: &Path| {
            let Some(name) = path.file_name() else { return };
            if std::fs::create_dir_all(&aside).is_ok() && std::fs::rename(path, aside.join(name)).is_ok() {
                moved += 1;
            }
        };
        for word in said.split([' ', '\n', '\'', ':', ',']) {
            let path = self.dir.join(word);
            if word.starts_with("objects/pack/") && !word.contains("..") {
                // A pack is as good as its index, and the other way round.
                let stem = path.with_extension("");
                for ending in ["pack", "idx", "rev", "bitmap"] {
                    set_aside(&stem.with_extension(ending));
                }
            } else if word.starts_with("objects/") && !word.contains("..") && path.is_file() {
                set_aside(&path);
            } else if let (true, Some((first, rest))) = (word.len() >= 40 && word.bytes().all(|b| b.is_ascii_hexdigit()), word.split_at_checked(2)) {
                let loose = self.dir.join("objects").join(first).join(rest);
                if loose.is_file()
                    && said.lines().any(|line| line.contains(word) && (line.contains("corrupt") || line.contains("mismatch") || line.contains("error")))
                {
                    set_aside(&loose);
                }
            }
        }
        // What leads to nothing now would end the fetch before it begins.
        let refs = self.refs();
        let here = self.known(refs.values().copied().collect()).await?;
        let broken: Vec<String> = refs.iter().filter(|(_, id)| !here.contains(*id)).map(|(name, _)| name.clone()).collect();
        self.delete(runner, &broken).await?;
        for entry in std::fs::read_dir(self.dir.join(KEEP)).into_iter().flatten().flatten() {
            let id = entry.file_name().to_string_lossy().parse::<Oid>();
            if let Ok(id) = id
                && !self.has(id).await?
            {
                let _ = std::fs::remove_file(entry.path());
            }
        }
        self.fetch(runner, from, names, patterns, true).await?;
        self.reload().await?;
        Ok(format!("{moved} broken files set aside, {} references restored", broken.len()))
    }
}

/// Whether `new` has `old` in its history, as far as a short look tells.
fn forward(repo: &gix::Repository, old: Oid, new: Oid) -> bool {
    let (Ok(old), Ok(new)) = (gix::ObjectId::try_from(old.as_bytes()), gix::ObjectId::try_from(new.as_bytes())) else { return false };
    let mut seen = std::collections::HashSet::from([new]);
    let mut next = std::collections::VecDeque::from([new]);
    while let Some(id) = next.pop_front() {
        if id == old {
            return true;
        }
        if seen.len() > WALK {
            return false;
        }
        let Some(commit) = repo.find_object(id).ok().and_then(|object| object.try_into_commit().ok()) else { continue };
        next.extend(commit.parent_ids().map(gix::Id::detach).filter(|parent| seen.insert(*parent)));
    }
    false
}

/// Whether it looks like a repository.
fn whole(dir: &Path) -> bool {
    let head = std::fs::read(dir.join("HEAD")).is_ok_and(|head| !head.is_empty() && !head.starts_with(b"\0"));
    head && std::fs::metadata(dir.join("config")).is_ok_and(|meta| meta.len() > 0) && dir.join("objects").is_dir() && dir.join("refs").is_dir()
}

/// Makes an empty repository, or one whole that lacks files; objects and references that are there stay.
async fn init(dir: &Path, identity: &Identity, runner: &Runner, hash: &str) -> Result<(), CacheError> {
    for name in ["HEAD", "config"] {
        let path = dir.join(name);
        if std::fs::read(&path).is_ok_and(|content| content.is_empty() || content.starts_with(b"\0")) {
            let _ = std::fs::remove_file(path);
        }
    }
    let args = ["init".to_owned(), "--quiet".into(), "--bare".into(), "--template=".into(), format!("--object-format={hash}"), ".".into()];
    let done = runner.git(dir, identity, &args, &[]).await?;
    if !done.status.success() {
        return Err(CacheError::Local { path: dir.to_owned(), why: done.stderr });
    }
    // Its own settings, and not those that git reads everywhere: a destination on this machine must not get them.
    let config = dir.join("config");
    let mut text = std::fs::read_to_string(&config).map_err(|error| CacheError::Local { path: config.clone(), why: error.to_string() })?;
    if !text.contains("hooksPath") {
        text.push_str("\thooksPath = /dev/null\n[gc]\n\tauto = 0\n[maintenance]\n\tauto = false\n[fetch]\n\tunpackLimit = 1\n[receive]\n\tautogc = false\n");
        // The section that `git init` wrote last is [core], or [extensions] before it.
        if !text.contains("[core]") || text.rfind("[core]") < text.rfind("[extensions]") {
            text = text.replace("\thooksPath", "[core]\n\thooksPath");
        }
        std::fs::write(&config, text).map_err(|error| CacheError::Local { path: config, why: error.to_string() })?;
    }
    Ok(())
}

/// Removes what a git that was killed left: every later one would stop at its locks. Only while none of ours runs there.
pub(crate) fn free_locks(dir: &Path) {
    let mut left = vec![(dir.to_owned(), 0)];
    while let Some((folder, depth)) = left.pop() {
        let Ok(entries) = std::fs::read_dir(&folder) else { continue };
        for entry in entries.flatten() {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            let path = entry.path();
            let Ok(kind) = entry.file_type() else { continue };
            if kind.is_dir() {
                match (depth, name.as_ref()) {
                    // Objects are many and never locked; only what was half received lies there.
                    (0, "objects") => left.push((path, 1)),
                    (1, "pack") => left.push((path, 2)),
                    (1, name) if folder.ends_with("objects") && name.starts_with("tmp_objdir-") => {
                        let _ = std::fs::remove_dir_all(path);
                    }
                    (1, _) if folder.ends_with("objects") => {}
                    _ => left.push((path, depth + 2)),
                }
            } else if name.ends_with(".lock") || name.starts_with("tmp_") {
                let _ = std::fs::remove_file(path);
            }
        }
    }
}
