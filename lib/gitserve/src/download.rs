//! `<name>.tar.gz?rev=`: who asks for what, from the cache or freshly made, whole or in part.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::Stream;
use sha2::{Digest, Sha256};

use crate::archive::{self, Failure, Order, Way};
use crate::ask::{Format, Query, Rev, parse_path, parse_prefix};
use crate::cache::Stored;
use crate::depot::{Found, Miss, descend};
use crate::feed::{Broken, Feed, Reader};
use crate::range::{self, Range};
use crate::refusal::Refusal;
use crate::repositories::{Rights, Visibility};
use crate::server::{Caller, Server};
use crate::squeeze;

/// Part of every validator and cache key: to be raised when the bytes of archives change.
const WRITER: &str = "1";

/// Productions that are running, by cache key.
#[derive(Default)]
pub(crate) struct Running(Mutex<HashMap<String, Arc<Feed>>>);

impl Running {
    /// How many.
    pub(crate) fn count(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}

/// One archive, as it is named in the cache.
#[derive(Clone)]
struct Wanted {
    key: String,
    order: Arc<Order>,
    format: Format,
    /// A bare tree is archived with the time of now, so it is never the same twice.
    kept: bool,
}

impl Server {
    /// Answers a request for an archive.
    pub(crate) async fn archive(&self, caller: &Caller, format: Format, method: &Method, query: &Query, headers: &HeaderMap) -> Result<Response, Refusal> {
        if method != Method::GET && method != Method::HEAD {
            return Err(Refusal::method("GET, HEAD"));
        }
        let rev = Rev::parse(query.get("rev").unwrap_or_default())?;
        let path = parse_path(query.get("path").unwrap_or_default())?;
        let prefix = parse_prefix(query.get("prefix").unwrap_or_default())?;
        let found = self.find_revision(caller, &rev).await?;
        let tree = match path.as_slice() {
            [] => found.tree,
            _ => {
                let path = path.clone();
                self.reading(caller, move |_, repo| descend(repo, found.tree, &path)).await?
            }
        };
        let time = match found.commit {
            Some(_) => found.time,
            None => u64::try_from(self.inner.clock.now_ms() / 1000).ok(),
        };
        let name = found.commit.unwrap_or(found.tree).to_hex().to_string();
        let mut hash = Sha256::new();
        // Every part is closed by a byte that none contains.
        for part in [&caller.name, &name, format.word(), WRITER, &path.join("/"), &prefix] {
            hash.update(part.as_bytes());
            hash.update([0]);
        }
        let key: String = hash.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect();
        let order = Order {
            dir: caller.repository.dir.clone(),
            config: self.inner.git_config.clone(),
            commit: found.commit,
            tree,
            path: path.join("/"),
            time,
            prefix,
            most: caller.repository.max_archive_bytes,
        };
        let wanted = Wanted { order: Arc::new(order), format, kept: found.commit.is_some(), key };
        // The key stands for the place of the archive's root, the commit for its content.
        let tag = format!("\"{name}-{}-{}\"", format.word(), wanted.key.get(..12).unwrap_or_default());
        let mut fixed = HeaderMap::new();
        if wanted.kept {
            fixed.insert(header::ETAG, HeaderValue::from_str(&tag).map_err(|_| Refusal::internal("no validator"))?);
        }
        let scope = if caller.repository.visibility == Visibility::Private || caller.rights == Rights::Everything { "private" } else { "public" };
        let control = match (wanted.kept, rev.is_fixed()) {
            (false, _) => "no-store".to_owned(),
            (true, true) => format!("{scope}, max-age=31536000, immutable"),
            (true, false) => format!("{scope}, no-cache"),
        };
        fixed.insert(header::CACHE_CONTROL, HeaderValue::from_str(&control).map_err(|_| Refusal::internal("no cache rule"))?);
        if wanted.kept && headers.get(header::IF_NONE_MATCH).is_some_and(|list| names(list, &tag)) {
            return Ok((StatusCode::NOT_MODIFIED, fixed).into_response());
        }
        fixed.insert(header::CONTENT_TYPE, HeaderValue::from_static(format.media_type()));
        fixed.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
        self.send(wanted, method, headers, &tag, fixed).await
    }

