//! Taking a webhook: who sent it is proved before anything of it is read, and it is answered when its events are on disk.
//!
//! The order of checks is that of their cost. A body is hashed as it comes, within bounds of size, time and memory: one may take so much, all together so
//! much, and one that drips is sent away. Facts: `spec/pubsubhelper.md` §4, §7 rows 10 and 11.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::{ALLOW, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::any;
use burrow_events::{AppendError, Appended};
use http_body_util::BodyExt as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

use crate::counters::Outcome;
use crate::hub::{Hub, Source};
use crate::network::{Network, Peer, is_encrypted};
use crate::secrets::{Check, Secrets, SignatureKind, Speaks, unhex};
use crate::sources::generic::About;
use crate::sources::{Envelope, Malformed, Verdict, generic, gerrit, gitea, github, gitlab};

/// Who may be slow, and how large bodies may be.
#[derive(Debug, Clone)]
pub struct Bounds {
    /// Largest body, bytes.
    pub body: usize,
    /// Time that a body may take whatever its size; and one second more for every [`PER_SECOND`] bytes that have come.
    pub patience: Duration,
    /// How long one waits for memory before it is sent away.
    pub queue: Duration,
    small: Arc<Semaphore>,
    large: Arc<Semaphore>,
}

/// The slowest body that is taken, bytes a second.
pub const PER_SECOND: usize = 16 << 10;
/// Bodies up to here have memory of their own, which larger ones cannot take from them.
const SMALL: usize = 256 << 10;
/// Bytes of one permit.
const UNIT: usize = 1 << 10;

impl Bounds {
    /// Bodies up to `body` bytes; all together up to `all`, of which a quarter is for small ones.
    pub fn new(body: usize, all: usize) -> Bounds {
        let permits = |bytes: usize| Arc::new(Semaphore::new((bytes / UNIT).clamp(1, Semaphore::MAX_PERMITS)));
        Bounds {
            body,
            patience: Duration::from_secs(10),
            queue: Duration::from_secs(5),
            small: permits((all / 4).max(SMALL)),
            large: permits((all - all / 4).max(body)),
        }
    }
}

/// How a source proves who it is, and who reads what it sends.
#[derive(Debug, Clone)]
pub enum Adapter {
    /// GitHub; old hooks may sign with SHA-1 if wished.
    Github {
        /// SHA-1 alone will do.
        allow_sha1: bool,
    },
    /// GitLab: a token.
    Gitlab,
    /// Gitea, Forgejo.
    Gitea,
    /// Gerrit's plugin: a token in the address, or the address it comes from.
    Gerrit {
        /// Who needs no token.
        from: Vec<Network>,
        /// The server's address for people.
        url: String,
    },
    /// Anything that signs.
    Generic(About),
}

/// Everything about one path.
#[derive(Debug, Clone)]
pub struct Hook {
    /// The path.
    pub path: String,
    /// Who reads.
    pub adapter: Adapter,
    /// What it is signed with.
    pub secrets: Arc<Secrets>,
    /// The source.
    pub source: Arc<Source>,
}

/// When a request is believed to be encrypted.
#[derive(Debug, Clone, Default)]
pub struct Encryption {
    /// Need not be.
    pub allow_plain_http: bool,
    /// Proxies that are believed.
    pub trusted_proxies: Vec<Network>,
}

#[derive(Clone)]
struct Post {
    hub: Hub,
    hook: Arc<Hook>,
    bounds: Bounds,
    encryption: Arc<Encryption>,
}

/// The paths of all hooks.
pub fn router(hub: &Hub, hooks: &[Hook], bounds: &Bounds, encryption: &Encryption) -> Router {
    let encryption = Arc::new(encryption.clone());
    hooks.iter().fold(Router::new(), |router, hook| {
        let post = Post { hub: hub.clone(), hook: Arc::new(hook.clone()), bounds: bounds.clone(), encryption: Arc::clone(&encryption) };
        router.route(&hook.path, any(receive).with_state(post))
    })
}

/// A refusal: how it is counted, the status, and what the sender is told.
struct Refusal(Outcome, StatusCode, String);

impl Refusal {
    fn new(outcome: Outcome, status: StatusCode, text: impl Into<String>) -> Refusal {
        Refusal(outcome, status, text.into())
    }
}

