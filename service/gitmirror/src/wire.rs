//! What an HTTP server says of its references, in git's protocol: so that a poll costs one request and no process.
//!
//! Pure, bounded, for any bytes. Versions 0, 1 and 2 are read.

use burrow_git::Oid;

use crate::refs::Advertised;

/// Bytes that cannot be an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// A length that is none, or one beyond the end.
    #[error("a line of the answer is cut or has no length")]
    Cut,
    /// No reference or capability list.
    #[error("the answer is not that of a git server")]
    NotGit,
}

/// A server's first answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Greeting {
    /// It speaks version 2, and is to be asked for references; `sha256` says what its ids are.
    Version2 {
        /// Ids have 64 digits.
        sha256: bool,
    },
    /// It told them at once.
    References(Advertised),
}

enum Packet<'a> {
    Data(&'a [u8]),
    Flush,
    Other,
}

/// Takes the next packet off.
fn packet<'a>(bytes: &mut &'a [u8]) -> Result<Option<Packet<'a>>, WireError> {
    if bytes.is_empty() {
        return Ok(None);
    }
    let (head, rest) = bytes.split_at_checked(4).ok_or(WireError::Cut)?;
    let length =
        std::str::from_utf8(head).ok().filter(|text| text.bytes().all(|b| b.is_ascii_hexdigit())).and_then(|text| usize::from_str_radix(text, 16).ok());
    let length = length.ok_or(WireError::Cut)?;
    if length < 4 {
        *bytes = rest;
        return Ok(Some(if length == 0 { Packet::Flush } else { Packet::Other }));
    }
    let (data, rest) = rest.split_at_checked(length - 4).ok_or(WireError::Cut)?;
    *bytes = rest;
    Ok(Some(Packet::Data(data.strip_suffix(b"\n").unwrap_or(data))))
}

/// Reads the answer to `GET …/info/refs?service=git-upload-pack`.
///
/// # Errors
/// [`WireError`]
pub fn greeting(mut bytes: &[u8]) -> Result<Greeting, WireError> {
    let mut found = Advertised::default();
    let mut version2 = false;
    let mut sha256 = false;
    let mut first = true;
    let mut any = false;
    let mut ended = false;
    while let Some(packet) = packet(&mut bytes)? {
        let line = match packet {
            Packet::Data(line) => line,
            Packet::Flush => {
                // One stands after the service's name, the other at the end.
                ended = any;
                continue;
            }
            Packet::Other => continue,
        };
        if line.starts_with(b"# service=") || line == b"version 1" {
            continue;
        }
        any = true;
        if line == b"version 2" {
            version2 = true;
            continue;
        }
        if version2 {
            sha256 |= line == b"object-format=sha256";
            continue;
        }
        let (line, capabilities) = match line.iter().position(|byte| *byte == 0) {
            Some(at) => (line.get(..at).unwrap_or_default(), line.get(at + 1..).unwrap_or_default()),
            None => (line, &b""[..]),
        };
        if first {
            for word in String::from_utf8_lossy(capabilities).split(' ') {
                if let Some((name, target)) = word.strip_prefix("symref=").and_then(|pair| pair.split_once(':')) {
                    found.symref(name, target);
                }
            }
            first = false;
        }
        let Some((id, name)) = std::str::from_utf8(line).ok().and_then(|line| line.split_once(' ')) else {
            found.odd += 1;
            continue;
        };
        if id.parse::<Oid>().is_err() {
            return Err(WireError::NotGit);
        }
        found.add(name, id);
    }
    match (any, ended) {
        (false, _) => Err(WireError::NotGit),
        // Half a list would look like deletions.
        (true, false) => Err(WireError::Cut),
        (true, true) if version2 => Ok(Greeting::Version2 { sha256 }),
        (true, true) => Ok(Greeting::References(found)),
    }
}

/// The body of the question for references that begin so, in version 2.
pub fn ask(prefixes: &[&str], sha256: bool) -> Vec<u8> {
    let mut body = Vec::new();
    let mut line = |text: &str| body.extend_from_slice(format!("{:04x}{text}\n", text.len() + 5).as_bytes());
    line("command=ls-refs");
    if sha256 {
        line("object-format=sha256");
    }
    body.extend_from_slice(b"0001");
    let mut line = |text: &str| body.extend_from_slice(format!("{:04x}{text}\n", text.len() + 5).as_bytes());
    line("symrefs");
    line("ref-prefix HEAD");
    for prefix in prefixes.iter().filter(|prefix| prefix.len() < 60_000) {
        line(&format!("ref-prefix {prefix}"));
    }
    body.extend_from_slice(b"0000");
    body
}

