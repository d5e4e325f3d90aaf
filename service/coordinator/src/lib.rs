//! The coordinator: finds work, schedules it, runs it, keeps every result.
//!
//! [`farm`] puts it together. The heart is a pure step over the state of [`model`]; [`shell`] writes its rows and then performs its effects; the runner drives
//! one attempt on its worker and can be taken up again after a restart; [`http`] serves pages and JSON over the same rows. `docs/architecture.md` walks through.

mod api;
pub mod control;
pub mod farm;
mod handle;
pub mod http;
pub mod legacy;
mod live;
pub mod load;
pub mod logs;
pub mod model;
pub mod pages;
mod pushes;
mod reload;
pub mod reverse;
mod rows;
mod runner;
mod serve;
mod session;
mod shards;
pub mod shell;
mod sink;
mod sources;
pub mod sse;
mod step;
