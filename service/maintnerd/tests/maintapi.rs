//! The gRPC service over a real socket: its answers against those that the reference gave for the same log, and what else may arrive on its port.
//!
//! `maintapi/answers.txt` holds the reference's answers. To record them anew, run the test once: it leaves the log in `maintapi-log` of cargo's folder for
//! temporary files. Serve that folder with the reference over plain HTTP/2, its Gerrit client pointed at a server for the files in `maintapi/gerrit`, and run the
//! test with `RECORD_FROM=HOST:PORT`.

#[path = "maintapi/folder.rs"]
mod folder;
#[path = "maintapi/wire.rs"]
mod wire;
#[path = "maintapi/world.rs"]
mod world;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use axum::Router;
use axum::http::{Method as Verb, StatusCode};
use axum::routing::get;
use burrow_clock::TestClock;
use burrow_maintnerd::api::Rules;
use burrow_maintnerd::api::trywork::{ChangeComment, ChangeDetail, GerritApi, GerritFailure};
use burrow_maintnerd::grpc::{self, Service};
use burrow_maintnerd::http::Readers;
use futures_util::future::BoxFuture;
use prost::Message;
use protocol_maintapi::*;
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use folder::Folder;
use wire::{Answer, Client, code, framed, request};
use world::{GO, New, World, id};

/// Go's projects with all that the methods look at.
fn world() -> World {
    let (net, tools) = ("go.googlesource.com/net", "go.googlesource.com/tools");
    let mut world = World::default();
    world.line(GO, "go", "", 24, 1_600_000_000, 100);
    world.line(GO, "r115", "go-5", 2, 1_600_000_650, 100);
    world.line(GO, "r116", "go-9", 3, 1_600_001_000, 100);
    world.line(GO, "link", "go-20", 2, 1_600_001_950, 1_000);
    let odd = [
        ("Rob", "plain name <rob@example.org>", "all:   blanks   \t\n\nbody"),
        ("no-mail", "Nobody in particular", "all: no mail"),
        ("umlaut", "  Jürgen Müller  <j.müller@example.org>", "all: grüße \"quoted\" \\ <html>\n"),
        ("empty", "<only@example.org>", ""),
        ("reversed", "a >b< c", "\nsecond line\n"),
    ];
    let mut before = "go-23".to_owned();
    for (at, (name, author, message)) in odd.iter().enumerate() {
        let time = 1_600_002_400 + i64::try_from(at).unwrap();
        world.commit(GO, &New { name, parents: &[&before], author, time, message, ..New::default() });
        before = (*name).to_owned();
    }
    world.commit(GO, &New { name: "merge", parents: &["reversed", "link-1"], time: 1_600_003_000, message: "all: merge\n", ..New::default() });
    world.refs(GO, &[("HEAD", "merge"), ("refs/heads/master", "merge"), ("refs/heads/dev.link", "link-1"), ("refs/notes/review", "go-1")]);
    world
        .refs(GO, &[("refs/heads/release-branch.go1.15", "r115-1"), ("refs/heads/release-branch.go1.16", "r116-2"), ("refs/heads/release-branch.go1", "go-1")]);
    world.refs(GO, &[("refs/tags/go1", "go-0"), ("refs/tags/go1.15", "go-5"), ("refs/tags/go1.15.1", "r115-0"), ("refs/tags/go1.15.11", "r115-1")]);
    world.refs(GO, &[("refs/tags/go1.16", "go-9"), ("refs/tags/go1.16.3", "r116-1"), ("refs/tags/go1.16.4rc1", "r116-2"), ("refs/tags/go1.17", "go-20")]);

    world.line(net, "net", "", 5, 1_600_000_050, 420);
    world.line(net, "vendor", "net-1", 2, 1_600_000_900, 10);
    world.refs(
        net,
        &[("HEAD", "net-4"), ("refs/heads/master", "net-4"), ("refs/heads/internal-branch.go1.16-vendor", "vendor-1"), ("refs/tags/v0.1.0", "net-2")],
    );
    // No history of its own on the main branch.
    world.line(tools, "tools", "", 2, 1_500_000_000, 1);
    world.refs(tools, &[("refs/heads/dev.link", "tools-1")]);
    // Another server's are not of interest.
    world.line("code.googlesource.com/gocloud", "cloud", "", 1, 1_600_000_000, 1);
    world.refs("code.googlesource.com/gocloud", &[("refs/heads/master", "cloud-0")]);

    for (project, number, branch) in
        [(GO, 101, "master"), (GO, 102, "release-branch.go1.15"), (net, 103, "master"), (net, 104, "internal-branch.go1.16-vendor")]
    {
        world.change(project, number, branch);
        world.vote(project, number, 1, "Run-TryBot=+1");
    }
    for (project, number, branch) in
        [(net, 105, "release-branch.go1.15-bundle"), (net, 106, "internal-branch.go1.9-x"), (tools, 107, "gopls-release-branch.0.6")]
    {
        world.change(project, number, branch);
        world.vote(project, number, 1, "Run-TryBot=+1");
    }
    world.change(tools, 108, "dev.link");
    world.vote(tools, 108, 1, "Run-TryBot=+1");
    // Done, and never asked for.
    world.change(GO, 109, "master");
    world.vote(GO, 109, 1, "Run-TryBot=+1");
    world.vote(GO, 109, 1, "TryBot-Result=-1");
    world.change(GO, 110, "master");
    world
}

