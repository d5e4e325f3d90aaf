//! The endpoints of docs/worker-protocol.md: executions, trees, preparing.

use std::io::{self, Read as _, Seek as _};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body::Frame;
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use hyper::header::{CONTENT_ENCODING, HeaderMap, HeaderValue};
use hyper::{Method, StatusCode};
use protocol_buildlet::form::Fields;
use protocol_buildlet::{ExecRequest, ExecState, OUTPUT_OFFSET_HEADER, PrepareReply, PrepareRequest, parse_bool, valid_execution_id};
use tokio::sync::mpsc;

use crate::command;
use crate::executions::{Execution, Put};
use crate::incoming::BodyReader;
use crate::reply::{Reply, ReplyBody, json, json_error, stream};
use crate::tree::TreeError;
use crate::worker::Worker;

/// Largest JSON request, bytes.
const MAX_JSON: usize = 4 << 20;

/// What one read of the spool takes.
const READ: usize = 256 * 1024;

/// `/executions…`.
pub(crate) async fn executions(worker: &Arc<Worker>, method: &Method, rest: &str, query: &Fields, body: Incoming) -> Reply {
    if rest.is_empty() {
        return match *method {
            Method::GET => json(StatusCode::OK, &worker.executions.list()),
            _ => json_error(StatusCode::METHOD_NOT_ALLOWED, "use GET on /executions, or PUT on /executions/{id}"),
        };
    }
    let (id, part) = rest.split_once('/').unwrap_or((rest, ""));
    if !valid_execution_id(id) {
        return json_error(StatusCode::BAD_REQUEST, "an execution's id has 1 to 100 of the characters A–Z a–z 0–9 . _ - and does not start with a dot");
    }
    let wait = Duration::from_millis(query.get("wait_ms").and_then(|w| w.parse().ok()).unwrap_or(0));
    if part == "output" && *method == Method::GET {
        return match worker.executions.get(id) {
            Some(execution) => output(execution, query),
            None => unknown(id),
        };
    }
    if !part.is_empty() {
        return json_error(StatusCode::NOT_FOUND, "an execution has only the part `output`, which is read with GET");
    }
    match *method {
        Method::PUT => put(worker, id, wait, body).await,
        Method::GET => match worker.executions.get(id) {
            Some(execution) => json(StatusCode::OK, &execution.wait(wait).await),
            None => unknown(id),
        },
        Method::DELETE => match worker.executions.get(id) {
            Some(execution) => delete(worker, id, &execution, query).await,
            None => unknown(id),
        },
        _ => json_error(StatusCode::METHOD_NOT_ALLOWED, "use PUT, GET or DELETE on an execution"),
    }
}

fn unknown(id: &str) -> Reply {
    json_error(StatusCode::NOT_FOUND, format!("there is no execution {id}; it was purged or never started here"))
}

async fn read_json<T: serde::de::DeserializeOwned>(body: Incoming) -> Result<T, Box<Reply>> {
    let bad = |e: &dyn std::fmt::Display| Box::new(json_error(StatusCode::BAD_REQUEST, format!("the request's JSON cannot be read: {e}")));
    let bytes = Limited::new(body, MAX_JSON).collect().await.map_err(|e| bad(&e))?.to_bytes();
    serde_json::from_slice(&bytes).map_err(|e| bad(&e))
}

