//! The client against a server that says exactly what a test tells it to, byte for byte.

use std::io::Write as _;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use burrow_http_client::{Client, Error, Request, Settings, Trust};
use http::header::{AUTHORIZATION, ETAG};
use http::{HeaderName, Method};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;

/// What a server does with a request: write these bytes, then keep or close the connection.
#[derive(Clone)]
enum Do {
    Answer(Vec<u8>),
    AnswerAndClose(Vec<u8>),
    Close,
    Nothing,
}

type Script = Arc<dyn Fn(usize, usize, &str) -> Do + Send + Sync>;

/// A server on a free port. `script` is given the number of the connection, the number of the request on it and the request, and says what happens.
struct Server {
    address: String,
    seen: Arc<Mutex<Vec<String>>>,
    _task: tokio::task::JoinHandle<()>,
}

async fn talk(stream: impl AsyncRead + AsyncWrite + Unpin, connection: usize, script: Script, seen: Arc<Mutex<Vec<String>>>) {
    let mut stream = stream;
    let mut request = 0;
    loop {
        let mut text = Vec::new();
        let mut byte = [0];
        while !text.ends_with(b"\r\n\r\n") {
            if !matches!(stream.read(&mut byte).await, Ok(1)) {
                return;
            }
            text.push(byte[0]);
        }
        let head = String::from_utf8(text).unwrap();
        let length = head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ").map(|n| n.parse::<usize>().unwrap()));
        let mut body = vec![0; length.unwrap_or(0)];
        stream.read_exact(&mut body).await.unwrap();
        let whole = head + &String::from_utf8(body).unwrap();
        let what = script(connection, request, &whole);
        seen.lock().unwrap().push(whole);
        request += 1;
        match what {
            Do::Answer(bytes) => stream.write_all(&bytes).await.unwrap(),
            Do::AnswerAndClose(bytes) => {
                stream.write_all(&bytes).await.unwrap();
                let _ = stream.shutdown().await;
                return;
            }
            Do::Close => return,
            Do::Nothing => std::future::pending().await,
        }
    }
}

async fn serve(script: impl Fn(usize, usize, &str) -> Do + Send + Sync + 'static) -> Server {
    serve_with(None, script).await
}

async fn serve_with(tls: Option<tokio_rustls::TlsAcceptor>, script: impl Fn(usize, usize, &str) -> Do + Send + Sync + 'static) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let script: Script = Arc::new(script);
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&seen);
    let task = tokio::spawn(async move {
        let mut connection = 0;
        while let Ok((stream, _)) = listener.accept().await {
            let (script, log, tls) = (Arc::clone(&script), Arc::clone(&log), tls.clone());
            tokio::spawn(async move {
                match tls {
                    None => talk(stream, connection, script, log).await,
                    Some(tls) => {
                        if let Ok(stream) = tls.accept(stream).await {
                            talk(stream, connection, script, log).await;
                        }
                    }
                }
            });
            connection += 1;
        }
    });
    Server { address, seen, _task: task }
}

impl Server {
    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }
}

