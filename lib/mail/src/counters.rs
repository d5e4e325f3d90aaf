//! Why mail was refused, and how often.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

macro_rules! refusals {
    ($($(#[doc = $doc:literal])* $name:ident = $label:literal, $reply:literal;)*) => {
        /// Why a connection, a command or a mail was refused.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[repr(usize)]
        pub enum Refusal {
            $($(#[doc = $doc])* $name,)*
        }

        impl Refusal {
            /// Every one, in the order of its number.
            pub const ALL: &[Refusal] = &[$(Refusal::$name,)*];

            /// Name for metrics.
            pub fn label(self) -> &'static str {
                match self { $(Refusal::$name => $label,)* }
            }

            /// What the client is told: code, enhanced code (RFC 3463) and text.
            pub fn reply(self) -> &'static str {
                match self { $(Refusal::$name => $reply,)* }
            }
        }
    };
}

refusals! {
    /// Too many connections.
    Crowded = "connections", "421 4.3.2 Too many connections; try again later";
    /// Too many connections of one address.
    CrowdedAddress = "connections_of_address", "421 4.7.0 Too many connections from your address; try again later";
    /// Too many new connections of one address.
    Rate = "rate", "421 4.7.0 You connect too often; try again later";
    /// Silence for too long, or a connection too long.
    Timeout = "timeout", "421 4.4.2 Timeout";
    /// A mail took too long.
    SlowData = "slow_data", "421 4.4.2 The mail took too long";
    /// The TLS handshake failed.
    Handshake = "handshake", "421 4.7.0 TLS handshake failed";
    /// Bytes came in the clear behind `STARTTLS`: somebody may have put them there.
    Injected = "injected", "501 5.5.2 Nothing may follow STARTTLS before the handshake";
    /// A line too long.
    LineTooLong = "line_too_long", "500 5.5.2 Line too long";
    /// A line feed without a carriage return: the start of SMTP smuggling.
    BareLf = "bare_lf", "521 5.5.2 Bare <LF> received; lines end in <CR><LF>";
    /// A carriage return without a line feed.
    BareCr = "bare_cr", "521 5.5.2 Bare <CR> received; lines end in <CR><LF>";
    /// A command that is not known, or not at this point.
    Command = "command", "502 5.5.2 Error: command not recognized";
    /// Too many refused commands.
    Faults = "faults", "421 4.7.0 Too many errors";
    /// A recipient that mail is not taken for.
    Recipient = "recipient", "550 5.1.1 bad recipient";
    /// An envelope sender that is not in the list.
    Sender = "envelope_sender", "550 5.7.1 Mail of this sender is not taken here";
    /// Too large.
    Size = "size", "552 5.3.4 Message too large";
    /// The memory for open mails is used up.
    Memory = "memory", "452 4.3.1 Busy; try again later";
    /// The header block cannot be read: no end, a line that is no field, a NUL.
    Header = "header", "550 5.6.0 The header cannot be read";
    /// The header block is too long.
    HeaderSize = "header_size", "552 5.3.4 Header too long";
    /// No signature.
    Unsigned = "unsigned", "550 5.7.20 Unsigned mail is not taken here";
    /// More than one signature.
    SignedTwice = "signed_twice", "550 5.7.20 More than one DKIM signature";
    /// A signature that cannot be read, or of a kind that is not good enough (rsa-sha1, `l=`).
    SignatureForm = "signature_form", "550 5.7.20 The DKIM signature is malformed or of a kind that is not accepted";
    /// A signature of a domain that is not in the list.
    Domain = "signature_domain", "550 5.7.21 The DKIM signature is of a domain that is not trusted here";
    /// The signature has expired.
    Expired = "signature_expired", "550 5.7.20 The DKIM signature has expired";
    /// The domain has no such key, or has revoked it.
    NoKey = "no_key", "550 5.7.20 The DKIM key does not exist";
    /// The key could not be looked up.
    KeyLookUp = "key_look_up", "451 4.7.5 The DKIM key could not be looked up; try again later";
    /// The signature does not fit the header.
    BadSignature = "bad_signature", "550 5.7.20 The DKIM signature does not fit the header";
    /// The signature does not fit the body.
    BadBody = "bad_body", "550 5.7.20 The DKIM signature does not fit the body";
    /// A field that is needed is not covered by the signature.
    NotCovered = "field_not_covered", "550 5.7.20 The DKIM signature does not cover a field that is used here";
    /// A field that is needed is missing or not right.
    Fields = "fields", "550 5.6.0 Not a Gerrit notification: a field is missing or wrong";
    /// The sink could not store it.
    NotStored = "not_stored", "451 4.3.0 The mail could not be stored; try again later";
}

impl Refusal {
    /// Whether the sender is to come again with the same mail.
    pub fn is_temporary(self) -> bool {
        self.reply().starts_with('4')
    }
}

/// Counts since the start, shared by everything that counts or shows.
#[derive(Debug)]
pub struct Counters {
    refused: Vec<AtomicU64>,
    accepted: AtomicU64,
    connections: AtomicU64,
    open: AtomicU64,
    /// Unix milliseconds; `i64::MIN`: none.
    last: AtomicI64,
}

impl Default for Counters {
    fn default() -> Counters {
        Counters {
            refused: Refusal::ALL.iter().map(|_| AtomicU64::new(0)).collect(),
            accepted: AtomicU64::new(0),
            connections: AtomicU64::new(0),
            open: AtomicU64::new(0),
            last: AtomicI64::new(i64::MIN),
        }
    }
}

impl Counters {
    /// Mails that the sink has stored.
    pub fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::Relaxed)
    }

    /// Connections ever made.
    pub fn connections(&self) -> u64 {
        self.connections.load(Ordering::Relaxed)
    }

    /// Connections open now.
    pub fn open(&self) -> u64 {
        self.open.load(Ordering::Relaxed)
    }

    /// When the last mail was accepted, in Unix milliseconds.
    pub fn last_accepted_ms(&self) -> Option<i64> {
        Some(self.last.load(Ordering::Relaxed)).filter(|ms| *ms != i64::MIN)
    }

    /// How often this was the reason.
    pub fn refused(&self, why: Refusal) -> u64 {
        self.refused.get(why as usize).map_or(0, |count| count.load(Ordering::Relaxed))
    }

    /// Every reason with its count.
    pub fn refusals(&self) -> impl Iterator<Item = (Refusal, u64)> + '_ {
        Refusal::ALL.iter().map(|why| (*why, self.refused(*why)))
    }

    pub(crate) fn refuse(&self, why: Refusal) {
        if let Some(count) = self.refused.get(why as usize) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn accept(&self, now_ms: i64) {
        self.accepted.fetch_add(1, Ordering::Relaxed);
        self.last.fetch_max(now_ms, Ordering::Relaxed);
    }

    pub(crate) fn opened(&self) {
        self.connections.fetch_add(1, Ordering::Relaxed);
        self.open.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn closed(&self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
    }
}
