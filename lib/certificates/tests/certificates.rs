//! What a client is shown: files that change, a certificate of one's own making, and what is said when there is none.

use std::path::Path;
use std::sync::Arc;

use burrow_certificates::{Acme, CertificateError, Certificates, Challenge, LETS_ENCRYPT, Source, validity};
use burrow_clock::{SharedClock, SystemClock, TestClock};
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_rustls::{TlsAcceptor, TlsConnector};
use tokio_util::sync::CancellationToken;

/// A chain and key for a name, in two files.
fn make(dir: &Path, name: &str) -> (CertificateDer<'static>, Source) {
    let made = rcgen::generate_simple_self_signed([name.to_owned()]).expect("a certificate");
    let (cert, key) = (dir.join("cert.pem"), dir.join("key.pem"));
    std::fs::write(&key, made.signing_key.serialize_pem()).expect("write");
    std::fs::write(&cert, made.cert.pem()).expect("write");
    (made.cert.der().clone(), Source::Files { cert, key })
}

/// One connection to an acceptor by a client that trusts `root`; the protocol that was agreed on.
async fn talk(acceptor: &TlsAcceptor, name: &str, root: &CertificateDer<'static>, protocols: &[&[u8]]) -> Result<Option<Vec<u8>>, String> {
    let mut roots = RootCertStore::empty();
    roots.add(root.clone()).map_err(|error| error.to_string())?;
    let mut config = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
    let (near, far) = tokio::io::duplex(16 << 10);
    let acceptor = acceptor.clone();
    let server = tokio::spawn(async move {
        let mut stream = acceptor.accept(far).await?;
        stream.write_all(b"hello").await?;
        stream.shutdown().await
    });
    let name = ServerName::try_from(name.to_owned()).expect("a name");
    let mut stream = TlsConnector::from(Arc::new(config)).connect(name, near).await.map_err(|error| error.to_string())?;
    let mut said = String::new();
    stream.read_to_string(&mut said).await.map_err(|error| error.to_string())?;
    assert_eq!(said, "hello");
    server.await.expect("the server's task").map_err(|error| error.to_string())?;
    Ok(stream.get_ref().1.alpn_protocol().map(<[u8]>::to_vec))
}

fn clock() -> SharedClock {
    SystemClock::shared()
}

#[tokio::test(start_paused = true)]
async fn files_that_are_replaced_are_taken_up_while_serving() {
    let dir = tempfile::tempdir().expect("a folder");
    let (first, source) = make(dir.path(), "a.example.org");
    let certificates = Certificates::open(source, clock()).expect("the files");
    let https = certificates.acceptor(&[b"h2", b"http/1.1"]).expect("an acceptor");
    let smtp = certificates.acceptor(&[]).expect("an acceptor");
    assert_eq!(talk(&https, "a.example.org", &first, &[b"http/1.1", b"h2"]).await, Ok(Some(b"h2".to_vec())));
    assert_eq!(talk(&smtp, "a.example.org", &first, &[]).await, Ok(None));
    let shutdown = CancellationToken::new();
    let keeping = tokio::spawn({
        let (certificates, shutdown) = (certificates.clone(), shutdown.clone());
        async move { certificates.keep(shutdown).await }
    });
    // Half replaced: the key is another's.
    let key = rcgen::KeyPair::generate().expect("a key");
    std::fs::write(dir.path().join("key.pem"), key.serialize_pem() + "\n").expect("write");
    while certificates.status().failure.is_none() {
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    }
    let why = certificates.status().failure.unwrap_or_default();
    assert!(why.contains("key.pem: the key does not belong to the certificate in"), "{why}");
    assert_eq!(talk(&smtp, "a.example.org", &first, &[]).await, Ok(None), "the old one serves on");
    let (second, _) = make(dir.path(), "b.example.org");
    while certificates.status().failure.is_some() {
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    }
    for acceptor in [&https, &smtp] {
        assert!(talk(acceptor, "b.example.org", &second, &[]).await.is_ok());
        assert!(talk(acceptor, "a.example.org", &first, &[]).await.is_err());
    }
    assert_eq!(certificates.status().validity, validity(&second));
    shutdown.cancel();
    keeping.await.expect("it ends with the shutdown");
}

