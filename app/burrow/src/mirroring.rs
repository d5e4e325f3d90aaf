//! The mirror that `burrow up` runs in its own process: sources come from it, and it serves archives and clones of what is built.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, OnceLock, Weak};

use burrow_builders::Config;
use burrow_clock::{Ids, SystemClock};
use burrow_coordinator::farm::{Farm, Mirrored};
use burrow_gitmirror::http::{Access, Served, router};
use burrow_gitmirror::{Deps, Mirror, config as mirror_config};
use futures_util::future::BoxFuture;
use tokio::net::TcpListener;

use crate::failure::Failure;

/// The mirror, and whom it tells of news.
pub(crate) struct InProcess {
    mirror: Mirror,
    farm: OnceLock<Weak<Farm>>,
}

impl InProcess {
    /// Starts mirroring the repositories of `config` into `data`.
    pub(crate) async fn start(config: &Config, data: &Path) -> Result<Arc<InProcess>, Failure> {
        let http = burrow_http_client::Client::new(Default::default()).map_err(Failure::infrastructure)?;
        let deps = Deps { data: data.to_owned(), clock: SystemClock::shared(), ids: Ids::system(), http, feed: None };
        let mirror = Mirror::start(repositories(config), deps).await?;
        Ok(Arc::new(InProcess { mirror, farm: OnceLock::new() }))
    }

    /// Serves it at `listen`, or, when that is in use, at a free port of the same address. Archives are kept below `data`. Returns where it listens.
    pub(crate) async fn serve(&self, listen: SocketAddr, data: &Path) -> Result<SocketAddr, Failure> {
        let listener = match TcpListener::bind(listen).await {
            Ok(listener) => listener,
            Err(_) => TcpListener::bind((listen.ip(), 0)).await.map_err(|error| Failure::infrastructure(format!("the mirror cannot listen: {error}")))?,
        };
        let address = listener.local_addr().map_err(Failure::infrastructure)?;
        let access = Access::new(None, None, address.ip().is_loopback());
        let served = Arc::new(Served::new(self.mirror.clone(), access.clone()));
        let server =
            burrow_gitserve::Server::new(served, &data.join("archives"), SystemClock::shared(), Default::default()).map_err(Failure::infrastructure)?;
        let app = router(self.mirror.clone(), access, &server);
        burrow_web::serve(listener, None, app, std::future::pending());
        Ok(address)
    }

    /// From now on `farm` hears of every change, and the mirror of every change of the farm's configuration.
    pub(crate) fn attach(self: &Arc<Self>, farm: &Arc<Farm>) {
        let _ = self.farm.set(Arc::downgrade(farm));
        let (me, mut changes) = (Arc::clone(self), self.mirror.changes());
        burrow_task::spawn(async move {
            loop {
                let told = changes.recv().await;
                let Some(farm) = me.farm.get().and_then(Weak::upgrade) else { return };
                match told {
                    Ok(change) => farm.look(&change.repo),
                    // More changed than could be told: look at all.
                    Err(tokio::sync::broadcast::error::RecvError::Lagged(_)) => farm.look(""),
                    Err(tokio::sync::broadcast::error::RecvError::Closed) => return,
                };
            }
        });
        let (mirror, mut configs) = (self.mirror.clone(), farm.configs());
        burrow_task::spawn(async move {
            while configs.changed().await.is_ok() {
                let wanted = repositories(&configs.borrow_and_update());
                if let Err(error) = mirror.apply(wanted).await {
                    tracing::error!(%error, "The mirror cannot take over the configuration.");
                }
            }
        });
    }

    /// Ends it.
    pub(crate) async fn stop(&self) {
        self.mirror.stop().await;
    }
}

impl Mirrored for InProcess {
    fn at<'a>(&'a self, repo: &'a str) -> BoxFuture<'a, Option<Result<String, String>>> {
        Box::pin(async move {
            let folder = self.mirror.bare_path(repo)?;
            // Registered before the look.
            let mut steps = self.mirror.steps();
            loop {
                let status = self.mirror.status();
                let found = status.repo(repo)?;
                if found.refs > 0 {
                    return Some(Ok(folder.to_string_lossy().into_owned()));
                }
                if !found.error.is_empty() {
                    return Some(Err(found.error.clone()));
                }
                steps.changed().await.ok()?;
            }
        })
    }

    fn trouble(&self, repo: &str) -> Option<String> {
        self.mirror.status().repo(repo).map(|repo| repo.error.clone()).filter(|error| !error.is_empty())
    }

    fn changed(&self, repo: &str) {
        if repo.is_empty() {
            for name in self.mirror.names() {
                self.mirror.wake(&name);
            }
        } else {
            self.mirror.wake(repo);
        }
    }
}

/// What is mirrored for a farm: the repositories that it builds, for itself only.
fn repositories(config: &Config) -> mirror_config::Config {
    let kept = |(name, repo): (&String, &burrow_builders::Repo)| {
        // A relative folder means "below the current folder", not below the mirror.
        let url = match Path::new(&repo.url) {
            path if path.is_dir() => path.canonicalize().map_or_else(|_| repo.url.clone(), |path| path.to_string_lossy().into_owned()),
            _ => repo.url.clone(),
        };
        // Nothing is pushed, and what loses its name stays in the coordinator's own copy: deletions need no confirmation.
        mirror_config::Repo { poll: Some(repo.poll), max_delete: usize::MAX, max_delete_percent: 100, ..mirror_config::Repo::kept(name, &url) }
    };
    let repo = config.repos.iter().filter(|(name, repo)| repo.build && mirror_config::good_name(name)).map(kept).collect();
    mirror_config::Config { repo, ..mirror_config::Config::default() }
}
