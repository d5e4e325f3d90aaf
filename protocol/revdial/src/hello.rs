//! The one thing of TLS that has to be looked at: the server name in a Go buildlet's first message.
//!
//! A stock Go buildlet whose coordinator has a port other than 443 puts `host:port` into the server name indication (`spec/buildlet.md` T4). That is not a
//! host name, and a strict TLS library ends the handshake. The extension is therefore *hidden* before the library sees the message, by giving it a
//! number no library knows, and put back where the message is hashed, so that both ends agree on what was said. Nothing but the server's knowledge of the
//! name is lost, and it has no use for it.

/// A number without meaning, from the range for private use; a client that sends it itself only spoils its own handshake.
const HIDDEN: [u8; 2] = [0xfe, 0x5a];
/// `server_name`.
const SERVER_NAME: [u8; 2] = [0, 0];
/// Bytes of a TLS record's header.
const RECORD_HEADER: usize = 5;
/// Longest content of a record.
const MAX_RECORD: usize = 16 * 1024;

/// Bytes in the first record of a connection, with its header; `None` as long as `bytes` are too few to tell, or when it is no handshake record of legal size
/// (then `Some(0)`: there is nothing to do).
pub fn first_record_len(bytes: &[u8]) -> Option<usize> {
    let &[kind, _, _, high, low] = bytes.get(..RECORD_HEADER)? else {
        return Some(0);
    };
    let length = usize::from(u16::from_be_bytes([high, low]));
    Some(if kind != 0x16 || length == 0 || length > MAX_RECORD { 0 } else { RECORD_HEADER + length })
}

/// Hides the server name in the ClientHello that is the whole of the first record, if it is not a host name. True if it did.
pub fn hide_bad_server_name(record: &mut [u8]) -> bool {
    let Some(hello) = record.get_mut(RECORD_HEADER..) else {
        return false;
    };
    let Some((at, content)) = extension(hello, SERVER_NAME) else {
        return false;
    };
    // list length (2), type (1), name length (2), name
    let name = hello.get(content).and_then(|c| c.get(5..)).unwrap_or_default();
    if is_host_name(name) {
        return false;
    }
    set(hello, at, HIDDEN)
}

/// Puts a hidden server name back, in a ClientHello without record header. True if there was one.
pub fn restore_server_name(hello: &mut [u8]) -> bool {
    extension(hello, HIDDEN).is_some_and(|(at, _)| set(hello, at, SERVER_NAME))
}

/// Whether a ClientHello (without record header) has a hidden server name.
pub fn has_hidden_server_name(hello: &[u8]) -> bool {
    hello.first() == Some(&1) && extension(hello, HIDDEN).is_some()
}

fn set(bytes: &mut [u8], at: usize, value: [u8; 2]) -> bool {
    match bytes.get_mut(at..at + 2) {
        Some(place) => {
            place.copy_from_slice(&value);
            true
        }
        None => false,
    }
}

fn is_host_name(name: &[u8]) -> bool {
    !name.is_empty() && name.iter().all(|&b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'))
}

/// Where an extension's number is in a ClientHello, and where its content is.
fn extension(hello: &[u8], number: [u8; 2]) -> Option<(usize, std::ops::Range<usize>)> {
    let byte = |at: usize| hello.get(at).map(|&b| usize::from(b));
    let pair = |at: usize| Some(byte(at)? << 8 | byte(at + 1)?);
    if byte(0)? != 1 {
        return None;
    }
    // message header 4, version 2, random 32, then: session id, cipher suites, compression methods, extensions
    let mut at = 38;
    at += 1 + byte(at)?;
    at += 2 + pair(at)?;
    at += 1 + byte(at)?;
    let end = at + 2 + pair(at)?;
    at += 2;
    while at < end.min(hello.len()) {
        let content = at + 4..at + 4 + pair(at + 2)?;
        if hello.get(at..at + 2)? == number {
            return (content.end <= hello.len()).then_some((at, content));
        }
        at = content.end;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn record(name: &str) -> Vec<u8> {
        let mut server_name = vec![0, 0];
        let n = name.len() as u8;
        server_name.extend([0, n + 5, 0, n + 3, 0, 0, n]);
        server_name.extend(name.as_bytes());
        let mut extensions = vec![0, 0x17, 0, 0];
        extensions.extend(server_name);
        extensions.extend([0, 0x2b, 0, 3, 2, 3, 4]);
        let mut hello = vec![3, 3];
        hello.extend([7; 32]);
        hello.extend([1, 9, 0, 2, 0x13, 1, 1, 0]);
        hello.extend((extensions.len() as u16).to_be_bytes());
        hello.extend(extensions);
        let mut record = vec![0x16, 3, 1];
        record.extend((hello.len() as u16 + 4).to_be_bytes());
        record.extend([1, 0]);
        record.extend((hello.len() as u16).to_be_bytes());
        record.extend(hello);
        record
    }

    #[test]
    fn a_name_with_a_port_is_hidden_and_comes_back() {
        let sent = record("localhost:8119");
        let mut bytes = sent.clone();
        assert_eq!(first_record_len(&bytes), Some(bytes.len()));
        assert!(hide_bad_server_name(&mut bytes));
        assert!(has_hidden_server_name(&bytes[5..]) && !has_hidden_server_name(&sent[5..]));
        assert!(restore_server_name(&mut bytes[5..]));
        assert_eq!(bytes, sent);
    }

    #[test]
    fn a_host_name_is_left_alone() {
        let mut bytes = record("ci.example.com");
        assert!(!hide_bad_server_name(&mut bytes));
        assert_eq!(bytes, record("ci.example.com"));
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(mut bytes in proptest::collection::vec(any::<u8>(), 0..200), cut in 0usize..200, at in 0usize..120, value: u8) {
            hide_bad_server_name(&mut bytes);
            restore_server_name(&mut bytes);
            let _ = first_record_len(&bytes);
            let mut bytes = record("localhost:8119");
            if let Some(place) = bytes.get_mut(at) {
                *place = value;
            }
            bytes.truncate(cut);
            hide_bad_server_name(&mut bytes);
        }
    }
}
