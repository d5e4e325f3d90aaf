//! `multipart/form-data` as it comes in, in pieces (RFC 7578), without I/O.
//!
//! A body counts as whole only when its closing boundary was seen: a body that is cut off, in the middle of a file or of a part's head, is an error. (The
//! reference takes the latter for the end and keeps what came before.) What Go's reader accepts is accepted: a preamble, bare `\n` line ends, blanks behind a boundary.

use bytes::{Buf as _, Bytes, BytesMut};
use memchr::memmem;

/// Bytes of a part's head.
const HEAD: usize = 16 << 10;
/// Parts of a body.
const PARTS: u32 = 100_000;

/// What is wrong with a body.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MultipartError {
    /// It is something else.
    #[error("request Content-Type isn't multipart/form-data")]
    NotMultipart,
    /// There is no boundary, or one that cannot be.
    #[error("no multipart boundary param in Content-Type")]
    NoBoundary,
    /// The body ends too early.
    #[error("unexpected EOF: the body ends {0}; nothing of it was kept")]
    CutOff(&'static str),
    /// A part's head is too long, or is none.
    #[error("malformed head of part {0}")]
    Head(u32),
    /// Too many parts.
    #[error("more than {PARTS} parts")]
    TooMany,
}

/// A piece of a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A part begins.
    Part {
        /// Name of its field; empty if it has none.
        field: String,
        /// Name of its file, if it says one; may be empty.
        file: Option<String>,
    },
    /// Content of the part.
    Data(Bytes),
    /// The part is whole.
    EndOfPart,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Before the first boundary.
    Preamble,
    /// At a boundary's line.
    Boundary,
    Head,
    /// `true`: nothing of the part's content came yet.
    Body(bool),
    Done,
}

/// Takes a body apart.
#[derive(Debug)]
pub struct Parser {
    /// `--boundary`.
    dashed: Vec<u8>,
    /// The same behind a line end.
    delimiter: Vec<u8>,
    buffer: BytesMut,
    state: State,
    parts: u32,
    /// The part's content is over, which was not yet told.
    ended: bool,
}

impl Parser {
    /// For a body with this `Content-Type`.
    ///
    /// # Errors
    /// [`MultipartError::NotMultipart`], [`MultipartError::NoBoundary`].
    pub fn new(content_type: Option<&str>) -> Result<Parser, MultipartError> {
        let content_type = content_type.unwrap_or_default();
        let (kind, params) = content_type.split_once(';').unwrap_or((content_type, ""));
        if !kind.trim().eq_ignore_ascii_case("multipart/form-data") {
            return Err(MultipartError::NotMultipart);
        }
        let boundary =
            parameter(params.as_bytes(), "boundary").filter(|boundary| !boundary.is_empty() && boundary.len() <= 200).ok_or(MultipartError::NoBoundary)?;
        let dashed = [b"--", boundary.as_slice()].concat();
        let delimiter = [b"\r\n", dashed.as_slice()].concat();
        Ok(Parser { dashed, delimiter, buffer: BytesMut::new(), state: State::Preamble, parts: 0, ended: false })
    }

    /// More of the body.
    pub fn push(&mut self, bytes: &[u8]) {
        // What follows the closing boundary means nothing.
        if self.state != State::Done {
            self.buffer.extend_from_slice(bytes);
        }
    }

