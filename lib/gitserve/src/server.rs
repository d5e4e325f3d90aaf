//! The server: its limits, its state, and who answers what.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use burrow_clock::SharedClock;
use tokio::sync::Semaphore;

use crate::ask::{Query, Target};
use crate::cache::Cache;
use crate::depot::{Depot, Miss, Open, Published};
use crate::download::Running;
use crate::refusal::Refusal;
use crate::repositories::{Repositories, Repository, Rights, Visibility};
use crate::smart::{Greetings, dumb, read_only};
use crate::wants::Wants;

/// Read by every git program instead of anybody's own settings.
const GIT_CONFIG: &str = "# Read by the git programs of this server, instead of a user's own settings.\n\
    [safe]\n\tdirectory = *\n[core]\n\tuseReplaceRefs = false\n[gc]\n\tauto = 0\n[maintenance]\n\tauto = false\n";

/// The limits of a [`Server`].
#[derive(Debug, Clone)]
pub struct Options {
    /// Bytes of finished archives that are kept on disk. 0: none.
    pub cache_bytes: u64,
    /// How long a request waits for [`Repositories::want`].
    pub want_limit: Duration,
    /// Archives that are made at the same time; more wait.
    pub productions: usize,
    /// Clones and fetches that are served at the same time; more get 503 with `Retry-After`.
    pub uploads: usize,
    /// A clone or fetch that takes longer is ended.
    pub upload_limit: Duration,
    /// Threads that compress one archive.
    pub threads: usize,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            cache_bytes: 4 << 30,
            want_limit: Duration::from_secs(25),
            productions: 4,
            uploads: 16,
            upload_limit: Duration::from_secs(3600),
            threads: std::thread::available_parallelism().map_or(2, usize::from),
        }
    }
}

/// Serves repositories. Clones share everything.
#[derive(Clone)]
pub struct Server {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) repositories: Arc<dyn Repositories>,
    pub(crate) clock: SharedClock,
    pub(crate) options: Options,
    pub(crate) git_config: PathBuf,
    pub(crate) cache: Cache,
    pub(crate) depot: Depot,
    pub(crate) wants: Wants,
    pub(crate) running: Running,
    pub(crate) greetings: Greetings,
    pub(crate) counts: Counts,
    pub(crate) productions: Arc<Semaphore>,
    pub(crate) uploads: Arc<Semaphore>,
}

/// Who asks for which repository.
pub(crate) struct Caller {
    pub(crate) name: String,
    pub(crate) repository: Repository,
    pub(crate) published: Published,
    /// Never [`Rights::Nothing`].
    pub(crate) rights: Rights,
}

/// Numbers for a status page and for metrics. Those that count never go down while the process lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Figures {
    /// Archives in the cache.
    pub archives: usize,
    /// Their bytes on disk.
    pub archive_bytes: u64,
    /// Archives that are being made.
    pub making: usize,
    /// Archives that were begun to be made.
    pub made: u64,
    /// Archives that were not completed.
    pub broken: u64,
    /// Answers from the cache.
    pub from_cache: u64,
    /// Clones and fetches that are running.
    pub uploads: usize,
    /// Clones and fetches that were turned away because too many were running.
    pub turned_away: u64,
}

/// What is counted.
#[derive(Default)]
pub(crate) struct Counts {
    pub(crate) made: AtomicU64,
    pub(crate) broken: AtomicU64,
    pub(crate) from_cache: AtomicU64,
    pub(crate) turned_away: AtomicU64,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server").field("options", &self.inner.options).finish_non_exhaustive()
    }
}

impl Server {
    /// A server of `repositories` that keeps finished archives below `cache_dir` (made when missing; one process may use it at a time).
    ///
    /// # Errors
    /// The cache folder cannot be used.
    pub fn new(repositories: Arc<dyn Repositories>, cache_dir: &Path, clock: SharedClock, options: Options) -> std::io::Result<Server> {
        std::fs::create_dir_all(cache_dir)?;
        let dir = std::fs::canonicalize(cache_dir)?;
        let git_config = dir.join("gitconfig");
        // Not truncated when it is right already: the disk may be full, and what is kept can be served all the same.
        if std::fs::read(&git_config).ok().as_deref() != Some(GIT_CONFIG.as_ref()) {
            std::fs::write(&git_config, GIT_CONFIG)?;
        }
        let inner = Inner {
            cache: Cache::open(&dir, options.cache_bytes, Arc::clone(&clock))?,
            productions: Arc::new(Semaphore::new(options.productions.max(1))),
            uploads: Arc::new(Semaphore::new(options.uploads)),
            depot: Depot::default(),
            wants: Wants::default(),
            running: Running::default(),
            greetings: Greetings::default(),
            counts: Counts::default(),
            repositories,
            clock,
            options,
            git_config,
        };
        Ok(Server { inner: Arc::new(inner) })
    }

