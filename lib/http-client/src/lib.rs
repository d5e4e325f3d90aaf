//! A small HTTP/1.1 client for services of other people: GitHub, Gerrit, a maintnerd elsewhere.
//!
//! Everything has a limit (connecting, the head of an answer, silence within a body, the size of a body), connections are kept per origin, redirects never
//! carry credentials to another origin, and errors are kinds that a caller can decide by. An answer of any status is an answer: what 404 or 429 means is the
//! caller's business.
//!
//! ```no_run
//! # async fn example() -> Result<(), burrow_http_client::Error> {
//! use burrow_http_client::{Client, Request, Settings};
//! let client = Client::new(Settings::default())?;
//! let answer = client.send(Request::get("https://example.org/list.json")?.gzip()).await?;
//! if answer.status().is_success() {
//!     println!("{} bytes", answer.bytes(1 << 20).await?.len());
//! }
//! # Ok(()) }
//! ```

mod client;
mod connect;
mod error;
mod request;
mod response;

pub use client::{Client, Settings};
pub use connect::Trust;
pub use error::Error;
pub use request::{Request, resolve};
pub use response::Response;
