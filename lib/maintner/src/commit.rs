//! A raw commit object: headers, message, people (`spec/maintner.md` §4.3).

use memchr::{memchr, memmem, memrchr};

/// A git object's name.
pub(crate) type Hash = [u8; 20];

/// Reads 40 hex digits.
#[inline]
pub(crate) fn hash(hex: &[u8]) -> Option<Hash> {
    let mut out = [0; 20];
    let pairs = hex.as_chunks::<2>();
    if pairs.0.len() != 20 || !pairs.1.is_empty() {
        return None;
    }
    let mut bad = 0;
    for (byte, [high, low]) in out.iter_mut().zip(pairs.0) {
        let (high, low) = (DIGITS[usize::from(*high)], DIGITS[usize::from(*low)]);
        bad |= high | low;
        *byte = high << 4 | low & 15;
    }
    (bad & 0x80 == 0).then_some(out)
}

/// Values of hex digits; 0x80 for every other byte.
const DIGITS: [u8; 256] = {
    let mut table = [0x80; 256];
    let mut digit = 0;
    while digit < 16 {
        table[b"0123456789abcdef"[digit] as usize] = digit as u8;
        table[b"0123456789ABCDEF"[digit] as usize] = digit as u8;
        digit += 1;
    }
    table
};

/// A person and a moment, as commits write them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Signature<'a> {
    /// `Name <mail>`, as it stands.
    pub(crate) person: &'a [u8],
    /// Unix seconds.
    pub(crate) seconds: i64,
    /// `+0100`, as it stands.
    pub(crate) zone: &'a [u8],
}

/// A commit, read.
#[derive(Debug, Clone, Default)]
pub(crate) struct Commit<'a> {
    pub(crate) tree: Option<Hash>,
    pub(crate) parent: Option<Hash>,
    pub(crate) parents: u32,
    pub(crate) author: Option<Signature<'a>>,
    pub(crate) committer: Option<Signature<'a>>,
    pub(crate) golang_hg: Option<&'a [u8]>,
    pub(crate) message: &'a [u8],
    /// An author or committer could not be read: such a commit is not taken, but the parents before that line are.
    pub(crate) bad: bool,
}

impl<'a> Commit<'a> {
    pub(crate) fn parse(raw: &'a [u8]) -> Commit<'a> {
        let (header, message) = split(raw);
        let mut commit = Commit { message, ..Commit::default() };
        for line in lines(header) {
            match line.first() {
                Some(b'p') => {
                    if let Some(parent) = line.strip_prefix(b"parent ").and_then(hash) {
                        commit.parent.get_or_insert(parent);
                        commit.parents += 1;
                    }
                }
                Some(b'a') => {
                    if let Some(rest) = line.strip_prefix(b"author ") {
                        commit.author = signature(rest);
                        commit.bad |= commit.author.is_none();
                    }
                }
                Some(b'c') => {
                    if let Some(rest) = line.strip_prefix(b"committer ") {
                        commit.committer = signature(rest);
                        commit.bad |= commit.committer.is_none();
                    }
                }
                Some(b't') => commit.tree = line.strip_prefix(b"tree ").and_then(hash).or(commit.tree),
                Some(b'g') => commit.golang_hg = line.strip_prefix(b"golang-hg ").or(commit.golang_hg),
                _ => {}
            }
            if commit.bad {
                break;
            }
        }
        commit
    }
}

/// All parents, in order.
pub(crate) fn parents(raw: &[u8]) -> impl Iterator<Item = Hash> {
    lines(split(raw).0).filter_map(|line| line.strip_prefix(b"parent ").and_then(hash))
}

fn split(raw: &[u8]) -> (&[u8], &[u8]) {
    match memmem::find(raw, b"\n\n") {
        Some(at) => (raw.get(..at).unwrap_or(raw), raw.get(at + 2..).unwrap_or(&[])),
        None => (raw, &[]),
    }
}

fn lines(mut text: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        if text.is_empty() {
            return None;
        }
        let end = memchr(b'\n', text).unwrap_or(text.len());
        let (line, rest) = text.split_at_checked(end)?;
        text = rest.get(1..).unwrap_or(&[]);
        Some(line)
    })
}

