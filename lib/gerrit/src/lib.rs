//! Gerrit, from outside: its REST interface ([`Client`]), and its git side, where every change's history lies as commits ([`Repository`]).
//!
//! The REST part asks for changes, comments, projects and branches, read only, and gives plain structures; errors are kinds that a caller decides by
//! ([`Error`]). The git part lists references, fetches objects by their hashes, and reads commits as Go's `maintner` log wants them: the bytes of
//! `git cat-file commit` and the lines of `git diff-tree --numstat`. Fetching is the `git` program's work; objects are read in this process. Only the
//! numbers of added and deleted lines come from one long-lived `git diff-tree --stdin`: they must equal git's own, whose search for a difference
//! takes short cuts that no other implementation takes in the same places (the one in gix differs by a line in about one pair of files in a thousand).
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use burrow_gerrit::{Auth, Client, Query, Repository, Settings};
//! let client = Client::new(Settings { base: "https://go-review.googlesource.com".into(), ..Settings::default() })?;
//! let query = Query::new("label:Run-TryBot=1 status:open").option("CURRENT_REVISION");
//! let mut pages = client.changes(query);
//! while let Some(page) = pages.next().await? {
//!     for change in page {
//!         println!("{} {}", change.number, change.subject);
//!     }
//! }
//! let limit = std::time::Duration::from_secs(600);
//! let repo = Repository::open("tools.git".as_ref(), "https://go.googlesource.com/tools", &Auth::None).await?;
//! for (name, hash) in repo.ls_remote(limit).await? {
//!     println!("{hash} {name}");
//! }
//! # Ok(()) }
//! ```

mod auth;
mod client;
mod error;
mod model;
mod numstat;
mod objects;
mod repository;
mod time;

pub use auth::{Auth, AuthError};
pub use burrow_git::{Error as GitError, Oid};
pub use client::{Client, Pages, Query, Settings, change_key};
pub use error::Error;
pub use model::{Account, Approval, Branch, Change, ChangeMessage, ChangeStatus, Comment, CommitInfo, CommitParent, Label, Person, Project, Revision, Tag};
pub use numstat::FileStat;
pub use objects::RawCommit;
pub use repository::Repository;
pub use time::{BadTime, Time};
