//! Bytes of one segment as they pass by: their digest, and whether they are whole records.

use protocol_mutlog::{Digest, FrameError, MAX_HEADER, Records, Sha224};

/// What is known of the first bytes of a segment after they passed by once. A clone can go on while the original stays.
#[derive(Debug, Clone, Default)]
pub(crate) struct Running {
    len: u64,
    digest: Digest,
    framing: Framing,
    mark: Option<u64>,
    at_mark: Option<Sha224>,
}

impl Running {
    /// From the first byte; the digest of the first `mark` bytes is kept when they have passed.
    pub(crate) fn new(mark: Option<u64>) -> Running {
        Running::default().marked(mark)
    }

    /// The same bytes, with another mark. A mark that has already passed is not found any more.
    pub(crate) fn marked(mut self, mark: Option<u64>) -> Running {
        self.mark = mark;
        self.at_mark = (mark == Some(self.len)).then(|| self.sha224());
        self
    }

    /// Takes in the bytes that follow.
    pub(crate) fn take(&mut self, bytes: &[u8]) {
        self.framing.take(bytes);
        let before = self.mark.and_then(|mark| mark.checked_sub(self.len)).and_then(|distance| usize::try_from(distance).ok());
        match before.and_then(|distance| bytes.split_at_checked(distance)) {
            Some((first, rest)) => {
                self.digest.update(first);
                self.at_mark = Some(self.sha224());
                self.digest.update(rest);
            }
            None => self.digest.update(bytes),
        }
        self.len = self.len.saturating_add(bytes.len() as u64);
    }

    /// Bytes so far.
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// Digest of all bytes so far.
    pub(crate) fn sha224(&self) -> Sha224 {
        self.digest.clone().finish()
    }

    /// Digest of the bytes before the mark, if they passed by.
    pub(crate) fn at_mark(&self) -> Option<Sha224> {
        self.at_mark
    }

    /// What is wrong with the framing so far, be there more bytes to come or not.
    pub(crate) fn fault(&self) -> Option<FrameError> {
        self.framing.fault
    }

    /// What is wrong with the framing if these are all bytes.
    pub(crate) fn end(&self) -> Result<(), FrameError> {
        self.framing.end()
    }

    /// How many bytes are whole records.
    pub(crate) fn intact(&self) -> u64 {
        self.framing.record
    }
}

/// Walks from header to header without keeping payloads.
#[derive(Debug, Clone, Default)]
struct Framing {
    /// Where the record begins that is not complete yet.
    record: u64,
    /// What has come of its header; empty once the header is complete.
    header: Vec<u8>,
    /// Bytes of the record that have come, if its header is complete.
    passed: u64,
    /// Bytes of its payload that are still to come.
    missing: u64,
    fault: Option<FrameError>,
}

impl Framing {
    fn take(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() && self.fault.is_none() {
            bytes = if self.missing > 0 {
                self.payload(bytes)
            } else if self.header.is_empty() {
                self.whole_records(bytes)
            } else {
                self.rest_of_header(bytes)
            };
        }
    }