/// Reads the answer to [`ask`].
///
/// # Errors
/// [`WireError`]
pub fn listed(mut bytes: &[u8]) -> Result<Advertised, WireError> {
    let mut found = Advertised::default();
    while let Some(packet) = packet(&mut bytes)? {
        let line = match packet {
            Packet::Flush => return Ok(found),
            Packet::Other => continue,
            Packet::Data(line) => line,
        };
        let Ok(line) = std::str::from_utf8(line) else {
            found.odd += 1;
            continue;
        };
        let mut words = line.split(' ');
        let (Some(id), Some(name)) = (words.next(), words.next()) else { return Err(WireError::NotGit) };
        if let Some(target) = words.find_map(|word| word.strip_prefix("symref-target:")) {
            found.symref(name, target);
        }
        if id == "unborn" {
            continue;
        }
        if id.parse::<Oid>().is_err() {
            return Err(WireError::NotGit);
        }
        found.add(name, id);
    }
    Err(WireError::Cut)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ID: &str = "4b825dc642cb6eb9a060e54bf8d69288fbee4904";

    fn packets(lines: &[&str]) -> Vec<u8> {
        lines
            .iter()
            .flat_map(|line| match *line {
                "flush" => b"0000".to_vec(),
                line => format!("{:04x}{line}\n", line.len() + 5).into_bytes(),
            })
            .collect()
    }

    #[test]
    fn all_three_versions_are_read() {
        let old = packets(&[
            "# service=git-upload-pack",
            "flush",
            &format!("{ID} HEAD\0ofs-delta symref=HEAD:refs/heads/main agent=x"),
            &format!("{ID} refs/heads/main"),
            "flush",
        ]);
        let Ok(Greeting::References(found)) = greeting(&old) else { panic!() };
        assert_eq!((found.head.as_deref(), found.refs.len()), (Some("refs/heads/main"), 1));
        let new = packets(&["# service=git-upload-pack", "flush", "version 2", "agent=x", "ls-refs=unborn", "object-format=sha256", "flush"]);
        assert_eq!(greeting(&new), Ok(Greeting::Version2 { sha256: true }));
        let list = packets(&[
            &format!("{ID} HEAD symref-target:refs/heads/main"),
            &format!("{ID} refs/heads/main"),
            &format!("{ID} refs/tags/v1 peeled:{ID}"),
            "flush",
        ]);
        let found = listed(&list).unwrap();
        assert_eq!((found.head.as_deref(), found.refs.len()), (Some("refs/heads/main"), 2));
        let empty = packets(&["# service=git-upload-pack", "flush", &format!("{} capabilities^{{}}\0agent=x", "0".repeat(40)), "flush"]);
        assert_eq!(greeting(&empty), Ok(Greeting::References(Advertised::default())));
    }

    #[test]
    fn a_list_that_is_cut_is_no_list() {
        let whole = packets(&[&format!("{ID} refs/heads/a"), &format!("{ID} refs/heads/b"), "flush"]);
        for length in 0..whole.len() {
            assert!(listed(&whole[..length]).is_err(), "{length}");
        }
        let whole = packets(&["# service=git-upload-pack", "flush", &format!("{ID} refs/heads/a\0x"), &format!("{ID} refs/heads/b"), "flush"]);
        for length in 0..whole.len() {
            assert!(greeting(&whole[..length]).is_err(), "{length}");
        }
        assert_eq!(greeting(b"<html>not here</html>"), Err(WireError::Cut));
    }

    #[test]
    fn the_question_is_made_of_packets() {
        let question = ask(&["refs/heads/"], false);
        assert_eq!(String::from_utf8(question).unwrap(), "0014command=ls-refs\n0001000csymrefs\n0014ref-prefix HEAD\n001bref-prefix refs/heads/\n0000");
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = (greeting(&bytes), listed(&bytes));
        }
    }
}
