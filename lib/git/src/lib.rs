//! Mirrors of git repositories: branches, commits, files, and the bytes of source trees.
//!
//! A [`Mirror`] is a bare repository in a folder of ours that follows a remote one. The `git` program fetches, because
//! its transport is the one that works with every server, proxy and credential; objects are read in this process
//! (gix), because a process per commit costs more than the reading.
//!
//! What was ever mirrored stays readable: nothing is collected, and a tip that a force push or a deletion left behind
//! is held by `refs/burrow/keep/<id>`, so that even a `git gc` by hand does not take a commit that has results.
//!
//! ```no_run
//! # async fn example() -> Result<(), burrow_git::Error> {
//! use std::{path::Path, time::Duration};
//! let mirror = burrow_git::Mirror::open(Path::new("mirrors/widget"), "https://git.example.org/widget.git").await?;
//! mirror.fetch(Duration::from_secs(60)).await?;
//! for (branch, tip) in mirror.branches().await? {
//!     println!("{branch} is at {tip}");
//! }
//! # Ok(()) }
//! ```

mod error;
mod mirror;
mod oid;
pub mod program;
mod read;
mod stream;
mod tree;

pub use error::Error;
pub use mirror::Mirror;
pub use oid::{BadOid, Oid};
pub use read::Commit;
