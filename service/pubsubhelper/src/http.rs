//! Handing events out: to the reference's clients byte for byte as they expect it, and to ours with more.
//!
//! Facts: `spec/pubsubhelper.md` §3. Where the reference of 2023 and that of 2026 differ, it is answered as in 2023: any method but GET at `/waitevent` is a
//! 400, `/recent` and `/healthz` take any method. (In 2026 the router says 405 there.)

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{any, get};
use burrow_events::{After, Next, Position, Stored, Subscription, Topics, Waited, json, time};
use burrow_web::sse;
use bytes::{Bytes, BytesMut};
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use crate::hub::Hub;
use crate::readers::Readers;

/// What readers are given.
#[derive(Debug, Clone)]
pub struct Out {
    /// Log and clock.
    pub hub: Hub,
    /// Who may read what.
    pub readers: Readers,
    /// How long `/waitevent` waits.
    pub wait: Duration,
    /// Those who wait are sent away.
    pub shutdown: CancellationToken,
}

/// Most events of one answer.
const MOST: usize = 1_000;
/// Silence after which a stream of events sends a comment, so that nobody on the way thinks it dead.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// Says that events before these are not kept any more, or were of a log that is gone.
static GAP: HeaderName = HeaderName::from_static("burrow-gap");

/// `/waitevent`, `/recent`, `/events`, `/events.json`.
pub fn router(out: Out) -> Router {
    Router::new()
        .route("/waitevent", any(waitevent))
        .route("/recent", any(recent))
        .route("/events", get(events))
        .route("/events.json", get(list))
        .with_state(out)
}

/// What a query asks for.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// `after`: later than this.
    pub after: Option<Timestamp>,
    /// `after_id`: after the event with this number; wins over `after`.
    pub after_id: Option<u64>,
    /// `before`: older than the event with this number.
    pub before: Option<u64>,
    /// `max`: at most so many; makes the answer of `/waitevent` an array.
    pub max: Option<usize>,
    /// `topic`, any number of times.
    pub topics: Topics,
}

impl Asked {
    /// Reads a query. Of what is given several times, the first counts; what is empty is not given.
    ///
    /// # Errors
    /// What the client is told; of `after` in the reference's words.
    pub fn parse(query: &str) -> Result<Asked, String> {
        let mut asked = Asked::default();
        let mut patterns: Vec<String> = Vec::new();
        let mut seen = Vec::new();
        for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
            if name == "topic" {
                patterns.extend((!value.is_empty()).then(|| value.into_owned()));
                continue;
            }
            if value.is_empty() || seen.contains(&name) {
                continue;
            }
            let number = || value.parse::<u64>().map_err(|_| format!("'{name}' parameter is not a number"));
            match name.as_ref() {
                "after" => asked.after = Some(time::parse(&value).ok_or("'after' parameter is not in time.RFC3339Nano format")?),
                "after_id" => asked.after_id = Some(number()?),
                "before" => asked.before = Some(number()?),
                "max" => asked.max = Some(usize::try_from(number()?).unwrap_or(MOST).min(MOST)),
                _ => continue,
            }
            seen.push(name);
        }
        if patterns.len() > 100 {
            return Err("more than 100 'topic' parameters".into());
        }
        asked.topics = Topics::parse(patterns).map_err(|error| error.to_string())?;
        Ok(asked)
    }

    fn begin(&self) -> After {
        match (self.after_id, self.after) {
            (Some(id), _) => After::Id(id),
            (None, Some(time)) => After::Time(time),
            (None, None) => After::Now,
        }
    }
}

/// What the request may read of what it asks for, or its refusal.
fn admit(out: &Out, headers: &HeaderMap, query: Option<&str>) -> Result<(Asked, Topics), Box<Response>> {
    let rights = out.readers.rights(headers).map_err(|no| Box::new(no.answer()))?;
    let asked = Asked::parse(query.unwrap_or_default()).map_err(|why| Box::new((StatusCode::BAD_REQUEST, why + "\n").into_response()))?;
    let topics = asked.topics.clone().and(&rights);
    Ok((asked, topics))
}

