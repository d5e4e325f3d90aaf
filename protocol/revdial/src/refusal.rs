//! The answers with which a coordinator turns a registration or a pick-up away (`spec/buildlet.md` §6.3, §7.1; `spec/pools.md` §7.1).

use std::fmt;

/// Why a registration or a pick-up was turned away. Status codes and the first six texts are the reference's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// A registration without TLS.
    RegistrationNotTls,
    /// No `X-Revdial-Version`: a buildlet of before 2019.
    TooOld,
    /// Another revdial version than 2.
    UnknownRevdialVersion,
    /// No host name was sent.
    MissingHostname,
    /// No host type was sent.
    MissingHostType,
    /// Neither a machine secret nor a builder key that is accepted here.
    InvalidKey,
    /// The machine was never enrolled here, was revoked, or its secret is wrong.
    UnknownMachine,
    /// The machine was enrolled as another host type.
    OtherHostType {
        /// As enrolled.
        enrolled: String,
    },
    /// No builder uses this host type.
    UnknownHostType {
        /// As sent.
        host_type: String,
    },
    /// A machine with this identity is connected and answers.
    MachineIsConnected,
    /// The coordinator accepts no more machines at the moment.
    Full,
    /// A pick-up without TLS.
    PickupNotTls,
    /// A pick-up that is no GET.
    PickupMethod,
    /// A pick-up for a control channel that does not exist (any more), or for a dial nobody waits for.
    UnknownDialer,
}

impl Refusal {
    /// The HTTP status.
    pub fn status(&self) -> u16 {
        match self {
            Refusal::RegistrationNotTls | Refusal::PickupNotTls => 500,
            Refusal::TooOld
            | Refusal::UnknownRevdialVersion
            | Refusal::MissingHostname
            | Refusal::MissingHostType
            | Refusal::UnknownHostType { .. }
            | Refusal::UnknownDialer => 400,
            Refusal::InvalidKey | Refusal::UnknownMachine | Refusal::OtherHostType { .. } => 412,
            Refusal::MachineIsConnected => 409,
            Refusal::Full => 503,
            Refusal::PickupMethod => 405,
        }
    }

    /// The whole answer, head and body.
    pub fn answer(&self) -> Vec<u8> {
        let allow: &[(&str, &str)] = match self {
            Refusal::PickupMethod => &[("Allow", "GET")],
            _ => &[],
        };
        error_answer(self.status(), &self.to_string(), allow)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::RegistrationNotTls => f.write_str("buildlet registration requires SSL"),
            Refusal::TooOld => f.write_str("buildlet binary is too old"),
            Refusal::UnknownRevdialVersion => f.write_str("unknown revdial version"),
            Refusal::MissingHostname => f.write_str("missing X-Go-Builder-Hostname header"),
            Refusal::MissingHostType => f.write_str("missing X-Go-Host-Type; old buildlet binary?"),
            Refusal::InvalidKey => f.write_str("invalid build key"),
            Refusal::UnknownMachine => f.write_str("this machine is not enrolled here or was revoked; enrol it again with a new token"),
            Refusal::OtherHostType { enrolled } => {
                write!(f, "this machine was enrolled as {}; enrol it again to change its host type", shown(enrolled))
            }
            Refusal::UnknownHostType { host_type } => write!(f, "unknown host type {}: no builder of this coordinator uses it", shown(host_type)),
            Refusal::MachineIsConnected => f.write_str("a machine with this identity is already connected and answers"),
            Refusal::Full => f.write_str("no more machines are accepted at the moment"),
            Refusal::PickupNotTls => f.write_str("handler requires TLS"),
            Refusal::PickupMethod => f.write_str("expected GET request to revdial conn handler"),
            Refusal::UnknownDialer => f.write_str("unknown dialer"),
        }
    }
}

/// A name from outside, quoted and shortened for an answer or a log.
fn shown(text: &str) -> String {
    format!("{:?}", text.chars().take(100).collect::<String>())
}

/// A plain-text error answer in the manner of Go's `http.Error`, after which the connection is closed.
pub fn error_answer(status: u16, text: &str, headers: &[(&str, &str)]) -> Vec<u8> {
    let reason = match status {
        400 => "Bad Request",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        409 => "Conflict",
        412 => "Precondition Failed",
        413 => "Request Entity Too Large",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        503 => "Service Unavailable",
        _ => "Error",
    };
    let mut out = format!("HTTP/1.1 {status} {reason}\r\n");
    for (name, value) in headers {
        out.push_str(&format!("{name}: {value}\r\n"));
    }
    out.push_str(&format!(
        "Content-Type: text/plain; charset=utf-8\r\nX-Content-Type-Options: nosniff\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{text}\n",
        text.len() + 1
    ));
    out.into_bytes()
}
