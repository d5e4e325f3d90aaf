//! revdial v2, without I/O: for machines behind NAT which dial *out* to a coordinator and are then dialled back over connections they open themselves.
//!
//! A machine opens a TLS connection and sends `GET /reverse` ([`Registration`]). After the `101` answer that connection carries only JSON lines
//! ([`Message`]): the coordinator asks for a connection (`conn-ready`), the machine opens a new TLS connection, sends `GET <path>`
//! ([`pickup_request`]), gets a second `101`, and from there on the coordinator speaks HTTP *to* the machine.
//!
//! Everything here is a pure function over bytes: nothing blocks, reads a clock or panics on outside input. `burrow-revdial` does the I/O.
//!
//! Facts: `spec/buildlet.md` §0, §6, §7; `spec/pools.md` §7.1.
//!
//! ```
//! use protocol_revdial::{LineBuffer, Message};
//!
//! let mut lines = LineBuffer::default();
//! lines.push(b"{\"command\":\"conn-ready\",\"connPath\":\"/revdial?revdial.dialer=00\"}\n{\"comm").unwrap();
//! assert_eq!(
//!     lines.next_message(),
//!     Some(Ok(Message::ConnReady { path: "/revdial?revdial.dialer=00".into() }))
//! );
//! assert_eq!(lines.next_message(), None);
//! ```

mod control;
mod head;
mod hello;
mod key;
mod pickup;
mod refusal;
mod registration;

pub use control::{BadLine, LineBuffer, MAX_LINE_READ, MAX_LINE_SENT, Message};
pub use head::{HeadError, Header, MAX_HEAD, RedirectError, RequestHead, ResponseHead, redirect_target};
pub use hello::{first_record_len, has_hidden_server_name, hide_bad_server_name, restore_server_name};
pub use key::{DEV_MASTER_KEY, EmptyMasterKey, builder_key, keys_equal};
pub use pickup::{DialerId, PickupTarget, pickup_request, pickup_target};
pub use refusal::{Refusal, error_answer};
pub use registration::{BadRegistration, Enrolled, Registration};

/// The head with which a Go peer's `101` is answered, byte for byte as the reference writes it: version zero, no headers (`spec/buildlet.md` T1).
///
/// It must leave in a TLS record of its own: a Go buildlet drops whatever follows it in the same record (T2).
pub const SWITCHING_CLASSIC: &[u8] = b"HTTP/0.0 101 Switching Protocols\r\n\r\n";

/// The lowest `Version` of `GET /status` a coordinator accepts: the first one which speaks revdial v2 (`spec/pools.md` §7.1).
pub const MIN_BUILDLET_VERSION: u32 = 23;

/// The `101` head for a machine that speaks Burrow's worker protocol: it names the session, which tells the machine that it may come back.
///
/// Returns `None` if `session` is not 1–64 characters of `A–Z a–z 0–9 . _ -`.
pub fn switching_with_session(session: &str) -> Option<Vec<u8>> {
    let fits = !session.is_empty() && session.len() <= 64 && session.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'));
    fits.then(|| format!("HTTP/1.1 101 Switching Protocols\r\n{SESSION_HEADER}: {session}\r\n\r\n").into_bytes())
}

/// Response header of the `101` with which a coordinator says that it will know the machine again (`docs/worker-protocol.md`, Reverse mode).
pub const SESSION_HEADER: &str = "X-Burrow-Session";