async fn receive(State(post): State<Post>, request: Request) -> Response {
    let source = &post.hook.source;
    match post.take(request).await {
        Ok(Taken::Events(appended)) => {
            let word = if appended.iter().any(|appended| matches!(appended, Appended::New(_))) { "accepted as" } else { "known already as" };
            let ids: Vec<String> = appended.iter().map(|appended| appended.id().to_string()).collect();
            (StatusCode::OK, format!("{word} event {}\n", ids.join(", "))).into_response()
        }
        Ok(Taken::Ignored(why)) => {
            source.record(Outcome::Ignored, "", post.hub.clock.now_ms());
            (StatusCode::OK, format!("ignored: {why}\n")).into_response()
        }
        Err(Refusal(outcome, status, text)) => {
            // What could not be stored was counted where it failed.
            if outcome != Outcome::NotStored {
                source.record(outcome, &text, post.hub.clock.now_ms());
            }
            if outcome.is_proved() {
                tracing::warn!(source = source.name, outcome = outcome.label(), text, "A delivery was refused though its sender is known.");
            } else {
                tracing::debug!(source = source.name, outcome = outcome.label(), text, "A delivery was refused.");
            }
            let mut answer = (status, format!("{text}\n")).into_response();
            let headers = answer.headers_mut();
            if status == StatusCode::METHOD_NOT_ALLOWED {
                headers.insert(ALLOW, HeaderValue::from_static("POST"));
            }
            if status == StatusCode::SERVICE_UNAVAILABLE {
                headers.insert(RETRY_AFTER, HeaderValue::from_static("10"));
            }
            // The rest of a body that nobody wants is not waited for.
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
            answer
        }
    }
}

enum Taken {
    Events(Vec<Appended>),
    Ignored(String),
}

/// How the sender will prove who it is.
enum Proof {
    /// It has.
    Done(Speaks),
    /// With a signature over the body.
    Signed(Check, Vec<u8>),
}

impl Post {
    async fn take(&self, request: Request) -> Result<Taken, Refusal> {
        let (head, body) = request.into_parts();
        if head.method != Method::POST {
            return Err(Refusal::new(Outcome::Method, StatusCode::METHOD_NOT_ALLOWED, "deliveries are posted"));
        }
        let peer = head.extensions.get::<Peer>();
        if !self.encryption.allow_plain_http && !is_encrypted(peer, &head.headers, &self.encryption.trusted_proxies) {
            let text = "HTTPS required\nBehind a proxy: set X-Forwarded-Proto there and name the proxy in `trusted_proxies`, or set `allow_plain_http = true`";
            return Err(Refusal::new(Outcome::NotEncrypted, StatusCode::BAD_REQUEST, text));
        }
        let proof = self.proof(&head.headers, head.uri.query(), peer)?;
        let (bytes, speaks, _memory) = self.read(&head.headers, body, proof).await?;
        let verdict = self.understand(&head.headers, &bytes, speaks);
        drop(bytes);
        match verdict {
            Ok(Verdict::Ignored(why)) => Ok(Taken::Ignored(why)),
            Ok(Verdict::Events(drafts)) => match self.hub.keep(&self.hook.source, drafts).await {
                Ok(appended) => Ok(Taken::Events(appended)),
                Err(error @ AppendError::TooLarge { .. }) => Err(Refusal::new(Outcome::NotStored, StatusCode::BAD_REQUEST, error.to_string())),
                Err(error) => Err(Refusal::new(Outcome::NotStored, StatusCode::SERVICE_UNAVAILABLE, format!("not stored, send it again: {error}"))),
            },
            Err(error @ Malformed::NotYours { .. }) => Err(Refusal::new(Outcome::BadSignature, StatusCode::FORBIDDEN, error.to_string())),
            Err(error) => Err(Refusal::new(Outcome::Malformed, StatusCode::BAD_REQUEST, error.to_string())),
        }
    }

