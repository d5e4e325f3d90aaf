//! A follower of any maintnerd: the log of mutations on this disk, complete, checked and kept up to date.
//!
//! [`Source`] is the network source of `spec/maintner.md` §5: [`Source::update`] waits until the server has something new, brings the missing bytes into a
//! [`Cache`] and says which they are. [`Tail`] skips history and hands out only what is appended from now on. [`sync`] fills a cache for programs of the Go
//! project, which share the directory: names, sizes and the way files are replaced are those of the reference.
//!
//! [`get`] puts the corpus on top: everything in memory, from a snapshot when there is one, and up to date.
//!
//! A follower trusts what it has checked: bytes become part of a cache only when their SHA-224 is the one in the
//! server's index and they are whole records.
//!
//! ```no_run
//! # async fn example() -> Result<(), burrow_godata::Error> {
//! use burrow_godata::{Options, Source};
//! let mut source = Source::open("https://maintner.golang.org/logs", "cache/golang-maintner", Options::default())?;
//! loop {
//!     let update = source.update().await?;
//!     for (segment, range) in update.new_ranges() {
//!         println!("{}: bytes {} to {}", segment.path.display(), range.start, range.end);
//!     }
//! }
//! # }
//! ```

mod cache;
mod error;
mod fetch;
mod live;
mod location;
mod options;
mod running;
mod server;
mod source;
mod sync;
mod tail;

pub use burrow_http_client::Trust;
pub use cache::{Cache, LocalSegment, Lock};
pub use error::{Cause, Error};
pub use live::{GetError, GetOptions, Live, get};
pub use location::{DEFAULT_SERVER, System, default_dir};
pub use options::{Ask, Bearer, Event, Http, Options, Pause, TokioPause, Watch};
pub use source::{NewBytes, SnapshotFailure, Source, Update};
pub use sync::{Synced, sync};
pub use tail::{Tail, TailBytes};
