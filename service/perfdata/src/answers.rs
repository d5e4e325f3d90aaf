//! `/search`, `/uploads` and the newer answers for programs (`spec/perfdata.md` §8, §9). Bodies are made while they are sent; what goes wrong then cuts the connection,
//! so that no client takes half an answer for the whole.

use std::io::Write as _;

use axum::body::Body;
use axum::http::header::{ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, ETAG, IF_NONE_MATCH, LINK, VARY};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::Response;
use burrow_perfstore::{Cursor, Error, Listed, Page, PerfStore, Place, Printer, Query, Search};
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use tokio::sync::mpsc;

use crate::http::{plain, store_error};
use crate::json;
use crate::params::{Params, escape};

/// Bytes of an answer that are sent at once.
const PIECE: usize = 64 << 10;
/// Uploads that are listed unless `limit` says otherwise.
const LISTED: usize = 1000;
/// Records of a page of `/search` at most.
const RECORDS: usize = 100_000;
/// Where the next page is.
const NEXT: HeaderName = HeaderName::from_static("next-page-token");

/// A body that is made while it is sent.
struct Sender {
    pieces: mpsc::Sender<Result<Bytes, std::io::Error>>,
    gzip: Option<GzEncoder<Vec<u8>>>,
}

impl Sender {
    /// Sends; `false`: the reader went away.
    async fn send(&mut self, piece: Vec<u8>) -> bool {
        let bytes = match &mut self.gzip {
            None => piece,
            Some(encoder) => {
                // Writing to memory cannot fail. Flushed, so that the first results are seen at once.
                let _ = encoder.write_all(&piece).and_then(|()| encoder.flush());
                std::mem::take(encoder.get_mut())
            }
        };
        bytes.is_empty() || self.pieces.send(Ok(bytes.into())).await.is_ok()
    }

    async fn finish(self) {
        if let Some(bytes) = self.gzip.and_then(|encoder| encoder.finish().ok()) {
            let _ = self.pieces.send(Ok(bytes.into())).await;
        }
    }

    async fn fail(self, error: &Error) {
        tracing::error!(error = %error, "An answer was cut off.");
        let _ = self.pieces.send(Err(std::io::Error::other(error.to_string()))).await;
    }
}

/// An answer with the headers that all have; `None` for what the client has already.
fn begin(headers: &HeaderMap, kind: &'static str, tag: &str) -> Result<(Response, Sender), Response> {
    let tag = HeaderValue::try_from(tag).unwrap_or(HeaderValue::from_static("W/\"0\""));
    if headers.get_all(IF_NONE_MATCH).iter().any(|known| known == tag) {
        let mut answer = Response::new(Body::empty());
        *answer.status_mut() = StatusCode::NOT_MODIFIED;
        answer.headers_mut().insert(ETAG, tag);
        return Err(answer);
    }
    let takes_gzip = headers.get_all(ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(',')).any(|one| {
        let mut parts = one.split(';').map(str::trim);
        parts.next() == Some("gzip") && !parts.any(|part| part == "q=0" || part == "q=0.0")
    });
    let (pieces, receiver) = mpsc::channel(2);
    let stream = futures_util::stream::unfold(receiver, async |mut receiver: mpsc::Receiver<_>| receiver.recv().await.map(|piece| (piece, receiver)));
    let mut answer = Response::new(Body::from_stream(stream));
    let out = answer.headers_mut();
    out.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    out.insert(ETAG, tag);
    out.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    out.insert(VARY, HeaderValue::from_static("accept-encoding"));
    if takes_gzip {
        out.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    Ok((answer, Sender { pieces, gzip: takes_gzip.then(|| GzEncoder::new(Vec::new(), Compression::new(2))) }))
}

/// A tag for the state of the store and what is asked of it.
fn tag(store: &PerfStore, what: &[&[u8]]) -> String {
    // FNV-1a: nobody gains by two equal tags.
    let hash = what
        .iter()
        .flat_map(|part| part.iter().chain(b"\0"))
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3));
    format!("W/\"{:x}-{hash:016x}\"", *store.changes().borrow())
}

