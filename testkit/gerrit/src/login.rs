//! Who may ask.

use base64::Engine as _;
use http::header::AUTHORIZATION;
use testkit_server::Reply;

use crate::{Asked, World};

/// The refusal of what comes under `/a/` without the right credentials. Without `/a/` everybody may read, as on public servers, and credentials are not looked at.
pub(crate) fn check(world: &World, request: &http::Request<bytes::Bytes>, asked: &Asked) -> Option<Reply> {
    if !asked.authenticated {
        return None;
    }
    let given = request.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let cookie = request.headers().get(http::header::COOKIE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let fits = world.policy.login.as_ref().is_some_and(|(user, password)| {
        let basic = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
        given == format!("Basic {basic}") || given == format!("Bearer {password}") || cookie.split("; ").any(|pair| pair == format!("o={password}"))
    });
    (!fits).then(|| Reply::text(401, "Unauthorized"))
}
