//! Pick-ups: the path a `conn-ready` names, and the request that fetches the connection there.

use std::fmt;

/// Names one control channel: 16 random bytes. In the classic protocol it is the only secret of a pick-up.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DialerId([u8; 16]);

impl DialerId {
    /// From random bytes.
    pub fn from_random(bytes: [u8; 16]) -> DialerId {
        DialerId(bytes)
    }

    fn parse(text: &str) -> Option<DialerId> {
        if text.len() != 32 || !text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return None;
        }
        u128::from_str_radix(text, 16).ok().map(|n| DialerId(n.to_be_bytes()))
    }
}

impl fmt::Display for DialerId {
    /// 32 lower-case hex digits.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl fmt::Debug for DialerId {
    /// It is a secret, so logs get only its beginning.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DialerId({:02x}{:02x}…)", self.0[0], self.0[1])
    }
}

/// What a pick-up request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PickupTarget {
    /// Which control channel.
    pub dialer: DialerId,
    /// Which dial on it; peers echo it unseen. Without it (no known peer) a pick-up matches no dial.
    pub nonce: Option<u64>,
}

impl PickupTarget {
    /// Reads the query of a pick-up request's target. `None` when it names no dialer; the answer is then 400 `unknown dialer`.
    pub fn parse(target: &str) -> Option<PickupTarget> {
        let (_, query) = target.split_once('?')?;
        let mut dialer = None;
        let mut nonce = None;
        for pair in query.split('&') {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            match key {
                "revdial.dialer" if dialer.is_none() => dialer = DialerId::parse(value),
                "n" if nonce.is_none() => nonce = u64::from_str_radix(value, 16).ok(),
                _ => {}
            }
        }
        Some(PickupTarget { dialer: dialer?, nonce })
    }
}

/// The path for a `conn-ready`: `<base>?revdial.dialer=<id>&n=<nonce>`, with `&` if the base has a query already.
pub fn pickup_target(base: &str, dialer: DialerId, nonce: u64) -> String {
    let separator = if base.contains('?') { '&' } else { '?' };
    format!("{base}{separator}revdial.dialer={dialer}&n={nonce:x}")
}

/// The request that fetches a connection at `path`, as Go writes it: with an empty `Host` (T3).
///
/// Returns `None` if the path cannot stand in a request line; it came from the peer.
pub fn pickup_request(path: &str) -> Option<Vec<u8>> {
    let fits = path.starts_with('/') && path.len() <= 8192 && path.bytes().all(|b| (0x21..0x7f).contains(&b));
    fits.then(|| format!("GET {path} HTTP/1.1\r\nHost: \r\nUser-Agent: Go-http-client/1.1\r\n\r\n").into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_request_is_what_a_go_listener_sends() {
        let request = pickup_request("/revdial?revdial.dialer=0cd4863abbb6f5f6575c8997b1735c65").unwrap();
        assert_eq!(
            String::from_utf8(request).unwrap(),
            "GET /revdial?revdial.dialer=0cd4863abbb6f5f6575c8997b1735c65 HTTP/1.1\r\nHost: \r\nUser-Agent: Go-http-client/1.1\r\n\r\n"
        );
        for bad in ["", "revdial", "/a b", "/a\r\nX: y", "/é"] {
            assert_eq!(pickup_request(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn a_classic_target_has_no_nonce_and_a_foreign_one_no_dialer() {
        let target = PickupTarget::parse("/revdial?revdial.dialer=0cd4863abbb6f5f6575c8997b1735c65").unwrap();
        assert_eq!(target.nonce, None);
        assert_eq!(target.dialer.to_string(), "0cd4863abbb6f5f6575c8997b1735c65");
        for bad in ["/revdial", "/revdial?x=1", "/revdial?revdial.dialer=0c", "/revdial?revdial.dialer=+cd4863abbb6f5f6575c8997b1735c65"] {
            assert_eq!(PickupTarget::parse(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn a_target_is_read_back(bytes: [u8; 16], nonce: u64, base in "/[a-z]{1,8}(\\?x=1)?") {
            let dialer = DialerId::from_random(bytes);
            prop_assert_eq!(
                PickupTarget::parse(&pickup_target(&base, dialer, nonce)),
                Some(PickupTarget { dialer, nonce: Some(nonce) })
            );
        }

        #[test]
        fn any_target_is_survived(target in "\\PC{0,100}") {
            let _ = PickupTarget::parse(&target);
        }
    }
}