    async fn send(&self, wanted: Wanted, method: &Method, headers: &HeaderMap, tag: &str, mut fixed: HeaderMap) -> Result<Response, Refusal> {
        let ready = loop {
            if let Some(stored) = self.stored(&wanted).await {
                break Ok(stored);
            }
            if method == Method::HEAD {
                // Its length is known only when it has been made.
                return Ok((StatusCode::OK, fixed).into_response());
            }
            // `None`: it was finished between the two looks.
            if let Some(reader) = self.produce(&wanted, false) {
                break Err(reader);
            }
        };
        // `If-Range` with an old validator, or with a date, asks for the whole.
        let range = headers.get(header::RANGE).and_then(|range| range.to_str().ok());
        let range = range.filter(|_| wanted.kept && headers.get(header::IF_RANGE).is_none_or(|same| same.as_bytes() == tag.as_bytes()));
        let (source, length, whole) = match ready {
            Ok(stored) => {
                self.inner.counts.from_cache.fetch_add(1, Ordering::Relaxed);
                (Source::Stored(stored.clone()), Some(stored.length), None)
            }
            Err(reader) => {
                // Nothing has been said to the client before there is something: a failure can still have its own status.
                let first = reader.read(0).await.map_err(refusal)?.unwrap_or_default();
                let whole = match range {
                    Some(_) => reader.whole().await.map_err(refusal)?,
                    None => None,
                };
                let length = reader.length();
                (Source::Live(reader, first), length, whole)
            }
        };
        let seekable = if matches!(source, Source::Stored(_)) { length } else { whole };
        let part = match (range, seekable) {
            (Some(range), Some(length)) => range::parse(range, length),
            _ => Range::Whole,
        };
        let (status, start, end) = match (part, length) {
            (Range::Unsatisfiable, Some(length)) => {
                let value = HeaderValue::from_str(&format!("bytes */{length}")).map_err(|_| Refusal::internal("no range"))?;
                fixed.remove(header::CONTENT_TYPE);
                return Ok((StatusCode::RANGE_NOT_SATISFIABLE, [(header::CONTENT_RANGE, value)], fixed).into_response());
            }
            (Range::Part { start, end }, Some(length)) => {
                let value = HeaderValue::from_str(&format!("bytes {start}-{}/{length}", end - 1)).map_err(|_| Refusal::internal("no range"))?;
                fixed.insert(header::CONTENT_RANGE, value);
                (StatusCode::PARTIAL_CONTENT, start, Some(end))
            }
            (_, length) => (StatusCode::OK, 0, length),
        };
        if let Some(end) = end {
            fixed.insert(header::CONTENT_LENGTH, HeaderValue::from(end - start));
        }
        if method == Method::HEAD {
            return Ok((status, fixed, Body::empty()).into_response());
        }
        let sending = Sending { server: self.clone(), wanted, source, at: start, end, length };
        Ok((status, fixed, Body::from_stream(sending.stream())).into_response())
    }

    async fn stored(&self, wanted: &Wanted) -> Option<Stored> {
        if !wanted.kept {
            return None;
        }
        let (server, key) = (self.clone(), wanted.key.clone());
        burrow_task::spawn_blocking(move || server.inner.cache.get(&key)).await.ok().flatten()
    }

