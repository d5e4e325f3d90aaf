//! Reverse mode: the worker dials its coordinator, registers, and is asked over connections it opens itself
//! (spec buildlet.md §6; docs/worker-protocol.md, Reverse mode).

use std::io::{self, Write as _};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use burrow_revdial::{Connect, Coordinator, Enrolled, RegisterError, Registration, Trust, register};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::HOST;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::Secret;
use crate::http::serve_connection;
use crate::platform;
use crate::reply::{error, text};
use crate::run::RunError;
use crate::worker::{Worker, hex};

/// First and longest pause between two tries to reach the coordinator.
const PAUSES: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(15));

/// A session that lived so long was a good one: the next loss starts from the first pause again.
const GOOD_SESSION: Duration = Duration::from_secs(30);

/// What a pending `/halt` gets to stop the machine before the process ends by itself.
const HALT_WAIT: Duration = Duration::from_secs(5);

/// How the machine presents itself.
pub(crate) struct Reverse {
    pub(crate) host_type: String,
    pub(crate) coordinator: String,
    pub(crate) hostname: String,
    pub(crate) build_key: Option<Secret>,
    pub(crate) enroll: Option<Secret>,
    pub(crate) proxy: Option<String>,
    pub(crate) ca: Option<std::path::PathBuf>,
    pub(crate) dev: bool,
}

/// What enrolment leaves: `machine.json`, mode 0600.
#[derive(Serialize, Deserialize)]
struct Machine {
    machine: String,
    secret: String,
    /// SHA-256 of the coordinator's certificate, hex.
    certificate: String,
    /// Which token it came from, so that another token on the command line means another enrolment.
    token_sha256: String,
}

#[derive(Serialize)]
struct EnrollRequest<'a> {
    token: &'a str,
    hostname: &'a str,
    host_type: &'a str,
}

#[derive(Deserialize)]
struct EnrollReply {
    machine: String,
    secret: String,
}

fn fatal(text: impl std::fmt::Display) -> RunError {
    RunError::Coordinator(text.to_string())
}

/// Registers and serves until the session ends for good or the shutdown comes.
pub(crate) async fn run(reverse: Reverse, worker: Arc<Worker>, end: CancellationToken, connections: TaskTracker) -> Result<(), RunError> {
    let (registration, trust) = tokio::select! {
        identity = identity(&reverse, &worker) => identity?,
        () = end.cancelled() => return Ok(()),
    };
    let patient = registration.enrolled.as_ref().is_some_and(|e| e.machine.is_some());
    let connector = connector(&reverse, &trust)?;
    let mut had_session = false;
    let mut pause = PAUSES.0;
    loop {
        let registered = tokio::select! {
            registered = register(Arc::clone(&connector), &registration) => registered,
            () = end.cancelled() => return Ok(()),
        };
        let mut listener = match registered {
            Ok(listener) => listener,
            Err(e) => {
                let hopeless = match &e {
                    RegisterError::Transport(_) => false,
                    // 5xx passes; 409 means that our previous connection still counts as alive.
                    RegisterError::Refused { status, .. } => *status < 500 && *status != 409,
                    _ => true,
                };
                if hopeless || !(patient || had_session) {
                    return Err(fatal(e));
                }
                tracing::warn!(error = %e, retry.seconds = pause.as_secs_f32(), "The coordinator cannot be reached; the worker tries again.");
                tokio::select! {
                    () = tokio::time::sleep(jitter(pause)) => {}
                    () = end.cancelled() => return Ok(()),
                }
                pause = (pause * 2).min(PAUSES.1);
                continue;
            }
        };
        had_session |= listener.session().is_some();
        let resumable = listener.session().is_some();
        tracing::info!(coordinator = %reverse.coordinator, host_type = %reverse.host_type, session = resumable, "The worker is registered.");
        let since = Instant::now();
        let closed = loop {
            tokio::select! {
                stream = listener.accept() => match stream {
                    Ok(stream) => {
                        connections.spawn(burrow_task::boxed(serve_connection(Arc::clone(&worker), None, stream, end.clone())));
                    }
                    Err(closed) => break closed,
                },
                () = end.cancelled() => return Ok(()),
            }
        };
        if worker.halt.ordered() {
            // The order is being carried out; it ends the process.
            let _ = tokio::time::timeout(HALT_WAIT + Duration::from_secs(2), end.cancelled()).await;
            return Ok(());
        }
        if !resumable {
            tracing::info!(reason = %closed, "The session is over. A Go coordinator gives each registration one session; the supervisor starts the next.");
            return Ok(());
        }
        if since.elapsed() >= GOOD_SESSION {
            pause = PAUSES.0;
        }
        tracing::warn!(reason = %closed, "The connection to the coordinator was lost; executions go on and the worker dials again.");
        tokio::select! {
            () = tokio::time::sleep(jitter(pause)) => {}
            () = end.cancelled() => return Ok(()),
        }
        pause = (pause * 2).min(PAUSES.1);
    }
}

