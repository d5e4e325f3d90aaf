//! Who may change something: everybody on the loopback address, elsewhere whoever holds the admin token.

use std::sync::Arc;

use axum::Form;
use axum::extract::{Query, Request, State};
use axum::http::header::{AUTHORIZATION, COOKIE, LOCATION, SET_COOKIE, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse as _, Response};
use burrow_web::Problem;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use super::Site;
use crate::pages;

/// Cookie of a browser that showed the token once.
const COOKIE_NAME: &str = "burrow_token";

/// Who may write.
#[derive(Debug, Clone, Default)]
pub struct Access {
    /// SHA-256 of the admin token; `None`: there is none, and nobody may write from elsewhere.
    pub token_hash: Option<[u8; 32]>,
    /// The listener is bound to the loopback address: no token is needed.
    pub loopback: bool,
}

impl Access {
    /// The hash under which a token is kept.
    pub fn hash(token: &str) -> [u8; 32] {
        Sha256::digest(token.as_bytes()).into()
    }

    /// Whether `token` is the admin token. Takes the same time for all wrong ones.
    pub fn is_admin(&self, token: &str) -> bool {
        self.token_hash.is_some_and(|known| bool::from(known.ct_eq(&Self::hash(token))))
    }

    /// Whether the sender of these headers may write.
    pub fn may_write(&self, headers: &HeaderMap) -> bool {
        if self.loopback {
            return true;
        }
        let bearer = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()).and_then(|value| value.split_once(' '));
        if let Some((scheme, token)) = bearer {
            return scheme.eq_ignore_ascii_case("bearer") && self.is_admin(token.trim());
        }
        let cookies = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(';'));
        cookies.filter_map(|cookie| cookie.trim().split_once('=')).any(|(name, token)| name == COOKIE_NAME && self.is_admin(token))
    }

    /// Lets reading pass, and writing with the token. Addresses with credentials of their own (hooks, results, log-in) decide themselves.
    pub(super) fn may(&self, request: &Request) -> Result<(), Problem> {
        let path = request.uri().path();
        let own = path.starts_with("/hook/") || matches!(path, "/result" | "/clear-results" | "/login" | "/");
        if matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS) || own || self.may_write(request.headers()) {
            return Ok(());
        }
        Err(Problem::new(
            StatusCode::UNAUTHORIZED,
            "This needs the admin token.",
            "Programs send it as 'Authorization: Bearer TOKEN'; in a browser, log in at /login.",
        ))
    }
}

/// Where to go after the log-in.
#[derive(Debug, Deserialize)]
pub(super) struct Target {
    #[serde(default)]
    next: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct Login {
    token: String,
    #[serde(default)]
    next: String,
}

/// `GET /login`.
pub(super) async fn form(State(site): State<Arc<Site>>, Query(target): Query<Target>, headers: HeaderMap) -> Response {
    pages::login(&site, &target.next, "").answer(&headers)
}

/// `POST /login`.
pub(super) async fn login(State(site): State<Arc<Site>>, headers: HeaderMap, Form(login): Form<Login>) -> Response {
    let token = login.token.trim();
    if !site.settings().access.is_admin(token) || !token.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b';' | b',' | b'"' | b'\\')) {
        return pages::login(&site, &login.next, "That is not the admin token.").with_status(StatusCode::FORBIDDEN).answer(&headers);
    }
    // Only a path of this server: the log-in must not be a way to send people elsewhere.
    let next = if login.next.starts_with('/') && !login.next.starts_with("//") && !login.next.contains(['\\', '\r', '\n']) { login.next.as_str() } else { "/" };
    let secure = if site.settings().public_url.starts_with("https:") { "; Secure" } else { "" };
    let cookie = format!("{COOKIE_NAME}={token}; Path=/; HttpOnly; SameSite=Strict; Max-Age=2592000{secure}");
    let pairs: Vec<(HeaderName, HeaderValue)> =
        [(LOCATION, next), (SET_COOKIE, cookie.as_str())].into_iter().filter_map(|(name, value)| Some((name, HeaderValue::from_str(value).ok()?))).collect();
    let mut answer = StatusCode::SEE_OTHER.into_response();
    answer.headers_mut().extend(pairs);
    answer
}

/// The demand that goes with 401.
pub(super) fn demand(answer: &mut Response) {
    if answer.status() == StatusCode::UNAUTHORIZED {
        answer.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
}
