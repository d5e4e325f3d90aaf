//! The request that a store gets, and what becomes of its answers.

use burrow_bench_runner::{UploadError, upload};
use burrow_http_client::{Client, Settings};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

/// Answers one request; gives back what it was.
async fn once(answer: &'static str) -> (String, tokio::task::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let served = tokio::spawn(async move {
        let (mut connection, _) = listener.accept().await.unwrap();
        let mut request = Vec::new();
        // The body ends with the last boundary.
        while !request.ends_with(b"--\r\n") {
            let mut piece = [0; 1024];
            let read = connection.read(&mut piece).await.unwrap();
            assert!(read > 0, "the request ended early");
            request.extend_from_slice(&piece[..read]);
        }
        connection.write_all(answer.as_bytes()).await.unwrap();
        String::from_utf8(request).unwrap()
    });
    (url, served)
}

const TEXT: &[u8] = b"side: a\n\nBenchmarkX 1 5 ns/op\n";

#[tokio::test]
async fn the_file_and_the_commit_are_one_request() {
    let body = r#"{"uploadid":"20261126.1","fileids":["20261126.1/0"],"viewurl":"https://perf.example/search?q=upload:20261126.1"}"#;
    let answer: &'static str = Box::leak(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_boxed_str());
    let (url, served) = once(answer).await;
    let seen = upload(&Client::new(Settings::default()).unwrap(), &format!("{url}/"), Some("secret"), "bench.txt", TEXT).await.unwrap();
    assert_eq!(seen, "https://perf.example/search?q=upload:20261126.1");
    let request = served.await.unwrap();
    assert!(request.starts_with("POST /upload HTTP/1.1\r\n"), "{request}");
    assert!(request.to_lowercase().contains("authorization: bearer secret\r\n"), "{request}");
    assert!(request.contains("filename=\"bench.txt\"\r\nContent-Type: application/octet-stream\r\n\r\nside: a\n\nBenchmarkX 1 5 ns/op\n\r\n--"), "{request}");
    assert!(request.contains("name=\"commit\"\r\n\r\n1\r\n--"), "{request}");
}

#[tokio::test]
async fn a_refusal_is_shown_as_the_store_said_it() {
    let (url, served) = once("HTTP/1.1 403 Forbidden\r\nContent-Length: 24\r\n\r\nthis token cannot upload").await;
    let error = upload(&Client::new(Settings::default()).unwrap(), &url, None, "x", TEXT).await.unwrap_err();
    assert_eq!(error.to_string(), format!("{url}/upload answered 403: this token cannot upload"));
    served.await.unwrap();
    let (url, served) = once("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello").await;
    let error = upload(&Client::new(Settings::default()).unwrap(), &url, None, "x", TEXT).await.unwrap_err();
    assert!(matches!(error, UploadError::NoStore { .. }), "{error}");
    served.await.unwrap();
}
