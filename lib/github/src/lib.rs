//! GitHub's REST interface as far as a mirror of issues needs it: issues, comments, events, reviews, labels and milestones of a repository, read only.
//!
//! A [`Client`] asks; what it gets is converted once, here, into plain structures ([`Issue`], [`Event`], …). Three things are shared by all that uses one
//! client:
//!
//! - one [`Budget`] for all repositories and kinds of question: a pace of our own, and GitHub's limits as its answers state them;
//! - validators (`ETag`) together with what they stand for, so that an unchanged page costs nothing of GitHub's limit, even after a restart
//!   ([`Client::save`], [`Client::load`]);
//! - [`Error`] kinds which say what to do: give up on the thing, follow it elsewhere, wait until a moment, try again, tell a person.
//!
//! Nothing is retried here and nothing waits for a limit of GitHub's: who asks knows what else there is to do meanwhile, and shows why it waits.
//!
//! Why not octocrab: its typed events drop the fields that they do not know, which the log must keep ([`Event::other_json`]); it hides the `Date` of answers,
//! by which a list is known to be complete, and the validators; and it brings a stack of its own (chrono, snafu, jsonwebtoken, tower layers, a second
//! TLS connector) for calls that are one GET each.
//!
//! ```no_run
//! # async fn example(clock: burrow_clock::SharedClock) -> Result<(), burrow_github::Error> {
//! use burrow_github::{Budget, Client, Pace, RepoName, Settings};
//! let budget = Budget::new(Pace { per_second: 10, burst: 10 }, clock.clone());
//! let client = Client::new(Settings { token: Some("t0ken".into()), ..Settings::default() }, budget, clock)?;
//! let repo: RepoName = "golang/go".parse().expect("a name");
//! let mut pages = client.issues(&repo);
//! while let Some(page) = pages.next().await? {
//!     if page.unmodified {
//!         break;
//!     }
//!     for issue in page.items {
//!         println!("#{} {}", issue.number, issue.title);
//!     }
//! }
//! # Ok(()) }
//! ```

mod budget;
mod cache;
mod client;
mod error;
mod event;
mod json;
mod link;
mod model;
mod name;
mod pages;
mod read;
mod time;

pub use budget::{Budget, BudgetState, Limit, Pace, Window};
pub use cache::{CacheError, CacheStats};
pub use client::{Answer, Client, Settings};
pub use error::{Error, LimitKind, Place};
pub use event::{Commit, DismissedReview, Event, Review};
pub use model::{Comment, Issue, Label, Milestone, Repository, Team, User};
pub use name::{BadRepoName, RepoName};
pub use pages::{Page, Pages};
pub use read::Read;
pub use time::{BadTime, Time};
