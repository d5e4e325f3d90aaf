//! What is answered at which address. `/search`, `/uploads` and `/upload` are the reference's (`spec/perfdata.md` §3); the rest is new.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri};
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::{any, get};
use burrow_clock::SharedClock;
use burrow_perfstore::{Error, PerfStore, Receipt};
use burrow_web::{assets, guard};

use crate::auth::{Denied, Person, Scope, Tokens};
use crate::params::{Params, escape};
use crate::upload::{self, UploadError};
use crate::{answers, json, metrics, pages};

/// A form in a body is at most this long; queries are short.
const FORM: usize = 1 << 20;
/// Bytes of a body that is read to its end though it was refused: programs that send and do not listen then hear why.
const DRAINED: usize = 64 << 20;

/// What the service is made of.
#[derive(Debug, Clone)]
pub struct Site {
    /// The results.
    pub store: PerfStore,
    /// Who may do what.
    pub tokens: Tokens,
    /// What the address of an upload's analysis begins with.
    pub view_url_base: Option<String>,
    /// Host name that requests may name besides addresses and `localhost`; `None`: any, for a listener that is not on this machine only.
    pub only_host: Option<String>,
    /// The time.
    pub clock: SharedClock,
}

/// Requests by what became of them, for `/metrics`.
#[derive(Debug, Default)]
pub(crate) struct Requests {
    pub(crate) good: AtomicU64,
    pub(crate) refused: AtomicU64,
    pub(crate) failed: AtomicU64,
}

#[derive(Debug, Clone)]
pub(crate) struct Service {
    pub(crate) site: Site,
    pub(crate) requests: Arc<Requests>,
    pub(crate) started_ms: i64,
}

/// Everything the service answers.
pub fn router(site: Site) -> Router {
    let started_ms = site.clock.now_ms();
    let service = Service { site, requests: Arc::default(), started_ms };
    Router::new()
        .route("/", get(pages::start))
        .route("/upload", any(upload_route))
        .route("/search", any(search_route))
        .route("/uploads", any(uploads_route))
        .route("/uploads/{name}", any(one_upload))
        .route("/uploads/{name}/{file}", get(pages::file))
        .route("/v1/series", any(series_route))
        .route("/v1/changes", get(changes_route))
        .route("/status.json", get(pages::status_json))
        .route("/log", get(pages::log))
        .route("/log.json", get(pages::log_json))
        .route("/metrics", get(metrics::answer))
        .route("/healthz", get(metrics::health))
        .route("/assets/{file}", get(assets::serve))
        .fallback(pages::not_found)
        .layer(middleware::from_fn_with_state(service.clone(), around))
        .with_state(service)
}

/// What every request goes through: refusals of forged ones, security headers, counting.
async fn around(State(service): State<Service>, request: Request, next: Next) -> Response {
    let refused = guard::refusal(request.method(), request.headers(), service.site.only_host.as_deref());
    let mut answer = match refused {
        Some((status, why)) => plain(status, why),
        None => next.run(request).await,
    };
    let counter = match answer.status().as_u16() {
        ..400 => &service.requests.good,
        400..500 => &service.requests.refused,
        _ => &service.requests.failed,
    };
    counter.fetch_add(1, Ordering::Relaxed);
    guard::protect(answer.headers_mut(), false);
    answer
}

/// One line of text, as the reference's errors are and its clients show them.
pub(crate) fn plain(status: StatusCode, text: &str) -> Response {
    let mut answer = Response::new(Body::from(format!("{text}\n")));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    answer.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if status == StatusCode::SERVICE_UNAVAILABLE {
        answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("5"));
    }
    answer
}

/// An error of the store.
pub(crate) fn store_error(error: &Error) -> Response {
    let status = upload::store_status(error);
    if status == StatusCode::INTERNAL_SERVER_ERROR {
        tracing::error!(error = %error, "A request failed.");
    }
    plain(status, &error.to_string())
}

