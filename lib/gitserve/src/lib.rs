//! Serves bare git repositories to builders: source archives, clones and fetches, references and commits as JSON.
//!
//! The crate reads repositories that somebody else keeps up to date (see [`Repositories`]). Objects are read in this process; nothing that a client says
//! ever becomes an argument of a program, except hashes that were found here.
//!
//! | request | answer |
//! |---|---|
//! | `GET /<name>.tar.gz?rev=<hash, branch or tag>` (`.tgz`, `.tar.zst`, `.tar`; `&path=`, `&prefix=`) | the files, exactly as `git archive` packs them |
//! | `git clone http://…/<name>` or `<name>.git` | git's smart protocol, read-only |
//! | `GET /<name>/refs.json`, `/<name>/commits.json?rev=&limit=&after=`, `/<name>/commit/<hash>.json` | the same for programs |
//!
//! Names may contain slashes. Only what published references lead to is given away, unless a token says more.
//!
//! ```no_run
//! # fn example(repositories: std::sync::Arc<dyn burrow_gitserve::Repositories>) -> std::io::Result<()> {
//! use burrow_gitserve::{Options, Server};
//! let server = Server::new(repositories, "cache".as_ref(), burrow_clock::SystemClock::shared(), Options::default())?;
//! let router = axum::Router::new().merge(server.router());
//! # let _ = router; Ok(()) }
//! ```

mod archive;
pub mod ask;
mod attributes;
mod cache;
mod depot;
mod download;
mod feed;
mod json;
pub mod packetline;
pub mod range;
mod reach;
mod refusal;
mod repositories;
mod server;
mod smart;
mod squeeze;
mod tar;
mod wants;

pub use repositories::{Boxed, Repositories, Repository, Rights, Visibility};
pub use server::{Figures, Options, Server};
