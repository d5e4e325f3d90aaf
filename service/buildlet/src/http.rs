//! The router: which handler answers which request, and who may ask.

use std::convert::Infallible;
use std::sync::Arc;

use burrow_revdial::BoxStream;
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap};
use hyper::service::service_fn;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use protocol_buildlet::form::{Fields, MAX_FORM};
use protocol_buildlet::{BURROW_PROTOCOL, BurrowStatus, Status, VERSION};
use subtle::ConstantTimeEq as _;
use tokio_util::sync::CancellationToken;

use crate::config::Secret;
use crate::httpio::{HttpIo, InFlight};
use crate::reply::{Reply, error, json, json_error, reply, text};
use crate::worker::Worker;
use crate::{exec, files, modern, platform};

/// Serves one connection to its end. Ends early, between two requests, when `shutdown` comes.
pub(crate) async fn serve_connection(worker: Arc<Worker>, password: Option<Arc<Secret>>, stream: BoxStream, shutdown: CancellationToken) {
    let (io, gate) = HttpIo::new(stream);
    let service = service_fn(|request: Request<Incoming>| {
        let (worker, password, gate) = (Arc::clone(&worker), password.clone(), Arc::clone(&gate));
        async move {
            let in_flight = InFlight::new(&gate);
            let busy = worker.activity.begin();
            let mut reply = route(&worker, password.as_deref(), request).await;
            reply.body_mut().hold(in_flight, busy);
            Ok::<_, Infallible>(reply)
        }
    });
    // Without a date, so that the 101 of `/connect-ssh` has exactly the lines its clients know.
    let connection =
        hyper::server::conn::http1::Builder::new().title_case_headers(true).auto_date_header(false).serve_connection(TokioIo::new(io), service).with_upgrades();
    tokio::pin!(connection);
    let result = tokio::select! {
        result = connection.as_mut() => result,
        () = shutdown.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(e) = result {
        // Clients may go at any time; whoever needs the reason asks for it.
        tracing::debug!(error = %e, "A connection ended early.");
    }
}

async fn route(worker: &Arc<Worker>, password: Option<&Secret>, request: Request<Incoming>) -> Reply {
    let (head, body) = {
        let mut request = request;
        let upgrade = hyper::upgrade::on(&mut request);
        let (head, body) = request.into_parts();
        ((head, upgrade), body)
    };
    let (head, upgrade) = head;
    let query = Fields::parse(head.uri.query().unwrap_or("").as_bytes());
    let method = &head.method;
    match head.uri.path() {
        "/" => return text(format!("buildlet running on {}-{}\n", platform::goos(), platform::goarch())),
        "/healthz" => return text("ok\n"),
        "/debug/x" if worker.debug => {
            let n = query.get("n").and_then(|n| n.parse::<usize>().ok()).unwrap_or(0).min(1 << 20);
            return text(vec![b'X'; n]);
        }
        _ => {}
    }
    if let Some(password) = password
        && !authorized(&head.headers, password)
    {
        return error(StatusCode::FORBIDDEN, "invalid password");
    }
    // A client that asks again must not reach a worker that was started anew: what it asks for was meant for the other one.
    let meant = head.headers.get(protocol_buildlet::INSTANCE_HEADER);
    if meant.is_some_and(|instance| instance.as_bytes() != worker.instance.as_bytes()) {
        // A connection that is closed on bytes nobody read may take the answer with it. A long body is not waited for: whoever sends one gets to know either way.
        let _ = Limited::new(body, MAX_FORM).collect().await;
        return json_error(StatusCode::PRECONDITION_FAILED, "the worker was started anew; ask GET /status for its instance");
    }
    let wrong = |needed: &str| error(StatusCode::BAD_REQUEST, format!("requires {needed} method"));
    match head.uri.path() {
        "/status" if *method == Method::GET => {
            let burrow = BurrowStatus {
                protocol: BURROW_PROTOCOL,
                instance: worker.instance.clone(),
                features: ["executions", "trees", "prepare"].map(str::to_owned).to_vec(),
                slots: 1,
            };
            json(StatusCode::OK, &Status { version: VERSION, burrow: Some(burrow) })
        }
        "/workdir" if *method == Method::GET => text(worker.work.path().display().to_string()),
        "/status" | "/workdir" => wrong("GET"),
        "/write" if *method == Method::PUT => files::write(worker, &query, body).await,
        "/write" => wrong("POST"),
        "/writetgz" if *method == Method::PUT => files::write_tgz(worker, &query, body).await,
        "/writetgz" if *method == Method::POST => match form(&head.headers, body).await {
            Ok(form) => files::write_tgz_from_url(worker, &query, &form).await,
            Err(reply) => *reply,
        },
        "/writetgz" => wrong("PUT or POST"),
        "/tgz" if *method == Method::GET => files::tgz(worker, &query).await,
        "/ls" if *method == Method::GET => files::ls(worker, &query).await,
        "/tgz" | "/ls" => wrong("GET"),
        "/removeall" if *method == Method::POST => match form(&head.headers, body).await {
            Ok(form) => files::remove_all(worker, &query, &form).await,
            Err(reply) => *reply,
        },
        "/exec" if *method == Method::POST => match form(&head.headers, body).await {
            Ok(form) => exec::exec(worker, head.version, &form, &query),
            Err(reply) => *reply,
        },
        "/halt" if *method == Method::POST => {
            worker.halt.order(Arc::clone(worker));
            text("")
        }
        "/connect-ssh" if *method == Method::POST => worker.ssh.connect(&head.headers, upgrade).await,
        "/removeall" | "/exec" | "/halt" | "/connect-ssh" => wrong("POST"),
        "/debug/goroutines" if worker.debug => text(platform::threads()),
        "/prepare" if *method == Method::POST => modern::prepare(worker, body).await,
        "/tree" if *method == Method::POST => modern::tree(worker, &query, &head.headers, body).await,
        "/prepare" | "/tree" => json_error(StatusCode::METHOD_NOT_ALLOWED, "use POST here"),
        path => match path.strip_prefix("/executions") {
            Some("") => modern::executions(worker, method, "", &query, body).await,
            Some(rest) if rest.starts_with('/') => modern::executions(worker, method, rest.trim_start_matches('/'), &query, body).await,
            _ => reply(StatusCode::NOT_FOUND, "text/plain; charset=utf-8", "404 page not found\n"),
        },
    }
}

/// Basic authentication where only the password counts (spec buildlet.md §3.1).
fn authorized(headers: &HeaderMap, password: &Secret) -> bool {
    use base64::Engine as _;
    let given = headers
        .get(AUTHORIZATION)
        .and_then(|v| v.to_str().ok())
        .and_then(|v| v.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("basic"))
        .and_then(|(_, value)| base64::engine::general_purpose::STANDARD.decode(value.trim()).ok());
    let Some(given) = given else { return false };
    let at = given.iter().position(|&b| b == b':').map_or(given.len(), |at| at + 1);
    given.get(at..).unwrap_or_default().ct_eq(password.expose().as_bytes()).into()
}

/// Reads a form body. As in Go, a body of another type counts as no form; it is read all the same, so that the client can go on.
async fn form(headers: &HeaderMap, body: Incoming) -> Result<Fields, Box<Reply>> {
    let bytes =
        Limited::new(body, MAX_FORM).collect().await.map_err(|e| Box::new(error(StatusCode::BAD_REQUEST, format!("the form cannot be read: {e}"))))?.to_bytes();
    let form = headers
        .get(CONTENT_TYPE)
        .and_then(|v| v.to_str().ok())
        .is_some_and(|v| v.split(';').next().is_some_and(|t| t.trim().eq_ignore_ascii_case("application/x-www-form-urlencoded")));
    Ok(if form { Fields::parse(&bytes) } else { Fields::default() })
}
