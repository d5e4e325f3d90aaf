//! Tar exactly as `git archive --format=tar` writes it: ustar headers, pax extensions where a field is too small, blocks of 10,240 bytes.

use std::io;

use gix::ObjectId;
use gix::objs::tree::EntryKind;

/// Size of a header, and what file bodies are padded to.
const RECORD: usize = 512;
/// What the whole stream is padded to.
const BLOCK: u64 = 10_240;
/// The greatest size and time that fit into eleven octal digits.
const OCTAL_11: u64 = 0o77_777_777_777;

/// Where the archive goes.
pub(crate) trait Sink {
    /// Takes the next bytes.
    ///
    /// # Errors
    /// They could not be passed on, or nobody wants them any more.
    fn put(&mut self, bytes: &[u8]) -> io::Result<()>;
}

/// Writes entries one after the other.
pub(crate) struct Tar<'a> {
    out: &'a mut dyn Sink,
    written: u64,
    time: u64,
}

impl<'a> Tar<'a> {
    /// Begins an archive. `commit`: its name stands in a global header; a bare tree has none. `time` is the mtime of all entries, in Unix seconds.
    pub(crate) fn begin(out: &'a mut dyn Sink, commit: Option<ObjectId>, time: u64) -> io::Result<Tar<'a>> {
        let mut tar = Tar { out, written: 0, time: time.min(OCTAL_11) };
        let mut extension = Vec::new();
        if let Some(commit) = commit {
            pax(&mut extension, "comment", commit.to_hex().to_string().as_bytes());
        }
        if time > OCTAL_11 {
            pax(&mut extension, "mtime", time.to_string().as_bytes());
        }
        if !extension.is_empty() {
            let mut header = Header::new(b'g');
            header.name(b"pax_global_header");
            tar.header(header, 0o666, extension.len() as u64)?;
            tar.body(&extension)?;
        }
        Ok(tar)
    }

    /// An entry without a body: a directory, or the place of a submodule. The path ends in a slash.
    pub(crate) fn directory(&mut self, path: &[u8], id: ObjectId) -> io::Result<()> {
        self.entry(Header::new(b'5'), path, id, 0o775, 0, Vec::new())
    }

    /// A symbolic link.
    pub(crate) fn link(&mut self, path: &[u8], id: ObjectId, target: &[u8]) -> io::Result<()> {
        let mut header = Header::new(b'2');
        let mut extension = Vec::new();
        if !header.field(157, 100, target) {
            header.field(157, 100, format!("see {}.paxheader", id.to_hex()).as_bytes());
            pax(&mut extension, "linkpath", target);
        }
        self.entry(header, path, id, 0o777, 0, extension)
    }

    /// The header of a regular file; `size` bytes of [`Tar::body`] (or [`Tar::part`] and [`Tar::pad`]) follow.
    pub(crate) fn file(&mut self, path: &[u8], id: ObjectId, kind: EntryKind, size: u64) -> io::Result<()> {
        let mode = if kind == EntryKind::BlobExecutable { 0o775 } else { 0o664 };
        let mut extension = Vec::new();
        let mut in_header = size;
        if size > OCTAL_11 {
            in_header = 0;
            pax(&mut extension, "size", size.to_string().as_bytes());
        }
        self.entry(Header::new(b'0'), path, id, mode, in_header, extension)
    }

    fn entry(&mut self, mut header: Header, path: &[u8], id: ObjectId, mode: u32, size: u64, link: Vec<u8>) -> io::Result<()> {
        let mut extension = Vec::new();
        if !header.field(0, 100, path) {
            let prefix = prefix_of(path);
            let rest = path.get(prefix + 1..).unwrap_or_default();
            if prefix > 0 && rest.len() <= 100 {
                header.field(345, 155, path.get(..prefix).unwrap_or_default());
                header.field(0, 100, rest);
            } else {
                header.field(0, 100, format!("{}.data", id.to_hex()).as_bytes());
                pax(&mut extension, "path", path);
            }
        }
        extension.extend(link);
        if !extension.is_empty() {
            let mut before = Header::new(b'x');
            before.field(0, 100, format!("{}.paxheader", id.to_hex()).as_bytes());
            self.header(before, 0o666, extension.len() as u64)?;
            self.body(&extension)?;
        }
        self.header(header, mode, size)
    }

    fn header(&mut self, mut header: Header, mode: u32, size: u64) -> io::Result<()> {
        header.octal(100, 7, u64::from(mode));
        header.octal(108, 7, 0);
        header.octal(116, 7, 0);
        header.octal(124, 11, size);
        header.octal(136, 11, self.time);
        header.field(257, 6, b"ustar\0");
        header.field(263, 2, b"00");
        header.field(265, 32, b"root");
        header.field(297, 32, b"root");
        header.octal(329, 7, 0);
        header.octal(337, 7, 0);
        // The sum counts its own field as eight spaces.
        let sum = header.0.iter().map(|byte| u64::from(*byte)).sum::<u64>() + 8 * u64::from(b' ');
        header.octal(148, 7, sum);
        self.part(&header.0)
    }

    /// A whole body, padded.
    pub(crate) fn body(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.part(bytes)?;
        self.pad()
    }

    /// Some bytes of a body.
    pub(crate) fn part(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.written += bytes.len() as u64;
        self.out.put(bytes)
    }

    /// Fills up after the last part of a body.
    pub(crate) fn pad(&mut self) -> io::Result<()> {
        let over = (self.written % RECORD as u64) as usize;
        if over == 0 { Ok(()) } else { self.part(&[0; RECORD][over..]) }
    }

    /// Ends the archive: at least two empty records, and a whole number of blocks.
    pub(crate) fn finish(mut self) -> io::Result<()> {
        let mut left = BLOCK - self.written % BLOCK;
        if left < 2 * RECORD as u64 {
            left += BLOCK;
        }
        self.part(&vec![0; left as usize])
    }
}

/// The length of what goes into the prefix field of a path that is too long for the name field; 0 when it cannot be cut.
fn prefix_of(path: &[u8]) -> usize {
    let mut end = path.len();
    if end > 1 && path.last() == Some(&b'/') {
        end -= 1;
    }
    let end = end.min(155);
    path.get(..end).and_then(|head| head.iter().rposition(|byte| *byte == b'/')).unwrap_or(0)
}

/// One record of a pax extension: its own length counts too.
fn pax(out: &mut Vec<u8>, key: &str, value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while length.to_string().len() + rest > length {
        length += 1;
    }
    out.extend_from_slice(format!("{length} {key}=").as_bytes());
    out.extend_from_slice(value);
    out.push(b'\n');
}

struct Header([u8; RECORD]);

impl Header {
    fn new(kind: u8) -> Header {
        let mut header = Header([0; RECORD]);
        header.0[156] = kind;
        header
    }

