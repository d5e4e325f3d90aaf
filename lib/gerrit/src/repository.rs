//! The git side of one project: a bare repository of ours that holds what was fetched from the project's.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use burrow_git::program::{Output, git, redact, remote_failure};
use http::HeaderName;

use crate::numstat::DiffTree;
use crate::objects::{self, RawCommit};
use crate::{Auth, FileStat, GitError, Oid};

/// Objects asked for in one fetch (`spec/maintner.md` §7.4).
const BATCH: usize = 250;
/// Local commands are quick; one that is not has met a broken disk.
const LOCAL_LIMIT: Duration = Duration::from_secs(60);
/// One commit's numbers; the largest commits of all (a million lines of generated code) take seconds.
const NUMSTAT_LIMIT: Duration = Duration::from_secs(300);
/// Packs that may lie side by side before they are put together. Each fetch makes one, and each costs every look for an object.
const MAX_PACKS: usize = 100;
/// Putting packs together.
const REPACK_LIMIT: Duration = Duration::from_secs(3_600);

/// The repository. Clones share it. One process may use a folder at a time.
#[derive(Clone)]
pub struct Repository {
    inner: Arc<Inner>,
}

struct Inner {
    dir: PathBuf,
    url: String,
    config: PathBuf,
    /// Fetching is exclusive; reading goes on meanwhile.
    fetching: tokio::sync::Mutex<()>,
    repo: std::sync::RwLock<gix::ThreadSafeRepository>,
    diff_tree: tokio::sync::Mutex<Option<DiffTree>>,
}

impl std::fmt::Debug for Repository {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Repository").field("dir", &self.inner.dir).field("url", &redact(&self.inner.url)).finish()
    }
}

impl Repository {
    /// Opens the repository in `dir` (made when missing) for the project at `url`. Nothing is asked of the server yet.
    ///
    /// # Errors
    /// [`GitError::BadUrl`], [`GitError::NoGit`], or [`GitError::Local`] when the folder cannot be used.
    pub async fn open(dir: &Path, url: &str, auth: &Auth) -> Result<Repository, GitError> {
        if url.is_empty() || url.starts_with('-') || url.chars().any(char::is_control) {
            return Err(GitError::BadUrl(url.to_owned()));
        }
        let local = |error: std::io::Error| GitError::Local { path: dir.to_owned(), message: error.to_string() };
        std::fs::create_dir_all(dir).map_err(local)?;
        let dir = std::fs::canonicalize(dir).map_err(local)?;
        let config = dir.join("burrow-gerrit-gitconfig");
        write_config(&dir, &config, url, auth)?;
        if !dir.join("HEAD").exists() {
            let done = git(&dir, &config, &["init", "--quiet", "--bare", "--template=", "."], &[], LOCAL_LIMIT).await?;
            succeeded(&dir, done)?;
        }
        remove_stale_locks(&dir);
        let repo = std::sync::RwLock::new(open_repo(&dir)?);
        let inner = Inner { dir, url: url.to_owned(), config, fetching: tokio::sync::Mutex::new(()), repo, diff_tree: tokio::sync::Mutex::new(None) };
        Ok(Repository { inner: Arc::new(inner) })
    }

    /// Its folder.
    pub fn dir(&self) -> &Path {
        &self.inner.dir
    }

    /// All references of the server's repository with their hashes, in the server's order: `HEAD`, `refs/…`, and of annotated tags also what they
    /// point to, as `refs/tags/x^{}`.
    ///
    /// # Errors
    /// [`GitError::Gone`], [`GitError::Auth`], [`GitError::Timeout`], [`GitError::Other`].
    pub async fn ls_remote(&self, limit: Duration) -> Result<Vec<(String, Oid)>, GitError> {
        let url = self.inner.url.as_str();
        let asked = git(&self.inner.dir, &self.inner.config, &["ls-remote", "--end-of-options", url], &[], limit).await?;
        if !asked.status.success() {
            return Err(remote_failure(url, "ls-remote", asked));
        }
        let text = String::from_utf8_lossy(&asked.stdout);
        // A line without a tab is git's own talk.
        Ok(text.lines().filter_map(|line| line.split_once('\t')).filter_map(|(hash, name)| Some((name.to_owned(), hash.parse().ok()?))).collect())
    }

    /// Takes over all branches and tags of the server. Their commits are then known to be here when objects are fetched, and are not sent again.
    ///
    /// # Errors
    /// As [`Repository::ls_remote`].
    pub async fn fetch_branches(&self, limit: Duration) -> Result<(), GitError> {
        let _one = self.inner.fetching.lock().await;
        let args = ["--prune", "--force", "--end-of-options", &self.inner.url, "+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*"];
        self.fetch(&args, &[], limit).await?;
        self.put_packs_together().await;
        Ok(())
    }

