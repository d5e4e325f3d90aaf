//! Text within a message, in quotes.

use std::fmt::Write as _;

/// As Go's `%q` writes it: names and paths of ordinary letters, in one line whatever they hold.
pub(super) fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for letter in text.chars() {
        let done = match letter {
            '"' => out.write_str("\\\""),
            '\\' => out.write_str("\\\\"),
            '\u{7}' => out.write_str("\\a"),
            '\u{8}' => out.write_str("\\b"),
            '\u{c}' => out.write_str("\\f"),
            '\n' => out.write_str("\\n"),
            '\r' => out.write_str("\\r"),
            '\t' => out.write_str("\\t"),
            '\u{b}' => out.write_str("\\v"),
            letter if letter.is_ascii_control() => write!(out, "\\x{:02x}", u32::from(letter)),
            letter if letter != ' ' && (letter.is_whitespace() || letter.is_control()) => write!(out, "\\u{:04x}", u32::from(letter)),
            letter => out.write_char(letter),
        };
        debug_assert!(done.is_ok(), "a String takes everything");
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::quoted;

    #[test]
    fn quotes_are_gos() {
        for (text, expected) in [
            ("golang.org/x/net", r#""golang.org/x/net""#),
            ("", r#""""#),
            ("a \"b\" \\c", r#""a \"b\" \\c""#),
            ("\n\t\0\u{7f}\u{1b}", r#""\n\t\x00\x7f\x1b""#),
            ("grüße 日本", "\"grüße 日本\""),
            ("\u{a0}\u{2028}\u{85}", r#""\u00a0\u2028\u0085""#),
        ] {
            assert_eq!(quoted(text), expected);
        }
    }
}
