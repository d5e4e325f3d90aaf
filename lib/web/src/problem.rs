//! What went wrong, for programs (RFC 9457) and for people.

use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};

use crate::{Kind, Rendered};

/// A refusal with what to do about it.
#[derive(Debug, Clone)]
pub struct Problem {
    /// The status.
    pub status: StatusCode,
    /// What happened, as a sentence.
    pub detail: String,
    /// What to do, as a sentence; may be empty.
    pub remedy: String,
}

impl Problem {
    /// With both sentences.
    pub fn new(status: StatusCode, detail: impl Into<String>, remedy: impl Into<String>) -> Problem {
        Problem { status, detail: detail.into(), remedy: remedy.into() }
    }

    /// The status in words.
    pub fn title(&self) -> &'static str {
        self.status.canonical_reason().unwrap_or("Error")
    }

    /// For programs.
    pub fn json(&self, request: &HeaderMap) -> Response {
        let body = serde_json::json!({
            "type": "about:blank", "title": self.title(), "status": self.status.as_u16(), "detail": self.detail, "remedy": self.remedy,
        });
        Rendered::new(Kind::ProblemJson, body.to_string()).with_status(self.status).answer(request)
    }
}

/// Travels as an extension of an empty answer, so that one layer can show it the way the reader wants.
impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut answer = self.status.into_response();
        answer.extensions_mut().insert(self);
        answer
    }
}
