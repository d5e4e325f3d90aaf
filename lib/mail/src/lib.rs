//! Receives a Gerrit's notification mail over SMTP and believes what DKIM proves.
//!
//! Google's Gerrit can tell a stranger of a change only by mail. [`Server`] is the receiving end: it talks to mail servers, reads the header block,
//! checks the signature over it before the body arrives, hashes the body as it passes, and hands a [`GerritMail`] to a [`Sink`]. The sender's `250`
//! goes out when the sink has stored it, so a mail is either with us or still with its sender. Nothing of a body is kept; memory is bounded by
//! [`Limits`].
//!
//! What an SMTP session may do is [`Session`], a pure step over lines; [`letter`] holds the rules of what a mail must look like. Both are used by the
//! fuzz targets as they are by the server.

mod admission;
pub mod config;
mod conversation;
pub mod counters;
pub mod keys;
pub mod letter;
pub mod line;
mod server;
pub mod session;
mod signature;

use std::future::Future;
use std::pin::Pin;

pub use config::{Config, Limits, Uncovered};
pub use counters::{Counters, Refusal};
pub use keys::{DnsKeys, KeyError, Keys, Texts};
pub use letter::GerritMail;
pub use server::{Server, ServerError};
pub use session::Session;
pub use signature::Body;

/// A future that a trait object can return.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What became of a mail that was handed over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Taken {
    /// It is stored, or was already: the sender may forget it.
    Durably,
    /// It cannot be stored now; the sender keeps it and comes again (451). The text is logged.
    NotNow(String),
}

/// Where verified mail goes.
///
/// A mail may come twice: the sender that never saw our answer sends it again, and so does who replays it. [`GerritMail::message_id`] is covered by
/// the signature; keep those of late and answer [`Taken::Durably`] for one that is known.
pub trait Sink: Send + Sync + 'static {
    /// Stores it. A sender waits minutes for the answer, not hours.
    fn take(&self, mail: GerritMail) -> BoxFuture<'_, Taken>;
}

impl<F, R> Sink for F
where
    F: Fn(GerritMail) -> R + Send + Sync + 'static,
    R: Future<Output = Taken> + Send + 'static,
{
    fn take(&self, mail: GerritMail) -> BoxFuture<'_, Taken> {
        Box::pin(self(mail))
    }
}
