//! Feeding the log: pollers that read sources and write what is new (`spec/maintner.md` §7, §10).
//!
//! Each source (a repository on GitHub, a project of a Gerrit, a plain git repository) has one task that works in rounds. A round compares what the source
//! has with what the corpus has and commits the difference; so it may be cut off anywhere and the next one completes it. Between rounds a task waits for
//! its time or for a wake-up ([`Sources::wake`]), whichever is first; a wake-up that comes during a round makes another one. After a failure the
//! pauses grow; nothing is asked in a busy loop. [`Pollers::status`] says of each source what it does, what it waits for and how its last round ended.

mod commits;
mod gerrit;
mod git;
mod github;
pub mod github_diff;
mod memory;
mod objects;
mod pause;
mod status;
mod topic;
mod wake;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use burrow_clock::SharedClock;
use burrow_gerrit::{Auth, GitError};
use burrow_github::{BudgetState, Client, RepoName};
use burrow_maintner::View;
use burrow_task::BoxFuture;
use protocol_mutlog::schema::Mutation;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::Leader;
use crate::leader::CommitError;
use gerrit::GerritPoller;
use git::GitPoller;
pub use git::GitSource;
use github::GithubPoller;
pub use pause::{Pause, Timing};
use status::Board;
pub use status::{Outcome, Source, SourceStatus};
use topic::{Hints, Topic};

/// Why a round did not read everything.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PollError {
    /// GitHub does not answer, or not with what was asked for.
    #[error(transparent)]
    Github(#[from] burrow_github::Error),
    /// One issue cannot be read; the others were.
    #[error("issue {number}: {error}")]
    Issue {
        /// Its number.
        number: i32,
        /// Why not.
        error: burrow_github::Error,
    },
    /// git does not get what it was sent for, or what is here cannot be read.
    #[error(transparent)]
    Git(#[from] GitError),
    /// What the source says cannot be true.
    #[error("{0}")]
    Odd(String),
    /// The log does not take it.
    #[error(transparent)]
    Commit(#[from] CommitError),
}

/// A project of a Gerrit.
#[derive(Debug, Clone)]
pub struct GerritSource {
    /// Its name in the log: `host/project`.
    pub name: String,
    /// Where it is fetched from; mostly `https://` and its name.
    pub url: String,
    /// As whom to fetch.
    pub auth: Auth,
}

/// What is to be followed.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// Folder for what the pollers keep beside the log: git objects, and what they remember of their own work.
    pub dir: PathBuf,
    /// Repositories on GitHub, with the client that asks for them.
    pub github: Option<(Client, Vec<RepoName>)>,
    /// Projects of Gerrits.
    pub gerrit: Vec<GerritSource>,
    /// Plain git repositories.
    pub git: Vec<GitSource>,
    /// A stream of events to be woken by, with the client that asks for them: its base address, as `https://pubsubhelper.golang.org`.
    pub wake: Option<(burrow_http_client::Client, String)>,
    /// When what is done.
    pub timing: Timing,
}

/// What a poller works with.
#[derive(Debug, Clone)]
pub(crate) struct Desk {
    pub(crate) leader: Leader,
    pub(crate) board: Board,
    pub(crate) timing: Timing,
}

impl Desk {
    async fn commit(&self, mutations: &[Mutation]) -> Result<View, CommitError> {
        let view = self.leader.commit(mutations).await?;
        self.board.wrote(mutations.len());
        Ok(view)
    }
}

/// Anything that works in rounds.
#[derive(Debug)]
enum Poller {
    Github(Box<GithubPoller>),
    Gerrit(Box<GerritPoller>),
    Git(Box<GitPoller>),
}

impl Poller {
    async fn round(&mut self, hints: &Hints) -> Result<Outcome, PollError> {
        match self {
            Poller::Github(poller) => poller.round(hints).await,
            Poller::Gerrit(poller) => poller.round(hints).await,
            Poller::Git(poller) => poller.round().await,
        }
    }

    /// When there is something to do again (Unix milliseconds), if that is known.
    fn due(&self) -> Option<i64> {
        match self {
            Poller::Github(poller) => poller.due(),
            Poller::Gerrit(_) | Poller::Git(_) => None,
        }
    }
}

/// A source with its task's tools.
#[derive(Debug)]
struct Followed {
    poller: Poller,
    desk: Desk,
    topic: Arc<Topic>,
    idle: Duration,
    /// How many may be at work at once, if there is such a limit.
    gate: Option<Arc<Semaphore>>,
}

/// All sources at work.
#[derive(Debug)]
pub struct Pollers {
    boards: Vec<Board>,
    topics: BTreeMap<Source, Arc<Topic>>,
    changed: watch::Sender<u64>,
    github: Option<(Client, PathBuf)>,
    stop: CancellationToken,
    tasks: tokio::sync::Mutex<JoinSet<()>>,
}

/// All pollers as they are now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PollStatus {
    /// Each source.
    pub sources: Vec<SourceStatus>,
    /// What is left of GitHub's limits, if GitHub is followed.
    pub github: Option<BudgetState>,
}