fn parse(text: &[u8]) -> Result<Query, Response> {
    Query::parse(text).map_err(|error| plain(StatusCode::BAD_REQUEST, &error.to_string()))
}

/// `/search`.
pub(crate) async fn search(store: &PerfStore, params: &Params, headers: &HeaderMap) -> Result<Response, Response> {
    let text = params.first("q").unwrap_or_default();
    if text.is_empty() {
        return Err(plain(StatusCode::BAD_REQUEST, "missing q parameter"));
    }
    let query = parse(text)?;
    let limit = number(params, "limit", 0)?.unwrap_or(0);
    let limit = usize::try_from(limit).ok().filter(|limit| *limit > 0).map(|limit| limit.min(RECORDS));
    let after = place(params)?;
    let tag = tag(store, &[b"search", text, params.text("limit").as_bytes(), params.text("page_token").as_bytes()]);
    let (mut answer, mut sender) = begin(headers, "text/plain; charset=utf-8", &tag)?;
    let mut search = store.search(&query, after).await.map_err(|error| store_error(&error))?;
    let mut printer = Printer::new();
    let mut out = Vec::with_capacity(PIECE + (PIECE >> 2));
    if let Some(limit) = limit {
        let next = page(&mut search, limit, &mut printer, &mut out).await.map_err(|error| store_error(&error))?;
        if let Some(place) = next {
            let token = place.token();
            let link = format!("</search?q={}&limit={limit}&page_token={token}>; rel=\"next\"", escape(text));
            more(answer.headers_mut(), &token, &link);
        }
        burrow_task::spawn(async move {
            sender.send(out).await;
            sender.finish().await;
        });
        return Ok(answer);
    }
    // The first records before the head of the answer, so that what goes wrong at once has its status.
    let first = search.next().await.map_err(|error| store_error(&error))?;
    burrow_task::spawn(async move {
        let mut next = Ok(first);
        loop {
            match next {
                Ok(Some(records)) => {
                    records.iter().for_each(|(record, _)| printer.print(&record.labels, &record.part.units, &record.lines, &mut out));
                    if out.len() >= PIECE && !sender.send(std::mem::replace(&mut out, Vec::with_capacity(PIECE))).await {
                        return;
                    }
                }
                Ok(None) => break,
                Err(error) => return sender.fail(&error).await,
            }
            next = search.next().await;
        }
        sender.send(out).await;
        sender.finish().await;
    });
    Ok(answer)
}

/// Prints up to `limit` records; where more follow, the place to go on from.
async fn page(search: &mut Search, limit: usize, printer: &mut Printer, out: &mut Vec<u8>) -> Result<Option<Place>, Error> {
    let (mut count, mut last) = (0, None);
    while let Some(records) = search.next().await? {
        for (record, place) in records {
            if count >= limit {
                return Ok(last);
            }
            count += usize::from(!record.continues);
            printer.print(&record.labels, &record.part.units, &record.lines, out);
            last = Some(place);
        }
    }
    Ok(None)
}

fn more(headers: &mut HeaderMap, token: &str, link: &str) {
    headers.extend(HeaderValue::try_from(token).ok().map(|token| (NEXT, token)));
    headers.extend(HeaderValue::try_from(link).ok().map(|link| (LINK, link)));
}

fn place(params: &Params) -> Result<Option<Place>, Response> {
    match params.text("page_token") {
        "" => Ok(None),
        token => Place::parse(token).map(Some).ok_or_else(|| plain(StatusCode::BAD_REQUEST, "invalid page_token parameter")),
    }
}

fn number(params: &Params, name: &str, empty: i64) -> Result<Option<i64>, Response> {
    match params.first(name) {
        None | Some(b"") => Ok(Some(empty).filter(|_| params.first(name).is_some())),
        Some(text) => {
            let number = std::str::from_utf8(text).ok().and_then(|text| text.parse().ok());
            number.map(Some).ok_or_else(|| plain(StatusCode::BAD_REQUEST, &format!("invalid {name} parameter")))
        }
    }
}