fn answer(body: impl Into<Body>) -> Response {
    let mut answer = Response::new(body.into());
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json; charset=utf-8"));
    answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}

/// An array as `/recent` writes it.
fn array(objects: impl IntoIterator<Item = Bytes>) -> Vec<Bytes> {
    let mut parts = vec![Bytes::from_static(b"[\n")];
    for (index, object) in objects.into_iter().enumerate() {
        if index > 0 {
            parts.push(Bytes::from_static(b",\n"));
        }
        parts.push(object);
    }
    parts.push(Bytes::from_static(b"\n]\n"));
    parts
}

fn joined(parts: Vec<Bytes>) -> Bytes {
    let mut all = BytesMut::with_capacity(parts.iter().map(Bytes::len).sum());
    parts.iter().for_each(|part| all.extend_from_slice(part));
    all.freeze()
}

async fn waitevent(State(out): State<Out>, method: Method, headers: HeaderMap, RawQuery(query): RawQuery) -> Response {
    if method != Method::GET {
        return (StatusCode::BAD_REQUEST, "requires GET\n").into_response();
    }
    let (asked, topics) = match admit(&out, &headers, query.as_deref()) {
        Ok(admitted) => admitted,
        Err(refusal) => return *refusal,
    };
    let timeout = |position: Position| Bytes::from(json::timeout(position.time, position.id));
    if asked.max == Some(0) {
        // Where the log stands, at once: from there a client misses nothing.
        return answer(joined(array([timeout(out.hub.log.position())])));
    }
    let limit = async {
        tokio::select! {
            () = tokio::time::sleep(out.wait) => {}
            () = out.shutdown.cancelled() => {}
        }
    };
    let (batch, objects) = match out.hub.log.wait(asked.begin(), &topics, asked.max.unwrap_or(1), limit).await {
        Waited::Events(batch) => {
            let objects: Vec<Bytes> = batch.events.iter().map(|stored| stored.json()).collect();
            (batch, objects)
        }
        Waited::Nothing(batch) => {
            let object = timeout(batch.position);
            (batch, vec![object])
        }
        Waited::Closed => return (StatusCode::SERVICE_UNAVAILABLE, "the event log is closed\n").into_response(),
    };
    let body = match asked.max {
        Some(_) => joined(array(objects)),
        None => objects.into_iter().next().unwrap_or_default(),
    };
    let mut answer = answer(body);
    if batch.gap {
        answer.headers_mut().insert(GAP.clone(), HeaderValue::from_static("1"));
    }
    answer
}

async fn recent(State(out): State<Out>, headers: HeaderMap, RawQuery(query): RawQuery) -> Response {
    let (asked, topics) = match admit(&out, &headers, query.as_deref()) {
        Ok(admitted) => admitted,
        Err(refusal) => return *refusal,
    };
    let mut kept = out.hub.log.recent(asked.after, &topics);
    kept.truncate(asked.max.unwrap_or(usize::MAX));
    let parts = array(kept.iter().map(|stored| stored.json()));
    drop(kept);
    let length: usize = parts.iter().map(Bytes::len).sum();
    // Many small pieces would be many small writes.
    let mut answer = if length < 1 << 20 {
        answer(joined(parts))
    } else {
        let pieces = futures_util::stream::unfold(VecDeque::from(parts), |mut parts| async move {
            let mut piece = BytesMut::with_capacity(64 << 10);
            while let Some(part) = parts.pop_front() {
                piece.extend_from_slice(&part);
                if piece.len() >= 60 << 10 {
                    break;
                }
            }
            (!piece.is_empty()).then(|| (Ok::<Bytes, std::io::Error>(piece.freeze()), parts))
        });
        answer(Body::from_stream(pieces))
    };
    answer.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(length));
    answer
}

