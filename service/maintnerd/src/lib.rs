//! The leader of a mutation log: keeps it, serves it to followers, copies it.
//!
//! A [`Log`] is a folder of segments with one writer. What [`Log::append`] acknowledged is on disk, and nothing is shown to anybody before it is; so a
//! crash never takes back what a follower has seen, which is what makes followers throw away all they have. [`http`] serves the folder at `/logs` as the
//! reference's clients expect it, [`mirror`] keeps a copy in an object store and [`restore`](restore::restore) gets it back, [`convert`] makes logs of the
//! reference's forms into this one and back, [`verify`](verify::verify) reads a whole log and names every fault with its place.
//!
//! Facts: `spec/maintner.md` §2 (files), §5.1 (endpoints), §10 (what is done otherwise than in the reference, and why).
//!
//! ```
//! # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
//! use burrow_maintnerd::{Log, Options};
//! use protocol_mutlog::{Records, schema};
//!
//! let dir = tempfile::tempdir().unwrap();
//! let log = Log::open(dir.path(), Options::new(burrow_clock::SystemClock::shared()))?;
//! let mutation = schema::Mutation { github: Some(schema::GithubMutation { owner: b"golang".to_vec(), ..Default::default() }), ..Default::default() };
//! let at = log.append(mutation.encode()).await.unwrap();
//!
//! let bytes = log.read(at.segment, at.offset..at.offset + at.size).await.unwrap();
//! assert_eq!(Records::new(&bytes, at.offset).next().unwrap().unwrap().payload, mutation.encode());
//! assert_eq!(log.snapshot().total, at.total);
//! log.close().await;
//! # Ok::<_, burrow_maintnerd::log::OpenError>(()) }).unwrap();
//! ```

pub mod api;
mod bucket;
pub mod config;
pub mod convert;
mod folder;
mod frames;
pub mod grpc;
pub mod http;
pub mod leader;
pub mod log;
pub mod mirror;
pub mod pages;
pub mod poll;
pub mod restore;
pub mod reviews;
pub mod status;
pub mod verify;

pub use bucket::{Bucket, BucketError};
pub use folder::FillError;
pub use frames::FrameFault;
pub use leader::Leader;
pub use log::{Log, Options};