    /// Joins the production of this archive, or begins it; but not (`None`) when it is kept, unless that is of no use.
    fn produce(&self, wanted: &Wanted, again: bool) -> Option<Reader> {
        let mut running = self.inner.running.0.lock().unwrap_or_else(PoisonError::into_inner);
        if wanted.kept
            && let Some(reader) = running.get(&wanted.key).and_then(Feed::join)
        {
            return Some(reader);
        }
        if wanted.kept && !again && self.inner.cache.has(&wanted.key) {
            return None;
        }
        let scratch = if wanted.kept { self.inner.cache.scratch() } else { None };
        let file = scratch.as_ref().and_then(|scratch| scratch.file.try_clone().ok());
        let feed = Feed::new(file, self.inner.cache.most());
        // Before the work begins: it would end at once if nobody waited for it.
        let reader = feed.first_reader();
        if wanted.kept {
            running.insert(wanted.key.clone(), Arc::clone(&feed));
        }
        drop(running);
        self.inner.counts.made.fetch_add(1, Ordering::Relaxed);
        let (server, wanted) = (self.clone(), wanted.clone());
        burrow_task::spawn(async move {
            let permit = Arc::clone(&server.inner.productions).acquire_owned().await;
            let work = {
                let (server, feed, wanted) = (server.clone(), Arc::clone(&feed), wanted.clone());
                move || {
                    let result = server.make(&wanted, &feed);
                    if let Err(broken) = &result {
                        server.inner.counts.broken.fetch_add(1, Ordering::Relaxed);
                        tracing::warn!(repository = %wanted.order.dir.display(), tree = %wanted.order.tree, error = %broken, "An archive was not completed.");
                    }
                    if let (Some(finished), Some(scratch)) = (feed.finish(result), &scratch) {
                        match server.inner.cache.keep(&wanted.key, scratch.path(), &finished) {
                            Ok(()) => feed.retire(),
                            Err(error) => tracing::warn!(%error, "An archive was sent but could not be kept."),
                        }
                    }
                }
            };
            let done = burrow_task::spawn_blocking(work).await;
            if let Err(error) = done {
                feed.finish(Err(Broken::Failed(error.to_string().into())));
            }
            drop(permit);
            // Kept by now: whoever comes next finds either this or the file.
            let mut running = server.inner.running.0.lock().unwrap_or_else(PoisonError::into_inner);
            if running.get(&wanted.key).is_some_and(|current| Arc::ptr_eq(current, &feed)) {
                running.remove(&wanted.key);
            }
        });
        Some(reader)
    }

    fn make(&self, wanted: &Wanted, feed: &Feed) -> Result<(), Broken> {
        let order = &wanted.order;
        let failed = |error: &dyn std::fmt::Display| Broken::Failed(error.to_string().into());
        let open = self.inner.depot.get(&order.dir).map_err(|error| failed(&error))?;
        let explain = |failure: Failure| match failure {
            Failure::TooBig { .. } => Broken::TooBig(failure.to_string().into()),
            other => failed(&other),
        };
        let way: Way = archive::survey(&open.repo(), order).map_err(explain)?;
        let runtime = tokio::runtime::Handle::current();
        let tar = |out: &mut dyn crate::tar::Sink| {
            // git programs need the runtime, and this is another thread.
            let _inside = runtime.enter();
            archive::write(&open.repo(), order, way, out)
        };
        squeeze::pack::<Failure>(wanted.format, self.inner.options.threads, tar, &mut |bytes| feed.push(bytes)).map_err(explain)
    }

    /// Finds a revision; when it is not here, the repository's owner is asked to fetch it.
    pub(crate) async fn find_revision(&self, caller: &Caller, rev: &Rev) -> Result<Found, Refusal> {
        let look = || {
            let (rev, published, rights) = (rev.clone(), caller.published.clone(), caller.rights);
            self.reading(caller, move |open, repo| open.resolve(repo, &rev, &published, rights))
        };
        match look().await {
            Err(Miss::Unknown) => {}
            found => return Ok(found?),
        }
        let name = match &rev.base {
            crate::ask::Base::Hash(text) | crate::ask::Base::Name(text) => text,
        };
        let told = self.inner.wants.fetch(self, &caller.name, name).await;
        match look().await {
            Err(Miss::Unknown) if !told => {
                let text = "the revision is not here, and it could not be found out now whether there is one: the mirror's status says why; ask again";
                Err(Refusal::busy(text, "10"))
            }
            found => Ok(found?),
        }
    }
}

fn refusal(broken: Broken) -> Refusal {
    match broken {
        Broken::TooBig(text) => Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, text.to_string()),
        Broken::Failed(_) => Refusal::internal("the archive could not be made"),
    }
}

