//! Logs as text: finished ones by the hash of their content, growing ones by attempt.
//!
//! A reader pulls piece after piece; between two pieces nothing is held for it but its place in the file, so one that stops reading costs
//! nobody anything.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::header::{ACCEPT_RANGES, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, IF_NONE_MATCH, RANGE};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::Response;
use burrow_results::model::AttemptId;
use burrow_web::{Problem, sse};
use bytes::{Buf as _, Bytes};
use serde::Deserialize;

use super::{Site, nothing, refused};
use crate::control::LogReader;
use crate::pages::ansi;

/// A body that gives what the reader gives, after `skip` bytes and at most `take`.
pub fn body_of(reader: Box<dyn LogReader>, skip: u64, take: u64) -> Body {
    Body::from_stream(futures_util::stream::unfold((reader, skip, take), |(mut reader, mut skip, take)| async move {
        if take == 0 {
            return None;
        }
        loop {
            match reader.next().await {
                Ok(Some(mut piece)) => {
                    let drop = usize::try_from(skip).unwrap_or(usize::MAX).min(piece.len());
                    piece.advance(drop);
                    skip -= drop as u64;
                    if piece.is_empty() {
                        continue;
                    }
                    piece.truncate(usize::try_from(take).unwrap_or(usize::MAX));
                    let take = take - piece.len() as u64;
                    return Some((Ok(piece), (reader, skip, take)));
                }
                Ok(None) => return None,
                Err(error) => return Some((Err(error), (reader, 0, 0))),
            }
        }
    }))
}

fn text(status: StatusCode, body: Body, pairs: &[(HeaderName, &str)]) -> Response {
    let mut answer = Response::new(body);
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    for (name, value) in pairs {
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(name, value);
        }
    }
    answer
}

/// `GET /log/{hash}`: what stands after the last slash is the hash (`dashboard.md` §4.8).
pub(crate) async fn by_hash(State(site): State<Arc<Site>>, Path(path): Path<String>, headers: HeaderMap) -> Result<Response, Problem> {
    let hash = path.rsplit('/').next().unwrap_or_default().to_ascii_lowercase();
    if !(40..=64).contains(&hash.len()) || !hash.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(nothing("A log is named by the 40 digits of its hash.", "Follow the link on a build's page."));
    }
    let tag = format!("\"{hash}\"");
    let fixed = [(ETAG, tag.as_str()), (CACHE_CONTROL, "public, max-age=31536000, immutable"), (ACCEPT_RANGES, "bytes")];
    if headers.get(IF_NONE_MATCH).and_then(|known| known.to_str().ok()).is_some_and(|known| known.contains(tag.as_str())) {
        return Ok(text(StatusCode::NOT_MODIFIED, Body::empty(), &fixed[..2]));
    }
    let (length, reader) = site.control().log_by_hash(hash.clone()).await.map_err(refused)?;
    match headers.get(RANGE).and_then(|range| range.to_str().ok()).map_or(Wanted::All, |range| wanted(range, length)) {
        Wanted::All => {
            let mut answer = text(StatusCode::OK, body_of(reader, 0, u64::MAX), &fixed);
            answer.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(length));
            Ok(answer)
        }
        Wanted::Part(from, to) => {
            let take = to - from + 1;
            let mut answer = text(StatusCode::PARTIAL_CONTENT, body_of(reader, from, take), &fixed);
            answer.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(take));
            if let Ok(range) = HeaderValue::from_str(&format!("bytes {from}-{to}/{length}")) {
                answer.headers_mut().insert(CONTENT_RANGE, range);
            }
            Ok(answer)
        }
        Wanted::Nothing => Ok(text(StatusCode::RANGE_NOT_SATISFIABLE, Body::empty(), &[(CONTENT_RANGE, &format!("bytes */{length}"))])),
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Wanted {
    All,
    Part(u64, u64),
    Nothing,
}

/// One range of bytes; several, or anything else, counts as "all", which RFC 9110 §14.2 allows.
fn wanted(range: &str, length: u64) -> Wanted {
    let Some((from, to)) = range.strip_prefix("bytes=").filter(|range| !range.contains(',')).and_then(|range| range.split_once('-')) else {
        return Wanted::All;
    };
    let (from, to) = (from.trim(), to.trim());
    let last = length.saturating_sub(1);
    match (from.parse::<u64>(), to.parse::<u64>()) {
        (Ok(from), _) if from >= length => Wanted::Nothing,
        (Ok(from), Ok(to)) if from <= to => Wanted::Part(from, to.min(last)),
        (Ok(from), Err(_)) if to.is_empty() => Wanted::Part(from, last),
        (Err(_), Ok(0)) if from.is_empty() => Wanted::Nothing,
        (Err(_), Ok(count)) if from.is_empty() && length > 0 => Wanted::Part(length.saturating_sub(count), last),
        _ => Wanted::All,
    }
}