    /// The next piece; `None` where more of the body is needed.
    ///
    /// # Errors
    /// The body is no multipart body.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> Result<Option<Event>, MultipartError> {
        loop {
            if std::mem::take(&mut self.ended) {
                return Ok(Some(Event::EndOfPart));
            }
            match self.state {
                State::Done => return Ok(None),
                State::Preamble => {
                    if self.buffer.starts_with(&self.dashed) {
                        self.state = State::Boundary;
                        continue;
                    }
                    let Some(end) = memchr::memchr(b'\n', &self.buffer) else {
                        if self.buffer.len() > HEAD {
                            return Err(MultipartError::Head(0));
                        }
                        return Ok(None);
                    };
                    self.buffer.advance(end + 1);
                }
                State::Boundary => {
                    let rest = self.buffer.get(self.dashed.len()..).unwrap_or_default();
                    if rest.starts_with(b"--") {
                        self.buffer.clear();
                        self.state = State::Done;
                        continue;
                    }
                    let Some(end) = memchr::memchr(b'\n', rest) else {
                        return if rest.len() > HEAD { Err(MultipartError::Head(self.parts)) } else { Ok(None) };
                    };
                    let line = rest.get(..end).unwrap_or_default();
                    if line.iter().any(|byte| !matches!(byte, b' ' | b'\t' | b'\r')) {
                        return Err(MultipartError::Head(self.parts));
                    }
                    if self.parts == 0 && !line.ends_with(b"\r") {
                        self.delimiter.remove(0);
                    }
                    self.buffer.advance(self.dashed.len() + end + 1);
                    self.state = State::Head;
                }
                State::Head => return self.head(),
                State::Body(first) => match self.body(first) {
                    Some(event) => return Ok(Some(event)),
                    None if self.ended => {}
                    None => return Ok(None),
                },
            }
        }
    }

    /// The body ended here.
    ///
    /// # Errors
    /// [`MultipartError::CutOff`]: its closing boundary was not there.
    pub fn finish(&self) -> Result<(), MultipartError> {
        match self.state {
            State::Done => Ok(()),
            State::Preamble => Err(MultipartError::CutOff("before its first part")),
            State::Boundary => Err(MultipartError::CutOff("within a boundary")),
            State::Head => Err(MultipartError::CutOff("within the head of a part")),
            State::Body(_) => Err(MultipartError::CutOff("within a part")),
        }
    }

    /// Whether the closing boundary was seen.
    pub fn is_done(&self) -> bool {
        self.state == State::Done && !self.ended
    }

    fn head(&mut self) -> Result<Option<Event>, MultipartError> {
        let mut disposition = None;
        let mut at = 0;
        loop {
            let Some(end) = self.buffer.get(at..).and_then(|rest| memchr::memchr(b'\n', rest)) else {
                return if self.buffer.len() > HEAD { Err(MultipartError::Head(self.parts)) } else { Ok(None) };
            };
            let line = self.buffer.get(at..at + end).unwrap_or_default();
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            at += end + 1;
            if at > HEAD {
                return Err(MultipartError::Head(self.parts));
            }
            if line.is_empty() {
                break;
            }
            let Some(colon) = memchr::memchr(b':', line) else { return Err(MultipartError::Head(self.parts)) };
            let (name, value) = (line.get(..colon).unwrap_or_default(), line.get(colon + 1..).unwrap_or_default());
            if name.eq_ignore_ascii_case(b"content-disposition") {
                disposition = Some(value.to_vec());
            }
        }
        self.buffer.advance(at);
        self.parts += 1;
        if self.parts > PARTS {
            return Err(MultipartError::TooMany);
        }
        self.state = State::Body(true);
        let value = disposition.unwrap_or_default();
        let cut = memchr::memchr(b';', &value).unwrap_or(value.len());
        let (kind, params) = value.split_at_checked(cut).unwrap_or((&value, &[]));
        let text = |name| parameter(params, name).map(|value| String::from_utf8_lossy(&value).into_owned());
        let form = kind.trim_ascii().eq_ignore_ascii_case(b"form-data");
        let field = if form { text("name").unwrap_or_default() } else { String::new() };
        Ok(Some(Event::Part { field, file: text("filename*").map(|value| extended(&value)).or_else(|| text("filename")) }))
    }

    /// Content up to the next boundary, or what surely is content.
    fn body(&mut self, first: bool) -> Option<Event> {
        if first && self.at_boundary(&self.buffer) == Some(true) {
            // A part without content: the boundary follows its head at once.
            return self.end(0, 0);
        }
        if first
            && self.buffer.len() < self.dashed.len() + 2
            && self.dashed.starts_with(self.buffer.get(..self.dashed.len().min(self.buffer.len())).unwrap_or_default())
        {
            return None;
        }
        let mut from = 0;
        let line_end = self.delimiter.len() - self.dashed.len();
        while let Some(found) = self.buffer.get(from..).and_then(|rest| memmem::find(rest, &self.delimiter)) {
            let at = from + found;
            match self.at_boundary(self.buffer.get(at + line_end..).unwrap_or_default()) {
                Some(true) => return self.end(at, line_end),
                Some(false) => from = at + 1,
                None => return self.data(at),
            }
        }
        // The end may be the beginning of a boundary.
        let sure = self.buffer.len().saturating_sub(self.delimiter.len() - 1).max(from);
        self.data(sure)
    }

    /// Whether a text that begins where a boundary may be begins with one; `None`: more is needed to tell.
    fn at_boundary(&self, text: &[u8]) -> Option<bool> {
        let Some(rest) = text.strip_prefix(self.dashed.as_slice()) else { return Some(false) };
        match rest {
            [] | [b'-'] => None,
            [b' ' | b'\t' | b'\r' | b'\n', ..] | [b'-', b'-', ..] => Some(true),
            _ => Some(false),
        }
    }

    fn data(&mut self, length: usize) -> Option<Event> {
        if length == 0 {
            return None;
        }
        self.state = State::Body(false);
        Some(Event::Data(self.buffer.split_to(length).freeze()))
    }

    fn end(&mut self, length: usize, line_end: usize) -> Option<Event> {
        let data = self.buffer.split_to(length).freeze();
        self.buffer.advance(line_end);
        self.state = State::Boundary;
        self.ended = true;
        (!data.is_empty()).then_some(Event::Data(data))
    }
}

