//! Events: hints that something changed somewhere, so that nobody need poll.
//!
//! An [`Event`] carries nothing worth trusting. It names a place (a repository, a change, an issue), and whoever cares looks there. What is here keeps them
//! and hands them on without losing one: the [`Log`] is durable, gives every event a number and a strictly increasing time, and wakes thousands of waiters
//! with bytes that were rendered once; the [`Follower`] reads the same from a pubsubhelper elsewhere. Both are a [`Feed`], which is all that a consumer
//! needs to know.
//!
//! Facts: `spec/pubsubhelper.md` §3.2–3.5 (the JSON, the waiting, the buffer), §7 rows 1–6 (what is done otherwise than in the reference, and why).
//!
//! ```
//! # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
//! use burrow_events::{After, Draft, Feed as _, Github, Item, Log, Options, Topics};
//! use futures_util::StreamExt as _;
//!
//! let dir = tempfile::tempdir().unwrap();
//! let log = Log::open(dir.path(), Options::new(burrow_clock::SystemClock::shared()))?;
//! let mut feed = log.follow(After::Now, Topics::parse(["github:golang/*"])?);
//! assert!(matches!(feed.next().await, Some(Item::Up)));
//!
//! let github = Github { action: "opened".into(), owner: "golang".into(), repo: "go".into(), issue: 57000, pull_request: 0 };
//! let draft = Draft { source: "github".into(), topics: vec!["github:golang/go".into()], github: Some(github), ..Draft::default() };
//! log.append(draft).await.unwrap();
//!
//! let Some(Item::Event(event)) = feed.next().await else { panic!("no event") };
//! assert_eq!(event.github.as_ref().unwrap().issue, 57000);
//! log.close().await;
//! # Ok::<_, Box<dyn std::error::Error>>(()) }).unwrap();
//! ```

mod event;
mod feed;
mod follower;
pub mod json;
pub mod log;
mod place;
pub mod time;
mod topics;

pub use event::{Change, Draft, Event, Gerrit, Github, Push};
pub use feed::{After, Feed, Item};
pub use follower::{Follower, FollowerError};
pub use log::{AppendError, Appended, Batch, Log, Next, OpenError, Options, Position, Retention, Stored, Subscription, Waited};
pub use place::place_of;
pub use topics::{BadTopic, Topics};
