//! revdial v2, both ends: machines dial out over TLS, register, and are dialled back over connections they open themselves.
//!
//! * The machine's end: [`register`] gives a [`Listener`], whose [`accept`](Listener::accept) yields the connections the coordinator asked for.
//! * The coordinator's end: [`Dialer`] owns a registered control connection, [`Dialer::dial`] asks for a connection and waits for its pick-up;
//!   [`Dialers`] finds the dial a pick-up request belongs to.
//! * [`Coordinator`] opens the machine's TLS connections, [`Trust`] says which certificates it accepts; [`accept`] takes TLS connections in, also those of stock Go
//!   buildlets, whose server name is not one.
//!
//! Each dial carries a nonce in its path, which listeners echo unseen, so that a pick-up is given only to the dial that asked for it: a dial
//! that was given up never leaves a stale connection to the next one, and a late failure never fails an innocent dial (`spec/buildlet.md` §7, §11).
//! A connection that idles costs one task and one TLS state on either side; `examples/measure.rs` measures it.

mod connect;
mod dialer;
mod listener;
mod sni;
mod stream;
mod tls;

pub use connect::{Connect, Coordinator};
pub use dialer::{DialError, Dialer, Dialers, Pickup};
pub use listener::{Closed, Listener, RegisterError, register};
pub use protocol_revdial::{Enrolled, Registration};
pub use sni::{Hello, accept};
pub use stream::{BoxStream, Prefixed, Stream, read_response_head};
pub use tls::{BadCertificate, Trust, certificate_fingerprint, client_config, server_config, set_keepalive};