/// A parameter of a header's value: `; name=token` or `; name="quoted"`.
fn parameter(params: &[u8], wanted: &str) -> Option<Vec<u8>> {
    let mut rest = params;
    loop {
        rest = rest.trim_ascii_start();
        rest = rest.strip_prefix(b";").unwrap_or(rest).trim_ascii_start();
        let equals = memchr::memchr(b'=', rest)?;
        let (name, after) = (rest.get(..equals)?.trim_ascii(), rest.get(equals + 1..)?.trim_ascii_start());
        let mut value = Vec::new();
        if let Some(quoted) = after.strip_prefix(b"\"") {
            let mut bytes = quoted.iter().copied().enumerate().peekable();
            let mut end = quoted.len();
            while let Some((at, byte)) = bytes.next() {
                match byte {
                    b'"' => {
                        end = at + 1;
                        break;
                    }
                    // As Go does: a backslash before a letter stands for itself, because some browsers send whole Windows paths.
                    b'\\'
                        if bytes.peek().is_some_and(|(_, next)| {
                            !next.is_ascii_alphanumeric()
                                && *next < 0x80
                                && !matches!(next, b'_' | b'-' | b'.' | b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'^' | b'`' | b'|' | b'~')
                        }) =>
                    {
                        value.extend(bytes.next().map(|(_, next)| next));
                    }
                    other => value.push(other),
                }
            }
            rest = quoted.get(end..)?;
        } else {
            let end = memchr::memchr(b';', after).unwrap_or(after.len());
            value.extend_from_slice(after.get(..end)?.trim_ascii());
            rest = after.get(end..)?;
        }
        if name.eq_ignore_ascii_case(wanted.as_bytes()) {
            return Some(value);
        }
        if rest.is_empty() {
            return None;
        }
    }
}

