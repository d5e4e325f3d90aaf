//! A modelled Gerrit: projects that are real bare repositories, changes with patch sets and votes, and NoteDb: every thing that happens to a change is a real
//! commit on its `refs/changes/NN/N/meta`, with the messages and footers that Gerrit writes.
//!
//! It is served on a real socket: git's smart HTTP (any object may be fetched by its hash, as Gerrit allows) and the REST calls that programs around
//! a Gerrit use. A test changes the [`World`] as people would, may change it while it is being read ([`Gerrit::before_each`]) and may have things go
//! wrong ([`Fault`]). A query operator, option or parameter that Gerrit does not know is a *violation*: dropping the server with one fails the test.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! let gerrit = testkit_gerrit::Gerrit::start().await;
//! let mut world = gerrit.world();
//! world.create_project("tools/widget");
//! let number = world.create_change("tools/widget", "master", "ada", "widget: turn faster", &[("widget.go", "package widget\n")]);
//! world.vote(number, "bob", "Code-Review", 2);
//! let tip = world.submit(number, "bob");
//! assert_eq!(world.refs("tools/widget")["refs/heads/master"], tip);
//! # }
//! ```

mod changes;
mod git_http;
mod login;
mod model;
mod notedb;
mod query;
mod random;
mod rest;
mod shapes;
mod store;
mod world;

use std::sync::Arc;

use burrow_clock::{SharedClock, TestClock};
use futures_util::StreamExt as _;
use http::StatusCode;
use testkit_server::{Question, Reply, Scene, Server, Stage};

pub use model::{Account, Change, Comment, Label, Message, Ms, NewComment, PatchSet, Policy, Project, Review, Status, Strategy, Style, Vote};
pub use world::World;

/// What a test may have go wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// Any status, with a line of text.
    Status(u16),
    /// The head and so many bytes of the true answer, then the end of the connection.
    Cut(usize),
    /// The true answer, a byte at a time.
    Slow,
    /// The connection is closed without a word.
    Close,
    /// Nothing, for as long as the client waits.
    Hang,
}

/// A question as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// Path, still encoded, without `/a`: `/changes/`, `/tools%2Fwidget/info/refs`.
    pub path: String,
    /// The query as it came.
    pub query: String,
    /// Whether it came with credentials, under `/a/`.
    pub authenticated: bool,
}

impl Question for Asked {
    fn path(&self) -> &str {
        &self.path
    }
}

pub(crate) type State = Scene<World, Asked, Fault>;

/// The server. Dropping it fails the test if a client broke a rule, or a fault was met by nobody. What a test can do with it is in [`Stage`].
pub struct Gerrit {
    server: Server,
    stage: Stage<World, Asked, Fault>,
    clock: TestClock,
}

impl std::fmt::Debug for Gerrit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Gerrit at {}", self.server.address())
    }
}

impl std::ops::Deref for Gerrit {
    type Target = Stage<World, Asked, Fault>;

    fn deref(&self) -> &Self::Target {
        &self.stage
    }
}

impl Gerrit {
    /// One without projects. Its clock stands at 2026-01-01T00:00:00Z until it is moved.
    pub async fn start() -> Gerrit {
        Gerrit::start_at(TestClock::at(1_767_225_600_000)).await
    }

    /// With a clock of the test's own.
    pub async fn start_at(clock: TestClock) -> Gerrit {
        let stage = Stage::new("Gerrit", World::new(clock.clone()));
        let player = Arc::new(stage.player());
        let server = Server::start(move |request| {
            let player = Arc::clone(&player);
            Box::pin(async move { respond(&player, request).await })
        })
        .await;
        stage.world().base = server.url("");
        Gerrit { server, stage, clock }
    }

    /// Address of the REST interface.
    pub fn base(&self) -> String {
        self.server.url("")
    }

    /// Address that git fetches a project from.
    pub fn git_url(&self, project: &str) -> String {
        self.server.url(&format!("/{project}"))
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

/// What is to be done with a question, decided while the world is held.
enum Work {
    Done(Reply),
    Git(git_http::Service),
}

async fn respond(stage: &Stage<World, Asked, Fault>, request: http::Request<bytes::Bytes>) -> Reply {
    let (work, fault) = prepare(&mut stage.scene(), &request);
    let reply = match work {
        Work::Done(reply) => reply,
        // Not while the world is held: fetching takes its time.
        Work::Git(service) => service.run(request).await,
    };
    match (fault, reply) {
        (Some(Fault::Cut(length)), Reply::Answer(answer)) => Reply::Cut(answer, length),
        (Some(Fault::Slow), Reply::Answer(answer)) => {
            let (mut head, body) = answer.into_parts();
            head.headers.remove(http::header::CONTENT_LENGTH);
            let bytes = (0..body.len()).map(move |at| Ok(body.slice(at..at + 1)));
            Reply::Stream(http::Response::from_parts(head, Box::pin(futures_util::stream::iter(bytes))))
        }
        (Some(Fault::Cut(length)), Reply::Stream(answer)) => Reply::Stream(answer.map(|chunks| cut(chunks, length))),
        (_, reply) => reply,
    }
}

type Chunks = futures_util::stream::BoxStream<'static, std::io::Result<bytes::Bytes>>;

/// The first bytes of a stream; then the connection is cut.
fn cut(chunks: Chunks, length: usize) -> Chunks {
    let start = chunks.scan(length, |left, chunk| {
        let chunk = chunk.map(|bytes| bytes.slice(..bytes.len().min(*left)));
        let go_on = *left > 0;
        *left -= chunk.as_ref().map_or(0, bytes::Bytes::len);
        std::future::ready(go_on.then_some(chunk))
    });
    let then = async {
        // What was given is sent when the body makes the server wait, and thrown away when the body fails.
        tokio::task::yield_now().await;
        Err(std::io::Error::other("cut on purpose"))
    };
    start.chain(futures_util::stream::once(then)).boxed()
}

fn prepare(state: &mut State, request: &http::Request<bytes::Bytes>) -> (Work, Option<Fault>) {
    let whole = request.uri().path();
    let (path, authenticated) = whole.strip_prefix("/a/").map_or((whole.to_owned(), false), |rest| (format!("/{rest}"), true));
    let asked = Asked { path, query: request.uri().query().unwrap_or_default().to_owned(), authenticated };
    state.note(asked.clone());
    state.before(&asked);
    let fault = state.fault(&asked);
    let work = match &fault {
        Some(Fault::Close) => Work::Done(Reply::Close),
        Some(Fault::Hang) => Work::Done(Reply::Hang),
        Some(Fault::Status(status)) => {
            Work::Done(Reply::text(*status, StatusCode::from_u16(*status).map_or("", |status| status.canonical_reason().unwrap_or("")).to_owned()))
        }
        _ => match login::check(&state.world, request, &asked) {
            Some(refusal) => Work::Done(refusal),
            None => match git_http::Service::of(&state.world, request, &asked) {
                Some(service) => Work::Git(service),
                None => Work::Done(rest::answer(state, request, &asked)),
            },
        },
    };
    (work, fault)
}
