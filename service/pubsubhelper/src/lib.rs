//! Takes webhooks and mail, keeps what they tell of as events, and hands these out.
//!
//! Every source is data: an [adapter](sources) reads what a forge sends into drafts of events, [`webhook`] proves who sent it before anything is read, the
//! [log](burrow_events::Log) keeps it, and [`http`] answers the reference's clients and ours. A source that falls silent for longer than it ever was is
//! [noticed](silence), because that is how a broken hook looks.
//!
//! Facts: `spec/pubsubhelper.md` (§3 endpoints, §4 GitHub, §7 what is done otherwise than in the reference, and why).
//!
//! [`Service::start`] makes it of a [`Config`] and serves it until it is told to stop.

pub mod alert;
pub mod config;
pub mod counters;
pub mod http;
pub mod hub;
pub mod mail;
pub mod metrics;
pub mod network;
pub mod pages;
pub mod readers;
pub mod secrets;
pub mod serve;
pub mod service;
pub mod silence;
pub mod sources;
pub mod status;
pub mod stream;
pub mod webhook;

pub use config::Config;
pub use hub::Hub;
pub use service::{Deps, Service, StartError};
