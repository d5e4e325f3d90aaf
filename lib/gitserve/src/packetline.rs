//! Git's pkt-lines, and the requests of protocol version 2.

/// The longest line, with its length.
const LONGEST: usize = 65_520;

/// One line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packet<'a> {
    /// Data, with its line feed if it had one.
    Data(&'a [u8]),
    /// `0000`: the end of a message.
    Flush,
    /// `0001`: the end of a section.
    Delimiter,
    /// `0002`: the end of an answer.
    ResponseEnd,
}

/// Takes one line from the front of `bytes`. `None`: there is no whole line.
pub fn next<'a>(bytes: &mut &'a [u8]) -> Option<Packet<'a>> {
    let (head, rest) = bytes.split_first_chunk::<4>()?;
    if !head.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    let length = usize::from_str_radix(std::str::from_utf8(head).ok()?, 16).ok()?;
    let (packet, rest) = match length {
        0 => (Packet::Flush, rest),
        1 => (Packet::Delimiter, rest),
        2 => (Packet::ResponseEnd, rest),
        4..=LONGEST => {
            let (data, rest) = rest.split_at_checked(length - 4)?;
            (Packet::Data(data), rest)
        }
        _ => return None,
    };
    *bytes = rest;
    Some(packet)
}

/// Appends a line of data, which must be shorter than 65,516 bytes.
pub fn push(out: &mut Vec<u8>, data: &[u8]) {
    out.extend_from_slice(format!("{:04x}", data.len() + 4).as_bytes());
    out.extend_from_slice(data);
}

/// A request of protocol version 2.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command<'a> {
    /// `ls-refs`, `fetch`, ….
    pub name: &'a [u8],
    /// Its arguments, without line feeds.
    pub arguments: Vec<&'a [u8]>,
    /// Bytes of the request up to and with its flush.
    pub length: usize,
}

impl<'a> Command<'a> {
    /// Understands a request. `None`: it is none, or not whole.
    pub fn parse(bytes: &'a [u8]) -> Option<Command<'a>> {
        let mut rest = bytes;
        let (mut name, mut arguments, mut in_arguments) = (None, Vec::new(), false);
        loop {
            match next(&mut rest)? {
                Packet::Flush => break,
                Packet::Delimiter if !in_arguments => in_arguments = true,
                Packet::Delimiter | Packet::ResponseEnd => return None,
                Packet::Data(line) => {
                    let line = line.strip_suffix(b"\n").unwrap_or(line);
                    if in_arguments {
                        arguments.push(line);
                    } else if let Some(command) = line.strip_prefix(b"command=")
                        && name.replace(command).is_some()
                    {
                        return None;
                    }
                }
            }
        }
        Some(Command { name: name?, arguments, length: bytes.len() - rest.len() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_and_what_is_none() {
        let request = b"0014command=ls-refs\n0014agent=git/2.39.500010009peel\n0016ref-prefix refs/x\n0000rest";
        let command = Command::parse(request).unwrap();
        assert_eq!((command.name, command.length), (&b"ls-refs"[..], request.len() - 4));
        assert_eq!(command.arguments, [&b"peel"[..], b"ref-prefix refs/x"]);
        for bad in [
            &b""[..],
            b"0000",
            b"0014command=ls-refs\n",
            b"0003",
            b"zzzz",
            b"+014command=ls-refs\n0000",
            b"0014command=ls-refs\n0014command=ls-refs\n0000",
            b"fffe",
        ] {
            assert_eq!(Command::parse(bad), None, "{bad:?}");
        }
        let mut out = Vec::new();
        push(&mut out, b"abc");
        assert_eq!(out, b"0007abc");
    }
}
