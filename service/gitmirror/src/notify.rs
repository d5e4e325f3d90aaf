//! Telling others by push hooks that a repository has changed here: a coordinator looks at once instead of at its next poll.

use std::sync::Arc;
use std::time::Duration;

use burrow_http_client::Request;
use hmac::{Hmac, KeyInit as _, Mac as _};
use http::HeaderName;
use sha2::Sha256;

use crate::config::Notify;
use crate::mirror::Mirror;
use crate::refs::Change;

/// Pauses before further tries. Whoever missed all of them polls.
const PAUSES: [Duration; 3] = [Duration::from_secs(1), Duration::from_secs(5), Duration::from_secs(30)];

/// So many references are named in a hook.
const NAMED: usize = 100;

/// Sends the hooks, without waiting.
pub(crate) fn send(mirror: &Mirror, repo: &str, changes: &Arc<Vec<Change>>) {
    for notify in mirror.config().notify.iter().filter(|notify| notify.repos.iter().any(|pattern| pattern.matches(repo))) {
        let (mirror, notify, repo, changes) = (mirror.clone(), notify.clone(), repo.to_owned(), Arc::clone(changes));
        let stop = mirror.inner.stop.clone();
        mirror.inner.tasks.clone().spawn(burrow_task::boxed(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = deliver(&mirror, &notify, &repo, &changes) => {}
            }
        }));
    }
}

async fn deliver(mirror: &Mirror, notify: &Notify, repo: &str, changes: &[Change]) {
    let what = format!("hook {}", notify.url);
    let mut pauses = PAUSES.iter();
    loop {
        let result = once(mirror, notify, repo, changes).await;
        let (why, pause) = match (result, pauses.next()) {
            (Ok(()), _) => return mirror.trouble(&what, None),
            (Err(why), Some(pause)) => (why, pause),
            (Err(why), None) => {
                tracing::warn!(repo, url = notify.url, why, "A push hook could not be delivered.");
                return mirror.trouble(&what, Some(why));
            }
        };
        tracing::debug!(repo, why, "A push hook is tried again.");
        tokio::time::sleep(*pause).await;
    }
}

async fn once(mirror: &Mirror, notify: &Notify, repo: &str, changes: &[Change]) -> Result<(), String> {
    let text = |error: burrow_http_client::Error| error.to_string();
    let body = body(repo, changes);
    let mut request = Request::post(&notify.url.replace("{repo}", repo), "application/json", body.clone()).map_err(text)?;
    request = request.header(HeaderName::from_static("x-github-event"), "push").map_err(text)?;
    if let Some(path) = &notify.secret_file {
        let secret = burrow_site::read_secret(path).map_err(|error| error.to_string())?;
        request = request.header(HeaderName::from_static("x-hub-signature-256"), &format!("sha256={}", sign(&secret, &body))).map_err(text)?;
    }
    let answer = mirror.inner.deps.http.send(request).await.map_err(text)?;
    let status = answer.status();
    if status.is_success() {
        return Ok(());
    }
    let said = answer.beginning(300).await;
    Err(format!("it answers {status}: {}", String::from_utf8_lossy(&said).trim()))
}

/// What a push hook of GitHub says, as far as anybody reads it: the first reference in `ref`, all of them in `refs`.
fn body(repo: &str, changes: &[Change]) -> String {
    let hash = |id: Option<burrow_git::Oid>| id.map_or_else(|| "0".repeat(40), |id| id.to_string());
    let first = changes.first();
    serde_json::json!({
        "ref": first.map(|change| &change.name),
        "before": first.map(|change| hash(change.old)),
        "after": first.map(|change| hash(change.new)),
        "deleted": first.is_some_and(|change| change.new.is_none()),
        "repository": {"name": repo, "full_name": repo},
        "refs": changes.iter().take(NAMED).map(|c| serde_json::json!({"ref": c.name, "before": hash(c.old), "after": hash(c.new)})).collect::<Vec<_>>(),
    })
    .to_string()
}

/// HMAC-SHA256 in hex.
pub(crate) fn sign(secret: &str, body: &str) -> String {
    // A key of any length is taken.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret.as_bytes()) else { return String::new() };
    mac.update(body.as_bytes());
    mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
}
