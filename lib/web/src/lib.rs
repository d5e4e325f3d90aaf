//! Shared parts of the pages: stylesheet, layout, server-sent events, conditional answers.
//!
//! Every page of every service looks and behaves the same because it is made of these parts: a service renders the middle of a page and
//! [`Layout`] puts the frame around it; [`Rendered`] answers with an entity tag, compressed when the reader can take it; [`PageCache`] keeps
//! what was rendered until something changed; [`guard`] puts the security headers on and refuses requests that other sites forged;
//! [`serve`] puts a router on a socket.
//!
//! Nothing here reads a clock: the moment a page was made is handed in.

pub mod assets;
mod cache;
pub mod guard;
mod layout;
mod problem;
mod rendered;
mod serve;
pub mod sse;
pub mod words;

pub use cache::{PageCache, Stamp};
pub use layout::{Layout, NavItem};
pub use problem::Problem;
pub use rendered::{Kind, Rendered};
pub use serve::serve;