#[tokio::test]
async fn a_certificate_of_ones_own_making_stays_the_same_over_restarts() {
    let dir = tempfile::tempdir().expect("a folder");
    let clock = TestClock::at(1_700_000_000_000);
    let open = |names: &[&str]| {
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        Certificates::open(Source::SelfSigned { dir: dir.path().join("tls"), names }, Arc::new(clock.clone())).expect("a certificate")
    };
    let root = || CertificateDer::from_pem_file(dir.path().join("tls/self-signed.pem")).expect("the certificate");
    let certificates = open(&["localhost", "127.0.0.1"]);
    let first = root();
    let validity = certificates.status().validity.expect("there is one");
    assert_eq!(validity.not_before_ms, 1_700_000_000_000 - 60_000);
    assert_eq!(validity.not_after_ms, 1_700_000_000_000 + 10 * 365 * 86_400_000);
    let acceptor = open(&["localhost", "127.0.0.1"]).acceptor(&[b"http/1.1"]).expect("an acceptor");
    assert_eq!(root(), first);
    assert_eq!(talk(&acceptor, "localhost", &first, &[b"http/1.1"]).await, Ok(Some(b"http/1.1".to_vec())));
    assert!(talk(&acceptor, "127.0.0.1", &first, &[]).await.is_ok());
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = std::fs::metadata(dir.path().join("tls/self-signed.pem")).expect("the file").permissions().mode();
        assert_eq!(mode & 0o077, 0, "the key is its owner's alone");
    }
    open(&["farm.example.org"]);
    let second = root();
    assert_ne!(second, first, "other names, another certificate");
    clock.advance_ms(10 * 365 * 86_400_000);
    open(&["farm.example.org"]);
    assert_ne!(root(), second, "an expired one is replaced");
}

#[test]
fn what_cannot_be_used_is_said_with_its_place_and_remedy() {
    let dir = tempfile::tempdir().expect("a folder");
    let at = |name: &str| dir.path().join(name);
    make(dir.path(), "a.example.org");
    std::fs::write(at("empty.pem"), "nothing\n").expect("write");
    let files = |cert: &str, key: &str| match Certificates::open(Source::Files { cert: at(cert), key: at(key) }, clock()) {
        Ok(_) => "it opened".to_owned(),
        Err(error) => error.to_string().replace(dir.path().to_str().expect("UTF-8"), "."),
    };
    assert_eq!(files("none.pem", "key.pem"), "./none.pem: No such file or directory (os error 2)");
    assert_eq!(files("empty.pem", "key.pem"), "./empty.pem: there is no certificate in it; it must begin with -----BEGIN CERTIFICATE-----");
    assert_eq!(files("cert.pem", "cert.pem"), "./cert.pem: there is no private key in it; it must hold -----BEGIN PRIVATE KEY-----");
    let acme = |name: &str| {
        let names = if name.is_empty() { vec![] } else { vec![name.to_owned()] };
        let acme = Acme { names, dir: at("acme"), directory: LETS_ENCRYPT.into(), contact: None, root: None, challenge: Challenge::TlsAlpn };
        match Certificates::open(Source::Acme(acme), clock()) {
            Ok(_) => "it opened".to_owned(),
            Err(CertificateError::Name { why, .. }) => why.to_owned(),
            Err(error) => error.to_string(),
        }
    };
    assert_eq!(acme("farm.example.org"), "it opened");
    assert_eq!(acme("*.example.org"), "a certificate for a wildcard cannot be had this way; give every host");
    assert_eq!(acme("192.0.2.1"), "a host name is needed, not an address");
    assert_eq!(acme("localhost"), "this is no public host name");
    assert_eq!(acme("../x.org"), "this is no public host name");
    assert_eq!(acme(""), "a certificate is for at least one host name");
}

#[tokio::test(start_paused = true)]
async fn an_authority_that_is_not_reached_is_tried_again_later_and_later() {
    let dir = tempfile::tempdir().expect("a folder");
    // Nobody listens on a port that was just given back.
    let port = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address").port();
    let acme = Acme {
        names: vec!["farm.example.org".into()],
        dir: dir.path().to_owned(),
        directory: format!("http://127.0.0.1:{port}/dir"),
        contact: None,
        root: None,
        challenge: Challenge::TlsAlpn,
    };
    let clock = TestClock::at(1_700_000_000_000);
    let certificates = Certificates::open(Source::Acme(acme), Arc::new(clock)).expect("it opens without one");
    let acceptor = certificates.acceptor(&[b"http/1.1"]).expect("an acceptor");
    let (root, _) = make(dir.path(), "farm.example.org");
    assert!(talk(&acceptor, "farm.example.org", &root, &[]).await.is_err(), "there is none yet");
    let shutdown = CancellationToken::new();
    let keeping = tokio::spawn({
        let (certificates, shutdown) = (certificates.clone(), shutdown.clone());
        async move { certificates.keep(shutdown).await }
    });
    let start = tokio::time::Instant::now();
    while certificates.status().failures < 4 {
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    }
    // 1, 2 and 4 minutes.
    assert!(start.elapsed().as_secs().abs_diff(7 * 60) <= 1, "{:?}", start.elapsed());
    let status = certificates.status();
    assert!(status.failure.as_ref().is_some_and(|why| why.starts_with(&format!("http://127.0.0.1:{port}/dir: account: "))), "{status:?}");
    assert_eq!(status.next_attempt_ms, Some(1_700_000_000_000 + 8 * 60_000));
    shutdown.cancel();
    keeping.await.expect("it ends with the shutdown");
}
