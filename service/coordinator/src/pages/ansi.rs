//! A line of a log as HTML: colours of terminals become classes, everything else that is not text disappears.

use burrow_web::words::escape_into;

/// Longest part of a line that is shown; the raw log has the rest.
pub const LONGEST: usize = 8 << 10;

/// Appends one line, without its line break.
pub fn line(out: &mut String, raw: &[u8]) {
    let raw = raw.strip_suffix(b"\r").unwrap_or(raw);
    // A progress bar overwrites its line: what stood there last is what a person would see.
    let raw = raw.rsplit(|byte| *byte == b'\r').next().unwrap_or(raw);
    let (shown, cut) = if raw.len() > LONGEST { (raw.get(..LONGEST).unwrap_or(raw), raw.len() - LONGEST) } else { (raw, 0) };
    let text = String::from_utf8_lossy(shown);
    let mut style = Style::default();
    let mut open = false;
    let mut rest: &str = &text;
    while let Some(at) = rest.find(|c: char| c.is_control() && c != '\t') {
        escape_into(out, &rest[..at]);
        let after = &rest[at..];
        if let Some((codes, length)) = sgr(after) {
            style.apply(codes);
            if open {
                out.push_str("</span>");
            }
            open = style.open(out);
            rest = &after[length..];
        } else {
            rest = &after[skipped(after)..];
        }
    }
    escape_into(out, rest);
    if open {
        out.push_str("</span>");
    }
    if cut > 0 {
        out.push_str(&format!(" … {cut} more bytes in the raw log"));
    }
}

/// One line as plain text: no escape sequences, no control characters, replaced where it is not UTF-8.
pub fn plain(raw: &[u8]) -> String {
    let raw = raw.strip_suffix(b"\r").unwrap_or(raw);
    let raw = raw.rsplit(|byte| *byte == b'\r').next().unwrap_or(raw);
    let text = String::from_utf8_lossy(raw.get(..LONGEST).unwrap_or(raw));
    let mut out = String::with_capacity(text.len());
    let mut rest: &str = &text;
    while let Some(at) = rest.find(|c: char| c.is_control() && c != '\t') {
        out.push_str(&rest[..at]);
        let after = &rest[at..];
        rest = &after[sgr(after).map_or_else(|| skipped(after), |(_, length)| length)..];
    }
    out.push_str(rest);
    out
}

/// `ESC [ codes m` at the start: the codes, and the length of the whole.
fn sgr(text: &str) -> Option<(&str, usize)> {
    let body = text.strip_prefix("\u{1b}[")?;
    let end = body.find(|c: char| !c.is_ascii_digit() && c != ';')?;
    body[end..].starts_with('m').then(|| (&body[..end], end + 3))
}

/// Length of the control sequence or character at the start.
fn skipped(text: &str) -> usize {
    let one = text.chars().next().map_or(text.len(), char::len_utf8);
    if let Some(body) = text.strip_prefix("\u{1b}[") {
        return body.find(|c: char| ('\u{40}'..='\u{7e}').contains(&c)).map_or(text.len(), |end| end + 3);
    }
    if let Some(body) = text.strip_prefix("\u{1b}]") {
        // A window title or a link: up to BEL or ESC \.
        let bell = body.find('\u{7}').map(|end| end + 3);
        let string = body.find("\u{1b}\\").map(|end| end + 4);
        return bell.into_iter().chain(string).min().unwrap_or(text.len());
    }
    if text.starts_with('\u{1b}') { text.chars().take(2).map(char::len_utf8).sum() } else { one }
}

#[derive(Default)]
struct Style {
    bold: bool,
    dim: bool,
    under: bool,
    colour: Option<u8>,
}

impl Style {
    fn apply(&mut self, codes: &str) {
        let mut codes = codes.split(';').map(|code| code.parse::<u16>().unwrap_or(0));
        while let Some(code) = codes.next() {
            match code {
                0 => *self = Style::default(),
                1 => self.bold = true,
                2 => self.dim = true,
                4 => self.under = true,
                22 => (self.bold, self.dim) = (false, false),
                24 => self.under = false,
                30..=37 => self.colour = u8::try_from(code - 30).ok(),
                90..=97 => self.colour = u8::try_from(code - 90).ok(),
                39 => self.colour = None,
                // Colours by number: not shown, but their arguments must not be taken for codes.
                38 | 48 => match codes.next() {
                    Some(5) => drop(codes.next()),
                    Some(2) => drop(codes.by_ref().take(3).count()),
                    _ => {}
                },
                _ => {}
            }
        }
    }

    fn open(&self, out: &mut String) -> bool {
        if !self.bold && !self.dim && !self.under && self.colour.is_none() {
            return false;
        }
        let mut classes = Vec::with_capacity(4);
        classes.extend(self.bold.then(|| "a1".to_owned()));
        classes.extend(self.dim.then(|| "a2".to_owned()));
        classes.extend(self.under.then(|| "a4".to_owned()));
        classes.extend(self.colour.map(|colour| format!("f{colour}")));
        out.push_str(&format!("<span class=\"{}\">", classes.join(" ")));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn html(raw: &[u8]) -> String {
        let mut out = String::new();
        line(&mut out, raw);
        out
    }

    #[test]
    fn colours_become_classes_and_nothing_else_gets_through() {
        assert_eq!(html(b"\x1b[1;31merror\x1b[0m: <x>"), "<span class=\"a1 f1\">error</span>: &lt;x&gt;");
        assert_eq!(html(b"\x1b[38;5;12mblue\x1b[39m \x1b[2Kgone"), "blue gone");
        assert_eq!(html(b"\x1b]8;;http://evil\x1b\\link\x1b]8;;\x07!"), "link!");
        assert_eq!(html(b"10%\r55%\r100% done\r"), "100% done");
        assert_eq!(html(b"a\0b\x08c\xff\x1b"), "abc\u{fffd}");
        assert_eq!(html(b"\x1b[31mopen"), "<span class=\"f1\">open</span>");
        assert_eq!(plain(b"\x1b[1;31merror\x1b[0m: \x1b[2K<x>\r"), "error: <x>");
    }

    #[test]
    fn a_line_without_end_is_cut_and_says_so() {
        let shown = html(&vec![b'x'; LONGEST + 10]);
        assert!(shown.ends_with("… 10 more bytes in the raw log"));
    }

    proptest::proptest! {
        #[test]
        fn no_line_makes_it_fail_or_opens_a_tag_that_it_does_not_close(raw: Vec<u8>) {
            let shown = html(&raw);
            proptest::prop_assert_eq!(shown.matches("<span").count(), shown.matches("</span>").count());
            let clean = !plain(&raw).contains('\u{1b}');
            proptest::prop_assert!(clean);
        }
    }
}
