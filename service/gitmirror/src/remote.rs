//! What another repository has, asked in the cheapest way that gives the truth.
//!
//! A folder is read in this process; an HTTP server is asked in this process, with one request a poll once its version is known; everything else, and
//! every folder whose answer git would change (hidden references, another reference store), is asked by `git ls-remote`.

use std::path::{Path, PathBuf};
use std::sync::Mutex;

use burrow_http_client::{Client, Request};
use http::{HeaderName, StatusCode};

use crate::access::{self, AccessError};
use crate::child::{ChildError, Identity, Runner};
use crate::config::Access;
use crate::refs::{Advertised, MAX_REFS, Refs};
use crate::wire::{self, Greeting};

/// More than this is not read of an answer.
const MAX_ANSWER: usize = 1 << 30;

/// Why a repository cannot be asked.
#[derive(Debug, thiserror::Error)]
pub enum RemoteError {
    /// There is none.
    #[error("there is no repository at {url}: {why}")]
    Gone {
        /// Where.
        url: String,
        /// What was said.
        why: String,
    },
    /// It wants to know who we are, or does not like the answer.
    #[error("{url} refuses access: {why}; check the [access] of its configuration")]
    Refused {
        /// Where.
        url: String,
        /// What was said.
        why: String,
    },
    /// Something else.
    #[error("{url}: {why}")]
    Other {
        /// Where.
        url: String,
        /// What was said.
        why: String,
    },
    /// git did not end well.
    #[error(transparent)]
    Child(#[from] ChildError),
    /// Credentials cannot be used.
    #[error(transparent)]
    Access(#[from] AccessError),
}

/// Another repository.
pub struct Remote {
    url: String,
    access: Access,
    identity: Identity,
    kind: Kind,
}

impl std::fmt::Debug for Remote {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Remote").field("url", &self.url).finish_non_exhaustive()
    }
}

enum Kind {
    Folder(PathBuf, Box<Mutex<Option<gix::ThreadSafeRepository>>>),
    Http(Client, Mutex<Option<Spoken>>),
    Git,
}

/// What an HTTP server was found to speak.
#[derive(Clone)]
struct Spoken {
    /// Its address after redirects, without a slash at the end.
    base: String,
    sha256: bool,
}

impl Remote {
    /// The repository at `url`. `identity_file` is written: what git reads when it talks to it.
    ///
    /// # Errors
    /// [`AccessError`]
    pub fn new(url: &str, access: &Access, identity_file: &Path, http: &Client) -> Result<Remote, AccessError> {
        let identity = access::identity(identity_file, url, access)?;
        let folder = url.strip_prefix("file://").unwrap_or(url);
        let kind = if url.starts_with("http://") || url.starts_with("https://") {
            Kind::Http(http.clone(), Mutex::new(None))
        } else if folder.starts_with('/') || (url.starts_with('.') && !url.contains(':')) {
            Kind::Folder(folder.into(), Box::default())
        } else {
            Kind::Git
        };
        Ok(Remote { url: url.to_owned(), access: access.clone(), identity, kind })
    }

    /// Its address.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Who git is for it.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Its folder, if it is one that is read in this process.
    pub fn folder(&self) -> Option<&Path> {
        match &self.kind {
            Kind::Folder(path, _) => Some(path),
            _ => None,
        }
    }

    /// The repository itself, if it is a folder whose references were read in this process.
    pub(crate) fn opened(&self) -> Option<gix::ThreadSafeRepository> {
        let Kind::Folder(_, slot) = &self.kind else { return None };
        slot.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }

    /// What it has. Names that begin with none of `prefixes` may be left out. `dir` is where git runs.
    ///
    /// # Errors
    /// [`RemoteError`]
    pub async fn read(&self, runner: &Runner, dir: &Path, prefixes: &[&str]) -> Result<Advertised, RemoteError> {
        match &self.kind {
            Kind::Folder(..) => match self.folder_refs().await? {
                Some(found) => Ok(found),
                None => self.ask_git(runner, dir, prefixes).await,
            },
            Kind::Http(client, spoken) => match tokio::time::timeout(runner.limit, self.ask_http(client, spoken, prefixes)).await {
                Ok(Ok(Some(found))) => Ok(found),
                // It speaks in a way that we do not understand; git may.
                Ok(Ok(None)) => self.ask_git(runner, dir, prefixes).await,
                Ok(Err(error)) => Err(error),
                Err(_) => Err(RemoteError::Other { url: self.url.clone(), why: format!("no answer within {} s", runner.limit.as_secs()) }),
            },
            Kind::Git => self.ask_git(runner, dir, prefixes).await,
        }
    }

