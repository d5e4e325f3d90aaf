//! HTTP heads as revdial peers write them, read by hand.
//!
//! Why not an HTTP library: a Go coordinator answers `HTTP/0.0 101` (T1), Go buildlets send an empty `Host` (T3), and after the head the connection
//! is no longer HTTP, so that not one byte behind the head may be swallowed.

use thiserror::Error;

/// Longest head accepted, in bytes.
pub const MAX_HEAD: usize = 16 * 1024;

/// At most so many header lines.
const MAX_HEADERS: usize = 64;

/// One header line. Values are kept as text; bytes that are not UTF-8 are replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// As sent; compare without case.
    pub name: String,
    /// Without surrounding blanks.
    pub value: String,
}

/// Why a head cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum HeadError {
    /// No end within [`MAX_HEAD`] bytes.
    #[error("the head is longer than {MAX_HEAD} bytes")]
    TooLong,
    /// Not an HTTP head.
    #[error("not an HTTP head: {0}")]
    Malformed(String),
}

/// The head of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestHead {
    /// As sent, for example `GET`.
    pub method: String,
    /// Path and query.
    pub target: String,
    /// In order.
    pub headers: Vec<Header>,
    /// Bytes of the head, with its empty line; what follows belongs to the body or to the next protocol.
    pub len: usize,
}

/// The head of a response, whatever digits its version has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResponseHead {
    /// For example 101.
    pub status: u16,
    /// For example `Switching Protocols`; may be empty.
    pub reason: String,
    /// In order.
    pub headers: Vec<Header>,
    /// Bytes of the head, with its empty line.
    pub len: usize,
}

fn find<'a>(headers: &'a [Header], name: &str) -> Option<&'a str> {
    headers.iter().find(|h| h.name.eq_ignore_ascii_case(name)).map(|h| h.value.as_str())
}

fn owned(headers: &[httparse::Header<'_>]) -> Vec<Header> {
    headers.iter().map(|h| Header { name: h.name.to_owned(), value: String::from_utf8_lossy(h.value).trim().to_owned() }).collect()
}

impl RequestHead {
    /// Reads a request head from the start of `bytes`; `None` when more bytes are needed.
    ///
    /// # Errors
    /// [`HeadError`]
    pub fn parse(bytes: &[u8]) -> Result<Option<RequestHead>, HeadError> {
        let window = bytes.get(..MAX_HEAD).unwrap_or(bytes);
        let mut slots = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let mut request = httparse::Request::new(&mut slots);
        match request.parse(window) {
            Ok(httparse::Status::Complete(len)) => Ok(Some(RequestHead {
                method: request.method.unwrap_or_default().to_owned(),
                target: request.path.unwrap_or_default().to_owned(),
                headers: owned(request.headers),
                len,
            })),
            Ok(httparse::Status::Partial) if bytes.len() >= MAX_HEAD => Err(HeadError::TooLong),
            Ok(httparse::Status::Partial) => Ok(None),
            Err(error) => Err(HeadError::Malformed(error.to_string())),
        }
    }

    /// The target without its query.
    pub fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }

    /// The first header of that name.
    pub fn header(&self, name: &str) -> Option<&str> {
        find(&self.headers, name)
    }

    /// Bytes of the body that follow the head; `None` when it is chunked or the number is no number.
    pub fn content_length(&self) -> Option<u64> {
        body_length(&self.headers)
    }
}

impl ResponseHead {
    /// Reads a response head from the start of `bytes`, with any version `HTTP/d.d` (T1); `None` when more bytes are needed.
    ///
    /// # Errors
    /// [`HeadError`]
    pub fn parse(bytes: &[u8]) -> Result<Option<ResponseHead>, HeadError> {
        let window = bytes.get(..MAX_HEAD).unwrap_or(bytes);
        let Some(line_end) = window.iter().position(|&b| b == b'\n') else {
            // Tell a peer of another protocol at once, without waiting for a line end which may never come.
            let begin = b"HTTP/";
            let shared = window.len().min(begin.len());
            if window.get(..shared) != begin.get(..shared) {
                return Err(HeadError::Malformed("it does not begin with HTTP/".into()));
            }
            return if bytes.len() >= MAX_HEAD { Err(HeadError::TooLong) } else { Ok(None) };
        };
        let (line, rest) = window.split_at(line_end + 1);
        let (status, reason) = status_line(line)?;
        let mut slots = [httparse::EMPTY_HEADER; MAX_HEADERS];
        match httparse::parse_headers(rest, &mut slots) {
            Ok(httparse::Status::Complete((len, headers))) => Ok(Some(ResponseHead { status, reason, headers: owned(headers), len: line.len() + len })),
            Ok(httparse::Status::Partial) if bytes.len() >= MAX_HEAD => Err(HeadError::TooLong),
            Ok(httparse::Status::Partial) => Ok(None),
            Err(error) => Err(HeadError::Malformed(error.to_string())),
        }
    }

    /// The first header of that name.
    pub fn header(&self, name: &str) -> Option<&str> {
        find(&self.headers, name)
    }

    /// Bytes of the body that follow the head; `None` when it is chunked or the number is no number.
    pub fn content_length(&self) -> Option<u64> {
        body_length(&self.headers)
    }
}

fn body_length(headers: &[Header]) -> Option<u64> {
    if find(headers, "Transfer-Encoding").is_some() {
        return None;
    }
    find(headers, "Content-Length").map_or(Some(0), |v| v.parse().ok())
}

