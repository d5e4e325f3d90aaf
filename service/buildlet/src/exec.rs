//! `POST /exec`: the classic way to run a command. Its output is the answer's body, its fate the trailer, and its life the connection's.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use http_body::Frame;
use hyper::header::{HeaderMap, HeaderValue, TRAILER};
use hyper::{StatusCode, Version};
use protocol_buildlet::StoppedBy;
use protocol_buildlet::form::{ExecForm, Fields};
use tokio::sync::mpsc;

use crate::command;
use crate::platform::{self, Child, SpawnSpec};
use crate::reply::{Reply, ReplyBody, error, stream};
use crate::supervise::{Outcome, Sink, Stopper, TimeLimits, supervise};
use crate::worker::Worker;

/// The most that one piece of output holds.
const PIECE: usize = 32 * 1024;

/// Pieces on their way to a client that reads slowly; then the command waits.
const PIECES: usize = 16;

/// Answers an `/exec` request whose forms have been read.
pub(crate) fn exec(worker: &Arc<Worker>, version: Version, body: &Fields, query: &Fields) -> Reply {
    let mut reply = match start(worker, version, body, query) {
        Ok(body) => stream("text/plain; charset=utf-8", body),
        Err(reply) => *reply,
    };
    reply.headers_mut().insert(TRAILER, HeaderValue::from_static(protocol_buildlet::PROCESS_STATE_TRAILER));
    reply
}

fn start(worker: &Arc<Worker>, version: Version, body: &Fields, query: &Fields) -> Result<ReplyBody, Box<Reply>> {
    let bad = |status: StatusCode, text: &dyn std::fmt::Display| Box::new(error(status, text));
    if version < Version::HTTP_11 {
        // Without chunks there is no trailer.
        return Err(bad(StatusCode::BAD_REQUEST, &"HTTP/1.1 or higher required"));
    }
    worker.work.ready().map_err(|e| bad(StatusCode::INTERNAL_SERVER_ERROR, &e))?;
    let form = ExecForm::from_fields(body, query);
    let (mut spec, debug) = command::classic(&form, &worker.base, &worker.work, worker.bootstrap())
        .map_err(|e| bad(StatusCode::from_u16(e.status()).unwrap_or(StatusCode::BAD_REQUEST), &e))?;
    // Go's own builders ask for a cut network by a variable; the reference's firewall stays on for the life of the machine, a namespace for one
    // command. It fails closed.
    spec.cut_network = platform::CAN_CUT_NETWORK
        && form.env.iter().rev().find_map(|e| e.strip_prefix("GO_DISABLE_OUTBOUND_NETWORK=")).and_then(protocol_buildlet::parse_bool) == Some(true);
    spec.cookie = worker.cookie(&worker.next_exec_name());
    let (sender, pieces) = mpsc::channel(PIECES);
    let stopper = Stopper::default();
    let gone = stopper.clone();
    let worker = Arc::clone(worker);
    let start = move || {
        let spawned = std::thread::Builder::new().name("exec".to_owned()).spawn(move || run(&worker, &spec, debug, &sender, &stopper));
        if let Err(e) = spawned {
            // The sender is gone with the closure: the body ends without a trailer, which clients take for a broken worker.
            tracing::error!(error = %e, "The worker cannot start a thread for a command.");
        }
    };
    Ok(ReplyBody::deferred(pieces, start, move || gone.stop(StoppedBy::Killed)))
}

fn run(worker: &Worker, spec: &SpawnSpec, debug: Option<String>, sender: &mpsc::Sender<io::Result<Frame<Bytes>>>, stopper: &Stopper) {
    let _busy = worker.activity.begin();
    if let Some(line) = debug {
        let _ = sender.blocking_send(Ok(Frame::data(line.into())));
    }
    let state = match platform::spawn(spec) {
        Ok(child) => {
            let ticket = worker.classic.add(stopper.clone());
            let mut sink = ToClient { sender, buffer: vec![0; PIECE] };
            let (Outcome { exit, stopped_by }, tree) = supervise(child, &mut sink, stopper, TimeLimits::default());
            if stopped_by.is_some() {
                tree.kill();
            }
            worker.classic.finish(ticket, tree);
            exit.map_or_else(|| "the command did not end though it was killed".to_owned(), |e| e.state.to_string())
        }
        Err(e) => e.to_string(),
    };
    let value = HeaderValue::from_str(&state).unwrap_or_else(|_| HeaderValue::from_static("the command could not be started"));
    let mut trailers = HeaderMap::new();
    trailers.insert(protocol_buildlet::PROCESS_STATE_TRAILER.to_ascii_lowercase().parse::<hyper::header::HeaderName>().unwrap_or(TRAILER), value);
    let _ = sender.blocking_send(Ok(Frame::trailers(trailers)));
}

struct ToClient<'a> {
    sender: &'a mpsc::Sender<io::Result<Frame<Bytes>>>,
    buffer: Vec<u8>,
}

impl Sink for ToClient<'_> {
    fn take(&mut self, child: &mut Child) -> io::Result<bool> {
        let n = child.read(&mut self.buffer)?;
        let piece = Bytes::copy_from_slice(self.buffer.get(..n).unwrap_or_default());
        if piece.is_empty() {
            return Ok(true);
        }
        Ok(self.sender.blocking_send(Ok(Frame::data(piece))).is_ok())
    }
}
