//! Bytes to lines, strictly.
//!
//! A line ends in CR LF and nothing else. Servers that took a bare LF (or CR) for an end where others did not have been made to see two mails in one
//! ("SMTP smuggling"): here such a byte ends the conversation.

use std::ops::Range;

use crate::Refusal;

/// Received bytes that are not yet used up.
#[derive(Debug, Default)]
pub struct Lines {
    bytes: Vec<u8>,
    /// Where the next line begins.
    start: usize,
    /// Up to where no end of a line is.
    searched: usize,
}

impl Lines {
    /// Where the next bytes go; make room first with [`Lines::make_room`].
    pub fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// Forgets used lines and makes room for `more` bytes.
    pub fn make_room(&mut self, more: usize) {
        self.bytes.drain(..self.start);
        self.searched = self.searched.saturating_sub(self.start);
        self.start = 0;
        self.bytes.reserve(more);
    }

    /// Whether everything received is used up.
    pub fn is_empty(&self) -> bool {
        self.start == self.bytes.len()
    }

    /// Place of the next whole line, its CR LF included; `None`: more bytes are needed.
    ///
    /// # Errors
    /// It has more than `limit` bytes, whether its end is there or not; or a CR or LF stands alone in it.
    pub fn next(&mut self, limit: usize) -> Result<Option<Range<usize>>, Refusal> {
        let found = self.bytes.get(self.searched..).and_then(|rest| memchr::memchr(b'\n', rest));
        let Some(offset) = found else {
            self.searched = self.bytes.len();
            let waiting = self.bytes.len() - self.start;
            return if waiting >= limit { Err(Refusal::LineTooLong) } else { Ok(None) };
        };
        let end = self.searched + offset + 1;
        let range = self.start..end;
        let line = self.bytes.get(range.clone()).unwrap_or_default();
        if line.len() > limit {
            return Err(Refusal::LineTooLong);
        }
        match memchr::memchr(b'\r', line) {
            Some(at) if at + 2 == line.len() => {}
            Some(at) if at + 2 < line.len() => return Err(Refusal::BareCr),
            _ => return Err(Refusal::BareLf),
        }
        (self.start, self.searched) = (end, end);
        Ok(Some(range))
    }

    /// The bytes of a place that [`Lines::next`] gave, until room is made.
    pub fn get(&self, range: Range<usize>) -> &[u8] {
        self.bytes.get(range).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Everything that comes of bytes that arrive in pieces.
    fn split<'a>(pieces: impl IntoIterator<Item = &'a [u8]>, limit: usize) -> (Vec<Vec<u8>>, Option<Refusal>) {
        let (mut lines, mut all) = (Lines::default(), Vec::new());
        for piece in pieces {
            lines.make_room(piece.len());
            lines.buffer().extend_from_slice(piece);
            loop {
                match lines.next(limit) {
                    Ok(Some(range)) => all.push(lines.get(range).to_vec()),
                    Ok(None) => break,
                    Err(why) => return (all, Some(why)),
                }
            }
        }
        (all, None)
    }

    #[test]
    fn a_lone_end_of_line_byte_is_refused_wherever_it_stands() {
        for (bytes, why) in [
            (&b"\n"[..], Refusal::BareLf),
            (b"a\n.\r\n", Refusal::BareLf),
            (b"\r\r\n", Refusal::BareCr),
            (b"a\rb\r\n", Refusal::BareCr),
            (b".\r.\r\n", Refusal::BareCr),
        ] {
            assert_eq!(split([bytes], 100), (vec![], Some(why)), "{bytes:?}");
        }
    }

    #[test]
    fn a_line_may_be_as_long_as_the_limit_and_no_longer() {
        let whole = [vec![b'x'; 4094], b"\r\n".to_vec()].concat();
        assert_eq!(split([&whole[..]], 4096).0, std::slice::from_ref(&whole));
        let longer = [&b"x"[..], &whole].concat();
        assert_eq!(split([&longer[..]], 4096).1, Some(Refusal::LineTooLong));
        assert_eq!(split([&vec![b'x'; 4096][..]], 4096).1, Some(Refusal::LineTooLong), "without waiting for its end");
    }

    proptest! {
        #[test]
        fn how_the_bytes_arrive_does_not_matter(bytes in proptest::collection::vec(proptest::sample::select(&b"ab.\r\n\r\n"[..]), 0..60), cut in 1usize..7) {
            prop_assert_eq!(split([&bytes[..]], 20), split(bytes.chunks(cut), 20));
        }
    }
}
