//! The classic endpoints that move files: `/write`, `/writetgz`, `/tgz`, `/ls`, `/removeall` (spec buildlet.md §3).

use std::io;
use std::sync::Arc;

use hyper::StatusCode;
use hyper::body::Incoming;
use protocol_buildlet::form::Fields;
use protocol_buildlet::mode::GoMode;
use protocol_buildlet::parse_bool;
use tokio::sync::mpsc;

use crate::incoming::BodyReader;
use crate::platform;
use crate::reply::{Reply, ReplyBody, error, stream, text};
use crate::untar::{UntarError, is_escape, open_for_writing, untar};
use crate::walk::{self, Listing};
use crate::workdir::make_dirs;
use crate::worker::Worker;

fn bad(message: impl std::fmt::Display) -> Reply {
    error(StatusCode::BAD_REQUEST, message)
}

/// 400 for a path that leaves the work directory through a link, else 500.
fn io_error(e: &io::Error) -> Reply {
    if is_escape(e) { bad("the path leads out of the work directory") } else { error(StatusCode::INTERNAL_SERVER_ERROR, e) }
}

/// Runs what blocks on its own thread.
async fn blocking(action: impl FnOnce() -> Reply + Send + 'static) -> Reply {
    burrow_task::spawn_blocking(action).await.unwrap_or_else(|e| error(StatusCode::INTERNAL_SERVER_ERROR, e))
}

/// The checked `dir` parameter; empty or absent is the work directory itself.
fn dir_of(worker: &Worker, query: &Fields) -> Result<String, Box<Reply>> {
    match query.get("dir").unwrap_or("") {
        "" => Ok(".".to_owned()),
        dir => worker.work.check(dir).map(|()| protocol_buildlet::path::clean(dir)).map_err(|e| Box::new(bad(format!("invalid 'dir' parameter: {e}")))),
    }
}

/// `PUT /write`.
pub(crate) async fn write(worker: &Arc<Worker>, query: &Fields, body: Incoming) -> Reply {
    let path = query.get("path").unwrap_or("").to_owned();
    if let Err(e) = worker.work.check(&path) {
        return bad(e);
    }
    let Some(mode) = query.get("mode").and_then(GoMode::from_parameter) else { return bad("bad mode") };
    let mut reader = BodyReader::new(body);
    let worker = Arc::clone(worker);
    blocking(move || {
        let result = (|| {
            let path = protocol_buildlet::path::clean(&path);
            let root = worker.work.open()?;
            if let Some((parent, _)) = path.rsplit_once('/') {
                make_dirs(&root, parent)?;
            }
            if cfg!(target_os = "macos") && mode.permissions() & 0o111 != 0 {
                let _ = root.remove_file(&path);
            }
            let file = open_for_writing(&root, &path, mode.permissions())?;
            io::copy(&mut reader, &mut &file)?;
            platform::set_mode(&file, mode.posix_permissions() & 0o777)
        })();
        match result {
            Ok(()) => text("OK"),
            Err(e) => io_error(&e),
        }
    })
    .await
}

/// `PUT /writetgz`.
pub(crate) async fn write_tgz(worker: &Arc<Worker>, query: &Fields, body: Incoming) -> Reply {
    let dir = match dir_of(worker, query) {
        Ok(dir) => dir,
        Err(reply) => return *reply,
    };
    extract(worker, dir, BodyReader::new(body)).await
}

async fn extract(worker: &Arc<Worker>, dir: String, reader: impl io::Read + Send + 'static) -> Reply {
    let worker = Arc::clone(worker);
    blocking(move || match untar(&worker.work, &dir, reader) {
        Ok(()) => text("OK"),
        Err(e @ UntarError::Archive(_)) => bad(e),
        Err(e @ UntarError::Io(_)) => error(StatusCode::INTERNAL_SERVER_ERROR, e),
    })
    .await
}

/// `POST /writetgz`: the worker fetches the archive itself.
pub(crate) async fn write_tgz_from_url(worker: &Arc<Worker>, query: &Fields, form: &Fields) -> Reply {
    let dir = match dir_of(worker, query) {
        Ok(dir) => dir,
        Err(reply) => return *reply,
    };
    // Images may bring Go's old bootstrap compiler along.
    if dir == "go1.4" && worker.work.open().is_ok_and(|root| root.is_dir("go1.4")) {
        return text("SKIP");
    }
    let Some(url) = form.get("url").or_else(|| query.get("url")).filter(|u| !u.is_empty()) else { return bad("missing url POST param") };
    match worker.fetcher.get(url).await {
        Ok(body) => extract(worker, dir, BodyReader::pump(body)).await,
        Err(e) => error(StatusCode::INTERNAL_SERVER_ERROR, format!("fetching {url}: {e}")),
    }
}

/// `GET /tgz`.
pub(crate) async fn tgz(worker: &Arc<Worker>, query: &Fields) -> Reply {
    let dir = match dir_of(worker, query) {
        Ok(dir) => dir,
        Err(reply) => return *reply,
    };
    let root = match worker.work.open() {
        Ok(root) => root,
        Err(e) => return io_error(&e),
    };
    let (sender, pieces) = mpsc::channel(8);
    let runtime = tokio::runtime::Handle::current();
    burrow_task::spawn_blocking(move || walk::tgz(&root, &dir, &sender, &runtime));
    match ReplyBody::after_first(pieces).await {
        Ok(body) => stream("application/x-gzip", body),
        Err(e) if e.kind() == io::ErrorKind::NotFound => error(StatusCode::NOT_FOUND, format!("there is no such directory: {e}")),
        Err(e) => io_error(&e),
    }
}

/// `GET /ls`.
pub(crate) async fn ls(worker: &Arc<Worker>, query: &Fields) -> Reply {
    let dir = match dir_of(worker, query) {
        Ok(dir) => dir,
        Err(reply) => return *reply,
    };
    let flag = |name| query.get(name).and_then(parse_bool) == Some(true);
    let listing = Listing { recursive: flag("recursive"), digest: flag("digest"), skip: query.all("skip") };
    let root = match worker.work.open() {
        Ok(root) => root,
        Err(e) => return io_error(&e),
    };
    let (sender, pieces) = mpsc::channel(8);
    burrow_task::spawn_blocking(move || walk::list(&root, &dir, &listing, &sender));
    match ReplyBody::after_first(pieces).await {
        Ok(body) => stream("text/plain; charset=utf-8", body),
        Err(e) if is_escape(&e) => io_error(&e),
        Err(e) => error(StatusCode::INTERNAL_SERVER_ERROR, format!("Walk error: {e}")),
    }
}

/// `POST /removeall`.
pub(crate) async fn remove_all(worker: &Arc<Worker>, query: &Fields, form: &Fields) -> Reply {
    let mut paths = form.all("path");
    paths.extend(query.all("path"));
    if paths.is_empty() {
        return bad("requires 'path' parameter");
    }
    // All are checked before anything is removed.
    for path in &paths {
        if let Err(e) = worker.work.check(path) {
            return bad(format!("invalid 'path' parameter: {e}"));
        }
    }
    let worker = Arc::clone(worker);
    blocking(move || {
        for path in &paths {
            if let Err(e) = worker.work.remove(path) {
                return io_error(&e);
            }
        }
        text("")
    })
    .await
}