fn fixtures() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/maintapi"))
}

fn service(world: &World, gerrit: Arc<dyn GerritApi>) -> Service {
    Service::new(world.corpus().subscribe(), Rules::go(), Some(gerrit), Arc::new(TestClock::at(1_700_000_000_000)))
}

/// Serves it beside a page; gone with the test.
async fn serve(service: Service) -> String {
    let pages = Router::new().route("/", get(|| async { "a page" }));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(axum::serve(listener, grpc::beside(pages, service)).into_future());
    address
}

/// An answer as text: status, digest of the encoded message, and what is in it.
fn shown<M: Message + Default + Lines>(answer: &Answer) -> String {
    if answer.code != code::OK {
        return format!("code {}: {}\n", answer.code, answer.message);
    }
    let digest: String = Sha256::digest(&answer.bytes).iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    let message = M::decode(answer.bytes.as_slice()).unwrap();
    format!("{} bytes, {digest}\n{}", answer.bytes.len(), message.lines())
}

trait Lines: std::fmt::Debug {
    fn lines(&self) -> String {
        format!("{self:?}\n")
    }
}

impl Lines for HasAncestorResponse {}
impl Lines for GetRefResponse {}

fn list<'a, T: std::fmt::Debug + 'a>(items: impl IntoIterator<Item = &'a T>) -> String {
    items.into_iter().fold(String::new(), |mut text, item| {
        writeln!(text, "{item:?}").unwrap();
        text
    })
}

impl Lines for ListGoReleasesResponse {
    fn lines(&self) -> String {
        list(&self.releases)
    }
}

impl Lines for GoFindTryWorkResponse {
    fn lines(&self) -> String {
        list(&self.waiting)
    }
}

/// Shortly: the digest is there for the rest.
fn commit_line(commit: &DashCommit) -> String {
    let short = |hash: &str| hash.get(..8).unwrap_or("-").to_owned();
    let DashCommit { commit, author_name, author_email, commit_time_sec, title, go_commit_at_time, branch, go_commit_latest } = commit;
    let (commit, at, latest) = (short(commit), short(go_commit_at_time), short(go_commit_latest));
    format!("{commit} {commit_time_sec} {author_name:?} {author_email:?} {title:?} {branch} {at} {latest}\n")
}