    /// What the headers say of who sends.
    fn proof(&self, headers: &HeaderMap, query: Option<&str>, peer: Option<&Peer>) -> Result<Proof, Refusal> {
        let secrets = &self.hook.secrets;
        let unsigned = |text: &str| Refusal::new(Outcome::Unsigned, StatusCode::UNAUTHORIZED, text);
        let signed = |kind, digits: &str| {
            let bytes = unhex(digits).ok_or_else(|| unsigned("the signature is not written in hex digits"))?;
            Ok(Proof::Signed(secrets.check(kind), bytes))
        };
        let token = |shown: Option<&[u8]>, missing: &str| match shown {
            None => Err(unsigned(missing)),
            Some(shown) => match secrets.knows(shown) {
                Some(speaks) => Ok(Proof::Done(speaks)),
                None => Err(Refusal::new(Outcome::BadSignature, StatusCode::FORBIDDEN, "the token is not the one that is configured here")),
            },
        };
        match &self.hook.adapter {
            Adapter::Github { allow_sha1 } => match (text(headers, "x-hub-signature-256"), text(headers, "x-hub-signature")) {
                (Some(value), _) => signed(SignatureKind::Sha256, value.strip_prefix("sha256=").unwrap_or("-")),
                // The reference of 2023 looks at this one, for either algorithm.
                (None, Some(value)) if value.starts_with("sha256=") => signed(SignatureKind::Sha256, value.strip_prefix("sha256=").unwrap_or("-")),
                (None, Some(value)) if *allow_sha1 => signed(SignatureKind::Sha1, value.strip_prefix("sha1=").unwrap_or("-")),
                _ => Err(unsigned("the header X-Hub-Signature-256 is missing: enter the secret in the webhook's settings")),
            },
            Adapter::Gitea => {
                let value = ["x-forgejo-signature", "x-gitea-signature", "x-hub-signature-256"].into_iter().find_map(|name| text(headers, name));
                let value = value.ok_or_else(|| unsigned("the header X-Gitea-Signature is missing: enter the secret in the webhook's settings"))?;
                signed(SignatureKind::Sha256, value.strip_prefix("sha256=").unwrap_or(value))
            }
            Adapter::Generic(_) => {
                let value = ["x-burrow-signature-256", "x-hub-signature-256"].into_iter().find_map(|name| text(headers, name));
                let value = value.ok_or_else(|| unsigned("the header X-Burrow-Signature-256 is missing: sha256= and the HMAC-SHA256 of the body in hex"))?;
                signed(SignatureKind::Sha256, value.strip_prefix("sha256=").unwrap_or("-"))
            }
            Adapter::Gitlab => {
                let shown = headers.get("x-gitlab-token").map(HeaderValue::as_bytes);
                token(shown, "the header X-Gitlab-Token is missing: enter the secret token in the webhook's settings")
            }
            Adapter::Gerrit { from, .. } => {
                if peer.is_some_and(|peer| from.iter().any(|network| network.contains(peer.address.ip()))) {
                    return Ok(Proof::Done(Speaks::for_all()));
                }
                let bearer = text(headers, "authorization").and_then(|value| value.strip_prefix("Bearer ")).map(|token| token.trim().as_bytes().to_vec());
                let asked = || url::form_urlencoded::parse(query.unwrap_or_default().as_bytes()).find(|(name, _)| name == "token");
                let shown = bearer.or_else(|| asked().map(|(_, value)| value.into_owned().into_bytes()));
                token(shown.as_deref(), "there is no token: write ?token=… behind the address in the plugin's configuration")
            }
        }
    }

