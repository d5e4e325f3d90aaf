//! `POST /hook/{repo}`: somebody pushed, look now.
//!
//! The hook carries no facts, only the hint to look: a forged one costs a fetch and nothing else. With a secret configured the signature is
//! checked over the raw bytes before anything is parsed (`X-Hub-Signature-256` of GitHub and Gitea, `X-Gitea-Signature`, `X-Gitlab-Token`);
//! without one the hook is open on the loopback address and closed elsewhere.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use burrow_web::Problem;
use bytes::Bytes;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::json;
use sha2::Sha256;
use subtle::ConstantTimeEq as _;

use super::{Site, nothing, refused};
use crate::http::database;

/// The handler.
pub(super) async fn push(State(site): State<Arc<Site>>, Path(repo): Path<String>, headers: HeaderMap, body: Bytes) -> Result<Response, Problem> {
    match site.settings().hook_secrets.get(&repo) {
        Some(secret) => {
            if !signed(secret, &headers, &body) {
                return Err(Problem::new(
                    StatusCode::FORBIDDEN,
                    "The signature does not fit the hook's secret.",
                    "Set the same secret at the sender and in the repository's 'hook' setting.",
                ));
            }
        }
        None if site.settings().access.may_write(&headers) => {}
        None => {
            return Err(Problem::new(
                StatusCode::FORBIDDEN,
                "Hooks from other machines need a secret.",
                "Set 'hook' for the repository to a secret, and the same secret at the sender.",
            ));
        }
    }
    if !site.results().repos().await.map_err(database)?.iter().any(|known| known.name == repo) {
        return Err(nothing(format!("No repository is called {repo:?}."), "The name in the hook's address is the one of the configuration."));
    }
    let event = ["x-github-event", "x-gitea-event", "x-gitlab-event"].iter().find_map(|name| headers.get(*name)?.to_str().ok()).unwrap_or("push");
    if event == "ping" {
        return Ok(Json(json!({"status": "pong", "repo": repo})).into_response());
    }
    // What was pushed is only for the answer: the fetch finds out by itself.
    let pushed = serde_json::from_slice::<serde_json::Value>(&body).ok().and_then(|body| Some(body.get("ref")?.as_str()?.to_owned()));
    site.control().poll_now(repo.clone()).await.map_err(refused)?;
    Ok((StatusCode::ACCEPTED, Json(json!({"status": "looking", "repo": repo, "ref": pushed}))).into_response())
}

fn signed(secret: &str, headers: &HeaderMap, body: &[u8]) -> bool {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    if let Some(token) = text("x-gitlab-token") {
        return bool::from(token.as_bytes().ct_eq(secret.as_bytes()));
    }
    let Some(signature) = text("x-hub-signature-256").and_then(|value| value.strip_prefix("sha256=")).or_else(|| text("x-gitea-signature")) else {
        return false;
    };
    let Some(signature) = unhex(signature) else { return false };
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret.as_bytes()) else { return false };
    mac.update(body);
    mac.verify_slice(&signature).is_ok()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) || !text.is_ascii() {
        return None;
    }
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(text.get(at..at + 2)?, 16).ok()).collect()
}