async fn put(worker: &Arc<Worker>, id: &str, wait: Duration, body: Incoming) -> Reply {
    let request: ExecRequest = match read_json(body).await {
        Ok(request) => request,
        Err(reply) => return *reply,
    };
    if request.cmd.is_empty() || [&request.args, &request.env, &request.path].iter().any(|l| l.iter().any(|v| v.contains('\0'))) {
        return json_error(StatusCode::BAD_REQUEST, "`cmd` must not be empty, and no value may contain a NUL byte");
    }
    if !request.dir.is_empty()
        && let Err(e) = worker.work.check(&request.dir)
    {
        return json_error(StatusCode::BAD_REQUEST, format!("`dir` is refused: {e}"));
    }
    let prepare = |request: &ExecRequest| {
        worker.work.ready().map_err(|e| e.to_string())?;
        let mut spec = command::execution(request, &worker.base, &worker.work).map_err(|e| e.to_string())?;
        spec.cookie = worker.cookie(id);
        Ok(spec)
    };
    // Forking takes a fraction of a millisecond; other connections are served by other threads meanwhile.
    let put = tokio::task::block_in_place(|| worker.executions.put(id, request, prepare));
    let (status, execution) = match put {
        Ok(Put::Started(execution)) => (StatusCode::CREATED, execution),
        Ok(Put::AlreadyThere(execution)) => (StatusCode::OK, execution),
        Ok(Put::OtherRequest) => return json_error(StatusCode::CONFLICT, format!("execution {id} was started with another request; choose a new id")),
        Err(e) => return json_error(StatusCode::INTERNAL_SERVER_ERROR, format!("the worker cannot keep the execution's record: {e}")),
    };
    json(status, &execution.wait(wait).await)
}

async fn delete(worker: &Arc<Worker>, id: &str, execution: &Arc<Execution>, query: &Fields) -> Reply {
    let killed = Arc::clone(execution);
    // Looking for left-behind processes may read all of /proc.
    let _ = burrow_task::spawn_blocking(move || killed.kill()).await;
    let status = execution.wait(Duration::from_secs(15)).await;
    if query.get("purge").and_then(parse_bool) == Some(true) {
        if status.state == ExecState::Running {
            return json_error(StatusCode::INTERNAL_SERVER_ERROR, "the execution does not end though it was killed, so its record stays");
        }
        let (worker, id) = (Arc::clone(worker), id.to_owned());
        match burrow_task::spawn_blocking(move || worker.executions.purge(&id)).await {
            Ok(Ok(())) => {}
            Ok(Err(e)) => return json_error(StatusCode::INTERNAL_SERVER_ERROR, format!("the record could not be removed: {e}")),
            Err(e) => return json_error(StatusCode::INTERNAL_SERVER_ERROR, e),
        }
    }
    json(StatusCode::OK, &status)
}

fn output(execution: Arc<Execution>, query: &Fields) -> Reply {
    let offset: u64 = match query.get("offset").unwrap_or("0").parse() {
        Ok(offset) => offset,
        Err(_) => return json_error(StatusCode::BAD_REQUEST, "`offset` must be a number of bytes"),
    };
    let follow = query.get("follow").and_then(parse_bool) == Some(true);
    let have = execution.status().output_bytes;
    if offset > have {
        return json_error(StatusCode::RANGE_NOT_SATISFIABLE, format!("the output has {have} bytes so far; offset {offset} is past its end"));
    }
    let mut file = match execution.open_spool() {
        Ok(file) => file,
        Err(e) => return json_error(StatusCode::INTERNAL_SERVER_ERROR, format!("the spool cannot be read: {e}")),
    };
    let (sender, pieces) = mpsc::channel::<io::Result<Frame<Bytes>>>(4);
    burrow_task::spawn(async move {
        let mut news = execution.subscribe();
        let mut at = offset;
        let mut end = have;
        if let Err(e) = file.seek(io::SeekFrom::Start(offset)) {
            let _ = sender.send(Err(e)).await;
            return;
        }
        loop {
            while at < end {
                let want = usize::try_from(end - at).unwrap_or(READ).min(READ);
                // From the page cache this takes microseconds; from a slow disk the other threads go on.
                let read = tokio::task::block_in_place(|| {
                    let mut buffer = Vec::with_capacity(want);
                    (&mut file).take(want as u64).read_to_end(&mut buffer).map(|_| buffer)
                });
                let piece = match read {
                    Ok(piece) if piece.is_empty() => return,
                    Ok(piece) => Ok(piece),
                    Err(e) => Err(e),
                };
                let (failed, n) = (piece.is_err(), piece.as_ref().map_or(0, Vec::len));
                at += n as u64;
                if sender.send(piece.map(|p| Frame::data(p.into()))).await.is_err() || failed {
                    return;
                }
            }
            if !follow {
                return;
            }
            let over = {
                // Marked as seen before the look, so that news in between is not missed.
                let status = news.borrow_and_update();
                end = status.output_bytes;
                status.state == ExecState::Exited
            };
            if at >= end {
                if over {
                    return;
                }
                tokio::select! {
                    changed = news.changed() => if changed.is_err() { return },
                    () = sender.closed() => return,
                }
            }
        }
    });
    let mut reply = stream("application/octet-stream", ReplyBody::pieces(pieces));
    reply.headers_mut().insert(OUTPUT_OFFSET_HEADER, HeaderValue::from(offset));
    reply
}

