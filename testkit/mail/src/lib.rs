//! A Gerrit that sends notification mail: its mails, the signer of its domain, the domain's name server, and an SMTP client that says what it is told.
//!
//! The signer is no DKIM library but the few lines of RFC 6376 that a test needs: it signs whatever it is told, also what no library would, and shares no
//! code with what it tests.

mod client;
mod letter;
mod names;
mod sign;

pub use client::{Client, stuffed};
pub use letter::Letter;
pub use names::{Answer, Names};
pub use sign::{Form, Signer};

/// The envelope's sender of Gerrit's mail.
pub const SENDER: &str = "3abcdefg@gerritcodereview.bounces.google.com";
/// The recipient that tests use.
pub const RCPT: &str = "bot@farm.example.org";