    /// Reads the body and checks its signature. The memory is given back when what is returned is dropped.
    async fn read(&self, headers: &HeaderMap, mut body: Body, proof: Proof) -> Result<(Vec<u8>, Speaks, Held), Refusal> {
        let limit = self.bounds.body;
        let too_large =
            || Refusal::new(Outcome::TooLarge, StatusCode::PAYLOAD_TOO_LARGE, format!("a delivery of more than {limit} bytes is not taken (`limits.body_mb`)"));
        let said: Option<usize> = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
        if said.is_some_and(|said| said > limit) {
            return Err(too_large());
        }
        let (mut check, signature, mut speaks) = match proof {
            Proof::Done(speaks) => (None, Vec::new(), Some(speaks)),
            Proof::Signed(check, signature) => (Some(check), signature, None),
        };
        let start = Instant::now();
        let mut bytes: Vec<u8> = Vec::with_capacity(said.unwrap_or(0).min(SMALL));
        let mut memory = Held::default();
        loop {
            let deadline = start + self.bounds.patience + Duration::from_secs((bytes.len() / PER_SECOND) as u64);
            let frame = match timeout_at(deadline, body.frame()).await {
                Err(_) => return Err(Refusal::new(Outcome::TooSlow, StatusCode::REQUEST_TIMEOUT, "the body came too slowly")),
                Ok(None) => break,
                Ok(Some(Err(_))) => return Err(Refusal::new(Outcome::TooSlow, StatusCode::BAD_REQUEST, "the body was cut off")),
                Ok(Some(Ok(frame))) => frame,
            };
            let Ok(part) = frame.into_data() else { continue };
            let total = bytes.len().saturating_add(part.len());
            if total > limit {
                return Err(too_large());
            }
            if total <= SMALL {
                self.reserve(&self.bounds.small, &mut memory, total).await?;
            } else {
                // One that has grown takes all it needs from the others' pool, and gives back what it had of this one.
                let small = if bytes.len() <= SMALL { std::mem::take(&mut memory) } else { Held::default() };
                self.reserve(&self.bounds.large, &mut memory, total).await?;
                drop(small);
            }
            if let Some(check) = &mut check {
                check.update(&part);
            }
            bytes.extend_from_slice(&part);
        }
        if let Some(check) = check {
            let fits = check.finish(&signature);
            let refused = "the signature does not fit: is the secret in the webhook's settings the one that is configured here?";
            speaks = Some(fits.ok_or_else(|| Refusal::new(Outcome::BadSignature, StatusCode::FORBIDDEN, refused))?);
        }
        Ok((bytes, speaks.unwrap_or_default(), memory))
    }

    /// Makes `held` enough for so many bytes.
    async fn reserve(&self, pool: &Arc<Semaphore>, held: &mut Held, bytes: usize) -> Result<(), Refusal> {
        let more = bytes.div_ceil(UNIT).saturating_sub(held.units);
        if more == 0 {
            return Ok(());
        }
        let wanted = u32::try_from(more).unwrap_or(u32::MAX);
        match tokio::time::timeout(self.bounds.queue, Arc::clone(pool).acquire_many_owned(wanted)).await {
            Ok(Ok(permit)) => {
                held.units += more;
                match &mut held.permit {
                    Some(held) => held.merge(permit),
                    none => *none = Some(permit),
                }
                Ok(())
            }
            _ => Err(Refusal::new(Outcome::Busy, StatusCode::SERVICE_UNAVAILABLE, "too many large deliveries at once; send it again in a moment")),
        }
    }

    fn understand(&self, headers: &HeaderMap, body: &[u8], speaks: Speaks) -> Result<Verdict, Malformed> {
        let kind = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let is = |name: &str| kind.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case(name));
        let first = |names: &[&'static str]| names.iter().find_map(|name| text(headers, name));
        let (event, delivery) = match &self.hook.adapter {
            Adapter::Github { .. } => (first(&["x-github-event"]), first(&["x-github-delivery"])),
            Adapter::Gitea => {
                (first(&["x-forgejo-event", "x-gitea-event", "x-gogs-event"]), first(&["x-forgejo-delivery", "x-gitea-delivery", "x-gogs-delivery"]))
            }
            // `X-Gitlab-Event-UUID` is the same for all hooks that one action sets off; only this one names a delivery.
            Adapter::Gitlab => (first(&["x-gitlab-event"]), first(&["idempotency-key"])),
            Adapter::Gerrit { .. } => (None, None),
            Adapter::Generic(_) => (None, first(&["x-burrow-delivery", "idempotency-key"])),
        };
        let envelope =
            Envelope { source: &self.hook.source.name, event, delivery, form: is("application/x-www-form-urlencoded"), text: is("text/plain"), speaks };
        match &self.hook.adapter {
            Adapter::Github { .. } => github::read(&envelope, body),
            Adapter::Gitlab => gitlab::read(&envelope, body),
            Adapter::Gitea => gitea::read(&envelope, body),
            Adapter::Gerrit { url, .. } => gerrit::read(&envelope, url, body),
            Adapter::Generic(about) => generic::read(&envelope, about, body),
        }
    }
}

/// Memory that one body holds of a pool.
#[derive(Debug, Default)]
struct Held {
    units: usize,
    permit: Option<OwnedSemaphorePermit>,
}

fn text<'h>(headers: &'h HeaderMap, name: &'static str) -> Option<&'h str> {
    headers.get(HeaderName::from_static(name))?.to_str().ok()
}
