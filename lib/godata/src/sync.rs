//! Filling a cache for others (`spec/maintner.md` §5.2).
//!
//! Programs of the Go project know a frozen segment by one thing only, the host that it comes from. With a server that serves its segments itself they keep every
//! segment as growing, and read and digest the whole log at every update. Where a file with the final name is there, they use it and look no further.

use std::path::PathBuf;

use crate::fetch::Stop;
use crate::server::{NoIndex, Server, pause_after};
use crate::source::Follower;
use crate::{Cache, Error, LocalSegment, Options};

/// How often an index may be out of date by the time its segments are asked for.
const STALE_TRIES: u32 = 3;

/// What is in the cache now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Synced {
    /// The whole log, from segment 0. All but the last one have their final names.
    pub segments: Vec<LocalSegment>,
    /// Bytes of all segments.
    pub total: u64,
}

/// Brings everything that the server has now into the cache in `dir`, with final names for all segments that are complete: those that the server says are frozen, and
/// every one that has another one behind it. Does not wait for more; an empty log is no error.
///
/// # Errors
/// As [`crate::Source::open`] and [`crate::Source::update`], but never [`Error::Split`].
pub async fn sync(server: &str, dir: impl Into<PathBuf>, options: Options) -> Result<Synced, Error> {
    let follower = Follower { server: Server::new(server, options)?, cache: Cache::open(dir)? };
    follower.server.cancellable(bring_all(&follower)).await
}

async fn bring_all(follower: &Follower) -> Result<Synced, Error> {
    let server = &follower.server;
    let mut stale = 1;
    loop {
        let index = match server.index(None, true).await {
            Ok(index) => index,
            Err(NoIndex::Failed(error)) => return Err(error),
            Err(NoIndex::Unreachable(source)) => {
                return Err(Error::Retryable { doing: format!("reading the index {}", server.url()), attempts: 1, source: source.into() });
            }
        };
        match follower.bring(follower.jobs(&index, true)?).await {
            Ok(done) => return Ok(Synced { segments: done.into_iter().map(|done| done.local).collect(), total: index.total() }),
            Err(Stop::Failed(error)) => return Err(error),
            Err(Stop::Stale { doing, cause }) if stale < STALE_TRIES => {
                server.retry(&doing, stale, Some(STALE_TRIES), pause_after(stale), &cause).await;
                stale += 1;
            }
            Err(Stop::Stale { doing, cause }) => return Err(Error::Fatal { doing, source: cause.into() }),
        }
    }
}