/// Events as they come, as server-sent events. `Last-Event-ID` wins over the query: a client that connects again sends the query of its first time.
async fn events(State(out): State<Out>, headers: HeaderMap, RawQuery(query): RawQuery) -> Response {
    let (asked, topics) = match admit(&out, &headers, query.as_deref()) {
        Ok(admitted) => admitted,
        Err(refusal) => return *refusal,
    };
    let after = match sse::last_id(&headers).map(str::parse) {
        Some(Ok(id)) => After::Id(id),
        Some(Err(_)) => return (StatusCode::BAD_REQUEST, "Last-Event-ID is not a number of ours\n").into_response(),
        None => asked.begin(),
    };
    struct Streaming {
        subscription: Subscription,
        shutdown: CancellationToken,
        begun: bool,
    }
    let streaming = Streaming { subscription: out.hub.log.subscribe(after, topics), shutdown: out.shutdown.clone(), begun: false };
    let stream = futures_util::stream::unfold(streaming, |mut streaming| async move {
        if !std::mem::replace(&mut streaming.begun, true) {
            return Some((Ok(Bytes::from_static(sse::RETRY.as_bytes())), streaming));
        }
        let next = tokio::select! {
            next = streaming.subscription.next() => next,
            () = tokio::time::sleep(KEEP_ALIVE) => return Some((Ok(Bytes::from_static(sse::KEEP_ALIVE.as_bytes())), streaming)),
            () = streaming.shutdown.cancelled() => return None,
        };
        let first = frame(next?);
        let rest = streaming.subscription.ready();
        if rest.is_empty() {
            return Some((Ok(first), streaming));
        }
        // What came at the same time goes out as one piece.
        Some((Ok(joined(std::iter::once(first).chain(rest.into_iter().map(frame)).collect())), streaming))
    });
    sse::answer(stream)
}

fn frame(next: Next) -> Bytes {
    match next {
        Next::Event(stored) => stored.sse(),
        Next::Gap => Bytes::from_static(b"event: gap\ndata: {}\n\n"),
    }
}

/// Events page by page, newest first.
async fn list(State(out): State<Out>, headers: HeaderMap, RawQuery(query): RawQuery) -> Response {
    let (asked, topics) = match admit(&out, &headers, query.as_deref()) {
        Ok(admitted) => admitted,
        Err(refusal) => return *refusal,
    };
    let max = asked.max.unwrap_or(100).max(1);
    let page: Vec<Arc<Stored>> = out.hub.log.before(asked.before, &topics, max);
    let next = page.last().filter(|_| page.len() == max).map(|last| {
        let wanted = url::form_urlencoded::parse(query.as_deref().unwrap_or_default().as_bytes()).filter(|(name, _)| name == "topic" || name == "max");
        let query = url::form_urlencoded::Serializer::new(format!("before={}", last.event.id)).extend_pairs(wanted).finish();
        format!("/events.json?{query}")
    });
    let mut parts = vec![Bytes::from_static(b"{\"events\":")];
    parts.extend(array(page.iter().map(|stored| stored.json())));
    parts.push(format!(",\"next\":{}}}\n", serde_json::Value::from(next)).into());
    answer(joined(parts))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_read() {
        let asked = Asked::parse("after=2022-12-29T17:59:20%2B02:00&after=x&max=5&topic=github:a/*&topic=&topic=git:b&other=1&after_id=").unwrap();
        assert_eq!((asked.after.map(time::format).as_deref(), asked.max, asked.after_id), (Some("2022-12-29T15:59:20Z"), Some(5), None));
        assert!(asked.topics.matches(&["git:b".into()]) && !asked.topics.matches(&["git:c".into()]));
        assert_eq!(Asked::parse("after=&max=").unwrap(), Asked::default());
        assert_eq!(Asked::parse("after=2022-12-29T17:59:20+02:00").unwrap_err(), "'after' parameter is not in time.RFC3339Nano format");
        assert_eq!(Asked::parse("after_id=-1").unwrap_err(), "'after_id' parameter is not a number");
        assert_eq!(Asked::parse("max=99999999").unwrap().max, Some(MOST));
        assert!(Asked::parse("topic=a%20b").is_err());
    }
}