    async fn folder_refs(&self) -> Result<Option<Advertised>, RemoteError> {
        let Kind::Folder(path, slot) = &self.kind else { return Ok(None) };
        let kept = slot.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
        let path = path.clone();
        let url = self.url.clone();
        let work = burrow_task::spawn_blocking(move || {
            let repo = match kept {
                Some(repo) => repo,
                None => open(&path).map_err(|why| RemoteError::Gone { url: url.clone(), why })?,
            };
            let found = advertised(&repo.to_thread_local()).map_err(|why| RemoteError::Other { url, why })?;
            Ok((repo, found))
        });
        let result = work.await.map_err(|error| RemoteError::Other { url: self.url.clone(), why: error.to_string() })?;
        let mut slot = slot.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        match result {
            Ok((repo, found)) => {
                // One that git has to be asked for is not kept.
                *slot = found.is_some().then_some(repo);
                Ok(found)
            }
            Err(error) => {
                // It may be another repository by the next time.
                *slot = None;
                Err(error)
            }
        }
    }

    async fn ask_git(&self, runner: &Runner, dir: &Path, prefixes: &[&str]) -> Result<Advertised, RemoteError> {
        let mut args = vec!["ls-remote".to_owned(), "--symref".into(), "--end-of-options".into(), self.url.clone(), "HEAD".into()];
        args.extend(prefixes.iter().map(|prefix| format!("{prefix}*")));
        let done = runner.git(dir, &self.identity, &args, &[]).await?;
        if done.status.success() {
            return Ok(Advertised::parse(&done.stdout));
        }
        Err(failure(&self.url, done.stderr))
    }

    /// `None`: the answer is not understood.
    async fn ask_http(&self, client: &Client, spoken: &Mutex<Option<Spoken>>, prefixes: &[&str]) -> Result<Option<Advertised>, RemoteError> {
        let known = spoken.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
        if let Some(known) = known {
            if let Some(found) = self.list(client, &known, prefixes).await? {
                return Ok(Some(found));
            }
            *spoken.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = None;
        }
        let url = format!("{}/info/refs?service=git-upload-pack", self.url.trim_end_matches('/'));
        let request = Request::get(&url).and_then(|r| r.header(HeaderName::from_static("git-protocol"), "version=2")).map_err(|error| self.other(error))?;
        let answer = client.send(access::authorize(request, &self.url, &self.access)?.gzip()).await.map_err(|error| self.other(error))?;
        self.check(answer.status())?;
        let base = answer.url().split("/info/refs").next().unwrap_or(&self.url).to_owned();
        let body = answer.bytes(MAX_ANSWER).await.map_err(|error| self.other(error))?;
        match wire::greeting(&body) {
            Ok(Greeting::References(found)) => Ok(Some(found)),
            Ok(Greeting::Version2 { sha256 }) => {
                let now = Spoken { base, sha256 };
                let found = self.list(client, &now, prefixes).await?;
                if found.is_some() {
                    *spoken.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(now);
                }
                Ok(found)
            }
            Err(_) => Ok(None),
        }
    }

    async fn list(&self, client: &Client, spoken: &Spoken, prefixes: &[&str]) -> Result<Option<Advertised>, RemoteError> {
        let request = Request::post(&format!("{}/git-upload-pack", spoken.base), "application/x-git-upload-pack-request", wire::ask(prefixes, spoken.sha256))
            .and_then(|r| r.header(HeaderName::from_static("git-protocol"), "version=2"))
            .and_then(|r| r.header(http::header::ACCEPT, "application/x-git-upload-pack-result"))
            .map_err(|error| self.other(error))?;
        // Credentials go to the server that they are for, wherever a redirect led.
        let request = if access::same_server(&spoken.base, &self.url) { access::authorize(request, &self.url, &self.access)? } else { request };
        let answer = client.send(request.gzip()).await.map_err(|error| self.other(error))?;
        self.check(answer.status())?;
        let body = answer.bytes(MAX_ANSWER).await.map_err(|error| self.other(error))?;
        Ok(wire::listed(&body).ok())
    }

