//! What the server is told.

use std::time::Duration;

/// What the server is told.
#[derive(Debug, Clone)]
pub struct Config {
    /// Addresses that mail is taken for; at least one. Case does not matter.
    pub rcpt: Vec<String>,
    /// Name to greet with; the one that the MX record names.
    pub hostname: String,
    /// Domains whose signatures count, with everything below them: `google.com` stands for `mail.google.com` too, and not for `evilgoogle.com`.
    pub dkim_domains: Vec<String>,
    /// Hosts of the envelope's sender, exactly; empty: any.
    pub envelope_hosts: Vec<String>,
    /// What to do with a field that the signature does not cover.
    pub uncovered: Uncovered,
    /// Bounds.
    pub limits: Limits,
}

impl Config {
    /// What takes the mail of Google's Gerrit servers for `rcpt`.
    pub fn google(rcpt: impl Into<String>, hostname: impl Into<String>) -> Config {
        Config {
            rcpt: vec![rcpt.into()],
            hostname: hostname.into(),
            dkim_domains: vec!["google.com".into()],
            envelope_hosts: vec!["gerritcodereview.bounces.google.com".into()],
            uncovered: Uncovered::Refuse,
            limits: Limits::default(),
        }
    }
}

/// What to do with a field (`X-Gerrit-…`, `List-Id`) that the signature does not cover.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Uncovered {
    /// The mail is refused: whoever has one genuine mail could write into it what he likes.
    #[default]
    Refuse,
    /// The field is used if it is there exactly once. For a sender that signs only the usual fields; its events are no more than a hint of where to look.
    TakeSingle,
}

/// Bounds. All are per server unless said otherwise.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Open connections; the next is told to come later (421).
    pub connections: usize,
    /// Open connections of one address (IPv6: of one /64).
    pub connections_per_address: usize,
    /// New connections of one address in a minute.
    pub connections_per_minute: u32,
    /// Bytes of a mail; said in the answer to `EHLO`.
    pub size: usize,
    /// Bytes of a mail's header block.
    pub header: usize,
    /// Bytes that header blocks of all open mails may take together.
    pub memory: usize,
    /// Bytes of a line with its end, of a command or of a mail.
    pub line: usize,
    /// How long a client may be silent between commands, take to read an answer, or shake hands.
    pub command: Duration,
    /// How long a whole mail may take, from `DATA` to the final dot.
    pub data: Duration,
    /// How long a whole connection may take.
    pub connection: Duration,
    /// How long a look-up of a key may take.
    pub look_up: Duration,
    /// Mails in one connection.
    pub mails: usize,
    /// Refused commands in one connection; and a tenth of the commands without a mail.
    pub faults: usize,
    /// How long open connections have to end when the server does.
    pub farewell: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            connections: 1_000,
            connections_per_address: 50,
            connections_per_minute: 300,
            size: 5 << 20,
            header: 64 << 10,
            memory: 32 << 20,
            line: 4096,
            command: Duration::from_secs(60),
            data: Duration::from_secs(120),
            connection: Duration::from_secs(30 * 60),
            look_up: Duration::from_secs(15),
            mails: 100_000,
            faults: 20,
            farewell: Duration::from_secs(10),
        }
    }
}