    /// Fetches objects by their hashes, 250 at a time, with everything that can be reached from them; `limit` is for each time. What is here already is
    /// not asked for.
    ///
    /// `have`: other objects that are here (of those which are not, nothing is said), from which the server may conclude what it need not send: the
    /// previous state of the same references. Branches and tags that [`Repository::fetch_branches`] brought are told without that.
    ///
    /// # Errors
    /// As [`Repository::ls_remote`]. Some of the objects may have come.
    pub async fn fetch_objects(&self, wants: &[Oid], have: &[Oid], limit: Duration) -> Result<(), GitError> {
        let _one = self.inner.fetching.lock().await;
        let (wants, have) = (wants.to_vec(), have.to_vec());
        let (wants, have) = self
            .blocking(move |repo| {
                let mut seen = HashSet::new();
                let wants: Vec<Oid> = wants.into_iter().filter(|id| seen.insert(*id) && !objects::contains(repo, *id)).collect();
                let have: Vec<Oid> = have.into_iter().filter(|id| seen.insert(*id) && objects::contains(repo, *id)).collect();
                Ok((wants, have))
            })
            .await?;
        // Each batch is told of its share: no list of arguments grows with the number of changes (golang/go#20518).
        let share = have.len().div_ceil(wants.len().div_ceil(BATCH).max(1)).clamp(1, 2 * BATCH);
        let mut tips = have.chunks(share);
        for batch in wants.chunks(BATCH) {
            let mut args = vec!["--negotiation-tip=refs/*".to_owned()];
            args.extend(tips.next().unwrap_or_default().iter().map(|id| format!("--negotiation-tip={id}")));
            args.extend(["--stdin".to_owned(), "--end-of-options".to_owned(), self.inner.url.clone()]);
            // The hashes go through standard input, which has no limit.
            let stdin: String = batch.iter().map(|id| format!("{id}\n")).collect();
            self.fetch(&args, stdin.as_bytes(), limit).await?;
        }
        self.put_packs_together().await;
        Ok(())
    }

    async fn fetch<S: AsRef<str>>(&self, args: &[S], stdin: &[u8], limit: Duration) -> Result<(), GitError> {
        let fixed = ["fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--no-recurse-submodules", "--no-auto-maintenance"];
        let args: Vec<&str> = fixed.into_iter().chain(args.iter().map(AsRef::as_ref)).collect();
        let done = git(&self.inner.dir, &self.inner.config, &args, stdin, limit).await;
        if matches!(done, Err(GitError::Timeout { .. })) {
            remove_stale_locks(&self.inner.dir);
        }
        let done = done?;
        if done.status.success() { Ok(()) } else { Err(remote_failure(&self.inner.url, "fetch", done)) }
    }

    /// Keeps the number of packs small. Nothing is lost by it, also of what no reference names, and nothing by its failure.
    async fn put_packs_together(&self) {
        let packs = std::fs::read_dir(self.inner.dir.join("objects/pack")).into_iter().flatten().flatten();
        let packs = packs.filter(|entry| entry.path().extension().is_some_and(|extension| extension == "pack")).count();
        if packs <= MAX_PACKS {
            return;
        }
        // The program that compares trees has the packs open that are about to go.
        *self.inner.diff_tree.lock().await = None;
        let done = git(&self.inner.dir, &self.inner.config, &["repack", "--quiet", "-d", "--geometric=2"], &[], REPACK_LIMIT).await;
        match done.and_then(|done| succeeded(&self.inner.dir, done)).and_then(|()| open_repo(&self.inner.dir)) {
            Ok(repo) => *self.inner.repo.write().unwrap_or_else(std::sync::PoisonError::into_inner) = repo,
            Err(error) => tracing::warn!(%error, dir = %self.inner.dir.display(), "packs could not be put together"),
        }
    }

    /// Whether an object is here.
    ///
    /// # Errors
    /// [`GitError::Interrupted`]
    pub async fn contains(&self, id: Oid) -> Result<bool, GitError> {
        self.blocking(move |repo| Ok(objects::contains(repo, id))).await
    }

    /// A commit with the bytes that `git cat-file commit` prints: of an annotated tag those of the commit behind it. `None`: it is not here, or no commit.
    ///
    /// # Errors
    /// [`GitError::Corrupt`]
    pub async fn commit_raw(&self, id: Oid) -> Result<Option<RawCommit>, GitError> {
        self.blocking(move |repo| Ok(objects::commit(repo, id)?.map(|(_, commit)| commit))).await
    }

    /// The commits that can be reached from `tips` and are not `known`, parents before children. A commit that is known is taken to be known with all
    /// its ancestors.
    ///
    /// # Errors
    /// [`GitError::Missing`] when a commit is neither known nor here; [`GitError::Corrupt`].
    pub async fn unknown_commits(&self, tips: Vec<Oid>, known: impl Fn(&Oid) -> bool + Send + 'static) -> Result<Vec<RawCommit>, GitError> {
        self.blocking(move |repo| objects::unknown(repo, &tips, &known)).await
    }

