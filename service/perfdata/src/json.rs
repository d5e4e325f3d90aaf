//! JSON as Go's encoder writes it, for the answers that Go programs read.

/// Appends a string: `<`, `>`, `&` and the two line separators are escaped, each byte that is no UTF-8 becomes an escaped U+FFFD.
pub(crate) fn string(text: &[u8], out: &mut String) {
    out.push('"');
    for piece in text.utf8_chunks() {
        valid(piece.valid(), out);
        piece.invalid().iter().for_each(|_| out.push_str("\\ufffd"));
    }
    out.push('"');
}

fn valid(text: &str, out: &mut String) {
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' | '\0'..='\x1f' => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            other => out.push(other),
        }
    }
}

/// Appends a list of strings.
pub(crate) fn strings<'a>(texts: impl Iterator<Item = &'a str>, out: &mut String) {
    out.push('[');
    for (at, text) in texts.enumerate() {
        if at > 0 {
            out.push(',');
        }
        string(text.as_bytes(), out);
    }
    out.push(']');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_escaped_as_go_does() {
        let mut out = String::new();
        string("a<b>&\"\\\n\u{2028}\u{1}é\x7f".as_bytes(), &mut out);
        assert_eq!(out, "\"a\\u003cb\\u003e\\u0026\\\"\\\\\\n\\u2028\\u0001é\x7f\"");
        out.clear();
        string(b"x\xffy", &mut out);
        assert_eq!(out, "\"x\\ufffdy\"");
    }
}
