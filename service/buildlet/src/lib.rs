//! The worker: executes builds on one machine, in listen or reverse mode.
//!
//! A coordinator sends files and commands over HTTP/1.1; the worker keeps them inside one *work directory*, follows every process it started to its
//! end, and gives back output, exit states and files. Go's coordinators and gomotes know the classic endpoints (spec buildlet.md §3–5); Burrow's own
//! uses executions and trees besides (docs/worker-protocol.md), with which a build survives its coordinator.
//!
//! How it is put together: [`run`] opens the directories (`worker`), meets the coordinator (`serve`, `reverse`) and hands every connection to the
//! router (`http`, above `httpio`). Commands become processes in `command` and `platform`, live in `supervise`, and report to `exec` (the
//! connection is their life) or `executions` (the disk is their memory). `workdir`, `files`, `untar`, `walk` and `tree` are the file side.
//! Only `platform` knows operating systems.
//!
//! ```no_run
//! std::process::exit(if burrow_buildlet::main(["--version".into()]) == std::process::ExitCode::SUCCESS { 0 } else { 1 });
//! ```

mod activity;
mod args;
mod command;
mod config;
mod exec;
mod executions;
mod fetch;
mod files;
mod halt;
mod http;
mod httpio;
mod incoming;
mod metadata;
mod modern;
mod platform;
mod reply;
mod reverse;
mod run;
mod serve;
mod ssh;
mod supervise;
mod tree;
mod untar;
mod walk;
mod workdir;
mod worker;

pub use args::main;
pub use config::{Config, Listen, Mode, Secret};
pub use run::{RunError, run};
