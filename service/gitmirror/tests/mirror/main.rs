//! The mirror with real git on both sides.

mod drill;
mod faults;
mod http;
mod kill;
mod networks;
mod rounds;
mod scene;