    fn payload<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let count = usize::try_from(self.missing).unwrap_or(usize::MAX).min(bytes.len());
        self.missing -= count as u64;
        self.passed += count as u64;
        if self.missing == 0 {
            self.record = self.record.saturating_add(self.passed);
            self.passed = 0;
        }
        bytes.get(count..).unwrap_or_default()
    }

    fn whole_records<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let start = self.record;
        let mut records = Records::new(bytes, start);
        let fault = records.by_ref().find_map(Result::err);
        self.record = records.offset();
        let taken = usize::try_from(self.record.saturating_sub(start)).unwrap_or(usize::MAX);
        match fault {
            None => &[],
            Some(FrameError::Truncated { .. }) => self.begin(bytes.get(taken..).unwrap_or_default()),
            Some(fault) => {
                self.fault = Some(fault);
                &[]
            }
        }
    }

    /// `bytes` begin a record and do not end it.
    fn begin<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let window = bytes.get(..MAX_HEADER).unwrap_or(bytes);
        let Some(end) = window.iter().position(|byte| *byte == b'=') else {
            // A whole window without an end is malformed, and was found to be.
            self.header = window.to_vec();
            return &[];
        };
        let (header, payload) = bytes.split_at_checked(end + 1).unwrap_or((bytes, &[]));
        self.complete(header);
        payload
    }

    fn rest_of_header<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let room = MAX_HEADER.saturating_sub(self.header.len());
        let window = bytes.get(..room).unwrap_or(bytes);
        let count = window.iter().position(|byte| *byte == b'=').map_or(window.len(), |end| end + 1);
        let (taken, rest) = bytes.split_at_checked(count).unwrap_or((bytes, &[]));
        let mut header = std::mem::take(&mut self.header);
        header.extend_from_slice(taken);
        if header.last() == Some(&b'=') || header.len() >= MAX_HEADER {
            self.complete(&header);
        } else {
            self.header = header;
        }
        rest
    }

    /// A header without anything of its payload.
    fn complete(&mut self, header: &[u8]) {
        match Records::new(header, self.record).next() {
            Some(Ok(record)) => self.record = self.record.saturating_add(record.len),
            Some(Err(FrameError::Truncated { missing, .. })) => {
                self.passed = header.len() as u64;
                self.missing = missing;
            }
            Some(Err(fault)) => self.fault = Some(fault),
            None => {}
        }
    }

    fn end(&self) -> Result<(), FrameError> {
        match self.fault {
            Some(fault) => Err(fault),
            None if self.missing > 0 => Err(FrameError::Truncated { offset: self.record, missing: self.missing }),
            None if !self.header.is_empty() => match Records::new(&self.header, self.record).next() {
                Some(Err(fault)) => Err(fault),
                _ => Ok(()),
            },
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use protocol_mutlog::append_record;

    use super::*;

    fn log() -> Vec<u8> {
        let mut log = Vec::new();
        for payload in [&b""[..], b"x", &[b'='; 300], b"", b"REC@0+1=", &[7; 41]] {
            let offset = log.len() as u64;
            append_record(&mut log, offset, payload);
        }
        log
    }

    /// The same bytes in pieces of `size`.
    fn pieces(bytes: &[u8], size: usize) -> Running {
        let mut running = Running::new(Some(11));
        bytes.chunks(size).for_each(|piece| running.take(piece));
        running
    }

    #[test]
    fn pieces_of_any_size_are_the_same_log() {
        let log = log();
        for size in 1..=log.len() {
            let running = pieces(&log, size);
            assert_eq!((running.end(), running.intact(), running.len()), (Ok(()), log.len() as u64, log.len() as u64), "in pieces of {size}");
            assert_eq!((running.sha224(), running.at_mark()), (Sha224::of(&log), Some(Sha224::of(&log[..11]))));
        }
    }

    #[test]
    fn faults_have_the_place_that_the_whole_would_show() {
        let whole = log();
        for cut in 0..whole.len() {
            let (intact, fault) = protocol_mutlog::intact_prefix(&whole[..cut], 0);
            let mut changed = whole[..cut].to_vec();
            changed.extend_from_slice(b"?garbage, long enough that no header can be found in it");
            let (changed_intact, changed_fault) = protocol_mutlog::intact_prefix(&changed, 0);
            for size in [1, 2, 3, 7, 40, 41, 1000] {
                let running = pieces(&whole[..cut], size);
                assert_eq!(running.end().err(), fault, "cut at {cut}, in pieces of {size}");
                assert_eq!(running.intact(), intact as u64);
                let running = pieces(&changed, size);
                assert_eq!((running.end().err(), running.intact()), (changed_fault, changed_intact as u64), "changed at {cut}, in pieces of {size}");
            }
        }
    }

    #[test]
    fn it_goes_on_where_a_copy_was_taken() {
        let log = log();
        let first = pieces(&log[..8], 8);
        let mut second = first.clone().marked(Some(8));
        second.take(&log[8..]);
        assert_eq!((second.sha224(), second.at_mark(), second.end()), (Sha224::of(&log), Some(first.sha224()), Ok(())));
    }

    #[test]
    fn a_length_beyond_all_measure_is_only_a_missing_end() {
        let mut running = Running::new(None);
        running.take(b"REC@0+fffffffffffffff=xyz");
        assert!(matches!(running.end(), Err(FrameError::Truncated { offset: 0, .. })));
        assert_eq!(running.fault(), None);
    }
}