impl Lines for DashboardResponse {
    fn lines(&self) -> String {
        let commits: String = self.commits.iter().map(commit_line).collect();
        let heads: String =
            self.repo_heads.iter().map(|head| format!("{}: {}", head.gerrit_project, head.commit.as_ref().map_or("none\n".into(), commit_line))).collect();
        let releases: Vec<&str> = self.releases.iter().map(|release| release.branch_name.as_str()).collect();
        format!("{commits}{heads}branches {:?} releases {releases:?} truncated {}\n", self.branches, self.commits_truncated)
    }
}

async fn answers(client: &mut Client) -> String {
    let mut text = String::new();
    let ref_of = |server: &str, project: &str, name: &str| GetRefRequest { r#ref: name.into(), gerrit_server: server.into(), gerrit_project: project.into() };
    let server = "go.googlesource.com";
    for request in [
        ref_of(server, "go", "HEAD"),
        ref_of("https://go-review.googlesource.com", "go", "refs/heads/master"),
        ref_of("https://go.googlesource.com/some/path", "net", "refs/tags/v0.1.0"),
        ref_of(server, "go", "NOT EXIST REF"),
        ref_of(server, "go", "refs/changes/01/101/1"),
        ref_of(server, "NOT EXIST PROJ", "HEAD"),
        ref_of("", "", ""),
    ] {
        let answer = client.ask(Method::GetRef.path(), &request).await;
        write!(text, "== {request:?}\n{}", shown::<GetRefResponse>(&answer)).unwrap();
    }
    let words = ["go-0", "go-5", "r115-1", "link-1", "merge", "net-4", "nobody knows it"];
    let mut pairs: Vec<(String, String)> = words.iter().flat_map(|a| words.map(|b| (id(a), id(b)))).collect();
    pairs.extend([
        ("".into(), id("go-0")),
        (id("go-0"), "12".into()),
        ("x".repeat(40), id("go-0")),
        (id("merge"), "x".repeat(40)),
        (id("merge").to_uppercase(), id("go-0")),
    ]);
    for (commit, ancestor) in pairs {
        let request = HasAncestorRequest { commit, ancestor };
        let answer = client.ask(Method::HasAncestor.path(), &request).await;
        write!(text, "== {request:?}\n{}", shown::<HasAncestorResponse>(&answer)).unwrap();
    }
    let answer = client.ask(Method::ListGoReleases.path(), &ListGoReleasesRequest {}).await;
    write!(text, "== ListGoReleases\n{}", shown::<ListGoReleasesResponse>(&answer)).unwrap();
    for (repo, branch, page, max_commits) in [
        ("", "", 0, 9),
        ("go", "master", 1, 4),
        ("go", "master", 7, 4),
        ("go", "master", 0, 1_000),
        ("go", "master", 9, 1_000),
        ("go", "release-branch.go1.16", 0, 5),
        // Few enough that the reference keeps the order of commits of one moment.
        ("go", "mixed", 0, 6),
        ("golang.org/x/net", "mixed", 0, 500),
        ("golang.org/x/net", "", 0, 0),
        ("golang.org/x/net", "", 1, 2),
        ("golang.org/x/net", "", 2, 2),
        ("golang.org/x/net", "", 3, 2),
        ("golang.org/x/net", "internal-branch.go1.16-vendor", 0, 2),
        ("golang.org/x/tools", "", 0, 2),
        ("golang.org/x/tools", "dev.link", 0, 2),
        ("golang.org/x/sys", "", 0, 2),
        ("net", "", 0, 2),
        ("NOT_EXIST", "", 0, 0),
        ("", "NOT_EXIST", 0, 0),
        ("", "a \"b\"\n\\", 0, 0),
        ("", "mixed", 5, 0),
        ("", "mixed", 0, 4),
        ("", "", -1, 0),
        ("", "", 0, -1),
        ("", "", 1_000_000, 0),
        ("", "", i32::MAX, i32::MAX),
        ("", "", 10, 1_000),
        ("", "NOT_EXIST", -1, -1),
    ] {
        let request = DashboardRequest { page, repo: repo.into(), branch: branch.into(), max_commits };
        let answer = client.ask(Method::GetDashboard.path(), &request).await;
        write!(text, "== {request:?}\n{}", shown::<DashboardResponse>(&answer)).unwrap();
    }
    let answer = client.ask(Method::GoFindTryWork.path(), &GoFindTryWorkRequest { for_staging: true }).await;
    write!(text, "== GoFindTryWork\n{}", shown::<GoFindTryWorkResponse>(&answer)).unwrap();
    text
}

#[tokio::test]
async fn answers_are_those_of_the_reference() {
    let world = world();
    let log = Path::new(env!("CARGO_TARGET_TMPDIR")).join("maintapi-log");
    std::fs::create_dir_all(&log).unwrap();
    std::fs::write(log.join("maintner-2022-01-01.mutlog"), &world.bytes).unwrap();
    let recorded = fixtures().join("answers.txt");
    if let Ok(reference) = std::env::var("RECORD_FROM") {
        std::fs::write(&recorded, answers(&mut Client::connect(&reference).await).await).unwrap();
    }
    let address = serve(service(&world, Arc::new(Folder::new(fixtures().join("gerrit"))))).await;
    let ours = answers(&mut Client::connect(&address).await).await;
    let recorded = std::fs::read_to_string(recorded).unwrap();
    let (ours, recorded): (Vec<&str>, Vec<&str>) = (ours.split("== ").collect(), recorded.split("== ").collect());
    for (ours, recorded) in ours.iter().zip(&recorded) {
        assert!(ours == recorded, "ours:\n{ours}\nthe reference's:\n{recorded}");
    }
    assert_eq!(ours.len(), recorded.len());
}

/// A Gerrit server at which nobody may look.
#[derive(Debug)]
struct Faulty;

impl GerritApi for Faulty {
    fn change<'a>(&'a self, _: &'a str, _: i32) -> BoxFuture<'a, Result<Option<ChangeDetail>, GerritFailure>> {
        panic!("this is a fault of the test's, and belongs to its output");
    }

    fn comments<'a>(&'a self, _: &'a str, _: i32) -> BoxFuture<'a, Result<BTreeMap<String, Vec<ChangeComment>>, GerritFailure>> {
        panic!("this is a fault of the test's, and belongs to its output");
    }
}

#[tokio::test]
async fn a_bad_request_or_a_fault_harms_no_other() {
    let address = serve(service(&world(), Arc::new(Faulty))).await;
    let mut client = Client::connect(&address).await;
    let good = GetRefRequest { r#ref: "HEAD".into(), gerrit_server: "go.googlesource.com".into(), gerrit_project: "go".into() };
    let path = Method::GetRef.path();
    let not_utf8 = [&[0x0a, 2][..], b"\xff\xfe"].concat();
    for (what, path, body, expected) in [
        ("no message", path, Vec::new(), code::INTERNAL),
        ("half a message", path, framed(&good.encode_to_vec())[..20].to_vec(), code::INTERNAL),
        ("not protobuf", path, framed(b"\xff\xff\xff"), code::INTERNAL),
        ("not UTF-8", path, framed(&not_utf8), code::INTERNAL),
        ("compressed", path, [&[1], &framed(&good.encode_to_vec())[1..]].concat(), code::INTERNAL),
        ("another method", "/apipb.MaintnerService/GetRefs", framed(b""), code::UNIMPLEMENTED),
        ("no method", "/apipb.MaintnerService/", framed(b""), code::UNIMPLEMENTED),
        ("another service", "/grpc.health.v1.Health/Check", framed(b""), code::UNIMPLEMENTED),
        ("a fault", Method::GoFindTryWork.path(), framed(b""), code::INTERNAL),
        ("unknown fields", path, framed(&[&good.encode_to_vec()[..], &[0xa0, 0x3f, 7]].concat()), code::OK),
    ] {
        let answer = client.send(request(path, body)).await;
        assert_eq!((answer.http, answer.code), (StatusCode::OK, expected), "{what}: {}", answer.message);
        let GetRefResponse { value } = client.ask(Method::GetRef.path(), &good).await.decode();
        assert_eq!(value, id("merge"), "after {what}");
    }
    let answer = client.send(request("/apipb.MaintnerService/GetRefs", framed(b""))).await;
    assert_eq!(answer.message, "unknown method GetRefs for service apipb.MaintnerService");
    let answer = client.send(request("/x/y", framed(b""))).await;
    assert_eq!(answer.message, "unknown service x");
}

#[tokio::test]
async fn a_private_log_is_not_told_of() {
    let address = serve(service(&world(), Arc::new(Faulty)).for_readers(Readers::with_token("sesame"))).await;
    let mut client = Client::connect(&address).await;
    let question = HasAncestorRequest { commit: id("merge"), ancestor: id("go-0") }.encode_to_vec();
    for (header, expected) in [(None, code::UNAUTHENTICATED), (Some("Bearer simsim"), code::UNAUTHENTICATED), (Some("Bearer sesame"), code::OK)] {
        let mut request = request(Method::HasAncestor.path(), framed(&question));
        if let Some(header) = header {
            request.headers_mut().insert("authorization", header.parse().unwrap());
        }
        let answer = client.send(request).await;
        assert_eq!((answer.http, answer.code), (StatusCode::OK, expected), "{header:?}: {}", answer.message);
    }
}

/// The answer to one request in HTTP/1.1.
async fn http1(address: &str, head: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(format!("{head}\r\nhost: x\r\nconnection: close\r\ncontent-length: 0\r\n\r\n").as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn pages_and_the_service_share_a_port() {
    let address = serve(service(&world(), Arc::new(Faulty))).await;
    let page = http1(&address, "GET / HTTP/1.1").await;
    assert!(page.starts_with("HTTP/1.1 200 OK") && page.ends_with("a page"), "{page}");
    assert!(http1(&address, "GET /nothing HTTP/1.1").await.starts_with("HTTP/1.1 404"));
    for head in ["POST /apipb.MaintnerService/GetRef HTTP/1.1", "POST /any HTTP/1.1\r\ncontent-type: application/grpc+proto"] {
        let answer = http1(&address, head).await;
        assert!(answer.starts_with("HTTP/1.1 505") && answer.ends_with("gRPC requires HTTP/2\n"), "{answer}");
    }

    let mut client = Client::connect(&address).await;
    let plain = |verb: Verb, path: &str| {
        let mut request = request(path, Vec::new());
        request.headers_mut().remove("content-type");
        *request.method_mut() = verb;
        request
    };
    let answer = client.send(plain(Verb::GET, "/")).await;
    assert_eq!((answer.http, answer.bytes.as_slice()), (StatusCode::OK, &b"a page"[..]), "pages may be had over HTTP/2, too");
    assert_eq!(client.send(plain(Verb::GET, Method::GetRef.path())).await.http, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(client.send(plain(Verb::POST, Method::GetRef.path())).await.http, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    // What a corpus does not have yet is an error, and nothing worse.
    let empty = serve(service(&World::default(), Arc::new(Faulty))).await;
    let mut client = Client::connect(&empty).await;
    for (method, text) in [
        (Method::GetDashboard, "go gerrit project not found"),
        (Method::ListGoReleases, "go gerrit project not found"),
        (Method::GoFindTryWork, "go gerrit project not found"),
        (Method::GetRef, "unknown gerrit project"),
        (Method::HasAncestor, "invalid Commit"),
    ] {
        let answer = client.ask(method.path(), &GoFindTryWorkRequest::default()).await;
        assert_eq!((answer.code, answer.message.as_str()), (code::UNKNOWN, text), "{method:?}");
    }
}
