//! Words, operators, quoted strings and regular expressions of filters and projections.

use std::cell::RefCell;
use std::fmt;

use regex::bytes::Regex;

use super::re2;

/// What is wrong with a filter or projection, and where: shown as the reference shows it, with a caret under the place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyntaxError {
    /// All of the expression.
    pub query: String,
    /// Byte offset in it.
    pub offset: usize,
    /// What was expected, or what is not allowed.
    pub message: String,
}

impl std::error::Error for SyntaxError {}

impl fmt::Display for SyntaxError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let before = self.query.char_indices().take_while(|(at, _)| *at < self.offset);
        let column = before.filter(|(_, c)| !c.is_control()).count();
        write!(f, "syntax error: {}\n\t{}\n\t{:column$}^", self.message, self.query, "")
    }
}

/// What a token is.
#[derive(Debug, Clone)]
pub(super) enum Kind {
    End,
    Word,
    Quoted,
    Regex(Regex),
    And,
    Or,
    /// `( ) : @ ,`, and at the beginning of a word `-` and `*`.
    Op(u8),
}

#[derive(Debug, Clone)]
pub(super) struct Token {
    pub(super) kind: Kind,
    pub(super) offset: usize,
    /// Unescaped.
    pub(super) text: Vec<u8>,
}

impl Token {
    pub(super) fn is_word(&self) -> bool {
        matches!(self.kind, Kind::Word | Kind::Quoted)
    }

    pub(super) fn is_op(&self, op: u8) -> bool {
        matches!(self.kind, Kind::Op(this) if this == op)
    }
}

/// A place in the expression. Looking at the next token moves it past white space, so that errors point at the token.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cursor(pub(super) usize);

/// Takes tokens off an expression and keeps the first error; after an error there is nothing more.
pub(super) struct Lexer<'q> {
    query: &'q str,
    error: RefCell<Option<SyntaxError>>,
}

fn is_op(c: char) -> bool {
    matches!(c, '(' | ')' | ':' | '@' | ',')
}

fn is_start_op(c: char) -> bool {
    is_op(c) || c == '-' || c == '*'
}

impl<'q> Lexer<'q> {
    pub(super) fn new(query: &'q str) -> Lexer<'q> {
        Lexer { query, error: RefCell::new(None) }
    }

    /// The first error, if there was one.
    pub(super) fn finish<T>(self, result: T) -> Result<T, SyntaxError> {
        match self.error.into_inner() {
            Some(error) => Err(error),
            None => Ok(result),
        }
    }

    /// Notes an error here; where reading goes on from: the end.
    pub(super) fn fail(&self, at: Cursor, message: impl Into<String>) -> Cursor {
        let mut error = self.error.borrow_mut();
        if error.is_none() {
            *error = Some(SyntaxError { query: self.query.to_owned(), offset: at.0, message: message.into() });
        }
        Cursor(self.query.len())
    }

    /// Notes an error if there is something left.
    pub(super) fn expect_end(&self, mut at: Cursor) {
        let (token, _) = self.next(&mut at, false);
        if !matches!(token.kind, Kind::End) {
            self.fail(at, format!("unexpected {}", quote(&token.text)));
        }
    }

    /// The token here, and the place behind it. Where a value is expected, `/…/` is a regular expression.
    pub(super) fn next(&self, at: &mut Cursor, value: bool) -> (Token, Cursor) {
        let rest = self.query.get(at.0..).unwrap_or_default();
        let trimmed = rest.trim_start();
        at.0 += rest.len() - trimmed.len();
        let Some(first) = trimmed.chars().next() else { return self.token(*at, Kind::End, "", 0) };
        let start = *at;
        match first {
            c if is_start_op(c) => self.token(start, Kind::Op(c as u8), trimmed.get(..1).unwrap_or_default(), 1),
            '/' if value => self.regex(at, trimmed),
            '"' => self.quoted(start, trimmed),
            _ => {
                let end = trimmed.find(|c: char| c.is_whitespace() || is_op(c)).unwrap_or(trimmed.len());
                let word = trimmed.get(..end).unwrap_or_default();
                let kind = match word {
                    "AND" => Kind::And,
                    "OR" => Kind::Or,
                    _ => Kind::Word,
                };
                self.token(start, kind, word, end)
            }
        }
    }

    fn token(&self, at: Cursor, kind: Kind, text: &str, length: usize) -> (Token, Cursor) {
        (Token { kind, offset: at.0, text: text.as_bytes().to_vec() }, Cursor(at.0 + length))
    }

    fn failed(&self, at: Cursor, message: impl Into<String>) -> (Token, Cursor) {
        let end = self.fail(at, message);
        (Token { kind: Kind::End, offset: at.0, text: Vec::new() }, end)
    }

    fn quoted(&self, at: Cursor, text: &str) -> (Token, Cursor) {
        let bytes = text.as_bytes();
        let ends = |pos: &usize| bytes.get(*pos) == Some(&b'"') && pos.checked_sub(1).and_then(|before| bytes.get(before)) != Some(&b'\\');
        let Some(end) = (1..bytes.len()).find(ends) else { return self.failed(at, "missing end quote") };
        match text.get(1..end).and_then(unquote) {
            Some(word) => (Token { kind: Kind::Quoted, offset: at.0, text: word }, Cursor(at.0 + end + 1)),
            None => self.failed(at, "bad escape sequence"),
        }
    }

    fn regex(&self, at: &mut Cursor, text: &str) -> (Token, Cursor) {
        let start = *at;
        let Some(length) = text.get(1..).and_then(until_slash) else { return self.failed(start, "missing close \"/\"") };
        let pattern = text.get(1..=length).unwrap_or_default();
        let regex = match re2::compile(pattern) {
            Ok(regex) => regex,
            Err(message) => return self.failed(start, message),
        };
        let behind = length + 2;
        let next = text.get(behind..).and_then(|rest| rest.chars().next());
        if next.is_some_and(|c| !c.is_whitespace() && !is_start_op(c)) {
            at.0 += behind;
            return self.failed(*at, "regexp must be followed by space or an operator (unescaped \"/\"?)");
        }
        self.token(start, Kind::Regex(regex), pattern, behind)
    }
}

/// Length of the regular expression that ends at the first `/` outside `[…]` and `(…)` and not behind a backslash.
fn until_slash(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let (mut brackets, mut parens) = (0_i64, 0_i64);
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b'/' if brackets == 0 && parens == 0 => return Some(at),
            b'[' => brackets += 1,
            // One that closes nothing stands for itself.
            b']' => brackets = (brackets - 1).max(0),
            b'(' if brackets == 0 => parens += 1,
            b')' if brackets == 0 => parens -= 1,
            b'\\' => at += 1,
            _ => {}
        }
        at += 1;
    }
    None
}

