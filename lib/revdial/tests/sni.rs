//! A client that names `host:port`, as stock Go buildlets do (`spec/buildlet.md` T4), gets its TLS connection.
//!
//! rustls would never send such a name. So the client here names `localhost-8119`, and both the bytes it sends and those it hashes are changed on the way
//! to `localhost:8119`: what arrives is what Go sends.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use burrow_revdial::{accept, server_config};
use rustls::ClientConfig;
use rustls::RootCertStore;
use rustls::crypto::hash::{self, Hash, HashAlgorithm, Output};
use rustls::crypto::{CipherSuiteCommon, CryptoProvider};
use rustls::{SupportedCipherSuite, SupportedProtocolVersion, Tls12CipherSuite, Tls13CipherSuite};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf, duplex};
use tokio_rustls::TlsConnector;

const KNOWN: &[u8] = b"localhost-8119";
const SENT: &[u8] = b"localhost:8119";

/// For hashing: only in a ClientHello; the server's certificate has the known name too.
fn hashed(message: &[u8]) -> Vec<u8> {
    if message.first() == Some(&1) { changed(message) } else { message.to_vec() }
}

fn changed(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    if let Some(at) = bytes.windows(KNOWN.len()).position(|w| w == KNOWN) {
        bytes[at..at + KNOWN.len()].copy_from_slice(SENT);
    }
    bytes
}

struct Changing(&'static dyn Hash);
struct ChangingContext(Box<dyn hash::Context>);

impl Hash for Changing {
    fn start(&self) -> Box<dyn hash::Context> {
        Box::new(ChangingContext(self.0.start()))
    }
    fn hash(&self, data: &[u8]) -> Output {
        self.0.hash(&hashed(data))
    }
    fn output_len(&self) -> usize {
        self.0.output_len()
    }
    fn algorithm(&self) -> HashAlgorithm {
        self.0.algorithm()
    }
}

impl hash::Context for ChangingContext {
    fn fork_finish(&self) -> Output {
        self.0.fork_finish()
    }
    fn fork(&self) -> Box<dyn hash::Context> {
        Box::new(ChangingContext(self.0.fork()))
    }
    fn finish(self: Box<Self>) -> Output {
        self.0.finish()
    }
    fn update(&mut self, data: &[u8]) {
        self.0.update(&hashed(data));
    }
}

fn provider() -> Arc<CryptoProvider> {
    let mut provider = rustls::crypto::ring::default_provider();
    let common = |c: &CipherSuiteCommon| CipherSuiteCommon {
        suite: c.suite,
        hash_provider: Box::leak(Box::new(Changing(c.hash_provider))),
        confidentiality_limit: c.confidentiality_limit,
    };
    for suite in &mut provider.cipher_suites {
        *suite = match *suite {
            SupportedCipherSuite::Tls13(s) => SupportedCipherSuite::Tls13(Box::leak(Box::new(Tls13CipherSuite {
                common: common(&s.common),
                hkdf_provider: s.hkdf_provider,
                aead_alg: s.aead_alg,
                quic: s.quic,
            }))),
            SupportedCipherSuite::Tls12(s) => SupportedCipherSuite::Tls12(Box::leak(Box::new(Tls12CipherSuite {
                common: common(&s.common),
                prf_provider: s.prf_provider,
                kx: s.kx,
                sign: s.sign,
                aead_alg: s.aead_alg,
            }))),
        };
    }
    Arc::new(provider)
}

/// Changes what is written, which is whole messages here.
struct Wire(DuplexStream);

impl AsyncRead for Wire {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, &changed(buf))
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

async fn exchange(version: &'static SupportedProtocolVersion, pipe: usize, tolerant: bool) -> io::Result<()> {
    let made = rcgen::generate_simple_self_signed(vec!["localhost-8119".to_owned()]).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let client =
        ClientConfig::builder_with_provider(provider()).with_protocol_versions(&[version]).unwrap().with_root_certificates(roots).with_no_client_auth();
    let server = Arc::new(server_config(made.cert.pem().as_bytes(), made.signing_key.serialize_pem().as_bytes()).unwrap());
    let (near, far) = duplex(pipe);
    let connecting = tokio::spawn(async move {
        let mut stream = TlsConnector::from(Arc::new(client)).connect("localhost-8119".try_into().unwrap(), Wire(near)).await?;
        stream.write_all(b"hello").await?;
        stream.flush().await?;
        let mut back = [0; 5];
        stream.read_exact(&mut back).await?;
        assert_eq!(&back, b"hello");
        Ok::<(), io::Error>(())
    });
    let serving = async {
        let mut hello = [0; 5];
        if tolerant {
            let mut stream = accept(server, far).await?;
            stream.read_exact(&mut hello).await?;
            stream.write_all(&hello).await?;
            stream.flush().await
        } else {
            tokio_rustls::TlsAcceptor::from(server).accept(far).await.map(drop)
        }
    };
    // The client's error says more than the server's, which only sees it go.
    let served = serving.await;
    connecting.await??;
    served
}

#[tokio::test]
async fn a_server_name_with_a_port_is_tolerated() {
    for version in [&rustls::version::TLS13, &rustls::version::TLS12] {
        exchange(version, 64 * 1024, true).await.unwrap();
    }
}

#[tokio::test]
async fn without_the_tolerance_it_would_be_refused() {
    // Otherwise the test above would show nothing.
    assert!(exchange(&rustls::version::TLS13, 64 * 1024, false).await.is_err());
}
