//! The endpoints of `docs/worker-protocol.md`.

use std::time::Duration;

use burrow_task::BoxFuture;
use bytes::Bytes;
use http::header::CONTENT_ENCODING;
use http::{HeaderValue, Method};
use protocol_buildlet::form::escape;
use protocol_buildlet::{ExecRequest, ExecStatus, OUTPUT_OFFSET_HEADER, PrepareReply, PrepareRequest, Status, TreeState, valid_execution_id};

use crate::body::{Body, Chunks};
use crate::connections::{Ask, Client, HEAD_LIMIT};
use crate::error::Error;

const JSON: &str = "application/json";

/// `/executions/<id>`, or a refusal before anything is sent.
fn execution_path(id: &str) -> Result<String, Error> {
    if valid_execution_id(id) { Ok(format!("/executions/{id}")) } else { Err(Error::Protocol(format!("{id:?} cannot name an execution"))) }
}

fn to_json<T: serde::Serialize>(value: &T) -> Result<Body, Error> {
    let text = serde_json::to_vec(value).map_err(|e| Error::Protocol(format!("the request cannot be written: {e}")))?;
    Ok(Bytes::from(text).into())
}

/// A request that the worker holds for `wait` at most.
fn held(ask: Ask, wait: Option<Duration>) -> Ask {
    match wait {
        None => ask,
        Some(wait) => {
            let mut ask = ask.within(wait.saturating_add(HEAD_LIMIT));
            ask.target.push_str(&format!("?wait_ms={}", wait.as_millis()));
            ask
        }
    }
}

impl Client {
    /// `GET /status`: version and, of a worker that speaks Burrow's protocol, its instance and features. Every buildlet answers it; limit 20 s.
    ///
    /// # Errors
    /// [`Error`]
    pub fn status(&self) -> BoxFuture<'_, Result<Status, Error>> {
        Box::pin(async move { self.status_within(HEAD_LIMIT).await })
    }

    /// [`Client::status`] with another limit.
    ///
    /// # Errors
    /// [`Error`]
    pub fn status_within(&self, limit: Duration) -> BoxFuture<'_, Result<Status, Error>> {
        Box::pin(async move { self.json(Ask::new("GET /status", Method::GET, "/status").within(limit), Body::empty()).await })
    }

    /// `POST /prepare`: ends what earlier builds left running, empties the work directory except for the named source trees, and verifies those.
    /// Takes as long as the removal takes.
    ///
    /// # Errors
    /// [`Error`]
    pub async fn prepare<S: AsRef<str>>(&self, keep: &[S]) -> Result<PrepareReply, Error> {
        let request = PrepareRequest { keep: keep.iter().map(|k| k.as_ref().to_owned()).collect() };
        let ask = Ask::new("POST /prepare", Method::POST, "/prepare").content_type(JSON).unlimited();
        self.json(ask, to_json(&request)?).await
    }

    /// `POST /tree`: turns the tree `base` in directory `dir` into `want` by a tar of what differs; without `base`, into an empty directory.
    /// `gzipped` says that the tar is compressed. Takes as long as the transfer takes: give it up when the pool reports the worker lost.
    ///
    /// # Errors
    /// [`Error::Refused`] with 409 when `dir` does not hold `base`.
    pub fn put_tree<'a>(&'a self, dir: &'a str, base: Option<&'a str>, want: &'a str, gzipped: bool, tar: Body) -> BoxFuture<'a, Result<TreeState, Error>> {
        Box::pin(async move {
            let target = format!("/tree?dir={}&base={}&want={}", escape(dir), escape(base.unwrap_or_default()), escape(want));
            let mut ask = Ask::new("POST /tree", Method::POST, target).content_type("application/x-tar").once().unlimited();
            if gzipped {
                ask.headers.push((CONTENT_ENCODING, HeaderValue::from_static("gzip")));
            }
            self.json(ask, tar).await
        })
    }

    /// `PUT /executions/{id}`: starts it, or finds it if it was started before. With `wait` the answer is held until it ends or `wait` has passed.
    ///
    /// # Errors
    /// [`Error::Refused`] with 409 when the id is taken by another request, 400 when the worker cannot do what is asked.
    pub fn start_execution<'a>(&'a self, id: &'a str, request: &'a ExecRequest, wait: Option<Duration>) -> BoxFuture<'a, Result<ExecStatus, Error>> {
        Box::pin(async move {
            let ask = Ask::new("PUT /executions", Method::PUT, execution_path(id)?).content_type(JSON);
            self.json(held(ask, wait), to_json(request)?).await
        })
    }

    /// `GET /executions/{id}`: its state, at once, or when it ends or `wait` has passed.
    ///
    /// # Errors
    /// [`Error::Refused`] with 404 when there is none.
    pub fn execution<'a>(&'a self, id: &'a str, wait: Option<Duration>) -> BoxFuture<'a, Result<ExecStatus, Error>> {
        Box::pin(async move {
            let ask = Ask::new("GET /executions", Method::GET, execution_path(id)?);
            self.json(held(ask, wait), Body::empty()).await
        })
    }

    /// `GET /executions`: all of them, ended ones included until they are purged.
    ///
    /// # Errors
    /// [`Error`]
    pub fn executions(&self) -> BoxFuture<'_, Result<Vec<ExecStatus>, Error>> {
        Box::pin(async move { self.json(Ask::new("GET /executions", Method::GET, "/executions"), Body::empty()).await })
    }

    /// `GET /executions/{id}/output`: its output from byte `offset` on; with `follow` until it has ended and everything was sent.
    ///
    /// # Errors
    /// [`Error::Refused`] with 404 when there is none, 416 when `offset` is past the end.
    pub fn output<'a>(&'a self, id: &'a str, offset: u64, follow: bool) -> BoxFuture<'a, Result<Chunks, Error>> {
        Box::pin(async move {
            let mut target = format!("{}/output?offset={offset}", execution_path(id)?);
            if follow {
                target.push_str("&follow=1");
            }
            let (head, chunks) = self.ask(Ask::new("GET output", Method::GET, target), Body::empty()).await?;
            // A worker that starts elsewhere than asked would silently damage the log.
            let begins = head.headers().get(OUTPUT_OFFSET_HEADER).and_then(|v| v.to_str().ok()).and_then(|v| v.parse::<u64>().ok());
            if begins != Some(offset) {
                return Err(Error::Protocol(format!("output was asked for from byte {offset}, but begins at {begins:?}")));
            }
            Ok(chunks)
        })
    }

    /// `DELETE /executions/{id}`: kills its whole process tree if it runs; with `purge` forgets its record and output as well.
    ///
    /// # Errors
    /// [`Error::Refused`] with 404 when there is none.
    pub fn kill<'a>(&'a self, id: &'a str, purge: bool) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            let mut target = execution_path(id)?;
            if purge {
                target.push_str("?purge=1");
            }
            self.whole(Ask::new("DELETE /executions", Method::DELETE, target), Body::empty(), 1 << 20).await.map(drop)
        })
    }
}
