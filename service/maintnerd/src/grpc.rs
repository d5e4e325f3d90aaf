//! gRPC: `apipb.MaintnerService`, as Go's clients call it (`spec/maintner.md` §6.3).
//!
//! An answer is made from one view of the corpus; if that may take long, on a thread of its own, so that it holds up nobody. A fault in one request is an error of
//! that request. Errors have the codes and texts of the reference.
//!
//! ```
//! # use burrow_maintnerd::{api::Rules, grpc};
//! # use burrow_maintner::Corpus;
//! let corpus = Corpus::new();
//! let service = grpc::Service::new(corpus.subscribe(), Rules::go(), None, burrow_clock::SystemClock::shared());
//! let pages = axum::Router::new();
//! let app = grpc::beside(pages, service);
//! # let _: axum::Router = app;
//! ```

mod finder;

use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::Router;
use axum::body::Body;
use axum::http::header::{ALLOW, CONTENT_TYPE};
use axum::http::{HeaderValue, Method as Verb, Request, Response, StatusCode, Version};
use burrow_clock::SharedClock;
use burrow_maintner::View;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use protocol_maintapi::{
    CONTENT_TYPE as GRPC, DashboardRequest, DashboardResponse, GetRefRequest, GetRefResponse, GoFindTryWorkRequest, GoFindTryWorkResponse, HasAncestorRequest,
    HasAncestorResponse, ListGoReleasesRequest, ListGoReleasesResponse, Method, PATH_PREFIX, SERVICE,
};
use tokio::sync::{Semaphore, watch};
use tonic::{Code, Status};
use tonic_prost::ProstCodec;

use crate::api::dashboard::DashboardError;
use crate::api::trywork::GerritApi;
use crate::api::{self, Rules};
use crate::http::Readers;

pub use finder::FindError;
use finder::Finder;

/// How many answers that take a while are made at once; further requests wait.
const AT_ONCE: usize = 16;

/// The service. Clones are the same one.
#[derive(Debug, Clone)]
pub struct Service {
    inner: Arc<Inner>,
    readers: Readers,
}

#[derive(Debug)]
struct Inner {
    views: watch::Receiver<View>,
    rules: Arc<Rules>,
    finder: Finder,
    turns: Semaphore,
}

impl Service {
    /// Answers from the newest of `views`. Without `gerrit`, questions for try work are refused.
    pub fn new(views: watch::Receiver<View>, rules: Rules, gerrit: Option<Arc<dyn GerritApi>>, clock: SharedClock) -> Service {
        let rules = Arc::new(rules);
        let finder = Finder::new(Arc::clone(&rules), gerrit, clock);
        let inner = Inner { views, rules, finder, turns: Semaphore::new(AT_ONCE) };
        Service { inner: Arc::new(inner), readers: Readers::everybody() }
    }

    /// Answers these readers only; others are told that they need a token.
    #[must_use]
    pub fn for_readers(mut self, readers: Readers) -> Service {
        self.readers = readers;
        self
    }

    fn view(&self) -> View {
        self.inner.views.borrow().clone()
    }

    /// Makes an answer that takes a while, on a thread of its own.
    async fn answer<T: Send + 'static>(&self, make: impl FnOnce(&View, &Rules) -> Result<T, Status> + Send + 'static) -> Result<T, Status> {
        let _turn = self.inner.turns.acquire().await.map_err(|_| Status::unavailable("shutting down"))?;
        let view = self.view();
        let rules = Arc::clone(&self.inner.rules);
        isolated(move || make(&view, &rules)).await?
    }

    async fn dispatch(self, method: Method, request: Request<Body>) -> Response<Body> {
        match method {
            Method::HasAncestor => self.unary(request, |service, request: HasAncestorRequest| service.has_ancestor(request)).await,
            Method::GetRef => self.unary(request, |service, request: GetRefRequest| service.reference(request)).await,
            Method::ListGoReleases => self.unary(request, |service, _: ListGoReleasesRequest| service.releases()).await,
            Method::GetDashboard => self.unary(request, |service, request: DashboardRequest| service.dashboard(request)).await,
            Method::GoFindTryWork => self.unary(request, |service, _: GoFindTryWorkRequest| service.try_work()).await,
        }
    }

    /// Reads one message, and sends one or an error.
    async fn unary<M, N, F>(self, request: Request<Body>, make: impl Fn(Service, M) -> F + Send) -> Response<Body>
    where
        M: prost::Message + Default + 'static,
        N: prost::Message + Default + 'static,
        F: Future<Output = Result<N, Status>> + Send,
    {
        let service = tower::service_fn(move |request: tonic::Request<M>| {
            let answer = make(self.clone(), request.into_inner());
            async { answer.await.map(tonic::Response::new) }
        });
        let answer = tonic::server::Grpc::new(ProstCodec::<N, M>::default()).unary(service, request).await;
        answer.map(Body::new)
    }

    async fn has_ancestor(self, request: HasAncestorRequest) -> Result<HasAncestorResponse, Status> {
        self.answer(move |view, _| api::refs::has_ancestor(view, &request).map_err(|error| Status::unknown(error.to_string()))).await
    }

    async fn reference(self, request: GetRefRequest) -> Result<GetRefResponse, Status> {
        api::refs::reference(&self.view(), &request).map_err(|error| Status::unknown(error.to_string()))
    }

    async fn releases(self) -> Result<ListGoReleasesResponse, Status> {
        api::releases::list(&self.view(), &self.inner.rules).map_err(|error| Status::unknown(error.to_string()))
    }

    async fn dashboard(self, request: DashboardRequest) -> Result<DashboardResponse, Status> {
        self.answer(move |view, rules| api::dashboard::page(view, rules, &request).map_err(|error| refused(&error))).await
    }

    async fn try_work(self) -> Result<GoFindTryWorkResponse, Status> {
        self.inner.finder.find(self.view()).await.map_err(|error| match error {
            FindError::NoGerrit => Status::failed_precondition(error.to_string()),
            FindError::Fault => Status::internal(error.to_string()),
            FindError::Releases(_) | FindError::Gerrit(_) | FindError::Slow(_) => Status::unknown(error.to_string()),
        })
    }
}