/// What came of reading each source once.
#[derive(Debug, thiserror::Error)]
pub enum SyncError {
    /// Some source could not be read.
    #[error("{source}: {error}", source = .0, error = .1)]
    Poll(Source, PollError),
    /// The corpus is not whole.
    #[error(transparent)]
    Check(#[from] burrow_maintner::MissingCommits),
}

/// Rounds that [`sync_once`] tries of one source before it gives up.
const TRIES: u32 = 5;
/// Git and Gerrit projects that are read at once: each has programs running, and servers count connections.
const GIT_AT_ONCE: usize = 8;
/// GitHub's validators are written to a file this often.
const SAVE: Duration = Duration::from_secs(300);

fn followed(leader: &Leader, sources: &Sources, clock: &SharedClock, changed: &watch::Sender<u64>) -> Vec<Followed> {
    let desk = |source: Source| Desk { leader: leader.clone(), board: Board::new(source, changed.clone(), Arc::clone(clock)), timing: sources.timing.clone() };
    let remembered = sources.dir.join("poll");
    let gate = Arc::new(Semaphore::new(GIT_AT_ONCE));
    let mut all = Vec::new();
    if let Some((client, repos)) = &sources.github {
        for repo in repos {
            let desk = desk(Source::Github(repo.to_string().to_lowercase()));
            let poller = Poller::Github(Box::new(GithubPoller::new(desk.clone(), client.clone(), repo.clone(), &remembered)));
            all.push(Followed { poller, desk, topic: Arc::default(), idle: sources.timing.github_idle, gate: None });
        }
    }
    for source in &sources.gerrit {
        let desk = desk(Source::Gerrit(source.name.clone()));
        let poller = GerritPoller::new(desk.clone(), source, &sources.dir);
        all.push(Followed {
            poller: Poller::Gerrit(Box::new(poller)),
            desk,
            topic: Arc::default(),
            idle: sources.timing.git_idle,
            gate: Some(Arc::clone(&gate)),
        });
    }
    for source in &sources.git {
        let desk = desk(Source::Git(source.name.clone()));
        let poller = GitPoller::new(desk.clone(), source.clone(), &sources.dir);
        all.push(Followed { poller: Poller::Git(Box::new(poller)), desk, topic: Arc::default(), idle: sources.timing.git_idle, gate: Some(Arc::clone(&gate)) });
    }
    all
}

/// Where GitHub's validators are kept.
fn validators(dir: &Path) -> PathBuf {
    dir.join("poll").join("github-validators.json")
}

async fn load_validators(client: &Client, path: &Path) {
    if let Err(error) = client.load(path).await {
        tracing::warn!(%error, "GitHub is asked for everything once more");
    }
}

async fn save_validators(client: &Client, path: &Path) {
    if let Some(dir) = path.parent()
        && let Err(error) = tokio::fs::create_dir_all(dir).await
    {
        tracing::warn!(%error, dir = %dir.display(), "GitHub's validators are not kept");
        return;
    }
    if let Err(error) = client.save(path).await {
        tracing::warn!(%error, "GitHub's validators are not kept");
    }
}

/// Reads each source once, with a few tries if it fails in passing, and then looks whether the corpus is whole. Limits of GitHub's are waited for.
///
/// # Errors
/// The first [`SyncError`]; the other sources were read all the same.
pub fn sync_once<'a>(leader: &'a Leader, sources: &'a Sources, clock: &'a SharedClock) -> BoxFuture<'a, Result<(), SyncError>> {
    Box::pin(async move {
        let (changed, _) = watch::channel(0);
        let path = validators(&sources.dir);
        if let Some((client, _)) = &sources.github {
            load_validators(client, &path).await;
        }
        let all = followed(leader, sources, clock, &changed).into_iter().map(|mut followed| async move {
            let mut tries = 0;
            loop {
                tries += 1;
                match followed.round(&Hints::new()).await {
                    Ok(()) => return Ok(()),
                    Err(error) if tries >= TRIES || !error.may_pass() => return Err(SyncError::Poll(followed.desk.board.source(), error)),
                    Err(_) => followed.desk.timing.pause.wait(followed.desk.timing.backoff(tries)).await,
                }
            }
        });
        let results = futures_util::future::join_all(all).await;
        if let Some((client, _)) = &sources.github {
            save_validators(client, &path).await;
        }
        results.into_iter().collect::<Result<Vec<()>, _>>()?;
        Ok(leader.view().gerrit().check()?)
    })
}

