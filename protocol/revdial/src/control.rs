//! The lines of the control channel: one JSON object per line (`spec/buildlet.md` §7.1).

use std::fmt::Write as _;

use thiserror::Error;

/// Longest line sent, in bytes with its `\n`: a Go peer reads into a fixed buffer of 4 KiB and gives up at a longer one (T9).
pub const MAX_LINE_SENT: usize = 4095;

/// Longest line accepted, in bytes with its `\n`. More than Go accepts, since other peers may quote more in `err`; bounded, since it is kept in memory.
pub const MAX_LINE_READ: usize = 64 * 1024;

/// One line of the control channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// Coordinator to machine: nothing to do, the connection is alive. Sent when the channel was quiet for 30 s.
    KeepAlive,
    /// Coordinator to machine: fetch one connection at `path`.
    ConnReady {
        /// Path and query to request, to be echoed unseen.
        path: String,
    },
    /// Machine to coordinator: a connection could not be fetched.
    PickupFailed {
        /// The path of the `conn-ready` this answers. Go leaves it out when the coordinator refused the pick-up.
        path: Option<String>,
        /// What went wrong, for people.
        err: String,
    },
    /// A command this version does not know; receivers ignore it.
    Other {
        /// The command as sent; empty if the key was missing.
        command: String,
    },
}

/// Why the control channel cannot be read on; the connection has to be closed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum BadLine {
    /// The peer sent [`MAX_LINE_READ`] bytes without a line end.
    #[error("a control line is longer than {MAX_LINE_READ} bytes")]
    TooLong,
    /// The line is not a JSON object with string values.
    #[error("a control line is not the JSON object expected: {0}")]
    NotJson(String),
    /// A message could not be sent: its path alone does not fit into a line.
    #[error("the connection path does not fit into a control line of {MAX_LINE_SENT} bytes")]
    PathTooLong,
}

impl Message {
    /// The line to send, with its `\n`, never longer than [`MAX_LINE_SENT`]. An `err` is cut to fit; so is an over-long echoed path of `pickup-failed`.
    ///
    /// # Errors
    /// [`BadLine::PathTooLong`] for a `conn-ready` whose path does not fit.
    pub fn encode(&self) -> Result<Vec<u8>, BadLine> {
        let mut out = String::with_capacity(128);
        match self {
            Message::KeepAlive => out.push_str("{\"command\":\"keep-alive\"}"),
            Message::Other { command } => {
                out.push_str("{\"command\":\"");
                push_escaped(&mut out, command, MAX_LINE_SENT - 3);
                out.push_str("\"}");
            }
            Message::ConnReady { path } => {
                out.push_str("{\"command\":\"conn-ready\",\"connPath\":\"");
                if !push_escaped(&mut out, path, MAX_LINE_SENT - 3) {
                    return Err(BadLine::PathTooLong);
                }
                out.push_str("\"}");
            }
            Message::PickupFailed { path, err } => {
                out.push_str("{\"command\":\"pickup-failed\"");
                if let Some(path) = path.as_deref().filter(|p| !p.is_empty()) {
                    let before = out.len();
                    out.push_str(",\"connPath\":\"");
                    // Half a line for the path: the peer needs it whole or not at all.
                    if push_escaped(&mut out, path, MAX_LINE_SENT / 2) {
                        out.push('"');
                    } else {
                        out.truncate(before);
                    }
                }
                if !err.is_empty() {
                    out.push_str(",\"err\":\"");
                    push_escaped(&mut out, err, MAX_LINE_SENT - 3);
                    out.push('"');
                }
                out.push('}');
            }
        }
        out.push('\n');
        Ok(out.into_bytes())
    }

    /// Reads one line, with or without its line end. Unknown keys are ignored and invalid UTF-8 is replaced, as Go does.
    ///
    /// # Errors
    /// [`BadLine::NotJson`]
    pub fn decode(line: &[u8]) -> Result<Message, BadLine> {
        let text = String::from_utf8_lossy(line);
        let value: serde_json::Value = serde_json::from_str(&text).map_err(|e| BadLine::NotJson(e.to_string()))?;
        let serde_json::Value::Object(object) = value else {
            return Err(BadLine::NotJson("not an object".into()));
        };
        let mut command = None;
        let mut path = None;
        let mut err = None;
        for (key, value) in object {
            // Go matches keys without regard to case.
            let slot = if key.eq_ignore_ascii_case("command") {
                &mut command
            } else if key.eq_ignore_ascii_case("connPath") {
                &mut path
            } else if key.eq_ignore_ascii_case("err") {
                &mut err
            } else {
                continue;
            };
            match value {
                serde_json::Value::String(text) => *slot = Some(text),
                serde_json::Value::Null => {}
                _ => return Err(BadLine::NotJson(format!("{key:?} is not a string"))),
            }
        }
        Ok(match command.as_deref() {
            Some("keep-alive") => Message::KeepAlive,
            Some("conn-ready") => Message::ConnReady { path: path.unwrap_or_default() },
            Some("pickup-failed") => Message::PickupFailed { path: path.filter(|p| !p.is_empty()), err: err.unwrap_or_default() },
            _ => Message::Other { command: command.unwrap_or_default() },
        })
    }
}

/// Appends `text` escaped as Go's `encoding/json` does, up to `limit` bytes of `out`; false if it had to be cut.
fn push_escaped(out: &mut String, text: &str, limit: usize) -> bool {
    for c in text.chars() {
        let before = out.len();
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c if u32::from(c) < 0x20 => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
        if out.len() > limit {
            out.truncate(before);
            return false;
        }
    }
    true
}

