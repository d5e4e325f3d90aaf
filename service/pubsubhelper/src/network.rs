//! Networks by address and length, and whether a webhook came encrypted.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use axum::http::HeaderMap;
use serde::{Deserialize, Deserializer, de};

/// Who is at the other end of a connection.
#[derive(Debug, Clone, Copy)]
pub struct Peer {
    /// Its address.
    pub address: SocketAddr,
    /// This process ended its TLS.
    pub tls: bool,
}

/// A network: `10.0.0.0/8`, `fd00::/8`, or one address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    bits: u8,
}

/// A text that is no network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no network; one looks like 10.0.0.0/8, fd00::/8 or 192.0.2.7")]
pub struct BadNetwork {
    /// The text.
    pub text: String,
}

impl Network {
    /// Whether an address is in it. An IPv4 address within IPv6 is what it is.
    pub fn contains(&self, address: IpAddr) -> bool {
        fn same(a: &[u8], b: &[u8], bits: u8) -> bool {
            let whole = usize::from(bits / 8);
            let mask = !(0xff_u8.checked_shr(u32::from(bits % 8)).unwrap_or(0));
            a.get(..whole) == b.get(..whole) && a.get(whole).zip(b.get(whole)).is_none_or(|(a, b)| (a ^ b) & mask == 0)
        }
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(net), IpAddr::V4(address)) => same(&net.octets(), &address.octets(), self.bits),
            (IpAddr::V6(net), IpAddr::V6(address)) => same(&net.octets(), &address.octets(), self.bits),
            _ => false,
        }
    }
}

impl std::str::FromStr for Network {
    type Err = BadNetwork;

    fn from_str(text: &str) -> Result<Network, BadNetwork> {
        let bad = || BadNetwork { text: text.to_owned() };
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits.parse::<u8>().map_err(|_| bad())?)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| bad())?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.unwrap_or(most);
        if bits > most { Err(bad()) } else { Ok(Network { address, bits }) }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.bits)
    }
}

impl<'de> Deserialize<'de> for Network {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Network, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// Whether a request came encrypted all the way: over our TLS, or through a proxy that is trusted and says so (`spec/pubsubhelper.md` §7 row 10).
pub fn is_encrypted(peer: Option<&Peer>, headers: &HeaderMap, trusted: &[Network]) -> bool {
    let Some(peer) = peer else { return false };
    if peer.tls {
        return true;
    }
    if !trusted.iter().any(|network| network.contains(peer.address.ip())) {
        return false;
    }
    // Several proxies add one word each; a client may have begun the list. All must say so.
    let mut words = headers.get_all("x-forwarded-proto").iter().flat_map(|value| value.to_str().unwrap_or_default().split(',')).map(str::trim).peekable();
    words.peek().is_some() && words.all(|word| word.eq_ignore_ascii_case("https"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_in_networks() {
        let within = |network: &str, address: &str| network.parse::<Network>().unwrap().contains(address.parse().unwrap());
        assert!(within("10.0.0.0/8", "10.200.3.4") && !within("10.0.0.0/8", "11.0.0.1"));
        assert!(within("192.168.16.0/20", "192.168.31.255") && !within("192.168.16.0/20", "192.168.32.0"));
        assert!(within("0.0.0.0/0", "8.8.8.8") && within("192.0.2.7", "192.0.2.7") && !within("192.0.2.7", "192.0.2.8"));
        assert!(within("fd00::/8", "fd12::1") && !within("fd00::/8", "fe80::1"));
        assert!(within("127.0.0.0/8", "::ffff:127.0.0.1") && !within("::/0", "127.0.0.1"));
        for bad in ["", "10.0.0.0/33", "::/129", "a/8", "10.0.0.0/", "10.0.0"] {
            assert!(bad.parse::<Network>().is_err(), "{bad}");
        }
    }

    #[test]
    fn only_a_trusted_proxy_is_believed() {
        let trusted = ["10.0.0.0/8".parse().unwrap()];
        let asked = |address: &str, tls: bool, words: &[&'static str]| {
            let headers =
                words.iter().map(|word| (axum::http::HeaderName::from_static("x-forwarded-proto"), axum::http::HeaderValue::from_static(word))).collect();
            is_encrypted(Some(&Peer { address: address.parse().unwrap(), tls }), &headers, &trusted)
        };
        assert!(asked("192.0.2.1:9", true, &[]) && asked("10.1.1.1:9", false, &["https"]) && asked("10.1.1.1:9", false, &["https, HTTPS"]));
        assert!(!asked("192.0.2.1:9", false, &["https"]), "anybody can write that header");
        assert!(!asked("10.1.1.1:9", false, &[]) && !asked("10.1.1.1:9", false, &["http"]));
        assert!(!asked("10.1.1.1:9", false, &["https, http"]) && !asked("10.1.1.1:9", false, &["https", "http"]), "the client may have written the first");
        assert!(!is_encrypted(None, &HeaderMap::new(), &trusted));
    }
}
