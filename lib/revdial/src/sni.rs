//! Letting Go's buildlets in on any port: see `protocol_revdial`'s `hello` for why and how their server name is hidden.
//!
//! [`accept`] hides it in the bytes that rustls reads, and the hash functions of [`provider`] put it back in what rustls hashes, so that the handshake is
//! computed over what the client really sent.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll, ready};

use protocol_revdial::{first_record_len, has_hidden_server_name, hide_bad_server_name, restore_server_name};
use rustls::crypto::hash::{self, Hash, HashAlgorithm, Output};
use rustls::crypto::{CipherSuiteCommon, CryptoProvider};
use rustls::{ServerConfig, SupportedCipherSuite, Tls12CipherSuite, Tls13CipherSuite};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::stream::Stream;

/// Accepts a TLS connection with a configuration of [`crate::server_config`], also from clients whose server name is not a host name.
///
/// # Errors
/// The handshake's.
pub async fn accept<S: Stream>(config: Arc<ServerConfig>, stream: S) -> io::Result<TlsStream<Hello<S>>> {
    TlsAcceptor::from(config).accept(Hello { state: State::Reading(Vec::new()), stream }).await
}

/// A connection in whose first record a bad server name is hidden.
#[derive(Debug)]
pub struct Hello<S> {
    state: State,
    stream: S,
}

#[derive(Debug)]
enum State {
    /// The first record is not complete.
    Reading(Vec<u8>),
    /// It is given out from here on.
    Giving(Vec<u8>, usize),
    Through,
}

impl<S: Stream> AsyncRead for Hello<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        loop {
            match &mut this.state {
                State::Through => return Pin::new(&mut this.stream).poll_read(cx, out),
                State::Giving(bytes, given) => {
                    let rest = bytes.get(*given..).unwrap_or_default();
                    let count = rest.len().min(out.remaining());
                    out.put_slice(rest.get(..count).unwrap_or_default());
                    *given += count;
                    if *given >= bytes.len() {
                        this.state = State::Through;
                    }
                    return Poll::Ready(Ok(()));
                }
                State::Reading(bytes) => {
                    let mut chunk = [0; 2048];
                    let mut read = ReadBuf::new(&mut chunk);
                    ready!(Pin::new(&mut this.stream).poll_read(cx, &mut read))?;
                    let ended = read.filled().is_empty();
                    bytes.extend_from_slice(read.filled());
                    match first_record_len(bytes) {
                        Some(length) if bytes.len() >= length => {
                            if let Some(record) = bytes.get_mut(..length) {
                                hide_bad_server_name(record);
                            }
                        }
                        _ if ended => {}
                        _ => continue,
                    }
                    if bytes.is_empty() {
                        this.state = State::Through;
                        return Poll::Ready(Ok(()));
                    }
                    this.state = State::Giving(std::mem::take(bytes), 0);
                }
            }
        }
    }
}

impl<S: Stream> AsyncWrite for Hello<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bufs: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

/// ring, with hash functions that put a hidden server name back. rustls wants its cipher suites for ever, so they are made once.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| {
        let mut provider = rustls::crypto::ring::default_provider();
        for suite in &mut provider.cipher_suites {
            *suite = match *suite {
                SupportedCipherSuite::Tls13(s) => SupportedCipherSuite::Tls13(Box::leak(Box::new(Tls13CipherSuite {
                    common: wrapped(&s.common),
                    hkdf_provider: s.hkdf_provider,
                    aead_alg: s.aead_alg,
                    quic: s.quic,
                }))),
                SupportedCipherSuite::Tls12(s) => SupportedCipherSuite::Tls12(Box::leak(Box::new(Tls12CipherSuite {
                    common: wrapped(&s.common),
                    prf_provider: s.prf_provider,
                    kx: s.kx,
                    sign: s.sign,
                    aead_alg: s.aead_alg,
                }))),
            };
        }
        Arc::new(provider)
    });
    PROVIDER.clone()
}

fn wrapped(common: &CipherSuiteCommon) -> CipherSuiteCommon {
    CipherSuiteCommon {
        suite: common.suite,
        hash_provider: Box::leak(Box::new(Restoring(common.hash_provider))),
        confidentiality_limit: common.confidentiality_limit,
    }
}

/// A hash function of messages as they were sent.
struct Restoring(&'static dyn Hash);

impl Hash for Restoring {
    fn start(&self) -> Box<dyn hash::Context> {
        Box::new(RestoringContext(self.0.start()))
    }

    fn hash(&self, data: &[u8]) -> Output {
        match restored(data) {
            Some(data) => self.0.hash(&data),
            None => self.0.hash(data),
        }
    }

    fn output_len(&self) -> usize {
        self.0.output_len()
    }

    fn algorithm(&self) -> HashAlgorithm {
        self.0.algorithm()
    }
}

struct RestoringContext(Box<dyn hash::Context>);

impl hash::Context for RestoringContext {
    fn fork_finish(&self) -> Output {
        self.0.fork_finish()
    }

    fn fork(&self) -> Box<dyn hash::Context> {
        Box::new(RestoringContext(self.0.fork()))
    }

    fn finish(self: Box<Self>) -> Output {
        self.0.finish()
    }

    fn update(&mut self, data: &[u8]) {
        match restored(data) {
            Some(data) => self.0.update(&data),
            None => self.0.update(data),
        }
    }
}

fn restored(data: &[u8]) -> Option<Vec<u8>> {
    has_hidden_server_name(data).then(|| {
        let mut data = data.to_vec();
        restore_server_name(&mut data);
        data
    })
}