/// Cuts a byte stream into control lines, keeping an unfinished one. Holds no memory while no line is unfinished.
#[derive(Debug, Default)]
pub struct LineBuffer {
    bytes: Vec<u8>,
    taken: usize,
}

impl LineBuffer {
    /// Adds bytes as they arrived.
    ///
    /// # Errors
    /// [`BadLine::TooLong`] when what is held unread exceeds [`MAX_LINE_READ`]; take all lines after each push.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), BadLine> {
        if self.taken > 0 {
            self.bytes.drain(..self.taken.min(self.bytes.len()));
            self.taken = 0;
        }
        if self.bytes.len().saturating_add(bytes.len()) > MAX_LINE_READ {
            return Err(BadLine::TooLong);
        }
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    /// The next whole line, decoded; `None` when more bytes are needed.
    pub fn next_message(&mut self) -> Option<Result<Message, BadLine>> {
        let rest = self.bytes.get(self.taken..).unwrap_or_default();
        match rest.iter().position(|&b| b == b'\n') {
            Some(end) => {
                let line = rest.get(..end).unwrap_or_default();
                let message = Message::decode(line);
                self.taken += end + 1;
                Some(message)
            }
            None => {
                if rest.is_empty() && !self.bytes.is_empty() {
                    *self = LineBuffer::default();
                }
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn lines_look_as_go_writes_them() {
        let line = |m: Message| String::from_utf8(m.encode().unwrap()).unwrap();
        assert_eq!(line(Message::KeepAlive), "{\"command\":\"keep-alive\"}\n");
        assert_eq!(
            line(Message::ConnReady { path: "/revdial?revdial.dialer=0c&n=1".into() }),
            "{\"command\":\"conn-ready\",\"connPath\":\"/revdial?revdial.dialer=0c\\u0026n=1\"}\n"
        );
        assert_eq!(
            line(Message::PickupFailed { path: None, err: "a <b>\n\"c\"\u{1}".into() }),
            "{\"command\":\"pickup-failed\",\"err\":\"a \\u003cb\\u003e\\n\\\"c\\\"\\u0001\"}\n"
        );
    }

    #[test]
    fn unknown_and_odd_lines_are_taken_as_go_takes_them() {
        assert_eq!(Message::decode(b"{\"command\":\"ping\",\"x\":[1]}"), Ok(Message::Other { command: "ping".into() }));
        assert_eq!(Message::decode(b"{}"), Ok(Message::Other { command: String::new() }));
        assert_eq!(Message::decode(b"{\"Command\":\"keep-alive\"}\r"), Ok(Message::KeepAlive));
        for bad in [&b""[..], b"[]", b"null", b"{\"command\":1}", b"{\"command\":\"x\"", b"x"] {
            assert!(matches!(Message::decode(bad), Err(BadLine::NotJson(_))), "{bad:?}");
        }
        // Deep nesting must be an error, not a stack overflow.
        let deep = [b"{\"x\":".repeat(20_000), b"1".to_vec()].concat();
        assert!(Message::decode(&deep).is_err());
    }

    #[test]
    fn long_errors_are_cut_and_long_paths_refused() {
        let err = "&é".repeat(3000);
        let line = Message::PickupFailed { path: Some("/p".into()), err: err.clone() }.encode().unwrap();
        assert!(line.len() <= MAX_LINE_SENT, "{}", line.len());
        let Ok(Message::PickupFailed { path, err: cut }) = Message::decode(&line) else {
            panic!("not a pickup-failed");
        };
        assert_eq!(path.as_deref(), Some("/p"));
        assert!(err.starts_with(&cut) && cut.len() > 1000);
        let long = "/".repeat(MAX_LINE_SENT);
        assert_eq!(Message::ConnReady { path: long.clone() }.encode(), Err(BadLine::PathTooLong));
        let line = Message::PickupFailed { path: Some(long), err: "why".into() }.encode().unwrap();
        assert_eq!(Message::decode(&line), Ok(Message::PickupFailed { path: None, err: "why".into() }));
    }

    #[test]
    fn an_endless_line_is_an_error() {
        let mut lines = LineBuffer::default();
        let mut pushed = 0;
        while lines.push(&[b'x'; 1000]).is_ok() {
            assert!(lines.next_message().is_none());
            pushed += 1000;
        }
        assert!(pushed <= MAX_LINE_READ && pushed > 4096);
    }

    fn message() -> impl Strategy<Value = Message> {
        prop_oneof![
            Just(Message::KeepAlive),
            "[ -~é<&\u{2028}]{0,200}".prop_map(|path| Message::ConnReady { path }),
            (proptest::option::of("[ -~]{1,200}"), "\\PC{0,200}").prop_map(|(path, err)| Message::PickupFailed { path, err }),
        ]
    }

    proptest! {
        #[test]
        fn what_is_sent_is_read_however_it_is_split(messages in proptest::collection::vec(message(), 0..20), step in 1usize..50) {
            let bytes: Vec<u8> = messages.iter().flat_map(|m| m.encode().unwrap()).collect();
            let mut lines = LineBuffer::default();
            let mut read = Vec::new();
            for chunk in bytes.chunks(step) {
                lines.push(chunk).unwrap();
                while let Some(message) = lines.next_message() {
                    read.push(message.unwrap());
                }
            }
            prop_assert_eq!(read, messages);
        }

        #[test]
        fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let mut lines = LineBuffer::default();
            lines.push(&bytes).unwrap();
            while let Some(Ok(_)) = lines.next_message() {}
        }
    }
}
