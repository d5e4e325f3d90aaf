//! Each kind of reply, as a client sees it.

use burrow_http_client::{Client, Error, Request, Settings};
use bytes::Bytes;
use testkit_server::{Reply, Server};

#[tokio::test]
async fn every_reply_is_what_it_says() {
    let server = Server::start(|request| {
        Box::pin(async move {
            match request.uri().path() {
                "/answer" => Reply::text(418, request.into_body()),
                "/stream" => Reply::Stream(http::Response::new(Box::pin(futures_util::stream::iter(["a", "b"].map(|text| Ok(Bytes::from(text))))))),
                "/cut" => Reply::Cut(http::Response::new(Bytes::from_static(b"whole")), 2),
                "/close" => Reply::Close,
                _ => Reply::Hang,
            }
        })
    })
    .await;
    let client = Client::new(Settings::default()).unwrap();
    let answer = client.send(Request::post(&server.url("/answer"), "text/plain", "teapot").unwrap()).await.unwrap();
    assert_eq!(answer.status(), 418);
    assert_eq!(answer.bytes(10).await.unwrap(), "teapot");
    let get = |path: &str| client.send(Request::get(&server.url(path)).unwrap());
    assert_eq!(get("/stream").await.unwrap().bytes(10).await.unwrap(), "ab");
    let mut cut = get("/cut").await.unwrap();
    assert_eq!((cut.length(), cut.chunk().await.unwrap()), (Some(5), Some(Bytes::from("wh"))));
    assert!(matches!(cut.chunk().await, Err(Error::Broken { .. })));
    assert!(matches!(get("/close").await, Err(Error::Broken { .. })));
    let url = server.url("/answer");
    drop(server);
    tokio::task::yield_now().await;
    assert!(client.send(Request::get(&url).unwrap()).await.is_err(), "gone with its connections");
}

// Paused time runs ahead as soon as everybody waits.
#[tokio::test(start_paused = true)]
async fn a_server_that_hangs_says_nothing() {
    let server = Server::start(|_| Box::pin(async { Reply::Hang })).await;
    let client = Client::new(Settings::default()).unwrap();
    let error = client.send(Request::get(&server.url("/")).unwrap()).await.unwrap_err();
    assert!(matches!(error, Error::Timeout { doing: "waiting for", .. }), "{error:?}");
}
