//! Changes as server-sent events, and the number that cached pages are kept under.
//!
//! The coordinator publishes each change with a number. [`Feed`] takes them in when somebody asks for a page: rows of changed commits are read
//! again, and the number becomes part of the page's stamp. Nothing runs between requests. The newest changes are kept so that a browser that
//! lost its connection continues where it was; one that was away too long is told to fetch its page again (`reset`).

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::{Query, State};
use axum::http::HeaderMap;
use axum::response::Response;
use burrow_results::boards::Boards;
use burrow_web::sse;
use bytes::Bytes;
use serde::Deserialize;
use tokio::sync::broadcast::{self, error::RecvError, error::TryRecvError};

use crate::control::{Change, Control};
use crate::http::Site;
use crate::pages::state;

/// Changes kept for browsers that come back.
const KEPT: usize = 2_048;
/// Changes of so long a moment travel together.
const GATHER: Duration = Duration::from_millis(120);
/// A silent connection is shown to be alive this often.
const ALIVE: Duration = Duration::from_secs(20);

/// The newest changes, and which of them the cached cells already know.
pub struct Feed {
    inner: Mutex<Inner>,
}

struct Inner {
    receiver: broadcast::Receiver<(u64, Change)>,
    recent: VecDeque<(u64, Change)>,
    newest: u64,
    /// Changes up to this number are no longer known one by one.
    floor: u64,
}

impl Feed {
    /// Listens from now on.
    pub fn new(control: &dyn Control) -> Feed {
        let receiver = control.changes();
        let newest = control.generation();
        Feed { inner: Mutex::new(Inner { receiver, recent: VecDeque::new(), newest, floor: newest }) }
    }

    /// Takes in what happened since the last call. Returns the number of the newest change that `boards` now knows.
    pub fn sync(&self, boards: &Boards) -> u64 {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            match inner.receiver.try_recv() {
                Ok((number, change)) => {
                    match &change {
                        Change::Build { repo, hash, .. } => boards.changed(repo, hash),
                        Change::Config => boards.forget(),
                        Change::Step { .. } | Change::Source { .. } | Change::Machines => {}
                    }
                    inner.newest = inner.newest.max(number);
                    if inner.recent.len() == KEPT
                        && let Some((number, _)) = inner.recent.pop_front()
                    {
                        inner.floor = number;
                    }
                    inner.recent.push_back((number, change));
                }
                Err(TryRecvError::Lagged(_)) => {
                    boards.forget();
                    inner.recent.clear();
                    // Everything up to the next change that arrives is unknown; its number is at most one above this.
                    inner.floor = u64::MAX;
                }
                Err(TryRecvError::Empty | TryRecvError::Closed) => break,
            }
        }
        if inner.floor == u64::MAX {
            inner.floor = inner.recent.front().map_or(inner.newest, |(number, _)| number.saturating_sub(1));
        }
        inner.newest
    }

    /// What happened after `since`; `None` if that is not known any more.
    fn after(&self, since: u64) -> Option<Vec<(u64, Change)>> {
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if since < inner.floor || since > inner.newest {
            return None;
        }
        Some(inner.recent.iter().filter(|(number, _)| *number > since).cloned().collect())
    }
}

/// What a page listens to; empty: everything.
#[derive(Debug, Default, Deserialize)]
pub struct Interest {
    since: Option<u64>,
    repo: Option<String>,
    branch: Option<String>,
    build: Option<i64>,
}

impl Interest {
    fn wants(&self, change: &Change) -> bool {
        match change {
            Change::Build { build, repo, branch, .. } => match self.build {
                Some(only) => build.0 == only,
                None => {
                    self.repo.as_ref().is_none_or(|only| only == repo) && (self.branch.is_none() || branch.is_empty() || self.branch.as_deref() == Some(branch))
                }
            },
            Change::Step { build, .. } => self.build == Some(build.0),
            Change::Source { repo, branch } => {
                self.build.is_none()
                    && self.repo.as_ref().is_none_or(|only| only == repo)
                    && (self.branch.is_none() || branch.is_empty() || self.branch.as_deref() == Some(branch))
            }
            Change::Machines => self.build.is_none() && self.repo.is_none(),
            Change::Config => true,
        }
    }
}

fn write(out: &mut String, number: u64, change: &Change) {
    let mut data = serde_json::to_value(change).unwrap_or_default();
    // The script shows the new state at once; it must not have words of its own for that.
    if let (Change::Build { state, .. }, Some(data)) = (change, data.as_object_mut()) {
        data.insert("class".into(), state::class(*state, false).into());
        data.insert("word".into(), state::short(*state, false).into());
    }
    sse::event(out, Some(&number.to_string()), "change", &data.to_string());
}

/// `GET /events?since=&repo=&branch=&build=`: changes from a number on, resumable with `Last-Event-ID`.
pub async fn events(State(site): State<Arc<Site>>, Query(interest): Query<Interest>, headers: HeaderMap) -> Response {
    // Registered first, then looked: what happens in between is seen twice, and told once.
    let receiver = site.control().changes();
    let newest = site.stamp().generation;
    let since = sse::last_id(&headers).and_then(|id| id.parse().ok()).or(interest.since).unwrap_or(newest);
    let mut first = String::from(sse::RETRY);
    match site.feed().after(since) {
        Some(changes) => changes.iter().filter(|(_, change)| interest.wants(change)).for_each(|(number, change)| write(&mut first, *number, change)),
        None => sse::event(&mut first, Some(&newest.to_string()), "reset", "{}"),
    }
    let stream = futures_util::stream::unfold((receiver, newest, interest, Some(first)), |(mut receiver, mut told, interest, first)| async move {
        if let Some(first) = first {
            return Some((Ok(Bytes::from(first)), (receiver, told, interest, None)));
        }
        let mut out = String::new();
        match tokio::time::timeout(ALIVE, receiver.recv()).await {
            Err(_) => out.push_str(sse::KEEP_ALIVE),
            Ok(Err(RecvError::Closed)) => return None,
            Ok(Err(RecvError::Lagged(_))) => sse::event(&mut out, None, "reset", "{}"),
            Ok(Ok((number, change))) => {
                let mut tell = |out: &mut String, number: u64, change: &Change| {
                    if number > told && interest.wants(change) {
                        write(out, number, change);
                    }
                    told = told.max(number);
                };
                tell(&mut out, number, &change);
                tokio::time::sleep(GATHER).await;
                loop {
                    match receiver.try_recv() {
                        Ok((number, change)) => tell(&mut out, number, &change),
                        Err(TryRecvError::Lagged(_)) => sse::event(&mut out, None, "reset", "{}"),
                        Err(TryRecvError::Empty | TryRecvError::Closed) => break,
                    }
                }
            }
        }
        Some((Ok(Bytes::from(out)), (receiver, told, interest, None)))
    });
    sse::answer(stream)
}