    fn other(&self, error: impl std::fmt::Display) -> RemoteError {
        RemoteError::Other { url: self.url.clone(), why: error.to_string() }
    }

    fn check(&self, status: StatusCode) -> Result<(), RemoteError> {
        let (url, why) = (self.url.clone(), format!("HTTP status {status}"));
        match status.as_u16() {
            200 => Ok(()),
            401 | 403 => Err(RemoteError::Refused { url, why }),
            404 | 410 => Err(RemoteError::Gone { url, why }),
            _ => Err(RemoteError::Other { url, why }),
        }
    }
}

/// Sorts what git said by the words that it uses in the C locale; only what people read depends on it.
pub fn failure(url: &str, stderr: String) -> RemoteError {
    let says = |list: &[&str]| list.iter().any(|words| stderr.contains(words));
    let url = url.to_owned();
    if says(&[
        "Authentication failed",
        "could not read Username",
        "could not read Password",
        "Permission denied",
        "error: 401",
        "error: 403",
        "Host key verification failed",
    ]) {
        RemoteError::Refused { url, why: stderr }
    } else if says(&["does not appear to be a git repository", "epository not found", "does not exist", "error: 404", "No such file or directory"]) {
        RemoteError::Gone { url, why: stderr }
    } else {
        RemoteError::Other { url, why: stderr }
    }
}

/// Opens a repository for reading, whoever owns it.
pub(crate) fn open(path: &Path) -> Result<gix::ThreadSafeRepository, String> {
    let options = gix::open::Options::isolated().with(gix::sec::Trust::Full);
    gix::ThreadSafeRepository::open_opts(path, options).map_err(|error| error.to_string())
}

/// What a repository of this machine tells others; `None`: that cannot be known from its files alone.
fn advertised(repo: &gix::Repository) -> Result<Option<Advertised>, String> {
    let config = repo.config_snapshot();
    let another_store = config.string("extensions.refStorage").is_some_and(|store| store.as_slice() != b"files");
    if another_store || config.string("transfer.hideRefs").is_some() || config.string("uploadpack.hideRefs").is_some() || repo.namespace().is_some() {
        return Ok(None);
    }
    let head = repo.head_name().ok().flatten().map(|name| name.as_bstr().to_string()).filter(|name| name.starts_with("refs/heads/"));
    Ok(Some(Advertised { head, refs: read_refs(repo)?, odd: 0 }))
}

/// All references with well-formed UTF-8 names that point at an object.
pub(crate) fn read_refs(repo: &gix::Repository) -> Result<Refs, String> {
    let mut found = Refs::new();
    let platform = repo.references().map_err(|error| error.to_string())?;
    for reference in platform.all().map_err(|error| error.to_string())? {
        let mut reference = match reference {
            Ok(reference) => reference,
            // Deleted since the folder was listed: that is no fault of the repository.
            Err(error) if is_missing(&error) => continue,
            Err(error) => return Err(error.to_string()),
        };
        let Ok(name) = std::str::from_utf8(reference.name().as_bstr()).map(str::to_owned) else { continue };
        let id = match reference.try_id() {
            Some(id) => id.detach(),
            // A symbolic one: git tells what it leads to.
            None => match reference.follow_to_object() {
                Ok(id) => id.detach(),
                Err(_) => continue,
            },
        };
        if found.len() < MAX_REFS
            && let Ok(id) = id.to_string().parse()
        {
            found.insert(name, id);
        }
    }
    Ok(found)
}

fn is_missing(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if error.downcast_ref::<std::io::Error>().is_some_and(|io| io.kind() == std::io::ErrorKind::NotFound) {
            return true;
        }
        next = error.source();
    }
    false
}
