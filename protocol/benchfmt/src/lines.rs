//! Lines out of pieces as they come from a file or a connection.

use memchr::memchr;

/// A line, without its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Line<'a> {
    Whole(&'a [u8]),
    /// Longer than the limit; it was thrown away.
    TooLong,
}

/// Keeps what was read of a line that is not yet whole: at most the limit; the rest of a longer line is thrown away as it comes.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    carry: Vec<u8>,
    /// The line under way is already too long.
    skipping: bool,
}

impl Lines {
    /// Forgets the line under way.
    pub(crate) fn clear(&mut self) {
        self.carry.clear();
        self.skipping = false;
    }

    /// Reads the next piece.
    pub(crate) fn push(&mut self, mut piece: &[u8], limit: usize, mut each: impl FnMut(Line<'_>)) {
        while let Some(end) = memchr(b'\n', piece) {
            let (Some(line), Some(rest)) = (piece.get(..end), piece.get(end + 1..)) else { return };
            piece = rest;
            if self.skipping || self.carry.len() + line.len() > limit {
                self.clear();
                each(Line::TooLong);
            } else if self.carry.is_empty() {
                each(Line::Whole(line));
            } else {
                self.carry.extend_from_slice(line);
                each(Line::Whole(&self.carry));
                self.carry.clear();
            }
        }
        if self.skipping || self.carry.len() + piece.len() > limit {
            self.skipping = true;
            self.carry.clear();
        } else {
            self.carry.extend_from_slice(piece);
        }
    }

    /// Reads what is left, a line without its end.
    pub(crate) fn finish(&mut self, mut each: impl FnMut(Line<'_>)) {
        if self.skipping {
            each(Line::TooLong);
        } else if !self.carry.is_empty() {
            each(Line::Whole(&self.carry));
        }
        self.clear();
    }
}