fn status_line(line: &[u8]) -> Result<(u16, String), HeadError> {
    let text = String::from_utf8_lossy(line);
    let text = text.trim_end_matches(['\r', '\n']);
    let malformed = || HeadError::Malformed(format!("status line {:?}", text.chars().take(80).collect::<String>()));
    let (version, rest) = text.split_once(' ').ok_or_else(malformed)?;
    let digits = version.strip_prefix("HTTP/").ok_or_else(malformed)?;
    let (major, minor) = digits.split_once('.').ok_or_else(malformed)?;
    let digit = |t: &str| t.len() == 1 && t.bytes().all(|b| b.is_ascii_digit());
    if !digit(major) || !digit(minor) {
        return Err(malformed());
    }
    let (code, reason) = rest.split_once(' ').unwrap_or((rest, ""));
    if code.len() != 3 || !code.bytes().all(|b| b.is_ascii_digit()) {
        return Err(malformed());
    }
    let status = code.parse().map_err(|_| malformed())?;
    Ok((status, reason.to_owned()))
}

/// Why a redirect is not followed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum RedirectError {
    /// A 307 without `Location`.
    #[error("the redirect names no location")]
    NoLocation,
    /// The location has a scheme or a host: the same connection could not be used, and the credential would go elsewhere.
    #[error("the redirect leads away from this coordinator: {0:?}")]
    NotRelative(String),
}

/// Where a 307 leads, as a target for the same connection (`spec/buildlet.md` §6.2: relative, no scheme, no host).
///
/// # Errors
/// [`RedirectError`]
pub fn redirect_target(head: &ResponseHead) -> Result<String, RedirectError> {
    let location = head.header("Location").filter(|l| !l.is_empty()).ok_or(RedirectError::NoLocation)?;
    let before_query = location.split(['?', '#']).next().unwrap_or_default();
    let first_segment = before_query.split('/').next().unwrap_or_default();
    let printable = location.bytes().all(|b| (0x21..0x7f).contains(&b));
    if before_query.starts_with("//") || first_segment.contains(':') || !printable {
        return Err(RedirectError::NotRelative(location.chars().take(200).collect()));
    }
    let target = location.split('#').next().unwrap_or_default();
    Ok(if target.starts_with('/') { target.to_owned() } else { format!("/{target}") })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn both_spellings_of_the_101_are_read_and_nothing_behind_them() {
        let go = b"HTTP/0.0 101 Switching Protocols\r\n\r\n{\"command\"";
        let head = ResponseHead::parse(go).unwrap().unwrap();
        assert_eq!((head.status, head.len), (101, go.len() - 10));
        let ours = b"HTTP/1.1 101 Switching Protocols\r\nX-Burrow-Session: s1\r\n\r\n";
        let head = ResponseHead::parse(ours).unwrap().unwrap();
        assert_eq!((head.status, head.header("x-burrow-session"), head.len), (101, Some("s1"), ours.len()));
        for end in 0..ours.len() {
            assert_eq!(ResponseHead::parse(&ours[..end]), Ok(None), "{end}");
        }
    }

    #[test]
    fn what_is_no_http_answer_is_refused() {
        for bad in [
            &b"SSH-2.0-x\r\n"[..],
            b"\x15\x03\x01\x00\x02",
            b"HTTP/1 200 OK\r\n\r\n",
            b"HTTP/1.1 20 OK\r\n\r\n",
            b"HTTP/1.1 2000 OK\r\n\r\n",
            b"HTTP/x.1 200 OK\r\n\r\n",
        ] {
            assert!(matches!(ResponseHead::parse(bad), Err(HeadError::Malformed(_))), "{bad:?}");
        }
        let endless = [b"HTTP/1.1 200 OK\r\nA: ".to_vec(), vec![b'a'; MAX_HEAD]].concat();
        assert_eq!(ResponseHead::parse(&endless), Err(HeadError::TooLong));
        let endless = [b"GET / HTTP/1.1\r\nA: ".to_vec(), vec![b'a'; MAX_HEAD]].concat();
        assert_eq!(RequestHead::parse(&endless), Err(HeadError::TooLong));
    }

    #[test]
    fn an_empty_host_is_accepted() {
        let head = RequestHead::parse(b"GET /revdial?revdial.dialer=ab HTTP/1.1\r\nHost: \r\nUser-Agent: Go-http-client/1.1\r\n\r\n").unwrap().unwrap();
        assert_eq!((head.method.as_str(), head.path(), head.header("host")), ("GET", "/revdial", Some("")));
    }

    #[test]
    fn only_relative_redirects_are_followed() {
        let to = |location: &str| {
            let head = format!("HTTP/1.1 307 Temporary Redirect\r\nLocation: {location}\r\n\r\n");
            redirect_target(&ResponseHead::parse(head.as_bytes()).unwrap().unwrap())
        };
        assert_eq!(to("/b/reverse?x=1:2"), Ok("/b/reverse?x=1:2".into()));
        assert_eq!(to("other#f"), Ok("/other".into()));
        assert_eq!(to(""), Err(RedirectError::NoLocation));
        for away in ["https://evil/reverse", "//evil/reverse", "x:y", "/a b"] {
            assert!(matches!(to(away), Err(RedirectError::NotRelative(_))), "{away}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..200), begin in 0usize..3) {
            let prefix: &[u8] = [&b""[..], b"HTTP/1.1 307 x\r\nLocation: ", b"GET / HTTP/1.1\r\n"][begin];
            let all = [prefix, &bytes].concat();
            if let Ok(Some(head)) = ResponseHead::parse(&all) {
                prop_assert!(head.len <= all.len());
                let _ = (redirect_target(&head), head.content_length());
            }
            if let Ok(Some(head)) = RequestHead::parse(&all) {
                prop_assert!(head.len <= all.len());
                let _ = (head.path(), head.content_length());
            }
        }
    }
}
