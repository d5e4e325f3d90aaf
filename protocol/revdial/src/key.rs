//! Builder keys: the classic credential of a host type (`spec/buildlet.md` §6.2, `spec/pools.md` §7.1).
//!
//! One HMAC-MD5 per host type, shared by all its machines, without expiry: kept only for stock Go programs. Burrow's machines have keys of their own.

use hmac::{Hmac, KeyInit, Mac};
use md5::Md5;
use subtle::ConstantTimeEq;
use thiserror::Error;

/// The publicly known key of a Go coordinator in dev mode; whoever accepts it accepts anybody (T6).
pub const DEV_MASTER_KEY: &str = "gophers rule";

/// An empty master key would make everybody's key computable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the master key for builder keys is empty")]
pub struct EmptyMasterKey;

/// The key of a principal (a host type, or `user-<name>`): lower-case hex of HMAC-MD5(master key, principal). White space around the master key is no part of it.
///
/// # Errors
/// [`EmptyMasterKey`]
pub fn builder_key(master_key: &str, principal: &str) -> Result<String, EmptyMasterKey> {
    let master_key = master_key.trim();
    if master_key.is_empty() {
        return Err(EmptyMasterKey);
    }
    // HMAC takes keys of any length, so this cannot fail; still no panic if it ever did.
    let mut mac = Hmac::<Md5>::new_from_slice(master_key.as_bytes()).map_err(|_| EmptyMasterKey)?;
    mac.update(principal.as_bytes());
    let mut hex = String::with_capacity(32);
    for byte in mac.finalize().into_bytes() {
        for nibble in [byte >> 4, byte & 15] {
            hex.push(char::from_digit(u32::from(nibble), 16).unwrap_or('0'));
        }
    }
    Ok(hex)
}

/// Compares two secrets without telling by its duration where they differ. An empty secret equals nothing.
pub fn keys_equal(given: &str, wanted: &str) -> bool {
    !wanted.is_empty() && bool::from(given.as_bytes().ct_eq(wanted.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_equal_the_references_vectors() {
        for (principal, key) in [
            ("test", "c510e9f906e2290f81316e89d19f599c"),
            ("host-linux-amd64-localdev", "4d8129e2963df29b29cab65e108397d1"),
            ("host-darwin-amd64-12-aws", "81a5f9312942c201e61c0361fc7572f6"),
        ] {
            assert_eq!(builder_key(DEV_MASTER_KEY, principal).as_deref(), Ok(key));
            assert_eq!(builder_key(" gophers rule\n", principal).as_deref(), Ok(key));
        }
    }

    #[test]
    fn empty_secrets_open_nothing() {
        assert_eq!(builder_key(" \n", "test"), Err(EmptyMasterKey));
        assert!(!keys_equal("", ""));
        assert!(!keys_equal("a", "ab"));
        assert!(keys_equal("ab", "ab"));
    }
}