    /// What `git diff-tree --numstat` prints for a commit, without its first line: nothing for merges and roots, renames not looked for.
    ///
    /// # Errors
    /// [`GitError::Missing`] when the commit or its parent is not here; [`GitError::Corrupt`], [`GitError::Timeout`].
    pub async fn numstat(&self, id: Oid) -> Result<Vec<FileStat>, GitError> {
        let look = move |repo: &gix::Repository| {
            let (commit_id, commit) = objects::commit(repo, id)?.ok_or(GitError::Missing { kind: "commit", id })?;
            Ok((commit_id, objects::may_differ(repo, &commit)?))
        };
        // Most commits of a change's history change no file; these need no other program.
        let (commit, differs) = self.blocking(look).await?;
        if !differs {
            return Ok(Vec::new());
        }
        let mut slot = self.inner.diff_tree.lock().await;
        let mut program = match slot.take() {
            Some(program) => program,
            None => DiffTree::start(&self.inner.dir, &self.inner.config)?,
        };
        match program.numstat(commit, NUMSTAT_LIMIT).await {
            Ok(files) => {
                *slot = Some(program);
                Ok(files)
            }
            // What is left of a talk that broke off is not an answer to the next question.
            Err(error) => Err(error),
        }
    }

    async fn blocking<T: Send + 'static>(&self, work: impl FnOnce(&gix::Repository) -> Result<T, GitError> + Send + 'static) -> Result<T, GitError> {
        let inner = Arc::clone(&self.inner);
        let done = burrow_task::spawn_blocking(move || {
            let repo = inner.repo.read().unwrap_or_else(std::sync::PoisonError::into_inner).to_thread_local();
            work(&repo)
        });
        match done.await {
            Ok(result) => result,
            Err(error) => Err(GitError::Interrupted(error.to_string())),
        }
    }
}

fn succeeded(dir: &Path, done: Output) -> Result<(), GitError> {
    if done.status.success() { Ok(()) } else { Err(GitError::Local { path: dir.to_owned(), message: done.stderr }) }
}

fn open_repo(dir: &Path) -> Result<gix::ThreadSafeRepository, GitError> {
    let options = gix::open::Options::isolated()
        .open_path_as_is(true)
        .with(gix::sec::Trust::Full)
        // Packs come while the repository is open, one with each fetch.
        .object_store_slots(gix::odb::store::init::Slots::Given(8 * u16::try_from(MAX_PACKS).unwrap_or(u16::MAX)));
    gix::ThreadSafeRepository::open_opts(dir, options).map_err(|error| GitError::Local { path: dir.to_owned(), message: error.to_string() })
}

/// The settings that git reads instead of the user's. Credentials go here and not on the command line, which everybody on the machine can read.
fn write_config(dir: &Path, config: &Path, url: &str, auth: &Auth) -> Result<(), GitError> {
    let local = |message: String| GitError::Local { path: dir.to_owned(), message };
    let mut text = String::from(
        "# Read by the git programs that fetch into this repository, instead of a user's own settings.\n\
         [safe]\n\tdirectory = *\n[gc]\n\tauto = 0\n[maintenance]\n\tauto = false\n[init]\n\tdefaultBranch = main\n",
    );
    if let Some((name, value)) = auth.header() {
        let origin = burrow_http_client::resolve(url, "/").map_err(|_| GitError::BadUrl(redact(url)))?;
        let header = format!("{}: {value}", header_case(&name));
        if header.chars().any(char::is_control) {
            return Err(local("the credentials have control characters".to_owned()));
        }
        text.push_str(&format!("[http {}]\n\textraHeader = {}\n", quoted(&origin), quoted(&header)));
    }
    // A file made for us alone, then moved: nobody reads it in between.
    let write = || -> std::io::Result<()> {
        let temporary = config.with_extension("new");
        let _ = std::fs::remove_file(&temporary);
        let mut options = std::fs::OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        std::io::Write::write_all(&mut options.open(&temporary)?, text.as_bytes())?;
        std::fs::rename(&temporary, config)
    };
    write().map_err(|error| local(error.to_string()))
}

fn header_case(name: &HeaderName) -> &'static str {
    if *name == http::header::COOKIE { "Cookie" } else { "Authorization" }
}

/// A value in a git configuration file.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// A git that was killed leaves its lock files, and every later one would stop at them. We are the only user of this folder and none of our gits is
/// running, so whatever is locked is stale.
fn remove_stale_locks(dir: &Path) {
    let mut left = vec![dir.to_owned(), dir.join("objects/pack")];
    while let Some(folder) = left.pop() {
        let Ok(entries) = std::fs::read_dir(&folder) else { continue };
        for entry in entries.flatten() {
            let (name, path) = (entry.file_name(), entry.path());
            let Ok(kind) = entry.file_type() else { continue };
            if kind.is_dir() && (name == "refs" || path.starts_with(dir.join("refs"))) {
                left.push(path);
            } else if kind.is_file() && (path.extension().is_some_and(|extension| extension == "lock") || name.to_string_lossy().starts_with("tmp_")) {
                let _ = std::fs::remove_file(path);
            }
        }
    }
}