/// Whether a list of entity tags has this one. A weak one will do for `If-None-Match`.
fn names(list: &HeaderValue, tag: &str) -> bool {
    list.to_str().is_ok_and(|list| list.split(',').map(str::trim).any(|one| one == "*" || one.strip_prefix("W/").unwrap_or(one) == tag))
}

enum Source {
    Stored(Stored),
    /// With what was read already.
    Live(Reader, Bytes),
}

/// The body of one answer.
struct Sending {
    server: Server,
    wanted: Wanted,
    source: Source,
    at: u64,
    end: Option<u64>,
    /// Of the whole archive, when it is known: what a replacement must have too.
    length: Option<u64>,
}

impl Sending {
    /// An error is the last item: the connection is then cut, so that the client cannot take a part for the whole.
    fn stream(self) -> Pin<Box<dyn Stream<Item = Result<Bytes, std::io::Error>> + Send>> {
        Box::pin(futures_util::stream::unfold(Some(self), |sending| async move {
            let mut sending = sending?;
            match sending.next().await {
                Ok(None) => None,
                Ok(Some(bytes)) => Some((Ok(bytes), Some(sending))),
                Err(error) => Some((Err(error), None)),
            }
        }))
    }

    async fn next(&mut self) -> Result<Option<Bytes>, std::io::Error> {
        if self.end == Some(self.at) {
            return Ok(None);
        }
        let mut bytes = match &mut self.source {
            Source::Stored(stored) => match stored.read(self.at, self.end.unwrap_or(u64::MAX)).await {
                Ok(bytes) => bytes,
                Err(error) => {
                    tracing::warn!(%error, key = %self.wanted.key, "An archive in the cache is damaged and is made again.");
                    self.server.inner.cache.remove(&self.wanted.key);
                    self.again().await?
                }
            },
            Source::Live(_, first) if self.at < first.len() as u64 => first.slice(usize::try_from(self.at).unwrap_or(0)..),
            Source::Live(reader, _) => match reader.read(self.at).await {
                Ok(Some(bytes)) => bytes,
                Ok(None) if self.end.is_some_and(|end| end != self.at) => return Err(std::io::Error::other("the archive ends too early")),
                Ok(None) => return Ok(None),
                Err(broken) => return Err(std::io::Error::other(broken.to_string())),
            },
        };
        if let Some(end) = self.end {
            bytes.truncate(usize::try_from(end.saturating_sub(self.at)).unwrap_or(usize::MAX));
        }
        self.at += bytes.len() as u64;
        Ok(Some(bytes))
    }

    /// The same archive is the same bytes when it is made again, so the client need not know.
    async fn again(&mut self) -> Result<Bytes, std::io::Error> {
        let failed = |broken: Broken| std::io::Error::other(broken.to_string());
        let Some(reader) = self.server.produce(&self.wanted, true) else { return Err(std::io::Error::other("the archive cannot be made again")) };
        let mut passed = 0;
        loop {
            let Some(bytes) = reader.read(passed).await.map_err(failed)? else { return Err(std::io::Error::other("the archive ends too early")) };
            let next = passed + bytes.len() as u64;
            if next > self.at {
                let skip = usize::try_from(self.at - passed).unwrap_or(usize::MAX);
                self.source = Source::Live(reader, Bytes::new());
                // What was promised in the headers stays the measure.
                self.end = self.end.or(self.length);
                return Ok(bytes.slice(skip.min(bytes.len())..));
            }
            passed = next;
        }
    }
}
