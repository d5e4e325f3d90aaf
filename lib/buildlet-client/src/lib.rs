//! The only client of the buildlet's HTTP API: the classic endpoints every Go buildlet has, and the ones of `docs/worker-protocol.md`.
//!
//! A [`Client`] speaks to one worker over a Unix socket, TCP, TLS, or whatever a [`Dial`] opens (connections through revdial). It keeps a few idle
//! connections, so that a request on a quiet worker costs one round trip. Cloning it is cheap; clones share the connections.
//!
//! Each failure says what may be done about it: [`Error::Transport`] may go away by itself, [`Error::Refused`] is the worker's own answer,
//! [`Error::Protocol`] means that the peer is not what it claims to be.
//!
//! ```no_run
//! # async fn example() -> Result<(), burrow_buildlet_client::Error> {
//! use burrow_buildlet_client::{Client, ExecRequest};
//!
//! let client = Client::unix("/run/worker/sock");
//! let request = ExecRequest { cmd: "make".into(), args: vec!["test".into()], ..ExecRequest::default() };
//! client.start_execution("build-7.1", &request, None).await?;
//! let mut output = client.output("build-7.1", 0, true).await?;
//! while let Some(bytes) = output.chunk().await? {
//!     print!("{}", String::from_utf8_lossy(&bytes));
//! }
//! let end = client.execution("build-7.1", None).await?;
//! println!("exit code {:?}", end.exit_code);
//! # Ok(()) }
//! ```

mod body;
mod classic;
mod connections;
mod dial;
mod error;
mod modern;

pub use body::{Body, Chunks};
pub use classic::{ExecForm, ExecOutput, ListOptions, Outcome};
pub use connections::Client;
pub use dial::Dial;
#[cfg(unix)]
pub use dial::connect_unix;
pub use error::Error;
pub use protocol_buildlet::ls::Line;
pub use protocol_buildlet::{BurrowStatus, ExecRequest, ExecState, ExecStatus, Network, PrepareReply, Status, StoppedBy, TreeState};