impl PollError {
    /// Whether another try may help without anybody doing anything.
    fn may_pass(&self) -> bool {
        match self {
            PollError::Github(error) => matches!(error, burrow_github::Error::Retry { .. } | burrow_github::Error::Malformed { .. }),
            PollError::Git(error) => error.is_transient() || matches!(error, GitError::Corrupt { .. } | GitError::Missing { .. }),
            PollError::Odd(_) | PollError::Issue { .. } => true,
            PollError::Commit(_) => false,
        }
    }
}

impl Followed {
    /// A round with all that is said about it.
    async fn round(&mut self, hints: &Hints) -> Result<(), PollError> {
        let board = &self.desk.board;
        board.doing("waits for its turn");
        let _turn = match &self.gate {
            Some(gate) => gate.acquire().await.ok(),
            None => None,
        };
        board.begin();
        let (outcome, result) = match self.poller.round(hints).await {
            Ok(outcome) => (outcome, Ok(())),
            Err(error) => {
                tracing::warn!(source = %board.source(), %error, "a round failed");
                (Outcome::Failed(error.to_string()), Err(error))
            }
        };
        board.end(outcome);
        result
    }

    /// Round after round.
    async fn run(mut self, stop: CancellationToken) {
        let mut hints = Hints::new();
        loop {
            let result = tokio::select! {
                result = self.round(&hints) => result,
                // What was committed is committed; what was not, the next start reads again.
                () = stop.cancelled() => return,
            };
            let failures = self.desk.board.status().failures;
            let pause = if result.is_ok() { self.idle } else { self.desk.timing.backoff(failures) };
            let clock = self.desk.board.clock();
            let now = clock.now_ms();
            let mut next = now.saturating_add(i64::try_from(pause.as_millis()).unwrap_or(i64::MAX));
            if result.is_ok()
                && let Some(due) = self.poller.due()
            {
                // Not at once again: what could not be done just now is done a little later.
                next = next.min(due.max(now + 1_000));
            }
            self.desk.board.next(next);
            // After a failure a wake-up changes nothing; it waits for the pause to end.
            let awake = async { if result.is_ok() { self.topic.woken().await } else { std::future::pending().await } };
            tokio::select! {
                () = awake => {}
                () = self.desk.timing.pause.until(clock, next) => {}
                () = stop.cancelled() => return,
            }
            hints = self.topic.take().unwrap_or_default();
        }
    }
}

impl Pollers {
    /// Begins to follow all sources. They go on until [`Pollers::stop`] or until this is dropped.
    pub fn start<'a>(leader: &'a Leader, sources: &'a Sources, clock: &'a SharedClock) -> BoxFuture<'a, Pollers> {
        Box::pin(async move {
            let (changed, _) = watch::channel(0);
            let stop = CancellationToken::new();
            let mut tasks = JoinSet::new();
            let github = sources.github.as_ref().map(|(client, _)| (client.clone(), validators(&sources.dir)));
            if let Some((client, path)) = github.clone() {
                load_validators(&client, &path).await;
                let stop = stop.clone();
                tasks.spawn(burrow_task::boxed(async move {
                    while tokio::time::timeout(SAVE, stop.cancelled()).await.is_err() {
                        save_validators(&client, &path).await;
                    }
                    save_validators(&client, &path).await;
                }));
            }
            let (mut boards, mut topics) = (Vec::new(), BTreeMap::new());
            for followed in followed(leader, sources, clock, &changed) {
                boards.push(followed.desk.board.clone());
                topics.insert(followed.desk.board.source(), Arc::clone(&followed.topic));
                tasks.spawn(burrow_task::boxed(followed.run(stop.clone())));
            }
            if let Some((client, base)) = &sources.wake {
                let board = Board::new(Source::Wake, changed.clone(), Arc::clone(clock));
                boards.push(board.clone());
                let listening = wake::listen(client.clone(), base.clone(), topics.clone(), board, sources.timing.pause.clone());
                let stop = stop.clone();
                tasks.spawn(burrow_task::boxed(async move {
                    tokio::select! {
                        () = listening => {}
                        () = stop.cancelled() => {}
                    }
                }));
            }
            Pollers { boards, topics, changed, github, stop, tasks: tokio::sync::Mutex::new(tasks) }
        })
    }

    /// All sources as they are now.
    pub fn status(&self) -> PollStatus {
        let github = self.github.as_ref().map(|(client, _)| client.budget().state());
        PollStatus { sources: self.boards.iter().map(Board::status).collect(), github }
    }

    /// Tells that a status has changed.
    pub fn changed(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Makes a source look at once, or once more if it is just looking; at the issue or change of this number first. False: it is not followed.
    pub fn wake(&self, source: &Source, number: Option<i32>) -> bool {
        let topic = self.topics.get(source);
        if let Some(topic) = topic {
            topic.wake(number);
        }
        topic.is_some()
    }

    /// Ends all tasks and waits for them. What was committed stays; what was being read is read again by the next start.
    pub fn stop(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            self.stop.cancel();
            let mut tasks = self.tasks.lock().await;
            while tasks.join_next().await.is_some() {}
        })
    }
}
