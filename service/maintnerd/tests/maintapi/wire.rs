//! gRPC by hand: a message behind five bytes, a status behind it.
#![allow(dead_code, reason = "every test program uses a part of it")]

use axum::body::Body;
use axum::http::{HeaderMap, Method, Request, Response, StatusCode, Version};
use burrow_maintnerd::grpc::Service;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::{TokioExecutor, TokioIo};
use percent_encoding::percent_decode_str;
use prost::Message;
use tokio::net::TcpStream;

/// Codes of gRPC that occur here.
pub(crate) mod code {
    pub(crate) const OK: i32 = 0;
    pub(crate) const UNKNOWN: i32 = 2;
    pub(crate) const INVALID_ARGUMENT: i32 = 3;
    pub(crate) const NOT_FOUND: i32 = 5;
    pub(crate) const FAILED_PRECONDITION: i32 = 9;
    pub(crate) const UNIMPLEMENTED: i32 = 12;
    pub(crate) const INTERNAL: i32 = 13;
    pub(crate) const UNAUTHENTICATED: i32 = 16;
}

/// What came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) http: StatusCode,
    /// Of gRPC; -1 if there is none.
    pub(crate) code: i32,
    pub(crate) message: String,
    /// The encoded message, or the plain body if this is not gRPC.
    pub(crate) bytes: Vec<u8>,
}

impl Answer {
    /// The message, of an answer that must be a good one.
    pub(crate) fn decode<M: Message + Default>(&self) -> M {
        assert_eq!((self.http, self.code), (StatusCode::OK, code::OK), "{}", self.message);
        M::decode(self.bytes.as_slice()).unwrap()
    }
}

pub(crate) fn framed(payload: &[u8]) -> Vec<u8> {
    [&[0], u32::try_from(payload.len()).unwrap().to_be_bytes().as_slice(), payload].concat()
}

pub(crate) fn request(path: &str, body: Vec<u8>) -> Request<Full<Bytes>> {
    let request = Request::builder().method(Method::POST).version(Version::HTTP_2).uri(format!("http://127.0.0.1{path}"));
    request.header("content-type", "application/grpc").header("te", "trailers").body(Full::from(body)).unwrap()
}

pub(crate) async fn read<B>(answer: Response<B>) -> Answer
where
    B: http_body::Body<Data = Bytes> + Unpin,
    B::Error: std::fmt::Debug,
{
    let (head, body) = answer.into_parts();
    let collected = body.collect().await.unwrap();
    let trailers = collected.trailers().cloned().unwrap_or_default();
    let value = |name: &str| {
        let of = |headers: &HeaderMap| headers.get(name).map(|value| value.to_str().unwrap().to_owned());
        of(&trailers).or_else(|| of(&head.headers))
    };
    let body = collected.to_bytes();
    let bytes = match (value("grpc-status"), body.as_ref()) {
        (Some(_), [0, a, b, c, d, message @ ..]) => {
            assert_eq!(u32::from_be_bytes([*a, *b, *c, *d]) as usize, message.len(), "one message");
            message.to_vec()
        }
        (_, body) => body.to_vec(),
    };
    Answer {
        http: head.status,
        code: value("grpc-status").map_or(-1, |code| code.parse().unwrap()),
        message: percent_decode_str(&value("grpc-message").unwrap_or_default()).decode_utf8().unwrap().into_owned(),
        bytes,
    }
}

/// Asks without a socket.
pub(crate) async fn ask(service: &Service, path: &str, message: &impl Message) -> Answer {
    let request = request(path, framed(&message.encode_to_vec())).map(Body::new);
    match tower::ServiceExt::oneshot(service.clone(), request).await {
        Ok(answer) => read(answer).await,
        Err(never) => match never {},
    }
}

/// A client on a socket.
pub(crate) struct Client {
    sender: SendRequest<Full<Bytes>>,
}

impl Client {
    pub(crate) async fn connect(address: &str) -> Client {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let (sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        Client { sender }
    }

    pub(crate) async fn send(&mut self, request: Request<Full<Bytes>>) -> Answer {
        self.sender.ready().await.unwrap();
        read(self.sender.send_request(request).await.unwrap()).await
    }

    pub(crate) async fn ask(&mut self, path: &str, message: &impl Message) -> Answer {
        self.send(request(path, framed(&message.encode_to_vec()))).await
    }
}
