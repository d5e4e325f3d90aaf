//! SHA-224 of a segment: its name, and what a follower checks.

use std::fmt;
use std::str::FromStr;

use sha2::Digest as _;

/// 28 bytes; written as 56 lower-case hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Sha224(pub [u8; 28]);

impl Sha224 {
    /// Of these bytes.
    pub fn of(bytes: &[u8]) -> Sha224 {
        let mut digest = Digest::default();
        digest.update(bytes);
        digest.finish()
    }
}

impl fmt::Display for Sha224 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Sha224 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A text that is not 56 lower-case hex digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a SHA-224 is 56 lower-case hex digits")]
pub struct BadDigest;

impl FromStr for Sha224 {
    type Err = BadDigest;

    fn from_str(text: &str) -> Result<Sha224, BadDigest> {
        let digit = |byte: u8| match byte {
            b'0'..=b'9' => Ok(byte - b'0'),
            b'a'..=b'f' => Ok(byte - b'a' + 10),
            _ => Err(BadDigest),
        };
        let mut out = [0; 28];
        if text.len() != 56 {
            return Err(BadDigest);
        }
        for (byte, pair) in out.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            let [high, low] = pair else { return Err(BadDigest) };
            *byte = digit(*high)? << 4 | digit(*low)?;
        }
        Ok(Sha224(out))
    }
}

/// A running SHA-224. A clone can be finished while the original goes on, as a growing segment needs.
#[derive(Clone, Default)]
pub struct Digest(sha2::Sha224);

impl Digest {
    /// Takes in more bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// Of all bytes so far.
    pub fn finish(self) -> Sha224 {
        Sha224(self.0.finalize().into())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Digest(SHA-224)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_written_and_read() {
        let empty = Sha224::of(b"");
        assert_eq!(empty.to_string(), "d14a028c2a3a2bc9476102bb288234c415a2b01f828ea62ac5b3e42f");
        assert_eq!(empty.to_string().parse(), Ok(empty));
        for bad in ["", "d14a", &"g".repeat(56), &"A".repeat(56), &"é".repeat(28)] {
            assert_eq!(bad.parse::<Sha224>(), Err(BadDigest), "{bad}");
        }
    }
}