/// Decodes what stands between the quotes of a Go string.
fn unquote(text: &str) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        rest = rest.get(c.len_utf8()..)?;
        if c == '\n' {
            return None;
        }
        if c != '\\' {
            out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            continue;
        }
        let escape = rest.chars().next()?;
        let mut number = |skip: usize, digits: usize, radix: u32| -> Option<u32> {
            let text = rest.get(skip..skip + digits)?;
            rest = rest.get(skip + digits..)?;
            text.bytes().all(|b| char::from(b).is_digit(radix)).then(|| u32::from_str_radix(text, radix).ok())?
        };
        match escape {
            'x' => out.push(u8::try_from(number(1, 2, 16)?).ok()?),
            '0'..='7' => out.push(u8::try_from(number(0, 3, 8)?).ok()?),
            'u' | 'U' => {
                let c = char::from_u32(number(1, if escape == 'u' { 4 } else { 8 }, 16)?)?;
                out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            }
            _ => {
                out.push(match escape {
                    'a' => 7,
                    'b' => 8,
                    'f' => 12,
                    'n' => b'\n',
                    'r' => b'\r',
                    't' => b'\t',
                    'v' => 11,
                    '\\' => b'\\',
                    '"' => b'"',
                    _ => return None,
                });
                rest = rest.get(1..)?;
            }
        }
    }
    Some(out)
}

/// As a Go string, quotes included.
pub(super) fn quote(text: &[u8]) -> String {
    let mut out = String::from('"');
    for chunk in text.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '"' | '\\' => out.extend(['\\', c]),
                '\n' => out.push_str("\\n"),
                '\r' => out.push_str("\\r"),
                '\t' => out.push_str("\\t"),
                '\x07' => out.push_str("\\a"),
                '\x08' => out.push_str("\\b"),
                '\x0c' => out.push_str("\\f"),
                '\x0b' => out.push_str("\\v"),
                c if (c as u32) < 0x80 && c.is_control() => out.push_str(&format!("\\x{:02x}", c as u32)),
                c if c.is_control() => out.push_str(&format!("\\u{:04x}", c as u32)),
                c => out.push(c),
            }
        }
        for byte in chunk.invalid() {
            out.push_str(&format!("\\x{byte:02x}"));
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings() {
        assert_eq!(unquote(r#"a\"\x41\101\u2603\\"#).unwrap(), "a\"AA☃\\".as_bytes());
        assert_eq!(unquote(r"\xff").unwrap(), [0xff]);
        for bad in [r"\z", r"\x4", r"\'", r"\400", r"\ud800", "\\", "a\nb"] {
            assert_eq!(unquote(bad), None, "{bad}");
        }
        assert_eq!(quote("a\"\n\u{1}é".as_bytes()), r#""a\"\n\x01é""#);
        assert_eq!(quote(b"\xff"), r#""\xff""#);
    }

    #[test]
    fn the_caret_is_under_the_place() {
        let error = SyntaxError { query: "é:x y".to_owned(), offset: 5, message: "m".to_owned() };
        assert_eq!(error.to_string(), "syntax error: m\n\té:x y\n\t    ^");
    }
}