/// `/uploads`.
pub(crate) async fn uploads(store: &PerfStore, params: &Params, headers: &HeaderMap) -> Result<Response, Response> {
    let text = params.first("q").unwrap_or_default().to_vec();
    let limit = match number(params, "limit", LISTED as i64)? {
        None => Some(LISTED),
        // 0 and less: all.
        Some(limit) => usize::try_from(limit).ok().filter(|limit| *limit > 0),
    };
    let query = parse(&text)?;
    let labels: Vec<Bytes> = params.all("extra_label").map(Bytes::copy_from_slice).collect();
    let mut after = match params.text("page_token") {
        "" => None,
        token => Some(Cursor::parse(token).ok_or_else(|| plain(StatusCode::BAD_REQUEST, "invalid page_token parameter"))?),
    };
    let joined = labels.join(&b","[..]);
    let tag = tag(store, &[b"uploads", &text, params.text("limit").as_bytes(), params.text("page_token").as_bytes(), &joined]);
    let (mut answer, mut sender) = begin(headers, "application/json", &tag)?;
    // The first part before the head of the answer; long lists go on while they are sent.
    let mut left = limit.unwrap_or(usize::MAX);
    let mut take = left.min(LISTED);
    let mut listed = store.uploads(&query, &labels, &Page { limit: Some(take), after }).await.map_err(|error| store_error(&error))?;
    if let (Some(last), Some(limit)) = (listed.last().filter(|_| Some(listed.len()) == limit), limit) {
        let token = last.cursor.token();
        let extra: String = labels.iter().map(|label| format!("&extra_label={}", escape(label))).collect();
        more(answer.headers_mut(), &token, &format!("</uploads?q={}{extra}&limit={limit}&page_token={token}>; rel=\"next\"", escape(&text)));
    }
    let store = store.clone();
    burrow_task::spawn(async move {
        loop {
            let full = listed.len() == take;
            left -= listed.len();
            after = listed.last().map(|last| last.cursor).or(after);
            if !sender.send(lines(&listed).into_bytes()).await {
                return;
            }
            if !full || left == 0 {
                break;
            }
            take = left.min(LISTED);
            listed = match store.uploads(&query, &labels, &Page { limit: Some(take), after }).await {
                Ok(listed) => listed,
                Err(error) => return sender.fail(&error).await,
            };
        }
        sender.finish().await;
    });
    Ok(answer)
}

/// One JSON object a line, as the Go client reads them.
fn lines(listed: &[Listed]) -> String {
    let mut out = String::new();
    for upload in listed {
        out.push_str(&format!("{{\"Count\":{},\"UploadID\":", upload.count));
        json::string(upload.name.as_bytes(), &mut out);
        for (at, (key, value)) in upload.labels.iter().enumerate() {
            out.push_str(if at == 0 { ",\"LabelValues\":{" } else { "," });
            json::string(key.as_bytes(), &mut out);
            out.push(':');
            json::string(value, &mut out);
        }
        out.push_str(if upload.labels.is_empty() { "}\n" } else { "}}\n" });
    }
    out
}

