//! Mirrors git repositories: from any git server to any number of destinations, within seconds, and without ever losing what was there.
//!
//! A [`Mirror`] keeps a bare repository of each upstream and pushes what changes to its destinations. Each upstream and each destination has a queue of its own:
//! one that is down holds up nobody. Before a reference is changed anywhere its old value is in a journal, from which it can be restored; a reference is
//! changed only if it still has the value that we know of; deletions stop at a limit until somebody confirms them; and one reference that a destination
//! refuses is set aside alone while the others go through.
//!
//! The life of a repository is a pure [step](model::State::step) with a shell around it: after a `kill -9` the rows say how to go on. git programs move the
//! objects (their transport works with every server); references of folders and of HTTP servers are read in this process, so that a look at an upstream that
//! has not changed starts no program.
//!
//! Facts and what is done otherwise than in the reference: `spec/gitmirror.md`, mainly §9.

pub mod access;
pub mod cache;
pub mod child;
pub mod config;
pub mod control;
mod discover;
pub mod drill;
pub mod http;
mod look;
pub mod metrics;
mod mirror;
pub mod model;
mod notify;
mod pages;
pub mod plan;
mod push;
pub mod refs;
pub mod remote;
pub mod rules;
pub mod shell;
pub mod status;
mod step;
pub mod store;
mod transfer;
mod wake;
pub mod wire;

pub use config::Config;
pub use mirror::{Deps, Mirror, RefsChanged, StartError};
pub use status::Status;
