//! `burrow godata` and `burrow mutlog`, as a person uses them: the real executable, on logs that it made itself, and with a real server. And every line of
//! `docs/maintner.md`, run.

mod document;
mod logs;
mod mutlog;
mod queries;
mod server;
