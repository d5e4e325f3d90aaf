//! Fetches a certificate, serves it, and says how it stands, to try an authority such as Pebble:
//!
//! `acme tls-alpn|http ADDR:PORT DIRECTORY ROOT.pem DIR NAME...`
//!
//! The port is the one where the authority looks. With `tls-alpn` it answers TLS, with `http` the challenges of HTTP-01.

use std::time::Duration;

use burrow_certificates::{Acme, Certificates, Challenge, Source};
use burrow_clock::SystemClock;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_util::sync::CancellationToken;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [kind, listen, directory, root, dir, names @ ..] = args.as_slice() else {
        return Err("acme tls-alpn|http ADDR:PORT DIRECTORY ROOT.pem DIR NAME...".into());
    };
    let challenge = if kind == "http" { Challenge::Http } else { Challenge::TlsAlpn };
    let (names, directory) = (names.to_vec(), directory.clone());
    let acme = Acme { names, dir: dir.into(), directory, contact: Some("ada@example.org".into()), root: Some(root.into()), challenge };
    let certificates = Certificates::open(Source::Acme(acme), SystemClock::shared())?;
    let acceptor = certificates.acceptor(&[b"http/1.1"])?;
    let listener = tokio::net::TcpListener::bind(listen).await?;
    let challenges = certificates.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            if challenge == Challenge::Http {
                let mut request = vec![0; 4096];
                let length = stream.read(&mut request).await.unwrap_or(0);
                let request = String::from_utf8_lossy(&request[..length]).into_owned();
                let token = request.split_whitespace().nth(1).and_then(|path| path.strip_prefix("/.well-known/acme-challenge/")).unwrap_or_default().to_owned();
                let answer = challenges.http_challenge(&token).unwrap_or_default();
                let _ = stream.write_all(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{answer}", answer.len()).as_bytes()).await;
            } else {
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    if let Ok(mut stream) = acceptor.accept(stream).await {
                        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nok\n").await;
                        let _ = stream.shutdown().await;
                    }
                });
            }
        }
    });
    tokio::spawn({
        let certificates = certificates.clone();
        async move { certificates.keep(CancellationToken::new()).await }
    });
    let mut last = None;
    loop {
        let status = certificates.status();
        if last.as_ref() != Some(&status) {
            println!("{status:?}");
            last = Some(status);
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}
