//! A modelled GitHub: repositories with issues, pull requests and everything that belongs to them, behind GitHub's REST interface on a real socket.
//!
//! It has state ([`World`]) that a test changes as people would, and answers as GitHub does: the same JSON, validators, links between pages, limits, redirects
//! of renamed repositories and transferred issues, statuses of deleted ones. It can be told to fail ([`Fault`]), and to change while it is being
//! read ([`GitHub::before_each`]). It is stricter than the real one: a parameter that GitHub does not document, a page size over a hundred, a question while
//! it asked for silence, an answer's validator that it never gave are *violations*, and dropping it with any of them fails the test.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! let github = testkit_github::GitHub::start().await;
//! let mut world = github.world();
//! world.create_repo("o/r");
//! let number = world.open_issue("o/r", "ada", "It does not build", "On Mondays.");
//! world.comment("o/r", number, "bob", "Here it does.");
//! world.close("o/r", number, "ada");
//! # }
//! ```

mod model;
mod random;
mod routes;
mod shapes;
mod world;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use burrow_clock::{SharedClock, TestClock};
use testkit_server::Server;

pub use model::{Comment, Event, Fate, Issue, Label, Milestone, Ms, Repo, Review, Reviewer, Team, User};
pub use world::{Links, Policy, World};

/// What a test may have go wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// The hourly limit is used up: 403, new questions in so many seconds.
    PrimaryLimit {
        /// Seconds until the window's end.
        reset_in: u64,
    },
    /// The secondary limit: 403, with or without `Retry-After`.
    SecondaryLimit {
        /// Seconds in `Retry-After`.
        retry_after: Option<u64>,
    },
    /// 429 with `Retry-After`.
    TooMany {
        /// Seconds in `Retry-After`.
        retry_after: u64,
    },
    /// Any status with GitHub's usual body.
    Status(u16),
    /// Status 200 and a list without entries, with the links of the true one.
    EmptyPage,
    /// Status 200 and a proxy's page.
    NotJson,
    /// The true answer with these headers removed.
    Without(Vec<&'static str>),
    /// The head and so many bytes of the true answer, then the end of the connection.
    Cut(usize),
    /// The connection is closed without a word.
    Close,
    /// Nothing, for as long as the client waits.
    Hang,
}

/// A question as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// Path without the query: `/repos/o/r/issues`.
    pub path: String,
    /// The query, decoded, in order.
    pub query: Vec<(String, String)>,
    /// Whether it named a validator.
    pub conditional: bool,
    /// Status of the answer; 0 before there is one, and when there was none.
    pub status: u16,
}

type Matcher = Box<dyn Fn(&Asked) -> bool + Send>;
type Hook = Box<dyn FnMut(&Asked, &mut World) + Send>;

pub(crate) struct State {
    world: World,
    faults: Vec<(Matcher, Fault, u32)>,
    hook: Option<Hook>,
    asked: Vec<Asked>,
    violations: Vec<String>,
}

/// The server. Dropping it fails the test if a client broke a rule.
pub struct GitHub {
    server: Server,
    state: Arc<Mutex<State>>,
    clock: TestClock,
}

impl std::fmt::Debug for GitHub {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "GitHub at {}", self.server.address())
    }
}

/// Access to the world; nobody else has it meanwhile.
#[derive(Debug)]
pub struct WorldGuard<'a>(MutexGuard<'a, State>);

impl std::ops::Deref for WorldGuard<'_> {
    type Target = World;

    fn deref(&self) -> &World {
        &self.0.world
    }
}

impl std::ops::DerefMut for WorldGuard<'_> {
    fn deref_mut(&mut self) -> &mut World {
        &mut self.0.world
    }
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State").field("violations", &self.violations).finish_non_exhaustive()
    }
}

impl GitHub {
    /// An empty one. Its clock stands at 2026-01-01T00:00:00Z until it is moved.
    pub async fn start() -> GitHub {
        GitHub::start_at(TestClock::at(1_767_225_600_000)).await
    }

    /// With a clock of the test's own.
    pub async fn start_at(clock: TestClock) -> GitHub {
        let world = World::new(clock.clone());
        let state = Arc::new(Mutex::new(State { world, faults: Vec::new(), hook: None, asked: Vec::new(), violations: Vec::new() }));
        let shared = Arc::clone(&state);
        let server = Server::start(move |request| {
            let reply = routes::respond(&mut lock(&shared), &request);
            Box::pin(async move { reply })
        })
        .await;
        lock(&state).world.base = server.url("");
        GitHub { server, state, clock }
    }

    /// The address that a client is given as the base.
    pub fn base(&self) -> String {
        self.server.url("")
    }

    /// The clock that all times come from.
    pub fn clock(&self) -> &TestClock {
        &self.clock
    }

    /// The clock as a client wants it.
    pub fn shared_clock(&self) -> SharedClock {
        Arc::new(self.clock.clone())
    }

    /// What there is. Questions wait while it is held.
    pub fn world(&self) -> WorldGuard<'_> {
        WorldGuard(lock(&self.state))
    }

    /// The next `times` questions with this path (a prefix) go wrong.
    pub fn fail(&self, path: &str, fault: Fault, times: u32) {
        let path = path.to_owned();
        self.fail_if(move |asked| asked.path.starts_with(&path), fault, times);
    }

    /// The next `times` questions for which `matches` says true go wrong.
    pub fn fail_if(&self, matches: impl Fn(&Asked) -> bool + Send + 'static, fault: Fault, times: u32) {
        lock(&self.state).faults.push((Box::new(matches), fault, times));
    }

    /// What happens just before each answer: how a test changes the world while it is being read.
    pub fn before_each(&self, hook: impl FnMut(&Asked, &mut World) + Send + 'static) {
        lock(&self.state).hook = Some(Box::new(hook));
    }

    /// What was asked since the last call.
    pub fn take_asked(&self) -> Vec<Asked> {
        std::mem::take(&mut lock(&self.state).asked)
    }

    /// Rules that clients broke since the last call. Whoever takes them has expected them.
    pub fn take_violations(&self) -> Vec<String> {
        std::mem::take(&mut lock(&self.state).violations)
    }
}

impl Drop for GitHub {
    fn drop(&mut self) {
        let violations = self.take_violations();
        let unused: Vec<String> = lock(&self.state).faults.iter().filter(|(_, _, times)| *times > 0).map(|(_, fault, _)| format!("{fault:?}")).collect();
        if !std::thread::panicking() {
            assert!(violations.is_empty(), "the client broke rules of GitHub's:\n{}", violations.join("\n"));
            assert!(unused.is_empty(), "faults that nobody met, so the test shows less than it says: {unused:?}");
        }
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}