/// Between half of it and all of it, so that a farm does not come back in one instant.
fn jitter(pause: Duration) -> Duration {
    let mut byte = [0];
    let _ = getrandom::fill(&mut byte);
    pause / 2 + pause.mul_f64(f64::from(byte[0]) / 512.0)
}

fn connector(reverse: &Reverse, trust: &Trust) -> Result<Arc<dyn Connect>, RunError> {
    let coordinator = Coordinator::new(&reverse.coordinator, trust).map_err(RunError::io("the coordinator's address or certificates"))?;
    Ok(match &reverse.proxy {
        Some(proxy) => Arc::new(coordinator.with_proxy(proxy).map_err(RunError::io("HTTPS_PROXY"))?),
        None => Arc::new(coordinator),
    })
}

/// Who we are to the coordinator, and whom we take for it.
async fn identity(reverse: &Reverse, worker: &Worker) -> Result<(Registration, Trust), RunError> {
    let file = worker.state_dir.join("machine.json");
    let mut machine = load(&file)?;
    if let Some(token) = &reverse.enroll {
        let token_sha256 = hex(&Sha256::digest(token.expose().trim()));
        if machine.as_ref().is_none_or(|m| m.token_sha256 != token_sha256) {
            machine = Some(enroll(reverse, token, token_sha256, &file).await?);
        }
    }
    let general = || -> Result<Trust, RunError> {
        Ok(match &reverse.ca {
            Some(ca) => Trust::Ca(std::fs::read(ca).map_err(RunError::io(format!("reading {}", ca.display())))?),
            None => Trust::PublicRoots,
        })
    };
    let (key, enrolled_as, trust) = match (machine, &reverse.build_key) {
        (Some(machine), key) => {
            let pin = unhex(&machine.certificate).ok_or_else(|| fatal(format!("{} is damaged; remove it and enroll again", file.display())))?;
            (key.clone(), Some((machine.machine, machine.secret)), Trust::Pin(pin))
        }
        (None, Some(key)) => (Some(key.clone()), None, general()?),
        (None, None) if reverse.dev => {
            let key = protocol_revdial::builder_key(protocol_revdial::DEV_MASTER_KEY, &reverse.host_type).map_err(fatal)?;
            (Some(Secret::new(key)), None, Trust::Anything)
        }
        (None, None) => {
            return Err(fatal(format!(
                "this machine has nothing to show to {}; get a token from the coordinator and start once with --enroll TOKEN, \
                 or give a Go build key in GO_BUILD_KEY_PATH or ~/.gobuildkey-{}",
                reverse.coordinator, reverse.host_type
            )));
        }
    };
    // A build key together with --dev: the key counts, only the certificate is not looked at.
    let trust = if reverse.dev && enrolled_as.is_none() { Trust::Anything } else { trust };
    let (machine, secret) = enrolled_as.unzip();
    let registration = Registration {
        host_type: reverse.host_type.clone(),
        hostname: reverse.hostname.clone(),
        version: protocol_buildlet::VERSION.to_string(),
        key: key.map(|k| k.expose().to_owned()),
        enrolled: Some(Enrolled { instance: worker.instance.clone(), machine, secret }),
    };
    Ok((registration, trust))
}