pub(crate) fn denied(why: Denied) -> Response {
    match why {
        Denied::Unknown => {
            let mut answer = plain(StatusCode::UNAUTHORIZED, &why.to_string());
            // Browsers ask for a password, which is the token.
            answer.headers_mut().append(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            answer.headers_mut().append(WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"perfdata: any name, the token as password\""));
            answer
        }
        Denied::Scope => plain(StatusCode::FORBIDDEN, &why.to_string()),
    }
}

impl Service {
    pub(crate) fn allow(&self, headers: &HeaderMap, scope: Scope) -> Result<Person, Response> {
        self.site.tokens.allow(headers, scope).map_err(denied)
    }
}

/// Parameters of the address and of a form in the body; the body's come first.
async fn params(request: Request) -> Result<(Params, HeaderMap), Response> {
    let bad = || plain(StatusCode::BAD_REQUEST, "invalid URL escape in the parameters");
    let address = Params::parse(request.uri().query().unwrap_or_default().as_bytes()).ok_or_else(bad)?;
    let (parts, body) = request.into_parts();
    let form = parts.headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).is_some_and(|kind| kind.starts_with("application/x-www-form-urlencoded"));
    if !form || matches!(parts.method, Method::GET | Method::HEAD) {
        return Ok((address, parts.headers));
    }
    let body = axum::body::to_bytes(body, FORM).await.map_err(|error| plain(StatusCode::PAYLOAD_TOO_LARGE, &format!("the form cannot be read: {error}")))?;
    Ok((Params::parse(&body).ok_or_else(bad)?.before(address), parts.headers))
}

/// Answers somebody who may read.
async fn read(service: &Service, request: Request, answer: impl AsyncFnOnce(Params, HeaderMap) -> Result<Response, Response>) -> Response {
    let answer = async {
        service.allow(request.headers(), Scope::Read)?;
        let (params, headers) = params(request).await?;
        answer(params, headers).await
    };
    answer.await.unwrap_or_else(|refusal| refusal)
}

async fn search_route(State(service): State<Service>, request: Request) -> Response {
    read(&service, request, async |params, headers| answers::search(&service.site.store, &params, &headers).await).await
}

async fn uploads_route(State(service): State<Service>, request: Request) -> Response {
    read(&service, request, async |params, headers| answers::uploads(&service.site.store, &params, &headers).await).await
}

async fn series_route(State(service): State<Service>, request: Request) -> Response {
    read(&service, request, async |params, headers| answers::series(&service.site.store, &params, &headers).await).await
}

async fn changes_route(State(service): State<Service>, request: Request) -> Response {
    read(&service, request, async |params, _| answers::changes(&service.site.store, &params).await).await
}

/// `/upload`.
async fn upload_route(State(service): State<Service>, request: Request) -> Response {
    let person = match service.allow(request.headers(), Scope::Upload) {
        Ok(person) => person,
        Err(refusal) => return after_draining(request.into_body(), refusal).await,
    };
    match *request.method() {
        Method::GET => pages::upload_form(&service, request.headers()),
        Method::POST => {
            let (parts, body) = request.into_parts();
            receive(&service, &person, None, &parts.headers, body, None).await
        }
        _ => plain(StatusCode::METHOD_NOT_ALLOWED, "/upload must be called as a POST request"),
    }
}

async fn receive(service: &Service, person: &Person, key: Option<String>, headers: &HeaderMap, body: Body, plain_name: Option<&str>) -> Response {
    // Shared, so that what the upload did not read of a refused body can still be read.
    let (body, rest) = leftover(body);
    match upload::receive(&service.site.store, person, key, headers, body, plain_name).await {
        Ok(receipt) => receipt_json(&receipt, service.site.view_url_base.as_deref()),
        Err(error) => {
            if matches!(&error, UploadError::Store(error) if upload::store_status(error) == StatusCode::INTERNAL_SERVER_ERROR) {
                tracing::error!(error = %error, "An upload failed.");
            } else {
                tracing::info!(error = %error, "An upload was refused.");
            }
            let answer = plain(error.status(), &error.to_string());
            match error {
                // There is nobody who listens, or nothing left.
                UploadError::Broken(_) => answer,
                _ => after_draining(rest.take(), answer).await,
            }
        }
    }
}

