//! A server with a modelled DNS, and a sink that remembers.

#![allow(dead_code)]

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use burrow_clock::{SharedClock, SystemClock};
use burrow_mail::{Config, Counters, DnsKeys, GerritMail, Limits, Refusal, Server, Taken};
use testkit_mail::{Answer, Client, Names, RCPT, Signer};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

/// Where the key of the usual signature is.
pub(crate) const KEY: &str = "20221208._domainkey.google.com";

pub(crate) struct World {
    pub(crate) address: SocketAddr,
    pub(crate) names: Names,
    pub(crate) counters: Arc<Counters>,
    pub(crate) taken: Arc<Mutex<Vec<GerritMail>>>,
    pub(crate) signer: Signer,
    pub(crate) shutdown: CancellationToken,
    pub(crate) server: JoinHandle<std::io::Result<()>>,
}

pub(crate) struct Setting {
    pub(crate) config: Config,
    pub(crate) clock: SharedClock,
    pub(crate) tls: Option<TlsAcceptor>,
    /// What the sink says after it has taken a mail.
    pub(crate) says: Taken,
}

impl Default for Setting {
    fn default() -> Setting {
        Setting { config: config(), clock: SystemClock::shared(), tls: None, says: Taken::Durably }
    }
}

pub(crate) fn config() -> Config {
    let limits = Limits { connections_per_minute: 100_000, connections_per_address: 20_000, connections: 20_000, ..Limits::default() };
    Config { limits, ..Config::google(RCPT, "mx.farm.example.org") }
}

/// A server over whatever streams a test makes.
pub(crate) async fn server(setting: Setting, names: &Names) -> (Server, Arc<Counters>, Arc<Mutex<Vec<GerritMail>>>) {
    let (counters, taken) = (Arc::new(Counters::default()), Arc::new(Mutex::new(Vec::new())));
    names.set(KEY, Answer::Text(Signer::record()));
    let keys = DnsKeys::at(&[names.address()]).expect("a resolver");
    let (kept, says) = (Arc::clone(&taken), setting.says);
    let sink = move |mail: GerritMail| {
        kept.lock().expect("the sink's list").push(mail);
        std::future::ready(says.clone())
    };
    let server = Server::new(setting.config, setting.tls, Arc::new(keys), Arc::new(sink), setting.clock, Arc::clone(&counters)).expect("a server");
    (server, counters, taken)
}

impl World {
    pub(crate) async fn new() -> World {
        World::with(Setting::default()).await
    }

    pub(crate) async fn with(setting: Setting) -> World {
        let names = Names::start().await;
        let (server, counters, taken) = server(setting, &names).await;
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let shutdown = CancellationToken::new();
        let server = tokio::spawn(server.run(listener, shutdown.clone()));
        World { address, names, counters, taken, signer: Signer::new(), shutdown, server }
    }

    /// A client that was greeted.
    pub(crate) async fn client(&self) -> Client<TcpStream> {
        let mut client = Client::connect(self.address).await.expect("the server listens");
        assert_eq!(client.reply().await, "220 mx.farm.example.org ESMTP Burrow");
        client
    }

    /// Sends one mail in a connection of its own; the reply to it.
    pub(crate) async fn send(&self, mail: &[u8]) -> String {
        let mut client = self.client().await;
        assert!(client.say("EHLO mail.google.com").await.starts_with("250-"));
        let reply = client.mail(mail).await;
        assert!(client.say("QUIT").await.starts_with("221") || reply.is_empty());
        reply
    }

    /// The mails that the sink was given.
    pub(crate) fn mails(&self) -> Vec<GerritMail> {
        self.taken.lock().expect("the sink's list").clone()
    }

    /// Reasons that were counted, with their counts.
    pub(crate) fn refused(&self) -> Vec<(Refusal, u64)> {
        self.counters.refusals().filter(|(_, count)| *count > 0).collect()
    }

    /// Ends the server.
    pub(crate) async fn stop(self) {
        self.shutdown.cancel();
        self.server.await.expect("the server's task").expect("the server");
    }
}

/// A certificate that nobody knows.
pub(crate) fn acceptor() -> TlsAcceptor {
    let made = rcgen::generate_simple_self_signed(["mx.farm.example.org".to_owned()]).expect("a certificate");
    let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).expect("a key");
    let config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .expect("the key is that of the certificate");
    TlsAcceptor::from(Arc::new(config))
}
