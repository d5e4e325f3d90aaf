//! The form of `POST /exec` (spec buildlet.md §4.1) and URL-encoded fields in general.

use std::borrow::Cow;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode, utf8_percent_encode};

/// What Go's `url.QueryEscape` leaves as it is, besides letters and digits.
const KEPT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// Largest form body that the classic endpoints read, bytes (Go's own limit).
pub const MAX_FORM: usize = 10 << 20;

/// Fields of a form or query string in order; names may repeat.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fields(pub Vec<(String, String)>);

impl Fields {
    /// Parses `a=b&c=d`. As in Go, a broken pair (bad escape, or a `;`) is left out. Bytes that are no UTF-8 become U+FFFD.
    #[must_use]
    pub fn parse(text: &[u8]) -> Self {
        let mut out = Vec::new();
        for pair in text.split(|&b| b == b'&') {
            if pair.is_empty() || pair.contains(&b';') {
                continue;
            }
            let mut halves = pair.splitn(2, |&b| b == b'=');
            let name = halves.next().unwrap_or_default();
            let value = halves.next().unwrap_or_default();
            if let (Some(name), Some(value)) = (unescape(name), unescape(value)) {
                out.push((name, value));
            }
        }
        Self(out)
    }

    /// The first value of a name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    /// Every value of a name.
    #[must_use]
    pub fn all(&self, name: &str) -> Vec<String> {
        self.0.iter().filter(|(n, _)| n == name).map(|(_, v)| v.clone()).collect()
    }

    /// Encodes as a form body or query string, in the order of the fields.
    #[must_use]
    pub fn encode(&self) -> String {
        let mut out = String::new();
        for (name, value) in &self.0 {
            if !out.is_empty() {
                out.push('&');
            }
            out.push_str(&escape(name));
            out.push('=');
            out.push_str(&escape(value));
        }
        out
    }
}

/// Escapes as Go's `url.QueryEscape`: space becomes `+`.
#[must_use]
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for (i, part) in text.split(' ').enumerate() {
        if i > 0 {
            out.push('+');
        }
        out.extend(utf8_percent_encode(part, KEPT));
    }
    out
}

fn unescape(bytes: &[u8]) -> Option<String> {
    // percent_decode keeps a broken escape as text; Go refuses the pair.
    let mut rest = bytes;
    while let Some(at) = rest.iter().position(|&b| b == b'%') {
        match rest.get(at + 1..at + 3) {
            Some([a, b]) if a.is_ascii_hexdigit() && b.is_ascii_hexdigit() => rest = rest.get(at + 3..).unwrap_or_default(),
            _ => return None,
        }
    }
    let spaced: Cow<'_, [u8]> =
        if bytes.contains(&b'+') { Cow::Owned(bytes.iter().map(|&b| if b == b'+' { b' ' } else { b }).collect()) } else { Cow::Borrowed(bytes) };
    Some(percent_decode(&spaced).decode_utf8_lossy().into_owned())
}

/// A classic `/exec` request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExecForm {
    /// The command.
    pub cmd: String,
    /// `mode=sys`: the command and its default directory are the system's, not the work directory's.
    pub system: bool,
    /// The directory, or empty.
    pub dir: String,
    /// Arguments in order.
    pub args: Vec<String>,
    /// `K=V`, appended.
    pub env: Vec<String>,
    /// PATH elements, or none.
    pub path: Vec<String>,
    /// Whether the output starts with a line that tells what is run.
    pub debug: bool,
}

impl ExecForm {
    /// From body and query: scalars may stand in either (the body wins), lists only in the body.
    #[must_use]
    pub fn from_fields(body: &Fields, query: &Fields) -> Self {
        let scalar = |name: &str| body.get(name).or_else(|| query.get(name)).unwrap_or("").to_owned();
        Self {
            cmd: scalar("cmd"),
            system: scalar("mode") == "sys",
            dir: scalar("dir"),
            args: body.all("cmdArg"),
            env: body.all("env"),
            path: body.all("path"),
            debug: crate::parse_bool(&scalar("debug")).unwrap_or(false),
        }
    }

    /// The body a client sends: all scalars always present, even empty (spec §9).
    #[must_use]
    pub fn encode(&self) -> String {
        let mut fields = vec![
            ("cmd".to_owned(), self.cmd.clone()),
            ("mode".to_owned(), if self.system { "sys".to_owned() } else { String::new() }),
            ("dir".to_owned(), self.dir.clone()),
        ];
        fields.extend(self.args.iter().map(|v| ("cmdArg".to_owned(), v.clone())));
        fields.extend(self.env.iter().map(|v| ("env".to_owned(), v.clone())));
        fields.extend(self.path.iter().map(|v| ("path".to_owned(), v.clone())));
        fields.push(("debug".to_owned(), self.debug.to_string()));
        Fields(fields).encode()
    }
}
