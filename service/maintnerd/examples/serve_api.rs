//! Loads the log in a folder and answers gRPC about it, over TLS with a certificate made up at start, beside a page at `/`.
//!
//! `cargo run --release -p burrow-maintnerd --example serve_api -- DIR [ADDRESS [PLAIN_ADDRESS [GERRIT]]]`. `GERRIT` is a folder that plays a Gerrit server: `N.json` is
//! what its REST interface says of change N, `N.comments.json` what it says of the change's comments. Compare with the reference:
//! `maintq -server localhost:PORT get-dashboard -branch mixed`.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::Router;
use axum::routing::get;
use burrow_maintner::{Corpus, Part, Time};
use burrow_maintnerd::api::Rules;
use burrow_maintnerd::api::trywork::{ChangeComment, ChangeDetail, ChangeMessage, GerritApi, GerritFailure};
use burrow_maintnerd::grpc;
use futures_util::future::BoxFuture;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let args: Vec<String> = std::env::args().skip(1).collect();
    let dir = args.first().ok_or("usage: serve_api DIR [ADDRESS [PLAIN_ADDRESS [GERRIT]]]")?;
    let corpus = Corpus::load(&parts(Path::new(dir))?, 2, &|_| {})?;
    let gerrit = args.get(3).map(|dir| Arc::new(Folder { dir: PathBuf::from(dir) }) as Arc<dyn GerritApi>);
    let service = grpc::Service::new(corpus.subscribe(), Rules::go(), gerrit, burrow_clock::SystemClock::shared());
    let pages = Router::new().route("/", get(|| async { "gRPC is here, too.\n" }));
    let app = grpc::beside(pages, service);

    let address = |at: usize| args.get(at).map_or("127.0.0.1:0", String::as_str);
    let listener = TcpListener::bind(address(1)).await?;
    println!("listening on https://{}", listener.local_addr()?);
    let plain = TcpListener::bind(address(2)).await?;
    println!("listening on http://{}", plain.local_addr()?);
    let (tls, plain) = (axum::serve(Tls { listener, acceptor: acceptor()? }, app.clone()), axum::serve(plain, app));
    tokio::try_join!(tls.into_future(), plain.into_future())?;
    Ok(())
}

fn parts(dir: &Path) -> std::io::Result<Vec<Part>> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(dir)?.filter_map(|entry| Some(entry.ok()?.path())).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "mutlog"));
    files.sort();
    files.iter().map(|path| Ok(Part::file(path, 0, std::fs::metadata(path)?.len()))).collect()
}

fn acceptor() -> Result<TlsAcceptor, Box<dyn std::error::Error>> {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()])?;
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let mut config = config.with_no_client_auth().with_single_cert(vec![made.cert.der().clone()], key)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// One handshake after the other, which is enough for an example.
struct Tls {
    listener: TcpListener,
    acceptor: TlsAcceptor,
}

impl axum::serve::Listener for Tls {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let Ok((stream, peer)) = self.listener.accept().await else { continue };
            if let Ok(stream) = self.acceptor.accept(stream).await {
                return (stream, peer);
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// A Gerrit server whose answers lie in a folder.
#[derive(Debug)]
struct Folder {
    dir: PathBuf,
}

#[derive(Deserialize)]
struct Account {
    _account_id: i64,
}

#[derive(Deserialize)]
struct Vote {
    value: Option<i32>,
}

#[derive(Deserialize)]
struct Label {
    #[serde(default)]
    all: Vec<Vote>,
}

#[derive(Deserialize)]
struct Revision {
    _number: i32,
}

#[derive(Deserialize)]
struct Message {
    author: Option<Account>,
    date: String,
    message: String,
    #[serde(default)]
    _revision_number: i32,
}

#[derive(Deserialize)]
struct Change {
    status: String,
    current_revision: Option<String>,
    #[serde(default)]
    revisions: BTreeMap<String, Revision>,
    #[serde(default)]
    messages: Vec<Message>,
    labels: Option<BTreeMap<String, Label>>,
}

#[derive(Deserialize)]
struct Comment {
    author: Option<Account>,
    updated: String,
    #[serde(default)]
    message: String,
    #[serde(default)]
    patch_set: i32,
}

impl Folder {
    fn read<T: DeserializeOwned>(&self, project: &str, number: i32, name: &str) -> Result<Option<T>, GerritFailure> {
        let failure = |reason: &dyn std::fmt::Display| GerritFailure { project: project.to_owned(), number, reason: reason.to_string() };
        match std::fs::read(self.dir.join(name)) {
            Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(|error| failure(&error)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failure(&error)),
        }
    }
}

/// Gerrit's times are like `2022-03-04 05:06:07.000000000`, in UTC.
fn time(text: &str) -> Time {
    let time: jiff::civil::DateTime = text.parse().unwrap_or(jiff::civil::DateTime::ZERO);
    let time = time.to_zoned(jiff::tz::TimeZone::UTC).map(|time| time.timestamp()).unwrap_or_default();
    Time { seconds: time.as_second(), nanos: time.subsec_nanosecond() }
}

impl GerritApi for Folder {
    fn change<'a>(&'a self, project: &'a str, number: i32) -> BoxFuture<'a, Result<Option<ChangeDetail>, GerritFailure>> {
        Box::pin(async move {
            let Some(change) = self.read::<Change>(project, number, &format!("{number}.json"))? else { return Ok(None) };
            let current = change.current_revision.and_then(|hash| change.revisions.get(&hash).map(|revision| (hash.clone(), revision._number)));
            let messages = change.messages.into_iter().map(|message| ChangeMessage {
                author: message.author.map(|author| author._account_id),
                time: time(&message.date),
                text: message.message,
                patch_set: message._revision_number,
            });
            let votes = change
                .labels
                .map(|labels| labels.into_iter().map(|(name, label)| (name, label.all.into_iter().filter_map(|vote| vote.value).collect())).collect());
            Ok(Some(ChangeDetail { open: change.status == "NEW", current, messages: messages.collect(), votes }))
        })
    }

    fn comments<'a>(&'a self, project: &'a str, number: i32) -> BoxFuture<'a, Result<BTreeMap<String, Vec<ChangeComment>>, GerritFailure>> {
        Box::pin(async move {
            let all: BTreeMap<String, Vec<Comment>> = self.read(project, number, &format!("{number}.comments.json"))?.unwrap_or_default();
            let own = |comment: Comment| ChangeComment {
                author: comment.author.map(|author| author._account_id),
                updated: time(&comment.updated),
                text: comment.message,
                patch_set: comment.patch_set,
            };
            Ok(all.into_iter().map(|(path, comments)| (path, comments.into_iter().map(own).collect())).collect())
        })
    }
}