/// `POST /prepare`.
pub(crate) async fn prepare(worker: &Arc<Worker>, body: Incoming) -> Reply {
    let request: PrepareRequest = match read_json(body).await {
        Ok(request) => request,
        Err(reply) => return *reply,
    };
    for name in &request.keep {
        if let Err(e) = worker.work.check(name) {
            return json_error(StatusCode::BAD_REQUEST, format!("the tree {name:?} cannot be kept: {e}"));
        }
    }
    let worker = Arc::clone(worker);
    let _one_at_a_time = worker.trees.exclusive().await;
    for execution in worker.executions.running() {
        execution.kill();
    }
    let shared = Arc::clone(&worker);
    let done = burrow_task::spawn_blocking(move || -> io::Result<PrepareReply> {
        shared.kill_everything();
        shared.work.clear_except(&request.keep)?;
        shared.trees.forget_except(&request.keep)?;
        shared.work.reset_scratch()?;
        let mut reply = PrepareReply::default();
        for name in request.keep {
            let state = shared.trees.verify(&name)?;
            reply.trees.insert(name, state);
        }
        Ok(reply)
    })
    .await;
    // Their supervisors write the exit records.
    for execution in worker.executions.running() {
        execution.wait(Duration::from_secs(15)).await;
    }
    match done {
        Ok(Ok(reply)) => json(StatusCode::OK, &reply),
        Ok(Err(e)) => json_error(StatusCode::INTERNAL_SERVER_ERROR, format!("the work directory could not be prepared: {e}")),
        Err(e) => json_error(StatusCode::INTERNAL_SERVER_ERROR, e),
    }
}

/// `POST /tree`.
pub(crate) async fn tree(worker: &Arc<Worker>, query: &Fields, headers: &HeaderMap, body: Incoming) -> Reply {
    let dir = query.get("dir").unwrap_or("").to_owned();
    if let Err(e) = worker.work.check(&dir) {
        return json_error(StatusCode::BAD_REQUEST, format!("`dir` is refused: {e}"));
    }
    let base = query.get("base").unwrap_or("").to_owned();
    let Some(want) = query.get("want").filter(|w| !w.is_empty() && w.len() <= 1000).map(str::to_owned) else {
        return json_error(StatusCode::BAD_REQUEST, "`want` must name the tree that the directory will hold (1 to 1000 bytes)");
    };
    let gzip = match headers.get(CONTENT_ENCODING).map(HeaderValue::as_bytes) {
        None | Some(b"" | b"identity") => false,
        Some(b"gzip") => true,
        Some(_) => return json_error(StatusCode::UNSUPPORTED_MEDIA_TYPE, "`Content-Encoding` must be gzip or absent"),
    };
    let _one_at_a_time = worker.trees.exclusive().await;
    let reader = BodyReader::new(body);
    let shared = Arc::clone(worker);
    let applied = burrow_task::spawn_blocking(move || {
        let reader = io::BufReader::with_capacity(64 * 1024, reader);
        if gzip {
            shared.trees.apply(&dir, &base, &want, &mut flate2::bufread::MultiGzDecoder::new(reader))
        } else {
            let mut reader = reader;
            shared.trees.apply(&dir, &base, &want, &mut reader)
        }
    })
    .await;
    match applied {
        Ok(Ok(state)) => json(StatusCode::OK, &state),
        Ok(Err(e)) => {
            let status = match &e {
                TreeError::OtherBase { .. } => StatusCode::CONFLICT,
                TreeError::Refused(_) => StatusCode::BAD_REQUEST,
                TreeError::Io(_) => StatusCode::INTERNAL_SERVER_ERROR,
            };
            json_error(status, e)
        }
        Err(e) => json_error(StatusCode::INTERNAL_SERVER_ERROR, e),
    }
}
