//! Loads the log in a folder and answers gRPC about it, over TLS with a certificate made up at start, beside a page at `/`.
//!
//! `cargo run --release -p burrow-maintnerd --example serve_api -- DIR [ADDRESS [PLAIN_ADDRESS [GERRIT]]]`. `GERRIT` is a folder that plays a Gerrit server: `N.json` is
//! what its REST interface says of change N, `N.comments.json` what it says of the change's comments. Compare with the reference:
//! `maintq -server localhost:PORT get-dashboard -branch mixed`.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::Router;
use axum::routing::get;
use axum::serve::ListenerExt as _;
use burrow_maintner::{Corpus, Part};
use burrow_maintnerd::api::Rules;
use burrow_maintnerd::api::trywork::GerritApi;
use burrow_maintnerd::grpc;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

mod folder;

use folder::Folder;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let args: Vec<String> = std::env::args().skip(1).collect();
    let dir = args.first().ok_or("usage: serve_api DIR [ADDRESS [PLAIN_ADDRESS [GERRIT]]]")?;
    let corpus = Corpus::load(&parts(Path::new(dir))?, 2, &|_| {})?;
    let gerrit = args.get(3).map(|dir| Arc::new(Folder::new(dir)) as Arc<dyn GerritApi>);
    let service = grpc::Service::new(corpus.subscribe(), Rules::go(), gerrit, burrow_clock::SystemClock::shared());
    let pages = Router::new().route("/", get(|| async { "gRPC is here, too.\n" }));
    let app = grpc::beside(pages, service);

    let address = |at: usize| args.get(at).map_or("127.0.0.1:0", String::as_str);
    let listener = TcpListener::bind(address(1)).await?;
    println!("listening on https://{}", listener.local_addr()?);
    let plain = TcpListener::bind(address(2)).await?;
    println!("listening on http://{}", plain.local_addr()?);
    let (tls, plain) = (axum::serve(Tls { listener, acceptor: acceptor()? }, app.clone()), axum::serve(plain.tap_io(|stream| at_once(stream)), app));
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

/// An answer is several small writes; the last must not wait until the client has acknowledged the first, which it does 40 ms later.
fn at_once(stream: &TcpStream) {
    if let Err(error) = stream.set_nodelay(true) {
        eprintln!("A connection will be slow: {error}.");
    }
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
            at_once(&stream);
            if let Ok(stream) = self.acceptor.accept(stream).await {
                return (stream, peer);
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}
