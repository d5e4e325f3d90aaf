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

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use burrow_clock::{SharedClock, TestClock};
use futures_util::StreamExt as _;
use http::StatusCode;
use testkit_server::{Reply, Server};

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

type Matcher = Box<dyn Fn(&Asked) -> bool + Send>;
type Hook = Box<dyn FnMut(&Asked, &mut World) + Send>;

pub(crate) struct State {
    pub(crate) world: World,
    faults: Vec<(Matcher, Fault, u32)>,
    hook: Option<Hook>,
    asked: Vec<Asked>,
    pub(crate) violations: Vec<String>,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State").field("violations", &self.violations).finish_non_exhaustive()
    }
}

/// The server. Dropping it fails the test if a client broke a rule, or a fault was met by nobody.
pub struct Gerrit {
    server: Server,
    state: Arc<Mutex<State>>,
    clock: TestClock,
}

impl std::fmt::Debug for Gerrit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Gerrit at {}", self.server.address())
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

impl Gerrit {
    /// One without projects. Its clock stands at 2026-01-01T00:00:00Z until it is moved.
    pub async fn start() -> Gerrit {
        Gerrit::start_at(TestClock::at(1_767_225_600_000)).await
    }

    /// With a clock of the test's own.
    pub async fn start_at(clock: TestClock) -> Gerrit {
        let world = World::new(clock.clone());
        let state = Arc::new(Mutex::new(State { world, faults: Vec::new(), hook: None, asked: Vec::new(), violations: Vec::new() }));
        let shared = Arc::clone(&state);
        let server = Server::start(move |request| {
            let shared = Arc::clone(&shared);
            Box::pin(async move { respond(&shared, request).await })
        })
        .await;
        lock(&state).world.base = server.url("");
        Gerrit { server, state, clock }
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

    /// What there is. Questions wait while it is held.
    pub fn world(&self) -> WorldGuard<'_> {
        WorldGuard(lock(&self.state))
    }

    /// The next `times` questions with this path (a prefix; encoded) go wrong.
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

impl Drop for Gerrit {
    fn drop(&mut self) {
        let violations = self.take_violations();
        let unused: Vec<String> = lock(&self.state).faults.iter().filter(|(_, _, times)| *times > 0).map(|(_, fault, _)| format!("{fault:?}")).collect();
        if !std::thread::panicking() {
            assert!(violations.is_empty(), "the client broke rules of Gerrit's:\n{}", violations.join("\n"));
            assert!(unused.is_empty(), "faults that nobody met, so the test shows less than it says: {unused:?}");
        }
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What is to be done with a question, decided while the world is held.
enum Work {
    Done(Reply),
    Git(git_http::Service),
}

async fn respond(state: &Mutex<State>, request: http::Request<bytes::Bytes>) -> Reply {
    let (work, fault) = prepare(&mut lock(state), &request);
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
    state.asked.push(asked.clone());
    if let Some(mut hook) = state.hook.take() {
        hook(&asked, &mut state.world);
        state.hook = Some(hook);
    }
    let fault = state.faults.iter_mut().find(|(matches, _, times)| *times > 0 && matches(&asked)).map(|(_, fault, times)| {
        *times -= 1;
        fault.clone()
    });
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