    /// Routes for everything this crate serves, as one wildcard: merge it with a service's own routes (fixed paths win), or nest it below a prefix.
    pub fn router(&self) -> Router {
        async fn answer(State(server): State<Server>, request: Request) -> Response {
            server.answer(request).await
        }
        Router::new().route("/{*path}", axum::routing::any(answer)).with_state(self.clone())
    }

    /// Numbers for a status page and for metrics.
    pub fn figures(&self) -> Figures {
        let (archives, archive_bytes) = self.inner.cache.held();
        let Counts { made, broken, from_cache, turned_away } = &self.inner.counts;
        let making = self.inner.running.count();
        let get = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let uploads = self.inner.options.uploads.saturating_sub(self.inner.uploads.available_permits());
        Figures { archives, archive_bytes, making, made: get(made), broken: get(broken), from_cache: get(from_cache), uploads, turned_away: get(turned_away) }
    }

    /// Answers one request, whose path begins with the repository's name.
    pub async fn answer(&self, request: Request) -> Response {
        self.try_answer(request).await.unwrap_or_else(Refusal::into_response)
    }

    async fn try_answer(&self, request: Request) -> Result<Response, Refusal> {
        let (parts, body) = request.into_parts();
        let (method, headers) = (&parts.method, &parts.headers);
        let nothing =
            || Refusal::not_found("there is nothing here; archives are at /<repository>.tar.gz?rev=<hash, branch or tag>, clones at /<repository>.git");
        let target = Target::parse(parts.uri.path()).ok_or_else(nothing)?;
        let query = Query::parse(parts.uri.query().unwrap_or_default())?;
        match &target {
            Target::Archive { name, format } => self.archive(&self.caller(name, headers)?, *format, method, &query, headers).await,
            Target::Advertise { name } => self.advertise(&self.caller(name, headers)?, method, &query, headers).await,
            Target::UploadPack { name } => self.upload_pack(&self.caller(name, headers)?, method, headers, body).await,
            Target::ReceivePack { name } => self.caller(name, headers).and(Err(read_only())),
            Target::Dumb { name } => self.caller(name, headers).and(Err(dumb())),
            Target::Refs { name } => self.refs(&self.caller(name, headers)?, method, headers).await,
            Target::Commits { name } => self.commits(&self.caller(name, headers)?, method, &query, headers).await,
            Target::Commit { name, hash } => self.commit(&self.caller(name, headers)?, method, hash, headers).await,
        }
    }

    /// Finds the repository, under its name or with `.git` behind it, and what the caller may see of it.
    fn caller(&self, name: &str, headers: &HeaderMap) -> Result<Caller, Refusal> {
        let repositories = &self.inner.repositories;
        let token = token(headers);
        let short = name.strip_suffix(".git");
        let found = [Some(name), short].into_iter().flatten().find_map(|name| Some((name.to_owned(), repositories.find(name)?)));
        let Some((name, repository)) = found else {
            // Names of private repositories are not told from names that do not exist.
            let secrets = repositories.names().iter().filter_map(|name| repositories.find(name)).any(|one| one.visibility == Visibility::Private);
            return Err(if secrets && token.is_none() { Refusal::unknown_person() } else { Refusal::not_found("there is no such repository") });
        };
        let given = token.as_deref().map_or(Rights::Nothing, |token| repositories.rights(&name, token));
        let rights = match repository.visibility {
            Visibility::Public => given.max(Rights::Published),
            Visibility::Private => given,
        };
        if rights == Rights::Nothing {
            return Err(if token.is_none() { Refusal::unknown_person() } else { Refusal::not_found("there is no such repository") });
        }
        let published = Published::new(&repository.published);
        Ok(Caller { name, repository, published, rights })
    }

    /// Reads the caller's repository on a thread that may block.
    pub(crate) async fn reading<T: Send + 'static>(
        &self,
        caller: &Caller,
        work: impl FnOnce(&Open, &gix::Repository) -> Result<T, Miss> + Send + 'static,
    ) -> Result<T, Miss> {
        let (server, dir) = (self.clone(), caller.repository.dir.clone());
        let read = move || {
            let open = server.inner.depot.get(&dir)?;
            work(&open, &open.repo())
        };
        burrow_task::spawn_blocking(read).await.unwrap_or_else(|error| Err(Miss::Broken(error.to_string())))
    }
}

/// What the client gave as its token: a bearer token, or the password (without one, the name) of basic authentication.
fn token(headers: &HeaderMap) -> Option<String> {
    let (scheme, rest) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    if scheme.eq_ignore_ascii_case("bearer") {
        return Some(rest.trim().to_owned());
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = String::from_utf8(base64::engine::general_purpose::STANDARD.decode(rest.trim()).ok()?).ok()?;
    let (user, password) = decoded.split_once(':')?;
    Some(if password.is_empty() { user } else { password }.to_owned())
}