/// Where to begin and whether to wait for more.
#[derive(Debug, Deserialize)]
pub(super) struct From {
    #[serde(default)]
    offset: u64,
    follow: Option<u8>,
}

/// `GET /attempt/{id}/log?offset=&follow=0`: the log of an attempt, live while it runs.
pub(super) async fn of_attempt(State(site): State<Arc<Site>>, Path(id): Path<i64>, Query(from): Query<From>) -> Result<Response, Problem> {
    let reader = site.control().log(AttemptId(id), from.offset, from.follow != Some(0)).await.map_err(refused)?;
    Ok(text(StatusCode::OK, body_of(reader, 0, u64::MAX), &[(CACHE_CONTROL, "no-store"), (HeaderName::from_static("x-accel-buffering"), "no")]))
}

/// `GET /attempt/{id}/tail?offset=`: the same as events for a page. Each event holds whole lines as HTML; its id is the offset to resume at.
pub(super) async fn tail(State(site): State<Arc<Site>>, Path(id): Path<i64>, Query(from): Query<From>, headers: HeaderMap) -> Result<Response, Problem> {
    let offset = sse::last_id(&headers).and_then(|id| id.parse().ok()).unwrap_or(from.offset);
    let reader = site.control().log(AttemptId(id), offset, true).await.map_err(refused)?;
    let first = Bytes::from_static(sse::RETRY.as_bytes());
    let state = (Some(first), Some(reader), offset, Vec::<u8>::new());
    Ok(sse::answer(futures_util::stream::unfold(state, |(first, reader, mut offset, mut rest)| async move {
        if let Some(first) = first {
            return Some((Ok(first), (None, reader, offset, rest)));
        }
        let mut reader = reader?;
        let mut out = String::new();
        loop {
            match tokio::time::timeout(std::time::Duration::from_secs(20), reader.next()).await {
                // `next` may be dropped while it waits: it has taken nothing yet.
                Err(_) => out.push_str(sse::KEEP_ALIVE),
                Ok(Ok(Some(piece))) => {
                    rest.extend_from_slice(&piece);
                    let whole = match rest.iter().rposition(|byte| *byte == b'\n') {
                        Some(at) => at + 1,
                        // A line that never ends is shown in parts.
                        None if rest.len() >= ansi::LONGEST => rest.len(),
                        None => continue,
                    };
                    let lines: Vec<u8> = rest.drain(..whole).collect();
                    offset += whole as u64;
                    let mut html = String::with_capacity(lines.len() * 2);
                    for line in lines.strip_suffix(b"\n").unwrap_or(&lines).split(|byte| *byte == b'\n') {
                        html.push_str("<div><a></a><span>");
                        ansi::line(&mut html, line);
                        html.push_str("</span></div>");
                    }
                    sse::event(&mut out, Some(&offset.to_string()), "lines", &html);
                }
                Ok(Ok(None) | Err(_)) => {
                    if !rest.is_empty() {
                        let mut html = String::from("<div><a></a><span>");
                        ansi::line(&mut html, &rest);
                        html.push_str("</span></div>");
                        offset += rest.len() as u64;
                        rest.clear();
                        sse::event(&mut out, Some(&offset.to_string()), "lines", &html);
                    }
                    sse::event(&mut out, None, "end", "{}");
                    return Some((Ok(Bytes::from(out)), (None, None, offset, rest)));
                }
            }
            return Some((Ok(Bytes::from(out)), (None, Some(reader), offset, rest)));
        }
    })))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_understood_as_browsers_and_download_tools_send_them() {
        assert_eq!(wanted("bytes=0-9", 100), Wanted::Part(0, 9));
        assert_eq!(wanted("bytes=90-", 100), Wanted::Part(90, 99));
        assert_eq!(wanted("bytes=-10", 100), Wanted::Part(90, 99));
        assert_eq!(wanted("bytes=-500", 100), Wanted::Part(0, 99));
        assert_eq!(wanted("bytes=50-500", 100), Wanted::Part(50, 99));
        assert_eq!(wanted("bytes=100-", 100), Wanted::Nothing);
        assert_eq!(wanted("bytes=9-3", 100), Wanted::All);
        assert_eq!(wanted("bytes=0-1,5-6", 100), Wanted::All);
        assert_eq!(wanted("lines=1-2", 100), Wanted::All);
        assert_eq!(wanted("bytes=-5", 0), Wanted::All);
    }
}
