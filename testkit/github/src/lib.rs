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

use std::sync::Arc;

use burrow_clock::{SharedClock, TestClock};
use testkit_server::{Question, Scene, Server, Stage};

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

impl Question for Asked {
    fn path(&self) -> &str {
        &self.path
    }
}

pub(crate) type State = Scene<World, Asked, Fault>;

/// The server. Dropping it fails the test if a client broke a rule. What a test can do with it is in [`Stage`].
pub struct GitHub {
    server: Server,
    stage: Stage<World, Asked, Fault>,
    clock: TestClock,
}

impl std::fmt::Debug for GitHub {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "GitHub at {}", self.server.address())
    }
}

impl std::ops::Deref for GitHub {
    type Target = Stage<World, Asked, Fault>;

    fn deref(&self) -> &Self::Target {
        &self.stage
    }
}

impl GitHub {
    /// An empty one. Its clock stands at 2026-01-01T00:00:00Z until it is moved.
    pub async fn start() -> GitHub {
        GitHub::start_at(TestClock::at(1_767_225_600_000)).await
    }

    /// With a clock of the test's own.
    pub async fn start_at(clock: TestClock) -> GitHub {
        let stage = Stage::new("GitHub", World::new(clock.clone()));
        let player = stage.player();
        let server = Server::start(move |request| {
            let reply = routes::respond(&mut player.scene(), &request);
            Box::pin(async move { reply })
        })
        .await;
        stage.world().base = server.url("");
        GitHub { server, stage, clock }
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
}