/// A value of RFC 5987: `UTF-8''na%C3%AFve`.
fn extended(value: &str) -> String {
    let encoded = value.splitn(3, '\'').nth(2).unwrap_or(value);
    percent_encoding::percent_decode_str(encoded).decode_utf8_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TYPE: &str = "multipart/form-data; boundary=\"XyZ\"";
    const BODY: &str = "--XyZ\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a \\\"b\\\".txt\"\r\nContent-Type: application/octet-stream\r\n\r\nline\r\n--XyZz\r\n--Xy\r\nend\r\n\
        --XyZ\r\ncontent-disposition: form-data; name=file; filename=\"\"\r\n\r\n\r\n--XyZ \t\r\nContent-Disposition: form-data; name=\"commit\"\r\n\r\n1\r\n--XyZ--\r\nepilogue";

    /// What comes out, pieces of one part put together; `Err` also if the body is not whole.
    fn parts(content_type: &str, body: &[u8], piece: usize) -> Result<Vec<(String, Option<String>, String)>, MultipartError> {
        let mut parser = Parser::new(Some(content_type))?;
        let mut out: Vec<(String, Option<String>, String)> = Vec::new();
        let mut ended = 0;
        for bytes in body.chunks(piece) {
            parser.push(bytes);
            while let Some(event) = parser.next()? {
                match event {
                    Event::Part { field, file } => out.push((field, file, String::new())),
                    Event::Data(data) => out.last_mut().unwrap().2 += std::str::from_utf8(&data).unwrap(),
                    Event::EndOfPart => ended += 1,
                }
            }
        }
        parser.finish()?;
        assert_eq!(ended, out.len());
        Ok(out)
    }

    fn expected() -> Vec<(String, Option<String>, String)> {
        vec![
            ("file".into(), Some("a \"b\".txt".into()), "line\r\n--XyZz\r\n--Xy\r\nend".into()),
            ("file".into(), Some(String::new()), String::new()),
            ("commit".into(), None, "1".into()),
        ]
    }

    #[test]
    fn parts_come_out_whatever_the_pieces_are() {
        for piece in 1..BODY.len() {
            assert_eq!(parts(TYPE, BODY.as_bytes(), piece).unwrap(), expected(), "{piece}");
        }
        assert_eq!(parts(TYPE, BODY.replace("\r\n", "\n").as_bytes(), 7).unwrap()[2], expected()[2], "bare line ends");
        assert_eq!(parts(TYPE, format!("preamble\r\n\r\n{BODY}").as_bytes(), 5).unwrap(), expected());
        assert_eq!(parts(TYPE, b"--XyZ--", 3).unwrap(), []);
    }

    #[test]
    fn a_body_that_is_cut_anywhere_is_refused() {
        let whole = BODY.find("--XyZ--").unwrap() + "--XyZ--".len();
        for end in 0..whole {
            let cut = parts(TYPE, &BODY.as_bytes()[..end], 11);
            assert!(matches!(cut, Err(MultipartError::CutOff(_))), "{end}: {cut:?}");
        }
        assert!(parts(TYPE, &BODY.as_bytes()[..whole], 11).is_ok());
    }

    #[test]
    fn what_is_no_multipart_body_is_refused() {
        assert_eq!(Parser::new(Some("text/plain")).unwrap_err(), MultipartError::NotMultipart);
        assert_eq!(Parser::new(None).unwrap_err().to_string(), "request Content-Type isn't multipart/form-data");
        assert_eq!(Parser::new(Some("multipart/form-data; charset=x")).unwrap_err(), MultipartError::NoBoundary);
        assert!(matches!(parts(TYPE, b"--XyZ\r\nno header\r\n\r\nx\r\n--XyZ--", 9), Err(MultipartError::Head(0))));
        assert!(matches!(parts(TYPE, b"--XyZ garbage\r\n\r\nx\r\n--XyZ--", 9), Err(MultipartError::Head(0))));
        assert!(matches!(parts(TYPE, &[b"--XyZ\r\nA: ".as_slice(), &[b'x'; 20_000]].concat(), 999), Err(MultipartError::Head(0))));
        assert!(matches!(parts(TYPE, &[b'x'; 20_000], 999), Err(MultipartError::Head(0))), "an endless preamble");
    }

    #[test]
    fn names_of_files_are_read_as_go_and_browsers_write_them() {
        let file = |params: &str| parameter(params.as_bytes(), "filename").map(|name| String::from_utf8(name).unwrap());
        assert_eq!(file("; name=\"file\"; filename=\"C:\\dir\\f.txt\"").unwrap(), "C:\\dir\\f.txt");
        assert_eq!(file("; filename=\"a\\\\b\\\"c; d\"").unwrap(), "a\\b\"c; d");
        assert_eq!(file("; name=file;filename=plain.txt ").unwrap(), "plain.txt");
        assert_eq!(file("; name=\"filename=x\""), None);
        assert_eq!(extended("UTF-8''na%C3%AFve.txt"), "naïve.txt");
    }

    proptest::proptest! {
        #[test]
        fn no_body_panics(body in proptest::collection::vec(proptest::sample::select(b"\r\n--XyZ -ab:;=\"\\".to_vec()), 0..120), piece in 1_usize..20) {
            let _ = parts(TYPE, &body, piece);
        }
    }
}
