//! A follower over real sockets, against a server that is shaped like the reference's and has knobs.

mod faults;
mod growth;
mod leader;
mod offline;
mod shared;
mod tails;
mod world;
