//! An SMTP client that says what it is told.

use std::io;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, SignatureScheme};
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncWrite, AsyncWriteExt as _, BufStream};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::{RCPT, SENDER};

/// A connection.
#[derive(Debug)]
pub struct Client<S: AsyncRead + AsyncWrite + Unpin>(BufStream<S>);

impl Client<TcpStream> {
    /// Connects; the greeting is not read.
    ///
    /// # Errors
    /// Nobody listens.
    pub async fn connect(address: std::net::SocketAddr) -> io::Result<Client<TcpStream>> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Client::over(stream))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Client<S> {
    /// Talks over any stream.
    pub fn over(stream: S) -> Client<S> {
        Client(BufStream::new(stream))
    }

    /// The stream.
    pub fn into_inner(self) -> S {
        self.0.into_inner()
    }

    /// Sends bytes as they are.
    ///
    /// # Errors
    /// The connection is closed.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.0.write_all(bytes.as_ref()).await?;
        self.0.flush().await
    }

    /// The next reply, with its lines joined by LF; empty when the connection is closed.
    pub async fn reply(&mut self) -> String {
        let mut reply = String::new();
        loop {
            let mut line = String::new();
            if !matches!(self.0.read_line(&mut line).await, Ok(length) if length > 0) {
                return reply;
            }
            let last = line.as_bytes().get(3) != Some(&b'-');
            reply += line.trim_end();
            if last {
                return reply;
            }
            reply.push('\n');
        }
    }

    /// Sends a line and reads the reply.
    pub async fn say(&mut self, line: &str) -> String {
        match self.send(format!("{line}\r\n")).await {
            Ok(()) => self.reply().await,
            Err(_) => String::new(),
        }
    }

    /// Sends a mail, from the usual sender to the usual recipient, dots doubled; the last reply.
    pub async fn mail(&mut self, mail: &[u8]) -> String {
        for command in [&format!("MAIL FROM:<{SENDER}>")[..], &format!("RCPT TO:<{RCPT}>"), "DATA"] {
            let reply = self.say(command).await;
            if !reply.starts_with(['2', '3']) {
                return reply;
            }
        }
        match self.send(stuffed(mail)).await {
            Ok(()) => self.reply().await,
            Err(_) => String::new(),
        }
    }
}

/// A mail as it goes over the wire after `DATA`, with its final dot.
pub fn stuffed(mail: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(mail.len() + 8);
    for line in mail.split_inclusive(|byte| *byte == b'\n') {
        if line.starts_with(b".") {
            out.push(b'.');
        }
        out.extend_from_slice(line);
    }
    out.extend_from_slice(b".\r\n");
    out
}

impl<S: AsyncRead + AsyncWrite + Unpin> Client<S> {
    /// Goes on under TLS, after the reply to `STARTTLS`. Any certificate is good: tests make their own.
    ///
    /// # Errors
    /// The handshake fails.
    ///
    /// # Panics
    /// Never: the versions are supported.
    pub async fn secure(self) -> io::Result<Client<TlsStream<S>>> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("the provider supports them")
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Anything))
            .with_no_client_auth();
        let name = ServerName::try_from("mx.farm.example.org").expect("a name");
        Ok(Client::over(TlsConnector::from(Arc::new(config)).connect(name, self.into_inner()).await?))
    }
}

#[derive(Debug)]
struct Anything;

impl ServerCertVerifier for Anything {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(&self, _: &[u8], _: &CertificateDer<'_>, _: &DigitallySignedStruct) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(&self, _: &[u8], _: &CertificateDer<'_>, _: &DigitallySignedStruct) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        rustls::crypto::ring::default_provider().signature_verification_algorithms.supported_schemes()
    }
}