fn refused(error: &DashboardError) -> Status {
    let code = match error {
        DashboardError::UnknownRepo { .. } | DashboardError::NoProject { .. } | DashboardError::UnknownBranch { .. } => Code::NotFound,
        DashboardError::NegativeMax
        | DashboardError::SmallPage { .. }
        | DashboardError::NegativePage
        | DashboardError::MixedPage
        | DashboardError::TooFarBack => Code::InvalidArgument,
        DashboardError::Releases(_) => Code::Unknown,
    };
    Status::new(code, error.to_string())
}

fn fault() -> Status {
    Status::internal("a fault of this program")
}

/// A fault in `make` is an error of this one answer.
async fn isolated<T: Send + 'static>(make: impl FnOnce() -> T + Send + 'static) -> Result<T, Status> {
    burrow_task::spawn_blocking(make).await.map_err(|error| {
        tracing::error!(%error, "An answer was not finished, by a fault of this program or because it ends.");
        fault()
    })
}

impl tower::Service<Request<Body>> for Service {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let service = self.clone();
        Box::pin(async move {
            if let Some(refusal) = not_grpc(&request) {
                return Ok(refusal);
            }
            if !service.readers.may_read(request.headers()) {
                return Ok(Status::unauthenticated("this log needs a token").into_http());
            }
            let path = request.uri().path();
            Ok(match Method::of_path(path) {
                Some(method) => AssertUnwindSafe(service.dispatch(method, request)).catch_unwind().await.unwrap_or_else(|_| fault().into_http()),
                None => unimplemented(path),
            })
        })
    }
}

/// The answer to what asks for the service and cannot be a gRPC request.
fn not_grpc(request: &Request<Body>) -> Option<Response<Body>> {
    if request.version() != Version::HTTP_2 {
        return Some(plain(StatusCode::HTTP_VERSION_NOT_SUPPORTED, "gRPC requires HTTP/2"));
    }
    if request.method() != Verb::POST {
        let mut answer = plain(StatusCode::METHOD_NOT_ALLOWED, "invalid gRPC request method");
        answer.headers_mut().insert(ALLOW, HeaderValue::from_static("POST"));
        return Some(answer);
    }
    (!is_grpc(request)).then(|| plain(StatusCode::UNSUPPORTED_MEDIA_TYPE, "invalid gRPC request content-type"))
}

fn plain(status: StatusCode, text: &'static str) -> Response<Body> {
    let mut answer = Response::new(Body::from(format!("{text}\n")));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    answer
}

fn unimplemented(path: &str) -> Response<Body> {
    let mut parts = path.trim_start_matches('/').rsplitn(2, '/');
    let (method, service) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let text = if service == SERVICE { format!("unknown method {method} for service {service}") } else { format!("unknown service {service}") };
    Status::unimplemented(text).into_http()
}

/// Whether the content type is one of gRPC's.
fn is_grpc(request: &Request<Body>) -> bool {
    request.headers().get(CONTENT_TYPE).is_some_and(|value| value.as_bytes().starts_with(GRPC.as_bytes()))
}

/// Puts the service beside pages, on one port: to it goes what has its path or gRPC's content type. Clients of gRPC speak HTTP/2, so a listener with TLS must
/// offer `h2`; one without takes it from those who begin with it. Either should set `TCP_NODELAY`: an answer is several small writes, and without it each
/// takes 40 ms.
pub fn beside(pages: Router, service: Service) -> Router {
    let both = tower::service_fn(move |request: Request<Body>| {
        let (pages, service) = (pages.clone(), service.clone());
        async move {
            if request.uri().path().starts_with(PATH_PREFIX) || is_grpc(&request) {
                tower::ServiceExt::oneshot(service, request).await
            } else {
                tower::ServiceExt::oneshot(pages, request).await
            }
        }
    });
    Router::new().fallback_service(both)
}
