//! Parameters of a request as bytes: queries may hold any.

/// Pairs in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Params(Vec<(Vec<u8>, Vec<u8>)>);

impl Params {
    /// From `a=b&c=d`; `None`: a `%` is not followed by two hex digits.
    pub(crate) fn parse(text: &[u8]) -> Option<Params> {
        let mut pairs = Vec::new();
        for pair in text.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty()) {
            let at = memchr::memchr(b'=', pair).unwrap_or(pair.len());
            pairs.push((decode(pair.get(..at)?)?, decode(pair.get(at + 1..).unwrap_or_default())?));
        }
        Some(Params(pairs))
    }

    /// These, then those of the address: of two values of one name the first counts.
    pub(crate) fn before(mut self, address: Params) -> Params {
        self.0.extend(address.0);
        self
    }

    /// The first value.
    pub(crate) fn first(&self, name: &str) -> Option<&[u8]> {
        self.all(name).next()
    }

    /// The first value, as text; empty if there is none or it is no text.
    pub(crate) fn text(&self, name: &str) -> &str {
        self.first(name).and_then(|value| std::str::from_utf8(value).ok()).unwrap_or_default()
    }

    /// All values.
    pub(crate) fn all(&self, name: &str) -> impl Iterator<Item = &[u8]> {
        self.0.iter().filter(move |(known, _)| known == name.as_bytes()).map(|(_, value)| value.as_slice())
    }
}

fn decode(text: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.iter().copied();
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'+' => b' ',
            b'%' => {
                let mut digit = || char::from(bytes.next()?).to_digit(16);
                (digit()? * 16 + digit()?) as u8
            }
            other => other,
        });
    }
    Some(out)
}

/// A text as Go's `url.QueryEscape` writes it.
pub(crate) fn escape(text: &[u8]) -> String {
    let mut out = String::with_capacity(text.len() + 8);
    for byte in text {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(char::from(*byte)),
            b' ' => out.push('+'),
            other => out.push_str(&format!("%{other:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_bytes() {
        let params = Params::parse(b"q=a%3Ab+c%ff&extra_label=x&extra_label=y&flag&=").unwrap();
        assert_eq!((params.first("q"), params.text("flag")), (Some(&b"a:b c\xff"[..]), ""));
        assert_eq!(params.all("extra_label").count(), 2);
        assert!(Params::parse(b"q=%zz").is_none() && Params::parse(b"q=%1").is_none());
        assert_eq!(Params::parse(b"q=body").unwrap().before(params).text("q"), "body");
        assert_eq!(escape(b"upload:20261122.1 \xff"), "upload%3A20261122.1+%FF");
    }
}
