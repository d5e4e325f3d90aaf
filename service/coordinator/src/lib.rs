//! The coordinator: finds work, schedules it, runs it, keeps every result.

pub mod control;
pub mod load;
pub mod logs;
pub mod model;
mod rows;
pub mod shell;
mod step;
mod runner;
mod session;
mod shards;
mod sink;
mod sources;
pub mod farm;
mod handle;
mod live;
mod reload;
pub mod reverse;
