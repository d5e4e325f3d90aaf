//! The mirror with real git on both sides.

mod discovery;
#[cfg(target_os = "linux")]
mod disk;
mod drill;
mod faults;
mod http;
mod kill;
mod networks;
mod notify;
mod rounds;
mod scene;