fn load(file: &Path) -> Result<Option<Machine>, RunError> {
    match std::fs::read(file) {
        Ok(json) => serde_json::from_slice(&json).map(Some).map_err(|e| fatal(format!("{} cannot be read: {e}; remove it and enroll again", file.display()))),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(RunError::io(format!("reading {}", file.display()))(e)),
    }
}

/// Redeems a token and keeps what came of it.
async fn enroll(reverse: &Reverse, token: &Secret, token_sha256: String, file: &Path) -> Result<Machine, RunError> {
    let token = token.expose().trim();
    let bad = || fatal("the token of --enroll is not one; it has the form <32 hex>.<64 hex>, as the coordinator printed it");
    let (first, certificate) = token.split_once('.').ok_or_else(bad)?;
    if first.len() != 32 || !first.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err(bad());
    }
    let pin = unhex(certificate).ok_or_else(bad)?;
    let body = serde_json::to_vec(&EnrollRequest { token, hostname: &reverse.hostname, host_type: &reverse.host_type }).map_err(fatal)?;
    let connector = connector(reverse, &Trust::Pin(pin))?;
    let what = || format!("enrolling at {}", reverse.coordinator);
    let stream = connector.connect().await.map_err(RunError::io(what()))?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(fatal)?;
    burrow_task::spawn(async move {
        let _ = connection.await;
    });
    let host = reverse.coordinator.clone();
    let request = Request::post("/enroll").header(HOST, host).header("content-type", "application/json").body(Full::new(Bytes::from(body))).map_err(fatal)?;
    let answer = sender.send_request(request).await.map_err(fatal)?;
    let status = answer.status();
    let body = Limited::new(answer.into_body(), 64 * 1024).collect().await.map_err(fatal)?.to_bytes();
    if status != StatusCode::OK {
        return Err(fatal(format!("the coordinator refused the enrolment: {status} {}", String::from_utf8_lossy(&body).trim())));
    }
    let EnrollReply { machine, secret } =
        serde_json::from_slice(&body).map_err(|e| fatal(format!("the coordinator's answer to the enrolment cannot be read: {e}")))?;
    let machine = Machine { machine, secret, certificate: certificate.to_ascii_lowercase(), token_sha256 };
    save(&machine, file).map_err(RunError::io(format!("writing {}", file.display())))?;
    tracing::info!(machine.id = %machine.machine, "This machine is enrolled.");
    Ok(machine)
}

/// Durable: the token is spent, so a loss would need a new one.
fn save(machine: &Machine, file: &Path) -> io::Result<()> {
    let temporary = file.with_extension("new");
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    platform::private(&mut options);
    let mut open = options.open(&temporary)?;
    open.write_all(&serde_json::to_vec_pretty(machine)?)?;
    open.sync_all()?;
    std::fs::rename(&temporary, file)
}

fn unhex(text: &str) -> Option<[u8; 32]> {
    let mut out = [0; 32];
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    for (byte, at) in out.iter_mut().zip((0..64).step_by(2)) {
        *byte = u8::from_str_radix(text.get(at..at + 2)?, 16).ok()?;
    }
    Some(out)
}

/// The health listener: `/healthz` and nothing else, for launchers of virtual machines.
pub(crate) async fn health(listener: tokio::net::TcpListener, end: CancellationToken) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = end.cancelled() => return,
        };
        let Ok((stream, _)) = accepted else {
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let end = end.clone();
        burrow_task::spawn(async move {
            let service = hyper::service::service_fn(|request: Request<Incoming>| async move {
                Ok::<_, std::convert::Infallible>(match request.uri().path() {
                    "/healthz" => text("ok\n"),
                    _ => error(StatusCode::NOT_FOUND, "404 page not found"),
                })
            });
            let connection = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            tokio::select! {
                _ = connection => {}
                () = end.cancelled() => {}
            }
        });
    }
}