    fn name(&mut self, name: &[u8]) {
        self.field(0, 100, name);
    }

    /// Fills a field; false when it is too small.
    fn field(&mut self, at: usize, size: usize, bytes: &[u8]) -> bool {
        if bytes.len() > size {
            return false;
        }
        match self.0.get_mut(at..at + bytes.len()) {
            Some(place) => {
                place.copy_from_slice(bytes);
                true
            }
            None => false,
        }
    }

    fn octal(&mut self, at: usize, digits: usize, number: u64) {
        self.field(at, digits, format!("{number:0digits$o}").as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_length_of_a_pax_record_counts_itself() {
        for (value, length) in [(1, 8), (2, 9), (3, 11), (91, 99), (92, 101)] {
            let mut out = Vec::new();
            pax(&mut out, "key", &vec![b'v'; value]);
            assert_eq!(out.len(), length);
            assert!(out.starts_with(format!("{length} key=").as_bytes()));
        }
    }

    #[test]
    fn long_paths_are_cut_at_a_slash() {
        assert_eq!(prefix_of(b"dir/file"), 3);
        assert_eq!(prefix_of(b"dir/sub/"), 3);
        assert_eq!(prefix_of(b"file"), 0);
        let deep = [vec![b'a'; 150], b"/".to_vec(), vec![b'b'; 20], b"/c".to_vec()].concat();
        assert_eq!(prefix_of(&deep), 150);
    }
}