/// A body, and what is left of it when its reader has dropped it.
fn leftover(body: Body) -> (Body, Leftover) {
    let shared = Leftover(Arc::new(std::sync::Mutex::new(Some(body.into_data_stream()))));
    let reader = shared.clone();
    let stream = futures_util::stream::poll_fn(move |context| {
        let mut body = reader.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        match body.as_mut() {
            Some(body) => futures_util::StreamExt::poll_next_unpin(body, context),
            None => std::task::Poll::Ready(None),
        }
    });
    (Body::from_stream(stream), shared)
}

#[derive(Clone)]
struct Leftover(Arc<std::sync::Mutex<Option<axum::body::BodyDataStream>>>);

impl Leftover {
    fn take(&self) -> Body {
        let body = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
        body.map_or_else(Body::empty, Body::from_stream)
    }
}

/// Reads what a client still sends, within reason, then answers: most programs look at the answer only when they have sent all, and take a closed connection for a
/// broken one.
async fn after_draining(body: Body, answer: Response) -> Response {
    use futures_util::StreamExt as _;
    let mut stream = body.into_data_stream();
    let mut read = 0;
    let drain = async {
        while let Some(Ok(bytes)) = stream.next().await {
            read += bytes.len();
            if read > DRAINED {
                break;
            }
        }
    };
    let _ = tokio::time::timeout(std::time::Duration::from_secs(20), drain).await;
    answer
}

/// As the reference's, with `warnings` behind it if there are any; Go's decoder leaves out what it does not know.
fn receipt_json(receipt: &Receipt, view: Option<&str>) -> Response {
    let mut out = String::from("{\"uploadid\":");
    json::string(receipt.upload.as_bytes(), &mut out);
    out.push_str(",\"fileids\":");
    json::strings(receipt.files.iter().map(String::as_str), &mut out);
    if let Some(base) = view.filter(|base| !base.is_empty()) {
        out.push_str(",\"viewurl\":");
        json::string(format!("{base}{}", escape(receipt.upload.as_bytes())).as_bytes(), &mut out);
    }
    if !receipt.warnings.is_empty() {
        out.push_str(",\"warnings\":");
        json::strings(receipt.warnings.iter().map(String::as_str), &mut out);
    }
    out.push_str("}\n");
    let mut answer = Response::new(Body::from(out));
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    answer
}

/// `/uploads/NAME`: the page of an upload; PUT uploads once under a key of the client's; DELETE removes.
async fn one_upload(State(service): State<Service>, Path(name): Path<String>, uri: Uri, request: Request) -> Response {
    match *request.method() {
        Method::GET | Method::HEAD => pages::upload(&service, &name, request.headers()).await,
        Method::PUT => {
            let person = match service.allow(request.headers(), Scope::Upload) {
                Ok(person) => person,
                Err(refusal) => return after_draining(request.into_body(), refusal).await,
            };
            let fits = (1..=200).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.:@".contains(&byte));
            if !fits {
                return plain(StatusCode::BAD_REQUEST, "a key has 1 to 200 letters, digits and the signs - _ . : @");
            }
            let params = Params::parse(uri.query().unwrap_or_default().as_bytes()).unwrap_or_default();
            let file = params.text("file").to_owned();
            let (parts, body) = request.into_parts();
            receive(&service, &person, Some(name), &parts.headers, body, Some(&file)).await
        }
        Method::DELETE => {
            let person = match service.allow(request.headers(), Scope::Delete) {
                Ok(person) => person,
                Err(refusal) => return refusal,
            };
            let params = Params::parse(uri.query().unwrap_or_default().as_bytes()).unwrap_or_default();
            match service.site.store.remove(&name, person.name.as_deref().unwrap_or_default(), params.text("reason")).await {
                Ok(true) => {
                    let mut answer = Response::new(Body::empty());
                    *answer.status_mut() = StatusCode::NO_CONTENT;
                    answer
                }
                Ok(false) => plain(StatusCode::NOT_FOUND, "there is no upload of that name"),
                Err(error) => store_error(&error),
            }
        }
        _ => plain(StatusCode::METHOD_NOT_ALLOWED, "GET shows an upload, PUT uploads under a key, DELETE removes"),
    }
}