/// `/v1/series`: the numbers, one record a line as JSON, or one value a line as CSV.
pub(crate) async fn series(store: &PerfStore, params: &Params, headers: &HeaderMap) -> Result<Response, Response> {
    let text = params.first("q").unwrap_or_default();
    if text.is_empty() {
        return Err(plain(StatusCode::BAD_REQUEST, "missing q parameter"));
    }
    let query = parse(text)?;
    let csv = match params.text("format") {
        "" | "json" => false,
        "csv" => true,
        _ => return Err(plain(StatusCode::BAD_REQUEST, "invalid format parameter: json or csv")),
    };
    // Columns of the CSV form beside those that every row has.
    let labels: Vec<Bytes> = params.all("label").map(Bytes::copy_from_slice).collect();
    let tag = tag(store, &[b"series", text, params.text("format").as_bytes(), &labels.join(&b","[..])]);
    let (answer, mut sender) = begin(headers, if csv { "text/csv; charset=utf-8" } else { "application/x-ndjson" }, &tag)?;
    let mut series = store.series(&query).await.map_err(|error| store_error(&error))?;
    let mut next = Ok(series.next().await.map_err(|error| store_error(&error))?);
    burrow_task::spawn(async move {
        let mut out = String::new();
        if csv {
            out.push_str("upload,name,unit,value");
            labels.iter().for_each(|label| out.push_str(&format!(",{}", field(&String::from_utf8_lossy(label)))));
            out.push('\n');
        }
        loop {
            match next {
                Ok(Some(samples)) => {
                    samples.iter().for_each(|sample| if csv { csv_rows(sample, &labels, &mut out) } else { json_line(sample, &mut out) });
                    if out.len() >= PIECE && !sender.send(std::mem::take(&mut out).into_bytes()).await {
                        return;
                    }
                }
                Ok(None) => break,
                Err(error) => return sender.fail(&error).await,
            }
            next = series.next().await;
        }
        sender.send(out.into_bytes()).await;
        sender.finish().await;
    });
    Ok(answer)
}

fn json_line(sample: &burrow_perfstore::Sample, out: &mut String) {
    out.push_str("{\"name\":");
    json::string(&sample.name, out);
    out.push_str(",\"labels\":{");
    for (at, (key, value)) in sample.labels.iter().enumerate() {
        if at > 0 {
            out.push(',');
        }
        json::string(key, out);
        out.push(':');
        json::string(value, out);
    }
    out.push_str("},\"values\":[");
    for (at, column) in sample.columns.iter().enumerate() {
        out.push_str(if at > 0 { ",{\"unit\":" } else { "{\"unit\":" });
        json::string(&column.unit, out);
        out.push_str(",\"values\":[");
        for (at, value) in column.values.iter().enumerate() {
            if at > 0 {
                out.push(',');
            }
            // JSON has no infinities.
            if value.is_finite() { out.push_str(&value.to_string()) } else { out.push_str("null") }
        }
        out.push_str("]}");
    }
    out.push_str("]}\n");
}

fn csv_rows(sample: &burrow_perfstore::Sample, labels: &[Bytes], out: &mut String) {
    let upload = sample.labels.text("upload").unwrap_or_default();
    let mut tail = String::new();
    for label in labels {
        tail.push(',');
        tail.push_str(&field(&sample.labels.get(label).map(|value| String::from_utf8_lossy(value)).unwrap_or_default()));
    }
    for column in &sample.columns {
        let head = format!("{},{},{}", field(&upload), field(&String::from_utf8_lossy(&sample.name)), field(&String::from_utf8_lossy(&column.unit)));
        column.values.iter().for_each(|value| out.push_str(&format!("{head},{value}{tail}\n")));
    }
}

/// A field of CSV (RFC 4180).
fn field(text: &str) -> String {
    if text.contains(['"', ',', '\n', '\r']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text.to_owned() }
}

/// `/v1/changes`: what happened after a change; waits for one up to `wait` seconds.
pub(crate) async fn changes(store: &PerfStore, params: &Params) -> Result<Response, Response> {
    let after = number(params, "after", 0)?.unwrap_or(0);
    let wait = number(params, "wait", 0)?.unwrap_or(0).clamp(0, 55);
    let mut changed = store.changes();
    if wait > 0 {
        let _ = tokio::time::timeout(std::time::Duration::from_secs(wait.unsigned_abs()), changed.wait_for(|newest| *newest > after)).await;
    }
    let newest = *changed.borrow();
    let changes = store.changes_after(after, LISTED).await.map_err(|error| store_error(&error))?;
    let body = serde_json::json!({"newest": newest, "changes": changes}).to_string() + "\n";
    let mut answer = Response::new(Body::from(body));
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(answer)
}