fn signature(text: &[u8]) -> Option<Signature<'_>> {
    let text = trim(text);
    let (rest, zone) = text.split_at_checked(memrchr(b' ', text)?)?;
    let (person, time) = rest.split_at_checked(memrchr(b' ', rest)?)?;
    Some(Signature { person, seconds: integer(time.get(1..)?)?, zone: zone.get(1..)? })
}

/// A decimal number with an optional sign, as Go's `strconv.ParseInt` reads it in base 10.
pub(crate) fn integer(text: &[u8]) -> Option<i64> {
    let digits = text.strip_prefix(b"-").or_else(|| text.strip_prefix(b"+")).unwrap_or(text);
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// Without white space at both ends, as Go trims it (ASCII, NEL, no-break space and Unicode's spaces).
pub(crate) fn trim(text: &[u8]) -> &[u8] {
    if text.first().is_none_or(|byte| byte.is_ascii_graphic()) && text.last().is_none_or(|byte| byte.is_ascii_graphic()) {
        return text;
    }
    let ascii = |text: &[u8]| -> (usize, usize) {
        let space = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\n' | 0x0b | 0x0c | b'\r');
        let from = text.iter().position(|byte| !space(byte)).unwrap_or(text.len());
        let to = text.iter().rposition(|byte| !space(byte)).map_or(from, |last| last + 1);
        (from, to)
    };
    match std::str::from_utf8(text) {
        Ok(text) => text.trim().as_bytes(),
        Err(_) => {
            let (from, to) = ascii(text);
            text.get(from..to).unwrap_or(&[])
        }
    }
}

/// Minutes east of Greenwich; unreadable zones count as none.
pub(crate) fn zone_minutes(zone: &[u8]) -> i32 {
    let sign = if zone.first() == Some(&b'-') { -1 } else { 1 };
    let part = |from: usize| zone.get(from..from + 2).and_then(integer).and_then(|number| i32::try_from(number).ok()).unwrap_or(0);
    sign * (part(1) * 60 + part(3))
}

#[cfg(test)]
mod tests {
    use super::*;

    const RAW: &[u8] = b"tree 0000000000000000000000000000000000000001\nparent 0000000000000000000000000000000000000002\n\
        parent 0000000000000000000000000000000000000003\nauthor A B <a@b> 1488624439 +0900\ncommitter C <c> -5 -0330\n\
        gpgsig -----BEGIN\n parent 0000000000000000000000000000000000000009\nencoding x\n\nsubject\n\nbody";

    #[test]
    fn headers_and_message_are_read() {
        let commit = Commit::parse(RAW);
        assert_eq!((commit.parents, commit.parent.unwrap()[19], commit.tree.unwrap()[19]), (2, 2, 1));
        assert_eq!(commit.author, Some(Signature { person: b"A B <a@b>", seconds: 1_488_624_439, zone: b"+0900" }));
        assert_eq!(commit.committer.map(|who| (who.seconds, zone_minutes(who.zone))), Some((-5, -210)));
        assert_eq!((commit.message, commit.bad), (&b"subject\n\nbody"[..], false));
        assert_eq!(parents(RAW).map(|hash| hash[19]).collect::<Vec<_>>(), [2, 3]);
    }

    #[test]
    fn odd_commits_do_no_harm() {
        assert_eq!(Commit::parse(b"tree x\nauthor A <a> 1 +0000").message, b"", "no blank line: no message");
        let bad = Commit::parse(b"parent 0000000000000000000000000000000000000002\nauthor nobody\nparent 0000000000000000000000000000000000000003\n\nx");
        assert!(bad.bad && bad.parents == 1, "parents before the bad line count");
        assert_eq!(Commit::parse(b"").parents, 0);
        assert_eq!(hash(b"00"), None);
        assert_eq!(hash(&[b'g'; 40]), None);
    }
}