fn ok(body: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\nETag: \"x\"\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

fn client() -> Client {
    Client::new(Settings::default()).unwrap()
}

fn get(url: &str) -> Request {
    Request::get(url).unwrap()
}

#[tokio::test]
async fn connections_are_kept_and_replaced_when_the_server_closed_them() {
    // Each connection answers two requests and closes at the third without a word.
    let server = serve(|connection, request, _| if request < 2 { Do::Answer(ok(&format!("{connection}.{request}"))) } else { Do::Close }).await;
    let client = client();
    let mut answers = Vec::new();
    for _ in 0..5 {
        let answer = client.send(get(&server.url("/p?q=1#f"))).await.unwrap();
        assert_eq!(answer.header(ETAG), Some("\"x\""));
        answers.push(answer.bytes(100).await.unwrap());
    }
    assert_eq!(answers, ["0.0", "0.1", "1.0", "1.1", "2.0"]);
    let first = &server.seen()[0];
    assert!(first.starts_with("GET /p?q=1 HTTP/1.1\r\n"), "{first}");
    assert!(first.contains(&format!("host: {}\r\n", server.address)) && first.contains("user-agent: burrow/"), "{first}");
}

#[tokio::test]
async fn a_post_is_not_sent_twice() {
    let server = serve(|_, request, _| if request == 0 { Do::Answer(ok("")) } else { Do::Close }).await;
    let client = client();
    let post = || Request::post(&server.url("/"), "text/plain", "body").unwrap();
    assert!(client.send(post()).await.unwrap().bytes(0).await.unwrap().is_empty());
    let error = client.send(post()).await.unwrap_err();
    assert!(matches!(error, Error::Broken { .. }) && error.is_transient(), "{error:?}");
    let seen = server.seen();
    assert_eq!(seen.len(), 2, "it was sent again: {seen:?}");
    assert!(seen[1].ends_with("\r\n\r\nbody") && seen[1].contains("content-type: text/plain\r\n"), "{}", seen[1]);
}

#[tokio::test]
async fn redirects_are_followed_and_credentials_stay() {
    let other = serve(|_, _, _| Do::Answer(ok("there"))).await;
    let to = other.url("/there");
    let server = serve(move |_, _, request| {
        let to = if request.starts_with("GET /a ") { "/b?x" } else { &to };
        Do::Answer(format!("HTTP/1.1 301 Moved\r\nLocation: {to}\r\nContent-Length: 3\r\n\r\nold").into_bytes())
    })
    .await;
    let request = get(&server.url("/a")).header(AUTHORIZATION, "Bearer t").unwrap().secret_header(HeaderName::from_static("private-token"), "s").unwrap();
    let answer = client().send(request.clone()).await.unwrap();
    assert_eq!(answer.url(), other.url("/there"));
    assert_eq!(answer.bytes(10).await.unwrap(), "there");
    assert!(server.seen()[1].contains("authorization: Bearer t") && server.seen()[1].contains("private-token: s"));
    let arrived = other.seen().pop().unwrap();
    assert!(!arrived.contains("Bearer") && !arrived.contains("private-token"), "{arrived}");
    // A caller that wants to see the redirect gets it.
    let answer = client().send(request.redirects(0)).await.unwrap();
    assert_eq!(answer.status(), 301);
    assert_eq!(answer.bytes(10).await.unwrap(), "old");
}

#[tokio::test]
async fn a_circle_of_redirects_ends() {
    let server = serve(|_, _, _| Do::Answer(b"HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Length: 0\r\n\r\n".to_vec())).await;
    let error = client().send(get(&server.url("/")).redirects(3)).await.unwrap_err();
    assert!(matches!(error, Error::TooManyRedirects { limit: 3, .. }), "{error:?}");
    assert_eq!(server.seen().len(), 4);
}

#[tokio::test]
async fn bodies_are_bounded_also_behind_compression() {
    let zeros = |n: usize| {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&vec![b'0'; n]).unwrap();
        let body = gzip.finish().unwrap();
        let mut answer = format!("HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {}\r\n\r\n", body.len()).into_bytes();
        answer.extend(body);
        answer
    };
    let server = serve(move |_, _, request| match request.split(' ').nth(1).unwrap() {
        "/bomb" => Do::Answer(zeros(1 << 20)),
        "/fits" => Do::Answer(zeros(1_000)),
        "/liar" => Do::Answer(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nnope".to_vec()),
        "/odd" => Do::Answer(b"HTTP/1.1 200 OK\r\nContent-Encoding: br\r\nContent-Length: 4\r\n\r\nnope".to_vec()),
        // No length, so only the reading can notice.
        _ => Do::AnswerAndClose([b"HTTP/1.0 200 OK\r\n\r\n".to_vec(), vec![b'x'; 2_000]].concat()),
    })
    .await;
    let fetch = async |path: &str| client().send(get(&server.url(path)).gzip()).await.unwrap().bytes(1_000).await;
    assert_eq!(fetch("/fits").await.unwrap(), vec![b'0'; 1_000]);
    assert!(matches!(fetch("/bomb").await, Err(Error::TooLarge { limit: 1_000, .. })));
    assert!(matches!(fetch("/long").await, Err(Error::TooLarge { limit: 1_000, .. })));
    assert!(matches!(fetch("/liar").await, Err(Error::BadEncoding { .. })));
    assert!(matches!(fetch("/odd").await, Err(Error::BadEncoding { .. })));
    assert!(server.seen()[0].contains("accept-encoding: gzip"));
    let text = client().send(get(&server.url("/bomb")).gzip()).await.unwrap().beginning(7).await;
    assert_eq!(text, "0000000");
}

#[tokio::test]
async fn a_body_that_ends_early_is_not_a_short_body() {
    let server = serve(|_, _, request| match request.split(' ').nth(1).unwrap() {
        "/length" => Do::AnswerAndClose(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf".to_vec()),
        _ => Do::AnswerAndClose(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n".to_vec()),
    })
    .await;
    for path in ["/length", "/chunked"] {
        let mut answer = client().send(get(&server.url(path))).await.unwrap();
        let mut got = Vec::new();
        let error = loop {
            match answer.chunk().await {
                Ok(Some(bytes)) => got.extend_from_slice(&bytes),
                Ok(None) => panic!("{path}: the body counts as complete"),
                Err(error) => break error,
            }
        };
        assert_eq!(got, b"half");
        assert!(matches!(error, Error::Broken { .. }), "{error:?}");
        assert!(matches!(answer.chunk().await, Ok(None)), "after the error there is nothing");
    }
}

// Paused time runs ahead as soon as everybody waits, so these are over at once.
#[tokio::test(start_paused = true)]
async fn silence_has_limits() {
    let server = serve(|_, _, request| match request.split(' ').nth(1).unwrap() {
        "/head" => Do::Nothing,
        _ => Do::Answer(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf".to_vec()),
    })
    .await;
    let error = client().send(get(&server.url("/head"))).await.unwrap_err();
    assert!(matches!(error, Error::Timeout { doing: "waiting for", limit, .. } if limit == Duration::from_secs(30)), "{error:?}");
    let error = client().send(get(&server.url("/head")).head_limit(Duration::from_secs(90))).await.unwrap_err();
    assert!(matches!(error, Error::Timeout { limit, .. } if limit == Duration::from_secs(90)) && error.is_transient(), "{error:?}");
    let error = client().send(get(&server.url("/body"))).await.unwrap().bytes(100).await.unwrap_err();
    assert!(matches!(error, Error::Timeout { doing: "reading", limit, .. } if limit == Duration::from_secs(60)), "{error:?}");
}

#[tokio::test]
async fn nobody_there_and_no_such_name_are_different() {
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let error = client().send(get(&format!("http://{free}/"))).await.unwrap_err();
    assert!(matches!(error, Error::Connect { .. }) && error.is_transient(), "{error:?}");
    let error = client().send(get("http://no-such-host.invalid/")).await.unwrap_err();
    assert!(matches!(&error, Error::NoSuchHost { host, .. } if host == "no-such-host.invalid"), "{error:?}");
}

#[tokio::test]
async fn tls_is_checked() {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let server = serve_with(Some(tokio_rustls::TlsAcceptor::from(Arc::new(config))), |_, _, _| Do::Answer(ok("safe"))).await;
    let port = server.address.rsplit(':').next().unwrap();
    let url = format!("https://localhost:{port}/");
    let trusting = Client::new(Settings { trust: Trust::Ca(made.cert.pem().into_bytes()), ..Settings::default() }).unwrap();
    assert_eq!(trusting.send(get(&url)).await.unwrap().bytes(10).await.unwrap(), "safe");
    // Another name, and another trust.
    let error = trusting.send(get(&format!("https://127.0.0.1:{port}/"))).await.unwrap_err();
    assert!(matches!(error, Error::Tls { .. }) && !error.is_transient(), "{error:?}");
    assert!(matches!(client().send(get(&url)).await, Err(Error::Tls { .. })));
    assert!(matches!(Client::new(Settings { trust: Trust::Ca(b"nothing".to_vec()), ..Settings::default() }), Err(Error::Trust(_))));
}

#[tokio::test]
async fn many_at_once_share_a_client() {
    let server = serve(|_, _, request| Do::Answer(ok(request.split(' ').nth(1).unwrap()))).await;
    let client = client();
    let tasks: Vec<_> = (0..50)
        .map(|n| {
            let (client, url) = (client.clone(), server.url(&format!("/{n}")));
            tokio::spawn(async move { client.send(Request::new(Method::PUT, &url).unwrap()).await.unwrap().bytes(10).await.unwrap() })
        })
        .collect();
    for (n, task) in tasks.into_iter().enumerate() {
        assert_eq!(task.await.unwrap(), format!("/{n}"));
    }
}
