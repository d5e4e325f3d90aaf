//! Answers that are no success: one sentence of plain text for whoever asked.

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::ask::BadAsk;
use crate::depot::Miss;

/// A status and a sentence.
#[derive(Debug, Clone)]
pub(crate) struct Refusal {
    status: StatusCode,
    text: String,
    header: Option<(header::HeaderName, HeaderValue)>,
}

impl Refusal {
    pub(crate) fn new(status: StatusCode, text: impl Into<String>) -> Refusal {
        Refusal { status, text: text.into(), header: None }
    }

    pub(crate) fn bad(text: impl Into<String>) -> Refusal {
        Refusal::new(StatusCode::BAD_REQUEST, text)
    }

    pub(crate) fn not_found(text: impl Into<String>) -> Refusal {
        Refusal::new(StatusCode::NOT_FOUND, text)
    }

    /// Something failed here. Details are for the log: they name folders.
    pub(crate) fn internal(text: &str) -> Refusal {
        Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, text)
    }

    pub(crate) fn method(allowed: &'static str) -> Refusal {
        let text = format!("only {allowed} is answered here");
        Refusal { header: Some((header::ALLOW, HeaderValue::from_static(allowed))), ..Refusal::new(StatusCode::METHOD_NOT_ALLOWED, text) }
    }

    /// git asks for a password, or takes the one in the address, only after this.
    pub(crate) fn unknown_person() -> Refusal {
        let challenge = HeaderValue::from_static("Basic realm=\"repositories\", charset=\"UTF-8\"");
        let text = "there is no such public repository; if it is a private one, give a token (as password, or as Authorization: Bearer)";
        Refusal { header: Some((header::WWW_AUTHENTICATE, challenge)), ..Refusal::new(StatusCode::UNAUTHORIZED, text) }
    }

    pub(crate) fn busy(text: &str, seconds: &'static str) -> Refusal {
        Refusal { header: Some((header::RETRY_AFTER, HeaderValue::from_static(seconds))), ..Refusal::new(StatusCode::SERVICE_UNAVAILABLE, text) }
    }
}

impl From<BadAsk> for Refusal {
    fn from(bad: BadAsk) -> Refusal {
        Refusal::bad(bad.to_string())
    }
}

impl From<Miss> for Refusal {
    fn from(miss: Miss) -> Refusal {
        match miss {
            Miss::Broken(detail) => {
                tracing::error!(error = %detail, "A repository cannot be read.");
                Refusal::internal("the repository cannot be read at the moment")
            }
            other => Refusal::not_found(other.to_string()),
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = (self.status, [(header::CONTENT_TYPE, "text/plain; charset=utf-8")], Body::from(format!("{}\n", self.text))).into_response();
        response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some((name, value)) = self.header {
            response.headers_mut().insert(name, value);
        }
        response
    }
}
