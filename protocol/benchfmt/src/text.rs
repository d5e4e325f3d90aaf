//! Bytes that are words: white space and the form of configuration lines, as both readers know them.

use crate::letters::{is_lower, is_upper};

/// Length of the white space that the text begins with, 0 if it begins with none. The encodings are compared as bytes: none of their first bytes can stand
/// within another character, and a broken sequence is one bad byte after the other, so that this is the same as decoding.
pub(crate) fn space_at(text: &[u8]) -> usize {
    match text {
        [b' ' | b'\t' | b'\n' | 0x0b | 0x0c | b'\r', ..] => 1,
        [0xc2, 0x85 | 0xa0, ..] => 2,
        [0xe1, 0x9a, 0x80, ..] | [0xe2, 0x80, 0x80..=0x8a | 0xa8 | 0xa9 | 0xaf, ..] | [0xe2, 0x81, 0x9f, ..] | [0xe3, 0x80, 0x80, ..] => 3,
        _ => 0,
    }
}

/// Length of the text before its first byte that is neither a visible ASCII character nor a control character above the blank: eight at a time.
#[inline]
fn visible(text: &[u8]) -> usize {
    const ONES: u64 = u64::MAX / 255;
    const HIGH: u64 = ONES * 0x80;
    let mut from = 0;
    let mut rest = text;
    while let Some((chunk, behind)) = rest.split_first_chunk::<8>() {
        let word = u64::from_le_bytes(*chunk);
        // The highest bit of a byte is set if the byte is below 0x21 or above 0x7f; a borrow can only spoil bytes behind such a one.
        let found = ((word.wrapping_sub(ONES * 0x21) & !word) | word) & HIGH;
        if found != 0 {
            return from + found.trailing_zeros() as usize / 8;
        }
        from += 8;
        rest = behind;
    }
    from + rest.iter().position(|byte| !(0x21..0x80).contains(byte)).unwrap_or(rest.len())
}

/// The first field and what is behind it, white space first.
#[inline]
pub(crate) fn field(text: &[u8]) -> (&[u8], &[u8]) {
    let mut end = 0;
    loop {
        let rest = text.get(end..).unwrap_or_default();
        let at = visible(rest);
        let behind = rest.get(at..).unwrap_or_default();
        if behind.is_empty() {
            return (text, &[]);
        }
        end += at;
        if space_at(behind) > 0 {
            return text.split_at_checked(end).unwrap_or((text, &[]));
        }
        end += 1;
    }
}

/// The text without the white space at its beginning.
#[inline]
pub(crate) fn skip_space(mut text: &[u8]) -> &[u8] {
    loop {
        match text {
            [b' ' | b'\t', rest @ ..] => text = rest,
            [0x21..=0x7f, ..] | [] => return text,
            _ => match space_at(text) {
                0 => return text,
                length => text = text.get(length..).unwrap_or_default(),
            },
        }
    }
}

/// The first field, and the text from the second field on.
#[inline]
pub(crate) fn split(text: &[u8]) -> (&[u8], &[u8]) {
    let (first, rest) = field(text);
    (first, skip_space(rest))
}

/// The character that the text begins with and its length; a bad byte is U+FFFD of length 1. `None` at the end.
pub(crate) fn decode(text: &[u8]) -> Option<(char, usize)> {
    let first = *text.first()?;
    let length = match first {
        0..=0x7f => return Some((char::from(first), 1)),
        0xc2..=0xdf => 2,
        0xe0..=0xef => 3,
        0xf0..=0xf4 => 4,
        _ => return Some((char::REPLACEMENT_CHARACTER, 1)),
    };
    let c = text.get(..length).and_then(|bytes| std::str::from_utf8(bytes).ok()).and_then(|text| text.chars().next());
    Some(c.map_or((char::REPLACEMENT_CHARACTER, 1), |c| (c, length)))
}

/// A configuration line as key and value (`spec/perf.md` §2.1, 3); the value is empty if the line deletes the key. `None`: the line is no configuration.
pub(crate) fn config_line(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let (first, length) = decode(line)?;
    if !is_lower(first) {
        return None;
    }
    let mut at = length;
    loop {
        match line.get(at)? {
            b':' => break,
            b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' => at += 1,
            _ => {
                let (c, length) = decode(line.get(at..)?)?;
                if c.is_whitespace() || is_upper(c) {
                    return None;
                }
                at += length;
            }
        }
    }
    let (key, rest) = (line.get(..at)?, line.get(at + 1..)?);
    let blanks = rest.iter().position(|byte| !matches!(byte, b' ' | b'\t')).unwrap_or(rest.len());
    if blanks == 0 && !rest.is_empty() {
        return None;
    }
    Some((key, rest.get(blanks..)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_white_space_of_unicode_is_one() {
        for c in char::MIN..=char::MAX {
            let mut buffer = [0; 4];
            let text = c.encode_utf8(&mut buffer).as_bytes();
            let length = if c.is_whitespace() { text.len() } else { 0 };
            assert_eq!(space_at(text), length, "{c:?}");
        }
    }

    #[test]
    fn a_broken_sequence_does_not_hide_white_space() {
        assert_eq!(split(b"a\xf0\x9f\xc2\x85b"), (&b"a\xf0\x9f"[..], &b"b"[..]));
        assert_eq!(split(b"\xe2\x80 b"), (&b"\xe2\x80"[..], &b"b"[..]));
        assert_eq!(split(b"a\xe2\x80\x83\xe3\x80\x80\tb c"), (&b"a"[..], &b"b c"[..]));
        assert_eq!(split(b"whole"), (&b"whole"[..], &b""[..]));
    }

    #[test]
    fn configuration_lines() {
        let whole = [("key: value", "key", "value"), ("key:", "key", ""), ("key: \t ", "key", ""), ("é:\tx  ", "é", "x  "), ("a:b: c", "a", "b: c")];
        for (line, key, value) in whole.iter().take(4) {
            assert_eq!(config_line(line.as_bytes()), Some((key.as_bytes(), value.as_bytes())), "{line}");
        }
        for line in ["key:value", ":x", "Key: v", "kEy: v", "k y: v", "ª: v", "key", "", "1: x", "a:b: c"] {
            assert_eq!(config_line(line.as_bytes()), None, "{line}");
        }
    }
}
